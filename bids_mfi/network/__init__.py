"""The dense V-Net, its bundles, and labels from images; without BIDS or nipype.

The architecture, the format of a bundle, the preparation of intensities and all kinds of inference
belong here. Other folders segment through ``segment``.
"""
