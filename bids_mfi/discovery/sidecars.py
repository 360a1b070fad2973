"""Reads JSON sidecars and decides to which images each applies.

Every sidecar of the dataset is opened here and nowhere else.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bids_mfi.discovery.naming import ImageName, parse_name
from bids_mfi.printing import escape_text
from bids_mfi.reading import parse_json, read_regular_file

MOST_SIDECAR_BYTES = 16 * 2**20  # real ones have 1 to 300 kB, with a field for each slice some MB

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Sidecars:
    """What sidecars say.

    Attributes
    ----------
    fields : mapping of Path to Fields
        The content of those that can be read.
    unreadable : mapping of Path to str
        Why the others cannot be used, and what to do.
    """

    fields: Mapping[Path, Fields] = field(default_factory=dict)
    unreadable: Mapping[Path, str] = field(default_factory=dict)

    def __or__(self, other: "Sidecars") -> "Sidecars":
        """Join the sidecars of two places."""
        return Sidecars({**self.fields, **other.fields}, {**self.unreadable, **other.unreadable})

    def with_suffixes(self, suffixes: frozenset[str]) -> "Sidecars":
        """Keep those with one of these suffixes."""
        return Sidecars(
            {p: v for p, v in self.fields.items() if parse_name(p.name).suffix in suffixes},
            {p: v for p, v in self.unreadable.items() if parse_name(p.name).suffix in suffixes},
        )

    def reasons_for(self, image: Path, name: ImageName) -> list[str]:
        """Sentences about unreadable sidecars that apply to an image."""
        return [
            f"{sidecar}: {reason}"
            for sidecar, reason in self.unreadable.items()
            if sidecar_applies(sidecar, image, name)
        ]

    def sources_of(self, key: str, image: Path, name: ImageName) -> list[Path]:
        """Sidecars that apply to an image and have a field, the one that counts last."""
        found = [
            path
            for path, fields in self.fields.items()
            if key in fields and sidecar_applies(path, image, name)
        ]
        return sorted(found, key=lambda path: (len(path.parts), len(path.name), path))


def read_sidecars(paths: Iterable[Path]) -> Sidecars:
    """Read sidecars; one that cannot be read is kept with the reason."""
    fields: dict[Path, Fields] = {}
    unreadable: dict[Path, str] = {}
    for path in sorted(paths):
        found = _read_fields(path)
        if isinstance(found, str):
            unreadable[path] = found
        else:
            fields[path] = found
    return Sidecars(fields, unreadable)


def _read_fields(path: Path) -> Fields | str:
    """Content of a sidecar, or why it cannot be used."""
    if path.is_symlink() and not path.exists():
        return (
            f"the content has not been fetched (a symbolic link to {_target(path)}, which does not "
            "exist). Run `datalad get` or `git annex get` on it first."
        )
    try:
        text = read_regular_file(path, MOST_SIDECAR_BYTES)
        if text.startswith((b"/annex/objects/", b"version https://git-lfs")):
            return (
                "the content has not been fetched (the file only points to it). Run `datalad "
                "get`, `git annex get` or `git lfs pull` on it first."
            )
        content = parse_json(text)
    except OSError as error:
        return f"cannot be read ({error.strerror}). Correct its permissions or copy it again."
    except ValueError as error:
        return f"is not valid JSON ({error}). Correct it or convert it again."
    if isinstance(content, dict):
        return content
    return "is not a JSON object. Correct it or convert it again."


def _target(link: Path) -> str:
    return escape_text(os.readlink(link))


def sidecar_applies(sidecar: Path, image: Path, name: ImageName) -> bool:
    """Whether BIDS' inheritance principle makes a sidecar apply to an image."""
    told = parse_name(sidecar.name)
    return (
        told.suffix == name.suffix
        and set(told.entities) <= set(name.entities)
        and set(told.words) <= set(name.words)
        and sidecar.parent in image.parents
    )
