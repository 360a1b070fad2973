"""Label maps: names, depths, neighbours, levels; whatever the storage order."""

import os

import numpy as np
import pytest
from toy_neck import (
    FIRST_SLICE,
    LEVEL_SLICES,
    LEVELS,
    SPACING_MM,
    toy_grid,
    toy_labels,
    toy_rows,
    write_toy_neck,
)

from bids_mfi.errors import InputError
from bids_mfi.muscles import WEBER2021
from bids_mfi.synthesis import depth as depth_module
from bids_mfi.synthesis import labelmap, structures
from bids_mfi.synthesis.depth import DEPTH_STEP_MM, SKIN_OFFSET_MM, SKIN_STEP_MM
from bids_mfi.synthesis.labelmap import find_label_maps, load_label_map, prepare_label_map
from bids_mfi.synthesis.structures import identify, level_of
from bids_mfi.synthesis.tissues import Tissue


@pytest.fixture(scope="module")
def neck():
    return prepare_label_map(toy_labels(), toy_grid(), toy_rows(), "toy")


def bytes_of(neck):
    word = neck.packed.numpy()
    return word & 255, (word >> 8) & 255, (word >> 16) & 255, (word >> 24) & 255


NAMES = {
    "right_multifidus_semispinalis_cervicis": 1,
    "left_longus_colli_capitis": 4,
    "Splenius capitis (left)": 6,
    "right_semispinalis_capitis": 7,
    "Right Sternocleidomastoid": 9,
    "trapezius_L": 12,
    "left_levator_scapulae": 14,
    "left_splenius_cervicis": Tissue.OTHER_MUSCLE,
    "left_rhomboids_serratus_post_sup_semispinalis_thoracis": Tissue.OTHER_MUSCLE,
    "left_hyoid_muscles": Tissue.OTHER_MUSCLE,
    "hyoid": Tissue.MARROW,
    "vertebra_C3": Tissue.MARROW,
    "vertebral_artery": Tissue.ARTERY,
    "submandibular_gland": Tissue.SALIVARY_GLAND,
    "paravertebral_muscles": Tissue.OTHER_MUSCLE,
    "left_vocal_cord": Tissue.CARTILAGE,
    "left_sternothyroid": Tissue.OTHER_MUSCLE,
    "thyroid": Tissue.THYROID,
    "mandible_maxilla_teeth": Tissue.MARROW,
    "ribs": Tissue.MARROW,
    "ascribed": None,
    "left_levator_labii": Tissue.OTHER_MUSCLE,
    "levator_scapulae": Tissue.OTHER_MUSCLE,
    "intervertebral_discs": Tissue.DISC,
    "spinal_canal_csf_synthetic": Tissue.CEREBROSPINAL_FLUID,
    "spinal_cord_synthetic": Tissue.CORD,
    "trachea": Tissue.AIR,
    "laryngeal_cartilage": Tissue.CARTILAGE,
    "clavicle_scapula": Tissue.MARROW,
    "subcutaneous_fat": Tissue.SUBCUTANEOUS_FAT,
    "other_soft_tissue_body_fill_synthetic": Tissue.LOOSE_TISSUE,
}


@pytest.mark.parametrize(("name", "tissue"), NAMES.items())
def test_names_are_recognised(name, tissue):
    assert identify({"index": "1", "name": name}) == tissue


def test_side_is_needed_for_a_muscle_and_unknown_names_are_not_guessed():
    assert identify({"name": "trapezius"}) not in range(1, 15)
    assert identify({"name": "something"}) is None
    assert identify({"name": "x", "class": "bone"}) == Tissue.MARROW
    assert identify({"name": "x", "muscle": "LS", "hemi": "L"}) == 14
    assert level_of("vertebra_T10") is None


def test_depth_and_neighbour_by_hand():
    """A slab of code 1 beside code 2: distances to the boundary, not to the far voxel's centre."""
    codes = np.ones((6, 3, 3), np.uint8)
    codes[4:] = 2
    neighbour, depth = depth_module._find_neighbours(codes, (0.5, 2.0, 2.0))
    assert depth[:, 1, 1].tolist() == [1.75, 1.25, 0.75, 0.25, 0.25, 0.75]
    assert neighbour[:, 1, 1].tolist() == [2, 2, 2, 2, 1, 1]
    packed = depth_module.pack(codes, (0.5, 2.0, 2.0))
    steps = (packed[:, 1, 1] >> 16) & 255
    assert (steps * DEPTH_STEP_MM).tolist() == pytest.approx(depth[:, 1, 1].tolist())
    along_thick, _ = np.ones((3, 3, 6), np.uint8), None
    along_thick[..., 4:] = 2
    _, depth = depth_module._find_neighbours(along_thick, (0.5, 0.5, 3.0))
    assert depth[1, 1].tolist() == [10.5, 7.5, 4.5, 1.5, 1.5, 4.5]


