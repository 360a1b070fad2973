"""Measures of one scan: fat and water, volume, levels, flags and overlap; arrays in, values out.

No files of results, no pages and no frameworks.
"""
