"""Both verbs as a user runs them: folders and tables in, tables, figures and a page out."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import make_affine, make_pair_arrays, write_nifti

from bids_mfi.cli.verbs import main_verbs
from bids_mfi.errors import InputError, OutputError
from bids_mfi.evaluation import compare_tables, evaluate_folders
from bids_mfi.evaluation.outputs import AGREEMENT_COLUMNS, SCAN_COLUMNS
from bids_mfi.evaluation.pairing import pair_label_maps, scan_entities
from bids_mfi.grid import Grid, reorient
from bids_mfi.images import encode_image, read_labels
from bids_mfi.muscles import WEBER2021

DATA = Path(__file__).parents[1] / "data" / "statistics"
SHAPE = (32, 28, 12)
SPACING_MM = (4.0, 4.0, 6.0)
VOXEL_ML = 0.096
PEOPLE = ("01", "02", "03", "04")
STEM = "sub-{}_acq-dixon_seg-muscle"


pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take most of the time; ``monkeypatch.undo()`` brings them back."""
    monkeypatch.setattr("bids_mfi.evaluation.run.draw_agreement", lambda *_: b"<svg/>")


def read_tsv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def number(cell):
    return math.nan if cell == "n/a" else float(cell)


def make_labels(seed):
    """Seven muscles each side of the middle plane, in blocks of different size; x points right."""
    labels = np.zeros(SHAPE, dtype=np.int16)
    rng = np.random.default_rng(seed)
    for place, muscle in enumerate(m for m in WEBER2021 if m.hemi == "R"):
        x, y, z = 18, 4 + 3 * place, 3
        size = rng.integers(3, 7, 2)
        labels[x : x + size[0], y : y + 3, z : z + size[1]] = muscle.index
        labels[14 - size[1] : 14, y : y + 3, z : z + size[0]] = muscle.index + 1
    return labels


def write_dataset(root, link="../..", people=PEOPLE):
    """Raw images and, under derivatives/truth, label maps and their sidecars."""
    truth = root / "derivatives" / "truth"
    for seed, person in enumerate(people):
        for echo, volume in enumerate(make_pair_arrays(seed), start=1):
            write_nifti(image(root, person, echo), volume)
        labels = write_labels(truth, person, make_labels(seed))
        raw = f"bids:raw:sub-{person}/anat/{image(root, person, 1).name}"
        sources = [raw, raw.replace("echo-1", "echo-2")]
        labels.with_name(STEM.format(person) + "_dseg.json").write_text(
            json.dumps({"Sources": sources})
        )
    description = {"DatasetLinks": {"raw": link}}
    (truth / "dataset_description.json").write_text(json.dumps(description))
    return truth


def image(root, person, echo):
    return root / f"sub-{person}" / "anat" / f"sub-{person}_acq-dixon_echo-{echo}_MEGRE.nii.gz"


def write_labels(folder, person, labels, affine=None):
    path = folder / f"sub-{person}" / "anat" / f"{STEM.format(person)}_dseg.nii.gz"
    return write_nifti(path, labels, affine)


def map_path(folder, person):
    return folder / f"sub-{person}" / "anat" / f"{STEM.format(person)}_dseg.nii.gz"


def write_measures(folder, person, rows):
    path = folder / f"sub-{person}" / "anat" / f"{STEM.format(person)}_mfi.tsv"
    lines = ["\t".join(("muscle", "hemi", "volume_ml", "mfi_percent"))]
    path.write_text("\n".join([*lines, *("\t".join(map(str, row)) for row in rows)]) + "\n")


def copy_prediction(truth, tmp_path, change=lambda person, labels: labels):
    """A copy of the truth with changed labels, in a folder elsewhere."""
    prediction = tmp_path / "elsewhere" / "prediction"
    shutil.copytree(truth, prediction)
    for person in PEOPLE:
        write_labels(prediction, person, change(person, read_labels(map_path(truth, person))[0]))
    description = {"DatasetLinks": {"raw": "../../bids"}}
    (prediction / "dataset_description.json").write_text(json.dumps(description))
    return prediction


