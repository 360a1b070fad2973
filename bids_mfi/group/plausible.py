"""Values of a cohort that are plausible one by one but not together."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from bids_mfi.findings import Finding, make_findings
from bids_mfi.group.visits import name_visit

LARGEST_AGE_STEP = 25.0  # years between two sessions of a study
LARGEST_BMI_RATIO = 1.7  # pounds read as kilograms make 2.2
MEDIAN_BMI = (12.0, 40.0)  # kg/m^2, of a cohort
LEAST_PEOPLE = 5
ADULT = 18.0  # years


def find_contradictions(table: pd.DataFrame) -> list[Finding]:
    """Name values that contradict each other between sessions, and those implausible for a cohort.

    Parameters
    ----------
    table : DataFrame
        Index (participant_id, session_id); ``sex``, ``age`` (years), ``bmi`` (kg/m^2).
    """
    people = table.groupby(level=0, sort=False)
    sexes = people["sex"].nunique()
    ages, bmis = people["age"].agg(["min", "max"]), people["bmi"].agg(["min", "max"])
    apart = ages[ages["max"] - ages["min"] > LARGEST_AGE_STEP]
    changed = bmis[bmis["max"] > LARGEST_BMI_RATIO * bmis["min"]]
    return [
        *make_findings(
            "warning", "Participants with another sex in another session ({n}): used as given. "
            "Correct the tables.", sexes.index[sexes > 1]),
        *make_findings(
            "warning", f"Participants whose age differs by more than {LARGEST_AGE_STEP:g} years "
            "between sessions ({n}): used as given. The unit or the person may differ; check the "
            "tables.",
            _name_spans(apart)),
        *make_findings(
            "warning", f"Participants whose BMI differs by a factor above {LARGEST_BMI_RATIO:g} "
            "between sessions ({n}): used as given. The units of the tables may differ; check "
            "them.",
            _name_spans(changed)),
        *_doubt_cohort(table),
    ]  # fmt: skip


def _name_spans(spans: pd.DataFrame) -> Iterable[str]:
    return (
        f"{who}: {low:.4g} and {high:.4g}"
        for who, low, high in zip(spans.index, spans["min"], spans["max"], strict=True)
    )


def _doubt_cohort(table: pd.DataFrame) -> list[Finding]:
    """Doubt a median BMI beyond MEDIAN_BMI, and newborns among adults."""
    findings = []
    bmi, age = table["bmi"].dropna(), table["age"].dropna()
    if len(bmi) >= LEAST_PEOPLE and not MEDIAN_BMI[0] <= bmi.median() <= MEDIAN_BMI[1]:
        text = (
            f"The median BMI is {bmi.median():.3g} kg/m^2: height and weight may be in units other "
            "than cm and kg. Used as given. State the units in participants.json."
        )
        findings.append(Finding("warning", text))
    zero = age.index[np.asarray(age == 0.0)]
    if len(zero) and age.median() >= ADULT:
        text = "Ages of 0 among adults ({n}): used as given. Write n/a where the age is unknown."
        findings += make_findings("warning", text, (name_visit(visit) for visit in zero))
    return findings
