"""Fat and water of in-phase and out-of-phase signals.

IP = W + F and OOP = W - F of water W and fat F. For *magnitude* images OOP = |W - F|, so the
arithmetic of :func:`fat_and_water` gives the smaller and the larger of the two signals: it folds
at 50 % fat.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bids_mfi.errors import PairError
from bids_mfi.measure.ranks import find_median, find_percentile

# A pair counts as swapped when voxels much brighter out of phase outnumber the opposite by a share
# of all voxels with signal. Noise makes as many of either kind. T2* decay makes a ratio of 1.25 in
# the 2.3 ms between the echoes at 1.5 T only where T2* is below 10 ms.
STRONG_RATIO = 1.25
SIGNAL_FRACTION = 0.10
SWAPPED_FRACTION = 0.15
FAT_SHIFT_PPM = 3.4
PROTON_MHZ_PER_T = 42.577


@dataclass(frozen=True, slots=True, eq=False)
class ScanSignals:
    """The four signals of a scan: arrays of float64 of one shape, in the scanner's units.

    Fat and water are computed from the other two or the scanner's own.
    """

    in_phase: NDArray[np.float64]
    out_phase: NDArray[np.float64]
    fat: NDArray[np.float64]
    water: NDArray[np.float64]


def fat_and_water(
    in_phase: NDArray[np.float64], out_phase: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fat F = (IP - OOP) / 2 and water W = (IP + OOP) / 2 of every voxel.

    Parameters
    ----------
    in_phase, out_phase : ndarray of float64, same shape
        Signal in the scanner's units.

    Returns
    -------
    fat, water : ndarray of float64
        Not clipped: noise and T2* decay can make fat slightly negative.

    References
    ----------
    Weber et al. 2021, doi:10.1038/s41598-021-95972-x, Image acquisition.

    Examples
    --------
    >>> fat, water = fat_and_water(np.array([10.0]), np.array([6.0]))
    >>> fat.item(), water.item()
    (2.0, 8.0)
    """
    return (in_phase - out_phase) / 2, (in_phase + out_phase) / 2


Signal = TypeVar("Signal", float, NDArray[np.float64])


def mfi_percent(fat: Signal, water: Signal) -> Signal:
    """Muscle fat infiltration 100 F / (F + W), percent, of sums or means over voxels with signal.

    Examples
    --------
    >>> mfi_percent(20.0, 80.0)
    20.0
    """
    return 100 * fat / (fat + water)


def fat_fraction_percent(
    fat: NDArray[np.float64], water: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Voxelwise fat fraction 100 F / (F + W), percent; NaN where F + W is not positive.

    Examples
    --------
    >>> fat_fraction_percent(np.array([2.0, 0.0]), np.array([8.0, 0.0])).tolist()
    [20.0, nan]
    """
    total = fat + water
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 100 * fat / total, np.nan)


def strong_contrast_counts(
    signal: NDArray[np.bool_], in_phase: NDArray[np.float64], out_phase: NDArray[np.float64]
) -> tuple[int, int]:
    """Count voxels much brighter in phase, and voxels much brighter out of phase.

    Fat and water cancel out of phase, so the first number is large in every true pair with fat;
    noise adds to both equally. "Much" means by more than STRONG_RATIO. Only voxels with signal
    count.

    Examples
    --------
    >>> signal = np.array([True, True])
    >>> strong_contrast_counts(signal, np.array([10.0, 9.0]), np.array([5.0, 9.5]))
    (1, 0)
    """
    return (
        int(np.count_nonzero(signal & (in_phase > STRONG_RATIO * out_phase))),
        int(np.count_nonzero(signal & (out_phase > STRONG_RATIO * in_phase))),
    )


def has_signal(image: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the voxels whose signal is above SIGNAL_FRACTION of the bright ones."""
    mask: NDArray[np.bool_] = image > max(SIGNAL_FRACTION * find_percentile(image, 99), 0)
    return mask


def measure_typical_signal(in_phase: NDArray[np.float64]) -> float:
    """Median in-phase signal of tissue; 0 where nothing has signal.

    Tissue is everything brighter than SIGNAL_FRACTION of the 99th percentile, so that neither air
    nor a few bright voxels count.

    Examples
    --------
    >>> measure_typical_signal(np.array([0.0, 0.1, 8.0, 10.0, 12.0]))
    10.0
    """
    tissue = in_phase.T[has_signal(in_phase).T]  # an image that was read is stored like this
    return find_median(tissue) if tissue.size else 0.0


def measure_disagreement_percent(signals: ScanSignals) -> float:
    """How far fat and water are from the in-phase and out-of-phase images of their scan.

    For every pair of magnitudes, IP = F + W and OOP = |W - F|, up to a common scale. The larger
    of the two differences, in percent of the brighter of F + W and the scaled IP, is averaged over
    the voxels in which either has signal. Fat exchanged with water makes no difference at all.

    Returns
    -------
    float
        0 to 100; NaN where no voxel has signal.

    Examples
    --------
    >>> ip, oop = np.array([10.0, 10.0]), np.array([6.0, 8.0])
    >>> measure_disagreement_percent(ScanSignals(ip, oop, *fat_and_water(ip, oop)))
    0.0
    >>> measure_disagreement_percent(ScanSignals(ip, oop, oop, oop)) > 50
    True
    """
    total = signals.fat + signals.water
    tissue = has_signal(signals.in_phase) | has_signal(total)
    if not tissue.any():
        return float("nan")
    in_phase, total = signals.in_phase[tissue], total[tissue]
    if np.median(in_phase) <= 0 or np.median(total) <= 0:
        return 100.0
    scale = np.median(total) / np.median(in_phase)
    out_phase = np.abs(signals.water - signals.fat)[tissue]
    off = np.maximum(
        np.abs(total - scale * in_phase),
        np.abs(out_phase - scale * np.abs(signals.out_phase[tissue])),
    )
    return 100 * float(np.minimum(off / np.maximum(total, scale * in_phase), 1).mean())


def check_phase_order(in_phase: NDArray[np.float64], out_phase: NDArray[np.float64]) -> None:
    """Raise PairError when the two images are exchanged.

    A pair without fat passes either way: nothing in it distinguishes the two.

    Raises
    ------
    PairError
        Voxels much brighter out of phase outnumber the opposite by more than SWAPPED_FRACTION of
        the voxels with signal.
    """
    found = has_signal(np.maximum(in_phase, out_phase))
    more_in_phase, more_out_phase = strong_contrast_counts(found, in_phase, out_phase)
    signal = int(np.count_nonzero(found))
    if more_out_phase - more_in_phase > SWAPPED_FRACTION * signal:
        raise PairError(
            f"in-phase and out-of-phase look exchanged: of {signal} voxels with signal, "
            f"{more_out_phase} are more than {STRONG_RATIO:g} times brighter in the image taken "
            f"for out-of-phase, and {more_in_phase} in the other. Fat and water cancel out of "
            "phase, so the in-phase image must be the brighter one. Correct the names or the "
            "sidecars, or name the images with --bids-filter-file. If the names are right, the "
            "out-of-phase image is stored on a larger scale: export both with one scale."
        )


def phase_cosine(echo_time_s: float, frequency_mhz: float) -> float:
    """cos(2 pi 3.4 ppm f TE): 1 when fat and water are in phase, -1 when they are opposed.

    >>> round(phase_cosine(0.00123, 127.731), 2), round(phase_cosine(0.00246, 127.731), 2)
    (-0.98, 0.91)
    """
    return math.cos(2 * math.pi * FAT_SHIFT_PPM * frequency_mhz * echo_time_s)
