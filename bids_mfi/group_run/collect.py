"""All tables of OUTPUT_DIR as one; must not know participants' data, statistics or pages.

A table that cannot be read costs its scan only. Nothing is dropped silently: what is left out is a
finding.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_mfi.derivatives import page_path, parse_entities, read_sidecar
from bids_mfi.errors import DatasetError, InputError
from bids_mfi.group_run.findings import make_findings
from bids_mfi.muscles import rank_muscle
from bids_mfi.options import RunOptions
from bids_mfi.report.group_page import Finding
from bids_mfi.tables import MISSING, MISSING_WORDS, read_scan_rows

ENDING = "_mfi.tsv"
OWN_SEGMENTATION = "muscle"
ENTITY_COLUMNS = {"sub": "participant_id", "ses": "session_id"}
LEADING = ("participant_id", "session_id", "acq_id", "run_id")
ORIGIN = ("bundle", "bundle_sha256", "fat_water", "software_version")
NUMBERS = frozenset({
    "index", "voxels", "volume_ml", "fat_mean", "water_mean", "mfi_percent",
    "mfi_voxelwise_percent", "mfi_median_percent", "near_fold_percent", "swapped_percent",
    "signal_voxels",
})  # fmt: skip
WHOLE = frozenset({"index", "voxels", "signal_voxels"})
SCAN = "scan"
ERROR_LOG = "_error.txt"

Table = tuple[tuple[str, ...], list[list[Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """Everything that the scans' tables say.

    Attributes
    ----------
    rows : DataFrame
        One row a scan, muscle and side, by participant, session, scan and muscle; ``scan`` is the
        row's scan in ``scans``. Measures are float64, NaN where missing.
    scans : DataFrame
        One row a scan, in the same order: identifiers with their prefixes (``n/a`` where a file
        has none), ORIGIN, ``qc_flags`` (text), ``page`` (relative path of the report, or empty).
    findings : tuple of Finding
    failed : tuple of (str, str)
        File and problem of each table that cannot be read.
    """

    rows: pd.DataFrame
    scans: pd.DataFrame
    findings: tuple[Finding, ...]
    failed: tuple[tuple[str, str], ...]


def collect_tables(options: RunOptions) -> Collection:
    """Read every ``*_mfi.tsv`` of OUTPUT_DIR, and the sidecar beside it if there is one.

    Raises
    ------
    InputError
        There is no such table, or none of the selected participants and sessions can be read.
    """
    paths, findings = find_tables(options)
    tables: list[Table] = []
    scans: list[dict[str, Any]] = []
    failed = []
    for path in paths:
        try:
            table = read_scan_rows(path)
        except InputError as error:
            failed.append((str(path.relative_to(options.output_dir)), str(error)))
            continue
        tables.append(table)
        scans.append(describe_scan(path, options.output_dir))
    if not scans:
        raise InputError(
            f"{options.output_dir}: none of {len(paths)} tables of measures can be read; the first "
            f"says: {failed[0][1]}"
        )
    described = _arrange_scans(scans)
    rows = _join_rows(tables, scans, described)
    findings += _find_doubts(described, scans) + _list_failures(options, described)
    return Collection(rows, described.drop(columns="order"), tuple(findings), tuple(failed))


# --- files -------------------------------------------------------------------------------------


def find_tables(options: RunOptions) -> tuple[list[Path], list[Finding]]:
    """Find the tables of the selected participants and sessions, sorted.

    Where a scan has tables of several segmentations, that of ``seg-muscle`` is taken.

    Raises
    ------
    InputError
        There is none.
    """
    if not options.output_dir.is_dir():
        raise InputError(
            f"{options.output_dir}: is no folder. Expected the output of the participant level; "
            "run that first, or name its folder."
        )
    found = sorted(_walk_tables(options.output_dir))
    if not found:
        raise InputError(
            f"{options.output_dir}: holds no table sub-*/**/*{ENDING}. Expected the output of the "
            "participant level; run that first, or name its folder."
        )
    chosen = [path for path in found if _is_selected(path, options)]
    if not chosen:
        raise InputError(
            f"{options.output_dir}: none of its {len(found)} tables is of the participants and "
            "sessions asked for. Check --participant-label and --session-label."
        )
    return _choose_segmentation(chosen)


def _walk_tables(output_dir: Path) -> Iterator[Path]:
    with os.scandir(output_dir) as entries:
        participants = [entry.path for entry in entries if entry.name.startswith("sub-")]
    for participant in participants:
        for folder, _, names in os.walk(participant):
            for name in names:
                if name.endswith(ENDING) and name.startswith("sub-"):
                    yield Path(folder, name)


def _is_selected(path: Path, options: RunOptions) -> bool:
    entities = dict(parse_entities(path.name))
    wanted = {"sub": options.participant_label, "ses": options.session_label}
    return all(not labels or entities.get(key) in labels for key, labels in wanted.items())


def _segmentation(path: Path) -> str:
    found = re.search(r"_seg-([^_]*)_", path.name)
    return found.group(1) if found else ""


def _choose_segmentation(paths: Sequence[Path]) -> tuple[list[Path], list[Finding]]:
    scans: dict[tuple[Path, tuple[tuple[str, str], ...]], list[Path]] = {}
    for path in paths:
        scans.setdefault((path.parent, parse_entities(path.name)), []).append(path)
    chosen = [
        min(same, key=lambda path: (_segmentation(path) != OWN_SEGMENTATION, path.name))
        for same in scans.values()
    ]
    kept = set(chosen)
    return chosen, make_findings(
        "note",
        "Tables of further segmentations of the same scan, left out ({n}): a scan counts once, "
        "with seg-muscle if it has that.",
        (path.name for path in paths if path not in kept),
    )


# --- scans -------------------------------------------------------------------------------------


def describe_scan(table: Path, output_dir: Path) -> dict[str, Any]:
    """Read a scan's identifiers from its table's name, and its origin from the sidecar."""
    entities = dict(parse_entities(table.name))
    scan: dict[str, Any] = dict.fromkeys((*LEADING, *ORIGIN), MISSING)
    scan |= {
        ENTITY_COLUMNS.get(key, f"{key}_id"): f"{key}-{value}" for key, value in entities.items()
    }
    scan |= {"qc_flags": "", "page": _find_page(output_dir, entities), "path": table}
    sidecar = table.with_suffix(".json")
    if not sidecar.exists():
        return scan | {"doubt": "alone"}
    try:
        return scan | _read_origin(read_sidecar(sidecar), table)
    except (DatasetError, KeyError, TypeError, AttributeError):
        return scan | {"doubt": "damaged"}


def _read_origin(content: dict[str, Any], table: Path) -> dict[str, Any]:
    """Take from a sidecar what the group level tells; a sidecar of another program has little."""
    if "Bundle" not in content:
        return {"doubt": "foreign"}
    bundle = content["Bundle"]
    written = content.get("Files", {}).get(table.name)
    altered = written is not None and hashlib.sha256(table.read_bytes()).hexdigest() != written
    flags = [flag for flag in content.get("QCFlags", []) if flag["severity"] != "info"]
    return {
        "bundle": f"{bundle['Name']} {bundle['Version']}",
        "bundle_sha256": str(bundle["SHA256"]),
        "fat_water": str(content.get("FatWater", MISSING)),
        "software_version": str(content.get("Software", {}).get("Version", MISSING)),
        "qc_flags": "; ".join(f"{flag['code']} {flag['muscle']}".strip() for flag in flags),
        "serious": any(flag["severity"] == "error" for flag in flags),
        "flags": flags,
        "doubt": "altered" if altered else "",
    }


def _find_page(output_dir: Path, entities: dict[str, str]) -> str:
    """Relative path of the scan's report: of its session if there is one, else of the person."""
    for session in (entities.get("ses"), None):
        page = page_path(output_dir, entities["sub"], session)
        if page.exists():
            return page.name
    return ""


