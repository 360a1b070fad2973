"""Removal of muscle labels that lie in air."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# A piece of a label of which a smaller share shows tissue is removed.
LEAST_TISSUE_SHARE = 0.5


def remove_pieces_in_air(
    labels: NDArray[np.int16], foreground: NDArray[np.bool_], highest: int
) -> None:
    """Set connected pieces of a label to 0 where less than half of their voxels show tissue.

    Parameters
    ----------
    labels : ndarray of int16, shape (x, y, z)
        Changed in place.
    foreground : ndarray of bool, shape (a, b, c)
        Voxels that show tissue, of the same field of view; the grid may be another.
    highest : int
        Labels above it stay: vertebrae may be as dark as air.

    Examples
    --------
    >>> labels = np.array([3, 3, 0, 3, 0, 5], dtype=np.int16).reshape(6, 1, 1)
    >>> remove_pieces_in_air(labels, np.array([True, True, False]).reshape(3, 1, 1), 14)
    >>> labels.ravel().tolist()
    [3, 3, 0, 3, 0, 0]
    """
    nearest = [
        ((np.arange(size) + 0.5) * known / size).astype(int)
        for size, known in zip(labels.shape, foreground.shape, strict=True)
    ]
    for index, box in enumerate(ndimage.find_objects(labels, highest), start=1):
        if box is not None:
            pieces, count = ndimage.label(labels[box] == index)
            tissue = foreground[np.ix_(*(at[part] for at, part in zip(nearest, box, strict=True)))]
            sizes = np.bincount(pieces.ravel(), minlength=count + 1)
            seen = np.bincount(pieces[tissue], minlength=count + 1)
            in_air = seen < LEAST_TISSUE_SHARE * sizes
            in_air[0] = False
            labels[box][in_air[pieces]] = 0
