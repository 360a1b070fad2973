"""Left-right asymmetry: the side, the test, the index, and what cannot be tested."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated_group import make, simulate_cohort, simulate_people

from bids_mfi.muscles import PAPER_ORDER
from bids_mfi.statistics.asymmetry import ASYMMETRY_COLUMNS, measure_asymmetry
from bids_mfi.statistics.cohort import make_cohort


def sides(left, right):
    people = simulate_people(len(left))
    frames = [pd.DataFrame({"TR": side}, people.index, dtype=float) for side in (left, right)]
    return make(people, *frames)


def only_row(analysis):
    assert len(analysis.table) == 1
    return analysis.table.iloc[0]


def test_it_is_a_paired_t_test_of_left_less_right():
    cohort = simulate_cohort(40, gap=0.4)
    found = measure_asymmetry(cohort)
    assert tuple(found.table.columns) == ASYMMETRY_COLUMNS
    assert found.table["muscle"].tolist() == list(PAPER_ORDER)
    assert found.notes == ()
    for row in found.table.itertuples():
        left, right = cohort.left[row.muscle], cohort.right[row.muscle]
        expected = stats.ttest_rel(left, right)
        interval = expected.confidence_interval(0.95)
        assert (row.t, row.df, row.p) == pytest.approx(
            (expected.statistic, expected.df, expected.pvalue), rel=1e-10
        )
        assert (row.ci_lower, row.ci_upper) == pytest.approx(tuple(interval), rel=1e-10)
        assert (row.n, row.mean_left, row.mean_right) == pytest.approx(
            (40, left.mean(), right.mean())
        )
        assert row.sd_diff == pytest.approx(np.std(left - right, ddof=1))


def test_more_on_the_left_is_above_zero():
    row = only_row(measure_asymmetry(sides([12, 13, 15], [10, 12, 11])))
    assert row["mean_left"] > row["mean_right"]
    assert min(row["mean_diff"], row["t"], row["index_percent"]) > 0


def test_swapped_sides_turn_every_sign():
    forth = only_row(measure_asymmetry(sides([12, 13, 15], [10, 12, 11])))
    back = only_row(measure_asymmetry(sides([10, 12, 11], [12, 13, 15])))
    for name in ("mean_diff", "t", "index_percent"):
        assert back[name] == pytest.approx(-forth[name]), name
    assert (back["ci_lower"], back["ci_upper"]) == pytest.approx(
        (-forth["ci_upper"], -forth["ci_lower"])
    )
    assert (back["p"], back["sd_diff"]) == pytest.approx((forth["p"], forth["sd_diff"]))
    assert back["mean_left"] == forth["mean_right"]


def test_the_left_of_the_table_of_measures_is_the_left_here():
    """From rows with hemi L and R to the result: more fat at L is a positive difference."""
    people = simulate_people(5)
    long = pd.DataFrame(
        [
            (name, "LC", hemi, value + i / 10, 1.0)
            for i, name in enumerate(people.index)
            for hemi, value in (("R", 8.0), ("L", 9.0 + i))
        ],
        columns=["participant_id", "muscle", "hemi", "mfi_percent", "volume_ml"],
    )
    row = only_row(measure_asymmetry(make_cohort(long, people, "mfi", "both")))
    assert row["mean_left"] == pytest.approx(9 + 2 + 0.2)
    assert row["mean_diff"] == pytest.approx(1 + 2)


def test_the_index_by_hand():
    row = only_row(measure_asymmetry(sides([11, 30], [9, 10])))
    assert row["index_percent"] == pytest.approx((100 * 2 / 10 + 100 * 20 / 20) / 2)


def test_who_lacks_a_side_is_left_out():
    nan = np.nan
    whole = measure_asymmetry(sides([12, 13, 15], [10, 12, 11]))
    gaps = measure_asymmetry(sides([12, nan, 13, 15, 9], [10, 50, 12, 11, nan]))
    pd.testing.assert_frame_equal(whole.table, gaps.table)


@pytest.mark.parametrize(
    ("left", "right", "defined", "note"),
    [
        ([np.nan], [3], set(), "0 participants have both sides"),
        ([4], [3], {"mean_left", "mean_right", "mean_diff", "index_percent"}, "1 participant"),
        (
            [0.3, 0.4, 1.1],
            [0.2, 0.3, 1.0],
            {"mean_left", "mean_right", "mean_diff", "sd_diff", "df", "index_percent"},
            "the same in all",
        ),
    ],
)
def test_what_cannot_be_tested_is_nan_with_a_note(left, right, defined, note):
    found = measure_asymmetry(sides(left, right))
    row = only_row(found).drop(["muscle", "n"])
    assert set(row.index[row.notna()]) == defined
    assert len(found.notes) == 1
    assert note in found.notes[0]
    assert found.notes[0].startswith("Asymmetry of TR:")


def test_sides_of_zero_have_no_index():
    found = measure_asymmetry(sides([0, 11], [0, 9]))
    assert only_row(found)["index_percent"] == pytest.approx(20)
    assert only_row(found)["n"] == 2
    assert "1 participant whose sides add up to 0" in found.notes[0]


def test_no_muscle_at_all():
    people = simulate_people(3)
    empty = pd.DataFrame(index=people.index)
    found = measure_asymmetry(make(people, empty, empty))
    assert tuple(found.table.columns) == ASYMMETRY_COLUMNS
    assert found.table.empty
