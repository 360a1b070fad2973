"""Training of the dense V-Net; must not know where cases come from, BIDS or reports.

One loop, in the order of time: case -> standardise -> mirror -> network -> loss -> Adam; at every
validation the held-out cases are segmented, ``log.tsv`` gets a row and ``checkpoint.pt`` is
written. A case is asked for by its number, so a training that was interrupted goes on as if it had
not been.
"""

import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.agreement import dice_by_muscle
from bids_mfi.errors import OutputError
from bids_mfi.grid import Grid
from bids_mfi.muscles import MuscleTable
from bids_mfi.network.bundle import ModelBundle, write_bundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.intensity import Landmarks, learn_landmarks, standardise
from bids_mfi.network.loss import dice_hinge_and_cross_entropy
from bids_mfi.network.segment import choose_device, pad_edges, padded_shape, segment_channels
from bids_mfi.options import TrainOptions
from bids_mfi.storage import explain_os_error, write_atomically

CHECKPOINT = "checkpoint.pt"
LOG = "log.tsv"
BUNDLE = "bundle"
LANDMARK_CASES = 16
WARM_UP_STEPS = 50
FREE_OPTIONS = ("steps", "validate_every", "device")


class Case(Protocol):
    """A labelled scan on the model grid, axes R, A, S."""

    @property
    def in_phase(self) -> NDArray[np.float32]:
        """Shape (x, y, z)."""

    @property
    def out_phase(self) -> NDArray[np.float32]:
        """Shape (x, y, z)."""

    @property
    def labels(self) -> NDArray[np.int16]:
        """Shape (x, y, z)."""

    @property
    def grid(self) -> Grid:
        """Of all three."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is learnt from.

    Attributes
    ----------
    case_at : callable
        The training case with a number; the same case for the same number.
    validation : sequence of Case
        Held-out cases.
    table : MuscleTable
        The labels, with the levels on which the cases carry them.
    ranges : tuple of (str, str)
        What the cases are and how much they vary, for a person to read; goes into the bundle.
    """

    case_at: Callable[[int], Case]
    validation: Sequence[Case]
    table: MuscleTable
    ranges: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a person has to know of a bundle; goes into it."""

    name: str
    version: str
    description: str
    licence: str
    licence_text: str
    references: tuple[str, ...]


PROVISIONAL_CARD = ModelCard(
    name="synthetic-neck-provisional",
    version="0.1.0",
    description=(
        "Provisional weights, for research and for trying the program only. Learnt solely from "
        "synthetic scans of the package's built-in phantom of the neck; no scan of a person was "
        "used. How well it does on scans of people has not been measured."
    ),
    licence="CC0-1.0",
    licence_text=(
        "The weights in models/model.pt and the files in configs/ are dedicated to the public "
        "domain\nunder Creative Commons CC0 1.0 Universal:\n"
        "https://creativecommons.org/publicdomain/zero/1.0/legalcode\n\n"
        "They come without warranty of any kind and are not a medical device.\n"
    ),
    references=(
        "Weber et al. 2021, Scientific Reports, doi:10.1038/s41598-021-95972-x",
        "Gibson et al. 2018, IEEE Transactions on Medical Imaging, doi:10.1109/TMI.2018.2806309",
    ),
)


@dataclass(slots=True)
class Progress:
    """All that a training needs to go on, apart from the options."""

    network: DenseVNet
    optimiser: torch.optim.Adam
    landmarks: Landmarks
    step: int
    seconds: float
    best_dice: float
    best_state: dict[str, Tensor]
    rows: list[dict[str, float]]


def train(
    options: TrainOptions,
    data: TrainingData,
    out_dir: Path,
    card: ModelCard = PROVISIONAL_CARD,
    report: Callable[[str], None] = lambda line: None,
) -> ModelBundle:
    """Train a network and write it as a bundle to ``out_dir/bundle``.

    Parameters
    ----------
    options : TrainOptions
    data : TrainingData
    out_dir : Path
        Gets ``log.tsv``, ``checkpoint.pt`` and ``bundle/``; a checkpoint found there is resumed.
    card : ModelCard
    report : callable
        Gets a line at every validation.

    Raises
    ------
    OutputError
        The folder cannot be written, or holds a checkpoint of a training with other options.
    """
    device = choose_device(options.device)
    check_folder(out_dir)
    progress = start_or_resume(options, data, out_dir, device)
    write_log(progress, data.table, out_dir)  # a folder that cannot be written is known at once
    losses: list[float] = []
    started = time.monotonic() - progress.seconds
    for images, labels in iterate_batches(options, data, progress):
        set_learning_rate(progress.optimiser, options, progress.step)
        loss = take_step(progress, images.to(device), labels.to(device), options.bfloat16)
        losses.append(loss)
        progress.step += 1
        if progress.step % options.validate_every == 0 or progress.step == options.steps:
            progress.seconds = time.monotonic() - started
            report(validate(progress, data, options, sum(losses) / len(losses)))
            losses.clear()
            write_log(progress, data.table, out_dir)
            write_checkpoint(progress, options, out_dir)
    return write_trained_bundle(options, data, progress, out_dir, card)


def check_folder(out_dir: Path) -> None:
    """Refuse a folder that holds anything but a training.

    Raises
    ------
    OutputError
    """
    try:
        found = {path.name for path in out_dir.iterdir()} if out_dir.exists() else set()
    except OSError as error:
        raise explain_os_error(out_dir, error) from error
    if found - {LOG, BUNDLE} and CHECKPOINT not in found:
        raise OutputError(
            f"{out_dir}: holds other files ({sorted(found - {LOG, BUNDLE})[0]}) and no training to "
            "resume. Name a new or empty folder."
        )


def start_or_resume(
    options: TrainOptions, data: TrainingData, out_dir: Path, device: torch.device
) -> Progress:
    """Make a new network, or take the one of the checkpoint in ``out_dir``."""
    torch.manual_seed(options.seed)
    classes = 1 + max(muscle.index for muscle in data.table)
    network = DenseVNet(2, classes, options.normalization).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    path = out_dir / CHECKPOINT
    if path.exists():
        return read_checkpoint(path, options, network, optimiser)
    landmarks = learn_landmarks(channels_of(data.case_at(i)) for i in range(LANDMARK_CASES))
    return Progress(network, optimiser, landmarks, 0, 0.0, -1.0, {}, [])


def iterate_batches(
    options: TrainOptions, data: TrainingData, progress: Progress
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches from the current step to the last; one thread makes the next in advance."""

    def make(step: int) -> tuple[Tensor, Tensor]:
        return make_batch(options, data, progress.landmarks, step)

    steps = range(progress.step, options.steps)
    with ThreadPoolExecutor(max_workers=1) as worker:
        following: Future[tuple[Tensor, Tensor]] | None = None
        for step in steps:
            batch = following.result() if following else make(step)
            following = worker.submit(make, step + 1) if step + 1 in steps else None
            yield batch


