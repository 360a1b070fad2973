"""From one image's name and metadata to its contrast.

The sources are read in a fixed order: the user's filter file, ImageType, the file name, the
SeriesDescription. The first that names a contrast decides and the others must agree. Where none
does, hints count (:mod:`bids_mfi.discovery.hints`); the echo time comes last, and only among the
images of one scan (see :mod:`bids_mfi.discovery.pair`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bids_mfi.discovery.filters import FilterQueries
from bids_mfi.discovery.naming import (
    CONTRAST_WORDS,
    DIXON_WORDS,
    MULTI_ECHO_SUFFIXES,
    ImageName,
    Told,
    read_image_type,
    read_place,
)
from bids_mfi.discovery.phrases import names_both_phases, read_contrast
from bids_mfi.discovery.sidecar_values import (
    read_all,
    read_echo_time_s,
    read_field_strength_t,
    read_frequency_mhz,
    read_words,
)
from bids_mfi.measure.dixon import PROTON_MHZ_PER_T, phase_cosine
from bids_mfi.measure.pair import Contrast

PHASE_LIMIT = 0.7
ECHO_TIME_TOLERANCE_S = 1e-5

FILTER_FILE = "--bids-filter-file"
IMAGE_TYPE = "ImageType"
FILE_NAME = "file name"
SERIES_DESCRIPTION = "SeriesDescription"
PROTOCOL_NAME = "ProtocolName"
ECHO_TIME = "echo time"
PHASES = frozenset({Contrast.IN_PHASE, Contrast.OUT_PHASE})
NOTHING: Mapping[str, Told] = {}


@dataclass(frozen=True, slots=True)
class Image:
    """One NIfTI file as listed, with its inherited metadata.

    Attributes
    ----------
    path : Path
        Absolute.
    shown : str
        Path relative to BIDS_DIR, for messages.
    name : ImageName
    folders : tuple of (str, str)
        ``sub`` and, where there is one, ``ses``, from the folders.
    datatype : str
        Folder below the subject or session; empty if the image is in none.
    metadata : mapping
        Sidecar fields, inheritance applied.
    problem : str or None
        Why the image cannot be used if it turns out to be part of a scan.
    origins : mapping of str to str
        For fields whose value does not follow BIDS, the sidecar that holds it.
    volume : int or None
        Which volume of a 4-D file, counted from 0; None for a 3-D file.
    split_by : str
        How a 4-D file was split into its volumes.
    """

    path: Path
    shown: str
    name: ImageName
    folders: tuple[tuple[str, str], ...]
    datatype: str
    metadata: Mapping[str, object] = field(default_factory=dict)
    problem: str | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    volume: int | None = None
    split_by: str = ""

    @property
    def echo(self) -> int | None:
        """Number of the echo that the name gives; None if it gives none."""
        number = dict(self.name.entities).get("echo", "")
        return int(number) if re.fullmatch("[0-9]{1,3}", number) else None

    @property
    def echo_time_s(self) -> float | None:
        """EchoTime in seconds; None if absent or impossible for Dixon imaging."""
        return read_echo_time_s(self.metadata, self.echo).number

    @property
    def frequency_mhz(self) -> float | None:
        """Resonance frequency of water, MHz; None if unknown or contradictory."""
        return read_frequency_mhz(self.metadata).number

    @property
    def remarks(self) -> tuple[str, ...]:
        """State how each value that does not follow BIDS was read."""
        values = read_all(self.metadata, self.echo).items()
        remarks = (self._with_origin(key, v.remark) for key, v in values if v.remark)
        return (self.split_by, *remarks) if self.split_by else tuple(remarks)

    @property
    def doubts(self) -> tuple[str, ...]:
        """State what was found and expected for each value that cannot be used."""
        values = read_all(self.metadata, self.echo).items()
        return tuple(self._with_origin(key, v.problem) for key, v in values if v.problem)

    def _with_origin(self, key: str, text: str) -> str:
        return f"{self.origins[key]}: {text}" if key in self.origins else text

    @property
    def field_strength_t(self) -> float | None:
        """Tesla, from MagneticFieldStrength or else ImagingFrequency."""
        known = read_field_strength_t(self.metadata).number
        frequency = self.frequency_mhz
        if known is None and frequency is not None:
            return frequency / PROTON_MHZ_PER_T
        return known

    @property
    def called_dixon(self) -> bool:
        """Whether the acquisition calls itself Dixon, or multi-echo gradient echo."""
        values = (value for place, value in self.name.places() if place not in ("sub", "ses"))
        told = [*values, self.datatype, str(self.metadata.get(SERIES_DESCRIPTION, ""))]
        return self.name.suffix.lower() in MULTI_ECHO_SUFFIXES or any(
            DIXON_WORDS.search(value) for value in told
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """What one source says about an image; with contrast None the image is set aside."""

    contrast: Contrast | None
    source: str
    evidence: str

    def __str__(self) -> str:
        """Write the statement as part of a sentence."""
        return f"the {self.source} says {CONTRAST_WORDS[self.contrast]} ({self.evidence})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all sources together say about an image.

    Attributes
    ----------
    image : Image
    statements : tuple of Statement
        In the order of the sources; empty if none names a contrast.
    allowed : frozenset of Contrast
        Contrasts for which the filter file leaves the image a candidate.
    overruled : tuple of Statement
        Sources against which the filter file decided.
    glued : mapping of str to Told
        What places of the name show beside another image's name.
    meets : frozenset of Contrast
        Contrasts whose query the image meets.
    """

    image: Image
    statements: tuple[Statement, ...]
    allowed: frozenset[Contrast]
    overruled: tuple[Statement, ...] = ()
    glued: Mapping[str, Told] = field(default_factory=dict)
    meets: frozenset[Contrast] = frozenset()

    @property
    def contrasts(self) -> frozenset[Contrast | None]:
        """Everything that was said."""
        return frozenset(statement.contrast for statement in self.statements)

    @property
    def contrast(self) -> Contrast | None:
        """The contrast if all sources that name one agree and the filter file allows it."""
        only = next(iter(self.contrasts)) if len(self.contrasts) == 1 else None
        return only if only in self.allowed else None

    @property
    def by_filter(self) -> bool:
        """Whether the user's filter file decided."""
        return bool(self.statements) and self.statements[0].source == FILTER_FILE

    def contradicts_about(self, contrasts: frozenset[Contrast]) -> bool:
        """Whether the sources disagree, and one of these contrasts is among what they say."""
        return len(self.contrasts) > 1 and bool(self.contrasts & contrasts & self.allowed)


