"""All tables of OUTPUT_DIR as one.

A table that cannot be read costs its scan only. Nothing is dropped silently: what is left out is a
finding.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from bids_mfi.bids.names import MFI_TABLE
from bids_mfi.bids.scan_results import ScanRows, read_scan_rows
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
from bids_mfi.group.rows import FLAGS, SCAN, RowCollector
from bids_mfi.muscles import PAPER_ORDER
from bids_mfi.options import RunOptions
from bids_mfi.processes import map_in_processes

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
    collector = RowCollector(RESERVED)
    scans: list[dict[str, Any]] = []
    failed: list[tuple[str, str]] = []
    stale: list[tuple[str, str]] = []
    read = partial(_read_table, options.output_dir)
    for path, found in zip(paths, map_in_processes(read, paths, options.nprocs), strict=True):
        if isinstance(found, InputError):
            problems = stale if isinstance(found, StaleTableError) else failed
            problems.append((str(path.relative_to(options.output_dir)), str(found)))
            continue
        table, scan = found
        collector.add(len(scans), path, table)
        scans.append(scan)
    if not scans:
        raise InputError(
            f"{options.output_dir}: none of {count_noun(len(paths), 'table')} of measures "
            f"can be used; the first says: {(failed + stale)[0][1]}"
        )
    described = arrange_scans(scans)
    place = {old: new for new, old in enumerate(described["order"])}
    rows, reserved = collector.join(place, scans)
    del collector
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


def _read_table(output_dir: Path, path: Path) -> tuple[ScanRows, dict[str, Any]] | InputError:
    """Read a scan's table and its origin, or say why they cannot be used."""
    try:
        table = read_scan_rows(path)
        return table, read_scan_origin(path, table.sha256, output_dir)
    except InputError as error:
        return error


def _list_measured(scans: Sequence[dict[str, Any]]) -> tuple[MeasuredScan, ...]:
    return tuple(
        MeasuredScan(stem, str(scan["participant_id"]), scan["images"])
        for scan, stem in zip(scans, _list_stems(scans), strict=True)
        if scan.get("images")
    )


def _list_stems(scans: Iterable[dict[str, Any]]) -> list[str]:
    """Names of the scans as their logs have them."""
    return [scan["path"].name.split("_seg-")[0].removesuffix(MFI_TABLE) for scan in scans]


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
