"""Markdown tables, and their place in a document."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Make a table; all columns but the first are aligned to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def judge(value: float, most: float) -> str:
    """Say whether a value is within its limit."""
    return "met" if value <= most else "**missed**"


def paste(document: Path, name: str, text: str) -> None:
    """Replace what is between ``<!-- bench: NAME -->`` and ``<!-- end -->`` in a document.

    Raises
    ------
    ValueError
        The document has no such place.
    """
    place = re.compile(rf"(<!-- bench: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    pasted, count = place.subn(
        lambda found: f"{found[1]}\n{text}\n\n{found[2]}", document.read_text()
    )
    if count != 1:
        raise ValueError(f"{document}: {count} places for the table {name}, expected one")
    document.write_text(pasted)
