"""The device that a network runs on."""

import ctypes
import os
import sys
from pathlib import Path

from bids_mfi.errors import UsageError

# Without it some convolutions add up in an order that depends on the number of threads (MKL's
# matrix product on processors with AVX-512). MKL reads the variable at its first operation.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

DEVICES = ("auto", "cpu", "cuda")


def choose_device(device: str) -> str:
    """Return ``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        The name is unknown, or ``cuda`` is requested but not available.
    """
    if device not in DEVICES:
        raise UsageError(f"device {device!r} is unknown, expected one of {', '.join(DEVICES)}.")
    if device == "cpu" or (device == "auto" and not has_driver()):
        return "cpu"
    import torch  # takes a second

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise UsageError(
            "device cuda was requested, but PyTorch finds no CUDA device here (the installed "
            f"PyTorch is {torch.__version__}). Use --device cpu, or install a PyTorch for CUDA."
        )
    return "cpu"


def has_driver() -> bool:
    """Whether a driver of NVIDIA or AMD may be there; without one, PyTorch need not be asked."""
    amd = (Path("/dev/kfd"), Path("/dev/dxg"))  # the second under Windows
    if sys.platform != "linux" or any(device.exists() for device in amd):
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
