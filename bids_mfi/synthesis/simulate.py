"""BIDS datasets of synthetic neck scans, with their truth.

::

    dataset_description.json  README.md  participants.tsv .json
    sub-01[/ses-01]/anat/sub-01[_ses-01]_acq-dixon_echo-{1,2}_MEGRE.nii.gz .json
    derivatives/truth/...     label map, fat fraction map and table of each scan
"""

import json
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from bids_mfi import __version__
from bids_mfi.counts import count_noun
from bids_mfi.errors import InputError, OutputError
from bids_mfi.grid import Grid
from bids_mfi.images import encode_image
from bids_mfi.muscles import MuscleTable
from bids_mfi.synthesis.acquisition import Body
from bids_mfi.synthesis.composition import Participant
from bids_mfi.synthesis.sources import (
    PHANTOM_TABLE,
    PhantomSource,
    ScanFacts,
    ScanSource,
    SimulatedScan,
    draw_person,
)

BIDS_VERSION = "1.11.1"
TRUTH_COLUMNS = ("index", "name", "muscle", "hemi", "voxels", "volume_ml", "mfi_percent")
NOT_AVAILABLE = "n/a"
PAPER_TIMING = {"RepetitionTimeExcitation": 0.00705, "FlipAngle": 12}


def simulate_dataset(
    out_dir: Path,
    participants: int,
    sessions: int,
    seed: int,
    source: ScanSource | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Write a BIDS dataset of synthetic Dixon scans of the neck, and their truth.

    Parameters
    ----------
    out_dir : Path
        Created if it does not exist.
    participants, sessions : int
        At least 1. A dataset with one session has no session folders.
    seed : int
        The same arguments give the same bytes.
    source : ScanSource, optional
        Source of the scans; default the built-in phantom.
    report : callable
        Receives a line for each participant.

    Raises
    ------
    InputError
        A number is below 1.
    OutputError
        The folder is not empty, or cannot be written.
    """
    if participants < 1 or sessions < 1 or seed < 0:
        raise InputError(
            f"{count_noun(participants, 'participant')}, {count_noun(sessions, 'session')} and "
            f"seed {seed} were requested; expected at least 1 participant, 1 session and seed "
            "0."
        )
    check_empty(out_dir)
    # A new folder is renamed when it is complete; an existing empty one may be a mount point.
    partial = out_dir if out_dir.is_dir() else out_dir.with_name(f".{out_dir.name}.partial")
    try:
        if partial != out_dir:
            shutil.rmtree(partial, ignore_errors=True)
        people = list(enumerate_people(participants, seed))
        _write_dataset(
            partial, report_each(people, report), sessions, seed, source or PhantomSource()
        )
        partial.rename(out_dir)
    except OSError as error:
        raise OutputError(f"{out_dir}: cannot write the simulated dataset ({error}).") from error


def check_empty(out_dir: Path) -> None:
    """Reject a folder that is not empty.

    Raises
    ------
    OutputError
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise OutputError(f"{out_dir}: is a file, expected a new or empty folder.")
    if out_dir.is_dir() and any(out_dir.iterdir()):
        raise OutputError(
            f"{out_dir}: is not empty, and simulated scans never overwrite other files. "
            "Name a new folder or empty this one."
        )


def enumerate_people(participants: int, seed: int) -> Iterator[tuple[str, Participant]]:
    """Yield the label and person of every participant."""
    width = max(2, len(str(participants)))
    for number in range(1, participants + 1):
        yield f"sub-{number:0{width}d}", draw_person(seed, number)


def report_each(
    people: list[tuple[str, Participant]], report: Callable[[str], None]
) -> Iterator[tuple[str, Participant]]:
    """Yield people and report each one."""
    for number, (label, person) in enumerate(people, start=1):
        report(f"{label} ({number} of {len(people)})")
        yield label, person


def _write_dataset(
    out_dir: Path,
    people: Iterable[tuple[str, Participant]],
    sessions: int,
    seed: int,
    source: ScanSource,
) -> None:
    truth = out_dir / "derivatives" / "truth"
    truth.mkdir(parents=True)
    made = []
    for number, (label, person) in enumerate(people, start=1):
        made.append((label, person))
        for session, scan in enumerate(source.scans(person, sessions, (seed, number)), start=1):
            entities = (label, f"ses-{session:02d}") if sessions > 1 else (label,)
            _write_scan(out_dir, entities, scan)
            _write_truth(truth, entities, scan, source.table)
    _write_raw_root(out_dir, made, source)
    _write_truth_root(truth, source)


def measure_truth(
    body: Body, grid: Grid, table: MuscleTable = PHANTOM_TABLE
) -> list[dict[str, str]]:
    """Measure the rows of the true table: volume, and MFI = 100 mean(F) / (mean(F) + mean(W)).

    Returns
    -------
    rows : list of dict
        Keys are TRUTH_COLUMNS; floats have all their digits, a muscle without voxels has ``n/a``.

    References
    ----------
    Weber et al. 2021, doi:10.1038/s41598-021-95972-x, Performance.
    """
    rows = []
    for label in table:
        inside = body.labels == label.index
        voxels = int(np.count_nonzero(inside))
        volume_ml = mfi_percent = NOT_AVAILABLE
        if voxels:
            fat = float(body.fat[inside].mean(dtype=np.float64))
            water = float(body.water[inside].mean(dtype=np.float64))
            volume_ml = repr(voxels * grid.voxel_volume_ml)
            mfi_percent = repr(100 * fat / (fat + water))
        values = (label.index, label.name, label.muscle, label.hemi, voxels, volume_ml, mfi_percent)
        rows.append(dict(zip(TRUTH_COLUMNS, map(str, values), strict=True)))
    return rows


def _anat(root: Path, entities: tuple[str, ...]) -> tuple[Path, str]:
    folder = root.joinpath(*entities, "anat")
    folder.mkdir(parents=True, exist_ok=True)
    return folder, "_".join((*entities, "acq-dixon"))


def _write_scan(root: Path, entities: tuple[str, ...], scan: SimulatedScan) -> None:
    folder, stem = _anat(root, entities)
    facts = scan.facts
    echoes = (
        (facts.in_phase_ms, "IN_PHASE", scan.in_phase),
        (facts.out_phase_ms, "OUT_PHASE", scan.out_phase),
    )
    for number, (echo_ms, token, image) in zip(facts.echo_numbers, echoes, strict=True):
        name = f"{stem}_echo-{number}_MEGRE"
        (folder / f"{name}.nii.gz").write_bytes(encode_image(image, scan.grid))
        _write_json(folder / f"{name}.json", _sidecar(facts, token, echo_ms))


def _sidecar(facts: ScanFacts, token: str, echo_ms: float) -> dict[str, object]:
    return {
        "Manufacturer": "bids_mfi",
        "ManufacturersModelName": "synthetic neck",
        "SoftwareVersions": __version__,
        "MagneticFieldStrength": facts.field_strength_t,
        "ImagingFrequency": facts.imaging_frequency_mhz,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", token],
        "EchoTime": round(echo_ms / 1000, 6),
        **(PAPER_TIMING if facts.protocol == "paper" else {}),
        "MRAcquisitionType": "3D",
        "NonlinearGradientCorrection": False,
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "PulseSequenceType": "Dual-echo spoiled gradient echo (two-point Dixon)",
        "SliceThickness": facts.slice_mm,
        "ProtocolName": facts.protocol,
        "BodyPart": "NECK",
    }


def _write_truth(
    root: Path, entities: tuple[str, ...], scan: SimulatedScan, table: MuscleTable
) -> None:
    folder, stem = _anat(root, entities)
    raw = "/".join((*entities, "anat", stem))
    echoes = scan.facts.echo_numbers  # in phase first, as in the sidecars of a run
    sources = [f"bids:raw:{raw}_echo-{echo}_MEGRE.nii.gz" for echo in echoes]
    labels = scan.body.labels.astype(np.uint8)
    fat_percent = np.round(scan.body.fat_percent, 2)
    name = f"{stem}_seg-muscle_dseg"
    (folder / f"{name}.nii.gz").write_bytes(encode_image(labels, scan.grid))
    _write_json(folder / f"{name}.json", {"Sources": sources, "Manual": False})
    (folder / f"{stem}_FFmap.nii.gz").write_bytes(encode_image(fat_percent, scan.grid))
    _write_json(folder / f"{stem}_FFmap.json", {
        "Description": "True fat fraction 100 F / (F + W); not a number where there is no tissue.",
        "Units": "percent", "Sources": sources, "SkullStripped": False,
    })  # fmt: skip
    rows = measure_truth(scan.body, scan.grid, table)
    _write_tsv(folder / f"{stem}_seg-muscle_mfi.tsv", rows)
    _write_json(folder / f"{stem}_seg-muscle_mfi.json", {**_TABLE_SIDECAR, "Sources": sources})


_TABLE_SIDECAR: dict[str, object] = {
    "index": {"Description": "Value in the label map."},
    "name": {"Description": "Name of the muscle."},
    "muscle": {"Description": "Abbreviation without side."},
    "hemi": {"Description": "The subject's side.", "Levels": {"L": "left", "R": "right"}},
    "voxels": {"Description": "Number of labelled voxels."},
    "volume_ml": {"Description": "Volume of the labelled voxels.", "Units": "mL"},
    "mfi_percent": {
        "Description": "True muscle fat infiltration, 100 mean(F) / (mean(F) + mean(W)) of the "
        "true fat F and water W over the labelled voxels.",
        "Units": "percent",
    },
}


def _write_raw_root(root: Path, people: list[tuple[str, Participant]], source: ScanSource) -> None:
    _write_json(root / "dataset_description.json", {
        "Name": "Synthetic Dixon scans of the neck", "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw", **_licence(source), "Authors": ["bids_mfi"],
        "GeneratedBy": [_generator()],
    })  # fmt: skip
    readme = _RAW_README.format(description=textwrap.fill(source.description, 96))
    (root / "README.md").write_text(readme, encoding="utf-8")
    rows = [
        {"participant_id": label, "sex": person.sex, "age": str(person.age), "bmi": str(person.bmi)}
        for label, person in people
    ]
    _write_tsv(root / "participants.tsv", rows)
    _write_json(root / "participants.json", {
        "sex": {"Description": "Sex.", "Levels": {"F": "female", "M": "male"}},
        "age": {"Description": "Age.", "Units": "year"},
        "bmi": {"Description": "Body mass index.", "Units": "kg/m^2"},
    })  # fmt: skip


def _licence(source: ScanSource) -> dict[str, str]:
    return {} if source.licence is None else {"License": source.licence}


def _generator() -> dict[str, str]:
    return {"Name": "bids_mfi simulate", "Version": __version__, "Description": "Synthetic scans."}


_RAW_README = """# Synthetic Dixon scans of the neck

Made by `python -m bids_mfi simulate`; nobody was scanned.

{description}

`derivatives/truth` holds the true labels, fat fractions and tables.
"""
_TRUTH_README = """# Truth of the synthetic scans

`*_seg-muscle_dseg.nii.gz`: the muscles, {levels}.
`*_FFmap.nii.gz`: true fat fraction in percent. `*_seg-muscle_mfi.tsv`: volume and true MFI.

The truth is free of noise, of the fold at 50 % and of T2* decay; T1 weighting is part of it. MFI
computed from the images and the true labels differs from it: decay between the echoes adds 1 to 2
points where the out-of-phase echo is the later one and takes them away where it is the earlier, and
the fold takes away as much or more from muscles with fatty streaks.
"""


def _describe_levels(table: MuscleTable) -> str:
    if {muscle.levels for muscle in table} == {"all"}:
        return "over their whole length within the field of view"
    return "at the vertebral levels that `seg-muscle_dseg.tsv` names for each"


def _write_truth_root(root: Path, source: ScanSource) -> None:
    _write_json(root / "dataset_description.json", {
        "Name": "Truth of the synthetic Dixon scans", "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative", **_licence(source), "GeneratedBy": [_generator()],
        "DatasetLinks": {"raw": "../.."},
    })  # fmt: skip
    readme = _TRUTH_README.format(levels=_describe_levels(source.table))
    (root / "README.md").write_text(readme, encoding="utf-8")
    (root / ".bidsignore").write_text("*_mfi.*\n*_FFmap.*\n", encoding="utf-8")
    rows = [
        {
            "index": str(label.index),
            "name": label.name,
            "abbreviation": label.abbreviation,
            "color": label.color,
            "muscle": label.muscle,
            "hemi": label.hemi,
            "levels": label.levels,
        }
        for label in source.table
    ]
    _write_tsv(root / "seg-muscle_dseg.tsv", rows)
    _write_json(root / "seg-muscle_dseg.json", {
        "Description": "The fourteen muscles of Weber et al. 2021, doi:10.1038/s41598-021-95972-x.",
        "muscle": {"Description": "Abbreviation without side."},
        "hemi": {"Description": "The subject's side.", "Levels": {"L": "left", "R": "right"}},
        "levels": {"Description": "Vertebral levels on which the muscle is labelled."},
    })  # fmt: skip


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_tsv(path: Path, rows: list[dict[str, str]]) -> None:
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
