"""Derivatives: their names, columns, sidecars and tables, written and read back.

A file here owns one format or one rule of naming; other folders compute the values.
"""
