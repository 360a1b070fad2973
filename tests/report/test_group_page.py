"""The page of a cohort: right words and numbers, nothing but itself, and no trouble with gaps."""

import base64
import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bids_mfi.findings import Finding
from bids_mfi.report.group_page import GroupPage, TableEntry, hash_script, render_group_page
from bids_mfi.report.page import TEMPLATES

MUSCLES = ("MFSS", "TR")
PEOPLE = ("sub-01", "sub-02", "sub-03")


def make_entry(name, rows, *notes, columns=()):
    table = pd.DataFrame(rows, columns=list(columns) or None)
    data = table.to_csv(sep="\t", index=False).encode()
    return TableEntry(f"group_{name}.tsv", f"Title of {name}", table, notes, data)


def make_frame(values, people=PEOPLE, muscles=MUSCLES):
    return pd.DataFrame(values, pd.Index(people, name="participant_id"), list(muscles), dtype=float)


def omnibus_rows():
    rows = []
    for covariates, f in (("raw", 2.791), ("centred", 195.25)):
        within = {"covariates": covariates, "stratum": "within", "effect": "muscle", "ss": 1.0}
        for correction, scale, p in (("none", 1, 0.011), ("greenhouse_geisser", 0.75375, 0.021)):
            rows.append({**within, "correction": correction, "epsilon": scale, "df1": 6 * scale,
                         "df2": 480 * scale, "f": f, "p": p, "partial_eta_sq": 0.034})  # fmt: skip
        rows.append({"covariates": covariates, "stratum": "between", "effect": "sex", "ss": 1.0,
                     "correction": "none", "epsilon": math.nan, "df1": 1.0, "df2": 80.0, "f": 5.16,
                     "p": 0.026, "partial_eta_sq": 0.061})  # fmt: skip
    return rows


def make_tables():
    moments = {"n": 3, "mean": 17.259, "sd": 5.294, "se": 0.5777, "min": 6.1, "max": 29.5}
    sphericity = {"covariates": "raw", "n": 3, "w": 0.35, "chi2": 81.68, "df": 20, "p_chi2": 2e-9}
    pair = {"muscle_a": "MFSS", "muscle_b": "TR", "n": 3, "t": 2.5, "df": 2, "p": 0.004,
            "ci_lower": -0.5, "ci_upper": 0.9}  # fmt: skip
    ancova = {"n": 3, "df2": 80, "f_sex": 7.476, "p_sex": 0.0077, "pes_sex": 0.085, "emm_f": 15.783,
              "emm_f_se": 0.546, "emm_m": 12.9, "emm_m_se": 0.895, "diff_f_minus_m": 2.882,
              "diff_se": 1.054, "p_age": 0.5, "p_bmi": 0.6, "r2": 0.239}  # fmt: skip
    residuals = [
        {"participant_id": name, "muscle": muscle, "x": x, "resid_x": k - 1.0, "resid_mfi": 1.0 - k}
        for x in ("age", "bmi") for muscle in MUSCLES for k, name in enumerate(PEOPLE)
    ]  # fmt: skip
    partial = [{"muscle": muscle, "x": x, "n": 3, "df": 80, "r": 0.372, "t": 3.59, "p": 0.00057,
                "ci_lower": 0.169, "ci_upper": 0.545, "resid_slope": -1.0}
               for x in ("age", "bmi") for muscle in MUSCLES]  # fmt: skip
    asymmetry = {"muscle": "TR", "n": 3, "mean_left": 8.0, "mean_right": 8.5, "mean_diff": -0.5,
                 "sd_diff": 1.0, "t": -1.0, "df": 2, "p": 0.4, "ci_lower": -1.5,
                 "ci_upper": 0.5}  # fmt: skip
    outlier = {"participant_id": "sub-02", "muscle": "TR", "value": 20.0, "expected": 9.0,
               "studentised": 4.2, "p_bonferroni": 0.01}  # fmt: skip
    return {
        "descriptives": make_entry("descriptives", [{"muscle": m, **moments} for m in MUSCLES]),
        "rmancova": make_entry("rmancova", omnibus_rows()),
        "sphericity": make_entry("sphericity", [sphericity]),
        "ancova": make_entry("ancova", [{"muscle": m, **ancova} for m in (*MUSCLES, "mean")]),
        "pairedt": make_entry("pairedt", [{**pair, "mean_diff": 4.257, "sd_diff": 2.9,
                              "se_diff": 0.32}]),
        "musclecorr": make_entry("musclecorr", [{**pair, "r": 0.837}]),
        "partialcorr": make_entry("partialcorr", partial),
        "residuals": make_entry("residuals", residuals),
        "asymmetry": make_entry("asymmetry", [asymmetry]),
        "outliers": make_entry("outliers", [outlier]),
    }  # fmt: skip


