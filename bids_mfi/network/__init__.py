"""The dense V-Net and all that surrounds it: intensity, bundles, segmentation, training.

Only this package imports torch together with ``synthesis``; nothing here knows BIDS or nipype.
"""
