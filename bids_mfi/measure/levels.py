"""Vertebral levels from labelled vertebral bodies.

As the raters of Weber et al. 2021 did it (doi:10.1038/s41598-021-95972-x): the bodies of the
vertebrae define which axial slices belong to a level. Neighbouring levels meet in the middle of
their disc, so that every slice between the first and the last level belongs to one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.quality import QCFlag
from bids_mfi.measure.quantify import measure_fat
from bids_mfi.measure.regions import NOWHERE, Box, find_boxes
from bids_mfi.muscles import PAPER_LEVELS, Muscle, MuscleTable
from bids_mfi.vertebrae import LEVELS, MEASURED_LEVELS, expand_levels

UPRIGHT = ("R", "A", "S")
LEAST_BODY_ML = 0.4  # a body of an adult has 2 to 4 ml
CORE_MM = 4.0  # radius of the column through a body's middle that gives its height
FILLED = 0.5
HALF_DISC_MM = 2.5
NUMBERS = ("slices", "voxels", "volume_ml", "area_mm2", "mfi_percent", "mfi_median_percent")
# From the middle of one body to that of the next, and over the median of these distances.
NEIGHBOURS_MM = (8.0, 32.0)
NEIGHBOURS_SHARE = 0.45
# Height of a body over the median height; C2 is taller, because the dens is part of it.
HEIGHT_SHARE = 0.6
TALL = "C2"
MOST_SECOND_PIECE = 0.5


@dataclass(frozen=True, slots=True)
class Level:
    """The slices of a vertebral level, on a grid turned to R, A, S.

    Attributes
    ----------
    name : str
        For example ``C4``.
    low, high : float
        Lower and upper end along the third axis, in voxels; a slice whose index is from ``low``
        to below ``high`` belongs to the level.
    cut : bool
        The body reaches an end of the field of view, so that only part of the level is seen.
    """

    name: str
    low: float
    high: float
    cut: bool = False


@dataclass(frozen=True, slots=True)
class LevelMeasure:
    """One row of ``*_levels.tsv``; a float is NaN where it cannot be measured.

    Attributes
    ----------
    scope : str
        ``level``: one vertebral level; ``paper``: those of Table 1 for the muscle, together.
    levels : str
        For example ``C4`` or ``C4-C6``.
    index, muscle, hemi
        As in :class:`bids_mfi.muscles.Muscle`.
    extent : str
        ``complete``, ``cut`` (level or muscle reaches the border of the field of view),
        ``absent`` (no voxel), ``unlabelled`` (the weights do not label the muscle there) or
        ``unknown`` (the level was not found).
    slices : float
        Axial slices of the levels.
    voxels, volume_ml, mfi_percent, mfi_median_percent
        As in :class:`bids_mfi.measure.quantify.MuscleMeasure`, of the voxels in these slices.
    area_mm2 : float
        Mean area of the label over these slices, which cross most muscles at a slant.
    """

    scope: str
    levels: str
    index: int
    muscle: str
    hemi: str
    slices: float
    voxels: float
    volume_ml: float
    area_mm2: float
    mfi_percent: float
    mfi_median_percent: float
    extent: str


@dataclass(frozen=True, slots=True)
class _Body:
    """A vertebral body along the third axis, in voxels.

    ``second`` is the size of its second piece over that of the largest, the only one that counts.
    """

    name: str
    low: float
    middle: float
    high: float
    cut: bool
    second: float = 0.0


def find_levels(
    vertebrae: NDArray[np.integer], grid: Grid, names: Sequence[str]
) -> tuple[tuple[Level, ...], list[QCFlag]]:
    """Find the slices of each vertebral level.

    Parameters
    ----------
    vertebrae : ndarray of int, shape of the grid
        0, or the position of a vertebra in ``names``, counted from 1.
    grid : Grid
        In any orientation.
    names : sequence of str
        From the top down, for example VERTEBRAE.

    Returns
    -------
    levels : tuple of Level
        Of MEASURED_LEVELS, from the top down, those that were found.
    flags : list of QCFlag
        Levels that were not found, or bodies in an order that no spine has; then there are no
        levels.
    """
    turned, upright = reorient(vertebrae, grid, UPRIGHT)
    boxes = find_boxes(turned)
    found = (
        _find_body(turned[boxes[n]] == n, boxes[n], upright, name)
        for n, name in enumerate(names, start=1)
        if n in boxes
    )
    bodies = [body for body in found if body is not None]
    problem = _find_disorder(bodies, names, slice_distance_mm(upright))
    if problem:
        return (), [_doubt_order(*problem)]
    joined = _join(bodies, names, upright)
    levels = [level for level in joined if level.name in MEASURED_LEVELS]
    return tuple(levels), _flag_missing(levels, [body.name for body in bodies])


def slice_distance_mm(grid: Grid) -> float:
    """Distance between neighbouring planes of the third axis; their voxels may be sheared."""
    return 1000 * grid.voxel_volume_ml / pixel_area_mm2(grid)


def pixel_area_mm2(grid: Grid) -> float:
    """Area of a voxel in the plane of the first two axes."""
    return float(np.linalg.norm(np.cross(grid.matrix[:3, 0], grid.matrix[:3, 1])))


def _find_body(mask: NDArray[np.bool_], box: Box, grid: Grid, name: str) -> _Body | None:
    """Measure the largest piece of a vertebral body; None if no piece is large enough.

    ``mask`` is that of the box around the body.
    """
    pieces, count = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())[1:]
    if sizes.max() * grid.voxel_volume_ml < LEAST_BODY_ML:
        return None
    inside = np.nonzero(pieces == 1 + int(sizes.argmax()))
    x, y, z = (along + part.start for along, part in zip(inside, box, strict=True))
    spacing = grid.spacing_mm
    away = np.hypot((x - x.mean()) * spacing[0], (y - y.mean()) * spacing[1])
    near = away <= max(CORE_MM, float(away.min()))
    filled = np.bincount(z[near], minlength=grid.shape[2])
    core = np.flatnonzero(filled >= FILLED * filled.max())
    cut = z.min() == 0 or z.max() == grid.shape[2] - 1
    second = float(np.sort(sizes)[-2] / sizes.max()) if count > 1 else 0.0
    return _Body(name, core[0] - 0.5, float(z.mean()), core[-1] + 0.5, bool(cut), second)


def _find_disorder(
    bodies: Sequence[_Body], names: Sequence[str], slice_mm: float
) -> tuple[str, float, float] | None:
    """Find the first reason why the bodies do not form a spine: words, value and limit."""
    for body in bodies:
        if body.second > MOST_SECOND_PIECE:
            return f"{body.name} was found in two places", body.second, MOST_SECOND_PIECE
    return _find_wrong_distance(bodies, names, slice_mm) or _find_wrong_height(bodies, slice_mm)


def _find_wrong_distance(
    bodies: Sequence[_Body], names: Sequence[str], slice_mm: float
) -> tuple[str, float, float] | None:
    steps = [
        (above, below, names.index(below.name) - names.index(above.name))
        for above, below in pairwise(bodies)
    ]
    apart = [(above.middle - below.middle) * slice_mm for above, below, _ in steps]
    usual = median(mm / n for mm, (*_, n) in zip(apart, steps, strict=True)) if steps else 0.0
    for mm, (above, below, n) in zip(apart, steps, strict=True):
        least, most = NEIGHBOURS_MM
        if least <= usual <= most:
            spread = max(NEIGHBOURS_SHARE * usual, slice_mm)
            least, most = max(least, usual - spread), min(most, usual + spread)
        low, high = n * least, n * most
        if not low <= mm <= high:
            where = f"{abs(mm):.0f} mm {'below' if mm >= 0 else 'above'} that of {above.name}"
            expected = f"expected {low:.0f} to {high:.0f} mm below"
            return f"the body of {below.name} was found {where}, {expected}", mm, high
    return None


def _find_wrong_height(bodies: Sequence[_Body], slice_mm: float) -> tuple[str, float, float] | None:
    heights = {
        body.name: (body.high - body.low) * slice_mm
        for body in bodies
        if not body.cut and body.name != TALL
    }
    usual = median(heights.values()) if heights else 0.0
    for name, mm in heights.items():
        spread = max(HEIGHT_SHARE * usual, 1.5 * slice_mm)
        if abs(mm - usual) > spread:
            found = f"the body of {name} is {mm:.0f} mm high, the others are about {usual:.0f} mm"
            return found, mm, usual + spread
    return None


def _doubt_order(found: str, value: float, limit: float) -> QCFlag:
    text = (
        f"Vertebrae: {found}. No spine is like that, so nothing is measured by vertebral level. "
        "Check the label map of the vertebrae."
    )
    return QCFlag("vertebral_order", "warning", "", value, limit, text)


def _join(bodies: Sequence[_Body], names: Sequence[str], grid: Grid) -> list[Level]:
    """Let levels meet in the middle of their disc, and end with a half one elsewhere."""
    half, slices = HALF_DISC_MM / slice_distance_mm(grid), grid.shape[2]
    by_name = {body.name: body for body in bodies}
    around = (None, *(by_name.get(name) for name in names), None)
    levels = []
    for above, body, below in zip(around, around[1:], around[2:], strict=False):
        if body is not None:
            high = body.high + half if above is None else (body.high + above.low) / 2
            low = body.low - half if below is None else (body.low + below.high) / 2
            cut = body.cut or low < -0.5 or high > slices - 0.5
            levels.append(Level(body.name, low, high, cut))
    return levels


def _flag_missing(levels: Sequence[Level], bodies: Sequence[str]) -> list[QCFlag]:
    """Flag levels that were not found; a warning where the field of view is no reason."""
    known = {level.name for level in levels}
    missing = [name for name in MEASURED_LEVELS if name not in known]
    if not missing:
        return []
    ranks = [LEVELS.index(name) for name in bodies]
    inside = any(min(ranks) < LEVELS.index(name) < max(ranks) for name in missing if ranks)
    text = (
        f"The vertebral levels {', '.join(missing)} were not found, so nothing is measured there. "
        "The field of view may end before them; otherwise check the label map of the vertebrae."
    )
    severity = "warning" if inside or not bodies else "info"
    counts = float(len(known)), float(len(MEASURED_LEVELS))
    return [QCFlag("levels_missing", severity, "", *counts, text)]


def measure_levels(
    labels: NDArray[np.int16],
    levels: Iterable[Level],
    water: NDArray[np.float64],
    fat: NDArray[np.float64],
    grid: Grid,
    table: MuscleTable,
) -> list[LevelMeasure]:
    """Measure every muscle at the paper's levels and at each of MEASURED_LEVELS.

    Parameters
    ----------
    labels : ndarray of int16, shape of the grid
    levels : iterable of Level
        From :func:`find_levels` for the same grid.
    water, fat : ndarray of float64, shape of the grid
    grid : Grid
        In any orientation.
    table : MuscleTable

    Returns
    -------
    list of LevelMeasure
        A row for each muscle of the table at its levels of Table 1, then for each level and muscle.
    """
    turned, upright = reorient(labels, grid, UPRIGHT)
    turned_water, turned_fat = (reorient(volume, grid, UPRIGHT)[0] for volume in (water, fat))
    known = {level.name: level for level in levels}
    boxes = find_boxes(turned)
    seen = {
        muscle.index: _see(
            muscle, boxes.get(muscle.index, NOWHERE), turned, turned_water, turned_fat
        )
        for muscle in table
    }
    paper = [
        ("paper", PAPER_LEVELS[muscle.muscle], muscle)
        for muscle in table
        if muscle.muscle in PAPER_LEVELS
    ]
    single = [("level", name, muscle) for name in MEASURED_LEVELS for muscle in table]
    return [
        _measure(scope, name, muscle, seen[muscle.index], known, upright)
        for scope, name, muscle in (*paper, *single)
    ]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The voxels of a muscle: slice, whether at a side of the volume, water and fat."""

    z: NDArray[np.intp]
    at_side: NDArray[np.bool_]
    water: NDArray[np.float64]
    fat: NDArray[np.float64]


