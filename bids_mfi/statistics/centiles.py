"""Position of a participant among controls of the same sex, age and BMI.

A linear model of the controls, value ~ sex + age + bmi, predicts a value for each participant. The
deviation, divided by the standard error of a single new value, follows Student's t if the model
holds; centile and z are those of that t. Each control is compared with the model of the other
controls only.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from bids_mfi.counts import choose_form, count_noun
from bids_mfi.statistics.cohort import COVARIATES, Analysis, Cohort
from bids_mfi.statistics.covariates import Usable, sort_covariates
from bids_mfi.statistics.design import covariate_design, explain_design
from bids_mfi.statistics.least_squares import Fit, fit_least_squares, leave_one_out
from bids_mfi.statistics.notes import gather_reasons, order_muscles

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
NAN = float("nan")
LEAST_CONTROLS = 20
LOW_CENTILE, HIGH_CENTILE = 5.0, 95.0
CENTILE_COLUMNS = (
    "participant_id", "muscle", "is_control", "value", "expected", "z", "centile",
    "outside_range",
)  # fmt: skip
CALIBRATION_COLUMNS = ("muscle", "n", "below_5", "above_95")


def measure_centiles(cohort: Cohort, controls: pd.Index) -> Analysis:
    """Centile of each participant and muscle by the model of the controls.

    A covariate that is the same in all controls, or missing in all, is left out; participants
    who differ in it then have no centile. With y the value, e the expected value, s the residual SD
    of the controls and h = x (X'X)^-1 x', t = (y - e) / (s sqrt(1 + h)).

    Parameters
    ----------
    cohort : Cohort
    controls : Index of str
        Identifiers of the controls; those not in the cohort do not count.

    Returns
    -------
    Analysis
        ``CENTILE_COLUMNS``, one row for each participant and muscle with a value. ``expected``: in
        the unit of the measure; ``z``: normal deviate; ``centile``: 0 to 100; ``is_control`` and
        ``outside_range``: yes or no. Participants with an age, BMI or sex that no control has are
        outside: the model extrapolates. NaN with fewer than 20 controls who have all values.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> names = [f"sub-{i:02d}" for i in range(30)]
    >>> people = pd.DataFrame({"sex": ["F", "M"] * 15, "age": rng.uniform(20, 60, 30),
    ...                        "bmi": rng.uniform(20, 30, 30)}, index=names)
    >>> values = pd.DataFrame({"TR": rng.normal(10, 2, 30)}, index=names)
    >>> cohort = Cohort("mfi", "both", people, values, values, values)
    >>> table = measure_centiles(cohort, values.index[:25]).table
    >>> bool(table["centile"].between(0, 100).all())
    True
    """
    tables, reasons = [pd.DataFrame(columns=list(CENTILE_COLUMNS))], []
    for muscle in cohort.muscles:
        table, remarks = _measure_muscle(cohort, muscle, controls)
        tables.append(table)
        reasons += [(muscle, remark) for remark in remarks]
    whole = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    return Analysis(whole, gather_reasons("Centiles", reasons))


@dataclass(frozen=True, slots=True, eq=False)
class _Panel:
    """Participants who have a value of one muscle.

    Attributes
    ----------
    people : DataFrame
    values : float64 (participants,)
    trained : bool (participants,)
        Controls who have all values; the model is fitted to them.
    judged : bool (participants,)
        Participants, controls included, to whom that model applies.
    usable : Usable
        Covariates, as the controls have them.
    """

    people: pd.DataFrame
    values: Floats
    trained: Booleans
    judged: Booleans
    usable: Usable


def _measure_muscle(
    cohort: Cohort, muscle: str, controls: pd.Index
) -> tuple[pd.DataFrame, list[str]]:
    values = cohort.values[muscle].dropna()
    is_control = values.index.isin(controls)
    panel = _make_panel(cohort.people.loc[values.index, list(COVARIATES)], values, is_control)
    blank = np.full(len(values), NAN)
    table = pd.DataFrame(
        {
            "participant_id": values.index,
            "muscle": muscle,
            "is_control": np.where(is_control, "yes", "no"),
            "value": panel.values,
            "expected": blank,
            "z": blank,
            "centile": blank,
            "outside_range": _find_outside(panel),
        },
        columns=list(CENTILE_COLUMNS),
    )
    found, why = _judge(panel)
    if found is None:
        return table, [f"n/a, because {why}"]
    for name, column in found.items():
        table[name] = column
    return table, _describe(panel, table)


def _make_panel(people: pd.DataFrame, values: pd.Series, is_control: Booleans) -> _Panel:
    usable = sort_covariates(people[is_control])
    complete = people[list(usable.kept)].notna().all(axis=1).to_numpy()
    judged = complete.copy()
    for name in usable.constant:
        shared = people.loc[is_control, name].dropna().iloc[0]
        judged &= (people[name] == shared).to_numpy()
    return _Panel(people, values.to_numpy(np.float64), judged & is_control, judged, usable)


def _judge(panel: _Panel) -> tuple[dict[str, Floats] | None, str | None]:
    """Find expected value, z and centile of all in the panel; or say why there is none."""
    n = int(panel.trained.sum())
    if n < LEAST_CONTROLS:
        have = f"{count_noun(n, 'control')} {choose_form(n, 'has', 'have')}"
        return None, f"{have} all values, and at least {LEAST_CONTROLS} are needed"
    controls = panel.people[panel.trained]
    why = explain_design(covariate_design(controls, panel.usable.kept))
    if why:
        return None, f"among the controls {why}"
    people = panel.people[panel.judged]
    matrix = covariate_design(people, panel.usable.kept).matrix
    trained = panel.trained[panel.judged]
    values = panel.values[panel.judged]
    fit = fit_least_squares(matrix[trained], values[trained])
    if fit.is_exact:
        return None, "the controls do not vary about their model"
    expected, t, df = _standardise(fit, matrix, values, trained)
    return _spread(panel.judged, expected, t, df), None


def _standardise(
    fit: Fit, matrix: Floats, values: Floats, trained: Booleans
) -> tuple[Floats, Floats, Floats]:
    """Find expected value, t and its degrees of freedom; leave controls out one by one."""
    expected = fit.expect(matrix)
    t = (values - expected) / np.sqrt(fit.variance * (1 + fit.measure_leverages(matrix)))
    df = np.full(len(values), float(fit.df))
    others = leave_one_out(fit, values[trained])
    expected[trained], t[trained], df[trained] = others.expected, others.studentised, others.df
    return expected, t, df


def _spread(judged: Booleans, expected: Floats, t: Floats, df: Floats) -> dict[str, Floats]:
    found = {"expected": expected, "z": _normalise(t, df), "centile": 100 * special.stdtr(df, t)}
    whole = {name: np.full(len(judged), NAN) for name in found}
    for name, column in found.items():
        whole[name][judged] = column
    return whole


def _normalise(t: Floats, df: Floats) -> Floats:
    """Find the normal deviate of the same tail as t.

    Where the tail is too small for a number, Wallace's approximation is used (1959,
    Annals of Mathematical Statistics 30, 1121-1130).
    """
    tail = special.stdtr(df, -np.abs(t))
    far = np.sqrt(df * np.log1p(t * t / df)) * (8 * df + 1) / (8 * df + 3)
    deviate = np.where(tail > 1e-300, -special.ndtri(np.maximum(tail, 1e-300)), far)
    return np.asarray(np.sign(t) * deviate, np.float64)


def _find_outside(panel: _Panel) -> NDArray[np.object_]:
    """Yes or no; NaN where a covariate that the controls have is missing, or without a control."""
    found = np.full(len(panel.values), np.nan, dtype=object)
    controls = panel.people[panel.trained]
    if controls.empty:
        return found
    names = (*panel.usable.kept, *panel.usable.constant)
    outside = np.zeros(len(found), dtype=bool)
    for name in names:
        column = panel.people[name]
        if name == "sex":
            outside |= (column.notna() & ~column.isin(controls[name])).to_numpy()
        else:
            low, high = controls[name].min(), controls[name].max()
            outside |= ((column < low) | (column > high)).to_numpy()
    known = panel.people[list(names)].notna().all(axis=1).to_numpy()
    found[known | outside] = np.where(outside, "yes", "no")[known | outside]
    return found


def _describe(panel: _Panel, table: pd.DataFrame) -> list[str]:
    text = panel.usable.explain("controls")
    remarks = [text] if text else []
    missing, outside = int((~panel.judged).sum()), int((table["outside_range"] == "yes").sum())
    if missing:
        why = "a covariate is missing, or no control shares its value"
        have = f"{count_noun(missing, 'participant')} {choose_form(missing, 'has', 'have')}"
        remarks.append(f"{have} no centile, because {why}")
    alone = int((panel.judged & table["centile"].isna()).sum())
    if alone:
        why = "the other controls do not determine their value, for example if none is of their sex"
        have = f"{count_noun(alone, 'control')} {choose_form(alone, 'has', 'have')}"
        remarks.append(f"{have} no centile, because {why}")
    if outside:
        where = "outside the range of the controls, where the model extrapolates"
        are = f"{count_noun(outside, 'participant')} {choose_form(outside, 'is', 'are')}"
        remarks.append(f"{are} {where}")
    return remarks


def calibrate_centiles(centiles: pd.DataFrame) -> Analysis:
    """Count the controls below the 5th and above the 95th centile of the others.

    Parameters
    ----------
    centiles : DataFrame
        Table of :func:`measure_centiles`.

    Returns
    -------
    Analysis
        ``CALIBRATION_COLUMNS``, one row per muscle: controls with a centile, and percent of them.
        Both are about 5 where the normal model holds.
    """
    rows = []
    controls = centiles[centiles["is_control"] == "yes"]
    for muscle in order_muscles(centiles["muscle"]):
        found = controls.loc[controls["muscle"] == muscle, "centile"].dropna().to_numpy(np.float64)
        n = len(found)
        below, above = (found < LOW_CENTILE).sum(), (found > HIGH_CENTILE).sum()
        shares = (100 * below / n, 100 * above / n) if n else (NAN, NAN)
        rows.append((muscle, n, *shares))
    empty = [(row[0], "n/a, because no control has a centile") for row in rows if not row[1]]
    table = pd.DataFrame(rows, columns=list(CALIBRATION_COLUMNS))
    return Analysis(table, gather_reasons("Calibration", empty))
