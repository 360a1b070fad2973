"""Size of the model grid and of the network's input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bids_mfi.errors import BundleError
from bids_mfi.grid import Grid, linear_weights, reorient, resize_linear
from bids_mfi.network.architecture import SIZE_DIVISOR
from bids_mfi.network.body_box import Box
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.views import LogitView, label_views

MAX_MODEL_VOXELS = 30_000_000


def check_model_grid(grid: Grid, bundle: ModelBundle) -> None:
    """Raise BundleError if a grid has more than MAX_MODEL_VOXELS voxels."""
    voxels = int(np.prod(grid.shape, dtype=np.int64))
    if voxels > MAX_MODEL_VOXELS:
        raise BundleError(
            f"The scan covers {voxels} voxels of the grid of the model {bundle.name} "
            f"({bundle.spacing_mm} mm), expected at most {MAX_MODEL_VOXELS}. Crop the scan to the "
            "neck, or check the voxel size in its header."
        )


def padded_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Round every size up to a multiple of 8.

    >>> padded_shape((160, 121, 36))
    (160, 128, 40)
    """
    return tuple(size + -size % SIZE_DIVISOR for size in (int(n) for n in shape))


def pad_edges(
    volume: NDArray[Any], shape: tuple[int, ...]
) -> tuple[NDArray[Any], tuple[slice, ...]]:
    """Enlarge the last three axes to ``shape`` on both sides, repeating the outermost voxels.

    Returns
    -------
    padded : ndarray, shape (..., *shape)
    inside : tuple of slice
        Where the volume is in it.
    """
    leading = volume.ndim - len(shape)
    missing = [wanted - size for wanted, size in zip(shape, volume.shape[leading:], strict=True)]
    widths = [(0, 0)] * leading + [(n // 2, n - n // 2) for n in missing]
    inside = tuple(
        slice(n // 2, n // 2 + size)
        for n, size in zip(missing, volume.shape[leading:], strict=True)
    )
    return np.pad(volume, widths, mode="edge"), inside


def working_shape(shape: tuple[int, ...], bundle: ModelBundle) -> tuple[int, ...]:
    """Add the bundle's padding, and more if a window needs it."""
    padded = [size + 2 * padding for size, padding in zip(shape, bundle.padding, strict=True)]
    if bundle.joins_windows:
        padded = [max(size, window) for size, window in zip(padded, bundle.window, strict=True)]
    return padded_shape(tuple(padded))


def resampled_to_shape(grid: Grid, shape: tuple[int, int, int]) -> Grid:
    """Divide the field of view of a grid into this many voxels.

    >>> resampled_to_shape(Grid((2, 2, 2), ((2., 0, 0, 0), (0, 2., 0, 0), (0, 0, 2., 0),
    ...     (0, 0, 0, 1.))), (4, 2, 2)).spacing_mm
    (1.0, 2.0, 2.0)
    """
    step = np.array(grid.shape) / np.array(shape)
    affine = grid.matrix.copy()
    affine[:3, :3] = grid.matrix[:3, :3] * step
    affine[:3, 3] = (grid.matrix @ np.append((step - 1) / 2, 1.0))[:3]
    return Grid.from_array(shape, affine)


def labels_on_grid(
    box: Box,
    views: Sequence[LogitView],
    model_grid: Grid,
    scan_grid: Grid,
    threads: int = 1,
) -> NDArray[np.int16]:
    """Give every voxel of the scan its most likely label.

    The logits are interpolated linearly, so that boundaries are smoother than the model grid.
    Voxels whose centre is outside the box are background.

    Parameters
    ----------
    box : tuple of slice
        Part of ``model_grid`` that the views cover.
    views : sequence of LogitView
        The sum of their logits counts.
    model_grid : Grid
        From :func:`resample_channels` for a scan on ``scan_grid``.
    scan_grid : Grid
    threads : int

    Returns
    -------
    ndarray of int16, shape of ``scan_grid``
    """
    placeholder = np.broadcast_to(np.int8(0), scan_grid.shape)
    turned_shape = reorient(placeholder, scan_grid, model_grid.axcodes)[1].shape
    turned_grid = resampled_to_shape(model_grid, turned_shape)
    sizes = zip(model_grid.shape, turned_shape, box, strict=True)
    (x, columns), (y, rows), (z, slices) = (box_weights(*one) for one in sizes)
    labels = np.zeros(turned_shape, dtype=np.int16)
    labels[columns, rows, slices] = label_views([v.onto((x, y, z)) for v in views], threads)
    own, _ = reorient(labels, turned_grid, scan_grid.axcodes)
    return np.ascontiguousarray(own, dtype=np.int16)


def box_weights(size: int, wanted: int, part: slice) -> tuple[sparse.csr_array, slice]:
    """Weights of linear interpolation from a part of an axis, and the voxels that they reach.

    Parameters
    ----------
    size, wanted : int
        Number of voxels of the whole axis, and of the axis to which it is interpolated.
    part : slice
        Voxels of ``size`` that are known; beyond them the outermost known value is repeated.

    Returns
    -------
    weights : csr_array of float32, shape (reached voxels, known voxels)
    reached : slice
        Voxels of ``wanted`` whose centre is in the part.

    Examples
    --------
    >>> weights, reached = box_weights(4, 8, slice(1, 3))
    >>> reached, weights.toarray().tolist()
    (slice(2, 6, None), [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
    """
    weights = linear_weights(size, wanted)
    first, last = part.start, part.stop - 1
    known = weights[:, part].copy()
    known[:, 0] += weights[:, :first].sum(axis=1)
    known[:, -1] += weights[:, last + 1 :].sum(axis=1)
    centres = (np.arange(wanted) + 0.5) * size / wanted
    start = int(np.searchsorted(centres, part.start, side="left"))
    stop = int(np.searchsorted(centres, part.stop, side="right"))
    reached = slice(start, stop)
    return sparse.csr_array(known[reached]), reached


def resample_labels(labels: NDArray[np.int16], shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Resample a label map to another number of voxels of the same field of view.

    The share of each label is interpolated like an image; the largest share wins, or the lower
    number if two are equal.

    Examples
    --------
    >>> labels = np.repeat([0, 0, 2, 2], 4).reshape(4, 2, 2).astype(np.int16)
    >>> resample_labels(labels, (2, 2, 2))[:, 0, 0].tolist()
    [0, 2]
    """
    result = np.zeros(shape, dtype=np.int16)
    highest = np.full(shape, -1.0, dtype=np.float32)
    for index in np.unique(labels):
        share = resize_linear((labels == index).astype(np.float32), shape)
        np.copyto(result, index, where=share > highest + 1e-6)
        np.maximum(highest, share, out=highest)
    return result
