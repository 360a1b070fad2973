"""Random geometry: in millimetres, the same for images and labels, sides kept right."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.muscles import WEBER2021, MuscleTable
from bids_mfi.network.dense_vnet import DenseVNet, average_pool, upsample
from bids_mfi.options import TrainOptions
from bids_mfi.training.augment import (
    Warp,
    augment,
    change_contrast,
    deform,
    draw_corner_affines,
    draw_warp,
    logits_through_affine,
    resample_affine,
    rotate_about,
    spline_field,
    spline_weights,
)

TABLE = MuscleTable(WEBER2021.muscles[:2])
SHAPE, SPACING = (41, 31, 21), (1.0, 1.5, 3.0)
STILL = Warp(np.ones(3), np.eye(3), None)
OPTIONS = TrainOptions(
    elastic_share=0.5,
    elastic_sigma_voxels=2.0,
    scaling_percent=5.0,
    rotation_lr_degrees=4.0,
    rotation_ap_degrees=8.0,
)


def blob(place_mm: tuple[float, float, float]) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """A smooth bright spot at a place relative to the centre; label 1 where it is bright."""
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(SHAPE, SPACING, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    distance = np.linalg.norm(points - np.reshape(place_mm, (3, 1, 1, 1)), axis=0)
    image = np.exp(-((distance / 4) ** 2)).astype(np.float32)
    return np.stack([image, 2 * image]), (image > 0.4).astype(np.int16)


def centre_mm(weights: NDArray[np.generic]) -> NDArray[np.float64]:
    """Centre of mass relative to the centre of the volume."""
    found = np.array([np.average(i, weights=weights) for i in np.indices(weights.shape)])
    return np.asarray((found - (np.array(weights.shape) - 1) / 2) * SPACING)


@pytest.mark.parametrize(
    ("angles", "place", "expected"),
    [
        ((90, 0), (2, 9, 0), (2, 0, 9)),  # about left-right: anterior goes to superior
        ((90, 0), (2, 0, 9), (2, -9, 0)),  # and superior to posterior
        ((0, 90), (0, 3, 9), (9, 3, 0)),  # about anterior-posterior: superior goes to the right
        ((0, 90), (9, 3, 0), (0, 3, -9)),  # and the right to inferior
    ],
)
def test_rotation_is_in_millimetres(
    angles: tuple[float, float], place: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    images, labels = blob(place)  # type: ignore[arg-type]
    turn = replace(STILL, rotation=rotate_about(*angles))
    moved, moved_labels = deform(images, labels, SPACING, turn)
    assert centre_mm(moved[0]) == pytest.approx(expected, abs=0.3)
    assert centre_mm(moved_labels) == pytest.approx(expected, abs=0.7)
    assert np.allclose(moved[1], 2 * moved[0], atol=1e-6)


def test_scaling_moves_places_and_sizes() -> None:
    images, labels = blob((8.0, -6.0, 9.0))
    scale = np.array([1.2, 0.8, 1.0])
    moved, moved_labels = deform(images, labels, SPACING, replace(STILL, scale=scale))
    assert centre_mm(moved[0]) == pytest.approx([9.6, -4.8, 9.0], abs=0.15)
    assert centre_mm(moved_labels) == pytest.approx([9.6, -4.8, 9.0], abs=0.5)
    assert moved[0].sum() == pytest.approx(images[0].sum() * 1.2 * 0.8, rel=0.02)


def test_equal_shifts_of_all_control_points_are_a_translation() -> None:
    images, labels = blob((0.0, 0.0, 0.0))
    shifts = np.zeros((3, 6, 6, 6))
    shifts[:] = np.reshape([3, -2, 1], (3, 1, 1, 1))  # in voxels: what is read lies there
    moved, moved_labels = deform(images, labels, SPACING, replace(STILL, shifts=shifts))
    assert centre_mm(moved[0]) == pytest.approx([-3.0, 3.0, -3.0], abs=0.05)
    assert np.array_equal(moved_labels[5:-5, 5:-5, 5:-5], labels[8:-2, 3:-7, 6:-4])


def test_spline_is_that_of_scipy() -> None:
    """Voxels lie at 0 ... cells on a control grid that begins one cell before the volume."""
    from scipy.interpolate import BSpline

    cells, size = 3, 17
    coefficients = np.random.default_rng(1).normal(size=cells + 3)
    knots = np.arange(-3, cells + 4)
    expected = BSpline(knots, coefficients, 3)(np.linspace(0, cells, size))
    assert np.allclose(spline_weights(size, cells) @ coefficients, expected)
    field = np.zeros((3, cells + 3, cells + 3, cells + 3))
    field[1] = coefficients[:, None, None]
    found = spline_field(field, (size, 5, 4))
    assert np.allclose(found[1], expected[:, None, None], atol=1e-6)
    assert not found[0].any()


def test_outside_is_edge_for_images_and_air_for_labels() -> None:
    images = np.broadcast_to(np.arange(41, dtype=np.float32)[:, None, None], (2, *SHAPE)).copy()
    labels = np.ones(SHAPE, dtype=np.int16)
    shifts = np.zeros((3, 6, 6, 6))
    shifts[0] = 10
    moved, moved_labels = deform(images, labels, SPACING, replace(STILL, shifts=shifts))
    assert np.allclose(moved[0, -10:], 40)
    assert not moved_labels[-9:].any()
    assert moved_labels[:30].all()


def test_labels_go_where_their_image_goes() -> None:
    rng = np.random.default_rng(3)
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[8:18, 8:22, 5:16], labels[22:34, 6:20, 6:15] = 1, 2
    images = np.stack([labels, labels]).astype(np.float32)
    deformation = draw_warp(replace(OPTIONS, elastic_share=1.0), rng)
    assert deformation is not None
    moved, moved_labels = deform(images, labels, SPACING, deformation)
    assert (moved_labels != labels).mean() > 0.01
    sure = np.abs(moved[0] - np.rint(moved[0])) < 1e-3
    assert sure.mean() > 0.7
    assert np.array_equal(moved_labels[sure], np.rint(moved[0][sure]).astype(np.int16))


def test_without_ranges_nothing_changes() -> None:
    images, labels = blob((5.0, 0.0, 0.0))
    options = TrainOptions(mirror_share=0.0)
    found = augment(images, labels, SPACING, TABLE, options, np.random.default_rng(1))
    assert found[0] is images
    assert found[1] is labels


def test_mirroring_comes_first_and_exchanges_the_labels() -> None:
    images, labels = blob((9.0, 3.0, 0.0))
    options = replace(OPTIONS, mirror_share=1.0)
    rng = np.random.default_rng(5)
    moved, moved_labels = augment(images, labels, SPACING, TABLE, options, rng)
    assert set(np.unique(moved_labels)) == {0, 2}
    assert centre_mm(moved_labels)[0] < -5
    assert centre_mm(moved[0])[0] < -5


def test_the_seed_decides() -> None:
    images, labels = blob((9.0, 3.0, 0.0))
    first, same, other = (
        augment(images, labels, SPACING, TABLE, OPTIONS, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first[0], same[0])
    assert np.array_equal(first[1], same[1])
    assert not np.array_equal(first[0], other[0])


def test_draws_fill_the_stated_ranges_and_no_more() -> None:
    drawn = [draw_warp(OPTIONS, np.random.default_rng(seed)) for seed in range(200)]
    found = [one for one in drawn if one is not None]
    assert len(found) == 200
    assert 70 < sum(one.shifts is not None for one in found) < 130
    scale = np.array([one.scale for one in found])
    assert 0.95 <= scale.min() < 0.955
    assert 1.045 < scale.max() <= 1.05
    assert np.abs(np.corrcoef(scale.T) - np.eye(3)).max() < 0.3  # each axis its own
    turned = np.array([one.rotation for one in found])
    about_lr = np.rad2deg(np.arctan2(-turned[:, 1, 2], turned[:, 1, 1]))
    about_ap = np.rad2deg(np.arcsin(-turned[:, 2, 0]))
    assert 3.6 < np.abs(about_lr).max() <= 4
    assert 7.2 < np.abs(about_ap).max() <= 8
    shifts = np.concatenate([one.shifts.ravel() for one in found if one.shifts is not None])
    assert shifts.std() == pytest.approx(2.0, rel=0.05)
    assert found[0].shifts is None or found[0].shifts.shape == (3, 6, 6, 6)


# ------------------------------------------------------------------------------ in-network affine


def test_contrast_keeps_dark_bright_and_order() -> None:
    rng = np.random.default_rng(3)
    images = rng.normal(0, 1, (2, 6, 5, 4)).astype(np.float32)
    changed = change_contrast(images, np.array([1.0, 0.7]))
    assert np.allclose(changed[0], images[0], atol=1e-5)
    assert changed[1].min() == pytest.approx(images[1].min(), abs=1e-5)
    assert changed[1].max() == pytest.approx(images[1].max(), abs=1e-5)
    assert np.array_equal(np.argsort(changed[1].ravel()), np.argsort(images[1].ravel()))
    assert changed[1].mean() > images[1].mean() + 0.1
    flat = np.zeros((1, 2, 2, 2), np.float32)
    assert np.array_equal(change_contrast(flat, np.array([0.5])), flat)


def test_contrast_is_changed_by_the_option_alone() -> None:
    images = np.random.default_rng(3).normal(0, 1, (2, 8, 8, 8)).astype(np.float32)
    labels = np.zeros((8, 8, 8), np.int16)
    for sd in (0.0, 0.3):
        options = TrainOptions(mirror_share=0, contrast_sd=sd)
        rng = np.random.default_rng(1)
        found, same = augment(images, labels, (1.0, 1.0, 1.0), WEBER2021, options, rng)
        assert np.array_equal(found, images) == (sd == 0)
        assert np.array_equal(same, labels)


class Halving(DenseVNet):
    """In place of a network: every second voxel of the first image."""

    def half_logits(self, images: Tensor) -> Tensor:
        return average_pool(images[:, :1])


def wave() -> Tensor:
    """A smooth volume that differs along all axes."""
    x, y, z = torch.meshgrid(*(torch.linspace(-2, 2, n) for n in (32, 24, 16)), indexing="ij")
    return torch.exp(-((x - 0.4) ** 2) - (y + 0.3) ** 2 - 2 * (z - 0.1) ** 2)[None, None]


def test_identity_changes_nothing() -> None:
    torch.manual_seed(2)
    network = DenseVNet(out_channels=3, normalization="instance").eval()
    images = torch.randn(2, 2, 16, 24, 8)
    with torch.no_grad():
        found = logits_through_affine(network, images, np.tile(np.eye(4), (2, 1, 1)))
        assert torch.allclose(found, network(images), atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_affine_acts_on_its_own_axis(axis: int) -> None:
    """T u = u + 2 k / (n - 1) reads k voxels farther on."""
    volume = wave()
    affine = np.eye(4)
    affine[axis, 3] = 2 * 3 / (volume.shape[2 + axis] - 1)
    moved = resample_affine(volume, affine[None])
    whole = volume.shape[2 + axis]
    expected = volume.narrow(2 + axis, 3, whole - 3)
    assert torch.allclose(moved.narrow(2 + axis, 0, whole - 3), expected, atol=1e-5)
    assert not moved.narrow(2 + axis, whole - 3, 3).any()  # zero outside


def test_inverse_undoes_the_affine_on_the_logits() -> None:
    """Up to interpolation, and to NiftyNet's coordinates: the ends of the half grid differ."""
    volume = wave()
    affines = draw_corner_affines(np.random.default_rng(4), 1, 0.1)
    back = resample_affine(resample_affine(volume, affines), np.linalg.inv(affines))
    middle = (slice(None), slice(None), slice(4, -4), slice(4, -4), slice(3, -3))
    assert (back - volume)[middle].abs().mean() < 0.01
    network = Halving(2, 1)
    found = logits_through_affine(network, volume.expand(-1, 2, -1, -1, -1), affines)
    plain = upsample(average_pool(volume), (2, 2, 2))
    forward_only = upsample(average_pool(resample_affine(volume, affines)), (2, 2, 2))
    inner = (slice(None), slice(None), slice(6, -6), slice(6, -6), slice(4, -4))
    error = (found - plain)[inner].abs().mean()
    assert error < 0.5 * (forward_only - plain)[inner].abs().mean()


def test_corners_are_drawn_inwards() -> None:
    affines = draw_corner_affines(np.random.default_rng(0), 500, 0.1)
    assert np.array_equal(affines[:, 3], np.tile([0, 0, 0, 1], (500, 1)))
    diagonal = affines[:, [0, 1, 2], [0, 1, 2]]
    assert diagonal.mean() == pytest.approx(0.95, abs=0.003)
    assert diagonal.max() <= 1
    assert diagonal.min() >= 0.9
    assert np.abs(affines[:, :3, 3]).max() <= 0.05
    still = draw_corner_affines(np.random.default_rng(0), 2, 0.0)
    assert np.allclose(still, np.eye(4))
