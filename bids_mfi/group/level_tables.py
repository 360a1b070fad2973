"""The scans' tables by vertebral level as one; must not know participants' data or statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd

from bids_mfi.bids.markers import read_sidecar
from bids_mfi.bids.scan_files import hash_file
from bids_mfi.bids.scan_results import read_levels
from bids_mfi.errors import DatasetError, PairError
from bids_mfi.findings import Finding, make_findings
from bids_mfi.group.locate import ENDING
from bids_mfi.measure.levels import LevelMeasure
from bids_mfi.muscles import VERTEBRA_TABLE

LEVEL_ENDING = "_levels.tsv"
VERTEBRA_MAP = VERTEBRA_TABLE.replace(".tsv", ".nii.gz")
COLUMNS = tuple(field.name for field in fields(LevelMeasure))


def collect_levels(
    places: Mapping[int, Path], scan_column: str
) -> tuple[pd.DataFrame, list[Finding]]:
    """Read the table by vertebral level beside each scan's table of muscles, if there is one.

    Parameters
    ----------
    places : mapping of int to Path
        Table of muscles of each scan, by the number that its rows get.
    scan_column : str
        Name of the column for that number.

    Returns
    -------
    (DataFrame, list of Finding)
        A row a scan, level, muscle and side, in the order of the scans; and the tables left out.
    """
    parts: list[pd.DataFrame] = []
    damaged: list[str] = []
    changed: list[str] = []
    for number, table in sorted(places.items()):
        path = table.with_name(table.name.removesuffix(ENDING) + LEVEL_ENDING)
        try:
            rows = read_levels(path)
            if _is_changed(table, path):
                changed.append(path.name)
                continue
        except (DatasetError, PairError):
            damaged.append(path.name)
            continue
        part = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
        part.insert(0, scan_column, number)
        parts.append(part)
    return _join(parts, scan_column), [
        *make_findings(
            "error", "Tables by vertebral level that cannot be read ({n}): left out.", damaged
        ),
        *make_findings(
            "warning",
            "Tables by vertebral level that were changed, or whose vertebrae were, after the "
            "participant level wrote them ({n}): left out. Run the participant level again with "
            "--overwrite.",
            changed,
        ),
    ]


def _is_changed(table: Path, path: Path) -> bool:
    """Whether a table by level, or the label map of the vertebrae, is not what was written.

    Without a sidecar that tells nothing is known to have changed.
    """
    if not path.exists() or not table.with_suffix(".json").exists():
        return False
    try:
        written = read_sidecar(table.with_suffix(".json")).get("Files")
    except DatasetError:
        return False
    if not isinstance(written, dict):
        return False
    names = (path.name, *(name for name in written if name.endswith(VERTEBRA_MAP)))
    files = {table.with_name(Path(name).name): written.get(name) for name in names}
    return any(mark and file.is_file() and hash_file(file) != mark for file, mark in files.items())


def _join(parts: Sequence[pd.DataFrame], scan_column: str) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    if not filled:
        return pd.DataFrame(columns=[scan_column, *COLUMNS])
    return pd.concat(filled, ignore_index=True)
