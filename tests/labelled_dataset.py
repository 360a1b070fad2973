"""Label maps of a dataset with the scans of ``conftest.write_scan``."""

from pathlib import Path

import numpy as np
from conftest import SHAPE, write_nifti


def label_volume() -> np.ndarray:
    """The right multifidus (1) at high x of an array whose first axis points to the right."""
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[20:26, 8:20, 3:9], labels[6:12, 8:20, 3:9] = 1, 2
    return labels


def write_labels(bids_dir: Path, name: str, volume: np.ndarray | None = None, **where) -> Path:
    entities = name.split("_")
    folder = bids_dir / "derivatives" / "labels" / entities[0]
    folder = folder / entities[1] if entities[1].startswith("ses-") else folder
    volume = label_volume() if volume is None else volume
    return write_nifti(folder / "anat" / name, volume, **where)
