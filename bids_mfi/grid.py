"""Voxel grids, and the package's only reader and writer of NIfTI; must not know muscles or models.

Inside the package every volume is an array of shape (x, y, z) with a :class:`Grid`. Orientation is
always taken from the affine, whose world axes point to the subject's right, anterior and superior.
"""

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from bids_mfi.errors import PairError

MAX_SPACING_MM = 20.0
MIN_SPACING_MM = 0.05
MIN_SIZE = 2
AFFINE_TOLERANCE_MM = 1e-3

Affine = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the voxels of a volume lie.

    Attributes
    ----------
    shape : tuple of int
        Voxels along x, y, z.
    affine : tuple of tuple of float
        4 x 4, voxel indices to millimetres, world axes R, A, S.
    """

    shape: tuple[int, int, int]
    affine: Affine

    @classmethod
    def from_array(cls, shape: tuple[int, ...], affine: NDArray[np.float64]) -> "Grid":
        """A grid from an array's shape and a 4 x 4 array."""
        x, y, z = (int(size) for size in shape)
        rows = tuple(tuple(float(value) for value in row) for row in np.asarray(affine))
        return cls((x, y, z), rows)

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
        """|det| of the affine, millilitres; right for sheared grids too.

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
    """Whether two grids put every voxel at the same place, within 1 micrometre.

    The corners are compared, so that a small difference of angle counts where it matters.
    """
    if first.shape != second.shape:
        return False
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(first.shape) - 1)
    corners = np.concatenate([corners, np.ones((8, 1))], axis=1)
    shift_mm = corners @ (first.matrix - second.matrix).T
    return bool(np.abs(shift_mm).max() <= AFFINE_TOLERANCE_MM)


def describe_difference(first: Grid, second: Grid) -> str:
    """How two grids differ, in a few words."""
    if first.shape != second.shape:
        return f"shapes {_times(first.shape)} and {_times(second.shape)} voxels"
    if not np.allclose(first.spacing_mm, second.spacing_mm, atol=AFFINE_TOLERANCE_MM):
        return f"voxels of {_times(first.spacing_mm)} mm and {_times(second.spacing_mm)} mm"
    return "different positions or orientations (affines)"


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def read_image(path: Path) -> tuple[NDArray[np.float64], Grid]:
    """Read a 3-D NIfTI image and check that it can be measured.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``.

    Returns
    -------
    volume : ndarray of float64, shape (x, y, z)
        Scaled values.
    grid : Grid

    Raises
    ------
    PairError
        The file is missing, truncated, no NIfTI, not 3-D, has one slice, an impossible geometry,
        values that are not finite, or no signal.
    """
    image = _open(path)
    grid = _checked_grid(path, image)
    volume = _load(path, image)
    _check_values(path, volume)
    return volume, grid


def read_labels(path: Path) -> tuple[NDArray[np.int16], Grid]:
    """Read a label map, int16 of shape (x, y, z); an empty one is allowed.

    Raises
    ------
    PairError
        As for :func:`read_image`, or a value that is not a whole number from 0 to 32767.
    """
    image = _open(path)
    grid = _checked_grid(path, image)
    volume = _load(path, image)
    whole = np.isfinite(volume).all() and (volume == np.rint(volume)).all()
    if not whole or volume.min() < 0 or volume.max() > np.iinfo(np.int16).max:
        raise PairError(f"{path}: a label map must hold whole numbers from 0 to 32767.")
    return volume.astype(np.int16), grid


def read_grid(path: Path) -> Grid:
    """Read only the header; errors as for :func:`read_image`."""
    return _checked_grid(path, _open(path))


def _open(path: Path) -> nib.Nifti1Image:
    if path.is_symlink() and not path.exists():
        raise PairError(
            f"{path}: the content has not been fetched (a symbolic link to {os.readlink(path)}, "
            f"which is not there). Run `datalad get {path}` or `git annex get {path}` first."
        )
    try:
        image = nib.load(path)
    except FileNotFoundError:
        raise PairError(f"{path}: no such file.") from None
    except (OSError, EOFError, zlib.error, ImageFileError, ValueError) as error:
        raise PairError(
            f"{path}: cannot be read as NIfTI ({_first_line(error)}). Expected a .nii or .nii.gz "
            "file; copy or convert it again."
        ) from error
    if not isinstance(image, nib.Nifti1Image):
        raise PairError(f"{path}: is {type(image).__name__}, expected NIfTI; convert it.")
    return image


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _checked_grid(path: Path, image: nib.Nifti1Image) -> Grid:
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise PairError(
            f"{path}: has {len(shape)} dimensions ({_times(shape)}), expected one 3-D volume; "
            "split the series into one file an image."
        )
    if min(shape) < MIN_SIZE:
        raise PairError(
            f"{path}: has a single slice or less along an axis ({_times(shape)} voxels), expected "
            "a volume; name another series by --bids-filter-file."
        )
    _check_geometry(path, image)
    return Grid.from_array(shape, image.affine)


def _check_geometry(path: Path, image: nib.Nifti1Image) -> None:
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise PairError(
            f"{path}: the header gives no orientation (sform and qform codes are 0), so left and "
            "right cannot be told apart. Convert the DICOM files again, for example by dcm2niix."
        )
    matrix = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise PairError(
            f"{path}: the affine is singular or not finite, so voxels have no place in space. "
            "Correct the header or convert the DICOM files again."
        )
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if spacing.max() > MAX_SPACING_MM or spacing.min() < MIN_SPACING_MM:
        raise PairError(
            f"{path}: voxels of {_times(tuple(float(s) for s in spacing))} mm, expected "
            f"{MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm. Check the unit of the header (NIfTI "
            "counts in millimetres)."
        )


def _load(path: Path, image: nib.Nifti1Image) -> NDArray[np.float64]:
    try:
        volume = image.get_fdata(dtype=np.float64, caching="unchanged")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise PairError(
            f"{path}: the data end early or are damaged ({_first_line(error)}). Expected "
            f"{_times(tuple(image.shape))} voxels; copy or convert the file again."
        ) from error
    return volume.reshape(volume.shape[:3])


def _check_values(path: Path, volume: NDArray[np.float64]) -> None:
    bad = volume.size - int(np.count_nonzero(np.isfinite(volume)))
    if bad:
        raise PairError(
            f"{path}: {bad} of {volume.size} voxels are NaN or infinite, expected finite signal. "
            "Export the image again, or set these voxels to 0."
        )
    if not volume.any():
        raise PairError(f"{path}: all voxels are 0, expected an image; export it again.")


def encode_image(volume: NDArray[np.generic], grid: Grid) -> bytes:
    """The bytes of a ``.nii.gz`` file, the same at every call (no time stamp).

    Parameters
    ----------
    volume : ndarray, shape of the grid
        Written in its own dtype, without scaling.
    grid : Grid
        Written as sform and qform with code 1 (scanner).
    """
    image = nib.Nifti1Image(volume, grid.matrix)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.matrix, code=1)
    image.set_qform(grid.matrix, code=1)
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def reorient(
    volume: NDArray[np.generic], grid: Grid, axcodes: tuple[str, str, str]
) -> tuple[NDArray[np.generic], Grid]:
    """Permute and flip the voxel axes so that they point nearest to ``axcodes``; no interpolation.

    Trailing axes beyond the third are kept as they are.
    """
    transform = ornt_transform(io_orientation(grid.matrix), axcodes2ornt(axcodes))
    turned = apply_orientation(volume, transform)
    affine = grid.matrix @ inv_ornt_aff(transform, grid.shape)
    return turned, Grid.from_array(turned.shape[:3], affine)


def resampled_grid(grid: Grid, spacing_mm: tuple[float, float, float]) -> Grid:
    """The grid of the same field of view with voxels nearest to ``spacing_mm``.

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
    nothing aliases. Beyond the outermost voxel centres the kernel is renormalised.

    Parameters
    ----------
    volume : ndarray of float32, shape (x, y, z)
    shape : tuple of int
        Wanted voxels along x, y, z.
    """
    for axis, size in enumerate(shape):
        if volume.shape[axis] == size:
            continue
        weights = _linear_weights(volume.shape[axis], size)
        volume = np.moveaxis(np.tensordot(weights, volume, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(volume, dtype=np.float32)


def _linear_weights(size_in: int, size_out: int) -> NDArray[np.float32]:
    scale = size_in / size_out
    centres = (np.arange(size_out) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(size_in)[None, :]) / max(scale, 1.0)
    weights = np.maximum(1.0 - distance, 0.0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
