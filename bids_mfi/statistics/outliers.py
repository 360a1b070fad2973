"""Participants whose value does not fit their sex, age and BMI."""

import numpy as np
import pandas as pd

from bids_mfi.counts import choose_form, count_noun
from bids_mfi.statistics.cohort import COVARIATES, Analysis, Cohort
from bids_mfi.statistics.design import Design, covariate_design, explain_design
from bids_mfi.statistics.least_squares import LeftOut, fit_least_squares, leave_one_out
from bids_mfi.statistics.notes import gather_reasons
from bids_mfi.statistics.student import two_tailed

OUTLIER_COLUMNS = (
    "participant_id", "muscle", "value", "expected", "studentised", "p_bonferroni",
)  # fmt: skip
LEVEL = 0.05
MOST_NAMED = 5  # participants in a note
LEAST_DF = 2  # of error, so that the others still have one


def find_outliers(cohort: Cohort) -> Analysis:
    """List values that deviate from the model of all other participants.

    Each muscle has its own model, value ~ sex + age + bmi, or value ~ 1 where that cannot be
    fitted. A value is listed where the p of its externally studentised residual, times the number
    of participants in the model (Bonferroni), is below .05.

    Returns
    -------
    Analysis
        ``OUTLIER_COLUMNS``: the value, the prediction of the others' model (both in the unit of
        the measure), the residual in standard deviations and the corrected p. By muscle, the
        furthest first.

    References
    ----------
    Cook & Weisberg 1982, Residuals and influence in regression, chapter 2.
    """
    tables, reasons = [pd.DataFrame(columns=list(OUTLIER_COLUMNS))], []
    for muscle in cohort.muscles:
        design, remarks = _choose_design(cohort, muscle)
        reasons += [(muscle, remark) for remark in remarks]
        if design is None:
            continue
        table, remarks = _judge(cohort.values.loc[design.participants, muscle], design)
        reasons += [(muscle, remark) for remark in remarks]
        tables.append(table)
    whole = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    return Analysis(whole, gather_reasons("Outliers", reasons))


def _choose_design(cohort: Cohort, muscle: str) -> tuple[Design | None, list[str]]:
    """Model with covariates, or of the mean only, or none, and why."""
    known = cohort.values.index[cohort.values[muscle].notna()]
    complete = cohort.select([muscle])
    design = covariate_design(cohort.people.loc[complete], COVARIATES)
    why = explain_design(design)
    if why is None and design.df_error >= LEAST_DF:
        left_out = len(known) - len(complete)
        people = count_noun(left_out, "participant")
        text = f"{people} not assessed, because their sex, age or BMI is missing"
        return design, [text] if left_out else []
    design = covariate_design(cohort.people.loc[known], ())
    if design.df_error < LEAST_DF:
        return None, [f"not searched, because only {_count_having(len(known))} a value"]
    few = f"only {_count_having(len(complete))} all values"
    return design, [f"assessed by the mean only, because {why or few}"]


def _count_having(n: int) -> str:
    return f"{count_noun(n, 'participant')} {choose_form(n, 'has', 'have')}"


def _judge(values: pd.Series, design: Design) -> tuple[pd.DataFrame, list[str]]:
    """Outliers of one muscle, and who could not be assessed."""
    outcome = values.to_numpy(np.float64)
    fit = fit_least_squares(design.matrix, outcome)
    found = leave_one_out(fit, outcome)
    p = np.minimum(two_tailed(found.studentised, found.df) * len(outcome), 1.0)
    numbers = np.column_stack([outcome, found.expected, found.studentised, p])
    table = pd.DataFrame(numbers, columns=list(OUTLIER_COLUMNS[2:]))
    table.insert(0, "participant_id", values.index)
    table.insert(1, "muscle", str(values.name))
    listed = table[table["p_bonferroni"] < LEVEL]
    order = listed["studentised"].abs().sort_values(ascending=False, kind="stable").index
    return listed.loc[order], _explain_unjudged(values.index, found)


def _explain_unjudged(participants: pd.Index, found: LeftOut) -> list[str]:
    """Say who has no residual: nobody is comparable, or the others have no error."""
    unknown = np.isnan(found.studentised)
    if unknown.all():
        return ["not searched, because the values have no variance"]
    alone = np.isnan(found.expected)
    reasons = {
        "the others do not determine their value (perhaps nobody else is of their sex)": alone,
        "the values of all others follow from the model without error": unknown & ~alone,
    }
    return [
        f"{_name(participants[who])} not assessed, because {why}"
        for why, who in reasons.items()
        if who.any()
    ]


def _name(participants: pd.Index) -> str:
    more = len(participants) - MOST_NAMED
    names = ", ".join(participants[:MOST_NAMED])
    return f"{names} and {more} more" if more > 0 else names
