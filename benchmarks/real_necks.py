"""Measure a bundle on real necks: points right, wrong sides, Dice where labels were drawn.

    python benchmarks/real_necks.py FOLDER [--bundle BUNDLE]

FOLDER holds ``bids/`` (in-phase and out-of-phase images), ``points.tsv`` (subject, muscle, label
and voxel of the image turned to R, A, S) and ``labels/neck<person>_dseg.nii.gz`` with, if there is
one, ``neck<person>_doubt.nii.gz``, whose voxels do not count. The images are of people, but no
Dixon scans: they were painted from other sequences. They show whether muscles are found, not what
their fat is. Nothing is downloaded.
"""

import argparse
import csv
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_mfi.grid import Grid
from bids_mfi.muscles import LONG_NAMES, WEBER2021
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.engines import EngineChoice
from bids_mfi.network.segment import segment_scan
from bids_mfi.participant.plugins import count_cpus

INCLUDED = Path(__file__).parents[1] / "bids_mfi" / "data" / "bundle"
AROUND = 1  # voxels in plane to either side of a point that vote with it

Labels = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class PointScore:
    """How the points of one subject were labelled."""

    right: Counter[str]
    points: Counter[str]
    another: int
    background: int
    wrong_side: int


def read_image(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """Read a NIfTI image, turned to R, A, S."""
    image = nib.as_closest_canonical(nib.load(path))
    return image.get_fdata(dtype=np.float32), Grid.from_array(image.shape, image.affine)


def segment_subjects(folder: Path, bundle_folder: Path) -> dict[str, Labels]:
    """Label every subject below ``bids/``, on the grid of its images turned to R, A, S."""
    bundle, choice = load_bundle(bundle_folder), EngineChoice(threads=count_cpus())
    found = {}
    for subject in sorted((folder / "bids").glob("sub-*")):
        (first,) = subject.rglob("*inphase*.nii.gz")
        (second,) = subject.rglob("*outphase*.nii.gz")
        (in_phase, grid), (out_phase, _) = read_image(first), read_image(second)
        found[subject.name[4:]] = segment_scan(in_phase, out_phase, grid, bundle, choice)
    return found


def score_points(labels: Labels, rows: list[dict[str, str]]) -> PointScore:
    """Compare the label that most voxels around each point have with that of the point."""
    right, points = Counter[str](), Counter[str]()
    another = background = wrong_side = 0
    for row in rows:
        x, y, z, wanted = (int(row[key]) for key in ("x", "y", "z", "label"))
        box = labels[x - AROUND : x + AROUND + 1, y - AROUND : y + AROUND + 1, z]
        found = int(np.bincount(box.ravel()).argmax())
        points[row["muscle"]] += 1
        right[row["muscle"]] += found == wanted
        background += found == 0
        another += found not in (0, wanted)
        wrong_side += found > 0 and found % 2 != wanted % 2
    return PointScore(right, points, another, background, wrong_side)


def score_overlap(labels: Labels, truth: Labels, certain: NDArray[np.bool_]) -> dict[int, float]:
    """Dice of each muscle in the labelled slices; the scan shows the middle ones of the drawing."""
    first = (truth.shape[2] - labels.shape[2]) // 2
    shown = slice(first, first + labels.shape[2])
    drawn, counted = truth[..., shown], certain[..., shown]
    counted = counted & (drawn > 0).any(axis=(0, 1))
    result = {}
    for muscle in WEBER2021:
        wanted, found = ((part == muscle.index) & counted for part in (drawn, labels))
        total = wanted.sum() + found.sum()
        result[muscle.index] = float(2 * (wanted & found).sum() / total) if total else float("nan")
    return result


def describe_points(subject: str, score: PointScore) -> str:
    """Make the line of a subject's points."""
    right, count = score.right.total(), score.points.total()
    parts = ", ".join(f"{m} {score.right[m]}/{n}" for m, n in score.points.items())
    return (
        f"{subject}: {right} of {count} points right ({100 * right / count:.0f} %), "
        f"{score.another} another muscle, {score.background} background, "
        f"{score.wrong_side} wrong side; {parts}"
    )


def describe_overlap(subject: str, dice: dict[int, float]) -> str:
    """Make the line of a subject's Dice."""
    lowest = min(dice, key=lambda index: dice[index])
    by_muscle = ", ".join(
        "{} {:.2f}/{:.2f}".format(name, *(dice[WEBER2021.of(name, side).index] for side in "RL"))
        for name in LONG_NAMES
    )
    label = next(m.abbreviation for m in WEBER2021 if m.index == lowest)
    return (
        f"{subject}: mean Dice {np.nanmean(list(dice.values())):.3f}, lowest {dice[lowest]:.2f} "
        f"({label}); {by_muscle} (right/left)"
    )


def main() -> None:
    """Print a line of points a subject, then a line of Dice for those with drawn labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path, default=INCLUDED)
    arguments = parser.parse_args()
    maps = segment_subjects(arguments.folder, arguments.bundle)
    rows = defaultdict(list)
    with (arguments.folder / "points.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            rows[row["subject"]].append(row)
    for subject in sorted(maps.keys() & rows.keys()):
        print(describe_points(subject, score_points(maps[subject], rows[subject])))
    for path in sorted((arguments.folder / "labels").glob("neck*_dseg.nii.gz")):
        person = path.name[4:].split("_")[0]
        truth = read_image(path)[0].astype(np.int16)
        doubt = path.with_name(f"neck{person}_doubt.nii.gz")
        certain = read_image(doubt)[0] == 0 if doubt.exists() else np.ones(truth.shape, bool)
        for subject in sorted(s for s in maps if s.startswith(person)):
            print(describe_overlap(subject, score_overlap(maps[subject], truth, certain)))


if __name__ == "__main__":
    main()
