"""Slopes of the stored values that vendors write.

Philips scanners scale each image for display by slopes of its own. dcm2niix writes them into the
sidecar; if it does not undo them, the two images of a pair have different scales.
"""

import math
from collections.abc import Mapping

SLOPE_FIELDS = (
    "PhilipsScaleSlope", "PhilipsRescaleSlope", "PhilipsRWVSlope", "RescaleSlope", "ScaleSlope",
    "RealWorldValueSlope",
)  # fmt: skip


def find_shared_slopes(
    in_phase: Mapping[str, object], out_phase: Mapping[str, object]
) -> tuple[tuple[str, float, float], ...]:
    """Slopes above 0 that both sidecars give: field, in phase, out of phase.

    Examples
    --------
    >>> find_shared_slopes({"PhilipsScaleSlope": 0.5}, {"PhilipsScaleSlope": 0.25})
    (('PhilipsScaleSlope', 0.5, 0.25),)
    >>> find_shared_slopes({"RescaleSlope": 1}, {})
    ()
    """
    found = (
        (name, _slope(in_phase.get(name)), _slope(out_phase.get(name))) for name in SLOPE_FIELDS
    )
    return tuple((name, into, out) for name, into, out in found if into and out)


def _slope(value: object) -> float:
    """Read a slope; 0 where the value is not one. Other programs' JSON may hold a number as text.

    >>> _slope("0.5"), _slope(True), _slope(-1), _slope("x")
    (0.5, 0.0, 0.0, 0.0)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0.0
    try:
        slope = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return slope if math.isfinite(slope) and slope > 0 else 0.0
