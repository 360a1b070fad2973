"""Muscle fat infiltration of the neck from Dixon MRI, as a BIDS App."""

__version__ = "0.1.0"
