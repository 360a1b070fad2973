"""Images that do not belong together: refused, or flagged; sound pairs are neither."""

import json
import os
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import write_description, write_nifti, write_scan

from bids_mfi.bids.output_folder import BundleFacts
from bids_mfi.bids.scan_files import ScanRecord, identify_scan
from bids_mfi.discovery import find_scans
from bids_mfi.errors import PairError
from bids_mfi.images import encode_image, read_grid
from bids_mfi.measure.dixon import ScanSignals, fat_and_water
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.pair_checks import (
    check_magnitude,
    check_scale,
    draw_ratios,
    fit_fat_weight,
    is_same_image,
    measure_ceiling,
    measure_decay,
    measure_jumps_percent,
    measure_least_tenth_percent,
    measure_shared_edges,
    measure_weighted_signal,
)
from bids_mfi.measure.pair_images import read_pair, read_signals
from bids_mfi.measure.pair_quality import (
    LEAST_CEILING,
    MOST_CEILING,
    UNKNOWN_DECAY,
    check_cancellation,
    check_ceiling,
    check_edges,
    check_fat_weight,
    check_lost_signal,
    check_offset,
    check_pair,
)
from bids_mfi.options import RunOptions
from bids_mfi.synthesis.cases import make_phantom_case

OUT_FIRST_3T = (2.46, 1.23)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("role", [0, 1])
def test_image_of_which_every_other_plane_is_empty_is_flagged(axis, role):
    images = [image.copy() for image in phantom()]
    np.moveaxis(images[role], axis, 0)[::2] = 0
    (flag,) = check_lost_signal(*images)
    assert (flag.code, flag.severity) == ("lost_signal", "error")
    assert flag.value > 30
    assert ("out-of-phase" if role else "the in-phase image is") in flag.message


def test_whole_images_of_masked_air_have_lost_no_signal():
    in_phase, out_phase = phantom()
    air = in_phase < 0.05 * in_phase.max()
    assert check_lost_signal(in_phase, out_phase) == []
    assert check_lost_signal(np.where(air, 0, in_phase), np.where(air, 0, out_phase)) == []


class TestOffset:
    """A constant added to all values, as by scl_inter: MFI has it in its denominator."""

    @pytest.mark.parametrize(
        ("share", "severity"), [(0.12, "warning"), (0.5, "error"), (2.0, "error")]
    )
    @pytest.mark.parametrize("roles", [(0, 1), (0,), (1,)])
    def test_a_constant_is_flagged_and_named(self, share, severity, roles):
        images = [image.copy() for image in phantom()]
        for role in roles:
            images[role] += share * measure_weighted_signal(images[role])
        (flag,) = check_offset(dict(zip(("in-phase", "out-of-phase"), images, strict=True)))
        assert (flag.code, flag.severity) == ("signal_offset", severity)
        assert ("in-phase" in flag.message.replace("out-of-phase", "")) == (0 in roles)
        assert ("out-of-phase" in flag.message) == (1 in roles)
        assert "scl_inter" in flag.message

    def test_without_air_the_out_of_phase_image_tells(self):
        in_phase, out_phase = (image[60:100, 60:100, 10:30] for image in phantom())
        images = {"in-phase": in_phase, "out-of-phase": out_phase}
        assert check_offset(images) == []
        raised = {name: image + in_phase.mean() for name, image in images.items()}
        assert [flag.code for flag in check_offset(raised)] == ["signal_offset"]

    def test_a_constant_in_the_header_reaches_the_flags(self, tmp_path):
        in_phase, out_phase = (image + 100 for image in phantom())
        scan = replace(write_pair(tmp_path, in_phase, out_phase), echo_times_ms=OUT_FIRST_3T)
        signals, _ = read_signals(scan, "computed")
        assert "signal_offset" in [flag.code for flag in check_pair(signals, scan, True)]

    @pytest.mark.parametrize("name", ["fat", "water"])
    def test_images_of_the_scanner(self, name):
        in_phase, out_phase = phantom()
        fat, water = (np.maximum(part, 0) for part in fat_and_water(in_phase, out_phase))
        parts = {"fat": fat, "water": water}
        assert codes(in_phase, out_phase, **parts) == []
        parts[name] = parts[name] + 0.3 * in_phase.mean()
        assert "signal_offset" in codes(in_phase, out_phase, **parts)

    def test_sound_images_have_no_offset(self):
        in_phase, out_phase = phantom()
        rng = np.random.default_rng(0)
        noise = rng.normal(0, 0.1 * in_phase.mean(), (2, *in_phase.shape))
        for one, other in (
            (in_phase, out_phase),
            (in_phase[40:, 30:], out_phase[40:, 30:]),
            (np.hypot(in_phase, noise[0]), np.hypot(out_phase, noise[1])),
        ):
            assert check_offset({"in-phase": one, "out-of-phase": other}) == []


