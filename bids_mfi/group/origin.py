"""What a scan's name and sidecar state about it, and what is unusual."""

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bids_mfi.bids.names import MFI_TABLE, is_vertebra_map, page_path, parse_entities
from bids_mfi.bids.scan_files import hash_file
from bids_mfi.bids.scan_results import ScanMarker, read_scan_sidecar
from bids_mfi.cells import MISSING, loosen_label
from bids_mfi.counts import count_noun
from bids_mfi.errors import DatasetError, InputError, PairError
from bids_mfi.findings import Finding, make_findings

ENTITY_COLUMNS = {"sub": "participant_id", "ses": "session_id"}
LABEL_MAP = "_dseg.nii.gz"
LEADING = ("participant_id", "session_id", "acq_id", "run_id")
ORIGIN = ("bundle", "bundle_sha256", "fat_water", "software_version")
DOUBTS = {
    "altered": (
        "warning",
        "Tables changed after the participant level wrote them ({n}): they are used as they are. "
        "Run the participant level again with --overwrite to undo the changes.",
    ),
    "moved": (
        "warning",
        "Tables with the sidecar of another scan ({n}): used. They may have been renamed or copied "
        "by hand. The measures of a copy count twice; remove it, or run the participant level "
        "again.",
    ),
    "edited": (
        "warning",
        "Tables with a sidecar that was edited, or damaged, after the participant level wrote it "
        "({n}): they are used, but their quality flags and their origin may not be those that "
        "were found. Run the participant level again with --overwrite.",
    ),
    "unsealed": (
        "note",
        "Tables with a sidecar without a checksum of its own ({n}): an earlier version wrote it, "
        "or it was edited. They are used.",
    ),
    "damaged": (
        "warning",
        "Tables with a sidecar that cannot be read ({n}): the table is used; which weights made it "
        "is unknown.",
    ),
    "alone": (
        "warning",
        "Tables without a sidecar ({n}): the scan was not finished, or another program wrote them. "
        "They are used; which weights made them is unknown.",
    ),
    "foreign": ("note", "Tables with a sidecar that names no weights ({n}): they are used."),
}
MIXTURES = {
    "bundle_sha256": "The scans were measured with {k} different model bundles: {list}. Measures "
    "of different weights are not comparable; all are used. Run the participant level with one "
    "bundle and --overwrite.",
    "fat_water": "Fat and water were obtained in {k} ways: {list}. All scans are used; computed "
    "and scanner's images need not give the same MFI.",
    "software_version": "The scans were measured by {k} versions of this program: {list}. All are "
    "used; CHANGELOG.md says what changed.",
}


class StaleTableError(InputError):
    """A table does not belong to the label map beside it."""


def read_scan_origin(table: Path, sha256: str, output_dir: Path) -> dict[str, Any]:
    """Read a scan's identifiers from its table's name, and its origin from the sidecar.

    Parameters
    ----------
    table : Path
    sha256 : str
        Of the table.
    output_dir : Path

    Raises
    ------
    StaleTableError
        The label map that was measured has been replaced by an edited one.
    """
    entities = dict(parse_entities(table.name))
    scan: dict[str, Any] = dict.fromkeys((*LEADING, *ORIGIN), MISSING)
    scan |= {
        ENTITY_COLUMNS.get(key, f"{key}_id"): f"{key}-{value}" for key, value in entities.items()
    }
    page = _find_page(output_dir, entities)
    scan |= {"qc_flags": "", "page": page, "path": table, "files": None}
    sidecar = table.with_suffix(".json")
    if not sidecar.exists():
        return scan | {"doubt": "alone"}
    try:
        found = read_scan_sidecar(sidecar)
        scan["files"] = found.files
        if not found.names_weights:
            return scan | {"doubt": "foreign"}
        marker = found.parse()
    except DatasetError:
        return scan | {"doubt": "damaged"}
    _refuse_stale(table, marker.files)
    return scan | _describe_marker(marker, found.seal, sha256)


