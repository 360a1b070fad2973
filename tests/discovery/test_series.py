"""4-D files: split where the sidecar tells, else explained; 3-D datasets are not opened for it."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bids_datasets import (
    SHAPE,
    SPACING_MM,
    THREE_TESLA_IP,
    THREE_TESLA_OOP,
    add_image,
    make_every_convention_dataset,
    make_pair,
    start_dataset,
    write_sidecar,
)

from bids_mfi.bids.names import split_source
from bids_mfi.bids.output_folder import BundleFacts
from bids_mfi.bids.scan_files import ScanRecord, describe_measures, identify_scan
from bids_mfi.bids.scan_results import read_marker
from bids_mfi.discovery import UnusableScan, describe_as_json, describe_as_table, find_scans
from bids_mfi.discovery import series as series_module
from bids_mfi.errors import PairError
from bids_mfi.images import read_grid, read_image
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.pair_images import read_pair, read_signals
from bids_mfi.options import RunOptions
from bids_mfi.report.page import describe_images

ANAT = "sub-01/anat/sub-01_"
ECHO_TIMES_S = [0.00123, 0.00246]


def find(bids_dir: Path, **more: object) -> list[DixonPair | UnusableScan]:
    return find_scans(RunOptions(bids_dir, bids_dir / "out", "participant", **more))  # type: ignore[arg-type]


def find_pair(bids_dir: Path, **more: object) -> DixonPair:
    (scan,) = find(bids_dir, **more)
    assert isinstance(scan, DixonPair), scan.problem
    return scan


def find_problem(bids_dir: Path, **more: object) -> str:
    (scan,) = find(bids_dir, **more)
    assert isinstance(scan, UnusableScan)
    return scan.problem


def signal_of(number: int) -> int:
    """Signal of a volume; that of an in-phase image must be the brighter one."""
    return 60 + 40 * number


def add_series(
    bids_dir: Path, name: str, fields: dict[str, object] | None, more: tuple[int, ...] = (2,)
) -> Path:
    """A series of which every volume has a signal of its own, in the order of the file."""
    path = bids_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    count = int(np.prod(more))
    flat = np.stack([np.full(SHAPE, signal_of(n), np.int16) for n in range(count)], axis=-1)
    affine = np.diag([*SPACING_MM, 1.0])
    nib.save(nib.Nifti1Image(flat.reshape((*SHAPE, *more), order="F"), affine), path)
    if fields is not None:
        write_sidecar(path, fields)
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return start_dataset(tmp_path / "bids")


# --- split ---------------------------------------------------------------------------------------

BY_ECHOES: list[dict[str, object]] = [
    {"EchoTime": ECHO_TIMES_S, "MagneticFieldStrength": 3},
    {"EchoTime": [1.23, 2.46], "MagneticFieldStrength": "3 T"},
    {"EchoTime": ["0.00123", "0.00246"], "ImagingFrequency": 123.2},
    {"EchoTime": [[0.00123], [0.00246]], "MagneticFieldStrength": 3},
    {"EchoTime1": 0.00123, "EchoTime2": 0.00246, "MagneticFieldStrength": 3},
    {"EchoTime": ECHO_TIMES_S, "MagneticFieldStrength": 3, "ImageType": ["M", "OUT_PHASE"]},
]


@pytest.mark.parametrize("fields", BY_ECHOES, ids=lambda fields: " ".join(map(str, fields)))
@pytest.mark.parametrize("more", [(2,), (1, 2), (2, 1)])
@pytest.mark.parametrize("name", ["MEGRE", "acq-dixon_T1w", "acq-vibe_T1w"])
def test_echoes_in_one_file(
    dataset: Path, fields: dict[str, object], more: tuple[int, ...], name: str
) -> None:
    path = add_series(dataset, f"{ANAT}{name}.nii.gz", fields, more)
    pair = find_pair(dataset)
    assert (pair.in_phase, pair.in_phase_volume) == (path, 1)
    assert (pair.out_phase, pair.out_phase_volume) == (path, 0)
    assert pair.echo_times_ms == (pytest.approx(2.46), pytest.approx(1.23))
    assert f"volumes of {ANAT}{name}.nii.gz by the sidecar's list of EchoTime" in pair.recognised_by
    in_phase, out_phase, grid = read_pair(pair)
    assert in_phase.shape == out_phase.shape == grid.shape == SHAPE
    assert (in_phase == signal_of(1)).all()
    assert (out_phase == signal_of(0)).all()


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("ImageType", ["OUT_PHASE", "IN_PHASE", "FAT", "WATER"]),
        ("ImageType", [["ORIGINAL", "OUT_PHASE"], ["ORIGINAL", "IN_PHASE"], ["FAT"], ["WATER"]]),
        ("ImageType", ["DERIVED/OP", "DERIVED/IP", "DERIVED/F", "DERIVED/W"]),
        ("Contrasts", ["out-of-phase", "in-phase", "fat", "water"]),
        ("VolumeOrder", ["oop", "ip", "fat", "water"]),
    ],
)
def test_contrasts_in_one_file(dataset: Path, key: str, values: list[object]) -> None:
    path = add_series(
        dataset, f"{ANAT}acq-dixon_T1w.nii.gz", {key: values, "EchoTime": 0.002}, (4,)
    )
    pair = find_pair(dataset, fat_water="scanner")
    assert {pair.in_phase, pair.out_phase, pair.fat, pair.water} == {path}
    assert [pair.in_phase_volume, pair.out_phase_volume] == [1, 0]
    assert [pair.water_volume, pair.fat_volume] == [3, 2]
    assert pair.echo_times_ms == (None, None)  # one time cannot be that of both
    signals, _ = read_signals(pair, "scanner")
    found = [signals.out_phase, signals.in_phase, signals.fat, signals.water]
    assert [volume[0, 0, 0] for volume in found] == [signal_of(number) for number in range(4)]


def test_six_echoes_need_a_query_for_the_echo(dataset: Path, tmp_path: Path) -> None:
    times = [0.00123 * number for number in range(1, 7)]
    add_series(
        dataset, f"{ANAT}MEGRE.nii.gz", {"EchoTime": times, "MagneticFieldStrength": 3}, (6,)
    )
    problem = find_problem(dataset)
    assert "2 candidates for the out-of-phase image" in problem
    assert "MEGRE.nii.gz, volume 3" in problem
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"ip": {"echo": 2}, "oop": {"echo": 3}}))
    pair = find_pair(dataset, bids_filter_file=path)
    assert (pair.in_phase_volume, pair.out_phase_volume) == (1, 2)


def test_magnitude_and_phase_of_a_series(dataset: Path) -> None:
    fields = {"EchoTime": ECHO_TIMES_S, "MagneticFieldStrength": 3}
    path = add_series(dataset, f"{ANAT}part-mag_MEGRE.nii.gz", fields)
    add_series(dataset, f"{ANAT}part-phase_MEGRE.nii.gz", fields)
    add_series(dataset, f"{ANAT}rec-a_MEGRE.nii.gz", fields | {"ImageType": ["ORIGINAL", "P"]})
    assert find_pair(dataset).in_phase == path


# --- not split -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        None,
        {},
        {"EchoTime": 0.00123, "MagneticFieldStrength": 3},
        {"EchoTime": [0.00123, 0.00246, 0.00369], "MagneticFieldStrength": 3},
        {"EchoTime": [0.00123, 0.00123], "MagneticFieldStrength": 3},
        {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "IN_PHASE"]},
        {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]},
        {"SeriesDescription": "t1_vibe_dixon_tra_W"},
    ],
)
def test_a_series_that_nothing_tells_apart_is_explained(
    dataset: Path, fields: dict[str, object] | None
) -> None:
    path = add_series(dataset, f"{ANAT}acq-dixon_MEGRE.nii.gz", fields)
    problem = find_problem(dataset)
    assert "has 4 dimensions (5 x 6 x 4 x 2)" in problem
    assert f"`fslsplit {path.name} volume -t`" in problem
    assert "four_to_three" in problem
    assert "list their times as EchoTime" in problem
    assert "sub-01_acq-dixon_part-inphase_MEGRE.nii.gz" in problem


def test_the_command_for_nibabel_splits(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Follow the advice: run the command, take the names, and find the pair."""
    path = add_series(dataset, f"{ANAT}acq-dixon_MEGRE.nii.gz", None)
    monkeypatch.chdir(path.parent)
    command = find_problem(dataset).split('python -c "')[1].split('"`')[0]
    exec(command, {})
    parts = sorted(path.parent.glob("volume*"))
    for part, word in zip(parts, ("outphase", "inphase"), strict=True):
        part.rename(path.with_name(f"sub-01_acq-dixon_part-{word}_MEGRE.nii.gz"))
    path.unlink()
    pair = find_pair(dataset)
    assert (read_image(pair.in_phase)[0] == signal_of(1)).all()


