"""Whether BIDS_DIR is the dataset that was measured: what is accepted, named and refused."""

import hashlib
import json
import os
import shutil

import pandas as pd
import pytest
from group_folder import make_group_folder

from bids_mfi.bids.scan_results import list_measured_images
from bids_mfi.cli.app import main
from bids_mfi.group.measured import MeasuredScan, compare_scan

MUSCLES = ("LC", "TR")
PEOPLE = pd.DataFrame({
    "participant_id": [f"sub-{n:02d}" for n in range(1, 7)], "sex": list("FMFMFM"),
    "age": range(30, 60, 5), "bmi": range(20, 26),
})  # fmt: skip


@pytest.fixture
def folders(tmp_path):
    """A study that was measured."""
    return make_folders(tmp_path / "study")


def make_folders(root, people=PEOPLE):
    rows = [
        (person, muscle, hemi, 10.0 + place, 20.0)
        for place, person in enumerate(people["participant_id"])
        for muscle in MUSCLES
        for hemi in "LR"
    ]
    muscles = pd.DataFrame(rows, columns=["participant_id", "muscle", "hemi", "mfi", "volume"])
    return make_group_folder(root, muscles, people)


def images(bids_dir):
    return sorted(bids_dir.rglob("*.nii.gz"))


def run(folders, capsys, *options):
    """Exit status, and what is said about the dataset."""
    status = main([*map(str, folders), "group", "--dry-run", *options])
    lines = capsys.readouterr().err.splitlines()
    return status, "\n".join(line for line in lines if "Model bundle" not in line)


def change_images(bids_dir, every=1):
    for image in images(bids_dir)[::every]:
        image.write_bytes(b"of another person")


def test_the_content_of_the_images_is_recorded(folders):
    sidecar = json.loads(next(folders[1].rglob("*_mfi.json")).read_text())
    wanted = [
        hashlib.sha256((folders[0] / uri.removeprefix("bids:raw:")).read_bytes()).hexdigest()
        for uri in sidecar["Sources"]
    ]
    assert sidecar["SourcesSHA256"] == wanted


def test_the_dataset_that_was_measured_is_accepted_without_a_word(folders, capsys):
    assert run(folders, capsys) == (0, "")


@pytest.mark.parametrize("how", ["moved", "linked", "copied", "part"])
def test_the_same_dataset_elsewhere_is_accepted_without_a_word(how, folders, tmp_path, capsys):
    other = tmp_path / "elsewhere" / "data"
    other.parent.mkdir()
    if how == "linked":
        other.symlink_to(folders[0])
    else:
        {"moved": shutil.move}.get(how, shutil.copytree)(folders[0], other)
    if how == "part":
        for person in PEOPLE["participant_id"][1:]:
            shutil.rmtree(other / person)
    assert run((other, folders[1]), capsys) == (0, "")


@pytest.mark.parametrize("images_of_the_other", ["same names", "other names", "sessions", "one"])
def test_another_study_with_the_same_labels_is_refused(
    images_of_the_other, folders, tmp_path, capsys
):
    other, _ = make_folders(tmp_path / "other", PEOPLE.assign(age=81, sex="M"))
    change_images(other)
    if images_of_the_other != "same names":
        for number, image in enumerate(images(other)):
            folder = image.parent
            if images_of_the_other == "sessions":
                folder = image.parents[1] / "ses-01" / "anat"
                folder.mkdir(parents=True, exist_ok=True)
            if images_of_the_other == "one" and number:
                image.unlink()
            else:
                image.rename(folder / image.name.replace("MEGRE", "T1w"))
    status, said = run((other, folders[1]), capsys)
    assert status == 3
    assert f"{other}: is not the dataset that was measured" in said
    assert f"--participants-file {other / 'participants.tsv'}" in said
    status, said = run((other, folders[1]), capsys, "--participants-file",
                       str(other / "participants.tsv"))  # fmt: skip
    assert status == 0
    assert f"warning: {other} is not the dataset that was measured" in said


def test_the_page_says_that_the_dataset_is_another(folders, no_figures, capsys):
    change_images(folders[0])
    table = str(folders[0] / "participants.tsv")
    assert main([*map(str, folders), "group", "--participants-file", table]) == 0
    assert "is not the dataset that was measured" in (folders[1] / "group.html").read_text()


def test_nothing_is_joined_before_the_refusal(folders, capsys):
    change_images(folders[0])
    before = sorted(folders[1].rglob("*"))
    assert main([*map(str, folders), "group"]) == 3
    assert sorted(folders[1].rglob("*")) == before


def test_a_table_in_a_third_dataset_is_named(folders, tmp_path, capsys):
    other, _ = make_folders(tmp_path / "other")
    change_images(other)
    table = other / "participants.tsv"
    status, said = run(folders, capsys, "--participants-file", str(table))
    assert status == 0
    assert f"warning: {table} is in a dataset that is not the one measured" in said
    alone = tmp_path / "people.tsv"
    shutil.copy(table, alone)
    assert run(folders, capsys, "--participants-file", str(alone)) == (0, "")


