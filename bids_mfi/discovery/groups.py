"""Groups of images that make one scan, by what their names share.

A scan's name is made of what its images share.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count

from bids_mfi.discovery.classify import Verdict, told_by, words_tell
from bids_mfi.discovery.explain import list_shown
from bids_mfi.discovery.naming import in_bids_order
from bids_mfi.measure.pair import Contrast

IN, OUT = Contrast.IN_PHASE, Contrast.OUT_PHASE
DEFAULT_ACQUISITION = "dixon"

Entities = tuple[tuple[str, str], ...]

# Words and suffixes that name a contrast, or are part of such a phrase.
_TELLING_WORD = re.compile(
    r"(?i)(?:in|ip|inph|inphase|opp|op|oop|out|of|outph|outphase|oppphase|opposed|phase|water|fat"
    r"|w|f)\d?"
)


@dataclass(frozen=True, slots=True)
class ScanKey:
    """What the images of one scan share once everything that distinguishes them is dropped."""

    entities: Entities
    words: tuple[str, ...]
    suffix: str
    datatype: str

    @property
    def home(self) -> Entities:
        """Participant and session."""
        return tuple(item for item in self.entities if item[0] in ("sub", "ses"))


@dataclass(frozen=True, slots=True)
class Group:
    """Images of one scan, as far as their names say.

    Attributes
    ----------
    key : ScanKey
    verdicts : tuple of Verdict
    reunited : bool
        Whether the names differ in more than the contrast (see
        :mod:`bids_mfi.discovery.reunion`).
    """

    key: ScanKey
    verdicts: tuple[Verdict, ...]
    reunited: bool = False


@dataclass(frozen=True, slots=True)
class FoundScan:
    """One scan before it has its final name.

    Attributes
    ----------
    group : Group
    found : mapping of Contrast to tuple of Verdict
    involved : tuple of Verdict
        Images that its problems are about.
    problems : tuple of str
    """

    group: Group
    found: Mapping[Contrast, tuple[Verdict, ...]]
    involved: tuple[Verdict, ...]
    problems: tuple[str, ...]

    @property
    def key(self) -> ScanKey:
        """Key of its group."""
        return self.group.key

    def only(self, contrast: Contrast) -> Verdict | None:
        """Give the one image of this contrast; None if there is none or more than one."""
        candidates = self.found[contrast]
        return candidates[0] if len(candidates) == 1 else None

    @property
    def phases(self) -> list[Verdict]:
        """The in-phase and the out-of-phase image, as far as there is one of each."""
        return [v for v in (self.only(IN), self.only(OUT)) if v is not None]

    @property
    def shared_name(self) -> Entities:
        """Name of the scan by what its images share."""
        return _with_acquisition(self.key.entities)

    @property
    def is_whole(self) -> bool:
        """Whether both phases were found, even with several candidates."""
        return bool(self.found[IN] and self.found[OUT])


def shared_key(verdict: Verdict, telling: frozenset[str]) -> ScanKey:
    """Find what this image shares with the others of its scan.

    ``echo`` and ``part`` are dropped, and every part of the name that shows the contrast; for an
    image that the filter file names also the entities by which its queries differ. Participant
    and session are those of the folders.
    """
    image, name = verdict.image, verdict.image.name.without_marks()
    dropped = {"sub", "ses", "echo", "part"} | (telling if verdict.meets else frozenset())
    entities = {
        key: _rest(verdict, key, value) for key, value in name.entities if key not in dropped
    }
    entities = {key: value for key, value in entities.items() if value} | dict(image.folders)
    by_words = words_tell(image.name)
    words = () if "word" in dropped else name.words
    return ScanKey(
        entities=in_bids_order(entities),
        words=tuple(word for word in words if _rest(verdict, "word", word, by_words)),
        suffix="" if "suffix" in dropped else _rest(verdict, "suffix", name.suffix, by_words),
        datatype="" if "datatype" in dropped else image.datatype,
    )


def _rest(verdict: Verdict, place: str, value: str, by_words: bool = False) -> str:
    """Give what is left of a place's value without what shows the contrast."""
    told = told_by(place, value)
    if told:
        return told[0].rest.strip("-")
    if place in verdict.glued:
        return verdict.glued[place].rest
    return "" if by_words and _TELLING_WORD.fullmatch(value) else value


