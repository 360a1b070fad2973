"""Two raters, or a model and the truth, compared.

``pairing`` finds what belongs together, ``scans`` measures one scan, ``summary`` makes the tables
of Weber et al. 2021 of many, ``groups`` the figures of groups of scans, ``outputs`` writes them,
``run`` is the order in which this happens.
"""

from bids_mfi.evaluation.run import Comparison, compare_tables, evaluate_folders

__all__ = ["Comparison", "compare_tables", "evaluate_folders"]
