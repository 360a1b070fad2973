"""Bad input end to end: each kind gets its own sentence and costs no other scan its results."""

import gzip
import json
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest
from conftest import make_pair_arrays, write_description, write_nifti, write_scan

from bids_mfi.cli.app import main
from bids_mfi.grid import Grid

pytestmark = pytest.mark.usefixtures("quick_figures")


def write_raw(path, volume, affine, **header):
    image = nib.Nifti1Image(volume, affine)
    image.set_sform(affine, code=1)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)


def _damage_truncated(first, second):
    first.write_bytes(first.read_bytes()[:-2000])


def _damage_text(first, second):
    first.write_text("This is a letter, not an image.\n")


def _damage_4d(first, second):
    for path in (first, second):
        volume = np.zeros((8, 8, 6, 2), dtype=np.int16)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), path)


def _damage_nan(first, second):
    volume = make_pair_arrays(1)[0].astype(np.float32)
    volume[3, 4, 5] = np.nan
    write_nifti_float(first, volume)


def _damage_infinite(first, second):
    volume = make_pair_arrays(1)[1].astype(np.float32)
    volume[0, 0, 0] = np.inf
    write_nifti_float(second, volume)


def write_nifti_float(path, volume):
    write_raw(path, volume, nib.load(path).affine)


def _damage_zeros(first, second):
    write_nifti(second, np.zeros((32, 28, 12)))


def _damage_swapped(first, second):
    """The files are exchanged and nothing but the pixels can tell."""
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def _damage_shape(first, second):
    write_nifti(second, make_pair_arrays(1, (32, 28, 10))[1])


def _damage_affine(first, second):
    affine = nib.load(second).affine.copy()
    affine[0, 3] += 5
    write_nifti(second, make_pair_arrays(1)[1], affine)


def _damage_singular(first, second):
    for path in (first, second):
        data = bytearray(gzip.decompress(path.read_bytes()))
        data[280:296] = np.array([0, 0, 0, 0], dtype="<f4").tobytes()  # srow_x
        path.write_bytes(gzip.compress(bytes(data)))


def _damage_slice(first, second):
    for path in (first, second):
        write_nifti(path, np.ones((32, 28, 1)))


def _damage_huge(first, second):
    for path in (first, second):
        write_nifti(path, make_pair_arrays(1)[0], np.diag([4000.0, 4000.0, 6000.0, 1.0]))


def _damage_folder(first, second):
    """Unreadable even for root."""
    second.unlink()
    second.mkdir()


def _damage_annex(first, second):
    second.unlink()
    second.symlink_to("../../.git/annex/objects/xx/yy/SHA256E-s1--ab.nii.gz")


def _damage_partner(first, second):
    second.unlink()
    second.with_name(second.name.replace(".nii.gz", ".json")).unlink()


DAMAGES = {
    "truncated": (_damage_truncated, "data end early"),
    "text": (_damage_text, "cannot be read as NIfTI"),
    "fourD": (_damage_4d, "4 dimensions"),
    "nan": (_damage_nan, "NaN or infinite"),
    "infinite": (_damage_infinite, "NaN or infinite"),
    "zeros": (_damage_zeros, "all voxels are 0"),
    "swapped": (_damage_swapped, "look exchanged"),
    "shape": (_damage_shape, "shapes 32 x 28 x 12 and 32 x 28 x 10"),
    "affine": (_damage_affine, "different positions"),
    "singular": (_damage_singular, "singular"),
    "slice": (_damage_slice, "single slice"),
    "huge": (_damage_huge, "4000 x 4000 x 6000 mm"),
    "folder": (_damage_folder, ""),
    "annex": (_damage_annex, "has not been fetched"),
    "partner": (_damage_partner, ""),
}


@pytest.fixture(scope="module")
def run_with_damage(tmp_path_factory, tiny_bundle):
    """One run on a good participant and one for each kind of damage."""
    folder = tmp_path_factory.mktemp("bad")
    bids_dir, out_dir = folder / "in", folder / "out"
    write_description(bids_dir)
    write_scan(bids_dir, "good", seed=1)
    write_scan(bids_dir, "zgood", seed=2)
    for name, (damage, _) in DAMAGES.items():
        damage(*write_scan(bids_dir, name, seed=3))
        if name == "swapped":
            for sidecar in (bids_dir / "sub-swapped" / "anat").glob("*.json"):
                content = json.loads(sidecar.read_text())
                sidecar.write_text(json.dumps({"ImageType": content["ImageType"]}))
    before = {path: path.stat().st_mtime_ns for path in bids_dir.rglob("*") if path.is_file()}
    status = main([str(bids_dir), str(out_dir), "participant", "--bundle", str(tiny_bundle)])
    assert before == {path: path.stat().st_mtime_ns for path in before}
    return bids_dir, out_dir, status


@pytest.mark.parametrize("name", DAMAGES)
def test_a_bad_scan_is_explained_and_leaves_nothing_half_written(run_with_damage, name):
    bids_dir, out_dir, status = run_with_damage
    assert status == 1
    log = out_dir / "logs" / f"sub-{name}_acq-dixon_error.txt"
    sentence = log.read_text().splitlines()[0]
    assert DAMAGES[name][1] in sentence
    assert str(bids_dir / f"sub-{name}") in sentence or f"sub-{name}" in sentence, "names the file"
    assert len(sentence) < 700
    assert not list(out_dir.glob(f"sub-{name}/**/*.nii.gz"))
    assert not list(out_dir.glob(f"sub-{name}/**/*.tsv"))


