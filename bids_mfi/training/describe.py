"""How weights were made, in words for the bundle's metadata."""

from collections.abc import Mapping, Sequence

from bids_mfi.network.bundle import ModelBundle
from bids_mfi.options import TrainOptions
from bids_mfi.training.batches import TrainingData
from bids_mfi.training.state import Progress

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
