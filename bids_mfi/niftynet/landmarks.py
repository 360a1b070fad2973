"""Intensity landmarks of the published model, read and checked."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np

from bids_mfi.errors import ConversionError
from bids_mfi.network.niftynet_pipeline import LANDMARKS
from bids_mfi.niftynet.settings import CLASSES, IMAGES, Settings, own_folder
from bids_mfi.niftynet.tensor_bundle import read_file

Landmarks = tuple[tuple[float, ...], ...]


def find_landmarks(model_dir: Path, settings: Settings) -> Path:
    """Find the file of landmarks that the settings name."""
    name = Path(settings.landmarks_file).name
    folders = (own_folder(model_dir, settings), model_dir, *sorted(model_dir.glob("*/")))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise ConversionError(
        f"{model_dir / name}: no such file, nor in a folder beside it. Expected the intensity "
        "landmarks that inference.ini names as histogram_ref_file."
    )


def read_landmarks(path: Path) -> Landmarks:
    """Read the intensity landmarks of both images, thirteen each, as float32 numbers.

    Raises
    ------
    ConversionError
        An image is missing, it does not have thirteen numbers that never decrease, or labels are
        renamed.
    """
    try:
        rows = {words[0]: words[1:] for words in map(str.split, lines(path)) if words}
        numbers = {name: [float(word) for word in words] for name, words in rows.items()}
    except ValueError as error:
        raise ConversionError(
            f"{path}: is not a file of landmarks ({error}). Expected a name and numbers in each "
            "line."
        ) from error
    for name, values in numbers.items():
        if name.endswith(("-from", "-to")) and values != list(range(CLASSES)):
            raise ConversionError(
                f"{path}: {name} renames labels, expected 0 to {CLASSES - 1} in their order."
            )
    return tuple(_landmarks_of(path, image, numbers.get(image, [])) for image in IMAGES)


def lines(path: Path) -> list[str]:
    """Read the lines of a text file of the model."""
    return read_file(path).decode().splitlines()


def _landmarks_of(path: Path, image: str, values: list[float]) -> tuple[float, ...]:
    rising = len(values) > 1 and all(a <= b for a, b in pairwise(values)) and values[0] < values[-1]
    if len(values) != LANDMARKS or not rising or not all(map(math.isfinite, values)):
        raise ConversionError(
            f"{path}: {image} has {len(values)} landmarks {values}, expected {LANDMARKS} that "
            "never decrease. Fetch the file again."
        )
    return tuple(float(np.float32(value)) for value in values)
