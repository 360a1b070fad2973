"""Files that are whole or not there at all; must not know what is in them or how they are named.

Every file is written to a temporary name, brought to the disk and renamed. What a killed process
left behind is cleared by the next one.
"""

import errno
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bids_mfi.errors import OutputError

WRITE_ATTEMPTS = 3
ABANDONED_AFTER_S = 24 * 3600.0
TOUCH_EVERY_S = 600.0


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that its name holds either the old content or all of the new one.

    The data go to ``.NAME.HOST-PID-TOKEN.partial`` beside it, to the disk, and are renamed.
    Missing folders are made.

    Raises
    ------
    OutputError
        No space, no right, a read-only or broken disk; the earlier content is left as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            try:
                _write_and_rename(path, data)
                return
            except FileNotFoundError:  # another host with this host's name cleared the partial file
                if attempt == WRITE_ATTEMPTS:
                    raise
    except OSError as error:
        raise explain_os_error(path, error) from error


def _partial_of(path: Path) -> Path:
    owner = f"{host_name()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{owner}.partial")


def make_partial_folder(parent: Path, name: str) -> Path:
    """Make a hidden folder that :func:`remove_stale_partials` clears when this process is dead.

    Work in it under :func:`keep_in_use`; other hosts take it for abandoned after a day otherwise.
    """
    folder = _partial_of(parent / name)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def keep_in_use(folder: Path) -> Iterator[None]:
    """Touch a folder now and then, however long what is done in it waits, for example in a queue.

    Parameters
    ----------
    folder : Path
        Of :func:`make_partial_folder`; may vanish.
    """
    ended = threading.Event()

    def touch() -> None:
        while not ended.wait(TOUCH_EVERY_S):
            with suppress(OSError):
                os.utime(folder)

    thread = threading.Thread(target=touch, name="keep_in_use", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _write_and_rename(path: Path, data: bytes) -> None:
    partial = _partial_of(path)
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        _remove_quietly(partial)
        raise


def _remove_quietly(path: Path) -> bool:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def host_name() -> str:
    """Name of where this process has its number, in letters, digits, dots and hyphens.

    Two containers on one host may have the host's name and processes of the same number, so the
    number of the process namespace is part of it.
    """
    host = re.sub(r"[^0-9A-Za-z.-]", "", socket.gethostname())[:40]
    try:
        namespace = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    except OSError:
        namespace = ""
    return f"{host}.{namespace}" if namespace else host


_REMEDIES = {
    errno.ENOSPC: "The disk is full: free space or choose another folder",
    errno.EDQUOT: "Your quota is used up: free space or choose another folder",
    errno.EFBIG: "The disk or a limit allows no file of this size: choose another folder",
    errno.EROFS: "Mount OUTPUT_DIR writable (in a container: bind it without `:ro`)",
    errno.EACCES: "Give yourself the right to write there or choose another folder",
    errno.EPERM: "Give yourself the right to write there or choose another folder",
    errno.ENOTDIR: "A file lies where a folder is needed: move it or choose another folder",
    errno.EEXIST: "A file lies where a folder is needed: move it or choose another folder",
    errno.EISDIR: "A folder lies where a file is needed: move it or choose another folder",
}


def explain_os_error(path: Path, error: OSError) -> OutputError:
    """Make the error for the user when a path cannot be written."""
    cause = error.strerror or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "Check the disk or choose another folder")
    return OutputError(
        f"{path}: cannot be written ({cause}). {remedy}. What was finished before is kept, and is "
        "not done again."
    )


def remove_stale_partials(folder: Path, names: Collection[str] = ()) -> list[Path]:
    """Remove temporary files that a killed run left in a folder; not in folders below it.

    Parameters
    ----------
    folder : Path
        May be missing.
    names : collection of str
        Files this run is about to write: their temporary files go whoever wrote them. Of other
        files go those of dead processes of this host, and of any host those a day old.

    Returns
    -------
    list of Path
        What was removed, with folders of :func:`make_partial_folder`.
    """
    own = re.compile(rf"^\.(.+)\.{re.escape(host_name())}-(\d+)-[0-9a-f]{{8}}\.partial$")
    removed = []
    for path in sorted(folder.glob(".*.partial")):
        found = own.match(path.name)
        dead = found is not None and not _is_alive(int(found.group(2)))
        wanted = any(path.name.startswith(f".{name}.") for name in names)
        if (dead or wanted or _is_abandoned(path)) and _remove_quietly(path):
            removed.append(path)
    return removed


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _is_abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_AFTER_S
    except OSError:
        return False
