"""Grids and files: every bad file has its sentence, and no voxel ever moves in space."""

import errno
import gzip
import itertools
import os
import re
import struct
import subprocess
import sys
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_mfi.errors import PairError
from bids_mfi.grid import (
    Grid,
    describe_difference,
    measure_distance,
    reorient,
    reorient_like,
    resampled_grid,
    resize_linear,
    same_grid,
)
from bids_mfi.images import encode_image, read_grid, read_image, read_labels

SHAPE = (5, 4, 3)
SPACING_MM = (0.7, 0.8, 3.0)
READERS = (read_image, read_labels, read_grid)
REMEDY = re.compile(
    r"(copy or convert|convert the|name another|check |run `|export |split a|correct )",
    re.IGNORECASE,
)
AXCODES = [
    tuple(codes[axis] for axis in order)
    for codes in itertools.product("RL", "AP", "SI")
    for order in itertools.permutations(range(3))
]


def rotation(degrees_x, degrees_y, degrees_z):
    matrix = np.eye(3)
    for axis, degrees in enumerate((degrees_x, degrees_y, degrees_z)):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        turn = np.eye(3)
        turn[np.ix_([(axis + 1) % 3, (axis + 2) % 3], [(axis + 1) % 3, (axis + 2) % 3])] = (
            [c, -s],
            [s, c],
        )
        matrix = turn @ matrix
    return matrix


def make_affine(linear, origin_mm=(-91.3, 40.2, -12.7)):
    """An affine as a file's sform can hold it: float32."""
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = origin_mm
    return affine.astype(np.float32).astype(np.float64)


STRAIGHT = make_affine(np.diag(SPACING_MM))
LAS = make_affine(np.diag([-0.7, 0.8, 3.0]))
OBLIQUE = make_affine(rotation(12, -9, 20) @ np.diag([0.7, -0.8, 3.0]))
SAGITTAL = make_affine(rotation(4, 7, -11)[:, [1, 2, 0]] @ np.diag([-0.7, -0.8, 3.0]))
SHEARED = make_affine(rotation(12, -9, 20) @ [[0.7, 0.1, 0.4], [0, 0.8, -0.3], [0, 0, 3.0]])
AFFINES = {
    "straight": STRAIGHT, "las": LAS, "oblique": OBLIQUE, "sagittal": SAGITTAL, "sheared": SHEARED,
}  # fmt: skip


