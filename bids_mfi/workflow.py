"""The participant graph: scans in, derivatives and a summary out; must not know any formula.

One nipype workflow a run, one sub-workflow of five nodes a scan. A scan that fails leaves a file
under ``logs/`` and does not stop the others. ``docs/decisions/workflow.md`` tells why the work
folder is new for every run and how a killed worker is survived.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_mfi import __version__
from bids_mfi.dixon import DixonPair
from bids_mfi.discovery import UnusableScan
from bids_mfi.errors import MFIError, OutputError
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.options import RunOptions

STEPS = ("Resample", "Segment", "Quantify", "Report", "Save")
MEMORY_GB = {"Resample": 1.0, "Segment": 2.5, "Quantify": 1.0, "Report": 1.0, "Save": 0.3}
POLL_S = 0.1

StatusCallback = Callable[[str, str, str], None]
"""Called with a scan's name, a step of STEPS and ``start``, ``end`` or ``exception``."""


@dataclass(frozen=True, slots=True)
class ScanFailure:
    """A scan without results, the sentence that says why, and the file with the details."""

    scan: str
    problem: str
    log: Path


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did: names of scans done, failed, and skipped because they were done before."""

    done: tuple[str, ...]
    failed: tuple[ScanFailure, ...]
    skipped: tuple[str, ...]
    pages: tuple[Path, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if every scan has results, else 1."""
        return 1 if self.failed else 0


