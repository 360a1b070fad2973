"""Fat of a muscle without its outermost voxels, which also hold what surrounds it.

Voxels are removed within the slices of the acquisition only: across thick slices, one voxel would
be too much.
"""

import math

import numpy as np
from numpy.typing import NDArray

from bids_mfi.grid import Grid
from bids_mfi.measure.dixon import mfi_percent
from bids_mfi.measure.regions import Box

EROSIONS = (1, 2)  # voxels
SAME_SPACING = 0.01  # share of the largest spacing
# Of axes with the same spacing, the one across the slices is the first of these.
_SLICE_AXES = ("SI", "AP", "LR")


def find_slice_axis(grid: Grid) -> int:
    """Find the voxel axis across the slices: that with the largest spacing.

    Where spacings are the same within SAME_SPACING, the axis nearest to the body's axis counts,
    then the one nearest to anterior-posterior. The storage order of the file does not matter.

    Examples
    --------
    >>> find_slice_axis(Grid.from_array((9, 9, 9), np.diag([0.7, 3.0, 0.7, 1.0])))
    1
    >>> find_slice_axis(Grid.from_array((9, 9, 9), np.eye(4)))
    2
    """
    spacing_mm, codes = grid.spacing_mm, grid.axcodes
    least_mm = (1 - SAME_SPACING) * max(spacing_mm)
    thick = [axis for axis in range(3) if spacing_mm[axis] >= least_mm]
    return min(
        thick,
        key=lambda axis: [codes[axis] in directions for directions in _SLICE_AXES].index(True),
    )


def erode_in_plane(mask: NDArray[np.bool_], slice_axis: int) -> NDArray[np.bool_]:
    """Remove the voxels that have one of their four neighbours in the slice outside the mask.

    What is beyond the array counts as inside, so that the end of the field of view is no border of
    a muscle.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    slice_axis : int
        The axis along which nothing is removed.

    Examples
    --------
    >>> erode_in_plane(np.array([[[False, True, True, True]]]), 0)
    array([[[False, False,  True,  True]]])
    """
    eroded = mask.copy()
    for axis in {0, 1, 2} - {slice_axis}:
        kept, found = np.moveaxis(eroded, axis, 0), np.moveaxis(mask, axis, 0)
        kept[1:] &= found[:-1]
        kept[:-1] &= found[1:]
    return eroded


def measure_eroded_mfi(
    where: tuple[NDArray[np.int16], int, Box],
    water: NDArray[np.float64],
    fat: NDArray[np.float64],
    slice_axis: int,
) -> dict[str, float]:
    """Measure the MFI of a muscle after each of EROSIONS.

    Parameters
    ----------
    where : (ndarray of int16, shape (x, y, z); int; tuple of slice)
        Label map, label, and the box around its voxels.
    water, fat : ndarray of float64, shape (x, y, z)
    slice_axis : int
        From :func:`find_slice_axis`.

    Returns
    -------
    dict of str to float
        ``mfi_eroded1_percent`` and so on; NaN where no voxel with signal is left.
    """
    labels, index, box = where
    wide = _widen(box)
    mask = labels[wide] == index
    measured = {}
    for number in EROSIONS:
        mask = erode_in_plane(mask, slice_axis)
        measured[f"mfi_eroded{number}_percent"] = _mfi_percent(water[wide][mask], fat[wide][mask])
    return measured


def _widen(box: Box) -> Box:
    """Add the neighbours of a box, as far as there are any; an empty box stays empty."""
    return tuple(slice(max(p.start - 1, 0), p.stop + 1) if p.stop else p for p in box)


def _mfi_percent(water: NDArray[np.float64], fat: NDArray[np.float64]) -> float:
    """MFI of some voxels, arrays of shape (n,); NaN without signal."""
    water, fat = water.astype(np.float64), fat.astype(np.float64)
    signal = (water + fat) > 0
    fat_sum, water_sum = float(fat[signal].sum()), float(water[signal].sum())
    return mfi_percent(fat_sum, water_sum) if signal.any() else math.nan
