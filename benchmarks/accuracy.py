"""Dice, MFI and volume of a bundle on synthetic scans of seeds that no training uses.

``python benchmarks/accuracy.py [--scans N] [--bundle DIR]`` prints a table for scans as
``simulate`` writes them, and one for the varied cases of the training at other fields of view.
Training takes its cases from seeds above 1e9 and validates on seeds 1000 to 1005; here seeds
start at 70 000.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bids_mfi.network.bundle import load_bundle
from bids_mfi.network.evaluate import evaluate_bundle, format_scores
from bids_mfi.network.segment import choose_device
from bids_mfi.synthesis.cases import TrainingCase, make_varied_case
from bids_mfi.synthesis.simulate import draw_person, simulate_scans
from bids_mfi.workflow import DEFAULT_BUNDLE

FIRST_SEED = 70_000


def simulated(count: int) -> Iterator[TrainingCase]:
    """Yield scans of different people as ``simulate`` writes them, in their stored orientation."""
    for number in range(1, count + 1):
        person = draw_person(FIRST_SEED, number)
        (scan,) = simulate_scans(person, 1, (FIRST_SEED, number))
        yield TrainingCase(
            scan.in_phase.astype(np.float32),
            scan.out_phase.astype(np.float32),
            scan.body.labels,
            scan.grid,
        )


def main() -> None:
    """Print both tables and the mean Dice of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    device = choose_device("auto")
    sources = {
        "scans as simulate writes them": simulated(arguments.scans),
        "varied fields of view and anatomy": (
            make_varied_case(FIRST_SEED + number) for number in range(arguments.scans)
        ),
    }
    for name, cases in sources.items():
        scores = evaluate_bundle(bundle, cases, device)
        dice = [score.dice_mean for score in scores]
        print(f"{name}: {arguments.scans} scans, bundle {bundle.name} {bundle.version}")
        print(format_scores(scores), end="")
        print(f"mean Dice over muscles {np.mean(dice):.3f}, lowest muscle {np.min(dice):.3f}\n")


if __name__ == "__main__":
    main()
