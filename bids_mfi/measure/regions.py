"""Where each label of a map is: the box around its voxels, their number and their middle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[slice, ...]
NOWHERE: Box = (slice(0, 0),) * 3


@dataclass(frozen=True, slots=True)
class Region:
    """The voxels of one label.

    Attributes
    ----------
    box : tuple of slice
        The smallest that holds all of them.
    voxels : int
    sums : tuple of int
        Of their indices along x, y, z.
    """

    box: Box
    voxels: int
    sums: tuple[int, int, int]

    @property
    def middle(self) -> tuple[float, float, float]:
        """Mean index along x, y, z."""
        return middle_of([self])


def box_around(where: NDArray[np.bool_]) -> Box:
    """Find the part of a volume that holds a region and its neighbours.

    Parameters
    ----------
    where : ndarray of bool, shape (x, y, z)
        At least one voxel is true.
    """
    extents = [np.flatnonzero(where.any(axis=(axis - 2, axis - 1))) for axis in range(3)]
    return tuple(slice(max(int(e[0]) - 1, 0), int(e[-1]) + 2) for e in extents)


def middle_of(regions: Sequence[Region]) -> tuple[float, float, float]:
    """Mean index along x, y, z of the voxels of several labels together."""
    voxels = sum(region.voxels for region in regions)
    x, y, z = (sum(region.sums[axis] for region in regions) / voxels for axis in range(3))
    return x, y, z


def find_boxes(labels: NDArray[Any]) -> dict[int, Box]:
    """Find the smallest box around each label above 0 that is present.

    Examples
    --------
    >>> find_boxes(np.array([[[0, 7, 7]]]))
    {7: (slice(0, 1, None), slice(0, 1, None), slice(1, 3, None))}
    """
    found = ndimage.find_objects(labels)
    return {index: box for index, box in enumerate(found, start=1) if box is not None}


def find_regions(labels: NDArray[Any]) -> dict[int, Region]:
    """Find the voxels of each label above 0 that is present.

    Examples
    --------
    >>> find_regions(np.array([[[0, 7, 7]]]))[7].middle
    (0.0, 0.0, 1.5)
    """
    return {index: _add_up(labels[box] == index, box) for index, box in find_boxes(labels).items()}


def _add_up(mask: NDArray[np.bool_], box: Box) -> Region:
    counts = [mask.sum(axis=(axis - 2, axis - 1)) for axis in range(3)]
    x, y, z = (
        int(count @ np.arange(part.start, part.stop))
        for count, part in zip(counts, box, strict=True)
    )
    return Region(box, int(counts[0].sum()), (x, y, z))
