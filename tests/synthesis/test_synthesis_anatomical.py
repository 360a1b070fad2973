"""Scans of label maps, for training and as BIDS datasets: seeds, grids, truth, levels, refusals."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_neck import toy_rows, write_toy_neck
from toy_training import plan_of

from bids_mfi.cli.verbs import main_verbs
from bids_mfi.errors import InputError
from bids_mfi.grid import reorient, same_grid
from bids_mfi.images import read_image, read_labels
from bids_mfi.measure.dixon import fat_and_water
from bids_mfi.muscles import PAPER_LEVELS, WEBER2021
from bids_mfi.network.bundle_files import load_bundle, write_bundle
from bids_mfi.network.engine_torch import TorchEngine
from bids_mfi.network.loaded_networks import load_network
from bids_mfi.network.segment import label_channels
from bids_mfi.options import TrainOptions
from bids_mfi.synthesis import anatomical, protocol
from bids_mfi.synthesis.anatomical import (
    choose_subsamples,
    coarsen,
    draw_grid,
    make_case,
    resample_case,
)
from bids_mfi.synthesis.labelmap import load_label_map
from bids_mfi.synthesis.protocol import PROTOCOLS, draw_settings
from bids_mfi.synthesis.sources import AnatomySource, draw_person
from bids_mfi.synthesis.subject import draw_subject
from bids_mfi.training.plan import check_relabelled
from bids_mfi.training.run import (
    MOST_CASES,
    TRAINING_SEED,
    VALIDATION_SEED,
    synthetic_data,
)

SPACING_MM = (4.0, 4.0, 6.0)


@pytest.fixture(scope="module")
def label_map(tmp_path_factory):
    return write_toy_neck(tmp_path_factory.mktemp("maps"))


def enlarge_voxels(patch):
    """Few large voxels over the same fields of view: the same code, faster."""
    coarse = {
        name: replace(p, in_plane_mm=(3.0, 3.4), slice_mm=(5.0, 6.0), noise=(0.01, 0.02))
        for name, p in PROTOCOLS.items()
    }
    for name, value in coarse.items():
        patch.setitem(protocol.PROTOCOLS, name, value)


@pytest.fixture(autouse=True)
def coarse_protocols(monkeypatch):
    enlarge_voxels(monkeypatch)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, label_map):
    folder = tmp_path_factory.mktemp("simulated") / "bids"
    with pytest.MonkeyPatch.context() as patch:
        enlarge_voxels(patch)
        arguments = ["--participants", "2", "--sessions", "2", "--seed", "7"]
        assert main_verbs(["simulate", str(folder), "--labels", str(label_map), *arguments]) == 0
    return folder


def read_tsv(path: Path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


# ----------------------------------------------------------------------------- training cases


def test_a_case_is_decided_by_its_seed(label_map):
    first, again, other = (
        make_case([load_label_map(label_map)], seed, SPACING_MM) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.in_phase, again.in_phase)
    assert np.array_equal(first.labels, again.labels)
    assert first.grid == again.grid
    assert first.in_phase.shape != other.in_phase.shape or not np.array_equal(
        first.in_phase, other.in_phase
    )


def test_a_case_is_on_the_networks_grid_and_shows_the_neck(label_map):
    for seed in range(6):
        case = make_case([load_label_map(label_map)], seed, SPACING_MM)
        assert case.grid.shape == case.labels.shape == case.in_phase.shape == case.out_phase.shape
        assert case.grid.spacing_mm == pytest.approx(SPACING_MM, rel=0.12)
        assert case.grid.axcodes == ("R", "A", "S")
        assert case.in_phase.dtype == np.float32
        present = np.unique(case.labels)
        assert set(present) <= set(range(15))
        assert len(present) > 8
        right, left = ((np.argwhere(case.labels == i)[:, 0]).mean() for i in (9, 10))
        assert right > left


def test_coarse_axes_of_a_scan_are_resampled(label_map):
    """Labels and images keep their place in the world."""
    rng = np.random.default_rng(3)
    subject = draw_subject(rng, load_label_map(label_map))
    settings = replace(draw_settings(rng, PROTOCOLS["paper"]), spacing_mm=(4.0, 4.0, 9.0))
    scan = anatomical.make_scan(rng, subject, settings)
    case = resample_case(scan, (4.0, 4.0, 3.0))
    assert case.grid.shape[2] == pytest.approx(3 * scan.grid.shape[2], abs=1)
    for index in (9, 12):
        before, after = (
            (grid.matrix @ np.append(np.argwhere(labels == index).mean(axis=0), 1))[:3]
            for grid, labels in ((scan.grid, scan.body.labels), (case.grid, case.labels))
        )
        assert after == pytest.approx(before, abs=1.0)


def test_finer_scans_have_the_noise_of_their_mean(label_map):
    rng = np.random.default_rng(0)
    subject = draw_subject(rng, load_label_map(label_map))
    settings = replace(
        draw_settings(rng, PROTOCOLS["paper"]), spacing_mm=(2.0, 2.0, 6.0), noise=0.1, scale=100.0,
        coverage_mm=(300.0, 200.0, 110.0), ghost=0.0, motion_voxels=0.0, field=(0.0,) * 9,
    )  # fmt: skip
    scan = anatomical.make_scan(np.random.default_rng(1), subject, settings, "all", SPACING_MM)
    air = scan.in_phase[:8]
    assert scan.grid.spacing_mm == pytest.approx(SPACING_MM)
    assert float(air.mean()) == pytest.approx(10 / 2 * np.sqrt(np.pi / 2), rel=0.05)


def test_fields_of_view_cover_the_neck_behind_the_spine():
    for name in PROTOCOLS:
        for seed in range(5):
            rng = np.random.default_rng(seed)
            settings = replace(draw_settings(rng, PROTOCOLS[name]), turn_degrees=(0.0, 0.0, 0.0))
            grid = draw_grid(rng, settings)
            low, high = grid.matrix[:3, 3], (grid.matrix @ [*(n - 1 for n in grid.shape), 1])[:3]
            assert low[0] < -40
            assert high[0] > 40
            assert -115 < low[1] < -68
            assert high[1] > 5
            assert low[2] < -25
            assert high[2] > 20


def test_distances_of_a_coarser_grid_are_in_its_voxels():
    settings = replace(
        draw_settings(np.random.default_rng(0), PROTOCOLS["paper"]), spacing_mm=(0.7, 0.7, 3.0),
        chemical_shift_voxels=0.8, readout_axis=0, motion_voxels=1.0, phase_axis=1, noise=0.1,
    )  # fmt: skip
    grid = draw_grid(np.random.default_rng(0), settings, (1.4, 1.4, 3.0))
    seen = coarsen(settings, grid)
    assert seen.chemical_shift_voxels == pytest.approx(0.4)
    assert seen.motion_voxels == pytest.approx(0.5)
    assert seen.noise == pytest.approx(0.05)
    assert coarsen(settings, draw_grid(np.random.default_rng(0), settings)) == settings


def clean_scan(label_map, name, **changes):
    """Scan one person without noise, movement, chemical shift, field or obliquity."""
    rng = np.random.default_rng(0)
    subject = replace(draw_subject(rng, load_label_map(label_map)), metal=None)
    still = {
        "noise": 0.0, "ghost": 0.0, "motion_voxels": 0.0, "chemical_shift_voxels": 0.0,
        "turn_degrees": (0.0, 0.0, 0.0), "field": (0.0,) * 9,
    }  # fmt: skip
    settings = replace(draw_settings(rng, PROTOCOLS[name]), **(still | changes))
    return anatomical.make_scan(np.random.default_rng(1), subject, settings)


def mfi_errors(scan):
    """MFI of the images less that of the truth, points, of lean muscles with the true labels."""
    fat, water = fat_and_water(scan.in_phase.astype(float), scan.out_phase.astype(float))
    errors = []
    for muscle in WEBER2021:
        inside = scan.body.labels == muscle.index
        true = 100 * scan.body.fat[inside].sum() / (scan.body.fat + scan.body.water)[inside].sum()
        if inside.sum() > 50 and true < 25:
            seen = 100 * fat[inside].sum() / (fat + water)[inside].sum()
            errors.append(seen - true)
    assert len(errors) > 8
    return np.array(errors)


def test_truth_holds_the_scans_t1_weighting(label_map):
    """Brighter fat is as much more fat in the true map; the images show it too."""
    slow = {"water_t2star_ms": 1e6, "fat_t2star_ms": 1e6}
    dull, bright = (clean_scan(label_map, "paper", fat_gain=gain, **slow) for gain in (0.65, 1.5))
    assert bright.body.fat == pytest.approx(dull.body.fat * (1.5 / 0.65), rel=1e-4)
    assert np.array_equal(bright.body.water, dull.body.water)
    for scan in (dull, bright):
        assert np.abs(mfi_errors(scan)).max() < 3
        assert abs(np.median(mfi_errors(scan))) < 1.5


def test_decay_adds_fat_where_the_out_of_phase_echo_is_the_later_one(label_map):
    """What the truth's README says: 1 to 2 points more, or less, by the order of the echoes."""
    later, earlier = (
        np.median(mfi_errors(clean_scan(label_map, name, fat_gain=1.0)))
        for name in ("paper", "axial-3T")
    )
    assert 0 < later < 3
    assert -4 < earlier < 0


