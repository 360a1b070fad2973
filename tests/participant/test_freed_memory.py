"""Freed arrays stay in the process for the next ones."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import resource, sys
import numpy as np
from bids_mfi.participant import freed_memory
if sys.argv[1] == "keep":
    freed_memory.keep_freed_memory()
def count():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.empty(40 * 2**20, dtype=np.int8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
count()
print(count())
"""


def count_faults(word):
    """Count the pages that a process gets for large arrays, after it had the same ones before."""
    words = [sys.executable, "-c", CODE, word]
    root = Path(__file__).parents[2]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=root)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_pages_are_used_again():
    assert count_faults("keep") < 4
    assert count_faults("plain") >= 4 * 20  # of 2 MB each, or smaller
