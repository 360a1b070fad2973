"""Reasons to doubt that the images of a scan belong together.

Each flag concerns the whole scan and is an error unless stated: no number of the scan can be
trusted.

``docs/decisions/pair-agreement.md`` describes how the limits were found and what passes them.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bids_mfi.measure.dixon import ScanSignals, measure_typical_signal
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.pair_checks import (
    RatioMeasures,
    fit_fat_weight,
    measure_decay,
    measure_ratios,
    measure_shared_edges,
    measure_weighted_signal,
)
from bids_mfi.measure.quality import QCFlag
from bids_mfi.measure.ranks import find_percentile

# Ceiling of OOP / IP over that of decay. Clean scans: 0.89 to 1.04.
LEAST_CEILING, MOST_CEILING = 0.84, 1.06
USUAL_CEILING = 0.98
# Where echo times are unknown, T2* decay can make the ceiling this much higher or lower.
UNKNOWN_DECAY = 1.06
# Vendor slopes that differ by more leave a doubt if the ceiling is not close to the usual one.
SLOPE_TOLERANCE = 0.02
DOUBTFUL_CEILING = (0.92, 1.02)
# Clean scans: 0.46 and more, also moved by a voxel; images of two persons: up to 0.37.
LEAST_SHARED_EDGES = 0.40
# Clean scans: 47 % and more. Two in-phase images: below 1 %.
LEAST_CANCELLED_PERCENT = 5.0
# True sets: 0.95 to 1.09, residual up to 1.2 %.
LEAST_FAT_WEIGHT, MOST_FAT_WEIGHT = 0.8, 1.25
MOST_FIT_RESIDUAL_PERCENT = 5.0
# Variance of fat that IP - a W leaves: up to 1.4 % of true sets, 46 % and more of a PDFF as fat.
MOST_UNEXPLAINED_PERCENT = 25.0
# Of the voxels with half of the typical signal in one image, those that are exactly 0 in the other.
# Fat and water that cancel leave noise; clean scans: below 1 %.
MOST_LOST_PERCENT = 5.0
# Of an image whose darkest voxels are air, or fat and water that cancel; clean scans: below 3 %.
MOST_FLOOR_PERCENT = 8.0
# Up to here the noise of many coils, combined as a root of squares, may be the floor.
CERTAIN_FLOOR_PERCENT = 25.0
FLOOR_PERCENTILE = 0.1
# An image other than the out-of-phase one may hold no dark voxel where no air is in view.
LEAST_AIR_PERCENT = 25.0


def check_pair(
    signals: ScanSignals, pair: DixonPair, computed: bool, ratios: RatioMeasures | None = None
) -> list[QCFlag]:
    """Collect the doubts whether the images of a scan are a pair, or a set.

    Parameters
    ----------
    signals : ScanSignals
    pair : DixonPair
        For echo times, field strength and vendor slopes.
    computed : bool
        Fat and water were computed from the pair, so that they follow it anyhow.
    ratios : RatioMeasures, optional
        Those of the signals, if they were measured before.
    """
    ratios = ratios or measure_ratios(signals.in_phase, signals.out_phase)
    flags = check_edges(measure_shared_edges(signals.in_phase, signals.out_phase))
    flags += check_ceiling(ratios.ceiling, pair)
    flags += check_cancellation(ratios.cancelled_percent)
    flags += check_lost_signal(signals.in_phase, signals.out_phase)
    images = {"in-phase": signals.in_phase, "out-of-phase": signals.out_phase}
    flags += check_offset(
        images if computed else images | {"fat": signals.fat, "water": signals.water}
    )
    return flags if computed else flags + check_fat_weight(signals)


def check_lost_signal(
    in_phase: NDArray[np.float64], out_phase: NDArray[np.float64]
) -> list[QCFlag]:
    """Flag an image that is empty where the other shows tissue: lost slices, or a mask."""
    percent, empty = max(
        (_measure_lost_percent(in_phase, out_phase), "out-of-phase"),
        (_measure_lost_percent(out_phase, in_phase), "in-phase"),
    )
    if not percent > MOST_LOST_PERCENT:
        return []
    text = (
        f"In {percent:.0f} % of the tissue (limit {MOST_LOST_PERCENT:g} %) the {empty} image is "
        "exactly 0 where the other image shows signal. Slices or rows are missing, or the image "
        "was masked. Export or convert it again."
    )
    return [QCFlag("lost_signal", "error", "", percent, MOST_LOST_PERCENT, text)]


def _measure_lost_percent(shown: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Share of the bright voxels of one image that are 0 in the other, percent.

    >>> _measure_lost_percent(np.array([8.0, 10.0, 0.0]), np.array([0.0, 9.0, 0.0]))
    50.0
    """
    bright = shown > 0.5 * measure_typical_signal(shown)
    count, lost = np.count_nonzero(bright), np.count_nonzero(bright & (other == 0))
    return 100 * float(lost / count) if count else 0.0


