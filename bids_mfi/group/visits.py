"""Lines of participants and sessions compared with the scans that were measured.

Identifiers are never corrected. Those that differ only by a zero or by case are named, and their
values are missing, because a wrong age is worse than none.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bids_mfi.cells import MISSING, is_missing, loosen_label
from bids_mfi.findings import Finding, make_findings
from bids_mfi.group.person import BODY, Cells

Visit = tuple[str, str]  # participant and session


def name_visit(visit: Visit) -> str:
    """Name a participant and session.

    >>> name_visit(("sub-01", "n/a")), name_visit(("sub-01", "ses-2"))
    ('sub-01', 'sub-01_ses-2')
    """
    return "_".join(label for label in visit if label not in ("", MISSING))


@dataclass(frozen=True, slots=True)
class SessionMatch:
    """Sessions of a table compared with those measured, for participants in both.

    Attributes
    ----------
    near : dict
        Measured visits without a line, and the visits of the table that they resemble.
    unlisted : tuple of (str, str)
        Further measured visits without a line.
    unmeasured : tuple of (str, str)
        Visits of the table that were not measured and do not resemble one that was.
    """

    near: dict[Visit, tuple[Visit, ...]]
    unlisted: tuple[Visit, ...]
    unmeasured: tuple[Visit, ...]


def match_sessions(listed: Iterable[Visit], visits: Sequence[Visit]) -> SessionMatch:
    """Compare the sessions of a table with those that were measured.

    Examples
    --------
    >>> listed = [("sub-1", "ses-1"), ("sub-1", "ses-2"), ("sub-1", "ses-b")]
    >>> found = match_sessions(listed, [("sub-1", name) for name in ("ses-01", "ses-2", "ses-c")])
    >>> found.near, found.unlisted, found.unmeasured
    ({('sub-1', 'ses-01'): (('sub-1', 'ses-1'),)}, (('sub-1', 'ses-c'),), (('sub-1', 'ses-b'),))
    """
    lines = [visit for visit in listed if visit[1]]
    people = {person for person, _ in lines}
    measured = [visit for visit in visits if visit[0] in people and visit[1] != MISSING]
    known, there = set(measured), set(lines)
    free: dict[Visit, list[Visit]] = {}
    for visit in lines:
        if visit not in known:
            free.setdefault(_loosen(visit), []).append(visit)
    absent = [visit for visit in measured if visit not in there]
    near = {visit: tuple(free[_loosen(visit)]) for visit in absent if _loosen(visit) in free}
    taken = {_loosen(visit) for visit in near}
    return SessionMatch(
        near,
        tuple(visit for visit in absent if visit not in near),
        tuple(visit for key, same in free.items() if key not in taken for visit in same),
    )


def _loosen(visit: Visit) -> Visit:
    return visit[0], loosen_label(visit[1])


def describe_match(
    match: SessionMatch, table: str, asked_sessions: Collection[str]
) -> list[Finding]:
    """Name the sessions that only the table has, or only the measures.

    Parameters
    ----------
    match : SessionMatch
    table : str
        Name of the table or tables.
    asked_sessions : collection of str
        Selected sessions, with their prefix; empty for all. Others are not reported.
    """
    near = (
        f"{name_visit(visit)} ({' or '.join(session for _, session in same)} in the table?)"
        for visit, same in match.near.items()
    )
    asked = {loosen_label(session) for session in asked_sessions}
    unmeasured = (
        name_visit(visit)
        for visit in match.unmeasured
        if not asked or loosen_label(visit[1]) in asked
    )
    return [
        *make_findings(
            "warning", f"Scans of a session that {table} may have under another spelling ({{n}}): "
            "the values of that line are treated as missing. Write the session as in the scan's "
            "name.",
            near),
        *make_findings(
            "warning", f"Scans of a session for which {table} has no line, but for others of the "
            "participant ({n}): values known without a session are used.",
            map(name_visit, match.unlisted)),
        *make_findings(
            "note", f"Sessions of {table} without measures ({{n}}): they are in no analysis.",
            unmeasured),
    ]  # fmt: skip


def blank_near(cells: Cells, near: Iterable[Cells]) -> Cells:
    """Treat values of lines that may belong to this visit as missing.

    Examples
    --------
    >>> blank_near({"sex": "F", "age": "30", "bmi": "22"}, [{"age": "35", "weight": "70"}])
    {'sex': 'F', 'age': 'n/a', 'bmi': 'n/a', 'weight': 'n/a'}
    """
    known = {name for line in near for name, cell in line.items() if not is_missing(cell)}
    known |= {"bmi"} if known & set(BODY) else set()
    order = dict.fromkeys([*cells, *sorted(known)])
    return {name: MISSING if name in known else cells[name] for name in order}


def merge_visit(own: Cells, session: Cells) -> Cells:
    """Give the values of a session precedence over those of the participant.

    A weight or height of the session makes the participant's BMI invalid if both are known.
    """
    known = {name: cell for name, cell in session.items() if not is_missing(cell)}
    merged = own | known
    if (
        "bmi" not in known
        and any(name in known for name in BODY)
        and not any(is_missing(merged.get(name, MISSING)) for name in BODY)
    ):
        merged.pop("bmi", None)
    return merged


def find_own(
    lines: Mapping[Visit, Cells], visits: Iterable[Visit], near: Mapping[Visit, Sequence[Visit]]
) -> tuple[dict[Visit, Cells], list[Finding]]:
    """Find the line of each visit: of its session, or of the participant, or the only one."""
    by_person: dict[str, list[Cells]] = {}
    for (person, _), cells in lines.items():
        by_person.setdefault(person, []).append(cells)
    own: dict[Visit, Cells] = {}
    unclear, borrowed = [], []
    for person, session in visits:
        cells = merge_visit(lines.get((person, ""), {}), lines.get((person, session), {}))
        if not cells and len(by_person.get(person, ())) == 1:
            cells = by_person[person][0]
            borrowed.append(name_visit((person, session)))
        elif (person, session) in near and cells:
            cells = blank_near(cells, (lines[key] for key in near[person, session]))
        own[person, session] = cells
        if not cells and person in by_person:
            unclear.append(name_visit((person, session)))
    text = (
        "Scans of a session for which the participants' table has no line, but several of other "
        "sessions ({n}): sex, age and BMI are missing."
    )
    return own, [
        *make_findings("warning", text, unclear),
        *make_findings(
            "note",
            "Scans of a session for which the participants' table has no line, but one of another "
            "session ({n}): that one is used.",
            borrowed,
        ),
    ]


def join_lines(
    keyed: Iterable[tuple[Visit, Cells]], name: str
) -> tuple[dict[Visit, Cells], list[Finding]]:
    """Merge lines with the same key; values that differ are missing."""
    lines: dict[Visit, Cells] = {}
    same: list[str] = []
    different: list[str] = []
    for key, row in keyed:
        known = lines.setdefault(key, row)
        if known is row:
            continue
        (same if known == row else different).append("_".join(filter(None, key)))
        lines[key] = {
            column: cell if cell == row.get(column) else MISSING for column, cell in known.items()
        }
    return lines, [
        *make_findings(
            "note", f"On several lines of {name} with the same values ({{n}}): they count once.",
            same),
        *make_findings(
            "warning", f"On several lines of {name} with different values ({{n}}): those that "
            "differ are treated as missing. Correct the table.", different),
    ]  # fmt: skip


def find_strangers(lines: Iterable[Visit], visits: Iterable[Visit], table: str) -> list[Finding]:
    """Name participants that only the tables of measures have, or only the table of people."""
    listed, scanned = {person for person, _ in lines}, {person for person, _ in visits}
    near: dict[str, list[str]] = {}
    for person in sorted(listed - scanned):
        near.setdefault(loosen_label(person), []).append(person)
    unlisted = [
        f"{person} ({' or '.join(near[loosen_label(person)])} in the table?)"
        if loosen_label(person) in near
        else person
        for person in scanned - listed
    ]
    odd = [person for person in listed - scanned if not person.removeprefix("sub-").isalnum()]
    return [
        *make_findings(
            "warning", f"Participants with measures but no line in {table} ({{n}}): sex, age "
            "and BMI are missing, and analyses that need them leave them out.", unlisted),
        *make_findings(
            "warning", f"Participants of {table} without measures ({{n}}): they are in no "
            "analysis.", listed - scanned),
        *make_findings(
            "warning", f"Identifiers of {table} that no participant of a BIDS dataset can have "
            "({n}): a spreadsheet may have turned them into a date or a number. Import the column "
            "as "
            "text.", odd),
    ]  # fmt: skip
