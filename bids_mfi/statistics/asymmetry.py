"""Left-right asymmetry of the muscles.

Left is the participant's left, and all differences are left minus right.
"""

import numpy as np
import pandas as pd

from bids_mfi.counts import choose_form, count_noun
from bids_mfi.statistics.cohort import Analysis, Cohort
from bids_mfi.statistics.notes import gather_reasons
from bids_mfi.statistics.side_index import asymmetry_index_percent
from bids_mfi.statistics.student import Floats, describe_differences

ASYMMETRY_COLUMNS = (
    "muscle", "n", "mean_left", "mean_right", "mean_diff", "sd_diff", "t", "df", "p", "ci_lower",
    "ci_upper", "index_percent",
)  # fmt: skip
NAMES = {"mean_first": "mean_left", "mean_second": "mean_right"}


def measure_asymmetry(cohort: Cohort) -> Analysis:
    """Paired t-test of left minus right, two-tailed, and the asymmetry index of each muscle.

    The index is the mean over participants of :func:`asymmetry_index_percent`.

    Returns
    -------
    Analysis
        ``ASYMMETRY_COLUMNS``, one row per muscle; only participants with both sides. The means and
        differences are in the unit of the measure.
    """
    left, right = (side.to_numpy(np.float64) for side in (cohort.left, cohort.right))
    found = describe_differences(left, right)
    found = {NAMES.get(name, name): column for name, column in found.items()}
    found["index_percent"] = _average_index(left, right)
    table = pd.DataFrame({"muscle": list(cohort.muscles)} | found, columns=list(ASYMMETRY_COLUMNS))
    return Analysis(table, _explain(table, left, right))


def _average_index(left: Floats, right: Floats) -> Floats:
    """Mean index of each column; NaN without a participant whose sides add up to more than 0."""
    return pd.DataFrame(asymmetry_index_percent(left, right)).mean().to_numpy(np.float64)


def _explain(table: pd.DataFrame, left: Floats, right: Floats) -> tuple[str, ...]:
    reasons = []
    both = np.isfinite(left) & np.isfinite(right)
    empty = (both & ~(left + right > 0)).sum(axis=0)
    columns = (table["muscle"], table["n"], table["sd_diff"], empty)
    for muscle, n, sd, zeros in zip(*columns, strict=True):
        if n < 2:
            reason = (
                f"no test, because {count_noun(n, 'participant')} "
                f"{choose_form(n, 'has', 'have')} both sides and 2 are needed"
            )
            reasons.append((muscle, reason))
        elif sd == 0:
            reasons.append((muscle, "no test, because left minus right is the same in all"))
        if zeros:
            people = count_noun(zeros, "participant")
            reason = f"the index leaves out {people} whose sides add up to 0"
            reasons.append((muscle, reason))
    return gather_reasons("Asymmetry", reasons)
