"""The evaluation flow: two raters, or a model and the truth, compared.

The pairing of scans, the comparison of one scan and the tables and files of many belong here.
"""

from bids_mfi.evaluation.run import Comparison, compare_tables, evaluate_folders

__all__ = ["Comparison", "compare_tables", "evaluate_folders"]