def count_cpus() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def choose_threads(options: RunOptions, scans: int) -> tuple[int, int]:
    """Processes at a time, and threads of a segmentation.

    With at least as many scans as processors each segmentation takes one thread, which gives
    the most scans an hour; with fewer the processors are shared out.

    Examples
    --------
    >>> choose_threads(RunOptions(Path(), Path(), "participant", nprocs=8), scans=2)
    (8, 4)
    """
    nprocs = options.nprocs or count_cpus()
    shared_out = max(1, min(8, nprocs // max(1, min(scans, nprocs))))
    return nprocs, min(options.omp_nthreads or shared_out, nprocs)


def build_workflow(
    pairs: Iterable[DixonPair],
    bundle: ModelBundle,
    options: RunOptions,
    work_dir: Path,
    threads: int,
) -> Any:
    """The nipype workflow of all scans.

    Returns
    -------
    nipype.pipeline.engine.Workflow
        Named after the version, with one sub-workflow a scan, named by :func:`scan_node_names`.
    """
    from nipype.pipeline import engine

    workflow = engine.Workflow(name=f"bids_mfi_{re.sub(r'[^0-9a-z]', '_', __version__)}")
    workflow.base_dir = str(work_dir)
    workflow.config["execution"] = {
        "crashdump_dir": str(work_dir / "crash"),
        "crashfile_format": "txt",
        "create_report": "false",
        "poll_sleep_duration": str(POLL_S),
        "remove_node_directories": "false",
        "stop_on_first_crash": str(options.stop_on_first_crash).lower(),
    }
    names = scan_node_names(pairs)
    workflow.add_nodes(
        [_build_scan(names[pair.scan], pair, bundle, options, threads) for pair in pairs]
    )
    return workflow


def scan_node_names(pairs: Iterable[DixonPair]) -> dict[str, str]:
    """For each scan a name that nipype accepts and no two scans share."""
    return {
        pair.scan: f"scan{number:05d}_" + re.sub(r"[^0-9A-Za-z_]", "_", pair.scan)
        for number, pair in enumerate(pairs)
    }


def _build_scan(
    name: str, pair: DixonPair, bundle: ModelBundle, options: RunOptions, threads: int
) -> Any:
    from nipype.pipeline import engine

    from bids_mfi import interfaces

    nodes = {
        step: engine.Node(
            getattr(interfaces, step)(),
            name=step,
            n_procs=threads if step == "Segment" else 1,
            mem_gb=MEMORY_GB[step],
        )
        for step in STEPS
    }
    resample, segment, quantify, report, save = (nodes[step] for step in STEPS)
    for node in nodes.values():
        node.inputs.pair = pair
        node.inputs.bundle = bundle
    segment.inputs.trait_set(
        weights=str(bundle.weights), device=options.device, threads=threads
    )
    quantify.inputs.fat_water = options.fat_water
    save.inputs.trait_set(
        output_dir=str(options.output_dir),
        bids_dir=str(options.bids_dir),
        fat_water=options.fat_water,
    )
    scan = engine.Workflow(name=name)
    scan.connect(
        [
            (resample, segment, [("channels", "channels")]),
            (segment, quantify, [("labels", "labels")]),
            (segment, report, [("labels", "labels")]),
            (quantify, report, [("water", "water"), ("fat_fraction", "fat_fraction")]),
            (segment, save, [("labels", "labels")]),
            (quantify, save, [("measures", "measures"), ("fat_fraction", "fat_fraction")]),
            (report, save, [("figures", "figures")]),
        ]
    )
    return scan


def quiet_nipype(work_dir: Path, verbose: int) -> None:
    """Keep nipype from the network, from HOME and from printing; must run before its import.

    Worker processes inherit all of it through the environment.
    """
    level = {0: "CRITICAL", 1: "WARNING", 2: "INFO"}.get(verbose, "DEBUG")
    lines = ["[logging]", *(f"{kind}_level = {level}" for kind in ("workflow", "utils", "interface"))]
    (work_dir / "nipype.cfg").write_text("\n".join([*lines, ""]))
    os.environ["NIPYPE_CONFIG_DIR"] = str(work_dir)
    os.environ["NIPYPE_NO_ET"] = os.environ["NO_ET"] = "1"
    os.environ["MPLCONFIGDIR"] = str(work_dir)


def run_workflow(
    workflow: Any, options: RunOptions, nprocs: int, on_status: StatusCallback
) -> None:
    """Run all nodes; failures are found afterwards by :func:`read_crashes`.

    Raises
    ------
    MFIError
        The plugin file cannot be used.
    """
    plugin, plugin_args = _choose_plugin(options, nprocs)
    plugin_args["status_callback"] = lambda node, status: on_status(
        node.fullname.split(".")[1], node.name, status
    )
    if plugin == "MultiProc":
        from bids_mfi.pool import SurvivingMultiProcPlugin

        plugin = SurvivingMultiProcPlugin(plugin_args=plugin_args)
    try:
        workflow.run(plugin=plugin, plugin_args=plugin_args)
    except RuntimeError:
        if not list((Path(workflow.base_dir) / "crash").glob("crash-*")):
            raise


def _choose_plugin(options: RunOptions, nprocs: int) -> tuple[str, dict[str, Any]]:
    if options.use_plugin is None:
        plugin_args: dict[str, Any] = {
            "n_procs": nprocs,
            "raise_insufficient": False,
            "mp_context": "spawn",
        }
        if options.mem_gb is not None:
            plugin_args["memory_gb"] = options.mem_gb
        return "MultiProc", plugin_args
    import yaml

    try:
        described = yaml.safe_load(options.use_plugin.read_text())
        return str(described["plugin"]), dict(described.get("plugin_args") or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError) as error:
        raise MFIError(
            f"{options.use_plugin}: cannot be used as a nipype plugin file ({error}). Expected "
            "YAML with `plugin:` and, if wanted, `plugin_args:`."
        ) from error


def read_crashes(work_dir: Path) -> dict[str, str]:
    """For the node name of each failed scan the text of nipype's crash file."""
    crashes: dict[str, str] = {}
    for path in sorted((work_dir / "crash").glob("crash-*.txt")):
        text = path.read_text(errors="replace")
        found = re.match(r"Node: [^.\s]+\.([^.\s]+)\.", text)
        if found:
            crashes.setdefault(found.group(1), text)
    return crashes


def explain_crash(text: str) -> str:
    """The sentence of a crash file that a person should read.

    Examples
    --------
    >>> explain_crash("Traceback\\n  bids_mfi.errors.PairError: a.nii: all voxels are 0.\\n")
    'a.nii: all voxels are 0.'
    """
    from bids_mfi.pool import KILLED

    if KILLED in text:
        return (
            "The process that worked on this scan was killed, most often for lack of memory. "
            "Give the run more memory, or lower --nprocs or --mem, and run it again."
        )
    ours = re.findall(r"^\s*bids_mfi\.errors\.\w+: (.*)$", text, flags=re.MULTILINE)
    if ours:
        return str(ours[-1])
    others = re.findall(r"^\s*([\w.]*(?:Error|Exception|Interrupt)\b.*)$", text, flags=re.MULTILINE)
    cause = others[-1] if others else "no cause was recorded"
    return f"Unexpected error ({cause}). Please report it with the file named beside it."
