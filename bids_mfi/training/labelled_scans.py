"""A BIDS dataset and a derivative with label maps -> training cases; must not know networks.

Scans are found by :mod:`bids_mfi.discovery` as everywhere. The label map of a scan is the
``*_dseg.nii.gz`` in the derivative's folder of the same participant and session whose entities do
not contradict those of the scan; ``seg``, ``desc`` and ``label`` may be anything. Nothing is
guessed: of two candidates that named ``seg-muscle`` is taken, else they are an error, and what
has no counterpart is listed.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mfi import grid as grids
from bids_mfi import tables
from bids_mfi.bids.formats import MISSING
from bids_mfi.bids.names import derivative_stem, prefer_muscle_maps
from bids_mfi.counts import choose_form, count_noun
from bids_mfi.discovery import UnusableScan, find_scans
from bids_mfi.discovery.naming import INDEX_ENTITIES, ImageName, parse_name
from bids_mfi.errors import DatasetError, InputError, MFIError, PairError
from bids_mfi.grid import (
    Grid,
    describe_difference,
    reorient,
    reorient_like,
    resize_linear,
    same_grid,
)
from bids_mfi.measure.dixon import DixonPair, images_of, read_pair, read_pair_zooms_mm
from bids_mfi.measure.orientation import check_orientation
from bids_mfi.measure.sides import check_sides
from bids_mfi.muscles import WEBER2021, MuscleTable
from bids_mfi.network import niftynet_pipeline as niftynet
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.segment import resample_channels
from bids_mfi.options import RunOptions, TrainOptions
from bids_mfi.training.batches import HELD_OUT, LEARNT_FROM, TrainingData
from bids_mfi.training.begin import draft_bundle
from bids_mfi.training.checks import check_table

LABEL_FOLDER = Path("derivatives", "labels")
FREE_ENTITIES = ("seg", "desc", "label")
TRAINING, VALIDATION = "training", "validation"
SHOWN = 10
# Beside those of ``network.train``.
ROUND_CHANCE, SPLIT_CHANCE = 3, 4


@dataclass(frozen=True, slots=True)
class LabelledSource:
    """Where labelled scans are.

    Attributes
    ----------
    selection : RunOptions
        The dataset and which scans of it, as for ``run.py``.
    label_dir : Path or None
        The derivative with the label maps; None for LABEL_FOLDER of the dataset.
    validation_participants : tuple of str
        Labels of participants to hold out, with or without ``sub-``; empty to draw them.
    """

    selection: RunOptions
    label_dir: Path | None = None
    validation_participants: tuple[str, ...] = ()

    @property
    def labels(self) -> Path:
        """Folder of the label maps."""
        return self.label_dir or self.selection.bids_dir / LABEL_FOLDER


@dataclass(frozen=True, slots=True)
class LabelledScan:
    """A scan, its label map, and whether it is learnt from: ``training`` or ``validation``."""

    pair: DixonPair
    labels: Path
    role: str = TRAINING


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """Everything that was found, before an image is read.

    Attributes
    ----------
    scans : tuple of LabelledScan
        Sorted by name.
    table : MuscleTable
    unlabelled : tuple of str
        Scans without a label map.
    unusable : tuple of UnusableScan
        Scans without a label map that could not be used anyway.
    unmatched : tuple of Path
        Label maps of no scan.
    """

    scans: tuple[LabelledScan, ...]
    table: MuscleTable
    unlabelled: tuple[str, ...] = ()
    unusable: tuple[UnusableScan, ...] = ()
    unmatched: tuple[Path, ...] = ()


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
    source: LabelledSource,
    options: TrainOptions,
    start: ModelBundle | None,
    report: Callable[[str], None],
) -> tuple[TrainingData, ScanPlan]:
    """Find, check and read all labelled scans; they are kept in memory on the model grid.

    Parameters
    ----------
    source : LabelledSource
    options : TrainOptions
        Grid, split and seed are used.
    start : ModelBundle or None
        The bundle that is tuned; it decides how a scan reaches the model grid.
    report : callable
        Gets lines that say what was found.

    Raises
    ------
    InputError
        Data cannot be used; a failing scan is named.
    """
    plan = plan_scans(source, options)
    for line in describe_plan(plan):
        report(line)
    check_table(plan.table, options, start)  # before many scans are read
    draft = draft_bundle(options, plan.table, start=start)
    cases = [load_case(scan, plan.table, draft) for scan in plan.scans]
    for line in [*describe_absent(cases, plan.table), *check_cases(plan, cases, options)]:
        report(line)
    learnt, held = (
        [case for case, scan in zip(cases, plan.scans, strict=True) if scan.role == role]
        for role in (TRAINING, VALIDATION)
    )
    data = TrainingData(
        case_at=in_rounds(learnt, options.seed),
        validation=held or learnt,
        table=plan.table,
        ranges=describe_ranges(plan, cases),
        count=len(learnt),
        validated_on=HELD_OUT if held else LEARNT_FROM,
    )
    return data, plan


def in_rounds(cases: Sequence[LabelledCase], seed: int) -> Callable[[int], LabelledCase]:
    """Give each number a case: round after round, each in an order of its own."""

    @lru_cache(maxsize=4)
    def order(turn: int) -> list[int]:
        rng = np.random.default_rng([seed, turn, 0, ROUND_CHANCE])
        return [int(place) for place in rng.permutation(len(cases))]

    def case_at(number: int) -> LabelledCase:
        turn, place = divmod(number, len(cases))
        return cases[order(turn)[place]]

    return case_at


# ---------------------------------------------------------------------------------- finding


def plan_scans(source: LabelledSource, options: TrainOptions) -> ScanPlan:
    """Find scans and their label maps, and decide which are held out; reads no image.

    Raises
    ------
    InputError
        There is no label map, two fit one scan, one fits two scans, a scan with a label map cannot
        be used, or the split leaves nothing.
    """
    folder = source.labels
    maps = list_label_maps(folder)
    found = find_scans(source.selection)
    scans, unlabelled, unusable = [], [], []
    for scan in found:
        path = find_label_map(scan, maps)
        if isinstance(scan, UnusableScan):
            if path is not None:
                raise PairError(f"{scan.scan}: {path} labels it, but {scan.problem}")
            unusable.append(scan)
        elif path is None:
            unlabelled.append(scan.scan)
        else:
            scans.append(LabelledScan(scan, path))
    _check_claims(scans)
    if not scans:
        raise DatasetError(_describe_no_match(folder, maps, [scan.scan for scan in found]))
    claimed = {scan.labels for scan in scans}
    return ScanPlan(
        scans=split_scans(scans, source.validation_participants, options),
        table=read_label_table(folder, sorted(claimed)),
        unlabelled=tuple(unlabelled),
        unusable=tuple(unusable),
        unmatched=tuple(path for path in maps if path not in claimed),
    )


def list_label_maps(folder: Path) -> dict[Path, ImageName]:
    """All ``*_dseg.nii.gz`` and ``*_dseg.nii`` in the ``sub-`` folders of a derivative.

    Raises
    ------
    DatasetError
        The folder is missing or holds none.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: no such folder, expected the label maps of the scans, for example "
            f"{_example(folder)}. Name their folder by --label-dir."
        )
    # Also what is no file: a link whose content has not been fetched must not count as unlabelled.
    paths = sorted(folder.glob("sub-*/**/*_dseg.nii*"))
    maps = {path: parse_name(path.name) for path in paths}
    maps = {path: name for path, name in maps.items() if name.extension in (".nii", ".nii.gz")}
    if not maps:
        raise DatasetError(
            f"{folder}: holds no label map, expected files such as {_example(folder)}. Name the "
            "folder of the derivative by --label-dir."
        )
    return maps