def test_subsamples_by_size():
    assert choose_subsamples((0.5, 1.4, 3.0)) == (2, 2, 2)
    assert choose_subsamples((1.0, 5.0, 9.0)) == (2, 4, 4)


@pytest.mark.parametrize("share", [0.0, 1.0, 0.5])
def test_phantom_and_label_maps_are_mixed(label_map, share, monkeypatch):
    made = {"phantom": 0, "anatomy": 0}

    def count(kind):
        def make(*_, **__):
            made[kind] += 1

        return make

    monkeypatch.setattr("bids_mfi.training.run.make_varied_case", count("phantom"))
    monkeypatch.setattr("bids_mfi.synthesis.anatomical.make_case", count("anatomy"))
    data = synthetic_data(plan_of(TrainOptions(phantom_share=share, device="cpu"), [label_map]))
    for number in range(40):
        data.case_at(number)
    total = made["phantom"] + made["anatomy"]
    assert made["phantom"] / total == pytest.approx(share, abs=0.2 if share == 0.5 else 0)
    assert "sha256" in dict(data.ranges)["data"]
    assert "no scan of a person" in dict(data.ranges)["data"]


def test_a_pair_differs_in_its_noise_alone(label_map):
    """Muscle is noisier in the second by what was drawn; labels and grid are the same."""
    maps = [load_label_map(label_map)]
    for seed in range(2):
        (quiet, noisy), again = (
            anatomical.make_noise_pair(maps, seed, SPACING_MM) for _ in range(2)
        )
        assert np.array_equal(noisy.in_phase, again[1].in_phase)
        assert quiet.grid == noisy.grid
        assert np.array_equal(quiet.labels, noisy.labels)
        strong = np.random.default_rng([seed, 4]).uniform(*anatomical.STRONG_NOISE)
        muscle = quiet.labels > 0
        signal = np.median(quiet.in_phase[muscle])
        difference = (noisy.in_phase - quiet.in_phase)[muscle].std() / signal
        assert 0.25 * strong < difference < 0.9 * strong  # voxels are averaged by resampling


