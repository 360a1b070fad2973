"""The dense V-Net, its bundles, and labels from images; without BIDS or nipype.

The architecture, the format of a bundle, the preparation of intensities, all kinds of inference and
the engines that compute them belong here. Other folders segment through ``segment``.
"""
