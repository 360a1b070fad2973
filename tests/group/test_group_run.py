"""The group level from the command line: what is read, by which rule, and what is said about it."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from group_folder import BUNDLE, OTHER_BUNDLE, make_group_folder, repeat_runs

from bids_mfi.bids.markers import SEAL, seal
from bids_mfi.cli.app import main

MUSCLES = ("MFSS", "LC", "SSCap", "SPCap", "LS", "SCM", "TR")
FEW_MUSCLES = ("MFSS", "LC", "TR")  # take less than half of the time
STATISTICS = {
    "rmancova": ("f", "p"), "sphericity": ("w", "greenhouse_geisser"), "emm": ("estimate", "se"),
    "ancova": ("f_sex", "p_sex", "emm_f"), "partialcorr": ("r", "p"), "multivariate": ("pillai",),
}  # fmt: skip


def make_people(count, **columns):
    rng = np.random.default_rng(count)
    people = {
        "participant_id": [f"sub-{number:02d}" for number in range(1, count + 1)],
        "sex": ["F" if number % 3 else "M" for number in range(count)],
        "age": rng.integers(20, 60, count).tolist(),
        "bmi": np.round(rng.normal(26, 3, count), 2).tolist(),
    }
    return pd.DataFrame(people | columns)


def make_muscles(people, muscles=FEW_MUSCLES, seed=1):
    rng = np.random.default_rng(seed)
    rows = [
        (person, muscle, hemi, round(12 + rng.normal(0, 2), 4), round(9 + rng.random(), 4))
        for person in people["participant_id"]
        for muscle in muscles
        for hemi in "LR"
    ]
    return pd.DataFrame(rows, columns=["participant_id", "muscle", "hemi", "mfi", "volume"])


def run(folders, *options):
    return main([*map(str, folders), "group", *options])


def read(folders, name):
    path = folders[1] / f"group_{name}.tsv"
    return pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)


@pytest.fixture
def people():
    return make_people(12)


@pytest.fixture(autouse=True)
def _fast(no_figures):
    """Figures are not looked at here."""


# --- what is read ------------------------------------------------------------------------------


def test_all_measures_of_all_scans_stand_in_one_tidy_table(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people, MUSCLES), people)
    assert run(folders) == 0
    table = read(folders, "mfi")
    assert list(table.columns[:4]) == ["participant_id", "session_id", "acq_id", "run_id"]
    assert len(table) == 12 * 14
    own = table[(table["participant_id"] == "sub-03")]
    assert list(own["muscle"][::2]) == list(MUSCLES)
    assert list(own["hemi"]) == ["L", "R"] * 7
    expected = make_muscles(people, MUSCLES).set_index(["participant_id", "muscle", "hemi"])
    for row in own.itertuples():
        assert row.mfi_percent == expected.loc[("sub-03", row.muscle, row.hemi), "mfi"]
        assert row.volume_ml == expected.loc[("sub-03", row.muscle, row.hemi), "volume"]
    assert set(own["sex"]) == set(people["sex"][people["participant_id"] == "sub-03"])
    assert set(table["bundle"]) == {"made_up 1.0"}
    assert "12 participants analysed" in capsys.readouterr().out


def test_the_sidecar_describes_every_column(people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    run(folders, "--model", "mfi ~ age", "--controls", "sex == 'F'", "--correction", "holm")
    tables = sorted(folders[1].glob("group_*.tsv"))
    assert len(tables) > 20
    for path in tables:
        sidecar = json.loads(path.with_suffix(".json").read_text())
        described = {
            name
            for name, entry in sidecar.items()
            if isinstance(entry, dict) and "Description" in entry
        }
        header = path.read_text().split("\n")[0].split("\t")
        assert set(header) <= described, path.name
        undescribed = [n for n in header if sidecar[n]["Description"] == "As in the input."]
        assert undescribed == [], path.name


def test_minimal_tables_without_sidecars_are_enough(people, tmp_path, capsys):
    muscles = make_muscles(people)
    full = make_group_folder(tmp_path / "full", muscles, people)
    minimal = make_group_folder(tmp_path / "minimal", muscles, people, minimal=True)
    assert run(full) == run(minimal) == 0
    assert "Tables without a sidecar (12)" in capsys.readouterr().err
    for name in ("ancova", "rmancova", "pairedt", "partialcorr"):
        left, right = ((f[1] / f"group_{name}.tsv").read_bytes() for f in (full, minimal))
        assert left == right


def test_the_same_input_gives_the_same_bytes(people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    run(folders)
    written = {path: path.read_bytes() for path in folders[1].rglob("group*") if path.is_file()}
    written |= {path: path.read_bytes() for path in folders[1].rglob("*.svg")}
    assert len(written) > 50
    run(folders)
    assert {path: path.read_bytes() for path in written} == written


def test_what_an_earlier_run_wrote_and_this_one_does_not_goes(people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    run(folders, "--model", "mfi ~ age")
    assert (folders[1] / "group_model.tsv").exists()
    own = folders[1] / "group_notes_of_mine.tsv"
    own.write_text("kept\n")
    run(folders)
    assert not list(folders[1].glob("group_model*"))
    assert own.read_text() == "kept\n"


def test_a_damaged_table_costs_its_scan_only(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    broken = next((folders[1] / "sub-05").rglob("*_mfi.tsv"))
    broken.write_text("muscle\themi\tvolume_ml\tmfi_percent\nTR\tL\tmany\t8\n")
    assert run(folders) == 1
    said = capsys.readouterr()
    assert "error: Tables that cannot be read (1)" in said.err
    assert "many" in said.err
    assert "11 participants analysed" in said.out
    assert "sub-05" not in set(read(folders, "mfi")["participant_id"])
    assert "sub-05" in (folders[1] / "group.html").read_text()


def test_a_changed_table_is_used_and_named(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    table = next((folders[1] / "sub-05").rglob("*_mfi.tsv"))
    table.write_text(table.read_text().replace("L\t", "L\t", 1) + "\n")
    assert run(folders) == 0
    assert re.search(r"Tables changed after .* \(1\).*sub-05", capsys.readouterr().err)


def test_a_table_whose_label_map_was_edited_is_refused(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    edited = next((folders[1] / "sub-05").rglob("*_dseg.nii.gz"))
    edited.write_bytes(b"corrected by hand")
    for option, written in (("--dry-run", "nothing was written"), ("--missing=any", "results in")):
        assert run(folders, option) == 1
        said = capsys.readouterr()
        assert re.search(rf"error: .*label map was changed.*\(1\).*{edited}: edited", said.err)
        assert "--overwrite, which segments the scan again and keeps a copy" in said.err
        assert "11 participants analysed" in said.out
        assert written in said.out
    assert "sub-05" not in set(read(folders, "mfi")["participant_id"])
    assert edited.name in (folders[1] / "group.html").read_text()


def test_a_label_map_that_is_not_there_or_closed_refuses_nothing(people, tmp_path, capsys):
    """A copy without images is enough for the statistics; DataLad leaves broken links."""
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    maps = [next((folders[1] / f"sub-0{number}").rglob("*_dseg.nii.gz")) for number in (1, 2, 3)]
    for path in maps:
        path.unlink()
    maps[1].symlink_to("nowhere")
    os.mkfifo(maps[2])
    assert run(folders) == 0
    assert "12 participants analysed" in capsys.readouterr().out


def test_when_every_label_map_was_edited_the_first_is_named(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    for path in folders[1].rglob("*_dseg.nii.gz"):
        path.write_bytes(b"corrected")
    assert run(folders) == 3
    assert "none of 12 tables of measures can be used" in capsys.readouterr().err


def test_a_sidecar_whose_flags_were_removed_is_named(people, tmp_path, capsys):
    muscles = make_muscles(people)
    muscles.loc[(muscles["participant_id"] == "sub-05").idxmax(), ["mfi", "volume"]] = np.nan
    folders = make_group_folder(tmp_path, muscles, people)
    marker = next((folders[1] / "sub-05").rglob("*_mfi.json"))
    content = json.loads(marker.read_text())
    assert content["QCFlags"], "there is something to remove"
    marker.write_text(json.dumps(content | {"QCFlags": []}))
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert re.search(r"warning: Tables with a sidecar that was edited.*\(1\).*sub-05", said)


def test_a_scan_that_was_copied_under_another_name_is_named(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    shutil.copytree(folders[1] / "sub-05", folders[1] / "sub-99")
    for path in sorted((folders[1] / "sub-99").rglob("sub-05*")):
        path.rename(path.with_name(path.name.replace("sub-05", "sub-99")))
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert re.search(
        r"warning: Tables with the sidecar of another scan \(1\).*sub-99.*\(of sub-05", said
    )


def test_the_results_of_another_scan_under_a_scans_name_are_named(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    for ending in ("_mfi.tsv", "_mfi.json"):
        source, target = (
            next((folders[1] / name).rglob(f"*{ending}")) for name in ("sub-06", "sub-05")
        )
        target.write_bytes(source.read_bytes())
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert re.search(r"sidecar of another scan \(1\).*sub-05.*\(of sub-06", said)


def test_a_table_that_was_removed_is_named(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    next((folders[1] / "sub-05").rglob("*_mfi.tsv")).unlink()
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert re.search(r"warning: Sidecars of missing tables \(1\).*sub-05", said)


@pytest.mark.parametrize(
    "change",
    [
        {"Files": 5}, {"Files": []}, {"Files": {"x": 5}}, {"Bundle": None}, {"Bundle": []},
        {"Bundle": {"Name": 1, "Version": [], "SHA256": {}}}, {"QCFlags": 5}, {"QCFlags": [5]},
        {"QCFlags": [{"severity": "error"}]}, {"QCFlags": [{"code": 1, "severity": []}]},
        {"Software": "x"}, {"FatWater": {}}, {"Fingerprint": None},
    ],
)  # fmt: skip
def test_a_sidecar_with_values_of_other_types_costs_nothing(change, people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    marker = next((folders[1] / "sub-05").rglob("*_mfi.json"))
    content = json.loads(marker.read_text()) | change
    content.pop(SEAL)
    marker.write_text(json.dumps(seal(content)))
    assert run(folders, "--dry-run") == 0
    said = capsys.readouterr()
    assert re.search(r"warning: Tables with a sidecar that cannot be read \(1\).*sub-05", said.err)
    assert "12 participants analysed" in said.out


def test_copies_that_programs_made_are_no_scans(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    own = next((folders[1] / "sub-05").rglob("*_mfi.tsv"))
    left_out = [
        f"Copy of {own.name}", f"._{own.name}", own.name.replace("_seg-", " (1)_seg-"),
        own.name.replace("_seg-", " (conflicted copy 2026-01-02)_seg-"),
    ]  # fmt: skip
    for name in (*left_out, own.name.replace(".tsv", " (1).tsv"), f"{own.name}~"):
        (own.parent / name).write_bytes(own.read_bytes())
    for name in (own.name.replace(".tsv", " (1).json"), f"Copy of {own.stem}.json"):
        (own.parent / name).write_text('{"Files": 5}')
    assert run(folders, "--dry-run") == 0
    said = capsys.readouterr()
    assert re.search(
        r"Tables whose name does not consist of BIDS entities, left out \(4\)", said.err
    )
    assert "12 participants analysed" in said.out


def test_two_bundles_are_named_with_their_scans(people, tmp_path, capsys):
    bundles = (*[BUNDLE] * 11, OTHER_BUNDLE)
    folders = make_group_folder(tmp_path, make_muscles(people, MUSCLES), people, bundles=bundles)
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert "2 different model bundles" in said
    assert "sub-12_acq-dixon: made_up 2.0" in said
    assert read(folders, "mfi")["bundle"].value_counts().to_dict() == {
        "made_up 1.0": 11 * 14, "made_up 2.0": 14
    }  # fmt: skip


def test_mirror_images_with_the_same_weights_are_named(people, tmp_path, capsys):
    """The sha256 of the weights does not tell them; sidecars of earlier versions do not say."""
    bundles = (*[BUNDLE] * 11, replace(BUNDLE, mirrored=True))
    folders = make_group_folder(tmp_path, make_muscles(people), people, bundles=bundles)
    older = next((folders[1] / "sub-01").rglob("*_mfi.json"))
    content = json.loads(older.read_text())
    del content["Bundle"]["Mirrored"], content[SEAL]
    older.write_text(json.dumps(content))
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert re.search(r"with test-time mirroring.*\(1\).*sub-12_acq-dixon", said)
    assert re.search(r"note: .* without a checksum .*\(1\).*sub-01_acq-dixon", said)
    assert "different model bundles" not in said


def set_precision(folders, participant, precision):
    """State in a scan's sidecar in which precision its network was computed."""
    path = next((folders[1] / participant).rglob("*_mfi.json"))
    content = json.loads(path.read_text())
    content["Engine"] = {"Name": "openvino", "Precision": precision}
    path.write_text(json.dumps(seal({k: v for k, v in content.items() if k != SEAL})))


