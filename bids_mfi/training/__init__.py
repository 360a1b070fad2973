"""Training and tuning of a model bundle: recipes, cases, training loop and resulting bundle.

What a training needs and a run does not belongs here; networks are in ``network``, synthetic scans
in ``synthesis``.
"""
