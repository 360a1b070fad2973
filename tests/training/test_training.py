"""The whole way: simulated dataset -> ``train`` -> bundle, log and curve; what the card says."""

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from toy_neck import write_toy_neck
from toy_training import plan_of

import bids_mfi
from bids_mfi.cli.verbs import build_verb_parser, main_verbs
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import load_bundle
from bids_mfi.options import TrainOptions
from bids_mfi.report.curve import draw_curve, lowest_dice
from bids_mfi.synthesis import simulate, sources
from bids_mfi.training.batches import NEW_SEEDS
from bids_mfi.training.model_cards import read_card
from bids_mfi.training.plan import TrainingOrder, choose_card
from bids_mfi.training.run import synthetic_data

INCLUDED = Path(bids_mfi.__file__).parent / "data" / "bundle"
OWN_CARD = "synthetic-neck"
RECIPE = """
steps = 3
validate_every = 2
spacing_mm = [6.0, 6.0, 8.0]
schedule = "constant"
elastic_share = 0.5
elastic_sigma_voxels = 1.0
rotation_lr_degrees = 3.0
validation_share = 0.3
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "bids"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCAN_SHAPE", (50, 40, 16))
        patch.setattr(sources, "SCAN_SPACING_MM", (4.8, 4.8, 7.5))
        simulate.simulate_dataset(folder, participants=3, sessions=1, seed=5)
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def trained(dataset: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("trained") / "out"
    assert main_verbs(arguments(out_dir, dataset, "--recipe", str(recipe), "--name", "mine")) == 0
    return out_dir


def arguments(out_dir: Path, dataset: Path, *more: str) -> list[str]:
    labels = dataset / "derivatives" / "truth"
    return ["train", str(out_dir), "--dataset", str(dataset), "--label-dir", str(labels), *more]


def test_labelled_scans_become_a_bundle(trained: Path) -> None:
    bundle = load_bundle(trained / "bundle")
    assert (bundle.name, bundle.licence) == ("mine", "LicenseRef-unspecified")
    facts = dict(bundle.training)
    assert facts["data"] == (
        "labelled scans of a user: 2 training scans of 2 participants; "
        "1 validation scan of 1 participant"
    )
    assert facts["start"] == "random"
    assert "elastic 0.5" in facts["augmentation"]
    assert len(bundle.table) == 14
    assert {muscle.levels for muscle in bundle.table} == {"all"}
    rows = (trained / "scans.tsv").read_text().splitlines()
    assert sorted(row.split("\t")[2] for row in rows[1:]) == ["training"] * 2 + ["validation"]


def test_curve_is_drawn_and_the_same_after_a_resumed_run(
    trained: Path, dataset: Path, recipe: Path
) -> None:
    before = (trained / "curve.svg").read_bytes()
    assert main_verbs(arguments(trained, dataset, "--recipe", str(recipe), "--name", "mine")) == 0
    assert (trained / "curve.svg").read_bytes() == before
    root = ElementTree.fromstring(before)
    text = " ".join(part.text or "" for part in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "held-out Dice" in text
    assert "lowest muscle" in text


def test_more_steps_go_on_where_it_stopped(
    trained: Path, dataset: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = arguments(trained, dataset, "--recipe", str(recipe), "--name", "mine", "--steps", "4")
    assert main_verbs(more) == 0
    out = capsys.readouterr().out
    assert "step 4/4" in out
    assert "step 2/" not in out


# Of every option that replaces a value of the recipe: its words, and what they mean.
REPLACED = {
    "steps": ("--steps 7", 7),
    "learning_rate": ("--learning-rate 0.01", 0.01),
    "batch_size": ("--batch-size 3", 3),
    "seed": ("--seed 9", 9),
    "spacing_mm": ("--spacing 2 3 4", (2.0, 3.0, 4.0)),
    "normalization": ("--normalization batch", "batch"),
    "validate_every": ("--validate-every 6", 6),
    "patience": ("--patience 5", 5),
    "validation_share": ("--validation-share 0.4", 0.4),
    "bfloat16": ("--bfloat16", True),
    "device": ("--device cpu", "cpu"),
    "workers": ("--workers 2", 2),
}


def recipe_options() -> set[str]:
    """Options of ``train`` with the name of a value of a recipe."""
    training = build_verb_parser().parse_args(["train", "out"])
    return set(vars(training)) & {field.name for field in fields(TrainOptions)}


@pytest.mark.parametrize("name", sorted(recipe_options()))
def test_every_option_reaches_the_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[TrainingOrder] = []

    def keep(order: TrainingOrder, report: object) -> ModelBundle:
        orders.append(order)
        return load_bundle(INCLUDED)

    monkeypatch.setattr("bids_mfi.training.run.run_training", keep)
    words, value = REPLACED[name]
    assert main_verbs(["train", "out", "--recipe", "synthetic", *words.split()]) == 0
    assert main_verbs(["train", "out", "--recipe", "synthetic"]) == 0
    assert getattr(orders[0].options, name) == value
    assert getattr(orders[1].options, name) != value
    assert name in orders[0].stated


def test_tuning_keeps_grid_and_licence(trained: Path, dataset: Path, tmp_path: Path) -> None:
    more = ("--from", str(trained / "bundle"), "--steps", "2", "--validate-every", "2")
    assert main_verbs(arguments(tmp_path / "tuned", dataset, *more)) == 0
    start, tuned = load_bundle(trained / "bundle"), load_bundle(tmp_path / "tuned" / "bundle")
    assert tuned.spacing_mm == start.spacing_mm == (6.0, 6.0, 8.0)
    assert tuned.landmarks == start.landmarks
    assert dict(tuned.training)["start"] == f"mine 0.1.0, sha256 {start.sha256}"
    assert tuned.description.startswith("Tuned from mine 0.1.0. ")
    log = (tmp_path / "tuned" / "log.tsv").read_text().splitlines()
    assert log[1].startswith("0\t0\tn/a\t")


@pytest.mark.parametrize(
    ("more", "status", "finding"),
    [
        (("--from", "BUNDLE", "--spacing", "2", "2", "3"), 3, "spacing_mm (6.0, 6.0, 8.0)"),
        (("--from", "BUNDLE", "--recipe", "weber2021"), 3, "was made with border"),
        (("--from", "nowhere"), 4, "nowhere: no such folder"),
        (("--recipe", "nonesuch"), 3, "--recipe nonesuch"),
        (("--learning-rate", "5"), 3, "learning_rate is 5.0, expected"),
        (("--validation-participants", "77"), 3, "77 has no labelled scan"),
    ],
)
def test_what_does_not_fit_is_refused(
    trained: Path,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    status: int,
    finding: str,
) -> None:
    words = [word.replace("BUNDLE", str(trained / "bundle")) for word in more]
    assert main_verbs(arguments(tmp_path / "out", dataset, *words)) == status
    assert finding in capsys.readouterr().err
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_another_training_leaves_the_folder_as_it_was(
    trained: Path, dataset: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    more = ("--recipe", str(recipe), "--validation-participants", "03", "--seed", "1")
    roles = (trained / "scans.tsv").read_text().splitlines()
    assert not any(row.startswith("sub-03") and "validation" in row for row in roles)
    assert main_verbs(arguments(trained, dataset, *more)) == 5
    assert "belongs to a training with" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_labels_without_a_dataset_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_verbs(["train", str(tmp_path / "out"), "--label-dir", str(tmp_path)]) == 3
    assert "--dataset" in capsys.readouterr().err


def test_dry_run_says_what_would_be_learnt_and_writes_nothing(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_verbs(arguments(tmp_path / "out", dataset, "--dry-run")) == 0
    assert capsys.readouterr().out.startswith("labelled scans: 3; 2 for training, 1")
    assert not (tmp_path / "out").exists()


def test_a_card_is_made_of_name_and_licence_or_read(tmp_path: Path) -> None:
    named = choose_card(TrainingOrder(tmp_path, TrainOptions(), name="x", licence="MIT"), None)
    assert (named.name, named.licence) == ("x", "MIT")
    assert "user" in named.description
    own = choose_card(TrainingOrder(tmp_path, TrainOptions(), card=OWN_CARD), None)
    assert own == read_card(OWN_CARD)
    assert own.name == OWN_CARD


def test_synthetic_scans_are_not_called_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the seeds are others; the anatomies are those learnt from."""
    monkeypatch.setattr("bids_mfi.training.run.VALIDATION_CASES", 1)
    options = TrainOptions(spacing_mm=(8.0, 8.0, 8.0), phantom_share=0.0, device="cpu")
    assert synthetic_data(plan_of(options)).validated_on == NEW_SEEDS
    assert synthetic_data(plan_of(options, [write_toy_neck(tmp_path)])).validated_on == NEW_SEEDS


