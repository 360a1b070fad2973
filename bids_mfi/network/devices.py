"""Devices that networks run on, and the networks loaded there."""

import os

import torch

from bids_mfi.errors import UsageError
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.weights import load_network

# Without it some convolutions add up in an order that depends on the number of threads (MKL's
# matrix product on processors with AVX-512). MKL reads the variable at its first operation.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

DEVICES = ("auto", "cpu", "cuda")

_LOADED: dict[tuple[str, str], DenseVNet] = {}


def choose_device(device: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        The name is unknown, or ``cuda`` is requested but not available.
    """
    if device not in DEVICES:
        raise UsageError(f"device {device!r} is unknown, expected one of {', '.join(DEVICES)}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device cuda was requested, but PyTorch finds no CUDA device here (the installed "
            f"PyTorch is {torch.__version__}). Use --device cpu, or install a PyTorch for CUDA."
        )
    found = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return torch.device(found)


def cached_network(bundle: ModelBundle, device: torch.device) -> DenseVNet:
    """Return the bundle's network; it is loaded once per process for each sha256 and device."""
    key = (bundle.sha256, str(device))
    if key not in _LOADED:
        _LOADED[key] = load_network(bundle, device)
    return _LOADED[key]
