"""Muscle volumes like those of people.

A label map shows one body. This module finds the growth of each muscle that gives a person drawn
from that body muscles of given volumes. Growth moves surfaces (see ``labelmap``), so the volume of
a muscle is a sum over voxel distances to surfaces, which are counted once per map.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bids_mfi.muscles import WEBER2021
from bids_mfi.synthesis.depth import DEPTH_STEP_MM
from bids_mfi.synthesis.labelmap import LabelMap
from bids_mfi.synthesis.painting import FIXED
from bids_mfi.synthesis.tissues import N_MUSCLES, Tissue
from bids_mfi.vertebrae import expand_levels

# Mean of left and right and standard deviation between persons, ml, at the levels of Table 1 of
# Weber et al. 2021 (doi:10.1038/s41598-021-95972-x). The mean of the tracings is the network's mean
# minus its bias in Table 2. The standard deviation is the standard error times the root of the
# 18 scans.
PAPER_VOLUMES_ML: Mapping[str, tuple[float, float]] = {
    "MFSS": (16.1, 4.5), "LC": (5.4, 1.7), "SSCap": (11.7, 4.2), "SPCap": (7.1, 1.9),
    "LS": (7.1, 3.0), "SCM": (14.2, 4.9), "TR": (4.6, 2.3),
}  # fmt: skip
# Share of the variance between persons that is common to all muscles of one person.
COMMON_SHARE = 0.5
SIDE_SD = 0.06
# A label map shows a person too: it contributes up to this share of the logarithm of a volume.
MOST_OWN_SHARE = 0.5
# Edge voxels with too much fat carry no label; raters trace closer to the edge.
LABEL_LOSS = 1.12
MOST_GROWTH_MM = 7.0
ROUNDS = 14
MOST_STEP_MM = 0.8
NUDGE_MM = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceCounts:
    """Voxel counts of a label map by distance to the surface of a muscle.

    Attributes
    ----------
    inside, outside : ndarray of int64, shape (N_MUSCLES + 1, 256, 257)
        Cumulative counts by muscle, code of the neighbour and distance in DEPTH_STEP_MM: entry d
        counts the voxels nearer than d. ``inside`` counts voxels of the muscle whose nearest other
        structure is the neighbour, ``outside`` voxels of the neighbour whose nearest other
        structure is the muscle. Both cover the slices of the muscle's levels.
    voxel_ml : float
    reference_ml : ndarray of float64, shape (N_MUSCLES + 1,)
        Volume of each muscle in those slices.
    known : ndarray of bool, shape (N_MUSCLES + 1,)
        Whether the map has all levels of the muscle; otherwise all slices are counted.
    """

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]
    voxel_ml: float
    reference_ml: NDArray[np.float64]
    known: NDArray[np.bool_]


@lru_cache(maxsize=8)
def count_surfaces(label_map: LabelMap) -> SurfaceCounts:
    """Count the voxels of a label map by muscle, neighbour and distance."""
    inside = np.zeros((N_MUSCLES + 1, 256, 257), np.int64)
    outside = np.zeros_like(inside)
    known = np.zeros(N_MUSCLES + 1, bool)
    for muscle in WEBER2021:
        slices, known[muscle.index] = _slices_of(label_map, expand_levels(muscle.levels))
        word = label_map.packed.numpy()[..., slices].ravel()
        code, neighbour, depth = word & 255, (word >> 8) & 255, (word >> 16) & 255
        own, beside = (label_map.tissues[part] == muscle.index for part in (code, neighbour))
        inside[muscle.index] = _sum_up(neighbour[own & ~beside], depth[own & ~beside])
        outside[muscle.index] = _sum_up(code[beside & ~own], depth[beside & ~own])
    voxel_ml = float(np.prod(np.diag(label_map.affine)[:3])) / 1000
    return SurfaceCounts(
        inside, outside, voxel_ml, inside[..., -1].sum(axis=1) * voxel_ml, known
    )  # fmt: skip


def _slices_of(label_map: LabelMap, levels: list[str]) -> tuple[NDArray[np.bool_], bool]:
    """Find the slices at some levels (all slices if one is missing), and whether all exist."""
    found = {name: (low, high) for name, low, high in label_map.levels}
    count = label_map.packed.shape[2]
    if not set(levels) <= set(found):
        return np.ones(count, bool), False
    z_mm = label_map.affine[2, 3] + label_map.affine[2, 2] * np.arange(count)
    chosen = np.zeros(count, bool)
    for level in levels:
        chosen |= (z_mm >= found[level][0]) & (z_mm < found[level][1])
    return chosen, True


def _sum_up(code: NDArray[np.int32], depth: NDArray[np.int32]) -> NDArray[np.int64]:
    counts = np.bincount(code.astype(np.int64) * 256 + depth, minlength=65536).reshape(256, 256)
    summed = np.zeros((256, 257), np.int64)
    np.cumsum(counts, axis=1, out=summed[:, 1:])
    return summed


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """Positions of a label map's muscles around the spine, between C3 and C5.

    Attributes
    ----------
    lateral_mm, behind_mm : float
        Lateral and posterior extent of the muscles from the spine, 97th percentile.
    centre_mm : ndarray of float64, shape (N_MUSCLES + 1, 2)
        Mean x and y of each muscle, from the spine.
    """

    lateral_mm: float
    behind_mm: float
    centre_mm: NDArray[np.float64]


@lru_cache(maxsize=8)
def measure_outline(label_map: LabelMap) -> Outline:
    """Measure the positions of the muscles of a label map."""
    slices, _ = _slices_of(label_map, ["C3", "C4", "C5"])
    x, y, z = np.nonzero(_muscles_of(label_map)[..., slices])
    index = _muscles_of(label_map)[..., slices][x, y, z]
    spine = label_map.spine[slices][z]
    places = np.stack([x, y], axis=1) * np.diag(label_map.affine)[:2] + label_map.affine[:2, 3]
    places = places - spine
    centre = np.zeros((N_MUSCLES + 1, 2))
    for muscle in np.unique(index):
        centre[muscle] = places[index == muscle].mean(axis=0)
    return Outline(
        float(np.percentile(np.abs(places[:, 0]), 97)),
        float(np.percentile(-places[:, 1], 97)),
        centre,
    )


def _muscles_of(label_map: LabelMap) -> NDArray[np.uint8]:
    tissues = label_map.tissues[label_map.packed.numpy() & 255]
    return np.where(tissues <= N_MUSCLES, tissues, 0).astype(np.uint8)


def draw_volumes_ml(
    rng: np.random.Generator, label_map: LabelMap, size: float | NDArray[np.float64] = 1.0
) -> NDArray[np.float64]:
    """Draw the volumes of a person's muscles at the paper's levels, in the space of a label map.

    Parameters
    ----------
    rng : Generator
    label_map : LabelMap
        The mean is between the map's own volume of each muscle and that of the paper's scans. If
        the map lacks the levels of a muscle, the mean is the map's own volume.
    size : float, or ndarray of shape (N_MUSCLES + 1,)
        Volume relative to the label map, of the whole person or of each muscle; the map's muscles
        are enlarged by this factor later.

    Returns
    -------
    ndarray of float64, shape (N_MUSCLES + 1,)
    """
    counts = count_surfaces(label_map)
    common, own_share = rng.standard_normal(), rng.uniform(0, MOST_OWN_SHARE)
    own = {name: rng.standard_normal() for name in PAPER_VOLUMES_ML}
    volumes, enlarged = counts.reference_ml.copy(), np.broadcast_to(size, N_MUSCLES + 1)
    for muscle in WEBER2021:
        mean, sd = PAPER_VOLUMES_ML[muscle.muscle]
        spread = float(np.sqrt(np.log(1 + (sd / mean) ** 2)))
        normal = np.sqrt(COMMON_SHARE) * common + np.sqrt(1 - COMMON_SHARE) * own[muscle.muscle]
        side = SIDE_SD * rng.standard_normal()
        if counts.known[muscle.index] and volumes[muscle.index] > 0:
            wanted = np.log(LABEL_LOSS * mean / enlarged[muscle.index])
            volumes[muscle.index] = np.exp(
                own_share * np.log(volumes[muscle.index]) + (1 - own_share) * wanted
            )
        volumes[muscle.index] *= np.exp(spread * normal - spread**2 / 2 + side)
    return volumes


def solve_growth(
    label_map: LabelMap,
    volumes_ml: NDArray[np.float64],
    growth_mm: NDArray[np.float32],
    most_wasted_mm: NDArray[np.float32],
    plane_mm: float,
) -> NDArray[np.float32]:
    """Find the growth that gives the muscles the given volumes, as closely as the limits allow.

    Parameters
    ----------
    label_map : LabelMap
    volumes_ml : ndarray, shape (N_MUSCLES + 1,)
        Volumes at the paper's levels, in the space of the label map.
    growth_mm : ndarray of float32, shape (256,)
        Initial growth by code; that of structures other than the fourteen muscles does not change.
    most_wasted_mm : ndarray of float32, shape (256,)
        Maximum movement of a neighbour into each structure.
    plane_mm : float
        Half-thickness of the planes, which do not belong to a muscle.

    Returns
    -------
    ndarray of float32, shape (256,)
    """
    growth = growth_mm.astype(np.float64)
    muscles = [index for index in range(1, N_MUSCLES + 1) if volumes_ml[index] > 0]
    codes = {index: np.flatnonzero(label_map.tissues == index) for index in muscles}
    for number in range(ROUNDS):
        damping = 0.8 / (1 + number / 6)  # surfaces move by whole voxels, so steps must shrink
        steps = {}
        for index in muscles:
            low, volume, high = (
                muscle_volume_ml(label_map, growth, index, most_wasted_mm, plane_mm, extra_mm)
                for extra_mm in (-NUDGE_MM, 0.0, NUDGE_MM)
            )
            slope = (high - low) / (2 * NUDGE_MM)  # ml per millimetre
            missing = volumes_ml[index] - volume
            step = damping * missing / max(slope, 0.05)
            steps[index] = np.clip(step, -MOST_STEP_MM, MOST_STEP_MM)
        for index, step in steps.items():
            growth[codes[index]] += step
        np.clip(growth, -MOST_GROWTH_MM, MOST_GROWTH_MM, out=growth)
    return growth.astype(np.float32)


def muscle_volume_ml(
    label_map: LabelMap,
    growth_mm: NDArray[np.float64],
    index: int,
    most_wasted_mm: NDArray[np.float32],
    plane_mm: float,
    extra_mm: float = 0.0,
) -> float:
    """Compute a muscle's volume at its levels after growth, its own increased by ``extra_mm``."""
    counts, tissues = count_surfaces(label_map), label_map.tissues
    codes = np.flatnonzero(tissues == index)
    if not codes.size:
        return 0.0
    code = codes[0]
    moves = ~np.isin(tissues, FIXED)
    own = growth_mm[code] + extra_mm
    pushed = np.clip(growth_mm - own, -most_wasted_mm, most_wasted_mm[code])
    pushed = np.where(moves, pushed, max(-own, 0.0))  # a fixed neighbour leaves a gap
    soft = (tissues <= N_MUSCLES) | (tissues == Tissue.OTHER_MUSCLE)
    plane = np.where(moves & soft, plane_mm, 0.0)
    lost = np.clip(np.ceil((pushed + plane) / DEPTH_STEP_MM), 0, 256).astype(int)
    won = np.clip(np.ceil((-pushed - plane) / DEPTH_STEP_MM), 0, 256).astype(int)
    neighbours = np.arange(256)
    inside, outside = counts.inside[index], counts.outside[index]
    voxels = (inside[:, -1] - inside[neighbours, lost]).sum()
    voxels += outside[neighbours, np.where(moves, won, 0)].sum()
    return float(voxels) * counts.voxel_ml
