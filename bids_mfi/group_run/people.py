"""What is known of the participants: sex, age, BMI and more; must not know any measure or test.

``participants.tsv`` and the ``sub-*_sessions.tsv`` of BIDS, or one table that the user names. A
value that makes no sense is missing, and a finding names whose it is.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bids_mfi.errors import InputError
from bids_mfi.group_run.findings import make_findings
from bids_mfi.group_run.person import (
    BODY,
    UNITS,
    Cells,
    Doubts,
    guess_kind,
    parse_person,
    read_sex_levels,
)
from bids_mfi.report.group_page import Finding
from bids_mfi.tables import MISSING, hint_at_separator, is_missing, loosen_label, read_cells

TABLE = "participants.tsv"
PARTICIPANT, SESSION = "participant_id", "session_id"
STANDARD = ("sex", "age", "bmi")
Visit = tuple[str, str]  # participant and session
KNOWN_UNITS = {
    "age": frozenset({"", "year", "years", "y", "yr", "yrs", "a"}),
    "height": frozenset({"", "cm", "centimeter", "centimeters", "centimetre", "centimetres"}),
    "weight": frozenset({"", "kg", "kilogram", "kilograms", "kilogramme", "kilogrammes"}),
}


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """What the tables say of each participant and session.

    Attributes
    ----------
    table : DataFrame
        Index (participant_id, session_id) as asked for. ``sex`` F, M or None; ``age`` and ``bmi``
        float64, NaN where missing; further columns as numbers where all are, else text.
    findings : tuple of Finding
    source : str
        Which file it comes from, or empty.
    sessions : mapping of (str, str) to dict
        Cells of the ``sub-*_sessions.tsv`` by participant and session, in the order of their lines.
    """

    table: pd.DataFrame
    findings: tuple[Finding, ...]
    source: str = ""
    sessions: Mapping[Visit, Cells] = field(default_factory=dict)


def read_people(
    bids_dir: Path,
    participants_file: Path | None,
    visits: Sequence[Visit],
    asked: Collection[str] = (),
) -> People:
    """Read what is known of the participants of these visits.

    Parameters
    ----------
    bids_dir : Path
        Holds ``participants.tsv`` and, for each participant, perhaps ``sub-*_sessions.tsv``.
    participants_file : Path or None
        In place of ``participants.tsv``; with a column ``session_id`` it may hold several lines a
        participant.
    visits : sequence of (str, str)
        Participant and session with their prefixes; ``n/a`` where there is no session.
    asked : collection of str
        Participants that were selected, with their prefix; empty for all. Others without measures
        are not missed.

    Raises
    ------
    InputError
        A table is there and cannot be read, or ``participants_file`` is not there.
    """
    path = participants_file or bids_dir / TABLE
    lines: dict[Visit, Cells] = {}
    codes: dict[str, Any] = {}
    if participants_file is None and not path.exists():
        absent = (
            f"{path} is not there, so sex, age and BMI are known from tables of sessions at most. "
            "Add it, or name a table by --participants-file."
        )
        findings = [Finding("warning", absent)]
    else:
        lines, findings = _read_lines(path)
        codes, damaged = _read_sidecar(path)
        wanted = {key for key in lines if not asked or key[0] in asked}
        findings += damaged + _find_strangers(wanted, visits, path)
    own, unclear = _find_own(lines, visits)
    sessions, broken = _read_sessions(bids_dir, visits)
    merged = {visit: _merge(own[visit], sessions.get(visit, {})) for visit in visits}
    merged, other_units = _leave_out_units(merged, codes, path)
    doubts = Doubts()
    table = _arrange(merged, visits, doubts, codes)
    findings += unclear + broken + other_units + _find_unknown(merged, path) + doubts.findings()
    return People(table, tuple(findings), str(path) if lines else "", sessions)


# --- tables ------------------------------------------------------------------------------------


def _read_lines(path: Path) -> tuple[dict[Visit, Cells], list[Finding]]:
    """Lines by participant and session; the session is empty where the table has none."""
    rows = _records(_read_standard(path, (PARTICIPANT,)))
    keyed = [
        ((_prefix(row.pop(PARTICIPANT), "sub-"), _prefix(row.pop(SESSION, ""), "ses-")), row)
        for row in rows
    ]
    return _join_lines([(key, row) for key, row in keyed if key[0]], path.name)


def _join_lines(
    keyed: Iterable[tuple[Visit, Cells]], name: str
) -> tuple[dict[Visit, Cells], list[Finding]]:
    """Make one line of those with the same key; what differs is missing."""
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
            "differ are taken as missing. Correct the table.", different),
    ]  # fmt: skip


def _read_standard(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """Read a table whose standard columns may be written in any case."""
    cells = read_cells(path, ())
    header = [str(name) for name in cells.columns]
    lower = {name.lower(): name for name in header}
    known = (PARTICIPANT, SESSION, *STANDARD, *BODY)
    renamed = {lower[name]: name for name in known if name in lower and name not in cells}
    _check_twice(path, header, known)
    missing = [name for name in needed if name not in lower]
    if missing:
        raise InputError(
            f"{path}: has no column {missing[0]}; it has {', '.join(header)}. "
            f"Expected tab-separated text with one line a participant.{hint_at_separator(header)}"
        )
    return cells.rename(columns=renamed)


def _check_twice(path: Path, header: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a standard column that is there twice in different case."""
    for name in known:
        same = [column for column in header if column.lower() == name]
        if len(same) > 1:
            raise InputError(
                f"{path}: has the columns {' and '.join(same)}, expected one of them; rename one."
            )


