"""Every analysis on cohorts spoilt at random: no warning, no nonsense, no n/a without a reason."""

import re

import numpy as np
import pandas as pd
import pytest
from simulated_group import long_of, make, simulate_cohort

from bids_mfi.errors import InputError
from bids_mfi.statistics.analyses import analyse_cohort, analyse_formula
from bids_mfi.statistics.centiles import calibrate_centiles, measure_centiles
from bids_mfi.statistics.change import (
    list_changes,
    measure_repeatability,
    model_change,
    paired_change,
)
from bids_mfi.statistics.cohort import Analysis, make_cohort
from bids_mfi.statistics.formula import parse_formula

FORMULAS = ("group", "group*age", "sex + age + bmi", "group:age", "(group + sex)^2", "C(age)")
WORDS = {
    "participant_id", "muscle", "session", "session_from", "session_to", "effect", "exceeds_sdc",
    "outside_range", "term", "coefficient", "is_control", "factor", "level", "versus",
    "covariates", "stratum", "correction", "muscle_a", "muscle_b", "x", "controlling", "sex",
}  # fmt: skip
NEVER_BELOW_ZERO = ("se", "sd_diff", "sw", "df", "sd_participants", "ss", "f", "ss_sex", "sd")
MOST = 1e9  # of a t of at most 30 participants; above, it is one of rounding
MUSCLES = ("LC", "SCM", "TR")


def spoil_people(people, rng):
    n = len(people)
    people["group"] = rng.choice(["x", "y", "z"][: rng.integers(1, 4)], n)
    lone = ["M", *(["F"] * n)][:n]
    spoilt = {
        0: {"sex": "F"}, 1: {"sex": None}, 2: {"age": 40.0}, 3: {"age": np.nan},
        4: {"bmi": 2 * people["age"]}, 5: {"bmi": people["bmi"].where(rng.uniform(size=n) < 0.5)},
        6: {"sex": lone}, 7: {"bmi": people["bmi"].where(np.arange(n) < 1)},
    }  # fmt: skip
    return people.assign(**spoilt.get(int(rng.integers(0, 11)), {}))


def spoil_side(side, people, rng, how):
    last = side.columns[-1]
    sex = people["sex"].map({"F": 12.3, "M": 9.7}).astype(np.float64).fillna(8.1)
    line = side[side.columns[0]] * 0.3 + 1
    changed = {
        0: lambda: side.assign(**{side.columns[0]: np.nan}),
        1: lambda: side.where(rng.uniform(size=side.shape) < 0.5),
        2: lambda: side * 0,
        3: lambda: side * 0 + 10.1,
        4: lambda: side.round(),
        5: lambda: side.assign(**{last: 10.1}),
        6: lambda: side.assign(**{last: sex}),
        7: lambda: side.assign(**{last: 5 + 0.1 * people["bmi"]}),
        8: lambda: side.assign(**{last: line}),
        9: lambda: side * 1e-300,
        10: lambda: side.assign(**{last: side[last].where(np.arange(len(side)) < 1)}),
        11: lambda: side.mul(0).add(sex, axis=0),
    }
    return changed.get(how, lambda: side)()


def spoilt_cohort(seed):
    rng = np.random.default_rng(seed)
    n, muscles = int(rng.integers(0, 30)), MUSCLES[: rng.integers(1, 4)]
    cohort = simulate_cohort(n, muscles, seed)
    people = spoil_people(cohort.people, rng)
    how = seed % 14
    left, right = (spoil_side(side, people, rng, how) for side in (cohort.left, cohort.right))
    long = long_of(make(people, left, right))
    return make_cohort(long, people, "mfi", ("both", "complete", "any")[seed % 3])


def spoilt_visits(cohort, seed):
    rng = np.random.default_rng(seed)
    people = cohort.people.reset_index()[["participant_id", "sex", "age", "bmi"]]
    tables = []
    for session in "abc":
        for muscle in cohort.muscles:
            own = cohort.values[muscle].to_numpy() + rng.integers(0, 2) * rng.normal(
                size=len(people)
            )
            own = np.where(rng.uniform(size=len(people)) < rng.choice([0.0, 0.4, 1.0]), own, np.nan)
            tables.append(people.assign(session_id=session, muscle=muscle, value=own))
    return pd.concat(tables, ignore_index=True)


