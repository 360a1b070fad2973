"""The model that Weber et al. 2021 published for NiftyNet: reading and converting its files.

TensorFlow's format and the published settings belong here. The pipeline that a converted bundle
runs in is ``network.niftynet_pipeline``.
"""
