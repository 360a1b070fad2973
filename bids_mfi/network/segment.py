"""Two images in, labels on their own grid out; must not know files, BIDS or reports.

The model grid lives only between :func:`resample_channels` and :func:`segment_to_grid`. Both take
the path that the bundle's ``inference`` names: the package's own, or that of ``niftynet_pipeline``.
"""

import os
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.errors import BundleError, PairError, UsageError
from bids_mfi.grid import Grid, reorient, resampled_grid, resize_linear
from bids_mfi.network import niftynet_pipeline as niftynet
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.dense_vnet import SIZE_DIVISOR, DenseVNet
from bids_mfi.network.intensity import standardise
from bids_mfi.network.local_intensity import standardise_locally
from bids_mfi.network.weights import load_network
from bids_mfi.options import LOCAL

# Without it some convolutions add up in an order that depends on the number of threads (MKL's
# matrix product on processors with AVX-512). MKL reads the variable at its first operation.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

DEVICES = ("auto", "cpu", "cuda")
MAX_MODEL_VOXELS = 30_000_000

Zooms = tuple[tuple[float, ...], tuple[float, ...]]

_LOADED: dict[tuple[str, str], DenseVNet] = {}


def choose_device(device: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        The name is unknown, or ``cuda`` is asked for and not there.
    """
    if device not in DEVICES:
        raise UsageError(f"device {device!r} is unknown, expected one of {', '.join(DEVICES)}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device cuda was asked for, but PyTorch finds no CUDA device here (the installed "
            f"PyTorch is {torch.__version__}). Use --device cpu, or install a PyTorch for CUDA."
        )
    found = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return torch.device(found)


def cached_network(bundle: ModelBundle, device: torch.device) -> DenseVNet:
    """Return the bundle's network; it is loaded once a process for each sha256 and device."""
    key = (bundle.sha256, str(device))
    if key not in _LOADED:
        _LOADED[key] = load_network(bundle, device)
    return _LOADED[key]


def segment_scan(
    in_phase: NDArray[np.floating],
    out_phase: NDArray[np.floating],
    grid: Grid,
    bundle: ModelBundle,
    device: torch.device,
) -> NDArray[np.int16]:
    """Labels of a scan on its own grid: all steps of this module in their order.

    Parameters
    ----------
    in_phase, out_phase : ndarray of float, shape (x, y, z)
    grid : Grid
        Of both images.

    Returns
    -------
    ndarray of int16, shape (x, y, z)
        Muscles.
    """
    channels, model_grid = resample_channels(in_phase, out_phase, grid, bundle)
    network = cached_network(bundle, device)
    return segment_to_grid(channels, model_grid, grid, bundle, network)[0]


def resample_channels(
    in_phase: NDArray[np.floating],
    out_phase: NDArray[np.floating],
    grid: Grid,
    bundle: ModelBundle,
    zooms_mm: Zooms | None = None,
) -> tuple[NDArray[np.float32], Grid]:
    """Resample the two images to the model grid; their signal keeps its unit.

    Voxel axes are permuted and flipped to the bundle's orientation and resampled to its spacing;
    a scan that is oblique stays oblique.

    Parameters
    ----------
    in_phase, out_phase : ndarray of float, shape (x, y, z)
    grid : Grid
        Of both images.
    bundle : ModelBundle
    zooms_mm : tuple of tuple of float, optional
        Voxel sizes as the header of each image states them, along its own axes; default those of
        the grid. Only the path of NiftyNet, which goes by them, uses them.

    Returns
    -------
    channels : ndarray of float32, shape (2, x, y, z)
        In the order of the bundle.
    model_grid : Grid

    Raises
    ------
    BundleError
        The field of view would need more than MAX_MODEL_VOXELS voxels.
    PairError
        The field of view is too small, or the two headers disagree about it.
    """
    if bundle.inference == "niftynet":
        return _resample_as_niftynet((in_phase, out_phase), grid, bundle, zooms_mm)
    images = {"in_phase": in_phase, "out_phase": out_phase}
    resampled = []
    for channel in bundle.channels:
        turned, turned_grid = reorient(images[channel], grid, bundle.axcodes)
        model_grid = resampled_grid(turned_grid, bundle.spacing_mm)
        _check_model_grid(model_grid, bundle)
        resampled.append(resize_linear(turned.astype(np.float32), model_grid.shape))
    return np.stack(resampled), model_grid


def model_shape(grid: Grid, bundle: ModelBundle, zooms_mm: tuple[float, ...]) -> niftynet.Triple:
    """Voxels of the model grid for a scan whose header states ``zooms_mm`` along its own axes."""
    placeholder = np.broadcast_to(np.int8(0), grid.shape)
    turned = reorient(placeholder, grid, bundle.axcodes)[1]
    if bundle.inference != "niftynet":
        return resampled_grid(turned, bundle.spacing_mm).shape
    zooms = _turn_zooms(grid, bundle, zooms_mm)
    return niftynet.resampled_shape(turned.shape, zooms, bundle.spacing_mm)


def _turn_zooms(
    grid: Grid, bundle: ModelBundle, zooms_mm: tuple[float, ...]
) -> tuple[float, float, float]:
    """Voxel sizes along the bundle's axes.

    A volume of which each axis is as long as its own number of voxels tells where the axes went.
    """
    axes = Grid((1, 2, 3), grid.affine)
    turned = reorient(np.zeros(axes.shape, np.int8), axes, bundle.axcodes)[1].shape
    x, y, z = (float(zooms_mm[length - 1]) for length in turned)
    return x, y, z


def _resample_as_niftynet(
    images: tuple[NDArray[np.floating], NDArray[np.floating]],
    grid: Grid,
    bundle: ModelBundle,
    zooms_mm: Zooms | None,
) -> tuple[NDArray[np.float32], Grid]:
    """Resample each image by the voxel size of its own header."""
    both = zooms_mm or (grid.spacing_mm, grid.spacing_mm)
    shapes = [model_shape(grid, bundle, zooms) for zooms in both]
    if shapes[0] != shapes[1]:
        raise PairError(
            f"The headers of the two images state voxels of {_listed(both[0])} mm and "
            f"{_listed(both[1])} mm, expected the same. Correct the voxel sizes (pixdim)."
        )
    turned_grid = reorient(images[0], grid, bundle.axcodes)[1]
    model_grid = niftynet.resampled_grid(turned_grid, shapes[0])
    _check_model_grid(model_grid, bundle)
    channels = [
        niftynet.resample_cubic(
            reorient(image, grid, bundle.axcodes)[0].astype(np.float32),
            _turn_zooms(grid, bundle, zooms),
            bundle.spacing_mm,
        )
        for image, zooms in zip(images, both, strict=True)
    ]
    return np.stack(channels), model_grid


def _listed(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _check_model_grid(grid: Grid, bundle: ModelBundle) -> None:
    voxels = int(np.prod(grid.shape, dtype=np.int64))
    if voxels > MAX_MODEL_VOXELS:
        raise BundleError(
            f"The scan covers {voxels} voxels of the grid of the model {bundle.name} "
            f"({bundle.spacing_mm} mm), expected at most {MAX_MODEL_VOXELS}. Crop the scan to the "
            "neck, or check the voxel size in its header."
        )


def segment_channels(
    channels: NDArray[np.float32], bundle: ModelBundle, network: DenseVNet
) -> NDArray[np.float32]:
    """Logits of every label for channels on the model grid.

    Parameters
    ----------
    channels : ndarray of float32, shape (2, x, y, z)
        As from :func:`resample_channels`.
    bundle : ModelBundle
    network : DenseVNet
        Of this bundle.

    Returns
    -------
    ndarray of float32, shape (labels, x, y, z)
        Of muscles and background; what the network takes for a vertebra is background.
    """
    return fold_vertebrae(segment_all_classes(channels, bundle, network), bundle)


def segment_all_classes(
    channels: NDArray[np.float32], bundle: ModelBundle, network: DenseVNet
) -> NDArray[np.float32]:
    """Logits of every class of the network, those of vertebrae at the end."""
    logits = _segment_view(channels, bundle, network)
    if bundle.mirrored:
        _average_mirrored(logits, channels, bundle, network)
    return logits


def fold_vertebrae(logits: NDArray[np.float32], bundle: ModelBundle) -> NDArray[np.float32]:
    """Count the classes of vertebrae as background, so that those of muscles are left."""
    if not bundle.vertebrae:
        return logits
    muscles = logits[: bundle.muscle_classes]
    np.maximum(muscles[0], logits[bundle.muscle_classes :].max(axis=0), out=muscles[0])
    return muscles


def part_vertebrae(classes: NDArray[np.integer], bundle: ModelBundle) -> NDArray[np.int16]:
    """Give vertebrae the numbers from 1, in the order of the bundle's ``vertebrae``, all else 0.

    Parameters
    ----------
    classes : ndarray of int
        Numbers of the network's classes, of any shape.
    """
    return np.asarray(np.maximum(classes - bundle.muscle_classes + 1, 0), dtype=np.int16)


def _segment_view(
    channels: NDArray[np.float32], bundle: ModelBundle, network: DenseVNet
) -> NDArray[np.float32]:
    """Logits of channels as they lie."""
    padded, inside = prepare_volume(channels, bundle)
    device = next(network.parameters()).device
    volume = torch.from_numpy(padded)[None].to(device)  # (1, 2, x, y, z)
    with torch.inference_mode():
        if bundle.inference == "windows":
            logits = _in_windows(network, volume, bundle)
        else:
            logits = network(volume)  # (1, labels, x, y, z)
        _check_logits(logits, bundle)
    return np.ascontiguousarray(logits[0].float().cpu().numpy()[(slice(None), *inside)])


def _check_logits(logits: Tensor, bundle: ModelBundle) -> Tensor:
    """Give the logits back, or raise BundleError where weights made them overflow.

    NaN is the highest of no comparison, so that such labels would be background or nonsense.
    """
    if not torch.isfinite(logits).all():
        raise BundleError(
            f"{bundle.folder}: the network computes values that are not finite for this scan. "
            "Expected weights of a training that converged; name another bundle by --bundle."
        )
    return logits


def _average_mirrored(
    logits: NDArray[np.float32],
    channels: NDArray[np.float32],
    bundle: ModelBundle,
    network: DenseVNet,
) -> None:
    """Change ``logits`` to the mean of themselves and of those of the mirror image.

    What the mirror image shows on the left is on the right of the scan: its axis is turned back
    and the classes of the two sides are exchanged. The image is turned before it is padded, so
    that a mirrored scan gives mirrored logits whatever its size.
    """
    across = 1 + next(axis for axis, code in enumerate(bundle.axcodes) if code in "LR")
    view = np.ascontiguousarray(np.flip(channels, across))
    mirrored = np.flip(_segment_view(view, bundle, network), across)
    other_side = bundle.table.mirrored_indices()
    for index, found in enumerate(logits):
        found += mirrored[other_side.get(index, index)]
        found /= 2


def label_channels(
    channels: NDArray[np.float32], bundle: ModelBundle, network: DenseVNet
) -> NDArray[np.int16]:
    """Most likely label of every voxel of the model grid; for all kinds of bundles.

    Parameters
    ----------
    channels : ndarray of float32, shape (2, x, y, z)
        As from :func:`resample_channels`.

    Returns
    -------
    ndarray of int16, shape (x, y, z)
    """
    if bundle.inference != "niftynet":
        logits = segment_channels(channels, bundle, network)
        return np.asarray(logits.argmax(axis=0), dtype=np.int16)
    device = next(network.parameters()).device
    volume, (x, y, z) = prepare_volume(channels, bundle)
    plan = niftynet.plan_windows(volume.shape[1:], (x, y, z), bundle.window, bundle.border)
    labels = niftynet.segment_windows(
        volume, plan, lambda window: _check_logits(network(window), bundle), device
    )[x, y, z]
    return np.asarray(labels, dtype=np.int16)


def prepare_volume(
    channels: NDArray[np.float32], bundle: ModelBundle
) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
    """Standardise and pad channels on the model grid, as the bundle's network is to see them.

    Parameters
    ----------
    channels : ndarray of float32, shape (2, x, y, z)
        As from :func:`resample_channels`.

    Returns
    -------
    volume : ndarray of float32, shape (2, x', y', z')
    inside : tuple of slice
        Where the channels lie in it.
    """
    shape = channels.shape[1:]
    if bundle.inference != "niftynet":
        return pad_edges(standardise_for(channels, bundle), working_shape(shape, bundle))
    percentiles = bundle.landmark_percentiles
    widths = niftynet.padding_widths(shape, bundle.padding, bundle.window)
    padded = np.stack([niftynet.pad_minimum(volume, widths) for volume in channels])
    volume = niftynet.standardise(
        padded, bundle.landmarks, (percentiles[0] / 100, percentiles[-1] / 100)
    )
    inside = (slice(low, low + size) for (low, _), size in zip(widths, shape, strict=True))
    return volume, tuple(inside)


def standardise_for(channels: NDArray[np.float32], bundle: ModelBundle) -> NDArray[np.float32]:
    """Standardise channels on the model grid in the way that a bundle has learnt from."""
    if bundle.intensity == LOCAL:
        return standardise_locally(channels, bundle.spacing_mm)
    return standardise(channels, bundle.landmarks)


def padded_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Round every size up to a multiple of 8.

    >>> padded_shape((160, 121, 36))
    (160, 128, 40)
    """
    return tuple(size + -size % SIZE_DIVISOR for size in (int(n) for n in shape))


def pad_edges(
    volume: NDArray[Any], shape: tuple[int, ...]
) -> tuple[NDArray[Any], tuple[slice, ...]]:
    """Enlarge the last three axes to ``shape`` on both sides, repeating the outermost voxels.

    Returns
    -------
    padded : ndarray, shape (..., *shape)
    inside : tuple of slice
        Where the volume lies in it.
    """
    leading = volume.ndim - len(shape)
    missing = [wanted - size for wanted, size in zip(shape, volume.shape[leading:], strict=True)]
    widths = [(0, 0)] * leading + [(n // 2, n - n // 2) for n in missing]
    inside = tuple(
        slice(n // 2, n // 2 + size)
        for n, size in zip(missing, volume.shape[leading:], strict=True)
    )
    return np.pad(volume, widths, mode="edge"), inside


def working_shape(shape: tuple[int, ...], bundle: ModelBundle) -> tuple[int, ...]:
    """Add the bundle's padding, and more if a window needs it."""
    padded = [size + 2 * padding for size, padding in zip(shape, bundle.padding, strict=True)]
    if bundle.inference == "windows":
        padded = [max(size, window) for size, window in zip(padded, bundle.window, strict=True)]
    return padded_shape(tuple(padded))


def _in_windows(network: DenseVNet, volume: Tensor, bundle: ModelBundle) -> Tensor:
    """Logits of overlapping windows; where several windows overlap, the mean of their inner parts.

    A window's border is left out except at the volume's own edge.
    """
    shape = tuple(volume.shape[2:])
    total = volume.new_zeros((bundle.out_channels, *shape))
    count = volume.new_zeros(shape)
    for start in _window_starts(shape, bundle):
        outer = tuple(slice(s, s + w) for s, w in zip(start, bundle.window, strict=True))
        logits = network(volume[(slice(None), slice(None), *outer)])[0]
        inner, target = _inner_part(start, shape, bundle)
        total[(slice(None), *target)] += logits[(slice(None), *inner)]
        count[target] += 1
    return (total / count)[None]


def _window_starts(shape: tuple[int, ...], bundle: ModelBundle) -> Iterator[tuple[int, ...]]:
    """Corners of windows that cover the volume with their inner parts.

    The last window of an axis ends where the volume ends.
    """
    axes = []
    for size, window, border in zip(shape, bundle.window, bundle.border, strict=True):
        starts = range(0, size - window, window - 2 * border)
        axes.append([*starts, size - window])
    yield from product(*axes)


def _inner_part(
    start: tuple[int, ...], shape: tuple[int, ...], bundle: ModelBundle
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Find the part of a window that counts, in its own and in the volume's coordinates."""
    inner, target = [], []
    for first, size, window, border in zip(start, shape, bundle.window, bundle.border, strict=True):
        low = border if first > 0 else 0
        high = window - border if first + window < size else window
        inner.append(slice(low, high))
        target.append(slice(first + low, first + high))
    return tuple(inner), tuple(target)


def segment_to_grid(
    channels: NDArray[np.float32],
    model_grid: Grid,
    scan_grid: Grid,
    bundle: ModelBundle,
    network: DenseVNet,
) -> tuple[NDArray[np.int16], NDArray[np.int16] | None]:
    """Labels on the scan's own grid for channels on the model grid.

    Parameters
    ----------
    channels : ndarray of float32, shape (2, x, y, z)
    model_grid : Grid
        Both as from :func:`resample_channels` for a scan on ``scan_grid``.
    scan_grid : Grid
    bundle : ModelBundle
    network : DenseVNet
        Of this bundle.

    Returns
    -------
    labels : ndarray of int16, shape of ``scan_grid``
        Muscles.
    vertebrae : ndarray of int16, shape of ``scan_grid``, or None
        0, or 1 and more in the order of the bundle's ``vertebrae``; None if it labels none.
    """
    if bundle.inference == "niftynet":
        return _segment_as_niftynet(channels, scan_grid, bundle, network), None
    logits = segment_all_classes(channels, bundle, network)
    found = labels_on_grid(logits, model_grid, scan_grid)
    if not bundle.vertebrae:
        return found, None
    return np.where(found < bundle.muscle_classes, found, np.int16(0)), part_vertebrae(
        found, bundle
    )


def _segment_as_niftynet(
    channels: NDArray[np.float32], scan_grid: Grid, bundle: ModelBundle, network: DenseVNet
) -> NDArray[np.int16]:
    labels = label_channels(channels, bundle, network)
    placeholder = np.broadcast_to(np.int8(0), scan_grid.shape)
    turned_grid = reorient(placeholder, scan_grid, bundle.axcodes)[1]
    nearest = niftynet.resample_nearest(labels, turned_grid.shape)
    own, _ = reorient(nearest, turned_grid, scan_grid.axcodes)
    return np.ascontiguousarray(own, dtype=np.int16)


def labels_on_grid(
    logits: NDArray[np.float32], model_grid: Grid, scan_grid: Grid
) -> NDArray[np.int16]:
    """Give every voxel of the scan its most likely label.

    The logits of one label after the other are interpolated linearly, so that boundaries are
    smoother than the model grid and only two volumes of the scan's size are held.

    Parameters
    ----------
    logits : ndarray of float32, shape (labels, x, y, z)
        On ``model_grid``.
    model_grid : Grid
        From :func:`resample_channels` for a scan on ``scan_grid``.
    scan_grid : Grid

    Returns
    -------
    ndarray of int16, shape of ``scan_grid``
    """
    placeholder = np.broadcast_to(np.int8(0), scan_grid.shape)
    turned_shape = reorient(placeholder, scan_grid, model_grid.axcodes)[1].shape
    turned_grid = resampled_to_shape(model_grid, turned_shape)
    highest = resize_linear(logits[0], turned_shape)
    labels = np.zeros(turned_shape, dtype=np.int16)
    for index in range(1, len(logits)):
        candidate = resize_linear(logits[index], turned_shape)
        np.copyto(labels, np.int16(index), where=candidate > highest)
        np.maximum(highest, candidate, out=highest)
    own, _ = reorient(labels, turned_grid, scan_grid.axcodes)
    return np.ascontiguousarray(own, dtype=np.int16)


def resampled_to_shape(grid: Grid, shape: tuple[int, int, int]) -> Grid:
    """Divide the field of view of a grid into this many voxels.

    >>> resampled_to_shape(Grid((2, 2, 2), ((2., 0, 0, 0), (0, 2., 0, 0), (0, 0, 2., 0),
    ...     (0, 0, 0, 1.))), (4, 2, 2)).spacing_mm
    (1.0, 2.0, 2.0)
    """
    step = np.array(grid.shape) / np.array(shape)
    affine = grid.matrix.copy()
    affine[:3, :3] = grid.matrix[:3, :3] * step
    affine[:3, 3] = (grid.matrix @ np.append((step - 1) / 2, 1.0))[:3]
    return Grid.from_array(shape, affine)


__all__ = [
    "cached_network",
    "choose_device",
    "label_channels",
    "labels_on_grid",
    "model_shape",
    "pad_edges",
    "padded_shape",
    "part_vertebrae",
    "prepare_volume",
    "resample_channels",
    "segment_channels",
    "segment_scan",
    "segment_to_grid",
    "working_shape",
]
