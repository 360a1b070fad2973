"""Analyses beyond the paper that depend on what the data hold; must not know formulas or files."""

from collections.abc import Callable, Iterable

import pandas as pd

from bids_mfi.group.centiles import calibrate_centiles, measure_centiles
from bids_mfi.group.change import (
    list_changes,
    measure_repeatability,
    model_change,
    paired_change,
)
from bids_mfi.group.cohort import COVARIATES, Analysis, Cohort
from bids_mfi.group.condition import select_people
from bids_mfi.group_run.collect import SCAN
from bids_mfi.group_run.origin import name_scans
from bids_mfi.group_run.selection import list_sessions
from bids_mfi.tables import MISSING

MakeCohort = Callable[[pd.Index], Cohort]
"""Makes a cohort of these scans, one of each participant."""
LEAST_PARTICIPANTS = 3


def analyse_change(scans: pd.DataFrame, make: MakeCohort) -> dict[str, Analysis]:
    """Change between sessions, and repeatability where a session has several scans.

    Sessions that fewer than LEAST_PARTICIPANTS share with the first are left out.

    Parameters
    ----------
    scans : DataFrame
        One row a scan, sorted.
    make : MakeCohort
    """
    repeats = _list_repeats(scans, make)
    found = {"repeatability": measure_repeatability(repeats)} if len(repeats) else {}
    sessions = _shared_sessions(scans)
    if len(sessions) < 2:
        return found
    visits = pd.concat([_list_visits(scans, session, make) for session in sessions])
    unknown = Analysis(pd.DataFrame(columns=["muscle", "sdc"]))
    repeatability = found.get("repeatability", unknown).table
    return found | {
        "change": paired_change(visits, sessions),
        "change_model": model_change(visits, sessions),
        "change_participants": list_changes(visits, sessions, repeatability),
    }


def _shared_sessions(scans: pd.DataFrame) -> tuple[str, ...]:
    people = {
        session: set(rows["participant_id"])
        for session, rows in scans.groupby("session_id")
        if session != MISSING
    }
    first, *later = list_sessions(scans) or ("",)
    shared = (name for name in later if len(people[name] & people[first]) >= LEAST_PARTICIPANTS)
    return (first, *shared) if first else ()


def _list_visits(scans: pd.DataFrame, session: str, make: MakeCohort) -> pd.DataFrame:
    chosen = scans[scans["session_id"] == session]
    cohort = make(chosen.index[~chosen.duplicated("participant_id")])
    return _to_long(cohort).assign(session_id=session)


def _to_long(cohort: Cohort) -> pd.DataFrame:
    long = cohort.values.rename_axis(index="participant_id", columns="muscle")
    table = long.reset_index().melt("participant_id", var_name="muscle", value_name="value")
    return table.join(cohort.people[list(COVARIATES)], on="participant_id")


def _list_repeats(scans: pd.DataFrame, make: MakeCohort) -> pd.DataFrame:
    """List the values of all sessions that hold several scans of a participant, in long form."""
    visit = ["participant_id", "session_id"]
    repeated = scans[scans.duplicated(visit, keep=False)]
    parts = []
    for _, places in repeated.groupby(repeated.groupby(visit).cumcount()).groups.items():
        for session, rows in repeated.loc[places].groupby("session_id"):
            names = dict(zip(rows["participant_id"], name_scans(rows), strict=True))
            part = _to_long(make(rows.index)).assign(session_id=session)
            parts.append(part.assign(**{SCAN: part["participant_id"].map(names)}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def analyse_centiles(cohort: Cohort, condition: str) -> dict[str, Analysis]:
    """Centiles of all participants among those that meet a condition.

    Raises
    ------
    InputError
        The condition makes no sense, or nobody meets it.
    """
    found = measure_centiles(cohort, select_people(cohort.people, condition))
    return {"centiles": found, "centiles_calibration": calibrate_centiles(found.table)}


def name_further(analyses: Iterable[str]) -> tuple[str, ...]:
    """Name the kinds of further analyses that were made, in the order of the methods."""
    made = {name.split("_")[0] for name in analyses}
    return tuple(name for name in ("model", "change", "centiles") if name in made)
