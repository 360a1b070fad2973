"""Whether labelled muscles are arranged as in a human neck.

An image whose header is upside down, or exchanges front and back, is still segmented. The labels
are then in an order that no neck has, or most of them are missing. Left and right are
checked in :mod:`bids_mfi.measure.quality`. ``docs/decisions/pair-agreement.md`` describes how the
relations were chosen.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray

from bids_mfi.grid import Grid
from bids_mfi.measure.quality import QCFlag
from bids_mfi.measure.regions import Region, find_regions, middle_of
from bids_mfi.muscles import MuscleTable

# Centroids of clean scans lie at least 27 mm apart along this axis, also in cut fields of view.
ANTERIOR = tuple(product(("SCM", "LC"), ("MFSS", "SSCap", "SPCap", "TR")))
# At least 12 mm in whole fields of view; in a slab of a few centimetres the parts in view decide.
SUPERIOR = (
    ("SSCap", "TR"), ("SSCap", "LS"), ("SSCap", "MFSS"), ("SPCap", "TR"), ("LC", "TR"),
    ("LC", "LS"),
)  # fmt: skip
# Axis, relations, the field of view from which the order is as in a whole neck, millimetres.
AXES = ((1, ANTERIOR, "anterior to", 0.0), (2, SUPERIOR, "superior to", 80.0))
LEAST_RELATIONS = 3
MOST_VIOLATED_PERCENT = 30.0
LEAST_LABELLED_ML = 0.5
MOST_ABSENT_PERCENT = 50.0
# Of the field of view to the right, anterior and superior: a smaller one may miss muscles.
LARGE_FIELD_MM = (100.0, 90.0, 60.0)

# Volume of the deep extensors over that of the sternocleidomastoid: 0.85 and more in clean scans,
# 0.14 and 0.34 in two that were back to front and yet labelled in the right order.
EXTENSORS, FLEXOR = ("MFSS", "SSCap", "SPCap"), "SCM"
LEAST_BALANCE = 0.5

Point = NDArray[np.float64]


def check_order(labels: NDArray[np.int16], grid: Grid, table: MuscleTable) -> list[QCFlag]:
    """Flag muscles in an impossible order, and a large field with few muscles.

    Parameters
    ----------
    labels : ndarray of int16, shape of the grid
    grid : Grid
    table : MuscleTable
    """
    regions = find_regions(labels)
    centres = find_centres_mm(regions, grid, table)
    field_mm = np.abs(grid.matrix[:3, :3]) @ np.array(grid.shape)
    flags = [
        flag
        for axis, relations, words, least_mm in AXES
        if field_mm[axis] >= least_mm
        for flag in _check_axis(centres, axis, relations, words)
    ]
    return flags + _check_balance(regions, grid, table) + _check_number(regions, grid, table)


def find_centres_mm(
    regions: Mapping[int, Region], grid: Grid, table: MuscleTable
) -> dict[str, Point]:
    """World coordinates R, A, S of the middle of each muscle, both sides together.

    Muscles of less than LEAST_LABELLED_ML are left out.
    """
    whole = _join_sides(regions, table)
    least = LEAST_LABELLED_ML / grid.voxel_volume_ml
    return {
        name: (grid.matrix @ np.append(middle_of(sides), 1.0))[:3]
        for name, sides in sorted(whole.items())
        if sum(side.voxels for side in sides) >= least
    }


def _join_sides(regions: Mapping[int, Region], table: MuscleTable) -> dict[str, list[Region]]:
    """Group the regions that are present by muscle."""
    whole: dict[str, list[Region]] = {}
    for muscle in table:
        if muscle.index in regions:
            whole.setdefault(muscle.muscle, []).append(regions[muscle.index])
    return whole


def _check_axis(
    centres: dict[str, Point], axis: int, relations: tuple[tuple[str, str], ...], words: str
) -> list[QCFlag]:
    """Flag an axis along which more than MOST_VIOLATED_PERCENT of the relations are reversed."""
    known = [(one, other) for one, other in relations if {one, other} <= centres.keys()]
    wrong = [(one, other) for one, other in known if centres[one][axis] < centres[other][axis]]
    percent = 100 * len(wrong) / len(known) if len(known) >= LEAST_RELATIONS else 0.0
    if not percent > MOST_VIOLATED_PERCENT:
        return []
    expected = ", ".join(f"{one} {words} {other}" for one, other in wrong)
    text = (
        f"The muscles are in an order that no neck has: of {len(known)} relations between them, "
        f"{len(wrong)} are reversed (expected {expected}). The image's orientation may be wrong: "
        "upside down, or back to front. Check the header against the scanner, and convert the "
        "images again."
    )
    return [QCFlag("muscle_order", "error", "", percent, MOST_VIOLATED_PERCENT, text)]


def _check_balance(regions: Mapping[int, Region], grid: Grid, table: MuscleTable) -> list[QCFlag]:
    """Flag a large field of view with hardly any extensors behind the neck."""
    voxels = dict.fromkeys((*EXTENSORS, FLEXOR), 0)
    for name, sides in _join_sides(regions, table).items():
        voxels[name] = sum(side.voxels for side in sides)
    behind = sum(voxels[name] for name in EXTENSORS)
    if not _is_large(grid) or not 0 < behind < LEAST_BALANCE * voxels[FLEXOR]:
        return []
    balance = behind / voxels[FLEXOR]
    text = (
        f"The deep extensors (MFSS, SSCap, SPCap) together have {balance:.2f} times the volume of "
        f"the sternocleidomastoid, which no neck has (limit {LEAST_BALANCE:g}). The image may be "
        "back to front or upside down. Check the header and the picture."
    )
    return [QCFlag("muscle_balance", "error", "", balance, LEAST_BALANCE, text)]


def _check_number(regions: Mapping[int, Region], grid: Grid, table: MuscleTable) -> list[QCFlag]:
    """Flag a field of view that is large enough for a neck but lacks most muscles."""
    absent = [muscle.abbreviation for muscle in table if muscle.index not in regions]
    percent = 100 * len(absent) / len(table)
    if not percent > MOST_ABSENT_PERCENT or not _is_large(grid):
        return []
    text = (
        f"{len(absent)} of {len(table)} muscles are absent although the field of view is large "
        "enough for a neck. The image may be upside down, have a wrong voxel size, or show "
        "another part of the body. Check the header and the picture."
    )
    return [QCFlag("few_muscles", "error", "", percent, MOST_ABSENT_PERCENT, text)]


def _is_large(grid: Grid) -> bool:
    edges = np.abs(grid.matrix[:3, :3]) @ np.array(grid.shape)
    return bool((edges >= np.array(LARGE_FIELD_MM)).all())
