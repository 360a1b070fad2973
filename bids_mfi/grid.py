"""A voxel grid in space: shape and affine; turned, resampled and compared.

Inside the package every volume is an array of shape (x, y, z) with a :class:`Grid`. Orientation is
always taken from the affine, whose world axes point to the subject's right, anterior and superior.
"""

# nibabel's functions are untyped.
# mypy: untyped-calls-exclude=nibabel

from dataclasses import dataclass, field

import numpy as np
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

SPACING_TOLERANCE_MM = 1e-3
SAME_PLACE_VOXELS = 0.05  # see docs/decisions/orientation.md
FLOAT32_VOXELS = 1e-3  # what a float32 affine far from the origin rounds away
Affine = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """Positions of the voxels of a volume.

    Attributes
    ----------
    shape : tuple of int
        Voxels along x, y, z.
    affine : tuple of tuple of float
        4 x 4, voxel indices to millimetres, world axes R, A, S.
    rounding_voxels : float
        How far the far corner may be from its true place because a quaternion was rounded; 0
        where the file stores the affine itself.
    """

    shape: tuple[int, int, int]
    affine: Affine
    rounding_voxels: float = field(default=0.0, compare=False, repr=False)

    @classmethod
    def from_array(
        cls, shape: tuple[int, ...], affine: NDArray[np.float64], rounding_voxels: float = 0.0
    ) -> "Grid":
        """Make a grid from an array's shape and a 4 x 4 array."""
        x, y, z = (int(size) for size in shape)
        rows = tuple(tuple(float(value) for value in row) for row in np.asarray(affine))
        return cls((x, y, z), rows, rounding_voxels)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as an array of shape (4, 4)."""
        return np.array(self.affine, dtype=np.float64)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along x, y, z, millimetres."""
        x, y, z = np.linalg.norm(self.matrix[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_volume_ml(self) -> float:
        """|det| of the affine, millilitres; correct for sheared grids too.

        >>> Grid((2, 2, 2), ((2., 0, 0, 0), (0, 1., 0, 0), (0, 0, 3., 0), (0, 0, 0, 1.)))\
.voxel_volume_ml
        0.006
        """
        return float(abs(np.linalg.det(self.matrix[:3, :3]))) / 1000.0

    @property
    def axcodes(self) -> tuple[str, str, str]:
        """Nearest anatomical direction of each voxel axis, for example ``("L", "P", "S")``."""
        first, second, third = (str(code) for code in aff2axcodes(self.matrix))
        return first, second, third


def same_grid(first: Grid, second: Grid) -> bool:
    """Whether two grids put every voxel at the same place, within SAME_PLACE_VOXELS.

    The corners are compared, so a small difference in angle counts where it matters. The
    corner that moves least must stay within the limit; the others may also rotate about it by as
    much as the rounding of a quaternion explains.
    """
    if first.shape != second.shape:
        return False
    _, voxels = _measure_shifts(first, second)
    allowed = SAME_PLACE_VOXELS + FLOAT32_VOXELS
    turned = allowed + first.rounding_voxels + second.rounding_voxels
    return bool(voxels.min() <= allowed and voxels.max() <= turned)


def measure_distance(first: Grid, second: Grid) -> tuple[float, float]:
    """Largest distance between the corners of two grids of the same shape.

    Returns
    -------
    distance_mm : float
    distance_voxels : float
        Along the voxel axis of ``first`` where it is largest.
    """
    mm, voxels = _measure_shifts(first, second)
    return float(mm.max()), float(voxels.max())


def _measure_shifts(first: Grid, second: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shift of the eight corners: millimetres, and voxels along the axis where it is largest."""
    shift_mm = shift_corners(first, second)
    shift_voxels = shift_mm @ np.linalg.inv(first.matrix[:3, :3]).T
    return np.linalg.norm(shift_mm, axis=1), np.abs(shift_voxels).max(axis=1)


def shift_corners(first: Grid, second: Grid) -> NDArray[np.float64]:
    """From where ``second`` puts its corners to where ``first`` does, mm, shape (8, 3)."""
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(first.shape) - 1)
    corners = np.concatenate([corners, np.ones((8, 1))], axis=1)
    shifts: NDArray[np.float64] = (corners @ (first.matrix - second.matrix).T)[:, :3]
    return shifts


def describe_difference(first: Grid, second: Grid) -> str:
    """How two grids differ, in a few words."""
    if first.shape != second.shape:
        return f"shapes {times(first.shape)} and {times(second.shape)} voxels"
    kind = "different positions or orientations (affines)"
    if not np.allclose(first.spacing_mm, second.spacing_mm, atol=SPACING_TOLERANCE_MM):
        kind = f"voxels of {times(first.spacing_mm)} mm and {times(second.spacing_mm)} mm"
    mm, voxels = measure_distance(first, second)
    return (
        f"{kind}, up to {mm:.3g} mm or {voxels:.3g} voxels apart; "
        f"{SAME_PLACE_VOXELS:g} voxels are allowed"
    )


def times(values: tuple[float, ...]) -> str:
    """Write numbers with multiplication signs between them."""
    return " x ".join(f"{value:g}" for value in values)


def reorient(
    volume: NDArray[np.generic], grid: Grid, axcodes: tuple[str, str, str]
) -> tuple[NDArray[np.generic], Grid]:
    """Permute and flip the voxel axes so that they point nearest to ``axcodes``; no interpolation.

    Axes beyond the third are kept.
    """
    return _turn(volume, grid, ornt_transform(io_orientation(grid.matrix), axcodes2ornt(axcodes)))


def reorient_like(
    volume: NDArray[np.generic], grid: Grid, wanted: Grid
) -> tuple[NDArray[np.generic], Grid]:
    """Permute and flip the voxel axes so that they point nearest to those of ``wanted``.

    This is unambiguous for two affines of the same voxels, where :func:`reorient` may choose
    differently for an axis halfway between two anatomical directions.
    """
    return _turn(volume, grid, io_orientation(np.linalg.inv(wanted.matrix) @ grid.matrix))


def _turn(
    volume: NDArray[np.generic], grid: Grid, transform: NDArray[np.float64]
) -> tuple[NDArray[np.generic], Grid]:
    turned = apply_orientation(volume, transform)
    affine = grid.matrix @ inv_ornt_aff(transform, grid.shape)
    return turned, Grid.from_array(turned.shape[:3], affine, grid.rounding_voxels)


def resampled_grid(grid: Grid, spacing_mm: tuple[float, float, float]) -> Grid:
    """Lay a grid over the same field of view with voxels nearest to ``spacing_mm``.

    The outer edges of the first and last voxels stay where they are, so the true spacing is the
    extent divided by the number of voxels.
    """
    extent_mm = np.array(grid.shape) * np.array(grid.spacing_mm)
    shape = np.maximum(np.rint(extent_mm / np.array(spacing_mm)), 1).astype(int)
    step = np.array(grid.shape) / shape
    affine = grid.matrix.copy()
    affine[:3, :3] = grid.matrix[:3, :3] * step
    affine[:3, 3] = (grid.matrix @ np.append((step - 1) / 2, 1.0))[:3]
    return Grid.from_array(tuple(shape), affine)


def resize_linear(volume: NDArray[np.float32], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Separable linear interpolation between grids of the same field of view.

    When an axis gets fewer voxels, the triangular kernel is widened by that factor, so that
    there is no aliasing. Beyond the outermost voxel centres the kernel is renormalised.

    Parameters
    ----------
    volume : ndarray of float32, shape (x, y, z)
    shape : tuple of int
        Number of voxels along x, y, z.
    """
    for axis, size in enumerate(shape):
        if volume.shape[axis] == size:
            continue
        weights = linear_weights(volume.shape[axis], size)
        volume = np.moveaxis(np.tensordot(weights, volume, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(volume, dtype=np.float32)


def linear_weights(size_in: int, size_out: int) -> NDArray[np.float32]:
    """Weights of :func:`resize_linear` along one axis, shape (size_out, size_in)."""
    scale = size_in / size_out
    centres = (np.arange(size_out) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(size_in)[None, :]) / max(scale, 1.0)
    weights = np.maximum(1.0 - distance, 0.0)
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised.astype(np.float32)
