"""A small dataset and a small bundle with random weights, for tests of everything around them."""

import hashlib
import json
import os
from pathlib import Path

# Before numpy and torch are imported, which read it once. Workers that each take all cores get in
# each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from bids_mfi.grid import Grid
from bids_mfi.images import encode_image
from bids_mfi.participant import plugins

LARGE = Path(__file__).parents[2] / "shared" / "niftynet"
SHAPE = (32, 28, 12)
SPACING_MM = (4.0, 4.0, 6.0)


def pytest_collection_modifyitems(config, items):
    """Files with slow tests first: a long one at the end would leave the other workers idle.

    Tests marked ``large`` are left out where their reference is not.
    """
    if not LARGE.is_dir():
        large = [item for item in items if item.get_closest_marker("large")]
        config.hook.pytest_deselected(items=large)
        items[:] = [item for item in items if item not in large]
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


needs_no_worker = plugins.needs_no_worker
needs_second_process = plugins.needs_second_process


@pytest.fixture(scope="session", autouse=True)
def _steps_in_this_process():
    """Start no other process by default, also in fixtures of a module; most tests need none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "needs_no_worker", lambda scans: True)
        patch.setattr(plugins, "needs_second_process", lambda processors: False)
        yield


@pytest.fixture(autouse=True)
def _default_plugin_of_marked_tests(request, monkeypatch):
    """Let tests marked ``multiproc`` choose the plugin as a run does."""
    if request.node.get_closest_marker("multiproc"):
        monkeypatch.setattr(plugins, "needs_no_worker", needs_no_worker)
        monkeypatch.setattr(plugins, "needs_second_process", needs_second_process)


def make_affine(spacing_mm=SPACING_MM, axcodes="RAS"):
    """An affine whose voxel axes point to ``axcodes``."""
    affine = np.eye(4)
    for column, (code, size) in enumerate(zip(axcodes, spacing_mm, strict=True)):
        row = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[code]
        affine[column, column] = 0.0
        affine[row, column] = size if code in "RAS" else -size
    return affine


def make_pair_arrays(seed=0, shape=SHAPE):
    """A blob of water with a shell of fat: in-phase and out-of-phase magnitudes, int16 range."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    water = np.where(radius < 0.7, 800.0, 20.0) * (radius < 0.9)
    fat = np.where(radius < 0.7, 120.0, 600.0) * (radius < 0.9)
    noise = rng.normal(0, 5, (2, *shape))
    return np.abs(water + fat + noise[0]), np.abs(water - fat + noise[1])


def write_nifti(path: Path, volume, affine=None, dtype=np.int16):
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = Grid.from_array(volume.shape, make_affine() if affine is None else affine)
    path.write_bytes(encode_image(np.rint(volume).astype(dtype), grid))
    return path


def write_description(bids_dir: Path):
    bids_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"Name": "test", "BIDSVersion": "1.11.1", "DatasetType": "raw"})
    (bids_dir / "dataset_description.json").write_text(text)
    (bids_dir / "README.md").write_text("A dataset made by a test.\n")


def write_scan(bids_dir: Path, participant="01", session=None, seed=0, affine=None):
    """One pair named by echo, with sidecars as the paper's protocol has them."""
    folder = bids_dir / f"sub-{participant}"
    stem = f"sub-{participant}"
    if session:
        folder, stem = folder / f"ses-{session}", f"{stem}_ses-{session}"
    paths = []
    for echo, volume in enumerate(make_pair_arrays(seed), start=1):
        path = folder / "anat" / f"{stem}_acq-dixon_echo-{echo}_MEGRE.nii.gz"
        write_nifti(path, volume, affine)
        sidecar = {
            "EchoTime": (0.00246, 0.00369)[echo - 1],
            "EchoNumber": echo,
            "MagneticFieldStrength": 3,
            "ImageType": ["ORIGINAL", "PRIMARY", "M", ("IN_PHASE", "OUT_PHASE")[echo - 1]],
        }
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
        paths.append(path)
    return tuple(paths)


@pytest.fixture
def bids_dir(tmp_path):
    """Two participants with one scan each; the folder's name is an awkward one."""
    folder = tmp_path / "my data (2026) é"
    write_description(folder)
    write_scan(folder, "01", seed=1)
    write_scan(folder, "02", seed=2)
    return folder


def write_tiny_bundle(folder: Path, vertebrae=()):
    """Write a bundle with random weights on a coarse grid: quick, and every muscle occurs."""
    import torch

    from bids_mfi.muscles import LONG_NAMES, paper_table
    from bids_mfi.network.bundle import ModelBundle
    from bids_mfi.network.bundle_files import write_bundle
    from bids_mfi.network.dense_vnet import DenseVNet
    from bids_mfi.network.intensity import PROBABILITIES_PERCENT

    torch.manual_seed(3)
    network = DenseVNet(out_channels=15 + len(vertebrae), normalization="instance")
    landmarks = tuple(float(value) for value in np.linspace(0, 100, len(PROBABILITIES_PERCENT)))
    bundle = ModelBundle(
        folder=folder,
        name="tiny",
        version="0",
        sha256="",
        spacing_mm=SPACING_MM,
        landmarks=(landmarks, landmarks),
        table=paper_table(dict.fromkeys(LONG_NAMES, "all")),
        description="Random weights, for tests.",
        licence="Apache-2.0",
        vertebrae=vertebrae,
    )
    write_bundle(bundle, network.state_dict(), "Apache-2.0\n")
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def vertebra_bundle(tmp_path_factory):
    """The same with classes of vertebrae, in no order that a spine has."""
    from bids_mfi.vertebrae import VERTEBRAE

    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bones", VERTEBRAE)


def write_quick_figures(water, fat_fraction_percent, labels, grid, table, vertebrae=None):
    """Take the place of ``draw_figures``: bytes that differ where a figure would."""
    told = hashlib.sha256(repr((grid, table, vertebrae and vertebrae[1])).encode())
    for volume in (water, fat_fraction_percent, labels, *(vertebrae or ())[:1]):
        told.update(np.ascontiguousarray(volume).tobytes())
    return {
        name: f"\x89PNG {name} {told.hexdigest()}".encode()
        for name in ("overview", "labels", "water", "fatfraction")
    }


@pytest.fixture(scope="module")
def quick_figures():
    """Draw no figures of scans, which take most of the time of a tiny one, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_mfi.participant.interfaces.draw_figures", write_quick_figures)
        yield


@pytest.fixture
def drawn_figures(monkeypatch):
    """Draw the figures in a file that uses ``quick_figures``."""
    from bids_mfi.participant import interfaces
    from bids_mfi.report.figures import draw_figures

    monkeypatch.setattr(interfaces, "draw_figures", draw_figures)


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out the figures of the group level, which take most of its time on few participants."""
    monkeypatch.setattr("bids_mfi.group.run.draw_group_figures", lambda cohort, tables: ())
