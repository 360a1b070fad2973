"""Initialise a wider dense V-Net with the weights of a narrower one.

The wider network gives the same logits. The added channels are computed with random weights, but
the weights that read them are 0. Normalisation treats each channel separately, so the added
channels do not affect the others.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from bids_mfi.network.dense_vnet import ConvNorm, DenseBlock, DenseVNet

# Initial weights and logits of added classes in the last layer; the network rarely chooses them.
NEW_CLASS_SD, NEW_CLASS_BIAS = 0.01, -4.0


def widen(network: DenseVNet, wider: DenseVNet) -> None:
    """Copy the weights of a network into a wider one, which then gives the same logits.

    In new channels, the averages of batch normalisation are those of a new network, with the same
    age as the others.

    Parameters
    ----------
    network : DenseVNet
    wider : DenseVNet
        Has random weights; no layer may have fewer channels.

    Raises
    ------
    ValueError
        A layer is narrower, or the networks differ in normalisation or inputs.
    """
    state, wider_state = network.state_dict(), wider.state_dict()
    if state.keys() != wider_state.keys():
        raise ValueError("the networks differ in more than their widths")
    segments = dict(_input_segments(network))
    wider_segments = dict(_input_segments(wider))
    with torch.no_grad():
        for name, module in wider.named_modules():
            if isinstance(module, nn.Conv3d):
                kept = _kept_channels(segments[name], wider_segments[name])
                _put_kernel(state[f"{name}.weight"], module.weight, kept)
        for name, value in wider.state_dict().items():
            if not name.endswith("conv.weight") and name != "final.weight":
                _put_rows(state[name], value)


def set_classes(network: DenseVNet, classes: int) -> None:
    """Append classes to a network or remove its last ones, in place.

    The logits of the remaining classes do not change. New classes start with small random weights.
    """
    old = network.final
    new = nn.Conv3d(old.in_channels, classes, old.kernel_size, padding=1)  # type: ignore[arg-type]
    nn.init.trunc_normal_(new.weight, std=NEW_CLASS_SD)
    with torch.no_grad():
        kept = min(old.out_channels, classes)
        new.weight[:kept] = old.weight[:kept]
        if new.bias is not None and old.bias is not None:
            new.bias.fill_(NEW_CLASS_BIAS)
            new.bias[:kept] = old.bias[:kept]
    network.final = new


def _put_kernel(kernel: Tensor, wider: Tensor, kept: list[int]) -> None:
    """Copy a kernel, shape (out, in, x, y, z); ``kept`` are its input channels in ``wider``."""
    if kernel.shape[0] > wider.shape[0]:
        raise ValueError(f"{kernel.shape[0]} channels do not fit into {wider.shape[0]}")
    rows = wider[: len(kernel)]
    rows.zero_()
    rows[:, kept] = kernel


def _put_rows(values: Tensor, wider: Tensor) -> None:
    if values.dim() == 0:
        wider.copy_(values)
    else:
        wider[: len(values)] = values


def _kept_channels(segments: Sequence[int], wider: Sequence[int]) -> list[int]:
    """Find the channels of concatenated outputs after each output has been widened.

    >>> _kept_channels((2, 1), (3, 2))
    [0, 1, 3]
    """
    if any(new < old for old, new in zip(segments, wider, strict=True)):
        raise ValueError(f"{tuple(segments)} channels do not fit into {tuple(wider)}")
    starts = [sum(wider[:place]) for place in range(len(wider))]
    return [start + i for start, old in zip(starts, segments, strict=True) for i in range(old)]


def _input_segments(network: DenseVNet) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield each convolution's name and the channels it reads from each concatenated output."""
    stem = network.init_conv
    images = stem.conv.in_channels
    yield "init_conv.conv", (images,)
    entering: tuple[int, ...] = (images, _width(stem))
    for level, block in enumerate(_blocks(network)):
        joined = entering
        for unit, layer in enumerate(cast(list[ConvNorm], block.dense)):
            yield f"blocks.{level}.dense.{unit}.conv", joined
            joined = (*joined, _width(layer))
        yield f"blocks.{level}.skip.conv", joined
        if block.down is not None:
            yield f"blocks.{level}.down.conv", joined
            entering = (_width(block.down),)
    yield "final", (images, *(_width(block.skip) for block in _blocks(network)))


def _blocks(network: DenseVNet) -> list[DenseBlock]:
    return cast(list[DenseBlock], list(network.blocks))


def _width(layer: ConvNorm) -> int:
    return layer.conv.out_channels
