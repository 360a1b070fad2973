"""Field strength of images that are known by their paths.

The sidecars are those that a search of the dataset would use, through the same PyBIDS layout.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from bids_mfi.discovery.classify import Image
from bids_mfi.discovery.inheritance import ParticipantFiles
from bids_mfi.discovery.listing import list_sidecars
from bids_mfi.discovery.metadata import read_metadata
from bids_mfi.discovery.naming import parse_name
from bids_mfi.discovery.sidecars import read_sidecars, sidecar_applies
from bids_mfi.errors import PairError

Strengths = dict[Path, float | None]


def read_field_strengths(images: Iterable[Path]) -> Strengths:
    """Field strength of each image, tesla, from its sidecars with inheritance applied.

    Parameters
    ----------
    images : iterable of Path
        Each below the folder ``sub-<label>`` of its participant.

    Returns
    -------
    dict of Path to float or None
        By the paths as given. None where no sidecar gives it, one that applies cannot be read, or
        the image is below no participant.
    """
    given = {image: Path(os.path.abspath(image)) for image in images}
    people: dict[Path, set[Path]] = {}
    for image in given.values():
        home = _find_home(image)
        if home is not None:
            people.setdefault(home, set()).add(image)
    found: Strengths = {}
    for home, of_person in people.items():
        found |= _read_person(home, sorted(of_person))
    return {image: found.get(path) for image, path in given.items()}


def _find_home(image: Path) -> Path | None:
    """Folder of the participant."""
    return next((folder for folder in image.parents if folder.name.startswith("sub-")), None)


def _read_person(home: Path, images: Sequence[Path]) -> Strengths:
    try:
        sidecars = read_sidecars(_list_applying(home.parent, images))
        files = ParticipantFiles(
            home.parent, home.name.removeprefix("sub-"), tuple(images), sidecars
        )
        metadata = read_metadata(files, None, dry_run=True)
    except (PairError, OSError):
        return dict.fromkeys(images)
    return {
        path: None
        if any(_applies(sidecar, path) for sidecar in sidecars.unreadable)
        else Image(path, path.name, parse_name(path.name), (), "", known).field_strength_t
        for path, known in metadata.items()
    }


def _list_applying(bids_dir: Path, images: Sequence[Path]) -> tuple[Path, ...]:
    """Sidecars, from the dataset's root down, that apply to one of the images."""
    folders = {
        folder
        for image in images
        for folder in image.parents
        if folder == bids_dir or bids_dir in folder.parents
    }
    return tuple(
        sidecar
        for folder in sorted(folders)
        for sidecar in list_sidecars(folder)
        if any(_applies(sidecar, image) for image in images)
    )


def _applies(sidecar: Path, image: Path) -> bool:
    return sidecar_applies(sidecar, image, parse_name(image.name))
