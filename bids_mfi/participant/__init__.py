"""The participant level: scans in, derivatives and pages out.

A nipype graph runs the steps of every scan; what they compute is in the folders below.
"""
