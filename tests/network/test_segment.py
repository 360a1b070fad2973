"""From a scan to labels on its own grid; a network with random weights is enough for that."""

import itertools
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_drafts import draft
from numpy.typing import NDArray

from bids_mfi.errors import BundleError, MFIError
from bids_mfi.grid import Grid, reorient
from bids_mfi.muscles import MuscleTable
from bids_mfi.network import devices, loaded_networks, model_grid
from bids_mfi.network.body_box import Box
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import write_bundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.devices import choose_device
from bids_mfi.network.engine import Engine, EngineFacts
from bids_mfi.network.engine_torch import TorchEngine
from bids_mfi.network.engines import EngineChoice, load_engine
from bids_mfi.network.intensity import find_foreground
from bids_mfi.network.loaded_networks import cached_network
from bids_mfi.network.logits import segment_channels, segment_views, standardise_for
from bids_mfi.network.model_grid import labels_on_grid, pad_edges
from bids_mfi.network.segment import label_channels, resample_channels, segment_scan
from bids_mfi.network.views import LogitView, identity_weights
from bids_mfi.options import INTENSITIES

CPU = torch.device("cpu")
SHAPE = (44, 38, 14)
AXCODES = [
    codes
    for order in itertools.permutations(("RL", "AP", "SI"))
    for codes in itertools.product(*order)
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("bundle")
    return write_bundle(draft(folder), DenseVNet(normalization="instance").state_dict(), "")


def grid_of(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], tilt_degrees: float = 0
) -> Grid:
    """RAS, turned about the x axis by ``tilt_degrees``."""
    tilt = np.deg2rad(tilt_degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing_mm)
    affine[:3, 3] = (-31.0, -40.0, 12.0)
    return Grid.from_array(shape, affine)


def scan_of(shape: tuple[int, int, int] = SHAPE) -> NDArray[np.float64]:
    """In-phase and out-of-phase: smooth random tissue within an ellipse, asymmetric."""
    rng = np.random.default_rng(11)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    waves = [rng.normal(size=3) * 4 for _ in range(6)]
    tissue = sum(np.sin(a * x + b * y + c * z + a) for a, b, c in waves)
    inside = x**2 + y**2 < 0.8
    water, fat = (200 + 40 * tissue) * inside, (90 - 25 * tissue + 30 * x) * inside
    return np.stack([water + fat, np.abs(water - fat)])


def test_labels_use_many_classes_and_the_shape_of_the_scan(bundle: ModelBundle) -> None:
    labels = segment_scan(*scan_of(), grid_of(SHAPE, (1.4, 1.4, 3.0)), bundle)
    assert labels.dtype == np.int16
    assert labels.shape == SHAPE
    assert len(np.unique(labels)) >= 5


def test_storage_of_the_scan_does_not_matter(bundle: ModelBundle) -> None:
    """All 48 permutations and flips of oblique voxel axes: the same label at the same place."""
    grid = grid_of(SHAPE, (0.9, 1.1, 2.6), tilt_degrees=20)
    in_phase, out_phase = scan_of()
    expected = segment_scan(in_phase, out_phase, grid, bundle)
    assert len(AXCODES) == 48
    for axcodes in AXCODES:
        stored_in, stored_grid = reorient(in_phase, grid, axcodes)
        stored_out, _ = reorient(out_phase, grid, axcodes)
        labels = segment_scan(stored_in, stored_out, stored_grid, bundle)
        assert stored_grid.axcodes == axcodes
        assert labels.shape == stored_in.shape
        back, back_grid = reorient(labels, stored_grid, grid.axcodes)
        assert np.allclose(back_grid.matrix, grid.matrix)
        assert np.array_equal(back, expected), axcodes


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7, 3.0), (2.0, 1.0, 4.5), (1.4, 1.4, 3.0)])
@pytest.mark.parametrize("tilt_degrees", [0, 15])
def test_label_is_where_the_logits_are(
    bundle: ModelBundle, spacing_mm: tuple[float, float, float], tilt_degrees: float
) -> None:
    """A ball of logits around a point of the patient becomes a ball of labels around it."""
    grid = grid_of((60, 50, 16), spacing_mm, tilt_degrees)
    stored = reorient(np.zeros(grid.shape), grid, ("P", "I", "L"))[1]
    model_grid = resample_channels(*np.ones((2, *stored.shape)), stored, bundle)[1]
    centre = nib.affines.apply_affine(grid.matrix, (20, 30, 9))
    distance = np.linalg.norm(world_of(model_grid) - centre, axis=-1)
    logits = np.zeros((15, *model_grid.shape), dtype=np.float32)
    logits[9] = 9.0 - distance
    labels = labels_on_grid(*whole_view(logits), model_grid, stored)
    assert set(np.unique(labels)) == {0, 9}
    where = world_of(stored)[labels == 9]
    assert np.abs(where.mean(axis=0) - centre).max() < 0.5
    assert np.count_nonzero(labels) * stored.voxel_volume_ml == pytest.approx(3.05, rel=0.12)


