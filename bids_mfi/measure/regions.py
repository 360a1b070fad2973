"""Where each label of a map is: the box around its voxels, their number and their middle."""

from dataclasses import dataclass

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
    voxels : int
    sums : tuple of int
        Of their indices along x, y, z.
    """

    voxels: int
    sums: tuple[int, int, int]

    @property
    def middle(self) -> tuple[float, float, float]:
        """Mean index along x, y, z."""
        x, y, z = self.sums
        return x / self.voxels, y / self.voxels, z / self.voxels

    def __add__(self, other: "Region") -> "Region":
        (x, y, z), (u, v, w) = self.sums, other.sums
        return Region(self.voxels + other.voxels, (x + u, y + v, z + w))


def find_boxes(labels: NDArray[np.integer]) -> dict[int, Box]:
    """Find the smallest box around each label above 0 that is present.

    Examples
    --------
    >>> find_boxes(np.array([[[0, 7, 7]]]))
    {7: (slice(0, 1, None), slice(0, 1, None), slice(1, 3, None))}
    """
    found = ndimage.find_objects(labels)
    return {index: box for index, box in enumerate(found, start=1) if box is not None}


def find_regions(labels: NDArray[np.integer]) -> dict[int, Region]:
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
    return Region(int(counts[0].sum()), (x, y, z))
