#!/bin/sh
# Install bids_mfi into /opt/venv; used by Dockerfile and Singularity.def, in the folder with
# requirements.lock.
#
#   install.sh dependencies [cuda|cpu] [EXTRA_INDEX]    what bids_mfi needs, in the locked versions
#   install.sh package                                  bids_mfi itself, and a first test
#
# Wheels in container/wheels are found too, for example that of the CPU build of PyTorch.
set -eu

VENV=/opt/venv
LOCK=requirements.lock

dependencies() {
    torch=$(sed -n 's/^torch==//p' "$LOCK")
    case "$1" in
        cuda) wanted="torch==$torch" ;;
        cpu) wanted="torch==$torch+cpu" ;;
        *) echo "TORCH is '$1', expected cuda or cpu" >&2; exit 2 ;;
    esac
    set -- ${2:+--extra-index-url "$2"}
    set -- "$@" --find-links container/wheels
    "$VENV/bin/pip" install --quiet "$@" "$wanted" || {
        echo "$wanted was not found: put its wheel into container/wheels," \
             "or name an index that has it by the build argument TORCH_INDEX" >&2
        exit 1
    }
    grep -v '^torch==' "$LOCK" > /tmp/constraints.txt
    "$VENV/bin/python" - > /tmp/needed.txt <<'PYTHON'
import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")
PYTHON
    "$VENV/bin/pip" install --quiet --requirement /tmp/needed.txt --constraint /tmp/constraints.txt
    rm /tmp/needed.txt /tmp/constraints.txt
}

package() {
    setuptools=$(sed -n 's/^setuptools==//p' "$LOCK")
    "$VENV/bin/pip" install --quiet "setuptools==$setuptools"
    "$VENV/bin/pip" install --quiet --no-deps --no-build-isolation .
    "$VENV/bin/pip" check
    "$VENV/bin/bids_mfi" --version
}

"$@"
