"""Nearly collinear columns: F against exact fractions, refusal with names, never a traceback."""

import re
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from simulated_group import simulate_cohort

from bids_mfi.errors import InputError
from bids_mfi.statistics.analyses import analyse_cohort, analyse_formula
from bids_mfi.statistics.centiles import measure_centiles
from bids_mfi.statistics.change import model_change
from bids_mfi.statistics.design import explain_design, standard_design
from bids_mfi.statistics.formula import fit_formula, make_design, parse_formula
from bids_mfi.statistics.formula import test_terms as run_tests
from bids_mfi.statistics.least_squares import fit_least_squares, leave_one_out
from bids_mfi.statistics.repeated import fit_repeated_measures

MUSCLES = ("MFSS", "LC", "TR")
KEPT = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
REFUSED = (3e-8, 1e-8, 1e-9, 1e-11, 1e-13, 0.0)


def solve(matrix, right):
    """Solve a linear system of fractions by elimination."""
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    n = len(rows)
    for i in range(n):
        pivot = next(k for k in range(i, n) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for k in range(n):
            if k != i and rows[k][i]:
                rows[k] = [x - rows[k][i] * y for x, y in zip(rows[k], rows[i], strict=True)]
    return [line[-1] for line in rows]


def exact_error(columns, values):
    """Sum of squared residuals of least squares, without any rounding."""
    columns = [[Fraction(float(x)) for x in column] for column in columns]
    y = [Fraction(float(x)) for x in values]

    def dot(a, b):
        return sum(p * q for p, q in zip(a, b, strict=True))

    cross, right = [[dot(a, b) for b in columns] for a in columns], [dot(a, y) for a in columns]
    return dot(y, y) - dot(solve(cross, right), right)


def exact_f(design, values, columns):
    """F of some columns beside all others."""
    rest = [i for i in range(design.rank) if i not in columns]
    whole = exact_error(design.matrix.T, values)
    without = exact_error(design.matrix.T[rest], values)
    return float((without - whole) / len(columns) / whole * design.df_error)


def collinear_cohort(share, n=24, scale=1.0, offset=0.0, seed=3):
    """``twin`` departs from ``scale * age + offset`` by this share of its spread."""
    cohort = simulate_cohort(n, MUSCLES, seed=seed)
    rng = np.random.default_rng(seed)
    people = cohort.people
    age = (people["age"] - people["age"].mean()) / people["age"].std()
    people["twin"] = offset + scale * (
        people["age"] + share * rng.normal(size=n) * people["age"].std()
    )
    people["other"] = rng.normal(size=n)
    people["group"] = rng.choice(["a", "b", "c"], n)
    cohort.values["LC"] += 0.3 * age
    return cohort


def run(cohort, text):
    parsed = parse_formula(text)
    design, _ = make_design(parsed, cohort.people)
    return design, run_tests(cohort.values, design).set_index(["muscle", "term"])


@pytest.mark.parametrize("share", KEPT)
@pytest.mark.parametrize(
    "text",
    ["mfi ~ age + twin", "mfi ~ age + twin + bmi + sex", "mfi ~ group + age + twin + group:other"],
)
def test_f_of_nearly_collinear_columns_is_exact(text, share):
    cohort = collinear_cohort(share)
    design, found = run(cohort, text)
    for name, columns in design.terms[1:]:
        for muscle in MUSCLES:
            expected = exact_f(design, cohort.values[muscle], columns)
            assert found.loc[(muscle, name), "f"] == pytest.approx(expected, rel=1e-8), name


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 365.25e6, 1e12])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e9])
def test_the_unit_of_a_column_does_not_matter(scale, offset):
    cohort = collinear_cohort(1e-3, scale=scale, offset=offset * scale)
    design, found = run(cohort, "mfi ~ age + twin + sex")
    for name, columns in design.terms[1:]:
        expected = exact_f(design, cohort.values["TR"], columns)
        assert found.loc[("TR", name), "f"] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("share", REFUSED)
def test_columns_that_follow_from_each_other_are_refused_by_name(share):
    cohort = collinear_cohort(share)
    terms, coefficients, _ = fit_formula(
        cohort, parse_formula("mfi ~ other + group + age + bmi + twin")
    )
    assert terms.table[["ss", "f", "p"]].isna().all(axis=None)
    assert coefficients.table["estimate"].isna().all()
    reason = "n/a, because one of age, twin follows from the others in these 24 participants."
    assert terms.notes[0].endswith(reason)


