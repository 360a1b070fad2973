"""Images of one scan that a converter named as if they belonged to several.

Converters number the contrasts of a series (``run-01`` to ``run-04``, ``T1w1``, ``T1wa``,
``__dup-01``) or put its description into ``acq-``. Such images are brought together only where
their contrasts are known, nothing else could be meant, and their sidecars leave no doubt that they
belong to one acquisition. Two repeats of a scan are never crossed.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from bids_mfi.discovery.acquisition import Kinship, compare_acquisitions
from bids_mfi.discovery.classify import PHASES, Verdict
from bids_mfi.discovery.echoes import recognise
from bids_mfi.discovery.groups import Group, ScanKey
from bids_mfi.discovery.naming import in_bids_order
from bids_mfi.indices import plain_index
from bids_mfi.measure.pair import Contrast

IN, OUT, WATER, FAT = Contrast.IN_PHASE, Contrast.OUT_PHASE, Contrast.WATER, Contrast.FAT


# Entities by which images of one scan never differ, whatever a converter does.
_NEVER = frozenset(
    {"sub", "ses", "sample", "task", "ce", "chunk", "stk", "voi", "nuc", "hemi", "space", "sequ"}
)
_BY_REPEAT = frozenset({"repeat"})
_REPEATS = frozenset({"run", "dup"})
LEAST_COMMON_LABEL = 4
FEWEST_ENUMERATED = 3


@dataclass(frozen=True, slots=True)
class Lone:
    """A group that has one image of a contrast whose partner is missing."""

    group: Group
    contrast: Contrast
    verdict: Verdict

    @property
    def key(self) -> ScanKey:
        """Key of its group."""
        return self.group.key

    def relation(self, other: "Lone") -> frozenset[str] | None:
        """Kinds of difference between two keys; None if they cannot belong to one scan."""
        return _differences(self.key, other.key)

    def kinship(self, other: "Lone") -> Kinship:
        """Compare the acquisitions of the two images."""
        return compare_acquisitions(self.verdict.image.metadata, other.verdict.image.metadata)


def reunite(groups: list[Group]) -> list[Group]:
    """Bring together images that belong to one scan without doubt."""
    lone = find_lone(groups)
    joined, used = [], set()
    for one, other in _find_couples(lone):
        members = [one, other, *_find_fractions(one, lone)]
        verdicts = tuple(verdict for member in members for verdict in member.group.verdicts)
        joined.append(Group(_common_key(one.key, other.key), verdicts, reunited=True))
        used |= {member.key for member in members}
    return [*(group for group in groups if group.key not in used), *joined]


def find_lone(groups: Iterable[Group]) -> list[Lone]:
    """List groups with one contrast only: one phase without the other, or water or fat alone."""
    found = []
    for group in groups:
        recognised = recognise(group.verdicts)
        if recognised.conflicts:
            continue
        images = recognised.phases or tuple(
            v for contrast in (WATER, FAT) for v in recognised.found[contrast]
        )
        if len(images) == 1 and images[0].contrast is not None:
            found.append(Lone(group, images[0].contrast, images[0]))
    return found


def list_possible_partners(one: Lone, lone: list[Lone]) -> list[Lone]:
    """Images of the other phase that may belong to an image, the most alike first."""
    partners = [
        (len(relation), other)
        for other in lone
        if {one.contrast, other.contrast} == PHASES
        and (relation := one.relation(other)) is not None
    ]
    places = _places_in_order(lone)
    return [
        other
        for _, other in sorted(
            partners,
            key=lambda item: (
                one.kinship(item[1]) is Kinship.DIFFERENT,
                item[0],
                abs(places[one.key] - places[item[1].key]),
                item[1].verdict.image.shown,
            ),
        )
    ]


def _places_in_order(lone: Iterable[Lone]) -> dict[ScanKey, int]:
    """Place of each image among those of its contrast, so that the second goes with the second."""
    by_contrast: dict[Contrast, list[ScanKey]] = defaultdict(list)
    for one in sorted(lone, key=lambda one: one.verdict.image.shown):
        by_contrast[one.contrast].append(one.key)
    return {key: place for keys in by_contrast.values() for place, key in enumerate(keys)}


def _find_couples(lone: list[Lone]) -> list[tuple[Lone, Lone]]:
    """In-phase and out-of-phase images that are each other's only choice."""
    couples = []
    for one in lone:
        if one.contrast is not IN:
            continue
        partners = _sure_partners(one, lone)
        if len(partners) == 1 and _sure_partners(partners[0], lone) == [one]:
            couples.append((one, partners[0]))
    return couples


