"""nipype's MultiProc plugin, extended to survive a killed worker.

The plugin also runs nodes in the order of their names, one sub-workflow after the other, so a long
run yields results from the start and its work folder stays small.

nipype 1.11 waits forever when a worker process dies (for example, killed for lack of memory),
because the exception is lost in a callback. Here, the nodes that were running fail normally, and
the other nodes run in a new pool.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

from bids_mfi.participant.crashes import describe_unwritten
from bids_mfi.processes import die_with_parent
from bids_mfi.signals import hold_signals

KILLED = "a worker process was killed"
LONGEST_END_S = 5.0


def start_worker(cwd: str, parent: int) -> None:
    """Prepare a worker process so that it is killed when its parent process dies.

    Only the parent process handles an interruption from the keyboard.
    """
    process_initializer(cwd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent)


class SurvivingMultiProcPlugin(MultiProcPlugin):  # type: ignore[misc]
    """MultiProc plugin that reports a killed worker as a failure and continues."""

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self.crashes: list[str] = []  # texts of crash files that could not be written
        self.pool.shutdown(wait=False)
        self.pool: ProcessPoolExecutor = self._make_pool()

    def _report_crash(self, node: Any, result: dict[str, Any] | None = None) -> str | None:
        """Let nipype write a crash file; keep its text if the file cannot be written."""
        try:
            return str(super()._report_crash(node, result=result))
        except OSError as error:
            cause = (result or {}).get("traceback") or []
            self.crashes.append(describe_unwritten(node.fullname, cause, error))
            return None

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        with hold_signals(), _start_deaf_to_the_keyboard():
            try:
                future = self.pool.submit(run_node, node, updatehash, self._taskid)
            except BrokenProcessPool:
                self.pool = self._make_pool()
                future = self.pool.submit(run_node, node, updatehash, self._taskid)
        self._task_obj[self._taskid] = future
        future.add_done_callback(partial(self._record_result, self._taskid))
        return int(self._taskid)

    def _make_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self.processors,
            initializer=start_worker,
            initargs=(self._cwd, os.getpid()),
            mp_context=multiprocessing.get_context(self.plugin_args.get("mp_context")),
        )

    def _sort_jobs(self, jobids: Any, scheduler: str | None = None) -> Any:
        """Sort jobs by name, so that started scans finish before new ones start."""
        return sorted(jobids, key=lambda jobid: str(self.procs[jobid].fullname))

    def _record_result(self, taskid: int, future: "Future[dict[str, Any]]") -> None:
        error = future.exception()
        if error is None:
            self._taskresult[taskid] = future.result()
            return
        text = traceback.format_exception(error)
        if isinstance(error, BrokenProcessPool):
            text = [f"{KILLED}: {error}\n"]
        self._taskresult[taskid] = {"result": None, "traceback": text, "taskid": taskid}

    def stop(self) -> None:
        """End all workers now and wait for their exit; unfinished work is lost."""
        workers = multiprocessing.active_children()
        for worker in workers:
            worker.kill()
        self.pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.join(timeout=LONGEST_END_S)


@contextmanager
def _start_deaf_to_the_keyboard() -> Iterator[None]:
    """Make processes started here ignore Ctrl-C from the start.

    They inherit the signal mask. Starting the tracker of multiprocessing removes the mask, so the
    tracker is started first.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
