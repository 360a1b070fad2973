"""Intensity standardisation: what must not change it."""

import numpy as np
import pytest

from bids_mfi.network.intensity import (
    MAX_ABSOLUTE,
    PROBABILITIES_PERCENT,
    find_foreground,
    find_smooth_limit,
    learn_landmarks,
    standardise,
)

INSIDE = (slice(None), slice(30, 70), slice(20, 60), slice(4, 16))


def neck(seed: int = 0, margin: int = 0, noise: float = 8) -> np.ndarray:
    """In-phase and out-of-phase: a cylinder of muscle with a shell of fat, in noisy air.

    Muscle has a signal of 280 in phase, fat of 400.
    """
    rng = np.random.default_rng(seed)
    shape = (100 + 2 * margin, 80 + 2 * margin, 20)
    x, y, _ = np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij")
    radius = np.hypot(x, y)
    fat = np.where(radius < 35, 0.9, 0.0) - np.where(radius < 30, 0.8, 0.0)
    water = np.where(radius < 35, 0.1, 0.0) + np.where(radius < 30, 0.5, 0.0)
    images = np.stack([water + fat, np.abs(water - fat)]) * 400
    real, imaginary = noise * rng.normal(0, 1, (2, *images.shape))
    return np.hypot(images + real, imaginary).astype(np.float32)


@pytest.fixture(scope="module")
def landmarks() -> tuple[tuple[float, ...], ...]:
    return learn_landmarks(neck(seed) for seed in range(3))


def test_landmarks_rise_from_0_to_100_in_each_channel(
    landmarks: tuple[tuple[float, ...], ...],
) -> None:
    assert [len(row) for row in landmarks] == [len(PROBABILITIES_PERCENT)] * 2
    for row in landmarks:
        assert (row[0], row[-1]) == (0.0, 100.0)
        assert list(row) == sorted(row)


def test_factor_of_the_signal_does_not_matter(landmarks: tuple[tuple[float, ...], ...]) -> None:
    scan = neck(5)
    assert np.abs(standardise(7.3 * scan, landmarks) - standardise(scan, landmarks)).max() < 1e-4


@pytest.mark.parametrize("margin", [20, 60])
def test_more_air_around_does_not_matter(
    landmarks: tuple[tuple[float, ...], ...], margin: int
) -> None:
    """Air of up to seven times the area of the narrow field moves tissue by less than 0.05."""
    wide = neck(5, margin)
    inside = (slice(None), slice(margin, -margin), slice(margin, -margin))
    found = standardise(wide, landmarks)[inside]
    tissue = find_foreground(wide[inside][0])
    assert np.abs(found - standardise(wide[inside], landmarks))[:, tissue].max() < 0.05


def test_foreground_is_the_body_with_much_air_and_with_none() -> None:
    x, y, _ = np.meshgrid(*(np.arange(n) - n / 2 for n in (220, 200, 20)), indexing="ij")
    body = np.hypot(x, y) < 34
    found = find_foreground(neck(2, margin=60)[0])
    assert found[body].all()
    assert found[np.hypot(x, y) > 36].mean() < 0.001
    assert find_foreground(neck(2)[INSIDE][0]).all()


def beyond_rim(margin: int) -> np.ndarray:
    """Air of which no surroundings reach the body, however noisy it is."""
    x, y = (np.arange(n + 2 * margin) - n / 2 - margin for n in (100, 80))
    return (np.hypot(x[:, None], y)[..., None] * np.ones(20)) > 40


