"""A label map of a neck, prepared for random subjects.

A label map identifies the structure at every voxel of one body. The nearest other structure, the
distance to it and the depth below the skin are computed once per voxel. Growth, wasting, fat planes
and subcutaneous fat of a subject are then comparisons of these numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import ConvexHull, Delaunay, QhullError
from torch import Tensor

from bids_mfi.errors import InputError
from bids_mfi.grid import Grid, reorient
from bids_mfi.images import read_labels
from bids_mfi.measure.quality import find_exchanged_sides
from bids_mfi.muscles import WEBER2021, MuscleTable
from bids_mfi.synthesis.anatomies import find_anatomy, list_anatomies
from bids_mfi.synthesis.depth import measure_half_thickness_mm, pack
from bids_mfi.synthesis.slices import divide_thick_slices
from bids_mfi.synthesis.spine import find_spine
from bids_mfi.synthesis.structures import (
    JAW,
    find_structure_table,
    identify,
    level_of,
    name_tissue,
    read_structure_table,
)
from bids_mfi.synthesis.tissues import N_MUSCLES, Tissue
from bids_mfi.vertebrae import VERTEBRAE, expand_levels

MOST_LABELS = 249  # a body and tubes need further codes
AROUND_MUSCLES_MM = 9.0
MOST_JAW_POINTS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """One body, prepared for random subjects.

    Attributes
    ----------
    name : str
        File name.
    packed : Tensor of int32, shape (x, y, z)
        Four bytes per voxel: code, code of the nearest other structure, distance to it
        (DEPTH_STEP_MM), depth below the skin (SKIN_STEP_MM, SKIN_OFFSET_MM added). Axes R, A, S.
    affine : ndarray of float64, shape (4, 4)
        Voxel indices to millimetres. The origin is the canal, or otherwise the muscles' centre, at
        the height of C4 or of the middle.
    tissues : ndarray of uint8, shape (256,)
        Tissue of each code; muscles of the table are 1 to 14.
    occupied : ndarray of bool, shape (256, z)
        Slices that contain the structure of each code; no slice for code 0.
    levels : tuple of (str, float, float)
        Vertebral level, lowest and highest z of its body in millimetres, half a disc included.
    spine : ndarray of float32, shape (z, 2)
        x and y of the vertebral bodies' centre in each slice, millimetres.
    table : MuscleTable
        The muscles in the map, with the paper's levels.
    half_thickness_mm : ndarray of float32, shape (256,)
        Half-thickness of each code's structure at thick parts: the 90th percentile of the distance
        to other structures.
    jaw_mm : ndarray of float32, shape (n, 3)
        Some points of jaws and teeth.
    reading : tuple of (str, str)
        Name of each structure and the tissue assigned to it.
    unrecognised : tuple of str
        Unrecognised names, treated as loose tissue.
    """

    name: str
    packed: Tensor
    affine: NDArray[np.float64]
    tissues: NDArray[np.uint8]
    occupied: NDArray[np.bool_]
    levels: tuple[tuple[str, float, float], ...]
    spine: NDArray[np.float32]
    table: MuscleTable
    half_thickness_mm: NDArray[np.float32]
    jaw_mm: NDArray[np.float32]
    reading: tuple[tuple[str, str], ...]
    unrecognised: tuple[str, ...]

    def body_levels(self) -> NDArray[np.uint8]:
        """Return the position (from 1) in VERTEBRAE of each code's vertebra, else 0, (256,)."""
        numbers = np.zeros(256, np.uint8)
        for code, (name, _) in enumerate(self.reading, start=1):
            level = level_of(name)
            if level in VERTEBRAE:
                numbers[code] = 1 + VERTEBRAE.index(level)
        return numbers

    def slices_with(self, kinds: Sequence[Tissue]) -> NDArray[np.bool_]:
        """Return a mask of the slices with a structure of one of these tissues, shape (z,)."""
        named = self.codes_of(kinds)
        return np.asarray(self.occupied[named].any(axis=0))

    def codes_of(self, kinds: Sequence[Tissue]) -> NDArray[np.intp]:
        """Return the codes of structures of these tissues; air around the body has no code."""
        return np.flatnonzero(np.isin(self.tissues, kinds) & self.occupied.any(axis=1))


