"""Persons and scans that training draws: volumes of people, limits, truth, unchanged simulation."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_neck import toy_rows, write_toy_neck
from toy_training import plan_of

from bids_mfi.cli import main_verbs
from bids_mfi.errors import InputError
from bids_mfi.muscles import WEBER2021
from bids_mfi.options import TrainOptions
from bids_mfi.synthesis import randomised
from bids_mfi.synthesis.anatomical import RANDOMISED, draw_case, make_case, paint, saturate_front
from bids_mfi.synthesis.anatomies import find_anatomy
from bids_mfi.synthesis.cases import upright_grid
from bids_mfi.synthesis.deformation import Girth, draw_deformation, map_points
from bids_mfi.synthesis.labelmap import find_label_maps, load_label_map
from bids_mfi.synthesis.painting import TissueVolume, fill_grid
from bids_mfi.synthesis.protocol import (
    PROTOCOLS,
    acquire,
    coil_sensitivity,
    draw_settings,
    limit_resolution,
)
from bids_mfi.synthesis.randomised import randomise_settings, randomise_subject
from bids_mfi.synthesis.subject import draw_subject
from bids_mfi.synthesis.tissues import N_MUSCLES, Tissue
from bids_mfi.synthesis.volumes import (
    count_surfaces,
    draw_volumes_ml,
    measure_outline,
    muscle_volume_ml,
    solve_growth,
)
from bids_mfi.training.plan import check_vertebrae
from bids_mfi.training.run import synthetic_data
from bids_mfi.vertebrae import NO_MUSCLE, VERTEBRAE

SPACING_MM = (3.0, 3.0, 5.0)


@pytest.fixture(scope="module")
def label_map(tmp_path_factory):
    return load_label_map(write_toy_neck(tmp_path_factory.mktemp("maps")))


@pytest.fixture(scope="module")
def neck_a():
    return load_label_map(find_anatomy("neck-a"))


def subject_of(label_map, seed=0):
    rng = np.random.default_rng(seed)
    return randomise_subject(rng, draw_subject(rng, label_map))


def settings_of(label_map, seed=0, protocol="paper"):
    rng = np.random.default_rng(seed)
    return randomise_settings(rng, draw_settings(rng, PROTOCOLS[protocol]), label_map)


class TestVolumes:
    def test_without_growth_the_volume_is_that_of_the_map(self, label_map):
        counts, still = count_surfaces(label_map), np.zeros(256)
        wasted = label_map.half_thickness_mm
        for muscle in WEBER2021:
            found = muscle_volume_ml(label_map, still, muscle.index, wasted, 0.0)
            assert found == pytest.approx(counts.reference_ml[muscle.index])

    def test_only_the_slices_of_the_levels_count(self, label_map):
        """TR is drawn over 60 slices of 2 mm, and counted at C6: one level of eight slices."""
        reference = count_surfaces(label_map).reference_ml[WEBER2021.of("TR", "L").index]
        assert reference == pytest.approx(18 * 6 * 8 * 0.008, rel=0.15)

    @pytest.mark.parametrize("factor", [0.8, 1.0, 1.2])
    def test_the_growth_that_is_found_gives_the_volume_that_was_wanted(self, neck_a, factor):
        """Surfaces move by whole voxels; what is wanted is less than half a millimetre away."""
        wanted = factor * count_surfaces(neck_a).reference_ml
        wasted = (0.7 * neck_a.half_thickness_mm).astype(np.float32)
        growth = solve_growth(neck_a, wanted, np.zeros(256, np.float32), wasted, 0.0)
        for muscle in WEBER2021:
            args = (neck_a, growth.astype(float), muscle.index, wasted, 0.0)
            low, high = (muscle_volume_ml(*args, extra) for extra in (-0.5, 0.5))
            assert low < wanted[muscle.index] < high
            assert muscle_volume_ml(*args) == pytest.approx(wanted[muscle.index], rel=0.3)

    def test_painted_muscles_have_the_volumes_that_were_wanted(self, label_map):
        still = draw_subject(np.random.default_rng(2), label_map, variation=0.0)
        still = replace(still, plane_mm=0.0, growth_mm=np.zeros(256, np.float32), most_wasted=0.7)
        factor = np.array([1.0] + [0.75 if i % 4 < 2 else 1.2 for i in range(1, 15)])
        wanted = factor * count_surfaces(label_map).reference_ml
        wasted = (0.7 * label_map.half_thickness_mm).astype(np.float32)
        growth = solve_growth(label_map, wanted, still.growth_mm, wasted, 0.0)
        grid = upright_grid((80, 80, 60), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
        volumes = [
            np.bincount(fill_grid(replace(still, growth_mm=g), grid, (2, 2, 2)).labels.flatten(),
                        minlength=15) for g in (still.growth_mm, growth)
        ]  # fmt: skip
        ratio = volumes[1][1:15] / volumes[0][1:15]
        assert np.corrcoef(ratio, factor[1:])[0, 1] > 0.9

    def test_the_mean_of_drawn_volumes_lies_between_map_and_people(self, label_map):
        index = WEBER2021.of("MFSS", "R").index
        own = count_surfaces(label_map).reference_ml[index]
        drawn = [
            draw_volumes_ml(np.random.default_rng(seed), label_map)[index] for seed in range(300)
        ]
        assert min(own, 16.1) * 0.9 < np.mean(drawn) < max(own, 16.1 * 1.12) * 1.1


class TestSubject:
    def test_the_seed_decides(self, label_map):
        first, second = subject_of(label_map, 3), subject_of(label_map, 3)
        assert np.array_equal(first.growth_mm, second.growth_mm)
        assert first.septa == second.septa
        assert not np.array_equal(first.growth_mm, subject_of(label_map, 4).growth_mm)

    def test_values_stay_within_their_limits(self, label_map):
        for seed in range(20):
            subject = subject_of(label_map, seed)
            low, high = randomised.PLANE_MM
            assert low <= subject.plane_mm <= high
            assert 0 <= subject.fascia_share <= 1
            assert (subject.amplitude >= 0).all()
            assert ((subject.fat_percent >= 0) & (subject.fat_percent <= 100)).all()
            assert np.isfinite(subject.growth_mm).all()

    def test_some_persons_have_hardly_any_fat_in_muscle(self, label_map):
        """All muscles of a person lose the same share, of about three persons in ten."""
        kept = []
        for seed in range(60):
            plain = draw_subject(np.random.default_rng(seed), label_map)
            drawn = subject_of(label_map, seed)
            ratios = drawn.muscle_fat_percent[1:] / plain.muscle_fat_percent[1:]
            assert np.ptp(ratios) < 1e-5
            assert drawn.other_fat_percent == pytest.approx(ratios[0] * plain.other_fat_percent)
            kept.append(ratios[0])
        assert 0.15 < np.mean(np.array(kept) < 1) < 0.45
        assert 0 <= min(kept) < 0.15
        assert max(kept) == 1

    def test_no_muscle_is_known_by_its_brightness(self, label_map):
        for seed in range(20):
            muscles = subject_of(label_map, seed).amplitude[1 : N_MUSCLES + 1]
            assert muscles.max() / muscles.min() < 1.5

    def test_water_and_fat_stay_positive(self, label_map):
        grid = upright_grid((60, 60, 20), SPACING_MM, (0.0, 0.0, 0.0))
        for seed in range(4):
            volume = fill_grid(subject_of(label_map, seed), grid, (2, 2, 2))
            assert float(volume.water.min()) > -1e-4
            assert float(volume.fat.min()) >= 0

    def test_fascia_lies_where_muscles_part(self, label_map):
        grid = upright_grid((60, 60, 20), (2.0, 2.0, 3.0), (0.0, -10.0, 0.0))
        subject = replace(subject_of(label_map, 1), plane_mm=1.5, fascia_share=1.0)
        signals = subject.fat_percent.copy()
        signals[Tissue.FASCIA] = 0.0
        lean = fill_grid(replace(subject, fat_percent=signals), grid, (2, 2, 2))
        fatty = fill_grid(replace(subject, fascia_share=0.0), grid, (2, 2, 2))
        assert float(lean.fat.sum()) < float(fatty.fat.sum())

    def test_skull_and_brain_lie_above_the_map(self, label_map):
        top = label_map.affine[2, 3] + label_map.packed.shape[2] * label_map.affine[2, 2]
        grid = upright_grid((40, 40, 8), (4.0, 4.0, 4.0), (0.0, 0.0, float(top) + 30))
        still = draw_subject(np.random.default_rng(2), label_map, variation=0.0)
        capped = fill_grid(replace(still, capped=True), grid, (2, 2, 2))
        plain = fill_grid(still, grid, (2, 2, 2))
        middle = (slice(18, 22), slice(18, 22), slice(None))
        assert float(plain.fat[middle].max()) > 0
        assert float(capped.fat[middle].max()) == 0
        assert float(capped.water[middle].min()) > 0.5


class TestGirth:
    def deformed(self, points, **girth):
        plain = draw_deformation(np.random.default_rng(0), variation=0.0)
        values = {"lateral": 0.0, "behind": 0.0, "front": 0.0, "turn": 0.0} | girth
        found = map_points(
            replace(plain, girth=Girth(**values)), torch.tensor(points, dtype=torch.float32).T
        )
        return found.T.numpy()

    def test_the_spine_stays_where_it_is(self):
        near = [(3.0, -5.0, 20.0), (-10.0, 8.0, -30.0)]
        assert np.allclose(self.deformed(near, lateral=0.5, behind=0.3, turn=0.4), near, atol=1e-4)

    def test_distances_grow_by_the_share_of_each_direction(self):
        points = [(60.0, 0.0, 0.0), (-60.0, 0.0, 0.0), (0.0, -60.0, 5.0), (0.0, 60.0, 5.0)]
        found = self.deformed(points, lateral=0.5, behind=0.25, front=-0.2)
        expected = [(40, 0, 0), (-40, 0, 0), (0, -48, 5), (0, 75, 5)]
        assert np.allclose(found, expected, atol=1e-3)

    def test_sides_that_lie_farther_back_are_found_ahead_on_the_map(self):
        right, left = self.deformed([(60.0, 0.0, 0.0), (-60.0, 0.0, 0.0)], turn=0.3)
        assert right[1] > 10
        assert (right[0], right[1]) == pytest.approx((-left[0], left[1]), abs=1e-4)

    def test_left_and_right_are_treated_alike(self):
        rng = np.random.default_rng(1)
        points = rng.uniform(-70, 70, (50, 3))
        other = points * (-1, 1, 1)
        girth = {"lateral": 0.3, "behind": 0.2, "front": 0.1, "turn": 0.2}
        mirrored = self.deformed(other, **girth) * (-1, 1, 1)
        assert np.allclose(self.deformed(points, **girth), mirrored, atol=1e-3)

    def test_nothing_folds(self):
        """Neighbours stay neighbours, in their order, for the widest and the narrowest girth."""
        step = 0.5
        x, y = np.meshgrid(np.arange(-80, 80, step), np.arange(-80, 80, step), indexing="ij")
        flat = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
        for lateral, behind, front, turn in ((0.6, 0.5, 0.25, 0.45), (-0.3, -0.3, -0.15, -0.17)):
            found = self.deformed(flat, lateral=lateral, behind=behind, front=front, turn=turn)
            u, v = (found[:, axis].reshape(x.shape) for axis in (0, 1))
            (ux, uy), (vx, vy) = np.gradient(u, step), np.gradient(v, step)
            assert (ux * vy - uy * vx).min() > 0.1

    def test_muscles_reach_as_far_as_was_drawn_whatever_the_map(self, label_map, neck_a):
        for anatomy in (label_map, neck_a):
            outline = measure_outline(anatomy)
            girth = subject_of(anatomy, 5).deformation.girth
            scale = subject_of(anatomy, 5).deformation.scale
            reach = outline.lateral_mm * scale[0] * (1 + girth.lateral)
            low, high = randomised.LATERAL_MM
            assert low <= reach <= high


class TestScan:
    @pytest.mark.parametrize("ratio", [1.5, 6.0])
    def test_coils_differ_by_the_ratio_that_was_drawn(self, ratio):
        body = torch.zeros((40, 40, 20), dtype=torch.bool)
        body[10:30, 8:30] = True
        coils = ((0.0, -1.0, 0.0, 0.6), (0.7, -0.5, 0.3, 0.5))
        seen = coil_sensitivity(body, coils, ratio)[body]
        low, high = torch.quantile(seen, torch.tensor([0.01, 0.99]))
        assert float(high / low) == pytest.approx(ratio, rel=0.02)
        assert float(seen.log().mean()) == pytest.approx(0, abs=1e-3)

    def test_a_coil_behind_makes_the_back_bright(self):
        body = torch.ones((20, 20, 10), dtype=torch.bool)
        seen = coil_sensitivity(body, ((0.0, -1.0, 0.0, 0.5),), 4.0)
        assert float(seen[:, 0].mean()) > 2 * float(seen[:, -1].mean())

    def test_resolution_is_lost_in_plane_and_the_mean_is_kept(self, label_map):
        settings = replace(
            draw_settings(np.random.default_rng(0), PROTOCOLS["paper"]),
            blur_voxels=1.0, kept_frequencies=0.6,
        )  # fmt: skip
        volume = torch.rand((24, 24, 5), generator=torch.Generator().manual_seed(0))
        found = limit_resolution(volume, settings)
        assert float(found.std()) < 0.5 * float(volume.std())
        assert torch.allclose(found.mean(dim=(0, 1)), volume.mean(dim=(0, 1)), atol=1e-5)

    def test_top_of_the_range_is_cut_and_air_masked(self, label_map):
        rng = np.random.default_rng(5)
        subject = draw_subject(rng, label_map)
        settings = replace(draw_settings(rng, PROTOCOLS["paper"]), fat_gain=1.0)
        grid = upright_grid((60, 60, 10), SPACING_MM, (0.0, 0.0, 0.0))
        volume = paint(subject, grid, settings, "cpu")
        cut = replace(settings, saturated_share=0.05, masked=True)
        in_phase, out_phase = acquire(rng, volume, cut)
        assert int((in_phase == in_phase.max()).sum()) > 0.03 * in_phase.numel()
        assert float(out_phase.max()) <= float(in_phase.max())
        air = volume.water + volume.fat == 0
        assert float(in_phase[air].max()) == 0

    def test_a_saturation_band_lies_in_front_and_takes_labels_with_it(self):
        grid = upright_grid((4, 60, 4), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
        even = torch.ones(grid.shape)
        found = saturate_front(
            TissueVolume(even, even, torch.full(grid.shape, 9, dtype=torch.uint8)), grid, 20.0
        )
        y_mm = grid.matrix[1, 3] + 2.0 * np.arange(60)
        assert (found.water[:, y_mm < 10] > 0.9).all()
        assert (found.fat[:, y_mm > 30] < 0.1).all()
        assert (found.labels[:, y_mm < 10] == 9).all()
        assert (found.labels[:, y_mm > 30] == 0).all()

    def test_fields_of_view_stay_on_the_map_below(self, label_map):
        bottom = label_map.affine[2, 3]
        for seed in range(40):
            settings = settings_of(label_map, seed)
            low = settings.middle_z_mm - settings.coverage_mm[2] / 2
            assert low >= bottom - randomised.BELOW_MM - 1e-6

    def test_cases_are_decided_by_their_seed(self, label_map):
        first, second = (make_case([label_map], 11, SPACING_MM, RANDOMISED) for _ in range(2))
        assert np.array_equal(first.in_phase, second.in_phase)
        assert np.array_equal(first.labels, second.labels)


@pytest.mark.parametrize("protocol", ["varied", "paper", "randomised"])
def test_only_the_randomised_protocol_randomises(label_map, protocol):
    """Others draw persons and scans as ``simulate`` does."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        subject, settings = draw_case(rng, [label_map], seed, protocol)
        assert (subject.most_wasted == randomised.MOST_WASTED) == (protocol == "randomised")
        assert (settings.middle_z_mm is not None) == (protocol == "randomised")


