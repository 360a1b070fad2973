"""All tables of OUTPUT_DIR as one.

A table that cannot be read costs its scan only. Nothing is dropped silently: what is left out is a
finding.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bids_mfi.bids.columns import MUSCLE_COLUMNS
from bids_mfi.bids.names import MFI_TABLE
from bids_mfi.bids.scan_results import ScanRows, read_scan_rows
from bids_mfi.cells import MISSING_WORDS
from bids_mfi.counts import count_noun
from bids_mfi.errors import InputError
from bids_mfi.findings import Finding, make_findings
from bids_mfi.group.level_tables import collect_levels
from bids_mfi.group.locate import find_tables, list_failures
from bids_mfi.group.measured import MeasuredScan
from bids_mfi.group.origin import (
    LEADING,
    ORIGIN,
    StaleTableError,
    arrange_scans,
    find_doubts,
    name_scans,
    read_scan_origin,
)
from bids_mfi.muscles import PAPER_ORDER, rank_muscle
from bids_mfi.options import RunOptions

NUMBERS = frozenset(column.name for column in MUSCLE_COLUMNS if column.kind != "text")
SCAN = "scan"
FLAGS = "flags"
# Columns of group_mfi.tsv that do not come from the scans' tables.
RESERVED = frozenset({SCAN, FLAGS, *LEADING, *ORIGIN, "analysed", "sex", "age", "bmi"})
# The mean fat of noise can be a little below 0; beyond these limits no muscle is.
LIMITS_PERCENT = (-20.0, 100.0)


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """Everything that the scans' tables say.

    Attributes
    ----------
    rows : DataFrame
        One row per scan, muscle and side, by participant, session, scan and muscle; ``scan`` is the
        row's scan in ``scans``. Measures are float64, NaN where missing.
    scans : DataFrame
        One row per scan, in the same order: identifiers with their prefixes (``n/a`` where a file
        has none), ORIGIN, ``qc_flags`` (text), ``page`` (relative path of the report, or empty).
    findings : tuple of Finding
    failed : tuple of (str, str)
        File and problem of each table that cannot be read.
    stale : tuple of (str, str)
        The same of each table whose label map was changed since.
    measured : tuple of MeasuredScan
        The scans whose sidecar names their images.
    levels : DataFrame
        One row per scan, vertebral level, muscle and side; ``scan`` as in ``rows``. Empty where
        nothing was measured by level.
    """

    rows: pd.DataFrame
    scans: pd.DataFrame
    findings: tuple[Finding, ...]
    failed: tuple[tuple[str, str], ...]
    stale: tuple[tuple[str, str], ...] = ()
    measured: tuple[MeasuredScan, ...] = ()
    levels: pd.DataFrame = field(default_factory=pd.DataFrame)


def collect_tables(options: RunOptions) -> Collection:
    """Read every ``*_mfi.tsv`` of OUTPUT_DIR, and the sidecar beside it if there is one.

    Raises
    ------
    InputError
        There is no such table, or none of the selected participants and sessions can be read.
    """
    paths, findings = find_tables(options)
    tables: list[ScanRows] = []
    scans: list[dict[str, Any]] = []
    failed: list[tuple[str, str]] = []
    stale: list[tuple[str, str]] = []
    for path in paths:
        name = str(path.relative_to(options.output_dir))
        try:
            table = read_scan_rows(path)
            scan = read_scan_origin(path, table.sha256, options.output_dir)
        except StaleTableError as error:
            stale.append((name, str(error)))
            continue
        except InputError as error:
            failed.append((name, str(error)))
            continue
        tables.append(table)
        scans.append(scan)
    if not scans:
        raise InputError(
            f"{options.output_dir}: none of {count_noun(len(paths), 'table')} of measures "
            f"can be used; the first says: {(failed + stale)[0][1]}"
        )
    described = arrange_scans(scans)
    rows, reserved = _join_rows(tables, scans, described)
    findings += find_doubts(described, scans) + list_failures(options, _list_stems(scans))
    findings += make_findings(
        "note",
        "Columns of the scans' tables whose names the group level uses itself, left out ({n}).",
        reserved,
    )
    rows, odd = _clear_impossible(rows, described)
    tables_of = [(scans[old]["path"], scans[old]["files"]) for old in described["order"]]
    levels, left_out = collect_levels(tables_of, SCAN)
    if len(levels):
        levels, impossible = _clear_impossible(levels, described)
        odd += impossible
    findings += odd + _find_odd_muscles(rows, described) + left_out
    return Collection(
        rows,
        described.drop(columns="order"),
        tuple(findings),
        tuple(failed),
        tuple(stale),
        _list_measured(scans),
        levels,
    )


def _list_measured(scans: Sequence[dict[str, Any]]) -> tuple[MeasuredScan, ...]:
    return tuple(
        MeasuredScan(stem, str(scan["participant_id"]), scan["images"])
        for scan, stem in zip(scans, _list_stems(scans), strict=True)
        if scan.get("images")
    )


def _list_stems(scans: Iterable[dict[str, Any]]) -> list[str]:
    """Names of the scans as their logs have them."""
    return [scan["path"].name.split("_seg-")[0].removesuffix(MFI_TABLE) for scan in scans]


# --- rows --------------------------------------------------------------------------------------


def _join_rows(
    tables: list[ScanRows], scans: list[dict[str, Any]], described: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """Put the rows of all tables together, in the order of the scans and of the muscles.

    Returns
    -------
    (DataFrame, list of str)
        And the columns that were left out, because the group level has some of the same name.
    """
    place = {old: new for new, old in enumerate(described["order"])}
    known = dict.fromkeys(name for table in tables for name in table.columns)
    columns = [name for name in known if name not in RESERVED]
    by_header: dict[tuple[str, ...], list[tuple[int, list[list[Any]]]]] = {}
    for number, table in enumerate(tables):
        by_header.setdefault(table.columns, []).append((place[number], table.rows))
    parts = []
    for header, found in by_header.items():
        part = pd.DataFrame([row for _, lines in found for row in lines], columns=list(header))
        part = part[[name for name in header if name not in RESERVED]]
        counts = [len(lines) for _, lines in found]
        part[SCAN] = np.repeat([number for number, _ in found], counts)
        part[FLAGS] = _flags_of_rows(part, {place[n]: s for n, s in enumerate(scans)})
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True).reindex(columns=[SCAN, *columns, FLAGS])
    for name in NUMBERS.intersection(columns):
        rows[name] = _to_numbers(rows[name])
    ranks = {
        pair: rank_muscle(*pair) for pair in set(zip(rows["muscle"], rows["hemi"], strict=True))
    }
    order = sorted(ranks, key=ranks.__getitem__)
    numbers = {pair: rank for rank, pair in enumerate(order)}
    muscle = np.array([numbers[pair] for pair in zip(rows["muscle"], rows["hemi"], strict=True)])
    rows = rows.iloc[np.lexsort((muscle, rows[SCAN].to_numpy()))].reset_index(drop=True)
    return rows, [name for name in known if name in RESERVED]


def _to_numbers(cells: pd.Series) -> pd.Series:
    """Make a column of measures numbers; it stays text where a cell is neither that nor missing."""
    if cells.dtype == np.float64:
        return cells
    known = cells.where(~cells.astype("str").str.lower().isin(MISSING_WORDS))
    try:
        return pd.to_numeric(known).astype(np.float64)
    except (ValueError, TypeError):
        return cells


def _flags_of_rows(rows: pd.DataFrame, scans: dict[int, dict[str, Any]]) -> list[str]:
    """Codes of the flags that concern each row's muscle and side."""
    found = []
    for number, muscle, hemi in zip(rows[SCAN], rows["muscle"], rows["hemi"], strict=True):
        flags = scans[number].get("flags", ())
        names = (muscle, f"{muscle}_{hemi}")
        found.append("; ".join(flag.code for flag in flags if flag.muscle in names))
    return found


