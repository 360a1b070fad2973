"""Models that the user writes as a formula: fits and tests."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_mfi.statistics.cohort import MEAN, Analysis, Cohort
from bids_mfi.statistics.design import Design, explain_design
from bids_mfi.statistics.formula_design import describe_columns, evaluate_columns, make_design
from bids_mfi.statistics.least_squares import NO_ERROR, Fit, fit_least_squares
from bids_mfi.statistics.marginal import Fitted, describe_factors, tabulate_means
from bids_mfi.statistics.notes import gather_reasons
from bids_mfi.statistics.student import f_upper_tail, test_estimates
from bids_mfi.statistics.wilkinson import ParsedFormula, parse_formula

__all__ = ["fit_formula", "list_coefficients", "make_design", "parse_formula", "test_terms"]

Floats = NDArray[np.float64]
NAN = float("nan")
TERM_COLUMNS = ("muscle", "term", "df1", "df2", "ss", "f", "p", "partial_eta_sq", "r2", "n")
COEFFICIENT_COLUMNS = (
    "muscle", "coefficient", "estimate", "se", "t", "df", "p", "ci_lower", "ci_upper",
)  # fmt: skip


def fit_formula(cohort: Cohort, parsed: ParsedFormula) -> tuple[Analysis, Analysis, Analysis]:
    """Fit the user's model to each muscle and to the mean of all muscles that are not rare.

    For each muscle, only participants who lack its value or a column of the formula are left out.

    Parameters
    ----------
    cohort : Cohort
        Cohort of the formula's measure.
    parsed : ParsedFormula

    Returns
    -------
    Analysis, Analysis, Analysis
        Tables of :func:`test_terms` and :func:`list_coefficients`, and the marginal means of
        :func:`bids_mfi.statistics.marginal.tabulate_means`.

    Raises
    ------
    InputError
        See :func:`make_design`.
    ValueError
        The cohort has another measure.
    """
    if cohort.measure != parsed.measure:
        raise ValueError(f"a model of {parsed.measure}, and a cohort of {cohort.measure}")
    design, notes = make_design(parsed, cohort.people)
    data, _ = evaluate_columns(parsed, cohort.people)
    results = _fit_all(cohort.values, design, cohort.common)
    reasons = [(result.muscle, f"n/a, because {result.why}") for result in results if result.why]
    missing = (*gather_reasons("Model", reasons), *cohort.explain_rare("Mean of the muscles"))
    taken = "; ".join(describe_columns(parsed, cohort.people))
    notes = (*notes, *missing, f"Model, columns: {taken}.")
    means = tabulate_means(results, parsed, data)
    return (
        Analysis(_tabulate_terms(results, design), notes),
        Analysis(_tabulate(results, design), notes),
        Analysis(means, (*describe_factors(parsed, data), *missing)),
    )


def test_terms(values: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Type III F-test of each term in each muscle and in the mean of all muscles.

    Each term is tested given all others: with q its columns and SS the sum of squares that they
    add to those of all other terms, F = (SS / q) / (SSE / df2).

    Parameters
    ----------
    values : DataFrame, float64
        Participants by muscles, NaN where missing.
    design : Design

    Returns
    -------
    DataFrame
        ``TERM_COLUMNS``; ``muscle`` is ``mean`` for the mean of those with all muscles. ``r2`` is
        that of the whole model. NaN where estimation is impossible.
    """
    return _tabulate_terms(_fit_all(values, design), design)


test_terms.__test__ = False  # type: ignore[attr-defined]


def list_coefficients(values: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Coefficients of each muscle and of the mean of all muscles, with 95 % intervals.

    The coefficient of a factor's level is its distance from the mean of all levels, so that of two
    levels it is half their difference; the last level, which is not listed, has minus the sum of
    the others. In an interaction without its main effects, ``x=a`` means within level a.

    Returns
    -------
    DataFrame
        ``COEFFICIENT_COLUMNS``, in the unit of the measure per unit of the covariate.
    """
    return _tabulate(_fit_all(values, design), design)


def _fit_all(
    values: pd.DataFrame, design: Design, common: Sequence[str] | None = None
) -> list[Fitted]:
    """Fit each muscle, and the mean of the named ones, by default of all."""
    values = values.reindex(design.participants)
    results = [_fit_one(str(name), column, design) for name, column in values.items()]
    averaged = values if common is None else values[list(common)]
    if averaged.shape[1] < 2:
        why = "a mean of muscles needs at least 2 of them"
        return [*results, Fitted(MEAN, design.participants[:0], None, why)]
    return [*results, _fit_one(MEAN, averaged.mean(axis=1, skipna=False), design)]


def _fit_one(muscle: str, column: pd.Series, design: Design) -> Fitted:
    there = column.notna().to_numpy()
    part = Design(design.matrix[there], design.terms, design.participants[there], design.names)
    why = explain_design(part)
    if why:
        return Fitted(muscle, part.participants, None, why)
    fit = fit_least_squares(part.matrix, column[there].to_numpy(np.float64))
    if fit.is_exact:
        return Fitted(muscle, part.participants, None, NO_ERROR)
    return Fitted(muscle, part.participants, fit)


def _tabulate_terms(results: list[Fitted], design: Design) -> pd.DataFrame:
    rows = [
        {"muscle": result.muscle, "term": name, "n": len(result.participants)}
        | _test_term(result.fit, columns)
        for result in results
        for name, columns in design.terms[1:]
    ]
    table = pd.DataFrame(rows, columns=list(TERM_COLUMNS))
    table["p"] = f_upper_tail(table["f"], table["df1"], table["df2"])
    return table


def _test_term(fit: Fit | None, columns: tuple[int, ...]) -> dict[str, float]:
    if fit is None:
        return dict.fromkeys(("df1", "df2", "ss", "f", "partial_eta_sq", "r2"), NAN)
    ss = fit.sum_squares(columns)
    return {
        "df1": float(len(columns)),
        "df2": float(fit.df),
        "ss": ss,
        "f": ss / len(columns) / fit.variance,
        "partial_eta_sq": ss / (ss + fit.error),
        "r2": 1 - fit.error / fit.total,
    }


def _tabulate(results: list[Fitted], design: Design) -> pd.DataFrame:
    return pd.DataFrame(
        [row for result in results for row in _list_rows(result, design)],
        columns=list(COEFFICIENT_COLUMNS),
    )


def _list_rows(result: Fitted, design: Design) -> Iterator[dict[str, object]]:
    names = design.names or tuple(name for name, _ in design.terms)
    blank = np.full(len(names), NAN)
    fit = result.fit
    found = {"estimate": blank, "se": blank, "df": blank}
    if fit is not None:
        df = np.full(len(names), float(fit.df))
        found = {"estimate": fit.coefficients, "se": fit.standard_errors, "df": df}
    found |= test_estimates(found["estimate"], found["se"], found["df"])
    for i, name in enumerate(names):
        numbers = {key: float(column[i]) for key, column in found.items()}
        yield {"muscle": result.muscle, "coefficient": name, **numbers}
