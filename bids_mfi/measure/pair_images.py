"""Images of a pair, read from disk, on one grid, and checked for their meaning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_mfi.errors import PairError
from bids_mfi.grid import Grid, describe_difference, same_grid
from bids_mfi.images import read_image, read_zooms_mm
from bids_mfi.measure.dixon import ScanSignals, check_phase_order, fat_and_water
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.pair_checks import (
    RatioMeasures,
    check_magnitude,
    check_ratios,
    is_same_image,
    measure_ratios,
)
from bids_mfi.threads import call_in_threads


def read_pair(pair: DixonPair) -> tuple[NDArray[np.float64], NDArray[np.float64], Grid]:
    """Read and check the in-phase and out-of-phase images of a scan.

    Returns
    -------
    in_phase, out_phase : ndarray of float64, shape (x, y, z)
    grid : Grid
        That of the in-phase image.

    Raises
    ------
    PairError
        An image cannot be used or is not a magnitude; or the two have different grids, are the
        same image, have unrelated scales or look exchanged.
    """
    in_phase, out_phase, grid, _ = read_measured_pair(pair)
    return in_phase, out_phase, grid


def read_measured_pair(
    pair: DixonPair, threads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64], Grid, RatioMeasures]:
    """Read and check a pair as :func:`read_pair`; also give the ratios that were checked."""
    (in_phase, grid), (out_phase, out_grid) = call_in_threads(
        [
            lambda: _read_magnitude(pair.in_phase, pair.in_phase_volume),
            lambda: read_image(pair.out_phase, pair.out_phase_volume),
        ],
        threads,
    )
    _check_grid((pair.in_phase, grid), (pair.out_phase, out_grid))
    _name_file(check_magnitude, (out_phase,), str(pair.out_phase))
    both = f"{pair.in_phase} and {pair.out_phase}"
    _, ratios, _ = call_in_threads(
        [
            lambda: _check_different((pair.in_phase, in_phase), (pair.out_phase, out_phase)),
            lambda: _measure_checked_ratios(in_phase, out_phase, both),
            lambda: _name_file(check_phase_order, (in_phase, out_phase), both),
        ],
        threads,
    )
    return in_phase, out_phase, grid, ratios


def _measure_checked_ratios(
    in_phase: NDArray[np.float64], out_phase: NDArray[np.float64], files: str
) -> RatioMeasures:
    ratios = measure_ratios(in_phase, out_phase)
    _name_file(check_ratios, (ratios,), files)
    return ratios


def _read_magnitude(path: Path, volume: int | None) -> tuple[NDArray[np.float64], Grid]:
    image, grid = read_image(path, volume)
    _name_file(check_magnitude, (image,), str(path))
    return image, grid


def _name_file(check: Callable[..., None], checked: tuple[Any, ...], files: str) -> None:
    """Run a check; the error it raises gets the names of the files."""
    try:
        check(*checked)
    except PairError as error:
        raise PairError(f"{files}: {error}") from None


def _check_different(
    first: tuple[Path, NDArray[np.float64]], second: tuple[Path, NDArray[np.float64]]
) -> None:
    """Raise PairError if two files hold the same image, even if it was scaled or copied."""
    if is_same_image(first[1], second[1]):
        raise PairError(
            f"{first[0]} and {second[0]}: identical images, up to a constant factor. Expected two "
            "different contrasts of one scan. Export the missing one, or name the right files with "
            "--bids-filter-file."
        )


def read_pair_zooms_mm(
    pair: DixonPair,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Voxel sizes that the headers of the in-phase and the out-of-phase image state."""
    return read_zooms_mm(pair.in_phase), read_zooms_mm(pair.out_phase)


def read_beside(
    path: Path, reference: Path, grid: Grid, volume_of_series: int | None = None
) -> NDArray[np.float64]:
    """Read an image that must be on the grid of ``reference``.

    Raises
    ------
    PairError
        The image cannot be used or is on another grid.
    """
    volume, own_grid = read_image(path, volume_of_series)
    _check_grid((reference, grid), (path, own_grid))
    return volume


def _check_grid(first: tuple[Path, Grid], second: tuple[Path, Grid]) -> None:
    if not same_grid(second[1], first[1]):
        raise PairError(
            f"{first[0]} and {second[0]}: the images are not on the same grid "
            f"({describe_difference(first[1], second[1])}). Both must come from one acquisition; "
            "name the right files with --bids-filter-file."
        )


def read_signals(pair: DixonPair, source: str) -> tuple[ScanSignals, Grid]:
    """Read all signals of a scan.

    Parameters
    ----------
    pair : DixonPair
    source : str
        Fat and water ``computed`` from in-phase and out-of-phase, or ``scanner``: the scanner's
        own images.

    Raises
    ------
    PairError
        As for :func:`read_pair`, or the scanner's images are required but missing.
    """
    in_phase, out_phase, grid = read_pair(pair)
    return complete_signals(in_phase, out_phase, grid, pair, source), grid


def complete_signals(
    in_phase: NDArray[np.float64],
    out_phase: NDArray[np.float64],
    grid: Grid,
    pair: DixonPair,
    source: str,
) -> ScanSignals:
    """Add fat and water to the images of :func:`read_pair`.

    Parameters as for :func:`read_signals`.

    Raises
    ------
    PairError
        The scanner's images are required but missing, or cannot be used.
    """
    if source == "computed":
        return ScanSignals(in_phase, out_phase, *fat_and_water(in_phase, out_phase))
    if pair.fat is None or pair.water is None:
        raise PairError(
            f"{pair.in_phase}: no fat and water images of the scanner were found beside it, but "
            "--fat-water scanner needs them. Name them with --bids-filter-file (queries fat and "
            "water), or leave --fat-water at computed."
        )
    fat = read_beside(pair.fat, pair.in_phase, grid, pair.fat_volume)
    water = read_beside(pair.water, pair.in_phase, grid, pair.water_volume)
    for path, image in ((pair.fat, fat), (pair.water, water)):
        _name_file(check_magnitude, (image,), str(path))
        _check_different((pair.in_phase, in_phase), (path, image))
        _check_different((pair.out_phase, out_phase), (path, image))
    _check_different((pair.fat, fat), (pair.water, water))
    return ScanSignals(in_phase, out_phase, fat, water)
