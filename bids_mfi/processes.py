"""The same function of many items, in several processes."""

import ctypes
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import TypeVar

from bids_mfi.errors import MFIError
from bids_mfi.signals import block_signals, leave_signals

Item = TypeVar("Item")
Result = TypeVar("Result")

FEWEST_ITEMS = 500  # below, starting the processes takes longer than it saves
CHUNK_ITEMS = 50
MOST_PROCESSES = 16  # more would wait for the disk
PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


def count_cpus() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0))


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent dies; ``parent`` is its number.

    Otherwise the children of a killed process would wait forever and hold their memory.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int | None
) -> Iterator[Result]:
    """Yield ``function(item)`` of each item, in the order of the items.

    The processes are forked from this one, so they import and read nothing again.

    Parameters
    ----------
    function : callable
        Writes nothing, and changes nothing that a later call depends on.
    items : sequence
    processes : int or None
        None: one for each processor; at most MOST_PROCESSES. With one, with few items, or where
        the system permits no more processes, all is done in this process.

    Raises
    ------
    MFIError
        A process was killed.
    """
    chunks = -(-len(items) // CHUNK_ITEMS)
    most = min(processes or count_cpus(), chunks, MOST_PROCESSES)
    if most == 1 or len(items) < FEWEST_ITEMS:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(most, get_context("fork"), _begin, (os.getpid(),)) as pool:
        try:
            results = _start(pool, function, items)
        except OSError:
            results = map(function, items)
        try:
            yield from results
        except BrokenProcessPool as error:
            raise MFIError(
                f"A process that read some of {len(items)} items was killed, probably because the "
                "memory was full. Give --nprocs 1, or free memory, and run again."
            ) from error


def _start(
    pool: ProcessPoolExecutor, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result]:
    """Fork all processes; if one cannot be forked, kill those that were."""
    before = set(active_children())
    try:
        with block_signals():
            return pool.map(function, items, chunksize=CHUNK_ITEMS)
    except OSError:
        for process in set(active_children()) - before:
            process.kill()
        raise


def _begin(parent: int) -> None:
    """Prepare a process of the pool."""
    leave_signals()
    die_with_parent(parent)
