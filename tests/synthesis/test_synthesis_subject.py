"""Random persons painted on grids: shape, sides, sizes, fat and levels, each from several sides."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from toy_neck import toy_grid, toy_labels, toy_rows

from bids_mfi.grid import reorient
from bids_mfi.measure.overlap import dice_by_muscle
from bids_mfi.muscles import WEBER2021, paper_table
from bids_mfi.synthesis.cases import upright_grid
from bids_mfi.synthesis.composition import Participant
from bids_mfi.synthesis.deformation import (
    draw_deformation,
    map_points,
    rotation_matrix,
    transform_points,
)
from bids_mfi.synthesis.labelmap import prepare_label_map
from bids_mfi.synthesis.levels import find_level_slices, restrict_to_levels
from bids_mfi.synthesis.noise import shift_linear, smooth_noise
from bids_mfi.synthesis.painting import fill_grid, label_voxels
from bids_mfi.synthesis.subject import change_subject, draw_subject, simplify_subject
from bids_mfi.synthesis.tissues import Tissue
from bids_mfi.vertebrae import expand_levels

CENTRE_MM = (0.0, -20.0, -8.0)
PERSON = Participant("M", 40.0, 25.0)
OTHER = int(Tissue.OTHER_MUSCLE)


@pytest.fixture(scope="module")
def neck():
    return prepare_label_map(toy_labels(), toy_grid(), toy_rows(), "toy")


def plain_subject(neck, **changes):
    """The label map itself: nothing grows, moves or parts, and no metal is in the jaw."""
    drawn = draw_subject(np.random.default_rng(1), neck, PERSON, variation=0.0)
    still = {
        "growth_mm": np.zeros(256, np.float32), "plane_mm": 0.0, "skin_fat_mm": 5.0, "tubes": (),
        "metal": None,
    }  # fmt: skip
    return replace(drawn, **(still | changes))


def grid_of(spacing_mm=(2.0, 2.0, 2.0), extent_mm=(152.0, 152.0, 104.0)):
    shape = tuple(round(e / s) for e, s in zip(extent_mm, spacing_mm, strict=True))
    return upright_grid(shape, spacing_mm, CENTRE_MM)


def labels_of(volume):
    return volume.labels.numpy().astype(np.int16)


def sum_signal(subject):
    """Water and fat outside the muscles, one point a voxel."""
    volume = fill_grid(subject, grid_of(), (1, 1, 1))
    return (volume.water + volume.fat)[volume.labels == 0].numpy()


def volume_ml(subject, grid=None):
    grid = grid or grid_of()
    counts = np.bincount(labels_of(fill_grid(subject, grid, (1, 1, 2))).ravel(), minlength=15)
    return counts * grid.voxel_volume_ml


# -------------------------------------------------------------------------------- deformation


def test_no_variation_is_the_label_map_scaled():
    points = torch.tensor([[10.0, -20.0], [5.0, 30.0], [-40.0, 60.0]])
    mapped = map_points(draw_deformation(np.random.default_rng(0), 1.25, variation=0.0), points)
    assert torch.allclose(mapped, points / 1.25, atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_deformations_fold_nowhere(seed):
    """The Jacobian's determinant, by differences of 2 mm, stays positive."""
    deformation = draw_deformation(np.random.default_rng(seed), variation=1.4)
    axes = [torch.arange(-80, 81, 2.0), torch.arange(-80, 61, 2.0), torch.arange(-70, 71, 2.0)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    mapped = map_points(deformation, points).numpy()
    columns = [(np.roll(mapped, -1, axis) - mapped)[:, :-1, :-1, :-1] / 2 for axis in (1, 2, 3)]
    determinant = np.linalg.det(np.moveaxis(np.stack(columns, axis=1), (0, 1), (-2, -1)))
    assert determinant.min() > 0.15
    assert np.median(determinant) == pytest.approx(1, abs=0.5)


def test_rotations_turn_the_right_way():
    assert rotation_matrix((np.pi / 2, 0, 0)) @ [0, 1, 0] == pytest.approx([0, 0, 1])
    assert rotation_matrix((0, np.pi / 2, 0)) @ [0, 0, 1] == pytest.approx([1, 0, 0])
    matrix = rotation_matrix((0.2, -0.3, 0.4))
    assert matrix @ matrix.T == pytest.approx(np.eye(3))
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_transform_moves_and_scales():
    matrix = np.diag([2.0, 3.0, 4.0, 1.0])
    matrix[:3, 3] = 1, 2, 3
    found = transform_points(matrix, torch.tensor([[1.0], [1.0], [1.0]]))
    assert found[:, 0].tolist() == [3.0, 5.0, 7.0]


def test_noise_is_smooth_and_of_unit_spread():
    points = torch.rand(3, 40_000) * 300
    noise = smooth_noise(np.random.default_rng(0), points, (10.0, 10.0, 10.0))
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    near = smooth_noise(np.random.default_rng(0), points + 0.5, (10.0, 10.0, 10.0))
    assert float((near - noise).std()) < 0.2


def test_shift_of_whole_voxels_is_a_roll():
    volume = torch.randn(5, 6)
    assert torch.equal(shift_linear(volume, 2.0, 1), volume.roll(2, 1))
    assert torch.allclose(shift_linear(volume, -0.5, 0), (volume + volume.roll(-1, 0)) / 2)


# ----------------------------------------------------------------------------------- painting


def test_unchanged_person_is_the_label_map(neck):
    labels = labels_of(fill_grid(plain_subject(neck), grid_of(), (1, 1, 1)))
    assert np.unique(labels).tolist() == list(range(15))
    expected = dict(enumerate(np.bincount(toy_labels().ravel(), minlength=15)))
    grid = grid_of((2.0, 2.0, 2.0), (160.0, 160.0, 128.0))
    found = volume_ml(plain_subject(neck), grid)
    for muscle in WEBER2021:  # the upper end of the label map goes on, as far as it is seen
        assert found[muscle.index] == pytest.approx(expected[muscle.index] * 0.008, rel=0.12)


def test_right_is_to_the_right_and_front_in_front(neck):
    grid = grid_of()
    labels = labels_of(fill_grid(plain_subject(neck), grid, (2, 2, 2)))
    for muscle in WEBER2021:
        centre = grid.matrix @ np.append(np.argwhere(labels == muscle.index).mean(axis=0), 1)
        assert (centre[0] > 5) == (muscle.hemi == "R")
        assert (centre[1] > 0) == (muscle.muscle in ("SCM", "LC"))


def test_volume_does_not_depend_on_the_voxels(neck):
    fine, coarse = (
        volume_ml(plain_subject(neck), grid_of(spacing))
        for spacing in ((1.0, 1.0, 2.0), (2.0, 2.0, 4.0))
    )
    assert fine[1:] == pytest.approx(coarse[1:], rel=0.15)


@pytest.mark.parametrize("axcodes", [("L", "P", "S"), ("S", "R", "A"), ("P", "I", "L")])
def test_grids_of_any_orientation_show_the_same_person(neck, axcodes):
    subject = plain_subject(neck, deformation=draw_deformation(np.random.default_rng(5)))
    grid = grid_of()
    upright = fill_grid(subject, grid, (1, 1, 1))
    wanted, turned_grid = reorient(upright.labels.numpy(), grid, axcodes)
    found = fill_grid(subject, turned_grid, (1, 1, 1))
    assert (found.labels.numpy() == wanted).mean() > 0.999
    water, _ = reorient(upright.water.numpy(), grid, axcodes)
    assert np.abs(found.water.numpy() - water).mean() < 0.01


def test_growth_and_wasting_change_the_muscle_and_its_side(neck):
    before = volume_ml(plain_subject(neck))
    for sign in (1.0, -1.0):
        growth = np.zeros(256, np.float32)
        growth[np.flatnonzero(neck.tissues == WEBER2021.of("SCM", "L").index)] = sign * 2.0
        after = volume_ml(plain_subject(neck, growth_mm=growth))
        left, right = WEBER2021.of("SCM", "L").index, WEBER2021.of("SCM", "R").index
        assert (after[left] - before[left]) * sign > 0.15 * before[left]
        assert after[right] == before[right]


def test_wasted_muscle_never_takes_from_bone_and_leaves_fat(neck):
    """LC lies on the vertebrae: what it gives up becomes fat, not bone."""
    code = np.flatnonzero(neck.tissues == WEBER2021.of("LC", "R").index)
    growth = np.zeros(256, np.float32)
    growth[code] = -2.0
    plain = fill_grid(plain_subject(neck), grid_of(), (1, 1, 1))
    wasted = fill_grid(plain_subject(neck, growth_mm=growth), grid_of(), (1, 1, 1))
    given_up = (plain.labels == 3) & (wasted.labels == 0)
    assert given_up.sum() > 50
    fraction = wasted.fat[given_up] / (wasted.fat + wasted.water)[given_up]
    assert float(fraction.mean()) > 0.6


def test_fat_planes_part_muscles(neck):
    plain = fill_grid(plain_subject(neck), grid_of(), (2, 2, 2))
    parted = fill_grid(plain_subject(neck, plane_mm=1.5), grid_of(), (2, 2, 2))
    assert 0.5 < float((parted.labels > 0).sum() / (plain.labels > 0).sum()) < 0.95
    assert float(parted.fat.sum()) > 1.02 * float(plain.fat.sum())


LABELLED = {
    "muscles that meet": ([3] * 6 + [5] * 4, 3),
    "a muscle and one that is not measured": ([3] * 6 + [OTHER] * 3 + [0], 3),
    "just enough muscle": ([3] * 7 + [0] * 3, 3),
    "too much fat": ([3] * 6 + [0] * 4, 0),
    "half of a muscle and another": ([3] * 5 + [OTHER] * 4 + [5], 3),
    "half of a muscle, half of one that is not measured": ([3] * 5 + [OTHER] * 5, 3),
    "mostly a muscle that is not measured": ([OTHER] * 6 + [3] * 4, 0),
    "three that meet": ([3] * 4 + [5] * 3 + [7] * 3, 0),
}


@pytest.mark.parametrize("case", LABELLED)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fat_leaves_a_voxel_without_label_and_a_neighbour_does_not(case, seed):
    points, label = LABELLED[case]
    points = np.random.default_rng(seed).permutation(points)
    parts = [torch.tensor([point], dtype=torch.uint8) for point in points]
    assert label_voxels(parts).tolist() == [label]


@pytest.mark.parametrize("points", [(1, 2, 1, 2), (2, 2, 1, 1)])
def test_halves_favour_neither_side(points):
    parts = [torch.full((100,), point, dtype=torch.uint8) for point in points]
    assert np.bincount(label_voxels(parts)).tolist() == [0, 50, 50]


def voxels_between(**changes):
    """Unlabelled voxels in each column between right splenius and multifidus, made to touch."""
    touching = toy_labels()
    splenius = touching[:, 20] == WEBER2021.of("SPCap", "R").index
    touching[:, 21][splenius] = WEBER2021.of("SPCap", "R").index
    neck = prepare_label_map(touching, toy_grid(), toy_rows(), "touching")
    grid = grid_of((3.1, 3.1, 3.1))
    labels = labels_of(fill_grid(plain_subject(neck, **changes), grid, (4, 4, 4)))
    back, front = WEBER2021.of("SPCap", "R").index, WEBER2021.of("MFSS", "R").index
    between = []
    for column in labels.transpose(0, 2, 1).reshape(-1, labels.shape[1]):
        at_back, at_front = np.flatnonzero(column == back), np.flatnonzero(column == front)
        if len(at_back) and len(at_front):
            between.append(at_front[0] - at_back[-1] - 1)
    return between


def test_muscles_that_touch_are_labelled_up_to_each_other():
    touching, parted = voxels_between(), voxels_between(plane_mm=1.0)
    assert np.mean(np.equal(touching, 0)) > 0.8  # all but at the muscles' own edges
    assert np.mean(np.equal(parted, 0)) < 0.2


def test_simple_persons_have_neither_planes_nor_vessels_and_fat_of_each_muscle(neck):
    drawn = draw_subject(np.random.default_rng(5), neck)
    simple = simplify_subject(np.random.default_rng(1), drawn)
    assert drawn.plane_mm > 0
    assert simple.plane_mm == 0
    assert {tube.tissue for tube in drawn.tubes} == {Tissue.AIR, Tissue.ARTERY, Tissue.VEIN}
    assert {tube.tissue for tube in simple.tubes} == {Tissue.AIR}
    assert len(np.unique(simple.muscle_fat_percent)) == len(simple.muscle_fat_percent)
    assert simple.deformation == drawn.deformation
    fields = {"plane_mm": 0.0, "tubes": (), "metal": None}
    total = {plain: sum_signal(replace(drawn, plain=plain, **fields)) for plain in (False, True)}
    kinds = {plain: np.unique(np.round(values, 3)).size for plain, values in total.items()}
    assert kinds[True] < kinds[False]


def test_subcutaneous_fat_grows_outwards(neck):
    thin, thick = (
        fill_grid(plain_subject(neck, skin_fat_mm=mm), grid_of(), (1, 1, 1)) for mm in (2.0, 12.0)
    )
    body = [int(((v.water + v.fat) > 0).sum()) for v in (thin, thick)]
    assert body[1] > 1.15 * body[0]
    scores = dice_by_muscle(labels_of(thin), labels_of(thick), WEBER2021)
    assert min(scores.values()) > 0.85


def test_fat_of_a_muscle_is_what_was_asked_for(neck):
    percent = np.full(15, 8.0, np.float32)
    percent[WEBER2021.of("TR", "R").index] = 40.0
    subject = plain_subject(neck, muscle_fat_percent=percent, texture=(0.3, 0.2, 5.0))
    volume = fill_grid(subject, grid_of(), (1, 1, 1))
    for name, hemi, wanted in (("TR", "R", 40.0), ("TR", "L", 8.0), ("SCM", "L", 8.0)):
        inside = volume.labels == WEBER2021.of(name, hemi).index
        fat, water = volume.fat[inside].mean(), volume.water[inside].mean()
        assert float(100 * fat / (fat + water)) == pytest.approx(wanted, rel=0.2)


def test_metal_voids_signal_around_it_but_not_labels(neck):
    grid = grid_of((4.0, 4.0, 4.0))
    plain = fill_grid(plain_subject(neck), grid, (1, 1, 1))
    x, y, z = (float(v) for v in neck.jaw_mm[0])
    void = fill_grid(plain_subject(neck, metal=(x, y, z, 12.0)), grid, (1, 1, 1))
    lost = (plain.water + plain.fat) - (void.water + void.fat)
    at = np.linalg.inv(grid.matrix) @ [x, y, z, 1]
    where = np.argwhere(lost.numpy() > 0.2)
    assert len(where) > 10
    assert np.linalg.norm((where - at[:3]) * 4.0, axis=1).max() < 20
    assert torch.equal(plain.labels, void.labels)


def test_metal_is_in_the_jaw_of_some(neck):
    drawn = [draw_subject(np.random.default_rng(s), neck).metal for s in range(60)]
    found = [metal for metal in drawn if metal is not None]
    assert 8 < len(found) < 30
    jaw = neck.jaw_mm
    for x, y, z, radius_mm in found:
        assert (jaw.min(axis=0) <= [x, y, z]).all()
        assert ([x, y, z] <= jaw.max(axis=0)).all()
        assert 5 <= radius_mm <= 16
    alone = replace(neck, jaw_mm=neck.jaw_mm[:0])
    assert all(draw_subject(np.random.default_rng(s), alone).metal is None for s in range(20))


def test_no_muscle_is_crushed_by_its_neighbours(neck):
    """All grow as they may; every muscle keeps a good part of its volume, planes included."""
    coarse = grid_of((3.0, 3.0, 4.0))
    before = volume_ml(plain_subject(neck), coarse)
    least = np.ones(15)
    for seed in range(6):
        drawn = draw_subject(np.random.default_rng(seed), neck, PERSON)
        after = volume_ml(plain_subject(neck, growth_mm=drawn.growth_mm), coarse)
        least = np.minimum(least, after / np.maximum(before, 1e-9))
    assert least[1:].min() > 0.25
    pushed = np.full(256, 3.0, np.float32)
    code = np.flatnonzero(neck.tissues == WEBER2021.of("SPCap", "L").index)
    pushed[code] = -1.0
    after = volume_ml(plain_subject(neck, growth_mm=pushed), coarse)
    assert after[WEBER2021.of("SPCap", "L").index] > 0.3 * before[WEBER2021.of("SPCap", "L").index]


def test_tubes_run_where_the_map_has_nothing_of_the_kind(neck):
    tubes = draw_subject(np.random.default_rng(0), neck).tubes
    assert [tube.tissue.name for tube in tubes] == ["AIR", "ARTERY", "VEIN", "ARTERY", "VEIN"]
    assert all(tube.slices.all() for tube in tubes)
    occupied = neck.occupied.copy()
    code = int(np.flatnonzero(neck.tissues == Tissue.DISC)[0])
    tissues = neck.tissues.copy()
    tissues[code] = Tissue.ARTERY
    other = replace(neck, tissues=tissues, occupied=occupied)
    tubes = draw_subject(np.random.default_rng(0), other).tubes
    assert tubes[0].slices.all()
    assert np.array_equal(tubes[1].slices, ~occupied[code])
    volume = fill_grid(plain_subject(neck, tubes=tubes[:1]), grid_of(), (1, 1, 1))
    without = fill_grid(plain_subject(neck), grid_of(), (1, 1, 1))
    assert float((without.water + without.fat).sum()) > float((volume.water + volume.fat).sum())


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(neck, threads):
    former = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        subject = draw_subject(np.random.default_rng(2), neck)
        volume = fill_grid(subject, grid_of((4.0, 4.0, 4.0)), (2, 2, 2))
    finally:
        torch.set_num_threads(former)
    assert np.array_equal(volume.labels.numpy(), reference_volume(neck).labels.numpy())
    assert np.array_equal(volume.water.numpy(), reference_volume(neck).water.numpy())


def reference_volume(neck):
    return fill_grid(
        draw_subject(np.random.default_rng(2), neck), grid_of((4.0, 4.0, 4.0)), (2, 2, 2)
    )


def test_persons_differ_and_are_decided_by_their_generator(neck):
    first, again, other = (draw_subject(np.random.default_rng(s), neck) for s in (3, 3, 4))
    grid = grid_of((4.0, 4.0, 4.0))
    volumes = [fill_grid(s, grid, (1, 1, 1)) for s in (first, again, other)]
    assert torch.equal(volumes[0].water, volumes[1].water)
    assert torch.equal(volumes[0].labels, volumes[1].labels)
    assert not torch.equal(volumes[0].labels, volumes[2].labels)


def test_fat_reaches_beyond_45_percent_and_stays_lean_in_most(neck):
    fat = np.array([
        draw_subject(np.random.default_rng(s), neck).muscle_fat_percent[1:] for s in range(300)
    ])  # fmt: skip
    assert fat.max() > 45
    assert fat.min() >= 1.0
    assert 5 < np.median(fat) < 15
    deep = np.isin([m.muscle for m in WEBER2021], ("MFSS", "LC", "SSCap"))
    assert fat[:, deep].mean() > 1.3 * fat[:, ~deep].mean()


def test_later_session_is_the_same_person(neck):
    first = draw_subject(np.random.default_rng(0), neck)
    later = change_subject(np.random.default_rng(1), first)
    assert later.deformation.scale == first.deformation.scale
    assert later.deformation.nod != first.deformation.nod
    assert np.abs(later.muscle_fat_percent - first.muscle_fat_percent)[1:].max() < 2.5
    assert later.participant == first.participant


# ------------------------------------------------------------------------------------- levels


def test_levels_by_construction(neck):
    """C4 is 16 mm high around the origin, in voxels of 2 mm from the grid's lowest."""
    subject = plain_subject(neck)
    grid = grid_of()
    found = find_level_slices(subject, grid)
    middle = (grid.shape[2] - 1) / 2 - CENTRE_MM[2] / 2
    low, high = found["C4"]
    assert (low + high) / 2 == pytest.approx(middle, abs=0.6)
    assert high - low == pytest.approx(8.0, abs=0.1)
    assert found["C3"][0] == pytest.approx(high, abs=0.6)
    assert found["C6"][1] <= found["C5"][1] <= low < found["C3"][1]


@pytest.mark.parametrize("axcodes", [("R", "A", "S"), ("L", "P", "I"), ("S", "R", "A")])
def test_labels_are_kept_at_their_levels_only(neck, axcodes):
    subject = plain_subject(neck)
    labels, grid = reorient(labels_of(fill_grid(subject, grid_of(), (1, 1, 1))), grid_of(), axcodes)
    kept = restrict_to_levels(labels, grid, find_level_slices(subject, grid), paper_table())
    upright, upright_grid_ = reorient(kept, grid, ("R", "A", "S"))
    for muscle in WEBER2021:
        z = np.argwhere(upright == muscle.index)[:, 2]
        levels = len(expand_levels(paper_table().of(muscle.muscle, muscle.hemi).levels))
        height = (z.max() - z.min() + 1) * 2.0
        assert height == pytest.approx(16.0 * levels, abs=2.1)
    height = upright_grid_.matrix[2, 2] * z.mean() + upright_grid_.matrix[2, 3]
    assert height == pytest.approx(-24.0, abs=2.5)  # LS: C5 and C6, 8 to 40 mm below
    assert np.array_equal(kept[kept > 0], labels[kept > 0])


@pytest.mark.parametrize("nod_degrees", [-12.0, 12.0])
def test_levels_of_a_strongly_bent_neck_are_all_found(neck, nod_degrees):
    """The spine is then far in front of and behind where it is in the middle."""
    plain = plain_subject(neck).deformation
    angle = float(np.deg2rad(nod_degrees))
    bent = replace(plain, nod=angle, whole=(2 * angle, 0.1, 0.1), lordosis_mm=12.0)
    found = find_level_slices(plain_subject(neck, deformation=bent), grid_of())
    assert list(found) == ["C2", "C3", "C4", "C5", "C6", "C7", "T1"]
    middles = [(low + high) / 2 for low, high in found.values()]
    assert all(a - b > 5 for a, b in pairwise(middles))


def test_levels_outside_the_scan_leave_nothing(neck):
    subject = plain_subject(neck)
    grid = upright_grid((76, 76, 10), (2.0, 2.0, 2.0), (0.0, -20.0, 30.0))
    labels = labels_of(fill_grid(subject, grid, (1, 1, 1)))
    kept = restrict_to_levels(labels, grid, find_level_slices(subject, grid), paper_table())
    assert (labels == 11).any()
    assert not (kept == 11).any()
