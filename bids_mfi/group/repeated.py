"""Repeated-measures analysis of covariance of the muscles; must not know cohorts, files or pages.

The multivariate linear model Y = X B + E, a column of Y a muscle, a row of X a participant. With
C an orthonormal basis of the contrasts between the muscles, H the hypothesis matrix of an effect in
these contrasts and T = C'E'EC that of the error:

- within participants, F = (tr H / (q p)) / (tr T / (p d)), with p = muscles - 1, q the columns of
  the effect and d the error degrees of freedom of the design;
- between participants, the same with the mean of the muscles in place of the contrasts.

Type III: each effect is tested beside all others. Conventions as in SPSS GLM; Greenhouse & Geisser
1959 (doi:10.1007/BF02289823), Huynh & Feldt 1976 (doi:10.3102/10769986001001069), Lecoutre 1991
(doi:10.3102/10769986016004371), Mauchly 1940 (doi:10.1214/aoms/1177731915).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, stats

from bids_mfi.group.design import INTERCEPT, Design
from bids_mfi.group.least_squares import NO_ERROR
from bids_mfi.group.rounding import ROUNDING, round_off

Floats = NDArray[np.float64]
NAN = float("nan")
WITHIN = "muscle"
UNCORRECTED = "none"
LEAST_SINGULAR = 1e-12  # of the largest singular value of the error

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
        With the second-order term of Box's series, as SAS and R have it.
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
        A row an effect and correction, with EFFECT_COLUMNS.
    multivariate : tuple of dict
        A row an effect within participants, with MULTIVARIATE_COLUMNS. F is that of Pillai's trace,
        exact for an effect of one column.
    sphericity : Sphericity
    ss_error_between, ss_error_within : float
    notes_effects, notes_sphericity, notes_multivariate : tuple of str
        A sentence for all that is NaN in each.
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
    >>> from bids_mfi.group.design import Design
    >>> import pandas as pd
    >>> ones = Design(np.ones((3, 1)), (("intercept", (0,)),), pd.Index(["a", "b", "c"]))
    >>> found = fit_repeated_measures(np.array([[1.0, 2], [2, 4], [3, 3.5]]), ones)
    >>> [(row["effect"], round(row["f"], 3)) for row in found.effects][:1]
    [('muscle', 7.0)]
    """
    n, k = values.shape
    inverse = np.asarray(np.linalg.inv(design.matrix.T @ design.matrix), np.float64)
    slopes = np.asarray(np.linalg.lstsq(design.matrix, values, rcond=None)[0], np.float64)
    residuals = values - design.matrix @ slopes
    contrasts, mean = linalg.helmert(k).T, np.full((k, 1), k**-0.5)
    error = _clear(contrasts.T @ residuals.T @ residuals @ contrasts, values)
    error_mean = _clear(mean.T @ residuals.T @ residuals @ mean, values)
    sphericity = _measure_sphericity(error, n, design.df_error)

    effects, multivariate = [], []
    for name, hypothesis, q in _hypotheses(design, slopes @ contrasts, inverse):
        effect = WITHIN if name == INTERCEPT else f"{WITHIN}:{name}"
        hypothesis = _clear(hypothesis, values)
        effects += _test_within(effect, hypothesis, error, (q, design.df_error), sphericity)
        multivariate.append(_test_multivariate(effect, hypothesis, error, (q, design.df_error)))
    for name, hypothesis, q in _hypotheses(design, slopes @ mean, inverse):
        hypothesis = _clear(hypothesis, values)
        effects.append(_test_between(name, hypothesis, error_mean, (q, design.df_error)))
    return RepeatedMeasures(
        tuple(effects),
        tuple(multivariate),
        sphericity,
        error_mean[0, 0],
        float(np.trace(error)),
        *_explain(error, error_mean, design.df_error, sphericity),
    )


def _clear(sums: Floats, values: Floats) -> Floats:
    """Make sums of squares and products exactly 0 where they are but rounding."""
    floor = round_off(values.size, float(np.abs(values).max()))
    return sums if np.trace(sums) > floor else np.zeros_like(sums)


