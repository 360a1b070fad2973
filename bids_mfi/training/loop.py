"""The training loop.

Each step: batch (see ``batches``) -> network -> loss -> Adam -> running average of the weights, if
requested. Each validation segments the validation cases, appends a row to ``log.tsv`` and writes
``checkpoint.pt``. All random numbers derive from seed and number, so an interrupted training
resumes as if it had not been interrupted.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import write_bundle
from bids_mfi.options import LANDMARKS, TrainOptions
from bids_mfi.training.augment import draw_corner_affines, logits_through_affine
from bids_mfi.training.batches import TrainingData, iterate_batches, name_dead_workers
from bids_mfi.training.begin import learn_from_cases, make_progress
from bids_mfi.training.checks import (
    BUNDLE,
    describe_lacking,
    describe_large_window,
    describe_network,
)
from bids_mfi.training.describe import describe_recipe
from bids_mfi.training.loss import (
    dice_hinge,
    dice_hinge_and_cross_entropy,
    fold_unknown_vertebrae,
    smooth_dice_and_cross_entropy,
)
from bids_mfi.training.plan import TrainingPlan
from bids_mfi.training.state import CHECKPOINT, Progress, read_checkpoint, write_checkpoint
from bids_mfi.training.validation import diverged, has_plateaued, validate, write_log

WARM_UP_STEPS = 50
AFFINE_CHANCE = 2  # The last of the four numbers that seed a draw, see ``batches``.

LOSS_FUNCTIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dice_hinge": dice_hinge,
    "dice_hinge_double_softmax": lambda logits, labels: dice_hinge(logits, labels, True),
    "dice_hinge_and_cross_entropy": dice_hinge_and_cross_entropy,
    "smooth_dice_and_cross_entropy": smooth_dice_and_cross_entropy,
}


def train(
    plan: TrainingPlan, data: TrainingData, report: Callable[[str], None] = lambda line: None
) -> ModelBundle:
    """Train a network and write it as a bundle to ``out_dir/bundle``.

    Parameters
    ----------
    plan : TrainingPlan
        Its ``out_dir`` receives ``log.tsv``, ``checkpoint.pt`` and ``bundle/``; an existing
        checkpoint is resumed.
    data : TrainingData
    report : callable
        Receives a line at every validation, after log and checkpoint are written, and lines before
        the first step if labels or windows do not fully match.

    Raises
    ------
    OutputError
        The folder cannot be written, or contains a checkpoint of another training.
    InputError
        As for :func:`bids_mfi.training.begin.make_progress`, or the cases have no signal.
    MFIError
        The training diverged.
    """
    options, out_dir, start = plan.options, plan.out_dir, plan.start
    progress = make_progress(plan, data)
    if (out_dir / CHECKPOINT).exists():
        read_checkpoint(out_dir / CHECKPOINT, options, data, progress)
        report(f"resuming from step {progress.step}")
    elif progress.draft.intensity == LANDMARKS and not progress.draft.landmarks:
        progress.draft = replace(progress.draft, landmarks=learn_from_cases(data))
    write_log(progress, data.table, out_dir)  # fails early if the folder cannot be written
    for lines in (
        describe_lacking(data.table, start),
        describe_network(options, start),
        describe_large_window(options, data),
    ):
        for line in lines:
            report(line)
    if start is not None and not progress.rows:
        line = validate(progress, data, options, math.nan)  # the baseline to improve on
        write_log(progress, data.table, out_dir)
        report(line)
    with name_dead_workers():
        take_all_steps(plan, data, progress, report)
    return write_trained_bundle(plan, data, progress)


def take_all_steps(
    plan: TrainingPlan, data: TrainingData, progress: Progress, report: Callable[[str], None]
) -> None:
    """Train from the current step to the last, or until validations stop improving."""
    options, device, out_dir = plan.options, plan.device, plan.out_dir
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


def set_learning_rate(optimiser: torch.optim.Optimizer, options: TrainOptions, step: int) -> None:
    """Set the learning rate of a step."""
    factor = rate_factor(step, options.steps) if options.schedule == "cosine" else 1.0
    for group in optimiser.param_groups:
        group["lr"] = options.learning_rate * factor


def rate_factor(step: int, steps: int) -> float:
    """Return the rate factor: a rise over WARM_UP_STEPS steps, then half a cosine towards 0.

    >>> rate_factor(49, 1000), round(rate_factor(999, 1000), 4)
    (1.0, 0.0)
    """
    warm_up = min(WARM_UP_STEPS, steps // 10)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - warm_up) / (steps + 1 - warm_up)))


def take_step(progress: Progress, options: TrainOptions, images: Tensor, labels: Tensor) -> float:
    """Take one optimiser step and return the loss before it.

    Raises
    ------
    MFIError
        The loss is not finite; the weights are unchanged.
    """
    network = progress.network.train()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=progress.bfloat16):
        if options.in_network_affine:
            rng = np.random.default_rng([options.seed, progress.step, 0, AFFINE_CHANCE])
            affines = draw_corner_affines(rng, len(images), options.in_network_affine)
            logits = logits_through_affine(network, images, affines)
        else:
            logits = network(images)  # (batch, classes, x, y, z)
    logits, labels = fold_unknown_vertebrae(logits.float(), labels, progress.draft.muscle_classes)
    loss = LOSS_FUNCTIONS[options.loss](logits, labels)
    progress.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    value = float(loss.detach())  # only now, because it waits for a GPU
    if not math.isfinite(value):
        raise diverged(progress.step, f"the loss is {value}")
    progress.optimiser.step()
    if progress.averaged is not None:
        progress.averaged.update_parameters(network)
    return value


def write_trained_bundle(plan: TrainingPlan, data: TrainingData, progress: Progress) -> ModelBundle:
    """Write the best or last weights as a bundle, with the recipe and their Dice."""
    bundle = replace(
        progress.draft,
        folder=plan.out_dir / BUNDLE,
        training=(*data.ranges, *describe_recipe(plan.options, data, progress)),
    )
    last = progress.result.state_dict()
    state = progress.best_state if plan.options.keep == "best" else last
    plain = {name: tensor.contiguous() for name, tensor in state.items()}
    return write_bundle(bundle, plain, plan.card.licence_text)
