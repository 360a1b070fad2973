"""Table of peers: the networks of MuscleMap and nnU-Net on the paper's scan, random weights.

Their shapes are published: MuscleMap's in ``contrast_agnostic_wholebody_model.json`` of its
repository (one channel, 90 classes), nnU-Net's by the rules of its planner for a scan of 457 x 271
x 40 voxels of 0.7 x 0.7 x 3 mm (``3d_fullres``, two channels, 15 classes). Both run in eager
PyTorch in float32, as they do there, on the same threads. A whole run would take from minutes to
hours: a part of the passes is timed and multiplied. Reading, resampling and standardising of the
images are left out, to the peers' advantage, and so is what they do after writing labels.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from costs import Cost, call_apart, describe, median, product_gflops, time_call, time_run
from datasets import SHAPE, SPACING_MM, write_paper_scans
from markdown_tables import judge, make_table
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from multiply_adds import count_multiply_adds
from plain_unet import PlainUNet
from torch import Tensor, nn
from torch.nn import functional

from bids_mfi.grid import Grid
from bids_mfi.images import encode_image
from bids_mfi.participant.plugins import count_cpus

MUSCLEMAP_CLASSES = 90
MUSCLEMAP_WINDOW = (256, 256)
MUSCLEMAP_OVERLAP = 0.9
MUSCLEMAP_MM = 1.0  # in the slice
MUSCLEMAP_CHUNK = 25  # slices whose class scores are resampled at once
MUSCLEMAP_SLICES = 2  # that are timed

NNUNET_CHANNELS, NNUNET_CLASSES = 2, 15
NNUNET_PATCH = (40, 192, 224)  # slices first
NNUNET_STEP = 0.5
NNUNET_FOLDS = 5
NNUNET_MIRRORS = 8  # every combination of three axes
NNUNET_PASSES = 2  # that are timed


@dataclass(frozen=True)
class Peer:
    """A peer's time for the scan.

    Attributes
    ----------
    name : str
    passes : int
        Of the network over a window.
    multiply_adds : int
        Of all passes.
    timed : int
        Passes that were timed.
    part : Cost
        Of these.
    export : Cost
        From class scores on the network's grid to a NIfTI file of labels.
    aim : float or None
        How many times faster a run of this package shall be.
    """

    name: str
    passes: int
    multiply_adds: int
    timed: int
    part: Cost
    export: Cost
    aim: float | None = None

    def total(self, quantity: str) -> float:
        """Of all passes and the export."""
        passes = getattr(self.part, quantity) * self.passes / self.timed
        return float(passes + getattr(self.export, quantity))

    def row(self, own: list[Cost]) -> list[str]:
        """Write the row of the table; ``own`` is what this package took."""
        ratio = self.total("seconds") / median(own)
        return [
            self.name,
            f"{2 * self.multiply_adds / 1e9:,.0f}",
            f"extrapolated from {self.timed} of {self.passes}",
            f"{self.export.seconds:.1f}",
            f"{self.total('seconds'):,.0f}",
            f"{self.total('cpu_seconds'):,.0f}",
            f"{ratio:.1f}",
            f"{self.aim:g}: {judge(-ratio, -self.aim)}" if self.aim else "",
        ]


def make_musclemap() -> nn.Module:
    """Make the network of MuscleMap's configuration."""
    return UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=MUSCLEMAP_CLASSES,
        channels=(64, 128, 256, 512, 1024),
        strides=(2, 2, 2, 2),
        num_res_units=1,
        act="LeakyReLU",
        norm="instance",
    ).eval()


def make_nnunet() -> nn.Module:
    """Make the network of nnU-Net's configuration."""
    return PlainUNet(NNUNET_CHANNELS, NNUNET_CLASSES).eval()


def musclemap_sizes() -> tuple[int, ...]:
    """Voxels of a slice at 1 x 1 mm."""
    return tuple(round(n * mm / MUSCLEMAP_MM) for n, mm in zip(SHAPE, SPACING_MM, strict=True))[:2]


def musclemap_passes() -> int:
    """Count the windows of all slices."""
    return SHAPE[2] * _count_windows(
        musclemap_sizes(), MUSCLEMAP_WINDOW, 1 - MUSCLEMAP_OVERLAP, whole_steps=True
    )


def nnunet_passes() -> int:
    """Count the patches of one fold without mirroring."""
    return _count_windows(SHAPE[::-1], NNUNET_PATCH, NNUNET_STEP)


def count_musclemap(passes: int) -> int:
    """Count the multiply-adds of this many passes."""
    with torch.device("meta"):
        network = make_musclemap()
    return passes * count_multiply_adds(network, (1, 1, *MUSCLEMAP_WINDOW))


