"""The dense V-Net of NiftyNet 0.6.0 in PyTorch.

The network of Gibson et al. 2018 (doi:10.1109/TMI.2018.2806309) as NiftyNet's ``dense_vnet``
builds it with its default parameters, which Weber et al. 2021
(doi:10.1038/s41598-021-95972-x) used. It works at half resolution and interpolates its logits.
With a stem stride of 1 along an axis it works at full resolution there, with the same weights.
``architecture`` holds the numbers of its layers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bids_mfi.network.architecture import (
    DENSE_UNITS,
    NORM_EPSILON,
    NORMALIZATIONS,
    PUBLISHED_STRIDE,
    PUBLISHED_WIDTHS,
    STEM_CHANNELS,
    STEM_KERNEL,
    STEM_STRIDES,
    WIDTHS,
    Triple,
    Widths,
    check_divisible,
)

AVERAGE_DECAY = 0.9


class DebiasedBatchNorm(nn.BatchNorm3d):
    """Batch normalisation whose moving averages never contain their initial values.

    TensorFlow divides a running sum ``b = 0.9 b + 0.1 v`` by ``1 - 0.9^t``. That equals a moving
    average with the weight ``0.1 / (1 - 0.9^t)`` for the newest of ``t`` values. PyTorch averages
    the sample variance (n - 1), TensorFlow that of the population (n); with the thousands of
    voxels of a real volume they are the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a tensor of shape (batch, channel, x, y, z)."""
        if self.training and self.num_batches_tracked is not None:
            updates = int(self.num_batches_tracked) + 1
            self.momentum = (1 - AVERAGE_DECAY) / (1 - AVERAGE_DECAY**updates)
        return super().forward(x)


def _norm(normalization: str, channels: int) -> nn.Module:
    if normalization == "batch":
        return DebiasedBatchNorm(channels, eps=NORM_EPSILON)
    return nn.InstanceNorm3d(channels, eps=NORM_EPSILON, affine=True)


class ConvNorm(nn.Module):
    """Convolution without bias, normalisation, and ReLU where ``relu`` is true.

    Zeros are added as TensorFlow's SAME rule adds them for an input that the stride divides:
    (kernel - stride) voxels per axis, the smaller half before.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        normalization: str,
        kernel: int = 3,
        stride: Triple = (1, 1, 1),
        relu: bool = True,
    ) -> None:
        super().__init__()
        before = [(kernel - step) // 2 for step in stride]
        after = [kernel - step - first for step, first in zip(stride, before, strict=True)]
        pairs = zip(reversed(before), reversed(after), strict=True)  # as torch wants: z, y, x
        self.pads = None if before == after else tuple(n for pair in pairs for n in pair)
        x, y, z = before if self.pads is None else (0, 0, 0)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, (x, y, z), bias=False)
        self.bn = _norm(normalization, out_channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, x, y, z) to (batch, out, x / stride, y / stride, z / stride)."""
        if self.pads is not None:
            x = functional.pad(x, self.pads)
        x = self.bn(self._convolve(x))
        return functional.relu(x, inplace=True) if self.relu else x

    def _convolve(self, x: Tensor) -> Tensor:
        """Convolve; strided convolutions on a CPU always use float32.

        oneDNN's AMX kernel for strided bfloat16 convolutions in three dimensions reads memory that
        it did not write (torch 2.13.0): losses become NaN, or silently wrong.
        """
        if x.device.type != "cpu" or max(self.conv.stride) == 1:
            return self.conv(x)  # type: ignore[no-any-return]
        with torch.autocast("cpu", enabled=False):
            return self.conv(x.float())  # type: ignore[no-any-return]


class DenseBlock(nn.Module):
    """Dense units, each fed with the block's input and all earlier outputs; skip and down convs."""

    def __init__(self, in_channels: int, level: int, normalization: str, widths: Widths) -> None:
        super().__init__()
        units, growth = DENSE_UNITS[level], widths.growth[level]
        self.dense = nn.ModuleList(
            ConvNorm(in_channels + unit * growth, growth, normalization) for unit in range(units)
        )
        stack = in_channels + units * growth
        self.skip = ConvNorm(stack, widths.skip[level], normalization)
        self.down = (
            ConvNorm(stack, widths.down[level], normalization, stride=(2, 2, 2))
            if level < len(widths.down)
            else None
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the skip output, as large as ``x``, and the down output of half the size."""
        for unit in self.dense:
            x = torch.cat([x, unit(x)], dim=1)  # (b, in + growth * (unit + 1), x, y, z)
        return self.skip(x), None if self.down is None else self.down(x)


class DenseVNet(nn.Module):
    """Two images in, logits of all labels out, at the size of the input.

    Parameters
    ----------
    in_channels : int
        Images, in-phase first.
    out_channels : int
        Labels with background.
    normalization : str
        ``batch``: as published; the moving averages are used in evaluation. ``instance``: the
        statistics of the volume itself, both in training and in evaluation.
    stem_stride : tuple of int
        Factor by which the first layers reduce the volume along x, y and z, each one of
        STEM_STRIDES; 2, 2, 2 as published. All further layers work on this grid and coarser ones.
    widths : str
        One of WIDTHS.

    Raises
    ------
    ValueError
        ``normalization``, ``stem_stride`` or ``widths`` is none of these.
    """

    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int = 15,
        normalization: str = "batch",
        stem_stride: Sequence[int] = PUBLISHED_STRIDE,
        widths: str = PUBLISHED_WIDTHS,
    ) -> None:
        super().__init__()
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization must be one of {NORMALIZATIONS}: {normalization!r}")
        x, y, z = stem_stride
        if not {x, y, z} <= set(STEM_STRIDES):
            raise ValueError(f"stem_stride must be of {STEM_STRIDES}: {tuple(stem_stride)}")
        if widths not in WIDTHS:
            raise ValueError(f"widths must be one of {tuple(WIDTHS)}: {widths!r}")
        wide = WIDTHS[widths]
        self.stem_stride = (x, y, z)
        self.pool_bn = _norm(normalization, in_channels)
        self.init_conv = ConvNorm(
            in_channels, STEM_CHANNELS, normalization, STEM_KERNEL, self.stem_stride, relu=False
        )
        inputs = (in_channels + STEM_CHANNELS, *wide.down)
        self.blocks = nn.ModuleList(
            DenseBlock(channels, level, normalization, wide)
            for level, channels in enumerate(inputs)
        )
        features = in_channels + sum(wide.skip)
        self.final = nn.Conv3d(features, out_channels, 3, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise kernels as NiftyNet does: truncated normal, variance 2 / (k^3 in_channels)."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                sigma = (2.0 / module.weight[0].numel()) ** 0.5
                nn.init.trunc_normal_(module.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of every label.

        Parameters
        ----------
        images : Tensor of float32, shape (batch, in_channels, x, y, z)
            x, y and z divisible by 8.

        Returns
        -------
        Tensor of float32, shape (batch, out_channels, x, y, z)

        Raises
        ------
        ValueError
            A size is not divisible by 8.
        """
        return upsample(self.half_logits(images), self.stem_stride)  # (b, 15, x, y, z)

    def half_logits(self, images: Tensor) -> Tensor:
        """Logits of the last convolution, before interpolation to full size.

        With a stem stride other than 2, x / 2 below is x divided by the stride, and so on; with
        other widths than the published ones the numbers of channels differ.

        Parameters
        ----------
        images : Tensor of float32, shape (batch, in_channels, x, y, z)

        Returns
        -------
        Tensor of float32, shape (batch, out_channels, x / 2, y / 2, z / 2)

        Raises
        ------
        ValueError
            A size is not divisible by 8.
        """
        check_divisible(tuple(images.shape[2:]))
        pooled = self.pool_bn(average_pool(images, self.stem_stride))  # (b, 2, x/2, y/2, z/2)
        stem = self.init_conv(images)  # (b, 24, x/2, y/2, z/2)
        x = torch.cat([pooled, stem], dim=1)  # (b, 26, x/2, y/2, z/2)
        skips = [pooled]
        for level, block in enumerate(self.blocks):
            skip, x = block(x)  # (b, 12 | 24 | 24, n/2 | n/4 | n/8), (b, 24, n/4 | n/8)
            skips.append(upsample(skip, (2**level,) * 3))  # (b, 12 | 24 | 24, x/2, y/2, z/2)
        logits: Tensor = self.final(torch.cat(skips, dim=1))  # (b, 62, ...) -> (b, 15, ...)
        return logits


def average_pool(x: Tensor, stride: Triple = PUBLISHED_STRIDE) -> Tensor:
    """Mean of stride + 1 voxels per axis; at the far edges only voxels of the image are averaged.

    An axis with stride 1 is unchanged.

    >>> average_pool(torch.arange(8.0).expand(1, 1, 8, 8, 8))[0, 0, 0, 0].tolist()
    [1.0, 3.0, 5.0, 6.5]
    """
    kernel = tuple(step + 1 if step > 1 else 1 for step in stride)
    return functional.avg_pool3d(
        x, kernel, stride, padding=0, ceil_mode=True, count_include_pad=False
    )


def upsample(x: Tensor, factors: Triple) -> Tensor:
    """Linear interpolation without half-voxel shift: output i reads input coordinate i / factor.

    >>> upsample(torch.tensor([0.0, 2.0]).expand(1, 1, 2, 2, 2), (2, 2, 2))[0, 0, 0, 0].tolist()
    [0.0, 1.0, 2.0, 2.0]
    """
    if factors == (1, 1, 1):
        return x
    size = [factor * n + 1 for factor, n in zip(factors, x.shape[2:], strict=True)]
    x = functional.pad(x, (0, 1) * 3, mode="replicate")
    x = functional.interpolate(x, size=size, mode="trilinear", align_corners=True)
    return x[:, :, :-1, :-1, :-1]
