"""Interpolation of slices between the drawn slices of a label map.

Labels drawn on slices several millimetres apart are interpolated by shape (Raya and Udupa 1990,
doi:10.1109/42.52980). In each drawn slice, every structure has a signed distance to its outline,
positive outside. Distances are interpolated linearly between slices, and each voxel takes the
structure with the smallest distance.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from bids_mfi.grid import Grid

# Slices farther apart than this are subdivided.
MOST_SLICE_MM = 3.5
FINE_SLICE_MM = 1.5
# Distance assigned where a slice lacks a structure, which then ends just beyond half way to it.
ABSENT_MM = 4.0


def divide_thick_slices(labels: NDArray[np.int16], grid: Grid) -> tuple[NDArray[np.int16], Grid]:
    """Interpolate the slices of a map with axes R, A, S if they are thick.

    Parameters
    ----------
    labels : ndarray of int16, shape (x, y, z)
    grid : Grid

    Returns
    -------
    labels : ndarray of int16, shape (x, y, z')
        Slices of about FINE_SLICE_MM, or the unchanged labels if their slices are not thick.
    grid : Grid
    """
    thickness_mm = grid.spacing_mm[2]
    if thickness_mm <= MOST_SLICE_MM or labels.shape[2] < 2:
        return labels, grid
    pieces = int(np.ceil(thickness_mm / FINE_SLICE_MM))
    affine = grid.matrix
    affine[:3, 2] /= pieces
    finer = interpolate_slices(labels, pieces, (grid.spacing_mm[0], grid.spacing_mm[1]))
    return finer, Grid.from_array(finer.shape, affine)


def interpolate_slices(
    labels: NDArray[np.int16], pieces: int, spacing_mm: tuple[float, float]
) -> NDArray[np.int16]:
    """Interpolate between slices along the last axis.

    Parameters
    ----------
    labels : ndarray of int16, shape (x, y, z)
    pieces : int
    spacing_mm : tuple of float
        Voxel size in the plane.

    Returns
    -------
    ndarray of int16, shape (x, y, (z - 1) * pieces + 1)
        Every ``pieces``-th slice is one of ``labels``.

    Examples
    --------
    >>> square = np.zeros((7, 7, 2), np.int16)
    >>> square[1:6, 1:6, 0] = 4
    >>> square[3:4, 3:4, 1] = 4
    >>> (interpolate_slices(square, 2, (1.0, 1.0)) == 4).sum(axis=(0, 1)).tolist()
    [25, 9, 1]
    """
    values = [int(value) for value in np.unique(labels)]
    count = (labels.shape[2] - 1) * pieces + 1
    nearest = np.full((*labels.shape[:2], count), np.inf, np.float32)
    result = np.zeros((*labels.shape[:2], count), np.int16)
    for value in values:
        drawn = np.stack(
            [signed_distance_mm(plane == value, spacing_mm) for plane in np.moveaxis(labels, 2, 0)],
            axis=2,
        )
        for k in range(count):
            below, part = divmod(k, pieces)
            share = np.float32(part / pieces)
            distance = drawn[..., below]
            if part:
                distance = (1 - share) * distance + share * drawn[..., below + 1]
            closer = distance < nearest[..., k]
            nearest[..., k][closer] = distance[closer]
            result[..., k][closer] = value
    return result


def signed_distance_mm(
    inside: NDArray[np.bool_], spacing_mm: tuple[float, float]
) -> NDArray[np.float32]:
    """Compute the distance to the outline of a structure in a slice, negative inside.

    The outline is half way between voxels; an absent structure has the distance ABSENT_MM.

    >>> signed_distance_mm(np.array([[False, True, True]]), (2.0, 2.0)).tolist()
    [[1.0, -1.0, -3.0]]
    """
    if not inside.any():
        return np.full(inside.shape, ABSENT_MM, np.float32)
    half = min(spacing_mm) / 2
    outside = distance_transform_edt(~inside, sampling=spacing_mm)
    within = distance_transform_edt(inside, sampling=spacing_mm) if not inside.all() else 99.0
    signed = np.where(inside, half - np.asarray(within), outside - half)
    return np.asarray(signed, np.float32)
