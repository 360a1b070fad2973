"""Conditions on participants in the user's words; must not know files, measures or tests."""

import ast

import pandas as pd

from bids_mfi.errors import InputError

ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Name, ast.Load,
    ast.Constant, ast.List, ast.Tuple,
)  # fmt: skip
EXAMPLE = "Expected a condition as \"group == 'control' and age < 60\""


def select_people(people: pd.DataFrame, condition: str) -> pd.Index:
    """Find the participants that meet a condition.

    Parameters
    ----------
    people : DataFrame
        Index participant_id, a column a variable.
    condition : str
        Comparisons of columns with numbers, quoted text or lists, joined by ``and``, ``or``,
        ``not``. Nothing else is evaluated.

    Raises
    ------
    InputError
        It is no such condition, names a column that is not there, compares text with a number, or
        is met by nobody.

    Examples
    --------
    >>> people = pd.DataFrame({"group": ["control", "injured"]}, index=["sub-1", "sub-2"])
    >>> list(select_people(people, "group == 'control'"))
    ['sub-1']
    """
    _check(condition, people)
    try:
        found = people.query(condition, engine="python")
    except (TypeError, ValueError, SyntaxError, NotImplementedError) as error:
        raise InputError(
            f"--controls {condition}: cannot be evaluated ({error}). {EXAMPLE}; is text compared "
            "with a number?"
        ) from error
    if found.empty:
        raise InputError(
            f"--controls {condition}: nobody meets it. The columns hold "
            f"{_describe(people, condition)}."
        )
    return found.index


def _check(condition: str, people: pd.DataFrame) -> None:
    try:
        tree = ast.parse(condition, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        raise InputError(f"--controls {condition}: is no condition. {EXAMPLE}.") from None
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED):
            part = ast.get_source_segment(condition, node) if hasattr(node, "lineno") else condition
            raise InputError(f"--controls {condition}: {part} is not allowed. {EXAMPLE}.")
        if isinstance(node, ast.Name) and node.id not in people.columns:
            raise InputError(
                f"--controls {condition}: there is no column {node.id}; there are "
                f"{', '.join(map(str, people.columns))}. Text needs quotes."
            )
    if not isinstance(tree.body, ast.Compare | ast.BoolOp | ast.UnaryOp):
        raise InputError(f"--controls {condition}: compares nothing. {EXAMPLE}.")


def _describe(people: pd.DataFrame, condition: str) -> str:
    """List the first values of the columns that a condition names."""
    names = {node.id for node in ast.walk(ast.parse(condition)) if isinstance(node, ast.Name)}
    values = {name: list(people[name].dropna().unique()[:5]) for name in sorted(names)}
    return "; ".join(f"{name}: {', '.join(map(str, some))}" for name, some in values.items())
