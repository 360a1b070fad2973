"""Parts of a picture of a scan: panels, letters, outlines, legend."""

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.muscles import Muscle, MuscleTable
from bids_mfi.report.scene import Scene, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COLUMNS = 4
WIDTH_INCHES = 12.0
DOTS_PER_INCH = 100
BACKGROUND = "#303030"
YELLOW = "#ffe94d"
# As many as an eye tells apart: one a percent of fat; more would only store noise.
COLOR_STEPS = 60
FILL_OPACITY = 0.38
PNG_LEVEL = 3  # of zlib: half of the time of level 6 for 4 % more bytes


def load_matplotlib() -> None:
    """Import what the pictures need of matplotlib, which takes half a second."""
    import contourpy  # noqa: F401
    from matplotlib import collections, figure, patches, patheffects, style  # noqa: F401
    from matplotlib.backends import backend_agg  # noqa: F401


def new_figure(height_inches: float) -> "Figure":
    """Make a figure as wide as a page."""
    from matplotlib.figure import Figure

    return Figure((WIDTH_INCHES, height_inches), dpi=DOTS_PER_INCH, facecolor=BACKGROUND)


def add_panel(
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


def show(
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


def show_water(panel: "Axes", scene: Scene, view: View) -> None:
    """Show the water of a view in grey."""
    plane = scene.water[:, :, view.level]
    show(panel, plane, scene.grid.spacing_mm[:2], (0.0, scene.brightest), "gray")


def fill_labels(
    panel: "Axes", plane: NDArray[np.int16], spacing_mm: Sequence[float], table: MuscleTable
) -> None:
    """Fill the labels of a plane in their colours."""
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


def outline_labels(
    panel: "Axes",
    plane: NDArray[np.int16],
    spacing_mm: Sequence[float],
    colors: dict[int, str],
    width: float,
) -> None:
    """Draw the outlines of the labels of a plane."""
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
            path_effects=halo(),
        )  # fmt: skip


def write(panel: "Axes", text: str) -> None:
    """Write in the upper left corner."""
    panel.text(
        0.02, 0.98, text, transform=panel.transAxes, color=YELLOW, fontsize=9, va="top",
        path_effects=halo(),
    )  # fmt: skip


def halo() -> Any:
    """Make a black edge around text."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="black")]


def draw_legend(figure: "Figure", table: MuscleTable) -> None:
    """Write the colours of the right and left side of each muscle below the panels."""
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


def draw_color_bar(figure: "Figure", image: Any) -> None:
    """Draw the scale of the fat fraction below the panels."""
    height = figure.get_figheight()
    axes = figure.add_axes((0.3, 0.36 / height, 0.4, 0.12 / height))
    bar = figure.colorbar(image, cax=axes, orientation="horizontal", extend="max")
    bar.outline.set_visible(False)
    axes.tick_params(colors="white", labelsize=8, length=2)
    axes.set_xlabel(
        "fat fraction (%); slate grey: no signal", color="white", fontsize=8, labelpad=1
    )


def encode(figure: "Figure") -> bytes:
    """Encode a figure as PNG without date or program name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    file = io.BytesIO()
    packing = {"compress_level": PNG_LEVEL}
    figure.savefig(file, format="png", metadata={"Software": None}, pil_kwargs=packing)
    return file.getvalue()
