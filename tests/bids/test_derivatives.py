"""Names, sidecars, tables and atomic writing of the derivatives."""

import contextlib
import dataclasses
import errno
import json
import math
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_mfi import __version__, storage
from bids_mfi.bids import saved_scans, scan_files
from bids_mfi.bids.columns import MUSCLE_COLUMNS, SLICE_COLUMNS, describe_result_columns
from bids_mfi.bids.formats import encode_json, encode_table
from bids_mfi.bids.markers import SEAL, seal
from bids_mfi.bids.names import bids_uri, derivative_name, derivative_stem, page_path, scan_paths
from bids_mfi.bids.output_folder import BundleFacts, check_output_dir, write_dataset_files
from bids_mfi.bids.saved_scans import (
    explain_altered,
    find_altered,
    find_edited_copies,
    save_scan,
    scan_state,
)
from bids_mfi.bids.scan_files import ScanRecord, ScanResults, describe_ffmap, identify_scan
from bids_mfi.bids.scan_results import find_markers, read_marker, read_measures, read_slices
from bids_mfi.errors import DatasetError, OutputError, PairError
from bids_mfi.grid import Grid
from bids_mfi.images import encode_image, read_labels
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.quality import QCFlag
from bids_mfi.measure.quantify import MuscleMeasure, measure_muscles
from bids_mfi.measure.slices import SliceMeasure, measure_slices
from bids_mfi.muscles import WEBER2021, MuscleTable
from bids_mfi.reading import read_json
from bids_mfi.storage import remove_stale_partials, write_atomically

BUNDLE = BundleFacts("tiny", "1.2", "ab" * 32, "Made for tests.", mirrored=True)
GRID = Grid((8, 6, 4), ((-1.0, 0, 0, 0), (0, -1.0, 0, 0), (0, 0, 3.0, 0), (0, 0, 0, 1.0)))


def make_pair(bids_dir, *entities):
    entities = entities or (("sub", "01"), ("ses", "a"), ("acq", "dixon"))
    stem = "_".join(f"{key}-{value}" for key, value in entities)
    folder = bids_dir / f"sub-{dict(entities)['sub']}" / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        role: folder / f"{stem}_{role}.nii.gz" for role in ("inphase", "outphase", "water", "fat")
    }
    for role, path in paths.items():
        path.write_bytes(role.encode())
    return DixonPair(
        paths["inphase"], paths["outphase"], entities, "names", paths["water"], paths["fat"],
        (2.46, 1.23), 3.0,
    )  # fmt: skip


def make_measures():
    rng = np.random.default_rng(4)
    labels = np.zeros(GRID.shape, np.int16)
    labels.ravel()[: 13 * 6] = np.repeat(np.arange(1, 14), 6)  # label 14 is absent
    water, fat = rng.uniform(1, 900, (2, *GRID.shape))
    water[labels == 2] = fat[labels == 2] = 0  # present, without signal
    fat[labels == 3] = 0  # no fat at all: a true zero
    return labels, tuple(measure_muscles(labels, water, fat, GRID.voxel_volume_ml, WEBER2021))


def make_results():
    labels, measures = make_measures()
    flags = (
        QCFlag("absent", "warning", "LS_L", 0.0, 1.0, "LS_L: no voxel."),
        QCFlag("cut", "info", "TR_R", math.nan, math.nan, "TR_R: cut."),
    )
    return ScanResults(
        dseg=encode_image(labels, GRID),
        ffmap=encode_image(np.full(GRID.shape, np.nan, np.float32), GRID),
        measures=measures,
        flags=flags,
        figures=(("labels", b"png"),),
    )


def make_record(bids_dir, fat_water="computed"):
    return identify_scan(ScanRecord(make_pair(bids_dir), bids_dir, BUNDLE, fat_water))


def fingerprint_of(pair, bids_dir, fat_water="computed", identity="0"):
    bundle = dataclasses.replace(BUNDLE, identity=identity)
    return identify_scan(ScanRecord(pair, bids_dir, bundle, fat_water)).fingerprint


def files_below(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entities", "folder", "name"),
    [
        ("sub-01", "sub-01/anat", "sub-01_acq-dixon"),
        ("sub-01 ses-b", "sub-01/ses-b/anat", "sub-01_ses-b_acq-dixon"),
        ("sub-01 acq-hi run-2", "sub-01/anat", "sub-01_acq-hi_run-2"),
        ("sub-01 run-2", "sub-01/anat", "sub-01_acq-dixon_run-2"),
        ("sub-01 run-02 rec-x ce-gd", "sub-01/anat", "sub-01_acq-dixon_ce-gd_rec-x_run-02"),
        ("sub-01 chunk-1 part-mag", "sub-01/anat", "sub-01_acq-dixon_part-mag_chunk-1"),
        ("sub-01 stk-1 run-1", "sub-01/anat", "sub-01_acq-dixon_run-1_stk-1"),
        ("sub-01 foo-1 run-1", "sub-01/anat", "sub-01_acq-dixon_run-1_foo-1"),
    ],
)
def test_names_keep_the_entities_in_bids_order(entities, folder, name):
    pairs = tuple(tuple(item.split("-")) for item in entities.split())
    paths = scan_paths(Path("out"), DixonPair(Path(), Path(), pairs, ""))
    parent = Path("out") / folder
    assert paths.stem == name
    assert paths.files == (
        parent / f"{name}_seg-muscle_dseg.nii.gz",
        parent / f"{name}_seg-muscle_dseg.json",
        parent / f"{name}_FFmap.nii.gz",
        parent / f"{name}_FFmap.json",
        parent / f"{name}_seg-muscle_slices.tsv",
        parent / f"{name}_seg-muscle_slices.json",
        parent / f"{name}_seg-muscle_mfi.tsv",
        parent / f"{name}_seg-muscle_mfi.json",
    )
    assert paths.figures == Path("out/sub-01/figures")


