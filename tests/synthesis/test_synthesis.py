"""The synthetic neck, its physics and the training cases."""

from dataclasses import replace

import numpy as np
import pytest

from bids_mfi.measure.dixon import check_phase_order, fat_and_water, fat_fraction_percent
from bids_mfi.muscles import LONG_NAMES, WEBER2021
from bids_mfi.synthesis.acquisition import (
    PHANTOM_PROTOCOLS,
    Body,
    acquire_phantom,
    build_body,
    draw_scanner,
    majority_labels,
    receive_field,
    refine_grid,
)
from bids_mfi.synthesis.cases import (
    make_phantom_case,
    make_varied_case,
    upright_grid,
)
from bids_mfi.synthesis.composition import (
    DEEP,
    Participant,
    draw_fat_percent,
    draw_participant,
    expected_fat_percent,
    fat_texture,
)
from bids_mfi.synthesis.phantom import change_posture, draw_shape, paint_neck
from bids_mfi.synthesis.section_tables import LEVEL_HEIGHT_MM, MUSCLE_ENDS_MM, MUSCLE_NODES
from bids_mfi.synthesis.sections import height_mm, neck_parts
from bids_mfi.synthesis.shapes import (
    VERTICES,
    fill_polygons,
    outline_section,
    oval_section,
    ribbon_section,
)
from bids_mfi.synthesis.tissues import SIGNALS, Tissue

SMALL_SHAPE, SMALL_MM = (112, 84, 20), (2.0, 2.0, 6.0)
PAPER_SCANNER = replace(
    draw_scanner(np.random.default_rng(0)), noise=0.0, field=(0.0,) * 9, scale=1.0
)


@pytest.fixture(scope="module")
def drawn_neck():
    """The neck as drawn, without variation, on a grid that is symmetric about x = 0."""
    grid = upright_grid((161, 120, 40), (1.4, 1.4, 3.0), (0.0, 8.0, -6.0))
    shape = draw_shape(np.random.default_rng(0), "F", 25.0, variation=0.0)
    return paint_neck(shape, grid), grid


@pytest.fixture(scope="module")
def case():
    return make_phantom_case(3)


def centre_mm(mask, grid):
    """World coordinates of the centre of a mask."""
    index = np.argwhere(mask).mean(axis=0)
    return (grid.matrix @ np.append(index, 1.0))[:3]


def muscle_at(neck, grid, name, level, hemi="R"):
    """Centre of a muscle in the slice nearest to a level, (x, y)."""
    k = round((LEVEL_HEIGHT_MM[level] - grid.matrix[2, 3]) / grid.spacing_mm[2])
    mask = np.zeros(neck.shape, bool)
    mask[:, :, k] = neck[:, :, k] == WEBER2021.of(name, hemi).index
    assert mask.any(), f"{name} {hemi} is missing at {level}"
    return centre_mm(mask, grid)[:2]


# shapes -----------------------------------------------------------------------------------------


def test_a_filled_ellipse_has_its_area_and_place():
    core, offset = oval_section((3.0, -2.0, 12.0, 7.0, 25.0))
    polygon = (core + offset)[None].astype(np.float32) * 4 + 100
    volume = np.zeros((1, 200, 200), np.uint8)
    fill_polygons(volume, polygon, np.array([0]), 9)
    assert np.count_nonzero(volume) / 16 == pytest.approx(np.pi * 12 * 7, rel=0.01)
    assert np.argwhere(volume[0]).mean(axis=0) == pytest.approx([112, 92], abs=0.2)


def test_filling_agrees_with_a_count_of_crossings_voxel_by_voxel():
    rng = np.random.default_rng(5)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 15))
    radius = rng.uniform(4, 13, 15)
    polygon = np.stack([14 + radius * np.cos(angle), 15 + radius * np.sin(angle)], -1)
    volume = np.zeros((1, 30, 30), np.uint8)
    fill_polygons(volume, polygon[None].astype(np.float32), np.array([0]), 1)
    for x, y in np.ndindex(30, 30):
        inside = False
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                inside = not inside
        assert volume[0, x, y] == inside, (x, y)


def test_filling_is_clipped_at_the_edges_and_leaves_other_slices_alone():
    square = np.array([[-5, -5], [2.5, -5], [2.5, 40], [-5, 40]], np.float32)
    volume = np.zeros((4, 6, 8), np.uint8)
    fill_polygons(volume, np.stack([square, square]), np.array([0, 2]), 3)
    assert (volume[[0, 2], :3] == 3).all()
    assert not volume[[0, 2], 3:].any()
    assert not volume[[1, 3]].any()
    fill_polygons(volume, square[None] - 50, np.array([1]), 3)
    assert not volume[1].any()


