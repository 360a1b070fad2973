"""Scans as text for --dry-run; must not look for scans or open files."""

import json
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

from bids_mfi.discovery.naming import CONTRAST_WORDS
from bids_mfi.discovery.pair import UnusableScan
from bids_mfi.dixon import Contrast, DixonPair
from bids_mfi.printing import escape_text

WIDTH = 120


def describe_as_table(scans: Sequence[DixonPair | UnusableScan], bids_dir: Path) -> str:
    """Write the scans as a plain table: a block of rows a scan, an image or remark a row.

    Parameters
    ----------
    scans : sequence of DixonPair or UnusableScan
    bids_dir : Path
        The paths are shown relative to it.
    """
    rows = [row for scan in scans for row in _rows(scan, bids_dir)]
    first = max([len("scan"), *(len(row[0]) for row in rows)])
    second = len("recognised by")
    header = [("scan", "", "image"), ("-" * first, "-" * second, "-" * 40)]
    lines = [f"{a:<{first}}  {b:<{second}}  {c}".rstrip() for a, b, c in (*header, *rows)]
    return "\n".join([*lines, "", _summary(scans)])


def _rows(scan: DixonPair | UnusableScan, bids_dir: Path) -> list[tuple[str, str, str]]:
    cells = [(CONTRAST_WORDS[contrast], _image(scan, contrast, bids_dir)) for contrast in Contrast]
    cells.append(("recognised by", scan.recognised_by or "-"))
    problem = problem_of(scan)
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


def _summary(scans: Sequence[DixonPair | UnusableScan]) -> str:
    bad = sum(problem_of(scan) is not None for scan in scans)
    plural = "" if len(scans) == 1 else "s"
    return f"{len(scans)} scan{plural}: {len(scans) - bad} can be processed, {bad} cannot."


def describe_as_json(scans: Sequence[DixonPair | UnusableScan], bids_dir: Path) -> str:
    """Write the scans as a JSON list of objects.

    Each has ``in_phase``, ``out_phase``, ``water``, ``fat`` (paths relative to BIDS_DIR, or null),
    ``entities`` (short keys), ``recognised_by`` (text, or null) and ``problem`` (null, or the
    sentence a person would read). Where images are volumes of a 4-D file, ``volumes`` has their
    numbers, counted from 1.
    """
    return json.dumps([_as_object(scan, bids_dir) for scan in scans], indent=2)


def _as_object(scan: DixonPair | UnusableScan, bids_dir: Path) -> dict[str, object]:
    paths = {c.value: _relative(getattr(scan, c.value), bids_dir) for c in Contrast}
    volumes = {c.value: number for c in Contrast if (number := _volume(scan, c)) is not None}
    return {
        **paths,
        **({"volumes": volumes} if volumes else {}),
        "entities": dict(scan.entities),
        "recognised_by": scan.recognised_by or None,
        "problem": problem_of(scan),
    }


def problem_of(scan: DixonPair | UnusableScan) -> str | None:
    """Give the problem of an unusable scan; None for a pair."""
    return scan.problem if isinstance(scan, UnusableScan) else None


def _relative(path: Path | None, bids_dir: Path) -> str | None:
    return None if path is None else path.relative_to(os.path.abspath(bids_dir)).as_posix()
