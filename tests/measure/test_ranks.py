"""Order statistics are NumPy's, to the last bit."""

import numpy as np
import pytest

from bids_mfi.measure.ranks import find_median, find_percentile

SIZES = (1, 2, 3, 4, 5, 10, 999, 1000)
PERCENTS = (0, 0.1, 0.2, 1, 33.3, 50, 99, 99.8, 100)


@pytest.fixture(params=["continuous", "whole", "equal", "negative"])
def draw(request):
    """A function that draws this many voxels."""
    generator = np.random.default_rng(3)
    draws = {
        "continuous": lambda size: generator.normal(size=size) / 3,
        "whole": lambda size: generator.integers(0, 5, size).astype(float),
        "equal": lambda size: np.full(size, 0.1),
        "negative": lambda size: -generator.exponential(1000, size),
    }
    return draws[request.param]


@pytest.mark.parametrize("size", SIZES)
def test_median_is_that_of_numpy(draw, size):
    for _ in range(20):
        values = draw(size)
        assert find_median(values) == np.median(values)


@pytest.mark.parametrize("percent", PERCENTS)
@pytest.mark.parametrize("size", SIZES)
def test_percentile_is_that_of_numpy(draw, size, percent):
    for _ in range(20):
        values = draw(size)
        assert find_percentile(values, percent) == np.percentile(values, percent)


@pytest.mark.parametrize("order", ["C", "F"])
def test_volumes_in_any_memory_order_stay_as_they_are(order):
    volume = np.array(np.random.default_rng(4).normal(size=(5, 6, 7)), order=order)
    before = volume.copy()
    assert find_median(volume) == np.median(before)
    assert find_percentile(volume[::2], 99) == np.percentile(before[::2], 99)
    assert np.array_equal(volume, before)