def _example(folder: Path) -> Path:
    return folder / "sub-01" / "anat" / "sub-01_acq-dixon_seg-muscle_dseg.nii.gz"


def find_label_map(scan: DixonPair | UnusableScan, maps: dict[Path, ImageName]) -> Path | None:
    """Find the one label map whose name does not contradict the scan; None if there is none.

    ``seg-muscle`` goes before other segmentations.

    Raises
    ------
    InputError
        Two or more fit.
    """
    fitting = [path for path, name in maps.items() if fits_scan(name.entities, scan)]
    fitting = prefer_muscle_maps(fitting)
    if len(fitting) > 1:
        names = ", ".join(str(path) for path in fitting[:SHOWN])
        raise InputError(
            f"{scan.scan}: {len(fitting)} label maps fit ({names}), expected one. Keep one of them "
            "in the derivative, or name the right folder by --label-dir."
        )
    return fitting[0] if fitting else None


def fits_scan(entities: Iterable[tuple[str, str]], scan: DixonPair | UnusableScan) -> bool:
    """Whether the entities of a label map's name belong to a scan.

    ``sub`` and ``ses`` must be those of the scan. Every other entity but FREE_ENTITIES must have
    the value that the scan, its in-phase or its out-of-phase image has.

    Examples
    --------
    >>> pair = DixonPair(Path("sub-01_acq-inphase_T1w.nii.gz"), Path(), (("sub", "01"),), "")
    >>> fits_scan((("sub", "01"), ("acq", "inphase"), ("seg", "neck")), pair)
    True
    >>> fits_scan((("sub", "01"), ("run", "2")), pair)
    False
    """
    named = dict(entities)
    own = dict(scan.entities)
    if any(named.get(key) != own.get(key) for key in ("sub", "ses")):
        return False
    known = {
        _plain(*pair)
        for pair in (*scan.entities, *parse_name(derivative_stem(own.items()) + "_x").entities)
    }
    for path in (scan.in_phase, scan.out_phase):
        if path is not None:
            known |= {_plain(*pair) for pair in parse_name(path.name).entities}
    return all(
        _plain(key, value) in known for key, value in named.items() if key not in FREE_ENTITIES
    )


