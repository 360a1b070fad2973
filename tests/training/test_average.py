"""Running averages of weights equal what is computed by hand."""

import pytest
import torch
from torch import nn

from bids_mfi.training.average import average_weights


def network_of(value: float) -> nn.Sequential:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        network[0].weight.fill_(value)
        network[1].running_mean.fill_(10 * value)
        network[1].num_batches_tracked.fill_(int(value))
    return network


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [1.0, 3.0, 8.0, 2.0]),  # the newest alone
        # weights 10/11, 10/12, 10/13 after the first
        (100, [1.0, 31 / 11, 8 * 10 / 12 + 31 / 11 * 2 / 12, None]),
    ],
)
def test_average_equals_the_one_by_hand(steps: int, expected: list[float | None]) -> None:
    averaged = average_weights(network_of(99.0), steps)
    for value, wanted in zip((1.0, 3.0, 8.0, 2.0), expected, strict=True):
        averaged.update_parameters(network_of(value))
        if wanted is not None:
            assert averaged.module[0].weight.item() == pytest.approx(wanted)


def test_old_averages_weigh_the_newest_step_by_one_over_the_steps() -> None:
    averaged = average_weights(network_of(0.0), 20)
    for _ in range(500):
        averaged.update_parameters(network_of(0.0))
    averaged.update_parameters(network_of(1.0))
    assert averaged.module[0].weight.item() == pytest.approx(1 / 20)


def test_running_statistics_are_those_of_the_newest_step() -> None:
    averaged = average_weights(network_of(0.0), 20)
    for value in (1.0, 2.0, 7.0):
        averaged.update_parameters(network_of(value))
    assert averaged.module[1].running_mean.item() == 70.0
    assert averaged.module[1].num_batches_tracked.item() == 7