def test_skin_depth_is_positive_inside_and_holes_are_inside(neck):
    code, _, _, skin = bytes_of(neck)
    mm = skin * SKIN_STEP_MM - SKIN_OFFSET_MM
    assert (mm[code > 0] > 0).all()
    assert (mm[0, 0] == -SKIN_OFFSET_MM).all()
    k = 30
    edge = int(np.flatnonzero(code[:, 38, k])[0])
    assert mm[edge, 38, k] == pytest.approx(SPACING_MM, abs=SKIN_STEP_MM)
    assert mm[edge - 1, 38, k] == pytest.approx(-SPACING_MM, abs=SKIN_STEP_MM)
    hollow = toy_labels()
    hollow[30:34, 20:24] = 0
    other = prepare_label_map(hollow, toy_grid(), toy_rows(), "hollow")
    inside = bytes_of(other)[3][31, 21, 30] * SKIN_STEP_MM - SKIN_OFFSET_MM
    assert inside > 10


def test_origin_is_in_the_vertebral_body_of_c4(neck):
    at = np.linalg.inv(neck.affine) @ [0, 0, 0, 1]
    start = FIRST_SLICE + LEVELS.index("C4") * LEVEL_SLICES
    assert at[:3] == pytest.approx([39.5, 49.0, start + 3], abs=1.0)
    assert neck.spine[30] == pytest.approx([0.0, 0.0], abs=1.0)


def test_levels_are_those_of_the_bodies_and_meet_in_the_discs(neck):
    heights = {name: (low, high) for name, low, high in neck.levels}
    assert list(heights) == ["C2", "C3", "C4", "C5", "C6", "C7", "T1"]
    for upper, lower in zip(LEVELS[:0:-1], LEVELS[-2::-1], strict=True):
        assert heights[upper][0] == heights[lower][1]
    low, high = heights["C5"]
    assert high - low == pytest.approx(LEVEL_SLICES * SPACING_MM)
    assert (heights["C4"][0] + heights["C4"][1]) / 2 == pytest.approx(0.0, abs=1.5)
    assert heights["C3"][0] > heights["C5"][1]


@pytest.mark.parametrize("axcodes", [("L", "P", "S"), ("S", "R", "A"), ("A", "I", "L")])
def test_any_storage_order_gives_the_same(tmp_path, neck, axcodes):
    loaded = load_label_map(write_toy_neck(tmp_path, axcodes=axcodes))
    assert np.array_equal(loaded.packed.numpy(), neck.packed.numpy())
    assert loaded.levels == neck.levels
    assert np.allclose(loaded.affine, neck.affine)


def test_right_muscles_lie_to_the_right(neck):
    code = bytes_of(neck)[0]
    for muscle in WEBER2021:
        x = np.argwhere(neck.tissues[code] == muscle.index)[:, 0].mean()
        world = neck.affine[0, 0] * x + neck.affine[0, 3]
        assert (world > 0) == (muscle.hemi == "R")


def test_half_thickness_of_a_box(neck):
    code = int(np.flatnonzero(neck.tissues == WEBER2021.of("LC", "R").index)[0])
    assert 2.0 <= neck.half_thickness_mm[code] <= 4.0  # the box is 4 voxels of 2 mm deep


def test_muscles_alone_get_a_body():
    labels = toy_labels()
    labels[labels > 14] = 0
    alone = prepare_label_map(labels, toy_grid(), toy_rows(), "muscles")
    body = bytes_of(alone)[0] > 0
    assert alone.tissues[15] == Tissue.LOOSE_TISSUE
    whole = toy_labels() > 0
    assert body[40, 40, 30]  # between the muscles
    assert not body[0].any()
    overlap = 2 * (body & whole).sum() / (body.sum() + whole.sum())
    assert overlap > 0.8
    assert alone.levels == ()


def test_muscles_with_an_airway_or_an_unknown_structure_get_a_body_too():
    labels = toy_labels()
    labels[labels > 14] = 0
    labels[38:42, 60:64] = 36
    for name in ("trachea", "lymph_nodes"):
        rows = [r for r in toy_rows() if int(r["index"]) <= 14] + [{"index": "36", "name": name}]
        neck = prepare_label_map(labels, toy_grid(), rows, name)
        code = bytes_of(neck)[0]
        assert neck.tissues[code[40, 40, 30]] == Tissue.LOOSE_TISSUE
        wanted = Tissue.AIR if name == "trachea" else Tissue.LOOSE_TISSUE
        assert neck.tissues[code[40, 62, 30]] == wanted
        assert neck.slices_with((Tissue.AIR,)).any() == (name == "trachea")


def test_ring_of_subcutaneous_fat_is_filled():
    labels = toy_labels()
    labels[(labels == 20)] = 0
    ring = (toy_labels() > 0) & ~np.roll(toy_labels() > 0, 3, axis=0)
    labels[ring & (labels == 0)] = 20
    rows = [{**r, "name": "subcutaneous_fat"} if r["index"] == "20" else r for r in toy_rows()]
    neck = prepare_label_map(labels, toy_grid(), rows, "ring")
    assert (bytes_of(neck)[0][20:60, 20:56, 30] > 0).all()