def test_bfloat16_beside_float32_of_the_same_weights_is_named(people, tmp_path, capsys):
    """As ``--fast`` leaves it with a bundle without mirroring; a scan without Engine is float32."""
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    set_precision(folders, "sub-11", "float32")
    set_precision(folders, "sub-12", "bfloat16")
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert re.search(r"in bfloat16, others with the same weights in float32 \(1\).*sub-12_", said)
    assert "sub-11" not in said
    set_precision(folders, "sub-12", "float32")
    assert run(folders) == 0
    assert "bfloat16" not in capsys.readouterr().err


def test_a_fast_run_beside_a_normal_one_is_one_finding(people, tmp_path, capsys):
    """``--fast`` omits the mirror image and may use bfloat16; the remedy names the option."""
    bundles = (*[replace(BUNDLE, mirrored=True)] * 11, BUNDLE)
    folders = make_group_folder(tmp_path, make_muscles(people), people, bundles=bundles)
    set_precision(folders, "sub-12", "bfloat16")
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert re.search(r"with test-time mirroring.*\(11\).*all with --fast or all without", said)
    assert "bfloat16" not in said


def test_scans_that_failed_at_the_participant_level_are_named(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    logs = folders[1] / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "sub-99_acq-dixon_error.txt").write_text("no signal\n")
    assert run(folders) == 0
    assert re.search(
        r"error: Scans that failed .* \(1\).*sub-99_acq-dixon", capsys.readouterr().err
    )


