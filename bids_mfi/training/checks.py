"""Checks and reports before the first step."""

from pathlib import Path

import numpy as np

from bids_mfi.errors import BundleError, InputError, OutputError
from bids_mfi.muscles import MuscleTable
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.inference import choose_inference
from bids_mfi.options import TrainOptions
from bids_mfi.storage import explain_os_error, remove_stale_partials
from bids_mfi.training.batches import TrainingData
from bids_mfi.training.state import CHECKPOINT

LOG = "log.tsv"
BUNDLE = "bundle"
CURVE = "curve.svg"
SCANS = "scans.tsv"
MOST_CLASSES = 256


def check_folder(out_dir: Path) -> None:
    """Reject a folder with content other than a training, or whose bundle would be lost.

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
            f"{out_dir}: contains a bundle but no {CHECKPOINT}, so nothing can be resumed and the "
            "bundle would be overwritten. Name a new folder, or move the bundle elsewhere."
        )
    others = sorted(found - {LOG, BUNDLE, CURVE, SCANS})
    if others and CHECKPOINT not in found:
        raise OutputError(
            f"{out_dir}: contains other files ({others[0]}) but no training to resume. Name a new "
            "or empty folder."
        )


def check_table(table: MuscleTable, options: TrainOptions, start: ModelBundle | None) -> None:
    """Check that labels can be mirrored and that the network of ``start`` can learn them."""
    classes = 1 + max(muscle.index for muscle in table)
    if classes > MOST_CLASSES:
        raise InputError(
            f"the label table has numbers up to {classes - 1}, expected {MOST_CLASSES - 1} at "
            "most, because the network has a class for every number up to the highest. In the "
            f"table and label maps, renumber the labels 1 to {len(table)}."
        )
    if options.mirror_share or options.mirrored:
        try:
            table.mirrored_indices()
        except KeyError as error:
            raise InputError(
                f"the label table has no {error.args[0]}, expected every muscle on both sides, "
                "because left and right are exchanged in mirrored scans. Add the other side, or "
                "set mirror_share to 0 (training) and mirrored to false (inference) in the recipe."
            ) from error
    if options.mirrored and start is not None and not choose_inference(start).mirrors:
        raise BundleError(
            f"{start.folder}: uses NiftyNet's path, which does not support mirror images, but the "
            "recipe states mirrored = true; expected another bundle. Leave mirrored out."
        )
    if start is not None:
        check_start(table, start)


def check_average(options: TrainOptions) -> None:
    """Reject averaged weights whose running statistics would belong to other weights.

    Raises
    ------
    InputError
    """
    if options.average_steps and options.normalization == "batch":
        raise InputError(
            f"average_steps is {options.average_steps}, but the network normalises by batch: its "
            "running statistics belong to the newest weights, not to their average. Expected "
            'normalization "instance"; in the recipe, set that or set average_steps to 0.'
        )


def check_start(table: MuscleTable, start: ModelBundle) -> None:
    """Reject labels that differ from those of the bundle to start from.

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
            f"label {other.index} for {other.abbreviation}; expected the same numbers. Use the "
            "bundle's numbers for the muscles, or train from random weights, without --from."
        )
    if classes != start.muscle_classes:
        raise BundleError(
            f"{start.folder}: has labels up to {start.muscle_classes - 1}, but those of the data "
            f"go up to {classes - 1}; expected the same maximum. Use the bundle's numbers for the "
            "muscles, or train from random weights, without --from."
        )


def describe_lacking(table: MuscleTable, start: ModelBundle | None) -> list[str]:
    """List the muscles of the start bundle that the data lack."""
    wanted = {muscle.index for muscle in table}
    lacking = [m.abbreviation for m in (start.table if start else ()) if m.index not in wanted]
    if not lacking:
        return []
    return [f"the network will forget muscles of the bundle: the data lack {', '.join(lacking)}"]


def describe_network(options: TrainOptions, start: ModelBundle | None) -> list[str]:
    """Report unexpected changes to the network of the bundle to start from."""
    lines = []
    if start is not None and start.widths != options.widths:
        lines.append(f"the network is widened from {start.widths} to {options.widths}")
    if start is not None and not choose_inference(start).whole:
        lines.append("the training uses the bundle's windows, not boxes of any size")
    return lines


def describe_large_window(options: TrainOptions, data: TrainingData) -> list[str]:
    """Report windows that are larger than the volumes; only a finite set of cases is checked."""
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
        f"{smallest} with padding: the network also learns from copies of their edge"
    ]


def check_validation(data: TrainingData) -> None:
    """Reject validation cases for which no Dice can be measured.

    Raises
    ------
    InputError
    """
    indices = [muscle.index for muscle in data.table]
    if not any(np.isin(case.labels, indices).any() for case in data.validation):
        raise InputError(
            f"no validation case contains a muscle of the label table ({len(data.validation)} "
            "cases), expected at least one, because their Dice selects the weights. Hold out "
            "participants with labels."
        )
