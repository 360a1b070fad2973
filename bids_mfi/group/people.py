"""Data of the participants: sex, age, BMI and more.

``participants.tsv`` and the ``sub-*_sessions.tsv`` of BIDS, or one table that the user names. An
implausible value is missing, and a finding names the participant.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from bids_mfi.cells import MISSING, is_missing, shorten_cell
from bids_mfi.findings import Finding, make_findings
from bids_mfi.group.codes import Codes, Conversions, apply_codes, read_codes, read_sex_levels
from bids_mfi.group.people_table import PARTICIPANT, SESSION, STANDARD, read_lines
from bids_mfi.group.person import (
    BODY,
    Cells,
    Doubts,
    doubt_column,
    guess_kind,
    list_sex_words,
    parse_person,
)
from bids_mfi.group.plausible import find_contradictions
from bids_mfi.group.sessions import Sessions, read_sessions
from bids_mfi.group.visits import (
    Visit,
    blank_near,
    describe_match,
    find_own,
    find_strangers,
    join_lines,
    match_sessions,
    merge_visit,
    name_visit,
)

TABLE = "participants.tsv"

# A column that is only renamed must not bring its own unit along.
REMEDIES = {
    "sex": "If one of them contains the sex, rename it to sex.",
    "age": (
        "If one of them contains the age, rename it to age, and unless it is in years give its "
        "Units in {sidecar}."
    ),
    "bmi": (
        "If they hold these, rename them, and unless they are in kg/m^2, cm and kg give their "
        "Units in {sidecar}."
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Data of each participant and session from the tables.

    Attributes
    ----------
    table : DataFrame
        Index (participant_id, session_id) as requested. ``sex`` F, M or None; ``age`` and ``bmi``
        float64, NaN where missing; further columns as numbers if all values are, otherwise as text.
    findings : tuple of Finding
    source : str
        Name of the file, or empty.
    sessions : mapping of (str, str) to dict
        Cells of the ``sub-*_sessions.tsv`` by participant and session, in the order of their lines.
    """

    table: pd.DataFrame
    findings: tuple[Finding, ...]
    source: str = ""
    sessions: Mapping[Visit, Cells] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Own:
    """The table of participants: the line of each visit, and the content of its sidecar."""

    lines: Mapping[Visit, Cells]
    codes: Codes
    findings: list[Finding]
    listed: bool


def read_people(
    bids_dir: Path,
    participants_file: Path | None,
    visits: Sequence[Visit],
    asked: Collection[str] = (),
    asked_sessions: Collection[str] = (),
    *,
    own_sessions: bool = True,
) -> People:
    """Read the data of the participants of these visits.

    Parameters
    ----------
    bids_dir : Path
        Contains ``participants.tsv`` and, optionally, ``sub-*_sessions.tsv`` for each participant.
    participants_file : Path or None
        In place of ``participants.tsv``; with a column ``session_id`` it may have several lines per
        participant.
    visits : sequence of (str, str)
        Participant and session with their prefixes; ``n/a`` where there is no session.
    asked, asked_sessions : collection of str
        Participants and sessions that were selected, with their prefix; empty for all. Others
        without measures are not reported.
    own_sessions : bool
        Whether the tables of sessions in ``bids_dir`` belong to these participants; otherwise they
        are not read.

    Raises
    ------
    InputError
        A table exists but cannot be read, or ``participants_file`` does not exist.
    """
    path = participants_file or bids_dir / TABLE
    if participants_file is None and not path.exists() and not path.is_symlink():
        absent = (
            f"{path} does not exist, so sex, age and BMI can come only from tables of sessions. "
            "Add it, or name a table with --participants-file."
        )
        own = _Own({visit: {} for visit in visits}, {}, [Finding("warning", absent)], listed=False)
    else:
        own = _read_own(path, visits, asked, asked_sessions)
    nothing = Sessions({}, {}, ())
    sessions = (
        read_sessions(bids_dir, visits, own.codes, asked_sessions) if own_sessions else nothing
    )
    merged = {
        visit: blank_near(
            merge_visit(own.lines[visit], sessions.lines.get(visit, {})),
            (sessions.lines[key] for key in sessions.near.get(visit, ())),
        )
        for visit in visits
    }
    doubts = Doubts()
    table = _arrange(merged, visits, doubts)
    findings = (
        *own.findings, *sessions.findings, *_find_unknown(merged, path), *doubts.findings(),
        *find_contradictions(table),
    )  # fmt: skip
    return People(table, findings, str(path) if own.listed else "", sessions.lines)