@pytest.fixture
def truth(tmp_path):
    return write_dataset(tmp_path / "bids")


def grow(_person, labels):
    """Every label one voxel larger towards +x, where there is room."""
    grown = labels.copy()
    grown[1:][(labels[1:] == 0) & (labels[:-1] > 0)] = labels[:-1][
        (labels[1:] == 0) & (labels[:-1] > 0)
    ]
    return grown


# --- evaluate ----------------------------------------------------------------------------------


def test_the_truth_agrees_with_itself(truth, tmp_path):
    found = evaluate_folders(truth, truth, tmp_path / "out")
    assert found.exit_code == 0
    for row in read_tsv(tmp_path / "out" / "segmentation_scans.tsv"):
        assert [row[name] for name in ("dice", "conformity", "tnr", "volume_ratio")] == ["1.0"] * 4
        assert (row["surface_mean_mm"], row["hausdorff95_mm"]) == ("0.0", "0.0")
    for row in read_tsv(tmp_path / "out" / "agreement.tsv"):
        assert (row["n"], row["bias"], row["icc"], row["r"]) == ("4", "0.0", "1.0", "1.0")


def test_rows_and_columns_are_those_of_the_paper(truth, tmp_path):
    evaluate_folders(truth, truth, tmp_path / "out")
    rows = read_tsv(tmp_path / "out" / "agreement.tsv")
    order = [(row["muscle"], row["hemi"], row["measure"]) for row in rows]
    expected = json.loads((DATA / "agreement.json").read_text())
    assert order == [(row["muscle"], row["hemi"], row["measure"]) for row in expected]
    assert tuple(rows[0]) == AGREEMENT_COLUMNS
    for name in ("agreement", "segmentation", "segmentation_scans"):
        sidecar = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        header = read_tsv(tmp_path / "out" / f"{name}.tsv")[0]
        assert set(header) <= set(sidecar), name
    assert tuple(read_tsv(tmp_path / "out" / "segmentation_scans.tsv")[0]) == SCAN_COLUMNS


def test_volumes_are_in_ml_and_mfi_of_both_maps_on_the_same_images(truth, tmp_path):
    prediction = copy_prediction(truth, tmp_path, grow)
    evaluate_folders(truth, prediction, tmp_path / "out")
    rows = read_tsv(tmp_path / "out" / "segmentation_scans.tsv")
    row = next(r for r in rows if r["participant_id"] == "sub-02" and r["index"] == "12")
    in_phase, out_phase = (np.rint(volume) for volume in make_pair_arrays(1))
    for name, labels in (("truth", make_labels(1)), ("prediction", grow("", make_labels(1)))):
        mask = labels == 12
        assert number(row[f"volume_ml_{name}"]) == pytest.approx(mask.sum() * VOXEL_ML)
        fat, total = (in_phase - out_phase)[mask].mean() / 2, in_phase[mask].mean()
        assert number(row[f"mfi_percent_{name}"]) == pytest.approx(100 * fat / total)
    assert number(row["volume_ratio"]) > 1
    marker = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert marker["Measure"] == "images"


def test_conformity_is_averaged_over_scans(truth, tmp_path):
    def shrink(person, labels):
        cut = labels.copy()
        cut[:, :, : 4 + int(person)] = 0
        return cut

    prediction = copy_prediction(truth, tmp_path, shrink)
    evaluate_folders(truth, prediction, tmp_path / "out")
    scans = read_tsv(tmp_path / "out" / "segmentation_scans.tsv")
    (row,) = (r for r in read_tsv(tmp_path / "out" / "segmentation.tsv") if r["index"] == "11")
    values = [number(r["conformity"]) for r in scans if r["index"] == "11"]
    values = [value for value in values if not math.isnan(value)]
    assert number(row["conformity_mean"]) == pytest.approx(np.mean(values))
    assert int(row["conformity_n"]) == len(values) < int(row["dice_n"])
    assert number(row["conformity_se"]) == pytest.approx(
        np.std(values, ddof=1) / math.sqrt(len(values))
    )
    dice = number(row["dice_mean"])
    assert number(row["conformity_mean"]) != pytest.approx((3 * dice - 2) / dice, abs=0.01)


