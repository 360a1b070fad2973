"""A random synthetic neck on a grid.

The cross-sections of :mod:`bids_mfi.synthesis.sections` are interpolated along the neck once. A
:class:`NeckShape` then defines how one subject differs: size, muscles, fat, posture and a smooth
random warp. The code moves polygon corners, not voxels, so it draws a neck directly at any
resolution.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby, product

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from bids_mfi.grid import Grid
from bids_mfi.muscles import LONG_NAMES, WEBER2021
from bids_mfi.synthesis.section_tables import CANAL_Y_MM, FULLNESS, LEVEL_HEIGHT_MM
from bids_mfi.synthesis.sections import Part, neck_parts
from bids_mfi.synthesis.shapes import (
    VERTICES,
    fill_polygons,
    outline_section,
    oval_section,
    ribbon_section,
)
from bids_mfi.synthesis.tissues import N_MUSCLES

Floats = NDArray[np.float32]

TOP_MM, BOTTOM_MM, STEP_MM = 80.0, -112.0, 1.0
TAPER_MM = 5.0
TAPER_TO = 0.35
REACH_MM = 24.0
LORDOSIS_WIDTH_MM = 45.0
MUSCLE_TO_FASCIA_MM = 6.0
SKIN_FAT_BEHIND = 0.35

# Standard deviations of the variation between subjects; deliberately moderate.
SIZE_SD = 0.045
LENGTH_SD = 0.05
GIRTH_SD = 0.03
MUSCULARITY_SD = 0.06
MUSCLE_GROWTH_SD = 0.07
SIDE_GROWTH_SD = 0.04
NOD_SD_DEGREES = 3.0
TILT_SD_DEGREES = 1.5
TURN_SD_DEGREES = 3.0
LORDOSIS_SD_MM = 3.0
WARP_SD_MM = 1.3
WARP_WAVES = 6
WARP_LENGTH_MM = (60.0, 140.0)
FASCIA_SD = 0.3
SKIN_FAT_MM = (4.5, 1.2)
SKIN_FAT_PER_BMI_MM = 0.28
MEAN_BMI = 25.0


@dataclass(frozen=True, slots=True, eq=False)
class NeckShape:
    """Difference between one subject's neck and the drawn one.

    Attributes
    ----------
    scale : tuple of float
        Factors along x, y, z.
    growth : dict
        Thickness factor for each group of structures and side (``("TR", "L")``).
    fascia : float
        Thickness factor of the fat planes between muscles.
    skin_fat_mm : float
        Subcutaneous fat at the side of the neck; thicker behind, thinner in front.
    nod, tilt, turn : float
        Rotation forwards, to the right and to the left, in radians.
    lordosis_mm : float
        Forward bow of the column at C4.
    wave_vectors : ndarray of float32, shape (WARP_WAVES, 3)
        Radians per millimetre.
    wave_phases, wave_shifts_mm : ndarray of float32, shape (WARP_WAVES, 3)
        Phases and amplitudes of the smooth random displacement along x, y and z.
    """

    scale: tuple[float, float, float]
    growth: dict[tuple[str, str], float]
    fascia: float
    skin_fat_mm: float
    nod: float
    tilt: float
    turn: float
    lordosis_mm: float
    wave_vectors: Floats
    wave_phases: Floats
    wave_shifts_mm: Floats


def draw_shape(
    rng: np.random.Generator, sex: str = "F", bmi: float = MEAN_BMI, variation: float = 1.0
) -> NeckShape:
    """Draw a random subject.

    Parameters
    ----------
    rng : Generator
    sex : str
        ``F`` or ``M``; men are larger and more muscular.
    bmi : float
        Body mass index in kg/m2; increases the subcutaneous fat.
    variation : float
        Factor of all standard deviations; 0 gives the drawn neck.
    """
    male = 1.0 if sex == "M" else -1.0
    normal = variation * rng.standard_normal(9)
    size = (1 + 0.03 * male) * np.exp(SIZE_SD * normal[0])
    muscularity = (1 + 0.05 * male) * np.exp(MUSCULARITY_SD * normal[1])
    fat_mm = SKIN_FAT_MM[0] + SKIN_FAT_PER_BMI_MM * (bmi - MEAN_BMI) + SKIN_FAT_MM[1] * normal[2]
    vectors, phases, shifts = _draw_waves(rng, variation)
    return NeckShape(
        scale=(
            float(size * np.exp(GIRTH_SD * normal[3])),
            float(size),
            float(size * np.exp(LENGTH_SD * normal[4])),
        ),
        growth=_draw_growth(rng, float(muscularity), variation),
        fascia=float(np.exp(FASCIA_SD * normal[5])),
        skin_fat_mm=float(np.clip(fat_mm, 1.5, 16.0)),
        nod=float(np.deg2rad(NOD_SD_DEGREES) * normal[6]),
        tilt=float(np.deg2rad(TILT_SD_DEGREES) * normal[7]),
        turn=float(np.deg2rad(TURN_SD_DEGREES) * normal[8]),
        lordosis_mm=float(variation * LORDOSIS_SD_MM * rng.standard_normal()),
        wave_vectors=vectors,
        wave_phases=phases,
        wave_shifts_mm=shifts,
    )


def _draw_growth(
    rng: np.random.Generator, muscularity: float, variation: float
) -> dict[tuple[str, str], float]:
    growth = {}
    for name in (*LONG_NAMES, "other"):
        shared = MUSCLE_GROWTH_SD * variation * rng.standard_normal()
        for hemi in ("R", "L"):
            own = SIDE_GROWTH_SD * variation * rng.standard_normal()
            growth[name, hemi] = float(muscularity * np.exp(shared + own))
    return growth


def _draw_waves(rng: np.random.Generator, variation: float) -> tuple[Floats, Floats, Floats]:
    length = rng.uniform(*WARP_LENGTH_MM, WARP_WAVES)
    direction = rng.standard_normal((WARP_WAVES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    vectors = direction * (2 * np.pi / length)[:, None]
    phases = rng.uniform(0, 2 * np.pi, (WARP_WAVES, 3))
    amplitude = variation * WARP_SD_MM * np.sqrt(2 / WARP_WAVES)
    shifts = amplitude * rng.standard_normal((WARP_WAVES, 3))
    return (
        vectors.astype(np.float32),
        phases.astype(np.float32),
        shifts.astype(np.float32),
    )


def change_posture(shape: NeckShape, rng: np.random.Generator, amount: float = 0.4) -> NeckShape:
    """Change the posture of the same subject slightly, as in a later session."""
    return replace(
        shape,
        nod=shape.nod + amount * np.deg2rad(NOD_SD_DEGREES) * rng.standard_normal(),
        tilt=shape.tilt + amount * np.deg2rad(TILT_SD_DEGREES) * rng.standard_normal(),
        turn=shape.turn + amount * np.deg2rad(TURN_SD_DEGREES) * rng.standard_normal(),
        skin_fat_mm=shape.skin_fat_mm * float(np.exp(0.05 * rng.standard_normal())),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Atlas:
    """The drawn neck, sampled every STEP_MM from BOTTOM_MM, with separate left and right parts.

    ``core`` and ``offset`` have the shape (parts, heights, VERTICES, 2), float32.
    """

    parts: tuple[Part, ...]
    sides: tuple[str, ...]
    core: Floats
    offset: Floats
    length: Floats

    def value(self, index: int, tissue: int) -> int:
        """Return the value to paint a layer of a part with; muscles are numbered by side."""
        if not 1 <= tissue <= N_MUSCLES:
            return int(tissue)
        return WEBER2021.of(self.parts[index].group, self.sides[index]).index


@lru_cache(maxsize=1)
def _load_atlas() -> _Atlas:
    parts, sides, cores, offsets = [], [], [], []
    for part in neck_parts():
        core, offset = _interpolate(part)
        for side in ("R", "L") if part.paired else ("",):
            mirror = np.array([-1.0 if side == "L" else 1.0, 1.0])
            parts.append(part)
            sides.append(side)
            cores.append(core * mirror)
            offsets.append(offset * mirror)
    offset_table = np.array(offsets, np.float32)
    length = np.maximum(np.linalg.norm(offset_table, axis=-1, keepdims=True), 1e-3)
    return _Atlas(tuple(parts), tuple(sides), np.array(cores, np.float32), offset_table, length)


def _interpolate(part: Part) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    make = {"ribbon": ribbon_section, "outline": outline_section}
    heights = [height for height, _ in part.sections]
    sections = [
        oval_section(nodes[0]) if part.kind == "oval" else make[part.kind](nodes)
        for _, nodes in part.sections
    ]
    at = np.clip(np.arange(BOTTOM_MM, TOP_MM + STEP_MM / 2, STEP_MM), heights[-1], heights[0])
    core = PchipInterpolator(heights[::-1], [section[0] for section in sections][::-1])(at)
    offset = PchipInterpolator(heights[::-1], [section[1] for section in sections][::-1])(at)
    return core, offset


@lru_cache(maxsize=1)
def _canal_curve() -> Floats:
    """Return the anterior shift of the canal, sampled like the atlas, as float32."""
    heights = np.array([*LEVEL_HEIGHT_MM.values()])[::-1]
    curve = PchipInterpolator(heights, np.array([*CANAL_Y_MM.values()])[::-1], extrapolate=False)
    at = np.clip(np.arange(BOTTOM_MM, TOP_MM + STEP_MM / 2, STEP_MM), heights[0], heights[-1])
    return np.asarray(curve(at), np.float32)


def paint_neck(shape: NeckShape, grid: Grid) -> NDArray[np.uint8]:
    """Compute the tissue index at every voxel centre.

    Parameters
    ----------
    shape : NeckShape
    grid : Grid
        Axial slices: the third axis must point up or down, and no axis may be oblique. The world
        origin is the centre of the spinal canal at C4.

    Returns
    -------
    tissue : ndarray of uint8, shape of the grid
        1 to 14 are the muscles; other values are of :class:`~bids_mfi.synthesis.tissues.Tissue`.
    """
    if not np.allclose(grid.matrix[:3, :3], np.diag(grid.spacing_mm), atol=1e-4):
        raise ValueError(f"the phantom is painted on upright RAS grids, not {grid.axcodes}")
    spacing = np.array(grid.spacing_mm, np.float32)
    origin = grid.matrix[:3, 3].astype(np.float32)
    slice_mm = origin[2] + spacing[2] * np.arange(grid.shape[2], dtype=np.float32)
    volume = np.zeros((grid.shape[2], *grid.shape[:2]), np.uint8)
    atlas = _load_atlas()
    for _, group in groupby(range(len(atlas.parts)), lambda i: atlas.parts[i].joined or i):
        placed = [(i, p) for i in group if (p := _place_part(shape, i, slice_mm)) is not None]
        depth = max((len(atlas.parts[i].layers) for i, _ in placed), default=0)
        for layer, (index, corners) in product(range(depth), placed):
            slices, core, offset, unit = corners
            tissue, margin_mm = atlas.parts[index].layers[layer]
            margin = margin_mm * (shape.fascia if margin_mm > 0 else 1.0)
            polygons = (core + offset + margin * unit - origin[:2]) / spacing[:2]
            fill_polygons(volume, polygons, slices, atlas.value(index, tissue))
    return np.ascontiguousarray(volume.transpose(1, 2, 0))


def _place_part(
    shape: NeckShape, index: int, slice_mm: Floats
) -> tuple[NDArray[np.intp], Floats, Floats, Floats] | None:
    """Compute the corners of one part in every slice that it reaches.

    Returns
    -------
    slices : ndarray of int, shape (n,)
    core, offset, unit : ndarray of float32, shape (n, VERTICES, 2)
        World millimetres; the outline is core + offset, and unit is its outward direction.
        The function returns None if the part is outside the slices.
    """
    atlas = _load_atlas()
    part, side = atlas.parts[index], atlas.sides[index]
    top, bottom = part.sections[0][0], part.sections[-1][0]
    height = slice_mm / shape.scale[2]
    near = np.flatnonzero((height <= top + REACH_MM) & (height >= bottom - REACH_MM))
    if not len(near):
        return None
    drawn = _sample(atlas.core[index], np.repeat(height[near, None], VERTICES, 1))
    shift = _warp(shape, drawn, slice_mm[near])
    height_at = _drawn_height(shape, drawn, height[near], shift[..., 2])
    middle = height_at.mean(axis=1)
    reached = (middle <= top) & (middle >= bottom)
    if not reached.any():
        return None
    height_at = np.clip(height_at[reached], bottom, top)
    core = _sample(atlas.core[index], height_at)
    offset = _sample(atlas.offset[index], height_at)
    unit = offset / _sample(atlas.length[index], height_at)
    thick = _thickness(shape, part, side, middle[reached], unit)
    slices = near[reached]
    placed = _pose(shape, core, height_at, slice_mm[slices]) + shift[reached, :, :2]
    turn = _turn_matrices(shape, slice_mm[slices])
    grown = (offset * thick) @ turn
    outward = unit @ turn
    return slices, placed, grown.astype(np.float32), outward.astype(np.float32)


def _sample(table: Floats, height: Floats) -> Floats:
    """Interpolate a part's table, shape (heights, VERTICES, c), linearly at (n, VERTICES)."""
    position = np.clip((height - BOTTOM_MM) / STEP_MM, 0, len(table) - 1.001)
    below = position.astype(np.intp)
    part = (position - below)[..., None].astype(np.float32)
    corner = np.arange(table.shape[1])
    sampled: Floats = table[below, corner] * (1 - part) + table[below + 1, corner] * part
    return sampled


