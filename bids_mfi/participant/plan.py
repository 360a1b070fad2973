"""What a participant run does, decided before anything is computed; writes nothing.

``docs/decisions/workflow.md`` gives the reasons.
"""

from dataclasses import dataclass
from pathlib import Path

from bids_mfi.bids.names import scan_paths
from bids_mfi.bids.output_folder import check_output_dir, check_own_labels
from bids_mfi.bids.saved_scans import explain_altered, scan_state
from bids_mfi.bids.scan_files import ScanRecord, fingerprint_record
from bids_mfi.discovery import UnusableScan, find_scans, list_participants_without_scans
from bids_mfi.errors import MFIError, OutputError
from bids_mfi.measure.pair import DixonPair
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.devices import choose_device
from bids_mfi.options import RunOptions
from bids_mfi.participant.pages import bundle_facts
from bids_mfi.participant.plugins import check_plugin
from bids_mfi.storage import check_writable

DEFAULT_BUNDLE = Path(__file__).parents[1] / "data" / "bundle"


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
        """1 if a scan cannot be measured, as for the run."""
        return MFIError.exit_code if self.problems else 0


def describe_scan(pair: DixonPair, bundle: ModelBundle, options: RunOptions) -> ScanRecord:
    """Describe where a scan's results will come from; its fingerprint is made when work begins."""
    facts = bundle_facts(bundle)
    return ScanRecord(pair, options.bids_dir, facts, options.fat_water, fingerprint="")


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
    states = {pair.scan: find_state(pair, bundle, options) for pair in pairs}
    if options.dry_run or "current" not in states.values():  # else the run says what is done
        _check_folders(options)
    check_own_labels(options.output_dir, bundle.table)
    return RunPlan(bundle, scans, states, tuple(list_participants_without_scans(options, scans)))


def _check_folders(options: RunOptions) -> None:
    """Refuse OUTPUT_DIR or a folder of ``--work-dir`` that cannot be written."""
    check_writable(options.output_dir)
    try:
        check_writable(options.work_dir or options.output_dir)
    except OutputError as error:
        raise OutputError(f"--work-dir {error}") from None


def find_state(pair: DixonPair, bundle: ModelBundle, options: RunOptions) -> str:
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
        "different": "results of another version, bundle, option or input exist.",
        "unsealed": "its sidecar has no checksum: an earlier version wrote it, or it was edited.",
    }
    if state not in reasons:
        return state
    return (
        f"{paths.mfi_tsv}: {reasons[state]} Give --overwrite to replace them, or choose another "
        "OUTPUT_DIR."
    )
