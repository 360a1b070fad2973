"""What the page and the figures of a group run are given; must not know formulas or files."""

from collections.abc import Mapping

import pandas as pd

from bids_mfi.group.cohort import Cohort
from bids_mfi.group_run.collect import Collection
from bids_mfi.group_run.origin import name_scans
from bids_mfi.group_run.outputs import FIGURES, VOLUME
from bids_mfi.group_run.selection import Selection
from bids_mfi.options import RunOptions
from bids_mfi.report.group_figures import (
    draw_muscles,
    draw_pairs,
    draw_partial_correlations,
    draw_sexes,
)
from bids_mfi.report.group_page import TableEntry
from bids_mfi.tables import MISSING

UNITS = {"mfi": "MFI (%)", "volume": "volume (ml)"}
RULE_WORDS = {
    "both": "a muscle counts when both sides are there",
    "complete": "only participants with all muscles, sex, age and BMI",
    "any": "a muscle counts when one side is there",
}
CORRECTION_WORDS = {"none": "none", "holm": "Holm", "fdr_bh": "Benjamini-Hochberg"}

Figure = tuple[str, str, bytes]


def draw_figures(cohort: Cohort, tables: Mapping[str, TableEntry]) -> tuple[Figure, ...]:
    """Draw the paper's figures of one measure.

    Returns
    -------
    tuple of (str, str, bytes)
        Path relative to OUTPUT_DIR, title and SVG.
    """
    prefix = VOLUME if cohort.measure == "volume" else ""
    unit, sex = UNITS[cohort.measure], cohort.people["sex"]
    found = {
        name: tables[prefix + name].table
        for name in ("descriptives", "pairedt", "ancova", "residuals", "partialcorr", "musclecorr")
    }
    drawn = (
        ("pairplot", "Correlations between muscles",
         draw_pairs(cohort.values, found["musclecorr"], unit, sex)),
        ("figure5a", "Muscles compared, as Figure 5A of the paper",
         draw_muscles(cohort.values, found["descriptives"], found["pairedt"], unit, sex)),
        ("figure5b", "Sexes compared, as Figure 5B of the paper",
         draw_sexes(cohort.values, sex, found["ancova"], unit)),
        ("figure6", "Age and BMI, as Figure 6 of the paper",
         draw_partial_correlations(found["residuals"], found["partialcorr"], unit, sex)),
    )  # fmt: skip
    mark = "Volume, secondary: " if prefix else ""
    return tuple((f"{FIGURES}/{prefix}{name}.svg", mark + title, svg) for name, title, svg in drawn)


def arrange_people(cohort: Cohort, collection: Collection, selection: Selection) -> pd.DataFrame:
    """Put together what the page says of each participant of a cohort."""
    scans = collection.scans.loc[selection.scans].set_index("participant_id")
    scans = scans.loc[cohort.values.index]
    return cohort.people[["sex", "age", "bmi"]].assign(
        page=scans["page"],
        session=scans["session_id"].replace(MISSING, ""),
        bundle=scans["bundle"],
        flags=scans["qc_flags"],
    )


def state_facts(
    options: RunOptions, collection: Collection, selection: Selection, source: str
) -> tuple[tuple[str, str], ...]:
    """Say in words what was analysed, and how."""
    scans = collection.scans.loc[selection.scans]
    people = collection.scans["participant_id"].nunique()
    bundles = sorted(set(scans["bundle"]) - {MISSING})
    return (
        ("Results", str(options.output_dir)),
        ("Scans", f"{len(collection.scans):,} of {people:,} participants"),
        ("Session", selection.session or "the only one"),
        ("Participants' table", source or "none"),
        ("Model bundle", ", ".join(bundles) or "not known"),
        ("Fat and water", ", ".join(sorted(set(scans["fat_water"]))).replace(MISSING, "not known")),
        ("Missing values", RULE_WORDS[options.missing]),
        ("Correction of p-values", CORRECTION_WORDS[options.correction]),
        *((("Model", options.model),) if options.model else ()),
        *((("Controls", options.controls),) if options.controls else ()),
    )


def name_sources(collection: Collection, selection: Selection) -> dict[str, str]:
    """Name what the methods text tells of the scans."""
    scans = collection.scans.loc[selection.scans]
    known = {name: sorted(set(scans[name]) - {MISSING}) for name in ("bundle", "fat_water")}
    session = f" of session {selection.session}" if selection.session else ""
    return {
        "bundles": ", ".join(known["bundle"]) or "not known",
        "fat_water": " and ".join(known["fat_water"]) or "not known",
        "session": session,
    }


def list_missing(cohort: Cohort, collection: Collection, selection: Selection) -> list[str]:
    """Name the participants of the session who have no value of any muscle."""
    scans = collection.scans.loc[selection.scans]
    absent = scans[~scans["participant_id"].isin(cohort.values.index)]
    return name_scans(absent)
