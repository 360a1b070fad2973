"""Statistics of a cohort and agreement of raters: tables in, tables out.

A formula, a test, a model or a note on a missing estimate belongs here.
"""
