"""Headers that say two things: a flag where they disagree, none for what writers round."""

import gzip
import json
import struct
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import make_affine, write_description, write_nifti, write_scan
from scipy.spatial.transform import Rotation

from bids_mfi.cli.app import main
from bids_mfi.grid import Grid
from bids_mfi.images import encode_image
from bids_mfi.measure.orientation import check_orientation, compare_grids
from bids_mfi.measure.pair import DixonPair, images_of

SHAPE = (320, 300, 40)
SPACING_MM = np.array([0.7, 0.7, 3.0])
PIXDIM = 76


def random_affine(rng, degrees, flips=None):
    """Of an image stored in any of eight directions, tilted by about so much."""
    flips = rng.choice([-1.0, 1.0], 3) if flips is None else np.array(flips)
    turn = Rotation.from_euler("xyz", rng.normal(0, degrees, 3), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(flips * SPACING_MM)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


OBLIQUE = random_affine(np.random.default_rng(5), 12, [-1, -1, 1])


def write_forms(path, sform, qform, codes=(1, 1), kind=nib.Nifti1Image):
    """An image with these two affines; ``None`` and code 0 for one that is not there."""
    image = kind(np.zeros(SHAPE, np.uint8), None)
    image.set_qform(qform, code=codes[1])
    image.set_sform(sform, code=codes[0])
    path.write_bytes(gzip.compress(image.to_bytes(), 1))
    return path


def flags_of(*paths):
    return check_orientation({f"image {i}": path for i, path in enumerate(paths, start=1)})


def moved(affine, turn=None, shift_mm=(0, 0, 0)):
    """The affine after a motion of the world."""
    motion = np.eye(4)
    if turn is not None:
        motion[:3, :3] = turn
    motion[:3, 3] = shift_mm
    return motion @ affine


def stretched(affine, *factors):
    return affine @ np.diag([*factors, 1.0])


# --- sound files -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("degrees", [0.0, 0.01, 0.1, 1.0, 5.0, 20.0, 90.0])
def test_rounding_of_a_sound_header_is_no_conflict(degrees, kind, tmp_path):
    rng = np.random.default_rng(int(100 * degrees))
    for _ in range(25):
        affine = random_affine(rng, degrees)
        assert flags_of(write_forms(tmp_path / "a.nii.gz", affine, affine, kind=kind)) == []


def float32_quaternion(matrix):
    """As the reference library computes it, in single precision throughout (not nibabel)."""
    r = matrix.astype(np.float32)
    trace = np.float32(1) + r[0, 0] + r[1, 1] + r[2, 2]
    if trace > np.float32(0.5):
        a = np.float32(0.5) * np.sqrt(trace)
        d = np.float32(0.25) / a
        return [d * (r[2, 1] - r[1, 2]), d * (r[0, 2] - r[2, 0]), d * (r[1, 0] - r[0, 1])]
    x, y, z = (
        np.float32(1) + r[i, i] - (r[(i + 1) % 3, (i + 1) % 3] + r[(i + 2) % 3, (i + 2) % 3])
        for i in range(3)
    )
    half, quarter = np.float32(0.5), np.float32(0.25)
    if x > 1:
        b = half * np.sqrt(x)
        found = [b, quarter * (r[0, 1] + r[1, 0]) / b, quarter * (r[0, 2] + r[2, 0]) / b]
        a = quarter * (r[2, 1] - r[1, 2]) / b
    elif y > 1:
        c = half * np.sqrt(y)
        found = [quarter * (r[0, 1] + r[1, 0]) / c, c, quarter * (r[1, 2] + r[2, 1]) / c]
        a = quarter * (r[0, 2] - r[2, 0]) / c
    else:
        d = half * np.sqrt(z)
        found = [quarter * (r[0, 2] + r[2, 0]) / d, quarter * (r[1, 2] + r[2, 1]) / d, d]
        a = quarter * (r[1, 0] - r[0, 1]) / d
    return [-one for one in found] if a < 0 else found


@pytest.mark.parametrize("degrees", [0.01, 0.1, 1.0, 20.0])
def test_quaternions_of_single_precision_are_no_conflict(degrees, tmp_path):
    rng = np.random.default_rng(int(100 * degrees) + 1)
    for _ in range(25):
        affine = random_affine(rng, degrees)
        turn = affine[:3, :3] / SPACING_MM
        qfac = np.sign(np.linalg.det(turn))
        path = write_forms(tmp_path / "a.nii.gz", affine, affine)
        content = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into("<f", content, PIXDIM, qfac)
        struct.pack_into("<3f", content, 256, *float32_quaternion(turn * [1, 1, qfac]))
        path.write_bytes(gzip.compress(bytes(content), 1))
        assert flags_of(path) == []


@pytest.mark.parametrize("shear", [0.0, 1e-4, 0.01, 0.3])
def test_a_shear_that_a_quaternion_cannot_express_is_no_conflict(shear, tmp_path):
    sheared = OBLIQUE @ np.array([[1, shear, 0, 0], [0, 1, shear, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert flags_of(write_forms(tmp_path / "a.nii.gz", sheared, sheared)) == []


def test_one_affine_alone_is_no_conflict(tmp_path):
    other = moved(OBLIQUE, shift_mm=(50, 0, 0))
    for codes in ((1, 0), (0, 1), (4, 0), (0, 2)):
        path = write_forms(tmp_path / "a.nii.gz", OBLIQUE, OBLIQUE, codes)
        assert flags_of(path) == []
    assert flags_of(write_forms(tmp_path / "a.nii.gz", other, OBLIQUE, (0, 1))) == []
    assert flags_of(write_forms(tmp_path / "a.nii.gz", OBLIQUE, other, (1, 0))) == []


@pytest.mark.parametrize("sizes", [(0, 0, 0), (np.nan, 1, 1), (np.inf, 1, 1)])
def test_voxel_sizes_that_say_nothing_are_no_conflict(sizes, tmp_path):
    assert flags_of(with_pixdim(tmp_path / "a.nii.gz", (1, 0), sizes)) == []


def test_files_of_this_program_have_no_conflict(tmp_path):
    path = tmp_path / "a.nii.gz"
    sheared = OBLIQUE @ np.array([[1, 0.2, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for affine in (OBLIQUE, sheared):
        grid = Grid.from_array(SHAPE, affine)
        path.write_bytes(encode_image(np.zeros(SHAPE, np.uint8), grid))
        assert flags_of(path) == []
    assert flags_of(write_nifti(path, np.ones((9, 9, 9), np.int16), make_affine((4, 4, 6)))) == []


def test_four_digits_are_no_conflict(tmp_path):
    rng = np.random.default_rng(8)
    for _ in range(25):
        affine = random_affine(rng, 12)
        assert flags_of(write_forms(tmp_path / "a.nii.gz", affine.round(4), affine)) == []
    assert flags_of(with_pixdim(tmp_path / "a.nii.gz", (1, 0), (0.7001, 0.7, 3.0001))) == []


# --- conflicts ---------------------------------------------------------------------------------


def with_pixdim(path, codes, sizes_mm):
    content = bytearray(gzip.decompress(write_forms(path, OBLIQUE, OBLIQUE, codes).read_bytes()))
    struct.pack_into("<3f", content, PIXDIM + 4, *sizes_mm)
    path.write_bytes(gzip.compress(bytes(content), 1))
    return path


MIRRORS = {
    "left and right": np.diag([-1.0, 1, 1]),
    "front and back": np.diag([1.0, -1, 1]),
    "head and feet": np.diag([1.0, 1, -1]),
    "left and right, front and back": np.diag([-1.0, -1, 1]),
    "front and back, head and feet": Rotation.from_euler("x", 90, degrees=True).as_matrix(),
    "left and right, head and feet": np.diag([-1.0, 1, -1]),
}


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 1), (1, 2)])
@pytest.mark.parametrize("words", MIRRORS)
def test_directions_that_differ_are_an_error(words, codes, tmp_path):
    path = write_forms(tmp_path / "a.nii.gz", OBLIQUE, moved(OBLIQUE, MIRRORS[words]), codes)
    (flag,) = flags_of(path)
    assert (flag.code, flag.severity, flag.muscle) == ("header_conflict", "error", "")
    assert f"sform and qform disagree about {words}." in flag.message
    assert flag.value > flag.threshold == 0.05


def test_flips_of_the_voxel_axes_are_found_too(tmp_path):
    """The image turned about its own middle, as tools do that change one of the two only."""
    for axis, words in ((0, "left and right"), (2, "head and feet")):
        flipped = OBLIQUE.copy()
        flipped[:3, 3] += (SHAPE[axis] - 1) * flipped[:3, axis]
        flipped[:3, axis] *= -1
        (flag,) = flags_of(write_forms(tmp_path / "a.nii.gz", flipped, OBLIQUE))
        assert flag.severity == "error"
        assert words in flag.message


@pytest.mark.parametrize("codes", [(1, 1), (4, 1)])
def test_voxel_sizes_that_differ_are_an_error(codes, tmp_path):
    cubes = np.diag([-1.0, -1.0, 1.0, 1.0])
    (flag,) = flags_of(write_forms(tmp_path / "a.nii.gz", cubes, OBLIQUE, codes))
    assert flag.severity == "error"
    assert "give voxels of 1 x 1 x 1 mm and 0.7 x 0.7 x 3 mm" in flag.message
    assert "1.47 times as large" in flag.message
    assert flag.value == pytest.approx(200)
    assert flag.threshold == 1.0


def test_sizes_count_where_the_volume_is_the_same(tmp_path):
    other = stretched(OBLIQUE, 2, 0.5, 1)
    assert flags_of(write_forms(tmp_path / "a.nii.gz", OBLIQUE, other))[0].severity == "error"
    small = stretched(OBLIQUE, 1.005, 1.005, 1.005)
    assert flags_of(write_forms(tmp_path / "a.nii.gz", OBLIQUE, small))[0].severity == "error"


@pytest.mark.parametrize("codes", [(1, 0), (4, 0)])
@pytest.mark.parametrize("sizes_mm", [(1, 1, 1), (0.7, 0.7, 3.3), (0.7, 1.4, 3)])
def test_pixdim_against_an_sform_alone(sizes_mm, codes, tmp_path):
    (flag,) = flags_of(with_pixdim(tmp_path / "a.nii.gz", codes, sizes_mm))
    assert flag.severity == "error"
    assert "sform and pixdim give voxels of 0.7 x 0.7 x 3 mm and" in flag.message


@pytest.mark.parametrize("codes", [(1, 1), (4, 1), (2, 1)])
@pytest.mark.parametrize("shift_voxels", [0.06, 3, 60])
def test_a_shift_alone_is_a_warning(shift_voxels, codes, tmp_path):
    other = moved(OBLIQUE, shift_mm=shift_voxels * OBLIQUE[:3, 0])
    (flag,) = flags_of(write_forms(tmp_path / "a.nii.gz", OBLIQUE, other, codes))
    assert flag.severity == "warning"
    assert flag.value == pytest.approx(shift_voxels, rel=1e-2)
    assert f"up to {shift_voxels * 0.7:.2g}" in flag.message
    assert ("MNI" in flag.message) == (codes[0] == 4)


@pytest.mark.parametrize("degrees", [0.2, 5, 40])
def test_a_turn_alone_is_a_warning(degrees, tmp_path):
    turn = Rotation.from_euler("zyx", [degrees, degrees / 2, degrees / 3], degrees=True)
    other = moved(OBLIQUE, turn.as_matrix())
    (flag,) = flags_of(write_forms(tmp_path / "a.nii.gz", OBLIQUE, other, (2, 1)))
    assert flag.severity == "warning"
    assert "Sides are the same and so are volumes" in flag.message


@pytest.mark.parametrize("shift_voxels", [0.0, 0.04])
def test_a_shift_within_the_limit_is_none(shift_voxels, tmp_path):
    other = moved(OBLIQUE, shift_mm=shift_voxels * OBLIQUE[:3, 0])
    assert flags_of(write_forms(tmp_path / "a.nii.gz", OBLIQUE, other)) == []


def test_a_small_difference_of_sizes_is_a_warning_that_says_so(tmp_path):
    (flag,) = flags_of(with_pixdim(tmp_path / "a.nii.gz", (1, 0), (0.7, 0.7, 3.02)))
    assert flag.severity == "warning"
    assert "volumes differ by up to 0.67 %" in flag.message


def test_a_quaternion_that_is_none_leaves_pixdim(tmp_path):
    path = with_pixdim(tmp_path / "a.nii.gz", (1, 1), (1, 1, 1))
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<3f", content, 256, 5, 5, 5)
    path.write_bytes(gzip.compress(bytes(content), 1))
    assert "sform and pixdim" in flags_of(path)[0].message


def test_every_image_counts_and_the_gravest_is_told(tmp_path):
    sound = write_forms(tmp_path / "a.nii.gz", OBLIQUE, OBLIQUE)
    shifted = write_forms(tmp_path / "b.nii.gz", OBLIQUE, moved(OBLIQUE, shift_mm=(500, 0, 0)))
    swapped = write_forms(tmp_path / "c.nii.gz", OBLIQUE, moved(OBLIQUE, np.diag([-1.0, 1, 1])))
    (flag,) = flags_of(sound, shifted, swapped)
    assert flag.severity == "error"
    assert "header of the image 2 and image 3 images" in flag.message
    assert flags_of(shifted, sound)[0].severity == "warning"
    assert flags_of(sound, sound) == []


def test_images_of_a_pair_are_those_that_are_read():
    pair = DixonPair(Path("i"), Path("o"), (), "", Path("w"), Path("f"))
    assert set(images_of(pair, "scanner").values()) == {Path(name) for name in "iowf"}
    assert set(images_of(pair, "computed").values()) == {Path(name) for name in "io"}
    assert len(images_of(replace(pair, fat=None, water=None), "scanner")) == 2


def test_mirror_image_about_an_oblique_plane():
    """No direction points elsewhere by 60 degrees, and still one is the mirror of the other."""
    normal = np.array([0.577, 0.577, 0.577])
    mirror = np.eye(3) - 2 * np.outer(normal, normal) / (normal @ normal)
    assert (np.diag(mirror) > 0).all()
    used, stated = (Grid.from_array(SHAPE, one) for one in (OBLIQUE, moved(OBLIQUE, mirror)))
    assert compare_grids(used, stated, "qform").severity == "error"


def test_the_flag_reaches_the_results(tmp_path, tiny_bundle):
    """The qform of both images exchanges left and right."""
    bids_dir, out_dir = tmp_path / "bids", tmp_path / "out"
    write_description(bids_dir)
    write_scan(bids_dir, "01")
    for path in bids_dir.rglob("*.nii.gz"):
        image = nib.load(path)
        affine = image.affine.copy()
        image.set_sform(affine, code=1)
        image.set_qform(moved(affine, np.diag([-1.0, 1, 1])), code=1)
        path.write_bytes(gzip.compress(image.to_bytes()))
    call = [str(bids_dir), str(out_dir), "participant", "--bundle", str(tiny_bundle)]
    assert main(call) == 0
    flags = json.loads(next(out_dir.rglob("*_mfi.json")).read_text())["QCFlags"]
    (flag,) = (flag for flag in flags if flag["code"] == "header_conflict")
    assert flag["severity"] == "error"
    assert "header of the in-phase and out-of-phase images" in flag["message"]
    assert "disagree about left and right" in next(out_dir.glob("*.html")).read_text()
