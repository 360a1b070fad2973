"""Figures 5 and 6 of Weber et al. 2021 and the pair plot as SVG; must not know files or any test.

doi:10.1038/s41598-021-95972-x. All statistics come in as tables. Females are filled circles, males
open triangles and participants whose sex is not known crosses, so that they differ in form and not
in colour alone. The same numbers give the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_mfi.group.cohort import MEAN, SEXES
from bids_mfi.report.style import INK, PALE, choose_limits, encode_svg, use_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats: TypeAlias = NDArray[np.float64]
Row: TypeAlias = "pd.Series[Any] | None"

UNKNOWN = "unknown"
SEX_NAMES = {"F": "female", "M": "male", UNKNOWN: "sex not known"}
COLORS = {"F": "#c2410c", "M": "#0063a6", UNKNOWN: "#6b7280"}
MARKERS = {"F": "o", "M": "^", UNKNOWN: "x"}
LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
EMM = "estimated marginal means \u00b1 1 SE"
LEVELS_TEXT = "* p < 0.05   ** p < 0.01   *** p < 0.001"
X_NAMES = {"age": "age (years)", "bmi": "BMI (kg/m\u00b2)"}
WORDS = {"bmi": "BMI"}
# A file has to stay small enough for a page that holds several.
MOST_COLUMNS = 7
BINS = 14
MANY = 150  # with more points each is paler
MOST_POINTS_PANEL = 1500
MOST_POINTS_FIGURE = 12_000
GOLDEN = (5**0.5 - 1) / 2
SHADE = "PuOr"
MOST_DIGITS = 4
SMALL, TINY = 7.5, 6.5


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """The participants whose points are drawn.

    Attributes
    ----------
    drawn : Index
        Their identifiers.
    sexes : ndarray of str, shape (drawn,)
        F, M or unknown.
    counts : dict of str to int
        How many there are of each sex, drawn or not.
    """

    drawn: pd.Index
    sexes: NDArray[np.str_]
    counts: dict[str, int]

    @property
    def total(self) -> int:
        """Number of participants, drawn or not."""
        return sum(self.counts.values())


def choose_crowd(participants: pd.Index, sex: "pd.Series[Any] | None", panels: int) -> Crowd:
    """Choose whom to draw: all, or as many as a file can hold, evenly along the index.

    Parameters
    ----------
    participants : Index
        All of them.
    sex : Series or None
        F, M or missing; index participant_id.
    panels : int
        Panels of the figure, each with a point a participant.

    Examples
    --------
    >>> choose_crowd(pd.RangeIndex(4000), None, 1).drawn[:4].tolist()
    [0, 3, 5, 8]
    """
    most = min(MOST_POINTS_PANEL, MOST_POINTS_FIGURE // max(1, panels))
    known = (pd.Series(dtype=object) if sex is None else sex).reindex(participants)
    names = np.where(known.isin(SEXES), known.astype(str), UNKNOWN).astype(str)
    counts = {name: int((names == name).sum()) for name in SEX_NAMES}
    places = np.arange(len(participants))
    if len(participants) > most:
        places = np.linspace(0, len(participants) - 1, most).round().astype(int)
    return Crowd(participants[places], names[places], counts)


# --- Figure 5 A: the muscles -------------------------------------------------------------------


def draw_muscles(
    values: pd.DataFrame,
    descriptives: pd.DataFrame,
    paired: pd.DataFrame,
    unit: str,
    sex: "pd.Series[Any] | None" = None,
) -> bytes:
    """Draw each muscle's values with mean and standard error, and the differences between them.

    Parameters
    ----------
    values : DataFrame
        Index participant_id, a float column a muscle, NaN where missing.
    descriptives : DataFrame
        Columns ``muscle``, ``n``, ``mean`` and ``se``; a muscle may lack.
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

    muscles, crowd = _names(values), choose_crowd(values.index, sex, values.shape[1])
    wide, tall = max(2.6, 0.68 * len(muscles)), 4.0
    side = max(2.8, 0.58 * len(muscles))
    with use_style():
        figure = Figure(figsize=(0.95 + wide + 1.0 + side + 0.15, tall + 1.6))
        left = _add_axes(figure, (0.95, 0.65, wide, tall))
        _draw_strips(left, values, crowd)
        _draw_means(left, muscles, descriptives)
        left.set_ylabel(unit)
        if len(muscles) > 1:
            right = _add_axes(figure, (0.95 + wide + 1.0, 0.65, side, tall))
            _draw_differences(right, muscles, paired, unit)
        _draw_legend(figure, crowd, mean="mean \u00b1 1 standard error")
        return encode_svg(figure)


