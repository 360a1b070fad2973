"""``python -m bids_mfi convert``: a published model becomes a bundle, a bad one leaves nothing."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LARGE
from niftynet_models import (
    DATA,
    PUBLISHED_FOLDER,
    SMALL,
    landmarks_text,
    reference_variables,
    settings_text,
    with_decoys,
    write_checkpoint,
    write_model,
)

from bids_mfi.cli.verbs import main_verbs
from bids_mfi.errors import BundleError, ConversionError, OutputError
from bids_mfi.muscles import WEBER2021
from bids_mfi.network.bundle import LICENSE, METADATA, ModelBundle
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.inference import choose_inference
from bids_mfi.network.loaded_networks import load_network
from bids_mfi.niftynet import convert as niftynet
from bids_mfi.niftynet.convert import convert
from bids_mfi.niftynet.settings import read_settings
from bids_mfi.niftynet.tensor_bundle import DATA_SUFFIX, INDEX_SUFFIX
from bids_mfi.niftynet.variables import variable_names
from bids_mfi.storage import write_atomically

TOLERANCE = 2e-4
KERNEL = "DenseVNet/dense_feature_stack_block_1/conv_bn_relu/conv_/w"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("published") / "Neck_Muscle_Segmentation")


@pytest.fixture
def model_dir(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "model"))


def weights_of(folder: Path, suffix: str) -> Path:
    return folder / PUBLISHED_FOLDER / "models" / f"model.ckpt-100000{suffix}"


# ---------------------------------------------------------------------------------- the network


def test_names_are_those_of_the_network() -> None:
    names, state = variable_names(), DenseVNet().state_dict()
    assert len(set(names.values())) == 161
    assert set(names) == {name for name in state if not name.endswith("num_batches_tracked")}


def test_names_are_those_of_the_specification() -> None:
    assert variable_names() == json.loads((DATA / "network" / "variables.json").read_text())


@pytest.mark.parametrize(("mode", "expected"), [(False, "logits_b"), (True, "logits_train_b")])
def test_logits_equal_the_reference(
    published: Path, tmp_path: Path, mode: bool, expected: str
) -> None:
    network = load_network(convert(published, tmp_path / "bundle"), torch.device("cpu"))
    with np.load(DATA / "network" / "forward.npz") as arrays, torch.no_grad():
        images = torch.from_numpy(np.moveaxis(arrays["input_b"], -1, 1).copy())
        logits = np.moveaxis(network.train(mode)(images).numpy(), 1, -1)
        found = logits[:, ::2] if mode else logits
        assert np.abs(found - arrays[expected]).max() < TOLERANCE


# ----------------------------------------------------------------------------------- the bundle


def test_bundle_says_all_that_the_files_said(published: Path, tmp_path: Path) -> None:
    bundle = convert(published, tmp_path / "new" / "bundle")
    assert load_bundle(bundle.folder) == bundle
    assert bundle.inference == "niftynet"
    assert (bundle.window, bundle.border) == ((360, 240, 32), (8, 8, 8))
    assert (bundle.padding, choose_inference(bundle).least_shape) == ((90, 60, 8), (180, 120, 16))
    assert (bundle.spacing_mm, bundle.axcodes) == ((0.7, 0.7, 3.0), ("R", "A", "S"))
    assert bundle.landmark_percentiles == (0.1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 100)
    rows = np.load(DATA / "niftynet" / "landmarks.npy")
    assert np.array_equal(np.array(bundle.landmarks, dtype=np.float32), rows)
    assert bundle.table == WEBER2021
    assert bundle.normalization == "batch"
    origin = dict(bundle.origin)
    assert set(origin) == {
        f"{name} sha256"
        for name in (
            "inference.ini",
            "standardisation_models.txt",
            f"model.ckpt-100000{INDEX_SUFFIX}",
            f"model.ckpt-100000{DATA_SUFFIX}",
        )
    }
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in origin.values())
    assert not list(bundle.folder.parent.glob(".*"))


def test_files_side_by_side_give_the_same_bundle(published: Path, tmp_path: Path) -> None:
    flat = convert(write_model(tmp_path / "flat", flat=True), tmp_path / "a")
    below = convert(published, tmp_path / "b")
    for path in below.folder.rglob("*"):
        if path.is_file():
            other = flat.folder / path.relative_to(below.folder)
            assert other.read_bytes() == path.read_bytes(), path


def test_window_border_and_padding_come_from_the_settings(tmp_path: Path) -> None:
    bundle = convert(write_model(tmp_path / "model", **SMALL), tmp_path / "bundle")
    assert (bundle.window, bundle.border, bundle.padding) == tuple(SMALL.values())
    assert choose_inference(bundle).least_shape == (32, 24, 8)


def test_optimiser_and_counters_may_be_absent(model_dir: Path, tmp_path: Path) -> None:
    full = convert(model_dir, tmp_path / "a")
    prefix = weights_of(model_dir, "").with_name("model.ckpt-100000")
    write_checkpoint(prefix, reference_variables())
    assert convert(model_dir, tmp_path / "b").sha256 == full.sha256


def test_known_index_is_the_model_of_the_paper(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    assert convert(model_dir, tmp_path / "unknown").licence == "NOASSERTION"
    digest = hashlib.sha256(weights_of(model_dir, INDEX_SUFFIX).read_bytes()).hexdigest()
    monkeypatch.setattr(niftynet, "WEBER2021_INDEX_SHA256", digest)
    (model_dir / "LICENSE").write_text("GNU GENERAL PUBLIC LICENSE\n")
    bundle = convert(model_dir, tmp_path / "known")
    assert (bundle.name, bundle.licence) == ("weber2021", "GPL-3.0-only")
    assert "not the published ones" not in bundle.description
    text = (bundle.folder / LICENSE).read_text()
    assert "Neck_Muscle_Segmentation" in text
    assert text.endswith("GNU GENERAL PUBLIC LICENSE\n")
    (model_dir / "inference.ini").write_text(settings_text(**SMALL))
    changed = convert(model_dir, tmp_path / "changed")
    assert changed.name == "weber2021"
    assert "settings are not the published ones" in changed.description


def test_checkpoint_is_that_of_the_settings_or_the_last(tmp_path: Path) -> None:
    variables = reference_variables()
    folder = write_model(tmp_path / "model", flat=True, iteration=200)
    later = {name: array + np.float32(1) for name, array in variables.items()}
    write_checkpoint(folder / "model.ckpt-3000", with_decoys(later))
    for wanted, expected in (("-1", "ckpt-3000"), ("200", "ckpt-200")):
        (folder / "inference.ini").write_text(settings_text(inference_iter=wanted))
        bundle = convert(folder, tmp_path / expected)
        assert bundle.version == expected
    first = load_network(bundle, torch.device("cpu"))
    assert first.final.bias.tolist() == variables["DenseVNet/conv/conv_/b"].tolist()
    (folder / "inference.ini").write_text(settings_text(inference_iter="7"))
    with pytest.raises(ConversionError, match=r"checkpoints \[200, 3000\], expected 7"):
        convert(folder, tmp_path / "none")


# ------------------------------------------------------------------------------------- refusals


def rewrite(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        variables = with_decoys(reference_variables())
        change(variables)
        write_checkpoint(weights_of(folder, "").with_name("model.ckpt-100000"), variables)

    return damage


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = next(folder.rglob(name))
        path.write_bytes(change(path.read_bytes()))

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: next(folder.rglob(name)).unlink()


def flip_in_kernel(content: bytes) -> bytes:
    """Flip a bit in the first kernel of the data; the first 60 bytes are the final bias."""
    changed = bytearray(content)
    changed[1000] ^= 4
    return bytes(changed)


def swap_with_other(folder: Path) -> None:
    other = {name: array * np.float32(2) for name, array in reference_variables().items()}
    prefix = write_checkpoint(folder / "other" / "model.ckpt-100000", with_decoys(other))
    shutil.move(prefix.with_name(prefix.name + DATA_SUFFIX), weights_of(folder, DATA_SUFFIX))
    shutil.rmtree(folder / "other")


def turned(variables: dict[str, np.ndarray]) -> None:
    variables[KERNEL] = variables[KERNEL].transpose(4, 3, 0, 1, 2)


BAD = {
    "missing variable": (rewrite(lambda v: v.pop(KERNEL)), f"{KERNEL} is missing"),
    "surplus variable": (
        rewrite(lambda v: v.update({"DenseVNet/prior/w": np.zeros((3, 3), np.float32)})),
        "DenseVNet/prior/w is unknown",
    ),
    "surplus slot": (
        rewrite(lambda v: v.update({"Other/w/Adam": np.zeros(3, np.float32)})),
        "Other/w/Adam is unknown",
    ),
    "surplus counter": (
        rewrite(lambda v: v.update({"DenseVNet/foo/moving_mean/biased": np.zeros(3, np.float32)})),
        "DenseVNet/foo/moving_mean/biased is unknown",
    ),
    "surplus of the optimiser": (
        rewrite(lambda v: v.update({"ApplyGradients/other/w": np.zeros(3, np.float32)})),
        "ApplyGradients/other/w is unknown",
    ),
    "misshapen kernel": (rewrite(turned), rf"{KERNEL} has the shape \(24, 104, 3, 3, 3\)"),
    "misshapen vector": (
        rewrite(lambda v: v.update({"DenseVNet/conv/conv_/b": np.zeros(14, np.float32)})),
        r"DenseVNet/conv/conv_/b has the shape \(14,\), expected \(15,\)",
    ),
    "not finite": (
        rewrite(lambda v: v["DenseVNet/conv/conv_/b"].fill(np.nan)),
        "DenseVNet/conv/conv_/b holds values that are not finite",
    ),
    "failed CRC": (edit(f"*{DATA_SUFFIX}", flip_in_kernel), "DenseVNet/batch_norm|conv.* CRC-32C"),
    "another model's data": (swap_with_other, "CRC-32C is not that of"),
    "truncated data": (edit(f"*{DATA_SUFFIX}", lambda c: c[:-4]), "bytes, expected"),
    "empty data": (edit(f"*{DATA_SUFFIX}", lambda c: b""), "has 0 bytes, expected"),
    "pointer to data": (edit(f"*{DATA_SUFFIX}", lambda c: b"version https://git-lfs"), "expected"),
    "truncated index": (edit("*.index", lambda c: c[:-100]), r"index: is truncated"),
    "empty index": (edit("*.index", lambda c: b""), r"index: is truncated"),
    "index of something else": (edit("*.index", lambda c: b"x" * 5000), "is truncated, damaged"),
    "missing index": (remove("*.index"), "index: cannot be read"),
    "missing data": (remove(f"*{DATA_SUFFIX}"), "data-00000-of-00001: cannot be read"),
    "no checkpoint": (lambda f: shutil.rmtree(f / PUBLISHED_FOLDER / "models"), "no model.ckpt-N"),
    "no settings": (remove("inference.ini"), r"inference\.ini: no such file"),
    "no landmarks": (remove("standardisation_models.txt"), "standardisation_models.txt: no such"),
    "settings of no kind": (edit("inference.ini", lambda c: b"\0\1"), "cannot be read as the sett"),
    "settings not text": (edit("inference.ini", lambda c: b"\xff\xfe\xff"), r"inference\.ini: "),
    "twelve landmarks": (
        edit("standardisation_models.txt", lambda c: c.replace(b" 100.0\n", b"\n", 1)),
        "IP has 12 landmarks",
    ),
    "one image": (
        edit("standardisation_models.txt", lambda c: c.replace(b"OP ", b"T2 ")),
        "OP has 0 landmarks",
    ),
    "landmarks not text": (edit("standardisation_models.txt", lambda c: b"IP x"), "not a file of"),
    "renamed labels": (
        edit("standardisation_models.txt", lambda c: c.replace(b"13 14", b"14 13")),
        "renames labels",
    ),
    "empty folder": (lambda f: shutil.rmtree(f) or f.mkdir(), "no such file"),
    "no folder": (shutil.rmtree, "no such folder"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_model_ends_with_4_and_one_line_and_leaves_nothing(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    damage, message = BAD[kind]
    damage(model_dir)
    home = tmp_path / "home"
    home.mkdir()
    assert main_verbs(["convert", str(model_dir), str(home / "new" / "bundle")]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("bids_mfi: error: ")
    assert re.search(message, captured.err), captured.err
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "unet"}, "name is unet, expected dense_vnet"),
        ({"whitening": "False"}, "whitening is False"),
        ({"norm_type": "quartile"}, "norm_type is quartile"),
        ({"foreground_type": "otsu_plus"}, "foreground_type"),
        ({"multimod_foreground_type": "or"}, "multimod_foreground_type"),
        ({"keep_prob": "0.5"}, "keep_prob is 0.5"),
        ({"window_sampling": "resize"}, "window_sampling is resize"),
        ({"spatial_window_size": "(36000, 24000, 320)"}, "at most 30000000 voxels"),
        ({"volume_padding_mode": "constant"}, "volume_padding_mode"),
        ({"volume_padding_to_size": "(400, 400, 40)"}, "volume_padding_to_size"),
        ({"volume_padding_size": "(90, 60)"}, "volume_padding_size is .* three numbers"),
        ({"volume_padding_size": "(90, 60, -8)"}, "negative padding"),
        ({"output_interp_order": "1"}, "output_interp_order is 1"),
        ({"interp_order": "1"}, "interp_order is 1"),
        ({"num_classes": "14"}, "num_classes is 14"),
        ({"image": "OP,IP"}, r"image is \('OP', 'IP'\)"),
        ({"output_prob": "yes"}, "output_prob is yes"),
        ({"spatial_window_size": "(360, 240, 30)"}, "spatial_window_size .* multiples of 8"),
        ({"border": "(8, 8, 16)"}, "border is .* half of the window"),
        ({"pixdim": "(0.7, 0.7, 0)"}, "positive voxel sizes"),
        ({"pixdim": ""}, "pixdim is missing"),
        ({"axcodes": "(R, L, S)"}, "axcodes"),
        ({"cutoff": "0.01"}, "cutoff is 0.01, expected 2 numbers"),
        ({"inference_iter": "last"}, "last"),
    ],
)
def test_settings_that_would_change_labels_are_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    path = tmp_path / "inference.ini"
    path.write_text(settings_text(**change))
    with pytest.raises(ConversionError, match=rf"inference\.ini: .*{message}") as raised:
        read_settings(path)
    assert "\n" not in str(raised.value)


def test_a_model_outside_the_folder_is_never_read(
    published: Path, model_dir: Path, tmp_path: Path
) -> None:
    """The settings' model_dir is often edited; the folder that was named decides."""
    other = write_model(tmp_path / "other", flat=True)
    changed = {name: array + np.float32(1) for name, array in reference_variables().items()}
    write_checkpoint(other / "model.ckpt-100000", with_decoys(changed))
    path = model_dir / "inference.ini"
    own = convert(published, tmp_path / "own")
    for named in (other, Path("..") / "other"):
        path.write_text(settings_text(model_dir=str(named)))
        found = convert(model_dir, tmp_path / f"from {named.name} {len(str(named))}")
        assert found.sha256 == own.sha256


