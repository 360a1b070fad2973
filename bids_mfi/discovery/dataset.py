"""From a BIDS dataset's folder to its scans.

Participants and sessions come from :mod:`bids_mfi.discovery.listing`; the inheritance
of sidecars is that of :mod:`bids_mfi.discovery.metadata`.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bids_mfi.counts import count_noun, list_names
from bids_mfi.discovery.classify import Image
from bids_mfi.discovery.filters import FilterQueries, check_filter_keys, read_filter_file
from bids_mfi.discovery.inheritance import ParticipantFiles
from bids_mfi.discovery.listing import (
    Folder,
    ListedParticipant,
    list_labels,
    list_misnamed,
    list_participant,
    list_sidecars,
)
from bids_mfi.discovery.metadata import read_metadata
from bids_mfi.discovery.naming import parse_name
from bids_mfi.discovery.pair import UnusableScan, pair_images
from bids_mfi.discovery.series import lists_volumes, split_series
from bids_mfi.discovery.sidecar_values import read_all
from bids_mfi.discovery.sidecars import Fields, Sidecars, read_sidecars
from bids_mfi.errors import DatasetError, PairError
from bids_mfi.measure.pair import DixonPair
from bids_mfi.options import RunOptions
from bids_mfi.printing import escape_text
from bids_mfi.processes import map_in_processes
from bids_mfi.reading import read_json

Scan = DixonPair | UnusableScan

SHOWN_LABELS = 10
SHOWN_IMAGES = 5
_LABEL = re.compile(r"[A-Za-z0-9+]+")


def find_scans(options: RunOptions) -> list[Scan]:
    """Every Dixon scan of the selected participants and sessions, sorted by name.

    Parameters
    ----------
    options : RunOptions
        ``bids_dir``, the labels, the filter file, ``bids_database_dir``,
        ``skip_bids_validation``, ``fat_water`` and ``dry_run`` are used.

    Returns
    -------
    list of DixonPair or UnusableScan

    Raises
    ------
    DatasetError
        The folder is not a BIDS dataset, a label or the filter file is wrong, or no Dixon image
        was found.
    """
    bids_dir = Path(os.path.abspath(options.bids_dir))
    check_dataset(bids_dir, options.skip_bids_validation)
    queries = read_filter_file(options.bids_filter_file)
    labels = select_participants(bids_dir, options.participant_label)
    everyone = [list_participant(bids_dir, label) for label in labels]
    everyone += [] if options.participant_label else list_misnamed(bids_dir)
    participants = select_sessions(everyone, options.session_label)
    check_filter_keys(queries, _keys_in_names(participants))
    search = _Search(bids_dir, queries, options, read_sidecars(list_sidecars(bids_dir)))
    found_of = map_in_processes(search.participant, participants, options.nprocs)
    results = list(zip(participants, found_of, strict=True))
    scans = [(one, found.scans) for one, found in results]
    if not any(found for _, found in scans):
        problems = [problem for _, found in results for problem in found.problems]
        raise DatasetError(
            " ".join((_describe_nothing_found(bids_dir, participants, queries), *problems[:1]))
        )
    asked = _without_prefix(options.participant_label, "sub-")
    empty = [_nothing_for(one) for one, found in scans if one.label in asked and not found]
    everything = [_printable(scan) for _, found in scans for scan in found]
    return sorted((*everything, *empty), key=lambda scan: scan.scan)


def _printable(scan: Scan) -> Scan:
    """Escape what came from names and sidecars, for terminal, log and page."""
    told = escape_text(scan.recognised_by)
    if isinstance(scan, DixonPair):
        return replace(scan, recognised_by=told)
    return replace(scan, recognised_by=told, problem=escape_text(scan.problem))


@dataclass(frozen=True, slots=True)
class _Found:
    """What the search of one participant gives."""

    scans: tuple[Scan, ...]
    problems: tuple[str, ...] = ()  # of images


@dataclass(frozen=True, slots=True)
class _Search:
    """What the search of every participant needs."""

    bids_dir: Path
    queries: FilterQueries
    options: RunOptions
    root_sidecars: Sidecars

    def participant(self, one: ListedParticipant) -> _Found:
        """Find the scans of one participant; a failure of PyBIDS becomes one unusable scan."""
        if one.problem is not None:
            return _Found((one.unusable(one.problem),))
        hindered = one.hindered()
        if not one.selected:
            return _Found((*_merge(hindered),))
        if not _LABEL.fullmatch(one.label):
            return _Found((one.unusable(_describe_bad_label(one.label)),))
        try:
            images = self._images(one)
        except PairError as error:
            return _Found((*_merge([one.unusable(str(error)), *hindered]),))
        except OSError as error:
            problem = f"{error.filename}: cannot be listed ({error.strerror})."
            return _Found((*_merge([one.unusable(problem), *hindered]),))
        images, scans = self._pair(images)
        problems = tuple(image.problem for image in images if image.problem)
        return _Found((*scans, *_merge(hindered)), problems)

    def _pair(self, images: list[Image]) -> tuple[list[Image], list[Scan]]:
        """Pair the images; if a question remains, again with the volumes of 4-D files."""
        scans = pair_images(images, self.queries, self.options.fat_water)
        split = split_series(images, _suspect_series(images, scans))
        if split is not None:
            images, scans = split, pair_images(split, self.queries, self.options.fat_water)
        return images, scans

    def _images(self, one: ListedParticipant) -> list[Image]:
        paths = tuple(path for path, _ in one.images)
        own = {
            sidecar
            for folder in _ancestors(paths, self.bids_dir)
            for sidecar in list_sidecars(folder)
        }
        suffixes = frozenset(parse_name(path.name).suffix for path in paths)
        own = {path for path in own if parse_name(path.name).suffix in suffixes}
        sidecars = read_sidecars(own) | self.root_sidecars.with_suffixes(suffixes)
        metadata = read_metadata(
            ParticipantFiles(self.bids_dir, one.label, paths, sidecars),
            self.options.bids_database_dir,
            self.options.dry_run,
        )
        return [
            self._image(path, folder, metadata[path], sidecars) for path, folder in one.selected
        ]

    def _image(self, path: Path, folder: Folder, metadata: Fields, sidecars: Sidecars) -> Image:
        name = parse_name(path.name)
        shown = escape_text(path.relative_to(self.bids_dir).as_posix())
        problem = (
            _bad_session(shown, folder.session)
            or _misplaced(shown, dict(name.entities), folder)
            or " ".join(sidecars.reasons_for(path, name))
        )
        image = Image(
            path, shown, name, folder.entities, folder.datatype, metadata, problem or None
        )
        return replace(image, origins=self._origins(image, sidecars))

    def _origins(self, image: Image, sidecars: Sidecars) -> dict[str, str]:
        """Name the sidecar of each value that does not follow BIDS."""
        odd = (key for key, value in read_all(image.metadata, image.echo).items() if value.is_odd)
        found = ((key, sidecars.sources_of(key, image.path, image.name)) for key in odd)
        return {
            key: paths[-1].relative_to(self.bids_dir).as_posix() for key, paths in found if paths
        }


def _suspect_series(images: list[Image], scans: list[Scan]) -> set[Path]:
    """Images that may be 4-D, by what is known without their headers."""
    bad = {path for scan in scans if isinstance(scan, UnusableScan) for path in scan.paths}
    lists = {image.path for image in images if lists_volumes(image)}
    unpaired = all(isinstance(scan, UnusableScan) for scan in scans)
    dixon = {image.path for image in images if unpaired and image.called_dixon}
    return bad | lists | dixon


def _merge(hindered: list[UnusableScan]) -> list[UnusableScan]:
    """Join those that denote the same participant or session, so that names differ."""
    merged: dict[str, UnusableScan] = {}
    for one in hindered:
        before = merged.get(one.scan, replace(one, paths=(), problem=""))
        problem = f"{before.problem} {one.problem}".strip()
        merged[one.scan] = replace(one, paths=(*before.paths, *one.paths), problem=problem)
    return list(merged.values())


def list_participants_without_scans(options: RunOptions, scans: Iterable[Scan]) -> list[str]:
    """Name the selected participants of whom nothing was found, ``sub-05``, sorted.

    Parameters
    ----------
    options : RunOptions
        Those of the search.
    scans : iterable of DixonPair or UnusableScan
        What :func:`find_scans` gave.

    Raises
    ------
    DatasetError
        As for :func:`find_scans`.
    """
    found = {scan.participant for scan in scans}
    bids_dir = Path(os.path.abspath(options.bids_dir))
    labels = select_participants(bids_dir, options.participant_label)
    return [f"sub-{label}" for label in map(escape_text, labels) if label not in found]


def check_dataset(bids_dir: Path, skip_validation: bool) -> None:
    """Raise DatasetError unless the folder is a raw BIDS dataset.

    With ``skip_validation`` only the folder itself must exist.
    """
    if not bids_dir.is_dir():
        found = "is not a folder" if bids_dir.exists() else "no such folder"
        raise DatasetError(f"BIDS_DIR {bids_dir}: {found}; expected the root of a BIDS dataset.")
    if skip_validation:
        return
    path = bids_dir / "dataset_description.json"
    description = _read_description(path)
    if "BIDSVersion" not in description:
        raise DatasetError(f"{path}: has no BIDSVersion. {_SKIP}")
    if description.get("DatasetType") == "derivative":
        raise DatasetError(
            f"BIDS_DIR {bids_dir}: is a derivative (DatasetType in dataset_description.json); "
            f"expected the raw dataset that it was made from. {_SKIP}"
        )


_SKIP = "Correct it, or give --skip-bids-validation."


def _read_description(path: Path) -> dict[str, object]:
    try:
        description = read_json(path)
    except FileNotFoundError:
        raise DatasetError(
            f"BIDS_DIR {path.parent}: has no readable dataset_description.json; expected the root "
            "of a BIDS dataset. Name that folder, add the file, or give --skip-bids-validation."
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}). {_SKIP}") from error
    except ValueError as error:
        raise DatasetError(f"{path}: is not valid JSON ({error}). {_SKIP}") from error
    if not isinstance(description, dict):
        raise DatasetError(f"{path}: is not a JSON object. {_SKIP}")
    return description


def select_participants(bids_dir: Path, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Labels without ``sub-``, sorted: all, or those requested, with or without ``sub-``.

    Raises
    ------
    DatasetError
        There is no participant, or a requested one does not exist.
    """
    try:
        labels = list_labels(bids_dir)
    except OSError as error:
        raise DatasetError(f"{bids_dir}: cannot be listed ({error.strerror}).") from error
    if not labels:
        misnamed = " ".join(str(one.problem) for one in list_misnamed(bids_dir)[:SHOWN_LABELS])
        raise DatasetError(
            f"BIDS_DIR {bids_dir}: holds no participant; expected folders such as sub-01."
            + (f" {misnamed}" if misnamed else "")
        )
    wanted = _without_prefix(asked, "sub-")
    for label in wanted:
        if label not in labels:
            raise DatasetError(
                f"--participant-label {escape_text(label)}: no folder sub-{escape_text(label)} in "
                f"{bids_dir}. "
                f"{_available(label, labels)}"
            )
    return tuple(sorted(set(wanted))) if asked else tuple(labels)


