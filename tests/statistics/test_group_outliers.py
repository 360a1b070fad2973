"""Outliers: the residuals of others' models, the correction, the fall back to the mean."""

import numpy as np
import pandas as pd
import pytest
from cost import measure_growth
from simulated_group import of_values, simulate_cohort, simulate_people
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.outliers_influence import OLSInfluence

from bids_mfi.statistics.design import standard_design
from bids_mfi.statistics.outliers import OUTLIER_COLUMNS, find_outliers


def planted(n=60, by=8.0, muscles=("TR", "LC")):
    cohort = simulate_cohort(n, muscles)
    cohort.values.loc["sub-00007", "TR"] += by
    cohort.values.loc["sub-00003", "LC"] -= by + 2
    return cohort


def test_planted_outliers_are_found_and_no_other():
    found = find_outliers(planted())
    assert tuple(found.table.columns) == OUTLIER_COLUMNS
    pairs = list(zip(found.table["participant_id"], found.table["muscle"], strict=True))
    assert pairs == [("sub-00007", "TR"), ("sub-00003", "LC")]
    assert (np.sign(found.table["studentised"]) == [1, -1]).all()
    assert found.notes == ()


def test_residuals_equal_statsmodels():
    cohort = planted(by=4.0)
    table = find_outliers(cohort).table.set_index("muscle")
    assert len(table) == 2
    for muscle, row in table.iterrows():
        values = cohort.values[muscle]
        fit = OLS(values.to_numpy(), standard_design(cohort.people).matrix).fit()
        place = values.index.get_loc(row["participant_id"])
        t, _, p = np.asarray(fit.outlier_test(method="bonf"))[place]
        assert (row["studentised"], row["p_bonferroni"]) == pytest.approx((t, p), rel=1e-8)
        press = OLSInfluence(fit).resid_press[place]
        assert row["value"] - row["expected"] == pytest.approx(press, rel=1e-9)


def test_the_expectation_is_that_of_the_others():
    """An outlier must not pull the expectation to itself."""
    cohort = planted(by=8.0)
    row = find_outliers(cohort).table.iloc[0]
    others = cohort.people.index != row["participant_id"]
    matrix = standard_design(cohort.people).matrix
    beta = np.linalg.lstsq(matrix[others], cohort.values["TR"][others], rcond=None)[0]
    assert row["expected"] == pytest.approx(float(matrix[~others][0] @ beta), rel=1e-10)


def test_noise_makes_an_outlier_in_one_muscle_of_twenty():
    """Bonferroni holds the chance of any outlier in a muscle at .05."""
    listed = [
        find_outliers(simulate_cohort(30, ("TR",), seed=seed)).table.shape[0] > 0
        for seed in range(400)
    ]
    assert 0.025 < np.mean(listed) < 0.08


def test_one_sex_only_falls_back_to_the_mean():
    cohort = planted(muscles=("TR", "LC"))
    cohort.people["sex"] = "F"
    found = find_outliers(cohort)
    assert found.notes == (
        "Outliers of TR, LC: assessed by the mean only, because sex is the same in all 60 "
        "participants.",
    )
    row = found.table[found.table["muscle"] == "TR"].iloc[0]
    others = cohort.values["TR"].drop(row["participant_id"])
    assert row["expected"] == pytest.approx(others.mean())
    t = (row["value"] - others.mean()) / (others.std() * np.sqrt(1 + 1 / len(others)))
    assert row["studentised"] == pytest.approx(t)


def test_without_covariates_all_are_judged_by_the_mean():
    cohort = planted()
    cohort.people["bmi"] = np.nan
    found = find_outliers(cohort)
    assert set(found.table["participant_id"]) == {"sub-00007", "sub-00003"}
    assert "assessed by the mean only" in found.notes[0]


def test_who_lacks_a_covariate_is_counted_in_a_note():
    cohort = planted()
    cohort.people.loc["sub-00001", "age"] = np.nan
    found = find_outliers(cohort)
    assert "1 participant not assessed" in found.notes[0]
    assert len(found.table) == 2


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_few_participants_give_no_number_that_means_nothing(n):
    found = find_outliers(simulate_cohort(n, ("TR",)))
    assert found.table.empty
    assert tuple(found.table.columns) == OUTLIER_COLUMNS
    assert len(found.notes) == (n < 6)


def test_values_without_variance_are_not_searched():
    people = simulate_people(20)
    found = find_outliers(of_values(pd.DataFrame({"TR": 5.0}, people.index), people))
    assert found.table.empty
    assert "no variance" in found.notes[0]


def test_who_is_alone_of_a_sex_is_not_judged_and_told():
    cohort = simulate_cohort(30, ("TR",))
    cohort.people["sex"] = "F"
    cohort.people.loc["sub-00004", "sex"] = "M"
    cohort.values.loc["sub-00004", "TR"] += 80
    found = find_outliers(cohort)
    assert found.table.empty
    assert found.notes == (
        "Outliers of TR: sub-00004 not assessed, because the others do not determine their value "
        "(perhaps nobody else is of their sex).",
    )


def test_one_beside_others_without_error_is_told():
    people = simulate_people(20)
    people["bmi"] = np.nan
    values = pd.DataFrame({"TR": 5.0}, people.index)
    values.iloc[7] = 9.0
    found = find_outliers(of_values(values, people))
    assert found.table.empty
    assert found.notes[-1] == (
        "Outliers of TR: sub-00007 not assessed, because the values of all others follow from the "
        "model without error."
    )


def test_cost_grows_with_the_participants_not_their_square():
    def prepare(n):
        cohort = simulate_cohort(n)
        return lambda: find_outliers(cohort)

    growth = measure_growth(prepare)
    assert growth.calls < 1
    assert growth.kilobytes < 2.4


def test_twenty_thousand_participants():
    cohort = simulate_cohort(20_000)
    cohort.values.loc["sub-00007", "TR"] += 9.0
    found = find_outliers(cohort).table
    assert found.iloc[found["studentised"].abs().argmax()]["participant_id"] == "sub-00007"
