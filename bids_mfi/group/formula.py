"""Models that the user writes as a formula: design and tests; must not know files or pages.

Columns that hold text are factors, coded so that their levels sum to 0 and all weigh alike (Type
III, as SPSS has it); columns that hold numbers are covariates.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from formulaic import model_matrix  # type: ignore[import-untyped]
from numpy.typing import NDArray

from bids_mfi.errors import InputError
from bids_mfi.group.cohort import MEAN, Analysis, Cohort
from bids_mfi.group.design import INTERCEPT, Design, explain_design
from bids_mfi.group.least_squares import Fit, fit_least_squares
from bids_mfi.group.notes import gather_reasons
from bids_mfi.group.student import f_upper_tail, test_estimates
from bids_mfi.group.wilkinson import ParsedFormula, Variable, parse_formula, refuse_formula

__all__ = ["fit_formula", "list_coefficients", "make_design", "parse_formula", "test_terms"]

Floats = NDArray[np.float64]
NAN = float("nan")
MOST_LEVELS = 50  # of a factor
MOST_COLUMNS = 200  # of the design matrix
TERM_COLUMNS = ("muscle", "term", "df1", "df2", "ss", "f", "p", "partial_eta_sq", "r2", "n")
COEFFICIENT_COLUMNS = (
    "muscle", "coefficient", "estimate", "se", "t", "df", "p", "ci_lower", "ci_upper",
)  # fmt: skip


# --- the design --------------------------------------------------------------------------------


def make_design(parsed: ParsedFormula, people: pd.DataFrame) -> tuple[Design, tuple[str, ...]]:
    """Make the design matrix of those in whom all columns of the formula are known.

    Parameters
    ----------
    parsed : ParsedFormula
    people : DataFrame
        Index participant_id. Numbers are covariates; text, truth values and what stands in
        ``C()`` are factors, with levels in ascending order. The last level has the
        code -1 in all columns of the factor. ``center`` takes off the mean of all participants in
        the design, also where a muscle lacks some of them.

    Returns
    -------
    Design
        A factor of one level has a column of ones, which :func:`explain_design` refuses.
    tuple of str
        Participants left out; covariates on whose zero a test rests.

    Raises
    ------
    InputError
        A column does not exist; a function does not fit what the column holds; a factor has more
        than 50 levels, or the matrix would have more than 200 columns.

    Examples
    --------
    >>> people = pd.DataFrame({"group": ["b", "a", "b", "a"], "age": [30.0, 40.0, 50.0, 60.0]})
    >>> make_design(parse_formula("mfi ~ group + age"), people)[0].matrix.tolist()
    [[1.0, -1.0, 30.0], [1.0, 1.0, 40.0], [1.0, -1.0, 50.0], [1.0, 1.0, 60.0]]
    """
    _check_columns(parsed, people)
    columns = people[list(parsed.columns)].replace([np.inf, -np.inf], np.nan)
    known = columns[columns.notna().all(axis=1)]
    used = sorted({place for term in parsed.terms for place in term})
    data = {place: _evaluate(parsed, known, parsed.variables[place]) for place in used}
    notes = _describe_design(parsed, len(people) - len(known), data)
    return _assemble(parsed, data, known.index), notes


def _check_columns(parsed: ParsedFormula, people: pd.DataFrame) -> None:
    unknown = [name for name in parsed.columns if name not in people.columns]
    if unknown:
        raise InputError(
            f"The formula '{parsed.text}' cannot be used: there is no column '{unknown[0]}'. The "
            f"columns are {', '.join(map(str, people.columns))}. Correct the name, or add the "
            "column to participants.tsv."
        )


def _evaluate(parsed: ParsedFormula, people: pd.DataFrame, variable: Variable) -> pd.Series:
    """Column as numbers, or as a categorical."""
    column = people[variable.column]
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if is_number and "C" not in variable.functions:
        return _apply(parsed, column.astype(np.float64), variable)
    outer = [name for name in variable.functions if name != "C"]
    if outer:
        raise refuse_formula(
            parsed.text, f"{outer[0]}() needs numbers, and {variable.column} holds text"
        )
    levels = _order_levels(column)
    if len(levels) > MOST_LEVELS:
        found = f"{variable.column} has {len(levels)} different values that are no covariate"
        raise refuse_formula(parsed.text, f"{found}, and a factor may have {MOST_LEVELS}")
    return pd.Series(pd.Categorical(column, categories=levels), index=column.index)


def _apply(parsed: ParsedFormula, numbers: pd.Series, variable: Variable) -> pd.Series:
    for function in reversed(variable.functions):
        if function == "log":
            low = int((numbers <= 0).sum())
            if low:
                found = f"{variable.column} is 0 or less in {low} participants"
                raise refuse_formula(parsed.text, f"{found}, where log() has no value")
            numbers = pd.Series(np.log(numbers), index=numbers.index)
        elif len(numbers):
            numbers = numbers - numbers.mean()
            sd = float(numbers.std()) if len(numbers) > 1 else 0.0
            numbers = numbers / sd if function == "scale" and sd > 0 else numbers
    return numbers


def _order_levels(column: pd.Series) -> list[object]:
    """Levels in ascending order, so that F stands before M as everywhere."""
    levels = list(column.dropna().unique())
    numbers = all(isinstance(level, int | float | np.number) for level in levels)
    return sorted(levels, key=None if numbers else str)


def _describe_design(
    parsed: ParsedFormula, left_out: int, data: dict[int, pd.Series]
) -> tuple[str, ...]:
    notes = []
    if left_out:
        columns = ", ".join(parsed.columns)
        notes.append(f"Model: {left_out} participants left out, because of {columns} something is "
                     "missing.")  # fmt: skip
    for term in parsed.terms:
        for place in term:
            rest = tuple(other for other in term if other != place)
            variable = parsed.variables[place]
            is_number = not isinstance(data[place].dtype, pd.CategoricalDtype)
            if rest in parsed.terms and is_number and not variable.is_centred:
                notes.append(
                    f"Model: with {parsed.name_term(term)} the test of {parsed.name_term(rest)} "
                    f"holds where {variable.name} is 0; center({variable.column}) takes its mean."
                )
    return tuple(notes)


def _assemble(parsed: ParsedFormula, data: dict[int, pd.Series], index: pd.Index) -> Design:
    """Columns of all terms, those of a term side by side."""
    single = {place for place, column in data.items() if _count_levels(column) < 2}
    usable = [term for term in parsed.terms if not single & set(term)]
    _check_size(parsed, usable, data)
    blocks = {term: (np.ones((len(index), 1)), [parsed.name_term(term)]) for term in parsed.terms}
    blocks |= _code(parsed, usable, data, index)
    terms: list[tuple[str, tuple[int, ...]]] = [(INTERCEPT, (0,))]
    names = [INTERCEPT]
    for term in parsed.terms:
        columns = tuple(range(len(names), len(names) + len(blocks[term][1])))
        terms.append((parsed.name_term(term), columns))
        names += blocks[term][1]
    matrix = np.column_stack([np.ones(len(index)), *(blocks[term][0] for term in parsed.terms)])
    return Design(matrix, tuple(terms), index, tuple(names))


def _count_levels(column: pd.Series) -> float:
    """Levels of a factor; a covariate has any number."""
    is_factor = isinstance(column.dtype, pd.CategoricalDtype)
    return len(column.cat.categories) if is_factor else np.inf


def _check_size(
    parsed: ParsedFormula, terms: list[tuple[int, ...]], data: dict[int, pd.Series]
) -> None:
    sizes = {place: _count_levels(column) for place, column in data.items()}
    sizes = {place: 1 if np.isinf(size) else size for place, size in sizes.items()}
    columns = sum(int(np.prod([sizes[place] for place in term])) for term in terms)
    if columns > MOST_COLUMNS:
        found = f"the levels of its factors make about {columns} columns"
        raise refuse_formula(parsed.text, f"{found}, and a model may have {MOST_COLUMNS}")


def _code(
    parsed: ParsedFormula,
    terms: list[tuple[int, ...]],
    data: dict[int, pd.Series],
    index: pd.Index,
) -> dict[tuple[int, ...], tuple[Floats, list[str]]]:
    """Columns and their names of each term, by formulaic, which sees only v0, v1, ..."""
    if not terms or not len(index):
        return {}
    frame, words = {}, {}
    for place, column in data.items():
        is_factor = isinstance(column.dtype, pd.CategoricalDtype)
        codes = column.cat.codes if is_factor else column
        frame[f"v{place}"] = pd.Categorical(codes) if is_factor else codes.to_numpy()
        words[place] = f"C(v{place}, contr.sum)" if is_factor else f"v{place}"
    text = " + ".join(["1", *(":".join(words[place] for place in term) for term in terms)])
    made = model_matrix(text, pd.DataFrame(frame), context={}, na_action="raise")
    matrix, names = made.to_numpy(np.float64), list(made.columns)
    found = {}
    for term, columns in zip(terms, list(made.model_spec.term_indices.values())[1:], strict=True):
        labels = [_label(names[column], parsed, data) for column in columns]
        found[term] = (matrix[:, columns], labels)
    return found


def _label(name: str, parsed: ParsedFormula, data: dict[int, pd.Series]) -> str:
    """Name of a column in the user's words, for example ``group[a]:age``."""
    labels = []
    for part in name.split(":"):
        place = int(re.search(r"v(\d+)", part)[1])  # type: ignore[index]
        level = re.search(r"\[(?:S\.)?(\d+)\]$", part)
        label = parsed.variables[place].name
        if level:
            label += f"[{data[place].cat.categories[int(level[1])]}]"
        labels.append(label)
    return ":".join(labels)


