"""Figures of an evaluation by groups of scans.

The traits of a scan come from the grid of its true label map and the field strength of its images.
Quartiles of the true MFI are taken within each muscle and side, over the scans of the evaluation:
across all muscles they would only separate lean muscles from fatty ones.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from bids_mfi.evaluation.scans import MuscleRow
from bids_mfi.grid import Grid
from bids_mfi.statistics.agreement import NAN
from bids_mfi.statistics.summaries import OverlapByGroup, summarise

UNKNOWN = "n/a"
ISOTROPIC_BELOW = 1.3  # thickest by finest voxel axis
IN_PLANE_BOUNDS_MM = (0.75, 1.05)
SLICE_BOUNDS_MM = (2.5, 3.5)
PLANES = ("sagittal", "coronal", "axial")  # slices follow each other along R, A, S
DIGITS_MM = 3  # micrometres: what is left below is rounding of the header
QUARTERS = ("1 (lowest)", "2", "3", "4 (highest)")
FEWEST_SCANS = len(QUARTERS)

Label = tuple[float, str]  # place among the groups, and name


@dataclass(frozen=True, slots=True)
class ScanTraits:
    """Traits by which a scan is grouped.

    Attributes
    ----------
    field_strength_t : float or None
        Tesla; None if unknown.
    plane : str
        One of PLANES; ``isotropic``; ``n/a`` where the two thickest axes are equal.
    in_plane_mm : float
        Geometric mean of the spacings of the two axes that are not the thickest.
    slice_mm : float
        Spacing of the thickest axis: from slice to slice, gaps included.
    """

    field_strength_t: float | None
    plane: str
    in_plane_mm: float
    slice_mm: float


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups of an evaluation.

    Attributes
    ----------
    found : tuple of OverlapByGroup
        Groups that contain a scan.
    notes : tuple of str
        What was left out, as full sentences.
    scans : mapping of str to ScanTraits
    """

    found: tuple[OverlapByGroup, ...]
    notes: tuple[str, ...]
    scans: Mapping[str, ScanTraits]


def read_scan_traits(grid: Grid, field_strength_t: float | None) -> ScanTraits:
    """Read from a grid how a scan was acquired; the order of storage does not matter.

    Examples
    --------
    >>> rows = ((0.7, 0, 0, 0), (0, 3.0, 0, 0), (0, 0, 0.7, 0), (0, 0, 0, 1.0))
    >>> read_scan_traits(Grid((2, 2, 2), rows), 3.0)
    ScanTraits(field_strength_t=3.0, plane='coronal', in_plane_mm=0.7, slice_mm=3.0)
    """
    spacing_mm = [round(size, DIGITS_MM) for size in grid.spacing_mm]
    finest, middle, thickest = sorted(spacing_mm)
    return ScanTraits(
        field_strength_t=field_strength_t,
        plane=_name_plane(grid, spacing_mm),
        in_plane_mm=round(math.sqrt(finest * middle), DIGITS_MM),
        slice_mm=thickest,
    )


def _name_plane(grid: Grid, spacing_mm: Sequence[float]) -> str:
    finest, middle, thickest = sorted(spacing_mm)
    if thickest < round(ISOTROPIC_BELOW * finest, DIGITS_MM):
        return "isotropic"
    if middle == thickest:
        return UNKNOWN
    direction = grid.matrix[:3, spacing_mm.index(thickest)]
    return PLANES[int(np.argmax(np.abs(direction)))]


# --- labels of groups --------------------------------------------------------------------------


def _label_field(facts: ScanTraits) -> Label:
    field_t = facts.field_strength_t
    return (math.inf, UNKNOWN) if field_t is None else (field_t, f"{field_t:.2g} T")


def _label_plane(facts: ScanTraits) -> Label:
    order = ("axial", "coronal", "sagittal", "isotropic", UNKNOWN)
    return order.index(facts.plane), facts.plane


def _label_in_plane(facts: ScanTraits) -> Label:
    return label_band(facts.in_plane_mm, IN_PLANE_BOUNDS_MM)


def _label_slice(facts: ScanTraits) -> Label:
    return label_band(facts.slice_mm, SLICE_BOUNDS_MM)


def label_band(size_mm: float, bounds_mm: tuple[float, float]) -> Label:
    """Name the band of a size; a bound belongs to the band below it.

    Examples
    --------
    >>> [label_band(size, (2.5, 3.5))[1] for size in (2.5, 2.6, 3.6)]
    ['up to 2.5 mm', '2.5 to 3.5 mm', 'over 3.5 mm']
    """
    low, high = bounds_mm
    names = (f"up to {low:g} mm", f"{low:g} to {high:g} mm", f"over {high:g} mm")
    place = sum(size_mm > bound for bound in bounds_mm)
    return place, names[place]


