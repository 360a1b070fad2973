"""Training and tuning of a model bundle: recipes, cases, training loop and resulting bundle.

Networks and segmentation are in ``network``, synthetic scans in ``synthesis``.
"""
