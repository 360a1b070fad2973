"""One value of each participant and muscle.

A muscle's value is the mean of its left and right side, as in Weber et al. 2021
(doi:10.1038/s41598-021-95972-x). The user chooses the rule for missing sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bids_mfi.counts import choose_form, count_noun
from bids_mfi.muscles import rank_muscle

MEASURES = {"mfi": "mfi_percent", "volume": "volume_ml"}
COVARIATES = ("sex", "age", "bmi")
SEXES = ("F", "M")
MEAN = "mean"  # stands where a muscle's name stands, for the mean of all muscles


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """The participants of one session.

    Attributes
    ----------
    measure : str
        ``mfi`` (percent) or ``volume`` (ml).
    missing : str
        ``both``: a muscle counts if both sides exist (rule A). ``complete``: in addition, only
        participants with all muscles, sex, age and BMI (rule B). ``any``: one side is enough (rule
        C).
    people : DataFrame
        Index participant_id. ``sex`` (F, M or missing), ``age`` (years), ``bmi`` (kg/m^2), NaN
        where missing, and any other columns of the participants.
    values : DataFrame
        Same index; float64, one column per muscle in the order of the paper, NaN where missing.
    left, right : DataFrame
        The two sides; same index and columns.
    rare : tuple of (str, str)
        Muscles that fewer than half of the participants have, and the number of participants who
        have them, in words. Analyses of several muscles together leave them out.
    absent : tuple of (str, str)
        Muscles that were measured but are in no analysis, and why.
    """

    measure: str
    missing: str
    people: pd.DataFrame
    values: pd.DataFrame
    left: pd.DataFrame
    right: pd.DataFrame
    rare: tuple[tuple[str, str], ...] = ()
    absent: tuple[tuple[str, str], ...] = ()

    @property
    def muscles(self) -> tuple[str, ...]:
        """Abbreviations, in the order of the columns of ``values``."""
        return tuple(self.values.columns)

    @property
    def common(self) -> tuple[str, ...]:
        """Muscles that are not rare: those used in analyses of several muscles."""
        rare = dict(self.rare)
        return tuple(muscle for muscle in self.muscles if muscle not in rare)

    def explain_rare(self, what: str) -> tuple[str, ...]:
        """State for each rare muscle that an analysis of several muscles leaves it out."""
        return tuple(f"{what}: without {name}, because {why}." for name, why in self.rare)

    def select(self, muscles: Sequence[str], covariates: Sequence[str] = COVARIATES) -> pd.Index:
        """Participants who have all these muscles and covariates."""
        known = self.people[list(covariates)].notna().all(axis=1)
        return self.values.index[known & self.values[list(muscles)].notna().all(axis=1)]


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """Result of an analysis.

    Attributes
    ----------
    table : DataFrame
        One row per result, with the columns of its file; NaN where there is none.
    notes : tuple of str
        One sentence for each reason why something is missing or doubtful.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


def make_cohort(long: pd.DataFrame, people: pd.DataFrame, measure: str, missing: str) -> Cohort:
    """Arrange measures by participant and muscle.

    Parameters
    ----------
    long : DataFrame
        One row per participant, muscle and side: ``participant_id``, ``muscle``, ``hemi`` (L or R),
        ``mfi_percent`` and ``volume_ml``, NaN where missing.
    people : DataFrame
        Index participant_id, columns ``sex``, ``age``, ``bmi`` and others. Those without a row in
        ``long`` are left out; those with rows in ``long`` but not in here have no covariates.
    measure : str
        ``mfi`` or ``volume``.
    missing : str
        ``both``, ``complete`` or ``any``, see :class:`Cohort`. ``complete`` requires the muscles
        that at least half of the participants have.

    Returns
    -------
    Cohort
        Participants in ascending order of their identifier; those without any value, and muscles
        without any, are left out. ``absent`` names these muscles.

    Examples
    --------
    >>> long = pd.DataFrame({"participant_id": ["sub-1", "sub-1"], "muscle": ["TR", "TR"],
    ...                      "hemi": ["L", "R"], "mfi_percent": [8.0, 10.0], "volume_ml": [1, 2]})
    >>> people = pd.DataFrame({"sex": ["F"], "age": [30.0], "bmi": [22.0]}, index=["sub-1"])
    >>> make_cohort(long, people, "mfi", "both").values["TR"].tolist()
    [9.0]
    """
    left, right = (_arrange(long, MEASURES[measure], hemi) for hemi in ("L", "R"))
    left, right = left.align(right)
    muscles = sorted(left.columns, key=lambda name: rank_muscle(name, ""))
    left, right = left[muscles], right[muscles]
    values = (left + right) / 2
    if missing == "any":
        values = values.fillna(left).fillna(right)
    values = values[values.notna().any(axis=1)].sort_index()
    values = values.loc[:, values.notna().any(axis=0)]
    known, rare = _arrange_people(people, values.index), _find_rare(values)
    whole = Cohort(
        measure, missing, known, values, left, right, rare, _find_absent(left, right, values)
    )
    return _keep(whole, whole.select(whole.common) if missing == "complete" else values.index)


def _find_rare(values: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    n, counts = len(values), values.notna().sum()
    rare = counts[2 * counts < n].items()
    return tuple(
        (str(name), f"{k} of {count_noun(n, 'participant')} {choose_form(k, 'has', 'have')} it")
        for name, k in rare
    )


def _find_absent(
    left: pd.DataFrame, right: pd.DataFrame, values: pd.DataFrame
) -> tuple[tuple[str, str], ...]:
    lost = [name for name in left.columns if name not in values.columns]
    seen = (left.notna() | right.notna()).any(axis=0)
    reasons = ("no participant has a value for it", "no participant has both sides")
    return tuple((str(name), reasons[int(seen[name])]) for name in lost)


def _keep(cohort: Cohort, kept: pd.Index) -> Cohort:
    """Take some participants; rare muscles that none of them has are dropped."""
    values = cohort.values.loc[kept]
    rare = dict(cohort.rare)
    columns = [name for name in values.columns if name not in rare or values[name].notna().any()]
    return replace(
        cohort,
        people=cohort.people.loc[kept],
        values=values[columns],
        left=cohort.left.loc[kept, columns],
        right=cohort.right.loc[kept, columns],
    )


def _arrange(long: pd.DataFrame, column: str, hemi: str) -> pd.DataFrame:
    side = long[long["hemi"] == hemi]
    return side.pivot(index="participant_id", columns="muscle", values=column).astype(np.float64)


def _arrange_people(people: pd.DataFrame, participants: pd.Index) -> pd.DataFrame:
    known = people.reindex(participants)
    for name in COVARIATES:
        if name not in known:
            known[name] = np.nan
    known["sex"] = known["sex"].astype("object").where(known["sex"].isin(SEXES), None)
    for name in ("age", "bmi"):
        known[name] = known[name].astype(np.float64)
    return known
