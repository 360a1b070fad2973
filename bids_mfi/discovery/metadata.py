"""Inheritance of one participant's sidecar metadata.

:mod:`bids_mfi.discovery.inheritance` answers where names leave one reading only. Elsewhere, and
for ``--bids-database-dir``, PyBIDS applies the inheritance principle. Its own naming rules would
drop values such as ``part-inphase``, and a sidecar of one image would then apply to the other; so
each layout gets rules of its own that cover every key and word in the participant's names. A
layout covers one participant, because indexing a whole dataset takes seconds to minutes.

PyBIDS never sees the dataset itself. It would follow links in circles, wait for ever at a named
pipe and stop at a field that it cannot interpret. It gets a temporary copy of the names that were
listed: empty images, and sidecars with every field under a neutral name.
"""

import errno
import hashlib
import json
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bids_mfi import __version__
from bids_mfi.discovery.inheritance import (
    Metadata,
    ParticipantFiles,
    inherit_plainly,
    select_values,
)
from bids_mfi.discovery.naming import parse_name
from bids_mfi.discovery.sidecars import Fields
from bids_mfi.errors import MFIError, OutputError, PairError
from bids_mfi.printing import escape_text
from bids_mfi.storage import TEMPORARY_FOLDER, temporary_folder

_ENDING = r"\.nii\.gz|\.nii|\.json"
_IN_FILE_NAME = r"(?=[^/\\]*$)"
_INDEX_FILE = "layout_index.sqlite"
_INDEX_FORMAT = "neutral fields"
_FIELD = "field "  # before a sidecar's key, so that it is no entity and none that PyBIDS interprets


def read_metadata(files: ParticipantFiles, database_dir: Path | None, dry_run: bool) -> Metadata:
    """Metadata of every image of a participant, inheritance applied.

    Parameters
    ----------
    files : ParticipantFiles
        Unreadable sidecars are left out.
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
    if not files.sidecars.fields:
        return {path: {} for path in files.images}
    if database_dir is None:
        plain = inherit_plainly(files)
        return _ask_pybids(files, None) if plain is None else plain
    stored = database_dir / _fingerprint(files)
    found = _read_index(files, stored)
    return _ask_pybids(files, None if dry_run else stored) if found is None else found


def _ask_pybids(files: ParticipantFiles, stored: Path | None) -> Metadata:
    """Index the participant; ``stored`` is where the index is kept, if anywhere."""
    with _temporary_folder() as folder:
        _copy_names(files, folder)
        try:
            return _index(files, folder, stored)
        except MFIError:
            raise
        except Exception as error:  # whatever PyBIDS meets concerns this participant alone
            raise _not_indexed(files, error) from error


def _index(files: ParticipantFiles, root: Path, stored: Path | None) -> Metadata:
    layout = _build_layout(files, root)
    try:
        if stored is not None:
            _store(layout, stored)
        return _metadata_of(layout, files, root)
    finally:
        _close(layout)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Make a folder that vanishes with its use, or with the next run if this one is killed.

    Raises
    ------
    PairError
        The system's temporary folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder(TEMPORARY_FOLDER))
        except OutputError as error:
            if isinstance(error.__cause__, OSError):
                raise _unusable_temporary_folder(error.__cause__) from error
            raise
        yield folder


def _unusable_temporary_folder(error: OSError) -> PairError:
    return PairError(
        f"The system's temporary folder cannot be written ({error.strerror}), but the metadata of "
        "the images are indexed there. Make room, or name another folder by the variable TMPDIR."
    )


def _not_indexed(files: ParticipantFiles, error: Exception) -> PairError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return PairError(
        f"sub-{files.label}: PyBIDS cannot index the participant ({reason}). Check the "
        "sidecars, for example with the BIDS validator."
    )


def _build_layout(files: ParticipantFiles, root: Path) -> Any:
    """Index the copy of the listed names."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    indexer = BIDSLayoutIndexer(validate=False, ignore=[])
    config = _naming_rules([path.name for path in (*files.images, *files.sidecars.fields)])
    return BIDSLayout(root, validate=False, config=[config], indexer=indexer)