def test_sessions_of_another_dataset_are_not_read(folders, tmp_path, capsys):
    other, _ = make_folders(tmp_path / "other")
    change_images(other)
    (other / "sub-01" / "sub-01_sessions.tsv").write_text("age\n1\n")
    table = tmp_path / "people.tsv"
    shutil.copy(folders[0] / "participants.tsv", table)
    (other / "participants.tsv").unlink()
    assert run((other, folders[1]), capsys)[0] == 3
    status, said = run((other, folders[1]), capsys, "--participants-file", str(table))
    assert status == 0
    assert "tables of sessions in BIDS_DIR are not" in said
    assert "has no column session_id" not in said


def test_images_that_were_changed_since_are_named(folders, capsys):
    changed = folders[0] / "sub-03" / "anat" / "sub-03_acq-dixon_echo-1_MEGRE.nii.gz"
    changed.write_bytes(b"defaced")
    status, said = run(folders, capsys)
    assert status == 0
    assert "not those that were measured, of 6 checked (1)" in said
    assert "[sub-03_acq-dixon]" in said


def test_a_folder_with_the_table_alone_is_accepted_with_a_warning(folders, tmp_path, capsys):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folders[0] / "participants.tsv", alone)
    status, said = run((alone, folders[1]), capsys)
    assert status == 0
    assert f"warning: That {alone} is the dataset that was measured could not be proved" in said
    assert "it holds no image of them" in said
    (alone / "participants.tsv").unlink()
    assert "could not be proved" not in run((alone, folders[1]), capsys)[1]


@pytest.mark.parametrize(
    ("measured", "given", "status"),
    [("doi:10.1/a.v1.0.0", "https://doi.org/10.1/A.v1.2.0", 0), ("10.1/a", "10.1/b", 3),
     ("10.1/a", None, 0), ("10.1/a", 5, 0), (None, "10.1/b", 0)],
)  # fmt: skip
def test_without_images_the_doi_decides(measured, given, status, folders, tmp_path, capsys):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folders[0] / "participants.tsv", alone)
    (alone / "dataset_description.json").write_text(json.dumps({"DatasetDOI": given}))
    path = folders[1] / "dataset_description.json"
    content = json.loads(path.read_text())
    content["SourceDatasets"] = [{"URL": "x", **({"DOI": measured} if measured else {})}]
    path.write_text(json.dumps(content))
    found, said = run((alone, folders[1]), capsys)
    assert found == status
    assert ("it has the DOI 10.1/b, the dataset that was measured 10.1/a" in said) == bool(status)


@pytest.mark.parametrize("key", ["MD5E-s10--abc.nii.gz", "SHA256E-s10--{}.nii.gz"])
@pytest.mark.parametrize("kind", ["link", "pointer"])
@pytest.mark.parametrize("same", [True, False])
def test_a_datalad_clone_without_content_is_compared_by_its_keys(key, kind, same, folders, capsys):
    for image in images(folders[0]):
        sha256 = hashlib.sha256(image.read_bytes() if same else b"other").hexdigest()
        image.unlink()
        name = key.format(sha256)
        if kind == "link":
            image.symlink_to(f"../../.git/annex/objects/a1/b2/{name}/{name}")
        else:
            image.write_text(f"/annex/objects/{name}\n")
    status, said = run(folders, capsys)
    if key.startswith("MD5E"):
        assert status == 0
        assert "git-annex has the content elsewhere" in said
        assert "note: That" in said
    else:
        assert (status, said == "") == ((0, True) if same else (3, False))


def test_sidecars_of_earlier_versions_are_compared_by_name(folders, tmp_path, capsys):
    for sidecar in folders[1].rglob("*_mfi.json"):
        content = json.loads(sidecar.read_text())
        del content["SourcesSHA256"]
        sidecar.write_text(json.dumps(content))
    status, said = run(folders, capsys)
    assert status == 0
    assert "warning: That" in said
    assert "the content was not recorded" in said
    for image in images(folders[0]):
        image.rename(image.with_name("sub-01_T1w.nii.gz"))
    assert run(folders, capsys)[0] == 3


@pytest.mark.parametrize(
    "sources",
    [None, 5, "bids:raw:x", [None], [5, {}], ["bids:raw:../x"], ["bids:raw:/etc/passwd"],
     ["bids:raw:"], ["bids:raw:a%00b"], ["http://x"], [[]]],
)  # fmt: skip
def test_odd_sources_name_no_image(sources):
    assert list_measured_images(sources, ["a", "b", "c", "d"]) == ()


def test_odd_hashes_count_as_unknown():
    assert list_measured_images(["bids:raw:a", "bids:raw:b"], ["x", None]) == (
        ("a", "x"),
        ("b", ""),
    )
    assert (
        list_measured_images(["bids:raw:a"], [1])
        == list_measured_images(["bids:raw:a"], 7)
        == (("a", ""),)
    )


def test_what_cannot_be_read_proves_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "loop.nii").symlink_to("loop.nii")
    for name in ("pipe.nii", "folder.nii", "loop.nii"):
        assert compare_scan(tmp_path, MeasuredScan("sub-1", "sub-1", ((name, "ab"),))) == "named"