@cache
def phantom(seed=0):
    """In-phase and out-of-phase image of a phantom neck."""
    case = make_phantom_case(seed)
    return case.in_phase.astype(np.float64), case.out_phase.astype(np.float64)


def pair(**changes):
    known = DixonPair(Path("ip.nii"), Path("oop.nii"), (("sub", "01"),), "test")
    return replace(known, echo_times_ms=OUT_FIRST_3T, field_strength_t=3.0, **changes)


def codes(in_phase, out_phase, fat=None, water=None, **changes):
    computed = fat is None
    fat, water = fat_and_water(in_phase, out_phase) if computed else (fat, water)
    signals = ScanSignals(in_phase, out_phase, fat, water)
    return [flag.code for flag in check_pair(signals, pair(**changes), computed)]


def write_pair(folder, in_phase, out_phase, dtype=np.float32):
    ip = write_nifti(folder / "ip.nii.gz", in_phase, dtype=dtype)
    oop = write_nifti(folder / "oop.nii.gz", out_phase, dtype=dtype)
    return DixonPair(ip, oop, (("sub", "01"),), "test")


class TestMagnitude:
    def test_sound(self):
        for image in phantom():
            check_magnitude(image)
            box = tuple(slice(size // 4, size * 4 // 5) for size in image.shape)
            check_magnitude(image[box])

    def test_field_of_view_without_air(self):
        # Fat and muscle in thin layers under strong shading: bright and dark neighbours everywhere,
        # and all values about equally frequent, but nearly no step over the whole range.
        shading = np.linspace(0.2, 1.0, 60)[:, None, None] * np.ones((60, 60, 20))
        fat = np.arange(60)[None, :, None] % 2 == 0
        noise = np.random.default_rng(0).normal(0, 0.01, shading.shape)
        image = 1000 * shading * np.abs(np.where(fat, 0.25, 1.0) + noise)
        assert measure_least_tenth_percent(image) > 1
        assert measure_jumps_percent(image) < 0.5
        check_magnitude(image)

    def test_smooth_phase_in_masked_tissue(self):
        in_phase, _ = phantom()
        x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in in_phase.shape), indexing="ij")
        phase = np.angle(np.exp(1j * (9 * x - 12 * y + 5 * z)))
        phase = np.where(in_phase > 0.3 * in_phase.mean(), (phase / np.pi + 1) * 2047.5, 0)
        with pytest.raises(PairError, match="fill their range"):
            check_magnitude(phase)

    def test_small_negative_values_of_interpolation_pass(self):
        image = phantom()[1].copy()
        image[:20] -= 0.1 * image.mean()
        assert (image < 0).any()
        check_magnitude(image)

    @pytest.mark.parametrize(("low", "high"), [(-4096, 4095), (-np.pi, np.pi), (-180, 180)])
    def test_signed_phase(self, low, high):
        phase = np.random.default_rng(0).uniform(low, high, phantom()[0].shape)
        with pytest.raises(PairError, match="clearly negative") as caught:
            check_magnitude(phase)
        assert "Export the magnitude image" in str(caught.value)

    @pytest.mark.parametrize("high", [4095, 2 * np.pi, 65535])
    @pytest.mark.parametrize("masked", [False, True])
    def test_phase_from_0(self, high, masked):
        phase = np.random.default_rng(0).uniform(0, high, phantom()[0].shape)
        if masked:
            phase[:60] = 0
        with pytest.raises(PairError, match="fill their range") as caught:
            check_magnitude(phase)
        assert "Export the magnitude image" in str(caught.value)

    def test_phase_of_a_scan_with_noise_in_air(self):
        in_phase, _ = phantom()
        rng = np.random.default_rng(0)
        x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in in_phase.shape), indexing="ij")
        noise = rng.normal(0, 10, (2, *in_phase.shape))
        signal = in_phase * np.exp(1j * (2 * x - 3 * y + z + 1)) + noise[0] + 1j * noise[1]
        with pytest.raises(PairError, match="fill their range"):
            check_magnitude(np.rint((np.angle(signal) / np.pi + 1) * 2047.5))

    def test_signed_out_of_phase(self):
        in_phase, out_phase = phantom()
        fat = out_phase < 0.6 * in_phase
        with pytest.raises(PairError, match="reconstructed with its sign"):
            check_magnitude(np.where(fat, -out_phase, out_phase))


