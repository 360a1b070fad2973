"""The training loop on tiny cases: it learns, resumes exactly, and leaves a bundle behind."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from toy_training import train

from bids_mfi.errors import BundleError, InputError, MFIError, OutputError
from bids_mfi.grid import Grid
from bids_mfi.muscles import WEBER2021, MuscleTable
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import load_bundle, write_bundle
from bids_mfi.network.dense_vnet import DenseVNet
from bids_mfi.network.engine_torch import TorchEngine
from bids_mfi.network.loaded_networks import load_network
from bids_mfi.network.logits import segment_channels
from bids_mfi.options import TrainOptions
from bids_mfi.training.augment import mirror
from bids_mfi.training.batches import (
    HELD_OUT,
    LEARNT_FROM,
    NEW_SEEDS,
    BatchMaker,
    TrainingData,
    channels_of,
    draw_window,
    iterate_batches,
    make_batch,
    prepare_case,
)
from bids_mfi.training.begin import draft_bundle
from bids_mfi.training.bundle_card import custom_card
from bids_mfi.training.checks import BUNDLE, LOG, check_table, describe_lacking, describe_network
from bids_mfi.training.describe import describe_windows
from bids_mfi.training.loop import LOSS_FUNCTIONS, rate_factor
from bids_mfi.training.plan import TrainingOrder, check_stated, settle_options
from bids_mfi.training.recipes import read_recipe, recipe_keys
from bids_mfi.training.state import CHECKPOINT, Progress
from bids_mfi.training.validation import has_plateaued

TABLE = MuscleTable(WEBER2021.muscles[:2])
LANDMARKS = (tuple(float(value) for value in range(7)),) * 2
AFFINE = ((1.4, 0.0, 0.0, 0.0), (0.0, 1.4, 0.0, 0.0), (0.0, 0.0, 3.0, 0.0), (0.0, 0.0, 0.0, 1.0))
CPU_DEVICE = torch.device("cpu")
OPTIONS = TrainOptions(steps=4, learning_rate=2e-3, validate_every=2, seed=7, device="cpu")


@dataclass(frozen=True)
class TinyCase:
    in_phase: NDArray[np.float32]
    out_phase: NDArray[np.float32]
    labels: NDArray[np.int16]
    grid: Grid


def tiny_case(number: int, shape: tuple[int, int, int] = (24, 20, 8)) -> TinyCase:
    """A body with one dark box at the right (label 1) and one at the left (label 2).

    The voxel axes point to R, A, S: the right is at high x.
    """
    rng = np.random.default_rng(number)
    middle = shape[0] // 2
    labels = np.zeros(shape, dtype=np.int16)
    y = int(rng.integers(4, 9))
    labels[middle + 3 : middle + 9, y : y + 8, 1:7] = 1
    labels[middle - 9 : middle - 3, y : y + 8, 1:7] = 2
    water = np.where(labels > 0, 150.0, 250.0) + rng.normal(0, 8, shape)
    fat = np.where(labels > 0, 20.0, 120.0) + rng.normal(0, 8, shape)
    in_phase, out_phase = (water + fat).astype(np.float32), (water - fat).astype(np.float32)
    return TinyCase(in_phase, out_phase, labels, Grid(shape, AFFINE))


def batch(options: TrainOptions, data: TrainingData, step: int) -> tuple[Tensor, Tensor]:
    draft = replace(draft_bundle(options, data.table), landmarks=LANDMARKS)
    images, labels = make_batch(
        options, lambda number: prepare_case(options, data, draft, number), step
    )
    return torch.from_numpy(images), torch.from_numpy(labels).long()


def tiny_data(**changes: object) -> TrainingData:
    validation = [tiny_case(10_000 + i) for i in range(2)]
    return replace(TrainingData(tiny_case, validation, TABLE), **changes)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Cases are so small that threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def few_landmark_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bids_mfi.training.begin.LANDMARK_CASES", 2)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_mfi.training.begin.LANDMARK_CASES", 2)
        return train(OPTIONS, tiny_data(), tmp_path_factory.mktemp("uninterrupted"))


def test_the_network_learns(tmp_path: Path) -> None:
    lines: list[str] = []
    options = replace(OPTIONS, steps=40, validate_every=20)
    data = tiny_data(ranges=(("data", "boxes"),))
    bundle = train(options, data, tmp_path, report=lines.append)
    assert dict(bundle.training)["data"] == "boxes"
    assert len(lines) == 2
    assert lines[0].startswith("step 20/40  loss ")
    rows = [line.split("\t") for line in (tmp_path / LOG).read_text().splitlines()]
    assert rows[0] == ["step", "seconds", "loss", "dice_mean", "dice_MFSS_R", "dice_MFSS_L"]
    assert [int(row[0]) for row in rows[1:]] == [20, 40]
    best = max(float(row[3]) for row in rows[1:])
    assert best > 0.8
    assert dict(bundle.training)["validation_dice_mean"] == f"{best:.4f}"
    case = tiny_case(10_000)
    network = load_network(bundle, torch.device("cpu"))
    labels = segment_channels(channels_of(case), bundle, TorchEngine(network)).argmax(axis=0)
    assert (labels == case.labels).mean() > 0.9


def test_interrupted_and_resumed_equals_uninterrupted(
    uninterrupted: ModelBundle, tmp_path: Path
) -> None:
    break_off(OPTIONS, tmp_path)
    assert not (tmp_path / BUNDLE).exists()
    resumed = train(OPTIONS, tiny_data(), tmp_path)
    assert resumed.sha256 == uninterrupted.sha256
    assert resumed.landmarks == uninterrupted.landmarks
    assert log_of(tmp_path) == log_of(uninterrupted.folder.parent)


VARIANTS = {
    "windows, batch statistics, in-network affine": {
        "window": (16, 16, 8),
        "samples_per_volume": 3,
        "batch_size": 2,
        "normalization": "batch",
        "in_network_affine": 0.1,
        "padding": (4, 0, 0),
        "border": (2, 2, 1),
        "loss": "dice_hinge_double_softmax",
    },
    "augmentation, constant rate": {
        "schedule": "constant",
        "elastic_share": 0.7,
        "elastic_sigma_voxels": 2.0,
        "rotation_lr_degrees": 5.0,
        "rotation_ap_degrees": 5.0,
        "scaling_percent": 5.0,
        "loss": "dice_hinge",
    },
    "running average": {"average_steps": 3},
}


class Interrupted(Exception):
    pass


def break_off(
    options: TrainOptions, out_dir: Path, start: ModelBundle | None = None, after: int = 3
) -> None:
    """Train until the case with a number is asked for, as if the process were killed there."""

    def failing_case(number: int) -> TinyCase:
        if number == after * options.batch_size // options.samples_per_volume:
            raise Interrupted
        return tiny_case(number)

    with pytest.raises(Interrupted):
        train(options, tiny_data(case_at=failing_case), out_dir, start=start)
    assert (out_dir / CHECKPOINT).exists()


def log_of(folder: Path) -> list[list[str]]:
    """Rows of the log without the seconds."""
    lines = [line.split("\t") for line in (folder / LOG).read_text().splitlines()]
    return [[row[0], *row[2:]] for row in lines]


@pytest.mark.parametrize("name", VARIANTS)
def test_resumed_equals_uninterrupted_in_every_kind_of_training(name: str, tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=5, validate_every=3, **VARIANTS[name])
    whole = train(options, tiny_data(), tmp_path / "whole")
    break_off(options, tmp_path / "parts")
    parts = train(options, tiny_data(), tmp_path / "parts")
    assert parts.sha256 == whole.sha256
    assert log_of(tmp_path / "parts") == log_of(tmp_path / "whole")
    assert [row[0] for row in log_of(tmp_path / "whole")[1:]] == ["3", "5"]
    assert parts.inference == ("windows" if options.window else "whole_volume")
    assert (parts.window, parts.border, parts.padding) == (
        options.window or (0, 0, 0),
        options.border,
        options.padding,
    )


def test_the_bundle_has_the_average_and_learning_goes_on_without_it(tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=6, validate_every=3, keep="last")
    plain = train(options, tiny_data(), tmp_path / "plain")
    last = train(replace(options, average_steps=1), tiny_data(), tmp_path / "last")
    smooth = train(replace(options, average_steps=4), tiny_data(), tmp_path / "smooth")
    assert last.sha256 == plain.sha256
    assert smooth.sha256 != plain.sha256
    plain_loss, smooth_loss = (
        [row[1] for row in log_of(tmp_path / name)] for name in ("plain", "smooth")
    )
    assert smooth_loss == plain_loss
    assert "running average over about 4 steps" in dict(smooth.training)["weights"]
    assert "average" not in dict(plain.training)["weights"]
    with pytest.raises(OutputError, match="average_steps 4, expected 5"):
        train(replace(options, average_steps=5), tiny_data(), tmp_path / "smooth")


def test_a_checkpoint_without_the_key_had_no_average(tmp_path: Path) -> None:
    """One of an earlier version is resumed without, and refused with an average."""
    break_off(OPTIONS, tmp_path)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    del content["options"]["average_steps"]
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(OutputError, match="average_steps 0, expected 4"):
        train(replace(OPTIONS, average_steps=4), tiny_data(), tmp_path)
    train(OPTIONS, tiny_data(), tmp_path)


def test_weights_normalised_by_batch_are_not_averaged(tmp_path: Path) -> None:
    options = replace(OPTIONS, average_steps=4, normalization="batch")
    with pytest.raises(InputError, match="average_steps is 4, but the network normalises by batch"):
        train(options, tiny_data(), tmp_path)


def test_tuning_is_resumed_too(uninterrupted: ModelBundle, tmp_path: Path) -> None:
    options = replace(OPTIONS, seed=9)
    whole = train(options, tiny_data(), tmp_path / "whole", start=uninterrupted)
    break_off(options, tmp_path / "parts", uninterrupted)
    parts = train(options, tiny_data(), tmp_path / "parts", start=uninterrupted)
    assert parts.sha256 == whole.sha256
    assert log_of(tmp_path / "parts") == log_of(tmp_path / "whole")
    with pytest.raises(OutputError, match=r"start weights '\w+', expected 'random'"):
        train(options, tiny_data(), tmp_path / "parts")


def test_tuning_starts_where_the_bundle_is(uninterrupted: ModelBundle, tmp_path: Path) -> None:
    """The first row is the bundle itself; its landmarks, grid and normalisation stay."""
    options = replace(OPTIONS, spacing_mm=(9.0, 9.0, 9.0), normalization="batch")
    card = custom_card("tuned", start=uninterrupted)
    tuned = train(options, tiny_data(), tmp_path, card, start=uninterrupted)
    before = log_of(uninterrupted.folder.parent)[-1]
    first = log_of(tmp_path)[1]
    assert first[:2] == ["0", "n/a"]
    assert first[2:] == before[2:]
    for name in ("landmarks", "spacing_mm", "normalization", "inference", "table"):
        assert getattr(tuned, name) == getattr(uninterrupted, name)
    assert dict(tuned.training)["start"].endswith(f"sha256 {uninterrupted.sha256}")
    assert (tuned.name, tuned.licence) == ("tuned", uninterrupted.licence)
    text = (tuned.folder / "LICENSE").read_text()
    assert (uninterrupted.folder / "LICENSE").read_text() in text


def test_tuning_that_only_harms_gives_the_bundle_back(
    uninterrupted: ModelBundle, tmp_path: Path
) -> None:
    options = replace(OPTIONS, learning_rate=0.9, schedule="constant")
    better = train(replace(OPTIONS, steps=20, validate_every=20), tiny_data(), tmp_path / "better")
    tuned = train(options, tiny_data(), tmp_path / "worse", start=better)
    assert tuned.sha256 == better.sha256
    assert dict(tuned.training)["weights"].startswith("of step 0, ")


def test_tuning_needs_as_many_labels(uninterrupted: ModelBundle, tmp_path: Path) -> None:
    data = tiny_data(table=MuscleTable(WEBER2021.muscles[:4]))
    with pytest.raises(BundleError, match="has labels up to 2, but those of the data go up to 4"):
        train(OPTIONS, data, tmp_path, start=uninterrupted)


def test_tuning_needs_the_same_muscle_for_a_number(
    uninterrupted: ModelBundle, tmp_path: Path
) -> None:
    first, second = WEBER2021.muscles[:2]
    swapped = MuscleTable((replace(second, index=1), replace(first, index=2)))
    with pytest.raises(BundleError, match=r"label 1 for MFSS_R, .* label 1 for MFSS_L"):
        train(OPTIONS, tiny_data(table=swapped), tmp_path, start=uninterrupted)
    lines = describe_lacking(MuscleTable((second,)), uninterrupted)
    assert lines == ["the network will forget muscles of the bundle: the data lack MFSS_R"]
    assert describe_lacking(TABLE, uninterrupted) == describe_lacking(TABLE, None) == []


def test_numbers_with_large_holes_are_refused(tmp_path: Path) -> None:
    first, second = WEBER2021.muscles[:2]
    table = MuscleTable((first, replace(second, index=256)))
    with pytest.raises(InputError, match=r"up to 256, .*255.*renumber the labels 1 to 2"):
        train(OPTIONS, tiny_data(table=table), tmp_path)


def test_a_muscle_that_no_validation_case_holds_has_no_dice(tmp_path: Path) -> None:
    """Dice n/a, not 0; that of a muscle that is missed is 0."""
    whole = tiny_case(10_000)
    half = replace(whole, labels=np.where(whole.labels == 2, 0, whole.labels))
    lines: list[str] = []
    bundle = train(OPTIONS, tiny_data(validation=[half]), tmp_path, report=lines.append)
    rows = log_of(tmp_path)
    assert [row[4] for row in rows[1:]] == ["n/a", "n/a"]
    assert all(row[2] == row[3] for row in rows[1:])
    assert "nan" not in "".join(lines)
    assert dict(bundle.training)["validation_dice_mean"] == f"{float(rows[-1][2]):.4f}"
    nothing = replace(whole, labels=np.zeros_like(whole.labels))
    with pytest.raises(MFIError, match="no validation case contains a muscle"):
        train(OPTIONS, tiny_data(validation=[nothing]), tmp_path / "none")


def test_a_bundle_without_its_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    train(replace(OPTIONS, steps=1), tiny_data(), tmp_path)
    (tmp_path / CHECKPOINT).unlink()
    with pytest.raises(OutputError, match=r"bundle .* no checkpoint\.pt.*Name a new"):
        train(replace(OPTIONS, steps=1), tiny_data(), tmp_path)


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_cases_without_signal_are_refused_before_the_first_step(
    tmp_path: Path, value: float
) -> None:
    empty = np.full((24, 20, 8), value, dtype=np.float32)
    data = tiny_data(case_at=lambda n: replace(tiny_case(n), in_phase=empty, out_phase=empty))
    with pytest.raises(InputError, match="no signal or contain NaN"):
        train(OPTIONS, data, tmp_path)


def test_a_changed_label_table_is_other_data(uninterrupted: ModelBundle) -> None:
    first, second = TABLE
    for change in ({"levels": "C7"}, {"muscle": "TR"}):
        pair = MuscleTable((replace(first, **change), replace(second, **change)))
        with pytest.raises(OutputError, match="belongs to a training with labels"):
            train(OPTIONS, tiny_data(table=pair), uninterrupted.folder.parent)


@pytest.mark.parametrize(
    ("on", "line", "fact"),
    [
        (HELD_OUT, "held-out Dice 0.", "2 held out"),
        (LEARNT_FROM, "Dice on training scans 0.", "2 of those learnt from"),
        (NEW_SEEDS, "Dice on new scans 0.", "2 new scans, of the anatomies learnt from"),
    ],
)
def test_what_the_dice_is_measured_on_is_said(
    tmp_path: Path, on: str, line: str, fact: str
) -> None:
    lines: list[str] = []
    options = replace(OPTIONS, steps=1)
    bundle = train(options, tiny_data(validated_on=on), tmp_path, report=lines.append)
    assert line in lines[-1]
    assert dict(bundle.training)["validation_cases"] == fact


def test_a_window_larger_than_a_volume_is_said_once(tmp_path: Path) -> None:
    lines: list[str] = []
    options = replace(OPTIONS, window=(32, 16, 8))
    train(options, tiny_data(), tmp_path / "a", report=lines.append)
    assert [line for line in lines if "window" in line] == [
        "window 32 x 16 x 8 is larger than 2 of 2 volumes, the smallest 24 x 20 x 8 with padding: "
        "the network also learns from copies of their edge"
    ]
    assert len(lines) == 3
    padded = replace(options, padding=(4, 0, 0))
    train(padded, tiny_data(), tmp_path / "b", report=lines.append)
    assert len(lines) == 5


def test_settled_averages_are_not_replaced_by_the_first_batch(tmp_path: Path) -> None:
    start = train(replace(OPTIONS, normalization="batch", steps=1), tiny_data(), tmp_path / "a")
    slow = replace(OPTIONS, steps=1, learning_rate=1e-8, schedule="constant")
    odd = tiny_data(case_at=lambda number: tiny_case(number, (24, 20, 16)))
    train(slow, odd, tmp_path / "b", start=start)
    content = torch.load(tmp_path / "b" / CHECKPOINT, weights_only=True)["network"]
    first = load_network(start, torch.device("cpu")).state_dict()
    name = "init_conv.bn.running_mean"
    moved = content[name] - first[name]
    assert 0 < moved.abs().max() < 0.2 * first[name].abs().max()


def test_plateau_stops_and_stays_stopped(tmp_path: Path) -> None:
    """A rate of almost nothing: the Dice never gets better by min_delta."""
    options = replace(
        OPTIONS,
        steps=50,
        learning_rate=1e-8,
        schedule="constant",
        validate_every=1,
        patience=2,
        min_delta=0.05,
    )
    bundle = train(options, tiny_data(), tmp_path)
    assert [row[0] for row in log_of(tmp_path)[1:]] == ["1", "2", "3"]
    assert dict(bundle.training)["steps"] == "3"

    def no_case(number: int) -> TinyCase:
        raise AssertionError(number)

    assert train(options, tiny_data(case_at=no_case), tmp_path) == bundle
    train(replace(options, patience=4), tiny_data(), tmp_path)
    assert [row[0] for row in log_of(tmp_path)[1:]] == ["1", "2", "3", "4", "5"]


def test_small_gains_are_no_gains() -> None:
    """Dice .50 .52 .54 ... gains .02 each time, and .06 over three times."""
    rows = [{"dice_mean": 0.5 + 0.02 * number} for number in range(8)]
    options = replace(OPTIONS, patience=3)
    assert not has_plateaued(rows, replace(options, min_delta=0.0))
    assert not has_plateaued(rows, replace(options, min_delta=0.05))
    assert has_plateaued(rows, replace(options, min_delta=0.07))
    assert not has_plateaued(rows[:3], replace(options, min_delta=0.07))


def test_constant_rate_can_be_made_longer_but_a_cosine_cannot(
    uninterrupted: ModelBundle, tmp_path: Path
) -> None:
    constant = replace(OPTIONS, schedule="constant")
    whole = train(replace(constant, steps=6), tiny_data(), tmp_path / "whole")
    train(constant, tiny_data(), tmp_path / "parts")
    assert train(replace(constant, steps=6), tiny_data(), tmp_path / "parts").sha256 == whole.sha256
    with pytest.raises(OutputError, match="steps 4, expected 6"):
        train(replace(OPTIONS, steps=6), tiny_data(), uninterrupted.folder.parent)


def test_other_data_are_not_mixed_in(uninterrupted: ModelBundle) -> None:
    data = tiny_data(ranges=(("scans_sha256", "other"),))
    with pytest.raises(OutputError, match="no scans_sha256, expected 'other'"):
        train(OPTIONS, data, uninterrupted.folder.parent)


def test_checkpoint_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    torch.save({"options": {}, "step": 3}, tmp_path / CHECKPOINT)
    with pytest.raises(OutputError, match=r"checkpoint\.pt: .*another output folder|delete it"):
        train(OPTIONS, tiny_data(), tmp_path)


def test_divergence_stops_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = iter([1.0, 1.0, 1.0, math.nan])
    own = LOSS_FUNCTIONS[OPTIONS.loss]
    monkeypatch.setitem(LOSS_FUNCTIONS, OPTIONS.loss, lambda *both: next(factors) * own(*both))
    with pytest.raises(MFIError, match=r"diverged at step 3: the loss is nan.*--learning-rate"):
        train(OPTIONS, tiny_data(), tmp_path)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert content["step"] == 2
    assert all(torch.isfinite(value).all() for value in content["network"].values())


def test_weights_that_are_not_finite_reach_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(progress: Progress, *_: object) -> float:
        with torch.no_grad():
            progress.network.final.bias.fill_(torch.nan)
        return 1.0

    monkeypatch.setattr("bids_mfi.training.loop.take_step", poisoned)
    with pytest.raises(MFIError, match="diverged at step 2: weights are not finite"):
        train(OPTIONS, tiny_data(), tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_muscle_on_one_side_only_cannot_be_mirrored(tmp_path: Path) -> None:
    data = tiny_data(table=MuscleTable(WEBER2021.muscles[:1]))
    with pytest.raises(InputError, match=r"no \('MFSS', 'L'\).*mirror_share"):
        train(OPTIONS, data, tmp_path)


def test_rest_of_a_killed_write_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f".{CHECKPOINT}.host-1-01234567.partial").write_bytes(b"half")
    train(replace(OPTIONS, steps=1), tiny_data(), tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_published_network_can_be_tuned(tmp_path: Path) -> None:
    """Windows, padding and standardisation of NiftyNet in training as in use."""
    torch.manual_seed(3)
    classes = 1 + max(muscle.index for muscle in TABLE)
    knots = (0.1, 10.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 90.0, 100.0)
    published = replace(
        draft_bundle(OPTIONS, TABLE),
        folder=tmp_path / "published",
        inference="niftynet",
        normalization="batch",
        window=(24, 24, 16),
        border=(2, 2, 2),
        padding=(4, 4, 4),
        landmark_percentiles=knots,
        landmarks=(tuple(float(value) for value in range(13)),) * 2,
    )
    start = write_bundle(published, DenseVNet(2, classes).state_dict(), "licence")
    options = replace(OPTIONS, steps=20, validate_every=20)
    tuned = train(options, tiny_data(), tmp_path / "out", start=start)
    assert tuned.inference == "niftynet"
    assert tuned.landmarks == start.landmarks
    rows = log_of(tmp_path / "out")
    assert float(rows[-1][2]) > float(rows[1][2]) + 0.2


def test_finished_training_only_writes_its_bundle_again(
    uninterrupted: ModelBundle,
) -> None:
    def no_case(number: int) -> TinyCase:
        raise AssertionError(number)

    again = train(OPTIONS, tiny_data(case_at=no_case), uninterrupted.folder.parent)
    assert again == uninterrupted


def test_other_seed_gives_another_network(uninterrupted: ModelBundle, tmp_path: Path) -> None:
    other = train(replace(OPTIONS, seed=8), tiny_data(), tmp_path)
    assert other.sha256 != uninterrupted.sha256


def test_bundle_says_what_it_learnt_from(uninterrupted: ModelBundle) -> None:
    bundle = load_bundle(uninterrupted.folder)
    assert bundle.name == "custom"
    assert "user of bids_mfi" in bundle.description
    assert bundle.table == TABLE
    assert bundle.spacing_mm == OPTIONS.spacing_mm
    assert dict(bundle.training)["steps"] == "4"
    assert dict(bundle.training)["precision"] == "float32"  # bfloat16 only where asked for
    assert bundle.weights.stat().st_size < 8_000_000


def test_checkpoint_of_other_options_is_refused(uninterrupted: ModelBundle) -> None:
    folder = uninterrupted.folder.parent
    before = (folder / CHECKPOINT).read_bytes()
    with pytest.raises(OutputError, match=r"checkpoint\.pt: .*learning_rate 0\.002, expected 0\.1"):
        train(replace(OPTIONS, learning_rate=0.1), tiny_data(), folder)
    assert (folder / CHECKPOINT).read_bytes() == before


def test_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")
    with pytest.raises(OutputError, match=r"checkpoint\.pt: cannot be resumed.*delete it"):
        train(OPTIONS, tiny_data(), tmp_path)


@pytest.mark.parametrize("normalization", ["batch", "instance"])
def test_bfloat16_trains_too(tmp_path: Path, normalization: str) -> None:
    options = replace(OPTIONS, steps=2, batch_size=2, bfloat16=True, normalization=normalization)
    bundle = train(options, tiny_data(), tmp_path)
    assert bundle.normalization == normalization
    assert dict(bundle.training)["precision"] == "bfloat16 autocast"


def test_bfloat16_convolutions_read_no_stale_memory() -> None:
    """As they did through AMX, where the processor has it; runs in a process of its own."""
    program = """
