"""nipype's MultiProc plugin, made to survive a killed worker; must not know what a node does.

nipype 1.11 waits for ever when a worker process dies (killed for memory, say): the exception is
lost in a callback. Here it becomes an ordinary failure of the nodes that were running, and the
pool is made anew for the others.
"""

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

KILLED = "a worker process was killed"


class SurvivingMultiProcPlugin(MultiProcPlugin):  # type: ignore[misc]
    """MultiProc that reports a killed worker as a failure and goes on."""

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
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
            initializer=process_initializer,
            initargs=(self._cwd,),
            mp_context=multiprocessing.get_context(self.plugin_args.get("mp_context")),
        )

    def _record_result(self, taskid: int, future: "Future[dict[str, Any]]") -> None:
        error = future.exception()
        self._taskresult[taskid] = (
            future.result()
            if error is None
            else {"result": None, "traceback": [f"{KILLED}: {error}\n"], "taskid": taskid}
        )
