"""The scans' tables by vertebral level as one."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from bids_mfi.bids.names import MFI_TABLE, is_vertebra_map
from bids_mfi.bids.scan_files import hash_file
from bids_mfi.bids.scan_results import read_levels
from bids_mfi.errors import DatasetError, PairError
from bids_mfi.findings import Finding, make_findings
from bids_mfi.measure.levels import LevelMeasure

LEVEL_ENDING = "_levels.tsv"
COLUMNS = tuple(field.name for field in fields(LevelMeasure))
LOST = (
    "Tables by vertebral level that are missing or cannot be read ({n}): left out. Run the "
    "participant level again."
)
CHANGED = (
    "Tables by vertebral level that were changed, or whose vertebrae were, after the participant "
    "level wrote them ({n}): left out. Run the participant level again with --overwrite."
)
WITHOUT = (
    "Scans without measures by vertebral level, while others have them ({n}): their weights label "
    "no vertebrae. Run the participant level with one bundle and --overwrite."
)


@dataclass(slots=True)
class _Search:
    """Tables that were read, and the names of those left out."""

    parts: list[pd.DataFrame] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)


def collect_levels(
    tables: Iterable[tuple[Path, Mapping[str, Any] | None]], scan_column: str
) -> tuple[pd.DataFrame, list[Finding]]:
    """Read the table by vertebral level beside each scan's table of muscles, if there is one.

    Parameters
    ----------
    tables : iterable of (Path, mapping or None)
        Table of muscles of each scan, and the files that its sidecar lists with their sha256.
    scan_column : str
        Name of the column for the scan's place in ``tables``.

    Returns
    -------
    (DataFrame, list of Finding)
        One row per scan, level, muscle and side, in the order of the scans; and the tables left
        out.
    """
    search = _Search()
    for number, (table, written) in enumerate(tables):
        path = table.with_name(table.name.removesuffix(MFI_TABLE) + LEVEL_ENDING)
        _read(path, written, number, scan_column, search)
    findings = make_findings("error", LOST, search.lost)
    findings += make_findings("warning", CHANGED, search.changed)
    if search.parts:
        findings += make_findings("note", WITHOUT, search.without)
    return _join(search.parts, scan_column), findings


def _read(
    path: Path, written: Mapping[str, Any] | None, number: int, scan_column: str, search: _Search
) -> None:
    """Read one table, or note why not."""
    there, listed = os.path.lexists(path), written is not None and path.name in written
    if not there and not listed:
        search.without.append(path.name.removesuffix(LEVEL_ENDING))
        return
    try:
        rows = read_levels(path)
        changed = written is not None and _is_changed(path, written)
    except (DatasetError, PairError):
        rows, changed = [], False
    if changed:
        search.changed.append(path.name)
    elif not rows:
        search.lost.append(path.name)
    else:
        part = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
        part.insert(0, scan_column, number)
        search.parts.append(part)


def _is_changed(path: Path, written: Mapping[str, Any]) -> bool:
    """Whether a table by level, or the label map of the vertebrae, has changed since."""
    if path.name not in written:
        return True
    names = (path.name, *(name for name in written if is_vertebra_map(name)))
    files = {path.with_name(Path(name).name): written[name] for name in names}
    return any(file.is_file() and hash_file(file) != mark for file, mark in files.items())


def _join(parts: Sequence[pd.DataFrame], scan_column: str) -> pd.DataFrame:
    if not parts:
        return pd.DataFrame(columns=[scan_column, *COLUMNS])
    return pd.concat(parts, ignore_index=True)
