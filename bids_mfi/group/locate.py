"""Location of OUTPUT_DIR's tables, and selection of the requested ones.

A table is expected where BIDS puts it: ``sub-X[/ses-Y][/DATATYPE]``, with the same ``sub`` and
``ses`` in its name. Tables elsewhere are named and left out: a copy in a backup folder is not a
scan.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bids_mfi.bids.names import (
    MFI_SIDECAR,
    MFI_TABLE,
    is_scan_name,
    parse_entities,
    prefer_muscle_files,
)
from bids_mfi.errors import InputError
from bids_mfi.findings import Finding, make_findings
from bids_mfi.options import RunOptions

ERROR_LOG = "_error.txt"
DEEPEST = 4  # folders below OUTPUT_DIR that are searched, one more than BIDS has
PREFERRED_FOLDER = "anat"

Scan = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Search:
    """What the search of the folders finds."""

    tables: list[Path] = field(default_factory=list)
    astray: list[str] = field(default_factory=list)
    misnamed: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    orphans: list[Path] = field(default_factory=list)


def find_tables(options: RunOptions) -> tuple[list[Path], list[Finding]]:
    """Find the tables of the selected participants and sessions, sorted, one per scan.

    Where a scan has tables of several segmentations, that of ``seg-muscle`` is taken.

    Raises
    ------
    InputError
        There is none.
    """
    root = options.output_dir
    if not root.is_dir():
        raise InputError(
            f"{root}: is not a folder. Expected the output of the participant level; run that "
            "first, or name its folder."
        )
    search = _Search()
    for folder in sorted(_list_folders(root, "sub-", search)):
        _search(folder, root, search)
    if not search.tables:
        raise InputError(
            f"{root}: holds no table sub-*/**/*{MFI_TABLE}. Expected the output of the participant "
            "level; run that first, or name its folder."
        )
    chosen = [path for path in search.tables if is_selected(path.name, options)]
    if not chosen:
        raise InputError(
            f"{root}: none of its {len(search.tables)} tables belongs to the requested "
            "participants and sessions. Check --participant-label and --session-label."
        )
    kept, doubles = _choose_one_a_scan(chosen)
    orphans = [path.name for path in search.orphans if is_selected(path.name, options)]
    return kept, [*doubles, *_describe_search(search, orphans), *_find_unmet(options, kept)]


def _list_folders(folder: Path, start: str, search: _Search) -> Iterator[Path]:
    """Folders in a folder, links to folders included."""
    try:
        with os.scandir(folder) as entries:
            yield from (Path(e.path) for e in entries if e.name.startswith(start) and e.is_dir())
    except OSError:
        search.closed.append(str(folder))


def _search(folder: Path, root: Path, search: _Search) -> None:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        search.closed.append(str(folder.relative_to(root)))
        return
    for entry in entries:
        # A link to nothing or a pipe is named when it is read.
        if entry.name.endswith(MFI_TABLE) and not entry.is_dir():
            _sort_table(Path(entry.path), root, search)
        elif entry.name.endswith(MFI_SIDECAR) and _is_orphan(Path(entry.path), root):
            search.orphans.append(Path(entry.path))
        elif entry.is_dir() and len(folder.relative_to(root).parts) < DEEPEST:
            _search(Path(entry.path), root, search)


def _sort_table(path: Path, root: Path, search: _Search) -> None:
    """Note a table by its place and name."""
    place = path.relative_to(root)
    if not is_scan_name(path.name):
        search.misnamed.append(str(place))
    elif _is_in_place(place):
        search.tables.append(path)
    else:
        search.astray.append(str(place))


def _is_orphan(path: Path, root: Path) -> bool:
    """Whether a sidecar is that of a missing table of a scan."""
    return (
        is_scan_name(path.name)
        and _is_in_place(path.relative_to(root))
        and not os.path.lexists(path.with_suffix(".tsv"))
    )


def _is_in_place(place: Path) -> bool:
    """Whether a table is where its name says.

    >>> _is_in_place(Path("sub-1/anat/sub-1_mfi.tsv")), _is_in_place(Path("sub-1/sub-2_mfi.tsv"))
    (True, False)
    """
    entities = dict(parse_entities(place.name))
    *folders, _ = place.parts
    expected = [f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities]
    return folders[: len(expected)] == expected and len(folders) <= len(expected) + 1


def is_selected(name: str, options: RunOptions) -> bool:
    """Whether a file of this name belongs to the requested participants and sessions."""
    entities = dict(parse_entities(name))
    wanted = {"sub": options.participant_label, "ses": options.session_label}
    return all(not labels or entities.get(key) in labels for key, labels in wanted.items())


def _choose_one_a_scan(paths: Sequence[Path]) -> tuple[list[Path], list[Finding]]:
    scans: dict[Scan, list[Path]] = {}
    for path in paths:
        scans.setdefault(tuple(sorted(parse_entities(path.name))), []).append(path)
    kept = [min(prefer_muscle_files(same), key=_rank) for same in scans.values()]
    chosen = set(kept)
    return kept, make_findings(
        "warning",
        "Further tables of the same scan, left out ({n}): a scan counts once, with seg-muscle if "
        "it has that.",
        (str(Path(*path.parts[-3:])) for path in paths if path not in chosen),
    )


def _rank(path: Path) -> tuple[bool, str]:
    return path.parent.name != PREFERRED_FOLDER, path.name


def _describe_search(search: _Search, orphans: Iterable[str]) -> list[Finding]:
    return [
        *make_findings(
            "warning",
            "Sidecars of missing tables ({n}): these scans are in no analysis. Put the table back, "
            "or run the participant level again.",
            orphans,
        ),
        *make_findings(
            "warning",
            "Tables in a place that does not fit their name, left out ({n}): expected "
            "sub-X[/ses-Y]/anat. Move or remove them.",
            search.astray,
        ),
        *make_findings(
            "warning",
            "Tables whose name does not consist of BIDS entities, left out ({n}): they may be "
            "copies made by a file manager or by synchronisation. Rename or remove them.",
            search.misnamed,
        ),
        *make_findings(
            "error",
            "Folders that may not be read ({n}): their content is in no analysis. Get permission "
            "to read them.",
            search.closed,
        ),
    ]


def _find_unmet(options: RunOptions, tables: Iterable[Path]) -> list[Finding]:
    """Name requested participants and sessions that have no table."""
    entities = [dict(parse_entities(path.name)) for path in tables]
    findings: list[Finding] = []
    for key, asked in (("sub", options.participant_label), ("ses", options.session_label)):
        found = {known.get(key) for known in entities}
        text = "Requested, but without a table of measures ({n})."
        findings += make_findings("error", text, (f"{key}-{x}" for x in asked if x not in found))
    return findings


def list_failures(options: RunOptions, measured: Iterable[str]) -> list[Finding]:
    """Name the scans that the participant level could not measure, from its logs.

    Parameters
    ----------
    options : RunOptions
    measured : iterable of str
        Scans that have a table, ``sub-01_acq-dixon``; their old logs are ignored.
    """
    logs = options.output_dir / "logs"
    known = set(measured)
    try:
        names = os.listdir(logs)
    except OSError:
        return []
    failed = (
        name.removesuffix(ERROR_LOG)
        for name in names
        if name.endswith(ERROR_LOG) and name.startswith("sub-")
        if is_selected(name.replace(ERROR_LOG, "_x"), options)
    )
    return make_findings(
        "error",
        "Scans that failed at the participant level ({n}): they have no measures; see logs/.",
        (name for name in failed if name not in known),
    )
