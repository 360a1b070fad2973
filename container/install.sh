#!/bin/sh
# Install bids_mfi into /opt/venv; used by Dockerfile and Singularity.def, in the folder with
# requirements.lock.
#
#   install.sh dependencies [cuda|cpu] [TORCH_INDEX]    what bids_mfi needs, in the locked versions
#   install.sh package                                  bids_mfi itself, and a first test
#
# Wheels in container/wheels are found too, for example that of the CPU build of PyTorch.
set -eu

VENV=/opt/venv
LOCK=requirements.lock
WHEELS=container/wheels

dependencies() {
    torch=$(sed -n 's/^torch==//p' "$LOCK")
    case "$1" in
        cuda) wanted="torch==$torch" ;;
        cpu) wanted="torch==$torch+cpu" ;;
        *) echo "TORCH is '$1', expected cuda or cpu" >&2; exit 2 ;;
    esac
    # PyTorch alone comes from TORCH_INDEX: nothing else may be taken from there.
    "$VENV/bin/pip" install --quiet --no-deps --find-links "$WHEELS" ${2:+--index-url "$2"} "$wanted" || {
        echo "$wanted was not found: put its wheel into $WHEELS," \
             "or name an index that has it by the build argument TORCH_INDEX" >&2
        exit 1
    }
    # The rest, with what the PyTorch just installed asks for. The CUDA build asks for cuda-*, nvidia-*
    # and triton, which are not in the lock; it names the exact versions of nearly all of them itself.
    grep -v '^torch==' "$LOCK" > /tmp/constraints.txt
    "$VENV/bin/python" - > /tmp/needed.txt <<'PYTHON'
import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")
PYTHON
    "$VENV/bin/pip" install --quiet --find-links "$WHEELS" \
        --requirement /tmp/needed.txt --constraint /tmp/constraints.txt
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
