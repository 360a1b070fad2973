"""Whether BIDS_DIR is the dataset that was measured.

Two studies may have the same labels, and datasets move: a path proves nothing. The images that a
scan was measured on prove it, by their names and by their sha256 in the scan's sidecar.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bids_mfi.bids.scan_results import Images
from bids_mfi.errors import InputError
from bids_mfi.findings import Finding, make_findings
from bids_mfi.reading import open_regular_file, read_object

MOST_SCANS = 20  # whose images are read
BLOCK_BYTES = 2**20
MOST_POINTER_BYTES = 32 * 2**10  # git-annex: a file of which only the key is here
_ANNEX_KEY = re.compile(r"annex/objects/(?:.*/)?[A-Z0-9_]+-")
_ANNEX_SHA256 = re.compile(r"SHA256E?-s\d+--([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class MeasuredScan:
    """A scan and its images.

    Attributes
    ----------
    name : str
        For example ``sub-01_acq-dixon``.
    participant : str
        ``sub-LABEL``.
    images : tuple of (str, str)
        Path below BIDS_DIR and sha256 of each, empty where it was not recorded.
    """

    name: str
    participant: str
    images: Images


def judge_dataset(
    bids_dir: Path,
    output_dir: Path,
    participants_file: Path | None,
    scans: Sequence[MeasuredScan],
) -> tuple[bool, list[Finding]]:
    """Check whether the tables of BIDS_DIR belong to the people who were measured.

    Parameters
    ----------
    bids_dir, output_dir : Path
    participants_file : Path or None
        A table that the user named; then BIDS_DIR may be another dataset.
    scans : sequence of MeasuredScan

    Returns
    -------
    (bool, list of Finding)
        Whether tables of sessions in BIDS_DIR may be used, and what was found.

    Raises
    ------
    InputError
        BIDS_DIR is another dataset, and no table was named.
    """
    if not scans:
        return True, []
    own = True
    findings: list[Finding] = []
    if _has_tables(bids_dir, participants_file, scans):
        why, findings = _compare_dataset(bids_dir, output_dir, scans)
        own = not why
        if why and participants_file is None:
            raise InputError(_refuse(bids_dir, why))
        if why:
            findings = [Finding("warning", _describe_other(bids_dir, why))]
    return own, [*findings, *_judge_home(bids_dir, output_dir, participants_file, scans)]


def _has_tables(
    bids_dir: Path, participants_file: Path | None, scans: Sequence[MeasuredScan]
) -> bool:
    """Whether anything of BIDS_DIR would be joined to the measures."""
    table = participants_file or bids_dir / "participants.tsv"
    if os.path.lexists(table) and table.parent.resolve() == bids_dir.resolve():
        return True
    people = dict.fromkeys(scan.participant for scan in scans)
    return any(os.path.lexists(bids_dir / who / f"{who}_sessions.tsv") for who in people)


def _judge_home(
    bids_dir: Path,
    output_dir: Path,
    participants_file: Path | None,
    scans: Sequence[MeasuredScan],
) -> list[Finding]:
    """Warn about a named table in a dataset other than the one measured."""
    home = participants_file.parent if participants_file else bids_dir
    is_dataset = (home / "dataset_description.json").exists()
    if not is_dataset or home.resolve() == bids_dir.resolve():
        return []
    why, _ = _compare_dataset(home, output_dir, scans)
    text = f"{participants_file} is in a dataset that is not the one measured: {why} It is used."
    return [Finding("warning", text)] if why else []


def _compare_dataset(
    bids_dir: Path, output_dir: Path, scans: Sequence[MeasuredScan]
) -> tuple[str, list[Finding]]:
    """Say why it is not the dataset that was measured, otherwise empty; and what is doubtful."""
    looked_at = choose_scans(scans)
    found = {scan: compare_scan(bids_dir, scan) for scan in looked_at}
    verdicts = set(found.values())
    others = [scan for scan, verdict in found.items() if verdict in ("other", "renamed")]
    if "same" in verdicts:
        return "", _name_changed(others, len(looked_at))
    if "other" in verdicts or (others and not verdicts & {"named", "absent"}):
        return _explain(bids_dir, others, len(looked_at)), []
    why = _compare_doi(bids_dir, output_dir) if verdicts == {"gone"} else ""
    # A clone without content has at least the names; else other people may be in the tables.
    severity = "note" if verdicts == {"absent"} else "warning"
    return why, [] if why else [Finding(severity, _describe_unproved(bids_dir, verdicts))]


def choose_scans(scans: Sequence[MeasuredScan], most: int = MOST_SCANS) -> list[MeasuredScan]:
    """Choose scans spread evenly over all.

    >>> scans = [MeasuredScan(f"sub-{n}", f"sub-{n}", ()) for n in range(100)]
    >>> [scan.name for scan in choose_scans(scans, 3)]
    ['sub-0', 'sub-33', 'sub-66']
    """
    count = min(most, len(scans))
    return [scans[place * len(scans) // count] for place in range(count)]


# --- images ------------------------------------------------------------------------------------


def compare_scan(bids_dir: Path, scan: MeasuredScan) -> str:
    """Compare a scan's images with those in BIDS_DIR.

    Returns
    -------
    str
        ``other``: an image has different content. ``same``: one has the same, and none another.
        ``named``: the names exist, the content was not recorded or may not be read.
        ``absent``: the names exist, git-annex has the content elsewhere. ``renamed``: a name
        does not exist, but the participant has other images. ``gone``: it has none.
    """
    verdicts = {compare_image(bids_dir / name, sha256) for name, sha256 in scan.images}
    for verdict in ("other", "same"):
        if verdict in verdicts:
            return verdict
    if "gone" in verdicts:
        return "renamed" if _has_images(bids_dir / scan.participant) else "gone"
    return "named" if "named" in verdicts else "absent"


def compare_image(path: Path, sha256: str) -> str:
    """Compare an image with its recorded sha256; see :func:`compare_scan` for what is returned."""
    if not os.path.lexists(path):
        return "gone"
    try:
        key = _read_annex_key(path)
        if key:
            recorded = _ANNEX_SHA256.search(key)
            if not (recorded and sha256):
                return "absent"
            return "same" if recorded[1] == sha256 else "other"
        if not sha256:
            return "named"
        with open_regular_file(path) as file:
            digest = hashlib.sha256()
            for block in iter(partial(file.read, BLOCK_BYTES), b""):
                digest.update(block)
        return "same" if digest.hexdigest() == sha256 else "other"
    except OSError:
        return "named"


def _read_annex_key(path: Path) -> str:
    """Where git-annex has a file's content, empty if the content is here."""
    if path.is_symlink() and not path.exists():
        target = os.readlink(path)
        return target if _ANNEX_KEY.search(target) else ""
    if path.is_file() and path.stat().st_size < MOST_POINTER_BYTES:
        with open_regular_file(path) as file:
            start = file.read(MOST_POINTER_BYTES)
        if start.startswith(b"/annex/objects/"):
            return start.decode(errors="replace")
    return ""


