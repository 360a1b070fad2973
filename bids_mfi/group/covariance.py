"""Analyses of covariance with sex, age and BMI; must not know files or pages.

Those of Weber et al. 2021. One design for all: intercept, sex (+1 F, -1 M), age, BMI, Type III.
Each analysis takes the participants that have all it needs. What cannot be estimated is NaN, with
a sentence why.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm

from bids_mfi.group.cohort import MEAN, Analysis, Cohort
from bids_mfi.group.design import explain_design, standard_design
from bids_mfi.group.notes import gather_reasons
from bids_mfi.group.paired import is_constant, test_correlation
from bids_mfi.group.repeated import (
    EFFECT_COLUMNS,
    MULTIVARIATE_COLUMNS,
    NAN,
    UNCORRECTED,
    WITHIN,
    Floats,
    Sphericity,
    fit_repeated_measures,
)
from bids_mfi.group.student import CONFIDENCE

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
PARTIALS = (("age", "bmi"), ("bmi", "age"))  # correlated with, and what is controlled for with sex


@dataclass(frozen=True, slots=True, eq=False)
class RepeatedTables:
    """Tables of the repeated-measures ANCOVA.

    Attributes
    ----------
    effects, sphericity, multivariate : DataFrame
        With a column ``covariates``: ``raw`` (tests at age 0 and BMI 0, as in SPSS) or ``centred``
        (tests at the means of the participants).
    notes : tuple of str
    """

    effects: pd.DataFrame
    sphericity: pd.DataFrame
    multivariate: pd.DataFrame
    notes: tuple[str, ...]


def analyse_repeated(cohort: Cohort) -> RepeatedTables:
    """Repeated-measures ANCOVA: muscles within, sex between, age and BMI as covariates.

    Listwise: participants with all muscles, sex, age and BMI.
    """
    chosen = cohort.select(cohort.muscles)
    people = cohort.people.loc[chosen]
    values = cohort.values.loc[chosen].to_numpy(np.float64)
    reason = explain_cases(cohort, cohort.muscles)
    if len(cohort.muscles) < 2:
        reason = "there are fewer than two muscles with values"
    effects, sphericities, multivariate = [], [], []
    for coding, centred in CODINGS.items():
        if reason:
            tables = _unknown_repeated()
            known = dict.fromkeys(SPHERICITY_COLUMNS, NAN)
        else:
            design = standard_design(people, centred)
            found = fit_repeated_measures(values, design)
            tables = pd.DataFrame(found.effects), pd.DataFrame(found.multivariate)
            known = {
                "rank": design.rank,
                "df_error_between": design.df_error,
                "df_error_within": design.df_error * (len(cohort.muscles) - 1),
                "ss_error_between": found.ss_error_between,
                "ss_error_within": found.ss_error_within,
                **asdict(found.sphericity),
            }
        effects.append(tables[0].assign(covariates=coding))
        multivariate.append(tables[1].assign(covariates=coding))
        sphericities.append(known | {"covariates": coding} | _count(people))
    notes = () if not reason else (f"Repeated-measures ANCOVA: n/a, because {reason}.",)
    return RepeatedTables(
        pd.concat(effects, ignore_index=True)[["covariates", *EFFECT_COLUMNS]],
        pd.DataFrame(sphericities, columns=list(SPHERICITY_COLUMNS)),
        pd.concat(multivariate, ignore_index=True)[["covariates", *MULTIVARIATE_COLUMNS]],
        notes or _note_error(effects[0]),
    )


def _note_error(effects: pd.DataFrame) -> tuple[str, ...]:
    if effects["f"].notna().all():
        return ()
    return ("Repeated-measures ANCOVA: n/a where the model leaves no error to test against.",)


def _count(people: pd.DataFrame) -> dict[str, Any]:
    return {
        "n": len(people),
        "n_f": int((people["sex"] == "F").sum()),
        "n_m": int((people["sex"] == "M").sum()),
        "mean_age": people["age"].mean(),
        "mean_bmi": people["bmi"].mean(),
    }


def _unknown_repeated() -> tuple[pd.DataFrame, pd.DataFrame]:
    within = [WITHIN, *(f"{WITHIN}:{name}" for name in EFFECTS[1:])]
    corrections = (UNCORRECTED, "greenhouse_geisser", "huynh_feldt", "huynh_feldt_lecoutre",
                   "lower_bound")  # fmt: skip
    rows = [("within", effect, name) for effect in within for name in corrections]
    rows += [("between", effect, UNCORRECTED) for effect in EFFECTS]
    effects = pd.DataFrame(rows, columns=["stratum", "effect", "correction"])
    numbers = dict.fromkeys(EFFECT_COLUMNS[3:], NAN)
    unknown = dict.fromkeys(MULTIVARIATE_COLUMNS[1:], NAN)
    return effects.assign(**numbers), pd.DataFrame({"effect": within}).assign(**unknown)


def explain_cases(cohort: Cohort, muscles: Sequence[str]) -> str | None:
    """Say why the standard model cannot be fitted to these muscles; None if it can.

    The covariates that are missing in all participants are named first.
    """
    absent = [name for name in ("sex", "age", "bmi") if cohort.people[name].isna().all()]
    if absent:
        return f"no participant has a known {' and no known '.join(absent)}"
    chosen = cohort.people.loc[cohort.select(muscles)]
    if chosen.empty:
        return "no participant has all values that are needed"
    return explain_design(standard_design(chosen))


# --- sex ---------------------------------------------------------------------------------------


def compare_sexes(cohort: Cohort) -> Analysis:
    """ANCOVA for sex with age and BMI in each muscle, and in the mean of all muscles (last row).

    Estimated marginal means at the mean age and BMI of the participants analysed.
    """
    rows: list[dict[str, Any]] = []
    reasons: list[tuple[str, str]] = []
    for name, muscles, values in _each_muscle(cohort):
        reason = explain_cases(cohort, muscles) or _explain_constant(values)
        if reason:
            reasons.append((name, f"n/a, because {reason}"))
            rows.append(dict.fromkeys(ANCOVA_COLUMNS, NAN) | {"muscle": name, "n": len(values)})
        else:
            rows.append({"muscle": name} | _fit_ancova(cohort.people.loc[values.index], values))
    table = pd.DataFrame(rows, columns=list(ANCOVA_COLUMNS))
    return Analysis(table, gather_reasons("ANCOVA for sex", reasons))


def _each_muscle(cohort: Cohort) -> Iterable[tuple[str, list[str], pd.Series]]:
    """Give each muscle and then the mean of all: its name, the muscles needed, the values."""
    for muscle in cohort.muscles:
        yield muscle, [muscle], cohort.values.loc[cohort.select([muscle]), muscle]
    chosen = cohort.values.loc[cohort.select(cohort.muscles)]
    yield MEAN, list(cohort.muscles), chosen.mean(axis=1)


def _explain_constant(values: pd.Series) -> str | None:
    if is_constant(values.to_numpy(np.float64)):
        return f"the value is the same in all {len(values)} participants"
    return None


def _fit_ancova(people: pd.DataFrame, values: pd.Series) -> dict[str, Any]:
    design = standard_design(people)
    fit = sm.OLS(values.to_numpy(np.float64), design.matrix).fit()
    f, p = fit.tvalues**2, fit.pvalues
    ss_sex = f[1] * fit.mse_resid
    female, male, difference = (fit.t_test(row) for row in _sex_contrasts(people))
    return {
        "n": len(values),
        "df2": int(fit.df_resid),
        "f_sex": f[1],
        "p_sex": p[1],
        "ss_sex": ss_sex,
        "ss_error": fit.ssr,
        "pes_sex": ss_sex / (ss_sex + fit.ssr),
        "f_age": f[2],
        "p_age": p[2],
        "f_bmi": f[3],
        "p_bmi": p[3],
        "f_intercept": f[0],
        "r2": fit.rsquared,
        "adj_r2": fit.rsquared_adj,
        "b_age": fit.params[2],
        "b_bmi": fit.params[3],
        "emm_f": female.effect.item(),
        "emm_f_se": female.sd.item(),
        "emm_m": male.effect.item(),
        "emm_m_se": male.sd.item(),
        "diff_f_minus_m": difference.effect.item(),
        "diff_se": difference.sd.item(),
        "t": difference.tvalue.item(),
        "mean_age": people["age"].mean(),
        "mean_bmi": people["bmi"].mean(),
    }


def _sex_contrasts(people: pd.DataFrame) -> list[list[float]]:
    """Marginal mean of F, of M, and their difference, at the mean age and BMI."""
    age, bmi = people["age"].mean(), people["bmi"].mean()
    return [[1.0, 1.0, age, bmi], [1.0, -1.0, age, bmi], [0.0, 2.0, 0.0, 0.0]]


def estimate_means(cohort: Cohort) -> Analysis:
    """Estimated marginal means of sex (mean of the muscles) and of each muscle, listwise.

    Sexes weigh alike; age and BMI are at their means. The row ``F-M`` is the difference of the
    sexes. t and p are against 0.
    """
    levels = [("sex", "F"), ("sex", "M"), ("sex", "F-M")]
    levels += [("muscle", muscle) for muscle in cohort.muscles]
    reason = explain_cases(cohort, cohort.muscles)
    if reason:
        unknown = dict.fromkeys(EMM_COLUMNS[2:], NAN)
        table = pd.DataFrame(levels, columns=list(EMM_COLUMNS[:2])).assign(**unknown)
        return Analysis(table, (f"Estimated marginal means: n/a, because {reason}.",))
    chosen = cohort.select(cohort.muscles)
    people, values = cohort.people.loc[chosen], cohort.values.loc[chosen]
    design = standard_design(people)
    average = sm.OLS(values.mean(axis=1).to_numpy(np.float64), design.matrix).fit()
    found = [_describe_contrast(average, row) for row in _sex_contrasts(people)]
    centre = [1.0, 0.0, people["age"].mean(), people["bmi"].mean()]
    for muscle in cohort.muscles:
        fit = sm.OLS(values[muscle].to_numpy(np.float64), design.matrix).fit()
        found.append(_describe_contrast(fit, centre))
    rows = [(*level, *numbers) for level, numbers in zip(levels, found, strict=True)]
    return Analysis(pd.DataFrame(rows, columns=list(EMM_COLUMNS)))


def _describe_contrast(fit: Any, contrast: list[float]) -> tuple[float, ...]:
    test = fit.t_test(contrast)
    lower, upper = test.conf_int(alpha=1 - CONFIDENCE)[0]
    sd = test.sd.item()
    t, p = (test.tvalue.item(), test.pvalue.item()) if sd > 0 else (NAN, NAN)
    return test.effect.item(), sd, float(fit.df_resid), float(lower), float(upper), t, p


# --- age and BMI -------------------------------------------------------------------------------


def correlate_partially(cohort: Cohort) -> tuple[Analysis, pd.DataFrame]:
    """Partial correlations of each muscle with age (beside sex and BMI) and BMI (sex and age).

    Returns
    -------
    Analysis
        df = n - 4; Fisher's confidence interval with a standard error of 1 / sqrt(n - 5).
    DataFrame
        RESIDUAL_COLUMNS: what the variables controlled for leave over, as in the paper's Figure 6.
    """
    rows: list[dict[str, Any]] = []
    parts: list[pd.DataFrame] = []
    reasons: list[tuple[str, str]] = []
    for x, other in PARTIALS:
        for muscle in cohort.muscles:
            chosen = cohort.select([muscle])
            values = cohort.values.loc[chosen, muscle]
            named = {"muscle": muscle, "x": x, "controlling": f"sex,{other}", "n": len(chosen)}
            reason = explain_cases(cohort, [muscle]) or _explain_constant(values)
            if reason:
                reasons.append((muscle, f"n/a, because {reason}"))
                rows.append(dict.fromkeys(PARTIAL_COLUMNS, NAN) | named)
                continue
            residuals = _take_out(cohort.people.loc[chosen], values, x, other)
            rows.append(named | _correlate_residuals(residuals))
            parts.append(residuals.assign(muscle=muscle, x=x))
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
    both = np.column_stack([people[x].to_numpy(np.float64), values.to_numpy(np.float64)])
    left = both - control @ np.linalg.lstsq(control, both, rcond=None)[0]
    return pd.DataFrame(
        {"participant_id": people.index, "resid_x": left[:, 0], "resid_mfi": left[:, 1]}
    )


def _correlate_residuals(residuals: pd.DataFrame) -> dict[str, float]:
    x, y = (residuals[name].to_numpy(np.float64) for name in ("resid_x", "resid_mfi"))
    r = float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))
    t, df, p, lower, upper = test_correlation(r, len(residuals) - 4)
    slope = float(x @ y / (x @ x))
    return {
        "df": df, "r": r, "t": t, "p": p, "ci_lower": lower, "ci_upper": upper, "resid_slope": slope
    }  # fmt: skip
