"""Reasons to doubt a number: measures and labels in, flags out.

A flag never changes or removes a value. Thresholds are defined here and written into each flag.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.grid import Grid
from bids_mfi.measure.dixon import ScanSignals, measure_disagreement_percent, measure_typical_signal
from bids_mfi.measure.noise import measure_noise_percent
from bids_mfi.measure.quantify import NEAR_FOLD_PERCENT, MuscleMeasure, measure_folded_mfi_percent
from bids_mfi.measure.regions import Box, find_boxes, find_regions
from bids_mfi.muscles import Muscle, MuscleTable

SEVERITIES = ("error", "warning", "info")
NEAR_FOLD_SHARE_PERCENT = 20.0
# Of pure water T2* decay between the echoes makes an MFI of -2.9 % at 1.5 T, -2.1 % at 3 T, if the
# out-of-phase echo comes first. Noise of magnitudes makes the two images more alike, never inverts.
LEAST_MFI_PERCENT, MOST_MFI_PERCENT = -3.0, 103.0
NO_SIGNAL_SHARE_PERCENT = 5.0
SMALL_ML = 0.5
LARGEST_PIECE_PERCENT = 80.0
# Of simulated muscles with an MFI of up to 33 %, at most 13 % of the voxels held more fat than
# water; beyond half of the voxels a swap is likelier than a muscle of fat.
SWAP_SUSPECTED_SHARE_PERCENT = 20.0
SWAP_LIKELY_SHARE_PERCENT = 50.0
# Simulated scanner images disagreed with their own pair by 4 to 8 %; images moved by 2 voxels or
# more, of another participant, or with fat at half or twice its brightness, by at least 24 %.
FAT_WATER_MISMATCH_PERCENT = 20.0
# Of a voxel as stored. With noise like this labels alone begin to change the MFI of muscles by more
# than one percentage point, of the smallest first; see docs/model-card.md.
NOISE_PERCENT = 15.0
SIGNAL_VOID_FRACTION = 0.10
SIGNAL_VOID_SHARE_PERCENT = 5.0


@dataclass(frozen=True, slots=True)
class QCFlag:
    """One reason to doubt one number.

    Attributes
    ----------
    code : str
        Identifier, for example ``near_fold``.
    severity : str
        One of SEVERITIES.
    muscle : str
        Abbreviation with side, for example ``TR_L``; without side if it concerns both, empty
        if it concerns the scan.
    value, threshold : float
        What was found and the limit it passed; NaN where neither is a number. The value of
        ``fat_water_swap`` is the MFI with the swapped voxels exchanged back; ``swapped_percent``
        of the measures passed its limit.
    message : str
        One sentence for a person.
    """

    code: str
    severity: str
    muscle: str
    value: float
    threshold: float
    message: str


def check_scan(
    measures: list[MuscleMeasure],
    labels: NDArray[np.int16],
    grid: Grid,
    table: MuscleTable,
    computed: bool,
    signals: ScanSignals | None = None,
) -> list[QCFlag]:
    """Collect all flags of one scan: those of the scan, of both sides, then of single muscles.

    Parameters
    ----------
    measures : list of MuscleMeasure
        One for each muscle of the table, in its order.
    labels : ndarray of int16, shape of the grid
    grid : Grid
    table : MuscleTable
    computed : bool
        Fat and water were computed from magnitude images, so that they fold at 50 %.
    signals : ScanSignals, optional
        Those that were measured; without them there are no flags for noise, swaps, other images
        or voids.
    """
    flags = [] if signals is None or computed else check_scanner_images(signals)
    flags += [] if signals is None else check_noise(signals, labels, grid)
    flags += _check_sides(labels, grid, table)
    boxes = find_boxes(labels)
    for muscle, measure in zip(table, measures, strict=True):
        flags += check_measure(measure, computed)
        if muscle.index in boxes:
            flags += _check_pieces(muscle, labels[boxes[muscle.index]])
    if signals is None:
        return flags
    return flags + _check_signals(measures, labels, boxes, signals, computed)


def check_scanner_images(signals: ScanSignals) -> list[QCFlag]:
    """Flag fat and water that do not follow the in-phase and out-of-phase images."""
    percent = measure_disagreement_percent(signals)
    if not percent > FAT_WATER_MISMATCH_PERCENT:
        return []
    text = (
        "The scanner's fat and water images do not follow the in-phase and out-of-phase images: "
        f"F + W and |W - F| differ from them by {percent:.0f} % on average (limit "
        f"{FAT_WATER_MISMATCH_PERCENT:g} %). They may come from another scan, or have been moved "
        "or scaled individually. Check the files, or compute fat and water with --fat-water "
        "computed."
    )
    limit = FAT_WATER_MISMATCH_PERCENT
    return [QCFlag("fat_water_mismatch", "error", "", percent, limit, text)]


def check_noise(signals: ScanSignals, labels: NDArray[np.int16], grid: Grid) -> list[QCFlag]:
    """Flag a scan with strong noise in the muscles."""
    percent = measure_noise_percent(signals, labels > 0, grid.spacing_mm)
    if not percent > NOISE_PERCENT:
        return []
    text = (
        f"Noise is about {percent:.1f} % of the muscles' signal (limit {NOISE_PERCENT:g} %). "
        "Labels may differ from those of a clearer scan, and MFI computed from magnitude images is "
        "too low. Check the labels; compare the MFI only with that of equally noisy scans."
    )
    return [QCFlag("noisy", "warning", "", percent, NOISE_PERCENT, text)]


def _check_signals(
    measures: list[MuscleMeasure],
    labels: NDArray[np.int16],
    boxes: Mapping[int, Box],
    signals: ScanSignals,
    computed: bool,
) -> list[QCFlag]:
    """Flag muscles in signal voids, and those in which the scanner may have swapped."""
    void_below = SIGNAL_VOID_FRACTION * measure_typical_signal(signals.in_phase)
    flags = []
    for measure in (measure for measure in measures if measure.voxels):
        box = boxes[measure.index]
        mask = labels[box] == measure.index
        void = int(np.count_nonzero(signals.in_phase[box][mask] < void_below))
        flags += _check_void(measure, 100 * void / measure.voxels)
        if not computed:
            folded = measure_folded_mfi_percent(signals.water[box][mask], signals.fat[box][mask])
            flags += _check_swap(measure, folded)
    return flags


def _check_void(measure: MuscleMeasure, percent: float) -> list[QCFlag]:
    if percent <= SIGNAL_VOID_SHARE_PERCENT:
        return []
    where = f"{measure.muscle}_{measure.hemi}"
    text = (
        f"{where}: {percent:.0f} % of its voxels have less than {100 * SIGNAL_VOID_FRACTION:g} % "
        "of the scan's typical signal, as beside metal or in air. Signal above zero there was "
        "measured, though it may be noise."
    )
    return [QCFlag("signal_void", "warning", where, percent, SIGNAL_VOID_SHARE_PERCENT, text)]


def _check_swap(measure: MuscleMeasure, folded_mfi_percent: float) -> list[QCFlag]:
    """Flag a muscle with many voxels of more fat than water, as after a swap by the scanner."""
    percent = measure.swapped_percent
    if not percent > SWAP_SUSPECTED_SHARE_PERCENT:
        return []
    likely = percent > SWAP_LIKELY_SHARE_PERCENT
    limit = SWAP_LIKELY_SHARE_PERCENT if likely else SWAP_SUSPECTED_SHARE_PERCENT
    where = f"{measure.muscle}_{measure.hemi}"
    text = (
        f"{where}: {percent:.0f} % of its voxels hold more fat than water (limit {limit:g} %). "
        "Either the muscle is replaced by fat there, or the scanner swapped fat and water, or the "
        f"two images are exchanged. Its MFI {measure.mfi_percent:.1f} % would be "
        f"{folded_mfi_percent:.1f} % with these voxels exchanged back."
    )
    severity = "error" if likely else "warning"
    return [QCFlag("fat_water_swap", severity, where, folded_mfi_percent, limit, text)]


def check_size(shape: tuple[int, ...], least_shape: tuple[int, ...]) -> list[QCFlag]:
    """Flag a scan smaller than the model's own program accepted.

    Parameters
    ----------
    shape, least_shape : tuple of int
        Voxels of the model grid along x, y and z: of the scan, and the least.

    Examples
    --------
    >>> check_size((200, 90, 16), (180, 120, 16))[0].code
    'small_scan'
    >>> check_size((180, 120, 16), (180, 120, 16))
    []
    """
    shares = [100 * size / least for size, least in zip(shape, least_shape, strict=True) if least]
    if min(shares, default=100) >= 100:
        return []
    text = (
        f"The scan covers {_times(shape)} voxels of the model's grid, fewer than the "
        f"{_times(least_shape)} that the model was made for. It was extended; check the labels."
    )
    return [QCFlag("small_scan", "warning", "", min(shares), 100.0, text)]


def _times(values: tuple[int, ...]) -> str:
    return " x ".join(str(value) for value in values)


def check_measure(measure: MuscleMeasure, computed: bool) -> list[QCFlag]:
    """Collect the flags that follow from one muscle's measures alone."""
    where = f"{measure.muscle}_{measure.hemi}"
    if measure.extent == "absent":
        text = f"{where}: no voxel was labelled; its values are n/a."
        return [QCFlag("absent", "warning", where, 0.0, 1.0, text)]
    flags = _check_possible(measure, where)
    if measure.extent == "cut":
        flags.append(_flag_cut(measure, where))
    if measure.volume_ml < SMALL_ML:
        text = f"{where}: only {measure.volume_ml:.2f} ml are labelled (limit {SMALL_ML:g} ml)."
        flags.append(QCFlag("small", "warning", where, measure.volume_ml, SMALL_ML, text))
    if computed and measure.near_fold_percent > NEAR_FOLD_SHARE_PERCENT:
        flags.append(_flag_fold(measure, where))
    empty_percent = 100 * (measure.voxels - measure.signal_voxels) / measure.voxels
    if empty_percent > NO_SIGNAL_SHARE_PERCENT:
        text = f"{where}: {empty_percent:.0f} % of its voxels have no signal and were left out."
        flag = QCFlag("no_signal", "warning", where, empty_percent, NO_SIGNAL_SHARE_PERCENT, text)
        flags.append(flag)
    return flags