import torch
from bids_mfi.network.dense_vnet import ConvNorm
layer = ConvNorm(104, 24, "instance", stride=(2, 2, 2))
image = torch.randn(2, 104, 6, 6, 2)
for _ in range(20):
    stale = torch.full((200_000,), float("nan"))
    del stale
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(layer(image)).all()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_trains_in_bfloat16(tmp_path: Path) -> None:
    options = replace(OPTIONS, device="cuda", **VARIANTS["augmentation, constant rate"])
    bundle = train(options, tiny_data(), tmp_path)
    assert dict(bundle.training)["precision"] == "bfloat16 autocast"
    assert train(options, tiny_data(), tmp_path) == bundle


# --------------------------------------------------------------------------------------- parts


def test_mirror_keeps_right_right() -> None:
    """After mirroring, what is called right (1) lies at high x again and looks the same."""
    case = tiny_case(3)
    images = channels_of(case)
    mirrored, labels = mirror(images, case.labels, TABLE)
    assert np.array_equal(mirrored[:, ::-1], images)
    assert np.array_equal(labels == 1, case.labels[::-1] == 2)
    assert np.argwhere(labels == 1)[:, 0].min() > np.argwhere(labels == 2)[:, 0].max()
    back, labels_back = mirror(mirrored, labels, TABLE)
    assert np.array_equal(back, images)
    assert np.array_equal(labels_back, case.labels)


