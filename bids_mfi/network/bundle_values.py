"""Limits on the values of a bundle."""

import math
from itertools import pairwise

from bids_mfi.errors import BundleError, InputError
from bids_mfi.images import MAX_SPACING_MM, MIN_SPACING_MM
from bids_mfi.network.architecture import NORMALIZATIONS, SIZE_DIVISOR, STEM_STRIDES, WIDTHS
from bids_mfi.network.bundle import (
    CHANNELS,
    INFERENCE_MODES,
    LABEL_FIELDS,
    METADATA,
    NIFTYNET,
    REMEDY,
    WHOLE_VOLUME,
    ModelBundle,
)
from bids_mfi.network.intensity import PROBABILITIES_PERCENT
from bids_mfi.network.metadata_values import read_label_rows, read_list, read_name, read_text
from bids_mfi.network.niftynet_pipeline import LANDMARK_PROBABILITIES
from bids_mfi.options import INTENSITIES, LANDMARKS
from bids_mfi.vertebrae import VERTEBRAE

MOST_WINDOW, MOST_WINDOW_VOXELS = 1024, 2**25
MOST_PADDING = 256


Check = tuple[bool, str, str]
"""Whether a value fits, what was found, and what was expected."""


def check_values(bundle: ModelBundle) -> None:
    """Raise BundleError at the first impossible value."""
    for list_checks in (_check_passes, _check_images, _check_network, _check_labels):
        for fits, finding, expected in list_checks(bundle):
            if not fits:
                raise BundleError(
                    f"{bundle.folder / METADATA}: {finding}, expected {expected}. {REMEDY}"
                )


def _check_images(bundle: ModelBundle) -> tuple[Check, ...]:
    """Check how images are brought to the model grid and standardised."""
    percentiles = _expected_percentiles(bundle)
    knots = len(percentiles)
    pairs_of_axes = ({"L", "R"}, {"P", "A"}, {"I", "S"})
    axes = set(bundle.axcodes)
    return (
        (bundle.channels == CHANNELS, f"channels {bundle.channels}", f"{CHANNELS}"),
        (bundle.landmark_percentiles == percentiles,
         f"landmark_percentiles {list(bundle.landmark_percentiles)}", f"{list(percentiles)}"),
        (all(len(row) == knots for row in bundle.landmarks),
         f"{[len(row) for row in bundle.landmarks]} landmarks", f"{knots} for each channel"),
        (all(all(a <= b for a, b in pairwise(row)) and (row[:1] < row[-1:] or not knots)
             for row in bundle.landmarks), "landmarks that decrease", "rising ones"),
        (bundle.intensity in INTENSITIES, f"intensity {bundle.intensity!r}",
         " or ".join(INTENSITIES)),
        (bundle.intensity == LANDMARKS or bundle.inference != NIFTYNET,
         f"intensity {bundle.intensity!r} with NiftyNet's path", f"intensity {LANDMARKS!r} there"),
        (all(MIN_SPACING_MM <= size <= MAX_SPACING_MM for size in bundle.spacing_mm),
         f"spacing_mm {bundle.spacing_mm}",
         f"numbers from {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g}"),
        (all(len(pair & axes) == 1 for pair in pairs_of_axes),
         f"axcodes {bundle.axcodes}", "one of L/R, one of P/A, one of I/S"),
    )  # fmt: skip


