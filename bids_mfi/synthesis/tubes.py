"""Insertion of vessels and other tubes into a label map."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.synthesis.subject import Subject
from bids_mfi.synthesis.tissues import Tissue


def insert_tubes(subject: Subject) -> tuple[Tensor, NDArray[np.uint8]]:
    """Return a copy of the label map with the subject's tubes, and the tissues by code."""
    label_map = subject.label_map
    packed = label_map.packed.numpy().copy()
    tissues = label_map.tissues.copy()
    filling = tissues == Tissue.LOOSE_TISSUE
    spacing, origin = np.diag(label_map.affine)[:3], label_map.affine[:3, 3]
    for number, tube in enumerate(subject.tubes):
        code = 255 - number
        tissues[code] = tube.tissue
        for k in np.flatnonzero(tube.slices):
            centre = tube.centre_mm[k]
            box, inside = _disc((centre - origin[:2]) / spacing[:2], tube.radii_mm / spacing[:2])
            plane = packed[..., k][box]
            put = inside[: plane.shape[0], : plane.shape[1]] & filling[plane & 255]
            plane[put] = (plane[put] & ~0xFFFF) | (code << 8) | code
    return torch.from_numpy(packed), tissues


def _disc(
    centre: NDArray[np.float64], radii: NDArray[np.float64]
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Return the box around an ellipse in a voxel plane, and a mask of its inner voxels."""
    low = np.maximum(np.floor(centre - radii), 0).astype(int)
    high = np.maximum(np.ceil(centre + radii).astype(int) + 1, low)
    x, y = (np.arange(a, b) for a, b in zip(low, high, strict=True))
    inside = ((x[:, None] - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1
    return (slice(low[0], high[0]), slice(low[1], high[1])), inside
