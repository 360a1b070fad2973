"""Two images in, labels on their own grid out.

What depends on the kind of a bundle is in its :class:`bids_mfi.network.inference.Inference`.
"""

import numpy as np
from numpy.typing import NDArray

from bids_mfi.grid import Grid
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.engine import Engine
from bids_mfi.network.engines import EngineChoice, load_engine
from bids_mfi.network.inference import Zooms, choose_inference


def segment_scan(
    in_phase: NDArray[np.floating],
    out_phase: NDArray[np.floating],
    grid: Grid,
    bundle: ModelBundle,
    choice: EngineChoice | None = None,
) -> NDArray[np.int16]:
    """Labels of a scan on its own grid: all steps of this module in order.

    Parameters
    ----------
    in_phase, out_phase : ndarray of float, shape (x, y, z)
    grid : Grid
        Of both images.
    bundle : ModelBundle
    choice : EngineChoice, optional
        Default: as for ``--engine auto --device cpu``, with one thread.

    Returns
    -------
    ndarray of int16, shape (x, y, z)
        Muscles.
    """
    choice = choice or EngineChoice()
    channels, model_grid = resample_channels(in_phase, out_phase, grid, bundle)
    engine = load_engine(bundle, choice)
    return segment_to_grid(channels, model_grid, grid, bundle, engine, choice.threads)[0]


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
        the grid. Only the path of NiftyNet uses them.

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
    return choose_inference(bundle).resample((in_phase, out_phase), grid, zooms_mm)


def label_channels(
    channels: NDArray[np.float32], bundle: ModelBundle, engine: Engine
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
    return choose_inference(bundle).label(channels, engine)


def prepare_volume(
    channels: NDArray[np.float32], bundle: ModelBundle
) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
    """Standardise and pad channels on the model grid, for the bundle's network.

    Parameters
    ----------
    channels : ndarray of float32, shape (2, x, y, z)
        As from :func:`resample_channels`.

    Returns
    -------
    volume : ndarray of float32, shape (2, x', y', z')
    inside : tuple of slice
        Where the channels are in it.
    """
    return choose_inference(bundle).prepare(channels)


def segment_to_grid(
    channels: NDArray[np.float32],
    model_grid: Grid,
    scan_grid: Grid,
    bundle: ModelBundle,
    engine: Engine,
    threads: int = 1,
) -> tuple[NDArray[np.int16], NDArray[np.int16] | None]:
    """Labels on the scan's own grid for channels on the model grid.

    Parameters
    ----------
    channels : ndarray of float32, shape (2, x, y, z)
    model_grid : Grid
        Both as from :func:`resample_channels` for a scan on ``scan_grid``.
    scan_grid : Grid
    bundle : ModelBundle
    engine : Engine
        With the network of this bundle.
    threads : int
        For the interpolation of labels; without influence on the result.

    Returns
    -------
    labels : ndarray of int16, shape of ``scan_grid``
        Muscles.
    vertebrae : ndarray of int16, shape of ``scan_grid``, or None
        0, or 1 and more in the order of the bundle's ``vertebrae``; None if it labels none.
    """
    return choose_inference(bundle).label_on_grid(channels, model_grid, scan_grid, engine, threads)
