"""Pictures of a scan as PNG.

All pictures use radiological display: the subject's left is on the right of the picture. Anterior
is up in axial pictures, superior in the others. Sides come from the affine only.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.grid import Grid, reorient
from bids_mfi.muscles import MuscleTable
from bids_mfi.report.panels import (
    COLUMNS,
    WIDTH_INCHES,
    YELLOW,
    add_panel,
    draw_color_bar,
    draw_legend,
    encode,
    fill_labels,
    halo,
    new_figure,
    outline_labels,
    show,
    show_water,
    write,
)
from bids_mfi.report.scene import DISPLAYED, Scene, View, arrange_scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


GAP_INCHES = 0.05
TALLEST_INCHES = 6.0
SCALE_BAR_MM = 50
FAT_RANGE_PERCENT = (0.0, 60.0)
NO_SIGNAL = "#46505e"
LETTERS_AXIAL = {"left": "R", "right": "L", "top": "A", "bottom": "P"}
LETTERS_CORONAL = {"left": "R", "right": "L", "top": "S", "bottom": "I"}
LETTERS_SAGITTAL = {"left": "A", "right": "P", "top": "S", "bottom": "I"}
FIGURE_NAMES = ("overview", "labels", "water", "fatfraction")


def draw_figures(
    water: NDArray[np.floating[Any]],
    fat_fraction_percent: NDArray[np.floating[Any]],
    labels: NDArray[np.int16],
    grid: Grid,
    table: MuscleTable,
    vertebrae: tuple[NDArray[np.int16], tuple[str, ...]] | None = None,
) -> dict[str, bytes]:
    """Draw all pictures of a scan.

    Parameters
    ----------
    water : ndarray of float, shape of the grid
        Water signal.
    fat_fraction_percent : ndarray of float, shape of the grid
        NaN where there is no signal.
    labels : ndarray of int16, shape of the grid
        May be empty; values that are not in the table are not shown.
    grid : Grid
        In any orientation.
    table : MuscleTable
    vertebrae : tuple of ndarray of int16, shape of the grid, and tuple of str, optional
        0, or the position of a vertebra in the names that follow, counted from 1.

    Returns
    -------
    dict of str to bytes
        PNG for each of FIGURE_NAMES, the same bytes for the same arrays.
    """
    from matplotlib import style

    scene = arrange_scene(water, fat_fraction_percent, labels, grid, table)
    if vertebrae is not None:
        turned = reorient(vertebrae[0], grid, DISPLAYED)[0].astype(np.int16)
        scene = replace(scene, vertebrae=turned, vertebra_names=vertebrae[1])
    with style.context("default", after_reset=True):
        return {
            "overview": draw_overview(scene),
            "labels": draw_labels(scene),
            "water": draw_water(scene),
            "fatfraction": draw_fat_fraction(scene),
        }


def draw_labels(scene: Scene) -> bytes:
    """Draw the labels, filled and outlined in their colours, over water at every level."""
    rows = int(np.ceil(len({muscle.muscle for muscle in scene.table}) / COLUMNS))
    figure, panels = _lay_out(scene, 0.2 + 0.24 * rows)
    spacing_mm = scene.grid.spacing_mm[:2]
    colors = {muscle.index: muscle.color for muscle in scene.table}
    for panel, view in zip(panels, scene.views, strict=True):
        plane = scene.labels[:, :, view.level]
        show_water(panel, scene, view)
        fill_labels(panel, plane, spacing_mm, scene.table)
        outline_labels(panel, plane, spacing_mm, colors, 1.3)
        _frame(panel, view)
    draw_legend(figure, scene.table)
    return encode(figure)


def draw_water(scene: Scene) -> bytes:
    """Draw the plain water signal at every level."""
    figure, panels = _lay_out(scene, 0.0)
    for panel, view in zip(panels, scene.views, strict=True):
        show_water(panel, scene, view)
        _frame(panel, view)
    return encode(figure)


def draw_fat_fraction(scene: Scene) -> bytes:
    """Draw the fat fraction with the outlines of the labels and a colour bar, percent."""
    figure, panels = _lay_out(scene, 0.55)
    spacing_mm = scene.grid.spacing_mm[:2]
    colors = {muscle.index: "white" for muscle in scene.table}
    for panel, view in zip(panels, scene.views, strict=True):
        fraction = scene.fat_fraction[:, :, view.level]
        visible = np.where(_find_signal(scene, view), fraction, np.nan)
        image = show(panel, visible, spacing_mm, FAT_RANGE_PERCENT, "inferno")
        panel.set_facecolor(NO_SIGNAL)
        outline_labels(panel, scene.labels[:, :, view.level], spacing_mm, colors, 0.7)
        _frame(panel, view)
    draw_color_bar(figure, image)
    return encode(figure)


def _find_signal(scene: Scene, view: View) -> NDArray[np.bool_]:
    """Find the body, so that noise in air is not shown as fat; for display only."""
    water = scene.water[:, :, view.level]
    share = scene.fat_fraction[:, :, view.level] / 100
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(share < 0.99, water / (1 - share), np.inf)
    signal = np.isfinite(share) & (total > 0.1 * scene.brightest)
    body = ndimage.uniform_filter(signal.astype(np.float32), 5) > 0.5
    return np.asarray(body)


def _lay_out(scene: Scene, footer_inches: float) -> "tuple[Figure, list[Axes]]":
    """Make a figure with a panel for each view and a footer below them."""
    rows = int(np.ceil(len(scene.views) / COLUMNS))
    width = (WIDTH_INCHES - (COLUMNS - 1) * GAP_INCHES) / COLUMNS
    height = width * scene.ratio
    total = rows * height + (rows - 1) * GAP_INCHES + footer_inches
    figure = new_figure(total)
    panels = []
    for number, view in enumerate(scene.views):
        row, column = divmod(number, COLUMNS)
        left = column * (width + GAP_INCHES)
        bottom = total - height - row * (height + GAP_INCHES)
        panel = add_panel(figure, (left, bottom, width, height), LETTERS_AXIAL)
        write(panel, f"{number + 1}   z = {_height_mm(scene, view.level):.0f} mm")
        panels.append(panel)
    return figure, panels


def _height_mm(scene: Scene, level: int) -> float:
    """World coordinate towards superior of the middle of an axial slice."""
    x, y, _ = (np.array(scene.grid.shape) - 1) / 2
    return float((scene.grid.matrix @ [x, y, level, 1.0])[2])


def _frame(panel: "Axes", view: View) -> None:
    """Show only the view, with a bar for its scale."""
    panel.set_xlim(view.left, view.right)
    panel.set_ylim(view.bottom, view.top)
    right = view.right - 0.03 * (view.right - view.left)
    height = view.bottom - 0.03 * (view.bottom - view.top)
    panel.plot([right - SCALE_BAR_MM, right], [height, height], color=YELLOW, linewidth=1.5)
    panel.text(
        right - SCALE_BAR_MM / 2, height - 0.01 * (view.bottom - view.top),
        f"{SCALE_BAR_MM / 10:g} cm", color=YELLOW, fontsize=7, ha="center", va="bottom",
        path_effects=halo(),
    )  # fmt: skip


def draw_overview(scene: Scene) -> bytes:
    """Draw a coronal and the middle sagittal plane with lines at the axial slices."""
    x, y = _choose_planes(scene)
    across, along, down = scene.grid.spacing_mm
    planes = (
        (scene.water[:, y], scene.labels[:, y], (across, down), LETTERS_CORONAL, "coronal"),
        (scene.water[x], scene.labels[x], (along, down), LETTERS_SAGITTAL, "sagittal"),
    )
    widths_mm = (scene.grid.shape[0] * across, scene.grid.shape[1] * along)
    height = (WIDTH_INCHES - GAP_INCHES) * scene.grid.shape[2] * down / sum(widths_mm)
    figure = new_figure(min(height, TALLEST_INCHES))
    left = 0.0
    for width_mm, plane in zip(widths_mm, planes, strict=True):
        water, labels, spacing_mm, letters, name = plane
        width = (WIDTH_INCHES - GAP_INCHES) * width_mm / sum(widths_mm)
        panel = add_panel(figure, (left, 0.0, width, figure.get_figheight()), letters)
        left += width + GAP_INCHES
        show(panel, water, spacing_mm, (0.0, scene.brightest), "gray")
        fill_labels(panel, labels, spacing_mm, scene.table)
        if name == "sagittal" and scene.vertebrae is not None:
            _draw_vertebrae(panel, scene.vertebrae[x], spacing_mm, scene.vertebra_names)
        _draw_level_lines(panel, scene, spacing_mm)
        write(panel, name)
    return encode(figure)


def _choose_planes(scene: Scene) -> tuple[int, int]:
    """Choose the sagittal plane in the middle and the coronal one with most labels.

    The middle is that of the vertebrae if they are labelled, otherwise of the muscles.
    """
    labelled = scene.labels > 0
    if not labelled.any():
        return scene.grid.shape[0] // 2, scene.grid.shape[1] // 2
    bones = labelled if scene.vertebrae is None else scene.vertebrae > 0
    x = np.flatnonzero((bones if bones.any() else labelled).any(axis=(1, 2)))
    return int(x[0] + x[-1]) // 2, int(labelled.sum(axis=(0, 2)).argmax())


def _draw_level_lines(panel: "Axes", scene: Scene, spacing_mm: tuple[float, float]) -> None:
    for number, view in enumerate(scene.views, start=1):
        height = (view.level + 0.5) * spacing_mm[1]
        panel.axhline(height, color=YELLOW, linewidth=0.7, alpha=0.8)
        panel.text(
            0.92, height, str(number), transform=panel.get_yaxis_transform(), color=YELLOW,
            fontsize=8, va="center", ha="center", path_effects=halo(),
        )  # fmt: skip


def _draw_vertebrae(
    panel: "Axes", plane: NDArray[np.int16], spacing_mm: tuple[float, float], names: Sequence[str]
) -> None:
    """Outline the vertebral bodies of a plane and write their names into them."""
    colors = {index: "white" for index in range(1, len(names) + 1)}
    outline_labels(panel, plane, spacing_mm, colors, 0.9)
    for index, name in enumerate(names, start=1):
        at = np.argwhere(plane == index)
        if len(at):
            x, y = (at.mean(axis=0) + 0.5) * spacing_mm
            panel.text(x, y, name, color="white", fontsize=7, ha="center", va="center",
                       path_effects=halo())  # fmt: skip
