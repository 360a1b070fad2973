"""PyTorch's archive of a state dict, read without PyTorch.

``torch.save`` writes an uncompressed ZIP archive: ``NAME/data.pkl`` says which tensors there are,
``NAME/data/KEY`` holds the values of each storage.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}

OPCODES = frozenset(
    "PROTO STOP MARK EMPTY_DICT SETITEM SETITEMS BINUNICODE GLOBAL BINPERSID REDUCE "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 BININT BININT1 BININT2 NEWFALSE NEWTRUE "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET".split()
)

Storage = tuple[bytes, np.dtype[Any]]


def read_state_archive(content: bytes) -> dict[str, NDArray[Any]] | None:
    """Dense tensors by name; nothing in the archive is executed.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    dict of str to ndarray, or None
        None where the content is not exactly what ``torch.save`` writes for a state dict of
        contiguous tensors.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if not is_plain(archive, len(content)):
                return None
            found = _Reader(archive).load()
    except Exception:  # damaged bytes make the unpickler fail in every way there is
        return None
    plain = isinstance(found, dict) and all(
        isinstance(name, str) and isinstance(values, np.ndarray) for name, values in found.items()
    )
    return dict(found) if plain else None


def is_plain(archive: zipfile.ZipFile, size: int) -> bool:
    """Whether an archive of ``size`` bytes unpacks to no more than that; nothing is compressed."""
    entries = archive.infolist()
    return not any(entry.compress_type for entry in entries) and (
        sum(entry.file_size for entry in entries) <= size
    )


def check_opcodes(pickled: bytes) -> None:
    """Raise UnpicklingError unless a pickle has only the operations of a plain state dict.

    None of them changes an object that is there, and no index needs more memory than the pickle.
    """
    for opcode, argument, _ in pickletools.genops(pickled):
        far = "PUT" in opcode.name and (argument or 0) > len(pickled)
        if opcode.name not in OPCODES or far:
            raise pickle.UnpicklingError(f"{opcode.name} {argument} is no part of a state dict")


class _Reader(pickle.Unpickler):
    """An unpickler that knows tensors and nothing else."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        if len(set(archive.namelist())) < len(archive.namelist()):
            raise pickle.UnpicklingError("two entries have the same name")
        self.archive = archive
        self.storages: dict[str, bytes] = {}
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        self.folder = pickled.removesuffix("data.pkl")
        if archive.read(f"{self.folder}byteorder") != b"little":
            raise pickle.UnpicklingError("the bytes of numbers are in another order")
        content = archive.read(pickled)
        check_opcodes(content)
        super().__init__(io.BytesIO(content))

    def find_class(self, module: str, name: str) -> Any:
        """Return what the file may name: the makers of a dictionary and of a tensor, and types."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _make_array
        if module == "torch" and name in STORAGES:
            return np.dtype(STORAGES[name])
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a state dict")

    def persistent_load(self, pid: Any) -> Storage:
        """Read the values of a storage."""
        _, dtype, key, _, _ = pid
        if key not in self.storages:
            self.storages[key] = self.archive.read(f"{self.folder}data/{key}")
        return self.storages[key], dtype


def _make_array(
    storage: Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *more: object,
) -> NDArray[Any]:
    """Make the array of a contiguous tensor; ``strides`` in elements.

    ``more`` is whether it requires a gradient, its hooks and its metadata, such as that its values
    must be negated.
    """
    content, dtype = storage
    if any(more[1:]) or any(size < 0 for size in shape):
        raise pickle.UnpicklingError("a tensor is not plain")
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    if any(size > 1 and step != own for size, step, own in zip(shape, strides, steps, strict=True)):
        raise pickle.UnpicklingError("a tensor is not contiguous")
    values = np.frombuffer(content, dtype, math.prod(shape), offset * dtype.itemsize)
    return values.reshape(shape)