def muscle_and_air(margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Voxels that are wholly muscle, and wholly air, of ``neck`` with a margin."""
    x, y = (np.arange(n + 2 * margin) - n / 2 - margin for n in (100, 80))
    radius = np.hypot(x[:, None], y)[..., None] * np.ones(20)
    return radius < 29, radius > 36


@pytest.mark.parametrize("margin", [0, 40])
@pytest.mark.parametrize("noise_percent", [3, 10, 16.5, 33])
@pytest.mark.parametrize("masked", ["none", "here and there", "one side", "far"])
def test_noise_of_air_does_not_move_muscle(
    landmarks: tuple[tuple[float, ...], ...],
    noise_percent: float,
    margin: int,
    masked: str,
) -> None:
    """Air is told from tissue, and muscle keeps its value, also where much air is set to zero."""
    muscle, air = muscle_and_air(margin)
    still = standardise(neck(4, margin), landmarks)
    noisy = neck(4, margin, noise=2.8 * noise_percent)
    noisy[:, air & mask_of(masked, air.shape)] = 0
    foreground = find_foreground(noisy[0])
    assert not foreground[noisy[0] == 0].any()
    assert foreground[beyond_rim(margin)].mean() < 0.02
    assert foreground[muscle].mean() > 0.995
    moved = standardise(noisy, landmarks) - still
    assert np.abs(np.median(moved[:, muscle], axis=1)).max() < 0.2


def mask_of(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Where air is set to zero: six tenths of all places, one half, or all but a narrow ring."""
    if kind == "here and there":
        return np.random.default_rng(9).random(shape) < 0.6
    x, y = (np.arange(n) - n / 2 for n in shape[:2])
    across, far = x[:, None] + 0 * y, np.hypot(x[:, None], y) > 41
    where = {"none": np.zeros_like(far), "one side": across < 0, "far": far}[kind]
    return where[..., None] & np.ones(shape, bool)


@pytest.mark.parametrize("margin", [0, 40])
@pytest.mark.parametrize("noise_percent", [25, 33])
def test_a_narrow_ring_of_air_is_told(margin: int, noise_percent: float) -> None:
    """A loose mask, five voxels wider than the body: zeros beyond do not darken its air."""
    volume = neck(4, margin, noise=2.8 * noise_percent)[0]
    x, y = (np.arange(n + 2 * margin) - n / 2 - margin for n in (100, 80))
    radius = np.hypot(x[:, None], y)[..., None] * np.ones(20)
    volume[radius > 40] = 0
    ring = (radius > 36) & (radius <= 40)
    assert above_a_fifth(volume)[ring].mean() > 0.6
    assert find_foreground(volume)[ring].mean() < 0.2
    assert find_foreground(volume)[radius < 29].mean() > 0.995


def test_limit_of_smoothed_signals_is_a_fifth_at_least() -> None:
    rng = np.random.default_rng(2)
    signals = np.concatenate([rng.normal(10, 1, 1000), rng.normal(300, 20, 1000)])
    assert find_smooth_limit(signals.astype(np.float32)) == pytest.approx(60, rel=0.05)
    assert find_smooth_limit(np.zeros(0, dtype=np.float32)) is None


def above_a_fifth(in_phase: np.ndarray) -> np.ndarray:
    """Foreground where air is quiet or cannot be told."""
    limited = np.minimum(in_phase, np.percentile(in_phase, 99.5))
    return in_phase > 0.2 * np.median(limited[limited > limited.mean()])


def test_limit_is_a_fifth_where_air_is_quiet_or_not_there() -> None:
    quiet, masked = neck(4)[0], neck(4)[0]
    masked[muscle_and_air(0)[1]] = 0
    bone = neck(4, noise=2.8)[INSIDE][0]
    bone[:2] = np.linspace(1, 75, bone[:2].size).reshape(bone[:2].shape)  # 5 % of the volume
    noisy = neck(4, noise=2.8 * 33)[INSIDE][0]
    for volume in (quiet, masked, bone, noisy):
        assert np.array_equal(find_foreground(volume), above_a_fifth(volume))


@pytest.mark.parametrize(
    ("margin", "noise_percent", "told"),
    [
        (0, 40, True),
        (40, 40, True),
        (60, 33, True),
        (60, 40, False),
        (100, 16.5, True),
        (100, 20, False),
    ],
)
def test_noise_to_which_air_is_told(margin: int, noise_percent: float, told: bool) -> None:
    """A limit of the method, as docs/decisions/intensity.md names it; wider fields have a lower."""
    found = find_foreground(neck(4, margin, noise=2.8 * noise_percent)[0])
    share = found[muscle_and_air(margin)[1]].mean()
    assert share < 0.05 if told else share > 0.5


def faded(margin: int, noise_percent: float, least: float) -> np.ndarray:
    """In-phase image of a receive coil that fades from 1 to ``least`` from front to back."""
    clean = neck(4, margin, noise=0)[0]
    y = np.arange(clean.shape[1]) - margin
    clean *= np.exp(np.log(least) * np.clip(y / 79, 0, 1))[None, :, None]
    rng = np.random.default_rng(8)
    real, imaginary = 2.8 * noise_percent * rng.normal(0, 1, (2, *clean.shape))
    return np.hypot(clean + real, imaginary).astype(np.float32)


@pytest.mark.parametrize("margin", [0, 40])
@pytest.mark.parametrize("noise_percent", [1, 3, 10, 16.5, 24, 33])
@pytest.mark.parametrize("least", [0.5, 0.25, 0.1])
def test_muscle_in_a_fading_coil_is_not_taken_for_air(
    margin: int, noise_percent: float, least: float
) -> None:
    """At least as much muscle is kept as by the fifth."""
    volume, muscle = faded(margin, noise_percent, least), muscle_and_air(margin)[0]
    kept = find_foreground(volume)[muscle].mean()
    assert kept > above_a_fifth(volume)[muscle].mean() - 0.001


def test_air_is_told_in_a_fading_coil_and_in_images_of_many_coils() -> None:
    """At ten percent of noise, where by the fifth most air is tissue."""
    muscle, air = muscle_and_air(40)
    part = neck(4, 40, noise=0)[0] / np.sqrt(8)
    real, imaginary = 28 * np.random.default_rng(8).normal(0, 1, (2, 8, *part.shape))
    many = np.sqrt(((part + real) ** 2 + imaginary**2).sum(axis=0))
    for volume in (faded(40, 10, 0.25), many.astype(np.float32)):
        assert above_a_fifth(volume)[air].mean() > 0.5
        found = find_foreground(volume)
        assert found[air].mean() < 0.05
        assert found[muscle].mean() > 0.99


@pytest.mark.parametrize("darkest", [0.0, 20.0])
def test_limit_is_a_fifth_where_what_is_dark_passes_into_tissue(darkest: float) -> None:
    """As where a receive coil fades: no signal parts air from tissue."""
    shading = np.linspace(darkest, 300, 30_000, dtype=np.float32)
    assert find_smooth_limit(shading) is None
    plane = np.broadcast_to(shading.reshape(300, 100, 1), (300, 100, 2))
    assert np.array_equal(find_foreground(plane), above_a_fifth(plane))


def test_tissue_has_mean_0_and_deviation_1(landmarks: tuple[tuple[float, ...], ...]) -> None:
    scan = neck(7)
    foreground = find_foreground(scan[0])
    for volume in standardise(scan, landmarks):
        assert volume[foreground].mean() == pytest.approx(0, abs=0.01)
        assert volume[foreground].std() == pytest.approx(1, abs=0.01)


def test_order_of_signal_is_kept(landmarks: tuple[tuple[float, ...], ...]) -> None:
    scan = neck(3)
    for volume, result in zip(scan, standardise(scan, landmarks), strict=True):
        sorted_result = result.ravel()[np.argsort(volume.ravel(), kind="stable")]
        assert (np.diff(sorted_result) >= 0).all()


def test_artefact_stays_within_limits(landmarks: tuple[tuple[float, ...], ...]) -> None:
    scan = neck(3)
    scan[:, 50:60, 40:46, 8:14] = 1e7
    found = standardise(scan, landmarks)
    assert found.max() <= MAX_ABSOLUTE
    rest = np.ones(scan.shape[1:], dtype=bool)
    rest[50:60, 40:46, 8:14] = False
    assert np.abs(found - standardise(neck(3), landmarks))[:, rest].max() < 0.15


def test_constant_image_gives_finite_values(landmarks: tuple[tuple[float, ...], ...]) -> None:
    assert np.array_equal(
        standardise(np.ones((2, 8, 8, 8), dtype=np.float32), landmarks), np.zeros((2, 8, 8, 8))
    )


def test_landmarks_of_no_scan_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one scan"):
        learn_landmarks([])
