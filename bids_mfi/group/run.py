"""Order of the group level from OUTPUT_DIR's tables to files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from bids_mfi.bids.output_folder import write_run_log
from bids_mfi.errors import MFIError
from bids_mfi.findings import Finding
from bids_mfi.group.further import analyse_centiles, analyse_change, describe_choices
from bids_mfi.group.outputs import (
    FIGURES,
    LEVELS_TABLE,
    MEASURES_TABLE,
    PAGE,
    VOLUME,
    WIDE_TABLE,
    describe_table,
    make_table_file,
    remove_outdated,
)
from bids_mfi.group.presentation import draw_group_figures, make_page
from bids_mfi.group.prose import tell_extent
from bids_mfi.group.study import Study, read_study
from bids_mfi.options import RunOptions
from bids_mfi.report.group_page import TableEntry, render_group_page
from bids_mfi.statistics.analyses import analyse_cohort, analyse_formula
from bids_mfi.statistics.cohort import MEASURES, Analysis, Cohort
from bids_mfi.statistics.condition import select_people
from bids_mfi.statistics.design import explain_design
from bids_mfi.statistics.formula import make_design
from bids_mfi.statistics.wilkinson import ParsedFormula, parse_formula
from bids_mfi.storage import remove_stale_partials, write_atomically

RECORDED_PACKAGES = ("numpy", "scipy", "pandas", "statsmodels", "formulaic", "plotly")


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """Result of a group run, for the person who ran it.

    Attributes
    ----------
    sentence : str
        What was analysed.
    page : Path
        The report.
    findings : tuple of Finding
    failed : tuple of (str, str)
        Tables that cannot be read or used, and why.
    """

    sentence: str
    page: Path
    findings: tuple[Finding, ...]
    failed: tuple[tuple[str, str], ...]

    @property
    def exit_code(self) -> int:
        """0, or 1 if a table could not be read or used."""
        return MFIError.exit_code if self.failed else 0


def run_group(options: RunOptions) -> GroupSummary:
    """Run the group level: from the tables of OUTPUT_DIR to statistics and a report.

    Raises
    ------
    InputError
        There are no tables, or a table of participants or an option is invalid.
    OutputError
        OUTPUT_DIR belongs to another program, or cannot be written.
    """
    study = read_study(options)
    parsed = parse_formula(options.model) if options.model else None
    cohorts = {measure: study.make_cohort(measure) for measure in MEASURES}
    analyses, findings = _analyse(study, cohorts, parsed)
    findings = (*study.find_all(cohorts["mfi"]), *findings)
    files = _make_files(study, cohorts, analyses)
    figures = tuple(chain(*(draw_group_figures(cohort, files) for cohort in cohorts.values())))
    page = make_page(study, cohorts["mfi"], files, figures, findings)
    written = _encode(files, study.describe(cohorts["mfi"]))
    written |= {path: svg for path, _, svg in figures}
    written[PAGE] = render_group_page(page).encode(errors="backslashreplace")
    _write(options.output_dir, written)
    summary = _summarise(study, cohorts["mfi"], findings)
    _write_log(options, summary)
    return summary


def check_group(options: RunOptions) -> GroupSummary:
    """Report what would be analysed, and the findings; writes nothing.

    Raises
    ------
    InputError, OutputError
        As :func:`run_group`.
    """
    study = read_study(options)
    cohort = study.make_cohort("mfi")
    findings = study.find_all(cohort)
    if options.model:
        findings += doubt_model(parse_formula(options.model), cohort)
    if options.controls:
        select_people(describe_choices(cohort), options.controls)
    return _summarise(study, cohort, findings)


def doubt_model(parsed: ParsedFormula, cohort: Cohort) -> tuple[Finding, ...]:
    """Say why the user's model cannot be estimated in any muscle; nothing if it can in some.

    Raises
    ------
    InputError
        See :func:`make_design`.
    """
    why = explain_design(make_design(parsed, cohort.people)[0])
    text = (
        f"--model {parsed.text}: all its results are n/a, because {why}. Use fewer or different "
        "terms."
    )
    return (Finding("warning", text),) if why else ()


def _summarise(study: Study, cohort: Cohort, findings: tuple[Finding, ...]) -> GroupSummary:
    page = study.options.output_dir / PAGE
    left_out = (*study.collection.failed, *study.collection.stale)
    return GroupSummary(study.summarise(cohort), page, findings, left_out)


def _analyse(
    study: Study, cohorts: Mapping[str, Cohort], parsed: ParsedFormula | None
) -> tuple[dict[str, Analysis], tuple[Finding, ...]]:
    """Make all analyses: of MFI, the requested further ones, and the same of volume."""
    options, scans = study.options, study.collection.scans
    found: dict[str, Analysis] = {}
    findings: dict[Finding, None] = {}
    for measure, cohort in cohorts.items():
        own = analyse_cohort(cohort, options.correction)
        if parsed is not None and parsed.measure == measure:
            own |= analyse_formula(cohort, parsed)
            findings |= dict.fromkeys(doubt_model(parsed, cohort))
        make = partial(study.make_cohort, measure)
        change, said = analyse_change(scans, study.selection, options.session is not None, make)
        own |= change
        findings |= dict.fromkeys(said)
        if options.controls and measure == "mfi":
            own |= analyse_centiles(cohort, options.controls)
        prefix = VOLUME if measure == "volume" else ""
        found |= {prefix + name: analysis for name, analysis in own.items()}
    return found, tuple(findings)


def _make_files(
    study: Study, cohorts: Mapping[str, Cohort], analyses: Mapping[str, Analysis]
) -> dict[str, TableEntry]:
    measures, extent = study.list_measures(cohorts["mfi"]), tell_extent(study.list_levels())
    files = {MEASURES_TABLE: make_table_file(MEASURES_TABLE, measures)}
    if len(study.collection.levels):
        levels = study.list_level_measures(cohorts["mfi"])
        files[LEVELS_TABLE] = make_table_file(LEVELS_TABLE, levels)
    for measure, cohort in cohorts.items():
        key = f"{VOLUME if measure == 'volume' else ''}{WIDE_TABLE}"
        files[key] = make_table_file(key, study.list_values(cohort), extent=extent)
    for key, analysis in analyses.items():
        files[key] = make_table_file(key, analysis.table, analysis.notes, extent)
    return files


def _encode(files: Mapping[str, TableEntry], facts: Mapping[str, Any]) -> dict[str, bytes]:
    """Encode tables and their sidecars by file name."""
    written: dict[str, bytes] = {}
    for key, file in files.items():
        written[file.name] = file.data
        written[file.name.replace(".tsv", ".json")] = describe_table(key, file, facts)
    return written


def _write(output_dir: Path, written: Mapping[str, bytes]) -> None:
    """Write all files, the page last, and remove those of an earlier run."""
    for folder in (output_dir, output_dir / FIGURES):
        remove_stale_partials(folder)
    for name, data in written.items():
        write_atomically(output_dir / name, data)
    remove_outdated(output_dir, written)


def _write_log(options: RunOptions, summary: GroupSummary) -> None:
    outcome = {
        "outcome": summary.sentence,
        "findings": [asdict(finding) for finding in summary.findings],
        "failed": dict(summary.failed),
    }
    write_run_log(options.output_dir, options, RECORDED_PACKAGES, outcome)
