"""Figures 5 and 6 of Weber et al. 2021 for a cohort: muscles, sexes, age and BMI.

doi:10.1038/s41598-021-95972-x. All statistics come in as tables. The same numbers give the same
pictures, byte for byte.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bids_mfi.report.group_marks import (
    COLORS,
    MARKERS,
    SMALL,
    Crowd,
    Floats,
    Row,
    add_axes,
    break_name,
    choose_crowd,
    choose_digits,
    draw_group_legend,
    draw_points,
    find_ends,
    find_limits,
    find_row,
    get_number,
    index_pairs,
    list_muscles,
    spread,
    state_p,
    to_floats,
    write_above,
    write_at,
    write_correlation,
)
from bids_mfi.report.numbers import format_count, format_number, format_p_short, mark_p
from bids_mfi.report.style import INK, PALE, encode_svg, use_style
from bids_mfi.statistics.cohort import MEAN, SEXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


EMM = "estimated marginal means \u00b1 1 SE"
LEVELS_TEXT = "* p < 0.05   ** p < 0.01   *** p < 0.001"
X_NAMES = {"age": "age (years)", "bmi": "BMI (kg/m\u00b2)"}
WORDS = {"bmi": "BMI"}
MOST_COLUMNS = 7
SHADE = "PuOr"


def draw_muscles(
    values: pd.DataFrame,
    descriptives: pd.DataFrame,
    paired: pd.DataFrame,
    unit: str,
    sex: "pd.Series[Any] | None" = None,
) -> bytes:
    """Draw each muscle's values with mean and standard error, and the differences between muscles.

    Parameters
    ----------
    values : DataFrame
        Index participant_id, a float column a muscle, NaN where missing.
    descriptives : DataFrame
        Columns ``muscle``, ``n``, ``mean`` and ``se``; a muscle may be missing.
    paired : DataFrame
        Paired t-tests: ``muscle_a``, ``muscle_b``, ``mean_diff`` (a - b), ``se_diff`` and
        ``p``.
    unit : str
        Such as ``MFI (%)``.
    sex : Series, optional
        F, M or missing; index participant_id.

    Returns
    -------
    bytes
        SVG without a date.
    """
    from matplotlib.figure import Figure

    muscles, crowd = list_muscles(values), choose_crowd(values.index, sex, values.shape[1])
    wide, tall = max(2.6, 0.68 * len(muscles)), 4.0
    side = max(2.8, 0.58 * len(muscles))
    with use_style():
        figure = Figure(figsize=(0.95 + wide + 1.0 + side + 0.15, tall + 1.6))
        left = add_axes(figure, (0.95, 0.65, wide, tall))
        _draw_strips(left, values, crowd)
        _draw_means(left, muscles, descriptives)
        left.set_ylabel(unit)
        if len(muscles) > 1:
            right = add_axes(figure, (0.95 + wide + 1.0, 0.65, side, tall))
            _draw_differences(right, muscles, paired, unit)
        draw_group_legend(figure, crowd, mean="mean \u00b1 1 standard error")
        return encode_svg(figure)


def _draw_strips(axes: "Axes", values: pd.DataFrame, crowd: Crowd) -> None:
    """Draw the participants of each muscle, spread sideways."""
    shown = values.loc[crowd.drawn]
    shift = 0.5 * (spread(len(shown)) - 0.5)
    for place, muscle in enumerate(shown):
        draw_points(axes, place + shift, to_floats(shown[muscle]), crowd.sexes, 3.2)
    axes.set(xlim=(-0.6, len(values.columns) - 0.4), ylim=find_limits(values.to_numpy()))
    axes.set_xticks(
        range(len(values.columns)), [break_name(name, 9) for name in list_muscles(values)]
    )
    axes.tick_params("x", length=0)


def _draw_means(axes: "Axes", muscles: Sequence[str], descriptives: pd.DataFrame) -> None:
    """Draw mean and standard error, and write them and n above."""
    rows = [find_row(descriptives, muscle) for muscle in muscles]
    digits = choose_digits([get_number(row, "se") for row in rows])
    write_above(axes, None, "mean\n\u00b1 SE\nn")
    for place, row in enumerate(rows):
        mean, error = get_number(row, "mean"), get_number(row, "se")
        _draw_mean(axes, place, mean, error, INK, "D")
        count = format_count(get_number(row, "n"))
        text = f"{format_number(mean, digits)}\n{format_number(error, digits)}\n{count}"
        write_above(axes, place, text)


def _draw_mean(
    axes: "Axes", place: float, mean: float, error: float, color: str, marker: str
) -> None:
    """Draw a mean with the bar of its standard error, if there are any."""
    if np.isfinite(mean):
        axes.errorbar(
            place, mean, error if np.isfinite(error) else None, fmt=marker, color=color,
            markersize=5.5, markerfacecolor="white", markeredgewidth=1.5, elinewidth=1.8,
            capsize=5, capthick=1.8, zorder=5,
        )  # fmt: skip


def _draw_differences(
    axes: "Axes", muscles: Sequence[str], paired: pd.DataFrame, unit: str
) -> None:
    """Draw a triangle of the mean differences, column minus row, with stars."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    found = index_pairs(paired)
    size = float(paired["mean_diff"].abs().max()) if len(paired) else np.nan
    digits = choose_digits(list(paired["se_diff"]))
    for row, column, pair in _walk_triangle(muscles):
        difference, p = _find_difference(found, pair)
        share = difference / size if np.isfinite(difference) and size > 0 else 0.0
        face = colormaps[SHADE](0.5 + 0.22 * share)
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=face, edgecolor="white", lw=1.5))
        text = f"{format_number(difference, digits, '+')}\n{mark_p(p)}"
        axes.text(
            column + 0.5, row + 0.53, text, ha="center", va="center", fontsize=SMALL,
            linespacing=1.1,
        )  # fmt: skip
    _frame_triangle(axes, muscles)
    last = unit.split()[-1]
    axes.set_title(
        f"Mean of column \u2212 row {last}\npaired t-tests\n{LEVELS_TEXT}", loc="right",
        fontsize=SMALL, y=0.98, va="top", linespacing=1.6,
    )  # fmt: skip


