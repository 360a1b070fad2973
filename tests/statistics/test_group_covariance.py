"""Analyses of covariance and correlations where there is no error, or hardly a participant."""

import numpy as np
import pandas as pd
import pytest
from simulated_group import make, of_values, simulate_cohort, simulate_people

from bids_mfi.statistics.analyses import analyse_cohort
from bids_mfi.statistics.covariance import analyse_repeated, compare_sexes, correlate_partially
from bids_mfi.statistics.covariates import sort_covariates
from bids_mfi.statistics.design import standard_design
from bids_mfi.statistics.paired import correlate_muscles
from bids_mfi.statistics.repeated import fit_repeated_measures

MUSCLES = ("LC", "SCM", "TR")


def spoilt(values, n=24, muscle="TR"):
    """A cohort in which one muscle's values are made of people."""
    cohort = simulate_cohort(n, MUSCLES)
    cohort.values[muscle] = values(cohort.people)
    return make(cohort.people, cohort.values, cohort.values.copy())


def sex_of(people):
    return people["sex"].map({"F": 12.3, "M": 9.7})


WITHOUT_ERROR = {
    "constant": (lambda people: 10.0, "the value is the same in all 24 participants"),
    "constant, no binary number": (lambda people: 10.1, "the value is the same in all 24"),
    "constant in each sex": (sex_of, "the values do not vary about the model"),
    "linear in bmi": (lambda p: 5 + 0.1 * p["bmi"], "the values do not vary about the model"),
    "linear in all": (
        lambda p: sex_of(p) + 0.1 * p["bmi"] - p["age"] / 3,
        "the values do not vary about the model",
    ),
    "too small": (lambda p: 1e-300 * p["age"] * p["bmi"], "the values do not vary"),
}


@pytest.mark.parametrize("which", WITHOUT_ERROR)
@pytest.mark.parametrize("name", ["ancova", "emm", "partialcorr"])
def test_a_muscle_without_error_has_no_number_of_rounding(which, name):
    values, reason = WITHOUT_ERROR[which]
    found = analyse_cohort(spoilt(values), "none")[name]
    column = "level" if name == "emm" else "muscle"
    own = found.table[found.table[column] == "TR"]
    kept = ["muscle", "n", "x", "controlling", "factor", "level"]
    assert own.drop(columns=kept, errors="ignore").isna().all(axis=None)
    others = found.table[found.table[column] != "TR"]
    assert others.notna().all(axis=None)
    assert len(found.notes) == 1
    assert f" of TR: n/a, because {reason}" in found.notes[0]


@pytest.mark.parametrize("values", [10.1, sex_of])
def test_all_muscles_without_error(values):
    people = simulate_people(24)
    column = values(people) if callable(values) else values
    cohort = of_values(pd.DataFrame({name: column for name in MUSCLES}, people.index), people)
    found = analyse_cohort(cohort, "holm")
    for name in ("ancova", "emm", "partialcorr", "rmancova", "multivariate", "sphericity"):
        table = found[name].table
        tests = [
            c for c in table if c in ("t", "f", "f_sex", "p", "p_sex", "r", "w", "se", "pillai")
        ]
        assert len(tests)
        assert table[tests].isna().all(axis=None), name
        assert found[name].notes, name
    sums = found["rmancova"].table.query("effect == 'muscle:age'")["ss"]
    assert (sums == 0).all()


def test_tiny_values_are_tested_as_their_multiples_are():
    cohort = simulate_cohort(24, MUSCLES)
    tiny = make(cohort.people, cohort.left * 1e-100, cohort.right * 1e-100)
    for analyse in (compare_sexes, lambda c: correlate_partially(c)[0], correlate_muscles):
        expected, found = (analyse(one).table for one in (cohort, tiny))
        for name in found.columns.intersection(["t", "p", "p_sex", "f_age", "r", "pes_sex"]):
            assert found[name].tolist() == pytest.approx(expected[name].tolist(), rel=1e-6)


