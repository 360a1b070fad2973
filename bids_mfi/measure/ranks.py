"""Median and percentiles of many voxels: NumPy's numbers bit for bit, in a fraction of its time.

NumPy also moves the largest and smallest values to their places, to find NaN. Values here are
finite.
"""

import numpy as np
from numpy.typing import NDArray


def find_median(values: NDArray[np.float64]) -> float:
    """Median, as ``numpy.median`` gives it.

    Parameters
    ----------
    values : ndarray of float64, any shape with at least one voxel
        Without NaN.

    Examples
    --------
    >>> find_median(np.array([3.0, 1.0, 2.0])), find_median(np.array([4.0, 1.0]))
    (2.0, 2.5)
    """
    sorted_at = values.flatten(order="K")
    upper = sorted_at.size // 2
    sorted_at.partition(upper)
    if sorted_at.size % 2:
        return float(sorted_at[upper])
    return float((sorted_at[:upper].max() + sorted_at[upper]) / 2)


def find_percentile(values: NDArray[np.float64], percent: float) -> float:
    """Percentile with linear interpolation, as ``numpy.percentile`` gives it.

    Parameters
    ----------
    values : ndarray of float64, any shape with at least one voxel
        Without NaN.
    percent : float
        0 to 100.

    Examples
    --------
    >>> find_percentile(np.array([0.0, 10.0, 20.0]), 75)
    15.0
    """
    sorted_at = values.flatten(order="K")
    place = (sorted_at.size - 1) * (percent / 100)
    low = min(int(place), sorted_at.size - 1)
    high = min(low + 1, sorted_at.size - 1)
    sorted_at.partition((low, high))
    below, above = float(sorted_at[low]), float(sorted_at[high])
    share, step = place - low, above - below
    return above - step * (1 - share) if share >= 0.5 else below + step * share