# --- values ------------------------------------------------------------------------------------


def _clear_impossible(
    rows: pd.DataFrame, scans: pd.DataFrame
) -> tuple[pd.DataFrame, list[Finding]]:
    """Take an MFI that no muscle can have as missing, and name it."""
    low, high = LIMITS_PERCENT
    odd = ~rows["mfi_percent"].between(low, high) & rows["mfi_percent"].notna()
    names = _name_rows(rows[odd], scans)
    values = rows.loc[odd, "mfi_percent"]
    text = f"MFI below {low:g} or above {high:g} % ({{n}}): treated as missing. Correct the table."
    named = (f"{name}: {value:g}" for name, value in zip(names, values, strict=True))
    cleared = rows.assign(mfi_percent=rows["mfi_percent"].mask(odd))
    return cleared, make_findings("warning", text, named)


def _find_odd_muscles(rows: pd.DataFrame, scans: pd.DataFrame) -> list[Finding]:
    """Name muscles that the paper does not have."""
    odd = rows[~rows["muscle"].isin(PAPER_ORDER)]
    counts = odd.groupby("muscle")[SCAN].nunique()
    names = (f"{muscle} ({count_noun(count, 'scan')})" for muscle, count in counts.items())
    return make_findings(
        "warning" if len(counts) and (counts < len(scans) / 2).any() else "note",
        "Muscles that Weber et al. 2021 do not have ({n}): analysed like the others. Check their "
        "spelling.",
        names,
    )


def _name_rows(rows: pd.DataFrame, scans: pd.DataFrame) -> list[str]:
    names = name_scans(scans.loc[rows[SCAN]])
    sides = zip(names, rows["muscle"], rows["hemi"], strict=True)
    return [f"{scan} {muscle}_{hemi}" for scan, muscle, hemi in sides]
