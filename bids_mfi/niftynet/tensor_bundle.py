"""TensorFlow checkpoints ("tensor bundles") read without TensorFlow.

A checkpoint ``model.ckpt-N`` is an index, a table in LevelDB's format with the type, shape,
position and checksum of each variable, and a data file with the values in sequence. Everything that
is read is verified: the blocks of the index and each tensor by its CRC-32C.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mfi.errors import ConversionError
from bids_mfi.reading import read_regular_file

INDEX_SUFFIX = ".index"
DATA_SUFFIX = ".data-00000-of-00001"
FOOTER_BYTES = 48
TABLE_MAGIC = 0xDB4775248B80FB57
BLOCK_TRAILER_BYTES = 5  # kind of compression and checksum
FLOAT32, FLOAT32_BYTES = 1, 4
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protobuf
CASTAGNOLI = 0x82F63B78  # polynomial of CRC-32C, lowest bit first
ALL_ONES = 0xFFFFFFFF
MASK_DELTA = 0xA282EAD8
SHORT_BYTES = 512  # up to here a plain loop is quicker
REMEDY = "Fetch the files of the model again."

# The published index has 24 kB, its data file 12 MB. The limits bound time and memory.
MOST_INDEX_BYTES = 16 * 2**20
MOST_DATA_BYTES = 2**30
MOST_KEY_BYTES = 1024
MOST_ENTRIES = 100_000
MOST_DIMENSIONS = 8
MOST_VARINT_BYTES = 10  # of a number of 64 bits


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Position of a variable in the data file, in bytes, and its masked CRC-32C."""

    dtype: int
    shape: tuple[int, ...]
    offset: int
    size: int
    masked_crc: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose index has been read and verified; ``prefix`` ends in ``model.ckpt-N``."""

    prefix: Path
    entries: dict[str, TensorEntry]

    @property
    def index(self) -> Path:
        """The file that says where the variables are."""
        return self.prefix.with_name(self.prefix.name + INDEX_SUFFIX)

    @property
    def data(self) -> Path:
        """The file with the values."""
        return self.prefix.with_name(self.prefix.name + DATA_SUFFIX)


def open_checkpoint(prefix: Path) -> Checkpoint:
    """Read and verify the index of a checkpoint.

    Parameters
    ----------
    prefix : Path
        Its files without their last suffix, ``.../model.ckpt-100000``.

    Raises
    ------
    ConversionError
        The index is missing, truncated, damaged, or of an unknown kind.
    """
    checkpoint = Checkpoint(prefix, {})
    content = read_file(checkpoint.index, MOST_INDEX_BYTES)
    try:
        table = dict(islice(_read_table(content), MOST_ENTRIES + 1))
        if len(table) > MOST_ENTRIES:
            raise ValueError(f"it has more than {MOST_ENTRIES} entries")
        header = _read_numbers(table.pop(b""))
        entries = {name.decode(): _parse_entry(value) for name, value in table.items()}
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise ConversionError(
            f"{checkpoint.index}: is truncated, damaged or not an index of a TensorFlow checkpoint "
            f"({error or type(error).__name__}). {REMEDY}"
        ) from error
    if header.get(1, 1) != 1 or header.get(2, 0) != 0:
        raise ConversionError(
            f"{checkpoint.index}: the checkpoint has {header.get(1, 1)} data files or is not "
            "little-endian, expected one little-endian file. Save it again in one piece."
        )
    return Checkpoint(prefix, entries)


def read_tensors(checkpoint: Checkpoint, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Read and verify some of the variables of a checkpoint.

    Raises
    ------
    ConversionError
        The data file is missing or does not have the size given in the index, a variable is
        missing or not of float32, or a CRC-32C differs from the index.
    """
    content = read_file(checkpoint.data, MOST_DATA_BYTES)
    expected = max((e.offset + e.size for e in checkpoint.entries.values()), default=0)
    if len(content) != expected:
        raise ConversionError(
            f"{checkpoint.data}: has {len(content)} bytes, expected {expected} as "
            f"{checkpoint.index.name} states; it is truncated or belongs to another checkpoint. "
            f"{REMEDY}"
        )
    return {name: _read_tensor(checkpoint, content, name) for name in names}