def make_page(**changes):
    people = pd.DataFrame(
        {"sex": ["F", "M", None], "age": [30.0, 40.5, math.nan], "bmi": [22.04, math.nan, 25.0],
         "page": ["sub-01.html", "", "sub-03.html"], "session": "ses-01", "bundle": ["a", "b", "a"],
         "flags": ["", "cut muscle", ""]},
        index=pd.Index(PEOPLE, name="participant_id"),
    )  # fmt: skip
    left = make_frame([[10.0, 5.0], [12.0, math.nan], [math.nan, math.nan]])
    right = make_frame([[12.0, 6.0], [14.0, 8.0], [15.0, math.nan]])
    page = GroupPage(
        title="Group", facts=(("Session", "ses-01"),), findings=(), measure="mfi", unit="%",
        people=people, values=(left + right) / 2, left=left, right=right, tables=make_tables(),
        figures=(("group/figures/group_figure5a.svg", "As printed", b"<svg/>"),),
        methods=("Muscles were compared.",), references=("Weber et al. 2021",),
        summary=("Muscle had an effect.",),
    )  # fmt: skip
    return replace(page, **changes)


def empty_page():
    people = pd.DataFrame(index=pd.Index([], name="participant_id"))
    none = make_frame([], (), ())
    return make_page(people=people, values=none, left=none, right=none, tables={}, figures=())


def nan_page():
    """Every number of every table is missing."""
    tables = {
        key: replace(entry, table=entry.table.apply(
            lambda column: column * np.nan if column.dtype.kind in "fi" else column
        ))
        for key, entry in make_tables().items()
    }  # fmt: skip
    return make_page(tables=tables, values=make_frame(np.full((3, 2), np.nan)))


def body_of(html):
    """What a reader sees without scripts."""
    return re.sub(r"<script.*?</script>", "", html.split("<body>")[1], flags=re.S)


def text_of(html):
    """The words of a page, without the list of its sections."""
    html = re.sub(r"<nav.*?</nav>", "", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body_of(html)).split())


def data_of(html):
    return json.loads(re.search(r'id="group-data">(.*?)</script>', html, re.S)[1])


# --- the page alone ----------------------------------------------------------------------------


def scripts_of(html):
    """The scripts that a browser runs, as it reads them: line ends are one character."""
    found = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    return [text.replace("\r\n", "\n").replace("\r", "\n") for text in found]


def test_the_page_needs_nothing_but_itself():
    html = render_group_page(make_page())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    assert policy == (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src "
        + " ".join(f"'{hash_script(text)}'" for text in scripts_of(html))
        + "; base-uri 'none'; form-action 'none'"
    )
    assert len(scripts_of(html)) == 2
    assert not re.search(r"<[^>]+ on[a-z]+=", body_of(html))
    assert not re.search(r"<(?:script|link|iframe)[^>]+(?:src|href)=", html)
    links = re.findall(r'(?:src|href)="([^"#]+)"', body_of(html))
    assert {link.split(",")[0] for link in links} == {
        "data:image/svg+xml;base64", "data:text/tab-separated-values;base64",
        "https://doi.org/10.1038/s41598-021-95972-x", "group/figures/group_figure5a.svg",
    }  # fmt: skip
    assert "not a medical device" in text_of(html)