def _plain(key: str, value: str) -> tuple[str, str]:
    """Make ``run-01`` and ``run-1`` the same."""
    return key, value.lstrip("0") if key in INDEX_ENTITIES and value.isdecimal() else value


def _check_claims(scans: Iterable[LabelledScan]) -> None:
    claims: dict[Path, str] = {}
    for scan in scans:
        if scan.labels in claims:
            raise InputError(
                f"{scan.labels}: fits two scans, {claims[scan.labels]} and {scan.pair.scan}; "
                "expected one. Put what tells them apart (run, acq, ...) into its name, or select "
                "the scans by --bids-filter-file."
            )
        claims[scan.labels] = scan.pair.scan


def _describe_no_match(folder: Path, maps: Iterable[Path], scans: Sequence[str]) -> str:
    first = next(iter(maps))
    return (
        f"{folder}: none of the label maps, for example {first.name}, belongs to a scan, for "
        f"example {scans[0]}. Expected names such as {scans[0]}_seg-muscle_dseg.nii.gz. Rename "
        "them, or name the right folder by --label-dir."
    )


# ------------------------------------------------------------------------------------ split


def split_scans(
    scans: Sequence[LabelledScan], asked: tuple[str, ...], options: TrainOptions
) -> tuple[LabelledScan, ...]:
    """Give every scan its role; all scans of a participant have the same.

    Raises
    ------
    InputError
        Nothing would be left to learn from or to hold out, or a participant is not there.
    """
    if options.validation == "training":
        if asked:
            raise InputError(
                "--validation-participants was given, but the recipe has `validation = "
                '"training"`, which holds nobody out. Leave one of them out.'
            )
        return tuple(scans)
    participants = sorted({scan.pair.participant for scan in scans})
    held = choose_held_out(participants, asked, options)
    return tuple(
        replace(scan, role=VALIDATION if scan.pair.participant in held else TRAINING)
        for scan in scans
    )