def test_scans_of_one_participant_share_no_file(tmp_path):
    entities = (
        (("sub", "1"), ("run", "1")),
        (("sub", "1"), ("run", "2")),
        (("sub", "1"), ("ses", "a"), ("run", "1")),
        (("sub", "1"), ("acq", "other"), ("run", "1")),
    )
    found = [scan_paths(tmp_path, DixonPair(Path(), Path(), each, "")) for each in entities]
    names = [path for paths in found for path in (*paths.files, paths.figure("labels"))]
    assert len(set(names)) == len(names)


def test_desc_stays_behind_seg():
    stem = derivative_stem((("sub", "1"), ("desc", "x"), ("acq", "a"), ("res", "hi")))
    assert derivative_name(stem, "seg-muscle_mfi.tsv") == (
        "sub-1_acq-a_seg-muscle_res-hi_desc-x_mfi.tsv"
    )


def test_page_of_participant_and_of_session():
    assert page_path(Path("o"), "01") == Path("o/sub-01.html")
    assert page_path(Path("o"), "01", "02") == Path("o/sub-01_ses-02.html")


def test_uri_of_a_name_with_a_space_is_quoted():
    assert bids_uri(Path("/d/sub-1/a b.nii"), Path("/d")) == "bids:raw:sub-1/a%20b.nii"


# --- writing -----------------------------------------------------------------------------------


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert files_below(tmp_path) == {"a/b/c.txt": b"two"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "writable"),
        (errno.EACCES, "permission to write"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_failed_write_keeps_the_old_content(tmp_path, monkeypatch, call, number, remedy):
    path = tmp_path / "table.tsv"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OutputError, match=remedy) as caught:
        write_atomically(path, b"new")
    assert str(path) in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_below(tmp_path) == {"table.tsv": b"old"}


def test_interrupt_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"1")
    assert files_below(tmp_path) == {}


def test_write_beyond_a_real_limit_of_the_system(tmp_path):
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from bids_mfi.storage import write_atomically\n"
        "from bids_mfi.errors import OutputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_atomically(Path(sys.argv[1]), bytes(5000))\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "big")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "no file of this size" in output
    assert files_below(tmp_path) == {}


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "sub-01").write_bytes(b"")
    with pytest.raises(OutputError, match="There is a file where a folder is needed"):
        write_atomically(tmp_path / "sub-01" / "anat" / "x.json", b"1")


def test_target_that_is_a_folder(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(OutputError, match="There is a folder where a file is needed"):
        write_atomically(tmp_path / "x.json", b"1")
    assert files_below(tmp_path) == {}


def _write_many_times(path, letter):
    for size in range(1, 40):
        write_atomically(path, letter * size * 1000)


def test_readers_never_see_half_a_file_of_parallel_writers(tmp_path):
    path = tmp_path / "shared"
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=_write_many_times, args=(path, x)) for x in (b"a", b"b", b"c")]
    for job in jobs:
        job.start()
    seen = 0
    while any(job.is_alive() for job in jobs):
        if path.exists():
            content = path.read_bytes()
            assert content
            assert len(set(content)) == 1
            assert len(content) % 1000 == 0
            seen += 1
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert seen
    assert list(files_below(tmp_path)) == ["shared"]


