"""BIDS dataset -> scans: every query and naming convention.

Rooms: ``naming`` names and ``phrases`` descriptions as data, ``filters`` the user's filter file,
``bystanders`` files that are not images of a scan, ``classify`` one image's contrast, ``glued``
contrasts that only two names together show, ``hints`` texts that several images share, ``groups``
images by what their names share, ``echoes`` a group's contrasts, ``acquisition`` and ``reunion``
images that a converter numbered, ``grouping`` all these steps, ``suggest`` filter files to print,
``pair`` images joined to scans, ``listing`` what lies in the folders, ``sidecars`` their JSON
files, ``inheritance`` which of them count for an image, ``metadata`` the same through PyBIDS,
``sidecar_values`` values as meant, ``series`` 4-D files, ``dataset`` the search, ``describe`` its
result as text. The order of the rules is in docs/decisions/discovery.md.
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