@pytest.mark.parametrize("what", ["empty", "absent", "file"])
def test_a_folder_without_tables_is_explained(what, people, tmp_path, capsys):
    bids_dir, output_dir = make_group_folder(tmp_path, make_muscles(people), people)
    other = tmp_path / "other"
    if what == "empty":
        other.mkdir()
    if what == "file":
        other.write_text("")
    assert main([str(bids_dir), str(other), "group"]) in (3, 5)
    said = capsys.readouterr().err
    assert str(other) in said
    assert "participant level" in said or "expected a folder" in said
    assert output_dir.exists()


def test_the_dry_run_says_what_would_be_analysed_and_writes_nothing(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people.iloc[:10])
    before = sorted(folders[1].rglob("*"))
    assert run(folders, "--dry-run") == 0
    said = capsys.readouterr()
    assert "12 participants analysed, 10 of them with sex, age and BMI" in said.out
    assert "sub-11, sub-12" in said.err
    assert sorted(folders[1].rglob("*")) == before


def test_participants_can_be_selected(people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders, "--participant-label", "01", "sub-02") == 0
    assert set(read(folders, "mfi")["participant_id"]) == {"sub-01", "sub-02"}


@pytest.mark.parametrize(
    "option", [["--session", "01"], ["--missing", "any"], ["--model", "mfi ~ age"],
               ["--correction", "holm"], ["--controls", "age > 3"], ["--participants-file", "x"]],
)  # fmt: skip
def test_options_of_the_group_level_are_refused_for_participants(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), str(tmp_path / "out"), "participant", *option])
    assert stopped.value.code == 2
    assert f"{option[0]} applies only to the group level" in capsys.readouterr().err


# --- participants ------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["words", "lower", "codes", "columns"])
def test_sex_may_be_spelled_in_many_ways(spelling, people, tmp_path):
    muscles = make_muscles(people)
    plain = make_group_folder(tmp_path / "plain", muscles, people)
    words = {
        "words": {"F": "Female", "M": "MALE"}, "lower": {"F": "f", "M": "m"},
        "codes": {"F": "2", "M": "1"}, "columns": {"F": "F", "M": "M"},
    }[spelling]  # fmt: skip
    other = people.assign(sex=people["sex"].map(words))
    if spelling == "columns":
        other = other.rename(columns={"sex": "Sex", "age": "AGE", "bmi": "BMI"})
    folders = make_group_folder(tmp_path / "other", muscles, other)
    if spelling == "codes":
        levels = {"sex": {"Levels": {"1": "male", "2": "female"}}}
        (folders[0] / "participants.json").write_text(json.dumps(levels))
    assert run(plain) == run(folders) == 0
    for name in ("ancova", "rmancova"):
        left, right = ((f[1] / f"group_{name}.tsv").read_bytes() for f in (plain, folders))
        assert left == right
    assert read(plain, "ancova")["p_sex"].notna().all()


def test_values_that_make_no_sense_are_missing_and_named(people, tmp_path, capsys):
    people["sex"] = people["sex"].astype(object)
    people.loc[0, "sex"] = "X"
    people = people.astype({"age": object, "bmi": object})
    people.loc[1, "age"] = "34,2"
    people.loc[2, "bmi"] = 2.5
    people.loc[3, "age"] = "n/a"
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert "sub-01: X" in said
    assert "sub-02: 34,2" in said
    assert "sub-03: 2.5" in said
    assert re.search(r"Participants without age in the table \(1\): missing. \[sub-04\]", said)
    assert set(read(folders, "ancova")["n"]) == {8}
    assert set(read(folders, "pairedt")["n"]) == {12}


