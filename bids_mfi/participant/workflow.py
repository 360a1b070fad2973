"""The participant graph: scans in, derivatives and a summary out; must not know any formula.

One nipype workflow a run, one sub-workflow of five nodes a scan. A scan that fails leaves a file
under ``logs/`` and does not stop the others. ``docs/decisions/workflow.md`` tells why the work
folder is new for every run and how a killed worker is survived.
"""

import errno
import os
import re
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bids_mfi import __version__
from bids_mfi.bids.names import scan_paths
from bids_mfi.bids.output_folder import (
    check_output_dir,
    check_same_labels,
    write_dataset_files,
    write_run_log,
)
from bids_mfi.bids.scan_files import ScanRecord, fingerprint_record
from bids_mfi.bids.scan_results import explain_altered, find_edited_copies, find_markers, scan_state
from bids_mfi.discovery import UnusableScan, find_scans, list_participants_without_scans
from bids_mfi.errors import MFIError, OutputError, UsageError
from bids_mfi.measure.dixon import DixonPair
from bids_mfi.network.bundle import ModelBundle, load_bundle
from bids_mfi.network.segment import choose_device
from bids_mfi.options import RunOptions
from bids_mfi.participant.pages import PageDesk, bundle_facts
from bids_mfi.reading import read_regular_file
from bids_mfi.signals import hold_signals
from bids_mfi.storage import (
    TEMPORARY_FOLDER,
    check_writable,
    explain_os_error,
    keep_in_use,
    make_partial_folder,
    remove_folders_of_the_dead,
    remove_stale_partials,
    write_atomically,
)

DEFAULT_BUNDLE = Path(__file__).parents[1] / "data" / "bundle"
RECORDED_PACKAGES = ("torch", "numpy", "scipy", "nibabel", "nipype", "pybids", "monai")
NO_SPACE = "No space left on device"
QUOTA = os.strerror(errno.EDQUOT)
NO_ROOM_FOR_ARRAY = "Not enough free space to write"  # numpy, of the same cause
LEAST_FREE_BYTES = 2**20
NO_RESULT = "results file does not exist"  # nipype, of a job of a queue that was killed
GONE = "Files of the work folder were removed"
LOST = (
    "The jobs of this scan ended without results, and without a cause that nipype recorded. Look "
    "at what the queue wrote for them into the work folder (-w DIR), and run it again."
)
STEPS = ("Resample", "Segment", "Quantify", "Report", "Save")
MEMORY_GB = {"Resample": 1.0, "Segment": 2.5, "Quantify": 1.0, "Report": 1.0, "Save": 0.3}
POLL_S = 0.1
JOB_FINISHED_TIMEOUT_S = 30  # that a result may take from a node's disk to this one
ROOM_PER_SCAN_BYTES = 500 * 10**6  # ten times what a scan of the paper's size takes
OWN_MACHINE_PLUGINS = ("MultiProc", "LegacyMultiProc", "Linear", "Debug")
SLURM_PLUGINS = ("SLURM", "SLURMGraph")
# What nipype has; it must not be imported before its surroundings are prepared.
PLUGINS = (
    "Condor", "CondorDAGMan", "Debug", "IPython", "LSF", "LegacyMultiProc", "Linear", "MultiProc",
    "OAR", "PBS", "PBSGraph", "SGE", "SGEGraph", "SLURM", "SLURMGraph", "SomaFlow",
)  # fmt: skip
QUEUE_COMMANDS = {
    **dict.fromkeys(SLURM_PLUGINS, ("sbatch", "squeue")),
    **dict.fromkeys(("PBS", "PBSGraph", "SGE"), ("qsub", "qstat")),
    "LSF": ("bsub", "bjobs"),
    "OAR": ("oarsub", "oarstat"),
    "Condor": ("condor_qsub", "condor_q"),
}
HASTY_PLUGINS = ("CondorDAGMan", "SGEGraph", "SomaFlow")  # return before the jobs have run

