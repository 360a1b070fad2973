"""Running averages of a network's weights.

Steps of one case each leave the weights noisy: snapshots a few hundred steps apart differ by more
than what is learnt between them. An average over the last steps is what a falling rate would give,
at any time (Polyak & Juditsky 1992, doi:10.1137/0330046).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

YOUNG_STEPS = 10
Tensors = tuple[Tensor, ...] | list[Tensor]


def average_weights(network: nn.Module, steps: int) -> AveragedModel:
    """Begin a running average of a network's weights.

    Running averages of batch normalisation are copied, not averaged once more.

    Parameters
    ----------
    network : nn.Module
        Copied, with its device and memory format.
    steps : int
        Approximate number of last steps; fewer if fewer were taken.

    Returns
    -------
    AveragedModel
        ``update_parameters`` takes the weights of a step, ``module`` is the network that has the
        average.
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
    """Weight of the newest step in the average, after ``taken`` ones before it.

    At first it falls like YOUNG_STEPS over the number of steps, so that the weights a training
    begins with are soon forgotten.

    >>> [round(newest_weight(taken, 100), 3) for taken in (0, 10, 990, 5000)]
    [1.0, 0.5, 0.01, 0.01]
    """
    return max(YOUNG_STEPS / (YOUNG_STEPS + taken), 1 / steps)