def read_file(path: Path, most_bytes: int = MOST_INDEX_BYTES) -> bytes:
    """Content of a file of the published model.

    Raises
    ------
    ConversionError
        It cannot be read, is not a regular file, or has more than ``most_bytes`` bytes.
    """
    try:
        return read_regular_file(path, most_bytes)
    except OSError as error:
        raise ConversionError(
            f"{path}: cannot be read ({error.strerror}), expected a file of the published model. "
            f"{REMEDY}"
        ) from error


def _read_tensor(checkpoint: Checkpoint, content: bytes, name: str) -> NDArray[np.float32]:
    entry = checkpoint.entries.get(name)
    if entry is None:
        raise ConversionError(f"{checkpoint.index}: the variable {name} is missing. {REMEDY}")
    if entry.dtype != FLOAT32:
        raise ConversionError(
            f"{checkpoint.index}: {name} has the type {entry.dtype}, expected {FLOAT32} (float32)."
        )
    raw = content[entry.offset : entry.offset + entry.size]
    if entry.size != FLOAT32_BYTES * math.prod(entry.shape):
        raise ConversionError(
            f"{checkpoint.index}: {name} has {entry.size} bytes, which is not its shape "
            f"{entry.shape} of float32. {REMEDY}"
        )
    if masked(crc32c(raw)) != entry.masked_crc:
        raise ConversionError(
            f"{checkpoint.data}: the values of {name} are damaged or belong to another checkpoint "
            f"(their CRC-32C is not that of {checkpoint.index.name}). {REMEDY}"
        )
    return np.frombuffer(raw, "<f4").astype(np.float32).reshape(entry.shape)


# ------------------------------------------------------------------------------ LevelDB's table


def _read_table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table, in their order."""
    footer = content[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != TABLE_MAGIC:
        raise ValueError("its last bytes are not those of a table")
    metadata, at = _read_handle(footer, 0)
    place, _ = _read_handle(footer, at)
    list(_read_block(content, metadata))  # empty, and verified like the others
    left = len(content)
    for _, pointer in _read_block(content, place):
        block = _read_handle(pointer, 0)[0]
        left -= block[1]
        if left < 0:
            raise ValueError("its blocks overlap")
        yield from _read_block(content, block)


def _read_handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and the position after them."""
    offset, at = _read_varint(data, at)
    size, at = _read_varint(data, at)
    return (offset, size), at


