"""Work in threads: the results and the failure that one thread would give."""

import threading
import time

import pytest

from bids_mfi.threads import call_in_threads, map_in_threads


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_results_are_in_the_order_of_the_items(threads):
    def late(number):
        time.sleep(0.02 * (3 - number))
        return number * 10

    assert map_in_threads(late, range(4), threads) == [0, 10, 20, 30]
    assert map_in_threads(late, [], threads) == []


def test_two_threads_work_at_once():
    """Each waits until the other has come."""
    meeting = threading.Barrier(2, timeout=60)
    assert sorted(call_in_threads([meeting.wait, meeting.wait], 2)) == [0, 1]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_failure_in_the_order_of_the_items_counts(threads):
    begun = []

    def fail(word, wait_s):
        begun.append(word)
        time.sleep(wait_s)
        raise ValueError(word)

    with pytest.raises(ValueError, match="first"):
        call_in_threads([lambda: fail("first", 0.1), lambda: fail("second", 0)], threads)
    assert begun == (["first"] if threads == 1 else ["first", "second"])
