"""NiftyNet 0.6.0's inference, step for step.

A bundle whose ``inference`` is ``niftynet`` takes this path and so reproduces the labels of
NiftyNet. Much here would be done differently today (end-point aligned resampling, padding before
the foreground is found, windows that overwrite each other). It is kept because the weights were
trained with it. ``docs/decisions/niftynet.md`` describes what is identical and what was left out.

The steps, in order: reorient, resample (:func:`resample_cubic`); pad (:func:`pad_minimum`),
foreground (:func:`find_filled_foreground`), landmarks (:func:`map_to_percentiles`), whitening
(:func:`whiten_foreground`); windows (:func:`plan_visible`), labels of each
(:func:`segment_windows`); crop; resample back (:func:`resample_nearest`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.errors import PairError
from bids_mfi.grid import Grid
from bids_mfi.threads import call_in_threads

LANDMARK_PROBABILITIES = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
LANDMARKS = 2 + len(LANDMARK_PROBABILITIES)
USED_LANDMARKS = (0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12)  # those at 25 and 75 % are left out
LEAST_DEVIATION = 1e-5
SLAB = 8
CROSS = ndimage.generate_binary_structure(3, 1)

Triple = tuple[int, int, int]
Box = tuple[slice, slice, slice]


# ---------------------------------------------------------------------------------- resampling


def resampled_shape(
    shape: tuple[int, ...], zooms_mm: tuple[float, ...], spacing_mm: tuple[float, ...]
) -> Triple:
    """Voxels along each axis after resampling; halves go to the even number.

    ``zooms_mm`` are the voxel sizes of the image's header, which are float32 numbers.

    >>> resampled_shape((96, 80, 20), (1.0, 0.9, 2.5), (0.7, 0.7, 3.0))
    (137, 103, 17)
    """
    x, y, z = (
        round(size * factor)
        for size, factor in zip(shape, _factors(zooms_mm, spacing_mm), strict=True)
    )
    return x, y, z


def _factors(zooms_mm: tuple[float, ...], spacing_mm: tuple[float, ...]) -> list[float]:
    single = np.asarray(zooms_mm, dtype=np.float32).astype(np.float64)
    return [float(factor) for factor in single / np.asarray(spacing_mm)]


def make_niftynet_grid(grid: Grid, shape: Triple) -> Grid:
    """Lay ``shape`` voxels between the centres of the outermost voxels of a grid."""
    steps = (np.array(grid.shape) - 1) / np.maximum(np.array(shape) - 1, 1)
    affine = grid.matrix
    affine[:3, :3] *= steps
    return Grid.from_array(shape, affine)


def resample_cubic(
    volume: NDArray[np.floating], zooms_mm: tuple[float, ...], spacing_mm: tuple[float, ...]
) -> NDArray[np.float32]:
    """Cubic B-spline between the centres of the outermost voxels, as ``scipy.ndimage.zoom`` does.

    Output voxel k of n reads input coordinate ``k (n_in - 1) / (n - 1)``, so the field of view is
    stretched a little and the true spacing is not quite ``spacing_mm``. Values are not clipped.

    Raises
    ------
    PairError
        An axis would have no voxel left.
    """
    if min(resampled_shape(volume.shape, zooms_mm, spacing_mm)) < 1:
        raise PairError(
            f"The scan has {volume.shape} voxels of {tuple(float(z) for z in zooms_mm)} mm, which "
            f"is less than half a voxel of the model's {spacing_mm} mm along an axis. Expected a "
            "scan of the neck; check the voxel size in its header."
        )
    single, factors = volume.astype(np.float32), _factors(zooms_mm, spacing_mm)
    if factors == [1.0, 1.0, 1.0]:
        return single
    resampled = ndimage.zoom(single, factors, order=3, mode="constant")
    return np.asarray(resampled, dtype=np.float32)


def resample_nearest(labels: NDArray[np.int16], shape: Triple) -> NDArray[np.int16]:
    """Nearest label, between the centres of the outermost voxels, for an image of ``shape``.

    >>> resample_nearest(np.arange(3, dtype=np.int16).reshape(3, 1, 1), (5, 1, 1)).ravel().tolist()
    [0, 1, 1, 2, 2]
    """
    factors = np.array(shape) / np.array(labels.shape)
    return np.asarray(ndimage.zoom(labels, factors, order=0), dtype=np.int16)


# ----------------------------------------------------------------------------------- intensity


def padding_widths(
    shape: tuple[int, ...], padding: Triple, window: Triple
) -> tuple[tuple[int, int], ...]:
    """Voxels to add before and after each axis: ``padding``, and more where no window would fit.

    >>> padding_widths((200, 120, 9), (90, 60, 8), (360, 240, 32))
    ((90, 90), (60, 60), (11, 12))
    """
    widths = []
    for size, pad, wanted in zip(shape, padding, window, strict=True):
        missing = max(0, wanted - size - 2 * pad)
        widths.append((pad + missing // 2, pad + missing - missing // 2))
    return tuple(widths)


def pad_minimum(
    volume: NDArray[np.float32], widths: tuple[tuple[int, int], ...]
) -> NDArray[np.float32]:
    """Enlarge a volume by the least value of each line, x first, then y, then z."""
    return np.pad(volume, widths, mode="minimum")


def find_filled_foreground(channels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels that belong to the foreground of every channel.

    Foreground of a channel: values above 0, dilated twice by a 6-connected cross, holes filled.

    Parameters
    ----------
    channels : ndarray of float32, shape (channels, x, y, z)
        Padded.
    """
    found = np.ones(channels.shape[1:], dtype=np.bool_)
    for volume in channels:
        found &= fill_holes(ndimage.binary_dilation(volume > 0, CROSS, iterations=2))
    return found


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add what is enclosed: background that no 6-connected path joins to the outside.

    The same as ``scipy.ndimage.binary_fill_holes``, in one pass over the volume.
    """
    pieces, count = ndimage.label(~mask, CROSS)
    outside = np.zeros(count + 1, dtype=np.bool_)
    for axis in range(3):
        for end in (0, -1):
            outside[np.unique(np.take(pieces, end, axis=axis))] = True
    outside[0] = False
    filled: NDArray[np.bool_] = ~outside[pieces]
    return filled


def map_to_percentiles(
    volume: NDArray[np.float32],
    foreground: NDArray[np.bool_],
    landmarks: tuple[float, ...],
    cutoff: tuple[float, float],
) -> NDArray[np.float32]:
    """Piecewise linear map of the foreground's percentiles to the landmarks (Nyul and Udupa).

    Eleven of the thirteen landmarks are used, those at 25 and 75 % are not. The end pieces extend
    without limit. A channel that is 0 everywhere stays 0.
    """
    if not volume.any():
        return volume
    probabilities = np.array([cutoff[0], *LANDMARK_PROBABILITIES, cutoff[1]])
    kept = list(USED_LANDMARKS)
    tissue = volume[foreground].astype(np.float64)
    knots = np.percentile(tissue, 100 * probabilities[kept], overwrite_input=True)
    targets = np.array(landmarks, dtype=np.float64)[kept]
    rise = np.diff(knots)
    slopes = np.divide(np.diff(targets), rise, out=np.zeros_like(rise), where=rise != 0)
    intercepts = targets[:-1] - slopes * knots[:-1]

    def map_slab(slab: NDArray[np.float32]) -> NDArray[np.float64]:
        piece = np.searchsorted(knots[1:-1], slab.ravel(), side="right").reshape(slab.shape)
        found: NDArray[np.float64] = slopes[piece] * slab + intercepts[piece]
        return found

    return _by_slabs(map_slab, volume)


def whiten_foreground(
    volume: NDArray[np.float32], foreground: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Subtract the foreground's mean from all voxels and divide by its standard deviation."""
    tissue = volume[foreground].astype(np.float64)
    mean, deviation = tissue.mean(), max(float(tissue.std()), LEAST_DEVIATION)
    return _by_slabs(lambda slab: (slab - mean) / deviation, volume)