def _walk_triangle(muscles: Sequence[str]) -> list[tuple[int, int, tuple[str, str]]]:
    """Walk through the cells below the diagonal: row, column and the muscles, column first."""
    return [
        (row, column, (muscles[column], muscles[row]))
        for row in range(1, len(muscles))
        for column in range(row)
    ]


def _frame_triangle(axes: "Axes", muscles: Sequence[str]) -> None:
    last = max(2, len(muscles))
    # A free row above holds the words.
    axes.set(xlim=(0, last - 1), ylim=(last, 0.2 if len(muscles) > 3 else -1))
    names = [break_name(name, 9) for name in muscles]
    axes.set_xticks(np.arange(len(muscles) - 1) + 0.5, names[:-1])
    axes.set_yticks(np.arange(1, len(muscles)) + 0.5, names[1:])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _find_difference(
    found: dict[tuple[str, str], Row], pair: tuple[str, str]
) -> tuple[float, float]:
    """Find mean difference, first minus second, and p of a pair in either order."""
    sign = 1.0 if pair in found else -1.0
    row = found.get(pair, found.get(pair[::-1]))
    return sign * get_number(row, "mean_diff"), get_number(row, "p")


def draw_sexes(
    values: pd.DataFrame, sex: "pd.Series[Any]", ancova: pd.DataFrame, unit: str
) -> bytes:
    """Draw estimated marginal means of the sexes in each muscle and in the mean of all.

    Parameters
    ----------
    values : DataFrame
        Index participant_id, a float column a muscle, NaN where missing.
    sex : Series
        F, M or missing; index participant_id. Participants without one are not drawn.
    ancova : DataFrame
        ``muscle``, ``p_sex``, ``emm_f``, ``emm_f_se``, ``emm_m``, ``emm_m_se``,
        ``diff_f_minus_m`` and ``diff_se``; the row of muscle ``mean`` is the mean of all muscles.
    unit : str
        Such as ``MFI (%)``.

    Returns
    -------
    bytes
        SVG without a date. A participant's point at the mean is the plain mean of all muscles, and
        is not drawn where one is missing.
    """
    from matplotlib.figure import Figure

    apart = bool((ancova["muscle"] == MEAN).any()) and MEAN not in values
    known = values[sex.reindex(values.index).isin(SEXES)]
    if apart:
        known = known.assign(**{MEAN: known.mean(axis=1, skipna=False)})
    crowd = choose_crowd(known.index, sex, known.shape[1])
    wide, tall = max(5.0, 0.8 * (known.shape[1] + 0.4)), 4.0
    with use_style():
        figure = Figure(figsize=(0.95 + wide + 0.15, tall + 1.75))
        axes = add_axes(figure, (0.95, 0.65, wide, tall))
        axes.set_ylim(find_limits(np.append(known.to_numpy().ravel(), _ends(ancova)), above=0.12))
        _draw_each_sex(axes, known, crowd, ancova, apart)
        axes.set_ylabel(unit)
        left_out = len(values) - len(known)
        draw_group_legend(figure, crowd, f"large marks: {EMM}    {LEVELS_TEXT}", left_out=left_out)
        return encode_svg(figure)


