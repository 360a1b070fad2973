"""Choice of the engine for a bundle, and the engines loaded in this process."""

from dataclasses import dataclass, replace

from bids_mfi.errors import UsageError
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.devices import choose_device
from bids_mfi.network.engine import Engine
from bids_mfi.network.engine_openvino import OpenVINOEngine, has_bfloat16
from bids_mfi.network.weights import read_weights
from bids_mfi.options import ENGINES


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """How the network is computed.

    Attributes
    ----------
    engine : str
        One of ENGINES; ``auto``: OpenVINO on a CPU, PyTorch on a CUDA device.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    threads : int
    fast : bool
        With OpenVINO on a CPU that has it, compute with bfloat16.
    """

    engine: str = "auto"
    device: str = "cpu"
    threads: int = 1
    fast: bool = False


_LOADED: dict[tuple[str, EngineChoice], Engine] = {}


def settle_engine(choice: EngineChoice) -> EngineChoice:
    """Replace ``auto`` by what this machine has.

    Raises
    ------
    UsageError
        The engine or the device is unknown, not available, or the two do not fit.
    """
    if choice.engine not in ENGINES:
        raise UsageError(
            f"engine {choice.engine!r} is unknown, expected one of {', '.join(ENGINES)}."
        )
    if choice.engine == "openvino":
        if choice.device == "cuda":
            raise UsageError(
                "--engine openvino runs on the CPU only, and --device cuda was given. Give "
                "--device cpu, or --engine torch."
            )
        return replace(choice, device="cpu")
    device = choose_device(choice.device)
    automatic = "openvino" if device == "cpu" else "torch"
    return replace(
        choice, device=device, engine=automatic if choice.engine == "auto" else choice.engine
    )


def load_engine(bundle: ModelBundle, choice: EngineChoice) -> Engine:
    """Load the network of a bundle; once per process for each sha256 and choice."""
    settled = settle_engine(choice)
    key = (bundle.sha256, settled)
    if key not in _LOADED:
        _LOADED[key] = _make_engine(bundle, settled)
    return _LOADED[key]


def _make_engine(bundle: ModelBundle, settled: EngineChoice) -> Engine:
    if settled.engine == "torch":
        import torch

        from bids_mfi.network.engine_torch import TorchEngine
        from bids_mfi.network.loaded_networks import cached_network

        network = cached_network(bundle, torch.device(settled.device))
        return TorchEngine(network, settled.threads)
    return OpenVINOEngine(
        read_weights(bundle),
        bundle.normalization,
        bundle.stem_stride,
        settled.threads,
        "bfloat16" if settled.fast and has_bfloat16() else "float32",
    )