# --- the tests ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Result:
    """Fit of one muscle; None, and why, where there is none."""

    muscle: str
    n: int
    fit: Fit | None
    why: str | None = None


def fit_formula(cohort: Cohort, parsed: ParsedFormula) -> tuple[Analysis, Analysis]:
    """Fit the user's model to each muscle and to the mean of all muscles.

    Each muscle leaves out only participants who lack its value or a column of the formula.

    Parameters
    ----------
    cohort : Cohort
        Of the measure of the formula.
    parsed : ParsedFormula

    Returns
    -------
    Analysis, Analysis
        Tables of :func:`test_terms` and :func:`list_coefficients`.

    Raises
    ------
    InputError
        See :func:`make_design`.
    ValueError
        The cohort is one of another measure.
    """
    if cohort.measure != parsed.measure:
        raise ValueError(f"a model of {parsed.measure}, and a cohort of {cohort.measure}")
    design, notes = make_design(parsed, cohort.people)
    results = _fit_all(cohort.values, design)
    reasons = [(result.muscle, f"n/a, because {result.why}") for result in results if result.why]
    notes = (*notes, *gather_reasons("Model", reasons))
    terms, coefficients = _tabulate_terms(results, design), _tabulate(results, design)
    return Analysis(terms, notes), Analysis(coefficients, notes)