def _draw_strips(axes: "Axes", values: pd.DataFrame, crowd: Crowd) -> None:
    """Draw the participants of each muscle, spread sideways."""
    shown = values.loc[crowd.drawn]
    shift = 0.5 * (_spread(len(shown)) - 0.5)
    for place, muscle in enumerate(shown):
        _draw_points(axes, place + shift, _floats(shown[muscle]), crowd.sexes, 3.2)
    axes.set(xlim=(-0.6, len(values.columns) - 0.4), ylim=_limits(values.to_numpy()))
    axes.set_xticks(range(len(values.columns)), [_wrap(name, 9) for name in _names(values)])
    axes.tick_params("x", length=0)


def _draw_means(axes: "Axes", muscles: Sequence[str], descriptives: pd.DataFrame) -> None:
    """Draw mean and standard error, and write them and n above."""
    rows = [_find_row(descriptives, muscle) for muscle in muscles]
    digits = _choose_digits([_get(row, "se") for row in rows])
    _write_above(axes, None, "mean\n\u00b1 SE\nn")
    for place, row in enumerate(rows):
        mean, error = _get(row, "mean"), _get(row, "se")
        _draw_mean(axes, place, mean, error, INK, "D")
        text = f"{_number(mean, digits)}\n{_number(error, digits)}\n{_count(_get(row, 'n'))}"
        _write_above(axes, place, text)


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
    """Draw a triangle of the mean differences, column less row, with stars."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    found = _index_pairs(paired)
    size = float(paired["mean_diff"].abs().max()) if len(paired) else np.nan
    digits = _choose_digits(list(paired["se_diff"]))
    for row, column, pair in _walk_triangle(muscles):
        difference, p = _find_difference(found, pair)
        share = difference / size if np.isfinite(difference) and size > 0 else 0.0
        face = colormaps[SHADE](0.5 + 0.22 * share)
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=face, edgecolor="white", lw=1.5))
        text = f"{_number(difference, digits, '+')}\n{_stars(p)}"
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
    names = [_wrap(name, 9) for name in muscles]
    axes.set_xticks(np.arange(len(muscles) - 1) + 0.5, names[:-1])
    axes.set_yticks(np.arange(1, len(muscles)) + 0.5, names[1:])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _find_difference(
    found: dict[tuple[str, str], Row], pair: tuple[str, str]
) -> tuple[float, float]:
    """Find mean difference, first less second, and p of a pair in either order."""
    sign = 1.0 if pair in found else -1.0
    row = found.get(pair, found.get(pair[::-1]))
    return sign * _get(row, "mean_diff"), _get(row, "p")


# --- Figure 5 B: the sexes ---------------------------------------------------------------------


def draw_sexes(
    values: pd.DataFrame, sex: "pd.Series[Any]", ancova: pd.DataFrame, unit: str
) -> bytes:
    """Draw estimated marginal means of the sexes in each muscle and in the mean of all.

    Parameters
    ----------
    values : DataFrame
        Index participant_id, a float column a muscle, NaN where missing.
    sex : Series
        F, M or missing; index participant_id. Who has none is not drawn.
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
        axes = _add_axes(figure, (0.95, 0.65, wide, tall))
        axes.set_ylim(_limits(np.append(known.to_numpy().ravel(), _ends(ancova)), above=0.12))
        _draw_each_sex(axes, known, crowd, ancova, apart)
        axes.set_ylabel(unit)
        left_out = len(values) - len(known)
        _draw_legend(figure, crowd, f"large marks: {EMM}    {LEVELS_TEXT}", left_out=left_out)
        return encode_svg(figure)