def test_columns_that_are_not_there_are_named(people, tmp_path, capsys):
    renamed = people.rename(columns={"sex": "gender", "bmi": "weight"})
    folders = make_group_folder(tmp_path, make_muscles(people), renamed)
    assert run(folders, "--dry-run") == 0
    said = capsys.readouterr().err
    assert "participants.tsv has no column sex; it has gender, age, weight" in said
    assert "participants.tsv has no column bmi, or height and weight" in said
    assert "If one of them contains the sex, rename it to sex." in said


def test_a_column_of_ages_in_months_is_not_simply_to_be_renamed(people, tmp_path, capsys):
    renamed = people.assign(age=people["age"] * 12).rename(columns={"age": "age_months"})
    folders = make_group_folder(tmp_path, make_muscles(people), renamed)
    assert run(folders, "--dry-run") == 0
    said = capsys.readouterr().err
    assert "has no column age; it has sex, age_months" in said
    assert "unless it is in years give its Units in participants.json" in said


def test_excel_exports_are_explained(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), None)
    path = tmp_path / "people.csv"
    people.to_csv(path, sep=";", index=False)
    assert run(folders, "--participants-file", str(path)) == 3
    assert "separated by semicolons: save it as tab-separated text" in capsys.readouterr().err


def test_a_missing_value_of_a_line_of_the_session_leaves_that_of_the_participant(tmp_path):
    people = make_people(12)
    lines = pd.concat([people, people.iloc[[0]].assign(session_id="ses-2", age="n/a", bmi=40.0)])
    folders = make_group_folder(tmp_path, make_two_sessions(people), lines)
    assert run(folders) == 0
    table = read(folders, "mfi").set_index(["participant_id", "session_id"])
    assert set(table.loc[("sub-01", "ses-2"), "age"]) == {people.loc[0, "age"]}
    assert set(table.loc[("sub-01", "ses-2"), "bmi"]) == {40.0}


def test_height_in_metres_is_refused_and_not_turned_into_a_bmi(people, tmp_path, capsys):
    people = people.drop(columns="bmi").assign(height=1.7, weight=70)
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders) == 0
    assert "(metres?)" in capsys.readouterr().err
    assert read(folders, "mfi")["bmi"].isna().all()
    assert read(folders, "ancova")["p_sex"].isna().all()


def test_ages_in_another_unit_are_converted(people, tmp_path, capsys):
    plain = make_group_folder(tmp_path / "plain", make_muscles(people), people)
    months = people.assign(age=people["age"] * 12)
    folders = make_group_folder(tmp_path / "months", make_muscles(people), months)
    (folders[0] / "participants.json").write_text(json.dumps({"age": {"Units": "months"}}))
    assert run(plain) == run(folders) == 0
    assert "gives the unit of age as months, expected years: converted" in capsys.readouterr().err
    assert read(folders, "mfi")["age"].tolist() == pytest.approx(read(plain, "mfi")["age"].tolist())


def test_ages_in_an_unknown_unit_are_missing(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    (folders[0] / "participants.json").write_text(json.dumps({"age": {"Units": "decades"}}))
    assert run(folders) == 0
    assert "gives the unit of age as decades" in capsys.readouterr().err
    assert read(folders, "mfi")["age"].isna().all()


def test_people_in_one_table_only_are_named(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people.iloc[1:]), people.iloc[:-1])
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert re.search(
        r"Participants with measures but no line in participants.tsv \(1\).*sub-12", said
    )
    assert re.search(r"Participants of participants.tsv without measures \(1\).*sub-01", said)
    assert set(read(folders, "ancova")["n"]) == {10}
    assert set(read(folders, "pairedt")["n"]) == {11}


def test_a_lost_zero_is_pointed_out_and_not_guessed(people, tmp_path, capsys):
    lost = people.assign(participant_id=people["participant_id"].str.replace("sub-0", "sub-"))
    folders = make_group_folder(tmp_path, make_muscles(people), lost)
    assert run(folders) == 0
    assert "sub-01 (sub-1 in the table?)" in capsys.readouterr().err
    assert set(read(folders, "ancova")["n"]) == {3}


def test_lines_of_one_participant_that_differ_are_missing(people, tmp_path, capsys):
    same, other = people.iloc[[0]], people.iloc[[1]].assign(age=99)
    folders = make_group_folder(tmp_path, make_muscles(people), pd.concat([people, same, other]))
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert re.search(r"with the same values \(1\).*\[sub-01\]", said)
    assert re.search(r"with different values \(1\).*\[sub-02\]", said)
    table = read(folders, "mfi").drop_duplicates("participant_id").set_index("participant_id")
    assert table.loc["sub-01", "age"] == people.loc[0, "age"]
    assert np.isnan(table.loc["sub-02", "age"])
    assert table.loc["sub-02", "bmi"] == people.loc[1, "bmi"]


def test_without_a_table_of_participants_the_rest_is_analysed(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), None)
    assert run(folders) == 0
    assert "participants.tsv does not exist" in capsys.readouterr().err
    assert read(folders, "pairedt")["p"].notna().all()
    assert read(folders, "ancova")["p_sex"].isna().all()
    page = (folders[1] / "group.html").read_text()
    assert "no participant has a known sex and no known age and no known bmi" in page


def test_another_table_can_be_named(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), None)
    path = tmp_path / "my people.tsv"
    people.to_csv(path, sep="\t", index=False)
    assert run(folders, "--participants-file", str(path)) == 0
    assert read(folders, "ancova")["p_sex"].notna().all()
    assert run(folders, "--participants-file", str(tmp_path / "none.tsv")) == 3
    assert "none.tsv" in capsys.readouterr().err


# --- sessions and runs -------------------------------------------------------------------------


def make_two_sessions(people, last="ses-10"):
    first = make_muscles(people).assign(session_id="ses-2")
    later = make_muscles(people, seed=2).assign(session_id=last)
    later["mfi"] += 3
    return pd.concat([later, first])


