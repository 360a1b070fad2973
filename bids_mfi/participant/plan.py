"""Plan of a participant run, made before any computation; writes nothing.

``docs/decisions/workflow.md`` gives the reasons.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bids_mfi.bids.names import scan_paths
from bids_mfi.bids.output_folder import BundleFacts, check_output_dir, check_own_labels
from bids_mfi.bids.saved_scans import explain_altered, scan_state
from bids_mfi.bids.scan_files import ScanRecord, identify_scan
from bids_mfi.discovery import UnusableScan, find_scans, list_participants_without_scans
from bids_mfi.errors import MFIError, OutputError
from bids_mfi.measure.pair import DixonPair
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.engines import EngineChoice, settle_engine
from bids_mfi.options import RunOptions
from bids_mfi.participant.plugins import Plugin, choose_plugin, fit_plugin
from bids_mfi.storage import check_writable

DEFAULT_BUNDLE = Path(__file__).parents[1] / "data" / "bundle"


@dataclass(frozen=True, slots=True)
class RunPlan:
    """All inputs of a run, determined once.

    Attributes
    ----------
    options : RunOptions
    bundle : ModelBundle
        Each segmenting process verifies its weights again.
    facts : BundleFacts
        Description of the bundle in the outputs.
    plugin : Plugin
    scans : tuple of DixonPair or UnusableScan
    states : mapping of str to str
        State of each pair's results by scan name: ``missing``, ``current``, or an explanation of
        why existing results remain.
    passed_over : tuple of str
        Participants without a Dixon image.
    """

    options: RunOptions
    bundle: ModelBundle
    facts: BundleFacts
    plugin: Plugin
    scans: tuple[DixonPair | UnusableScan, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()

    @property
    def pairs(self) -> tuple[DixonPair, ...]:
        """Scans that can be measured."""
        return tuple(scan for scan in self.scans if isinstance(scan, DixonPair))

    @property
    def waiting(self) -> tuple[DixonPair, ...]:
        """Scans that this run measures."""
        return tuple(pair for pair in self.pairs if self.states[pair.scan] == "missing")

    @property
    def problems(self) -> dict[str, str]:
        """Explanations for scans that this run does not measure, by scan name."""
        refused = {scan.scan: scan.problem for scan in self.scans if isinstance(scan, UnusableScan)}
        kept = ("missing", "current")
        return refused | {scan: text for scan, text in self.states.items() if text not in kept}

    @property
    def exit_code(self) -> int:
        """1 if a scan cannot be measured, as in a run; otherwise 0."""
        return MFIError.exit_code if self.problems else 0

    def make_record(self, pair: DixonPair) -> ScanRecord:
        """Record the origin of a scan's results; its images are hashed when processing starts."""
        options = self.options
        return ScanRecord(pair, options.bids_dir, self.facts, options.fat_water, fast=options.fast)

    def find_state(self, pair: DixonPair) -> str:
        """Return ``missing``, ``current``, or why the results in OUTPUT_DIR remain."""
        paths = scan_paths(self.options.output_dir, pair)
        if not paths.mfi_json.exists():
            return "missing"
        try:
            state = scan_state(paths, identify_scan(self.make_record(pair)).fingerprint)
            if state == "altered":
                return explain_altered(paths)
        except MFIError as error:
            return str(error)
        reasons = {
            "different": "results with another version, bundle, option or input exist.",
            "unsealed": "the sidecar beside it has no checksum of its own: an earlier version "
            "wrote it, or it was edited.",
        }
        if state not in reasons:
            return state
        return (
            f"{paths.mfi_tsv}: {reasons[state]} Give --overwrite to replace them, or choose "
            "another OUTPUT_DIR."
        )


def plan_run(options: RunOptions) -> RunPlan:
    """Make the plan before anything is written; a dry run ends here.

    Raises
    ------
    MFIError
        The run cannot start because of the dataset, the bundle, the output folder or an option.
    """
    check_output_dir(options.bids_dir, options.output_dir)
    bundle = load_bundle(options.bundle or DEFAULT_BUNDLE)
    if options.fast:
        bundle = replace(bundle, mirrored=False)
    settle_engine(EngineChoice(options.engine, options.device))  # a worker chooses its own
    plan = RunPlan(options, bundle, bundle_facts(bundle), choose_plugin(options))
    scans = find_scans(options)
    plan = replace(
        plan,
        scans=tuple(scans),
        passed_over=tuple(list_participants_without_scans(options, scans)),
    )
    plan = replace(plan, states=_find_states(plan))
    plan = replace(plan, plugin=fit_plugin(plan.plugin, len(plan.waiting)))
    if options.dry_run or "current" not in plan.states.values():  # otherwise the run reports it
        _check_folders(options)
    check_own_labels(options.output_dir, bundle.table)
    return plan


def bundle_facts(bundle: ModelBundle) -> BundleFacts:
    """Reduce a bundle to its description in the outputs."""
    return BundleFacts(
        name=bundle.name,
        version=bundle.version,
        sha256=bundle.sha256,
        description=bundle.description,
        identity=bundle.identity,
        mirrored=bundle.mirrored,
    )


def _find_states(plan: RunPlan) -> dict[str, str]:
    """Find the state of each pair's results; with ``--overwrite``, all count as missing."""
    if plan.options.overwrite:
        return dict.fromkeys((pair.scan for pair in plan.pairs), "missing")
    return {pair.scan: plan.find_state(pair) for pair in plan.pairs}


def _check_folders(options: RunOptions) -> None:
    """Reject an OUTPUT_DIR or ``--work-dir`` folder that cannot be written."""
    check_writable(options.output_dir)
    try:
        check_writable(options.work_dir or options.output_dir)
    except OutputError as error:
        raise OutputError(f"--work-dir {error}") from None
