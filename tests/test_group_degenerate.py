"""Every analysis on cohorts spoilt at random: no warning, no infinity, no nonsense."""

import numpy as np
import pandas as pd
import pytest
from simulated_group import make, simulate_cohort

from bids_mfi.errors import InputError
from bids_mfi.group.asymmetry import measure_asymmetry
from bids_mfi.group.centiles import calibrate_centiles, measure_centiles
from bids_mfi.group.change import list_changes, measure_repeatability, model_change, paired_change
from bids_mfi.group.formula import fit_formula, parse_formula
from bids_mfi.group.outliers import find_outliers

FORMULAS = ("group", "group*age", "sex + age + bmi", "group:age", "(group + sex)^2", "C(age)")
WORDS = {
    "participant_id", "muscle", "session", "session_from", "session_to", "effect", "exceeds_sdc",
    "outside_range", "term", "coefficient", "is_control", "factor", "level", "versus",
}  # fmt: skip


def spoil_people(people, rng):
    n = len(people)
    people["group"] = rng.choice(["x", "y", "z"][: rng.integers(1, 4)], n)
    spoilt = {
        0: {"sex": "F"}, 1: {"sex": None}, 2: {"age": 40.0}, 3: {"age": np.nan},
        4: {"bmi": 2 * people["age"]}, 5: {"bmi": people["bmi"].where(rng.uniform(size=n) < 0.5)},
    }  # fmt: skip
    return people.assign(**spoilt.get(int(rng.integers(0, 9)), {}))


def spoil_side(side, rng, how):
    if how == 0:
        return side.assign(**{side.columns[0]: np.nan})
    if how == 1:
        return side.where(rng.uniform(size=side.shape) < 0.5)
    return {2: side * 0, 3: side * 0 + 5, 4: side.round()}.get(how, side)


def spoilt_cohort(seed):
    rng = np.random.default_rng(seed)
    cohort = simulate_cohort(int(rng.integers(0, 30)), ("LC", "TR")[: rng.integers(1, 3)], seed)
    how = rng.integers(0, 7)
    left, right = (spoil_side(side, rng, how) for side in (cohort.left, cohort.right))
    return make(spoil_people(cohort.people, rng), left, right)


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
    yield measure_asymmetry(cohort)
    yield find_outliers(cohort)
    centiles = measure_centiles(cohort, cohort.people.index[: 20 + seed % 10])
    yield centiles
    yield calibrate_centiles(centiles.table)
    for text in FORMULAS:
        try:
            yield from fit_formula(cohort, parse_formula(f"mfi ~ {text}"))
        except InputError as error:
            assert "different values" in str(error)  # noqa: PT017 - else it is a pass
    visits = spoilt_visits(cohort, seed)
    repeatability = measure_repeatability(visits.assign(session_id="a", scan=1))
    yield repeatability
    for sessions in (("a", "b", "c"), ("b", "c"), ("a",)):
        yield paired_change(visits, sessions)
        yield model_change(visits, sessions)
        yield list_changes(visits, sessions, repeatability.table)


@pytest.mark.parametrize("seed", range(40))
def test_spoilt_cohorts_give_numbers_or_nan(seed):
    for analysis in analyse(spoilt_cohort(seed), seed):
        for name in analysis.table.columns.difference(list(WORDS)):
            numbers = analysis.table[name].to_numpy(np.float64)
            assert not np.isinf(numbers).any(), name
            if name.startswith("p_") or name == "p":
                assert not ((numbers < 0) | (numbers > 1)).any()
            if name in ("se", "sd_diff", "sw", "df", "sd_participants", "ss", "f"):
                assert not (numbers < 0).any(), name
        if {"p", "t"} <= set(analysis.table.columns):
            assert (analysis.table["p"].isna() == analysis.table["t"].isna()).all()
        incomplete = analysis.table.isna().any(axis=None)
        explained = analysis.notes or "effect" in analysis.table or "exceeds_sdc" in analysis.table
        assert not incomplete or explained