def _warp(shape: NeckShape, points: Floats, slice_mm: Floats) -> Floats:
    """Compute the smooth random shift in mm, shape (n, VERTICES, 3), at (x, y) of each slice."""
    vectors = shape.wave_vectors
    along = points @ vectors[:, :2].T + (slice_mm[:, None] * vectors[:, 2])[:, None, :]
    shift = np.zeros((*points.shape[:2], 3), np.float32)
    for axis in range(3):
        waves = np.sin(along + shape.wave_phases[:, axis])
        shift[..., axis] = waves @ shape.wave_shifts_mm[:, axis]
    return shift


def _drawn_height(shape: NeckShape, points: Floats, height: Floats, shift: Floats) -> Floats:
    """Compute the heights in the drawn neck that slices of the posed neck meet, (n, VERTICES)."""
    lean = shape.nod * points[..., 1] + shape.tilt * points[..., 0]
    lean = np.clip(lean, -REACH_MM / 2, REACH_MM / 2)
    drawn: Floats = height[:, None] + lean - shift / shape.scale[2]
    return drawn.astype(np.float32)


def _pose(shape: NeckShape, points: Floats, height: Floats, slice_mm: Floats) -> Floats:
    turned: Floats = points @ _turn_matrices(shape, slice_mm)
    canal = _canal_curve()[np.clip((height - BOTTOM_MM) / STEP_MM, 0, None).astype(np.intp)]
    bow = shape.lordosis_mm * np.exp(-((slice_mm / LORDOSIS_WIDTH_MM) ** 2))
    turned[..., 0] += shape.tilt * slice_mm[:, None]
    turned[..., 1] += canal + (bow + shape.nod * slice_mm)[:, None]
    return turned


