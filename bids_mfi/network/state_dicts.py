"""State dicts of PyTorch as bytes: read without executing anything in them, and written."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.errors import BundleError
from bids_mfi.network.bundle import REMEDY
from bids_mfi.network.state_archive import is_plain


def read_state_dict(path: Path, content: bytes) -> dict[str, Tensor]:
    """Tensors by name from the content of a file; nothing in it is executed.

    Parameters
    ----------
    path : Path
        For messages.
    content : bytes
        As ``torch.save`` writes it.

    Raises
    ------
    BundleError
        It holds anything other than named tensors.
    """
    _check_uncompressed(path, content)
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler fail in every way there is
        raise BundleError(
            f"{path}: is not a plain PyTorch state dict ({type(error).__name__}). Expected tensors "
            f"by name and nothing that would have to be executed. {REMEDY}"
        ) from error
    if not _is_state_dict(state):
        raise BundleError(
            f"{path}: holds {type(state).__name__}, expected a state dict: names and tensors, "
            f"nothing else. Save network.state_dict() instead. {REMEDY}"
        )
    return dict(state)


def _check_uncompressed(path: Path, content: bytes) -> None:
    """Refuse an archive that unpacks to more than its size; ``torch.save`` compresses nothing."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            plain = is_plain(archive, len(content))
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # torch.load says what it is
    if not plain:
        raise BundleError(
            f"{path}: is a compressed archive, expected one as torch.save writes it. {REMEDY}"
        )


def _is_state_dict(state: object) -> bool:
    return isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )


def plain_arrays(path: Path, state: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Tensors as arrays; numbers that NumPy does not have, such as bfloat16, become float32.

    Raises
    ------
    BundleError
        A tensor is sparse, quantised or without values.
    """
    return {name: _plain_array(path, name, tensor.detach()) for name, tensor in state.items()}


def _plain_array(path: Path, name: str, tensor: Tensor) -> NDArray[Any]:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        raise BundleError(
            f"{path}: {name} holds no plain values (sparse or empty), expected a dense tensor. "
            f"{REMEDY}"
        )
    plain = tensor.cpu().resolve_conj().resolve_neg()
    return (plain.float() if plain.is_floating_point() else plain).numpy()


def encode_state_dict(state: Mapping[str, Tensor]) -> bytes:
    """Bytes of a state dict as ``torch.save`` writes it, the same for the same tensors."""
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    return buffer.getvalue()
