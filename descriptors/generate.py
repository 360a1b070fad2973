"""Write the Boutiques descriptors from the parsers, the columns and ``facts.toml``.

``python descriptors/generate.py`` rewrites every descriptor in this folder. What the parser knows
(flags, types, choices, defaults, texts of ``--help``) comes from the parser; ``facts.toml`` has the
rest: names, outputs, resources, tests, and texts where that of ``--help`` is too short.
"""

import argparse
import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bids_mfi import __version__
from bids_mfi.bids import columns
from bids_mfi.cli import values
from bids_mfi.cli.app import build_parser
from bids_mfi.cli.output import NOTICE
from bids_mfi.cli.verbs import build_verb_parser
from bids_mfi.options import HIGHEST_SEED

FOLDER = Path(__file__).parent
APP = "bids_mfi"
SILENT = ("help", "version")
LIMITS: dict[Callable[[str], Any], dict[str, Any]] = {
    values.positive_int: {"integer": True, "minimum": 1},
    values.whole_number: {"integer": True, "minimum": 0},
    values.seed: {"integer": True, "minimum": 0, "maximum": HIGHEST_SEED},
    values.positive_float: {"minimum": 0, "exclusive-minimum": True},
    values.spacing_mm: {"minimum": 0.3, "maximum": 20},
    values.variation: {"minimum": 0, "maximum": 2},
}
MOST_VERBOSE = 3


def list_parsers() -> dict[str, argparse.ArgumentParser]:
    """Parser of the App and of each verb, by the name of the descriptor."""
    actions = build_verb_parser()._actions
    verbs = next(action.choices for action in actions if isinstance(action.choices, dict))
    return {APP: build_parser(), **{f"{APP}_{verb}": one for verb, one in verbs.items()}}


def make_descriptor(
    name: str, parser: argparse.ArgumentParser, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Make the descriptor of one parser; ``facts`` are those of ``facts.toml``."""
    common, own = facts["common"], facts[name]
    actions = [one for one in parser._actions if one.dest not in SILENT]
    image = f"{APP}:{__version__}"
    program = APP if name == APP else f"{APP}_tools {name.removeprefix(APP + '_')}"
    order = sorted(actions, key=lambda action: bool(action.option_strings))
    groups = _make_groups(parser, own)
    inputs = [_make_input(action, common, own, groups) for action in actions]
    return {
        "name": name.replace(f"{APP}_", f"{APP} "),
        "tool-version": __version__,
        "schema-version": "0.5",
        "description": f"{own['description']} {NOTICE} The image {image} {common['image']}",
        "author": common["author"],
        "command-line": " ".join([program, *(f"[{action.dest.upper()}]" for action in order)]),
        "container-image": {"type": "docker", "image": image, "entrypoint": True},
        "inputs": inputs,
        **({"groups": groups} if groups else {}),
        "output-files": [_make_output(one) for one in own["outputs"]],
        "error-codes": [
            {"code": int(code), "description": text}
            for code, text in (common["errors"] | own.get("errors", {})).items()
        ],
        "suggested-resources": own["resources"],
        "tags": {"domain": common["domain"], **own["tags"]},
        "tests": own["tests"],
    }


def _make_groups(parser: argparse.ArgumentParser, own: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the groups of ``--help`` that have a title of their own."""
    titled = [one for one in parser._action_groups
              if one.title not in ("positional arguments", "options")]  # fmt: skip
    return [
        {"id": str(group.title).replace(" ", "_"), "name": group.title}
        | own.get("groups", {}).get(group.title, {})
        | {"members": [action.dest for action in group._group_actions]}
        for group in titled
    ]


def _make_input(
    action: argparse.Action,
    common: Mapping[str, Any],
    own: Mapping[str, Any],
    groups: list[dict[str, Any]],
) -> dict[str, Any]:
    """Make the input of one argument; ``facts.toml`` replaces or adds keys."""
    facts: dict[str, Any] = common["inputs"].get(action.dest, {})
    facts = facts | own.get("inputs", {}).get(action.dest, {})
    of_group = any("description" in one and action.dest in one["members"] for one in groups)
    note = f" {common['group_note']}" if of_group else ""
    described = {"description": _describe(action) + note}
    made = {"id": action.dest, "name": ""} | described | _make_type(action, common["written"])
    made |= {"value-key": f"[{action.dest.upper()}]"} | _make_flag(action) | _make_list(action)
    return made | facts


def _describe(action: argparse.Action) -> str:
    """Turn the text of ``--help`` into a sentence."""
    text = (action.help or "") % vars(action)
    return f"{text[:1].upper()}{text[1:]}."


def _make_type(action: argparse.Action, written: list[str]) -> dict[str, Any]:
    """Give type, limits, choices and default; a path is a file unless the program makes it."""
    if isinstance(action, argparse._CountAction):
        choices = ["-" + "v" * count for count in range(1, MOST_VERBOSE + 1)]
        return {"type": "String", "value-choices": choices}
    if isinstance(action, argparse.BooleanOptionalAction):
        return {"type": "String", "value-choices": list(action.option_strings)}
    if action.nargs == 0:
        return {"type": "Flag"}
    is_file = action.type is Path and action.dest not in written
    limits = LIMITS.get(action.type, {}) if callable(action.type) else {}
    made: dict[str, Any] = {"type": "File" if is_file else "Number" if limits else "String"}
    made |= limits
    if action.choices:
        made["value-choices"] = list(action.choices)
    if action.default not in (None, (), [], ""):
        made["default-value"] = action.default
    return made


def _make_flag(action: argparse.Action) -> dict[str, Any]:
    """Name the first long spelling, unless the value is itself the word on the command line."""
    optional = {} if action.required else {"optional": True}
    is_word = isinstance(action, argparse._CountAction | argparse.BooleanOptionalAction)
    flags = [flag for flag in action.option_strings if flag.startswith("--")]
    return optional if is_word or not flags else {"command-line-flag": flags[0]} | optional


def _make_list(action: argparse.Action) -> dict[str, Any]:
    """Say how many values there may be, and how they are separated."""
    if isinstance(action, argparse._AppendAction):
        flag = action.option_strings[0]
        separators = {"command-line-flag-separator": "=", "list-separator": f" {flag}="}
        return {"list": True, "min-list-entries": 1} | separators
    if isinstance(action.nargs, int) and action.nargs > 1:
        return {"list": True, "min-list-entries": action.nargs, "max-list-entries": action.nargs}
    return {"list": True, "min-list-entries": 1} if action.nargs == "+" else {}


def _make_output(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Make an output; a path with a star is a list, and ``columns`` names its columns."""
    made = {"optional": True} | dict(facts)
    table = made.pop("columns", None)
    if table:
        named = ", ".join(column.name for column in getattr(columns, table))
        made["description"] += f" Columns: {named}."
    return made | ({"list": True} if "*" in made["path-template"] else {})


def encode_descriptors() -> dict[str, str]:
    """Text of each descriptor, by the name of its file."""
    facts = tomllib.loads((FOLDER / "facts.toml").read_text(encoding="utf-8"))
    made = {name: make_descriptor(name, one, facts) for name, one in list_parsers().items()}
    return {
        f"{name}.json": json.dumps(one, indent=2, ensure_ascii=False) + "\n"
        for name, one in made.items()
    }


if __name__ == "__main__":
    for file, text in encode_descriptors().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
