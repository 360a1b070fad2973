"""Output of every verb, and exit statuses of errors."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from bids_mfi.errors import MFIError, OutputError
from bids_mfi.signals import Interrupted, end_on_signals

MOST_NAMES = 10  # printed of what was not compared
NOTICE = "Research software, not a medical device."

EXIT_STATUSES = (
    "Exit status: 0 all done; 1 some scans failed, the others are finished; 2 wrong usage, or "
    "something that an option requires is missing; 3 the dataset or other input; 4 the model; 5 "
    "the output folder; 130, 143 or 129 ended by Ctrl-C, SIGTERM or SIGHUP."
)

SPELLING = "Option names accept _ instead of -."


def report_errors(handler: Callable[[], int]) -> int:
    """Call a handler; print the errors meant for the user and return their exit status."""
    try:
        with end_on_signals():
            return handler()
    except MFIError as error:
        print_error(f"bids_mfi: error: {' '.join(str(error).splitlines())}")
        return error.exit_code
    except KeyboardInterrupt as error:
        with suppress(OSError):  # the terminal may be gone
            print_error("bids_mfi: interrupted; results already saved are complete.")
        return error.exit_code if isinstance(error, Interrupted) else 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except OSError as error:
        print_error(f"bids_mfi: error: {_explain_os_error(error)}")
        return OutputError.exit_code


def _explain_os_error(error: OSError) -> str:
    """Explain a problem with a file or folder that nothing more specific has explained."""
    if isinstance(error, PermissionError):
        return (
            f"{error.filename}: this user may not read or write it. Change its permissions, or "
            "name another folder."
        )
    where = error.filename or "a file"
    return (
        f"{where}: cannot be read or written ({error.strerror or error}). Check the disk and the "
        "folders of this call; finished results are kept."
    )


def print_out(text: str) -> None:
    """Print a result; with :func:`print_error` all that this file prints."""
    print(text, flush=True)


def print_error(text: str) -> None:
    """Print an error or a note."""
    print(text, file=sys.stderr, flush=True)


def print_some(lines: Sequence[str], what: str) -> None:
    """Print the first MOST_NAMES lines and how many are left out."""
    for line in lines[:MOST_NAMES]:
        print_error(line)
    if len(lines) > MOST_NAMES:
        print_error(f"{what}: {len(lines) - MOST_NAMES} more, listed in the report")