def test_partial_correlation_of_five_has_no_interval():
    found, _ = correlate_partially(simulate_cohort(5, ("TR",), seed=2))
    assert found.table[["r", "t", "p"]].notna().all(axis=None)
    assert found.table[["ci_lower", "ci_upper"]].isna().all(axis=None)
    assert found.notes == (
        "Partial correlations of TR: no confidence interval, because 5 participants have all "
        "values and 6 are needed.",
    )


# --- simple correlations -----------------------------------------------------------------------


def correlation_of(x, y):
    people = simulate_people(len(x))
    values = pd.DataFrame({"LC": x, "TR": y}, people.index, dtype=float)
    found = correlate_muscles(of_values(values, people))
    return found.table.iloc[0], found.notes


@pytest.mark.parametrize(("factor", "r"), [(2.0, 1.0), (0.3, 1.0), (-0.7, -1.0)])
def test_muscles_on_a_line_have_r_and_no_test(factor, r):
    x = simulate_cohort(24, ("TR",)).values["TR"].to_numpy()
    row, notes = correlation_of(x, factor * x + 1)
    assert row["r"] == r
    assert row[["t", "p", "ci_lower", "ci_upper"]].isna().all()
    assert notes == (
        "Correlation of LC-TR: no test, because one muscle is a linear function of the other, "
        "without error.",
    )


@pytest.mark.parametrize(
    ("x", "y", "note"),
    [
        ([1, 2, 3, 4], [5, 5, 5, 5], "n/a, because a muscle has the same value in all"),
        ([1, 2], [4, 3], "n/a, because fewer than 3 participants have both muscles"),
        ([1, 2, 4], [4, 3, 7], "no confidence interval, because 3 participants have both muscles"),
    ],
)
def test_why_a_correlation_is_missing(x, y, note):
    row, notes = correlation_of(x, y)
    assert np.isnan(row["ci_lower"])
    assert np.isnan(row["r"]) == note.startswith("n/a")
    assert len(notes) == 1
    assert note in notes[0]


# --- reasons -----------------------------------------------------------------------------------


@pytest.mark.parametrize("correction", ["none", "holm", "fdr_bh"])
def test_no_measure_at_all_is_the_reason(correction):
    people = simulate_people(10)
    empty = pd.DataFrame(index=people.index[:0])
    found = analyse_cohort(make(people.iloc[:0], empty, empty), correction)
    for name in ("rmancova", "sphericity", "multivariate", "emm", "ancova"):
        assert any("no participant has a value of any muscle" in x for x in found[name].notes)


def repeated_of(n, seed=0, muscles=7):
    names = [f"M{i}" for i in range(muscles)]
    return analyse_repeated(simulate_cohort(n, names, seed=seed))


@pytest.mark.parametrize(("n", "degrees"), [(5, "1 degree"), (9, "5 degrees")])
def test_too_few_for_multivariate_tests_and_sphericity_are_told(n, degrees):
    found = repeated_of(n, seed=2)
    reason = f"the error has {degrees} of freedom, and 7 muscles need 6"
    assert found.multivariate["p"].isna().all()
    assert found.notes_multivariate == (f"Multivariate tests: n/a, because {reason}.",)
    assert found.sphericity["w"].isna().all()
    assert found.notes_sphericity[0] == f"Mauchly's test: n/a, because {reason}."


def test_enough_for_all_tests_need_no_note():
    found = repeated_of(24)
    assert (found.notes, found.notes_sphericity, found.notes_multivariate) == ((), (), ())
    for table in (found.multivariate, found.sphericity):
        assert table.notna().all(axis=None)


def test_a_muscle_that_follows_from_others_is_told():
    cohort = simulate_cohort(24, ("A", "B", "C", "D"))
    cohort.values["C"] = 0.3 * cohort.values["D"] + 1
    cohort.values["B"] = 2 * cohort.values["D"]
    found = analyse_repeated(cohort)
    reason = "a muscle follows from the others in these participants"
    assert found.notes_multivariate == (f"Multivariate tests: n/a, because {reason}.",)
    assert found.notes_sphericity == (f"Mauchly's test: n/a, because {reason}.",)


