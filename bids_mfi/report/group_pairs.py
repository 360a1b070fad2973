"""The figure of all pairs of muscles: scatter, histogram and correlation."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bids_mfi.report.group_figures import LEVELS_TEXT, SHADE
from bids_mfi.report.group_marks import (
    Crowd,
    Row,
    add_axes,
    break_name,
    choose_crowd,
    draw_group_legend,
    draw_points,
    find_either,
    find_limits,
    get_number,
    index_pairs,
    list_muscles,
    to_floats,
    write_at,
    write_interval,
)
from bids_mfi.report.numbers import format_count, format_number, mark_p
from bids_mfi.report.style import INK, encode_svg, use_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


BINS = 14
TINY = 6.5


def draw_pairs(
    values: pd.DataFrame,
    correlations: pd.DataFrame,
    unit: str,
    sex: "pd.Series[Any] | None" = None,
) -> bytes:
    """Draw every muscle against every other, with histograms and correlations.

    Parameters
    ----------
    values : DataFrame
        Index participant_id, one float column per muscle, NaN where missing.
    correlations : DataFrame
        ``muscle_a``, ``muscle_b``, ``n``, ``r``, ``p``, ``ci_lower``, ``ci_upper``.
    unit : str
        Such as ``MFI (%)``.
    sex : Series, optional
        F, M or missing; index participant_id.

    Returns
    -------
    bytes
        SVG without a date. The line of least squares goes through the means of the participants
        who have both muscles, with slope r SD(vertical) / SD(horizontal).
    """
    from matplotlib.figure import Figure

    muscles = list_muscles(values)
    count = max(1, len(muscles))
    crowd = choose_crowd(values.index, sex, count * (count - 1) // 2)
    side = float(np.clip(10.4 / count, 0.95, 2.6))
    width, height = max(5.2, 0.8 + side * count), 1.3 + side * count
    found = index_pairs(correlations)
    with use_style():
        figure = Figure(figsize=(width, height))
        for row, below in enumerate(muscles):
            for column, above in enumerate(muscles):
                box = (
                    0.7 + side * column,
                    height - 0.6 - side * (row + 1),
                    0.92 * side,
                    0.92 * side,
                )
                axes = add_axes(figure, box)
                if row < column:
                    _write_pair(axes, find_either(found, (below, above)))
                    continue
                if row == column:
                    _draw_histogram(axes, values[below], break_name(below, int(9.5 * side)))
                else:
                    pair = find_either(found, (above, below))
                    _draw_pair(axes, values[[above, below]], pair, crowd)
                _frame_pair(axes, row == count - 1, column == 0 and row > 0)
        write_at(figure, (0.7 + side * count / 2, 0.25), unit)
        draw_group_legend(figure, crowd, LEVELS_TEXT)
        return encode_svg(figure)


def _draw_pair(axes: "Axes", both: pd.DataFrame, row: Row, crowd: Crowd) -> None:
    """Draw the first of two muscles across and the second up, with the line of least squares."""
    shown, complete = both.loc[crowd.drawn], both.dropna()
    across, up = (to_floats(complete.iloc[:, place]) for place in (0, 1))
    x, y = (to_floats(shown.iloc[:, place]) for place in (0, 1))
    draw_points(axes, x, y, crowd.sexes, 2.6)
    r = get_number(row, "r")
    if len(complete) > 1 and np.isfinite(r) and across.std() > 0:
        ends = np.array([across.min(), across.max()])
        slope = r * up.std() / across.std()
        axes.plot(ends, up.mean() + slope * (ends - across.mean()), color=INK, lw=1.4, zorder=4)
    axes.set(xlim=find_limits(both.iloc[:, 0]), ylim=find_limits(both.iloc[:, 1]))


def _draw_histogram(axes: "Axes", values: "pd.Series[Any]", name: str) -> None:
    known = to_floats(values.dropna())
    low, high = find_limits(known)
    counts, edges = np.histogram(known, bins=BINS, range=(low, high))
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color="#c3c9d1", edgecolor="white",
             linewidth=0.5)  # fmt: skip
    axes.set(xlim=(low, high), ylim=(0, 1.55 * max(1, counts.max())), yticks=[])
    axes.text(
        0.05, 0.97, name, va="top", fontweight="bold", fontsize=8.5,
        transform=axes.transAxes,
    )  # fmt: skip


def _write_pair(axes: "Axes", row: Row) -> None:
    """Write r with stars and its interval on a background that darkens as r approaches 1 or -1."""
    from matplotlib import colormaps

    r = get_number(row, "r")
    axes.set_facecolor(colormaps[SHADE](0.5 + (0.2 * r if np.isfinite(r) else 0.0)))
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    lines = (
        (0.62, f"{format_number(r)}{mark_p(get_number(row, 'p'))}", 10),
        (0.38, write_interval(row), TINY),
        (0.22, f"n = {format_count(get_number(row, 'n'))}", TINY),
    )
    for height, text, size in lines:
        axes.text(0.5, height, text, ha="center", va="center", fontsize=size,
                  transform=axes.transAxes)  # fmt: skip


def _frame_pair(axes: "Axes", bottom: bool, left: bool) -> None:
    axes.locator_params("x", nbins=3)
    if axes.get_yticks().size:
        axes.locator_params("y", nbins=3)
    axes.tick_params(labelsize=TINY, length=2, labelbottom=bottom, labelleft=left)
