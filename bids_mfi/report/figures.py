"""Pictures of a scan as PNG; must not know files, names or what the numbers mean.

All pictures are in radiological display: the subject's left is on the right of the picture, in
axial pictures anterior is up, in the others superior. Sides come from the affine alone.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.grid import Grid, reorient
from bids_mfi.muscles import Muscle, MuscleTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = 8
COLUMNS = 4
WIDTH_INCHES = 12.0
DOTS_PER_INCH = 100
MARGIN_MM = 15.0
SMALLEST_VIEW_MM = 90.0
PANEL_RATIOS = (0.6, 1.1)
GAP_INCHES = 0.05
TALLEST_INCHES = 6.0
SCALE_BAR_MM = 50
BACKGROUND = "#303030"
YELLOW = "#ffe94d"
FAT_RANGE_PERCENT = (0.0, 60.0)
# As many as an eye tells apart: one a percent of fat; more would only store noise.
COLOR_STEPS = 60
NO_SIGNAL = "#46505e"
FILL_OPACITY = 0.38
LETTERS_AXIAL = {"left": "R", "right": "L", "top": "A", "bottom": "P"}
LETTERS_CORONAL = {"left": "R", "right": "L", "top": "S", "bottom": "I"}
LETTERS_SAGITTAL = {"left": "A", "right": "P", "top": "S", "bottom": "I"}
DISPLAYED = ("L", "P", "I")
FIGURE_NAMES = ("overview", "labels", "water", "fatfraction")


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
        Water signal that is shown white.
    vertebrae : ndarray of int16, shape (x, y, z), or None
        0, or the place of a vertebra in ``vertebra_names``, counted from 1.
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
        May be empty; values that the table lacks are not shown.
    grid : Grid
        In any orientation.
    table : MuscleTable
    vertebrae : tuple of ndarray of int16, shape of the grid, and tuple of str, optional
        0, or the place of a vertebra in the names that follow, counted from 1.

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
    """Find a signal that one in a hundred voxels of the body passes."""
    body = water[water > 0.1 * water.max()]
    return float(np.percentile(body, 99)) if body.size else 1.0


def choose_levels(labels: NDArray[np.int16], count: int = LEVELS) -> tuple[int, ...]:
    """Choose axial slices, evenly over the labels, that together show every label.

    Parameters
    ----------
    labels : ndarray of int16, shape (x, y, z)
    count : int
        Slices wanted; fewer if there are fewer, more if a label would not be seen.

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
    """Widen a box on both sides to the wanted ratio of height to width."""
    left, right, top, bottom = box
    wider = max(0.0, (bottom - top) / ratio - (right - left)) / 2
    higher = max(0.0, (right - left) * ratio - (bottom - top)) / 2
    return View(level, left - wider, right + wider, top - higher, bottom + higher)


# --- mosaics of axial slices -------------------------------------------------------------------


def draw_labels(scene: Scene) -> bytes:
    """Draw the labels, filled and outlined in their colours, over water at every level."""
    rows = int(np.ceil(len({muscle.muscle for muscle in scene.table}) / COLUMNS))
    figure, panels = _lay_out(scene, 0.2 + 0.24 * rows)
    spacing_mm = scene.grid.spacing_mm[:2]
    colors = {muscle.index: muscle.color for muscle in scene.table}
    for panel, view in zip(panels, scene.views, strict=True):
        plane = scene.labels[:, :, view.level]
        _show_water(panel, scene, view)
        _fill_labels(panel, plane, spacing_mm, scene.table)
        _outline_labels(panel, plane, spacing_mm, colors, 1.3)
        _frame(panel, view)
    _draw_legend(figure, scene.table)
    return _encode(figure)


def draw_water(scene: Scene) -> bytes:
    """Draw the plain water signal at every level."""
    figure, panels = _lay_out(scene, 0.0)
    for panel, view in zip(panels, scene.views, strict=True):
        _show_water(panel, scene, view)
        _frame(panel, view)
    return _encode(figure)