def test_a_sum_of_several_columns_names_all_of_them_and_no_other():
    cohort = collinear_cohort(1.0)
    cohort.people["total"] = (
        cohort.people["age"] + 2 * cohort.people["bmi"] - cohort.people["other"]
    )
    design, _ = make_design(parse_formula("mfi ~ twin + age + total + group + other + bmi"),
                            cohort.people)  # fmt: skip
    assert explain_design(design) == (
        "one of age, total, other, bmi follows from the others in these 24 participants"
    )


@pytest.mark.parametrize("text", [
    "mfi ~ age + log(age) + center(age)", "mfi ~ age*group + center(age):group",
    "mfi ~ scale(age) + center(age)", "mfi ~ age + C(age)", "mfi ~ (age + twin + bmi)^3",
    "mfi ~ C(twin)", "mfi ~ group + C(group)", "mfi ~ constant + age", "mfi ~ center(constant)",
    "mfi ~ scale(constant):age", "mfi ~ near_constant + age", "mfi ~ huge + age",
    "mfi ~ huge:huger", "mfi ~ tiny + age", "mfi ~ tiny:tinier", "mfi ~ huge:tiny + age",
    "mfi ~ (group + sex + C(block))^3", "mfi ~ one + age", "mfi ~ same_text",
])  # fmt: skip
@pytest.mark.parametrize("n", [2, 4, 5, 24])
@pytest.mark.parametrize("share", [1.0, 1e-8, 0.0])
def test_no_design_ends_in_a_traceback(text, n, share):
    cohort = collinear_cohort(share, n=n)
    people, rng = cohort.people, np.random.default_rng(n)
    people["constant"], people["same_text"] = 40.0, "x"
    people["near_constant"] = 40 * (1 + 1e-13 * rng.normal(size=n))
    people["huge"], people["huger"] = 1e29 * rng.uniform(-1, 1, size=(2, n))
    people["tiny"], people["tinier"] = 1e-29 * rng.normal(size=(2, n))
    people["block"] = np.arange(n) // 2
    people["one"] = [1.0] * (n - 1) + [np.nan]
    found = analyse_formula(cohort, parse_formula(text))
    for name, analysis in found.items():
        table = analysis.table
        numbers = table.select_dtypes("number").drop(columns="epsilon", errors="ignore")
        assert not np.isinf(numbers.to_numpy(np.float64)).any(), name
        if numbers.isna().any(axis=None) or table.empty:
            assert analysis.notes, name


@pytest.mark.parametrize("size", [1e31, 1e200, 1e-31, 1e-200])
def test_numbers_whose_products_are_none_are_refused(size):
    cohort = collinear_cohort(1.0)
    cohort.people["odd"] = size * np.linspace(0.5, 1, 24)
    with pytest.raises(InputError, match=re.escape(f"largest number of odd is {size:.3g} in size")):
        fit_formula(cohort, parse_formula("mfi ~ odd:age"))


@pytest.mark.parametrize("share", KEPT)
def test_repeated_measures_beside_a_nearly_collinear_covariate(share):
    cohort = collinear_cohort(share)
    parsed = parse_formula("mfi ~ age + twin + group")
    design, _ = make_design(parsed, cohort.people)
    values = cohort.values.to_numpy()
    found = {
        (row["effect"], row["stratum"]): row["f"]
        for row in fit_repeated_measures(values, design).effects
        if row["correction"] == "none"
    }
    first, second = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2.0], [6.0]])
    contrasts = [values @ first, values @ second]
    for name, columns in design.terms[1:]:
        mean = values @ np.full(3, 3**-0.5)
        assert found[name, "between"] == pytest.approx(exact_f(design, mean, columns), rel=1e-8)
        rest = [i for i in range(design.rank) if i not in columns]
        whole, without = (
            sum(exact_error(design.matrix.T[which], y) for y in contrasts)
            for which in (range(design.rank), rest)
        )
        expected = float((without - whole) / len(columns) / whole * design.df_error)
        assert found[f"muscle:{name}", "within"] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("share", KEPT)
def test_tests_at_age_zero_are_exact_for_the_intercept_too(share):
    cohort = collinear_cohort(share)
    cohort.people["bmi"] = cohort.people["twin"]
    design = standard_design(cohort.people)
    fit = fit_least_squares(design.matrix, cohort.values["TR"].to_numpy())
    expected = exact_f(design, cohort.values["TR"], (0,))
    assert fit.sum_squares((0,)) / fit.variance == pytest.approx(expected, rel=1e-7)
    assert fit.contrast(np.eye(4))["t"][0] ** 2 == pytest.approx(expected, rel=1e-7)


