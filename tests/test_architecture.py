"""The house holds: floors, forbidden imports, and a quick --help."""

import ast
import json
import os
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import SHAPE, write_scan
from group_folder import BUNDLE, make_measure

from bids_mfi.bids.names import page_path
from bids_mfi.bids.output_folder import write_dataset_files
from bids_mfi.bids.saved_scans import save_scan, scan_state
from bids_mfi.bids.scan_files import ScanRecord, ScanResults, identify_scan
from bids_mfi.evaluation.run import evaluate_folders
from bids_mfi.group.collect import collect_tables
from bids_mfi.images import encode_image, read_grid
from bids_mfi.measure.levels import LevelMeasure
from bids_mfi.measure.pair import DixonPair
from bids_mfi.muscles import WEBER2021
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.options import RunOptions
from bids_mfi.participant.pages import PageDesk
from bids_mfi.participant.plan import RunPlan
from bids_mfi.participant.plugins import choose_plugin
from bids_mfi.report.figures import FIGURE_NAMES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bids_mfi"
HEAVY = ("torch", "monai", "nipype", "bids", "pandas", "matplotlib", "scipy", "nibabel", "numpy")
MOST_BODY_LINES = 50
MOST_MEDIAN_BODY_LINES = 7


def _modules_after(code):
    listing = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_parsers_need_nothing_heavy():
    loaded = _modules_after(
        "from bids_mfi.cli import build_parser, build_verb_parser\n"
        "build_parser().format_help(); build_verb_parser().format_help()"
    )
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    "floor",
    [
        "grid",
        "muscles",
        "measure.dixon",
        "measure.quantify",
        "measure.quality",
        "measure.overlap",
        "statistics.agreement",
    ],
)
def test_science_and_words_load_no_framework(floor):
    loaded = _modules_after(f"import bids_mfi.{floor}")
    assert not loaded & {"torch", "monai", "nipype", "bids"}


def test_floors_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout


def test_contributing_draws_the_floors_of_the_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    floors = next(c["layers"] for c in settings["contracts"] if c["type"] == "layers")
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text.split("| floor |")[1].split("\n\n")[0].splitlines()[2:]
    drawn = [re.findall(r"`(\w+)/?`", row.split("|")[2]) for row in table]
    assert drawn == [floor.split(" | ") for floor in floors]


def _functions():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path.relative_to(ROOT), node


def _body_lines(node):
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno - body[0].lineno + 1) if body else 0


def test_functions_are_short():
    lengths = {
        f"{path}:{node.lineno} {node.name}": _body_lines(node) for path, node in _functions()
    }
    median = statistics.median(lengths.values())
    print(f"median function body: {median} lines of {len(lengths)} functions")
    assert median <= MOST_MEDIAN_BODY_LINES
    assert {name: n for name, n in lengths.items() if n > MOST_BODY_LINES} == {}


def test_only_the_door_and_the_graph_print_or_exit():
    offenders = [
        f"{path}:{call.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parts[-2] != "cli" and path.stem not in {"workflow", "progress", "__main__"}
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and (
            (isinstance(call.func, ast.Name) and call.func.id in {"print", "exit"})
            or (isinstance(call.func, ast.Attribute) and ast.unparse(call.func) == "sys.exit")
        )
    ]
    assert not offenders


def test_every_module_has_a_docstring():
    for path in sorted(PACKAGE.rglob("*.py")):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_version_comes_from_one_place():
    import bids_mfi

    help_text = subprocess.run(
        [sys.executable, "run.py", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert help_text.stdout.strip() == f"bids_mfi {bids_mfi.__version__}"
    assert f"version: {bids_mfi.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_public_names_mean_one_thing():
    """No two files of the package define a function or class of the same public name."""
    homes = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(path.relative_to(PACKAGE).as_posix())
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_files_are_short():
    lengths = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 450} == {}


# --- who reads a scan's results ----------------------------------------------------------------

SCAN_FILES = ("_mfi.json", "_mfi.tsv", "_levels.tsv")
READERS = {"reading.py", "cells.py"}  # read any file for their callers
opened = None  # while it is a set, who opened a file of a scan to read it


def write_results(bids_dir, output_dir):
    """One scan with all the files that it can have."""
    pair = DixonPair(*write_scan(bids_dir), (("sub", "01"), ("acq", "dixon")), "names")
    record = identify_scan(ScanRecord(pair, bids_dir, BUNDLE, "computed"))
    write_dataset_files(output_dir, bids_dir, WEBER2021, BUNDLE)
    labels, grid = np.zeros(SHAPE, np.int16), read_grid(pair.in_phase)
    labels.ravel()[: len(WEBER2021) * 6] = np.repeat([one.index for one in WEBER2021], 6)
    label_map = encode_image(labels, grid)
    results = ScanResults(
        dseg=label_map,
        ffmap=label_map,
        measures=tuple(make_measure(muscle, 10.0, 5.0) for muscle in WEBER2021),
        flags=(),
        figures=tuple((name, b"png") for name in FIGURE_NAMES),
        vertebrae=label_map,
        levels=(LevelMeasure("level", "C4", 1, "TR", "L", *[1.0] * 6, "complete"),),
    )
    return save_scan(output_dir, record, results), record


def note_opening(event, arguments):
    """Note the ending of a scan's file, and the file of the package that opened it to read it."""
    if opened is None or event != "open" or not str(arguments[0]).endswith(SCAN_FILES):
        return
    if arguments[2] & os.O_ACCMODE != os.O_RDONLY:
        return
    frame = sys._getframe()
    while frame := frame.f_back:
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents and path.name not in READERS:
            ending = next(one for one in SCAN_FILES if str(arguments[0]).endswith(one))
            opened.add((ending, path.relative_to(PACKAGE).as_posix(), frame.f_code.co_name))
            return


def test_one_module_reads_the_results_of_a_scan(tmp_path, tiny_bundle, monkeypatch):
    """All flows that read results, with an eye on who opens the files; a hash reads no content."""
    bids_dir, output_dir = tmp_path / "in", tmp_path / "out"
    paths, record = write_results(bids_dir, output_dir)
    options = RunOptions(bids_dir, output_dir, "participant", bundle=tiny_bundle)
    sys.addaudithook(note_opening)
    monkeypatch.setattr(sys.modules[__name__], "opened", set())
    assert scan_state(paths, record.fingerprint) == "current"
    plan = RunPlan(
        options,
        load_bundle(tiny_bundle),
        BUNDLE,
        choose_plugin(options),
        scans=(record.pair,),
        states={record.pair.scan: "current"},
    )
    desk = PageDesk(plan)
    assert desk.write_rest({})[1] == ()
    assert b"cannot be shown" not in page_path(output_dir, "01").read_bytes()
    assert len(collect_tables(options).levels) == 1
    for measure in ("images", "tables"):
        evaluate_folders(output_dir, output_dir, tmp_path / measure, measure)
    found = {(ending, path) for ending, path, name in opened if name != "hash_file"}
    assert found == {(ending, "bids/scan_results.py") for ending in SCAN_FILES}
