"""Figures by groups of scans: which group a scan is in, and numbers that can be done by hand."""

import csv
import json
import math
import re
from dataclasses import fields

import numpy as np
import pytest
from conftest import make_affine, make_pair_arrays, write_description, write_nifti
from scipy.spatial.transform import Rotation

from bids_mfi.discovery import field_strength
from bids_mfi.discovery.field_strength import read_field_strengths
from bids_mfi.discovery.metadata import read_metadata
from bids_mfi.errors import PairError
from bids_mfi.evaluation import evaluate_folders
from bids_mfi.evaluation.groups import ScanTraits, rank_quarters, read_scan_traits, summarise_groups
from bids_mfi.evaluation.outputs import GROUP_COLUMNS, GROUP_DESCRIPTIONS, GROUPINGS
from bids_mfi.evaluation.scans import MuscleRow
from bids_mfi.grid import Grid
from bids_mfi.measure.overlap import SegmentationCounts
from bids_mfi.muscles import WEBER2021
from bids_mfi.report.agreement_page import GROUPING_NAMES, AgreementPage, render_agreement_page
from bids_mfi.statistics.summaries import OverlapByGroup

TR, LC = WEBER2021.of("TR", "L"), WEBER2021.of("LC", "R")
PLAIN = ScanTraits(3.0, "axial", 0.7, 3.0)
NAN = float("nan")


def grid_of(spacing_mm, axcodes="RAS", turned_degrees=0.0, about=0):
    """A grid whose voxel axes point to ``axcodes``, then turned about a body axis."""
    affine = make_affine(spacing_mm, axcodes)
    a, b = (axis for axis in range(3) if axis != about)
    angle = math.radians(turned_degrees)
    turn = np.eye(4)
    turn[a, a] = turn[b, b] = math.cos(angle)
    turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
    return Grid.from_array((4, 4, 4), turn @ affine)


def row(scan, muscle=TR, dice=(8, 2, 2), mfi=(10.0, 11.0)):
    """A muscle of a scan from its TP, FP, FN and its true and predicted MFI."""
    counts = SegmentationCounts(*dice, tn=100)
    return MuscleRow(scan, scan, "n/a", muscle, counts, NAN, NAN, *mfi, 1.0, 1.0)


def summarise(rows, **scans):
    facts = {one.scan: PLAIN for one in rows} | scans
    return summarise_groups(rows, facts)


def find(groups, grouping, group=None):
    return [g for g in groups.found if g.grouping == grouping and group in (None, g.group)]


def names(groups, grouping):
    return [(one.group, one.scans) for one in find(groups, grouping)]


# --- what a scan is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spacing_mm", "axcodes", "plane"),
    [
        ((0.7, 0.7, 3.0), "RAS", "axial"),
        ((0.7, 0.7, 3.0), "LPI", "axial"),
        ((0.7, 0.7, 3.0), "RSA", "coronal"),  # as the scanner stores it
        ((0.7, 3.0, 0.7), "LAS", "coronal"),  # the same scan in axial order
        ((3.0, 0.7, 0.7), "PSL", "coronal"),
        ((0.7, 0.7, 3.0), "ASR", "sagittal"),
        ((3.0, 0.7, 0.7), "LAS", "sagittal"),
    ],
)
def test_the_plane_is_that_of_acquisition_in_any_order_of_storage(spacing_mm, axcodes, plane):
    assert read_scan_traits(grid_of(spacing_mm, axcodes), None) == ScanTraits(None, plane, 0.7, 3.0)


@pytest.mark.parametrize(("degrees", "plane"), [(9, "axial"), (-44, "axial"), (46, "coronal")])
def test_an_oblique_grid_has_the_nearest_plane_and_its_own_spacings(degrees, plane):
    for axcodes, spacing_mm in (("RAS", (0.75, 0.75, 2.5)), ("SLA", (2.5, 0.75, 0.75))):
        facts = read_scan_traits(grid_of(spacing_mm, axcodes, degrees), 3.0)
        assert facts == ScanTraits(3.0, plane, 0.75, 2.5)  # at 9 degrees 2.5000000000000004


