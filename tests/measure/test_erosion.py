"""Erosion of a label within its slices, and the MFI of what is left."""

import numpy as np
import pytest
from scipy import ndimage

from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.erosion import erode_in_plane, find_slice_axis
from bids_mfi.measure.quantify import measure_muscles
from bids_mfi.muscles import WEBER2021, MuscleTable

TR_L, TR_R = WEBER2021.of("TR", "L"), WEBER2021.of("TR", "R")
TR = MuscleTable((TR_R, TR_L))
ORIENTATIONS = ("RAS", "LPI", "LAS", "SRA", "PIL", "ASR")


def axial_grid(shape, spacing_mm=(0.7, 0.8, 3.0)):
    return Grid.from_array(shape, np.diag([*spacing_mm, 1.0]))


def measure(labels, water, fat, grid, table=TR):
    return measure_muscles(
        labels, water, fat, grid.voxel_volume_ml, table, slice_axis=find_slice_axis(grid)
    )


def make_labels(seed=0, shape=(14, 12, 9)):
    """Two blobs, the left one at the border of the volume."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    labels = np.where(smooth > 0, TR_L.index, 0).astype(np.int16)
    labels[8:] = np.where(smooth[8:] < 0, TR_R.index, 0)
    return labels


def make_signals(shape, seed=1):
    water, fat = np.random.default_rng(seed).uniform(1, 900, (2, *shape))
    return water, fat


class TestSliceAxis:
    @pytest.mark.parametrize(
        ("spacing_mm", "expected"),
        [
            ((0.7, 0.7, 3.0), "S"),
            ((3.0, 0.7, 0.7), "R"),
            ((0.7, 3.0, 0.7), "A"),
            ((1.0, 1.0, 1.0), "S"),
            ((1.0, 1.0, 0.995), "S"),  # equal within 1 %
            ((1.0, 1.0, 0.98), "A"),
            ((1.0, 1.0, 0.5), "A"),
        ],
    )
    @pytest.mark.parametrize("axcodes", ORIENTATIONS)
    def test_it_is_that_of_the_thick_slices_in_any_storage_order(
        self, axcodes, spacing_mm, expected
    ):
        grid = axial_grid((4, 5, 6), spacing_mm)
        _, turned = reorient(np.zeros(grid.shape), grid, tuple(axcodes))
        opposite = {"S": "I", "R": "L", "A": "P"}[expected]
        assert turned.axcodes[find_slice_axis(turned)] in (expected, opposite)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_erosion_is_that_of_scipy(slice_axis, seed):
    mask = make_labels(seed) > 0
    cross = ndimage.generate_binary_structure(2, 1)
    structure = np.expand_dims(cross, slice_axis)
    once = ndimage.binary_erosion(mask, structure, border_value=1)
    assert np.array_equal(erode_in_plane(mask, slice_axis), once)
    twice = ndimage.binary_erosion(mask, structure, iterations=2, border_value=1)
    assert np.array_equal(erode_in_plane(once, slice_axis), twice)
    assert mask.sum() > once.sum() > twice.sum() > 0


class TestByHand:
    """A block of 5 x 5 voxels in each of two slices: fat of 50, 20 and 0 % from the rim inwards."""

    fat = np.zeros((9, 9, 4))
    fat[2:7, 2:7, 1:3], fat[3:6, 3:6, 1:3], fat[4, 4, 1:3] = 50.0, 20.0, 0.0
    labels = np.zeros((9, 9, 4), np.int16)
    labels[2:7, 2:7, 1:3] = TR_L.index

    def measure_left(self, labels=None, fat=None, water=None):
        fat = self.fat if fat is None else fat
        water = 100.0 - fat if water is None else water
        labels = self.labels if labels is None else labels
        return measure(labels, water, fat, axial_grid(labels.shape))[1]

    def test_each_erosion_removes_one_rim_of_each_slice(self):
        found = self.measure_left()
        assert found.mfi_percent == pytest.approx((16 * 50 + 8 * 20) / 25)
        assert found.mfi_eroded1_percent == pytest.approx(8 * 20 / 9)
        assert found.mfi_eroded2_percent == 0.0  # one voxel in each slice, without fat

    def test_slices_above_and_below_do_not_matter(self):
        labels = np.where(np.arange(4) == 1, self.labels, 0).astype(np.int16)
        assert self.measure_left(labels).mfi_eroded1_percent == pytest.approx(8 * 20 / 9)

    def test_nothing_left_is_missing(self):
        labels = self.labels.copy()
        labels[6:] = labels[:, 6:] = labels[:3] = labels[:, :3] = 0  # 3 x 3
        found = self.measure_left(labels)
        assert found.mfi_eroded1_percent == 0.0
        assert np.isnan(found.mfi_eroded2_percent)
        assert found.voxels == 18

    def test_what_is_left_without_signal_is_missing(self):
        water = 100.0 - self.fat
        water[4, 4] = 0.0
        found = self.measure_left(water=water)
        assert np.isnan(found.mfi_eroded2_percent)
        assert found.mfi_eroded1_percent == pytest.approx(20.0)

    def test_the_end_of_the_field_of_view_is_no_border(self):
        """The block cut through its middle: half of it is left, with the middle voxel."""
        labels, fat = self.labels[4:], self.fat[4:]
        found = self.measure_left(labels, fat)
        assert found.extent == "cut"
        assert found.mfi_eroded1_percent == pytest.approx(5 * 20 / 6)
        assert found.mfi_eroded2_percent == 0.0

    def test_the_other_side_is_a_border(self):
        labels = self.labels.copy()
        labels[4:7, 2:7, 1:3] = TR_R.index
        right, left = measure(labels, 100.0 - self.fat, self.fat, axial_grid(labels.shape))
        assert left.voxels == 20
        assert np.isnan(left.mfi_eroded1_percent)  # two voxels wide
        assert right.mfi_eroded1_percent == pytest.approx(20.0)  # the middle column of three
        assert np.isnan(right.mfi_eroded2_percent)

    def test_absent_muscles_and_no_slice_axis_are_missing(self):
        assert np.isnan(self.measure_left(np.zeros_like(self.labels)).mfi_eroded1_percent)
        found = measure_muscles(self.labels, 100.0 - self.fat, self.fat, 1.0, TR)[1]
        assert np.isnan(found.mfi_eroded1_percent)
        assert np.isnan(found.mfi_eroded2_percent)


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
@pytest.mark.parametrize("spacing_mm", [(0.7, 0.8, 3.0), (3.0, 0.7, 0.8), (1.0, 1.0, 1.0)])
def test_the_storage_order_does_not_matter(axcodes, spacing_mm):
    labels = make_labels()
    grid = axial_grid(labels.shape, spacing_mm)
    volumes = labels, *make_signals(labels.shape)
    expected = measure(*volumes, grid)
    turned = [reorient(volume, grid, tuple(axcodes)) for volume in volumes]
    found = measure(*(volume for volume, _ in turned), turned[0][1])
    for one, other in zip(found, expected, strict=True):
        for name in ("mfi_eroded1_percent", "mfi_eroded2_percent"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-12)
            assert 0 < getattr(one, name) < 100


def test_integer_images_do_not_overflow():
    labels = make_labels()
    water, fat = (np.round(40 * volume).astype(np.uint16) for volume in make_signals(labels.shape))
    grid = axial_grid(labels.shape)
    expected = measure(labels, water.astype(float), fat.astype(float), grid)
    found = measure(labels, water, fat, grid)
    assert [one.mfi_eroded1_percent for one in found] == [
        one.mfi_eroded1_percent for one in expected
    ]
