"""Positions of voxels that a header states twice, and flags where the two disagree.

A NIfTI header can hold two affines, sform and qform, and also voxel sizes. Results follow
the sform. If the other one exchanges left and right or states larger voxels, one of them is wrong,
and so is every side or every volume.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mfi.grid import SAME_PLACE_VOXELS, Grid, measure_distance, same_grid
from bids_mfi.images import read_second_grid
from bids_mfi.measure.quality import QCFlag

MOST_SIZE_PERCENT = 1.0
NOTABLE_SIZE_PERCENT = 0.05
LEAST_COSINE = 0.5  # a direction turned by 60 degrees or more is another direction
DIRECTIONS = ("left and right", "front and back", "head and feet")
REGISTERED = {2: "aligned to another image", 3: "Talairach", 4: "MNI", 5: "a template"}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How a second statement about the voxels of an image differs from the one that is used.

    Attributes
    ----------
    source : str
        ``qform`` or ``pixdim``: what says it.
    turned : tuple of str
        The DIRECTIONS that differ; ``a mirror image`` if none does but the two are mirror images
        of each other.
    size_percent : float
        Largest difference of a voxel size, or of the volume of a voxel, percent of that used.
    distance_mm, distance_voxels : float
        At the corner of the image where it is largest.
    used, stated : Grid
    """

    source: str
    turned: tuple[str, ...]
    size_percent: float
    distance_mm: float
    distance_voxels: float
    used: Grid
    stated: Grid

    @property
    def severity(self) -> str:
        """``error`` if sides, directions or sizes differ, else ``warning``."""
        grave = self.turned or self.size_percent > MOST_SIZE_PERCENT
        return "error" if grave else "warning"


def compare_grids(used: Grid, stated: Grid, source: str) -> Disagreement | None:
    """Compare the grid that is used with another statement of the header.

    Returns
    -------
    Disagreement or None
        None if the voxels have the same positions, or if the qform is the sform without the shear,
        which a quaternion cannot express.

    Examples
    --------
    >>> left = Grid((9, 9, 9), ((-1., 0, 0, 0), (0, 1., 0, 0), (0, 0, 1., 0), (0, 0, 0, 1.)))
    >>> right = Grid((9, 9, 9), ((1., 0, 0, 0), (0, 1., 0, 0), (0, 0, 1., 0), (0, 0, 0, 1.)))
    >>> compare_grids(left, right, "qform").turned
    ('left and right',)
    >>> compare_grids(left, left, "qform") is None
    True
    """
    if same_grid(used, stated) or same_grid(_without_shear(used), stated):
        return None
    distance_mm, distance_voxels = measure_distance(used, stated)
    return Disagreement(
        source=source,
        turned=_find_turned(used, stated),
        size_percent=_measure_sizes(used, stated),
        distance_mm=distance_mm,
        distance_voxels=distance_voxels,
        used=used,
        stated=stated,
    )


def _without_shear(grid: Grid) -> Grid:
    """Keep of an affine what a quaternion and voxel sizes can express: the nearest rotation."""
    sizes_mm = np.array(grid.spacing_mm)
    left, _, right = np.linalg.svd(grid.matrix[:3, :3] / sizes_mm)
    matrix = grid.matrix
    matrix[:3, :3] = left @ right * sizes_mm
    return Grid.from_array(grid.shape, matrix)


def _find_turned(used: Grid, stated: Grid) -> tuple[str, ...]:
    """Name the directions of the body that point elsewhere by the second affine."""
    change = _turn_of(stated) @ np.linalg.inv(_turn_of(used))
    found = tuple(
        name
        for name, along in zip(DIRECTIONS, np.diag(change), strict=True)
        if along <= LEAST_COSINE
    )
    return found or (("a mirror image",) if np.linalg.det(change) < 0 else ())


def _turn_of(grid: Grid) -> NDArray[np.float64]:
    turn: NDArray[np.float64] = grid.matrix[:3, :3] / grid.spacing_mm
    return turn


