"""The error tree and its exit statuses.

::

    MFIError                 exit status 1   a scan failed, or any other error
    |- UsageError                        2   an option that cannot be used here
    |- InputError                        3   the user's data
    |  |- DatasetError                       the dataset as a whole
    |  `- PairError                          one scan: its in-phase and out-of-phase images
    |- BundleError                       4   the model
    |  `- ConversionError                    a published checkpoint that cannot be imported
    `- OutputError                       5   cannot write, or would overwrite

A message says what was found, what was expected and what to do. Only ``cli`` and
``participant.workflow`` catch these errors, print them or exit.
"""


class MFIError(Exception):
    """An error whose message is written for the person who runs the program."""

    exit_code = 1


class UsageError(MFIError):
    """An option cannot be used: it is wrong, or this machine lacks what it needs."""

    exit_code = 2


class InputError(MFIError):
    """The user's data cannot be used as they are."""

    exit_code = 3


class DatasetError(InputError):
    """The dataset as a whole cannot be used."""


class PairError(InputError):
    """One scan cannot be used; the others can."""


class BundleError(MFIError):
    """The model bundle is incomplete, changed or unsuitable."""

    exit_code = 4


class ConversionError(BundleError):
    """A published checkpoint cannot be imported."""


class OutputError(MFIError):
    """A result cannot be written, or an earlier one would be overwritten."""

    exit_code = 5
