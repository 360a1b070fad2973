"""Print the tables of docs/performance.md: ``make bench``.

``python benchmarks/bench.py [--only TABLE ...] [--repeats N] [--scans N] [--full] [--paste]``

Nothing is asserted. Every table is made in a process of its own, and all its ratios are of times
from that process. ``--paste`` also puts the tables into the document.
"""

import argparse
import importlib
import os
import platform
import time
from pathlib import Path

from costs import call_apart
from markdown_tables import paste

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
REPEATS = 3
SCANS = 4
# Name in the document: module, function, and the argument that the function gets.
TABLES = {
    "engines": ("engines", "make_engines_table", "repeats"),
    "steps": ("one_scan", "make_steps_table", "repeats"),
    "runs": ("one_scan", "make_runs_table", "repeats"),
    "peers": ("peers", "make_peers_table", "repeats"),
    "several": ("several_scans", "make_several_table", "scans"),
    "scaling": ("scaling", "make_scaling_table", "full"),
}


def make(name: str, argument: object) -> str:
    """Make a table, in the process that calls this."""
    module, function, _ = TABLES[name]
    return str(getattr(importlib.import_module(module), function)(argument))


def describe_machine() -> str:
    """Name the processor, and how busy it was: the mean number of waiting processes."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{len(os.sched_getaffinity(0))} x {model}, load average {os.getloadavg()[0]:.1f}"


def main() -> None:
    """Make the tables that are asked for and print each as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=TABLES, nargs="+", default=list(TABLES))
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--scans", type=int, default=SCANS, help="of the table `several`")
    parser.add_argument("--full", action="store_true", help="scaling up to the sizes of the aims")
    parser.add_argument("--paste", action="store_true", help=f"put the tables into {PAGE.name}")
    arguments = parser.parse_args()
    for name in arguments.only:
        started, machine = time.monotonic(), describe_machine()
        text = call_apart(make, name, getattr(arguments, TABLES[name][2]))
        minutes = (time.monotonic() - started) / 60
        text += f"\n\nMeasured in {minutes:.1f} minutes on {machine} at the start."
        print(f"## {name}\n\n{text}\n", flush=True)
        if arguments.paste:
            paste(PAGE, name, text)


if __name__ == "__main__":
    main()