def _leave_partial(path):
    """Write in a process that is killed when the data are on the disk but not renamed."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from bids_mfi.storage import write_atomically\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(Path(sys.argv[1]), b'half')\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -9


def test_partial_of_a_killed_process_is_removed(tmp_path):
    path = tmp_path / "x.json"
    write_atomically(path, b"old")
    _leave_partial(path)
    assert len(files_below(tmp_path)) == 2
    assert len(remove_stale_partials(tmp_path)) == 1
    assert files_below(tmp_path) == {"x.json": b"old"}


def test_partials_of_living_and_foreign_writers_stay(tmp_path):
    host = storage.host_name()
    living = tmp_path / f".x.json.{host}-{os.getpid()}-0a1b2c3d.partial"
    foreign = tmp_path / ".x.json.elsewhere-1-0a1b2c3d.partial"
    for path in (living, foreign):
        path.write_bytes(b"")
    assert remove_stale_partials(tmp_path) == []
    assert remove_stale_partials(tmp_path, ["y.json"]) == []
    os.utime(foreign, (1e9, 1e9))
    assert remove_stale_partials(tmp_path) == [foreign]
    assert remove_stale_partials(tmp_path, ["x.json"]) == [living]
    assert remove_stale_partials(tmp_path / "missing") == []


def test_partial_removed_by_another_job_is_written_again(tmp_path, monkeypatch):
    replace, removed = os.replace, []

    def remove_first(source, target):
        if not removed:
            removed.append(source)
            Path(source).unlink()
        replace(source, target)

    monkeypatch.setattr(os, "replace", remove_first)
    write_atomically(tmp_path / "a", b"1")
    assert files_below(tmp_path) == {"a": b"1"}


# --- the dataset -------------------------------------------------------------------------------


def write_description(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_description.json").write_text(json.dumps(content))


@pytest.mark.parametrize("inside", ["derivatives/bids_mfi", "derivatives", "../out", "../b-copy"])
def test_output_dirs_that_are_fine(tmp_path, inside):
    bids_dir = tmp_path / "b"
    write_description(bids_dir, Name="raw", BIDSVersion="1.11.1")
    check_output_dir(bids_dir, bids_dir / inside)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("b", "BIDS_DIR itself"),
        ("b/derivatives/..", "BIDS_DIR itself"),
        ("b/sub-01", "images of a participant"),
        ("b/sub-01/ses-1/out", "images of a participant"),
        ("link", "BIDS_DIR itself"),
        ("file", "is a file"),
        ("foreign", "made by fMRIPrep"),
        ("raw", "made by no program"),
        ("broken", "cannot be read"),
        ("list", "cannot be read"),
    ],
)
def test_output_dirs_that_are_refused(tmp_path, output, message):
    bids_dir = tmp_path / "b"
    (bids_dir / "derivatives").mkdir(parents=True)
    (tmp_path / "link").symlink_to(bids_dir)
    (tmp_path / "file").write_text("")
    write_description(tmp_path / "foreign", GeneratedBy=[{"Name": "fMRIPrep"}])
    write_description(tmp_path / "raw", Name="another raw dataset")
    for name, text in (("broken", '{"Name": '), ("list", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset_description.json").write_text(text)
    before = files_below(tmp_path)
    with pytest.raises(OutputError, match=message):
        check_output_dir(bids_dir, tmp_path / output)
    with pytest.raises(OutputError, match=message):
        write_dataset_files(tmp_path / output, bids_dir, WEBER2021, BUNDLE)
    assert files_below(tmp_path) == before


def test_dataset_files_say_who_made_them_from_what(tmp_path):
    bids_dir, output_dir = tmp_path / "b", tmp_path / "b" / "derivatives" / "mfi"
    write_description(bids_dir, Name="raw", DatasetDOI="doi:10.0/x")
    write_dataset_files(output_dir, bids_dir, WEBER2021, BUNDLE)
    found = read_json(output_dir / "dataset_description.json")
    assert found["DatasetType"] == "derivative"
    assert found["DatasetLinks"] == {"raw": "../.."}
    assert found["SourceDatasets"] == [{"DOI": "doi:10.0/x", "URL": "../.."}]
    assert found["GeneratedBy"][0]["Name"] == "bids_mfi"
    assert found["GeneratedBy"][0]["Version"] == __version__
    assert found["GeneratedBy"][1]["Version"] == "1.2"
    assert BUNDLE.sha256 in found["GeneratedBy"][1]["Description"]
    assert set(files_below(output_dir)) == {
        ".bidsignore", "CITATION.md", "README.md", "dataset_description.json",
        "seg-muscle_dseg.json", "seg-muscle_dseg.tsv",
    }  # fmt: skip
    assert "not a medical device" in (output_dir / "README.md").read_text()


def test_link_to_the_raw_data_leads_there_from_a_linked_output(tmp_path):
    bids_dir, output_dir = tmp_path / "b", tmp_path / "link"
    (tmp_path / "far" / "away" / "o").mkdir(parents=True)
    bids_dir.mkdir()
    output_dir.symlink_to(tmp_path / "far" / "away" / "o")
    write_dataset_files(output_dir, bids_dir, WEBER2021, BUNDLE)
    link = read_json(output_dir / "dataset_description.json")["DatasetLinks"]["raw"]
    assert os.path.samefile(output_dir / link, bids_dir)


def test_dataset_files_twice_change_nothing_and_write_nothing(tmp_path, monkeypatch):
    write_dataset_files(tmp_path / "o", tmp_path, WEBER2021, BUNDLE)
    before = files_below(tmp_path)
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("wrote again"))
    write_dataset_files(tmp_path / "o", tmp_path, WEBER2021, BUNDLE)
    assert files_below(tmp_path) == before


def test_what_a_user_changed_in_the_dataset_files_stays(tmp_path):
    output_dir = tmp_path / "o"
    write_dataset_files(output_dir, tmp_path, WEBER2021, BUNDLE)
    path = output_dir / "dataset_description.json"
    path.write_text(json.dumps(read_json(path) | {"Name": "mine", "Authors": ["A"]}))
    (output_dir / "README.md").write_text("my notes")
    with (output_dir / ".bidsignore").open("a") as file:
        file.write("extra.txt\n")
    newer = dataclasses.replace(BUNDLE, version="2")
    write_dataset_files(output_dir, tmp_path, WEBER2021, newer)
    found = read_json(path)
    assert (found["Name"], found["Authors"]) == ("mine", ["A"])
    assert found["GeneratedBy"][1]["Version"] == "2"
    assert (output_dir / "README.md").read_text() == "my notes"
    assert (output_dir / ".bidsignore").read_text().splitlines().count("extra.txt") == 1


def test_labels_with_other_numbers_are_not_mixed(tmp_path):
    write_dataset_files(tmp_path / "o", tmp_path, WEBER2021, BUNDLE)
    first, second = WEBER2021.muscles[:2]
    swapped = (
        dataclasses.replace(first, name=second.name),
        dataclasses.replace(second, name=first.name),
    )
    table = MuscleTable((*swapped, *WEBER2021.muscles[2:]))
    with pytest.raises(OutputError, match="numbered differently"):
        write_dataset_files(tmp_path / "o", tmp_path, table, BUNDLE)


def _write_dataset(output_dir, bids_dir):
    write_dataset_files(output_dir, bids_dir, WEBER2021, BUNDLE)


def test_many_jobs_write_the_dataset_files_at_once(tmp_path):
    write_dataset_files(tmp_path / "alone", tmp_path, WEBER2021, BUNDLE)
    context = multiprocessing.get_context("spawn")
    arguments = (tmp_path / "many", tmp_path)
    jobs = [context.Process(target=_write_dataset, args=arguments) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0, 0]
    assert files_below(tmp_path / "many") == files_below(tmp_path / "alone")


def test_label_table_has_numbers_sides_and_colours(tmp_path):
    write_dataset_files(tmp_path / "o", tmp_path, WEBER2021, BUNDLE)
    lines = (tmp_path / "o" / "seg-muscle_dseg.tsv").read_text().splitlines()
    assert lines[0].split("\t") == [
        "index", "name", "abbreviation", "color", "muscle", "hemi", "levels"
    ]  # fmt: skip
    assert lines[12].split("\t") == [
        "12", "left_trapezius", "TR_L", "#62dbe3", "TR", "L", "C6"
    ]  # fmt: skip
    described = read_json(tmp_path / "o" / "seg-muscle_dseg.json")
    assert set(lines[0].split("\t")) <= described.keys()


# --- a scan ------------------------------------------------------------------------------------


def test_every_column_is_described_and_starts_as_designed():
    columns = [field.name for field in dataclasses.fields(MuscleMeasure)]
    assert [column.name for column in MUSCLE_COLUMNS] == columns
    assert columns[:11] == [
        "index", "name", "muscle", "hemi", "voxels", "volume_ml", "fat_mean", "water_mean",
        "mfi_percent", "mfi_voxelwise_percent", "mfi_median_percent",
    ]  # fmt: skip
    for name, described in describe_result_columns(MUSCLE_COLUMNS).items():
        assert len(described["Description"]) > 10
        assert ("Units" in described) == (
            name in ("voxels", "signal_voxels") or name.endswith(("_ml", "_mean", "_percent"))
        )
        assert described.get("Units") == "percent" or not name.endswith("_percent")


def test_scan_is_written_and_read_back(tmp_path):
    record, results = make_record(tmp_path / "b"), make_results()
    paths = save_scan(tmp_path / "o", record, results)
    assert sorted(files_below(tmp_path / "o")) == sorted(
        path.relative_to(tmp_path / "o").as_posix()
        for path in (*paths.files, paths.figure("labels"))
    )
    labels, grid = read_labels(paths.dseg)
    assert grid == GRID
    assert np.array_equal(labels, make_measures()[0])
    for found, given in zip(read_measures(paths.mfi_tsv), results.measures, strict=True):
        for name, value in dataclasses.asdict(given).items():
            back = getattr(found, name)
            assert type(back) is type(value)
            assert back == value or (math.isnan(back) and math.isnan(value)), name
    flags = read_marker(paths.mfi_json).flags
    assert flags[0] == results.flags[0]
    assert math.isnan(flags[1].value)
    assert (flags[1].muscle, flags[1].severity) == ("TR_R", "info")


def test_slices_are_written_described_and_read_back(tmp_path):
    labels, _ = make_measures()
    water, fat = np.ones(GRID.shape), np.zeros(GRID.shape)
    water[labels == 2] = 0  # without signal
    slices = tuple(measure_slices(labels, water, fat, GRID, WEBER2021))
    results = dataclasses.replace(make_results(), slices=slices)
    paths = save_scan(tmp_path / "o", make_record(tmp_path / "b"), results)
    found = read_slices(paths.slices_tsv)
    assert len(found) == len(slices) > 13
    for one, given in zip(found, slices, strict=True):
        for name, value in dataclasses.asdict(given).items():
            back = getattr(one, name)
            assert type(back) is type(value)
            assert back == value or (math.isnan(back) and math.isnan(value)), name
    assert {math.isnan(one.mfi_percent) for one in found if one.index == 2} == {True}
    columns = [field.name for field in dataclasses.fields(SliceMeasure)]
    assert [column.name for column in SLICE_COLUMNS] == columns
    described = read_json(paths.slices_json)
    assert set(columns) < described.keys()
    assert described["position_mm"]["Units"] == "mm"
    assert described["Sources"] == read_json(paths.mfi_json)["Sources"]


def test_a_scan_without_a_label_has_a_table_of_slices_without_rows(tmp_path):
    paths = save_scan(tmp_path / "o", make_record(tmp_path / "b"), make_results())
    assert len(paths.slices_tsv.read_text().splitlines()) == 1
    assert read_slices(paths.slices_tsv) == []
    paths.slices_tsv.write_text("index\tmuscle\n1\tTR\n")
    with pytest.raises(DatasetError, match=re.escape(str(paths.slices_tsv))):
        read_slices(paths.slices_tsv)


@pytest.mark.parametrize("lost", ["mfi_eroded1_percent", "mfi_percent"])
def test_a_table_of_an_earlier_version_lacks_the_later_columns(tmp_path, lost):
    paths = save_scan(tmp_path / "o", make_record(tmp_path / "b"), make_results())
    table = pd.read_csv(paths.mfi_tsv, sep="\t", dtype=str, keep_default_na=False)
    table.drop(columns=lost).to_csv(paths.mfi_tsv, sep="\t", index=False)
    if lost == "mfi_percent":
        with pytest.raises(DatasetError, match="mfi_percent"):
            read_measures(paths.mfi_tsv)
        return
    for found, given in zip(read_measures(paths.mfi_tsv), make_results().measures, strict=True):
        assert math.isnan(found.mfi_eroded1_percent)
        assert (found.index, found.above_ff10_percent) == pytest.approx(
            (given.index, given.above_ff10_percent), nan_ok=True
        )


def test_missing_is_written_as_na_and_zero_as_zero(tmp_path):
    paths = save_scan(tmp_path / "o", make_record(tmp_path / "b"), make_results())
    header, *lines = paths.mfi_tsv.read_text().splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    absent, empty, lean = rows[13], rows[1], rows[2]
    assert (absent["extent"], absent["voxels"]) == ("absent", "0")
    for name in ("volume_ml", "fat_mean", "mfi_percent", "mfi_median_percent"):
        assert absent[name] == "n/a"
    assert (empty["voxels"], empty["signal_voxels"], empty["mfi_percent"]) == ("6", "0", "n/a")
    assert (lean["fat_mean"], lean["mfi_percent"]) == ("0.0", "0.0")
    assert float(rows[0]["mfi_percent"]) > 0


def test_floats_keep_every_digit():
    values = [1 / 3, 1e-17, 123456789.123456789, float(np.float32(0.1)), np.float64(2) / 3]
    text = encode_table(["x"], [{"x": value} for value in values]).decode()
    assert [float(cell) for cell in text.split()[1:]] == values


def test_sidecars_tell_the_origin(tmp_path):
    record = make_record(tmp_path / "b")
    paths = save_scan(tmp_path / "o", record, make_results())
    raw = "bids:raw:sub-01/anat/sub-01_ses-a_acq-dixon"
    sources = [f"{raw}_inphase.nii.gz", f"{raw}_outphase.nii.gz"]
    for path in (paths.dseg_json, paths.ffmap_json, paths.mfi_json):
        found = read_json(path)
        assert found["Sources"] == sources
        assert found["Bundle"] == {
            "Name": "tiny",
            "Version": "1.2",
            "SHA256": BUNDLE.sha256,
            "Mirrored": True,
            "Description": "Made for tests.",
        }
        assert found["Software"] == {"Name": "bids_mfi", "Version": __version__}
    table = read_json(paths.mfi_json)
    assert describe_result_columns(MUSCLE_COLUMNS).items() <= table.items()
    assert table["EchoTimesMs"] == {"InPhase": 2.46, "OutPhase": 1.23}
    assert table["MagneticFieldStrength"] == 3.0
    assert table["FatWater"] == "computed"
    assert table["QCFlags"][1]["value"] is None
    fraction = read_json(paths.ffmap_json)
    assert (fraction["Units"], fraction["SkullStripped"]) == ("percent", False)
    assert "NaN" in fraction["Description"]
    assert read_json(paths.dseg_json)["Manual"] is False


def test_fat_fraction_of_the_scanner_names_the_scanners_images(tmp_path):
    record = make_record(tmp_path / "b", "scanner")
    assert [uri.rsplit("_", 1)[1] for uri in describe_ffmap(record)["Sources"]] == [
        "water.nii.gz", "fat.nii.gz"
    ]  # fmt: skip
    assert "scanner" in describe_ffmap(record)["Description"]


def test_the_marker_is_written_last_and_removed_first(tmp_path, monkeypatch):
    record, results = make_record(tmp_path / "b"), make_results()
    paths = scan_paths(tmp_path / "o", record.pair)
    order = []

    def note(path, data):
        assert not paths.mfi_json.exists()
        order.append(path)
        write_atomically(path, data)

    monkeypatch.setattr(saved_scans, "write_atomically", note)
    for _ in range(2):
        order.clear()
        save_scan(tmp_path / "o", record, results)
        assert order[-1] == paths.mfi_json
        assert set(order) == {*paths.files, paths.figure("labels")}


def test_scan_that_could_not_be_written_whole_counts_as_missing(tmp_path, monkeypatch):
    record, results = make_record(tmp_path / "b"), make_results()
    paths = save_scan(tmp_path / "o", record, results)
    fsync, calls = os.fsync, []

    def fill_disk(number):
        calls.append(number)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    monkeypatch.setattr(os, "fsync", fill_disk)
    with pytest.raises(OutputError, match="disk is full"):
        save_scan(tmp_path / "o", record, results)
    assert scan_state(paths, record.fingerprint) == "missing"
    assert not list((tmp_path / "o").rglob("*.partial"))
    monkeypatch.undo()
    save_scan(tmp_path / "o", record, results)
    assert scan_state(paths, record.fingerprint) == "current"


def test_saving_clears_what_a_killed_run_left(tmp_path):
    record, results = make_record(tmp_path / "b"), make_results()
    paths = save_scan(tmp_path / "o", record, results)
    before = files_below(tmp_path / "o")
    for path in (paths.ffmap, paths.figure("labels")):
        _leave_partial(path)
    (paths.dseg.parent / f".{paths.dseg.name}.elsewhere-1-00000000.partial").write_bytes(b"x")
    assert len(files_below(tmp_path / "o")) == len(before) + 3
    save_scan(tmp_path / "o", record, results)
    assert files_below(tmp_path / "o") == before


def test_output_is_the_same_at_every_run_and_place(tmp_path):
    for place in ("one", "two"):
        record = make_record(tmp_path / place / "b")
        write_dataset_files(tmp_path / place / "o", tmp_path / place / "b", WEBER2021, BUNDLE)
        save_scan(tmp_path / place / "o", record, make_results())
    one, two = (files_below(tmp_path / place / "o") for place in ("one", "two"))
    assert one == two
    assert not any(str(tmp_path).encode() in content for content in one.values())


def test_state_of_a_scan(tmp_path):
    record = make_record(tmp_path / "b")
    paths = scan_paths(tmp_path / "o", record.pair)
    assert scan_state(paths, record.fingerprint) == "missing"
    save_scan(tmp_path / "o", record, make_results())
    assert scan_state(paths, record.fingerprint) == "current"
    assert scan_state(paths, "0" * 64) == "different"
    for path in (*paths.files, paths.figure("labels")):
        content = path.read_bytes()
        path.unlink()
        assert scan_state(paths, record.fingerprint) == "missing"
        path.write_bytes(content)
    for damaged in ('{"Fingerprint": ', "{}", '{"Figures": null}'):
        paths.mfi_json.write_text(damaged)
        assert scan_state(paths, record.fingerprint) == "missing"


def test_state_of_a_scan_whose_files_were_changed(tmp_path):
    record = make_record(tmp_path / "b")
    paths = save_scan(tmp_path / "o", record, make_results())
    for path in (*paths.files[:-1], paths.figure("labels")):
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        assert scan_state(paths, record.fingerprint) == "altered"
        assert find_altered(paths) == [path]
        assert str(path) in explain_altered(paths)
        path.write_bytes(content)
    assert scan_state(paths, record.fingerprint) == "current"
    assert explain_altered(paths) == ""


def test_a_changed_label_map_counts_although_other_files_are_missing(tmp_path):
    """Somebody who corrected it may remove the table, so that it is made again."""
    record = make_record(tmp_path / "b")
    paths = save_scan(tmp_path / "o", record, make_results())
    paths.dseg.write_bytes(b"corrected")
    paths.mfi_tsv.unlink()
    assert scan_state(paths, record.fingerprint) == "altered"


def test_a_marker_changed_by_hand_is_noticed(tmp_path):
    record = make_record(tmp_path / "b")
    paths = save_scan(tmp_path / "o", record, make_results())
    content = json.loads(paths.mfi_json.read_text())
    paths.mfi_json.write_text(json.dumps(content, indent=4))
    assert scan_state(paths, record.fingerprint) == "current", "the layout is not the content"
    paths.mfi_json.write_text(json.dumps(content | {"QCFlags": []}))
    assert scan_state(paths, record.fingerprint) == "altered"
    assert find_altered(paths) == [paths.mfi_json]
    with pytest.raises(DatasetError, match="was edited, or damaged"):
        read_marker(paths.mfi_json)


def test_a_marker_of_an_earlier_version_has_no_checksum(tmp_path):
    record = make_record(tmp_path / "b")
    paths = save_scan(tmp_path / "o", record, make_results())
    content = json.loads(paths.mfi_json.read_text())
    del content[SEAL]
    paths.mfi_json.write_text(json.dumps(content))
    assert scan_state(paths, record.fingerprint) == "unsealed"
    assert scan_state(paths, "0" * 64) == "different"
    assert len(read_marker(paths.mfi_json).flags) == 2


def places_of(value, path=()):
    """Every place in a document, as the keys and numbers that lead there."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_of(inner, (*path, key))


