"""Cohorts and visits drawn at random, with the truth known; for tests of the group level."""

import numpy as np
import pandas as pd

from bids_mfi.muscles import PAPER_ORDER
from bids_mfi.statistics.cohort import Cohort


def simulate_people(n, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "sex": np.array(["F", "M"], dtype=object)[rng.integers(0, 2, n)],
            "age": rng.uniform(20, 70, n),
            "bmi": rng.uniform(18, 35, n),
        },
        index=pd.Index([f"sub-{i:05d}" for i in range(n)], name="participant_id"),
    )


def expect(people):
    """The true mean: 10, +1 for F and -1 for M, .05 a year, .1 a kg/m^2."""
    sex = people["sex"].map({"F": 1.0, "M": -1.0})
    return (10 + sex + 0.05 * people["age"] + 0.1 * people["bmi"]).to_numpy(np.float64)


def simulate_cohort(n, muscles=PAPER_ORDER, seed=0, sd=1.0, gap=0.0):
    """Values about the truth; left is above right by ``gap``."""
    people = simulate_people(n, seed)
    rng = np.random.default_rng(seed + 1)
    noise = rng.normal(0, sd, (n, len(muscles)))
    values = pd.DataFrame(expect(people)[:, None] + noise, people.index, list(muscles))
    apart = gap + rng.normal(0, sd, values.shape)
    return make(people, values + apart / 2, values - apart / 2)


def make(people, left, right):
    return Cohort("mfi", "both", people, (left + right) / 2, left, right)


def of_values(values, people=None):
    """A cohort whose sides are alike."""
    people = simulate_people(len(values)) if people is None else people
    return make(people, values, values.copy())


def long_of(cohort):
    """The sides of a cohort as the tables of a run have them; all volumes are 1 ml."""
    parts = []
    for hemi, side in (("L", cohort.left), ("R", cohort.right)):
        wide = side.rename_axis(index="participant_id", columns="muscle").reset_index()
        part = wide.melt("participant_id", var_name="muscle", value_name="mfi_percent")
        parts.append(part.assign(hemi=hemi, volume_ml=1.0))
    return pd.concat(parts, ignore_index=True)


def simulate_visits(n, sessions=("a", "b"), muscles=("TR",), seed=0, change=0.5, kept=1.0):
    """Visits of participants (SD 2 between, 1 within); a share ``kept`` of the values is there."""
    people = simulate_people(n, seed)
    rng = np.random.default_rng(seed + 1)
    tables = []
    for muscle in muscles:
        own = expect(people) + rng.normal(0, 2, n)
        for i, session in enumerate(sessions):
            value = own + change * i + rng.normal(0, 1, n)
            value[rng.uniform(size=n) > kept] = np.nan
            tables.append(
                people.reset_index().assign(session_id=session, muscle=muscle, value=value)
            )
    return pd.concat(tables, ignore_index=True)
