"""Text from users' files, made safe to print.

A file name may contain anything except a slash: escape sequences that a terminal obeys, marks that
change the direction of reading, bytes that are not UTF-8. A terminal may support only ASCII.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

_BIDI_MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_LINE_BREAKS = "\u2028\u2029"
_HIDDEN = frozenset(_BIDI_MARKS + _LINE_BREAKS + "\ufeff")
_ESCAPED = re.compile(f"[\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff{''.join(sorted(_HIDDEN))}]")


def escape_text(text: str, kept: str = "") -> str:
    r"""Write control characters, marks of direction and bytes that are not UTF-8 as escapes.

    Parameters
    ----------
    text : str
    kept : str
        Control characters that are kept, such as the line feed.

    Examples
    --------
    >>> print(escape_text("sub-01_é\x1b[31m\udce9\u202e.nii\n"))
    sub-01_é\x1b[31m\xe9\u202e.nii\n
    """
    if text.isprintable():
        return text
    return _ESCAPED.sub(lambda found: found[0] if found[0] in kept else _escape(found[0]), text)


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte, as Python keeps it
        return f"\\x{number - 0xDC00:02x}"
    is_control = number < 0x20 or 0x7F <= number < 0xA0
    if is_control or character in _HIDDEN or 0xD800 <= number <= 0xDFFF:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def shorten(text: str, most: int) -> str:
    """Cut a text for a message.

    Examples
    --------
    >>> shorten("mfi ~ age", 9), shorten("mfi ~ age + sex", 9)
    ('mfi ~ age', 'mfi ~ ...')
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def show_value(value: object, write: Callable[[Any], str] = repr, most: int = 80) -> str:
    """Write a value of a user's file for a message, whatever it is.

    Parameters
    ----------
    value : object
    write : callable
        ``repr``, or ``json.dumps`` for a value as its file has it.
    most : int
        Characters.

    Examples
    --------
    >>> show_value("3T"), show_value([1] * 99, most=9), show_value(10**5000)
    ("'3T'", '[1, 1,...', 'a value of very many digits, or nested too deeply')
    """
    try:
        return shorten(write(value), most)
    except (RecursionError, ValueError):
        return "a value of very many digits, or nested too deeply"


class PrintableStream:
    """Replacement for a text stream: what is written is escaped as far as it needs."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text without control characters, and in the stream's encoding."""
        safe = escape_text(text, kept="\n\t")
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        self.stream.write(safe.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Return everything else from the stream itself."""
        return getattr(self.stream, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Make everything printed meanwhile safe; also a decorator."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(Any, _wrap(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _wrap(stream: Any) -> Any:
    return (
        stream if stream is None or isinstance(stream, PrintableStream) else PrintableStream(stream)
    )


def unwrap(stream: Any) -> Any:
    """Return the stream itself, for a display that writes its own escape sequences."""
    return stream.stream if isinstance(stream, PrintableStream) else stream
