"""Vertebral levels from labelled bodies: their ends, their measures, reasons for doubt."""

from dataclasses import fields

import numpy as np
import pytest
from toy_neck import FIRST_SLICE, LEVEL_SLICES, toy_grid, toy_labels, toy_rows
from toy_neck import LEVELS as TOY_LEVELS

from bids_mfi.bids.columns import LEVEL_COLUMNS
from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.levels import Level, LevelMeasure, find_levels, measure_levels
from bids_mfi.muscles import LONG_NAMES, WEBER2021, MuscleTable, paper_table
from bids_mfi.synthesis.cases import upright_grid
from bids_mfi.synthesis.labelmap import prepare_label_map
from bids_mfi.synthesis.levels import find_level_slices
from bids_mfi.synthesis.painting import fill_grid
from bids_mfi.synthesis.subject import draw_subject
from bids_mfi.synthesis.tissues import N_MUSCLES
from bids_mfi.vertebrae import MEASURED_LEVELS, VERTEBRAE

WHOLE = paper_table(dict.fromkeys(LONG_NAMES, "all"))
ORIENTATIONS = ("RAS", "LPI", "LAS", "SRA", "PIL", "ASR")


def toy_bodies():
    """The bodies of the toy neck, without the spinous processes."""
    codes, bodies = toy_labels(), np.zeros(toy_grid().shape, np.int16)
    for i, name in enumerate(TOY_LEVELS):
        bodies[codes == 30 + i] = 1 + VERTEBRAE.index(name)
    bodies[:, :44] = 0
    return bodies


def toy_muscles():
    codes = toy_labels()
    return np.where(codes <= 14, codes, 0).astype(np.int16)


def first_slice(name):
    return FIRST_SLICE + TOY_LEVELS.index(name) * LEVEL_SLICES


def levels_of(bodies, grid=None):
    return find_levels(bodies, grid or toy_grid(), VERTEBRAE)


def row_of(rows, scope, levels, abbreviation):
    found = [r for r in rows if (r.scope, r.levels) == (scope, levels)]
    return next(r for r in found if f"{r.muscle}_{r.hemi}" == abbreviation)


