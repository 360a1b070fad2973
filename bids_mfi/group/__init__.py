"""The group level from OUTPUT_DIR's tables to its statistics and report; decodes no image."""

from bids_mfi.group.run import GroupSummary, check_group, run_group

__all__ = ["GroupSummary", "check_group", "run_group"]