def make_volume(dtype=np.int16, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(1, 99, shape).astype(dtype)


def raw_nifti(volume=None, affine=STRAIGHT, kind=nib.Nifti1Image, qform=True):
    """The bytes of a plain .nii file, made by nibabel without this package."""
    volume = make_volume() if volume is None else volume
    image = kind(volume, affine, dtype=volume.dtype)
    image.set_sform(affine, code=1)
    image.set_qform(affine if qform else None, code=1 if qform else 0)
    return image.to_bytes()


def patched(offset, fmt, *values, content=None):
    """A plain .nii file with some header fields overwritten (little endian)."""
    changed = bytearray(raw_nifti() if content is None else content)
    struct.pack_into("<" + fmt, changed, offset, *values)
    return bytes(changed)


DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, UNITS = 40, 70, 76, 108, 112, 123
QFORM_CODE, SFORM_CODE, QUATERN, SROW, MAGIC = 252, 254, 256, 280, 344


def qform_only(offset=MAGIC, fmt="4s", *values):
    values = values or (b"n+1\0",)
    return patched(offset, fmt, *values, content=patched(SFORM_CODE, "h", 0))


def wide_header(offset, fmt, *values):
    return patched(offset, fmt, *values, content=raw_nifti(kind=nib.Nifti2Image))


def colours():
    volume = np.ones(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return raw_nifti(volume)


def with_flipped_bit(content, position):
    changed = bytearray(content)
    changed[position] ^= 1 << position % 8
    return bytes(changed)


# name of the case: name of the file, its content, what the message must say
HEADER_FAULTS = {
    "text": ("a.nii.gz", b"This is a letter, not an image.\n" * 40, "cannot be read as NIfTI"),
    "text_nii": ("a.nii", b"This is a letter, not an image.\n" * 40, "no NIfTI header"),
    "empty": ("a.nii.gz", b"", "empty"),
    "empty_nii": ("a.nii", b"", "empty"),
    "uncompressed": ("a.nii.gz", raw_nifti(), "gzip"),
    "compressed": ("a.nii", gzip.compress(raw_nifti()), "no NIfTI header"),
    "cut_in_header": ("a.nii", raw_nifti()[:347], "no NIfTI header"),
    "cut_in_gzip_header": ("a.nii.gz", gzip.compress(raw_nifti())[:60], "data end early"),
    "cut_before_gzip": ("a.nii.gz", gzip.compress(raw_nifti()[:347]), "no NIfTI header"),
    "analyze": ("a.hdr", raw_nifti()[:348], ".nii or .nii.gz"),
    "pair": ("a.img", raw_nifti()[352:], ".nii or .nii.gz"),
    "minc": ("a.mnc", b"CDF\1", ".nii or .nii.gz"),
    "annex_pointer": ("a.nii.gz", b"/annex/objects/MD5E-s12--ab.nii.gz\n", "not been fetched"),
    "lfs_pointer": ("a.nii", b"version https://git-lfs.github.com/spec/v1\n", "not been fetched"),
    "magic": ("a.nii", patched(MAGIC, "4s", b"abcd"), "no NIfTI header"),
    "type_0": ("a.nii", patched(DATATYPE, "h", 0), "header is damaged"),
    "type_unknown": ("a.nii", patched(DATATYPE, "h", 999), "header is damaged"),
    "offset_nan": ("a.nii", patched(VOX_OFFSET, "f", np.nan), "header is damaged"),
    "offset_negative": ("a.nii", patched(VOX_OFFSET, "f", -10), "header is damaged"),
    "slope_infinite": ("a.nii", patched(SLOPE, "f", np.inf), "scl_slope"),
    "inter_nan": ("a.nii", patched(SLOPE, "ff", 2, np.nan), "header is damaged"),
    "four_d": ("a.nii", raw_nifti(make_volume(shape=(5, 4, 3, 2))), "4 dimensions (5 x 4 x 3 x 2)"),
    "five_d": ("a.nii", raw_nifti(make_volume(shape=(5, 4, 3, 1, 3))), "5 dimensions"),
    "two_d": ("a.nii", patched(DIM, "h", 2), "2 dimensions (5 x 4)"),
    "no_d": ("a.nii", patched(DIM, "h", 0), "1 dimensions (0)"),
    "nine_d": ("a.nii", patched(DIM, "h", 9), "header is damaged"),
    "one_slice": ("a.nii", raw_nifti(make_volume(shape=(5, 4, 1))), "single slice"),
    "one_column": ("a.nii", raw_nifti(make_volume(shape=(1, 4, 3))), "single slice"),
    "no_voxel": ("a.nii", patched(DIM + 2, "h", 0), "(0 x 4 x 3 voxels)"),
    "negative_size": ("a.nii", patched(DIM + 2, "h", -5), "(-5 x 4 x 3 voxels)"),
    "too_many_voxels": ("a.nii", patched(DIM + 2, "3h", 32767, 32767, 32767), "claims 35,181,"),
    "sizes_of_64_bits": ("a.nii", wide_header(16, "4q", 3, 2**62, 2**62, 2**62), "header claims"),
    "offset_0": ("a.nii", patched(VOX_OFFSET, "f", 0), "at byte 0, expected 352"),
    "offset_0_of_a_pair": (
        "a.nii", patched(MAGIC, "4s", b"ni1\0", content=patched(VOX_OFFSET, "f", 0)),
        "at byte 0, expected 352",
    ),
    "offset_0_wide": ("a.nii", wide_header(168, "q", 0), "at byte 0, expected 544"),
    "offset_huge": ("a.nii", patched(VOX_OFFSET, "f", 1e9), "at byte 1,000,000,000"),
    "offset_beyond": ("a.nii", patched(VOX_OFFSET, "f", 3e38), "at byte"),
    "offset_infinite": ("a.nii", patched(VOX_OFFSET, "f", np.inf), "header is damaged"),
    "offset_of_64_bits": ("a.nii", wide_header(168, "q", 2**63 - 1), "at byte 9,223,"),
    "offset_of_64_bits_negative": ("a.nii", wide_header(168, "q", -(2**62)), "header is damaged"),
    "complex64": ("a.nii", raw_nifti(make_volume(np.complex64)), "complex numbers"),
    "complex128": ("a.nii", raw_nifti(make_volume(np.complex128)), "complex numbers"),
    "colours": ("a.nii", colours(), "colours (RGB)"),
    "float128": ("a.nii", patched(DATATYPE, "h", 1536), "xpected"),  # the finding varies by machine
    "no_orientation": ("a.nii", patched(QFORM_CODE, "hh", 0, 0), "no orientation"),
    "codes_unknown": ("a.nii", patched(QFORM_CODE, "hh", 77, 77), "no orientation"),
    "singular": ("a.nii", patched(SROW, "4f", 0, 0, 0, 0), "singular"),
    "parallel": ("a.nii", patched(SROW, "12f", *([0.7, 1.4, 0, 0] * 2), 0, 0, 3, 0), "singular"),
    "affine_nan": ("a.nii", patched(SROW, "f", np.nan), "singular or not finite"),
    "affine_inf": ("a.nii", patched(SROW + 12, "f", np.inf), "singular or not finite"),
    "quaternion": ("a.nii", qform_only(QUATERN, "3f", 5, 5, 5), "header is damaged"),
    "quaternion_nan": ("a.nii", qform_only(QUATERN, "f", np.nan), "not finite"),
    "no_voxel_size": ("a.nii", qform_only(PIXDIM + 4, "3f", 0.7, 0, 3), "0.7 x 0 x 3 mm"),
    "huge": ("a.nii", raw_nifti(affine=np.diag([400, 400, 3000, 1.0])), "400 x 400 x 3000 mm"),
    "huge_slices": ("a.nii", raw_nifti(affine=np.diag([0.7, 0.7, 20.1, 1.0])), "0.7 x 0.7 x 20.1"),
    "tiny": ("a.nii", raw_nifti(affine=np.diag([7e-4, 7e-4, 3e-3, 1])), "0.0007 x 0.0007 x 0.003"),
    "metres": (
        "a.nii", patched(UNITS, "B", 1, content=raw_nifti(affine=np.diag([7e-4, 7e-4, 3e-3, 1]))),
        "The unit of the header is metres",
    ),
    "micrometres": (
        "a.nii", patched(UNITS, "B", 11, content=raw_nifti(affine=np.diag([700, 700, 3000, 1.0]))),
        "The unit of the header is micrometres",
    ),
}  # fmt: skip

PACKED = gzip.compress(raw_nifti())
LARGE = raw_nifti(make_volume(shape=(20, 20, 10)))  # read_grid does not see its end
LARGE_PACKED = gzip.compress(LARGE)
VOXEL_FAULTS = {
    "cut_in_gzip_data": ("a.nii.gz", LARGE_PACKED[:-70], "data end early"),
    "cut_gzip_length": ("a.nii.gz", LARGE_PACKED[:-4], "data end early"),
    "cut_gzip_trailer": ("a.nii.gz", LARGE_PACKED[:-8], "data end early"),
    "cut_before_packing": ("a.nii.gz", gzip.compress(raw_nifti()[:-3]), "after 58 of 60 voxels"),
    "cut": ("a.nii", raw_nifti()[:-2], "after 59 of 60 voxels"),
    "cut_after_header": ("a.nii", raw_nifti()[:350], "after 0 of 60 voxels"),
    "claims_more": ("a.nii", patched(DIM + 2, "3h", 500, 500, 500), "after 60 of 125000000 voxels"),
    "offset_too_far": ("a.nii", patched(VOX_OFFSET, "f", 1e6), "after 0 of 60 voxels"),
    "crc": ("a.nii.gz", with_flipped_bit(LARGE_PACKED, -7), "CRC"),
    "length": ("a.nii.gz", with_flipped_bit(LARGE_PACKED, -1), "length"),
    "trailing": ("a.nii.gz", LARGE_PACKED + b"garbage", "after the end of the packed data"),
    "one_slice_more": ("a.nii", patched(DIM + 6, "h", 2), "at least one more slice"),
    "one_empty_slice_more": ("a.nii", raw_nifti() + bytes(5 * 4 * 2), "at least one more slice"),
    "one_row_less": ("a.nii", patched(DIM + 4, "h", 3), "at least one more slice"),
    "appended": ("a.nii", raw_nifti() + b"x", "further data after the last voxel that the header"),
    "one_slice_more_packed": (
        "a.nii.gz", gzip.compress(patched(DIM + 6, "h", 2, content=raw_nifti())), "claim too few",
    ),
    "appended_packed": ("a.nii.gz", gzip.compress(LARGE + b"x"), "(20 x 20 x 10 voxels)"),
    "appended_member": ("a.nii.gz", LARGE_PACKED + gzip.compress(b"x"), "further data"),
}  # fmt: skip


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def assert_complains(reader, path, needle, capfd):
    """The message names file, finding, expectation and remedy; nothing is printed."""
    with pytest.raises(PairError) as caught:
        reader(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert needle in message
    assert "xpected " in message or "Run `" in message
    assert REMEDY.search(message), message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", HEADER_FAULTS)
def test_bad_header(case, reader, tmp_path, capfd):
    name, content, needle = HEADER_FAULTS[case]
    assert_complains(reader, write(tmp_path, name, content), needle, capfd)


@pytest.mark.parametrize("case", VOXEL_FAULTS)
def test_bad_voxel_data(case, tmp_path, capfd):
    name, content, needle = VOXEL_FAULTS[case]
    path = write(tmp_path, name, content)
    assert_complains(read_image, path, needle, capfd)
    assert_complains(read_labels, path, needle, capfd)
    assert len(read_grid(path).shape) == 3


@pytest.mark.parametrize(("value", "count"), [(np.nan, 1), (np.inf, 2), (-np.inf, 3)])
def test_voxels_that_are_not_finite(value, count, tmp_path, capfd):
    volume = make_volume(np.float32)
    volume.flat[:count] = value
    path = write(tmp_path, "a.nii", raw_nifti(volume))
    assert_complains(read_image, path, f"{count} of 60 voxels are NaN or infinite", capfd)
    assert_complains(read_labels, path, f"{count} of 60 voxels are not labels", capfd)


def test_signalling_nan_is_no_warning(tmp_path, capfd):
    content = bytearray(raw_nifti(make_volume(np.float32)))
    content[352:356] = struct.pack("<I", 0x7F800001)
    path = write(tmp_path, "a.nii", bytes(content))
    assert_complains(read_image, path, "1 of 60 voxels are NaN", capfd)


def test_scaling_beyond_float_is_infinite(tmp_path, capfd):
    content = patched(SLOPE, "f", 3e38, content=raw_nifti(make_volume(np.float64) * 1e290))
    assert_complains(read_image, write(tmp_path, "a.nii", content), "60 of 60 voxels", capfd)


def test_all_zeros_is_no_image_but_an_empty_label_map(tmp_path, capfd):
    path = write(tmp_path, "a.nii", raw_nifti(np.zeros(SHAPE, np.int16)))
    assert_complains(read_image, path, "all voxels are 0", capfd)
    assert not read_labels(path)[0].any()


@pytest.mark.parametrize("value", [-1, 2.5, 32768, 1e30])
def test_value_that_is_no_label(value, tmp_path, capfd):
    volume = make_volume(np.float64)
    volume[1, 2, 2] = value
    path = write(tmp_path, "a.nii", raw_nifti(volume))
    assert_complains(
        read_labels, path, f"1 of 60 voxels are not labels (the first is {value:g})", capfd
    )
    assert read_image(path)[0][1, 2, 2] == value


def save_as_floats(path, labels, dtype):
    """What nibabel makes of a label map in float64 whose header asks for integers."""
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(labels.astype(np.float64), STRAIGHT, header)
    image.to_filename(path)
    return path


@pytest.mark.parametrize("dtype", ["i2", "u2", "i4"])
@pytest.mark.parametrize("highest", [2, 3, 7, 14, 60])
def test_labels_that_were_scaled_on_saving_are_rounded(highest, dtype, tmp_path):
    labels = np.random.default_rng(highest).integers(0, highest + 1, SHAPE)
    labels[0, 0] = [0, highest, 1]
    path = save_as_floats(tmp_path / "a.nii", labels, dtype)
    stored = nib.load(path)
    assert stored.dataobj.slope != 1
    assert not np.array_equal(stored.get_fdata(), labels)
    np.testing.assert_array_equal(read_labels(path)[0], labels)


@pytest.mark.parametrize(("dtype", "highest"), [("u1", 14), ("i2", 300)])
def test_a_scaling_too_coarse_for_labels_is_named(dtype, highest, tmp_path, capfd):
    """Half a step of the scale is more than 1e-3."""
    labels = np.arange(60).reshape(SHAPE) * highest / 59
    path = save_as_floats(tmp_path / "a.nii", labels.round(), dtype)
    slope = nib.load(path).dataobj.slope
    assert_complains(read_labels, path, f"scl_slope {slope:.9g} and scl_inter", capfd)


@pytest.mark.parametrize("off", [0.9e-3, -0.9e-3])
@pytest.mark.parametrize("label", [0, 1, 14, 32767])
def test_a_label_is_a_whole_number_within_a_thousandth(off, label, tmp_path, capfd):
    volume = np.full(SHAPE, label + off)
    assert (read_labels(write(tmp_path, "a.nii", raw_nifti(volume)))[0] == label).all()
    path = write(tmp_path, "b.nii", raw_nifti(np.full(SHAPE, label + 1.2 * off)))
    shown = f"(the first is {label + 1.2 * off:.9g})"
    assert f"{label + 1.2 * off:.9g}" != f"{label:g}"
    assert_complains(read_labels, path, shown, capfd)


def test_probabilities_are_no_labels(tmp_path, capfd):
    path = write(tmp_path, "a.nii", raw_nifti(np.linspace(0, 1, 60).reshape(SHAPE)))
    assert_complains(read_labels, path, "these look like probabilities", capfd)
    volume = make_volume(np.float32)
    volume[0] = np.nan
    path = write(tmp_path, "b.nii", raw_nifti(volume))
    assert_complains(read_labels, path, "with 0 for the background", capfd)


def test_highest_label(tmp_path):
    path = write(tmp_path, "a.nii", raw_nifti(np.full(SHAPE, 32767, np.uint16)))
    labels, _ = read_labels(path)
    assert labels.dtype == np.int16
    assert (labels == 32767).all()


@pytest.mark.parametrize("reader", READERS)
class TestUnreadableFile:
    def test_missing(self, reader, tmp_path, capfd):
        assert_complains(reader, tmp_path / "a.nii.gz", "no such file", capfd)
        assert_complains(reader, tmp_path / "nowhere" / "a.nii", "no such file", capfd)

    def test_content_of_a_symlink_not_fetched(self, reader, tmp_path, capfd):
        path = tmp_path / "a.nii.gz"
        path.symlink_to("../.git/annex/objects/MD5E-s12--ab.nii.gz")
        assert_complains(reader, path, "a symbolic link to ../.git/annex/objects/MD5E", capfd)
        assert_complains(reader, path, f"datalad get {path}", capfd)

    def test_symlink_to_a_file_is_read(self, reader, tmp_path, capfd):
        write(tmp_path, "b", raw_nifti())
        (tmp_path / "a.nii").symlink_to("b")
        assert reader(tmp_path / "a.nii") is not None

    def test_folder(self, reader, tmp_path, capfd):
        for name in ("a.nii.gz", "a.nii"):
            (tmp_path / name).mkdir()
            assert_complains(reader, tmp_path / name, "cannot be opened (it is a folder)", capfd)

    def test_named_pipe(self, reader, tmp_path, capfd):
        """Opened plainly it would wait for ever."""
        for name in ("a.nii.gz", "a.nii"):
            os.mkfifo(tmp_path / name)
            assert_complains(reader, tmp_path / name, "it is a named pipe", capfd)

    @pytest.mark.parametrize("device", ["zero", "null"])
    def test_device(self, reader, device, tmp_path, capfd):
        for name in ("a.nii.gz", "a.nii"):
            (tmp_path / name).symlink_to(f"/dev/{device}")
            assert_complains(reader, tmp_path / name, "it is a device", capfd)

    def test_symlink_to_itself(self, reader, tmp_path, capfd):
        (tmp_path / "a.nii").symlink_to("a.nii")
        assert_complains(reader, tmp_path / "a.nii", "cannot be opened (Too many levels", capfd)

    @pytest.mark.parametrize(
        ("code", "text"), [(errno.EACCES, "Permission denied"), (errno.EIO, "Input/output error")]
    )
    def test_permission(self, reader, tmp_path, capfd, monkeypatch, code, text):
        path = write(tmp_path, "a.nii", raw_nifti())

        def refuse(*_):
            raise OSError(code, text)

        monkeypatch.setattr("bids_mfi.nifti.open_regular_file", refuse)
        assert_complains(reader, path, f"cannot be opened ({text})", capfd)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_file_cut_anywhere_is_refused(suffix, tmp_path):
    content = raw_nifti() if suffix == ".nii" else PACKED
    for length in range(len(content)):
        path = write(tmp_path, f"a{suffix}", content[:length])
        with pytest.raises(PairError):
            read_image(path)
        with pytest.raises(PairError):
            read_labels(path)


def test_damage_of_any_byte_of_gzip_is_noticed_or_harmless(tmp_path):
    truth = make_volume()
    refused = 0
    for position in range(len(PACKED)):
        path = write(tmp_path, "a.nii.gz", with_flipped_bit(PACKED, position))
        try:
            volume, _ = read_image(path)
        except PairError:
            refused += 1
        else:
            np.testing.assert_array_equal(volume, truth)
    assert refused >= len(PACKED) - 10  # only fields such as the time stamp do not matter


def test_any_header_is_read_or_refused(tmp_path, capfd):
    """No byte of a header leads to another exception, a warning or a print."""
    content = raw_nifti()
    outcomes = {"read": 0, "refused": 0}
    for position in range(352):
        for value in (0, 0x7F, 0xFF, content[position] ^ 0x80):
            changed = bytearray(content)
            changed[position] = value
            path = write(tmp_path, "a.nii", bytes(changed))
            try:
                volume, grid = read_image(path)
            except PairError:
                outcomes["refused"] += 1
            else:
                assert np.isfinite(volume).all()
                assert volume.shape == grid.shape
                outcomes["read"] += 1
    assert min(outcomes.values()) > 50
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_every_number_type_is_read(dtype, kind, tmp_path):
    truth = make_volume(np.dtype(dtype))
    path = write(tmp_path, "a.nii.gz", gzip.compress(raw_nifti(truth, OBLIQUE, kind)))
    volume, grid = read_image(path)
    assert volume.dtype == np.float64
    np.testing.assert_array_equal(volume, truth)
    np.testing.assert_array_equal(grid.matrix, OBLIQUE)
    assert read_grid(path) == grid
    np.testing.assert_array_equal(read_labels(path)[0], truth)


def test_big_endian(tmp_path):
    truth = make_volume(np.float32)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.float32)
    image = nib.Nifti1Image(truth, OBLIQUE, header)
    image.set_sform(OBLIQUE, code=1)
    content = image.to_bytes()
    assert content[:4] == struct.pack(">i", 348)
    volume, grid = read_image(write(tmp_path, "a.nii", content))
    np.testing.assert_array_equal(volume, truth)
    np.testing.assert_array_equal(grid.matrix, OBLIQUE)


@pytest.mark.parametrize(
    ("slope", "inter", "expected"),
    [
        (2.5, -3, (2.5, -3)),
        (-1, 100, (-1, 100)),
        (0, 7, (1, 0)),
        (np.nan, 7, (1, 0)),
        (1, 0, (1, 0)),
    ],
)
def test_scaling_of_the_header(slope, inter, expected, tmp_path):
    path = write(tmp_path, "a.nii", patched(SLOPE, "ff", slope, inter))
    volume, _ = read_image(path)
    np.testing.assert_array_equal(volume, make_volume() * expected[0] + expected[1])
    np.testing.assert_array_equal(volume, nib.load(path).get_fdata())


def test_header_extension_and_padding_are_skipped(tmp_path):
    image = nib.Nifti1Image(make_volume(), STRAIGHT)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a note " * 40))
    image.set_sform(STRAIGHT, code=1)
    volume, _ = read_image(write(tmp_path, "a.nii.gz", gzip.compress(image.to_bytes() + b"\0" * 9)))
    np.testing.assert_array_equal(volume, make_volume())
    volume, _ = read_image(write(tmp_path, "b.nii.gz", PACKED + b"\0" * 512))
    np.testing.assert_array_equal(volume, make_volume())


@pytest.mark.parametrize("packed", [True, False])
def test_no_more_is_unpacked_than_the_header_claims(packed, tmp_path, capfd):
    """Behind a volume of 8 kB lie 256 MiB; the memory must not hold them."""
    if packed:
        path = write(tmp_path, "a.nii.gz", LARGE_PACKED + gzip.compress(bytes(2**22)) * 64)
    else:
        path = write(tmp_path, "a.nii", LARGE)
        os.truncate(path, 2**28)  # a hole, which takes no space on the disk
    read_image(write(tmp_path, "warm.nii.gz", LARGE_PACKED))
    tracemalloc.start()
    try:
        assert_complains(read_image, path, "at least one more slice", capfd)
        assert_complains(read_labels, path, "at least one more slice", capfd)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**24


def test_a_claim_of_voxels_that_are_not_there_takes_no_memory(tmp_path, capfd):
    """2 GiB are claimed; what is not filled is not there."""
    content = patched(DIM + 2, "3h", 640, 640, 640)
    path = write(tmp_path, "a.nii.gz", gzip.compress(content))
    assert_complains(read_image, path, "after 60 of 262144000 voxels", capfd)


@pytest.mark.parametrize("extra", [(1,), (1, 1), (1, 1, 1)])
def test_trailing_axes_of_one_are_dropped(extra, tmp_path):
    path = write(tmp_path, "a.nii", raw_nifti(make_volume().reshape(*SHAPE, *extra)))
    volume, grid = read_image(path)
    np.testing.assert_array_equal(volume, make_volume())
    assert grid.shape == read_grid(path).shape == SHAPE
    assert read_labels(path)[0].shape == SHAPE


def test_several_gzip_members(tmp_path):
    content = raw_nifti()
    packed = gzip.compress(content[:400]) + gzip.compress(content[400:])
    volume, _ = read_image(write(tmp_path, "a.NII.GZ", packed))
    np.testing.assert_array_equal(volume, make_volume())


def test_sform_wins_over_qform(tmp_path):
    image = nib.Nifti1Image(make_volume(), None)
    image.set_sform(OBLIQUE, code=2)
    image.set_qform(LAS, code=1)
    content = image.to_bytes()
    assert np.allclose(read_grid(write(tmp_path, "a.nii", content)).matrix, OBLIQUE)
    content = patched(SFORM_CODE, "h", 0, content=content)
    grid = read_grid(write(tmp_path, "a.nii", content))
    assert np.allclose(grid.matrix, LAS, atol=1e-4)
    assert grid.axcodes == ("L", "A", "S")


def test_sform_needs_no_voxel_size_beside_it(tmp_path):
    path = write(tmp_path, "a.nii", patched(PIXDIM + 4, "3f", 0, 0, 0))
    np.testing.assert_array_equal(read_grid(path).matrix, STRAIGHT)


def test_repairs_of_the_header_are_logged_by_this_module(tmp_path, caplog):
    read_grid(write(tmp_path, "a.nii", patched(QFORM_CODE, "h", 77)))
    assert "qform_code 77 not valid" in caplog.text
    assert {record.name for record in caplog.records} == {"bids_mfi.images"}


def test_nothing_is_printed_by_a_plain_interpreter(tmp_path):
    """A program without a logger of its own hears nothing of repaired and refused headers."""
    paths = [
        write(tmp_path, "repaired.nii", patched(QFORM_CODE, "h", 77)),
        write(tmp_path, "odd.nii", patched(VOX_OFFSET, "f", 353) + b" "),
        write(tmp_path, "refused.nii", patched(DATATYPE, "h", 999)),
    ]
    code = (
        "import sys, pathlib, contextlib; from bids_mfi import errors, images\n"
        "for path in sys.argv[1:]:\n"
        "    with contextlib.suppress(errors.PairError): images.read_image(pathlib.Path(path))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *paths], capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize(("lift", "flat"), [(0.0, True), (5e-4, True), (2e-3, False)])
def test_axes_nearly_in_one_plane(lift, flat, tmp_path, capfd):
    linear = rotation(12, -9, 20) @ [[1.0, 2.0, 0], [0, 2 * lift, 0], [0, 0, 3.0]]
    path = write(tmp_path, "a.nii", raw_nifti(affine=make_affine(linear), qform=False))
    if flat:
        assert_complains(read_grid, path, "singular", capfd)
    else:
        assert read_grid(path).shape == SHAPE


def test_image_of_a_usual_size(tmp_path):
    truth = make_volume(shape=(228, 136, 40))
    path = write(tmp_path, "a.nii.gz", gzip.compress(raw_nifti(truth, OBLIQUE), 1))
    np.testing.assert_array_equal(read_image(path)[0], truth)
    write(tmp_path, "a.nii.gz", path.read_bytes()[:-1])
    with pytest.raises(PairError, match="data end early"):
        read_image(path)


@pytest.mark.parametrize("size_mm", [0.05, 20.0])
def test_extreme_voxels_still_allowed(size_mm, tmp_path):
    affine = np.diag([size_mm, size_mm, 20.0, 1.0])
    assert read_grid(write(tmp_path, "a.nii", raw_nifti(affine=affine))).shape == SHAPE


class TestEncodeImage:
    @pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
    @pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
    def test_read_back(self, affine, dtype, tmp_path):
        truth, grid = make_volume(np.dtype(dtype)), Grid.from_array(SHAPE, affine)
        path = write(tmp_path, "a.nii.gz", encode_image(truth, grid))
        volume, own = read_image(path)
        np.testing.assert_array_equal(volume, truth)
        assert own == grid  # exactly
        image = nib.load(path)
        assert image.get_data_dtype() == np.dtype(dtype)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert image.header.get_slope_inter() in ((None, None), (1.0, 0.0))
        assert int(image.header["sform_code"]) == 1

    @pytest.mark.parametrize("name", AFFINES)
    def test_qform_never_contradicts_the_sform(self, name, tmp_path):
        grid = Grid.from_array((228, 271, 40), AFFINES[name])
        path = write(tmp_path, "a.nii.gz", encode_image(np.zeros(grid.shape, np.uint8), grid))
        qform, code = nib.load(path).get_qform(coded=True)
        assert code == (0 if name == "sheared" else 1)
        if code:
            assert same_grid(Grid.from_array(grid.shape, qform), grid)

    def test_grid_from_a_qform_stays_within_a_micrometre(self, tmp_path):
        """A quaternion's affine is not a float32 number, so the sform rounds it."""
        image = nib.Nifti1Image(np.zeros((300, 300, 60), np.uint8), None)
        image.set_qform(rotation_affine(), code=1)
        image.set_sform(None, code=0)
        grid = read_grid(write(tmp_path, "a.nii", image.to_bytes()))
        path = write(tmp_path, "b.nii.gz", encode_image(np.zeros(grid.shape, np.uint8), grid))
        assert same_grid(read_grid(path), grid)

    def test_same_bytes_at_every_call(self, monkeypatch):
        grid = Grid.from_array(SHAPE, OBLIQUE)
        first = encode_image(make_volume(), grid)
        monkeypatch.setattr("time.time", lambda: 2.0e9)
        assert encode_image(make_volume(), grid) == first
        assert encode_image(np.asfortranarray(make_volume()), grid) == first
        assert first[4:8] == bytes(4)  # time stamp
        assert first[3] == 0  # no file name

    def test_nan_stays_nan(self, tmp_path):
        volume = make_volume(np.float32)
        volume[0] = np.nan
        content = encode_image(volume, Grid.from_array(SHAPE, STRAIGHT))
        read = nib.load(write(tmp_path, "a.nii.gz", content)).get_fdata()
        np.testing.assert_array_equal(read, volume)

    def test_a_fourth_axis_is_kept(self, tmp_path):
        volume = make_volume(shape=(*SHAPE, 2))
        content = encode_image(volume, Grid.from_array(SHAPE, STRAIGHT))
        image = nib.load(write(tmp_path, "a.nii.gz", content))
        np.testing.assert_array_equal(image.get_fdata(), volume)

    def test_wrong_grid(self):
        with pytest.raises(ValueError, match="shapes differ"):
            encode_image(make_volume(), Grid.from_array((4, 5, 3), STRAIGHT))


def rotation_affine():
    return make_affine(rotation(31, -22, 17) @ np.diag([0.7, 0.7, -3.0]), (211.3, -97.7, 1043.1))


class TestGrid:
    def test_is_a_value(self):
        first = Grid.from_array(np.array(SHAPE), OBLIQUE)
        second = Grid.from_array(SHAPE, OBLIQUE.tolist())
        assert first == second
        assert hash(first) == hash(second)
        assert all(type(size) is int for size in first.shape)
        np.testing.assert_array_equal(first.matrix, OBLIQUE)

    @pytest.mark.parametrize("axcodes", AXCODES)
    def test_axcodes_and_spacing(self, axcodes):
        rows = ["RL", "AP", "SI"]
        linear = np.zeros((3, 3))
        for axis, code in enumerate(axcodes):
            row = next(i for i, pair in enumerate(rows) if code in pair)
            linear[row, axis] = SPACING_MM[axis] if code in "RAS" else -SPACING_MM[axis]
        for turned in (linear, rotation(10, 15, -8) @ linear):
            grid = Grid.from_array(SHAPE, make_affine(turned))
            assert grid.axcodes == axcodes
            assert grid.spacing_mm == pytest.approx(SPACING_MM, rel=1e-6)
            assert grid.voxel_volume_ml == pytest.approx(0.7 * 0.8 * 3 / 1000, rel=1e-6)

    def test_volume_of_sheared_voxels(self):
        """A shear changes the edges of a voxel, not its volume."""
        grid = Grid.from_array(SHAPE, SHEARED)
        assert grid.voxel_volume_ml == pytest.approx(0.7 * 0.8 * 3.0 / 1000, rel=1e-6)
        assert np.prod(grid.spacing_mm) / 1000 > 1.01 * grid.voxel_volume_ml

    def test_volume_equals_a_count_of_points(self):
        """A box of 1000 voxels holds as many points of a 1 mm lattice as it has cubic mm."""
        linear = rotation(25, -40, 70) @ [[3, 0.5, 1], [0, 4, -1], [0, 0, 5.0]]
        grid = Grid.from_array((10, 10, 10), make_affine(linear))
        points = np.array([*np.ndindex(120, 120, 120)]) - 60.0 + 0.123
        inside = np.linalg.inv(grid.matrix[:3, :3]) @ points.T / 10 + 0.5
        counted = np.count_nonzero(((inside >= 0) & (inside < 1)).all(axis=0))
        assert counted == pytest.approx(1000 * grid.voxel_volume_ml * 1000, rel=5e-3)


def random_affine(rng, degrees, voxel=SPACING_MM):
    """Of an image stored in any of eight directions, tilted by about so much."""
    flips = np.diag(rng.choice([-1.0, 1.0], 3) * voxel)
    return make_affine(rotation(*rng.normal(0, degrees, 3)) @ flips, rng.uniform(-300, 300, 3))


def write_forms(path, affine, sform, qform, shape=(320, 300, 40)):
    """An empty image whose header holds the affine as sform, qform or both."""
    image = nib.Nifti1Image(np.zeros(shape, np.uint8), None)
    image.set_sform(affine if sform else None, code=1 if sform else 0)
    image.set_qform(affine if qform else None, code=1 if qform else 0)
    path.write_bytes(image.to_bytes())
    return path


class TestSameGrid:
    @pytest.mark.parametrize("axis", range(3))
    @pytest.mark.parametrize(("voxels", "same"), [(0.0, True), (0.05, True), (0.052, False)])
    def test_shift(self, axis, voxels, same):
        moved = OBLIQUE.copy()
        moved[:3, 3] += voxels * OBLIQUE[:3, axis]
        assert same_grid(Grid.from_array(SHAPE, OBLIQUE), Grid.from_array(SHAPE, moved)) is same

    @pytest.mark.parametrize(("factor", "same"), [(0.9, True), (1.1, False)])
    def test_angle_counts_at_the_far_corner(self, factor, same):
        shape = (400, 300, 40)
        far_mm = 399 * 0.7
        angle = factor * np.rad2deg(0.05 * 0.8 / far_mm)
        turned = STRAIGHT.copy()
        turned[:3, :3] = rotation(0, 0, angle) @ np.diag(SPACING_MM)
        turned[:3, 3] = STRAIGHT[:3, 3]
        assert np.abs(turned - STRAIGHT).max() < 2e-4
        assert same_grid(Grid.from_array(shape, STRAIGHT), Grid.from_array(shape, turned)) is same
        near = (40, 30, 40)
        assert same_grid(Grid.from_array(near, STRAIGHT), Grid.from_array(near, turned))

    @pytest.mark.parametrize("degrees", [0.0, 0.01, 0.1, 1.0, 5.0, 20.0, 90.0])
    def test_qform_only_against_sform_only(self, degrees, tmp_path):
        """Also near a half turn, where a rounded quaternion turns the image by 0.1 degrees."""
        rng = np.random.default_rng(int(100 * degrees))
        for _ in range(20):
            affine = random_affine(rng, degrees)
            first = read_grid(write_forms(tmp_path / "a.nii", affine, sform=True, qform=False))
            second = read_grid(write_forms(tmp_path / "b.nii", affine, sform=False, qform=True))
            assert same_grid(first, second)
            assert same_grid(second, first)
            turned, wanted = reorient(np.zeros(first.shape), first, ("L", "P", "I"))[1], second
            assert same_grid(reorient_like(np.zeros(turned.shape), turned, wanted)[1], wanted)

    @pytest.mark.parametrize("degrees", [0.0, 0.01, 1.0, 20.0])
    def test_a_qform_hides_no_shift(self, degrees, tmp_path):
        affine = random_affine(np.random.default_rng(3), degrees)
        moved = affine.copy()
        moved[:3, 3] += 0.1 * affine[:3, 0]
        first = read_grid(write_forms(tmp_path / "a.nii", affine, sform=True, qform=False))
        second = read_grid(write_forms(tmp_path / "b.nii", moved, sform=False, qform=True))
        assert not same_grid(first, second)

    def test_affines_of_four_digits(self):
        rng, worst = np.random.default_rng(0), 0.0
        for _ in range(1000):
            affine = random_affine(rng, 15)
            first, second = (
                Grid.from_array((320, 300, 40), one) for one in (affine, affine.round(4))
            )
            worst = max(worst, measure_distance(first, second)[1])
            assert same_grid(first, second)
        assert 0.04 < worst < 0.048  # the limit is needed, and is just wide enough

    def test_a_rounding_of_the_quaternion_is_no_part_of_the_value(self, tmp_path):
        grid = read_grid(write_forms(tmp_path / "a.nii", LAS, sform=False, qform=True))
        assert grid.rounding_voxels > 0
        assert grid == Grid.from_array(grid.shape, grid.matrix)
        assert "rounding" not in repr(grid)
        stored = read_grid(write_forms(tmp_path / "b.nii", LAS, sform=True, qform=True))
        assert stored.rounding_voxels == 0

    def test_shape(self):
        first, second = (Grid.from_array(shape, STRAIGHT) for shape in ((5, 4, 3), (5, 4, 4)))
        assert not same_grid(first, second)
        assert describe_difference(first, second) == "shapes 5 x 4 x 3 and 5 x 4 x 4 voxels"

    def test_description(self):
        first = Grid.from_array(SHAPE, np.diag([0.7, 0.8, 3.0, 1]))
        wider = Grid.from_array(SHAPE, np.diag([0.7, 0.8, 3.3, 1]))
        text = describe_difference(first, wider)
        assert text.startswith("voxels of 0.7 x 0.8 x 3 mm and 0.7 x 0.8 x 3.3 mm, up to 0.6 mm")
        assert "or 0.2 voxels apart; 0.05 voxels are allowed" in text
        flipped = Grid.from_array(SHAPE, np.diag([-0.7, 0.8, 3.0, 1]))
        text = describe_difference(first, flipped)
        assert text.startswith("different positions or orientations (affines), up to 5.6 mm")


class TestReorientLike:
    @pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
    @pytest.mark.parametrize("axcodes", AXCODES)
    def test_the_way_back_is_found(self, axcodes, affine):
        volume, grid = np.arange(60).reshape(SHAPE), Grid.from_array(SHAPE, affine)
        back, own = reorient_like(*reorient(volume, grid, axcodes), grid)
        np.testing.assert_array_equal(back, volume)
        assert same_grid(own, grid)

    def test_an_axis_halfway_between_two_directions(self):
        """Rounding decides which direction such an axis is called by; the voxels are the same."""
        affine = make_affine(rotation(0, 0, 45.0001) @ np.diag([0.8, 0.8, 3.0]))
        other = make_affine(rotation(0, 0, 44.9999) @ np.diag([0.8, 0.8, 3.0]))
        grid, wanted = Grid.from_array(SHAPE, affine), Grid.from_array(SHAPE, other)
        assert grid.axcodes != wanted.axcodes
        assert same_grid(grid, wanted)
        volume = make_volume()
        turned, own = reorient_like(volume, grid, wanted)
        np.testing.assert_array_equal(turned, volume)
        assert same_grid(own, wanted)


def world_of_values(volume, grid):
    """World coordinates of the voxels in the order of their (unique) values."""
    voxels = np.array([*np.ndindex(*grid.shape)])
    order = np.argsort(volume.ravel())
    return nib.affines.apply_affine(grid.matrix, voxels)[order]


class TestReorient:
    @pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
    @pytest.mark.parametrize("axcodes", AXCODES)
    def test_every_voxel_keeps_its_place(self, axcodes, affine):
        volume, grid = np.arange(60).reshape(SHAPE), Grid.from_array(SHAPE, affine)
        turned, turned_grid = reorient(volume, grid, axcodes)
        assert turned_grid.axcodes == axcodes
        assert turned.shape == turned_grid.shape
        np.testing.assert_allclose(
            world_of_values(turned, turned_grid), world_of_values(volume, grid), atol=1e-9
        )
        back, own_grid = reorient(turned, turned_grid, grid.axcodes)
        np.testing.assert_array_equal(back, volume)
        assert same_grid(own_grid, grid)

    def test_further_axes_and_dtype_are_kept(self):
        volume = make_volume(np.float32, shape=(*SHAPE, 2))
        turned, grid = reorient(volume, Grid.from_array(SHAPE, STRAIGHT), ("P", "S", "L"))
        assert turned.shape == (4, 3, 5, 2)
        assert turned.dtype == np.float32
        assert grid.shape == (4, 3, 5)
        np.testing.assert_array_equal(turned, volume.transpose(1, 2, 0, 3)[::-1, :, ::-1])


def edges_mm(grid):
    """World coordinates of the eight outer corners of the field of view."""
    corners = np.array([*np.ndindex(2, 2, 2)]) * np.array(grid.shape) - 0.5
    return nib.affines.apply_affine(grid.matrix, corners)


class TestResampledGrid:
    @pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
    @pytest.mark.parametrize("spacing_mm", [(1.4, 1.4, 3.0), (0.5, 0.9, 1.1), (50.0, 2.0, 7.7)])
    def test_field_of_view_stays(self, affine, spacing_mm):
        grid = Grid.from_array((33, 20, 11), affine)
        resampled = resampled_grid(grid, spacing_mm)
        np.testing.assert_allclose(edges_mm(resampled), edges_mm(grid), atol=1e-9)
        expected = np.maximum(np.rint(np.array(grid.shape) * grid.spacing_mm / spacing_mm), 1)
        assert resampled.shape == tuple(expected.astype(int))
        assert resampled.axcodes == grid.axcodes

    def test_own_spacing_changes_nothing(self):
        grid = Grid.from_array((33, 20, 11), OBLIQUE)
        assert same_grid(resampled_grid(grid, grid.spacing_mm), grid)


class TestResizeLinear:
    SHAPES = ((7, 9, 5), (14, 6, 11), (3, 2, 2), (1, 1, 1), (21, 9, 5), (64, 3, 17))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_constant_stays(self, shape):
        resized = resize_linear(np.full((7, 9, 5), 3.7, np.float32), shape)
        assert resized.shape == shape
        assert resized.dtype == np.float32
        assert resized.flags.c_contiguous
        np.testing.assert_allclose(resized, 3.7, rtol=1e-6)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    @pytest.mark.parametrize(("old", "new"), [(20, 40), (20, 33), (20, 10), (60, 20), (20, 77)])
    def test_ramp_stays_a_ramp_inside(self, axis, old, new):
        """Exact when enlarging, and when shrinking by a whole factor."""
        shape = [3, 3, 3]
        shape[axis] = old
        ramp = np.broadcast_to(
            (np.arange(old) + 0.5).reshape([-1 if i == axis else 1 for i in range(3)]), shape
        )
        shape[axis] = new
        resized = np.moveaxis(resize_linear(ramp.astype(np.float32), tuple(shape)), axis, 0)
        expected = (np.arange(new) + 0.5) * old / new
        margin = max(1, round(new / old))
        inside = slice(margin, -margin)
        np.testing.assert_allclose(resized[inside, 1, 1], expected[inside], rtol=1e-5)

    @pytest.mark.parametrize(("old", "new"), [(457, 229), (271, 136), (100, 70), (64, 41)])
    def test_ramp_when_shrinking_by_a_fraction(self, old, new):
        """A sampled triangle is not balanced for every factor; the error stays a small part."""
        ramp = np.broadcast_to((np.arange(old) + 0.5)[:, None, None], (old, 2, 2))
        resized = resize_linear(ramp.astype(np.float32), (new, 2, 2))[2:-2, 0, 0]
        expected = ((np.arange(new) + 0.5) * old / new)[2:-2]
        error = resized - expected
        assert np.abs(error).max() < 0.1  # old voxels
        assert abs(error.mean()) < 1e-3  # no shift

    @pytest.mark.parametrize("shape", [(14, 9, 5), (7, 13, 22), (7, 9, 6)])
    def test_enlarging_equals_scipy(self, shape):
        volume = make_volume(np.float32, shape=(7, 9, 5))
        zoom = np.array(shape) / volume.shape
        reference = ndimage.zoom(
            volume.astype(np.float64), zoom, order=1, mode="nearest", grid_mode=True
        )
        np.testing.assert_allclose(resize_linear(volume, shape), reference, rtol=1e-5)

    def test_halving_weighs_1_3_3_1(self):
        volume = np.random.default_rng(1).random((16, 2, 2)).astype(np.float32)
        resized = resize_linear(volume, (8, 2, 2))
        windows = np.stack([volume[1 + i : 12 + i : 2] for i in range(4)], axis=-1)
        np.testing.assert_allclose(resized[1:-1], windows @ [1, 3, 3, 1] / 8, rtol=1e-5)

    @pytest.mark.parametrize(("old", "new"), [(64, 32), (64, 21), (60, 17)])
    def test_fine_stripes_do_not_alias(self, old, new):
        stripes = np.where(np.arange(old) % 2, 1.0, -1.0)[:, None, None]
        volume = np.broadcast_to(stripes, (old, 2, 2)).astype(np.float32)
        assert np.abs(resize_linear(volume, (new, 2, 2))[1:-1]).max() < 0.12

    @pytest.mark.parametrize(("small", "large"), [(8, 16), (7, 31), (10, 23)])
    def test_shrinking_is_the_transpose_of_enlarging(self, small, large):
        """<enlarge(a), b> is proportional to <a, shrink(b)> away from the ends."""
        rng = np.random.default_rng(2)
        a, b = np.zeros((small, 2, 2), np.float32), np.zeros((large, 2, 2), np.float32)
        a[3:-3] = rng.random((small - 6, 1, 1))
        b[:] = rng.random((large, 1, 1))
        enlarged, shrunk = resize_linear(a, b.shape), resize_linear(b, a.shape)
        sums = np.array([(enlarged * b).sum(), (a * shrunk).sum() * large / small])
        if large % small == 0:
            assert sums[0] == pytest.approx(sums[1], rel=1e-5)
        assert sums[0] == pytest.approx(sums[1], rel=0.05)

    def test_axes_are_independent(self):
        volume = make_volume(np.float32, shape=(6, 5, 4))
        at_once = resize_linear(volume, (9, 3, 8))
        step = resize_linear(volume, (6, 5, 8))
        step = resize_linear(resize_linear(step, (6, 3, 8)), (9, 3, 8))
        np.testing.assert_allclose(at_once, step, rtol=1e-5)

    def test_flip_commutes(self):
        volume = make_volume(np.float32, shape=(6, 5, 4))
        flipped = resize_linear(volume[::-1, :, ::-1], (9, 3, 7))
        np.testing.assert_allclose(
            flipped, resize_linear(volume, (9, 3, 7))[::-1, :, ::-1], rtol=1e-5
        )

    def test_same_shape_is_untouched(self):
        volume = make_volume(np.float32)
        np.testing.assert_array_equal(resize_linear(volume, SHAPE), volume)


@pytest.mark.parametrize("axcodes", [("R", "A", "S"), ("L", "P", "I"), ("P", "S", "L")])
@pytest.mark.parametrize("spacing_mm", [(1.4, 1.4, 3.0), (1.1, 1.3, 2.0), (2.5, 2.2, 4.1)])
@pytest.mark.parametrize("affine", [STRAIGHT, OBLIQUE, SAGITTAL], ids=["straight", "obl", "sag"])
def test_labels_stay_in_place_through_the_model_grid(affine, spacing_mm, axcodes):
    """Scan -> other orientation and spacing -> scan: no half-voxel shift, in millimetres."""
    shape = (40, 36, 24)
    grid = Grid.from_array(shape, affine)
    blob_mm = nib.affines.apply_affine(affine, (17.3, 20.1, 10.4))
    voxels = np.moveaxis(np.indices(shape), 0, -1)
    distance_mm = np.linalg.norm(nib.affines.apply_affine(affine, voxels) - blob_mm, axis=-1)
    mask = (distance_mm < 9).astype(np.float32)

    turned, turned_grid = reorient(mask, grid, axcodes)
    model_grid = resampled_grid(turned_grid, spacing_mm)
    inside = resize_linear(turned, model_grid.shape)
    there_mm = centre_mm(inside, model_grid)
    np.testing.assert_allclose(there_mm, centre_mm(mask, grid), atol=0.1)

    back = resize_linear(inside, turned_grid.shape) > 0.5
    own, own_grid = reorient(back, turned_grid, grid.axcodes)
    assert same_grid(own_grid, grid)
    assert own.shape == shape
    np.testing.assert_allclose(centre_mm(own, grid), centre_mm(mask, grid), atol=0.15)
    assert own.sum() == pytest.approx(mask.sum(), rel=0.15)


def centre_mm(weights, grid):
    return nib.affines.apply_affine(grid.matrix, ndimage.center_of_mass(weights))
