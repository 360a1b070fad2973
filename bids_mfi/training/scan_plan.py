"""Selection of the labelled scans of a dataset and of the held-out ones, without reading images."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bids_mfi import label_tables
from bids_mfi.bids.formats import MISSING
from bids_mfi.bids.names import derivative_stem, prefer_muscle_files
from bids_mfi.counts import choose_form, count_noun
from bids_mfi.discovery import UnusableScan, find_scans
from bids_mfi.discovery.naming import ImageName, parse_name
from bids_mfi.errors import DatasetError, InputError, PairError
from bids_mfi.indices import plain_index
from bids_mfi.measure.pair import DixonPair
from bids_mfi.muscles import WEBER2021, MuscleTable
from bids_mfi.options import RunOptions, TrainOptions

LABEL_FOLDER = Path("derivatives", "labels")
FREE_ENTITIES = ("seg", "desc", "label")
TRAINING, VALIDATION = "training", "validation"
SHOWN = 10
# In addition to those in ``batches``.
ROUND_CHANCE, SPLIT_CHANCE = 3, 4


@dataclass(frozen=True, slots=True)
class LabelledSource:
    """Location of labelled scans.

    Attributes
    ----------
    selection : RunOptions
        The dataset and the selected scans, as for ``run.py``.
    label_dir : Path or None
        The derivative with the label maps; None for LABEL_FOLDER in the dataset.
    validation_participants : tuple of str
        Labels of participants to hold out, with or without ``sub-``; empty for a random draw.
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
    """A scan, its label map and its role: ``training`` or ``validation``."""

    pair: DixonPair
    labels: Path
    role: str = TRAINING


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """All scans and label maps found, before any image is read.

    Attributes
    ----------
    scans : tuple of LabelledScan
        Sorted by name.
    table : MuscleTable
    unlabelled : tuple of str
        Scans without a label map.
    unusable : tuple of UnusableScan
        Scans without a label map that are unusable for another reason too.
    unmatched : tuple of Path
        Label maps without a matching scan.
    """

    scans: tuple[LabelledScan, ...]
    table: MuscleTable
    unlabelled: tuple[str, ...] = ()
    unusable: tuple[UnusableScan, ...] = ()
    unmatched: tuple[Path, ...] = ()


def plan_scans(source: LabelledSource, options: TrainOptions) -> ScanPlan:
    """Find scans and their label maps and choose the held-out ones, without reading images.

    Raises
    ------
    InputError
        No label map exists, two match one scan, one matches two scans, a scan with a label map
        cannot be used, or a part of the split is empty.
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
        table=read_case_table(folder, sorted(claimed)),
        unlabelled=tuple(unlabelled),
        unusable=tuple(unusable),
        unmatched=tuple(path for path in maps if path not in claimed),
    )


def list_label_maps(folder: Path) -> dict[Path, ImageName]:
    """List all ``*_dseg.nii.gz`` and ``*_dseg.nii`` in the ``sub-`` folders of a derivative.

    Raises
    ------
    DatasetError
        The folder is missing or contains no label map.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: no such folder, expected the label maps of the scans, for example "
            f"{_example(folder)}. Name their folder with --label-dir."
        )
    # Broken links count too: a scan whose label map was not fetched must not count as unlabelled.
    paths = sorted(folder.glob("sub-*/**/*_dseg.nii*"))
    maps = {path: parse_name(path.name) for path in paths}
    maps = {path: name for path, name in maps.items() if name.extension in (".nii", ".nii.gz")}
    if not maps:
        raise DatasetError(
            f"{folder}: contains no label map, expected files such as {_example(folder)}. Name the "
            "folder of the derivative with --label-dir."
        )
    return maps


def _example(folder: Path) -> Path:
    return folder / "sub-01" / "anat" / "sub-01_acq-dixon_seg-muscle_dseg.nii.gz"


def find_label_map(scan: DixonPair | UnusableScan, maps: dict[Path, ImageName]) -> Path | None:
    """Find the only label map whose name does not contradict the scan; None without a match.

    ``seg-muscle`` takes precedence over other segmentations.

    Raises
    ------
    InputError
        Two or more label maps match.
    """
    fitting = [path for path, name in maps.items() if fits_scan(name.entities, scan)]
    fitting = prefer_muscle_files(fitting)
    if len(fitting) > 1:
        names = ", ".join(str(path) for path in fitting[:SHOWN])
        raise InputError(
            f"{scan.scan}: {len(fitting)} label maps match ({names}), expected one. Keep one of "
            "them in the derivative, or name the right folder with --label-dir."
        )
    return fitting[0] if fitting else None


