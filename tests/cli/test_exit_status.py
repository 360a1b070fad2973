"""Every documented exit status, and that a dry run ends with that of the run."""

import json
import os
import re
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import write_description, write_scan
from forked_runs import ForkedRun

from bids_mfi.cli.app import main
from bids_mfi.cli.output import EXIT_STATUSES
from bids_mfi.cli.verbs import main_verbs
from bids_mfi.muscles import LABEL_TABLE
from bids_mfi.network.bundle_files import load_bundle

pytestmark = pytest.mark.usefixtures("quick_figures")
ROOT = Path(__file__).parents[2]
DONE, FAILED, USAGE, DATASET, MODEL, OUTPUT = range(6)


def call(function, words):
    """Exit status of a call, whether returned or raised."""
    try:
        return function([str(word) for word in words])
    except SystemExit as stopped:
        return stopped.code


@dataclass
class Place:
    """A dataset of one scan, an OUTPUT_DIR and a bundle, to be spoilt."""

    bids: Path
    out: Path
    bundle: Path
    words: list = field(default_factory=list)

    def run(self, *more):
        words = [self.bids, self.out, "participant", "--bundle", self.bundle, *self.words, *more]
        return call(main, words)


@pytest.fixture
def place(tmp_path, tiny_bundle):
    write_description(tmp_path / "in")
    write_scan(tmp_path / "in", "01", seed=1)
    return Place(tmp_path / "in", tmp_path / "out", tiny_bundle)


def spoil_every_scan(place):
    for path in place.bids.glob("sub-01/anat/*echo-2*"):
        path.unlink()


def spoil_label(place):
    (place.bids / "sub-01").rename(place.bids / "sub-x-y")


def without_images(place):
    shutil.rmtree(place.bids / "sub-01" / "anat")


def name_nobody(place):
    place.words += ["--participant-label", "09"]


def name_no_session(place):
    place.words += ["--session-label", "b"]


def remove_description(place):
    (place.bids / "dataset_description.json").unlink()


def break_filter(place):
    path = place.bids.parent / "filter.json"
    path.write_text("{")
    place.words += ["--bids-filter-file", path]


def no_dataset(place):
    place.bids = place.bids / "nowhere"


def ask_for_cuda(place):
    place.words += ["--device", "cuda"]


def put_plugin(place, text):
    path = place.bids.parent / "plugin.yml"
    path.write_text(text)
    place.words += ["--use-plugin", path]


def no_plugin_file(place):
    place.words += ["--use-plugin", place.bids / "none.yml"]


def unknown_plugin(place):
    put_plugin(place, "plugin: MultiProk")


def plugin_of_text(place):
    put_plugin(place, "MultiProc")


def plugin_with_wrong_arguments(place):
    put_plugin(place, "plugin: MultiProc\nplugin_args: many")


def nested_plugin(place):
    put_plugin(place, "[" * 3000)


def plugin_without_its_queue(place):
    put_plugin(place, "plugin: LSF")


def plugin_without_slurm(place):
    put_plugin(place, "plugin: SLURM")


def break_bundle(place):
    copy = place.bids.parent / "bundle"
    shutil.copytree(place.bundle, copy)
    load_bundle(copy).weights.write_bytes(b"no weights")
    place.bundle = copy


def no_bundle(place):
    place.bundle = place.bids


def out_is_in(place):
    place.out = place.bids


def out_is_in_by_a_link(place):
    place.out = place.bids.parent / "link"
    place.out.symlink_to(place.bids)


def out_among_images(place):
    place.out = place.bids / "sub-01" / "derivatives"


def out_is_a_file(place):
    place.out.write_text("mine")


def out_below_a_file(place):
    place.out = place.bids / "dataset_description.json" / "out"


def out_of_another_program(place):
    place.out.mkdir()
    (place.out / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "other"}]}')


def work_dir_below_a_file(place):
    place.words += ["-w", place.bids / "dataset_description.json" / "work"]


def other_labels(place):
    place.out.mkdir()
    (place.out / LABEL_TABLE).write_text("index\tname\n1\tother\n")


SPOILT = {
    spoil_every_scan: FAILED, spoil_label: FAILED,
    ask_for_cuda: USAGE, no_plugin_file: USAGE, unknown_plugin: USAGE, plugin_of_text: USAGE,
    plugin_with_wrong_arguments: USAGE, nested_plugin: USAGE, plugin_without_its_queue: USAGE,
    plugin_without_slurm: USAGE,
    without_images: DATASET, name_nobody: DATASET, name_no_session: DATASET,
    remove_description: DATASET, break_filter: DATASET, no_dataset: DATASET,
    break_bundle: MODEL, no_bundle: MODEL,
    out_is_in: OUTPUT, out_is_in_by_a_link: OUTPUT, out_among_images: OUTPUT,
    out_is_a_file: OUTPUT, out_below_a_file: OUTPUT, out_of_another_program: OUTPUT,
    work_dir_below_a_file: OUTPUT, other_labels: OUTPUT,
}  # fmt: skip


