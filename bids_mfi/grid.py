"""Voxel grids, and the package's only reader and writer of NIfTI; must not know muscles or models.

Inside the package every volume is an array of shape (x, y, z) with a :class:`Grid`. Orientation is
always taken from the affine, whose world axes point to the subject's right, anterior and superior.
"""

# nibabel's functions are untyped.
# mypy: untyped-calls-exclude=nibabel

import gzip
import logging
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from bids_mfi.errors import PairError

MAX_SPACING_MM = 20.0
MIN_SPACING_MM = 0.05
MIN_SIZE = 2
MIN_BOX_SHARE = 1e-3  # volume of a voxel, of that of a box with the same edges
AFFINE_TOLERANCE_MM = 1e-3
MOST_VOLUMES = 64  # of one file of echoes and contrasts
HEADER_KINDS: tuple[type[nib.Nifti1Header], ...] = (nib.Nifti1Header, nib.Nifti2Header)
HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348

_LOGGER = logging.getLogger(__name__)
_LOGGER.addHandler(logging.NullHandler())

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
        """Make a grid from an array's shape and a 4 x 4 array."""
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


def read_image(path: Path, volume: int | None = None) -> tuple[NDArray[np.float64], Grid]:
    """Read a 3-D NIfTI image, or one volume of a series, and check that it can be measured.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``, NIfTI-1 or NIfTI-2 of either byte order.
    volume : int or None
        Which volume of a series, counted from 0; None for a 3-D image.

    Returns
    -------
    volume : ndarray of float64, shape (x, y, z)
        Scaled values.
    grid : Grid
        From the sform if its code is not 0, else from the qform.

    Raises
    ------
    PairError
        The file is missing, truncated, damaged, no NIfTI, not 3-D, has one slice, an impossible
        geometry, colours or complex numbers, values that are not finite, or no signal.
    """
    values, grid = _read_volume(path, volume)
    _check_values(path, values)
    return values, grid


def read_labels(path: Path) -> tuple[NDArray[np.int16], Grid]:
    """Read a label map, int16 of shape (x, y, z); an empty one is allowed.

    Raises
    ------
    PairError
        As for :func:`read_image`, or a value that is not a whole number from 0 to 32767.
    """
    volume, grid = _read_volume(path)
    whole = np.isfinite(volume) & (volume == np.rint(volume))
    wrong = ~(whole & (volume >= 0) & (volume <= np.iinfo(np.int16).max))
    if wrong.any():
        raise PairError(
            f"{path}: {np.count_nonzero(wrong)} of {volume.size} voxels are no label (the first is "
            f"{volume[wrong][0]:g}), expected whole numbers from 0 to 32767; export the labels "
            "again, without interpolation."
        )
    return volume.astype(np.int16), grid


def read_grid(path: Path, volume: int | None = None) -> Grid:
    """Read only the header; errors as for :func:`read_image`, those of the voxels left out."""
    header = _parse_header(path, _read_bytes(path, HEADER_BYTES))
    _check_volume(path, header, volume)
    return _checked_grid(path, header)


def read_series_shape(path: Path) -> tuple[int, ...]:
    """Read the dimensions of an image or series, without trailing ones; errors of the header."""
    return _series_shape(_parse_header(path, _read_bytes(path, HEADER_BYTES)))


def read_zooms_mm(path: Path) -> tuple[float, float, float]:
    """Voxel sizes that the header states (``pixdim``), float32 numbers along the voxel axes.

    They should be those of the affine and sometimes are not. What is computed here goes by the
    affine; a published model may go by these. One that cannot be a voxel size is replaced by
    that of the affine. Errors as for :func:`read_grid`.
    """
    header = _parse_header(path, _read_bytes(path, HEADER_BYTES))
    spacing = _checked_grid(path, header).spacing_mm
    x, y, z = (
        float(zoom) if MIN_SPACING_MM <= zoom <= MAX_SPACING_MM else size
        for zoom, size in zip(header.get_zooms(), spacing, strict=False)
    )
    return x, y, z


def _read_volume(path: Path, volume: int | None = None) -> tuple[NDArray[np.float64], Grid]:
    content = _read_bytes(path)
    header = _parse_header(path, content)
    _check_volume(path, header, volume)
    grid = _checked_grid(path, header)
    voxels = _decode_voxels(path, header, content)
    return voxels.reshape((*grid.shape, -1), order="F")[..., volume or 0], grid


