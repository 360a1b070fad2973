"""How far from the truth a bundle finds the centres of vertebral bodies, on synthetic scans.

    python benchmarks/vertebral_levels.py LABEL_MAP [LABEL_MAP ...] [--bundle BUNDLE] [--scans 40]

Scans are of seeds from which no training learns, every other one from the wide ranges of training.
A body counts if it lies wholly within the field of view; one that is not found counts as farther
away than any limit.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.engines import EngineChoice, load_engine
from bids_mfi.network.logits import part_vertebrae, segment_all_classes
from bids_mfi.participant.plugins import count_cpus
from bids_mfi.synthesis.anatomical import RANDOMISED, make_case
from bids_mfi.synthesis.labelmap import find_label_maps, load_label_map
from bids_mfi.synthesis.protocol import VARIED
from bids_mfi.vertebrae import NO_MUSCLE

INCLUDED = Path(__file__).parents[1] / "bids_mfi" / "data" / "bundle"
FIRST_SEED = 400_000
LIMITS_MM = (3.0, 5.0, 8.0)
LEAST_VOXELS = 30  # found and true, of the model grid


def find_centres(numbers: NDArray[np.uint8]) -> dict[int, NDArray[np.float64]]:
    """Centre of the largest piece of each vertebra, in voxels."""
    centres = {}
    for number in (int(n) for n in np.unique(numbers) if n):
        pieces, count = ndimage.label(numbers == number)
        sizes = ndimage.sum_labels(pieces > 0, pieces, range(1, count + 1))
        if sizes.max() >= LEAST_VOXELS:
            centre = ndimage.center_of_mass(pieces == 1 + int(sizes.argmax()))
            centres[number] = np.array(centre)
    return centres


def is_whole(numbers: NDArray[np.uint8], number: int) -> bool:
    """Whether a body touches no side of the volume."""
    at = np.argwhere(numbers == number)
    return bool((at.min(axis=0) > 0).all() and (at.max(axis=0) < np.array(numbers.shape) - 1).all())


def main() -> None:
    """Print a row for each vertebra: how many, median distance, shares within limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("label_maps", nargs="+", type=Path)
    parser.add_argument("--bundle", type=Path, default=INCLUDED)
    parser.add_argument("--scans", type=int, default=40)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    engine = load_engine(bundle, EngineChoice(threads=count_cpus()))
    maps = [load_label_map(path) for path in find_label_maps(arguments.label_maps)]
    distances: dict[str, list[float]] = {name: [] for name in bundle.vertebrae}
    for seed in range(FIRST_SEED, FIRST_SEED + arguments.scans):
        protocol = RANDOMISED if seed % 2 else VARIED
        case = make_case(maps, seed, bundle.spacing_mm, protocol, levels="vertebrae")
        truth = part_vertebrae(np.where(case.labels == NO_MUSCLE, 0, case.labels), bundle)
        channels = np.stack([case.in_phase, case.out_phase]).astype(np.float32)
        classes = segment_all_classes(channels, bundle, engine).argmax(axis=0)
        found = part_vertebrae(classes, bundle)
        wanted, centres = find_centres(truth), find_centres(found)
        for number, centre in wanted.items():
            if is_whole(truth, number):
                away = centres.get(number, np.full(3, np.inf)) - centre
                mm = float(np.linalg.norm(away * case.grid.spacing_mm))
                distances[bundle.vertebrae[number - 1]].append(mm)
    limits = " | ".join(f"within {limit:g} mm" for limit in LIMITS_MM)
    print(f"| vertebra | scans | median, mm | {limits} |")
    print("| --- " * (3 + len(LIMITS_MM)) + "|")
    everything = [mm for values in distances.values() for mm in values]
    for name, values in [*distances.items(), ("all", everything)]:
        if values:
            shares = " | ".join(f"{100 * np.mean(np.array(values) <= m):.0f} %" for m in LIMITS_MM)
            print(f"| {name} | {len(values)} | {np.median(values):.1f} | {shares} |")


if __name__ == "__main__":
    main()
