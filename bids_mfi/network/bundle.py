"""A trained network with all that is needed to use it rightly; must not know scans or BIDS.

A bundle is a folder in MONAI Bundle layout::

    configs/metadata.json    what the network expects and gives, and the sha256 of the weights
    configs/inference.json   from which MONAI's ConfigParser makes the network
    models/model.pt          its state dict
    LICENSE

Values that only this package reads stand in ``metadata.json`` under the key ``bids_mfi``.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bids_mfi.errors import BundleError, InputError
from bids_mfi.grid import MAX_SPACING_MM, MIN_SPACING_MM
from bids_mfi.muscles import MuscleTable
from bids_mfi.network.dense_vnet import (
    NORMALIZATIONS,
    PUBLISHED_STRIDE,
    PUBLISHED_WIDTHS,
    SIZE_DIVISOR,
    STEM_STRIDES,
    WIDTHS,
    DenseVNet,
)
from bids_mfi.network.intensity import PROBABILITIES_PERCENT, Landmarks
from bids_mfi.network.metadata_values import (
    read_label_rows,
    read_list,
    read_name,
    read_number,
    read_sha256,
    read_text,
    read_texts,
    read_whole,
)
from bids_mfi.network.niftynet_pipeline import LANDMARK_PROBABILITIES
from bids_mfi.options import INTENSITIES, LANDMARKS
from bids_mfi.printing import show_value
from bids_mfi.reading import read_json, read_regular_file
from bids_mfi.storage import write_atomically
from bids_mfi.vertebrae import VERTEBRAE, vertebra_indices

METADATA = Path("configs", "metadata.json")
INFERENCE = Path("configs", "inference.json")
WEIGHTS = Path("models", "model.pt")
LICENSE = Path("LICENSE")
FORMAT_VERSION = 1
MONAI_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
NETWORK_TARGET = "bids_mfi.network.dense_vnet.DenseVNet"
CHANNELS = ("in_phase", "out_phase")
INFERENCE_MODES = ("whole_volume", "windows", "niftynet")
REMEDY = "Fetch or write the bundle again, or name another one by --bundle."

# Far beyond any network of this kind; within them a bundle cannot exhaust memory by its own values.
MOST_WEIGHTS_BYTES = 2**30
MOST_WINDOW, MOST_WINDOW_VOXELS = 1024, 2**25
MOST_PADDING = 256
LABEL_FIELDS = ("index", "name", "muscle", "hemi", "color", "levels")

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """What a trained network expects and gives.

    Attributes
    ----------
    folder : Path
        Where the bundle was loaded from.
    name, version : str
    sha256 : str
        Of ``models/model.pt``, hexadecimal.
    channels : tuple of str
        Images in the order of the network's inputs.
    spacing_mm : tuple of float
        Voxel size of the model grid, along ``axcodes``.
    axcodes : tuple of str
        Orientation of the model grid.
    inference : str
        ``whole_volume``: one pass over the padded volume; ``windows``: overlapping windows;
        ``niftynet``: the windows and all other steps of NiftyNet, see ``niftynet_pipeline``.
    window, border, padding : tuple of int
        Voxels along each axis: size of a window, the margin of each window whose logits are left
        out, and the voxels added on both sides of the volume. ``window`` and ``border`` are unused
        with ``whole_volume``.
    landmarks : tuple of tuple of float
        Intensity landmarks of each channel, see ``intensity`` and ``niftynet_pipeline``.
    landmark_percentiles : tuple of float
        To which percentiles the landmarks belong.
    table : MuscleTable
        The labels, with the vertebral levels on which they were learnt.
    intensity : str
        How images are standardised: ``landmarks``, see ``intensity`` and ``niftynet_pipeline``, or
        ``local``, see ``local_intensity``; this has no landmarks.
    vertebrae : tuple of str
        Levels of the vertebral bodies that the network labels beside the muscles, in the order of
        their classes, which follow those of the muscles.
    normalization : str
        Of the network, ``batch`` or ``instance``.
    stem_stride : tuple of int
    widths : str
        Of the network, see ``DenseVNet``.
    mirrored : bool
        Logits are the mean of those of the volume and, sides exchanged, of its mirror image.
    training : tuple of (str, str)
        How the weights were made: data, ranges, recipe; for a person to read.
    licence : str
        SPDX identifier of the weights' licence.
    description : str
    references : tuple of str
    origin : tuple of (str, str)
        The files a converted bundle was made from, with their sha256; for a person to read.
    """

    folder: Path
    name: str
    version: str
    sha256: str
    spacing_mm: tuple[float, float, float]
    landmarks: Landmarks
    table: MuscleTable
    description: str
    licence: str
    channels: tuple[str, ...] = CHANNELS
    axcodes: tuple[str, str, str] = ("R", "A", "S")
    inference: str = "whole_volume"
    window: Triple = (0, 0, 0)
    border: Triple = (0, 0, 0)
    padding: Triple = (0, 0, 0)
    normalization: str = "instance"
    stem_stride: Triple = PUBLISHED_STRIDE
    widths: str = PUBLISHED_WIDTHS
    mirrored: bool = False
    intensity: str = LANDMARKS
    vertebrae: tuple[str, ...] = ()
    training: tuple[tuple[str, str], ...] = ()
    references: tuple[str, ...] = ()
    landmark_percentiles: tuple[float, ...] = PROBABILITIES_PERCENT
    origin: tuple[tuple[str, str], ...] = ()

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.folder / WEIGHTS

    @property
    def identity(self) -> str:
        """sha256 over all that decides labels: the weights, and how images are given to them."""
        intensity = (self.landmarks, self.landmark_percentiles)
        images = (self.channels, self.spacing_mm, self.axcodes, intensity)
        passes = (self.inference, self.window, self.border, self.padding, self.normalization)
        # A bundle of the published network keeps the identity that it had before there were others.
        network = () if self.stem_stride == PUBLISHED_STRIDE else (self.stem_stride,)
        widths = () if self.widths == PUBLISHED_WIDTHS else (self.widths,)
        mirrored = ("mirrored",) if self.mirrored else ()
        local = () if self.intensity == LANDMARKS else (self.intensity,)
        more = (*network, *widths, *mirrored, *local, *self.vertebrae)
        decisive = (self.sha256, images, passes, self.table, *more)
        return hashlib.sha256(repr(decisive).encode()).hexdigest()

    @property
    def muscle_classes(self) -> int:
        """Classes of muscles: the highest label and all below it, with background."""
        return 1 + max(muscle.index for muscle in self.table)

    @property
    def out_channels(self) -> int:
        """Classes of the network."""
        return self.muscle_classes + len(self.vertebrae)

    @property
    def least_shape(self) -> Triple:
        """Voxels of the model grid below which the path that the weights were made for ends."""
        if self.inference != "niftynet":
            return (0, 0, 0)
        x, y, z = (max(0, w - 2 * p) for w, p in zip(self.window, self.padding, strict=True))
        return x, y, z


# ------------------------------------------------------------------------------------- reading


def load_bundle(folder: Path) -> ModelBundle:
    """Read and check a bundle; the weights' sha256 is verified here every time.

    Raises
    ------
    BundleError
        A file is missing or unreadable, a value is missing, does not fit or is beyond its limits,
        or the weights are not those the bundle was written with or do not fit the network.
    """
    if not folder.is_dir():
        raise BundleError(
            f"{folder}: no such folder. Expected a model bundle ({METADATA}, {WEIGHTS}). {REMEDY}"
        )
    document = _read_json(folder / METADATA)
    bundle = _parse_metadata(folder, document)
    _check_values(bundle)
    _check_inference_config(bundle)
    state = read_state_dict(bundle.weights, _read_verified(bundle))
    _check_state_dict(bundle.weights, state, _tensors_of_network(bundle))
    return bundle


def _tensors_of_network(bundle: ModelBundle) -> dict[str, Tensor]:
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
    state = read_state_dict(bundle.weights, _read_verified(bundle))
    network = make_network(bundle)
    _check_state_dict(bundle.weights, state, network.state_dict())
    network.load_state_dict(state)
    return network.to(device).eval()


def make_network(bundle: ModelBundle) -> DenseVNet:
    """Make the network that a bundle describes, with random weights."""
    channels, classes = len(bundle.channels), bundle.out_channels
    return DenseVNet(channels, classes, bundle.normalization, bundle.stem_stride, bundle.widths)


def _read_verified(bundle: ModelBundle) -> bytes:
    """Content of the weights' file, after its sha256 was found right."""
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
            f"says; the weights were altered or damaged. {REMEDY}"
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
        It holds anything but tensors with names.
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
    """Refuse an archive that unpacks to more than it is; ``torch.save`` compresses nothing."""
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