class TestFinding:
    def test_levels_meet_in_the_middle_of_their_discs(self):
        levels, flags = levels_of(toy_bodies())
        assert flags == []
        assert tuple(level.name for level in levels) == MEASURED_LEVELS
        for level in levels:  # the disc is one slice, and belongs half to each
            start = first_slice(level.name)
            assert (level.low, level.high) == (start - 1.0, start + 7.0)
            assert not level.cut

    @pytest.mark.parametrize("axcodes", ORIENTATIONS)
    def test_the_storage_order_does_not_matter(self, axcodes):
        turned, grid = reorient(toy_bodies(), toy_grid(), tuple(axcodes))
        assert levels_of(turned, grid) == levels_of(toy_bodies())

    def test_specks_and_second_pieces_are_left_out(self):
        bodies = toy_bodies()
        number = 1 + VERTEBRAE.index("C5")
        bodies[10:14, 10:14, 50:54] = number  # large, and far from the spine
        bodies[70, 70, 2] = number
        assert levels_of(bodies) == levels_of(toy_bodies())

    def test_tilted_bodies_end_where_their_middle_ends(self):
        """Each body leans by one slice a voxel; the ends of its middle column stay."""
        bodies = toy_bodies()
        tilted = np.zeros_like(bodies)
        for y in range(44, 54):
            tilted[:, y] = np.roll(bodies[:, y], round((y - 48.5) * 0.5), axis=-1)
        expected = [(level.low, level.high) for level in levels_of(bodies)[0]]
        found = [(level.low, level.high) for level in levels_of(tilted)[0]]
        assert np.allclose(found, expected, atol=1.0)

    def test_a_level_without_neighbour_ends_with_half_a_disc(self):
        bodies = toy_bodies()
        bodies[bodies == 1 + VERTEBRAE.index("C2")] = 0
        c3 = levels_of(bodies)[0][0]
        assert c3.high == first_slice("C3") + 6.5 + 2.5 / 2

    def test_a_missing_body_is_told_and_leaves_the_others(self):
        bodies = toy_bodies()
        bodies[bodies == 1 + VERTEBRAE.index("C5")] = 0
        levels, flags = levels_of(bodies)
        assert [level.name for level in levels] == ["C3", "C4", "C6", "C7"]
        (flag,) = flags
        assert (flag.code, flag.severity, flag.value) == ("levels_missing", "warning", 4.0)
        assert "C5" in flag.message

    def test_levels_beyond_the_field_of_view_are_no_reason_to_warn(self):
        bodies = toy_bodies()
        for name in ("C6", "C7", "T1"):
            bodies[bodies == 1 + VERTEBRAE.index(name)] = 0
        (flag,) = levels_of(bodies)[1]
        assert (flag.code, flag.severity) == ("levels_missing", "info")
        assert "C6, C7" in flag.message

    def test_a_body_smaller_than_any_is_none(self):
        bodies = toy_bodies()
        number = 1 + VERTEBRAE.index("C4")
        bodies[bodies == number] = 0
        start = first_slice("C4")
        bodies[38:42, 46:50, start + 1 : start + 4] = number  # 0.38 ml
        assert "C4" not in [level.name for level in levels_of(bodies)[0]]
        bodies[38:42, 46:50, start + 1 : start + 5] = number  # 0.51 ml
        assert "C4" in [level.name for level in levels_of(bodies)[0]]

    @pytest.mark.parametrize("pair", [("C4", "C5"), ("C3", "C7")])
    def test_exchanged_vertebrae_leave_no_level(self, pair):
        bodies = toy_bodies()
        one, other = (1 + VERTEBRAE.index(name) for name in pair)
        exchanged = np.where(bodies == one, other, np.where(bodies == other, one, bodies))
        levels, flags = levels_of(exchanged.astype(np.int16))
        assert levels == ()
        assert [(flag.code, flag.severity) for flag in flags] == [("vertebral_order", "warning")]

    def test_an_upside_down_spine_leaves_no_level(self):
        (flag,) = levels_of(toy_bodies()[..., ::-1])[1]
        assert flag.code == "vertebral_order"
        assert "C3 was found 16 mm above that of C2, expected 8 to 32 mm below" in flag.message

    def test_a_vertebra_that_is_skipped_leaves_no_level(self):
        """C4 is not labelled and C5 is called C4, and so on: one distance is twice the others."""
        bodies, renamed = toy_bodies(), toy_bodies()
        renamed[bodies == 1 + VERTEBRAE.index("C4")] = 0
        renamed[bodies == 1 + VERTEBRAE.index("C5")] = 1 + VERTEBRAE.index("C4")
        renamed[bodies == 1 + VERTEBRAE.index("C6")] = 1 + VERTEBRAE.index("C5")
        levels, flags = levels_of(renamed)
        assert levels == ()
        assert flags[0].code == "vertebral_order"

    def test_names_that_are_all_one_too_high_pass(self):
        """A limit: nothing in distances and heights tells it."""
        bodies = toy_bodies()
        shifted = np.where(bodies > 1, bodies - 1, 0).astype(np.int16)
        levels, _ = levels_of(shifted)
        assert [level.name for level in levels] == ["C3", "C4", "C5", "C6", "C7"]

    @pytest.mark.parametrize(("swallowed", "finding"), [(7, "C4 is"), (4, "C4 is")])
    def test_a_body_that_swallows_a_part_of_the_next_leaves_no_level(self, swallowed, finding):
        bodies = toy_bodies()
        start = first_slice("C5")
        part = bodies[..., start + 7 - swallowed : start + 8]
        part[part > 0] = 0
        bodies[34:46, 44:54, start + 7 - swallowed : start + 8] = 1 + VERTEBRAE.index("C4")
        levels, flags = levels_of(bodies)
        assert levels == ()
        assert flags[0].code == "vertebral_order"

    def test_one_name_in_two_places_leaves_no_level(self):
        bodies = toy_bodies()
        bodies[bodies == 1 + VERTEBRAE.index("C5")] = 1 + VERTEBRAE.index("C4")
        levels, (flag,) = levels_of(bodies)
        assert levels == ()
        assert "C4 was found in two places" in flag.message

    def test_a_level_that_the_volume_cuts_below_its_body_is_cut(self):
        """C7 ends one slice above the bottom and there is no T1: half a disc is not in view."""
        start = first_slice("C7")
        bodies = toy_bodies()[..., start - 1 :]
        bodies[bodies == 1 + VERTEBRAE.index("T1")] = 0
        levels, _ = levels_of(bodies, Grid.from_array(bodies.shape, toy_grid().matrix))
        assert {level.name for level in levels if level.cut} == {"C7"}

    def test_no_vertebra_at_all(self):
        levels, flags = levels_of(np.zeros(toy_grid().shape, np.int16))
        assert levels == ()
        assert flags[0].code == "levels_missing"

    def test_a_body_at_the_end_of_the_field_of_view_is_cut(self):
        bodies = toy_bodies()[..., first_slice("C6") + 2 :]
        levels, _ = levels_of(bodies, Grid.from_array(bodies.shape, toy_grid().matrix))
        assert {level.name: level.cut for level in levels} == {
            "C3": False, "C4": False, "C5": False, "C6": True,
        }  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_levels_are_those_that_the_simulator_cuts(seed):
    """Ends found in labelled bodies of random persons lie where the label map has them."""
    neck = prepare_label_map(toy_labels(), toy_grid(), toy_rows(), "toy")
    subject = draw_subject(np.random.default_rng(seed), neck, variation=0.8)
    grid = upright_grid((76, 76, 104), (2.0, 2.0, 1.5), (0.0, -20.0, -8.0))
    labels = fill_grid(subject, grid, (1, 1, 1), vertebrae=True).labels.numpy()
    levels, flags = levels_of(np.maximum(labels.astype(np.int16) - N_MUSCLES, 0), grid)
    assert flags == []
    expected = find_level_slices(subject, grid)
    for level in levels:
        low, high = expected[level.name]
        # The disc's middle is found between two bodies; the simulator's levels have equal heights.
        assert abs(level.low - low) * 1.5 < 3.0
        assert abs(level.high - high) * 1.5 < 3.0