def put_at(content, place, value):
    """Put a value at a place of a document; ABSENT takes the place away."""
    if not place:
        return {} if value is ABSENT else value
    changed = json.loads(json.dumps(content))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    if value is ABSENT:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return changed


ABSENT = object()
WRONG = [ABSENT, None, True, 5, -1, 10**400, 1e999, math.nan, "", "x", "\ud800", "bids:raw:%00",
         [], [1], [None], {}, {"a": 1}, [[[[]]]]]  # fmt: skip


@pytest.mark.parametrize("sealed", [False, True])
def test_no_value_of_a_marker_gives_anything_but_a_sentence(tmp_path, sealed):
    """Every key with values of every type, with the old checksum and with one that fits."""
    record = make_record(tmp_path / "b")
    paths = save_scan(tmp_path / "o", record, make_results())
    whole = json.loads(paths.mfi_json.read_text())
    columns = describe_result_columns(MUSCLE_COLUMNS).keys()
    places = [place for place in places_of(whole) if not {*place} & columns]
    assert len(places) > 40
    for place in places:
        for value in WRONG:
            content = put_at(whole, place, value)
            if sealed and isinstance(content, dict):
                content = seal({key: each for key, each in content.items() if key != SEAL})
            paths.mfi_json.write_text(json.dumps(content))
            if content == whole:
                continue
            assert scan_state(paths, record.fingerprint) != "current" or sealed
            with contextlib.suppress(DatasetError):
                read_marker(paths.mfi_json).make_record(tmp_path)


