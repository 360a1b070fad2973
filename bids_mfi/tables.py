"""Tables of measures and of labels that users bring; must not know statistics, images or reports.

Reads what this program writes and what people make of it with a spreadsheet: other order of rows
and columns, further columns, a byte order mark, ``sub-`` or not. Whatever could mean two things
is refused with the rows named; nothing is dropped silently.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bids_mfi.cells import (
    MISSING,
    PREFIXES,
    Row,
    is_missing,
    loosen_label,
    parse_decimal,
    read_cells,
    shorten,
    split_cells,
    strip_prefix,
    strip_zeros,
)
from bids_mfi.counts import list_names
from bids_mfi.errors import InputError
from bids_mfi.muscles import (
    LABEL_TABLE,
    LONG_NAMES,
    PAPER_ORDER,
    Muscle,
    MuscleTable,
    find_side,
    rank_muscle,
)

SCAN_KEYS = ("participant_id", "session_id", "run_id")
KEYS = (*SCAN_KEYS, "muscle", "hemi")
VALUES = ("volume_ml", "mfi_percent")
HEMIS = {"l": "L", "left": "L", "r": "R", "right": "R"}
NAMED_ROWS = 3
HIGHEST = 1e9  # no volume is beyond
# MFI of noise may be a little below 0 or above 100.
RANGES = {"volume_ml": (0.0, HIGHEST), "mfi_percent": (-100.0, 200.0)}
RANGE_WORDS = {"volume_ml": "from 0 on", "mfi_percent": "from -100 to 200"}
DEFAULT_COLOR = "#808080"
MOST_LABELS = 32767  # of a label map in int16


# --- measures ----------------------------------------------------------------------------------


def read_long_table(path: Path) -> pd.DataFrame:
    """Read a table with one row a scan and muscle, as ``group_mfi.tsv``.

    Parameters
    ----------
    path : Path
        Tab-separated, UTF-8. Columns ``participant_id``, ``muscle``, ``hemi``, ``volume_ml`` and
        ``mfi_percent`` are needed; ``session_id``, ``run_id`` and others may be there.

    Returns
    -------
    DataFrame
        All columns, the index being the line in the file. Identifiers are text without ``sub-``,
        ``ses-`` and ``run-``, ``n/a`` where missing, and a run without leading zeros;
        ``session_id`` and ``run_id`` are always there. ``volume_ml`` and ``mfi_percent`` are
        float64, NaN where missing.

    Raises
    ------
    InputError
        It cannot be read, lacks a column, has no rows, or a cell makes no sense.
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


def read_scan_table(path: Path) -> pd.DataFrame:
    """Read the ``*_mfi.tsv`` of one scan; as :func:`read_long_table`, without a participant.

    Raises
    ------
    InputError
        As there, or a muscle and side stand on two lines.
    """
    table = _read_measures(path, ("muscle", "hemi", *VALUES))
    check_unique(table, ("muscle", "hemi"), path)
    return table


def read_scan_rows(path: Path, data: bytes | None = None) -> tuple[tuple[str, ...], list[Row]]:
    """Read the ``*_mfi.tsv`` of one scan as plain lists, many times faster than a DataFrame.

    Parameters
    ----------
    path : Path
    data : bytes, optional
        What the file holds, if it has been read already.

    Returns
    -------
    (tuple of str, list of list)
        Columns and cells, checked and tidied as by :func:`read_scan_table`: ``volume_ml`` and
        ``mfi_percent`` are float, NaN where missing, all other cells text.

    Raises
    ------
    InputError
        As there.
    """
    header, lines = split_cells(path, ("muscle", "hemi", *VALUES), data)
    muscle, hemi, *values = (header.index(name) for name in ("muscle", "hemi", *VALUES))
    known: dict[tuple[str, str], int] = {}
    for line, row in lines:
        row[muscle] = _tidy_muscle(path, line, row[muscle])
        row[hemi] = _tidy_hemi(path, line, row[hemi])
        for column, place in zip(VALUES, values, strict=True):
            row[place] = _parse_number(path, line, column, row[place])
        other = known.setdefault((row[muscle], row[hemi]), line)
        if other != line:
            raise InputError(
                f"{path}: lines {other} and {line} are both of {row[muscle]}_{row[hemi]}, expected "
                "one line for each muscle and side; remove the surplus line."
            )
    return tuple(header), [row for _, row in lines]