def test_swapped_sides_collapse(truth, tmp_path):
    mirrored = WEBER2021.mirrored_indices()
    swap = np.array([0, *(mirrored[i] for i in range(1, 15))], dtype=np.int16)
    prediction = copy_prediction(truth, tmp_path, lambda _person, labels: swap[labels])
    found = evaluate_folders(truth, prediction, tmp_path / "out")
    dice = {row["dice"] for row in read_tsv(tmp_path / "out" / "segmentation_scans.tsv")}
    assert dice == {"0.0"}
    assert "mean Dice 0.000" in found.sentence


def run_evaluate(truth, prediction, out, capsys):
    """Exit status, what was printed to stderr, and the findings of the marker."""
    status = main_verbs(["evaluate", str(truth), str(prediction), str(out)])
    return status, capsys.readouterr().err, json.loads((out / "evaluation.json").read_text())


def test_sound_maps_have_no_finding(truth, tmp_path, capsys):
    status, said, marker = run_evaluate(truth, truth, tmp_path / "out", capsys)
    assert (status, said) == (0, "")
    assert "Findings" not in marker
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "Check this first" not in page


def test_exchanged_sides_are_said(truth, tmp_path, capsys):
    mirrored = WEBER2021.mirrored_indices()
    swap = np.array([0, *(mirrored[i] for i in range(1, 15))], dtype=np.int16)
    prediction = copy_prediction(truth, tmp_path, lambda _person, labels: swap[labels])
    status, said, marker = run_evaluate(truth, prediction, tmp_path / "out", capsys)
    assert status == 0
    sides, wrong = marker["Findings"]
    assert sides.startswith("4 scans (sub-01_acq-dixon, sub-02")
    assert "to exchange left and right (MFSS, LC," in sides
    assert "Dice 0.00, 1.00 after this is undone" in sides
    assert wrong.startswith("4 scans (sub-01")
    assert "in the prediction the left labels are" in wrong
    page = (tmp_path / "out" / "evaluation.html").read_text()
    for sentence in (sides, wrong):
        assert sentence in said
        assert sentence in page


def test_both_maps_with_sides_against_the_affine_are_said(truth, tmp_path, capsys):
    mirrored = WEBER2021.mirrored_indices()
    swap = np.array([0, *(mirrored[i] for i in range(1, 15))], dtype=np.int16)
    prediction = copy_prediction(truth, tmp_path, lambda _person, labels: swap[labels])
    _, _, marker = run_evaluate(prediction, prediction, tmp_path / "out", capsys)
    assert [sentence.split(": ")[1][:16] for sentence in marker["Findings"]] == [
        "in the truth the", "in the predictio"
    ]  # fmt: skip


@pytest.mark.parametrize("offset", [1, 100, 1000])
def test_labels_offset_by_a_constant_are_said(truth, tmp_path, capsys, offset):
    """By an offset beyond the table nothing can be compared, whichever of the two has it."""
    prediction = copy_prediction(truth, tmp_path, lambda _p, x: np.where(x > 0, x + offset, 0))
    for first, second, sign in ((truth, prediction, ""), (prediction, truth, "-")):
        out = tmp_path / f"out{sign}"
        status, said, marker = run_evaluate(first, second, out, capsys)
        assert f"those of the truth plus {sign}{offset} (Dice 0.00, 1.00" in marker["Findings"][0]
        assert marker["Findings"][0] in said
        assert status == (0 if offset == 1 else 3)
        assert (out / "evaluation.html").exists()