def check_offset(images: Mapping[str, NDArray[np.float64]]) -> list[QCFlag]:
    """Flag images that are bright everywhere: a constant was added to their values.

    Parameters
    ----------
    images : mapping of str to ndarray, all of one shape
        By their names for the message, ``out-of-phase`` among them. In that image fat and water
        cancel somewhere; the others are judged where air is in view.
    """
    out_phase = images["out-of-phase"]
    typical = measure_weighted_signal(out_phase)
    floor = _measure_floor_percent(out_phase, typical)
    raised = floor > MOST_FLOOR_PERCENT
    air = _measure_dark_percent(out_phase, typical) >= LEAST_AIR_PERCENT
    judged = images if air or raised else {"out-of-phase": out_phase}
    floors = {
        name: floor
        if image is out_phase
        else _measure_floor_percent(image, measure_weighted_signal(image))
        for name, image in judged.items()
    }
    found = [name for name, percent in floors.items() if percent > MOST_FLOOR_PERCENT]
    if not found:
        return []
    percent, limit = max(floors[name] for name in found), MOST_FLOOR_PERCENT
    text = (
        f"Even the darkest voxels of {' and '.join(found)} have {percent:.0f} % of the typical "
        f"signal (limit {limit:g} %), where a magnitude image has almost none. A constant seems to "
        "have been added (scl_inter of the header, or an intercept), which makes the MFI wrong. "
        "Export the images without it, or correct scl_inter."
    )
    severity = "error" if percent > CERTAIN_FLOOR_PERCENT else "warning"
    if severity == "warning":
        text += " Strong noise from many combined coils looks similar."
    return [QCFlag("signal_offset", severity, "", percent, limit, text)]


def _measure_floor_percent(image: NDArray[np.float64], typical: float) -> float:
    """Signal of the darkest voxels, percent of the typical signal; 0 where there is none.

    >>> _measure_floor_percent(np.full((2, 2), 7.0), 7.0), _measure_floor_percent(np.zeros(4), 0.0)
    (100.0, 0.0)
    """
    if not typical:
        return 0.0
    return 100 * find_percentile(image, FLOOR_PERCENTILE) / typical


def _measure_dark_percent(image: NDArray[np.float64], typical: float) -> float:
    """Share of the voxels that are darker than MOST_FLOOR_PERCENT of the typical signal."""
    dark = image < MOST_FLOOR_PERCENT / 100 * typical
    return 100 * float(dark.mean())


def check_edges(correlation: float) -> list[QCFlag]:
    """Flag two images whose edges are at different places: two bodies, or noise."""
    if not correlation < LEAST_SHARED_EDGES:
        return []
    text = (
        "The in-phase and out-of-phase images do not show the same body: the correlation of their "
        f"edges is {correlation:.2f} (a pair has at least {LEAST_SHARED_EDGES:g}). One may be of "
        "another person or session, a phase image, or noise. Check the files."
    )
    return [QCFlag("pair_mismatch", "error", "", correlation, LEAST_SHARED_EDGES, text)]


def check_ceiling(ceiling: float, pair: DixonPair) -> list[QCFlag]:
    """Flag an out-of-phase image that is stored on another scale than the in-phase image.

    Parameters
    ----------
    ceiling : float
        Ceiling of OOP / IP, as :func:`bids_mfi.measure.pair_checks.measure_ceiling` gives it.
    pair : DixonPair
    """
    if math.isnan(ceiling):
        return []
    known = None not in pair.echo_times_ms
    value = ceiling / measure_decay(pair.echo_times_ms, pair.field_strength_t)
    margin = 1.0 if known else UNKNOWN_DECAY
    least, most = LEAST_CEILING / margin, MOST_CEILING * margin
    slopes = _differing_slopes(pair)
    if least <= value <= most:
        return _check_slopes(value, slopes)
    text = (
        "The two images are not stored on one scale: in the tissue where pure water or pure fat "
        f"makes them about equally bright, the out-of-phase image is {value:.2f} times as bright "
        f"as expected (a pair has {least:.2f} to {most:.2f}). The out-of-phase image seems to be "
        f"multiplied by about {value / USUAL_CEILING:.2f}.{_name_slopes(slopes)} The MFI is wrong. "
        "Export both with one scale, without stretching or normalising each."
    )
    limit = least if value < least else most
    return [QCFlag("scale_mismatch", "error", "", value, limit, text)]