def test_coefficients_and_errors_of_an_orthogonal_twin_are_known():
    """With twin = age + share * e, the coefficients of (age, e) are those of (age, twin)."""
    share, n = 1e-6, 40
    cohort = collinear_cohort(1.0, n=n)
    noise = np.random.default_rng(0).normal(size=n)
    plain = np.column_stack([np.ones(n), cohort.people["age"], noise])
    twin = cohort.people["age"].to_numpy() + share * noise
    mixed = np.column_stack([np.ones(n), cohort.people["age"], twin])
    plain[:, 2] = (twin - cohort.people["age"]) / share  # as rounded
    y = cohort.values["LC"].to_numpy()
    known, found = fit_least_squares(plain, y), fit_least_squares(mixed, y)
    b = known.coefficients
    expected = [b[0], b[1] - b[2] / share, b[2] / share]
    np.testing.assert_allclose(found.coefficients, expected, rtol=1e-8)
    assert found.standard_errors[2] == pytest.approx(known.standard_errors[2] / share, rel=1e-8)
    np.testing.assert_allclose(found.leverages, known.leverages, rtol=1e-8)
    left = leave_one_out(found, y), leave_one_out(known, y)
    np.testing.assert_allclose(left[0].studentised, left[1].studentised, rtol=1e-7)


@pytest.mark.parametrize("share", [1e-3, 1e-6, 1e-8, 1e-10, 0.0])
def test_the_paper_s_analyses_with_bmi_that_follows_from_age(share):
    cohort = collinear_cohort(share, n=40)
    cohort.people["bmi"] = cohort.people["twin"]
    found = analyse_cohort(cohort, "holm")
    refused = share < 1e-7
    for name in ("ancova", "partialcorr", "rmancova", "emm", "sphericity"):
        column = {"emm": "estimate", "partialcorr": "r", "sphericity": "w"}.get(name, "p_bmi")
        column = "f" if name == "rmancova" else column
        assert found[name].table[column].isna().all() == refused, name
        if refused:
            assert any("one of age, bmi follows" in note for note in found[name].notes), name
    centiles = measure_centiles(cohort, cohort.values.index[:30])
    assert centiles.table["z"].isna().all() == refused


@pytest.mark.parametrize("share", [1e-2, 1e-4, 1e-6])
def test_change_with_bmi_that_nearly_follows_from_age(share):
    """The sessions' estimate does not depend on how the covariates are written."""
    cohort = collinear_cohort(share, n=40)
    rng = np.random.default_rng(1)
    e = (cohort.people["twin"] - cohort.people["age"]) / share
    rows = []
    for person, session in ((p, s) for p in cohort.values.index for s in ("ses-1", "ses-2")):
        if rng.uniform() < 0.9:
            rows.append((person, session, "TR", cohort.values.loc[person, "TR"] + rng.normal()))
    visits = pd.DataFrame(rows, columns=["participant_id", "session_id", "muscle", "value"])
    people = cohort.people[["sex", "age"]]
    plain, mixed = (
        model_change(
            visits.join(people.assign(bmi=bmi), on="participant_id"), ("ses-1", "ses-2")
        ).table.set_index("effect")
        for bmi in (e, cohort.people["twin"])
    )
    for column in ("estimate", "se", "t", "p"):
        assert mixed.loc["session", column] == pytest.approx(plain.loc["session", column], rel=1e-5)
    assert mixed.loc["bmi", "t"] == pytest.approx(plain.loc["bmi", "t"], rel=1e-5)


@pytest.mark.parametrize("share", [1e-1, 1e-3, 1e-5, 3e-7])
def test_multivariate_tests_of_muscles_that_nearly_follow_from_each_other(share):
    """Roots do not change when the muscles are mixed, and a twin of one is such a mixture."""
    cohort = collinear_cohort(1.0, n=30)
    values = cohort.values.to_numpy()
    design = standard_design(cohort.people)
    twin = values[:, 0] + share * (values[:, 1] - values[:, 1].mean())
    mixed = np.column_stack([values[:, 0], twin, values[:, 2]])
    plain = np.column_stack(
        [np.zeros(30), (twin - values[:, 0]) / share, values[:, 2] - values[:, 0]]
    )
    expected = fit_repeated_measures(plain, design).multivariate
    found = fit_repeated_measures(mixed, design).multivariate
    for one, other in zip(found, expected, strict=True):
        for name in ("pillai", "wilks", "hotelling", "roy", "p"):
            assert one[name] == pytest.approx(other[name], rel=1e-6)
