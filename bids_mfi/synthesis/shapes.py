"""Conversion of cross-section curves to polygons, and of polygons to voxels.

A structure is drawn in cross-sections at some heights. Each cross-section becomes a closed polygon
of VERTICES points, split into a *core* (the midline of a ribbon, the centre of an oval) and an
*offset* from it. A structure can thus grow without moving: vertex = core + growth * offset.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

VERTICES = 48
_CAP = 5
_ALONG = VERTICES // 2 - _CAP

Floats = NDArray[np.float64]


def ribbon_section(nodes: Sequence[Sequence[float]]) -> tuple[Floats, Floats]:
    """Draw a band along a smooth midline, with rounded ends.

    Parameters
    ----------
    nodes : sequence of (x, y, half_thickness)
        Millimetres, from one end of the midline to the other; at least two.

    Returns
    -------
    core, offset : ndarray of float64, shape (VERTICES, 2)
    """
    points = np.asarray(nodes, dtype=np.float64)
    position = np.linspace(0, 1, len(points))
    along = np.linspace(0, 1, _ALONG)
    smooth = PchipInterpolator if len(points) < 3 else CubicSpline
    midline = smooth(position, points[:, :2])(along)
    half = PchipInterpolator(position, points[:, 2])(along)
    tangent = np.gradient(midline, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    end = _cap(midline[-1], normal[-1], tangent[-1], half[-1])
    start = _cap(midline[0], -normal[0], -tangent[0], half[0])
    core = np.concatenate([midline, end[0], midline[::-1], start[0]])
    sides = normal * half[:, None]
    return core, np.concatenate([sides, end[1], -sides[::-1], start[1]])


def _cap(centre: Floats, normal: Floats, tangent: Floats, half: float) -> tuple[Floats, Floats]:
    angle = np.linspace(0, np.pi, _CAP + 2)[1:-1, None]
    offset = half * (np.cos(angle) * normal + np.sin(angle) * tangent)
    return np.repeat(centre[None], _CAP, axis=0), offset


def oval_section(oval: Sequence[float]) -> tuple[Floats, Floats]:
    """Draw an ellipse.

    Parameters
    ----------
    oval : (x, y, semi_axis_x, semi_axis_y) or (x, y, semi_axis_x, semi_axis_y, turn_degrees)
        Millimetres.

    Returns
    -------
    core, offset : ndarray of float64, shape (VERTICES, 2)

    Examples
    --------
    >>> core, offset = oval_section((1, 2, 3, 4))
    >>> core[0].tolist(), offset[0].tolist()
    ([1.0, 2.0], [3.0, 0.0])
    """
    x, y, a, b = (float(value) for value in oval[:4])
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    flat_x, flat_y = a * np.cos(angle), b * np.sin(angle)
    turn = np.deg2rad(oval[4] if len(oval) > 4 else 0.0)
    turned_x = np.cos(turn) * flat_x - np.sin(turn) * flat_y
    turned_y = np.sin(turn) * flat_x + np.cos(turn) * flat_y
    return np.tile([x, y], (VERTICES, 1)), np.stack([turned_x, turned_y], axis=1)


def outline_section(half: Sequence[Sequence[float]]) -> tuple[Floats, Floats]:
    """Draw a closed outline, symmetric about x = 0, with unit normals as offset.

    Parameters
    ----------
    half : sequence of (x, y)
        Right half, from the posterior midline to the anterior midline, x = 0 at both ends.

    Returns
    -------
    core, offset : ndarray of float64, shape (VERTICES, 2)
        Points evenly spaced along the right and then the left half; outward unit normals.
    """
    right = np.asarray(half, dtype=np.float64)
    left = right[-2::-1] * [-1, 1]
    closed = np.concatenate([right, left])
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))]
    curve = CubicSpline(length, closed, bc_type="periodic")
    position = np.linspace(0, length[-1], VERTICES, endpoint=False)
    tangent = curve(position, 1)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    return curve(position), normal / np.linalg.norm(normal, axis=1, keepdims=True)


def fill_polygons(
    volume: NDArray[np.uint8], polygons: NDArray[np.float32], slices: NDArray[np.intp], value: int
) -> None:
    """Set the voxels whose centres are in a polygon; a non-zero winding number means inside.

    Parameters
    ----------
    volume : ndarray of uint8, shape (slices, x, y)
        Changed in place.
    polygons : ndarray of float32, shape (n, vertices, 2)
        Vertices in voxel indices along x and y, one polygon per entry of ``slices``.
    slices : ndarray of int, shape (n,)
        Distinct slices, ascending.
    value : int
        Value for the voxels inside.

    Examples
    --------
    >>> volume = np.zeros((1, 4, 4), np.uint8)
    >>> square = np.array([[[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]]], np.float32)
    >>> fill_polygons(volume, square, np.array([0]), 7)
    >>> volume[0, 1].tolist(), int(volume.sum())
    ([0, 7, 7, 0], 28)
    """
    n_x, n_y = volume.shape[1:]
    box = _index_box(polygons, (n_x, n_y))
    if box is None:
        return
    (x0, x1), (y0, y1) = box
    which, row, column, direction = _crossings(polygons, (y0, y1))
    winding = np.zeros((len(slices), x1 - x0 + 1, y1 - y0), np.int8)
    column = np.clip(column - x0, 0, x1 - x0)
    np.add.at(winding, (which, column, row - y0), direction)
    inside = np.cumsum(winding, axis=1, dtype=np.int8)[:, :-1] != 0
    if len(slices) == slices[-1] - slices[0] + 1:
        volume[slices[0] : slices[-1] + 1, x0:x1, y0:y1][inside] = value
        return
    for index, plane in zip(slices, inside, strict=True):
        volume[index, x0:x1, y0:y1][plane] = value


def _index_box(
    polygons: NDArray[np.float32], shape: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    if not len(polygons):
        return None
    low = np.maximum(np.ceil(polygons.min(axis=(0, 1))), 0).astype(int)
    high = np.minimum(np.floor(polygons.max(axis=(0, 1))) + 1, shape).astype(int)
    if (high <= low).any():
        return None
    return (int(low[0]), int(high[0])), (int(low[1]), int(high[1]))


def _crossings(
    polygons: NDArray[np.float32], rows: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.int8]]:
    """Find crossings of edges and voxel rows: polygon, row, first column to the right, sign."""
    start = polygons
    end = np.roll(polygons, -1, axis=1)
    upward = end[..., 1] > start[..., 1]
    lower = np.where(upward[..., None], start, end)
    upper = np.where(upward[..., None], end, start)
    first = np.clip(np.ceil(lower[..., 1]), *rows).astype(np.intp)
    last = np.clip(np.ceil(upper[..., 1]), *rows).astype(np.intp)
    count = (last - first).ravel()
    edge = np.repeat(np.arange(count.size), count)
    row = np.arange(edge.size) - np.repeat(np.cumsum(count) - count, count) + first.ravel()[edge]
    low, high = lower.reshape(-1, 2)[edge], upper.reshape(-1, 2)[edge]
    slope = (high[:, 0] - low[:, 0]) / (high[:, 1] - low[:, 1])
    column = np.ceil(low[:, 0] + (row - low[:, 1]) * slope).astype(np.intp)
    sign = np.where(upward.ravel(), 1, -1).astype(np.int8)[edge]
    return edge // polygons.shape[1], row, column, sign
