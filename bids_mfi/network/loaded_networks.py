"""The networks of bundles in PyTorch."""

import torch

from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.weights import read_weights

_LOADED: dict[tuple[str, str], DenseVNet] = {}


def make_network(bundle: ModelBundle) -> DenseVNet:
    """Make the network that a bundle describes, with random weights."""
    channels, classes = len(bundle.channels), bundle.out_channels
    return DenseVNet(channels, classes, bundle.normalization, bundle.stem_stride, bundle.widths)


def load_network(bundle: ModelBundle, device: torch.device) -> DenseVNet:
    """Load the network of a bundle with its weights, in evaluation mode.

    Raises
    ------
    BundleError
        The weights are not those of the bundle, not a plain state dict, or do not fit the network.
    """
    state = {name: torch.from_numpy(values) for name, values in read_weights(bundle).items()}
    with torch.device("meta"):  # no time for random weights that would be replaced
        network = make_network(bundle)
    network.load_state_dict(state, assign=True)
    return network.to(device).eval()


def cached_network(bundle: ModelBundle, device: torch.device) -> DenseVNet:
    """Return the bundle's network; it is loaded once per process for each sha256 and device."""
    key = (bundle.sha256, str(device))
    if key not in _LOADED:
        _LOADED[key] = load_network(bundle, device)
    return _LOADED[key]
