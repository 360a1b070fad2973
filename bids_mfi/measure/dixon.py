"""Dixon contrasts, image pairs and fat-water arithmetic; must not know models, names or reports.

Two-point Dixon imaging records the in-phase signal IP = W + F and the out-of-phase signal
OOP = W - F of water W and fat F. Of *magnitude* images OOP = |W - F|, so that the arithmetic of
:func:`fat_and_water` gives the smaller and the larger of the two signals: it folds at 50 % fat.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mfi.errors import PairError
from bids_mfi.grid import Grid, describe_difference, read_image, read_zooms_mm, same_grid
from bids_mfi.measure.pair_checks import check_magnitude, check_scale, is_same_image

# A pair counts as swapped when voxels much brighter out of phase outnumber the opposite by a share
# of all voxels with signal. Noise makes as many of either kind. T2* decay makes a ratio of 1.25 in
# the 2.3 ms between the echoes at 1.5 T only where T2* is below 10 ms.
STRONG_RATIO = 1.25
SIGNAL_FRACTION = 0.10
SWAPPED_FRACTION = 0.15

LEAST_NOISE_VOXELS = 200
SECOND_DIFFERENCES_NORM = 6.0  # of the weights (1, -2, 1) x (1, -2, 1): root of their squares' sum
NOISE_ANGLES = 30
MAD_TO_SD = 1.4826
ABOUT_AS_FINE = 1.02

FAT_SHIFT_PPM = 3.4
PROTON_MHZ_PER_T = 42.577

# Entities in the order in which BIDS 1.11.1 puts them into a name, but for `seg` and those after
# it, which only derivatives have; `stk` is a stack of Muscle-BIDS.
ENTITY_ORDER = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec",
    "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split",
    "recording", "chunk", "stk",
)  # fmt: skip


class Contrast(StrEnum):
    """What an image of a Dixon acquisition shows."""

    IN_PHASE = "in_phase"
    OUT_PHASE = "out_phase"
    WATER = "water"
    FAT = "fat"


class NamedByEntities:
    """What is named by the BIDS entities that its files share."""

    __slots__ = ()

    entities: tuple[tuple[str, str], ...]

    @property
    def participant(self) -> str:
        """Participant label without ``sub-``."""
        return dict(self.entities)["sub"]

    @property
    def session(self) -> str | None:
        """Session label without ``ses-``, None if the dataset has no sessions."""
        return dict(self.entities).get("ses")

    @property
    def scan(self) -> str:
        """The scan's name: its entities joined as in BIDS, ``sub-01_ses-01_acq-dixon``."""
        return "_".join(f"{key}-{value}" for key, value in self.entities)


@dataclass(frozen=True, slots=True)
class DixonPair(NamedByEntities):
    """One scan: its in-phase and out-of-phase images, and the scanner's water and fat if found.

    Attributes
    ----------
    in_phase, out_phase : Path
        Absolute paths of the two magnitude images.
    water, fat : Path or None
        The scanner's own water and fat images.
    entities : tuple of (str, str)
        BIDS entities that the images share, short names in BIDS order, values without the key:
        ``(("sub", "01"), ("ses", "01"), ("acq", "dixon"))``. ``sub`` always comes first.
    recognised_by : str
        How the contrast of the images was recognised, for a person to read.
    echo_times_ms : tuple of (float or None)
        Echo times of the in-phase and the out-of-phase image, milliseconds; None if unknown.
    field_strength_t : float or None
        Tesla.
    scale_slopes : tuple of (str, float, float)
        Slopes of the stored values that both sidecars give: field, in phase, out of phase.
    in_phase_volume, out_phase_volume, water_volume, fat_volume : int or None
        Which volume of a 4-D file the image is, counted from 0; None for a 3-D file.
    """

    in_phase: Path
    out_phase: Path
    entities: tuple[tuple[str, str], ...]
    recognised_by: str
    water: Path | None = None
    fat: Path | None = None
    echo_times_ms: tuple[float | None, float | None] = (None, None)
    field_strength_t: float | None = None
    scale_slopes: tuple[tuple[str, float, float], ...] = ()
    in_phase_volume: int | None = None
    out_phase_volume: int | None = None
    water_volume: int | None = None
    fat_volume: int | None = None

    def volume_of(self, contrast: Contrast) -> int | None:
        """Which volume of its file an image is; None for a 3-D file."""
        number: int | None = getattr(self, f"{contrast.value}_volume")
        return number