def _read_block(content: bytes, place: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; each key states how much it shares with the one before."""
    offset, size = place
    after = offset + size
    block, trailer = content[offset:after], content[after : after + BLOCK_TRAILER_BYTES]
    if len(trailer) < BLOCK_TRAILER_BYTES or trailer[0] != 0:
        raise ValueError("a block is incomplete or compressed")
    if masked(crc32c(block + trailer[:1])) != int.from_bytes(trailer[1:], "little"):
        raise ValueError("the checksum of a block is wrong")
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")  # restart points follow
    key, at = b"", 0
    while at < end:
        shared, at = _read_varint(block, at)
        fresh, at = _read_varint(block, at)
        length, at = _read_varint(block, at)
        if shared + fresh > MOST_KEY_BYTES:
            raise ValueError(f"a name has more than {MOST_KEY_BYTES} bytes")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length


# ------------------------------------------------------------------------------------ protobuf


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """One number of 7 bits a byte, and the position after it.

    Raises
    ------
    ValueError
        It does not end, or is longer than a number of 64 bits.

    Examples
    --------
    >>> _read_varint(bytes([0b10101100, 0b00000010]), 0)
    (300, 2)
    """
    value = 0
    for place, byte in enumerate(data[at : at + MOST_VARINT_BYTES]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError(f"a number is cut off or has more than {MOST_VARINT_BYTES} bytes")


def _read_fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields; fixed numbers are whole, the rest is bytes."""
    fields: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _read_varint(message, at)
            fields.append((tag >> 3, value))
            continue
        fixed = {FIXED32: 4, FIXED64: 8}.get(kind)
        size, at = (fixed, at) if fixed else _read_varint(message, at)
        if kind not in (FIXED32, FIXED64, BYTES) or at + size > len(message):
            raise ValueError("an entry is damaged")
        raw = message[at : at + size]
        fields.append((tag >> 3, int.from_bytes(raw, "little") if fixed else raw))
        at += size
    return fields


def _read_numbers(message: bytes) -> dict[int, int]:
    """Read those fields of a message that are numbers."""
    return {number: value for number, value in _read_fields(message) if isinstance(value, int)}


def _parse_entry(message: bytes) -> TensorEntry:
    numbers, fields = _read_numbers(message), _read_fields(message)
    shapes = [value for number, value in fields if number == 2 and isinstance(value, bytes)]
    sizes = tuple(size for shape in shapes for size in _read_sizes(shape))
    if len(sizes) > MOST_DIMENSIONS:
        raise ValueError(f"a variable has {len(sizes)} dimensions")
    return TensorEntry(
        dtype=numbers.get(1, 0),
        shape=sizes,
        offset=numbers.get(4, 0),
        size=numbers.get(5, 0),
        masked_crc=numbers.get(6, 0),
    )


def _read_sizes(shape: bytes) -> Iterator[int]:
    for number, dimension in _read_fields(shape):
        if number == 2 and isinstance(dimension, bytes):
            yield _read_numbers(dimension).get(1, 0)


# -------------------------------------------------------------------------------------- CRC-32C


def masked(crc: int) -> int:
    """CRC as it is stored: turned right by 15 bits, then a constant is added.

    >>> hex(masked(0xE3069283))
    '0xc78ab0e5'
    """
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & ALL_ONES


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of some bytes.

    Long data are arranged in rows that are processed at once. Without its constants, the CRC of all
    rows is the exclusive or of the rows' CRCs, each row followed by as many zeros as there are
    bytes after it; leading zeros change nothing.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    if len(data) <= SHORT_BYTES:
        return _crc_of_short(data)
    depth = (len(data).bit_length() + 1) // 2
    columns = 1 << depth
    rows = 1 << (len(data) - 1 >> depth).bit_length()
    padded = np.zeros(rows * columns, dtype=np.uint8)
    padded[-len(data) :] = np.frombuffer(data, dtype=np.uint8)
    table = _crc_table()
    crcs = np.zeros(rows, dtype=np.uint32)
    for column in np.ascontiguousarray(padded.reshape(rows, columns).T):
        crcs = table[(crcs ^ column) & 255] ^ (crcs >> 8)
    while len(crcs) > 1:
        crcs = _multiply(_zeros_operator(depth), crcs[0::2]) ^ crcs[1::2]
        depth += 1
    return int(crcs[0] ^ _append_zeros(ALL_ONES, len(data))) ^ ALL_ONES


def _crc_of_short(data: bytes) -> int:
    table = _crc_list()
    crc = ALL_ONES
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ ALL_ONES


@lru_cache(maxsize=1)
def _crc_table() -> NDArray[np.uint32]:
    """Tabulate the effect of each of the 256 bytes on the CRC."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(CASTAGNOLI), table >> 1)
    return table


@lru_cache(maxsize=1)
def _crc_list() -> list[int]:
    return [int(value) for value in _crc_table()]


@lru_cache(maxsize=64)
def _zeros_operator(power: int) -> NDArray[np.uint32]:
    """Compute the effect of 2^power zero bytes on the 32 bits of a CRC: a matrix over GF(2)."""
    if power == 0:
        bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
        return np.asarray(_crc_table()[bits & 255] ^ (bits >> 8), dtype=np.uint32)
    half = _zeros_operator(power - 1)
    return _multiply(half, half)


def _multiply(operator: NDArray[np.uint32], crcs: NDArray[np.uint32]) -> NDArray[np.uint32]:
    product = np.zeros_like(crcs)
    for bit, column in enumerate(operator):
        product ^= np.where(crcs >> np.uint32(bit) & np.uint32(1), column, np.uint32(0))
    return product


def _append_zeros(crc: int, count: int) -> np.uint32:
    """CRC, without constants, after ``count`` more bytes that are zero."""
    crcs = np.array([crc], dtype=np.uint32)
    for power in range(count.bit_length()):
        if count >> power & 1:
            crcs = _multiply(_zeros_operator(power), crcs)
    return np.uint32(crcs[0])


def find_checkpoints(folder: Path) -> dict[int, Path]:
    """Prefixes of the checkpoints in a folder, by their iteration.

    A file of either kind is enough, so that a missing one can be named.
    """
    pattern = re.compile(r"(model\.ckpt-(\d+))\.(?:index|data-\d+-of-\d+)")
    found = (pattern.fullmatch(path.name) for path in sorted(folder.glob("model.ckpt-*")))
    return {int(match[2]): folder / match[1] for match in found if match}
