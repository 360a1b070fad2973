"""A label map of a neck, prepared for random subjects; must not know signals, scanners or BIDS.

A label map names the structure at every voxel of one body. For each voxel the distance to the next
other structure, which one that is, and the depth below the skin are found once. Growth, wasting,
fat planes and subcutaneous fat of a subject are then comparisons of these numbers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, distance_transform_edt, find_objects
from scipy.spatial import ConvexHull, Delaunay, QhullError
from torch import Tensor

from bids_mfi.cells import read_cells, shorten
from bids_mfi.errors import InputError
from bids_mfi.grid import Grid, read_labels, reorient
from bids_mfi.measure.quality import find_exchanged_sides
from bids_mfi.muscles import LONG_NAMES, WEBER2021, MuscleTable
from bids_mfi.synthesis.anatomies import find_anatomy, list_anatomies
from bids_mfi.synthesis.slices import divide_thick_slices
from bids_mfi.synthesis.tissues import N_MUSCLES, Tissue
from bids_mfi.vertebrae import LEVELS, VERTEBRAE, expand_levels

DEPTH_STEP_MM = 0.05
SKIN_STEP_MM = 0.25
SKIN_OFFSET_MM = 24.0
MOST_LABELS = 249  # more codes are needed for a body and for tubes
MIDLINE_MM = 8.0
AROUND_MUSCLES_MM = 9.0
BEFORE_MUSCLES_MM = 12.0  # of the spine, from the muscles' centre
MOST_JAW_POINTS = 2000

# What a name in a label table stands for; the first pattern that is found in it counts.
NAME_PATTERNS: tuple[tuple[str, Tissue], ...] = (
    (r"disc", Tissue.DISC),
    (r"canal|csf|cerebrospinal", Tissue.CEREBROSPINAL_FLUID),
    (r"spinal_?cord|myelum|^cord", Tissue.CORD),
    (r"_vein|^vein|jugular", Tissue.VEIN),
    (r"vessel|arter|carotid|aorta", Tissue.ARTERY),
    (r"parotid|submandib|sublingual|saliva|gland(?!.*muscle)", Tissue.SALIVARY_GLAND),
    (r"muscle|scalen|splenius|longissimus|iliocostal|suboccipital|rhomboid|serratus|mastic"
     r"|platysma|interspinal|intertransvers|digastric|masseter|pterygoid|hyoid_|thyroid_|stern\w*hyoid"
     r"|sternothyroid|cricothyroid|constrictor|rotatores|levator|supraspin|deltoid|pector",
     Tissue.OTHER_MUSCLE),
    (r"cartilage|larynx|vocal|epiglott", Tissue.CARTILAGE),
    (r"(?:^|_)vertebra|skull|cranium|(?:^|_)mandib|maxill|teeth|tooth|hyoid|clavic|scapula"
     r"|(?:^|_)ribs?(?:_|$)|bone|sternum|manubrium|sacrum|coccyx", Tissue.MARROW),
    (r"trachea|airway|pharyn|sinus", Tissue.AIR),
    (r"o?esophag|mucosa", Tissue.MUCOSA),
    (r"thyroid", Tissue.THYROID),
    (r"tongue", Tissue.TONGUE),
    (r"brain|cerebell", Tissue.BRAIN),
    (r"ligament", Tissue.LIGAMENT),
    (r"subcutaneous", Tissue.SUBCUTANEOUS_FAT),
    (r"(?:^|_)fat(?:_|$)|intermuscular", Tissue.INTERMUSCULAR_FAT),
    (r"(?:^|_)skin(?:_|$)", Tissue.SKIN),
    (r"soft_tissue|(?:^|_)body|fill", Tissue.LOOSE_TISSUE),
)  # fmt: skip
CLASS_TISSUES = {
    "bone": Tissue.MARROW,
    "muscle": Tissue.OTHER_MUSCLE,
    "othermuscle": Tissue.OTHER_MUSCLE,
}
MUSCLE_PATTERNS = {
    "MFSS": r"multifid|semispinalis_cervicis",
    "LC": r"longus_(colli|capitis)",
    "SPCap": r"splenius_capitis",
    "SSCap": r"semispinalis_capitis",
    "SCM": r"sternocleidomastoid",
    "TR": r"trapezius",
    "LS": r"levator_scapul",
}
JAW = re.compile(r"teeth|tooth|(?:^|_)mandib|maxill")


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """One body, with all that is needed to make subjects of it.

    Attributes
    ----------
    name : str
        Of the file.
    packed : Tensor of int32, shape (x, y, z)
        For each voxel four bytes: code, code of the nearest other structure, distance to it
        (DEPTH_STEP_MM), depth below the skin (SKIN_STEP_MM, SKIN_OFFSET_MM added). Axes R, A, S.
    affine : ndarray of float64, shape (4, 4)
        Voxel indices to millimetres; the origin is the canal, or else the muscles' centre, at the
        height of C4 or of the middle.
    tissues : ndarray of uint8, shape (256,)
        Tissue of each code; muscles of the table as 1 to 14.
    occupied : ndarray of bool, shape (256, z)
        In which slices the structure of each code is; none for code 0.
    levels : tuple of (str, float, float)
        Vertebral level, lowest and highest z of its body in millimetres, half a disc included.
    spine : ndarray of float32, shape (z, 2)
        x and y of the vertebral bodies' middle at each slice, millimetres.
    table : MuscleTable
        The muscles that the map holds, with the paper's levels.
    half_thickness_mm : ndarray of float32, shape (256,)
        Of the structure of each code where it is thick: 90th percentile of the distance to others.
    jaw_mm : ndarray of float32, shape (n, 3)
        Some points of jaws and teeth.
    reading : tuple of (str, str)
        Name of each structure and the tissue that it was taken as.
    unrecognised : tuple of str
        Names taken as loose tissue because nothing else was known of them.
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
        """Give the place in VERTEBRAE, from 1, of each code's vertebra; 0 of others, (256,)."""
        numbers = np.zeros(256, np.uint8)
        for code, (name, _) in enumerate(self.reading, start=1):
            level = level_of(name)
            if level in VERTEBRAE:
                numbers[code] = 1 + VERTEBRAE.index(level)
        return numbers

    def slices_with(self, kinds: Sequence[Tissue]) -> NDArray[np.bool_]:
        """Slices in which one of the map's structures is of one of these tissues, shape (z,)."""
        named = self.codes_of(kinds)
        return np.asarray(self.occupied[named].any(axis=0))

    def codes_of(self, kinds: Sequence[Tissue]) -> NDArray[np.intp]:
        """Codes of structures of these tissues; air around the body has none."""
        return np.flatnonzero(np.isin(self.tissues, kinds) & self.occupied.any(axis=1))