def classify(image: Image, queries: FilterQueries, glued: Mapping[str, Told] = NOTHING) -> Verdict:
    """Apply the filter file, ImageType, the file name and the SeriesDescription, in this order.

    Parameters
    ----------
    image : Image
    queries : FilterQueries
    glued : mapping of str to Told
        Places of the name that show the contrast only beside another image's name (see
        :mod:`bids_mfi.discovery.glued`).
    """
    matched = queries.matching(image.name, image.datatype, image.folders)
    allowed = frozenset(c for c in Contrast if c in matched or c not in queries.contrasts)
    said = statements_of(image, glued)
    if len(matched) != 1:
        return Verdict(image, said, allowed, glued=glued, meets=matched)
    contrast = next(iter(matched))
    decided = Statement(contrast, FILTER_FILE, queries.query_name(contrast))
    overruled = tuple(statement for statement in said if statement.contrast is not contrast)
    return Verdict(image, (decided,), allowed, overruled, glued, matched)


def statements_of(image: Image, glued: Mapping[str, Told] = NOTHING) -> tuple[Statement, ...]:
    """Collect what ImageType, file name and SeriesDescription say, in this order."""
    return (
        *_image_type_statements(image.metadata),
        *_name_statements(image.name, glued),
        *_description_statements(image.metadata),
    )