def choose_held_out(
    participants: Sequence[str], asked: tuple[str, ...], options: TrainOptions
) -> frozenset[str]:
    """Participants that are held out: those asked for, or a share drawn by the seed.

    Examples
    --------
    >>> len(choose_held_out([f"{n:02d}" for n in range(20)], (), TrainOptions()))
    4
    """
    wanted = frozenset(label.removeprefix("sub-") for label in asked)
    missing = sorted(wanted - set(participants))
    if missing:
        raise InputError(
            f"--validation-participants: {missing[0]} has no labelled scan. Expected some of "
            f"{', '.join(participants[:SHOWN])}{' ...' if len(participants) > SHOWN else ''}."
        )
    if not wanted and len(participants) > 1:
        count = min(
            max(1, round(options.validation_share * len(participants))), len(participants) - 1
        )
        order = np.random.default_rng([options.seed, 0, 0, SPLIT_CHANCE]).permutation(
            len(participants)
        )
        wanted = frozenset(participants[place] for place in order[:count])
    if not 0 < len(wanted) < len(participants):
        people = count_noun(len(participants), "participant")
        have = choose_form(len(participants), "has", "have")
        raise InputError(
            f"{people} {have} labelled scans and {len(wanted)} would be held out; expected at "
            "least one to learn from and one to hold out. Label more, hold out fewer, or set "
            '`validation = "training"` in the recipe to measure on what is learnt.'
        )
    return wanted


# ------------------------------------------------------------------------------------ table


def read_label_table(folder: Path, maps: Iterable[Path] = ()) -> MuscleTable:
    """Table of the derivative or of its label maps; that of Weber et al. 2021 if there is none.

    Without ``levels`` muscles count as labelled over their whole length.

    Raises
    ------
    InputError
        As :func:`bids_mfi.tables.read_labels_of`.
    """
    found = tables.read_labels_of(folder, maps)
    if found is None:
        return WEBER2021
    table, _ = found
    whole = (
        replace(muscle, levels="all") if muscle.levels == MISSING else muscle for muscle in table
    )
    return MuscleTable(tuple(whole))


# ---------------------------------------------------------------------------------- reading


def load_case(scan: LabelledScan, table: MuscleTable, draft: ModelBundle) -> LabelledCase:
    """Read a scan with its labels and bring both to the model grid.

    Raises
    ------
    PairError
        An image or the label map cannot be used.
    """
    try:
        in_phase, out_phase, grid = read_pair(scan.pair)
        labels = read_labels(scan.labels, grid, table)
        zooms_mm = read_pair_zooms_mm(scan.pair)
        channels, model_grid = resample_channels(in_phase, out_phase, grid, draft, zooms_mm)
    except MFIError as error:
        raise PairError(f"{scan.pair.scan}: {error}") from error
    turned = reorient(labels, grid, draft.axcodes)[0].astype(np.int16)
    if draft.inference == "niftynet":
        resampled = niftynet.resample_nearest(turned, model_grid.shape)
    else:
        resampled = resample_labels(turned, model_grid.shape)
    return LabelledCase(channels[0], channels[1], resampled.astype(np.int16), model_grid)


def read_labels(path: Path, grid: Grid, table: MuscleTable) -> NDArray[np.int16]:
    """Read a label map onto the voxels of its scan.

    Returns
    -------
    ndarray of int16, shape of ``grid``

    Raises
    ------
    PairError
        It has no label, other voxels than the scan, or a number that the table does not name.
    """
    stored, stored_grid = grids.read_labels(path)
    if not stored.any():
        raise PairError(f"{path}: all voxels are 0, expected labels; export it again.")
    volume, own = reorient_like(stored, stored_grid, grid)
    if not same_grid(own, grid):
        raise PairError(
            f"{path}: does not lie on the voxels of the scan ({describe_difference(grid, own)}). "
            "Label the in-phase image itself, or resample the labels to it (nearest neighbour)."
        )
    known = {0, *(muscle.index for muscle in table)}
    strange = [value for value in np.unique(volume).tolist() if value not in known]
    if strange:
        raise PairError(
            f"{path}: holds the values {', '.join(f'{v:g}' for v in strange[:5])}, which the label "
            "table does not name. Correct the map, or add them to dseg.tsv of the derivative."
        )
    return np.asarray(volume, dtype=np.int16)