def test_permuted_labels_get_the_mapping(truth, tmp_path, capsys):
    order = np.array([0, *range(14, 0, -1)], dtype=np.int16)
    order[[13, 14]] = order[[14, 13]]
    prediction = copy_prediction(truth, tmp_path, lambda _person, labels: order[labels])
    _, _, marker = run_evaluate(truth, prediction, tmp_path / "out", capsys)
    assert "1 is 14, 2 is 13, 3 is 12" in marker["Findings"][0]


@pytest.mark.parametrize("held", [0, 2])
def test_a_truth_without_muscles_is_said(truth, tmp_path, capsys, held):
    prediction = copy_prediction(truth, tmp_path)
    for person in PEOPLE[held:]:
        write_labels(truth, person, np.zeros(SHAPE, np.int16))
    status, said, marker = run_evaluate(truth, prediction, tmp_path / "out", capsys)
    assert status == (0 if held else 3)
    (finding,) = marker["Findings"]
    assert finding.startswith(f"{4 - held} scans (sub-0{1 + held}")
    assert "in the truth there is no voxel of a muscle" in finding
    assert finding in said


def test_a_prediction_without_muscles_is_compared_and_said(truth, tmp_path, capsys):
    prediction = copy_prediction(truth, tmp_path, lambda _person, labels: labels * 0)
    status, _, marker = run_evaluate(truth, prediction, tmp_path / "out", capsys)
    assert (status, marker["MeanDice"]) == (0, 0.0)
    assert "in the prediction there is no voxel" in marker["Findings"][0]


def test_a_prediction_stored_in_another_direction_is_said(truth, tmp_path, capsys):
    prediction = copy_prediction(truth, tmp_path, lambda _p, x: np.ascontiguousarray(x[:, ::-1]))
    _, _, marker = run_evaluate(truth, prediction, tmp_path / "out", capsys)
    assert "front and back are exchanged" in marker["Findings"][0]
    assert "1.00 after this is undone" in marker["Findings"][0]


def test_an_affine_that_was_turned_over_is_said_with_the_distance(truth, tmp_path, capsys):
    prediction = copy_prediction(truth, tmp_path)
    for person in PEOPLE:
        labels, grid = read_labels(map_path(truth, person))
        affine = np.diag([-1.0, 1, 1, 1]) @ grid.matrix
        affine[0, 3] += 40
        write_labels(prediction, person, labels, affine)
    assert main_verbs(["evaluate", str(truth), str(prediction), str(tmp_path / "out")]) == 3
    said = capsys.readouterr().err
    assert "stored as RAS and LAS" in said
    assert "voxels apart" in said


def test_a_truth_on_a_rounded_grid_is_compared(truth, tmp_path):
    shifted = make_affine(SPACING_MM)
    shifted[0, 3] += 0.04 * SPACING_MM[0]
    for person in PEOPLE:
        write_labels(truth, person, read_labels(map_path(truth, person))[0], shifted)
    found = evaluate_folders(truth, truth, tmp_path / "out")  # the images lie where they did
    assert found.failed == ()
    assert found.findings == ()


@pytest.mark.parametrize("axcodes", ["LPS", "SAR"])
@pytest.mark.parametrize("measure", ["images", "tables"])
def test_the_order_of_storage_does_not_matter(truth, tmp_path, axcodes, measure):
    prediction = copy_prediction(truth, tmp_path, grow)
    if measure == "tables":
        for folder in (truth, prediction):
            for person in PEOPLE:
                write_measures(folder, person, [("TR", "L", 10, 20)])
    evaluate_folders(truth, prediction, tmp_path / "plain", measure)
    for person in PEOPLE:
        labels, grid = read_labels(map_path(prediction, person))
        turned, turned_grid = reorient(labels, grid, tuple(axcodes))
        map_path(prediction, person).write_bytes(encode_image(turned, turned_grid))
    evaluate_folders(truth, prediction, tmp_path / "turned", measure)
    for plain, turned in zip(
        read_tsv(tmp_path / "plain" / "segmentation_scans.tsv"),
        read_tsv(tmp_path / "turned" / "segmentation_scans.tsv"),
        strict=True,
    ):
        for name in SCAN_COLUMNS[6:]:
            assert number(turned[name]) == pytest.approx(
                number(plain[name]), rel=1e-12, nan_ok=True
            ), name


