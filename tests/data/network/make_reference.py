"""Make the small reference files of this folder; see README.md. Needs only numpy.

Usage: python make_reference.py REFERENCE_DIR, where REFERENCE_DIR holds ``network/``, ``loss/``
and ``variables.json`` as README.md describes them.
"""

import json
import sys
from pathlib import Path

import numpy as np

FOOTER_BYTES = 48
FLOAT32 = 1
INTERMEDIATES = ("pool", "pool_bn", "down1", "stack2", "skip2", "skip2_up", "logits_half")


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """One protobuf varint and the position after it."""
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def read_block(data: bytes, offset: int, size: int) -> list[tuple[bytes, bytes]]:
    """Keys and values of an uncompressed LevelDB block."""
    block = data[offset : offset + size]
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    entries, key, at = [], b"", 0
    while at < end:
        shared, at = read_varint(block, at)
        fresh, at = read_varint(block, at)
        length, at = read_varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        entries.append((key, block[at + fresh : at + fresh + length]))
        at += fresh + length
    return entries


def read_fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """Field numbers and values of a protobuf message."""
    fields: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        if tag & 7 == 0:
            value, at = read_varint(message, at)
            fields.append((tag >> 3, value))
        else:
            size, at = (4, at) if tag & 7 == 5 else read_varint(message, at)
            fields.append((tag >> 3, message[at : at + size]))
            at += size
    return fields


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """All float32 variables of a TensorFlow checkpoint with one shard."""
    index = prefix.with_name(prefix.name + ".index").read_bytes()
    data = prefix.with_name(prefix.name + ".data-00000-of-00001").read_bytes()
    footer, at = index[-FOOTER_BYTES:], 0
    handle = []
    for _ in range(4):
        value, at = read_varint(footer, at)
        handle.append(value)
    variables = {}
    for _, pointer in read_block(index, handle[2], handle[3]):
        offset, at = read_varint(pointer, 0)
        size, _ = read_varint(pointer, at)
        for name, entry in read_block(index, offset, size):
            fields = read_fields(entry)
            numbers = dict(fields)
            if not name or numbers.get(1) != FLOAT32:
                continue
            dims = [f for number, f in fields if number == 2 for f in [f]]
            shape = [dict(read_fields(d)).get(1, 0) for m in dims for _, d in read_fields(m)]
            start = int(numbers.get(4, 0))
            raw = data[start : start + int(numbers[5])]
            variables[name.decode()] = np.frombuffer(raw, "<f4").reshape(shape)
    return variables


def main(reference: Path, out: Path) -> None:
    """Write weights.npz, forward.npz and loss.npz into ``out``."""
    variables = read_checkpoint(reference / "network" / "model.ckpt-100000")
    weights = {}
    for row in json.loads((reference / "variables.json").read_text()):
        value = variables[row["tf"]]
        assert list(value.shape) == row["tf_shape"], row
        kernel = value.ndim == 5
        weights[row["torch"]] = np.transpose(value, (4, 3, 0, 1, 2)) if kernel else value
    np.savez_compressed(out / "weights.npz", **weights)
    network = reference / "network"
    forward = {
        "input_b": np.load(network / "input.npz")["b"],
        "logits_b": np.load(network / "expected.npz")["b"],
        "logits_train_b": np.load(reference / "loss" / "expected_trainmode_b.npz")["b"][:, ::2],
    }
    intermediates = np.load(network / "intermediates_b.npz")
    forward.update({name: intermediates[name] for name in INTERMEDIATES})
    np.savez_compressed(out / "forward.npz", **forward)
    loss = np.load(reference / "loss" / "loss_reference.npz")
    kept = ("logits", "labels", "loss_dice_hinge", "loss_dice_hinge_double_softmax")
    gradients = ("grad_dice_hinge", "grad_dice_hinge_double_softmax")
    np.savez_compressed(out / "loss.npz", **{name: loss[name] for name in kept + gradients})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
