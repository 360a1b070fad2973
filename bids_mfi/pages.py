"""Report pages from what is on the disk; must not know how it was measured.

A page shows what OUTPUT_DIR holds after a run, so a scan that was skipped looks as it did when it
was made, and a scan that failed says why. Damaged results cost their own section, no other.
"""

import os
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

from bids_mfi import __version__
from bids_mfi.derivatives import (
    COLUMN_DESCRIPTIONS,
    BundleFacts,
    ScanRecord,
    derivative_stem,
    explain_altered,
    find_markers,
    page_path,
    parse_entities,
    read_flags,
    read_measures,
    read_record,
    scan_paths,
)
from bids_mfi.discovery import UnusableScan
from bids_mfi.dixon import DixonPair
from bids_mfi.errors import MFIError, OutputError
from bids_mfi.grid import read_grid
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.options import RunOptions
from bids_mfi.reading import read_regular_file
from bids_mfi.report.figures import FIGURE_NAMES
from bids_mfi.report.page import ParticipantPage, Provenance, ScanSection, render_page
from bids_mfi.storage import write_atomically

Scan = DixonPair | UnusableScan


def bundle_facts(bundle: ModelBundle) -> BundleFacts:
    """Reduce a bundle to what the outputs say about it."""
    return BundleFacts(
        name=bundle.name,
        version=bundle.version,
        sha256=bundle.sha256,
        description=bundle.description,
        identity=bundle.identity,
        mirrored=bundle.mirrored,
    )


def write_pages(
    scans: Iterable[Scan],
    problems: Mapping[str, str],
    bundle: ModelBundle,
    options: RunOptions,
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Write the page of each participant, or of each session where there are several.

    A page shows all scans of which OUTPUT_DIR holds results, also those the run did not select.

    Parameters
    ----------
    scans : iterable of DixonPair or UnusableScan
        All scans of the run.
    problems : mapping of str to str
        For each scan that failed the sentence that says why.

    Returns
    -------
    written : tuple of Path
    problems : tuple of str
        For each page that could not be written the sentence that says why.
    """
    written: list[Path] = []
    unwritten: list[str] = []
    ordered = sorted(scans, key=lambda scan: scan.participant)
    for participant, group in groupby(ordered, key=lambda scan: scan.participant):
        own = list(group)
        selected = {scan.session for scan in own}
        for session, sections in _collect(participant, own, problems, bundle, options).items():
            if session is not None and session not in selected:
                continue
            page = ParticipantPage(
                participant=participant,
                session=session,
                scans=tuple(sections[name] for name in sorted(sections)),
                provenance=_describe_provenance(sections, bundle, options),
                column_descriptions=_describe_columns(),
            )
            path = page_path(options.output_dir, participant, session)
            try:
                write_atomically(path, render_page(page).encode(errors="backslashreplace"))
                written.append(path)
            except OutputError as error:
                unwritten.append(str(error))
    return tuple(written), tuple(unwritten)


def _collect(
    participant: str,
    scans: list[Scan],
    problems: Mapping[str, str],
    bundle: ModelBundle,
    options: RunOptions,
) -> dict[str | None, dict[str, ScanSection]]:
    """Sections by page and by name: results on the disk first, then scans that only failed."""
    by_session = has_sessions(options.bids_dir, participant)
    pages: dict[str | None, dict[str, ScanSection]] = {}

    def put(entities: tuple[tuple[str, str], ...], section: ScanSection) -> None:
        session = dict(entities).get("ses") if by_session else None
        pages.setdefault(session, {}).setdefault(derivative_stem(entities), section)

    reasons = {derivative_stem(scan.entities): problems.get(scan.scan, "") for scan in scans}
    markers, _ = find_markers(options.output_dir, participant)
    for marker in markers:
        entities = parse_entities(marker.name)
        problem = reasons.get(derivative_stem(entities), "")
        put(entities, _show_results(marker, problem, bundle, options))
    for scan in scans:
        pair = scan if isinstance(scan, DixonPair) else None
        problem = problems.get(scan.scan, "its results are not there")
        put(scan.entities, ScanSection(scan.scan, bundle.table, pair, problem=problem))
    return pages


def has_sessions(bids_dir: Path, participant: str) -> bool:
    """Whether the dataset holds several sessions of a participant.

    The dataset decides and not the selection, so that a run on one session writes the same page
    as a run on all.
    """
    try:
        entries = list(os.scandir(bids_dir / f"sub-{participant}"))
    except OSError:
        return False
    return sum(entry.name.startswith("ses-") for entry in entries) > 1


def _show_results(
    marker: Path, problem: str, bundle: ModelBundle, options: RunOptions
) -> ScanSection:
    """Show the results of one scan, or say why they cannot be shown."""
    title = derivative_stem(parse_entities(marker.name))
    try:
        record = read_record(marker, options.bids_dir)
        paths = scan_paths(options.output_dir, record.pair)
        results = (paths.dseg, paths.ffmap, paths.mfi_tsv, paths.mfi_json)
        problem = problem or explain_altered(paths)
        return ScanSection(
            title=record.pair.scan,
            table=bundle.table,
            pair=record.pair,
            grid=read_grid(paths.dseg),
            measures=tuple(read_measures(paths.mfi_tsv)),
            flags=tuple(read_flags(paths.mfi_json)),
            figures=tuple((name, read_regular_file(paths.figure(name))) for name in FIGURE_NAMES),
            files=tuple(path.relative_to(options.output_dir).as_posix() for path in results),
            problem=problem,
            weights=_describe_weights(record),
        )
    except (MFIError, OSError) as error:
        reason = problem or f"results are there but cannot be shown: {error}"
        return ScanSection(title, bundle.table, problem=reason)


def _describe_weights(record: ScanRecord) -> str:
    bundle = record.bundle
    return f"{bundle.name} {bundle.version}, sha256 {bundle.sha256[:12]}..."


def _describe_provenance(
    sections: Mapping[str, ScanSection], bundle: ModelBundle, options: RunOptions
) -> Provenance:
    """Tell by what the first results of a page were made; the run's bundle if there are none.

    Results of an earlier run stay when a scan is refused, and must not be put down to this one.
    """
    facts, version, fat_water = bundle_facts(bundle), __version__, options.fat_water
    shown = next((sections[name] for name in sorted(sections) if sections[name].measures), None)
    if shown is not None and shown.pair is not None:
        marker = scan_paths(options.output_dir, shown.pair).mfi_json
        record = read_record(marker, options.bids_dir)
        facts, fat_water, version = record.bundle, record.fat_water, record.version
    return Provenance(
        version, facts.name, facts.version, facts.sha256, facts.description, fat_water
    )


def _describe_columns() -> tuple[tuple[str, str], ...]:
    return tuple((name, str(facts["Description"])) for name, facts in COLUMN_DESCRIPTIONS.items())
