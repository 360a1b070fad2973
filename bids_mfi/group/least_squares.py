"""Ordinary least squares of one outcome; must not know participants, muscles or designs' names.

The matrix must be of full rank; :func:`bids_mfi.group.design.explain_design` says whether it is.
"""

from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray

from bids_mfi.group.rounding import round_off
from bids_mfi.group.student import test_estimates

Floats = NDArray[np.float64]
NO_ERROR = "the values do not vary about the model"


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What least squares found.

    Attributes
    ----------
    coefficients : float64 (columns,)
    unscaled : float64 (columns, columns)
        Inverse of X'X; times the error variance it is the covariance of the coefficients.
    residuals, leverages : float64 (participants,)
    total : float
        Sum of squares about the mean.
    scale : float
        Largest absolute value of the outcome.
    df : int
        Error degrees of freedom.
    """

    coefficients: Floats
    unscaled: Floats
    residuals: Floats
    leverages: Floats
    total: float
    scale: float
    df: int

    @property
    def error(self) -> float:
        """Sum of squared residuals."""
        return float(self.residuals @ self.residuals)

    @property
    def variance(self) -> float:
        """Error variance; NaN where it is nothing but rounding."""
        return float("nan") if self.is_exact else self.error / self.df

    @property
    def is_exact(self) -> bool:
        """Whether the model leaves no error, so that nothing can be tested."""
        return self.error <= round_off(len(self.residuals), self.scale)

    @property
    def standard_errors(self) -> Floats:
        """Of the coefficients; NaN where there is no error."""
        return np.asarray(np.sqrt(self.variance * np.diag(self.unscaled)), np.float64)

    def contrast(self, weights: Floats) -> dict[str, Floats]:
        """Estimate weighted sums of the coefficients, c'b, and test them against 0.

        Parameters
        ----------
        weights : float64 (contrasts, columns)

        Returns
        -------
        dict of float64 (contrasts,)
            ``estimate``; ``se`` = sqrt(variance c' (X'X)^-1 c); ``df``, ``t``, ``p``, ``ci_lower``,
            ``ci_upper``; all NaN where there is no error.
        """
        estimate = np.where(self.is_exact, np.nan, weights @ self.coefficients)
        spread = np.einsum("ij,jk,ik->i", weights, self.unscaled, weights, optimize=True)
        se = np.sqrt(self.variance * spread)
        df = np.full(len(weights), float("nan") if self.is_exact else float(self.df))
        return {"estimate": estimate, "se": se, "df": df} | test_estimates(estimate, se, df)


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """Each participant judged by all others.

    Attributes
    ----------
    expected : float64 (participants,)
        What the model of all others expects; NaN where it says nothing about this participant.
    studentised : float64 (participants,)
        Externally studentised residual.
    df : int
        Its degrees of freedom, one less than those of the whole fit.
    """

    expected: Floats
    studentised: Floats
    df: int


def fit_least_squares(matrix: Floats, values: Floats) -> Fit:
    """Fit by statsmodels, with columns of length 1 and the outcome's mean taken off.

    Parameters
    ----------
    matrix : float64 (participants, columns)
        Of full rank, with more rows than columns; the first column is 1.
    values : float64 (participants,)

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    >>> fit_least_squares(x, np.array([1.0, 3.0, 5.0])).coefficients.round(6).tolist()
    [1.0, 2.0]
    """
    lengths = np.linalg.norm(matrix, axis=0)
    level = values.mean()
    fit = sm.OLS(values - level, matrix / lengths).fit(method="qr")
    inverse = fit.normalized_cov_params
    scaled = matrix / lengths
    coefficients = fit.params / lengths
    coefficients[0] += level
    return Fit(
        coefficients=coefficients,
        unscaled=inverse / np.outer(lengths, lengths),
        residuals=fit.resid,
        leverages=np.einsum("ij,jk,ik->i", scaled, inverse, scaled, optimize=True),
        total=float(np.sum((values - level) ** 2)),
        scale=float(np.abs(values).max()),
        df=int(fit.df_resid),
    )


def leave_one_out(fit: Fit, values: Floats) -> LeftOut:
    """Judge each participant by the model of all others.

    With residual e, leverage h and error sum of squares S of all, the others have
    S_i = S - e^2 / (1 - h), s_i^2 = S_i / (df - 1), and t = e / (s_i sqrt(1 - h)).

    Returns
    -------
    LeftOut
        NaN where the others leave the participant undetermined (h = 1), or have no error.

    References
    ----------
    Cook & Weisberg 1982, Residuals and influence in regression, chapter 2.
    """
    rest = 1 - fit.leverages
    rest = np.where(rest > 1e-10, rest, np.nan)
    others = fit.error - fit.residuals**2 / rest
    floor = round_off(len(values), fit.scale) + 1e-12 * fit.error
    usable = (others > floor) & (fit.df > 1)
    variance = np.where(usable, others, np.nan) / max(fit.df - 1, 1)
    return LeftOut(
        expected=values - fit.residuals / rest,
        studentised=fit.residuals / np.sqrt(variance * rest),
        df=fit.df - 1,
    )