def _explain(
    error: Floats, error_mean: Floats, df_error: int, sphericity: Sphericity
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Say why effects, sphericity and multivariate tests are NaN, where they are."""
    effects = []
    if not np.trace(error) > 0:
        effects.append(f"Effects within participants: n/a, because {NO_ERROR}.")
    if not error_mean[0, 0] > 0:
        effects.append(f"Effects between participants: n/a, because {NO_ERROR}.")
    huynh: tuple[str, ...] = ()
    if np.isnan(sphericity.huynh_feldt) and np.trace(error) > 0:
        why = "its denominator is not above 0, with so few participants"
        huynh = (f"Huynh-Feldt: n/a, because {why}.",)
    problem = _explain_error(error, df_error)
    mauchly = problem
    if len(error) < 2 and not problem:
        mauchly = "two muscles have one difference, and there is nothing to be spherical"
    spheric = (f"Mauchly's test: n/a, because {mauchly}.",) if mauchly else ()
    if not np.trace(error) > 0:
        spheric = (f"Sphericity: n/a, because {NO_ERROR}.",)
    multivariate = (f"Multivariate tests: n/a, because {problem}.",) if problem else ()
    return (*effects, *huynh), (*spheric, *huynh), multivariate


def _explain_error(error: Floats, df_error: int) -> str | None:
    """Say why the inverse of an error matrix, of contrasts between muscles, is not there."""
    if not np.trace(error) > 0:
        return NO_ERROR
    if df_error < len(error):
        degrees = f"{df_error} degree{'' if df_error == 1 else 's'} of freedom"
        return f"the error has {degrees}, and {len(error) + 1} muscles need {len(error)}"
    return None if _is_regular(error) else "a muscle follows from the others in these participants"


def _hypotheses(
    design: Design, slopes: Floats, inverse: Floats
) -> Iterator[tuple[str, Floats, int]]:
    """For each term its name, the matrix of its sums of squares and products, and its columns."""
    for name, columns in design.terms:
        chosen = list(columns)
        weights = np.linalg.inv(inverse[np.ix_(chosen, chosen)])
        yield name, slopes[chosen].T @ weights @ slopes[chosen], len(chosen)


def _test_within(
    effect: str, hypothesis: Floats, error: Floats, freedom: tuple[int, int], spheric: Sphericity
) -> list[dict[str, Any]]:
    (q, df_error), p = freedom, len(error)
    found = _test(float(np.trace(hypothesis)), float(np.trace(error)), (q * p, df_error * p))
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


def _test_between(
    effect: str, hypothesis: Floats, error: Floats, freedom: tuple[int, int]
) -> dict[str, Any]:
    return {
        "stratum": "between",
        "effect": effect,
        "correction": UNCORRECTED,
        "epsilon": NAN,
        **_test(float(hypothesis[0, 0]), float(error[0, 0]), freedom),
    }


def _test(ss: float, ss_error: float, freedom: tuple[int, int]) -> dict[str, float]:
    df1, df2 = float(freedom[0]), float(freedom[1])
    f = (ss / df1) / (ss_error / df2) if ss_error > 0 else NAN
    eta = ss / (ss + ss_error) if ss_error > 0 else NAN
    p = _upper_tail(f, df1, df2)
    return {"df1": df1, "df2": df2, "ss": ss, "f": f, "p": p, "partial_eta_sq": eta}


def _upper_tail(f: float, df1: float, df2: float) -> float:
    return float(stats.f.sf(f, df1, df2))


def _test_multivariate(
    effect: str, hypothesis: Floats, error: Floats, freedom: tuple[int, int]
) -> dict[str, Any]:
    """Test by the roots of T^-1 H; F of Pillai's trace (doi:10.1214/aoms/1177728599)."""
    (q, df_error), p = freedom, len(error)
    if _explain_error(error, df_error):
        return dict.fromkeys(MULTIVARIATE_COLUMNS, NAN) | {"effect": effect}
    roots = np.maximum(linalg.eigh(hypothesis, error, eigvals_only=True)[::-1][: min(p, q)], 0)
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


def _is_regular(error: Floats) -> bool:
    singular = np.linalg.svd(error, compute_uv=False)
    return bool(singular[-1] > LEAST_SINGULAR * singular[0])


def _measure_sphericity(error: Floats, n: int, df_error: int) -> Sphericity:
    p, trace = len(error), float(np.trace(error))
    if not trace > 0:
        return Sphericity(*([NAN] * 9))
    gg = trace**2 / (p * float(np.sum(error**2)))
    rest, floor = p * (df_error - p * gg), ROUNDING * p * df_error
    original, lecoutre = (
        min(1.0, (size * p * gg - 2) / rest) if rest > floor else NAN for size in (n, df_error + 1)
    )
    mauchly = _test_mauchly(error, df_error)
    return Sphericity(**mauchly, **dict(zip(
        ("greenhouse_geisser", "huynh_feldt", "huynh_feldt_lecoutre", "lower_bound"),
        (min(1.0, gg), original, lecoutre, 1 / p), strict=True,
    )))  # fmt: skip


def _test_mauchly(error: Floats, df_error: int) -> Mapping[str, float]:
    """Test by chi-square, and with the second term of Box 1949 (doi:10.1093/biomet/36.3-4.317)."""
    p = len(error)
    names = ("w", "chi2", "df", "p_chi2", "p_chi2_second_order")
    if p < 2 or _explain_error(error, df_error):
        return dict.fromkeys(names, NAN)
    w = float(np.exp(np.linalg.slogdet(error)[1] - p * np.log(np.trace(error) / p)))
    rho = 1 - (2 * p**2 + p + 2) / (6 * p * df_error)
    chi2, df = -rho * df_error * np.log(w), p * (p + 1) / 2 - 1
    second: float = (p + 2) * (p - 1) * (p - 2) * (2 * p**3 + 6 * p**2 + 3 * p + 2)
    second /= 288 * (p * df_error * rho) ** 2
    first, later = (float(stats.chi2.sf(chi2, df + more)) for more in (0, 4))
    values = (w, float(chi2), df, first, first + second * (later - first))
    return dict(zip(names, values, strict=True))
