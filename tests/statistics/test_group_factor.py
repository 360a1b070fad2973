"""Repeated measures with a factor of three levels between participants, against R's car."""

import numpy as np
import pandas as pd
import pytest
from group_expected import compare_tables, read_expected, read_variant, summarise

from bids_mfi.statistics.cohort import make_cohort
from bids_mfi.statistics.design import Design
from bids_mfi.statistics.repeated import fit_repeated_measures

TERMS = (("intercept", (0,)), ("group", (1, 2)), ("sex", (3,)), ("age", (4,)))
GROUPS = {"acute": (1.0, 0.0), "chronic": (0.0, 1.0), "control": (-1.0, -1.0)}  # sums to zero


@pytest.fixture(scope="module")
def cohort():
    tables = read_variant("complete")
    people = tables["participants"].set_index("participant_id")
    people = people.assign(age=people["age"].astype(float), bmi=people["bmi"].astype(float))
    long = tables["muscles"].rename(columns={"mfi": "mfi_percent", "volume": "volume_ml"})
    return make_cohort(long, people, "mfi", "both")


@pytest.fixture(scope="module", params=["raw", "centred"])
def fitted(request, cohort):
    people = cohort.people
    age = people["age"].to_numpy(float)
    columns = (
        np.ones(len(people)),
        np.array([GROUPS[group] for group in people["group"]]),
        people["sex"].map({"F": 1.0, "M": -1.0}).to_numpy(float),
        age - age.mean() if request.param == "centred" else age,
    )
    design = Design(np.column_stack(columns), TERMS, people.index)
    return request.param, fit_repeated_measures(cohort.values.to_numpy(float), design)


def as_text(rows, covariates):
    table = pd.DataFrame(rows).assign(covariates=covariates)
    return table.map(lambda cell: "n/a" if pd.isna(cell) else str(cell))


@pytest.mark.parametrize("name", ["rmancova", "multivariate"])
def test_effects_of_a_factor_of_three_levels(fitted, name):
    covariates, found = fitted
    rows = {"rmancova": found.effects, "multivariate": found.multivariate}[name]
    expected = read_expected("factor")[name]
    expected = expected[expected["covariates"] == covariates]
    written = as_text(rows, covariates)
    of_pillai = [column for column in expected if column in written]
    assert {"f", "df1", "df2", "p"} <= set(of_pillai)
    problems = compare_tables(name, written, expected[of_pillai])
    assert not problems, summarise(problems)


def test_sphericity_beside_a_factor_of_three_levels(fitted):
    covariates, found = fitted
    expected = read_expected("factor")["sphericity"].set_index("covariates").loc[covariates]
    names = ["w", "chi2", "df", "p_chi2", "p_chi2_second_order", "greenhouse_geisser"]
    measured = [getattr(found.sphericity, name) for name in names]
    assert measured == pytest.approx(expected[names].tolist(), rel=1e-8)
    assert found.ss_error_between == pytest.approx(expected["ss_error_between"], rel=1e-8)
