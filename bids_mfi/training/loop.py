"""Training of the dense V-Net; must not know where cases come from, BIDS or reports.

One loop, in the order of time: batch (see ``batches``) -> network -> loss -> Adam -> running
average of the weights, if asked for; at every validation the validation cases are segmented,
``log.tsv`` gets a row and ``checkpoint.pt`` is written. All chance is drawn from seed and number,
so a training that was interrupted goes on as if it had not been.
"""

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from bids_mfi.errors import BundleError, InputError, MFIError, OutputError
from bids_mfi.measure.agreement import dice_by_muscle
from bids_mfi.muscles import MuscleTable
from bids_mfi.network.bundle import (
    LICENSE,
    ModelBundle,
    check_texts,
    load_network,
    write_bundle,
)
from bids_mfi.network.dense_vnet import PUBLISHED_WIDTHS, DebiasedBatchNorm, DenseVNet
from bids_mfi.network.intensity import PROBABILITIES_PERCENT, Landmarks, learn_landmarks
from bids_mfi.network.segment import (
    choose_device,
    label_channels,
)
from bids_mfi.options import LANDMARKS, LOCAL, TrainOptions
from bids_mfi.reading import open_regular_file, read_regular_file
from bids_mfi.storage import explain_os_error, remove_stale_partials, write_atomically
from bids_mfi.training.augment import draw_corner_affines, logits_through_affine
from bids_mfi.training.average import average_weights
from bids_mfi.training.batches import (
    DICE_NAMES,
    TrainingData,
    channels_of,
    iterate_batches,
    name_dead_workers,
)
from bids_mfi.training.loss import (
    dice_hinge,
    dice_hinge_and_cross_entropy,
    fold_vertebrae,
    smooth_dice_and_cross_entropy,
)
from bids_mfi.training.model_cards import REFERENCES, ModelCard
from bids_mfi.training.widen import set_classes, widen
from bids_mfi.vertebrae import VERTEBRAE

CHECKPOINT = "checkpoint.pt"
LOG = "log.tsv"
BUNDLE = "bundle"
CURVE = "curve.svg"
SCANS = "scans.tsv"
LANDMARK_CASES = 16
WARM_UP_STEPS = 50
SETTLED_UPDATES = 1000
AFFINE_CHANCE = 2  # Last of the four numbers that seed a draw, see ``batches``.
# What may differ when a training is resumed; `steps` only where it does not change the past.
FREE_OPTIONS = (
    "validate_every", "patience", "min_delta", "keep", "mirrored", "device", "workers",
)  # fmt: skip

MOST_CLASSES = 256

LOSS_FUNCTIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dice_hinge": dice_hinge,
    "dice_hinge_double_softmax": lambda logits, labels: dice_hinge(logits, labels, True),
    "dice_hinge_and_cross_entropy": dice_hinge_and_cross_entropy,
    "smooth_dice_and_cross_entropy": smooth_dice_and_cross_entropy,
}
LOSS_WORDS = {
    "dice_hinge": "Dice hinge (squared denominator, one softmax)",
    "dice_hinge_double_softmax": "Dice hinge (squared denominator, two softmax)",
    "dice_hinge_and_cross_entropy": (
        "Dice hinge (squared denominator, one softmax) + cross entropy"
    ),
    "smooth_dice_and_cross_entropy": (
        "Dice (squared denominator, 100 voxels of agreement added) + cross entropy"
    ),
}


DEFAULT_NAME = "custom"


def custom_card(
    name: str, licence: str | None = None, start: ModelBundle | None = None
) -> ModelCard:
    """Make the card of a bundle that a user trains.

    Parameters
    ----------
    name : str
    licence : str, optional
        SPDX identifier; default that of ``start``, whose weights it binds, or
        ``LicenseRef-unspecified``.
    start : ModelBundle, optional
        The bundle from which the training starts.

    Raises
    ------
    BundleError
        The licence of ``start`` cannot be read.
    """
    origin = f"Tuned from {start.name} {start.version}. " if start else ""
    chosen = licence or (start.licence if start else "LicenseRef-unspecified")
    text = (
        f"{chosen}\n\nThe person who trained these weights decides about their use. The licence of "
        "the scans\nor label maps that they learnt from may bind them too; see `training` in "
        "configs/metadata.json.\n"
    )
    if start:
        text = f"{chosen}\n\nMade from {start.name} {start.version}, whose licence follows.\n\n"
        text += _read_licence(start)
    return ModelCard(
        name=name,
        version="0.1.0",
        description=f"{origin}Trained by a user of bids_mfi; see `training` for data and recipe.",
        licence=chosen,
        licence_text=text,
        references=start.references if start else REFERENCES,
    )


