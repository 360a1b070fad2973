"""The order of a participant run: scans in, derivatives, pages and a summary out.

A scan that fails leaves a file under ``logs/`` and does not stop the others.
``docs/decisions/workflow.md`` says why the work folder is new for every run and how a killed worker
is survived. With the command line the only place that catches errors.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bids_mfi.bids.names import scan_paths
from bids_mfi.bids.output_folder import write_dataset_files, write_run_log
from bids_mfi.bids.saved_scans import find_edited_copies
from bids_mfi.bids.scan_results import find_markers
from bids_mfi.discovery import UnusableScan
from bids_mfi.errors import OutputError
from bids_mfi.measure.pair import DixonPair
from bids_mfi.network.bundle import ModelBundle
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
from bids_mfi.participant.pages import PageDesk, bundle_facts
from bids_mfi.participant.plan import find_state, plan_run
from bids_mfi.participant.plugins import choose_threads
from bids_mfi.participant.work_folder import make_work_dir
from bids_mfi.signals import hold_signals
from bids_mfi.storage import TEMPORARY_FOLDER, remove_folders_of_the_dead, remove_stale_partials

RECORDED_PACKAGES = ("torch", "numpy", "scipy", "nibabel", "nipype", "pybids")


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
        What else a person should know: copies of edited label maps, files that were ignored.
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
    failures = refuse_scans(plan.problems, options)
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
    """Write the record and the pages of a run; what cannot be written does not affect the rest."""
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
    """Name files that look like sidecars of results but are not."""
    return [
        f"{path}: ignored, because no scan's results have this name. It may be a copy; remove it."
        for participant in sorted({scan.participant for scan in scans})
        for path in find_markers(options.output_dir, participant)[1]
    ]


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
        found, ended_by = {}, describe_end(error, work_dir)
    crashes = {scans[node]: text for node, text in found.items()}
    if ended_by:
        crashes |= dict.fromkeys(_list_unfinished(pairs, crashes, bundle, options), ended_by)
    return crashes | find_lost_scans(pairs, crashes, options)


def _explain_failures(
    work_dir: Path, scans: Mapping[str, str], on_status: StatusCallback
) -> StatusCallback:
    """Name scans in place of their nodes, and say why one failed as soon as it is known.

    nipype writes the crash file after it has reported the failure. A scan whose worker was killed
    may get a second turn, so nothing is reported for it.
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
        if pair.scan not in crashes and find_state(pair, bundle, now) != "current"
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
        elif isinstance(scan, DixonPair) and find_state(scan, bundle, now) == "current":
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
    found = find_state(scan, bundle, options) if isinstance(scan, DixonPair) else "missing"
    if found == "missing":
        return (
            f"Its results were removed from {options.output_dir} while the run went on, by another "
            "program or person. Leave OUTPUT_DIR alone during a run, and run it again."
        )
    return (
        "Its results were replaced or changed while the run went on, perhaps by another run. "
        f"{found}"
    )


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
