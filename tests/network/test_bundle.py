"""Bundles: written, read back, and refused when anything does not fit."""

import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_drafts import draft
from monai_parser import read_by_monai

from bids_mfi.errors import BundleError, InputError, OutputError
from bids_mfi.muscles import WEBER2021, MuscleTable, paper_table
from bids_mfi.network.bundle import INFERENCE, LICENSE, METADATA, WEIGHTS, ModelBundle
from bids_mfi.network.bundle_files import load_bundle, write_bundle
from bids_mfi.network.bundle_values import check_texts
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.loaded_networks import load_network
from bids_mfi.network.state_dicts import read_state_dict

CPU = torch.device("cpu")
TWICE = MuscleTable(  # two labels of right trapezius, as at two levels
    (*paper_table().muscles, replace(paper_table().of("TR", "R"), index=15))
)


def random_state(**arguments: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    return DenseVNet(normalization="instance", **arguments).state_dict()


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return write_bundle(draft(tmp_path / "bundle"), random_state(), "free\n")


def edit_metadata(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / METADATA
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_bundle_reads_back_as_written(bundle: ModelBundle) -> None:
    assert replace(bundle, sha256="") == draft(bundle.folder)
    assert len(bundle.sha256) == 64
    assert load_bundle(bundle.folder) == bundle
    assert (bundle.folder / LICENSE).read_text() == "free\n"
    assert hash(bundle) == hash(load_bundle(bundle.folder))


def test_network_has_the_weights_that_were_written(bundle: ModelBundle) -> None:
    network = load_network(bundle, CPU)
    assert not network.training
    found, wanted = network.state_dict(), random_state()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_same_input_gives_the_same_bytes(bundle: ModelBundle, tmp_path: Path) -> None:
    again = write_bundle(draft(tmp_path / "again"), random_state(), "free\n")
    for name in (METADATA, INFERENCE, WEIGHTS, LICENSE):
        assert (bundle.folder / name).read_bytes() == (again.folder / name).read_bytes(), name
    files = {p.relative_to(again.folder) for p in again.folder.rglob("*") if p.is_file()}
    assert files == {METADATA, INFERENCE, WEIGHTS, LICENSE}


def test_monai_makes_the_network_from_the_bundle(bundle: ModelBundle) -> None:
    network, outputs = read_by_monai(bundle.folder)
    assert torch.equal(network.final.weight, random_state()["final.weight"])
    assert outputs["num_channels"] == bundle.out_channels == 15
    assert outputs["channel_def"]["12"] == bundle.table.of("TR", "L").name


def test_the_stride_of_the_network_is_kept(bundle: ModelBundle, tmp_path: Path) -> None:
    """MONAI, this package and the identity know it; the published one leaves all as it was."""
    finer = draft(tmp_path / "finer", stem_stride=(2, 2, 1))
    written = write_bundle(finer, random_state(), "free\n")
    assert load_bundle(written.folder).stem_stride == (2, 2, 1)
    assert load_network(written, CPU).stem_stride == (2, 2, 1)
    assert written.sha256 == bundle.sha256
    assert written.identity != bundle.identity
    assert read_by_monai(written.folder)[0].stem_stride == (2, 2, 1)
    assert "stem_stride" not in json.loads((bundle.folder / INFERENCE).read_text())["network_def"]


def test_the_widths_of_the_network_are_kept(bundle: ModelBundle, tmp_path: Path) -> None:
    wider = draft(tmp_path / "wider", widths="wide")
    state = DenseVNet(normalization="instance", widths="wide").state_dict()
    written = write_bundle(wider, state, "free\n")
    assert load_bundle(written.folder).widths == "wide"
    growth = {load_network(written, CPU).blocks[0].dense[0].conv.out_channels}
    growth.add(read_by_monai(written.folder)[0].blocks[0].dense[0].conv.out_channels)
    assert growth == {12}
    assert "widths" not in json.loads((bundle.folder / INFERENCE).read_text())["network_def"]
    assert written.identity != replace(written, widths="published").identity
    with pytest.raises(BundleError, match="has the shape"):
        write_bundle(draft(tmp_path / "mixed", widths="wide"), random_state(), "free\n")


def test_that_mirror_images_count_is_kept(bundle: ModelBundle, tmp_path: Path) -> None:
    """It decides labels, so the identity knows it; without it the identity is as before."""
    written = write_bundle(draft(tmp_path / "both", mirrored=True), random_state(), "free\n")
    assert load_bundle(written.folder).mirrored is True
    assert bundle.mirrored is False
    assert written.sha256 == bundle.sha256
    assert written.identity != bundle.identity == replace(written, mirrored=False).identity


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mirrored": "yes"}, "mirrored 'yes', expected true or false"),
        ({"mirrored": True, "inference": "niftynet"}, "only with whole_volume or windows"),
        ({"mirrored": True, "table": MuscleTable(paper_table().muscles[::2])}, "on both sides"),
        ({"mirrored": True, "table": TWICE}, "on one side or twice, expected every muscle once"),
    ],
)
def test_mirror_images_that_cannot_be_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        write_bundle(draft(tmp_path / "both", **changes), random_state(), "free\n")


