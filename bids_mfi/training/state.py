"""State of a training and its checkpoint."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from bids_mfi.errors import MFIError, OutputError
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.options import TrainOptions
from bids_mfi.reading import open_regular_file
from bids_mfi.storage import write_atomically
from bids_mfi.training.batches import TrainingData

CHECKPOINT = "checkpoint.pt"

# Options that may differ when a training is resumed; `steps` only if it does not affect past steps.
FREE_OPTIONS = (
    "validate_every", "patience", "min_delta", "keep", "mirrored", "device", "workers",
)  # fmt: skip


@dataclass(slots=True)
class Progress:
    """State needed to continue a training, apart from options and data.

    ``averaged`` is the running average of the weights of ``network``, or None. ``draft`` describes
    the new bundle. ``start`` is the bundle the training started from, None for random weights.
    ``rows`` are the rows of the log.
    """

    network: DenseVNet
    optimiser: torch.optim.Adam
    draft: ModelBundle
    start: ModelBundle | None
    bfloat16: bool
    averaged: AveragedModel | None = None
    step: int = 0
    seconds: float = 0.0
    best_dice: float = -1.0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)

    @property
    def result(self) -> DenseVNet:
        """Network that is validated and written to the bundle."""
        return self.network if self.averaged is None else cast(DenseVNet, self.averaged.module)


KEPT = ("bfloat16", "step", "seconds", "best_dice", "best_state", "rows")


def write_checkpoint(
    progress: Progress, options: TrainOptions, data: TrainingData, out_dir: Path
) -> None:
    """Write the state needed to continue a training."""
    content = {
        "options": asdict(options),
        "origin": describe_origin(data, progress.start),
        "network": progress.network.state_dict(),
        "averaged": progress.averaged.state_dict() if progress.averaged else None,
        "optimiser": progress.optimiser.state_dict(),
        "landmarks": [list(row) for row in progress.draft.landmarks],
        **{name: getattr(progress, name) for name in KEPT},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(out_dir / CHECKPOINT, buffer.getvalue())


def describe_origin(data: TrainingData, start: ModelBundle | None) -> dict[str, str]:
    """Describe the training data in words that differ if a resumed training would differ."""
    labels = ", ".join(f"{m.index} {m.name} {m.abbreviation} {m.levels}" for m in data.table)
    # Mirror images count only at inference, so `start` may gain them while a training is stopped.
    weights = replace(start, mirrored=False).identity if start else "random"
    return {**dict(data.ranges), "labels": labels, "start weights": weights}


def read_checkpoint(
    path: Path, options: TrainOptions, data: TrainingData, progress: Progress
) -> None:
    """Load the state of a checkpoint into ``progress``.

    Raises
    ------
    OutputError
        The checkpoint belongs to a training with other options or data, or is damaged.
    """
    try:
        with open_regular_file(path) as file:
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        check_same(path, FORMER_OPTIONS | content["options"], decisive_options(options))
        check_same(path, content["origin"], describe_origin(data, progress.start))
        progress.network.load_state_dict(content["network"])
        if progress.averaged is not None:
            progress.averaged.load_state_dict(content["averaged"])
        progress.optimiser.load_state_dict(content["optimiser"])
        landmarks = tuple(tuple(row) for row in content["landmarks"])
        progress.draft = replace(progress.draft, landmarks=landmarks)
        for name in KEPT:
            setattr(progress, name, content[name])
    except MFIError:
        raise
    except Exception as error:
        raise OutputError(
            f"{path}: cannot be resumed ({type(error).__name__}). Expected the checkpoint of an "
            "interrupted training with this version; delete it to start again."
        ) from error


# Implicit values of options before their keys existed.
FORMER_OPTIONS = {"average_steps": 0}


def check_same(path: Path, former: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to resume if a former value differs from the current one."""
    for name, value in wanted.items():
        if former.get(name) != value:
            found = f"{name} {former[name]!r}" if name in former else f"no {name}"
            raise OutputError(
                f"{path}: belongs to a training with {found}, expected {value!r}. Use the same "
                "options, data and version to resume it, or another output folder."
            )


def decisive_options(options: TrainOptions) -> dict[str, Any]:
    """Return the options that must be the same when a training is resumed.

    With a constant rate, more steps only extend the training. With a cosine, the rate of every
    step depends on the total number of steps.

    >>> "steps" in decisive_options(TrainOptions(schedule="constant"))
    False
    """
    free = {*FREE_OPTIONS, *(("steps",) if options.schedule == "constant" else ())}
    return {name: value for name, value in asdict(options).items() if name not in free}
