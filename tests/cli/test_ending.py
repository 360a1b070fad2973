"""The end of the program: its status, and what was printed, as Python's own end would leave it."""

import subprocess
import sys

import pytest

CODE = """
import atexit, sys, threading, time
from bids_mfi.cli.ending import end_process
class Late:
    def __del__(self):
        print("taken apart", flush=True)
kept = Late()
atexit.register(lambda: print("handler", flush=True))
print("no end of line", end="")
{first}
end_process({status})
"""


def end(status, first="", **options):
    words = [sys.executable, "-c", CODE.format(status=status, first=first)]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("status", [0, 1, 143])
def test_what_was_printed_arrives_and_nothing_is_taken_apart(status):
    done = end(status)
    assert (done.returncode, done.stdout) == (status, "no end of linehandler\n")


def test_a_thread_that_is_left_is_waited_for():
    wait = "threading.Thread(target=lambda: (time.sleep(0.2), print('thread', flush=True))).start()"
    done = end(3, wait)
    assert done.returncode == 3
    assert "thread\n" in done.stdout


def test_closed_streams_do_not_change_the_status():
    assert end(4, "sys.stdout = sys.stderr = None").returncode == 4


def test_a_full_disk_is_left_to_python():
    """It says so, with its own status."""
    found = []
    for last in ("end_process(0)", "sys.exit(0)"):
        code = CODE.format(status=0, first="").replace("end_process(0)", last)
        with open("/dev/full", "w") as full:
            words = [sys.executable, "-c", code]
            done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
        found.append(done.returncode)
        assert "No space left on device" in done.stderr
    assert found[0] == found[1] != 0