def select_sessions(
    participants: list[ListedParticipant], asked: tuple[str, ...]
) -> list[ListedParticipant]:
    """Keep the images of the requested sessions, with or without ``ses-``; all if none was.

    Raises
    ------
    DatasetError
        No selected participant has a requested session, though some could be listed.
    """
    if not asked or all(one.problem is not None for one in participants):
        return participants
    labels = sorted({label for one in participants for label in one.sessions})
    wanted = _without_prefix(asked, "ses-")
    for label in wanted:
        if label not in labels:
            raise DatasetError(
                f"--session-label {escape_text(label)}: no selected participant has a folder "
                f"ses-{escape_text(label)}. "
                f"{_available(label, labels)}"
            )
    return [replace(one, wanted=frozenset(wanted)) for one in participants]


def _without_prefix(labels: Iterable[str], prefix: str) -> tuple[str, ...]:
    return tuple(label.removeprefix(prefix) for label in labels)


def _available(label: str, labels: list[str]) -> str:
    """Name the labels nearest to one that does not exist, or the first few."""
    near = difflib.get_close_matches(label, labels, n=SHOWN_LABELS, cutoff=0.5)
    shown = near or labels[:SHOWN_LABELS]
    if not shown:
        return "There is none; leave the option out."
    kind = "Similar" if near else "Available"
    more = f" ({len(labels)} in all)" if len(labels) > len(shown) else ""
    return f"{kind}: {', '.join(map(escape_text, shown))}{more}."


