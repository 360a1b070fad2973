"""Worker processes that end with the process that started them; must not know what they do."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Let this process be killed when the process that started it dies.

    Without this the workers of a killed run would wait for ever and hold their memory. An
    interruption from the keyboard is left to the process that started it.

    Parameters
    ----------
    parent : int
        Process number of the process that started this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
