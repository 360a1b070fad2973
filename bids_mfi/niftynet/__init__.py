"""The model that Weber et al. 2021 published for NiftyNet: reading and converting its files.

The pipeline that such a bundle runs in is ``network.niftynet_pipeline``.
"""