def _ancestors(paths: Iterable[Path], bids_dir: Path) -> set[Path]:
    """Folders between the root and the images that may hold a sidecar; not the root itself."""
    depth = len(bids_dir.parts)
    return {
        parent
        for folder in {path.parent for path in paths}
        for parent in (folder, *folder.parents)
        if len(parent.parts) > depth
    }


def _keys_in_names(participants: Iterable[ListedParticipant]) -> frozenset[str]:
    names = (parse_name(path.name) for one in participants for path in one.paths)
    return frozenset(key for name in names for key, _ in name.entities)


def _misplaced(shown: str, named: Mapping[str, str], folder: Folder) -> str | None:
    """Why a name does not belong in its folder; None if it does."""
    for key in ("sub", "ses"):
        expected = dict(folder.entities).get(key)
        if named.get(key) != expected:
            says = f"{key}-{named[key]}" if key in named else f"no {key}-"
            lies = f"{key}-{expected}" if expected else f"a folder without {key}-"
            return f"{shown}: the name says {says}, but the file is in {lies}. Rename or move it."
    return None


def _bad_session(shown: str, session: str | None) -> str | None:
    if session is None or _LABEL.fullmatch(session):
        return None
    return (
        f"{shown}: ses-{session} is not a BIDS session label, which has letters and digits only. "
        "Rename the folder and its files."
    )


