"""NIfTI images on disk: reading, checking and encoding."""

# nibabel's functions are untyped.
# mypy: untyped-calls-exclude=nibabel

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from bids_mfi.errors import PairError
from bids_mfi.grid import Grid, shift_corners, times
from bids_mfi.nifti import HEADER_BYTES, check_claims, decode_voxels, open_unpacked, read_start

MAX_SPACING_MM = 20.0
MIN_SPACING_MM = 0.05
MIN_SIZE = 2
MIN_BOX_SHARE = 1e-3  # volume of a voxel, of that of a box with the same edges
QFORM_TOLERANCE_MM = 1e-3
# Of b^2 + c^2 + d^2 of a quaternion in float32; nibabel takes less than 3.6e-7 for nothing.
QUATERNION_ROUNDING = 4 * 2.0**-23
LABEL_TOLERANCE = 1e-3
PACKING_LEVEL = 2  # of ISA-L; see docs/decisions/compression.md
MOST_VOLUMES = 64  # of one file of echoes and contrasts
HEADER_KINDS: tuple[type[nib.Nifti1Header], ...] = (nib.Nifti1Header, nib.Nifti2Header)
_LOGGER = logging.getLogger(__name__)
_LOGGER.addHandler(logging.NullHandler())


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
        From the sform if its code is not 0, otherwise from the qform.

    Raises
    ------
    PairError
        The file is missing, truncated, damaged, not NIfTI or not 3-D, has one slice, an impossible
        geometry, colours or complex numbers, values that are not finite, or no signal.
    """
    values, grid, _ = _read_volume(path, volume)
    _check_values(path, values)
    return values, grid


def read_labels(path: Path) -> tuple[NDArray[np.int16], Grid]:
    """Read a label map, int16 of shape (x, y, z); an empty one is allowed.

    Raises
    ------
    PairError
        As for :func:`read_image`, or a value that is not within LABEL_TOLERANCE of a whole number
        from 0 to 32767.
    """
    volume, grid, header = _read_volume(path)
    labels = np.rint(volume)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        whole = np.abs(volume - labels) <= LABEL_TOLERANCE  # false for NaN
    wrong = ~(whole & (labels >= 0) & (labels <= np.iinfo(np.int16).max))
    if wrong.any():
        raise PairError(
            f"{path}: {np.count_nonzero(wrong)} of {volume.size} voxels are not labels (the first "
            f"is {volume[wrong][0]:.9g}), expected whole numbers from 0 to 32767; "
            f"{_explain_labels(volume[wrong], header)}."
        )
    return labels.astype(np.int16), grid


def _explain_labels(wrong: NDArray[np.float64], header: nib.Nifti1Header) -> str:
    """Explain numbers that are not labels, as far as possible, and say what to do."""
    slope, inter = header.get_slope_inter()
    if slope is not None and (slope, inter) != (1.0, 0.0):
        return (
            f"the header scales what is stored by scl_slope {slope:.9g} and scl_inter {inter:.9g}, "
            "which rounds labels; save them as integers without scaling, and export them again"
        )
    if np.isnan(wrong).all():
        return "export the labels again with 0 for the background"
    if ((wrong > 0) & (wrong < 1)).all():
        return (
            "these look like probabilities; export the labels again, with the number of the most "
            "likely label in each voxel"
        )
    return "export the labels again, without interpolation"


def read_grid(path: Path, volume: int | None = None) -> Grid:
    """Read only the header; errors as for :func:`read_image`, except those of the voxels."""
    header = _parse_header(path, read_start(path))
    _check_volume(path, header, volume)
    return _checked_grid(path, header)


def read_series_shape(path: Path) -> tuple[int, ...]:
    """Read the dimensions of an image or series, without trailing ones; errors of the header."""
    return _series_shape(_parse_header(path, read_start(path)))


def read_zooms_mm(path: Path) -> tuple[float, float, float]:
    """Voxel sizes that the header states (``pixdim``), float32 numbers along the voxel axes.

    They should agree with the affine but sometimes do not. This package computes with the affine; a
    published model may use these sizes. An impossible voxel size is replaced by that of the affine.
    Errors as for :func:`read_grid`.
    """
    header = _parse_header(path, read_start(path))
    spacing = _checked_grid(path, header).spacing_mm
    x, y, z = (
        float(zoom) if MIN_SPACING_MM <= zoom <= MAX_SPACING_MM else size
        for zoom, size in zip(header.get_zooms(), spacing, strict=False)
    )
    return x, y, z


@dataclass(frozen=True, slots=True)
class SecondGrid:
    """The header's other statement about the positions of voxels, beside the grid that is used.

    Attributes
    ----------
    used, stated : Grid
    source : str
        ``qform`` where the codes of sform and qform are above 0: ``stated`` is that of the qform.
        Else ``pixdim``: that of the voxel sizes along the axes of the sform.
    sform_code : int
    """

    used: Grid
    stated: Grid
    source: str
    sform_code: int


def read_second_grid(path: Path) -> SecondGrid | None:
    """Read the header's other statement about the positions of voxels, if there is one.

    None if it says nothing else, or nothing that could be a grid. Errors as for :func:`read_grid`.
    """
    content = read_start(path)
    header = _parse_header(path, content)
    used = _checked_grid(path, header)
    code = int(header["sform_code"])
    if code <= 0:
        return None
    stored = type(header)(content[: header.sizeof_hdr], check=False)  # before sizes of 0 become 1
    sizes_mm = np.asarray(stored["pixdim"][1:4], dtype=np.float64)
    if not (np.isfinite(sizes_mm).all() and sizes_mm.all()):
        return None
    qform = _read_qform(header) if int(header["qform_code"]) > 0 else None
    if qform is not None:
        stated = Grid.from_array(used.shape, qform, _measure_rounding(header))
        return SecondGrid(used, stated, "qform", code)
    matrix = used.matrix
    matrix[:3, :3] *= np.abs(sizes_mm) / used.spacing_mm
    return SecondGrid(used, Grid.from_array(used.shape, matrix), "pixdim", code)


def _read_qform(header: nib.Nifti1Header) -> NDArray[np.float64] | None:
    """Read the qform; None if it is not a rotation."""
    try:
        matrix = np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return None
    return matrix if np.isfinite(matrix).all() else None


def _read_volume(
    path: Path, volume: int | None = None
) -> tuple[NDArray[np.float64], Grid, nib.Nifti1Header]:
    with open_unpacked(path) as stream:
        header = _parse_header(path, stream.read(HEADER_BYTES))
        _check_volume(path, header, volume)
        grid = _checked_grid(path, header)
        voxels = decode_voxels(path, header, stream).reshape((*grid.shape, -1), order="F")
    return voxels[..., volume or 0], grid, header


def _parse_header(path: Path, content: bytes) -> nib.Nifti1Header:
    """Read the header, repaired where nibabel can; repairs go to the logger of this module."""
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
    """Raise PairError for what nibabel would guess: voxels of 1 mm, no scaling."""
    if np.isinf(header["scl_slope"]):
        raise PairError(
            f"{path}: the header scales the values by infinity, expected a finite scl_slope; "
            "convert the DICOM files again."
        )
    if int(header["sform_code"]) <= 0 and not header["pixdim"][1:4].all():
        raise PairError(
            f"{path}: the header gives a voxel size of {times(header['pixdim'][1:4])} mm and no "
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
            f"{path}: has {len(shape)} dimensions ({times(shape)}), expected one 3-D volume; split "
            "a series into one file per image, or convert the DICOM files again."
        )
    if volume is not None and not (0 <= volume < count <= MOST_VOLUMES):
        raise PairError(
            f"{path}: has {count} volumes ({times(shape)}), expected volume {volume + 1} of at "
            f"most {MOST_VOLUMES}; the file was changed, run the search again."
        )


def _checked_grid(path: Path, header: nib.Nifti1Header) -> Grid:
    """Grid of an image, or of each volume of a series."""
    shape = _series_shape(header)[:3]
    if len(shape) != 3:
        raise PairError(
            f"{path}: has {len(shape)} dimensions ({times(shape)}), expected one 3-D volume; "
            "convert the DICOM files again."
        )
    if min(shape) < MIN_SIZE:
        raise PairError(
            f"{path}: has a single slice or less along an axis ({times(shape)} voxels), expected a "
            "volume; name another series with --bids-filter-file."
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise PairError(
            f"{path}: holds {_name_type(dtype)}, expected integers or floating-point numbers of at "
            "most 64 bits; export the magnitude image."
        )
    check_claims(path, header)
    _check_geometry(path, header)
    rounding = 0.0 if int(header["sform_code"]) > 0 else _measure_rounding(header)
    return Grid.from_array(shape, _read_affine(header), rounding)


def _measure_rounding(header: nib.Nifti1Header) -> float:
    """How far rounding of the quaternion may move the corner opposite to voxel 0, in voxels.

    The first number of the quaternion is not stored. Near a half turn, as for an image with axes
    to left and posterior, it is the root of a small difference between rounded numbers.
    """
    vector = np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)
    square = max(0.0, 1.0 - float(vector @ vector))
    low, high = max(0.0, square - QUATERNION_ROUNDING), square + QUATERNION_ROUNDING
    turn = 2 * max(math.sqrt(high) - math.sqrt(square), math.sqrt(square) - math.sqrt(low))
    sizes_mm = np.asarray(header.get_zooms()[:3], dtype=np.float64)
    extent_mm = float(np.linalg.norm(sizes_mm * header.get_data_shape()[:3]))
    return turn * extent_mm / float(sizes_mm.min())


def _name_type(dtype: np.dtype[np.generic]) -> str:
    named = {"V": "colours (RGB)", "c": "complex numbers"}
    return named.get(dtype.kind, f"numbers of type {dtype.name}")


def _check_geometry(path: Path, header: nib.Nifti1Header) -> None:
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise PairError(
            f"{path}: the header gives no orientation (sform and qform codes are 0), so left and "
            "right are unknown. Expected one of the two; convert the DICOM files again, for "
            "example with dcm2niix."
        )
    matrix = _read_affine(header)
    if not np.isfinite(matrix).all() or _is_flat(matrix):
        raise PairError(
            f"{path}: the affine is singular or not finite, so voxels have no position in space. "
            "Expected one that can be inverted; correct the header or convert the DICOM files "
            "again."
        )
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if spacing.max() > MAX_SPACING_MM or spacing.min() < MIN_SPACING_MM:
        raise PairError(
            f"{path}: voxels of {times(tuple(float(s) for s in spacing))} mm, expected "
            f"{MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm. {_explain_unit(header)}"
        )


def _explain_unit(header: nib.Nifti1Header) -> str:
    unit = {1: "metres", 3: "micrometres"}.get(int(header["xyzt_units"]) & 7)
    if unit:
        return (
            f"The unit of the header is {unit} (xyzt_units). Expected millimetres; multiply sform, "
            "qform and pixdim accordingly, or convert the DICOM files again."
        )
    return "Check the unit of the header (NIfTI counts in millimetres)."


def _is_flat(matrix: NDArray[np.float64]) -> bool:
    """Whether the three voxel axes are in one plane, or nearly."""
    box = float(np.linalg.norm(matrix[:3, :3], axis=0).prod())
    return float(abs(np.linalg.det(matrix[:3, :3]))) <= MIN_BOX_SHARE * box


def _check_values(path: Path, volume: NDArray[np.float64]) -> None:
    bad = volume.size - int(np.count_nonzero(np.isfinite(volume)))
    if bad:
        raise PairError(
            f"{path}: {bad} of {volume.size} voxels are NaN or infinite, expected finite signal. "
            "Export the image again, or set these voxels to 0."
        )
    if not volume.any():
        raise PairError(f"{path}: all voxels are 0, expected an image; export it again.")


def stored_grid(grid: Grid) -> Grid:
    """Give the grid that is read from a file of :func:`encode_image`: its affine is float32.

    Examples
    --------
    >>> rows = ((0.1, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0))
    >>> stored_grid(Grid((2, 2, 2), rows)).affine[0][0]
    0.10000000149011612
    """
    return Grid.from_array(grid.shape, grid.matrix.astype(np.float32).astype(np.float64))


def encode_image(volume: NDArray[np.generic], grid: Grid) -> bytes:
    """Make the bytes of a ``.nii.gz`` file, the same at every call (no time stamp).

    The packed bytes may differ between kinds of processors, what they hold does not.

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
    qform = Grid.from_array(grid.shape, image.get_qform())
    if np.abs(shift_corners(grid, qform)).max() > QFORM_TOLERANCE_MM:
        image.set_qform(None, code=0)
    return igzip.compress(image.to_bytes(), compresslevel=PACKING_LEVEL, mtime=0)
