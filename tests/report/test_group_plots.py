"""What the plots of a cohort's page draw: the numbers of the tables, in the order of the people."""

from dataclasses import replace

import numpy as np
import pandas as pd
from test_group_page import PEOPLE, make_entry, make_frame, make_further, make_page

from bids_mfi.report import group_plots
from bids_mfi.report.group_page import TableEntry
from bids_mfi.report.group_plots import encode_script, make_plot_data


def test_plots_get_every_participant_in_one_order():
    data = make_plot_data(make_page())
    assert data["people"]["id"] == list(PEOPLE)
    assert data["people"]["bmi"] == [22.04, None, 25.0]
    assert data["values"] == {"MFSS": [11.0, 13.0, None], "TR": [5.5, None, None]}
    assert data["left"]["TR"] == [5.0, None, None]
    assert data["right"]["TR"] == [6.0, 8.0, None]
    assert data["people"]["bundle"] == {"words": ["a", "b"], "of": [0, 1, 0]}


def test_residuals_find_their_participant():
    page = make_page()
    table = page.tables["residuals"].table
    kept = table[table["participant_id"] != "sub-02"].iloc[::-1]
    entry = replace(page.tables["residuals"], table=kept)
    data = make_plot_data(make_page(tables={"residuals": entry}))
    assert data["residuals"]["age"]["TR"] == {"x": [-1.0, None, 1.0], "y": [1.0, None, -1.0]}


def test_results_in_plots_are_those_of_the_tables():
    data = make_plot_data(make_page())
    assert data["means"]["TR"] == {"n": 3.0, "mean": 17.26, "se": 0.5777}
    assert data["marginal"]["mean"]["emm_m"] == 12.9
    assert data["marginal"]["MFSS"]["stars"] == "**"
    assert data["correlations"] == [{"a": "MFSS", "b": "TR", "text": "r = 0.837 **"}]
    assert data["partial"][0]["resid_slope"] == -1.0


def test_change_is_by_muscle_session_and_participant():
    change = make_plot_data(make_page(tables=make_further()))["change"]
    assert change["sessions"] == ["ses-01", "ses-02"]
    assert change["values"] == {"TR": {"ses-01": [8.0, None, 8.0], "ses-02": [8.5, None, 9.0]}}
    assert change["beyond"] == {"TR": {"ses-02": [0, 0, 1]}}
    assert change["means"] == {
        "TR": [{"session": "ses-02", "ends": [8.0, 8.5], "text": "+0.50 ± 0.12 *"}]
    }


def test_three_sessions_share_the_first():
    table = make_further()["change_participants"].table
    later = table.assign(session_to="ses-03", value_to=10.0).iloc[:1]
    first = table.iloc[1:]
    entry = TableEntry("", "", pd.concat([first, later]))
    change = make_plot_data(make_page(tables={"change_participants": entry}))["change"]
    assert change["sessions"] == ["ses-01", "ses-02", "ses-03"]
    assert change["values"]["TR"] == {
        "ses-01": [8.0, None, 8.0], "ses-02": [8.5, None, None], "ses-03": [None, None, 10.0]
    }  # fmt: skip
    assert change["means"] == {}


def test_centiles_are_by_muscle_and_participant():
    assert make_plot_data(make_page(tables=make_further()))["centiles"] == {
        "control": [1, 0, 0],
        "muscles": {
            "TR": {"z": [0.0, 1.645, None], "centile": [50.0, 95.0, None], "outside": [0, 1, 0]}
        },
    }


def test_without_further_tables_their_plots_have_no_data():
    data = make_plot_data(make_page())
    assert (data["change"], data["centiles"]) == ({}, {})


def test_a_large_cohort_stays_small():
    """4 significant digits: 20,000 participants, 7 muscles, below 15 MB."""
    people = [f"sub-{k:05d}" for k in range(2000)]
    muscles = [f"M{k}" for k in range(7)]
    values = make_frame(np.random.default_rng(0).normal(12, 4, (2000, 7)), people, muscles)
    rows = [
        pd.DataFrame(
            {
                "participant_id": people,
                "muscle": muscle,
                "x": x,
                "resid_x": values["M0"],
                "resid_mfi": values[muscle],
            }
        )
        for muscle in muscles
        for x in ("age", "bmi")
    ]
    entry = TableEntry("group_residuals.tsv", "", pd.concat(rows, ignore_index=True))
    page = make_page(people=pd.DataFrame({"age": 1 / 3}, index=people), values=values, left=values,
                     right=values, tables={"residuals": entry})  # fmt: skip
    assert len(encode_script(make_plot_data(page))) * 10 < 15e6


# --- more participants than a page can hold ------------------------------------------------------


def test_page_holds_outliers_and_an_even_sample(monkeypatch):
    ids = [f"sub-{number:03d}" for number in range(100)]
    people = pd.DataFrame(index=pd.Index(ids, name="participant_id"))
    values = pd.DataFrame({"SCM": range(100)}, index=people.index, dtype=float)
    outliers = make_entry("outliers", [{"participant_id": "sub-002", "muscle": "SCM"}])
    page = make_page(
        people=people, values=values, left=values, right=values, tables={"outliers": outliers}
    )
    everything = make_plot_data(page)
    assert "total" not in everything
    assert everything["people"]["id"] == ids
    monkeypatch.setattr(group_plots, "HELD_PARTICIPANTS", 11)
    data = make_plot_data(page)
    assert data["total"] == 100
    held = data["people"]["id"]
    assert len(held) == 11
    assert held == sorted(held)
    assert {"sub-000", "sub-002", "sub-099"} <= set(held)
    numbers = [int(name[4:]) for name in held if name != "sub-002"]
    assert max(np.diff(numbers)) <= 12
    assert data["values"]["SCM"] == [float(name[4:]) for name in held]
