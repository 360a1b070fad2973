"""Files beside the images of a scan that do not belong to it: masks, labels, maps and copies.

They are left out before names are read, so that they never change a scan's name or status.

"""

import gzip
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from bids_mfi.discovery.classify import Image, Verdict
from bids_mfi.discovery.filters import FilterQueries
from bids_mfi.discovery.groups import Entities, FoundScan
from bids_mfi.discovery.naming import IMAGE_EXTENSIONS
from bids_mfi.reading import open_regular_file

# Suffixes of files that a person or a program made from images.
_MADE_FROM_IMAGES = re.compile(
    r"(?i)(?:seg|segmentations?|masks?|labels?|rois?|lesions?|atlas|contours?)\d*$|^parc$"
    r"|^(?:manual|auto|gt|(?:ground)?truth|pred(?:ictions?)?|annotations?|rater\w*)$"
    r"|^(?:muscles?|vertebrae?|vert|levels?|dis[ck]s?)$"
    r"|^landmarks?$|^(?:xfm|warp|jacobian|std|snr|bias)$|^[TRM][12](?:star)?map$"
    r"|^(?:pd|mtr|mtv|ff|pdff|fatfrac|b0|b1|tb1|s0|m0|r2s|t2s|field)map$"
)
_LABEL_ENTITIES = frozenset({"label", "seg", "atlas", "roi", "mask", "lesion"})
# Entities that only processed images have.
_DERIVED_ENTITIES = frozenset({"desc", "space", "res", "den", "proc"})
# Suffixes of images that show another contrast than a Dixon pair of the neck does.
_OTHER_WEIGHTINGS = frozenset(
    {"t2w", "pdw", "pdt2", "flair", "t2starw", "t2star", "swi", "angio", "inplanet1", "inplanet2",
     "unit1", "mtw", "mese", "localizer", "scout", "survey"}
)  # fmt: skip
_ADDED = re.compile(r"(?:_(?!e\d)[A-Za-z][A-Za-z0-9]*)+")
_COPY = re.compile(
    r"(?:[ _-]+|(?<=\w))(?:\((?:\d+|copy|kopie)\)|[ -]+ ?(?:copy|kopie|copie|copia)(?: ?\(?\d+\)?)?"
    r"|_(?:copy|kopie|copie|copia)\d*| \d{1,2}|~\d*)$",
    re.IGNORECASE,
)
_COPY_OF = re.compile(
    r"^(?:copy of|copy \(\d+\) of|kopie von|copie de|copia de)[ _-]+", re.IGNORECASE
)
_BLOCK = 2**20


def leave_out_bystanders(images: Iterable[Image], queries: FilterQueries) -> list[Image]:
    """Keep the files that may be images of a scan.

    A file that the filter file names by its suffix or by an entity of labels is kept.
    """
    known = [image for image in images if _may_be_image(image, queries)]
    copies = set(_find_copies(known))
    return [image for image in known if image.path not in copies]


def _may_be_image(image: Image, queries: FilterQueries) -> bool:
    if not is_made_from_images(image):
        return True
    by_kind = queries.keys & ({"suffix"} | _LABEL_ENTITIES)
    return bool(by_kind and queries.matching(image.name, image.datatype, image.folders))


def leave_out_derived(findings: list[FoundScan]) -> list[FoundScan]:
    """Skip what is merely stored beside a scan that has both phases.

    That is a lone phase of another weighting, such as a T2w; an image that one source sets aside
    while another names a phase, such as the T2* map of the out-of-phase image; and an image made
    from one of the scan, such as ``..._T1w_N4``.
    """
    whole = [finding for finding in findings if finding.is_whole]
    names = {finding.shared_name for finding in whole}
    stems = {_stem(v.image.path) for finding in whole for v in finding.group.verdicts}
    return [
        finding
        for finding in findings
        if finding.is_whole or not (_is_made_from(finding, stems) or _is_other_kind(finding, names))
    ]


def _is_other_kind(finding: FoundScan, names: set[Entities]) -> bool:
    verdicts = finding.group.verdicts
    return finding.shared_name in names and (
        finding.key.suffix.lower() in _OTHER_WEIGHTINGS
        or all(None in verdict.contrasts for verdict in verdicts)
    )


def _is_made_from(finding: FoundScan, stems: set[str]) -> bool:
    """Whether all names are those of images of a scan with something added."""
    return all(
        any(_is_longer(name, stem) for stem in stems)
        for name in map(_without_derived, finding.group.verdicts)
    )


def _is_longer(name: str, stem: str) -> bool:
    """Whether a name adds a word to a stem; a number or an entity names another acquisition.

    >>> [_is_longer(name, "x_T1w") for name in ("x_T1w_N4", "x_T1w_2", "x_T1w__dup-01", "x_T1wa")]
    [True, False, False, False]
    """
    return name.startswith(stem) and _ADDED.fullmatch(name[len(stem) :]) is not None


def _without_derived(verdict: Verdict) -> str:
    """Name without the entities of processing; a word replaces them if there were any."""
    stem = _stem(verdict.image.path)
    parts = [p for p in stem.split("_") if p.partition("-")[0] not in _DERIVED_ENTITIES]
    return stem if len(parts) == stem.count("_") + 1 else "_".join((*parts, "derived"))


def is_made_from_images(image: Image) -> bool:
    """Whether a name is that of a mask, a label map, a quantitative map or the like."""
    name = image.name
    entities = dict(name.entities)
    described = (entities.get("desc", ""), *_values_of_odd_keys(entities), name.suffix)
    return bool(_LABEL_ENTITIES & entities.keys()) or any(
        _MADE_FROM_IMAGES.search(text) for text in described
    )


def _values_of_odd_keys(entities: dict[str, str]) -> Iterator[str]:
    """Values of keys with a capital, which hold a suffix: ``T1w-mask``."""
    return (value for key, value in entities.items() if key != key.lower())


def _find_copies(images: list[Image]) -> Iterator[Path]:
    """Find copies of an image by their names, and the unpacked twin of a packed one."""
    stems = {(image.path.parent, _stem(image.path)) for image in images}
    packed = {image.path for image in images if image.path.name.endswith(".nii.gz")}
    for image in images:
        original = _COPY_OF.sub("", _COPY.sub("", _stem(image.path)))
        if original != _stem(image.path) and (image.path.parent, original) in stems:
            yield image.path
        twin = image.path.with_name(f"{image.path.name}.gz")
        if twin in packed and have_same_content(twin, image.path):
            yield image.path


def _stem(path: Path) -> str:
    extension = next(end for end in IMAGE_EXTENSIONS if path.name.endswith(end))
    return path.name.removesuffix(extension)


def have_same_content(packed: Path, plain: Path) -> bool:
    """Whether a .nii.gz file unpacks to a .nii file; at most the plain file's size is unpacked."""
    try:
        with open_regular_file(packed) as outer, open_regular_file(plain) as second:
            with gzip.GzipFile(fileobj=outer) as first:
                return _are_equal(first, second)
    except (OSError, EOFError, ValueError):
        return False


def _are_equal(first: gzip.GzipFile, second: IO[bytes]) -> bool:
    while True:
        expected = second.read(_BLOCK)
        if _read_block(first, len(expected) or 1) != expected:
            return False
        if not expected:
            return True


def _read_block(file: gzip.GzipFile, size: int) -> bytes:
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
