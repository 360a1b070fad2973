"""Order of the group level from OUTPUT_DIR's tables to files; must not know formulas or print."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from bids_mfi.derivatives import check_output_dir, write_run_log
from bids_mfi.errors import InputError, MFIError
from bids_mfi.group.analyses import analyse_cohort, analyse_formula
from bids_mfi.group.cohort import MEASURES, Analysis, Cohort, make_cohort
from bids_mfi.group.wilkinson import ParsedFormula, parse_formula
from bids_mfi.group_run.collect import SCAN, Collection, collect_tables
from bids_mfi.group_run.findings import make_findings, sort_findings
from bids_mfi.group_run.further import analyse_centiles, analyse_change, name_further
from bids_mfi.group_run.outputs import (
    FIGURES,
    MEASURES_TABLE,
    PAGE,
    VOLUME,
    describe_table,
    make_table_file,
    remove_outdated,
)
from bids_mfi.group_run.people import STANDARD, People, read_people
from bids_mfi.group_run.presentation import (
    CORRECTION_WORDS,
    Figure,
    arrange_people,
    draw_figures,
    list_missing,
    name_sources,
    state_facts,
)
from bids_mfi.group_run.prose import write_methods, write_results
from bids_mfi.group_run.selection import Selection, select_session
from bids_mfi.options import RunOptions
from bids_mfi.report.group_page import Finding, GroupPage, TableEntry, render_group_page
from bids_mfi.storage import remove_stale_partials, write_atomically

RECORDED_PACKAGES = ("numpy", "scipy", "pandas", "statsmodels", "formulaic", "plotly")
VISIT = ["participant_id", "session_id"]


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """What a group run came to, for the person who ran it.

    Attributes
    ----------
    sentence : str
        What was analysed.
    page : Path
        The report.
    findings : tuple of Finding
    failed : tuple of (str, str)
        Tables that cannot be read, and why.
    """

    sentence: str
    page: Path
    findings: tuple[Finding, ...]
    failed: tuple[tuple[str, str], ...]

    @property
    def exit_code(self) -> int:
        """0, or 1 if a table could not be read."""
        return MFIError.exit_code if self.failed else 0


@dataclass(frozen=True, slots=True, eq=False)
class _Input:
    """Everything that is known before statistics begin."""

    options: RunOptions
    collection: Collection
    people: People
    selection: Selection

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, gravest first."""
        unreadable = (f"{name}: {problem}" for name, problem in self.collection.failed)
        text = "Tables that cannot be read ({n}): their scans are in no analysis."
        failed = make_findings("error", text, unreadable)
        found = (self.collection.findings, self.people.findings, self.selection.findings)
        return sort_findings((*failed, *chain(*found)))


def run_group(options: RunOptions) -> GroupSummary:
    """Run the group level: from the tables of OUTPUT_DIR to statistics and a report.

    Raises
    ------
    InputError
        There are no tables, or a table of participants or an option makes no sense.
    OutputError
        OUTPUT_DIR is not ours, or cannot be written.
    """
    given = _read_input(options)
    parsed = parse_formula(options.model) if options.model else None
    cohorts = {measure: _make_cohort(given, measure) for measure in MEASURES}
    analyses = _analyse(given, cohorts, parsed)
    files = {MEASURES_TABLE: make_table_file(MEASURES_TABLE, list_measures(given))}
    for key, analysis in analyses.items():
        files[key] = make_table_file(key, analysis.table, analysis.notes)
    figures = tuple(chain(*(draw_figures(cohort, files) for cohort in cohorts.values())))
    page = _make_page(given, cohorts["mfi"], files, figures)
    written = _encode(files, _describe_run(given, cohorts["mfi"]))
    written |= {path: svg for path, _, svg in figures}
    _write(options.output_dir, written | {PAGE: render_group_page(page).encode()})
    summary = GroupSummary(
        _summarise(given, cohorts["mfi"]),
        options.output_dir / PAGE,
        given.findings,
        given.collection.failed,
    )
    _write_log(options, summary)
    return summary


def _write_log(options: RunOptions, summary: GroupSummary) -> None:
    outcome = {
        "outcome": summary.sentence,
        "findings": [asdict(finding) for finding in summary.findings],
        "failed": dict(summary.failed),
    }
    write_run_log(options.output_dir, options, RECORDED_PACKAGES, outcome)


def _analyse(
    given: _Input, cohorts: Mapping[str, Cohort], parsed: ParsedFormula | None
) -> dict[str, Analysis]:
    """Make all analyses: of MFI, what was asked for beside it, and the same of volume."""
    options, scans = given.options, given.collection.scans
    found: dict[str, Analysis] = {}
    for measure, cohort in cohorts.items():
        own = analyse_cohort(cohort, options.correction)
        if parsed is not None and parsed.measure == measure:
            own |= analyse_formula(cohort, parsed)
        own |= analyse_change(scans, partial(_make_cohort, given, measure))
        if options.controls and measure == "mfi":
            own |= analyse_centiles(cohort, options.controls)
        prefix = VOLUME if measure == "volume" else ""
        found |= {prefix + name: analysis for name, analysis in own.items()}
    return found


def describe_collection(options: RunOptions) -> tuple[str, tuple[Finding, ...]]:
    """Say what would be analysed, and what was found; writes nothing."""
    given = _read_input(options)
    return _summarise(given, _make_cohort(given, "mfi")), given.findings


