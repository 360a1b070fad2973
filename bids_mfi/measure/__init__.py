"""Measures and checks of one scan: its image pair, fat and water, volume, levels, flags, overlap.

A file here turns images, signals or labels into values and findings, and writes no file.
"""
