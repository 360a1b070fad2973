"""Twelve synthetic scans of label maps as a picture, and the seconds that a scan takes.

``python benchmarks/synthesis.py LABEL_MAP... [--out FILE] [--threads N] [--device D]``

Each of the twelve is another person and protocol: in-phase and out-of-phase image, fat fraction of
the truth and labels in the plane of the slices, the subject's right on the left in axial and
coronal views. Times are those of a training case on the network's grid (1.4 x 1.4 x 3 mm) and of a
scan by the paper's protocol, medians.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bids_mfi.muscles import WEBER2021
from bids_mfi.synthesis.anatomical import AnatomicalScan, make_case, make_scan
from bids_mfi.synthesis.labelmap import LabelMap, find_label_maps, load_label_map
from bids_mfi.synthesis.protocol import PROTOCOLS, VARIED, draw_protocol, draw_settings
from bids_mfi.synthesis.subject import draw_subject

FIRST_SEED = 90_000
NAMES = (
    "paper", "axial-3T", "coronal-3T", "axial-1.5T", "paper", "sagittal-3T",
    "isotropic-3T", "axial-3T", "coronal-1.5T", "paper", "axial-1.5T", VARIED,
)  # fmt: skip
NORMAL = {"axial": 2, "coronal": 1, "sagittal": 0}


def make_one(maps: list[LabelMap], seed: int, name: str, device: str) -> AnatomicalScan:
    """Make one scan of a person that the seed decides."""
    rng = np.random.default_rng(seed)
    subject = draw_subject(rng, maps[int(rng.integers(len(maps)))])
    settings = draw_settings(rng, draw_protocol(rng, name))
    return make_scan(rng, subject, settings, "all", device=device)


def cut(volume: NDArray[np.generic], plane: str, at: int) -> NDArray[np.generic]:
    """One slice as a picture: superior or anterior upwards, right on the left."""
    picture = np.take(volume, at, axis=NORMAL[plane])  # two of (x, y, z)
    if plane != "sagittal":
        picture = picture[::-1]
    return picture.T[::-1]


def find_box(picture: NDArray[np.generic], least: float) -> tuple[slice, slice]:
    """Rows and columns that show anything, with a margin."""
    shown = picture > least
    rows, columns = (np.flatnonzero(shown.sum(axis=axis) > 2) for axis in (1, 0))
    (top, bottom), (left, right) = ((at[0], at[-1]) for at in (rows, columns))
    return slice(max(top - 4, 0), bottom + 5), slice(max(left - 4, 0), right + 5)


def choose_slice(scan: AnatomicalScan) -> int:
    """Slice that shows most muscles."""
    axis = NORMAL[scan.settings.plane]
    counts = [
        len(np.unique(np.take(scan.body.labels, i, axis=axis)))
        for i in range(scan.body.labels.shape[axis])
    ]
    best = np.flatnonzero(np.array(counts) == max(counts))
    return int(best[len(best) // 2])


def draw_gallery(scans: list[AnatomicalScan], out: Path) -> None:
    """Draw all scans, two in a row, four pictures each."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(["black", *(muscle.color for muscle in WEBER2021)])
    figure, axes = plt.subplots(6, 8, figsize=(20, 19))
    for number, scan in enumerate(scans):
        row, column = divmod(number, 2)
        settings, at = scan.settings, choose_slice(scan)
        size = scan.grid.spacing_mm
        across, up = (size[i] for i in range(3) if i != NORMAL[settings.plane])
        white = float(np.percentile(scan.in_phase, 99.7))
        box = find_box(cut(scan.in_phase, settings.plane, at), 0.2 * white)
        pictures = (
            (scan.in_phase, {"cmap": "gray", "vmin": 0, "vmax": white}),
            (scan.out_phase, {"cmap": "gray", "vmin": 0, "vmax": white}),
            (np.nan_to_num(scan.body.fat_percent), {"cmap": "magma", "vmin": 0, "vmax": 100}),
            (scan.body.labels, {"cmap": colors, "vmin": 0, "vmax": 14, "interpolation": "none"}),
        )
        for panel, (volume, style) in enumerate(pictures):
            axis = axes[row, 4 * column + panel]
            axis.imshow(cut(volume, settings.plane, at)[box], aspect=up / across, **style)
            axis.set_axis_off()
        words = " x ".join(f"{value:.1f}" for value in settings.spacing_mm)
        person = scan.participant
        axes[row, 4 * column].set_title(
            f"{settings.protocol}, {words} mm, {person.sex} {person.age:.0f} y, "
            f"BMI {person.bmi:.0f}", loc="left", fontsize=10,
        )  # fmt: skip
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.98, 0.02, 0.1)
    figure.savefig(out, dpi=64)


def median_seconds(make: object, count: int) -> float:
    """Median time of some calls with the numbers 0, 1, ..."""
    times = []
    for number in range(count):
        start = time.perf_counter()
        make(number)  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Draw the picture and print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("label_maps", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("docs/synthesis.png"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    maps = [load_label_map(path) for path in find_label_maps(arguments.label_maps)]
    print(f"label maps prepared: {time.perf_counter() - start:.1f} s, once a process")
    device = arguments.device
    case_s = median_seconds(
        lambda n: make_case(maps, FIRST_SEED + n, (1.4, 1.4, 3.0), device=device),
        arguments.repeats,
    )
    scan_s = median_seconds(lambda n: make_one(maps, FIRST_SEED + n, "paper", device), 5)
    print(f"training case, 1.4 x 1.4 x 3 mm: {case_s:.2f} s, {arguments.threads} thread, {device}")
    print(f"scan by the paper's protocol, {PROTOCOLS['paper'].in_plane_mm[0]} mm: {scan_s:.2f} s")
    scans = [make_one(maps, FIRST_SEED + n, name, device) for n, name in enumerate(NAMES)]
    draw_gallery(scans, arguments.out)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()
