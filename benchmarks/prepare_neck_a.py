"""Write the label map of neck A, as it was drawn, in the form in which the package learns from it.

    python benchmarks/prepare_neck_a.py neckA_dseg.nii.gz OUT_FOLDER

The map was drawn on eleven slices, 7.5 mm apart, of which nine are labelled. Bone is divided into
vertebrae and discs by the level of each slice, and into jaw; the front of the neck, where nothing
was drawn, is closed by soft tissue.
"""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import label as components

NAMES = (
    "right_multifidus_semispinalis_cervicis", "left_multifidus_semispinalis_cervicis",
    "right_longus_colli_longus_capitis", "left_longus_colli_longus_capitis",
    "right_splenius_capitis", "left_splenius_capitis",
    "right_semispinalis_capitis", "left_semispinalis_capitis",
    "right_sternocleidomastoid", "left_sternocleidomastoid",
    "right_trapezius", "left_trapezius", "right_levator_scapulae", "left_levator_scapulae",
)  # fmt: skip
OTHERS = {
    21: "vertebra_C1", 22: "vertebra_C2", 23: "vertebra_C3", 24: "vertebra_C4", 25: "vertebra_C5",
    31: "intervertebral_disc", 33: "mandible", 40: "spinal_cord", 41: "canal_csf",
    60: "other_muscle", 61: "vessel", 62: "airway", 70: "subcutaneous_fat_and_skin",
    71: "other_soft_tissue",
}  # fmt: skip
# Level of each slice; between two vertebrae a disc lies in front of the canal, and what lies beside
# and behind it belongs to the lower one.
VERTEBRA = {1: 25, 2: 25, 3: 24, 4: 24, 5: 24, 6: 23, 7: 23, 8: 22, 9: 21}
DISC_SLICES = (2, 5, 7)
BONE, CORD, CANAL, JAW, DISC, SOFT_TISSUE = 50, 40, 41, 33, 31, 71
BODY_HALF_WIDTH_MM, JAW_AHEAD_MM = 12.0, 18.0
MARGIN = 56  # voxels of air in plane, for persons with more fat below the skin
GAP = 12  # voxels behind the end of the drawing that are closed too
FRONT_SHARE = 0.32  # depth of the front, of the width where the drawing ends


def divide_bone(plane: np.ndarray, k: int, spacing_mm: float) -> None:
    """Name the bone of a slice; in place."""
    canal = np.argwhere(np.isin(plane, (CORD, CANAL)))
    x, y = canal.mean(axis=0)
    parts, count = components(plane == BONE)
    for part in range(1, count + 1):
        at = np.argwhere(parts == part)
        ahead = (at[:, 1].mean() - y) * spacing_mm
        aside = abs(at[:, 0].mean() - x) * spacing_mm
        jaw = ahead > JAW_AHEAD_MM and aside > 2 * BODY_HALF_WIDTH_MM
        plane[parts == part] = JAW if jaw else VERTEBRA[k]
    if k in DISC_SLICES:
        gx, gy = np.indices(plane.shape)
        body = (gy > canal[:, 1].max()) & (abs(gx - x) * spacing_mm < BODY_HALF_WIDTH_MM)
        plane[body & (plane == VERTEBRA[k])] = DISC


def close_front(plane: np.ndarray) -> None:
    """Put a half ellipse of soft tissue before the place where the drawing ends; in place."""
    drawn = np.argwhere(plane > 0)
    last = drawn[:, 1].max()
    edge = drawn[drawn[:, 1] >= last - 1][:, 0]
    middle, half = (edge.min() + edge.max()) / 2, (edge.max() - edge.min()) / 2
    x, y = np.indices(plane.shape)
    depth = 2 * half * FRONT_SHARE
    inside = ((x - middle) / half) ** 2 + ((y - last) / depth) ** 2 <= 1
    front = inside & (y > last)
    behind = (plane > 0).cumsum(axis=1) > 0
    gap = behind & (y <= last) & front.any(axis=1)[:, None] & (y > last - GAP)
    plane[(front | gap) & (plane == 0)] = SOFT_TISSUE


def main(source: Path, folder: Path) -> None:
    """Read, divide, close, write map and table."""
    image = nib.as_closest_canonical(nib.load(source))
    labels = np.asarray(image.dataobj).astype(np.uint8)
    spacing_mm = float(image.header.get_zooms()[0])
    drawn = np.flatnonzero((labels > 0).any(axis=(0, 1)))
    for k in drawn:
        divide_bone(labels[..., k], int(k), spacing_mm)
    labels = np.pad(labels, [(MARGIN,) * 2] * 2 + [(0, 0)])
    for k in drawn:
        close_front(labels[..., k])
    kept = labels[..., drawn[0] : drawn[-1] + 1]
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (-MARGIN, -MARGIN, drawn[0])
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(kept, affine), folder / "neckA_dseg.nii.gz")
    rows = [*enumerate(NAMES, 1), *OTHERS.items()]
    present = set(np.unique(kept).tolist())
    lines = ["index\tname", *(f"{index}\t{name}" for index, name in rows if index in present)]
    (folder / "neckA_dseg.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
