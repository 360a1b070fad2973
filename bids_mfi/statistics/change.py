"""Change between sessions.

All functions take ``visits``: one row per participant, session and muscle, with columns
``participant_id``, ``session_id``, ``muscle``, ``value`` (unit of the measure), ``sex`` (F, M or
missing), ``age`` (years) and ``bmi`` (kg/m^2), NaN where missing; and ``sessions``, the names of
the sessions, the first being the one from which change is measured. Change is the other session
minus this one; the other session may be earlier if the user requests it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from bids_mfi.counts import choose_form, count_noun
from bids_mfi.statistics.agreement import LIMIT_SDS
from bids_mfi.statistics.cohort import COVARIATES, Analysis
from bids_mfi.statistics.covariates import Usable, sort_covariates
from bids_mfi.statistics.design import covariate_design, explain_design
from bids_mfi.statistics.mixed import fit_random_intercept
from bids_mfi.statistics.notes import gather_reasons, order_muscles
from bids_mfi.statistics.rounding import LEAST_SINGULAR, ROUNDING
from bids_mfi.statistics.student import CONFIDENCE, describe_differences, test_estimates

Floats = NDArray[np.float64]
Row = dict[str, Any]
NAN = float("nan")
FEW_REPETITIONS = 10  # degrees of freedom, below which a remark is made
LEAST_REPETITIONS = 5  # degrees of freedom, below which nothing is decided
SEX_STEP = 2.0  # between the codes of F and M
PAIRED_COLUMNS = (
    "muscle", "session_from", "session_to", "n", "mean_from", "mean_to", "mean_change",
    "sd_change", "se_change", "t", "df", "p", "ci_lower", "ci_upper", "percent_change",
)  # fmt: skip
MODEL_COLUMNS = (
    "muscle", "effect", "session", "estimate", "se", "df", "t", "p", "ci_lower", "ci_upper",
    "sd_participants", "sd_residual", "n", "n_participants",
)  # fmt: skip
REPEAT_COLUMNS = (
    "muscle", "n_sessions", "n_scans", "sw", "sdc", "cv_percent", "sdc_ci_lower", "sdc_ci_upper",
)  # fmt: skip
LIST_COLUMNS = (
    "participant_id", "muscle", "session_from", "session_to", "value_from", "value_to", "change",
    "sdc", "exceeds_sdc",
)  # fmt: skip
NAMES = {
    "mean_second": "mean_from", "mean_first": "mean_to", "mean_diff": "mean_change",
    "sd_diff": "sd_change", "se_diff": "se_change",
}  # fmt: skip
ONE_SESSION = "Change: n/a, because it needs at least 2 sessions."


# --- paired ------------------------------------------------------------------------------------


def paired_change(visits: pd.DataFrame, sessions: tuple[str, ...]) -> Analysis:
    """Paired t-test, two-tailed, of each other session against the first named.

    Returns
    -------
    Analysis
        ``PAIRED_COLUMNS``, one row per muscle and other session; only participants with both.
        ``percent_change`` is 100 mean_change / mean_from.
    """
    if len(sessions) < 2:
        return Analysis(pd.DataFrame(columns=list(PAIRED_COLUMNS)), (ONE_SESSION,))
    rows, reasons = [], []
    for muscle, values in _arrange(visits, sessions).items():
        for session in sessions[1:]:
            row = _pair_row(values, sessions[0], session)
            rows.append({"muscle": muscle} | row)
            reasons += [(muscle, why) for why in _explain_pairs(row)]
    table = pd.DataFrame(rows, columns=list(PAIRED_COLUMNS))
    return Analysis(table, gather_reasons("Change", reasons))


def _arrange(visits: pd.DataFrame, sessions: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Values of each muscle, participants by sessions."""
    used = visits[visits["session_id"].isin(sessions)]
    wide = used.pivot(index="participant_id", columns=["muscle", "session_id"], values="value")
    muscles = order_muscles(used["muscle"])
    columns = pd.MultiIndex.from_product([muscles, sessions])
    array = wide.reindex(columns=columns).to_numpy(np.float64)
    parts = np.split(array, len(muscles), axis=1) if muscles else []
    return {
        muscle: pd.DataFrame(part, index=wide.index, columns=list(sessions))
        for muscle, part in zip(muscles, parts, strict=True)
    }


def _pair_row(values: pd.DataFrame, first: str, later: str) -> Row:
    found = describe_differences(values[[later]], values[[first]])
    row = {NAMES.get(name, name): column[0] for name, column in found.items()}
    start, change = float(found["mean_second"][0]), float(found["mean_diff"][0])
    percent = 100 * change / start if start > 0 else NAN
    return {"session_from": first, "session_to": later, "percent_change": percent} | row