def _draw_each_sex(
    axes: "Axes", values: pd.DataFrame, crowd: Crowd, ancova: pd.DataFrame, apart: bool
) -> None:
    places = np.arange(values.shape[1], dtype=np.float64)
    if apart:
        places[-1] += 0.4
        axes.axvline(places[-1] - 0.7, color=PALE, linewidth=0.8)
    rows = [_find_row(ancova, muscle) for muscle in _names(values)]
    digits = _choose_digits([_get(row, "diff_se") for row in rows])
    shown = values.loc[crowd.drawn]
    shift = 0.3 * (_spread(len(shown)) - 0.5) + np.where(crowd.sexes == "F", -0.2, 0.2)
    _write_above(axes, None, "F \u2212 M\n\u00b1 SE\np")
    for place, muscle, row in zip(places, shown, rows, strict=True):
        _draw_points(axes, place + shift, _floats(shown[muscle]), crowd.sexes, 3.2)
        for name, step in (("f", -0.2), ("m", 0.2)):
            mean, error = _get(row, f"emm_{name}"), _get(row, f"emm_{name}_se")
            color = _darken(COLORS[name.upper()])
            _draw_mean(axes, place + step, mean, error, color, MARKERS[name.upper()])
        _write_sex_test(axes, place, row, digits)
    names = [_wrap(name, 10) for name in _names(values)]
    axes.set_xticks(places, [*names[:-1], "mean of\nall muscles"] if apart else names)
    axes.set_xlim(-0.6, places[-1] + 0.6 if len(places) else 0.6)
    axes.tick_params("x", length=0)


def _write_sex_test(axes: "Axes", place: float, row: Row, digits: int) -> None:
    """Write difference, error and p above; a significant one gets a bracket with stars."""
    p = _get(row, "p_sex")
    difference = _number(_get(row, "diff_f_minus_m"), digits, "+")
    error = _number(_get(row, "diff_se"), digits)
    _write_above(axes, place, f"{difference}\n{error}\n{_p_value(p)}")
    if np.isfinite(p) and _stars(p):
        ends = [place - 0.2, place - 0.2, place + 0.2, place + 0.2]
        along = axes.get_xaxis_transform()
        axes.plot(ends, [0.93, 0.945, 0.945, 0.93], color=INK, linewidth=0.9, transform=along)
        axes.text(place, 0.945, _stars(p), ha="center", va="bottom", fontsize=10, transform=along)


def _ends(ancova: pd.DataFrame) -> Floats:
    """Find the ends of the error bars of all estimated marginal means."""
    means, errors = ancova[["emm_f", "emm_m"]], ancova[["emm_f_se", "emm_m_se"]].fillna(0)
    return np.concatenate([_floats(means + sign * errors.to_numpy()).ravel() for sign in (-1, 1)])


def _darken(color: str) -> str:
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (0.6 * part for part in to_rgb(color))
    return to_hex((red, green, blue))


# --- Figure 6: partial correlations ------------------------------------------------------------


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
        What ``resid_mfi`` are residuals of. Muscles share a vertical axis if it is in percent.
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
                axes = _add_axes(figure, (0.8 + step * column, bottom, 1.45, 1.35))
                _draw_residuals(axes, found, muscle, _find_row(table, muscle), crowd)
                low_high = found if shared else found[found["muscle"] == muscle]
                axes.locator_params(nbins=4)
                axes.set(xlim=_limits(found["resid_x"]), ylim=_limits(low_high["resid_mfi"]))
                if found["resid_x"].isna().all():
                    axes.set(xticks=[], yticks=[])
                axes.set_ylabel(f"residual of {unit}" if column == 0 else "")
                axes.tick_params(labelleft=column == 0 or not shared)
            middle = max(1.9, 0.8 + (step * len(block) - 0.25) / 2)
            _write(figure, (middle, bottom - 0.38), _describe_x(x, table))
        _draw_legend(figure, crowd)
        return encode_svg(figure)