@dataclass(frozen=True, slots=True, eq=False)
class ScanSignals:
    """The four signals of a scan: arrays of float64 of one shape, in the scanner's units.

    Fat and water are computed from the other two or the scanner's own.
    """

    in_phase: NDArray[np.float64]
    out_phase: NDArray[np.float64]
    fat: NDArray[np.float64]
    water: NDArray[np.float64]


def fat_and_water(
    in_phase: NDArray[np.float64], out_phase: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fat F = (IP - OOP) / 2 and water W = (IP + OOP) / 2 of every voxel.

    Parameters
    ----------
    in_phase, out_phase : ndarray of float64, same shape
        Signal in the scanner's units.

    Returns
    -------
    fat, water : ndarray of float64
        Not clipped: noise and T2* decay can make fat slightly negative.

    References
    ----------
    Weber et al. 2021, doi:10.1038/s41598-021-95972-x, Image acquisition.

    Examples
    --------
    >>> fat, water = fat_and_water(np.array([10.0]), np.array([6.0]))
    >>> fat.item(), water.item()
    (2.0, 8.0)
    """
    return (in_phase - out_phase) / 2, (in_phase + out_phase) / 2


def fat_fraction_percent(
    fat: NDArray[np.float64], water: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Voxelwise fat fraction 100 F / (F + W), percent; NaN where F + W is not positive.

    Examples
    --------
    >>> fat_fraction_percent(np.array([2.0, 0.0]), np.array([8.0, 0.0])).tolist()
    [20.0, nan]
    """
    total = fat + water
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 100 * fat / total, np.nan)


def strong_contrast_counts(
    in_phase: NDArray[np.float64], out_phase: NDArray[np.float64]
) -> tuple[int, int]:
    """Count voxels much brighter in phase, and voxels much brighter out of phase.

    Fat and water cancel out of phase, so the first number is large in every true pair with fat;
    noise adds to both alike. Much means by more than STRONG_RATIO. Only voxels with signal count:
    those in which the brighter image is above SIGNAL_FRACTION of its 99th percentile.

    Examples
    --------
    >>> strong_contrast_counts(np.array([10.0, 9.0]), np.array([5.0, 9.5]))
    (1, 0)
    """
    signal = _has_signal(np.maximum(in_phase, out_phase))
    return (
        int(np.count_nonzero(signal & (in_phase > STRONG_RATIO * out_phase))),
        int(np.count_nonzero(signal & (out_phase > STRONG_RATIO * in_phase))),
    )


