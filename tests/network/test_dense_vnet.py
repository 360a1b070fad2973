"""The network against NiftyNet's own numbers (tests/data/network/README.md)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_mfi.network.architecture import check_divisible
from bids_mfi.network.dense_vnet import DenseVNet, average_pool, upsample

DATA = Path(__file__).parents[1] / "data" / "network"
TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def forward() -> dict[str, np.ndarray]:
    with np.load(DATA / "forward.npz") as arrays:
        return dict(arrays)


def reference_network() -> DenseVNet:
    network = DenseVNet()
    with np.load(DATA / "weights.npz") as arrays:
        weights = {name: torch.from_numpy(arrays[name]) for name in arrays}
    network.load_state_dict(weights)
    return network


def channels_first(volume: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(volume, -1, 1).copy())


def largest_difference(found: Tensor, expected: np.ndarray) -> float:
    return float(np.abs(np.moveaxis(found.detach().numpy(), 1, -1) - expected).max())


def test_parameters_are_as_many_as_in_the_published_network() -> None:
    assert sum(p.numel() for p in DenseVNet().parameters()) == 893_321


def test_logits_equal_the_reference(forward: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        logits = reference_network().eval()(channels_first(forward["input_b"]))
    assert largest_difference(logits, forward["logits_b"]) < TOLERANCE


def test_intermediates_equal_the_reference(forward: dict[str, np.ndarray]) -> None:
    network = reference_network().eval()
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: torch.nn.Module, inputs: bool = False) -> None:
        def hook(_: torch.nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (args[0] if inputs else output).clone()

        module.register_forward_hook(hook)

    keep("pool", network.pool_bn, inputs=True)
    keep("pool_bn", network.pool_bn)
    keep("down1", network.blocks[1].down)
    keep("stack2", network.blocks[2].skip, inputs=True)
    keep("skip2", network.blocks[2].skip)
    keep("logits_half", network.final)
    with torch.no_grad():
        network(channels_first(forward["input_b"]))
    seen["skip2_up"] = upsample(seen["skip2"], (4, 4, 4))
    assert len(seen) == 7
    for name, tensor in seen.items():
        assert largest_difference(tensor, forward[name]) < TOLERANCE, name


def test_training_mode_normalises_with_the_statistics_of_the_batch(
    forward: dict[str, np.ndarray],
) -> None:
    with torch.no_grad():
        logits = reference_network().train()(channels_first(forward["input_b"]))
    assert largest_difference(logits[:, :, ::2], forward["logits_train_b"]) < TOLERANCE


def test_larger_volume_equals_the_reference() -> None:
    with np.load(DATA / "larger.npz") as arrays, torch.no_grad():
        logits = reference_network().eval()(channels_first(arrays["input_a"]))
        assert logits.shape == (1, 15, 72, 48, 16)
        assert largest_difference(logits[..., ::4, ::4, ::4], arrays["logits_a"]) < TOLERANCE


def test_moving_averages_never_hold_their_initial_values() -> None:
    """After one and after two updates: v1, then (0.9 v1 + v2) / 1.9, of the debiased average."""
    network = DenseVNet().train()
    first, second = (torch.full((1, 2, 16, 8, 8), value) for value in (3.0, 5.0))
    with torch.no_grad():
        network(first)
        assert network.pool_bn.running_mean.tolist() == pytest.approx([3.0, 3.0])
        network(second)
    expected = (0.9 * 3 + 5) / 1.9
    assert network.pool_bn.running_mean.tolist() == pytest.approx([expected] * 2)


def test_instance_normalisation_ignores_scale_and_mode() -> None:
    torch.manual_seed(1)
    network = DenseVNet(out_channels=4, normalization="instance")
    volume = torch.randn(1, 2, 16, 16, 16)
    with torch.no_grad():
        trained, evaluated = network.train()(volume), network.eval()(volume)
        scaled = network(100 * volume)
    assert torch.equal(trained, evaluated)
    assert torch.allclose(scaled, evaluated, atol=1e-3)


def test_initial_kernels_have_the_published_spread() -> None:
    torch.manual_seed(0)
    kernel = DenseVNet().blocks[2].skip.conv.weight.detach()
    sigma = (2 / (27 * 184)) ** 0.5
    assert float(kernel.abs().max()) <= 2 * sigma
    assert float(kernel.std()) == pytest.approx(0.880 * sigma, rel=0.01)  # of a normal cut at 2


@pytest.mark.parametrize("shape", [(12, 16, 16), (16, 16, 4), (0, 8, 8)])
def test_sizes_not_divisible_by_8_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        check_divisible(shape)
    with pytest.raises(ValueError, match="multiple of 8"):
        DenseVNet()(torch.zeros(1, 2, *shape))


@pytest.mark.parametrize("stride", [(2, 2, 2), (2, 2, 1), (1, 2, 1)])
def test_a_stride_reduces_its_own_axis(stride: tuple[int, int, int]) -> None:
    torch.manual_seed(4)
    network = DenseVNet(out_channels=3, normalization="instance", stem_stride=stride).eval()
    volume = torch.randn(1, 2, 16, 24, 32)
    with torch.no_grad():
        reduced, whole = network.half_logits(volume), network(volume)
    assert reduced.shape[2:] == tuple(n // s for n, s in zip((16, 24, 32), stride, strict=True))
    assert whole.shape == (1, 3, 16, 24, 32)
    steps = tuple(slice(None, None, s) for s in stride)
    assert torch.allclose(whole[(..., *steps)], reduced, atol=1e-6)


def test_an_axis_with_stride_1_is_seen_at_full_resolution() -> None:
    """A change of one slice reaches the reduced logits of that slice most."""
    torch.manual_seed(5)
    network = DenseVNet(out_channels=3, normalization="batch", stem_stride=(2, 2, 1)).eval()
    volume = torch.randn(1, 2, 16, 16, 32)
    changed = volume.clone()
    changed[..., 17] += 1
    with torch.no_grad():
        stem = network.init_conv(changed) - network.init_conv(volume)
        pooled = average_pool(changed, (2, 2, 1)) - average_pool(volume, (2, 2, 1))
    assert set(stem.abs().sum(dim=(0, 1, 2, 3)).nonzero()[:, 0].tolist()) == {15, 16, 17, 18, 19}
    assert set(pooled.abs().sum(dim=(0, 1, 2, 3)).nonzero()[:, 0].tolist()) == {17}


def test_strides_do_not_change_the_weights() -> None:
    shapes = [
        {name: tensor.shape for name, tensor in DenseVNet(stem_stride=s).state_dict().items()}
        for s in ((2, 2, 2), (2, 2, 1))
    ]
    assert shapes[0] == shapes[1]
    with pytest.raises(ValueError, match="stem_stride must be of"):
        DenseVNet(stem_stride=(2, 2, 3))


def test_unknown_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match="normalization must be one of"):
        DenseVNet(normalization="group")


def test_pool_and_upsample_keep_a_constant() -> None:
    constant = torch.full((1, 1, 16, 8, 8), 2.5)
    assert torch.equal(average_pool(constant), constant[:, :, ::2, ::2, ::2])
    assert torch.equal(upsample(constant, (4, 4, 4)).unique(), torch.tensor([2.5]))