# --- an edited label map -----------------------------------------------------------------------


def test_an_edited_label_map_is_kept_when_the_scan_is_done_again(tmp_path):
    record, output = make_record(tmp_path / "b"), tmp_path / "o"
    paths = save_scan(output, record, make_results())
    for number, folder in enumerate(("edited", "edited-2")):
        edited = f"corrected {number}".encode()
        paths.dseg.write_bytes(edited)
        save_scan(output, record, make_results())
        copy = output / folder / paths.dseg.relative_to(output)
        assert copy.read_bytes() == edited
        assert scan_state(paths, record.fingerprint) == "current"
    assert len(find_edited_copies(output, paths)) == 2
    paths.dseg.write_bytes(edited)
    save_scan(output, record, make_results())
    assert len(find_edited_copies(output, paths)) == 2, "it is there already"


def test_a_label_map_that_is_as_it_was_written_is_not_kept(tmp_path):
    record, output = make_record(tmp_path / "b"), tmp_path / "o"
    paths = save_scan(output, record, make_results())
    other = dataclasses.replace(make_results(), dseg=b"of another model")
    save_scan(output, record, other)
    save_scan(output, record, make_results())
    assert find_edited_copies(output, paths) == []


def test_an_edited_label_map_is_kept_although_the_marker_is_gone(tmp_path):
    record, output = make_record(tmp_path / "b"), tmp_path / "o"
    paths = save_scan(output, record, make_results())
    paths.mfi_json.unlink()
    save_scan(output, record, make_results())
    assert find_edited_copies(output, paths) == [], "what a killed run left is the same"
    paths.mfi_json.unlink()
    paths.dseg.write_bytes(b"corrected")
    save_scan(output, record, make_results())
    assert len(find_edited_copies(output, paths)) == 1


