"""TensorFlow checkpoints: read as written, and nothing damaged gets through."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import LARGE
from niftynet_models import (
    DATA,
    block_of,
    crc32c_bit_by_bit,
    entry_of,
    masked_crc,
    reference_variables,
    table_of,
    varint,
    with_decoys,
    write_checkpoint,
)

from bids_mfi.errors import ConversionError
from bids_mfi.niftynet.convert import WEBER2021_INDEX_SHA256
from bids_mfi.niftynet.tensor_bundle import (
    TABLE_MAGIC,
    Checkpoint,
    crc32c,
    find_checkpoints,
    masked,
    open_checkpoint,
    read_tensors,
)
from bids_mfi.niftynet.variables import variable_names


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_checksums(data: bytes, expected: int) -> None:
    assert crc32c(data) == crc32c_bit_by_bit(data) == expected


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1023, 1024, 1025, 4096, 5000, 65537])
def test_long_data_have_the_checksum_of_the_definition(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    assert crc32c(data) == crc32c_bit_by_bit(data)
    assert crc32c(bytes(size)) == crc32c_bit_by_bit(bytes(size))


def example() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    shapes = {"scope/scalar": (), "scope/vector": (300,), "scope/kernel": (3, 3, 3, 4, 5)}
    shapes |= {f"scope/long_common_beginning_{i:03d}/w": (1 + i % 7,) for i in range(200)}
    return {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(write_checkpoint(tmp_path / "model.ckpt-7", example()))


def test_checkpoint_reads_back_as_written(checkpoint: Checkpoint) -> None:
    """More entries than fit one block of the table."""
    wanted = example()
    assert checkpoint.index.stat().st_size > 4096 + 1000
    assert set(checkpoint.entries) == set(wanted)
    found = read_tensors(checkpoint, wanted)
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], array)


def test_only_what_is_needed_is_verified(checkpoint: Checkpoint) -> None:
    flip(checkpoint.data, checkpoint.entries["scope/scalar"].offset)
    assert read_tensors(checkpoint, ["scope/vector"])
    with pytest.raises(ConversionError, match=r"data-00000-of-00001: .* scope/scalar .*CRC-32C"):
        read_tensors(checkpoint, ["scope/vector", "scope/scalar"])


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(bytes(content))


def test_damaged_index_is_refused_wherever_the_damage_is(checkpoint: Checkpoint) -> None:
    """One bit of every seventh byte; only the filling of the footer may differ."""
    content = checkpoint.index.read_bytes()
    footer = len(content) - 48
    messages: list[str] = []
    for at in [*range(0, footer, 7), *range(footer, len(content))]:
        flip(checkpoint.index, at, bit=at % 8)
        try:
            entries = open_checkpoint(checkpoint.prefix).entries
        except ConversionError as error:
            messages.append(str(error))
        else:
            assert at >= footer
            assert entries == checkpoint.entries
        checkpoint.index.write_bytes(content)
    assert len(messages) >= footer / 7
    assert all("model.ckpt-7.index" in text and "\n" not in text for text in messages)


def test_truncated_index_is_refused(checkpoint: Checkpoint) -> None:
    content = checkpoint.index.read_bytes()
    for size in [0, 1, 47, 48, *range(100, len(content), 997), len(content) - 1]:
        checkpoint.index.write_bytes(content[:size])
        with pytest.raises(ConversionError, match=r"index: is truncated, damaged"):
            open_checkpoint(checkpoint.prefix)


def test_data_of_another_size_are_refused(checkpoint: Checkpoint) -> None:
    content = checkpoint.data.read_bytes()
    for changed in (content[:-1], content + b"\0", b""):
        checkpoint.data.write_bytes(changed)
        with pytest.raises(ConversionError, match=f"{len(changed)} bytes, expected {len(content)}"):
            read_tensors(checkpoint, ["scope/vector"])


def test_missing_files_are_named(checkpoint: Checkpoint) -> None:
    checkpoint.data.unlink()
    with pytest.raises(ConversionError, match="data-00000-of-00001: cannot be read"):
        read_tensors(checkpoint, ["scope/vector"])
    checkpoint.index.unlink()
    with pytest.raises(ConversionError, match="index: cannot be read"):
        open_checkpoint(checkpoint.prefix)


def test_missing_variable_is_named(checkpoint: Checkpoint) -> None:
    with pytest.raises(ConversionError, match="the variable scope/nothing is missing"):
        read_tensors(checkpoint, ["scope/nothing"])


def test_other_types_than_float32_are_refused(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path / "model.ckpt-1", {"w": np.zeros(3, np.float32)}, dtype=2)
    with pytest.raises(ConversionError, match=r"w has the type 2, expected 1 \(float32\)"):
        read_tensors(open_checkpoint(prefix), ["w"])


def test_checkpoints_are_found_by_their_iteration(tmp_path: Path) -> None:
    for name in ("model.ckpt-20.index", "model.ckpt-3.data-00000-of-00001", "model.ckpt-x.index"):
        (tmp_path / name).touch()
    (tmp_path / "checkpoint").touch()
    assert find_checkpoints(tmp_path) == {
        3: tmp_path / "model.ckpt-3",
        20: tmp_path / "model.ckpt-20",
    }


# ------------------------------------------------------------- files made to exhaust the program


def write_index(tmp_path: Path, *pairs: tuple[bytes, bytes]) -> Path:
    index = tmp_path / "model.ckpt-1.index"
    index.write_bytes(table_of([(b"", b"\x08\x01\x1a\x02\x08\x01"), *pairs]))
    return tmp_path / "model.ckpt-1"


def test_number_that_never_ends_is_refused(tmp_path: Path) -> None:
    """Without a limit five megabytes take quadratic time."""
    prefix = write_index(tmp_path, (b"w", b"\x28" + b"\xff" * 5_000_000 + b"\x01"))
    with pytest.raises(ConversionError, match="more than 10 bytes"):
        open_checkpoint(prefix)


def test_longest_number_of_64_bits_is_read(tmp_path: Path) -> None:
    prefix = write_index(tmp_path, (b"w", b"\x08\x01\x28" + varint(2**64 - 1)))
    assert open_checkpoint(prefix).entries["w"].size == 2**64 - 1


def test_long_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="more than 1024 bytes"):
        open_checkpoint(write_index(tmp_path, (b"w" * 1025, entry_of(np.zeros(1), 0))))


def test_blocks_that_overlap_are_refused(tmp_path: Path) -> None:
    """Each of a thousand pointers to one block would read it again."""
    block = block_of([(b"w" * 100, b"x" * 900)])
    trailer = b"\0" + masked_crc(block + b"\0").to_bytes(4, "little")
    empty = block_of([])
    places = block_of([(f"{i:04d}".encode(), varint(0) + varint(len(block))) for i in range(1000)])
    content, handles = block + trailer, b""
    for one in (empty, places):
        handles += varint(len(content)) + varint(len(one))
        content += one + b"\0" + masked_crc(one + b"\0").to_bytes(4, "little")
    footer = handles.ljust(40, b"\0") + TABLE_MAGIC.to_bytes(8, "little")
    (tmp_path / "model.ckpt-1.index").write_bytes(content + footer)
    with pytest.raises(ConversionError, match="overlap"):
        open_checkpoint(tmp_path / "model.ckpt-1")


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bids_mfi.niftynet.tensor_bundle.MOST_ENTRIES", 100)
    prefix = write_checkpoint(tmp_path / "model.ckpt-1", example())
    with pytest.raises(ConversionError, match="more than 100 entries"):
        open_checkpoint(prefix)


def test_shape_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    dimension = b"\x08" + varint(2**63)
    shape = (b"\x12" + varint(len(dimension)) + dimension) * 3
    entry = b"\x08\x01\x12" + varint(len(shape)) + shape + b"\x28\x04"
    prefix = write_index(tmp_path, (b"w", entry))
    (tmp_path / "model.ckpt-1.data-00000-of-00001").write_bytes(bytes(4))
    with pytest.raises(ConversionError, match="which is not its shape"):
        read_tensors(open_checkpoint(prefix), ["w"])


def test_many_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="has 9 dimensions"):
        open_checkpoint(write_index(tmp_path, (b"w", entry_of(np.zeros((1,) * 9), 0))))


@pytest.mark.parametrize("which", ["index", "data"])
@pytest.mark.parametrize("kind", ["named pipe", "device"])
def test_files_that_are_not_regular_are_refused(
    checkpoint: Checkpoint, which: str, kind: str
) -> None:
    path = getattr(checkpoint, which)
    path.unlink()
    if kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    with pytest.raises(ConversionError, match=kind):
        read_tensors(open_checkpoint(checkpoint.prefix), ["scope/scalar"])


def test_large_index_is_refused(checkpoint: Checkpoint) -> None:
    with checkpoint.index.open("r+b") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(ConversionError, match="larger than 16 MiB"):
        open_checkpoint(checkpoint.prefix)


# ------------------------------------------------------------------------------ real checkpoints


@pytest.fixture
def written_by_tensorflow(tmp_path: Path) -> Checkpoint:
    """TensorFlow's own index; of its data, only the variables that the network needs."""
    prefix = tmp_path / "model.ckpt-100000"
    index = prefix.with_name(f"{prefix.name}.index")
    index.write_bytes((DATA / "network" / index.name).read_bytes())
    data = np.zeros(10_726_420, np.uint8)
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data.tobytes())
    checkpoint = open_checkpoint(prefix)
    for name, array in reference_variables().items():
        entry = checkpoint.entries[name]
        raw = np.frombuffer(array.astype("<f4").tobytes(), np.uint8)
        data[entry.offset : entry.offset + entry.size] = raw
    checkpoint.data.write_bytes(data.tobytes())
    return checkpoint


