"""Fat-water arithmetic, its fold, and pairs taken for each other."""

import itertools
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_mfi.errors import PairError
from bids_mfi.grid import Grid
from bids_mfi.images import encode_image
from bids_mfi.measure.dixon import (
    ScanSignals,
    check_phase_order,
    fat_and_water,
    fat_fraction_percent,
    has_signal,
    measure_disagreement_percent,
    measure_typical_signal,
    strong_contrast_counts,
)
from bids_mfi.measure.noise import measure_noise_percent
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.pair_images import read_beside, read_measured_pair, read_pair, read_signals

AFFINE = np.diag([-0.7, 0.8, 3.0, 1.0])
AFFINE[:3, 3] = 20, -30, 40

# In-phase and out-of-phase echo times in ms: 3 T out-of-phase first, the paper's, and 1.5 T.
ECHO_TIMES = [(2.46, 1.23), (2.46, 3.69), (4.6, 2.3)]


def count_strong(in_phase, out_phase):
    signal = has_signal(np.maximum(in_phase, out_phase))
    return strong_contrast_counts(signal, in_phase, out_phase)


class TestArithmetic:
    def test_water_and_fat_come_back_below_the_fold(self):
        rng = np.random.default_rng(0)
        water = rng.uniform(0.5, 1.0, (6, 5, 4))
        fat = water * rng.uniform(0.0, 1.0, water.shape)
        found_fat, found_water = fat_and_water(water + fat, np.abs(water - fat))
        np.testing.assert_allclose(found_fat, fat, atol=1e-12)
        np.testing.assert_allclose(found_water, water, atol=1e-12)

    def test_magnitude_folds_at_50_percent(self):
        """The smaller signal is taken for fat, whichever it is."""
        fraction = np.linspace(0, 1, 101)
        fat, water = fat_and_water(np.ones(101), np.abs(1 - 2 * fraction))
        measured = fat_fraction_percent(fat, water)
        np.testing.assert_allclose(measured, 100 * np.minimum(fraction, 1 - fraction), atol=1e-9)
        assert measured.max() == pytest.approx(50)

    def test_signed_out_of_phase_does_not_fold(self):
        fraction = np.linspace(0, 1, 101)
        fat, water = fat_and_water(np.ones(101), 1 - 2 * fraction)
        np.testing.assert_allclose(fat_fraction_percent(fat, water), 100 * fraction, atol=1e-9)

    def test_negative_fat_is_not_clipped(self):
        fat, water = fat_and_water(np.array([9.0]), np.array([10.0]))
        assert fat.item() == -0.5
        assert fat_fraction_percent(fat, water).item() == pytest.approx(-100 * 0.5 / 9)

    def test_fraction_does_not_depend_on_the_scale(self):
        rng = np.random.default_rng(1)
        fat, water = rng.random(50), rng.random(50)
        expected = fat_fraction_percent(fat, water)
        for scale in (1e-12, 1e-3, 4095.0, 1e12):
            np.testing.assert_allclose(fat_fraction_percent(scale * fat, scale * water), expected)

    @pytest.mark.parametrize(
        ("fat", "water"), [(0.0, 0.0), (1.0, -1.0), (-2.0, 1.0), (np.nan, 1.0), (-0.0, 0.0)]
    )
    def test_no_signal_is_nan_never_0(self, fat, water):
        fraction = fat_fraction_percent(np.array([fat, 1.0]), np.array([water, 3.0]))
        assert np.isnan(fraction[0])
        assert fraction[1] == 25.0

    def test_nothing_in_phase_is_exactly_no_signal(self):
        """Half of the same number is added and taken away: no rounding turns 0 into signal."""
        out_phase = np.random.default_rng(2).uniform(0, 4095, 1000)
        fat, water = fat_and_water(np.zeros(1000), out_phase)
        assert np.isnan(fat_fraction_percent(fat, water)).all()