def _choose_columns(count: int) -> int:
    """Choose how many panels stand side by side, so that the rows are about equally long.

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
    _draw_points(axes, _floats(shown["resid_x"]), _floats(shown["resid_mfi"]), crowd.sexes, 3.2)
    slope, ends = _get(row, "resid_slope"), np.array(_ends_of(points["resid_x"]))
    if np.isfinite(slope):
        axes.plot(ends, slope * ends, color=INK, linewidth=1.6, zorder=4)
    axes.set_title(_wrap(muscle, 20, 1), loc="left", fontweight="bold", fontsize=9.5, pad=24)
    p, n = _get(row, "p"), _count(_get(row, "n"))
    text = f"{_correlation(row)}\n{_p_text(p)}, n = {n}"
    axes.text(0, 1.02, text, va="bottom", fontsize=SMALL, transform=axes.transAxes)
    axes.tick_params(labelsize=SMALL)


def _describe_x(x: str, table: pd.DataFrame) -> str:
    text = f"residual of {X_NAMES.get(x, x)}"
    controlling = [part.strip() for part in str(table["controlling"].iloc[0]).split(",")]
    names = " and ".join(WORDS.get(part, part) for part in controlling if part)
    return f"{text}, controlling for {names}" if names else text


# --- Pair plot ---------------------------------------------------------------------------------


def draw_pairs(
    values: pd.DataFrame,
    correlations: pd.DataFrame,
    unit: str,
    sex: "pd.Series[Any] | None" = None,
) -> bytes:
    """Draw every muscle on every other, with histograms and correlations.

    Parameters
    ----------
    values : DataFrame
        Index participant_id, a float column a muscle, NaN where missing.
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

    muscles = _names(values)
    count = max(1, len(muscles))
    crowd = choose_crowd(values.index, sex, count * (count - 1) // 2)
    side = float(np.clip(10.4 / count, 0.95, 2.6))
    width, height = max(5.2, 0.8 + side * count), 1.3 + side * count
    found = _index_pairs(correlations)
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
                axes = _add_axes(figure, box)
                if row < column:
                    _write_pair(axes, _find_either(found, (below, above)))
                    continue
                if row == column:
                    _draw_histogram(axes, values[below], _wrap(below, int(9.5 * side)))
                else:
                    pair = _find_either(found, (above, below))
                    _draw_pair(axes, values[[above, below]], pair, crowd)
                _frame_pair(axes, row == count - 1, column == 0 and row > 0)
        _write(figure, (0.7 + side * count / 2, 0.25), unit)
        _draw_legend(figure, crowd, LEVELS_TEXT)
        return encode_svg(figure)


def _draw_pair(axes: "Axes", both: pd.DataFrame, row: Row, crowd: Crowd) -> None:
    """Draw the first of two muscles across and the second up, with the line of least squares."""
    shown, complete = both.loc[crowd.drawn], both.dropna()
    across, up = (_floats(complete.iloc[:, place]) for place in (0, 1))
    x, y = (_floats(shown.iloc[:, place]) for place in (0, 1))
    _draw_points(axes, x, y, crowd.sexes, 2.6)
    r = _get(row, "r")
    if len(complete) > 1 and np.isfinite(r) and across.std() > 0:
        ends = np.array([across.min(), across.max()])
        slope = r * up.std() / across.std()
        axes.plot(ends, up.mean() + slope * (ends - across.mean()), color=INK, lw=1.4, zorder=4)
    axes.set(xlim=_limits(both.iloc[:, 0]), ylim=_limits(both.iloc[:, 1]))


def _draw_histogram(axes: "Axes", values: "pd.Series[Any]", name: str) -> None:
    known = _floats(values.dropna())
    low, high = _limits(known)
    counts, edges = np.histogram(known, bins=BINS, range=(low, high))
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color="#c3c9d1", edgecolor="white",
             linewidth=0.5)  # fmt: skip
    axes.set(xlim=(low, high), ylim=(0, 1.55 * max(1, counts.max())), yticks=[])
    axes.text(
        0.05, 0.97, name, va="top", fontweight="bold", fontsize=8.5,
        transform=axes.transAxes,
    )  # fmt: skip