def _read_measures(
    path: Path, needed: Sequence[str], identifiers: Sequence[str] = ()
) -> pd.DataFrame:
    table = read_cells(path, needed, identifiers)
    table["muscle"] = [_tidy_muscle(path, line, str(x)) for line, x in table["muscle"].items()]
    table["hemi"] = [_tidy_hemi(path, line, str(cell)) for line, cell in table["hemi"].items()]
    for column in VALUES:
        numbers = [_parse_number(path, line, column, str(x)) for line, x in table[column].items()]
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
    return strip_zeros(whole) if whole.isdecimal() else label


_KNOWN_MUSCLES = {name.lower(): name for name in PAPER_ORDER}


def _tidy_muscle(path: Path, line: Any, cell: str) -> str:
    """Write the paper's abbreviations as the paper does; a muscle must have a name."""
    if is_missing(cell) or cell.lower() == "mean":
        raise InputError(
            f"{path}: line {line} has '{shorten(cell)}' for muscle, expected an abbreviation as TR."
        )
    return _KNOWN_MUSCLES.get(cell.lower(), cell)


def _tidy_hemi(path: Path, line: Any, cell: str) -> str:
    if cell.lower() not in HEMIS:
        raise InputError(
            f"{path}: line {line} has '{shorten(cell)}' for hemi, expected L or R (the subject's "
            "side)."
        )
    return HEMIS[cell.lower()]


def _parse_number(path: Path, line: Any, column: str, cell: str) -> float:
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
            f"{path}: line {line} has '{shorten(cell)}' for {column}, expected a number "
            f"{RANGE_WORDS[column]}, or n/a; correct it.{hint}"
        )
    return value


def check_unique(table: pd.DataFrame, keys: Sequence[str], path: Path, reason: str = "") -> None:
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
        f"{path}: {list_names(found, NAMED_ROWS)} are of the same "
        f"{', '.join(keys)}; expected one line for each. "
        f"{reason or 'Tell scans apart by session_id or run_id, or remove the surplus lines.'}"
    )


def name_scan(row: "pd.Series[Any]") -> str:
    """Name the scan of a row: ``sub-01 ses-a run-2``, without what is missing."""
    parts = [(PREFIXES[key], row[key]) for key in SCAN_KEYS if key in row.index]
    return " ".join(f"{prefix}{value}" for prefix, value in parts if value != MISSING)


def name_row(row: "pd.Series[Any]", keys: Sequence[str] = KEYS) -> str:
    """Name a row by its scan, muscle and side."""
    muscle = f"{row['muscle']}_{row['hemi']}" if "muscle" in keys else ""
    return f"{name_scan(row)} {muscle}".strip()


# --- pairs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class PairedTables:
    """Rows of two tables joined by scan, muscle and side.

    Attributes
    ----------
    rows : DataFrame
        Columns KEYS; of each value ``*_reference`` and ``*_compared``; ``found_in`` is ``both``,
        ``reference`` or ``compared``. A row that is in one table only has NaN for the other.
    ignored_keys : tuple of str
        Identifiers that only one table has, and by which rows were therefore not told apart.
    """

    rows: pd.DataFrame
    ignored_keys: tuple[str, ...]

    def list_unpaired(self, found_in: str) -> tuple[str, ...]:
        """Name the rows that only one table has, a line a scan: ``sub-01 ses-a: TR_L, TR_R``."""
        alone = self.rows[self.rows["found_in"] == found_in]
        scans: dict[str, list[str]] = {}
        for _, row in alone.iterrows():
            scans.setdefault(name_scan(row), []).append(f"{row['muscle']}_{row['hemi']}")
        return tuple(f"{scan}: {', '.join(muscles)}" for scan, muscles in sorted(scans.items()))


