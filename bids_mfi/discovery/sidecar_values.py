"""Values of sidecar fields as they were meant.

BIDS requires EchoTime in seconds, MagneticFieldStrength in tesla, ImagingFrequency in megahertz and
ImageType as a list of words. Converters and spreadsheets write text, other units and lists of one.
A value is read only where one reading is possible. The remark says how, so that nothing is
reinterpreted silently; otherwise the problem says what was found and what was expected.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bids_mfi.discovery.naming import read_image_type
from bids_mfi.measure.dixon import PROTON_MHZ_PER_T
from bids_mfi.printing import show_value

MIN_ECHO_TIME_S = 1e-4  # no gradient echo of fat and water is earlier
MAX_ECHO_TIME_S = 0.1
SHORTEST_IN_MS = 0.3  # a number from here to 100 is no echo time of Dixon imaging in seconds
MAX_FIELD_T = 25.0
LEAST_FIELD_T = 0.05
HIGHEST_CLINICAL_T = 12.0
LEAST_UNSTATED = 500.0  # a field of fewer gauss is none of a scanner; it may be megahertz
FIELD_TOLERANCE = 0.1
SHOWN_CHARACTERS = 60

ECHO_TIME_FIELD = "EchoTime"
FIELD_STRENGTH_FIELD = "MagneticFieldStrength"
FREQUENCY_FIELD = "ImagingFrequency"
IMAGE_TYPE_FIELDS = ("ImageType", "ImageTypeText")

_NUMBER = re.compile(r"([+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?)\s*([^\W\d_]*)\.?", re.ASCII)
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3,
            "millisecond": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "usec": 1e-6}  # fmt: skip
_TESLA = {"t": 1.0, "tesla": 1.0, "mt": 1e-3, "millitesla": 1e-3, "g": 1e-4, "gs": 1e-4,
          "gauss": 1e-4, "kg": 0.1}  # fmt: skip
_MEGAHERTZ = {"mhz": 1.0, "khz": 1e-3, "hz": 1e-6}
_NUMBERED_ECHO_TIME = re.compile(r"EchoTime[1-9]\d?", re.ASCII)
_HARD_SEPARATORS = re.compile(r"[\\/,;|\[\]()'\"]+")
_WHOLE_TYPE = re.compile(r"(?i)\b(?:original|derived|primary|secondary)\b")
_PHASE_WORDS = re.compile(r"(?i)\b(in|out|out[ _-]of|opp|opposed)[ ]+(?=phase)")


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a sidecar.

    Attributes
    ----------
    number : float or None
        In the unit of BIDS; None if absent or unusable.
    remark : str
        How it was read; empty if it follows BIDS.
    problem : str
        What is wrong with it; empty if it is absent or usable.
    """

    number: float | None = None
    remark: str = ""
    problem: str = ""

    @property
    def is_odd(self) -> bool:
        """Whether there is anything to say about it."""
        return bool(self.remark or self.problem)


def read_echo_time_s(metadata: Mapping[str, object], echo: int | None = None) -> Value:
    """Echo time in seconds.

    Parameters
    ----------
    metadata : mapping of str to object
    echo : int or None
        Number of the echo, counted from 1, that selects from a list, or from EchoTime1 and
        EchoTime2.

    Examples
    --------
    >>> read_echo_time_s({"EchoTime": 0.00246})
    Value(number=0.00246, remark='', problem='')
    >>> read_echo_time_s({"EchoTime": "2.46"})
    Value(number=0.00246, remark='EchoTime "2.46" read as 2.46 ms', problem='')
    >>> read_echo_time_s({"EchoTime": 0}).problem
    'EchoTime is 0, expected seconds between 0.0001 and 0.1, such as 0.00246'
    """
    name = ECHO_TIME_FIELD
    value = metadata.get(name)
    if value is None:
        name, value = _numbered_echo_time(metadata, echo)
        if not name:
            return Value(problem=str(value or ""))
    chosen, remark = _choose(value, echo)
    found = _as_number(chosen, _SECONDS)
    number_s = None if found is None else _echo_time_in_seconds(*found)
    if number_s is None:
        return Value(problem=_describe_echo_time(name, value))
    return _read(name, value, number_s, f"{1000 * number_s:.4g} ms", remark)


