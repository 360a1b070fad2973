"""Choice of sex, age and BMI for a model."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bids_mfi.statistics.cohort import COVARIATES
from bids_mfi.statistics.rounding import is_constant


@dataclass(frozen=True, slots=True)
class Usable:
    """Covariates sorted by their usability.

    Attributes
    ----------
    kept : tuple of str
        They differ between participants.
    constant : tuple of str
        The same in all participants in whom they are known.
    unknown : tuple of str
        Missing in all.
    sparse : tuple of (str, int)
        Known in fewer than half of the participants, and in how many.
    n : int
        Number of participants.
    """

    kept: tuple[str, ...]
    constant: tuple[str, ...]
    unknown: tuple[str, ...]
    sparse: tuple[tuple[str, int], ...] = ()
    n: int = 0

    def explain(self, whom: str = "") -> str | None:
        """Say which covariates are left out; None if none is.

        Parameters
        ----------
        whom : str
            Whose covariates they are, for example ``controls``.

        Examples
        --------
        >>> Usable(("age",), ("sex",), ("bmi",)).explain()
        'without sex, which is the same in all, and without bmi, which is missing in all'
        >>> Usable(("age", "sex"), (), (), (("bmi", 1),), 24).explain("controls")
        'without bmi, which is known in 1 of 24 controls only'
        """
        who = f" {whom}" if whom else ""
        parts = [f"without {name}, which is the same in all{who}" for name in self.constant]
        parts += [f"without {name}, which is missing in all{who}" for name in self.unknown]
        parts += [
            f"without {name}, which is known in {known} of {self.n}{who} only"
            for name, known in self.sparse
        ]
        return ", and ".join(parts) or None


def sort_covariates(people: pd.DataFrame) -> Usable:
    """Find the covariates that differ between participants and are known in half of them or more.

    Each covariate is examined in the participants in whom it is known. A model leaves out
    participants who lack a covariate, so a covariate that few have would cost too many
    participants.

    Parameters
    ----------
    people : DataFrame
        ``sex`` (F, M or missing), ``age`` and ``bmi``.

    Examples
    --------
    >>> people = pd.DataFrame({"sex": ["F", "F"], "age": [30.0, 40.0], "bmi": [np.nan, np.nan]})
    >>> found = sort_covariates(people)
    >>> found.kept, found.constant, found.unknown
    (('age',), ('sex',), ('bmi',))
    """
    n, known = len(people), people[list(COVARIATES)].notna().sum()
    unknown = tuple(name for name in COVARIATES if not known[name])
    sparse = tuple((name, int(known[name])) for name in COVARIATES if 0 < 2 * known[name] < n)
    rest = [name for name in COVARIATES if name not in (*unknown, *dict(sparse))]
    constant = tuple(name for name in rest if _is_same(people[name].dropna()))
    kept = tuple(name for name in rest if name not in constant)
    return Usable(kept, constant, unknown, sparse, n)


def _is_same(column: pd.Series) -> bool:
    if column.name == "sex":
        return bool(column.nunique() < 2)
    return is_constant(column.to_numpy(np.float64))