def test_air_of_a_pair_keeps_the_floor_of_magnitudes(label_map, monkeypatch):
    """Resampled magnitudes, not averaged complex signals: 1.25 standard deviations of noise."""
    monkeypatch.setattr(anatomical, "STRONG_NOISE", (0.3, 0.3))
    fine = replace(PROTOCOLS["paper"], in_plane_mm=(2.0, 2.0), slice_mm=(3.0, 3.0))
    monkeypatch.setattr(anatomical, "draw_protocol", lambda *_: fine)
    quiet, noisy = anatomical.make_noise_pair([load_label_map(label_map)], 1, SPACING_MM)
    signal = np.median(quiet.in_phase[quiet.labels > 0])
    air = quiet.in_phase < 0.05 * signal
    assert noisy.in_phase[air].mean() / (0.3 * signal) == pytest.approx(1.25, rel=0.2)


@pytest.mark.parametrize("share", [0.0, 1.0, 0.5])
def test_the_share_of_randomised_scans_is_the_options(label_map, share, monkeypatch):
    protocols = []
    monkeypatch.setattr(
        anatomical, "make_case", lambda maps, seed, mm, name, *_: protocols.append(name)
    )
    options = TrainOptions(phantom_share=0.0, randomised_share=share, device="cpu")
    data = synthetic_data(plan_of(options, [label_map]))
    for number in range(40):
        data.case_at(number)
    found = np.mean([name == anatomical.RANDOMISED for name in protocols])
    assert found == pytest.approx(share, abs=0.2 if share == 0.5 else 0)
    assert set(protocols) <= {anatomical.RANDOMISED, "varied"}
    assert dict(data.ranges)["randomised"].startswith(f"{100 * share:g} % of these scans")


