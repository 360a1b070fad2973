"""Bytes of NIfTI files: opening, unpacking and decoding.

The header is read before the voxels. No more voxels are read than the header claims, plus at most
one slice, so a small packed file cannot fill the memory.
"""

# nibabel's functions are untyped.
# mypy: untyped-calls-exclude=nibabel

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_mfi.errors import PairError
from bids_mfi.reading import open_regular_file

HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
MOST_VOXELS = 2**28  # 645 x 645 x 645; 2 GiB as float64
MOST_OFFSET_BYTES = 2**26  # header extensions lie between header and voxels
EXTENSION_FLAG_BYTES = 4  # between the header and the voxels of a single file
CHUNK_BYTES = 2**20  # a multiple of the size of every number type


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a ``.nii`` or ``.nii.gz`` as a seekable stream of its unpacked content.

    Reading a gzip file to its end includes the check of length and checksum.

    Raises
    ------
    PairError
        The file is not named as NIfTI, is missing, not fetched or not a regular file; or, from
        reading in the body of the ``with``, it is not a gzip file, ends early or is damaged.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise PairError(
            f"{path}: its name does not end in .nii or .nii.gz, expected a NIfTI image; convert "
            "the DICOM files, for example with dcm2niix."
        )
    try:
        with open_regular_file(path) as file:
            _check_fetched(path, file.read(64))
            file.seek(0)
            packed = path.suffix.lower() == ".gz"
            yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
    except FileNotFoundError:
        raise PairError(_explain_missing(path)) from None
    except (EOFError, zlib.error) as error:
        raise PairError(
            f"{path}: the data end early or are damaged ({error}). Expected a complete gzip file; "
            "copy or convert it again."
        ) from error
    except gzip.BadGzipFile as error:
        if _is_packed(path) and str(error).startswith("Not a gzipped file"):
            raise PairError(
                f"{path}: something was appended after the end of the packed data. Expected the "
                "end of the file; copy or convert it again."
            ) from error
        raise PairError(
            f"{path}: cannot be read as NIfTI ({error}). Expected an undamaged gzip file, as its "
            "name says; copy or convert it again."
        ) from error
    except OSError as error:
        raise PairError(
            f"{path}: cannot be opened ({error.strerror or error}). Expected a readable file; "
            "check what it is and its permissions."
        ) from error


def _is_packed(path: Path) -> bool:
    """Whether a file begins as gzip files do."""
    with open_regular_file(path) as file:
        return file.read(2) == b"\x1f\x8b"


def read_start(path: Path) -> bytes:
    """Read as many bytes as a header has; errors as for :func:`open_unpacked`."""
    with open_unpacked(path) as stream:
        return stream.read(HEADER_BYTES)


def _check_fetched(path: Path, start: bytes) -> None:
    """Raise PairError for the placeholder text of a large file that is stored elsewhere."""
    if start.startswith((b"/annex/objects/", b"version https://git-lfs")):
        raise PairError(
            f"{path}: the content has not been fetched (the file only points to it). Expected the "
            f"image; run `datalad get {path}`, `git annex get {path}` or `git lfs pull` first."
        )


def _explain_missing(path: Path) -> str:
    if path.is_symlink():
        return (
            f"{path}: the content has not been fetched (a symbolic link to {path.readlink()}, "
            f"which does not exist). Run `datalad get {path}` or `git annex get {path}` first."
        )
    return f"{path}: no such file. Expected a NIfTI image there; check the path."


def check_claims(path: Path, header: nib.Nifti1Header) -> None:
    """Refuse a header that claims more than an image of a body region has.

    Raises
    ------
    PairError
        It has more than MOST_VOXELS voxels, all volumes together, or places them within the
        header or beyond MOST_OFFSET_BYTES.
    """
    shape, start = header.get_data_shape(), int(header.get_data_offset())
    count = math.prod(max(0, int(size)) for size in shape)
    if count > MOST_VOXELS:
        raise PairError(
            f"{path}: the header claims {count:,} voxels ({_times(shape)}), expected at most "
            f"{MOST_VOXELS:,}. Convert the DICOM files again, or crop the image to the neck."
        )
    least = int(header.sizeof_hdr) + EXTENSION_FLAG_BYTES
    if not least <= start <= MOST_OFFSET_BYTES:
        raise PairError(
            f"{path}: the header says that the voxels begin at byte {start:,}, expected {least} to "
            f"{MOST_OFFSET_BYTES:,} (vox_offset). Convert the DICOM files again."
        )


def decode_voxels(path: Path, header: nib.Nifti1Header, stream: BinaryIO) -> NDArray[np.float64]:
    """Decode all voxels in the order of the file, scaled.

    Raises
    ------
    PairError
        There are fewer than the header claims, or more: beyond the last voxel only zeros are
        accepted, and fewer than a slice of them, as padding.
    """
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    count = math.prod(int(size) for size in shape)
    stream.seek(header.get_data_offset())
    slope, inter = header.get_slope_inter()
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks for NaN and infinity
        volume = np.empty(count)
        decoded = _fill(volume, dtype, stream)
        if decoded < count:
            raise PairError(
                f"{path}: the data end early, after {decoded} of {count} voxels. Expected "
                f"{_times(shape)}; copy or convert the file again."
            )
        _check_surplus(path, header, stream)
        if slope is not None and (slope, inter) != (1.0, 0.0):
            volume *= slope
            volume += inter
    return volume


def _fill(volume: NDArray[np.float64], dtype: np.dtype[np.generic], stream: BinaryIO) -> int:
    """Fill a volume from the stream piece by piece; return the number of voxels."""
    decoded = 0
    while decoded < volume.size:
        content = stream.read(min(CHUNK_BYTES, (volume.size - decoded) * dtype.itemsize))
        found = len(content) // dtype.itemsize
        volume[decoded : decoded + found] = np.frombuffer(content, dtype, found)
        decoded += found
        if len(content) < CHUNK_BYTES:
            break
    return decoded


def _check_surplus(path: Path, header: nib.Nifti1Header, stream: BinaryIO) -> None:
    """Raise PairError for data after the last voxel, unless they are padding."""
    x, y, *_ = header.get_data_shape()
    slice_bytes = int(x) * int(y) * header.get_data_dtype().itemsize
    surplus = stream.read(min(slice_bytes, CHUNK_BYTES))
    if len(surplus) < min(slice_bytes, CHUNK_BYTES) and not surplus.strip(b"\0"):
        return
    found = "at least one more slice" if len(surplus) == slice_bytes else "further data"
    raise PairError(
        f"{path}: {found} after the last voxel that the header claims "
        f"({_times(header.get_data_shape())} voxels). Expected the end of the file. The header may "
        "claim too few slices, or something was appended; correct its `dim`, or convert the DICOM "
        "files again."
    )


def _times(values: tuple[int, ...]) -> str:
    return " x ".join(f"{value:d}" for value in values)
