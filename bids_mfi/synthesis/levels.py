"""Positions of the vertebral levels of a subject in a scan."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.errors import InputError
from bids_mfi.grid import Grid
from bids_mfi.muscles import MuscleTable
from bids_mfi.synthesis.deformation import map_points, transform_points
from bids_mfi.synthesis.subject import Subject
from bids_mfi.vertebrae import expand_levels

BODY_RADIUS_MM = 6.0
LEAST_POINTS = 8


def find_level_slices(subject: Subject, grid: Grid) -> dict[str, tuple[float, float]]:
    """Find the vertebral levels along the voxel axis of a grid that points up or down.

    The method follows raters, who assign slices to levels in a mid-sagittal view of the vertebral
    bodies. It maps points around the bodies to the label map and reads their levels there.

    Returns
    -------
    dict
        For each level, the lowest and highest voxel index along that axis, as real numbers.

    Raises
    ------
    InputError
        A level of the label map has no position in the subject.
    """
    axis, label_map = upward_axis(grid), subject.label_map
    x, y = torch.arange(-60, 61, 4.0), torch.arange(-90, 91, 4.0)
    z = torch.arange(-140, 141, 1.0)
    world = torch.stack(torch.meshgrid(x, y, z, indexing="ij"))
    mapped = map_points(subject.deformation, world)
    k = ((mapped[2] - label_map.affine[2, 3]) / label_map.affine[2, 2]).round().long()
    spine = torch.from_numpy(label_map.spine)[k.clamp(0, len(label_map.spine) - 1)]
    near = (mapped[:2] - spine.movedim(-1, 0)).square().sum(dim=0) < BODY_RADIUS_MM**2
    index = transform_points(np.linalg.inv(grid.matrix), world)[axis]
    slices = {}
    for level, low, high in label_map.levels:
        inside = near & (mapped[2] >= low) & (mapped[2] < high)
        if inside.sum() < LEAST_POINTS:
            raise InputError(
                f"{label_map.name}: its {level} was not found in a random person, expected "
                "vertebral bodies in front of the canal. Check the vertebrae's labels, or use "
                "levels all."
            )
        found = index[inside]
        slices[level] = _middle_range(found, grid.spacing_mm[axis], high - low, subject)
    return slices


def _middle_range(
    found: Tensor, spacing_mm: float, height_mm: float, subject: Subject
) -> tuple[float, float]:
    """Return a range around the mean index; tilted bodies overlap in index but not in height."""
    half = height_mm * subject.deformation.scale[2] / spacing_mm / 2
    middle = float(found.mean())
    return middle - half, middle + half


def upward_axis(grid: Grid) -> int:
    """Return the voxel axis closest to the body's axis.

    >>> upward_axis(Grid((2, 2, 2), ((0., 1., 0, 0), (1., 0, 0, 0), (0, 0, -1., 0), (0, 0, 0, 1.))))
    2
    """
    return next(i for i, code in enumerate(grid.axcodes) if code in ("S", "I"))


def restrict_to_levels(
    labels: NDArray[np.int16],
    grid: Grid,
    levels: dict[str, tuple[float, float]],
    table: MuscleTable,
) -> NDArray[np.int16]:
    """Keep each muscle only in the slices of its levels.

    Parameters
    ----------
    labels : ndarray of int16, shape (x, y, z)
    grid : Grid
    levels : dict
        Result of :func:`find_level_slices` for this grid.
    table : MuscleTable
        Defines the levels; a muscle without any known level loses all its voxels.
    """
    axis = upward_axis(grid)
    at = np.arange(grid.shape[axis])
    kept = np.zeros_like(labels)
    for muscle in table:
        slices = np.zeros(at.shape, bool)
        for level in expand_levels(muscle.levels):
            low, high = levels.get(level, (0.0, -1.0))
            slices |= (at >= low) & (at <= high)
        shape = [-1 if i == axis else 1 for i in range(3)]
        chosen = (labels == muscle.index) & slices.reshape(shape)
        kept[chosen] = muscle.index
    return kept
