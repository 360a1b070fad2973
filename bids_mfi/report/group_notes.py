"""Notes of a cohort's tables, shortened."""

from collections.abc import Iterable, Sequence
from typing import Any

from bids_mfi.report.group_content import TableEntry

FEW_NAMES = 8  # pairs of muscles named in a note; more are folded


def explain_table(entry: TableEntry | None, muscles: Iterable[str]) -> dict[str, Any]:
    """Head and texts of the notes of a table.

    Returns
    -------
    dict
        ``head`` (str) and ``notes``: (text, what is folded below it) each.
    """
    if entry is None:
        return {"head": "Not made", "notes": [("This table was not made.", "")]}
    gaps = entry.table.empty or bool(entry.table.isna().any(axis=None))
    if entry.table.empty and not entry.notes:
        return {"head": "Empty", "notes": [("This table has no rows.", "")]}
    known = list(muscles)
    return {
        "head": "Reasons for n/a" if gaps else "Notes",
        "notes": [shorten_note(note, known) for note in entry.notes],
    }


def shorten_note(note: str, muscles: Sequence[str]) -> tuple[str, str]:
    """Say *all muscles* instead of naming all; fold a long list of pairs.

    Returns
    -------
    (str, str)
        The note, and the names removed from it.

    Examples
    --------
    >>> shorten_note("ANCOVA of TR, LC, LS, mean: n/a, because few.", ["TR", "LC", "LS"])
    ('ANCOVA of all muscles and their mean: n/a, because few.', '')
    >>> shorten_note("ANCOVA of TR: n/a, because few.", ["TR", "LC", "LS"])
    ('ANCOVA of TR: n/a, because few.', '')
    """
    head, _, reason = note.partition(": ")
    what, _, listed = head.rpartition(" of ")
    names = set(listed.split(", "))
    pairs = {f"{a}-{b}" for a in muscles for b in muscles if a != b}
    if len(muscles) > 1 and names == {*muscles, "mean"}:
        return f"{what} of all muscles and their mean: {reason}", ""
    if len(muscles) > 1 and names == set(muscles):
        return f"{what} of all muscles: {reason}", ""
    if not names <= pairs or len(names) <= FEW_NAMES:
        return note, ""
    if 2 * len(names) == len(pairs):
        return f"{what} of all pairs of muscles: {reason}", ""
    return f"{what} of {len(names)} pairs of muscles: {reason}", listed
