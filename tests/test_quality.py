"""Quality flags: each raised just beyond its limit, none on a clean scan."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bids_mfi.grid import Grid, reorient
from bids_mfi.muscles import WEBER2021, Muscle, MuscleTable, paper_table
from bids_mfi.quality import (
    LARGEST_PIECE_PERCENT,
    NEAR_FOLD_SHARE_PERCENT,
    NO_SIGNAL_SHARE_PERCENT,
    SMALL_ML,
    QCFlag,
    check_measure,
    check_scan,
)
from bids_mfi.quantify import MuscleMeasure, measure_muscles

SHAPE = (40, 34, 20)
RAS = np.diag([2.0, 2.0, 3.0, 1.0])
WHOLE = paper_table(dict.fromkeys([muscle.muscle for muscle in WEBER2021], "all"))


def make_labels():
    """A crude neck in RAS: one box a muscle, left ones at small x, all inside the volume."""
    labels = np.zeros(SHAPE, np.int16)
    for number, pair in enumerate(zip(*[iter(WEBER2021)] * 2, strict=True)):
        right, left = pair
        assert (right.hemi, left.hemi) == ("R", "L")
        y = 2 + 4 * number
        labels[4:14, y : y + 3, 3:17] = left.index
        labels[26:36, y : y + 3, 3:17] = right.index
    return labels


def scan_flags(labels, affine=RAS, table=WEBER2021, fat_percent=10.0, computed=True):
    grid = Grid.from_array(labels.shape, affine)
    fat = np.full(labels.shape, fat_percent)
    measures = measure_muscles(labels, 100 - fat, fat, grid.voxel_volume_ml, table)
    return check_scan(measures, labels, grid, table, computed)


def codes(flags):
    return [(flag.code, flag.muscle) for flag in flags]


@pytest.fixture
def clean():
    """A measure of TR_L without any flag."""
    return MuscleMeasure(
        index=12, name="left_trapezius", muscle="TR", hemi="L", voxels=1000, volume_ml=12.0,
        fat_mean=10.0, water_mean=90.0, mfi_percent=10.0, mfi_voxelwise_percent=10.0,
        mfi_median_percent=10.0, near_fold_percent=0.0, signal_voxels=1000, extent="complete",
        levels="C6",
    )  # fmt: skip


class TestCheckMeasure:
    def test_clean(self, clean):
        assert check_measure(clean, computed=True) == []
        assert check_measure(clean, computed=False) == []

    def test_absent(self, clean):
        nan = math.nan
        absent = replace(
            clean, voxels=0, signal_voxels=0, volume_ml=nan, mfi_percent=nan, near_fold_percent=nan,
            extent="absent",
        )  # fmt: skip
        (flag,) = check_measure(absent, computed=True)
        assert (flag.code, flag.severity, flag.muscle) == ("absent", "warning", "TR_L")
        assert (flag.value, flag.threshold) == (0.0, 1.0)
        assert "n/a" in flag.message

    @pytest.mark.parametrize(("levels", "severity"), [("all", "info"), ("C6", "warning")])
    def test_cut(self, clean, levels, severity):
        (flag,) = check_measure(replace(clean, extent="cut", levels=levels), computed=True)
        assert (flag.code, flag.severity, flag.muscle) == ("cut", severity, "TR_L")
        assert math.isnan(flag.value)
        assert math.isnan(flag.threshold)
        assert "border of the field of view" in flag.message

    def test_small(self, clean):
        assert check_measure(replace(clean, volume_ml=SMALL_ML), computed=True) == []
        (flag,) = check_measure(replace(clean, volume_ml=SMALL_ML - 1e-6), computed=True)
        assert (flag.code, flag.severity, flag.threshold) == ("small", "warning", SMALL_ML)
        assert flag.value == SMALL_ML - 1e-6
        assert "0.50 ml" in flag.message

    def test_near_fold(self, clean):
        at_limit = replace(clean, near_fold_percent=NEAR_FOLD_SHARE_PERCENT)
        beyond = replace(clean, near_fold_percent=NEAR_FOLD_SHARE_PERCENT + 1e-6)
        assert check_measure(at_limit, computed=True) == []
        (flag,) = check_measure(beyond, computed=True)
        assert (flag.code, flag.severity) == ("near_fold", "warning")
        assert flag.value == beyond.near_fold_percent
        assert flag.threshold == NEAR_FOLD_SHARE_PERCENT
        assert "above 40 %" in flag.message
        assert check_measure(beyond, computed=False) == []  # the scanner's fat does not fold

    @pytest.mark.parametrize("voxels", [20, 100, 1000, 7000, 140])
    def test_no_signal(self, clean, voxels):
        limit = round(voxels * (1 - NO_SIGNAL_SHARE_PERCENT / 100))
        at_limit = replace(clean, voxels=voxels, signal_voxels=limit)
        assert check_measure(at_limit, computed=True) == []
        beyond = replace(at_limit, signal_voxels=limit - 1)
        (flag,) = check_measure(beyond, computed=True)
        assert (flag.code, flag.severity) == ("no_signal", "warning")
        assert flag.value == pytest.approx(100 * (voxels - limit + 1) / voxels)
        assert flag.threshold == NO_SIGNAL_SHARE_PERCENT

    def test_no_signal_at_all(self, clean):
        nan = math.nan
        (flag,) = check_measure(
            replace(clean, signal_voxels=0, mfi_percent=nan, near_fold_percent=nan), computed=True
        )
        assert (flag.code, flag.value) == ("no_signal", 100.0)

    def test_several_at_once(self, clean):
        bad = replace(clean, extent="cut", volume_ml=0.1, near_fold_percent=90.0, signal_voxels=500)
        flags = check_measure(bad, computed=True)
        assert [flag.code for flag in flags] == ["cut", "small", "near_fold", "no_signal"]
        assert {flag.severity for flag in flags} == {"warning"}


class TestCheckScan:
    def test_clean_scan_has_no_flag(self):
        assert scan_flags(make_labels()) == []
        assert scan_flags(make_labels(), table=WHOLE) == []
        assert scan_flags(make_labels(), fat_percent=45.0, computed=False) == []

    def test_fat_muscles_of_magnitude_images(self):
        flags = scan_flags(make_labels(), fat_percent=45.0)
        assert codes(flags) == [("near_fold", muscle.abbreviation) for muscle in WEBER2021]

    def test_empty_label_map(self):
        flags = scan_flags(np.zeros(SHAPE, np.int16))
        assert codes(flags) == [("absent", muscle.abbreviation) for muscle in WEBER2021]

    def test_one_missing(self):
        labels = make_labels()
        labels[labels == 9] = 0
        assert codes(scan_flags(labels)) == [("absent", "SCM_R")]

    @pytest.mark.parametrize(("table", "severity"), [(WEBER2021, "warning"), (WHOLE, "info")])
    def test_cut_by_the_last_slice(self, table, severity):
        flags = scan_flags(make_labels()[:, :, :16], table=table)
        assert codes(flags) == [("cut", muscle.abbreviation) for muscle in WEBER2021]
        assert {flag.severity for flag in flags} == {severity}

    def test_labels_outside_the_table_do_not_matter(self):
        labels = make_labels()
        labels[0, 0, 0], labels[20, 10, 10] = 99, 15
        assert scan_flags(labels) == []

    def test_flags_of_both_sides_come_first(self):
        labels = make_labels()[::-1].copy()
        labels[labels == 9] = 0
        found = codes(scan_flags(labels))
        assert found[-1] == ("absent", "SCM_R")
        assert {code for code, _ in found[:-1]} == {"left_right"}

    def test_severities_are_the_documented_ones(self):
        flags = scan_flags(make_labels()[::-1, :, :16], table=WHOLE, fat_percent=45.0)
        assert {flag.severity for flag in flags} == {"info", "warning", "error"}
        assert all(isinstance(flag, QCFlag) and flag.message.endswith(".") for flag in flags)


ALL_MUSCLES = [("left_right", muscle.muscle) for muscle in WEBER2021 if muscle.hemi == "L"]
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


class TestSides:
    def test_exchanged_label_numbers(self):
        labels = make_labels()
        lookup = np.arange(15, dtype=np.int16)
        for index, other in WEBER2021.mirrored_indices().items():
            lookup[index] = other
        flags = scan_flags(lookup[labels])
        assert codes(flags) == ALL_MUSCLES
        assert {flag.severity for flag in flags} == {"error"}
        assert flags[0].value == pytest.approx(-44.0)  # 22 voxels of 2 mm
        assert flags[0].threshold == 0.0
        assert "lies 44.0 mm to the right of the right one" in flags[0].message

    def test_flipped_array(self):
        assert codes(scan_flags(make_labels()[::-1])) == ALL_MUSCLES

    def test_flipped_affine(self):
        assert codes(scan_flags(make_labels(), affine=MIRROR @ RAS)) == ALL_MUSCLES

    def test_array_and_affine_flipped_together(self):
        assert scan_flags(make_labels()[::-1], affine=MIRROR @ RAS) == []

    @pytest.mark.parametrize("axcodes", ["LPS", "RAS", "PSR", "SLA", "IAL", "ARI", "LSP", "RIA"])
    @pytest.mark.parametrize("mirrored", [False, True])
    def test_storage_order_does_not_matter(self, axcodes, mirrored):
        affine = MIRROR @ RAS if mirrored else RAS
        turned, grid = reorient(make_labels(), Grid.from_array(SHAPE, affine), tuple(axcodes))
        assert codes(scan_flags(turned, affine=grid.matrix)) == (ALL_MUSCLES if mirrored else [])

    @pytest.mark.parametrize("degrees", [-40, -20, 20, 40])
    @pytest.mark.parametrize("mirrored", [False, True])
    def test_oblique_and_far_from_the_origin(self, degrees, mirrored):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        affine = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]]) @ RAS
        affine[:3, 3] = 1e5, -300, 4e4
        affine = MIRROR @ affine if mirrored else affine
        assert codes(scan_flags(make_labels(), affine=affine)) == (ALL_MUSCLES if mirrored else [])

    def test_one_muscle_only(self):
        labels = make_labels()
        swapped = labels.copy()
        swapped[labels == 11], swapped[labels == 12] = 12, 11
        assert codes(scan_flags(swapped)) == [("left_right", "TR")]

    @pytest.mark.parametrize(("left_x", "flagged"), [(19, False), (20, True), (21, True)])
    def test_limit_is_the_same_place(self, left_x, flagged):
        labels = np.zeros(SHAPE, np.int16)
        labels[20, 5:15, 2:18], labels[left_x, 15:25, 2:18] = 11, 12
        flags = [flag for flag in scan_flags(labels) if flag.code == "left_right"]
        assert bool(flags) is flagged
        assert [flag.value for flag in flags] == pytest.approx([2.0 * (20 - left_x)][: len(flags)])
        assert all(f"lies {2 * (left_x - 20)}.0 mm" in flag.message for flag in flags)

    def test_one_side_alone_cannot_be_judged(self):
        labels = make_labels()[::-1].copy()
        labels[labels % 2 == 0] = 0
        assert {flag.code for flag in scan_flags(labels)} == {"absent"}

    def test_table_without_partners(self):
        table = MuscleTable(
            (
                Muscle(1, "rectus", "RA", "L", "#111111", "all"),
                Muscle(2, "tongue", "TO", "", "#222222", "all"),
            )
        )
        labels = np.zeros(SHAPE, np.int16)
        labels[4:14, 5:15, 5:15], labels[20:30, 5:15, 5:15] = 1, 2
        assert scan_flags(labels, table=table) == []


class TestPieces:
    @staticmethod
    def split(first, second, gap=2, diagonal=False):
        """Left trapezius in two runs of ``first`` and ``second`` voxels along z, ``gap`` apart."""
        labels = np.zeros((6, 6, 130), np.int16)
        labels[2, 2, 2 : 2 + first] = 12
        place = (3, 3) if diagonal else (2, 2)
        labels[(*place, slice(2 + first + gap, 2 + first + gap + second))] = 12
        flags = scan_flags(labels, affine=np.diag([3.0, 3.0, 3.0, 1.0]))
        return [flag for flag in flags if flag.code == "fragmented"]

    def test_limit(self):
        assert self.split(80, 20) == []  # exactly LARGEST_PIECE_PERCENT
        (flag,) = self.split(79, 21)
        assert (flag.severity, flag.muscle) == ("warning", "TR_L")
        assert flag.value == pytest.approx(79)
        assert flag.threshold == LARGEST_PIECE_PERCENT
        assert "in 2 separate pieces, the largest with 79 %" in flag.message

    @pytest.mark.parametrize(("gap", "diagonal"), [(0, False), (0, True)])
    def test_touching_pieces_are_one(self, gap, diagonal):
        assert self.split(50, 50, gap, diagonal) == []

    def test_one_voxel_between_is_a_gap(self):
        assert len(self.split(50, 50, gap=1)) == 1
        assert len(self.split(50, 50, gap=1, diagonal=True)) == 1

    def test_another_muscle_between_does_not_join(self):
        labels = np.zeros((6, 6, 100), np.int16)
        labels[2, 2, 2:90] = 12
        labels[2, 2, 40:42] = 11
        flags = [f for f in scan_flags(labels) if f.code == "fragmented"]
        assert codes(flags) == [("fragmented", "TR_L")]

    def test_many_crumbs(self):
        labels = np.zeros(SHAPE, np.int16)
        labels[1:-1:2, 1:-1:2, 1:-1:2] = 12
        (flag,) = [f for f in scan_flags(labels) if f.code == "fragmented"]
        count = np.count_nonzero(labels)
        assert f"in {count} separate pieces" in flag.message
        assert flag.value == pytest.approx(100 / count)


def test_every_muscle_needs_its_measure():
    grid = Grid.from_array(SHAPE, RAS)
    with pytest.raises(ValueError, match="zip"):
        check_scan([], make_labels(), grid, WEBER2021, computed=True)
