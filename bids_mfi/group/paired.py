"""Descriptives, paired t-tests and correlations of muscles; must not know covariates or files.

As in Weber et al. 2021: two-tailed, uncorrected, each pair of muscles with its own complete cases.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bids_mfi.group.cohort import SEXES, Analysis, Cohort
from bids_mfi.group.notes import gather_reasons
from bids_mfi.group.student import CONFIDENCE, describe_differences, two_tailed

Floats = NDArray[np.float64]
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
    rows = []
    for muscle, column in cohort.values.items():
        values = column.dropna().to_numpy(np.float64)
        sd = float(values.std(ddof=1)) if len(values) > 1 else NAN
        se = sd / np.sqrt(len(values))
        rows.append((muscle, len(values), values.mean(), sd, se, values.min(), values.max()))
    return Analysis(pd.DataFrame(rows, columns=list(DESCRIPTIVE_COLUMNS)))


def describe_people(cohort: Cohort) -> Analysis:
    """Count the participants of each sex, with mean and SD (n - 1) of age and BMI."""
    people = cohort.people
    groups = {"all": people, **{sex: people[people["sex"] == sex] for sex in SEXES}}
    rows = [
        (name, len(rows), *(x for column in ("age", "bmi") for x in _spread(rows[column])))
        for name, rows in groups.items()
    ]
    return Analysis(pd.DataFrame(rows, columns=list(SAMPLE_COLUMNS)))


def _spread(column: pd.Series) -> tuple[int, float, float]:
    values = column.dropna().to_numpy(np.float64)
    mean = float(values.mean()) if len(values) else NAN
    return len(values), mean, float(values.std(ddof=1)) if len(values) > 1 else NAN


def compare_muscles(cohort: Cohort) -> Analysis:
    """Paired t-test of every two muscles: mean_diff is muscle_a less muscle_b."""
    pairs = list(combinations(cohort.muscles, 2))
    first, second = (
        cohort.values[[pair[side] for pair in pairs]].to_numpy(np.float64) for side in (0, 1)
    )
    names = pd.DataFrame(pairs, columns=["muscle_a", "muscle_b"])
    table = names.assign(**describe_differences(first, second))[list(PAIRED_COLUMNS)]
    reasons = ("fewer than 2 participants have both muscles", "all differences are equal")
    return Analysis(table, _note_missing("Paired t-test", table, LEAST_PAIRS, reasons))


def correlate_muscles(cohort: Cohort) -> Analysis:
    """Pearson correlation of every two muscles, with Fisher's confidence interval."""
    rows = []
    for a, b in combinations(cohort.muscles, 2):
        both = cohort.values[[a, b]].dropna().to_numpy(np.float64)
        rows.append((a, b, *_correlate(both[:, 0], both[:, 1])))
    table = pd.DataFrame(rows, columns=list(CORRELATION_COLUMNS))
    reasons = ("fewer than 3 participants have both muscles", "a muscle has the same value in all")
    return Analysis(table, _note_missing("Correlation", table, LEAST_POINTS, reasons))


def _correlate(x: Floats, y: Floats) -> tuple[int, float, float, float, float, float, float]:
    n = len(x)
    if n < LEAST_POINTS or is_constant(x) or is_constant(y):
        return n, NAN, NAN, NAN, NAN, NAN, NAN
    x, y = x - x.mean(), y - y.mean()
    r = float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))
    return (n, r, *test_correlation(r, n - 2))


def test_correlation(r: float, df: int) -> tuple[float, float, float, float, float]:
    """t-test of a correlation against 0 and Fisher's confidence interval.

    Parameters
    ----------
    r : float
        Simple or partial correlation.
    df : int
        Participants less 2, less the variables controlled for.

    Returns
    -------
    tuple of float
        t, df, two-tailed p, lower and upper limit: tanh(atanh(r) -/+ 1.96 / sqrt(df - 1)). The
        limits are NaN with a df of 1; t and p too where r is 1 or -1.

    Examples
    --------
    >>> [round(x, 3) for x in test_correlation(0.5, 10)]
    [1.826, 10.0, 0.098, -0.104, 0.834]
    """
    if df < 1 or not abs(r) < 1:
        return NAN, float(df), NAN, NAN, NAN
    t = r * (df / (1 - r * r)) ** 0.5
    p = float(two_tailed(t, df))
    if df < 2:
        return t, float(df), p, NAN, NAN
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) / (df - 1) ** 0.5
    z = float(np.arctanh(r))
    return t, float(df), p, float(np.tanh(z - half)), float(np.tanh(z + half))


test_correlation.__test__ = False  # type: ignore[attr-defined]


def is_constant(values: Floats) -> bool:
    """Whether values differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-12 * float(np.abs(values).max(initial=0.0)))


def _note_missing(
    what: str, table: pd.DataFrame, least: int, reasons: tuple[str, str]
) -> tuple[str, ...]:
    """Say which pairs have no p: too few participants, or values that do not differ."""
    if table.empty:
        return (f"{what}: not made, because there are fewer than two muscles with values.",)
    missing = table[table["p"].isna()]
    return gather_reasons(
        what,
        (
            (f"{a}-{b}", f"n/a, because {reasons[int(n >= least)]}")
            for a, b, n in zip(missing["muscle_a"], missing["muscle_b"], missing["n"], strict=True)
        ),
    )
