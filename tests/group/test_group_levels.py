"""Tables by vertebral level at the group level: collected, described, left out where changed."""

import csv
import json
from dataclasses import replace

import pandas as pd
import pytest
from group_folder import BUNDLE, TINY_IMAGE, make_measures, make_record, write_raw
from simulated_group import simulate_cohort

from bids_mfi.bids.names import scan_paths
from bids_mfi.bids.output_folder import write_dataset_files
from bids_mfi.bids.saved_scans import save_scan
from bids_mfi.bids.scan_files import ScanResults
from bids_mfi.bids.scan_results import read_measures
from bids_mfi.cli.app import main
from bids_mfi.measure.levels import LevelMeasure
from bids_mfi.muscles import WEBER2021
from bids_mfi.vertebrae import MEASURED_LEVELS, VERTEBRAE

pytestmark = pytest.mark.usefixtures("no_figures")
NAN = float("nan")


def make_levels(value):
    """Every row of a scan; TR_L at C3 was not found."""
    scopes = [("paper", "C4-C6"), *(("level", name) for name in MEASURED_LEVELS)]
    rows = [
        LevelMeasure(scope, levels, m.index, m.muscle, m.hemi, 5, 100, 0.5, 33.0, value, value,
                     "complete")
        for scope, levels in scopes for m in WEBER2021
    ]  # fmt: skip
    lost = dict.fromkeys(("slices", "voxels", "volume_ml", "area_mm2", "mfi_percent",
                          "mfi_median_percent"), NAN)  # fmt: skip
    return tuple(
        replace(row, extent="unknown", **lost)
        if (row.levels, row.muscle, row.hemi) == ("C3", "TR", "L")
        else row
        for row in rows
    )


@pytest.fixture
def study(tmp_path):
    """Six participants; the first five have tables by level."""
    cohort = simulate_cohort(6)
    people = cohort.people.reset_index()
    muscles = pd.DataFrame([
        {"participant_id": who, "muscle": muscle, "hemi": hemi, "mfi_percent": value,
         "volume_ml": 8.0}
        for hemi, side in (("L", cohort.left), ("R", cohort.right))
        for (who, muscle), value in side.stack().items()
    ])  # fmt: skip
    bids_dir, out_dir = tmp_path / "bids", tmp_path / "out"
    write_raw(bids_dir, people, None)
    write_dataset_files(out_dir, bids_dir, WEBER2021, BUNDLE, VERTEBRAE)
    paths = []
    for number, (label, rows) in enumerate(muscles.groupby("participant_id")):
        record = make_record(bids_dir, (("sub", label[4:]), ("acq", "dixon")), BUNDLE)
        levels = {"vertebrae": b"bodies", "levels": make_levels(10.0 + number)}
        results = ScanResults(TINY_IMAGE, TINY_IMAGE, make_measures(rows), ())
        save_scan(out_dir, record, replace(results, **levels) if number < 5 else results)
        paths.append(scan_paths(out_dir, record.pair))
    return bids_dir, out_dir, paths


def run_group(study, capsys):
    status = main([str(study[0]), str(study[1]), "group"])
    return status, capsys.readouterr().err


def read_table(out_dir, name="group_levels.tsv"):
    with (out_dir / name).open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_all_tables_by_level_stand_in_one(study, capsys):
    status, said = run_group(study, capsys)
    assert status == 0
    assert "left out" not in said
    assert "Scans without measures by vertebral level, while others have them (1)" in said
    rows = read_table(study[1])
    assert len(rows) == 5 * 14 * 6
    people = read_table(study[0], "participants.tsv")
    for number, person in enumerate(people[:5]):
        own = [row for row in rows if row["participant_id"] == person["participant_id"]]
        assert {row["mfi_percent"] for row in own} == {str(10.0 + number), "n/a"}
        assert {row["sex"] for row in own} == {person["sex"]}
        (lost,) = [row for row in own if row["mfi_percent"] == "n/a"]
        assert (lost["levels"], lost["muscle"], lost["hemi"]) == ("C3", "TR", "L")
        assert (lost["extent"], lost["voxels"], lost["slices"]) == ("unknown", "n/a", "n/a")
    assert {row["voxels"] for row in rows} == {"100", "n/a"}
    described = json.loads((study[1] / "group_levels.json").read_text())
    assert described["mfi_percent"]["Units"] == "percent"
    assert described["extent"]["Levels"].keys() == {
        "complete", "cut", "absent", "unlabelled", "unknown",
    }  # fmt: skip
    assert all(name in described for name in rows[0])
    assert "group_levels.tsv" in (study[1] / "group.html").read_text()


