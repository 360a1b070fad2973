"""Make the small reference files of this folder; see README.md.

Usage: python make_niftynet_reference.py REFERENCE_DIR, where REFERENCE_DIR holds ``end_to_end/``,
``preprocessing/`` and ``author_model/`` as README.md describes them.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

STEPS = (slice(None, None, 7), slice(None, None, 7), slice(None, None, 3))
IMAGES = tuple(
    f"{size}_{name}.nii.gz" for size in ("small", "full") for name in ("ip", "op", "seg_expected")
)


def main(reference: Path, out: Path) -> None:
    """Copy the images and labels, keep every seventh voxel of the stages."""
    for name in IMAGES:
        shutil.copyfile(reference / "end_to_end" / name, out / name)
    for name in ("ip.nii.gz", "op.nii.gz"):
        shutil.copyfile(reference / "preprocessing" / name, out / f"stages_{name}")
    with np.load(reference / "preprocessing" / "stages.npz") as stages:
        thinned = {
            name: stages[name][STEPS] for name in ("resampled", "padded", "hist", "whitened")
        }
        mask = stages["mask"]
    np.savez_compressed(
        out / "stages.npz", mask=np.packbits(mask), mask_shape=np.array(mask.shape), **thinned
    )
    lines = (reference / "author_model" / "standardisation_models.txt").read_text().splitlines()
    rows = [np.array(line.split()[1:], dtype=np.float32) for line in lines[:2]]
    np.save(out / "landmarks.npy", np.stack(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