def _write_pair(axes: "Axes", row: Row) -> None:
    """Write r with stars and its interval on a shade that is darker the nearer r is to 1 or -1."""
    from matplotlib import colormaps

    r = _get(row, "r")
    axes.set_facecolor(colormaps[SHADE](0.5 + (0.2 * r if np.isfinite(r) else 0.0)))
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    lines = (
        (0.62, f"{_number(r)}{_stars(_get(row, 'p'))}", 10),
        (0.38, _interval(row), TINY),
        (0.22, f"n = {_count(_get(row, 'n'))}", TINY),
    )
    for height, text, size in lines:
        axes.text(0.5, height, text, ha="center", va="center", fontsize=size,
                  transform=axes.transAxes)  # fmt: skip


def _frame_pair(axes: "Axes", bottom: bool, left: bool) -> None:
    axes.locator_params("x", nbins=3)
    if axes.get_yticks().size:
        axes.locator_params("y", nbins=3)
    axes.tick_params(labelsize=TINY, length=2, labelbottom=bottom, labelleft=left)


# --- Points, words and places ------------------------------------------------------------------


def _draw_points(axes: "Axes", x: Floats, y: Floats, sexes: NDArray[np.str_], size: float) -> None:
    """Draw the points that are complete, of each sex in its own form and colour."""
    known = np.isfinite(x) & np.isfinite(y)
    opacity = float(np.clip(0.55 * (MANY / max(1, len(x))) ** 0.5, 0.15, 0.55))
    for name in SEX_NAMES:
        chosen = known & (sexes == name)
        if chosen.any():
            axes.plot(
                x[chosen], y[chosen], linestyle="none", zorder=2, alpha=opacity,
                **_point(name, size),
            )  # fmt: skip


def _point(name: str, size: float) -> dict[str, Any]:
    """Form and colour of a sex; size in points."""
    return {
        "marker": MARKERS[name], "color": COLORS[name], "markersize": size,
        "markerfacecolor": COLORS[name] if name == "F" else "none", "markeredgewidth": 0.7,
    }  # fmt: skip


def _spread(count: int) -> Floats:
    """Spread points evenly between 0 and 1, neighbours far apart, by the golden ratio."""
    return np.asarray((np.arange(count) * GOLDEN) % 1.0, dtype=np.float64)


def _limits(values: Any, above: float = 0.0) -> tuple[float, float]:
    """Choose the ends of an axis from values of which some may be missing."""
    low, high = choose_limits(_ends_of(values))
    return low, high + above * (high - low)


def _ends_of(values: Any) -> list[float]:
    """Find the smallest and the largest value; empty if there is none."""
    known = np.asarray(values, dtype=np.float64).ravel()
    known = known[np.isfinite(known)]
    return [float(known.min()), float(known.max())] if known.size else []


