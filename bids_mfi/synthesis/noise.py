"""Smooth random noise at arbitrary points."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

TILE = 32
# Standard deviation over all positions of white noise interpolated linearly between its nodes.
_LINEAR_SD = (2 / 3) ** 1.5


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """Make a torch generator on the CPU, with a seed from a NumPy generator."""
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def smooth_noise(
    rng: np.random.Generator, points_mm: Tensor, length_mm: tuple[float, float, float]
) -> Tensor:
    """Draw noise of mean 0 and standard deviation near 1, correlated over ``length_mm``.

    White noise at nodes ``length_mm`` apart is interpolated linearly. The pattern repeats after
    TILE nodes.

    Parameters
    ----------
    rng : Generator
    points_mm : Tensor of float32, shape (3, ...)
    length_mm : tuple of float
        Correlation length along x, y and z.

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
    """Shift a volume cyclically along an axis by a fractional number of voxels.

    >>> shift_linear(torch.tensor([0.0, 1.0, 0.0, 0.0]), 0.25, 0).tolist()
    [0.0, 0.75, 0.25, 0.0]
    """
    whole = int(np.floor(voxels))
    part = voxels - whole
    near, far = volume.roll(whole, axis), volume.roll(whole + 1, axis)
    return (1 - part) * near + part * far
