"""Tables of measures, one row per scan, muscle and side: reading and checking."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_mfi.cells import (
    MISSING,
    PREFIXES,
    is_missing,
    parse_decimal,
    read_cells,
    shorten_cell,
    strip_prefix,
)
from bids_mfi.counts import list_names
from bids_mfi.errors import InputError
from bids_mfi.indices import is_index, plain_index
from bids_mfi.muscles import HEMIS, KNOWN_MUSCLES

if TYPE_CHECKING:
    import pandas as pd

SCAN_KEYS = ("participant_id", "session_id", "run_id")
KEYS = (*SCAN_KEYS, "muscle", "hemi")
VALUES = ("volume_ml", "mfi_percent")
NAMED_ROWS = 3
HIGHEST = 1e9  # no volume is beyond
# MFI of noise may be a little below 0 or above 100.
RANGES = {"volume_ml": (0.0, HIGHEST), "mfi_percent": (-100.0, 200.0)}
RANGE_WORDS = {"volume_ml": "from 0 on", "mfi_percent": "from -100 to 200"}


def read_long_table(path: Path) -> "pd.DataFrame":
    """Read a table with one row per scan and muscle, such as ``group_mfi.tsv``.

    Parameters
    ----------
    path : Path
        Tab-separated, UTF-8. Columns ``participant_id``, ``muscle``, ``hemi``, ``volume_ml`` and
        ``mfi_percent`` are needed; ``session_id``, ``run_id`` and others are optional.

    Returns
    -------
    DataFrame
        All columns, the index being the line in the file. Identifiers are text without ``sub-``,
        ``ses-`` and ``run-``, ``n/a`` where missing, and a run without leading zeros;
        ``session_id`` and ``run_id`` are always present. ``volume_ml`` and ``mfi_percent`` are
        float64, NaN where missing.

    Raises
    ------
    InputError
        It cannot be read, lacks a column, has no rows, or has an invalid cell.
    """
    table = _read_measures(path, ("participant_id", "muscle", "hemi", *VALUES), SCAN_KEYS)
    for column in SCAN_KEYS:
        cells = table[column] if column in table else [MISSING] * len(table)
        table[column] = [_tidy_identifier(column, str(cell)) for cell in cells]
    nameless = table.index[table["participant_id"] == MISSING]
    if len(nameless):
        raise InputError(
            f"{path}: line {nameless[0]} has no participant_id. Expected one on every line; fill "
            "it in or remove the line."
        )
    return table


def _read_measures(
    path: Path, needed: Sequence[str], identifiers: Sequence[str] = ()
) -> "pd.DataFrame":
    import pandas as pd

    table = read_cells(path, needed, identifiers)
    table["muscle"] = [tidy_muscle(path, line, str(x)) for line, x in table["muscle"].items()]
    table["hemi"] = [tidy_hemi(path, line, str(cell)) for line, cell in table["hemi"].items()]
    for column in VALUES:
        numbers = [parse_measure(path, line, column, str(x)) for line, x in table[column].items()]
        table[column] = pd.Series(numbers, index=table.index, dtype="float64")
    return table


def _tidy_identifier(column: str, cell: str) -> str:
    """Strip the BIDS prefix; of a run also leading zeros and what pandas makes of integers.

    >>> _tidy_identifier("participant_id", "sub-01"), _tidy_identifier("run_id", "01.0")
    ('01', '1')
    """
    if is_missing(cell):
        return MISSING
    label = strip_prefix(column, cell)
    if column != "run_id":
        return label
    whole = label.removesuffix(".0")
    return plain_index("run", whole) if is_index(whole) else label


def tidy_muscle(path: Path, line: Any, cell: str) -> str:
    """Write the paper's abbreviations as the paper does.

    Raises
    ------
    InputError
        The cell names no muscle.
    """
    if is_missing(cell) or cell.lower() == "mean":
        raise InputError(
            f"{path}: line {line} has '{shorten_cell(cell)}' for muscle, expected an abbreviation "
            "such as TR."
        )
    return KNOWN_MUSCLES.get(cell.lower(), cell)


def tidy_hemi(path: Path, line: Any, cell: str) -> str:
    """Write a side as ``L`` or ``R``.

    Raises
    ------
    InputError
        The cell names no side.
    """
    if cell.lower() not in HEMIS:
        raise InputError(
            f"{path}: line {line} has '{shorten_cell(cell)}' for hemi, expected L or R (the "
            "subject's side)."
        )
    return HEMIS[cell.lower()]


def parse_measure(path: Path, line: Any, column: str, cell: str) -> float:
    """Read a cell of one of VALUES; NaN where it is missing.

    Raises
    ------
    InputError
        It is not a number, or outside RANGES.
    """
    if is_missing(cell):
        return math.nan
    try:
        value = parse_decimal(cell)
    except ValueError:
        value = math.inf
    low, high = RANGES[column]
    if not low <= value <= high:
        hint = " Write decimals with a point." if "," in cell else ""
        raise InputError(
            f"{path}: line {line} has '{shorten_cell(cell)}' for {column}, expected a number "
            f"{RANGE_WORDS[column]}, or n/a; correct it.{hint}"
        )
    return value


def check_unique(table: "pd.DataFrame", keys: Sequence[str], path: Path, reason: str = "") -> None:
    """Refuse a table in which two lines have the same keys.

    Raises
    ------
    InputError
        It names the file and the lines; ``reason`` follows.
    """
    twice = table[table.duplicated(list(keys), keep=False)]
    if twice.empty:
        return
    same = twice.groupby(list(keys), sort=False)
    found = (
        f"lines {' and '.join(map(str, rows.index))} ({name_row(rows.iloc[0], keys)})"
        for _, rows in same
    )
    raise InputError(
        f"{path}: {list_names(found, NAMED_ROWS)} have the same "
        f"{', '.join(keys)}; expected one line for each. "
        f"{reason or 'Distinguish scans by session_id or run_id, or remove the surplus lines.'}"
    )


def name_scan(row: "pd.Series[Any]") -> str:
    """Name the scan of a row: ``sub-01 ses-a run-2``, without what is missing."""
    parts = [(PREFIXES[key], row[key]) for key in SCAN_KEYS if key in row.index]
    return " ".join(f"{prefix}{value}" for prefix, value in parts if value != MISSING)


def name_row(row: "pd.Series[Any]", keys: Sequence[str] = KEYS) -> str:
    """Name a row by its scan, muscle and side."""
    muscle = f"{row['muscle']}_{row['hemi']}" if "muscle" in keys else ""
    return f"{name_scan(row)} {muscle}".strip()
