"""Folder of a run's intermediate files."""

import shutil
import tempfile
from pathlib import Path

from bids_mfi.errors import OutputError
from bids_mfi.options import RunOptions
from bids_mfi.participant.plugins import Plugin
from bids_mfi.storage import TEMPORARY_FOLDER, make_partial_folder

ROOM_PER_SCAN_BYTES = 500 * 10**6  # ten times the use of a scan of the paper's size


def make_work_dir(options: RunOptions, plugin: Plugin, at_once: int) -> Path:
    """Make a new folder for the intermediate files of one run.

    Without ``-w``, the folder is in the system's temporary folder. If that lacks space for the
    active scans, or other machines need access, it is a hidden folder in OUTPUT_DIR.

    Raises
    ------
    OutputError
        The folder cannot be made.
    """
    parent = options.work_dir
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        elif not plugin.is_on_own_machine or _has_more_room(options.output_dir, at_once):
            return make_partial_folder(options.output_dir, "work")
        else:
            return make_partial_folder(Path(tempfile.gettempdir()), TEMPORARY_FOLDER)
        return Path(tempfile.mkdtemp(prefix="bids_mfi-", dir=parent))
    except OSError as error:
        raise OutputError(
            f"{parent or tempfile.gettempdir()}: cannot make a work folder there "
            f"({error.strerror}). Name another with --work-dir."
        ) from error


def _has_more_room(output_dir: Path, at_once: int) -> bool:
    """Check whether the temporary folder lacks space for active scans and OUTPUT_DIR has more."""
    temporary = shutil.disk_usage(tempfile.gettempdir()).free
    wanted = at_once * ROOM_PER_SCAN_BYTES
    return temporary < wanted and temporary < shutil.disk_usage(output_dir).free