def test_the_advice_is_given_once(dataset: Path) -> None:
    for echo in ("1", "2"):
        add_series(dataset, f"{ANAT}echo-{echo}_MEGRE.nii.gz", {"EchoTime": 0.002})
    problem = find_problem(dataset)
    assert problem.count("fslsplit") == 1
    assert "echo-2_MEGRE.nii.gz: is also 4-D." in problem


def test_a_series_named_for_one_phase_is_not_split(dataset: Path) -> None:
    make_pair(dataset, "01")
    fields = {"EchoTime": ECHO_TIMES_S, "MagneticFieldStrength": 3}
    add_series(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", fields)
    assert "acq-inphase_T1w.nii.gz: has 4 dimensions" in find_problem(dataset)


def test_a_plain_series_is_passed_over(dataset: Path) -> None:
    make_pair(dataset, "01")
    add_series(dataset, f"{ANAT}acq-mt_T2w.nii.gz", {"EchoTime": 0.002})
    assert isinstance(find_pair(dataset), DixonPair)


def test_a_damaged_series_is_explained_as_before(dataset: Path) -> None:
    fields = {"EchoTime": ECHO_TIMES_S, "MagneticFieldStrength": 3}
    add_series(dataset, f"{ANAT}MEGRE.nii.gz", fields).write_bytes(b"nothing")
    assert "EchoTime is a list of 2 values" in find_problem(dataset)


# --- cost ----------------------------------------------------------------------------------------


def test_no_header_of_3d_images_is_opened_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = make_every_convention_dataset(tmp_path / "bids")
    opened: list[Path] = []

    def note(path: Path) -> Any:
        opened.append(path)
        raise PairError(str(path))

    monkeypatch.setattr(series_module, "read_series_shape", note)
    assert len(find(tmp_path / "bids")) == len(expected)
    assert opened == []


# --- where the volume goes -----------------------------------------------------------------------


@pytest.fixture
def pair(dataset: Path) -> DixonPair:
    fields = {"EchoTime": ECHO_TIMES_S, "MagneticFieldStrength": 3}
    add_series(dataset, f"{ANAT}acq-dixon_MEGRE.nii.gz", fields)
    return find_pair(dataset)


def test_fingerprint_sources_and_page_name_the_volume(pair: DixonPair, dataset: Path) -> None:
    record = ScanRecord(pair, dataset, BundleFacts("b", "1", "0" * 64), "computed", "mark")
    sidecar = describe_measures(record, ())
    uri = f"bids:raw:{ANAT}acq-dixon_MEGRE.nii.gz"
    assert sidecar["Sources"] == [f"{uri}#volume=2", f"{uri}#volume=1"]
    marker = dataset / "out" / "sub-01" / "anat" / "sub-01_acq-dixon_seg-muscle_mfi.json"
    marker.parent.mkdir(parents=True)
    marker.write_text(json.dumps(sidecar | {"Files": {"sub-01_mfi.tsv": "0" * 64}}))
    again = read_marker(marker).make_record(dataset).pair
    assert (again.in_phase, again.in_phase_volume) == (pair.in_phase, 1)
    assert (again.out_phase, again.out_phase_volume) == (pair.out_phase, 0)
    assert dict(describe_images(pair, None))["In-phase image"].endswith("MEGRE.nii.gz, volume 2")


@pytest.mark.parametrize("number", ["0", "-1", "x", "", "1" * 5000, "\N{SUPERSCRIPT TWO}"])
def test_a_source_with_an_impossible_volume_names_none(number: str) -> None:
    assert split_source(f"bids:raw:a.nii#volume={number}") == ("bids:raw:a.nii", None)


def test_the_fingerprint_depends_on_the_volume(pair: DixonPair, dataset: Path) -> None:
    record = ScanRecord(pair, dataset, BundleFacts("b", "1", "0" * 64), "computed")
    pairs = [replace(pair, in_phase_volume=number) for number in (0, 1, None)]
    marks = {identify_scan(replace(record, pair=one)).fingerprint for one in pairs}
    assert len(marks) == 3


def test_a_dry_run_shows_the_volumes(pair: DixonPair, dataset: Path) -> None:
    assert "acq-dixon_MEGRE.nii.gz, volume 2" in describe_as_table([pair], dataset)
    (found,) = json.loads(describe_as_json([pair], dataset))
    assert found["volumes"] == {"in_phase": 2, "out_phase": 1}


def test_a_dry_run_of_3d_images_has_no_volumes(dataset: Path) -> None:
    make_pair(dataset, "01")
    (found,) = json.loads(describe_as_json(find(dataset), dataset))
    assert "volumes" not in found


@pytest.mark.parametrize("volume", [-1, 2, 99])
def test_a_volume_that_is_not_there(pair: DixonPair, volume: int) -> None:
    for read in (read_image, read_grid):
        with pytest.raises(PairError, match="has 2 volumes"):
            read(pair.in_phase, volume)


def test_a_series_is_no_image_without_a_volume(pair: DixonPair) -> None:
    for read in (read_image, read_grid):
        with pytest.raises(PairError, match="4 dimensions"):
            read(pair.in_phase)


def test_volumes_are_scaled_as_the_file_says(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4 * 3, dtype=np.int16).reshape((2, 3, 4, 3), order="F")
    image = nib.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header.set_slope_inter(0.5, 10)
    path = tmp_path / "series.nii.gz"
    path.write_bytes(gzip.compress(image.to_bytes()))
    whole = nib.load(path).get_fdata()
    for number in range(3):
        volume, grid = read_image(path, number)
        np.testing.assert_array_equal(volume, whole[..., number])
        assert grid.shape == (2, 3, 4)


def test_both_phases_of_a_pair_from_different_files(dataset: Path) -> None:
    """One echo in a file of its own, one with the sidecar's list: no volumes are involved."""
    for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
        add_image(dataset, f"{ANAT}echo-{echo}_MEGRE.nii.gz", fields)
    pair = find_pair(dataset)
    assert [pair.in_phase_volume, pair.out_phase_volume] == [None, None]
