"""Sidecar metadata of one participant through PyBIDS; must not know contrasts or pairs.

PyBIDS applies the inheritance principle. Its own naming rules would drop values such as
``part-inphase``, and a sidecar of one image would then apply to the other; so each layout gets
rules of its own that know every key and word which occurs in the participant's names. A layout
covers one participant, because indexing a whole dataset takes seconds to minutes.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_mfi import __version__
from bids_mfi.discovery.naming import OTHER_DATATYPES, ImageName, is_utf8, parse_name
from bids_mfi.errors import OutputError, PairError
from bids_mfi.storage import TEMPORARY_FOLDER, temporary_folder

_ENDING = r"\.nii\.gz|\.nii|\.json"
_IN_FILE_NAME = r"(?=[^/\\]*$)"
_OTHER_DATATYPE_FOLDER = re.compile(
    rf"^/sub-[^/]+/(?:ses-[^/]+/)?(?:{'|'.join(sorted(OTHER_DATATYPES))})(?:/|$)"
)
_INDEX_FILE = "layout_index.sqlite"
_FAILURES = (OSError, ValueError, TypeError, KeyError)

Metadata = dict[Path, Mapping[str, object]]


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
        Absolute, of all sessions, so that the index does not depend on the selected ones; the
        sidecars include those at the dataset's root. All names are UTF-8.
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
) -> Metadata:
    """Metadata of every image of a participant, inheritance applied.

    Parameters
    ----------
    files : ParticipantFiles
    unreadable : iterable of Path
        Sidecars to leave out.
    database_dir : Path or None
        Folder for indexes of earlier runs. An index is used only if names, sizes and times of
        all files are still the same. None is ever deleted: another run may be reading it.
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
    found = None if stored is None else _read_index(files, stored)
    if found is not None:
        return found
    try:
        layout = _build_layout(files, readable)
    except _FAILURES as error:
        raise PairError(
            f"sub-{files.label}: PyBIDS cannot index the participant ({error}). Check the "
            "sidecars, for example with the BIDS validator."
        ) from error
    try:
        if stored is not None and not dry_run:
            _store(layout, stored)
        return _metadata_of(layout, files)
    finally:
        _close(layout)


def _build_layout(files: ParticipantFiles, readable: frozenset[Path]) -> Any:
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    wanted = frozenset(path.relative_to(files.bids_dir).as_posix() for path in readable)
    ignore = [
        _NotUtf8(),
        _ignore_pattern(files.label),
        _OTHER_DATATYPE_FOLDER,
        _OnlyJson(wanted),
    ]
    indexer = BIDSLayoutIndexer(validate=False, ignore=ignore)
    config = _naming_rules([path.name for path in (*files.images, *files.sidecars)])
    return BIDSLayout(files.bids_dir, validate=False, config=[config], indexer=indexer)


def _read_index(files: ParticipantFiles, stored: Path) -> Metadata | None:
    """Metadata from a stored index; None if it is not there, or no longer.

    A copy is read: if the index vanished between a look at it and its opening, PyBIDS would index
    the dataset anew by its own naming rules.
    """
    from sqlalchemy.exc import SQLAlchemyError

    with temporary_folder(TEMPORARY_FOLDER) as folder:
        try:
            shutil.copyfile(stored / _INDEX_FILE, folder / _INDEX_FILE)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unusable_index(stored, error.strerror or type(error).__name__) from error
        try:
            return _read_copy(files, folder)
        except (SQLAlchemyError, *_FAILURES) as error:
            raise _unusable_index(stored, type(error).__name__) from error


def _read_copy(files: ParticipantFiles, folder: Path) -> Metadata:
    from bids.layout import BIDSLayout

    layout = BIDSLayout(files.bids_dir, validate=False, database_path=folder)
    try:
        return _metadata_of(layout, files)
    finally:
        _close(layout)


def _unusable_index(stored: Path, reason: str) -> PairError:
    return PairError(
        f"{stored}: is no usable index of PyBIDS ({reason}). Delete this folder; it will be made "
        "again."
    )


def _close(layout: Any) -> None:
    layout.session.close()
    layout.connection_manager.engine.dispose()


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


@dataclass(frozen=True, slots=True)
class _NotUtf8:
    """Stands for a pattern that matches every path which is not UTF-8; SQLite takes none."""

    def search(self, path: str) -> bool:
        return not is_utf8(path)


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


def _metadata_of(layout: Any, files: ParticipantFiles) -> Metadata:
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
    """Write an index under a temporary name and rename it, unless another run was faster."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        try:
            layout.connection_manager.save_database(temporary, replace_connection=False)
            _rename_unless_there(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"--bids-database-dir {folder.parent}: cannot be written ({error.strerror}). Name "
            "another folder, or leave the option out."
        ) from error


def _rename_unless_there(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