def _read_input(options: RunOptions) -> _Input:
    if not options.bids_dir.is_dir():
        raise InputError(
            f"{options.bids_dir}: is no folder. Expected the BIDS dataset, where the group level "
            "looks for participants.tsv; correct the path."
        )
    check_output_dir(options.bids_dir, options.output_dir)
    collection = collect_tables(options)
    visits = list(dict.fromkeys(collection.scans[VISIT].itertuples(index=False, name=None)))
    asked = [f"sub-{label}" for label in options.participant_label]
    people = read_people(options.bids_dir, options.participants_file, visits, asked)
    return _Input(options, collection, people, select_session(collection.scans, options.session))


def _make_cohort(given: _Input, measure: str, places: pd.Index | None = None) -> Cohort:
    """Make the cohort of these scans, one of each participant; those selected by default."""
    scans = given.collection.scans.loc[given.selection.scans if places is None else places]
    rows = given.collection.rows
    long = rows[rows[SCAN].isin(scans.index)].merge(
        scans[["participant_id"]], left_on=SCAN, right_index=True
    )
    people = given.people.table.loc[list(scans[VISIT].itertuples(index=False, name=None))]
    return make_cohort(long, people.droplevel("session_id"), measure, given.options.missing)


def list_measures(given: _Input) -> pd.DataFrame:
    """Put identifiers, measures, origin and covariates together, a row a scan, muscle and side."""
    scans = given.collection.scans.drop(columns=["qc_flags", "page"])
    identifiers = [name for name in scans.columns if name.endswith("_id")]
    origin = [name for name in scans.columns if name not in identifiers]
    scans = scans.assign(analysed=[
        "yes" if place in given.selection.scans else "no" for place in scans.index
    ])  # fmt: skip
    covariates = given.people.table[list(STANDARD)].reset_index()
    scans = scans.merge(covariates, on=VISIT, how="left", validate="many_to_one")
    rows = given.collection.rows
    own = [name for name in rows.columns if name not in (SCAN, "flags", *scans.columns)]
    table = rows.merge(scans, left_on=SCAN, right_index=True, validate="many_to_one")
    return table[[*identifiers, *own, "flags", *origin, "analysed", *STANDARD]]


def _describe_run(given: _Input, cohort: Cohort) -> dict[str, Any]:
    options = given.options
    return {
        "Session": given.selection.session or None,
        "Participants": len(cohort.values),
        "Missing": options.missing,
        "Correction": options.correction,
        "Model": options.model,
        "Controls": options.controls,
        "ParticipantsTable": Path(given.people.source).name or None,
    }


def _summarise(given: _Input, cohort: Cohort) -> str:
    collection, session = given.collection, given.selection.session
    people = collection.scans["participant_id"].nunique()
    return (
        f"{len(collection.scans):,} scans of {people:,} participants collected; "
        f"{len(cohort.values):,} participants analysed{f' in {session}' if session else ''}, "
        f"{len(cohort.select(())):,} of them with sex, age and BMI"
    )


def _make_page(
    given: _Input,
    cohort: Cohort,
    files: Mapping[str, TableEntry],
    figures: tuple[Figure, ...],
) -> GroupPage:
    options, collection, selection = given.options, given.collection, given.selection
    sources = name_sources(collection, selection) | {"participants": f"{len(cohort.values):,}"}
    methods, references = write_methods(
        sources, options.missing, options.correction, name_further(files)
    )
    return GroupPage(
        title="Muscle fat infiltration of the neck: the group",
        facts=state_facts(options, collection, selection, given.people.source),
        findings=sort_findings((*given.findings, *_find_empty(given, cohort))),
        measure=cohort.measure,
        unit="%",
        people=arrange_people(cohort, collection, selection),
        values=cohort.values,
        left=cohort.left,
        right=cohort.right,
        tables=files,
        figures=figures,
        methods=methods,
        references=references,
        correction="" if options.correction == "none" else CORRECTION_WORDS[options.correction],
        model=options.model or "",
        controls=options.controls or "",
        summary=(
            f"{_summarise(given, cohort)}.",
            *write_results({key: file.table for key, file in files.items()}, options.correction),
        ),
    )


def _find_empty(given: _Input, cohort: Cohort) -> list[Finding]:
    if given.options.missing == "complete":
        text = "Scans in no analysis, because a muscle, sex, age or BMI is missing ({n})."
    else:
        text = "Scans without a value of any muscle ({n}): they are in no analysis."
    return make_findings("warning", text, list_missing(cohort, given.collection, given.selection))


def _encode(files: Mapping[str, TableEntry], facts: Mapping[str, Any]) -> dict[str, bytes]:
    """Encode tables and their sidecars by file name."""
    written: dict[str, bytes] = {}
    for file in files.values():
        written[file.name] = file.data
        written[file.name.replace(".tsv", ".json")] = describe_table(file, facts)
    return written


def _write(output_dir: Path, written: Mapping[str, bytes]) -> None:
    """Write all files, the page last, and remove those of an earlier run."""
    for folder in (output_dir, output_dir / FIGURES):
        remove_stale_partials(folder)
    for name, data in written.items():
        write_atomically(output_dir / name, data)
    remove_outdated(output_dir, written)
