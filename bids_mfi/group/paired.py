"""Descriptives, paired t-tests and correlations of muscles; must not know covariates or files.

As in Weber et al. 2021: two-tailed, uncorrected, each pair of muscles with its own complete cases.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bids_mfi.group.cohort import SEXES, Analysis, Cohort

Floats = NDArray[np.float64]
NAN = float("nan")
LEVEL = 0.95
LEAST_PAIRS = 3
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
    rows = [(a, b, *test_difference(x - y)) for a, b, x, y in _pairs(cohort)]
    notes = _note_few(cohort, rows, "Paired t-test", "all differences are equal")
    return Analysis(pd.DataFrame(rows, columns=list(PAIRED_COLUMNS)), notes)


def test_difference(
    differences: Floats,
) -> tuple[int, float, float, float, float, float, float, float, float]:
    """One-sample t-test against 0.

    Returns
    -------
    tuple
        n, mean, SD, SE, t, df, two-tailed p and the limits of the 95 % confidence interval. NaN
        where undefined; t and what follows where all differences are equal.

    Examples
    --------
    >>> n, mean, *_ = test_difference(np.array([1.0, 2.0, 3.0]))
    >>> n, mean
    (3, 2.0)
    """
    n = len(differences)
    mean = float(differences.mean()) if n else NAN
    if n < 2:
        return n, mean, NAN, NAN, NAN, NAN, NAN, NAN, NAN
    sd = float(differences.std(ddof=1))
    se = sd / n**0.5
    if not sd > 1e-12 * float(np.abs(differences).max()):
        return n, mean, sd, se, NAN, float(n - 1), NAN, NAN, NAN
    t, half = mean / se, float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * se
    p = 2 * float(stats.t.sf(abs(t), n - 1))
    return n, mean, sd, se, t, float(n - 1), p, mean - half, mean + half


test_difference.__test__ = False  # type: ignore[attr-defined]


def correlate_muscles(cohort: Cohort) -> Analysis:
    """Pearson correlation of every two muscles, with Fisher's confidence interval."""
    rows = [(a, b, *_correlate(x, y)) for a, b, x, y in _pairs(cohort)]
    notes = _note_few(cohort, rows, "Correlation", "a muscle has the same value in all")
    return Analysis(pd.DataFrame(rows, columns=list(CORRELATION_COLUMNS)), notes)


def _correlate(x: Floats, y: Floats) -> tuple[int, float, float, float, float, float, float]:
    n = len(x)
    if n < LEAST_PAIRS or is_constant(x) or is_constant(y):
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
    p = 2 * float(stats.t.sf(abs(t), df))
    if df < 2:
        return t, float(df), p, NAN, NAN
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) / (df - 1) ** 0.5
    z = float(np.arctanh(r))
    return t, float(df), p, float(np.tanh(z - half)), float(np.tanh(z + half))


test_correlation.__test__ = False  # type: ignore[attr-defined]


def is_constant(values: Floats) -> bool:
    """Whether values differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-12 * float(np.abs(values).max(initial=0.0)))


def _pairs(cohort: Cohort) -> list[tuple[str, str, Floats, Floats]]:
    pairs = []
    for a, b in combinations(cohort.muscles, 2):
        both = cohort.values[[a, b]].dropna().to_numpy(np.float64)
        pairs.append((a, b, both[:, 0], both[:, 1]))
    return pairs


def _note_few(
    cohort: Cohort,
    rows: Sequence[tuple[Any, ...]],
    what: str,
    otherwise: str,
) -> tuple[str, ...]:
    """Say which pairs have no p, and why."""
    if len(cohort.muscles) < 2:
        return (f"{what}: not made, because there are fewer than two muscles with values.",)
    place = len(rows[0]) - 3
    missing = [row for row in rows if not np.isfinite(row[place])]
    few = [f"{row[0]}-{row[1]}" for row in missing if row[2] < LEAST_PAIRS]
    equal = [f"{row[0]}-{row[1]}" for row in missing if row[2] >= LEAST_PAIRS]
    reasons = (
        (few, f"fewer than {LEAST_PAIRS} participants have both muscles"),
        (equal, otherwise),
    )
    return tuple(
        f"{what} of {', '.join(names)}: n/a, because {reason}."
        for names, reason in reasons
        if names
    )
