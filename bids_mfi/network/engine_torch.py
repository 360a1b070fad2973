"""The network computed by PyTorch: the reference, and the way to a GPU."""

import numpy as np
import torch
from numpy.typing import NDArray

from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.engine import Engine, EngineFacts


class TorchEngine(Engine):
    """PyTorch's eager mode, on the device of the network; without TF32.

    Parameters
    ----------
    network : DenseVNet
    threads : int, optional
        Default: as many as PyTorch uses in this process.
    """

    def __init__(self, network: DenseVNet, threads: int | None = None) -> None:
        self.network, self.stride, self.threads = network, network.stem_stride, threads
        self.device = next(network.parameters()).device
        self.facts = EngineFacts("torch", torch.__version__, self.device.type)

    def coarse_logits(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute under the caller's autocast, if there is one."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        images = torch.from_numpy(np.ascontiguousarray(volume))[None].to(self.device)
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            logits = self.network.half_logits(images)[0]  # (classes, x / stride, ...)
            return logits.float().cpu().numpy()
