"""Standardisation of image intensities.

The signal of an MR image has no unit. Percentiles of the tissue are moved to a model's landmarks
by a piecewise linear map (Nyul and Udupa 1999, doi:10.1002/(SICI)1522-2594(199912)42:6<1072), then
the tissue gets mean 0 and standard deviation 1. Air is excluded from all statistics, so the width
of the field of view has little influence on the result unless noise is strong.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PROBABILITIES_PERCENT = (2.0, 10.0, 25.0, 50.0, 75.0, 90.0, 98.0)
SIGNAL_FRACTION = 0.2
# Magnitudes of the noise of one coil follow a Rayleigh distribution: median 1.18, median absolute
# deviation 0.45 standard deviations of the noise. About 1.4 % of it are four deviations and more
# above the median of the rest, less where resampling has made it smoother.
NOISE_DEVIATIONS = 4.0
# Voxels of the model grid along x, y, z; slices are too far apart to be one's surroundings.
SMOOTH_VOXELS = (5, 5, 1)
DARKEST_PERCENT, ABOVE_DARKEST = 10.0, 1.5
HIGHEST_FRACTION = 0.65
MAX_ROUNDS = 20
BRIGHTEST_PERCENT = 99.5
OVERSHOOT = 0.5
MAX_ABSOLUTE = 6.0
LOWEST_LANDMARK, HIGHEST_LANDMARK = 0.0, 100.0

Landmarks = tuple[tuple[float, ...], ...]


def find_foreground(in_phase: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels with signal: above a fifth of the median of the voxels brighter than the mean.

    Air seldom exceeds the mean of an image, so this median is that of tissue, however much air
    there is, unless noise is strong and the field of view is very wide. The brightest half percent
    has no special weight. Where the noise of air reaches the fifth, no threshold separates air from
    tissue voxel by voxel; then the mean of each voxel's surroundings is compared with a threshold
    of its own, if there is one.

    >>> find_foreground(np.array([0.0, 0.1, 0.0, 1.0, 3.0, 2.0], dtype=np.float32)).tolist()
    [False, False, False, True, True, True]
    """
    tissue_signal = find_tissue_signal(in_phase)
    if tissue_signal is None:
        return np.ones(in_phase.shape, dtype=np.bool_)
    signal, limit = in_phase, SIGNAL_FRACTION * tissue_signal
    if not is_air_below(in_phase, limit):
        smooth = smooth_in_plane(in_phase)
        smooth_limit = find_smooth_limit(smooth[in_phase > 0])
        if smooth_limit is not None:
            signal, limit = smooth, smooth_limit
    foreground: NDArray[np.bool_] = (signal > limit) & (in_phase > 0)
    return foreground


def find_tissue_signal(volume: NDArray[np.float32]) -> float | None:
    """Median of the voxels brighter than the mean; None of a constant volume."""
    limited = np.minimum(volume, np.percentile(volume, BRIGHTEST_PERCENT))
    bright = limited[limited > limited.mean(dtype=np.float64)]
    return float(np.median(bright)) if bright.size else None


def is_air_below(in_phase: NDArray[np.float32], limit: float) -> bool:
    """Whether the voxels below a threshold could be air whose noise ends there.

    Also True if nothing is that dark. Zeros are not noise: scanners and other programs
    write them where they mask.

    References
    ----------
    Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618: magnitudes of noise follow a Rayleigh
    distribution.
    """
    return find_noise_end(in_phase[(in_phase > 0) & (in_phase <= limit)]) <= limit


