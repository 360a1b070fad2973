"""Choice of the scan that represents a participant."""

from dataclasses import dataclass

import pandas as pd

from bids_mfi.cells import MISSING
from bids_mfi.counts import count_noun
from bids_mfi.errors import InputError
from bids_mfi.findings import Finding, make_findings
from bids_mfi.group.origin import name_scans
from bids_mfi.group.session_order import SessionOrder


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The scans of one session, one per participant.

    Attributes
    ----------
    session : str
        ``ses-LABEL``, or empty where no scan has a session.
    scans : Index
        Of the table of scans.
    findings : tuple of Finding
    order : SessionOrder
        Of all sessions.
    """

    session: str
    scans: pd.Index
    findings: tuple[Finding, ...]
    order: SessionOrder


def select_session(scans: pd.DataFrame, asked: str | None, order: SessionOrder) -> Selection:
    """Choose the session that is analysed, and one scan per participant in it.

    Parameters
    ----------
    scans : DataFrame
        Sorted, with ``participant_id`` and ``session_id``.
    asked : str or None
        Label with or without ``ses-``; None for the first session. A participant whose scans have
        no session label at all has one session, which counts as the first.
    order : SessionOrder
        Of the sessions of all scans.

    Raises
    ------
    InputError
        No scan belongs to the requested session.
    """
    sessions = order.sessions
    session = f"ses-{asked.removeprefix('ses-')}" if asked else next(iter(sessions), "")
    if asked and session not in sessions:
        raise InputError(
            f"--session {asked}: no table belongs to this session; there are "
            f"{', '.join(sessions) or 'no sessions'}. Name one of them, or leave it out."
        )
    chosen = scans["session_id"] == session
    if not sessions or session == sessions[0]:
        labelled = scans.loc[scans["session_id"] != MISSING, "participant_id"]
        chosen |= ~scans["participant_id"].isin(labelled)
    return _take_first(scans, scans[chosen], session, order)


def _take_first(
    scans: pd.DataFrame, chosen: pd.DataFrame, session: str, order: SessionOrder
) -> Selection:
    sessions = order.sessions
    repeated = chosen.duplicated("participant_id", keep="first")
    absent = set(scans["participant_id"]) - set(chosen["participant_id"])
    unlabelled = chosen[chosen["session_id"] == MISSING] if session else chosen.iloc[:0]
    findings = [
        *make_findings(
            "note",
            "Further scans of a participant in the same session ({n}): the first one, by "
            "acquisition and run, counts; all are in group_mfi.tsv.",
            name_scans(chosen[repeated]),
        ),
        *make_findings(
            "warning",
            f"Participants without a scan of {session} ({{n}}): they are in no analysis of it.",
            absent,
        ),
        *make_findings(
            "note",
            f"Participants whose scans have no session ({{n}}): they count as {session}.",
            unlabelled["participant_id"],
        ),
    ]
    if len(sessions) > 1:
        others = ", ".join(name for name in sessions if name != session)
        text = f"Session {session} was analysed; there are also {others} (--session)."
        findings.insert(0, Finding("note", text))
        sizes = scans.groupby("session_id")["participant_id"].nunique()
        largest = max(sessions, key=lambda name: int(sizes[name]))
        if 2 * len(set(chosen["participant_id"])) < sizes[largest]:
            text = (
                f"Session {session} holds "
                f"{count_noun(chosen['participant_id'].nunique(), 'participant')}, {largest} "
                f"{sizes[largest]:,}: name the one you mean with --session."
            )
            findings.insert(0, Finding("warning", text))
    return Selection(session, chosen.index[~repeated], (*findings, *order.findings), order)
