"""Conditions on participants in the user's words; must not know files, measures or tests."""

import ast

import pandas as pd

from bids_mfi.errors import InputError

ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Name, ast.Load,
    ast.Constant, ast.List, ast.Tuple,
)  # fmt: skip
LONGEST = 500  # characters
EXAMPLE = "Expected a condition as \"group == 'control' and age < 60\""


def select_people(people: pd.DataFrame, condition: str) -> tuple[pd.Index, pd.Index]:
    """Find the participants that meet a condition.

    Parameters
    ----------
    people : DataFrame
        Index participant_id, a column a variable.
    condition : str
        Comparisons of columns with numbers, quoted text or lists, joined by ``and``, ``or``,
        ``not``. Nothing else is evaluated.

    Returns
    -------
    (Index, Index)
        Who meets it, and of whom a column of the condition is missing; they do not meet it,
        whatever it says.

    Raises
    ------
    InputError
        It is no such condition, names a column that is not there, compares text with a number, or
        is met by nobody.

    Examples
    --------
    >>> people = pd.DataFrame({"group": ["control", None]}, index=["sub-1", "sub-2"])
    >>> found, unknown = select_people(people, "group != 'injured'")
    >>> list(found), list(unknown)
    (['sub-1'], ['sub-2'])
    """
    names = _check(condition, people)
    known = people[people[names].notna().all(axis=1)]
    try:
        found = known.query(condition, engine="python")
    except (TypeError, ValueError, SyntaxError, NotImplementedError, KeyError) as error:
        raise InputError(
            f"--controls {condition}: cannot be evaluated ({error}). {EXAMPLE}; is text compared "
            "with a number?"
        ) from error
    if found.empty:
        raise InputError(
            f"--controls {condition}: nobody meets it. The columns hold {_describe(people, names)}."
        )
    return found.index, people.index.difference(known.index)


def _check(condition: str, people: pd.DataFrame) -> list[str]:
    """Names of the columns that a condition compares."""
    try:
        if len(condition) > LONGEST:
            raise ValueError
        tree = ast.parse(condition, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"--controls {condition[:LONGEST]}: is no condition. {EXAMPLE}.") from None
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED):
            part = ast.get_source_segment(condition, node) if hasattr(node, "lineno") else condition
            raise InputError(f"--controls {condition}: {part} is not allowed. {EXAMPLE}.")
    names = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})
    for name in names:
        if name not in people.columns:
            raise InputError(
                f"--controls {condition}: there is no column {name}; there are "
                f"{', '.join(map(str, people.columns))}. Text needs quotes."
            )
    if not names or not isinstance(tree.body, ast.Compare | ast.BoolOp | ast.UnaryOp):
        raise InputError(f"--controls {condition}: compares no column. {EXAMPLE}.")
    return names


def _describe(people: pd.DataFrame, names: list[str]) -> str:
    """List the first values of some columns."""
    values = {name: list(people[name].dropna().unique()[:5]) for name in names}
    return "; ".join(f"{name}: {', '.join(map(str, some))}" for name, some in values.items())
