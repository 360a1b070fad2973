"""The group level by its command line against R: every number to 1e-8.

The cohorts and what R says of them are in ``data/group`` and ``data/cohort84``, see the READMEs
there.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from group_expected import (
    KEYS,
    compare_tables,
    read_expected,
    read_tsv,
    read_variant,
    read_written,
    summarise,
)
from group_folder import BUNDLE, OTHER_BUNDLE, make_group_folder, write_tsv

from bids_mfi.cli.app import main

COHORT84 = Path(__file__).parents[1] / "data" / "cohort84"


@dataclass(frozen=True)
class Variant:
    """A cohort, how it is asked for, and the file with the expected tables."""

    cohort: str
    expected: str
    options: tuple[str, ...] = ()
    prefix: str = "group_"
    minimal: bool = False
    apart: bool = False  # participants.tsv lies outside BIDS_DIR


VARIANTS = {
    "complete": Variant("complete", "complete"),
    "volume": Variant("complete", "complete_volume", prefix="group_volume_"),
    "participants file": Variant("complete", "complete", apart=True),
    "missing, default": Variant("missing", "missing_both"),
    "missing, both": Variant("missing", "missing_both", ("--missing", "both")),
    "missing, complete": Variant("missing", "missing_complete", ("--missing", "complete")),
    "missing, any": Variant("missing", "missing_any", ("--missing", "any")),
    "missing, tables only": Variant("missing", "missing_both", minimal=True),
    "sessions, default": Variant("sessions", "sessions_01"),
    "second session": Variant("sessions", "sessions_02", ("--session", "02")),
}


@pytest.fixture(autouse=True)
def _fast(no_figures):
    """Figures are not looked at here."""


def run_group(root, tables, variant):
    """Make the folder, run the group level, return OUTPUT_DIR."""
    people = tables["participants"]
    bids_dir, output_dir = make_group_folder(
        root,
        tables["muscles"],
        None if variant.apart else people,
        tables.get("sessions"),
        bundles=(BUNDLE, OTHER_BUNDLE),
        minimal=variant.minimal,
    )
    options = list(variant.options)
    if variant.apart:
        write_tsv(people, root / "people.tsv")
        options += ["--participants-file", str(root / "people.tsv")]
    assert main([str(bids_dir), str(output_dir), "group", *options]) == 0
    return output_dir


def read_parts(output_dir, name, prefix="group_"):
    """Written tables to compare with one expected: of each coding where the means have both."""
    written = read_written(output_dir, name, prefix)
    if prefix == "group_volume_":
        written = written.rename(columns={"resid_volume": "resid_mfi"})
    if name == "emm" and "covariates" in written:
        return [rows for _, rows in written.groupby("covariates")]
    return [written]


def compare_all(output_dir, expected, prefix="group_"):
    """All that differs from the expected tables."""
    return [
        problem
        for name, table in expected.items()
        for written in read_parts(output_dir, name, prefix)
        for problem in compare_tables(name, written, table)
    ]


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_group_level_says_what_r_says(tmp_path, variant):
    expected = read_expected(variant.expected)
    assert expected.keys() == KEYS.keys()
    output_dir = run_group(tmp_path, read_variant(variant.cohort), variant)
    problems = compare_all(output_dir, expected, variant.prefix)
    assert not problems, summarise(problems)


def test_second_run_on_the_same_folder_writes_the_same(tmp_path):
    output_dir = run_group(tmp_path, read_variant("missing"), VARIANTS["missing, default"])
    before = {path.name: path.read_bytes() for path in output_dir.glob("group_*.tsv")}
    assert {f"group_{name}.tsv" for name in (*KEYS, "mfi")} <= before.keys()
    assert main([str(tmp_path / "bids"), str(output_dir), "group"]) == 0
    after = {path.name: path.read_bytes() for path in output_dir.glob("group_*.tsv")}
    assert after == before


# --- the cohort of 84 people -------------------------------------------------------------------

CORRECTIONS = {
    "none": "sphericity_assumed",
    "greenhouse_geisser": "greenhouse_geisser",
    "huynh_feldt": "huynh_feldt_original",
    "huynh_feldt_lecoutre": "huynh_feldt_lecoutre",
    "lower_bound": "lower_bound",
}
MODELS = {"raw": "rm_ancova_spss_uncentred", "centred": "rm_ancova_centred"}
PLAIN = {
    "descriptives": "descriptives",
    "ancova": "ancova_per_muscle",
    "pairedt": "paired_t",
    "musclecorr": "correlations",
    "partialcorr": "partial_correlations",
}
# Not of the data, or R's slip in Mauchly's second-order term, or zero but for rounding.
LEFT_OUT = {"versions", "max_rel_deviation_hand_vs_car_afex", "p_R_car_3p_variant", "note"}


def read_cohort84():
    tables = {name: read_tsv(COHORT84 / "cohort" / f"{name}.tsv") for name in ("muscles",)}
    return tables | {"participants": read_tsv(COHORT84 / "cohort" / "participants.tsv", text=True)}


def lower(rows, names=None):
    """Records with columns in lower case, some under other names."""
    return [{(names or {}).get(key, key.lower()): row[key] for key in row} for row in rows]


def rows_of_effects(covariates, model):
    for effect, test in model["between"].items():
        yield {
            "covariates": covariates, "stratum": "between", "effect": effect,
            "correction": "none", "epsilon": np.nan, "df1": test["df1"], "df2": test["df2"],
            "ss": test["SS"], "f": test["F"], "p": test["p"],
            "partial_eta_sq": test["partial_eta_sq"],
        }  # fmt: skip
    for effect, test in model["within"].items():
        for ours, theirs in CORRECTIONS.items():
            yield {
                "covariates": covariates, "stratum": "within", "effect": effect,
                "correction": ours, "ss": test["SS"], "f": test["F"],
                "partial_eta_sq": test["partial_eta_sq"], **test["corrections"][theirs],
            }  # fmt: skip


def row_of_sphericity(covariates, model):
    names = (
        "n", "n_F", "n_M", "rank_between", "df_error_between", "df_error_within",
        "SS_error_between", "SS_error_within",
    )  # fmt: skip
    row = lower([{name: model[name] for name in names} | model["mauchly"] | model["epsilon"]])[0]
    row["rank"], row["huynh_feldt"] = row.pop("rank_between"), row.pop("huynh_feldt_original")
    del row["p_r_car_3p_variant"]
    return {"covariates": covariates, **row}


def rows_of_means(model):
    names = {"emmean": "estimate", "lower": "ci_lower", "upper": "ci_upper"}
    for factor, key, found in (
        ("sex", "sex", model["emm_sex_average"]),
        ("muscle", "muscle", model["emm_muscle"]),
    ):
        for row in lower(found, names):
            yield {"factor": factor, "level": row.pop(key), **row}


def cohort84_tables():
    """Expected tables of the 84 people, in the shape of ours."""
    content = json.loads((COHORT84 / "expected" / "cohort.json").read_text())
    tables = {name: pd.DataFrame(lower(content[key])) for name, key in PLAIN.items()}
    models = {covariates: content[key] for covariates, key in MODELS.items()}
    tables["rmancova"] = pd.DataFrame(
        [row for name, model in models.items() for row in rows_of_effects(name, model)]
    )
    means = lower([models["raw"]["covariate_means"]], {"age": "mean_age", "bmi": "mean_bmi"})[0]
    tables["sphericity"] = pd.DataFrame(
        [row_of_sphericity(*item) | means for item in models.items()]
    )
    tables["multivariate"] = pd.DataFrame(
        {"covariates": name, "effect": effect, **lower([test])[0]}
        for name, model in models.items()
        for effect, test in model["multivariate"].items()
    )
    tables["residuals"] = read_tsv(COHORT84 / "expected" / "cohort_residuals.tsv")
    return tables


def cohort84_means():
    """Marginal means of the 84 people and, apart, the difference; of each coding."""
    content = json.loads((COHORT84 / "expected" / "cohort.json").read_text())
    for model in (content[key] for key in MODELS.values()):
        difference = lower([model["sex_difference_F_minus_M_average"]])[0]
        yield (
            pd.DataFrame(rows_of_means(model)),
            pd.DataFrame([{"factor": "sex", "level": "F-M", **difference}]),
        )


def cohort84_listwise():
    content = json.loads((COHORT84 / "expected" / "cohort.json").read_text())
    return pd.DataFrame(content["partial_correlations_listwise"])


def numbers_in(content):
    """Every number of the expected JSON that speaks of the data."""
    if isinstance(content, dict):
        left = {key: value for key, value in content.items() if key not in LEFT_OUT}
        if left.get("covariates_centred"):
            del left["covariate_means"]
        return {number for value in left.values() for number in numbers_in(value)}
    if isinstance(content, list):
        return {number for value in content for number in numbers_in(value)}
    return {content} if isinstance(content, int | float) and content is not True else set()


@pytest.fixture(scope="module")
def cohort84_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohort")
    return run_group(root, read_cohort84(), Variant("cohort", "cohort"))


def test_no_expected_number_of_the_84_people_is_passed_over():
    content = json.loads((COHORT84 / "expected" / "cohort.json").read_text())
    means = [table for pair in cohort84_means() for table in pair]
    tables = (*cohort84_tables().values(), *means, cohort84_listwise())
    columns = [table[name] for table in tables for name in table]
    compared = {float(x) for column in columns for x in column if not isinstance(x, str)}
    assert len(numbers_in(content)) > 700
    assert numbers_in(content) - {False} <= compared


def test_84_people_come_out_as_expected(cohort84_run):
    problems = []
    for name, expected in cohort84_tables().items():
        written = read_written(cohort84_run, name)
        if name == "ancova":
            written = written[written["muscle"] != "mean"]
        problems += compare_tables(name, written, expected)
    assert not problems, summarise(problems)


def test_means_of_the_84_people_come_out_as_expected(cohort84_run):
    problems = []
    for means, difference in cohort84_means():
        for written in read_parts(cohort84_run, "emm"):
            is_difference = written["level"] == "F-M"
            problems += compare_tables("emm", written[~is_difference], means)
            problems += compare_tables("emm", written[is_difference], difference)
    assert not problems, summarise(problems)


def test_ancova_of_the_mean_is_the_test_between_the_84_people(cohort84_run):
    ancova = read_written(cohort84_run, "ancova").set_index("muscle").loc["mean"]
    rows = read_written(cohort84_run, "rmancova")
    between = rows[(rows["covariates"] == "raw") & (rows["stratum"] == "between")]
    f = between.set_index("effect")["f"].astype(float)
    assert float(ancova["f_sex"]) == pytest.approx(5.160, abs=5e-4)  # as the paper prints it
    for ours, effect in (("f_sex", "sex"), ("f_age", "age"), ("f_bmi", "bmi")):
        assert float(ancova[ours]) == pytest.approx(f[effect], rel=1e-8)


def test_partial_correlations_of_complete_cases_of_the_84_people(tmp_path):
    variant = Variant("cohort", "cohort", ("--missing", "complete"))
    written = read_written(run_group(tmp_path, read_cohort84(), variant), "partialcorr")
    problems = compare_tables("partialcorr", written, cohort84_listwise())
    assert not problems, summarise(problems)


# --- the comparison itself ---------------------------------------------------------------------


def as_written(expected):
    """What a group level that agrees with R would write."""
    return expected.map(lambda cell: "n/a" if pd.isna(cell) else str(cell))


@pytest.mark.parametrize("name", KEYS)
def test_comparison_accepts_what_is_expected(name):
    expected = read_expected("missing_both")[name]
    assert compare_tables(name, as_written(expected), expected) == []


@pytest.mark.parametrize("name", KEYS)
def test_comparison_sees_a_wrong_number_in_any_cell(name):
    expected = read_expected("missing_both")[name]
    numbers = [column for column in expected if expected[column].dtype.kind in "fi"]
    missed = []
    for column in numbers:
        for line in expected.index[expected[column].notna()]:
            written = as_written(expected)
            written.loc[line, column] = repr(float(expected.loc[line, column]) * (1 + 3e-8))
            problems = compare_tables(name, written.loc[[line]], expected.loc[[line]])
            missed += [] if len(problems) == 1 else [(line, column)]
            if name == "residuals" and line > 50:
                break
    assert numbers
    assert missed == []


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda table: table.drop(columns="ss"), "no column ss"),
        (lambda table: table.iloc[1:], "no such row"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "rows, of which"),
        (lambda table: table.assign(p="n/a"), "p: n/a, expected"),
        (lambda table: table.assign(epsilon="1"), "epsilon: 1, expected"),
        (lambda table: table.assign(f=""), "f: , expected"),
        (lambda table: table.replace("age", "Age"), "not expected"),
    ],
)
def test_comparison_sees_what_is_not_there_or_too_much(spoil, problem):
    expected = read_expected("complete")["rmancova"]
    problems = compare_tables("rmancova", spoil(as_written(expected)), expected)
    assert any(problem in one for one in problems), problems
