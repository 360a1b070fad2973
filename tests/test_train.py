"""The training loop on tiny cases: it learns, resumes exactly, and leaves a bundle behind."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.errors import OutputError
from bids_mfi.grid import Grid
from bids_mfi.muscles import WEBER2021, MuscleTable
from bids_mfi.network.augment import mirror
from bids_mfi.network.bundle import ModelBundle, load_bundle, load_network
from bids_mfi.network.segment import segment_channels
from bids_mfi.network.train import (
    BUNDLE,
    CHECKPOINT,
    LOG,
    PROVISIONAL_CARD,
    TrainingData,
    channels_of,
    draft_bundle,
    make_batch,
    prepare_case,
    rate_factor,
    train,
)
from bids_mfi.options import TrainOptions

TABLE = MuscleTable(WEBER2021.muscles[:2])
LANDMARKS = (tuple(float(value) for value in range(7)),) * 2
AFFINE = ((1.4, 0.0, 0.0, 0.0), (0.0, 1.4, 0.0, 0.0), (0.0, 0.0, 3.0, 0.0), (0.0, 0.0, 0.0, 1.0))
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
    return make_batch(options, lambda number: prepare_case(options, data, draft, number), step)


def tiny_data(**changes: object) -> TrainingData:
    validation = [tiny_case(10_000 + i) for i in range(2)]
    return replace(TrainingData(tiny_case, validation, TABLE), **changes)


@pytest.fixture(autouse=True)
def few_landmark_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bids_mfi.network.train.LANDMARK_CASES", 2)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bids_mfi.network.train.LANDMARK_CASES", 2)
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
    labels = segment_channels(channels_of(case), bundle, network).argmax(axis=0)
    assert (labels == case.labels).mean() > 0.9


def test_interrupted_and_resumed_equals_uninterrupted(
    uninterrupted: ModelBundle, tmp_path: Path
) -> None:
    class Interrupted(Exception):
        pass

    def failing_case(number: int) -> TinyCase:
        if number == 3:
            raise Interrupted
        return tiny_case(number)

    with pytest.raises(Interrupted):
        train(OPTIONS, tiny_data(case_at=failing_case), tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    assert not (tmp_path / BUNDLE).exists()
    resumed = train(OPTIONS, tiny_data(), tmp_path)
    assert resumed.sha256 == uninterrupted.sha256
    assert resumed.landmarks == uninterrupted.landmarks
    logs = [
        [line.split("\t")[2:] for line in (folder / LOG).read_text().splitlines()]
        for folder in (tmp_path, uninterrupted.folder.parent)
    ]
    assert logs[0] == logs[1]


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
    assert bundle.name == PROVISIONAL_CARD.name
    assert "no scan of a person" in bundle.description
    assert bundle.table == TABLE
    assert bundle.spacing_mm == OPTIONS.spacing_mm
    assert dict(bundle.training)["steps"] == "4"
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
