"""Runs of the program, each in a process of its own that is forked from one which has imported it.

The imports take longer than most that a test lets the program do. Tests of how the program starts,
and of its workers, start it anew. Figures of scans are replaced as by ``quick_figures``.
"""

import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from bids_mfi import signals

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["pytest", "bids_mfi.cli.app", "bids_mfi.participant.workflow", "bids_mfi.participant.progress",
     "bids_mfi.participant.interfaces", "bids_mfi.network.engine_openvino"]
)  # fmt: skip


# Before a test changes where temporary files go; the sockets of all forks are there.
multiprocessing.util.get_temp_dir()


def take_signals():
    """A test run in the background may have been started so that it ignores these."""
    for number in signals.ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Ended(NamedTuple):
    """How a run has ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


class ForkedRun:
    """A run that has begun; what it says is read from ``stdout`` and ``stderr``.

    ``environment`` adds variables to those that the tests were started with.
    """

    def __init__(self, *words, **environment):
        ends = [CONTEXT.Pipe(duplex=False) for _ in "12"]
        arguments = ([str(word) for word in words], environment, [mine for _, mine in ends])
        self._process = CONTEXT.Process(target=_run, args=arguments)
        self._process.start()
        for _, written in ends:
            written.close()
        self.stdout, self.stderr = (
            open(os.dup(read.fileno()), encoding="utf-8") for read, _ in ends
        )
        for read, _ in ends:
            read.close()

    def end(self, within_s=300):
        """Wait for the end, at most so long; the rest of what was said."""
        with ThreadPoolExecutor(2) as readers, self.stdout, self.stderr:
            said = [readers.submit(file.read) for file in (self.stdout, self.stderr)]
            self._process.join(within_s)
            ended = self._process.exitcode
            self.kill()
            stdout, stderr = (text.result() for text in said)
        assert ended is not None, f"still running after {within_s} s: {stdout}{stderr}"
        return Ended(ended, stdout, stderr)

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        self._process.kill()
        self._process.join()


def _run(words, environment, ends):
    for number, end in enumerate(ends, start=1):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdout, sys.stderr = (
        open(number, "w", encoding="utf-8", buffering=1, closefd=False) for number in (1, 2)
    )
    os.environ.update({name: str(value) for name, value in environment.items()})
    tempfile.tempdir = None  # is chosen again, by TMPDIR
    take_signals()
    from conftest import write_quick_figures

    from bids_mfi.cli.app import main
    from bids_mfi.participant import interfaces

    interfaces.draw_figures = write_quick_figures
    sys.exit(main(words))
