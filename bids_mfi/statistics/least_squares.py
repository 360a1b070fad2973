"""Ordinary least squares of one outcome.

The matrix must be of full rank; :func:`bids_mfi.statistics.design.explain_design` says whether it
is. All computations use orthonormal columns. The inverse of X'X is never formed, because it would
square the collinearity of the columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from bids_mfi.statistics.rounding import measure_lengths, round_off
from bids_mfi.statistics.student import test_estimates

Floats = NDArray[np.float64]
NO_ERROR = "the values do not vary about the model"


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Orthonormal columns that span a design.

    The columns of the design other than the first are centred and divided by their lengths before X
    = Q R, which is exact even if a column varies little about a large mean.

    Attributes
    ----------
    q : float64 (participants, columns)
        Orthonormal.
    r : float64 (columns, columns)
        Upper triangular.
    means, lengths : float64 (columns,)
        Means and lengths of the columns of the design; the mean of the first counts as 0.
    """

    q: Floats
    r: Floats
    means: Floats
    lengths: Floats

    def express(self, weights: Floats) -> Floats:
        """Write weighted sums of the coefficients as sums of the coordinates Q'y.

        Parameters
        ----------
        weights : float64 (k, columns)
            Of the coefficients of the design. A row x of a design is such a sum.

        Returns
        -------
        float64 (columns, k)
            Each column A has the estimate A' Q'y and the variance A'A, times that of the error.
        """
        moved = weights - weights[:, :1] * self.means
        return np.asarray(
            linalg.solve_triangular(self.r, (moved / self.lengths).T, trans="T"), np.float64
        )

    def isolate(self, columns: Sequence[int]) -> Floats:
        """Find the space that these columns of the design span beyond all others.

        Returns
        -------
        float64 (columns, k)
            Orthonormal, in the coordinates Q'y. Their sum of squares, Type III, is that of the
            coordinates along these.
        """
        chosen = list(columns)
        if 0 in chosen:
            return np.asarray(linalg.qr(self.express(np.eye(len(self.r))[chosen]),
                                        mode="economic")[0], np.float64)  # fmt: skip
        rest = [column for column in range(len(self.r)) if column not in chosen]
        turned = linalg.qr(self.r[:, rest + chosen])[0]
        return np.asarray(turned[:, len(rest) :], np.float64)


def make_basis(matrix: Floats) -> Basis:
    """Make the orthonormal columns of a design.

    Parameters
    ----------
    matrix : float64 (participants, columns)
        Of full rank, with no fewer rows than columns; the first column is 1.
    """
    means = matrix.mean(axis=0)
    means[0] = 0.0
    centred = matrix - means
    lengths = measure_lengths(centred)
    q, r = linalg.qr(centred / lengths, mode="economic")
    return Basis(q, r, means, lengths)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Result of least squares.

    Attributes
    ----------
    basis : Basis
        Of the design.
    coordinates : float64 (columns,)
        Q'y, the outcome in this basis.
    residuals : float64 (participants,)
    total : float
        Sum of squares about the mean.
    scale : float
        Largest absolute value of the outcome.
    df : int
        Error degrees of freedom.
    """

    basis: Basis
    coordinates: Floats
    residuals: Floats
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
        """Whether the model leaves no error, so that no test is possible."""
        return self.error <= round_off(len(self.residuals), self.scale)

    @property
    def leverages(self) -> Floats:
        """Of the participants fitted, float64 (participants,)."""
        return np.asarray((self.basis.q**2).sum(axis=1), np.float64)

    @property
    def coefficients(self) -> Floats:
        """Of the columns of the design, float64 (columns,)."""
        return self.expect(np.eye(len(self.coordinates)))

    @property
    def standard_errors(self) -> Floats:
        """Of the coefficients; NaN where there is no error."""
        return np.asarray(
            np.sqrt(self.variance * self.measure_leverages(np.eye(len(self.coordinates)))),
            np.float64,
        )

    def expect(self, rows: Floats) -> Floats:
        """Predictions of the model at these rows of a design, float64 (rows,)."""
        return np.asarray(self.coordinates @ self.basis.express(rows), np.float64)

    def measure_leverages(self, rows: Floats) -> Floats:
        """Variance of the predictions at these rows, in units of the error variance."""
        return np.asarray((self.basis.express(rows) ** 2).sum(axis=0), np.float64)

    def sum_squares(self, columns: Sequence[int]) -> float:
        """Sum of squares of these columns of the design given all others, Type III."""
        along = self.coordinates @ self.basis.isolate(columns)
        return float(along @ along)

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
        estimate = np.where(self.is_exact, np.nan, self.expect(weights))
        se = np.sqrt(self.variance * self.measure_leverages(weights))
        df = np.full(len(weights), float("nan") if self.is_exact else float(self.df))
        return {"estimate": estimate, "se": se, "df": df} | test_estimates(estimate, se, df)


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """Each participant compared with the model of all others.

    Attributes
    ----------
    expected : float64 (participants,)
        Prediction of the model of all others; NaN where it does not determine this participant.
    studentised : float64 (participants,)
        Externally studentised residual.
    df : int
        Its degrees of freedom, one less than those of the whole fit.
    """

    expected: Floats
    studentised: Floats
    df: int


def fit_least_squares(matrix: Floats, values: Floats) -> Fit:
    """Fit with orthonormal columns after subtracting the outcome's mean.

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
    basis, level = make_basis(matrix), values.mean()
    centred = values - level
    coordinates = basis.q.T @ centred
    residuals = centred - basis.q @ coordinates
    coordinates[0] += level * basis.q[:, 0].sum()  # the mean lies along the first column alone
    return Fit(
        basis=basis,
        coordinates=coordinates,
        residuals=residuals,
        total=float(centred @ centred),
        scale=float(np.abs(values).max()),
        df=len(values) - matrix.shape[1],
    )


def leave_one_out(fit: Fit, values: Floats) -> LeftOut:
    """Compare each participant with the model of all others.

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