def find_label_maps(paths: Sequence[Path]) -> list[Path]:
    """List the label maps that the paths name, each once.

    A path is a file, a folder that holds some, or the name of an anatomy of the package.

    Raises
    ------
    InputError
        A path is not there, or a folder holds none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists() and str(path) in list_anatomies():
            path = find_anatomy(str(path))
        inside = _list_folder(path) if path.is_dir() else []
        if path.is_dir() and not inside:
            raise InputError(f"{path}: holds no .nii or .nii.gz file, expected label maps there.")
        if not path.exists():
            raise InputError(
                f"{path}: no such file, expected a label map, or the name of one that comes with "
                f"the package ({', '.join(list_anatomies())}); check the path."
            )
        found += inside or [path]
    return list(dict.fromkeys(path.absolute() for path in found))


def _list_folder(folder: Path) -> list[Path]:
    """All NIfTI files below a folder; only ``*dseg`` where there are any of this name."""
    images = sorted([*folder.rglob("*.nii.gz"), *folder.rglob("*.nii")])
    return [path for path in images if "dseg.nii" in path.name] or images


@lru_cache(maxsize=4)
def load_label_map(path: Path) -> LabelMap:
    """Read a label map and its table, and prepare it.

    Parameters
    ----------
    path : Path
        NIfTI. The table, with the columns ``index`` and ``name`` of BIDS, lies beside it under the
        same name with the ending ``.tsv``, or is the only ``*dseg.tsv`` of its folder or of a
        folder above it.

    Raises
    ------
    InputError
        The table is missing or unusable, the map holds a label that the table does not name, or
        none of the fourteen muscles.
    """
    labels, grid = read_labels(path)
    turned, turned_grid = reorient(labels, grid, ("R", "A", "S"))
    table_path = find_label_table(path)
    rows = read_label_table(table_path)
    fine, fine_grid = divide_thick_slices(np.ascontiguousarray(turned, np.int16), turned_grid)
    return prepare_label_map(fine, fine_grid, rows, path.name, table_path)


def find_label_table(path: Path) -> Path:
    """Find the table of a label map, see :func:`load_label_map`."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    own = path.with_name(f"{stem}.tsv")
    if own.exists():
        return own
    for folder in list(path.absolute().parents)[:5]:
        found = sorted(folder.glob("*dseg.tsv"))
        if len(found) == 1:
            return found[0]
        if found:
            break
    raise InputError(
        f"{path}: has no label table. Expected {own.name} beside it (tab-separated, columns index "
        "and name)."
    )


