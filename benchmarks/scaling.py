"""Tables of scaling: discovery by the number of participants, the group level by that of sessions.

``python benchmarks/scaling.py [--participants N ...] [--sessions N ...] [--repeats N]
[--folder DIR] [--before DIR]`` prints one table of the given sizes; ``make bench`` uses small sizes
and extrapolates. A dataset has four tiny images a participant, each with a sidecar. On it run a dry
run, and the dry run of one participant as a job of a Slurm array starts. ``--before`` names a
checkout of another version; both then run in turn on the same files, and what they print is
compared.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from costs import Cost, call_apart, describe, median, time_run
from datasets import write_many_participants, write_study
from markdown_tables import judge, make_table

PARTICIPANTS = (10, 100, 1000, 5000)
SESSIONS = (2000, 20000)
REPEATS = 3
COLUMNS = ("run", "number", "version", "seconds, median (range)", "CPU seconds",
           "CPU time each, ms", "peak memory, MiB")  # fmt: skip
DRY_RUN, ONE, GROUP = "dry run", "dry run of one participant", "group level"
MIB_PER_GIB = 1024
MOST_FOR_ONE = 10_000  # participants, for the dry run of one of them
SMALL = {DRY_RUN: (500, 2000), GROUP: (500, 4000)}  # two sizes, from which a line is drawn
LARGE = {DRY_RUN: (5000, 100_000), GROUP: (20_000, 100_000)}
AIMS_S = {(DRY_RUN, 5000): 10, (DRY_RUN, 100_000): 300, (GROUP, 20_000): 30, (GROUP, 100_000): 180}


@dataclass(frozen=True)
class Row:
    """Costs of the runs of one version on one input, participants or sessions by number."""

    what: str
    count: int
    version: str
    costs: tuple[Cost, ...]

    def cells(self) -> list[str]:
        """Write the row of the table."""
        cpu_s, peak_gib = (median(self.costs, name) for name in ("cpu_seconds", "peak_gib"))
        return [
            self.what, f"{self.count:,}", self.version, describe(self.costs, digits=1),
            f"{cpu_s:.1f}", f"{1000 * cpu_s / self.count:.2f}", f"{MIB_PER_GIB * peak_gib:.0f}",
        ]  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What is compared, and how often.

    Attributes
    ----------
    versions : dict of str to Path or None
        Checkouts by the name that the table shows; None for this one.
    repeats : int
    folder : Path or None
        Where datasets are put for the while.
    """

    versions: dict[str, Path | None]
    repeats: int
    folder: Path | None = None

    def run(self, what: str, count: int, bids_dir: Path, output: Path, *more: str) -> list[Row]:
        """Run every version in turn."""
        costs: dict[str, list[Cost]] = {version: [] for version in self.versions}
        printed: set[bytes] = set()
        for _ in range(self.repeats):
            for version, checkout in self.versions.items():
                costs[version].append(time_run(bids_dir, output, *more, checkout=checkout))
                printed.add(output.with_suffix(".log").read_bytes())
        if len(printed) > 1:
            print(f"{what}, {count:,}: the runs did not print the same", file=sys.stderr)
        return [Row(what, count, version, tuple(own)) for version, own in costs.items()]

    def search(self, participants: int, one: bool = True) -> list[Row]:
        """Dry run of a dataset, and of one participant in it."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            bids_dir, output_dir = Path(folder) / "bids", Path(folder) / "out"
            call_apart(write_many_participants, bids_dir, participants)
            place = participants, bids_dir, output_dir, "participant", "--dry-run"
            rows = self.run(DRY_RUN, *place)
            label = f"{participants // 2:06d}"
            return rows + (self.run(ONE, *place, "--participant-label", label) if one else [])

    def group(self, sessions: int) -> list[Row]:
        """Group level of a study."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            bids_dir, output_dir = call_apart(write_study, Path(folder), sessions)
            rows = self.run(GROUP, sessions, bids_dir, output_dir, "group")
            page_mib = (output_dir / "group.html").stat().st_size / 2**20
            print(f"group.html of {sessions:,} sessions: {page_mib:.1f} MiB", file=sys.stderr)
            return rows


def make_scaling_table(full: bool) -> str:
    """Measure the sizes of the aims, or two small ones from which a line leads to them."""
    bench = Bench({"this": None}, repeats=1)
    sizes = LARGE if full else SMALL
    rows = [row for count in sizes[DRY_RUN] for row in bench.search(count, count < MOST_FOR_ONE)]
    rows += [row for count in sizes[GROUP] for row in bench.group(count)]
    cells = [[*_without_version(row.cells()), _aim(row.what, row.count, row.costs[0].seconds)]
             for row in rows]  # fmt: skip
    if not full:
        for what, counts in LARGE.items():
            small, large = (row for row in rows if row.what == what)
            cells += [_extrapolate(small, large, count) for count in counts]
    return make_table([*_without_version(COLUMNS), "aim"], cells)


def _extrapolate(small: Row, large: Row, count: int) -> list[str]:
    """Continue the line through two sizes."""
    share = (count - small.count) / (large.count - small.count)
    seconds, cpu_s, gib = (
        one + share * (getattr(large.costs[0], name) - one)
        for name in ("seconds", "cpu_seconds", "peak_gib")
        for one in [getattr(small.costs[0], name)]
    )
    return [
        f"{small.what}, **extrapolated**", f"{count:,}", f"{seconds:.0f}", f"{cpu_s:.0f}",
        f"{1000 * cpu_s / count:.2f}", f"{MIB_PER_GIB * gib:.0f}",
        _aim(small.what, count, seconds),
    ]  # fmt: skip


def _aim(what: str, count: int, seconds: float) -> str:
    aim_s = AIMS_S.get((what, count))
    return f"{aim_s} s: {judge(seconds, aim_s)}" if aim_s else ""


def _without_version(cells: Sequence[str]) -> list[str]:
    return [*cells[:2], *cells[3:]]


def main() -> None:
    """Measure all sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--participants", type=int, nargs="*", default=PARTICIPANTS)
    parser.add_argument("--sessions", type=int, nargs="*", default=SESSIONS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--folder", type=Path, help="where datasets are put for the while")
    parser.add_argument("--before", type=Path, help="checkout of another version")
    arguments = parser.parse_args()
    versions = {"before": arguments.before} if arguments.before else {}
    bench = Bench({**versions, "this": None}, arguments.repeats, arguments.folder)
    rows = [row for count in arguments.participants for row in bench.search(count)]
    rows += [row for count in arguments.sessions for row in bench.group(count)]
    print(make_table(COLUMNS, [row.cells() for row in rows]))


if __name__ == "__main__":
    main()
