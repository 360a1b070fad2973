"""Cells of tab-separated tables that users bring.

Changes by spreadsheets that keep the content are accepted: a byte order mark, UTF-16, any line
end, quotes, invisible characters, empty columns. Anything ambiguous is refused, with file and line.
"""

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_mfi.errors import InputError
from bids_mfi.indices import strip_zeros
from bids_mfi.reading import read_regular_file

if TYPE_CHECKING:
    import pandas as pd

MISSING = "n/a"
# What spreadsheets write where a formula failed is missing too.
MISSING_WORDS = frozenset({
    "", "n/a", "na", "nan", "null", "none", "n.a.", "n.a", "<na>", "#n/a", "#value!", "#ref!",
    "#div/0!", "#name?", "#num!", "#null!",
})  # fmt: skip
SEPARATORS = {",": "commas", ";": "semicolons", "|": "bars"}
Row = list[Any]  # cells of a line

ALIASES = {
    "participant_id": frozenset({"participant", "participantid", "subject", "subject_id",
                                 "subjectid", "sub", "sub_id"}),
    "session_id": frozenset({"session", "sessionid", "ses", "ses_id"}),
    "run_id": frozenset({"run"}),
}  # fmt: skip
_WIDE_TEXTS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
# Nothing is seen of these. Directions, joiners, soft hyphens, byte order marks within a text.
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065),
     *range(0x2066, 0x206A), 0xFEFF]
)  # fmt: skip
_LINE_END = re.compile(r"\r*\n|\r")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
MOST_SHOWN = 40  # characters of a cell in a message


def read_cells(
    path: Path, needed: Sequence[str], identifiers: Sequence[str] = ()
) -> "pd.DataFrame":
    """Read a tab-separated file as text, stripped; the index is the line in the file.

    BIDS has no quoting, but spreadsheets quote: quotes around a whole cell are removed.
    Columns without name and content are left out. A column that :func:`find_alias` finds for one of
    ``identifiers`` gets its name.

    Raises
    ------
    InputError
        It is missing, not a regular file or not text; or it lacks one of the ``needed``
        columns, has two columns of the same name, no rows, a row with more or fewer cells than the
        header, or a cell with unbalanced quotes.
    """
    import pandas as pd

    header, rows = split_cells(path, (), None)
    header = _rename_identifiers(path, header, identifiers)
    _check_header(path, header, needed)
    index = pd.Index([line for line, _ in rows], name="line")
    return pd.DataFrame([row for _, row in rows], columns=header, index=index, dtype="str")


def _rename_identifiers(path: Path, header: Sequence[str], identifiers: Sequence[str]) -> list[str]:
    renamed = list(header)
    for wanted in identifiers:
        found = find_alias(header, wanted)
        if len(found) > 1:
            raise InputError(
                f"{path}: has no column {wanted}, but {' and '.join(found)}. Rename the column "
                f"that holds it to {wanted}."
            )
        renamed = [wanted if name in found else name for name in renamed]
    return renamed


def split_cells(
    path: Path, needed: Sequence[str], data: bytes | None = None
) -> tuple[list[str], list[tuple[int, Row]]]:
    """Header, and the number and cells of each line, as in :func:`read_cells`.

    ``data`` is the content of the file, if it has already been read.
    """
    text = _decode(path, _read(path) if data is None else data)
    rows = [
        (number, [cell.strip() for cell in line.split("\t")])
        for number, line in enumerate(_split_lines(text), start=1)
        if line.strip()
    ]
    if '"' in text:
        rows = [(n, [_unquote(path, n, cell) for cell in cells]) for n, cells in rows]
    if not rows:
        raise InputError(
            f"{path}: is empty. Expected a tab-separated table with a header; export it again."
        )
    _drop_empty_columns(rows)
    header = rows[0][1]
    _check_header(path, header, needed)
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {line} has {len(row)} cells, expected {len(header)} as in the "
                "header; export the table again as tab-separated text."
            )
    if len(rows) < 2:
        raise InputError(f"{path}: has a header and no rows, expected at least one row.")
    return header, rows[1:]


