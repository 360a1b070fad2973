"""Names, sidecars and tables of the derivatives, written and read back.

The meaning of a number is defined here once, as a column; how it is computed is not.
"""