def test_simulated_persons_are_those_of_earlier_versions(label_map):
    """Digest of the true labels of one person, made with commit 731d2e2."""
    subject = draw_subject(np.random.default_rng(1), label_map)
    grid = upright_grid((60, 60, 20), SPACING_MM, (0.0, 0.0, 0.0))
    labels = fill_grid(subject, grid, (2, 2, 2)).labels.numpy()
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == "fbb5d29ff093a496"


def test_vertebrae_lie_in_their_order_and_in_the_middle(label_map):
    still = draw_subject(np.random.default_rng(2), label_map, variation=0.0)
    grid = upright_grid((60, 60, 70), (2.5, 2.5, 2.0), (0.0, 0.0, 0.0))
    plain = fill_grid(still, grid, (2, 2, 2))
    named = fill_grid(still, grid, (2, 2, 2), vertebrae=True)
    labels = named.labels.numpy()
    muscles = np.where(labels <= N_MUSCLES, labels, 0)
    assert np.array_equal(muscles, plain.labels.numpy())
    centres = [np.argwhere(labels == N_MUSCLES + i).mean(axis=0) for i in range(1, 8)]
    heights = [grid.matrix[2, 3] + 2.0 * centre[2] for centre in centres]
    assert (np.diff(heights) < 0).all()
    truth = {name: (low + high) / 2 for name, low, high in label_map.levels}
    for name, height in zip(VERTEBRAE[1:-1], heights[1:-1], strict=True):
        assert height == pytest.approx(truth[name], abs=3)
    across = [grid.matrix[0, 3] + 2.5 * centre[0] for centre in centres]
    assert np.abs(across).max() < 2