def test_overlapping_folds_of_a_polygon_stay_filled():
    twice = np.array([[1, 1], [8, 1], [8, 8], [1, 8]] * 2, np.float32)[None] + 0.5
    volume = np.zeros((1, 12, 12), np.uint8)
    fill_polygons(volume, twice, np.array([0]), 1)
    assert volume.sum() == 49


def test_a_ribbon_is_as_thick_as_its_nodes_say():
    core, offset = ribbon_section(((0, 0, 2.0), (10, 0, 3.0), (20, 0, 2.0)))
    assert core.shape == offset.shape == (VERTICES, 2)
    thickness = np.linalg.norm(offset, axis=1)
    assert thickness.min() == pytest.approx(2.0)
    assert thickness.max() == pytest.approx(3.0, abs=0.05)


def test_an_outline_is_symmetric_and_its_normals_point_outwards():
    core, normal = outline_section(((0, -40), (30, -30), (45, 0), (30, 30), (0, 42)))
    mirrored = core * [-1, 1]
    assert np.abs(core[:, None] - mirrored[None]).sum(-1).min(axis=1).max() < 0.5
    assert np.linalg.norm(normal, axis=1) == pytest.approx(np.ones(VERTICES))
    assert (np.linalg.norm(core + normal, axis=1) > np.linalg.norm(core, axis=1)).all()


# the drawn neck ---------------------------------------------------------------------------------


def test_every_section_lies_between_the_ends_of_its_muscle():
    for name, sections in MUSCLE_NODES.items():
        top, bottom = MUSCLE_ENDS_MM[name]
        heights = [height_mm(level) for level in sections]
        assert top >= max(heights) > min(heights) >= bottom
        assert all(len(nodes) == 4 for nodes in sections.values())
    assert {*MUSCLE_NODES} == {*LONG_NAMES}


def test_heights_of_parts_descend():
    for part in neck_parts():
        heights = [height for height, _ in part.sections]
        assert heights == sorted(set(heights), reverse=True), part.name


def test_the_drawn_neck_is_its_own_mirror_image(drawn_neck):
    neck, _ = drawn_neck
    swap = np.arange(256)
    for index, other in WEBER2021.mirrored_indices().items():
        swap[index] = other
    differs = np.count_nonzero(swap[neck[::-1]] != neck) / np.count_nonzero(neck)
    assert differs < 0.002


def test_left_muscles_lie_on_the_left(drawn_neck):
    neck, grid = drawn_neck
    for label in WEBER2021:
        x = centre_mm(neck == label.index, grid)[0]
        assert (x < -5) if label.hemi == "L" else (x > 5), label.name


def test_muscles_are_in_their_true_order_at_c4(drawn_neck):
    neck, grid = drawn_neck
    y = {name: muscle_at(neck, grid, name, "C4")[1] for name in LONG_NAMES}
    x = {name: muscle_at(neck, grid, name, "C4")[0] for name in LONG_NAMES}
    assert y["TR"] < y["SPCap"] < y["SSCap"] < y["MFSS"] < 0 < y["SCM"] < y["LC"]
    assert x["LC"] < x["LS"] < x["SCM"]
    assert x["MFSS"] < x["SSCap"] < x["SPCap"] < x["LS"]


def test_muscles_change_from_level_to_level(drawn_neck):
    neck, grid = drawn_neck
    high, low = muscle_at(neck, grid, "SCM", "C2"), muscle_at(neck, grid, "SCM", "C7")
    assert low[0] < high[0] - 8  # towards the sternum: medial
    assert low[1] > high[1] + 12  # and anterior
    spread = [muscle_at(neck, grid, "TR", level)[0] for level in ("C3", "C5", "C7")]
    assert spread == sorted(spread)
    assert muscle_at(neck, grid, "SPCap", "C2")[0] > muscle_at(neck, grid, "SPCap", "C6")[0]
    assert not (neck[:, :, -2] == WEBER2021.of("MFSS", "R").index).any()  # begins at C2


