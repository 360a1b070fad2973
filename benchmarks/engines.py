"""Table of the network alone: the paper's scan and its mirror image, by engine."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from costs import Cost, describe, median, product_gflops, time_calls
from datasets import make_paper_scan
from markdown_tables import make_table
from multiply_adds import count_multiply_adds
from numpy.typing import NDArray

from bids_mfi.grid import Grid
from bids_mfi.network.body_box import Box
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.engine_openvino import has_bfloat16
from bids_mfi.network.engines import EngineChoice, load_engine
from bids_mfi.network.intensity import find_foreground
from bids_mfi.network.loaded_networks import make_network
from bids_mfi.network.logits import choose_box, segment_views
from bids_mfi.network.model_grid import labels_on_grid, working_shape
from bids_mfi.network.segment import resample_channels
from bids_mfi.network.views import LogitView
from bids_mfi.participant.plan import DEFAULT_BUNDLE
from bids_mfi.participant.plugins import count_cpus

AIM = 1.6  # times the floor
REFERENCE = "PyTorch, eager, float32"


@dataclass(frozen=True)
class PreparedScan:
    """The paper's scan as the network gets it."""

    channels: NDArray[np.float32]
    foreground: NDArray[np.bool_]
    box: Box
    model_grid: Grid
    grid: Grid

    def segment(self, bundle: ModelBundle, choice: EngineChoice) -> list[LogitView]:
        """Logits of the scan, and of its mirror image if the bundle wants it."""
        engine = load_engine(bundle, choice)
        return segment_views(self.channels, self.foreground, bundle, engine)[1]


def prepare_scan(bundle: ModelBundle) -> tuple[PreparedScan, Callable[[], object]]:
    """Prepare the scan; the second value repeats the resampling of its images."""
    case = make_paper_scan(1)
    resample = partial(resample_channels, case.in_phase, case.out_phase, case.grid, bundle)
    channels, model_grid = resample()
    foreground = find_foreground(channels[0])
    box = choose_box(foreground, bundle)
    return PreparedScan(channels, foreground, box, model_grid, case.grid), resample


def count_gflop(bundle: ModelBundle, sizes: tuple[int, ...]) -> float:
    """Operations of all passes over a volume, thousand millions, two for each multiply-add."""
    with torch.device("meta"):
        network = make_network(bundle).eval()
    shape = (1, len(bundle.channels), *working_shape(sizes, bundle))
    passes = 2 if bundle.mirrored else 1
    return 2 * passes * count_multiply_adds(network, shape) / 1e9


def list_choices(threads: int) -> dict[str, EngineChoice]:
    """List the engines that this machine has."""
    choices = {
        REFERENCE: EngineChoice("torch", "cpu", threads),
        "OpenVINO, float32 (default)": EngineChoice("openvino", "cpu", threads),
    }
    if has_bfloat16():
        choices["OpenVINO, bfloat16"] = EngineChoice("openvino", "cpu", threads, fast=True)
    return choices


def agreement_percent(one: NDArray[np.integer], other: NDArray[np.integer]) -> float:
    """Voxels with the same label, percent."""
    return 100 * float(np.mean(one == other))


def make_engines_table(repeats: int) -> str:
    """Time the network by engine, and the steps before and after it."""
    bundle, threads = load_bundle(DEFAULT_BUNDLE), count_cpus()
    scan, resample = prepare_scan(bundle)
    sizes = tuple(part.stop - part.start for part in scan.box)
    gflop, whole = (count_gflop(bundle, shape) for shape in (sizes, scan.channels.shape[1:]))
    speed = product_gflops(threads, repeats)
    torch.set_num_threads(threads)
    floor = gflop / speed
    rows, reference = [], None
    for name, choice in list_choices(threads).items():
        costs = time_calls(lambda choice=choice: scan.segment(bundle, choice), repeats)
        views = scan.segment(bundle, choice)
        labelling = partial(labels_on_grid, scan.box, views, scan.model_grid, scan.grid, threads)
        labels = labelling()
        reference = labels if reference is None else reference
        rows.append(_describe_engine(name, costs, floor, agreement_percent(labels, reference)))
    rest = {"resampling both images": resample, "labels on the scan's grid": labelling}
    for name, step in rest.items():
        costs = time_calls(step, repeats)
        rows.append([name, describe(costs), f"{median(costs, 'cpu_seconds'):.2f}", "", ""])
    columns = ["engine or step", "seconds, median (range)", "CPU seconds", "x floor", "labels, %"]
    return (
        f"{gflop:.0f} GFLOP in the body box of {_sizes(sizes)} voxels ({whole:.0f} in all of "
        f"{_sizes(scan.channels.shape[1:])}), {threads} threads. Matrix product of size 2,048: "
        f"{speed:.0f} GFLOP/s, so the floor is {floor:.2f} s. Aim: {AIM} x floor. The last column "
        f"gives the voxels with the same label as `{REFERENCE}`.\n\n{make_table(columns, rows)}"
    )


def _describe_engine(name: str, costs: list[Cost], floor: float, agreement: float) -> list[str]:
    seconds = median(costs)
    cpu = f"{median(costs, 'cpu_seconds'):.2f}"
    return [name, describe(costs), cpu, f"{seconds / floor:.2f}", f"{agreement:.4f}"]


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
