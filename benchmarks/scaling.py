"""Time and memory of discovery and of the group level, by the number of participants.

``python benchmarks/scaling.py [--participants N ...] [--sessions N ...] [--repeats N]
[--folder DIR] [--before DIR]``

Prints Markdown tables; nothing is asserted. A dataset has four images a participant, each with a
sidecar: tiny but valid NIfTI files, hard links to a few originals. On it run a dry run, and the
dry run of one participant as a job of a Slurm array starts. The group level runs on studies as
``benchmarks/group.py`` makes them. ``--before`` names a checkout of another version; both then run
in turn on the same files, and what they print is compared.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from group import ROOT, Cost, run_once, write_study_apart

from bids_mfi.grid import Grid
from bids_mfi.images import encode_image

PARTICIPANTS = (10, 100, 1000, 5000)
SESSIONS = (2000, 20000)
REPEATS = 3
MOST_LINKS = 30_000  # of one file; ext4 allows 65,000
CONTRASTS = {"inphase": "IN_PHASE", "outphase": "OPP_PHASE", "fat": "FAT", "water": "WATER"}
ECHO_TIMES_S = {"inphase": 0.00246, "outphase": 0.00123}


@dataclass(frozen=True)
class Row:
    """Costs of the runs of one version on one input.

    Attributes
    ----------
    what : str
    count : int
        Participants or sessions.
    version : str
    costs : tuple of Cost
    """

    what: str
    count: int
    version: str
    costs: tuple[Cost, ...]

    def __str__(self) -> str:
        """Write the row: medians, with the range of the wall time in brackets."""
        wall = [cost.seconds for cost in self.costs]
        cpu = statistics.median(cost.cpu_seconds for cost in self.costs)
        peak = statistics.median(cost.peak_gib for cost in self.costs)
        return (
            f"| {self.what} | {self.count:,} | {self.version} | {statistics.median(wall):.1f} "
            f"({min(wall):.1f}-{max(wall):.1f}) | {cpu:.1f} | {1000 * cpu / self.count:.2f} | "
            f"{1024 * peak:.0f} |"
        )


HEADER = """\
| run | number | version | wall time (s) | CPU time (s) | CPU time each (ms) | peak memory (MiB) |
| --- | ---: | --- | ---: | ---: | ---: | ---: |"""


def make_contents() -> dict[str, bytes]:
    """Content of the images and sidecars of a participant, by contrast and extension."""
    volume = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    image = encode_image(volume, Grid.from_array((4, 4, 4), np.diag([2.0, 2.0, 4.0, 1.0])))
    contents = {}
    for word, token in CONTRASTS.items():
        contents[f"{word}_T1w.nii.gz"] = image
        contents[f"{word}_T1w.json"] = json.dumps(describe_image(word, token), indent=2).encode()
    return contents


def describe_image(word: str, token: str) -> dict[str, object]:
    """Sidecar as dcm2niix writes it, about 2 kB."""
    fields: dict[str, object] = {
        "Modality": "MR",
        "MagneticFieldStrength": 3,
        "ImagingFrequency": 123.25,
        "Manufacturer": "Siemens",
        "SeriesDescription": "t1_vibe_dixon_cor_neck",
        "ProtocolName": "t1_vibe_dixon_cor_neck",
        "ImageType": ["DERIVED", "PRIMARY", "DIXON", token],
        "AcquisitionTime": "11:12:13.140000",
        "RepetitionTime": 0.00397,
        "FlipAngle": 9,
        "SliceThickness": 3,
        "ImageOrientationPatientDICOM": [1, 0, 0, 0, 0, -1],
    }
    if word in ECHO_TIMES_S:
        fields["EchoTime"] = ECHO_TIMES_S[word]
    return fields | {f"ScannerParameter{number:02d}": f"value {number}" for number in range(40)}


def write_dataset(bids_dir: Path, participants: int) -> None:
    """Write a dataset whose files are hard links to a few originals."""
    originals = bids_dir / "sourcedata"
    originals.mkdir(parents=True)
    description = {"Name": "benchmark", "BIDSVersion": "1.11.1", "DatasetType": "raw"}
    (bids_dir / "dataset_description.json").write_text(json.dumps(description))
    contents = make_contents()
    for number in range(participants):
        batch, place = divmod(number, MOST_LINKS)
        if not place:
            for name, content in contents.items():
                (originals / f"{batch}_{name}").write_bytes(content)
        anat = bids_dir / f"sub-{number:06d}" / "anat"
        anat.mkdir(parents=True)
        for name in contents:
            os.link(originals / f"{batch}_{name}", anat / f"sub-{number:06d}_acq-{name}")


def write_dataset_apart(bids_dir: Path, participants: int) -> None:
    """Write a dataset in another process, for the reason of ``write_study_apart``."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(write_dataset, bids_dir, participants).result()


@dataclass(frozen=True)
class Bench:
    """What is compared, and how often.

    Attributes
    ----------
    versions : dict of str to Path
        Checkouts by the name that the table shows.
    repeats : int
    folder : Path or None
        Where datasets are put for the while.
    """

    versions: dict[str, Path]
    repeats: int
    folder: Path | None

    def run(self, what: str, count: int, arguments: list[str], log: Path) -> None:
        """Run every version in turn, and print a row for each as soon as it is known."""
        costs: dict[str, list[Cost]] = {version: [] for version in self.versions}
        printed: set[bytes] = set()
        for _ in range(self.repeats):
            for version, checkout in self.versions.items():
                command = [sys.executable, str(checkout / "run.py"), *arguments]
                costs[version].append(run_once(command, log))
                printed.add(log.read_bytes())
        for version, own in costs.items():
            print(Row(what, count, version, tuple(own)), flush=True)
        if len(printed) > 1:
            print(f"{what}, {count:,}: the runs did not print the same", file=sys.stderr)

    def search(self, participants: int) -> None:
        """Dry run of a dataset, and of one participant in it."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            bids_dir, log = Path(folder) / "bids", Path(folder) / "log.txt"
            write_dataset_apart(bids_dir, participants)
            common = [str(bids_dir), str(Path(folder) / "out"), "participant", "--dry-run"]
            self.run("dry run", participants, common, log)
            one = ["--participant-label", f"{participants // 2:06d}"]
            self.run("dry run of one participant", participants, [*common, *one], log)

    def group(self, sessions: int) -> None:
        """Group level of a study."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            bids_dir, output_dir = write_study_apart(Path(folder), sessions)
            arguments = [str(bids_dir), str(output_dir), "group"]
            self.run("group level", sessions, arguments, Path(folder) / "log.txt")
            page_mib = (output_dir / "group.html").stat().st_size / 2**20
            print(f"group.html of {sessions:,} sessions: {page_mib:.1f} MiB", file=sys.stderr)


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
    bench = Bench({**versions, "this": ROOT}, arguments.repeats, arguments.folder)
    print(f"{len(os.sched_getaffinity(0))} processors, medians of {arguments.repeats}\n")
    print(HEADER, flush=True)
    for participants in arguments.participants:
        bench.search(participants)
    for sessions in arguments.sessions:
        bench.group(sessions)


if __name__ == "__main__":
    main()
