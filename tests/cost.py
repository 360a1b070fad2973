"""What a calculation costs in calls and memory, which are the same on a slow and a busy machine."""

import cProfile
import gc
import tracemalloc
from typing import NamedTuple


class Growth(NamedTuple):
    """What each added participant costs."""

    calls: float
    kilobytes: float


def measure_growth(prepare, small=500, large=2000):
    """``prepare(n)`` gives the calculation for n participants, to be called without arguments.

    With these numbers, a call for each pair of participants makes 2500 calls for each added one,
    and a number for each pair 20 kilobytes. Unseen is work inside one call, as of ``name in
    names``, or of a whole array for each participant, while the calls stay below the limit.
    """
    runs = [prepare(small), prepare(large)]
    runs[0]()  # what is made once and kept does not count
    calls = [count_calls(run) for run in runs]
    peaks = [measure_peak_mb(run) for run in runs]
    added = large - small
    return Growth((calls[1] - calls[0]) / added, 1000 * (peaks[1] - peaks[0]) / added)


def count_calls(run):
    """Calls of functions, those written in Python and those written in C."""
    profile = cProfile.Profile()
    profile.runcall(run)
    return sum(entry.callcount for entry in profile.getstats())


def measure_peak_mb(run):
    """The most memory that arrays and objects held at a time, beyond what there was before.

    Garbage that waits for its collection counts, so leave room for it.
    """
    gc.collect()
    traced_already = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        run()
        return (tracemalloc.get_traced_memory()[1] - before) / 1e6
    finally:
        if not traced_already:
            tracemalloc.stop()
