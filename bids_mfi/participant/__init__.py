"""The participant level: from scans to derivatives and pages.

The plan of a run, its nipype graph, plugins, failures and work folder belong here; other folders
implement the steps.
"""
