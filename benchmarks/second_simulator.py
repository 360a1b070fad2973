"""Dice, MFI and volume on scans of a second simulator, which shares no code with the synthesis.

``python benchmarks/second_simulator.py LABEL_MAP [--scans N] [--bundle DIR]`` prints a table;
nothing is asserted. It draws as people do who want a scan quickly: a smooth random deformation of
the label map, one amount of fat for each structure, no fat between muscles, no vessels of its own,
voxels that hold one structure, a little blur, a receive field, noise. A model that has learnt the
habits of one simulator is found out by another.
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

from bids_mfi.grid import Grid, reorient
from bids_mfi.images import read_labels
from bids_mfi.measure.dixon import fat_and_water
from bids_mfi.measure.overlap import dice_by_muscle
from bids_mfi.measure.quantify import measure_muscles
from bids_mfi.muscles import WEBER2021
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.engines import EngineChoice
from bids_mfi.network.segment import segment_scan
from bids_mfi.participant.plugins import count_cpus
from bids_mfi.statistics.agreement import measure_agreement

INCLUDED = Path(__file__).parents[1] / "bids_mfi" / "data" / "bundle"
CHOICE = EngineChoice(threads=count_cpus())
SEED = 95_000
# Signal and share of fat of what the table's names begin with; muscles are drawn.
TISSUES = {
    "vertebra": (0.70, 0.45), "intervertebral": (0.60, 0.05), "spinal_cord": (0.80, 0.0),
    "spinal_canal": (0.90, 0.02), "trachea": (0.02, 0.0), "esophagus": (0.90, 0.05),
    "laryngeal": (0.60, 0.10), "vessels": (1.30, 0.02), "other_soft": (1.50, 0.92),
    "skull": (0.50, 0.50), "mandible": (0.50, 0.50), "hyoid": (0.50, 0.50),
    "clavicle": (0.50, 0.50), "ribs": (0.50, 0.50),
}  # fmt: skip
OTHER_MUSCLE = (1.0, 0.08)
SPACINGS_MM = ((0.7, 0.7, 3.0), (0.8, 0.8, 4.0), (1.0, 1.0, 3.0), (1.1, 1.1, 2.0))
FIELD_MM = (200.0, 190.0, 120.0)
SHIFT_SD_MM, SHIFT_NODES = 3.0, (5, 5, 4)
Volume = NDArray[np.float64]


@dataclass(frozen=True)
class Scan:
    """Images (float32) and true labels (int16) on one grid with axes R, A, S."""

    in_phase: NDArray[np.float32]
    out_phase: NDArray[np.float32]
    labels: NDArray[np.int16]
    grid: Grid


@dataclass(frozen=True)
class Anatomy:
    """Label map, its voxel size, and signal and share of fat of every index but the muscles."""

    labels: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    amplitude: Volume
    fat: Volume


def read_anatomy(path: Path) -> Anatomy:
    """Read a label map in R, A, S and the table beside it."""
    labels, grid = reorient(*read_labels(path), ("R", "A", "S"))
    amplitude, fat = np.zeros(256), np.zeros(256)
    table = path.with_name(path.name.removesuffix(".nii.gz") + ".tsv")
    with table.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            known = [value for name, value in TISSUES.items() if row["name"].startswith(name)]
            amplitude[int(row["index"])], fat[int(row["index"])] = (known or [OTHER_MUSCLE])[0]
    return Anatomy(labels.astype(np.int16), grid.spacing_mm, amplitude, fat)


def smooth_field(
    rng: np.random.Generator, nodes: tuple[int, ...], shape: tuple[int, ...]
) -> Volume:
    """Draw standard normal values at a few nodes and interpolate them to a grid."""
    factors = [size / count for size, count in zip(shape, nodes, strict=True)]
    values: Volume = zoom(
        rng.standard_normal(nodes), factors, order=3, grid_mode=True, mode="nearest"
    )
    return values


def draw_labels(rng: np.random.Generator, anatomy: Anatomy, grid: Grid) -> NDArray[np.int16]:
    """Look every voxel up in the label map, stretched, turned and bent."""
    axes = [
        (np.arange(n) - (n - 1) / 2) * s for n, s in zip(grid.shape, grid.spacing_mm, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    points *= rng.uniform(0.9, 1.12, 3).reshape(3, 1, 1, 1)
    angles = np.deg2rad(rng.normal(0, 4, 3))
    for angle, (a, b) in zip(angles, ((1, 2), (0, 2), (0, 1)), strict=True):
        first, second = points[a].copy(), points[b].copy()
        points[a] = np.cos(angle) * first - np.sin(angle) * second
        points[b] = np.sin(angle) * first + np.cos(angle) * second
    points += SHIFT_SD_MM * np.stack([smooth_field(rng, SHIFT_NODES, grid.shape) for _ in range(3)])
    sizes = np.array(anatomy.spacing_mm).reshape(3, 1, 1, 1)
    middle = (np.array(anatomy.labels.shape) - 1).reshape(3, 1, 1, 1) / 2
    found = map_coordinates(anatomy.labels, points / sizes + middle, order=0, mode="constant")
    return found.astype(np.int16)


def make_scan(seed: int, anatomy: Anatomy) -> Scan:
    """Draw one scan."""
    rng = np.random.default_rng([SEED, seed])
    spacing = SPACINGS_MM[seed % len(SPACINGS_MM)]
    shape = tuple(int(extent / size) for extent, size in zip(FIELD_MM, spacing, strict=True))
    grid = Grid.from_array(shape, np.diag([*spacing, 1.0]))
    found = draw_labels(rng, anatomy, grid)
    amplitude, fat = anatomy.amplitude.copy(), anatomy.fat.copy()
    amplitude[1:15], fat[1:15] = rng.normal(1, 0.03, 14), rng.uniform(0.03, 0.30, 14)
    share = fat[found]
    muscle = (found >= 1) & (found <= len(WEBER2021))
    patches = gaussian_filter(rng.standard_normal(grid.shape), 1.5)
    share = np.where(muscle, share * np.clip(1 + 0.25 * patches / patches.std(), 0, 2.5), share)
    total = gaussian_filter(amplitude[found], 0.5)
    fat_signal = gaussian_filter(amplitude[found] * share, 0.5)
    gain = 400 * np.exp(0.15 * smooth_field(rng, (3, 3, 3), grid.shape))
    noise = rng.uniform(0.01, 0.05) * 400
    in_phase, out_phase = (
        np.hypot(
            signal * gain + noise * rng.standard_normal(grid.shape),
            noise * rng.standard_normal(grid.shape),
        ).astype(np.float32)
        for signal in (total, total - 2 * fat_signal)
    )
    return Scan(in_phase, out_phase, np.where(muscle, found, 0).astype(np.int16), grid)


def measure(labels: NDArray[np.int16], scan: Scan, bundle: ModelBundle) -> NDArray[np.float64]:
    """MFI in percent and volume in millilitres of every muscle, shape (muscles, 2)."""
    fat, water = fat_and_water(scan.in_phase.astype(float), scan.out_phase.astype(float))
    found = measure_muscles(labels, water, fat, scan.grid.voxel_volume_ml, bundle.table)
    return np.array([(muscle.mfi_percent, muscle.volume_ml) for muscle in found])


def print_table(
    dices: NDArray[np.float64], truth: NDArray[np.float64], found: NDArray[np.float64]
) -> None:
    """Print a line for each muscle; arrays are (scans, muscles) and (scans, muscles, 2)."""
    print("| muscle | hemi | Dice | lowest Dice | MFI bias | MFI MAE | MFI ICC | volume ICC |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for number, muscle in enumerate(WEBER2021):
        both = ~np.isnan(truth[:, number, 0] + found[:, number, 0])
        mfi, volume = (
            measure_agreement(truth[both, number, kind], found[both, number, kind])
            for kind in (0, 1)
        )
        values = dices[:, number]
        print(
            f"| {muscle.muscle} | {muscle.hemi} | {np.nanmean(values):.3f} | "
            f"{np.nanmin(values):.3f} | {mfi.bias:.2f} | {mfi.mae:.2f} | {mfi.icc:.3f} | "
            f"{volume.icc:.3f} |"
        )
    print(f"\nmean Dice {np.nanmean(dices):.3f}, {len(dices)} scans")


def main() -> None:
    """Read arguments, draw, segment, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("label_map", type=Path)
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--bundle", type=Path, default=INCLUDED)
    arguments = parser.parse_args()
    bundle, anatomy = load_bundle(arguments.bundle), read_anatomy(arguments.label_map)
    print(f"{bundle.name} {bundle.version}, sha256 {bundle.sha256}")
    dices, truth, found = [], [], []
    for seed in range(arguments.scans):
        scan = make_scan(seed, anatomy)
        labels = segment_scan(scan.in_phase, scan.out_phase, scan.grid, bundle, CHOICE)
        dices.append(list(dice_by_muscle(labels, scan.labels, bundle.table).values()))
        truth.append(measure(scan.labels, scan, bundle))
        found.append(measure(labels, scan, bundle))
    print_table(np.array(dices), np.array(truth), np.array(found))


if __name__ == "__main__":
    main()
