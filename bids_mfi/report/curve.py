"""The course of a training as a picture."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bids_mfi.report.style import HASH_SALT, encode_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (7.0, 4.5)
LOSS_COLOUR, DICE_COLOUR, LOWEST_COLOUR = "#8a8a8a", "#1f5fc0", "#ff8a1f"
MOST_LINEAR = 20.0  # with a higher ratio of losses their axis is logarithmic


def draw_curve(rows: Sequence[Mapping[str, float]], dice_name: str = "held-out Dice") -> bytes:
    """Draw loss and Dice by step.

    Parameters
    ----------
    rows : sequence of mapping
        One row per validation with ``step``, ``loss``, ``dice_mean`` and ``dice_*`` of each muscle.
    dice_name : str
        What the Dice was measured on.

    Returns
    -------
    bytes
        SVG, the same for the same rows.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Text stays text.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": HASH_SALT}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        upper, lower = figure.subplots(2, sharex=True)
        _draw_dice(upper, rows, dice_name)
        _draw_loss(lower, rows)
        return encode_svg(figure)


def _draw_dice(axes: "Axes", rows: Sequence[Mapping[str, float]], name: str) -> None:
    steps = [row["step"] for row in rows]
    axes.plot(steps, [row["dice_mean"] for row in rows], "o-", color=DICE_COLOUR, label="mean")
    lowest = [lowest_dice(row) for row in rows]
    axes.plot(steps, lowest, "o-", color=LOWEST_COLOUR, label="lowest muscle")
    axes.set_ylim(0, 1)
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def lowest_dice(row: Mapping[str, float]) -> float:
    """Lowest Dice of a muscle in a row; one that was not measured (NaN) does not count.

    >>> lowest_dice({"step": 1, "dice_mean": 0.5, "dice_TR_L": 0.4, "dice_TR_R": 0.6})
    0.4
    """
    muscles = (key for key in row if key.startswith("dice_") and key != "dice_mean")
    return min((row[key] for key in muscles if not math.isnan(row[key])), default=math.nan)


def _draw_loss(axes: "Axes", rows: Sequence[Mapping[str, float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], color=LOSS_COLOUR)
    losses = [row["loss"] for row in rows if row["loss"] > 0]
    if losses and max(losses) > MOST_LINEAR * min(losses):
        axes.set_yscale("log")
    axes.set_ylabel("training loss")
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3, which="both")
