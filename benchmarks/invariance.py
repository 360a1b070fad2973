"""How much MFI changes when nothing of the body does: windows, storage order, noise.

``python benchmarks/invariance.py LABEL_MAP [--participants N] [--bundle DIR]`` prints a table;
nothing is asserted. A person takes one to five minutes on two cores. The scans are clean: no
movement, no metal, and noise in the middle of what synthetic training scans have. Each is segmented
as it is, in windows, stored in other orders of its axes, and made again with other noise of the
same pattern, up to what is no longer clean. Every label map of a person and protocol is measured on
the same images, those with the middle noise, so that a difference comes from the labels alone. How
many scans the program would flag as noisy is counted too.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.dixon import ScanSignals, fat_and_water
from bids_mfi.measure.quality import check_noise
from bids_mfi.measure.quantify import MuscleMeasure, measure_muscles
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.engines import EngineChoice
from bids_mfi.network.inference import choose_inference
from bids_mfi.network.model_grid import working_shape
from bids_mfi.network.segment import segment_scan
from bids_mfi.participant.plugins import count_cpus
from bids_mfi.synthesis.anatomical import AnatomicalScan, make_scan
from bids_mfi.synthesis.labelmap import load_label_map
from bids_mfi.synthesis.protocol import PROTOCOLS, ScanSettings, draw_settings, noise_range
from bids_mfi.synthesis.subject import Subject, draw_subject

INCLUDED = Path(__file__).parents[1] / "bids_mfi" / "data" / "bundle"
SEED = 80_000
STORED = {"stored axial, L P S": ("L", "P", "S"), "stored coronal, R I A": ("R", "I", "A")}
ALL = 10_000  # voxels: more than any axis has, so the whole of it
WINDOWS = {
    "windows of 128 x 128 x 32": (128, 128, 32),
    "windows of 192 x 160 x 32": (192, 160, 32),
    "windows of 160 x 144 x all slices": (160, 144, ALL),
    "windows of 192 x 160 x all slices": (192, 160, ALL),
}
BORDER = (16, 16, 8)
CHOICE = EngineChoice(threads=count_cpus())
Images = tuple[NDArray[np.float32], NDArray[np.float32]]


def noises() -> dict[str, float]:
    """Noise by name, muscle = 1: the middle, half and more of it, and beyond both ends."""
    low, high = noise_range()
    middle = float(np.sqrt(low * high))
    return {
        "middle": middle,
        f"noise halved ({middle / 2:.3f})": middle / 2,
        f"noise doubled ({2 * middle:.3f})": 2 * middle,
        f"three times the noise ({3 * middle:.3f})": 3 * middle,
        f"half of the least ({low / 2:.3f})": low / 2,
        f"the most ({high:.3f})": high,
        f"double the most ({2 * high:.3f})": 2 * high,
    }


def clean(subject: Subject, settings: ScanSettings) -> tuple[Subject, ScanSettings]:
    """Take away metal and movement."""
    return replace(subject, metal=None), replace(settings, motion_voxels=0.0, ghost=0.0)


def scan_with(number: int, protocol: str, label_map: Path, noise: float) -> AnatomicalScan:
    """Scan a person; only the noise depends on ``noise``, and not its pattern."""
    rng = np.random.default_rng([SEED, number])
    subject = draw_subject(rng, load_label_map(label_map))
    subject, settings = clean(subject, draw_settings(rng, PROTOCOLS[protocol]))
    return make_scan(rng, subject, replace(settings, noise=noise), "all")


def measure(
    labels: NDArray[np.int16], images: Images, grid: Grid, bundle: ModelBundle
) -> list[MuscleMeasure]:
    """MFI and volume of every muscle."""
    fat, water = fat_and_water(*(image.astype(np.float64) for image in images))
    return measure_muscles(labels, water, fat, grid.voxel_volume_ml, bundle.table)


def with_windows(bundle: ModelBundle, window: tuple[int, int, int], grid: Grid) -> ModelBundle:
    """Let a bundle work in windows, no longer than the volume, which they would enlarge."""
    shape = working_shape(choose_inference(bundle).model_shape(grid, grid.spacing_mm), bundle)
    x, y, z = (min(size, length) for size, length in zip(window, shape, strict=True))
    across, along, up = (min(b, (n - 1) // 2) for b, n in zip(BORDER, (x, y, z), strict=True))
    return replace(bundle, inference="windows", window=(x, y, z), border=(across, along, up))


def segment_stored(
    images: Images, grid: Grid, axcodes: tuple[str, str, str], bundle: ModelBundle
) -> NDArray[np.int16]:
    """Segment a scan with its axes in another order; labels on the first grid."""
    (first, stored), (second, _) = (reorient(image, grid, axcodes) for image in images)
    labels = segment_scan(first, second, stored, bundle, CHOICE)
    return reorient(labels, stored, grid.axcodes)[0]


def is_noisy(images: Images, labels: NDArray[np.int16], grid: Grid) -> bool:
    """Whether the program flags the scan."""
    in_phase, out_phase = (image.astype(np.float64) for image in images)
    signals = ScanSignals(in_phase, out_phase, *fat_and_water(in_phase, out_phase))
    return bool(check_noise(signals, labels, grid))


def differences(
    number: int, protocol: str, label_map: Path, bundle: ModelBundle
) -> Iterator[tuple[str, dict[str, float], bool | None]]:
    """Yield each change, by how many percentage points it changes MFI, and whether it is noisy.

    Of windows and storage noise is not asked: None.

    Infinity for a muscle that is lost; a muscle that was not found before has no part.
    """
    levels = noises()
    middle = scan_with(number, protocol, label_map, levels.pop("middle"))
    images, grid = (middle.in_phase, middle.out_phase), middle.grid
    plain = measure(segment_scan(*images, grid, bundle, CHOICE), images, grid, bundle)
    changed, flagged = {}, {}
    for name, window in WINDOWS.items():
        windowed = with_windows(bundle, window, grid)
        changed[name] = segment_scan(*images, grid, windowed, CHOICE)
    for name, axcodes in STORED.items():
        changed[name] = segment_stored(images, grid, axcodes, bundle)
    for name, noise in levels.items():
        other = scan_with(number, protocol, label_map, noise)
        shown = (other.in_phase, other.out_phase)
        changed[name] = segment_scan(*shown, grid, bundle, CHOICE)
        flagged[name] = is_noisy(shown, changed[name], grid)
    for name, labels in changed.items():
        change = {}
        for before, after in zip(plain, measure(labels, images, grid, bundle), strict=True):
            where = f"{before.muscle} {before.hemi}, {before.volume_ml:.1f} ml, {protocol}"
            difference = after.mfi_percent - before.mfi_percent
            if not np.isnan(before.mfi_percent):
                change[where] = np.inf if np.isnan(after.mfi_percent) else abs(difference)
        yield name, change, flagged.get(name)


def print_table(found: dict[str, list[tuple[dict[str, float], bool | None]]]) -> None:
    """Print the mean and largest difference of each change, and of which muscle that is."""
    print("| change | muscles | mean, pp | 95th percentile | largest | within 1 pp | noisy |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, scans in found.items():
        rows = [row for row, _ in scans]
        flags = [flagged for _, flagged in scans if flagged is not None]
        noisy = f"{sum(flags)} of {len(flags)}" if flags else ""
        values = np.array([value for row in rows for value in row.values()])
        largest, where = max((value, where) for row in rows for where, value in row.items())
        worst = f"{largest:.2f} ({where})" if largest > 0 else "0"
        quantile = np.percentile(values, 95, method="higher")
        share = 100 * float(np.mean(values <= 1))
        print(
            f"| {name} | {values.size} | {values[np.isfinite(values)].mean():.2f} | "
            f"{quantile:.2f} | {worst} | {share:.1f} % | {noisy} |"
        )


def main() -> None:
    """Read arguments, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("label_map", type=Path)
    parser.add_argument("--participants", type=int, default=len(PROTOCOLS))
    parser.add_argument("--bundle", type=Path, default=INCLUDED)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    print(f"{bundle.name} {bundle.version}, sha256 {bundle.sha256}")
    names = list(PROTOCOLS)
    found: dict[str, list[tuple[dict[str, float], bool | None]]] = {}
    for number in range(arguments.participants):
        protocol = names[number % len(names)]
        for name, *change in differences(number, protocol, arguments.label_map, bundle):
            found.setdefault(name, []).append(tuple(change))
        print(f"{number + 1} of {arguments.participants} persons done", file=sys.stderr, flush=True)
    print_table(found)


if __name__ == "__main__":
    main()