def _split_lines(text: str) -> list[str]:
    return _LINE_END.split(text) if "\r" in text else text.split("\n")


def _drop_empty_columns(rows: Sequence[tuple[int, Row]]) -> None:
    """Remove columns without name and content, which spreadsheets append.

    A row may have more or fewer cells than the header, as long as only such columns differ.
    """
    header = rows[0][1]
    if all(header) and all(len(cells) == len(header) for _, cells in rows):
        return
    named = _count_cells(header)
    filled = max(_count_cells(cells) for _, cells in rows)
    for _, cells in rows:
        del cells[max(_count_cells(cells), min(filled, len(header)), named) :]
        if named <= len(cells) < filled <= len(header):
            cells += [""] * (filled - len(cells))
    for place in [place for place, name in enumerate(header) if not name][::-1]:
        if all(len(cells) == len(header) and not cells[place] for _, cells in rows):
            for _, cells in rows:
                del cells[place]


def _count_cells(cells: Row) -> int:
    """Cells up to the last non-empty one."""
    return max((place for place, cell in enumerate(cells, start=1) if cell), default=0)


def _unquote(path: Path, line: int, cell: str) -> str:
    """Remove the quotes around a cell that a spreadsheet added.

    >>> [_unquote(Path("a.tsv"), 2, cell) for cell in ('"TR"', '"5"" cut"', '5" cut')]
    ['TR', '5" cut', '5" cut']
    """
    if not cell.startswith('"'):
        return cell
    inner = cell[1:-1]
    if len(cell) < 2 or not cell.endswith('"') or '"' in inner.replace('""', ""):
        raise InputError(
            f"{path}: line {line} has the cell {shorten_cell(cell)}, whose quotes are not "
            "balanced. Expected text without quotes, or quotes around the whole cell; remove the "
            "stray quote."
        )
    return inner.replace('""', '"').strip()


def shorten_cell(text: str) -> str:
    """Cut a cell for a message.

    >>> shorten_cell("x" * 100_000)[-20:]
    '... (100000 letters)'
    """
    text = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}... ({len(text)} letters)"
    return text if text.isprintable() else ascii(text)[1:-1]


def _read(path: Path) -> bytes:
    try:
        return read_regular_file(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}). Expected a tab-separated table; "
            "check the path and its permissions."
        ) from error


def _decode(path: Path, data: bytes) -> str:
    """Text without invisible characters; UTF-8, or what the byte order mark says."""
    mark = next((mark for mark in _WIDE_TEXTS if data.startswith(mark)), b"")
    try:
        text = data.decode(_WIDE_TEXTS[mark] if mark else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(_split_lines(data[: error.start].decode("latin-1")))
        raise InputError(
            f"{path}: is not UTF-8 text from line {line} on. Expected tab-separated text; export "
            "the table again and choose UTF-8 as its encoding."
        ) from None
    if "\0" in text:
        line = len(_split_lines(text[: text.index("\0")]))
        raise InputError(
            f"{path}: line {line} holds a NUL byte, as in UTF-16 without a byte order mark or a "
            "damaged file. Expected UTF-8 text; export the table again."
        )
    return text if text.isascii() else text.translate(_INVISIBLE)


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in header]
    if missing:
        raise InputError(
            f"{path}: has no column {' and no column '.join(missing)}; it has "
            f"{list_columns(header)}. Expected a table like group_mfi.tsv."
            f"{hint_at_separator(header)}"
        )
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice == [""]:
        raise InputError(
            f"{path}: has {header.count('')} columns with content and without a name; name them "
            "in the header, or remove them."
        )
    if twice:
        raise InputError(
            f"{path}: has two columns {shorten_cell(min(twice))}, expected one; rename or "
            "remove one."
        )


