"""Muscles in an order that no neck has, and a large field with few of them."""

import numpy as np
import pytest

from bids_mfi.grid import Grid
from bids_mfi.measure.muscle_order import check_order, find_centres_mm
from bids_mfi.measure.regions import find_regions
from bids_mfi.muscles import WEBER2021
from bids_mfi.synthesis.cases import make_phantom_case


def turned(grid, *axes):
    """The grid of a header in which these world axes point the other way."""
    matrix = grid.matrix
    for axis in axes:
        matrix[axis] *= -1
    return Grid.from_array(grid.shape, matrix)


def codes(labels, grid):
    return [(flag.code, flag.severity) for flag in check_order(labels, grid, WEBER2021)]


class TestOrder:
    @pytest.mark.parametrize("seed", range(4))
    def test_sound(self, seed):
        case = make_phantom_case(seed)
        assert codes(case.labels, case.grid) == []

    @pytest.mark.parametrize(("axes", "words"), [((2,), "superior to"), ((1,), "anterior to")])
    def test_header_upside_down_or_back_to_front(self, axes, words):
        case = make_phantom_case(0)
        (flag,) = check_order(case.labels, turned(case.grid, *axes), WEBER2021)
        assert (flag.code, flag.severity, flag.muscle) == ("muscle_order", "error", "")
        assert words in flag.message
        assert "orientation may be wrong" in flag.message

    def test_lying_on_the_head(self):
        case = make_phantom_case(0)
        found = codes(case.labels, turned(case.grid, 1, 2))
        assert found == [("muscle_order", "error")] * 2

    def test_one_muscle_out_of_place_is_not_enough(self):
        case = make_phantom_case(0)
        labels = case.labels.copy()
        labels[np.isin(labels, [m.index for m in WEBER2021 if m.muscle == "TR"])] = 0
        assert codes(labels, case.grid) == []

    def test_a_thin_slab_is_not_judged_upside_down(self):
        case = make_phantom_case(0)
        thin = Grid.from_array((*case.grid.shape[:2], 12), turned(case.grid, 2).matrix)
        assert thin.spacing_mm[2] * 12 < 80
        middle = case.labels[:, :, 14:26]
        assert "muscle_order" not in [code for code, _ in codes(middle, thin)]

    def test_centres_are_of_both_sides_and_leave_out_specks(self):
        labels = np.zeros((20, 20, 20), np.int16)
        right, left = (m.index for m in WEBER2021 if m.muscle == "TR")
        labels[2:6, 2:6, 2:6], labels[12:16, 2:6, 2:6] = left, right
        labels[0, 0, 0] = next(m.index for m in WEBER2021 if m.muscle == "LC")
        grid = Grid.from_array(labels.shape, np.diag([3, 3, 3, 1.0]))
        centres = find_centres_mm(find_regions(labels), grid, WEBER2021)
        assert list(centres) == ["TR"]
        np.testing.assert_allclose(centres["TR"], [25.5, 10.5, 10.5])


class TestNumber:
    @pytest.mark.parametrize(("kept", "flagged"), [(7, False), (6, True)])
    @pytest.mark.parametrize("large", [True, False])
    def test_limits(self, kept, flagged, large):
        labels = np.zeros((50, 50, 30), np.int16)
        for number in range(1, kept + 1):
            labels[number, number, 1:3] = number
        grid = Grid.from_array(labels.shape, np.diag([3.0, 3.0, 3.0 if large else 1.0, 1.0]))
        expected = [("few_muscles", "error")] * (flagged and large)
        assert codes(labels, grid) == expected


class TestBalance:
    @pytest.mark.parametrize(("slices", "flagged"), [(15, False), (14, True)])
    def test_limit(self, slices, flagged):
        """Three extensors of one side share what is half of the sternocleidomastoid."""
        labels = np.zeros((60, 60, 40), np.int16)
        index = {m.muscle: m.index for m in WEBER2021 if m.hemi == "R"}
        labels[5:15, 40:50, :30] = index["SCM"]
        labels[5:15, 5:15, 10 : 10 + slices] = index["SSCap"]
        for number, name in enumerate(("LC", "TR", "LS")):
            labels[20 + 4 * number, 20, 5:7] = index[name]
        for number, muscle in enumerate(m for m in WEBER2021 if m.hemi == "L" and m.muscle[0] != "S"
                                        and m.muscle != "MFSS"):  # fmt: skip
            labels[40 + 2 * number, 20, 5:7] = muscle.index
        grid = Grid.from_array(labels.shape, np.diag([3.0, 3.0, 3.0, 1.0]))
        found = [code for code, _ in codes(labels, grid)]
        assert ("muscle_balance" in found) is flagged
        smaller = Grid.from_array(labels.shape, np.diag([3.0, 3.0, 1.0, 1.0]))
        assert "muscle_balance" not in [code for code, _ in codes(labels, smaller)]
