"""What the values of two Dixon images say about each other.

For a true pair of magnitude images, IP = W + F and OOP = |W - F|. Pure water and pure fat are
therefore equally bright in both, up to T2* decay between the echoes, and every neck holds some of
each. Nothing is much brighter out of phase, all edges are at the same places, and fat and water
cancel somewhere.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.errors import PairError
from bids_mfi.measure.ranks import find_percentile
from bids_mfi.measure.regions import box_around

Volume = NDArray[np.float64]
Mask = NDArray[np.bool_]

# A voxel counts as negative below this fraction of the typical signal: interpolation and filters
# leave small negative values in magnitude images.
NEGATIVE_FRACTION = 0.2
NEGATIVE_SHARE_PERCENT = 1.0
# A phase fills its range evenly and jumps over most of it at wraps and in air. A magnitude image
# that tissue fills has values of all sizes, too, but hardly any such steps between neighbours.
EVEN_TENTH_PERCENT = 9.0
SUSPECT_TENTH_PERCENT, JUMPS_PERCENT = 1.0, 1.0
JUMP_FRACTION = 0.85
# Squared correlation of two images. A true pair differs by fat and by noise.
UNEXPLAINED_IF_IDENTICAL = 1e-3

SOLID_FRACTION = 0.4
SMOOTHING_VOXELS = (5, 3)  # along the finer axes, along the coarsest
SURFACE_VOXELS = 2
LEAST_SOLID_VOXELS = 200
CEILING_PERCENTILE = 99.8
T2STAR_MS = {3.0: 30.0, 1.5: 43.0}
LONGEST_BETWEEN_ECHOES_MS = 5.0
HOPELESS_FACTOR = 4.0
HOPELESS_FLOOR = 1.5
EDGE_SMOOTHING_VOXELS = 3
EDGE_FRACTION = 0.2
EDGE_MARGIN_VOXELS = 2
CANCELLED_FRACTION = 0.8


def measure_weighted_signal(image: Volume) -> float:
    """Mean of the absolute values, weighted by themselves; 0 where all are 0.

    Air has little weight, so its share of the view does not matter.

    Examples
    --------
    >>> measure_weighted_signal(np.array([0.0, 0.0, 0.0, 8.0, 8.0]))
    8.0
    """
    sizes = image if image.min(initial=0) >= 0 else np.abs(image)
    total = float(sizes.sum())
    return float(np.square(image).sum()) / total if total else 0.0


def check_magnitude(image: Volume) -> None:
    """Raise PairError for an image that is not a magnitude: signed, a phase, or noise.

    Raises
    ------
    PairError
        The message does not name the file.
    """
    negative_percent = _measure_negative_percent(image)
    if negative_percent > NEGATIVE_SHARE_PERCENT:
        raise PairError(
            f"{negative_percent:.0f} % of the voxels are clearly negative (down to "
            f"{image.min():g}), expected a magnitude image, which has no negative signal. This is "
            "a phase, real or imaginary image, or one reconstructed with its sign. Export the "
            "magnitude image (ImageType M), or name it with --bids-filter-file."
        )
    if _looks_like_phase(image):
        raise PairError(
            f"the values fill their range from {image.min():g} to {image.max():g} evenly, as in "
            "a phase image, a map of fractions or pure noise. Expected a magnitude image, of which "
            "few voxels are nearly as bright as the brightest. Export the magnitude image "
            "(ImageType M), or name it with --bids-filter-file."
        )


def _measure_negative_percent(image: Volume) -> float:
    """Share of the voxels that are clearly below 0, percent."""
    if image.min() >= 0:
        return 0.0
    below = -NEGATIVE_FRACTION * measure_weighted_signal(image)
    return 100 * float((image < below).mean())


def _looks_like_phase(image: Volume) -> bool:
    if _bound_least_tenth_percent(image) < SUSPECT_TENTH_PERCENT:
        return False
    percent = measure_least_tenth_percent(image)
    if percent < SUSPECT_TENTH_PERCENT:
        return False
    return percent >= EVEN_TENTH_PERCENT or measure_jumps_percent(image) >= JUMPS_PERCENT


def measure_jumps_percent(image: Volume) -> float:
    """Share of neighbours along any axis that differ by more than JUMP_FRACTION of the range.

    Examples
    --------
    >>> measure_jumps_percent(np.array([[[0.0, 90.0, 100.0]]]))
    50.0
    """
    limit = JUMP_FRACTION * (image.max() - image.min())
    steps = [np.abs(np.diff(image, axis=axis)) > limit for axis in range(image.ndim)]
    large, size = sum(int(step.sum()) for step in steps), sum(step.size for step in steps)
    return float(100 * large / max(size, 1))


def _bound_least_tenth_percent(image: Volume) -> float:
    """Upper bound of :func:`measure_least_tenth_percent`, found many times faster.

    The emptiest tenth has no more voxels than the brightest one, here taken a little too wide. The
    most frequent value is either below or above any limit, so the voxels that are left are at least
    those on the smaller side.
    """
    low, high = float(image.min()), float(image.max())
    brightest = np.count_nonzero(image >= low + 0.89 * (high - low))
    above = np.count_nonzero(image > low + 0.1 * (high - low))
    left = min(above, image.size - above)
    return float(100 * brightest / left) if left else math.inf


def measure_least_tenth_percent(image: Volume) -> float:
    """Share of the voxels in the emptiest tenth of the range of values, percent.

    The most frequent value is left out: it is that of masked air.

    Examples
    --------
    >>> measure_least_tenth_percent(np.arange(100.0))
    9.0909...
    >>> measure_least_tenth_percent(np.array([0.0, 1.0, 2.0, 3.0, 100.0]))
    0.0
    """
    counts, _ = np.histogram(image, bins=10)
    values, frequencies = np.unique(image, return_counts=True)
    most = int(frequencies.argmax())
    span = float(image.max() - image.min()) or 1.0
    counts[min(int(10 * (values[most] - image.min()) / span), 9)] -= frequencies[most]
    left = image.size - int(frequencies[most])
    return 100 * float(counts.min()) / left if left else 0.0


def is_same_image(first: Volume, second: Volume) -> bool:
    """Whether two images are the same, even if one was scaled by a constant and rounded.

    Examples
    --------
    >>> image = np.array([1.0, 5.0, 2.0, 9.0])
    >>> is_same_image(image, 2.5 * image + 1), is_same_image(image, image[::-1])
    (True, False)
    """
    if np.array_equal(first, second):
        return True
    # In the order of the memory of an image that was read; any other would copy at random places.
    one, other = ((image - image.mean()).ravel(order="F") for image in (first, second))
    variances = float(np.vdot(one, one) * np.vdot(other, other))
    if not variances:
        return False
    covariance = float(np.vdot(one, other))
    return covariance > 0 and 1 - covariance**2 / variances < UNEXPLAINED_IF_IDENTICAL


def smooth(image: Volume) -> Volume:
    """Average over neighbours, which leaves little noise: over fewer along the coarsest axis."""
    fine, coarse = SMOOTHING_VOXELS
    fewest = int(np.argmin(image.shape))
    sizes = [coarse if axis == fewest else fine for axis in range(3)]
    smoothed: Volume = ndimage.uniform_filter(image, sizes, mode="nearest")
    return smoothed


def find_interior(smooth_in_phase: Volume) -> Mask:
    """Voxels of bright tissue, away from air, if there are enough of them."""
    solid: Mask = smooth_in_phase > SOLID_FRACTION * measure_weighted_signal(smooth_in_phase)
    interior: Mask = ndimage.binary_erosion(solid, iterations=SURFACE_VOXELS, border_value=1)
    return interior if np.count_nonzero(interior) >= LEAST_SOLID_VOXELS else solid


def draw_ratios(in_phase: Volume, out_phase: Volume) -> Volume:
    """OOP / IP in bright tissue, of smoothed images, one-dimensional.

    Empty where there are fewer than LEAST_SOLID_VOXELS.
    """
    inside, outside = smooth(in_phase), smooth(out_phase)
    interior = find_interior(inside)
    if np.count_nonzero(interior) < LEAST_SOLID_VOXELS:
        return np.empty(0)
    ratios: Volume = outside[interior] / inside[interior]
    return ratios


def measure_decay(
    echo_times_ms: tuple[float | None, float | None], field_strength_t: float | None
) -> float:
    """OOP / IP of pure water due to T2* decay alone; 1 where echo times are unknown.

    Examples
    --------
    >>> round(measure_decay((2.46, 1.23), 3.0), 3), round(measure_decay((4.77, 2.39), 1.5), 3)
    (1.042, 1.057)
    >>> measure_decay((None, 1.23), 3.0)
    1.0
    """
    in_phase_ms, out_phase_ms = echo_times_ms
    if in_phase_ms is None or out_phase_ms is None:
        return 1.0
    known = field_strength_t or 3.0
    nearest = min(T2STAR_MS, key=lambda field_t: abs(field_t - known))
    apart_ms = in_phase_ms - out_phase_ms
    limit_ms = LONGEST_BETWEEN_ECHOES_MS
    return math.exp(min(max(apart_ms, -limit_ms), limit_ms) / T2STAR_MS[nearest])


def measure_ceiling(ratios: Volume) -> float:
    """Upper end of OOP / IP: that of pure water and pure fat; NaN without ratios."""
    return find_percentile(ratios, CEILING_PERCENTILE) if ratios.size else float("nan")


def measure_cancelled_percent(ratios: Volume) -> float:
    """Share of voxels in which fat and water partly cancel out of phase, percent.

    Those below CANCELLED_FRACTION of the ceiling; NaN without ratios.

    Examples
    --------
    >>> measure_cancelled_percent(np.array([1.0, 1.0, 0.9, 0.5]))
    25.0
    """
    if not ratios.size:
        return float("nan")
    return 100 * float((ratios < CANCELLED_FRACTION * measure_ceiling(ratios)).mean())


@dataclass(frozen=True, slots=True)
class RatioMeasures:
    """OOP / IP in bright tissue; NaN where there is too little tissue.

    Attributes
    ----------
    ceiling, floor : float
        Upper and lower end: CEILING_PERCENTILE, and as many percent from below.
    cancelled_percent : float
        From :func:`measure_cancelled_percent`.
    """

    ceiling: float
    floor: float
    cancelled_percent: float


def measure_ratios(in_phase: Volume, out_phase: Volume) -> RatioMeasures:
    """Measure OOP / IP in bright tissue, of smoothed images."""
    ratios = draw_ratios(in_phase, out_phase)
    if not ratios.size:
        return RatioMeasures(*(float("nan"),) * 3)
    floor = find_percentile(ratios, 100 - CEILING_PERCENTILE)
    return RatioMeasures(measure_ceiling(ratios), floor, measure_cancelled_percent(ratios))


def check_scale(in_phase: Volume, out_phase: Volume) -> None:
    """Raise PairError if one image is too much brighter to measure anything.

    Raises
    ------
    PairError
        The message names the factor, not the files.
    """
    check_ratios(measure_ratios(in_phase, out_phase))


def check_ratios(ratios: RatioMeasures) -> None:
    """Check the ratios of :func:`check_scale`, measured before.

    Raises
    ------
    PairError
        As there.
    """
    if math.isnan(ratios.ceiling):
        return
    if ratios.ceiling * HOPELESS_FACTOR > 1 and ratios.floor < HOPELESS_FLOOR:
        return
    raise PairError(
        f"the out-of-phase image is stored on another scale than the in-phase image: at most "
        f"{ratios.ceiling:.3g} times as bright, where pure water and pure fat must be about "
        "equally bright in both. Export both images with one scale (without stretching, windowing "
        "or normalising each), or correct scl_slope of the one that is wrong."
    )


def measure_shared_edges(in_phase: Volume, out_phase: Volume) -> float:
    """Correlation of the relative gradients of two images in and around tissue, -1 to 1.

    Edges of one body are at the same place in both, whatever the contrast. 0 where an image has
    none.
    """
    smoothed = [
        ndimage.uniform_filter(image, EDGE_SMOOTHING_VOXELS, mode="nearest")
        for image in (in_phase, out_phase)
    ]
    typical = [measure_weighted_signal(image) for image in smoothed]
    near = ndimage.binary_dilation(
        smoothed[0] > SOLID_FRACTION * typical[0], iterations=EDGE_MARGIN_VOXELS
    )
    if not near.any():
        return 0.0
    box = box_around(near)
    first, second = (
        _relative_gradient(image[box], EDGE_FRACTION * signal)[near[box]]
        for image, signal in zip(smoothed, typical, strict=True)
    )
    if first.size < LEAST_SOLID_VOXELS or not (first.std() > 0 and second.std() > 0):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _relative_gradient(image: Volume, floor: float) -> Volume:
    """Length of the gradient over the signal, for each voxel; the floor suppresses noise in air."""
    squares = sum(np.square(np.gradient(image, axis=axis)) for axis in range(image.ndim))
    relative: Volume = np.sqrt(squares) / np.maximum(np.abs(image) + floor, np.finfo(float).tiny)
    return relative


def fit_fat_weight(in_phase: Volume, fat: Volume, water: Volume) -> tuple[float, float, float]:
    """How well the sum of fat and water reproduces the in-phase image.

    IP = a W + b F is fitted to smoothed images in tissue. In a true set, a and b are equal.

    Returns
    -------
    weight : float
        b / a: above 1 where fat is stored too dark; NaN where a is not above 0.
    residual_percent : float
        Mean of abs(IP - a W - b F), percent of the mean of IP.
    unexplained_percent : float
        Variance of F that IP - a W does not explain, as for a fraction instead of a signal.
    """
    smoothed = [smooth(image) for image in (in_phase, fat, water)]
    solid = smoothed[0] > SOLID_FRACTION * measure_weighted_signal(smoothed[0])
    if np.count_nonzero(solid) < LEAST_SOLID_VOXELS:
        return float("nan"), float("nan"), float("nan")
    whole, fats, waters = (image[solid] for image in smoothed)
    sides = np.stack([waters, fats], axis=1)
    (a, b), *_ = np.linalg.lstsq(sides, whole)
    residual_percent = 100 * float(np.abs(whole - sides @ [a, b]).mean() / whole.mean())
    weight = float(b / a) if a > 0 else float("nan")
    return weight, residual_percent, _measure_unexplained_percent(fats, whole - a * waters)


def _measure_unexplained_percent(values: Volume, by: Volume) -> float:
    """Variance of values not explained by a straight line; 100 where either is constant.

    Examples
    --------
    >>> round(_measure_unexplained_percent(np.array([1.0, 2.0, 3.0]), np.array([4.0, 2.0, 0.0])), 9)
    0.0
    """
    if not (values.std() > 0 and by.std() > 0):
        return 100.0
    return 100 * (1 - float(np.corrcoef(values, by)[0, 1]) ** 2)
