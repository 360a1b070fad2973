"""A BIDS dataset of synthetic neck scans with the truth; must not know discovery or derivatives.

::

    dataset_description.json  README.md  participants.tsv .json
    sub-01[/ses-01]/anat/sub-01[_ses-01]_acq-dixon_echo-{1,2}_MEGRE.nii.gz .json
    derivatives/truth/...     label map, fat fraction map and table of each scan
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_mfi import __version__
from bids_mfi.errors import InputError, OutputError
from bids_mfi.grid import Grid, encode_image, reorient
from bids_mfi.muscles import LONG_NAMES, paper_table
from bids_mfi.synthesis.acquisition import (
    Body,
    Scanner,
    acquire,
    build_body,
    draw_scanner,
)
from bids_mfi.synthesis.cases import upright_grid
from bids_mfi.synthesis.composition import (
    Participant,
    change_fat_percent,
    draw_fat_percent,
    draw_participant,
)
from bids_mfi.synthesis.phantom import change_posture, draw_shape

BIDS_VERSION = "1.11.1"
SCAN_SHAPE = (240, 190, 40)
SCAN_SPACING_MM = (1.0, 1.0, 3.0)
SCAN_CENTRE_MM = (0.0, 10.0, -6.0)
SCAN_SHIFT_MM = (3.0, 4.0, 6.0)
SUBSAMPLES = (2, 2, 2)
OBLIQUE_SD_DEGREES = 2.5
ORIENTATIONS = (("L", "P", "S"), ("R", "A", "S"), ("L", "A", "S"))
IMAGING_FREQUENCY_MHZ = 123.25
TRUTH_LEVELS = dict.fromkeys(LONG_NAMES, "all")
TRUTH_TABLE = paper_table(TRUTH_LEVELS)
TRUTH_COLUMNS = ("index", "name", "muscle", "hemi", "voxels", "volume_ml", "mfi_percent")
NOT_AVAILABLE = "n/a"


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedScan:
    """One scan of a simulated dataset, on its stored grid.

    Attributes
    ----------
    in_phase, out_phase : ndarray of int16
    body : Body
        True water, fat and labels on the same grid.
    grid : Grid
        As stored: any orientation of its axes, slightly oblique.
    scanner : Scanner
    """

    in_phase: NDArray[np.int16]
    out_phase: NDArray[np.int16]
    body: Body
    grid: Grid
    scanner: Scanner


def simulate_dataset(out_dir: Path, participants: int, sessions: int, seed: int) -> None:
    """Write a BIDS dataset of synthetic Dixon scans of the neck, and their truth.

    Parameters
    ----------
    out_dir : Path
        Made if it is not there.
    participants, sessions : int
        At least 1. With one session there are no session folders.
    seed : int
        The same arguments give the same bytes.

    Raises
    ------
    InputError
        A number below 1.
    OutputError
        The folder is not empty, or cannot be written.
    """
    if participants < 1 or sessions < 1 or seed < 0:
        raise InputError(
            f"{participants} participants, {sessions} sessions and seed {seed} were asked for; "
            "expected at least 1 participant, 1 session and seed 0."
        )
    _check_empty(out_dir)
    # A new folder gets its name when it is complete; an empty one may be a mount point.
    partial = out_dir if out_dir.is_dir() else out_dir.with_name(f".{out_dir.name}.partial")
    try:
        if partial != out_dir:
            shutil.rmtree(partial, ignore_errors=True)
        _write_dataset(partial, participants, sessions, seed)
        partial.rename(out_dir)
    except OSError as error:
        raise OutputError(f"{out_dir}: cannot write the simulated dataset ({error}).") from error


def _check_empty(out_dir: Path) -> None:
    if out_dir.exists() and not out_dir.is_dir():
        raise OutputError(f"{out_dir}: is a file, expected a new or empty folder.")
    if out_dir.is_dir() and any(out_dir.iterdir()):
        raise OutputError(
            f"{out_dir}: is not empty, and simulated scans are never written over other files. "
            "Name a new folder or empty this one."
        )


def _write_dataset(out_dir: Path, participants: int, sessions: int, seed: int) -> None:
    truth = out_dir / "derivatives" / "truth"
    truth.mkdir(parents=True)
    people = []
    for number in range(1, participants + 1):
        label = f"sub-{number:0{max(2, len(str(participants)))}d}"
        person = draw_person(seed, number)
        people.append((label, person))
        for session, scan in enumerate(simulate_scans(person, sessions, (seed, number)), start=1):
            entities = (label, f"ses-{session:02d}") if sessions > 1 else (label,)
            _write_scan(out_dir, entities, scan)
            _write_truth(truth, entities, scan)
    _write_raw_root(out_dir, people)
    _write_truth_root(truth)


def draw_person(seed: int, number: int) -> Participant:
    """Participant ``number`` of a dataset; women and men alternate."""
    rng = np.random.default_rng([seed, number])
    return draw_participant(rng, sex="F" if number % 2 else "M")


def simulate_scans(
    person: Participant,
    sessions: int,
    seed: tuple[int, int],
    shape: tuple[int, int, int] | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
) -> Iterator[SimulatedScan]:
    """Make the scans of one participant: the same anatomy, changing a little by session.

    Shape and spacing are SCAN_SHAPE and SCAN_SPACING_MM unless given.
    """
    shape, spacing_mm = shape or SCAN_SHAPE, spacing_mm or SCAN_SPACING_MM
    rng = np.random.default_rng([*seed, 1])
    neck = draw_shape(rng, person.sex, person.bmi)
    fat_percent = draw_fat_percent(rng, person)
    axcodes = ORIENTATIONS[int(rng.integers(len(ORIENTATIONS)))]
    for session in range(sessions):
        shift = np.array(SCAN_SHIFT_MM) * rng.uniform(-1, 1, 3)
        x, y, z = (float(value) for value in np.array(SCAN_CENTRE_MM) + shift)
        upright = upright_grid(shape, spacing_mm, (x, y, z))
        posed = change_posture(neck, rng) if session else neck
        fat = change_fat_percent(rng, fat_percent) if session else fat_percent
        tissue = np.random.default_rng([*seed, 2])
        body = build_body(tissue, posed, fat, upright, SUBSAMPLES)
        scanner = draw_scanner(rng)
        yield _store(rng, body, scanner, upright, axcodes)


def _store(
    rng: np.random.Generator,
    body: Body,
    scanner: Scanner,
    upright: Grid,
    axcodes: tuple[str, str, str],
) -> SimulatedScan:
    """Turn the scan to its stored orientation, in the scanner's integers."""
    in_phase, out_phase = acquire(rng, body, scanner)
    tilted = tilt_grid(upright, np.deg2rad(OBLIQUE_SD_DEGREES) * rng.standard_normal())
    images = (in_phase, out_phase, body.water, body.fat, body.labels)
    turned = [reorient(image, tilted, axcodes) for image in images]
    grid = turned[0][1]
    stored = [np.ascontiguousarray(image) for image, _ in turned]
    return SimulatedScan(
        in_phase=np.rint(stored[0]).astype(np.int16),
        out_phase=np.rint(stored[1]).astype(np.int16),
        body=Body(
            stored[2].astype(np.float32), stored[3].astype(np.float32), stored[4].astype(np.int16)
        ),
        grid=grid,
        scanner=scanner,
    )


