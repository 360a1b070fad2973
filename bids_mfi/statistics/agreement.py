"""Agreement of two raters: ICC, bias, limits of agreement."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bids_mfi.statistics.student import CONFIDENCE, f_upper_tail

Floats = NDArray[np.float64]
NAN = float("nan")
LIMIT_SDS = 1.96


def divide(numerator: float, denominator: float) -> float:
    """Divide two numbers; NaN where the denominator is 0."""
    return numerator / denominator if denominator else NAN


@dataclass(frozen=True, slots=True)
class IntraclassCorrelation:
    """ICC(2,1): two-way random effects, absolute agreement, single measure.

    Attributes
    ----------
    icc, icc_lower, icc_upper : float
        Estimate and its 95 % confidence interval.
    icc_f, icc_df1, icc_df2, icc_p : float
        F = MSR / MSE of the rows against a true ICC of 0, and its p. F ignores the raters' bias,
        so p can be small although the interval includes 0.
    msr, msc, mse : float
        Mean squares of rows (subjects), columns (raters) and error.
    """

    icc: float
    icc_lower: float
    icc_upper: float
    icc_f: float
    icc_df1: float
    icc_df2: float
    icc_p: float
    msr: float
    msc: float
    mse: float


def intraclass_correlation(ratings: ArrayLike) -> IntraclassCorrelation:
    """ICC(2,1) with the confidence interval of McGraw & Wong.

    Parameters
    ----------
    ratings : array of float, shape (subjects, raters)
        Subjects with a missing rating are left out.

    Returns
    -------
    IntraclassCorrelation
        All NaN for fewer than two subjects or raters. For identical raters, the ICC is 1, F is
        infinite and p is 0; the interval is NaN, because its degrees of freedom are 0 / 0. Without
        any difference between subjects or raters, everything except the mean squares and the
        degrees of freedom is NaN.

    References
    ----------
    Shrout & Fleiss 1979, doi:10.1037/0033-2909.86.2.420; McGraw & Wong 1996,
    doi:10.1037/1082-989X.1.1.30.

    Examples
    --------
    >>> judges = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8]]
    >>> judges += [[7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    >>> round(intraclass_correlation(judges).icc, 2)
    0.29
    """
    values = np.atleast_2d(np.asarray(ratings, dtype=np.float64))
    values = values[np.isfinite(values).all(axis=1)]
    n, k = values.shape
    if n < 2 or k < 2:
        return IntraclassCorrelation(*[NAN] * 10)
    msr, msc, mse = _mean_squares(values)
    icc = divide(msr - mse, msr + (k - 1) * mse + k * (msc - mse) / n)
    lower, upper = _confidence_interval((msr, msc, mse), icc, n, k)
    df1, df2 = float(n - 1), float((n - 1) * (k - 1))
    f = msr / mse if mse else (np.inf if msr else NAN)
    return IntraclassCorrelation(
        icc, lower, upper, f, df1, df2, float(f_upper_tail(f, df1, df2)), msr, msc, mse
    )


def _mean_squares(values: Floats) -> tuple[float, float, float]:
    """Mean squares of rows, columns and error.

    The first column is subtracted before the columns are compared, so that identical raters leave
    no rounding error.
    """
    n, k = values.shape
    apart = values - values[:, :1]
    columns = _centre(apart.mean(axis=0))
    error = apart - apart.mean(axis=1, keepdims=True) - columns
    error -= error.mean()
    msr = k * float(np.sum(_centre(values.mean(axis=1)) ** 2)) / (n - 1)
    msc = n * float(np.sum(columns**2)) / (k - 1)
    return msr, msc, float(np.sum(error**2)) / ((n - 1) * (k - 1))


def _centre(values: Floats) -> Floats:
    """Deviations from the mean; exactly 0 where all values are equal."""
    shifted = values - values[0]
    return np.asarray(shifted - shifted.mean(), dtype=np.float64)


def _confidence_interval(
    squares: tuple[float, float, float], icc: float, n: int, k: int
) -> tuple[float, float]:
    """McGraw & Wong 1996, Table 7, with Satterthwaite's degrees of freedom."""
    msr, msc, mse = squares
    raters, rest = k * icc * msc, (n * (1 - icc) + k * icc * (n - 1)) * mse
    spread = raters**2 / (k - 1) + rest**2 / ((n - 1) * (k - 1))
    freedom = divide((raters + rest) ** 2, spread)
    if not freedom > 0:
        return NAN, NAN
    others = k * msc + (k * n - k - n) * mse
    low, high = _f_quantile(n - 1, freedom), _f_quantile(freedom, n - 1)
    return (
        divide(n * (msr / low - mse), others + n * msr / low),
        divide(n * (high * msr - mse), others + n * high * msr),
    )


def _f_quantile(df1: float, df2: float) -> float:
    """Upper 2.5 % point of the F distribution; infinite where ``df2`` is next to 0."""
    tail = (1 - CONFIDENCE) / 2
    share = float(special.betainccinv(df1 / 2, df2 / 2, tail))
    rest = float(special.betaincinv(df2 / 2, df1 / 2, tail))
    return df2 * share / (df1 * rest) if rest else np.inf


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two raters on one measure; the columns of Tables 2 and 3 of Weber et al. 2021.

    ``gt`` is the reference (ground truth), ``cnn`` the values compared with it. In the unit of the
    measure unless stated otherwise.

    Attributes
    ----------
    n : int
        Pairs in which both values exist.
    mean_gt, mean_cnn, se_cnn : float
        Means, and the standard error SD / sqrt(n) of the compared values.
    bias, sd_diff, loa_lower, loa_upper : float
        Mean and SD (n - 1) of the differences d = cnn - gt; limits of agreement bias -/+ 1.96 SD.
    mae, rmse : float
        mean |d| and sqrt(mean d^2).
    r, r2, p_r : float
        Pearson correlation, its square and the two-tailed p; no unit.
    slope_origin, slope_origin_se : float
        Regression of gt on cnn through the origin, to correct the bias of cnn; no unit.
    slope, intercept : float
        Regression of gt on cnn.
    icc ... mse : float
        See :class:`IntraclassCorrelation`.
    """

    n: int
    mean_gt: float
    mean_cnn: float
    se_cnn: float
    bias: float
    sd_diff: float
    loa_lower: float
    loa_upper: float
    mae: float
    rmse: float
    r: float
    r2: float
    p_r: float
    slope_origin: float
    slope_origin_se: float
    slope: float
    intercept: float
    icc: float
    icc_lower: float
    icc_upper: float
    icc_f: float
    icc_df1: float
    icc_df2: float
    icc_p: float
    msr: float
    msc: float
    mse: float


def measure_agreement(reference: ArrayLike, compared: ArrayLike) -> Agreement:
    """Agreement of two raters on one measure.

    Parameters
    ----------
    reference, compared : array of float, shape (n,)
        Values of the same subjects in the same order; a pair with a missing value is left out.

    Returns
    -------
    Agreement
        Undefined values are NaN: all but ``n`` without a pair; SD, limits, standard errors and ICC
        for one pair; ``p_r`` for fewer than three; ``r`` where a rater's values are all equal;
        ``slope`` and ``intercept`` where the compared values are. Identical raters have bias and
        limits 0, r, ICC and slopes 1, p 0 (``p_r`` from three pairs on).

    Raises
    ------
    ValueError
        The two differ in length.

    References
    ----------
    Bland & Altman 1986, doi:10.1016/S0140-6736(86)90837-8.

    Examples
    --------
    >>> found = measure_agreement([10.0, 12.0, 14.0], [11.0, 13.0, 16.0])
    >>> found.n, round(found.bias, 3), round(found.mae, 3)
    (3, 1.333, 1.333)
    """
    gt, cnn = np.asarray(reference, dtype=np.float64), np.asarray(compared, dtype=np.float64)
    if gt.shape != cnn.shape or gt.ndim != 1:
        raise ValueError(f"raters of different shapes: {gt.shape}, {cnn.shape}")
    both = np.isfinite(gt) & np.isfinite(cnn)
    gt, cnn = gt[both], cnn[both]
    found: dict[str, float] = dict.fromkeys(Agreement.__dataclass_fields__, NAN)
    if gt.size:
        found |= _describe_differences(gt, cnn) | _describe_lines(gt, cnn)
        found |= asdict(intraclass_correlation(np.column_stack([gt, cnn])))
    return Agreement(**found | {"n": int(gt.size)})  # type: ignore[arg-type]


def _describe_differences(gt: Floats, cnn: Floats) -> dict[str, float]:
    """Bland-Altman statistics."""
    apart = cnn - gt
    bias, sd = float(apart.mean()), standard_deviation(apart)
    return {
        "mean_gt": float(gt.mean()),
        "mean_cnn": float(cnn.mean()),
        "se_cnn": standard_deviation(cnn) / float(np.sqrt(cnn.size)),
        "bias": bias,
        "sd_diff": sd,
        "loa_lower": bias - LIMIT_SDS * sd,
        "loa_upper": bias + LIMIT_SDS * sd,
        "mae": float(np.abs(apart).mean()),
        "rmse": float(np.sqrt(np.mean(apart**2))),
    }


def standard_deviation(values: Floats) -> float:
    """Compute the standard deviation with n - 1; NaN for fewer than two values."""
    if values.size < 2:
        return NAN
    return float(np.sqrt(np.sum(_centre(values) ** 2) / (values.size - 1)))


def _describe_lines(gt: Floats, cnn: Floats) -> dict[str, float]:
    """Correlation, and the regressions of gt on cnn."""
    n, square = gt.size, float(cnn @ cnn)
    origin = divide(float(cnn @ gt), square)
    rest = gt - origin * cnn
    error = float(rest @ rest) / (n - 1) if n > 1 else NAN
    across, along = _centre(cnn), _centre(gt)
    slope = divide(float(across @ along), float(across @ across))
    r, p = _correlate(across, along)
    return {
        "r": r,
        "r2": r**2,
        "p_r": p,
        "slope_origin": origin,
        "slope_origin_se": float(np.sqrt(divide(error, square))),
        "slope": slope,
        "intercept": float(gt.mean()) - slope * float(cnn.mean()),
    }


def _correlate(first: Floats, second: Floats) -> tuple[float, float]:
    """Pearson correlation of two vectors of deviations, and its two-tailed p.

    1 - r^2 is (1 - r)(1 + r) from the difference and the sum of the unit vectors, so that p keeps
    its digits near r = 1.
    """
    lengths = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if not all(lengths):
        return NAN, NAN
    one, other = first / lengths[0], second / lengths[1]
    apart, together = float(np.sum((one - other) ** 2)) / 2, float(np.sum((one + other) ** 2)) / 2
    r = (
        float(np.clip(one @ other, -1.0, 1.0))
        if apart and together
        else (1.0 if together else -1.0)
    )
    if first.size < 3:
        return r, NAN
    return r, float(special.betainc((first.size - 2) / 2, 0.5, min(1.0, apart * together)))
