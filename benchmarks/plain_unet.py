"""The network of nnU-Net's ``3d_fullres`` for a scan of the paper's size, with random weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Stage:
    """A resolution of the network: features, kernel, and the step that leads to it."""

    features: int
    kernel: Triple
    step: Triple


FLAT, CUBE = (1, 3, 3), (3, 3, 3)
STAGES = (
    Stage(32, FLAT, (1, 1, 1)),
    Stage(64, FLAT, (1, 2, 2)),
    Stage(128, CUBE, (1, 2, 2)),
    Stage(256, CUBE, (2, 2, 2)),
    Stage(320, CUBE, (2, 2, 2)),
    Stage(320, CUBE, (2, 2, 2)),
)


class PlainUNet(nn.Module):
    """Plain U-Net as nnU-Net's planner configures it for voxels of 0.7 x 0.7 x 3 mm.

    Two convolutions a stage on both sides, transposed convolutions between them, instance
    normalisation and leaky ReLU; slices are the first axis. MONAI's ``DynUNet`` differs: the
    kernels of its upward side are those of the stage below.
    """

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        before = (in_channels, *(stage.features for stage in STAGES))
        self.down = nn.ModuleList(
            _two_convolutions(channels, stage, stage.step)
            for channels, stage in zip(before, STAGES, strict=False)
        )
        pairs = list(pairwise(STAGES))
        self.grow = nn.ModuleList(
            nn.ConvTranspose3d(low.features, high.features, low.step, low.step)
            for high, low in pairs
        )
        self.up = nn.ModuleList(
            _two_convolutions(2 * high.features, high, (1, 1, 1)) for high, _ in pairs
        )
        self.final = nn.Conv3d(STAGES[0].features, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, z, y, x), sizes multiples of 8, 32, 32, to (batch, classes, ...)."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = skips.pop()
        for grow, block in zip(reversed(self.grow), reversed(self.up), strict=True):
            x = block(torch.cat([grow(x), skips.pop()], dim=1))
        return self.final(x)


def _two_convolutions(in_channels: int, stage: Stage, step: Triple) -> nn.Sequential:
    first = _convolution(in_channels, stage, step)
    return nn.Sequential(*first, *_convolution(stage.features, stage, (1, 1, 1)))


def _convolution(in_channels: int, stage: Stage, step: Triple) -> Sequence[nn.Module]:
    border = tuple(size // 2 for size in stage.kernel)
    return (
        nn.Conv3d(in_channels, stage.features, stage.kernel, step, border),
        nn.InstanceNorm3d(stage.features, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    )
