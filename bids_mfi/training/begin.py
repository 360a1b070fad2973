"""Initial network, intensity landmarks and bundle draft of a training."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from bids_mfi.errors import InputError
from bids_mfi.muscles import MuscleTable
from bids_mfi.network.bundle import WHOLE_VOLUME, WINDOWS, ModelBundle
from bids_mfi.network.bundle_values import check_texts
from bids_mfi.network.dense_vnet import DebiasedBatchNorm, DenseVNet
from bids_mfi.network.intensity import PROBABILITIES_PERCENT, Landmarks, learn_landmarks
from bids_mfi.network.loaded_networks import load_network
from bids_mfi.options import LANDMARKS, LOCAL, TrainOptions
from bids_mfi.training.average import average_weights
from bids_mfi.training.batches import TrainingData, channels_of
from bids_mfi.training.bundle_card import UNNAMED_CARD
from bids_mfi.training.checks import check_average, check_validation
from bids_mfi.training.model_cards import ModelCard
from bids_mfi.training.plan import TrainingPlan
from bids_mfi.training.state import Progress
from bids_mfi.training.widen import set_classes, widen
from bids_mfi.vertebrae import VERTEBRAE

LANDMARK_CASES = 16
SETTLED_UPDATES = 1000


def make_progress(plan: TrainingPlan, data: TrainingData) -> Progress:
    """Create the initial state: random weights without landmarks, or both from the start bundle.

    Raises
    ------
    InputError
        Averaged weights would have the running statistics of other weights; no validation case
        contains a muscle; or a text cannot be part of a bundle.
    """
    options, start, device = plan.options, plan.start, plan.device
    check_average(options)
    check_validation(data)
    torch.manual_seed(options.seed)
    network = begin_network(options, data.table, start).to(device)
    if device.type == "cpu":  # oneDNN convolves faster with adjacent channels
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    draft = draft_bundle(options, data.table, plan.card, start)
    check_texts(draft)
    bfloat16 = device.type == "cuda" if options.bfloat16 is None else options.bfloat16
    averaged = average_weights(network, options.average_steps) if options.average_steps else None
    return Progress(network, optimiser, draft, start, bfloat16, averaged)


def begin_network(
    options: TrainOptions, table: MuscleTable, start: ModelBundle | None
) -> DenseVNet:
    """Make the initial network: random weights, or those of ``start``, widened on request."""
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
    """Learn intensity landmarks from all cases, or the first ones if their number is unlimited.

    Raises
    ------
    InputError
        The landmarks do not rise or are not finite.
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


def settle_averages(network: DenseVNet) -> DenseVNet:
    """Mark the averages of batch normalisation as mature, so that no batch replaces them."""
    for module in network.modules():
        if isinstance(module, DebiasedBatchNorm) and module.num_batches_tracked is not None:
            module.num_batches_tracked.fill_(SETTLED_UPDATES)
    return network


def draft_intensity(options: TrainOptions) -> dict[str, Any]:
    """Return the bundle fields for intensity standardisation, before landmarks are learnt."""
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
    """Draft the bundle of a training, before its folder, landmarks and weights exist."""
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
        inference=WHOLE_VOLUME if options.window is None else WINDOWS,
        window=options.window or (0, 0, 0),
        border=options.border,
        padding=options.padding,
        normalization=options.normalization,
        stem_stride=options.stem_stride,
        widths=options.widths,
        mirrored=bool(options.mirrored),
        vertebrae=VERTEBRAE if options.vertebrae else (),
    )
