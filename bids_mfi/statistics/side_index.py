"""Index of the difference between the left and the right side."""

import numpy as np
from numpy.typing import NDArray


def asymmetry_index_percent(
    left: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """100 (L - R) / ((L + R) / 2), above 0 where the left side has more.

    It is the index of Kong et al. 2018 (doi:10.1073/pnas.1718418115), in percent.

    Parameters
    ----------
    left, right : ndarray of float64
        Of one shape; NaN is a missing side.

    Returns
    -------
    ndarray of float64
        NaN where a side is missing, or where the sides do not add up to more than 0.

    Examples
    --------
    >>> asymmetry_index_percent(np.array([12.0, 0.0]), np.array([8.0, 0.0]))
    array([40., nan])
    """
    total = np.where(left + right > 0, left + right, np.nan)
    index: NDArray[np.float64] = 200 * (left - right) / total
    return index
