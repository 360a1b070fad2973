"""The text of a model's formula.

A formula is ``mfi ~ group + age + sex``. The text is never executed: it is parsed here, and only
names made here go to formulaic, which does the algebra of terms (Wilkinson & Rogers 1973,
doi:10.2307/2346786).
"""

import re
from dataclasses import dataclass

from formulaic import Formula  # type: ignore[import-untyped]
from formulaic.errors import FormulaicError  # type: ignore[import-untyped]

from bids_mfi.errors import InputError
from bids_mfi.printing import shorten
from bids_mfi.statistics.cohort import MEASURES

FUNCTIONS = ("C", "center", "scale", "log")
MOST_VARIABLES = 10
LONGEST = 2_000  # characters of a formula
SHOWN = 200  # of them in a message
DEEPEST = 20  # parentheses in each other
MOST_PRODUCTS = 5_000  # that the algebra may list, repetitions among them
MOST_TERMS = 200
EXPECTED = (
    "Expected: mfi or volume, ~, and names of columns of participants.tsv joined by + - * : ^ and "
    "parentheses, for example 'mfi ~ group + age + sex'. Put a name with spaces in backticks; the "
    f"functions are {', '.join(f'{name}()' for name in FUNCTIONS)}."
)
TOKEN = re.compile(r"`(?P<quoted>[^`]+)`|(?P<name>[^\W\d]\w*)|(?P<number>\d\w*)|(?P<sign>\*\*|\S)")
SIGNS = ("+", "-", "*", ":", "^", "**", "(", ")")
POWERS = ("2", "3")
RANKS = {")": 0, "+": 1, "-": 1, "*": 2, ":": 3, "**": 4}


@dataclass(frozen=True, slots=True)
class Variable:
    """A column of the participants as a formula uses it.

    Attributes
    ----------
    column : str
    functions : tuple of str
        Applied to it, the outermost first.
    """

    column: str
    functions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As the user wrote it, for example ``scale(log(age))``."""
        return "".join(f"{f}(" for f in self.functions) + self.column + ")" * len(self.functions)

    @property
    def is_centred(self) -> bool:
        """Whether its mean is 0."""
        return self.functions[:1] in (("center",), ("scale",))


@dataclass(frozen=True, slots=True)
class ParsedFormula:
    """A parsed formula.

    Attributes
    ----------
    text : str
        As the user wrote it.
    measure : str
        ``mfi`` or ``volume``.
    variables : tuple of Variable
        In the order in which they appear.
    terms : tuple of tuple of int
        Places in ``variables`` of each term, main effects first, without the intercept.
    """

    text: str
    measure: str
    variables: tuple[Variable, ...]
    terms: tuple[tuple[int, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the terms use, each once."""
        used = {place for term in self.terms for place in term}
        return tuple(dict.fromkeys(v.column for i, v in enumerate(self.variables) if i in used))

    def name_term(self, term: tuple[int, ...]) -> str:
        """Name of a term, for example ``group:age``."""
        return ":".join(self.variables[place].name for place in term)


def parse_formula(text: str) -> ParsedFormula:
    """Parse a formula; nothing in it is executed.

    Raises
    ------
    InputError
        The left side is not ``mfi`` or ``volume``, or the right side contains anything other than
        names of columns, ``+ - * : ^ ** ( )``, a power of 2 or 3 and the functions C, center,
        scale, log; or a column is multiplied by itself. A power applies to a sum, (a + b)^2 = a + b
        + a:b; the square of a covariate must be a column of its own.

    Examples
    --------
    >>> parsed = parse_formula("mfi ~ group * center(age)")
    >>> [parsed.name_term(term) for term in parsed.terms]
    ['group', 'center(age)', 'group:center(age)']
    """
    if len(text) > LONGEST:
        raise refuse_formula(text, f"it has {len(text):,} characters; the limit is {LONGEST:,}")
    left, tilde, right = text.partition("~")
    if not tilde or left.strip() not in MEASURES:
        found = f"'{shorten(left.strip(), SHOWN)}' is left of ~" if tilde else "it has no ~"
        raise refuse_formula(text, found)
    algebra, variables = _translate(text, _split(text, right))
    _check_cost(text, algebra.split())
    terms = _expand(text, algebra)
    _check_squares(text, algebra, variables)
    if not terms:
        raise refuse_formula(text, "nothing is left right of ~")
    if len(terms) > MOST_TERMS:
        raise refuse_formula(text, f"it has {len(terms):,} terms; at most {MOST_TERMS} are allowed")
    return ParsedFormula(text, left.strip(), tuple(variables), terms)


def refuse_formula(text: str, found: str) -> InputError:
    """Make the error that states what was found in a formula and what was expected."""
    return InputError(f"The formula '{shorten(text, SHOWN)}' cannot be used: {found}. {EXPECTED}")


def _check_cost(text: str, parts: list[str]) -> None:
    """Refuse formulas that would take long to expand, before expanding."""
    depth = deepest = 0
    for part in parts:
        depth += {"(": 1, ")": -1}.get(part, 0)
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise refuse_formula(
            text, f"it has {deepest} nested parentheses; at most {DEEPEST} are allowed"
        )
    if count_products(parts) > MOST_PRODUCTS:
        raise refuse_formula(
            text,
            f"written out it would have more than {MOST_PRODUCTS:,} products of columns, which is "
            "the limit; leave some * or powers out",
        )