def _records(cells: pd.DataFrame) -> list[Cells]:
    names = [str(name) for name in cells.columns]
    return [dict(zip(names, row, strict=True)) for row in cells.to_numpy().tolist()]


def _prefix(label: str, prefix: str) -> str:
    return "" if is_missing(label) else prefix + label.removeprefix(prefix)


def _find_own(
    lines: Mapping[Visit, Cells], visits: Iterable[Visit]
) -> tuple[dict[Visit, Cells], list[Finding]]:
    """Find the line of each visit: of its session, else of the participant, else the only one."""
    by_person: dict[str, list[Cells]] = {}
    for (person, _), cells in lines.items():
        by_person.setdefault(person, []).append(cells)
    own: dict[Visit, Cells] = {}
    unclear, borrowed = [], []
    for person, session in visits:
        cells = _merge(lines.get((person, ""), {}), lines.get((person, session), {}))
        if not cells and len(by_person.get(person, ())) == 1:
            cells = by_person[person][0]
            borrowed.append("_".join(_known((person, session))))
        own[person, session] = cells
        if not cells and person in by_person:
            unclear.append("_".join(_known((person, session))))
    text = (
        "Scans of a session for which the participants' table has no line, but several of other "
        "sessions ({n}): sex, age and BMI are missing."
    )
    return own, [
        *make_findings("warning", text, unclear),
        *make_findings(
            "note",
            "Scans of a session for which the participants' table has no line, but one of another "
            "session ({n}): that is used.",
            borrowed,
        ),
    ]


def _read_sessions(
    bids_dir: Path, visits: Iterable[Visit]
) -> tuple[dict[Visit, Cells], list[Finding]]:
    """Read ``sub-*_sessions.tsv`` of the participants that have sessions."""
    keyed: list[tuple[Visit, Cells]] = []
    broken = []
    for person in dict.fromkeys(person for person, session in visits if session != MISSING):
        path = bids_dir / person / f"{person}_sessions.tsv"
        if not path.exists():
            continue
        try:
            rows = _records(_read_standard(path, (SESSION,)))
        except InputError as error:
            broken.append(str(error))
            continue
        keyed += [((person, _prefix(row.pop(SESSION), "ses-")), row) for row in rows]
    lines, findings = _join_lines(keyed, "sub-*_sessions.tsv")
    text = "Tables of sessions that cannot be read ({n}): the participants' values are used."
    return lines, [*findings, *make_findings("warning", text, broken)]


