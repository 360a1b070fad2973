"""Losses for the dense V-Net."""

import torch
from torch import Tensor
from torch.nn import functional

from bids_mfi.vertebrae import NO_MUSCLE

EPSILON = 1e-5
AGREED_VOXELS = 100.0
HINGES = (10.0, 100.0)
HINGE_WEIGHT = 10.0
IMPOSSIBLE_LOGIT = -100.0


def soft_dice(probabilities: Tensor, labels: Tensor, agreed_voxels: float = 0.0) -> Tensor:
    """Compute the Dice of every class, (2 sum(p g) + a) / (sum(p^2) + sum(g) + a).

    Parameters
    ----------
    probabilities : Tensor of float32, shape (batch, classes, x, y, z)
    labels : Tensor of int64, shape (batch, x, y, z)
    agreed_voxels : float
        The a of the formula: voxels of agreement added to every class. Without them, a class with
        a few voxels in a box contributes as much to the gradient as a whole muscle.

    Returns
    -------
    Tensor, shape (batch, classes)
        Without added voxels, 0 for a class that is absent from ``labels``.
    """
    flat = probabilities.flatten(2)  # (b, classes, voxels)
    truth = labels.flatten(1)  # (b, voxels)
    of_truth = flat.gather(1, truth[:, None])[:, 0]  # (b, voxels): probability of the true class
    zeros = flat.new_zeros(flat.shape[:2])
    overlap = zeros.scatter_add(1, truth, of_truth)  # (b, classes)
    size = zeros.scatter_add(1, truth, torch.ones_like(of_truth))
    below = flat.square().sum(dim=2) + size + agreed_voxels + EPSILON
    return (2 * overlap + agreed_voxels) / below


def fold_unknown_vertebrae(
    logits: Tensor, labels: Tensor, muscle_classes: int
) -> tuple[Tensor, Tensor]:
    """Treat vertebrae as background in volumes without vertebra labels.

    Parameters
    ----------
    logits : Tensor of float32, shape (batch, classes, x, y, z)
    labels : Tensor of int64, shape (batch, x, y, z)
        NO_MUSCLE in the background of volumes without vertebra labels.
    muscle_classes : int
        Number of muscle classes, including background; the other classes are vertebrae.

    Returns
    -------
    logits, labels : Tensor
        In these volumes, the background probability covers everything except muscles.
    """
    unknown = labels == NO_MUSCLE
    if not bool(unknown.any()):
        return logits, labels
    others = torch.cat([logits[:, :1], logits[:, muscle_classes:]], dim=1)
    background = others.logsumexp(dim=1, keepdim=True)
    never = torch.full_like(logits[:, muscle_classes:], IMPOSSIBLE_LOGIT)
    folded = torch.cat([background, logits[:, 1:muscle_classes], never], dim=1)
    volumes = unknown.flatten(1).any(dim=1)[:, None, None, None, None]
    return torch.where(volumes, folded, logits), labels.masked_fill(unknown, 0)


def hinge_loss(dice: Tensor) -> Tensor:
    """Compute the mean Dice loss with two hinges that push classes away from a Dice near zero.

    ``1 - mean(D) + 10 mean((10 min(D, 0.1) - 1)^2) + 10 mean((100 min(D, 0.01) - 1)^2)`` over all
    classes, background included, then the mean over the batch. This is the loss of NiftyNet's
    ``dense_vnet_abdominal_ct`` (Gibson et al. 2018, doi:10.1109/TMI.2018.2806309).

    Parameters
    ----------
    dice : Tensor, shape (batch, classes)

    Examples
    --------
    >>> float(hinge_loss(torch.ones(1, 3))), float(hinge_loss(torch.zeros(1, 3)))
    (0.0, 21.0)
    """
    loss = 1 - dice.mean(dim=1)
    for slope in HINGES:
        hinge = (slope * dice.clamp(max=1 / slope) - 1).square()
        loss = loss + HINGE_WEIGHT * hinge.mean(dim=1)
    return loss.mean()


def dice_hinge(logits: Tensor, labels: Tensor, double_softmax: bool = False) -> Tensor:
    """Compute :func:`hinge_loss` from the soft Dice of logits.

    Parameters
    ----------
    logits : Tensor of float32, shape (batch, classes, x, y, z)
    labels : Tensor of int64, shape (batch, x, y, z)
    double_softmax : bool
        Apply softmax twice, like the first published version of this loss.
    """
    probabilities = functional.softmax(logits, dim=1)
    if double_softmax:
        probabilities = functional.softmax(probabilities, dim=1)
    return hinge_loss(soft_dice(probabilities, labels))


def dice_hinge_and_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Add :func:`dice_hinge` and the mean cross entropy of all voxels, with one softmax."""
    logarithms = functional.log_softmax(logits, dim=1)
    dice = soft_dice(logarithms.exp(), labels)
    return hinge_loss(dice) + functional.nll_loss(logarithms, labels)


def smooth_dice_and_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Add 1 - mean :func:`soft_dice` with AGREED_VOXELS and the mean cross entropy."""
    logarithms = functional.log_softmax(logits, dim=1)
    dice = soft_dice(logarithms.exp(), labels, AGREED_VOXELS)
    return 1 - dice.mean() + functional.nll_loss(logarithms, labels)