def _check_possible(measure: MuscleMeasure, where: str) -> list[QCFlag]:
    """Flag an MFI that no mixture of fat and water can have."""
    value = measure.mfi_percent
    if math.isnan(value) or LEAST_MFI_PERCENT <= value <= MOST_MFI_PERCENT:
        return []
    limit = LEAST_MFI_PERCENT if value < LEAST_MFI_PERCENT else MOST_MFI_PERCENT
    text = (
        f"{where}: its MFI of {value:.1f} % is impossible (limit {limit:g} %; noise and T2* decay "
        "explain no more). The images do not belong together, are stored on different scales, or "
        "are not magnitude images. Check the files."
    )
    return [QCFlag("impossible_mfi", "error", where, value, limit, text)]


def _flag_cut(measure: MuscleMeasure, where: str) -> QCFlag:
    # A muscle labelled over its whole length always leaves a slab; only levels can be incomplete.
    severity = "info" if measure.levels == "all" else "warning"
    text = (
        f"{where}: reaches the border of the field of view; its volume is that of the visible part."
    )
    return QCFlag("cut", severity, where, float("nan"), float("nan"), text)


def _flag_fold(measure: MuscleMeasure, where: str) -> QCFlag:
    value = measure.near_fold_percent
    text = (
        f"{where}: {value:.0f} % of its voxels have a fat fraction above {NEAR_FOLD_PERCENT:g} %. "
        "Fat and water computed from magnitude images fold at 50 %, so its MFI may be too low."
    )
    return QCFlag("near_fold", "warning", where, value, NEAR_FOLD_SHARE_PERCENT, text)