StatusCallback = Callable[[str, str, str], None]
"""Called with a scan's name, a step of STEPS and ``start``, ``end`` or ``exception``.

After an ``exception``, once the cause is known, with the sentence that says why in place of a
step, and ``explained``; before all, with an empty step and ``queued``.
"""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run is going to do.

    Attributes
    ----------
    bundle : ModelBundle
    scans : list of DixonPair or UnusableScan
    states : dict of str to str
        Of each pair's results, by the scan's name: ``missing``, ``current``, or the sentence why
        other results stay.
    passed_over : tuple of str
        Participants without a Dixon image.
    """

    bundle: ModelBundle
    scans: list[DixonPair | UnusableScan]
    states: dict[str, str]
    passed_over: tuple[str, ...] = ()

    @property
    def problems(self) -> dict[str, str]:
        """Why scans will not be measured, by name."""
        refused = {scan.scan: scan.problem for scan in self.scans if isinstance(scan, UnusableScan)}
        kept = ("missing", "current")
        return refused | {scan: text for scan, text in self.states.items() if text not in kept}

    @property
    def exit_code(self) -> int:
        """1 if some scan cannot be measured, as it would be of the run."""
        return MFIError.exit_code if self.problems else 0


@dataclass(frozen=True, slots=True)
class ScanFailure:
    """A scan without results, the sentence that says why, and the file with the details if any."""

    scan: str
    problem: str
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did.

    Attributes
    ----------
    done, skipped : tuple of str
        Names of scans done in this run, and before it.
    failed : tuple of ScanFailure
    pages : tuple of Path
        Report pages written.
    passed_over : tuple of str
        Participants without a Dixon image.
    notes : tuple of str
        What else a person should know: copies of edited label maps, files that were passed over.
    unwritten : tuple of str
        Why the record of the run, or a page, could not be written.
    """

    done: tuple[str, ...]
    failed: tuple[ScanFailure, ...]
    skipped: tuple[str, ...]
    pages: tuple[Path, ...] = ()
    passed_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if every scan has results, else 1; that of OutputError if OUTPUT_DIR takes nothing."""
        if self.unwritten:
            return OutputError.exit_code
        return 1 if self.failed else 0


def count_cpus() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))


def choose_threads(options: RunOptions, scans: int) -> tuple[int, int]:
    """Choose the processes at a time, and the threads of a segmentation.

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
    """Build the nipype workflow of all scans.

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
        "job_finished_timeout": str(JOB_FINISHED_TIMEOUT_S),
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

    from bids_mfi.participant import interfaces

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
    for node in (segment, quantify, report):
        node.inputs.pair = pair
        node.inputs.bundle = bundle
    resample.inputs.bundle = bundle
    resample.inputs.record = save.inputs.record = describe_scan(pair, bundle, options)
    segment.inputs.weights = str(bundle.weights)
    segment.inputs.device = options.device
    segment.inputs.threads = threads
    quantify.inputs.fat_water = options.fat_water
    save.inputs.output_dir = str(options.output_dir)
    scan = engine.Workflow(name=name)
    scan.connect(
        [
            (resample, segment, [("channels", "channels"), ("model_grid", "model_grid")]),
            (segment, quantify, [("labels", "labels"), ("vertebrae", "vertebrae")]),
            (segment, report, [("labels", "labels"), ("vertebrae", "vertebrae")]),
            (quantify, report, [("water", "water"), ("fat_fraction", "fat_fraction")]),
            (segment, save, [("labels", "labels"), ("vertebrae", "vertebrae")]),
            (quantify, save, [("measures", "measures"), ("fat_fraction", "fat_fraction")]),
            (report, save, [("figures", "figures")]),
            (resample, save, [("fingerprint", "fingerprint")]),
        ]
    )
    return scan


def describe_scan(pair: DixonPair, bundle: ModelBundle, options: RunOptions) -> ScanRecord:
    """Describe where a scan's results will come from; its fingerprint is made when work begins."""
    facts = bundle_facts(bundle)
    return ScanRecord(pair, options.bids_dir, facts, options.fat_water, fingerprint="")


def prepare_environment(work_dir: Path, verbose: int, threads: int) -> None:
    """Keep nipype from the network, from HOME and from printing, and libraries to their threads.

    Must run before nipype is imported. Worker processes inherit all of it.
    """
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    level = {0: "CRITICAL", 1: "WARNING", 2: "INFO"}.get(verbose, "DEBUG")
    lines = [
        "[logging]",
        *(f"{kind}_level = {level}" for kind in ("workflow", "utils", "interface")),
    ]
    (work_dir / "nipype.cfg").write_text("\n".join([*lines, ""]))
    os.environ["NIPYPE_CONFIG_DIR"] = str(work_dir)
    os.environ["NIPYPE_NO_ET"] = os.environ["NO_ET"] = "1"
    os.environ["MPLCONFIGDIR"] = str(work_dir)


