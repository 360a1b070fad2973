"""nipype's Linear plugin, extended to end in order.

The plugin runs the nodes in this process, one scan after the other. Of nodes of a scan that are
ready together, a second process takes all but the first, if the run may use two processors.

nipype's own plugin reports the nodes that it skips after a failure as ended, and an interrupted
node too. A signal that arrives while an interface is at work becomes an ordinary failure of its
node there, and the run goes on.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from nipype.pipeline.engine.utils import topological_sort
from nipype.pipeline.plugins.linear import LinearPlugin
from nipype.pipeline.plugins.tools import report_crash
from nipype.utils.misc import str2bool

from bids_mfi.participant import plugins
from bids_mfi.participant.crashes import describe_unwritten
from bids_mfi.participant.freed_memory import keep_freed_memory
from bids_mfi.participant.second_process import SecondProcess, run_node
from bids_mfi.report.panels import load_matplotlib
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
            Not used: no run finds cached nodes.

        Raises
        ------
        RuntimeError
            A node failed: with its traceback, after the other nodes or, with
            ``stop_on_first_crash``, at once.
        """
        stop_on_first_crash = str2bool(config["execution"]["stop_on_first_crash"])
        keep_freed_memory()
        waves = _sort_into_waves(graph)
        lost: set[Any] = set()  # nodes without outputs
        causes: list[str] = []
        with self._choose_second(waves) as second:
            for wave in waves:
                lost |= {node for node in wave if lost.intersection(graph.predecessors(node))}
                failed = self._run_wave([node for node in wave if node not in lost], second)
                lost |= failed.keys()
                causes += failed.values()
                if causes and stop_on_first_crash:
                    break
        if causes:
            raise RuntimeError(causes[0])

    def _choose_second(self, waves: Iterable[list[Any]]) -> SecondProcess:
        """Make the second process for the nodes that need not wait for others."""
        processors = int(self.plugin_args.get("n_procs", 1))
        allowed = plugins.needs_second_process(processors)
        nodes = [
            node
            for wave in waves
            for node in wave[1:]
            if allowed and sum(other.n_procs for other in wave) <= processors
        ]
        return SecondProcess(nodes, load_matplotlib)

    def _run_wave(self, wave: list[Any], second: SecondProcess) -> dict[Any, str]:
        """Run nodes that are ready together; return the traceback of each that failed."""
        beside = [node for node in wave[1:] if second.takes(node)]
        for node in beside:
            self._tell(node, "start")
            second.begin(node)
        causes = {node: self._run_node(node) for node in wave if node not in beside}
        for node in beside:
            causes[node] = self._end(node, second.wait())
        return {node: cause for node, cause in causes.items() if cause}

    def _run_node(self, node: Any) -> str:
        """Run a node in this process; return its traceback if it failed."""
        self._tell(node, "start")
        return self._end(node, run_node(node))

    def _end(self, node: Any, cause: list[str]) -> str:
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


def _sort_into_waves(graph: Any) -> list[list[Any]]:
    """Sort nodes by sub-workflow, and within each into groups that are ready together."""
    depths: dict[Any, int] = {}
    for node in topological_sort(graph)[0]:
        before = (depths[needed] for needed in graph.predecessors(node))
        depths[node] = 1 + max(before, default=0)

    def place(node: Any) -> tuple[str, int]:
        return str(node.fullname.rpartition(".")[0]), depths[node]

    nodes = sorted(graph, key=lambda node: (*place(node), str(node.fullname)))
    return [list(wave) for _, wave in groupby(nodes, key=place)]
