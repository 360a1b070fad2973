"""Whether two images come from one acquisition, by their sidecars."""

import re
from collections.abc import Mapping
from enum import Enum

Fields = Mapping[str, object]

# The images of one acquisition have one time; two breath-holds are never a second apart.
MOST_SECONDS_APART = 1.0
_TIME = re.compile(r"(\d{1,2}):?(\d{2}):?(\d{2}(?:\.\d+)?)(?:Z|[+-]\d{2}:?\d{2})?")
_DAY_S = 86400.0

# What a scanner sets once for all images of an acquisition.
_SETTINGS = (
    "RepetitionTime", "FlipAngle", "SliceThickness", "SpacingBetweenSlices", "StudyInstanceUID",
    "MagneticFieldStrength", "AcquisitionDate", "Manufacturer", "DeviceSerialNumber",
    "PatientPosition", "PulseSequenceName", "ProtocolName", "BaseResolution",
)  # fmt: skip
_TOLERANCE = 1e-3


class Kinship(Enum):
    """What two sidecars say about a common acquisition."""

    SAME = "same"
    UNKNOWN = "unknown"
    DIFFERENT = "different"


def compare_acquisitions(first: Fields, second: Fields) -> Kinship:
    """Compare the sidecars of two images.

    One acquisition is proven by the same SeriesInstanceUID, by acquisition times within a second
    of each other, or by the same series and acquisition numbers. Different settings or times
    disprove it.

    Examples
    --------
    >>> one = {"AcquisitionTime": "10:15:01.250000", "RepetitionTime": 0.006}
    >>> compare_acquisitions(one, one | {"AcquisitionTime": "10:15:01.2"}).value
    'same'
    >>> compare_acquisitions(one, one | {"AcquisitionTime": "10:16:01.2"}).value
    'different'
    >>> compare_acquisitions(one, {}).value
    'unknown'
    """
    if any(_differ(first.get(key), second.get(key)) for key in _SETTINGS):
        return Kinship.DIFFERENT
    apart_s = _seconds_apart(first, second)
    if apart_s is not None:
        return Kinship.SAME if apart_s <= MOST_SECONDS_APART else Kinship.DIFFERENT
    if _have_equal(first, second, "SeriesInstanceUID"):
        return Kinship.SAME
    numbers = ("SeriesNumber", "AcquisitionNumber")
    proven = all(_have_equal(first, second, key) for key in numbers)
    return Kinship.SAME if proven else Kinship.UNKNOWN


def _differ(first: object, second: object) -> bool:
    if first is None or second is None:
        return False
    if isinstance(first, int | float) and isinstance(second, int | float):
        return abs(first - second) > _TOLERANCE * max(abs(first), abs(second))
    return first != second


def _have_equal(first: Fields, second: Fields, key: str) -> bool:
    return first.get(key) not in (None, "") and first.get(key) == second.get(key)


def _seconds_apart(first: Fields, second: Fields) -> float | None:
    """Seconds between two acquisitions; None where a sidecar lacks the times or was anonymised."""
    for key in ("AcquisitionDateTime", "AcquisitionTime"):
        times = [_read_time(fields.get(key)) for fields in (first, second)]
        if times[0] is None or times[1] is None:
            continue
        (day, time_s), (other_day, other_s) = times[0], times[1]
        return _DAY_S if day != other_day else abs(time_s - other_s)
    return None


def _read_time(value: object) -> tuple[str, float] | None:
    """Date as text, empty if there is none, and second of the day; None for midnight sharp.

    >>> _read_time("2024-01-05T10:15:01.25"), _read_time("101501.25"), _read_time("00:00:00.000")
    (('2024-01-05', 36901.25), ('', 36901.25), None)
    """
    day, _, text = str(value).strip().rpartition("T")
    if not day and len(text) >= 14 and text[:14].isdecimal():
        day, text = text[:8], text[8:]
    match = _TIME.fullmatch(text) if text.isascii() else None
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    time_s = 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)
    return (day, time_s) if time_s else None