def _refuse_stale(table: Path, written: Mapping[str, str]) -> None:
    """Refuse a table whose label map was changed since both were written.

    Only an existing, readable label map is checked.

    Raises
    ------
    StaleTableError
    """
    names = (n for n in written if n.endswith(LABEL_MAP) and not is_vertebra_map(n))
    for name in names:
        dseg = table.with_name(name)
        try:
            stale = dseg.is_file() and hash_file(dseg) != written[name]
        except PairError:
            continue
        if stale:
            raise StaleTableError(
                f"{dseg}: edited, or damaged, after the participant level wrote it, so that "
                f"{table.name} holds the measures of the label map before. An edited map cannot be "
                "measured yet; put the earlier map back, or run the participant level with "
                "--overwrite, which segments the scan again and keeps a copy of the edited map."
            )


def _describe_marker(marker: ScanMarker, seal: str, sha256: str) -> dict[str, Any]:
    """Take from the marker of a table with this sha256 what the group level shows."""
    bundle, written = marker.bundle, marker.files.get(marker.path.with_suffix(".tsv").name)
    altered = written is not None and sha256 != written
    owner = _find_owner(marker.files) if written is None else ""
    flags = [flag for flag in marker.flags if flag.severity != "info"]
    doubts = {"altered": "edited", "none": "unsealed", "whole": ""}
    return {
        "bundle": f"{bundle.name} {bundle.version}",
        "bundle_sha256": bundle.sha256,
        "mirrored": bundle.mirrored,
        "precision": marker.precision,
        "bundle_description": bundle.description,
        "fat_water": marker.fat_water,
        "software_version": marker.version,
        "qc_flags": "; ".join(f"{flag.code} {flag.muscle}".strip() for flag in flags),
        "serious": any(flag.severity == "error" for flag in flags),
        "flags": flags,
        "doubt": "altered" if altered else "moved" if owner else doubts[seal],
        "owner": owner,
        "images": marker.images,
    }


def _find_owner(written: Mapping[str, str]) -> str:
    """Name the scan of whose table a marker is; empty if it names no table.

    >>> _find_owner({"sub-1_seg-muscle_mfi.tsv": ""}), _find_owner({"sub-1_FFmap.json": ""})
    ('sub-1', '')
    """
    tables = (name for name in written if name.endswith(MFI_TABLE))
    return next((name.removesuffix(MFI_TABLE).split("_seg-")[0] for name in tables), "")


def _find_page(output_dir: Path, entities: dict[str, str]) -> str:
    """Relative path of the scan's report: of its session if there is one, else of the person."""
    for session in (entities.get("ses"), None):
        page = page_path(output_dir, entities["sub"], session)
        if page.exists():
            return page.name
    return ""


def natural_key(label: str) -> tuple[tuple[int, int | str], ...]:
    """Sorting key in which numbers count as numbers; never the same for two labels.

    Examples
    --------
    >>> sorted(["ses-10", "ses-2", "ses-pre", "ses-02"], key=natural_key)
    ['ses-02', 'ses-2', 'ses-10', 'ses-pre']
    """
    parts = re.findall(r"\d+|\D+", label)
    return (*((0, int(part)) if part.isdecimal() else (1, part) for part in parts), (2, label))