def _by_slabs(
    change: Callable[[NDArray[np.float32]], NDArray[np.float64]], volume: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Change each voxel on its own, a slab at a time: float64 of the whole volume is large."""
    changed = np.empty_like(volume)
    for first in range(0, len(volume), SLAB):
        changed[first : first + SLAB] = change(volume[first : first + SLAB])
    return changed


def standardise_as_niftynet(
    padded: NDArray[np.float32],
    landmarks: tuple[tuple[float, ...], ...],
    cutoff: tuple[float, float],
    threads: int = 1,
) -> NDArray[np.float32]:
    """Landmarks, then whitening, with one foreground for all channels and both steps.

    Parameters
    ----------
    padded : ndarray of float32, shape (channels, x, y, z)
    landmarks : tuple of tuple of float
        Of each channel.
    cutoff : tuple of float
        Probabilities of the first and the last landmark.
    threads : int
        Each works on a channel, so their number has no influence on the result.

    Raises
    ------
    PairError
        The channels have no common foreground.
    """
    foreground = find_filled_foreground(padded)
    if not foreground.any():
        raise PairError(
            "No voxel is above 0 in both the in-phase and the out-of-phase image, expected tissue. "
            "Check the two images."
        )

    def standardise_channel(
        volume: NDArray[np.float32], row: tuple[float, ...]
    ) -> NDArray[np.float32]:
        return whiten_foreground(map_to_percentiles(volume, foreground, row, cutoff), foreground)

    channels = [partial(standardise_channel, *pair) for pair in zip(padded, landmarks, strict=True)]
    return np.stack(call_in_threads(channels, threads))


# ------------------------------------------------------------------------------------- windows


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Parts of a padded volume that the network sees, and the labels of each that are kept.

    Attributes
    ----------
    windows : tuple of Box
        Windows in the order in which they are labelled.
    written : tuple of Box
        For each window the part whose labels it writes; later windows overwrite earlier ones.
    """

    windows: tuple[Box, ...]
    written: tuple[Box, ...]


def window_starts(size: int, window: int, border: int) -> list[int]:
    """First voxels of the windows along one axis, in NiftyNet's order.

    Steps of ``window - 2 border``, then the window that ends with the axis. If that makes two
    windows, their mean is appended unless it is one of them (an axis one voxel longer than the
    window).

    >>> window_starts(380, 360, 8), window_starts(32, 32, 8), window_starts(80, 32, 8)
    ([0, 20, 10], [0], [0, 16, 32, 48])
    >>> window_starts(361, 360, 8)
    [0, 1]
    """
    last = size - window
    starts = sorted({*range(0, last + 1, window - 2 * border), last})
    middle = round((starts[0] + starts[-1]) / 2)
    return [*starts, middle] if len(starts) == 2 and middle not in starts else starts


def plan_windows(shape: tuple[int, ...], window: Triple, border: Triple) -> WindowPlan:
    """Windows over a padded volume as NiftyNet visits them, y first, then x, then z.

    Parameters
    ----------
    shape : tuple of int
        Of the padded volume, nowhere smaller than the window.
    window, border : tuple of int
    """
    axes = [window_starts(*sizes) for sizes in zip(shape, window, border, strict=True)]
    corners = [(x, y, z) for y, x, z in product(axes[1], axes[0], axes[2])]
    inner = tuple(w - 2 * b for w, b in zip(window, border, strict=True))
    firsts = [tuple(s + b for s, b in zip(corner, border, strict=True)) for corner in corners]
    return WindowPlan(
        tuple(_box(corner, window) for corner in corners),
        tuple(_box(first, inner) for first in firsts),
    )


def plan_visible(shape: tuple[int, ...], inside: Box, window: Triple, border: Triple) -> WindowPlan:
    """Windows of :func:`plan_windows` that leave labels inside the image, and where they do.

    The last of several windows wins along each axis on its own, because the windows are all
    combinations of the starts along the axes. Windows with parts of the same size follow each
    other, so that an engine compiles for few sizes.

    Parameters
    ----------
    shape, window, border : as for :func:`plan_windows`
    inside : Box
        Where the image is in it.
    """
    axes = [_find_visible(*sizes) for sizes in zip(shape, inside, window, border, strict=True)]
    windows, written = [], []
    for (x, seen_x), (y, seen_y), (z, seen_z) in product(*axes):
        windows.append(_box((x, y, z), window))
        written.append((seen_x, seen_y, seen_z))
    order = sorted(range(len(windows)), key=lambda i: (windows[i][0].start, *_sizes(written[i])))
    return WindowPlan(tuple(windows[i] for i in order), tuple(written[i] for i in order))


def _sizes(box: Box) -> list[int]:
    return [rows.stop - rows.start for rows in box]


def _find_visible(size: int, inside: slice, window: int, border: int) -> list[tuple[int, slice]]:
    """Find the starts along an axis, and the voxels inside that no later window overwrites."""
    starts = window_starts(size, window, border)
    owner = np.full(size, -1)
    for number, start in enumerate(starts):
        owner[start + border : start + window - border] = number
    owned = [inside.start + np.flatnonzero(owner[inside] == n) for n in range(len(starts))]
    return [
        (start, slice(int(voxels[0]), int(voxels[-1]) + 1))
        for start, voxels in zip(starts, owned, strict=True)
        if voxels.size
    ]


def _box(corner: tuple[int, ...], size: tuple[int, ...]) -> Box:
    x, y, z = (slice(first, first + count) for first, count in zip(corner, size, strict=True))
    return x, y, z


def segment_windows(
    volume: NDArray[np.float32],
    plan: WindowPlan,
    label_part: Callable[[NDArray[np.float32], Box], NDArray[np.int16]],
) -> NDArray[np.int16]:
    """Labels of a padded volume, 0 where no window of the plan writes.

    Parameters
    ----------
    volume : ndarray of float32, shape (channels, x, y, z)
    plan : WindowPlan
    label_part : callable
        Images of a window (channels, x, y, z) and a part of it, to the most likely label of each
        voxel of the part.
    """
    labels = np.zeros(volume.shape[1:], dtype=np.int16)
    for seen, written in zip(plan.windows, plan.written, strict=True):
        x, y, z = (
            slice(target.start - source.start, target.stop - source.start)
            for source, target in zip(seen, written, strict=True)
        )
        labels[written] = label_part(volume[(slice(None), *seen)], (x, y, z))
    return labels