def _has_images(folder: Path) -> bool:
    patterns = ("*.nii*", "*/*.nii*", "*/*/*.nii*")
    try:
        return any(True for pattern in patterns for _ in folder.glob(pattern))
    except OSError:
        return False


# --- words -------------------------------------------------------------------------------------


def _explain(bids_dir: Path, others: Sequence[MeasuredScan], looked_at: int) -> str:
    scan = others[0]
    changed = [n for n, sha256 in scan.images if compare_image(bids_dir / n, sha256) == "other"]
    gone = [name for name, _ in scan.images if not os.path.lexists(bids_dir / name)]
    first = f"{changed[0]} has different content" if changed else f"{gone[0]} does not exist"
    return (
        f"the images of {len(others)} of {looked_at} scans checked are not those that were "
        f"measured ({first})."
    )


def _refuse(bids_dir: Path, why: str) -> str:
    table = bids_dir / "participants.tsv"
    return (
        f"{bids_dir}: is not the dataset that was measured: {why} Its tables may belong to other "
        "people with the same labels. Expected the BIDS_DIR of the participant level; name that, "
        "or, if a table is of the people measured (their images were renamed or defaced since), "
        f"name it yourself: --participants-file {table}"
    )


def _describe_other(bids_dir: Path, why: str) -> str:
    return (
        f"{bids_dir} is not the dataset that was measured: {why} The table named by "
        "--participants-file is used as it is; tables of sessions in BIDS_DIR are not."
    )


def _name_changed(others: Sequence[MeasuredScan], looked_at: int) -> list[Finding]:
    text = (
        f"Scans whose images in BIDS_DIR are not those that were measured, of {looked_at} checked "
        "({n}): sex, age and BMI in BIDS_DIR may belong to other people. They are used; measure "
        "these scans again, or leave them out."
    )
    return make_findings("warning", text, (scan.name for scan in others))


def _describe_unproved(bids_dir: Path, verdicts: set[str]) -> str:
    if "named" in verdicts:
        why = "names fit, but the content was not recorded by the version that measured, or may "
        why += "not be read"
    elif "absent" in verdicts:
        why = "names fit, but git-annex has the content elsewhere"
    else:
        why = "it holds no image of them"
    return (
        f"That {bids_dir} is the dataset that was measured could not be proved by its images: "
        f"{why}. Its tables are used; make sure that they are of these participants."
    )


def _compare_doi(bids_dir: Path, output_dir: Path) -> str:
    """Say that two datasets have different DOIs; empty if they do not, or one is not known."""
    name = "dataset_description.json"
    given = _plain_doi(read_object(bids_dir / name).get("DatasetDOI"))
    sources = read_object(output_dir / name).get("SourceDatasets")
    entries = [entry for entry in sources if isinstance(entry, dict)] if isinstance(
        sources, list) else []  # fmt: skip
    recorded = {doi for entry in entries if (doi := _plain_doi(entry.get("DOI")))}
    if not given or not recorded or given in recorded:
        return ""
    return f"it has the DOI {given}, the dataset that was measured {min(recorded)}."


def _plain_doi(doi: Any) -> str:
    """DOI without scheme and version.

    >>> _plain_doi("https://doi.org/10.18112/openneuro.ds000117.v1.0.0")
    '10.18112/openneuro.ds000117'
    """
    text = doi.strip().lower() if isinstance(doi, str) else ""
    text = re.sub(r"^(https?://(dx\.)?doi\.org/|doi:\s*)", "", text)
    return re.sub(r"\.v\d+(\.\d+)*$", "", text)
