"""Time and memory of one scan of the paper's size, files to files with the report.

``python benchmarks/participant.py [--repeats N] [--bundle DIR]`` prints a table; nothing is
asserted. The scan is synthetic: 457 x 271 x 40 voxels of 0.7 x 0.7 x 3 mm, stored as int16.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bids_mfi.images import encode_image
from bids_mfi.synthesis.cases import make_phantom_case

SHAPE = (457, 271, 40)
SPACING_MM = (0.7, 0.7, 3.0)
RUN = Path(__file__).parents[1] / "run.py"


def write_dataset(folder: Path) -> None:
    """One participant with one pair."""
    case = make_phantom_case(1, SPACING_MM, SHAPE)
    anat = folder / "sub-01" / "anat"
    anat.mkdir(parents=True)
    description = {"Name": "benchmark", "BIDSVersion": "1.11.1", "DatasetType": "raw"}
    (folder / "dataset_description.json").write_text(json.dumps(description))
    for phase, volume in (("in", case.in_phase), ("out", case.out_phase)):
        scaled = np.rint(volume * (2000 / case.in_phase.max())).astype(np.int16)
        path = anat / f"sub-01_acq-{phase}phase_T1w.nii.gz"
        path.write_bytes(encode_image(scaled, case.grid))


def tree_memory_gb(root: int) -> float:
    """Proportional memory (Pss) of a process and all its descendants, gigabytes."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    total_kb, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kb += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total_kb / 1024**2


def run_once(bids_dir: Path, out_dir: Path, more: list[str]) -> tuple[float, float]:
    """Seconds and peak gigabytes of one run."""
    command = [sys.executable, str(RUN), str(bids_dir), str(out_dir), "participant", *more]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak_gb = 0.0
    while True:
        try:
            process.wait(timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            peak_gb = max(peak_gb, tree_memory_gb(process.pid))
    if process.returncode:
        sys.exit(process.stderr.read().decode() if process.stderr else "the run failed")
    return time.monotonic() - started, peak_gb


def main() -> None:
    """Print medians of several runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bundle")
    arguments = parser.parse_args()
    more = ["--bundle", arguments.bundle] if arguments.bundle else []
    with tempfile.TemporaryDirectory() as folder:
        bids_dir = Path(folder) / "in"
        write_dataset(bids_dir)
        runs = [
            run_once(bids_dir, Path(folder) / f"out{number}", more)
            for number in range(arguments.repeats)
        ]
    seconds, gigabytes = zip(*runs, strict=True)
    print(f"one scan of {SHAPE} voxels at {SPACING_MM} mm, {os.cpu_count()} processors")
    print(f"runs\t{len(runs)}")
    print(f"seconds, median (range)\t{statistics.median(seconds):.1f} "
          f"({min(seconds):.1f}-{max(seconds):.1f})")  # fmt: skip
    print(f"peak memory, GB\t{max(gigabytes):.2f}")


if __name__ == "__main__":
    main()