def test_a_doubly_oblique_grid_goes_by_its_thickest_axis_alone():
    """Two axes are nearest to A, the thick one and a thin one, which must not take it from it."""
    turn = Rotation.from_euler("xyz", (20, 20, 50), degrees=True).as_matrix()
    assert np.abs(turn).argmax(axis=0).tolist() == [1, 1, 2]
    for order in ((0, 1, 2), (1, 2, 0), (2, 1, 0)):
        affine = np.eye(4)
        affine[:3, :3] = (turn * (0.8, 3.0, 0.8))[:, order]
        assert read_scan_traits(Grid.from_array((4, 4, 4), affine), None).plane == "coronal"


@pytest.mark.parametrize(
    ("spacing_mm", "plane"),
    [
        ((1.0, 1.0, 1.0), "isotropic"),
        ((1.0, 1.1, 1.29), "isotropic"),
        ((1.0, 1.0, 1.3), "axial"),
        ((1.1, 1.43, 1.1), "coronal"),  # 1.3 * 1.1 is not quite 1.43 as a float
        ((3.0, 3.0, 1.0), "n/a"),
        ((1.0, 3.0, 3.0), "n/a"),
    ],
)
def test_nearly_cubic_voxels_have_no_plane(spacing_mm, plane):
    assert read_scan_traits(grid_of(spacing_mm), None).plane == plane


def test_the_size_in_plane_is_a_geometric_mean_and_the_slice_the_thickest_axis():
    facts = read_scan_traits(grid_of((5.0, 0.5, 0.8)), None)
    assert (facts.in_plane_mm, facts.slice_mm) == (0.632, 5.0)  # sqrt(0.4)


def test_bounds_belong_to_the_band_below_and_bands_are_in_order():
    sizes = {"a": (1.06, 3.6), "b": (0.75, 2.5), "c": (0.76, 3.5), "d": (1.05, 2.51)}
    scans = {scan: ScanTraits(3.0, "axial", *size) for scan, size in sizes.items()}
    groups = summarise([row(scan) for scan in scans], **scans)
    assert names(groups, "in_plane_size") == [
        ("up to 0.75 mm", 1), ("0.75 to 1.05 mm", 2), ("over 1.05 mm", 1)
    ]  # fmt: skip
    assert names(groups, "slice_thickness") == [
        ("up to 2.5 mm", 1), ("2.5 to 3.5 mm", 2), ("over 3.5 mm", 1)
    ]  # fmt: skip


def test_groups_are_ordered_and_what_is_unknown_comes_last():
    known = [(None, "n/a"), (3.0, "sagittal"), (1.494, "isotropic"), (2.8936, "axial"),
             (3, "coronal"), (0.55, "axial")]  # fmt: skip
    scans = {f"s{place}": ScanTraits(*one, 0.7, 3.0) for place, one in enumerate(known)}
    groups = summarise([row(scan) for scan in scans], **scans)
    assert names(groups, "field_strength") == [
        ("0.55 T", 1), ("1.5 T", 1), ("2.9 T", 1), ("3 T", 2), ("n/a", 1)
    ]  # fmt: skip
    assert [name for name, _ in names(groups, "plane")] == [
        "axial", "coronal", "sagittal", "isotropic", "n/a"
    ]  # fmt: skip


# --- figures of a group ------------------------------------------------------------------------


