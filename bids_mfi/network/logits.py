"""Logits of channels on the model grid, in one pass or in windows."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bids_mfi.errors import BundleError
from bids_mfi.network.body_box import Box, find_body_box
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.engine import Engine
from bids_mfi.network.intensity import find_foreground, standardise
from bids_mfi.network.local_intensity import standardise_locally
from bids_mfi.network.model_grid import pad_edges, working_shape
from bids_mfi.network.views import (
    LogitView,
    Weights,
    identity_weights,
    label_views,
    sum_views,
    upsampling_weights,
)
from bids_mfi.network.window_parts import find_needed
from bids_mfi.options import LOCAL
from bids_mfi.threads import call_in_threads

Prepared = tuple[NDArray[np.float32], tuple[slice, ...]]


def segment_channels(
    channels: NDArray[np.float32], bundle: ModelBundle, engine: Engine
) -> NDArray[np.float32]:
    """Logits of every label for channels on the model grid.

    Parameters
    ----------
    channels : ndarray of float32, shape (2, x, y, z)
        As from :func:`resample_channels`.
    bundle : ModelBundle
    engine : Engine
        With the network of this bundle.

    Returns
    -------
    ndarray of float32, shape (labels, x, y, z)
        Of muscles and background; voxels that the network labels as vertebra are background.
        Outside the body box, background has 1 and all other labels 0.
    """
    return fold_vertebrae(segment_all_classes(channels, bundle, engine), bundle)


def segment_all_classes(
    channels: NDArray[np.float32], bundle: ModelBundle, engine: Engine
) -> NDArray[np.float32]:
    """Logits of every class of the network, those of vertebrae at the end."""
    box, views = segment_views(channels, find_foreground(channels[0]), bundle, engine)
    logits = np.zeros((bundle.out_channels, *channels.shape[1:]), dtype=np.float32)
    logits[0] = 1.0
    logits[(slice(None), *box)] = sum_views(views) / len(views)
    return logits


def segment_views(
    channels: NDArray[np.float32],
    foreground: NDArray[np.bool_],
    bundle: ModelBundle,
    engine: Engine,
    threads: int = 1,
) -> tuple[Box, list[LogitView]]:
    """Logits of a scan, and of its mirror image if the bundle wants it.

    The left of the mirror image is the right of the scan: its axis is flipped back and the classes
    of the two sides are exchanged. The image is flipped before it is standardised and padded, so a
    mirrored scan gives mirrored logits whatever its size.

    Parameters
    ----------
    channels : ndarray of float32, shape (2, x, y, z)
    foreground : ndarray of bool, shape (x, y, z)
        From :func:`bids_mfi.network.intensity.find_foreground`.
    bundle : ModelBundle
    engine : Engine
    threads : int
        Both volumes are standardised, and the engine is prepared, in these.

    Returns
    -------
    box : tuple of slice
        The part of the model grid that the views cover.
    views : list of LogitView
        On that part; the mean of their logits is the result.
    """
    box = choose_box(foreground, bundle)
    shape = working_shape(tuple(part.stop - part.start for part in box), bundle)
    seen = bundle.window if bundle.joins_windows else shape
    work: list[Callable[[], Any]] = [
        partial(engine.prepare, (len(channels), *seen)),
        partial(_prepare_part, channels, box, bundle, foreground),
    ]
    if bundle.mirrored:  # before the other, as it takes longer
        work.insert(1, partial(_prepare_mirrored, channels, box, bundle))
    *mirrored, own = call_in_threads(work, threads)[1:]
    views = [_segment_part(own, bundle, engine)]
    views += [_turn_back(_segment_part(part, bundle, engine), bundle) for part in mirrored]
    return box, views


def choose_box(foreground: NDArray[np.bool_], bundle: ModelBundle) -> Box:
    """Choose the body box where the network sees whole volumes; windows cover all of the grid."""
    if bundle.joins_windows:
        x, y, z = (slice(0, size) for size in foreground.shape)
        return x, y, z
    return find_body_box(foreground, bundle.spacing_mm)


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


def _prepare_part(
    channels: NDArray[np.float32],
    box: Box,
    bundle: ModelBundle,
    foreground: NDArray[np.bool_] | None = None,
) -> Prepared:
    """Standardise the whole of the channels, and pad a box of them."""
    part = standardise_for(channels, bundle, foreground)[(slice(None), *box)]
    return pad_edges(part, working_shape(part.shape[1:], bundle))


def _prepare_mirrored(channels: NDArray[np.float32], box: Box, bundle: ModelBundle) -> Prepared:
    """Prepare the same box of the mirror image."""
    across = _find_axis_across(bundle)
    flipped = list(box)
    size = channels.shape[1 + across]
    flipped[across] = slice(size - box[across].stop, size - box[across].start)
    x, y, z = flipped
    return _prepare_part(np.ascontiguousarray(np.flip(channels, 1 + across)), (x, y, z), bundle)


def _find_axis_across(bundle: ModelBundle) -> int:
    return next(axis for axis, code in enumerate(bundle.axcodes) if code in "LR")


def _segment_part(part: Prepared, bundle: ModelBundle, engine: Engine) -> LogitView:
    """Logits of a prepared box."""
    padded, inside = part
    if bundle.joins_windows:
        logits = _in_windows(engine, padded, bundle)
        weights = identity_weights(logits.shape[1:])
    else:
        logits = check_logits(engine.coarse_logits(padded), bundle)
        weights = stride_weights(logits.shape[1:], engine.stride)
    x, y, z = (rows[kept] for rows, kept in zip(weights, inside, strict=True))
    return LogitView(logits, (x, y, z))


def stride_weights(shape: tuple[int, ...], stride: tuple[int, int, int]) -> Weights:
    """Weights from the grid of the logits to that of the images."""
    x, y, z = (upsampling_weights(*pair) for pair in zip(shape, stride, strict=True))
    return x, y, z


def _turn_back(view: LogitView, bundle: ModelBundle) -> LogitView:
    """Give the logits of the mirror image the scan's own order of voxels and classes."""
    other_side = bundle.table.mirrored_indices()
    order = [other_side.get(index, index) for index in range(len(view.logits))]
    weights, across = list(view.weights), _find_axis_across(bundle)
    weights[across] = sparse.csr_array(weights[across][::-1])
    x, y, z = weights
    return LogitView(view.logits[order], (x, y, z))


