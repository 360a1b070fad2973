"""Fat and volume of each labelled muscle.

The muscle fat infiltration (MFI) of a muscle is that of Weber et al. 2021
(doi:10.1038/s41598-021-95972-x): 100 mean(F) / (mean(F) + mean(W)) over its voxels, F fat and W
water. The mean and the median of the voxelwise fat fraction are reported under their own names.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mfi.measure.dixon import fat_fraction_percent, mfi_percent
from bids_mfi.measure.erosion import measure_eroded_mfi
from bids_mfi.measure.regions import NOWHERE, find_boxes
from bids_mfi.muscles import Muscle, MuscleTable
from bids_mfi.statistics.side_index import asymmetry_index_percent

NEAR_FOLD_PERCENT = 40.0
# The limits of "normal" in Kjaer et al. 2007 (doi:10.1186/1741-7015-5-2) and of "mild involvement"
# in Mercuri et al. 2002 (doi:10.1053/ejpn.2002.0617).
NORMAL_PERCENT, MILD_PERCENT = 10.0, 30.0


@dataclass(frozen=True, slots=True)
class MuscleMeasure:
    """One row of ``*_mfi.tsv``; a float is NaN where it cannot be measured.

    Attributes
    ----------
    index, name, muscle, hemi, levels
        As in :class:`bids_mfi.muscles.Muscle`.
    extent : str
        ``complete``, ``cut`` (reaches the border of the field of view) or ``absent``.
    voxels, signal_voxels : int
        Labelled voxels, and those with F + W > 0, on which all fat measures are based.
    volume_ml : float
        Labelled voxels times the voxel volume.
    fat_mean, water_mean : float
        Means of F and W, in the unit of the images.
    mfi_percent : float
        100 mean(F) / (mean(F) + mean(W)).
    mfi_voxelwise_percent, mfi_median_percent : float
        Mean and median of the voxelwise 100 F / (F + W).
    near_fold_percent : float
        Share of the voxels with signal whose fat fraction is above NEAR_FOLD_PERCENT.
    swapped_percent : float
        Share of the voxels with signal that hold more fat than water, a fat fraction above 50 %:
        replaced by fat, or swapped by the scanner. 0 where both were computed from magnitudes.
    mfi_eroded1_percent, mfi_eroded2_percent : float
        MFI without the outermost one and two voxels of each slice
        (:mod:`bids_mfi.measure.erosion`).
    above_ff10_percent, above_ff30_percent : float
        Share of the voxels with signal whose fat fraction is above NORMAL_PERCENT and
        MILD_PERCENT.
    fat_volume_ml, lean_volume_ml : float
        ``volume_ml`` times the MFI, and the rest of ``volume_ml``.
    mfi_asymmetry_percent, volume_asymmetry_percent : float
        Index of left against right of the muscle, the same in the rows of both sides
        (:func:`bids_mfi.statistics.side_index.asymmetry_index_percent`).
    """

    index: int
    name: str
    muscle: str
    hemi: str
    voxels: int
    volume_ml: float
    fat_mean: float
    water_mean: float
    mfi_percent: float
    mfi_voxelwise_percent: float
    mfi_median_percent: float
    near_fold_percent: float
    swapped_percent: float
    signal_voxels: int
    extent: str
    levels: str
    mfi_eroded1_percent: float = math.nan
    mfi_eroded2_percent: float = math.nan
    above_ff10_percent: float = math.nan
    above_ff30_percent: float = math.nan
    fat_volume_ml: float = math.nan
    lean_volume_ml: float = math.nan
    mfi_asymmetry_percent: float = math.nan
    volume_asymmetry_percent: float = math.nan


def measure_muscles(
    labels: NDArray[np.int16],
    water: NDArray[np.float64],
    fat: NDArray[np.float64],
    voxel_volume_ml: float,
    table: MuscleTable,
    slice_axis: int | None = None,
) -> list[MuscleMeasure]:
    """Measure every muscle of the table.

    Parameters
    ----------
    labels : ndarray of int16, shape (x, y, z)
        Label map; values that are not in the table are ignored.
    water, fat : ndarray of float64, shape (x, y, z)
        Signals in the same unit; voxels with F + W <= 0 are left out of the fat measures.
    voxel_volume_ml : float
        |det| of the affine, millilitres.
    table : MuscleTable
    slice_axis : int, optional
        From :func:`bids_mfi.measure.erosion.find_slice_axis`; without it, nothing is eroded and
        the measures after erosion are NaN.

    Returns
    -------
    list of MuscleMeasure
        In the order of the table, absent muscles included.

    Raises
    ------
    ValueError
        The three arrays differ in shape.
    """
    if not labels.shape == water.shape == fat.shape:
        raise ValueError(f"shapes differ: {labels.shape}, {water.shape}, {fat.shape}")
    border, boxes = _labels_at_border(labels), find_boxes(labels)
    measures = []
    for muscle in table:
        box = boxes.get(muscle.index, NOWHERE)
        mask = labels[box] == muscle.index
        inside = water[box][mask], fat[box][mask]
        measure = _measure_muscle(muscle, *inside, voxel_volume_ml, border)
        if slice_axis is not None:
            where = labels, muscle.index, box
            eroded: dict[str, Any] = measure_eroded_mfi(where, water, fat, slice_axis)
            measure = replace(measure, **eroded)
        measures.append(measure)
    return _compare_sides(measures)


def _labels_at_border(labels: NDArray[np.int16]) -> frozenset[int]:
    """Labels found in the outermost plane of any side of the volume."""
    faces = [np.take(labels, plane, axis) for axis in range(3) for plane in (0, -1)]
    return frozenset(int(index) for face in faces for index in np.unique(face))


def _measure_muscle(
    muscle: Muscle,
    water: NDArray[np.float64],
    fat: NDArray[np.float64],
    voxel_volume_ml: float,
    border: frozenset[int],
) -> MuscleMeasure:
    """Measure a muscle from the signals of its voxels, arrays of shape (n,)."""
    voxels = len(water)
    extent = "absent" if not voxels else "cut" if muscle.index in border else "complete"
    volume_ml = voxels * voxel_volume_ml if voxels else float("nan")
    measured = measure_fat(water, fat)
    fat_volume_ml = volume_ml * measured["mfi_percent"] / 100
    return MuscleMeasure(
        index=muscle.index,
        name=muscle.name,
        muscle=muscle.muscle,
        hemi=muscle.hemi,
        voxels=voxels,
        volume_ml=volume_ml,
        **measured,  # type: ignore[arg-type]
        extent=extent,
        levels=muscle.levels,
        fat_volume_ml=fat_volume_ml,
        lean_volume_ml=volume_ml - fat_volume_ml,
    )


def _compare_sides(measures: Sequence[MuscleMeasure]) -> list[MuscleMeasure]:
    """Add the asymmetry of each muscle whose two sides are measured."""
    by_side = {(measure.muscle, measure.hemi): measure for measure in measures}
    compared = []
    for measure in measures:
        left, right = (by_side.get((measure.muscle, hemi)) for hemi in "LR")
        if left is not None and right is not None:
            measure = replace(measure, **_measure_asymmetry(left, right))
        compared.append(measure)
    return compared


def _measure_asymmetry(left: MuscleMeasure, right: MuscleMeasure) -> dict[str, Any]:
    pairs = [(side.mfi_percent, side.volume_ml) for side in (left, right)]
    mfi, volume = asymmetry_index_percent(*np.array(pairs))
    return {"mfi_asymmetry_percent": float(mfi), "volume_asymmetry_percent": float(volume)}


def measure_fat(water: NDArray[np.float64], fat: NDArray[np.float64]) -> dict[str, float | int]:
    """Measure the fat of some voxels of a muscle; voxels without signal are left out.

    Parameters
    ----------
    water, fat : ndarray of float, shape (n,)

    Returns
    -------
    dict of str to number
        The fat measures of :class:`MuscleMeasure`; NaN without signal.
    """
    water, fat = water.astype(np.float64), fat.astype(np.float64)
    signal = (water + fat) > 0
    water, fat = water[signal], fat[signal]
    fractions = fat_fraction_percent(fat, water)
    measured = bool(signal.any())
    fat_mean = float(fat.mean()) if measured else float("nan")
    water_mean = float(water.mean()) if measured else float("nan")
    return {
        "fat_mean": fat_mean,
        "water_mean": water_mean,
        "mfi_percent": mfi_percent(fat_mean, water_mean),
        "mfi_voxelwise_percent": float(fractions.mean()) if measured else float("nan"),
        "mfi_median_percent": float(np.median(fractions)) if measured else float("nan"),
        "near_fold_percent": _share_percent(fractions > NEAR_FOLD_PERCENT),
        "swapped_percent": _share_percent(fat > water),
        "signal_voxels": int(np.count_nonzero(signal)),
        "above_ff10_percent": _share_percent(fractions > NORMAL_PERCENT),
        "above_ff30_percent": _share_percent(fractions > MILD_PERCENT),
    }


def _share_percent(chosen: NDArray[np.bool_]) -> float:
    """Share of the voxels that are chosen, array of shape (n,); NaN if there is none."""
    return 100 * float(chosen.mean()) if chosen.size else float("nan")


def measure_folded_mfi_percent(water: NDArray[np.float64], fat: NDArray[np.float64]) -> float:
    """MFI as if the smaller of F and W were the fat of each voxel; NaN without signal.

    This reverses swaps of fat and water by the scanner.

    Examples
    --------
    >>> measure_folded_mfi_percent(np.array([90.0, 10.0]), np.array([10.0, 90.0]))
    10.0
    """
    signal = (water + fat) > 0
    if not signal.any():
        return float("nan")
    smaller, total = np.minimum(water, fat)[signal], (water + fat)[signal]
    return 100 * float(smaller.sum() / total.sum())
