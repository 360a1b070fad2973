"""A scan turned for display, and the slices that are shown."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.grid import Grid, reorient
from bids_mfi.muscles import MuscleTable

LEVELS = 8
MARGIN_MM = 15.0
SMALLEST_VIEW_MM = 90.0
PANEL_RATIOS = (0.6, 1.1)
DISPLAYED = ("L", "P", "I")


@dataclass(frozen=True, slots=True)
class View:
    """One axial slice and the part of it that is shown.

    Attributes
    ----------
    level : int
        Index along z.
    left, right, top, bottom : float
        Edges, millimetres from the outer corner of the first voxel.
    """

    level: int
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A scan turned for display: axes towards Left, Posterior and Inferior.

    Attributes
    ----------
    water, fat_fraction : ndarray of float32, shape (x, y, z)
        Water signal; fat fraction in percent, NaN where there is no signal.
    labels : ndarray of int16, shape (x, y, z)
    grid : Grid
        Of the turned arrays.
    table : MuscleTable
    views : tuple of View
        Axial slices from superior to inferior.
    ratio : float
        Height of a panel by its width.
    brightest : float
        Water signal that is shown as white.
    vertebrae : ndarray of int16, shape (x, y, z), or None
        0, or the position of a vertebra in ``vertebra_names``, counted from 1.
    vertebra_names : tuple of str
    """

    water: NDArray[np.float32]
    fat_fraction: NDArray[np.float32]
    labels: NDArray[np.int16]
    grid: Grid
    table: MuscleTable
    views: tuple[View, ...]
    ratio: float
    brightest: float
    vertebrae: NDArray[np.int16] | None = None
    vertebra_names: tuple[str, ...] = ()


def arrange_scene(
    water: NDArray[np.floating[Any]],
    fat_fraction_percent: NDArray[np.floating[Any]],
    labels: NDArray[np.int16],
    grid: Grid,
    table: MuscleTable,
) -> Scene:
    """Turn the arrays for display and choose what is shown; parameters as :func:`draw_figures`."""
    axcodes = DISPLAYED
    known = np.isin(labels, [muscle.index for muscle in table])
    turned_water: NDArray[np.float32] = reorient(water, grid, axcodes)[0].astype(np.float32)
    fraction = reorient(fat_fraction_percent, grid, axcodes)[0].astype(np.float32)
    shown_labels, turned = reorient(np.where(known, labels, 0), grid, axcodes)
    turned_labels = shown_labels.astype(np.int16)
    views, ratio = choose_views(turned_labels, turned.spacing_mm)
    shown = turned_water[:, :, [view.level for view in views]]
    return Scene(
        water=turned_water,
        fat_fraction=fraction,
        labels=turned_labels,
        grid=turned,
        table=table,
        views=views,
        ratio=ratio,
        brightest=_find_brightest(shown),
    )


def _find_brightest(water: NDArray[np.float32]) -> float:
    """Find the signal that one in a hundred voxels of the body exceeds."""
    body = water[water > 0.1 * water.max()]
    return float(np.percentile(body, 99)) if body.size else 1.0


def choose_levels(labels: NDArray[np.int16], count: int = LEVELS) -> tuple[int, ...]:
    """Choose axial slices, evenly over the labels, that together show every label.

    Parameters
    ----------
    labels : ndarray of int16, shape (x, y, z)
    count : int
        Number of slices; fewer if the volume has fewer, more if a label would not be visible.

    Returns
    -------
    tuple of int
        Ascending indices along z.

    Examples
    --------
    >>> labels = np.zeros((2, 2, 12), np.int16)
    >>> labels[0, 0, 2:10] = 1
    >>> labels[1, 1, 9] = 2
    >>> choose_levels(labels, 2)
    (4, 8, 9)
    """
    sizes = np.stack([np.bincount(plane.ravel(), minlength=int(labels.max()) + 1)
                      for plane in np.moveaxis(labels, 2, 0)])  # fmt: skip
    labelled = np.flatnonzero(sizes[:, 1:].any(axis=1))
    first, last = (labelled[0], labelled[-1]) if labelled.size else (0, labels.shape[2] - 1)
    step = (last - first + 1) / count
    even = first + np.floor((np.arange(count) + 0.5) * step).astype(int)
    levels = {int(level) for level in even}
    for label in np.flatnonzero(sizes[:, 1:].any(axis=0)) + 1:
        if not sizes[sorted(levels), label].any():
            levels.add(int(sizes[:, label].argmax()))
    return tuple(sorted(levels))


def choose_views(
    labels: NDArray[np.int16], spacing_mm: tuple[float, float, float]
) -> tuple[tuple[View, ...], float]:
    """Choose axial slices and, around the labels of each, the part that is shown.

    All views have the same ratio of height to width, but not the same magnification.

    Returns
    -------
    views : tuple of View
    ratio : float
        Height by width.
    """
    levels = choose_levels(labels)
    boxes = [_find_box_mm(labels[:, :, level], spacing_mm) for level in levels]
    ratios = [(bottom - top) / (right - left) for left, right, top, bottom in boxes]
    ratio = float(np.clip(np.mean(ratios), *PANEL_RATIOS))
    views = (_fit_view(level, box, ratio) for level, box in zip(levels, boxes, strict=True))
    return tuple(views), ratio


def _find_box_mm(
    plane: NDArray[np.int16], spacing_mm: tuple[float, float, float]
) -> tuple[float, float, float, float]:
    """Edges of the labels with a margin, or of the whole plane if it has none."""
    found = ndimage.find_objects((plane > 0).astype(np.uint8))
    if not found:
        width, height = np.array(plane.shape) * spacing_mm[:2]
        return 0.0, float(width), 0.0, float(height)
    edges = []
    for part, step in zip(found[0], spacing_mm, strict=False):
        first, last = part.start * step - MARGIN_MM, part.stop * step + MARGIN_MM
        missing = max(0.0, SMALLEST_VIEW_MM - (last - first)) / 2
        edges += [first - missing, last + missing]
    left, right, top, bottom = edges
    return left, right, top, bottom


def _fit_view(level: int, box: tuple[float, float, float, float], ratio: float) -> View:
    """Widen a box on both sides to a given ratio of height to width."""
    left, right, top, bottom = box
    wider = max(0.0, (bottom - top) / ratio - (right - left)) / 2
    higher = max(0.0, (right - left) * ratio - (bottom - top)) / 2
    return View(level, left - wider, right + wider, top - higher, bottom + higher)
