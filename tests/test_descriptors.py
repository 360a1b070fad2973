"""The Boutiques descriptors: valid, equal to the parsers, and what they launch runs."""

import argparse
import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import stat
import sys
from pathlib import Path

import boutiques
import pandas as pd
import pytest
from conftest import write_description, write_scan
from group_folder import make_group_folder
from labelled_dataset import write_labels
from niftynet_models import write_model

from bids_mfi import __version__
from bids_mfi.cli.app import build_parser, main
from bids_mfi.cli.output import EXIT_STATUSES
from bids_mfi.cli.verbs import build_verb_parser, main_verbs

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "descriptors"
APP = "bids_mfi"
SUBPARSERS = next(
    action for action in build_verb_parser()._actions if isinstance(action.choices, dict)
)
VERBS = tuple(SUBPARSERS.choices)
NAMES = (APP, *(f"{APP}_{verb}" for verb in VERBS))
WORDS = {
    "verbose": {"-v": 1, "-vv": 2, "-vvv": 3},
    "bfloat16": {"--bfloat16": True, "--no-bfloat16": False},
}
"""Inputs that stand for whole words of the command line, and what each word means."""

every_descriptor = pytest.mark.parametrize("name", NAMES)


def path_of(name):
    return str(FOLDER / f"{name}.json")


def read(name):
    return json.loads(Path(path_of(name)).read_text(encoding="utf-8"))


def inputs_of(name):
    return {one["id"]: one for one in read(name)["inputs"]}


def parser_of(name):
    return build_parser() if name == APP else SUBPARSERS.choices[name.removeprefix(f"{APP}_")]


def actions_of(name):
    silent = ("help", "version")
    return {one.dest: one for one in parser_of(name)._actions if one.dest not in silent}


# --- valid -------------------------------------------------------------------------------------


def test_each_verb_and_the_app_has_a_descriptor_and_there_is_no_other():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(NAMES)


@every_descriptor
def test_the_descriptor_is_current(name):
    """It is what `make descriptors` writes."""
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    made = generate.encode_descriptors()[f"{name}.json"]
    assert Path(path_of(name)).read_text(encoding="utf-8") == made, "run make descriptors"


@every_descriptor
def test_the_descriptor_is_valid(name):
    assert boutiques.bosh(["validate", path_of(name)]) is None


def test_a_damaged_descriptor_is_not_valid(tmp_path):
    descriptor = read(APP)
    del descriptor["inputs"][0]["type"]
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(descriptor))
    with pytest.raises(boutiques.validator.DescriptorValidationError, match="'type' is a required"):
        boutiques.bosh(["validate", str(path)])


@every_descriptor
def test_the_version_is_that_of_the_package(name):
    descriptor = read(name)
    assert descriptor["tool-version"] == __version__
    assert descriptor["container-image"]["image"] == f"bids_mfi:{__version__}"
    assert set(re.findall(r"\d+\.\d+\.\d+", descriptor["description"])) == {__version__}
    assert descriptor["name"] == name.replace("_mfi_", "_mfi ")


@every_descriptor
def test_the_exit_statuses_are_those_of_the_help(name):
    documented = {int(code) for code in re.findall(r"\d+", EXIT_STATUSES)} - {0}
    assert documented == {1, 2, 3, 4, 5, 129, 130, 143}
    assert [one["code"] for one in read(name)["error-codes"]] == sorted(documented)


# --- equal to the parser -----------------------------------------------------------------------


def describe_action(action):
    """Take from a parser's argument what it and the input of a descriptor must agree on."""
    if action.dest in WORDS:
        return ("String", True, None, [*WORDS[action.dest]])
    flags = [flag for flag in action.option_strings if flag.startswith("--")]
    empty = action.default is False or action.default in (None, "", (), [])
    return {
        "flag": flags[0] if flags else None,
        "optional": not action.required,
        "is a flag": action.nargs == 0,
        "choices": list(action.choices) if action.choices else None,
        "default": None if empty else action.default,
        "entries": entries_of(action),
    }


def entries_of(action):
    """Fewest and most entries of a list; None where it is none."""
    if isinstance(action.nargs, int) and action.nargs > 1:
        return (action.nargs, action.nargs)
    is_list = action.nargs == "+" or isinstance(action, argparse._AppendAction)
    return (1, None) if is_list else None


