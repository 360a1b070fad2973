"""Vertebral levels from labelled vertebral bodies; must not know networks, files or pages.

As the raters of Weber et al. 2021 did it (doi:10.1038/s41598-021-95972-x): the bodies of the
vertebrae tell which axial slices belong to a level. Neighbouring levels meet in the middle of
their disc, so that every slice between the first and the last level belongs to one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.quality import QCFlag
from bids_mfi.measure.quantify import measure_fat
from bids_mfi.muscles import PAPER_LEVELS, Muscle, MuscleTable
from bids_mfi.vertebrae import MEASURED_LEVELS, expand_levels

UPRIGHT = ("R", "A", "S")
LEAST_BODY_ML = 0.4  # a body of an adult has 2 to 4 ml
CORE_MM = 4.0  # a column of this radius through a body's middle tells its height
FILLED = 0.5
HALF_DISC_MM = 2.5
NUMBERS = ("slices", "voxels", "volume_ml", "area_mm2", "mfi_percent", "mfi_median_percent")
# From the middle of one body to that of the next.
NEIGHBOURS_MM = (8.0, 32.0)


@dataclass(frozen=True, slots=True)
class Level:
    """The slices of a vertebral level, on a grid turned to R, A, S.

    Attributes
    ----------
    name : str
        For example ``C4``.
    low, high : float
        Lower and upper end along the third axis, in voxels; a slice whose index lies from ``low``
        to below ``high`` belongs to the level.
    cut : bool
        The body reaches an end of the field of view, so that the level is seen in part.
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
        ``absent`` (no voxel) or ``unknown`` (the level was not found).
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
    """Ends and middle of a vertebral body along the third axis, in voxels."""

    name: str
    low: float
    middle: float
    high: float
    cut: bool


def find_levels(
    vertebrae: NDArray[np.integer], grid: Grid, names: Sequence[str]
) -> tuple[tuple[Level, ...], list[QCFlag]]:
    """Find the slices of each vertebral level.

    Parameters
    ----------
    vertebrae : ndarray of int, shape of the grid
        0, or the place of a vertebra in ``names``, counted from 1.
    grid : Grid
        In any orientation.
    names : sequence of str
        From the top down, for example VERTEBRAE.

    Returns
    -------
    levels : tuple of Level
        Of MEASURED_LEVELS, from the top down, those that were found.
    flags : list of QCFlag
        Levels that were not found, or bodies in an order that no spine has; there are no levels
        then.
    """
    turned, upright = reorient(vertebrae, grid, UPRIGHT)
    found = (_find_body(turned == n, upright, name) for n, name in enumerate(names, start=1))
    bodies = [body for body in found if body is not None]
    problem = _find_disorder(bodies, names, upright)
    if problem:
        return (), [problem]
    levels = [level for level in _join(bodies, names, upright) if level.name in MEASURED_LEVELS]
    return tuple(levels), _flag_missing(levels)


def _find_body(mask: NDArray[np.bool_], grid: Grid, name: str) -> _Body | None:
    """Measure the largest piece of a vertebral body; None if there is none of a body's size."""
    pieces, count = ndimage.label(mask)
    if not count:
        return None
    sizes = np.bincount(pieces.ravel())[1:]
    if sizes.max() * grid.voxel_volume_ml < LEAST_BODY_ML:
        return None
    x, y, z = np.nonzero(pieces == 1 + int(sizes.argmax()))
    spacing = grid.spacing_mm
    away = np.hypot((x - x.mean()) * spacing[0], (y - y.mean()) * spacing[1])
    near = away <= max(CORE_MM, float(away.min()))
    filled = np.bincount(z[near], minlength=mask.shape[2])
    core = np.flatnonzero(filled >= FILLED * filled.max())
    cut = z.min() == 0 or z.max() == mask.shape[2] - 1
    return _Body(name, core[0] - 0.5, float(z.mean()), core[-1] + 0.5, bool(cut))


def _find_disorder(bodies: Sequence[_Body], names: Sequence[str], grid: Grid) -> QCFlag | None:
    """Say that bodies do not follow each other as those of a spine do."""
    for above, below in pairwise(bodies):
        between = names.index(below.name) - names.index(above.name)
        apart_mm = (above.middle - below.middle) * grid.spacing_mm[2]
        least, most = (limit * between for limit in NEIGHBOURS_MM)
        if not least <= apart_mm <= most:
            where = f"{abs(apart_mm):.0f} mm {'below' if apart_mm >= 0 else 'above'}"
            text = (
                f"The body of {below.name} was found {where} that of {above.name}, expected "
                f"{least:.0f} to {most:.0f} mm below, so that nothing is measured by vertebral "
                "level. Look at the label map of the vertebrae."
            )
            return QCFlag("vertebral_order", "warning", "", apart_mm, most, text)
    return None


def _join(bodies: Sequence[_Body], names: Sequence[str], grid: Grid) -> list[Level]:
    """Let levels meet in the middle of their disc, and end with a half one elsewhere."""
    half = HALF_DISC_MM / grid.spacing_mm[2]
    by_name = {body.name: body for body in bodies}
    around = (None, *(by_name.get(name) for name in names), None)
    levels = []
    for above, body, below in zip(around, around[1:], around[2:], strict=False):
        if body is not None:
            high = body.high + half if above is None else (body.high + above.low) / 2
            low = body.low - half if below is None else (body.low + below.high) / 2
            levels.append(Level(body.name, low, high, body.cut))
    return levels


def _flag_missing(levels: Sequence[Level]) -> list[QCFlag]:
    known = {level.name for level in levels}
    missing = [name for name in MEASURED_LEVELS if name not in known]
    if not missing:
        return []
    text = (
        f"The vertebral levels {', '.join(missing)} were not found, so that nothing is measured "
        "there. The field of view may end before them; otherwise look at the label map of the "
        "vertebrae."
    )
    return [
        QCFlag("levels_missing", "info", "", float(len(known)), float(len(MEASURED_LEVELS)), text)
    ]


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
    seen = {muscle.index: _see(muscle, turned, turned_water, turned_fat) for muscle in table}
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


def _see(muscle: Muscle, labels: NDArray[Any], water: NDArray[Any], fat: NDArray[Any]) -> _Seen:
    x, y, z = np.nonzero(labels == muscle.index)
    last_x, last_y = labels.shape[0] - 1, labels.shape[1] - 1
    at_side = (x == 0) | (x == last_x) | (y == 0) | (y == last_y)
    return _Seen(z, at_side, water[x, y, z], fat[x, y, z])


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
        "area_mm2": 1000 * volume_ml / (count * grid.spacing_mm[2]),
        "mfi_percent": measured["mfi_percent"],
        "mfi_median_percent": measured["mfi_median_percent"],
        "extent": "cut" if cut else "complete",
    }
    return LevelMeasure(**row)