def relabelled_options(share):
    return TrainOptions(
        relabelled_share=share,
        phantom_share=0.0,
        randomised_share=0.0,
        spacing_mm=SPACING_MM,
        device="cpu",
    )


def test_noisy_scans_carry_what_the_bundle_says_of_their_quiet_twins(
    label_map, tiny_bundle, monkeypatch
):
    """What is validated on carries the truth."""
    monkeypatch.setattr("bids_mfi.training.run.VALIDATION_CASES", 1)
    bundle, maps = load_bundle(tiny_bundle), [load_label_map(label_map)]
    data = synthetic_data(plan_of(relabelled_options(1.0), [label_map], bundle))
    case = data.case_at(2)
    quiet, noisy = anatomical.make_noise_pair(maps, TRAINING_SEED + MOST_CASES + 2, SPACING_MM)
    engine = TorchEngine(load_network(bundle, torch.device("cpu")))
    given = label_channels(np.stack([quiet.in_phase, quiet.out_phase]), bundle, engine)
    assert np.array_equal(case.in_phase, noisy.in_phase)
    assert np.array_equal(case.out_phase, noisy.out_phase)
    assert np.array_equal(case.labels, given)
    assert not np.array_equal(case.labels, quiet.labels)
    truth = make_case(maps, VALIDATION_SEED, SPACING_MM)
    assert np.array_equal(data.validation[0].labels, truth.labels)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_scans_learnt_from_is_relabelled(label_map, tiny_bundle, monkeypatch, share):
    pair = anatomical.make_noise_pair([load_label_map(label_map)], 1, SPACING_MM)
    zeros = np.zeros_like(pair[0].labels)
    monkeypatch.setattr(anatomical, "make_noise_pair", lambda *_: pair)
    monkeypatch.setattr(anatomical, "make_case", lambda *_, **__: pair[0])
    monkeypatch.setattr("bids_mfi.training.run.label_quietly", lambda *_: zeros)
    data = synthetic_data(plan_of(relabelled_options(share), [label_map], load_bundle(tiny_bundle)))
    labels = [data.case_at(number).labels for number in range(60)]
    relabelled = sum(not found.any() for found in labels) / 60
    assert relabelled == pytest.approx(share, abs=0.2 if share == 0.5 else 0)
    assert all(case.labels.any() for case in data.validation)
    said = dict(data.ranges).get("relabelled", "none")
    assert said.startswith({0.0: "none", 0.5: "50 %", 1.0: "100 %"}[share])


def test_muscles_that_are_not_learnt_are_not_relabelled(tiny_bundle, tmp_path, monkeypatch):
    """The bundle knows them; the training is to forget them."""
    monkeypatch.setattr("bids_mfi.training.run.VALIDATION_CASES", 1)
    rows = [{**r, "name": r["name"].replace("trapezius", "other")} for r in toy_rows()]
    path = write_toy_neck(tmp_path, rows=rows)
    bundle = load_bundle(tiny_bundle)
    data = synthetic_data(plan_of(relabelled_options(1.0), [path], bundle))
    known = {muscle.index for muscle in data.table}
    assert len(known) == 12
    found = set(np.unique(data.case_at(2).labels).tolist())
    assert found - {0}
    assert found <= {0, *known}


def test_what_relabels_is_part_of_the_training(label_map, tiny_bundle, monkeypatch):
    """A stopped training is not resumed with mirror images where there were none."""
    monkeypatch.setattr("bids_mfi.training.run.VALIDATION_CASES", 1)
    bundle = load_bundle(tiny_bundle)
    told = [
        dict(synthetic_data(plan_of(relabelled_options(0.5), [label_map], start)).ranges)[
            "relabelled"
        ]
        for start in (bundle, replace(bundle, mirrored=True))
    ]
    assert told[0] != told[1]
    assert "mirror image" in told[1]


