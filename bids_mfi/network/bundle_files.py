"""Bundles on disk, in MONAI's bundle layout: reading, checking and writing."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_mfi.errors import BundleError
from bids_mfi.network.bundle import INFERENCE, LICENSE, METADATA, REMEDY, WEIGHTS, ModelBundle
from bids_mfi.network.bundle_documents import (
    make_inference_config,
    make_metadata,
    make_network_def,
    parse_metadata,
)
from bids_mfi.network.bundle_values import check_values
from bids_mfi.network.weights import check_weights, read_weights
from bids_mfi.reading import read_json
from bids_mfi.storage import write_atomically

if TYPE_CHECKING:
    from torch import Tensor


def load_bundle(folder: Path) -> ModelBundle:
    """Read and check a bundle; the weights' sha256 is verified here every time.

    Raises
    ------
    BundleError
        A file is missing or unreadable, a value is missing, inconsistent or out of range, or the
        weights are not those of the bundle or do not fit the network.
    """
    if not folder.is_dir():
        raise BundleError(
            f"{folder}: no such folder. Expected a model bundle ({METADATA}, {WEIGHTS}). {REMEDY}"
        )
    document = _read_json(folder / METADATA)
    bundle = parse_metadata(folder, document)
    check_values(bundle)
    _check_inference_config(bundle)
    read_weights(bundle)
    return bundle


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path)
    except FileNotFoundError:
        published = (path.parent.parent / "inference.ini").exists()
        hint = (
            "This is a published NiftyNet model: convert it into a bundle with `python -m bids_mfi "
            "convert`."
        )
        raise BundleError(
            f"{path}: no such file, expected one in every model bundle. "
            f"{hint if published else REMEDY}"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(f"{path}: cannot be read as JSON ({reason}). {REMEDY}") from error
    if not isinstance(document, dict):
        raise BundleError(f"{path}: holds {type(document).__name__}, expected an object. {REMEDY}")
    return document


def _check_inference_config(bundle: ModelBundle) -> None:
    path = bundle.folder / INFERENCE
    found = _read_json(path).get("network_def")
    expected = make_network_def(bundle)
    if found != expected:
        raise BundleError(
            f"{path}: network_def is {found}, expected {expected} from the channels, labels and "
            f"normalisation of {METADATA}. {REMEDY}"
        )


def write_bundle(
    bundle: ModelBundle, state: Mapping[str, "Tensor"], licence_text: str
) -> ModelBundle:
    """Write a bundle into ``bundle.folder``; the same input gives the same bytes.

    Parameters
    ----------
    bundle : ModelBundle
        Its ``sha256`` is ignored and computed from ``state``.
    state : mapping of str to Tensor
        The network's state dict.
    licence_text : str
        Content of the LICENSE file.

    Returns
    -------
    ModelBundle
        As :func:`load_bundle` reads it.

    Raises
    ------
    BundleError
        The values do not fit the network.
    OutputError
        The folder cannot be written.
    """
    from bids_mfi.network.state_dicts import encode_state_dict, plain_arrays

    check_values(bundle)
    check_weights(bundle, plain_arrays(bundle.weights, state))
    weights = encode_state_dict(state)
    sha256 = hashlib.sha256(weights).hexdigest()
    files = {
        WEIGHTS: weights,
        METADATA: _encode_json(make_metadata(bundle, sha256)),
        INFERENCE: _encode_json(make_inference_config(bundle)),
        LICENSE: licence_text.encode(),
    }
    for name, content in files.items():
        write_atomically(bundle.folder / name, content)
    return load_bundle(bundle.folder)


def _encode_json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
