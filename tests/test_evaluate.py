"""Scores of a bundle against known labels."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bids_mfi.grid import Grid
from bids_mfi.muscles import WEBER2021, MuscleTable
from bids_mfi.network import evaluate
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.evaluate import (
    compare_labels,
    evaluate_bundle,
    format_scores,
    summarise,
)

TABLE = MuscleTable(WEBER2021.muscles[:3])
AFFINE = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 2.0, 0.0), (0.0, 0.0, 0.0, 1.0))
NAN = float("nan")


@dataclass(frozen=True)
class LabelledCase:
    in_phase: NDArray[np.float32]
    out_phase: NDArray[np.float32]
    labels: NDArray[np.int16]
    grid: Grid


def case_with_fat_at_the_edge() -> LabelledCase:
    """Muscle 1: 8 voxels with 10 % fat; muscle 2: 8 voxels with 20 %; all else 40 % fat."""
    labels = np.zeros((8, 8, 8), dtype=np.int16)
    labels[1:3, 1:3, 1:3] = 1
    labels[5:7, 5:7, 5:7] = 2
    fat = np.choose(labels, [40.0, 10.0, 20.0])
    in_phase, out_phase = np.full(fat.shape, 100.0), 100 - 2 * fat
    grid = Grid((8, 8, 8), AFFINE)
    return LabelledCase(in_phase.astype(np.float32), out_phase.astype(np.float32), labels, grid)


def test_true_labels_have_no_error() -> None:
    case = case_with_fat_at_the_edge()
    found = compare_labels(case.labels, case, TABLE)
    assert found[:2] == pytest.approx(np.array([[1, 0, 1], [1, 0, 1]]), abs=1e-6)
    assert np.isnan(found[2]).all()


def test_errors_by_hand() -> None:
    """Muscle 1 gets 8 voxels too many, of 40 % fat: MFI 25 instead of 10; muscle 2 is missed."""
    case = case_with_fat_at_the_edge()
    predicted = np.zeros_like(case.labels)
    predicted[1:3, 1:3, 1:5] = 1
    found = compare_labels(predicted, case, TABLE)
    assert found[0] == pytest.approx([2 * 8 / (8 + 16), 15.0, 2.0], abs=1e-5)
    assert found[1, [0, 2]].tolist() == [0.0, 0.0]
    assert np.isnan(found[1, 1])


def test_summary_counts_missed_and_leaves_out_scans_without_the_muscle() -> None:
    rows = np.array(
        [
            [[0.8, 2.0, 1.1], [0.0, NAN, 0.0], [NAN, NAN, NAN]],
            [[0.6, -4.0, 0.9], [0.5, 1.0, 1.0], [NAN, NAN, NAN]],
        ]
    )
    first, second, third = summarise(rows, TABLE)
    assert (first.scans, first.missed, first.dice_min) == (2, 0, 0.6)
    assert first.dice_mean == pytest.approx(0.7)
    assert (first.mfi_error_mean, first.mfi_error_mean_abs, first.mfi_error_max_abs) == (-1, 3, 4)
    assert (second.scans, second.missed) == (2, 1)
    assert (second.dice_mean, second.mfi_error_mean, second.volume_ratio_mean) == (0.25, 1, 0.5)
    assert third.scans == 0
    assert math.isnan(third.dice_mean)
    last = format_scores([first, second, third]).splitlines()[-1].split("\t")
    assert last[:5] == ["3", "LC", "R", "0", "0"]
    assert set(last[5:]) == {"n/a"}


def test_every_case_is_segmented_as_a_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_with_fat_at_the_edge()
    calls = []

    def segmented(*arguments: object) -> NDArray[np.int16]:
        calls.append(arguments)
        return case.labels

    monkeypatch.setattr(evaluate, "segment_scan", segmented)
    bundle = ModelBundle(
        folder=None, name="", version="", sha256="", spacing_mm=(1.0, 1.0, 1.0), landmarks=(),
        table=TABLE, description="", licence="",
    )  # fmt: skip
    scores = evaluate_bundle(bundle, [case, replace(case)], torch.device("cpu"))
    assert [score.dice_mean for score in scores[:2]] == [1.0, 1.0]
    assert len(calls) == 2
    assert calls[0][2] == case.grid
    with pytest.raises(ValueError, match="at least one case"):
        evaluate_bundle(bundle, [], torch.device("cpu"))