def tilt_grid(grid: Grid, angle: float) -> Grid:
    """Turn a grid about the left-right axis of the world by an angle in radians.

    Examples
    --------
    >>> tilt_grid(upright_grid((3, 3, 3), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0)), 0.0).spacing_mm
    (1.0, 1.0, 2.0)
    """
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Grid.from_array(grid.shape, turn @ grid.matrix)


def measure_truth(body: Body, grid: Grid) -> list[dict[str, str]]:
    """Rows of the true table: volume, and MFI = 100 mean(F) / (mean(F) + mean(W)).

    Returns
    -------
    rows : list of dict
        Keys TRUTH_COLUMNS; floats with all their digits, ``n/a`` for a muscle without voxels.

    References
    ----------
    Weber et al. 2021, doi:10.1038/s41598-021-95972-x, Performance.
    """
    rows = []
    for label in TRUTH_TABLE:
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
    scanner = scan.scanner
    echoes = (
        (1, scan.in_phase, "IN_PHASE", scanner.in_phase_ms),
        (2, scan.out_phase, "OUT_PHASE", scanner.out_phase_ms),
    )
    for number, image, token, echo_ms in echoes:
        name = f"{stem}_echo-{number}_MEGRE"
        (folder / f"{name}.nii.gz").write_bytes(encode_image(image, scan.grid))
        _write_json(folder / f"{name}.json", _sidecar(scanner, token, echo_ms))