def describe_input(one):
    """Take the same from the input of a descriptor."""
    if one["id"] in WORDS:
        return (one["type"], one["optional"], one.get("command-line-flag"), one["value-choices"])
    entries = (one.get("min-list-entries"), one.get("max-list-entries"))
    return {
        "flag": one.get("command-line-flag"),
        "optional": one.get("optional", False),
        "is a flag": one["type"] == "Flag",
        "choices": one.get("value-choices"),
        "default": one.get("default-value"),
        "entries": entries if one.get("list") else None,
    }


@every_descriptor
def test_the_inputs_are_the_arguments_of_the_parser(name):
    found, expected = inputs_of(name), actions_of(name)
    assert set(found) == set(expected)
    for key in expected:
        assert describe_input(found[key]) == describe_action(expected[key]), key


@every_descriptor
def test_all_inputs_stand_in_the_command_line_and_positional_ones_first_in_their_order(name):
    keys = re.findall(r"\[(\w+)\]", read(name)["command-line"])
    assert sorted(keys) == sorted(key.upper() for key in inputs_of(name))
    positional = [one.dest.upper() for one in parser_of(name)._get_positional_actions()]
    assert keys[: len(positional)] == positional
    assert all(one["value-key"] == f"[{key.upper()}]" for key, one in inputs_of(name).items())


def takes(action, value):
    """Whether the parser takes this value of an argument."""
    try:
        action.type(f"{value}")
    except (argparse.ArgumentTypeError, ValueError):
        return False
    return True


@every_descriptor
def test_numbers_have_the_limits_of_the_parser(name):
    actions = actions_of(name)
    numbers = {key: one for key, one in inputs_of(name).items() if one["type"] == "Number"}
    named = {key for key, action in actions.items() if action.type not in (None, Path, str)}
    assert set(numbers) == named - {
        "time",
        "sbatch",
        "group_sbatch",
        "bind",
        "setup",
    }  # checked texts
    for key, one in numbers.items():
        action, step = actions[key], 1 if one.get("integer") else 0.001
        assert takes(action, 1.5) is not one.get("integer", False), key
        assert takes(action, one["minimum"]) is not one.get("exclusive-minimum", False), key
        assert not takes(action, one["minimum"] - step), key
        assert takes(action, one.get("maximum", 2**70)), key
        assert "maximum" not in one or not takes(action, one["maximum"] + step), key


@every_descriptor
def test_only_paths_are_files_and_every_path_that_must_exist_is_one(name):
    made = {"output_dir", "out_dir", "work_dir", "bids_database_dir", "folder", "bundle_dir"}
    paths = {key for key, action in actions_of(name).items() if action.type is Path}
    files = {key for key, one in inputs_of(name).items() if one["type"] == "File"}
    assert files == paths - made


@every_descriptor
def test_the_groups_are_those_of_the_help(name):
    usual = ("positional arguments", "options")
    expected = {
        group.title: [action.dest for action in group._group_actions]
        for group in parser_of(name)._action_groups
        if group.title not in usual
    }
    assert {one["name"]: one["members"] for one in read(name).get("groups", [])} == expected


@every_descriptor
def test_everything_is_described_in_whole_sentences(name):
    descriptor = read(name)
    described = [descriptor, *descriptor["inputs"], *descriptor["output-files"]]
    described += descriptor["error-codes"]
    texts = [one["description"] for one in described]
    assert all(re.match(r"(\[?\w|-v|\*)", text) and text.endswith(".") for text in texts)
    assert "not a medical device" in texts[0]
    assert "is not published" in texts[0]
    assert "://" not in Path(path_of(name)).read_text(encoding="utf-8")


# --- the command line --------------------------------------------------------------------------