class TestIdentical:
    @pytest.mark.parametrize("change", [
        lambda image: image, lambda image: 0.3 * image, lambda image: np.rint(0.3 * image),
        lambda image: np.rint(255 * image / image.max()), lambda image: image / image.max(),
        lambda image: 2 * image - 7,
    ])  # fmt: skip
    def test_copies(self, change):
        in_phase, out_phase = phantom()
        assert is_same_image(in_phase, change(in_phase))
        assert is_same_image(change(out_phase), out_phase)
        assert not is_same_image(in_phase, change(out_phase))

    def test_a_constant_is_not_every_image(self):
        assert is_same_image(np.ones(5), np.ones(5))
        assert not is_same_image(np.ones(5), np.arange(5.0))

    @pytest.mark.parametrize("copy", [shutil.copy, os.symlink, os.link])
    def test_one_file_twice(self, tmp_path, copy):
        scan = write_pair(tmp_path, *phantom())
        scan.out_phase.unlink()
        copy(scan.in_phase, scan.out_phase)
        with pytest.raises(PairError, match="identical images") as caught:
            read_pair(scan)
        assert str(caught.value).startswith(f"{scan.in_phase} and {scan.out_phase}: ")

    def test_one_path_twice(self, tmp_path):
        scan = write_pair(tmp_path, *phantom())
        with pytest.raises(PairError, match="identical images"):
            read_pair(replace(scan, out_phase=scan.in_phase))

    @pytest.mark.parametrize(("fat", "water"), [
        ("water", "water"), ("in", "water"), ("out", "water"), ("fat", "in"), ("fat", "out"),
    ])  # fmt: skip
    def test_scanner_images(self, tmp_path, fat, water):
        in_phase, out_phase = phantom()
        scan = write_pair(tmp_path, in_phase, out_phase)
        parts = fat_and_water(in_phase, out_phase)
        images = {"in": in_phase, "out": out_phase, "fat": np.abs(parts[0]), "water": parts[1]}
        named = replace(
            scan,
            fat=write_nifti(tmp_path / "f.nii.gz", images[fat], dtype=np.float32),
            water=write_nifti(tmp_path / "w.nii.gz", 0.5 * images[water], dtype=np.float32),
        )
        with pytest.raises(PairError, match="identical images"):
            read_signals(named, "scanner")
        read_signals(named, "computed")


