"""nipype's MultiProc plugin, made to survive a killed worker.

It also takes nodes in the order of their names, one sub-workflow after the other, so a long run
yields results from the beginning and its work folder stays small.

nipype 1.11 waits forever when a worker process dies (killed for memory, say): the exception is
lost in a callback. Here it becomes an ordinary failure of the nodes that were running, and the
pool is made anew for the others.
"""

import ctypes
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

from bids_mfi.signals import hold_signals

KILLED = "a worker process was killed"
PR_SET_PDEATHSIG = 1
LONGEST_END_S = 5.0


def start_worker(cwd: str, parent: int) -> None:
    """Prepare a worker process; it is killed when the process that started it dies.

    Without this, the workers of a killed run would wait forever and hold their memory. An
    interruption from the keyboard is left to the process that started it.
    """
    process_initializer(cwd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class SurvivingMultiProcPlugin(MultiProcPlugin):  # type: ignore[misc]
    """MultiProc that reports a killed worker as a failure and goes on."""

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self.crashes: list[str] = []  # texts of crash files that could not be written
        self.pool.shutdown(wait=False)
        self.pool: ProcessPoolExecutor = self._make_pool()

    def _report_crash(self, node: Any, result: dict[str, Any] | None = None) -> str | None:
        """Let nipype write a crash file; keep its text where the disk takes none."""
        try:
            return str(super()._report_crash(node, result=result))
        except OSError as error:
            cause = "".join((result or {}).get("traceback") or [])
            text = f"Node: {node.fullname}\n\n{cause}\n{type(error).__name__}: {error}\n"
            self.crashes.append(text)
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
        """Finish what was begun before beginning something new, in the order of the names."""
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
        """End all workers now, and wait for their end; what they were doing is lost."""
        workers = multiprocessing.active_children()
        for worker in workers:
            worker.kill()
        self.pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.join(timeout=LONGEST_END_S)


@contextmanager
def _start_deaf_to_the_keyboard() -> Iterator[None]:
    """Let processes that start here never see Ctrl-C, from their first moment on.

    They inherit the mask. The tracker of multiprocessing, once started, lifts it: so that is
    done first.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