@pytest.mark.parametrize("key", ["stem_stride", "widths", "mirrored"])
def test_a_bundle_that_is_silent_has_the_published_network(bundle: ModelBundle, key: str) -> None:
    edit_metadata(bundle.folder, lambda document: document["bids_mfi"].pop(key))
    assert load_bundle(bundle.folder) == bundle


def test_widths_that_no_network_has_are_refused(bundle: ModelBundle) -> None:
    edit_metadata(bundle.folder, lambda d: d["bids_mfi"].update(widths="broad"))
    with pytest.raises(BundleError, match="widths 'broad', expected published or wide"):
        load_bundle(bundle.folder)


def test_a_stride_that_no_network_has_is_refused(bundle: ModelBundle) -> None:
    edit_metadata(bundle.folder, lambda d: d["bids_mfi"].update(stem_stride=[2, 2, 3]))
    with pytest.raises(BundleError, match="stem_stride"):
        load_bundle(bundle.folder)


def test_metadata_has_what_monai_asks_of_a_bundle(bundle: ModelBundle) -> None:
    metadata = json.loads((bundle.folder / METADATA).read_text())
    required = {
        "schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version",
        "required_packages_version", "task", "description", "authors", "copyright",
        "network_data_format",
    }  # fmt: skip
    assert required <= set(metadata)
    assert metadata["version"] in metadata["changelog"]
    assert metadata["monai_version"] == version("monai")
    image = metadata["network_data_format"]["inputs"]["image"]
    assert image["channel_def"] == {"0": "in_phase", "1": "out_phase"}


# ------------------------------------------------------------------------------------ refusals


