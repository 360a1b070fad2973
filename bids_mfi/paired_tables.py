"""Rows of two tables of measures joined by scan, muscle and side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bids_mfi.cells import MISSING, loosen_label
from bids_mfi.counts import list_names
from bids_mfi.errors import InputError
from bids_mfi.muscles import rank_muscle
from bids_mfi.tables import KEYS, NAMED_ROWS, SCAN_KEYS, VALUES, check_unique, name_row, name_scan


@dataclass(frozen=True, slots=True, eq=False)
class PairedTables:
    """Rows of two tables joined by scan, muscle and side.

    Attributes
    ----------
    rows : DataFrame
        Columns KEYS; of each value ``*_reference`` and ``*_compared``; ``found_in`` is ``both``,
        ``reference`` or ``compared``. A row that is in one table only has NaN for the other.
    ignored_keys : tuple of str
        Identifiers that only one table has, and that therefore did not distinguish rows.
    """

    rows: pd.DataFrame
    ignored_keys: tuple[str, ...]

    def list_unpaired(self, found_in: str) -> tuple[str, ...]:
        """Name the rows that only one table has, a line per scan: ``sub-01 ses-a: TR_L, TR_R``."""
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
        reason = f"The other table has no {' and no '.join(ignored)} to distinguish them; add it."
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
    """Refuse rows whose partner differs only in zeros, ``.0`` or case."""
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
