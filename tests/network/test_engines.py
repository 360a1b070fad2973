"""Engines compute the same network: labels, threads, precision, and what is written where."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_drafts import draft
from numpy.typing import NDArray

from bids_mfi.bids.scan_files import identify_scan
from bids_mfi.cli.app import main
from bids_mfi.errors import MFIError
from bids_mfi.network import devices, engines
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import load_bundle, write_bundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.engine import Engine
from bids_mfi.network.engine_openvino import OpenVINOEngine, has_bfloat16
from bids_mfi.network.engine_torch import TorchEngine
from bids_mfi.network.engines import EngineChoice, load_engine, settle_engine
from bids_mfi.network.loaded_networks import load_network
from bids_mfi.network.window_parts import cut_rows, find_needed
from bids_mfi.options import RunOptions
from bids_mfi.participant.plan import plan_run

CPU = torch.device("cpu")
VARIANTS = [
    ("batch", (2, 2, 2), "published"),
    ("instance", (2, 2, 2), "published"),
    ("instance", (2, 2, 1), "wide"),
    ("instance", (1, 1, 1), "published"),
    ("batch", (1, 2, 1), "wide"),
]


def network_of(normalization: str, stride: tuple[int, int, int], widths: str) -> DenseVNet:
    """Random weights, and moving averages that are not those of a new network."""
    torch.manual_seed(5)
    network = DenseVNet(2, 15, normalization, stride, widths).train()
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(1, 2, 16, 16, 16) * 3 + 1)
        for name, value in network.named_parameters():
            if ".bn." in name or name.startswith("pool_bn"):
                value.add_(0.3 * torch.randn_like(value))
    return network.eval()


def openvino_of(network: DenseVNet, threads: int = 2, precision: str = "float32") -> Engine:
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    kind = "batch" if "pool_bn.running_mean" in state else "instance"
    return OpenVINOEngine(state, kind, network.stem_stride, threads, precision)


def images_of(shape: tuple[int, int, int] = (48, 40, 16)) -> NDArray[np.float32]:
    return np.random.default_rng(4).normal(size=(2, *shape)).astype(np.float32)


@pytest.mark.parametrize(("normalization", "stride", "widths"), VARIANTS)
def test_openvino_gives_the_logits_of_pytorch(
    normalization: str, stride: tuple[int, int, int], widths: str
) -> None:
    network = network_of(normalization, stride, widths)
    wanted = TorchEngine(network).coarse_logits(images_of())
    found = openvino_of(network).coarse_logits(images_of())
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    assert np.abs(wanted).max() > 0.5
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    assert (found.argmax(axis=0) == wanted.argmax(axis=0)).mean() >= 0.99999


def test_another_shape_is_compiled_anew() -> None:
    network = network_of("instance", (2, 2, 1), "published")
    engine = openvino_of(network)
    for shape in ((16, 24, 8), (32, 16, 16), (16, 24, 8)):
        wanted = TorchEngine(network).coarse_logits(images_of(shape))
        np.testing.assert_allclose(engine.coarse_logits(images_of(shape)), wanted, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_threads_change_no_bit(precision: str) -> None:
    """OpenVINO's own instance normalisation would: at this size with two threads already."""
    if precision == "bfloat16" and not has_bfloat16():
        precision = "float32"
    network = network_of("instance", (2, 2, 1), "wide")
    images = images_of((96, 80, 24))
    one, two, four = (
        openvino_of(network, threads, precision).coarse_logits(images) for threads in (1, 2, 4)
    )
    assert np.array_equal(one, two)
    assert np.array_equal(one, four)


