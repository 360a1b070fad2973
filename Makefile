# `make demo` and `make test` need Python 3.11, git and make; everything else is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test deploy-test check test-tools descriptors docs lock bench clean

demo: $(VENV)/.installed
	$(BIN)/python -m bids_mfi demo $(DEMO)

test: $(VENV)/.installed test-tools check
	$(BIN)/python -m pytest

# Builds and runs the images, and a Slurm of one node. Missing tools are named and their tests skipped;
# they are installed only where CI or BIDS_MFI_INSTALL_TOOLS=1 is set, since that changes the machine.
deploy-test: $(VENV)/.installed
	-@bash container/ci/install_tools.sh
	$(BIN)/python -m pytest tests/test_deploy.py -m deploy -n0 -s

# $(call apt_package,PACKAGE,COMMANDS): installed where none of the commands is there, and apt is and may be used.
# Without it the tests that need it are skipped, or fail where CI is set, and say so.
define apt_package
	@for tool in $(2); do command -v $$tool >/dev/null && exit 0; done; \
	apt="env DEBIAN_FRONTEND=noninteractive apt-get"; [ "$$(id -u)" = 0 ] || apt="sudo -n $$apt"; \
	echo "installing $(1) for the tests that need it"; \
	{ $$apt update -qq && $$apt install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 $(1); } >/dev/null \
	|| echo "$(1) could not be installed: install it, or its tests are skipped (they fail where CI is set)"
endef

# The report of the group is tested in a browser, the scripts for Slurm are read by a linter.
test-tools:
	$(call apt_package,chromium,chromium chromium-browser google-chrome)
	$(call apt_package,shellcheck,shellcheck)

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python tools/prose.py

# The documentation site, in site/. Open site/index.html; the search needs a server:
# .venv/bin/python -m http.server --directory site
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Prints the tables of docs/performance.md, in under ten minutes on two idle processors.
# make bench BENCH="--only engines --paste" makes one table and puts it into the document.
bench: $(VENV)/.installed
	$(BIN)/python benchmarks/bench.py $(BENCH)

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Python 3.11 is needed; name it by make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || { echo "install the package python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Rewrites the Boutiques descriptors from the parsers; run after changing an option, output or column.
descriptors: $(VENV)/.installed
	$(BIN)/python descriptors/generate.py

# Rewrites the lock file from pyproject.toml; run after changing a dependency.
lock:
	$(BIN)/pip-compile --quiet --extra dev --strip-extras --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --allow-unsafe --no-annotate --output-file requirements.lock pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+.*/\1/' requirements.lock

clean:
	rm -rf $(VENV) $(DEMO) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache
