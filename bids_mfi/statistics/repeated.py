"""Repeated-measures analysis of covariance of the muscles.

The multivariate linear model Y = X B + E, one column of Y per muscle, one row of X per participant.
With C an orthonormal basis of the contrasts between the muscles, H the hypothesis matrix of an
effect in these contrasts and T = C'E'EC that of the error:

- within participants, F = (tr H / (q p)) / (tr T / (p d)), with p = muscles - 1, q the columns of
  the effect and d the error degrees of freedom of the design;
- between participants, the same with the mean of the muscles in place of the contrasts.

Type III: each effect is tested given all others. Conventions as in SPSS GLM; Greenhouse & Geisser
1959 (doi:10.1007/BF02289823), Huynh & Feldt 1976 (doi:10.3102/10769986001001069), Lecoutre 1991
(doi:10.3102/10769986016004371), Mauchly 1940 (doi:10.1214/aoms/1177731915).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats

from bids_mfi.counts import count_noun
from bids_mfi.statistics.design import INTERCEPT, Design
from bids_mfi.statistics.least_squares import NO_ERROR, make_basis
from bids_mfi.statistics.rounding import LEAST_SINGULAR, ROUNDING, round_off

Floats = NDArray[np.float64]
NAN = float("nan")
WITHIN = "muscle"
UNCORRECTED = "none"

EFFECT_COLUMNS = (
    "stratum", "effect", "correction", "epsilon", "df1", "df2", "ss", "f", "p", "partial_eta_sq",
)  # fmt: skip
MULTIVARIATE_COLUMNS = ("effect", "pillai", "wilks", "hotelling", "roy", "f", "df1", "df2", "p")


@dataclass(frozen=True, slots=True)
class Sphericity:
    """Mauchly's test and the factors by which degrees of freedom are corrected.

    Attributes
    ----------
    w, chi2, df, p_chi2 : float
        Mauchly's W and its chi-square approximation. NaN where there are fewer error degrees of
        freedom than contrasts.
    p_chi2_second_order : float
        With the second-order term of Box's series, as in SAS and R.
    greenhouse_geisser, huynh_feldt, huynh_feldt_lecoutre, lower_bound : float
        Epsilon; Huynh-Feldt in its original form and as corrected by Lecoutre, at most 1.
    """

    w: float
    chi2: float
    df: float
    p_chi2: float
    p_chi2_second_order: float
    greenhouse_geisser: float
    huynh_feldt: float
    huynh_feldt_lecoutre: float
    lower_bound: float

    @property
    def corrections(self) -> dict[str, float]:
        """Epsilon of each correction, none first."""
        names = ("greenhouse_geisser", "huynh_feldt", "huynh_feldt_lecoutre", "lower_bound")
        return {UNCORRECTED: 1.0} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class RepeatedMeasures:
    """Result of the model.

    Attributes
    ----------
    effects : tuple of dict
        One row per effect and correction, with EFFECT_COLUMNS.
    multivariate : tuple of dict
        One row per effect within participants, with MULTIVARIATE_COLUMNS. F is that of Pillai's
        trace, exact for an effect of one column.
    sphericity : Sphericity
    ss_error_between, ss_error_within : float
    notes_effects, notes_sphericity, notes_multivariate : tuple of str
        A sentence for everything that is NaN in each.
    """

    effects: tuple[dict[str, Any], ...]
    multivariate: tuple[dict[str, Any], ...]
    sphericity: Sphericity
    ss_error_between: float
    ss_error_within: float
    notes_effects: tuple[str, ...]
    notes_sphericity: tuple[str, ...]
    notes_multivariate: tuple[str, ...]


def fit_repeated_measures(values: Floats, design: Design) -> RepeatedMeasures:
    """Fit the model and test all effects.

    Parameters
    ----------
    values : float64 (participants, muscles)
        Complete, at least two muscles; rows as in ``design``.
    design : Design
        Of full rank, with at least one error degree of freedom.

    Returns
    -------
    RepeatedMeasures
        NaN where an error is 0, or where there are too few participants for a test.

    Examples
    --------
    >>> from bids_mfi.statistics.design import Design
    >>> import pandas as pd
    >>> ones = Design(np.ones((3, 1)), (("intercept", (0,)),), pd.Index(["a", "b", "c"]))
    >>> found = fit_repeated_measures(np.array([[1.0, 2], [2, 4], [3, 3.5]]), ones)
    >>> [(row["effect"], round(row["f"], 3)) for row in found.effects][:1]
    [('muscle', 7.0)]
    """
    n, k = values.shape
    basis = make_basis(design.matrix)
    coordinates = basis.q.T @ values
    residuals = values - basis.q @ coordinates
    contrasts, mean = linalg.helmert(k).T, np.full((k, 1), k**-0.5)
    floor = round_off(values.size, float(np.abs(values).max()))
    error = _Error(_clear(residuals @ contrasts, floor), design.df_error)
    error_mean = _Error(_clear(residuals @ mean, floor), design.df_error)
    sphericity = _measure_sphericity(error, n)

    effects, multivariate = [], []
    for name, columns in design.terms:
        effect = WITHIN if name == INTERCEPT else f"{WITHIN}:{name}"
        along = _clear(basis.isolate(columns).T @ coordinates @ contrasts, floor)
        effects += _test_within(effect, along, error, sphericity)
        multivariate.append(_test_multivariate(effect, along, error))
    for name, columns in design.terms:
        along = _clear(basis.isolate(columns).T @ coordinates @ mean, floor)
        effects.append(_test_between(name, along, error_mean))
    return RepeatedMeasures(
        tuple(effects),
        tuple(multivariate),
        sphericity,
        error_mean.total,
        error.total,
        *_explain(error, error_mean, sphericity),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Error:
    """Residuals of a model in some contrasts of the muscles.

    Attributes
    ----------
    residuals : float64 (participants, contrasts)
        All 0 where they are only rounding.
    df : int
        Error degrees of freedom of the design.
    """

    residuals: Floats
    df: int

    @property
    def contrasts(self) -> int:
        return int(self.residuals.shape[1])

    @property
    def total(self) -> float:
        """Sum of squares of all contrasts."""
        return float(np.sum(self.residuals**2))

    @property
    def factor(self) -> Floats:
        """Upper triangular F with F'F the sums of squares and products."""
        return np.asarray(linalg.qr(self.residuals, mode="r")[0][: self.contrasts], np.float64)

    @property
    def singular(self) -> Floats:
        """Square roots of the eigenvalues of the sums of squares and products, descending."""
        return np.asarray(np.linalg.svd(self.residuals, compute_uv=False), np.float64)


