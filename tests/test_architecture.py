"""The house holds: floors, forbidden imports, and a quick --help."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bids_mfi"
HEAVY = ("torch", "monai", "nipype", "bids", "pandas", "matplotlib", "scipy", "nibabel", "numpy")


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


def _functions():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path.relative_to(ROOT), node


def _body_lines(node):
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno - body[0].lineno + 1) if body else 0


def test_functions_are_short():
    lengths = sorted(_body_lines(node) for _, node in _functions())
    assert lengths[len(lengths) // 2] <= 10
    long = [f"{path}: {node.name}" for path, node in _functions() if _body_lines(node) > 60]
    assert not long


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


def test_every_module_says_what_it_must_not_know():
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
