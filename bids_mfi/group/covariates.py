"""Which of sex, age and BMI a model can have, and their columns; must not know any test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_mfi.group.cohort import COVARIATES
from bids_mfi.group.design import INTERCEPT, SEX_CODES, Design


@dataclass(frozen=True, slots=True)
class Usable:
    """Covariates sorted by what can be made of them.

    Attributes
    ----------
    kept : tuple of str
        They differ between participants.
    constant : tuple of str
        The same in all in whom they are known.
    unknown : tuple of str
        Missing in all.
    """

    kept: tuple[str, ...]
    constant: tuple[str, ...]
    unknown: tuple[str, ...]

    def explain(self) -> str | None:
        """Say which covariates are left out; None if none is.

        Examples
        --------
        >>> Usable(("age",), ("sex",), ("bmi",)).explain()
        'without sex, which is the same in all, and without bmi, which is missing in all'
        """
        parts = [f"without {name}, which is the same in all" for name in self.constant]
        parts += [f"without {name}, which is missing in all" for name in self.unknown]
        return ", and ".join(parts) or None


def sort_covariates(people: pd.DataFrame) -> Usable:
    """Find the covariates that differ between participants.

    Only participants who have all covariates that anyone has are looked at, as the model has to
    leave out the others.

    Parameters
    ----------
    people : DataFrame
        ``sex`` (F, M or missing), ``age`` and ``bmi``.

    Examples
    --------
    >>> people = pd.DataFrame({"sex": ["F", "F"], "age": [30.0, 40.0], "bmi": [np.nan, np.nan]})
    >>> sort_covariates(people)
    Usable(kept=('age',), constant=('sex',), unknown=('bmi',))
    """
    unknown = tuple(name for name in COVARIATES if not people[name].notna().any())
    known = [name for name in COVARIATES if name not in unknown]
    complete = people[people[known].notna().all(axis=1)]
    constant = tuple(name for name in known if complete[name].nunique() < 2)
    return Usable(tuple(name for name in known if name not in constant), constant, unknown)


def covariate_design(people: pd.DataFrame, names: Sequence[str]) -> Design:
    """Intercept and these covariates; sex +1 (F) and -1 (M), age and BMI centred.

    Parameters
    ----------
    people : DataFrame
        Complete in ``names``.
    names : sequence of str
        Some of ``sex``, ``age``, ``bmi``, or none.

    Examples
    --------
    >>> people = pd.DataFrame({"sex": ["F", "M"], "age": [30.0, 40.0]})
    >>> covariate_design(people, ["sex", "age"]).matrix.tolist()
    [[1.0, 1.0, -5.0], [1.0, -1.0, 5.0]]
    """
    columns: list[NDArray[np.float64]] = [np.ones(len(people))]
    for name in names:
        if name == "sex":
            columns.append(np.asarray(people[name].map(SEX_CODES), np.float64))
        else:
            mean = people[name].mean() if len(people) else 0.0
            columns.append(np.asarray(people[name] - mean, np.float64))
    terms = tuple((name, (i,)) for i, name in enumerate((INTERCEPT, *names)))
    return Design(np.column_stack(columns), terms, people.index)