def test_altered_weights_are_refused_at_every_load(bundle: ModelBundle) -> None:
    content = bytearray(bundle.weights.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.weights.write_bytes(bytes(content))
    for load in (lambda: load_bundle(bundle.folder), lambda: load_network(bundle, CPU)):
        with pytest.raises(BundleError, match=r"model\.pt: has the sha256 .* expected .* changed"):
            load()


@pytest.mark.parametrize("name", [METADATA, INFERENCE, WEIGHTS])
def test_missing_file_is_named(bundle: ModelBundle, name: Path) -> None:
    (bundle.folder / name).unlink()
    with pytest.raises(BundleError, match=name.name):
        load_bundle(bundle.folder)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nothing: no such folder.*--bundle"):
        load_bundle(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_metadata_that_is_no_json_object_is_refused(bundle: ModelBundle, text: str) -> None:
    (bundle.folder / METADATA).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError, match=r"metadata\.json: .*(JSON|expected an object)"):
        load_bundle(bundle.folder)


def own(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["bids_mfi"].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (own("channels", ["out_phase", "in_phase"]), r"channels .*expected \('in_phase'"),
        (own("landmarks", {"in_phase": [0, 1], "out_phase": [0, 1]}), r"landmarks, expected 7"),
        (
            own("landmarks", {c: [9, 8, 7, 6, 5, 4, 3] for c in ("in_phase", "out_phase")}),
            "decrease",
        ),
        (own("landmarks", {"in_phase": [0, 1]}), "'out_phase' is missing"),
        (own("landmark_percentiles", [1, 99]), "landmark_percentiles"),
        (own("spacing_mm", [1.4, 1.4]), "3 values expected"),
        (own("spacing_mm", [1.4, -1.4, 3]), r"numbers from 0\.05 to 20"),
        (own("axcodes", ["R", "A", "L"]), "one of L/R"),
        (own("inference", "crops"), "whole_volume or windows"),
        (own("inference", "windows"), r"window \(0, 0, 0\), expected multiples of 8"),
        (own("normalization", "group"), "batch or instance"),
        (own("padding", [0, 0, -1]), "padding"),
        (own("format_version", 99), "format_version 99"),
        (own("labels", []), "no labels"),
        (own("labels", [{"index": 1}]), "'hemi' is missing"),
        (own("sha256", "0" * 64), "expected 0000"),
        (lambda document: document.pop("references"), "'references' is missing"),
        (lambda document: document.pop("bids_mfi"), "'bids_mfi' is missing"),
    ],
)
def test_value_that_does_not_fit_is_refused(
    bundle: ModelBundle, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit_metadata(bundle.folder, change)
    with pytest.raises(BundleError, match=message) as raised:
        load_bundle(bundle.folder)
    assert str(bundle.folder) in str(raised.value)
    assert "--bundle" in str(raised.value)


LABEL = {"index": 1, "name": "a", "muscle": "TR", "hemi": "L", "color": "#000000", "levels": "all"}
SEVEN = [0, 10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spacing_mm", [float("inf"), 1, 3]),
        ("spacing_mm", [1, float("nan"), 3]),
        ("spacing_mm", [1, 1, 1e-9]),
        ("spacing_mm", [1, 1, 1000]),
        ("spacing_mm", ["1", 1, 3]),
        ("spacing_mm", "113"),
        ("spacing_mm", [True, 1, 3]),
        ("spacing_mm", [10**400, 1, 3]),
        ("spacing_mm", None),
        ("padding", [3000, 0, 0]),
        ("padding", [0.5, 0, 0]),
        ("padding", [float("inf"), 0, 0]),
        ("stem_stride", [2, 2, 2.5]),
        ("stem_stride", [0, 2, 2]),
        ("landmarks", {"in_phase": [], "out_phase": []}),
        ("landmarks", {"in_phase": SEVEN, "out_phase": [*SEVEN[:-1], float("nan")]}),
        ("landmarks", {"in_phase": SEVEN, "out_phase": [*SEVEN[:-1], float("inf")]}),
        ("landmarks", {"in_phase": SEVEN, "out_phase": [*SEVEN[:-1], 1e300]}),
        ("landmarks", {"in_phase": SEVEN, "out_phase": "0123456"}),
        ("landmarks", [SEVEN, SEVEN]),
        ("landmark_percentiles", []),
        ("landmark_percentiles", {"2": 1}),
        ("channels", []),
        ("channels", [["in_phase"], "out_phase"]),
        ("channels", 2),
        ("labels", [{**LABEL, "index": 10**9}]),
        ("labels", [{**LABEL, "index": 0}]),
        ("labels", [{**LABEL, "index": 1.5}]),
        ("labels", [{**LABEL, "index": "1"}]),
        ("labels", [{**LABEL, "index": True}]),
        ("labels", [{**LABEL, "hemi": "left"}]),
        ("labels", [{**LABEL, "hemi": ["L"]}]),
        ("labels", [{**LABEL, "muscle": ""}]),
        ("labels", [{**LABEL, "muscle": 5}]),
        ("labels", [{**LABEL, "name": "a\tb"}]),
        ("labels", [{**LABEL, "color": "red;}"}]),
        ("labels", [{**LABEL, "more": "x"}]),
        ("labels", [LABEL, LABEL]),
        ("labels", {"1": LABEL}),
        ("labels", "TR"),
        ("mirrored", "false"),
        ("mirrored", 1),
        ("sha256", "x"),
        ("sha256", ["0" * 64]),
        ("widths", ["wide"]),
        ("inference", {"windows": 1}),
        ("licence", None),
        ("licence", "a\x1b[31m"),
        ("training", [1]),
        ("origin", "x"),
        ("format_version", [1]),
        ("format_version", None),
    ],
)
def test_value_of_another_kind_or_beyond_its_limits_is_refused(
    bundle: ModelBundle, key: str, value: object
) -> None:
    """Everything is judged at load; none of these ends in a network or a label map."""
    edit_metadata(bundle.folder, own(key, value))
    with pytest.raises(BundleError, match=r"metadata\.json: .*expected"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", ""), ("name", 5), ("name", "a\nb"), ("version", None), ("version", "x" * 1000),
     ("description", {}), ("references", "doi"), ("references", [1]), ("bids_mfi", [])],
)  # fmt: skip
def test_text_of_another_kind_is_refused(bundle: ModelBundle, key: str, value: object) -> None:
    edit_metadata(bundle.folder, lambda document: document.__setitem__(key, value))
    with pytest.raises(BundleError, match=r"metadata\.json: "):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(
    "window", [(8_000_000, 8, 8), (1032, 8, 8), (1024, 1024, 1024), (12, 8, 8), (0, 8, 8)]
)
def test_window_beyond_its_limits_is_refused(tmp_path: Path, window: tuple[int, ...]) -> None:
    with pytest.raises(BundleError, match="window"):
        write_bundle(draft(tmp_path, inference="windows", window=window), random_state(), "")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"name": ' + "1" * 5000 + "}"])