UNNAMED_CARD = custom_card(DEFAULT_NAME)


def _read_licence(bundle: ModelBundle) -> str:
    path = bundle.folder / LICENSE
    try:
        return read_regular_file(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path}: cannot be read ({error}), but binds what is tuned from this bundle. Expected "
            "the licence of the weights as text; put it back."
        ) from error


@dataclass(slots=True)
class Progress:
    """All that a training needs to go on, apart from options and data.

    ``averaged`` holds the running average of the weights of ``network``, None without one;
    ``draft`` describes the bundle that is being made; ``start`` is the one it began from, None for
    random weights; ``rows`` are those of the log.
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
        """The network that is validated and becomes the bundle."""
        return self.network if self.averaged is None else cast(DenseVNet, self.averaged.module)


def train(
    options: TrainOptions,
    data: TrainingData,
    out_dir: Path,
    card: ModelCard = UNNAMED_CARD,
    report: Callable[[str], None] = lambda line: None,
    start: ModelBundle | None = None,
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
        Gets a line at every validation, after log and checkpoint were written; before the first
        step one on labels or windows that do not quite fit.
    start : ModelBundle, optional
        Weights to start from; it also decides grid, normalisation, windows and landmarks, and
        widths unless the options ask for wider ones.

    Raises
    ------
    OutputError
        The folder cannot be written, or holds a checkpoint of another training.
    BundleError
        The labels of the data do not fit ``start``.
    InputError
        The cases have no signal, or labels that cannot be learnt.
    MFIError
        The training diverged.
    """
    options = settle_options(options, start)
    device = choose_device(options.device)
    check_folder(out_dir)
    progress = make_progress(options, data, card, start, device)
    if (out_dir / CHECKPOINT).exists():
        read_checkpoint(out_dir / CHECKPOINT, options, data, progress)
        report(f"going on from step {progress.step}")
    elif progress.draft.intensity == LANDMARKS and not progress.draft.landmarks:
        progress.draft = replace(progress.draft, landmarks=learn_from_cases(data))
    write_log(progress, data.table, out_dir)  # a folder that cannot be written is known at once
    for lines in (
        describe_lacking(data.table, start),
        describe_network(options, start),
        describe_large_window(options, data),
    ):
        for line in lines:
            report(line)
    if start is not None and not progress.rows:
        line = validate(progress, data, options, math.nan)  # what is there to be improved
        write_log(progress, data.table, out_dir)
        report(line)
    with name_dead_workers():
        take_all_steps(options, data, progress, device, out_dir, report)
    return write_trained_bundle(options, data, progress, out_dir, card)


def take_all_steps(
    options: TrainOptions,
    data: TrainingData,
    progress: Progress,
    device: torch.device,
    out_dir: Path,
    report: Callable[[str], None],
) -> None:
    """Learn from the current step to the last, or until validations bring nothing more."""
    losses: list[float] = []
    started = time.monotonic() - progress.seconds
    done = has_plateaued(progress.rows, options)
    steps = range(progress.step, progress.step if done else options.steps)
    for images, labels in iterate_batches(options, data, progress.draft, steps):
        set_learning_rate(progress.optimiser, options, progress.step)
        losses.append(take_step(progress, options, images.to(device), labels.to(device).long()))
        progress.step += 1
        if progress.step % options.validate_every == 0 or progress.step == options.steps:
            progress.seconds = time.monotonic() - started
            line = validate(progress, data, options, sum(losses) / len(losses))
            losses.clear()
            write_log(progress, data.table, out_dir)
            write_checkpoint(progress, options, data, out_dir)
            report(line)
            if has_plateaued(progress.rows, options):
                break