def label_bodies(label_map):
    """Labels of bodies of the map itself, heights of the slices above the origin and the grid."""
    still = draw_subject(np.random.default_rng(2), label_map, variation=0.0)
    grid = upright_grid((60, 60, 110), (2.5, 2.5, 2.0), (0.0, 0.0, 0.0))
    labels = fill_grid(still, grid, (2, 2, 2), vertebrae=True).labels.numpy()
    heights = grid.matrix[2, 3] + 2.0 * np.arange(grid.shape[2])
    return labels, heights


def test_beyond_the_vertebrae_of_a_map_nobody_knows_which_follow(neck_a):
    """Neck A ends in C5: what lies below is unknown, and neither C5 nor no vertebra."""
    labels, heights = label_bodies(neck_a)
    levels = {name: (low, high) for name, low, high in neck_a.levels}
    below = heights < levels["C5"][0] - 1
    numbers = {name: N_MUSCLES + 1 + i for i, name in enumerate(VERTEBRAE)}
    assert (labels[..., below] == NO_MUSCLE).any()
    assert not np.isin(labels[..., below], list(numbers.values())).any()
    for name in ("C3", "C4", "C5"):
        at = heights[(labels == numbers[name]).any(axis=(0, 1))]
        low, high = levels[name]
        assert np.ptp(at) < (high - low) + 6
        assert low - 4 < at.mean() < high + 4
    inside = (heights > levels["C4"][0]) & (heights < levels["C4"][1])
    assert not (labels[..., inside] == NO_MUSCLE).any()
    muscles = labels[..., below]
    assert ((muscles > 0) & (muscles <= N_MUSCLES)).any(), "muscles go on"


