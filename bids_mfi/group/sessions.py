"""The ``sub-*_sessions.tsv`` of BIDS with their sidecars."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_mfi.cells import MISSING, loosen_label
from bids_mfi.errors import InputError
from bids_mfi.findings import Finding, make_findings
from bids_mfi.group.codes import (
    Codes,
    Conversions,
    apply_codes,
    find_factor,
    list_entries,
    read_codes,
    read_sex_levels,
    read_unit,
)
from bids_mfi.group.people_table import SESSION, list_records, prefix, read_standard
from bids_mfi.group.person import UNITS, Cells
from bids_mfi.group.visits import Visit, describe_match, join_lines, match_sessions

TABLES = "sub-*_sessions.tsv"
SIDECARS = "sub-*_sessions.json"


@dataclass(frozen=True, slots=True)
class Sessions:
    """Content of the tables of sessions.

    Attributes
    ----------
    lines : dict
        Cells by participant and session, in the usual units.
    near : dict
        Measured visits whose line probably has another spelling, and the keys of these lines.
    findings : tuple of Finding
    """

    lines: dict[Visit, Cells]
    near: dict[Visit, tuple[Visit, ...]]
    findings: tuple[Finding, ...]


def read_sessions(
    bids_dir: Path,
    visits: Sequence[Visit],
    own_codes: Codes,
    asked_sessions: Collection[str] = (),
) -> Sessions:
    """Read ``sub-*_sessions.tsv`` of the participants of these visits.

    Units and Levels are those of ``sub-*_sessions.json`` beside the table, otherwise of
    ``sessions.json`` in BIDS_DIR, otherwise ``own_codes``, those of the table of participants.
    """
    shared, findings = read_codes(bids_dir / "sessions.json")
    reading = _Reading(
        Conversions(f"The sidecar of {TABLES}"), list_entries((own_codes, shared)), shared
    )
    measured = {person for person, session in visits if session != MISSING}
    keyed: list[tuple[Visit, Cells]] = []
    for person in dict.fromkeys(person for person, _ in visits):
        path = bids_dir / person / f"{person}_sessions.tsv"
        if not path.exists() and not path.is_symlink():
            continue
        if person not in measured:
            reading.unused.append(person)
            continue
        try:
            keyed += [((person, session), row) for session, row in _read_table(path, reading)]
        except InputError as error:
            reading.broken.append(str(error))
    lines, doubled = join_lines(keyed, TABLES)
    match = match_sessions(lines, visits)
    findings += [*doubled, *reading.findings(), *_find_astray(bids_dir, measured)]
    findings += describe_match(match, TABLES, asked_sessions)
    return Sessions(lines, match.near, tuple(findings))


class _Reading:
    """What the reading of the tables finds."""

    def __init__(self, units: Conversions, codes: Codes, shared: Codes) -> None:
        self.units, self.codes, self.shared = units, codes, shared
        self.broken: list[str] = []
        self.unused: list[str] = []
        self.nameless: list[str] = []
        self.damaged: dict[str, list[Finding]] = {}
        self.borrowed: dict[str, str] = {}

    def findings(self) -> list[Finding]:
        text = "Tables of sessions that cannot be read ({n}): the participants' values are used."
        unused = (
            f"Participants with a {TABLES}, whose scans have no session ({{n}}): that table is not "
            "used. Name the scans with a session, or put its values into participants.tsv."
        )
        nameless = f"Lines of {TABLES} without a session_id ({{n}}): left out."
        borrowed = (
            Finding("note", f"{SIDECARS} and sessions.json give no unit of {column}: that of the "
                    f"participants' sidecar, {unit}, is used for {TABLES} too.")
            for column, unit in self.borrowed.items()
        )  # fmt: skip
        return [
            *make_findings("warning", text, self.broken),
            *make_findings("warning", unused, self.unused),
            *make_findings("warning", nameless, self.nameless),
            *(finding for found in self.damaged.values() for finding in found),
            *borrowed,
            *self.units.findings(),
        ]


def _read_table(path: Path, reading: _Reading) -> list[tuple[str, Cells]]:
    """Sessions with their prefix and cells in the usual units."""
    person = path.parent.name
    rows = list_records(read_standard(path, SESSION))
    nearer, damaged = read_codes(
        path.with_suffix(".json"), "units of sessions.json and participants.json are used."
    )
    if damaged:
        reading.damaged[person] = damaged
    codes = list_entries((reading.codes, nearer))
    levels = read_sex_levels(codes)
    _note_borrowed(rows, reading, nearer)
    found = []
    for line, row in rows:
        session = prefix(SESSION, row.pop(SESSION))
        if session:
            found.append((session, apply_codes(row, codes, levels, reading.units, person)))
        else:
            reading.nameless.append(f"{path.name} line {line}")
    return found


def _note_borrowed(rows: Sequence[tuple[int, Cells]], reading: _Reading, nearer: Codes) -> None:
    """Record units that only the sidecar of the participants' table gives."""
    for column in UNITS:
        unit = read_unit(reading.codes.get(column, {}))
        own = column in nearer or column in reading.shared
        if not own and find_factor(column, unit) != 1.0 and any(column in row for _, row in rows):
            reading.borrowed[column] = unit


def _find_astray(bids_dir: Path, measured: Iterable[str]) -> list[Finding]:
    """Name tables of sessions that no participant with measures has under this name."""
    known = set(measured)
    near = {loosen_label(person): person for person in sorted(known)}
    try:
        found = sorted(bids_dir.glob("[sS][uU][bB]*/*_[sS]essions.tsv"))
    except OSError:
        found = []
    odd = [
        str(path.relative_to(bids_dir))
        for path in found
        if path.name != f"{path.parent.name}_sessions.tsv"
        or (path.parent.name not in known and loosen_label(path.parent.name) in near)
    ]
    odd += ["sessions.tsv"] if (bids_dir / "sessions.tsv").exists() else []
    return make_findings(
        "warning",
        f"Tables of sessions that are not {TABLES} of a participant with measures ({{n}}): not "
        "read. Rename them, or join them into one table and name it with --participants-file.",
        odd,
    )
