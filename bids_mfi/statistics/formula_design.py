"""Designs of models that the user writes as a formula.

Columns that hold text are factors, coded so that their levels sum to 0 and have equal weights (Type
III, as in SPSS); columns that hold numbers are covariates.
"""

import re
from itertools import combinations

import numpy as np
import pandas as pd
from formulaic import model_matrix  # type: ignore[import-untyped]
from numpy.typing import NDArray

from bids_mfi.counts import count_noun
from bids_mfi.errors import InputError
from bids_mfi.printing import shorten
from bids_mfi.statistics.design import INTERCEPT, Design
from bids_mfi.statistics.rounding import center
from bids_mfi.statistics.wilkinson import SHOWN, ParsedFormula, Variable, refuse_formula

Floats = NDArray[np.float64]
Columns = dict[int, pd.Series]  # of each variable in a term, by its place in the formula
MOST_LEVELS = 50  # of a factor
MOST_COLUMNS = 200  # of the design matrix
SIZES = (1e-30, 1e30)  # of the largest number of a covariate, so that products of ten are numbers
MOST_NAMED = 5  # levels in a sentence


def make_design(parsed: ParsedFormula, people: pd.DataFrame) -> tuple[Design, tuple[str, ...]]:
    """Make the design matrix of the participants in whom all columns of the formula are known.

    Parameters
    ----------
    parsed : ParsedFormula
    people : DataFrame
        Index participant_id. Numbers are covariates; text, truth values and columns in ``C()``
        are factors, with levels in ascending order. The last level has the
        code -1 in all columns of the factor. ``center`` subtracts the mean of all participants in
        the design, even if a muscle lacks some of them.

    Returns
    -------
    Design
        A factor of one level has a column of ones, which :func:`explain_design` refuses.
    tuple of str
        Participants left out; covariates at whose zero a test applies.

    Raises
    ------
    InputError
        A column does not exist; a function does not fit what the column holds; a factor has more
        than 50 levels, or the matrix would have more than 200 columns.

    Examples
    --------
    >>> from bids_mfi.statistics.wilkinson import parse_formula
    >>> people = pd.DataFrame({"group": ["b", "a", "b", "a"], "age": [30.0, 40.0, 50.0, 60.0]})
    >>> make_design(parse_formula("mfi ~ group + age"), people)[0].matrix.tolist()
    [[1.0, -1.0, 30.0], [1.0, 1.0, 40.0], [1.0, -1.0, 50.0], [1.0, 1.0, 60.0]]
    """
    data, index = evaluate_columns(parsed, people)
    notes = _describe_design(parsed, len(people) - len(index), data)
    return assemble_design(parsed, data, index), notes


def evaluate_columns(parsed: ParsedFormula, people: pd.DataFrame) -> tuple[Columns, pd.Index]:
    """Columns of the formula for participants in whom all are known: numbers, or categories.

    Raises
    ------
    InputError
        See :func:`make_design`.
    """
    _check_columns(parsed, people)
    columns = people[list(parsed.columns)].replace([np.inf, -np.inf], np.nan)
    known = columns[columns.notna().all(axis=1)]
    used = sorted({place for term in parsed.terms for place in term})
    return {place: _evaluate(parsed, known, parsed.variables[place]) for place in used}, known.index


def describe_columns(parsed: ParsedFormula, people: pd.DataFrame) -> tuple[str, ...]:
    """Say how each column of the formula is read: as numbers, or as a factor with which levels.

    Raises
    ------
    InputError
        See :func:`make_design`.

    Examples
    --------
    >>> from bids_mfi.statistics.wilkinson import parse_formula
    >>> people = pd.DataFrame({"group": ["b", "a", "b", "a"], "age": [30.0, 40.0, 50.0, 60.0]})
    >>> describe_columns(parse_formula("mfi ~ group + age"), people)
    ('group: factor with 2 levels (a, b)', 'age: number, 30 to 60')
    """
    data, _ = evaluate_columns(parsed, people)
    return tuple(f"{parsed.variables[place].name}: {_describe(x)}" for place, x in data.items())


def _describe(column: pd.Series) -> str:
    if not is_factor(column):
        return f"number, {column.min():.4g} to {column.max():.4g}" if len(column) else "number"
    levels = column.cat.categories
    named = [*map(str, levels[:MOST_NAMED]), *(["..."] if len(levels) > MOST_NAMED else [])]
    many = count_noun(len(levels), "level")
    return f"factor with {many} ({', '.join(named)})"


def is_factor(column: pd.Series) -> bool:
    """Whether an evaluated column holds categories."""
    return isinstance(column.dtype, pd.CategoricalDtype)


