"""The folders that other tests take for an output of the participant level are like one."""

import pandas as pd
import pytest
from group_expected import read_expected, read_variant
from group_folder import (
    BUNDLE,
    OTHER_BUNDLE,
    make_group_folder,
    make_large_folder,
    repeat_runs,
    split_scans,
)

from bids_mfi.bids.names import page_path, scan_paths
from bids_mfi.bids.saved_scans import scan_state
from bids_mfi.bids.scan_results import read_marker, read_measures
from bids_mfi.reading import read_json


def markers(output_dir):
    return sorted(output_dir.rglob("*_mfi.json"))


def test_a_scan_is_complete_and_holds_the_values(tmp_path):
    tables = read_variant("missing")
    bids_dir, output_dir = make_group_folder(tmp_path, tables["muscles"], tables["participants"])
    rows = split_scans(tables["muscles"])
    assert len(markers(output_dir)) == len(rows) == 42
    for marker in markers(output_dir):
        record = read_marker(marker).make_record(bids_dir)
        paths = scan_paths(output_dir, record.pair)
        assert scan_state(paths, record.fingerprint) == "current"
        own = rows[record.pair.participant, "", ""].set_index(["muscle", "hemi"])
        measures = read_measures(paths.mfi_tsv)
        assert len(measures) == len(own)
        for one in measures:
            found = [one.mfi_percent, one.volume_ml]
            expected = own.loc[(one.muscle, one.hemi), ["mfi_percent", "volume_ml"]].tolist()
            assert found == pytest.approx(expected, abs=0, nan_ok=True)
        assert page_path(output_dir, record.pair.participant).is_file()
    written = pd.read_csv(bids_dir / "participants.tsv", sep="\t")
    assert list(written) == ["participant_id", "sex", "age", "height", "weight"]
    assert len(written) == 42


def test_sessions_runs_and_bundles(tmp_path):
    tables = read_variant("sessions")
    muscles = repeat_runs(tables["muscles"], runs=2, sd_percent=0.3, seed=1)
    bids_dir, output_dir = make_group_folder(
        tmp_path, muscles, tables["participants"], tables["sessions"], (BUNDLE, OTHER_BUNDLE)
    )
    folder = output_dir / "sub-01" / "ses-02" / "anat"
    names = sorted(path.name for path in folder.glob("*_mfi.tsv"))
    stems = [f"sub-01_ses-02_acq-dixon_run-{run}_seg-muscle_mfi" for run in (1, 2)]
    assert names == [f"{stem}.tsv" for stem in stems]
    versions = [
        read_json(folder / f"{stem}.json")["Bundle"]["Version"] for stem in stems
    ]  # fmt: skip
    assert versions == ["1.0", "2.0"]
    assert (output_dir / "sub-01_ses-02.html").is_file()
    assert (output_dir / "sub-08.html").is_file()  # was there for one session only
    own = pd.read_csv(bids_dir / "sub-01" / "sub-01_sessions.tsv", sep="\t")
    assert list(own) == ["session_id", "age", "weight"]
    assert own["session_id"].tolist() == ["ses-01", "ses-02"]
    assert not (bids_dir / "sub-06" / "sub-06_sessions.tsv").exists()


def test_minimal_folder_has_tables_of_four_columns_and_nothing_else(tmp_path):
    tables = read_variant("missing")
    bids_dir, output_dir = make_group_folder(tmp_path, tables["muscles"], None, minimal=True)
    files = [path for path in output_dir.rglob("*") if path.is_file()]
    assert len(files) == 42
    assert all(path.name.endswith("_acq-dixon_seg-muscle_mfi.tsv") for path in files)
    table = pd.read_csv(files[0], sep="\t")
    assert list(table) == ["muscle", "hemi", "volume_ml", "mfi_percent"]
    assert [path.name for path in bids_dir.iterdir()] == ["dataset_description.json"]


def test_large_folder_is_like_one_of_the_real_writer(tmp_path):
    bids_dir, output_dir = make_large_folder(tmp_path, sessions=5, seed=3)
    assert len(markers(output_dir)) == 5
    for marker in markers(output_dir):
        record = read_marker(marker).make_record(bids_dir)
        paths = scan_paths(output_dir, record.pair)
        assert paths.mfi_json == marker
        assert scan_state(paths, record.fingerprint) == "current"
        assert len(read_measures(paths.mfi_tsv)) == 14
        assert page_path(output_dir, record.pair.participant, record.pair.session).is_file()
    first, second = (read_measures(m.with_suffix(".tsv")) for m in markers(output_dir)[:2])
    assert first != second
    people = pd.read_csv(bids_dir / "participants.tsv", sep="\t")
    assert people["participant_id"].tolist() == ["sub-000001", "sub-000002", "sub-000003"]


def test_cohorts_have_in_them_what_they_are_made_for():
    missing = read_variant("missing")
    people, rows = missing["participants"], missing["muscles"]
    assert {"female", "Male", " F", "m "} <= set(people["sex"].dropna())
    assert set(rows["participant_id"]) - set(people["participant_id"]) == {"sub-11", "sub-37"}
    assert set(people["participant_id"]) - set(rows["participant_id"]) == {"sub-20", "sub-41"}
    assert people[["age", "weight", "sex"]].isna().sum().tolist() == [1, 1, 1]
    counts = {
        rule: read_expected(f"missing_{rule}")["sphericity"]["n"][0]
        for rule in ("both", "complete", "any")
    }
    assert counts["both"] == counts["complete"] < counts["any"]
    listed = [set(read_expected(f"missing_{rule}")["pairedt"]["n"]) for rule in counts]
    assert listed[1] == {counts["complete"]}
    assert len(listed[0]) > 1
