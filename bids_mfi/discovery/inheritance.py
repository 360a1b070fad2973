"""Inheritance of sidecars where names leave one reading only, without PyBIDS.

PyBIDS makes a database for each participant, which takes most of the time of a search. Where every
name is plain and no folder has two sidecars for one image, the inheritance principle is a union of
mappings from the dataset's root down to the image. Everything else is left to PyBIDS
(:mod:`bids_mfi.discovery.metadata`).
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_mfi.discovery.naming import ImageName, is_utf8, parse_name
from bids_mfi.discovery.sidecars import Fields, Sidecars, sidecar_applies

MOST_VALUE_CHARACTERS = 2**16  # of one field as JSON; a longer one says nothing about a contrast

MOST_ESCAPE = 12  # characters of JSON for one beyond the basic plane

Metadata = dict[Path, Fields]

_PLAIN_FOLDER = re.compile(r"[A-Za-z0-9+_-]+")
# Parts separated by single underscores, the last one without a hyphen. PyBIDS takes
# layout_config.json for rules of its own.
_PLAIN_FILE = re.compile(
    r"(?!layout_config\.)(?:(?:[A-Za-z0-9]+-[A-Za-z0-9.+-]+|[A-Za-z0-9]+)_)*[A-Za-z0-9]+"
    r"\.(?:nii\.gz|nii|json)"
)


@dataclass(frozen=True, slots=True)
class ParticipantFiles:
    """What was listed for one participant.

    Attributes
    ----------
    bids_dir : Path
        Absolute.
    label : str
        Without ``sub-``.
    images : tuple of Path
        Absolute, of all sessions, so that the index does not depend on the selected ones.
    sidecars : Sidecars
        Of all sessions, and those at the dataset's root. All names are UTF-8.
    """

    bids_dir: Path
    label: str
    images: tuple[Path, ...]
    sidecars: Sidecars

    def relative(self, path: Path) -> Path:
        """Path below the dataset."""
        return path.relative_to(self.bids_dir)


def inherit_plainly(files: ParticipantFiles) -> Metadata | None:
    """Metadata of every image of a participant, by the path; fields in the order of their names.

    None if PyBIDS must answer: a name is not plain, or a folder has several sidecars for an image.
    """
    names = {path: parse_name(path.name) for path in files.images}
    if not _are_plain(files, names):
        return None
    applying = {image: _find_applying(files, image, name) for image, name in names.items()}
    if any(_share_folder(sidecars) for sidecars in applying.values()):
        return None
    usable = {path: files.sidecars.fields[path] for paths in applying.values() for path in paths}
    fields = {path: dict(select_values(content)) for path, content in usable.items()}
    return {image: _unite(fields[path] for path in paths) for image, paths in applying.items()}


def select_values(fields: Fields) -> Iterator[tuple[str, object]]:
    r"""Fields but those with a value that is too long or too deep to matter, or an odd name.

    >>> dict(select_values({"EchoTime": 0.00246, "\udce9": 1, "Text": "x" * 2**16}))
    {'EchoTime': 0.00246}
    """
    for key, value in fields.items():
        if (key.isascii() or is_utf8(key)) and (
            _is_short(value) or _count_characters(value) <= MOST_VALUE_CHARACTERS
        ):
            yield key, value


def _is_short(value: object) -> bool:
    """Whether a value is one number or a short text, as most are."""
    if isinstance(value, str):
        return MOST_ESCAPE * len(value) < MOST_VALUE_CHARACTERS - 2
    return value is None or isinstance(value, bool | float)


def _count_characters(value: object) -> float:
    """Length as JSON; infinity if it is too deep to be written."""
    try:
        return len(json.dumps(value))
    except (RecursionError, ValueError):
        return math.inf


def _are_plain(files: ParticipantFiles, names: Mapping[Path, ImageName]) -> bool:
    """Whether PyBIDS would read the names as :func:`parse_name` does."""
    paths = (*files.images, *files.sidecars.fields)
    folders = {path.parent for path in paths}
    return (
        all(_PLAIN_FILE.fullmatch(path.name) for path in paths)
        and all(_is_single(parse_name(path.name)) for path in paths)
        and all(dict(name.entities).get("sub", files.label) == files.label
                for name in names.values())
        and all(_PLAIN_FOLDER.fullmatch(part) for folder in folders
                for part in files.relative(folder).parts)
    )  # fmt: skip


def _is_single(name: ImageName) -> bool:
    """Whether no entity occurs twice."""
    return len(dict(name.entities)) == len(name.entities)


def _find_applying(files: ParticipantFiles, image: Path, name: ImageName) -> list[Path]:
    """Sidecars of an image, that of the dataset's root first."""
    found = [path for path in files.sidecars.fields if sidecar_applies(path, image, name)]
    return sorted(found, key=lambda path: len(path.parts))


def _share_folder(sidecars: list[Path]) -> bool:
    return len({path.parent for path in sidecars}) < len(sidecars)


def _unite(contents: Iterable[Fields]) -> Fields:
    """Join fields, the last value first; a field that is null is absent."""
    united: dict[str, object] = {}
    for fields in contents:
        united |= fields
    return {key: united[key] for key in sorted(united) if united[key] is not None}
