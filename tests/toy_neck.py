"""A neck of boxes as a label map, for tests: small, exactly known, with all fourteen muscles."""

import csv
from pathlib import Path

import numpy as np

from bids_mfi.grid import Grid, reorient
from bids_mfi.images import encode_image
from bids_mfi.muscles import WEBER2021

SHAPE = (80, 80, 64)
SPACING_MM = 2.0
MIDDLE = 40  # voxels 39 and 40 touch the midline
LEVELS = ("T1", "C7", "C6", "C5", "C4", "C3", "C2")
FIRST_SLICE, LEVEL_SLICES = 4, 8  # seven slices of bone and one of disc for each level

# Of each muscle: distance from the midline, first y, width and depth, in voxels.
BOXES = {
    "MFSS": (3, 22, 6, 8),
    "SSCap": (10, 22, 4, 6),
    "SPCap": (3, 16, 12, 5),
    "TR": (2, 9, 18, 6),
    "LS": (20, 24, 5, 10),
    "SCM": (17, 48, 8, 10),
    "LC": (1, 54, 8, 4),
}
OTHERS = {
    20: "other_soft_tissue", 21: "spinal_canal_csf", 22: "spinal_cord", 23: "intervertebral_discs",
    24: "right_scalenes", 25: "left_scalenes", 26: "mandible",
    **{30 + i: f"vertebra_{level}" for i, level in enumerate(LEVELS)},
}  # fmt: skip


def toy_labels():
    """Labels of the neck, axes R, A, S; left and right are exact mirror images."""
    labels = np.zeros(SHAPE, np.int16)
    x, y = np.meshgrid(np.arange(80) - 39.5, np.arange(80) - 38.0, indexing="ij")
    labels[(x / 34) ** 2 + (y / 36) ** 2 < 1] = 20
    for i in range(len(LEVELS)):
        start = FIRST_SLICE + i * LEVEL_SLICES
        labels[34:46, 44:54, start : start + 7] = 30 + i
        labels[34:46, 44:54, start + 7] = 23
        labels[38:42, 30:34, start : start + 4] = 30 + i  # the spinous process
    labels[36:44, 36:44] = 21
    labels[38:42, 38:42] = 22
    for side, sign in (("R", 1), ("L", -1)):
        for name, (from_middle, front, width, depth) in BOXES.items():
            at = box_columns(sign, from_middle, width)
            labels[at, front : front + depth, 2:62] = WEBER2021.of(name, side).index
        labels[box_columns(sign, 14, 5), 36:44] = 24 if side == "R" else 25
    labels[34:46, 64:70, 50:60] = 26
    return labels


def box_columns(sign, from_middle, width):
    """Voxels along x at this distance from the midline, to the right (+1) or the left (-1)."""
    if sign > 0:
        return slice(MIDDLE + from_middle, MIDDLE + from_middle + width)
    return slice(MIDDLE - from_middle - width, MIDDLE - from_middle)


def toy_grid():
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = (-100.0, 7.0, 1200.0)
    return Grid.from_array(SHAPE, affine)


def toy_rows():
    rows = [{"index": str(m.index), "name": m.name} for m in WEBER2021]
    return rows + [{"index": str(index), "name": name} for index, name in OTHERS.items()]


def write_toy_neck(folder: Path, name="neck_dseg", axcodes=("R", "A", "S"), rows=None):
    """Write the label map and its table; the path of the label map."""
    folder.mkdir(parents=True, exist_ok=True)
    labels, grid = reorient(toy_labels(), toy_grid(), axcodes)
    path = folder / f"{name}.nii.gz"
    path.write_bytes(encode_image(np.ascontiguousarray(labels), grid))
    with (folder / f"{name}.tsv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("index", "name"), delimiter="\t")
        writer.writeheader()
        writer.writerows(toy_rows() if rows is None else rows)
    return path
