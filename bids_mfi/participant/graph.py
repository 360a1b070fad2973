"""The nipype graph of a run: one sub-workflow of five nodes per scan."""

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bids_mfi import __version__
from bids_mfi.measure.pair import DixonPair
from bids_mfi.participant.crashes import describe_end, read_crashes
from bids_mfi.participant.plan import RunPlan
from bids_mfi.participant.plugins import SLURM_PLUGINS, Plugin, limit_threads
from bids_mfi.report.fonts import write_font_list
from bids_mfi.signals import hold_signals
from bids_mfi.storage import explain_os_error, keep_in_use

STEPS = ("Resample", "Segment", "Quantify", "Report", "Save")
MEMORY_GB = {"Resample": 1.0, "Segment": 1.6, "Quantify": 1.0, "Report": 1.0, "Save": 0.3}
MEASURED = ("in_phase", "out_phase", "fat", "water", "ratios", "grid", "model_grid")
POLL_S = 0.1
JOB_FINISHED_TIMEOUT_S = 30  # for a result to reach this disk from a node's disk
StatusCallback = Callable[[str, str, str], None]
"""Callback that receives a scan's name, a step of STEPS and ``start``, ``end`` or ``exception``.

The first call of a scan has an empty step and ``queued``. After an ``exception``, once the cause is
known, a call has the explanation in place of the step, and ``explained``.
"""


def build_workflow(plan: RunPlan, pairs: Iterable[DixonPair], work_dir: Path, threads: int) -> Any:
    """Build the nipype workflow of the given scans.

    Returns
    -------
    nipype.pipeline.engine.Workflow
        Its name contains the version. Each scan has one sub-workflow, named by
        :func:`scan_node_names`.
    """
    from nipype.pipeline import engine

    workflow = engine.Workflow(name=f"bids_mfi_{re.sub(r'[^0-9a-z]', '_', __version__)}")
    workflow.base_dir = str(work_dir)
    workflow.config["execution"] = {
        "crashdump_dir": str(work_dir / "crash"),
        "crashfile_format": "txt",
        "create_report": "false",
        "job_finished_timeout": str(JOB_FINISHED_TIMEOUT_S),
        "poll_sleep_duration": str(POLL_S),
        "remove_node_directories": "false",
        "stop_on_first_crash": str(plan.options.stop_on_first_crash).lower(),
    }
    names = scan_node_names(pairs)
    workflow.add_nodes([_build_scan(names[pair.scan], plan, pair, threads) for pair in pairs])
    return workflow


def scan_node_names(pairs: Iterable[DixonPair]) -> dict[str, str]:
    """Return a unique name for each scan that nipype accepts."""
    return {
        pair.scan: f"scan{number:05d}_" + re.sub(r"[^0-9A-Za-z_]", "_", pair.scan)
        for number, pair in enumerate(pairs)
    }


def _build_scan(name: str, plan: RunPlan, pair: DixonPair, threads: int) -> Any:
    from nipype.pipeline import engine

    from bids_mfi.network.engines import EngineChoice
    from bids_mfi.participant import interfaces

    nodes = {
        step: engine.Node(
            getattr(interfaces, step)(),
            name=step,
            n_procs=threads if step in ("Resample", "Segment") else 1,
            mem_gb=MEMORY_GB[step],
        )
        for step in STEPS
    }
    resample, segment, quantify, report, save = (nodes[step] for step in STEPS)
    for node in (resample, segment, quantify, report):
        node.inputs.bundle = plan.bundle
    resample.inputs.record = plan.make_record(pair)
    resample.inputs.fat_water = plan.options.fat_water
    resample.inputs.threads = threads
    segment.inputs.weights = str(plan.bundle.weights)
    options = plan.options
    segment.inputs.choice = EngineChoice(options.engine, options.device, threads, options.fast)
    quantify.inputs.pair = pair
    quantify.inputs.fat_water = plan.options.fat_water
    save.inputs.output_dir = str(plan.options.output_dir)
    scan = engine.Workflow(name=name)
    scan.connect(
        [
            (resample, segment, [(name, name) for name in ("channels", "model_grid", "grid")]),
            (resample, quantify, [(name, name) for name in MEASURED]),
            (resample, report, [("grid", "grid"), ("shown_water", "water")]),
            (resample, report, [("fat_fraction", "fat_fraction")]),
            (segment, quantify, [("labels", "labels"), ("vertebrae", "vertebrae")]),
            (segment, report, [("labels", "labels"), ("vertebrae", "vertebrae")]),
            (segment, save, [(name, name) for name in ("labels", "vertebrae", "engine")]),
            (quantify, save, [("measures", "measures")]),
            (report, save, [("figures", "figures")]),
            (resample, save, [(name, name) for name in ("record", "grid", "fat_fraction")]),
        ]
    )
    return scan


