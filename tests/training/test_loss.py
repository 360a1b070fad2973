"""The Dice hinge against reference values and gradients (tests/data/network/README.md)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bids_mfi.training.loss import (
    AGREED_VOXELS,
    dice_hinge,
    dice_hinge_and_cross_entropy,
    hinge_loss,
    smooth_dice_and_cross_entropy,
    soft_dice,
)

REFERENCE = Path(__file__).parents[1] / "data" / "network" / "loss.npz"


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


def inputs(reference: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    logits = torch.from_numpy(np.moveaxis(reference["logits"], -1, 1).copy()).requires_grad_()
    return logits, torch.from_numpy(reference["labels"]).long()


@pytest.mark.parametrize(
    ("double_softmax", "name"), [(False, "dice_hinge"), (True, "dice_hinge_double_softmax")]
)
def test_value_and_gradient_equal_the_reference(
    reference: dict[str, np.ndarray], double_softmax: bool, name: str
) -> None:
    logits, labels = inputs(reference)
    loss = dice_hinge(logits, labels, double_softmax=double_softmax)
    loss.backward()
    assert loss.item() == pytest.approx(float(reference[f"loss_{name}"]), rel=1e-6)
    expected = np.moveaxis(reference[f"grad_{name}"], -1, 1)
    assert np.abs(logits.grad.numpy() - expected).max() < 1e-5 * np.abs(expected).max()


def test_soft_dice_by_hand() -> None:
    """Two voxels of class 0 and 1 with p = (.8, .2) and (.4, .6)."""
    probabilities = torch.tensor([[0.8, 0.4], [0.2, 0.6]]).reshape(1, 2, 2, 1, 1)
    labels = torch.tensor([0, 1]).reshape(1, 2, 1, 1)
    found = soft_dice(probabilities, labels)[0].tolist()
    assert found == pytest.approx([1.6 / (0.64 + 0.16 + 1), 1.2 / (0.04 + 0.36 + 1)], rel=1e-4)


def test_absent_class_costs_its_share_of_both_hinges() -> None:
    """1.4 for one of fifteen classes with Dice 0, as for the published network."""
    dice = torch.ones(1, 15)
    dice[0, 3] = 0
    assert hinge_loss(dice).item() == pytest.approx(21 / 15)


def test_combined_loss_is_the_sum(reference: dict[str, np.ndarray]) -> None:
    logits, labels = inputs(reference)
    expected = dice_hinge(logits, labels) + functional.cross_entropy(logits, labels)
    assert dice_hinge_and_cross_entropy(logits, labels).item() == pytest.approx(expected.item())


def test_smooth_dice_by_hand() -> None:
    """As above, with 100 added above and below; 1 for a class that is in neither."""
    probabilities = torch.tensor([[0.8, 0.4], [0.2, 0.6], [0, 0]]).reshape(1, 3, 2, 1, 1)
    labels = torch.tensor([0, 1]).reshape(1, 2, 1, 1)
    found = soft_dice(probabilities, labels, 100.0)[0].tolist()
    assert found == pytest.approx([101.6 / 101.8, 101.2 / 101.4, 1], rel=1e-6)


def test_slivers_weigh_little() -> None:
    """Five voxels at a box's edge: the hinges make more of them than of a muscle of 2250."""
    torch.manual_seed(0)
    labels = torch.zeros(1, 40, 40, 20, dtype=torch.long)
    labels[0, :15, :15, :10] = 1
    labels[0, 39, 39, :5] = 2
    share = {}
    for loss in (dice_hinge_and_cross_entropy, smooth_dice_and_cross_entropy):
        logits = (0.1 * torch.randn(1, 15, 40, 40, 20)).requires_grad_()
        loss(logits, labels).backward()
        weight = [logits.grad[0, :, labels[0] == c].abs().sum().item() for c in (1, 2)]
        share[loss] = weight[1] / weight[0]
    assert share[dice_hinge_and_cross_entropy] > 1
    assert share[smooth_dice_and_cross_entropy] < 0.01


def test_smooth_loss_is_the_sum(reference: dict[str, np.ndarray]) -> None:
    logits, labels = inputs(reference)
    assert AGREED_VOXELS == 100
    dice = soft_dice(torch.softmax(logits, dim=1), labels, 100.0)
    expected = 1 - dice.mean() + functional.cross_entropy(logits, labels)
    assert smooth_dice_and_cross_entropy(logits, labels).item() == pytest.approx(expected.item())


def test_cross_entropy_and_plain_dice_equal_the_reference(
    reference: dict[str, np.ndarray],
) -> None:
    logits, labels = inputs(reference)
    entropy = dice_hinge_and_cross_entropy(logits, labels) - dice_hinge(logits, labels)
    assert entropy.item() == pytest.approx(float(reference["loss_cross_entropy"]), rel=1e-5)
    probabilities = torch.softmax(logits, dim=1)
    plain = 1 - soft_dice(probabilities, labels).mean()
    assert plain.item() == pytest.approx(float(reference["loss_dice"]), abs=1e-5)
