"""A search of datasets with circles, pipes and odd sidecars ends, and costs one scan at most."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from bids_datasets import THREE_TESLA_IP, THREE_TESLA_OOP, add_image, make_pair, start_dataset
from forked_runs import Ended, ForkedRun

from bids_mfi.discovery import UnusableScan, find_scans
from bids_mfi.errors import DatasetError
from bids_mfi.measure.pair import DixonPair
from bids_mfi.options import RunOptions

ANAT = "sub-01/anat/sub-01_"
LONGEST_S = 120  # of a search that takes one or two seconds


def find(bids_dir: Path, **more: object) -> list[DixonPair | UnusableScan]:
    return find_scans(RunOptions(bids_dir, bids_dir / "out", "participant", **more))  # type: ignore[arg-type]


def search_apart(bids_dir: Path, *options: str) -> Ended:
    """A dry run in a process of its own, so that one that hangs fails the test."""
    words = (bids_dir, bids_dir / "out", "participant", "--dry-run", "--json", *options)
    return ForkedRun(*words).end(within_s=LONGEST_S)


def scans_of(done: Ended) -> list[dict[str, Any]]:
    assert "Traceback" not in done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return start_dataset(tmp_path / "bids")


@pytest.fixture
def two(dataset: Path) -> Path:
    """Two participants whose echo times tell the phases."""
    for label in ("01", "02"):
        for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
            add_image(dataset, f"sub-{label}/anat/sub-{label}_echo-{echo}_MEGRE.nii.gz", fields)
    return dataset


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "links",
    [
        {"sub-01/up": ".."},
        {"sub-01/one": ".", "sub-01/two": "."},
        {"sub-01/anat/one": "..", "sub-01/anat/two": "../.."},
        {"sub-01/anat/a": "../anat", "sub-01/anat/b": "../anat", "sub-01/anat/c": "../anat"},
        {"sub-01/ses-loop": "."},
        {"sub-01/ses-up": ".."},
        {"sub-03": "."},
        {"sub-01/again": "anat"},
        {"loop": "."},
        {"sub-02/anat/one": "../../sub-01", "sub-01/anat/two": "../../sub-02"},
    ],
    ids=lambda links: "+".join(links),
)
def test_links_that_lead_in_a_circle_end(two: Path, links: dict[str, str]) -> None:
    for link, target in links.items():
        (two / link).symlink_to(target)
    found = scans_of(search_apart(two))
    assert [scan["problem"] for scan in found] == [None, None]
    assert [scan["in_phase"] for scan in found] == [
        f"sub-{label}/anat/sub-{label}_echo-2_MEGRE.nii.gz" for label in ("01", "02")
    ]


def test_a_link_back_from_another_store_ends(two: Path, tmp_path: Path) -> None:
    """The participant lies elsewhere, and a link there leads to the dataset."""
    (two / "sub-01").rename(tmp_path / "store")
    (two / "sub-01").symlink_to("../store")
    (tmp_path / "store" / "back").symlink_to(two)
    (tmp_path / "store" / "anat" / "back").symlink_to(two)
    assert [scan["problem"] for scan in scans_of(search_apart(two))] == [None, None]


@pytest.mark.parametrize("linked", ["sub-01", "sub-01/ses-a", "sub-01/ses-a/anat"])
def test_linked_folders_are_still_searched(dataset: Path, tmp_path: Path, linked: str) -> None:
    make_pair(dataset, "01", "a")
    (dataset / linked).rename(tmp_path / "store")
    (dataset / linked).symlink_to(tmp_path / "store")
    (pair,) = find(dataset)
    assert isinstance(pair, DixonPair)


# --- sidecars ------------------------------------------------------------------------------------

BEYOND_64_BITS = 10**30


@pytest.mark.parametrize(
    "fields",
    [
        '"IntendedFor": [null]',
        '"IntendedFor": {}',
        '"IntendedFor": 5',
        '"IntendedFor": [1]',
        '"IntendedFor": true',
        '"IntendedFor": ["anat/sub-01_echo-1_MEGRE.nii.gz", "bids::../../x", [[]]]',
        '"suffix": "bold", "subject": "99", "extension": 1, "key echo": 7, "datatype": []',
        f'"Big": {BEYOND_64_BITS}, "Rates": [NaN, Infinity, -Infinity], "": 1',
        '"a\\u0000b": "\\u0000", "x\\ud800": "\\udfff", "\\u202e": "\\u001b[31m"',
        '"EchoNumber": 1, "EchoNumber": 2, "SliceTiming": ' + json.dumps([0.1] * 100_000),
        '"Nested": ' + "[" * 900 + "]" * 900,
    ],
    ids=lambda fields: fields[:30],
)
def test_fields_of_no_use_are_ignored(two: Path, fields: str) -> None:
    for echo, values in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
        text = f"{json.dumps(values)[:-1]}, {fields}}}"
        (two / f"{ANAT}echo-{echo}_MEGRE.json").write_text(text)
    for scan in find(two):
        assert isinstance(scan, DixonPair), scan.problem


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"EchoTime": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested too deeply"),
        ('{"EchoTime": ' + "1" * 5000 + "}", "is not valid JSON"),
        ('["EchoTime", 0.00246]', "is not a JSON object"),
        ("\x00" * 40, "is not valid JSON"),
        ("", "is not valid JSON"),
        ('{"a": "' + "x" * (17 * 2**20) + '"}', "larger than 16 MiB"),
    ],
    ids=["deep", "digits", "array", "nul", "empty", "huge"],
)
def test_a_sidecar_of_no_use_costs_its_scan_only(two: Path, content: str, words: str) -> None:
    (two / f"{ANAT}echo-1_MEGRE.json").write_text(content)
    bad, good = find(two)
    assert isinstance(bad, UnusableScan)
    assert words in bad.problem
    assert "echo-1_MEGRE.json" in bad.problem
    assert isinstance(good, DixonPair)


BROKEN = '{"EchoTime": 0.00246,'


@pytest.mark.parametrize(
    "name", ["acq-neck_echo-{}_T1w", "acq-dixon_echo-{}_MEGRE", "acq-vibe_run-{}_T1w"]
)
def test_one_broken_sidecar_of_two_gives_the_reason(dataset: Path, name: str) -> None:
    """The broken one holds what tells the phase; the other is still read."""
    told = THREE_TESLA_IP | {"SeriesDescription": "t1_vibe_tra_in"}
    whole = add_image(dataset, f"{ANAT}{name.format(2)}.nii.gz", told)
    broken = add_image(dataset, f"{ANAT}{name.format(1)}.nii.gz", {})
    sidecar = broken.with_name(broken.name.replace(".nii.gz", ".json"))
    sidecar.write_text(BROKEN)
    (scan,) = find(dataset)
    assert isinstance(scan, UnusableScan)
    assert scan.in_phase == whole
    assert f"{sidecar}: is not valid JSON" in scan.problem
    assert "Add EchoTime" not in scan.problem


def test_two_broken_sidecars_give_a_reason(dataset: Path) -> None:
    for run in ("1", "2"):
        path = add_image(dataset, f"{ANAT}acq-vibe_run-{run}_T1w.nii.gz")
        path.with_name(f"sub-01_acq-vibe_run-{run}_T1w.json").write_text(BROKEN)
    with pytest.raises(DatasetError, match=r"run-1_T1w\.json: is not valid JSON"):
        find(dataset)


def test_a_broken_sidecar_of_another_session_or_of_no_use_is_not_told(dataset: Path) -> None:
    make_pair(dataset, "01", "a")
    make_pair(dataset, "01", "b")
    (dataset / "sub-01/ses-b/anat/sub-01_ses-b_acq-outphase_T1w.nii.gz").unlink()
    for session in "ab":
        for name in ("T2w", "run-7_T1w"):
            stem = f"sub-01_ses-{session}_{name}"
            path = add_image(dataset, f"sub-01/ses-{session}/anat/{stem}.nii.gz")
            path.with_name(f"{stem}.json").write_text(BROKEN)
    good, bad = find(dataset)
    assert isinstance(good, DixonPair)
    assert isinstance(bad, UnusableScan)
    assert "ses-b_run-7_T1w.json" in bad.problem
    assert "T2w" not in bad.problem
    assert "ses-a" not in bad.problem


def test_a_broken_sidecar_of_water_is_told_to_the_scanner_mode(dataset: Path) -> None:
    make_pair(dataset, "01")
    add_image(dataset, f"{ANAT}acq-water_T1w.nii.gz")
    add_image(dataset, f"{ANAT}part-mag_T1w.nii.gz")
    (dataset / f"{ANAT}part-mag_T1w.json").write_text(BROKEN)
    (scan,) = find(dataset)
    assert isinstance(scan, DixonPair)
    (scan,) = find(dataset, fat_water="scanner")
    assert isinstance(scan, UnusableScan)
    assert "part-mag_T1w.json: is not valid JSON" in scan.problem


def test_byte_order_marks_are_no_fault(two: Path) -> None:
    for path in (two / f"{ANAT}echo-1_MEGRE.json", two / "dataset_description.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    for scan in find(two):
        assert isinstance(scan, DixonPair), scan.problem


def test_a_layout_file_of_the_dataset_changes_no_rule(two: Path) -> None:
    """PyBIDS would take its rules from such a file."""
    for folder in ("", "sub-01", "sub-01/anat"):
        (two / folder / "layout_config.json").write_text('{"name": "x", "entities": 3}')
    assert all(isinstance(scan, DixonPair) for scan in find(two))


# --- pipes ---------------------------------------------------------------------------------------


def make_pipe(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "participants.tsv",
        "participants.json",
        "MEGRE.json",
        "sub-01/sub-01_scans.tsv",
        "sub-01/anat/x.json",
        "sub-01/anat/layout_config.json",
        "sub-01/anat/sub-01_echo-1_MEGRE.bval",
    ],
)
def test_a_named_pipe_beside_the_images_holds_nothing_up(two: Path, name: str) -> None:
    make_pipe(two / name)
    found = scans_of(search_apart(two))
    assert found[1]["problem"] is None or "MEGRE.json" in found[1]["problem"]
    if name != "MEGRE.json":
        assert [scan["problem"] for scan in found] == [None, None]


def test_a_named_pipe_as_sidecar_is_explained(two: Path) -> None:
    make_pipe(two / f"{ANAT}echo-1_MEGRE.json")
    bad, good = scans_of(search_apart(two))
    assert "echo-1_MEGRE.json" in bad["problem"]
    assert "named pipe" in bad["problem"]
    assert good["problem"] is None


@pytest.mark.parametrize("option", [(), ("--skip-bids-validation",)])
def test_a_named_pipe_as_description(two: Path, option: tuple[str, ...]) -> None:
    make_pipe(two / "dataset_description.json")
    done = search_apart(two, *option)
    if option:
        assert len(scans_of(done)) == 2
    else:
        assert done.returncode == 3
        assert "named pipe" in done.stderr


def test_a_named_pipe_as_filter_file(two: Path, tmp_path: Path) -> None:
    done = search_apart(two, "--bids-filter-file", str(make_pipe(tmp_path / "filter.json")))
    assert done.returncode == 3
    assert "named pipe" in done.stderr


# --- the dataset's description -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "is not a JSON object"),
        ('{"Name": "x"}', "has no BIDSVersion"),
        ('{"BIDSVersion": "1.9.0", "a": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested"),
        ("\x00", "is not valid JSON"),
    ],
    ids=["array", "no version", "deep", "nul"],
)
def test_a_description_of_no_use_is_explained(two: Path, content: str, words: str) -> None:
    (two / "dataset_description.json").write_text(content)
    with pytest.raises(DatasetError, match=words):
        find(two)
    assert len(find(two, skip_bids_validation=True)) == 2


@pytest.mark.parametrize(
    "fields", [{"Authors": None}, {"Authors": "x"}, {"DatasetType": None}, {"GeneratedBy": [1]}]
)
def test_fields_of_the_description_that_do_not_matter(two: Path, fields: dict[str, object]) -> None:
    start_dataset(two, **fields)
    assert len(find(two)) == 2


# --- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Sub-03", "SUB-03", "sub_03", "sub 03"])
def test_a_folder_meant_for_a_participant_is_named(two: Path, name: str) -> None:
    (two / name / "anat").mkdir(parents=True)
    first, second, third = sorted(find(two), key=lambda scan: isinstance(scan, UnusableScan))
    assert isinstance(first, DixonPair)
    assert isinstance(second, DixonPair)
    assert isinstance(third, UnusableScan)
    assert third.problem.startswith(f"{name}: is not a BIDS name")
    assert "sub-03" in third.problem
    assert len(find(two, participant_label=("01",))) == 1


def test_only_folders_meant_for_participants(dataset: Path) -> None:
    (dataset / "Sub-01" / "anat").mkdir(parents=True)
    with pytest.raises(DatasetError, match="Sub-01: is not a BIDS name"):
        find(dataset)


@pytest.mark.parametrize("name", ["submissions", "sub-03", "sub-03.zip", "Subjects"])
def test_other_entries_are_no_participants(two: Path, name: str) -> None:
    if name[0] == "s" and "-" in name:
        (two / name).write_text("")
    else:
        (two / name).mkdir()
    assert len(find(two)) == 2


def test_many_stray_files_do_no_harm(two: Path) -> None:
    for number in range(3000):
        (two / "sub-01" / "anat" / f"IM{number:05d}.dcm").touch()
        (two / "sub-01" / "anat" / f"IM{number:05d}.json").write_text("{")
    assert all(isinstance(scan, DixonPair) for scan in find(two))


def test_an_ancestor_that_cannot_be_listed_costs_its_participant_only(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if str(path) == str(two / "sub-01" / "anat"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    bad, good = find(two)
    assert isinstance(bad, UnusableScan)
    assert "Permission denied" in bad.problem
    assert isinstance(good, DixonPair)