def _describe_bad_label(label: str) -> str:
    return (
        f"sub-{label}: is not a BIDS participant label, which has letters and digits only. Rename "
        "the folder and its files, or move it out of the dataset."
    )


def _nothing_for(participant: ListedParticipant) -> UnusableScan:
    return participant.unusable(
        f"sub-{participant.label}: was requested with --participant-label, but no Dixon image of "
        "it was found in the selected sessions. Leave it out, or name its images with "
        "--bids-filter-file."
    )


def _describe_nothing_found(
    bids_dir: Path, participants: list[ListedParticipant], queries: FilterQueries
) -> str:
    paths = [path for one in participants for path in one.paths]
    who = f"{count_noun(len(participants), 'participant')} of {bids_dir}"
    if not paths:
        return (
            f"No NIfTI image was found among {who}. Expected files such as "
            "sub-01/anat/sub-01_acq-inphase_T1w.nii.gz; in a DataLad dataset run `datalad get -n "
            "sub-*` first."
        )
    shown = list_names((path.relative_to(bids_dir).as_posix() for path in paths), SHOWN_IMAGES)
    cause = "none of them meets --bids-filter-file" if queries.queries else "cannot classify any"
    return (
        f"No Dixon image was found among {who}. Found {shown}; {cause}. Expected an "
        "in-phase and an out-of-phase image, recognised by ImageType, by a name such as "
        "acq-inphase and acq-outphase, or by echo times with a field strength. Name them with "
        "--bids-filter-file."
    )
