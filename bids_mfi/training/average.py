"""Running averages of a network's weights.

Training with one case per step leaves the weights noisy: snapshots a few hundred steps apart
differ more than the network learns between them. At any time, an average over the last steps gives
what a decaying learning rate would give (Polyak & Juditsky 1992, doi:10.1137/0330046).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

YOUNG_STEPS = 10
Tensors = tuple[Tensor, ...] | list[Tensor]


def average_weights(network: nn.Module, steps: int) -> AveragedModel:
    """Start a running average of a network's weights.

    The running statistics of batch normalisation are copied, not averaged again.

    Parameters
    ----------
    network : nn.Module
        The network; copied with its device and memory format.
    steps : int
        Approximate number of last steps in the average; fewer at the start of a training.

    Returns
    -------
    AveragedModel
        ``update_parameters`` adds the weights of a step; ``module`` is the network with the
        averaged weights.
    """
    return AveragedModel(network, multi_avg_fn=_running_average(steps))


def _running_average(steps: int) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    @torch.no_grad()
    def update(averaged: Tensors, newest: Tensors, taken: Tensor | int) -> None:
        weight = newest_weight(int(taken), steps)
        for mean, value in zip(averaged, newest, strict=True):
            mean.lerp_(value, weight)

    return update


def newest_weight(taken: int, steps: int) -> float:
    """Return the weight of the newest step in the average, after ``taken`` earlier steps.

    At first the weight falls as YOUNG_STEPS divided by the number of steps, so the initial weights
    soon lose their influence.

    >>> [round(newest_weight(taken, 100), 3) for taken in (0, 10, 990, 5000)]
    [1.0, 0.5, 0.01, 0.01]
    """
    return max(YOUNG_STEPS / (YOUNG_STEPS + taken), 1 / steps)
