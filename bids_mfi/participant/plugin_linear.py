"""nipype's Linear plugin, extended to end in order.

The plugin runs all nodes in this process, one scan after the other. nipype's own plugin reports the
nodes that it skips after a failure as ended, and an interrupted node too. A signal that arrives
while an interface is at work becomes an ordinary failure of its node there, and the run goes on.
"""

import traceback
from typing import Any

from nipype.pipeline.engine.utils import topological_sort
from nipype.pipeline.plugins.linear import LinearPlugin
from nipype.pipeline.plugins.tools import report_crash
from nipype.utils.misc import str2bool

from bids_mfi.participant.crashes import describe_unwritten
from bids_mfi.signals import raise_received


class InProcessPlugin(LinearPlugin):  # type: ignore[misc]
    """Linear plugin with the promises of SurvivingMultiProcPlugin, as far as one process can.

    If this process is killed, the run ends; the next one continues it.
    """

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self.crashes: list[str] = []  # texts of crash files that could not be written

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run the nodes of a graph; a failed node costs those that depend on it.

        Parameters
        ----------
        graph : networkx.DiGraph
            Nodes of nipype.
        config : dict of str to dict
            nipype's settings.
        updatehash : bool
            Whether cached nodes with another hash are not run again.

        Raises
        ------
        RuntimeError
            A node failed: with its traceback, after the other nodes or, with
            ``stop_on_first_crash``, at once.
        """
        stop_on_first_crash = str2bool(config["execution"]["stop_on_first_crash"])
        lost: set[Any] = set()  # nodes without outputs
        causes: list[str] = []
        for node in _sort_nodes(graph):
            if lost.intersection(graph.predecessors(node)):
                lost.add(node)
            elif cause := self._run_node(node, updatehash):
                lost.add(node)
                causes.append(cause)
                if stop_on_first_crash:
                    break
        if causes:
            raise RuntimeError(causes[0])

    def _run_node(self, node: Any, updatehash: bool) -> str:
        """Run a node; return its traceback if it failed."""
        self._tell(node, "start")
        cause: list[str] = []
        try:
            node.run(updatehash=updatehash)
        except Exception as error:
            cause = traceback.format_exception(error)
        raise_received()
        self._tell(node, "exception" if cause else "end")
        if cause:
            self._report_crash(node, cause)
        return "".join(cause)

    def _tell(self, node: Any, status: str) -> None:
        if self._status_callback:
            self._status_callback(node, status)

    def _report_crash(self, node: Any, cause: list[str]) -> None:
        """Let nipype write a crash file; keep its text if the file cannot be written."""
        try:
            report_crash(node, traceback=cause)
        except OSError as error:
            self.crashes.append(describe_unwritten(node.fullname, cause, error))


def _sort_nodes(graph: Any) -> list[Any]:
    """Sort nodes by sub-workflow, and within each so that a node follows those it depends on."""
    return sorted(topological_sort(graph)[0], key=lambda node: node.fullname.rpartition(".")[0])
