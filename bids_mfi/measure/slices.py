"""Area and fat of each muscle in each slice across the body's axis."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.dixon import mfi_percent
from bids_mfi.measure.levels import UPRIGHT, pixel_area_mm2
from bids_mfi.measure.regions import find_boxes
from bids_mfi.muscles import Muscle, MuscleTable


@dataclass(frozen=True, slots=True)
class SliceMeasure:
    """One row of ``*_slices.tsv``; a float is NaN where it cannot be measured.

    Attributes
    ----------
    index, muscle, hemi
        As in :class:`bids_mfi.muscles.Muscle`.
    slice : int
        Index along the voxel axis nearest to the body's axis, in the order of the scan's grid.
    position_mm : float
        World coordinate S of the middle of the slice.
    voxels : int
        Labelled voxels in the slice.
    area_mm2 : float
        Their area in the plane of the slice.
    mfi_percent : float
        As in :class:`bids_mfi.measure.quantify.MuscleMeasure`, of these voxels.
    """

    index: int
    muscle: str
    hemi: str
    slice: int
    position_mm: float
    voxels: int
    area_mm2: float
    mfi_percent: float


def measure_slices(
    labels: NDArray[np.int16],
    water: NDArray[np.float64],
    fat: NDArray[np.float64],
    grid: Grid,
    table: MuscleTable,
) -> list[SliceMeasure]:
    """Measure every muscle in each slice from its first to its last.

    Slices are the planes of the scan's own grid across the voxel axis nearest to the body's axis.

    Parameters
    ----------
    labels : ndarray of int16, shape of the grid
    water, fat : ndarray of float64, shape of the grid
        Voxels with F + W <= 0 are left out of the MFI.
    grid : Grid
        In any orientation.
    table : MuscleTable

    Returns
    -------
    list of SliceMeasure
        In the order of the table, and from the top down. A muscle without a voxel has no row; a
        gap in a muscle has rows of 0 voxels.
    """
    turned, upright = reorient(labels, grid, UPRIGHT)
    signals = [reorient(volume, grid, UPRIGHT)[0] for volume in (water, fat)]
    planes = _Planes(upright, downward="I" in grid.axcodes)
    boxes = find_boxes(turned)
    rows = []
    for muscle in table:
        if muscle.index in boxes:
            box = boxes[muscle.index]
            mask = turned[box] == muscle.index
            inside = (np.asarray(volume[box], dtype=np.float64) for volume in signals)
            sums = _sum_slices(mask, *inside)
            rows += list(planes.describe(muscle, box[2].start, *sums))
    return rows


def _sum_slices(
    mask: NDArray[np.bool_], water: NDArray[np.float64], fat: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count the voxels in each slice of a box and measure their MFI; arrays of shape (z,)."""
    signal = mask & ((water + fat) > 0)
    fat_sum = np.where(signal, fat, 0.0).sum(axis=(0, 1))
    water_sum = np.where(signal, water, 0.0).sum(axis=(0, 1))
    measured = signal.any(axis=(0, 1))
    water_sum = np.where(measured, water_sum, np.nan)
    return mask.sum(axis=(0, 1)), mfi_percent(fat_sum, water_sum)


class _Planes:
    """The slices of a scan, on its grid turned to R, A, S.

    Parameters
    ----------
    upright : Grid
    downward : bool
        Whether the slices of the scan's own grid count downwards.
    """

    def __init__(self, upright: Grid, downward: bool) -> None:
        self._downward = downward
        self._count = upright.shape[2]
        self._area_mm2 = pixel_area_mm2(upright)
        x, y, _ = ((size - 1) / 2 for size in upright.shape)
        self._origin_mm = float(upright.matrix[2] @ (x, y, 0.0, 1.0))
        self._step_mm = float(upright.matrix[2, 2])

    def describe(
        self, muscle: Muscle, first: int, voxels: NDArray[np.int64], mfi: NDArray[np.float64]
    ) -> Iterator[SliceMeasure]:
        """Give the rows of a muscle from the top down; ``first`` is its lowest slice."""
        for offset in reversed(range(len(voxels))):
            level, percent = first + offset, float(mfi[offset])
            yield SliceMeasure(
                index=muscle.index,
                muscle=muscle.muscle,
                hemi=muscle.hemi,
                slice=self._count - 1 - level if self._downward else level,
                position_mm=self._origin_mm + level * self._step_mm,
                voxels=int(voxels[offset]),
                area_mm2=int(voxels[offset]) * self._area_mm2,
                mfi_percent=math.nan if math.isnan(percent) else percent,
            )