def test_slices_of_a_line_have_no_hull():
    plane = np.zeros((8, 8), bool)
    plane[range(5), range(5)] = True
    assert np.array_equal(labelmap._fill_hull(plane), plane)


def test_reading_of_every_name_is_told(neck):
    reading = dict(neck.reading)
    assert reading["left_trapezius"] == "TR_L"
    assert reading["spinal_canal_csf"] == "cerebrospinal fluid"
    assert len(reading) == 14 + 14


def test_folder_with_other_images_gives_its_label_maps_once(tmp_path):
    path = write_toy_neck(tmp_path)
    (tmp_path / "neck_FFmap.nii.gz").write_bytes(b"")
    assert find_label_maps([tmp_path, path]) == [path]


def test_unknown_names_are_told(tmp_path):
    rows = [{**row, "name": "gubbins"} if row["index"] == "24" else row for row in toy_rows()]
    loaded = load_label_map(write_toy_neck(tmp_path, rows=rows))
    assert loaded.unrecognised == ("gubbins",)


def test_table_of_a_folder_above_is_found(tmp_path):
    path = write_toy_neck(tmp_path / "sub-01" / "anat", "sub-01_dseg")
    path.with_name("sub-01_dseg.tsv").rename(tmp_path / "dseg.tsv")
    assert structures.find_structure_table(path) == tmp_path / "dseg.tsv"
    assert find_label_maps([tmp_path]) == [path]


PROBLEMS = {
    "no table": (None, r"has no label table.*neck_dseg\.tsv"),
    "unnamed label": (toy_rows()[:-1], r"labels without a name: \[36\]"),
    "no muscle": ([r for r in toy_rows() if int(r["index"]) > 14], "without a name"),
    "twice": ([*toy_rows(), toy_rows()[0]], "occurs twice"),
    "long number": ([{"index": "9" * 5000, "name": "x"}], r"index '9+\.\.\. \(5000 letters\)'"),
    "long cell": ([*toy_rows()[:-1], {"index": "99", "name": "x" * 200_000}], "without a name"),
    "no number": ([{"index": "one", "name": "left_trapezius"}], "cannot be read as a label table"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_bad_tables_are_refused(tmp_path, problem):
    rows, message = PROBLEMS[problem]
    path = write_toy_neck(tmp_path, rows=rows)
    if rows is None:
        path.with_name("neck_dseg.tsv").unlink()
    with pytest.raises(InputError, match=message):
        load_label_map(path)


@pytest.mark.parametrize(
    "line",
    ["1" * 5000 + "\tleft_trapezius", "²\tleft_trapezius", "1\x00\ta", "1"],
    ids=["5,000 digits", "superscript", "zero byte", "short line"],
)
def test_table_that_cannot_be_parsed_is_refused(tmp_path, line):
    (tmp_path / "dseg.tsv").write_text(f"index\tname\n{line}\n")
    with pytest.raises(InputError, match=r"dseg\.tsv: (cannot be .*: )?line 2 h"):
        structures.read_structure_table(tmp_path / "dseg.tsv")


def test_a_long_cell_is_no_obstacle(tmp_path):
    (tmp_path / "dseg.tsv").write_text("index\tname\n1\t" + "a" * 200_000 + "\n")
    assert len(structures.read_structure_table(tmp_path / "dseg.tsv")[0]["name"]) == 200_000


def test_named_pipe_as_label_table_is_refused(tmp_path):
    os.mkfifo(tmp_path / "dseg.tsv")
    with pytest.raises(InputError, match="named pipe"):
        structures.read_structure_table(tmp_path / "dseg.tsv")


def test_map_without_the_muscles_is_refused():
    labels = np.where(toy_labels() > 14, toy_labels(), 20).astype(np.int16)
    with pytest.raises(InputError, match=r"none of the fourteen muscles.*left_trapezius"):
        prepare_label_map(labels, toy_grid(), toy_rows(), "toy")


def test_map_with_exchanged_sides_is_refused():
    """The map turned over, or only the names of one muscle exchanged."""
    turned = np.ascontiguousarray(toy_labels()[::-1])
    with pytest.raises(InputError, match=r"^toy: the left label of MFSS, LC, .* the right"):
        prepare_label_map(turned, toy_grid(), toy_rows(), "toy")
    left, right = "left_trapezius", "right_trapezius"
    renamed = [
        {**row, "name": {left: right, right: left}.get(row["name"], row["name"])}
        for row in toy_rows()
    ]
    with pytest.raises(InputError, match=r"^toy: the left label of TR is to the right"):
        prepare_label_map(toy_labels(), toy_grid(), renamed, "toy")


def test_missing_paths_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        find_label_maps([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="contains no"):
        find_label_maps([tmp_path])