def _numbered_echo_time(metadata: Mapping[str, object], echo: int | None) -> tuple[str, object]:
    """Name and value of EchoTime1, EchoTime2, ...; no name, and what is wrong, where unclear."""
    numbered = [key for key in metadata if _NUMBERED_ECHO_TIME.fullmatch(key)]
    own = f"{ECHO_TIME_FIELD}{echo}"
    if own in numbered:
        return own, metadata[own]
    if len(numbered) == 1 and echo is None:
        return numbered[0], metadata[numbered[0]]
    if not numbered:
        return "", None
    return "", (
        f"{' and '.join(sorted(numbered))} are given, but no EchoTime, and the image's name has no "
        "echo-1 or echo-2 to choose between them; expected EchoTime in seconds"
    )


def _choose(value: object, echo: int | None) -> tuple[object, str]:
    """Take the one value of a list, or that of the echo; else the list itself."""
    values = flatten(value) if isinstance(value, list | tuple) else [value]
    if values and all(one == values[0] for one in values):
        return values[0], ""
    if echo is not None and 1 <= echo <= len(values):
        return values[echo - 1], f"the value of echo {echo}"
    return value, ""


def flatten(value: object) -> list[object]:
    """Elements of a list, and of lists in it to a depth of three.

    >>> flatten([1, [2, [3]], "a"])
    [1, 2, 3, 'a']
    """
    return list(_elements(value, 3))


def _elements(value: object, depth: int) -> Iterator[object]:
    if not isinstance(value, list | tuple) or not depth:
        yield value
        return
    for one in value:
        yield from _elements(one, depth - 1)


def _as_number(value: object, units: Mapping[str, float]) -> tuple[float, str] | None:
    """Split a value into number and unit, empty if none is stated; None if it is neither.

    >>> _as_number("3,0 Tesla", _TESLA), _as_number(True, _TESLA), _as_number("3 x", _TESLA)
    ((3.0, 'tesla'), None, None)
    """
    if isinstance(value, str):
        text = value.replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")
        match = _NUMBER.fullmatch(text.strip())
        if match is None or (match[2] and match[2].lower() not in units):
            return None
        number, unit = float(match[1].replace(",", ".")), match[2].lower()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number, unit = _as_float(value), ""
    else:
        return None
    return (number, unit) if math.isfinite(number) and number > 0 else None


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _echo_time_in_seconds(number: float, unit: str) -> float | None:
    if unit:
        seconds = number * _SECONDS[unit]
    elif number < MAX_ECHO_TIME_S:
        seconds = number
    else:
        seconds = number / 1000 if number >= SHORTEST_IN_MS else math.inf
    return seconds if MIN_ECHO_TIME_S <= seconds < MAX_ECHO_TIME_S else None


def _describe_echo_time(name: str, value: object) -> str:
    if isinstance(value, list | tuple) and len(flatten(value)) > 1:
        return (
            f"{name} is a list of {len(flatten(value))} values ({_show(value)}), expected one "
            "number in seconds for each image"
        )
    return (
        f"{name} is {_show(value)}, expected seconds between {MIN_ECHO_TIME_S:g} and "
        f"{MAX_ECHO_TIME_S:g}, such as 0.00246"
    )


def _show(value: object) -> str:
    """Write a value as its sidecar has it, for messages.

    >>> _show("3T"), _show(float("nan")), _show([1] * 99)[-5:]
    ('"3T"', 'NaN', '1,...')
    """
    return show_value(value, json.dumps, SHOWN_CHARACTERS)


def _read(name: str, value: object, number: float, shown: str, remark: str = "") -> Value:
    """Give a number, with a remark unless the value was that number."""
    if isinstance(value, int | float) and value == number and name == name.rstrip("0123456789"):
        return Value(number)
    more = f" ({remark})" if remark else ""
    return Value(number, f"{name} {_show(value)} read as {shown}{more}")