def fits_scan(entities: Iterable[tuple[str, str]], scan: DixonPair | UnusableScan) -> bool:
    """Check whether the entities of a label map's name match a scan.

    ``sub`` and ``ses`` must equal those of the scan. Every other entity except FREE_ENTITIES must
    have the same value as in the scan, its in-phase image or its out-of-phase image.

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
    return key, plain_index(key, value)


def _check_claims(scans: Iterable[LabelledScan]) -> None:
    claims: dict[Path, str] = {}
    for scan in scans:
        if scan.labels in claims:
            raise InputError(
                f"{scan.labels}: matches two scans, {claims[scan.labels]} and {scan.pair.scan}; "
                "expected one. Add the entity that distinguishes them (run, acq, ...) to its name, "
                "or select the scans with --bids-filter-file."
            )
        claims[scan.labels] = scan.pair.scan


def _describe_no_match(folder: Path, maps: Iterable[Path], scans: Sequence[str]) -> str:
    first = next(iter(maps))
    return (
        f"{folder}: none of the label maps, for example {first.name}, belongs to a scan, for "
        f"example {scans[0]}. Expected names such as {scans[0]}_seg-muscle_dseg.nii.gz. Rename "
        "them, or name the right folder with --label-dir."
    )


def split_scans(
    scans: Sequence[LabelledScan], asked: tuple[str, ...], options: TrainOptions
) -> tuple[LabelledScan, ...]:
    """Assign a role to every scan; all scans of a participant have the same role.

    Raises
    ------
    InputError
        The training or validation set would be empty, or a participant does not exist.
    """
    if options.validation == "training":
        if asked:
            raise InputError(
                "--validation-participants was given, but the recipe has `validation = "
                '"training"`, which holds out no participant. Leave one of them out.'
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
    """Choose the held-out participants: those requested, or a share drawn with the seed.

    Examples
    --------
    >>> len(choose_held_out([f"{n:02d}" for n in range(20)], (), TrainOptions()))
    4
    """
    wanted = frozenset(label.removeprefix("sub-") for label in asked)
    missing = sorted(wanted - set(participants))
    if missing:
        raise InputError(
            f"--validation-participants: {missing[0]} has no labelled scan. Expected labels from "
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
            '`validation = "training"` in the recipe to validate on the training scans.'
        )
    return wanted


def read_case_table(folder: Path, maps: Iterable[Path] = ()) -> MuscleTable:
    """Read the table of a derivative or of its label maps; default that of Weber et al. 2021.

    Without ``levels``, muscles count as labelled over their whole length.

    Raises
    ------
    InputError
        As for :func:`bids_mfi.label_tables.read_labels_of`.
    """
    found = label_tables.read_labels_of(folder, maps)
    if found is None:
        return WEBER2021
    table, _ = found
    whole = (
        replace(muscle, levels="all") if muscle.levels == MISSING else muscle for muscle in table
    )
    return MuscleTable(tuple(whole))


def describe_plan(plan: ScanPlan) -> list[str]:
    """Report the scans and label maps found, and their use."""
    held = sorted({s.pair.participant for s in plan.scans if s.role == VALIDATION})
    learnt = [scan for scan in plan.scans if scan.role == TRAINING]
    lines = [
        f"labelled scans: {len(plan.scans)}; {len(learnt)} for training, "
        f"{len(plan.scans) - len(learnt)} held out"
        + (f" (participants {', '.join(held)})" if held else "")
    ]
    if plan.unlabelled:
        lines.append(
            f"scans without a label map ({len(plan.unlabelled)}): {', '.join(plan.unlabelled)}"
        )
    for scan in plan.unusable:
        lines.append(f"unusable scan without a label map: {scan.scan}: {scan.problem}")
    if plan.unmatched:
        names = ", ".join(path.name for path in plan.unmatched)
        lines.append(f"label maps without a selected scan ({len(plan.unmatched)}): {names}")
    return lines


def hash_scans(scans: Iterable[LabelledScan]) -> str:
    """Hash names, roles, images and label maps with SHA-256."""
    digest = hashlib.sha256()
    for scan in scans:
        digest.update(f"{scan.pair.scan} {scan.role}\n".encode())
        for path in (scan.pair.in_phase, scan.pair.out_phase, scan.labels):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def encode_scan_list(plan: ScanPlan) -> bytes:
    """Encode the table of all scans, with ``unlabelled`` and ``unusable`` as further roles."""
    rows = [(s.pair.scan, s.pair.participant, s.role, str(s.labels)) for s in plan.scans]
    rows += [(name, name.split("_")[0].removeprefix("sub-"), "unlabelled", "n/a")
             for name in plan.unlabelled]  # fmt: skip
    rows += [(s.scan, s.participant, "unusable", "n/a") for s in plan.unusable]
    header = ("scan", "participant", "role", "labels")
    return "".join("\t".join(row) + "\n" for row in (header, *sorted(rows))).encode()