def test_synthetic_cases_are_decided_by_seed_and_number() -> None:
    first, same, other = (
        synthetic_data(plan_of(TrainOptions(seed=seed, spacing_mm=(5.0, 5.0, 6.0)))).case_at(3)
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.in_phase, same.in_phase)
    assert first.labels.shape != other.labels.shape or not np.array_equal(
        first.labels, other.labels
    )


# ----------------------------------------------------------------------------------- curve


def rows() -> list[dict[str, float]]:
    return [
        {"step": 0, "loss": math.nan, "dice_mean": 0.5, "dice_TR_L": 0.4, "dice_TR_R": 0.6},
        {"step": 10, "loss": 0.3, "dice_mean": 0.7, "dice_TR_L": 0.65, "dice_TR_R": 0.75},
    ]


def test_curve_has_the_same_bytes_for_the_same_rows() -> None:
    assert draw_curve(rows()) == draw_curve(rows())
    changed = rows()
    changed[1]["dice_TR_L"] = 0.2
    assert draw_curve(rows()) != draw_curve(changed)
    assert lowest_dice(changed[1]) == 0.2
    changed[1]["dice_TR_L"] = math.nan  # in no validation case
    assert lowest_dice(changed[1]) == 0.75
    assert draw_curve(changed)


def test_one_row_and_an_unmeasured_loss_can_be_drawn() -> None:
    assert draw_curve(rows()[:1], "Dice on training scans").startswith(b"<?xml")


def test_a_training_without_data_learns_from_phantoms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way from the command line, with few cases."""
    monkeypatch.setattr("bids_mfi.training.run.VALIDATION_CASES", 1)
    monkeypatch.setattr("bids_mfi.training.begin.LANDMARK_CASES", 2)
    words = ["--steps", "1", "--batch-size", "1", "--spacing", "6", "6", "12", "--device", "cpu"]
    assert main_verbs(["train", str(tmp_path / "out"), *words, "--validate-every", "1"]) == 0
    bundle = load_bundle(tmp_path / "out" / "bundle")
    assert bundle.spacing_mm == (6.0, 6.0, 12.0)
    assert len((tmp_path / "out" / "log.tsv").read_text().splitlines()) == 2