def settle_options(options: TrainOptions, start: ModelBundle | None) -> TrainOptions:
    """Let the bundle from which a training starts decide what belongs to its weights."""
    if start is None:
        vertebrae = bool(options.vertebrae)
        return replace(options, intensity=options.intensity or LANDMARKS, vertebrae=vertebrae)
    whole = start.inference == "whole_volume"
    return replace(
        options,
        spacing_mm=start.spacing_mm,
        normalization=start.normalization,
        stem_stride=start.stem_stride,
        widths=start.widths if start.widths != PUBLISHED_WIDTHS else options.widths,
        intensity=options.intensity or start.intensity,
        vertebrae=bool(start.vertebrae) if options.vertebrae is None else options.vertebrae,
        mirrored=start.mirrored if options.mirrored is None else options.mirrored,
        window=None if whole else start.window,
        least_crop=options.least_crop if whole else None,
        border=(0, 0, 0) if whole else start.border,
        padding=start.padding,
        samples_per_volume=1 if whole and not options.least_crop else options.samples_per_volume,
    )


def check_folder(out_dir: Path) -> None:
    """Refuse a folder that holds anything but a training, or a bundle that would be lost.

    Raises
    ------
    OutputError
    """
    try:
        remove_stale_partials(out_dir, (CHECKPOINT, LOG))
        found = {path.name for path in out_dir.iterdir()} if out_dir.exists() else set()
    except OSError as error:
        raise explain_os_error(out_dir, error) from error
    if BUNDLE in found and CHECKPOINT not in found:
        raise OutputError(
            f"{out_dir}: holds a bundle and no {CHECKPOINT}, so nothing can be resumed and the "
            "bundle would be overwritten. Name a new folder, or move the bundle elsewhere."
        )
    others = sorted(found - {LOG, BUNDLE, CURVE, SCANS})
    if others and CHECKPOINT not in found:
        raise OutputError(
            f"{out_dir}: holds other files ({others[0]}) and no training to resume. Name a new or "
            "empty folder."
        )


def make_progress(
    options: TrainOptions,
    data: TrainingData,
    card: ModelCard,
    start: ModelBundle | None,
    device: torch.device,
) -> Progress:
    """Begin: random weights, landmarks yet to be learnt; or both from ``start``.

    Raises
    ------
    BundleError
        The labels of the data do not fit ``start``.
    InputError
        Cases are to be mirrored, and a muscle has no counterpart; a number is too large; no
        validation case holds a muscle; or a text cannot stand in a bundle.
    """
    check_table(data.table, options, start)
    check_validation(data)
    torch.manual_seed(options.seed)
    network = begin_network(options, data.table, start).to(device)
    if device.type == "cpu":  # oneDNN's convolutions are faster where channels lie side by side
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    draft = draft_bundle(options, data.table, card, start)
    check_texts(draft)
    bfloat16 = device.type == "cuda" if options.bfloat16 is None else options.bfloat16
    averaged = average_weights(network, options.average_steps) if options.average_steps else None
    return Progress(network, optimiser, draft, start, bfloat16, averaged)


def begin_network(
    options: TrainOptions, table: MuscleTable, start: ModelBundle | None
) -> DenseVNet:
    """Make the network of a training: random weights, or those of ``start``, widened if asked."""
    classes = 1 + max(muscle.index for muscle in table)
    classes += len(VERTEBRAE) if options.vertebrae else 0
    network = DenseVNet(2, classes, options.normalization, options.stem_stride, options.widths)
    if start is None:
        return network
    begun = settle_averages(load_network(start, torch.device("cpu")))
    if start.out_channels != classes:
        set_classes(begun, classes)
    if start.widths == options.widths:
        return begun
    widen(begun, network)
    return network


def learn_from_cases(data: TrainingData) -> Landmarks:
    """Intensity landmarks of all cases, or of the first ones where there is no end of them.

    Raises
    ------
    InputError
        They do not rise, or are not finite.
    """
    numbers = range(LANDMARK_CASES if data.count is None else data.count)
    landmarks = learn_landmarks(channels_of(data.case_at(number)) for number in numbers)
    for row in landmarks:
        if not (all(a <= b for a, b in pairwise(row)) and row[0] < row[-1]):  # false for NaN
            raise InputError(
                "The training scans have no signal or contain NaN: their intensity landmarks are "
                f"{', '.join(map(str, row))}, expected rising numbers. Look for empty or damaged "
                "images and leave them out."
            )
    return landmarks


