"""Order of the sessions of a study.

The first of these sources decides: the user, the times of acquisition, the lines of
``sessions.tsv``, the numbers in the labels, labels such as *pre* and *post*. Without any of them,
the order is alphabetical, and a finding reports it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, pairwise
from pathlib import Path

from bids_mfi.cells import MISSING, is_missing, read_cells
from bids_mfi.errors import InputError
from bids_mfi.findings import Finding, make_findings
from bids_mfi.group.origin import natural_key
from bids_mfi.group.visits import Visit

ACQUIRED = "acq_time"
OPPOSITES = (("pre", "post"), ("before", "after"), ("baseline", "followup"))
OPTION = "--session-order"
MOST = 2  # times as many participants with an order as with the other: times may be scrambled


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """The sessions of a study, the earliest first.

    Attributes
    ----------
    sessions : tuple of str
        ``ses-LABEL`` each.
    reason : str
        Source of the order, to follow *ordered by*; empty for a single session.
    findings : tuple of Finding
    """

    sessions: tuple[str, ...]
    reason: str = ""
    findings: tuple[Finding, ...] = ()


def order_sessions(
    visits: Sequence[Visit],
    listed: Mapping[Visit, Mapping[str, str]],
    bids_dir: Path,
    asked: Sequence[str] = (),
    reference: str = "",
) -> SessionOrder:
    """Sort the sessions of these visits.

    Parameters
    ----------
    visits : sequence of (str, str)
        Participant and session with their prefixes; ``n/a`` where there is no session.
    listed : mapping of (str, str) to mapping of str to str
        Cells of the ``sub-*_sessions.tsv``, in the order of their lines.
    bids_dir : Path
        May hold ``sessions.tsv`` and the ``*_scans.tsv`` of the sessions.
    asked : sequence of str
        Labels in the order that the user gives, with or without ``ses-``; empty for none.
    reference : str
        Session that comes first if the order would be alphabetical; empty for none.

    Raises
    ------
    InputError
        ``asked`` leaves out a session, or names one twice.
    """
    sessions = sorted({session for _, session in visits} - {MISSING}, key=natural_key)
    if asked:
        return _take_asked(sessions, asked)
    if len(sessions) < 2:
        return SessionOrder(tuple(sessions))
    times = _list_times(visits, listed, bids_dir)
    dated = {who: _sort_times(mine) for who, mine in times.items()}
    found = _agree(sessions, dated)
    if found:
        return _explain(found, dated, "the acq_time of the scans")
    lines = _list_lines(listed, bids_dir)
    found = _agree(sessions, lines)
    by_name = _order_names(sessions)
    # A table that was sorted by its labels says nothing that the labels do not say.
    if found and not (by_name and found == sorted(sessions)):
        return _explain(found, lines, "the lines of sessions.tsv")
    if by_name:
        return _explain(*by_name)
    return _take_alphabet(sessions, reference)


def _take_asked(sessions: list[str], asked: Sequence[str]) -> SessionOrder:
    named = [f"ses-{label.removeprefix('ses-')}" for label in asked]
    absent = [session for session in sessions if session not in named]
    twice = [session for session, count in Counter(named).items() if count > 1]
    if absent or twice:
        wrong = f"leaves out {', '.join(absent)}" if absent else f"names {twice[0]} twice"
        raise InputError(
            f"{OPTION} {','.join(asked)}: {wrong}. Expected each session once, the earliest "
            f"first; there are {', '.join(sessions) or 'no sessions'}."
        )
    text = f"Sessions of {OPTION} without a table of measures ({{n}}): ignored."
    found = tuple(session for session in named if session in sessions)
    strangers = make_findings("note", text, set(named) - set(sessions))
    return SessionOrder(found, OPTION if len(found) > 1 else "", tuple(strangers))


def _take_alphabet(sessions: list[str], reference: str) -> SessionOrder:
    """Order alphabetically, except the session with which the user compares the others."""
    given = [name for name in sessions if name == reference]
    found = (*given, *(name for name in sessions if name not in given))
    reason = f"--session, which puts {reference} first" if given else "the alphabet"
    if given and len(found) == 2:
        return SessionOrder(found, reason)
    reason += ", and the alphabet" if given else ""
    text = (
        f"Sessions ordered by {reason}, because there is no acq_time and no order in sessions.tsv: "
        f"{', '.join(found)}. Which of them is later follows this order; if it is wrong, give the "
        f"right one with {OPTION}, for example {OPTION} {_suggest(found)}."
    )
    return SessionOrder(found, reason, (Finding("warning", text),))


def _suggest(sessions: Sequence[str]) -> str:
    """Write the opposite order as a value of the option."""
    return ",".join(session.removeprefix("ses-") for session in reversed(sessions))


def _explain(found: list[str], sequences: Mapping[str, Sequence[str]], reason: str) -> SessionOrder:
    """Name the participants whose sessions have an order other than that of most."""
    places = {session: place for place, session in enumerate(found)}
    other = [
        who
        for who, mine in sequences.items()
        if any(places[a] > places[b] for a, b in pairwise(s for s in mine if s in places))
    ]
    text = (
        f"Participants whose sessions are not in the order of most, {', '.join(found)}, by "
        f"{reason} ({{n}}): their change follows the labels. Check their labels."
    )
    return SessionOrder(tuple(found), reason, tuple(make_findings("warning", text, other)))


def _agree(sessions: list[str], sequences: Mapping[str, Sequence[str]]) -> list[str] | None:
    """Find the order of neighbouring sessions that nearly all have; None if there is none."""
    before = Counter(pair for mine in sequences.values() for pair in combinations(mine, 2))
    ahead = {a: sum(before[a, b] > before[b, a] for b in sessions if b != a) for a in sessions}
    found = sorted(sessions, key=lambda session: -ahead[session])
    clear = all(before[a, b] > MOST * before[b, a] for a, b in pairwise(found))
    return found if clear else None


# --- times -------------------------------------------------------------------------------------


def _list_times(
    visits: Iterable[Visit], listed: Mapping[Visit, Mapping[str, str]], bids_dir: Path
) -> dict[str, dict[str, datetime]]:
    """Time of each session of each participant, from ``sessions.tsv`` or the first scan."""
    times: dict[str, dict[str, datetime]] = {}
    for person, session in visits:
        if session == MISSING:
            continue
        time = parse_time(listed.get((person, session), {}).get(ACQUIRED, MISSING))
        time = time or _read_first_time(
            bids_dir / person / session / f"{person}_{session}_scans.tsv"
        )
        if time:
            times.setdefault(person, {})[session] = time
    return times


def _read_first_time(path: Path) -> datetime | None:
    """Earliest acq_time of a table of scans; None if there is none or it cannot be read."""
    if not path.is_file():
        return None
    try:
        cells = read_cells(path, (ACQUIRED,))[ACQUIRED]
    except InputError:
        return None
    return min(filter(None, map(parse_time, cells)), default=None)


def parse_time(cell: str) -> datetime | None:
    """Read a date and time of BIDS; None if it is not one.

    Examples
    --------
    >>> parse_time("2009-06-15T13:45:30.5Z"), parse_time("n/a")
    (datetime.datetime(2009, 6, 15, 13, 45, 30, 500000), None)
    """
    if is_missing(cell):
        return None
    try:
        return datetime.fromisoformat(cell.strip()).replace(tzinfo=None)
    except ValueError:
        return None


def _sort_times(times: Mapping[str, datetime]) -> list[str]:
    """Sessions by time; none if two have the same."""
    if len(set(times.values())) < len(times):
        return []
    return sorted(times, key=times.__getitem__)


# --- lines and labels --------------------------------------------------------------------------


def _list_lines(listed: Mapping[Visit, Mapping[str, str]], bids_dir: Path) -> dict[str, list[str]]:
    """Sessions of each participant as the tables list them; of all, if one table covers all."""
    lines: dict[str, list[str]] = {}
    for person, session in listed:
        lines.setdefault(person, []).append(session)
    path = bids_dir / "sessions.tsv"
    if lines or not path.is_file():
        return lines
    try:
        cells = read_cells(path, ("session_id",))
    except InputError:
        return {}
    people = cells.get("participant_id", cells["session_id"].map(lambda _: path.name))
    for person, label in zip(people, cells["session_id"], strict=True):
        session = f"ses-{label.removeprefix('ses-')}"
        if session not in lines.setdefault(person, []):
            lines[person].append(session)
    return lines


def _order_names(sessions: list[str]) -> tuple[list[str], dict[str, list[str]], str] | None:
    """Order by the labels: a number, or opposites such as *pre* and *post*.

    Examples
    --------
    >>> _order_names(["ses-10", "ses-2"])[0], _order_names(["ses-postop", "ses-preop"])[0]
    (['ses-2', 'ses-10'], ['ses-preop', 'ses-postop'])
    >>> _order_names(["ses-a", "ses-b"]) is None
    True
    """
    shapes = {re.sub(r"\d+", "0", session.lower()) for session in sessions}
    if len(shapes) == 1 and "0" in shapes.pop():
        return sorted(sessions, key=natural_key), {}, "the numbers in their labels"
    if len(sessions) != 2:
        return None
    for first, last in (sessions, sessions[::-1]):
        for one, other in OPPOSITES:
            early, late = first.lower().removeprefix("ses-"), last.lower().removeprefix("ses-")
            if early.startswith(one) and late == other + early.removeprefix(one):
                return [first, last], {}, f"their names, {one} before {other}"
    return None