def _measure_sizes(used: Grid, stated: Grid) -> float:
    """Largest difference of a voxel size or of the volume, percent of those used."""
    shares = np.array(stated.spacing_mm) / used.spacing_mm
    volume = np.prod(stated.spacing_mm) / np.prod(used.spacing_mm)
    return 100 * float(np.abs(np.append(shares, volume) - 1).max())


def check_orientation(images: Mapping[str, Path]) -> list[QCFlag]:
    """Flag images whose headers give two positions for the voxels.

    Parameters
    ----------
    images : mapping of str to Path
        The images of a scan, by what they are called in the message.

    Returns
    -------
    list of QCFlag
        At most one, for the most serious disagreement; its message names all images concerned.

    Raises
    ------
    PairError
        A header cannot be read.
    """
    found: dict[str, Disagreement] = {}
    codes: dict[str, int] = {}
    for name, path in images.items():
        second = read_second_grid(path)
        disagreement = second and compare_grids(second.used, second.stated, second.source)
        if second and disagreement:
            found[name], codes[name] = disagreement, second.sform_code
    if not found:
        return []
    gravest = min(found, key=lambda name: _rank(found[name]))
    return [_make_flag(found[gravest], list(found), codes[gravest])]


def _rank(one: Disagreement) -> tuple[bool, bool, float]:
    """Sort the most serious first."""
    return one.severity != "error", not one.turned, -one.distance_voxels


def _make_flag(one: Disagreement, names: list[str], code: int) -> QCFlag:
    of_sizes = not one.turned and one.severity == "error"
    value = one.size_percent if of_sizes else one.distance_voxels
    limit = MOST_SIZE_PERCENT if of_sizes else SAME_PLACE_VOXELS
    images = "image" if len(names) == 1 else "images"
    text = (
        f"The header of the {' and '.join(names)} {images} contradicts itself: sform and "
        f"{one.source} {_describe(one)}. Results follow the sform{_describe_code(code)}. "
        f"{_advise(one)}"
    )
    return QCFlag("header_conflict", one.severity, "", value, limit, text)


def _describe(one: Disagreement) -> str:
    mirrored = one.turned == ("a mirror image",)
    parts = []
    if mirrored:
        parts.append("show mirror images of each other")
    elif one.turned:
        parts.append(f"disagree about {', '.join(one.turned)}")
    if one.size_percent > MOST_SIZE_PERCENT:
        sizes = (_times(grid.spacing_mm) for grid in (one.used, one.stated))
        parts.append(f"give voxels of {' mm and '.join(sizes)} mm")
    if not parts:
        parts.append(
            f"put voxels up to {one.distance_mm:.3g} mm ({one.distance_voxels:.3g} voxels) apart "
            f"(limit {SAME_PLACE_VOXELS:g} voxels)"
        )
    return " and ".join(parts)


def _describe_code(code: int) -> str:
    where = REGISTERED.get(code)
    return f" (code {code}, {where})" if where else ""


def _advise(one: Disagreement) -> str:
    if one.turned:
        return (
            "If it is wrong, so are left and right or the muscles' names. Compare L and R of the "
            "pictures with the scanner's own, and convert the DICOM files again."
        )
    if one.severity == "error":
        factor = np.prod(one.stated.spacing_mm) / np.prod(one.used.spacing_mm)
        return (
            f"According to the {one.source}, every volume would be {factor:.3g} times as large. "
            "Compare the voxel size with the scanner's protocol, and convert the DICOM files again."
        )
    volumes = "so are volumes"
    if one.size_percent > NOTABLE_SIZE_PERCENT:
        volumes = f"volumes differ by up to {one.size_percent:.2g} %"
    return (
        f"Sides are the same and {volumes}; a later step that uses the {one.source} would find the "
        "labels moved. Correct the header, or convert the DICOM files again."
    )


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
