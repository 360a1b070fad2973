"""Descriptives, paired t-tests and correlations of muscles.

As in Weber et al. 2021: two-tailed, uncorrected, each pair of muscles with its own complete cases.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bids_mfi.counts import count_noun
from bids_mfi.statistics.cohort import SEXES, Analysis, Cohort
from bids_mfi.statistics.notes import gather_reasons
from bids_mfi.statistics.rounding import ROUNDING, is_constant
from bids_mfi.statistics.student import CONFIDENCE, describe_differences, two_tailed

Floats = NDArray[np.float64]
Row = dict[str, Any]
NAN = float("nan")
LEAST_PAIRS = 2  # for a t-test
LEAST_POINTS = 3  # for a correlation
SAMPLE_COLUMNS = ("sex", "n", "n_age", "mean_age", "sd_age", "n_bmi", "mean_bmi", "sd_bmi")
DESCRIPTIVE_COLUMNS = ("muscle", "n", "mean", "sd", "se", "min", "max")
PAIRED_COLUMNS = (
    "muscle_a", "muscle_b", "n", "mean_diff", "sd_diff", "se_diff", "t", "df", "p",
    "ci_lower", "ci_upper",
)  # fmt: skip
CORRELATION_COLUMNS = ("muscle_a", "muscle_b", "n", "r", "t", "df", "p", "ci_lower", "ci_upper")


def describe_muscles(cohort: Cohort) -> Analysis:
    """Mean and spread of each muscle; SD with n - 1, SE = SD / sqrt(n)."""
    rows, reasons = [], []
    for muscle, column in cohort.values.items():
        n, mean, sd = _spread(column)
        se = sd / np.sqrt(n) if n else NAN
        rows.append((muscle, n, mean, sd, se, column.min(), column.max()))
        if n < LEAST_PAIRS:
            people = count_noun(n, "participant")
            reasons.append((str(muscle), f"no spread, because it is present in {people}"))
    table = pd.DataFrame(rows, columns=list(DESCRIPTIVE_COLUMNS))
    return Analysis(table, gather_reasons("Descriptives", reasons))


def describe_people(cohort: Cohort) -> Analysis:
    """Count the participants of each sex, with mean and SD (n - 1) of age and BMI."""
    people = cohort.people
    groups = {"all": people, **{sex: people[people["sex"] == sex] for sex in SEXES}}
    rows = [
        (name, len(rows), *(x for column in ("age", "bmi") for x in _spread(rows[column])))
        for name, rows in groups.items()
    ]
    table = pd.DataFrame(rows, columns=list(SAMPLE_COLUMNS))
    few = (table[["n_age", "n_bmi"]] < LEAST_PAIRS).any(axis=None)
    note = "Sample: a mean needs 1 participant in whom age or BMI is known, and an SD needs 2."
    return Analysis(table, (note,) if few else ())


def _spread(column: pd.Series) -> tuple[int, float, float]:
    values = column.dropna().to_numpy(np.float64)
    mean = float(values.mean()) if len(values) else NAN
    sd = NAN
    if len(values) > 1:
        sd = 0.0 if is_constant(values) else float(values.std(ddof=1))
    return len(values), mean, sd


def compare_muscles(cohort: Cohort) -> Analysis:
    """Paired t-test of every two muscles: mean_diff is muscle_a minus muscle_b."""
    pairs = list(combinations(cohort.muscles, 2))
    first, second = (
        cohort.values[[pair[side] for pair in pairs]].to_numpy(np.float64) for side in (0, 1)
    )
    names = pd.DataFrame(pairs, columns=["muscle_a", "muscle_b"])
    table = names.assign(**describe_differences(first, second))[list(PAIRED_COLUMNS)]
    return Analysis(table, _note_pairs("Paired t-test", table, _explain_test))


def _explain_test(row: Row) -> str | None:
    if row["n"] < LEAST_PAIRS:
        return f"n/a, because fewer than {LEAST_PAIRS} participants have both muscles"
    return "no test, because all differences are equal" if np.isnan(row["p"]) else None


def correlate_muscles(cohort: Cohort) -> Analysis:
    """Pearson correlation of every two muscles, with Fisher's confidence interval."""
    rows = []
    for a, b in combinations(cohort.muscles, 2):
        both = cohort.values[[a, b]].dropna().to_numpy(np.float64)
        rows.append((a, b, *_correlate(both[:, 0], both[:, 1])))
    table = pd.DataFrame(rows, columns=list(CORRELATION_COLUMNS))
    return Analysis(table, _note_pairs("Correlation", table, _explain_correlation))


