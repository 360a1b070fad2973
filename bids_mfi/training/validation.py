"""Dice on the validation cases, and the training log."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bids_mfi.errors import MFIError
from bids_mfi.measure.overlap import dice_by_muscle
from bids_mfi.muscles import MuscleTable
from bids_mfi.network.engine_torch import TorchEngine
from bids_mfi.network.segment import label_channels
from bids_mfi.options import TrainOptions
from bids_mfi.storage import write_atomically
from bids_mfi.training.batches import DICE_NAMES, TrainingData, channels_of
from bids_mfi.training.checks import LOG
from bids_mfi.training.state import Progress


def diverged(step: int, finding: str) -> MFIError:
    """Make the error for a diverged training."""
    return MFIError(
        f"The training diverged at step {step}: {finding}, expected finite numbers. The last "
        "checkpoint and its bundle, if any, are kept. Train with a lower --learning-rate "
        "into a new folder; if that does not help, look for damaged scans."
    )


def validate(progress: Progress, data: TrainingData, options: TrainOptions, loss: float) -> str:
    """Segment the validation cases, record log row and best weights, and return a line to show.

    Raises
    ------
    MFIError
        A weight is not finite.
    """
    state = progress.result.state_dict()
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise diverged(progress.step, "weights are not finite")
    dice = validation_dice(progress, data)
    mean = float(np.nanmean(list(dice.values())))
    row = {"step": progress.step, "seconds": round(progress.seconds, 1), "loss": loss}
    row |= {"dice_mean": mean}
    row |= {f"dice_{m.abbreviation}": dice[m.index] for m in data.table}
    progress.rows.append(row)
    if mean >= progress.best_dice or not progress.best_state:
        progress.best_dice = mean
        progress.best_state = {name: tensor.detach().clone() for name, tensor in state.items()}
    return describe_progress(progress, options, DICE_NAMES[data.validated_on])


def describe_progress(progress: Progress, options: TrainOptions, dice_name: str) -> str:
    """Format the newest row of the log, with the maximum remaining time."""
    row = progress.rows[-1]
    lowest = np.nanmin([value for key, value in row.items() if key.startswith("dice_")])
    dice = f"{dice_name} {row['dice_mean']:.3f} (lowest muscle {lowest:.3f})"
    if progress.step == 0:
        return f"before the first step  {dice}"
    left = progress.seconds / progress.step * (options.steps - progress.step)
    return (
        f"step {progress.step}/{options.steps}  loss {row['loss']:.3f}  {dice}  "
        f"{progress.seconds:.0f} s, at most {left:.0f} s left"
    )


def validation_dice(progress: Progress, data: TrainingData) -> dict[int, float]:
    """Compute the mean Dice per muscle over the validation cases that contain it; NaN without any.

    Validation omits mirror images, which would double its time.
    """
    engine = TorchEngine(progress.result.eval())
    bundle = replace(progress.draft, mirrored=False)
    values: dict[int, list[float]] = {muscle.index: [] for muscle in data.table}
    for case in data.validation:
        labels = label_channels(channels_of(case), bundle, engine)
        held = np.unique(case.labels)
        for index, value in dice_by_muscle(labels, case.labels, data.table).items():
            if index in held:
                values[index].append(value)
    return {index: float(np.mean(found)) if found else math.nan for index, found in values.items()}


def has_plateaued(rows: Sequence[Mapping[str, float]], options: TrainOptions) -> bool:
    """Check whether the last ``patience`` validations did not improve the mean Dice.

    >>> rows = [{"dice_mean": value} for value in (0.5, 0.7, 0.7, 0.69)]
    >>> [has_plateaued(rows, TrainOptions(patience=n)) for n in (None, 2, 3)]
    [False, True, False]
    """
    if options.patience is None:
        return False
    best, since = -math.inf, 0
    for row in rows:
        if row["dice_mean"] > best + options.min_delta:
            best, since = row["dice_mean"], 0
        else:
            since += 1
    return since >= options.patience


def write_log(progress: Progress, table: MuscleTable, out_dir: Path) -> None:
    """Write ``log.tsv``: one row per validation, with the Dice of every muscle."""
    columns = ["step", "seconds", "loss", "dice_mean"]
    columns += [f"dice_{muscle.abbreviation}" for muscle in table]
    lines = ["\t".join(columns)]
    lines += ["\t".join(write_log_number(row[c]) for c in columns) for row in progress.rows]
    write_atomically(out_dir / LOG, ("\n".join(lines) + "\n").encode())


def write_log_number(value: float) -> str:
    """Format a number with six digits, or as ``n/a`` if it cannot be measured.

    The loss before the first step and the Dice of a muscle absent from all validation cases cannot
    be measured.

    >>> write_log_number(0.25), write_log_number(math.nan)
    ('0.25', 'n/a')
    """
    return f"{value:.6g}" if math.isfinite(value) else "n/a"
