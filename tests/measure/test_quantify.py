"""Fat and volume of muscles: the definition to 1e-9, and what must not change it."""

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from bids_mfi.grid import Grid
from bids_mfi.measure.dixon import fat_and_water
from bids_mfi.measure.quantify import (
    NEAR_FOLD_PERCENT,
    MuscleMeasure,
    measure_folded_mfi_percent,
    measure_muscles,
)
from bids_mfi.muscles import WEBER2021, MuscleTable

SHAPE = (12, 10, 8)
VOXEL_ML = 0.7 * 0.7 * 3.0 / 1000
TR_L, TR_R = WEBER2021.of("TR", "L"), WEBER2021.of("TR", "R")
FAT_COLUMNS = (
    "fat_mean", "water_mean", "mfi_percent", "mfi_voxelwise_percent", "mfi_median_percent",
    "near_fold_percent", "swapped_percent",
)  # fmt: skip


def make_case(seed=0, shape=SHAPE, kind="float64"):
    """Random labels 0 to 16 (the table ends at 14), fat and water, with holes and negative fat."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 17, shape).astype(np.int16)
    water = rng.normal(600, 200, shape)
    fat = rng.normal(150, 150, shape)
    hole = rng.random(shape) < 0.1
    water[hole] = fat[hole] = 0
    return labels, water.astype(kind), fat.astype(kind)


def median_of(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def define_measure(index, labels, water, fat, voxel_ml):
    """The definition, voxel by voxel in plain Python and exact sums."""
    voxels, waters, fats, border = 0, [], [], False
    for place in np.ndindex(*labels.shape):
        if int(labels[place]) != index:
            continue
        voxels += 1
        border |= any(i in (0, n - 1) for i, n in zip(place, labels.shape, strict=True))
        w, f = float(water[place]), float(fat[place])
        if w + f > 0:
            waters.append(w)
            fats.append(f)
    measured = len(waters)
    fractions = [100 * f / (f + w) for f, w in zip(fats, waters, strict=True)]
    fat_mean = math.fsum(fats) / measured if measured else math.nan
    water_mean = math.fsum(waters) / measured if measured else math.nan
    near = sum(fraction > 40 for fraction in fractions)
    swapped = sum(f > w for f, w in zip(fats, waters, strict=True))
    return {
        "voxels": voxels,
        "volume_ml": voxels * voxel_ml if voxels else math.nan,
        "fat_mean": fat_mean,
        "water_mean": water_mean,
        "mfi_percent": 100 * fat_mean / (fat_mean + water_mean),
        "mfi_voxelwise_percent": math.fsum(fractions) / measured if measured else math.nan,
        "mfi_median_percent": median_of(fractions) if measured else math.nan,
        "near_fold_percent": 100 * near / measured if measured else math.nan,
        "swapped_percent": 100 * swapped / measured if measured else math.nan,
        "signal_voxels": measured,
        "extent": "absent" if not voxels else "cut" if border else "complete",
    }


def assert_close(measure, expected, rel=1e-9):
    for name, value in expected.items():
        found = getattr(measure, name)
        if isinstance(value, str):
            assert found == value, name
        else:
            assert found == pytest.approx(value, rel=rel, abs=1e-12, nan_ok=True), name


def as_dict(measure, names=None):
    names = names or [field.name for field in fields(MuscleMeasure)]
    return {name: getattr(measure, name) for name in names}


@pytest.mark.parametrize("kind", ["float64", "float32", "int16", "uint16", "int32"])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_definition(kind, seed):
    labels, water, fat = make_case(seed, kind="float64")
    if kind == "uint16":
        water, fat = np.abs(water) + 40000, np.abs(fat) + 30000  # their sum does not fit
    elif kind == "int16":
        water, fat = 40 * water.clip(0, 800), 30 * fat.clip(0, 1000)
    water, fat = water.astype(kind), fat.astype(kind)
    measures = measure_muscles(labels, water, fat, VOXEL_ML, WEBER2021)
    for muscle, measure in zip(WEBER2021, measures, strict=True):
        assert_close(measure, define_measure(muscle.index, labels, water, fat, VOXEL_ML))


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "int64"])
def test_type_of_the_labels_does_not_matter(kind):
    labels, water, fat = make_case()
    expected = measure_muscles(labels, water, fat, VOXEL_ML, WEBER2021)
    assert measure_muscles(labels.astype(kind), water, fat, VOXEL_ML, WEBER2021) == expected


def test_rows_follow_the_table():
    measures = measure_muscles(*make_case(), VOXEL_ML, WEBER2021)
    for muscle, measure in zip(WEBER2021, measures, strict=True):
        own = ("index", "name", "muscle", "hemi", "levels")
        assert as_dict(measure, own) == {name: getattr(muscle, name) for name in own}
        assert type(measure.voxels) is int
        assert type(measure.signal_voxels) is int
        assert all(type(getattr(measure, name)) is float for name in (*FAT_COLUMNS, "volume_ml"))


def test_sum_of_fractions_by_hand():
    """Two voxels of different brightness tell the ratio of means from the mean of ratios."""
    labels = np.zeros((4, 4, 4), np.int16)
    labels[1, 1, 1:3] = 12
    water, fat = np.zeros((2, 4, 4, 4))
    water[1, 1, 1:3] = 90.0, 600.0
    fat[1, 1, 1:3] = 10.0, 400.0
    (measure,) = measure_muscles(labels, water, fat, 0.5, MuscleTable((TR_L,)))
    assert measure.mfi_percent == pytest.approx(100 * 410 / 1100)
    assert measure.mfi_voxelwise_percent == pytest.approx((10 + 40) / 2)
    assert measure.mfi_median_percent == pytest.approx(25)
    assert measure.volume_ml == 1.0
    assert measure.extent == "complete"


@pytest.mark.parametrize("flipped", list(itertools.product([1, -1], repeat=3)))
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_order_and_direction_of_the_axes_do_not_matter(order, flipped):
    case = make_case()
    turned = [v.transpose(order)[tuple(slice(None, None, step) for step in flipped)] for v in case]
    expected = measure_muscles(*case, VOXEL_ML, WEBER2021)
    found = measure_muscles(*turned, VOXEL_ML, WEBER2021)
    for measure, reference in zip(found, expected, strict=True):
        assert_close(measure, as_dict(reference))


def test_shuffled_voxels_give_the_same_fat():
    labels, water, fat = make_case()
    order = np.random.default_rng(5).permutation(labels.size)
    shuffled = [volume.ravel()[order].reshape(SHAPE) for volume in (labels, water, fat)]
    for measure, reference in zip(
        measure_muscles(*shuffled, VOXEL_ML, WEBER2021),
        measure_muscles(labels, water, fat, VOXEL_ML, WEBER2021),
        strict=True,
    ):
        assert_close(measure, as_dict(reference, (*FAT_COLUMNS, "volume_ml", "voxels")))


@pytest.mark.parametrize("factors", [(2, 2, 2), (3, 1, 2)])
def test_finer_grid_by_repetition_gives_the_same_table(factors):
    case = make_case()
    affine = np.diag([0.7, -0.8, 3.0, 1.0])
    affine[:3, 1] += 0.2
    grid = Grid.from_array(SHAPE, affine)
    fine_shape = tuple(np.array(SHAPE) * factors)
    fine = Grid.from_array(fine_shape, affine @ np.diag([*(1 / np.array(factors)), 1]))
    repeated = case
    for axis, factor in enumerate(factors):
        repeated = [np.repeat(volume, factor, axis) for volume in repeated]
    for measure, reference in zip(
        measure_muscles(*repeated, fine.voxel_volume_ml, WEBER2021),
        measure_muscles(*case, grid.voxel_volume_ml, WEBER2021),
        strict=True,
    ):
        times = int(np.prod(factors))
        counts = {
            "voxels": reference.voxels * times,
            "signal_voxels": reference.signal_voxels * times,
        }
        assert_close(measure, as_dict(reference) | counts)


@pytest.mark.parametrize("scale", [1e-6, 0.25, 4095.0, 1e9])
def test_unit_of_the_signal_does_not_matter(scale):
    labels, water, fat = make_case()
    for measure, reference in zip(
        measure_muscles(labels, scale * water, scale * fat, VOXEL_ML, WEBER2021),
        measure_muscles(labels, water, fat, VOXEL_ML, WEBER2021),
        strict=True,
    ):
        means = {"fat_mean": scale * reference.fat_mean, "water_mean": scale * reference.water_mean}
        assert_close(measure, as_dict(reference) | means)


def test_exchanged_labels_exchange_the_rows():
    labels, water, fat = make_case()
    mirrored = WEBER2021.mirrored_indices()
    lookup = np.arange(17, dtype=np.int16)
    for index, other in mirrored.items():
        lookup[index] = other
    before = {m.index: m for m in measure_muscles(labels, water, fat, VOXEL_ML, WEBER2021)}
    after = {m.index: m for m in measure_muscles(lookup[labels], water, fat, VOXEL_ML, WEBER2021)}
    for index, other in mirrored.items():
        names = (*FAT_COLUMNS, "voxels", "volume_ml", "signal_voxels", "extent")
        assert as_dict(after[other], names) == as_dict(before[index], names)
        assert after[index].hemi == before[index].hemi


def test_exchanged_fat_and_water_give_the_complement():
    labels, water, fat = make_case()
    before = measure_muscles(labels, water, fat, VOXEL_ML, WEBER2021)
    after = measure_muscles(labels, fat, water, VOXEL_ML, WEBER2021)
    for one, other in zip(before, after, strict=True):
        assert one.mfi_percent + other.mfi_percent == pytest.approx(100)
        assert one.mfi_median_percent + other.mfi_median_percent == pytest.approx(100)


def test_labels_outside_the_table_are_ignored():
    labels, water, fat = make_case()
    assert labels.max() == 16
    expected = measure_muscles(labels, water, fat, VOXEL_ML, WEBER2021)
    known = np.where(labels > 14, 0, labels)
    assert measure_muscles(known, water, fat, VOXEL_ML, WEBER2021) == expected
    (alone,) = measure_muscles(labels, water, fat, VOXEL_ML, MuscleTable((TR_L,)))
    of_both_sides = ("mfi_asymmetry_percent", "volume_asymmetry_percent")
    assert as_dict(alone) == as_dict(expected[11]) | dict.fromkeys(of_both_sides, math.nan)


class TestNoSignal:
    labels = np.zeros((4, 4, 4), np.int16)
    labels[1:3, 1:3, 1:3] = TR_L.index

    def measure(self, water, fat):
        return measure_muscles(self.labels, water, fat, 0.1, MuscleTable((TR_R, TR_L)))[1]

    def test_empty_voxels_are_left_out_never_0_percent(self):
        water, fat = np.full((4, 4, 4), 80.0), np.full((4, 4, 4), 20.0)
        whole = self.measure(water, fat)
        water[1, 1], fat[1, 1] = 0.0, 0.0
        holed = self.measure(water, fat)
        assert (whole.signal_voxels, holed.signal_voxels) == (8, 6)
        for name in ("voxels", "volume_ml", *FAT_COLUMNS):
            assert getattr(holed, name) == getattr(whole, name), name
        assert holed.mfi_percent == pytest.approx(20)

    @pytest.mark.parametrize(("water", "fat"), [(0, 0), (-30, 20), (30, -30)])
    def test_sum_not_positive_is_no_signal(self, water, fat):
        waters, fats = np.full((4, 4, 4), 80.0), np.full((4, 4, 4), 20.0)
        waters[1, 1, 1], fats[1, 1, 1] = water, fat
        measure = self.measure(waters, fats)
        assert measure.signal_voxels == 7
        assert measure.mfi_percent == pytest.approx(20)

    def test_negative_fat_counts(self):
        waters, fats = np.full((4, 4, 4), 80.0), np.full((4, 4, 4), -5.0)
        measure = self.measure(waters, fats)
        assert measure.signal_voxels == 8
        assert measure.mfi_percent == pytest.approx(-100 * 5 / 75)

    def test_muscle_without_any_signal(self):
        measure = self.measure(np.zeros((4, 4, 4)), np.zeros((4, 4, 4)))
        assert (measure.voxels, measure.signal_voxels, measure.extent) == (8, 0, "complete")
        assert measure.volume_ml == pytest.approx(0.8)
        assert all(math.isnan(getattr(measure, name)) for name in FAT_COLUMNS)

    def test_absent_muscle_is_not_available_and_never_0(self):
        labels, water, fat = self.labels, np.ones((4, 4, 4)), np.ones((4, 4, 4))
        measure = measure_muscles(labels, water, fat, 0.1, MuscleTable((TR_R, TR_L)))[0]
        assert (measure.voxels, measure.signal_voxels, measure.extent) == (0, 0, "absent")
        assert all(math.isnan(getattr(measure, name)) for name in (*FAT_COLUMNS, "volume_ml"))

    def test_empty_label_map(self):
        labels, water, fat = np.zeros(SHAPE, np.int16), *make_case()[1:]
        measures = measure_muscles(labels, water, fat, VOXEL_ML, WEBER2021)
        assert [measure.extent for measure in measures] == ["absent"] * 14


@pytest.mark.parametrize("side", [0, -1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_muscle_is_cut_at_each_face_and_complete_one_voxel_inside(axis, side):
    water, fat = np.ones(SHAPE), np.ones(SHAPE)
    for depth, extent in ((0, "cut"), (1, "complete")):
        place = [4, 4, 4]
        place[axis] = depth if side == 0 else SHAPE[axis] - 1 - depth
        labels = np.zeros(SHAPE, np.int16)
        labels[tuple(place)] = TR_L.index
        right, left = measure_muscles(labels, water, fat, VOXEL_ML, MuscleTable((TR_R, TR_L)))
        assert left.extent == extent
        assert right.extent == "absent"


def test_one_muscle_at_the_border_does_not_cut_another():
    labels = np.zeros(SHAPE, np.int16)
    labels[0, 4, 4], labels[5, 5, 5] = TR_R.index, TR_L.index
    table = MuscleTable((TR_R, TR_L))
    right, left = measure_muscles(labels, np.ones(SHAPE), np.ones(SHAPE), VOXEL_ML, table)
    assert (right.extent, left.extent) == ("cut", "complete")
    assert right.volume_ml == left.volume_ml == VOXEL_ML  # a cut muscle keeps its value
    assert right.mfi_percent == left.mfi_percent == 50


def test_near_fold_is_a_share_above_not_at_the_limit():
    labels = np.full((2, 5, 2), TR_L.index, np.int16)
    fat = np.full((2, 5, 2), NEAR_FOLD_PERCENT)
    fat.ravel()[:3] = NEAR_FOLD_PERCENT + 0.5, 49.0, 50.0
    (measure,) = measure_muscles(labels, 100 - fat, fat, 1.0, MuscleTable((TR_L,)))
    assert measure.near_fold_percent == pytest.approx(100 * 3 / 20)


@pytest.mark.parametrize(
    ("name", "limit"), [("above_ff10_percent", 10.0), ("above_ff30_percent", 30.0)]
)
def test_shares_above_a_fat_fraction_are_not_at_the_limit(name, limit):
    labels = np.full((2, 5, 2), TR_L.index, np.int16)
    fat = np.full((2, 5, 2), limit)
    fat.ravel()[:3] = np.nextafter(limit, 50), limit + 0.5, 60.0
    fat.ravel()[3:5] = np.nextafter(limit, 0), -5.0
    water = 100 - fat
    water.ravel()[5], fat.ravel()[5] = -60.0, 60.0  # without signal
    (measure,) = measure_muscles(labels, water, fat, 1.0, MuscleTable((TR_L,)))
    assert getattr(measure, name) == pytest.approx(100 * 3 / 19)


def test_shares_above_higher_limits_are_smaller():
    for measure in measure_muscles(*make_case(), VOXEL_ML, WEBER2021):
        shares = [measure.above_ff10_percent, measure.above_ff30_percent,
                  measure.near_fold_percent, measure.swapped_percent]  # fmt: skip
        assert shares == sorted(shares, reverse=True)
        assert 100 > shares[0] > shares[1] > 0


def test_fat_and_lean_volume_add_up():
    labels = np.full((2, 5, 2), TR_L.index, np.int16)
    labels[0] = 0  # 10 voxels remain
    fat, water = np.full((2, 5, 2), 20.0), np.full((2, 5, 2), 60.0)
    fat[1, 0, 0] = water[1, 0, 0] = 0.0  # without signal, but part of the volume
    (measure,) = measure_muscles(labels, water, fat, 0.5, MuscleTable((TR_L,)))
    assert measure.fat_volume_ml == pytest.approx(10 * 0.5 * 0.25)
    assert measure.lean_volume_ml == pytest.approx(10 * 0.5 * 0.75)
    for one in measure_muscles(*make_case(), VOXEL_ML, WEBER2021):
        assert one.fat_volume_ml + one.lean_volume_ml == pytest.approx(one.volume_ml)
        assert one.fat_volume_ml == pytest.approx(one.volume_ml * one.mfi_percent / 100)


class TestAsymmetry:
    """Left has 3 voxels of 30 % fat, right 1 voxel of 10 %."""

    labels = np.zeros((4, 4, 4), np.int16)
    labels[1, 1, :3], labels[2, 2, 2] = TR_L.index, TR_R.index
    fat = np.where(labels == TR_L.index, 30.0, 10.0)

    def measure(self, labels=None, fat=None, water=None, table=(TR_R, TR_L)):
        fat = self.fat if fat is None else fat
        labels = self.labels if labels is None else labels
        water = 100 - fat if water is None else water
        return measure_muscles(labels, water, fat, 0.1, MuscleTable(table))

    def test_it_is_left_minus_right_over_their_mean_in_both_rows(self):
        for measure in self.measure():
            assert measure.mfi_asymmetry_percent == pytest.approx(100 * (30 - 10) / 20)
            assert measure.volume_asymmetry_percent == pytest.approx(100 * (0.3 - 0.1) / 0.2)

    def test_exchanged_sides_change_its_sign(self):
        values = [0, TR_L.index, TR_R.index]
        lookup = np.zeros(max(values) + 1, np.int16)
        lookup[[TR_L.index, TR_R.index]] = TR_R.index, TR_L.index
        for measure in self.measure(lookup[self.labels]):
            assert measure.mfi_asymmetry_percent == pytest.approx(-100)
            assert measure.volume_asymmetry_percent == pytest.approx(-100)

    @pytest.mark.parametrize("side", [TR_L, TR_R])
    def test_a_missing_side_leaves_it_missing(self, side):
        for measure in self.measure(np.where(self.labels == side.index, 0, self.labels)):
            assert math.isnan(measure.mfi_asymmetry_percent)
            assert math.isnan(measure.volume_asymmetry_percent)
        (alone,) = self.measure(table=(side,))
        assert math.isnan(alone.mfi_asymmetry_percent)
        assert math.isnan(alone.volume_asymmetry_percent)

    def test_a_side_without_signal_still_has_a_volume(self):
        dark = np.where(self.labels == TR_R.index, 0.0, self.fat)
        water = np.where(self.labels == TR_R.index, 0.0, 70.0)
        for measure in self.measure(fat=dark, water=water):
            assert math.isnan(measure.mfi_asymmetry_percent)
            assert measure.volume_asymmetry_percent == pytest.approx(100)

    def test_two_sides_without_fat_have_none(self):
        for measure in self.measure(fat=np.zeros((4, 4, 4))):
            assert math.isnan(measure.mfi_asymmetry_percent)
            assert measure.volume_asymmetry_percent == pytest.approx(100)


def test_swapped_is_a_share_above_not_at_50_percent():
    labels = np.full((10, 10, 10), TR_L.index, np.int16)
    fat, water = np.random.default_rng(6).uniform(1, 2, (2, 10, 10, 10))
    water[...] = fat  # 100 F / (F + F) is rounded to more than 50 of some numbers
    (even,) = measure_muscles(labels, water, fat, 1.0, MuscleTable((TR_L,)))
    assert even.swapped_percent == 0
    water.ravel()[:3] -= 1e-9
    water.ravel()[3] = fat.ravel()[3] = 0  # without signal
    (measure,) = measure_muscles(labels, water, fat, 1.0, MuscleTable((TR_L,)))
    assert measure.swapped_percent == pytest.approx(100 * 3 / 999)


def test_computed_fat_and_water_are_never_swapped():
    """Whatever the signal, noise and rounding: of magnitudes fat is never above water."""
    in_phase, out_phase = np.abs(np.random.default_rng(7).normal(0, 1000, (2, 20, 20, 20)))
    fat, water = fat_and_water(in_phase, out_phase)
    labels = np.full((20, 20, 20), TR_L.index, np.int16)
    (measure,) = measure_muscles(labels, water, fat, 1.0, MuscleTable((TR_L,)))
    assert measure.swapped_percent == 0


def test_folded_mfi_exchanges_the_swapped_voxels_back():
    water, fat = np.array([90.0, 15.0, 0.0, 60.0]), np.array([10.0, 85.0, 0.0, 40.0])
    assert measure_folded_mfi_percent(water, fat) == pytest.approx(100 * (10 + 15 + 40) / 300)
    assert measure_folded_mfi_percent(fat, water) == measure_folded_mfi_percent(water, fat)


def test_folded_mfi_without_signal_is_not_available():
    assert math.isnan(measure_folded_mfi_percent(np.zeros(3), np.zeros(3)))
    assert math.isnan(measure_folded_mfi_percent(np.zeros(0), np.zeros(0)))


def test_magnitude_images_fold_the_mfi():
    """A muscle of 70 % fat is measured as 30 %: known, and flagged elsewhere."""
    labels = np.full((2, 2, 2), TR_L.index, np.int16)
    fat, water = fat_and_water(np.full((2, 2, 2), 1000.0), np.full((2, 2, 2), abs(300.0 - 700.0)))
    (measure,) = measure_muscles(labels, water, fat, 1.0, MuscleTable((TR_L,)))
    assert measure.mfi_percent == pytest.approx(30)


def test_inputs_are_not_changed():
    case = make_case()
    copies = [volume.copy() for volume in case]
    measure_muscles(*case, VOXEL_ML, WEBER2021)
    for volume, copy in zip(case, copies, strict=True):
        np.testing.assert_array_equal(volume, copy)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_shapes_must_agree(which):
    case = list(make_case())
    case[which] = case[which][:, :, :-1]
    with pytest.raises(ValueError, match="shapes differ"):
        measure_muscles(*case, VOXEL_ML, WEBER2021)


def test_empty_table():
    assert measure_muscles(*make_case(), VOXEL_ML, MuscleTable(())) == []


def test_measure_is_a_value():
    (measure,) = measure_muscles(*make_case(), VOXEL_ML, MuscleTable((TR_L,)))
    assert replace(measure) == measure
    with pytest.raises(AttributeError):
        measure.voxels = 3
