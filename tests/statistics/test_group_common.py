"""Muscles that few people have, or nobody: what is made without them, and what is said."""

import numpy as np
import pandas as pd
import pytest
from simulated_group import long_of, simulate_cohort

from bids_mfi.statistics.analyses import analyse_cohort, analyse_formula
from bids_mfi.statistics.cohort import make_cohort
from bids_mfi.statistics.wilkinson import parse_formula

OMNIBUS = ("rmancova", "sphericity", "multivariate", "emm")


def rows_of(names, muscle="RHOM", hemis="LR", value=5.0):
    rows = [(name, muscle, hemi, value + i % 7, 1.0) for i, name in enumerate(names)
            for hemi in hemis]  # fmt: skip
    columns = ["participant_id", "muscle", "hemi", "mfi_percent", "volume_ml"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def plain():
    return simulate_cohort(24, ("MFSS", "LC", "TR"))


def with_rows(plain, rows, missing="both"):
    return make_cohort(pd.concat([long_of(plain), rows]), plain.people, "mfi", missing)


@pytest.mark.parametrize(("n", "is_rare"), [(1, True), (11, True), (12, False), (24, False)])
def test_a_muscle_is_common_from_half_of_the_participants_on(plain, n, is_rare):
    cohort = with_rows(plain, rows_of(plain.people.index[:n]))
    assert set(cohort.muscles) == {"MFSS", "LC", "TR", "RHOM"}
    have = "has" if n == 1 else "have"
    expected = (("RHOM", f"{n} of 24 participants {have} it"),) if is_rare else ()
    assert cohort.rare == expected
    assert ("RHOM" in cohort.common) == (not is_rare)
    assert set(cohort.common) >= {"MFSS", "LC", "TR"}


@pytest.mark.parametrize("name", OMNIBUS)
def test_one_odd_muscle_leaves_the_main_results_as_they_are(plain, name):
    expected = analyse_cohort(with_rows(plain, rows_of([])), "none")[name]
    found = analyse_cohort(with_rows(plain, rows_of(plain.people.index[:1])), "none")[name]
    pd.testing.assert_frame_equal(found.table, expected.table)
    assert expected.table["p" if "p" in expected.table else "w"].notna().all()
    assert [note for note in found.notes if note not in expected.notes] == [
        f"{'Estimated marginal means' if name == 'emm' else 'Repeated-measures ANCOVA'}: without "
        "RHOM, because 1 of 24 participants has it."
    ]


def test_the_mean_is_without_it_and_the_muscle_has_its_own_row(plain):
    expected = analyse_cohort(plain, "none")["ancova"].table.set_index("muscle")
    cohort = with_rows(plain, rows_of(plain.people.index[:8]))
    found = analyse_cohort(cohort, "none")
    table = found["ancova"].table.set_index("muscle")
    assert table.loc["mean"].tolist() == pytest.approx(expected.loc["mean"].tolist())
    assert table.loc["RHOM", "n"] == 8
    assert np.isfinite(table.loc["RHOM", "p_sex"])
    pairs = found["pairedt"].table
    assert (pairs.loc[(pairs == "RHOM").any(axis=1), "n"] == 8).all()
    assert found["ancova"].notes[-1] == (
        "Mean of the muscles: without RHOM, because 8 of 24 participants have it."
    )


def test_complete_participants_need_no_rare_muscle(plain):
    cohort = with_rows(plain, rows_of(plain.people.index[:1]), "complete")
    assert len(cohort.values) == 24
    assert cohort.rare == (("RHOM", "1 of 24 participants has it"),)
    common = with_rows(plain, rows_of(plain.people.index[:13]), "complete")
    assert len(common.values) == 13
    assert common.rare == ()


def test_a_rare_muscle_of_those_left_out_falls_away(plain):
    cohort = with_rows(plain, rows_of(plain.people.index[:1]))
    people = plain.people.copy()
    people.loc[people.index[0], "bmi"] = np.nan
    found = make_cohort(
        pd.concat([long_of(plain), rows_of(people.index[:1])]), people, "mfi", "complete"
    )
    assert "RHOM" in cohort.muscles
    assert "RHOM" not in found.muscles
    assert found.rare == cohort.rare
    assert list(found.left.columns) == list(found.right.columns) == list(found.muscles)


def test_models_use_the_common_muscles_for_all_together(plain):
    parsed = parse_formula("mfi ~ sex + age")
    expected = analyse_formula(plain, parsed)
    found = analyse_formula(with_rows(plain, rows_of(plain.people.index[:1])), parsed)
    pd.testing.assert_frame_equal(found["model_rmancova"].table, expected["model_rmancova"].table)
    for name in ("model", "model_coefficients", "model_means"):
        own, other = (one[name].table.query("muscle == 'mean'") for one in (found, expected))
        pd.testing.assert_frame_equal(own.reset_index(drop=True), other.reset_index(drop=True))
    assert found["model_rmancova"].notes == (
        "Repeated-measures analysis of the model: without RHOM, because 1 of 24 participants has "
        "it.",
    )


def test_no_common_muscle_at_all(plain):
    names = plain.people.index
    parts = [rows_of(names[i::3], muscle) for i, muscle in enumerate(("LC", "TR", "LS"))]
    cohort = make_cohort(pd.concat(parts), plain.people, "mfi", "both")
    assert cohort.common == ()
    found = analyse_cohort(cohort, "none")
    assert any("at least half of the participants have" in x for x in found["rmancova"].notes)
    mean = found["ancova"].table.set_index("muscle").loc["mean"]
    assert mean.drop("n").isna().all()
    why = "no muscle is present in half of the participants"
    assert f"ANCOVA for sex of mean: n/a, because {why}." in found["ancova"].notes


@pytest.mark.parametrize(
    ("missing", "hemis", "value", "absent"),
    [
        ("both", "L", 5.0, (("RHOM", "no participant has both sides"),)),
        ("complete", "R", 5.0, (("RHOM", "no participant has both sides"),)),
        ("any", "L", 5.0, ()),
        ("both", "LR", np.nan, (("RHOM", "no participant has a value for it"),)),
        ("any", "LR", np.nan, (("RHOM", "no participant has a value for it"),)),
        ("both", "LR", 5.0, ()),
    ],
)
def test_a_muscle_that_is_in_no_analysis_is_named(plain, missing, hemis, value, absent):
    cohort = with_rows(plain, rows_of(plain.people.index, hemis=hemis, value=value), missing)
    assert cohort.absent == absent
    assert ("RHOM" in cohort.muscles) == (not absent)
    assert cohort.rare == ()