def test_terms(values: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Type III F-test of each term in each muscle and in the mean of all muscles.

    Each term is tested beside all others. With b the coefficients of a term, V their block of the
    inverse of X'X and q its columns, SS = b' V^-1 b and F = (SS / q) / (SSE / df2).

    Parameters
    ----------
    values : DataFrame, float64
        Participants by muscles, NaN where missing.
    design : Design

    Returns
    -------
    DataFrame
        ``TERM_COLUMNS``; ``muscle`` is ``mean`` for the mean of those with all muscles. ``r2`` is
        that of the whole model. NaN where nothing can be estimated.
    """
    return _tabulate_terms(_fit_all(values, design), design)


test_terms.__test__ = False  # type: ignore[attr-defined]


def list_coefficients(values: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Coefficients of each muscle and of the mean of all muscles, with 95 % intervals.

    The coefficient of a factor's level is its distance from the mean of all levels; the last
    level, which is not listed, has minus the sum of the others.

    Returns
    -------
    DataFrame
        ``COEFFICIENT_COLUMNS``, in the unit of the measure per unit of the covariate.
    """
    return _tabulate(_fit_all(values, design), design)


def _fit_all(values: pd.DataFrame, design: Design) -> list[_Result]:
    values = values.reindex(design.participants)
    results = [_fit_one(str(name), column, design) for name, column in values.items()]
    if values.shape[1] < 2:
        why = "a mean of muscles needs at least 2 of them"
        return [*results, _Result(MEAN, 0, None, why)]
    return [*results, _fit_one(MEAN, values.mean(axis=1, skipna=False), design)]


def _fit_one(muscle: str, column: pd.Series, design: Design) -> _Result:
    there = column.notna().to_numpy()
    part = Design(design.matrix[there], design.terms, design.participants[there], design.names)
    n, why = len(part.participants), explain_design(part)
    if why:
        return _Result(muscle, n, None, why)
    fit = fit_least_squares(part.matrix, column[there].to_numpy(np.float64))
    if fit.is_exact:
        return _Result(muscle, n, None, "the values do not vary about the model")
    return _Result(muscle, n, fit)


def _tabulate_terms(results: list[_Result], design: Design) -> pd.DataFrame:
    rows = [
        {"muscle": result.muscle, "term": name, "n": result.n} | _test_term(result.fit, columns)
        for result in results
        for name, columns in design.terms[1:]
    ]
    table = pd.DataFrame(rows, columns=list(TERM_COLUMNS))
    table["p"] = f_upper_tail(table["f"], table["df1"], table["df2"])
    return table


def _test_term(fit: Fit | None, columns: tuple[int, ...]) -> dict[str, float]:
    if fit is None:
        return dict.fromkeys(("df1", "df2", "ss", "f", "partial_eta_sq", "r2"), NAN)
    b, block = fit.coefficients[list(columns)], fit.unscaled[np.ix_(columns, columns)]
    ss = float(b @ np.linalg.solve(block, b))
    return {
        "df1": float(len(columns)),
        "df2": float(fit.df),
        "ss": ss,
        "f": ss / len(columns) / fit.variance,
        "partial_eta_sq": ss / (ss + fit.error),
        "r2": 1 - fit.error / fit.total,
    }


def _tabulate(results: list[_Result], design: Design) -> pd.DataFrame:
    return pd.DataFrame(
        [row for result in results for row in _list_rows(result, design)],
        columns=list(COEFFICIENT_COLUMNS),
    )


def _list_rows(result: _Result, design: Design) -> Iterator[dict[str, object]]:
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