AWKWARD = "a folder (2026) é/it's $HOME"
INVOCATIONS = (
    (APP, {
        "bids_dir": AWKWARD, "output_dir": "out put", "analysis_level": "participant",
        "participant_label": ["01", "sub-02"], "session_label": ["a", "b"],
        "bids_filter_file": "filter.json", "bids_database_dir": "index", "work_dir": "/tmp/w w",
        "skip_bids_validation": True, "bundle": "my bundle", "fat_water": "scanner",
        "overwrite": True, "device": "cpu", "engine": "torch", "fast": True, "nprocs": 3,
        "omp_nthreads": 2, "mem": 4.5,
        "use_plugin": "plugin.yml", "stop_on_first_crash": True, "write_graph": True,
        "notrack": True, "verbose": "-vv", "dry_run": True, "json": True,
    }),
    (APP, {
        "bids_dir": "in", "output_dir": "out", "analysis_level": "group", "session": "a",
        "participants_file": "people.tsv", "session_order": "pre,post", "missing": "any",
        "correction": "fdr_bh",
        "model": "mfi ~ group + C(sex) * age", "controls": "-age < 3 & group == \"it's\"",
        "overwrite": False,
    }),
    ("bids_mfi_demo", {"folder": AWKWARD, "participants": 2}),
    ("bids_mfi_simulate", {
        "out_dir": "new", "participants": 3, "sessions": 2, "seed": 2**63 - 1,
        "labels": ["a map.nii.gz", "maps"], "protocol": "axial-3T", "levels": "all",
        "variation": 1.5, "device": "cuda",
    }),
    ("bids_mfi_train", {
        "out_dir": "new", "dataset": "bids", "label_dir": "labels", "participant_label": ["01"],
        "session_label": ["a"], "bids_filter_file": "f.json", "bids_database_dir": "index",
        "skip_bids_validation": True, "validation_participants": ["02", "03"], "dry_run": True,
        "start": "bundle", "name": "-my name", "licence": "CC-BY-4.0", "recipe": "my recipe.toml",
        "steps": 10, "learning_rate": 1e-05, "batch_size": 2, "seed": 0,
        "spacing_mm": [0.7, 1, 3.5], "normalization": "instance", "validate_every": 5,
        "patience": 4, "validation_share": 0.25, "bfloat16": "--no-bfloat16", "device": "cuda",
        "workers": 0,
    }),
    ("bids_mfi_train", {"out_dir": "new", "label_map": ["a", "b c"], "card": "my card.toml",
                        "bfloat16": "--bfloat16"}),
    ("bids_mfi_convert", {"model_dir": AWKWARD, "bundle_dir": "new"}),
    ("bids_mfi_evaluate", {
        "truth": "a", "prediction": "b", "out_dir": AWKWARD, "measure": "images", "bids_dir": "in",
    }),
    ("bids_mfi_agreement", {"reference": AWKWARD, "compared": "b.tsv", "out_dir": "new"}),
    ("bids_mfi_slurm", {
        "bids_dir": "in", "output_dir": "out", "image": "a b.sif",
        "participant_label": ["01", "02"], "participants_per_task": 3, "cpus": 2, "mem": 6,
        "gpus": 1, "time": "1-00:00", "at_once": 5,
        "sbatch": ["--partition=short", "--comment=a b", "-A lab"],
        "group_sbatch": ["--partition=long", "-A other lab"],
        "bind": ["/lab/bundle", "/annex:/annex:ro"],
        "setup": ["source /etc/profile", "module load 'apptainer'"], "options": "--overwrite -v",
        "group_options": "--model 'mfi ~ age'", "no_group": True,
    }),
)  # fmt: skip
PROGRAMS = {name: [APP] if name == APP else [f"{APP}_tools", name[9:]] for name in NAMES}


def write_json(folder, content):
    path = folder / "invocation.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def simulate(name, invocation, folder):
    """Command line that ``bosh exec simulate`` makes of an invocation, as the shell splits it."""
    call = ["exec", "simulate", path_of(name), "-i", write_json(folder, invocation)]
    return shlex.split(boutiques.bosh(call).shell_command)


def parse(name, words):
    """Parse a command line by the real parser and return its values, paths as text."""
    program = PROGRAMS[name]
    assert words[: len(program)] == program
    parser = build_parser() if name == APP else build_verb_parser()
    found = vars(parser.parse_args(words[1:]))
    return {key: as_plain(value) for key, value in found.items() if key in actions_of(name)}