def pair_tables(
    reference: pd.DataFrame, compared: pd.DataFrame, paths: tuple[Path, Path]
) -> PairedTables:
    """Join two tables of :func:`read_long_table` by participant, session, run, muscle and side.

    An identifier that only one of them has (the other lacks the column or has n/a throughout)
    is left out of the join, provided that every row still has one partner at most.

    Raises
    ------
    InputError
        Two lines of a table have the same keys, the tables have no row in common, or identifiers
        without a partner differ only as a spreadsheet changes them.
    """
    ignored = tuple(
        key
        for key in ("session_id", "run_id")
        if (reference[key] == MISSING).all() != (compared[key] == MISSING).all()
    )
    keys = [key for key in KEYS if key not in ignored]
    for table, path in zip((reference, compared), paths, strict=True):
        check_unique(table, KEYS, path)
        reason = f"The other table has no {' and no '.join(ignored)} to tell them apart; add it."
        check_unique(table, keys, path, reason)
        _check_participants(table, path)
    rows = _join(reference, compared, keys, ignored)
    _check_near_misses(rows, paths)
    if not (rows["found_in"] == "both").any():
        raise InputError(
            f"{paths[0]} and {paths[1]}: no row of one has a partner in the other: the first has "
            f"{name_row(reference.iloc[0])}, the second {name_row(compared.iloc[0])}. Expected "
            f"rows of the same {', '.join(keys)}; check the identifiers."
        )
    return PairedTables(rows, ignored)


def _check_participants(table: pd.DataFrame, path: Path) -> None:
    """Refuse two participants that differ only in zeros, ``.0`` or case."""
    known: dict[str, str] = {}
    for label in table["participant_id"].unique():
        other = known.setdefault(loosen_label(label), label)
        if other != label:
            raise InputError(
                f"{path}: has the participants sub-{other} and sub-{label} at once, which may be "
                "one person. Expected one way to write each; correct the column participant_id."
            )


def _check_near_misses(rows: pd.DataFrame, paths: tuple[Path, Path]) -> None:
    """Refuse rows without a partner that would have one but for zeros, ``.0`` or case."""
    alone: dict[str, dict[tuple[str, ...], str]] = {"reference": {}, "compared": {}, "both": {}}
    for _, row in rows.iterrows():
        key = (*(loosen_label(row[name]) for name in SCAN_KEYS), row["muscle"], row["hemi"])
        alone[row["found_in"]][key] = name_scan(row)
    near = {
        f"{scan} against {alone['compared'][key]}": None
        for key, scan in alone["reference"].items()
        if key in alone["compared"]
    }
    if near:
        raise InputError(
            f"{paths[0]} and {paths[1]}: {list_names(near, NAMED_ROWS)} differ only in "
            "leading zeros, a trailing .0 or case. Expected the same identifiers in both; import "
            "these columns as text, or correct them."
        )


def _join(
    reference: pd.DataFrame, compared: pd.DataFrame, keys: list[str], ignored: Sequence[str]
) -> pd.DataFrame:
    columns = [*keys, *VALUES]
    rows = reference[columns].merge(
        compared[columns],
        on=keys,
        how="outer",
        suffixes=("_reference", "_compared"),
        indicator="found_in",
        validate="one_to_one",
    )
    words = {"both": "both", "left_only": "reference", "right_only": "compared"}
    rows["found_in"] = [words[str(word)] for word in rows["found_in"]]
    for key in ignored:
        rows[key] = MISSING
    order = [
        (rank_muscle(row["muscle"], row["hemi"]), *(row[key] for key in SCAN_KEYS))
        for _, row in rows.iterrows()
    ]
    return rows.iloc[sorted(range(len(rows)), key=order.__getitem__)].reset_index(drop=True)


# --- labels ------------------------------------------------------------------------------------


def read_label_table(path: Path) -> MuscleTable:
    """Read a BIDS ``dseg.tsv``: which muscle and side each label is.

    Columns ``muscle`` and ``hemi`` say it; without them the ``abbreviation`` (``TR_L``) or the
    ``name`` (``left_trapezius``). Lines with n/a for both, and index 0, are no muscles.

    Raises
    ------
    InputError
        It cannot be read, or a line names no muscle and side, or one that another line has.
    """
    cells = read_cells(path, ("index", "name"))
    muscles = []
    for line, row in cells.iterrows():
        found = _find_muscle({str(k): str(v) for k, v in row.items()}, f"{path}: line {line}")
        if found is not None:
            muscles.append(found)
    _check_labels(path, muscles)
    return MuscleTable(tuple(sorted(muscles, key=lambda muscle: muscle.index)))


