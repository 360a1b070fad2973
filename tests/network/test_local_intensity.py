"""Standardisation by the signal around each voxel: factors, coils, fields of view, fat."""

import numpy as np
import pytest

from bids_mfi.network.intensity import find_foreground
from bids_mfi.network.local_intensity import HIGHEST, LOWEST, local_mean, standardise_locally
from bids_mfi.synthesis.cases import make_phantom_case

SPACING_MM = (1.4, 1.4, 3.0)


@pytest.fixture(scope="module")
def channels():
    case = make_phantom_case(3, SPACING_MM)
    return np.stack([case.in_phase, case.out_phase]).astype(np.float32)


def inside(channels):
    return find_foreground(channels[0])


def test_a_common_factor_changes_nothing(channels):
    expected = standardise_locally(channels, SPACING_MM)
    for factor in (1e-3, 250.0):
        found = standardise_locally(np.float32(factor) * channels, SPACING_MM)
        assert np.allclose(found, expected, atol=1e-4)


def test_the_ratio_of_the_two_images_is_kept(channels):
    found = standardise_locally(channels, SPACING_MM)
    used = inside(channels) & (found[0] > LOWEST + 0.2) & (found.max(axis=0) < HIGHEST)
    ratio = (found[1] + 2)[used] / (found[0] + 2)[used]
    assert np.allclose(ratio, channels[1][used] / channels[0][used], rtol=1e-3)


def test_a_coil_that_shades_by_a_factor_of_four_moves_muscle_little(channels):
    y = np.linspace(0, 1, channels.shape[2], dtype=np.float32)[None, None, :, None]
    shaded = channels * np.exp(-np.log(4.0) * y).astype(np.float32)
    body = inside(channels) & inside(shaded)
    plain, found = (standardise_locally(c, SPACING_MM)[0][body] for c in (channels, shaded))
    raw = np.abs(np.log(shaded[0][body] / channels[0][body]))
    assert np.std(raw) > 0.15
    assert np.abs(found - plain).mean() < 0.15


def test_what_is_far_away_has_no_part_in_the_result(channels):
    far = channels.copy()
    far[..., 32:] *= 3  # 24 mm and more from the slices that are compared
    body = inside(channels)[..., :8]
    near, found = (standardise_locally(c, SPACING_MM)[0][..., :8][body] for c in (channels, far))
    assert np.percentile(np.abs(found - near), 99) < 0.05


def test_air_is_dark_and_values_are_limited(channels):
    found = standardise_locally(channels, SPACING_MM)
    assert found.dtype == np.float32
    assert found.min() >= LOWEST
    assert found.max() <= HIGHEST
    assert np.median(found[0][~inside(channels)]) < -1


def test_volumes_of_zeros_and_of_one_slice():
    assert (standardise_locally(np.zeros((2, 9, 7, 3), np.float32), SPACING_MM) == LOWEST).all()
    thin = np.ones((2, 9, 7, 1), np.float32)
    assert np.allclose(standardise_locally(thin, SPACING_MM), 0, atol=1e-5)


def test_the_mean_is_that_of_tissue_alone():
    volume = np.zeros((40, 40, 8), np.float32)
    volume[:20] = 5.0
    mean = local_mean(volume, volume > 0, (2.0, 2.0, 3.0))
    assert np.allclose(mean[:18], 5.0, rtol=1e-3)
