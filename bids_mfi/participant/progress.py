"""Progress of scans through the steps, on a terminal or as plain lines."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from bids_mfi.participant.graph import STEPS, StatusCallback
from bids_mfi.printing import escape_text, unwrap


@contextmanager
def show_progress(stream: TextIO) -> Iterator[StatusCallback]:
    """Yield the callback that takes (scan, step, status) and shows it on ``stream``.

    ``status`` is ``queued``, ``start``, ``end`` or ``exception``. A terminal shows a bar and a line
    for each active scan; any other stream receives one plain line per event.
    """
    if not stream.isatty():
        yield lambda scan, step, status: _print_line(stream, scan, step, status)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=unwrap(stream))) as progress:
        total = progress.add_task("scans", total=0)
        yield _Board(progress, total)


class _Board:
    """Progress display of a terminal: one task for all scans, one for each active scan."""

    def __init__(self, progress: Any, total: Any) -> None:
        self.progress, self.total = progress, total
        self.queued = 0
        self.rows: dict[str, Any] = {}
        self.finished: set[str] = set()

    def __call__(self, scan: str, step: str, status: str) -> None:
        scan = escape_text(scan)
        if status == "queued":
            self.queued += 1
            self.progress.update(self.total, total=self.queued)
        elif status == "start":
            self._show(scan, step)
        elif status == "exception":
            self._finish(scan)
            self.progress.console.print(f"{scan}: failed at {step}", markup=False, highlight=False)
        elif step == STEPS[-1]:
            self._finish(scan)

    def _show(self, scan: str, step: str) -> None:
        if step == STEPS[0]:  # a scan whose worker was killed starts again
            self.finished.discard(scan)
        if scan in self.finished:
            return
        text = f"  {scan}: {step}"
        if scan in self.rows:
            self.progress.update(self.rows[scan], description=text, advance=1)
        else:
            self.rows[scan] = self.progress.add_task(text, total=len(STEPS))

    def _finish(self, scan: str) -> None:
        """Remove the row and count the scan, at the first of two steps that fail at once."""
        if scan in self.rows:
            self.progress.remove_task(self.rows.pop(scan))
        if scan not in self.finished:
            self.finished.add(scan)
            self.progress.advance(self.total)


def _print_line(stream: TextIO, scan: str, step: str, status: str) -> None:
    lines = {
        ("start", step): f"{scan}: {step}",
        ("exception", step): f"{scan}: failed at {step}",
        ("end", STEPS[-1]): f"{scan}: done",
    }
    line = lines.get((status, step))
    if line is not None:
        with suppress(BrokenPipeError):  # the reader has gone; continue measuring
            print(line, file=stream, flush=True)
