"""Bytes, JSON and TOML of files that the program did not write itself.

A user's file may be a named pipe whose reading never ends, an endless device, or text nested too
deeply for a parser. Each function here ends in bounded time and memory and raises
OSError (the file) or ValueError (its content), never anything else.
"""

import errno
import json
import os
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

MOST_TEXT_BYTES = 64 * 2**20
_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "it is a folder"),
    (stat.S_ISFIFO, errno.EINVAL, "it is a named pipe, not a regular file"),
    (stat.S_ISCHR, errno.EINVAL, "it is a device, not a regular file"),
    (stat.S_ISBLK, errno.EINVAL, "it is a device, not a regular file"),
)


@contextmanager
def open_regular_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file, or a link to one, for reading bytes.

    Raises
    ------
    OSError
        It cannot be opened, or is a folder, named pipe or device; ``strerror`` says which.
    """
    # A named pipe without a writer would block a plain open for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)
        file = os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    with file:
        yield file


def is_file(path: Path) -> bool:
    """Whether something other than a folder has this path; False for text that is not a path.

    >>> is_file(Path("/dev/null")), is_file(Path("a" * 5000))
    (True, False)
    """
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def explain_failure(error: OSError | ValueError) -> str:
    """Say why a file cannot be read, without its name and the system's number.

    >>> explain_failure(OSError(22, "it is a folder", "x")), explain_failure(ValueError("nested"))
    ('it is a folder', 'nested')
    """
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or str(error)


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    for is_kind, number, text in _KINDS:
        if is_kind(mode):
            raise OSError(number, text, str(path))
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_regular_file(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> bytes:
    """Read a regular file of at most ``most_bytes`` bytes.

    Raises
    ------
    OSError
        As :func:`open_regular_file`, or the file is larger.
    """
    with open_regular_file(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        size = f"{most_bytes / 2**20:g} MiB" if most_bytes >= 2**20 else f"{most_bytes} bytes"
        raise OSError(errno.EFBIG, f"it is larger than {size}", str(path))
    return content


def parse_json(text: str | bytes) -> Any:
    r"""Parse JSON; bytes are UTF-8, with or without a byte order mark.

    Raises
    ------
    ValueError
        It is not valid JSON or UTF-8, is nested too deeply, or holds an integer of over 4,300
        digits.

    Examples
    --------
    >>> parse_json(b'\xef\xbb\xbf{"EchoTime": 0.00246}')
    {'EchoTime': 0.00246}
    """
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> Any:
    """Read a JSON file.

    Raises
    ------
    OSError
        As :func:`read_regular_file`.
    ValueError
        As :func:`parse_json`.
    """
    return parse_json(read_regular_file(path, most_bytes))


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty where there is none, or the file cannot be read.

    >>> read_object(Path("none.json"))
    {}
    """
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_toml(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> dict[str, Any]:
    """Read a TOML file; errors as for :func:`read_json`."""
    text = read_regular_file(path, most_bytes).decode("utf-8-sig")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
