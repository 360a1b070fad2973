"""Smooth random numbers at any points."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

TILE = 32
# Standard deviation of white noise interpolated linearly between its nodes, over all positions.
_LINEAR_SD = (2 / 3) ** 1.5


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """Make a generator of torch, on the CPU, whose seed is drawn from one of numpy."""
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def smooth_noise(
    rng: np.random.Generator, points_mm: Tensor, length_mm: tuple[float, float, float]
) -> Tensor:
    """Draw noise of mean 0 and standard deviation near 1, correlated over ``length_mm``.

    Nodes of white noise, ``length_mm`` apart, are interpolated linearly; the pattern repeats after
    TILE nodes.

    Parameters
    ----------
    rng : Generator
    points_mm : Tensor of float32, shape (3, ...)
    length_mm : tuple of float
        Along x, y and z.

    Returns
    -------
    Tensor of float32, shape (...)
    """
    tile = torch.from_numpy(rng.standard_normal((TILE,) * 3, dtype=np.float32))
    offset = torch.from_numpy(rng.uniform(0, TILE, 3).astype(np.float32)).to(points_mm.device)
    wrapped = functional.pad(tile[None, None], (0, 1) * 3, mode="circular").to(points_mm.device)
    length = torch.tensor(length_mm, dtype=torch.float32, device=points_mm.device)
    shape = (3, *(1,) * (points_mm.ndim - 1))
    position = (points_mm / length.reshape(shape) + offset.reshape(shape)) % TILE
    grid = (position * (2 / TILE) - 1).flatten(1).T.flip(-1)[None, None, None]  # (1, 1, 1, n, 3)
    sampled = functional.grid_sample(wrapped, grid, align_corners=True)
    return sampled.reshape(points_mm.shape[1:]) / _LINEAR_SD


def shift_linear(volume: Tensor, voxels: float, axis: int) -> Tensor:
    """Move a volume along an axis by a fraction of voxels; what leaves comes in at the other end.

    >>> shift_linear(torch.tensor([0.0, 1.0, 0.0, 0.0]), 0.25, 0).tolist()
    [0.0, 0.75, 0.25, 0.0]
    """
    whole = int(np.floor(voxels))
    part = voxels - whole
    near, far = volume.roll(whole, axis), volume.roll(whole + 1, axis)
    return (1 - part) * near + part * far
