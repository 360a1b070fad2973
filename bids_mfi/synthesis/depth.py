"""Distances to other structures and to the skin in a label map, packed with the codes."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt, find_objects

DEPTH_STEP_MM = 0.05
SKIN_STEP_MM = 0.25
SKIN_OFFSET_MM = 24.0


def measure_half_thickness_mm(packed: NDArray[np.int32]) -> NDArray[np.float32]:
    """Measure the 90th percentile of the distance to other structures, per code."""
    codes, depth = packed & 255, (packed >> 16) & 255
    counts = np.zeros((256, 256))
    counts += np.bincount((codes * 256 + depth).ravel(), minlength=65536).reshape(256, 256)
    share = np.cumsum(counts, axis=1) / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.asarray((share < 0.9).sum(axis=1) * DEPTH_STEP_MM, np.float32)


def pack(codes: NDArray[np.uint8], spacing: tuple[float, ...]) -> NDArray[np.int32]:
    """Pack code, neighbour, depth and skin depth of every voxel, one byte each."""
    neighbour, depth = _find_neighbours(codes, spacing)
    skin = _skin_depth_mm(codes, spacing)
    depth_steps = np.clip(np.rint(depth / DEPTH_STEP_MM), 0, 255).astype(np.int32)
    skin_steps = np.rint((skin + SKIN_OFFSET_MM) / SKIN_STEP_MM)
    packed = np.clip(skin_steps, 0, 255).astype(np.int32) << 24
    packed |= depth_steps << 16
    packed |= neighbour.astype(np.int32) << 8
    packed |= codes
    return np.asarray(packed, np.int32)


def _find_neighbours(
    codes: NDArray[np.uint8], spacing: tuple[float, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Find the nearest other code and the distance to its surface in mm, per voxel with a code.

    The surface is half a voxel in front of the centre of the nearest voxel of the other code.
    """
    neighbour, depth = np.zeros_like(codes), np.zeros(codes.shape, np.float32)
    boxes = ((code, box) for code, box in enumerate(find_objects(codes), start=1) if box)
    for code, box in boxes:
        wide = tuple(
            slice(max(s.start - 1, 0), min(s.stop + 1, n))
            for s, n in zip(box, codes.shape, strict=True)
        )
        part = codes[wide]
        inside = part == code
        if inside.all():
            continue
        distance, nearest = distance_transform_edt(inside, sampling=spacing, return_indices=True)
        at = np.stack([axis[inside] for axis in nearest])
        voxels = np.abs(at - np.stack(np.nonzero(inside))).max(axis=0)
        depth[wide][inside] = distance[inside] * (1 - 0.5 / voxels)
        neighbour[wide][inside] = part[tuple(at)]
    return neighbour, depth


def _skin_depth_mm(codes: NDArray[np.uint8], spacing: tuple[float, ...]) -> NDArray[np.float32]:
    """Compute the distance to the body surface in mm, negative outside; holes count as inside."""
    body = np.stack([binary_fill_holes(codes[..., k] > 0) for k in range(codes.shape[2])], axis=2)
    body = np.pad(body, ((0, 0), (0, 0), (1, 1)), mode="edge")
    inside = distance_transform_edt(body, sampling=spacing) if not body.all() else body * 99.0
    outside = distance_transform_edt(~body, sampling=spacing)
    return np.asarray((inside - outside)[..., 1:-1], np.float32)