def test_a_missed_muscle_has_dice_0_and_no_mfi(truth, tmp_path):
    def drop(person, labels):
        return np.where((labels == 12) & (person == "01"), 0, labels)

    prediction = copy_prediction(truth, tmp_path, drop)
    evaluate_folders(truth, prediction, tmp_path / "out")
    scans = read_tsv(tmp_path / "out" / "segmentation_scans.tsv")
    row = next(r for r in scans if r["participant_id"] == "sub-01" and r["index"] == "12")
    assert (row["dice"], row["tpr"], row["volume_ratio"]) == ("0.0", "0.0", "0.0")
    for name in ("ppv", "conformity", "surface_mean_mm", "mfi_percent_prediction",
                 "volume_ml_prediction"):  # fmt: skip
        assert row[name] == "n/a", name
    assert number(row["volume_ml_truth"]) > 0
    (row,) = (r for r in read_tsv(tmp_path / "out" / "segmentation.tsv") if r["index"] == "12")
    assert (row["scans"], row["missed"], row["invented"]) == ("4", "1", "0")
    assert number(row["dice_mean"]) == pytest.approx(0.75)
    for row in read_tsv(tmp_path / "out" / "agreement.tsv"):
        expected = ("3", "1") if (row["muscle"], row["hemi"]) == ("TR", "L") else ("4", "0")
        assert (row["n"], row["n_missing"]) == expected


def test_a_truth_of_one_muscle_is_judged_by_that_muscle(truth, tmp_path):
    prediction = copy_prediction(truth, tmp_path)
    for person in PEOPLE:
        labels, _ = read_labels(map_path(truth, person))
        write_labels(truth, person, np.where(labels == 1, 1, 0))
    found = evaluate_folders(truth, prediction, tmp_path / "out")
    assert "mean Dice 1.000, lowest MFSS_R 1.000" in found.sentence
    rows = {r["index"]: r for r in read_tsv(tmp_path / "out" / "segmentation.tsv")}
    assert (rows["2"]["scans"], rows["2"]["invented"]) == ("0", "4")


def test_tables_are_used_where_images_are_not_found(truth, tmp_path):
    prediction = copy_prediction(truth, tmp_path)
    shutil.rmtree(tmp_path / "bids" / "sub-01")
    with pytest.raises(InputError, match=r"images of sub-01_acq-dixon .*--bids-dir.*tables"):
        evaluate_folders(truth, prediction, tmp_path / "out")
    for seed, person in enumerate(PEOPLE):
        write_measures(truth, person, [("TR", "L", 10 + seed, 20), ("TR", "R", "n/a", 5 * seed)])
        write_measures(prediction, person, [("TR", "L", 11 + seed, 21), ("TR", "R", 3, 5 * seed)])
    evaluate_folders(truth, prediction, tmp_path / "out")
    rows = {(r["muscle"], r["hemi"], r["measure"]): r
            for r in read_tsv(tmp_path / "out" / "agreement.tsv")}  # fmt: skip
    assert (rows["TR", "L", "volume"]["bias"], rows["TR", "L", "mfi"]["bias"]) == ("1.0", "1.0")
    assert rows["TR", "R", "volume"]["n"] == rows["LC", "R", "mfi"]["n"] == "0"
    assert rows["TR", "R", "mfi"]["icc"] == "1.0"
    assert "*_mfi.tsv" in (tmp_path / "out" / "evaluation.html").read_text()
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["Measure"] == "tables"


def test_images_are_found_by_bids_dir(truth, tmp_path):
    prediction = copy_prediction(truth, tmp_path)
    moved = tmp_path / "moved"
    for folder in sorted((tmp_path / "bids").glob("sub-*")):
        shutil.copytree(folder, moved / folder.name)
        shutil.rmtree(folder)
    evaluate_folders(truth, prediction, tmp_path / "out", bids_dir=moved)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["Measure"] == "images"