LABELS: Mapping[str, Callable[[ScanTraits], Label]] = {
    "field_strength": _label_field,
    "plane": _label_plane,
    "in_plane_size": _label_in_plane,
    "slice_thickness": _label_slice,
}


# --- groups ------------------------------------------------------------------------------------


def summarise_groups(rows: Sequence[MuscleRow], scans: Mapping[str, ScanTraits]) -> Groups:
    """Summarise all scans, then each group of every grouping.

    Parameters
    ----------
    rows : sequence of MuscleRow
    scans : mapping of str to ScanTraits
        Of every scan that the rows name.
    """
    found = [_summarise("all", "all", rows)] if rows else []
    for grouping, label in LABELS.items():
        groups: dict[str, list[MuscleRow]] = {}
        for row in sorted(rows, key=lambda row: label(scans[row.scan])[0]):
            groups.setdefault(label(scans[row.scan])[1], []).append(row)
        found += [_summarise(grouping, name, group) for name, group in groups.items()]
    quartiles, left_out = _split_by_quartile(rows)
    found += [
        _summarise("mfi_quartile", name, group)
        for name, group in zip(QUARTERS, quartiles, strict=True)
        if group
    ]
    return Groups(tuple(found), _explain(left_out, any(quartiles)), scans)


def _summarise(grouping: str, group: str, rows: Iterable[MuscleRow]) -> OverlapByGroup:
    """Pool the muscles in the truth of each scan."""
    rows = list(rows)
    held = _held(rows)
    apart = [row.mfi_percent_prediction - row.mfi_percent_truth for row in held]
    bias, error = summarise(apart), summarise(abs(value) for value in apart)
    lowest, lowest_dice = _find_lowest(held)
    return OverlapByGroup(
        grouping=grouping,
        group=group,
        scans=len({row.scan for row in rows}),
        muscles=len({row.muscle.index for row in held}),
        muscle_scans=len(held),
        missed=sum(row.counts.missed for row in held),
        dice_mean=summarise(row.counts.dice for row in held).mean,
        lowest_muscle=lowest,
        lowest_dice_mean=lowest_dice,
        mfi_pairs=bias.n,
        mfi_bias_points=bias.mean,
        mfi_mae_points=error.mean,
        volume_ratio_mean=summarise(row.counts.volume_ratio for row in held).mean,
    )


def _held(rows: Iterable[MuscleRow]) -> list[MuscleRow]:
    return [row for row in rows if row.counts.tp + row.counts.fn]


def _find_lowest(held: Iterable[MuscleRow]) -> tuple[str, float]:
    """Find the muscle and side with the lowest mean Dice over the scans."""
    values: dict[str, list[float]] = {}
    for row in held:
        values.setdefault(row.muscle.abbreviation, []).append(row.counts.dice)
    means = [(fmean(found), name) for name, found in values.items()]
    mean, name = min(means, default=(NAN, UNKNOWN))
    return name, mean


# --- quartiles ---------------------------------------------------------------------------------


def rank_quarters(values: Sequence[float]) -> list[int]:
    """Put values into quarters 0 to 3 by their quartiles; equal values share a quarter.

    A quartile belongs to the quarter below it. Quartiles are interpolated linearly between the
    ordered values, so that a quarter may be empty where values are equal.

    Examples
    --------
    >>> rank_quarters([40, 10, 30, 20, 60, 50])
    [2, 0, 1, 0, 3, 3]
    >>> rank_quarters([1, 1, 1, 2])
    [0, 0, 0, 3]
    """
    quartiles = np.quantile(values, (0.25, 0.5, 0.75))
    return [int(place) for place in np.searchsorted(quartiles, values, side="left")]


def _split_by_quartile(rows: Iterable[MuscleRow]) -> tuple[list[list[MuscleRow]], list[str]]:
    """Quarters by true MFI within each muscle and side, and the muscles that have none."""
    muscles: dict[str, list[MuscleRow]] = {}
    for row in _held(rows):
        known = muscles.setdefault(row.muscle.abbreviation, [])
        known += [row] if math.isfinite(row.mfi_percent_truth) else []
    quarters: list[list[MuscleRow]] = [[] for _ in QUARTERS]
    left_out = []
    for name, known in muscles.items():
        values = [row.mfi_percent_truth for row in known]
        if len(values) < FEWEST_SCANS or min(values) == max(values):
            left_out.append(name)
            continue
        for row, quarter in zip(known, rank_quarters(values), strict=True):
            quarters[quarter].append(row)
    return quarters, left_out


def _explain(left_out: Sequence[str], some: bool) -> tuple[str, ...]:
    reason = f"fewer than {FEWEST_SCANS} scans with a true MFI, or the same MFI in all"
    if not some:
        return (f"Quartiles of true MFI were left out: every muscle has {reason}.",)
    if left_out:
        return (f"In no quartile of true MFI: {', '.join(left_out)} ({reason}).",)
    return ()