def test_batches_are_decided_by_their_step_alone() -> None:
    first, second, other = (batch(OPTIONS, tiny_data(), n) for n in (5, 5, 6))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


def test_half_of_the_batches_are_mirrored() -> None:
    """The case's box lies in one place for all numbers; a mirrored one shows by its noise."""
    data = tiny_data(case_at=lambda number: tiny_case(1))
    batches = [batch(OPTIONS, data, step)[0] for step in range(40)]
    plain = sum(torch.equal(one, batches[0]) for one in batches)
    assert 10 <= plain <= 30
    assert all(torch.equal(b, batches[0]) or torch.equal(b, batches[0].flip(2)) for b in batches)


def test_cases_of_different_sizes_make_one_batch() -> None:
    data = tiny_data(case_at=lambda number: tiny_case(number, (24 + 4 * (number % 2), 20, 8)))
    images, labels = batch(replace(OPTIONS, batch_size=2), data, 0)
    assert images.shape == (2, 2, 32, 24, 8)
    assert labels.shape == (2, 32, 24, 8)


def test_label_without_a_name_is_refused() -> None:
    case = tiny_case(0)
    strange = replace(case, labels=np.where(case.labels == 2, 9, case.labels))
    with pytest.raises(ValueError, match=r"does not name: \[9\]"):
        batch(OPTIONS, tiny_data(case_at=lambda number: strange), 0)


