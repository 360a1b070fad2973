"""Every command of the program in README and docs is understood by its parsers."""

import re
import shlex
from pathlib import Path

import pytest

from bids_mfi.cli.app import build_parser
from bids_mfi.cli.verbs import build_verb_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(?:bash)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^ {4}\S.*\n)+(?: {4}.*\n)*", re.MULTILINE)
# What stands before the arguments of each parser; the last one in a command counts.
APP = re.compile(r"(?:run\.py|bids_mfi:cpu|bids_mfi\.sif|\$MFI)$")
STARTS = re.compile(r"(?:\S*python3?|\S*run\.py|docker|apptainer|datalad)$")
VERBS = re.compile(r"(?:bids_mfi_tools|bids_mfi)$")


def list_commands(text):
    blocks = FENCED.findall(text) + INDENTED.findall(FENCED.sub("", text))
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines]


def find_arguments(line):
    """The parser and the arguments of a command of ours, or None."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return None
    if not words or not STARTS.match(words[0]) or words[:2] == ["docker", "build"]:
        return None
    if any("$MFI " in word for word in words):
        words = next(word for word in words if "$MFI " in word).split()
    found = None
    for place, word in enumerate(words):
        image = word.endswith((".sif", "bids_mfi:cpu"))
        if APP.search(word) and not (image and words[0] == "apptainer" and words[1] != "run"):
            found = (build_parser, words[place + 1 :])
        if VERBS.fullmatch(word) and (word != "bids_mfi" or words[place - 1] == "-m"):
            found = (build_verb_parser, words[place + 1 :])
    return found


def list_ours():
    for page in PAGES:
        for line in list_commands(page.read_text()):
            found = find_arguments(line)
            if (
                found
                and "--help" not in line
                and not re.search(r"\{|\[|\.\.\.", line.split("#")[0])
            ):
                yield pytest.param(*found, id=f"{page.name}: {line[:60]}")


@pytest.mark.parametrize(("build", "arguments"), list(list_ours()))
def test_command_is_understood(build, arguments):
    assert build().parse_args(arguments)


def test_commands_of_every_page_are_found():
    pages = {param.id.split(":")[0] for param in list_ours()}
    assert {"README.md", "docker.md", "hpc.md", "sharing.md", "group.md"} <= pages


@pytest.mark.parametrize("page", ["docker.md", "hpc.md", "sharing.md"])
def test_blocks_that_the_deploy_tests_run_are_run(page):
    names = re.findall(r"<!-- test: (\w+) -->", (ROOT / "docs" / page).read_text())
    tests = (ROOT / "tests" / "test_deploy.py").read_text()
    assert names
    assert [name for name in names if f'read_block("{page}", "{name}")' not in tests] == []