@pytest.fixture(scope="module")
def signals():
    """Fat of 10 % at C3, 20 % at C4, and so on, 5 % elsewhere; the left side has 1 % more."""
    shape = toy_grid().shape
    fat = np.full(shape, 5.0)
    for number, name in enumerate(MEASURED_LEVELS, start=1):
        fat[..., first_slice(name) : first_slice(name) + 7] = 10.0 * number
    fat[:40] += 1.0
    return 100.0 - fat, fat


class TestMeasuring:
    def measure(self, signals, labels=None, levels=None, table=WHOLE):
        known = levels_of(toy_bodies())[0] if levels is None else levels
        chosen = toy_muscles() if labels is None else labels
        return measure_levels(chosen, known, *signals, toy_grid(), table)

    def test_each_level_has_its_own_fat(self, signals):
        rows = self.measure(signals)
        for number, name in enumerate(MEASURED_LEVELS, start=1):
            right, left = (row_of(rows, "level", name, f"MFSS_{side}") for side in "RL")
            # Seven slices of the level's fat and the disc's slice below with 5 %.
            assert right.mfi_percent == pytest.approx((7 * 10 * number + 5) / 8)
            assert left.mfi_percent == pytest.approx(right.mfi_percent + 1)
            assert right.mfi_median_percent == pytest.approx(10 * number)
            assert right.extent == "complete"

    def test_area_volume_and_slices(self, signals):
        row = row_of(self.measure(signals), "level", "C5", "MFSS_R")
        assert (row.slices, row.voxels) == (8, 6 * 8 * 8)
        assert row.volume_ml == pytest.approx(6 * 8 * 8 * 0.008)
        assert row.area_mm2 == pytest.approx(6 * 8 * 4)

    def test_the_papers_levels_are_those_of_table_1_together(self, signals):
        rows = self.measure(signals)
        for muscle, levels in (("MFSS", "C4-C6"), ("LC", "C3-C6"), ("TR", "C6"), ("LS", "C5-C6")):
            together = row_of(rows, "paper", levels, f"{muscle}_L")
            first, last = levels[:2], levels[-2:]
            names = MEASURED_LEVELS[MEASURED_LEVELS.index(first) : MEASURED_LEVELS.index(last) + 1]
            single = [row_of(rows, "level", name, f"{muscle}_L") for name in names]
            assert together.voxels == sum(row.voxels for row in single)
            assert together.mfi_percent == pytest.approx(np.mean([r.mfi_percent for r in single]))

    @pytest.mark.parametrize("axcodes", ORIENTATIONS)
    def test_the_storage_order_does_not_matter(self, signals, axcodes):
        codes = tuple(axcodes)
        turned = [reorient(a, toy_grid(), codes)[0] for a in (toy_muscles(), *signals)]
        bodies, grid = reorient(toy_bodies(), toy_grid(), codes)
        levels = find_levels(bodies, grid, VERTEBRAE)[0]
        rows = measure_levels(turned[0], levels, turned[1], turned[2], grid, WHOLE)
        for found, expected in zip(rows, self.measure(signals), strict=True):
            for field in fields(LevelMeasure):
                wanted = getattr(expected, field.name)
                if isinstance(wanted, float):
                    wanted = pytest.approx(wanted, nan_ok=True)
                assert getattr(found, field.name) == wanted

    def test_an_unknown_level_is_missing_and_not_zero(self, signals):
        levels = [one for one in levels_of(toy_bodies())[0] if one.name != "C5"]
        rows = self.measure(signals, levels=levels)
        for row in (
            row_of(rows, "level", "C5", "TR_R"), row_of(rows, "paper", "C4-C6", "MFSS_R"),
        ):  # fmt: skip
            assert row.extent == "unknown"
            assert np.isnan([row.slices, row.voxels, row.volume_ml, row.area_mm2]).all()
            assert np.isnan(row.mfi_percent)
        assert row_of(rows, "paper", "C6", "TR_R").extent == "complete"

    def test_an_absent_muscle_has_no_voxels_and_no_fat(self, signals):
        labels = toy_muscles()
        labels[..., first_slice("C3") - 1 :][labels[..., first_slice("C3") - 1 :] == 11] = 0
        row = row_of(self.measure(signals, labels), "level", "C3", "TR_R")
        assert (row.extent, row.voxels) == ("absent", 0)
        assert np.isnan([row.mfi_percent, row.volume_ml, row.area_mm2]).all()

    def test_a_muscle_at_the_side_of_the_volume_is_cut(self, signals):
        labels = toy_muscles()
        labels[79, 20, first_slice("C4") + 2] = WEBER2021.of("LS", "R").index
        rows = self.measure(signals, labels)
        assert row_of(rows, "level", "C4", "LS_R").extent == "cut"
        assert row_of(rows, "level", "C5", "LS_R").extent == "complete"

    def test_a_cut_level_says_so(self, signals):
        levels = [Level(one.name, one.low, one.high, one.name == "C6")
                  for one in levels_of(toy_bodies())[0]]  # fmt: skip
        rows = self.measure(signals, levels=levels)
        assert row_of(rows, "paper", "C6", "TR_R").extent == "cut"
        assert row_of(rows, "paper", "C3-C5", "SPCap_R").extent == "complete"

    def test_a_level_that_the_weights_do_not_label_is_missing_and_not_empty(self, signals):
        rows = self.measure(signals, table=WEBER2021)
        here, there = row_of(rows, "level", "C6", "TR_R"), row_of(rows, "level", "C4", "TR_R")
        assert (here.extent, there.extent) == ("complete", "unlabelled")
        assert np.isnan([there.voxels, there.mfi_percent]).all()
        assert row_of(rows, "paper", "C6", "TR_R").voxels == here.voxels
        assert row_of(rows, "paper", "C4-C6", "MFSS_R").extent == "complete"

    def test_areas_are_those_of_sheared_voxels(self, signals):
        """A shear along x moves slices and keeps the area in each."""
        sheared = toy_grid().matrix
        sheared[0, 2] = 1.5
        grid = Grid.from_array(toy_grid().shape, sheared)
        levels = find_levels(toy_bodies(), grid, VERTEBRAE)[0]
        rows = measure_levels(toy_muscles(), levels, *signals, grid, WHOLE)
        straight = row_of(self.measure(signals), "level", "C5", "MFSS_R")
        assert row_of(rows, "level", "C5", "MFSS_R").area_mm2 == pytest.approx(straight.area_mm2)

    def test_every_scan_has_the_same_rows(self, signals):
        shown = [(row.scope, row.levels, row.index) for row in self.measure(signals)]
        nothing = self.measure(signals, levels=())
        assert [(row.scope, row.levels, row.index) for row in nothing] == shown
        assert len(set(shown)) == len(shown) == 14 * (1 + len(MEASURED_LEVELS))
        assert {row.extent for row in nothing} == {"unknown"}

    def test_a_muscle_that_the_paper_lacks_has_levels_of_its_own_only(self, signals):
        table = MuscleTable((*WHOLE.muscles[:1],))
        rows = self.measure(signals, table=table)
        assert len(rows) == 1 + len(MEASURED_LEVELS)


def test_every_column_is_described():
    assert [column.name for column in LEVEL_COLUMNS] == [
        field.name for field in fields(LevelMeasure)
    ]
