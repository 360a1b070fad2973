"""Slices between drawn ones: shapes, sides, grids."""

import numpy as np
import pytest

from bids_mfi.grid import Grid
from bids_mfi.synthesis.slices import (
    FINE_SLICE_MM,
    divide_thick_slices,
    interpolate_slices,
    signed_distance_mm,
)


def discs(radii):
    """Slices with a disc of label 5 around the middle, of these radii in voxels; 2 elsewhere."""
    x, y = np.meshgrid(np.arange(41) - 20, np.arange(41) - 20, indexing="ij")
    return np.stack([np.where(np.hypot(x, y) <= r, 5, 2) for r in radii], axis=2).astype(np.int16)


def grid(slice_mm, slices):
    return Grid.from_array((41, 41, slices), np.diag([0.5, 0.5, slice_mm, 1.0]))


def test_a_cone_stays_a_cone():
    found = interpolate_slices(discs((4, 16)), 4, (1.0, 1.0))
    radius = np.sqrt((found == 5).sum(axis=(0, 1)) / np.pi)
    assert radius == pytest.approx([4, 7, 10, 13, 16], abs=0.5)


def test_drawn_slices_are_kept():
    drawn = discs((4, 16, 9))
    assert (interpolate_slices(drawn, 5, (0.5, 0.5))[..., ::5] == drawn).all()


def test_a_structure_that_moves_to_the_right_passes_the_middle():
    labels = np.zeros((40, 9, 2), np.int16)
    labels[4:14, 2:7, 0] = 3
    labels[10:20, 2:7, 1] = 3
    middle = interpolate_slices(labels, 2, (1.0, 1.0))[..., 1] == 3
    assert np.argwhere(middle)[:, 0].mean() == pytest.approx(11.5, abs=0.6)


def test_a_structure_ends_between_the_slice_that_has_it_and_the_one_that_has_not():
    labels = np.zeros((30, 30, 2), np.int16)
    labels[5:25, 5:25, 0] = 7
    area = (interpolate_slices(labels, 6, (1.0, 1.0)) == 7).sum(axis=(0, 1))
    assert area[0] == 400
    assert area[-1] == 0
    assert (np.diff(area) <= 0).all()


def test_thick_slices_are_divided_where_they_lie():
    fine, fine_grid = divide_thick_slices(discs((4, 16, 9)), grid(7.5, 3))
    assert fine_grid.shape == fine.shape == (41, 41, 11)
    assert fine_grid.spacing_mm == pytest.approx((0.5, 0.5, FINE_SLICE_MM))
    assert fine_grid.matrix[:3, 3] == pytest.approx(grid(7.5, 3).matrix[:3, 3])


@pytest.mark.parametrize(("slice_mm", "slices"), [(3.0, 3), (7.5, 1)])
def test_thin_and_single_slices_stay_as_they_are(slice_mm, slices):
    labels = discs((4,) * slices)
    found, found_grid = divide_thick_slices(labels, grid(slice_mm, slices))
    assert found is labels
    assert found_grid == grid(slice_mm, slices)


def test_distance_of_a_structure_that_fills_the_slice_is_negative():
    assert (signed_distance_mm(np.ones((4, 4), bool), (1.0, 1.0)) < 0).all()