class TestScale:
    @pytest.mark.parametrize("seed", range(4))
    def test_sound(self, seed):
        assert codes(*phantom(seed)) == []

    @pytest.mark.parametrize("factor", [0.5, 0.7, 1.15, 1.4])
    def test_factor_is_flagged_and_named(self, factor):
        in_phase, out_phase = phantom(2)
        assert "scale_mismatch" in codes(in_phase, factor * out_phase)
        ceiling = measure_ceiling(draw_ratios(in_phase, factor * out_phase))
        (flag,) = check_ceiling(ceiling, pair())
        assert (flag.severity, flag.muscle) == ("error", "")
        assert f"multiplied by about {flag.value / 0.98:.2f}" in flag.message
        assert flag.value / 0.98 == pytest.approx(factor, rel=0.06)

    @pytest.mark.parametrize("factor", [1 / 4000, 0.2, 20, 4000])
    def test_hopeless_factor_is_refused(self, factor):
        in_phase, out_phase = phantom()
        with pytest.raises(PairError, match="on another scale") as caught:
            check_scale(in_phase, factor * out_phase)
        assert "times as bright" in str(caught.value)

    def test_float_from_0_to_1_beside_integers(self, tmp_path):
        in_phase, out_phase = phantom()
        scan = write_pair(tmp_path, np.rint(in_phase), out_phase)
        fraction = (out_phase / out_phase.max()).astype(np.float32)
        scan.out_phase.write_bytes(encode_image(fraction, read_grid(scan.in_phase)))
        with pytest.raises(PairError, match="on another scale"):
            read_pair(scan)

    def test_decay_is_taken_into_account(self):
        for echo_times_ms, field_t in [((4.77, 2.39), 1.5), (OUT_FIRST_3T, 3.0), ((2.46, 3.69), 3)]:
            scan = replace(pair(), echo_times_ms=echo_times_ms, field_strength_t=field_t)
            decay = measure_decay(echo_times_ms, field_t)
            for limit, sign in ((LEAST_CEILING, -1), (MOST_CEILING, 1)):
                assert check_ceiling(decay * (limit - sign * 1e-6), scan) == []
                (flag,) = check_ceiling(decay * (limit + sign * 1e-6), scan)
                assert flag.threshold == limit

    def test_unknown_echo_times_widen_the_limits(self):
        scan = replace(pair(), echo_times_ms=(None, None))
        assert check_ceiling(MOST_CEILING * UNKNOWN_DECAY - 1e-6, scan) == []
        assert len(check_ceiling(MOST_CEILING * UNKNOWN_DECAY + 1e-6, scan)) == 1
        assert len(check_ceiling(LEAST_CEILING / UNKNOWN_DECAY - 1e-6, scan)) == 1

    def test_nothing_to_measure_no_flag(self):
        assert draw_ratios(np.ones((3, 3, 3)), np.ones((3, 3, 3))).size == 0
        assert check_ceiling(float("nan"), pair()) == []


class TestSlopes:
    scan = pair(scale_slopes=(("PhilipsScaleSlope", 0.5, 0.44), ("PhilipsRescaleSlope", 1.0, 1.0)))
    decay = measure_decay(OUT_FIRST_3T, 3.0)

    @pytest.mark.parametrize(("value", "flagged"), [(0.98, False), (1.05, True), (0.9, True)])
    def test_differing_slopes_count_where_the_images_leave_a_doubt(self, value, flagged):
        flags = check_ceiling(value * self.decay, self.scan)
        assert [(flag.code, flag.severity) for flag in flags] == [
            ("scale_mismatch", "error")
        ] * flagged
        for flag in flags:
            assert "PhilipsScaleSlope 0.5 in phase, 0.44 out of phase" in flag.message
            assert "PhilipsRescaleSlope" not in flag.message
        assert check_ceiling(value * self.decay, pair()) == []

    def test_slopes_are_named_with_a_clear_mismatch(self):
        (flag,) = check_ceiling(1.5, self.scan)
        assert "PhilipsScaleSlope 0.5 in phase, 0.44 out of phase" in flag.message

    def test_from_sidecars_to_pair_and_fingerprint(self, tmp_path):
        write_description(tmp_path)
        for path, slope in zip(write_scan(tmp_path), ("0.5", 0.25), strict=True):
            sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
            more = {"PhilipsScaleSlope": slope, "PhilipsRescaleSlope": None, "RescaleSlope": 1}
            sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | more))
        (scan,) = find_scans(RunOptions(tmp_path, tmp_path / "out", "participant"))
        assert scan.scale_slopes == (("PhilipsScaleSlope", 0.5, 0.25), ("RescaleSlope", 1.0, 1.0))
        record = ScanRecord(scan, tmp_path, BundleFacts("b", "1", "0" * 64), "computed")
        pairs = (scan, replace(scan, scale_slopes=()))
        prints = {identify_scan(replace(record, pair=one)).fingerprint for one in pairs}
        assert len(prints) == 2