def test_the_middle_holds_cord_bone_and_airway(drawn_neck):
    neck, grid = drawn_neck
    x = 80
    k = round(-grid.matrix[2, 3] / 3.0)
    column = neck[x, :, k]
    places = {tissue: np.flatnonzero(column == tissue).mean() for tissue in
              (Tissue.CORD, Tissue.MARROW, Tissue.AIR) if (column == tissue).any()}  # fmt: skip
    airway = np.flatnonzero(column == Tissue.AIR)
    airway = airway[(airway > 60) & (airway < 100)]
    assert places[Tissue.CORD] < np.flatnonzero(column == Tissue.MARROW).max() < airway.mean()
    for tissue in Tissue:
        assert (neck == tissue).any() or tissue is Tissue.BRAIN, tissue.name


def test_every_tissue_has_a_signal():
    assert {*SIGNALS} == {*Tissue}


def test_volumes_do_not_depend_on_the_voxels():
    shape = draw_shape(np.random.default_rng(4))
    coarse = upright_grid((112, 84, 30), (2.0, 2.0, 4.0), (0.0, 8.0, -6.0))
    fine = refine_grid(coarse, (3, 3, 2))
    first = np.bincount(paint_neck(shape, coarse).ravel(), minlength=256) * coarse.voxel_volume_ml
    second = np.bincount(paint_neck(shape, fine).ravel(), minlength=256) * fine.voxel_volume_ml
    assert first[1:15] == pytest.approx(second[1:15], rel=0.05)


def test_a_subject_keeps_volumes_roughly_when_lying_down_again():
    rng = np.random.default_rng(8)
    shape = draw_shape(rng)
    grid = upright_grid(SMALL_SHAPE, SMALL_MM, (0.0, 8.0, -6.0))
    volumes = [
        np.bincount(paint_neck(posed, grid).ravel(), minlength=256)[1:15]
        for posed in (shape, change_posture(shape, rng))
    ]
    assert (volumes[0] != volumes[1]).any()
    assert volumes[0] == pytest.approx(volumes[1], rel=0.2)


def test_body_mass_index_widens_the_fat_under_the_skin():
    grid = upright_grid(SMALL_SHAPE, SMALL_MM, (0.0, 8.0, -6.0))
    amounts = [
        np.count_nonzero(
            paint_neck(draw_shape(np.random.default_rng(1), "F", bmi), grid)
            == Tissue.SUBCUTANEOUS_FAT
        )
        for bmi in (20.0, 26.0, 34.0)
    ]
    assert amounts == sorted(amounts)
    assert amounts[2] > 1.3 * amounts[0]


def test_men_have_larger_muscles():
    grid = upright_grid(SMALL_SHAPE, SMALL_MM, (0.0, 8.0, -6.0))
    volume = {
        sex: np.count_nonzero(np.isin(paint_neck(draw_shape(np.random.default_rng(2), sex), grid),
                                      range(1, 15)))
        for sex in "FM"
    }  # fmt: skip
    assert volume["M"] > 1.1 * volume["F"]


def test_the_phantom_refuses_a_grid_it_cannot_paint():
    turned = np.diag([-2.0, 2.0, 6.0, 1.0])
    grid = upright_grid(SMALL_SHAPE, SMALL_MM, (0.0, 8.0, -6.0))
    with pytest.raises(ValueError, match="upright RAS"):
        paint_neck(draw_shape(np.random.default_rng(0)), grid.from_array(SMALL_SHAPE, turned))


# composition ------------------------------------------------------------------------------------


def residual(values, *covariates):
    """What is left of values after a linear fit on covariates."""
    design = np.column_stack([np.ones(len(values)), *covariates])
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(11)
    people = [draw_participant(rng) for _ in range(1500)]
    fat = np.array([draw_fat_percent(rng, person) for person in people])
    mean = {name: (fat[:, WEBER2021.of(name, "L").index] + fat[:, WEBER2021.of(name, "R").index])
            / 2 for name in LONG_NAMES}  # fmt: skip
    table = {
        "female": np.array([person.sex == "F" for person in people], float),
        "age": np.array([person.age for person in people]),
        "bmi": np.array([person.bmi for person in people]),
    }
    return table, mean


def test_women_have_more_fat(cohort):
    people, fat = cohort
    overall = residual(np.mean([*fat.values()], axis=0), people["age"], people["bmi"])
    women = people["female"] == 1
    assert overall[women].mean() - overall[~women].mean() == pytest.approx(1.8, abs=0.5)


def test_age_shows_in_the_deep_muscles_only(cohort):
    people, fat = cohort
    age = residual(people["age"], people["female"], people["bmi"])
    for name, values in fat.items():
        r = np.corrcoef(residual(values, people["female"], people["bmi"]), age)[0, 1]
        assert (0.3 < r < 0.7) if name in DEEP else (0.0 < r < 0.3), (name, r)