def _floats(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _names(values: pd.DataFrame) -> list[str]:
    return [str(name) for name in values]


def _find_row(table: pd.DataFrame, muscle: str) -> Row:
    found = table[table["muscle"] == muscle]
    return found.iloc[0] if len(found) else None


def _index_pairs(table: pd.DataFrame) -> dict[tuple[str, str], Row]:
    return {(row["muscle_a"], row["muscle_b"]): row for _, row in table.iterrows()}


def _find_either(found: dict[tuple[str, str], Row], pair: tuple[str, str]) -> Row:
    return found.get(pair, found.get(pair[::-1]))


def _get(row: Row, name: str) -> float:
    """Take a number; NaN where there is none."""
    return np.nan if row is None else float(row[name])


def _choose_digits(errors: Sequence[float]) -> int:
    """Choose decimals by the smallest standard error, so that it does not become 0.

    >>> _choose_digits([0.62, 0.3]), _choose_digits([0.03]), _choose_digits([np.nan])
    (1, 2, 1)
    """
    smallest = min((error for error in errors if error > 0), default=0.1)
    return int(np.clip(np.ceil(-np.log10(smallest)), 1, MOST_DIGITS))


def _number(value: float, digits: int = 2, sign: str = "") -> str:
    """Write a number with a true minus sign.

    >>> _number(-0.256), _number(1.0, 1, "+"), _number(-0.001), _number(np.nan)
    ('−0.26', '+1.0', '0.00', 'n/a')
    """
    return f"{value:{sign}z.{digits}f}".replace("-", "\u2212") if np.isfinite(value) else "n/a"


def _count(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "n/a"


def _stars(p: float) -> str:
    """Mark a significant p; no mark says that it is not, or that there is none.

    >>> _stars(0.0004), _stars(0.004), _stars(0.04), _stars(0.05)
    ('***', '**', '*', '')
    """
    return next((stars for level, stars in LEVELS if p < level), "")


def _p_value(p: float) -> str:
    """Write a p-value; two decimals, three where it is small.

    >>> _p_value(0.0004), _p_value(0.0123), _p_value(0.3), _p_value(np.nan)
    ('< 0.001', '0.012', '0.30', 'n/a')
    """
    if not np.isfinite(p):
        return "n/a"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _p_text(p: float) -> str:
    text = _p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _interval(row: Row) -> str:
    ends = [_get(row, "ci_lower"), _get(row, "ci_upper")]
    return f"[{_number(ends[0])}, {_number(ends[1])}]" if np.isfinite(ends).all() else "no interval"


def _correlation(row: Row) -> str:
    r = _get(row, "r")
    return f"r = {_number(r)} {_interval(row)}" if np.isfinite(r) else "r = n/a"


def _wrap(name: str, width: int, lines: int = 2) -> str:
    r"""Break a long name into lines, and cut what is longer still.

    >>> _wrap("longissimus capitis", 12), _wrap("longissimus capitis et cervicis", 8)
    ('longissimus\ncapitis', 'longiss…\ncapitis…')
    """
    parts = wrap(str(name), width, break_long_words=False)
    cut = [part if len(part) <= width else part[: width - 1] + "\u2026" for part in parts[:lines]]
    if len(parts) > lines and not cut[-1].endswith("\u2026"):
        cut[-1] += "\u2026"
    return "\n".join(cut)


def _add_axes(figure: "Figure", box: tuple[float, float, float, float]) -> "Axes":
    """Add axes with left, bottom, width and height in inches."""
    size = np.array([*figure.get_size_inches()] * 2)
    return figure.add_axes(tuple(np.array(box) / size))


def _write(
    figure: "Figure",
    place: tuple[float, float],
    text: str,
    align: str = "center",
    size: float = 8.5,
) -> None:
    """Write at a place in inches from the lower left corner."""
    x, y = np.array(place) / figure.get_size_inches()
    figure.text(x, y, text, ha=align, va="center", fontsize=size)


def _write_above(axes: "Axes", place: float | None, text: str) -> None:
    """Write numbers above a place of the horizontal axis, or their names left of it."""
    end = (0.0, 1.0) if place is None else (place, 1.0)
    along = axes.transAxes if place is None else axes.get_xaxis_transform()
    axes.annotate(
        text, end, (0, 4), along, "offset points", ha="right" if place is None else "center",
        va="bottom", fontsize=SMALL, annotation_clip=False,
    )  # fmt: skip


def _draw_legend(
    figure: "Figure", crowd: Crowd, words: str = "", mean: str = "", left_out: int = 0
) -> None:
    """Draw above the panels what forms mean and some words, and below them who is not drawn."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], linestyle="none", label=f"{SEX_NAMES[name]} (n = {number:,})", **_point(name, 5)
        )
        for name, number in crowd.counts.items()
        if number
    ]
    if mean:
        look: dict[str, Any] = {"marker": "D", "markersize": 5.5, "markerfacecolor": "white"}
        handles.append(Line2D([], [], color=INK, lw=1.8, mew=1.5, label=mean, **look))
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles, loc="upper left", ncols=4, frameon=False, fontsize=8.5, borderaxespad=0,
        bbox_to_anchor=(0.3 / width, 1 - 0.1 / height), columnspacing=1.4, handletextpad=0.5,
    )  # fmt: skip
    _write(figure, (0.3, height - 0.4), words, "left", SMALL)
    notes = []
    if len(crowd.drawn) < crowd.total:
        notes.append(
            f"{len(crowd.drawn):,} of {crowd.total:,} participants drawn; numbers are of all"
        )
    if left_out:
        notes.append(f"{left_out:,} without sex not drawn")
    _write(figure, (width - 0.15, 0.12), ". ".join(notes), "right", SMALL)
