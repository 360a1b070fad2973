"""Centiles among controls: the truth, uniform centiles of controls, extrapolation, too few."""

import numpy as np
import pandas as pd
import pytest
from cost import measure_growth
from scipy import stats
from simulated_group import expect, simulate_cohort
from statsmodels.regression.linear_model import OLS

from bids_mfi.statistics.centiles import (
    CALIBRATION_COLUMNS,
    CENTILE_COLUMNS,
    calibrate_centiles,
    measure_centiles,
)
from bids_mfi.statistics.design import standard_design

NUMBERS = ["expected", "z", "centile"]


def first(cohort, n):
    return cohort.people.index[:n]


def test_centiles_come_from_the_controls_prediction_interval():
    """Against statsmodels: what the model of the controls says of a single new value."""
    cohort = simulate_cohort(60, ("TR",))
    controls = first(cohort, 40)
    found = measure_centiles(cohort, controls)
    assert tuple(found.table.columns) == CENTILE_COLUMNS
    matrix, values = standard_design(cohort.people).matrix, cohort.values["TR"].to_numpy()
    fit = OLS(values[:40], matrix[:40]).fit()
    for place in range(40, 60):
        row = found.table.iloc[place]
        frame = fit.get_prediction(matrix[place : place + 1])
        assert row["expected"] == pytest.approx(frame.predicted_mean[0], rel=1e-9)
        t = (values[place] - frame.predicted_mean[0]) / frame.se_obs[0]
        assert row["centile"] == pytest.approx(100 * stats.t.cdf(t, 36), rel=1e-7)
        assert row["z"] == pytest.approx(stats.norm.ppf(stats.t.cdf(t, 36)), rel=1e-7)
    assert found.table["is_control"].tolist() == ["yes"] * 40 + ["no"] * 20


def test_a_control_is_judged_as_if_he_were_none():
    """Leaving the control out by hand gives the same numbers."""
    cohort = simulate_cohort(30, ("TR",))
    whole = measure_centiles(cohort, cohort.people.index).table
    for name in cohort.people.index[:8]:
        others = cohort.people.index.drop(name)
        apart = measure_centiles(cohort, others).table
        expected = apart[apart["participant_id"] == name].iloc[0]
        row = whole[whole["participant_id"] == name].iloc[0]
        assert row[NUMBERS].tolist() == pytest.approx(expected[NUMBERS].tolist(), rel=1e-9)
        assert (expected["is_control"], row["is_control"]) == ("no", "yes")


def test_a_value_of_a_control_does_not_move_what_is_expected_of_him():
    cohort = simulate_cohort(30, ("TR",))
    before = measure_centiles(cohort, cohort.people.index).table.iloc[4]
    cohort.values.iloc[4, 0] += 10
    after = measure_centiles(cohort, cohort.people.index).table.iloc[4]
    assert after["expected"] == pytest.approx(before["expected"], rel=1e-9)
    assert after["centile"] > 99.99


def test_centiles_of_normal_controls_are_uniform():
    cohort = simulate_cohort(3000, ("TR", "LC"), seed=3)
    table = measure_centiles(cohort, cohort.people.index).table
    for _, centiles in table.groupby("muscle")["centile"]:
        assert len(centiles) == 3000
        assert stats.kstest(centiles / 100, "uniform").pvalue > 0.01


def test_centiles_of_few_normal_controls_are_uniform_too():
    """20 controls: residuals that are not left out would be too near to the middle."""
    tables = [
        measure_centiles(cohort, cohort.people.index).table
        for cohort in (simulate_cohort(20, ("TR",), seed=seed) for seed in range(0, 600, 2))
    ]
    centiles = pd.concat(tables)["centile"]
    assert len(centiles) == 300 * 20
    assert np.mean(centiles < 5) == pytest.approx(0.05, abs=0.01)
    assert np.mean(centiles > 95) == pytest.approx(0.05, abs=0.01)
    # one of each cohort: those of a cohort are not independent of each other
    assert stats.kstest([t["centile"].iloc[0] / 100 for t in tables], "uniform").pvalue > 0.01


def test_the_truth_is_found():
    """Patients 2 SD above what is expected at their sex, age and BMI have z about 2."""
    cohort = simulate_cohort(6000, ("TR",), sd=1.0)
    patients = cohort.people.index[5000:]
    cohort.values.loc[patients, "TR"] = expect(cohort.people.loc[patients]) + 2.0
    table = measure_centiles(cohort, first(cohort, 5000)).table.iloc[5000:]
    assert table["z"].to_numpy() == pytest.approx(2.0, abs=0.15)
    assert table["centile"].to_numpy() == pytest.approx(97.7, abs=1.0)
    assert table["expected"].to_numpy() == pytest.approx(
        expect(cohort.people.loc[patients]), abs=0.2
    )


def test_extrapolation_is_marked():
    cohort = simulate_cohort(50, ("TR",))
    people = cohort.people
    people.loc["sub-00045", "age"] = 95.0
    people.loc["sub-00046", "bmi"] = 12.0
    people.loc["sub-00047", ["age", "bmi"]] = people[["age", "bmi"]].iloc[:40].mean().to_numpy()
    found = measure_centiles(cohort, first(cohort, 40))
    table = found.table.set_index("participant_id")
    assert table.loc["sub-00045":"sub-00047", "outside_range"].tolist() == ["yes", "yes", "no"]
    assert (table["outside_range"].iloc[:40] == "no").all()
    assert table.loc["sub-00045", NUMBERS].notna().all()
    assert any("outside the range of the controls" in note for note in found.notes)


