"""Dice of label maps."""

import math

import numpy as np
import pytest

from bids_mfi.agreement import dice, dice_by_muscle
from bids_mfi.muscles import WEBER2021


def test_dice_by_hand() -> None:
    first, second = np.zeros((2, 10), dtype=bool)
    first[:4], second[2:8] = True, True
    assert dice(first, second) == pytest.approx(2 * 2 / (4 + 6))
    assert dice(second, first) == dice(first, second)


def test_dice_of_nothing_is_undefined_and_of_one_sided_nothing_zero() -> None:
    nothing, something = np.zeros(3, dtype=bool), np.ones(3, dtype=bool)
    assert math.isnan(dice(nothing, nothing))
    assert dice(nothing, something) == 0.0


def test_dice_by_muscle_tells_missing_from_wrong() -> None:
    truth, predicted = np.zeros((2, 4, 4, 4), dtype=np.int16)
    truth[0], predicted[0] = 1, 1
    truth[1] = 2
    predicted[2] = 3
    found = dice_by_muscle(predicted, truth, WEBER2021)
    assert list(found) == list(range(1, 15))
    assert (found[1], found[2], found[3]) == (1.0, 0.0, 0.0)
    assert all(math.isnan(found[index]) for index in range(4, 15))


def test_dice_by_muscle_refuses_maps_of_different_shapes() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        dice_by_muscle(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), WEBER2021)