def count_products(parts: list[str]) -> int:
    """Count the products that a formula lists, repetitions included, without listing them.

    Parameters
    ----------
    parts : list of str
        Names, numbers and the signs ``+ - * : ** ( )``. In an invalid formula, a missing name
        counts as nothing.

    Returns
    -------
    int
        At most ``MOST_PRODUCTS + 1``.

    Examples
    --------
    >>> count_products("a * b * c".split()), count_products("( a + b + c ) ** 2".split())
    (7, 9)
    """
    counts: list[int] = []
    waiting: list[str] = []
    for part in parts:
        if part not in SIGNS:
            counts.append(int(part) if part in POWERS else 1)
        elif part == "(":
            waiting.append(part)
        else:
            while waiting and waiting[-1] != "(" and RANKS[waiting[-1]] >= RANKS[part]:
                _combine(counts, waiting.pop())
            if part != ")":
                waiting.append(part)
            elif waiting:
                waiting.pop()
    while waiting:
        _combine(counts, waiting.pop())
    return max(counts, default=0)


def _combine(counts: list[int], sign: str) -> None:
    """Replace the counts of two sides with the count of their combination by a sign."""
    if sign == "(":
        return
    right = counts.pop() if counts else 0
    left = counts.pop() if counts else 0
    both = left + right
    found = {"*": both + left * right, ":": left * right, "**": left ** min(right, 3)}
    counts.append(min(found.get(sign, both), MOST_PRODUCTS + 1))


def _expand(text: str, algebra: str) -> tuple[tuple[int, ...], ...]:
    """Terms of a formula of v0, v1, ..., without the intercept."""
    try:
        formula = list(Formula(algebra))
    except FormulaicError as error:
        raise refuse_formula(text, "each of its signs must be between two names") from error
    places = [[str(factor.expr) for factor in term.factors] for term in formula]
    return tuple(tuple(int(name[1:]) for name in term) for term in places if term != ["1"])


def _check_squares(text: str, algebra: str, variables: list[Variable]) -> None:
    """Refuse products of a variable with itself, which the algebra would reduce to the variable.

    With a separate name for each occurrence of a variable, such products become terms.
    """
    parts = algebra.split()
    owners = [int(part[1:]) for part in parts if part.startswith("v")]
    names = iter(range(len(owners)))
    apart = " ".join(f"v{next(names)}" if part.startswith("v") else part for part in parts)
    found = [[owners[place] for place in term] for term in _expand(text, apart.replace("-", "+"))]
    twice = [owner for term in found for owner in term if term.count(owner) > 1]
    twice += [owner for i, part in enumerate(parts) if part == "**"
              for owner in _find_power_of_one(parts[:i])]  # fmt: skip
    if twice:
        name = variables[twice[0]].name
        raise refuse_formula(
            text,
            f"it multiplies {name} by itself; a power applies to a sum of terms, as in (a + b)^2; "
            f"the square of {name} must be a column of participants.tsv",
        )


def _find_power_of_one(base: list[str]) -> list[int]:
    """Variables before a power, if they form one term and not a sum."""
    depth, start = 0, len(base)
    while start and (depth or start == len(base)):
        start -= 1
        depth += {")": 1, "(": -1}.get(base[start], 0)
    single = base[start:]
    if {"+", "*"} & set(single):
        return []
    return [int(part[1:]) for part in single if part.startswith("v")]


def _split(text: str, right: str) -> list[tuple[str, str]]:
    """Kind (quoted, name, number, sign) and text of each token."""
    tokens = [
        (match.lastgroup or "", match[match.lastgroup or 0]) for match in TOKEN.finditer(right)
    ]
    for kind, token in tokens:
        if kind == "sign" and token not in SIGNS:
            raise refuse_formula(text, f"'{token}' is not part of a formula")
    return tokens


def _translate(text: str, tokens: list[tuple[str, str]]) -> tuple[str, list[Variable]]:
    """Write the formula with v0, v1, ... for its variables, and list the variables."""
    parts: list[str] = []
    variables: list[Variable] = []
    place = 0
    while place < len(tokens):
        kind, token = tokens[place]
        if kind == "number":
            _check_number(text, token, parts)
            parts.append(token)
            place += 1
        elif kind == "sign":
            parts.append("**" if token == "^" else token)
            place += 1
        else:
            variable, place = _read_variable(text, tokens, place)
            if variable not in variables:
                variables.append(variable)
            parts.append(f"v{variables.index(variable)}")
    if len(variables) > MOST_VARIABLES:
        raise refuse_formula(
            text, f"it has {len(variables)} variables; at most {MOST_VARIABLES} are allowed"
        )
    return " ".join(parts), variables


def _check_number(text: str, token: str, parts: list[str]) -> None:
    if parts[-1:] != ["**"]:
        raise refuse_formula(
            text, f"'{shorten(token, SHOWN)}' is a number; the intercept is always in the model"
        )
    if token not in POWERS:
        raise refuse_formula(
            text, f"the power '{shorten(token, SHOWN)}' is not {' or '.join(POWERS)}"
        )


def _read_variable(text: str, tokens: list[tuple[str, str]], place: int) -> tuple[Variable, int]:
    """Variable that begins at this token, and the place after it."""
    functions: list[str] = []
    while tokens[place][0] == "name" and tokens[place + 1 : place + 2] == [("sign", "(")]:
        functions.append(tokens[place][1])
        place += 2
        if place >= len(tokens) or tokens[place][0] not in ("name", "quoted"):
            raise refuse_formula(text, f"{functions[-1]}() needs the name of one column")
    name = tokens[place][1]
    place += 1
    if tokens[place : place + len(functions)] != [("sign", ")")] * len(functions):
        raise refuse_formula(
            text, f"{functions[-1]}() takes the name of one column and nothing else"
        )
    unknown = [name for name in functions if name not in FUNCTIONS]
    if unknown:
        raise refuse_formula(text, f"{unknown[0]}() is not a function of a formula")
    if "C" in functions and len(functions) > 1:
        raise refuse_formula(text, "C() makes levels, on which no other function works")
    return Variable(name, tuple(functions)), place + len(functions)
