"""The simulated BIDS dataset and its truth."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bids_mfi.errors import InputError, OutputError
from bids_mfi.grid import reorient, same_grid
from bids_mfi.images import read_image, read_labels
from bids_mfi.muscles import WEBER2021
from bids_mfi.synthesis import simulate, sources
from bids_mfi.synthesis.acquisition import Body
from bids_mfi.synthesis.cases import upright_grid
from bids_mfi.synthesis.simulate import measure_truth, simulate_dataset
from bids_mfi.synthesis.sources import ORIENTATIONS, draw_person, simulate_scans

SHAPE, SPACING_MM = (112, 84, 18), (2.0, 2.0, 6.0)


@pytest.fixture(autouse=True)
def small_scans(monkeypatch):
    """Coarser voxels over the same field of view: the same code, faster."""
    shrink_scans(monkeypatch)


def shrink_scans(monkeypatch):
    monkeypatch.setattr(sources, "SCAN_SHAPE", SHAPE)
    monkeypatch.setattr(sources, "SCAN_SPACING_MM", SPACING_MM)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two participants with one session."""
    folder = tmp_path_factory.mktemp("simulated") / "bids"
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_scans(monkeypatch)
        simulate_dataset(folder, participants=2, sessions=1, seed=5)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_tsv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def validate(folder: Path) -> list[dict[str, str]]:
    """Errors that the BIDS validator finds."""
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    run = subprocess.run(
        [validator, folder, "--format", "json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(run.stdout)["issues"]["issues"]
    return [issue for issue in issues if issue["severity"] == "error"]


def scan_of(axcodes, monkeypatch):
    monkeypatch.setattr(sources, "ORIENTATIONS", (axcodes,) * len(ORIENTATIONS))
    return next(simulate_scans(draw_person(3, 1), 1, (3, 1)))


def test_names_and_sidecars(dataset):
    anat = dataset / "sub-01" / "anat"
    stem = "sub-01_acq-dixon"
    assert sorted(path.name for path in anat.iterdir()) == [
        f"{stem}_echo-{echo}_MEGRE{suffix}" for echo in (1, 2) for suffix in (".json", ".nii.gz")
    ]
    sidecars = [
        json.loads((anat / f"{stem}_echo-{echo}_MEGRE.json").read_text()) for echo in (1, 2)
    ]
    assert [s["EchoTime"] for s in sidecars] == [0.00246, 0.00369]
    assert [s["ImageType"][-1] for s in sidecars] == ["IN_PHASE", "OUT_PHASE"]
    assert {s["MagneticFieldStrength"] for s in sidecars} == {3.0}
    for sidecar in sidecars:  # the echo time agrees with what the image type says
        phase = np.cos(2 * np.pi * 3.4e-6 * sidecar["ImagingFrequency"] * 1e6 * sidecar["EchoTime"])
        assert (phase > 0.7) if sidecar["ImageType"][-1] == "IN_PHASE" else (phase < -0.7)


def test_truth_beside_the_scans(dataset):
    anat = dataset / "derivatives" / "truth" / "sub-02" / "anat"
    stem = "sub-02_acq-dixon"
    labels, grid = read_labels(anat / f"{stem}_seg-muscle_dseg.nii.gz")
    image, scan_grid = read_image(dataset / "sub-02" / "anat" / f"{stem}_echo-1_MEGRE.nii.gz")
    assert same_grid(grid, scan_grid)
    assert image.shape == SHAPE
    assert np.unique(labels).tolist() == list(range(15))
    sources = json.loads((anat / f"{stem}_seg-muscle_dseg.json").read_text())["Sources"]
    for source in sources:
        assert (dataset / source.removeprefix("bids:raw:")).exists()
    table = read_tsv(dataset / "derivatives" / "truth" / "seg-muscle_dseg.tsv")
    assert [(int(row["index"]), row["name"]) for row in table] == [
        (label.index, label.name) for label in WEBER2021
    ]
    assert {row["levels"] for row in table} == {"all"}


def test_participants_table(dataset):
    rows = read_tsv(dataset / "participants.tsv")
    assert [row["participant_id"] for row in rows] == ["sub-01", "sub-02"]
    assert [row["sex"] for row in rows] == ["F", "M"]
    assert all(18 <= float(row["age"]) <= 65 and 17 < float(row["bmi"]) < 43 for row in rows)
    described = json.loads((dataset / "participants.json").read_text())
    assert {*described} == {*rows[0]} - {"participant_id"}


def test_true_table_equals_the_definition():
    scan = next(simulate_scans(draw_person(1, 1), 1, (1, 1)))
    rows = measure_truth(scan.body, scan.grid)
    assert [int(row["index"]) for row in rows] == list(range(1, 15))
    for row, label in zip(rows, WEBER2021, strict=True):
        inside = scan.body.labels == label.index
        fat = scan.body.fat[inside].astype(np.float64).sum()
        water = scan.body.water[inside].astype(np.float64).sum()
        assert float(row["mfi_percent"]) == pytest.approx(100 * fat / (fat + water), abs=1e-9)
        volume_ml = inside.sum() * abs(np.linalg.det(scan.grid.matrix[:3, :3])) / 1000
        assert float(row["volume_ml"]) == pytest.approx(volume_ml, abs=1e-9)
        assert (row["muscle"], row["hemi"]) == (label.muscle, label.hemi)


def test_an_absent_muscle_is_not_available():
    grid = upright_grid((3, 3, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    labels = np.zeros((3, 3, 3), np.int16)
    labels[0, 0, 0] = 2
    body = Body(np.full((3, 3, 3), 0.75, np.float32), np.full((3, 3, 3), 0.25, np.float32), labels)
    rows = measure_truth(body, grid)
    assert (rows[0]["voxels"], rows[0]["volume_ml"], rows[0]["mfi_percent"]) == ("0", "n/a", "n/a")
    assert rows[1]["mfi_percent"] == "25.0"


def test_the_fat_map_is_the_true_fraction(dataset):
    anat = dataset / "derivatives" / "truth" / "sub-01" / "anat"
    labels, _ = read_labels(anat / "sub-01_acq-dixon_seg-muscle_dseg.nii.gz")
    scan = next(simulate_scans(draw_person(5, 1), 1, (5, 1), SHAPE, SPACING_MM))
    import nibabel as nib  # the map holds NaN in air, which read_image refuses

    fat_percent = nib.load(anat / "sub-01_acq-dixon_FFmap.nii.gz").get_fdata()
    assert (labels == scan.body.labels).all()
    assert np.allclose(fat_percent, scan.body.fat_percent, atol=0.006, equal_nan=True)
    assert np.isnan(fat_percent).any()


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_stored_orientation_moves_nothing_in_the_world(axcodes, monkeypatch):
    plain, turned = scan_of(("R", "A", "S"), monkeypatch), scan_of(axcodes, monkeypatch)
    assert turned.grid.axcodes == axcodes
    back, grid = reorient(turned.body.labels, turned.grid, ("R", "A", "S"))
    assert (back == plain.body.labels).all()
    assert same_grid(grid, plain.grid)
    assert (reorient(turned.in_phase, turned.grid, ("R", "A", "S"))[0] == plain.in_phase).all()
    assert (
        measure_truth(turned.body, turned.grid)[0]["voxels"]
        == (measure_truth(plain.body, plain.grid)[0]["voxels"])
    )
    for label in WEBER2021:
        index = np.argwhere(turned.body.labels == label.index).mean(axis=0)
        x_mm = (turned.grid.matrix @ np.append(index, 1.0))[0]
        assert (x_mm < 0) == (label.hemi == "L"), label.name


def test_participants_are_stored_in_several_orientations():
    codes = {
        next(simulate_scans(draw_person(2, n), 1, (2, n), (20, 20, 6), (10.0, 10.0, 18.0)))
        .grid.axcodes
        for n in range(1, 13)
    }  # fmt: skip
    assert codes == {*ORIENTATIONS}


def test_sessions_share_the_anatomy():
    person = draw_person(9, 1)
    first, second = simulate_scans(person, 2, (9, 1))
    other = next(simulate_scans(draw_person(9, 2), 1, (9, 2)))

    def values(scan, column):
        return np.array([float(row[column]) for row in measure_truth(scan.body, scan.grid)])

    for column in ("mfi_percent", "volume_ml"):
        own = np.abs(values(first, column) - values(second, column)).mean()
        foreign = np.abs(values(first, column) - values(other, column)).mean()
        assert 0 < own < foreign
    assert (first.in_phase != second.in_phase).any()


def test_the_first_session_does_not_depend_on_how_many_follow():
    person = draw_person(4, 1)
    alone = next(simulate_scans(person, 1, (4, 1)))
    followed = next(simulate_scans(person, 2, (4, 1)))
    assert (alone.in_phase == followed.in_phase).all()


def test_the_same_seed_gives_the_same_bytes(dataset, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    simulate_dataset(again, participants=2, sessions=1, seed=5)
    simulate_dataset(other, participants=1, sessions=1, seed=6)
    assert contents(again) == contents(dataset)
    name = "sub-01/anat/sub-01_acq-dixon_echo-1_MEGRE.nii.gz"
    assert contents(other)[name] != contents(dataset)[name]


def test_sessions_get_folders(tmp_path):
    simulate_dataset(tmp_path / "bids", participants=1, sessions=2, seed=5)
    for session in ("ses-01", "ses-02"):
        anat = tmp_path / "bids" / "sub-01" / session / "anat"
        assert (anat / f"sub-01_{session}_acq-dixon_echo-2_MEGRE.nii.gz").exists()
    assert validate(tmp_path / "bids") == []
    assert validate(tmp_path / "bids" / "derivatives" / "truth") == []


def test_the_validator_finds_no_error(dataset):
    assert validate(dataset) == []
    assert validate(dataset / "derivatives" / "truth") == []


def test_an_existing_empty_folder_is_used_and_nothing_else_is_left(tmp_path):
    folder = tmp_path / "bids"
    folder.mkdir()
    simulate_dataset(folder, participants=1, sessions=1, seed=1)
    assert (folder / "participants.tsv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bids"]


def test_a_folder_with_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        simulate_dataset(tmp_path, participants=1, sessions=1, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_refused(tmp_path):
    path = tmp_path / "bids"
    path.write_text("a file")
    with pytest.raises(OutputError, match="is a file"):
        simulate_dataset(path, participants=1, sessions=1, seed=1)


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        simulate_dataset(tmp_path / "file" / "bids", participants=1, sessions=1, seed=1)


def test_an_interrupted_simulation_leaves_no_dataset_and_does_not_stop_the_next(
    tmp_path, monkeypatch
):
    folder = tmp_path / "bids"
    with monkeypatch.context() as patch:
        patch.setattr(simulate, "_write_truth", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OutputError, match="full"):
            simulate_dataset(folder, participants=1, sessions=1, seed=1)
    assert not folder.exists()
    simulate_dataset(folder, participants=1, sessions=1, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["bids"]


@pytest.mark.parametrize(("participants", "sessions", "seed"), [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_impossible_numbers_are_refused(tmp_path, participants, sessions, seed):
    with pytest.raises(InputError, match="expected at least"):
        simulate_dataset(tmp_path / "bids", participants, sessions, seed)
    assert not (tmp_path / "bids").exists()
