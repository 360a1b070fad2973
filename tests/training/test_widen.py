"""A wider network begins where a narrower one stands, and uses its new channels."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_train import OPTIONS, TABLE, tiny_data
from torch import Tensor
from toy_training import train

from bids_mfi.errors import InputError
from bids_mfi.network.architecture import WIDTHS, Widths
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.loaded_networks import load_network
from bids_mfi.training.begin import begin_network
from bids_mfi.training.plan import TrainingOrder, check_stated
from bids_mfi.training.widen import widen

CPU = torch.device("cpu")


def network(widths: str, normalization: str = "instance") -> DenseVNet:
    torch.manual_seed(len(widths))
    return DenseVNet(2, 3, normalization, (2, 2, 1), widths)


def used(made: DenseVNet) -> DenseVNet:
    """Give every weight and average a value of its own, as after a training."""
    state = made.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            state[name] = value + 0.1 * torch.rand_like(value)
    made.load_state_dict(state)
    return made


def images() -> Tensor:
    return torch.randn(1, 2, 32, 24, 16, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("normalization", ["instance", "batch"])
def test_a_wider_network_gives_the_same_logits(normalization: str) -> None:
    narrow, wide = used(network("published", normalization)), network("wide", normalization)
    widen(narrow, wide)
    with torch.inference_mode():
        expected, found = narrow.eval()(images()), wide.eval()(images())
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_every_new_channel_is_learnt_with() -> None:
    """After two steps something reads each new channel, and its own weights get a gradient."""
    narrow, wide = used(network("published")), network("wide")
    widen(narrow, wide)
    optimiser = torch.optim.Adam(wide.parameters(), 1e-3)
    for _ in range(3):
        optimiser.zero_grad()
        wide(images()).square().mean().backward()
        optimiser.step()
    for name, parameter in wide.named_parameters():
        assert parameter.grad is not None
        rows = parameter.grad.flatten(1) if parameter.dim() > 1 else parameter.grad[:, None]
        assert (rows.abs().sum(dim=1) > 0).all(), name


def test_a_narrower_network_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit into"):
        widen(network("wide"), network("published"))
    with pytest.raises(ValueError, match="more than their widths"):
        widen(network("published", "batch"), network("wide"))


def test_only_rows_that_stay_narrow_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """All layers but one are wide enough."""
    odd = Widths(growth=(12, 16, 20), skip=(24, 32, 23), down=(32, 32))
    monkeypatch.setattr("bids_mfi.network.dense_vnet.WIDTHS", {**WIDTHS, "odd": odd})
    with pytest.raises(ValueError, match="24 channels do not fit into 23"):
        widen(network("published"), network("odd"))


def test_a_training_widens_the_bundle_it_starts_from(tmp_path: Path) -> None:
    narrow = train(replace(OPTIONS, steps=1), tiny_data(), tmp_path / "narrow")
    options = replace(OPTIONS, steps=2, validate_every=1, widths="wide")
    wide = train(options, tiny_data(), tmp_path / "wide", start=narrow)
    assert (narrow.widths, wide.widths) == ("published", "wide")
    assert load_network(wide, CPU).blocks[0].dense[0].conv.out_channels == 12
    assert wide.landmarks == narrow.landmarks
    begun = begin_network(options, TABLE, narrow).eval()
    with torch.inference_mode():
        assert torch.allclose(
            begun(images()), load_network(narrow, CPU)(images()), rtol=1e-4, atol=1e-4
        )
    tuned = train(OPTIONS, tiny_data(), tmp_path / "tuned", start=wide)
    assert tuned.widths == "wide"
    assert dict(wide.training)["start"].endswith(", widened from published")
    assert "widened" not in dict(tuned.training)["start"]


def test_averages_of_a_widened_network_count_as_they_did() -> None:
    narrow, wide = used(network("published", "batch")), network("wide", "batch")
    narrow.pool_bn.num_batches_tracked.fill_(7)
    widen(narrow, wide)
    assert wide.pool_bn.num_batches_tracked == 7
    channels = len(narrow.init_conv.bn.running_var)
    assert torch.equal(wide.init_conv.bn.running_var[:channels], narrow.init_conv.bn.running_var)


def test_a_wide_bundle_cannot_be_narrowed(tmp_path: Path) -> None:
    order = TrainingOrder(
        tmp_path, replace(OPTIONS, widths="published"), stated=frozenset({"widths"})
    )
    with pytest.raises(InputError, match="was made with widths wide"):
        check_stated(order, replace(OPTIONS, widths="wide"))
