"""Time and memory of commands and of calls, and the speed of this machine's matrix product."""

import os
import select
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RUN = Path(__file__).parents[1] / "run.py"
PRODUCT_SIZE = 2048
PRODUCTS = 5  # in one timing, so that it lasts some tenths of a second
POLL_MS = 500
KIB_PER_GIB = 1024**2


@dataclass(frozen=True)
class Cost:
    """What a command or a call took.

    Attributes
    ----------
    seconds : float
        Wall time.
    cpu_seconds : float
        User and system time of all threads, with those of the children.
    peak_gib : float
        Largest sum over all processes of a command of their proportional memory (Pss), asked
        twice a second, or the largest resident set of one of them, whichever is more; 0 for
        a call.
    """

    seconds: float
    cpu_seconds: float
    peak_gib: float = 0.0


def median(costs: Sequence[Cost], quantity: str = "seconds") -> float:
    return statistics.median(getattr(cost, quantity) for cost in costs)


def describe(costs: Sequence[Cost], quantity: str = "seconds", digits: int = 2) -> str:
    """Median, and the range in brackets unless there is only one."""
    values = [getattr(cost, quantity) for cost in costs]
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def time_call(action: Callable[[], object]) -> Cost:
    """Time one call in this process."""
    started, began = time.perf_counter(), time.process_time()
    action()
    return Cost(time.perf_counter() - started, time.process_time() - began)


def time_calls(action: Callable[[], object], repeats: int) -> list[Cost]:
    """Time calls in this process, after one that does not count."""
    action()
    return [time_call(action) for _ in range(repeats)]


def time_command(command: list[str], log: Path) -> Cost:
    """Run a command, whose output goes to ``log``; exit if it fails."""
    started = time.monotonic()
    with log.open("wb") as file:
        actions = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number in (1, 2)]
        process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    status, usage, peak_kib = _watch(process)
    seconds = time.monotonic() - started
    code = os.waitstatus_to_exitcode(status)
    if code:
        sys.exit(f"{' '.join(command)}: exit status {code}\n{log.read_text()[-2000:]}")
    peak_gib = max(peak_kib, usage.ru_maxrss) / KIB_PER_GIB
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak_gib)


def time_run(bids_dir: Path, output_dir: Path, *more: str, checkout: Path | None = None) -> Cost:
    """Run ``run.py`` of this version or of another checkout; its log is beside ``output_dir``."""
    script = checkout / "run.py" if checkout else RUN
    command = [sys.executable, str(script), str(bids_dir), str(output_dir), *more]
    return time_command(command, output_dir.with_suffix(".log"))


def _watch(process: int) -> tuple[int, Any, int]:
    """Wait for a process; return its status, resource usage and peak memory in KiB."""
    peak_kib = 0
    handle, ends = os.pidfd_open(process), select.poll()
    ends.register(handle, select.POLLIN)
    while not ends.poll(POLL_MS):
        peak_kib = max(peak_kib, _tree_memory_kib(process))
    os.close(handle)
    _, status, usage = os.wait4(process, 0)
    return status, usage, peak_kib


def _tree_memory_kib(root: int) -> int:
    """Proportional memory (Pss) of a process and of all its descendants."""
    total, waiting = 0, [root]
    while waiting:
        process = Path(f"/proc/{waiting.pop()}")
        try:
            rollup = (process / "smaps_rollup").read_text().splitlines()
            for thread in (process / "task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total


def call_apart(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a process of its own.

    Linux counts the memory of the process that starts a command to that of the command, so a
    process that times commands must stay small.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def product_gflops(threads: int, repeats: int) -> float:
    """Float32 matrix product, thousand million operations a second, two for a multiply-add."""
    import torch

    torch.set_num_threads(threads)
    one = torch.randn(PRODUCT_SIZE, PRODUCT_SIZE)
    costs = time_calls(lambda: [one @ one for _ in range(PRODUCTS)], repeats)
    return PRODUCTS * 2 * PRODUCT_SIZE**3 / median(costs) / 1e9
