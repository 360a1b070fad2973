"""Marginal means of a user's model, against emmeans of R and against the truth."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cost import measure_peak_mb
from simulated_group import make, simulate_cohort

from bids_mfi.statistics.analyses import analyse_formula
from bids_mfi.statistics.formula import fit_formula, parse_formula
from bids_mfi.statistics.marginal import MEANS_COLUMNS

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "group_means.json").read_text())
NUMBERS = list(MEANS_COLUMNS[4:])


def reference_cohort():
    people = pd.DataFrame(REFERENCE["data"])
    people.index = pd.Index([f"s{i:02d}" for i in range(len(people))], name="participant_id")
    values = people[["value"]].rename(columns={"value": "TR"})
    return make(people, values, values)


def means_of(cohort, text):
    return fit_formula(cohort, parse_formula(text))[2]


def with_groups(n, seed=3):
    cohort = simulate_cohort(n, ("LC", "TR"))
    rng = np.random.default_rng(seed)
    cohort.people["group"] = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    cohort.people["site"] = rng.choice(["s", "t"], n, p=[0.8, 0.2])
    return cohort


@pytest.mark.parametrize("text", REFERENCE["models"])
def test_means_and_differences_equal_emmeans(text):
    expected = pd.DataFrame(REFERENCE["models"][text])
    found = means_of(reference_cohort(), text).table
    found = found[found["muscle"] == "TR"]
    assert tuple(found.columns) == MEANS_COLUMNS
    names = ["factor", "level", "versus"]
    found, expected = (
        table.assign(versus=table["versus"].astype("object").fillna("")).set_index(names)
        for table in (found, expected)
    )
    assert set(found.index) == set(expected.index)
    assert len(found) == len(expected) > 5
    for name in NUMBERS:
        assert found.loc[expected.index, name].tolist() == pytest.approx(
            expected[name].tolist(), rel=1e-8, abs=1e-12
        ), name


def test_it_is_given_as_a_table_of_its_own():
    cohort = with_groups(60)
    found = analyse_formula(cohort, parse_formula("mfi ~ group + age"))
    assert list(found) == ["model", "model_coefficients", "model_means", "model_rmancova"]
    table = found["model_means"].table
    assert table["muscle"].unique().tolist() == ["LC", "TR", "mean"]
    assert table["versus"].isna().sum() == 3 * 3
    assert table[NUMBERS].notna().all(axis=None)
    assert found["model_means"].notes == (
        "Marginal means: the p-values of the differences are not corrected for their number.",
    )


def test_difference_of_two_levels_is_twice_the_coefficient():
    terms, coefficients, means = fit_formula(with_groups(60), parse_formula("mfi ~ sex + age"))
    half = coefficients.table.query("muscle == 'TR' and coefficient == 'sex[F]'").iloc[0]
    row = means.table.query("muscle == 'TR' and versus == 'M'").iloc[0]
    assert (row["factor"], row["level"]) == ("sex", "F")
    assert row[["estimate", "se"]].tolist() == pytest.approx([2 * half["estimate"], 2 * half["se"]])
    assert row[["t", "p", "df"]].tolist() == pytest.approx(half[["t", "p", "df"]].tolist())
    assert row["p"] == pytest.approx(
        terms.table.query("muscle == 'TR' and term == 'sex'")["p"].item()
    )


def test_levels_have_the_sign_and_unit_of_the_truth():
    """F is 2 above M at the same age and BMI."""
    cohort = simulate_cohort(4000, ("TR", "LC"))
    row = means_of(cohort, "mfi ~ sex + age + bmi").table.query("muscle == 'TR'").iloc[-1]
    assert (row["level"], row["versus"]) == ("F", "M")
    assert abs(row["estimate"] - 2) < 4 * row["se"] < 0.3


def test_participants_of_a_level_are_those_of_the_muscle():
    cohort = with_groups(60)
    lost = cohort.people.index[cohort.people["group"] == "b"][:2]
    cohort.values.loc[lost, "TR"] = np.nan
    table = means_of(cohort, "mfi ~ group + age").table
    counts = table[table["versus"].isna()].pivot(index="level", columns="muscle", values="n")
    expected = cohort.people["group"].value_counts()
    assert counts["LC"].to_dict() == expected.to_dict()
    assert (counts["LC"] - counts["TR"]).to_dict() == {"a": 0, "b": 2, "c": 0}
    pair = table.query("muscle == 'LC' and level == 'a' and versus == 'b'")["n"].item()
    assert pair == expected["a"] + expected["b"]


def test_covariates_stand_at_the_means_of_the_muscle_not_of_all():
    cohort = with_groups(80)
    cohort.values.loc[cohort.people["age"] > 50, "TR"] = np.nan
    table = means_of(cohort, "mfi ~ sex + age").table.set_index(["muscle", "level"])
    known = cohort.values["TR"].dropna().index
    ages, sexes = cohort.people.loc[known, "age"], cohort.people.loc[known, "sex"] == "F"
    x = np.column_stack([np.ones(len(known)), np.where(sexes, 1, -1), ages])
    beta = np.linalg.lstsq(x, cohort.values.loc[known, "TR"], rcond=None)[0]
    expected = beta @ [1, 1, ages.mean()]
    assert table.loc[("TR", "F"), "estimate"].iloc[0] == pytest.approx(expected)


def test_levels_are_words_in_their_order():
    cohort = with_groups(60)
    cohort.people["site"] = np.where(cohort.people["site"] == "s", 10, 9)
    table = means_of(cohort, "mfi ~ C(site)").table.query("muscle == 'TR'")
    assert table["level"].tolist() == ["9", "10", "9"]
    assert table["factor"].unique().tolist() == ["C(site)"]
    assert table["n"].tolist()[:2] == [(cohort.people["site"] == x).sum() for x in (9, 10)]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("mfi ~ age", "not made, because no factor of two levels is a main effect"),
        ("mfi ~ age + group:age", "not made, because no factor"),
        ("mfi ~ group * age", "group is in group:age; its means are averages over it"),
    ],
)
def test_what_means_are_of_is_told(text, note):
    found = means_of(with_groups(60), text)
    assert any(note in one for one in found.notes), found.notes
    assert found.table.empty == ("not made" in note)
    assert tuple(found.table.columns) == MEANS_COLUMNS


def test_a_model_without_error_has_no_means():
    cohort = with_groups(40)
    cohort.values["TR"] = cohort.people["group"].map({"a": 10.1, "b": 12.0, "c": 9.9})
    found = means_of(cohort, "mfi ~ group")
    empty = found.table[found.table["muscle"] == "TR"]
    assert empty[NUMBERS[:-1]].isna().all(axis=None)
    assert (empty["n"] > 0).all()
    assert "Model of TR: n/a, because the values do not vary about the model." in found.notes


def with_factors(count):
    """``count`` factors of five levels, and the model of all of them."""
    cohort = simulate_cohort(300, ("TR", "LC"))
    rng = np.random.default_rng(0)
    for i in range(count):
        cohort.people[f"g{i}"] = rng.choice(list("abcde"), 300)
    return cohort, "mfi ~ " + " + ".join(f"g{i}" for i in range(count))


def test_cost_does_not_grow_with_the_combinations_of_levels():
    """Six factors have 15,625 combinations: their rows of the design would take 30 MB and more."""
    model = with_factors(6)
    means_of(*model)  # what is made once and kept does not count
    assert measure_peak_mb(lambda: means_of(*model)) < 15


def test_ten_factors():
    """They have ten million combinations, of which a loop would not come to an end."""
    found = means_of(*with_factors(10))
    assert len(found.table) == 3 * 10 * (5 + 10)
    assert found.table[NUMBERS].notna().all(axis=None)
