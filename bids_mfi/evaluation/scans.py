"""One scan: two label maps against each other.

MFI and volume of both maps are measured on the same images, as in the paper, or taken from their
tables. For a muscle without a voxel, both are NaN, not 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_mfi.bids.scan_results import read_scan_table
from bids_mfi.errors import InputError, PairError
from bids_mfi.evaluation.mismatch import Mismatches, find_mismatches
from bids_mfi.evaluation.pairing import ScanImages, ScanPair
from bids_mfi.grid import Grid, describe_difference, reorient_like, same_grid
from bids_mfi.images import read_labels
from bids_mfi.measure.overlap import SegmentationCounts, count_voxels, measure_surfaces
from bids_mfi.measure.pair_images import read_signals
from bids_mfi.measure.quantify import measure_muscles
from bids_mfi.muscles import Muscle, MuscleTable
from bids_mfi.statistics.agreement import NAN

Labels = NDArray[np.int16]
Box = tuple[slice, slice, slice]
Measured = tuple[float, float]  # MFI in percent, volume in ml
METRICS = ("dice", "jaccard", "conformity", "tpr", "tnr", "ppv", "volume_ratio")
SURFACES = ("surface_mean_mm", "hausdorff95_mm")
MAPS = ("truth", "prediction")


@dataclass(frozen=True, slots=True)
class MuscleRow:
    """One muscle of one scan.

    Attributes
    ----------
    scan, participant_id, session_id : str
        ``session_id`` is ``n/a`` without sessions.
    muscle : Muscle
    counts : SegmentationCounts
    surface_mean_mm, hausdorff95_mm : float
    mfi_percent_truth, mfi_percent_prediction : float
    volume_ml_truth, volume_ml_prediction : float
    """

    scan: str
    participant_id: str
    session_id: str
    muscle: Muscle
    counts: SegmentationCounts
    surface_mean_mm: float
    hausdorff95_mm: float
    mfi_percent_truth: float
    mfi_percent_prediction: float
    volume_ml_truth: float
    volume_ml_prediction: float

    def metric(self, name: str) -> float:
        """Value of one of METRICS or SURFACES."""
        return float(getattr(self if name in SURFACES else self.counts, name))


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Results of one scan.

    Attributes
    ----------
    rows : tuple of MuscleRow
        One per muscle, in the order of the label table.
    grid : Grid
        Of the true label map.
    unknown : mapping of (str, int) to int
        Voxels of each label that is not in the table, by ``truth`` or ``prediction`` and the label.
    doubts : Mismatches
    """

    rows: tuple[MuscleRow, ...]
    grid: Grid
    unknown: Mapping[tuple[str, int], int] = field(default_factory=dict)
    doubts: Mismatches = field(default_factory=Mismatches)


def evaluate_scan(
    pair: ScanPair, table: MuscleTable, source: ScanImages | tuple[Path, Path]
) -> ScanResult:
    """Compare the prediction of one scan with its truth.

    Parameters
    ----------
    pair : ScanPair
    table : MuscleTable
    source : ScanImages or (Path, Path)
        Images on which MFI and volume are measured, or the ``*_mfi.tsv`` of truth and prediction.

    Raises
    ------
    InputError
        A file cannot be read, or the label maps have different voxels.
    """
    truth, grid = read_labels(pair.truth)
    prediction = align(*read_labels(pair.prediction), grid, pair.prediction, pair.truth)
    counts = count_voxels(truth, prediction, (muscle.index for muscle in table))
    maps = (truth, prediction)
    if isinstance(source, ScanImages):
        measured = _measure_on_images(maps, grid, table, source, pair)
    else:
        measured = _read_measured(table, source, counts)
    return ScanResult(
        tuple(
            _make_row(pair, muscle, counts[muscle.index], surface, values)
            for muscle, surface, values in zip(
                table, _measure_all_surfaces(maps, grid, table), measured, strict=True
            )
        ),
        grid,
        count_unknown(maps, table),
        find_mismatches(dict(zip(MAPS, maps, strict=True)), grid, table),
    )


def align(volume: Labels, grid: Grid, wanted: Grid, path: Path, reference: Path) -> Labels:
    """Bring labels to the storage order of another grid of the same voxels.

    Raises
    ------
    PairError
        The voxels are elsewhere.
    """
    if same_grid(grid, wanted):
        return volume
    turned, turned_grid = reorient_like(volume, grid, wanted)
    if not same_grid(turned_grid, wanted):
        stored = ["".join(one.axcodes) for one in (wanted, grid)]
        order = f"; stored as {stored[0]} and {stored[1]}" if stored[0] != stored[1] else ""
        raise PairError(
            f"{path} and {reference}: do not have the same voxels "
            f"({describe_difference(wanted, turned_grid)}{order}). Expected labels of one scan on "
            "its own grid; resample one to the other with nearest neighbours."
        )
    return turned.astype(np.int16)


def _measure_on_images(
    maps: tuple[Labels, Labels],
    grid: Grid,
    table: MuscleTable,
    source: ScanImages,
    pair: ScanPair,
) -> list[tuple[Measured, Measured]]:
    """MFI and volume of both maps on the same images: one pair per muscle."""
    signals, image_grid = read_signals(source.pair, source.fat_water)
    images = source.pair.in_phase
    maps = (
        align(maps[0], grid, image_grid, pair.truth, images),
        align(maps[1], grid, image_grid, pair.prediction, images),
    )
    box = find_box(maps[0] | maps[1])
    found = [
        measure_muscles(
            labels[box], signals.water[box], signals.fat[box], image_grid.voxel_volume_ml, table
        )
        for labels in maps
    ]
    return [
        ((true.mfi_percent, true.volume_ml), (ours.mfi_percent, ours.volume_ml))
        for true, ours in zip(*found, strict=True)
    ]


