"""Weights of a bundle as arrays: verified, and checked against the network."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mfi.errors import BundleError
from bids_mfi.network.architecture import list_weights
from bids_mfi.network.bundle import METADATA, REMEDY, ModelBundle
from bids_mfi.network.state_archive import read_state_archive
from bids_mfi.reading import read_regular_file

# Far beyond any network of this kind; within them a bundle cannot exhaust memory by its own values.
MOST_WEIGHTS_BYTES = 2**30

Weights = dict[str, NDArray[Any]]


def read_weights(bundle: ModelBundle) -> Weights:
    """Weights by name, of the types that the network has.

    PyTorch takes a second to import. It is asked only about files that are not what ``torch.save``
    writes for dense tensors, and then says what is wrong with them.

    Raises
    ------
    BundleError
        The weights are not those of the bundle, not a plain state dict, or do not fit the network.
    """
    content = read_verified(bundle)
    found = read_state_archive(content)
    if found is None:
        from bids_mfi.network.state_dicts import plain_arrays, read_state_dict

        found = plain_arrays(bundle.weights, read_state_dict(bundle.weights, content))
    return check_weights(bundle, found)


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


def check_weights(bundle: ModelBundle, found: Mapping[str, NDArray[Any]]) -> Weights:
    """Convert weights to the types of the network.

    Raises
    ------
    BundleError
        Names, shapes or kinds of number are not those of the network, or a value is not finite.
    """
    path, channels = bundle.weights, len(bundle.channels)
    wanted = list_weights(channels, bundle.out_channels, bundle.normalization, bundle.widths)
    missing = sorted(set(wanted) - set(found))
    extra = sorted(set(found) - set(wanted))
    if missing or extra:
        raise BundleError(
            f"{path}: does not fit the network of {METADATA}: {len(missing)} tensors are missing "
            f"({', '.join(missing[:3])}) and {len(extra)} are unknown ({', '.join(extra[:3])}). "
            f"Expected the {len(wanted)} tensors of DenseVNet. {REMEDY}"
        )
    return {
        name: _check_tensor(path, name, found[name], expected) for name, expected in wanted.items()
    }


def _check_tensor(
    path: Path, name: str, found: NDArray[Any], expected: NDArray[Any]
) -> NDArray[Any]:
    if found.shape != expected.shape:
        raise BundleError(
            f"{path}: {name} has the shape {found.shape}, expected {expected.shape} for the "
            f"channels and labels of {METADATA}. {REMEDY}"
        )
    if found.dtype.kind != expected.dtype.kind:
        raise BundleError(
            f"{path}: {name} has the type {found.dtype}, expected {expected.dtype}. {REMEDY}"
        )
    with np.errstate(over="ignore"):  # the check of finite values reports it
        typed = np.array(found, expected.dtype, order="C")
    if not np.isfinite(typed).all():
        raise BundleError(
            f"{path}: {name} has values that are not finite as {typed.dtype}; training has "
            f"failed, or they are too large. {REMEDY}"
        )
    return typed