def analyse(cohort, seed):
    """Name and result of every analysis."""
    yield from analyse_cohort(cohort, ("none", "holm", "fdr_bh")[seed % 3]).items()
    centiles = measure_centiles(cohort, cohort.people.index[: 20 + seed % 10])
    yield "centiles", centiles
    yield "calibration", calibrate_centiles(centiles.table)
    for text in FORMULAS:
        try:
            yield from analyse_formula(cohort, parse_formula(f"mfi ~ {text}")).items()
        except InputError as error:
            assert "different values" in str(error)  # noqa: PT017 - else it is a pass
    if not cohort.muscles:
        return
    visits = spoilt_visits(cohort, seed)
    repeatability = measure_repeatability(visits.assign(session_id="a", scan=1))
    yield "repeatability", repeatability
    for sessions in (("a", "b", "c"), ("b", "c"), ("a",)):
        yield "change", paired_change(visits, sessions)
        yield "change_model", model_change(visits, sessions)
        yield "change_participants", list_changes(visits, sessions, repeatability.table)


def find_nonsense(table):
    """Columns with numbers that can be none."""
    for name in table.columns.difference(list(WORDS)):
        numbers = table[name].to_numpy(np.float64)
        is_p = name == "p" or name.startswith("p_")
        if (
            np.isinf(numbers).any()
            or (is_p and ((numbers < 0) | (numbers > 1)).any())
            or (name in NEVER_BELOW_ZERO and (numbers < 0).any())
            or (name in ("t", "studentised") and (np.abs(numbers) > MOST).any())
            or (name.split("_")[0] == "f" and (numbers > MOST**2).any())
        ):
            yield name
    for t, p in (("t", "p"), ("f", "p"), ("f_sex", "p_sex"), ("f_age", "p_age")):
        if {t, p} <= set(table.columns) and (table[t].isna() & table[p].notna()).any():
            yield p


def blank_by_nature(table):
    """Cells in which n/a is no result that is missing."""
    blank = pd.DataFrame(False, table.index, table.columns)
    if "stratum" in table:
        blank["epsilon"] = table["stratum"] == "between"
    if "versus" in table:
        blank["versus"] = True
    if {"effect", "session"} <= set(table.columns):
        blank["session"] = table["effect"] != "session"
    return blank


def find_unexplained(analysis):
    """Rows with n/a of which no note speaks."""
    table = analysis.table
    lost = table[(table.isna() & ~blank_by_nature(table)).any(axis=1)]
    keys = [name for name in ("muscle", "muscle_a", "muscle_b") if name in table]
    for row in lost.to_dict("records"):
        name = "-".join(str(row[key]) for key in keys)
        named = re.compile(rf"of [^:]*\b{re.escape(name)}\b[^:]*: ")
        if not any(named.search(note) if keys else note for note in analysis.notes):
            yield name, analysis.notes


@pytest.mark.parametrize("seed", range(84))
def test_spoilt_cohorts_give_numbers_or_a_reason(seed):
    for name, analysis in analyse(spoilt_cohort(seed), seed):
        assert list(find_nonsense(analysis.table)) == [], name
        assert list(find_unexplained(analysis)) == [], name
        assert all(re.fullmatch(r"[A-Z].*[^.]\.", note) for note in analysis.notes), name


def test_the_search_for_unexplained_cells_finds_them():
    rows = pd.DataFrame(
        {"muscle": ["LC", "TR"], "n": [5, 5], "t": [np.nan, 1.0], "p": [np.nan, 0.3]}
    )
    assert [name for name, _ in find_unexplained(Analysis(rows))] == ["LC"]
    assert list(find_unexplained(Analysis(rows, ("Test of LC, SCM: n/a, because ....",)))) == []
    assert len(list(find_unexplained(Analysis(rows, ("Test of TR: n/a, because LC: ....",))))) == 1
    pairs = pd.DataFrame({"muscle_a": ["LC"], "muscle_b": ["TR"], "p": [np.nan]})
    assert len(list(find_unexplained(Analysis(pairs, ("Test of LC-SCM: n/a.",))))) == 1
    assert list(find_unexplained(Analysis(pairs, ("Test of LC-TR: n/a.",)))) == []


@pytest.mark.parametrize(
    "column", [{"t": [np.inf]}, {"t": [3e15]}, {"p": [1.5]}, {"se": [-1.0]}, {"f_age": [1e30]},
               {"t": [np.nan], "p": [0.5]}],
)  # fmt: skip
def test_the_search_for_nonsense_finds_it(column):
    assert len(list(find_nonsense(pd.DataFrame(column)))) == 1
    sound = pd.DataFrame({"t": [2.0], "p": [0.05], "se": [1.0], "f_age": [4.0]})
    assert list(find_nonsense(sound)) == []
