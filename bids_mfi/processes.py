"""The same function of many items, in several processes."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from bids_mfi.errors import MFIError

Item = TypeVar("Item")
Result = TypeVar("Result")

FEWEST_ITEMS = 500  # below, starting the processes takes longer than it saves
CHUNK_ITEMS = 50


def count_cpus() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0))


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
        None: one for each processor. With one, or few items, all is done in this process.

    Raises
    ------
    MFIError
        A process was killed.
    """
    most = processes or count_cpus()
    if most == 1 or len(items) < FEWEST_ITEMS:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(most, get_context("fork")) as pool:
        try:
            yield from pool.map(function, items, chunksize=CHUNK_ITEMS)
        except BrokenProcessPool as error:
            raise MFIError(
                f"A process that read some of {len(items)} items was killed, probably because the "
                "memory was full. Give --nprocs 1, or free memory, and run again."
            ) from error
