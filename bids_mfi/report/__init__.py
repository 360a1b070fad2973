"""Figures and HTML pages of participants, cohorts, evaluations and trainings.

A file here turns finished values and images into pictures, words and pages; it computes no measure.
"""