def test_a_byte_order_mark_and_other_alphabets_in_comments_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "inference.ini"
    path.write_bytes(b"\xef\xbb\xbf# Kraft-Messger\xe4t\n" + settings_text().encode())
    assert read_settings(path).window == (360, 240, 32)


def test_an_unconverted_folder_names_the_remedy(published: Path) -> None:
    with pytest.raises(BundleError, match="bids_mfi convert"):
        load_bundle(published)


def test_settings_that_differ_between_the_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "inference.ini"
    path.write_text(settings_text().replace("(0.7, 0.7, 3)", "(0.7, 0.7, 2)", 1))
    with pytest.raises(ConversionError, match=r"pixdim is .*\[IP\] and .*\[OP\], expected one"):
        read_settings(path)


def test_settings_written_in_another_way_are_the_same(tmp_path: Path) -> None:
    plain, other = tmp_path / "a.ini", tmp_path / "b.ini"
    plain.write_text(settings_text())
    text = settings_text(
        spatial_window_size="360,240,32", whitening="yes", border="8", cutoff="0.001,1"
    )
    found = read_settings(plain)
    assert found.window == (360, 240, 32)
    assert (found.cutoff, found.iteration) == ((0.001, 1.0), 100000)
    other.write_text(text)
    assert read_settings(other) == found
    windows = settings_text().replace("[INFERENCE]", "[INFERENCE]\nspatial_window_size=(64,48,32)")
    other.write_text(windows)
    assert read_settings(other).window == (64, 48, 32)


