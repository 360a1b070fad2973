"""Logits of channels on the model grid, in one pass or in windows."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.errors import BundleError
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.intensity import standardise
from bids_mfi.network.local_intensity import standardise_locally
from bids_mfi.network.model_grid import pad_edges, working_shape
from bids_mfi.options import LOCAL


def segment_channels(
    channels: NDArray[np.float32], bundle: ModelBundle, network: DenseVNet
) -> NDArray[np.float32]:
    """Logits of every label for channels on the model grid.

    Parameters
    ----------
    channels : ndarray of float32, shape (2, x, y, z)
        As from :func:`resample_channels`.
    bundle : ModelBundle
    network : DenseVNet
        Of this bundle.

    Returns
    -------
    ndarray of float32, shape (labels, x, y, z)
        Of muscles and background; voxels that the network labels as vertebra are background.
    """
    return fold_vertebrae(segment_all_classes(channels, bundle, network), bundle)


def segment_all_classes(
    channels: NDArray[np.float32], bundle: ModelBundle, network: DenseVNet
) -> NDArray[np.float32]:
    """Logits of every class of the network, those of vertebrae at the end."""
    logits = _segment_view(channels, bundle, network)
    if bundle.mirrored:
        _average_mirrored(logits, channels, bundle, network)
    return logits


def fold_vertebrae(logits: NDArray[np.float32], bundle: ModelBundle) -> NDArray[np.float32]:
    """Count the classes of vertebrae as background, so that only muscles remain."""
    if not bundle.vertebrae:
        return logits
    muscles = logits[: bundle.muscle_classes]
    np.maximum(muscles[0], logits[bundle.muscle_classes :].max(axis=0), out=muscles[0])
    return muscles


def part_vertebrae(classes: NDArray[np.integer], bundle: ModelBundle) -> NDArray[np.int16]:
    """Give vertebrae the numbers from 1, in the order of the bundle's ``vertebrae``, all else 0.

    Parameters
    ----------
    classes : ndarray of int
        Numbers of the network's classes, of any shape.
    """
    return np.asarray(np.maximum(classes - bundle.muscle_classes + 1, 0), dtype=np.int16)


def _segment_view(
    channels: NDArray[np.float32], bundle: ModelBundle, network: DenseVNet
) -> NDArray[np.float32]:
    """Logits of channels as they are."""
    padded, inside = prepare_own(channels, bundle)
    device = next(network.parameters()).device
    volume = torch.from_numpy(padded)[None].to(device)  # (1, 2, x, y, z)
    with torch.inference_mode():
        if bundle.inference == "windows":
            logits = _in_windows(network, volume, bundle)
        else:
            logits = network(volume)  # (1, labels, x, y, z)
        check_logits(logits, bundle)
    return np.ascontiguousarray(logits[0].float().cpu().numpy()[(slice(None), *inside)])


def check_logits(logits: Tensor, bundle: ModelBundle) -> Tensor:
    """Return the logits, or raise BundleError if the weights made them overflow.

    NaN never compares as highest, so such labels would be background or nonsense.
    """
    if not torch.isfinite(logits).all():
        raise BundleError(
            f"{bundle.folder}: the network computes values that are not finite for this scan. "
            "Expected weights of a training that converged; name another bundle with --bundle."
        )
    return logits


def _average_mirrored(
    logits: NDArray[np.float32],
    channels: NDArray[np.float32],
    bundle: ModelBundle,
    network: DenseVNet,
) -> None:
    """Replace ``logits`` with their mean over the scan and its mirror image.

    The left of the mirror image is the right of the scan: its axis is flipped back and the classes
    of the two sides are exchanged. The image is flipped before it is padded, so a mirrored scan
    gives mirrored logits whatever its size.
    """
    across = 1 + next(axis for axis, code in enumerate(bundle.axcodes) if code in "LR")
    view = np.ascontiguousarray(np.flip(channels, across))
    mirrored = np.flip(_segment_view(view, bundle, network), across)
    other_side = bundle.table.mirrored_indices()
    for index, found in enumerate(logits):
        found += mirrored[other_side.get(index, index)]
        found /= 2


def prepare_own(
    channels: NDArray[np.float32], bundle: ModelBundle
) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
    """Standardise and pad channels; as :meth:`bids_mfi.network.inference.Inference.prepare`."""
    shape = working_shape(channels.shape[1:], bundle)
    return pad_edges(standardise_for(channels, bundle), shape)


def standardise_for(channels: NDArray[np.float32], bundle: ModelBundle) -> NDArray[np.float32]:
    """Standardise channels on the model grid as in the bundle's training."""
    if bundle.intensity == LOCAL:
        return standardise_locally(channels, bundle.spacing_mm)
    return standardise(channels, bundle.landmarks)


def _in_windows(network: DenseVNet, volume: Tensor, bundle: ModelBundle) -> Tensor:
    """Logits of overlapping windows; where several windows overlap, the mean of their inner parts.

    A window's border is left out except at the volume's own edge.
    """
    shape = tuple(volume.shape[2:])
    total = volume.new_zeros((bundle.out_channels, *shape))
    count = volume.new_zeros(shape)
    for start in _window_starts(shape, bundle):
        outer = tuple(slice(s, s + w) for s, w in zip(start, bundle.window, strict=True))
        logits = network(volume[(slice(None), slice(None), *outer)])[0]
        inner, target = _inner_part(start, shape, bundle)
        total[(slice(None), *target)] += logits[(slice(None), *inner)]
        count[target] += 1
    return (total / count)[None]


def _window_starts(shape: tuple[int, ...], bundle: ModelBundle) -> Iterator[tuple[int, ...]]:
    """Corners of windows that cover the volume with their inner parts.

    The last window of an axis ends where the volume ends.
    """
    axes = []
    for size, window, border in zip(shape, bundle.window, bundle.border, strict=True):
        starts = range(0, size - window, window - 2 * border)
        axes.append([*starts, size - window])
    yield from product(*axes)


def _inner_part(
    start: tuple[int, ...], shape: tuple[int, ...], bundle: ModelBundle
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Find the part of a window that counts, in its own and in the volume's coordinates."""
    inner, target = [], []
    for first, size, window, border in zip(start, shape, bundle.window, bundle.border, strict=True):
        low = border if first > 0 else 0
        high = window - border if first + window < size else window
        inner.append(slice(low, high))
        target.append(slice(first + low, first + high))
    return tuple(inner), tuple(target)
