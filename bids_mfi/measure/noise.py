"""Noise of a pair, estimated from second differences."""

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bids_mfi.measure.dixon import ScanSignals
from bids_mfi.measure.ranks import find_median
from bids_mfi.measure.regions import box_around

LEAST_NOISE_VOXELS = 200
SECOND_DIFFERENCES_NORM = 6.0  # of the weights (1, -2, 1) x (1, -2, 1): root of their squares' sum
NOISE_ANGLES = 30
MAD_TO_SD = 1.4826
ABOUT_AS_FINE = 1.02


def measure_noise_percent(
    signals: ScanSignals, where: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float:
    """Noise of a voxel in a region of the two images, percent of the median in-phase signal.

    A second difference along each of the two finest axes leaves noise and fine structure. A voxel
    with more fat is brighter in one image and darker in the other, in a constant ratio. Of all
    mixtures of the two images' residuals, the one that varies least is therefore free of fat; its
    median absolute deviation gives the noise. Strong noise is underestimated in magnitude images.
    Noise that a scanner or program has smoothed, or interpolated to finer voxels, is underestimated
    or missed.

    Parameters
    ----------
    signals : ScanSignals
    where : ndarray of bool, shape of the signals
    spacing_mm : tuple of float
        Size of a voxel along each axis. Where axes are about equally fine, all pairs of them are
        measured and the largest result counts.

    Returns
    -------
    float
        NaN where the region has fewer than LEAST_NOISE_VOXELS that have neighbours along the two
        axes, or no signal.

    References
    ----------
    Immerkaer 1996, doi:10.1006/cviu.1996.0060: the second differences, of one image.
    """
    if not where.any():
        return float("nan")
    box = box_around(where)
    images = signals.in_phase[box], signals.out_phase[box]
    found = [
        _noise_along(axes, images, where[box])
        for axes in combinations(range(3), 2)
        if sum(sorted(spacing_mm)[:2]) * ABOUT_AS_FINE >= sum(spacing_mm[axis] for axis in axes)
    ]
    known = [value for value in found if not math.isnan(value)]
    return max(known, default=float("nan"))


def _noise_along(
    axes: tuple[int, ...], images: tuple[NDArray[np.float64], ...], where: NDArray[np.bool_]
) -> float:
    """Noise from second differences along two axes, percent; NaN where there are too few."""
    inner = tuple(slice(1, -1) if axis in axes else slice(None) for axis in range(3))
    inside = where[inner]
    if np.count_nonzero(inside) < LEAST_NOISE_VOXELS:
        return float("nan")
    typical = find_median(images[0][where])
    if typical <= 0:
        return float("nan")
    first, second = (
        np.diff(np.diff(image, 2, axes[0]), 2, axes[1])[inside] / SECOND_DIFFERENCES_NORM
        for image in images
    )
    return 100 * MAD_TO_SD * _least_deviation(first, second) / typical


def _least_deviation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Least median absolute deviation of cos(a) x first + sin(a) x second, over all angles a.

    Unlike the smallest eigenvalue of a covariance, it is robust to a few voids and vessels.
    """

    def deviation(angle: float) -> float:
        mixed = np.cos(angle) * first + np.sin(angle) * second
        return find_median(np.abs(mixed - find_median(mixed)))

    step = np.pi / NOISE_ANGLES
    nearest = min(step * np.arange(NOISE_ANGLES), key=deviation)
    return min(map(deviation, nearest + np.linspace(-step, step, NOISE_ANGLES)))