def _check_passes(bundle: ModelBundle) -> tuple[Check, ...]:
    """Check how the volume is given to the network: mirrored, padded, in windows."""
    windows = bundle.inference != WHOLE_VOLUME
    margins = [*zip(bundle.border, bundle.window, strict=True)]
    return (
        (not bundle.mirrored or bundle.inference != NIFTYNET, "mirrored with NiftyNet's path",
         "mirrored only with whole_volume or windows"),
        (bundle.inference in INFERENCE_MODES, f"inference {bundle.inference!r}",
         " or ".join(INFERENCE_MODES)),
        (all(0 <= size <= MOST_PADDING for size in bundle.padding),
         f"padding {bundle.padding}", f"0 to {MOST_PADDING} voxels"),
        (not windows or (all(0 < w <= MOST_WINDOW and w % SIZE_DIVISOR == 0 for w in bundle.window)
                         and math.prod(bundle.window) <= MOST_WINDOW_VOXELS),
         f"window {bundle.window}", f"multiples of {SIZE_DIVISOR} up to {MOST_WINDOW}, "
         f"{MOST_WINDOW_VOXELS} voxels in all"),
        (not windows or all(0 <= 2 * b < w for b, w in margins),
         f"border {bundle.border}", "less than half of the window"),
    )  # fmt: skip


def _check_network(bundle: ModelBundle) -> tuple[Check, ...]:
    """Check the arguments of the network."""
    return (
        (bundle.normalization in NORMALIZATIONS, f"normalization {bundle.normalization!r}",
         " or ".join(NORMALIZATIONS)),
        (set(bundle.stem_stride) <= set(STEM_STRIDES), f"stem_stride {bundle.stem_stride}",
         f"of {STEM_STRIDES}"),
        (bundle.widths in WIDTHS, f"widths {bundle.widths!r}", " or ".join(WIDTHS)),
    )  # fmt: skip


def _check_labels(bundle: ModelBundle) -> tuple[Check, ...]:
    """Check the labels of muscles and vertebrae."""
    return (
        (bundle.vertebrae in _runs_of_vertebrae(), f"vertebrae {list(bundle.vertebrae)}",
         f"neighbours in their order, each once, of {', '.join(VERTEBRAE)}"),
        (not bundle.vertebrae or bundle.inference != NIFTYNET, "vertebrae with NiftyNet's path",
         "none there"),
        (len(bundle.table) > 0, "no labels", "at least one"),
        (isinstance(bundle.mirrored, bool), f"mirrored {bundle.mirrored!r}", "true or false"),
        (not bundle.mirrored or bundle.table.has_both_sides,
         "mirrored, and a muscle on one side or twice", "every muscle once on both sides"),
    )  # fmt: skip


def _runs_of_vertebrae() -> set[tuple[str, ...]]:
    """Consecutive vertebrae, from the top down; may be empty."""
    ends = range(len(VERTEBRAE) + 1)
    return {VERTEBRAE[first:last] for first in ends for last in ends}


def _expected_percentiles(bundle: ModelBundle) -> tuple[float, ...]:
    """Those of ``intensity``; NiftyNet's own with the first and last as the bundle has them."""
    if bundle.intensity != LANDMARKS:
        return ()
    if bundle.inference != NIFTYNET or not bundle.landmark_percentiles:
        return PROBABILITIES_PERCENT
    first, last = bundle.landmark_percentiles[0], bundle.landmark_percentiles[-1]
    inner = tuple(100 * probability for probability in LANDMARK_PROBABILITIES)
    return (min(max(first, 0.0), 9.0), *inner, max(min(last, 100.0), 91.0))


def check_texts(bundle: ModelBundle) -> None:
    """Refuse names, texts and labels that :func:`load_bundle` would refuse once they are written.

    A training calls it before it starts, not only when it saves its weights.

    Raises
    ------
    InputError
    """
    rows = [{name: getattr(muscle, name) for name in LABEL_FIELDS} for muscle in bundle.table]
    checks = (
        ("card", "name", read_name, bundle.name),
        ("card", "version", read_name, bundle.version),
        ("card", "licence", read_name, bundle.licence),
        ("card", "description", read_text, bundle.description),
        ("card", "references", lambda texts: read_list(read_text, texts), bundle.references),
        ("label table", "labels", read_label_rows, rows),
    )
    for source, what, read, value in checks:
        try:
            read(value)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{what}: {error}. A model bundle with this value could not be read; correct the "
                f"{source}."
            ) from error
