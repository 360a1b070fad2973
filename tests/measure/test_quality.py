"""Quality flags: each raised just beyond its limit, none on a clean scan."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.dixon import ScanSignals, fat_and_water
from bids_mfi.measure.quality import (
    FAT_WATER_MISMATCH_PERCENT,
    LARGEST_PIECE_PERCENT,
    LEAST_MFI_PERCENT,
    MOST_MFI_PERCENT,
    NEAR_FOLD_SHARE_PERCENT,
    NO_SIGNAL_SHARE_PERCENT,
    NOISE_PERCENT,
    SIGNAL_VOID_FRACTION,
    SIGNAL_VOID_SHARE_PERCENT,
    SMALL_ML,
    SWAP_LIKELY_SHARE_PERCENT,
    SWAP_SUSPECTED_SHARE_PERCENT,
    QCFlag,
    check_measure,
    check_scan,
)
from bids_mfi.measure.quantify import MuscleMeasure, measure_muscles
from bids_mfi.muscles import WEBER2021, Muscle, MuscleTable, paper_table
from bids_mfi.synthesis.acquisition import (
    PHANTOM_PROTOCOLS,
    acquire_phantom,
    build_body,
    draw_scanner,
    receive_field,
)
from bids_mfi.synthesis.cases import CASE_SPACING_MM, make_phantom_case, upright_grid
from bids_mfi.synthesis.composition import draw_fat_percent, draw_participant
from bids_mfi.synthesis.phantom import draw_shape

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
        mfi_median_percent=10.0, near_fold_percent=0.0, swapped_percent=0.0, signal_voxels=1000,
        extent="complete", levels="C6",
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

    @pytest.mark.parametrize("computed", [True, False])
    @pytest.mark.parametrize(
        ("limit", "beyond"), [(LEAST_MFI_PERCENT, -1e-6), (MOST_MFI_PERCENT, 1e-6)]
    )
    def test_impossible_mfi(self, clean, limit, beyond, computed):
        assert check_measure(replace(clean, mfi_percent=limit), computed) == []
        (flag,) = check_measure(replace(clean, mfi_percent=limit + beyond), computed)
        assert (flag.code, flag.severity, flag.muscle) == ("impossible_mfi", "error", "TR_L")
        assert (flag.value, flag.threshold) == (limit + beyond, limit)
        assert f"MFI of {limit:.1f} % is impossible" in flag.message

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
        assert "is 44.0 mm to the right of the right one" in flags[0].message

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
        assert all(f"is {2 * (left_x - 20)}.0 mm" in flag.message for flag in flags)

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


def signal_flags(labels, signals, computed=False):
    """Flags of a scan, those of shape and size left out."""
    grid = Grid.from_array(labels.shape, RAS)
    measures = measure_muscles(labels, signals.water, signals.fat, grid.voxel_volume_ml, WEBER2021)
    flags = check_scan(measures, labels, grid, WEBER2021, computed, signals)
    return [flag for flag in flags if flag.code not in {"absent", "small", "cut", "fragmented"}]


def make_lean_scan(labels, fat_percent=10.0):
    """Muscles of 1000 units in fat of 2000, air around, and faultless scanner images."""
    body = np.zeros(labels.shape, bool)
    body[2:-2, 1:-1] = True
    total = np.where(labels > 0, 1000.0, np.where(body, 2000.0, 0.0))
    fat = total * np.where(labels > 0, fat_percent, 95.0) / 100
    return ScanSignals(total, np.abs(total - 2 * fat), fat, total - fat)


def swap(signals, where):
    return replace(
        signals,
        fat=np.where(where, signals.water, signals.fat),
        water=np.where(where, signals.fat, signals.water),
    )


class TestSwap:
    labels = make_labels()
    muscle = np.argwhere(labels == 12)

    def first(self, percent, extra=0):
        """The first so many percent of the left trapezius's voxels, and ``extra`` more."""
        count = round(percent * len(self.muscle) / 100) + extra
        where = np.zeros(SHAPE, bool)
        where[tuple(self.muscle[:count].T)] = True
        return where

    def test_clean(self):
        assert signal_flags(self.labels, make_lean_scan(self.labels)) == []

    def test_names_exchanged(self):
        true = make_lean_scan(self.labels)
        flags = signal_flags(self.labels, replace(true, fat=true.water, water=true.fat))
        assert codes(flags) == [("fat_water_swap", muscle.abbreviation) for muscle in WEBER2021]
        assert {flag.severity for flag in flags} == {"error"}
        assert [flag.value for flag in flags] == pytest.approx([10.0] * 14)

    @pytest.mark.parametrize(
        ("limit", "below", "above"),
        [
            (SWAP_SUSPECTED_SHARE_PERCENT, None, "warning"),
            (SWAP_LIKELY_SHARE_PERCENT, "warning", "error"),
        ],
    )
    def test_limits(self, limit, below, above):
        true = make_lean_scan(self.labels)
        at_limit = signal_flags(self.labels, swap(true, self.first(limit)))
        assert [flag.severity for flag in at_limit] == ([below] if below else [])
        (flag,) = signal_flags(self.labels, swap(true, self.first(limit, extra=1)))
        assert (flag.code, flag.severity, flag.muscle) == ("fat_water_swap", above, "TR_L")
        assert flag.threshold == limit
        assert flag.value == pytest.approx(10.0)  # the MFI before the swap

    def test_message(self):
        true = make_lean_scan(self.labels)
        (flag,) = signal_flags(self.labels, swap(true, self.first(100)))
        assert "100 % of its voxels hold more fat than water" in flag.message
        assert "MFI 90.0 %" in flag.message
        assert "10.0 % with these voxels exchanged back" in flag.message
        assert "replaced by fat" in flag.message

    def test_of_computed_signals_is_not_looked_for(self):
        """Only an out-of-phase image with negative values has more fat than water."""
        signed = swap(make_lean_scan(self.labels), self.first(100))
        assert codes(signal_flags(self.labels, signed, computed=True)) == [("near_fold", "TR_L")]


