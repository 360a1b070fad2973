"""Files that are complete or absent.

Every file is written under a temporary name, flushed to disk and renamed. The next process removes
what a killed process left behind.
"""

import errno
import glob
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bids_mfi.errors import OutputError
from bids_mfi.signals import hold_signals

WRITE_ATTEMPTS = 3
ABANDONED_AFTER_S = 24 * 3600.0
TOUCH_EVERY_S = 600.0
TEMPORARY_FOLDER = "bids_mfi"  # name of ours in the system's temporary folder
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it has either the old content or all of the new content.

    The data are written to ``.NAME.HOST-PID-TOKEN.partial`` beside it, flushed to disk and renamed.
    Missing folders are made.

    Raises
    ------
    OutputError
        No space, no permission, a read-only or broken disk; the earlier content is unchanged.
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


def check_writable(folder: Path) -> None:
    """Refuse a folder in which files could not be made; changes nothing.

    Parameters
    ----------
    folder : Path
        May be missing, as its parents may.

    Raises
    ------
    OutputError
    """
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    number = 0
    if not nearest.is_dir():
        number = errno.ENOTDIR
    elif not os.access(nearest, os.W_OK | os.X_OK):
        read_only = os.statvfs(nearest).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
    if number:
        raise explain_os_error(folder, OSError(number, os.strerror(number)))


def _partial_of(path: Path) -> Path:
    owner = f"{host_name()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{owner}.partial")


def make_partial_folder(parent: Path, name: str) -> Path:
    """Make a hidden folder that :func:`remove_stale_partials` clears when this process is dead.

    Work in it under :func:`keep_in_use`; otherwise other hosts consider it abandoned after a day.
    """
    folder = _partial_of(parent / name)
    parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    return folder


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Yield a folder of this process in the system's temporary folder; it is removed afterwards.

    What killed processes left there under the same name is removed before.

    Raises
    ------
    OutputError
        It cannot be made.
    """
    parent, folder = Path(tempfile.gettempdir()), None
    remove_folders_of_the_dead(parent, name)
    try:
        with hold_signals():
            try:
                folder = make_partial_folder(parent, name)
            except OSError as error:
                raise explain_os_error(parent, error) from error
        yield folder
    finally:
        with hold_signals():
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def remove_folders_of_the_dead(parent: Path, name: str) -> list[Path]:
    """Remove folders of :func:`make_partial_folder` whose process is provably dead.

    The folder is this user's and not a link, and its process ran on this host since the last
    boot, in this process namespace. Others use ``parent`` too, so age proves nothing.

    Returns
    -------
    list of Path
        What was removed.
    """
    removed = []
    for path in sorted(parent.glob(f".{glob.escape(name)}.*.partial")):
        pid = _find_process(path.name)
        try:
            status = path.lstat()
        except OSError:
            continue
        is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        if pid is not None and is_own and not _is_alive(pid) and _remove_quietly(path):
            removed.append(path)
    return removed


@contextmanager
def keep_in_use(folder: Path) -> Iterator[None]:
    """Touch a folder regularly while the work in it waits, for example in a queue.

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
    """Name of the namespace of this process's number, in letters, digits, dots and hyphens.

    Two containers on one host may have the host's name and processes of the same number, so the
    number of the process namespace is part of it. Two machines may have the same name, and share a
    disk, so the random number of the system's boot is part of it too.
    """
    host = re.sub(r"[^0-9A-Za-z.-]", "", socket.gethostname())[:40]
    namespace = started = ""
    with suppress(OSError):
        namespace = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
    with suppress(OSError):
        started = re.sub(r"[^0-9a-f]", "", Path(BOOT_ID).read_text())[:8]
    return ".".join(part for part in (host, namespace, started) if part)


_REMEDIES = {
    errno.ENOSPC: "The disk is full: free space or choose another folder",
    errno.EDQUOT: "Your quota is used up: free space or choose another folder",
    errno.EFBIG: "The disk or a limit allows no file of this size: choose another folder",
    errno.EROFS: "Mount OUTPUT_DIR writable (in a container: bind it without `:ro`)",
    errno.EACCES: "Get permission to write there or choose another folder",
    errno.EPERM: "Get permission to write there or choose another folder",
    errno.ENOTDIR: "There is a file where a folder is needed: move it or choose another folder",
    errno.EEXIST: "There is a file where a folder is needed: move it or choose another folder",
    errno.EISDIR: "There is a folder where a file is needed: move it or choose another folder",
}


def explain_os_error(path: Path, error: OSError) -> OutputError:
    """Make the error for the user when a path cannot be written."""
    cause = error.strerror or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "Check the disk or choose another folder")
    return OutputError(
        f"{path}: cannot be written ({cause}). {remedy}. Finished results are kept and not "
        "repeated."
    )


def remove_stale_partials(folder: Path, names: Collection[str] = ()) -> list[Path]:
    """Remove temporary files that a killed run left in a folder; not in folders below it.

    Parameters
    ----------
    folder : Path
        May be missing.
    names : collection of str
        Files that this run is about to write: their temporary files are always removed. Temporary
        files of other names are removed if they belong to dead processes of this host, or are a day
        old.

    Returns
    -------
    list of Path
        What was removed, with folders of :func:`make_partial_folder`.
    """
    removed = []
    for path in sorted(folder.glob(".*.partial")):
        pid = _find_process(path.name)
        dead = pid is not None and not _is_alive(pid)
        wanted = any(path.name.startswith(f".{name}.") for name in names)
        if (dead or wanted or _is_abandoned(path)) and _remove_quietly(path):
            removed.append(path)
    return removed


def _find_process(name: str) -> int | None:
    """Find the process that a partial file or folder is named after, if it is of this host."""
    own = rf"\..+\.{re.escape(host_name())}-([1-9]\d{{0,9}})-[0-9a-f]{{8}}\.partial"
    found = re.fullmatch(own, name)
    return int(found.group(1)) if found else None


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