def test_the_first_session_is_the_first_in_natural_order(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_two_sessions(people), people)
    assert run(folders) == 0
    assert "Session ses-2 was analysed; there are also ses-10" in capsys.readouterr().err
    expected = make_muscles(people)
    mean = expected[expected["muscle"] == "TR"]["mfi"].mean()
    assert read(folders, "descriptives").set_index("muscle").loc["TR", "mean"] == pytest.approx(
        mean
    )
    assert run(folders, "--session", "10") == 0
    later = make_muscles(people, seed=2)
    mean = later[later["muscle"] == "TR"]["mfi"].mean() + 3
    assert read(folders, "descriptives").set_index("muscle").loc["TR", "mean"] == pytest.approx(
        mean
    )
    assert run(folders, "--session", "3") == 3
    assert "there are ses-2, ses-10" in capsys.readouterr().err


def test_values_of_a_session_go_before_those_of_the_participant(people, tmp_path):
    people = people.drop(columns="bmi").assign(height=170.0, weight=70.0)
    sessions = pd.DataFrame([
        ("sub-01", "ses-2", 41.5, np.nan), ("sub-01", "ses-10", 44.0, 80.0),
    ], columns=["participant_id", "session_id", "age", "weight"])  # fmt: skip
    folders = make_group_folder(tmp_path, make_two_sessions(people), people, sessions)
    assert run(folders) == 0
    table = read(folders, "mfi").drop_duplicates(["participant_id", "session_id"])
    known = table.set_index(["participant_id", "session_id"])[["age", "bmi"]]
    assert known.loc[("sub-01", "ses-2")].tolist() == pytest.approx([41.5, 70 / 1.7**2])
    assert known.loc[("sub-01", "ses-10")].tolist() == pytest.approx([44.0, 80 / 1.7**2])
    assert known.loc[("sub-02", "ses-10"), "age"] == people.loc[1, "age"]


def test_a_weight_of_a_session_makes_a_given_bmi_void_only_if_the_height_is_known(people, tmp_path):
    sessions = pd.DataFrame(
        {"participant_id": ["sub-01"], "session_id": ["ses-10"], "weight": [90.0]}
    )
    muscles = make_two_sessions(people)
    plain = make_group_folder(tmp_path / "a", muscles, people, sessions)
    tall = make_group_folder(tmp_path / "b", muscles, people.assign(height=180), sessions)
    assert run(plain) == run(tall) == 0
    for folders, expected in ((plain, people.loc[0, "bmi"]), (tall, 90 / 1.8**2)):
        table = read(folders, "mfi").set_index(["participant_id", "session_id"])
        assert table.loc[("sub-01", "ses-10"), "bmi"].to_numpy() == pytest.approx(expected)


def test_participants_without_a_session_folder_count_in_the_first(people, tmp_path, capsys):
    muscles = make_two_sessions(people)
    muscles.loc[muscles["participant_id"] == "sub-01", "session_id"] = ""
    muscles = muscles.drop_duplicates(["participant_id", "session_id", "muscle", "hemi"])
    folders = make_group_folder(tmp_path, muscles, people)
    assert run(folders) == 0
    assert "Participants whose scans have no session (1)" in capsys.readouterr().err
    assert set(read(folders, "descriptives")["n"]) == {12}
    assert run(folders, "--session", "2") == 0
    assert set(read(folders, "descriptives")["n"]) == {12}
    assert run(folders, "--session", "10") == 0
    assert set(read(folders, "descriptives")["n"]) == {11}
    assert "Participants without a scan of ses-10 (1)" in capsys.readouterr().err


def test_one_run_counts_and_all_are_kept(people, tmp_path, capsys):
    muscles = repeat_runs(make_muscles(people, MUSCLES), runs=2, sd_percent=1.0, seed=3)
    folders = make_group_folder(tmp_path, muscles, people)
    assert run(folders) == 0
    assert "Further scans of a participant in the same session (12)" in capsys.readouterr().err
    table = read(folders, "mfi")
    assert len(table) == 2 * 12 * 14
    assert set(table.loc[table["analysed"] == "yes", "run_id"]) == {"run-1"}
    first = make_muscles(people, MUSCLES)
    mean = first[first["muscle"] == "LC"]["mfi"].mean()
    assert read(folders, "descriptives").set_index("muscle").loc["LC", "mean"] == pytest.approx(
        mean
    )
    repeatability = read(folders, "repeatability")
    assert set(repeatability["n_scans"]) == {24}
    assert repeatability["sdc"].between(0.5, 4).all()


def test_change_between_sessions(people, tmp_path):
    folders = make_group_folder(tmp_path, make_two_sessions(people), people)
    assert run(folders) == 0
    change = read(folders, "change").set_index("muscle")
    first, later = make_muscles(people), make_muscles(people, seed=2)
    expected = later.groupby("muscle")["mfi"].mean() + 3 - first.groupby("muscle")["mfi"].mean()
    assert change["mean_change"].to_dict() == pytest.approx(expected.to_dict())
    assert set(change["session_to"]) == {"ses-10"}
    model = read(folders, "change_model")
    effect = model[model["effect"] == "session"].set_index("muscle")["estimate"]
    assert effect.to_dict() == pytest.approx(expected.to_dict(), rel=1e-5)
    listed = read(folders, "change_participants")
    assert len(listed) == 12 * len(FEW_MUSCLES)
    assert listed["sdc"].isna().all()


# --- options -----------------------------------------------------------------------------------


def test_adjusted_p_values_stand_beside_the_raw_ones(people, tmp_path):
    muscles = make_muscles(people, MUSCLES)
    plain = make_group_folder(tmp_path / "a", muscles, people)
    holm = make_group_folder(tmp_path / "b", muscles, people)
    assert run(plain) == run(holm, "--correction", "holm") == 0
    for name, column in (("pairedt", "p"), ("ancova", "p_sex"), ("partialcorr", "p")):
        raw, adjusted = read(plain, name), read(holm, name)
        assert raw[column].tolist() == adjusted[column].tolist()
        assert f"{column}_adjusted" not in raw
        place = list(adjusted.columns).index(column)
        assert adjusted.columns[place + 1] == f"{column}_adjusted"
    sexes = read(holm, "ancova").set_index("muscle")
    assert np.isnan(sexes.loc["mean", "p_sex_adjusted"])
    lowest = sexes.drop(index="mean")["p_sex"].idxmin()
    expected = min(1, 7 * sexes.loc[lowest, "p_sex"])
    assert sexes.loc[lowest, "p_sex_adjusted"] == pytest.approx(expected)
    partial = read(holm, "partialcorr")
    of_age = partial[partial["x"] == "age"]
    assert of_age["p_adjusted"].min() == pytest.approx(min(1, 7 * of_age["p"].min()))


