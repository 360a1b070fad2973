"""Logits that a network gave for one view of a scan, and the labels that follow from them.

A view is the scan itself, its mirror image or a part of it. Interpolation is separable and linear,
so the steps from the network's grid to that of the scan are one sparse matrix for each axis. Labels
are found slice by slice: no logits of the scan's size are ever held.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bids_mfi.threads import map_in_threads

Weights = tuple[sparse.csr_array, sparse.csr_array, sparse.csr_array]


@dataclass(frozen=True, slots=True)
class LogitView:
    """Coarse logits and their way to a finer grid.

    Attributes
    ----------
    logits : ndarray of float32, shape (classes, a, b, c)
    weights : tuple of csr_array
        For the three axes, shapes (x, a), (y, b) and (z, c).
    """

    logits: NDArray[np.float32]
    weights: Weights

    def onto(self, further: Weights) -> "LogitView":
        """Add a step of interpolation to every axis."""
        x, y, z = (
            sparse.csr_array(after @ before)
            for after, before in zip(further, self.weights, strict=True)
        )
        return LogitView(self.logits, (x, y, z))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels of the finer grid."""
        x, y, z = (int(weights.shape[0]) for weights in self.weights)
        return x, y, z


def identity_weights(shape: Sequence[int]) -> Weights:
    """Weights that change nothing."""
    x, y, z = (sparse.csr_array(sparse.eye_array(size, dtype=np.float32)) for size in shape)
    return x, y, z


def upsampling_weights(size: int, factor: int) -> sparse.csr_array:
    """Weights of linear interpolation without half-voxel shift; the last value is repeated.

    Output i reads input coordinate i / factor, as :func:`bids_mfi.network.dense_vnet.upsample`.

    >>> upsampling_weights(2, 2).toarray().tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]]
    """
    rows = np.arange(factor * size)
    low, share = rows // factor, (rows % factor) / factor
    high = np.minimum(low + 1, size - 1)
    weights = np.zeros((len(rows), size), dtype=np.float32)
    weights[rows, low] = 1 - share
    weights[rows, high] += share.astype(np.float32)
    return sparse.csr_array(weights)


def label_views(views: Sequence[LogitView], threads: int) -> NDArray[np.int16]:
    """Most likely class by the sum of the views; the lowest number where several are equal.

    Parameters
    ----------
    views : sequence of LogitView
        All with the same finer grid.
    threads : int
        Each labels slices of its own, so their number has no influence on the result.

    Returns
    -------
    ndarray of int16, shape (x, y, z)
    """
    labels = np.zeros(views[0].shape, dtype=np.int16)
    if not labels.size:
        return labels
    planes = [_Planes(view) for view in views]

    def label_slice(k: int) -> None:
        total = planes[0].interpolate(k)
        for other in planes[1:]:
            total += other.interpolate(k)
        labels[..., k] = total.argmax(axis=-1)

    map_in_threads(label_slice, range(labels.shape[2]), threads)
    return labels


def sum_views(views: Sequence[LogitView]) -> NDArray[np.float32]:
    """Logits on the finer grid, summed over the views, (classes, x, y, z)."""
    total = np.zeros((len(views[0].logits), *views[0].shape), dtype=np.float32)
    for view in views:
        planes = _Planes(view)
        for k in range(total.shape[3]):
            total[..., k] += np.moveaxis(planes.interpolate(k), -1, 0)
    return total


class _Planes:
    """Slices of a view on the finer grid, interpolated one at a time."""

    def __init__(self, view: LogitView) -> None:
        self.stack = np.ascontiguousarray(view.logits.transpose(3, 2, 1, 0))  # (c, b, a, classes)
        self.weights = view.weights

    def interpolate(self, k: int) -> NDArray[np.float32]:
        """Logits of one slice, (x, y, classes)."""
        x, y, z = self.weights
        entries = slice(z.indptr[k], z.indptr[k + 1])
        coarse = sum(
            weight * self.stack[index]
            for weight, index in zip(z.data[entries], z.indices[entries], strict=True)
        )
        rows, columns, classes = coarse.shape  # b, a, classes
        plane = (y @ coarse.reshape(rows, -1)).reshape(-1, columns, classes)
        plane = np.ascontiguousarray(plane.transpose(1, 0, 2)).reshape(columns, -1)
        found: NDArray[np.float32] = (x @ plane).reshape(x.shape[0], y.shape[0], classes)
        return found
