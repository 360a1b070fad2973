"""Boxes and middles of labels, against direct computations on the whole volume."""

import numpy as np
import pytest
from scipy import ndimage

from bids_mfi.measure.regions import box_around, find_boxes, find_regions, middle_of

SHAPE = (9, 8, 7)


@pytest.fixture(params=["C", "F"])
def labels(request):
    """Scattered labels with gaps between their numbers; one of a single voxel in a corner."""
    drawn = np.random.default_rng(5).choice([0, 0, 2, 3, 9], SHAPE)
    drawn[-1, -1, -1] = 300
    return np.array(drawn, dtype=np.int16, order=request.param)


def test_boxes_hold_a_label_and_no_plane_more(labels):
    boxes = find_boxes(labels)
    assert sorted(boxes) == [2, 3, 9, 300]
    for index, box in boxes.items():
        where = np.argwhere(labels == index)
        assert [part.start for part in box] == where.min(axis=0).tolist()
        assert [part.stop for part in box] == (where.max(axis=0) + 1).tolist()


def test_middles_are_centres_of_mass_bit_for_bit(labels):
    regions = find_regions(labels)
    assert {index: region.voxels for index, region in regions.items()} == {
        index: np.count_nonzero(labels == index) for index in (2, 3, 9, 300)
    }
    for index, region in regions.items():
        assert region.middle == ndimage.center_of_mass(labels > 0, labels, index)


def test_middle_of_two_labels_together(labels):
    regions = find_regions(labels)
    both = np.isin(labels, [2, 9])
    assert middle_of([regions[2], regions[9]]) == ndimage.center_of_mass(both)


def test_no_label_has_no_box():
    assert find_boxes(np.zeros(SHAPE, np.int16)) == find_regions(np.zeros(SHAPE, np.int16)) == {}


def test_box_around_a_region_ends_at_the_volume():
    where = np.zeros(SHAPE, bool)
    where[0, 3, -1] = where[2, 3, -1] = True
    assert box_around(where) == (slice(0, 4), slice(2, 5), slice(5, 8))