def read_label_table(path: Path) -> list[dict[str, str]]:
    """Read a label table: rows with at least ``index`` and ``name``.

    Raises
    ------
    InputError
        It cannot be read, lacks a column, has an index that is no number, or one twice.
    """
    table = read_cells(path, ("index", "name"))
    rows = [{str(k): str(v) for k, v in row.items()} for _, row in table.iterrows()]
    for line, row in zip(table.index, rows, strict=True):
        if not re.fullmatch(r"-?\d{1,9}", row["index"]):
            raise InputError(
                f"{path}: cannot be read as a label table: line {line} has the index "
                f"'{shorten(row['index'])}', expected a whole number; correct it."
            )
    indices, names = [int(row["index"]) for row in rows], [row["name"] for row in rows]
    if len(set(indices)) != len(indices) or not all(names):
        raise InputError(f"{path}: an index stands there twice or a name is empty; correct it.")
    return rows


def identify(row: dict[str, str]) -> int | None:
    """Tissue of a row of a label table, 1 to 14 for the paper's muscles; None if not recognised.

    Examples
    --------
    >>> identify({"index": "5", "name": "left_trapezius"})
    12
    >>> identify({"index": "2", "name": "vertebra_C3"}) == Tissue.MARROW
    True
    >>> identify({"index": "2", "name": "left_splenius_cervicis"}) == Tissue.OTHER_MUSCLE
    True
    """
    name = re.sub(r"[^a-z0-9]+", "_", row["name"].lower())
    muscle, hemi = row.get("muscle") or "", (row.get("hemi") or "").upper()
    if muscle in LONG_NAMES and hemi in ("L", "R"):
        return WEBER2021.of(muscle, hemi).index
    side = re.search(r"(?:^|_)(left|right|l|r)(?:_|$)", name)
    for abbreviation, pattern in MUSCLE_PATTERNS.items():
        if side and re.search(pattern, name) and not re.search(r"thoracis", name):
            return WEBER2021.of(abbreviation, side.group(1)[0].upper()).index
    for pattern, tissue in NAME_PATTERNS:
        if re.search(pattern, name):
            return int(tissue)
    return CLASS_TISSUES.get((row.get("class") or "").lower())


def level_of(name: str) -> str | None:
    """Vertebral level in a name.

    >>> level_of("vertebra_C5"), level_of("vertebrae_T1"), level_of("left_clavicle")
    ('C5', 'T1', None)
    """
    found = re.search(r"vertebrae?[_ -]?(C[1-7]|T[1-3])(?:\b|_|$)", name, re.IGNORECASE)
    return found.group(1).upper() if found else None


def prepare_label_map(
    labels: NDArray[np.int16],
    grid: Grid,
    rows: list[dict[str, str]],
    name: str,
    table_path: Path = Path("the label table"),
) -> LabelMap:
    """Find depths, neighbours, levels and the origin of a label map with axes R, A, S.

    Parameters
    ----------
    labels : ndarray of int16, shape (x, y, z)
    grid : Grid
    rows : list of dict
        Label table.
    name : str
    table_path : Path
        For messages.

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
    spine, levels, height_mm = _find_spine(codes, kept, tissues, spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -_origin(spine, height_mm, spacing)
    packed = _pack(codes, spacing)
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
        half_thickness_mm=_half_thickness_mm(packed),
        jaw_mm=_jaw_points_mm(codes, kept, affine),
        reading=tuple(
            (row["name"], _name_tissue(tissue)) for row, tissue in zip(kept, found, strict=True)
        ),
        unrecognised=tuple(
            row["name"] for row, tissue in zip(kept, found, strict=True) if tissue is None
        ),
    )


def _check_sides(labels: NDArray[np.uint8], grid: Grid, name: str) -> None:
    """Refuse a map whose left muscles lie to the right of the right ones."""
    exchanged = find_exchanged_sides(labels.astype(np.int16), grid, WEBER2021)
    if exchanged:
        raise InputError(
            f"{name}: the left label of {', '.join(exchanged)} lies to the right of the right one. "
            "Expected sides that agree with the affine. Exchange the names of the two sides in the "
            "label table, or correct the orientation of the map."
        )


def _encode(
    labels: NDArray[np.int16], rows: list[dict[str, str]], name: str, table_path: Path
) -> tuple[NDArray[np.uint8], list[dict[str, str]]]:
    """Codes 1, 2, ... of the labels that occur, and their rows in that order; 0 stays 0."""
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


def _name_tissue(tissue: int | None) -> str:
    if tissue is not None and 1 <= tissue <= N_MUSCLES:
        return next(m.abbreviation for m in WEBER2021 if m.index == tissue)
    kind = Tissue.LOOSE_TISSUE if tissue is None else Tissue(tissue)
    return kind.name.lower().replace("_", " ")


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
    """Give a map without a body around its structures one, of loose tissue; in place.

    It is the structures' hull in each slice, and a margin unless skin or the fat below it is there.
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
    """Convex hull of the voxels of a plane; the plane itself where they have no area."""
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