def test_levels_change_no_other_table(study, capsys):
    run_group(study, capsys)
    with_levels = {path.name: path.read_bytes() for path in study[1].glob("group_*.tsv")}
    for paths in study[2]:
        paths.levels_tsv.unlink(missing_ok=True)
    _, said = run_group(study, capsys)
    without = {path.name: path.read_bytes() for path in study[1].glob("group_*.tsv")}
    assert "Tables by vertebral level that are missing or cannot be read (5)" in said
    assert with_levels.keys() - without.keys() == {"group_levels.tsv"}
    assert not (study[1] / "group_levels.json").exists(), "that of the former run is removed"
    assert all(with_levels[name] == data for name, data in without.items())


@pytest.mark.parametrize("edited", ["vertebrae", "levels_tsv"])
def test_what_was_changed_is_left_out_and_said(study, capsys, edited):
    path = getattr(study[2][0], edited)
    path.write_bytes(path.read_bytes().replace(b"10.0", b"99.0").replace(b"bodies", b"edited"))
    status, said = run_group(study, capsys)
    assert status == 0
    assert "Tables by vertebral level that were changed" in said
    assert study[2][0].levels_tsv.name in said
    assert len(read_table(study[1])) == 4 * 14 * 6
    assert len(read_table(study[1], "group_mfi.tsv")) == 6 * 14, "whole muscles are as they were"


def test_a_damaged_table_costs_its_own_rows_only(study, capsys):
    study[2][1].levels_tsv.write_text("levels\tmuscle\nC3\tTR\n")
    status, said = run_group(study, capsys)
    assert status == 0
    assert "Tables by vertebral level that are missing or cannot be read (1)" in said
    assert len(read_table(study[1])) == 4 * 14 * 6
    assert len(read_table(study[1], "group_mfi.tsv")) == 6 * 14


def test_a_table_that_the_marker_does_not_list_is_left_out(study, capsys):
    """The sixth scan was measured by weights without vertebrae; somebody put a table beside it."""
    paths = study[2][5].levels_tsv, study[2][4].levels_tsv
    paths[0].write_bytes(paths[1].read_bytes())
    _, said = run_group(study, capsys)
    assert "Tables by vertebral level that were changed" in said
    assert paths[0].name in said
    assert len(read_table(study[1])) == 5 * 14 * 6


def test_an_edited_map_is_noticed_whatever_the_entities(tmp_path, study, capsys):
    """``desc`` stands behind ``seg`` in the name of the label map."""
    record = make_record(study[0], (("sub", "00000"), ("acq", "dixon"), ("desc", "a")), BUNDLE)
    muscles = tuple(read_measures(study[2][0].mfi_tsv))
    results = ScanResults(TINY_IMAGE, TINY_IMAGE, muscles, (), (), b"bodies", make_levels(3.0))
    paths = save_scan(study[1], record, results)
    run_group(study, capsys)
    assert len(read_table(study[1])) == 6 * 14 * 6
    paths.vertebrae.write_bytes(b"edited")
    _, said = run_group(study, capsys)
    assert paths.levels_tsv.name in said
    assert len(read_table(study[1])) == 5 * 14 * 6
