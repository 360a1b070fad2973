"""Tables of one scan from files to files: its steps in a warm process, and runs from the shell."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from costs import Cost, call_apart, describe, median, product_gflops, time_call, time_run
from datasets import write_niftynet_bundle, write_paper_scans
from markdown_tables import judge, make_table

from bids_mfi.options import RunOptions
from bids_mfi.participant.graph import STEPS
from bids_mfi.participant.plugins import count_cpus
from bids_mfi.participant.workflow import run_participants

WARM_RATIO, WARM_EXTRA_S = 1.4, 2.0
COLD_GFLOP, COLD_EXTRA_S = 900, 4.0
FAST_RATIO = 1.8
NIFTYNET_S = 12.0
PEAK_GB = 1.2
GB_PER_GIB = 1.073741824
REST = "before, between and after"


@dataclass(frozen=True)
class Warm:
    """Warm runs in one process.

    Attributes
    ----------
    runs : list of Cost
    steps : dict of str to list of Cost
        Of each step of nipype's graph, and of what is around them.
    """

    runs: list[Cost]
    steps: dict[str, list[Cost]]


class Watch:
    """Callback of a run that notes when each step starts and ends."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}
        self.started: dict[str, tuple[float, float]] = {}

    def __call__(self, scan: str, step: str, status: str) -> None:
        """Note a change of the status of a step."""
        now = time.perf_counter(), time.process_time()
        if status == "start":
            self.started[step] = now
        elif status == "end":
            wall, cpu = (new - old for new, old in zip(now, self.started[step], strict=True))
            self.costs[step] = Cost(wall, cpu)


@contextmanager
def paper_dataset(participants: int) -> Iterator[tuple[Path, Path]]:
    """Yield BIDS_DIR with scans of the paper's size, and a folder for results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call_apart(write_paper_scans, folder / "bids", participants)
        yield folder / "bids", folder


def time_warm(bids_dir: Path, folder: Path, repeats: int) -> Warm:
    """Run one scan again and again in this process; the first run does not count."""
    found = Warm([], {step: [] for step in (*STEPS, REST)})
    for number in range(repeats + 1):
        options = RunOptions(bids_dir, folder / f"warm{number}", "participant", device="cpu")
        watch = Watch()
        run = time_call(lambda options=options, watch=watch: run_participants(options, watch))
        if number:
            found.runs.append(run)
            for step in STEPS:
                found.steps[step].append(watch.costs[step])
            found.steps[REST].append(_subtract(run, list(watch.costs.values())))
    return found


def _subtract(whole: Cost, parts: list[Cost]) -> Cost:
    wall, cpu = (
        getattr(whole, quantity) - sum(getattr(part, quantity) for part in parts)
        for quantity in ("seconds", "cpu_seconds")
    )
    return Cost(wall, cpu)


def make_steps_table(repeats: int) -> str:
    """Time every step of a scan in a warm process."""
    with paper_dataset(1) as (bids_dir, folder):
        warm = call_apart(time_warm, bids_dir, folder, repeats)
    rows = [[step, *_cells(costs)] for step, costs in warm.steps.items()]
    rows.append(["whole run, warm", *_cells(warm.runs)])
    network = median(warm.steps["Segment"])
    aim = WARM_RATIO * network + WARM_EXTRA_S
    table = make_table(["step", "seconds, median (range)", "CPU seconds"], rows)
    verdict = judge(median(warm.runs), aim)
    return (
        f"{table}\n\nAim for the warm run: at most {WARM_RATIO} times the network's time (the "
        f"step Segment) and {WARM_EXTRA_S:g} s, {aim:.1f} s: {verdict}."
    )


def make_runs_table(repeats: int) -> str:
    """Time whole runs of one scan from the shell, each a new process."""
    with paper_dataset(1) as (bids_dir, folder):
        bundle = call_apart(write_niftynet_bundle, folder)
        kinds = {
            "default": ((), repeats),
            "`--fast`": (("--fast",), repeats),
            "`--engine torch`": (("--engine", "torch"), repeats),
            "a converted NiftyNet model": (("--bundle", str(bundle)), 1),
        }
        found = {
            name: [
                time_run(bids_dir, folder / f"out{place}_{number}", "participant", *more)
                for number in range(times)
            ]
            for place, (name, (more, times)) in enumerate(kinds.items())
        }
        speed = call_apart(product_gflops, count_cpus(), repeats)
    default, fast, _, niftynet = found.values()
    aim_s, ratio = COLD_GFLOP / speed + COLD_EXTRA_S, median(default) / median(fast)
    aims = {
        "default": f"{aim_s:.1f} s: {judge(median(default), aim_s)}",
        "`--fast`": f"{FAST_RATIO} times faster: {judge(-ratio, -FAST_RATIO)}, {ratio:.2f}",
        "a converted NiftyNet model": f"{NIFTYNET_S:g} s: {judge(median(niftynet), NIFTYNET_S)}",
    }
    rows = [[name, *_run_cells(costs), aims.get(name, "")] for name, costs in found.items()]
    columns = ["run", "seconds, median (range)", "CPU seconds", "peak memory, GB", "aim"]
    return (
        f"{make_table(columns, rows)}\n\nMatrix product: {speed:.0f} GFLOP/s. Aim for the default: "
        f"the time of {COLD_GFLOP} GFLOP of it and {COLD_EXTRA_S:g} s. Aim for the memory: "
        f"{PEAK_GB} GB."
    )


def _cells(costs: list[Cost]) -> list[str]:
    return [describe(costs), f"{median(costs, 'cpu_seconds'):.2f}"]


def _run_cells(costs: list[Cost]) -> list[str]:
    return [*_cells(costs), f"{GB_PER_GIB * max(cost.peak_gib for cost in costs):.2f}"]
