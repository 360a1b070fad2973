"""How well two label maps agree; must not know files, models or reports. numpy only."""

import numpy as np
from numpy.typing import NDArray

from bids_mfi.muscles import MuscleTable


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|); NaN where both are empty.

    References
    ----------
    Dice 1945, doi:10.2307/1932409.

    Examples
    --------
    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    if total == 0:
        return float("nan")
    return 2 * int(np.count_nonzero(first & second)) / total


def dice_by_muscle(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], table: MuscleTable
) -> dict[int, float]:
    """Dice coefficient of every muscle of the table, by its index.

    Parameters
    ----------
    predicted, truth : ndarray of int, same shape
        Label maps on the same grid.

    Returns
    -------
    dict
        NaN where a muscle is in neither map; 0 where it is in one of them only.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"label maps of different shapes: {predicted.shape}, {truth.shape}")
    return {m.index: dice(predicted == m.index, truth == m.index) for m in table}