def find_label_maps(paths: Sequence[Path]) -> list[Path]:
    """List the label maps at the given paths, without duplicates.

    A path is a file, a folder with label maps, or the name of an anatomy of the package.

    Raises
    ------
    InputError
        A path does not exist, or a folder has no label map.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists() and str(path) in list_anatomies():
            path = find_anatomy(str(path))
        inside = _list_folder(path) if path.is_dir() else []
        if path.is_dir() and not inside:
            raise InputError(f"{path}: contains no .nii or .nii.gz file, expected label maps.")
        if not path.exists():
            raise InputError(
                f"{path}: no such file, expected a label map, or the name of one in the "
                f"package ({', '.join(list_anatomies())}); check the path."
            )
        found += inside or [path]
    return list(dict.fromkeys(path.absolute() for path in found))


def _list_folder(folder: Path) -> list[Path]:
    """List all NIfTI files below a folder; only ``*dseg`` if any file has this name."""
    images = sorted([*folder.rglob("*.nii.gz"), *folder.rglob("*.nii")])
    return [path for path in images if "dseg.nii" in path.name] or images


@lru_cache(maxsize=4)
def load_label_map(path: Path) -> LabelMap:
    """Read a label map and its table, and prepare it.

    Parameters
    ----------
    path : Path
        NIfTI file. Its table has the BIDS columns ``index`` and ``name``. The table is beside the
        map, with the same name and the ending ``.tsv``, or is the only ``*dseg.tsv`` of its folder
        or of a folder above it.

    Raises
    ------
    InputError
        The table is missing or unusable, or the map contains a label that the table does not name,
        or contains none of the fourteen muscles.
    """
    labels, grid = read_labels(path)
    turned, turned_grid = reorient(labels, grid, ("R", "A", "S"))
    table_path = find_structure_table(path)
    rows = read_structure_table(table_path)
    fine, fine_grid = divide_thick_slices(np.ascontiguousarray(turned, np.int16), turned_grid)
    return prepare_label_map(fine, fine_grid, rows, path.name, table_path)


def prepare_label_map(
    labels: NDArray[np.int16],
    grid: Grid,
    rows: list[dict[str, str]],
    name: str,
    table_path: Path = Path("the label table"),
) -> LabelMap:
    """Compute depths, neighbours, levels and the origin of a label map with axes R, A, S.

    Parameters
    ----------
    labels : ndarray of int16, shape (x, y, z)
    grid : Grid
    rows : list of dict
        Label table.
    name : str
    table_path : Path
        Path for error messages.

    Raises
    ------
    InputError
        See :func:`load_label_map`.
    """
    codes, kept = _encode(labels, rows, name, table_path)
    found = [identify(row) for row in kept]
    tissues = np.zeros(256, np.uint8)
    for code, tissue in enumerate(found, start=1):
        tissues[code] = Tissue.LOOSE_TISSUE if tissue is None else tissue
    present = {tissue for tissue in found if tissue is not None and 1 <= tissue <= N_MUSCLES}
    if not present:
        raise InputError(
            f"{table_path}: names none of the fourteen muscles, expected names such as "
            f"{WEBER2021.of('TR', 'L').name} (or the columns muscle and hemi)."
        )
    spacing = grid.spacing_mm
    _check_sides(np.where(tissues <= N_MUSCLES, tissues, 0)[codes], grid, name)
    _fill_body(codes, tissues, spacing, has_body=Tissue.LOOSE_TISSUE in found)
    spine, levels, height_mm = find_spine(codes, kept, tissues, spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -_origin(spine, height_mm, spacing)
    packed = pack(codes, spacing)
    spine = spine + affine[:2, 3].astype(np.float32)
    shift = affine[2, 3]
    return LabelMap(
        name=name,
        packed=torch.from_numpy(packed),
        affine=affine,
        tissues=tissues,
        occupied=_find_slices(codes),
        levels=tuple((level, low + shift, high + shift) for level, low, high in levels),
        spine=spine,
        table=MuscleTable(tuple(m for m in WEBER2021 if m.index in present)),
        half_thickness_mm=measure_half_thickness_mm(packed),
        jaw_mm=_jaw_points_mm(codes, kept, affine),
        reading=tuple(
            (row["name"], name_tissue(tissue)) for row, tissue in zip(kept, found, strict=True)
        ),
        unrecognised=tuple(
            row["name"] for row, tissue in zip(kept, found, strict=True) if tissue is None
        ),
    )


def _check_sides(labels: NDArray[np.uint8], grid: Grid, name: str) -> None:
    """Reject a map whose left muscles are to the right of the right ones."""
    exchanged = find_exchanged_sides(labels.astype(np.int16), grid, WEBER2021)
    if exchanged:
        raise InputError(
            f"{name}: the left label of {', '.join(exchanged)} is to the right of the right one. "
            "Expected sides that agree with the affine. Swap the names of the two sides in the "
            "label table, or correct the orientation of the map."
        )


def _encode(
    labels: NDArray[np.int16], rows: list[dict[str, str]], name: str, table_path: Path
) -> tuple[NDArray[np.uint8], list[dict[str, str]]]:
    """Recode the labels present as 1, 2, ... and return their rows in that order; 0 stays 0."""
    by_index = {int(row["index"]): row for row in rows}
    values = [int(value) for value in np.unique(labels) if value != 0]
    unknown = [value for value in values if value not in by_index]
    if unknown or len(values) > MOST_LABELS:
        finding = f"labels without a name: {unknown[:8]}" if unknown else f"{len(values)} labels"
        raise InputError(
            f"{name}: {finding}, expected at most {MOST_LABELS} labels, all named in {table_path}."
        )
    lookup = np.zeros(max(values, default=0) + 1, np.uint8)
    lookup[values] = np.arange(1, len(values) + 1)
    return lookup[labels], [by_index[value] for value in values]


def _jaw_points_mm(
    codes: NDArray[np.uint8], rows: list[dict[str, str]], affine: NDArray[np.float64]
) -> NDArray[np.float32]:
    jaws = [code for code, row in enumerate(rows, 1) if JAW.search(row["name"].lower())]
    points = np.argwhere(np.isin(codes, jaws))
    points = points[:: max(1, len(points) // MOST_JAW_POINTS)]
    return (points @ affine[:3, :3].T + affine[:3, 3]).astype(np.float32)


def _fill_body(
    codes: NDArray[np.uint8],
    tissues: NDArray[np.uint8],
    spacing: tuple[float, ...],
    has_body: bool,
) -> None:
    """Add a body of loose tissue around the structures of a map without one, in place.

    The body is the structures' hull in each slice, plus a margin if the map has neither skin nor
    subcutaneous fat.
    """
    if has_body:
        return
    code = int(codes.max()) + 1
    body = np.stack([_fill_hull(codes[..., k] > 0) for k in range(codes.shape[2])], axis=2)
    if not np.isin(tissues, (Tissue.SKIN, Tissue.SUBCUTANEOUS_FAT)).any():
        body = distance_transform_edt(~body, sampling=spacing) < AROUND_MUSCLES_MM
    codes[body & (codes == 0)] = code
    tissues[code] = Tissue.LOOSE_TISSUE


def _fill_hull(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the convex hull of a plane's voxels; a plane without area is returned unchanged."""
    points = np.argwhere(plane)
    if len(points) < 3 or (np.ptp(points, axis=0) == 0).any():
        return plane
    everywhere = np.argwhere(np.ones_like(plane))
    try:
        inside = Delaunay(points[ConvexHull(points).vertices]).find_simplex(everywhere) >= 0
    except QhullError:  # all on one line
        return plane
    return np.asarray(inside.reshape(plane.shape) | plane)


