"""When a difference is nothing but the rounding of floating point; must not know any test."""

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-12  # of the largest value, below which a difference is rounding
LEAST_SQUARES = 1e-290  # below which a sum of squares has lost its digits


def is_constant(values: NDArray[np.float64], least: float = 0.0) -> bool:
    """Whether values differ by no more than rounding.

    Parameters
    ----------
    values : float64 (n,)
    least : float
        Size below which the largest value is not taken for the scale of its rounding: for columns
        from which a mean was taken off.

    Examples
    --------
    >>> is_constant(np.array([0.3, 0.1 + 0.2])), is_constant(np.array([0.3, 0.4]))
    (True, False)
    """
    scale = max(least, float(np.abs(values).max(initial=0.0)))
    return not len(values) or bool(np.ptp(values) <= ROUNDING * scale)


def round_off(n: int, scale: float) -> float:
    """Largest sum of n squares that is rounding in values up to ``scale``."""
    return max(n * (ROUNDING * scale) ** 2, LEAST_SQUARES)