def test_a_model_of_ones_own(people, tmp_path, capsys):
    people = people.assign(group=["control", "injured"] * 6)
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders, "--model", "mfi ~ group + age") == 0
    model = read(folders, "model")
    assert set(model["term"]) >= {"group", "age"}
    assert {"muscle:group", "muscle:age"} <= set(read(folders, "model_rmancova")["effect"])
    assert run(folders, "--model", "mfi ~ nothing") == 3
    assert "nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("condition", "says"),
    [("group == 'nobody'", "nobody meets it"), ("site == 'control'", "no column site"),
     ("__import__('os')", "not allowed"), ("group", "compares no column"),
     ("1 == 1", "compares no column"),
     (" and ".join(["age > 3"] * 3000), "35,995 characters"), ("a b", "not a condition"),
     ("group < 3", "cannot be compared"), ("group.str.len() > 2", "not allowed")],
)  # fmt: skip
def test_conditions_that_make_no_sense_are_explained(condition, says, people, tmp_path, capsys):
    people = people.assign(group=["control", "injured"] * 6)
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders, "--controls", condition) == 3
    said = capsys.readouterr().err
    assert says in said
    assert condition[:100] in said


def test_centiles_among_ones_own_controls(tmp_path):
    people = make_people(60)
    people["group"] = ["control"] * 40 + ["injured"] * 20
    folders = make_group_folder(tmp_path, make_muscles(people, MUSCLES), people)
    assert run(folders, "--controls", "group == 'control'") == 0
    table = read(folders, "centiles")
    assert table["is_control"].value_counts().to_dict() == {"yes": 40 * 7, "no": 20 * 7}
    assert table["centile"].between(0, 100).all()
    assert "group_centiles.tsv" in (folders[1] / "group.html").read_text()


# --- too little --------------------------------------------------------------------------------

CASES = {
    "few": (make_people(4), "at least 5 are needed"),
    "one_person": (make_people(1), "at least 5 are needed"),
    "one_sex": (make_people(12, sex=["F"] * 12), "sex is the same in all 12"),
    "one_age": (make_people(12, age=[30] * 12), "age is the same in all 12"),
    "one_bmi": (make_people(12, bmi=[22.0] * 12), "bmi is the same in all 12"),
    "no_sex": (make_people(12, sex=["n/a"] * 12), "no known sex|no participant has a known sex"),
}


@pytest.mark.parametrize("case", CASES)
def test_too_little_gives_a_sentence_and_no_number(case, tmp_path):
    people, sentence = CASES[case]
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders) == 0
    for name, columns in STATISTICS.items():
        table = read(folders, name)
        assert len(table), name
        assert table[list(columns)].isna().all(axis=None), name
    assert re.search(sentence, (folders[1] / "group.html").read_text())
    assert read(folders, "residuals").empty
    assert read(folders, "descriptives")["mean"].notna().all()


def test_collinear_covariates_give_a_sentence(people, tmp_path):
    people["bmi"] = people["age"] * 0.5 + 5
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders) == 0
    assert read(folders, "ancova")["p_sex"].isna().all()
    assert "follows from the others" in (folders[1] / "group.html").read_text()


def test_one_muscle_leaves_only_what_it_allows(people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people, ("TR",)), people)
    assert run(folders) == 0
    assert read(folders, "rmancova")["p"].isna().all()
    assert read(folders, "pairedt").empty
    assert read(folders, "ancova")["p_sex"].notna().all()
    assert "fewer than two muscles" in (folders[1] / "group.html").read_text()


def test_values_that_never_differ_give_no_test(people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people).assign(mfi=10.0), people)
    assert run(folders) == 0
    for name in ("pairedt", "musclecorr", "partialcorr", "ancova", "rmancova", "multivariate"):
        table = read(folders, name)
        assert (
            table[[c for c in table if c in ("t", "f", "f_sex", "p", "p_sex")]]
            .isna()
            .all(axis=None)
        )


def test_a_muscle_measured_in_nobody_is_left_out(people, tmp_path):
    muscles = make_muscles(people, MUSCLES)
    muscles.loc[muscles["muscle"] == "LS", "mfi"] = np.nan
    folders = make_group_folder(tmp_path, muscles, people)
    assert run(folders) == 0
    assert "LS" not in set(read(folders, "descriptives")["muscle"])
    assert read(folders, "rmancova")["p"].notna().all()
    assert "LS" in set(read(folders, "volume_descriptives")["muscle"])


def test_left_and_right_are_not_exchanged(people, tmp_path):
    muscles = make_muscles(people)
    muscles.loc[muscles["hemi"] == "L", "mfi"] += 5
    folders = make_group_folder(tmp_path, muscles, people)
    assert run(folders) == 0
    asymmetry = read(folders, "asymmetry")
    assert asymmetry["mean_diff"].between(2, 8).all()
    means = muscles.groupby(["muscle", "hemi"])["mfi"].mean()
    for row in asymmetry.itertuples():
        assert row.mean_left == pytest.approx(means[row.muscle, "L"])
        assert row.mean_right == pytest.approx(means[row.muscle, "R"])


def test_a_missing_side_follows_the_rule(people, tmp_path):
    muscles = make_muscles(people)
    one = (muscles["participant_id"] == "sub-01") & (muscles["muscle"] == "TR")
    muscles.loc[one & (muscles["hemi"] == "L"), "mfi"] = np.nan
    folders = make_group_folder(tmp_path, muscles, people)
    expected = {"both": (11, 12), "any": (12, 12), "complete": (11, 11)}
    for rule, (of_tr, of_lc) in expected.items():
        assert run(folders, "--missing", rule) == 0
        counts = read(folders, "descriptives").set_index("muscle")["n"]
        assert (counts["TR"], counts["LC"]) == (of_tr, of_lc)