def count_nnunet(passes: int) -> int:
    """Count the multiply-adds of this many passes."""
    with torch.device("meta"):
        network = make_nnunet()
    return passes * count_multiply_adds(network, (1, NNUNET_CHANNELS, *NNUNET_PATCH))


def _count_windows(
    sizes: tuple[int, ...], window: tuple[int, ...], step: float, whole_steps: bool = False
) -> int:
    """Count windows at a distance of ``step`` times their length; MONAI rounds it down."""
    lengths = [int(n * step) if whole_steps else n * step for n in window]
    rest = [max(size - n, 0) for size, n in zip(sizes, window, strict=True)]
    return math.prod(math.ceil(n / length) + 1 for n, length in zip(rest, lengths, strict=True))


def time_musclemap(folder: Path) -> Peer:
    """Time the first slices with MONAI's sliding window, and the export of all."""
    network, sizes = make_musclemap(), musclemap_sizes()
    slices = torch.randn(MUSCLEMAP_SLICES, 1, *sizes)

    def segment() -> None:
        for image in slices:
            sliding_window_inference(
                image[None], MUSCLEMAP_WINDOW, 1, network, MUSCLEMAP_OVERLAP, mode="gaussian"
            )

    part = time_call(segment)
    scores = torch.randn(MUSCLEMAP_CLASSES, SHAPE[2], *sizes)
    export = time_call(lambda: _export_musclemap(scores, folder / "musclemap.nii.gz"))
    passes = musclemap_passes()
    timed = passes * MUSCLEMAP_SLICES // SHAPE[2]
    name = "MuscleMap-shaped, overlap 90 %"
    return Peer(name, passes, count_musclemap(passes), timed, part, export, aim=6)


def _export_musclemap(scores: Tensor, path: Path) -> None:
    """Interpolate class scores to the scan's grid, chunk by chunk, find the highest and write."""
    chunks = []
    for part in scores.split(MUSCLEMAP_CHUNK, dim=1):
        fine = functional.interpolate(part.transpose(0, 1), SHAPE[:2], mode="bilinear")
        chunks.append(fine.argmax(dim=1))
    _write_labels(torch.cat(chunks).permute(1, 2, 0), path)


def time_nnunet(folder: Path) -> list[Peer]:
    """Time the first patches, weighted and added up as nnU-Net does, and the export."""
    network = make_nnunet()
    weights = compute_importance_map(NNUNET_PATCH, mode="gaussian", sigma_scale=1 / 8)
    scores = torch.zeros(NNUNET_CLASSES, *SHAPE[::-1])
    patch = torch.randn(1, NNUNET_CHANNELS, *NNUNET_PATCH)
    place = tuple(slice(0, size) for size in NNUNET_PATCH)

    def segment() -> None:
        for _ in range(NNUNET_PASSES):
            scores[(slice(None), *place)] += network(patch)[0] * weights

    part = time_call(segment)
    path = folder / "nnunet.nii.gz"
    export = time_call(lambda: _write_labels(scores.argmax(dim=0).permute(2, 1, 0), path))
    one = nnunet_passes()
    all_passes = one * NNUNET_FOLDS * NNUNET_MIRRORS
    names = {
        "nnU-Net-shaped, one fold, no mirroring": (one, None),
        "nnU-Net-shaped, default: five folds, mirroring": (all_passes, 60.0),
    }
    return [
        Peer(name, passes, count_nnunet(passes), NNUNET_PASSES, part, export, aim)
        for name, (passes, aim) in names.items()
    ]


def _write_labels(labels: Tensor, path: Path) -> None:
    grid = Grid.from_array(SHAPE, np.diag([*SPACING_MM, 1.0]))
    path.write_bytes(encode_image(labels.numpy().astype(np.int16), grid))


def time_peers(folder: Path, threads: int) -> list[Peer]:
    """Time all peers."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    with torch.inference_mode():
        return [time_musclemap(folder), *time_nnunet(folder)]


def make_peers_table(repeats: int) -> str:
    """Time this package from the shell, then the peers."""
    threads = count_cpus()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call_apart(write_paper_scans, folder / "bids", 1)
        own = [time_run(folder / "bids", folder / f"out{n}", "participant") for n in range(repeats)]
        speed = call_apart(product_gflops, threads, repeats)
        peers = call_apart(time_peers, folder, threads)
    columns = ["network", "GFLOP", "passes timed", "export, s", "seconds", "CPU seconds",
               "x this package", "aim"]  # fmt: skip
    table = make_table(columns, [peer.row(own) for peer in peers])
    return (
        f"This package, from files to files with the report, from the shell: {describe(own)} s, "
        f"{median(own, 'cpu_seconds'):.1f} CPU seconds. Matrix product: {speed:.0f} GFLOP/s, "
        f"{threads} threads.\n\n{table}"
    )
