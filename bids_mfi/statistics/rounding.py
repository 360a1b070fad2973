"""Whether a difference is only floating-point rounding."""

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-12  # of the largest value, below which a difference is rounding
# Of the largest singular value, below which columns follow from each other. Numbers with 16 digits
# leave the results about 9 digits there, and below fewer than the tables are tested to.
LEAST_SINGULAR = 1e-7
LEAST_SQUARES = 1e-290  # below which a sum of squares has lost its digits


def is_constant(values: NDArray[np.float64]) -> bool:
    """Whether values, float64 (n,), differ by no more than rounding.

    Examples
    --------
    >>> is_constant(np.array([0.3, 0.1 + 0.2])), is_constant(np.array([0.3, 0.4]))
    (True, False)
    """
    scale = float(np.abs(values).max(initial=0.0))
    return not len(values) or bool(np.ptp(values) <= ROUNDING * scale)


def center(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract the mean; exactly 0 where the values differ by no more than rounding.

    Parameters
    ----------
    values : float64 (n,)

    Examples
    --------
    >>> center(np.array([1.0, 3.0])).tolist(), center(np.array([0.3, 0.1 + 0.2])).tolist()
    ([-1.0, 1.0], [0.0, 0.0])
    """
    return np.zeros_like(values) if is_constant(values) else values - values.mean()


def measure_lengths(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lengths of columns, float64 (rows, columns), whose squares may be too large or too small.

    Examples
    --------
    >>> [f"{length:.3g}" for length in measure_lengths(np.array([[3e200, 0.0], [4e200, 0.0]]))]
    ['5e+200', '0']
    """
    largest = np.abs(columns).max(axis=0, initial=0.0)
    scaled = columns / np.where(largest > 0, largest, 1.0)
    return np.asarray(largest * np.linalg.norm(scaled, axis=0), np.float64)


def round_off(n: int, scale: float) -> float:
    """Largest sum of n squares that is rounding in values up to ``scale``."""
    return max(n * (ROUNDING * scale) ** 2, LEAST_SQUARES)