def whole_view(logits: NDArray[np.float32]) -> tuple[Box, list[LogitView]]:
    """A view of all of the model grid."""
    x, y, z = (slice(0, size) for size in logits.shape[1:])
    return (x, y, z), [LogitView(logits, identity_weights(logits.shape[1:]))]


def world_of(grid: Grid) -> NDArray[np.float64]:
    indices = np.moveaxis(np.indices(grid.shape), 0, -1)
    return np.asarray(nib.affines.apply_affine(grid.matrix, indices))


def test_first_of_equal_logits_wins(bundle: ModelBundle) -> None:
    grid = grid_of((8, 8, 8), (1.4, 1.4, 3.0))
    logits = np.zeros((15, 8, 8, 8), dtype=np.float32)
    assert not labels_on_grid(*whole_view(logits), grid, grid).any()


def test_model_grid_has_the_spacing_and_orientation_of_the_bundle(bundle: ModelBundle) -> None:
    grid = grid_of((60, 50, 16), (0.7, 1.05, 4.0))
    stored, stored_grid = reorient(np.ones(grid.shape), grid, ("S", "L", "P"))
    channels, model_grid = resample_channels(stored, 2 * stored, stored_grid, bundle)
    assert channels.shape == (2, 30, 38, 21)
    assert channels.dtype == np.float32
    assert model_grid.axcodes == ("R", "A", "S")
    assert model_grid.spacing_mm == pytest.approx((1.4, 50 * 1.05 / 38, 16 * 4 / 21))
    assert np.allclose(channels[0], 1, atol=1e-5)
    assert np.allclose(channels[1], 2, atol=1e-5)


def test_number_of_threads_does_not_matter(bundle: ModelBundle) -> None:
    grid = grid_of((90, 70, 20), (0.7, 0.7, 3.0))
    before = torch.get_num_threads()
    logits = []
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            channels, _ = resample_channels(*scan_of(grid.shape), grid, bundle)
            engine = TorchEngine(cached_network(bundle, CPU))
            logits.append(segment_channels(channels, bundle, engine))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(logits[0], logits[2])
    assert np.array_equal(logits[0], logits[1])


@pytest.mark.parametrize("mirrored", [False, True])
def test_threads_that_prepare_volumes_change_nothing(bundle: ModelBundle, mirrored: bool) -> None:
    wanted = replace(bundle, mirrored=mirrored)
    grid = grid_of(SHAPE, (1.4, 1.4, 3.0))
    channels, _ = resample_channels(*scan_of(grid.shape), grid, wanted)
    engine = load_engine(wanted, EngineChoice("openvino"))
    foreground = find_foreground(channels[0])
    found = [segment_views(channels, foreground, wanted, engine, n) for n in (1, 2, 3)]
    assert len(found[0][1]) == 1 + mirrored
    for box, views in found[1:]:
        assert box == found[0][0]
        for view, first in zip(views, found[0][1], strict=True):
            assert view.logits.tobytes() == first.logits.tobytes()


