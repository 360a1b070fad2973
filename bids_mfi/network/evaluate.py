"""How right a bundle is on scans with known labels; must not know where the cases come from."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from bids_mfi.agreement import dice_by_muscle
from bids_mfi.dixon import fat_and_water
from bids_mfi.muscles import MuscleTable
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.segment import segment_scan
from bids_mfi.network.train import Case
from bids_mfi.quantify import measure_muscles


@dataclass(frozen=True, slots=True)
class MuscleScore:
    """One muscle over many scans; NaN where it was in none of them.

    Attributes
    ----------
    index : int
    muscle, hemi : str
    scans : int
        Scans that hold the muscle.
    missed : int
        Of these, scans in which the network labelled no voxel of it.
    dice_mean, dice_min : float
        Of predicted and true labels; 0 for a missed muscle.
    mfi_error_mean, mfi_error_mean_abs, mfi_error_max_abs : float
        MFI of the predicted less that of the true labels on the same images, percentage points,
        over the scans in which it was not missed.
    volume_ratio_mean : float
        Predicted by true volume; 0 for a missed muscle.
    """

    index: int
    muscle: str
    hemi: str
    scans: int
    missed: int
    dice_mean: float
    dice_min: float
    mfi_error_mean: float
    mfi_error_mean_abs: float
    mfi_error_max_abs: float
    volume_ratio_mean: float


def evaluate_bundle(
    bundle: ModelBundle, cases: Iterable[Case], device: torch.device
) -> list[MuscleScore]:
    """Segment every case as a scan is segmented and compare it with its labels.

    Parameters
    ----------
    bundle : ModelBundle
    cases : iterable of Case
        On any grid.
    device : torch.device

    Returns
    -------
    list of MuscleScore
        In the order of the bundle's table.

    Raises
    ------
    ValueError
        There is no case.
    """
    rows = [
        compare_labels(
            segment_scan(case.in_phase, case.out_phase, case.grid, bundle, device),
            case,
            bundle.table,
        )
        for case in cases
    ]
    if not rows:
        raise ValueError("an evaluation needs at least one case")
    return summarise(np.stack(rows), bundle.table)


def compare_labels(
    predicted: NDArray[np.int16], case: Case, table: MuscleTable
) -> NDArray[np.float64]:
    """Dice, MFI error in percentage points and volume ratio of every muscle of one scan.

    Returns
    -------
    ndarray of float64, shape (muscles, 3)
        NaN for a muscle that the scan does not hold; an MFI error of NaN for a missed one.
    """
    images = case.in_phase.astype(np.float64), case.out_phase.astype(np.float64)
    fat, water = fat_and_water(*images)
    volume_ml = case.grid.voxel_volume_ml
    found = measure_muscles(predicted, water, fat, volume_ml, table)
    truth = measure_muscles(case.labels, water, fat, volume_ml, table)
    dice = dice_by_muscle(predicted, case.labels, table)
    rows = np.full((len(table), 3), np.nan)
    for row, ours, true in zip(rows, found, truth, strict=True):
        if true.voxels:
            error = ours.mfi_percent - true.mfi_percent
            row[:] = dice[true.index], error, ours.voxels / true.voxels
    return rows


def summarise(rows: NDArray[np.float64], table: MuscleTable) -> list[MuscleScore]:
    """Scores over scans from rows of shape (scans, muscles, 3) of :func:`compare_labels`."""
    scores = []
    for position, muscle in enumerate(table):
        held = rows[:, position][np.isfinite(rows[:, position, 0])]
        dice, volume_ratio = held[:, 0], held[:, 2]
        error = held[:, 1][np.isfinite(held[:, 1])]
        scores.append(
            MuscleScore(
                index=muscle.index,
                muscle=muscle.muscle,
                hemi=muscle.hemi,
                scans=len(held),
                missed=int(np.count_nonzero(volume_ratio == 0)),
                dice_mean=_mean(dice),
                dice_min=float(dice.min()) if dice.size else float("nan"),
                mfi_error_mean=_mean(error),
                mfi_error_mean_abs=_mean(np.abs(error)),
                mfi_error_max_abs=float(np.abs(error).max()) if error.size else float("nan"),
                volume_ratio_mean=_mean(volume_ratio),
            )
        )
    return scores


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")


def format_scores(scores: list[MuscleScore]) -> str:
    """Scores as tab-separated text with a header; ``n/a`` for NaN."""
    names = [field.name for field in fields(MuscleScore)]
    lines = ["\t".join(names)]
    for score in scores:
        cells = []
        for value in (getattr(score, name) for name in names):
            missing = isinstance(value, float) and np.isnan(value)
            shown = f"{value:.3f}" if isinstance(value, float) else str(value)
            cells.append("n/a" if missing else shown)
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"
