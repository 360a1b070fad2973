"""JSON and tab-separated text as the program writes and reads them."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING as REQUIRED
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

MISSING = "n/a"
Record = TypeVar("Record")


def first_line(error: BaseException) -> str:
    """Give the first line of an error's text, or its class where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def encode_json(content: dict[str, Any]) -> bytes:
    r"""Encode JSON with sorted keys; numbers that are not finite become null.

    Examples
    --------
    >>> encode_json({"b": 1, "a": float("nan")})
    b'{\n  "a": null,\n  "b": 1\n}\n'
    """
    text = json.dumps(
        make_finite(content), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return (text + "\n").encode()


def make_finite(content: Any) -> Any:
    """Replace numbers that are not finite by None, however deep they are."""
    if isinstance(content, dict):
        return {key: make_finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [make_finite(value) for value in content]
    if isinstance(content, float):
        return float(content) if math.isfinite(content) else None
    return content


def encode_table(columns: list[str], rows: Iterable[dict[str, Any]]) -> bytes:
    r"""Encode tab-separated text; floats keep every digit, not finite ones become ``n/a``.

    Examples
    --------
    >>> encode_table(["a", "b"], [{"a": 0.1, "b": float("nan")}])
    b'a\tb\n0.1\tn/a\n'
    """
    lines = [columns, *([_format_cell(row[name]) for name in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _format_cell(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else MISSING
    return re.sub(r"[\t\r\n]+", " ", str(value)) or MISSING


def parse_row(row: Mapping[str, str], kind: type[Record]) -> Record:
    """Read a row back as a dataclass with a field for each column.

    A column may be missing where its field has a default: earlier versions did not write it.

    Raises
    ------
    KeyError
        Another column is missing.
    ValueError
        A cell is not of the kind of its field.
    """
    later = {field.name for field in fields(kind) if field.default is not REQUIRED}  # type: ignore[arg-type]
    kinds = {n: cell for n, cell in get_type_hints(kind).items() if n in row or n not in later}
    return kind(**{name: _parse_cell(row[name], cell) for name, cell in kinds.items()})


def _parse_cell(text: str, kind: type) -> Any:
    if kind is float:
        return math.nan if text == MISSING else float(text)
    return kind("" if text == MISSING else text)