def _sure_partners(one: Lone, lone: list[Lone]) -> list[Lone]:
    """Partners that leave no doubt; those whose sidecars prove it come before others."""
    possible = list_possible_partners(one, lone)
    proven = [other for other in possible if one.kinship(other) is Kinship.SAME]
    return proven or [other for other in possible if _goes_without_proof(one, other, lone)]


def _goes_without_proof(one: Lone, other: Lone, lone: list[Lone]) -> bool:
    if one.kinship(other) is Kinship.DIFFERENT:
        return False
    relation = one.relation(other)
    if relation is None:
        return False
    return relation <= {"padding", "series"} or _is_enumerated(one, other, lone)


def _is_enumerated(one: Lone, other: Lone, lone: list[Lone]) -> bool:
    """Whether runs only number the contrasts of a series: three or four, each of one contrast."""
    family = [x for x in lone if x is one or one.relation(x) == _BY_REPEAT]
    contrasts = [x.contrast for x in family]
    return (
        other in family
        and len(family) >= FEWEST_ENUMERATED
        and len(set(contrasts)) == len(contrasts)
        and all(one.kinship(x) is not Kinship.DIFFERENT for x in family)
    )


def _find_fractions(one: Lone, lone: list[Lone]) -> list[Lone]:
    """Water and fat images that belong to an in-phase image as surely as its partner does."""
    found = []
    for contrast in (WATER, FAT):
        fitting = [x for x in lone if x.contrast is contrast and _fits(one, x, lone)]
        found += fitting if len(fitting) == 1 else []
    return found


def _fits(one: Lone, fraction: Lone, lone: list[Lone]) -> bool:
    if one.relation(fraction) is None or one.kinship(fraction) is Kinship.DIFFERENT:
        return False
    return one.kinship(fraction) is Kinship.SAME or _goes_without_proof(one, fraction, lone)


def _differences(first: ScanKey, second: ScanKey) -> frozenset[str] | None:
    if first.home != second.home:
        return None
    own, theirs = dict(first.entities), dict(second.entities)
    kinds = {
        _kind_of_difference(key, own.get(key), theirs.get(key))
        for key in own.keys() | theirs.keys()
        if own.get(key) != theirs.get(key)
    }
    if first.suffix != second.suffix:
        kinds.add("series" if _base(first.suffix) == _base(second.suffix) else "label")
    if (first.words, first.datatype) != (second.words, second.datatype):
        kinds.add("label")
    return None if "never" in kinds else frozenset(kinds)


def _kind_of_difference(key: str, own: str | None, theirs: str | None) -> str:
    if own and theirs and plain_index(key, own) == plain_index(key, theirs):
        return "padding"
    if key in _NEVER:
        return "never"
    return "repeat" if key in _REPEATS else "label"


def _base(suffix: str) -> str:
    """Suffix without the number or letter that a converter added to it.

    >>> [_base(suffix) for suffix in ("T1w", "T1w1", "T1wa", "vibe2", "T2w")]
    ['T1w', 'T1w', 'T1w', 'vibe', 'T2w']
    """
    weighted = re.fullmatch(r"([A-Z]{0,2}[TPM]\w{0,3}w)(?:\d{1,2}|[a-e])?", suffix)
    counted = re.fullmatch(r"(.*?[A-Za-z])\d{1,2}", suffix)
    match = weighted or counted
    return match.group(1) if match else suffix


def _common_key(first: ScanKey, second: ScanKey) -> ScanKey:
    """Key of two groups that were brought together: what they share, in the first's spelling."""
    theirs = dict(second.entities)
    shared = dict(item for item in first.entities if _is_common(*item, theirs))
    label = _common_start(dict(first.entities).get("acq", ""), theirs.get("acq", ""))
    if len(label) >= LEAST_COMMON_LABEL:
        shared["acq"] = label
    return replace(first, entities=in_bids_order(shared))


def _is_common(key: str, value: str, theirs: Mapping[str, str]) -> bool:
    other = theirs.get(key)
    return other == value or _kind_of_difference(key, value, other) == "padding"


def _common_start(first: str, second: str) -> str:
    """Letters with which both begin.

    >>> _common_start("dixonA", "dixonB")
    'dixon'
    """
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return "".join(letter for letter, _ in same)