def name_found_scans(findings: list[FoundScan]) -> list[tuple[FoundScan, Entities]]:
    """Give every scan a name of its own.

    A name holds the shared entities. Where two scans would get the same name, both take the
    entities of their in-phase image, then also suffix, then the folder; if that does not help,
    they become problems. Scans with both phases come first, then those whose images were brought
    together, then incomplete ones, so that a later one never changes the name of an earlier one.
    """
    named: dict[int, tuple[FoundScan, Entities]] = {}
    taken: set[Entities] = set()
    for rank in range(3):
        places = [i for i, finding in enumerate(findings) if _rank(finding) == rank]
        for place, one in zip(
            places, _name_rank([findings[i] for i in places], taken), strict=True
        ):
            named[place] = one
        taken |= {named[place][1] for place in places}
    return [named[place] for place in range(len(findings))]


def _rank(finding: FoundScan) -> int:
    if not finding.is_whole:
        return 2
    return 1 if finding.group.reunited else 0


def _name_rank(findings: list[FoundScan], taken: set[Entities]) -> list[tuple[FoundScan, Entities]]:
    names = [finding.shared_name for finding in findings]
    for scheme in (_named_by_in_phase, _named_by_suffix, _named_by_folder):
        clashing = _find_clashing(names, taken)
        names = [
            scheme(finding) if clashes else name
            for finding, name, clashes in zip(findings, names, clashing, strict=True)
        ]
    if any(_rank(finding) for finding in findings):
        return list(zip(findings, _numbered(names, taken), strict=True))
    return [
        (_with_name_problem(finding) if clashes else finding, name)
        for finding, name, clashes in zip(
            findings, names, _find_clashing(names, taken), strict=True
        )
    ]


def _numbered(names: list[Entities], taken: set[Entities]) -> list[Entities]:
    """Add a number to the acquisition of every name that is already taken."""
    given: list[Entities] = []
    for name in names:
        choices = (_with_acquisition(name, f"x{number}") for number in count(2))
        free = (one for one in chain((name,), choices) if one not in (*taken, *given))
        given.append(next(free))
    return given


def _find_clashing(names: list[Entities], taken: set[Entities]) -> list[bool]:
    counts = Counter(names)
    return [counts[name] > 1 or name in taken for name in names]


def _with_name_problem(finding: FoundScan) -> FoundScan:
    files = list_shown(v.image for v in finding.involved)
    problem = (
        f"{files}: another scan of this participant would get the same name in the results. "
        "Rename one of the two, for example by another acq- label."
    )
    return replace(finding, problems=(*finding.problems, problem))


def _with_acquisition(entities: Iterable[tuple[str, str]], addition: str = "") -> Entities:
    """Entities in BIDS order with an acquisition.

    >>> _with_acquisition((("sub", "01"), ("run", "1")), "vibe")
    (('sub', '01'), ('acq', 'dixonvibe'), ('run', '1'))
    """
    values = dict(entities)
    values["acq"] = values.get("acq", DEFAULT_ACQUISITION) + addition
    return in_bids_order(values)


def _named_by_in_phase(finding: FoundScan) -> Entities:
    image = (finding.only(IN) or finding.involved[0]).image
    own = {key: value for key, value in image.name.entities if key not in ("echo", "part")}
    return _with_acquisition((own | dict(image.folders)).items())


def _named_by_suffix(finding: FoundScan) -> Entities:
    key = finding.key
    return _with_acquisition(key.entities, _plain(*key.words, key.suffix))


def _named_by_folder(finding: FoundScan) -> Entities:
    key = finding.key
    return _with_acquisition(key.entities, _plain(*key.words, key.suffix, key.datatype))


def _plain(*parts: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", "".join(parts))
