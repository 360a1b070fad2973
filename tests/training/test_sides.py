"""Left and right of label maps before they are learnt; the maps decide, not the table."""

import os
from dataclasses import replace

import numpy as np
import pytest
from conftest import make_affine, write_description, write_nifti, write_scan
from toy_training import plan_of

from bids_mfi.errors import InputError, PairError
from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.sides import check_sides, find_one_sided, lies_on_both_sides
from bids_mfi.muscles import WEBER2021, MuscleTable
from bids_mfi.options import RunOptions, TrainOptions
from bids_mfi.training.labelled_scans import load_labelled_data
from bids_mfi.training.scan_plan import LabelledSource

SHAPE = (32, 28, 12)
GRID = Grid.from_array(SHAPE, make_affine((4.0, 4.0, 6.0)))
OPTIONS = TrainOptions(spacing_mm=(4.0, 4.0, 6.0))
NO_MIRRORS = replace(OPTIONS, mirror_share=0.0, mirrored=False)
PEOPLE = ("01", "02", "03")


def draw(indices=range(1, 15)):
    """Blocks in the order of the table: right (odd) at high x, which points to the right."""
    labels = np.zeros(SHAPE, np.int16)
    for index in indices:
        place = (index - 1) // 2
        x = 18 if index % 2 else 8
        labels[x : x + 6, 3 * place + 3 : 3 * place + 6, 3:9] = index
    return labels


def with_one_number(labels):
    """Each muscle of both sides under the number of the right one."""
    return np.where(labels % 2 == 0, np.maximum(labels - 1, 0), labels).astype(np.int16)