def test_rate_rises_then_falls() -> None:
    factors = [rate_factor(step, 1000) for step in range(1000)]
    assert factors.index(max(factors)) == 49
    assert max(factors) == 1.0
    assert 0 < factors[-1] < 1e-4
    assert factors[0] == pytest.approx(1 / 50)
    assert 0 < rate_factor(0, 1) <= 1


def test_windows_of_a_case_are_drawn_by_consecutive_steps() -> None:
    """3 cases x 3 samples: each step has one window of each of three cases."""
    options = replace(OPTIONS, window=(16, 16, 8), samples_per_volume=3, batch_size=3)
    asked: list[int] = []

    def prepare(number: int) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        asked.append(number)
        case = tiny_case(number)
        return channels_of(case), case.labels

    first, again, third, fourth = (make_batch(options, prepare, step) for step in (0, 0, 2, 3))
    assert asked == [0, 1, 2] * 3 + [3, 4, 5]
    assert first[0].shape == (3, 2, 16, 16, 8)
    assert first[1].shape == (3, 16, 16, 8)
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], third[0])
    assert not np.array_equal(third[0], fourth[0])
    image = torch.from_numpy(channels_of(tiny_case(0))[0])
    views = image.unfold(0, 16, 1).unfold(1, 16, 1)
    found = torch.from_numpy(first[0][0, 0]).permute(2, 0, 1)
    assert any(torch.equal(found, view) for row in views for view in row)


