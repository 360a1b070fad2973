"""What file names and sidecar texts say about a Dixon image, as data.

:data:`NAMINGS` holds every naming convention, :data:`IMAGE_TYPE_TOKENS` the vendors' words in the
DICOM field ImageType. ``None`` marks an image that has none of the four contrasts and is set aside:
a fraction, a phase image, a relaxation map.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from bids_mfi.measure.pair import ENTITY_ORDER, Contrast

IN, OUT, WATER, FAT = Contrast.IN_PHASE, Contrast.OUT_PHASE, Contrast.WATER, Contrast.FAT

CONTRAST_WORDS: Mapping[Contrast | None, str] = {
    IN: "in-phase",
    OUT: "out-of-phase",
    WATER: "water",
    FAT: "fat",
    None: "none of the four contrasts (a fraction, phase or map)",
}

# Long and short names of the entities.
ENTITY_NAMES = {
    "subject": "sub", "session": "ses", "sample": "sample", "task": "task", "tracksys": "tracksys",
    "acquisition": "acq", "nucleus": "nuc", "volume": "voi", "ceagent": "ce", "tracer": "trc",
    "staining": "stain", "reconstruction": "rec", "direction": "dir", "run": "run",
    "modality": "mod", "echo": "echo", "flip": "flip", "inversion": "inv", "mtransfer": "mt",
    "part": "part", "processing": "proc", "hemisphere": "hemi", "space": "space", "split": "split",
    "recording": "recording", "chunk": "chunk", "segmentation": "seg", "resolution": "res",
    "density": "den", "label": "label", "description": "desc",
}  # fmt: skip
_BEFORE_UNKNOWN = {key: rank for rank, key in enumerate(ENTITY_ORDER)}
_AFTER_UNKNOWN = {
    key: 1 + rank
    for rank, key in enumerate(ENTITY_NAMES.values(), start=len(ENTITY_ORDER))
    if key not in ENTITY_ORDER
}
_RANKS = _BEFORE_UNKNOWN | _AFTER_UNKNOWN

_COMPLEX_PART = re.compile(r"(?:ph|pha|phase|real|imag|imaginary)$")
_ECHO_WORD = re.compile(r"e\d{1,2}[a-z]?$")

IMAGE_EXTENSIONS = (".nii.gz", ".nii")
EXTENSIONS = (*IMAGE_EXTENSIONS, ".json")

# Folders that never hold an image this program could use; they are not listed.
OTHER_DATATYPES = frozenset(
    {"func", "dwi", "fmap", "perf", "eeg", "meg", "ieeg", "emg", "nirs", "motion", "beh", "pet",
     "micr", "mrs"}
)  # fmt: skip

# ImageType, compared without case and without anything but letters and digits.
IMAGE_TYPE_TOKENS: Mapping[Contrast | None, frozenset[str]] = {
    IN: frozenset({"INPHASE", "IP", "IN"}),
    OUT: frozenset(
        {"OPPPHASE", "OUTPHASE", "OUTOFPHASE", "OPPOSEDPHASE", "OPPHASE", "OP", "OPP", "OOP", "OUT"}
    ),
    WATER: frozenset({"WATER", "W"}),
    FAT: frozenset({"FAT", "F"}),
    None: frozenset(
        {"P", "R", "I", "PHASE", "PHASEMAP", "REAL", "IMAGINARY", "FF", "FATFRACTION", "FATFRAC",
         "PDFF", "WATERFRACTION", "WATERFRAC", "R2STAR", "T2STAR", "R2STARMAP", "T2STARMAP",
         "R2S", "T2S", "B0", "B0MAP", "FIELDMAP", "IMAG", "T2MAP", "R2MAP",
         "T1MAP", "R1MAP", "FATPERCENT", "FATPERCENTAGE", "WATERPERCENT", "FATFRACTIONMAP",
         "WATERFRACTIONMAP", "PDFFMAP", "FFMAP", "SUBTRACT", "SUBTRACTED", "SUBTRACTION", "SUB",
         "ADC", "MIP", "MINIP", "MASK"}
    ),
}  # fmt: skip

_TOKEN_CONTRASTS: Mapping[str, tuple[Contrast | None, ...]] = {
    token: tuple(contrast for contrast, words in IMAGE_TYPE_TOKENS.items() if token in words)
    for token in frozenset().union(*IMAGE_TYPE_TOKENS.values())
}
_NOT_PLAIN = re.compile(r"[^A-Z0-9]")

# Words by which an acquisition calls itself Dixon, so that the echo-time rule applies to it.
DIXON_WORDS = re.compile(r"dixon|ideal|lava.?flex", re.IGNORECASE)
MULTI_ECHO_SUFFIXES = frozenset({"megre"})


@dataclass(frozen=True, slots=True)
class Naming:
    """One convention: what one place of a name, or of the sidecar, says about the contrast.

    Attributes
    ----------
    source : str
        Who writes such names, for a person to read.
    places : tuple of str
        ``suffix``, ``word`` (a part of the name without hyphen), the short key of an entity, or
        ``*`` for every entity that :data:`PLACES_OF_THEIR_OWN` does not list.
    says : tuple of (Contrast or None, str)
        Regular expressions. Their match, or its group ``tells``, distinguishes the images of a
        scan; the rest of the value is what they share.
    """

    source: str
    places: tuple[str, ...]
    says: tuple[tuple[Contrast | None, str], ...]


# Entities that never tell a contrast, and those with rows of their own below.
MUTE_ENTITIES = frozenset(
    {"sub", "ses", "sample", "task", "run", "echo", "dir", "ce", "chunk", "stk", "sequ", "flip",
     "inv", "mt", "nuc", "voi", "split", "space", "hemi", "dup"}
)  # fmt: skip
PLACES_OF_THEIR_OWN = MUTE_ENTITIES | {"suffix", "word", "acq", "part", "rec"}

_IN_PHASE = r"in-?phase"
_OUT_PHASE = r"(?:out-?(?:of-?)?|opp(?:osed)?-?)phase"
_FRACTION = r"(?:fat|water)-?frac(?:tion)?|pdff|ff"
_MAP = r"[rt]2s(?:tar)?(?:map)?|b0(?:map)?"
# What Siemens appends to a description after the contrast, as BIDScoin keeps it.
_APPENDED = r"(?:ND|(?i:comp(?:osed)?(?:sp|ad)?)|DIS[23]D)+"


def _whole(pattern: str) -> str:
    return rf"(?i)^(?:{pattern})$"


def _at_an_end(pattern: str) -> str:
    """At the start or the end; a value that names both, such as ``inoutphase``, says nothing."""
    return rf"(?i)^(?:{pattern})|(?<!in)(?:{pattern})$"


def _after_dixon(letters: str) -> str:
    """Capitals that end a value with ``dixon`` in it, after a lower-case letter or the word."""
    return rf"(?i:dixon)(?:[A-Za-z0-9]*[a-z0-9])?(?P<tells>{letters})(?:{_APPENDED})?$"


def _before_plane(words: str) -> str:
    """Words that begin a value, as of the description ``WATER: Ax LAVA-Flex``."""
    return rf"(?i:^(?:{words}))(?=(?i:ax|cor|sag|lava|ideal))"


NAMINGS: tuple[Naming, ...] = (
    Naming(
        "MuscleMap",
        ("suffix",),
        ((None, _whole(f"{_FRACTION}|{_MAP}")), (IN, _whole(_IN_PHASE)),
         (OUT, _whole(_OUT_PHASE)), (WATER, _whole("water")), (FAT, _whole("fat"))),
    ),
    Naming(
        "QMRITools Muscle-BIDS",
        ("suffix",),
        ((IN, _whole("inph")), (OUT, _whole("outph")), (WATER, _whole("wat"))),
    ),
    Naming(
        "the authors' configuration",
        ("suffix", "word"),
        ((IN, "^(?:IN|IP)$"), (OUT, "^(?:OPP|OUT|OP|OOP)$"), (WATER, "^W$"), (FAT, "^F$")),
    ),
    Naming(
        "TPTBox, NAKO",
        ("part",),
        ((None, _whole(f"{_FRACTION}|{_MAP}|(?:fat|water)-?outphase")),
         (None, _whole("ph(?:ase)?|real|imag(?:inary)?")),
         (IN, _whole(f"{_IN_PHASE}|in|ip")), (OUT, _whole(f"{_OUT_PHASE}|opp|out|op|oop")),
         (WATER, _whole("water|w")), (FAT, _whole("fat|f"))),
    ),
    Naming(
        "TPTBox, NAKO multi-echo",
        ("part",),
        ((IN, _whole(r"eco\d+-?in\d*")), (OUT, _whole(r"eco\d+-?opp\d*")),
         (None, _whole(r"eco\d+-?(?:pip|pop|arb)\d*"))),
    ),
    Naming(
        "CHAOS converter",
        ("acq",),
        ((None, _at_an_end(_FRACTION)), (IN, _at_an_end(_IN_PHASE)),
         (OUT, _at_an_end(_OUT_PHASE)), (WATER, _whole("water")), (FAT, _whole("fat"))),
    ),
    Naming(
        "Siemens scripts",
        ("acq",),
        ((IN, _after_dixon("IN|IP")), (OUT, _after_dixon("OUT|OPP|OP|OOP")),
         (WATER, _after_dixon("W|WATER|Water")), (FAT, _after_dixon("F|FAT|Fat"))),
    ),
    Naming(
        "short labels", ("acq",),
        ((IN, _whole("ip|inph")), (OUT, _whole("oop|opp|outph|opposed"))),
    ),
    Naming(
        "GE through BIDScoin", ("acq",),
        ((WATER, _before_plane("water")), (FAT, _before_plane("fat"))),
    ),
    Naming(
        "other entities", ("*",),
        ((None, _whole(f"{_FRACTION}|{_MAP}")), (IN, _whole("in|ip|inph")),
         (IN, _at_an_end(_IN_PHASE)), (OUT, _whole("out|opp|op|oop|outph|opposed")),
         (OUT, _at_an_end(_OUT_PHASE)), (WATER, _whole("water|w")), (FAT, _whole("fat|f"))),
    ),
    Naming(
        "BIDS rec-",
        ("rec",),
        ((None, _whole(f"{_FRACTION}|{_MAP}")), (IN, _whole("in|ip")), (IN, _at_an_end(_IN_PHASE)),
         (OUT, _whole("out|opp|op|oop")), (OUT, _at_an_end(_OUT_PHASE)),
         (WATER, _whole("water|w")), (FAT, _whole("fat|f"))),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageName:
    """The parts of an image's file name.

    Attributes
    ----------
    entities : tuple of (str, str)
        Short keys and values in the order of the name.
    words : tuple of str
        Parts without a hyphen, except the suffix.
    suffix : str
        The last part, empty if it is an entity.
    extension : str
        ``.nii.gz``, ``.nii`` or ``.json``; empty for another file.
    """

    entities: tuple[tuple[str, str], ...]
    words: tuple[str, ...]
    suffix: str
    extension: str

    def places(self) -> Iterator[tuple[str, str]]:
        """Every place of the name with its value."""
        yield "suffix", self.suffix
        for word in self.words:
            yield "word", word
        yield from self.entities

    @property
    def has_echo(self) -> bool:
        """Whether the name numbers an echo: ``echo-1``, or ``_e1`` as dcm2niix writes it."""
        numbered = any(_ECHO_WORD.match(word) for word in (*self.words, self.suffix))
        return numbered or "echo" in dict(self.entities)

    def without_marks(self) -> "ImageName":
        """Drop what converters add after the suffix: ``__dup-01``, ``_e2``, ``_ph``, ``_real``.

        >>> parse_name("sub-01_acq-x_T1w_e2_ph.nii").without_marks().suffix
        'T1w'
        >>> parse_name("sub-01_acq-x_T1w__dup-01.nii").without_marks().suffix
        'T1w'
        """
        parts = [*self.words, self.suffix] if self.suffix else list(self.words)
        plain = [part for part in parts if not _ECHO_WORD.match(part)]
        while len(plain) > 1 and _COMPLEX_PART.match(plain[-1]):
            plain.pop()
        marked = len(plain) < len(parts) or (not self.suffix and "dup" in dict(self.entities))
        if not plain or not marked:
            return self
        return replace(self, words=tuple(plain[:-1]), suffix=plain[-1])


@lru_cache(maxsize=4096)  # each name is needed several times
def parse_name(name: str) -> ImageName:
    """Split a BIDS-like file name into its parts.

    Examples
    --------
    >>> parse_name("sub-01_stk-2_megre_dix_inph.nii.gz").entities
    (('sub', '01'), ('stk', '2'))
    >>> parse_name("sub-01_stk-2_megre_dix_inph.nii.gz").words
    ('megre', 'dix')
    >>> parse_name("sub-01_part-eco0-opp1_mevibe.nii.gz").entities[1]
    ('part', 'eco0-opp1')
    """
    extension = next((end for end in EXTENSIONS if name.endswith(end)), "")
    *parts, last = name.removesuffix(extension).split("_")
    suffix = "" if "-" in last else last
    pairs = [part.partition("-") for part in [*parts, last] if "-" in part]
    return ImageName(
        entities=tuple((key, value) for key, _, value in pairs),
        words=tuple(part for part in parts if part and "-" not in part),
        suffix=suffix,
        extension=extension,
    )


@dataclass(frozen=True, slots=True)
class Told:
    """What one place says: the contrast, and the value without the part that shows it."""

    contrast: Contrast | None
    rest: str


@lru_cache(maxsize=4096)  # participants share most values
def read_place(place: str, value: str) -> tuple[Told, ...]:
    """Everything that the conventions read at one place; empty when it names no contrast.

    Examples
    --------
    >>> [told.contrast.value for told in read_place("acq", "DIXONbodyOUT")]
    ['out_phase']
    >>> read_place("acq", "DIXONbodyOUT")[0].rest
    'DIXONbody'
    >>> read_place("acq", "highres")
    ()
    """
    found = []
    for naming in NAMINGS:
        general = "*" in naming.places and place not in PLACES_OF_THEIR_OWN
        if place not in naming.places and not general:
            continue
        for contrast, pattern in naming.says:
            match = re.search(pattern, value)
            if match:
                group = "tells" if "tells" in match.re.groupindex else 0
                rest = value[: match.start(group)] + value[match.end(group) :]
                found.append(Told(contrast, rest))
    return tuple(found)


def read_image_type(tokens: tuple[str, ...]) -> dict[Contrast | None, str]:
    """Read the words of ImageType: each contrast with the word that says it.

    Examples
    --------
    >>> read_image_type(("DERIVED", "PRIMARY", "DIXON", "OPP_PHASE"))
    {<Contrast.OUT_PHASE: 'out_phase'>: 'OPP_PHASE'}
    >>> read_image_type(("ORIGINAL", "PRIMARY", "M", "ND"))
    {}
    """
    said: dict[Contrast | None, str] = {}
    for token in tokens:
        plain = _NOT_PLAIN.sub("", token.upper())
        for contrast in _TOKEN_CONTRASTS.get(plain, ()):
            said.setdefault(contrast, token)
    return said


def in_bids_order(entities: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Entities in the order of BIDS; unknown ones by letter, before ``seg`` and those after it.

    >>> in_bids_order({"seg": "x", "zone": "2", "run": "1", "kind": "3", "sub": "01"})
    (('sub', '01'), ('run', '1'), ('kind', '3'), ('zone', '2'), ('seg', 'x'))
    """
    unknown = len(ENTITY_ORDER)
    return tuple(sorted(entities.items(), key=lambda item: (_RANKS.get(item[0], unknown), item[0])))


def is_utf8(text: str) -> bool:
    r"""Whether a name from the file system is UTF-8; Python keeps other bytes as surrogates.

    >>> is_utf8("sub-01_é"), is_utf8("sub-01_\udce9")
    (True, False)
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def short_entity(name: str) -> str:
    """Short key of an entity given by its long or short name.

    >>> short_entity("acquisition"), short_entity("acq"), short_entity("stk")
    ('acq', 'acq', 'stk')
    """
    return ENTITY_NAMES.get(name, name)
