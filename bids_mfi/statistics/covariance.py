"""Analyses of covariance with sex, age and BMI.

They follow Weber et al. 2021. All have one design: intercept, sex (+1 F, -1 M), age, BMI, Type III.
Each analysis uses the participants who have all it needs. What cannot be estimated is NaN, and a
sentence gives the reason.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from bids_mfi.counts import choose_form, count_noun
from bids_mfi.statistics.cohort import COVARIATES, MEAN, SEXES, Analysis, Cohort
from bids_mfi.statistics.design import Design, count_all, explain_design, standard_design
from bids_mfi.statistics.least_squares import NO_ERROR, Fit, fit_least_squares
from bids_mfi.statistics.notes import gather_reasons
from bids_mfi.statistics.paired import correlate, test_correlation
from bids_mfi.statistics.repeated import (
    EFFECT_COLUMNS,
    MULTIVARIATE_COLUMNS,
    NAN,
    UNCORRECTED,
    WITHIN,
    Floats,
    RepeatedMeasures,
    Sphericity,
    fit_repeated_measures,
)
from bids_mfi.statistics.rounding import ROUNDING, is_constant

CODINGS = {"raw": False, "centred": True}
EFFECTS = ("intercept", "sex", "age", "bmi")
ANCOVA_COLUMNS = (
    "muscle", "n", "df2", "f_sex", "p_sex", "ss_sex", "ss_error", "pes_sex", "f_age", "p_age",
    "f_bmi", "p_bmi", "f_intercept", "r2", "adj_r2", "b_age", "b_bmi", "emm_f", "emm_f_se",
    "emm_m", "emm_m_se", "diff_f_minus_m", "diff_se", "t", "mean_age", "mean_bmi",
)  # fmt: skip
EMM_COLUMNS = ("factor", "level", "estimate", "se", "df", "ci_lower", "ci_upper", "t", "p")
PARTIAL_COLUMNS = (
    "muscle", "x", "controlling", "n", "df", "r", "t", "p", "ci_lower", "ci_upper", "resid_slope",
)  # fmt: skip
RESIDUAL_COLUMNS = ("participant_id", "muscle", "x", "resid_x", "resid_mfi")
SPHERICITY_COLUMNS = (
    "covariates", "n", "n_f", "n_m", "rank", "df_error_between", "df_error_within",
    "ss_error_between", "ss_error_within", "mean_age", "mean_bmi",
    *Sphericity.__dataclass_fields__,
)  # fmt: skip
LEAST_OF_SEX = 3  # participants, below which a remark is made
PARTIALS = (("age", "bmi"), ("bmi", "age"))  # correlated with, and what is controlled for with sex
Row = dict[str, Any]
Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


# --- muscles and sex together ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class RepeatedTables:
    """Tables of the repeated-measures ANCOVA.

    Attributes
    ----------
    effects, sphericity, multivariate : DataFrame
        With a column ``covariates``: ``raw`` (tests at age 0 and BMI 0, as in SPSS) or ``centred``
        (tests at the means of the participants).
    notes, notes_sphericity, notes_multivariate : tuple of str
        Notes of each of them.
    """

    effects: pd.DataFrame
    sphericity: pd.DataFrame
    multivariate: pd.DataFrame
    notes: tuple[str, ...]
    notes_sphericity: tuple[str, ...]
    notes_multivariate: tuple[str, ...]


def analyse_repeated(cohort: Cohort) -> RepeatedTables:
    """Repeated-measures ANCOVA: muscles within, sex between, age and BMI as covariates.

    Listwise: participants with sex, age, BMI and all muscles that are not rare.
    """
    chosen = cohort.select(cohort.common)
    people, what = cohort.people.loc[chosen], "Repeated-measures ANCOVA"
    rare, reason = cohort.explain_rare(what), explain_repeated(cohort)
    reason = reason or explain_cases(cohort, cohort.common)
    if reason:
        tables = [_unknown_tables(people, coding) for coding in CODINGS]
        notes = (f"{what}: n/a, because {reason}.", *rare)
        return RepeatedTables(*_stack(tables), notes, notes, notes)
    values = cohort.values.loc[chosen, list(cohort.common)].to_numpy(np.float64)
    designs = {coding: standard_design(people, centred) for coding, centred in CODINGS.items()}
    fits = {coding: fit_repeated_measures(values, design) for coding, design in designs.items()}
    tables = [_list_tables(fits[coding], designs[coding], people, coding) for coding in CODINGS]
    few = tuple(f"{what}: {remark}." for remark in _remark_sexes(people))
    found = fits["raw"]
    return RepeatedTables(
        *_stack(tables),
        (*found.notes_effects, *few, *rare),
        (*found.notes_sphericity, *rare),
        (*found.notes_multivariate, *rare),
    )


def explain_repeated(cohort: Cohort) -> str | None:
    """Say why muscles cannot be compared within participants; None if they can."""
    if cohort.values.empty or len(cohort.common) > 1:
        return None
    which = "that at least half of the participants have" if cohort.rare else "with values"
    return f"there are fewer than two muscles {which}"


def _list_tables(
    found: RepeatedMeasures, design: Design, people: pd.DataFrame, coding: str
) -> Tables:
    """Effects, sphericity and multivariate tests with one coding of the covariates."""
    known = {
        "rank": design.rank,
        "df_error_between": design.df_error,
        "df_error_within": int(found.effects[0]["df2"]),
        "ss_error_between": found.ss_error_between,
        "ss_error_within": found.ss_error_within,
        **asdict(found.sphericity),
    }
    return (
        pd.DataFrame(found.effects).assign(covariates=coding),
        _list_sphericity(known, people, coding),
        pd.DataFrame(found.multivariate).assign(covariates=coding),
    )


def _list_sphericity(known: Row, people: pd.DataFrame, coding: str) -> pd.DataFrame:
    counts = {
        "n": len(people),
        "n_f": int((people["sex"] == "F").sum()),
        "n_m": int((people["sex"] == "M").sum()),
        "mean_age": people["age"].mean(),
        "mean_bmi": people["bmi"].mean(),
    }
    row = {**known, **counts, "covariates": coding}
    return pd.DataFrame([row], columns=list(SPHERICITY_COLUMNS))


def _unknown_tables(people: pd.DataFrame, coding: str) -> Tables:
    within = [WITHIN, *(f"{WITHIN}:{name}" for name in EFFECTS[1:])]
    corrections = (UNCORRECTED, "greenhouse_geisser", "huynh_feldt", "huynh_feldt_lecoutre",
                   "lower_bound")  # fmt: skip
    rows = [("within", effect, name) for effect in within for name in corrections]
    rows += [("between", effect, UNCORRECTED) for effect in EFFECTS]
    effects = pd.DataFrame(rows, columns=["stratum", "effect", "correction"])
    numbers = dict.fromkeys(EFFECT_COLUMNS[3:], NAN) | {"covariates": coding}
    unknown = dict.fromkeys(MULTIVARIATE_COLUMNS[1:], NAN) | {"covariates": coding}
    return (
        effects.assign(**numbers),
        _list_sphericity(dict.fromkeys(SPHERICITY_COLUMNS, NAN), people, coding),
        pd.DataFrame({"effect": within}).assign(**unknown),
    )


def _stack(tables: Sequence[Tables]) -> Tables:
    effects, sphericity, multivariate = (
        pd.concat(parts, ignore_index=True) for parts in zip(*tables, strict=True)
    )
    return (
        effects[["covariates", *EFFECT_COLUMNS]],
        sphericity,
        multivariate[["covariates", *MULTIVARIATE_COLUMNS]],
    )


# --- what can be fitted ------------------------------------------------------------------------


def explain_cases(cohort: Cohort, muscles: Sequence[str]) -> str | None:
    """Say why the standard model cannot be fitted to these muscles; None if it can.

    The covariates that are missing in all participants are named first.
    """
    if cohort.values.empty:
        by_rule = cohort.missing == "complete" and len(cohort.muscles)
        what = "all muscles, sex, age and BMI" if by_rule else "a value of any muscle"
        return f"no participant has {what}"
    if not muscles:
        return "no muscle is present in half of the participants"
    absent = [name for name in COVARIATES if cohort.people[name].isna().all()]
    if absent:
        return f"no participant has a known {' and no known '.join(absent)}"
    chosen = cohort.people.loc[cohort.select(muscles)]
    if chosen.empty:
        return "no participant has all required values"
    return explain_design(standard_design(chosen))


def _remark_sexes(people: pd.DataFrame) -> list[str]:
    """Remarks on groups so small that a test of sex depends on single participants."""
    counts = {sex: int((people["sex"] == sex).sum()) for sex in SEXES}
    return [
        f"the {sex} group is of {count_noun(n, 'participant')}, and tests of sex depend on it"
        for sex, n in counts.items()
        if 0 < n < LEAST_OF_SEX
    ]


def _fit_values(
    cohort: Cohort, muscles: Sequence[str], values: pd.Series
) -> tuple[Fit | None, str | None]:
    """Fit the standard model to values that use these muscles, or say why this is impossible."""
    reason = explain_cases(cohort, muscles)
    if reason:
        return None, reason
    outcome = values.to_numpy(np.float64)
    if is_constant(outcome):
        return None, f"the value is the same in {count_all(len(values))}"
    fit = fit_least_squares(standard_design(cohort.people.loc[values.index]).matrix, outcome)
    return (None, NO_ERROR) if fit.is_exact else (fit, None)


# --- sex ---------------------------------------------------------------------------------------


def compare_sexes(cohort: Cohort) -> Analysis:
    """ANCOVA for sex with age and BMI in each muscle, and in the mean of all muscles (last row).

    Estimated marginal means are at the mean age and BMI of the participants analysed. The mean
    covers the muscles that are not rare.
    """
    rows: list[Row] = []
    reasons: list[tuple[str, str]] = []
    for name, muscles, values in _each_muscle(cohort):
        people = cohort.people.loc[values.index]
        fit, reason = _fit_values(cohort, muscles, values)
        found = dict.fromkeys(ANCOVA_COLUMNS, NAN)
        if fit is None:
            reasons.append((name, f"n/a, because {reason}"))
        else:
            found = _list_ancova(fit, people)
            reasons += [(name, remark) for remark in _remark_sexes(people)]
        rows.append(found | {"muscle": name, "n": len(values)})
    table = pd.DataFrame(rows, columns=list(ANCOVA_COLUMNS))
    notes = gather_reasons("ANCOVA for sex", reasons)
    return Analysis(table, (*notes, *cohort.explain_rare("Mean of the muscles")))


def _each_muscle(cohort: Cohort) -> Iterable[tuple[str, list[str], pd.Series]]:
    """Give each muscle and then the mean of all: its name, the muscles needed, the values."""
    for muscle in cohort.muscles:
        yield muscle, [muscle], cohort.values.loc[cohort.select([muscle]), muscle]
    common = list(cohort.common)
    yield MEAN, common, cohort.values.loc[cohort.select(common), common].mean(axis=1)


def _list_ancova(fit: Fit, people: pd.DataFrame) -> Row:
    found = fit.contrast(np.eye(len(EFFECTS)))
    (f_intercept, f_sex, f_age, f_bmi), (_, p_sex, p_age, p_bmi) = found["t"] ** 2, found["p"]
    means = fit.contrast(_sex_contrasts(people))
    ss_sex = fit.sum_squares((1,))
    r2 = 1 - fit.error / fit.total
    return {
        "df2": fit.df,
        "f_sex": f_sex,
        "p_sex": p_sex,
        "ss_sex": ss_sex,
        "ss_error": fit.error,
        "pes_sex": ss_sex / (ss_sex + fit.error),
        "f_age": f_age,
        "p_age": p_age,
        "f_bmi": f_bmi,
        "p_bmi": p_bmi,
        "f_intercept": f_intercept,
        "r2": r2,
        "adj_r2": 1 - (1 - r2) * (len(people) - 1) / fit.df,
        "b_age": found["estimate"][2],
        "b_bmi": found["estimate"][3],
        "emm_f": means["estimate"][0],
        "emm_f_se": means["se"][0],
        "emm_m": means["estimate"][1],
        "emm_m_se": means["se"][1],
        "diff_f_minus_m": means["estimate"][2],
        "diff_se": means["se"][2],
        "t": means["t"][2],
        "mean_age": people["age"].mean(),
        "mean_bmi": people["bmi"].mean(),
    }


def _sex_contrasts(people: pd.DataFrame) -> Floats:
    """Marginal mean of F, of M, and their difference, at the mean age and BMI."""
    age, bmi = people["age"].mean(), people["bmi"].mean()
    return np.array([[1.0, 1.0, age, bmi], [1.0, -1.0, age, bmi], [0.0, 2.0, 0.0, 0.0]])


def estimate_means(cohort: Cohort) -> Analysis:
    """Estimated marginal means of sex (mean of the muscles) and of each muscle, listwise.

    For the muscles that are not rare. Both sexes have the same weight; age and BMI are at their
    means. The row ``F-M`` is the difference of the sexes. t and p are against 0.
    """
    common = list(cohort.common)
    chosen = cohort.select(common)
    people, values = cohort.people.loc[chosen], cohort.values.loc[chosen, common]
    sexes = _sex_contrasts(people)
    parts = [("sex", ["F", "M", "F-M"], values.mean(axis=1), sexes)]
    centre = sexes[:2].mean(axis=0, keepdims=True)
    parts += [("muscle", [muscle], values[muscle], centre) for muscle in common]
    tables, reasons = [], []
    for factor, levels, outcome, weights in parts:
        fit, reason = _fit_values(cohort, common, outcome)
        found = fit.contrast(weights) if fit else dict.fromkeys(EMM_COLUMNS[2:], NAN)
        tables.append(pd.DataFrame({"factor": factor, "level": levels} | found))
        if reason:
            reasons.append((factor if factor == "sex" else levels[0], f"n/a, because {reason}"))
    table = pd.concat(tables, ignore_index=True)[list(EMM_COLUMNS)]
    what = "Estimated marginal means"
    notes = [*gather_reasons(what, reasons), *cohort.explain_rare(what)]
    few = () if reasons else _remark_sexes(people)
    return Analysis(table, (*notes, *(f"{what}: {remark}." for remark in few)))


# --- age and BMI -------------------------------------------------------------------------------


def correlate_partially(cohort: Cohort) -> tuple[Analysis, pd.DataFrame]:
    """Partial correlations of each muscle with age (given sex and BMI) and BMI (given sex and age).

    Returns
    -------
    Analysis
        df = n - 4; Fisher's confidence interval with a standard error of 1 / sqrt(n - 5). NaN
        where the values follow from sex, age and BMI without error.
    DataFrame
        RESIDUAL_COLUMNS: residuals after the variables controlled for, as in the paper's Figure 6.
    """
    rows: list[Row] = []
    parts: list[pd.DataFrame] = []
    reasons: list[tuple[str, str]] = []
    for x, other in PARTIALS:
        for muscle in cohort.muscles:
            values = cohort.values.loc[cohort.select([muscle]), muscle]
            named = {"muscle": muscle, "x": x, "controlling": f"sex,{other}", "n": len(values)}
            fit, reason = _fit_values(cohort, [muscle], values)
            found = dict.fromkeys(PARTIAL_COLUMNS, NAN)
            if fit is not None:
                residuals = _take_out(cohort.people.loc[values.index], values, x, other)
                parts.append(residuals.assign(muscle=muscle, x=x))
                found, reason = _correlate_residuals(residuals)
            rows.append(found | named)
            if reason:
                reasons.append((muscle, reason if fit else f"n/a, because {reason}"))
    residuals = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    notes = gather_reasons("Partial correlations", dict.fromkeys(reasons))
    return (
        Analysis(pd.DataFrame(rows, columns=list(PARTIAL_COLUMNS)), notes),
        residuals.reindex(columns=list(RESIDUAL_COLUMNS)),
    )


def _take_out(people: pd.DataFrame, values: pd.Series, x: str, other: str) -> pd.DataFrame:
    design = standard_design(people)
    columns = [dict(design.terms)[name][0] for name in ("intercept", "sex", other)]
    control: Floats = design.matrix[:, columns]
    left = [
        fit_least_squares(control, column.to_numpy(np.float64)).residuals
        for column in (people[x], values)
    ]
    return pd.DataFrame({"participant_id": people.index, "resid_x": left[0], "resid_mfi": left[1]})


def _correlate_residuals(residuals: pd.DataFrame) -> tuple[Row, str | None]:
    """Numbers of one muscle, and remarks about them."""
    x, y = (residuals[name].to_numpy(np.float64) for name in ("resid_x", "resid_mfi"))
    r, df = correlate(x, y), len(residuals) - 4
    names = ("t", "df", "p", "ci_lower", "ci_upper")
    tests = dict(zip(names, test_correlation(r, df), strict=True))
    found = {"r": r, "resid_slope": float(x @ y / (x @ x)), **tests}
    if 1 - abs(r) <= ROUNDING:
        unknown = dict.fromkeys(("df", *found), NAN)
        return unknown, "n/a, because the values follow from sex, age and BMI"
    few = (
        f"no confidence interval, because {count_noun(len(x), 'participant')} "
        f"{choose_form(len(x), 'has', 'have')} all values and 6 are needed"
    )
    return found, few if df < 2 else None