def test_controls_of_one_sex_say_nothing_of_the_other():
    cohort = simulate_cohort(80, ("TR",))
    women = cohort.people.index[cohort.people["sex"] == "F"]
    found = measure_centiles(cohort, women)
    assert len(women) >= 20
    table = found.table.set_index("participant_id")
    men = table.loc[table.index.difference(women)]
    assert men[NUMBERS].isna().all(axis=None)
    assert (men["outside_range"] == "yes").all()
    assert table.loc[women, NUMBERS].notna().all(axis=None)
    assert any("without sex, which is the same in all controls" in note for note in found.notes)


def test_a_covariate_that_nobody_has_is_left_out():
    cohort = simulate_cohort(50, ("TR",))
    cohort.people["bmi"] = np.nan
    found = measure_centiles(cohort, first(cohort, 40))
    assert found.table[NUMBERS].notna().all(axis=None)
    assert "without bmi, which is missing in all controls" in found.notes[0]


def test_who_lacks_a_covariate_has_no_centile():
    cohort = simulate_cohort(50, ("TR",))
    cohort.people.loc["sub-00045", "age"] = np.nan
    cohort.people.loc["sub-00003", "age"] = np.nan
    found = measure_centiles(cohort, first(cohort, 40))
    table = found.table.set_index("participant_id")
    for name in ("sub-00045", "sub-00003"):
        assert table.loc[name, [*NUMBERS, "outside_range"]].isna().all()
    assert table[NUMBERS].notna().all(axis=1).sum() == 48
    assert "2 participants have no centile" in found.notes[0]


@pytest.mark.parametrize("n", [0, 1, 5, 19])
def test_too_few_controls_give_no_centile(n):
    cohort = simulate_cohort(40, ("TR", "LC"))
    found = measure_centiles(cohort, first(cohort, n))
    assert found.table[NUMBERS].isna().all(axis=None)
    assert len(found.table) == 80
    people = "1 control has" if n == 1 else f"{n} controls have"
    assert found.notes == (
        f"Centiles of TR, LC: n/a, because {people} all values, and at least 20 are needed.",
    )
    calibration = calibrate_centiles(found.table)
    assert calibration.table["n"].tolist() == [0, 0]
    assert calibration.table[["below_5", "above_95"]].isna().all(axis=None)
    assert "no control has a centile" in calibration.notes[0]


def test_twenty_controls_suffice_and_strangers_do_not_count():
    cohort = simulate_cohort(40, ("TR",))
    controls = first(cohort, 20)
    assert measure_centiles(cohort, controls).table[NUMBERS].notna().all(axis=None)
    strangers = pd.Index([*controls[:19], "sub-none"])
    assert measure_centiles(cohort, strangers).table[NUMBERS].isna().all(axis=None)


def test_controls_without_variance_give_no_centile():
    cohort = simulate_cohort(40, ("TR",))
    cohort.values["TR"] = 5.0
    found = measure_centiles(cohort, first(cohort, 30))
    assert found.table[NUMBERS].isna().all(axis=None)
    assert "do not vary" in found.notes[0]


def test_covariates_that_follow_from_each_other_give_no_centile():
    cohort = simulate_cohort(40, ("TR",))
    cohort.people["bmi"] = cohort.people["age"] / 2
    found = measure_centiles(cohort, first(cohort, 30))
    assert found.table[NUMBERS].isna().all(axis=None)
    assert "follows from the others" in found.notes[0]


def test_missing_values_have_no_row():
    cohort = simulate_cohort(40, ("TR", "LC"))
    cohort.values.loc["sub-00002", "TR"] = np.nan
    table = measure_centiles(cohort, first(cohort, 30)).table
    assert len(table) == 79
    assert not ((table["participant_id"] == "sub-00002") & (table["muscle"] == "TR")).any()


@pytest.mark.parametrize("away", [30.0, 300.0, 1e4])
def test_the_far_tail_stays_finite_and_in_order(away):
    cohort = simulate_cohort(2000, ("TR",))
    cohort.values.iloc[-2:, 0] += [away, -away]
    table = measure_centiles(cohort, first(cohort, 1900)).table
    high, low = table["z"].iloc[-2:]
    assert 20 < high < np.inf
    assert high == pytest.approx(-low, rel=0.2)
    assert table["centile"].iloc[-2:].tolist() == pytest.approx([100, 0])


def test_calibration_counts_controls_by_hand():
    centiles = pd.DataFrame(
        {
            "muscle": ["TR"] * 5 + ["LC"] * 2,
            "is_control": ["yes"] * 4 + ["no"] + ["yes"] * 2,
            "centile": [1.0, 50.0, 96.0, 97.0, 1.0, 50.0, np.nan],
        }
    )
    found = calibrate_centiles(centiles)
    assert tuple(found.table.columns) == CALIBRATION_COLUMNS
    assert found.table.values.tolist() == [["LC", 1, 0.0, 0.0], ["TR", 4, 25.0, 50.0]]
    assert found.notes == ()


def test_calibration_shows_that_the_normal_model_fails():
    cohort = simulate_cohort(2000, ("TR",), sd=0.0)
    rng = np.random.default_rng(1)
    cohort.values["TR"] += rng.exponential(1, 2000)
    row = calibrate_centiles(measure_centiles(cohort, cohort.people.index).table).table.iloc[0]
    assert row["below_5"] < 1
    assert row["above_95"] > 5


def test_cost_grows_with_the_participants_not_their_square():
    def prepare(n):
        cohort = simulate_cohort(n)
        return lambda: calibrate_centiles(measure_centiles(cohort, first(cohort, n // 2)).table)

    growth = measure_growth(prepare)
    assert growth.calls < 30
    assert growth.kilobytes < 2.4


def test_twenty_thousand_participants():
    cohort = simulate_cohort(20_000)
    found = measure_centiles(cohort, first(cohort, 10_000))
    assert len(found.table) == 140_000
    assert len(calibrate_centiles(found.table).table) == 7
