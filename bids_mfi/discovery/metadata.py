"""Sidecar metadata of one participant through PyBIDS; must not know contrasts or pairs.

PyBIDS applies the inheritance principle. Its own naming rules would drop values such as
``part-inphase``, and a sidecar of one image would then apply to the other; so each layout gets
rules of its own that know every key and word which occurs in the participant's names. A layout
covers one participant, because indexing a whole dataset takes seconds to minutes.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_mfi import __version__
from bids_mfi.discovery.naming import OTHER_DATATYPES, ImageName, parse_name
from bids_mfi.errors import OutputError, PairError

_ENDING = r"\.nii\.gz|\.nii|\.json"
_IN_FILE_NAME = r"(?=[^/\\]*$)"
_OTHER_DATATYPE_FOLDER = re.compile(
    rf"^/sub-[^/]+/(?:ses-[^/]+/)?(?:{'|'.join(sorted(OTHER_DATATYPES))})(?:/|$)"
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
    images, sidecars : tuple of Path
        Absolute; the sidecars include those at the dataset's root.
    """

    bids_dir: Path
    label: str
    images: tuple[Path, ...]
    sidecars: tuple[Path, ...]


def find_unreadable(sidecars: Iterable[Path]) -> dict[Path, str]:
    """Sidecars that hold no JSON object, each with the reason."""
    reasons = {path: why_unreadable(path) for path in sidecars}
    return {path: reason for path, reason in reasons.items() if reason is not None}


def why_unreadable(path: Path) -> str | None:
    """Why a file is no readable JSON object; None if it is one."""
    if path.is_symlink() and not path.exists():
        return (
            f"the content has not been fetched (a symbolic link to {os.readlink(path)}, which is "
            "not there). Run `datalad get` or `git annex get` on it first."
        )
    try:
        text = path.read_bytes()
        if text.startswith((b"/annex/objects/", b"version https://git-lfs")):
            return (
                "the content has not been fetched (the file only points to it). Run `datalad "
                "get`, `git annex get` or `git lfs pull` on it first."
            )
        content = json.loads(text.decode("utf-8"))
    except OSError as error:
        return f"cannot be read ({error.strerror}). Correct its permissions or copy it again."
    except ValueError as error:
        return f"is not valid JSON ({error}). Correct or convert it again."
    return None if isinstance(content, dict) else "is no JSON object. Correct or convert it again."


def sidecar_applies(sidecar: Path, image: Path, name: ImageName) -> bool:
    """Whether BIDS' inheritance principle makes a sidecar apply to an image."""
    told = parse_name(sidecar.name)
    return (
        sidecar.parent in image.parents
        and told.suffix == name.suffix
        and set(told.entities) <= set(name.entities)
        and set(told.words) <= set(name.words)
    )


def read_metadata(
    files: ParticipantFiles, unreadable: Iterable[Path], database_dir: Path | None, dry_run: bool
) -> dict[Path, Mapping[str, object]]:
    """Metadata of every image of a participant, inheritance applied.

    Parameters
    ----------
    files : ParticipantFiles
    unreadable : iterable of Path
        Sidecars to leave out.
    database_dir : Path or None
        Folder for indexes of earlier runs. An index is used only if names, sizes and times of
        all files are still the same.
    dry_run : bool
        Use an index but write none.

    Raises
    ------
    PairError
        PyBIDS cannot index the participant.
    OutputError
        The index cannot be written.
    """
    if not files.sidecars:
        return {path: {} for path in files.images}
    readable = frozenset(files.sidecars) - frozenset(unreadable)
    stored = None if database_dir is None else database_dir / _fingerprint(files, readable)
    try:
        layout = _open_layout(files, readable, stored)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PairError(
            f"sub-{files.label}: PyBIDS cannot index the participant ({error}). Check the "
            "sidecars, for example with the BIDS validator."
        ) from error
    try:
        if stored is not None and not stored.exists() and not dry_run:
            _store(layout, stored)
        return _metadata_of(layout, files)
    finally:
        layout.session.close()
        layout.connection_manager.engine.dispose()


