"""Between-participants designs: matrices and what their columns mean.

Sex is coded +1 (F) and -1 (M), so that the intercept weights both equally, as SPSS does with Type
III sums of squares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_mfi.counts import choose_form, count_noun
from bids_mfi.statistics.cohort import COVARIATES
from bids_mfi.statistics.rounding import LEAST_SINGULAR, center, is_constant, measure_lengths

INTERCEPT = "intercept"
SEX_CODES = {"F": 1.0, "M": -1.0}
EXACT = 1e-10  # of the largest singular value, below which columns follow from each other exactly


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Design matrix of the participants.

    Attributes
    ----------
    matrix : float64 (participants, columns)
        The first column is 1.
    terms : tuple of (str, tuple of int)
        Name and columns of each term, the first being the intercept.
    participants : Index
        The participant of each row.
    names : tuple of str
        Names of the columns, where a term has several; empty where each column is a term.
    """

    matrix: NDArray[np.float64]
    terms: tuple[tuple[str, tuple[int, ...]], ...]
    participants: pd.Index
    names: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """Number of columns; a design of lower rank is refused, see :func:`explain_design`."""
        return int(self.matrix.shape[1])

    @property
    def df_error(self) -> int:
        """Participants minus columns."""
        return len(self.participants) - self.rank


def standard_design(people: pd.DataFrame, centred: bool = False) -> Design:
    """Intercept, sex, age and BMI, as in the paper's models.

    Parameters
    ----------
    people : DataFrame
        Complete in ``sex`` (F, M), ``age`` and ``bmi``.
    centred : bool
        Subtract the means of age and BMI; the test of the intercept then applies to the mean
        participant and not to age 0 and BMI 0.

    Examples
    --------
    >>> people = pd.DataFrame({"sex": ["F", "M"], "age": [30.0, 40.0], "bmi": [22.0, 26.0]})
    >>> standard_design(people, centred=True).matrix.tolist()
    [[1.0, 1.0, -5.0, -2.0], [1.0, -1.0, 5.0, 2.0]]
    """
    return covariate_design(people, COVARIATES, centred)


def covariate_design(people: pd.DataFrame, names: Sequence[str], centred: bool = True) -> Design:
    """Intercept and these covariates; sex +1 (F) and -1 (M).

    Parameters
    ----------
    people : DataFrame
        Complete in ``names``.
    names : sequence of str
        Some of ``sex``, ``age``, ``bmi``, or none.
    centred : bool
        Subtract the means of age and BMI.

    Examples
    --------
    >>> people = pd.DataFrame({"sex": ["F", "M"], "age": [30.0, 40.0]})
    >>> covariate_design(people, ["sex", "age"]).matrix.tolist()
    [[1.0, 1.0, -5.0], [1.0, -1.0, 5.0]]
    """
    columns: list[NDArray[np.float64]] = [np.ones(len(people))]
    for name in names:
        column = people[name].map(SEX_CODES) if name == "sex" else people[name]
        numbers = np.asarray(column, np.float64)
        columns.append(center(numbers) if centred and name != "sex" else numbers)
    terms = tuple((name, (i,)) for i, name in enumerate((INTERCEPT, *names)))
    return Design(np.column_stack(columns), terms, people.index)


def count_all(n: int) -> str:
    """Write *all* with the number of participants.

    Examples
    --------
    >>> count_all(30), count_all(1)
    ('all 30 participants', 'the only participant')
    """
    return f"all {count_noun(n, 'participant')}" if n != 1 else "the only participant"


def explain_design(design: Design) -> str | None:
    """Say why a design cannot be estimated; None if it can.

    Examples
    --------
    >>> people = pd.DataFrame({"sex": ["F"] * 6, "age": [30.0, 31, 32, 40, 41, 50],
    ...                        "bmi": [22.0, 26, 23, 21, 30, 25]})
    >>> explain_design(standard_design(people))
    'sex is the same in all 6 participants'
    """
    n = len(design.participants)
    if design.df_error < 1:
        return (
            f"{count_noun(n, 'participant')} {choose_form(n, 'has', 'have')} all values, and the "
            f"model has {count_noun(design.rank, 'term')}: at least {design.rank + 1} are needed"
        )
    for name, columns in design.terms[1:]:
        if not np.isfinite(design.matrix[:, columns]).all():
            return f"the numbers of {name} are too large"
        constant = [is_constant(design.matrix[:, column]) for column in columns]
        if all(constant):
            return f"{name} is the same in {count_all(n)}"
        if any(constant) or _is_deficient(design.matrix[:, columns], EXACT):
            return f"a level of {name} has none of the {n} participants with all values"
    names = _find_dependent(design)
    if len(names) == 1:
        return f"the columns of {names[0]} follow from each other in these {n} participants"
    if names:
        return f"one of {', '.join(names)} follows from the others in these {n} participants"
    return None


def _is_deficient(columns: NDArray[np.float64], least: float = LEAST_SINGULAR) -> bool:
    """Whether a column follows from the others and the intercept; none may be constant."""
    singular = np.linalg.svd(_standardise(columns), compute_uv=False)
    return bool(singular.size and singular[-1] < least * singular[0])


def _standardise(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns with a mean of 0 and a length of 1."""
    centred = columns - columns.mean(axis=0)
    return np.asarray(centred / measure_lengths(centred), np.float64)


def _find_dependent(design: Design) -> list[str]:
    """Name the fewest terms in which one follows from the others; empty if there are none."""
    if not _is_deficient(design.matrix[:, 1:]):
        return []
    # As deficient as the design, and small.
    triangle = np.asarray(
        np.linalg.qr(_standardise(design.matrix[:, 1:]), mode="r"), dtype=np.float64
    )
    places = {name: [column - 1 for column in columns] for name, columns in design.terms[1:]}
    for name in reversed(list(places)):
        fewer = [column for other in places if other != name for column in places[other]]
        singular = np.linalg.svd(triangle[:, fewer], compute_uv=False)
        if singular.size and singular[-1] < LEAST_SINGULAR * singular[0]:
            del places[name]
    return list(places)