def _clear(sums: Floats, floor: float) -> Floats:
    """Make deviations exactly 0 where their squares add up to only rounding."""
    return sums if np.sum(sums**2) > floor else np.zeros_like(sums)


def _explain(
    error: _Error, error_mean: _Error, sphericity: Sphericity
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Say why effects, sphericity and multivariate tests are NaN, where they are."""
    effects = []
    if not error.total > 0:
        effects.append(f"Effects within participants: n/a, because {NO_ERROR}.")
    if not error_mean.total > 0:
        effects.append(f"Effects between participants: n/a, because {NO_ERROR}.")
    huynh: tuple[str, ...] = ()
    if np.isnan(sphericity.huynh_feldt) and error.total > 0:
        why = "its denominator is not above 0, with so few participants"
        huynh = (f"Huynh-Feldt: n/a, because {why}.",)
    problem = _explain_error(error)
    mauchly = problem
    if error.contrasts < 2 and not problem:
        mauchly = "two muscles have only one difference, so sphericity does not apply"
    spheric = (f"Mauchly's test: n/a, because {mauchly}.",) if mauchly else ()
    if not error.total > 0:
        spheric = (f"Sphericity: n/a, because {NO_ERROR}.",)
    multivariate = (f"Multivariate tests: n/a, because {problem}.",) if problem else ()
    return (*effects, *huynh), (*spheric, *huynh), multivariate


def _explain_error(error: _Error) -> str | None:
    """Say why the contrasts between muscles cannot be tested together; None if they can."""
    if not error.total > 0:
        return NO_ERROR
    if error.df < error.contrasts:
        degrees = f"{count_noun(error.df, 'degree')} of freedom"
        return f"the error has {degrees}, and {error.contrasts + 1} muscles need {error.contrasts}"
    singular = error.singular
    if singular[-1] > LEAST_SINGULAR * singular[0]:
        return None
    return "a muscle follows from the others in these participants"


def _test_within(
    effect: str, along: Floats, error: _Error, spheric: Sphericity
) -> list[dict[str, Any]]:
    found = _test(along, error)
    rows = []
    for correction, epsilon in spheric.corrections.items():
        df1, df2 = epsilon * found["df1"], epsilon * found["df2"]
        tested = {
            "epsilon": epsilon,
            "df1": df1,
            "df2": df2,
            "p": _upper_tail(found["f"], df1, df2),
        }
        named = {"stratum": "within", "effect": effect, "correction": correction}
        rows.append({**named, **found, **tested})
    return rows


def _test_between(effect: str, along: Floats, error: _Error) -> dict[str, Any]:
    return {
        "stratum": "between",
        "effect": effect,
        "correction": UNCORRECTED,
        "epsilon": NAN,
        **_test(along, error),
    }


def _test(along: Floats, error: _Error) -> dict[str, float]:
    """Test what the columns of an effect, the rows of ``along``, contribute in all contrasts."""
    ss, ss_error = float(np.sum(along**2)), error.total
    df1, df2 = float(along.size), float(error.df * error.contrasts)
    f = (ss / df1) / (ss_error / df2) if ss_error > 0 else NAN
    eta = ss / (ss + ss_error) if ss_error > 0 else NAN
    p = _upper_tail(f, df1, df2)
    return {"df1": df1, "df2": df2, "ss": ss, "f": f, "p": p, "partial_eta_sq": eta}


def _upper_tail(f: float, df1: float, df2: float) -> float:
    return float(stats.f.sf(f, df1, df2))


def _test_multivariate(effect: str, along: Floats, error: _Error) -> dict[str, Any]:
    """Test by the roots of T^-1 H; F of Pillai's trace (doi:10.1214/aoms/1177728599)."""
    q, df_error, p = len(along), error.df, error.contrasts
    if _explain_error(error):
        return dict.fromkeys(MULTIVARIATE_COLUMNS, NAN) | {"effect": effect}
    scaled = linalg.solve_triangular(error.factor, along.T, trans="T")
    roots = np.linalg.svd(scaled, compute_uv=False) ** 2
    pillai, s = float(np.sum(roots / (1 + roots))), min(p, q)
    df1, df2 = float(s * max(p, q)), float(s * (df_error - p + s))
    f = (df2 / df1) * pillai / (s - pillai)
    return {
        "effect": effect,
        "pillai": pillai,
        "wilks": float(np.prod(1 / (1 + roots))),
        "hotelling": float(roots.sum()),
        "roy": float(roots[0]),
        "f": f,
        "df1": df1,
        "df2": df2,
        "p": _upper_tail(f, df1, df2),
    }


def _measure_sphericity(error: _Error, n: int) -> Sphericity:
    p, trace = error.contrasts, error.total
    if not trace > 0:
        return Sphericity(*([NAN] * 9))
    gg = trace**2 / (p * float(np.sum(error.singular**4)))
    rest, floor = p * (error.df - p * gg), ROUNDING * p * error.df
    original, lecoutre = (
        min(1.0, (size * p * gg - 2) / rest) if rest > floor else NAN for size in (n, error.df + 1)
    )
    mauchly = _test_mauchly(error)
    return Sphericity(**mauchly, **dict(zip(
        ("greenhouse_geisser", "huynh_feldt", "huynh_feldt_lecoutre", "lower_bound"),
        (min(1.0, gg), original, lecoutre, 1 / p), strict=True,
    )))  # fmt: skip


def _test_mauchly(error: _Error) -> Mapping[str, float]:
    """Test by chi-square, and with the second term of Box 1949 (doi:10.1093/biomet/36.3-4.317)."""
    p, df_error = error.contrasts, error.df
    names = ("w", "chi2", "df", "p_chi2", "p_chi2_second_order")
    if p < 2 or _explain_error(error):
        return dict.fromkeys(names, NAN)
    w = float(np.exp(2 * np.log(error.singular).sum() - p * np.log(error.total / p)))
    rho = 1 - (2 * p**2 + p + 2) / (6 * p * df_error)
    chi2, df = -rho * df_error * np.log(w), p * (p + 1) / 2 - 1
    second: float = (p + 2) * (p - 1) * (p - 2) * (2 * p**3 + 6 * p**2 + 3 * p + 2)
    second /= 288 * (p * df_error * rho) ** 2
    first, later = (float(stats.chi2.sf(chi2, df + more)) for more in (0, 4))
    values = (w, float(chi2), df, first, first + second * (later - first))
    return dict(zip(names, values, strict=True))
