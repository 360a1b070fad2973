"""Analyses beyond the paper that depend on what the data hold; must not know formulas or files."""

from collections.abc import Callable

import pandas as pd

from bids_mfi.cells import MISSING
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
from bids_mfi.group_run.findings import make_findings
from bids_mfi.group_run.origin import name_scans
from bids_mfi.group_run.selection import list_sessions
from bids_mfi.report.group_page import Finding

MakeCohort = Callable[[pd.Index], Cohort]
"""Makes a cohort of these scans, one of each participant."""
LEAST_PARTICIPANTS = 3


def analyse_change(
    scans: pd.DataFrame, session: str, make: MakeCohort
) -> tuple[dict[str, Analysis], list[Finding]]:
    """Change between sessions, and repeatability where a session has several scans.

    Parameters
    ----------
    scans : DataFrame
        One row a scan, sorted.
    session : str
        The one that is analysed: change is measured from it on, if LEAST_PARTICIPANTS have it and
        a later one; else from the first session of which that is true.
    make : MakeCohort
    """
    repeats = _list_repeats(scans, make)
    found = {"repeatability": measure_repeatability(repeats)} if len(repeats) else {}
    sessions = list_shared_sessions(scans, session)
    findings = make_findings(
        "note",
        f"Sessions that fewer than {LEAST_PARTICIPANTS} participants share with the session from "
        "which change is measured, or that come before it, left out of change ({n}).",
        set(list_sessions(scans)) - set(sessions) if len(list_sessions(scans)) > 1 else (),
    )
    if len(sessions) < 2:
        return found, findings
    visits = pd.concat([_list_visits(scans, name, make) for name in sessions])
    unknown = Analysis(pd.DataFrame(columns=["muscle", "sdc"]))
    repeatability = found.get("repeatability", unknown).table
    return found | {
        "change": paired_change(visits, sessions),
        "change_model": model_change(visits, sessions),
        "change_participants": list_changes(visits, sessions, repeatability),
    }, findings


def list_shared_sessions(scans: pd.DataFrame, preferred: str) -> tuple[str, ...]:
    """Choose the session from which change is measured, and the later ones that share with it."""
    people = {
        str(session): set(rows["participant_id"])
        for session, rows in scans.groupby("session_id")
        if session != MISSING
    }
    sessions = list_sessions(scans)
    starts = [name for name in (preferred, *sessions) if name in people]
    for start in starts:
        later = sessions[sessions.index(start) + 1 :]
        shared = [x for x in later if len(people[x] & people[start]) >= LEAST_PARTICIPANTS]
        if shared:
            return (start, *shared)
    return ()


def _list_visits(scans: pd.DataFrame, session: str, make: MakeCohort) -> pd.DataFrame:
    chosen = scans[scans["session_id"] == session]
    cohort = make(chosen.index[~chosen.duplicated("participant_id")])
    return _to_long(cohort).assign(session_id=session)


def _to_long(cohort: Cohort) -> pd.DataFrame:
    long = cohort.values.rename_axis(index="participant_id", columns="muscle")
    table = long.reset_index().melt("participant_id", var_name="muscle", value_name="value")
    return table.join(cohort.people[list(COVARIATES)], on="participant_id")


def _list_repeats(scans: pd.DataFrame, make: MakeCohort) -> pd.DataFrame:
    """List the values of runs of one acquisition in one session, in long form.

    Other acquisitions, other weights and other ways to fat and water are no repetitions.
    """
    same = [name for name in scans.columns if name.endswith("_id") and name != "run_id"]
    same += ["bundle_sha256", "fat_water"]
    repeated = scans[scans.duplicated(same, keep=False)]
    parts = []
    for _, places in repeated.groupby(repeated.groupby(same).cumcount()).groups.items():
        rows = repeated.loc[places]
        for place in range(int(rows.groupby("participant_id").cumcount().max()) + 1):
            chosen = rows[rows.groupby("participant_id").cumcount() == place]
            names = dict(zip(chosen["participant_id"], name_scans(chosen), strict=True))
            visits = (
                chosen.set_index("participant_id")[same[1:]].astype("str").agg("_".join, axis=1)
            )
            part = _to_long(make(chosen.index))
            part["session_id"] = part["participant_id"].map(visits)
            parts.append(part.assign(**{SCAN: part["participant_id"].map(names)}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def analyse_centiles(cohort: Cohort, condition: str) -> dict[str, Analysis]:
    """Centiles of all participants among those that meet a condition.

    Raises
    ------
    InputError
        The condition makes no sense, or nobody meets it.
    """
    controls, unknown = select_people(describe_choices(cohort), condition)
    found = measure_centiles(cohort, controls)
    notes = [f"{len(controls):,} participants are controls."]
    if len(unknown):
        notes.append(
            f"{len(unknown):,} participants are no controls, because a value of the condition is "
            "missing."
        )
    centiles = Analysis(found.table, (*notes, *found.notes))
    return {"centiles": centiles, "centiles_calibration": calibrate_centiles(found.table)}


def describe_choices(cohort: Cohort) -> pd.DataFrame:
    """Columns by which controls can be chosen."""
    return cohort.people.assign(participant_id=cohort.people.index)
