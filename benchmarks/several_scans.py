"""Tables of several scans: two at once against one after the other, and the same bytes."""

import sys
from pathlib import Path

from costs import Cost, time_run
from markdown_tables import judge, make_table
from one_scan import GB_PER_GIB, paper_dataset

RATIO = 1.5
OWN_RUN = ("logs",)  # folders of OUTPUT_DIR that describe the run, not the scans
NPROCS_2, NPROCS_1, EACH, THREADS_2 = (
    "`--nprocs 2`", "`--nprocs 1`", "one command for each", "`--nprocs 2 --omp-nthreads 2`"
)  # fmt: skip


def make_several_table(participants: int) -> str:
    """Time the same scans in different ways, once each, and compare what they wrote."""
    with paper_dataset(participants) as (bids_dir, folder):
        outputs = {name: folder / f"out{n}" for n, name in enumerate((NPROCS_2, NPROCS_1, EACH))}
        costs = {
            NPROCS_2: _run(bids_dir, outputs[NPROCS_2], "--nprocs", "2"),
            NPROCS_1: _run(bids_dir, outputs[NPROCS_1], "--nprocs", "1"),
            EACH: _run_each(bids_dir, outputs[EACH], participants),
        }
        outputs[THREADS_2] = folder / "threads"
        more = ("--nprocs", "2", "--omp-nthreads", "2")
        costs[THREADS_2] = _run(bids_dir, outputs[THREADS_2], *more)
        same = {
            name: describe_differences(outputs[NPROCS_1], path) for name, path in outputs.items()
        }
    hour = {name: 3600 * participants / cost.seconds for name, cost in costs.items()}
    rows = [
        [name, f"{cost.seconds:.1f}", f"{cost.cpu_seconds:.1f}", f"{hour[name]:.0f}",
         f"{hour[NPROCS_2] / hour[name]:.2f}", f"{GB_PER_GIB * cost.peak_gib:.2f}", same[name]]
        for name, cost in costs.items()
    ]  # fmt: skip
    columns = ["run", "seconds", "CPU seconds", "scans an hour", "`--nprocs 2` is x faster",
               "peak memory, GB", f"files compared with {NPROCS_1}"]  # fmt: skip
    verdict = judge(-hour[NPROCS_2] / hour[NPROCS_1], -RATIO)
    return (
        f"{participants} scans, one run each way.\n\n{make_table(columns, rows)}\n\n"
        f"Aim: {NPROCS_2} at least {RATIO} times as many scans an hour as {NPROCS_1}: {verdict}."
    )


def _run(bids_dir: Path, output_dir: Path, *more: str) -> Cost:
    return time_run(bids_dir, output_dir, "participant", *more)


def _run_each(bids_dir: Path, output_dir: Path, participants: int) -> Cost:
    """Start one command after the other, each with all processors."""
    labels = [f"{number:02d}" for number in range(1, participants + 1)]
    costs = [_run(bids_dir, output_dir, "--participant-label", label) for label in labels]
    return Cost(
        sum(cost.seconds for cost in costs),
        sum(cost.cpu_seconds for cost in costs),
        max(cost.peak_gib for cost in costs),
    )


def describe_differences(one: Path, other: Path) -> str:
    """Compare all files of two output folders but those about the run; name those that differ."""
    contents = read_results(one), read_results(other)
    names = sorted(contents[0].keys() | contents[1].keys())
    different = [name for name in names if contents[0].get(name) != contents[1].get(name)]
    for name in different:
        print(f"{other}: {name} differs", file=sys.stderr)
    same = len(names) - len(different)
    return f"{same} of {len(names)} the same, byte for byte"


def read_results(output_dir: Path) -> dict[str, bytes]:
    """Read every file below OUTPUT_DIR except the record of the run."""
    return {
        str(path.relative_to(output_dir)): path.read_bytes()
        for path in output_dir.rglob("*")
        if path.is_file() and path.relative_to(output_dir).parts[0] not in OWN_RUN
    }