def test_plotly_cannot_send_data_away():
    script = (TEMPLATES / "group.js").read_text()
    assert "showSendToCloud: false" in script
    assert 'plotlyServerURL: ""' in script
    assert not re.search(r"\beval\b|innerHTML|Function\(|scattergl|splom", script)


def test_the_same_page_twice_is_the_same():
    assert render_group_page(make_page()) == render_group_page(make_page())


def test_the_order_is_that_of_the_paper():
    headings = re.findall(r"<h2[^>]*>([^<]+)", render_group_page(make_page()))
    assert headings == [
        "Results in words", "Sample", "Muscle and sex: repeated-measures ANCOVA",
        "Correlations between muscles", "Differences between muscles", "Sex", "Age and BMI",
        "Beyond the paper", "Outliers", "Missing values", "Weights that made the labels",
        "Methods, ready to paste", "Files",
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["title", "muscle", "participant", "note", "finding", "fact"])
def test_names_cannot_become_markup(place):
    bad = "</script><script>alert(1)</script>\u2028&\"'"
    page = {
        "title": lambda: make_page(title=bad),
        "muscle": lambda: make_page(
            values=make_frame(np.ones((3, 2)), muscles=(bad, "TR")),
            left=make_frame(np.ones((3, 2)), muscles=(bad, "TR")),
        ),
        "participant": lambda: make_page(people=make_page().people.rename(index={"sub-01": bad})),
        "note": lambda: make_page(tables={"x": make_entry("x", [{"a": bad}], bad)}),
        "finding": lambda: make_page(findings=(Finding("note", bad, (bad,)),)),
        "fact": lambda: make_page(facts=((bad, bad),)),
    }[place]()
    html = render_group_page(page)
    assert html.count("<script") == render_group_page(make_page()).count("<script")
    assert "alert(1)" in html
    if place in ("muscle", "participant"):
        data = data_of(html)
        assert bad in data["muscles"] + data["people"]["id"]


def test_links_of_participants_stay_in_the_folder():
    people = make_page().people.assign(page=["javascript:alert(1)", "//a.org", "sub-03.html"])
    assert data_of(render_group_page(make_page(people=people)))["people"]["page"] == [
        "", "", "sub-03.html"
    ]  # fmt: skip


# --- tables ------------------------------------------------------------------------------------


def test_the_omnibus_is_printed_as_in_the_paper_raw_first():
    text = text_of(render_group_page(make_page()))
    assert "F, raw p, raw partial η², raw F, centred" in text
    assert "muscle F(4.5, 361.8) = 2.791 0.021 * 0.034 F(4.5, 361.8) = 195.250 0.021 *" in text
    assert "sex F(1, 80) = 5.160 0.026 * 0.061 F(1, 80) = 5.160" in text
    folded = text[text.index("All corrections") :]
    assert "raw within muscle 1 none 1 6 480 2.791 0.011 * 0.03400" in folded


def test_an_effect_without_corrected_row_is_shown_uncorrected():
    rows = [row for row in omnibus_rows() if row["correction"] == "none"]
    text = text_of(render_group_page(make_page(tables={"rmancova": make_entry("rmancova", rows)})))
    assert "muscle F(6, 480) = 2.791" in text


def test_numbers_of_the_sections():
    text = text_of(render_group_page(make_page()))
    assert "MFSS 3 17.26 5.29 0.58 6.10 29.50" in text
    assert "Muscle MFSS TR 0.837 **" in text
    assert "Muscle MFSS TR 4.26 **" in text
    assert "MFSS TR 3 4.26 ± 0.32 \u22120.50 to 0.90 2.50 2 0.004 **" in text
    assert "Mean of all 3 15.78 ± 0.55 12.90 ± 0.90 2.88 ± 1.05 7.476 80 0.008 ** 0.085" in text
    assert "MFSS age 3 0.372 0.169 to 0.545 3.59 80 <0.001 ***".replace("<", "&lt;") in text
    assert "TR 3 8.00 8.50 \u22120.50 1.00 \u22121.50 to 0.50 \u22121.00 2 0.400" in text
    assert "sub-02 TR 20.00 9.00 4.20 0.010" in text
    assert "* p &lt; 0.05, ** p &lt; 0.01, *** p &lt; 0.001" in text


