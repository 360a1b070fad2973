"""Input of the page and the figures of a group run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bids_mfi.cells import MISSING
from bids_mfi.counts import count_noun
from bids_mfi.findings import Finding
from bids_mfi.group.outputs import FIGURES, VOLUME
from bids_mfi.group.prose import Sources, tell_change, tell_extent, write_methods, write_results
from bids_mfi.group.session_order import SessionOrder
from bids_mfi.group.study import Study
from bids_mfi.report.group_figures import draw_muscles, draw_partial_correlations, draw_sexes
from bids_mfi.report.group_page import GroupPage, TableEntry
from bids_mfi.report.group_pairs import draw_pairs
from bids_mfi.statistics.cohort import MEAN, Cohort

DRAWN = ("descriptives", "pairedt", "ancova", "residuals", "partialcorr", "musclecorr")
MOST_MUSCLES = 12  # in a figure
UNITS = {"mfi": "MFI (%)", "volume": "volume (ml)"}
RULE_WORDS = {
    "both": "a muscle counts if both sides were measured",
    "complete": "only participants with all muscles, sex, age and BMI",
    "any": "a muscle counts if one side was measured",
}
CORRECTION_WORDS = {"none": "none", "holm": "Holm", "fdr_bh": "Benjamini-Hochberg"}

Figure = tuple[str, str, bytes]


def draw_group_figures(cohort: Cohort, tables: Mapping[str, TableEntry]) -> tuple[Figure, ...]:
    """Draw the paper's figures of one measure.

    Returns
    -------
    tuple of (str, str, bytes)
        Path relative to OUTPUT_DIR, title and SVG.
    """
    prefix = VOLUME if cohort.measure == "volume" else ""
    values = cohort.values.iloc[:, :MOST_MUSCLES]
    unit, sex = UNITS[cohort.measure], cohort.people["sex"]
    found = {name: _keep_muscles(tables[prefix + name].table, values) for name in DRAWN}
    drawn = (
        ("pairplot", "Correlations between muscles",
         draw_pairs(values, found["musclecorr"], unit, sex)),
        ("figure5a", "Muscles compared, as in Figure 5A of the paper",
         draw_muscles(values, found["descriptives"], found["pairedt"], unit, sex)),
        ("figure5b", "Sexes compared, as in Figure 5B of the paper",
         draw_sexes(values, sex, found["ancova"], unit)),
        ("figure6", "Age and BMI, as in Figure 6 of the paper",
         draw_partial_correlations(found["residuals"], found["partialcorr"], unit, sex)),
    )  # fmt: skip
    mark = "Volume, secondary: " if prefix else ""
    left_out = len(cohort.muscles) - values.shape[1]
    mark += f"The first {MOST_MUSCLES} of {len(cohort.muscles)} muscles: " if left_out else ""
    return tuple((f"{FIGURES}/{prefix}{name}.svg", mark + title, svg) for name, title, svg in drawn)


def _keep_muscles(table: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Rows of muscles that are drawn."""
    kept = [*values.columns, MEAN]
    names = [name for name in ("muscle", "muscle_a", "muscle_b") if name in table]
    return table[table[names].isin(kept).all(axis=1)]


def make_page(
    study: Study,
    cohort: Cohort,
    files: Mapping[str, TableEntry],
    figures: tuple[Figure, ...],
    findings: tuple[Finding, ...],
) -> GroupPage:
    """Assemble the content of the page; ``cohort`` is that of MFI."""
    options = study.options
    order = study.selection.order
    change = tell_change(files["change"].table, order.sessions) if "change" in files else ""
    sources = replace(_name_sources(study, cohort), change=change, order=order.reason)
    methods, references = write_methods(options, sources, tuple(files))
    results = write_results({key: file.table for key, file in files.items()}, options.correction)
    return GroupPage(
        title="Muscle fat infiltration of the neck: the group",
        facts=_state_facts(study),
        findings=findings,
        measure=cohort.measure,
        unit="%",
        people=_arrange_people(study, cohort),
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
        summary=(f"{study.summarise(cohort)}.", *results),
        sessions=order.sessions,
        change=change,
        extent=tell_extent(study.list_levels()),
    )


def _arrange_people(study: Study, cohort: Cohort) -> pd.DataFrame:
    """Assemble what the page shows about each participant of a cohort."""
    scans = study.collection.scans.loc[study.selection.scans].set_index("participant_id")
    scans = scans.loc[cohort.values.index]
    return cohort.people[["sex", "age", "bmi"]].assign(
        page=scans["page"],
        session=scans["session_id"].replace(MISSING, ""),
        bundle=scans["bundle"],
        flags=scans["qc_flags"],
    )


def _known(study: Study, column: str) -> list[str]:
    """Different values of a column of the scans analysed, without those that are missing."""
    return sorted(set(study.collection.scans.loc[study.selection.scans, column]) - {MISSING})


def _state_facts(study: Study) -> tuple[tuple[str, str], ...]:
    """Describe what was analysed, and how; names of files without their folders."""
    options, scans = study.options, study.collection.scans
    people = scans["participant_id"].nunique()
    return (
        ("Results", options.output_dir.name),
        ("Scans", f"{len(scans):,}, from {count_noun(people, 'participant')}"),
        ("Session", study.selection.session or "the only one"),
        *_state_order(study.selection.order),
        ("Participants' table", Path(study.people.source).name or "none"),
        ("Model bundle", ", ".join(_known(study, "bundle")) or "not known"),
        ("Fat and water", ", ".join(_known(study, "fat_water")) or "not known"),
        ("Missing values", RULE_WORDS[options.missing]),
        ("Correction of p-values", CORRECTION_WORDS[options.correction]),
        *((("Model", options.model),) if options.model else ()),
        *((("Controls", options.controls),) if options.controls else ()),
    )


def _state_order(order: SessionOrder) -> tuple[tuple[str, str], ...]:
    if len(order.sessions) < 2:
        return ()
    return (("Order of the sessions", f"{', '.join(order.sessions)} (by {order.reason})"),)


def _name_sources(study: Study, cohort: Cohort) -> Sources:
    """Collect what the methods text states about the scans and participants."""
    return Sources(
        bundles=", ".join(_known(study, "bundle")),
        programs=", ".join(_known(study, "software_version")),
        fat_water=" and ".join(_known(study, "fat_water")),
        session=study.selection.session,
        participants=len(cohort.values),
        complete=len(cohort.select(cohort.common)),
        extent=tell_extent(study.list_levels()),
    )