def test_relabelling_needs_a_bundle_and_label_maps(label_map, tiny_bundle, tmp_path, capsys):
    out, whole = tmp_path / "out", load_bundle(tiny_bundle)
    levels = write_bundle(
        replace(whole, folder=tmp_path / "levels", table=WEBER2021),
        load_network(whole, torch.device("cpu")).state_dict(), "CC0\n",
    ).folder  # fmt: skip
    maps, start = ["--label-map", str(label_map)], ["--from", str(tiny_bundle)]
    for words, asked, finding in (
        (start, "all", "no label map is given"),
        (maps, "all", "no bundle to start from is given"),
        ([*maps, *start], "paper", "levels other than"),
        ([*maps, "--from", str(levels)], "all", "labels muscles only at some levels"),
    ):
        recipe = tmp_path / "own.toml"
        recipe.write_text(f'relabelled_share = 0.5\nphantom_share = 0.0\nlevels = "{asked}"\n')
        assert main_verbs(["train", str(out), "--recipe", str(recipe), *words]) == 3
        error = capsys.readouterr().err
        assert "relabelled_share is 0.5" in error
        assert finding in error
    assert not out.exists()
    imported = replace(whole, inference="niftynet")
    with pytest.raises(InputError, match="converted from NiftyNet"):
        check_relabelled(plan_of(relabelled_options(0.5), [label_map], imported))


def test_phantom_without_levels_is_refused_beside_scans_with_levels(label_map, monkeypatch):
    with pytest.raises(InputError, match=r"phantom_share is 0\.25"):
        synthetic_data(plan_of(TrainOptions(levels="paper", device="cpu"), [label_map]))
    monkeypatch.setattr("bids_mfi.training.run.VALIDATION_CASES", 1)
    options = TrainOptions(levels="paper", phantom_share=0.0, spacing_mm=SPACING_MM, device="cpu")
    data = synthetic_data(plan_of(options, [label_map]))
    assert {m.muscle: m.levels for m in data.table} == PAPER_LEVELS


# ------------------------------------------------------------------------------------ dataset


def test_dataset_is_valid_bids(dataset):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    for folder in (dataset, dataset / "derivatives" / "truth"):
        run = subprocess.run(
            [validator, folder, "--format", "json"], capture_output=True, text=True
        )
        issues = json.loads(run.stdout)["issues"]["issues"]
        assert [i for i in issues if i["severity"] == "error"] == []
    description = json.loads((dataset / "dataset_description.json").read_text())
    assert "License" not in description  # it is that of the label map, which is not known
    assert "neck_dseg.nii.gz" in (dataset / "README.md").read_text()


def test_images_truth_and_sidecars_belong_together(dataset):
    raws = sorted(dataset.glob("sub-*/ses-*/anat/*echo-1_MEGRE.nii.gz"))
    assert len(raws) == 4
    times = [
        json.loads(next(raw.parent.glob(f"*echo-{n}_MEGRE.json")).read_text())["EchoTime"]
        for raw in raws
        for n in (1, 2)
    ]
    assert all(first < second for first, second in zip(times[::2], times[1::2], strict=True))
    for raw in raws:
        mean = {}
        for echo in raw.parent.glob("*_MEGRE.json"):
            phase = json.loads(echo.read_text())["ImageType"][-1]
            mean[phase] = read_image(echo.with_name(echo.stem + ".nii.gz"))[0].mean()
        assert mean["IN_PHASE"] > 1.1 * mean["OUT_PHASE"]
    for raw in raws:
        image, grid = read_image(raw)
        stem = raw.name.removesuffix("_echo-1_MEGRE.nii.gz")
        truth = dataset / "derivatives" / "truth" / raw.parent.relative_to(dataset)
        labels, label_grid = read_labels(truth / f"{stem}_seg-muscle_dseg.nii.gz")
        assert same_grid(grid, label_grid)
        assert image[labels > 0].mean() > 5 * np.percentile(image, 5)
        assert np.percentile(image[labels > 0], 5) > np.percentile(image, 20)
        sidecar = json.loads(raw.with_name(raw.name.replace(".nii.gz", ".json")).read_text())
        plane = PROTOCOLS[sidecar["ProtocolName"]].plane
        last = {"axial": "SI", "coronal": "AP", "sagittal": "LR"}[plane]
        assert grid.axcodes[2] in last
        assert sidecar["SliceThickness"] == pytest.approx(grid.spacing_mm[2], abs=0.01)


def test_sources_of_the_truth_name_the_in_phase_image_first(dataset):
    """As the sidecars of run.py do; evaluate takes the two images by their place."""
    sidecars = sorted((dataset / "derivatives" / "truth").rglob("*_mfi.json"))
    first_echoes = set()
    for path in sidecars:
        sources = json.loads(path.read_text())["Sources"]
        images = [dataset / source.removeprefix("bids:raw:") for source in sources]
        told = [
            json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
            for image in images
        ]
        assert [one["ImageType"][-1] for one in told] == ["IN_PHASE", "OUT_PHASE"]
        first_echoes |= {"echo-1" in sources[0]}
    assert first_echoes == {True, False}  # either echo is in phase somewhere in this dataset