def test_adjusted_values_appear_beside_the_raw_ones():
    tables = make_tables()
    table = tables["ancova"].table.assign(p_sex_adjusted=0.0231)
    tables["ancova"] = replace(tables["ancova"], table=table)
    text = text_of(render_group_page(make_page(tables=tables)))
    assert "p sex p adjusted partial" in text
    assert "0.008 ** 0.023 * 0.085" in text
    assert "p adjusted" not in text_of(render_group_page(make_page()))


def test_notes_stand_where_the_numbers_would_be():
    tables = make_tables() | {
        "rmancova": make_entry("rmancova", [], "sex is the same in all 3 participants"),
        "ancova": make_entry("ancova", [{"muscle": "TR", "n": 3, "f_sex": math.nan}], "one sex"),
        "pairedt": make_entry("pairedt", [{"muscle_a": "TR", "muscle_b": "LC", "n": 3, "p": 0.5,
                                           "mean_diff": 1.0}], "of few participants"),
    }  # fmt: skip
    text = text_of(render_group_page(make_page(tables=tables)))
    omnibus = text[text.index("Muscle and sex") : text.index("Correlations between")]
    assert "Reasons for n/a sex is the same in all 3 participants" in omnibus
    assert "Table: n/a throughout" in text
    assert "TR 3 n/a Reasons for n/a one sex" in text
    assert "Notes of few participants" in text


def make_further():
    """Tables beyond the paper, of one muscle."""
    change = {"muscle": "TR", "session_from": "ses-01", "session_to": "ses-02", "n": 2,
              "mean_from": 8.0, "mean_to": 8.5, "mean_change": 0.5, "sd_change": 0.4,
              "se_change": 0.123, "t": 2.0, "df": 1, "p": 0.03, "ci_lower": 0.1, "ci_upper": 0.9,
              "percent_change": 6.25}  # fmt: skip
    mixed = {"muscle": "TR", "effect": "session", "session": "ses-02", "estimate": 0.5, "se": 0.1,
             "df": 1, "t": 2.0, "p": 0.03, "ci_lower": 0.1, "ci_upper": 0.9,
             "sd_participants": 1.0, "sd_residual": 0.5, "n": 4, "n_participants": 2}  # fmt: skip
    own = [{"participant_id": name, "muscle": "TR", "session_from": "ses-01",
            "session_to": "ses-02", "value_from": 8.0, "value_to": value, "change": value - 8,
            "sdc": 0.7, "exceeds_sdc": "yes" if value > 8.7 else "no"}
           for name, value in (("sub-03", 9.0), ("sub-01", 8.5))]  # fmt: skip
    repeated = {"muscle": "TR", "n_sessions": 4, "n_scans": 8, "sw": 0.25, "sdc": 0.7,
                "cv_percent": 2.0, "sdc_ci_lower": 0.6, "sdc_ci_upper": 0.8}  # fmt: skip
    centiles = [{"participant_id": name, "muscle": "TR", "is_control": control, "value": 8.0,
                 "expected": 7.0, "z": z, "centile": centile, "outside_range": outside}
                for name, control, z, centile, outside in (
                    ("sub-02", "no", 1.6449, 95.0, "yes"), ("sub-01", "yes", 0.0, 50.0, "no"))
                ]  # fmt: skip
    term = {"muscle": "TR", "term": "group", "df1": 1, "df2": 80, "ss": 1.0, "f": 5.16, "p": 0.026,
            "partial_eta_sq": 0.061, "r2": 0.239, "n": 84}  # fmt: skip
    coefficient = {"muscle": "TR", "coefficient": "group[a]", "estimate": 0.06789, "se": 0.01,
                   "t": 2.0, "df": 80, "p": 0.026, "ci_lower": 0.01, "ci_upper": 0.12}  # fmt: skip
    repeat = {"stratum": "within", "effect": "muscle:group", "correction": "greenhouse_geisser",
              "epsilon": 0.9, "df1": 5.4, "df2": 432.0, "ss": 1.0, "f": 2.5, "p": 0.04,
              "partial_eta_sq": 0.03}  # fmt: skip
    rows = {
        "centiles": centiles, "volume_change": [change], "change_participants": own,
        "centiles_calibration": [{"muscle": "TR", "n": 124, "below_5": 6.45, "above_95": 4.03}],
        "repeatability": [repeated], "change_model": [mixed], "change": [change],
        "model_rmancova": [repeat], "model_coefficients": [coefficient], "model": [term],
        "mfi": [{"participant_id": "sub-01", "voxels": 12345}],
    }  # fmt: skip
    return make_tables() | {key: make_entry(key, found) for key, found in rows.items()}


