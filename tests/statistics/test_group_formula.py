"""Models by formula: what is accepted, the design, Type III tests against R and statsmodels."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cost import measure_growth
from formulaic import Formula
from simulated_group import make, simulate_cohort
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from bids_mfi.errors import InputError
from bids_mfi.statistics import formula, wilkinson
from bids_mfi.statistics.design import Design, explain_design, standard_design
from bids_mfi.statistics.formula import fit_formula, list_coefficients, make_design, parse_formula
from bids_mfi.statistics.formula_design import describe_columns
from bids_mfi.statistics.wilkinson import count_products

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "group_beyond.json").read_text())


def terms_of(text):
    parsed = parse_formula(text)
    return [parsed.name_term(term) for term in parsed.terms]


def people_of(**columns):
    people = pd.DataFrame(columns)
    people.index = pd.Index([f"s{i}" for i in range(len(people))], name="participant_id")
    return people


def with_groups(cohort, seed=5):
    rng = np.random.default_rng(seed)
    n = len(cohort.people)
    cohort.people["group"] = rng.choice(["control", "mild", "severe"], n)
    cohort.people["site"] = rng.choice(["x", "y"], n)
    return cohort


# --- the text ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("mfi ~ group + age + sex", ["group", "age", "sex"]),
        ("volume~group*age", ["group", "age", "group:age"]),
        ("mfi ~ a + b + a:b", ["a", "b", "a:b"]),
        ("mfi ~ (a + b + c)^2", ["a", "b", "c", "a:b", "a:c", "b:c"]),
        ("mfi ~ (a + b)**2 - a:b", ["a", "b"]),
        ("mfi ~ a*b*c - a:b:c", ["a", "b", "c", "a:b", "a:c", "b:c"]),
        ("mfi ~ `pain duration` + C(site)", ["pain duration", "C(site)"]),
        ("mfi ~ scale(log(bmi)) : group", ["scale(log(bmi)):group"]),
        ("mfi ~ a + a", ["a"]),
        ("mfi ~ a*b + a:b + b", ["a", "b", "a:b"]),
        ("mfi ~ ((a) + (b))^2", ["a", "b", "a:b"]),
        ("mfi ~ (a*b)^2 + log(a):a", ["a", "b", "a:b", "log(a):a"]),
        ("mfi ~ (a + b)^2:c", ["a:c", "b:c", "a:b:c"]),
        ("mfi ~ center(`x y`)", ["center(x y)"]),
        ("mfi ~ C + log + alter_ä", ["C", "log", "alter_ä"]),
        ("mfi ~ `__import__('os').getcwd()`", ["__import__('os').getcwd()"]),
    ],
)
def test_terms_of_a_formula(text, terms):
    assert terms_of(text) == terms


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("group + age", "it has no ~"),
        ("fat ~ age", "'fat' is left of ~"),
        ("log(mfi) ~ age", "'log(mfi)' is left"),
        ("mfi + volume ~ age", "'mfi + volume' is left"),
        ("mfi ~ ", "nothing is left"),
        ("mfi ~ age - age", "nothing is left"),
        ("mfi ~ age ~ sex", "'~' is not part"),
        ("mfi ~ 1", "'1' is a number"),
        ("mfi ~ age - 1", "'1' is a number"),
        ("mfi ~ 0 + age", "'0' is a number"),
        ("mfi ~ (a + b)^4", "the power '4'"),
        ("mfi ~ a ** b", "its signs"),
        ("mfi ~ age +", "its signs"),
        ("mfi ~ age sex", "its signs"),
        ("mfi ~ (age", "its signs"),
        ("mfi ~ age.max", "'.' is not part"),
        ("mfi ~ age[0]", "'[' is not part"),
        ("mfi ~ a / b", "'/' is not part"),
        ("mfi ~ a % b", "'%' is not part"),
        ("mfi ~ `age", "'`' is not part"),
        ("mfi ~ 'age'", "''' is not part"),
        ("mfi ~ {age}", "'{' is not part"),
        ("mfi ~ eval(age)", "eval() is not a function"),
        ("mfi ~ __import__(os)", "__import__() is not a function"),
        ("mfi ~ log(age + bmi)", "log() takes the name of one column"),
        ("mfi ~ C(site, Sum)", "',' is not part"),
        ("mfi ~ log(2)", "log() needs the name of one column"),
        ("mfi ~ log()", "log() needs the name of one column"),
        ("mfi ~ log(", "log() needs the name of one column"),
        ("mfi ~ log(age", "log() takes the name of one column"),
        ("mfi ~ center(C(age))", "C() makes levels"),
        ("mfi ~ C(log(age))", "C() makes levels"),
        ("mfi ~ a+b+c+d+e+f+g+h+i+j+k", "11 variables"),
        ("mfi ~ age^2", "multiplies age by itself"),
        ("mfi ~ sex + age**3", "multiplies age by itself"),
        ("mfi ~ (age)^2", "multiplies age by itself"),
        ("mfi ~ ((age))^2 + sex", "multiplies age by itself"),
        ("mfi ~ age:age", "multiplies age by itself"),
        ("mfi ~ age*age", "multiplies age by itself"),
        ("mfi ~ a*b*a", "multiplies a by itself"),
        ("mfi ~ b:a:a", "multiplies a by itself"),
        ("mfi ~ a*(b + a)", "multiplies a by itself"),
        ("mfi ~ (a:b)^2", "multiplies a by itself"),
        ("mfi ~ (a + a)^2", "multiplies a by itself"),
        ("mfi ~ a + center(a)^2", "square of center(a) must be a column"),
        ("mfi ~ b - a^2", "multiplies a by itself"),
        ("mfi ~ a + b - a:a", "multiplies a by itself"),
    ],
)
def test_what_a_formula_may_not_hold(text, found):
    with pytest.raises(InputError) as caught:
        parse_formula(text)
    message = str(caught.value)
    assert f"The formula '{text}' cannot be used: " in message
    assert found in message
    assert "Expected: mfi or volume, ~, and names of columns" in message


LETTERS = "abcdefghij"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"mfi ~ (({'+'.join(LETTERS)})^3)^3", "more than 5,000 products"),
        ("mfi ~ " + "*".join(2 * LETTERS), "more than 5,000 products"),
        ("mfi ~ ((((a + b)^3)^3)^3)^3", "more than 5,000 products"),
        ("mfi ~ " + "(" * 5 + "a + b" + ")^3" * 5, "more than 5,000 products"),
        ("mfi ~ (a*b*c*d*e*f):(a*b*c*d*e*f):(a*b*c*d*e*f)", "more than 5,000 products"),
        ("mfi ~ a + " + " - ".join(["(a*b*c*d*e*f*g*h*i*j)"] * 5), "more than 5,000 products"),
        ("mfi ~ " + "*".join(LETTERS), "it has 1,023 terms; at most 200 are allowed"),
        ("mfi ~ " + " + ".join(["a"] * 1000), "characters; the limit is 2,000"),
        ("mfi ~ a^" + "9" * 5000, "characters; the limit is 2,000"),
        ("mfi ~ a^" + "9" * 1900, "is not 2 or 3"),
        ("mfi ~ (a + b)^999999999", "the power '999999999' is not 2 or 3"),
        ("mfi ~ " + "(" * 900 + "a" + ")" * 900, "900 nested parentheses; at most 20 are allowed"),
        ("mfi ~ " + "(" * 1900, "1900 nested parentheses; at most 20 are allowed"),
        ("mfi ~ " + "log(" * 400 + "a" + ")" * 300, "log() takes the name of one column"),
    ],
)
def test_a_formula_that_would_explode_is_refused_before_it_does(text, found, monkeypatch):
    expanded = []

    def expand(algebra):
        expanded.append(algebra)
        assert count_products(algebra.split()) <= 5000
        return Formula(algebra)

    monkeypatch.setattr(wilkinson, "Formula", expand)
    with pytest.raises(InputError, match=re.escape(found)) as error:
        parse_formula(text)
    assert len(str(error.value)) < 1000
    if "products" in found or "parentheses" in found or "characters" in found:
        assert not expanded


@pytest.mark.parametrize(
    "text",
    ["a", "a + b * c", "(a + b + c)^2", "(a*b)^3 + c", "a:b:(c + d)", "a*b*c*d*e", "(a*b*c*d)^3",
     "((a + b)^2)^2", "a - b", "(a + b):(c - d)"],
)  # fmt: skip
def test_products_are_counted_as_they_would_be_listed(text):
    """With each name another one nothing falls together but in powers, which count what repeats."""
    parts = re.findall(r"\w+|\*\*|\S", text.replace("^", "**"))
    listed = len(parse_formula(f"mfi ~ {text}").terms)
    counted = count_products(parts)
    assert listed <= counted
    if "^" not in text and "-" not in text:
        assert listed == counted


def test_nothing_of_a_formula_is_run(tmp_path):
    """Names that would run as code anywhere in formulaic stay names of columns."""
    trap = tmp_path / "trap"
    code = f"open({str(trap)!r}, 'w').close()"
    people = people_of(**{code: [1.0, 2.0, 4.0, 9.0]})
    design, _ = make_design(parse_formula(f"mfi ~ `{code}`"), people)
    assert design.matrix[:, 1].tolist() == [1.0, 2.0, 4.0, 9.0]
    with pytest.raises(InputError):
        parse_formula(f"mfi ~ {code}")
    assert not trap.exists()


# --- the design --------------------------------------------------------------------------------


def design_of(text, **columns):
    return make_design(parse_formula(text), people_of(**columns))


def test_sex_is_coded_as_everywhere():
    people = people_of(sex=["M", "F", "F", "M"], age=[1.0, 2, 3, 5], bmi=[7.0, 5, 6, 9])
    design, notes = make_design(parse_formula("mfi ~ sex + age + bmi"), people)
    assert design.matrix.tolist() == standard_design(people).matrix.tolist()
    assert design.terms == standard_design(people).terms
    assert design.names == ("intercept", "sex[F]", "age", "bmi")
    assert notes == ()


def test_three_levels_sum_to_zero():
    design, _ = design_of("mfi ~ g", g=["b", "c", "a", "b"])
    assert design.matrix.tolist() == [[1, 0, 1], [1, -1, -1], [1, 1, 0], [1, 0, 1]]
    assert design.terms == (("intercept", (0,)), ("g", (1, 2)))
    assert design.names == ("intercept", "g[a]", "g[b]")


def test_numbers_become_levels_in_their_order_by_c():
    design, _ = design_of("mfi ~ C(site)", site=[10, 9, 10, 9])
    assert design.matrix[:, 1].tolist() == [-1, 1, -1, 1]
    assert design.names[1] == "C(site)[9]"
    design, _ = design_of("mfi ~ site", site=[10, 9, 10, 9])
    assert design.matrix[:, 1].tolist() == [10, 9, 10, 9]


def test_truth_values_are_levels():
    design, _ = design_of("mfi ~ smoker", smoker=[True, False, True])
    assert design.names[1] == "smoker[False]"
    assert design.matrix[:, 1].tolist() == [-1, 1, -1]


@pytest.mark.parametrize("dtype", ["str", "object", "category"])
def test_text_of_any_kind_is_a_factor(dtype):
    column = pd.Series(["b", "a", None, "b"], dtype=dtype).to_numpy(dtype=object)
    people = people_of(g=pd.Series(column, dtype=dtype))
    design, notes = make_design(parse_formula("mfi ~ g"), people)
    assert design.matrix[:, 1].tolist() == [-1, 1, -1]
    assert design.participants.tolist() == ["s0", "s1", "s3"]
    assert notes == ("Model: 1 participant left out, because of g something is missing.",)


def test_functions_are_taken_over_those_in_the_model():
    age = [1.0, 2.0, 6.0, 100.0]
    group = ["a", "b", "a", None]
    design, _ = design_of("mfi ~ group + center(age)", age=age, group=group)
    assert design.matrix[:, 2].tolist() == [-2, -1, 3]
    design, _ = design_of("mfi ~ group + scale(log(age))", age=age, group=group)
    logs = np.log([1.0, 2.0, 6.0])
    expected = (logs - logs.mean()) / logs.std(ddof=1)
    assert design.matrix[:, 2] == pytest.approx(expected)


def test_columns_of_an_interaction_are_products():
    design, notes = design_of(
        "mfi ~ g * center(age)", g=["a", "b", "c", "a", "b"], age=[1.0, 2, 3, 4, 10]
    )
    assert [name for name, _ in design.terms[1:]] == ["g", "center(age)", "g:center(age)"]
    age = design.matrix[:, 3]
    assert design.matrix[:, 4:].tolist() == (design.matrix[:, 1:3] * age[:, None]).tolist()
    assert design.names[4:] == ("g[a]:center(age)", "g[b]:center(age)")
    assert notes == ()


def test_a_covariate_in_an_interaction_that_is_not_centred_is_told():
    _, notes = design_of("mfi ~ g * age", g=["a", "b"] * 4, age=np.arange(8.0))
    assert notes == (
        "Model: with g:age the test of g applies where age is 0; center(age) uses its mean.",
    )


def test_an_interaction_without_its_parts_is_described_by_what_it_is():
    """Coefficients are checked by what they are said to be: distances and slopes within levels."""
    rng = np.random.default_rng(0)
    g, h = (rng.choice(list(x), 90) for x in ("abc", "st"))
    people = people_of(g=g, h=h, age=rng.uniform(20, 60, 90))
    cell = people.assign(y=rng.normal(10, 1, 90))
    means = cell.groupby(["g", "h"])["y"].mean().unstack()
    design, notes = make_design(parse_formula("mfi ~ g:h"), people)
    found = list_coefficients(cell[["y"]], design).query("muscle == 'y'")
    found = found.set_index("coefficient")["estimate"]
    assert found["intercept"] == pytest.approx(means.to_numpy().mean())
    assert found["h[s]"] == pytest.approx(means["s"].mean() - means.to_numpy().mean())
    assert found["g[a]:h=t"] == pytest.approx(means.loc["a", "t"] - means["t"].mean())
    assert notes == (
        "Model: g:h is in the model without g, h: its test includes their differences. In its "
        "coefficients, x[a] is the distance of level a from the mean of the levels of x, and x=a "
        "means within level a.",
    )
    design, notes = make_design(parse_formula("mfi ~ g + g:age"), people)
    found = list_coefficients(cell[["y"]], design).query("muscle == 'y'")
    found = found.set_index("coefficient")["estimate"]
    only = cell[cell["g"] == "b"]
    assert found["g=b:age"] == pytest.approx(np.polyfit(only["age"], only["y"], 1)[0])
    assert notes[0].startswith("Model: g:age is in the model without age: its test includes their")


def test_how_each_column_was_taken_is_described():
    people = people_of(
        group=[1, 2, 1, 3], ndi=["b", "a", "c", "n/a"], smoker=[True, False, True, True],
        site=list("zyxw"), code=[f"k{i}" for i in range(4)], age=[30.5, 40.0, np.nan, 50.0],
    )  # fmt: skip
    people = pd.concat([people, people.assign(code=["k4", "k5", "k6", "k7"])])
    parsed = parse_formula("mfi ~ group + C(group):ndi + smoker + log(age) + code")
    assert describe_columns(parsed, people) == (
        "group: number, 1 to 3",
        "C(group): factor with 3 levels (1, 2, 3)",
        "ndi: factor with 3 levels (a, b, n/a)",
        "smoker: factor with 2 levels (False, True)",
        "log(age): number, 3.418 to 3.912",
        "code: factor with 6 levels (k0, k1, k3, k4, k5, ...)",
    )


def test_an_unknown_column_is_named_and_the_known_ones_too():
    with pytest.raises(InputError, match=r"no column 'grupo'.*columns are group, age"):
        design_of("mfi ~ grupo + age", group=["a"], age=[1.0])


@pytest.mark.parametrize(
    ("text", "column", "found"),
    [
        ("mfi ~ log(x)", [0.0, 1.0, 2.0], "0 or less in 1 participant"),
        ("mfi ~ center(x)", ["a", "b", "a"], "center() needs numbers, and x holds text"),
        ("mfi ~ x", [f"n{i}" for i in range(60)], "x has 60 different values"),
        ("mfi ~ C(x)", np.arange(60.0), "x has 60 different values"),
    ],
)
def test_columns_that_do_not_fit(text, column, found):
    with pytest.raises(InputError) as caught:
        design_of(text, x=column)
    assert found in str(caught.value)


def test_too_many_columns_are_refused_before_they_are_made():
    levels = [f"n{i % 40}" for i in range(400)]
    with pytest.raises(InputError, match="1680 columns"):
        design_of("mfi ~ x * y", x=levels, y=levels[::-1])


@pytest.mark.parametrize("text", ["mfi ~ g", "mfi ~ g + age", "mfi ~ age + g:age"])
def test_a_factor_of_one_level_is_explained(text):
    design, _ = design_of(text, g=["a"] * 6, age=[1.0, 2, 4, 8, 16, 32])
    assert explain_design(design) in (
        "g is the same in all 6 participants", "g:age is the same in all 6 participants",
    )  # fmt: skip


def test_nobody_with_all_columns():
    design, notes = design_of("mfi ~ g * age", g=["a", None], age=[np.nan, 2.0])
    assert explain_design(design).startswith("0 participants have all values")
    assert "2 participants left out" in notes[0]


def test_infinite_numbers_are_missing():
    design, _ = design_of("mfi ~ age", age=[1.0, np.inf, 3.0])
    assert design.participants.tolist() == ["s0", "s2"]


def part_of(design, rows):
    return Design(design.matrix[rows], design.terms, design.participants[rows], design.names)


def test_a_level_without_participants_is_explained():
    levels = np.array(list("abcd") * 6)
    design, _ = design_of("mfi ~ g", g=levels)
    assert explain_design(design) is None
    for lost in ("a", "d", "cd", "ab"):
        rows = ~np.isin(levels, list(lost))
        assert explain_design(part_of(design, rows)) == (
            f"a level of g has none of the {rows.sum()} participants with all values"
        )
    assert explain_design(part_of(design, levels == "b")) == "g is the same in all 6 participants"


def test_a_combination_without_participants_is_explained():
    g, h = np.array(list("aabb") * 4), np.array(list("xyxy") * 4)
    rows = ~((g == "a") & (h == "y"))
    design, _ = design_of("mfi ~ g * h", g=g[rows], h=h[rows])
    assert "follows from the others" in explain_design(design)


# --- the tests ---------------------------------------------------------------------------------


def test_terms_and_coefficients_equal_r():
    reference = REFERENCE["formula"]
    people = pd.DataFrame(reference["data"])
    design, _ = make_design(parse_formula("mfi ~ group * sex + age"), people)
    values = people[["value"]].rename(columns={"value": "TR"})
    found = formula.test_terms(values, design)
    found = found[found["muscle"] == "TR"].set_index("term")
    for i, term in enumerate(reference["terms"]["term"]):
        row = found.loc[term]
        for name, column in (("ss", "ss"), ("df1", "df1"), ("f", "f"), ("p", "p")):
            assert row[name] == pytest.approx(reference["terms"][column][i], rel=1e-8), term
        assert (row["df2"], row["n"]) == (reference["df2"], len(people))
        assert row["r2"] == pytest.approx(reference["r2"], rel=1e-10)
    coefficients = list_coefficients(values, design)
    coefficients = coefficients[coefficients["muscle"] == "TR"]
    assert coefficients["coefficient"].tolist() == [
        "intercept", "group[x]", "group[y]", "sex[F]", "age", "group[x]:sex[F]", "group[y]:sex[F]"
    ]  # fmt: skip
    assert (coefficients["df"] == reference["df2"]).all()
    for name in ("estimate", "se", "p", "ci_lower", "ci_upper"):
        assert coefficients[name].tolist() == pytest.approx(
            reference["coefficients"][name], rel=1e-8, abs=1e-11
        ), name


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("mfi ~ group + age + sex", "C(group, Sum) + age + C(sex, Sum)"),
        ("mfi ~ group * center(age) + bmi", "C(group, Sum) * agec + bmi"),
        ("mfi ~ group * sex * site", "C(group, Sum) * C(sex, Sum) * C(site, Sum)"),
    ],
)
def test_type_three_equals_statsmodels(text, other):
    cohort = with_groups(simulate_cohort(80, ("LC", "TR")))
    cohort.values.loc["sub-00005", "TR"] = np.nan
    table = fit_formula(cohort, parse_formula(text))[0].table
    assert tuple(table.columns) == formula.TERM_COLUMNS
    outcomes = {name: cohort.values[name] for name in ("LC", "TR")}
    outcomes["mean"] = cohort.values.mean(axis=1, skipna=False)
    assert table["muscle"].unique().tolist() == list(outcomes)
    for name, outcome in outcomes.items():
        agec = cohort.people["age"] - cohort.people["age"].mean()
        data = cohort.people.assign(value=outcome, agec=agec).dropna()
        fit = ols(f"value ~ {other}", data).fit()
        expected = anova_lm(fit, typ=3).iloc[1:]
        expected = expected.iloc[[*np.argsort(expected["sum_sq"][:-1]), -1]]
        found = table[table["muscle"] == name].sort_values("ss")
        assert len(found) == len(expected) - 1
        for column, theirs in (("ss", "sum_sq"), ("df1", "df"), ("f", "F"), ("p", "PR(>F)")):
            assert found[column].tolist() == pytest.approx(
                expected[theirs].tolist()[:-1], rel=1e-8
            ), (name, column)
        assert (found["n"] == len(data)).all()
        assert found["r2"].tolist() == pytest.approx([fit.rsquared] * len(found))
        error = expected["sum_sq"].iloc[-1]
        assert found["partial_eta_sq"].tolist() == pytest.approx(
            (found["ss"] / (found["ss"] + error)).tolist()
        )


def test_each_muscle_leaves_out_only_its_own():
    cohort = with_groups(simulate_cohort(40, ("LC", "TR")))
    cohort.values.loc["sub-00001", "LC"] = np.nan
    cohort.values.loc["sub-00002", "TR"] = np.nan
    cohort.people.loc["sub-00003", "age"] = np.nan
    terms, coefficients, _ = fit_formula(cohort, parse_formula("mfi ~ group + age"))
    counts = terms.table.drop_duplicates("muscle").set_index("muscle")["n"]
    assert counts.to_dict() == {"LC": 38, "TR": 38, "mean": 37}
    assert tuple(coefficients.table.columns) == formula.COEFFICIENT_COLUMNS
    assert terms.notes == coefficients.notes
    assert terms.notes == (
        "Model: 1 participant left out, because of group, age something is missing.",
        "Model, columns: group: factor with 3 levels (control, mild, severe); age: number, 21.42 "
        "to 69.86.",
    )


def test_the_square_of_t_is_f_of_one_column():
    terms, coefficients, _ = fit_formula(
        with_groups(simulate_cohort(40, ("LC", "TR"))), parse_formula("mfi ~ site + age + sex")
    )
    t = coefficients.table[coefficients.table["coefficient"] != "intercept"]
    assert (t["t"] ** 2).tolist() == pytest.approx(terms.table["f"].tolist())
    assert t["p"].tolist() == pytest.approx(terms.table["p"].tolist())


def test_a_coefficient_has_the_unit_of_its_covariate():
    """The truth: .05 a year, .1 a kg/m^2, F 2 above M."""
    cohort = simulate_cohort(5000, ("TR", "LC"), sd=1.0)
    _, found, _ = fit_formula(cohort, parse_formula("mfi ~ sex + age + bmi"))
    rows = found.table[found.table["muscle"] == "TR"].set_index("coefficient")
    for name, expected in (("intercept", 10), ("sex[F]", 1), ("age", 0.05), ("bmi", 0.1)):
        assert abs(rows.loc[name, "estimate"] - expected) < 4 * rows.loc[name, "se"]
    assert (rows["se"] < 0.2).all()


@pytest.mark.parametrize(
    ("text", "spoil", "note"),
    [
        ("mfi ~ group", {"group": "one"}, "group is the same in all 30 participants"),
        ("mfi ~ age", {"age": 40.0}, "age is the same in all 30 participants"),
        ("mfi ~ age", {"age": np.nan}, "0 participants have all values"),
        ("mfi ~ sex + C(sex)", {}, "follows from the others"),
        ("mfi ~ (group + site + sex)^3 + C(block)", {}, "30 participants have all values"),
    ],
)
def test_what_cannot_be_estimated_is_nan_with_a_note(text, spoil, note):
    cohort = with_groups(simulate_cohort(30, ("LC", "TR")))
    cohort.people["block"] = np.arange(30) // 1.5
    for name, value in spoil.items():
        cohort.people[name] = value
    terms, coefficients, _ = fit_formula(cohort, parse_formula(text))
    numbers = ["df1", "df2", "ss", "f", "p", "partial_eta_sq", "r2"]
    assert terms.table[numbers].isna().all(axis=None)
    assert coefficients.table.iloc[:, 2:].isna().all(axis=None)
    assert set(terms.table["muscle"]) == {"LC", "TR", "mean"}
    assert any(note in text for text in terms.notes), terms.notes


@pytest.mark.parametrize("values", [5.0, "exact"])
def test_values_without_error_are_not_tested(values):
    cohort = simulate_cohort(30, ("TR", "LC"))
    cohort.values["TR"] = 0.1 * cohort.people["age"] if values == "exact" else values
    terms, _, _ = fit_formula(cohort, parse_formula("mfi ~ age"))
    found = terms.table.set_index("muscle")["f"]
    assert found.isna().to_dict() == {"TR": True, "LC": False, "mean": False}
    assert terms.notes[:-1] == (
        "Model of TR: n/a, because the values do not vary about the model.",
    )


def test_one_muscle_has_no_mean():
    terms, _, _ = fit_formula(simulate_cohort(30, ("TR",)), parse_formula("mfi ~ age"))
    rows = terms.table.set_index("muscle")
    assert np.isfinite(rows.loc["TR", "f"])
    assert np.isnan(rows.loc["mean", "f"])
    assert "at least 2" in terms.notes[0]


def test_no_muscle_at_all():
    people = simulate_cohort(10, ("TR",)).people
    empty = pd.DataFrame(index=people.index)
    terms, coefficients, _ = fit_formula(make(people, empty, empty), parse_formula("mfi ~ age"))
    assert terms.table["muscle"].tolist() == ["mean"]
    assert terms.table["f"].isna().all()
    assert len(coefficients.table) == 2


def test_a_model_of_volumes_needs_volumes():
    with pytest.raises(ValueError, match="a model of volume"):
        fit_formula(simulate_cohort(10), parse_formula("volume ~ age"))


def test_cost_grows_with_the_participants_not_their_square():
    parsed = parse_formula("mfi ~ group * center(age) + sex + bmi")

    def prepare(n):
        cohort = with_groups(simulate_cohort(n))
        return lambda: fit_formula(cohort, parsed)

    growth = measure_growth(prepare)
    assert growth.calls < 1
    assert growth.kilobytes < 2.4


def test_twenty_thousand_participants():
    cohort = with_groups(simulate_cohort(20_000))
    terms, _, _ = fit_formula(cohort, parse_formula("mfi ~ group * center(age) + sex + bmi"))
    assert len(terms.table) == 8 * 5
    assert terms.table["f"].notna().all()