def _sidecar(scanner: Scanner, token: str, echo_ms: float) -> dict[str, object]:
    return {
        "Manufacturer": "bids_mfi",
        "ManufacturersModelName": "synthetic neck",
        "SoftwareVersions": __version__,
        "MagneticFieldStrength": scanner.field_strength_t,
        "ImagingFrequency": IMAGING_FREQUENCY_MHZ,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", token],
        "EchoTime": round(echo_ms / 1000, 6),
        "RepetitionTimeExcitation": 0.00705,
        "FlipAngle": 12,
        "MRAcquisitionType": "3D",
        "NonlinearGradientCorrection": False,
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "PulseSequenceType": "Dual-echo spoiled gradient echo (two-point Dixon)",
        "SliceThickness": SCAN_SPACING_MM[2],
        "BodyPart": "NECK",
    }


def _write_truth(root: Path, entities: tuple[str, ...], scan: SimulatedScan) -> None:
    folder, stem = _anat(root, entities)
    raw = "/".join((*entities, "anat", stem))
    sources = [f"bids:raw:{raw}_echo-{echo}_MEGRE.nii.gz" for echo in (1, 2)]
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
    rows = measure_truth(scan.body, scan.grid)
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


def _write_raw_root(root: Path, people: list[tuple[str, Participant]]) -> None:
    _write_json(root / "dataset_description.json", {
        "Name": "Synthetic Dixon scans of the neck", "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw", "License": "CC0", "Authors": ["bids_mfi"],
        "GeneratedBy": [_generator()],
    })  # fmt: skip
    (root / "README.md").write_text(_RAW_README, encoding="utf-8")
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


def _generator() -> dict[str, str]:
    return {"Name": "bids_mfi simulate", "Version": __version__, "Description": "Synthetic scans."}


_RAW_README = """# Synthetic Dixon scans of the neck

Made by `python -m bids_mfi simulate`; nobody was scanned. Each scan is a dual-echo gradient echo:
echo 1 is in phase (2.46 ms) and echo 2 out of phase (3.69 ms) at 3 T. Images are magnitudes, with
T2* decay, a receive field, partial volume and Rician noise. Orientation differs between
participants. `derivatives/truth` holds the true labels, fat fractions and tables.
"""
_TRUTH_README = """# Truth of the synthetic scans

`*_seg-muscle_dseg.nii.gz`: the fourteen muscles over their whole length within the field of view.
`*_FFmap.nii.gz`: true fat fraction in percent. `*_seg-muscle_mfi.tsv`: volume and true MFI.

The truth is free of noise, of the fold at 50 % and of T2* decay. MFI computed from the images and
the true labels differs from it: decay between the echoes adds 1 to 2 points, and the fold takes
away as much or more from muscles with fatty streaks.
"""


def _write_truth_root(root: Path) -> None:
    _write_json(root / "dataset_description.json", {
        "Name": "Truth of the synthetic Dixon scans", "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative", "License": "CC0", "GeneratedBy": [_generator()],
        "DatasetLinks": {"raw": "../.."},
    })  # fmt: skip
    (root / "README.md").write_text(_TRUTH_README, encoding="utf-8")
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
        for label in TRUTH_TABLE
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
