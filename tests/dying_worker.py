"""A process that makes cases dies while a case is half sent; prints what is told of it.

Run by ``test_train.py`` as a program of its own, so that a training that waits for ever can be
stopped.
"""

import os
import signal
import sys
from multiprocessing.connection import Connection

import numpy as np

from bids_mfi.errors import MFIError
from bids_mfi.options import TrainOptions
from bids_mfi.training import batches

MAIN = os.getpid()
LARGE_BYTES = 1_000_000
SENT_BYTES = 40_000  # less than a pipe holds, so that writing them does not wait


def prepare(options: object, data: object, draft: object, number: int) -> batches.Arrays:
    """Take the place of ``prepare_case``: the second case is large."""
    size = 64 if number else 8
    return np.zeros((2, size, size, size), np.float32), np.zeros((size, size, size), np.int16)


def send_half(connection: Connection, buffer: memoryview) -> None:
    """Take the place of what sends a message: with a large one the process dies on the way."""
    if os.getpid() != MAIN and len(buffer) > LARGE_BYTES:
        os.write(connection.fileno(), buffer[:SENT_BYTES])
        os.kill(os.getpid(), signal.SIGKILL)
    SEND(connection, buffer)


def main() -> int:
    """Print the error; 1 if there was none."""
    options = TrainOptions(workers=1)
    try:
        with batches.name_dead_workers():
            for _ in batches.iterate_batches(options, None, None, range(4)):  # type: ignore[arg-type]
                pass
    except MFIError as error:
        print("told:", error)
        return 0
    print("nothing was told")
    return 1


if __name__ == "__main__":
    SEND = Connection._send  # type: ignore[attr-defined]
    Connection._send = send_half  # type: ignore[attr-defined]
    batches.prepare_case = prepare  # type: ignore[assignment]
    sys.exit(main())
