"""Search of a BIDS dataset for scans: names, sidecars and queries in, image pairs out.

A naming convention, a rule that identifies a contrast and a rule that joins images belong here. The
order of the rules is in docs/decisions/discovery.md.

- Files: ``listing`` of folders, ``sidecars``, ``inheritance``, ``metadata`` (the same through
  PyBIDS), ``sidecar_values``, ``series`` (4-D files), ``slopes``, ``field_strength``.
- One image: ``naming`` and ``phrases`` (conventions as data), ``filters`` (the user's file),
  ``bystanders`` (files that are not images of a scan), ``classify`` (its contrast).
- Several images: ``glued``, ``hints``, ``groups``, ``echoes``, ``acquisition``, ``reunion``,
  ``grouping`` (all these steps), ``pair`` (scans), ``dataset`` (the search).
- Words: ``describe``, ``explain``, ``suggest`` (filter files to print).
"""

from bids_mfi.discovery.dataset import find_scans, list_participants_without_scans
from bids_mfi.discovery.describe import describe_as_json, describe_as_table
from bids_mfi.discovery.pair import UnusableScan

__all__ = [
    "UnusableScan",
    "describe_as_json",
    "describe_as_table",
    "find_scans",
    "list_participants_without_scans",
]