def list_columns(header: Sequence[str]) -> str:
    """Name the columns of a table in a message."""
    return ", ".join(map(shorten_cell, filter(None, header))) or "none at all"


def hint_at_separator(header: Sequence[str]) -> str:
    """Say what to do with a table that is probably not separated by tabs; otherwise empty."""
    if len(header) != 1:
        return ""
    found = next((word for sign, word in SEPARATORS.items() if sign in header[0]), "")
    what = f"It seems to be separated by {found}" if found else "It has only one column"
    return f" {what}: save it as tab-separated text."


def find_alias(header: Sequence[str], wanted: str) -> list[str]:
    """List the columns that may replace the missing column of an identifier.

    Examples
    --------
    >>> find_alias(["Subject", "age"], "participant_id"), find_alias(["session_id"], "session_id")
    (['Subject'], [])
    """
    if any(name.lower() == wanted for name in header):
        return []
    plain = [(re.sub(r"[\s.-]+", "_", name.lower()), name) for name in header]
    return [name for short, name in plain if short in ALIASES[wanted] or short == wanted]


def is_missing(cell: str) -> bool:
    """Whether a cell marks a missing value."""
    return cell.lower() in MISSING_WORDS


def parse_decimal(cell: str) -> float:
    """Read a number as people write it; digits are not grouped.

    Raises
    ------
    ValueError
        It is not a number, or not finite.

    Examples
    --------
    >>> parse_decimal("2.5e1"), parse_decimal("-3")
    (25.0, -3.0)
    """
    if not _NUMBER.fullmatch(cell):
        raise ValueError(cell)
    value = float(cell)
    if value in (float("inf"), float("-inf")):
        raise ValueError(cell)
    return value


# --- identifiers -------------------------------------------------------------------------------

PREFIXES = {"participant_id": "sub-", "session_id": "ses-", "run_id": "run-"}
_WORDS = re.compile(r"^(?:(?:sub|subject|participant|ses|session|run)(?:[-_ ]+|(?=\d)))+(?=.)")
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"


def strip_prefix(column: str, cell: str) -> str:
    """Remove the prefix of an identifier, even if a spreadsheet changed its case.

    Examples
    --------
    >>> strip_prefix("participant_id", "SUB-01"), strip_prefix("session_id", "sub-01")
    ('01', 'sub-01')
    """
    prefix = PREFIXES[column]
    return cell[len(prefix) :] if cell[: len(prefix)].lower() == prefix else cell


def loosen_label(label: str) -> str:
    """Make identifiers equal that a spreadsheet or a typist may have made different.

    Leading zeros, case, prefixes, signs and spaces are ignored; ``1E5`` is 100000, and ``1-Mar``
    is MAR1.

    >>> [loosen_label(label) for label in ("01", "1.0", "Sub-1", "P01", "000", "sub-sub_1")]
    ['1', '1', '1', 'p1', '0', '1']
    >>> [loosen_label(label) for label in ("1.00E+05", "sub-1e5", "1-Mar", "MAR01")]
    ['100000', '100000', 'mar1', 'mar1']
    """
    plain = unicodedata.normalize("NFKC", label).strip().lower()
    plain = _WORDS.sub("", plain)
    plain = plain.removesuffix(".0")
    exponent = re.fullmatch(r"(\d)(?:[.,](\d+))?e\+?(\d{1,2})", plain)
    if exponent and len(exponent[2] or "") <= int(exponent[3]):
        whole = exponent[1] + (exponent[2] or "")
        plain = whole + "0" * (int(exponent[3]) - len(exponent[2] or ""))
    plain = re.sub(r"[\W_]+", "", plain)
    plain = re.sub(rf"^(\d+)({_MONTHS})", r"\2\1", plain)
    return re.sub(r"\d+", lambda found: strip_zeros(found[0]), plain)
