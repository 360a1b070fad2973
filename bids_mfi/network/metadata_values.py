"""Values of a bundle's metadata, each checked for its kind and limits.

Every function raises TypeError or ValueError with what was found and what was expected.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from bids_mfi.muscles import Muscle, MuscleTable, find_side
from bids_mfi.printing import show_value

MOST_LABEL_INDEX = 1023  # the network has a channel for each index up to the highest
MOST_TEXT = 20_000  # characters
MOST_NAME = 200
HIGHEST_NUMBER = 1e6
HEMIS = ("L", "R")


def read_real(value: object) -> float:
    """Read a finite number of at most HIGHEST_NUMBER in magnitude.

    >>> read_real(3), read_real(0.7)
    (3.0, 0.7)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number expected, found {show_value(value)}")
    if not -HIGHEST_NUMBER <= value <= HIGHEST_NUMBER:  # NaN is not
        raise ValueError(
            f"a finite number up to {HIGHEST_NUMBER:g} in magnitude expected, "
            f"found {show_value(value)}"
        )
    return float(value)


def read_whole(value: object) -> int:
    """Read a whole number.

    >>> read_whole(3), read_whole(3.0)
    (3, 3)
    """
    number = read_real(value)
    if number != math.floor(number):
        raise ValueError(f"a whole number expected, found {show_value(value)}")
    return int(number)


def read_text(value: object, most: int = MOST_TEXT) -> str:
    """Read text of at most ``most`` characters that can be printed, line breaks included."""
    if not isinstance(value, str):
        raise TypeError(f"text expected, found {show_value(value)}")
    if len(value) > most:
        raise ValueError(f"text of at most {most} characters expected, found {len(value)}")
    if not re.sub(r"[\n\t]", "", value).isprintable():
        raise ValueError(f"text without control characters expected, found {show_value(value)}")
    return value


def read_name(value: object) -> str:
    """Read text on one line that is not empty."""
    text = read_text(value, MOST_NAME)
    if not text.strip() or not text.isprintable():
        raise ValueError(f"one line of text expected, found {show_value(value)}")
    return text


def read_sha256(value: object) -> str:
    """Read a sha256 in hexadecimal."""
    text = read_text(value)
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError(f"64 hexadecimal digits expected as sha256, found {show_value(value)}")
    return text


def read_list(kind: Callable[[object], Any], values: object, count: int | None = None) -> Any:
    """Read a tuple from a list, of ``count`` values where that is given.

    >>> read_list(read_whole, [1, 2, 3], 3)
    (1, 2, 3)
    """
    if not isinstance(values, list | tuple):
        raise TypeError(f"a list expected, found {show_value(values)}")
    if count is not None and len(values) != count:
        raise ValueError(f"{count} values expected, found {show_value(values)}")
    return tuple(kind(value) for value in values)


def read_texts(values: object) -> tuple[tuple[str, str], ...]:
    """Read pairs of names and texts; numbers become text.

    >>> read_texts({"steps": 400})
    (('steps', '400'),)
    """
    if not isinstance(values, dict):
        raise TypeError(f"an object expected, found {show_value(values)}")
    return tuple((read_text(key), read_text(str(value))) for key, value in values.items())


def read_label_rows(rows: object) -> MuscleTable:
    """Read the labels of a bundle, one object each."""
    return MuscleTable(read_list(_read_muscle, rows))


def _read_muscle(row: object) -> Muscle:
    if not isinstance(row, dict):
        raise TypeError(f"an object for each label expected, found {show_value(row)}")
    index = read_whole(row["index"])
    if not 1 <= index <= MOST_LABEL_INDEX:
        raise ValueError(f"label indices from 1 to {MOST_LABEL_INDEX} expected, found {index}")
    if not isinstance(row["hemi"], str) or row["hemi"] not in HEMIS:
        raise ValueError(f"hemi L or R expected, found {show_value(row['hemi'])}")
    texts = {key: read_name(value) for key, value in row.items() if key != "index"}
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", texts["color"]):
        raise ValueError(f"a color as #rrggbb expected, found {show_value(texts['color'])}")
    if find_side(texts["name"]) not in ("", row["hemi"]):
        raise ValueError(
            f"hemi and name of one side expected, found hemi {row['hemi']} and name "
            f"{show_value(texts['name'])}"
        )
    return Muscle(index=index, **texts)
