"""Weights read without PyTorch: the same as with it, and nothing but plain tensors."""

import io
import itertools
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_drafts import draft

from bids_mfi.network.architecture import NORMALIZATIONS, WIDTHS, list_weights
from bids_mfi.network.bundle_files import load_bundle, write_bundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.state_archive import read_state_archive
from bids_mfi.network.state_dicts import encode_state_dict, read_state_dict
from bids_mfi.participant.plan import DEFAULT_BUNDLE

STATE = {
    "kernel": torch.arange(24.0).reshape(2, 3, 4),
    "scalar": torch.tensor(7),
    "double": torch.tensor([1e300, -0.0], dtype=torch.float64),
    "half": torch.tensor([0.5, 2.0], dtype=torch.float16),
    "part": torch.arange(10.0)[4:8],
    "empty": torch.zeros(0, 3),
}


def saved(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def rewritten(content: bytes, changes: dict[str, bytes | None], **options: Any) -> bytes:
    """The archive with entries replaced, by the end of their names; None leaves one out."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", **options) as new,
    ):
        for name in old.namelist():
            ends = [end for end in changes if name.endswith(end)]
            value = changes[ends[0]] if ends else old.read(name)
            if value is not None:
                new.writestr(name, value)
    return buffer.getvalue()


def test_tensors_are_those_that_pytorch_reads() -> None:
    for state in (STATE, dict(torch.nn.Linear(3, 2).state_dict())):
        content = saved(state)
        found, expected = read_state_archive(content), read_state_dict(Path("x"), content)
        assert found is not None
        assert list(found) == list(expected)
        for name, values in found.items():
            assert values.dtype == expected[name].numpy().dtype
            assert values.shape == tuple(expected[name].shape)
            assert values.tobytes() == expected[name].numpy().tobytes()


def test_included_bundle_needs_no_pytorch() -> None:
    content = load_bundle(DEFAULT_BUNDLE).weights.read_bytes()
    found, expected = read_state_archive(content), read_state_dict(Path("x"), content)
    assert found is not None
    assert all(np.array_equal(found[name], values.numpy()) for name, values in expected.items())


def test_bundles_are_written_so_that_they_need_no_pytorch(tmp_path: Path) -> None:
    for normalization in NORMALIZATIONS:
        state = DenseVNet(normalization=normalization).state_dict()
        state["final.weight"] = state["final.weight"].transpose(2, 4)  # not contiguous
        found = read_state_archive(encode_state_dict(state))
        assert found is not None
        assert np.array_equal(found["final.weight"], state["final.weight"].numpy())


@pytest.mark.parametrize(("normalization", "widths"), [*itertools.product(NORMALIZATIONS, WIDTHS)])
def test_listed_weights_are_those_of_the_network(normalization: str, widths: str) -> None:
    for channels, classes in ((2, 15), (3, 23)):
        expected = DenseVNet(channels, classes, normalization, widths=widths).state_dict()
        found = list_weights(channels, classes, normalization, widths)
        assert set(found) == set(expected)
        for name, values in found.items():
            assert values.shape == tuple(expected[name].shape)
            assert values.dtype == expected[name].numpy().dtype


class Trap:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


def overlapping() -> bytes:
    """An archive whose directory states a size beyond that of the file."""
    content = saved({"x": torch.ones(4)})
    start = content.index(b"PK\x01\x02")
    return content[: start + 24] + (2**31).to_bytes(4, "little") + content[start + 28 :]


def twice(content: bytes) -> bytes:
    """The archive with a second entry of the name of its values."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (name,) = (name for name in archive.namelist() if name.endswith("data/0"))
        archive.writestr(name, bytes(16))
    return buffer.getvalue()


PLAIN = saved({"x": torch.ones(4)})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        b"PK\x03\x04truncated",
        PLAIN[: len(PLAIN) // 2],
        pickle.dumps({"x": 1}),
        saved({"x": Trap()}),
        saved({"x": torch.ones(2).to_sparse()}),
        saved({"x": torch.ones(2, dtype=torch.bfloat16)}),
        saved({"x": torch.ones(2, 3).t()}),
        saved({"x": torch._neg_view(torch.ones(3))}),
        saved(torch.nn.Linear(3, 2).state_dict()),
        rewritten(PLAIN, {"/data.pkl": b"\x80\x02}r\x00\x00\x00\x02."}),
        twice(PLAIN),
        saved({"x": torch.ones(1).expand(1000)}),
        saved([torch.ones(1)]),
        saved({1: torch.ones(1)}),
        saved({"x": 3}),
        saved({"x": torch.ones(4)}, _use_new_zipfile_serialization=False),
        rewritten(PLAIN, {"/byteorder": b"big"}),
        rewritten(PLAIN, {"/data/0": bytes(12)}),
        rewritten(PLAIN, {"/data/0": None}),
        rewritten(PLAIN, {"/data.pkl": pickle.dumps(Trap())}),
        rewritten(PLAIN, {}, compression=zipfile.ZIP_DEFLATED),
        overlapping(),
    ],
    ids=[
        "empty",
        "text",
        "start of an archive",
        "truncated",
        "pickle",
        "code",
        "sparse",
        "bfloat16",
        "transposed",
        "to be negated",
        "with attributes",
        "far index",
        "entry twice",
        "expanded",
        "list",
        "number as name",
        "number as value",
        "format before 1.6",
        "big-endian",
        "storage too short",
        "storage missing",
        "code in an archive",
        "compressed",
        "larger than the file",
    ],
)
def test_anything_else_is_left_to_pytorch(
    content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_state_archive(content) is None
    assert "executed" not in capsys.readouterr().out


def test_weights_can_be_changed_without_changing_the_file(tmp_path: Path) -> None:
    """A training changes the tensors of the network in place."""
    from bids_mfi.network.weights import read_weights

    bundle = write_bundle(draft(tmp_path), DenseVNet(normalization="instance").state_dict(), "")
    assert all(values.flags.writeable for values in read_weights(bundle).values())


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise SystemExit("imports PyTorch")
sys.meta_path.insert(0, Block())
from bids_mfi.cli.app import main
raise SystemExit(main(sys.argv[1:]))
"""


def test_run_on_a_cpu_does_not_import_pytorch(
    bids_dir: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """Its import takes a second and 200 MB."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(bids_dir), str(tmp_path / "out"), "participant",
         "--participant-label", "01", "--bundle", str(tiny_bundle), "--device", "cpu"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("out/sub-*/**/*_mfi.tsv"))
