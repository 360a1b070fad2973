"""The model that Weber et al. 2021 published for NiftyNet: its files are read and converted here.

The pipeline that such a bundle runs in is ``network.niftynet_pipeline``.
"""
