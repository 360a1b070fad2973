"""Names, sidecars and tables of the derivatives, written and read back.

What a number means is said here once, as a column; how it is computed is not known here.
"""
