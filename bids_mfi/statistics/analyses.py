"""All analyses of a cohort in the order of the paper."""

import pandas as pd

from bids_mfi.statistics.adjust import add_adjusted
from bids_mfi.statistics.asymmetry import measure_asymmetry
from bids_mfi.statistics.cohort import MEAN, Analysis, Cohort
from bids_mfi.statistics.covariance import (
    analyse_repeated,
    compare_sexes,
    correlate_partially,
    estimate_means,
    explain_repeated,
)
from bids_mfi.statistics.design import explain_design
from bids_mfi.statistics.formula import fit_formula, make_design
from bids_mfi.statistics.outliers import find_outliers
from bids_mfi.statistics.paired import (
    compare_muscles,
    correlate_muscles,
    describe_muscles,
    describe_people,
)
from bids_mfi.statistics.repeated import EFFECT_COLUMNS, fit_repeated_measures
from bids_mfi.statistics.wilkinson import ParsedFormula


def analyse_cohort(cohort: Cohort, correction: str) -> dict[str, Analysis]:
    """Make the paper's analyses, then asymmetry and outliers.

    Parameters
    ----------
    cohort : Cohort
    correction : str
        ``none``, ``holm`` or ``fdr_bh``: adjusted p-values in addition to the raw ones. A family
        is: the pairs of muscles (t-tests; correlations), the muscles (sex; age; BMI in the ANCOVA;
        partial correlations with age; with BMI). The omnibus tests are not adjusted.

    Returns
    -------
    dict of str to Analysis
        By name, in the order of the paper's Results.
    """
    repeated = analyse_repeated(cohort)
    partial, residuals = correlate_partially(cohort)
    found = {
        "sample": describe_people(cohort),
        "descriptives": describe_muscles(cohort),
        "rmancova": Analysis(repeated.effects, repeated.notes),
        "sphericity": Analysis(repeated.sphericity, repeated.notes_sphericity),
        "multivariate": Analysis(repeated.multivariate, repeated.notes_multivariate),
        "emm": estimate_means(cohort),
        "musclecorr": correlate_muscles(cohort),
        "pairedt": compare_muscles(cohort),
        "ancova": compare_sexes(cohort),
        "partialcorr": partial,
        "residuals": Analysis(residuals),
        "asymmetry": measure_asymmetry(cohort),
        "outliers": find_outliers(cohort),
    }
    return {name: _adjust(name, one, correction) for name, one in found.items()}


def analyse_formula(cohort: Cohort, parsed: ParsedFormula) -> dict[str, Analysis]:
    """Fit the user's model to each muscle, and as a repeated-measures analysis of all muscles.

    Raises
    ------
    InputError
        A column of the formula does not exist.
    """
    terms, coefficients, means = fit_formula(cohort, parsed)
    return {
        "model": terms,
        "model_coefficients": coefficients,
        "model_means": means,
        "model_rmancova": _repeat_formula(cohort, parsed),
    }


def _repeat_formula(cohort: Cohort, parsed: ParsedFormula) -> Analysis:
    what = "Repeated-measures analysis of the model"
    complete = cohort.values[list(cohort.common)].dropna()
    design, _ = make_design(parsed, cohort.people.loc[complete.index])
    reason = explain_repeated(cohort) or explain_design(design)
    rare = cohort.explain_rare(what)
    if reason:
        note = f"{what}: n/a, because {reason}."
        return Analysis(pd.DataFrame(columns=list(EFFECT_COLUMNS)), (note, *rare))
    values = complete.loc[design.participants].to_numpy("float64")
    found = fit_repeated_measures(values, design)
    table = pd.DataFrame(found.effects, columns=list(EFFECT_COLUMNS))
    return Analysis(table, (*found.notes_effects, *rare))


P_COLUMNS = {
    "musclecorr": ("p",),
    "pairedt": ("p",),
    "ancova": ("p_sex", "p_age", "p_bmi"),
    "partialcorr": ("p",),
}


def _adjust(name: str, analysis: Analysis, correction: str) -> Analysis:
    if name not in P_COLUMNS or correction == "none":
        return analysis
    table = analysis.table
    family = "x" if name == "partialcorr" else None
    if name != "ancova":
        return Analysis(add_adjusted(table, P_COLUMNS[name], correction, family), analysis.notes)
    is_mean = table["muscle"] == MEAN  # the mean of all muscles is no member of the family
    adjusted = add_adjusted(table[~is_mean], P_COLUMNS[name], correction)
    whole = pd.concat([adjusted, table[is_mean]], ignore_index=True)
    note = (
        "ANCOVA for sex of mean: not corrected, because the mean of all does not belong to the "
        "family."
    )
    return Analysis(whole[list(adjusted.columns)], (*analysis.notes, note))