def check_logits(logits: NDArray[np.float32], bundle: ModelBundle) -> NDArray[np.float32]:
    """Return the logits, or raise BundleError if the weights made them overflow.

    NaN never compares as highest, so such labels would be background or nonsense.
    """
    if not np.isfinite(logits).all():
        raise BundleError(
            f"{bundle.folder}: the network computes values that are not finite for this scan. "
            "Expected weights of a training that converged; name another bundle with --bundle."
        )
    return logits


def prepare_own(
    channels: NDArray[np.float32], bundle: ModelBundle
) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
    """Standardise and pad channels; as :meth:`bids_mfi.network.inference.Inference.prepare`."""
    shape = working_shape(channels.shape[1:], bundle)
    return pad_edges(standardise_for(channels, bundle), shape)


def standardise_for(
    channels: NDArray[np.float32],
    bundle: ModelBundle,
    foreground: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Standardise channels on the model grid as in the bundle's training.

    Their foreground is found if it is not given.
    """
    if bundle.intensity == LOCAL:
        return standardise_locally(channels, bundle.spacing_mm, foreground)
    return standardise(channels, bundle.landmarks, foreground)


def _in_windows(
    engine: Engine, volume: NDArray[np.float32], bundle: ModelBundle
) -> NDArray[np.float32]:
    """Logits of overlapping windows; where several windows overlap, the mean of their inner parts.

    A window's border is left out except at the volume's own edge.
    """
    shape = volume.shape[1:]
    total = np.zeros((bundle.out_channels, *shape), dtype=np.float32)
    count = np.zeros(shape, dtype=np.float32)
    for start in _window_starts(shape, bundle):
        outer = tuple(slice(s, s + w) for s, w in zip(start, bundle.window, strict=True))
        logits = check_logits(fine_logits(engine, volume[(slice(None), *outer)]), bundle)
        inner, target = _inner_part(start, shape, bundle)
        total[(slice(None), *target)] += logits[(slice(None), *inner)]
        count[target] += 1
    total /= count
    return total


def label_part(
    engine: Engine, window: NDArray[np.float32], part: Box, bundle: ModelBundle, threads: int
) -> NDArray[np.int16]:
    """Most likely class of every voxel of a part of a standardised window, (x, y, z).

    The engine is given what the part depends on: with instance normalisation, all of the window.
    """
    needed = [slice(0, size) for size in window.shape[1:]]
    if bundle.normalization == "batch":
        axes = zip(part, window.shape[1:], engine.stride, strict=True)
        needed = [find_needed(*axis) for axis in axes]
    (x, a), (y, b), (z, c) = (
        part_weights(
            slice(rows.start - seen.start, rows.stop - seen.start), seen.stop - seen.start, stride
        )
        for rows, seen, stride in zip(part, needed, engine.stride, strict=True)
    )
    images = np.ascontiguousarray(window[(slice(None), *needed)])
    coarse = check_logits(engine.part_logits(images, (a, b, c)), bundle)
    return label_views([LogitView(coarse, (x, y, z))], threads)


def part_weights(rows: slice, size: int, stride: int) -> tuple[sparse.csr_array, slice]:
    """Weights of the rows of an axis of ``size`` voxels, and the coarse voxels that they need."""
    weights = upsampling_weights(size // stride, stride)[rows]
    low, high = int(weights.indices.min()), int(weights.indices.max()) + 1
    return sparse.csr_array(weights[:, low:high]), slice(low, high)


def fine_logits(engine: Engine, volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits at the size of the images, (classes, x, y, z)."""
    coarse = engine.coarse_logits(np.ascontiguousarray(volume))
    return sum_views([LogitView(coarse, stride_weights(coarse.shape[1:], engine.stride))])


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