def test_an_edited_label_map_that_cannot_be_copied_stays(tmp_path):
    record, output = make_record(tmp_path / "b"), tmp_path / "o"
    paths = save_scan(output, record, make_results())
    paths.dseg.write_bytes(b"corrected")
    (output / "edited").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="edited"):
        save_scan(output, record, make_results())
    assert paths.dseg.read_bytes() == b"corrected"
    assert scan_state(paths, record.fingerprint) == "altered"


# --- strays ------------------------------------------------------------------------------------


def test_only_files_named_like_a_scan_are_markers(tmp_path):
    record, output = make_record(tmp_path / "b"), tmp_path / "o"
    paths = save_scan(output, record, make_results())
    name = paths.mfi_json.name
    strays = [
        f"Copy of {name}",
        f"._{name}",
        name.replace("_seg-", " (1)_seg-"),
        name.replace("_seg-", " (A's conflicted copy 2026-01-02)_seg-"),
        name.replace("sub-01", "sub-02"),
        name.replace("sub-01_", "sub-01_sub-01_"),
        "sub-01_mfi.json",
        "_mfi.json",
    ]
    for stray in strays:
        (paths.mfi_json.parent / stray).write_text('{"Files": 5}')
    for other in (f"{name}~", f"{name}.bak", name.replace(".json", " (1).json")):
        (paths.mfi_json.parent / other).touch()
    markers, found = find_markers(output, "01")
    assert markers == [paths.mfi_json]
    assert sorted(path.name for path in found) == sorted(strays)