def draw_fat_fraction(scene: Scene) -> bytes:
    """Draw the fat fraction with the outlines of the labels and a colour bar, percent."""
    figure, panels = _lay_out(scene, 0.55)
    spacing_mm = scene.grid.spacing_mm[:2]
    colors = {muscle.index: "white" for muscle in scene.table}
    for panel, view in zip(panels, scene.views, strict=True):
        fraction = scene.fat_fraction[:, :, view.level]
        visible = np.where(_find_signal(scene, view), fraction, np.nan)
        image = _show(panel, visible, spacing_mm, FAT_RANGE_PERCENT, "inferno")
        panel.set_facecolor(NO_SIGNAL)
        _outline_labels(panel, scene.labels[:, :, view.level], spacing_mm, colors, 0.7)
        _frame(panel, view)
    _draw_color_bar(figure, image)
    return _encode(figure)


def _find_signal(scene: Scene, view: View) -> NDArray[np.bool_]:
    """Find the body, so that the noise of air is not shown as fat; for display only."""
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
    figure = _new_figure(total)
    panels = []
    for number, view in enumerate(scene.views):
        row, column = divmod(number, COLUMNS)
        left = column * (width + GAP_INCHES)
        bottom = total - height - row * (height + GAP_INCHES)
        panel = _add_panel(figure, (left, bottom, width, height), LETTERS_AXIAL)
        _write(panel, f"{number + 1}   z = {_height_mm(scene, view.level):.0f} mm")
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
        path_effects=_halo(),
    )  # fmt: skip


# --- coronal and sagittal overview -------------------------------------------------------------


def draw_overview(scene: Scene) -> bytes:
    """Draw a coronal and the middle sagittal plane with lines where the axial slices lie."""
    x, y = _choose_planes(scene)
    across, along, down = scene.grid.spacing_mm
    planes = (
        (scene.water[:, y], scene.labels[:, y], (across, down), LETTERS_CORONAL, "coronal"),
        (scene.water[x], scene.labels[x], (along, down), LETTERS_SAGITTAL, "sagittal"),
    )
    widths_mm = (scene.grid.shape[0] * across, scene.grid.shape[1] * along)
    height = (WIDTH_INCHES - GAP_INCHES) * scene.grid.shape[2] * down / sum(widths_mm)
    figure = _new_figure(min(height, TALLEST_INCHES))
    left = 0.0
    for width_mm, plane in zip(widths_mm, planes, strict=True):
        water, labels, spacing_mm, letters, name = plane
        width = (WIDTH_INCHES - GAP_INCHES) * width_mm / sum(widths_mm)
        panel = _add_panel(figure, (left, 0.0, width, figure.get_figheight()), letters)
        left += width + GAP_INCHES
        _show(panel, water, spacing_mm, (0.0, scene.brightest), "gray")
        _fill_labels(panel, labels, spacing_mm, scene.table)
        if name == "sagittal" and scene.vertebrae is not None:
            _draw_vertebrae(panel, scene.vertebrae[x], spacing_mm, scene.vertebra_names)
        _draw_level_lines(panel, scene, spacing_mm)
        _write(panel, name)
    return _encode(figure)