def check_table(table: MuscleTable, options: TrainOptions, start: ModelBundle | None) -> None:
    """Check that labels can be mirrored, and learnt by the network of ``start``."""
    classes = 1 + max(muscle.index for muscle in table)
    if classes > MOST_CLASSES:
        raise InputError(
            f"the label table has numbers up to {classes - 1}, expected {MOST_CLASSES - 1} at "
            "most, because the network has a class for every number up to the highest. In table "
            f"and label maps renumber the labels 1 to {len(table)}."
        )
    if options.mirror_share or options.mirrored:
        try:
            table.mirrored_indices()
        except KeyError as error:
            raise InputError(
                f"the label table has no {error.args[0]}, expected every muscle on both sides, "
                "because left and right are exchanged in mirrored scans. Add the other side, or "
                "set mirror_share to 0 (training) and mirrored to false (use) in the recipe."
            ) from error
    if options.mirrored and start is not None and start.inference == "niftynet":
        raise BundleError(
            f"{start.folder}: takes NiftyNet's path, which has no mirror images, expected another "
            "bundle where the recipe states mirrored = true. Leave mirrored out."
        )
    if start is not None:
        check_start(table, start)


def check_start(table: MuscleTable, start: ModelBundle) -> None:
    """Refuse labels that are not those of the bundle to start from.

    Raises
    ------
    BundleError
    """
    classes = 1 + max(muscle.index for muscle in table)
    conflict = start.table.find_conflict(table)
    if conflict is not None:
        own, other = conflict
        raise BundleError(
            f"{start.folder}: has label {own.index} for {own.abbreviation}, but the data have "
            f"label {other.index} for {other.abbreviation}; expected the same numbers. Give the "
            "muscles the numbers of the bundle, or train from random weights, without --from."
        )
    if classes != start.muscle_classes:
        raise BundleError(
            f"{start.folder}: knows labels up to {start.muscle_classes - 1}, but those of the data "
            f"go up to {classes - 1}; expected as many. Give the muscles the numbers of the "
            "bundle, or train from random weights, without --from."
        )


def describe_lacking(table: MuscleTable, start: ModelBundle | None) -> list[str]:
    """Name the muscles of the bundle to start from that the data do not have."""
    wanted = {muscle.index for muscle in table}
    lacking = [m.abbreviation for m in (start.table if start else ()) if m.index not in wanted]
    if not lacking:
        return []
    return [f"muscles of the bundle that the data lack and it will forget: {', '.join(lacking)}"]


def describe_network(options: TrainOptions, start: ModelBundle | None) -> list[str]:
    """Say what becomes of the network of the bundle to start from, where that may surprise."""
    lines = []
    if start is not None and start.widths != options.widths:
        lines.append(f"the network is widened from {start.widths} to {options.widths}")
    if start is not None and start.inference != "whole_volume":
        lines.append("the bundle's windows are learnt from, not boxes of any size")
    return lines


def describe_large_window(options: TrainOptions, data: TrainingData) -> list[str]:
    """Say that windows are larger than the volumes, if they are; only the known cases are seen."""
    if options.window is None:
        return []
    cases = [*data.validation, *map(data.case_at, range(data.count or 0))]
    margins = 2 * np.array(options.padding)
    shapes = [tuple((margins + case.labels.shape).tolist()) for case in cases]
    small = [shape for shape in shapes if any(np.less(shape, options.window))]
    if not small:
        return []
    window, smallest = (" x ".join(map(str, size)) for size in (options.window, min(small)))
    return [
        f"window {window} is larger than {len(small)} of {len(shapes)} volumes, the smallest "
        f"{smallest} with padding: copies of their edge are learnt from too"
    ]


def check_validation(data: TrainingData) -> None:
    """Refuse validation cases on which no Dice can be measured.

    Raises
    ------
    InputError
    """
    indices = [muscle.index for muscle in data.table]
    if not any(np.isin(case.labels, indices).any() for case in data.validation):
        raise InputError(
            f"no validation case holds a muscle of the label table ({len(data.validation)} cases), "
            "expected one at least, because their Dice chooses the weights. Hold out participants "
            "with labels."
        )


def settle_averages(network: DenseVNet) -> DenseVNet:
    """Let the averages of batch normalisation count as old ones, so that no batch replaces them."""
    for module in network.modules():
        if isinstance(module, DebiasedBatchNorm) and module.num_batches_tracked is not None:
            module.num_batches_tracked.fill_(SETTLED_UPDATES)
    return network


