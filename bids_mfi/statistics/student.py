"""Student's t of estimates and of paired differences.

All functions take arrays and process their columns together, so many muscles cost no more than one.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bids_mfi.statistics.rounding import ROUNDING

Floats = NDArray[np.float64]
CONFIDENCE = 0.95


def test_estimates(estimates: ArrayLike, errors: ArrayLike, df: ArrayLike) -> dict[str, Floats]:
    """Test estimates against 0, two-tailed.

    Parameters
    ----------
    estimates, errors, df : array of float, shapes that broadcast
        Estimates, their standard errors and degrees of freedom.

    Returns
    -------
    dict of float64 arrays
        ``t``, ``p``, ``ci_lower``, ``ci_upper`` (95 %); NaN where the standard error is not above
        0 or the degrees of freedom are below 1.

    Examples
    --------
    >>> round(float(test_estimates(2.0, 1.0, 10.0)["p"]), 4)
    0.0734
    """
    estimate, error, freedom = np.broadcast_arrays(
        *(np.asarray(a, np.float64) for a in (estimates, errors, df))
    )
    usable = (error > 0) & (freedom >= 1) & np.isfinite(estimate)
    error, freedom = np.where(usable, error, np.nan), np.where(usable, freedom, np.nan)
    t = estimate / error
    half = special.stdtrit(freedom, (1 + CONFIDENCE) / 2) * error
    return {
        "t": t,
        "p": two_tailed(t, freedom),
        "ci_lower": estimate - half,
        "ci_upper": estimate + half,
    }


test_estimates.__test__ = False  # type: ignore[attr-defined]


def two_tailed(t: ArrayLike, df: ArrayLike) -> Floats:
    """P(|T| > |t|), exact for tiny values too; NaN for NaN.

    Examples
    --------
    >>> round(float(two_tailed(1.0, 1.0)), 12)
    0.5
    """
    values, freedom = np.asarray(t, np.float64), np.asarray(df, np.float64)
    share = freedom / (freedom + values * values)
    return np.asarray(special.betainc(freedom / 2, 0.5, share), np.float64)


def f_upper_tail(f: ArrayLike, df1: ArrayLike, df2: ArrayLike) -> Floats:
    """P(F > f), exact for tiny values too; NaN for NaN."""
    values, one, two = (np.asarray(a, np.float64) for a in (f, df1, df2))
    return np.asarray(special.betainc(two / 2, one / 2, two / (two + one * values)), np.float64)


def describe_differences(first: ArrayLike, second: ArrayLike) -> dict[str, Floats]:
    """Paired t-test of ``first - second``, column by column.

    Parameters
    ----------
    first, second : array of float, shape (participants, columns)
        Pairs in which a value is missing are left out.

    Returns
    -------
    dict of arrays (columns,)
        ``n`` (int64), ``mean_first``, ``mean_second`` (of the pairs), ``mean_diff``, ``sd_diff``
        (n - 1), ``se_diff``, ``df``, and ``t``, ``p``, ``ci_lower``, ``ci_upper``. SD and the
        values after it are NaN with fewer than two pairs; where all differences are equal, the SD
        is 0 and the test is NaN.

    Examples
    --------
    >>> found = describe_differences([[3.0], [4.0], [8.0]], [[1.0], [3.0], [5.0]])
    >>> float(found["mean_diff"][0]), float(found["sd_diff"][0])
    (2.0, 1.0)
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    n = both.sum(axis=0)
    a, b = np.where(both, a, 0.0), np.where(both, b, 0.0)
    means = {"mean_first": _divide(a.sum(axis=0), n), "mean_second": _divide(b.sum(axis=0), n)}
    mean = _divide((a - b).sum(axis=0), n)
    rest = np.where(both, a - b - mean, 0.0)
    sd = np.sqrt(_divide((rest**2).sum(axis=0), n - 1))
    largest = np.maximum(np.abs(a), np.abs(b)).max(axis=0, initial=0.0)
    sd = np.where(sd <= ROUNDING * largest, 0.0, sd)
    spread = {"mean_diff": mean, "sd_diff": sd, "se_diff": _divide(sd, np.sqrt(n))}
    df = np.where(n >= 2, n - 1.0, np.nan)
    tests = test_estimates(mean, spread["se_diff"], df)
    return {"n": n.astype(np.int64)} | means | spread | {"df": df} | tests


def _divide(numerator: Floats, denominator: NDArray[np.generic]) -> Floats:
    """Quotient; NaN where the denominator is not above 0."""
    below = np.asarray(denominator, np.float64)
    return numerator / np.where(below > 0, below, np.nan)