def test_the_figures_of_a_group_are_those_of_its_scans_and_done_by_hand():
    rows = [
        row("a", TR, (8, 2, 2), (10.0, 12.0)),  # Dice .8, volume 10/10
        row("a", LC, (6, 0, 4), (20.0, 19.0)),  # Dice .75, volume 6/10
        row("b", TR, (5, 5, 0), (30.0, 30.5)),  # Dice 2/3, volume 10/5
        row("b", LC, (9, 1, 1), (40.0, 40.0)),  # Dice .9, volume 10/10
        row("c", TR, (1, 9, 9), (50.0, 70.0)),
    ]
    groups = summarise(rows, c=ScanTraits(1.5, "coronal", 1.2, 4.0))
    (found,) = find(groups, "field_strength", "3 T")
    assert (found.scans, found.muscles, found.muscle_scans, found.missed) == (2, 2, 4, 0)
    assert found.dice_mean == pytest.approx((0.8 + 0.75 + 2 / 3 + 0.9) / 4)
    assert found.lowest_muscle == "TR_L"
    assert found.lowest_dice_mean == pytest.approx((0.8 + 2 / 3) / 2)
    assert (found.mfi_pairs, found.mfi_bias_points, found.mfi_mae_points) == (4, 0.375, 0.875)
    assert found.volume_ratio_mean == pytest.approx((1 + 0.6 + 2 + 1) / 4)
    (all_scans,) = find(groups, "all")
    assert (all_scans.scans, all_scans.mfi_bias_points) == (3, pytest.approx(21.5 / 5))
    assert all_scans.lowest_dice_mean == pytest.approx((0.8 + 2 / 3 + 0.1) / 3)


def test_a_missed_muscle_counts_in_dice_and_volume_and_not_in_mfi():
    rows = [row("a"), row("b", dice=(0, 0, 10), mfi=(10.0, NAN))]
    (found,) = find(summarise(rows), "all")
    assert (found.muscle_scans, found.missed, found.mfi_pairs) == (2, 1, 1)
    assert (found.dice_mean, found.volume_ratio_mean) == (0.4, 0.5)
    assert (found.mfi_bias_points, found.lowest_muscle) == (1.0, "TR_L")


def test_a_muscle_that_the_truth_lacks_is_not_compared():
    rows = [row("a"), row("a", LC, (0, 50, 0), (NAN, 9.0)), row("b", LC, (0, 0, 0), (NAN, NAN))]
    scans = {"b": ScanTraits(None, "n/a", 0.7, 3.0)}
    (found,) = find(summarise(rows, **scans), "all")
    assert (found.scans, found.muscles, found.muscle_scans, found.dice_mean) == (2, 1, 1, 0.8)
    (empty,) = find(summarise(rows, **scans), "plane", "n/a")
    assert (empty.scans, empty.muscle_scans, empty.mfi_pairs) == (1, 0, 0)
    assert empty.lowest_muscle == "n/a"
    values = (empty.dice_mean, empty.lowest_dice_mean, empty.mfi_bias_points, empty.mfi_mae_points,
              empty.volume_ratio_mean)  # fmt: skip
    assert all(math.isnan(value) for value in values)


# --- quartiles ---------------------------------------------------------------------------------


def test_quartiles_are_those_of_each_muscle():
    """Eight scans; TR has 10 to 17 %, LC 80 down to 73 %: no quartile holds one muscle only."""
    rows = [row(f"s{n}", TR, mfi=(10.0 + n, 10.0 + 2 * n)) for n in range(8)]
    rows += [row(f"s{n}", LC, mfi=(80.0 - n, 80.0 - n)) for n in range(8)]
    groups = summarise(rows)
    quarters = find(groups, "mfi_quartile")
    assert [one.group for one in quarters] == ["1 (lowest)", "2", "3", "4 (highest)"]
    assert [(one.muscles, one.muscle_scans) for one in quarters] == [(2, 4)] * 4
    assert [one.scans for one in quarters] == [4] * 4  # two of each muscle, and not the same ones
    assert [one.mfi_bias_points for one in quarters] == [0.25, 1.25, 2.25, 3.25]
    assert groups.notes == ()


def test_equal_values_share_a_quarter():
    values = [10, 10, 10, 20, 30, 40, 50, 60]  # quartiles 10, 25, 42.5
    assert rank_quarters(values) == [0, 0, 0, 1, 2, 2, 3, 3]
    assert rank_quarters([5.1] * 5 + [5.2]) == [0] * 5 + [3]
    groups = summarise([row(f"s{n}", mfi=(value, 9.0)) for n, value in enumerate(values)])
    assert [scans for _, scans in names(groups, "mfi_quartile")] == [3, 1, 2, 2]
    tied = summarise([row(f"s{n}", mfi=(value, 9.0)) for n, value in enumerate([1, 1, 1, 2])])
    assert names(tied, "mfi_quartile") == [("1 (lowest)", 3), ("4 (highest)", 1)]


