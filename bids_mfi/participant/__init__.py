"""The participant level: scans in, derivatives and pages out.

A nipype graph runs the steps of every scan; what they compute lies in the rooms below.
"""