def _check_pieces(muscle: Muscle, labels: NDArray[np.int16]) -> list[QCFlag]:
    """Flag a muscle whose largest connected piece is too small a part of it.

    ``labels`` are those of the box around the muscle.
    """
    pieces, _ = ndimage.label(labels == muscle.index, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())[1:]
    percent = 100 * float(sizes.max() / sizes.sum())
    if percent >= LARGEST_PIECE_PERCENT:
        return []
    where = muscle.abbreviation
    text = (
        f"{where}: in {len(sizes)} separate pieces, the largest with {percent:.0f} % of its "
        "volume. Check the labels."
    )
    return [QCFlag("fragmented", "warning", where, percent, LARGEST_PIECE_PERCENT, text)]


def _check_sides(labels: NDArray[np.int16], grid: Grid, table: MuscleTable) -> list[QCFlag]:
    """Flag a muscle whose left label is to the right of its right label.

    Labels and affine are compared, so the flag does not show which of the two is wrong.
    """
    flags = []
    for muscle, apart_mm in find_exchanged_sides(labels, grid, table).items():
        text = (
            f"{muscle}: the left label is {abs(apart_mm):.1f} mm to the right of the right one. "
            "Left and right may be exchanged; check the image's orientation."
        )
        flags.append(QCFlag("left_right", "error", muscle, apart_mm, 0.0, text))
    return flags


def find_exchanged_sides(
    labels: NDArray[np.int16], grid: Grid, table: MuscleTable
) -> dict[str, float]:
    """Find muscles whose left label is not to the left of the right one, by centroids.

    Returns
    -------
    dict of str to float
        By abbreviation without side, distance of the right label to the right of the left one,
        millimetres: 0 or less.
    """
    right_mm = measure_right_mm(labels, grid, table)
    right_of = {muscle.muscle: muscle.index for muscle in table if muscle.hemi == "R"}
    found = {}
    for muscle in table:
        partner = right_of.get(muscle.muscle, 0)
        if muscle.hemi == "L" and {muscle.index, partner} <= right_mm.keys():
            apart_mm = right_mm[partner] - right_mm[muscle.index]
            if apart_mm <= 0:
                found[muscle.muscle] = apart_mm
    return found


def measure_right_mm(labels: NDArray[np.int16], grid: Grid, table: MuscleTable) -> dict[int, float]:
    """World coordinate of each present label's centroid, to the subject's right of voxel 0."""
    regions = find_regions(labels)
    return {
        muscle.index: float(grid.matrix[0, :3] @ regions[muscle.index].middle)
        for muscle in table
        if muscle.index in regions
    }
