"""Linear mixed model with a random intercept, by REML.

y = X b + u[group] + e, u ~ N(0, sigma_u^2), e ~ N(0, sigma^2). With the variance ratio
q = sigma_u^2 / sigma^2 and groups of n_i rows, the inverse covariance of a group is, up to
sigma^2, (I - J / n_i) + J / (n_i (1 + n_i q)). All sums over rows and groups are therefore computed
once, and the search is over one number, q >= 0 (Laird & Ware 1982, doi:10.2307/2529876; Patterson &
Thompson 1971, doi:10.1093/biomet/58.3.545).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from bids_mfi.statistics.rounding import LEAST_SINGULAR, ROUNDING

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]
RATIOS = np.concatenate([[0.0], np.logspace(-6, 10, 65)])  # where the search begins


@dataclass(frozen=True, slots=True, eq=False)
class RandomIntercept:
    """Result of REML.

    Attributes
    ----------
    coefficients : float64 (columns,)
    covariance : float64 (columns, columns)
        Of the coefficients.
    sd_groups, sd_residual : float
        Between groups (0 where the likelihood is highest at 0) and within.
    """

    coefficients: Floats
    covariance: Floats
    sd_groups: float
    sd_residual: float


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Cross products of the columns of [X, y].

    Attributes
    ----------
    within : float64 (columns + 1, columns + 1)
        Of the deviations from the means of the groups.
    sizes, counts : int64 (k,)
        The different sizes of groups, and how many groups have each.
    between : float64 (k, columns + 1, columns + 1)
        Of the sums of the groups, for each size, divided by it.
    rows : int
    """

    within: Floats
    sizes: Integers
    counts: Integers
    between: Floats
    rows: int

    def weigh(self, ratio: float) -> Floats:
        """[X, y]' V^-1 [X, y] in units of the residual variance."""
        weights = 1 / (1 + self.sizes * ratio)
        return np.asarray(self.within + np.tensordot(weights, self.between, axes=1), np.float64)

    def deviance(self, ratio: float) -> float:
        """-2 log restricted likelihood, up to a constant."""
        diagonal = np.diag(np.linalg.cholesky(self.weigh(ratio)))
        free = self.rows - len(diagonal) + 1
        spread = float(self.counts @ np.log1p(self.sizes * ratio))
        return float(2 * free * np.log(diagonal[-1]) + spread + 2 * np.log(diagonal[:-1]).sum())


def fit_random_intercept(
    matrix: Floats, values: Floats, groups: Integers
) -> RandomIntercept | None:
    """Fit by restricted maximum likelihood.

    Parameters
    ----------
    matrix : float64 (rows, columns)
        Of full rank, with more rows than columns.
    values : float64 (rows,)
    groups : int (rows,)
        The group of each row; at least one group must have two rows.

    Returns
    -------
    RandomIntercept or None
        None where the columns and the groups leave no error, so that no test is possible.

    Examples
    --------
    >>> x = np.column_stack([np.ones(6), [0, 1, 0, 1, 0, 1]])
    >>> y, groups = np.array([1.0, 2, 3, 5, 8, 9]), np.array([0, 0, 1, 1, 2, 2])
    >>> found = fit_random_intercept(x, y, groups)
    >>> round(float(found.coefficients[1]), 6), round(found.sd_residual, 6)
    (1.333333, 0.408248)
    """
    lengths = np.linalg.norm(matrix, axis=0)
    q, r = np.linalg.qr(matrix / lengths)
    first = q.T @ values
    rest = values - q @ first
    unit = float(np.sqrt(rest @ rest / len(values)))
    if unit <= ROUNDING * float(np.abs(values).max()):
        return None
    sums = _sum_up(np.column_stack([q, rest / unit]), groups)
    if sums is None:
        return None
    ratio = _search(sums)
    return _estimate(sums, ratio, r * lengths, first / unit, unit)


def _sum_up(joint: Floats, groups: Integers) -> _Sums | None:
    """Sum up [X, y]; None where the deviations within the groups follow from the columns."""
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    totals = np.column_stack([np.bincount(codes, weights=column) for column in joint.T])
    apart = joint - (totals / sizes[:, None])[codes]
    if _is_exact(apart[:, :-1], apart[:, -1]):
        return None
    different, counts = np.unique(sizes, return_counts=True)
    between = [totals[sizes == n].T @ totals[sizes == n] / n for n in different]
    return _Sums(apart.T @ apart, different, counts, np.array(between), len(joint))


def _is_exact(columns: Floats, outcome: Floats) -> bool:
    """Whether deviations within the groups follow from the columns."""
    slopes = np.linalg.lstsq(columns, outcome, rcond=LEAST_SINGULAR)[0]
    rest = outcome - columns @ slopes
    return bool(rest @ rest <= 1e-20 * len(rest) + 1e-14 * (outcome @ outcome))


def _search(sums: _Sums) -> float:
    """Variance ratio of the lowest deviance; 0 where no other is lower."""
    best = int(np.argmin([sums.deviance(ratio) for ratio in RATIOS]))
    low, high = RATIOS[max(best - 1, 0)], RATIOS[min(best + 1, len(RATIOS) - 1)]
    if low == 0:
        found = optimize.minimize_scalar(
            sums.deviance, bounds=(0.0, high), method="bounded", options={"xatol": 1e-14}
        )
        return float(found.x) if found.fun < sums.deviance(0.0) else 0.0
    found = optimize.minimize_scalar(
        lambda power: sums.deviance(float(np.exp(power))),
        bounds=(np.log(low), np.log(high)),
        method="bounded",
        options={"xatol": 1e-11},
    )
    return float(np.exp(found.x))


def _estimate(
    sums: _Sums, ratio: float, triangle: Floats, first: Floats, unit: float
) -> RandomIntercept:
    """Generalised least squares at this ratio, in the units of the data.

    ``triangle`` turns coefficients into those of the orthonormal columns that were summed up.
    """
    root = np.linalg.cholesky(sums.weigh(ratio))
    columns, outcome = root[:-1, :-1], root[-1, :-1]
    step = linalg.solve_triangular(columns, outcome, lower=True, trans="T")
    variance = root[-1, -1] ** 2 / (sums.rows - len(step)) * unit**2
    spread = linalg.solve_triangular(columns, np.eye(len(step)), lower=True)
    spread = linalg.solve_triangular(triangle, spread.T)
    return RandomIntercept(
        coefficients=linalg.solve_triangular(triangle, first + step) * unit,
        covariance=np.asarray(variance * spread @ spread.T, np.float64),
        sd_groups=float(np.sqrt(ratio * variance)),
        sd_residual=float(np.sqrt(variance)),
    )