def _choose_planes(scene: Scene) -> tuple[int, int]:
    """Choose the sagittal plane in the middle and the coronal one with most labels.

    The middle is that of the vertebrae where they are labelled, else of the muscles.
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
            fontsize=8, va="center", ha="center", path_effects=_halo(),
        )  # fmt: skip


def _draw_vertebrae(
    panel: "Axes", plane: NDArray[np.int16], spacing_mm: tuple[float, float], names: Sequence[str]
) -> None:
    """Outline the vertebral bodies of a plane and write their names into them."""
    colors = {index: "white" for index in range(1, len(names) + 1)}
    _outline_labels(panel, plane, spacing_mm, colors, 0.9)
    for index, name in enumerate(names, start=1):
        at = np.argwhere(plane == index)
        if len(at):
            x, y = (at.mean(axis=0) + 0.5) * spacing_mm
            panel.text(x, y, name, color="white", fontsize=7, ha="center", va="center",
                       path_effects=_halo())  # fmt: skip


# --- parts of a picture ------------------------------------------------------------------------


def _new_figure(height_inches: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure((WIDTH_INCHES, height_inches), dpi=DOTS_PER_INCH, facecolor=BACKGROUND)


def _add_panel(
    figure: "Figure", box_inches: tuple[float, float, float, float], letters: dict[str, str]
) -> "Axes":
    """Add a black panel, left, bottom, width and height given, with directions at its edges."""
    size = np.array([*figure.get_size_inches()] * 2)
    panel = figure.add_axes(tuple(np.array(box_inches) / size))
    panel.set_facecolor("black")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    _letter(panel, letters)
    return panel


def _show(
    panel: "Axes",
    plane: NDArray[np.float32],
    spacing_mm: Sequence[float],
    limits: tuple[float, float],
    colors: str,
) -> Any:
    """Show a plane whose first axis goes to the right and whose second goes down."""
    from matplotlib import colormaps

    low, high = limits
    steps = colormaps[colors].resampled(COLOR_STEPS)
    return panel.imshow(
        plane.T, cmap=steps, vmin=low, vmax=high, extent=_extent(plane, spacing_mm),
        aspect="equal", interpolation="bilinear", interpolation_stage="data",
    )  # fmt: skip


def _show_water(panel: "Axes", scene: Scene, view: View) -> None:
    plane = scene.water[:, :, view.level]
    _show(panel, plane, scene.grid.spacing_mm[:2], (0.0, scene.brightest), "gray")


def _fill_labels(
    panel: "Axes", plane: NDArray[np.int16], spacing_mm: Sequence[float], table: MuscleTable
) -> None:
    from matplotlib.colors import to_rgb

    palette = np.zeros((max(muscle.index for muscle in table) + 1, 4))
    for muscle in table:
        palette[muscle.index] = (*to_rgb(muscle.color), FILL_OPACITY)
    extent = _extent(plane, spacing_mm)
    panel.imshow(palette[plane.T], extent=extent, interpolation="nearest", aspect="equal")


def _extent(
    plane: NDArray[np.generic], spacing_mm: Sequence[float]
) -> tuple[float, float, float, float]:
    """Left, right, bottom and top edge in millimetres; the second axis goes down."""
    return 0.0, plane.shape[0] * spacing_mm[0], plane.shape[1] * spacing_mm[1], 0.0


def _outline_labels(
    panel: "Axes",
    plane: NDArray[np.int16],
    spacing_mm: Sequence[float],
    colors: dict[int, str],
    width: float,
) -> None:
    from matplotlib.collections import LineCollection

    outlines = [(line, colors[index]) for index, line in trace_outlines(plane, spacing_mm)]
    lines, shades = [line for line, _ in outlines], [shade for _, shade in outlines]
    panel.add_collection(LineCollection(lines, colors=shades, linewidths=width), autolim=False)


def trace_outlines(
    plane: NDArray[np.int16], spacing_mm: Sequence[float]
) -> list[tuple[int, NDArray[np.float64]]]:
    """Trace the outline of every label of a plane.

    Returns
    -------
    list of (int, ndarray of float64)
        Label and points of shape (n, 2), millimetres from the corner of the first voxel.

    Examples
    --------
    >>> plane = np.zeros((4, 4), np.int16)
    >>> plane[1:3, 1] = 7
    >>> [(index, points.shape) for index, points in trace_outlines(plane, (1.0, 1.0))]
    [(7, (7, 2))]
    """
    from contourpy import contour_generator

    outlines = []
    boxes = ndimage.find_objects(plane)
    for index in np.unique(plane[plane > 0]).tolist():
        box = boxes[index - 1]
        mask = np.pad((plane[box] == index).astype(np.float32), 1)
        corner = np.array([box[0].start, box[1].start]) - 0.5
        for points in contour_generator(z=mask.T).lines(0.5):
            outlines.append((index, (np.asarray(points) + corner) * np.array(spacing_mm)))
    return outlines


def _letter(panel: "Axes", letters: dict[str, str]) -> None:
    """Write the directions at the edges of a panel."""
    places = {
        "left": (0.035, 0.5),
        "right": (0.965, 0.5),
        "top": (0.5, 0.96),
        "bottom": (0.5, 0.04),
    }
    for edge, letter in letters.items():
        side = edge in ("left", "right")
        panel.text(
            *places[edge], letter, transform=panel.transAxes, color="white", ha="center",
            va="center", fontsize=14 if side else 9, fontweight="bold" if side else "normal",
            path_effects=_halo(),
        )  # fmt: skip


def _write(panel: "Axes", text: str) -> None:
    """Write in the upper left corner."""
    panel.text(
        0.02, 0.98, text, transform=panel.transAxes, color=YELLOW, fontsize=9, va="top",
        path_effects=_halo(),
    )  # fmt: skip


def _halo() -> Any:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="black")]


def _draw_legend(figure: "Figure", table: MuscleTable) -> None:
    """Write below the panels a colour for the right and the left side of each muscle."""
    from matplotlib.patches import Rectangle

    height = figure.get_figheight()
    groups = group_by_muscle(table)
    rows = int(np.ceil(len(groups) / COLUMNS))
    for number, sides in enumerate(groups):
        row, column = divmod(number, COLUMNS)
        y = (0.15 + 0.24 * (rows - 1 - row)) / height
        x = column / COLUMNS + 0.01
        for place, muscle in enumerate(sides):
            left = x + 0.025 * place
            box = Rectangle((left, y - 0.02 / height), 0.011, 0.15 / height, color=muscle.color)
            figure.add_artist(box)
            figure.text(left + 0.0135, y, muscle.hemi, color="white", fontsize=8)
        text = f"{sides[0].muscle}  {long_name(sides[0])}"
        figure.text(x + 0.025 * len(sides) + 0.003, y, text, color="white", fontsize=8)


def group_by_muscle(table: Iterable[Muscle]) -> list[list[Muscle]]:
    """Group the sides of each muscle, right before left as in a radiological picture.

    Examples
    --------
    >>> from bids_mfi.muscles import WEBER2021
    >>> [muscle.abbreviation for muscle in group_by_muscle(WEBER2021)[0]]
    ['MFSS_R', 'MFSS_L']
    """
    groups: dict[str, list[Muscle]] = {}
    for muscle in table:
        groups.setdefault(muscle.muscle, []).append(muscle)
    return [
        sorted(sides, key=lambda muscle: muscle.hemi, reverse=True) for sides in groups.values()
    ]


def long_name(muscle: Muscle) -> str:
    """Name of a muscle without its side, as words.

    Examples
    --------
    >>> from bids_mfi.muscles import WEBER2021
    >>> long_name(WEBER2021.of("LS", "L"))
    'levator scapulae'
    """
    words = muscle.name.split("_")
    return " ".join(word for word in words if word not in ("left", "right"))


def _draw_color_bar(figure: "Figure", image: Any) -> None:
    height = figure.get_figheight()
    axes = figure.add_axes((0.3, 0.36 / height, 0.4, 0.12 / height))
    bar = figure.colorbar(image, cax=axes, orientation="horizontal", extend="max")
    bar.outline.set_visible(False)
    axes.tick_params(colors="white", labelsize=8, length=2)
    axes.set_xlabel(
        "fat fraction (%); slate grey: no signal", color="white", fontsize=8, labelpad=1
    )


def _encode(figure: "Figure") -> bytes:
    """Encode a figure as PNG without date or program name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