def make_batch(
    options: TrainOptions, data: TrainingData, landmarks: Landmarks, step: int
) -> tuple[Tensor, Tensor]:
    """Make the batch of one step.

    Returns
    -------
    images : Tensor of float32, shape (batch, 2, x, y, z)
    labels : Tensor of int64, shape (batch, x, y, z)
        Sizes are multiples of 8; the outermost voxels are repeated.
    """
    pairs = []
    for number in range(step * options.batch_size, (step + 1) * options.batch_size):
        case = data.case_at(number)
        images = standardise(channels_of(case), landmarks)
        labels = case.labels
        check_labels(labels, data.table)
        if np.random.default_rng([options.seed, number]).random() < 0.5:
            images, labels = mirror(images, labels, data.table)
        pairs.append((images, labels))
    shape = padded_shape(tuple(np.max([labels.shape for _, labels in pairs], axis=0)))
    return (
        torch.from_numpy(np.stack([pad_edges(images, shape)[0] for images, _ in pairs])),
        torch.from_numpy(np.stack([pad_edges(labels, shape)[0] for _, labels in pairs])).long(),
    )


def channels_of(case: Case) -> NDArray[np.float32]:
    """Stack the two images of a case: float32, shape (2, x, y, z), in-phase first."""
    return np.stack([case.in_phase, case.out_phase]).astype(np.float32)


