"""Change between sessions: paired, by mixed model, and against the smallest detectable change."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from cost import measure_growth
from scipy import stats
from simulated_group import simulate_visits

from bids_mfi.statistics import change
from bids_mfi.statistics.change import (
    list_changes,
    measure_repeatability,
    model_change,
    paired_change,
)
from bids_mfi.statistics.mixed import fit_random_intercept

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "group_beyond.json").read_text())
SEVEN = ("MFSS", "LC", "SSCap", "SPCap", "LS", "SCM", "TR")
NUMBERS = ("estimate", "se", "df", "t", "p", "ci_lower", "ci_upper")
PEOPLE = {"sex": "F", "age": 40.0, "bmi": 25.0}


def visit(participant, session, value, muscle="TR", **others):
    return {
        "participant_id": participant, "session_id": session, "muscle": muscle, "value": value,
    } | PEOPLE | others  # fmt: skip


def visits_of(*rows):
    return pd.DataFrame([visit(*row) for row in rows])


def row_of(analysis, **which):
    table = analysis.table
    for name, value in which.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


# --- paired ------------------------------------------------------------------------------------


def test_paired_change_is_later_less_first():
    visits = simulate_visits(30, ("a", "b", "c"), ("MFSS", "TR"), change=0.7, kept=0.9)
    found = paired_change(visits, ("a", "b", "c"))
    assert tuple(found.table.columns) == change.PAIRED_COLUMNS
    assert found.notes == ()
    assert found.table[["muscle", "session_to"]].values.tolist() == [
        ["MFSS", "b"], ["MFSS", "c"], ["TR", "b"], ["TR", "c"]
    ]  # fmt: skip
    assert set(found.table["session_from"]) == {"a"}
    for row in found.table.itertuples():
        wide = visits[visits["muscle"] == row.muscle].pivot(
            index="participant_id", columns="session_id", values="value"
        )
        pairs = wide[["a", row.session_to]].dropna()
        expected = stats.ttest_rel(pairs[row.session_to], pairs["a"])
        assert (row.n, row.t, row.p, row.df) == pytest.approx(
            (len(pairs), expected.statistic, expected.pvalue, len(pairs) - 1), rel=1e-9
        )
        interval = expected.confidence_interval()
        assert (row.ci_lower, row.ci_upper) == pytest.approx(tuple(interval), rel=1e-9)
        assert row.mean_from == pytest.approx(pairs["a"].mean())
        assert row.percent_change == pytest.approx(100 * row.mean_change / row.mean_from)
        assert row.se_change == pytest.approx(row.sd_change / np.sqrt(row.n))


def test_the_order_of_sessions_is_the_one_given():
    visits = visits_of(
        ("s1", "x", 12.0), ("s2", "x", 13.0), ("s3", "x", 17.0),
        ("s1", "a", 10.0), ("s2", "a", 10.0), ("s3", "a", 10.0),
    )  # fmt: skip
    assert row_of(paired_change(visits, ("a", "x")))["mean_change"] == pytest.approx(4)
    back = row_of(paired_change(visits, ("x", "a")))
    assert back["mean_change"] == pytest.approx(-4)
    assert back["percent_change"] == pytest.approx(-100 * 4 / 14)


@pytest.mark.parametrize(
    ("rows", "defined", "note"),
    [
        ([("s1", "a", 1.0), ("s2", "b", 2.0)], set(), "0 participants have a value in a and b"),
        (
            [("s1", "a", 2.0), ("s1", "b", 3.0)],
            {"mean_from", "mean_to", "mean_change", "percent_change"},
            "1 participant",
        ),
        (
            [("s1", "a", 2.0), ("s1", "b", 3.0), ("s2", "a", 4.0), ("s2", "b", 5.0)],
            {"mean_from", "mean_to", "mean_change", "percent_change", "sd_change", "se_change",
             "df"},
            "the same in all",
        ),
    ],
)  # fmt: skip
def test_pairs_that_cannot_be_tested(rows, defined, note):
    found = paired_change(visits_of(*rows), ("a", "b"))
    row = row_of(found).drop(["muscle", "session_from", "session_to", "n"])
    assert set(row.index[row.notna()]) == defined
    assert note in found.notes[0]


@pytest.mark.parametrize("analyse", [paired_change, model_change])
def test_one_session_has_no_change(analyse):
    found = analyse(simulate_visits(5), ("a",))
    assert found.table.empty
    assert len(found.table.columns) > 10
    assert found.notes == ("Change: n/a, because it needs at least 2 sessions.",)


@pytest.mark.parametrize("analyse", [paired_change, model_change])
def test_no_visit_at_all(analyse):
    found = analyse(simulate_visits(5).iloc[:0], ("a", "b"))
    assert found.table.empty


# --- mixed model -------------------------------------------------------------------------------


def long_of_reference():
    data = pd.DataFrame(REFERENCE["mixed"]["data"])
    names = {"id": "participant_id", "session": "session_id"}
    return data.rename(columns=names).assign(muscle="TR")


def test_mixed_model_equals_nlme():
    found = model_change(long_of_reference(), ("a", "b", "c"))
    assert tuple(found.table.columns) == change.MODEL_COLUMNS
    assert found.notes == ()
    fixed = pd.DataFrame(REFERENCE["mixed"]["fixed"]).set_index("effect")
    assert len(found.table) == len(fixed) == 5
    for effect, expected in fixed.iterrows():
        which = {"session": effect} if effect in ("b", "c") else {"effect": effect}
        row = row_of(found, **which)
        for name in ("estimate", "se", "df", "t", "p"):
            assert row[name] == pytest.approx(expected[name], rel=2e-6), (effect, name)
        half = stats.t.ppf(0.975, row["df"]) * row["se"]
        assert (row["ci_lower"], row["ci_upper"]) == pytest.approx(
            (row["estimate"] - half, row["estimate"] + half)
        )
        for name in ("sd_participants", "sd_residual"):
            assert row[name] == pytest.approx(REFERENCE["mixed"][name], rel=2e-6)
        assert (row["n"], row["n_participants"]) == (
            len(REFERENCE["mixed"]["data"]["id"]),
            len(set(REFERENCE["mixed"]["data"]["id"])),
        )


def unbalanced(seed, sd_groups, m=50):
    rng = np.random.default_rng(seed)
    groups = np.repeat(rng.permutation(m), rng.integers(1, 5, m))
    n = len(groups)
    x = np.column_stack([np.ones(n), rng.normal(size=m)[groups], rng.normal(size=n)])
    y = x @ [10, 1, 2] + sd_groups * rng.normal(size=m)[groups] + rng.normal(size=n)
    return x, y, groups


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sd_groups", [0.5, 2.0, 20.0])
def test_mixed_model_equals_statsmodels(seed, sd_groups):
    x, y, groups = unbalanced(seed, sd_groups)
    found = fit_random_intercept(x, y, groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = sm.MixedLM(y, x, groups=groups).fit(reml=True, gtol=1e-12)
    assert found.coefficients == pytest.approx(fit.fe_params, rel=1e-5)
    assert found.sd_residual == pytest.approx(np.sqrt(fit.scale), rel=1e-5)
    assert found.sd_groups == pytest.approx(
        np.sqrt(float(np.squeeze(fit.cov_re))), rel=1e-5, abs=1e-4
    )
    # statsmodels' own standard errors hold the curvature in the variances too: generalised least
    # squares at the same variances is what is meant
    covariance = fit.scale * np.eye(len(y)) + fit.cov_re * (groups[:, None] == groups)
    expected = np.linalg.inv(x.T @ np.linalg.solve(covariance, x))
    assert found.covariance == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_no_variance_between_groups_is_the_boundary():
    """Values of a group less alike than chance: least squares without groups."""
    x, _, groups = unbalanced(0, 1.0)
    rng = np.random.default_rng(2)
    y = x @ [1, 1, 1] + rng.normal(size=len(groups))
    means = pd.Series(y).groupby(groups).transform("mean").to_numpy()
    y = y - 0.8 * (means - x @ np.linalg.lstsq(x, means, rcond=None)[0])
    found = fit_random_intercept(x, y, groups)
    expected = sm.OLS(y, x).fit()
    assert found.sd_groups == 0
    assert found.coefficients == pytest.approx(expected.params, rel=1e-9)
    assert found.covariance == pytest.approx(expected.cov_params(), rel=1e-9)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("level", [0.0, 1e4])
def test_mixed_model_has_no_favourite_unit(unit, level):
    x, y, groups = unbalanced(1, 2.0)
    expected = fit_random_intercept(x, y, groups)
    found = fit_random_intercept(x, unit * (y + level), groups)
    shift = np.array([level, 0, 0])
    assert found.coefficients / unit - shift == pytest.approx(expected.coefficients, rel=1e-6)
    assert found.sd_groups / unit == pytest.approx(expected.sd_groups, rel=1e-6)
    assert found.covariance / unit**2 == pytest.approx(expected.covariance, rel=1e-6)


def test_nearly_all_variance_between_groups():
    x, _, groups = unbalanced(1, 2.0)
    rng = np.random.default_rng(3)
    y = 1e3 * rng.normal(size=60)[groups] + 1e-2 * rng.normal(size=len(groups))
    found = fit_random_intercept(x, y, groups)
    assert found.sd_residual == pytest.approx(1e-2, rel=0.2)
    assert found.sd_groups == pytest.approx(1e3, rel=0.3)


def test_two_complete_sessions_give_the_paired_t_test():
    visits = simulate_visits(40, muscles=("MFSS", "TR"))
    paired, model = paired_change(visits, ("a", "b")), model_change(visits, ("a", "b"))
    for muscle in ("MFSS", "TR"):
        row = row_of(model, muscle=muscle, effect="session")
        pair = row_of(paired, muscle=muscle)
        assert row["sd_participants"] > 0
        assert row[["estimate", "se", "t", "df", "p"]].tolist() == pytest.approx(
            pair[["mean_change", "se_change", "t", "df", "p"]].tolist(), rel=1e-6
        )


def test_covariates_have_their_sign_and_unit():
    """The truth: F is 2 above M, .05 a year, .1 a kg/m^2, 1.5 a session."""
    visits = simulate_visits(4000, ("a", "b", "c"), change=1.5, kept=0.8)
    found = model_change(visits, ("a", "b", "c"))
    truth = {"sex": 2.0, "age": 0.05, "bmi": 0.1}
    for effect, expected in truth.items():
        row = row_of(found, effect=effect)
        assert abs(row["estimate"] - expected) < 4 * row["se"] < 0.5
        assert row["df"] == row["n_participants"] - 4
    for i, session in enumerate("bc", start=1):
        row = row_of(found, session=session)
        assert abs(row["estimate"] - 1.5 * i) < 4 * row["se"] < 0.3
        assert row["df"] == row["n"] - row["n_participants"] - 2
    assert row["sd_participants"] == pytest.approx(2, rel=0.05)
    assert row["sd_residual"] == pytest.approx(1, rel=0.05)


def test_participants_of_one_session_add_to_the_mixed_model():
    visits = simulate_visits(40)
    visits.loc[(visits["session_id"] == "b") & (visits["participant_id"] < "sub-00020"),
               "value"] = np.nan  # fmt: skip
    row = row_of(model_change(visits, ("a", "b")), effect="session")
    assert (row["n"], row["n_participants"], row["df"]) == (60, 40, 19)


def test_covariates_are_those_of_the_first_session():
    visits = simulate_visits(40)
    expected = model_change(visits, ("a", "b"))
    visits.loc[visits["session_id"] == "b", "age"] += 3.0
    pd.testing.assert_frame_equal(model_change(visits, ("a", "b")).table, expected.table)
    shuffled = visits.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(model_change(shuffled, ("a", "b")).table, expected.table)


@pytest.mark.parametrize(
    ("name", "value", "note"),
    [
        ("sex", "F", "without sex, which is the same in all"),
        ("age", 40.0, "without age, which is the same in all"),
        ("bmi", np.nan, "without bmi, which is missing in all"),
        ("sex", None, "without sex, which is missing in all"),
    ],
)
def test_a_covariate_that_tells_nothing_is_left_out(name, value, note):
    visits = simulate_visits(30)
    visits[name] = value
    found = model_change(visits, ("a", "b"))
    assert found.notes == (f"Mixed model of TR: {note}.",)
    assert row_of(found, effect=name)[list(NUMBERS)].isna().all()
    others = found.table[found.table["effect"] != name]
    assert len(others) == 3
    assert others[list(NUMBERS)].notna().all(axis=None)
    assert (others["df"] == [29, 30 - 3, 30 - 3]).all()


def test_a_session_and_covariates_named_alike_are_not_mixed_up():
    visits = simulate_visits(30, ("a", "b")).replace({"session_id": {"b": "age"}})
    expected = model_change(simulate_visits(30, ("a", "b")), ("a", "b"))
    found = model_change(visits, ("a", "age"))
    assert found.table["estimate"].tolist() == expected.table["estimate"].tolist()


def drop(visits, sessions):
    """Visits without the values of these sessions."""
    return visits.assign(value=visits["value"].where(~visits["session_id"].isin(list(sessions))))


def constant(visits):
    return visits.assign(value=visits.groupby("participant_id")["value"].transform("mean"))


def alternate(visits):
    """No participant with two sessions."""
    odd = visits["participant_id"].str[-1].astype(int) % 2 == 1
    return visits.assign(value=visits["value"].where(odd == (visits["session_id"] == "b")))


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (lambda v: drop(v, "a"), "nobody has a value in a"),
        (lambda v: drop(v, "bc"), "only one session has values"),
        (lambda v: drop(v, "abc"), "0 participants have all values"),
        (lambda v: drop(alternate(v), "c"), "too few participants"),
        (constant, "explain all values without error"),
        (lambda v: v.assign(value=7.0), "explain all values without error"),
        (lambda v: v[v["participant_id"] < "sub-00003"], "3 participants have all values"),
        (lambda v: v.assign(bmi=v["age"] / 2), "follows from the others"),
    ],
)
def test_what_no_mixed_model_can_tell(spoil, note):
    found = model_change(spoil(simulate_visits(12, ("a", "b", "c"))), ("a", "b", "c"))
    assert found.table[list(NUMBERS)].isna().all(axis=None)
    assert found.table[["sd_participants", "sd_residual"]].isna().all(axis=None)
    assert found.table["effect"].tolist() == ["session", "session", "sex", "age", "bmi"]
    assert any(note in text for text in found.notes), found.notes


def test_a_later_session_without_values_leaves_the_others():
    found = model_change(drop(simulate_visits(12, ("a", "b", "c")), "b"), ("a", "b", "c"))
    assert np.isnan(row_of(found, session="b")["estimate"])
    assert np.isfinite(row_of(found, session="c")["estimate"])
    assert found.notes == ("Mixed model of TR: nobody has a value in b.",)


def list_all_changes(visits, sessions):
    return list_changes(visits, sessions, pd.DataFrame(columns=list(change.REPEAT_COLUMNS)))


@pytest.mark.parametrize("analyse", [model_change, paired_change, list_all_changes])
def test_cost_grows_with_the_participants_not_their_square(analyse):
    def prepare(n):
        visits = simulate_visits(n, ("a", "b"), SEVEN, kept=0.95)
        return lambda: analyse(visits, ("a", "b"))

    growth = measure_growth(prepare)
    assert growth.calls < 55
    assert growth.kilobytes < 2.4


def test_twenty_thousand_participants():
    visits = simulate_visits(20_000, ("a", "b"), SEVEN, kept=0.95)
    found = model_change(visits, ("a", "b"))
    assert len(paired_change(visits, ("a", "b")).table) >= len(SEVEN)
    assert len(list_all_changes(visits, ("a", "b")).table) > 0.8 * 20_000 * len(SEVEN)
    assert found.table[list(NUMBERS)].notna().all(axis=None)


# --- repeated scans ----------------------------------------------------------------------------


def repeats_of(*rows, muscle="TR"):
    names = ["participant_id", "session_id", "scan", "value"]
    return pd.DataFrame(rows, columns=names).assign(muscle=muscle)


def test_repeatability_by_hand():
    found = measure_repeatability(
        repeats_of(
            ("s1", "a", 1, 10.0), ("s1", "a", 2, 12.0),
            ("s1", "b", 1, 20.0), ("s1", "b", 2, 21.0), ("s1", "b", 3, 22.0),
            ("s2", "a", 1, 90.0),
        )
    )  # fmt: skip
    row = row_of(found)
    assert tuple(found.table.columns) == change.REPEAT_COLUMNS
    assert found.notes == (
        "Smallest detectable change of TR: is based on 3 repetitions; see its interval.",
    )
    assert (row["n_sessions"], row["n_scans"]) == (2, 5)
    sw = np.sqrt((2.0 + 2.0) / 3)
    assert row["sw"] == pytest.approx(sw)
    assert row["sdc"] == pytest.approx(1.96 * np.sqrt(2) * sw)
    assert row["cv_percent"] == pytest.approx(100 * sw / 17)
    for name, tail in (("sdc_ci_lower", 0.975), ("sdc_ci_upper", 0.025)):
        assert row[name] == pytest.approx(row["sdc"] * np.sqrt(3 / stats.chi2.ppf(tail, 3)))
    assert row["sdc_ci_lower"] < row["sdc"] < row["sdc_ci_upper"]


def test_unchanged_participants_exceed_it_in_one_of_twenty():
    rng = np.random.default_rng(4)
    own = rng.normal(20, 5, 4000)
    scans = own[:, None] + rng.normal(0, 0.7, (4000, 2))
    rows = [(f"s{i}", "a", k, scans[i, k]) for i in range(4000) for k in range(2)]
    row = row_of(measure_repeatability(repeats_of(*rows)))
    assert row["sw"] == pytest.approx(0.7, rel=0.05)
    assert row["sdc_ci_lower"] < 1.96 * np.sqrt(2) * 0.7 < row["sdc_ci_upper"]
    assert np.mean(np.abs(scans[:, 0] - scans[:, 1]) > row["sdc"]) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ([("s1", "a", 1, 1.0), ("s2", "a", 1, 2.0)], "no session has two scans"),
        ([("s1", "a", 1, 1.0), ("s1", "a", 2, np.nan)], "no session has two scans"),
        ([("s1", "a", 1, 1.1), ("s1", "a", 2, 1.1)], "copies of one scan"),
        ([("s1", "a", 1, np.nan)], "no session has two scans"),
    ],
)
def test_no_repetition_has_no_detectable_change(rows, note):
    found = measure_repeatability(repeats_of(*rows))
    assert row_of(found)[["sw", "sdc", "cv_percent", "sdc_ci_lower"]].isna().all()
    assert note in found.notes[0]


def test_a_mean_of_zero_has_no_percentage():
    found = measure_repeatability(repeats_of(("s1", "a", 1, -1.0), ("s1", "a", 2, 1.0)))
    assert np.isnan(row_of(found)["cv_percent"])
    assert row_of(found)["sw"] == pytest.approx(np.sqrt(2))
    assert "no percentage" in found.notes[1]
    visits = visits_of(("s1", "a", 0.0), ("s1", "b", 2.0), ("s2", "a", 0.0), ("s2", "b", 3.0))
    found = paired_change(visits, ("a", "b"))
    assert np.isnan(row_of(found)["percent_change"])
    assert found.notes == ("Change of TR: no percentage, because the mean in a is not above 0.",)


def test_no_repeated_scan_at_all():
    found = measure_repeatability(repeats_of(("s1", "a", 1, 1.0)).iloc[:0])
    assert found.table.empty
    assert "no repeated scans" in found.notes[0]


# --- changes of participants -------------------------------------------------------------------


def limits_of(sdc, repetitions=20):
    row = {"muscle": "TR", "sdc": sdc, "n_scans": 8 + repetitions, "n_sessions": 8}
    return pd.DataFrame([row])


@pytest.mark.parametrize(("repetitions", "decided"), [(4, False), (5, True), (9, True)])
def test_nothing_is_decided_by_fewer_than_five_repetitions(repetitions, decided):
    visits = visits_of(("s1", "a", 10.0), ("s1", "b", 20.0))
    found = list_changes(visits, ("a", "b"), limits_of(2.0, repetitions))
    assert found.table["sdc"].tolist() == [2.0]
    assert found.table["exceeds_sdc"].notna().tolist() == [decided]
    note = "smallest detectable change, which is based on 4 repetitions."
    assert [note in text for text in found.notes] == ([] if decided else [True])


@pytest.mark.parametrize(("n", "told"), [(9, True), (10, False)])
def test_few_repetitions_are_told(n, told):
    rng = np.random.default_rng(1)
    scans = rng.normal(10, 1, (n, 2))
    rows = [(f"s{i}", "a", k, scans[i, k]) for i in range(n) for k in range(2)]
    found = measure_repeatability(repeats_of(*rows))
    assert np.isfinite(row_of(found)["sdc"])
    assert bool(found.notes) == told
    assert not told or f"is based on {n} repetitions" in found.notes[0]


def test_changes_of_participants_against_the_detectable_change():
    visits = visits_of(
        ("s2", "a", 10.0), ("s2", "b", 8.0), ("s1", "a", 10.0), ("s1", "b", 12.1),
        ("s3", "a", 10.0), ("s3", "b", 11.9), ("s4", "a", 10.0), ("s1", "a", 5.0, "LC"),
        ("s1", "b", 5.0, "LC"),
    )  # fmt: skip
    found = list_changes(visits, ("a", "b"), limits_of(2.0))
    assert tuple(found.table.columns) == change.LIST_COLUMNS
    table = found.table
    assert table["participant_id"].tolist() == ["s1", "s1", "s2", "s3"]
    assert table["muscle"].tolist() == ["LC", "TR", "TR", "TR"]
    assert table["change"].tolist() == pytest.approx([0.0, 2.1, -2.0, 1.9])
    assert table["exceeds_sdc"].tolist()[1:] == ["yes", "no", "no"]
    assert pd.isna(table["exceeds_sdc"][0])
    assert np.isnan(table["sdc"][0])
    assert found.notes == (
        "Changes of LC: not compared with the smallest detectable change, which is unknown.",
    )


def test_a_loss_exceeds_as_a_gain_does():
    visits = visits_of(("s1", "a", 10.0), ("s1", "b", 7.0), ("s2", "a", 10.0), ("s2", "b", 13.0))
    found = list_changes(visits, ("a", "b"), limits_of(2.0))
    assert found.table["exceeds_sdc"].tolist() == ["yes", "yes"]
    assert found.table["change"].tolist() == [-3.0, 3.0]


def test_one_session_lists_no_change():
    limits = limits_of(2.0)
    found = list_changes(visits_of(("s1", "a", 10.0)), ("a",), limits)
    assert found.table.empty
    assert tuple(found.table.columns) == change.LIST_COLUMNS
    assert "at least 2 sessions" in found.notes[0]
    assert list_changes(visits_of(("s1", "a", 10.0)), ("a", "b"), limits).table.empty
