"""Inheritance without PyBIDS: the same answer, and only where there is one."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bids_datasets import add_image, start_dataset

from bids_mfi.discovery import metadata
from bids_mfi.discovery.inheritance import Metadata, ParticipantFiles, inherit_plainly
from bids_mfi.discovery.sidecars import Sidecars

ROOT = Path("/data set")
ANAT = "sub-01/anat/sub-01"
VALUES: tuple[Any, ...] = (1, 0.00246, "text", None, ["ORIGINAL", "IP"], {"a": [None]}, True, "")
FIELDS = ("EchoTime", "echoTime", "ImageType", "suffix", "subject", "part", "é", "a b", "Zeta")


def make_files(images: list[str], sidecars: dict[str, dict[str, Any]]) -> ParticipantFiles:
    fields = {ROOT / name: content for name, content in sidecars.items()}
    return ParticipantFiles(ROOT, "01", tuple(ROOT / name for name in images), Sidecars(fields))


def draw_files(seed: int) -> ParticipantFiles:
    """Images with several entities and words, and sidecars with parts of their names."""
    draw = random.Random(seed)
    images, sidecars = [], {}
    for folder in ("sub-01/ses-a/anat", "sub-01/ses-a/dixon", "sub-01/anat"):
        for number in range(3):
            middle = [f"acq-{draw.choice(['in', 'out', '1.5T', 'a-b'])}", f"run-{number}"]
            middle += draw.sample(["part-IN", "echo-1", "IN", "T1w", "xyz-In", "Xyz-in"], 3)
            parts = folder.split("/")[:-1]
            suffix = draw.choice(["T1w", "t1w", "vibe"])
            name = "_".join([*parts, *middle, suffix])
            images.append(f"{folder}/{name}{draw.choice(['.nii', '.nii.gz'])}")
            for above in ("", "sub-01", "sub-01/ses-a", folder):
                kept = [part for part in (*parts, *middle) if draw.random() < 0.4]
                told = draw.sample(FIELDS, 4)
                path = f"{above}/{'_'.join([*kept, suffix])}.json".lstrip("/")
                if draw.random() < 0.4:
                    sidecars[path] = {key: draw.choice(VALUES) for key in told}
    return make_files(images, sidecars)


def in_order(found: Metadata) -> dict[Path, list[tuple[str, object]]]:
    return {path: list(fields.items()) for path, fields in found.items()}


def test_plain_names_inherit_as_in_pybids() -> None:
    """Same fields, same values, same order."""
    answered = 0
    for seed in range(40):
        files = draw_files(seed)
        found = inherit_plainly(files)
        if found is not None:
            answered += any(found.values())
            assert in_order(found) == in_order(metadata._ask_pybids(files, None)), seed
    assert answered >= 10


@pytest.mark.parametrize(
    ("image", "sidecars"),
    [
        (f"{ANAT}_T1w.nii", ["T1w.json", "sub-01_T1w.json"]),
        (f"{ANAT}_acq-a_T1w.nii", [f"{ANAT}_T1w.json", f"{ANAT}_acq-a_T1w.json"]),
        (f"{ANAT}_acq-a_acq-b_T1w.nii", ["T1w.json"]),
        (f"{ANAT}_T1w.nii", ["acq-a_acq-b_T1w.json"]),
        (f"{ANAT}_part-in.nii", [f"{ANAT}_part-in.json"]),
        (f"{ANAT}_T1w__dup-01.nii", ["T1w.json"]),
        (f"{ANAT}_T1w copy.nii", ["T1w.json"]),
        (f"{ANAT}_é_T1w.nii", ["T1w.json"]),
        ("sub-01/anat/sub-02_T1w.nii", ["sub-02_T1w.json"]),
        ("sub-01/a.zarr/sub-01_T1w.nii", ["T1w.json"]),
        ("sub-01/anat/sub-01_config.nii", ["layout_config.json"]),
    ],
)
def test_doubtful_names_are_left_to_pybids(image: str, sidecars: list[str]) -> None:
    assert inherit_plainly(make_files([image], {name: {} for name in sidecars})) is None


def test_sidecar_of_another_participant_does_not_apply() -> None:
    files = make_files([f"{ANAT}_T1w.nii"], {"sub-02_T1w.json": {"EchoTime": 1}})
    assert inherit_plainly(files) == {ROOT / f"{ANAT}_T1w.nii": {}}


def test_null_hides_the_value_of_a_folder_above() -> None:
    sidecars = {"T1w.json": {"EchoTime": 1, "b": 2}, f"{ANAT}_T1w.json": {"EchoTime": None}}
    (found,) = (inherit_plainly(make_files([f"{ANAT}_T1w.nii"], sidecars)) or {}).values()
    assert found == {"b": 2}


def test_search_of_plain_names_does_not_load_pybids(tmp_path: Path) -> None:
    dataset = start_dataset(tmp_path / "bids")
    for word in ("inphase", "outphase"):
        add_image(dataset, f"{ANAT}_acq-{word}_T1w.nii.gz", {"MagneticFieldStrength": 3})
    code = (
        "import sys; from pathlib import Path; from bids_mfi.discovery.dataset import find_scans; "
        "from bids_mfi.options import RunOptions; "
        f"(scan,) = find_scans(RunOptions(Path({str(dataset)!r}), Path('out'), 'participant')); "
        "assert scan.field_strength_t == 3; assert not {'bids', 'sqlalchemy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
