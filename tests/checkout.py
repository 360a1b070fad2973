"""Copies of what git holds: a stray file of the checkout cannot hide a fault of packaging."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def copy_tracked(folder, *names):
    """Copy these files and folders, without what git ignores or does not know; edits are copied."""
    command = ["git", "ls-files", "-z", "--", *names]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = [name for name in listed.split("\0") if name and (ROOT / name).exists()]
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return tracked
