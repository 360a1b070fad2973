"""Scans without results: the sentence and the file under ``logs/`` that say why."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bids_mfi.errors import OutputError
from bids_mfi.participant.plan import RunPlan
from bids_mfi.storage import write_atomically


@dataclass(frozen=True, slots=True)
class ScanFailure:
    """A scan without results, the sentence that says why, and the file with the details if any."""

    scan: str
    problem: str
    log: Path | None = None


def refuse_scans(plan: RunPlan) -> dict[str, ScanFailure]:
    """Write the failures of scans that will not be run at all."""
    return {
        scan: write_failure(plan.options.output_dir, scan, problem)
        for scan, problem in sorted(plan.problems.items())
    }


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


def remove_old_failures(plan: RunPlan, failed: set[str]) -> None:
    """Remove error files of scans that have results now.

    Of a participant without failures all go, unless only some sessions were selected: a scan may
    have had another name when it failed.
    """
    scans, output_dir = plan.scans, plan.options.output_dir
    logs = output_dir / "logs"
    unclear = {scan.participant for scan in scans if scan.scan in failed}
    for scan in scans:
        if scan.scan not in failed:
            _unlink_quietly(failure_log(output_dir, scan.scan))
        if scan.participant not in unclear and not plan.options.session_label:
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
