"""Analyses beyond the paper that depend on what the data hold."""

from collections.abc import Callable

import pandas as pd

from bids_mfi.cells import MISSING
from bids_mfi.counts import choose_form, count_noun
from bids_mfi.findings import Finding, make_findings
from bids_mfi.group.origin import name_scans
from bids_mfi.group.rows import SCAN
from bids_mfi.group.selection import Selection
from bids_mfi.statistics.centiles import calibrate_centiles, measure_centiles
from bids_mfi.statistics.change import (
    list_changes,
    measure_repeatability,
    model_change,
    paired_change,
)
from bids_mfi.statistics.cohort import COVARIATES, Analysis, Cohort
from bids_mfi.statistics.condition import select_people

MakeCohort = Callable[[pd.Index], Cohort]
"""Makes a cohort of these scans, one per participant."""
LEAST_PARTICIPANTS = 3


def analyse_change(
    scans: pd.DataFrame, selection: Selection, is_asked: bool, make: MakeCohort
) -> tuple[dict[str, Analysis], list[Finding]]:
    """Change between sessions, and repeatability where a session has several scans.

    Parameters
    ----------
    scans : DataFrame
        One row per scan, sorted.
    selection : Selection
        Its session is the one that is analysed, see :func:`list_shared_sessions`.
    is_asked : bool
        Whether the user named that session.
    make : MakeCohort
    """
    repeats = _list_repeats(scans, make)
    found = {"repeatability": measure_repeatability(repeats)} if len(repeats) else {}
    order = selection.order.sessions
    sessions = list_shared_sessions(scans, order, selection.session, is_asked)
    findings = make_findings(
        "note",
        f"Sessions that fewer than {LEAST_PARTICIPANTS} participants share with the session from "
        "which change is measured, or that come before it, left out of change ({n}).",
        set(order) - set(sessions) if len(order) > 1 else (),
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


def list_shared_sessions(
    scans: pd.DataFrame, order: tuple[str, ...], preferred: str, is_asked: bool
) -> tuple[str, ...]:
    """Choose the session from which change is measured, and those that are compared with it.

    Parameters
    ----------
    scans : DataFrame
    order : tuple of str
        All sessions.
    preferred : str
        Session from which change is measured, if LEAST_PARTICIPANTS have it and a later one;
        otherwise the first session for which that is true.
    is_asked : bool
        Change is measured only from ``preferred``, even if only earlier sessions can be compared
        with it.
    """
    people = {
        str(session): set(rows["participant_id"])
        for session, rows in scans.groupby("session_id")
        if session != MISSING
    }
    for start in [name for name in (preferred, *order) if name in people]:
        shared = [
            name for name in order
            if name != start and len(people[name] & people[start]) >= LEAST_PARTICIPANTS
        ]  # fmt: skip
        later = [name for name in shared if order.index(name) > order.index(start)]
        if later or is_asked:
            return (start, *(later or shared)) if shared else ()
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

    Other acquisitions, other weights and other sources of fat and water are not repetitions.
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
        The condition is invalid, or nobody meets it.
    """
    controls, unknown = select_people(describe_choices(cohort), condition)
    found = measure_centiles(cohort, controls)
    one = choose_form(len(controls), "is a control", "are controls")
    notes = [f"{count_noun(len(controls), 'participant')} {one}."]
    if len(unknown):
        notes.append(
            f"{count_noun(len(unknown), 'participant')} "
            f"{choose_form(len(unknown), 'is no control', 'are no controls')}, because a value of "
            "the condition is missing."
        )
    centiles = Analysis(found.table, (*notes, *found.notes))
    return {"centiles": centiles, "centiles_calibration": calibrate_centiles(found.table)}


def describe_choices(cohort: Cohort) -> pd.DataFrame:
    """Columns by which controls can be chosen."""
    return cohort.people.assign(participant_id=cohort.people.index)
