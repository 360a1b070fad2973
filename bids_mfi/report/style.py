"""Common style of the SVG figures."""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Names inside the file do not change from run to run.
HASH_SALT = "bids_mfi"
INK, PALE = "#30363d", "#b8bec6"
LEAST_SPAN = 1e-3
MARGIN = 0.08
STYLE: dict[Any, Any] = {
    "svg.hashsalt": HASH_SALT,
    "svg.fonttype": "path",
    # The name of a muscle may hold a dollar sign.
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def use_style() -> AbstractContextManager[None]:
    """Draw in this style, whatever a user's own settings are."""
    from matplotlib import style

    return style.context(["default", STYLE], after_reset=True)


def encode_svg(figure: "Figure") -> bytes:
    """Encode as SVG without date or program name."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def choose_limits(values: Sequence[float]) -> tuple[float, float]:
    """Choose the ends of an axis, a little beyond the values.

    Examples
    --------
    >>> choose_limits([0.0, 100.0])
    (-8.0, 108.0)
    """
    if not len(values):
        return 0.0, 1.0
    low, high = min(values), max(values)
    span = max(high - low, LEAST_SPAN * max(1.0, abs(high)))
    return low - MARGIN * span, high + MARGIN * span
