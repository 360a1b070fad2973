"""Division of both images by the signal of their surroundings.

The signal of an MR image has no unit, and with a surface coil it decreases by a factor of three or
more from skin to spine. The in-phase image is divided by its own local mean, and the out-of-phase
image by the same mean, so that their ratio, which distinguishes fat from water, is kept. Anything
beyond the surroundings, such as brain or shoulders, has no influence on the result.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.network.intensity import find_foreground

SIGMA_MM = 18.0
# The mean is formed on a coarser grid of about this voxel size; it is smooth.
COARSE_MM = 4.0
# Where the surroundings hold less signal than this share of the tissue's median, as in air, the
# image is divided by that share.
LEAST_SHARE = 0.08
LOWEST, HIGHEST = -2.0, 4.0
SPREAD = 0.5


def standardise_locally(
    channels: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    foreground: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Express each voxel by the mean in-phase signal of the tissue around it.

    Parameters
    ----------
    channels : ndarray of float32, shape (channels, x, y, z)
        In-phase first.
    spacing_mm : tuple of float
    foreground : ndarray of bool, shape (x, y, z), optional
        From :func:`bids_mfi.network.intensity.find_foreground`, if it was found before.

    Returns
    -------
    ndarray of float32, shape (channels, x, y, z)
        0 where the signal equals the local mean, -2 where there is none, 4 at most. The same for
        any positive factor common to both images.

    Examples
    --------
    >>> even = np.full((2, 8, 8, 8), 7.0, dtype=np.float32)
    >>> bool(np.allclose(standardise_locally(even, (1.0, 1.0, 3.0)), 0, atol=1e-5))
    True
    """
    foreground = find_foreground(channels[0]) if foreground is None else foreground
    local = local_mean(channels[0], foreground, spacing_mm)
    scaled = (channels / local - 1.0) / SPREAD
    return np.asarray(np.clip(scaled, LOWEST, HIGHEST), dtype=np.float32)


def local_mean(
    in_phase: NDArray[np.float32],
    foreground: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float32]:
    """Mean signal of the foreground around each voxel, weighted by a Gaussian of SIGMA_MM.

    Parameters
    ----------
    in_phase : ndarray of float32, shape (x, y, z)
    foreground : ndarray of bool, shape (x, y, z)
    spacing_mm : tuple of float

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Positive everywhere.
    """
    tissue = in_phase[foreground]
    middle = float(np.median(tissue)) if tissue.size else 1.0
    steps = tuple(max(1, round(COARSE_MM / size)) for size in spacing_mm)
    weights = _reduce(foreground.astype(np.float32), steps)
    signal = _reduce(np.where(foreground, in_phase, np.float32(0)), steps)
    sigma = [SIGMA_MM / (size * step) for size, step in zip(spacing_mm, steps, strict=True)]
    total, known = (
        ndimage.gaussian_filter(part, sigma, mode="constant", truncate=3.0)
        for part in (signal, weights)
    )
    coarse = np.asarray(total / np.maximum(known, np.float32(1e-3)), dtype=np.float32)
    fine = _enlarge(coarse, steps, in_phase.shape)
    least = max(LEAST_SHARE * middle, float(np.finfo(np.float32).tiny))
    return np.maximum(fine, np.float32(least))


def _reduce(volume: NDArray[np.float32], steps: tuple[int, ...]) -> NDArray[np.float32]:
    """Means of blocks of ``steps`` voxels; the last block of an axis repeats its edge."""
    missing = [(0, -size % step) for size, step in zip(volume.shape, steps, strict=True)]
    padded = np.pad(volume, missing, mode="edge")
    x, y, z = (size // step for size, step in zip(padded.shape, steps, strict=True))
    a, b, c = steps
    return np.asarray(padded.reshape(x, a, y, b, z, c).mean(axis=(1, 3, 5)), dtype=np.float32)


def _enlarge(
    coarse: NDArray[np.float32], steps: tuple[int, ...], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Interpolate between the middles of blocks linearly, axis by axis."""
    for axis, (step, size) in enumerate(zip(steps, shape, strict=True)):
        count = coarse.shape[axis]
        at = np.clip((np.arange(size) - (step - 1) / 2) / step, 0, count - 1)
        low = np.minimum(at.astype(int), max(count - 2, 0))
        part = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        high = np.minimum(low + 1, count - 1)
        coarse = coarse.take(low, axis) * (1 - part) + coarse.take(high, axis) * part
    return coarse