def natural_key(label: str) -> tuple[tuple[int, int | str], ...]:
    """Sorting key in which numbers count as numbers.

    Examples
    --------
    >>> sorted(["ses-10", "ses-2", "ses-pre"], key=natural_key)
    ['ses-2', 'ses-10', 'ses-pre']
    """
    parts = re.findall(r"\d+|\D+", label)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)


def _arrange_scans(scans: list[dict[str, Any]]) -> pd.DataFrame:
    keys = {name: None for scan in scans for name in scan if name.endswith("_id")}
    columns = [
        *LEADING,
        *(name for name in keys if name not in LEADING),
        *ORIGIN,
        "qc_flags",
        "page",
    ]
    table = pd.DataFrame(
        [[scan.get(name, MISSING) for name in columns] for scan in scans], columns=columns
    )
    identifiers = [name for name in columns if name.endswith("_id")]
    order = sorted(
        range(len(scans)),
        key=lambda place: [natural_key(str(scans[place].get(name, ""))) for name in identifiers],
    )
    table["order"] = range(len(scans))
    return table.iloc[order].reset_index(drop=True)


def name_scans(scans: pd.DataFrame) -> list[str]:
    """Name each scan by its identifiers.

    Examples
    --------
    >>> name_scans(pd.DataFrame({"participant_id": ["sub-1"], "run_id": ["run-2"],
    ...                          "session_id": ["n/a"]}))
    ['sub-1_run-2']
    """
    identifiers = scans[[name for name in scans.columns if name.endswith("_id")]]
    return [
        "_".join(cell for cell in row if cell != MISSING)
        for row in identifiers.itertuples(index=False)
    ]


# --- rows --------------------------------------------------------------------------------------


