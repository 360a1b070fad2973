"""Summaries of overlap and agreement by muscle."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bids_mfi.statistics.agreement import NAN, Agreement, standard_deviation


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean of a metric over scans.

    Attributes
    ----------
    mean, sd, se : float
        Mean, standard deviation (n - 1) and standard error SD / sqrt(n).
    n : int
        Scans in which the metric is defined.
    """

    mean: float
    sd: float
    se: float
    n: int


def summarise(values: Iterable[float]) -> Spread:
    """Mean and spread of the defined values; NaN without any; SD also NaN for fewer than two.

    Examples
    --------
    >>> summarise([1.0, 3.0, float("nan")])
    Spread(mean=2.0, sd=1.4142135623730951, se=1.0, n=2)
    """
    found = np.array([value for value in values if np.isfinite(value)], dtype=np.float64)
    if not found.size:
        return Spread(NAN, NAN, NAN, 0)
    sd = standard_deviation(found)
    return Spread(float(found.mean()), sd, sd / float(np.sqrt(found.size)), int(found.size))


@dataclass(frozen=True, slots=True)
class SegmentationSummary:
    """One muscle in all scans: a row of Table 4 of Weber et al. 2021.

    Attributes
    ----------
    muscle, hemi : str
    index : int
        Its label.
    scans : int
        Scans whose truth holds the muscle.
    missed : int
        Of these, scans whose prediction has no voxel of it.
    invented : int
        Scans whose prediction holds it and whose truth does not.
    metrics : tuple of (str, Spread)
        Each metric, conformity included, is computed for each scan and then averaged.
    """

    muscle: str
    hemi: str
    index: int
    scans: int
    missed: int
    invented: int
    metrics: tuple[tuple[str, Spread], ...]

    def metric(self, name: str) -> Spread:
        """Spread of the metric of this name."""
        return dict(self.metrics)[name]


@dataclass(frozen=True, slots=True)
class OverlapByGroup:
    """A group of scans, its muscles pooled; NaN where undefined.

    Muscles count if the truth of a scan contains them.

    Attributes
    ----------
    grouping, group : str
        The grouping of the scans, and this group.
    scans : int
    muscles : int
        Muscles and sides.
    muscle_scans : int
        Muscles, summed over scans.
    missed : int
        Of these, muscles without a voxel in the prediction.
    dice_mean : float
        Over muscles of scans.
    lowest_muscle : str
        Muscle and side with the lowest mean Dice over the scans; ``n/a`` without one.
    lowest_dice_mean : float
    mfi_pairs : int
        Muscles of scans with an MFI of both maps.
    mfi_bias_points, mfi_mae_points : float
        Mean difference and mean absolute difference of these, percentage points.
    volume_ratio_mean : float
        Over muscles of scans.
    """

    grouping: str
    group: str
    scans: int
    muscles: int
    muscle_scans: int
    missed: int
    dice_mean: float
    lowest_muscle: str
    lowest_dice_mean: float
    mfi_pairs: int
    mfi_bias_points: float
    mfi_mae_points: float
    volume_ratio_mean: float


@dataclass(frozen=True, slots=True)
class MuscleAgreement:
    """Agreement on one measure of one muscle and side, with the pairs it is based on.

    Attributes
    ----------
    muscle, hemi : str
    measure : str
        ``mfi`` in percent or ``volume`` in ml.
    names : tuple of str
        Of the scans.
    reference, compared : tuple of float
        Values in the order of ``names``, NaN where missing.
    agreement : Agreement
    n_missing : int
        Pairs left out because a value is missing.
    n_unpaired : int
        Values that have no partner.
    """

    muscle: str
    hemi: str
    measure: str
    names: tuple[str, ...]
    reference: tuple[float, ...]
    compared: tuple[float, ...]
    agreement: Agreement
    n_missing: int
    n_unpaired: int