def make_signals(fat_fraction=None, shape=(40, 40, 10)):
    """Water, fat and T2* (ms) of a crude neck: muscle, fat shell, marrow, partial volume, bone."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    radius = np.hypot(axes[0], axes[1])
    fraction = np.interp(
        radius, [0, 0.2, 0.25, 0.7, 0.78, 0.9], [0.45, 0.45, 0.05, 0.1, 0.95, 0.95]
    )
    if fat_fraction is not None:
        fraction = np.full(shape, fat_fraction)
    total = np.where(radius < 0.9, 1000.0 + 800 * (radius > 0.75), 0.0)
    bone = (radius > 0.2) & (radius < 0.23)
    t2star_ms = np.where(bone, 4.0, np.where(radius < 0.2, 10.0, 25.0))
    return total * (1 - fraction), total * fraction, t2star_ms


def make_pair(echo_times_ms, noise=0.0, fat_fraction=None, seed=0):
    """Magnitude images at two echo times, in-phase first."""
    water, fat, t2star_ms = make_signals(fat_fraction)
    rng = np.random.default_rng(seed)
    images = []
    for echo_ms, sign in zip(echo_times_ms, (1, -1), strict=True):
        signal = (water + sign * fat) * np.exp(-echo_ms / t2star_ms)
        real, imaginary = rng.normal(0, noise, (2, *signal.shape))
        images.append(np.hypot(signal + real, imaginary))
    return images


class TestPhaseOrder:
    @pytest.mark.parametrize("noise", [0.0, 10.0, 40.0, 80.0])
    @pytest.mark.parametrize("echo_times_ms", ECHO_TIMES)
    def test_true_pair_passes_and_exchanged_pair_raises(self, echo_times_ms, noise):
        in_phase, out_phase = make_pair(echo_times_ms, noise)
        check_phase_order(in_phase, out_phase)
        with pytest.raises(PairError, match="look exchanged"):
            check_phase_order(out_phase, in_phase)

    @pytest.mark.parametrize("fat_fraction", [0.0, 1.0])
    @pytest.mark.parametrize("noise", [0.0, 10.0, 40.0, 80.0])
    @pytest.mark.parametrize("echo_times_ms", ECHO_TIMES)
    def test_phantom_of_one_kind_passes_in_either_order(self, echo_times_ms, noise, fat_fraction):
        """T2* decay makes the earlier echo brighter, and nothing cancels."""
        in_phase, out_phase = make_pair(echo_times_ms, noise, fat_fraction)
        check_phase_order(in_phase, out_phase)
        check_phase_order(out_phase, in_phase)

    @pytest.mark.parametrize("fat_fraction", [0.15, 0.3, 0.5, 0.8])
    @pytest.mark.parametrize("echo_times_ms", ECHO_TIMES)
    def test_phantom_of_a_mixture_exchanged(self, echo_times_ms, fat_fraction):
        in_phase, out_phase = make_pair(echo_times_ms, 10.0, fat_fraction)
        check_phase_order(in_phase, out_phase)
        with pytest.raises(PairError, match="look exchanged"):
            check_phase_order(out_phase, in_phase)

    @pytest.mark.parametrize("noise", [0.0, 10.0, 40.0, 80.0])
    @pytest.mark.parametrize("echo_times_ms", ECHO_TIMES)
    def test_lean_phantom_passes_in_its_true_order(self, echo_times_ms, noise):
        check_phase_order(*make_pair(echo_times_ms, noise, fat_fraction=0.03))

    @pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
    def test_unit_does_not_matter(self, scale):
        in_phase, out_phase = (scale * image for image in make_pair(ECHO_TIMES[0], 20.0))
        assert count_strong(in_phase, out_phase) == count_strong(*make_pair(ECHO_TIMES[0], 20.0))
        with pytest.raises(PairError):
            check_phase_order(out_phase, in_phase)

    def test_pure_noise_and_equal_images_pass(self):
        rng = np.random.default_rng(3)
        first, second = np.abs(rng.normal(0, 1, (2, 20, 20, 20)))
        check_phase_order(first, second)
        check_phase_order(second, first)
        check_phase_order(first, first)

    @pytest.mark.parametrize(("brighter_out", "brighter_in", "raises"), [
        (15, 0, False), (16, 0, True), (35, 20, False), (36, 20, True), (100, 0, True),
    ])  # fmt: skip
    def test_threshold_is_a_share_of_all_voxels_with_signal(
        self, brighter_out, brighter_in, raises
    ):
        in_phase, out_phase = np.full(100, 100.0), np.full(100, 100.0)
        in_phase[:brighter_out] = 79.0
        out_phase[brighter_out : brighter_out + brighter_in] = 79.0
        assert count_strong(in_phase, out_phase) == (brighter_in, brighter_out)
        if raises:
            found = f"of 100 voxels with signal, {brighter_out} are more than 1.25 times brighter"
            with pytest.raises(PairError, match=found):
                check_phase_order(in_phase, out_phase)
        else:
            check_phase_order(in_phase, out_phase)

    def test_ratio_and_background(self):
        """80 against 100 is just not strong; voxels below a tenth of the signal do not count."""
        in_phase = np.array([100.0, 80.0, 79.9, 5.0, 9.0, 11.0])
        out_phase = np.array([100.0, 100.0, 100.0, 9.0, 5.0, 5.0])
        assert count_strong(in_phase, out_phase) == (1, 1)


def write(path, volume, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(volume, Grid.from_array(volume.shape, affine)))
    return path


@pytest.fixture
def pair(tmp_path):
    in_phase, out_phase = (
        np.rint(image).astype(np.int16) for image in make_pair(ECHO_TIMES[0], 10.0)
    )
    return DixonPair(
        in_phase=write(tmp_path / "ip.nii.gz", in_phase),
        out_phase=write(tmp_path / "oop.nii.gz", out_phase),
        entities=(("sub", "01"), ("acq", "dixon")),
        recognised_by="names",
    )


class TestReadPair:
    def test_values_and_grid(self, pair):
        in_phase, out_phase, grid = read_pair(pair)
        for volume, path in ((in_phase, pair.in_phase), (out_phase, pair.out_phase)):
            assert volume.dtype == np.float64
            np.testing.assert_array_equal(volume, nib.load(path).get_fdata())
        assert grid == Grid.from_array(in_phase.shape, AFFINE.astype(np.float32))

    def test_threads_change_nothing(self, pair):
        one, two = (read_measured_pair(pair, threads) for threads in (1, 2))
        for first, second in zip(one[:2], two[:2], strict=True):
            assert first.tobytes() == second.tobytes()
        assert one[2:] == two[2:]

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize(
        ("in_phase", "out_phase", "named"),
        [
            ("signed", "missing", "in_phase"),
            ("fine", "signed and elsewhere", "both"),
            ("fine", "signed", "out_phase"),
            ("dark", "copy of the dark", "both"),
        ],
    )
    def test_the_first_of_two_reasons_is_told(self, tmp_path, threads, in_phase, out_phase, named):
        """With any number of threads: files, then grid, then values, then the two together."""
        fine, other = (volume.astype(np.float32) for volume in make_pair(ECHO_TIMES[0]))
        moved = AFFINE.copy()
        moved[0, 3] += 5
        made = {
            "fine": (fine, AFFINE), "signed": (other - other.mean(), AFFINE),
            "signed and elsewhere": (other - other.mean(), moved),
            "dark": (fine / 100, AFFINE), "copy of the dark": (fine / 5000, AFFINE),
        }  # fmt: skip
        paths = {"in_phase": tmp_path / "ip.nii.gz", "out_phase": tmp_path / "oop.nii.gz"}
        for name, kind in (("in_phase", in_phase), ("out_phase", out_phase)):
            if kind != "missing":
                write(paths[name], *made[kind])
        scan = DixonPair(**paths, entities=(("sub", "01"),), recognised_by="names")
        with pytest.raises(PairError) as caught:
            read_measured_pair(scan, threads)
        both = f"{paths['in_phase']} and {paths['out_phase']}: "
        starts = {name: f"{path}: " for name, path in paths.items()} | {"both": both}
        assert str(caught.value).startswith(starts[named])
        if in_phase == "dark":
            assert "identical images" in str(caught.value)

    def test_exchanged_by_name(self, pair):
        swapped = replace(pair, in_phase=pair.out_phase, out_phase=pair.in_phase)
        with pytest.raises(PairError, match="look exchanged") as caught:
            read_pair(swapped)
        message = str(caught.value)
        assert message.startswith(f"{pair.out_phase} and {pair.in_phase}: ")
        assert "must be the brighter one" in message
        assert "--bids-filter-file" in message

    def test_own_scaling_of_each_file(self, pair, tmp_path):
        """The same signal stored with another slope is the same signal."""
        image = nib.load(pair.out_phase)
        stored = nib.Nifti1Image(np.asarray(image.dataobj) // 4, AFFINE)
        stored.set_sform(AFFINE, code=1)
        stored.header.set_slope_inter(4, 2)
        content = bytearray(stored.to_bytes())
        content[112:120] = np.array([4, 2], "<f4").tobytes()
        path = tmp_path / "scaled.nii"
        path.write_bytes(bytes(content))
        scaled = read_pair(replace(pair, out_phase=path))[1]
        assert np.abs(scaled - image.get_fdata()).max() <= 2

    @pytest.mark.parametrize(
        ("changed", "found"),
        [
            ("shape", "shapes 40 x 40 x 10 and 40 x 40 x 9 voxels"),
            ("spacing", "voxels of 0.7 x 0.8 x 3 mm and 0.7 x 0.8 x 3.3 mm"),
            ("position", "different positions or orientations"),
            ("flip", "different positions or orientations"),
        ],
    )
    def test_other_grid(self, pair, tmp_path, changed, found):
        volume, affine = make_pair(ECHO_TIMES[0])[1].astype(np.float32), AFFINE.copy()
        if changed == "shape":
            volume = volume[:, :, :9]
        elif changed == "spacing":
            affine[2, 2] = 3.3
        elif changed == "position":
            affine[0, 3] += 0.1
        else:
            affine[0] *= -1
        other = write(tmp_path / "other.nii.gz", volume, affine)
        with pytest.raises(PairError) as caught:
            read_pair(replace(pair, out_phase=other))
        message = str(caught.value)
        assert message.startswith(f"{pair.in_phase} and {other}: ")
        assert found in message
        assert "one acquisition" in message
        assert "--bids-filter-file" in message

    @pytest.mark.parametrize("which", ["in_phase", "out_phase"])
    def test_unusable_file_is_named(self, pair, tmp_path, which):
        with pytest.raises(PairError, match=r"gone\.nii: no such file"):
            read_pair(replace(pair, **{which: tmp_path / "gone.nii"}))

    def test_read_beside(self, pair):
        grid = read_pair(pair)[2]
        volume = read_beside(pair.out_phase, pair.in_phase, grid)
        np.testing.assert_array_equal(volume, nib.load(pair.out_phase).get_fdata())


class TestReadSignals:
    def test_computed(self, pair):
        in_phase, out_phase, grid = read_pair(pair)
        signals, own_grid = read_signals(pair, "computed")
        np.testing.assert_array_equal(signals.in_phase, in_phase)
        np.testing.assert_array_equal(signals.out_phase, out_phase)
        np.testing.assert_array_equal(signals.fat, (in_phase - out_phase) / 2)
        np.testing.assert_array_equal(signals.water, (in_phase + out_phase) / 2)
        assert own_grid == grid

    def test_scanner(self, pair, tmp_path):
        true_water, true_fat, _ = make_signals()
        scanner = replace(
            pair,
            fat=write(tmp_path / "f.nii.gz", true_fat),
            water=write(tmp_path / "w.nii.gz", true_water),
        )
        in_phase, out_phase, pair_grid = read_pair(pair)
        signals, grid = read_signals(scanner, "scanner")
        np.testing.assert_array_equal(signals.fat, true_fat)
        np.testing.assert_array_equal(signals.water, true_water)
        np.testing.assert_array_equal(signals.in_phase, in_phase)
        np.testing.assert_array_equal(signals.out_phase, out_phase)
        assert grid == pair_grid
        assert (signals.fat > signals.water).any()  # no fold

    @pytest.mark.parametrize("given", [(), ("fat",), ("water",)])
    def test_scanner_images_missing(self, pair, given):
        incomplete = replace(pair, **dict.fromkeys(given, pair.in_phase))
        with pytest.raises(PairError, match="no fat and water images") as caught:
            read_signals(incomplete, "scanner")
        assert str(caught.value).startswith(f"{pair.in_phase}: ")
        assert "--fat-water scanner needs them" in str(caught.value)
        assert "leave --fat-water at computed" in str(caught.value)

    @pytest.mark.parametrize("which", ["fat", "water"])
    def test_scanner_image_on_another_grid(self, pair, tmp_path, which):
        other = write(tmp_path / "other.nii.gz", np.ones((40, 40, 9), np.float32))
        files = {"fat": pair.in_phase, "water": pair.in_phase} | {which: other}
        with pytest.raises(PairError, match="are not on the same grid"):
            read_signals(replace(pair, **files), "scanner")

    @pytest.mark.parametrize("source", ["computed", "scanner"])
    def test_exchanged_pair_is_refused(self, pair, source):
        swapped = replace(pair, in_phase=pair.out_phase, out_phase=pair.in_phase)
        swapped = replace(swapped, fat=pair.in_phase, water=pair.in_phase)
        with pytest.raises(PairError, match="look exchanged"):
            read_signals(swapped, source)


class TestTypicalSignal:
    def test_air_and_a_few_bright_voxels_do_not_count(self):
        in_phase = np.full(1000, 2.0)
        in_phase[:300], in_phase[300:305] = 100.0, 1e6
        assert measure_typical_signal(in_phase) == 100.0

    def test_no_signal_at_all_is_0(self):
        assert measure_typical_signal(np.zeros((3, 3, 3))) == 0.0
        assert measure_typical_signal(np.full((3, 3, 3), -1.0)) == 0.0


def make_scanner_signals(seed=0):
    """A noisy pair and the fat and water that a scanner without a fault makes of it."""
    water, fat, _ = make_signals()
    in_phase, out_phase = make_pair(ECHO_TIMES[0], 20.0, seed=seed)
    return ScanSignals(in_phase, out_phase, fat, water)


class TestDisagreement:
    def test_of_computed_signals_is_0(self):
        in_phase, out_phase = make_pair(ECHO_TIMES[0], 20.0)
        signals = ScanSignals(in_phase, out_phase, *fat_and_water(in_phase, out_phase))
        assert measure_disagreement_percent(signals) == pytest.approx(0, abs=1e-9)

    def test_by_hand(self):
        """F + W is off by 10 and 0 of 100, |W - F| by 20 and 30: the larger of each counts."""
        in_phase, out_phase = np.full(3, 100.0), np.array([60.0, 50.0, 80.0])
        total, difference = np.array([90.0, 100.0, 100.0]), np.array([40.0, 80.0, 80.0])
        signals = ScanSignals(
            in_phase, out_phase, (total - difference) / 2, (total + difference) / 2
        )
        assert measure_disagreement_percent(signals) == pytest.approx((20 + 30 + 0) / 3)

    @pytest.mark.parametrize("scale", [1e-4, 0.5, 1e5])
    def test_unit_of_the_scanner_images_does_not_matter(self, scale):
        signals = make_scanner_signals()
        scaled = replace(signals, fat=scale * signals.fat, water=scale * signals.water)
        expected = measure_disagreement_percent(signals)
        assert 0 < expected < 10
        assert measure_disagreement_percent(scaled) == pytest.approx(expected)

    def test_exchanged_fat_and_water_cannot_be_seen(self):
        signals = make_scanner_signals()
        exchanged = replace(signals, fat=signals.water, water=signals.fat)
        expected = measure_disagreement_percent(signals)
        assert measure_disagreement_percent(exchanged) == pytest.approx(expected)

    @pytest.mark.parametrize("fault", ["water twice", "fat twice as bright", "pair", "turned"])
    def test_other_images(self, fault):
        true = make_scanner_signals()
        water, fat = {
            "water twice": (true.water, true.water),
            "fat twice as bright": (true.water, 2 * true.fat),
            "pair": (true.out_phase, true.in_phase),
            "turned": (np.roll(true.water, 6, 0), np.roll(true.fat, 6, 0)),
        }[fault]
        assert measure_disagreement_percent(replace(true, water=water, fat=fat)) > 20

    def test_empty_images(self):
        signals, empty = make_scanner_signals(), np.zeros((40, 40, 10))
        assert measure_disagreement_percent(replace(signals, fat=empty, water=empty)) == 100
        assert measure_disagreement_percent(replace(signals, in_phase=empty)) == 100
        assert np.isnan(measure_disagreement_percent(ScanSignals(empty, empty, empty, empty)))

    def test_signal_of_either_sign_never_exceeds_100(self):
        rng = np.random.default_rng(4)
        signals = ScanSignals(*rng.normal(0, 100, (4, 500)))
        assert 0 < measure_disagreement_percent(signals) <= 100


def noisy_muscle(noise_percent, fat_sd=0.0, seed=0, shape=(60, 50, 12), fading=0.0):
    """Magnitude images of muscle with 10 % fat, which varies from voxel to voxel by ``fat_sd``."""
    rng = np.random.default_rng(seed)
    fraction = np.clip(0.1 + fat_sd * rng.standard_normal(shape), 0, 0.45)
    coil = np.exp(-fading * np.arange(shape[1]) / shape[1])[:, None]
    noise = 5 * noise_percent * rng.standard_normal((2, 2, *shape))
    pair = (
        np.hypot(500 * coil * part + real, imaginary)
        for part, (real, imaginary) in zip(
            (1 + 0.2 * fraction, (1 - 2 * fraction) + 0.2 * fraction), noise, strict=True
        )
    )
    in_phase, out_phase = pair
    return ScanSignals(in_phase, out_phase, *fat_and_water(in_phase, out_phase))


class TestNoise:
    everywhere = np.ones((60, 50, 12), bool)
    spacing_mm = (0.7, 0.8, 3.0)

    @pytest.mark.parametrize("noise_percent", [1, 4, 10, 20])
    @pytest.mark.parametrize("fat_sd", [0.0, 0.1])
    @pytest.mark.parametrize("fading", [0.0, 1.0])
    def test_it_is_what_was_added_however_fat_varies(self, noise_percent, fat_sd, fading):
        signals = noisy_muscle(noise_percent, fat_sd, fading=fading)
        typical = np.median(signals.in_phase) / 500
        found = measure_noise_percent(signals, self.everywhere, self.spacing_mm)
        assert found * typical == pytest.approx(noise_percent, rel=0.1, abs=0.3)

    def test_fat_alone_is_no_noise(self):
        found = measure_noise_percent(noisy_muscle(0, 0.15), self.everywhere, self.spacing_mm)
        assert found < 0.2

    def test_strong_noise_is_found_too_small_but_found(self):
        found = measure_noise_percent(noisy_muscle(33), self.everywhere, self.spacing_mm)
        assert 24 < found < 33

    def test_storage_and_unit_do_not_matter(self):
        signals = noisy_muscle(10, 0.1)
        where = self.everywhere.copy()
        where[:20] = False
        expected = measure_noise_percent(signals, where, self.spacing_mm)
        for axes in itertools.permutations(range(3)):
            turned = (
                7 * np.flip(image.transpose(axes), 0)
                for image in (signals.in_phase, signals.out_phase, signals.fat, signals.water)
            )
            spacing_mm = tuple(self.spacing_mm[axis] for axis in axes)
            found = measure_noise_percent(
                ScanSignals(*turned), np.flip(where.transpose(axes), 0), spacing_mm
            )
            assert found == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize(("part", "factor"), [(0.05, 0.05), (0.02, 3.0)])
    def test_voids_and_vessels_do_not_turn_fat_into_noise(self, part, factor):
        """They change both images alike, and are few."""
        signals = noisy_muscle(2, 0.1)
        odd = np.random.default_rng(4).random(self.everywhere.shape) < part
        pair = (np.where(odd, factor * image, image) for image in
                (signals.in_phase, signals.out_phase))  # fmt: skip
        in_phase, out_phase = pair
        found = measure_noise_percent(
            ScanSignals(in_phase, out_phase, *fat_and_water(in_phase, out_phase)),
            self.everywhere, self.spacing_mm,
        )  # fmt: skip
        assert 1.5 < found < 5

    def test_slices_are_not_compared(self):
        """They are far apart: what differs between them is no noise."""
        still, rng = noisy_muscle(0), np.random.default_rng(6)
        steps = rng.uniform(0.5, 1.5, (2, 12))
        signals = ScanSignals(still.in_phase * steps[0], still.out_phase * steps[1],
                              still.fat, still.water)  # fmt: skip
        assert measure_noise_percent(signals, self.everywhere, self.spacing_mm) < 0.01
        noisy = noisy_muscle(10)
        smooth = replace(noisy, **{
            name: ndimage.uniform_filter1d(getattr(noisy, name), 5, axis=2)
            for name in ("in_phase", "out_phase")
        })  # fmt: skip
        fine, coarse = (
            measure_noise_percent(smooth, self.everywhere, spacing_mm)
            for spacing_mm in (self.spacing_mm, (0.7, 3.0, 0.8))
        )
        assert fine > 3 * coarse

    def test_of_equally_fine_axes_all_are_measured(self):
        """One of them was interpolated: the noise is that of the others, however they lie."""
        signals = noisy_muscle(10)
        smooth = ScanSignals(*(
            ndimage.uniform_filter1d(image, 3, axis=0)
            for image in (signals.in_phase, signals.out_phase, signals.fat, signals.water)
        ))  # fmt: skip
        found = []
        for axes in itertools.permutations(range(3)):
            turned = ScanSignals(*(
                image.transpose(axes)
                for image in (smooth.in_phase, smooth.out_phase, smooth.fat, smooth.water)
            ))  # fmt: skip
            for spacing_mm in ((1.0, 1.0, 1.0), (1.0, 0.9999, 1.0001)):
                where = self.everywhere.transpose(axes)
                found.append(measure_noise_percent(turned, where, spacing_mm))
        assert found == pytest.approx([found[0]] * 12, rel=1e-9)
        assert found[0] == pytest.approx(10 / np.sqrt(3), rel=0.1)

    def test_two_slices_are_enough(self):
        signals = noisy_muscle(30, shape=(60, 50, 2))
        found = measure_noise_percent(signals, np.ones((60, 50, 2), bool), self.spacing_mm)
        assert found > 20

    def test_of_nothing_it_is_nan(self):
        signals = noisy_muscle(5)
        few = np.zeros(self.everywhere.shape, bool)
        few[5:10, 5:10, :7] = True
        assert np.isnan(measure_noise_percent(signals, few, self.spacing_mm))
        few[:] = False
        assert np.isnan(measure_noise_percent(signals, few, self.spacing_mm))
        zeros = ScanSignals(*[np.zeros(self.everywhere.shape)] * 4)
        assert np.isnan(measure_noise_percent(zeros, self.everywhere, self.spacing_mm))
        flat = ScanSignals(*(image[:2] for image in (signals.in_phase, signals.out_phase) * 2))
        assert np.isnan(measure_noise_percent(flat, self.everywhere[:2], self.spacing_mm))


def test_names_of_a_pair():
    entities = (("sub", "01"), ("ses", "b"), ("acq", "dixon"), ("run", "2"))
    for count, expected in itertools.zip_longest(
        range(1, 5), ["sub-01", "sub-01_ses-b", "sub-01_ses-b_acq-dixon"], fillvalue=None
    ):
        pair = DixonPair(Path("/i"), Path("/o"), entities[:count], "names")
        assert pair.scan == (expected or "sub-01_ses-b_acq-dixon_run-2")
        assert pair.participant == "01"
        assert pair.session == (None if count == 1 else "b")
