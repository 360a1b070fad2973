"""Positions of the vertebral bodies of a label map."""

import numpy as np
from numpy.typing import NDArray

from bids_mfi.synthesis.structures import level_of
from bids_mfi.synthesis.tissues import N_MUSCLES, Tissue
from bids_mfi.vertebrae import LEVELS

MIDLINE_MM = 8.0
BEFORE_MUSCLES_MM = 12.0  # distance of the spine in front of the muscles' centre


def find_spine(
    codes: NDArray[np.uint8],
    rows: list[dict[str, str]],
    tissues: NDArray[np.uint8],
    spacing: tuple[float, float, float],
) -> tuple[NDArray[np.float32], list[tuple[str, float, float]], float]:
    """Find body centres by slice, heights of the levels and height of C4, in mm from voxel 0.

    A vertebral body is in front of the canal near the midline. Without canal and cord, a line in
    front of the muscles' centre replaces the spine, and no levels are returned.
    """
    canal = np.isin(codes, np.flatnonzero(
        np.isin(tissues, (Tissue.CEREBROSPINAL_FLUID, Tissue.CORD))))  # fmt: skip
    muscles = (tissues[codes] >= 1) & (tissues[codes] <= N_MUSCLES)
    middle = _centre_by_slice(canal if canal.any() else muscles, spacing)
    if not canal.any():
        middle[:, 1] += BEFORE_MUSCLES_MM
    levels: dict[str, tuple[float, float]] = {}
    fronts = np.full((codes.shape[2], 2), np.nan)
    for code, row in enumerate(rows, start=1):
        level = level_of(row["name"])
        x, y, z = np.nonzero(codes == code) if level else (np.empty(0, int),) * 3
        near = np.abs(x * spacing[0] - middle[z, 0]) < MIDLINE_MM
        front = near & (y * spacing[1] > middle[z, 1] + MIDLINE_MM * 0.6)
        if not canal.any() or level is None or front.sum() < 20:
            continue
        levels[level] = (float(z[front].min()) * spacing[2], float(z[front].max()) * spacing[2])
        for k in np.unique(z[front]):
            fronts[k] = middle[k, 0], y[front & (z == k)].mean() * spacing[1]
    spine = _fill_gaps(fronts) if np.isfinite(fronts).any() else middle
    ordered = [(name, *levels[name]) for name in LEVELS if name in levels]
    height = np.mean(levels["C4"]) if "C4" in levels else (codes.shape[2] - 1) / 2 * spacing[2]
    return spine.astype(np.float32), _join_levels(ordered), float(height)


def _join_levels(levels: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Make neighbouring levels, from the top down, meet in the middle of their disc."""
    joined = levels[:1]
    for name, low, high in levels[1:]:
        above, above_low, above_high = joined[-1]
        if LEVELS.index(name) - LEVELS.index(above) == 1:
            high = (high + above_low) / 2
            joined[-1] = (above, high, above_high)
        joined.append((name, low, high))
    return joined


def _centre_by_slice(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    centres = np.full((mask.shape[2], 2), np.nan)
    for k in range(mask.shape[2]):
        x, y = np.nonzero(mask[..., k])
        if x.size:
            centres[k] = x.mean() * spacing[0], y.mean() * spacing[1]
    return _fill_gaps(centres)


def _fill_gaps(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate rows of NaN; the outermost known rows repeat at the ends."""
    known = np.flatnonzero(np.isfinite(curve[:, 0]))
    at = np.arange(len(curve))
    return np.stack([np.interp(at, known, curve[known, axis]) for axis in range(2)], axis=1)