def _explain_pairs(row: Row) -> list[str]:
    between = f"{row['session_from']} and {row['session_to']}"
    if row["n"] in (0, 1):
        have = f"{count_noun(row['n'], 'participant')} {choose_form(row['n'], 'has', 'have')}"
        return [f"no test, because {have} a value in {between}"]
    reasons = []
    if row["sd_change"] == 0:
        reasons.append(f"no test, because the change is the same in all between {between}")
    if np.isnan(row["percent_change"]):
        reasons.append(f"no percentage, because the mean in {row['session_from']} is not above 0")
    return reasons


# --- mixed model -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """Mixed model of one muscle before it is fitted.

    Attributes
    ----------
    matrix : float64 (rows, columns)
        Intercept and covariates, then a 0/1 column for each of ``sessions``.
    covariates : tuple of str
    sessions : tuple of str
        Later sessions with any value.
    values : float64 (rows,)
    participants : int64 (rows,)
    """

    matrix: Floats
    covariates: tuple[str, ...]
    sessions: tuple[str, ...]
    values: Floats
    participants: NDArray[np.int64]

    @property
    def df_between(self) -> int:
        """Participants minus the intercept and the covariates."""
        return len(np.unique(self.participants)) - 1 - len(self.covariates)

    @property
    def df_within(self) -> int:
        """Values minus participants and session columns."""
        return len(self.values) - len(np.unique(self.participants)) - len(self.sessions)


def model_change(visits: pd.DataFrame, sessions: tuple[str, ...]) -> Analysis:
    """Mixed model of each muscle, value ~ session + sex + age + bmi + (1 | participant), by REML.

    Participants with only one session are included. Covariates are those of the first session in
    which they are known; a covariate that is the same in all, or missing in all, is left out.
    Degrees of freedom follow the containment rule of Pinheiro & Bates: values minus participants
    minus session contrasts for sessions; participants minus 1 minus covariates for covariates.

    Returns
    -------
    Analysis
        ``MODEL_COLUMNS``. Effect ``session``: ``session`` minus the first named; ``sex``: F minus
        M; ``age``: per year; ``bmi``: per kg/m^2. Estimates and SDs are in the unit of the measure;
        ``n`` counts values, ``n_participants`` participants. ``sd_participants`` is 0 where
        participants differ no more than values of one participant do.

    References
    ----------
    Pinheiro & Bates 2000, doi:10.1007/b98882, section 2.4.2.
    """
    if len(sessions) < 2:
        return Analysis(pd.DataFrame(columns=list(MODEL_COLUMNS)), (ONE_SESSION,))
    people = _first_known(visits, sessions)
    rows, reasons = [], []
    for muscle, values in _arrange(visits, sessions).items():
        found, remarks = _model_muscle(values, people)
        rows += [{"muscle": muscle} | row for row in found]
        reasons += [(muscle, remark) for remark in remarks]
    table = pd.DataFrame(rows, columns=list(MODEL_COLUMNS))
    return Analysis(table, gather_reasons("Mixed model", reasons))


def _first_known(visits: pd.DataFrame, sessions: tuple[str, ...]) -> pd.DataFrame:
    """Covariates of each participant, from the first session in which each is known."""
    seen = visits.drop_duplicates(["participant_id", "session_id"])
    order = seen["session_id"].map({name: i for i, name in enumerate(sessions)})
    seen = seen.assign(order=order).dropna(subset="order").sort_values("order", kind="stable")
    return seen.groupby("participant_id")[list(COVARIATES)].first()


def _model_muscle(values: pd.DataFrame, people: pd.DataFrame) -> tuple[list[Row], list[str]]:
    """Rows of one muscle, and remarks about them."""
    blank = _blank_rows(tuple(values.columns))
    values = values[values.notna().any(axis=1)]
    known = people.loc[values.index]
    usable = sort_covariates(known)
    complete = known[list(usable.kept)].notna().all(axis=1)
    remarks = _describe_left_out(usable, int((~complete).sum()))
    model, why = _make_model(values[complete], known[complete], usable.kept)
    if model is None:
        return blank, [f"n/a, because {why}"]
    missing = [name for name in values.columns[1:] if name not in model.sessions]
    remarks += [f"nobody has a value in {name}" for name in missing]
    rows, remark = _fit_rows(model, blank)
    return rows, remarks + remark


def _blank_rows(sessions: tuple[str, ...]) -> list[Row]:
    effects: list[tuple[str, Any]] = [("session", name) for name in sessions[1:]]
    effects += [(name, NAN) for name in COVARIATES]
    empty: Row = dict.fromkeys(MODEL_COLUMNS[1:], NAN) | {"n": 0, "n_participants": 0}
    return [empty | {"effect": effect, "session": session} for effect, session in effects]


def _describe_left_out(usable: Usable, incomplete: int) -> list[str]:
    text = usable.explain()
    remarks = [text] if text else []
    if incomplete:
        people = count_noun(incomplete, "participant")
        remarks.append(f"{people} left out, because a covariate is missing")
    return remarks


def _make_model(
    values: pd.DataFrame, people: pd.DataFrame, covariates: tuple[str, ...]
) -> tuple[_Model | None, str | None]:
    """Matrix of one muscle, or why there is none."""
    design = covariate_design(people, covariates)
    why = explain_design(design)
    if why:
        return None, why
    array = values.to_numpy(np.float64)
    there = np.isfinite(array)
    if not there[:, 0].any():
        return None, f"nobody has a value in {values.columns[0]}, with which others are compared"
    later = [i for i in range(1, array.shape[1]) if there[:, i].any()]
    row, session = np.nonzero(there)
    matrix = np.column_stack([design.matrix[row], *((session == i).astype(float) for i in later)])
    names = tuple(values.columns[i] for i in later)
    model = _Model(matrix, covariates, names, array[there], row.astype(np.int64))
    return (None, why) if (why := _explain_model(model)) else (model, None)


def _explain_model(model: _Model) -> str | None:
    if not model.sessions:
        return "only one session has values"
    if model.df_within < 1:
        return "too few participants have values in more than one session"
    scaled = model.matrix / np.linalg.norm(model.matrix, axis=0)
    if np.linalg.matrix_rank(scaled, tol=LEAST_SINGULAR) < scaled.shape[1]:
        return "sessions and covariates cannot be separated in these participants"
    return None


def _fit_rows(model: _Model, blank: list[Row]) -> tuple[list[Row], list[str]]:
    """Rows with the numbers of the fit."""
    counts = {"n": len(model.values), "n_participants": len(np.unique(model.participants))}
    blank = [row | counts for row in blank]
    fit = fit_random_intercept(model.matrix, model.values, model.participants)
    if fit is None:
        return blank, ["n/a, because sessions and participants explain all values without error"]
    errors = np.sqrt(np.diag(fit.covariance))
    spreads = {"sd_participants": fit.sd_groups, "sd_residual": fit.sd_residual}
    rows = []
    for row in blank:
        place, df = _find_column(model, row)
        step = SEX_STEP if row["effect"] == "sex" else 1.0
        if place is not None:
            estimate, se = step * float(fit.coefficients[place]), step * float(errors[place])
            tests = {name: float(x) for name, x in test_estimates(estimate, se, df).items()}
            row = row | {"estimate": estimate, "se": se, "df": float(df)} | tests
        rows.append(row | spreads)
    boundary = "participants differ no more than values of one participant do"
    return rows, [] if fit.sd_groups > 0 else [boundary]


def _find_column(model: _Model, row: Row) -> tuple[int | None, int]:
    """Column of an effect, None if it is left out, and its degrees of freedom."""
    if row["effect"] != "session":
        known = row["effect"] in model.covariates
        place = 1 + model.covariates.index(row["effect"]) if known else None
        return place, model.df_between
    known = row["session"] in model.sessions
    first = 1 + len(model.covariates)
    return first + model.sessions.index(row["session"]) if known else None, model.df_within


# --- repeated scans ----------------------------------------------------------------------------


def measure_repeatability(repeats: pd.DataFrame) -> Analysis:
    """Within-session SD and smallest detectable change of each muscle.

    Parameters
    ----------
    repeats : DataFrame
        One row per scan and muscle: ``participant_id``, ``session_id``, ``scan``, ``muscle``,
        ``value``. Scans of the same participant and session are repetitions.

    Returns
    -------
    Analysis
        ``REPEAT_COLUMNS``. ``sw`` is the square root of the variances within sessions, averaged by
        their degrees of freedom; ``sdc`` = 1.96 sqrt(2) sw, by which two scans differ in 5 % of
        unchanged participants; its 95 % interval is from the chi-square distribution of sw^2;
        ``cv_percent`` = 100 sw / mean. Sessions and scans counted are those with repetitions. A
        note names what is based on fewer than 10 repetitions, n_scans - n_sessions.

    References
    ----------
    Bland & Altman 1999, doi:10.1177/096228029900800204.
    """
    rows, reasons = [], []
    known = repeats[repeats["value"].notna()]
    for muscle in order_muscles(repeats["muscle"]):
        row, remarks = _repeat_row(known[known["muscle"] == muscle])
        rows.append({"muscle": muscle} | row)
        reasons += [(muscle, remark) for remark in remarks]
    notes = gather_reasons("Smallest detectable change", reasons)
    if not rows:
        notes = ("Smallest detectable change: n/a, because there are no repeated scans.",)
    return Analysis(pd.DataFrame(rows, columns=list(REPEAT_COLUMNS)), notes)


def _repeat_row(scans: pd.DataFrame) -> tuple[dict[str, float], list[str]]:
    values = scans["value"].astype(np.float64)
    sessions = values.groupby([scans["participant_id"], scans["session_id"]])
    sizes = sessions.transform("size")
    again = sizes > 1
    n_sessions, n_scans = round(float((1 / sizes[again]).sum())), int(again.sum())
    row = dict.fromkeys(REPEAT_COLUMNS[1:], NAN) | {"n_sessions": n_sessions, "n_scans": n_scans}
    df = n_scans - n_sessions
    if df < 1:
        return row, ["n/a, because no session has two scans with values"]
    apart = (values - sessions.transform("mean"))[again]
    sw = float(np.sqrt((apart**2).sum() / df))
    if sw <= ROUNDING * float(values[again].abs().max()):
        same = "the scans of a session have the same values, as if they were copies of one scan"
        return row, [f"n/a, because {same}"]
    row |= _detectable(sw, df, float(values[again].mean()))
    few = f"is based on {_count_repetitions(df)}; see its interval"
    remarks = [few] if df < FEW_REPETITIONS else []
    if np.isnan(row["cv_percent"]):
        remarks.append("no percentage, because the mean is not above 0")
    return row, remarks


def _count_repetitions(df: int) -> str:
    return count_noun(df, "repetition")


def _detectable(sw: float, df: int, mean: float) -> dict[str, float]:
    sdc = LIMIT_SDS * float(np.sqrt(2)) * sw
    tails = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    lower, upper = (sdc * float(np.sqrt(df / special.chdtri(df, tail))) for tail in tails)
    cv = 100 * sw / mean if mean > 0 else NAN
    return {
        "sw": sw, "sdc": sdc, "cv_percent": cv, "sdc_ci_lower": lower, "sdc_ci_upper": upper
    }  # fmt: skip


def list_changes(
    visits: pd.DataFrame, sessions: tuple[str, ...], repeatability: pd.DataFrame
) -> Analysis:
    """Change of each participant and muscle, and whether it exceeds that of repeated scans.

    Parameters
    ----------
    visits, sessions
        See the top of the module.
    repeatability : DataFrame
        Table of :func:`measure_repeatability`, or one with no rows.

    Returns
    -------
    Analysis
        ``LIST_COLUMNS``, one row per participant, muscle and other session with both values, in the
        order of participants. ``exceeds_sdc``: ``yes`` where the change, up or down, is larger
        than the smallest detectable change, else ``no``; NaN where that is not known or is based
        on fewer than 5 repetitions.
    """
    if len(sessions) < 2:
        return Analysis(pd.DataFrame(columns=list(LIST_COLUMNS)), (ONE_SESSION,))
    limits = _list_limits(repeatability)
    tables = [pd.DataFrame(columns=list(LIST_COLUMNS))]
    reasons = []
    for muscle, values in _arrange(visits, sessions).items():
        sdc, df = limits.get(muscle, (NAN, 0))
        mine = [
            _list_pairs(values, muscle, (sessions[0], later), sdc, df) for later in sessions[1:]
        ]
        tables += mine
        if df < LEAST_REPETITIONS and any(len(table) for table in mine):
            why = "is unknown" if np.isnan(sdc) else f"is based on {_count_repetitions(df)}"
            reasons.append(
                (muscle, f"not compared with the smallest detectable change, which {why}")
            )
    whole = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    whole = whole.sort_values("participant_id", kind="stable", ignore_index=True)
    return Analysis(whole, gather_reasons("Changes", reasons))


def _list_limits(repeatability: pd.DataFrame) -> dict[str, tuple[float, int]]:
    """Smallest detectable change of each muscle, and its degrees of freedom."""
    rows = repeatability.reindex(columns=["muscle", "sdc", "n_scans", "n_sessions"])
    return {
        muscle: (float(sdc), 0 if np.isnan(sdc) else int(scans - sessions))
        for muscle, sdc, scans, sessions in rows.itertuples(index=False)
    }


def _list_pairs(
    values: pd.DataFrame, muscle: str, pair: tuple[str, str], sdc: float, df: int
) -> pd.DataFrame:
    first, later = pair
    pairs = values[[first, later]].dropna()
    start, end = pairs[first].to_numpy(), pairs[later].to_numpy()
    exceeds = np.where(np.abs(end - start) > sdc, "yes", "no").astype(object)
    if df < LEAST_REPETITIONS:
        exceeds[:] = np.nan
    columns = (pairs.index, muscle, first, later, start, end, end - start, sdc, exceeds)
    return pd.DataFrame(dict(zip(LIST_COLUMNS, columns, strict=True)))
