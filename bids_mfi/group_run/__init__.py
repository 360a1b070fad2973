"""The group level from OUTPUT_DIR's tables to its statistics and report; opens no image."""

from bids_mfi.group_run.run import GroupSummary, describe_collection, run_group

__all__ = ["GroupSummary", "describe_collection", "run_group"]
