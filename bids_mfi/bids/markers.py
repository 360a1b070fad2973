"""The marker of a finished scan as a checked document.

The marker is the sidecar ``*_mfi.json`` of a scan's table. It holds a checksum of its own content,
so that a value changed by hand is noticed, and each of its values is checked for its type before
anything else reads it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from bids_mfi.errors import DatasetError
from bids_mfi.measure.quality import SEVERITIES

SEAL = "ContentSHA256"
MOST_MARKER_BYTES = 4 * 2**20
LARGEST_NUMBER = 1e15
FAT_WATER = ("computed", "scanner")
# Without any of these keys a document is not a marker, but a sidecar of another program.
MARKER_KEYS = frozenset({SEAL, "Fingerprint", "Files"})
ANEW = "Run the participant level with --overwrite to measure this scan again."

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add the checksum of a marker's content to it.

    Parameters
    ----------
    content : mapping
        What JSON can hold, without NaN.

    Examples
    --------
    >>> sealed = seal({"QCFlags": ["swap"]})
    >>> find_seal(sealed), find_seal(sealed | {"QCFlags": []}), find_seal({"QCFlags": []})
    ('whole', 'altered', 'none')
    """
    return {**content, SEAL: _hash_content(content)}


def find_seal(content: Mapping[str, Any]) -> Literal["whole", "altered", "none"]:
    """Whether a marker's checksum fits its content; ``none`` if it holds no checksum."""
    if SEAL not in content:
        return "none"
    return "whole" if content[SEAL] == _hash_content(content) else "altered"


def _hash_content(content: Mapping[str, Any]) -> str:
    """Sha256 over canonical JSON: sorted keys, no blanks, ASCII, without the checksum itself."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    try:
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    except (RecursionError, ValueError):
        return ""
    return hashlib.sha256(text.encode()).hexdigest()


def check_seal(path: Path, content: Mapping[str, Any]) -> None:
    """Raise DatasetError if a marker was changed since it was written."""
    if find_seal(content) == "altered":
        raise DatasetError(
            f"{path}: was edited, or damaged, after this program wrote it: its {SEAL} does not fit "
            f"its content. {ANEW}"
        )


def check_shape(path: Path, content: Mapping[str, Any]) -> None:
    """Raise DatasetError if a marker lacks a value, or holds one of another type than expected."""
    for name, expected in _SHAPE.items():
        _check_value(path, content, name, expected)
    _check_flags(path, content["QCFlags"])


# --- the type of each value ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Expected:
    words: str
    fits: Callable[[Any], bool]
    optional: bool = False


def _is_number(value: object) -> bool:
    """Whether a value is a number that a float can hold, and not too large to print.

    >>> [_is_number(value) for value in (1, 2.5, True, float("nan"), 10**400, "1")]
    [True, True, False, False, False, False]
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -LARGEST_NUMBER <= value <= LARGEST_NUMBER


def _is_text(value: object) -> bool:
    """Whether a value is text that a page can hold; a lone surrogate cannot be encoded."""
    return isinstance(value, str) and (value.isascii() or _SURROGATE.search(value) is None)


def _is_source(value: object) -> bool:
    return (
        _is_text(value) and str(value).startswith("bids:raw:") and "\0" not in unquote(str(value))
    )


def _is_list_of_sources(value: object) -> bool:
    return isinstance(value, list) and len(value) in (2, 4) and all(map(_is_source, value))


def _is_list_of_files(value: object) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(_is_file_name(name) and _is_sha256(mark) for name, mark in value.items())
    )


def _is_file_name(name: str) -> bool:
    return _is_text(name) and "/" not in name and "\0" not in name and name.startswith("sub-")


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


_TEXT = _Expected("text", _is_text)
_NUMBER = _Expected("a number or null", lambda value: value is None or _is_number(value))
_SHAPE: dict[str, _Expected] = {
    "Bundle.Name": _TEXT,
    "Bundle.Version": _TEXT,
    "Bundle.SHA256": _TEXT,
    "Bundle.Description": _TEXT,
    "Bundle.Mirrored": _Expected(
        "true or false", lambda value: isinstance(value, bool), optional=True
    ),
    "Engine.Precision": _Expected("text", _is_text, optional=True),
    "EchoTimesMs.InPhase": _NUMBER,
    "EchoTimesMs.OutPhase": _NUMBER,
    "FatWater": _Expected(" or ".join(FAT_WATER), lambda value: value in FAT_WATER),
    "Files": _Expected("names of files with their sha256", _is_list_of_files),
    "Fingerprint": _TEXT,
    "MagneticFieldStrength": _NUMBER,
    "QCFlags": _Expected("a list of quality flags", lambda value: isinstance(value, list)),
    "RecognisedBy": _TEXT,
    "Software.Version": _TEXT,
    "Sources": _Expected("two or four names of images in the dataset", _is_list_of_sources),
}
_FLAG_SHAPE: dict[str, _Expected] = {
    "code": _TEXT,
    "severity": _Expected(" or ".join(SEVERITIES), lambda value: value in SEVERITIES),
    "muscle": _TEXT,
    "value": _NUMBER,
    "threshold": _NUMBER,
    "message": _TEXT,
}


def _check_flags(path: Path, flags: list[Any]) -> None:
    for flag in flags:
        if not isinstance(flag, dict):
            raise _explain(path, "QCFlags", flag, "a list of objects")
        for name, expected in _FLAG_SHAPE.items():
            _check_value(path, flag, name, expected)


def _check_value(path: Path, content: Mapping[str, Any], name: str, expected: _Expected) -> None:
    value: Any = content
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            if expected.optional and isinstance(value, dict):
                return
            raise DatasetError(
                f"{path}: is not a sidecar that this program wrote: it has no {name}, expected "
                f"{expected.words}. {ANEW}"
            )
        value = value[key]
    if not expected.fits(value):
        raise _explain(path, name, value, expected.words)


def _explain(path: Path, name: str, value: object, expected: str) -> DatasetError:
    shown = "another" if isinstance(value, list | dict) else ascii(value)[:40]
    return DatasetError(
        f"{path}: {name} has the value {shown}, expected {expected}. The file was edited, or "
        f"damaged. {ANEW}"
    )
