"""Positions of a grid's voxels in a subject's label map."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bids_mfi.grid import Grid
from bids_mfi.synthesis.deformation import map_points, transform_points
from bids_mfi.synthesis.subject import Subject

LATTICE_MM = 7.0


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """The voxels of a grid except those far out in the air.

    Attributes
    ----------
    packed : Tensor
        Packed label map, with tubes.
    index : Tensor of int64, shape (n,)
        Indices of the voxels in the flattened grid.
    centre : Tensor of float32, shape (3, n)
        Voxel indices of the label map at the voxels' centres.
    steps : Tensor of float32, shape (3, 3, n)
        Change of these indices per voxel along x, y and z of the grid.
    """

    packed: Tensor
    index: Tensor
    centre: Tensor
    steps: Tensor

    def at(self, phase: tuple[float, ...]) -> Tensor:
        """Return voxel indices of the label map ``phase`` voxels off the centres, (3, n)."""
        x, y, z = phase
        return self.centre + x * self.steps[0] + y * self.steps[1] + z * self.steps[2]

    def spread(self, values: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """Insert values of the points into a volume of zeros."""
        volume = values.new_zeros(shape)
        volume.view(-1)[self.index] = values
        return volume


def find_points(subject: Subject, grid: Grid, packed: Tensor) -> Points:
    """Find the voxels of a grid inside the body and their positions in the map."""
    lattice = _map_lattice(subject, grid, packed.device)
    centre = _interpolate_lattice(lattice, grid, (0.0, 0.0, 0.0)).flatten(1)
    near = ((look_up(centre, packed) >> 24) & 255) > 0
    index = near.nonzero()[:, 0]
    centre = centre[:, index]
    steps = [
        2 * (_interpolate_lattice(lattice, grid, half).flatten(1)[:, index] - centre)
        for half in ((0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5))
    ]
    return Points(packed, index, centre, torch.stack(steps))


def _map_lattice(subject: Subject, grid: Grid, device: torch.device) -> Tensor:
    """Compute label-map voxel indices at the nodes of a coarse lattice on a grid, (3, a, b, c)."""
    axes = [
        torch.linspace(-0.5, size - 0.5, _lattice_nodes(size, step), device=device)
        for size, step in zip(grid.shape, grid.spacing_mm, strict=True)
    ]
    nodes = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    world = transform_points(grid.matrix, nodes)
    return transform_points(
        np.linalg.inv(subject.label_map.affine), map_points(subject.deformation, world)
    )


def _lattice_nodes(size: int, spacing_mm: float) -> int:
    return max(2, int(np.ceil(size * spacing_mm / LATTICE_MM)) + 1)


def _interpolate_lattice(lattice: Tensor, grid: Grid, phase: tuple[float, ...]) -> Tensor:
    """Interpolate the lattice at every voxel of a grid, ``phase`` voxels off the centre."""
    result = lattice
    for axis, (size, shift) in enumerate(zip(grid.shape, phase, strict=True), start=1):
        nodes = result.shape[axis]
        at = (torch.arange(size, device=lattice.device) + (0.5 + shift)) * ((nodes - 1) / size)
        low = at.floor().clamp(0, nodes - 2).long()
        part = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        below, above = result.index_select(axis, low), result.index_select(axis, low + 1)
        result = torch.lerp(below, above, part.expand_as(below))
    return result


def look_up(voxels: Tensor, packed: Tensor) -> Tensor:
    """Look up the packed word of the nearest voxel; outside the map, its edge voxels repeat."""
    x, y, z = (
        voxels[axis].round().clamp(0, size - 1).int() for axis, size in enumerate(packed.shape)
    )
    index = (x * packed.shape[1] + y) * packed.shape[2] + z
    return packed.flatten()[index]