# ------------------------------------------------------------------------------------------ step


def set_learning_rate(optimiser: torch.optim.Optimizer, options: TrainOptions, step: int) -> None:
    """Set the rate of a step."""
    factor = rate_factor(step, options.steps) if options.schedule == "cosine" else 1.0
    for group in optimiser.param_groups:
        group["lr"] = options.learning_rate * factor


def rate_factor(step: int, steps: int) -> float:
    """Rise over the first WARM_UP_STEPS steps, then half a cosine that ends near 0.

    >>> rate_factor(49, 1000), round(rate_factor(999, 1000), 4)
    (1.0, 0.0)
    """
    warm_up = min(WARM_UP_STEPS, steps // 10)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - warm_up) / (steps + 1 - warm_up)))


def take_step(progress: Progress, options: TrainOptions, images: Tensor, labels: Tensor) -> float:
    """One optimiser step; the loss before it.

    Raises
    ------
    MFIError
        The loss is not finite; the weights are left as they were.
    """
    network = progress.network.train()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=progress.bfloat16):
        if options.in_network_affine:
            rng = np.random.default_rng([options.seed, progress.step, 0, AFFINE_CHANCE])
            affines = draw_corner_affines(rng, len(images), options.in_network_affine)
            logits = logits_through_affine(network, images, affines)
        else:
            logits = network(images)  # (batch, classes, x, y, z)
    logits, labels = fold_vertebrae(logits.float(), labels, progress.draft.muscle_classes)
    loss = LOSS_FUNCTIONS[options.loss](logits, labels)
    progress.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    value = float(loss.detach())  # not before: it waits for a GPU
    if not math.isfinite(value):
        raise diverged(progress.step, f"the loss is {value}")
    progress.optimiser.step()
    if progress.averaged is not None:
        progress.averaged.update_parameters(network)
    return value


def diverged(step: int, finding: str) -> MFIError:
    """Make the error of a training that has run away."""
    return MFIError(
        f"The training diverged at step {step}: {finding}, expected finite numbers. The last "
        "checkpoint and its bundle, if there is one, are kept. Train with a lower --learning-rate "
        "into a new folder; if that does not help, look for damaged scans."
    )


# ------------------------------------------------------------------------------------ validation


def validate(progress: Progress, data: TrainingData, options: TrainOptions, loss: float) -> str:
    """Segment the validation cases, note the row of the log and the best weights; a line to show.

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
    """Make a line of the newest row of the log, with the time that is left at most."""
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
    """Mean Dice of each muscle over the validation cases that hold it; NaN if none does.

    Without mirror images, which would double the time.
    """
    network = progress.result.eval()
    bundle = replace(progress.draft, mirrored=False)
    values: dict[int, list[float]] = {muscle.index: [] for muscle in data.table}
    for case in data.validation:
        labels = label_channels(channels_of(case), bundle, network)
        held = np.unique(case.labels)
        for index, value in dice_by_muscle(labels, case.labels, data.table).items():
            if index in held:
                values[index].append(value)
    return {index: float(np.mean(found)) if found else math.nan for index, found in values.items()}


def has_plateaued(rows: Sequence[Mapping[str, float]], options: TrainOptions) -> bool:
    """Whether the last ``patience`` validations brought no better mean Dice.

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
    """Write ``log.tsv``: a row a validation, with the Dice of every muscle."""
    columns = ["step", "seconds", "loss", "dice_mean"]
    columns += [f"dice_{muscle.abbreviation}" for muscle in table]
    lines = ["\t".join(columns)]
    lines += ["\t".join(write_number(row[c]) for c in columns) for row in progress.rows]
    write_atomically(out_dir / LOG, ("\n".join(lines) + "\n").encode())


def write_number(value: float) -> str:
    """Six digits; ``n/a`` for what is not measurable.

    That is the loss before the first step, and the Dice of a muscle that no validation case holds.

    >>> write_number(0.25), write_number(math.nan)
    ('0.25', 'n/a')
    """
    return f"{value:.6g}" if math.isfinite(value) else "n/a"


# ------------------------------------------------------------------------------------ checkpoint

KEPT = ("bfloat16", "step", "seconds", "best_dice", "best_state", "rows")