def as_plain(value):
    if isinstance(value, list | tuple):
        return [as_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def expect(name, invocation):
    """Values that the parser should find: those of the invocation, else its own defaults."""
    defaults = {key: as_plain(action.default) for key, action in actions_of(name).items()}
    given = {key: WORDS[key][value] if key in WORDS else value for key, value in invocation.items()}
    return defaults | given


@pytest.mark.parametrize(("name", "invocation"), INVOCATIONS)
def test_the_parser_finds_the_values_of_the_invocation(name, invocation, tmp_path):
    assert parse(name, simulate(name, invocation, tmp_path)) == expect(name, invocation)


@every_descriptor
def test_the_invocations_above_hold_every_input(name):
    given = {key for one, invocation in INVOCATIONS if one == name for key in invocation}
    assert given == set(inputs_of(name))


@every_descriptor
def test_required_inputs_alone_give_the_defaults_of_the_parser(name, tmp_path):
    required = [one for one in inputs_of(name).values() if not one.get("optional")]
    invocation = {one["id"]: one.get("value-choices", ["x"])[0] for one in required}
    assert parse(name, simulate(name, invocation, tmp_path)) == expect(name, invocation)


APP_BASE = {"bids_dir": "in", "output_dir": "out", "analysis_level": "participant"}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (APP, {**APP_BASE, "analysis_level": "session"}),
        (APP, {**APP_BASE, "json": True}),
        (APP, {**APP_BASE, "participant_label": []}),
        (APP, {**APP_BASE, "participant_label": "01"}),
        (APP, {**APP_BASE, "nprocs": 0}),
        (APP, {**APP_BASE, "nprocs": 1.5}),
        (APP, {**APP_BASE, "mem": 0}),
        (APP, {**APP_BASE, "missing": "some"}),
        (APP, {**APP_BASE, "no_such": 1}),
        (APP, {"bids_dir": "in", "output_dir": "out"}),
        ("bids_mfi_simulate", {"out_dir": "out", "seed": 2**63}),
        ("bids_mfi_simulate", {"out_dir": "out", "levels": "all"}),
        ("bids_mfi_train", {"out_dir": "out", "spacing_mm": [1, 1]}),
        ("bids_mfi_train", {"out_dir": "out", "spacing_mm": [1, 1, 21]}),
        ("bids_mfi_train", {"out_dir": "out", "label_map": ["a"], "dataset": "b"}),
        ("bids_mfi_train", {"out_dir": "out", "card": "a", "name": "b"}),
        ("bids_mfi_train", {"out_dir": "out", "dry_run": True}),
        ("bids_mfi_slurm", {"bids_dir": "in", "output_dir": "out", "gpus": -1}),
    ],
)
def test_a_wrong_invocation_is_refused_before_anything_runs(name, wrong, tmp_path):
    with pytest.raises(boutiques.invocationSchemaHandler.InvocationValidationError):
        simulate(name, wrong, tmp_path)


# --- launched ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Current folder of a launch, with both commands first on PATH as they are in the image."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for command, function in (("bids_mfi", "main"), ("bids_mfi_tools", "main_verbs")):
        start = f"import sys; from bids_mfi.cli import {function}; sys.exit({function}())"
        words = shlex.join([sys.executable, "-c", start])
        path = commands / command
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    work = tmp_path / "launched here"
    work.mkdir()
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def in_this_process(monkeypatch):
    """Let a launch call the program here, with the words that a shell would give it."""
    programs = {"bids_mfi": main, "bids_mfi_tools": main_verbs}

    def call(executor, command):
        program, *words = shlex.split(command)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            with contextlib.redirect_stderr(io.StringIO()) as err:
                status = programs[program](words)
        return (out.getvalue().encode(), err.getvalue().encode()), status

    monkeypatch.setattr(boutiques.localExec.LocalExecutor, "_localExecute", call)


def launch(name, invocation, *options):
    """``bosh exec launch`` without keeping a record in the home folder."""
    path = write_json(Path.cwd(), invocation)
    how = options or ("--no-container",)
    return boutiques.bosh(["exec", "launch", path_of(name), path, "--skip-data-collection", *how])


def names_of(files):
    return {file.boutiques_name for file in files}


def outputs_of(name):
    return {one["id"] for one in read(name)["output-files"]}


def assert_complete(found, name, without=()):
    """The exit status is 0, and all declared outputs but these are there."""
    assert found.exit_code == 0, found.stderr
    assert found.error_message == ""
    assert names_of(found.output_files) == outputs_of(name) - set(without)
    assert found.missing_files == []


def test_launch_of_a_dry_run(folder, bids_dir):
    invocation = {"bids_dir": str(bids_dir), "output_dir": "out", "analysis_level": "participant",
                  "participant_label": ["02"], "dry_run": True, "json": True}  # fmt: skip
    found = launch(APP, invocation)
    assert_complete(found, APP, without=outputs_of(APP))
    assert "sub-02_acq-dixon_echo-1_MEGRE" in found.stdout
    assert "sub-01" not in found.stdout
    assert not (folder / "out").exists()


BY_SESSION = {
    "mfi_tables_of_sessions", "level_tables_of_sessions", "slice_tables_of_sessions",
    "label_maps_of_sessions", "fat_fraction_maps_of_sessions",
}  # fmt: skip
OF_GROUP = {
    "group_page", "group_table", "group_level_table", "group_statistics", "group_figures",
}  # fmt: skip
BY_LEVEL = {"level_tables", "level_tables_of_sessions", "group_level_table"}


