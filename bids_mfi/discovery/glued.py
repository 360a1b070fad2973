"""Contrasts that only two names together show: ``acq-t1vibedixontrain`` and ``...tra`` + ``opp``.

BIDScoin writes a whole series description into ``acq-``, without its underscores. That ``train``
ends with ``in`` means nothing by itself; beside a name that has ``opp`` in the same place, and is
otherwise the same, it does.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from bids_mfi.discovery.classify import Image, told_by
from bids_mfi.discovery.naming import MUTE_ENTITIES, ImageName, Told
from bids_mfi.measure.pair import Contrast

# Longer words first: the first that fits is taken.
_WORDS: Mapping[Contrast, tuple[str, ...]] = {
    Contrast.IN_PHASE: ("in-phase", "inphase", "inph", "in", "ip"),
    Contrast.OUT_PHASE: (
        "out-of-phase", "outofphase", "opposed-phase", "opposedphase", "out-phase", "outphase",
        "opp-phase", "oppphase", "opphase", "opposed", "opposite", "outph", "opph", "opp", "oop",
        "out", "op",
    ),
    Contrast.WATER: ("water", "wat", "w"),
    Contrast.FAT: ("fat", "f"),
}  # fmt: skip
_LETTERS = frozenset({"w", "f"})


@dataclass(frozen=True, slots=True)
class _Split:
    """A value cut at a word that may name the contrast."""

    before: str
    after: str

    @property
    def rest(self) -> str:
        return (self.before + self.after).strip("-")


def find_glued(images: Iterable[Image]) -> dict[str, dict[str, Told]]:
    """Find the places that show the contrast of an image beside that of another image.

    Parameters
    ----------
    images : iterable of Image
        Of one participant.

    Returns
    -------
    dict of str to dict of str to Told
        By the image's ``shown`` and the place; no entry where there is none.
    """
    values: dict[tuple[str, object], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for image in images:
        plain = image.name.without_marks()
        for place, value in _telling_places(plain):
            frame = (image.folders, image.datatype, _frame(plain, place))
            values[place, frame][value].append(image.shown)
    glued: dict[str, dict[str, Told]] = defaultdict(dict)
    for (place, _), images_of_value in values.items():
        for value, told in _tell_apart(place, images_of_value.keys()).items():
            for shown in images_of_value[value]:
                glued[shown][place] = told
    return dict(glued)


def _telling_places(name: ImageName) -> Iterator[tuple[str, str]]:
    if name.suffix:
        yield "suffix", name.suffix
    for key, value in name.entities:
        if key not in MUTE_ENTITIES:
            yield key, value


def _frame(name: ImageName, place: str) -> tuple[object, ...]:
    """Give what two names share that differ at one place, and by counters, only."""
    own = tuple(
        item for item in name.entities if item[0] not in (place, "echo", "part", "run", "dup")
    )
    return own, name.words, "" if place == "suffix" else name.suffix


def _tell_apart(place: str, values: Iterable[str]) -> dict[str, Told]:
    """Read values that differ in a word for the contrast only; those that show it alone are left.

    >>> told = _tell_apart("acq", ["t1vibetrain", "t1vibetraopp", "t1vibetraW", "brain"])
    >>> [(value, told[value].contrast.value, told[value].rest) for value in sorted(told)]
    [('t1vibetraW', 'water', 't1vibetra'), ('t1vibetrain', 'in_phase', 't1vibetra'), \
('t1vibetraopp', 'out_phase', 't1vibetra')]
    """
    known = sorted(values)
    found: dict[str, Told] = {}
    for split in _frames_of_both_phases(known):
        for value in known:
            contrast = _word_in(value, split)
            if contrast is not None and not told_by(place, value):
                found.setdefault(value, Told(contrast, split.rest))
    return found


def _frames_of_both_phases(values: list[str]) -> list[_Split]:
    in_phase, out_phase = (
        {split for value in values for split in _list_splits(value, contrast)}
        for contrast in (Contrast.IN_PHASE, Contrast.OUT_PHASE)
    )
    both = in_phase & out_phase
    return sorted(both, key=lambda split: (len(split.before + split.after), split.before))


@lru_cache(maxsize=1024)  # participants share most values
def _list_splits(value: str, contrast: Contrast) -> tuple[_Split, ...]:
    return tuple(_splits(value, contrast))


def _splits(value: str, contrast: Contrast) -> Iterator[_Split]:
    for word in _WORDS[contrast]:
        for match in re.finditer(f"(?i){word}", value):
            yield _Split(value[: match.start()], value[match.end() :])


def _word_in(value: str, split: _Split) -> Contrast | None:
    """Contrast of the word between the two ends of a value; None if there is no such word."""
    whole = len(value) > len(split.before) + len(split.after)
    if not (whole and value.startswith(split.before) and value.endswith(split.after)):
        return None
    word = value[len(split.before) : len(value) - len(split.after)]
    for contrast, words in _WORDS.items():
        capital = word in ("W", "F") or word not in _LETTERS
        if word.lower() in words and capital:
            return contrast
    return None