def _image_type_statements(metadata: Mapping[str, object]) -> tuple[Statement, ...]:
    tokens: list[str] = []
    for key in ("ImageType", "ImageTypeText", "ComplexImageComponent"):
        tokens.extend(read_words(metadata.get(key)))
    said = read_image_type(tuple(tokens))
    return _one_voice([Statement(c, IMAGE_TYPE, token) for c, token in said.items()])


def _name_statements(name: ImageName, glued: Mapping[str, Told]) -> tuple[Statement, ...]:
    statements = [*_words_statements(name)]
    for place, value in name.places():
        shown = f"_{value}" if place in ("suffix", "word") else f"{place}-{value}"
        for told in told_by(place, value) or ((glued[place],) if place in glued else ()):
            statements.append(Statement(told.contrast, FILE_NAME, shown))
    if _words_name_both(name):
        statements = [one for one in statements if one.contrast not in PHASES]
    if any(statement.contrast is None for statement in statements):
        statements = [statement for statement in statements if statement.contrast is None]
    first_of_each = {statement.contrast: statement for statement in reversed(statements)}
    return tuple(first_of_each.values())


def _words_statements(name: ImageName) -> Iterator[Statement]:
    """Read words and suffix as the description from which dcm2niix makes them."""
    for words in ((*name.words, name.suffix), name.words):
        reading = read_contrast(f"_{'_'.join(words)}") if words else None
        if reading is not None and reading.firm:
            yield Statement(reading.contrast, FILE_NAME, f"_{reading.token.replace(' ', '_')}")
            return


def words_tell(name: ImageName) -> bool:
    """Whether the words of a name, read as a description, identify the contrast."""
    return next(_words_statements(name), None) is not None


def _words_name_both(name: ImageName) -> bool:
    return names_both_phases("_".join((*name.words, name.suffix)))


def _description_statements(metadata: Mapping[str, object]) -> tuple[Statement, ...]:
    value = metadata.get(SERIES_DESCRIPTION)
    reading = read_contrast(value) if isinstance(value, str) else None
    if reading is None or not reading.firm:
        return ()
    return (Statement(reading.contrast, SERIES_DESCRIPTION, f'"{reading.token}"'),)


def _one_voice(statements: list[Statement]) -> tuple[Statement, ...]:
    """One source: setting aside comes first; naming several contrasts identifies none."""
    aside = tuple(statement for statement in statements if statement.contrast is None)
    return aside or (tuple(statements) if len(statements) == 1 else ())


def told_by(place: str, value: str) -> tuple[Told, ...]:
    """Read one place of the name; a place that names two contrasts counts as empty.

    >>> told_by("acq", "inphaseoutphase"), told_by("acq", "InOutPhase")
    ((), ())
    """
    told = read_place(place, value)
    phases = {one.contrast for one in told if one.contrast is not None}
    if len(phases) < 2 and not (phases & PHASES and names_both_phases(value)):
        return told
    return tuple(one for one in told if one.contrast is None)


def echo_statement(image: Image) -> Statement | None:
    """Read the echo time; None without field strength, or between the two phases."""
    echo_time, frequency = image.echo_time_s, image.frequency_mhz
    if echo_time is None or frequency is None:
        return None
    cosine = phase_cosine(echo_time, frequency)
    if abs(cosine) <= PHASE_LIMIT:
        return None
    contrast = Contrast.IN_PHASE if cosine > 0 else Contrast.OUT_PHASE
    field_t = frequency / PROTON_MHZ_PER_T
    return Statement(contrast, ECHO_TIME, f"{1000 * echo_time:.2f} ms at {field_t:.3g} T")


def echo_times_differ(images: Iterable[Image]) -> bool:
    """Whether all echo times are known and at least two differ by 10 microseconds or more.

    Equal ones do not separate two images: some scanners give every image of a series the same
    sidecar.
    """
    times = [image.echo_time_s for image in images]
    known = [time for time in times if time is not None]
    return len(known) == len(times) and max(known) - min(known) >= ECHO_TIME_TOLERANCE_S