@pytest.mark.usefixtures("in_this_process", "quick_figures")
def test_launch_of_the_participant_level(folder, bids_dir, vertebra_bundle):
    invocation = {"bids_dir": str(bids_dir), "output_dir": "out", "analysis_level": "participant",
                  "participant_label": ["02"], "bundle": str(vertebra_bundle), "nprocs": 1,
                  "write_graph": True}  # fmt: skip
    found = launch(APP, invocation)
    assert_complete(found, APP, without=BY_SESSION | OF_GROUP | {"error_texts"})
    assert "1 scan done" in found.stdout


def make_group(root, sessions=()):
    """Small results of the participant level, of three persons."""
    names = ["sub-01", "sub-02", "sub-03"]
    rows = [
        (name, "TR", hemi, 12.0 + place, 9.0) for place, name in enumerate(names) for hemi in "LR"
    ]
    muscles = pd.DataFrame(rows, columns=["participant_id", "muscle", "hemi", "mfi", "volume"])
    if sessions:
        muscles = pd.concat([muscles.assign(session_id=session) for session in sessions])
    table = {"participant_id": names, "sex": "F", "age": 30, "bmi": 25}
    return make_group_folder(root, muscles, pd.DataFrame(table))


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("sessions", [(), ("ses-a", "ses-b")])
def test_launch_of_the_group_level(folder, sessions):
    make_group(folder, sessions)
    invocation = {"bids_dir": "bids", "output_dir": "out", "analysis_level": "group"}
    absent = {one.removesuffix("_of_sessions") for one in BY_SESSION} if sessions else BY_SESSION
    found = launch(APP, invocation)
    assert_complete(found, APP, without=absent | BY_LEVEL | {"error_texts", "graph"})
    assert "3 participants analysed" in found.stdout


def test_launch_tells_what_an_exit_status_means(folder):
    (folder / "bids").mkdir()
    invocation = {"bids_dir": "bids", "output_dir": "out", "analysis_level": "participant"}
    found = launch(APP, invocation)
    assert found.exit_code == 3
    assert found.error_message.startswith("The input:")
    assert launch(APP, {**invocation, "missing": "any"}).exit_code == 2


def test_launch_of_an_agreement(folder):
    rows = ["participant_id\tmuscle\themi\tvolume_ml\tmfi_percent"]
    for rater in "ab":
        rows += [f"sub-0{n}\tTR\tL\t{n + 8}.0\t{n * 2}.{ord(rater) % 7}" for n in range(1, 6)]
        Path(f"{rater} table.tsv").write_text("\n".join(rows) + "\n")
        del rows[1:]
    found = launch(
        "bids_mfi_agreement",
        {"reference": "a table.tsv", "compared": "b table.tsv", "out_dir": "out"},
    )
    assert_complete(found, "bids_mfi_agreement")
    assert "5 rows compared" in found.stdout


@pytest.mark.usefixtures("in_this_process")
def test_launch_of_an_evaluation(folder):
    make_group(folder)
    found = launch("bids_mfi_evaluate", {"truth": "out", "prediction": "out", "out_dir": "eval"})
    assert found.exit_code == 3  # those label maps are no images
    assert names_of(found.missing_files) == outputs_of("bids_mfi_evaluate")


