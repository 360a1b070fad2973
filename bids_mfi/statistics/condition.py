"""Conditions on participants in the user's words.

A condition is never executed: Python's own parser parses it, and the permitted parts are evaluated
here.
"""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_mfi.errors import InputError
from bids_mfi.printing import shorten
from bids_mfi.statistics.wilkinson import SHOWN

Met = NDArray[np.bool_]
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare,
    ast.cmpop, ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple,
)  # fmt: skip
LONGEST = 500  # characters
DEEPEST = 30  # parts in each other
LARGEST_EXACT = 2**53  # whole numbers beyond are compared as floats
EXAMPLE = "Expected a condition such as \"group == 'control' and age < 60\""
QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`(?P<column>[^`]+)`""")


def select_people(people: pd.DataFrame, condition: str) -> tuple[pd.Index, pd.Index]:
    """Find the participants that meet a condition.

    Parameters
    ----------
    people : DataFrame
        Index participant_id, one column per variable.
    condition : str
        Comparisons of columns with numbers, quoted text, lists or each other, joined by ``and``,
        ``or``, ``not``. A name with characters other than letters, digits and underscores is put in
        backticks, as in a formula.

    Returns
    -------
    (Index, Index)
        Participants who meet it, and those who lack a column of the condition; the latter never
        meet it.

    Raises
    ------
    InputError
        It is not such a condition, names a column that does not exist, compares text with a number,
        or nobody meets it.

    Examples
    --------
    >>> people = pd.DataFrame({"arm 1": ["control", None]}, index=["sub-1", "sub-2"])
    >>> found, unknown = select_people(people, "`arm 1` != 'injured'")
    >>> list(found), list(unknown)
    (['sub-1'], ['sub-2'])
    """
    parsed = _Condition(condition, people)
    known = people[people[parsed.columns].notna().all(axis=1)]
    found = known[parsed.judge(known)]
    if found.empty:
        raise InputError(
            f"--controls {condition}: nobody meets it. The columns hold "
            f"{_describe(people, parsed.columns)}."
        )
    return found.index, people.index.difference(known.index)


class _Condition:
    """A parsed condition.

    Attributes
    ----------
    columns : list of str
        Those that it compares, in ascending order.
    """

    def __init__(self, text: str, people: pd.DataFrame) -> None:
        self.text = text
        self._names: dict[str, str] = {}
        self._tree = self._parse()
        places = [node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)]
        self.columns = sorted({self._names.get(place, place) for place in places})
        for name in self.columns:
            if name not in people.columns:
                raise self._refuse(
                    f"there is no column {name}; there are {', '.join(map(str, people.columns))}. "
                    "Text needs quotes"
                )
        if not self.columns:
            raise self._refuse("it compares no column")

    def judge(self, people: pd.DataFrame) -> Met:
        """Whether each of these people meets it, bool (people,); no column may be missing."""
        return self._judge(self._tree.body, people)

    def _refuse(self, found: str) -> InputError:
        return InputError(f"--controls {shorten(self.text, SHOWN)}: {found}. {EXAMPLE}.")

    def _parse(self) -> ast.Expression:
        """Tree of the condition; columns whose names were in backticks are recorded."""
        if len(self.text) > LONGEST:
            raise self._refuse(f"it has {len(self.text):,} characters; the limit is {LONGEST}")

        def replace(match: re.Match[str]) -> str:
            if match["column"] is None:
                return match[0]
            place = f"column_in_backticks_{len(self._names)}"
            self._names[place] = match["column"]
            return place

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(QUOTED.sub(replace, self.text.strip()), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._refuse("it is not a condition") from None
        if _measure_depth(tree) > DEEPEST:
            raise self._refuse(f"it has more than {DEEPEST} nested parts")
        for node in ast.walk(tree):
            if not isinstance(node, ALLOWED):
                part = self._show(node) if isinstance(node, ast.expr) else type(node).__name__
                raise self._refuse(f"{part} is not allowed")
        return tree

    def _show(self, node: ast.AST) -> str:
        text = ast.unparse(node)
        for place, column in self._names.items():
            text = re.sub(rf"\b{place}\b", lambda _, name=column: f"`{name}`", text)  # type: ignore[misc]
        return shorten(text, SHOWN)

    def _judge(self, node: ast.expr, people: pd.DataFrame) -> Met:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return np.asarray(join.reduce([self._judge(part, people) for part in node.values]))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._judge(node.operand, people)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            parts = zip(node.ops, sides, sides[1:], strict=False)
            met = [self._compare(one, a, b, people) for one, a, b in parts]
            return np.asarray(np.logical_and.reduce(met))
        if isinstance(node, ast.Name):
            column = people[self._names.get(node.id, node.id)]
            if pd.api.types.is_bool_dtype(column):
                return column.to_numpy(bool)
        raise self._refuse(f"{self._show(node)} compares no column")

    def _compare(self, sign: ast.cmpop, a: ast.expr, b: ast.expr, people: pd.DataFrame) -> Met:
        left, right = self._value(a, people), self._value(b, people)
        if not isinstance(left, pd.Series) and not isinstance(right, pd.Series):
            raise self._refuse(
                f"{self._show(a)} is compared with {self._show(b)}, but neither is a column"
            )
        among = isinstance(sign, ast.In | ast.NotIn) or isinstance(right, list)
        if among and isinstance(sign, ast.In | ast.NotIn | ast.Eq | ast.NotEq):
            if not isinstance(left, pd.Series) or not isinstance(right, list):
                raise self._refuse("in needs a column before it and a list after it")
            met = left.isin(right).to_numpy(bool)
            return met if isinstance(sign, ast.In | ast.Eq) else ~met
        if type(sign) not in COMPARISONS or isinstance(left, list) or isinstance(right, list):
            raise self._refuse(f"{self._show(a)} cannot be compared with {self._show(b)} like this")
        try:
            return np.asarray(COMPARISONS[type(sign)](left, right), dtype=bool)
        except (TypeError, ValueError):
            raise self._refuse(
                f"{self._show(a)} and {self._show(b)} cannot be compared; is text compared with a "
                "number?"
            ) from None

    def _value(self, node: ast.expr, people: pd.DataFrame) -> object:
        """Take a column, a number, a text or a list of them."""
        if isinstance(node, ast.Name):
            return people[self._names.get(node.id, node.id)]
        if isinstance(node, ast.List | ast.Tuple):
            return [self._take_constant(one) for one in node.elts]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            column = self._value(node.operand, people)
            if isinstance(column, pd.Series) and pd.api.types.is_numeric_dtype(column):
                return -column
        return self._take_constant(node)

    def _take_constant(self, node: ast.expr) -> float | str | bool:
        sign = 1
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, node = -sign, node.operand
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, bool | str) and sign == 1:
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return sign * _limit(value)
        raise self._refuse(f"{self._show(node)} is not allowed")


def _limit(value: float) -> float:
    """Turn a whole number into a float if it is too large to be compared with one.

    Examples
    --------
    >>> _limit(3), _limit(10**400)
    (3, inf)
    """
    if not isinstance(value, int) or abs(value) <= LARGEST_EXACT:
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _measure_depth(tree: ast.AST) -> int:
    """Depth of nesting of a tree, without recursion."""
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _describe(people: pd.DataFrame, names: Sequence[str]) -> str:
    """List the first values of some columns."""
    values = {name: list(people[name].dropna().unique()[:5]) for name in names}
    return "; ".join(f"{name}: {', '.join(map(str, some))}" for name, some in values.items())
