"""Time and memory of the group level on studies of many sessions.

``python benchmarks/group.py [--repeats N] [--sessions N ...] [--folder DIR] [-- OPTION ...]``

Prints a Markdown table; nothing is asserted. Each study is made in a temporary folder, laid out as
the participant level leaves it: two sessions a participant, fourteen rows a session. ``run.py`` is
then run as often as said, each time on the same folder, so that all but the first run find the
tables in the system's cache. Options behind ``--`` go to ``run.py``.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).parents[1]
SESSIONS = (1000, 5000, 20000)
REPEATS = 3
SEED = 1
KIB_PER_GIB = 1024**2


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes
    ----------
    seconds : float
        Wall time.
    cpu_seconds : float
        User and system time, with those of the children.
    peak_gib : float
        Largest resident set of the process or of one of its children.
    """

    seconds: float
    cpu_seconds: float
    peak_gib: float


@dataclass(frozen=True)
class Measured:
    """What the runs on one study took."""

    sessions: int
    rows: int
    costs: tuple[Cost, ...]

    def median(self, quantity: str) -> float:
        """Median of one attribute of the costs."""
        return statistics.median(getattr(cost, quantity) for cost in self.costs)


def run_once(command: list[str], log: Path) -> Cost:
    """Run a command; its words go to ``log``."""
    started = time.monotonic()
    with log.open("wb") as file:
        actions = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number in (1, 2)]
        process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(process, 0)
    seconds = time.monotonic() - started
    code = os.waitstatus_to_exitcode(status)
    if code:
        sys.exit(f"{' '.join(command)}: exit status {code}\n{log.read_text()[-2000:]}")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Cost(seconds, cpu_seconds, usage.ru_maxrss / KIB_PER_GIB)


def count_rows(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file) - 1


def write_study(root: Path, sessions: int) -> tuple[Path, Path]:
    """Make a study and return BIDS_DIR and OUTPUT_DIR."""
    sys.path.insert(0, str(ROOT / "tests"))
    from group_folder import make_large_folder

    return make_large_folder(root, sessions, SEED)


def write_study_apart(root: Path, sessions: int) -> tuple[Path, Path]:
    """Make a study in another process.

    Linux counts the memory of the process that starts a command to that of the command, so this
    one must stay small.
    """
    started = time.monotonic()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        folders = pool.submit(write_study, root, sessions).result()
    print(f"{sessions} sessions written in {time.monotonic() - started:.1f} s", file=sys.stderr)
    return folders


def measure_study(root: Path, sessions: int, repeats: int, more: list[str]) -> Measured:
    """Make a study and run the group level on it."""
    bids_dir, output_dir = write_study_apart(root, sessions)
    command = [sys.executable, str(ROOT / "run.py"), str(bids_dir), str(output_dir), "group", *more]
    costs = tuple(run_once(command, root / "log.txt") for _ in range(repeats))
    return Measured(sessions, count_rows(output_dir / "group_mfi.tsv"), costs)


def format_table(studies: list[Measured]) -> str:
    """Medians with their range, and how often those of the first study they are."""
    lines = [
        "| sessions | rows | seconds, median (range) | x first | CPU seconds | peak memory, GiB "
        "| x first |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for study in studies:
        seconds = [cost.seconds for cost in study.costs]
        of_first = {
            name: study.median(name) / studies[0].median(name) for name in ("seconds", "peak_gib")
        }
        lines.append(
            f"| {study.sessions:,} | {study.rows:,} | {study.median('seconds'):.1f} "
            f"({min(seconds):.1f}-{max(seconds):.1f}) | {of_first['seconds']:.1f} | "
            f"{study.median('cpu_seconds'):.1f} | {study.median('peak_gib'):.2f} | "
            f"{of_first['peak_gib']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure studies of several sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--sessions", type=int, nargs="+", default=SESSIONS)
    parser.add_argument("--folder", type=Path, help="where the studies are put for the while")
    parser.add_argument("options", nargs="*", help="options of run.py, behind --")
    arguments = parser.parse_args()
    studies = []
    for sessions in arguments.sessions:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            studies.append(
                measure_study(Path(folder), sessions, arguments.repeats, arguments.options)
            )
    print(f"{len(os.sched_getaffinity(0))} processors, {arguments.repeats} runs each")
    print(format_table(studies))


if __name__ == "__main__":
    main()
