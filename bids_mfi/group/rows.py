"""Rows of all scans' tables as one table.

A cell as text takes ten times the memory of a number, so the rows become columns of numbers in
batches, while the tables are read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_mfi.bids.columns import MUSCLE_COLUMNS
from bids_mfi.bids.scan_results import ScanRows, read_scan_rows
from bids_mfi.cells import MISSING_WORDS
from bids_mfi.muscles import rank_muscle

NUMBERS = frozenset(column.name for column in MUSCLE_COLUMNS if column.kind != "text")
SCAN = "scan"
FLAGS = "flags"
BATCH_SCANS = 1000

Header = tuple[str, ...]


@dataclass(slots=True)
class _Batch:
    """Tables with one header, and their rows as a table once there are enough of them."""

    paths: list[Path] = field(default_factory=list)
    scans: list[int] = field(default_factory=list)
    lines: list[list[Any]] = field(default_factory=list)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)


class RowCollector:
    """Rows of the tables that were added.

    Parameters
    ----------
    reserved : frozenset of str
        Columns that are left out.
    """

    def __init__(self, reserved: frozenset[str]) -> None:
        self._reserved = reserved
        self._open: dict[Header, _Batch] = {}
        self._full: dict[Header, list[_Batch]] = {}
        self._texts: dict[object, object] = {}

    def add(self, scan: int, path: Path, table: ScanRows) -> None:
        """Add the table of a scan, which is known by its number."""
        self._full.setdefault(table.columns, [])
        batch = self._open.setdefault(table.columns, _Batch())
        batch.paths.append(path)
        batch.scans += [scan] * len(table.rows)
        batch.lines += table.rows
        if len(batch.paths) >= BATCH_SCANS:
            self._close(table.columns)

    def join(
        self, place: Mapping[int, int], scans: Sequence[Mapping[str, Any]]
    ) -> tuple[pd.DataFrame, list[str]]:
        """Put all rows together, in the order of the scans and of the muscles.

        Parameters
        ----------
        place : mapping of int to int
            New number of each scan.
        scans : sequence of mapping
            By their old numbers; ``flags`` of each are used.

        Returns
        -------
        (DataFrame, list of str)
            And the columns that were left out.

        Raises
        ------
        InputError
            A table changed meanwhile and can no longer be read.
        """
        for header in list(self._open):
            self._close(header)
        self._restore_texts()
        known = dict.fromkeys(name for header in self._full for name in header)
        columns = [name for name in known if name not in self._reserved]
        parts = [batch.table for batches in self._full.values() for batch in batches]
        rows = pd.concat(parts, ignore_index=True).reindex(columns=[SCAN, *columns])
        rows[FLAGS] = _flags_of_rows(rows, scans)
        rows[SCAN] = rows[SCAN].map(place)
        order = np.lexsort((_rank_rows(rows), rows[SCAN].to_numpy()))
        return rows.iloc[order].reset_index(drop=True), [n for n in known if n in self._reserved]

    def _close(self, header: Header) -> None:
        """Make the table of a batch."""
        batch = self._open.pop(header)
        cells = dict(zip(header, zip(*batch.lines, strict=True), strict=True))
        batch.table = pd.DataFrame(
            {SCAN: batch.scans}
            | {n: self._make_column(n, cells[n]) for n in header if n not in self._reserved}
        )
        batch.lines, batch.scans = [], []
        self._full[header].append(batch)

    def _make_column(self, name: str, cells: Sequence[Any]) -> "pd.Series[Any]":
        """Make a column of numbers, or of texts each of which is stored once."""
        if name in NUMBERS:
            return _to_numbers(pd.Series(list(cells)))
        return pd.Series([self._texts.setdefault(cell, cell) for cell in cells])

    def _restore_texts(self) -> None:
        """Make a column text everywhere if it cannot be numbers everywhere."""
        batches = [batch for found in self._full.values() for batch in found]
        odd = {name for batch in batches for name in NUMBERS.intersection(batch.table)
               if batch.table[name].dtype != np.float64}  # fmt: skip
        for batch in batches:
            lost = [name for name in odd.intersection(batch.table)
                    if batch.table[name].dtype == np.float64]  # fmt: skip
            tables = [read_scan_rows(path) for path in batch.paths] if lost else []
            for name in lost:
                batch.table[name] = [
                    row[table.columns.index(name)] for table in tables for row in table.rows
                ]


def _to_numbers(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Make a column of measures numbers; it stays text where a cell is neither that nor missing."""
    if cells.dtype == np.float64:
        return cells
    words = cells.tolist()
    missing = {word for word in set(words) if str(word).lower() in MISSING_WORDS}
    known = pd.Series([np.nan if word in missing else word for word in words])
    try:
        return pd.to_numeric(known).astype(np.float64)
    except (ValueError, TypeError):
        return cells


def _rank_rows(rows: pd.DataFrame) -> np.ndarray:
    """Place of each row's muscle and side in the order of the paper."""
    pairs = list(zip(rows["muscle"], rows["hemi"], strict=True))
    ranks = {pair: rank_muscle(*pair) for pair in set(pairs)}
    numbers = {pair: rank for rank, pair in enumerate(sorted(ranks, key=ranks.__getitem__))}
    return np.array([numbers[pair] for pair in pairs])


def _flags_of_rows(rows: pd.DataFrame, scans: Sequence[Mapping[str, Any]]) -> list[str]:
    """Codes of the flags that concern each row's muscle and side."""
    found = []
    for number, muscle, hemi in zip(rows[SCAN], rows["muscle"], rows["hemi"], strict=True):
        flags: Iterable[Any] = scans[number].get("flags", ())
        names = (muscle, f"{muscle}_{hemi}")
        found.append("; ".join(flag.code for flag in flags if flag.muscle in names))
    return found
