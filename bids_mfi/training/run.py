"""Full training run, from data to bundle: connects cases, training loop and curve.

``loop`` is independent of the source of the cases and of the figures; this module joins them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bids_mfi.errors import InputError, OutputError
from bids_mfi.muscles import LONG_NAMES, MuscleTable, paper_table
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.engine_torch import TorchEngine
from bids_mfi.network.loaded_networks import cached_network
from bids_mfi.network.segment import label_channels
from bids_mfi.options import TrainOptions
from bids_mfi.report.curve import draw_curve
from bids_mfi.storage import write_atomically
from bids_mfi.synthesis import anatomical
from bids_mfi.synthesis.cases import (
    TrainingCase,
    describe_phantom_variety,
    make_phantom_case,
    make_varied_case,
)
from bids_mfi.synthesis.labelmap import LabelMap, common_table, find_label_maps, load_label_map
from bids_mfi.synthesis.protocol import VARIED
from bids_mfi.training.batches import (
    DICE_NAMES,
    NEW_SEEDS,
    Case,
    TrainingData,
    channels_of,
)
from bids_mfi.training.checks import CURVE, LOG, SCANS, check_table
from bids_mfi.training.labelled_scans import load_labelled_data
from bids_mfi.training.loop import train
from bids_mfi.training.plan import TrainingOrder, TrainingPlan, plan_training
from bids_mfi.training.scan_plan import ScanPlan, encode_scan_list
from bids_mfi.vertebrae import NO_MUSCLE, VERTEBRAE

# Seeds of synthetic cases. Validation seeds are below training seeds, so no case is in both.
VALIDATION_SEED = 1_000
VALIDATION_CASES = 8
TRAINING_SEED = 1_000_000_000
MOST_CASES = 10_000_000
WHOLE_TABLE = paper_table(dict.fromkeys(LONG_NAMES, "all"))  # of the phantom


def run_training(order: TrainingOrder, report: Callable[[str], None]) -> ModelBundle:
    """Run the requested training, or resume the one in ``out_dir``.

    Parameters
    ----------
    order : TrainingOrder
    report : callable
        Receives human-readable lines: the data found, then one at every validation.

    Raises
    ------
    MFIError
        As for :func:`plan_training` and :func:`bids_mfi.training.loop.train`, or the data cannot
        be used.
    """
    plan = plan_training(order)
    scans = None
    if plan.source is None:
        report(f"making {VALIDATION_CASES} synthetic scans for validation ...")
        data = synthetic_data(plan)
    else:
        data, scans = load_labelled_data(plan, plan.source, report)
        data = mark_vertebrae_unknown(data, plan.options)

    def show(line: str) -> None:
        write_side_files(plan.out_dir, data, scans)
        report(line)

    bundle = train(plan, data, show)
    write_side_files(plan.out_dir, data, scans)
    return bundle


def synthetic_data(plan: TrainingPlan) -> TrainingData:
    """Provide synthetic scans of label maps and of the built-in phantom, made on request.

    Without label maps, all scans show the phantom. The bundle to start from labels the share
    ``relabelled_share`` of the scans.

    Raises
    ------
    InputError, BundleError
        A label map cannot be used, or its labels do not match the bundle to start from.
    """
    options, start = plan.options, plan.start
    first = TRAINING_SEED + options.seed * MOST_CASES
    if not plan.label_maps:
        check_table(WHOLE_TABLE, options, start)
        return mark_vertebrae_unknown(_phantom_data(options, first), options)
    paths = find_label_maps(plan.label_maps)
    maps = [load_label_map(path) for path in paths]
    table = common_table(paths, maps, options.levels)
    check_phantom(table, options)
    if start is None or not start.vertebrae:
        check_named_vertebrae(options, paths, maps)
    check_table(table, options, start)
    # Worker processes cannot share the GPU of the training process.
    device = torch.device("cpu") if options.workers else plan.device

    def case_at(seed: int) -> Case:
        if np.random.default_rng([seed, 2]).random() < options.phantom_share:
            return without_vertebrae(make_varied_case(seed, options.spacing_mm), options)
        levels = "vertebrae" if options.vertebrae else options.levels
        protocol = choose_protocol(seed, options)
        return anatomical.make_case(maps, seed, options.spacing_mm, protocol, levels, device)

    def training_case_at(seed: int) -> Case:
        chance = np.random.default_rng([seed, 5]).random()
        if start is None or chance >= options.relabelled_share:
            return case_at(seed)
        protocol = choose_protocol(seed, options)
        quiet, noisy = anatomical.make_noise_pair(maps, seed, options.spacing_mm, protocol, device)
        labels = label_quietly(quiet, start, options, device)
        learnt = np.isin(labels, [muscle.index for muscle in table])
        named = replace(noisy, labels=np.where(learnt, labels, np.int16(0)))
        return without_vertebrae(named, options)

    others = "other scans" if options.relabelled_share else "scans"
    share = f"{100 * options.phantom_share:g} % of the {others} are of the built-in phantom"
    ranges = [
        *anatomical.describe_variety(paths, options.spacing_mm, options.randomised_share),
        ("phantom", share),
    ]
    if start is not None and options.relabelled_share:
        ranges.append(("relabelled", describe_relabelled(options, start)))
    return TrainingData(
        case_at=lambda number: training_case_at(first + number),
        validation=[case_at(VALIDATION_SEED + i) for i in range(VALIDATION_CASES)],
        table=table,
        ranges=tuple(ranges),
        validated_on=NEW_SEEDS,
    )


def choose_protocol(seed: int, options: TrainOptions) -> str:
    """Choose whether a scan of a label map uses the wide ranges."""
    randomised = np.random.default_rng([seed, 6]).random() < options.randomised_share
    return anatomical.RANDOMISED if randomised else VARIED


def check_named_vertebrae(
    options: TrainOptions, paths: Sequence[Path], maps: Sequence[LabelMap]
) -> None:
    """Reject label maps that together do not name every vertebra the network learns.

    Raises
    ------
    InputError
    """
    named = {name for label_map in maps for name, _, _ in label_map.levels}
    missing = [name for name in VERTEBRAE if name not in named]
    if options.vertebrae and missing:
        raise InputError(
            f"{', '.join(map(str, paths))}: do not name the vertebrae {', '.join(missing)}, "
            f"expected {VERTEBRAE[0]} to {VERTEBRAE[-1]} across the maps, because the network "
            "has a class for each. Add a map that names them, or set vertebrae to false in "
            "the recipe."
        )


def mark_vertebrae_unknown(data: TrainingData, options: TrainOptions) -> TrainingData:
    """Let a network with vertebra classes learn from scans whose labels are muscles only."""
    if not options.vertebrae:
        return data
    read = data.case_at
    return replace(data, case_at=lambda number: without_vertebrae(read(number), options))


def without_vertebrae(case: Case, options: TrainOptions) -> Case:
    """Mark the vertebrae of a case as unknown, if the network learns vertebrae."""
    if not options.vertebrae:
        return case
    labels = np.where(case.labels == 0, np.int16(NO_MUSCLE), case.labels).astype(np.int16)
    return TrainingCase(case.in_phase, case.out_phase, labels, case.grid)


def label_quietly(
    case: TrainingCase, bundle: ModelBundle, options: TrainOptions, device: torch.device
) -> NDArray[np.int16]:
    """Label a case with a bundle, with test-time mirroring if the bundle uses it.

    The precision is that of the training, except on CUDA devices, where it is float32 unless
    ``bfloat16`` is requested.
    """
    engine = TorchEngine(cached_network(bundle, device))
    with torch.autocast(device.type, torch.bfloat16, enabled=bool(options.bfloat16)):
        return label_channels(channels_of(case), bundle, engine)


def describe_relabelled(options: TrainOptions, start: ModelBundle) -> str:
    """Describe the effect of ``relabelled_share``."""
    low, high = anatomical.STRONG_NOISE
    mirrored = ", the mean of scan and mirror image" if start.mirrored else ""
    return (
        f"{100 * options.relabelled_share:g} % of the scans learnt from show a label map with "
        f"noise of {low:g}-{high:g} of the muscles' signal and carry the labels that the bundle "
        f"started from gives the same scan with {anatomical.QUIET_NOISE:g} at most{mirrored}"
    )


def _phantom_data(options: TrainOptions, first: int) -> TrainingData:
    spacing_mm = options.spacing_mm
    return TrainingData(
        case_at=lambda number: make_varied_case(first + number, spacing_mm),
        validation=[
            make_phantom_case(VALIDATION_SEED + i, spacing_mm) for i in range(VALIDATION_CASES)
        ],
        table=WHOLE_TABLE,
        ranges=describe_phantom_variety(spacing_mm),
        validated_on=NEW_SEEDS,
    )


def check_phantom(table: MuscleTable, options: TrainOptions) -> None:
    """Reject a mixture of label-map and phantom scans whose labels differ.

    Raises
    ------
    InputError
    """
    if options.phantom_share > 0 and table != WHOLE_TABLE:
        raise InputError(
            f"phantom_share is {options.phantom_share:g}, but the phantom has no vertebral levels "
            "and contains all fourteen muscles, unlike these scans. Set it to 0 in the recipe."
        )


def write_side_files(out_dir: Path, data: TrainingData, plan: ScanPlan | None) -> None:
    """Write the files besides the training state: the curve and the list of scans.

    They are written after the training has started, so another training's folder stays unchanged.
    """
    write_curve(out_dir, data)
    if plan is not None:
        write_atomically(out_dir / SCANS, encode_scan_list(plan))


def write_curve(out_dir: Path, data: TrainingData) -> None:
    """Plot ``log.tsv`` to ``curve.svg``.

    Raises
    ------
    OutputError
        The log cannot be read, or the curve cannot be written.
    """
    try:
        header, *lines = (out_dir / LOG).read_text(encoding="utf-8").splitlines()
        columns = header.split("\t")
        rows = [
            dict(zip(columns, map(read_log_number, line.split("\t")), strict=True))
            for line in lines
        ]
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{out_dir / LOG}: cannot be read back ({error}), expected the log of this training. "
            "Do not change the folder while the training writes it."
        ) from error
    if rows:
        write_atomically(out_dir / CURVE, draw_curve(rows, DICE_NAMES[data.validated_on]))


def read_log_number(text: str) -> float:
    """Parse a number of the log; ``n/a`` is NaN.

    >>> read_log_number("0.25"), read_log_number("n/a")
    (0.25, nan)
    """
    return math.nan if text == "n/a" else float(text)
