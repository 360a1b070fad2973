"""What is known of the participants: sex, age, BMI and more; must not know any measure or test.

``participants.tsv`` and the ``sub-*_sessions.tsv`` of BIDS, or one table that the user names. A
value that makes no sense is missing, and a finding names whose it is.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bids_mfi.errors import InputError
from bids_mfi.group_run.findings import make_findings
from bids_mfi.group_run.person import (
    BODY,
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
YEARS = frozenset({"", "year", "years", "y", "yr", "yrs", "a"})


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
    """

    table: pd.DataFrame
    findings: tuple[Finding, ...]
    source: str = ""


def read_people(
    bids_dir: Path,
    participants_file: Path | None,
    visits: Sequence[tuple[str, str]],
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
    if participants_file is None and not path.exists():
        absent = (
            f"{path} is not there, so sex, age and BMI are not known: only analyses without them "
            "are possible. Add it, or name a table by --participants-file."
        )
        return People(_arrange({}, visits, Doubts(), {}), (Finding("warning", absent),))
    lines, findings = _read_lines(path)
    codes = _read_sidecar(path)
    doubts = Doubts()
    findings += _check_units(codes, path)
    own, unclear = _find_own(lines, visits)
    sessions, broken = _read_sessions(bids_dir, visits)
    findings += unclear + broken
    merged = {visit: _merge(own[visit], sessions.get(visit, {})) for visit in visits}
    if not _in_years(codes):
        merged = {visit: cells | {"age": MISSING} for visit, cells in merged.items()}
    table = _arrange(merged, visits, doubts, codes)
    wanted = {key for key in lines if not asked or key[0] in asked}
    findings += _find_strangers(wanted, visits, path)
    findings += _find_unknown(merged, path)
    return People(table, (*findings, *doubts.findings()), str(path))


# --- tables ------------------------------------------------------------------------------------


def _read_lines(path: Path) -> tuple[dict[tuple[str, str], Cells], list[Finding]]:
    """Lines by participant and session; the session is empty where the table has none."""
    cells = _read_standard(path, (PARTICIPANT,))
    lines: dict[tuple[str, str], Cells] = {}
    same: list[str] = []
    different: list[str] = []
    for row in _records(cells):
        key = _prefix(row.pop(PARTICIPANT), "sub-"), _prefix(row.pop(SESSION, ""), "ses-")
        if not key[0]:
            continue
        known = lines.setdefault(key, row)
        if known is not row:
            (same if known == row else different).append("_".join(filter(None, key)))
            lines[key] = (
                row
                if known == row
                else {
                    name: value if value == row[name] else MISSING for name, value in known.items()
                }
            )
    name = path.name
    return lines, [
        *make_findings(
            "note", f"Participants on several lines of {name} with the same values ({{n}}): they "
            "count once.", same),
        *make_findings(
            "warning", f"Participants on several lines of {name} with different values ({{n}}): "
            "those that differ are taken as missing. Correct the table.", different),
    ]  # fmt: skip


def _read_standard(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """Read a table whose standard columns may be written in any case."""
    cells = read_cells(path, ())
    header = [str(name) for name in cells.columns]
    lower = {name.lower(): name for name in header}
    known = (PARTICIPANT, SESSION, *STANDARD, *BODY)
    renamed = {lower[name]: name for name in known if name in lower and name not in cells}
    missing = [name for name in needed if name not in lower]
    if missing:
        raise InputError(
            f"{path}: has no column {missing[0]}; it has {', '.join(header)}. "
            f"Expected tab-separated text with one line a participant.{hint_at_separator(header)}"
        )
    return cells.rename(columns=renamed)


def _records(cells: pd.DataFrame) -> list[Cells]:
    names = [str(name) for name in cells.columns]
    return [dict(zip(names, row, strict=True)) for row in cells.to_numpy().tolist()]


def _prefix(label: str, prefix: str) -> str:
    return "" if is_missing(label) else prefix + label.removeprefix(prefix)


def _find_own(
    lines: Mapping[tuple[str, str], Cells], visits: Iterable[tuple[str, str]]
) -> tuple[dict[tuple[str, str], Cells], list[Finding]]:
    """Find the line of each visit: of its session, else of the participant, else the only one."""
    by_person: dict[str, list[Cells]] = {}
    for (person, _), cells in lines.items():
        by_person.setdefault(person, []).append(cells)
    own, unclear = {}, []
    for person, session in visits:
        cells = _merge(lines.get((person, ""), {}), lines.get((person, session), {}))
        if not cells and len(by_person.get(person, ())) == 1:
            cells = by_person[person][0]
        own[person, session] = cells
        if not cells and person in by_person:
            unclear.append("_".join(_known((person, session))))
    text = (
        "Scans of a session for which the participants' table has no line, but several of other "
        "sessions ({n}): sex, age and BMI are missing."
    )
    return own, make_findings("warning", text, unclear)


def _read_sessions(
    bids_dir: Path, visits: Iterable[tuple[str, str]]
) -> tuple[dict[tuple[str, str], Cells], list[Finding]]:
    """Read ``sub-*_sessions.tsv`` of the participants that have sessions."""
    found: dict[tuple[str, str], Cells] = {}
    broken = []
    for person in dict.fromkeys(person for person, session in visits if session != MISSING):
        path = bids_dir / person / f"{person}_sessions.tsv"
        if not path.exists():
            continue
        try:
            for row in _records(_read_standard(path, (SESSION,))):
                found[person, _prefix(row.pop(SESSION), "ses-")] = row
        except InputError as error:
            broken.append(str(error))
    text = "Tables of sessions that cannot be read ({n}): the participants' values are used."
    return found, make_findings("warning", text, broken)


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


def _find_strangers(
    lines: Iterable[tuple[str, str]], visits: Iterable[tuple[str, str]], path: Path
) -> list[Finding]:
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


def _find_unknown(merged: Mapping[tuple[str, str], Cells], path: Path) -> list[Finding]:
    """Name columns that are not there, and participants in whose line a value is missing."""
    listed = {visit: cells for visit, cells in merged.items() if cells}
    columns = dict.fromkeys(name for cells in listed.values() for name in cells)
    ways = {"sex": ["sex"], "age": ["age"], "bmi": ["bmi"] if "bmi" in columns else list(BODY)}
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
        )
        findings += make_findings("warning", text, unknown)
    return findings


# --- codes -------------------------------------------------------------------------------------


def _read_sidecar(path: Path) -> dict[str, Any]:
    """Read ``participants.json``; what is not there or damaged says nothing."""
    try:
        content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {str(name).lower(): entry for name, entry in entries if isinstance(entry, dict)}


def _in_years(codes: Mapping[str, Any]) -> bool:
    return str(codes.get("age", {}).get("Units", "")).strip().lower() in YEARS


def _check_units(codes: Mapping[str, Any], path: Path) -> list[Finding]:
    if _in_years(codes):
        return []
    unit = codes["age"]["Units"]
    return [Finding(
        "warning",
        f"{path.with_suffix('.json').name} gives the unit of age as {unit}, expected years: age is "
        "taken as missing. Correct the unit or convert the ages.",
    )]  # fmt: skip


# --- values ------------------------------------------------------------------------------------


def _arrange(
    merged: Mapping[tuple[str, str], Cells],
    visits: Sequence[tuple[str, str]],
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
