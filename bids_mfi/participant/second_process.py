"""A second process for a run without workers: a copy that waits for nodes and runs them.

It is forked before the first node, when the process is small and has no threads of the network. It
knows the graph, so names and tracebacks are all that the two exchange; results are in files.
"""

import logging
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from bids_mfi.participant.plugin_multiproc import KILLED, LONGEST_END_S, start_worker
from bids_mfi.printing import printable_output
from bids_mfi.signals import block_signals, hold_signals, leave_signals


class SecondProcess:
    """Context manager; at its end, the process is killed and awaited.

    Parameters
    ----------
    nodes : iterable of nipype.pipeline.engine.Node
        Those that it may be given.
    prepare : callable
        Called in the process while it has nothing to do.
    """

    def __init__(self, nodes: Iterable[Any], prepare: Callable[[], None]) -> None:
        self._nodes = {node.fullname: node for node in nodes}
        self._prepare = prepare
        self._process: Any = None
        self._connection: Connection | None = None

    def takes(self, node: Any) -> bool:
        """Whether a node may be given to it; none if it was killed meanwhile."""
        if self._connection is None or node.fullname not in self._nodes:
            return False
        return bool(self._process.is_alive())

    def __enter__(self) -> "SecondProcess":
        if self._nodes:
            with hold_signals():
                self._start()
        return self

    def _start(self) -> None:
        """Start the process; without memory for one, the run goes on without it."""
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        arguments = (here, there, os.getpid(), self._nodes, self._prepare)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        try:
            with block_signals():
                process.start()
        except OSError:
            here.close()
        else:
            self._process, self._connection = process, here
        there.close()

    def begin(self, node: Any) -> None:
        """Run a node there, after those begun before."""
        assert self._connection is not None
        try:
            self._connection.send(node.fullname)
        except OSError:
            pass  # it was killed; the wait for the node says so

    def wait(self) -> list[str]:
        """Wait for the next node in the order of their beginning; return its traceback, if any."""
        if self._connection is None:
            return [f"{KILLED}: before this node\n"]
        try:
            cause: list[str] = self._connection.recv()
        except (EOFError, OSError):
            self.stop()
            return [f"{KILLED}: it ran this node\n"]
        return cause

    def stop(self) -> None:
        """Kill the process and wait for its end."""
        if self._connection is None:
            return
        with hold_signals():
            self._connection.close()
            self._connection = None
            self._process.kill()
            self._process.join(timeout=LONGEST_END_S)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _serve(
    other_end: Connection,
    connection: Connection,
    parent: int,
    nodes: dict[str, Any],
    prepare: Callable[[], None],
) -> None:
    """Run nodes by their names until the connection ends; the parent alone handles signals."""
    other_end.close()
    leave_signals()
    start_worker(os.getcwd(), parent)
    _open_own_streams()
    with printable_output():
        prepare()
        while True:
            try:
                name = connection.recv()
            except EOFError:
                return
            connection.send(run_node(nodes[name]))


def run_node(node: Any) -> list[str]:
    """Run a node; return its traceback if it failed."""
    try:
        node.run()
    except Exception as error:
        return traceback.format_exception(error)
    return []


def _open_own_streams() -> None:
    """Replace streams whose lock a thread of the parent may have held at the fork."""
    try:
        sys.stdout, sys.stderr = (
            open(number, "w", buffering=1, errors="backslashreplace", closefd=False)
            for number in (1, 2)
        )
    except OSError:  # the run was started without them
        sys.stdout = sys.stderr = open(os.devnull, "w")
    for handler in logging.getLogger("nipype").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.stream = sys.stdout