def test_body_mass_index_hardly_shows(cohort):
    people, fat = cohort
    bmi = residual(people["bmi"], people["female"], people["age"])
    for name, values in fat.items():
        r = np.corrcoef(residual(values, people["female"], people["age"]), bmi)[0, 1]
        assert abs(r) < 0.3, (name, r)


def test_deep_muscles_are_fatter_and_some_subjects_pass_the_fold(cohort):
    _, fat = cohort
    means = {name: values.mean() for name, values in fat.items()}
    assert min(means[name] for name in DEEP) > max(means[n] for n in means if n not in DEEP)
    assert 0.01 < np.mean(fat["MFSS"] > 32) < 0.15


def test_expected_fat_of_the_mean_participant():
    person = Participant("F", 34.0, 25.0)
    man = Participant("M", 34.0, 25.0)
    for name in LONG_NAMES:
        gap = expected_fat_percent(person, name) - expected_fat_percent(man, name)
        assert gap == pytest.approx(1.8)


def test_texture_has_mean_one_and_streaks_along_the_neck():
    texture = fat_texture(np.random.default_rng(3), (90, 90, 30), (1.0, 1.0, 3.0))
    assert texture.min() >= 0
    assert texture.mean() == pytest.approx(1.0, abs=0.05)
    assert texture.max() > 4
    deviation = texture - texture.mean()
    along = (deviation[:, :, 1:] * deviation[:, :, :-1]).mean()  # 3 mm apart
    across = (deviation[3:] * deviation[:-3]).mean()  # 3 mm apart
    assert along > 1.3 * across


# acquisition ------------------------------------------------------------------------------------


def small_body(water, fat):
    water, fat = np.float32(water)[:, None, None], np.float32(fat)[:, None, None]
    return Body(water, fat, np.zeros(water.shape, np.int16))


def test_the_echoes_are_the_formula():
    body = small_body([0.9, 0.2], [0.1, 0.7])
    in_phase, out_phase = acquire_phantom(np.random.default_rng(0), body, PAPER_SCANNER)
    water, fat = np.array([0.9, 0.2]), np.array([0.1, 0.7])
    expected_in = water * np.exp(-2.46 / 32) + fat * np.exp(-2.46 / 26)
    expected_out = abs(water * np.exp(-3.69 / 32) - fat * np.exp(-3.69 / 26))
    assert in_phase.ravel() == pytest.approx(expected_in, rel=1e-5)
    assert out_phase.ravel() == pytest.approx(expected_out, rel=1e-5)


def test_magnitude_folds_at_fifty_percent():
    share = np.linspace(0, 1, 21)
    endless = replace(PAPER_SCANNER, water_t2star_ms=1e9, fat_t2star_ms=1e9)
    images = acquire_phantom(np.random.default_rng(0), small_body(1 - share, share), endless)
    fat, water = fat_and_water(*(np.float64(image) for image in images))
    computed = fat_fraction_percent(fat, water).ravel()
    assert computed == pytest.approx(100 * np.minimum(share, 1 - share), abs=1e-3)


@pytest.mark.parametrize("protocol", PHANTOM_PROTOCOLS)
def test_in_phase_is_the_brighter_image_without_noise(protocol):
    drawn = draw_scanner(np.random.default_rng(0), protocol)
    scanner = replace(drawn, noise=0.0, field=(0.1,) * 9, scale=300.0)
    grid = upright_grid(SMALL_SHAPE, SMALL_MM, (0.0, 8.0, -6.0))
    rng = np.random.default_rng(6)
    body = build_body(rng, draw_shape(rng), draw_fat_percent(rng, Participant("F", 40, 25)), grid)
    in_phase, out_phase = acquire_phantom(rng, body, scanner)
    check_phase_order(in_phase.astype(np.float64), out_phase.astype(np.float64))
    if scanner.in_phase_ms < scanner.out_phase_ms:
        assert (in_phase >= out_phase).all()


def test_noise_is_rician():
    air = Body(*(np.zeros((40, 40, 40), np.float32),) * 2, np.zeros((40, 40, 40), np.int16))
    noisy = replace(PAPER_SCANNER, noise=0.05, scale=100.0)
    in_phase, out_phase = acquire_phantom(np.random.default_rng(1), air, noisy)
    for image in (in_phase, out_phase):
        assert image.mean() == pytest.approx(5.0 * np.sqrt(np.pi / 2), rel=0.02)
    assert abs(np.corrcoef(in_phase.ravel(), out_phase.ravel())[0, 1]) < 0.02