def numbered_one_to_seven(labels):
    """As many people number: 1 to 7, the same on both sides."""
    return ((labels + 1) // 2).astype(np.int16)


def exchange(labels):
    swap = np.array([0, *(WEBER2021.mirrored_indices()[index] for index in range(1, 15))], np.int16)
    return swap[labels]


def check(maps, mirrors=True, table=WEBER2021):
    return check_sides({f"map {i}": (one, GRID) for i, one in enumerate(maps)}, table, mirrors)


# --- rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrors", [True, False])
def test_sound_maps_have_no_finding(mirrors):
    assert check([draw()] * 3, mirrors) == []
    assert check([draw([1, 2]), draw([1, 2, 11, 12])], mirrors) == []
    one_side = MuscleTable(tuple(muscle for muscle in WEBER2021 if muscle.hemi == "L"))
    assert check([draw([2, 4])], mirrors=False, table=one_side) == []


@pytest.mark.parametrize("side", [0, 1])
def test_one_side_in_all_maps(side):
    maps = [draw(range(1 + side, 15, 2))] * 2
    first = "MFSS_L, LC_L" if side else "MFSS_R, LC_R"
    with pytest.raises(InputError, match=rf"^{first}.*on one side only.*mirror_share to 0"):
        check(maps)
    (line,) = check(maps, mirrors=False)
    assert line.startswith(f"labelled on one side only: {first}")


@pytest.mark.parametrize("side", [0, 1])
def test_a_few_stray_voxels_are_no_other_side(side):
    """A slip of the brush on the side that nobody labelled."""
    labels = draw(range(1 + side, 15, 2))
    for index in range(2 - side, 15, 2):
        labels[8 + 10 * side, 3 * ((index - 1) // 2) + 3, 3] = index
    with pytest.raises(InputError, match="on one side only, in all label maps"):
        check([labels] * 2)
    with pytest.raises(InputError, match="map 1: holds labels of one side only"):
        check([draw(), labels])


def draw_neck():
    """As draw, with SCM and LS farther from the middle than LC and MFSS."""
    labels = draw()
    for index in (1, 2, 3, 4):
        mask = labels == index
        labels[mask] = 0
        labels[np.roll(mask, -2 if index % 2 else 2, axis=0)] = index
    return labels


@pytest.mark.parametrize("side", [0, 1])
def test_one_side_under_the_numbers_of_the_other(side):
    """No other side is there to compare with; SCM and LS lie outside of LC and MFSS."""
    labels = np.where(draw_neck() % 2 == side, draw_neck(), 0).astype(np.int16)
    assert len(check([labels], mirrors=False)) == 1
    whole = draw_neck()
    assert check([whole]) == []
    with pytest.raises(InputError, match=r"map 1: .*the other side of the neck"):
        check([whole, exchange(labels)], mirrors=False)


def test_one_muscle_without_its_other_side():
    """Thirteen of fourteen labels are there, and one is enough to contradict itself."""
    maps = [draw(range(1, 14))] * 2
    with pytest.raises(InputError, match=r"^LS_R: labelled on one side only"):
        check(maps)
    assert check(maps, mirrors=False) == ["labelled on one side only: LS_R"]
    both_somewhere = [*maps, draw()]
    lines = check(both_somewhere)
    assert lines == [f"map {i}: labelled on one side only, other maps on both: LS_R"
                     for i in range(2)]  # fmt: skip


def test_a_map_of_one_side_among_others():
    maps = [draw(), draw(range(2, 15, 2)), draw()]
    with pytest.raises(InputError, match=r"^map 1: holds labels of one side only \(MFSS_L"):
        check(maps)
    (line,) = check(maps, mirrors=False)
    assert line.startswith("map 1: labelled on one side only, other maps on both: MFSS_L")


def test_an_empty_side_of_two_maps_that_differ():
    """The left in one map and the right in the other: together they seem complete."""
    with pytest.raises(InputError, match="map 0: holds labels of one side only"):
        check([draw(range(1, 15, 2)), draw(range(2, 15, 2))])


@pytest.mark.parametrize("mirrors", [True, False])
@pytest.mark.parametrize("change", [with_one_number, numbered_one_to_seven])
def test_one_number_for_both_sides(change, mirrors):
    with pytest.raises(InputError, match=r"is on both sides of the neck.*Renumber"):
        check([change(draw())] * 2, mirrors)


def test_one_number_for_both_sides_of_one_muscle():
    labels = draw()
    labels[labels == 12] = 11
    with pytest.raises(InputError, match=r"^TR_R: the label is on both sides.*right_trapezius"):
        check([labels] * 2, mirrors=False)


def test_pieces_of_one_side_are_no_two_sides():
    labels = draw()
    labels[25, 3:6, 3:9] = 1  # a gap of a voxel, and little beyond it
    assert check([labels]) == []


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SAR", "ASL"])
def test_exchanged_sides_are_found_in_any_storage_order(axcodes):
    for labels in (exchange(draw()), draw([1, 2])[::-1]):
        turned = reorient(np.ascontiguousarray(labels), GRID, tuple(axcodes))
        with pytest.raises(InputError, match=r"^a: the left label of MFSS.*Exchange the numbers"):
            check_sides({"a": turned}, WEBER2021, mirrors=False)
    assert check_sides({"a": reorient(draw(), GRID, tuple(axcodes))}, WEBER2021, True) == []


def test_one_exchanged_muscle_of_one_map():
    labels = draw()
    labels[labels == 11], labels[draw() == 12] = 12, 11
    with pytest.raises(InputError, match=r"^map 1: the left label of TR is to the right"):
        check([draw(), labels])


def test_sides_are_those_of_the_table():
    renumbered = MuscleTable(
        tuple(replace(m, hemi="LR"[m.hemi == "L"]) for m in WEBER2021 if m.index < 3)
    )
    assert find_one_sided({1}, renumbered)[0].abbreviation == "MFSS_L"
    with pytest.raises(InputError, match="left label of MFSS"):
        check([draw([1, 2])], table=renumbered)


def test_a_mask_of_one_slice_lies_on_one_side():
    mask = np.zeros(SHAPE, bool)
    assert not lies_on_both_sides(mask, GRID)
    mask[3] = True
    assert not lies_on_both_sides(mask, GRID)


# --- through the data of a training ------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path):
    bids_dir = tmp_path / "bids"
    write_description(bids_dir)
    for seed, person in enumerate(PEOPLE):
        write_scan(bids_dir, person, None, seed)
        write_map(bids_dir, person, draw())
    return bids_dir


def map_of(bids_dir, person):
    folder = bids_dir / "derivatives" / "labels" / f"sub-{person}" / "anat"
    return folder / f"sub-{person}_acq-dixon_dseg.nii.gz"


def write_map(bids_dir, person, labels):
    return write_nifti(map_of(bids_dir, person), labels)


def load(bids_dir, options=OPTIONS):
    lines = []
    selection = RunOptions(bids_dir, bids_dir.parent / "out", "participant")
    load_labelled_data(plan_of(options), LabelledSource(selection), lines.append)
    return lines


def test_sound_data_get_no_new_line(dataset):
    (line,) = load(dataset)
    assert line.startswith("labelled scans: 3")


def test_labels_of_one_side_without_a_table_are_refused(dataset):
    """The table is the paper's, with both sides; the maps hold the left."""
    for person in PEOPLE:
        write_map(dataset, person, draw(range(2, 15, 2)))
    with pytest.raises(InputError, match=r"on one side only, in all label maps"):
        load(dataset)
    with pytest.raises(InputError, match=r"mirrored to false"):
        load(dataset, replace(NO_MIRRORS, mirrored=True))
    assert any(line.startswith("labelled on one side only") for line in load(dataset, NO_MIRRORS))


def test_the_map_with_exchanged_sides_is_named(dataset):
    path = write_map(dataset, "02", exchange(draw()))
    with pytest.raises(InputError, match=f"^{path}: the left label of MFSS"):
        load(dataset, NO_MIRRORS)


def test_a_header_that_contradicts_itself_is_named(dataset):
    import gzip

    import nibabel as nib

    for path in (dataset / "sub-03").rglob("*.nii.gz"):
        image = nib.load(path)
        image.set_sform(image.affine, code=1)
        image.set_qform(np.diag([-1.0, 1, 1, 1]) @ image.affine, code=1)
        path.write_bytes(gzip.compress(image.to_bytes()))
    (line,) = load(dataset)[1:]
    assert line.startswith("sub-03_acq-dixon: The header of the in-phase and out-of-phase images")


def test_a_label_map_that_is_not_there_is_no_scan_without_labels(dataset):
    """DataLad leaves a link that leads nowhere until the content is fetched."""
    path = map_of(dataset, "02")
    path.unlink()
    path.symlink_to("../../.git/annex/objects/MD5E-s12--ab.nii.gz")
    with pytest.raises(PairError, match=r"has not been fetched.*datalad get"):
        load(dataset)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_label_map_that_is_no_file_is_named(dataset, make):
    path = map_of(dataset, "02")
    path.unlink()
    make(path)
    with pytest.raises(PairError, match=f"{path}: cannot be opened .it is a "):
        load(dataset)


def test_scaled_label_maps_are_learnt_as_they_were_drawn(dataset):
    """NiBabel scales whole numbers given as float64 when the header asks for integers."""
    import nibabel as nib

    header = nib.load(map_of(dataset, "01")).header
    affine = nib.load(map_of(dataset, "01")).affine
    header.set_data_dtype(np.int16)
    nib.Nifti1Image(draw().astype(np.float64), affine, header).to_filename(map_of(dataset, "01"))
    assert not np.array_equal(nib.load(map_of(dataset, "01")).get_fdata(), draw())
    assert len(load(dataset)) == 1


def test_labels_on_a_grid_that_was_rounded_are_those_of_the_scan(dataset):
    """A twentieth of a voxel is the same place; two fifths are not, and the message says both."""
    affine = make_affine((4.0, 4.0, 6.0))
    affine[0, 3] += 0.04 * 4
    write_nifti(map_of(dataset, "01"), draw(), affine)
    assert len(load(dataset)) == 1
    affine[0, 3] += 0.36 * 4
    write_nifti(map_of(dataset, "01"), draw(), affine)
    with pytest.raises(PairError, match=r"1\.6 mm or 0\.4 voxels apart.*resample the labels"):
        load(dataset)
