"""The dense V-Net, its bundles, and labels from images; without BIDS or nipype.

``bundle`` is a bundle as a value, ``bundle_files`` reads and writes it; ``inference`` chooses how
images are given to the network, ``segment`` is the entry point for other folders.
"""
