"""Training and tuning of a model bundle: recipes, cases, loop and the bundle that is written.

Networks and segmentation are in ``network``, synthetic scans in ``synthesis``.
"""