def test_checkpoint_that_tensorflow_wrote(written_by_tensorflow: Checkpoint) -> None:
    """Its index has the place, the shape and the checksum of every variable."""
    wanted = reference_variables()
    tensors = read_tensors(written_by_tensorflow, wanted)
    assert len(wanted) == 161
    assert all(np.array_equal(tensors[name], wanted[name]) for name in wanted)
    with pytest.raises(ConversionError, match="CRC-32C"):
        read_tensors(written_by_tensorflow, [next(iter(wanted)) + "/Adam"])


def test_index_of_the_published_names_and_sizes(written_by_tensorflow: Checkpoint) -> None:
    entries = written_by_tensorflow.entries
    wanted = {name: np.zeros(entries[name].shape) for name in variable_names().values()}
    assert len(entries) == 485
    assert set(entries) == set(with_decoys(wanted))
    assert max(entry.offset + entry.size for entry in entries.values()) == 10_726_420


@pytest.mark.large
def test_index_that_the_authors_published() -> None:
    """Their data are not here; the checksums say that every counter stands at 99,999."""
    import hashlib

    checkpoint = open_checkpoint(LARGE / "author_model" / "model.ckpt-100000")
    assert hashlib.sha256(checkpoint.index.read_bytes()).hexdigest() == WEBER2021_INDEX_SHA256
    wanted = {name: np.zeros(checkpoint.entries[name].shape) for name in variable_names().values()}
    assert set(checkpoint.entries) == set(with_decoys(wanted))
    counters = {e.masked_crc for n, e in checkpoint.entries.items() if n.endswith("local_step")}
    assert counters == {masked(crc32c(np.float32(99_999).tobytes()))}
    assert max(e.offset + e.size for e in checkpoint.entries.values()) == 10_726_420