def _join_rows(
    tables: list[Table], scans: list[dict[str, Any]], described: pd.DataFrame
) -> pd.DataFrame:
    """Put the rows of all tables together, in the order of the scans and of the muscles."""
    place = {old: new for new, old in enumerate(described["order"])}
    columns = dict.fromkeys(name for header, _ in tables for name in header)
    by_header: dict[tuple[str, ...], list[tuple[int, list[list[Any]]]]] = {}
    for number, (header, lines) in enumerate(tables):
        by_header.setdefault(header, []).append((place[number], lines))
    parts = []
    for header, found in by_header.items():
        part = pd.DataFrame([row for _, lines in found for row in lines], columns=list(header))
        counts = [len(lines) for _, lines in found]
        part[SCAN] = np.repeat([number for number, _ in found], counts)
        part["flags"] = _flags_of_rows(part, {place[n]: s for n, s in enumerate(scans)})
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True).reindex(columns=[SCAN, *columns, "flags"])
    for name in set(columns) & NUMBERS:
        rows[name] = _to_numbers(rows[name])
    ranks = {
        pair: rank_muscle(*pair) for pair in set(zip(rows["muscle"], rows["hemi"], strict=True))
    }
    order = sorted(ranks, key=ranks.__getitem__)
    numbers = {pair: rank for rank, pair in enumerate(order)}
    muscle = np.array([numbers[pair] for pair in zip(rows["muscle"], rows["hemi"], strict=True)])
    return rows.iloc[np.lexsort((muscle, rows[SCAN].to_numpy()))].reset_index(drop=True)


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
        found.append("; ".join(flag["code"] for flag in flags if flag["muscle"] in names))
    return found


# --- doubts ------------------------------------------------------------------------------------

DOUBTS = {
    "altered": (
        "warning",
        "Tables changed after the participant level wrote them ({n}): they are used as they are. "
        "Run the participant level again with --overwrite to undo the changes.",
    ),
    "damaged": (
        "warning",
        "Tables with a sidecar that cannot be read ({n}): the table is used; which weights made "
        "it is not known.",
    ),
    "alone": (
        "warning",
        "Tables without a sidecar ({n}): the scan was not finished, or another program wrote them. "
        "They are used; which weights made them is not known.",
    ),
    "foreign": ("note", "Tables with a sidecar that names no weights ({n}): they are used."),
}


def _find_doubts(described: pd.DataFrame, scans: list[dict[str, Any]]) -> list[Finding]:
    findings: list[Finding] = []
    for doubt, (severity, text) in DOUBTS.items():
        names = (scan["path"].name for scan in scans if scan.get("doubt") == doubt)
        findings += make_findings(severity, text, names)
    findings += make_findings(
        "warning",
        "Scans with a quality flag of the gravest kind ({n}): used. Look at their reports.",
        (scan["path"].name.removesuffix(ENDING) for scan in scans if scan.get("serious")),
    )
    for column, text in MIXTURES.items():
        findings += _find_mixture(described, column, text)
    return findings


MIXTURES = {
    "bundle_sha256": "The scans were measured with {k} different model bundles: {list}. Measures "
    "of different weights are not comparable; all are used. Run the participant level with one "
    "bundle and --overwrite.",
    "fat_water": "Fat and water were obtained in {k} ways: {list}. All scans are used; computed "
    "and scanner's images need not give the same MFI.",
    "software_version": "The scans were measured by {k} versions of this program: {list}. All are "
    "used; CHANGELOG.md says what changed.",
}


def _find_mixture(described: pd.DataFrame, column: str, text: str) -> list[Finding]:
    known = described[described[column] != MISSING]
    label = "bundle" if column == "bundle_sha256" else column
    groups = [
        (f"{rows[label].iloc[0]}{_short_hash(column, str(value))}", name_scans(rows))
        for value, rows in known.groupby(column, sort=True)
    ]
    if len(groups) < 2:
        return []
    groups.sort(key=lambda group: -len(group[1]))
    listed = "; ".join(f"{name} ({len(names):,} scans)" for name, names in groups)
    sentence = text.replace("{k}", str(len(groups))).replace("{list}", listed)
    rest = [f"{scan}: {name}" for name, names in groups[1:] for scan in names]
    return [Finding("warning", sentence, tuple(rest))]


def _short_hash(column: str, value: str) -> str:
    return f" {value[:8]}" if column == "bundle_sha256" else ""


def _list_failures(options: RunOptions, described: pd.DataFrame) -> list[Finding]:
    """Name the scans that the participant level could not measure, from its logs."""
    logs = options.output_dir / "logs"
    if not logs.is_dir():
        return []
    wanted: Callable[[str], bool] = lambda name: _is_selected(  # noqa: E731
        Path(name.replace(ERROR_LOG, "_x")), options
    )
    names = [
        name.removesuffix(ERROR_LOG)
        for name in os.listdir(logs)
        if name.endswith(ERROR_LOG) and name.startswith("sub-") and wanted(name)
    ]
    return make_findings(
        "error",
        "Scans that failed at the participant level ({n}): they have no measures; see logs/.",
        names,
    )