def test_the_good_scans_are_finished(run_with_damage):
    _, out_dir, _ = run_with_damage
    for name in ("good", "zgood"):
        assert (out_dir / f"sub-{name}/anat/sub-{name}_acq-dixon_seg-muscle_mfi.json").is_file()
        assert (out_dir / f"sub-{name}.html").is_file()
    assert not list(out_dir.rglob("*.partial"))


def test_the_page_of_a_failed_participant_says_why(run_with_damage):
    _, out_dir, _ = run_with_damage
    page = (out_dir / "sub-nan.html").read_text()
    assert "NaN or infinite" in page


# --- the dataset, the bundle and the output folder ----------------------------------------------


def fail(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert error.count("\n") == 1, f"one line expected: {error}"
    assert "Traceback" not in error
    return status, error


def test_no_such_dataset(tmp_path, capsys):
    status, error = fail(capsys, tmp_path / "nowhere", tmp_path / "out", "participant")
    assert status == 3
    assert "nowhere" in error


def test_empty_dataset(tmp_path, capsys):
    write_description(tmp_path / "in")
    status, error = fail(capsys, tmp_path / "in", tmp_path / "out", "participant")
    assert status == 3
    assert "sub-" in error
    assert not (tmp_path / "out").exists()


def test_no_dataset_description(bids_dir, tmp_path, capsys):
    (bids_dir / "dataset_description.json").unlink()
    status, error = fail(capsys, bids_dir, tmp_path / "out", "participant")
    assert status == 3
    assert "dataset_description.json" in error
    assert "--skip-bids-validation" in error


def test_unknown_participant(bids_dir, tmp_path, capsys):
    status, error = fail(
        capsys, bids_dir, tmp_path / "out", "participant", "--participant-label", "sub-99"
    )
    assert status == 3
    assert "99" in error
    assert "01" in error


def test_output_among_the_input(bids_dir, capsys):
    status, error = fail(capsys, bids_dir, bids_dir / "sub-01" / "out", "participant")
    assert status == 5
    assert "OUTPUT_DIR" in error
    assert not (bids_dir / "sub-01" / "out").exists()


def test_output_that_cannot_be_made(bids_dir, tmp_path, tiny_bundle, capsys):
    (tmp_path / "file").write_text("")
    status, error = fail(
        capsys, bids_dir, tmp_path / "file" / "out", "participant", "--bundle", tiny_bundle
    )
    assert status == 5
    assert str(tmp_path / "file") in error


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda folder: (folder / "models/model.pt").write_bytes(b"x"), "sha256"),
        (lambda folder: (folder / "models/model.pt").unlink(), "model.pt"),
        (lambda folder: shutil.rmtree(folder), "no such folder"),
    ],
)
def test_bad_bundle(bids_dir, tmp_path, tiny_bundle, capsys, change, finding):
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    change(folder)
    status, error = fail(capsys, bids_dir, tmp_path / "out", "participant", "--bundle", folder)
    assert status == 4
    assert finding in error
    assert not (tmp_path / "out").exists()


def mount(folder, options):
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")


@pytest.fixture
def unmount():
    mounted = []
    yield mounted
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_full_disk(bids_dir, tmp_path, tiny_bundle, unmount, capsys):
    """The disk fills up: what was saved stays whole, the rest can be run later."""
    out_dir = tmp_path / "small disk"
    mount(out_dir, "size=96k")
    unmount.append(out_dir)
    arguments = [str(bids_dir), str(out_dir), "participant", "--bundle", str(tiny_bundle)]
    assert main(arguments) in (1, 5)
    assert "disk is full" in capsys.readouterr().err
    assert not list(out_dir.rglob("*.partial"))
    subprocess.run(["mount", "-o", "remount,size=64m", out_dir], check=True)
    assert main(arguments) == 0
    assert len(list(out_dir.rglob("*_mfi.json"))) == 2


def test_read_only_output(bids_dir, tmp_path, tiny_bundle, unmount, capsys):
    out_dir = tmp_path / "read only"
    mount(out_dir, "ro")
    unmount.append(out_dir)
    status, error = fail(capsys, bids_dir, out_dir, "participant", "--bundle", tiny_bundle)
    assert status == 5
    assert "Mount OUTPUT_DIR writable" in error


def test_an_unwritable_work_folder(bids_dir, tmp_path, tiny_bundle, capsys):
    (tmp_path / "file").write_text("")
    status, error = fail(
        capsys, bids_dir, tmp_path / "out", "participant", "--bundle", tiny_bundle,
        "--work-dir", tmp_path / "file" / "work",
    )  # fmt: skip
    assert status == 5
    assert "--work-dir" in error


def test_a_plugin_file_that_is_none(bids_dir, tmp_path, tiny_bundle, capsys):
    (tmp_path / "plugin.yml").write_text("nothing: here\n")
    status, error = fail(
        capsys, bids_dir, tmp_path / "out", "participant", "--bundle", tiny_bundle,
        "--use-plugin", tmp_path / "plugin.yml",
    )  # fmt: skip
    assert status == 2
    assert "plugin.yml" in error


def test_files_written_by_the_tests_are_what_they_claim(tmp_path):
    """The helper's images are read by nibabel as they were meant."""
    path = write_nifti(tmp_path / "a.nii.gz", np.arange(24.0).reshape(2, 3, 4))
    image = nib.load(path)
    assert Grid.from_array(image.shape, image.affine).spacing_mm == (4.0, 4.0, 6.0)