def test_a_wrong_bids_dir_is_refused_and_a_right_one_means_images(truth, tmp_path, capsys):
    """Tables that could be taken instead are beside all label maps."""
    for person in PEOPLE:
        write_measures(truth, person, [("TR", "L", 10, 20)])
    out, wrong = tmp_path / "out", tmp_path / "wrong"
    with pytest.raises(InputError, match="wrong: is not a folder"):
        evaluate_folders(truth, truth, out, bids_dir=wrong)
    wrong.mkdir()
    with pytest.raises(InputError, match=r"wrong: holds no image of the 4 scans.*--bids-dir"):
        evaluate_folders(truth, truth, out, bids_dir=wrong)
    with pytest.raises(InputError, match=r"--bids-dir .* --measure tables"):
        evaluate_folders(truth, truth, out, "tables", bids_dir=truth.parents[1])
    assert not out.exists()
    shutil.copytree(truth.parents[1] / "sub-01", wrong / "sub-01")
    call = ["evaluate", str(truth), str(truth), str(out), "--bids-dir", str(wrong)]
    assert main_verbs(call) == 1
    assert "1 scan compared, 3 failed" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["sub-01_desc-manual_dseg", "sub-01_acq-dixon_space-IP_dseg",
                                  "sub-01_seg-brown_desc-a_dseg"])  # fmt: skip
def test_hand_made_names_are_paired(truth, tmp_path, name):
    folder = tmp_path / "hand"
    path = folder / "sub-01" / f"{name}.nii.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(map_path(truth, "01").read_bytes())
    scans = pair_label_maps(folder, truth)
    assert [pair.truth for pair in scans.pairs] == [path]
    assert scans.prediction_only == tuple(f"sub-{p}_acq-dixon" for p in PEOPLE[1:])


def test_entities_of_the_scan_are_kept_apart():
    names = ["sub-01_dseg.nii.gz", "sub-01_ses-a_dseg.nii.gz", "sub-01_acq-x_dseg.nii.gz",
             "sub-01_run-2_dseg.nii.gz", "sub-01_rec-a_dseg.nii.gz"]  # fmt: skip
    assert len({scan_entities(name) for name in names}) == len(names)


def test_two_maps_of_one_scan_are_refused(truth, tmp_path):
    path = map_path(truth, "01")
    shutil.copy(path, path.with_name("sub-01_acq-dixon_seg-muscle_desc-b_dseg.nii.gz"))
    with pytest.raises(InputError, match=r"2 files of one scan: .*desc-b"):
        pair_label_maps(truth, truth)


def test_other_segmentations_in_the_folder_are_looked_over(truth):
    path = map_path(truth, "01")
    shutil.copy(path, path.with_name("sub-01_acq-dixon_seg-vertebra_dseg.nii.gz"))
    assert pair_label_maps(truth, truth).pairs[0].truth == path


def test_a_failing_scan_costs_itself_only(truth, tmp_path, capsys):
    prediction = copy_prediction(truth, tmp_path)
    map_path(prediction, "02").write_bytes(b"damaged")
    shifted = make_affine(SPACING_MM)
    shifted[0, 3] = 7.0
    write_labels(prediction, "03", make_labels(2), shifted)
    shutil.rmtree(prediction / "sub-04")
    call = ["evaluate", str(truth), str(prediction), str(tmp_path / "out")]
    assert main_verbs(call) == 1
    said = capsys.readouterr()
    assert "1 scan compared, 2 failed" in said.out
    assert "sub-02_acq-dixon: FAILED: " in said.err
    assert "do not have the same voxels" in said.err
    assert "only in the first, not compared: sub-04_acq-dixon" in said.err
    marker = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert marker["Scans"] == ["sub-01_acq-dixon"]
    assert [entry["Scan"] for entry in marker["Failed"]] == ["sub-02_acq-dixon", "sub-03_acq-dixon"]
    assert marker["TruthOnly"] == ["sub-04_acq-dixon"]
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "do not have the same voxels" in page
    assert "sub-04_acq-dixon" in page