def run_workflow(
    workflow: Any, options: RunOptions, nprocs: int, on_status: StatusCallback
) -> tuple[dict[str, str], str]:
    """Run all nodes.

    Returns
    -------
    crashes : dict of str to str
        From :func:`read_crashes`.
    ended_by : str
        The traceback that ended the run before all nodes were done; empty if nothing did.

    Raises
    ------
    UsageError
        The plugin file cannot be used.
    """
    plugin, plugin_args = choose_plugin(options, nprocs)
    if plugin in SLURM_PLUGINS:
        from bids_mfi.participant.plugin_slurm import prepare_submission, request_resources

        prepare_submission(Path(workflow.base_dir))
        request_resources(workflow, plugin_args)

    def tell(node: Any, status: str) -> None:
        scan = node.fullname.split(".")[1]
        if (node.name, status) == (STEPS[-1], "end"):
            shutil.rmtree(Path(workflow.base_dir) / workflow.name / scan, ignore_errors=True)
        on_status(scan, node.name, status)

    runner = _make_runner(plugin, plugin_args | {"status_callback": tell})
    ended_by, failure = "", None
    try:
        with keep_in_use(Path(workflow.base_dir)):
            workflow.run(plugin=runner)
    except KeyboardInterrupt:
        _stop(runner)
        raise
    except (OSError, RuntimeError) as error:
        _stop(runner)
        ended_by, failure = _describe_end(error, Path(workflow.base_dir)), error
    crashes = read_crashes(Path(workflow.base_dir), getattr(runner, "crashes", ()))
    # nipype repeats the first failure of a node as RuntimeError when all are done.
    is_repeated = bool(crashes) and isinstance(failure, RuntimeError)
    return crashes, "" if is_repeated else ended_by


def _make_runner(name: str, plugin_args: dict[str, Any]) -> Any:
    """Make the nipype plugin of this name; MultiProc is our own that survives a killed worker."""
    from nipype.pipeline import plugins

    from bids_mfi.participant.plugin_multiproc import SurvivingMultiProcPlugin

    if name == "MultiProc":
        return SurvivingMultiProcPlugin(plugin_args=plugin_args)
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
    """End the workers of our own plugin; others look after theirs."""
    if hasattr(runner, "stop"):
        with hold_signals():
            runner.stop()


def choose_plugin(options: RunOptions, nprocs: int) -> tuple[str, dict[str, Any]]:
    """Read which nipype plugin to use, and how.

    Raises
    ------
    UsageError
        The plugin file cannot be used.
    """
    if options.use_plugin is None:
        plugin_args: dict[str, Any] = {
            "n_procs": nprocs,
            "raise_insufficient": False,
            "mp_context": "spawn",
        }
        if options.mem_gb is not None:
            plugin_args["memory_gb"] = options.mem_gb
        return "MultiProc", plugin_args
    name, plugin_args = _read_plugin_file(options.use_plugin)
    if name not in PLUGINS:
        raise UsageError(
            f"{options.use_plugin}: nipype has no plugin {name!r}, expected one of "
            f"{', '.join(PLUGINS)}. Correct `plugin:` in the file."
        )
    if name in HASTY_PLUGINS:
        raise UsageError(
            f"{options.use_plugin}: nipype's {name} returns before the jobs have run, so that "
            "nothing could be said of them. Take another plugin, or an array of participants "
            "(docs/hpc.md)."
        )
    return name, plugin_args


