"""Sequence of a participant run: from scans to derivatives, pages and a summary.

A failed scan leaves a file under ``logs/`` and does not stop the other scans.
``docs/decisions/workflow.md`` explains why every run has a new work folder and how a run survives a
killed worker.
"""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bids_mfi.bids.names import scan_paths
from bids_mfi.bids.output_folder import write_dataset_files, write_run_log
from bids_mfi.bids.saved_scans import find_edited_copies
from bids_mfi.bids.scan_results import find_markers
from bids_mfi.discovery import UnusableScan
from bids_mfi.errors import OutputError
from bids_mfi.measure.pair import DixonPair
from bids_mfi.options import RunOptions
from bids_mfi.participant.crashes import LOST, describe_end, explain_crash, read_crashes, was_killed
from bids_mfi.participant.failures import (
    ScanFailure,
    refuse_scans,
    remove_old_failures,
    write_failure,
)
from bids_mfi.participant.graph import (
    STEPS,
    StatusCallback,
    build_workflow,
    prepare_environment,
    run_workflow,
    scan_node_names,
    write_graph,
)
from bids_mfi.participant.pages import PageDesk
from bids_mfi.participant.plan import RunPlan, plan_run
from bids_mfi.participant.plugins import choose_threads
from bids_mfi.participant.work_folder import make_work_dir
from bids_mfi.signals import hold_signals
from bids_mfi.storage import TEMPORARY_FOLDER, remove_folders_of_the_dead, remove_stale_partials

RECORDED_PACKAGES = ("torch", "openvino", "numpy", "scipy", "nibabel", "nipype", "pybids")
STOPPED = "Not run: the run stopped at an earlier failure. Run it again."


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Outcome of a run.

    Attributes
    ----------
    done, skipped : tuple of str
        Names of scans done in this run and before it, respectively.
    failed : tuple of ScanFailure
    pages : tuple of Path
        Report pages written.
    passed_over : tuple of str
        Participants without a Dixon image.
    notes : tuple of str
        Further information for the user: copies of edited label maps, ignored files.
    unwritten : tuple of str
        Reasons why the record of the run or a page could not be written.
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
        """0 if every scan has results, otherwise 1; for write failures, that of OutputError."""
        if self.unwritten:
            return OutputError.exit_code
        return 1 if self.failed else 0


def run_participants(options: RunOptions, on_status: StatusCallback) -> RunSummary:
    """Run the participant level: from a dataset to derivatives and report pages.

    Raises
    ------
    MFIError
        The run cannot start because of the dataset, the bundle, the output folder or an option.
    """
    plan = plan_run(options)
    remove_folders_of_the_dead(Path(tempfile.gettempdir()), TEMPORARY_FOLDER)
    if set(plan.states.values()) & {"missing", "current"} or not plan.pairs:
        _write_dataset_files(plan)
    copies = _list_edited_copies(plan)
    failures = refuse_scans(plan)
    desk = PageDesk(plan)
    if plan.waiting and not (failures and options.stop_on_first_crash):
        desk.write_missing()
        failures |= _run_scans(plan, _tell_pages(desk, on_status))
    summary = replace(
        _summarise(plan, failures),
        passed_over=plan.passed_over,
        notes=(*_describe_copies(copies, _list_edited_copies(plan)), *_describe_strays(plan)),
    )
    return _write_account(plan, summary, desk)


def _write_dataset_files(plan: RunPlan) -> None:
    """Write the files of the whole dataset; on failure, report the scans already done."""
    options, bundle = plan.options, plan.bundle
    try:
        write_dataset_files(
            options.output_dir, options.bids_dir, bundle.table, plan.facts, bundle.vertebrae
        )
    except OutputError as error:
        done = sorted(scan for scan, state in plan.states.items() if state == "current")
        if not done:
            raise
        raise OutputError(f"{error} Scans done before: {', '.join(done)}.") from error


def _write_account(plan: RunPlan, summary: RunSummary, desk: PageDesk) -> RunSummary:
    """Write the record and the pages of a run; a failed file does not stop the others."""
    problems = {failure.scan: failure.problem for failure in summary.failed}
    unwritten: list[str] = []
    try:
        write_run_record(plan, summary)
    except OutputError as error:
        unwritten.append(str(error))
    pages, missing = desk.write_rest(problems)
    return replace(summary, pages=pages, unwritten=(*unwritten, *missing))