def test_boxes_of_a_case_are_of_any_size_and_inside() -> None:
    """Two steps draw from one case; labels are cut as images are; in use volumes are whole."""
    options = replace(OPTIONS, least_crop=(8, 16, 99), samples_per_volume=2)
    case = tiny_case(0)
    marked = replace(case, in_phase=case.labels.astype(np.float32))
    pairs = [make_batch(options, lambda number: (channels_of(marked), case.labels), step)
             for step in range(60)]  # fmt: skip
    for images, labels in pairs:
        assert np.array_equal(images[:, 0].astype(int), labels)
    sizes = np.array([labels.shape[1:] for _, labels in pairs])
    assert set(sizes[:, 0].tolist()) == {8, 16, 24}  # 8 to 24, rounded up
    assert set(sizes[:, 1].tolist()) == {16, 24}
    assert set(sizes[:, 2].tolist()) == {8}  # as long as the volume
    assert not np.array_equal(pairs[0][0], pairs[1][0])
    assert draft_bundle(options, TABLE).inference == "whole_volume"
    assert "2 boxes from each, of 8 x 16 x 99" in describe_windows(options)


def test_boxes_of_a_step_have_one_size_that_fits_all_its_cases() -> None:
    options = replace(OPTIONS, least_crop=(8, 8, 8), batch_size=2)
    cases = [tiny_case(0, (24, 16, 16)), tiny_case(1, (16, 24, 16))]
    prepared = [(channels_of(case), case.labels) for case in cases]
    shapes = {
        make_batch(options, lambda number: prepared[number % 2], step)[1].shape[1:]
        for step in range(60)
    }
    assert max(shapes) == (16, 16, 16)  # none is filled up to the size of the other
    assert len(shapes) == 8