@pytest.mark.parametrize("name", [METADATA, INFERENCE])
def test_json_that_no_parser_takes_is_refused(bundle: ModelBundle, name: Path, text: str) -> None:
    (bundle.folder / name).write_text(text)
    with pytest.raises(BundleError, match="cannot be read as JSON"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize("name", [METADATA, INFERENCE, WEIGHTS])
@pytest.mark.parametrize("kind", ["named pipe", "device", "folder"])
def test_file_that_is_not_regular_is_refused(bundle: ModelBundle, name: Path, kind: str) -> None:
    path = bundle.folder / name
    path.unlink()
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(BundleError, match=kind):
        load_bundle(bundle.folder)


def test_compressed_weights_are_refused() -> None:
    """A small file could unpack to any size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**20))
    with pytest.raises(BundleError, match="compressed"):
        read_state_dict(Path("model.pt"), buffer.getvalue())


def test_weights_that_do_not_fit_the_network_are_refused_at_load(bundle: ModelBundle) -> None:
    """Not only when the first scan needs the network."""
    weights = saved({"final.weight": torch.ones(1)})
    bundle.weights.write_bytes(weights)
    edit_metadata(bundle.folder, own("sha256", hashlib.sha256(weights).hexdigest()))
    with pytest.raises(BundleError, match="tensors are missing"):
        load_bundle(bundle.folder)


def write_weights(bundle: ModelBundle, state: dict[str, torch.Tensor]) -> None:
    weights = saved(state)
    bundle.weights.write_bytes(weights)
    edit_metadata(bundle.folder, own("sha256", hashlib.sha256(weights).hexdigest()))


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
        lambda tensor: tensor.double() + 1e300,
    ],
    ids=["sparse", "meta", "too large for float32"],
)
def test_weights_without_plain_values_are_refused(
    bundle: ModelBundle, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    state = random_state()
    write_weights(bundle, state | {"final.bias": change(state["final.bias"])})
    with pytest.raises(BundleError, match=r"final\.bias (holds no plain|has values)"):
        load_bundle(bundle.folder)


def test_double_precision_weights_are_accepted(bundle: ModelBundle) -> None:
    write_weights(bundle, {name: value.double() for name, value in random_state().items()})
    assert load_bundle(bundle.folder).name == bundle.name


def test_weights_saved_as_parameters_are_accepted(bundle: ModelBundle) -> None:
    """``torch.save(dict(network.named_parameters()))`` of a network without buffers."""
    instance = replace(bundle, normalization="instance")
    network = DenseVNet(2, instance.out_channels, "instance")
    written = write_bundle(instance, network.state_dict(), "CC0\n")
    write_weights(written, dict(network.named_parameters()))
    loaded = load_network(load_bundle(written.folder), CPU)
    assert torch.equal(loaded.final.weight, network.final.weight)


def test_hemi_that_contradicts_the_name_is_refused(bundle: ModelBundle) -> None:
    def exchange(document: dict[str, Any]) -> None:
        for row in document["bids_mfi"]["labels"]:
            row["hemi"] = {"L": "R", "R": "L"}[row["hemi"]]

    edit_metadata(bundle.folder, exchange)
    with pytest.raises(BundleError, match="hemi and name of one side expected"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "x" * 300}, "name: text of at most 200.*card"),
        ({"name": "a\nb"}, "name: one line.*card"),
        ({"version": "\x1b[31m"}, "version: .*card"),
        ({"description": "x" * 30_000}, "description: .*card"),
        ({"references": ("\0",)}, "references: .*card"),
        ({"table": MuscleTable((replace(WEBER2021.muscles[0], color="red"),))}, "label table"),
    ],
)  # fmt: skip
def test_texts_that_could_not_be_read_again_are_refused_before(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    """And not when the weights of a long training are to be saved."""
    check_texts(draft(tmp_path))
    with pytest.raises(InputError, match=named):
        check_texts(replace(draft(tmp_path), **change))


def test_weights_of_whole_numbers_are_refused(tmp_path: Path) -> None:
    state = random_state()
    state["final.bias"] = state["final.bias"].int()
    with pytest.raises(BundleError, match=r"final\.bias has the type int32"):
        write_bundle(draft(tmp_path), state, "")


def test_labels_that_the_network_lacks_are_refused(bundle: ModelBundle) -> None:
    def drop_last_muscle(document: dict[str, Any]) -> None:
        document["bids_mfi"]["labels"].pop()

    edit_metadata(bundle.folder, drop_last_muscle)
    with pytest.raises(BundleError, match=r"inference\.json: network_def .*'out_channels': 15"):
        load_bundle(bundle.folder)


def test_border_wider_than_the_window_is_refused(tmp_path: Path) -> None:
    windows = draft(tmp_path, inference="windows", window=(16, 16, 16), border=(8, 0, 0))
    with pytest.raises(BundleError, match="border"):
        write_bundle(windows, random_state(), "")


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_pickle_that_would_run_code_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for content in (saved({"weight": Trap()}), pickle.dumps(Trap(), protocol=2)):
        with pytest.raises(BundleError, match=r"model\.pt: is not a plain PyTorch state dict"):
            read_state_dict(Path("model.pt"), content)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[torch.ones(1)], {"epoch": 3}, {1: torch.ones(1)}])
def test_file_that_is_no_state_dict_is_refused(content: object) -> None:
    with pytest.raises(BundleError, match=r"model\.pt: .* expected a state dict"):
        read_state_dict(Path("model.pt"), saved(content))


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04truncated"])
def test_damaged_weights_are_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"model\.pt: is not a plain PyTorch state dict"):
        read_state_dict(Path("model.pt"), content)


def test_state_of_another_network_is_refused(tmp_path: Path) -> None:
    state = random_state()
    with pytest.raises(BundleError, match=r"1 tensors are missing \(final\.bias\)"):
        write_bundle(draft(tmp_path), {n: t for n, t in state.items() if n != "final.bias"}, "")
    with pytest.raises(BundleError, match=r"final\.weight has the shape \(8, 62, 3, 3, 3\)"):
        write_bundle(draft(tmp_path), random_state(out_channels=8), "")
    state["final.bias"][0] = float("nan")
    with pytest.raises(BundleError, match=r"final\.bias has values that are not finite"):
        write_bundle(draft(tmp_path), state, "")
    assert not list(tmp_path.iterdir())


def test_network_of_fewer_labels(tmp_path: Path) -> None:
    table = MuscleTable(paper_table().muscles[:4])
    bundle = write_bundle(draft(tmp_path, table=table), random_state(out_channels=5), "")
    assert load_network(bundle, CPU).final.out_channels == 5


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bundle(draft(tmp_path), random_state(), "")


def test_the_identity_follows_what_decides_labels_and_nothing_else(tmp_path, tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    same = (replace(bundle, folder=tmp_path), replace(bundle, description="other words"))
    assert {other.identity for other in same} == {bundle.identity}
    changed = (
        replace(bundle, sha256="0" * 64),
        replace(bundle, spacing_mm=(4.0, 4.0, 6.1)),
        replace(bundle, landmarks=tuple(tuple(v + 1 for v in row) for row in bundle.landmarks)),
        replace(bundle, padding=(8, 0, 0)),
        replace(bundle, landmark_percentiles=tuple(v / 2 for v in bundle.landmark_percentiles)),
    )
    assert len({bundle.identity, *(other.identity for other in changed)}) == 6
