"""Published NiftyNet models made by tests: a writer of TensorFlow checkpoints and a model folder.

Other tests import from here: ``from niftynet_models import write_model``.
"""

from functools import cache
from pathlib import Path

import numpy as np

from bids_mfi.niftynet.variables import variable_names

DATA = Path(__file__).parent / "data"
SMALL = {"window": (64, 48, 24), "border": (8, 8, 8), "padding": (16, 12, 8)}
PUBLISHED_FOLDER = "neck_muscle_segmentation_model"
BLOCK_BYTES = 4096
RESTART_EVERY = 16


def crc32c_bit_by_bit(data: bytes) -> int:
    """CRC-32C by its definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    from bids_mfi.niftynet.tensor_bundle import SHORT_BYTES, crc32c

    crc = crc32c_bit_by_bit(data) if len(data) <= SHORT_BYTES else crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def entry_of(array: np.ndarray, offset: int, dtype: int = 1) -> bytes:
    """Protobuf entry of a tensor: type, shape, offset, size, checksum."""
    raw = array.astype("<f4").tobytes()
    dimensions = b""
    for size in array.shape:
        dimension = b"\x08" + varint(size)
        dimensions += b"\x12" + varint(len(dimension)) + dimension
    shape = b"\x12" + varint(len(dimensions)) + dimensions
    place = (b"\x20" + varint(offset) if offset else b"") + b"\x28" + varint(len(raw))
    return b"\x08" + varint(dtype) + shape + place + b"\x35" + masked_crc(raw).to_bytes(4, "little")


def block_of(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """LevelDB block with shared key beginnings and restart points, without its trailer."""
    out, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(pairs):
        shared = 0
        if number % RESTART_EVERY == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    for at in restarts or [0]:
        out += at.to_bytes(4, "little")
    return bytes(out) + max(1, len(restarts)).to_bytes(4, "little")


def table_of(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """LevelDB table of sorted pairs."""
    out = bytearray()

    def append(block: bytes) -> bytes:
        place = varint(len(out)) + varint(len(block))
        trailer = b"\0"
        out.extend(block + trailer + masked_crc(block + trailer).to_bytes(4, "little"))
        return place

    places, waiting = [], []
    for number, pair in enumerate(pairs):
        waiting.append(pair)
        full = sum(len(key) + len(value) for key, value in waiting) > BLOCK_BYTES
        if full or number == len(pairs) - 1:
            places.append((pair[0], append(block_of(waiting))))
            waiting = []
    metadata = append(block_of([]))
    footer = metadata + append(block_of(places))
    return bytes(out) + footer.ljust(40, b"\0") + 0xDB4775248B80FB57.to_bytes(8, "little")


def write_checkpoint(prefix: Path, variables: dict[str, np.ndarray], dtype: int = 1) -> Path:
    """Write ``prefix.index`` and ``prefix.data-00000-of-00001``."""
    return write_encoded(prefix, *encode_checkpoint(variables, dtype))


def write_encoded(prefix: Path, index: bytes, data: bytes) -> Path:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    prefix.with_name(prefix.name + ".index").write_bytes(index)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)
    return prefix


def encode_checkpoint(variables: dict[str, np.ndarray], dtype: int = 1) -> tuple[bytes, bytes]:
    """Index and data."""
    pairs, data = [(b"", b"\x08\x01\x1a\x02\x08\x01")], bytearray()
    for name in sorted(variables):
        pairs.append((name.encode(), entry_of(variables[name], len(data), dtype)))
        data += variables[name].astype("<f4").tobytes()
    return table_of(pairs), bytes(data)


@cache
def encode_reference() -> tuple[bytes, bytes]:
    """Index and data of the reference network; made once, since that takes a second."""
    return encode_checkpoint(with_decoys(reference_variables()))


def reference_variables() -> dict[str, np.ndarray]:
    """The 161 variables of the reference network, with TensorFlow's names and kernel order."""
    with np.load(DATA / "network" / "weights.npz") as arrays:
        return {
            name: np.transpose(arrays[own], (2, 3, 4, 1, 0))
            if arrays[own].ndim == 5
            else arrays[own]
            for own, name in variable_names().items()
        }