def _find_slices(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    occupied = np.zeros((256, codes.shape[2]), bool)
    for k in range(codes.shape[2]):
        occupied[np.unique(codes[..., k]), k] = True
    occupied[0] = False
    return occupied


def _origin(
    spine: NDArray[np.float32], height_mm: float, spacing: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return the point of the map that becomes the origin, in mm from voxel 0."""
    k = int(np.clip(round(height_mm / spacing[2]), 0, len(spine) - 1))
    return np.array([float(spine[k, 0]), float(spine[k, 1]), height_mm])


def common_table(paths: Sequence[Path], maps: Sequence[LabelMap], levels: str) -> MuscleTable:
    """Check that all label maps provide the same labels, and return these.

    Parameters
    ----------
    paths : sequence of Path
        Paths for error messages.
    maps : sequence of LabelMap
    levels : str
        ``paper`` or ``all``.

    Raises
    ------
    InputError
        The maps contain different muscles, or one lacks a required vertebral level.
    """
    table = maps[0].table
    for path, label_map in zip(paths, maps, strict=True):
        if label_map.table != table:
            raise InputError(
                f"{path}: does not have the same muscles as {paths[0]}, expected the same in all "
                "label maps. Use them one by one."
            )
        known = {name for name, _, _ in label_map.levels}
        needed = {level for muscle in table for level in expand_levels(muscle.levels)}
        if levels == "paper" and not needed <= known:
            raise InputError(
                f"{path}: has no vertebrae {', '.join(sorted(needed - known))} (or no spinal canal "
                "behind them), expected those of the paper's levels. Label the muscles over their "
                "whole length: levels all."
            )
    if levels == "paper":
        return table
    return MuscleTable(tuple(replace(muscle, levels="all") for muscle in table))
