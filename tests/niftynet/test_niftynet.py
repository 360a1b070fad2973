"""NiftyNet's inference, step for step, against what its own code gave (tests/data/niftynet)."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import LARGE, write_description
from niftynet_models import DATA, SMALL, write_model
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.cli.app import main
from bids_mfi.cli.verbs import main_verbs
from bids_mfi.errors import BundleError, PairError
from bids_mfi.grid import Grid, reorient
from bids_mfi.images import encode_image, read_image, read_labels, read_zooms_mm
from bids_mfi.network import model_grid
from bids_mfi.network import niftynet_pipeline as pipeline
from bids_mfi.network.bundle import METADATA, ModelBundle
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.engine import Engine, EngineFacts
from bids_mfi.network.engine_torch import TorchEngine
from bids_mfi.network.engines import EngineChoice, load_engine
from bids_mfi.network.inference import choose_inference
from bids_mfi.network.logits import label_part, stride_weights
from bids_mfi.network.segment import resample_channels, segment_scan, segment_to_grid
from bids_mfi.network.views import LogitView, label_views
from bids_mfi.niftynet.convert import convert

pytestmark = pytest.mark.usefixtures("quick_figures")
CUTOFF = (0.001, 1.0)
SPACING_MM = (0.7, 0.7, 3.0)
THREE_WINDOWS = {"window": (64, 64, 32), "border": (8, 6, 8), "padding": (8, 6, 8)}
STAGE_TOLERANCE = 1e-5
VOXELS_TOLERANCE = 1e-4
AXCODES = [
    codes
    for order in itertools.permutations(("RL", "AP", "SI"))
    for codes in itertools.product(*order)
]


def landmarks() -> tuple[tuple[float, ...], ...]:
    rows = np.load(DATA / "niftynet" / "landmarks.npy")
    return tuple(tuple(float(value) for value in row) for row in rows)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp("niftynet")
    return convert(write_model(folder / "model", **SMALL), folder / "bundle")


@pytest.fixture(scope="module")
def scan() -> tuple[NDArray[np.float64], NDArray[np.float64], Grid]:
    in_phase, grid = read_image(DATA / "niftynet" / "small_ip.nii.gz")
    return in_phase, read_image(DATA / "niftynet" / "small_op.nii.gz")[0], grid


@pytest.fixture(scope="module")
def expected() -> NDArray[np.int16]:
    return read_labels(DATA / "niftynet" / "small_seg_expected.nii.gz")[0]


# ---------------------------------------------------------------------------- stages before labels


def stages_of(folder: Path, names: tuple[str, str], bundle: ModelBundle) -> dict[str, np.ndarray]:
    """All stages for two images, channels last."""
    in_phase, grid = read_image(folder / names[0])
    out_phase, _ = read_image(folder / names[1])
    zooms = (read_zooms_mm(folder / names[0]), read_zooms_mm(folder / names[1]))
    resampled, _ = resample_channels(in_phase, out_phase, grid, bundle, zooms)
    widths = pipeline.padding_widths(resampled.shape[1:], (90, 60, 8), (0, 0, 0))
    padded = np.stack([pipeline.pad_minimum(volume, widths) for volume in resampled])
    mask = pipeline.find_filled_foreground(padded)
    hist = [
        pipeline.map_to_percentiles(volume, mask, row, CUTOFF)
        for volume, row in zip(padded, landmarks(), strict=True)
    ]
    whitened = pipeline.standardise_as_niftynet(padded, landmarks(), CUTOFF)
    stages = {"resampled": resampled, "padded": padded, "hist": np.stack(hist)}
    stages["whitened"] = whitened
    return {name: np.moveaxis(stage, 0, -1) for name, stage in stages.items()} | {"mask": mask}


def test_every_stage_equals_the_reference(bundle: ModelBundle) -> None:
    found = stages_of(DATA / "niftynet", ("stages_ip.nii.gz", "stages_op.nii.gz"), bundle)
    with np.load(DATA / "niftynet" / "stages.npz") as stages:
        shape = tuple(stages["mask_shape"])
        mask = np.unpackbits(stages["mask"], count=int(np.prod(shape))).reshape(shape)
        assert found["padded"].shape == (*shape, 2) == (317, 223, 33, 2)
        assert np.array_equal(found["mask"], mask.astype(bool))
        for name in ("resampled", "padded", "hist", "whitened"):
            thinned = found[name][::7, ::7, ::3]
            assert thinned.shape == stages[name].shape, name
            assert np.abs(thinned - stages[name]).max() < STAGE_TOLERANCE, name


@pytest.mark.large
def test_every_voxel_of_every_stage_equals_the_reference(bundle: ModelBundle) -> None:
    found = stages_of(LARGE / "preprocessing", ("ip.nii.gz", "op.nii.gz"), bundle)
    with np.load(LARGE / "preprocessing" / "stages.npz") as stages:
        for name, stage in found.items():
            assert stage.shape == stages[name].shape
            if name == "mask":
                assert np.array_equal(stage, stages[name])
            else:
                assert np.abs(stage - stages[name]).max() < STAGE_TOLERANCE, name


def test_last_plane_that_scipy_loses_is_lost_here_too() -> None:
    """For some sizes the last sample falls beyond the image by rounding and is 0."""
    lost = []
    for size in range(20, 60):
        volume = np.ones((size, 4, 4), np.float32)
        found = pipeline.resample_cubic(volume, (1.0, 0.7, 3.0), SPACING_MM)
        assert np.allclose(found[:-1], 1, atol=1e-5)
        lost.append(bool((found[-1] == 0).all()))
    assert 0 < sum(lost) < 6


def test_threads_change_no_voxel_of_the_standardised_images() -> None:
    channels = np.random.default_rng(3).gamma(2, 50, (2, 30, 20, 12)).astype(np.float32)
    one, two = (pipeline.standardise_as_niftynet(channels, landmarks(), CUTOFF, n) for n in (1, 2))
    assert np.array_equal(one, two)


def test_scan_with_the_very_spacing_of_the_model_is_not_resampled() -> None:
    """Where all three are equal to the last bit; else at least the spline is fitted."""
    volume = np.random.default_rng(0).normal(size=(42, 11, 9)).astype(np.float32) * 1000
    same = pipeline.resample_cubic(volume, (1.5, 0.5, 3.0), (1.5, 0.5, 3.0))
    assert np.array_equal(same, volume)
    nearly = pipeline.resample_cubic(volume, (0.7, 0.7, 3.0), SPACING_MM)
    assert nearly.shape == volume.shape
    assert np.abs(nearly - volume).max() < 1e-2


@pytest.mark.parametrize("size", [4, 6, 9])
def test_holes_are_filled_as_scipy_fills_them(size: int) -> None:
    rng = np.random.default_rng(size)
    filled = 0
    for share in (0.5, 0.6, 0.7, 0.8):
        mask = rng.random((size, size + 1, size + 2)) < share
        wanted = ndimage.binary_fill_holes(mask, pipeline.CROSS)
        assert np.array_equal(pipeline.fill_holes(mask), wanted)
        filled += np.count_nonzero(wanted & ~mask)
    assert filled > 0
    assert pipeline.fill_holes(np.ones((2, 2, 2), bool)).all()
    assert not pipeline.fill_holes(np.zeros((2, 2, 2), bool)).any()


def test_padding_takes_the_minimum_axis_by_axis() -> None:
    volume = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    padded = pipeline.pad_minimum(volume, ((1, 1), (1, 0), (0, 2)))
    assert padded.shape == (4, 3, 4)
    assert padded[0, 1, :2].tolist() == [0, 1]
    assert padded[1, 0, :2].tolist() == [0, 1]
    assert padded[2, 2].tolist() == [6, 7, 6, 6]


def test_landmarks_at_25_and_75_percent_are_not_used() -> None:
    rng = np.random.default_rng(0)
    volume = rng.gamma(2, 50, (20, 20, 10)).astype(np.float32)
    foreground = volume > 10
    row = list(landmarks()[0])
    wanted = pipeline.map_to_percentiles(volume, foreground, tuple(row), CUTOFF)
    row[3], row[9] = -50.0, 50.0
    assert np.array_equal(
        pipeline.map_to_percentiles(volume, foreground, tuple(row), CUTOFF), wanted
    )
    row[4] += 1
    assert not np.array_equal(
        pipeline.map_to_percentiles(volume, foreground, tuple(row), CUTOFF), wanted
    )


def test_coinciding_percentiles_are_no_error() -> None:
    volume = np.zeros((10, 10, 10), np.float32)
    volume[:3] = 5
    found = pipeline.map_to_percentiles(volume, np.ones(volume.shape, bool), landmarks()[0], CUTOFF)
    assert np.isfinite(found).all()
    empty = np.zeros_like(volume)
    assert pipeline.map_to_percentiles(empty, empty == 0, landmarks()[0], CUTOFF) is empty


def test_images_without_common_tissue_are_an_error() -> None:
    channels = np.zeros((2, 12, 12, 12), np.float32)
    channels[0, :3], channels[1, -3:] = 1, 1
    with pytest.raises(PairError, match="No voxel is above 0 in both"):
        pipeline.standardise_as_niftynet(channels, landmarks(), CUTOFF)


# -------------------------------------------------------------------------------------- windows


def test_starts_step_and_end_with_the_axis() -> None:
    assert pipeline.window_starts(64, 64, 8) == [0]
    assert pipeline.window_starts(112, 64, 8) == [0, 48, 24]
    assert pipeline.window_starts(113, 64, 8) == [0, 48, 49]
    assert pipeline.window_starts(160, 64, 8) == [0, 48, 96]
    assert pipeline.window_starts(65, 64, 8) == [0, 1]  # the mean is one of them and adds nothing
    assert pipeline.window_starts(66, 64, 8) == [0, 2, 1]
    assert pipeline.window_starts(67, 64, 8) == [0, 3, 2]  # 1.5 goes to the even number
    assert pipeline.window_starts(69, 64, 8) == [0, 5, 2]


def test_windows_are_visited_along_z_first_then_x_then_y() -> None:
    plan = pipeline.plan_windows((34, 34, 34), (32,) * 3, (8,) * 3)
    corners = [tuple(part.start for part in window) for window in plan.windows]
    assert corners[:5] == [(0, 0, 0), (0, 0, 2), (0, 0, 1), (2, 0, 0), (2, 0, 2)]
    assert corners[9] == (0, 2, 0)
    assert len(corners) == 27
    assert plan.written[0] == (slice(8, 24),) * 3


class CountingNetwork:
    """Stands for a network whose labels depend on the images and on the place in the window."""

    def __init__(self, window: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(0)
        self.kernel = torch.randn(15, 2, 3, 3, 3, generator=generator)
        self.place = torch.randn(1, 15, *window, generator=generator)
        self.calls = 0

    def __call__(
        self, images: NDArray[np.float32], part: tuple[slice, slice, slice]
    ) -> NDArray[np.int16]:
        self.calls += 1
        seen = torch.from_numpy(np.ascontiguousarray(images))[None]
        sums = torch.nn.functional.conv3d(seen, self.kernel, padding=1)
        return np.asarray((sums + self.place)[0].argmax(dim=0), dtype=np.int16)[part]


@pytest.mark.parametrize(
    ("size", "window", "border", "padding", "expected_calls"),
    [
        ((20, 14, 12), (32, 24, 24), (8, 8, 8), (16, 12, 8), (27, 27)),
        ((31, 17, 9), (16, 16, 16), (4, 2, 6), (9, 20, 6), (90, 36)),
        ((20, 10, 8), (32, 24, 24), (4, 4, 4), (16, 12, 8), (9, 1)),
        ((30, 30, 30), (24, 24, 24), (8, 8, 8), (4, 4, 4), (27, 27)),  # border beyond the padding
        ((5, 4, 3), (24, 16, 16), (4, 4, 4), (2, 2, 2), (1, 1)),  # smaller than NiftyNet accepts
    ],
)
def test_windows_left_out_change_no_label(
    size: tuple[int, int, int],
    window: tuple[int, int, int],
    border: tuple[int, int, int],
    padding: tuple[int, int, int],
    expected_calls: tuple[int, int],
) -> None:
    widths = pipeline.padding_widths(size, padding, window)
    shape = tuple(n + before + after for n, (before, after) in zip(size, widths, strict=True))
    inside = tuple(slice(b, b + n) for n, (b, _) in zip(size, widths, strict=True))
    volume = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    found, calls = [], []
    plans = (
        pipeline.plan_windows(shape, window, border),
        pipeline.plan_visible(shape, inside, window, border),
    )
    for plan in plans:
        network = CountingNetwork(window)
        found.append(pipeline.segment_windows(volume, plan, network)[inside])
        calls.append(network.calls)
        assert network.calls == len(plan.windows)
    assert np.array_equal(*found)
    assert len(np.unique(found[0])) > 8
    assert tuple(calls) == expected_calls


def test_windows_wholly_overwritten_or_in_the_padding_are_left_out() -> None:
    """The published sizes on a scan of the paper: a third of the windows remains, 9 of 27."""
    shape = (452, 377, 56)
    inside = (slice(90, 362), slice(60, 317), slice(8, 48))
    sizes = ((360, 240, 32), (8, 8, 8))
    every = pipeline.plan_windows(shape, *sizes)
    kept = pipeline.plan_visible(shape, inside, *sizes)
    assert (len(every.windows), len(kept.windows)) == (27, 9)
    times = np.zeros(shape, dtype=np.int16)
    for box in kept.written:
        times[box] += 1
    assert (times[inside] == 1).all()
    assert times.sum() == times[inside].size


def test_border_is_cut_and_later_windows_win() -> None:
    plan = pipeline.plan_windows((34, 32, 32), (32,) * 3, (8,) * 3)
    calls = iter(range(1, 99))

    def network(images: NDArray[np.float32], part: tuple[slice, slice, slice]) -> NDArray[np.int16]:
        assert part == (slice(8, 24),) * 3
        return np.full((16, 16, 16), next(calls), dtype=np.int16)

    labels = pipeline.segment_windows(np.zeros((2, 34, 32, 32), np.float32), plan, network)
    assert len(plan.windows) == 3
    assert labels[:, 16, 16].tolist() == [0] * 8 + [1] + [3] * 16 + [2] + [0] * 8
    assert not labels[:, :8].any()
    assert not labels[:, :, 24:].any()


@pytest.mark.parametrize("normalization", ["batch", "instance"])
def test_part_of_a_window_has_the_labels_of_the_window(normalization: str) -> None:
    """Though what the part does not depend on is left out."""
    torch.manual_seed(3)
    network = DenseVNet(2, 15, normalization).eval()
    engine = TorchEngine(network)
    bundle = replace(tiny_bundle(), normalization=normalization)
    window = np.random.default_rng(7).normal(size=(2, 480, 16, 16)).astype(np.float32)
    window[:, 240:] += 5
    part = (slice(3, 60), slice(5, 16), slice(2, 9))
    coarse = engine.coarse_logits(window)
    view = LogitView(coarse, stride_weights(coarse.shape[1:], engine.stride))
    wanted = label_views([view], 1)[part]
    found = label_part(engine, window, part, bundle, 1)
    assert len(np.unique(wanted)) > 3
    assert np.mean(found != wanted) < VOXELS_TOLERANCE


# --------------------------------------------------------------------------------------- labels


def test_labels_equal_those_of_niftynet(
    bundle: ModelBundle,
    scan: tuple[NDArray[np.float64], NDArray[np.float64], Grid],
    expected: NDArray[np.int16],
) -> None:
    labels = segment_scan(*scan, bundle)
    assert labels.dtype == np.int16
    assert len(np.unique(expected)) > 8
    assert np.count_nonzero(labels != expected) <= VOXELS_TOLERANCE * expected.size


def write_dataset(bids_dir: Path, in_phase: Path, out_phase: Path) -> Path:
    write_description(bids_dir)
    folder = bids_dir / "sub-01" / "anat"
    folder.mkdir(parents=True)
    for number, source in enumerate((in_phase, out_phase), start=1):
        stem = f"sub-01_acq-dixon_echo-{number}_MEGRE"
        (folder / f"{stem}.nii.gz").write_bytes(source.read_bytes())
        image_type = ["ORIGINAL", "PRIMARY", "M", ("IN_PHASE", "OUT_PHASE")[number - 1]]
        sidecar = {"EchoTime": 0.00123 * (3 - number), "ImageType": image_type}
        sidecar["MagneticFieldStrength"] = 3
        (folder / f"{stem}.json").write_text(json.dumps(sidecar))
    return bids_dir


def run_app(model_dir: Path, home: Path, images: tuple[Path, Path]) -> Path:
    """Convert a model, run the participant level, return where its results are."""
    assert main_verbs(["convert", str(model_dir), str(home / "bundle")]) == 0
    bids_dir = write_dataset(home / "bids", *images)
    command = [str(bids_dir), str(home / "out"), "participant", "--bundle", str(home / "bundle")]
    assert main([*command, "--nprocs", "1"]) == 0
    return home / "out" / "sub-01" / "anat"


def test_the_whole_way_from_a_published_model_to_the_derivatives(
    tmp_path: Path, expected: NDArray[np.int16]
) -> None:
    model_dir = write_model(tmp_path / "model", **SMALL)
    images = (DATA / "niftynet" / "small_ip.nii.gz", DATA / "niftynet" / "small_op.nii.gz")
    results = run_app(model_dir, tmp_path, images)
    labels, grid = read_labels(next(results.glob("*_dseg.nii.gz")))
    assert np.count_nonzero(labels != expected) <= VOXELS_TOLERANCE * expected.size
    assert np.allclose(grid.matrix, read_image(images[0])[1].matrix)
    sidecar = json.loads(next(results.glob("*_mfi.json")).read_text())
    assert "small_scan" not in [flag["code"] for flag in sidecar["QCFlags"]]


@pytest.mark.slow
def test_the_published_sizes_from_a_published_model_to_the_derivatives(tmp_path: Path) -> None:
    model_dir = write_model(tmp_path / "model")
    images = (DATA / "niftynet" / "full_ip.nii.gz", DATA / "niftynet" / "full_op.nii.gz")
    results = run_app(model_dir, tmp_path, images)
    labels, _ = read_labels(next(results.glob("*_dseg.nii.gz")))
    wanted, _ = read_labels(DATA / "niftynet" / "full_seg_expected.nii.gz")
    assert np.count_nonzero(labels != wanted) <= VOXELS_TOLERANCE * wanted.size


def test_storage_of_the_scan_does_not_matter(
    bundle: ModelBundle,
    scan: tuple[NDArray[np.float64], NDArray[np.float64], Grid],
    expected: NDArray[np.int16],
) -> None:
    """All 48 permutations and flips of the voxel axes give the same label at the same place."""
    in_phase, out_phase, grid = scan
    engine = load_engine(bundle, EngineChoice())
    reference = resample_channels(*scan, bundle)[0]
    for axcodes in AXCODES:
        stored_in, stored_grid = reorient(in_phase, grid, axcodes)
        stored_out, _ = reorient(out_phase, grid, axcodes)
        channels, model_grid = resample_channels(stored_in, stored_out, stored_grid, bundle)
        assert np.array_equal(channels, reference), axcodes
        if axcodes in (("R", "A", "S"), ("L", "P", "S"), ("I", "R", "P"), ("A", "S", "L")):
            labels, _ = segment_to_grid(channels, model_grid, stored_grid, bundle, engine)
            assert labels.shape == stored_in.shape
            back, _ = reorient(labels, stored_grid, grid.axcodes)
            assert np.count_nonzero(back != expected) <= VOXELS_TOLERANCE * expected.size


def test_labels_go_to_their_place_on_a_grid_of_any_order() -> None:
    """A network that labels what is fat: left stays left, however the scan is stored."""
    grid = Grid((50, 40, 12), ((1.2, 0, 0, -30), (0, 0.9, 0, 5), (0, 0, 3.5, 7), (0, 0, 0, 1)))
    water = np.random.default_rng(4).uniform(50, 70, grid.shape)
    fat = water.copy()
    fat[8:14, 10:16, 3:6] = 400.0  # of low x: the subject's left
    bundle = replace(tiny_bundle(), **THREE_WINDOWS)
    for axcodes in AXCODES:
        stored, stored_grid = reorient(fat, grid, axcodes)
        beside, _ = reorient(water, grid, axcodes)
        channels, model_grid = resample_channels(stored, beside, stored_grid, bundle)
        labels, _ = segment_to_grid(channels, model_grid, stored_grid, bundle, Difference())
        where = np.argwhere(labels == 4).mean(axis=0)
        place = stored_grid.matrix @ np.append(where, 1)
        away_mm = place[:3] - (-30 + 10.5 * 1.2, 5 + 12.5 * 0.9, 7 + 4 * 3.5)
        assert (np.abs(away_mm) < (0.6, 0.45, 1.75)).all()  # half a voxel of the scan
        right, _ = reorient(labels, stored_grid, ("R", "A", "S"))
        assert right[:25].any()
        assert not right[25:].any()


class Difference(Engine):
    """Label 4 where the in-phase image is much brighter than the out-of-phase image."""

    facts, stride = EngineFacts("difference", "0", "cpu"), (1, 1, 1)

    def coarse_logits(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = np.zeros((15, *volume.shape[1:]), dtype=np.float32)
        logits[4] = volume[0] - volume[1] - 1.0
        return logits


def tiny_bundle() -> ModelBundle:
    """Of the kind, without weights; landmarks that keep the order of signal."""
    from bids_mfi.muscles import WEBER2021

    percentiles = (0.1, 10.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 90.0, 100.0)
    return ModelBundle(
        folder=Path(),
        name="tiny",
        version="0",
        sha256="",
        spacing_mm=SPACING_MM,
        landmarks=(percentiles, percentiles),
        landmark_percentiles=percentiles,
        table=WEBER2021,
        description="",
        licence="CC0-1.0",
        inference="niftynet",
        normalization="batch",
        **SMALL,
    )


# ---------------------------------------------------------------- voxel sizes of the headers


def save_with_zooms(path: Path, volume: NDArray[np.float64], zooms_mm: tuple[float, ...]) -> Path:
    """An image whose sform says 1 mm and whose header says ``zooms_mm``."""
    image = nib.Nifti1Image(volume.astype(np.float32), np.eye(4))
    image.set_sform(np.eye(4), code=1)
    image.set_qform(None, code=0)
    image.header["pixdim"][1:4] = zooms_mm
    nib.save(image, path)
    return path


def test_voxel_sizes_of_the_header_win_over_the_affine(
    tmp_path: Path, scan: tuple[NDArray[np.float64], NDArray[np.float64], Grid]
) -> None:
    bundle = tiny_bundle()
    path = save_with_zooms(tmp_path / "a.nii", scan[0], (1.4, 0.7, 6.0))
    volume, grid = read_image(path)
    assert grid.spacing_mm == (1.0, 1.0, 1.0)
    zooms = read_zooms_mm(path)
    assert zooms == tuple(float(np.float32(zoom)) for zoom in (1.4, 0.7, 6.0))
    channels, model_grid = resample_channels(volume, volume, grid, bundle, (zooms, zooms))
    assert channels.shape[1:] == model_grid.shape == (80, 36, 24)
    by_affine, _ = resample_channels(volume, volume, grid, bundle)
    assert by_affine.shape[1:] == (57, 51, 4)
    assert choose_inference(bundle).model_shape(grid, zooms) == (80, 36, 24)
    windows = choose_inference(replace(bundle, inference="windows"))
    assert windows.model_shape(grid, zooms) == (57, 51, 4)


def test_voxel_sizes_follow_their_axes() -> None:
    affine = ((0, 0, -1.0, 0), (1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 0, 1.0))
    grid = Grid((10, 20, 30), affine)  # voxel axes A, S, L
    shape = choose_inference(tiny_bundle()).model_shape(grid, (7.0, 3.0, 0.7))
    assert shape == (30, 100, 20)


def test_headers_that_disagree_are_an_error() -> None:
    volume = np.ones((20, 20, 8))
    grid = Grid.from_array(volume.shape, np.eye(4))
    with pytest.raises(PairError, match="1 x 1 x 1 mm and 1 x 1 x 2 mm, expected the same"):
        resample_channels(volume, volume, grid, tiny_bundle(), ((1, 1, 1), (1, 1, 2)))


@pytest.mark.parametrize("zoom", [0.0, float("nan"), 900.0])
def test_impossible_voxel_size_of_a_header_is_not_used(tmp_path: Path, zoom: float) -> None:
    path = save_with_zooms(tmp_path / "a.nii", np.ones((8, 8, 8)), (zoom, 1.0, 1.0))
    assert read_zooms_mm(path) == (1.0, 1.0, 1.0)


# --------------------------------------------------------------------------------- small scans


def test_small_scan_is_extended_and_flagged(
    bundle: ModelBundle,
    scan: tuple[NDArray[np.float64], NDArray[np.float64], Grid],
    tmp_path: Path,
) -> None:
    """Half the scan along z is less than a window without its padding."""
    in_phase, out_phase, grid = scan
    part = Grid.from_array((40, 36, 6), grid.matrix)
    shape = choose_inference(bundle).model_shape(part, grid.spacing_mm)
    assert shape[2] < choose_inference(bundle).least_shape[2]
    images = []
    for name, volume in (("ip", in_phase), ("op", out_phase)):
        images.append(tmp_path / f"{name}.nii.gz")
        images[-1].write_bytes(encode_image(volume[:, :, :6].astype(np.int16), part))
    model_dir = write_model(tmp_path / "model", **SMALL)
    results = run_app(model_dir, tmp_path, (images[0], images[1]))
    labels, _ = read_labels(next(results.glob("*_dseg.nii.gz")))
    assert labels.shape == part.shape
    assert len(np.unique(labels)) > 3
    sidecar = json.loads(next(results.glob("*_mfi.json")).read_text())
    flags = [flag for flag in sidecar["QCFlags"] if flag["code"] == "small_scan"]
    assert [flag["severity"] for flag in flags] == ["warning"]
    assert flags[0]["value"] == pytest.approx(100 * shape[2] / 8)
    assert "fewer than the" in (tmp_path / "out" / "sub-01.html").read_text()


def test_scan_of_the_least_size_is_padded_as_niftynet_does() -> None:
    assert pipeline.padding_widths((180, 120, 16), (90, 60, 8), (360, 240, 32)) == (
        (90, 90),
        (60, 60),
        (8, 8),
    )
    assert pipeline.padding_widths((179, 100, 16), (90, 60, 8), (360, 240, 32)) == (
        (90, 91),
        (70, 70),
        (8, 8),
    )


def test_scan_thinner_than_half_a_voxel_is_an_error() -> None:
    volume = np.ones((20, 20, 2))
    grid = Grid.from_array(volume.shape, np.diag([1.0, 1.0, 0.1, 1.0]))
    with pytest.raises(PairError, match="less than half a voxel"):
        resample_channels(volume, volume, grid, tiny_bundle())


def test_scan_too_large_for_the_model_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_grid, "MAX_MODEL_VOXELS", 1000)
    volume = np.ones((20, 20, 8))
    with pytest.raises(BundleError, match=r"covers .* voxels"):
        resample_channels(volume, volume, Grid.from_array(volume.shape, np.eye(4)), tiny_bundle())


# ---------------------------------------------------------------------------------- the bundle


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("landmark_percentiles", [2, 10, 25, 50, 75, 90, 98], "landmark_percentiles"),
        ("landmark_percentiles", [], "landmark_percentiles"),
        ("landmark_percentiles", [9.5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 100], "percent"),
        ("landmarks", {"in_phase": [0.0, 1.0], "out_phase": [0.0, 1.0]}, "expected 13"),
        ("window", [360, 240, 30], "multiples of 8"),
        ("border", [8, 8, 16], "border"),
    ],
)
def test_bundle_that_does_not_fit_is_refused(
    bundle: ModelBundle, tmp_path: Path, key: str, value: object, message: str
) -> None:
    import shutil

    copy = Path(shutil.copytree(bundle.folder, tmp_path / "copy"))
    document = json.loads((copy / METADATA).read_text())
    document["bids_mfi"][key] = value
    if key == "border":
        document["bids_mfi"]["window"] = [64, 48, 32]
    (copy / METADATA).write_text(json.dumps(document))
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)
