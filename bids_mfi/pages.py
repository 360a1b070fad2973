"""Report pages from what is on the disk; must not know how it was measured.

A page shows what OUTPUT_DIR holds after a run, so a scan that was skipped looks as it did when it
was made, and a scan that failed says why.
"""

import os
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

from bids_mfi import __version__
from bids_mfi.derivatives import (
    COLUMN_DESCRIPTIONS,
    BundleFacts,
    page_path,
    read_flags,
    read_measures,
    scan_paths,
    write_atomically,
)
from bids_mfi.discovery import UnusableScan
from bids_mfi.dixon import DixonPair
from bids_mfi.grid import read_grid
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.options import RunOptions
from bids_mfi.report.figures import FIGURE_NAMES
from bids_mfi.report.page import ParticipantPage, Provenance, ScanSection, render_page

Scan = DixonPair | UnusableScan


def bundle_facts(bundle: ModelBundle) -> BundleFacts:
    """Reduce a bundle to what the outputs say about it."""
    return BundleFacts(
        bundle.name, bundle.version, bundle.sha256, bundle.description, bundle.identity
    )


def write_pages(
    scans: Iterable[Scan],
    problems: Mapping[str, str],
    bundle: ModelBundle,
    options: RunOptions,
) -> tuple[Path, ...]:
    """Write the page of each participant, or of each session where there are several.

    Parameters
    ----------
    scans : iterable of DixonPair or UnusableScan
        All scans of the run.
    problems : mapping of str to str
        For each scan without results the sentence that says why.

    Raises
    ------
    OutputError
        A page cannot be written.
    """
    ordered = sorted(scans, key=lambda scan: (scan.participant, scan.session or "", scan.scan))
    written = []
    for participant, own in groupby(ordered, key=lambda scan: scan.participant):
        for session, group in _split_sessions(list(own), options.bids_dir):
            page = ParticipantPage(
                participant=participant,
                session=session,
                scans=tuple(_describe_scan(scan, problems, bundle, options) for scan in group),
                provenance=_describe_provenance(bundle, options),
                column_descriptions=_describe_columns(),
            )
            path = page_path(options.output_dir, participant, session)
            write_atomically(path, render_page(page).encode())
            written.append(path)
    return tuple(written)


def _split_sessions(scans: list[Scan], bids_dir: Path) -> list[tuple[str | None, list[Scan]]]:
    """One group, or one for each session if the participant has several in the dataset.

    The dataset decides and not the selection, so that a run on one session writes the same page
    as a run on all.
    """
    folder = bids_dir / f"sub-{scans[0].participant}"
    try:
        sessions = [entry.name for entry in os.scandir(folder) if entry.name.startswith("ses-")]
    except OSError:
        sessions = []
    if len(sessions) < 2:
        return [(None, scans)]
    grouped = groupby(scans, key=lambda scan: scan.session)
    return [(session, list(group)) for session, group in grouped]


def _describe_scan(
    scan: Scan, problems: Mapping[str, str], bundle: ModelBundle, options: RunOptions
) -> ScanSection:
    pair = scan if isinstance(scan, DixonPair) else None
    if pair is None or scan.scan in problems:
        return ScanSection(scan.scan, bundle.table, pair, problem=problems[scan.scan])
    paths = scan_paths(options.output_dir, pair)
    results = (paths.dseg, paths.ffmap, paths.mfi_tsv, paths.mfi_json)
    return ScanSection(
        title=pair.scan,
        table=bundle.table,
        pair=pair,
        grid=read_grid(paths.dseg),
        measures=tuple(read_measures(paths.mfi_tsv)),
        flags=tuple(read_flags(paths.mfi_json)),
        figures=tuple((name, paths.figure(name).read_bytes()) for name in FIGURE_NAMES),
        files=tuple(path.relative_to(options.output_dir).as_posix() for path in results),
    )


def _describe_provenance(bundle: ModelBundle, options: RunOptions) -> Provenance:
    return Provenance(
        version=__version__,
        bundle_name=bundle.name,
        bundle_version=bundle.version,
        bundle_sha256=bundle.sha256,
        bundle_description=bundle.description,
        fat_water=options.fat_water,
    )


def _describe_columns() -> tuple[tuple[str, str], ...]:
    return tuple((name, str(facts["Description"])) for name, facts in COLUMN_DESCRIPTIONS.items())