def read_field_strength_t(metadata: Mapping[str, object]) -> Value:
    """Field strength in tesla.

    A number from 1000 to 12000 could be millitesla or gauss; ImagingFrequency decides.

    Examples
    --------
    >>> read_field_strength_t({"MagneticFieldStrength": "3 T"})
    Value(number=3.0, remark='MagneticFieldStrength "3 T" read as 3 T', problem='')
    >>> read_field_strength_t({"MagneticFieldStrength": 30000}).number
    3.0
    >>> read_field_strength_t({"MagneticFieldStrength": 3000}).number
    >>> read_field_strength_t({"MagneticFieldStrength": 3000, "ImagingFrequency": 123.2}).number
    3.0
    """
    value = metadata.get(FIELD_STRENGTH_FIELD)
    if value is None:
        return Value()
    found = _as_number(_choose(value, None)[0], _TESLA)
    number_t = None if found is None else _field_in_tesla(*found, metadata)
    if number_t is None:
        return Value(problem=_describe_field(value, found))
    return _read(FIELD_STRENGTH_FIELD, value, number_t, f"{number_t:.4g} T")


def _field_in_tesla(number: float, unit: str, metadata: Mapping[str, object]) -> float | None:
    if unit:
        field_t = number * _TESLA[unit]
        return field_t if 0 < field_t < MAX_FIELD_T else None
    if number < MAX_FIELD_T:
        return number
    readings = _readings_in_tesla(number)
    frequency = read_imaging_frequency_mhz(metadata).number
    if len(readings) > 1 and frequency is not None:
        readings = [one for one in readings if _fits(one, frequency)]
    return readings[0] if len(readings) == 1 else None


def _readings_in_tesla(number: float) -> list[float]:
    """Read a large number as gauss and as millitesla, as far as a scanner has such a field.

    >>> _readings_in_tesla(15000), _readings_in_tesla(1500), _readings_in_tesla(64)
    ([1.5], [0.15, 1.5], [])
    """
    if number < LEAST_UNSTATED:
        return []
    return [
        one for one in (number / 1e4, number / 1e3) if LEAST_FIELD_T <= one <= HIGHEST_CLINICAL_T
    ]


def _fits(field_t: float, frequency_mhz: float) -> bool:
    expected = field_t * PROTON_MHZ_PER_T
    return abs(frequency_mhz - expected) <= FIELD_TOLERANCE * expected


def _describe_field(value: object, found: tuple[float, str] | None) -> str:
    readings = [] if found is None or found[1] else _readings_in_tesla(found[0])
    if len(readings) > 1:
        gauss, millitesla = readings
        return (
            f"{FIELD_STRENGTH_FIELD} is {_show(value)}, which may be {gauss:g} T in gauss or "
            f"{millitesla:g} T in millitesla, expected tesla, such as 3"
        )
    return (
        f"{FIELD_STRENGTH_FIELD} is {_show(value)}, expected tesla between 0 and "
        f"{MAX_FIELD_T:g}, such as 3"
    )


def read_imaging_frequency_mhz(metadata: Mapping[str, object]) -> Value:
    """Resonance frequency of the scanner in megahertz.

    Examples
    --------
    >>> read_imaging_frequency_mhz({"ImagingFrequency": 123200000})
    Value(number=123.2, remark='ImagingFrequency 123200000 read as 123.2 MHz', problem='')
    """
    value = metadata.get(FREQUENCY_FIELD)
    if value is None:
        return Value()
    found = _as_number(_choose(value, None)[0], _MEGAHERTZ)
    number_mhz = None if found is None else _frequency_in_megahertz(*found)
    if number_mhz is None:
        return Value(
            problem=f"{FREQUENCY_FIELD} is {_show(value)}, expected megahertz, such as 123.2"
        )
    return _read(FREQUENCY_FIELD, value, number_mhz, f"{number_mhz:.6g} MHz")


def _frequency_in_megahertz(number: float, unit: str) -> float | None:
    highest = MAX_FIELD_T * PROTON_MHZ_PER_T
    if unit:
        scaled = number * _MEGAHERTZ[unit]
        return scaled if scaled < highest else None
    if number < highest:
        return number
    least, most = LEAST_FIELD_T * PROTON_MHZ_PER_T, HIGHEST_CLINICAL_T * PROTON_MHZ_PER_T
    readings = [one for one in (number / 1e3, number / 1e6) if least <= one <= most]
    return readings[0] if len(readings) == 1 else None


