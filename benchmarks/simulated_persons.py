"""Compare the persons that training draws with measured people: volumes, areas, habitus.

    python benchmarks/simulated_persons.py LABEL_MAP [LABEL_MAP ...] [--persons 60]

Volumes are those of the true labels at the levels of Table 1 of Weber et al. 2021, areas those of
one slice in the middle of C5 (C4 where the map ends above).
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from bids_mfi.grid import Grid
from bids_mfi.muscles import LONG_NAMES
from bids_mfi.synthesis.anatomical import RANDOMISED, draw_case
from bids_mfi.synthesis.labelmap import find_label_maps, load_label_map
from bids_mfi.synthesis.levels import find_level_slices
from bids_mfi.synthesis.painting import fill_grid
from bids_mfi.synthesis.volumes import PAPER_VOLUMES_ML, count_surfaces
from bids_mfi.vertebrae import expand_levels

SHAPE, SPACING_MM = (200, 220, 100), (1.2, 1.2, 2.0)
FAT_SHARE = 0.5
FIRST_SEED = 300_000


def measure(subject: object) -> tuple[dict[str, float], tuple[float, float, float] | None]:
    """Volumes by muscle, ml, both sides' mean; and area of body, muscle and fat in cm2."""
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = -(np.array(SHAPE) - 1) / 2 * SPACING_MM
    grid = Grid.from_array(SHAPE, affine)
    volume = fill_grid(subject, grid, (2, 2, 2))
    levels = find_level_slices(subject, grid)
    labels = volume.labels.numpy()
    table = subject.label_map.table
    known = count_surfaces(subject.label_map).known
    volumes = {}
    for name in LONG_NAMES:
        ranges = [levels[level] for level in expand_levels(table.of(name, "R").levels)
                  if level in levels]  # fmt: skip
        if not known[table.of(name, "R").index]:
            continue
        slices = np.zeros(SHAPE[2], bool)
        for low, high in ranges:
            slices[max(0, int(np.ceil(low))) : int(high) + 1] = True
        count = sum((labels[..., slices] == table.of(name, side).index).sum() for side in "RL")
        volumes[name] = float(count) / 2 * np.prod(SPACING_MM) / 1000
    level = "C5" if "C5" in levels and len(levels) > 5 else "C4"
    k = int(np.clip(round(np.mean(levels[level])), 0, SHAPE[2] - 1))
    water, fat = volume.water[..., k].numpy(), volume.fat[..., k].numpy()
    voxel_cm2 = SPACING_MM[0] * SPACING_MM[1] / 100
    body = (water + fat > 0).sum() * voxel_cm2
    fatty = (fat > FAT_SHARE * np.maximum(water + fat, 1e-6)) & (water + fat > 0)
    return volumes, (body, (labels[..., k] > 0).sum() * voxel_cm2, fatty.sum() * voxel_cm2)


def main() -> None:
    """Print a table of volumes, then the ranges of areas."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("label_maps", nargs="+", type=Path)
    parser.add_argument("--persons", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for path in find_label_maps(arguments.label_maps):
        label_map, found, areas = load_label_map(path), {name: [] for name in LONG_NAMES}, []
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.persons):
            subject, _ = draw_case(np.random.default_rng(seed), [label_map], seed, RANDOMISED)
            volumes, area = measure(subject)
            areas.append(area)
            for name, value in volumes.items():
                found[name].append(value)
        print(f"{path.name}: {arguments.persons} persons")
        print("| muscle | people, mean and SD, ml | drawn, mean and SD, ml | label map, ml |")
        print("| --- | --- | --- | --- |")
        reference = count_surfaces(label_map).reference_ml
        for name, values in found.items():
            if values:
                mean, sd = PAPER_VOLUMES_ML[name]
                own = np.mean([reference[label_map.table.of(name, s).index] for s in "RL"])
                print(f"| {name} | {mean:.1f}, {sd:.1f} | {np.mean(values):.1f}, "
                      f"{np.std(values):.1f} | {own:.1f} |")  # fmt: skip
        for what, column in zip(
            ("body", "labelled muscle", "fat"), np.transpose(areas), strict=True
        ):
            low, middle, high = np.percentile(column, [5, 50, 95])
            print(f"{what}: median {middle:.0f} cm2, 5 % to 95 %: {low:.0f} to {high:.0f}")


if __name__ == "__main__":
    main()