def _read_plugin_file(path: Path) -> tuple[str, dict[str, Any]]:
    import yaml

    try:
        described = yaml.safe_load(read_regular_file(path))
        name, plugin_args = described["plugin"], dict(described.get("plugin_args") or {})
        if not isinstance(name, str):
            raise ValueError(f"plugin is {type(name).__name__}, expected text")
    except (OSError, ValueError, yaml.YAMLError, TypeError, LookupError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(
            f"{path}: cannot be used as a nipype plugin file ({reason}). Expected YAML with "
            "`plugin:` and, if wanted, `plugin_args:`."
        ) from error
    return name, plugin_args


def check_plugin(options: RunOptions) -> None:
    """Refuse a plugin that cannot be used before anything starts.

    Raises
    ------
    UsageError
        The plugin file cannot be used, or a command of the queue is missing.
    """
    plugin, _ = choose_plugin(options, nprocs=1)
    wanted = QUEUE_COMMANDS.get(plugin, ())
    missing = [command for command in wanted if shutil.which(command) is None]
    if missing:
        raise UsageError(
            f"{options.use_plugin}: nipype's {plugin} needs {' and '.join(wanted)}, but "
            f"PATH has no {' and no '.join(missing)}. Start it outside a container on a machine "
            "that may submit jobs, or take an array of participants (docs/hpc.md)."
        )


def read_crashes(work_dir: Path, unwritten: Iterable[str] = ()) -> dict[str, str]:
    """For the node name of each failed scan the text of nipype's crash file.

    When the work folder's disk is full nipype fails in many ways, so that is added to the text.

    Parameters
    ----------
    work_dir : Path
        May have been removed.
    unwritten : iterable of str
        Texts of crash files that could not be written.
    """
    crashes: dict[str, str] = {}
    paths = sorted((work_dir / "crash").glob("crash-*.txt"))
    for text in (*unwritten, *(path.read_text(errors="replace") for path in paths)):
        found = re.match(r"Node: [^.\s]+\.([^.\s]+)\.", text)
        if found:
            crashes.setdefault(found.group(1), text)
    return {node: _add_state_of_folder(text, work_dir) for node, text in crashes.items()}


def _describe_end(error: BaseException, work_dir: Path) -> str:
    """Text of what ended a run, in the way of a crash file."""
    return _add_state_of_folder("".join(traceback.format_exception(error)), work_dir)


def _add_state_of_folder(text: str, work_dir: Path) -> str:
    """Add to the text of a crash what the work folder itself tells of its cause."""
    if re.search(rf"FileNotFoundError: .*{re.escape(str(work_dir))}", text):
        text = f"{text}\n{GONE}\n"
    try:
        full = shutil.disk_usage(work_dir).free < LEAST_FREE_BYTES
    except OSError:
        full = False
    return f"{text}\n{NO_SPACE}\n" if full or QUOTA in text else text


def was_killed(text: str) -> bool:
    """Whether a crash file tells of a killed worker process."""
    from bids_mfi.participant.plugin_multiproc import KILLED

    return KILLED in text


def explain_crash(text: str) -> str:
    r"""Find the sentence of a crash file that a person should read.

    Examples
    --------
    >>> explain_crash("Traceback\n  bids_mfi.errors.PairError: a.nii: all voxels are 0.\n")
    'a.nii: all voxels are 0.'
    """
    if LOST in text:
        return LOST
    if (was_killed(text) or NO_RESULT in text) and NO_SPACE not in text:
        return (
            "The process that worked on this scan was killed, most often for lack of memory. "
            "Give the run more memory, or lower --nprocs or --mem, and run it again."
        )
    if re.search(r"^\s*(numpy\S*)?_?(Array)?MemoryError", text, flags=re.MULTILINE):
        return "There was not enough memory for this scan. Give the run more, or lower --nprocs."
    no_space = NO_SPACE in text or NO_ROOM_FOR_ARRAY in text
    if no_space and "OutputError" not in text:
        return "The disk of the work folder is full. Free space or name another by --work-dir."
    ours = re.findall(r"^\s*bids_mfi\.errors\.\w+: (.*)$", text, flags=re.MULTILINE)
    if ours:
        return str(ours[-1])
    if GONE in text:
        return (
            f"{GONE} while this scan was being measured, by another program or person. Run it "
            "again; where a system clears its temporary folder name another by --work-dir."
        )
    others = re.findall(r"^\s*([\w.]*(?:Error|Exception|Interrupt)\b.*)$", text, flags=re.MULTILINE)
    cause = others[-1] if others else "no cause was recorded"
    return f"Unexpected error ({cause}). Please report it with the file named beside it."


def plan_run(options: RunOptions) -> RunPlan:
    """Find all that can be found before anything is written; a dry run ends with it.

    Raises
    ------
    MFIError
        Nothing could be started: the dataset, the bundle, the output folder or an option.
    """
    check_output_dir(options.bids_dir, options.output_dir)
    bundle = load_bundle(options.bundle or DEFAULT_BUNDLE)
    choose_device(options.device)
    check_plugin(options)
    scans = find_scans(options)
    pairs = (scan for scan in scans if isinstance(scan, DixonPair))
    states = {pair.scan: _find_state(pair, bundle, options) for pair in pairs}
    if options.dry_run or "current" not in states.values():  # else the run says what is done
        _check_folders(options)
    check_same_labels(options.output_dir, bundle.table)
    return RunPlan(bundle, scans, states, tuple(list_participants_without_scans(options, scans)))


def _check_folders(options: RunOptions) -> None:
    """Refuse OUTPUT_DIR or a folder of ``--work-dir`` that cannot be written."""
    check_writable(options.output_dir)
    try:
        check_writable(options.work_dir or options.output_dir)
    except OutputError as error:
        raise OutputError(f"--work-dir {error}") from None


def run_participants(options: RunOptions, on_status: StatusCallback) -> RunSummary:
    """Run the participant level: from a dataset to derivatives and report pages.

    Raises
    ------
    MFIError
        Nothing could be started: the dataset, the bundle, the output folder or an option.
    """
    plan = plan_run(options)
    remove_folders_of_the_dead(Path(tempfile.gettempdir()), TEMPORARY_FOLDER)
    bundle, scans, states = plan.bundle, plan.scans, plan.states
    pairs = [scan for scan in scans if isinstance(scan, DixonPair)]
    if set(states.values()) & {"missing", "current"} or not pairs:
        _write_dataset_files(states, bundle, options)
    copies = _list_edited_copies(pairs, options)
    failures = _refuse_scans(plan.problems, options)
    waiting = [pair for pair in pairs if states[pair.scan] == "missing"]
    desk = PageDesk(scans, plan.problems, [pair.scan for pair in waiting], bundle, options)
    if waiting and not (failures and options.stop_on_first_crash):
        desk.write_missing()
        failures |= _run_scans(waiting, bundle, options, _tell_pages(desk, on_status))
    summary = replace(
        _summarise(scans, states, failures, bundle, options),
        passed_over=plan.passed_over,
        notes=(
            *_describe_copies(copies, _list_edited_copies(pairs, options)),
            *_describe_strays(scans, options),
        ),
    )
    return _write_account(summary, desk, bundle, options)


def _write_dataset_files(states: dict[str, str], bundle: ModelBundle, options: RunOptions) -> None:
    """Write the files of the whole dataset; where the disk takes none say what is done."""
    facts = bundle_facts(bundle)
    try:
        write_dataset_files(
            options.output_dir, options.bids_dir, bundle.table, facts, bundle.vertebrae
        )
    except OutputError as error:
        done = sorted(scan for scan, state in states.items() if state == "current")
        if not done:
            raise
        raise OutputError(f"{error} Scans done before: {', '.join(done)}.") from error


def _write_account(
    summary: RunSummary, desk: PageDesk, bundle: ModelBundle, options: RunOptions
) -> RunSummary:
    """Write the record and the pages of a run; what cannot be written costs nothing else."""
    problems = {failure.scan: failure.problem for failure in summary.failed}
    unwritten: list[str] = []
    try:
        write_run_record(options, summary, bundle)
    except OutputError as error:
        unwritten.append(str(error))
    pages, missing = desk.write_rest(problems)
    return replace(summary, pages=pages, unwritten=(*unwritten, *missing))


def _list_edited_copies(pairs: list[DixonPair], options: RunOptions) -> list[Path]:
    return [
        path
        for pair in pairs
        for path in find_edited_copies(options.output_dir, scan_paths(options.output_dir, pair))
    ]


def _describe_copies(before: list[Path], now: list[Path]) -> list[str]:
    """Say which label maps were replaced although somebody had edited them."""
    return [
        f"{path}: a copy of the label map that was replaced; it was edited, or damaged, or left by "
        "a run that was killed."
        for path in now
        if path not in before
    ]


def _describe_strays(scans: list[DixonPair | UnusableScan], options: RunOptions) -> list[str]:
    """Name files that look like sidecars of results and are none."""
    return [
        f"{path}: passed over, as no scan's results have this name. A copy? Remove it."
        for participant in sorted({scan.participant for scan in scans})
        for path in find_markers(options.output_dir, participant)[1]
    ]


def _refuse_scans(problems: Mapping[str, str], options: RunOptions) -> dict[str, ScanFailure]:
    """Write the failures of scans that will not be run at all."""
    return {
        scan: write_failure(options.output_dir, scan, problem)
        for scan, problem in sorted(problems.items())
    }


def _find_state(pair: DixonPair, bundle: ModelBundle, options: RunOptions) -> str:
    """``missing``, ``current``, or the sentence why the scan's earlier results stay."""
    paths = scan_paths(options.output_dir, pair)
    if options.overwrite or not paths.mfi_json.exists():
        return "missing"
    try:
        state = scan_state(paths, fingerprint_record(describe_scan(pair, bundle, options)))
        if state == "altered":
            return explain_altered(paths)
    except MFIError as error:
        return str(error)
    reasons = {
        "different": "results of another version, bundle, option or input are there.",
        "unsealed": "the sidecar beside it has no checksum of its own: an earlier version wrote "
        "it, or it was edited.",
    }
    if state not in reasons:
        return state
    return (
        f"{paths.mfi_tsv}: {reasons[state]} Give --overwrite to replace them, or choose another "
        "OUTPUT_DIR."
    )


def write_failure(output_dir: Path, scan: str, problem: str, details: str = "") -> ScanFailure:
    """Leave a file under ``logs/`` that says why a scan has no results, if the disk takes it."""
    log = failure_log(output_dir, scan)
    text = "\n".join([problem, "", details])
    try:
        write_atomically(log, text.encode(errors="backslashreplace"))
    except OutputError:
        return ScanFailure(scan, problem)
    return ScanFailure(scan, problem, log)


def failure_log(output_dir: Path, scan: str) -> Path:
    """Where the cause of a scan's failure is written."""
    return output_dir / "logs" / f"{scan}_error.txt"


def _run_scans(
    pairs: list[DixonPair], bundle: ModelBundle, options: RunOptions, on_status: StatusCallback
) -> dict[str, ScanFailure]:
    """Run the graph; scans whose worker was killed get a second turn, one at a time."""
    for pair in pairs:
        on_status(pair.scan, "", "queued")
    crashes = _run_once(pairs, bundle, options, on_status, at_once=None)
    killed = [pair for pair in pairs if was_killed(crashes.get(pair.scan, ""))]
    if killed and len(pairs) > 1 and not options.stop_on_first_crash:
        for pair in killed:
            crashes.pop(pair.scan)
        crashes |= _run_once(killed, bundle, options, on_status, at_once=1)
    return {
        scan: write_failure(options.output_dir, scan, explain_crash(text), text)
        for scan, text in crashes.items()
    }


def _run_once(
    pairs: list[DixonPair],
    bundle: ModelBundle,
    options: RunOptions,
    on_status: StatusCallback,
    at_once: int | None,
) -> dict[str, str]:
    """Run these scans in a work folder of their own; the text of each failure by scan."""
    work_dir, crashes = None, None
    try:
        with hold_signals():
            work_dir = make_work_dir(
                options, min(choose_threads(options, len(pairs))[0], len(pairs))
            )
        crashes = _run_in(work_dir, pairs, bundle, options, on_status, at_once)
        return crashes
    finally:
        if work_dir is not None and (crashes == {} or options.work_dir is None):
            with hold_signals():
                shutil.rmtree(work_dir, ignore_errors=True)


def _run_in(
    work_dir: Path,
    pairs: list[DixonPair],
    bundle: ModelBundle,
    options: RunOptions,
    on_status: StatusCallback,
    at_once: int | None,
) -> dict[str, str]:
    """Run these scans in this folder; the text of each failure by scan."""
    nprocs, threads = choose_threads(options, len(pairs))
    scans = {node: scan for scan, node in scan_node_names(pairs).items()}
    try:
        prepare_environment(work_dir, options.verbose, threads)
        workflow = build_workflow(pairs, bundle, options, work_dir, threads)
        if options.write_graph:
            write_graph(workflow, options.output_dir / "logs")
        found, ended_by = run_workflow(
            workflow,
            options,
            nprocs if at_once is None else max(at_once, threads),
            _explain_failures(work_dir, scans, on_status),
        )
    except KeyboardInterrupt:
        with hold_signals():
            _clear_unfinished(pairs, options)
        raise
    except OSError as error:
        found, ended_by = {}, _describe_end(error, work_dir)
    crashes = {scans[node]: text for node, text in found.items()}
    if ended_by:
        crashes |= dict.fromkeys(_list_unfinished(pairs, crashes, bundle, options), ended_by)
    return crashes | find_lost_scans(pairs, crashes, options)


def _explain_failures(
    work_dir: Path, scans: Mapping[str, str], on_status: StatusCallback
) -> StatusCallback:
    """Name scans in place of their nodes, and say why one failed as soon as it is known.

    nipype writes the crash file after it has told of the failure. A scan whose worker was killed
    may get a second turn, so nothing is said of it.
    """
    failed: set[str] = set()

    def tell(node: str, step: str, status: str) -> None:
        crashes = read_crashes(work_dir) if failed else {}
        for each in sorted(failed & crashes.keys()):
            failed.remove(each)
            if not was_killed(crashes[each]):
                on_status(scans[each], explain_crash(crashes[each]), "explained")
        on_status(scans[node], step, status)
        if status == "exception":
            failed.add(node)

    return tell


def _tell_pages(desk: PageDesk, on_status: StatusCallback) -> StatusCallback:
    """Let pages be written when scans end, and everybody else know afterwards."""

    def tell(scan: str, step: str, status: str) -> None:
        if (step, status) == (STEPS[-1], "end"):
            desk.end(scan)
        elif status == "explained":
            desk.end(scan, step)
        on_status(scan, step, status)

    return tell


def _list_unfinished(
    pairs: list[DixonPair], crashes: dict[str, str], bundle: ModelBundle, options: RunOptions
) -> list[str]:
    """Find scans that neither failed nor have the results that this run makes."""
    now = replace(options, overwrite=False)
    return [
        pair.scan
        for pair in pairs
        if pair.scan not in crashes and _find_state(pair, bundle, now) != "current"
    ]


def _clear_unfinished(pairs: list[DixonPair], options: RunOptions) -> None:
    """Remove the half-written files of workers that were ended."""
    for pair in pairs:
        paths = scan_paths(options.output_dir, pair)
        for folder in (paths.mfi_json.parent, paths.figures):
            remove_stale_partials(folder)


def find_lost_scans(
    pairs: list[DixonPair], crashes: dict[str, str], options: RunOptions
) -> dict[str, str]:
    """Find scans of which a queue's jobs left neither results nor a crash file."""
    if options.use_plugin is None or options.stop_on_first_crash:
        return {}
    return {
        pair.scan: LOST
        for pair in pairs
        if pair.scan not in crashes and not scan_paths(options.output_dir, pair).mfi_json.exists()
    }


def make_work_dir(options: RunOptions, at_once: int) -> Path:
    """Make a new folder for the intermediate files of one run.

    Without ``-w`` it is in the system's temporary folder. Where that has no room for the scans at
    work, or other machines must see it, it is a hidden folder in OUTPUT_DIR.

    Raises
    ------
    OutputError
        It cannot be made.
    """
    parent = options.work_dir
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        elif _is_shared(options) or _has_more_room(options.output_dir, at_once):
            return make_partial_folder(options.output_dir, "work")
        else:
            return make_partial_folder(Path(tempfile.gettempdir()), TEMPORARY_FOLDER)
        return Path(tempfile.mkdtemp(prefix="bids_mfi-", dir=parent))
    except OSError as error:
        raise OutputError(
            f"{parent or tempfile.gettempdir()}: no work folder can be made there "
            f"({error.strerror}). Name another by --work-dir."
        ) from error


def _is_shared(options: RunOptions) -> bool:
    """Whether the nodes of a cluster work in the work folder."""
    plugin, _ = choose_plugin(options, nprocs=1)
    return plugin not in OWN_MACHINE_PLUGINS


def _has_more_room(output_dir: Path, at_once: int) -> bool:
    """Whether the temporary folder is too small for the scans at work, and OUTPUT_DIR larger."""
    temporary = shutil.disk_usage(tempfile.gettempdir()).free
    wanted = at_once * ROOM_PER_SCAN_BYTES
    return temporary < wanted and temporary < shutil.disk_usage(output_dir).free


def write_graph(workflow: Any, logs: Path) -> None:
    """Write the graph of the steps as Graphviz text, ``logs/graph.dot``.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    path = logs / "graph.dot"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        workflow.write_hierarchical_dotfile(dotfilename=str(path), colored=True, simple_form=True)
    except OSError as error:
        raise explain_os_error(path, error) from error


def _summarise(
    scans: list[DixonPair | UnusableScan],
    states: dict[str, str],
    failures: dict[str, ScanFailure],
    bundle: ModelBundle,
    options: RunOptions,
) -> RunSummary:
    """Sort the scans by outcome, as it is on the disk; remove error files of the past."""
    now = replace(options, overwrite=False)
    outcome: dict[str, ScanFailure | str] = {}
    for scan in scans:
        if scan.scan in failures:
            outcome[scan.scan] = failures[scan.scan]
        elif states[scan.scan] == "current" and _has_marker(scan, options):
            outcome[scan.scan] = "skipped"
        elif isinstance(scan, DixonPair) and _find_state(scan, bundle, now) == "current":
            outcome[scan.scan] = "done"
        else:
            problem = _explain_absence(scan, failures, bundle, now)
            outcome[scan.scan] = ScanFailure(scan.scan, problem)
    failed = tuple(found for found in outcome.values() if isinstance(found, ScanFailure))
    remove_old_failures(scans, {failure.scan for failure in failed}, options)
    done, skipped = (
        tuple(scan for scan, found in outcome.items() if found == word)
        for word in ("done", "skipped")
    )
    return RunSummary(done, failed, skipped)


def _has_marker(scan: DixonPair | UnusableScan, options: RunOptions) -> bool:
    """Whether results that were there when the run began still are."""
    return isinstance(scan, DixonPair) and scan_paths(options.output_dir, scan).mfi_json.exists()


def _explain_absence(
    scan: DixonPair | UnusableScan,
    failures: Mapping[str, ScanFailure],
    bundle: ModelBundle,
    options: RunOptions,
) -> str:
    """Say why a scan that did not fail has none of the results that this run makes."""
    if failures and options.stop_on_first_crash:
        return "Not run: the run stopped at an earlier failure. Run it again."
    found = _find_state(scan, bundle, options) if isinstance(scan, DixonPair) else "missing"
    if found == "missing":
        return (
            f"Its results were removed from {options.output_dir} while the run went on, by another "
            "program or person. Leave OUTPUT_DIR alone during a run, and run it again."
        )
    return f"Its results were replaced or changed while the run went on, by another run? {found}"


def remove_old_failures(
    scans: list[DixonPair | UnusableScan], failed: set[str], options: RunOptions
) -> None:
    """Remove error files of scans that have results now.

    Of a participant without failures all go, unless only some sessions were selected: a scan may
    have had another name when it failed.
    """
    logs = options.output_dir / "logs"
    unclear = {scan.participant for scan in scans if scan.scan in failed}
    for scan in scans:
        if scan.scan not in failed:
            _unlink_quietly(failure_log(options.output_dir, scan.scan))
        if scan.participant not in unclear and not options.session_label:
            for pattern in (
                f"sub-{scan.participant}_error.txt",
                f"sub-{scan.participant}_*_error.txt",
            ):
                for log in logs.glob(pattern):
                    _unlink_quietly(log)


def _unlink_quietly(path: Path) -> None:
    """Remove a file; on a disk that takes no change it stays."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def write_run_record(options: RunOptions, summary: RunSummary, bundle: ModelBundle) -> None:
    """Write every option, version and outcome of this run to ``logs/``."""
    weights = {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256}
    outcome = {
        "bundle": weights | {"mirrored": bundle.mirrored},
        "done": list(summary.done),
        "skipped": list(summary.skipped),
        "failed": {failure.scan: failure.problem for failure in summary.failed},
        "notes": list(summary.notes),
    }
    write_run_log(options.output_dir, options, RECORDED_PACKAGES, outcome)