class TestMismatch:
    labels = make_labels()

    def test_another_scan(self):
        true = make_lean_scan(self.labels)
        other = make_lean_scan(np.roll(self.labels, (6, 7), (0, 1)))
        flags = signal_flags(self.labels, replace(true, fat=other.fat, water=other.water))
        assert (flags[0].code, flags[0].severity) == ("fat_water_mismatch", "error")
        assert flags[0].muscle == ""
        assert "another scan" in flags[0].message

    @pytest.mark.parametrize(("excess", "flagged"), [(-1e-6, False), (1e-6, True)])
    def test_limit(self, excess, flagged):
        """All tissue alike but 8 of 20 slices, in which all of the deviation lies."""
        in_phase, wrong = np.full(SHAPE, 100.0), np.zeros(SHAPE, bool)
        wrong[:, :, :8] = True
        off = (FAT_WATER_MISMATCH_PERCENT + excess) * 20 / 8
        total = np.where(wrong, 100 - off, 100.0)
        signals = ScanSignals(in_phase, in_phase, np.zeros(SHAPE), total)
        flags = signal_flags(np.zeros(SHAPE, np.int16), signals)
        assert codes(flags) == [("fat_water_mismatch", "")] * flagged
        for flag in flags:
            assert flag.value == pytest.approx(FAT_WATER_MISMATCH_PERCENT)
            assert flag.threshold == FAT_WATER_MISMATCH_PERCENT
        assert signal_flags(np.zeros(SHAPE, np.int16), signals, computed=True) == []


class TestNoise:
    labels = make_labels()

    def scan(self, noise_percent):
        rng = np.random.default_rng(1)
        noise = 10 * noise_percent * rng.normal(0, 1, (2, 2, *SHAPE))
        in_phase, out_phase = (
            np.hypot(image + real, imaginary)
            for image, (real, imaginary) in zip((1000.0, 800.0), noise, strict=True)
        )
        return ScanSignals(in_phase, out_phase, *fat_and_water(in_phase, out_phase))

    @pytest.mark.parametrize(("factor", "flagged"), [(0.9, False), (1.15, True), (2.2, True)])
    def test_limit(self, factor, flagged):
        flags = signal_flags(self.labels, self.scan(factor * NOISE_PERCENT), computed=True)
        assert codes(flags) == [("noisy", "")] * flagged
        for flag in flags:
            assert flag.severity == "warning"
            assert flag.value > flag.threshold == NOISE_PERCENT
            assert f"about {flag.value:.1f} % of the muscles' signal" in flag.message

    def test_mfi_of_noisy_magnitudes_is_too_low(self):
        """As the message says: the darker image is brightened more."""
        grid = Grid.from_array(SHAPE, RAS)
        mfi = []
        for noise_percent in (0, 20, 33):
            scan = self.scan(noise_percent)
            measures = measure_muscles(
                self.labels, scan.water, scan.fat, grid.voxel_volume_ml, WEBER2021
            )
            mfi.append(np.mean([m.mfi_percent for m in measures]))
        assert mfi[0] == pytest.approx(10)
        assert mfi[0] > mfi[1] + 0.2 > mfi[2] + 0.4

    def test_no_labels_no_flag(self):
        nothing = np.zeros(SHAPE, np.int16)
        assert signal_flags(nothing, self.scan(33), computed=True) == []