def prepare_environment(work_dir: Path, verbose: int, threads: int) -> None:
    """Keep nipype off the network, HOME and the terminal, and limit the threads of libraries.

    Call this before importing nipype. Worker processes inherit these settings.
    """
    limit_threads(threads)
    level = {0: "CRITICAL", 1: "WARNING", 2: "INFO"}.get(verbose, "DEBUG")
    lines = [
        "[logging]",
        *(f"{kind}_level = {level}" for kind in ("workflow", "utils", "interface")),
    ]
    (work_dir / "nipype.cfg").write_text("\n".join([*lines, ""]))
    os.environ["NIPYPE_CONFIG_DIR"] = str(work_dir)
    os.environ["NIPYPE_NO_ET"] = os.environ["NO_ET"] = "1"
    os.environ["MPLCONFIGDIR"] = str(work_dir)
    write_font_list(work_dir)


def run_workflow(
    workflow: Any, plugin: Plugin, nprocs: int, on_status: StatusCallback
) -> tuple[dict[str, str], str]:
    """Run all nodes.

    Returns
    -------
    crashes : dict of str to str
        Result of :func:`read_crashes`.
    ended_by : str
        Traceback of the error that ended the run before all nodes were done; otherwise empty.
    """
    plugin_args = plugin.make_arguments(nprocs)
    if plugin.name in SLURM_PLUGINS:
        from bids_mfi.participant.plugin_slurm import prepare_submission, request_resources

        prepare_submission(Path(workflow.base_dir))
        request_resources(workflow, plugin_args)

    def tell(node: Any, status: str) -> None:
        scan = node.fullname.split(".")[1]
        if (node.name, status) == (STEPS[-1], "end"):
            shutil.rmtree(Path(workflow.base_dir) / workflow.name / scan, ignore_errors=True)
        on_status(scan, node.name, status)

    runner = _make_runner(plugin.name, plugin_args | {"status_callback": tell})
    ended_by, failure = "", None
    try:
        with keep_in_use(Path(workflow.base_dir)):
            workflow.run(plugin=runner)
    except KeyboardInterrupt:
        _stop(runner)
        raise
    except (OSError, RuntimeError) as error:
        _stop(runner)
        ended_by, failure = describe_end(error, Path(workflow.base_dir)), error
    crashes = read_crashes(Path(workflow.base_dir), getattr(runner, "crashes", ()))
    # When all nodes are done, nipype repeats the first failure of a node as RuntimeError.
    is_repeated = bool(crashes) and isinstance(failure, RuntimeError)
    return crashes, "" if is_repeated else ended_by


def _make_runner(name: str, plugin_args: dict[str, Any]) -> Any:
    """Make the named nipype plugin, or the package's own subclass of it."""
    from nipype.pipeline import plugins

    if name == "MultiProc":
        from bids_mfi.participant.plugin_multiproc import SurvivingMultiProcPlugin

        return SurvivingMultiProcPlugin(plugin_args=plugin_args)
    if name == "Linear":
        from bids_mfi.participant.plugin_linear import InProcessPlugin

        return InProcessPlugin(plugin_args=plugin_args)
    if name in SLURM_PLUGINS:
        from bids_mfi.participant.plugin_slurm import (
            PlainSpokenSLURMPlugin,
            WaitingSLURMGraphPlugin,
        )

        waiting = name == "SLURMGraph"
        return (WaitingSLURMGraphPlugin if waiting else PlainSpokenSLURMPlugin)(
            plugin_args=plugin_args
        )
    return getattr(plugins, f"{name}Plugin")(plugin_args=plugin_args)


def _stop(runner: Any) -> None:
    """End the workers of the package's own plugins; other plugins end their own workers."""
    if hasattr(runner, "stop"):
        with hold_signals():
            runner.stop()


def write_graph(workflow: Any, logs: Path) -> None:
    """Write the graph of the steps as Graphviz text to ``logs/graph.dot``.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    path = logs / "graph.dot"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        workflow.write_hierarchical_dotfile(dotfilename=str(path), colored=True, simple_form=True)
    except OSError as error:
        raise explain_os_error(path, error) from error
