"""Area and fat by slice: sums, units, orientation, sides and missing values."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.levels import slice_distance_mm
from bids_mfi.measure.quantify import measure_muscles
from bids_mfi.measure.slices import measure_slices
from bids_mfi.muscles import WEBER2021, MuscleTable

TR_L, TR_R = WEBER2021.of("TR", "L"), WEBER2021.of("TR", "R")
TR = MuscleTable((TR_R, TR_L))
SHAPE = (10, 8, 12)
ORIENTATIONS = ("RAS", "LPI", "LAS", "SRA", "PIL", "ASR", "RIA")


def make_grid(shape=SHAPE, spacing_mm=(0.7, 0.8, 3.0), origin_mm=(-20.0, 5.0, -30.0)):
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin_mm
    return Grid.from_array(shape, affine)


def tilt(grid, degrees=20.0, shear=0.0):
    """Turn a grid about the axis from left to right, and shear its slices."""
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ grid.matrix
    affine[:3, 2] += shear * affine[:3, 1]
    return Grid.from_array(grid.shape, affine)


def make_case(seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 1.2)
    labels = np.where(smooth > 0, TR_L.index, 0).astype(np.int16)
    labels[5:] = np.where(smooth[5:] > 0, TR_R.index, 0)
    water, fat = rng.uniform(1, 900, (2, *shape))
    hole = rng.random(shape) < 0.1
    water[hole] = fat[hole] = 0.0
    return labels, water, fat


def rows_of(rows, hemi):
    return [row for row in rows if row.hemi == hemi]


def test_two_slices_by_hand():
    labels = np.zeros(SHAPE, np.int16)
    labels[1:3, 2:5, 4] = TR_L.index  # six voxels
    labels[1, 2, 5] = TR_L.index
    fat = np.full(SHAPE, 10.0)
    fat[1, 2, 4:6] = 40.0
    lower_then_upper = measure_slices(labels, 100.0 - fat, fat, make_grid(), TR)[::-1]
    assert [row.slice for row in lower_then_upper] == [4, 5]
    assert [row.position_mm for row in lower_then_upper] == [-30.0 + 4 * 3.0, -30.0 + 5 * 3.0]
    assert [row.voxels for row in lower_then_upper] == [6, 1]
    assert [row.area_mm2 for row in lower_then_upper] == pytest.approx([6 * 0.56, 0.56])
    assert [row.mfi_percent for row in lower_then_upper] == pytest.approx([(40 + 5 * 10) / 6, 40])
    assert {(row.index, row.muscle, row.hemi) for row in lower_then_upper} == {
        (TR_L.index, "TR", "L")
    }


def test_rows_go_by_muscle_from_the_top_down():
    rows = measure_slices(*make_case(), make_grid(), TR)
    assert [row.hemi for row in rows] == sorted((row.hemi for row in rows), reverse=True)
    for hemi in "LR":
        positions = [row.position_mm for row in rows_of(rows, hemi)]
        assert positions == sorted(positions, reverse=True)
        assert len(positions) > 5


@pytest.mark.parametrize("grid", [make_grid(), tilt(make_grid()), tilt(make_grid(), 15.0, 0.4)],
                         ids=["upright", "oblique", "sheared"])  # fmt: skip
def test_slices_add_up_to_the_muscle(grid):
    labels, water, fat = make_case()
    rows = measure_slices(labels, water, fat, grid, TR)
    muscles = measure_muscles(labels, water, fat, grid.voxel_volume_ml, TR)
    for muscle in muscles:
        own = rows_of(rows, muscle.hemi)
        assert sum(row.voxels for row in own) == muscle.voxels
        volume_ml = sum(row.area_mm2 for row in own) * slice_distance_mm(grid) / 1000
        assert volume_ml == pytest.approx(muscle.volume_ml)


def test_mfi_is_that_of_the_voxels_of_the_slice():
    labels, water, fat = make_case()
    for row in measure_slices(labels, water, fat, make_grid(), TR):
        inside = (slice(None), slice(None), slice(row.slice, row.slice + 1))
        muscles = measure_muscles(labels[inside], water[inside], fat[inside], 1.0, TR)
        expected = next(one for one in muscles if one.hemi == row.hemi)
        assert row.voxels == expected.voxels
        assert row.mfi_percent == pytest.approx(expected.mfi_percent, nan_ok=True)


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_the_storage_order_changes_only_the_number_of_the_slice(axcodes):
    volumes, grid = make_case(), make_grid()
    expected = measure_slices(*volumes, grid, TR)
    turned = [reorient(volume, grid, tuple(axcodes)) for volume in volumes]
    found = measure_slices(*(volume for volume, _ in turned), turned[0][1], TR)
    assert len(found) == len(expected) > 10
    for one, other in zip(found, expected, strict=True):
        number = SHAPE[2] - 1 - other.slice if "I" in axcodes else other.slice
        assert one.slice == number
        assert one.position_mm == pytest.approx(other.position_mm)
        assert one.area_mm2 == pytest.approx(other.area_mm2)
        assert one.mfi_percent == pytest.approx(other.mfi_percent, nan_ok=True)
        assert replace(other, slice=0, position_mm=0, area_mm2=0, mfi_percent=0) == replace(
            one, slice=0, position_mm=0, area_mm2=0, mfi_percent=0
        )


def test_the_number_of_the_slice_finds_it_in_the_label_map():
    labels, water, fat = make_case()
    turned, grid = reorient(labels, make_grid(), ("A", "I", "L"))
    signals = (reorient(volume, make_grid(), ("A", "I", "L"))[0] for volume in (water, fat))
    middle = [(turned.shape[axis] - 1) / 2 for axis in (0, 2)]
    for row in measure_slices(turned, *signals, grid, TR):
        assert (turned[:, row.slice] == row.index).sum() == row.voxels
        world = grid.matrix @ (middle[0], row.slice, middle[1], 1.0)
        assert row.position_mm == pytest.approx(world[2])


def test_area_of_an_oblique_scan_is_that_in_its_own_plane():
    upright, oblique = (
        measure_slices(*make_case(), grid, TR) for grid in (make_grid(), tilt(make_grid()))
    )
    assert [one.area_mm2 for one in oblique] == pytest.approx([one.area_mm2 for one in upright])
    steps = np.diff([one.position_mm for one in rows_of(oblique, "L")])
    assert steps == pytest.approx(-3.0 * np.cos(np.deg2rad(20.0)))


def test_area_does_not_depend_on_the_distance_of_the_slices():
    thin, thick = (
        measure_slices(*make_case(), make_grid(spacing_mm=(0.7, 0.8, mm)), TR) for mm in (1.0, 5.0)
    )
    assert [one.area_mm2 for one in thin] == [one.area_mm2 for one in thick]


class TestMissing:
    def test_an_absent_muscle_has_no_row(self):
        labels, water, fat = make_case()
        labels[labels == TR_L.index] = 0
        rows = measure_slices(labels, water, fat, make_grid(), TR)
        assert {row.hemi for row in rows} == {"R"}
        assert measure_slices(0 * labels, water, fat, make_grid(), TR) == []

    def test_a_gap_has_rows_without_voxels(self):
        labels = np.zeros(SHAPE, np.int16)
        labels[1, 1, [3, 6]] = TR_R.index
        rows = measure_slices(labels, np.ones(SHAPE), np.ones(SHAPE), make_grid(), TR)
        assert [row.slice for row in rows] == [6, 5, 4, 3]
        assert [row.voxels for row in rows] == [1, 0, 0, 1]
        assert [row.area_mm2 for row in rows][1:3] == [0.0, 0.0]
        assert np.isnan([row.mfi_percent for row in rows]).tolist() == [False, True, True, False]

    def test_a_slice_without_signal_has_an_area_and_no_fat(self):
        labels = np.zeros(SHAPE, np.int16)
        labels[1:3, 1, 3] = TR_R.index
        (row,) = measure_slices(labels, np.zeros(SHAPE), np.zeros(SHAPE), make_grid(), TR)
        assert (row.voxels, row.area_mm2) == (2, pytest.approx(2 * 0.56))
        assert np.isnan(row.mfi_percent)


def test_integer_images_do_not_overflow():
    labels, water, fat = make_case()
    water, fat = (np.round(40 * volume).astype(np.uint16) for volume in (water, fat))
    found = measure_slices(labels, water, fat, make_grid(), TR)
    expected = measure_slices(labels, water.astype(float), fat.astype(float), make_grid(), TR)
    assert [row.mfi_percent for row in found] == [row.mfi_percent for row in expected]
