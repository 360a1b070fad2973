"""4-D files of echoes or contrasts as the images that they hold.

A header is opened only where the search without it has left a question: a scan that cannot be
used, a participant without a pair, a list of echo times. A participant whose images are 3-D and
paired costs nothing.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from bids_mfi.discovery.classify import SERIES_DESCRIPTION, Image, statements_of
from bids_mfi.discovery.naming import read_image_type
from bids_mfi.discovery.sidecar_values import (
    ECHO_TIME_FIELD,
    IMAGE_TYPE_FIELDS,
    flatten,
    read_words,
)
from bids_mfi.errors import PairError
from bids_mfi.images import MOST_VOLUMES, read_series_shape
from bids_mfi.measure.pair import Contrast

_ADVICE = "fslsplit"  # in the problem of a series that was not split
_PHASES = {Contrast.IN_PHASE, Contrast.OUT_PHASE}


def lists_volumes(image: Image) -> bool:
    """Whether a sidecar holds a list that could have a value for each volume."""
    return len(_list_echo_times(image)) > 1 or any(
        isinstance(value, list) and 1 < len(value) <= MOST_VOLUMES and _read_contrasts(value)
        for value in image.metadata.values()
    )


def split_series(images: Sequence[Image], suspects: Iterable[Path]) -> list[Image] | None:
    """Put the volumes of 4-D files in the place of these.

    Parameters
    ----------
    images : sequence of Image
        Of one participant.
    suspects : iterable of Path
        Images whose header is opened.

    Returns
    -------
    list of Image or None
        Where nothing distinguishes the volumes, the image itself with the problem; None if no
        suspect is 4-D.
    """
    opened = set(suspects)
    split = {image.path: _split(image) for image in images if image.path in opened}
    if not any(split.values()):
        return None
    return _advise_once([one for image in images for one in split.get(image.path) or [image]])


def _advise_once(images: list[Image]) -> list[Image]:
    """Keep the long advice for the first image that has it only."""
    first = next((one for one in images if one.problem and _ADVICE in one.problem), None)
    return [
        replace(one, problem=f"{one.shown}: is also 4-D.")
        if first and one is not first and one.problem and _ADVICE in one.problem
        else one
        for one in images
    ]


def _split(image: Image) -> list[Image]:
    """Volumes of a 4-D image; empty if it is 3-D or its header cannot be read."""
    try:
        shape = read_series_shape(image.path)
    except PairError:
        return []  # said when the pair's headers are compared
    count = math.prod(shape[3:])
    if len(shape) < 4:
        return []
    named = {statement.contrast for statement in statements_of(replace(image, metadata={}))}
    by_list = [] if named else _split_by_contrasts(image, count) or _split_by_echoes(image, count)
    return by_list or [_whole(image, shape)]


def _split_by_contrasts(image: Image, count: int) -> list[Image]:
    for key, value in image.metadata.items():
        if not isinstance(value, list) or len(value) != count:
            continue
        words = _read_contrasts(value)
        if words:
            times = _list_echo_times(image)
            own = times if len(times) == count else [None] * count
            return [
                _volume(image, number, key, {IMAGE_TYPE_FIELDS[0]: [word], ECHO_TIME_FIELD: time})
                for number, (word, time) in enumerate(zip(words, own, strict=True))
            ]
    return []


def _read_contrasts(values: Sequence[object]) -> list[str]:
    """Word that names the contrast of each volume; empty unless all have one and both phases exist.

    >>> _read_contrasts(["water", "in-phase", "opposed phase", "fat"])
    ['water', 'in-phase', 'opposed phase', 'fat']
    >>> _read_contrasts([["ORIGINAL", "M", "IP"], "ORIGINAL/M/OP"])
    ['IP', 'OP']
    >>> _read_contrasts(["ORIGINAL", "IN_PHASE", "OUT_PHASE"])
    []
    """
    if not all(isinstance(value, str | list) for value in values):
        return []
    told = [read_image_type(read_words(value)) for value in values]
    if any(len(one) != 1 for one in told) or not _PHASES <= {key for one in told for key in one}:
        return []
    return [next(iter(one.values())) for one in told]


def _split_by_echoes(image: Image, count: int) -> list[Image]:
    """By a list of echo times; each volume is the echo of its number."""
    times = _list_echo_times(image)
    if len(times) != count or count < 2:
        return []
    kept = {key: value for key, value in image.metadata.items() if not _names_contrast(key, value)}
    entities = dict(image.name.entities)
    return [
        replace(
            _volume(
                replace(image, metadata=kept), number, ECHO_TIME_FIELD, {ECHO_TIME_FIELD: time}
            ),
            name=replace(image.name, entities=tuple({**entities, "echo": str(number + 1)}.items())),
        )
        for number, time in enumerate(times)
    ]


def _names_contrast(key: str, value: object) -> bool:
    """Whether a field names one of the four contrasts, which cannot be that of every echo."""
    told = read_image_type(read_words(value)) if key in IMAGE_TYPE_FIELDS else {}
    return bool(told.keys() & set(Contrast))


def _list_echo_times(image: Image) -> list[object]:
    """Echo times of the volumes: the list EchoTime, or EchoTime1, EchoTime2 and so on."""
    value = image.metadata.get(ECHO_TIME_FIELD)
    if isinstance(value, list):
        times = flatten(value)
        return times if len({str(time) for time in times}) == len(times) > 1 else []
    if value is not None or image.echo is not None:
        return []
    numbered = (image.metadata.get(f"{ECHO_TIME_FIELD}{n}") for n in range(1, MOST_VOLUMES + 1))
    times = list(takewhile(lambda time: time is not None, numbered))
    return times if len(times) > 1 else []


def _volume(image: Image, number: int, by: str, changes: dict[str, object]) -> Image:
    fields = {
        key: value
        for key, value in image.metadata.items()
        if key not in IMAGE_TYPE_FIELDS or key not in changes
    }
    metadata = {key: value for key, value in (fields | changes).items() if value is not None}
    return replace(
        image,
        shown=f"{image.shown}, volume {number + 1}",
        metadata=metadata,
        volume=number,
        split_by=f"volumes of {image.shown} by the sidecar's list of {by}",
    )


def _whole(image: Image, shape: tuple[int, ...]) -> Image:
    """Give the image as one that cannot be used and that only its name identifies."""
    metadata = {
        key: value
        for key, value in image.metadata.items()
        if key not in (ECHO_TIME_FIELD, SERIES_DESCRIPTION) and not _names_contrast(key, value)
    }
    return replace(image, metadata=metadata, problem=_describe_series(image, shape))


def _describe_series(image: Image, shape: tuple[int, ...]) -> str:
    file = image.path.name
    return (
        f"{image.shown}: has {len(shape)} dimensions ({' x '.join(map(str, shape))}), expected one "
        "3-D volume, and nothing distinguishes its volumes. For echoes, list their times as "
        "EchoTime in the sidecar, with MagneticFieldStrength. Otherwise split it in its folder, "
        f'with `fslsplit {file} volume -t` or `python -c "import nibabel as n; '
        "[n.save(v, f'volume{i}.nii.gz') for i, v in enumerate(n.four_to_three("
        f"n.load('{file}')))]\"`; name two of them {_suggest(image, 'inphase')} and likewise "
        "part-outphase, and remove the rest."
    )


def _suggest(image: Image, part: str) -> str:
    """Name for one volume, by the entity ``part``.

    >>> from bids_mfi.discovery.naming import parse_name
    >>> name = "sub-01_acq-dixon_run-2_MEGRE.nii.gz"
    >>> _suggest(Image(Path(name), name, parse_name(name), (), ""), "inphase")
    'sub-01_acq-dixon_run-2_part-inphase_MEGRE.nii.gz'
    """
    name = image.name
    shared = [f"{key}-{value}" for key, value in name.entities if key not in ("echo", "part")]
    return "_".join([*shared, f"part-{part}", *name.words, name.suffix]) + ".nii.gz"