def _see(
    muscle: Muscle, box: Box, labels: NDArray[Any], water: NDArray[Any], fat: NDArray[Any]
) -> _Seen:
    inside = np.nonzero(labels[box] == muscle.index)
    x, y, z = (along + part.start for along, part in zip(inside, box, strict=True))
    last_x, last_y = labels.shape[0] - 1, labels.shape[1] - 1
    at_side = (x == 0) | (x == last_x) | (y == 0) | (y == last_y)
    return _Seen(z, at_side, water[x, y, z], fat[x, y, z])


def _labels_all(muscle: Muscle, wanted: Sequence[str]) -> bool:
    """Whether the weights label a muscle at all of these levels, as far as is known."""
    named = muscle.levels.split("-")
    return not set(named) <= set(LEVELS) or set(wanted) <= set(expand_levels(muscle.levels))


def _measure(
    scope: str, name: str, muscle: Muscle, seen: _Seen, known: dict[str, Level], grid: Grid
) -> LevelMeasure:
    """Measure one muscle at one level, or at several together; n/a if one is unknown."""
    nan = float("nan")
    row: dict[str, Any] = {
        "scope": scope,
        "levels": name,
        "index": muscle.index,
        "muscle": muscle.muscle,
        "hemi": muscle.hemi,
        "extent": "unknown",
        **dict.fromkeys(NUMBERS, nan),
    }
    wanted = expand_levels(name)
    if not _labels_all(muscle, wanted):
        return LevelMeasure(**row | {"extent": "unlabelled"})
    if not known.keys() >= set(wanted):
        return LevelMeasure(**row)
    slices = np.arange(grid.shape[2])
    chosen = np.zeros(len(slices), bool)
    for level in (known[one] for one in wanted):
        chosen |= (slices >= level.low) & (slices < level.high)
    inside = chosen[seen.z]
    voxels, count = int(inside.sum()), int(chosen.sum())
    row |= {"slices": count, "voxels": voxels, "extent": "absent"}
    if not voxels:
        return LevelMeasure(**row)
    cut = any(known[one].cut for one in wanted) or bool(seen.at_side[inside].any())
    volume_ml = voxels * grid.voxel_volume_ml
    measured = measure_fat(seen.water[inside], seen.fat[inside])
    row |= {
        "volume_ml": volume_ml,
        "area_mm2": voxels * pixel_area_mm2(grid) / count,
        "mfi_percent": measured["mfi_percent"],
        "mfi_median_percent": measured["mfi_median_percent"],
        "extent": "cut" if cut else "complete",
    }
    return LevelMeasure(**row)