def arrange_scans(scans: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make a table of the scans, sorted; ``order`` is the place in the input."""
    keys = {name: None for scan in scans for name in scan if name.endswith("_id")}
    further = [name for name in keys if name not in LEADING]
    columns = [*LEADING, *further, *ORIGIN, "qc_flags", "page"]
    cells = [[scan.get(name, MISSING) for name in columns] for scan in scans]
    table = pd.DataFrame(cells, columns=columns).assign(order=range(len(scans)))
    identifiers = [*LEADING, *further]
    order = sorted(
        range(len(scans)),
        key=lambda place: [natural_key(str(scans[place].get(name, ""))) for name in identifiers],
    )
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


def find_doubts(described: pd.DataFrame, scans: Sequence[dict[str, Any]]) -> list[Finding]:
    """Report what is unusual about the scans' origin and names.

    Parameters
    ----------
    described : DataFrame
        From :func:`arrange_scans`.
    scans : sequence of dict
        From :func:`read_scan_origin`.
    """
    findings = _describe_bundles(scans)
    for doubt, (severity, text) in DOUBTS.items():
        names = (_name_table(scan) for scan in scans if scan.get("doubt") == doubt)
        findings += make_findings(severity, text, names)
    findings += make_findings(
        "warning",
        "Scans with a quality flag of the most serious kind ({n}): used. Check their reports.",
        (scan["path"].name.removesuffix(MFI_TABLE) for scan in scans if scan.get("serious")),
    )
    for column, text in MIXTURES.items():
        findings += _find_mixture(described, column, text)
    findings += _find_mixed_views(scans) + _find_mixed_precision(scans)
    for column in ("participant_id", "session_id"):
        findings += _find_near_labels(described[column])
    return findings


def _name_table(scan: dict[str, Any]) -> str:
    owner = f" (of {scan['owner']})" if scan.get("owner") else ""
    return f"{scan['path'].name}{owner}"


def _describe_bundles(scans: Sequence[dict[str, Any]]) -> list[Finding]:
    """Report the descriptions of the model bundles."""
    known = {
        (scan["bundle"], scan["bundle_description"]): None
        for scan in scans
        if scan.get("bundle_description")
    }
    return [Finding("warning", f"Model bundle {name}: {text}") for name, text in known]


def _find_mixed_views(scans: Sequence[dict[str, Any]]) -> list[Finding]:
    """Name scans measured with the same weights, with and without test-time mirroring."""
    mixed = _find_mixed_keys((scan["bundle_sha256"], scan["mirrored"]) for scan in _known(scans))
    return make_findings(
        "warning",
        "Scans with test-time mirroring, while others with the same weights have none "
        "({n}): such measures are not comparable; all are used. Run the participant level with one "
        "bundle, all with --fast or all without, and --overwrite.",
        (
            scan["path"].name.removesuffix(MFI_TABLE)
            for scan in _known(scans)
            if scan["bundle_sha256"] in mixed and scan["mirrored"]
        ),
    )


def _find_mixed_precision(scans: Sequence[dict[str, Any]]) -> list[Finding]:
    """Name scans in bfloat16, while others with the same weights and mirroring are in float32."""
    keys = [((scan["bundle_sha256"], scan["mirrored"]), scan) for scan in _known(scans)]
    mixed = _find_mixed_keys((key, scan["precision"]) for key, scan in keys)
    return make_findings(
        "warning",
        "Scans segmented in bfloat16, others with the same weights in float32 ({n}): their labels "
        "differ slightly for that reason alone; all are used. Run the participant level without "
        "--fast and with --overwrite.",
        (
            scan["path"].name.removesuffix(MFI_TABLE)
            for key, scan in keys
            if key in mixed and scan["precision"] == "bfloat16"
        ),
    )


def _known(scans: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep scans whose sidecar names the weights."""
    return [scan for scan in scans if scan["bundle_sha256"] != MISSING]


def _find_mixed_keys(pairs: Iterable[tuple[Hashable, object]]) -> set[Hashable]:
    """Keys that come with more than one value.

    >>> _find_mixed_keys([("a", 1), ("a", 2), ("b", 1), ("b", 1)])
    {'a'}
    """
    found: dict[Hashable, set[object]] = {}
    for key, value in pairs:
        found.setdefault(key, set()).add(value)
    return {key for key, values in found.items() if len(values) > 1}


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
    listed = "; ".join(f"{name} ({count_noun(len(names), 'scan')})" for name, names in groups)
    sentence = text.replace("{k}", str(len(groups))).replace("{list}", listed)
    rest = [f"{scan}: {name}" for name, names in groups[1:] for scan in names]
    return [Finding("warning", sentence, tuple(rest))]


def _short_hash(column: str, value: str) -> str:
    return f" {value[:8]}" if column == "bundle_sha256" else ""


def _find_near_labels(labels: "pd.Series[Any]") -> list[Finding]:
    """Name labels that differ only in zeros or case."""
    groups: dict[str, list[str]] = {}
    for label in sorted(set(labels) - {MISSING}, key=natural_key):
        groups.setdefault(loosen_label(label), []).append(label)
    near = (" and ".join(same) for same in groups.values() if len(same) > 1)
    text = (
        "Labels that differ only in zeros or case ({n}): treated as different. Rename one of each."
    )
    return make_findings("warning", text, near)