def test_receive_field_is_smooth_and_follows_its_coefficients():
    field = receive_field((5, 5, 5), (0.5, 0, 0, 0, 0, 0, 0, 0, 0))
    assert field[-1, 0, 0] / field[0, 0, 0] == pytest.approx(np.e, rel=1e-5)
    assert (receive_field((4, 5, 6), (0.0,) * 9) == 1).all()


def test_partial_volume_lies_between_the_tissues():
    rng = np.random.default_rng(2)
    grid = upright_grid((112, 84, 8), (2.0, 2.0, 6.0), (0.0, 8.0, -6.0))
    fat_percent = np.full(15, 10.0, np.float32)
    body = build_body(rng, draw_shape(rng), fat_percent, grid, (3, 3, 2))
    total = body.water + body.fat
    assert (body.water >= -1e-6).all()
    assert (body.fat >= 0).all()
    assert np.isnan(body.fat_percent[total == 0]).all()
    assert np.nanmax(body.fat_percent) <= 99.01
    distinct = np.unique(np.round(total[(body.labels == 0) & (total > 0)], 4))
    assert distinct.size > 200  # many mixtures, not one value a tissue


def test_labels_need_a_clear_majority():
    points = np.array([[5, 5, 5, 22], [5, 5, 22, 22], [5, 6, 5, 5], [22, 22, 22, 22]], np.uint8)
    assert majority_labels([*points.T]).tolist() == [5, 0, 5, 0]
    assert majority_labels([np.array([7, 0, 39], np.uint8)]).tolist() == [7, 0, 0]


def test_labelled_voxels_hold_muscle_and_its_fat():
    rng = np.random.default_rng(9)
    grid = upright_grid((150, 120, 24), (1.2, 1.2, 4.0), (0.0, 4.0, -6.0))
    fat_percent = np.arange(15, dtype=np.float32) + 2
    body = build_body(rng, draw_shape(rng), fat_percent, grid)
    for label in WEBER2021:
        inside = body.labels == label.index
        fat, water = body.fat[inside].mean(), body.water[inside].mean()
        assert 100 * fat / (fat + water) == pytest.approx(fat_percent[label.index], abs=3.5)


# cases ------------------------------------------------------------------------------------------


def test_a_case_has_all_muscles_and_the_promised_types(case):
    assert case.in_phase.shape == case.out_phase.shape == case.labels.shape == case.grid.shape
    assert case.in_phase.dtype == case.out_phase.dtype == np.float32
    assert case.labels.dtype == np.int16
    assert np.unique(case.labels).tolist() == list(range(15))
    assert case.grid.axcodes == ("R", "A", "S")
    assert case.grid.spacing_mm == pytest.approx((1.4, 1.4, 3.0), rel=0.05)


def test_left_is_left_in_a_case(case):
    for label in WEBER2021:
        x = centre_mm(case.labels == label.index, case.grid)[0]
        assert (x < 0) == (label.hemi == "L"), label.name


def test_a_case_shows_more_signal_in_fat_than_in_air(case):
    muscle = case.in_phase[case.labels > 0].mean()
    assert case.in_phase[:4].mean() < 0.3 * muscle
    check_phase_order(case.in_phase.astype(np.float64), case.out_phase.astype(np.float64))


def test_the_seed_decides_the_case():
    first, again, other = (make_phantom_case(seed, SMALL_MM, SMALL_SHAPE) for seed in (21, 21, 22))
    assert first.grid == again.grid
    for name in ("in_phase", "out_phase", "labels"):
        assert (getattr(first, name) == getattr(again, name)).all()
        assert (getattr(first, name) != getattr(other, name)).any()


def test_varied_cases_differ_in_field_of_view():
    cases = [make_varied_case(seed, (2.8, 2.8, 6.0)) for seed in range(3)]
    assert len({case.grid.shape for case in cases}) == 3
    again = make_varied_case(0, (2.8, 2.8, 6.0))
    assert (again.in_phase == cases[0].in_phase).all()
    assert all((case.labels > 0).any() for case in cases)


def test_muscles_are_thick_enough_to_learn(case):
    """Half the slices of each muscle hold a square of 2 x 2 voxels or more, many times over."""
    for label in WEBER2021:
        mask = case.labels == label.index
        squares = mask[1:, 1:] & mask[:-1, 1:] & mask[1:, :-1] & mask[:-1, :-1]
        count = squares.sum(axis=(0, 1))
        used = mask.any(axis=(0, 1))
        assert np.median(count[used]) >= 15, label.name