def test_a_named_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    record = make_record(tmp_path / "b")
    paths = save_scan(tmp_path / "o", record, make_results())
    for path, expected in ((paths.mfi_json, "missing"), (paths.dseg, "missing")):
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        assert scan_state(paths, record.fingerprint) == expected
        save_scan(tmp_path / "o", record, make_results())
        assert path.read_bytes() == content


def test_fingerprint_changes_with_all_that_decides_the_result(tmp_path, monkeypatch):
    pair = make_pair(tmp_path)

    def mark(pair=pair, **changes):
        return fingerprint_of(pair, tmp_path, **changes)

    marks = [mark(), mark(identity="1"), mark(fat_water="scanner")]
    marks.append(mark(dataclasses.replace(pair, echo_times_ms=(2.46, 3.69))))
    marks.append(mark(dataclasses.replace(pair, in_phase=pair.out_phase)))
    pair.out_phase.write_bytes(b"changed")
    marks.append(mark())
    monkeypatch.setattr(scan_files, "__version__", "9")
    marks.append(mark())
    assert len(set(marks)) == len(marks)


def test_fingerprint_ignores_images_that_are_not_used(tmp_path):
    pair = make_pair(tmp_path)
    first = {kind: fingerprint_of(pair, tmp_path, kind) for kind in ("computed", "scanner")}
    pair.fat.write_bytes(b"changed")
    assert fingerprint_of(pair, tmp_path) == first["computed"]
    assert fingerprint_of(pair, tmp_path, "scanner") != first["scanner"]


