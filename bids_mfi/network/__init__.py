"""The dense V-Net, its bundles, and labels from images; nothing here knows BIDS or nipype.

``bundle`` is a bundle as a value, ``bundle_files`` reads and writes it; ``inference`` chooses how
images are given to the network, ``segment`` is what other rooms call.
"""
