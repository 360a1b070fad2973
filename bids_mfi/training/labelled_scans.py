"""Labelled scans of a BIDS dataset as training cases.

File names alone assign label maps to scans (``scan_plan``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mfi.counts import count_noun
from bids_mfi.errors import MFIError, PairError
from bids_mfi.grid import (
    Grid,
    describe_difference,
    reorient,
    reorient_like,
    same_grid,
)
from bids_mfi.images import read_labels
from bids_mfi.measure.orientation import check_orientation
from bids_mfi.measure.pair import images_of
from bids_mfi.measure.pair_images import read_pair, read_pair_zooms_mm
from bids_mfi.measure.sides import check_sides
from bids_mfi.muscles import MuscleTable
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.inference import choose_inference
from bids_mfi.network.segment import resample_channels
from bids_mfi.options import TrainOptions
from bids_mfi.training.batches import HELD_OUT, LEARNT_FROM, TrainingData
from bids_mfi.training.begin import draft_bundle
from bids_mfi.training.checks import check_table
from bids_mfi.training.plan import TrainingPlan
from bids_mfi.training.scan_plan import (
    ROUND_CHANCE,
    TRAINING,
    VALIDATION,
    LabelledScan,
    LabelledSource,
    ScanPlan,
    describe_plan,
    hash_scans,
    plan_scans,
)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledCase:
    """A labelled scan on the model grid.

    Attributes
    ----------
    in_phase, out_phase : ndarray of float32, shape (x, y, z)
    labels : ndarray of int16, shape (x, y, z)
    grid : Grid
    """

    in_phase: NDArray[np.float32]
    out_phase: NDArray[np.float32]
    labels: NDArray[np.int16]
    grid: Grid


def load_labelled_data(
    plan: TrainingPlan, source: LabelledSource, report: Callable[[str], None]
) -> tuple[TrainingData, ScanPlan]:
    """Find, check and read all labelled scans; keep them in memory on the model grid.

    Parameters
    ----------
    plan : TrainingPlan
        Provides grid, split and seed. A bundle to tune determines how a scan is resampled to the
        model grid.
    source : LabelledSource
    report : callable
        Receives lines that describe the data.

    Raises
    ------
    InputError
        Data cannot be used; the message names the failing scan.
    BundleError
        The labels do not match the bundle to start from.
    """
    options = plan.options
    found = plan_scans(source, options)
    for line in describe_plan(found):
        report(line)
    check_table(found.table, options, plan.start)  # before reading many scans
    draft = draft_bundle(options, found.table, plan.card, plan.start)
    cases = [load_case(scan, found.table, draft) for scan in found.scans]
    for line in [*describe_absent(cases, found.table), *check_cases(found, cases, options)]:
        report(line)
    learnt, held = (
        [case for case, scan in zip(cases, found.scans, strict=True) if scan.role == role]
        for role in (TRAINING, VALIDATION)
    )
    data = TrainingData(
        case_at=in_rounds(learnt, options.seed),
        validation=held or learnt,
        table=found.table,
        ranges=describe_labelled_scans(found, cases),
        count=len(learnt),
        validated_on=HELD_OUT if held else LEARNT_FROM,
    )
    return data, found


def in_rounds(cases: Sequence[LabelledCase], seed: int) -> Callable[[int], LabelledCase]:
    """Return a function from number to case; each round has its own random order."""

    @lru_cache(maxsize=4)
    def order(turn: int) -> list[int]:
        rng = np.random.default_rng([seed, turn, 0, ROUND_CHANCE])
        return [int(place) for place in rng.permutation(len(cases))]

    def case_at(number: int) -> LabelledCase:
        turn, place = divmod(number, len(cases))
        return cases[order(turn)[place]]

    return case_at


def load_case(scan: LabelledScan, table: MuscleTable, draft: ModelBundle) -> LabelledCase:
    """Read a scan with its labels and resample both to the model grid.

    Raises
    ------
    PairError
        An image or the label map cannot be used.
    """
    try:
        in_phase, out_phase, grid = read_pair(scan.pair)
        labels = read_case_labels(scan.labels, grid, table)
        zooms_mm = read_pair_zooms_mm(scan.pair)
        channels, model_grid = resample_channels(in_phase, out_phase, grid, draft, zooms_mm)
    except MFIError as error:
        raise PairError(f"{scan.pair.scan}: {error}") from error
    turned = reorient(labels, grid, draft.axcodes)[0].astype(np.int16)
    resampled = choose_inference(draft).resample_labels(turned, model_grid.shape)
    return LabelledCase(channels[0], channels[1], resampled.astype(np.int16), model_grid)


def read_case_labels(path: Path, grid: Grid, table: MuscleTable) -> NDArray[np.int16]:
    """Read a label map in the voxel order of its scan.

    Returns
    -------
    ndarray of int16, shape of ``grid``

    Raises
    ------
    PairError
        The map has no label, its voxels differ from the scan's, or the table lacks a number.
    """
    stored, stored_grid = read_labels(path)
    if not stored.any():
        raise PairError(f"{path}: all voxels are 0, expected labels; export it again.")
    volume, own = reorient_like(stored, stored_grid, grid)
    if not same_grid(own, grid):
        raise PairError(
            f"{path}: its grid differs from that of the scan ({describe_difference(grid, own)}). "
            "Label the in-phase image itself, or resample the labels to it (nearest neighbour)."
        )
    known = {0, *(muscle.index for muscle in table)}
    strange = [value for value in np.unique(volume).tolist() if value not in known]
    if strange:
        raise PairError(
            f"{path}: contains the values {', '.join(f'{v:g}' for v in strange[:5])}, which the "
            "label table does not name. Correct the map, or add them to dseg.tsv of the derivative."
        )
    return np.asarray(volume, dtype=np.int16)


def describe_absent(cases: Sequence[LabelledCase], table: MuscleTable) -> list[str]:
    """List muscles of the table that no scan contains; their Dice is n/a."""
    present = set().union(*(np.unique(case.labels).tolist() for case in cases))
    absent = [muscle.abbreviation for muscle in table if muscle.index not in present]
    return [f"labelled in no scan: {', '.join(absent)}"] if absent else []


def check_cases(plan: ScanPlan, cases: Sequence[LabelledCase], options: TrainOptions) -> list[str]:
    """Report scans with doubtful sides.

    Raises
    ------
    InputError
        The network cannot learn left and right from the labels, see
        :func:`bids_mfi.measure.sides.check_sides`.
    """
    maps = {
        str(scan.labels): (case.labels, case.grid)
        for scan, case in zip(plan.scans, cases, strict=True)
    }
    lines = check_sides(maps, plan.table, bool(options.mirror_share or options.mirrored))
    for scan in plan.scans:
        files = images_of(scan.pair, "computed") | {"label map": scan.labels}
        lines += [f"{scan.pair.scan}: {flag.message}" for flag in check_orientation(files)]
    return lines


def describe_labelled_scans(
    plan: ScanPlan, cases: Sequence[LabelledCase]
) -> tuple[tuple[str, str], ...]:
    """Describe the training data for the bundle, without participant names."""
    roles = [scan.role for scan in plan.scans]
    people = {role: {s.pair.participant for s in plan.scans if s.role == role} for role in roles}
    extents = np.array([np.multiply(case.grid.shape, case.grid.spacing_mm) for case in cases])
    low, high = extents.min(axis=0), extents.max(axis=0)
    counts = "; ".join(
        f"{count_noun(roles.count(role), f'{role} scan')} of "
        f"{count_noun(len(people[role]), 'participant')}"
        for role in sorted(people)
    )
    return (
        ("data", f"labelled scans of a user: {counts}"),
        (
            "field_of_view_mm",
            " x ".join(f"{a:.0f}-{b:.0f}" for a, b in zip(low, high, strict=True)),
        ),
        ("scans_sha256", hash_scans(plan.scans)),
    )