def _has_signal(image: NDArray[np.float64]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = image > max(SIGNAL_FRACTION * np.percentile(image, 99), 0)
    return mask


def measure_typical_signal(in_phase: NDArray[np.float64]) -> float:
    """Median in-phase signal of tissue; 0 where nothing has signal.

    Tissue is what is brighter than SIGNAL_FRACTION of the 99th percentile, so that neither air
    nor a few bright voxels count.

    Examples
    --------
    >>> measure_typical_signal(np.array([0.0, 0.1, 8.0, 10.0, 12.0]))
    10.0
    """
    tissue = in_phase[_has_signal(in_phase)]
    return float(np.median(tissue)) if tissue.size else 0.0


def measure_disagreement_percent(signals: ScanSignals) -> float:
    """How far fat and water are from the in-phase and out-of-phase images of their scan.

    Of every pair of magnitudes IP = F + W and OOP = |W - F|, up to one scale of all. The larger
    of the two differences, in percent of the brighter of F + W and the scaled IP, is averaged over
    the voxels in which either has signal. Fat exchanged with water makes no difference at all.

    Returns
    -------
    float
        0 to 100; NaN where no voxel has signal.

    Examples
    --------
    >>> ip, oop = np.array([10.0, 10.0]), np.array([6.0, 8.0])
    >>> measure_disagreement_percent(ScanSignals(ip, oop, *fat_and_water(ip, oop)))
    0.0
    >>> measure_disagreement_percent(ScanSignals(ip, oop, oop, oop)) > 50
    True
    """
    total = signals.fat + signals.water
    tissue = _has_signal(signals.in_phase) | _has_signal(total)
    if not tissue.any():
        return float("nan")
    in_phase, total = signals.in_phase[tissue], total[tissue]
    if np.median(in_phase) <= 0 or np.median(total) <= 0:
        return 100.0
    scale = np.median(total) / np.median(in_phase)
    out_phase = np.abs(signals.water - signals.fat)[tissue]
    off = np.maximum(
        np.abs(total - scale * in_phase),
        np.abs(out_phase - scale * np.abs(signals.out_phase[tissue])),
    )
    return 100 * float(np.minimum(off / np.maximum(total, scale * in_phase), 1).mean())


def measure_noise_percent(
    signals: ScanSignals, where: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float:
    """Noise of the two images in a region: of a voxel, percent of the median in-phase signal.

    A second difference along each of the two finest axes leaves noise and fine structure. A voxel
    with more fat is brighter in one image and darker in the other, by one ratio throughout, so of
    all mixtures of the two images' residuals the one that varies least is free of fat; its median
    absolute deviation gives the noise. That of magnitudes is less than that of the signal where it
    is strong. Noise that a scanner or program has smoothed, or interpolated to finer voxels, is
    found too small or not at all.

    Parameters
    ----------
    signals : ScanSignals
    where : ndarray of bool, shape of the signals
    spacing_mm : tuple of float
        Size of a voxel along each axis. Where axes are about as fine, all pairs of them are
        measured and the largest result counts.

    Returns
    -------
    float
        NaN where the region has fewer than LEAST_NOISE_VOXELS that have neighbours along the two
        axes, or no signal.

    References
    ----------
    Immerkaer 1996, doi:10.1006/cviu.1996.0060: the second differences, of one image.
    """
    if not where.any():
        return float("nan")
    box = _box_around(where)
    images = signals.in_phase[box], signals.out_phase[box]
    found = [
        _noise_along(axes, images, where[box])
        for axes in combinations(range(3), 2)
        if sum(sorted(spacing_mm)[:2]) * ABOUT_AS_FINE >= sum(spacing_mm[axis] for axis in axes)
    ]
    known = [value for value in found if not math.isnan(value)]
    return max(known, default=float("nan"))


def _box_around(where: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Find the part of a volume that holds a region and its neighbours."""
    extents = [np.flatnonzero(where.any(axis=(axis - 2, axis - 1))) for axis in range(3)]
    return tuple(slice(max(int(e[0]) - 1, 0), int(e[-1]) + 2) for e in extents)


def _noise_along(
    axes: tuple[int, ...], images: tuple[NDArray[np.float64], ...], where: NDArray[np.bool_]
) -> float:
    """Noise from second differences along two axes, percent; NaN where there are too few."""
    inner = tuple(slice(1, -1) if axis in axes else slice(None) for axis in range(3))
    inside = where[inner]
    if np.count_nonzero(inside) < LEAST_NOISE_VOXELS:
        return float("nan")
    typical = float(np.median(images[0][where]))
    if typical <= 0:
        return float("nan")
    first, second = (
        np.diff(np.diff(image, 2, axes[0]), 2, axes[1])[inside] / SECOND_DIFFERENCES_NORM
        for image in images
    )
    return 100 * MAD_TO_SD * _least_deviation(first, second) / typical


def _least_deviation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Least median absolute deviation of cos(a) x first + sin(a) x second, over all angles a.

    Unlike the smallest eigenvalue of a covariance it does not follow a few voids and vessels.
    """

    def deviation(angle: float) -> float:
        mixed = np.cos(angle) * first + np.sin(angle) * second
        return float(np.median(np.abs(mixed - np.median(mixed))))

    step = np.pi / NOISE_ANGLES
    nearest = min(step * np.arange(NOISE_ANGLES), key=deviation)
    return min(map(deviation, nearest + np.linspace(-step, step, NOISE_ANGLES)))


def check_phase_order(in_phase: NDArray[np.float64], out_phase: NDArray[np.float64]) -> None:
    """Raise PairError when the two images were taken for each other.

    A pair without fat passes either way: nothing in it tells the two apart.

    Raises
    ------
    PairError
        Voxels much brighter out of phase outnumber the opposite by more than SWAPPED_FRACTION of
        the voxels with signal.
    """
    more_in_phase, more_out_phase = strong_contrast_counts(in_phase, out_phase)
    signal = int(np.count_nonzero(_has_signal(np.maximum(in_phase, out_phase))))
    if more_out_phase - more_in_phase > SWAPPED_FRACTION * signal:
        raise PairError(
            f"in-phase and out-of-phase look exchanged: of {signal} voxels with signal, "
            f"{more_out_phase} are more than {STRONG_RATIO:g} times brighter in the image taken "
            f"for out-of-phase, and {more_in_phase} in the other. Fat and water cancel out of "
            "phase, so the in-phase image must be the brighter one. Correct the names or the "
            "sidecars, or name the images by --bids-filter-file. If the names are right, the "
            "out-of-phase image is stored on a larger scale: export both with one scale."
        )


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
        An image cannot be used or is no magnitude, the two lie on different grids, are one image,
        are stored on scales that have nothing to do with each other, or look exchanged.
    """
    in_phase, grid = _read_magnitude(pair.in_phase, pair.in_phase_volume)
    out_phase = read_beside(pair.out_phase, pair.in_phase, grid, pair.out_phase_volume)
    _name_file(check_magnitude, (out_phase,), str(pair.out_phase))
    _check_different((pair.in_phase, in_phase), (pair.out_phase, out_phase))
    both = f"{pair.in_phase} and {pair.out_phase}"
    for check in (check_scale, check_phase_order):
        _name_file(check, (in_phase, out_phase), both)
    return in_phase, out_phase, grid


def _read_magnitude(path: Path, volume: int | None) -> tuple[NDArray[np.float64], Grid]:
    image, grid = read_image(path, volume)
    _name_file(check_magnitude, (image,), str(path))
    return image, grid


def _name_file(
    check: Callable[..., None], images: tuple[NDArray[np.float64], ...], files: str
) -> None:
    """Run a check; the error it raises gets the names of the files."""
    try:
        check(*images)
    except PairError as error:
        raise PairError(f"{files}: {error}") from None


def _check_different(
    first: tuple[Path, NDArray[np.float64]], second: tuple[Path, NDArray[np.float64]]
) -> None:
    """Raise PairError where two files hold one image, also if it was scaled or copied."""
    if is_same_image(first[1], second[1]):
        raise PairError(
            f"{first[0]} and {second[0]}: identical images, up to a constant factor. Expected two "
            "different contrasts of one scan. Export the missing one, or name the right files by "
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
    """Read an image that must lie on the grid of ``reference``.

    Raises
    ------
    PairError
        The image cannot be used or lies on another grid.
    """
    volume, own_grid = read_image(path, volume_of_series)
    if not same_grid(own_grid, grid):
        raise PairError(
            f"{reference} and {path}: the images do not lie on the same grid "
            f"({describe_difference(grid, own_grid)}). Both must come from one acquisition; "
            "name the right files by --bids-filter-file."
        )
    return volume


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
        As for :func:`read_pair`, or the scanner's images are wanted and not there.
    """
    in_phase, out_phase, grid = read_pair(pair)
    if source == "computed":
        return ScanSignals(in_phase, out_phase, *fat_and_water(in_phase, out_phase)), grid
    if pair.fat is None or pair.water is None:
        raise PairError(
            f"{pair.in_phase}: no fat and water images of the scanner were found beside it, but "
            "--fat-water scanner asks for them. Name them by --bids-filter-file (queries fat and "
            "water), or leave --fat-water at computed."
        )
    fat = read_beside(pair.fat, pair.in_phase, grid, pair.fat_volume)
    water = read_beside(pair.water, pair.in_phase, grid, pair.water_volume)
    for path, image in ((pair.fat, fat), (pair.water, water)):
        _name_file(check_magnitude, (image,), str(path))
        _check_different((pair.in_phase, in_phase), (path, image))
        _check_different((pair.out_phase, out_phase), (path, image))
    _check_different((pair.fat, fat), (pair.water, water))
    return ScanSignals(in_phase, out_phase, fat, water), grid


def images_of(pair: DixonPair, source: str) -> dict[str, Path]:
    """Name the images from which :func:`read_signals` reads.

    Examples
    --------
    >>> list(images_of(DixonPair(Path("a.nii"), Path("b.nii"), (), ""), "computed"))
    ['in-phase', 'out-of-phase']
    """
    images = {"in-phase": pair.in_phase, "out-of-phase": pair.out_phase}
    more = {"fat": pair.fat, "water": pair.water} if source == "scanner" else {}
    return images | {name: path for name, path in more.items() if path is not None}


def phase_cosine(echo_time_s: float, frequency_mhz: float) -> float:
    """cos(2 pi 3.4 ppm f TE): 1 when fat and water are in phase, -1 when they are opposed.

    >>> round(phase_cosine(0.00123, 127.731), 2), round(phase_cosine(0.00246, 127.731), 2)
    (-0.98, 0.91)
    """
    return math.cos(2 * math.pi * FAT_SHIFT_PPM * frequency_mhz * echo_time_s)