def smooth_in_plane(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the SMOOTH_VOXELS around each voxel that are not zero; 0 where all are.

    >>> volume = np.array([2.0, 0.0, 4.0], dtype=np.float32).reshape(3, 1, 1)
    >>> smooth_in_plane(volume).round(2).ravel().tolist()
    [2.5, 3.0, 3.5]
    """
    total = ndimage.uniform_filter(volume, SMOOTH_VOXELS, mode="nearest")
    known = ndimage.uniform_filter((volume > 0).astype(np.float32), SMOOTH_VOXELS, mode="nearest")
    least = 0.5 / float(np.prod(SMOOTH_VOXELS))  # of one voxel that is not zero, less rounding
    smooth = np.divide(total, known, out=np.zeros_like(total), where=known > least)
    return np.asarray(smooth, dtype=np.float32)


def find_smooth_limit(smooth: NDArray[np.float32]) -> float | None:
    """Threshold between air and tissue for smoothed signals, if the noise of air is strong.

    Smoothed magnitudes of air cluster around their mean. Voxels below a threshold well above the
    darkest tenth, or below the fifth, count as air. If their upper end is higher, it becomes the
    threshold; this is repeated until the threshold is stable.

    Parameters
    ----------
    smooth : ndarray of float32, shape (voxels,)
        From :func:`smooth_in_plane`, without voxels that are zero.

    Returns
    -------
    float or None
        None where no end is found in MAX_ROUNDS or below HIGHEST_FRACTION of the tissue, because
        dark voxels merge into tissue, or no air is in view.
    """
    tissue_signal = find_tissue_signal(smooth) if smooth.size else None
    if tissue_signal is None:
        return None
    darkest = float(np.percentile(smooth, DARKEST_PERCENT))
    limit = max(SIGNAL_FRACTION * tissue_signal, ABOVE_DARKEST * darkest)
    for _ in range(MAX_ROUNDS):
        if limit > HIGHEST_FRACTION * tissue_signal:
            break
        end = find_noise_end(smooth[smooth <= limit])
        if end <= limit:
            return limit
        limit = end
    return None


def find_noise_end(noise: NDArray[np.float32]) -> float:
    """Four median absolute deviations above the median; 0 for no values.

    >>> find_noise_end(np.array([1.0, 2.0, 3.0, 9.0], dtype=np.float32))
    6.5
    """
    if not noise.size:
        return 0.0
    median = float(np.median(noise))
    return median + NOISE_DEVIATIONS * float(np.median(np.abs(noise - median)))


def percentiles(volume: NDArray[np.float32], foreground: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Signal at PROBABILITIES_PERCENT inside the foreground."""
    return np.percentile(volume[foreground].astype(np.float64), PROBABILITIES_PERCENT)


def learn_landmarks(scans: Iterable[NDArray[np.float32]]) -> Landmarks:
    """Mean percentiles of many scans, each first scaled to 0 at the lowest and 100 at the highest.

    Parameters
    ----------
    scans : iterable of ndarray of float32, shape (channels, x, y, z)
        In-phase first.

    Returns
    -------
    tuple of tuple of float
        For each channel a landmark for each of PROBABILITIES_PERCENT.

    Raises
    ------
    ValueError
        There is no scan.
    """
    shapes = []
    for scan in scans:
        foreground = find_foreground(scan[0])
        knots = np.stack([percentiles(volume, foreground) for volume in scan])
        span = np.maximum(knots[:, -1:] - knots[:, :1], np.finfo(np.float64).tiny)
        shapes.append((knots - knots[:, :1]) / span)
    if not shapes:
        raise ValueError("landmarks need at least one scan")
    mean = LOWEST_LANDMARK + (HIGHEST_LANDMARK - LOWEST_LANDMARK) * np.mean(shapes, axis=0)
    return tuple(tuple(round(float(value), 6) for value in row) for row in mean)


def standardise(
    channels: NDArray[np.float32],
    landmarks: Landmarks,
    foreground: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Map each channel's percentiles to the landmarks, then whiten with the foreground.

    Parameters
    ----------
    channels : ndarray of float32, shape (channels, x, y, z)
        In-phase first; it gives the foreground.
    landmarks : tuple of tuple of float
        As from :func:`learn_landmarks`.
    foreground : ndarray of bool, shape (x, y, z), optional
        From :func:`find_foreground`, if it was found before.

    Returns
    -------
    ndarray of float32, shape (channels, x, y, z)
        The same for any positive factor of the input; limited to -6 ... 6, so that a few voxels
        of an artefact cannot change a network's statistics.
    """
    foreground = find_foreground(channels[0]) if foreground is None else foreground
    return np.stack(
        [
            whiten(map_to_landmarks(volume, foreground, np.array(row)), foreground)
            for volume, row in zip(channels, landmarks, strict=True)
        ]
    )


def map_to_landmarks(
    volume: NDArray[np.float32], foreground: NDArray[np.bool_], landmarks: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Piecewise linear map of the percentiles to ``landmarks``.

    The end pieces extend beyond the outer landmarks by half of their distance; values farther out
    are clipped there. If percentiles coincide, only the first is used.
    """
    knots = percentiles(volume, foreground)
    kept = np.append(True, np.diff(knots) > 1e-6 * abs(knots[-1]))
    knots, landmarks = knots[kept], landmarks[kept]
    if len(knots) < 2:
        return np.zeros_like(volume)
    slopes = np.diff(landmarks) / np.diff(knots)
    values = volume.astype(np.float64)
    mapped = np.interp(values, knots, landmarks)
    mapped += slopes[0] * np.minimum(values - knots[0], 0.0)
    mapped += slopes[-1] * np.maximum(values - knots[-1], 0.0)
    reach = OVERSHOOT * (landmarks[-1] - landmarks[0])
    limited = np.clip(mapped, landmarks[0] - reach, landmarks[-1] + reach)
    return np.asarray(limited, dtype=np.float32)


def whiten(volume: NDArray[np.float32], foreground: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Subtract the foreground's mean, divide by its standard deviation, limit to -6 ... 6."""
    tissue = volume[foreground].astype(np.float64)
    scaled = (volume - tissue.mean()) / max(float(tissue.std()), 1e-5)
    return np.asarray(np.clip(scaled, -MAX_ABSOLUTE, MAX_ABSOLUTE), dtype=np.float32)
