"""Overlap and surface distance of two label maps."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from bids_mfi.grid import Grid
from bids_mfi.muscles import MuscleTable
from bids_mfi.statistics.agreement import NAN, Floats, divide

FAR_PERCENTILE = 95.0


@dataclass(frozen=True, slots=True)
class SegmentationCounts:
    """Voxels of one muscle by truth and prediction, and the metrics based on them.

    Attributes
    ----------
    tp, fp, fn, tn : int
        True positive, false positive, false negative and true negative voxels of the whole volume.

    Examples
    --------
    >>> counts = SegmentationCounts(tp=100, fp=50, fn=50, tn=9800)
    >>> counts.jaccard, counts.conformity, counts.volume_ratio
    (0.5, 0.0, 1.0)
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); NaN where both are empty. Dice 1945, doi:10.2307/1932409."""
        return divide(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def jaccard(self) -> float:
        """TP / (TP + FP + FN); NaN where both are empty."""
        return divide(self.tp, self.tp + self.fp + self.fn)

    @property
    def conformity(self) -> float:
        """1 - (FP + FN) / TP = (3 Dice - 2) / Dice; NaN without a common voxel.

        Chang et al. 2009, doi:10.1016/j.neuroimage.2009.03.068. It has no lower bound.
        """
        return divide(self.tp - self.fp - self.fn, self.tp)

    @property
    def tpr(self) -> float:
        """True positive rate TP / (TP + FN), sensitivity; NaN where the truth is empty."""
        return divide(self.tp, self.tp + self.fn)

    @property
    def tnr(self) -> float:
        """True negative rate TN / (TN + FP), specificity; NaN where the truth is everything."""
        return divide(self.tn, self.tn + self.fp)

    @property
    def ppv(self) -> float:
        """Positive predictive value TP / (TP + FP); NaN where the prediction is empty."""
        return divide(self.tp, self.tp + self.fp)

    @property
    def volume_ratio(self) -> float:
        """Predicted by true volume (TP + FP) / (TP + FN); NaN where the truth is empty."""
        return divide(self.tp + self.fp, self.tp + self.fn)

    @property
    def missed(self) -> bool:
        """Whether the truth holds the muscle and the prediction has no voxel of it."""
        return self.tp + self.fn > 0 and self.tp + self.fp == 0

    @property
    def invented(self) -> bool:
        """Whether the prediction holds the muscle and the truth has no voxel of it."""
        return self.tp + self.fn == 0 and self.tp + self.fp > 0


def count_voxels(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], indices: Iterable[int]
) -> dict[int, SegmentationCounts]:
    """Count the voxels of every label by one joint histogram.

    Parameters
    ----------
    truth, prediction : ndarray of int, same shape
        Label maps on the same grid; labels from 0 to 32767. Labels that are not in
        ``indices`` count as background.
    indices : iterable of int

    Returns
    -------
    dict
        Counts by index.

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------
    >>> count_voxels(np.array([0, 1, 1]), np.array([0, 0, 1]), [1])[1]
    SegmentationCounts(tp=1, fp=0, fn=1, tn=1)
    """
    _check_shapes(prediction, truth)
    wanted = sorted(set(indices))
    codes = np.zeros(np.iinfo(np.int16).max + 1, dtype=np.intp)
    codes[wanted] = np.arange(1, len(wanted) + 1)
    size = len(wanted) + 1
    joint = np.bincount(
        (codes[truth.ravel()] * size + codes[prediction.ravel()]), minlength=size * size
    ).reshape(size, size)
    return {index: _split_counts(joint, code) for code, index in enumerate(wanted, start=1)}


def _split_counts(joint: NDArray[np.intp], code: int) -> SegmentationCounts:
    tp = int(joint[code, code])
    fn, fp = int(joint[code].sum()) - tp, int(joint[:, code].sum()) - tp
    return SegmentationCounts(tp, fp, fn, int(joint.sum()) - tp - fp - fn)


def _check_shapes(predicted: NDArray[np.integer], truth: NDArray[np.integer]) -> None:
    if predicted.shape != truth.shape:
        raise ValueError(f"label maps of different shapes: {predicted.shape}, {truth.shape}")


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|); NaN where both are empty.

    References
    ----------
    Dice 1945, doi:10.2307/1932409.

    Examples
    --------
    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return divide(2 * int(np.count_nonzero(first & second)), total)


def dice_by_muscle(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], table: MuscleTable
) -> dict[int, float]:
    """Dice coefficient of every muscle of the table, by its index.

    Parameters
    ----------
    predicted, truth : ndarray of int, same shape
        Label maps on the same grid.

    Returns
    -------
    dict
        NaN where a muscle is in neither map; 0 where it is in one of them only.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    _check_shapes(predicted, truth)
    return {m.index: dice(predicted == m.index, truth == m.index) for m in table}


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """How far two surfaces are apart, millimetres; NaN where a mask is empty.

    Attributes
    ----------
    mean_mm : float
        Mean over all surface voxels of both masks of the distance to the other surface.
    percentile95_mm : float
        The 95th percentile of these distances, taken for each direction; the larger of the two
        (the 95 % Hausdorff distance).
    """

    mean_mm: float
    percentile95_mm: float


def measure_surfaces(
    first: NDArray[np.bool_], second: NDArray[np.bool_], grid: Grid
) -> SurfaceDistances:
    """Distances between the surfaces of two masks.

    A surface voxel is a voxel of the mask with a face neighbour outside it; beyond the border of
    the volume counts as outside. Distances are those of voxel centres in the scanner's coordinates,
    so anisotropic, flipped, permuted and sheared grids are handled correctly.

    Parameters
    ----------
    first, second : ndarray of bool, shape of the grid
    grid : Grid

    Examples
    --------
    >>> from bids_mfi.grid import Grid
    >>> grid = Grid((4, 1, 1), ((1., 0, 0, 0), (0, 1., 0, 0), (0, 0, 3., 0), (0, 0, 0, 1.)))
    >>> first, second = np.zeros((2, 4, 1, 1), dtype=bool)
    >>> first[0], second[2] = True, True
    >>> measure_surfaces(first, second, grid)
    SurfaceDistances(mean_mm=2.0, percentile95_mm=2.0)
    """
    if not first.any() or not second.any():
        return SurfaceDistances(NAN, NAN)
    axes = grid.matrix[:3, :3]
    here, there = (_find_surface(mask) @ axes.T for mask in (first, second))
    outward = cKDTree(there).query(here)[0]
    back = cKDTree(here).query(there)[0]
    return SurfaceDistances(
        mean_mm=float(np.concatenate([outward, back]).mean()),
        percentile95_mm=float(max(np.percentile(way, FAR_PERCENTILE) for way in (outward, back))),
    )


def _find_surface(mask: NDArray[np.bool_]) -> Floats:
    """Voxel indices of the surface, shape (n, 3)."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    inner = ndimage.binary_erosion(mask[box])
    start = np.array([side.start for side in box], dtype=np.float64)
    return np.asarray(np.argwhere(mask[box] & ~inner) + start, dtype=np.float64)
