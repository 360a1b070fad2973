"""Figures 3 and 4 of Weber et al. 2021 as SVG.

For each muscle a correlation plot and a Bland-Altman plot. Left has filled circles and thick lines,
right has open triangles and thin lines, so the sides differ in form as well as in colour. The
same numbers give the same bytes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_mfi.report.numbers import format_number
from bids_mfi.report.style import INK, PALE, choose_limits, encode_svg, use_style
from bids_mfi.statistics.summaries import MuscleAgreement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MUSCLES_A_ROW = 2
PANEL_INCHES = (3.5, 3.1)
HEAD_INCHES = 0.8
UNITS = {"mfi": "MFI (%)", "volume": "volume (ml)"}
SIDES = {"L": "left", "R": "right"}
COLORS = {"L": "#0063a6", "R": "#c2410c"}
MARKERS = {"L": "o", "R": "^"}
LINE_POINTS = {"L": 1.9, "R": 0.9}
MOST_TICKS = 5


def draw_agreement(found: Sequence[MuscleAgreement], measure: str, names: tuple[str, str]) -> bytes:
    """Draw all muscles of one measure.

    Parameters
    ----------
    found : sequence of MuscleAgreement
        In the order of drawing; those of other measures are skipped.
    measure : str
        ``mfi`` or ``volume``.
    names : tuple of str
        What the reference is called, and what is compared with it.

    Returns
    -------
    bytes
        SVG without a date.
    """
    from matplotlib.figure import Figure

    groups: dict[str, list[MuscleAgreement]] = {}
    for one in found:
        if one.measure == measure:
            groups.setdefault(one.muscle, []).append(one)
    rows = max(1, -(-len(groups) // MUSCLES_A_ROW))
    width, height = 2 * MUSCLES_A_ROW * PANEL_INCHES[0], rows * PANEL_INCHES[1] + HEAD_INCHES
    with use_style():
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(rows, 2 * MUSCLES_A_ROW, squeeze=False).ravel()
        for empty in axes[2 * len(groups) :]:
            empty.set_axis_off()
        for place, (muscle, sides) in enumerate(groups.items()):
            _draw_correlation(axes[2 * place], muscle, sides, names, UNITS[measure])
            _draw_differences(axes[2 * place + 1], muscle, sides, names, UNITS[measure])
        _draw_legend(figure, height)
        figure.subplots_adjust(
            left=0.045, right=0.985, bottom=0.5 / height, top=1 - (HEAD_INCHES + 0.2) / height,
            wspace=0.34, hspace=0.42,
        )  # fmt: skip
        return encode_svg(figure)


def _draw_correlation(
    axes: "Axes", muscle: str, sides: Sequence[MuscleAgreement], names: tuple[str, str], unit: str
) -> None:
    """Draw reference against compared, best fit dashed, slope through the origin solid."""
    values = [x for one in sides for pair in _pairs(one) for x in pair]
    low, high = choose_limits(values)
    axes.plot((low, high), (low, high), color=PALE, linewidth=0.8, zorder=0)
    for place, one in enumerate(sides):
        color, width, ends = COLORS[one.hemi], LINE_POINTS[one.hemi], np.array([low, high])
        _draw_points(axes, [(cnn, gt) for gt, cnn in _pairs(one)], one.hemi)
        stats = one.agreement
        if np.isfinite(stats.slope):
            axes.plot(ends, stats.intercept + stats.slope * ends, "--", color=color, lw=width)
        if np.isfinite(stats.slope_origin):
            axes.plot(ends, stats.slope_origin * ends, "-", color=color, lw=width)
        text = f"{SIDES[one.hemi]}: \u03b2 = {format_number(stats.slope_origin)}, n = {stats.n}"
        axes.text(
            0.03, 0.99 - 0.08 * place, text, color=color, va="top", transform=axes.transAxes,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
        )  # fmt: skip
    axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
    axes.set(xlabel=f"{names[1]} {unit}", ylabel=f"{names[0]} {unit}")
    axes.locator_params(nbins=MOST_TICKS)
    axes.set_title(muscle, loc="left", fontweight="bold", fontsize=10)


def _draw_differences(
    axes: "Axes", muscle: str, sides: Sequence[MuscleAgreement], names: tuple[str, str], unit: str
) -> None:
    """Draw differences against means, with bias (dashed) and limits of agreement (dotted)."""
    low, high = choose_limits([(gt + cnn) / 2 for one in sides for gt, cnn in _pairs(one)])
    heights = [cnn - gt for one in sides for gt, cnn in _pairs(one)]
    axes.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    for one in sides:
        _draw_points(axes, [((gt + cnn) / 2, cnn - gt) for gt, cnn in _pairs(one)], one.hemi)
        stats = one.agreement
        lines = ((stats.loa_lower, ":"), (stats.bias, "--"), (stats.loa_upper, ":"))
        drawn = [(height, style) for height, style in lines if np.isfinite(height)]
        heights += [height for height, _ in drawn]
        for height, style in drawn:
            axes.axhline(height, color=COLORS[one.hemi], ls=style, lw=LINE_POINTS[one.hemi])
            _mark_line(axes, height, one.hemi)
    axes.set(xlim=(low, high), ylim=choose_limits([*heights, 0.0]), box_aspect=1)
    axes.set(xlabel=f"mean {unit}", ylabel=f"{names[1]} \u2212 {names[0]} {unit.split()[-1]}")
    axes.locator_params(nbins=MOST_TICKS)
    axes.set_title(muscle, loc="left", fontweight="bold", fontsize=10)


def _mark_line(axes: "Axes", height: float, hemi: str) -> None:
    """Write the side's letter at one end of a line: left lines on the left, right on the right."""
    place, shift, align = (0, 3, "left") if hemi == "L" else (1, -1, "right")
    axes.annotate(
        hemi, (place, height), (shift, 1.5), axes.get_yaxis_transform(), "offset points",
        color=COLORS[hemi], ha=align, va="bottom", fontsize=7.5, annotation_clip=False,
    )  # fmt: skip