def test_a_run_is_recorded_with_its_options(people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people), people.iloc[1:])
    assert run(folders, "--missing", "any", "--model", "mfi ~ age") == 0
    (log,) = (folders[1] / "logs").glob("run-*.json")
    record = json.loads(log.read_text())
    assert record["options"]["missing"] == "any"
    assert record["options"]["model"] == "mfi ~ age"
    assert record["packages"]["statsmodels"]
    assert ["sub-01"] in [finding["names"] for finding in record["findings"]]
    sidecar = json.loads((folders[1] / "group_ancova.json").read_text())
    assert (sidecar["Missing"], sidecar["Model"]) == ("any", "mfi ~ age")


# --- odd folders and tables --------------------------------------------------------------------


def edit_table(folders, person, change):
    """Change the table of a person's first scan, and take its sidecar away."""
    path = sorted((folders[1] / person).rglob("*_mfi.tsv"))[0]
    table = pd.read_csv(path, sep="\t", dtype="str", keep_default_na=False)
    change(table).to_csv(path, sep="\t", index=False)
    path.with_suffix(".json").unlink()
    return path


@pytest.mark.parametrize(
    "column", ["participant_id", "session_id", "acq_id", "sex", "age", "bundle", "analysed", "scan",
               "flags", "n", "df", "rank"],
)  # fmt: skip
def test_further_columns_of_any_name_are_harmless(column, people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    edit_table(folders, "sub-03", lambda table: table.assign(**{column: "a word"}))
    assert run(folders) == 0
    table = read(folders, "mfi")
    assert list(table.columns).count(column) == (column != "scan")
    assert set(table.loc[table["participant_id"] == "sub-03", "age"]) == {people.loc[2, "age"]}
    assert read(folders, "descriptives")["n"].eq(12).all()


def test_a_word_among_the_voxels_is_kept_as_it_is(people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    edit_table(folders, "sub-03", lambda table: table.assign(voxels="many"))
    assert run(folders) == 0
    assert "many" in set(read(folders, "mfi")["voxels"])


def test_a_copy_in_another_folder_is_no_scan(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people, MUSCLES), people)
    own = next((folders[1] / "sub-03").rglob("*_mfi.tsv"))
    for place in (own.parent / "backup", folders[1] / "sub-04" / "anat"):
        place.mkdir(exist_ok=True)
        (place / own.name).write_text(own.read_text().replace("TR\tL", "TR\tL"))
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert "Tables in a place that does not fit their name, left out (2)" in said
    assert len(read(folders, "mfi")) == 12 * 14
    assert not (folders[1] / "group_repeatability.tsv").exists()


def test_only_runs_of_one_acquisition_and_bundle_are_repetitions(people, tmp_path):
    runs = repeat_runs(make_muscles(people), runs=2, sd_percent=1.0, seed=3)
    bundles = [BUNDLE, OTHER_BUNDLE] * 12
    folders = make_group_folder(tmp_path, runs, people, bundles=bundles)
    assert run(folders) == 0
    assert not (folders[1] / "group_repeatability.tsv").exists()


@pytest.mark.parametrize("kind", ["pipe", "lost link"])
def test_a_table_that_is_no_file_costs_its_scan_and_is_named(kind, people, tmp_path, capsys):
    """A link to nothing is what a DataLad clone without content has."""
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    table = next((folders[1] / "sub-03").rglob("*_mfi.tsv"))
    table.unlink()
    if kind == "pipe":
        os.mkfifo(table)
    else:
        table.symlink_to("../.git/annex/objects/gone")
    assert run(folders, "--dry-run") == 1
    said = capsys.readouterr()
    assert re.search(rf"Tables that cannot be read \(1\).*{table.name}", said.err)
    assert "11 participants analysed" in said.out


def test_impossible_values_and_unknown_muscles_are_named(people, tmp_path, capsys):
    muscles = make_muscles(people)
    muscles.loc[3, "mfi"] = 143.0
    muscles.loc[muscles.index[-2:], "muscle"] = "RHOM"
    folders = make_group_folder(tmp_path, muscles[muscles["muscle"] != "RHOM"], people)
    edit_table(folders, "sub-12", lambda table: pd.concat([
        table, table.iloc[[0, 1]].assign(muscle="RHOM")]))  # fmt: skip
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert re.search(r"MFI below -20 or above 100 % \(1\).*sub-01_acq-dixon LC_R: 143", said)
    assert re.search(r"Muscles that Weber et al. 2021 do not have \(1\).*RHOM \(1 scan\)", said)
    assert read(folders, "descriptives").set_index("muscle").loc["LC", "n"] == 11


@pytest.mark.parametrize("name", ["mean", "n/a", ""])
def test_a_muscle_must_have_a_name(name, people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    edit_table(folders, "sub-03", lambda table: table.replace({"muscle": {"TR": name}}))
    assert run(folders, "--dry-run") == 1
    assert f"has '{name}' for muscle" in capsys.readouterr().err


def test_labels_that_differ_only_in_zeros_are_named(people, tmp_path, capsys):
    muscles = make_two_sessions(people)
    half = muscles["participant_id"] > "sub-06"
    muscles.loc[half, "session_id"] = muscles.loc[half, "session_id"].str.replace("ses-2", "ses-02")
    folders = make_group_folder(tmp_path, muscles, people)
    assert run(folders) == 0
    assert re.search(
        r"differ only in zeros or case \(1\).*ses-02 and ses-2", capsys.readouterr().err
    )
    assert set(read(folders, "descriptives")["n"]) == {6}


def test_a_small_first_session_is_pointed_out_and_change_starts_later(people, tmp_path, capsys):
    muscles = make_two_sessions(people)
    pilot = make_muscles(people.iloc[:2]).assign(session_id="ses-0")
    folders = make_group_folder(tmp_path, pd.concat([muscles, pilot]), people)
    assert run(folders) == 0
    said = capsys.readouterr().err
    assert "warning: Session ses-0 holds 2 participants, ses-2 12" in said
    assert "left out of change (1). [ses-0]" in said
    assert set(read(folders, "change")["session_from"]) == {"ses-2"}


def test_who_was_asked_for_and_is_not_there_is_named(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders, "--dry-run", "--participant-label", "01", "nobody") == 0
    said = capsys.readouterr().err
    assert "error: Requested, but without a table of measures (1). [sub-nobody]" in said
    assert "without measures" not in said


def test_missing_values_make_nobody_a_control(tmp_path):
    people = make_people(40)
    people["group"] = ["patient"] * 10 + ["control"] * 22 + ["n/a"] * 8
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders, "--controls", "group != 'patient'") == 0
    table = read(folders, "centiles").drop_duplicates("participant_id")
    assert table["is_control"].value_counts().to_dict() == {"yes": 22, "no": 18}
    assert "8 participants are no controls" in (folders[1] / "group.html").read_text()


def test_the_dry_run_checks_model_and_controls(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders, "--dry-run", "--model", "mfi ~ nothing") == 3
    assert run(folders, "--dry-run", "--controls", "nothing > 3") == 3
    assert "nothing" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        run(folders, "--model", "mfi ~ ((")
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("model", "why", "options"),
    [
        ("mfi ~ age + near", "one of age, near follows from the others", ["--dry-run"]),
        ("mfi ~ age + near", "one of age, near follows from the others", []),
        ("mfi ~ site", "site is the same in all", ["--dry-run"]),
    ],
)
def test_a_model_without_results_is_named(people, tmp_path, capsys, model, why, options):
    people["near"] = 2020 - people["age"]
    people["site"] = "here"
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders, "--model", model, *options) == 0
    said = capsys.readouterr().err
    assert f"--model {model}: all its results are n/a, because {why}" in said
    assert run(folders, "--model", "mfi ~ age + sex", "--dry-run") == 0
    assert "all its results" not in capsys.readouterr().err


