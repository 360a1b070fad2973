"""Signals that end a run in order.

SIGINT (Ctrl-C), SIGTERM (``docker stop``, Slurm) and SIGHUP (a closed terminal) raise one
exception, which runs every clean-up as it propagates. A second signal changes nothing, because the
first is already being handled.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RAISE_AGAIN_S = 5.0


class Interrupted(KeyboardInterrupt):
    """A signal ended the run."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """Exit status that a shell reports for a process ended by this signal.

        >>> Interrupted(signal.SIGTERM).exit_code
        143
        """
        return 128 + self.number


@dataclass(slots=True)
class _Received:
    """What was received: 0 is nothing; ``held`` is the depth of :func:`hold_signals`."""

    number: int = 0
    raised: bool = False
    held: int = 0


_received = _Received()


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Raise Interrupted at a signal of ENDING; a signal that is ignored stays ignored.

    Outside the main thread, where Python receives no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _receive) for number in caught}
    lost = 0
    try:
        yield
    finally:
        with hold_signals():
            lost = _received.number
            if _received.number:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            _received.number, _received.raised = 0, False
    if lost:  # some library swallowed the exception, and the body came to its end
        raise Interrupted(lost)


@contextmanager
def hold_signals() -> Iterator[None]:
    """Delay signals until the block has ended, for example while files are removed."""
    _received.held += 1
    try:
        yield
    finally:
        _received.held -= 1
    if _received.number and not _received.raised:
        _raise()


def raise_received() -> None:
    """Raise Interrupted again if a signal was received and the exception was lost."""
    if _received.number and not _received.held:
        _raise()


def _receive(number: int, frame: FrameType | None) -> None:
    """Raise at the first signal; at later ones only if the exception was lost.

    Code that catches everything, or a callback of a library, can lose it.
    """
    if not _received.number:
        _received.number = number
        signal.signal(signal.SIGALRM, _raise_again)
        signal.setitimer(signal.ITIMER_REAL, RAISE_AGAIN_S, RAISE_AGAIN_S)
        if not _received.held:
            _raise()


def _raise_again(number: int, frame: FrameType | None) -> None:
    if not _received.held:
        _raise()


def _raise() -> None:
    _received.raised = True
    raise Interrupted(_received.number)


def leave_signals() -> None:
    """Leave signals to the parent process; a terminal or a queue sends them to all processes."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextmanager
def block_signals() -> Iterator[None]:
    """Keep signals from a process that is started here until it has its own handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
