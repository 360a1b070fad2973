"""Scans without results: the explanation and its file under ``logs/``."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bids_mfi.errors import OutputError
from bids_mfi.participant.plan import RunPlan
from bids_mfi.storage import write_atomically


@dataclass(frozen=True, slots=True)
class ScanFailure:
    """A scan without results, with an explanation and the optional file with the details."""

    scan: str
    problem: str
    log: Path | None = None


def refuse_scans(plan: RunPlan) -> dict[str, ScanFailure]:
    """Write the failures of scans that are not run at all."""
    return {
        scan: write_failure(plan.options.output_dir, scan, problem)
        for scan, problem in sorted(plan.problems.items())
    }


def write_failure(output_dir: Path, scan: str, problem: str, details: str = "") -> ScanFailure:
    """Write a file under ``logs/`` that explains why a scan has no results, if possible."""
    log = failure_log(output_dir, scan)
    text = "\n".join([problem, "", details])
    try:
        write_atomically(log, text.encode(errors="backslashreplace"))
    except OutputError:
        return ScanFailure(scan, problem)
    return ScanFailure(scan, problem, log)


def failure_log(output_dir: Path, scan: str) -> Path:
    """Return the path of the file that explains a scan's failure."""
    return output_dir / "logs" / f"{scan}_error.txt"


def remove_old_failures(plan: RunPlan, failed: set[str]) -> None:
    """Remove error files of scans that now have results.

    All error files of a participant without failures are removed, because a scan may have had
    another name when it failed. This does not apply if only some sessions were selected.
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
    """Remove a file; ignore a disk that cannot be changed."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
