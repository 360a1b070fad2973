"""Multiply-adds of the convolutions of a network, counted layer by layer without computing them."""

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


def count_multiply_adds(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Count the multiply-adds of one pass; a border of zeros counts as the image does.

    Parameters
    ----------
    network : Module
        On the device ``meta``, so that nothing is computed.
    shape : tuple of int
        Of the input: batch, channels and two or three sizes.
    """
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        voxels = inputs[0] if isinstance(module, TRANSPOSED) else output
        total += voxels.numel() * module.weight[0].numel()

    hooks = [
        module.register_forward_hook(add)
        for module in network.modules()
        if isinstance(module, CONVOLUTIONS + TRANSPOSED)
    ]
    with torch.inference_mode():
        network(torch.empty(shape, device="meta"))
    for hook in hooks:
        hook.remove()
    return total
