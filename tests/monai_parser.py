"""MONAI's own reading of a bundle, for tests."""

from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from bids_mfi.network.bundle import INFERENCE, METADATA, WEIGHTS
from bids_mfi.network.dense_vnet import DenseVNet


def read_by_monai(folder: Path) -> tuple[DenseVNet, Any]:
    """Network with the weights, and the description of its output, as MONAI makes them."""
    parser = ConfigParser()
    parser.read_config(folder / INFERENCE)
    parser.read_meta(folder / METADATA)
    network = parser.get_parsed_content("network_def")
    assert isinstance(network, DenseVNet)
    network.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
    return network, parser.get_parsed_content("_meta_#network_data_format#outputs#pred")