def test_truth_is_restricted_to_the_papers_levels(dataset):
    table = read_tsv(dataset / "derivatives" / "truth" / "seg-muscle_dseg.tsv")
    assert {row["muscle"]: row["levels"] for row in table} == PAPER_LEVELS
    paths = sorted((dataset / "derivatives" / "truth").rglob("*_dseg.nii.gz"))
    for path in paths:
        labels, grid = reorient(*read_labels(path), ("R", "A", "S"))
        slices = {
            muscle.muscle: np.flatnonzero((labels == muscle.index).any(axis=(0, 1)))
            for muscle in WEBER2021
        }
        assert len(slices["TR"]) * 2 < len(slices["LC"])  # C6 only, C3 to C6
        assert set(slices["TR"]) <= set(slices["LS"]) <= set(slices["LC"])
        assert slices["SSCap"].max() > slices["MFSS"].max()  # C3 is above C4
        assert grid.spacing_mm[2] > 0


def test_true_table_is_that_of_the_labels(dataset):
    for path in sorted((dataset / "derivatives" / "truth").rglob("*_mfi.tsv")):
        labels, grid = read_labels(path.with_name(path.name.replace("_mfi.tsv", "_dseg.nii.gz")))
        for row in read_tsv(path):
            voxels = int((labels == int(row["index"])).sum())
            assert int(row["voxels"]) == voxels
            if voxels:
                assert float(row["volume_ml"]) == pytest.approx(voxels * grid.voxel_volume_ml)
                assert 0 < float(row["mfi_percent"]) < 95
            else:
                assert row["mfi_percent"] == row["volume_ml"] == "n/a"


def test_same_seed_same_bytes(dataset, label_map, tmp_path):
    again = tmp_path / "again"
    arguments = ["--participants", "1", "--sessions", "2", "--seed", "7"]
    main_verbs(["simulate", str(again), "--labels", str(label_map), *arguments])
    for path in sorted((again / "sub-01").rglob("*.nii.gz")):
        assert path.read_bytes() == (dataset / path.relative_to(again)).read_bytes()


def test_sessions_show_one_person_and_participants_differ(label_map):
    source = AnatomySource([label_map], "paper", "all")
    first, second = source.scans(draw_person(1, 1), 2, (1, 1))
    (other,) = source.scans(draw_person(1, 2), 1, (1, 2))
    volumes = [
        np.bincount(s.body.labels.ravel(), minlength=15)[9:11] * s.grid.voxel_volume_ml
        for s in (first, second, other)
    ]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.35)
    assert not np.array_equal(first.in_phase, second.in_phase)
    assert first.facts.protocol == second.facts.protocol == other.facts.protocol == "paper"


def mean_area_mm2(scan):
    """Of all muscles, over the slices that hold any: how far the scan reaches does not matter."""
    labels, grid = reorient(scan.body.labels, scan.grid, ("R", "A", "S"))
    held = (labels > 0).sum(axis=(0, 1))
    return held[held > 0].mean() * grid.spacing_mm[0] * grid.spacing_mm[1]


def test_variation_is_that_of_the_shape(label_map):
    """Without it all men are of one shape; with more of it they differ more."""
    spread = []
    for variation in (0.0, 1.6):
        source = AnatomySource([label_map], "paper", "all", variation=variation)
        assert f"Variation of shape between persons: {variation:g}." in source.description
        scans = [next(source.scans(draw_person(1, n), 1, (1, n))) for n in (2, 4, 6)]  # men
        areas = [mean_area_mm2(scan) for scan in scans]
        spread.append(np.std(areas) / np.mean(areas))
    assert spread[0] < 0.5 * spread[1]


