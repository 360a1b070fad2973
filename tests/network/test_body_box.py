"""The box around the body, and labels that are interpolated from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_drafts import draft
from numpy.typing import NDArray

from bids_mfi.grid import Grid, resize_linear
from bids_mfi.network.air import remove_pieces_in_air
from bids_mfi.network.body_box import MARGIN_MM, Box, find_body_box
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.dense_vnet import upsample
from bids_mfi.network.engine import Engine, EngineFacts
from bids_mfi.network.intensity import find_foreground
from bids_mfi.network.logits import segment_all_classes
from bids_mfi.network.model_grid import box_weights, labels_on_grid
from bids_mfi.network.segment import segment_to_grid
from bids_mfi.network.views import (
    LogitView,
    identity_weights,
    label_views,
    sum_views,
    upsampling_weights,
)

SPACING_MM = (1.0, 1.0, 3.0)


def body_in_air(shape: tuple[int, int, int] = (60, 50, 12)) -> NDArray[np.float32]:
    """Tissue from (20, 15) to (44, 40) in all slices, and air with a little noise."""
    volume = np.abs(np.random.default_rng(2).normal(0, 1, shape)).astype(np.float32)
    volume[20:44, 15:40] += 100.0
    return volume


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return draft(tmp_path, spacing_mm=SPACING_MM)


def box_around_body(volume: NDArray[np.float32], spacing_mm: tuple[float, float, float]) -> Box:
    return find_body_box(find_foreground(volume), spacing_mm)


def box_of(*ranges: tuple[int, int]) -> tuple[slice, ...]:
    return tuple(slice(first, last) for first, last in ranges)


class TestBox:
    def test_it_is_the_body_and_a_margin(self):
        assert MARGIN_MM == 5.0
        found = box_around_body(body_in_air(), SPACING_MM)
        assert found == box_of((15, 49), (10, 45), (0, 12))

    def test_the_margin_is_in_millimetres(self):
        found = box_around_body(body_in_air(), (2.5, 1.0, 3.0))
        assert found == box_of((18, 46), (10, 45), (0, 12))

    def test_slices_without_a_body_are_left_out(self):
        volume = body_in_air()
        volume[:, :, 8:] = 0.5
        assert box_around_body(volume, SPACING_MM)[2] == slice(0, 10)

    def test_a_small_piece_in_air_counts_for_nothing(self):
        volume = body_in_air()
        volume[2:4, 2:4, 3] = 120.0
        assert box_around_body(volume, SPACING_MM) == box_of((15, 49), (10, 45), (0, 12))

    def test_a_large_second_piece_counts(self):
        """Metal may cut a neck in two."""
        volume = body_in_air()
        volume[30:33] = 0.0
        assert box_around_body(volume, SPACING_MM) == box_of((15, 49), (10, 45), (0, 12))

    def test_it_moves_with_the_body(self):
        moved = np.roll(body_in_air(), (9, -7), axis=(0, 1))
        assert box_around_body(moved, SPACING_MM) == box_of((24, 58), (3, 38), (0, 12))

    def test_it_ends_with_the_volume(self):
        moved = np.roll(body_in_air(), 14, axis=0)
        assert box_around_body(moved, SPACING_MM)[0] == slice(29, 60)

    @pytest.mark.parametrize("value", [0.0, 7.0])
    def test_a_volume_without_contrast_is_its_own_box(self, value):
        found = box_around_body(np.full((8, 9, 10), value, np.float32), SPACING_MM)
        assert found == box_of((0, 8), (0, 9), (0, 10))


class TestWeights:
    @pytest.mark.parametrize("factors", [(2, 2, 2), (2, 2, 1), (1, 2, 1)])
    def test_upsampling_is_that_of_the_network(self, factors):
        coarse = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
        wanted = upsample(torch.from_numpy(coarse)[None], factors)[0].numpy()
        weights = tuple(upsampling_weights(*p) for p in zip(coarse.shape[1:], factors, strict=True))
        np.testing.assert_allclose(sum_views([LogitView(coarse, weights)]), wanted, atol=1e-6)

    @pytest.mark.parametrize("wanted", [(7, 9, 11), (14, 5, 4), (20, 8, 3)])
    def test_of_a_whole_axis_they_are_those_of_images(self, wanted):
        volume = np.random.default_rng(1).normal(size=(1, 7, 9, 4)).astype(np.float32)
        both = [
            box_weights(size, new, slice(0, size))
            for size, new in zip(volume.shape[1:], wanted, strict=True)
        ]
        found = sum_views([LogitView(volume, tuple(weights for weights, _ in both))])
        assert [reached for _, reached in both] == [slice(0, n) for n in wanted]
        np.testing.assert_allclose(found[0], resize_linear(volume[0], wanted), atol=1e-5)

    @pytest.mark.parametrize("wanted", [5, 10, 17, 23])
    def test_they_sum_to_one_and_reach_the_part(self, wanted):
        weights, reached = box_weights(10, wanted, slice(3, 8))
        assert weights.shape == (reached.stop - reached.start, 5)
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)
        centres = (np.arange(wanted) + 0.5) * 10 / wanted
        inside = (centres >= 3) & (centres <= 8)
        assert reached == slice(*(np.flatnonzero(inside)[[0, -1]] + (0, 1)))

    def test_a_part_between_the_centres_reaches_nothing(self):
        """Of a scan with slices far thicker than those of the model grid."""
        weights, reached = box_weights(30, 4, slice(1, 3))
        assert weights.shape == (0, 2)
        assert reached.start == reached.stop
        grid = Grid.from_array((3, 2, 30), np.diag((1, 1, 1, 1)))
        scan = Grid.from_array((3, 2, 4), np.diag((1, 1, 7.5, 1)))
        views = [LogitView(np.eye(2, 12, dtype=np.float32).reshape(2, 3, 2, 2),
                           identity_weights((3, 2, 2)))]  # fmt: skip
        labels = labels_on_grid(box_of((0, 3), (0, 2), (1, 3)), views, grid, scan)
        assert labels.shape == (3, 2, 4)
        assert not labels.any()

    def test_the_sum_of_views_decides(self):
        first = np.array([1.0, 0.0, 0.9], np.float32).reshape(3, 1, 1, 1)
        second = np.array([0.0, 1.0, 0.9], np.float32).reshape(3, 1, 1, 1)
        views = [LogitView(logits, identity_weights((1, 1, 1))) for logits in (first, second)]
        assert label_views(views[:1], 1).item() == 0
        assert label_views(views, 1).item() == 2
        equal = LogitView(np.ones_like(first), views[0].weights)
        assert label_views([equal, equal], 1).item() == 0  # the first of equal ones

    def test_threads_change_no_label(self):
        logits = np.random.default_rng(3).normal(size=(5, 9, 8, 7)).astype(np.float32)
        views = [LogitView(logits, identity_weights(logits.shape[1:]))]
        wanted = logits.argmax(axis=0)
        for threads in (1, 3):
            assert np.array_equal(label_views(views, threads), wanted)


class TestAir:
    def test_pieces_in_air_are_removed_and_others_stay(self):
        labels = np.zeros((20, 20, 6), np.int16)
        labels[2:8, 2:8] = 3
        labels[12:14, 12:14, 2:4] = 3  # in air
        labels[9:11, 2:8] = 7  # half in tissue
        labels[16:, 16:] = 9  # in air, the only piece of its label
        labels[:2, 16:] = 15  # a vertebra, as dark as air
        tissue = np.zeros((20, 20, 6), bool)
        tissue[:10, :10] = True
        expected = labels.copy()
        expected[12:] = 0
        remove_pieces_in_air(labels, tissue, 14)
        assert np.array_equal(labels, expected)

    def test_the_foreground_may_be_on_another_grid(self):
        labels = np.ones((8, 8, 4), np.int16)
        labels[4] = 0  # two pieces
        tissue = np.zeros((4, 4, 4), bool)
        tissue[:2] = True
        remove_pieces_in_air(labels, tissue, 14)
        assert labels[:4].all()
        assert not labels[4:].any()

    def test_a_scan_keeps_no_label_in_air(self, bundle):
        """A second bright spot in air is too small for the body, and its label goes."""
        volume = body_in_air()
        volume[26:32, 20:30, 4:9] += 80.0
        volume[46:48, 42:44, 4:6] = 1.0  # within the margin of the box
        channels = np.stack([volume, volume])
        grid = Grid.from_array(volume.shape, np.diag((*SPACING_MM, 1)))
        labels, _ = segment_to_grid(channels, grid, grid, bundle, AllAsOne())
        assert labels[26:32, 20:30, 4:9].all()
        assert not labels[46:48, 42:44].any()


class AllAsOne(Engine):
    """Stands for a network: class 1 in tissue and in a cube beside it."""

    facts, stride = EngineFacts("all", "0", "cpu"), (1, 1, 1)

    def coarse_logits(self, volume):
        logits = np.zeros((15, *volume.shape[1:]), np.float32)
        logits[1] = volume[0] > 0
        logits[1, -8:, -8:] = 1.0
        return logits


class BrightAsOne(Engine):
    """Stands for a network: class 1 where the standardised in-phase image is bright."""

    facts, stride = EngineFacts("bright", "0", "cpu"), (1, 1, 1)

    def __init__(self):
        self.shapes = []

    def coarse_logits(self, volume):
        self.shapes.append(volume.shape[1:])
        logits = np.zeros((15, *volume.shape[1:]), np.float32)
        logits[1] = volume[0]
        return logits


class TestUse:
    def test_the_network_sees_the_box_and_labels_stay_where_they_are(self, bundle):
        volume = body_in_air()
        volume[26:32, 20:30, 4:9] += 80.0
        grid = Grid.from_array(volume.shape, np.diag((*SPACING_MM, 1)))
        for mirrored in (False, True):
            engine = BrightAsOne()
            channels = np.stack([volume, volume])
            model = replace(bundle, mirrored=mirrored)
            labels, _ = segment_to_grid(channels, grid, grid, model, engine)
            assert set(engine.shapes) == {(40, 40, 16)}  # 34 x 35 x 12, rounded up
            assert len(engine.shapes) == 1 + mirrored
            assert labels.shape == volume.shape
            if not mirrored:  # the mirror image calls the other side 2
                assert labels[27:31, 21:29, 5:8].all()
            assert not labels[:15].any()
            assert not labels[49:].any()

    def test_the_mirror_image_shows_the_same_part_of_the_body(self, bundle):
        """Of a body beside the middle, which is asymmetric: both views see all of it."""
        volume = np.roll(body_in_air(), -12, axis=0)
        volume[10:15, 20:30, 4:9] += 80.0
        channels = np.stack([volume, volume])
        plain = segment_all_classes(channels, bundle, BrightAsOne())
        both = segment_all_classes(channels, replace(bundle, mirrored=True), BrightAsOne())
        right, left = both[1], both[2]  # the mirror image calls the same voxels left
        np.testing.assert_allclose(right, plain[1] / 2, atol=1e-5)
        np.testing.assert_allclose(left, plain[1] / 2, atol=1e-5)

    def test_windows_cover_everything(self, bundle):
        engine = BrightAsOne()
        model = replace(bundle, inference="windows", window=(24, 24, 16), border=(4, 4, 0))
        logits = segment_all_classes(np.stack([body_in_air()] * 2), model, engine)
        assert logits.shape == (15, 60, 50, 12)
        assert set(engine.shapes) == {(24, 24, 16)}

    def test_outside_the_box_is_background(self, bundle):
        logits = segment_all_classes(np.stack([body_in_air()] * 2), bundle, BrightAsOne())
        assert not logits[:, :15].argmax(axis=0).any()
        assert not logits[:, :, 45:].argmax(axis=0).any()
        assert logits[:, 20:44, 15:40].argmax(axis=0).any()

    def test_finer_scans_get_background_outside(self):
        grid = Grid.from_array((10, 8, 4), np.eye(4))
        scan = Grid.from_array((20, 16, 4), np.diag((0.5, 0.5, 1, 1)))
        logits = np.zeros((2, 4, 3, 4), np.float32)
        logits[1] = 1.0
        views = [LogitView(logits, identity_weights((4, 3, 4)))]
        labels = labels_on_grid(box_of((3, 7), (2, 5), (0, 4)), views, grid, scan)
        expected = np.zeros((20, 16, 4))
        expected[6:14, 4:10] = 1
        assert np.array_equal(labels, expected)
