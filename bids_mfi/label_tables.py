"""BIDS ``dseg.tsv``: which muscle and side each label is."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bids_mfi.cells import MISSING, is_missing, read_cells, shorten_cell
from bids_mfi.errors import InputError
from bids_mfi.indices import strip_zeros
from bids_mfi.muscles import (
    HEMIS,
    KNOWN_MUSCLES,
    LABEL_TABLE,
    LONG_NAMES,
    Muscle,
    MuscleTable,
    find_side,
)

DEFAULT_COLOR = "#808080"
MOST_LABELS = 32767  # of a label map in int16


def read_label_table(path: Path) -> MuscleTable:
    """Read a BIDS ``dseg.tsv``: which muscle and side each label is.

    It is read from the columns ``muscle`` and ``hemi``, or without them from
    the ``abbreviation`` (``TR_L``) or the ``name`` (``left_trapezius``). Lines with n/a for both,
    and index 0, are not muscles.

    Raises
    ------
    InputError
        It cannot be read, a line names no muscle and side, or two lines name the same.
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
            "example TR) and hemi (L or R); write n/a in both if the label is not a muscle."
        )
    if find_side(row["name"]) not in ("", HEMIS[hemi.lower()]):
        raise InputError(
            f"{where}: {row['name']} has {shorten_cell(hemi)} as its side. Expected the side that "
            "the name states; correct the name or the side."
        )
    color = row.get("color", "")
    return Muscle(
        index=index,
        name=row["name"],
        muscle=KNOWN_MUSCLES.get(muscle.lower(), muscle),
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
        f"{where} has the index '{shorten_cell(cell)}', expected a whole number up to "
        f"{MOST_LABELS}."
    )


def _split_name(name: str) -> tuple[str, str]:
    """Abbreviation and side of a full name; for a muscle that is not in the paper, its full name.

    >>> _split_name("left_trapezius"), _split_name("right_rhomboids")
    (('TR', 'left'), ('rhomboids', 'right'))
    """
    side, _, rest = name.lower().partition("_")
    return {long: short for short, long in LONG_NAMES.items()}.get(rest, rest), side


def _check_labels(path: Path, muscles: Sequence[Muscle]) -> None:
    if not muscles:
        raise InputError(f"{path}: names no muscle, expected one line per label.")
    for what, names in (
        ("index", [str(muscle.index) for muscle in muscles]),
        ("muscle", [muscle.abbreviation for muscle in muscles]),
    ):
        twice = _find_twice(names)
        if twice:
            raise InputError(
                f"{path}: the {what} {twice} is on two lines, expected one label for each muscle "
                "and side; correct the table."
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
        Its own table takes precedence over others, LABEL_TABLE over ``*dseg.tsv`` of another name.
    maps : iterable of Path
        Label maps; a table beside a map has the same name, ending in ``.tsv``.

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