def test_a_foreground_that_was_found_before_changes_nothing(bundle: ModelBundle) -> None:
    grid = grid_of(SHAPE, (1.4, 1.4, 3.0))
    channels, _ = resample_channels(*scan_of(grid.shape), grid, bundle)
    foreground = find_foreground(channels[0])
    half = foreground.copy()
    half[: SHAPE[0] // 2] = False
    for intensity in INTENSITIES:
        kind = replace(bundle, intensity=intensity)
        first, second = (standardise_for(channels, kind, known) for known in (None, foreground))
        assert first.tobytes() == second.tobytes()
        assert standardise_for(channels, kind, half).tobytes() != first.tobytes()


def test_signal_unit_does_not_matter(bundle: ModelBundle) -> None:
    grid = grid_of(SHAPE, (1.4, 1.4, 3.0))
    expected = segment_scan(*scan_of(), grid, bundle)
    found = segment_scan(*(0.01 * scan_of()), grid, bundle)
    assert (found != expected).mean() < 1e-3


# ------------------------------------------------------------------------------------- windows


class SumOfNeighbours(Engine):
    """Stands for a network that sees 2 voxels far: its logits are local sums of the images."""

    facts, stride = EngineFacts("sums", "0", "cpu"), (1, 1, 1)

    def __init__(self) -> None:
        self.kernel = torch.rand(15, 2, 5, 5, 5)
        self.sizes: set[tuple[int, ...]] = set()

    def coarse_logits(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        self.sizes.add(volume.shape[1:])
        images = torch.from_numpy(volume)[None]
        return torch.nn.functional.conv3d(images, self.kernel, padding=2)[0].numpy()


@pytest.mark.parametrize("shape", [(44, 38, 14), (16, 61, 30), (9, 10, 7)])
def test_windows_equal_the_whole_where_borders_are_wide_enough(
    bundle: ModelBundle, shape: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    network = SumOfNeighbours()
    windows = replace(bundle, inference="windows", window=(24, 16, 16), border=(2, 3, 2))
    channels = scan_of(shape).astype(np.float32)
    found = segment_channels(channels, windows, network)
    assert network.sizes == {(24, 16, 16)}
    padding = tuple((max(s, w) - s + 7) // 2 + 4 for s, w in zip(shape, (24, 16, 16), strict=True))
    whole = segment_channels(channels, replace(bundle, padding=padding), network)
    inside = tuple(slice(2, size - 2) for size in shape)
    both = [logits[(slice(None), *inside)] for logits in (found, whole)]
    assert np.allclose(*both, atol=1e-3)


@pytest.mark.parametrize("inference", ["whole_volume", "windows"])
@pytest.mark.parametrize("axcodes", [("R", "A", "S"), ("L", "P", "S"), ("S", "A", "R")])
def test_mirrored_logits_are_the_mean_of_both_views(
    bundle: ModelBundle, inference: str, axcodes: tuple[str, str, str]
) -> None:
    """Computed here from two plain passes, for any axis that runs from side to side."""
    plain = replace(bundle, inference=inference, window=(24, 16, 16), axcodes=axcodes)
    channels = np.random.default_rng(5).normal(50, 20, (2, 32, 24, 16)).astype(np.float32)
    network = TorchEngine(cached_network(bundle, CPU))
    across = 1 + [code in "LR" for code in axcodes].index(True)
    one = segment_channels(channels, plain, network)
    two = np.flip(segment_channels(np.flip(channels, across).copy(), plain, network), across)
    sides = [0, *(index + (1 if index % 2 else -1) for index in range(1, 15))]  # right, left, ...
    found = segment_channels(channels, replace(plain, mirrored=True), network)
    np.testing.assert_allclose(found, (one + two[sides]) / 2, rtol=0, atol=1e-5)
    assert np.abs(found - one).max() > 0.01


def test_numbers_that_no_muscle_has_are_not_exchanged(bundle: ModelBundle) -> None:
    """Of a table that names labels 3 and 4 only: these two change sides, the others do not."""
    gaps = replace(bundle, table=MuscleTable(bundle.table.muscles[2:4]))
    channels = np.random.default_rng(6).normal(50, 20, (2, 24, 16, 16)).astype(np.float32)
    torch.manual_seed(8)
    network = TorchEngine(DenseVNet(2, gaps.out_channels, "instance").eval())
    one = segment_channels(channels, gaps, network)
    two = np.flip(segment_channels(np.flip(channels, 1).copy(), gaps, network), 1)
    found = segment_channels(channels, replace(gaps, mirrored=True), network)
    np.testing.assert_allclose(found, (one + two[[0, 1, 2, 4, 3]]) / 2, rtol=0, atol=1e-5)


@pytest.mark.parametrize("voxels", [41, 42, 43, 44])
@pytest.mark.parametrize("inference", ["whole_volume", "windows"])
def test_a_mirrored_scan_gets_mirrored_labels(
    bundle: ModelBundle, inference: str, voxels: int
) -> None:
    """Exactly, where mirror images count, also where there is no middle between two voxels.

    The random network itself sees left and right differently.
    """
    bundle = replace(bundle, inference=inference, window=(32, 32, 16))
    both = replace(bundle, mirrored=True)
    shape = (voxels, *SHAPE[1:])
    grid = grid_of(shape, bundle.spacing_mm)
    scan = scan_of(shape)
    other = np.flip(scan, 1).copy()
    table = bundle.table
    swap = np.array([0, *(table.mirrored_indices()[i] for i in range(1, 15))])
    same = {}
    for name, model in (("plain", bundle), ("both", both)):
        first = segment_scan(*scan, grid, model)
        second = segment_scan(*other, grid, model)
        same[name] = float(np.mean(first == swap[np.flip(second, 0)]))
    assert same["both"] == 1.0
    assert same["plain"] < 0.9


def test_padding_repeats_the_edge_on_both_sides() -> None:
    volume = np.arange(2 * 3 * 3 * 3, dtype=np.float32).reshape(2, 3, 3, 3)
    padded, inside = pad_edges(volume, (8, 8, 4))
    assert padded.shape == (2, 8, 8, 4)
    assert np.array_equal(padded[(slice(None), *inside)], volume)
    assert np.array_equal(padded[:, 0, 0, 0], volume[:, 0, 0, 0])
    assert np.array_equal(padded[:, -1, -1, -1], volume[:, -1, -1, -1])


# ------------------------------------------------------------------------- devices and the cache


def test_cuda_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MFIError, match="--device cpu"):
        choose_device("cuda")
    for driver in (False, True):
        monkeypatch.setattr(devices, "has_driver", lambda driver=driver: driver)
        assert choose_device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"
    assert choose_device("cpu") == "cpu"


def test_cuda_is_asked_for_where_there_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver, ``auto`` means the CPU; a request for CUDA is PyTorch's to answer."""
    monkeypatch.setattr(devices, "has_driver", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cpu"
    assert choose_device("cuda") == "cuda"


def test_unknown_device_is_an_error() -> None:
    with pytest.raises(MFIError, match="auto, cpu, cuda"):
        choose_device("gpu")


def test_network_is_loaded_once(
    bundle: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_networks, "_LOADED", {})
    first = cached_network(bundle, CPU)
    assert cached_network(replace(bundle, name="copy"), CPU) is first
    state = DenseVNet(normalization="instance").state_dict()
    other = write_bundle(replace(bundle, folder=tmp_path), state, "")
    assert cached_network(other, CPU) is not first


@pytest.mark.parametrize("inference", ["whole_volume", "windows", "niftynet"])
def test_a_network_that_overflows_is_an_error(bundle: ModelBundle, inference: str) -> None:
    """Weights may all be finite, and what they compute not."""
    network = DenseVNet(normalization="instance").eval()
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(1e30)
    wanted = replace(bundle, inference=inference, window=(16, 16, 16))
    if inference == "niftynet":
        wanted = replace(wanted, landmarks=(tuple(map(float, range(13))),) * 2)
    channels = np.random.default_rng(0).uniform(0, 100, (2, 16, 16, 16)).astype(np.float32)
    with pytest.raises(BundleError, match="not finite for this scan"):
        label_channels(channels, wanted, TorchEngine(network))


def test_scan_too_large_for_the_model_is_an_error(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_grid, "MAX_MODEL_VOXELS", 1000)
    with pytest.raises(BundleError, match=r"covers 23408 voxels .* Crop the scan"):
        resample_channels(*scan_of(), grid_of(SHAPE, (1.4, 1.4, 3.0)), bundle)