def write_checkpoint(
    progress: Progress, options: TrainOptions, data: TrainingData, out_dir: Path
) -> None:
    """Write all that a training needs to go on."""
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
    """Say what is learnt from, in words that differ where a resumed training would differ."""
    labels = ", ".join(f"{m.index} {m.name} {m.abbreviation} {m.levels}" for m in data.table)
    # Mirror images count in use only, so they may come to the start while a training is stopped.
    weights = replace(start, mirrored=False).identity if start else "random"
    return {**dict(data.ranges), "labels": labels, "start weights": weights}


def read_checkpoint(
    path: Path, options: TrainOptions, data: TrainingData, progress: Progress
) -> None:
    """Put the state of a checkpoint into ``progress``.

    Raises
    ------
    OutputError
        The checkpoint belongs to a training with other options or data, or is damaged.
    """
    try:
        with open_regular_file(path) as file:
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        check_same(path, content["options"], decisive_options(options))
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
            "interrupted training by this version; delete it to start again."
        ) from error


def check_same(path: Path, former: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to resume where what was and what is wanted differ."""
    for name, value in wanted.items():
        if former.get(name) != value:
            raise OutputError(
                f"{path}: belongs to a training with {name} {former.get(name)!r}, expected "
                f"{value!r}. Use the same options and data to resume it, or another output folder."
            )


def decisive_options(options: TrainOptions) -> dict[str, Any]:
    """Options that must be the same when a training is resumed.

    With a constant rate more steps only go on; with a cosine the rate of every step depends on
    how many there will be.

    >>> "steps" in decisive_options(TrainOptions(schedule="constant"))
    False
    """
    free = {*FREE_OPTIONS, *(("steps",) if options.schedule == "constant" else ())}
    return {name: value for name, value in asdict(options).items() if name not in free}


# ---------------------------------------------------------------------------------------- bundle


def draft_intensity(options: TrainOptions) -> dict[str, Any]:
    """Describe how images are standardised, before landmarks are learnt."""
    if options.intensity == LOCAL:
        return {"intensity": LOCAL, "landmark_percentiles": (), "landmarks": ((), ())}
    percentiles = PROBABILITIES_PERCENT
    return {"intensity": LANDMARKS, "landmark_percentiles": percentiles, "landmarks": ()}


def draft_bundle(
    options: TrainOptions,
    table: MuscleTable,
    card: ModelCard = UNNAMED_CARD,
    start: ModelBundle | None = None,
) -> ModelBundle:
    """Describe the bundle of a training, before it has a folder, landmarks and weights."""
    named = {
        "folder": Path(),
        "name": card.name,
        "version": card.version,
        "sha256": "",
        "table": table,
        "description": card.description,
        "licence": card.licence,
        "references": card.references,
    }
    if start is not None:
        more = {"widths": options.widths, "mirrored": bool(options.mirrored)}
        more |= {"vertebrae": VERTEBRAE if options.vertebrae else ()}
        more |= {"training": (), "origin": ()}
        if options.intensity not in (None, start.intensity):
            more |= draft_intensity(options)
        return replace(start, **named, **more)  # type: ignore[arg-type]
    return ModelBundle(
        **named,  # type: ignore[arg-type]
        spacing_mm=options.spacing_mm,
        **draft_intensity(options),
        inference="whole_volume" if options.window is None else "windows",
        window=options.window or (0, 0, 0),
        border=options.border,
        padding=options.padding,
        normalization=options.normalization,
        stem_stride=options.stem_stride,
        widths=options.widths,
        mirrored=bool(options.mirrored),
        vertebrae=VERTEBRAE if options.vertebrae else (),
    )


def write_trained_bundle(
    options: TrainOptions, data: TrainingData, progress: Progress, out_dir: Path, card: ModelCard
) -> ModelBundle:
    """Write the best weights, or the last, as a bundle, with the recipe and their Dice."""
    bundle = replace(
        progress.draft,
        folder=out_dir / BUNDLE,
        training=(*data.ranges, *describe_recipe(options, data, progress)),
    )
    last = progress.result.state_dict()
    state = progress.best_state if options.keep == "best" else last
    plain = {name: tensor.contiguous() for name, tensor in state.items()}
    return write_bundle(bundle, plain, card.licence_text)


def describe_recipe(
    options: TrainOptions, data: TrainingData, progress: Progress
) -> tuple[tuple[str, str], ...]:
    """How the weights were made, for a person to read."""
    cosine = options.schedule == "cosine"
    start = progress.start
    best = {"step": best_step(progress.rows), "dice_mean": progress.best_dice}
    kept = best if options.keep == "best" else progress.rows[-1]
    words = "the best on the validation cases" if options.keep == "best" else "the last"
    recipe = {
        "start": describe_start(start, options),
        "steps": progress.step,
        "weights": f"of step {kept['step']}, {words}{describe_average(options)}",
        "batch_size": options.batch_size,
        "volumes": describe_windows(options),
        "learning_rate": f"Adam, {options.learning_rate:g}"
        + (" at most, warm-up, then half a cosine" if cosine else ""),
        "loss": LOSS_WORDS[options.loss],
        "augmentation": describe_augmentation(options),
        "precision": "bfloat16 autocast" if progress.bfloat16 else "float32",
        "seed": options.seed,
        "validation_cases": f"{len(data.validation)} {data.validated_on}",
        "validation_dice_mean": f"{kept['dice_mean']:.4f}",
    }
    if progress.draft.mirrored:
        recipe["in_use"] = "the mean of scan and mirror image; validations without the latter"
    return tuple((key, str(value)) for key, value in recipe.items())


def describe_average(options: TrainOptions) -> str:
    """Say over which steps the weights are averaged.

    >>> describe_average(TrainOptions(average_steps=300))
    '; running average over about 300 steps'
    """
    steps = options.average_steps
    return f"; running average over about {steps} steps" if steps else ""


def describe_start(start: ModelBundle | None, options: TrainOptions) -> str:
    """Name the weights that a training began with."""
    if start is None:
        return "random"
    widened = f", widened from {start.widths}" if start.widths != options.widths else ""
    return f"{start.name} {start.version}, sha256 {start.sha256}{widened}"


def best_step(rows: Sequence[Mapping[str, float]]) -> int:
    """Step of the best mean Dice; the last of equal ones, whose weights are kept.

    >>> best_step([{"step": n, "dice_mean": d} for n, d in ((1, 0.5), (2, 0.7), (3, 0.7))])
    3
    """
    return int(max(rows, key=lambda row: (row["dice_mean"], row["step"]))["step"])


def describe_windows(options: TrainOptions) -> str:
    """Say what the network is given.

    >>> describe_windows(TrainOptions(least_crop=(96, 96, 16), samples_per_volume=2))
    '2 boxes from each, of 96 x 96 x 16 voxels up to the whole volume'
    >>> describe_windows(TrainOptions(window=(32, 32, 16), samples_per_volume=3))
    '3 windows of 32 x 32 x 16 voxels from each, drawn uniformly'
    """
    if options.window is None and options.least_crop is not None:
        least = " x ".join(map(str, options.least_crop))
        count = options.samples_per_volume
        return f"{count} boxes from each, of {least} voxels up to the whole volume"
    if options.window is None:
        return "whole"
    size = " x ".join(map(str, options.window))
    return f"{options.samples_per_volume} windows of {size} voxels from each, drawn uniformly"


def describe_augmentation(options: TrainOptions) -> str:
    """Ranges of the augmentation, in words.

    >>> describe_augmentation(TrainOptions(scaling_percent=2.5))
    "left-right mirroring with exchange of the labels' sides 0.5; scaling 2.5 % an axis"
    """
    elastic = (
        f"elastic {options.elastic_share:g}, {options.elastic_control_points} cells, sigma "
        f"{options.elastic_sigma_voxels:g} voxels"
    )
    rotation = (
        f"rotation {options.rotation_lr_degrees:g} degrees about left-right, "
        f"{options.rotation_ap_degrees:g} about anterior-posterior"
    )
    parts = (
        (options.mirror_share, "left-right mirroring with exchange of the labels' sides "
         f"{options.mirror_share:g}"),
        (options.elastic_share, elastic),
        (options.scaling_percent, f"scaling {options.scaling_percent:g} % an axis"),
        (options.rotation_lr_degrees or options.rotation_ap_degrees, rotation),
        (options.contrast_sd, f"power of each image's signal, of which the logarithm has the "
         f"standard deviation {options.contrast_sd:g}"),
        (options.in_network_affine, f"in-network affine {options.in_network_affine:g}"),
    )  # fmt: skip
    return "; ".join(words for value, words in parts if value) or "none"