def _check_slopes(value: float, slopes: list[tuple[str, float, float]]) -> list[QCFlag]:
    """Flag differing vendor slopes unless the images clearly have one scale."""
    least, most = DOUBTFUL_CEILING
    if not slopes or least <= value <= most:
        return []
    text = (
        f"The two images may not be stored on one scale.{_name_slopes(slopes)} The out-of-phase "
        f"image is {value:.2f} times as bright as expected in pure water and fat, which neither "
        "proves nor excludes it. Convert both with the scanner's precise values (dcm2niix -p y)."
    )
    limit = least if value < least else most
    return [QCFlag("scale_mismatch", "error", "", value, limit, text)]


def _differing_slopes(pair: DixonPair) -> list[tuple[str, float, float]]:
    return [
        (name, into, out)
        for name, into, out in pair.scale_slopes
        if abs(math.log(into / out)) > SLOPE_TOLERANCE
    ]


def _name_slopes(slopes: list[tuple[str, float, float]]) -> str:
    """Write the slopes of the sidecars as a sentence; empty without any.

    >>> _name_slopes([("PhilipsScaleSlope", 0.5, 0.25)])
    ' Their sidecars give different slopes: PhilipsScaleSlope 0.5 in phase, 0.25 out of phase.'
    """
    if not slopes:
        return ""
    named = "; ".join(
        f"{name} {into:g} in phase, {out:g} out of phase" for name, into, out in slopes
    )
    return f" Their sidecars give different slopes: {named}."


def check_cancellation(cancelled_percent: float) -> list[QCFlag]:
    """Flag two images that hardly differ although fat and water should cancel in one of them."""
    if not cancelled_percent < LEAST_CANCELLED_PERCENT:
        return []
    text = (
        "Fat and water hardly cancel in the image taken for out-of-phase: only in "
        f"{cancelled_percent:.1f} % of the tissue is it clearly darker (a neck has at least "
        f"{LEAST_CANCELLED_PERCENT:g} %). Both images may be in phase, or water. Check the files "
        "and the echo times."
    )
    limit = LEAST_CANCELLED_PERCENT
    return [QCFlag("same_phase", "error", "", cancelled_percent, limit, text)]


def check_fat_weight(signals: ScanSignals) -> list[QCFlag]:
    """Flag scanner images of fat and water that do not add up to the in-phase image."""
    weight, residual_percent, unexplained_percent = fit_fat_weight(
        signals.in_phase, signals.fat, signals.water
    )
    if math.isnan(residual_percent):
        return []
    if not LEAST_FAT_WEIGHT <= weight <= MOST_FAT_WEIGHT:
        limit = LEAST_FAT_WEIGHT if weight < LEAST_FAT_WEIGHT else MOST_FAT_WEIGHT
        found = f"fat must be multiplied by {weight:.3g} to add up with water to it"
        return [_flag_set(weight, limit, found)]
    if residual_percent > MOST_FIT_RESIDUAL_PERCENT:
        found = f"their sum differs from it by {residual_percent:.1f} % on average"
        return [_flag_set(residual_percent, MOST_FIT_RESIDUAL_PERCENT, found)]
    if unexplained_percent > MOST_UNEXPLAINED_PERCENT:
        found = (
            f"{unexplained_percent:.0f} % of the variance of fat is not explained by the signal "
            "that water leaves"
        )
        return [_flag_set(unexplained_percent, MOST_UNEXPLAINED_PERCENT, found)]
    return []


def _flag_set(value: float, limit: float, found: str) -> QCFlag:
    text = (
        f"The scanner's fat and water images do not add up to the in-phase image: {found} (limit "
        f"{limit:g}). One of them may be a fat fraction (PDFF), the in-phase or out-of-phase "
        "image, or stored on another scale. Check the files, or compute fat and water with "
        "--fat-water computed."
    )
    return QCFlag("fat_water_mismatch", "error", "", value, limit, text)
