"""Causes of low agreement are recognised by what agrees once they are undone, and no others."""

import numpy as np
import pytest
from conftest import make_affine

from bids_mfi.evaluation.mismatch import Mismatches, describe_doubts, find_mismatch, find_mismatches
from bids_mfi.grid import Grid, reorient
from bids_mfi.muscles import WEBER2021

SHAPE = (40, 40, 12)
GRID = Grid.from_array(SHAPE, make_affine((4.0, 4.0, 6.0)))


def neck(seed=0, spread=0):
    """Blocks of all muscles, not mirror images of each other; moved at random by ``spread``."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.int16)
    for muscle in WEBER2021:
        place = (muscle.index - 1) // 2
        x = 23 if muscle.hemi == "R" else 9
        x, y, z = np.array([x, 5 * place + 2, 2]) + rng.integers(-spread, spread + 1, 3)
        size = 5 + place % 3
        labels[x : x + size, y : y + 4, z : z + 4 + place % 4] = muscle.index
    return labels


def exchange(labels, indices=range(1, 15)):
    swap = np.arange(15, dtype=np.int16)
    for index in indices:
        swap[index] = WEBER2021.mirrored_indices()[index]
    return swap[labels]


def cause_of(truth, prediction, grid=GRID):
    found = find_mismatch(truth, prediction, grid, WEBER2021)
    return None if found is None else (found.cause, found.detail)


@pytest.mark.parametrize("seed", range(10))
def test_poor_agreement_alone_has_no_cause(seed):
    """Blocks beside the true ones, so that many lie in a neighbour, are no renumbering."""
    assert cause_of(neck(), neck(seed, spread=1)) is None
    assert cause_of(neck(), neck(seed, spread=2)) is None


def test_noise_and_nothing_have_no_cause():
    noise = np.random.default_rng(0).integers(0, 15, SHAPE).astype(np.int16)
    for labels in (noise, neck() * 0, np.where(neck() == 1, 1, 0)):
        assert cause_of(neck(), labels.astype(np.int16)) is None
    assert cause_of(neck() * 0, neck()) is None


@pytest.mark.parametrize("spread", [0, 1])
def test_sides(spread):
    cause, detail = cause_of(neck(), exchange(neck(3, spread)))
    assert cause == "sides"
    assert spread or detail == "MFSS, LC, SPCap, SSCap, SCM, TR and 1 more"


def test_sides_of_one_muscle():
    assert cause_of(neck(), exchange(neck(), [11, 12])) == ("sides", "TR")


def test_a_map_turned_over_is_no_exchange_of_numbers():
    assert cause_of(neck(), neck()[::-1]) == ("turned", "left and right")
    assert cause_of(neck(), neck()[:, :, ::-1]) == ("turned", "head and feet")
    assert cause_of(neck(), neck()[::-1, ::-1]) == (
        "turned",
        "left and right and of front and back",
    )
    assert cause_of(neck(), neck().transpose(1, 0, 2)) == ("turned", "axes exchanged")


@pytest.mark.parametrize("axcodes", ["LPS", "SAR", "PIR"])
def test_directions_are_those_of_the_body(axcodes):
    turned, grid = reorient(neck(), GRID, tuple(axcodes))
    upside_down, _ = reorient(neck()[:, :, ::-1], GRID, tuple(axcodes))
    assert cause_of(turned, upside_down, grid) == ("turned", "head and feet")


def test_many_labels_are_no_numbering():
    labels = np.arange(40 * 40 * 12).reshape(SHAPE).astype(np.int16) % 5000
    assert cause_of(labels, labels + 1) is None


def test_sentences_collect_scans():
    maps = {"truth": neck(), "prediction": exchange(neck())}
    doubts = find_mismatches(maps, GRID, WEBER2021)
    assert doubts.misplaced == ("prediction",)
    sound = find_mismatches({"truth": neck(), "prediction": neck()}, GRID, WEBER2021)
    assert sound == Mismatches()
    first, second = describe_doubts({"a": doubts, "b": sound, "c": doubts})
    assert first.startswith("2 scans (a, c): truth and prediction seem to exchange left and right")
    assert second.startswith("2 scans (a, c): in the prediction the left labels")
    assert describe_doubts({"b": sound}) == ()