def _open_layout(files: ParticipantFiles, readable: frozenset[Path], stored: Path | None) -> Any:
    from bids.layout import BIDSLayout, BIDSLayoutIndexer
    from sqlalchemy.exc import SQLAlchemyError

    if stored is not None and stored.exists():
        try:
            return BIDSLayout(files.bids_dir, validate=False, database_path=stored)
        except SQLAlchemyError as error:
            raise PairError(
                f"{stored}: is no usable index of PyBIDS ({type(error).__name__}). Delete this "
                "folder; it will be made again."
            ) from error
    wanted = frozenset(path.relative_to(files.bids_dir).as_posix() for path in readable)
    ignore = [_ignore_pattern(files.label), _OTHER_DATATYPE_FOLDER, _OnlyJson(wanted)]
    indexer = BIDSLayoutIndexer(validate=False, ignore=ignore)
    config = _naming_rules([path.name for path in (*files.images, *files.sidecars)])
    return BIDSLayout(files.bids_dir, validate=False, config=[config], indexer=indexer)


def _ignore_pattern(label: str) -> re.Pattern[str]:
    """Everything but the participant's folder and the sidecars at the root.

    >>> bool(_ignore_pattern("1").search("/sub-10")), bool(_ignore_pattern("1").search("/sub-1"))
    (True, False)
    """
    return re.compile(rf"^/(?!sub-{re.escape(label)}(?:/|$))(?![^/]*\.json$)")


@dataclass(frozen=True, slots=True)
class _OnlyJson:
    """Stands for a pattern that matches every .json file but the wanted ones."""

    wanted: frozenset[str]

    def search(self, path: str) -> bool:
        return path.endswith(".json") and path.removeprefix("/") not in self.wanted


def _naming_rules(names: Iterable[str]) -> dict[str, Any]:
    """Make a PyBIDS configuration that knows every key and word of these names."""
    parsed = [parse_name(name) for name in names]
    keys = sorted({key for name in parsed for key, _ in name.entities})
    words = sorted({word for name in parsed for word in name.words})
    rules = {
        "subject": r"[/\\]sub-([^/\\_.]+)",
        "suffix": rf"(?:^|[_/\\])([^_/\\]+?)(?:{_ENDING})$",
        "extension": rf"({_ENDING})$",
    }
    rules |= {
        f"key {key}": rf"[_/\\]{re.escape(key)}-([^_/\\]*?)(?=_|(?:{_ENDING})$){_IN_FILE_NAME}"
        for key in keys
    }
    rules |= {f"word {word}": rf"[_/\\]({re.escape(word)})(?=_){_IN_FILE_NAME}" for word in words}
    entities = [{"name": name, "pattern": pattern} for name, pattern in rules.items()]
    return {"name": "bids_mfi", "entities": entities}


def _metadata_of(layout: Any, files: ParticipantFiles) -> dict[Path, Mapping[str, object]]:
    known = layout.get_files()
    missing = [path for path in files.images if str(path) not in known]
    if missing:
        raise PairError(
            f"{missing[0]}: PyBIDS did not index this file. Rename it to letters, digits, "
            "hyphens and underscores."
        )
    return {path: dict(layout.get_metadata(str(path))) for path in files.images}


def _fingerprint(files: ParticipantFiles, readable: frozenset[Path]) -> str:
    """Name of an index: participant, and a hash of everything that the index depends on."""
    import bids

    listed = [__version__, bids.__version__, str(files.bids_dir)]
    for path in sorted((*files.images, *readable)):
        try:
            status = path.stat()
            listed.append(f"{path} {status.st_size} {status.st_mtime_ns}")
        except OSError:
            listed.append(f"{path} broken")
    digest = hashlib.sha256("\n".join(listed).encode("utf-8", "surrogateescape")).hexdigest()
    return f"sub-{files.label}_{digest[:16]}"


def _store(layout: Any, folder: Path) -> None:
    """Write an index under a temporary name, rename it, and remove older ones."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        try:
            layout.connection_manager.save_database(temporary, replace_connection=False)
            with suppress(FileExistsError):
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"--bids-database-dir {folder.parent}: cannot be written ({error.strerror}). Name "
            "another folder, or leave the option out."
        ) from error
    label = folder.name.rpartition("_")[0]
    for older in folder.parent.glob(f"{label}_????????????????"):
        if older != folder:
            shutil.rmtree(older, ignore_errors=True)