def beyond(text):
    return text[text.index("Beyond the paper") : text.index("Outliers")]


def test_tables_beyond_the_paper_have_an_order_of_their_own():
    tables = make_further() | {"strange": make_entry("strange", [{"a_b": 1.23456}])}
    page = make_page(tables=tables, model="mfi ~ group", controls="group == 'a'")
    html = render_group_page(page)
    section = html[html.index('id="beyond"') : html.index('id="outliers"')]
    assert re.findall(r"<h3[^>]*>([^<]+)", section) == [
        "Left and right", "Right against left side: MFI (%)", "The requested model: mfi ~ group",
        "Change between sessions", "Change of each participant: MFI (%) by session",
        "Centiles among the controls: group == &#39;a&#39;",
        "Centile of each participant among the controls, by muscle", "Title of strange",
        "Volumes (secondary)",
    ]  # fmt: skip
    assert section.index("Below the 5th centile, %") < section.index('id="centiles"')
    assert "secondary" not in text_of(render_group_page(make_page()))


def test_numbers_beyond_the_paper():
    text = beyond(text_of(render_group_page(make_page(tables=make_further()))))
    assert "TR group 84 F(1, 80) = 5.160 0.026 * 0.061 0.239" in text
    assert "TR group[a] 0.06789 0.01000 0.010 to 0.120 2.00 80 0.026 *" in text
    assert "Effect F p partial η² muscle \u00d7 group F(5.4, 432) = 2.500 0.040 * 0.030" in text
    row = "TR ses-01 ses-02 2 8.00 8.50 0.50 ± 0.12 0.10 to 0.90 6.2 2.00 1 0.030 *"
    assert text.count(row) == 2  # of MFI and of volume
    assert "TR session ses-02 2 0.50 ± 0.10 0.10 to 0.90 2.00 1 0.030 * 1.00 0.50" in text
    assert "TR 4 8 0.25 0.70 0.60 to 0.80 2.00" in text
    assert "sub-03 TR ses-01 ses-02 8.00 9.00 1.00 0.70 yes" in text
    assert "TR 124 6.5 4.0" in text
    assert "sub-02 TR no 8.00 7.00 1.64 95.0 yes" in text


def test_tables_of_participants_are_folded():
    html = render_group_page(make_page(tables=make_further()))
    for words in ("Change of each participant", "Centiles of each participant"):
        fold = re.search(rf"<summary>{words}</summary>(.*?)</details>", html, re.S)[1]
        assert "<table" in fold
    assert "Title of mfi" in html
    assert "12345" not in text_of(html)


def test_volumes_are_folded_and_secondary():
    html = render_group_page(make_page(tables=make_further()))
    volumes = html[html.index("Volumes (secondary)") : html.index('id="outliers"')]
    assert "these results are secondary. A volume changes" in volumes
    (fold,) = re.findall(r"<summary>(.*?)</summary>(.*?)</details>", volumes, re.S)
    assert fold[0] == "Title of change"
    assert "ses-02" in fold[1]


def test_a_model_of_volume_is_shown_as_the_model_asked_for():
    tables = {f"volume_{key}": entry for key, entry in make_further().items() if "model" in key}
    text = beyond(text_of(render_group_page(make_page(tables=tables))))
    assert "The requested model Type III tests" in text
    assert "TR group 84 F(1, 80) = 5.160" in text
    assert "Coefficients, ml for one unit" in text


