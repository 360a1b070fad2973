"""Report pages from the results on disk.

A page shows the content of OUTPUT_DIR after a run. A skipped scan looks the same as when it was
measured; a failed scan states the reason. Damaged results affect only their own section.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bids_mfi import __version__
from bids_mfi.bids.names import derivative_stem, page_path, parse_entities, scan_paths
from bids_mfi.bids.saved_scans import explain_altered
from bids_mfi.bids.scan_files import ScanRecord
from bids_mfi.bids.scan_results import find_markers, read_levels, read_marker, read_measures
from bids_mfi.discovery import UnusableScan
from bids_mfi.errors import MFIError, OutputError
from bids_mfi.images import read_grid
from bids_mfi.measure.pair import DixonPair
from bids_mfi.participant.plan import RunPlan
from bids_mfi.reading import read_regular_file
from bids_mfi.report.figures import FIGURE_NAMES
from bids_mfi.report.page import ParticipantPage, Provenance, ScanSection, render_page
from bids_mfi.report.shown_paths import shorten_paths
from bids_mfi.storage import write_atomically

Scan = DixonPair | UnusableScan


class PageDesk:
    """Write the pages of each participant once, when all its scans have ended.

    A killed run thus leaves the pages of all finished participants.

    Parameters
    ----------
    plan : RunPlan
    """

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._scans: dict[str, list[Scan]] = {}
        for scan in sorted(plan.scans, key=lambda scan: scan.participant):
            self._scans.setdefault(scan.participant, []).append(scan)
        self._owner = {one.scan: who for who, own in self._scans.items() for one in own}
        self._problems = plan.problems
        self._waiting = {pair.scan for pair in plan.waiting}
        self._written: dict[str, tuple[dict[str, str] | None, tuple[Path, ...]]] = {}

    def write_missing(self) -> None:
        """Write missing pages of participants without pending scans."""
        for participant, own in self._scans.items():
            places = (None, *{scan.session for scan in own})
            pages = (
                page_path(self._plan.options.output_dir, participant, place) for place in places
            )
            if not self._waits_for(participant) and not any(map(Path.exists, pages)):
                self._write_if_possible(participant)

    def end(self, scan: str, problem: str = "") -> None:
        """Record that a scan has ended, with or without a problem; this may write pages.

        If a page cannot be written now, :meth:`write_rest` tries again and reports a failure.
        """
        if scan not in self._waiting:
            return
        self._waiting.remove(scan)
        if problem:
            self._problems[scan] = problem
        if not self._waits_for(self._owner[scan]):
            self._write_if_possible(self._owner[scan])

    def _waits_for(self, participant: str) -> bool:
        return any(scan.scan in self._waiting for scan in self._scans[participant])

    def _write_if_possible(self, participant: str) -> None:
        with suppress(MFIError, OSError):
            self._write(participant)

    def write_rest(self, problems: Mapping[str, str]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        """Write the pages that are missing or show other problems than the given ones.

        A page shows all scans with results in OUTPUT_DIR, even those that the run did not select.

        Parameters
        ----------
        problems : mapping of str to str
            Explanation for each failed scan.

        Returns
        -------
        pages : tuple of Path
            All pages of this run, including those written before.
        problems : tuple of str
            Explanation for each page that could not be written.
        """
        self._problems = dict(problems)
        unwritten: list[str] = []
        for participant in self._scans:
            shown, _ = self._written.get(participant, (None, ()))
            if shown != self._problems_of(participant):
                unwritten += self._write(participant)
        pages = (page for participant in self._scans for page in self._written[participant][1])
        return tuple(pages), tuple(unwritten)

    def _problems_of(self, participant: str) -> dict[str, str]:
        names = (scan.scan for scan in self._scans[participant])
        return {name: self._problems[name] for name in names if name in self._problems}

    def _write(self, participant: str) -> list[str]:
        """Write the page of a participant or of each session; return the failures."""
        written: list[Path] = []
        unwritten: list[str] = []
        problems = self._problems_of(participant)
        for page in _make_pages(self._plan, participant, self._scans[participant], problems):
            path = page_path(self._plan.options.output_dir, participant, page.session)
            try:
                write_atomically(path, render_page(page).encode(errors="backslashreplace"))
                written.append(path)
            except OutputError as error:
                unwritten.append(str(error))
        self._written[participant] = (None if unwritten else problems, tuple(written))
        return unwritten


def _make_pages(
    plan: RunPlan, participant: str, scans: list[Scan], problems: Mapping[str, str]
) -> Iterator[ParticipantPage]:
    """Make the page of a participant, or of each session if there are several."""
    selected = {scan.session for scan in scans}
    for session, sections in _collect(plan, participant, scans, problems).items():
        if session is None or session in selected:
            yield ParticipantPage(
                participant=participant,
                session=session,
                scans=tuple(sections[name] for name in sorted(sections)),
                provenance=_describe_provenance(plan, sections),
            )


def _collect(
    plan: RunPlan, participant: str, scans: list[Scan], problems: Mapping[str, str]
) -> dict[str | None, dict[str, ScanSection]]:
    """Collect sections by page and name: results on disk first, then scans that only failed."""
    options = plan.options
    by_session = has_sessions(options.bids_dir, participant)
    pages: dict[str | None, dict[str, ScanSection]] = {}
    folders = {
        "BIDS_DIR": options.bids_dir,
        "OUTPUT_DIR": options.output_dir,
        "WORK_DIR": options.work_dir,
        "BUNDLE": options.bundle,
    }

    def put(entities: tuple[tuple[str, str], ...], section: ScanSection) -> None:
        session = dict(entities).get("ses") if by_session else None
        section = replace(section, problem=shorten_paths(section.problem, folders))
        pages.setdefault(session, {}).setdefault(derivative_stem(entities), section)

    reasons = {derivative_stem(scan.entities): problems.get(scan.scan, "") for scan in scans}
    markers, _ = find_markers(options.output_dir, participant)
    for marker in markers:
        entities = parse_entities(marker.name)
        problem = reasons.get(derivative_stem(entities), "")
        put(entities, _show_results(plan, marker, problem))
    for scan in scans:
        pair = scan if isinstance(scan, DixonPair) else None
        problem = problems.get(scan.scan, "its results are missing")
        put(scan.entities, ScanSection(scan.scan, plan.bundle.table, pair, problem=problem))
    return pages


def has_sessions(bids_dir: Path, participant: str) -> bool:
    """Check whether the dataset contains several sessions of a participant.

    The dataset determines this, not the selection, so a run on one session writes the same page as
    a run on all sessions.
    """
    try:
        entries = list(os.scandir(bids_dir / f"sub-{participant}"))
    except OSError:
        return False
    return sum(entry.name.startswith("ses-") for entry in entries) > 1


def _show_results(plan: RunPlan, marker: Path, problem: str) -> ScanSection:
    """Make the section with the results of one scan, or explain why they cannot be shown."""
    options, table = plan.options, plan.bundle.table
    title = derivative_stem(parse_entities(marker.name))
    try:
        found = read_marker(marker)
        record = found.make_record(options.bids_dir)
        paths = scan_paths(options.output_dir, record.pair)
        results = [paths.dseg, paths.ffmap, paths.mfi_tsv, paths.mfi_json]
        further = (paths.slices_tsv, paths.slices_json, *paths.level_files)
        results += [path for path in further if path.exists()]
        problem = problem or explain_altered(paths)
        return ScanSection(
            title=record.pair.scan,
            table=table,
            pair=record.pair,
            grid=read_grid(paths.dseg),
            measures=tuple(read_measures(paths.mfi_tsv)),
            levels=tuple(read_levels(paths.levels_tsv)),
            flags=found.flags,
            figures=tuple((name, read_regular_file(paths.figure(name))) for name in FIGURE_NAMES),
            files=tuple(path.relative_to(options.output_dir).as_posix() for path in results),
            problem=problem,
            weights=_describe_weights(record),
        )
    except (MFIError, OSError) as error:
        reason = problem or f"results exist but cannot be shown: {error}"
        return ScanSection(title, table, problem=reason)


def _describe_weights(record: ScanRecord) -> str:
    bundle = record.bundle
    return f"{bundle.name} {bundle.version}, sha256 {bundle.sha256[:12]}..."


def _describe_provenance(plan: RunPlan, sections: Mapping[str, ScanSection]) -> Provenance:
    """Describe the origin of a page's first results; without results, that of the run.

    Results of an earlier run remain when a scan is rejected, and must not be attributed to this
    run.
    """
    facts, version, fat_water = plan.facts, __version__, plan.options.fat_water
    shown = next((sections[name] for name in sorted(sections) if sections[name].measures), None)
    if shown is not None and shown.pair is not None:
        marker = read_marker(scan_paths(plan.options.output_dir, shown.pair).mfi_json)
        facts, fat_water, version = marker.bundle, marker.fat_water, marker.version
    return Provenance(
        version, facts.name, facts.version, facts.sha256, facts.description, fat_water
    )