def test_scans_that_all_fail_are_an_error_and_nothing_is_written(truth, tmp_path):
    prediction = copy_prediction(truth, tmp_path)
    for person in PEOPLE:
        map_path(prediction, person).write_bytes(b"damaged")
    with pytest.raises(InputError, match="none of 4 scans"):
        evaluate_folders(truth, prediction, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_of_no_muscle_are_named(truth, tmp_path, capsys):
    prediction = copy_prediction(truth, tmp_path, lambda _p, x: np.where(x == 3, 99, x))
    assert main_verbs(["evaluate", str(truth), str(prediction), str(tmp_path / "out")]) == 0
    assert "prediction: label 99 in 4 scans" in capsys.readouterr().err
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "prediction: label 99 in 4 scans" in page


def test_the_label_table_of_the_truth_decides(truth, tmp_path):
    prediction = copy_prediction(truth, tmp_path)
    table = "index\tname\tmuscle\themi\n1\tx\tTR\tL\n"
    (truth / "seg-muscle_dseg.tsv").write_text(table)
    evaluate_folders(truth, prediction, tmp_path / "out")
    rows = read_tsv(tmp_path / "out" / "segmentation.tsv")
    assert [(row["muscle"], row["hemi"]) for row in rows] == [("TR", "L")]
    (prediction / "dseg.tsv").write_text(table.replace("TR", "LC"))
    with pytest.raises(InputError, match="label 1 for TR_L"):
        evaluate_folders(truth, prediction, tmp_path / "out2")


def test_folders_that_cannot_be_compared_are_named(truth, tmp_path):
    empty = tmp_path / "empty"
    with pytest.raises(InputError, match="is not a folder"):
        evaluate_folders(truth, empty, tmp_path / "out")
    empty.mkdir()
    with pytest.raises(InputError, match="has no label map"):
        evaluate_folders(truth, empty, tmp_path / "out")
    write_labels(empty, "99", make_labels(0))
    with pytest.raises(InputError, match=r"no scan is in both.*sub-99"):
        evaluate_folders(truth, empty, tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(truth, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "letters.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        evaluate_folders(truth, truth, out)
    assert [path.name for path in out.iterdir()] == ["letters.txt"]
    assert main_verbs(["evaluate", str(truth), str(truth), str(out / "letters.txt")]) == 5


def test_an_earlier_evaluation_is_replaced_and_equal_input_gives_equal_bytes(
    truth, tmp_path, monkeypatch
):
    monkeypatch.undo()
    out = tmp_path / "out"
    evaluate_folders(truth, copy_prediction(truth, tmp_path, grow), out)
    grown = (out / "segmentation.tsv").read_bytes()
    evaluate_folders(truth, truth, out)
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert first["segmentation.tsv"] != grown
    evaluate_folders(truth, truth, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    with pytest.raises(OutputError, match="no earlier output of agreement"):
        compare_tables(*write_raters(tmp_path), out)


# --- agreement ---------------------------------------------------------------------------------


def write_raters(folder, who=("gt", "cnn")):
    """Both raters of the reference as tables in the format of group_mfi.tsv."""
    rows = read_tsv(DATA / "agreement_input.tsv")
    paths = []
    for rater in who:
        lines = ["participant_id\tsession_id\trun_id\tindex\tmuscle\themi\tvolume_ml\tmfi_percent"]
        for row in rows:
            cells = (row["participant_id"], "01", "n/a", row["label"], row["muscle"], row["hemi"],
                     row[f"volume_{rater}"], row[f"mfi_{rater}"])  # fmt: skip
            lines.append("\t".join(cells))
        paths.append(folder / f"{rater}.tsv")
        paths[-1].write_text("\n".join(lines) + "\n")
    return tuple(paths)


def test_agreement_of_tables_equals_the_reference(tmp_path):
    compare_tables(*write_raters(tmp_path), tmp_path / "out")
    expected = json.loads((DATA / "agreement.json").read_text())
    for row, reference in zip(read_tsv(tmp_path / "out/agreement.tsv"), expected, strict=True):
        for name, value in reference.items():
            cell = row[name.lower()]
            if isinstance(value, str):
                assert cell == value
            else:
                assert float(cell) == pytest.approx(value, rel=1e-9, abs=0), name
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "agreement.tsv", "agreement.json", "agreement.html", "figure3_mfi.svg", "figure4_volume.svg"
    }  # fmt: skip


def test_agreement_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    reference, compared = write_raters(tmp_path)
    lines = compared.read_text().splitlines()
    lines = [line for line in lines if not line.startswith("sub-07\t")]
    lines += [lines[1].replace("sub-01", "sub-99")]
    compared.write_text("\n".join(lines) + "\n")
    call = ["agreement", str(reference), str(compared), str(tmp_path / "out")]
    assert main_verbs(call) == 0
    said = capsys.readouterr()
    assert "238 rows compared" in said.out
    assert "only in the first, not compared: sub-07 ses-01: MFSS_L, MFSS_R" in said.err
    assert "only in the second, not compared: sub-99 ses-01: MFSS_L" in said.err
    rows = read_tsv(tmp_path / "out" / "agreement.tsv")
    assert {row["n"] for row in rows} == {"17"}
    unpaired = {(r["muscle"], r["hemi"]): r["n_unpaired"] for r in rows}
    assert unpaired["MFSS", "L"] == "2"
    assert unpaired["TR", "R"] == "1"
    sidecar = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert sidecar["ComparedOnly"] == ["sub-99 ses-01: MFSS_L"]
    assert "sub-07" in (tmp_path / "out" / "agreement.html").read_text()


@pytest.mark.parametrize("people", [1, 2, 3])
def test_few_people_and_missing_values_leave_cells_empty_and_no_trace(
    tmp_path, people, monkeypatch
):
    monkeypatch.undo()
    lines = ["participant_id\tmuscle\themi\tvolume_ml\tmfi_percent"]
    lines += [f"sub-{i}\tTR\tL\tn/a\t{10 + i * i}" for i in range(people)]
    paths = tmp_path / "a.tsv", tmp_path / "b.tsv"
    paths[0].write_text("\n".join(lines) + "\n")
    paths[1].write_text("\n".join(lines).replace("\tTR\tL\tn/a\t1", "\tTR\tL\t9\t2") + "\n")
    assert main_verbs(["agreement", *map(str, paths), str(tmp_path / "out")]) == 0
    mfi, volume = read_tsv(tmp_path / "out" / "agreement.tsv")
    assert (mfi["n"], mfi["bias"]) == (str(people), "10.0")
    assert (mfi["icc"] == "n/a") == (people < 2)
    assert (mfi["p_r"] == "n/a") == (people < 3)
    assert (volume["n"], volume["n_missing"]) == ("0", str(people))
    assert {volume[name] for name in AGREEMENT_COLUMNS[4:-2]} == {"n/a"}


def test_errors_of_the_verbs_have_their_exit_statuses(tmp_path, capsys):
    reference, compared = write_raters(tmp_path)
    out = str(tmp_path / "out")
    assert main_verbs(["agreement", str(tmp_path / "none.tsv"), str(compared), out]) == 3
    assert main_verbs(["agreement", str(reference), str(compared), str(reference)]) == 5
    assert main_verbs(["evaluate", str(tmp_path / "none"), str(tmp_path), out]) == 3
    error = capsys.readouterr().err
    assert error.count("bids_mfi: error:") == error.count("\n") == 3
    assert not Path(out).exists()


def test_grids_of_this_test_are_what_it_says():
    grid = Grid.from_array(SHAPE, make_affine(SPACING_MM))
    assert grid.voxel_volume_ml == pytest.approx(VOXEL_ML)