def check_labels(labels: NDArray[np.int16], table: MuscleTable) -> None:
    """Raise ValueError if a label is not in the table."""
    known = {0, *(muscle.index for muscle in table)}
    unknown = sorted(set(np.unique(labels).tolist()) - known)
    if unknown:
        raise ValueError(f"a training case holds labels that its table does not name: {unknown}")


def mirror(
    images: NDArray[np.float32], labels: NDArray[np.int16], table: MuscleTable
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Exchange left and right: of the images by their first voxel axis, of the labels by name too.

    Parameters
    ----------
    images : ndarray of float32, shape (channels, x, y, z)
        The x axis points to the subject's right or left.
    labels : ndarray of int16, shape (x, y, z)
    """
    exchanged = np.arange(1 + max(muscle.index for muscle in table), dtype=np.int16)
    for index, other in table.mirrored_indices().items():
        exchanged[index] = other
    return np.ascontiguousarray(images[:, ::-1]), exchanged[labels[::-1]]


def set_learning_rate(optimiser: torch.optim.Optimizer, options: TrainOptions, step: int) -> None:
    """Set the rate of a step."""
    for group in optimiser.param_groups:
        group["lr"] = options.learning_rate * rate_factor(step, options.steps)


def rate_factor(step: int, steps: int) -> float:
    """Rise over the first WARM_UP_STEPS steps, then half a cosine that ends near 0.

    >>> rate_factor(49, 1000), round(rate_factor(999, 1000), 4)
    (1.0, 0.0)
    """
    warm_up = min(WARM_UP_STEPS, steps // 10)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - warm_up) / (steps + 1 - warm_up)))


def take_step(progress: Progress, images: Tensor, labels: Tensor, bfloat16: bool) -> float:
    """One optimiser step; the loss before it."""
    network = progress.network.train()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
        logits = network(images)  # (batch, classes, x, y, z)
    loss = dice_hinge_and_cross_entropy(logits.float(), labels)
    progress.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    progress.optimiser.step()
    return float(loss.detach())


# ---------------------------------------------------------------------------------- validation


def validate(progress: Progress, data: TrainingData, options: TrainOptions, loss: float) -> str:
    """Segment the held-out cases, note the row of the log and the best weights; a line to show."""
    dice = validation_dice(progress, data, options)
    mean = float(np.mean(list(dice.values())))
    row = {"step": progress.step, "seconds": round(progress.seconds, 1), "loss": loss}
    row |= {"dice_mean": mean}
    row |= {f"dice_{m.abbreviation}": dice[m.index] for m in data.table}
    progress.rows.append(row)
    if mean >= progress.best_dice or not progress.best_state:
        progress.best_dice = mean
        state = progress.network.state_dict()
        progress.best_state = {name: tensor.detach().clone() for name, tensor in state.items()}
    return (
        f"step {progress.step}/{options.steps}  loss {loss:.3f}  held-out Dice {mean:.3f} "
        f"(lowest muscle {min(dice.values()):.3f})  {progress.seconds:.0f} s"
    )


def validation_dice(
    progress: Progress, data: TrainingData, options: TrainOptions
) -> dict[int, float]:
    """Mean Dice of each muscle over the held-out cases that hold it; 0 if it was never right."""
    bundle = draft_bundle(options, data.table, progress.landmarks, PROVISIONAL_CARD)
    network = progress.network.eval()
    rows = [
        dice_by_muscle(
            segment_channels(channels_of(case), bundle, network).argmax(axis=0),
            case.labels,
            data.table,
        )
        for case in data.validation
    ]
    values = np.array([[row[muscle.index] for muscle in data.table] for row in rows])
    means = np.nansum(values, axis=0) / np.maximum(np.isfinite(values).sum(axis=0), 1)
    return {m.index: float(value) for m, value in zip(data.table, means, strict=True)}


def write_log(progress: Progress, table: MuscleTable, out_dir: Path) -> None:
    """Write ``log.tsv``: a row a validation, with the Dice of every muscle."""
    columns = ["step", "seconds", "loss", "dice_mean"]
    columns += [f"dice_{muscle.abbreviation}" for muscle in table]
    lines = ["\t".join(columns)]
    lines += ["\t".join(f"{row[c]:.6g}" for c in columns) for row in progress.rows]
    write_atomically(out_dir / LOG, ("\n".join(lines) + "\n").encode())


# ---------------------------------------------------------------------------------- checkpoint


def write_checkpoint(progress: Progress, options: TrainOptions, out_dir: Path) -> None:
    """Write all that a training needs to go on."""
    content = {
        "options": asdict(options),
        "network": progress.network.state_dict(),
        "optimiser": progress.optimiser.state_dict(),
        "landmarks": [list(row) for row in progress.landmarks],
        "step": progress.step,
        "seconds": progress.seconds,
        "best_dice": progress.best_dice,
        "best_state": progress.best_state,
        "rows": progress.rows,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(out_dir / CHECKPOINT, buffer.getvalue())


def read_checkpoint(
    path: Path, options: TrainOptions, network: DenseVNet, optimiser: torch.optim.Adam
) -> Progress:
    """Put the checkpoint's state into ``network`` and ``optimiser``.

    Raises
    ------
    OutputError
        The checkpoint belongs to a training with other options, or is damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise OutputError(
            f"{path}: cannot be resumed ({type(error).__name__}). Expected the checkpoint of an "
            "interrupted training; delete it to start again."
        ) from error
    for field in fields(options):
        wanted, found = getattr(options, field.name), content["options"][field.name]
        if field.name not in FREE_OPTIONS and wanted != found:
            raise OutputError(
                f"{path}: belongs to a training with {field.name} {found!r}, expected {wanted!r}. "
                "Use the same options to resume it, or another output folder."
            )
    network.load_state_dict(content["network"])
    optimiser.load_state_dict(content["optimiser"])
    landmarks = tuple(tuple(row) for row in content["landmarks"])
    kept = ("step", "seconds", "best_dice", "best_state", "rows")
    return Progress(network, optimiser, landmarks, **{name: content[name] for name in kept})


# -------------------------------------------------------------------------------------- bundle


def draft_bundle(
    options: TrainOptions, table: MuscleTable, landmarks: Landmarks, card: ModelCard
) -> ModelBundle:
    """Describe the bundle of a training, before it has a folder and weights."""
    return ModelBundle(
        folder=Path(),
        name=card.name,
        version=card.version,
        sha256="",
        spacing_mm=options.spacing_mm,
        landmarks=landmarks,
        table=table,
        description=card.description,
        licence=card.licence,
        normalization=options.normalization,
        references=card.references,
    )


def write_trained_bundle(
    options: TrainOptions, data: TrainingData, progress: Progress, out_dir: Path, card: ModelCard
) -> ModelBundle:
    """Write the best weights as a bundle, with the recipe and the held-out Dice."""
    recipe = {
        "steps": options.steps,
        "batch_size": options.batch_size,
        "learning_rate": f"Adam, {options.learning_rate:g} at most, warm-up, then half a cosine",
        "loss": "Dice hinge (squared denominator, one softmax) + cross entropy",
        "augmentation": "left-right mirroring with exchange of the labels' sides, half of the time",
        "precision": "bfloat16 autocast" if options.bfloat16 else "float32",
        "seed": options.seed,
        "held_out_cases": f"{len(data.validation)}, which also chose the weights",
        "held_out_dice_mean": f"{progress.best_dice:.4f}",
    }
    bundle = replace(
        draft_bundle(options, data.table, progress.landmarks, card),
        folder=out_dir / BUNDLE,
        training=(*data.ranges, *((key, str(value)) for key, value in recipe.items())),
    )
    return write_bundle(bundle, progress.best_state, card.licence_text)
