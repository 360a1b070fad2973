"""The end of a program, without what Python does only to tidy up."""

import atexit
import os
import sys
import threading
from typing import NoReturn


def end_process(status: int) -> NoReturn:
    """End this process with an exit status, as ``sys.exit`` does, but sooner.

    Python would take the modules and arrays of a run apart one by one, for 0.2 s, before the system
    takes back their memory at once. Where threads are left, or a stream cannot be flushed, Python
    ends the process.
    """
    if threading.active_count() == 1:
        atexit._run_exitfuncs()  # once: they are forgotten then
        if _flush_streams():
            os._exit(status)
    sys.exit(status)


def _flush_streams() -> bool:
    """Write what is left; return whether that was possible."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return False
    return True