class TestVoid:
    labels = make_labels()

    def scan(self, percent, extra, level):
        """A share of the left trapezius at a level of the typical signal, all of it positive."""
        muscle = np.argwhere(self.labels == 12)
        hole = muscle[: round(percent * len(muscle) / 100) + extra]
        in_phase = np.full(SHAPE, 1000.0)
        in_phase[tuple(hole.T)] = 1000.0 * level
        out_phase = 0.8 * in_phase
        return ScanSignals(in_phase, out_phase, *fat_and_water(in_phase, out_phase))

    @pytest.mark.parametrize(("extra", "flagged"), [(0, False), (1, True)])
    @pytest.mark.parametrize("computed", [True, False])
    def test_limit_of_the_share(self, extra, flagged, computed):
        flags = signal_flags(
            self.labels, self.scan(SIGNAL_VOID_SHARE_PERCENT, extra, 0.02), computed
        )
        assert codes(flags) == [("signal_void", "TR_L")] * flagged
        for flag in flags:
            assert flag.severity == "warning"
            assert flag.value > flag.threshold == SIGNAL_VOID_SHARE_PERCENT
            assert "less than 10 % of the scan's typical signal" in flag.message

    @pytest.mark.parametrize(("excess", "flagged"), [(1e-6, False), (0, False), (-1e-6, True)])
    def test_limit_of_the_signal(self, excess, flagged):
        scan = self.scan(50, 0, SIGNAL_VOID_FRACTION + excess)
        assert codes(signal_flags(self.labels, scan)) == [("signal_void", "TR_L")] * flagged

    def test_noise_alone_is_measured_but_flagged(self):
        """The signal void of a magnitude image holds noise: all of it counts, so it must show."""
        rng = np.random.default_rng(0)
        scan = self.scan(30, 0, 0.0)
        in_phase, out_phase = (
            np.hypot(image + rng.normal(0, 30, SHAPE), rng.normal(0, 30, SHAPE))
            for image in (scan.in_phase, scan.out_phase)
        )
        signals = ScanSignals(in_phase, out_phase, *fat_and_water(in_phase, out_phase))
        (flag,) = signal_flags(self.labels, signals, computed=True)
        assert (flag.code, flag.muscle) == ("signal_void", "TR_L")
        assert flag.value == pytest.approx(30, abs=1)

    def test_scan_without_any_signal_is_left_to_the_other_flag(self):
        zeros = np.zeros(SHAPE)
        flags = signal_flags(self.labels, ScanSignals(zeros, zeros, zeros, zeros))
        assert codes(flags) == [("no_signal", muscle.abbreviation) for muscle in WEBER2021]


def make_phantom(seed, factor=1.0):
    """True labels, a noisy pair and noisy true fat and water; ``factor`` times the fat."""
    rng = np.random.default_rng(seed)
    participant = draw_participant(rng)
    neck = draw_shape(rng, participant.sex, participant.bmi, 1.0)
    fat_percent = (factor * draw_fat_percent(rng, participant)).astype(np.float32)
    body = build_body(
        rng, neck, fat_percent, upright_grid((160, 120, 24), CASE_SPACING_MM, (0, 10, -6))
    )
    scanner = draw_scanner(rng, PHANTOM_PROTOCOLS[seed % len(PHANTOM_PROTOCOLS)])
    in_phase, out_phase = (
        image.astype(np.float64) for image in acquire_phantom(rng, body, scanner)
    )
    field = scanner.scale * receive_field(body.water.shape, scanner.field).astype(np.float64)
    sd = scanner.scale * scanner.noise / np.sqrt(2)
    fat, water = (np.abs(part * field + rng.normal(0, sd, part.shape))
                  for part in (body.fat, body.water))  # fmt: skip
    return body.labels, ScanSignals(in_phase, out_phase, fat, water)


class TestPhantom:
    @pytest.mark.parametrize("seed", range(5))
    def test_clean_case_computed(self, seed):
        case = make_phantom_case(seed)
        pair = case.in_phase.astype(np.float64), case.out_phase.astype(np.float64)
        assert signal_flags(case.labels, ScanSignals(*pair, *fat_and_water(*pair)), True) == []

    @pytest.mark.parametrize("factor", [1.0, 2.6])
    @pytest.mark.parametrize("seed", range(3))
    def test_clean_scanner_images_even_of_much_fat(self, seed, factor):
        assert signal_flags(*make_phantom(seed, factor)) == []

    @pytest.mark.parametrize("seed", [0, 1])
    def test_fatty_muscle_computed_is_only_near_the_fold(self, seed):
        labels, scanner = make_phantom(seed, factor=6.0)
        pair = scanner.in_phase, scanner.out_phase
        flags = signal_flags(labels, ScanSignals(*pair, *fat_and_water(*pair)), computed=True)
        assert {flag.code for flag in flags} == {"near_fold"}

    def test_faults_of_the_scanner(self):
        labels, true = make_phantom(0)
        present = [m.abbreviation for m in WEBER2021 if (labels == m.index).any()]
        exchanged = signal_flags(labels, replace(true, fat=true.water, water=true.fat))
        assert codes(exchanged) == [("fat_water_swap", where) for where in present]
        assert max(flag.value for flag in exchanged) < 25
        regional = np.zeros(labels.shape, bool)
        regional[:80] = True  # the left half
        found = codes(signal_flags(labels, swap(true, regional)))
        assert found == [("fat_water_swap", where) for where in present if where.endswith("_L")]
        other = make_phantom(1)[1]
        for fat, water in [(other.fat, other.water), (other.fat, true.water),
                           (true.water, true.water), (2 * true.fat, true.water)]:  # fmt: skip
            flags = signal_flags(labels, replace(true, fat=fat, water=water))
            assert codes(flags)[0] == ("fat_water_mismatch", "")


def test_every_muscle_needs_its_measure():
    grid = Grid.from_array(SHAPE, RAS)
    with pytest.raises(ValueError, match="zip"):
        check_scan([], make_labels(), grid, WEBER2021, computed=True)