def read_frequency_mhz(metadata: Mapping[str, object]) -> Value:
    """Resonance frequency of water: ImagingFrequency, or else 42.577 MHz/T times the field.

    No number if neither is known, or if they differ by more than a tenth.

    Examples
    --------
    >>> read_frequency_mhz({"MagneticFieldStrength": 3}).number
    127.731
    >>> read_frequency_mhz({"MagneticFieldStrength": 1.5, "ImagingFrequency": 123.2}).problem
    'MagneticFieldStrength (1.5 T) and ImagingFrequency (123.2 MHz, 2.89 T) contradict each other'
    """
    field_t = read_field_strength_t(metadata).number
    frequency = read_imaging_frequency_mhz(metadata).number
    if field_t is None or frequency is None:
        return Value(frequency if field_t is None else field_t * PROTON_MHZ_PER_T)
    if _fits(field_t, frequency):
        return Value(frequency)
    return Value(
        problem=f"{FIELD_STRENGTH_FIELD} ({field_t:.4g} T) and {FREQUENCY_FIELD} ({frequency:.6g} "
        f"MHz, {frequency / PROTON_MHZ_PER_T:.3g} T) contradict each other"
    )


def read_words(value: object) -> tuple[str, ...]:
    r"""Words of a field such as ImageType: of a list, of lists in it, or of one text.

    A text is split at backslashes, slashes, commas, semicolons and bars; at blanks only where
    it holds a word with which DICOM begins the field, such as ORIGINAL.

    Examples
    --------
    >>> read_words(["ORIGINAL", "PRIMARY", "M", "opposed phase"])
    ('ORIGINAL', 'PRIMARY', 'M', 'opposed phase')
    >>> read_words("ORIGINAL/PRIMARY/M/IN_PHASE") == read_words("ORIGINAL PRIMARY M IN_PHASE")
    True
    >>> read_words([["ORIGINAL\\PRIMARY", 7], "derived in phase x", "in vivo"])
    ('ORIGINAL', 'PRIMARY', '7', 'derived', 'in_phase', 'x', 'in vivo')
    """
    if value is None or isinstance(value, bool | dict):
        return ()
    texts = [str(one) for one in flatten(value) if one is not None and not isinstance(one, dict)]
    return tuple(word for text in texts for word in _split(text))


@lru_cache(maxsize=256)  # participants share most texts; one may be long
def _split(text: str) -> tuple[str, ...]:
    return tuple(_iterate_words(text))


def _iterate_words(text: str) -> Iterator[str]:
    for part in _HARD_SEPARATORS.split(text):
        if not part.strip():
            continue
        if read_image_type((part,)) or not _WHOLE_TYPE.search(part):
            yield part.strip()
        else:
            yield from _PHASE_WORDS.sub(
                lambda match: f"{match[1].replace(' ', '_')}_", part
            ).split()


def read_type_remark(metadata: Mapping[str, object]) -> Value:
    """Say how ImageType was read if it is not a list of words; the number is always None."""
    for key in IMAGE_TYPE_FIELDS:
        value = metadata.get(key)
        if value is None or _is_list_of_words(value):
            continue
        words = read_words(value)
        if isinstance(value, str | list) and words:
            return Value(remark=f"{key} {_show(value)} read as the words {' '.join(words)}")
        return Value(problem=f"{key} is {_show(value)}, expected a list of words")
    return Value()


def _is_list_of_words(value: object) -> bool:
    """Whether a value follows BIDS, or is joined with backslashes as in DICOM."""
    words: Sequence[object] = value.split("\\") if isinstance(value, str) else []
    words = value if isinstance(value, list) else words
    plain = (isinstance(word, str) and read_words(word) == (word,) for word in words)
    return (isinstance(value, list) or len(words) > 1) and all(plain)


def read_all(metadata: Mapping[str, object], echo: int | None = None) -> dict[str, Value]:
    """Read every value that the search uses, by the name of its field."""
    return {
        ECHO_TIME_FIELD: read_echo_time_s(metadata, echo),
        FIELD_STRENGTH_FIELD: read_field_strength_t(metadata),
        FREQUENCY_FIELD: read_imaging_frequency_mhz(metadata),
        IMAGE_TYPE_FIELDS[0]: read_type_remark(metadata),
    }