def _copy_names(files: ParticipantFiles, root: Path) -> None:
    """Write empty images and neutral sidecars under the names that were listed.

    Raises
    ------
    PairError
        The system's temporary folder cannot be written.
    """
    texts = {path: "" for path in files.images}
    texts |= {path: _encode_fields(fields) for path, fields in files.sidecars.fields.items()}
    try:
        for folder in {files.relative(path).parent for path in texts}:
            (root / folder).mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            (root / files.relative(path)).write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unusable_temporary_folder(error) from error


def _encode_fields(fields: Fields) -> str:
    r"""Write fields so that PyBIDS stores each value as it is and interprets none.

    A value becomes a list of one, which PyBIDS keeps as JSON.

    >>> _encode_fields({"EchoTime": 0.00246, "IntendedFor": None, "\udce9": 1})
    '{"field EchoTime": [0.00246], "field IntendedFor": [null]}'
    """
    kept = (
        f"{json.dumps(_FIELD + key)}: [{json.dumps(value)}]" for key, value in select_values(fields)
    )
    return f"{{{', '.join(kept)}}}"


def _read_index(files: ParticipantFiles, stored: Path) -> Metadata | None:
    """Metadata from a stored index; None if it does not exist (any more).

    A copy is read: if the index vanished between a look at it and its opening, PyBIDS would index
    the dataset anew by its own naming rules.
    """
    with temporary_folder(TEMPORARY_FOLDER) as folder:
        try:
            shutil.copyfile(stored / _INDEX_FILE, folder / _INDEX_FILE)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unusable_index(stored, error.strerror or type(error).__name__) from error
        try:
            return _read_copy(files, folder)
        except PairError:
            raise
        except Exception as error:  # an index may be damaged in any way
            raise _unusable_index(stored, type(error).__name__) from error


def _read_copy(files: ParticipantFiles, folder: Path) -> Metadata:
    from bids.layout import BIDSLayout

    root = _move_root(folder / _INDEX_FILE, folder)
    layout = BIDSLayout(folder, validate=False, database_path=folder)
    try:
        return _metadata_of(layout, files, root)
    finally:
        _close(layout)


def _move_root(index: Path, folder: Path) -> Path:
    """Give the folder that was indexed, and put an empty one in its place: it no longer exists."""
    connection = sqlite3.connect(index)
    try:
        (root,) = connection.execute("SELECT root FROM layout_info").fetchone()
        connection.execute("UPDATE layout_info SET root = ?", (str(folder),))
        connection.commit()
    finally:
        connection.close()
    return Path(root)


def _unusable_index(stored: Path, reason: str) -> PairError:
    return PairError(
        f"{stored}: is not a usable index of PyBIDS ({reason}). Delete this folder; it is made "
        "again."
    )


def _close(layout: Any) -> None:
    layout.session.close()
    layout.connection_manager.engine.dispose()


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


def _metadata_of(layout: Any, files: ParticipantFiles, root: Path) -> Metadata:
    known = layout.get_files()
    copies = {path: str(root / files.relative(path)) for path in files.images}
    missing = [path for path, copy in copies.items() if copy not in known]
    if missing:
        raise PairError(
            f"{escape_text(str(missing[0]))}: PyBIDS did not index this file. Rename it to "
            "letters, digits, hyphens and underscores."
        )
    return {path: _decode_fields(layout.get_metadata(copy)) for path, copy in copies.items()}


def _decode_fields(stored: Mapping[str, Any]) -> Fields:
    """Undo :func:`_encode_fields`; a field that is null is absent."""
    return {
        key.removeprefix(_FIELD): value for key, (value,) in stored.items() if value is not None
    }


def _fingerprint(files: ParticipantFiles) -> str:
    """Name of an index: participant, and a hash of everything that the index depends on."""
    import bids

    listed = [__version__, bids.__version__, _INDEX_FORMAT, str(files.bids_dir)]
    for path in sorted((*files.images, *files.sidecars.fields)):
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
