"""One-sentence explanations of failed graph nodes."""

import errno
import os
import re
import shutil
import traceback
from collections.abc import Iterable
from pathlib import Path

NO_SPACE = "No space left on device"
QUOTA = os.strerror(errno.EDQUOT)
NO_ROOM_FOR_ARRAY = "Not enough free space to write"  # numpy, for the same cause
LEAST_FREE_BYTES = 2**20
NO_RESULT = "results file does not exist"  # nipype, for a killed queue job
GONE = "Files of the work folder were removed"

LOST = (
    "The jobs of this scan ended without results, and nipype recorded no cause. Check "
    "what the queue wrote for them into the work folder (-w DIR), and run it again."
)


def read_crashes(work_dir: Path, unwritten: Iterable[str] = ()) -> dict[str, str]:
    """Read nipype's crash files; return their text by the node name of each failed scan.

    If the disk of the work folder is full, nipype fails in many ways, so the text states this too.

    Parameters
    ----------
    work_dir : Path
        May no longer exist.
    unwritten : iterable of str
        Texts of crash files that could not be written.
    """
    crashes: dict[str, str] = {}
    paths = sorted((work_dir / "crash").glob("crash-*.txt"))
    for text in (*unwritten, *(path.read_text(errors="replace") for path in paths)):
        found = re.match(r"Node: [^.\s]+\.([^.\s]+)\.", text)
        if found:
            crashes.setdefault(found.group(1), text)
    return {node: _add_state_of_folder(text, work_dir) for node, text in crashes.items()}


def describe_unwritten(node: str, cause: Iterable[str], error: OSError) -> str:
    """Describe a failed node, in the form of the crash file that could not be written.

    Parameters
    ----------
    node : str
        Full name, as nipype writes it.
    cause : iterable of str
        Traceback of the node's failure.
    error : OSError
        Why the crash file could not be written.
    """
    return f"Node: {node}\n\n{''.join(cause)}\n{type(error).__name__}: {error}\n"


def describe_end(error: BaseException, work_dir: Path) -> str:
    """Describe the error that ended a run, in the form of a crash file."""
    return _add_state_of_folder("".join(traceback.format_exception(error)), work_dir)


def _add_state_of_folder(text: str, work_dir: Path) -> str:
    """Add evidence from the work folder about the cause to the text of a crash."""
    if re.search(rf"FileNotFoundError: .*{re.escape(str(work_dir))}", text):
        text = f"{text}\n{GONE}\n"
    try:
        full = shutil.disk_usage(work_dir).free < LEAST_FREE_BYTES
    except OSError:
        full = False
    return f"{text}\n{NO_SPACE}\n" if full or QUOTA in text else text


def was_killed(text: str) -> bool:
    """Check whether a crash file reports a killed worker process."""
    from bids_mfi.participant.plugin_multiproc import KILLED

    return KILLED in text


def explain_crash(text: str) -> str:
    r"""Extract the sentence for the user from a crash file.

    Examples
    --------
    >>> explain_crash("Traceback\n  bids_mfi.errors.PairError: a.nii: all voxels are 0.\n")
    'a.nii: all voxels are 0.'
    """
    if LOST in text:
        return LOST
    if (was_killed(text) or NO_RESULT in text) and NO_SPACE not in text:
        return (
            "The process that worked on this scan was killed, most often for lack of memory. "
            "Give the run more memory, or lower --nprocs or --mem, and run it again."
        )
    if re.search(r"^\s*(numpy\S*)?_?(Array)?MemoryError", text, flags=re.MULTILINE):
        return "This scan ran out of memory. Give the run more, or lower --nprocs."
    no_space = NO_SPACE in text or NO_ROOM_FOR_ARRAY in text
    if no_space and "OutputError" not in text:
        return "The disk of the work folder is full. Free space or name another with --work-dir."
    ours = re.findall(r"^\s*bids_mfi\.errors\.\w+: (.*)$", text, flags=re.MULTILINE)
    if ours:
        return str(ours[-1])
    if GONE in text:
        return (
            f"{GONE} during the measurement of this scan, by another program or person. Run it "
            "again; if the system clears its temporary folder, name another with --work-dir."
        )
    others = re.findall(r"^\s*([\w.]*(?:Error|Exception|Interrupt)\b.*)$", text, flags=re.MULTILINE)
    cause = others[-1] if others else "no cause was recorded"
    return f"Unexpected error ({cause}). Please report it with the file named here."
