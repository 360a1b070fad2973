"""The JSON documents of a bundle: writing and parsing."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bids_mfi.errors import BundleError
from bids_mfi.network.architecture import PUBLISHED_STRIDE, PUBLISHED_WIDTHS, SIZE_DIVISOR
from bids_mfi.network.bundle import LABEL_FIELDS, METADATA, REMEDY, WHOLE_VOLUME, ModelBundle
from bids_mfi.network.metadata_values import (
    read_label_rows,
    read_list,
    read_name,
    read_real,
    read_sha256,
    read_text,
    read_texts,
    read_whole,
)
from bids_mfi.options import LANDMARKS
from bids_mfi.printing import show_value
from bids_mfi.vertebrae import vertebra_indices

FORMAT_VERSION = 1

MONAI_VERSION = "1.6.1"  # the tests open bundles with it
MONAI_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)

NETWORK_TARGET = "bids_mfi.network.dense_vnet.DenseVNet"


def parse_metadata(folder: Path, document: dict[str, Any]) -> ModelBundle:
    """Make a bundle from its metadata; raises BundleError if a value is missing or wrong."""
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
            spacing_mm=read_list(read_real, own["spacing_mm"], 3),
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
            landmarks=tuple(read_list(read_real, own["landmarks"][c]) for c in channels),
            table=read_label_rows(own["labels"]),
            training=read_texts(own["training"]),
            references=read_list(read_text, document["references"]),
            landmark_percentiles=read_list(read_real, own["landmark_percentiles"]),
            origin=read_texts(own.get("origin", {})),
        )
    except KeyError as error:
        raise BundleError(
            f"{folder / METADATA}: {error} is missing, expected in a bundle of bids_mfi. {REMEDY}"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{folder / METADATA}: a value is not of the expected type ({error}). {REMEDY}"
        ) from error


def make_network_def(bundle: ModelBundle) -> dict[str, Any]:
    """Make the part of the configuration that names the network and its arguments."""
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


def make_inference_config(bundle: ModelBundle) -> dict[str, Any]:
    """Make the configuration with which MONAI builds the network and loads its weights."""
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": make_network_def(bundle),
        "network": "$@network_def.to(@device)",
    }


def make_metadata(bundle: ModelBundle, sha256: str) -> dict[str, Any]:
    """Make the metadata of a bundle whose weights have this sha256."""
    return {
        "schema": MONAI_SCHEMA,
        "version": bundle.version,
        "changelog": {bundle.version: bundle.description},
        "monai_version": MONAI_VERSION,
        "pytorch_version": version("torch").partition("+")[0],
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
                "is_patch_data": bundle.inference != WHOLE_VOLUME,
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
                "is_patch_data": bundle.inference != WHOLE_VOLUME,
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