def _list_edited_copies(plan: RunPlan) -> list[Path]:
    output_dir = plan.options.output_dir
    return [
        path
        for pair in plan.pairs
        for path in find_edited_copies(output_dir, scan_paths(output_dir, pair))
    ]


def _describe_copies(before: list[Path], now: list[Path]) -> list[str]:
    """Report label maps that were replaced although they had been edited."""
    return [
        f"{path}: a copy of the label map that was replaced; it was edited or damaged, or left by "
        "a killed run."
        for path in now
        if path not in before
    ]


def _describe_strays(plan: RunPlan) -> list[str]:
    """Report files that look like sidecars of results but are not."""
    return [
        f"{path}: ignored, because no scan's results have this name. It may be a copy; remove it."
        for participant in sorted({scan.participant for scan in plan.scans})
        for path in find_markers(plan.options.output_dir, participant)[1]
    ]


@dataclass(frozen=True, slots=True)
class Turn:
    """Scans that run together, their shared processors and the threads per segmentation."""

    pairs: tuple[DixonPair, ...]
    nprocs: int
    threads: int


def _make_turn(plan: RunPlan, pairs: tuple[DixonPair, ...], one_by_one: bool = False) -> Turn:
    nprocs, threads = choose_threads(plan.options, len(pairs))
    return Turn(pairs, threads if one_by_one else nprocs, threads)


def _run_scans(plan: RunPlan, on_status: StatusCallback) -> dict[str, ScanFailure]:
    """Run the graph; rerun scans whose worker was killed, one at a time."""
    for pair in plan.waiting:
        on_status(pair.scan, "", "queued")
    crashes = _run_once(plan, _make_turn(plan, plan.waiting), on_status)
    killed = tuple(pair for pair in plan.waiting if was_killed(crashes.get(pair.scan, "")))
    if killed and len(plan.waiting) > 1 and not plan.options.stop_on_first_crash:
        for pair in killed:
            crashes.pop(pair.scan)
        crashes |= _run_once(plan, _make_turn(plan, killed, one_by_one=True), on_status)
    return {
        scan: write_failure(plan.options.output_dir, scan, explain_crash(text), text)
        for scan, text in crashes.items()
    }


def _run_once(plan: RunPlan, turn: Turn, on_status: StatusCallback) -> dict[str, str]:
    """Run the given scans in a new work folder; return the text of each failure by scan."""
    work_dir, crashes = None, None
    try:
        with hold_signals():
            at_once = min(turn.nprocs, len(turn.pairs))
            work_dir = make_work_dir(plan.options, plan.plugin, at_once)
        crashes = _run_in(work_dir, plan, turn, on_status)
        return crashes
    finally:
        if work_dir is not None and (crashes == {} or plan.options.work_dir is None):
            with hold_signals():
                shutil.rmtree(work_dir, ignore_errors=True)


def _run_in(work_dir: Path, plan: RunPlan, turn: Turn, on_status: StatusCallback) -> dict[str, str]:
    """Run the given scans in the given folder; return the text of each failure by scan."""
    scans = {node: scan for scan, node in scan_node_names(turn.pairs).items()}
    try:
        prepare_environment(work_dir, plan.options.verbose, turn.threads)
        workflow = build_workflow(plan, turn.pairs, work_dir, turn.threads)
        if plan.options.write_graph:
            write_graph(workflow, plan.options.output_dir / "logs")
        tell = _explain_failures(work_dir, scans, on_status)
        found, ended_by = run_workflow(workflow, plan.plugin, turn.nprocs, tell)
    except KeyboardInterrupt:
        with hold_signals():
            _clear_unfinished(turn.pairs, plan.options)
        raise
    except OSError as error:
        found, ended_by = {}, describe_end(error, work_dir)
    crashes = {scans[node]: text for node, text in found.items()}
    if ended_by:
        crashes |= dict.fromkeys(_list_unfinished(plan, turn.pairs, crashes), ended_by)
    return crashes | find_lost_scans(plan, turn.pairs, crashes)