def _explain_correlation(row: Row) -> str | None:
    if row["n"] < LEAST_POINTS:
        return f"n/a, because fewer than {LEAST_POINTS} participants have both muscles"
    if np.isnan(row["r"]):
        return "n/a, because a muscle has the same value in all"
    if np.isnan(row["p"]):
        return "no test, because one muscle is a linear function of the other, without error"
    if np.isnan(row["ci_lower"]):
        return (
            f"no confidence interval, because {count_noun(row['n'], 'participant')} have both "
            f"muscles and {LEAST_POINTS + 1} are needed"
        )
    return None


def _correlate(x: Floats, y: Floats) -> tuple[int, float, float, float, float, float, float]:
    n = len(x)
    if n < LEAST_POINTS or is_constant(x) or is_constant(y):
        return n, NAN, NAN, NAN, NAN, NAN, NAN
    r = correlate(x - x.mean(), y - y.mean())
    tests = test_correlation(r, n - 2)
    return (n, float(np.sign(r)) if np.isnan(tests[0]) else r, *tests)


def correlate(x: Floats, y: Floats) -> float:
    """Correlation of deviations; each must have one that is not 0.

    Examples
    --------
    >>> round(correlate(np.array([-1.0, 0.0, 1.0]), np.array([-1e-200, 1e-200, 0.0])), 3)
    0.5
    """
    x, y = (values / np.abs(values).max() for values in (x, y))
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def test_correlation(r: float, df: int) -> tuple[float, float, float, float, float]:
    """t-test of a correlation against 0 and Fisher's confidence interval.

    Parameters
    ----------
    r : float
        Simple or partial correlation.
    df : int
        Participants minus 2, minus the variables controlled for.

    Returns
    -------
    tuple of float
        t, df, two-tailed p, lower and upper limit: tanh(atanh(r) -/+ 1.96 / sqrt(df - 1)). The
        limits are NaN with a df of 1; so are t and p where r is 1 or -1 except for rounding.

    Examples
    --------
    >>> [round(x, 3) for x in test_correlation(0.5, 10)]
    [1.826, 10.0, 0.098, -0.104, 0.834]
    """
    if df < 1 or not 1 - abs(r) > ROUNDING:
        return NAN, float(df), NAN, NAN, NAN
    t = r * (df / (1 - r * r)) ** 0.5
    p = float(two_tailed(t, df))
    if df < 2:
        return t, float(df), p, NAN, NAN
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) / (df - 1) ** 0.5
    z = float(np.arctanh(r))
    return t, float(df), p, float(np.tanh(z - half)), float(np.tanh(z + half))


test_correlation.__test__ = False  # type: ignore[attr-defined]


def _note_pairs(
    what: str, table: pd.DataFrame, explain: Callable[[Row], str | None]
) -> tuple[str, ...]:
    """Name the pairs for which something is missing, and why."""
    if table.empty:
        return (f"{what}: not made, because there are fewer than two muscles with values.",)
    rows = ({str(name): x for name, x in row.items()} for row in table.to_dict("records"))
    found = ((f"{row['muscle_a']}-{row['muscle_b']}", explain(row)) for row in rows)
    return gather_reasons(what, ((pair, why) for pair, why in found if why))