def resample_labels(labels: NDArray[np.int16], shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Resample a label map to another number of voxels of the same field of view.

    The share of each label is interpolated as images are; the largest share wins, the lower number
    where two are equal.

    Examples
    --------
    >>> labels = np.repeat([0, 0, 2, 2], 4).reshape(4, 2, 2).astype(np.int16)
    >>> resample_labels(labels, (2, 2, 2))[:, 0, 0].tolist()
    [0, 2]
    """
    result = np.zeros(shape, dtype=np.int16)
    highest = np.full(shape, -1.0, dtype=np.float32)
    for index in np.unique(labels):
        share = resize_linear((labels == index).astype(np.float32), shape)
        np.copyto(result, index, where=share > highest + 1e-6)
        np.maximum(highest, share, out=highest)
    return result


# -------------------------------------------------------------------------------- describing


def describe_plan(plan: ScanPlan) -> list[str]:
    """Say in lines what was found and what of it is used."""
    held = sorted({s.pair.participant for s in plan.scans if s.role == VALIDATION})
    learnt = [scan for scan in plan.scans if scan.role == TRAINING]
    lines = [
        f"labelled scans: {len(plan.scans)}, of which {len(learnt)} are learnt from and "
        f"{len(plan.scans) - len(learnt)} held out"
        + (f" (participants {', '.join(held)})" if held else "")
    ]
    if plan.unlabelled:
        lines.append(
            f"scans without a label map ({len(plan.unlabelled)}): {', '.join(plan.unlabelled)}"
        )
    for scan in plan.unusable:
        lines.append(f"scan without a label map that cannot be used: {scan.scan}: {scan.problem}")
    if plan.unmatched:
        names = ", ".join(path.name for path in plan.unmatched)
        lines.append(f"label maps of no selected scan ({len(plan.unmatched)}): {names}")
    return lines


def describe_absent(cases: Sequence[LabelledCase], table: MuscleTable) -> list[str]:
    """Name muscles of the table that no scan carries; their Dice is n/a."""
    present = set().union(*(np.unique(case.labels).tolist() for case in cases))
    absent = [muscle.abbreviation for muscle in table if muscle.index not in present]
    return [f"labelled in no scan: {', '.join(absent)}"] if absent else []


def check_cases(plan: ScanPlan, cases: Sequence[LabelledCase], options: TrainOptions) -> list[str]:
    """Say in lines where sides are doubtful.

    Raises
    ------
    InputError
        Left and right of the labels cannot be learnt, see
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


def describe_ranges(plan: ScanPlan, cases: Sequence[LabelledCase]) -> tuple[tuple[str, str], ...]:
    """Say what was learnt from, for the bundle; no name of a participant."""
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


def hash_scans(scans: Iterable[LabelledScan]) -> str:
    """sha256 over names, roles, images and label maps."""
    digest = hashlib.sha256()
    for scan in scans:
        digest.update(f"{scan.pair.scan} {scan.role}\n".encode())
        for path in (scan.pair.in_phase, scan.pair.out_phase, scan.labels):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def encode_scan_list(plan: ScanPlan) -> bytes:
    """Table of all scans with their role: ``training``, ``validation`` or ``unlabelled``."""
    rows = [(s.pair.scan, s.pair.participant, s.role, str(s.labels)) for s in plan.scans]
    rows += [(name, name.split("_")[0].removeprefix("sub-"), "unlabelled", "n/a")
             for name in plan.unlabelled]  # fmt: skip
    rows += [(s.scan, s.participant, "unusable", "n/a") for s in plan.unusable]
    header = ("scan", "participant", "role", "labels")
    return "".join("\t".join(row) + "\n" for row in (header, *sorted(rows))).encode()