def _turn_matrices(shape: NeckShape, slice_mm: Floats) -> Floats:
    """Return right-hand matrices (n, 2, 2) of scale and head turn, which increases upwards."""
    angle = shape.turn * np.clip(0.5 + slice_mm / 100.0, 0, 1)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrices = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], -2)
    scaled: Floats = np.array(shape.scale[:2])[None, :, None] * matrices
    return scaled.astype(np.float32)


def _thickness(shape: NeckShape, part: Part, side: str, height: Floats, unit: Floats) -> Floats:
    """Compute the factor of the offset: growth, tapering ends, or subcutaneous fat."""
    if part.kind == "outline":
        grown = np.float32(MUSCLE_TO_FASCIA_MM * (np.mean([*shape.growth.values()]) - 1))
        if part.group == "fascia":
            return np.full((1, 1, 1), grown, np.float32)
        return grown + shape.skin_fat_mm * (1 - SKIN_FAT_BEHIND * unit[..., 1:])
    if part.group not in (*LONG_NAMES, "other"):
        return np.ones((1, 1, 1), np.float32)
    top, bottom = part.sections[0][0], part.sections[-1][0]
    inside = np.clip(np.minimum(top - height, height - bottom) / TAPER_MM, 0, 1)
    taper = TAPER_TO + (1 - TAPER_TO) * np.sqrt(inside)
    growth = FULLNESS[part.group] * shape.growth[part.group, side]
    thick: Floats = (growth * taper)[:, None, None].astype(np.float32)
    return thick