def _merge(own: Cells, session: Cells) -> Cells:
    """Let the values of a session go before those of the participant.

    A weight or height of the session makes the participant's BMI void, if both are known.
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


def _find_strangers(lines: Iterable[Visit], visits: Iterable[Visit], path: Path) -> list[Finding]:
    """Name participants that only the tables of measures have, or only the table of people."""
    listed, scanned = {person for person, _ in lines}, {person for person, _ in visits}
    near = {loosen_label(person): person for person in listed - scanned}
    unlisted = [
        f"{person} ({near[loosen_label(person)]} in the table?)"
        if loosen_label(person) in near
        else person
        for person in scanned - listed
    ]
    return [
        *make_findings(
            "warning", f"Participants with measures but no line in {path.name} ({{n}}): sex, age "
            "and BMI are missing, and analyses that need them leave them out.", unlisted),
        *make_findings(
            "warning", f"Participants of {path.name} without measures ({{n}}): they are in no "
            "analysis.", listed - scanned),
    ]  # fmt: skip


def _find_unknown(merged: Mapping[Visit, Cells], path: Path) -> list[Finding]:
    """Name columns that are not there, and participants in whose line a value is missing."""
    listed = {visit: cells for visit, cells in merged.items() if cells}
    columns = dict.fromkeys(name for cells in listed.values() for name in cells)
    has_bmi = "bmi" in columns and not all(name in columns for name in BODY)
    ways = {"sex": ["sex"], "age": ["age"], "bmi": ["bmi"] if has_bmi else list(BODY)}
    findings: list[Finding] = []
    for what, names in ways.items():
        absent = [name for name in names if name not in columns]
        if absent and listed:
            wanted = "bmi, or height and weight" if what == "bmi" else what
            text = f"{path.name} has no column {wanted}; it has {', '.join(columns)}. Rename it."
            findings.append(Finding("warning", text))
            continue
        text = f"Participants without {' or '.join(names)} in the table ({{n}}): missing."
        unknown = (
            "_".join(_known(visit))
            for visit, cells in listed.items()
            if any(is_missing(cells.get(name, MISSING)) for name in names)
            and (what != "bmi" or is_missing(cells.get("bmi", MISSING)))
        )
        findings += make_findings("warning", text, unknown)
    return findings


# --- codes -------------------------------------------------------------------------------------


def _read_sidecar(path: Path) -> tuple[dict[str, Any], list[Finding]]:
    """Read ``participants.json``; one that is damaged says nothing, and is named."""
    sidecar = path.with_suffix(".json")
    if not sidecar.exists():
        return {}, []
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8-sig"))
        entries = {str(name).lower(): entry for name, entry in content.items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        cause = str(error).split("\n")[0]
        text = (
            f"{sidecar.name} cannot be read ({cause}): its units and codes are not known. Correct "
            "it; age is taken as years, height as cm, weight as kg."
        )
        return {}, [Finding("warning", text)]
    return {name: entry for name, entry in entries.items() if isinstance(entry, dict)}, []


def _leave_out_units(
    merged: Mapping[Visit, Cells], codes: Mapping[str, Any], path: Path
) -> tuple[dict[Visit, Cells], list[Finding]]:
    """Take values in other units than expected as missing."""
    findings, left_out = [], {}
    for name, words in KNOWN_UNITS.items():
        unit = str(codes.get(name, {}).get("Units") or "").strip()
        if unit.lower() not in words:
            text = (
                f"{path.with_suffix('.json').name} gives the unit of {name} as {unit}, expected "
                f"{UNITS[name]}: {name} is taken as missing. Correct the unit, or convert."
            )
            findings.append(Finding("warning", text))
            left_out[name] = MISSING
    known = {visit: cells | {k: v for k, v in left_out.items() if k in cells}
             for visit, cells in merged.items()}  # fmt: skip
    return known, findings


# --- values ------------------------------------------------------------------------------------


def _arrange(
    merged: Mapping[Visit, Cells],
    visits: Sequence[Visit],
    doubts: Doubts,
    codes: Mapping[str, Any],
) -> pd.DataFrame:
    levels = read_sex_levels(codes)
    rows = [parse_person(merged.get(v, {}), "_".join(_known(v)), doubts, levels) for v in visits]
    index = pd.MultiIndex.from_tuples(visits, names=[PARTICIPANT, SESSION])
    table = pd.DataFrame(rows, columns=list(STANDARD), index=index)
    table["sex"] = table["sex"].astype("object").where(table["sex"].notna(), None)
    further = dict.fromkeys(name for cells in merged.values() for name in cells)
    for name in further:
        if name not in STANDARD:
            table[name] = guess_kind([merged.get(v, {}).get(name, MISSING) for v in visits])
    return table


def _known(visit: tuple[str, str]) -> list[str]:
    return [label for label in visit if label != MISSING]