def _check_state_dict(
    path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
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
                f"{path}: {name} holds no plain values (sparse, or without any), expected a "
                f"dense tensor. {REMEDY}"
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
        if not torch.isfinite(found[name].to(tensor.dtype)).all():
            raise BundleError(
                f"{path}: {name} has values that are not finite as {tensor.dtype}; training has "
                f"failed, or they are too large. {REMEDY}"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path)
    except FileNotFoundError:
        published = (path.parent.parent / "inference.ini").exists()
        hint = (
            "This is a published NiftyNet model: `python -m bids_mfi convert` makes a bundle of it."
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


def _parse_metadata(folder: Path, document: dict[str, Any]) -> ModelBundle:
    try:
        own = document["bids_mfi"]
        if own["format_version"] != FORMAT_VERSION:
            raise BundleError(
                f"{folder / METADATA}: has format_version {show_value(own['format_version'])}, "
                f"expected {FORMAT_VERSION}. Use the version of bids_mfi that wrote the bundle. "
                f"{REMEDY}"
            )
        channels = read_list(read_name, own["channels"])
        return ModelBundle(
            folder=folder,
            name=read_name(document["name"]),
            version=read_name(document["version"]),
            description=read_text(document["description"]),
            licence=read_name(own["licence"]),
            sha256=read_sha256(own["sha256"]),
            channels=channels,
            spacing_mm=read_list(read_number, own["spacing_mm"], 3),
            axcodes=read_list(read_name, own["axcodes"], 3),
            inference=read_name(own["inference"]),
            window=read_list(read_whole, own["window"], 3),
            border=read_list(read_whole, own["border"], 3),
            padding=read_list(read_whole, own["padding"], 3),
            normalization=read_name(own["normalization"]),
            stem_stride=read_list(read_whole, own.get("stem_stride", PUBLISHED_STRIDE), 3),
            widths=read_name(own.get("widths", PUBLISHED_WIDTHS)),
            mirrored=own.get("mirrored", False),
            intensity=read_name(own.get("intensity", LANDMARKS)),
            vertebrae=read_list(read_name, own.get("vertebrae", [])),
            landmarks=tuple(read_list(read_number, own["landmarks"][c]) for c in channels),
            table=read_label_rows(own["labels"]),
            training=read_texts(own["training"]),
            references=read_list(read_text, document["references"]),
            landmark_percentiles=read_list(read_number, own["landmark_percentiles"]),
            origin=read_texts(own.get("origin", {})),
        )
    except KeyError as error:
        raise BundleError(
            f"{folder / METADATA}: {error} is missing, expected it in a bundle of bids_mfi. "
            f"{REMEDY}"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{folder / METADATA}: a value is not of the kind expected ({error}). {REMEDY}"
        ) from error


def _check_values(bundle: ModelBundle) -> None:
    for finding, expected in _misfits(bundle):
        raise BundleError(f"{bundle.folder / METADATA}: {finding}, expected {expected}. {REMEDY}")


def _misfits(bundle: ModelBundle) -> list[tuple[str, str]]:
    """List what was found and what was expected, for each value that does not fit."""
    percentiles = _expected_percentiles(bundle)
    knots = len(percentiles)
    pairs_of_axes = ({"L", "R"}, {"P", "A"}, {"I", "S"})
    windows = bundle.inference in ("windows", "niftynet")
    axes = set(bundle.axcodes)
    margins = [*zip(bundle.border, bundle.window, strict=True)]
    checks = (
        (not bundle.mirrored or bundle.inference != "niftynet", "mirrored with NiftyNet's path",
         "mirrored only with whole_volume or windows"),
        (bundle.channels == CHANNELS, f"channels {bundle.channels}", f"{CHANNELS}"),
        (bundle.landmark_percentiles == percentiles,
         f"landmark_percentiles {list(bundle.landmark_percentiles)}", f"{list(percentiles)}"),
        (all(len(row) == knots for row in bundle.landmarks),
         f"{[len(row) for row in bundle.landmarks]} landmarks", f"{knots} for each channel"),
        (all(all(a <= b for a, b in pairwise(row)) and (row[:1] < row[-1:] or not knots)
             for row in bundle.landmarks), "landmarks that fall", "rising ones"),
        (set(bundle.vertebrae) <= set(VERTEBRAE)
         and len(set(bundle.vertebrae)) == len(bundle.vertebrae),
         f"vertebrae {list(bundle.vertebrae)}", f"each once, of {', '.join(VERTEBRAE)}"),
        (not bundle.vertebrae or bundle.inference != "niftynet", "vertebrae with NiftyNet's path",
         "none there"),
        (bundle.intensity in INTENSITIES, f"intensity {bundle.intensity!r}",
         " or ".join(INTENSITIES)),
        (bundle.intensity == LANDMARKS or bundle.inference != "niftynet",
         f"intensity {bundle.intensity!r} with NiftyNet's path", f"intensity {LANDMARKS!r} there"),
        (all(MIN_SPACING_MM <= size <= MAX_SPACING_MM for size in bundle.spacing_mm),
         f"spacing_mm {bundle.spacing_mm}",
         f"numbers from {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g}"),
        (all(len(pair & axes) == 1 for pair in pairs_of_axes),
         f"axcodes {bundle.axcodes}", "one of L/R, one of P/A, one of I/S"),
        (bundle.inference in INFERENCE_MODES, f"inference {bundle.inference!r}",
         " or ".join(INFERENCE_MODES)),
        (bundle.normalization in NORMALIZATIONS, f"normalization {bundle.normalization!r}",
         " or ".join(NORMALIZATIONS)),
        (set(bundle.stem_stride) <= set(STEM_STRIDES), f"stem_stride {bundle.stem_stride}",
         f"of {STEM_STRIDES}"),
        (bundle.widths in WIDTHS, f"widths {bundle.widths!r}", " or ".join(WIDTHS)),
        (all(0 <= size <= MOST_PADDING for size in bundle.padding),
         f"padding {bundle.padding}", f"0 to {MOST_PADDING} voxels"),
        (not windows or (all(0 < w <= MOST_WINDOW and w % SIZE_DIVISOR == 0 for w in bundle.window)
                         and math.prod(bundle.window) <= MOST_WINDOW_VOXELS),
         f"window {bundle.window}", f"multiples of {SIZE_DIVISOR} up to {MOST_WINDOW}, "
         f"{MOST_WINDOW_VOXELS} voxels in all"),
        (not windows or all(0 <= 2 * b < w for b, w in margins),
         f"border {bundle.border}", "less than half of the window"),
        (len(bundle.table) > 0, "no labels", "at least one"),
        (isinstance(bundle.mirrored, bool), f"mirrored {bundle.mirrored!r}", "true or false"),
        (not bundle.mirrored or bundle.table.has_both_sides,
         "mirrored, and a muscle on one side or twice", "every muscle once on both sides"),
    )  # fmt: skip
    return [(finding, expected) for fits, finding, expected in checks if not fits]


def _expected_percentiles(bundle: ModelBundle) -> tuple[float, ...]:
    """Those of ``intensity``; NiftyNet's own with the first and last as the bundle has them."""
    if bundle.intensity != LANDMARKS:
        return ()
    if bundle.inference != "niftynet" or not bundle.landmark_percentiles:
        return PROBABILITIES_PERCENT
    first, last = bundle.landmark_percentiles[0], bundle.landmark_percentiles[-1]
    inner = tuple(100 * probability for probability in LANDMARK_PROBABILITIES)
    return (min(max(first, 0.0), 9.0), *inner, max(min(last, 100.0), 91.0))


def _check_inference_config(bundle: ModelBundle) -> None:
    path = bundle.folder / INFERENCE
    found = _read_json(path).get("network_def")
    expected = _network_def(bundle)
    if found != expected:
        raise BundleError(
            f"{path}: network_def is {found}, expected {expected} from the channels, labels and "
            f"normalisation of {METADATA}. {REMEDY}"
        )


# ------------------------------------------------------------------------------------- writing


def check_texts(bundle: ModelBundle) -> None:
    """Refuse names, texts and labels that :func:`load_bundle` would refuse once they are written.

    A training calls it before it starts, not when its weights are to be saved.

    Raises
    ------
    InputError
    """
    rows = [{name: getattr(muscle, name) for name in LABEL_FIELDS} for muscle in bundle.table]
    checks = (
        ("card", "name", read_name, bundle.name),
        ("card", "version", read_name, bundle.version),
        ("card", "licence", read_name, bundle.licence),
        ("card", "description", read_text, bundle.description),
        ("card", "references", lambda texts: read_list(read_text, texts), bundle.references),
        ("label table", "labels", read_label_rows, rows),
    )
    for source, what, read, value in checks:
        try:
            read(value)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{what}: {error}. A model bundle with this could not be read; correct the "
                f"{source}."
            ) from error


def write_bundle(
    bundle: ModelBundle, state: Mapping[str, Tensor], licence_text: str
) -> ModelBundle:
    """Write a bundle into ``bundle.folder``; the same input gives the same bytes.

    Parameters
    ----------
    bundle : ModelBundle
        Its ``sha256`` is not read but made from ``state``.
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
    _check_values(bundle)
    _check_state_dict(bundle.weights, state, make_network(bundle).state_dict())
    weights = encode_state_dict(state)
    sha256 = hashlib.sha256(weights).hexdigest()
    files = {
        WEIGHTS: weights,
        METADATA: _encode_json(_metadata(bundle, sha256)),
        INFERENCE: _encode_json(_inference_config(bundle)),
        LICENSE: licence_text.encode(),
    }
    for name, content in files.items():
        write_atomically(bundle.folder / name, content)
    return load_bundle(bundle.folder)


def encode_state_dict(state: Mapping[str, Tensor]) -> bytes:
    """Bytes of a state dict as ``torch.save`` writes it, the same for the same tensors."""
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    return buffer.getvalue()


def _encode_json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _network_def(bundle: ModelBundle) -> dict[str, Any]:
    definition = {
        "_target_": NETWORK_TARGET,
        "in_channels": len(bundle.channels),
        "out_channels": bundle.out_channels,
        "normalization": bundle.normalization,
    }
    if bundle.stem_stride != PUBLISHED_STRIDE:
        definition["stem_stride"] = list(bundle.stem_stride)
    if bundle.widths != PUBLISHED_WIDTHS:
        definition["widths"] = bundle.widths
    return definition


def _inference_config(bundle: ModelBundle) -> dict[str, Any]:
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": _network_def(bundle),
        "network": "$@network_def.to(@device)",
    }


def _metadata(bundle: ModelBundle, sha256: str) -> dict[str, Any]:
    return {
        "schema": MONAI_SCHEMA,
        "version": bundle.version,
        "changelog": {bundle.version: bundle.description},
        "monai_version": version("monai"),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {},
        "name": bundle.name,
        "task": "Segmentation of neck muscles on in-phase and out-of-phase Dixon MRI",
        "description": bundle.description,
        "authors": "bids_mfi contributors",
        "copyright": f"Weights under {bundle.licence}; see LICENSE",
        "intended_use": "Research only; not for diagnosis",
        "references": list(bundle.references),
        "network_data_format": _data_format(bundle),
        "bids_mfi": _own_metadata(bundle, sha256),
    }


def _data_format(bundle: ModelBundle) -> dict[str, Any]:
    spatial = [f"{SIZE_DIVISOR}*n"] * 3
    names = {muscle.index: muscle.name for muscle in bundle.table}
    bodies = vertebra_indices(bundle.muscle_classes, len(bundle.vertebrae))
    names |= {i: f"vertebra_{v}" for i, v in zip(bodies, bundle.vertebrae, strict=True)}
    classes = range(bundle.out_channels)
    return {
        "inputs": {
            "image": {
                "type": "image",
                "format": "magnitude",
                "modality": "MR",
                "num_channels": len(bundle.channels),
                "spatial_shape": spatial,
                "dtype": "float32",
                "value_range": [],
                "is_patch_data": bundle.inference != "whole_volume",
                "channel_def": {str(i): name for i, name in enumerate(bundle.channels)},
            }
        },
        "outputs": {
            "pred": {
                "type": "image",
                "format": "segmentation",
                "num_channels": bundle.out_channels,
                "spatial_shape": spatial,
                "dtype": "float32",
                "value_range": [],
                "is_patch_data": bundle.inference != "whole_volume",
                "channel_def": {str(i): names.get(i, "background") for i in classes},
            }
        },
    }


def _own_metadata(bundle: ModelBundle, sha256: str) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "sha256": sha256,
        "licence": bundle.licence,
        "channels": list(bundle.channels),
        "spacing_mm": list(bundle.spacing_mm),
        "axcodes": list(bundle.axcodes),
        "inference": bundle.inference,
        "window": list(bundle.window),
        "border": list(bundle.border),
        "padding": list(bundle.padding),
        "normalization": bundle.normalization,
        "stem_stride": list(bundle.stem_stride),
        "widths": bundle.widths,
        "mirrored": bundle.mirrored,
        "intensity": bundle.intensity,
        "vertebrae": list(bundle.vertebrae),
        "landmark_percentiles": list(bundle.landmark_percentiles),
        "landmarks": {
            channel: list(row)
            for channel, row in zip(bundle.channels, bundle.landmarks, strict=True)
        },
        "labels": [
            {field: getattr(muscle, field) for field in LABEL_FIELDS} for muscle in bundle.table
        ],
        "training": dict(bundle.training),
        "origin": dict(bundle.origin),
    }