def _explain_failures(
    work_dir: Path, scans: Mapping[str, str], on_status: StatusCallback
) -> StatusCallback:
    """Report scan names instead of node names, and explain a failure when its cause is known.

    nipype writes the crash file after it has reported the failure. A scan whose worker was killed
    may run again, so its failure is not explained here.
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
    """Write pages when scans end, then pass the status on."""

    def tell(scan: str, step: str, status: str) -> None:
        if (step, status) == (STEPS[-1], "end"):
            desk.end(scan)
        elif status == "explained":
            desk.end(scan, step)
        on_status(scan, step, status)

    return tell


def _list_unfinished(
    plan: RunPlan, pairs: Iterable[DixonPair], crashes: Mapping[str, str]
) -> list[str]:
    """List scans that neither failed nor have the results of this run."""
    return [
        pair.scan
        for pair in pairs
        if pair.scan not in crashes and plan.find_state(pair) != "current"
    ]


def _clear_unfinished(pairs: Iterable[DixonPair], options: RunOptions) -> None:
    """Remove incomplete files of terminated workers."""
    for pair in pairs:
        paths = scan_paths(options.output_dir, pair)
        for folder in (paths.mfi_json.parent, paths.figures):
            remove_stale_partials(folder)


def find_lost_scans(
    plan: RunPlan, pairs: Iterable[DixonPair], crashes: Mapping[str, str]
) -> dict[str, str]:
    """Find scans whose queue jobs left neither results nor a crash file."""
    if not plan.plugin.from_file or plan.options.stop_on_first_crash:
        return {}
    return {
        pair.scan: LOST
        for pair in pairs
        if pair.scan not in crashes and not _has_marker(plan, pair)
    }


def _summarise(plan: RunPlan, failures: Mapping[str, ScanFailure]) -> RunSummary:
    """Sort the scans by their outcome on disk; remove old error files."""
    outcome = {scan.scan: _find_outcome(plan, scan, failures) for scan in plan.scans}
    failed = tuple(found for found in outcome.values() if isinstance(found, ScanFailure))
    remove_old_failures(plan, {failure.scan for failure in failed})
    done, skipped = (
        tuple(scan for scan, found in outcome.items() if found == word)
        for word in ("done", "skipped")
    )
    return RunSummary(done, failed, skipped)


def _find_outcome(
    plan: RunPlan, scan: DixonPair | UnusableScan, failures: Mapping[str, ScanFailure]
) -> ScanFailure | str:
    """Return ``done``, ``skipped``, or why the scan lacks the results of this run."""
    if scan.scan in failures or isinstance(scan, UnusableScan):
        return failures[scan.scan]
    if plan.states[scan.scan] == "current" and _has_marker(plan, scan):
        return "skipped"
    state = plan.find_state(scan)
    if state == "current":
        return "done"
    stopped = failures and plan.options.stop_on_first_crash
    return ScanFailure(scan.scan, STOPPED if stopped else _explain_absence(state, plan.options))


def _has_marker(plan: RunPlan, pair: DixonPair) -> bool:
    """Check whether OUTPUT_DIR contains results of a scan."""
    return scan_paths(plan.options.output_dir, pair).mfi_json.exists()


def _explain_absence(state: str, options: RunOptions) -> str:
    """Explain why a scan that did not fail lacks the results of this run."""
    if state == "missing":
        return (
            f"Its results were removed from {options.output_dir} during the run, by another "
            "program or person. Do not change OUTPUT_DIR during a run, and run it again."
        )
    return f"Its results were replaced or changed during the run, perhaps by another run. {state}"


def write_run_record(plan: RunPlan, summary: RunSummary) -> None:
    """Write every option, version and outcome of this run to ``logs/``."""
    bundle = plan.bundle
    weights = {"name": bundle.name, "version": bundle.version, "sha256": bundle.sha256}
    outcome = {
        "bundle": weights | {"mirrored": bundle.mirrored},
        "done": list(summary.done),
        "skipped": list(summary.skipped),
        "failed": {failure.scan: failure.problem for failure in summary.failed},
        "notes": list(summary.notes),
    }
    write_run_log(plan.options.output_dir, plan.options, RECORDED_PACKAGES, outcome)
