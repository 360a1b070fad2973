"""Points, words and places that the figures of a cohort share.

Females are filled circles, males open triangles and participants of unknown sex crosses, so that
they differ in form as well as in colour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bids_mfi.report.numbers import format_number, format_p_short
from bids_mfi.report.style import INK, choose_limits
from bids_mfi.statistics.cohort import SEXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats: TypeAlias = NDArray[np.float64]
Row: TypeAlias = "pd.Series[Any] | None"

UNKNOWN = "unknown"
SEX_NAMES = {"F": "female", "M": "male", UNKNOWN: "sex not known"}
COLORS = {"F": "#c2410c", "M": "#0063a6", UNKNOWN: "#6b7280"}
MARKERS = {"F": "o", "M": "^", UNKNOWN: "x"}
# A file has to stay small enough for a page that holds several.
MANY = 150  # with more points each is paler
MOST_POINTS_PANEL = 1500
MOST_POINTS_FIGURE = 12_000
GOLDEN = (5**0.5 - 1) / 2
MOST_DIGITS = 4
SMALL = 7.5


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
        Number of participants of each sex, drawn or not.
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
        Panels of the figure, each with one point per participant.

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


# --- points ------------------------------------------------------------------------------------


def draw_points(axes: "Axes", x: Floats, y: Floats, sexes: NDArray[np.str_], size: float) -> None:
    """Draw the points that are complete, of each sex in its own form and colour."""
    known = np.isfinite(x) & np.isfinite(y)
    opacity = float(np.clip(0.55 * (MANY / max(1, len(x))) ** 0.5, 0.15, 0.55))
    for name in SEX_NAMES:
        chosen = known & (sexes == name)
        if chosen.any():
            axes.plot(
                x[chosen], y[chosen], linestyle="none", zorder=2, alpha=opacity,
                **choose_look(name, size),
            )  # fmt: skip


def choose_look(name: str, size: float) -> dict[str, Any]:
    """Form and colour of a sex; size in points."""
    return {
        "marker": MARKERS[name], "color": COLORS[name], "markersize": size,
        "markerfacecolor": COLORS[name] if name == "F" else "none", "markeredgewidth": 0.7,
    }  # fmt: skip


def spread(count: int) -> Floats:
    """Spread points evenly between 0 and 1, neighbours far apart, by the golden ratio."""
    return np.asarray((np.arange(count) * GOLDEN) % 1.0, dtype=np.float64)


# --- numbers of tables -------------------------------------------------------------------------


def find_limits(values: Any, above: float = 0.0) -> tuple[float, float]:
    """Choose the ends of an axis from values of which some may be missing."""
    low, high = choose_limits(find_ends(values))
    return low, high + above * (high - low)


def find_ends(values: Any) -> list[float]:
    """Find the smallest and the largest value; empty if there is none."""
    known = np.asarray(values, dtype=np.float64).ravel()
    known = known[np.isfinite(known)]
    return [float(known.min()), float(known.max())] if known.size else []


def to_floats(values: Any) -> Floats:
    """Take values as float64."""
    return np.asarray(values, dtype=np.float64)


def list_muscles(values: pd.DataFrame) -> list[str]:
    """List the muscles of a table of values."""
    return [str(name) for name in values]


def find_row(table: pd.DataFrame, muscle: str) -> Row:
    """Find the row of a muscle, None if there is none."""
    found = table[table["muscle"] == muscle]
    return found.iloc[0] if len(found) else None


def index_pairs(table: pd.DataFrame) -> dict[tuple[str, str], Row]:
    """Rows of a table of pairs by the two muscles."""
    return {(row["muscle_a"], row["muscle_b"]): row for _, row in table.iterrows()}


def find_either(found: dict[tuple[str, str], Row], pair: tuple[str, str]) -> Row:
    """Find the row of a pair in either order, None if there is none."""
    return found.get(pair, found.get(pair[::-1]))


def get_number(row: Row, name: str) -> float:
    """Take a number; NaN where there is none."""
    return np.nan if row is None else float(row[name])


# --- words -------------------------------------------------------------------------------------


def choose_digits(errors: Sequence[float]) -> int:
    """Choose decimals by the smallest standard error, so that it does not become 0.

    >>> choose_digits([0.62, 0.3]), choose_digits([0.03]), choose_digits([np.nan])
    (1, 2, 1)
    """
    smallest = min((error for error in errors if error > 0), default=0.1)
    return int(np.clip(np.ceil(-np.log10(smallest)), 1, MOST_DIGITS))


def state_p(p: float) -> str:
    """Write ``p`` with its sign and value."""
    text = format_p_short(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def write_interval(row: Row) -> str:
    """Write the 95 % confidence interval of a row in brackets."""
    ends = [get_number(row, "ci_lower"), get_number(row, "ci_upper")]
    return (
        f"[{format_number(ends[0])}, {format_number(ends[1])}]"
        if np.isfinite(ends).all()
        else "no interval"
    )


def write_correlation(row: Row) -> str:
    """Write r with its confidence interval."""
    r = get_number(row, "r")
    return f"r = {format_number(r)} {write_interval(row)}" if np.isfinite(r) else "r = n/a"


def break_name(name: str, width: int, lines: int = 2) -> str:
    r"""Break a long name into lines and truncate what is still too long.

    >>> break_name("longissimus capitis", 12), break_name("longissimus capitis et cervicis", 8)
    ('longissimus\ncapitis', 'longiss…\ncapitis…')
    """
    parts = wrap(str(name), width, break_long_words=False)
    cut = [part if len(part) <= width else part[: width - 1] + "\u2026" for part in parts[:lines]]
    if len(parts) > lines and not cut[-1].endswith("\u2026"):
        cut[-1] += "\u2026"
    return "\n".join(cut)


# --- places ------------------------------------------------------------------------------------


def add_axes(figure: "Figure", box: tuple[float, float, float, float]) -> "Axes":
    """Add axes with left, bottom, width and height in inches."""
    size = np.array([*figure.get_size_inches()] * 2)
    return figure.add_axes(tuple(np.array(box) / size))


def write_at(
    figure: "Figure",
    place: tuple[float, float],
    text: str,
    align: str = "center",
    size: float = 8.5,
) -> None:
    """Write at a place in inches from the lower left corner."""
    x, y = np.array(place) / figure.get_size_inches()
    figure.text(x, y, text, ha=align, va="center", fontsize=size)


def write_above(axes: "Axes", place: float | None, text: str) -> None:
    """Write numbers above a position of the horizontal axis, or their names left of it."""
    end = (0.0, 1.0) if place is None else (place, 1.0)
    along = axes.transAxes if place is None else axes.get_xaxis_transform()
    axes.annotate(
        text, end, (0, 4), along, "offset points", ha="right" if place is None else "center",
        va="bottom", fontsize=SMALL, annotation_clip=False,
    )  # fmt: skip


def draw_group_legend(
    figure: "Figure", crowd: Crowd, words: str = "", mean: str = "", left_out: int = 0
) -> None:
    """Draw the legend and a text above the panels, and below them who is not drawn."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            label=f"{SEX_NAMES[name]} (n = {number:,})",
            **choose_look(name, 5),
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
    write_at(figure, (0.3, height - 0.4), words, "left", SMALL)
    notes = []
    if len(crowd.drawn) < crowd.total:
        notes.append(
            f"{len(crowd.drawn):,} of {crowd.total:,} participants drawn; numbers refer to all"
        )
    if left_out:
        notes.append(f"{left_out:,} without sex not drawn")
    write_at(figure, (width - 0.15, 0.12), ". ".join(notes), "right", SMALL)
