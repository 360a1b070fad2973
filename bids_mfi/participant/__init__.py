"""The participant level: from scans to derivatives and pages.

A nipype graph runs the steps of every scan; other packages implement the steps.
"""
