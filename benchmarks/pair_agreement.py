"""Which faults of an image pair are refused or flagged, and how often sound pairs are.

``python benchmarks/pair_agreement.py DATASET [DATASET ...] [--every N]`` takes BIDS datasets of
sound pairs, such as ``bids_mfi simulate`` writes, and prints a table; nothing is asserted. Every
pair is judged as it is and with each fault made from it. A pair counts as caught if it is refused
or carries an error of the check of pairs. Labels are not needed.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.discovery import find_scans
from bids_mfi.errors import PairError
from bids_mfi.measure.dixon import ScanSignals, check_phase_order, fat_and_water
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.pair_checks import (
    check_magnitude,
    check_scale,
    is_same_image,
    measure_weighted_signal,
)
from bids_mfi.measure.pair_images import read_pair
from bids_mfi.measure.pair_quality import check_pair
from bids_mfi.options import RunOptions

Volume = NDArray[np.float64]
SEED = 1
NOISE, FAT_NOISE = 0.06, 0.03
FACTORS = (0.25, 0.5, 0.8, 0.87, 1.1, 1.15, 1.2, 1.4, 2.0)


@dataclass(frozen=True)
class Case:
    """A set of images to be judged."""

    signals: ScanSignals
    computed: bool


def computed(in_phase: Volume, out_phase: Volume) -> Case:
    """Take a pair without images of the scanner."""
    return Case(ScanSignals(in_phase, out_phase, *fat_and_water(in_phase, out_phase)), True)


def add_noise(rng: np.random.Generator, image: Volume, sd: float) -> Volume:
    """Add Rician noise."""
    real, imaginary = rng.normal(0, sd, (2, *image.shape))
    noisy: Volume = np.hypot(image + real, imaginary)
    return noisy


def middle(image: Volume, shape: tuple[int, ...]) -> Volume:
    """Cut the middle out of an image."""
    starts = [(size - wanted) // 2 for size, wanted in zip(image.shape, shape, strict=True)]
    return image[tuple(slice(a, a + n) for a, n in zip(starts, shape, strict=True))]


def sound(rng: np.random.Generator, ip: Volume, oop: Volume) -> Iterator[tuple[str, Case]]:
    """Pairs that nothing should be said about."""
    yield "sound", computed(ip, oop)
    sd = NOISE * measure_weighted_signal(ip)
    yield "sound, more noise", computed(add_noise(rng, ip, sd), add_noise(rng, oop, sd))
    box = tuple(slice(size // 4, size * 4 // 5) for size in ip.shape)
    yield "sound, small field of view", computed(ip[box], oop[box])
    thin = tuple(slice(None, max(size // 3, 6)) if size == min(ip.shape) else slice(None)
                 for size in ip.shape)  # fmt: skip
    yield "sound, third of the slices", computed(ip[thin], oop[thin])
    body = ndimage.uniform_filter(ip, 3) > 0.25 * measure_weighted_signal(ip)
    yield "sound, air masked", computed(ip * body, oop * body)
    yield "sound, moved by a voxel", computed(ip, np.roll(oop, 1, 0))
    yield "sound, images of the scanner", Case(scanner_set(rng, ip, oop), False)


def scanner_set(rng: np.random.Generator, ip: Volume, oop: Volume) -> ScanSignals:
    """Make fat and water of the scanner from the pair, with noise of their own."""
    sd = FAT_NOISE * measure_weighted_signal(ip)
    fat, water = (add_noise(rng, np.maximum(part, 0), sd) for part in fat_and_water(ip, oop))
    return ScanSignals(ip, oop, fat, water)


def faulty(
    rng: np.random.Generator, ip: Volume, oop: Volume, other: Volume
) -> Iterator[tuple[str, Case]]:
    """Pairs and sets that should be caught."""
    for factor in FACTORS:
        yield f"OOP x {factor:g}", computed(ip, factor * oop)
    yield "OOP from 0 to 1", computed(ip, oop / oop.max())
    yield "IP twice", computed(ip, ip)
    yield "IP twice, scaled and rounded", computed(ip, np.rint(0.3 * ip))
    sd = NOISE / 3 * measure_weighted_signal(ip)
    yield "two in-phase images", computed(ip, add_noise(rng, ip, sd))
    shape = tuple(min(sizes) for sizes in zip(ip.shape, other.shape, strict=True))
    yield "OOP of another person", computed(middle(ip, shape), middle(other, shape))
    yield "noise as OOP", computed(ip, add_noise(rng, 0 * ip, 0.3 * ip.mean()))
    phase = rng.uniform(-np.pi, np.pi, ip.shape)
    yield "phase from -pi to pi as OOP", computed(ip, phase)
    yield "phase from 0 to 4095 as OOP", computed(ip, np.rint((phase / np.pi + 1) * 2047.5))
    yield "signed OOP", computed(ip, np.where(oop < 0.6 * ip, -oop, oop))
    yield from faulty_sets(scanner_set(rng, ip, oop))


def faulty_sets(true: ScanSignals) -> Iterator[tuple[str, Case]]:
    """Fat and water of the scanner that are something else."""
    ip, oop, fat, water = true.in_phase, true.out_phase, true.fat, true.water
    fraction = fat / np.maximum(fat + water, np.finfo(float).tiny)
    sets = {
        "PDFF (0-100) as fat": (100 * fraction, water), "PDFF (0-1) as fat": (fraction, water),
        "PDFF (0-1000) as fat": (1000 * fraction, water), "IP as water": (fat, ip),
        "OOP as fat": (oop, water), "OOP as water": (fat, oop), "IP as fat": (ip, water),
        "water fraction as water": (fat, 100 * (1 - fraction)), "fat twice": (fat, fat),
        "fat x 0.5": (fat / 2, water), "fat x 1.5": (1.5 * fat, water), "fat x 2": (2 * fat, water),
    }  # fmt: skip
    for name, (wrong_fat, wrong_water) in sets.items():
        yield name, Case(ScanSignals(ip, oop, wrong_fat, wrong_water), False)


def judge(case: Case, pair: DixonPair) -> str:
    """``refused``, the first code of an error flag, or empty."""
    signals = case.signals
    images = [signals.in_phase, signals.out_phase]
    images += [] if case.computed else [signals.fat, signals.water]
    try:
        for number, image in enumerate(images):
            check_magnitude(image)
            if any(is_same_image(image, earlier) for earlier in images[:number]):
                return "refused"
        checks: tuple[Callable[[Volume, Volume], None], ...] = (check_scale, check_phase_order)
        for check in checks:
            check(images[0], images[1])
    except PairError:
        return "refused"
    flags = check_pair(signals, pair, case.computed)
    return flags[0].code if flags else ""


def main() -> None:
    """Read arguments, judge all pairs, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every Nth scan")
    arguments = parser.parse_args()
    answers: dict[str, list[str]] = defaultdict(list)
    for dataset in arguments.datasets:
        scans = find_scans(RunOptions(dataset, dataset / "none", "participant"))
        pairs = [scan for scan in scans if isinstance(scan, DixonPair)]
        for number, pair in list(enumerate(pairs))[:: arguments.every]:
            rng = np.random.default_rng([SEED, number])
            ip, oop, _ = read_pair(pair)
            other = read_pair(pairs[number - 1])[1]
            for name, case in (*sound(rng, ip, oop), *faulty(rng, ip, oop, other)):
                answers[name].append(judge(case, pair))
    print("| images | scans | refused or flagged | as |\n| --- | --- | --- | --- |")
    for name, found in answers.items():
        caught = [answer for answer in found if answer]
        words = ", ".join(f"`{word}`" for word in sorted(set(caught)))
        print(f"| {name} | {len(found)} | {100 * len(caught) / len(found):.0f} % | {words} |")


if __name__ == "__main__":
    main()