def _half_thickness_mm(packed: NDArray[np.int32]) -> NDArray[np.float32]:
    codes, depth = packed & 255, (packed >> 16) & 255
    counts = np.zeros((256, 256))
    counts += np.bincount((codes * 256 + depth).ravel(), minlength=65536).reshape(256, 256)
    share = np.cumsum(counts, axis=1) / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.asarray((share < 0.9).sum(axis=1) * DEPTH_STEP_MM, np.float32)


def _pack(codes: NDArray[np.uint8], spacing: tuple[float, ...]) -> NDArray[np.int32]:
    """Code, neighbour, depth and depth below the skin of every voxel, a byte each."""
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
    """Nearest other code and the distance to its surface, mm, of every voxel with a code.

    The surface lies half a voxel before the centre of the nearest voxel of the other code.
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
    """Distance to the body's surface, mm: positive inside, negative outside; holes are inside."""
    body = np.stack([binary_fill_holes(codes[..., k] > 0) for k in range(codes.shape[2])], axis=2)
    body = np.pad(body, ((0, 0), (0, 0), (1, 1)), mode="edge")
    inside = distance_transform_edt(body, sampling=spacing) if not body.all() else body * 99.0
    outside = distance_transform_edt(~body, sampling=spacing)
    return np.asarray((inside - outside)[..., 1:-1], np.float32)


def _find_spine(
    codes: NDArray[np.uint8],
    rows: list[dict[str, str]],
    tissues: NDArray[np.uint8],
    spacing: tuple[float, float, float],
) -> tuple[NDArray[np.float32], list[tuple[str, float, float]], float]:
    """Middle of the vertebral bodies by slice, heights of the levels, and of C4; mm from voxel 0.

    A vertebral body is what lies in front of the canal near the midline. Without canal and cord a
    line in front of the muscles' centre stands for the spine, and there are no levels.
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
    """Let neighbouring levels, from the top down, meet in the middle of their disc."""
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
    """Interpolate rows of NaN; the ends repeat."""
    known = np.flatnonzero(np.isfinite(curve[:, 0]))
    at = np.arange(len(curve))
    return np.stack([np.interp(at, known, curve[known, axis]) for axis in range(2)], axis=1)


def _origin(
    spine: NDArray[np.float32], height_mm: float, spacing: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Point of the map, mm from voxel 0, that becomes the origin."""
    k = int(np.clip(round(height_mm / spacing[2]), 0, len(spine) - 1))
    return np.array([float(spine[k, 0]), float(spine[k, 1]), height_mm])


def common_table(paths: Sequence[Path], maps: Sequence[LabelMap], levels: str) -> MuscleTable:
    """Labels of scans made from several label maps, after a check that every map can give them.

    Parameters
    ----------
    paths : sequence of Path
        For messages.
    maps : sequence of LabelMap
    levels : str
        ``paper`` or ``all``.

    Raises
    ------
    InputError
        The maps hold different muscles, or one lacks a vertebral level that is needed.
    """
    table = maps[0].table
    for path, label_map in zip(paths, maps, strict=True):
        if label_map.table != table:
            raise InputError(
                f"{path}: holds other muscles than {paths[0]}, expected the same in all label "
                "maps. Use them one by one."
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
