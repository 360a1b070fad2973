"""Paths in sentences of a page that may be shared.

Messages name files with their full path, which can reveal names of people, machines and projects.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

# From a slash that begins a word to the last one of the same word.
_FOLDERS = re.compile(r"(?<![^\s'\"(\[=:,;])/(?:[^\s/:;,'\"()\[\]]+/)+")


def shorten_paths(text: str, folders: Mapping[str, Path | None]) -> str:
    r"""Show paths relative to known folders, and only the last name of other absolute paths.

    Parameters
    ----------
    text : str
        A sentence for a person.
    folders : mapping of str to Path or None
        Name that replaces each folder.

    Examples
    --------
    >>> folders = {"BIDS_DIR": Path("/home/ann/my data"), "OUTPUT_DIR": Path("/out")}
    >>> shorten_paths("/home/ann/my data/sub-01/a.nii: broken, see /opt/x/b.txt.", folders)
    'sub-01/a.nii: broken, see .../b.txt.'
    >>> shorten_paths("/out: is full. F = (IP - OOP) / 2", folders)
    'OUTPUT_DIR: is full. F = (IP - OOP) / 2'
    """
    known = {
        spelt: name
        for name, path in (*folders.items(), ("~", Path.home()))
        if path is not None
        for spelt in (str(path), os.path.realpath(path))
        if len(spelt) > 1
    }
    for spelt in sorted(known, key=len, reverse=True):
        name = known[spelt]
        inside = "" if name in folders else f"{name}/"
        text = text.replace(f"{spelt}/", inside)
        text = re.sub(rf"{re.escape(spelt)}(?![\w.-])", name, text)
    return _FOLDERS.sub(".../", text)
