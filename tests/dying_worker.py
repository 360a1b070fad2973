"""A process that makes cases is killed while a large case is half sent; prints what is told.

Run by ``test_train.py``. The second case comes late, so that the training waits for it and reads
it at once; it is much larger than what a pipe holds.
"""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread

import numpy as np

from bids_mfi.errors import MFIError
from bids_mfi.network import batches
from bids_mfi.options import TrainOptions


def prepare_slowly(options: object, data: object, draft: object, number: int) -> batches.Arrays:
    """Take the place of ``prepare_case``."""
    time.sleep(1.0 if number else 0.0)
    size = 400 if number else 8
    return np.zeros((2, size, size, 200), np.float32), np.zeros((size, size, 200), np.int16)


def is_sending(pid: int) -> bool:
    """Whether a thread of the process waits for room in a pipe."""
    tasks = Path(f"/proc/{pid}/task").glob("*/wchan")
    return any("pipe_write" in task.read_text() for task in tasks)


def kill_sender() -> None:
    """Kill the first process that is seen sending."""
    while True:
        for process in multiprocessing.active_children():
            if process.pid and is_sending(process.pid):
                os.kill(process.pid, signal.SIGKILL)
                return
        time.sleep(0.0005)


def main() -> int:
    """Print the error; 1 if there was none."""
    batches.prepare_case = prepare_slowly  # type: ignore[assignment]
    options = TrainOptions(workers=1)
    try:
        with batches.name_dead_workers():
            for step, _ in enumerate(batches.iterate_batches(options, None, None, range(4))):  # type: ignore[arg-type]
                if step == 0:
                    Thread(target=kill_sender, daemon=True).start()
    except MFIError as error:
        print("told:", error)
        return 0
    print("nothing was told")
    return 1


if __name__ == "__main__":
    sys.exit(main())
