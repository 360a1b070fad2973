"""What a coarse grid alone costs: Dice of labels that were averaged over its voxels and rebuilt.

``python benchmarks/working_grid.py LABEL_MAP [--participants N]`` prints a table; nothing is
asserted. The true labels of synthetic scans are averaged over the voxels of a grid, as a network
without error would give them there, interpolated linearly to the scan's own grid and compared with
the truth.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bids_mfi.measure.overlap import dice_by_muscle
from bids_mfi.muscles import WEBER2021
from bids_mfi.synthesis.anatomical import make_scan
from bids_mfi.synthesis.labelmap import LabelMap, load_label_map
from bids_mfi.synthesis.protocol import VARIED, draw_protocol, draw_settings
from bids_mfi.synthesis.subject import draw_subject

SEED = 500
GRIDS_MM = (
    (1.4, 1.4, 3.0), (2.0, 2.0, 3.0), (2.0, 2.0, 4.0), (2.0, 2.0, 6.0), (2.4, 2.4, 3.0),
    (2.8, 2.8, 3.0), (2.8, 2.8, 6.0),
)  # fmt: skip


def true_labels(label_map: LabelMap, number: int) -> tuple[Tensor, tuple[float, float, float]]:
    """Labels of one scan, int64, shape (x, y, z), and its voxel size in millimetres."""
    rng = np.random.default_rng(SEED + number)
    subject = draw_subject(rng, label_map)
    scan = make_scan(rng, subject, draw_settings(rng, draw_protocol(rng, VARIED)))
    return torch.from_numpy(scan.body.labels.astype(np.int64)), scan.grid.spacing_mm


def rebuild(labels: Tensor, spacing_mm: tuple[float, ...], grid_mm: tuple[float, ...]) -> Tensor:
    """Labels after the way to a coarser grid and back."""
    classes = functional.one_hot(labels, 1 + len(WEBER2021)).permute(3, 0, 1, 2).float()[None]
    shape = [
        max(1, round(size * fine / coarse))
        for size, fine, coarse in zip(labels.shape, spacing_mm, grid_mm, strict=True)
    ]
    coarse = functional.adaptive_avg_pool3d(classes, shape)
    back = functional.interpolate(coarse, size=labels.shape, mode="trilinear", align_corners=False)
    return back[0].argmax(dim=0)


def main() -> None:
    """Read arguments, rebuild, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("label_map", type=Path)
    parser.add_argument("--participants", type=int, default=8)
    arguments = parser.parse_args()
    label_map = load_label_map(arguments.label_map)
    found: dict[tuple[float, ...], list[list[float]]] = {grid: [] for grid in GRIDS_MM}
    for number in range(arguments.participants):
        labels, spacing_mm = true_labels(label_map, number)
        for grid, rows in found.items():
            dice = dice_by_muscle(
                rebuild(labels, spacing_mm, grid).numpy(), labels.numpy(), WEBER2021
            )
            rows.append([dice[muscle.index] for muscle in WEBER2021])
    print("| grid, mm | mean Dice | lowest muscle |")
    print("| --- | --- | --- |")
    for grid, rows in found.items():
        means = np.nanmean(rows, axis=0)
        lowest = WEBER2021.muscles[int(means.argmin())].abbreviation
        size = " x ".join(f"{length:g}" for length in grid)
        print(f"| {size} | {means.mean():.3f} | {means.min():.3f} ({lowest}) |")


if __name__ == "__main__":
    main()
