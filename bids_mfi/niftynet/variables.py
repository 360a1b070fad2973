"""Variables of the published network: their names, and their values as tensors of this package."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.errors import ConversionError
from bids_mfi.network.architecture import DENSE_UNITS
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.niftynet.settings import CLASSES, IMAGES
from bids_mfi.niftynet.tensor_bundle import Checkpoint, read_tensors

SCOPE = "DenseVNet"
IGNORED_SLOTS = ("Adam", "Adam_1", "Momentum", "RMSProp", "RMSProp_1", "Adagrad")
IGNORED_COUNTERS = ("biased", "local_step")
OPTIMISER_VARIABLES = ("ApplyGradients/beta1_power", "ApplyGradients/beta2_power")


def variable_names() -> dict[str, str]:
    """For each tensor of ``DenseVNet().state_dict()`` its variable in a NiftyNet checkpoint.

    >>> names = variable_names()
    >>> len(names), names["blocks.2.skip.conv.weight"]
    (161, 'DenseVNet/dense_feature_stack_block_2/conv_bn_relu/conv_/w')
    """
    names = dict(_norm_names("pool_bn", f"{SCOPE}/batch_norm"))
    names |= _unit_names("init_conv", f"{SCOPE}/conv_bn")
    for block, units in enumerate(DENSE_UNITS):
        scope = f"{SCOPE}/dense_feature_stack_block{_suffix(block)}"
        for unit in range(units):
            child = f"{scope}/dense_feature_stack_block/conv_bn_relu{_suffix(unit)}"
            names |= _unit_names(f"blocks.{block}.dense.{unit}", child)
        names |= _unit_names(f"blocks.{block}.skip", f"{scope}/conv_bn_relu")
        if block + 1 < len(DENSE_UNITS):
            names |= _unit_names(f"blocks.{block}.down", f"{scope}/conv_bn_relu_1")
    final = f"{SCOPE}/conv/conv_"
    return names | {"final.weight": f"{final}/w", "final.bias": f"{final}/b"}


def _suffix(number: int) -> str:
    return f"_{number}" if number else ""


def _unit_names(own: str, scope: str) -> dict[str, str]:
    return {f"{own}.conv.weight": f"{scope}/conv_/w", **_norm_names(f"{own}.bn", f"{scope}/bn_")}


def _norm_names(own: str, scope: str) -> dict[str, str]:
    return {
        f"{own}.weight": f"{scope}/gamma",
        f"{own}.bias": f"{scope}/beta",
        f"{own}.running_mean": f"{scope}/moving_mean",
        f"{own}.running_var": f"{scope}/moving_variance",
    }


def read_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """State dict of ``DenseVNet`` from a checkpoint, every variable verified.

    The update counts of the moving averages are set to the checkpoint's iteration.

    Raises
    ------
    ConversionError
        A variable is missing, unknown, of another shape, damaged or not finite.
    """
    names = variable_names()
    wanted = DenseVNet(len(IMAGES), CLASSES, "batch").state_dict()
    _check_variables(checkpoint, {names[own]: tuple(wanted[own].shape) for own in names})
    tensors = read_tensors(checkpoint, names.values())
    _check_numbers(checkpoint, tensors)
    iteration = torch.tensor(int(checkpoint.prefix.name.rpartition("-")[2]))
    return {
        own: _as_torch(tensors[names[own]]) if own in names else iteration.clone() for own in wanted
    }


def _as_torch(tensor: NDArray[np.float32]) -> Tensor:
    """TensorFlow's kernels are (x, y, z, in, out), PyTorch's (out, in, x, y, z)."""
    turned = np.transpose(tensor, (4, 3, 0, 1, 2)) if tensor.ndim == 5 else tensor
    return torch.from_numpy(np.ascontiguousarray(turned))


def _check_variables(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if name not in checkpoint.entries:
            raise ConversionError(
                f"{checkpoint.index}: the variable {name} is missing, expected the {len(shapes)} "
                "of NiftyNet's dense_vnet with 2 images and 15 classes."
            )
        found = checkpoint.entries[name].shape
        turned = (found[4], found[3], *found[:3]) if len(found) == 5 else found
        if turned != shape:
            expected = (*shape[2:], shape[1], shape[0]) if len(shape) == 5 else shape
            raise ConversionError(
                f"{checkpoint.index}: {name} has the shape {found}, expected {expected} as in "
                "NiftyNet's dense_vnet with 2 images and 15 classes."
            )
    for name in unknown_variables(checkpoint.entries, shapes):
        raise ConversionError(
            f"{checkpoint.index}: the variable {name} is unknown, expected only those of "
            "NiftyNet's dense_vnet with its default parameters and of its optimiser."
        )


def unknown_variables(found: Iterable[str], needed: Iterable[str]) -> Iterator[str]:
    """Variables that are neither needed nor left by the optimiser or the moving averages.

    >>> found = ["a/w", "a/w/Adam", "b/w/Adam", "s/moving_mean", "s/s/moving_mean/biased"]
    >>> list(unknown_variables(found, ["a/w", "s/moving_mean"]))
    ['b/w/Adam']
    """
    known = set(needed)
    for name in sorted(set(found) - known):
        stem, _, last = name.rpartition("/")
        slot = stem in known and last in IGNORED_SLOTS
        counter = last in IGNORED_COUNTERS and _without_repetition(stem) in known
        if not (slot or counter or name in OPTIMISER_VARIABLES):
            yield name


def _without_repetition(stem: str) -> str:
    """Name of the moving average whose counter repeats the scope.

    >>> _without_repetition("a/bn_/a/bn_/moving_mean")
    'a/bn_/moving_mean'
    """
    scope, _, last = stem.rpartition("/")
    half = scope[: len(scope) // 2]
    return f"{half}/{last}" if scope == f"{half}/{half}" else stem


def _check_numbers(checkpoint: Checkpoint, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ConversionError(
                f"{checkpoint.data}: {name} holds values that are not finite; training has failed. "
                "Use another checkpoint."
            )
        if name.endswith("/moving_variance") and (tensor < 0).any():
            raise ConversionError(f"{checkpoint.data}: {name} is negative, expected a variance.")
