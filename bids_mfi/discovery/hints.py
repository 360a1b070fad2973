"""Texts that several images may share; they show the contrast only where they differ.

A protocol's name, an ``acq-`` label or a description such as ``dixon fat quant`` belongs to all
images of a series, the in-phase image as well as the fat image. Where images that differ in their
contrast have the same text, it says nothing. Elsewhere it sets an image aside, before the echo-time
rule could take a water image for the in-phase image.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from bids_mfi.discovery.classify import (
    FILE_NAME,
    PHASES,
    PROTOCOL_NAME,
    SERIES_DESCRIPTION,
    Image,
    Statement,
    Verdict,
    echo_statement,
    echo_times_differ,
)
from bids_mfi.discovery.naming import MUTE_ENTITIES
from bids_mfi.discovery.phrases import read_contrast
from bids_mfi.measure.pair import Contrast

# Units of an image that is no magnitude, as BIDS writes them.
_UNITS_OF_MAPS = frozenset(
    {"rad", "radian", "radians", "deg", "degree", "degrees", "hz", "percent", "%", "ms", "s", "1/s",
     "ppm"}
)  # fmt: skip

_Text = tuple[str, str]


def weigh_texts(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Drop descriptions that images of different contrasts share, and let hints set aside.

    Parameters
    ----------
    verdicts : iterable of Verdict
        Of one participant.
    """
    known = list(verdicts)
    sharing = _group_by_text(known)
    kept = [_without_shared_description(verdict, sharing) for verdict in known]
    return [_with_hint(verdict, sharing) for verdict in kept]


def _group_by_text(verdicts: Iterable[Verdict]) -> Mapping[object, list[Verdict]]:
    groups: dict[object, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        for text in _texts(verdict.image):
            groups[verdict.image.folders, text].append(verdict)
    return groups


def _texts(image: Image) -> Iterator[_Text]:
    """Texts that may hint at the contrast, each with the field that holds it."""
    for field in (SERIES_DESCRIPTION, PROTOCOL_NAME):
        value = image.metadata.get(field)
        if isinstance(value, str):
            yield field, value
    for key, value in image.name.entities:
        if key not in MUTE_ENTITIES:
            yield key, value


def _without_shared_description(
    verdict: Verdict, sharing: Mapping[object, list[Verdict]]
) -> Verdict:
    said = [one for one in verdict.statements if one.source == SERIES_DESCRIPTION]
    text = (SERIES_DESCRIPTION, str(verdict.image.metadata.get(SERIES_DESCRIPTION)))
    if not said:
        return verdict
    contrast, sharers = said[0].contrast, sharing[verdict.image.folders, text]
    if not _is_shared(verdict, contrast, sharers, by_echo=contrast in PHASES):
        return verdict
    return replace(verdict, statements=tuple(one for one in verdict.statements if one not in said))


def _with_hint(verdict: Verdict, sharing: Mapping[object, list[Verdict]]) -> Verdict:
    """Set aside an image that only a hint identifies; a hint never makes a phase image."""
    image = verdict.image
    asked_for_echo = image.called_dixon or image.name.has_echo
    if verdict.statements or verdict.meets or not asked_for_echo:
        return verdict
    for text in _texts(image):
        reading = read_contrast(text[1])
        if reading is None or reading.contrast in PHASES:
            continue
        contrast = reading.contrast
        if not _is_shared(verdict, contrast, sharing[image.folders, text], by_echo=True):
            return replace(verdict, statements=(_statement(contrast, text[0], reading.token),))
    units = str(image.metadata.get("Units", "")).strip()
    if units.lower() in _UNITS_OF_MAPS:
        return replace(verdict, statements=(_statement(None, "Units", units),))
    return verdict


def _statement(contrast: Contrast | None, field: str, token: str) -> Statement:
    if field in (SERIES_DESCRIPTION, PROTOCOL_NAME, "Units"):
        return Statement(contrast, field, f'"{token}"')
    return Statement(contrast, FILE_NAME, f"{field}-...{token}")


def _is_shared(
    verdict: Verdict, contrast: Contrast | None, sharers: Iterable[Verdict], by_echo: bool
) -> bool:
    """Whether an image of a contrast other than the text says has the same text.

    With ``by_echo`` two images at opposite echo times count as two contrasts, too.
    """
    others = [other for other in sharers if other.image.shown != verdict.image.shown]
    told = (_contrasts_without_description(other) for other in (*others, verdict))
    if any(said and contrast not in said for said in told):
        return bool(others)
    return by_echo and any(_may_differ_by_echo(verdict.image, other.image) for other in others)


def _may_differ_by_echo(first: Image, second: Image) -> bool:
    """Whether two images have opposite echo times, or may have."""
    said = [echo_statement(image) for image in (first, second)]
    if said[0] is not None and said[1] is not None:
        return said[0].contrast is not said[1].contrast
    times = [image.echo_time_s for image in (first, second)]
    return None in times or echo_times_differ((first, second))


def _contrasts_without_description(verdict: Verdict) -> set[Contrast | None]:
    return {one.contrast for one in verdict.statements if one.source != SERIES_DESCRIPTION}
