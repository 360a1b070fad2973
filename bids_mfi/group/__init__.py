"""The group level: from the tables of OUTPUT_DIR and the participants to statistics and the report.

Selection and checks of the data, the order of the analyses and the files written belong here; the
formulas are in ``statistics``.
"""

from bids_mfi.group.run import GroupSummary, check_group, run_group

__all__ = ["GroupSummary", "check_group", "run_group"]