def test_without_further_analyses_there_is_no_heading():
    html = render_group_page(make_page())
    for words in (
        "The requested model",
        "Change between sessions",
        "Centiles among",
        'id="change"',
    ):
        assert words not in body_of(html)


def test_long_tables_are_cut_and_say_so():
    (row,) = make_further()["centiles"].table.iloc[:1].to_dict("records")
    rows = [row | {"participant_id": f"sub-{k}"} for k in range(250)]
    html = body_of(render_group_page(make_page(tables={"centiles": make_entry("centiles", rows)})))
    assert "The first 200 of 250 rows; the file has them all." in html
    assert "sub-199<" in html
    assert "sub-200<" not in html


def test_notes_do_not_name_what_all_share():
    note = "ANCOVA for sex of MFSS, TR, mean: n/a, because of few."
    tables = make_tables()
    tables["ancova"] = replace(tables["ancova"], notes=(note,))
    text = text_of(render_group_page(make_page(tables=tables)))
    assert "ANCOVA for sex of all muscles and their mean: n/a, because of few." in text
    assert note not in text


def test_many_notes_are_folded():
    tables = make_tables()
    tables["ancova"] = replace(tables["ancova"], notes=tuple(f"Note {k}." for k in range(7)))
    html = render_group_page(make_page(tables=tables))
    fold = re.search(r"<details><summary>3 more</summary>(.*?)</details>", html, re.S)[1]
    assert re.findall(r"Note \d", fold) == ["Note 4", "Note 5", "Note 6"]


def test_stars_say_that_they_are_those_of_p_before_correction():
    tables = make_tables()
    for key, name in (("musclecorr", "p"), ("ancova", "p_sex"), ("partialcorr", "p")):
        table = tables[key].table.assign(**{f"{name}_adjusted": 0.04})
        tables[key] = replace(tables[key], table=table)
    text = text_of(render_group_page(make_page(tables=tables, correction="Holm")))
    assert text.count("Stars refer to p before correction (Holm)") == 3  # plots
    assert text.count("p is not corrected, p adjusted is (Holm).") == 2
    assert "stars refer to p before correction; corrected p values (Holm) are in" in text
    assert "correction (" not in text_of(render_group_page(make_page()))


# --- findings, participants --------------------------------------------------------------------


def test_long_lists_of_findings_are_folded():
    many = tuple(f"sub-{k:03d}" for k in range(30))
    html = body_of(
        render_group_page(make_page(findings=(Finding("warning", "No scan.", many),
                                              Finding("error", "Failed.", ("sub-99",)))))
    )  # fmt: skip
    folded = re.search(r'<li class="warning">.*?<details>(.*?)</details>', html, re.S)[1]
    assert "30 names" in folded
    assert "sub-029" in folded
    error = re.search(r'<li class="error">(.*?)</li>', html, re.S)[1]
    assert re.search(r'<b>error</b>\s*<div>Failed.\s*<p class="names">sub-99', error)
    assert "<details>" not in error


def test_the_sample_is_counted():
    text = text_of(render_group_page(make_page()))
    assert "Participants 3 Female 1 Male 1 Sex unknown 1 Age unknown 1 BMI unknown 1" in text
    people = make_page().people.assign(sex="F", age=30.0, bmi=22.0)
    assert "BMI unknown" not in text_of(render_group_page(make_page(people=people)))
    assert "a: 2 participants b: 1 participant " in text


def test_age_and_bmi_of_the_sample():
    rows = [
        {"sex": "all", "n": 3, "n_age": 2, "mean_age": 34.24, "sd_age": 10.66, "n_bmi": 3,
         "mean_bmi": 24.04, "sd_bmi": 3.0},
        {"sex": "M", "n": 0, "n_age": 0, "mean_age": math.nan, "sd_age": math.nan, "n_bmi": 0,
         "mean_bmi": math.nan, "sd_bmi": math.nan},
    ]  # fmt: skip
    text = text_of(render_group_page(make_page(tables={"sample": make_entry("sample", rows)})))
    assert "All 3 34.2 ± 10.7 (n = 2) 24.0 ± 3.0 Male 0 n/a n/a" in text
    none = make_entry("sample", rows[1:])
    assert "Age (years)" not in text_of(render_group_page(make_page(tables={"sample": none})))