def with_decoys(variables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All 485 variables of a real checkpoint: optimiser and counters beside what is needed."""
    rng = np.random.default_rng(5)

    def noise(array: np.ndarray) -> np.ndarray:
        return rng.normal(size=array.shape).astype(np.float32)

    found = dict(variables)
    for name, array in variables.items():
        scope, _, last = name.rpartition("/")
        if last.startswith("moving_"):
            found[f"{scope}/{scope}/{last}/biased"] = noise(array)
            found[f"{scope}/{scope}/{last}/local_step"] = np.float32(99_999).reshape(())
        else:
            found[f"{name}/Adam"], found[f"{name}/Adam_1"] = noise(array), noise(array)
    for power in ("beta1_power", "beta2_power"):
        found[f"ApplyGradients/{power}"] = np.float32(0).reshape(())
    return found


def settings_text(
    window: tuple[int, ...] = (360, 240, 32),
    border: tuple[int, ...] = (8, 8, 8),
    padding: tuple[int, ...] = (90, 60, 8),
    **changes: str,
) -> str:
    """Text of an ``inference.ini``; a change replaces the value of a key, or adds it to NETWORK."""
    image = {
        "path_to_search": "/path/to/images/",
        "spatial_window_size": window,
        "pixdim": "(0.7, 0.7, 3)",
        "interp_order": 3,
        "axcodes": "(R, A, S)",
    }
    sections: dict[str, dict[str, object]] = {
        "IP": dict(image),
        "OP": dict(image),
        "SYSTEM": {"model_dir": f"./{PUBLISHED_FOLDER}", "num_threads": 1},
        "NETWORK": {
            "name": "dense_vnet",
            "activation_function": "relu",
            "volume_padding_size": padding,
            "histogram_ref_file": "./standardisation_models.txt",
            "norm_type": "percentile",
            "cutoff": "(0.001, 1.000)",
            "normalisation": True,
            "whitening": True,
            "normalise_foreground_only": True,
            "foreground_type": "threshold_plus",
            "multimod_foreground_type": "and",
        },
        "INFERENCE": {"border": border, "inference_iter": 100000, "output_interp_order": 0},
        "SEGMENTATION": {"image": "IP,OP", "output_prob": False, "num_classes": 15},
    }
    for key, value in changes.items():
        homes = [name for name, section in sections.items() if key in section] or ["NETWORK"]
        for home in homes:
            sections[home][key] = value
    lines = []
    for name, section in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in section.items()), ""]
    return "\n".join(lines)


def landmarks_text() -> str:
    rows = np.load(DATA / "niftynet" / "landmarks.npy")
    lines = [
        " ".join([image, *(str(value) for value in row)])
        for image, row in zip(("IP", "OP"), rows, strict=True)
    ]
    labels = " ".join(str(value) for value in range(15))
    return "\n".join([*lines, f"label_label-from {labels}", f"label_label-to {labels}", ""])


def write_model(
    folder: Path,
    variables: dict[str, np.ndarray] | None = None,
    flat: bool = False,
    iteration: int = 100000,
    **settings: object,
) -> Path:
    """Write a model as the authors published theirs, or with all files side by side."""
    own = folder if flat else folder / PUBLISHED_FOLDER
    own.mkdir(parents=True, exist_ok=True)
    (folder / "inference.ini").write_text(settings_text(**settings))  # type: ignore[arg-type]
    (own / "standardisation_models.txt").write_text(landmarks_text())
    prefix = (own if flat else own / "models") / f"model.ckpt-{iteration}"
    if variables:
        write_checkpoint(prefix, with_decoys(variables))
    else:
        write_encoded(prefix, *encode_reference())
    return folder
