"""Tables of docs/performance.md: the network by engine, and a scan from files to files.

``python benchmarks/performance.py [--repeats N] [--bundle DIR]`` prints them; nothing is asserted.
The scan is that of ``benchmarks/participant.py``. The floor of a time is that of its multiply-adds
as float32 matrix products of size 2048, measured in the same run with the same threads.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from participant import SHAPE, SPACING_MM, run_once, write_dataset

from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.engine_openvino import has_bfloat16
from bids_mfi.network.engines import EngineChoice, load_engine
from bids_mfi.network.intensity import find_foreground
from bids_mfi.network.loaded_networks import make_network
from bids_mfi.network.logits import choose_box, segment_views
from bids_mfi.network.model_grid import labels_on_grid, working_shape
from bids_mfi.network.segment import resample_channels
from bids_mfi.participant.plan import DEFAULT_BUNDLE
from bids_mfi.participant.plugins import count_cpus
from bids_mfi.synthesis.cases import make_phantom_case

PRODUCT_SIZE = 2048


def median_seconds(action: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Median, least and most seconds of an action, after one that does not count."""
    action()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return statistics.median(found), min(found), max(found)


def product_gflops(repeats: int) -> float:
    """Float32 matrix product, thousand million floating-point operations a second."""
    one = torch.randn(PRODUCT_SIZE, PRODUCT_SIZE)
    seconds, _, _ = median_seconds(lambda: [one @ one for _ in range(5)], repeats)
    return 5 * 2 * PRODUCT_SIZE**3 / seconds / 1e9


def count_gflop(bundle: ModelBundle, shape: tuple[int, ...]) -> float:
    """Operations of all convolutions of one pass, two for each multiply-add."""
    total = 0

    def add(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * output.numel() * module.weight[0].numel()

    with torch.device("meta"):
        network = make_network(bundle).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.register_forward_hook(add)
        network.half_logits(torch.empty(1, len(bundle.channels), *shape))
    return total / 1e9


def describe(seconds: tuple[float, float, float]) -> str:
    """Median and range."""
    return f"{seconds[0]:.2f} ({seconds[1]:.2f}-{seconds[2]:.2f})"


def print_network(bundle: ModelBundle, repeats: int) -> None:
    """Time the network over the volume by engine, and the steps before and after it."""
    threads = count_cpus()
    torch.set_num_threads(threads)
    case = make_phantom_case(1, SPACING_MM, SHAPE)
    pair = case.in_phase, case.out_phase
    channels, grid = resample_channels(*pair, case.grid, bundle)
    foreground = find_foreground(channels[0])
    box = choose_box(foreground, bundle)
    sizes = tuple(part.stop - part.start for part in box)
    passes = 2 if bundle.mirrored else 1
    gflop = passes * count_gflop(bundle, working_shape(sizes, bundle))
    whole = passes * count_gflop(bundle, working_shape(channels.shape[1:], bundle))
    speed = product_gflops(repeats)
    floor = gflop / speed
    print(f"\nscan {SHAPE}, model grid {channels.shape[1:]}, body box {sizes}; {threads} threads")
    print(f"{gflop:.0f} GFLOP in {passes} passes ({whole:.0f} without the box), matrix product "
          f"{speed:.0f} GFLOP/s: floor {floor:.2f} s\n")  # fmt: skip
    print("| engine | seconds, median (range) | x floor |\n| --- | --- | --- |")
    choices = {
        "PyTorch, eager, float32": EngineChoice("torch", "cpu", threads),
        "OpenVINO, float32": EngineChoice("openvino", "cpu", threads),
    }
    if has_bfloat16():
        choices["OpenVINO, bfloat16"] = EngineChoice("openvino", "cpu", threads, fast=True)
    for name, choice in choices.items():
        engine = load_engine(bundle, choice)
        seconds = median_seconds(
            lambda e=engine: segment_views(channels, foreground, bundle, e), repeats
        )
        print(f"| {name} | {describe(seconds)} | {seconds[0] / floor:.2f} |")
    views = segment_views(channels, foreground, bundle, engine)[1]
    resampling = median_seconds(lambda: resample_channels(*pair, case.grid, bundle), repeats)
    labels = median_seconds(lambda: labels_on_grid(box, views, grid, case.grid, threads), repeats)
    print(f"\nresampling both images {describe(resampling)} s, labels on the scan's grid "
          f"{describe(labels)} s")  # fmt: skip


def print_runs(bundle_folder: Path, repeats: int) -> None:
    """Time whole runs of one scan from the shell."""
    print("\n| run | seconds, median (range) | peak memory, GB |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        bids_dir = Path(folder) / "in"
        write_dataset(bids_dir)
        for name, more in (
            ("default", []),
            ("--fast", ["--fast"]),
            ("PyTorch", ["--engine", "torch"]),
        ):
            runs = [
                run_once(
                    bids_dir, Path(folder) / f"{name}{n}", ["--bundle", str(bundle_folder), *more]
                )
                for n in range(repeats)
            ]
            seconds, gigabytes = (np.array(values) for values in zip(*runs, strict=True))
            spread = (float(np.median(seconds)), float(seconds.min()), float(seconds.max()))
            print(f"| {name} | {describe(spread)} | {gigabytes.max():.2f} |")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE)
    arguments = parser.parse_args()
    print_network(load_bundle(arguments.bundle), arguments.repeats)
    print_runs(arguments.bundle, arguments.repeats)


if __name__ == "__main__":
    main()