def _draw_each_sex(
    axes: "Axes", values: pd.DataFrame, crowd: Crowd, ancova: pd.DataFrame, apart: bool
) -> None:
    places = np.arange(values.shape[1], dtype=np.float64)
    if apart:
        places[-1] += 0.4
        axes.axvline(places[-1] - 0.7, color=PALE, linewidth=0.8)
    rows = [find_row(ancova, muscle) for muscle in list_muscles(values)]
    digits = choose_digits([get_number(row, "diff_se") for row in rows])
    shown = values.loc[crowd.drawn]
    shift = 0.3 * (spread(len(shown)) - 0.5) + np.where(crowd.sexes == "F", -0.2, 0.2)
    write_above(axes, None, "F \u2212 M\n\u00b1 SE\np")
    for place, muscle, row in zip(places, shown, rows, strict=True):
        draw_points(axes, place + shift, to_floats(shown[muscle]), crowd.sexes, 3.2)
        for name, step in (("f", -0.2), ("m", 0.2)):
            mean, error = get_number(row, f"emm_{name}"), get_number(row, f"emm_{name}_se")
            color = _darken(COLORS[name.upper()])
            _draw_mean(axes, place + step, mean, error, color, MARKERS[name.upper()])
        _write_sex_test(axes, place, row, digits)
    names = [break_name(name, 10) for name in list_muscles(values)]
    axes.set_xticks(places, [*names[:-1], "mean of\nall muscles"] if apart else names)
    axes.set_xlim(-0.6, places[-1] + 0.6 if len(places) else 0.6)
    axes.tick_params("x", length=0)


def _write_sex_test(axes: "Axes", place: float, row: Row, digits: int) -> None:
    """Write difference, error and p above; a significant one gets a bracket with stars."""
    p = get_number(row, "p_sex")
    difference = format_number(get_number(row, "diff_f_minus_m"), digits, "+")
    error = format_number(get_number(row, "diff_se"), digits)
    write_above(axes, place, f"{difference}\n{error}\n{format_p_short(p)}")
    if np.isfinite(p) and mark_p(p):
        ends = [place - 0.2, place - 0.2, place + 0.2, place + 0.2]
        along = axes.get_xaxis_transform()
        axes.plot(ends, [0.93, 0.945, 0.945, 0.93], color=INK, linewidth=0.9, transform=along)
        axes.text(place, 0.945, mark_p(p), ha="center", va="bottom", fontsize=10, transform=along)


def _ends(ancova: pd.DataFrame) -> Floats:
    """Find the ends of the error bars of all estimated marginal means."""
    means, errors = ancova[["emm_f", "emm_m"]], ancova[["emm_f_se", "emm_m_se"]].fillna(0)
    return np.concatenate([to_floats(means + sign * errors.to_numpy()).ravel() for sign in (-1, 1)])


def _darken(color: str) -> str:
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (0.6 * part for part in to_rgb(color))
    return to_hex((red, green, blue))


