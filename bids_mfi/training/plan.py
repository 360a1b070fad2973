"""Plan of a training, made once before the data are read."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bids_mfi.errors import InputError
from bids_mfi.network.architecture import PUBLISHED_WIDTHS
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.network.devices import choose_device
from bids_mfi.network.inference import choose_inference
from bids_mfi.options import LANDMARKS, TrainOptions
from bids_mfi.storage import check_writable
from bids_mfi.training.bundle_card import DEFAULT_NAME, UNNAMED_CARD, custom_card
from bids_mfi.training.checks import check_folder
from bids_mfi.training.model_cards import ModelCard, read_card
from bids_mfi.training.scan_plan import LabelledSource

# Options for tuning whole-volume bundles. A bundle with windows keeps them and ignores these.
YIELDING = frozenset({"least_crop"})


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """The request of ``python -m bids_mfi train``.

    Attributes
    ----------
    out_dir : Path
        Receives the log, the curve, the checkpoint and the bundle.
    options : TrainOptions
    source : LabelledSource or None
        Labelled scans; None for synthetic ones.
    label_maps : tuple of Path
        Label maps of necks, or folders of them, as the source of synthetic scans.
    start : Path or None
        Folder of the bundle to start from; None for random weights.
    name, licence : str or None
        Name and licence of the new bundle.
    card : str or None
        Name or file of a card with these and other fields.
    stated : frozenset of str
        Options that the user or the recipe states; the others are defaults.
    """

    out_dir: Path
    options: TrainOptions
    source: LabelledSource | None = None
    label_maps: tuple[Path, ...] = ()
    start: Path | None = None
    name: str | None = None
    licence: str | None = None
    card: str | None = None
    stated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """All inputs of a training except the data, determined once.

    Attributes
    ----------
    out_dir : Path
        Empty, or contains a training to resume.
    options : TrainOptions
        Options of the order, adjusted to the bundle to start from.
    device : torch.device
    card : ModelCard
        Card of the new bundle.
    start : ModelBundle or None
    source : LabelledSource or None
    label_maps : tuple of Path
        All three as in :class:`TrainingOrder`; the bundle has been read and verified.
    """

    out_dir: Path
    options: TrainOptions
    device: torch.device
    card: ModelCard
    start: ModelBundle | None = None
    source: LabelledSource | None = None
    label_maps: tuple[Path, ...] = ()


def plan_training(order: TrainingOrder) -> TrainingPlan:
    """Make the plan before the data are read; a dry run starts with it too.

    Raises
    ------
    MFIError
        The folder, the bundle to start from, the device, the card or an option cannot be used.
    """
    check_folder(order.out_dir)
    check_writable(order.out_dir.absolute())
    start = None if order.start is None else load_bundle(order.start)
    device = torch.device(choose_device(order.options.device))
    options = settle_options(order.options, start)
    check_stated(order, options)
    plan = TrainingPlan(
        order.out_dir, options, device, UNNAMED_CARD, start, order.source, order.label_maps
    )
    check_relabelled(plan)
    check_vertebrae(plan)
    return replace(plan, card=choose_card(order, start))


def settle_options(options: TrainOptions, start: ModelBundle | None) -> TrainOptions:
    """Replace options that depend on the weights with those of the bundle to start from."""
    if start is None:
        vertebrae = bool(options.vertebrae)
        return replace(options, intensity=options.intensity or LANDMARKS, vertebrae=vertebrae)
    whole = choose_inference(start).whole
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


def check_stated(order: TrainingOrder, settled: TrainOptions) -> None:
    """Reject stated options that contradict the bundle to start from.

    Raises
    ------
    InputError
    """
    for key in sorted(order.stated - YIELDING):
        wanted, decided = getattr(order.options, key), getattr(settled, key)
        if wanted != decided:
            raise InputError(
                f"{order.start}: was made with {key} {decided}, but the recipe or the command line "
                f"states {wanted}; expected the bundle's value, which its weights need. Leave "
                f"{key} out, or train from random weights, without --from."
            )


def check_relabelled(plan: TrainingPlan) -> None:
    """Reject ``relabelled_share`` without label maps or without a suitable bundle.

    Raises
    ------
    InputError
    """
    options, start = plan.options, plan.start
    if not options.relabelled_share:
        return
    whole = start is not None and all(muscle.levels == "all" for muscle in start.table)
    findings = {
        "no label map is given (--label-map)": not plan.label_maps,
        "no bundle to start from is given (--from)": start is None,
        "the bundle was converted from NiftyNet": start and not choose_inference(start).mirrors,
        "the bundle labels muscles only at some levels": start and not whole,
        'the recipe requests levels other than "all"': options.levels != "all",
    }
    for finding, found in findings.items():
        if found:
            raise InputError(
                f"relabelled_share is {options.relabelled_share:g}, but {finding}. Expected scans "
                "of label maps and a bundle to start from that labels muscles over their whole "
                "length. Provide what is missing, or set relabelled_share to 0 in the recipe."
            )


def check_vertebrae(plan: TrainingPlan) -> None:
    """Reject vertebra classes without data or a bundle to learn them from.

    Raises
    ------
    InputError
    """
    options, start = plan.options, plan.start
    known = start is not None and bool(start.vertebrae)
    if options.vertebrae and options.levels != "all":
        raise InputError(
            f'the recipe requests vertebrae and levels "{options.levels}"; expected levels "all", '
            "because a network with vertebrae cuts the levels at inference. Set "
            'levels to "all", or vertebrae to false.'
        )
    if options.vertebrae and not plan.label_maps and not known:
        raise InputError(
            "vertebrae is true, but neither label maps nor the bundle to start from contain any. "
            "Expected label maps that name vertebrae: add --label-map, or set vertebrae to false "
            "in the recipe."
        )


def choose_card(order: TrainingOrder, start: ModelBundle | None) -> ModelCard:
    """Read the named card, or make one from name and licence."""
    if order.card is not None:
        return read_card(order.card)
    return custom_card(order.name or DEFAULT_NAME, order.licence, start)
