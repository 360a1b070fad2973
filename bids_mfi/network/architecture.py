"""Architecture of the dense V-Net: its layers, widths and weights, without a library.

:class:`bids_mfi.network.dense_vnet.DenseVNet` is the network itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEM_CHANNELS = 24
STEM_KERNEL = 5
DENSE_UNITS = (5, 10, 10)
NORM_EPSILON = 1e-5
SIZE_DIVISOR = 8
PUBLISHED_STRIDE = (2, 2, 2)
STEM_STRIDES = (1, 2)
NORM_PARTS: Mapping[str, tuple[str, ...]] = {
    "batch": ("weight", "bias", "running_mean", "running_var"),
    "instance": ("weight", "bias"),
}
NORMALIZATIONS = tuple(NORM_PARTS)

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Widths:
    """Number of channels of the layers, from the finest of the three levels to the coarsest.

    Attributes
    ----------
    growth : tuple of int
        Channels that each dense unit adds.
    skip : tuple of int
        Channels that each level passes to the last layers.
    down : tuple of int
        Channels that each level except the coarsest passes to the next.
    """

    growth: Triple
    skip: Triple
    down: tuple[int, int]


PUBLISHED_WIDTHS = "published"
WIDTHS: Mapping[str, Widths] = {
    PUBLISHED_WIDTHS: Widths(growth=(4, 8, 16), skip=(12, 24, 24), down=(24, 24)),
    "wide": Widths(growth=(12, 16, 20), skip=(24, 32, 32), down=(32, 32)),
}


def check_divisible(shape: tuple[int, ...]) -> None:
    """Raise ValueError unless every size is a multiple of 8.

    >>> check_divisible((16, 24, 8))
    """
    if any(size % SIZE_DIVISOR or size == 0 for size in shape):
        raise ValueError(f"every size must be a multiple of {SIZE_DIVISOR}: {tuple(shape)}")


def list_weights(
    in_channels: int, out_channels: int, normalization: str, widths: str
) -> dict[str, NDArray[Any]]:
    """Names, shapes and types of the weights, as ``DenseVNet.state_dict`` gives them.

    Parameters
    ----------
    in_channels, out_channels, normalization, widths
        As for ``DenseVNet``.

    Returns
    -------
    dict of str to ndarray of float32 or int64
        Zeros, which take no memory.
    """
    wide = WIDTHS[widths]
    sizes: dict[str, tuple[int, ...]] = {}
    counters: list[str] = []

    def add(name: str, outputs: int, inputs: int, kernel: int = 3) -> None:
        sizes[f"{name}.conv.weight"] = (outputs, inputs, *(kernel,) * 3)
        add_norm(f"{name}.bn", outputs)

    def add_norm(name: str, channels: int) -> None:
        sizes.update({f"{name}.{part}": (channels,) for part in NORM_PARTS[normalization]})
        if normalization == "batch":
            counters.append(f"{name}.num_batches_tracked")

    add_norm("pool_bn", in_channels)
    add("init_conv", STEM_CHANNELS, in_channels, STEM_KERNEL)
    for level, inputs in enumerate((in_channels + STEM_CHANNELS, *wide.down)):
        growth, units = wide.growth[level], DENSE_UNITS[level]
        for unit in range(units):
            add(f"blocks.{level}.dense.{unit}", growth, inputs + unit * growth)
        stack = inputs + units * growth
        add(f"blocks.{level}.skip", wide.skip[level], stack)
        if level < len(wide.down):
            add(f"blocks.{level}.down", wide.down[level], stack)
    sizes["final.weight"] = (out_channels, in_channels + sum(wide.skip), 3, 3, 3)
    sizes["final.bias"] = (out_channels,)
    floats = {name: np.broadcast_to(np.float32(0), shape) for name, shape in sizes.items()}
    return floats | {name: np.zeros((), np.int64) for name in counters}
