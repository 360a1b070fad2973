"""The command line: its grammar, its exit statuses, its words."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from bids_datasets import make_every_convention_dataset

from bids_mfi import __version__
from bids_mfi.cli.app import build_parser, main, read_options
from bids_mfi.cli.verbs import build_verb_parser, main_verbs
from bids_mfi.options import RunOptions
from bids_mfi.participant.progress import show_progress

ROOT = Path(__file__).parents[2]


def parse(*arguments):
    return read_options(build_parser().parse_args(["in", "out", "participant", *arguments]))


def test_every_option_reaches_the_options():
    """Each field but the three positional ones differs from its default."""
    found = parse(
        "--participant-label", "sub-01", "02", "--session-id", "ses-a", "--bids-filter-file", "f",
        "--bids-database-dir", "db", "--skip-bids-validation", "--bundle", "b", "--device", "cpu",
        "--engine", "torch", "--fast",
        "--fat-water", "scanner", "--n-cpus", "3", "--omp-nthreads", "2", "--mem", "4.5", "-w", "w",
        "--use-plugin", "p", "--stop-on-first-crash", "--write-graph", "--overwrite", "--dry-run",
        "--json", "-vv", "--notrack", "--participants-file", "t", "--session", "s",
        "--session-order", "r,s", "--missing", "any", "--correction", "holm",
        "--model", "mfi ~ age", "--controls", "age > 3",
    )  # fmt: skip
    plain = parse()
    same = {
        name
        for name in RunOptions.__dataclass_fields__
        if getattr(found, name) == getattr(plain, name)
    }
    assert same == {"bids_dir", "output_dir", "analysis_level"}
    assert found.participant_label == ("01", "02")
    assert found.session_label == ("a",)
    assert found.bids_dir.is_absolute()


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["in", "out"],
        ["in", "out", "everything"],
        ["in", "out", "participant", "--nprocs", "0"],
        ["in", "out", "participant", "--nprocs", "two"],
        ["in", "out", "participant", "--mem", "much"],
        ["in", "out", "participant", "--mem", "-1"],
        ["in", "out", "participant", "--device", "tpu"],
        ["in", "out", "participant", "--json"],
        ["in", "out", "participant", "--no-such-option"],
    ],
)
def test_wrong_usage_ends_with_2(wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(wrong)
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["simulate"],
        ["simulate", "out", "--seed", "-5"],
        ["train", "out", "--seed", "-3"],
        ["train", "out", "--seed", str(2**63)],
        ["train", "out", "--spacing", "0.001", "1", "1"],
        ["train", "out", "--steps", "0"],
        ["convert", "model"],
    ],
)
def test_wrong_usage_of_a_verb_ends_with_2(wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        main_verbs(wrong)
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_train_refuses_a_folder_that_holds_something_else(tmp_path, capsys):
    (tmp_path / "letters.txt").write_text("mine")
    assert main_verbs(["train", str(tmp_path), "--steps", "1"]) == 5
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "letters.txt" in error
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_version(capsys):
    for call in (main, main_verbs):
        with pytest.raises(SystemExit) as stopped:
            call(["--version"])
        assert stopped.value.code == 0
        assert capsys.readouterr().out == f"bids_mfi {__version__}\n"


def test_help_says_what_it_is_not():
    for parser in (build_parser(), build_verb_parser()):
        assert "not a medical device" in " ".join(parser.format_help().split())


def test_dry_run_prints_the_pairs_and_touches_nothing(bids_dir, tmp_path, capsys):
    out_dir = tmp_path / "out"
    assert main([str(bids_dir), str(out_dir), "participant", "--dry-run"]) == 0
    table = capsys.readouterr().out
    assert "sub-01_acq-dixon" in table
    assert "sub-02_acq-dixon" in table
    assert main([str(bids_dir), str(out_dir), "participant", "--dry-run", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry["entities"]["sub"] for entry in entries] == ["01", "02"]
    assert entries[0]["in_phase"] == "sub-01/anat/sub-01_acq-dixon_echo-1_MEGRE.nii.gz"
    assert entries[0]["out_phase"] == "sub-01/anat/sub-01_acq-dixon_echo-2_MEGRE.nii.gz"
    assert [entries[0][key] for key in ("water", "fat", "problem")] == [None, None, None]
    assert not out_dir.exists()


def test_participants_without_a_dixon_image_are_named(bids_dir, tmp_path, capsys):
    (bids_dir / "sub-07" / "anat").mkdir(parents=True)
    assert main([str(bids_dir), str(tmp_path / "out"), "participant", "--dry-run", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "without a Dixon image (1): sub-07\n"
    assert len(json.loads(captured.out)) == 2


def test_dry_run_pairs_every_naming_convention(tmp_path):
    expected = make_every_convention_dataset(tmp_path / "in")
    assert len(expected) >= 28
    command = [sys.executable, ROOT / "run.py", tmp_path / "in", tmp_path / "out", "participant"]
    done = subprocess.run([*command, "--dry-run", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    contrasts = ("in_phase", "out_phase", "water", "fat")
    assert [{key: entry[key] for key in contrasts} for entry in found] == [
        {key: entry[key] for key in contrasts} for entry in expected
    ]
    assert [entry["problem"] for entry in found] == [None] * len(expected)


def test_run_py_from_another_folder(bids_dir, tmp_path):
    command = [sys.executable, ROOT / "run.py", bids_dir.name, "o", "participant", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=bids_dir.parent)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


# --- progress ----------------------------------------------------------------------------------

EVENTS = [
    ("sub-01", "", "queued"), ("sub-02", "", "queued"),
    ("sub-01", "Resample", "start"), ("sub-01", "Resample", "end"),
    ("sub-02", "Resample", "start"), ("sub-02", "Resample", "exception"),
    ("sub-01", "Save", "start"), ("sub-01", "Save", "end"),
]  # fmt: skip


def test_progress_without_a_terminal_is_plain_lines():
    stream = io.StringIO()
    with show_progress(stream) as on_status:
        for event in EVENTS:
            on_status(*event)
    assert stream.getvalue().splitlines() == [
        "sub-01: Resample",
        "sub-02: Resample",
        "sub-02: failed at Resample",
        "sub-01: Save",
        "sub-01: done",
    ]


def test_progress_goes_on_when_nobody_reads():
    tried = []

    class Closed(io.StringIO):
        def write(self, text):
            tried.append(text)
            raise BrokenPipeError

    with show_progress(Closed()) as on_status:
        for event in EVENTS:
            on_status(*event)
    assert len(tried) == 5


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_counts_the_scans(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = _Terminal()
    with show_progress(stream) as on_status:
        for event in EVENTS:
            on_status(*event)
    shown = stream.getvalue()
    assert "2/2" in shown
    assert "sub-02: failed at Resample" in shown


@pytest.mark.parametrize("last", ["Report", "Quantify"])
def test_a_scan_whose_two_last_steps_fail_counts_once(monkeypatch, last):
    """Both may have started before the first fails, or one starts after it."""
    monkeypatch.setenv("TERM", "xterm")
    first = {"Report": "Quantify", "Quantify": "Report"}[last]
    stream = _Terminal()
    with show_progress(stream) as on_status:
        for scan in ("sub-01", "sub-02"):
            on_status(scan, "", "queued")
        for step, status in ((first, "start"), (first, "exception"), (last, "start")):
            on_status("sub-01", step, status)
        on_status("sub-01", last, "exception")
    shown = stream.getvalue()
    assert "1/2" in shown
    assert "2/2" not in shown
    assert f"sub-01: {first}" in shown
    assert f"sub-01: {last}" not in shown