def _find_muscle(row: dict[str, str], where: str) -> Muscle | None:
    index = parse_index(row["index"], where)
    if index == 0:
        return None
    if "muscle" in row and "hemi" in row:
        muscle, hemi = row["muscle"], row["hemi"]
        if is_missing(muscle) and is_missing(hemi):
            return None
    else:
        muscle, _, hemi = row.get("abbreviation", "").rpartition("_")
        if hemi.lower() not in HEMIS:
            muscle, hemi = _split_name(row["name"])
    if is_missing(muscle) or hemi.lower() not in HEMIS:
        raise InputError(
            f"{where} ({row['name']}) names no muscle and side. Expected columns muscle (for "
            "example TR) and hemi (L or R); write n/a in both where the label is no muscle."
        )
    if find_side(row["name"]) not in ("", HEMIS[hemi.lower()]):
        raise InputError(
            f"{where}: {row['name']} has {shorten(hemi)} as its side. Expected the side that the "
            "name states; correct the name or the side."
        )
    color = row.get("color", "")
    return Muscle(
        index=index,
        name=row["name"],
        muscle=_KNOWN_MUSCLES.get(muscle.lower(), muscle),
        hemi=HEMIS[hemi.lower()],
        color=color if re.fullmatch("#[0-9A-Fa-f]{6}", color) else DEFAULT_COLOR,
        levels=row.get("levels") or MISSING,
    )


def parse_index(cell: str, where: str) -> int:
    """Read the number of a label, 0 to MOST_LABELS.

    Raises
    ------
    InputError
        It is something else; the message begins with ``where``.

    Examples
    --------
    >>> parse_index("012", "dseg.tsv: line 2")
    12
    """
    digits = strip_zeros(cell)
    if cell.isdecimal() and len(digits) <= len(str(MOST_LABELS)) and int(digits) <= MOST_LABELS:
        return int(digits)
    raise InputError(
        f"{where} has the index '{shorten(cell)}', expected a whole number up to {MOST_LABELS}."
    )


def _split_name(name: str) -> tuple[str, str]:
    """Abbreviation and side of a full name; of a muscle that the paper lacks its whole name.

    >>> _split_name("left_trapezius"), _split_name("right_rhomboids")
    (('TR', 'left'), ('rhomboids', 'right'))
    """
    side, _, rest = name.lower().partition("_")
    return {long: short for short, long in LONG_NAMES.items()}.get(rest, rest), side


def _check_labels(path: Path, muscles: Sequence[Muscle]) -> None:
    if not muscles:
        raise InputError(f"{path}: names no muscle, expected one line a label.")
    for what, names in (
        ("index", [str(muscle.index) for muscle in muscles]),
        ("muscle", [muscle.abbreviation for muscle in muscles]),
    ):
        twice = _find_twice(names)
        if twice:
            raise InputError(
                f"{path}: the {what} {twice} stands on two lines, expected one label for each "
                "muscle and side; correct the table."
            )


def _find_twice(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""


def read_labels_of(folder: Path, maps: Iterable[Path]) -> tuple[MuscleTable, Path] | None:
    """Read the label table of a derivative, or those beside its label maps.

    Parameters
    ----------
    folder : Path
        Its own table goes before others; LABEL_TABLE before ``*dseg.tsv`` of another name.
    maps : iterable of Path
        Label maps; a table beside one has its name, ending in ``.tsv``.

    Returns
    -------
    (MuscleTable, Path) or None
        The table with most muscles, and its file; None if there is none.

    Raises
    ------
    InputError
        A table is damaged, there are several, or a number means different muscles in two.
    """
    roots = sorted(folder.glob("*dseg.tsv"))
    roots = [path for path in roots if path.name == LABEL_TABLE] or roots
    if len(roots) > 1:
        raise InputError(
            f"{folder}: has {len(roots)} label tables ({', '.join(p.name for p in roots)}), "
            f"expected one, or one named {LABEL_TABLE}; move the others to another folder."
        )
    beside = (path.with_name(path.name.rpartition("_")[0] + "_dseg.tsv") for path in maps)
    found = [(read_label_table(p), p) for p in roots or [p for p in beside if p.is_file()]]
    for table, path in found[1:]:
        check_same_labels(found[0][0], table, (found[0][1], path))
    return max(found, key=lambda entry: len(entry[0]), default=None)


def check_same_labels(first: MuscleTable, second: MuscleTable, paths: tuple[Path, Path]) -> None:
    """Refuse two tables in which a number means different muscles, or a muscle different numbers.

    Raises
    ------
    InputError
        It names the first difference.
    """
    conflict = first.find_conflict(second)
    if conflict is not None:
        mine, other = conflict
        raise InputError(
            f"{paths[0]} has label {mine.index} for {mine.abbreviation}, {paths[1]} has "
            f"label {other.index} for {other.abbreviation}. Expected the same numbers in "
            "both; renumber the labels of one."
        )
