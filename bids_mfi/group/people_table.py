"""Lines of ``participants.tsv`` and similar tables, by identifier."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bids_mfi.cells import (
    PREFIXES,
    find_alias,
    hint_at_separator,
    is_missing,
    list_columns,
    read_cells,
    strip_prefix,
)
from bids_mfi.errors import InputError
from bids_mfi.findings import Finding, make_findings
from bids_mfi.group.person import BODY, Cells
from bids_mfi.group.visits import Visit

PARTICIPANT, SESSION = "participant_id", "session_id"
STANDARD = ("sex", "age", "bmi")


def read_lines(path: Path) -> tuple[list[tuple[Visit, Cells]], list[Finding]]:
    """Lines of a table of participants, each with its participant and session.

    The session is empty where the table has none. A column ``session`` is the session where
    participants have several lines.

    Raises
    ------
    InputError
        As :func:`read_standard`.
    """
    cells, findings = _name_session(read_standard(path, PARTICIPANT), path)
    keyed, nameless = [], []
    for line, row in list_records(cells):
        key = prefix(PARTICIPANT, row.pop(PARTICIPANT)), prefix(SESSION, row.pop(SESSION, ""))
        if key[0]:
            keyed.append((key, row))
        elif not all(map(is_missing, row.values())):
            nameless.append(f"line {line}")
    text = f"Lines of {path.name} without a participant_id ({{n}}): left out. Fill it in."
    return keyed, [*findings, *make_findings("warning", text, nameless)]


def _name_session(cells: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[Finding]]:
    found = find_alias([str(name) for name in cells.columns], SESSION)
    if len(found) != 1 or not cells[PARTICIPANT].duplicated().any():
        return cells, []
    text = f"{path.name} has several lines per participant and no column session_id: {found[0]} is "
    return cells.rename(columns={found[0]: SESSION}), [Finding("note", f"{text}taken for it.")]


def read_standard(path: Path, identifier: str) -> pd.DataFrame:
    """Read a table whose standard columns may be written in any case.

    Raises
    ------
    InputError
        It cannot be read, does not have the column ``identifier``, or has a standard column twice.
    """
    cells = read_cells(path, (), (identifier,))
    header = [str(name) for name in cells.columns]
    lower = {name.lower(): name for name in header}
    known = (PARTICIPANT, SESSION, *STANDARD, *BODY)
    renamed = {lower[name]: name for name in known if name in lower and name not in cells}
    _check_twice(path, header, known)
    if identifier not in lower:
        what = "participant" if identifier == PARTICIPANT else "session"
        raise InputError(
            f"{path}: has no column {identifier}; it has {list_columns(header)}. Expected "
            f"tab-separated text with one line per {what}.{hint_at_separator(header)}"
        )
    return cells.rename(columns=renamed)


def _check_twice(path: Path, header: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a standard column that exists twice in different case."""
    for name in known:
        same = [column for column in header if column.lower() == name]
        if len(same) > 1:
            raise InputError(
                f"{path}: has the columns {' and '.join(same)}, expected one of them; rename one."
            )


def list_records(cells: pd.DataFrame) -> list[tuple[int, Cells]]:
    """Line and cells of each row."""
    names = [str(name) for name in cells.columns]
    rows = zip(cells.index, cells.to_numpy().tolist(), strict=True)
    return [(int(line), dict(zip(names, row, strict=True))) for line, row in rows]


def prefix(column: str, label: str) -> str:
    """Give an identifier its prefix; empty where it is missing.

    >>> prefix("session_id", "01"), prefix("participant_id", "SUB-01"), prefix("session_id", "n/a")
    ('ses-01', 'sub-01', '')
    """
    return "" if is_missing(label) else PREFIXES[column] + strip_prefix(column, label)