def test_options_without_effect_are_named(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders, "--dry-run", "--fat-water", "scanner", "--nprocs", "2") == 0
    assert "no effect at the group level: --fat-water, --nprocs" in capsys.readouterr().err


def test_old_logs_of_scans_that_have_measures_are_passed_over(people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    (folders[1] / "logs").mkdir(exist_ok=True)
    (folders[1] / "logs" / "sub-03_acq-dixon_error.txt").write_text("no signal\n")
    assert run(folders) == 0
    assert "failed" not in capsys.readouterr().err


def test_figures_of_ones_own_stay(people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    own = folders[1] / "group" / "figures" / "mine.svg"
    own.parent.mkdir(parents=True)
    own.write_text("<svg/>")
    assert run(folders) == 0
    assert own.exists()


@pytest.mark.parametrize(
    "content", ["[1, 2]", "{", "[" * 100000, "null", '{"age": []}', "\ufeff{}"]
)
def test_damaged_sidecars_are_no_obstacle(content, people, tmp_path, capsys):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    (folders[0] / "participants.json").write_text(content, encoding="utf-8")
    sidecar = next((folders[1] / "sub-03").rglob("*_mfi.json"))
    sidecar.write_text(content, encoding="utf-8")
    assert run(folders) == 0
    assert "sub-03" in capsys.readouterr().err
    assert read(folders, "ancova")["p_sex"].notna().all()


def test_a_byte_order_mark_does_not_hide_the_units(people, tmp_path):
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    content = json.dumps({"age": {"Units": "decades"}})
    (folders[0] / "participants.json").write_text(content, encoding="utf-8-sig")
    assert run(folders) == 0
    assert read(folders, "mfi")["age"].isna().all()


def test_weight_in_pounds_gives_the_bmi_of_kilograms(people, tmp_path, capsys):
    people = people.drop(columns="bmi").assign(height=170, weight=160)
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    (folders[0] / "participants.json").write_text(json.dumps({"weight": {"Units": "lb"}}))
    assert run(folders) == 0
    assert "unit of weight as lb, expected kg: converted" in capsys.readouterr().err
    bmi = read(folders, "mfi")["bmi"]
    assert bmi.to_numpy() == pytest.approx(160 * 0.45359237 / 1.7**2)


def test_a_missing_bmi_is_computed_from_height_and_weight(people, tmp_path):
    people = people.astype({"bmi": object}).assign(height=170, weight=72.25)
    people.loc[2:, "bmi"] = "n/a"
    folders = make_group_folder(tmp_path, make_muscles(people), people)
    assert run(folders) == 0
    bmi = read(folders, "wide").set_index("participant_id")["bmi"]
    assert bmi["sub-01"] == people.loc[0, "bmi"]
    assert bmi["sub-03"] == pytest.approx(25.0)


def test_sessions_alone_tell_of_people_too(people, tmp_path):
    sessions = people.assign(session_id="ses-2")
    folders = make_group_folder(tmp_path, make_two_sessions(people), None, sessions)
    assert run(folders) == 0
    assert read(folders, "ancova")["p_sex"].notna().all()


def test_the_wide_table_holds_the_values_analysed(people, tmp_path):
    muscles = make_muscles(people, MUSCLES)
    folders = make_group_folder(tmp_path, muscles, people)
    assert run(folders) == 0
    wide = read(folders, "wide").set_index("participant_id")
    assert list(wide.columns) == ["session_id", "sex", "age", "bmi", *MUSCLES]
    means = muscles.groupby(["participant_id", "muscle"])["mfi"].mean()
    assert wide.loc["sub-05", "SCM"] == pytest.approx(means["sub-05", "SCM"])


def test_the_choice_of_the_session_does_not_hang_on_the_hash_seed(people, tmp_path):
    muscles = make_two_sessions(people, last="ses-02")
    folders = make_group_folder(tmp_path, muscles, people)
    written = set()
    for seed in ("1", "2", "3"):
        command = [sys.executable, "-c", CALL, *map(str, folders), "group", "--dry-run"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, capture_output=True, env=environment, check=True)
        written.add(done.stderr + done.stdout)
    assert len(written) == 1


CALL = "import sys; from bids_mfi.cli import main; sys.exit(main())"