@pytest.mark.parametrize("values", [(1.0, 2.0, 3.0), (1.0, 2.0, 3.0, NAN), (7.0,) * 5])
def test_without_four_scans_or_without_differences_quartiles_are_left_out_and_it_is_said(values):
    groups = summarise([row(f"s{n}", mfi=(value, 1.0)) for n, value in enumerate(values)])
    assert find(groups, "mfi_quartile") == []
    (note,) = groups.notes
    assert note.startswith("Quartiles of true MFI were left out: every muscle has fewer than 4")


def test_muscles_without_quartiles_are_named():
    rows = [row(f"s{n}", TR, mfi=(10.0 + n, 10.0)) for n in range(4)]
    rows += [row(f"s{n}", LC, mfi=(20.0 + n, 10.0)) for n in range(3)]
    rows += [row("s3", LC, (0, 9, 0), mfi=(NAN, 5.0))]
    groups = summarise(rows)
    assert [one.muscle_scans for one in find(groups, "mfi_quartile")] == [1] * 4
    (note,) = groups.notes
    assert "LC_R" in note
    assert "TR_L" not in note


# --- field strength ----------------------------------------------------------------------------


def write_sidecar(path, **content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_field_strength_is_inherited_and_the_nearest_sidecar_wins(tmp_path):
    images = {
        (person, echo): touch(
            tmp_path / f"sub-{person}/ses-a/anat/sub-{person}_ses-a_echo-{echo}_MEGRE.nii.gz"
        )
        for person in ("01", "02", "03")
        for echo in (1, 2)
    }
    write_sidecar(tmp_path / "MEGRE.json", MagneticFieldStrength=3)
    write_sidecar(tmp_path / "T1w.json", MagneticFieldStrength=7)
    write_sidecar(tmp_path / "sub-02/sub-02_MEGRE.json", MagneticFieldStrength=1.5)
    own = images["02", 2].with_name("sub-02_ses-a_echo-2_MEGRE.json")
    write_sidecar(own, MagneticFieldStrength=0.55)
    images["03", 1].with_name("sub-03_ses-a_echo-1_MEGRE.json").write_text("{damaged")
    found = read_field_strengths(images.values())
    assert {key: found[path] for key, path in images.items()} == {
        ("01", 1): 3, ("01", 2): 3, ("02", 1): 1.5, ("02", 2): 0.55, ("03", 1): None, ("03", 2): 3
    }  # fmt: skip


def test_field_strength_is_unknown_without_a_usable_sidecar(tmp_path):
    silent = touch(tmp_path / "sub-01/anat/sub-01_echo-1_MEGRE.nii.gz")
    doubtful = touch(tmp_path / "sub-02/anat/sub-02_echo-1_MEGRE.nii.gz")
    write_sidecar(doubtful.with_name("sub-02_echo-1_MEGRE.json"), MagneticFieldStrength=3000)
    gauss = touch(tmp_path / "sub-03/anat/sub-03_echo-1_MEGRE.nii.gz")
    write_sidecar(gauss.with_name("sub-03_echo-1_MEGRE.json"), MagneticFieldStrength=15000)
    homeless = touch(tmp_path / "loose" / "echo-1_MEGRE.nii.gz")
    write_sidecar(homeless.with_name("echo-1_MEGRE.json"), MagneticFieldStrength=3)
    found = read_field_strengths([silent, doubtful, gauss, homeless])
    assert found == {silent: None, doubtful: None, gauss: 1.5, homeless: None}
    assert read_field_strengths([]) == {}


def test_field_strength_is_unknown_of_a_person_who_cannot_be_indexed(tmp_path, monkeypatch):
    """What PyBIDS fails at costs that person's scans only."""
    images = [touch(tmp_path / f"sub-{n}/anat/sub-{n}_echo-1_MEGRE.nii.gz") for n in ("01", "02")]
    for image in images:
        write_sidecar(
            image.with_name(f"{image.name[:6]}_echo-1_MEGRE.json"), MagneticFieldStrength=3
        )

    def read(files, *rest, **options):
        if files.label == "01":
            raise PairError("sub-01: PyBIDS cannot index the participant")
        return read_metadata(files, *rest, **options)

    monkeypatch.setattr(field_strength, "read_metadata", read)
    assert read_field_strengths(images) == {images[0]: None, images[1]: 3}


# --- files and page ----------------------------------------------------------------------------


def write_dataset(root, people):
    """Blocks of two muscles; ``people`` is axcodes, spacing and field strength of each."""
    write_description(root)
    truth = root / "derivatives" / "truth"
    for seed, (person, (axcodes, spacing_mm, field_t)) in enumerate(people.items()):
        affine, stem = make_affine(spacing_mm, axcodes), f"sub-{person}_acq-dixon"
        for echo, volume in enumerate(make_pair_arrays(seed), start=1):
            path = root / f"sub-{person}/anat/{stem}_echo-{echo}_MEGRE.nii.gz"
            write_nifti(path, volume, affine)
            if field_t:
                sidecar = path.with_name(f"{stem}_echo-{echo}_MEGRE.json")
                write_sidecar(sidecar, MagneticFieldStrength=field_t)
        labels = np.zeros(volume.shape, dtype=np.int16)
        labels[10 : 14 + seed, 10:14, 4:8], labels[18:22, 10:14, 4 : 7 + seed] = TR.index, LC.index
        anat = truth / f"sub-{person}/anat"
        write_nifti(anat / f"{stem}_seg-muscle_dseg.nii.gz", labels, affine)
        raw = f"bids:raw:sub-{person}/anat/{stem}_echo-"
        sources = [f"{raw}{echo}_MEGRE.nii.gz" for echo in (1, 2)]
        write_sidecar(anat / f"{stem}_seg-muscle_dseg.json", Sources=sources)
    write_sidecar(truth / "dataset_description.json", DatasetLinks={"raw": "../.."})
    return truth


PEOPLE = {
    "01": ("RAS", (0.9, 0.9, 3.0), 3),
    "02": ("RAS", (0.9, 3.0, 0.9), 3),  # coronal in axial order
    "03": ("LSA", (0.7, 0.7, 4.0), 1.5),
    "04": ("RAS", (1.5, 1.5, 1.5), None),
}


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr("bids_mfi.evaluation.run.draw_agreement", lambda *_: b"<svg/>")


def read_groups(out):
    with (out / "groups.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.usefixtures("no_figures")
def test_the_table_its_description_and_the_page_tell_of_the_same_groups(tmp_path):
    truth, out = write_dataset(tmp_path / "bids", PEOPLE), tmp_path / "out"
    evaluate_folders(truth, truth, out)
    rows = read_groups(out)
    assert tuple(rows[0]) == GROUP_COLUMNS
    found = [(row["grouping"], row["group"], row["scans"]) for row in rows]
    assert [one for one in found if one[0] != "mfi_quartile"] == [
        ("all", "all", "4"),
        ("field_strength", "1.5 T", "1"),
        ("field_strength", "3 T", "2"),
        ("field_strength", "n/a", "1"),
        ("plane", "axial", "1"),
        ("plane", "coronal", "2"),
        ("plane", "isotropic", "1"),
        ("in_plane_size", "up to 0.75 mm", "1"),
        ("in_plane_size", "0.75 to 1.05 mm", "2"),
        ("in_plane_size", "over 1.05 mm", "1"),
        ("slice_thickness", "up to 2.5 mm", "1"),
        ("slice_thickness", "2.5 to 3.5 mm", "2"),
        ("slice_thickness", "over 3.5 mm", "1"),
    ]
    assert {row["muscle_scans"] for row in rows if row["grouping"] == "mfi_quartile"} == {"2"}
    sidecar = json.loads((out / "groups.json").read_text())
    assert set(sidecar["grouping"]["Levels"]) == {row["grouping"] for row in rows}
    assert sidecar["Notes"] == []
    assert sidecar["Scans"]["sub-02_acq-dixon"] == {
        "field_strength_t": 3, "plane": "coronal", "in_plane_mm": 0.9, "slice_mm": 3.0
    }  # fmt: skip
    assert sidecar["Scans"]["sub-04_acq-dixon"]["field_strength_t"] is None
    text = " ".join(re.sub(r"<[^>]+>", " ", (out / "evaluation.html").read_text()).split())
    assert "Plane axial 1 2 0 1.000 LC_R 1.000 2 0.00 0.00 1.000 coronal 2 4 0 1.000" in text


@pytest.mark.usefixtures("no_figures")
def test_scans_that_failed_are_in_no_group_and_what_is_left_out_is_said(tmp_path):
    truth, out = write_dataset(tmp_path / "bids", PEOPLE), tmp_path / "out"
    next((tmp_path / "bids/sub-03/anat").glob("*echo-2*.nii.gz")).unlink()
    assert evaluate_folders(truth, truth, out, "images").exit_code == 1
    rows = read_groups(out)
    assert rows[0]["scans"] == "3"
    groupings = {row["grouping"] for row in rows}
    assert groupings == {"all", "field_strength", "plane", "in_plane_size", "slice_thickness"}
    assert "1.5 T" not in {row["group"] for row in rows}
    (note,) = json.loads((out / "groups.json").read_text())["Notes"]
    assert note in (out / "evaluation.html").read_text()
    assert "Quartiles of true MFI were left out" in note


@pytest.mark.usefixtures("no_figures")
def test_field_strength_is_found_where_mfi_comes_from_tables_and_unknown_without_images(tmp_path):
    truth, out = write_dataset(tmp_path / "bids", PEOPLE), tmp_path / "out"
    for path in truth.rglob("*_dseg.nii.gz"):
        table = path.with_name(path.name.replace("_dseg.nii.gz", "_mfi.tsv"))
        table.write_text("muscle\themi\tvolume_ml\tmfi_percent\nTR\tL\t10\t20\n")
    evaluate_folders(truth, truth, out, "tables")
    (found,) = (row for row in read_groups(out) if row["group"] == "1.5 T")
    assert (found["muscle_scans"], found["mfi_pairs"]) == ("2", "1")  # the table lacks LC
    for path in (tmp_path / "bids").glob("sub-*/anat/*.nii.gz"):
        path.unlink()
    evaluate_folders(truth, truth, out)
    fields_found = [row for row in read_groups(out) if row["grouping"] == "field_strength"]
    assert [(row["group"], row["scans"]) for row in fields_found] == [("n/a", "4")]


def test_every_column_and_grouping_is_described_and_named():
    columns = tuple(field.name for field in fields(OverlapByGroup))
    assert columns == GROUP_COLUMNS == ("grouping", *GROUP_DESCRIPTIONS)
    assert tuple(GROUPINGS) == tuple(GROUPING_NAMES)
    rows = [row(f"s{n}", mfi=(1.0 * n, 1.0)) for n in range(4)]
    assert tuple(dict.fromkeys(one.grouping for one in summarise(rows).found)) == tuple(GROUPINGS)


def test_what_is_undefined_is_said_on_the_page_and_a_page_without_groups_has_no_section():
    rows = [row("a", dice=(0, 0, 0), mfi=(NAN, NAN)), row("b", mfi=(12.0, 10.996))]
    groups = summarise(rows, a=ScanTraits(None, "n/a", 0.7, 3.0))
    page = AgreementPage("Evaluation", ("truth", "prediction"), (), (), (), groups=groups.found,
                         group_notes=groups.notes)  # fmt: skip
    html = render_agreement_page(page)
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    assert "Field strength 3 T 1 1 0 0.800 TR_L 0.800 1 \u22121.00 1.00 1.000" in text
    assert "n/a 1 0 0 n/a n/a n/a 0 n/a n/a n/a" in text
    assert groups.notes[0] in text
    without = AgreementPage("Agreement", ("reference", "compared"), (), (), ())
    assert "By group" not in render_agreement_page(without)