class TestOtherBody:
    def test_another_person(self):
        assert "pair_mismatch" in codes(phantom(0)[0], np.roll(phantom(1)[1], (9, 7), (0, 1)))

    def test_noise(self):
        in_phase, _ = phantom()
        noise = np.hypot(*np.random.default_rng(0).normal(0, 60, (2, *in_phase.shape)))
        assert "pair_mismatch" in codes(in_phase, noise)

    def test_a_movement_of_one_voxel_is_not_another_body(self):
        in_phase, out_phase = phantom()
        moved = measure_shared_edges(in_phase, np.roll(out_phase, 1, 0))
        assert check_edges(moved) == []
        (flag,) = check_edges(0.39)
        assert (flag.code, flag.severity) == ("pair_mismatch", "error")

    def test_two_in_phase_images(self):
        in_phase, _ = phantom()
        noise = np.random.default_rng(0).normal(0, 10, in_phase.shape)
        assert codes(in_phase, np.abs(0.96 * in_phase + noise)) == ["same_phase"]
        assert check_cancellation(5.0) == check_cancellation(float("nan")) == []


class TestScannerSet:
    def true_set(self):
        in_phase, out_phase = phantom()
        fat, water = fat_and_water(in_phase, out_phase)
        noise = np.random.default_rng(0).normal(0, 5, (2, *fat.shape))
        return in_phase, out_phase, np.abs(fat + noise[0]), np.abs(water + noise[1])

    def test_sound_and_swapped(self):
        in_phase, out_phase, fat, water = self.true_set()
        assert codes(in_phase, out_phase, fat, water) == []
        assert codes(in_phase, out_phase, water, fat) == []

    @pytest.mark.parametrize("wrong", [
        lambda ip, oop, fat, water: (100 * fat / (fat + water), water),
        lambda ip, oop, fat, water: (fat / (fat + water), water),
        lambda ip, oop, fat, water: (1000 * fat / (fat + water), water),
        lambda ip, oop, fat, water: (np.percentile(ip, 95) * fat / (fat + water), water),
        lambda ip, oop, fat, water: (fat, 1.01 * ip),
        lambda ip, oop, fat, water: (oop, water),
        lambda ip, oop, fat, water: (fat, oop),
        lambda ip, oop, fat, water: (fat, 100 * water / (fat + water)),
        lambda ip, oop, fat, water: (1.5 * fat, water),
        lambda ip, oop, fat, water: (fat, 2 * water),
    ])  # fmt: skip
    def test_something_else(self, wrong):
        in_phase, out_phase, *parts = self.true_set()
        fat, water = wrong(in_phase, out_phase, *parts)
        flags = check_fat_weight(ScanSignals(in_phase, out_phase, fat, water))
        assert [(flag.code, flag.severity) for flag in flags] == [("fat_water_mismatch", "error")]
        assert "PDFF" in flags[0].message

    def test_empty_images(self):
        zeros = np.zeros((9, 9, 9))
        assert np.isnan(fit_fat_weight(zeros, zeros, zeros)).all()
