"""What the parsers say of wrong words, and the spellings that they take."""

import re

import pytest

from bids_mfi.cli.app import build_parser, main
from bids_mfi.cli.verbs import build_verb_parser, main_verbs

RUN = ["in", "out", "participant"]
VERBS = next(
    action.choices for action in build_verb_parser()._actions if isinstance(action.choices, dict)
)
PARSERS = {"run.py": build_parser(), **VERBS}


def options_of(parser):
    return [action for action in parser._actions if action.option_strings]


def refuse(capsys, words, call=main):
    """The two lines that a wrong call ends with."""
    with pytest.raises(SystemExit) as stopped:
        call(words)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    what, usage = captured.err.splitlines()
    assert usage.startswith("usage: ")
    assert usage.endswith(" --help")
    return what


@pytest.mark.parametrize(
    ("words", "found", "meant"),
    [
        ([*RUN, "--participant_labels", "01"], "unknown option --participant_labels",
         "--participant-label"),
        ([*RUN, "--n-proc", "3"], "unknown option --n-proc", "--nprocs"),
        (["in", "out", "--n_procs", "3", "participant"], "unknown option --n_procs", "--nprocs"),
        ([*RUN, "--work_directory=x"], "unknown option --work_directory", "--work-dir"),
        ([*RUN, "--Device", "cpu"], "unknown option --Device", "--device"),
        ([*RUN, "--mem_mb", "8000"], "unknown option --mem_mb", "--mem-gb"),
        (["in", "out", "participants"], "invalid choice: 'participants'", "participant"),
        (["in", "out", "Group"], "invalid choice: 'Group'", "group"),
        (["in", "out", "participant_level"], "invalid choice", "participant"),
        ([*RUN, "--device", "CUDA"], "invalid choice: 'CUDA'", "cuda"),
        (["in", "out", "group", "--correction", "fdr-bh"], "invalid choice", "fdr_bh"),
    ],
)  # fmt: skip
def test_the_nearest_word_is_suggested(capsys, words, found, meant):
    what = refuse(capsys, words)
    assert found in what
    assert what.endswith(f" Did you mean {meant}?")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["simulat", "out"], "simulate"),
        (["Train", "out"], "train"),
        (["evaluation", "a", "b", "c"], "evaluate"),
        (["train", "out", "--form", "x"], "--from"),
        (["slurm", "a", "b", "--participants_label", "1"], "--participant-label"),
        (["simulate", "out", "--sedd", "1"], "--seed"),
        (["evaluate", "a", "b", "c", "--measure", "image"], "images"),
    ],
)
def test_the_nearest_word_of_a_verb_is_suggested(capsys, words, meant):
    assert refuse(capsys, words, main_verbs).endswith(f" Did you mean {meant}?")


@pytest.mark.parametrize("word", ["--no-such-thing", "-x", "--gpu-memory"])
def test_nothing_is_suggested_where_nothing_is_near(capsys, word):
    what = refuse(capsys, [*RUN, word])
    assert f"unknown option {word}." in what
    assert "Did you mean" not in what


def test_a_second_level_and_a_path_with_a_blank_are_explained(capsys):
    assert "one of participant, group" in refuse(capsys, [*RUN, "group"])
    assert "Quote a path" in refuse(capsys, [*RUN, "more"])


def test_an_option_that_took_the_positional_arguments_is_named(capsys):
    what = refuse(capsys, ["--participant_label", "01", *RUN])
    assert what.endswith("--participant-label accepts all words that follow it: put it last")


def test_a_value_that_begins_like_an_option_is_no_unknown_option(capsys):
    what = refuse(capsys, ["slurm", "a", "b", "--sbatch", "--qos=x"], main_verbs)
    assert what.endswith("--sbatch: expected one argument; write --sbatch=--qos=x")


def test_help_and_version_come_before_an_unknown_option():
    for word in ("--help", "--version"):
        with pytest.raises(SystemExit) as stopped:
            main([*RUN, "--no-such-thing", word])
        assert stopped.value.code == 0


# --- spellings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--participant_label 01 02", "participant_label", ["01", "02"]),
        ("--session_label a", "session_label", ["a"]),
        ("--session_id a", "session_label", ["a"]),
        ("--n_cpus 3", "nprocs", 3),
        ("--omp_nthreads=2", "omp_nthreads", 2),
        ("--mem_gb 4.5", "mem", 4.5),
        ("--skip_bids_validation", "skip_bids_validation", True),
        ("--stop_on_first_crash", "stop_on_first_crash", True),
        ("--fat_water scanner", "fat_water", "scanner"),
        ("--dry_run", "dry_run", True),
        ("--skip_bids", "skip_bids_validation", True),
    ],
)
def test_bids_apps_spelling(words, name, value):
    assert getattr(build_parser().parse_args([*RUN, *words.split()]), name) == value


def values_for(action):
    """Words that an option takes."""
    if action.nargs == 0:
        return []
    if action.choices:
        return [next(iter(action.choices))]
    return ["1"] * (action.nargs if isinstance(action.nargs, int) else 1)


@pytest.mark.parametrize("name", PARSERS)
def test_every_option_may_be_spelt_with_underscores(name):
    """Also as --name=value, and after another option."""
    parser = PARSERS[name]
    needed = [
        next(iter(action.choices)) if action.choices else "x"
        for action in parser._get_positional_actions()
    ]
    for action in options_of(parser):
        for spelling in action.option_strings:
            if not spelling.startswith("--") or spelling in ("--help", "--version"):
                continue
            words, values = spelling.replace("-", "_").replace("__", "--", 1), values_for(action)
            found = parser.parse_args([*needed, words, *values])
            assert found == parser.parse_args([*needed, spelling, *values]), words
            if len(values) == 1:
                assert found == parser.parse_args([*needed, f"{words}={values[0]}"])


def test_underscores_of_values_are_kept():
    parser = build_verb_parser()
    found = parser.parse_args(["slurm", "a", "b", "--sbatch=--comment=my_study", "--at_once=3"])
    assert found.sbatch == ["--comment=my_study"]
    found = build_parser().parse_args([*RUN, "--bundle=my_bundle_v1"])
    assert str(found.bundle) == "my_bundle_v1"


# --- help --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PARSERS)
def test_help_fits_80_columns_and_lists_one_spelling(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = PARSERS[name].format_help()
    assert max(map(len, text.splitlines())) <= 80
    assert re.findall(r"--\w+_\w+", text) == []
    usage = text.split("\n\n")[0]
    assert "--" not in usage


@pytest.mark.parametrize("name", PARSERS)
def test_every_argument_is_explained(name):
    assert [action.dest for action in PARSERS[name]._actions if not action.help] == []
