"""What a part of a dense V-Net's logits depends on.

Boxes are on the coarse grid: that of the logits and of level 0. Level n is 2^n times coarser still.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_mfi.network.architecture import DENSE_UNITS, SIZE_DIVISOR
from bids_mfi.network.body_box import Box

Triple = tuple[int, int, int]
STEP = 2 ** (len(DENSE_UNITS) - 1)  # voxels of the coarse grid in one of the coarsest level
MOST_ROWS = 64
CROP_STEP = 4 * SIZE_DIVISOR
STEM_REACH = 3  # voxels of the images on each side that the first convolution reads, at most


@dataclass(frozen=True, slots=True)
class LastLayers:
    """Sizes of the last layers for a part: they are the same wherever the part lies.

    Attributes
    ----------
    read : tuple of Triple
        Voxels of each level that are read.
    shifts : tuple of Triple
        First voxel that is used of each level, once it is interpolated to the coarse grid.
    near : Triple
        Voxels of the coarse grid that the last convolution reads.
    before, after : Triple
        Zeros that it adds, where the part ends with the grid.
    """

    read: tuple[Triple, ...]
    shifts: tuple[Triple, ...]
    near: Triple
    before: Triple
    after: Triple


def round_outwards(part: Box, shape: Sequence[int]) -> tuple[Box, Box]:
    """Enlarge a part to whole voxels of the coarsest level, so that few sizes are compiled.

    Returns
    -------
    enlarged : tuple of slice
    inner : tuple of slice
        Where the part is in it.

    Examples
    --------
    >>> round_outwards((slice(5, 9), slice(0, 3), slice(7, 8)), (12, 8, 8))[0]
    (slice(4, 12, None), slice(0, 4, None), slice(4, 8, None))
    """
    enlarged = [
        slice(rows.start // STEP * STEP, min(-(-rows.stop // STEP) * STEP, size))
        for rows, size in zip(part, shape, strict=True)
    ]
    inner = [
        slice(rows.start - wide.start, rows.stop - wide.start)
        for rows, wide in zip(part, enlarged, strict=True)
    ]
    return _box(enlarged), _box(inner)


def cut_rows(rows: slice) -> list[tuple[slice, slice]]:
    """Cut rows into pieces of one size, at most MOST_ROWS; the last overlaps if it must.

    Returns
    -------
    list of tuple of slice
        The rows of each piece, and those of them that no earlier piece has.

    Examples
    --------
    >>> cut_rows(slice(4, 112))
    [(slice(4, 60, None), slice(0, None, None)), (slice(56, 112, None), slice(4, None, None))]
    """
    total = rows.stop - rows.start
    if total <= MOST_ROWS:
        return [(rows, slice(0, None))]
    size = -(-total // -(-total // MOST_ROWS) // STEP) * STEP
    starts = [min(start, rows.stop - size) for start in range(rows.start, rows.stop, size)]
    known = [rows.start, *(start + size for start in starts)]
    return [
        (slice(start, start + size), slice(end - start, None))
        for start, end in zip(starts, known[:-1], strict=True)
    ]


def plan_part(part: Box, shape: Sequence[int]) -> tuple[LastLayers, list[Box]]:
    """Find what the last layers read to give a part of the logits.

    Parameters
    ----------
    part : tuple of slice
    shape : sequence of int
        Of the coarse grid.

    Returns
    -------
    sizes : LastLayers
    boxes : list of tuple of slice
        Voxels of each level; they may reach one voxel beyond it.
    """
    near = [
        slice(max(rows.start - 1, 0), min(rows.stop + 1, size))
        for rows, size in zip(part, shape, strict=True)
    ]
    boxes, shifts = [], []
    for factor in (2**level for level in range(len(DENSE_UNITS))):
        pairs = [_interpolated_from(*axis, factor) for axis in zip(near, shape, strict=True)]
        boxes.append(_box(rows for rows, _ in pairs))
        shifts.append(_triple(shift for _, shift in pairs))
    sizes = LastLayers(
        read=tuple(_triple(rows.stop - rows.start for rows in box) for box in boxes),
        shifts=tuple(shifts),
        near=_triple(rows.stop - rows.start for rows in near),
        before=_triple(int(rows.start == 0) for rows in part),
        after=_triple(int(rows.stop == size) for rows, size in zip(part, shape, strict=True)),
    )
    return sizes, boxes


def _triple(numbers: Iterable[int]) -> Triple:
    x, y, z = numbers
    return x, y, z


def _box(axes: Iterable[slice]) -> Box:
    x, y, z = axes
    return x, y, z


def _interpolated_from(rows: slice, size: int, factor: int) -> tuple[slice, int]:
    """Rows of a coarser axis for a kernel of three and then interpolation, and the first used."""
    low = rows.start // factor
    further = 1 if factor > 1 else 0
    high = min((rows.stop - 1) // factor + 1 + further, size // factor)
    return slice(low - 1, high + 1), rows.start - low * factor


def find_needed(rows: slice, size: int, stride: int) -> slice:
    """Voxels of an axis of the images on which the logits of some rows depend.

    Parameters
    ----------
    rows : slice
        Of the images.
    size : int
        Of the axis, a multiple of 8.
    stride : int
        Of the first layers.

    Returns
    -------
    slice
        From a multiple of CROP_STEP to a multiple of it or the end, so that sizes recur.

    Examples
    --------
    >>> find_needed(slice(0, 80), 720, 2), find_needed(slice(400, 480), 720, 2)
    (slice(0, 256, None), slice(224, 672, None))
    """
    near_low, near_high = rows.start // stride - 1, -(-rows.stop // stride) + 2
    low, high = near_low, near_high
    for level, units in reversed(list(enumerate(DENSE_UNITS))):
        factor = 2**level
        skip_low, skip_high = near_low // factor - 1, -(-near_high // factor) + 2
        coarser = (
            (skip_low, skip_high) if level == len(DENSE_UNITS) - 1 else (2 * low, 2 * high + 1)
        )
        low, high = min(skip_low, coarser[0]) - units, max(skip_high, coarser[1]) + units
    first, last = stride * low - STEM_REACH, stride * high + STEM_REACH
    return slice(
        max(first // CROP_STEP * CROP_STEP, 0), min(-(-last // CROP_STEP) * CROP_STEP, size)
    )


def cut_with_zeros(volume: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """Copy a box of the first three axes, with zeros where it reaches beyond the volume.

    >>> cut_with_zeros(np.ones((3, 1, 1), np.float32), (slice(-1, 2), slice(0, 1), slice(0, 1))
    ...     ).ravel().tolist()
    [0.0, 1.0, 1.0]
    """
    inside = tuple(
        slice(max(rows.start, 0), min(rows.stop, size))
        for rows, size in zip(box, volume.shape, strict=False)
    )
    widths = [
        (kept.start - rows.start, rows.stop - kept.stop)
        for rows, kept in zip(box, inside, strict=True)
    ]
    return np.pad(volume[inside], [*widths, *[(0, 0)] * (volume.ndim - 3)])