def test_a_map_that_names_no_vertebra_teaches_none(tmp_path):
    rows = [
        row | {"name": "bone"} if row["name"].startswith("vertebra") else row for row in toy_rows()
    ]
    labels, _ = label_bodies(load_label_map(write_toy_neck(tmp_path, rows=rows)))
    assert set(np.unique(labels)) <= {*range(N_MUSCLES + 1), NO_MUSCLE}
    assert (labels == NO_MUSCLE).any()


def vertebra_options(**changes):
    return TrainOptions(vertebrae=True, phantom_share=0.0, spacing_mm=SPACING_MM, **changes)


def test_maps_must_name_every_vertebra_that_is_learnt(label_map, tmp_path):
    path = write_toy_neck(tmp_path)
    with pytest.raises(InputError, match="do not name the vertebrae C6, C7, T1, expected C2 to T1"):
        synthetic_data(plan_of(vertebra_options(), [Path("neck-a")]))
    synthetic_data(plan_of(vertebra_options(), [Path("neck-a"), path]))


def test_vertebrae_and_the_papers_levels_are_not_learnt_together():
    with pytest.raises(InputError, match='vertebrae and levels "paper"'):
        check_vertebrae(plan_of(vertebra_options(levels="paper"), [Path("neck-a")]))


class TestAnatomies:
    def test_an_anatomy_of_the_package_is_found_by_its_name(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert find_label_maps([Path("neck-a")]) == [find_anatomy("neck-a")]

    def test_the_command_line_takes_the_name(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert main_verbs(["simulate", "out", "--labels", "neck-a"]) == 3
        assert "neckA_dseg.nii.gz: has no vertebrae C6" in capsys.readouterr().err

    def test_a_file_of_that_name_goes_first(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        own = write_toy_neck(tmp_path / "neck-a")
        assert find_label_maps([Path("neck-a")]) == [own]

    def test_an_unknown_name_is_refused_with_those_that_there_are(self):
        with pytest.raises(InputError, match="neck-a"):
            find_label_maps([Path("neck-z")])
        with pytest.raises(InputError, match="neck-a"):
            find_anatomy("neck-z")

    def test_neck_a_holds_all_muscles_on_their_sides(self, neck_a):
        assert [m.index for m in neck_a.table] == list(range(1, 15))
        labels = neck_a.tissues[neck_a.packed.numpy() & 255]
        for muscle in WEBER2021:
            x_mm = np.argwhere(labels == muscle.index)[:, 0].mean() * neck_a.affine[0, 0]
            x_mm += neck_a.affine[0, 3]
            assert (x_mm > 0) == (muscle.hemi == "R")

    def test_neck_a_has_the_volumes_that_were_drawn(self, neck_a):
        """Right and left, ml, of the nine slices, as stated with the drawing."""
        drawn = {
            "MFSS": (13.9, 14.8), "LC": (5.9, 6.2), "SPCap": (21.3, 19.1), "SSCap": (23.1, 23.2),
            "SCM": (26.1, 24.1), "TR": (5.8, 7.8), "LS": (11.9, 12.4),
        }  # fmt: skip
        labels = neck_a.tissues[neck_a.packed.numpy() & 255]
        voxel_ml = count_surfaces(neck_a).voxel_ml
        for name, volumes in drawn.items():
            for side, ml in zip("RL", volumes, strict=True):
                found = (labels == WEBER2021.of(name, side).index).sum() * voxel_ml
                # Between the first and the last slice there are eight gaps of the nine.
                assert found == pytest.approx(ml, rel=0.2)

    def test_levels_of_neck_a_run_from_the_top_down(self, neck_a):
        assert [level for level, _, _ in neck_a.levels] == ["C1", "C2", "C3", "C4", "C5"]
        middles = [(low + high) / 2 for _, low, high in neck_a.levels]
        assert (np.diff(middles) < 0).all()

    def test_its_licence_lies_beside_it(self):
        folder = find_anatomy("neck-a").parent
        assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
        assert "not a Dixon scan" in (folder / "README.md").read_text(encoding="utf-8")