def _read_own(
    path: Path,
    visits: Sequence[Visit],
    asked: Collection[str],
    asked_sessions: Collection[str],
) -> _Own:
    """Read the table of participants and find the line of each visit."""
    keyed, findings = read_lines(path)
    codes, damaged = read_codes(path.with_suffix(".json"))
    units, levels = Conversions(path.with_suffix(".json").name), read_sex_levels(codes)
    keyed = [(key, apply_codes(row, codes, levels, units)) for key, row in keyed]
    lines, doubled = join_lines(keyed, path.name)
    wanted = {key for key in lines if not asked or key[0] in asked}
    match = match_sessions(lines, visits)
    own, unclear = find_own(lines, visits, match.near)
    match = replace(match, unlisted=tuple(v for v in match.unlisted if (v[0], "") in lines))
    findings += [*doubled, *damaged, *find_strangers(wanted, visits, path.name), *unclear]
    findings += [*describe_match(match, path.name, asked_sessions), *units.findings()]
    return _Own(own, codes, findings, listed=bool(lines))


def _find_unknown(merged: Mapping[Visit, Cells], path: Path) -> list[Finding]:
    """Name missing columns, and participants whose line lacks a value."""
    listed = {visit: cells for visit, cells in merged.items() if cells}
    columns = dict.fromkeys(name for cells in listed.values() for name in cells)
    has_bmi = "bmi" in columns and not all(name in columns for name in BODY)
    ways = {"sex": ["sex"], "age": ["age"], "bmi": ["bmi"] if has_bmi else list(BODY)}
    findings: list[Finding] = []
    for what, names in ways.items():
        absent = [name for name in names if name not in columns]
        if absent and listed:
            wanted = "bmi, or height and weight" if what == "bmi" else what
            text = f"{path.name} has no column {wanted}; it has {_list(columns)}. "
            text += REMEDIES[what].format(sidecar=path.with_suffix(".json").name)
            findings.append(Finding("warning", text))
            continue
        text = f"Participants without {' or '.join(names)} in the table ({{n}}): missing."
        unknown = (
            name_visit(visit)
            for visit, cells in listed.items()
            if any(is_missing(cells.get(name, MISSING)) for name in names)
            and (what != "bmi" or is_missing(cells.get("bmi", MISSING)))
        )
        findings += make_findings("warning", text, unknown)
    return findings


def _list(columns: Iterable[str]) -> str:
    return ", ".join(map(shorten_cell, columns))


# --- values ------------------------------------------------------------------------------------


def _arrange(
    merged: Mapping[Visit, Cells], visits: Sequence[Visit], doubts: Doubts
) -> pd.DataFrame:
    words = list_sex_words(cells.get("sex", MISSING) for cells in merged.values())
    names = [name_visit(visit) for visit in visits]
    rows = [
        parse_person(merged.get(visit, {}), name, doubts, words)
        for visit, name in zip(visits, names, strict=True)
    ]
    index = pd.MultiIndex.from_tuples(visits, names=[PARTICIPANT, SESSION])
    table = pd.DataFrame(rows, columns=list(STANDARD), index=index)
    table["sex"] = table["sex"].astype("object").where(table["sex"].notna(), None)
    further = dict.fromkeys(name for cells in merged.values() for name in cells)
    for name in further:
        if name not in STANDARD:
            cells = [merged.get(visit, {}).get(name, MISSING) for visit in visits]
            table[name] = guess_kind(cells)
            if name not in BODY:
                doubt_column(name, cells, names, doubts)
    return table