@pytest.mark.usefixtures("in_this_process")
def test_launch_of_the_scripts_for_slurm(tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without a blank in its name
    Path("bids").mkdir()
    Path("x.sif").touch()
    invocation = {
        "bids_dir": "bids", "output_dir": "out", "sbatch": ["--partition=a", "--qos=b"],
        "group_sbatch": ["--partition=c"], "image": "x.sif", "bind": ["/lab", "/x:/y"],
        "setup": ["module load apptainer", "true"],
    }  # fmt: skip
    found = launch("bids_mfi_slurm", invocation)
    assert_complete(found, "bids_mfi_slurm")
    job = Path("out/logs/slurm/participant.sbatch").read_text()
    assert "#SBATCH --partition=a\n#SBATCH --qos=b\n" in job
    assert "--bind /lab --bind /x:/y " in job
    assert "eval 'module load apptainer' " in job
    group = Path("out/logs/slurm/group.sbatch").read_text()
    assert [line for line in group.splitlines() if "--partition" in line] == [
        "#SBATCH --partition=c"
    ]


@pytest.mark.usefixtures("in_this_process")
def test_launch_of_a_simulation_and_of_its_evaluation(folder):
    found = launch("bids_mfi_simulate", {"out_dir": "new", "participants": 1, "sessions": 2})
    assert_complete(found, "bids_mfi_simulate", without={"images"})
    truth = "new/derivatives/truth"
    invocation = {"truth": truth, "prediction": truth, "out_dir": "eval", "bids_dir": "new"}
    found = launch("bids_mfi_evaluate", invocation)
    assert_complete(found, "bids_mfi_evaluate")
    assert "2 scans compared" in found.stdout


@pytest.mark.usefixtures("in_this_process")
def test_launch_of_a_training(folder, bids_dir):
    """On labelled scans, which are made sooner than synthetic ones."""
    for label in ("01", "02"):
        write_labels(bids_dir, f"sub-{label}_acq-dixon_desc-manual_dseg.nii.gz")
    invocation = {"out_dir": "new", "dataset": str(bids_dir), "steps": 1, "batch_size": 1,
                  "spacing_mm": [4, 4, 6], "validate_every": 1, "bfloat16": "--no-bfloat16",
                  "device": "cpu"}  # fmt: skip
    found = launch("bids_mfi_train", invocation)
    assert_complete(found, "bids_mfi_train")


@pytest.mark.usefixtures("in_this_process")
def test_launch_of_a_conversion(folder):
    write_model(folder / "published")
    found = launch("bids_mfi_convert", {"model_dir": "published", "bundle_dir": "new"})
    assert_complete(found, "bids_mfi_convert")


TESTS = {name: read(name)["tests"] for name in NAMES}
LONG = ("bids_mfi_demo", "bids_mfi_simulate")


def check_tests(name):
    """Launch the tests that a descriptor brings, each in its own folder."""
    for number, test in enumerate(TESTS[name]):
        home = Path.cwd() / f"{number}"
        home.mkdir()
        with contextlib.chdir(home):
            found = launch(name, test["invocation"])
        assert found.exit_code == test["assertions"]["exit-code"], found.stderr
        expected = {one["id"] for one in test["assertions"].get("output-files", [])}
        assert names_of(found.output_files) == expected


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(LONG)))
def test_the_tests_of_the_descriptor_pass(name, tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)  # without a blank in its name, for slurm
    check_tests(name)


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process", "quick_figures", "no_figures")
@pytest.mark.parametrize("name", LONG)
def test_the_long_tests_of_the_descriptor_pass(name, folder):
    check_tests(name)


# --- launched in a container -------------------------------------------------------------------


@pytest.fixture
def image():
    """Path of the Apptainer image of this version."""
    path = os.environ.get("BIDS_MFI_SIF", "")
    if not path:
        pytest.skip("BIDS_MFI_SIF is not set: no image is launched by its descriptor")
    if shutil.which("apptainer") is None:
        pytest.skip("apptainer is not installed: no image is launched by its descriptor")
    assert Path(path).is_file(), f"BIDS_MFI_SIF={path}: there is no such image"
    return path


def in_image(image):
    return ("--force-apptainer", "--no-pull", "--imagepath", image)


@pytest.mark.deploy
def test_launch_in_an_image(image, tmp_path, monkeypatch, vertebra_bundle):
    """The dataset lies elsewhere and is mounted by the launcher; the results come back here."""
    monkeypatch.chdir(tmp_path)
    write_description(tmp_path / "elsewhere")
    write_scan(tmp_path / "elsewhere", "01", seed=1)
    shutil.copytree(vertebra_bundle, tmp_path / "bundle")
    Path("here").mkdir()
    monkeypatch.chdir("here")
    invocation = {"bids_dir": "../elsewhere", "output_dir": "out", "nprocs": 1,
                  "analysis_level": "participant", "bundle": "../bundle"}  # fmt: skip
    found = launch(APP, invocation, *in_image(image))
    assert found.container_location == f"Local ({Path(image).name})"
    assert_complete(found, APP, without=BY_SESSION | OF_GROUP | {"error_texts", "graph"})
    found = launch(APP, {**invocation, "analysis_level": "group"}, *in_image(image))
    assert_complete(found, APP, without=BY_SESSION | {"error_texts", "graph"})


@pytest.mark.deploy
def test_launch_of_a_verb_in_an_image(image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invocation = {"out_dir": "new", "participants": 1}
    found = launch("bids_mfi_simulate", invocation, *in_image(image))
    assert_complete(found, "bids_mfi_simulate", without={"images_of_sessions"})