def draw_partial_correlations(
    residuals: pd.DataFrame,
    partial: pd.DataFrame,
    unit: str = "MFI (%)",
    sex: "pd.Series[Any] | None" = None,
) -> bytes:
    """Draw residuals of each muscle on residuals of age and of BMI.

    Parameters
    ----------
    residuals : DataFrame
        ``participant_id``, ``muscle``, ``x`` (such as age or bmi), ``resid_x``, ``resid_mfi``.
    partial : DataFrame
        ``muscle``, ``x``, ``controlling`` (names with commas), ``n``, ``r``, ``p``, ``ci_lower``,
        ``ci_upper`` and ``resid_slope``. A panel for each muscle and x, in this order.
    unit : str
        Quantity and unit of ``resid_mfi``. Muscles share a vertical axis if it is in percent.
    sex : Series, optional
        F, M or missing; index participant_id.

    Returns
    -------
    bytes
        SVG without a date.
    """
    from matplotlib.figure import Figure

    muscles, names = list(partial["muscle"].unique()), list(partial["x"].unique())
    columns = _choose_columns(len(muscles))
    blocks = [muscles[i : i + columns] for i in range(0, len(muscles), columns)]
    rows = [(block, x) for block in blocks for x in names]
    crowd = choose_crowd(pd.Index(residuals["participant_id"].unique()), sex, len(partial))
    shared = unit.endswith("(%)")
    step, tall = 1.7 if shared else 1.95, 2.5
    width = max(5.2, 0.95 + step * columns)
    height = 0.55 + tall * max(1, len(rows))
    with use_style():
        figure = Figure(figsize=(width, height))
        for place, (block, x) in enumerate(rows):
            bottom = height - tall * (place + 1) + 0.15
            table = partial[partial["x"] == x]
            found = residuals[residuals["x"] == x]
            for column, muscle in enumerate(block):
                axes = add_axes(figure, (0.8 + step * column, bottom, 1.45, 1.35))
                _draw_residuals(axes, found, muscle, find_row(table, muscle), crowd)
                low_high = found if shared else found[found["muscle"] == muscle]
                axes.locator_params(nbins=4)
                axes.set(
                    xlim=find_limits(found["resid_x"]), ylim=find_limits(low_high["resid_mfi"])
                )
                if found["resid_x"].isna().all():
                    axes.set(xticks=[], yticks=[])
                axes.set_ylabel(f"residual of {unit}" if column == 0 else "")
                axes.tick_params(labelleft=column == 0 or not shared)
            middle = max(1.9, 0.8 + (step * len(block) - 0.25) / 2)
            write_at(figure, (middle, bottom - 0.38), _describe_x(x, table))
        draw_group_legend(figure, crowd)
        return encode_svg(figure)


def _choose_columns(count: int) -> int:
    """Choose the number of panels side by side so that the rows are about equally long.

    >>> [_choose_columns(count) for count in (0, 3, 7, 8, 12)]
    [1, 3, 7, 4, 6]
    """
    rows = max(1, -(-count // MOST_COLUMNS))
    return max(1, -(-count // rows))


def _draw_residuals(
    axes: "Axes", residuals: pd.DataFrame, muscle: str, row: Row, crowd: Crowd
) -> None:
    """Draw the points of a muscle, the line of their slope through the origin, and r and p."""
    axes.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    points = residuals[residuals["muscle"] == muscle].set_index("participant_id")
    shown = points.reindex(crowd.drawn)
    draw_points(axes, to_floats(shown["resid_x"]), to_floats(shown["resid_mfi"]), crowd.sexes, 3.2)
    slope, ends = get_number(row, "resid_slope"), np.array(find_ends(points["resid_x"]))
    if np.isfinite(slope):
        axes.plot(ends, slope * ends, color=INK, linewidth=1.6, zorder=4)
    axes.set_title(break_name(muscle, 20, 1), loc="left", fontweight="bold", fontsize=9.5, pad=24)
    p, n = get_number(row, "p"), format_count(get_number(row, "n"))
    text = f"{write_correlation(row)}\n{state_p(p)}, n = {n}"
    axes.text(0, 1.02, text, va="bottom", fontsize=SMALL, transform=axes.transAxes)
    axes.tick_params(labelsize=SMALL)


def _describe_x(x: str, table: pd.DataFrame) -> str:
    text = f"residual of {X_NAMES.get(x, x)}"
    controlling = [part.strip() for part in str(table["controlling"].iloc[0]).split(",")]
    names = " and ".join(WORDS.get(part, part) for part in controlling if part)
    return f"{text}, controlling for {names}" if names else text