def _pairs(one: MuscleAgreement) -> list[tuple[float, float]]:
    """Take reference and compared values of the complete pairs."""
    both = zip(one.reference, one.compared, strict=True)
    return [(gt, cnn) for gt, cnn in both if np.isfinite(gt + cnn)]


def _draw_points(axes: "Axes", points: Sequence[tuple[float, float]], hemi: str) -> None:
    if points:
        x, y = zip(*points, strict=True)
        face = COLORS[hemi] if hemi == "L" else "none"
        axes.scatter(
            x, y, s=20, marker=MARKERS[hemi], facecolors=face, edgecolors=COLORS[hemi],
            linewidths=1.0, alpha=0.85, zorder=3,
        )  # fmt: skip


def _draw_legend(figure: "Figure", height: float) -> None:
    from matplotlib.lines import Line2D

    def line(style: Any, label: str, color: str = INK) -> Line2D:
        return Line2D([], [], linestyle=style, color=color, linewidth=1.2, label=label)

    points = [
        Line2D(
            [], [], linestyle="none", marker=MARKERS[hemi], color=COLORS[hemi], label=side,
            markerfacecolor=COLORS[hemi] if hemi == "L" else "none",
        )
        for hemi, side in SIDES.items()
    ]  # fmt: skip
    lines = [
        line("-", "slope \u03b2 through the origin"),
        line("--", "best fit; bias"),
        line(":", "limits of agreement, bias \u00b1 1.96 SD"),
        line("-", "equality", PALE),
    ]
    figure.legend(
        handles=[*points, *lines], loc="upper center", ncols=6, frameon=False, fontsize=9,
        bbox_to_anchor=(0.5, 1 - 0.1 / height),
    )  # fmt: skip