@pytest.mark.large
def test_settings_and_landmarks_that_the_authors_published() -> None:
    found = read_settings(LARGE / "author_model" / "inference.ini")
    assert found.window == niftynet.PUBLISHED.window
    assert (found.padding, found.cutoff) == (niftynet.PUBLISHED.padding, niftynet.PUBLISHED.cutoff)
    landmarks = niftynet.read_landmarks(LARGE / "author_model" / "standardisation_models.txt")
    assert landmarks[0][0] == float(np.float32(-8.881784e-16))
    assert landmarks[1][-2:] == (float(np.float32(11.059408)), 100.0)
    for line in landmarks_text().splitlines():
        assert len(line.split()) in (14, 16)


# ------------------------------------------------------------------------------ the bundle folder


def test_folder_that_is_not_empty_is_left_alone(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "mine.txt").write_text("keep")
    assert main_verbs(["convert", str(published), str(target)]) == 5
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in target.iterdir()] == ["mine.txt"]
    (target / "mine.txt").unlink()
    assert main_verbs(["convert", str(published), str(target)]) == 0
    assert capsys.readouterr().out.startswith("bundle niftynet-")
    assert (target / METADATA).exists()


def test_failure_while_writing_leaves_nothing(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(bundle: ModelBundle, *_: object) -> None:
        write_atomically(bundle.folder / METADATA, b"half")
        raise OutputError("the disk is full")

    monkeypatch.setattr(niftynet, "write_bundle", fail)
    assert main_verbs(["convert", str(published), str(tmp_path / "bundle")]) == 5
    assert not list(tmp_path.iterdir())


def test_file_in_place_of_the_folder_is_left_alone(published: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("keep")
    assert main_verbs(["convert", str(published), str(tmp_path / "bundle")]) == 5
    assert main_verbs(["convert", str(published), str(tmp_path / "bundle" / "below")]) == 5
    assert (tmp_path / "bundle").read_text() == "keep"
