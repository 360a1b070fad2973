"""Scans as text for --dry-run."""

import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_mfi.counts import count_noun
from bids_mfi.discovery.naming import CONTRAST_WORDS
from bids_mfi.discovery.pair import UnusableScan
from bids_mfi.measure.pair import Contrast, DixonPair
from bids_mfi.printing import escape_text

WIDTH = 120
CURRENT = "current"
PLAIN_STATES = ("missing", CURRENT)

Scan = DixonPair | UnusableScan


def describe_as_table(
    scans: Sequence[Scan], bids_dir: Path, states: Mapping[str, str] | None = None
) -> str:
    """Write the scans as a plain table: a block of rows per scan, one image or remark per row.

    Parameters
    ----------
    scans : sequence of DixonPair or UnusableScan
    bids_dir : Path
        The paths are shown relative to it.
    states : mapping of str to str, optional
        State of each pair's results, by the scan's name: ``missing``, ``current``, or the sentence
        why other results stay.
    """
    states = states or {}
    rows = [row for scan in scans for row in _rows(scan, bids_dir, states)]
    first = max([len("scan"), *(len(row[0]) for row in rows)])
    second = len("recognised by")
    header = [("scan", "", "image"), ("-" * first, "-" * second, "-" * 40)]
    lines = [f"{a:<{first}}  {b:<{second}}  {c}".rstrip() for a, b, c in (*header, *rows)]
    return "\n".join([*lines, "", _summary(scans, states)])


def _rows(scan: Scan, bids_dir: Path, states: Mapping[str, str]) -> list[tuple[str, str, str]]:
    cells = [(CONTRAST_WORDS[contrast], _image(scan, contrast, bids_dir)) for contrast in Contrast]
    cells.append(("recognised by", scan.recognised_by or "-"))
    if states.get(scan.scan) == CURRENT:
        cells.append(("results", "already there, made from these images in this way"))
    problem = problem_of(scan, states)
    if problem is not None:
        lines = textwrap.wrap(problem, WIDTH - 40, break_long_words=False, break_on_hyphens=False)
        cells += [("problem" if line == lines[0] else "", line) for line in lines]
    return [(escape_text(scan.scan) if row == 0 else "", *cell) for row, cell in enumerate(cells)]


def _image(scan: DixonPair | UnusableScan, contrast: Contrast, bids_dir: Path) -> str:
    number = _volume(scan, contrast)
    path = escape_text(_relative(getattr(scan, contrast.value), bids_dir) or "-")
    return path if number is None else f"{path}, volume {number}"


def _volume(scan: DixonPair | UnusableScan, contrast: Contrast) -> int | None:
    """Volume of a 4-D file, counted from 1."""
    number = scan.volume_of(contrast) if isinstance(scan, DixonPair) else None
    return None if number is None else number + 1


def _summary(scans: Sequence[Scan], states: Mapping[str, str]) -> str:
    bad = sum(problem_of(scan, states) is not None for scan in scans)
    done = sum(states.get(scan.scan) == CURRENT for scan in scans)
    already = f"{done} done already, " if done else ""
    able = len(scans) - bad - done
    return f"{count_noun(len(scans), 'scan')}: {able:,} can be processed, {already}{bad} cannot."


def describe_as_json(
    scans: Sequence[Scan], bids_dir: Path, states: Mapping[str, str] | None = None
) -> str:
    """Write the scans as a JSON list of objects.

    Each has ``in_phase``, ``out_phase``, ``water``, ``fat`` (paths relative to BIDS_DIR, or null),
    ``entities`` (short keys), ``recognised_by`` (text, or null) and ``problem`` (null, or the
    sentence a person would read). Where images are volumes of a 4-D file, ``volumes`` has their
    numbers, counted from 1. With ``states`` there is also ``results``: ``missing``, ``current``,
    ``other`` (``problem`` says why they stay), or null.
    """
    return json.dumps([_as_object(scan, bids_dir, states) for scan in scans], indent=2)


def _as_object(scan: Scan, bids_dir: Path, states: Mapping[str, str] | None) -> dict[str, object]:
    paths = {c.value: _relative(getattr(scan, c.value), bids_dir) for c in Contrast}
    volumes = {c.value: number for c in Contrast if (number := _volume(scan, c)) is not None}
    found: dict[str, object] = {
        **paths,
        **({"volumes": volumes} if volumes else {}),
        "entities": dict(scan.entities),
        "recognised_by": scan.recognised_by or None,
        "problem": problem_of(scan, states or {}),
    }
    return found if states is None else found | {"results": _name_state(states.get(scan.scan))}


def _name_state(state: str | None) -> str | None:
    return state if state is None or state in PLAIN_STATES else "other"


def problem_of(scan: Scan, states: Mapping[str, str]) -> str | None:
    """Give the problem of an unusable scan, or of a pair whose other results stay; else None."""
    if isinstance(scan, UnusableScan):
        return scan.problem
    state = states.get(scan.scan)
    return None if state is None or state in PLAIN_STATES else state


def _relative(path: Path | None, bids_dir: Path) -> str | None:
    return None if path is None else path.relative_to(os.path.abspath(bids_dir)).as_posix()