PARTS = [
    (slice(3, 17), slice(6, 11), slice(2, 5)),
    (slice(0, 24), slice(0, 20), slice(0, 8)),
    (slice(20, 24), slice(0, 1), slice(7, 8)),
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("normalization", ["batch", "instance"])
def test_part_of_the_logits_is_cut_from_all(
    normalization: str, part: tuple[slice, slice, slice]
) -> None:
    network = network_of(normalization, (2, 2, 2), "published")
    wanted = TorchEngine(network).coarse_logits(images_of())[(slice(None), *part)]
    assert np.array_equal(TorchEngine(network).part_logits(images_of(), part), wanted)
    found = openvino_of(network).part_logits(images_of(), part)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("stride", [(2, 2, 1), (1, 2, 1), (1, 1, 1)])
def test_part_with_other_strides(stride: tuple[int, int, int]) -> None:
    network = network_of("batch", stride, "wide")
    part = (slice(5, 13), slice(0, 7), slice(3, 8))
    wanted = TorchEngine(network).coarse_logits(images_of())[(slice(None), *part)]
    found = openvino_of(network).part_logits(images_of(), part)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_long_part_is_computed_in_pieces() -> None:
    network = network_of("batch", (2, 2, 2), "published")
    images = images_of((304, 16, 16))
    part = (slice(7, 145), slice(2, 8), slice(0, 5))
    assert len(cut_rows(part[0])) == 3
    wanted = TorchEngine(network).coarse_logits(images)[(slice(None), *part)]
    found = openvino_of(network).part_logits(images, part)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_threads_change_no_bit_of_a_part() -> None:
    network = network_of("batch", (2, 2, 2), "published")
    images, part = images_of((96, 80, 32)), (slice(4, 40), slice(3, 30), slice(4, 12))
    one, two, four = (openvino_of(network, n).part_logits(images, part) for n in (1, 2, 4))
    assert np.array_equal(one, two)
    assert np.array_equal(one, four)


@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 2)])
@pytest.mark.parametrize("rows", [slice(200, 211), slice(203, 260)])
def test_logits_depend_on_what_is_needed(rows: slice, stride: tuple[int, int, int]) -> None:
    """On nothing beyond it, and on voxels less than 48 inside it; NaN shows what was read."""
    engine = TorchEngine(network_of("batch", stride, "published"))
    needed = find_needed(rows, 480, stride[0])
    assert needed.start % 8 == needed.stop % 8 == 0
    part = slice(rows.start // stride[0], (rows.stop - 1) // stride[0] + 2)
    for inwards, finite in ((0, True), (48, False)):
        for beyond in (slice(0, needed.start + inwards), slice(needed.stop - inwards, 480)):
            images = images_of((480, 8, 8))
            images[:, beyond] = np.nan
            assert np.isfinite(engine.coarse_logits(images)[:, part]).all() == finite


def test_constant_channels_are_finite() -> None:
    """A channel without variance is divided by the square root of epsilon, as in PyTorch."""
    network = network_of("instance", (2, 2, 2), "published")
    images = np.zeros((2, 16, 16, 16), dtype=np.float32)
    wanted = TorchEngine(network).coarse_logits(images)
    np.testing.assert_allclose(openvino_of(network).coarse_logits(images), wanted, atol=1e-3)


def test_sizes_that_the_network_cannot_take_are_an_error() -> None:
    engine = openvino_of(network_of("instance", (2, 2, 2), "published"))
    with pytest.raises(ValueError, match="multiple of 8"):
        engine.coarse_logits(np.zeros((2, 16, 16, 12), dtype=np.float32))


# ---------------------------------------------------------------------------------------- choice


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    state = network_of("instance", (2, 2, 2), "published").state_dict()
    return write_bundle(draft(tmp_path_factory.mktemp("bundle")), state, "")


@pytest.mark.parametrize(
    ("has_cuda", "engine", "device", "expected"),
    [
        (False, "auto", "auto", ("openvino", "cpu")),
        (True, "auto", "auto", ("torch", "cuda")),
        (True, "auto", "cpu", ("openvino", "cpu")),
        (True, "openvino", "auto", ("openvino", "cpu")),
        (True, "torch", "cpu", ("torch", "cpu")),
        (False, "torch", "auto", ("torch", "cpu")),
    ],
)
def test_what_the_machine_has_decides(
    monkeypatch: pytest.MonkeyPatch,
    has_cuda: bool,
    engine: str,
    device: str,
    expected: tuple[str, str],
) -> None:
    monkeypatch.setattr(devices, "has_driver", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    settled = settle_engine(EngineChoice(engine, device))
    assert (settled.engine, settled.device) == expected


def test_choices_that_cannot_be_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(MFIError, match="--engine torch"):
        settle_engine(EngineChoice("openvino", "cuda"))
    with pytest.raises(MFIError, match="auto, openvino, torch"):
        settle_engine(EngineChoice("tensorrt"))


def test_an_engine_is_loaded_once_for_each_choice(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_LOADED", {})
    first = load_engine(bundle, EngineChoice(threads=1))
    assert load_engine(replace(bundle, name="copy"), EngineChoice(threads=1)) is first
    assert load_engine(bundle, EngineChoice(threads=2)) is not first
    assert isinstance(first, OpenVINOEngine)
    assert isinstance(load_engine(bundle, EngineChoice("torch")), TorchEngine)


def test_fast_is_bfloat16_where_the_processor_has_it(bundle: ModelBundle) -> None:
    for has, precision in ((True, "bfloat16"), (False, "float32")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engines, "_LOADED", {})
            patch.setattr(engines, "has_bfloat16", lambda has=has: has)
            engine = load_engine(bundle, EngineChoice(fast=True))
            assert engine.facts.precision == precision
            assert load_engine(bundle, EngineChoice()).facts.precision == "float32"


def test_importing_openvino_writes_nothing_to_home(tmp_path: Path) -> None:
    """Its package would write an identifier for usage statistics there."""
    code = "import bids_mfi.network.engine_openvino as e; e.has_bfloat16()"
    environment = os.environ | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not list(tmp_path.iterdir())


def test_facts_are_the_entries_of_a_sidecar(bundle: ModelBundle) -> None:
    entries = load_engine(bundle, EngineChoice()).facts.describe()
    assert json.loads(json.dumps(entries)) == entries
    assert list(entries) == ["Name", "Version", "Device", "Precision"]
    assert entries["Name"] == "openvino"


# -------------------------------------------------------------------------------- a run with --fast


def test_fast_results_are_others(bids_dir: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """They use no mirror image, and a run of the other kind does not take them for its own."""
    load = load_bundle(tiny_bundle)
    state = load_network(load, CPU).state_dict()
    bundle = write_bundle(replace(load, folder=tmp_path / "mirrored", mirrored=True), state, "")
    plans = [
        plan_run(
            RunOptions(bids_dir, tmp_path / "out", "participant", bundle=bundle.folder, fast=fast)
        )
        for fast in (False, True)
    ]
    assert [plan.bundle.mirrored for plan in plans] == [True, False]
    assert [plan.facts.mirrored for plan in plans] == [True, False]
    records = [identify_scan(plan.make_record(plan.pairs[0])) for plan in plans]
    assert records[0].fingerprint != records[1].fingerprint
    slow_again = replace(plans[1].make_record(plans[1].pairs[0]), fast=False)
    assert identify_scan(slow_again).fingerprint != records[1].fingerprint


def test_sidecars_state_what_computed(bids_dir: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    out_dir = tmp_path / "out"
    words = [str(bids_dir), str(out_dir), "participant", "--bundle", str(tiny_bundle)]
    assert main([*words, "--engine", "torch"]) == 0
    for path in out_dir.glob("sub-01/anat/*.json"):
        assert json.loads(path.read_text())["Engine"]["Name"] == "torch", path
    assert main([*words, "--engine", "openvino"]) == 0  # done already, whatever the engine
    found = json.loads(next(out_dir.glob("sub-01/anat/*_mfi.json")).read_text())
    assert found["Engine"]["Name"] == "torch"
    assert main([*words, "--overwrite"]) == 0
    found = json.loads(next(out_dir.glob("sub-01/anat/*_mfi.json")).read_text())
    assert found["Engine"]["Name"] == "openvino"
