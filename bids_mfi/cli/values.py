"""Values of options: text to checked numbers, labels and paths."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bids_mfi.options import HIGHEST_SEED

MOST_DIGITS = len(str(HIGHEST_SEED))


def add_scans(group: "argparse._ArgumentGroup") -> None:
    """Add the options that select participants, sessions and images."""
    group.add_argument(
        "--participant-label",
        nargs="+",
        default=(),
        metavar="LABEL",
        help="restrict the run to these participants, with or without sub-",
    )
    group.add_argument(
        "--session-label",
        "--session-id",
        nargs="+",
        default=(),
        metavar="LABEL",
        help="restrict the run to these sessions, with or without ses-",
    )
    group.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help="JSON file that identifies the images by entities: {query: {entity: value}} with the "
        "queries ip, oop, fat and water; null means without this entity, * means any value",
    )
    group.add_argument(
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="folder in which PyBIDS keeps its index for reuse",
    )
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="accept a dataset without a valid dataset_description.json",
    )


def positive_int(text: str) -> int:
    """Read a whole number from 1."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def seed(text: str) -> int:
    """Read a seed."""
    if not text.isdecimal() or len(text) > MOST_DIGITS or int(text) > HIGHEST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {HIGHEST_SEED}")
    return int(text)


def spacing_mm(text: str) -> float:
    """Read a voxel size, millimetres."""
    value = positive_float(text)
    if not 0.3 <= value <= 20:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.3 and 20 mm")
    return value


def positive_float(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def variation(text: str) -> float:
    """Read how much persons vary."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 2")
    return value


def split_labels(text: str | None) -> tuple[str, ...]:
    """Labels of a text with commas or spaces between them."""
    return tuple((text or "").replace(",", " ").split())


def make_absolute(path: Path | None) -> Path | None:
    """Make a path independent of the current folder, which worker processes do not share."""
    return None if path is None else path.absolute()


def without_dots(path: Path) -> Path:
    """Make a path absolute and free of `..`, which means another folder inside a container."""
    return path.resolve() if ".." in path.parts else path.absolute()


def whole_number(text: str) -> int:
    """Read a whole number from 0."""
    return 0 if text == "0" else positive_int(text)


def one_line(text: str) -> str:
    """Read one line of printable text."""
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("expected one line of text")
    return text


def without_prefix(labels: Sequence[str], prefix: str) -> tuple[str, ...]:
    """Strip the BIDS prefix of labels."""
    return tuple(label.removeprefix(prefix) for label in labels)