def test_fingerprint_of_an_unreadable_image_names_it(tmp_path):
    pair = make_pair(tmp_path)
    pair.in_phase.unlink()
    with pytest.raises(PairError, match=str(pair.in_phase)):
        fingerprint_of(pair, tmp_path)


@pytest.mark.parametrize("text", ["", "index\tname\n1\tx\n", None])
def test_damaged_table_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "x_mfi.tsv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DatasetError, match=path.name):
        read_measures(path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"QCFlags": [{"code": 1}]}', None])
def test_damaged_sidecar_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "x_mfi.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DatasetError, match=path.name):
        read_marker(path)


def test_json_has_sorted_keys_and_no_nan():
    assert encode_json({"b": [math.inf], "a": (1, np.float64(0.5))}) == (
        b'{\n  "a": [\n    1,\n    0.5\n  ],\n  "b": [\n    null\n  ]\n}\n'
    )


# --- the validator -----------------------------------------------------------------------------


def validate(folder):
    program = Path(sys.executable).parent / "bids-validator-deno"
    command = [str(program), str(folder), "--format", "json"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    issues = json.loads(output)["issues"]["issues"]
    return [
        (issue["code"], issue.get("subCode"), issue.get("location"))
        for issue in issues
        if issue["severity"] == "error"
    ]


def test_validator_finds_no_error(tmp_path):
    output_dir, bids_dir = tmp_path / "o", tmp_path / "b"
    write_dataset_files(output_dir, bids_dir, WEBER2021, BUNDLE)
    for entities in (
        (("sub", "01"), ("ses", "a"), ("acq", "dixon")),
        (("sub", "01"), ("ses", "b"), ("acq", "dixon"), ("rec", "x"), ("run", "01")),
        (("sub", "02"), ("ce", "gd"), ("run", "2"), ("part", "mag"), ("chunk", "1")),
        (("sub", "02"), ("acq", "a"), ("echo", "1")),
        (("sub", "02"), ("acq", "b"), ("stk", "1")),
        (("sub", "02"), ("acq", "c"), ("dir", "x"), ("inv", "1"), ("mt", "on"), ("flip", "1")),
    ):
        pair = make_pair(bids_dir, *entities)
        save_scan(output_dir, ScanRecord(pair, bids_dir, BUNDLE, "scanner"), make_results())
    write_atomically(page_path(output_dir, "01", "a"), b"<p>")
    write_atomically(output_dir / "group_mfi.tsv", b"participant_id\n")
    write_atomically(output_dir / "group" / "figures" / "x.png", b"")
    write_atomically(output_dir / "logs" / "x_error.txt", b"")
    (output_dir / ".README.md.elsewhere-1-00000000.partial").write_bytes(b"")
    assert validate(output_dir) == []
    (output_dir / "sub-01" / "unknown.txt").write_text("")
    assert validate(output_dir)