def _read_bytes(path: Path, size: int = -1) -> bytes:
    """Read and unpack; reading all of it includes gzip's check of length and checksum."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise PairError(
            f"{path}: its name does not end in .nii or .nii.gz, expected a NIfTI image; convert "
            "the DICOM files, for example by dcm2niix."
        )
    try:
        with path.open("rb") as file:
            _check_fetched(path, file.peek(64))
            if path.suffix.lower() == ".gz":
                return gzip.GzipFile(fileobj=file).read(size)
            return file.read(size)
    except FileNotFoundError:
        raise PairError(_explain_missing(path)) from None
    except (EOFError, zlib.error) as error:
        raise PairError(
            f"{path}: the data end early or are damaged ({error}). Expected a complete gzip file; "
            "copy or convert it again."
        ) from error
    except gzip.BadGzipFile as error:
        raise PairError(
            f"{path}: cannot be read as NIfTI ({error}). Expected an undamaged gzip file, as its "
            "name says; copy or convert it again."
        ) from error
    except OSError as error:
        raise PairError(
            f"{path}: cannot be opened ({error.strerror or error}). Expected a readable file; "
            "check what it is and its permissions."
        ) from error


def _check_fetched(path: Path, start: bytes) -> None:
    """Raise PairError for the text that stands for a large file kept elsewhere."""
    if start.startswith((b"/annex/objects/", b"version https://git-lfs")):
        raise PairError(
            f"{path}: the content has not been fetched (the file only points to it). Expected the "
            f"image; run `datalad get {path}`, `git annex get {path}` or `git lfs pull` first."
        )


def _explain_missing(path: Path) -> str:
    if path.is_symlink():
        return (
            f"{path}: the content has not been fetched (a symbolic link to {path.readlink()}, "
            f"which is not there). Run `datalad get {path}` or `git annex get {path}` first."
        )
    return f"{path}: no such file. Expected a NIfTI image there; check the path."


def _parse_header(path: Path, content: bytes) -> nib.Nifti1Header:
    """Read the header, repaired where nibabel knows how; only this module's logger is told."""
    kinds = [kind for kind in HEADER_KINDS if kind.may_contain_header(content)]
    if not kinds:
        found = "it has no NIfTI header" if content else "it is empty"
        raise PairError(
            f"{path}: cannot be read as NIfTI ({found}). Expected a .nii or .nii.gz image; copy or "
            "convert it again."
        )
    try:
        header = kinds[0](content[: kinds[0].sizeof_hdr], check=False)
        _check_unrepairable(path, header)
        header.check_fix(logger=_LOGGER)
        header.get_data_offset()
        header.get_slope_inter()
        _read_affine(header)
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise PairError(
            f"{path}: the NIfTI header is damaged ({error}). Expected a valid one; copy or convert "
            "the file again."
        ) from error
    return header


def _read_affine(header: nib.Nifti1Header) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a signalling NaN; the caller checks for NaN
        return np.asarray(header.get_best_affine(), dtype=np.float64)


def _check_unrepairable(path: Path, header: nib.Nifti1Header) -> None:
    """Raise PairError for what nibabel would repair by a guess: voxels of 1 mm, no scaling."""
    if np.isinf(header["scl_slope"]):
        raise PairError(
            f"{path}: the header scales the values by infinity, expected a finite scl_slope; "
            "convert the DICOM files again."
        )
    if int(header["sform_code"]) <= 0 and not header["pixdim"][1:4].all():
        raise PairError(
            f"{path}: the header gives a voxel size of {_times(header['pixdim'][1:4])} mm and no "
            "sform, expected sizes above 0. Convert the DICOM files again."
        )


