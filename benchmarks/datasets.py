"""Datasets that the benchmarks run on: scans of the paper's size, many participants, a study."""

import json
import os
import sys
from pathlib import Path

import numpy as np

from bids_mfi.grid import Grid
from bids_mfi.images import encode_image
from bids_mfi.synthesis.cases import TrainingCase, make_phantom_case

SHAPE = (457, 271, 40)
SPACING_MM = (0.7, 0.7, 3.0)
BRIGHTEST = 2000  # of the stored int16
SEED = 1
MOST_LINKS = 30_000  # of one file; ext4 allows 65,000
CONTRASTS = {"inphase": "IN_PHASE", "outphase": "OPP_PHASE", "fat": "FAT", "water": "WATER"}
ECHO_TIMES_S = {"inphase": 0.00246, "outphase": 0.00123}


def make_paper_scan(number: int) -> TrainingCase:
    """Make a synthetic scan of the size of Weber et al. 2021: 457 x 271 x 40 voxels."""
    return make_phantom_case(number, SPACING_MM, SHAPE)


def write_paper_scans(bids_dir: Path, participants: int) -> None:
    """Write a dataset with one pair of images a participant, each of another body."""
    _describe_dataset(bids_dir)
    for number in range(1, participants + 1):
        case = make_paper_scan(number)
        anat = bids_dir / f"sub-{number:02d}" / "anat"
        anat.mkdir(parents=True)
        for phase, volume in (("in", case.in_phase), ("out", case.out_phase)):
            scaled = np.rint(volume * (BRIGHTEST / case.in_phase.max())).astype(np.int16)
            path = anat / f"sub-{number:02d}_acq-{phase}phase_T1w.nii.gz"
            path.write_bytes(encode_image(scaled, case.grid))


def write_many_participants(bids_dir: Path, participants: int) -> None:
    """Write a dataset of four tiny images a participant, hard links to a few originals."""
    _describe_dataset(bids_dir)
    originals = bids_dir / "sourcedata"
    originals.mkdir()
    contents = _make_contents()
    for number in range(participants):
        batch, place = divmod(number, MOST_LINKS)
        if not place:
            for name, content in contents.items():
                (originals / f"{batch}_{name}").write_bytes(content)
        anat = bids_dir / f"sub-{number:06d}" / "anat"
        anat.mkdir(parents=True)
        for name in contents:
            os.link(originals / f"{batch}_{name}", anat / f"sub-{number:06d}_acq-{name}")


def write_study(root: Path, sessions: int) -> tuple[Path, Path]:
    """Lay out a study as the participant level leaves it; return BIDS_DIR and OUTPUT_DIR.

    It has two sessions a participant and fourteen rows a session.
    """
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from group_folder import make_large_folder

    return make_large_folder(root, sessions, SEED)


def write_niftynet_bundle(folder: Path) -> Path:
    """Convert a checkpoint of random values in the format of the authors' model."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from niftynet_models import write_model

    from bids_mfi.niftynet.convert import convert

    return convert(write_model(folder / "model"), folder / "bundle").folder


def _describe_dataset(bids_dir: Path) -> None:
    bids_dir.mkdir(parents=True)
    description = {"Name": "benchmark", "BIDSVersion": "1.11.1", "DatasetType": "raw"}
    (bids_dir / "dataset_description.json").write_text(json.dumps(description))


def _make_contents() -> dict[str, bytes]:
    """Content of the images and sidecars of a participant, by contrast and extension."""
    volume = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    image = encode_image(volume, Grid.from_array((4, 4, 4), np.diag([2.0, 2.0, 4.0, 1.0])))
    contents = {}
    for word, token in CONTRASTS.items():
        contents[f"{word}_T1w.nii.gz"] = image
        contents[f"{word}_T1w.json"] = json.dumps(_describe_image(word, token), indent=2).encode()
    return contents


def _describe_image(word: str, token: str) -> dict[str, object]:
    """Sidecar as dcm2niix writes it, about 2 kB."""
    fields: dict[str, object] = {
        "Modality": "MR",
        "MagneticFieldStrength": 3,
        "ImagingFrequency": 123.25,
        "Manufacturer": "Siemens",
        "SeriesDescription": "t1_vibe_dixon_cor_neck",
        "ProtocolName": "t1_vibe_dixon_cor_neck",
        "ImageType": ["DERIVED", "PRIMARY", "DIXON", token],
        "AcquisitionTime": "11:12:13.140000",
        "RepetitionTime": 0.00397,
        "FlipAngle": 9,
        "SliceThickness": 3,
        "ImageOrientationPatientDICOM": [1, 0, 0, 0, 0, -1],
    }
    if word in ECHO_TIMES_S:
        fields["EchoTime"] = ECHO_TIMES_S[word]
    return fields | {f"ScannerParameter{number:02d}": f"value {number}" for number in range(40)}