def _check_columns(parsed: ParsedFormula, people: pd.DataFrame) -> None:
    unknown = [name for name in parsed.columns if name not in people.columns]
    if unknown:
        raise InputError(
            f"The formula '{shorten(parsed.text, SHOWN)}' cannot be used: there is no column "
            f"'{shorten(unknown[0], SHOWN)}'. The "
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
        found = f"{variable.column} has {len(levels)} different values and is not numeric"
        raise refuse_formula(parsed.text, f"{found}; a factor may have at most {MOST_LEVELS}")
    return pd.Series(pd.Categorical(column, categories=levels), index=column.index)


def _apply(parsed: ParsedFormula, numbers: pd.Series, variable: Variable) -> pd.Series:
    largest = float(numbers.abs().max()) if len(numbers) else 0.0
    if largest and not SIZES[0] <= largest <= SIZES[1]:
        found = f"the largest number of {variable.column} is {largest:.3g} in size"
        raise refuse_formula(
            parsed.text, f"{found}, expected one between {SIZES[0]:g} and {SIZES[1]:g}"
        )
    for function in reversed(variable.functions):
        if function == "log":
            low = int((numbers <= 0).sum())
            if low:
                found = f"{variable.column} is 0 or less in {count_noun(low, 'participant')}"
                raise refuse_formula(parsed.text, f"{found}, where log() has no value")
            numbers = pd.Series(np.log(numbers), index=numbers.index)
        elif len(numbers):
            numbers = pd.Series(center(numbers.to_numpy(np.float64)), index=numbers.index)
            sd = float(numbers.std()) if len(numbers) > 1 else 0.0
            numbers = numbers / sd if function == "scale" and sd > 0 else numbers
    return numbers


def _order_levels(column: pd.Series) -> list[object]:
    """Levels in ascending order, so that F precedes M as everywhere."""
    levels = list(column.dropna().unique())
    numbers = all(isinstance(level, int | float | np.number) for level in levels)
    return sorted(levels, key=None if numbers else str)


def _describe_design(parsed: ParsedFormula, left_out: int, data: Columns) -> tuple[str, ...]:
    notes = []
    if left_out:
        columns = ", ".join(parsed.columns)
        people = count_noun(left_out, "participant")
        notes.append(f"Model: {people} left out, because of {columns} something is "
                     "missing.")  # fmt: skip
    for term in parsed.terms:
        notes += _describe_margins(parsed, term)
        for place in term:
            rest = tuple(other for other in term if other != place)
            variable = parsed.variables[place]
            if rest in parsed.terms and not is_factor(data[place]) and not variable.is_centred:
                notes.append(
                    f"Model: with {parsed.name_term(term)} the test of {parsed.name_term(rest)} "
                    f"applies where {variable.name} is 0; center({variable.column}) uses its mean."
                )
    return tuple(notes)


def _describe_margins(parsed: ParsedFormula, term: tuple[int, ...]) -> list[str]:
    """Explain a term that is in the model without the terms that it consists of."""
    known = {frozenset(one) for one in parsed.terms}
    parts = [part for k in range(1, len(term)) for part in combinations(term, k)]
    absent = [parsed.name_term(part) for part in parts if frozenset(part) not in known]
    if not absent:
        return []
    return [
        f"Model: {parsed.name_term(term)} is in the model without {', '.join(absent)}: its test "
        "includes their differences. In its coefficients, x[a] is the distance of level a from the "
        "mean of the levels of x, and x=a means within level a."
    ]


def assemble_design(parsed: ParsedFormula, data: Columns, index: pd.Index) -> Design:
    """Columns of all terms; the columns of a term are adjacent.

    Parameters
    ----------
    parsed : ParsedFormula
    data : dict of int to Series
        As from :func:`evaluate_columns`.
    index : Index
        Participants of the rows.

    Raises
    ------
    InputError
        The matrix would have more than 200 columns.
    """
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
    return len(column.cat.categories) if is_factor(column) else np.inf


def _check_size(parsed: ParsedFormula, terms: list[tuple[int, ...]], data: Columns) -> None:
    sizes = {place: _count_levels(column) for place, column in data.items()}
    sizes = {place: 1 if np.isinf(size) else size for place, size in sizes.items()}
    columns = sum(int(np.prod([sizes[place] for place in term])) for term in terms)
    if columns > MOST_COLUMNS:
        found = f"the levels of its factors make about {columns} columns"
        raise refuse_formula(parsed.text, f"{found}; a model may have at most {MOST_COLUMNS}")


def _code(
    parsed: ParsedFormula,
    terms: list[tuple[int, ...]],
    data: Columns,
    index: pd.Index,
) -> dict[tuple[int, ...], tuple[Floats, list[str]]]:
    """Columns and their names of each term, by formulaic, which sees only v0, v1, ..."""
    if not terms or not len(index):
        return {}
    frame: dict[str, object] = {}
    words = {}
    for place, column in data.items():
        if is_factor(column):
            levels = range(len(column.cat.categories))
            frame[f"v{place}"] = pd.Categorical(column.cat.codes, categories=levels)
            words[place] = f"C(v{place}, contr.sum)"
        else:
            frame[f"v{place}"], words[place] = column.to_numpy(), f"v{place}"
    text = " + ".join(["1", *(":".join(words[place] for place in term) for term in terms)])
    made = model_matrix(text, pd.DataFrame(frame), context={}, na_action="raise")
    matrix, names = made.to_numpy(np.float64), list(made.columns)
    found = {}
    for term, columns in zip(terms, list(made.model_spec.term_indices.values())[1:], strict=True):
        labels = [_label(names[column], parsed, data) for column in columns]
        found[term] = (matrix[:, columns], labels)
    return found


def _label(name: str, parsed: ParsedFormula, data: Columns) -> str:
    """Name of a column in the user's words, for example ``group[a]:age``.

    ``group[a]`` is coded as the distance of a from the mean of the levels, ``group=a`` as 0 or 1.
    """
    labels = []
    for part in name.split(":"):
        place = int(re.search(r"v(\d+)", part)[1])  # type: ignore[index]
        level = re.search(r"\[(S\.)?(\d+)\]$", part)
        label = parsed.variables[place].name
        if level:
            name = data[place].cat.categories[int(level[2])]
            label += f"[{name}]" if level[1] else f"={name}"
        labels.append(label)
    return ":".join(labels)