def find_box(labels: Labels) -> Box:
    """Smallest box with all that is not 0; everything if there is nothing."""
    boxes = ndimage.find_objects((labels != 0).astype(np.uint8))
    x, y, z = boxes[0] if boxes else (slice(None),) * 3
    return x, y, z


def _read_measured(
    table: MuscleTable, paths: tuple[Path, Path], counts: Mapping[int, SegmentationCounts]
) -> list[tuple[Measured, Measured]]:
    found = [_read_values(path) for path in paths]
    nothing = (NAN, NAN)
    pairs = []
    for muscle in table:
        key, count = (muscle.muscle, muscle.hemi), counts[muscle.index]
        voxels = (count.tp + count.fn, count.tp + count.fp)
        true, ours = (
            values.get(key, nothing) if there else nothing
            for values, there in zip(found, voxels, strict=True)
        )
        pairs.append((true, ours))
    return pairs


def _read_values(path: Path) -> dict[tuple[str, str], Measured]:
    rows = read_scan_table(path)
    columns = (rows[name] for name in ("muscle", "hemi", "mfi_percent", "volume_ml"))
    return {
        (str(muscle), str(hemi)): (float(mfi), float(volume))
        for muscle, hemi, mfi, volume in zip(*columns, strict=True)
    }


def _measure_all_surfaces(
    maps: tuple[Labels, Labels], grid: Grid, table: MuscleTable
) -> list[tuple[float, float]]:
    """Surface distances of every muscle, each within the box that holds both of its masks."""
    boxes = [_find_boxes(labels) for labels in maps]
    distances = []
    for muscle in table:
        here, there = (found.get(muscle.index) for found in boxes)
        if here is None or there is None:
            distances.append((NAN, NAN))
            continue
        box = tuple(
            slice(min(a.start, b.start), max(a.stop, b.stop))
            for a, b in zip(here, there, strict=True)
        )
        true, ours = (labels[box] == muscle.index for labels in maps)
        found = measure_surfaces(true, ours, grid)
        distances.append((found.mean_mm, found.percentile95_mm))
    return distances


def _find_boxes(labels: Labels) -> dict[int, Box]:
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    return {index: (box[0], box[1], box[2]) for index, box in boxes if box is not None}


def count_unknown(maps: tuple[Labels, Labels], table: MuscleTable) -> dict[tuple[str, int], int]:
    """Voxels of every label that is not in the table, by map and label.

    Examples
    --------
    >>> from bids_mfi.muscles import WEBER2021
    >>> count_unknown((np.array([0, 1, 99]), np.array([0, 1, 1])), WEBER2021)
    {('truth', 99): 1}
    """
    known = {0, *(muscle.index for muscle in table)}
    return {
        (name, label): int(voxels)
        for name, labels in zip(MAPS, maps, strict=True)
        for label, voxels in enumerate(np.bincount(labels.ravel()))
        if voxels and label not in known
    }


def _make_row(
    pair: ScanPair,
    muscle: Muscle,
    counts: SegmentationCounts,
    surface: tuple[float, float],
    values: tuple[Measured, Measured],
) -> MuscleRow:
    (mfi_truth, volume_truth), (mfi_prediction, volume_prediction) = values
    return MuscleRow(
        scan=pair.scan,
        participant_id=f"sub-{pair.participant}",
        session_id=f"ses-{pair.session}" if pair.session else "n/a",
        muscle=muscle,
        counts=counts,
        surface_mean_mm=surface[0],
        hausdorff95_mm=surface[1],
        mfi_percent_truth=mfi_truth,
        mfi_percent_prediction=mfi_prediction,
        volume_ml_truth=volume_truth,
        volume_ml_prediction=volume_prediction,
    )


def choose_sources(
    pairs: tuple[ScanPair, ...],
    images: Mapping[str, ScanImages | None],
    tables: tuple[Mapping[str, Path], Mapping[str, Path]],
    measure: str,
) -> tuple[str, dict[str, ScanImages | tuple[Path, Path] | None]]:
    """Choose the source of MFI and volume: the same for all scans.

    Parameters
    ----------
    pairs : tuple of ScanPair
    images : mapping of scan to ScanImages or None
    tables : two mappings of scan to Path
        The ``*_mfi.tsv`` of truth and prediction.
    measure : str
        ``images``, ``tables``, or ``auto``: images if those of every scan exist, otherwise tables.

    Returns
    -------
    measure : str
        ``images`` or ``tables``.
    sources : dict of scan to its source
        None where a scan lacks what was requested.

    Raises
    ------
    InputError
        ``auto`` found neither for every scan.
    """
    names = [pair.scan for pair in pairs]
    of_tables = {n: (tables[0][n], tables[1][n]) for n in names if all(n in t for t in tables)}
    no_images = [name for name in names if images.get(name) is None]
    no_tables = [name for name in names if name not in of_tables]
    if measure == "auto":
        if no_images and no_tables:
            raise InputError(
                f"MFI cannot be measured: the images of {_name_first(no_images)} were not found "
                "with the Sources of the sidecars and DatasetLinks of dataset_description.json, "
                f"and {_name_first(no_tables)} has no *_mfi.tsv in both folders. Name the dataset "
                "of the images with --bids-dir, or put tables with muscle, hemi, volume_ml and "
                "mfi_percent beside the label maps of both."
            )
        measure = "tables" if no_images else "images"
    if measure == "images":
        return measure, {name: images.get(name) for name in names}
    return measure, {name: of_tables.get(name) for name in names}


def _name_first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