REFUSED = {
    "protocol alone": (["--protocol", "paper"], "need label maps"),
    "levels alone": (["--levels", "all"], "need label maps"),
    "variation alone": (["--variation", "1"], "need label maps"),
    "unknown protocol": (["--labels", "MAP", "--protocol", "ute"], "expected varied or one of"),
    "no such map": (["--labels", "nowhere.nii.gz"], "no such file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_on_the_command_line(label_map, tmp_path, capsys, case):
    arguments, message = REFUSED[case]
    given = [str(label_map) if a == "MAP" else a for a in arguments]
    assert main_verbs(["simulate", str(tmp_path / "out"), *given]) == 3
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_map_without_vertebrae_needs_all_levels(tmp_path, capsys):
    rows = [{**row, "name": row["name"].replace("vertebra_", "bone_")} for row in toy_rows()]
    path = write_toy_neck(tmp_path / "maps", rows=rows)
    out = tmp_path / "out"
    assert main_verbs(["simulate", str(out), "--labels", str(path), "--participants", "1"]) == 3
    error = capsys.readouterr().err
    assert "has no vertebrae C3, C4, C5, C6" in error
    assert "levels all" in error
    arguments = ["--levels", "all", "--participants", "1", "--protocol", "paper"]
    assert main_verbs(["simulate", str(out), "--labels", str(path), *arguments]) == 0
    labels, _ = read_labels(next((out / "derivatives").rglob("*_dseg.nii.gz")))
    assert len(np.unique(labels)) == 15


def test_training_at_levels_needs_vertebrae_too(tmp_path):
    rows = [{**row, "name": row["name"].replace("vertebra_", "bone_")} for row in toy_rows()]
    path = write_toy_neck(tmp_path / "maps", rows=rows)
    options = TrainOptions(levels="paper", phantom_share=0.0, device="cpu")
    with pytest.raises(InputError, match="has no vertebrae C3, C4, C5, C6"):
        synthetic_data(plan_of(options, [path]))


def test_maps_of_different_muscles_are_refused(label_map, tmp_path):
    rows = [
        {**r, "name": "left_other_muscle"} if r["name"] == "left_trapezius" else r
        for r in toy_rows()
    ]
    other = write_toy_neck(tmp_path, "other", rows=rows)
    with pytest.raises(InputError, match="does not have the same muscles"):
        AnatomySource([label_map, other])


def test_unrecognised_labels_are_named(tmp_path, capsys):
    rows = [{**r, "name": "gubbins"} if r["index"] == "24" else r for r in toy_rows()]
    path = write_toy_neck(tmp_path / "maps", rows=rows)
    arguments = ["--participants", "1", "--protocol", "paper"]
    main_verbs(["simulate", str(tmp_path / "out"), "--labels", str(path), *arguments])
    assert "treated as soft tissue: gubbins" in capsys.readouterr().err


@pytest.mark.slow
def test_training_on_label_maps_learns_and_resumes(label_map, tmp_path, monkeypatch, capsys):
    """Ten steps of the whole way: the loss falls, and a stop in the middle changes nothing."""
    monkeypatch.setattr("bids_mfi.training.run.VALIDATION_CASES", 1)
    monkeypatch.setattr("bids_mfi.training.begin.LANDMARK_CASES", 2)
    options = ["--spacing", "5", "5", "8", "--validate-every", "5", "--device", "cpu"]
    common = ["--label-map", str(label_map), "--steps", "10", *options]
    assert main_verbs(["train", str(tmp_path / "whole"), *common]) == 0
    rows = read_tsv(tmp_path / "whole" / "log.tsv")
    assert float(rows[-1]["loss"]) < 0.9 * float(rows[0]["loss"])
    (tmp_path / "stopped").mkdir()
    stop_after(monkeypatch, 5)
    with pytest.raises(Stopped):
        main_verbs(["train", str(tmp_path / "stopped"), *common])
    stop_after(monkeypatch, None)
    assert main_verbs(["train", str(tmp_path / "stopped"), *common]) == 0
    weights = [
        (tmp_path / name / "bundle" / "models" / "model.pt").read_bytes()
        for name in ("whole", "stopped")
    ]
    assert weights[0] == weights[1]
    licence = (tmp_path / "whole" / "bundle" / "LICENSE").read_text()
    assert "CC0" not in licence  # the label map's licence binds the weights


class Stopped(Exception):
    """What a kill would be."""


def stop_after(monkeypatch, step):
    from bids_mfi.training import loop as train

    original = getattr(stop_after, "original", train.take_step)
    stop_after.original = original

    def take_step(progress, *arguments):
        if step is not None and progress.step >= step:
            raise Stopped
        return original(progress, *arguments)

    monkeypatch.setattr(train, "take_step", take_step)