def test_missing_sides_are_listed_by_muscle_and_participant():
    text = text_of(render_group_page(make_page()))
    missing = text[text.index("Missing values") : text.index("Weights that")]
    assert "MFSS 1 0 0 TR 2 1 1" in missing
    assert "2 participants with missing values sub-02 TR left sub-03 MFSS left, TR both" in missing
    whole = make_frame(np.ones((3, 2)))
    text = text_of(render_group_page(make_page(left=whole, right=whole)))
    assert "All participants of this page have a value" in text


@pytest.mark.parametrize("make", [empty_page, nan_page])
def test_gaps_are_words_and_never_nan(make):
    html = render_group_page(make())
    assert not re.search(r"\bnan\b|\bNone\b|\bNaN\b", text_of(html))
    assert "n/a" in html
    data_of(html)


def test_without_participants_tsv_all_that_needs_it_is_missing():
    people = make_page().people[["page"]]
    html = render_group_page(make_page(people=people, tables={}))
    assert "Sex unknown 3 Age unknown 3 BMI unknown 3" in text_of(html)
    assert data_of(html)["people"]["age"] == [None] * 3
    assert "This table was not made." in text_of(html)


# --- files -------------------------------------------------------------------------------------


def find_links(html):
    pattern = r'<td><a href="([^"]*)"( download="[^"]*")?[^>]*>([^<]+)</a></td>'
    return {name: (href, download) for href, download, name in re.findall(pattern, html)}


def test_every_table_and_figure_can_be_saved():
    page = make_page()
    links = find_links(render_group_page(page))
    for entry in page.tables.values():
        href, download = links[entry.name]
        assert base64.b64decode(href.split(",")[1]) == entry.data
        assert download == f' download="{entry.name}"'


def test_a_large_table_is_linked_and_not_embedded():
    entry = replace(make_tables()["outliers"], data=b"x" * 2_000_001)
    links = find_links(render_group_page(make_page(tables={"outliers": entry})))
    assert links["group_outliers.tsv"] == ("group_outliers.tsv", "")


def test_pictures_stand_in_their_sections_without_scripts():
    places = ("figure5a", "figure5b", "figure6", "pairplot")
    figures = [(f"group_{name}.svg", f"Picture {name}", f"<svg id='{name}'/>".encode())
               for name in (*places, "volume_figure5a")]  # fmt: skip
    html = body_of(render_group_page(make_page(figures=tuple(figures))))
    for name in places:
        fold = re.search(
            rf'<details class="static" data-plot="{name}" open>(.*?)</details>', html, re.S
        )
        assert base64.b64encode(f"<svg id='{name}'/>".encode()).decode() in fold[1]
    beyond = html[html.index('id="beyond"') : html.index('id="outliers"')]
    assert 'href="group_volume_figure5a.svg"' in beyond


def test_a_picture_is_in_the_page_once():
    html = render_group_page(make_page())
    assert html.count(base64.b64encode(b"<svg/>").decode()) == 1
    shown = re.search(r'<img id="([^"]+)" src="data:image/svg\+xml;base64,', html)[1]
    links = re.findall(r'<a href="([^"]*)" download="([^"]*)" data-picture="([^"]*)"', html)
    assert links == [("group/figures/group_figure5a.svg", "group_figure5a.svg", shown)] * 2


def test_a_large_picture_lies_beside_the_page():
    figures = (("group/figures/group_figure6.svg", "Large", b"x" * 2_000_001),)
    html = body_of(render_group_page(make_page(figures=figures)))
    assert "<img" not in html
    assert html.count('href="group/figures/group_figure6.svg"') == 2


def test_the_methods_are_text_to_select():
    html = render_group_page(make_page())
    methods = re.search(r'<pre id="methods-text"[^>]*>(.*?)</pre>', html, re.S)[1]
    assert methods.split() == ("Muscles were compared. References Weber et al. 2021".split())