def as_lists(batches: Iterator[tuple[Tensor, Tensor]]) -> list[tuple[list[float], list[int]]]:
    return [(images.flatten().tolist(), labels.flatten().tolist()) for images, labels in batches]


@pytest.mark.parametrize("steps", [range(7), range(3, 7), range(4, 5), range(2, 2)])
def test_processes_make_the_batches_that_a_thread_makes(steps: range) -> None:
    """In the same order, also where a training goes on in the middle of a case."""
    options = replace(OPTIONS, least_crop=(8, 8, 8), samples_per_volume=2, batch_size=2)
    data = tiny_data()
    draft = replace(draft_bundle(options, TABLE), landmarks=LANDMARKS)
    alone = as_lists(iterate_batches(options, data, draft, steps))
    together = as_lists(iterate_batches(replace(options, workers=2), data, draft, steps))
    assert len(alone) == len(steps)
    assert together == alone


@pytest.mark.parametrize(("first", "then"), [(0, 2), (2, 0)])
def test_a_training_goes_on_with_other_processes_and_ends_the_same(
    tmp_path: Path, first: int, then: int
) -> None:
    """Stopped in the middle of a case, between two of its samples."""
    options = replace(OPTIONS, steps=5, validate_every=3, least_crop=(8, 8, 8))
    options = replace(options, samples_per_volume=2, mirror_share=0.5, scaling_percent=5.0)
    whole = train(options, tiny_data(), tmp_path / "whole")

    def stop(line: str) -> None:
        if line.startswith("step 3/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(options, workers=first), tiny_data(), tmp_path / "parts", report=stop)
    parts = train(replace(options, workers=then), tiny_data(), tmp_path / "parts")
    assert parts.sha256 == whole.sha256


def failing_case(error: Exception) -> Callable[[int], TinyCase]:
    def case_at(number: int) -> TinyCase:
        if number == 2:
            raise error
        return tiny_case(number)

    return case_at


@pytest.mark.parametrize("error", [InputError("sub-01: is odd"), RuntimeError("a bug")])
def test_what_goes_wrong_in_a_process_is_told_as_it_is(tmp_path: Path, error: Exception) -> None:
    data = tiny_data(case_at=failing_case(error))
    with pytest.raises(type(error)) as found:
        list(
            iterate_batches(
                replace(OPTIONS, workers=1),
                data,
                replace(draft_bundle(OPTIONS, TABLE), landmarks=LANDMARKS),
                range(4),
            )
        )
    assert found.value.args == error.args


def test_each_case_is_made_once_and_no_more_are_kept_than_a_batch_has() -> None:
    asked: list[int] = []

    def case_at(number: int) -> TinyCase:
        asked.append(number)
        return tiny_case(number)

    options = replace(OPTIONS, least_crop=(8, 8, 8), samples_per_volume=3, batch_size=2)
    draft = replace(draft_bundle(options, TABLE), landmarks=LANDMARKS)
    data = tiny_data(case_at=case_at)
    maker = BatchMaker(options, partial(prepare_case, options, data, draft))
    for step in range(9):
        maker.make(step)
        assert maker.kept == 2
    assert asked == [0, 1, 2, 3, 4, 5]


def test_mirror_images_count_in_use_if_asked(tmp_path: Path) -> None:
    """The weights, and the Dice of validations, are the same; a later bundle does as its start."""
    options = replace(OPTIONS, steps=2)
    plain = train(options, tiny_data(), tmp_path / "one")
    log = (tmp_path / "one" / LOG).read_text()
    assert "in_use" not in dict(plain.training)
    both = train(replace(options, mirrored=True), tiny_data(), tmp_path / "one")  # finished
    assert (plain.mirrored, both.mirrored) == (False, True)
    assert both.sha256 == plain.sha256
    assert "mirror image" in dict(both.training)["in_use"]
    fresh = train(replace(options, mirrored=True), tiny_data(), tmp_path / "two")
    assert fresh.sha256 == plain.sha256
    new = [[c for i, c in enumerate(line.split("\t")) if i != 1] for line in log.splitlines()]
    again = (tmp_path / "two" / LOG).read_text().splitlines()
    assert [[c for i, c in enumerate(line.split("\t")) if i != 1] for line in again] == new
    for wanted, expected in ((None, True), (False, False), (True, True)):
        assert settle_options(replace(options, mirrored=wanted), both).mirrored is expected
    for number, (start, wanted, expected) in enumerate(
        ((both, None, True), (both, False, False), (plain, True, True), (plain, None, False))
    ):
        out_dir = tmp_path / f"tuned{number}"
        tuned = train(replace(options, mirrored=wanted), tiny_data(), out_dir, start=start)
        assert load_bundle(out_dir / BUNDLE).mirrored is tuned.mirrored is expected


def test_a_training_goes_on_where_its_start_got_mirror_images(tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=2, validate_every=1)
    start = train(options, tiny_data(), tmp_path / "start")
    whole = train(options, tiny_data(), tmp_path / "whole", start=start)

    def stop(line: str) -> None:
        if line.startswith("step 1/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(options, tiny_data(), tmp_path / "parts", report=stop, start=start)
    start = train(replace(options, mirrored=True), tiny_data(), tmp_path / "start")
    parts = train(options, tiny_data(), tmp_path / "parts", start=start)
    assert (parts.sha256, parts.mirrored) == (whole.sha256, True)


def test_niftynets_path_has_no_mirror_images(tmp_path: Path) -> None:
    start = train(replace(OPTIONS, steps=1), tiny_data(), tmp_path / "start")
    start = replace(start, inference="niftynet")
    with pytest.raises(BundleError, match=r"NiftyNet's path.*Leave mirrored out"):
        check_table(tiny_data().table, replace(OPTIONS, mirrored=True), start)


def test_mirror_images_of_one_sided_labels_are_refused_early(tmp_path: Path) -> None:
    """All that must be changed is said at once, and is enough."""

    def right_only(number: int) -> TinyCase:
        case = tiny_case(number)
        return replace(case, labels=np.where(case.labels == 1, case.labels, 0))

    table = MuscleTable(WEBER2021.muscles[:1])
    one = tiny_data(case_at=right_only, validation=[right_only(100)], table=table)
    options = replace(OPTIONS, mirror_share=0.0, mirrored=True)
    words = r"set mirror_share to 0 \(training\) and mirrored to false \(inference\)"
    for refused in (options, replace(options, mirror_share=0.5)):
        with pytest.raises(InputError, match=words):
            train(refused, one, tmp_path / "one")
    assert not (tmp_path / "one").exists()
    assert train(replace(options, mirrored=False), one, tmp_path / "one").mirrored is False


def test_the_last_weights_become_the_bundle_if_asked(tmp_path: Path) -> None:
    """The same finished folder gives either; the metadata say which, and their own Dice."""
    options = replace(OPTIONS, steps=3, validate_every=1, learning_rate=0.3)  # it gets worse
    start = train(replace(OPTIONS, steps=40, validate_every=40), tiny_data(), tmp_path / "first")
    bundles = {}
    for keep in ("best", "last", "best"):
        bundle = train(replace(options, keep=keep), tiny_data(), tmp_path / "second", start=start)
        checkpoint = torch.load(tmp_path / "second" / CHECKPOINT, weights_only=True)
        expected = checkpoint["best_state" if keep == "best" else "network"]
        found = load_network(bundle, torch.device("cpu")).state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        bundles[keep] = dict(bundle.training)
    rows = checkpoint["rows"]
    assert checkpoint["best_dice"] > rows[-1]["dice_mean"]
    assert bundles["last"]["weights"] == "of step 3, the last"
    assert bundles["last"]["validation_dice_mean"] == f"{rows[-1]['dice_mean']:.4f}"
    assert bundles["best"]["weights"].endswith("the best on the validation cases")
    assert bundles["best"]["validation_dice_mean"] == f"{checkpoint['best_dice']:.4f}"


def killing_case(number: int) -> TinyCase:
    if number == 6:  # not asked for before the first steps are done
        os.kill(os.getpid(), signal.SIGKILL)
    return tiny_case(number)


def test_a_killed_process_is_named_and_the_checkpoint_kept(tmp_path: Path) -> None:
    data = tiny_data(case_at=killing_case)
    with pytest.raises(MFIError, match=r"a process .* died .* fewer --workers"):
        train(replace(OPTIONS, workers=1, validate_every=1, steps=9), data, tmp_path / "killed")
    assert (tmp_path / "killed" / CHECKPOINT).exists()


def test_a_process_that_dies_while_it_sends_a_case_is_named() -> None:
    """The rest of the case never comes; in a program of its own, because it hung once."""
    script = Path(__file__).parents[1] / "dying_worker.py"
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("told: a process that makes cases died"), done.stdout


def test_a_bundle_decides_the_stride_of_its_network(tmp_path: Path) -> None:
    options = replace(OPTIONS, stem_stride=(2, 2, 1), steps=1)
    start = train(options, tiny_data(), tmp_path / "first")
    assert start.stem_stride == (2, 2, 1)
    assert load_network(start, torch.device("cpu")).stem_stride == (2, 2, 1)
    settled = settle_options(replace(OPTIONS, least_crop=(8, 8, 8), samples_per_volume=2), start)
    assert (settled.stem_stride, settled.samples_per_volume) == ((2, 2, 1), 2)
    assert settle_options(replace(OPTIONS, samples_per_volume=2), start).samples_per_volume == 1


def test_the_recipe_for_tuning_leaves_a_bundle_its_windows(tmp_path: Path) -> None:
    """A bundle for whole volumes is tuned on boxes, one with windows on its windows."""
    recipe = read_recipe("finetune")
    start = train(replace(OPTIONS, steps=1), tiny_data(), tmp_path / "first")
    windowed = replace(start, inference="windows", window=(16, 16, 8), border=(2, 2, 2))
    settled = settle_options(recipe, windowed)
    assert (settled.window, settled.border, settled.least_crop) == ((16, 16, 8), (2, 2, 2), None)
    assert settle_options(recipe, start).least_crop == (112, 96, 16)
    order = TrainingOrder(tmp_path, recipe, stated=recipe_keys("finetune"))
    check_stated(order, settled)  # nothing is refused, but told
    (line,) = describe_network(settled, windowed)
    assert line == "the training uses the bundle's windows, not boxes of any size"
    assert describe_network(settle_options(recipe, start), start) == []


def test_windows_are_drawn_uniformly_and_inside() -> None:
    rng = np.random.default_rng(1)
    starts = np.array(
        [[part.start for part in draw_window((20, 16, 9), (16, 16, 8), rng)] for _ in range(1000)]
    )
    assert np.array_equal(np.unique(starts[:, 0]), np.arange(5))
    assert not starts[:, 1].any()
    assert np.bincount(starts[:, 0]).min() > 150
    assert 400 < starts[:, 2].sum() < 600


def test_ten_steps_lower_the_loss(tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=10, validate_every=1, schedule="constant")
    train(options, tiny_data(validation=[tiny_case(10_000)]), tmp_path)
    losses = [float(row[1]) for row in log_of(tmp_path)[1:]]
    assert len(losses) == 10
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