@pytest.fixture
def without_cuda(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_dry_run_ends_as_the_run_does(place, without_cuda, capsys, spoil):
    """One line says why; the dry run comes first and writes nothing."""
    spoil(place)
    before = list_all(place.bids.parent)
    assert place.run("--dry-run") == SPOILT[spoil]
    said = capsys.readouterr().err
    assert list_all(place.bids.parent) == before
    assert place.run() == SPOILT[spoil]
    if SPOILT[spoil] != FAILED:
        assert said == capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.startswith("bids_mfi: error: ")
        assert list_all(place.bids.parent) == before


def list_all(folder):
    """Every path below a folder, links not followed."""
    return sorted(
        os.path.join(top, name)
        for top, folders, files in os.walk(folder)
        for name in (*folders, *files)
    )


@pytest.mark.slow
def test_states_of_results_are_part_of_a_dry_run(place, capsys):
    """0 where they are current, 1 where others stay, as of the run."""
    assert place.run() == DONE
    capsys.readouterr()
    assert place.run("--dry-run") == DONE
    told = capsys.readouterr().out
    assert re.search(r"results +already there", told)
    assert told.endswith("1 scan: 0 can be processed, 1 done already, 0 cannot.\n")
    assert place.run("--dry-run", "--json") == DONE
    assert json.loads(capsys.readouterr().out)[0]["results"] == "current"
    table = next(place.out.rglob("*_mfi.tsv"))
    table.write_text(table.read_text() + "\n")
    for more, results, status in (
        (["--fat-water", "computed"], "other", FAILED),
        (["--overwrite"], "missing", DONE),
    ):
        assert place.run("--dry-run", "--json", *more) == status
        (entry,) = json.loads(capsys.readouterr().out)
        assert entry["results"] == results
        assert ("--overwrite" in (entry["problem"] or "")) is (status == FAILED)
    assert place.run() == FAILED


# --- the command line alone --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], USAGE),
        (["--version"], DONE),
        (["--help"], DONE),
        (["in"], USAGE),
        (["in", "out", "session"], USAGE),
        (["in", "out", "participant", "group"], USAGE),
        (["in", "out", "participant", "--model", "mfi ~ age"], USAGE),
        (["in", "out", "group", "--json", "--dry-run"], USAGE),
        (["in", "out", "group", "--model", "mfi ~ ("], USAGE),
        (["nowhere", "out", "participant"], DATASET),
        (["nowhere", "out", "group"], DATASET),
        (["in", "in", "group"], OUTPUT),
        (["in", "in", "group", "--dry-run"], OUTPUT),
        (["in", "out", "group"], DATASET),  # before the participants
        (["in", "out", "group", "--dry-run"], DATASET),
    ],
)
def test_status_of_a_call(place, monkeypatch, capsys, words, status):
    monkeypatch.chdir(place.bids.parent)
    assert call(main, words) == status
    assert "Traceback" not in capsys.readouterr().err
    assert not place.out.exists()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], USAGE),
        (["--version"], DONE),
        (["simulate", "in"], OUTPUT),
        (["simulate", "in", "--participants", "1", "--protocol", "paper"], DATASET),
        (["simulate", "new", "--labels", "in", "--device", "cuda"], USAGE),
        (["train", "in"], OUTPUT),
        (["train", "new", "--dataset", "in", "--dry-run"], DATASET),
        (["train", "in", "--dataset", "in", "--dry-run"], OUTPUT),
        (["train", "new", "--device", "cuda", "--steps", "1"], USAGE),
        (["train", "new", "--from", "in"], MODEL),
        (["convert", "in", "new"], MODEL),
        (["convert", "in", "in"], OUTPUT),
        (["evaluate", "in", "in", "new"], DATASET),
        (["evaluate", "in", "in", "in"], OUTPUT),
        (["agreement", "none.tsv", "none.tsv", "new"], DATASET),
        (["slurm", "nowhere", "new"], DATASET),
        (["slurm", "in", "in"], OUTPUT),
    ],
)
def test_status_of_a_verb(place, without_cuda, monkeypatch, capsys, words, status):
    monkeypatch.chdir(place.bids.parent)
    before = list_all(place.bids)
    assert call(main_verbs, words) == status
    assert "Traceback" not in capsys.readouterr().err
    assert not Path("new").exists()
    assert list_all(place.bids) == before


# --- signals -----------------------------------------------------------------------------------


def test_interruption_ends_with_its_status(place):
    """Like Ctrl-C, sent when the second step begins."""
    words = [place.bids, place.out, "participant", "--bundle", place.bundle, "--nprocs", "1"]
    running = ForkedRun(*words)
    assert any(line.endswith(": Segment\n") for line in running.stderr)
    running.send_signal(signal.SIGINT)
    ended = running.end()
    assert ended.returncode == 130
    assert "interrupted" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_documented_statuses_are_those_tested_here():
    """143 and 129 belong to the tests of signals."""
    documented = {int(code) for code in re.findall(r"\d+", EXIT_STATUSES)}
    assert documented == {DONE, *SPOILT.values(), 129, 130, 143}