def test_two_muscles_have_no_sphericity_to_be_tested():
    found = repeated_of(24, muscles=2)
    assert found.sphericity[["w", "p_chi2"]].isna().all(axis=None)
    assert "sphericity does not apply" in found.notes_sphericity[0]
    assert found.notes_multivariate == ()


def test_huynh_feldt_without_a_denominator_is_told():
    found = repeated_of(5, seed=2)
    lost = found.effects[found.effects["correction"] == "huynh_feldt"]
    assert lost[["epsilon", "p"]].isna().all(axis=None)
    note = "Huynh-Feldt: n/a, because its denominator is not above 0, with so few participants."
    assert note in found.notes
    assert note in found.notes_sphericity


def test_repeated_measures_without_error_say_so():
    people = simulate_people(12)
    values = np.column_stack([people["age"], people["age"], people["age"]])
    found = fit_repeated_measures(values, standard_design(people, centred=True))
    assert {row["f"] for row in found.effects if row["f"] == row["f"]} == set()
    assert [note.split(":")[0] for note in found.notes_effects] == [
        "Effects within participants", "Effects between participants",
    ]  # fmt: skip
    assert found.ss_error_between == found.ss_error_within == 0


@pytest.mark.parametrize(("n", "told"), [(1, "1 participant,"), (2, "2 participants,"), (3, None)])
def test_a_group_of_few_is_told(n, told):
    cohort = simulate_cohort(24, MUSCLES)
    cohort.people["sex"] = ["M"] * n + ["F"] * (24 - n)
    found = analyse_cohort(cohort, "none")
    for name in ("ancova", "rmancova", "emm"):
        notes = [note for note in found[name].notes if "the M group is of" in note]
        assert len(notes) == (1 if told else 0), name
        assert all(f"is of {told} and tests of sex depend on it" in note for note in notes)
    assert found["ancova"].table["p_sex"].notna().all()


# --- which covariates --------------------------------------------------------------------------


def sorted_of(**columns):
    people = simulate_people(24).assign(**columns)
    return sort_covariates(people)


def first(n, values):
    return [x if i < n else np.nan for i, x in enumerate(values)]


BMI = simulate_people(24)["bmi"].tolist()


@pytest.mark.parametrize(
    ("columns", "kept", "explained"),
    [
        ({}, ("sex", "age", "bmi"), None),
        (
            {"bmi": first(1, BMI)},
            ("sex", "age"),
            "without bmi, which is known in 1 of 24 only",
        ),
        (
            {"bmi": first(11, BMI)},
            ("sex", "age"),
            "without bmi, which is known in 11 of 24 only",
        ),
        ({"bmi": first(12, BMI)}, ("sex", "age", "bmi"), None),
        ({"bmi": first(14, [25.1] * 24)}, ("sex", "age"), "without bmi, which is the same in all"),
        ({"bmi": 0.1 + 0.2}, ("sex", "age"), "without bmi, which is the same in all"),
        ({"sex": "F"}, ("age", "bmi"), "without sex, which is the same in all"),
        ({"sex": None}, ("age", "bmi"), "without sex, which is missing in all"),
        (
            {"sex": "M", "bmi": first(3, BMI), "age": np.nan},
            (),
            "without sex, which is the same in all, and without age, which is missing in all, and "
            "without bmi, which is known in 3 of 24 only",
        ),
    ],
)
def test_covariates_are_left_out_for_true_reasons(columns, kept, explained):
    found = sorted_of(**columns)
    assert found.kept == kept
    assert found.explain() == explained


def test_covariates_never_known_together_are_no_constant():
    age = simulate_people(24)["age"].tolist()
    found = sorted_of(bmi=first(12, BMI), age=[np.nan] * 12 + age[12:])
    assert found.kept == ("sex", "age", "bmi")
    assert found.explain("controls") is None