def _series_shape(header: nib.Nifti1Header) -> tuple[int, ...]:
    shape = tuple(int(size) for size in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _check_volume(path: Path, header: nib.Nifti1Header, volume: int | None) -> None:
    """Refuse a series where one image is expected, and a volume that it does not have."""
    shape = _series_shape(header)
    count = math.prod(shape[3:])
    if volume is None and len(shape) > 3:
        raise PairError(
            f"{path}: has {len(shape)} dimensions ({_times(shape)}), expected one 3-D volume; "
            "split a series into one file an image, or convert the DICOM files again."
        )
    if volume is not None and not (0 <= volume < count <= MOST_VOLUMES):
        raise PairError(
            f"{path}: has {count} volumes ({_times(shape)}), expected volume {volume + 1} of at "
            f"most {MOST_VOLUMES}; the file was changed, run the search again."
        )


def _checked_grid(path: Path, header: nib.Nifti1Header) -> Grid:
    """Grid of an image, or of each volume of a series."""
    shape = _series_shape(header)[:3]
    if len(shape) != 3:
        raise PairError(
            f"{path}: has {len(shape)} dimensions ({_times(shape)}), expected one 3-D volume; "
            "convert the DICOM files again."
        )
    if min(shape) < MIN_SIZE:
        raise PairError(
            f"{path}: has a single slice or less along an axis ({_times(shape)} voxels), expected "
            "a volume; name another series by --bids-filter-file."
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise PairError(
            f"{path}: holds {_name_type(dtype)}, expected integers or floating-point numbers of at "
            "most 64 bits; export the magnitude image."
        )
    _check_geometry(path, header)
    return Grid.from_array(shape, _read_affine(header))


def _name_type(dtype: np.dtype[np.generic]) -> str:
    named = {"V": "colours (RGB)", "c": "complex numbers"}
    return named.get(dtype.kind, f"numbers of type {dtype.name}")


def _check_geometry(path: Path, header: nib.Nifti1Header) -> None:
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise PairError(
            f"{path}: the header gives no orientation (sform and qform codes are 0), so left and "
            "right cannot be told apart. Expected one of them; convert the DICOM files again, for "
            "example by dcm2niix."
        )
    matrix = _read_affine(header)
    if not np.isfinite(matrix).all() or _is_flat(matrix):
        raise PairError(
            f"{path}: the affine is singular or not finite, so voxels have no place in space. "
            "Expected one that can be inverted; correct the header or convert the DICOM files "
            "again."
        )
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if spacing.max() > MAX_SPACING_MM or spacing.min() < MIN_SPACING_MM:
        raise PairError(
            f"{path}: voxels of {_times(tuple(float(s) for s in spacing))} mm, expected "
            f"{MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm. Check the unit of the header (NIfTI "
            "counts in millimetres)."
        )


def _is_flat(matrix: NDArray[np.float64]) -> bool:
    """Whether the three voxel axes lie in one plane, or nearly."""
    box = float(np.linalg.norm(matrix[:3, :3], axis=0).prod())
    return float(abs(np.linalg.det(matrix[:3, :3]))) <= MIN_BOX_SHARE * box


def _decode_voxels(path: Path, header: nib.Nifti1Header, content: bytes) -> NDArray[np.float64]:
    """All voxels in the order of the file, scaled."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    start, count = header.get_data_offset(), math.prod(int(size) for size in shape)
    if len(content) < start + count * dtype.itemsize:
        there = max(0, len(content) - start) // dtype.itemsize
        raise PairError(
            f"{path}: the data end early, after {there} of {count} voxels. Expected "
            f"{_times(shape)}; copy or convert the file again."
        )
    slope, inter = header.get_slope_inter()
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks for NaN and infinity
        volume = np.frombuffer(content, dtype, count, start).astype(np.float64)
        if slope is not None and (slope, inter) != (1.0, 0.0):
            volume *= slope
            volume += inter
    return volume


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
    """Make the bytes of a ``.nii.gz`` file, the same at every call (no time stamp).

    Parameters
    ----------
    volume : ndarray, shape of the grid, then any further axes
        Written in its own dtype, without scaling; int64 and bool do not fit NIfTI readers.
    grid : Grid
        Written as sform with code 1 (scanner), rounded to float32, and as qform with code 1 too
        unless it is sheared, which a qform cannot express.

    Raises
    ------
    ValueError
        Volume and grid differ in shape.
    """
    if volume.shape[:3] != grid.shape:
        raise ValueError(f"shapes differ: volume {volume.shape}, grid {grid.shape}")
    image = nib.Nifti1Image(volume, grid.matrix)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.matrix, code=1)
    image.set_qform(grid.matrix, code=1)
    if not same_grid(grid, Grid.from_array(grid.shape, image.get_qform())):
        image.set_qform(None, code=0)
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
    normalised: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return normalised.astype(np.float32)
