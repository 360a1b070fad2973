"""Weights of a bundle: verified, checked against the network, loaded."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bids_mfi.errors import BundleError
from bids_mfi.network.bundle import METADATA, REMEDY, ModelBundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.reading import read_regular_file

# Far beyond any network of this kind; within them a bundle cannot exhaust memory by its own values.
MOST_WEIGHTS_BYTES = 2**30


def list_expected_tensors(bundle: ModelBundle) -> dict[str, Tensor]:
    """Names, shapes and types of the network's tensors, without their values."""
    with torch.device("meta"):
        return dict(make_network(bundle).state_dict())


def load_network(bundle: ModelBundle, device: torch.device) -> DenseVNet:
    """Load the network of a bundle with its weights, in evaluation mode.

    Raises
    ------
    BundleError
        The weights are not those of the bundle, not a plain state dict, or do not fit the network.
    """
    state = read_state_dict(bundle.weights, read_verified(bundle))
    with torch.device("meta"):  # no time for random weights that would be replaced
        network = make_network(bundle)
    wanted = network.state_dict()
    check_state_dict(bundle.weights, state, wanted)
    typed = {
        name: state[name].detach().to(tensor.dtype).contiguous() for name, tensor in wanted.items()
    }
    network.load_state_dict(typed, assign=True)
    return network.to(device).eval()


def make_network(bundle: ModelBundle) -> DenseVNet:
    """Make the network that a bundle describes, with random weights."""
    channels, classes = len(bundle.channels), bundle.out_channels
    return DenseVNet(channels, classes, bundle.normalization, bundle.stem_stride, bundle.widths)


def read_verified(bundle: ModelBundle) -> bytes:
    """Content of the weights' file, after its sha256 was verified."""
    try:
        content = read_regular_file(bundle.weights, MOST_WEIGHTS_BYTES)
    except OSError as error:
        raise BundleError(
            f"{bundle.weights}: cannot be read ({error.strerror}). {REMEDY}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != bundle.sha256:
        raise BundleError(
            f"{bundle.weights}: has the sha256 {found}, expected {bundle.sha256} as {METADATA} "
            f"says; the weights were changed or damaged. {REMEDY}"
        )
    return content


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
            compressed = any(entry.compress_type for entry in archive.infolist())
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # torch.load says what it is
    if compressed or unpacked > len(content):
        raise BundleError(
            f"{path}: is a compressed archive, expected one as torch.save writes it. {REMEDY}"
        )


def _is_state_dict(state: object) -> bool:
    return isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )


def check_state_dict(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise BundleError unless names, shapes and types are those of the network, and finite."""
    missing = sorted(set(wanted) - set(found))
    extra = sorted(set(found) - set(wanted))
    if missing or extra:
        raise BundleError(
            f"{path}: does not fit the network of {METADATA}: {len(missing)} tensors are missing "
            f"({', '.join(missing[:3])}) and {len(extra)} are unknown ({', '.join(extra[:3])}). "
            f"Expected the {len(wanted)} tensors of DenseVNet. {REMEDY}"
        )
    for name, tensor in wanted.items():
        if found[name].layout != torch.strided or found[name].is_meta:
            raise BundleError(
                f"{path}: {name} holds no plain values (sparse or empty), expected a dense tensor. "
                f"{REMEDY}"
            )
        if found[name].shape != tensor.shape:
            raise BundleError(
                f"{path}: {name} has the shape {tuple(found[name].shape)}, expected "
                f"{tuple(tensor.shape)} for the channels and labels of {METADATA}. {REMEDY}"
            )
        if found[name].is_floating_point() != tensor.is_floating_point():
            raise BundleError(
                f"{path}: {name} has the type {found[name].dtype}, expected {tensor.dtype}. "
                f"{REMEDY}"
            )
        if not np.isfinite(found[name].detach().to(tensor.dtype).numpy()).all():
            raise BundleError(
                f"{path}: {name} has values that are not finite as {tensor.dtype}; training has "
                f"failed, or they are too large. {REMEDY}"
            )


def encode_state_dict(state: Mapping[str, Tensor]) -> bytes:
    """Bytes of a state dict as ``torch.save`` writes it, the same for the same tensors."""
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    return buffer.getvalue()
