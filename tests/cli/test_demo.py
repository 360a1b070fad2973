"""The demo as the README's reader runs it: valid BIDS in and out, labels recognisably right."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bids_mfi.bids.scan_results import read_measures
from bids_mfi.cli.verbs import main_verbs
from bids_mfi.images import read_labels
from bids_mfi.measure.overlap import dice_by_muscle
from bids_mfi.muscles import WEBER2021

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
LEAST_MEAN_DICE = 0.60


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert main_verbs(["demo", str(folder), "--participants", "2"]) == 0
    return folder


@pytest.mark.parametrize("dataset", ["bids", "derivatives", "bids/derivatives/truth"])
@pytest.mark.slow
def test_input_and_output_are_valid_bids(demo, dataset):
    command = [VALIDATOR, demo / dataset, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert done.returncode == 0


def pairs_of_labels(demo):
    for truth in sorted((demo / "bids/derivatives/truth").rglob("*_dseg.nii.gz")):
        found = demo / "derivatives" / truth.relative_to(demo / "bids/derivatives/truth")
        yield read_labels(truth), read_labels(found)


def test_the_included_bundle_labels_every_muscle_on_the_right_side(demo):
    scores = []
    for (truth, truth_grid), (found, found_grid) in pairs_of_labels(demo):
        assert found_grid == truth_grid
        scores.append(list(dice_by_muscle(found, truth, WEBER2021).values()))
    assert len(scores) == 2
    assert np.mean(scores) >= LEAST_MEAN_DICE
    assert np.min(scores) > 0.3


def test_left_is_left(demo):
    """Of every muscle the left label lies towards the subject's left, world x below the right's."""
    for _, (found, grid) in pairs_of_labels(demo):
        for muscle in WEBER2021:
            if muscle.hemi == "R":
                continue
            right_index = WEBER2021.of(muscle.muscle, "R").index
            left, right = (
                (np.argwhere(found == index).mean(axis=0) @ grid.matrix[:3, :3].T)[0]
                for index in (muscle.index, right_index)
            )
            assert left < right


def test_the_tables_hold_a_number_for_every_muscle(demo):
    for path in sorted((demo / "derivatives").glob("sub-*/**/*_mfi.tsv")):
        rows = read_measures(path)
        assert len(rows) == 14
        assert all(0 < row.mfi_percent < 50 for row in rows)
        assert all(1 < row.volume_ml < 150 for row in rows)


def test_the_group_level_runs_on_the_demo(demo):
    page = (demo / "derivatives/group.html").read_text(encoding="utf-8")
    assert "sub-02" in page
    assert "2 participants have all values, and the model has 4 terms" in page
    lines = (demo / "derivatives/group_mfi.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 2 * 14
    assert (demo / "derivatives/group/figures/figure5a.svg").is_file()


@pytest.mark.usefixtures("no_figures")
def test_a_second_demo_uses_what_is_there(demo, capsys):
    assert main_verbs(["demo", str(demo)]) == 0
    printed = capsys.readouterr().out
    assert "existing" in printed
    assert "2 already done" in printed
