"""Files of the group level: names, columns and content."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bids_mfi import __version__
from bids_mfi.bids.columns import LEVEL_COLUMNS, MUSCLE_COLUMNS, describe_result_columns
from bids_mfi.bids.formats import encode_json
from bids_mfi.bids.output_folder import PROGRAM
from bids_mfi.cells import MISSING
from bids_mfi.muscles import LONG_NAMES
from bids_mfi.report.group_page import TableEntry
from bids_mfi.storage import explain_os_error

BLOCK_ROWS = 20_000  # encoded at once, so that memory does not hold every cell as text
PREFIX = "group_"
VOLUME = "volume_"
PAGE = "group.html"
FIGURES = "group/figures"
FIGURE_NAMES = ("pairplot", "figure5a", "figure5b", "figure6")
MEASURES_TABLE = "mfi"
LEVELS_TABLE = "levels"
WIDE_TABLE = "wide"

TITLES = {
    "mfi": "All measures: one row per scan, muscle and side",
    "levels": "Measures by vertebral level: one row per scan, level, muscle and side",
    "wide": "The values analysed: one row per participant, left-right mean of each muscle",
    "sample": "Participants by sex, with age and BMI",
    "descriptives": "Mean and spread of each muscle, left-right means",
    "rmancova": "Repeated-measures ANCOVA: muscles within, sex between, age and BMI as covariates",
    "sphericity": "Repeated-measures ANCOVA: cases, errors, Mauchly's test and epsilons",
    "multivariate": "Repeated-measures ANCOVA: multivariate tests of the effects within",
    "emm": "Estimated marginal means at the mean age and BMI",
    "musclecorr": "Correlations between muscles",
    "pairedt": "Paired t-tests between muscles",
    "ancova": "ANCOVA for sex in each muscle and in their mean",
    "partialcorr": "Partial correlations with age and with BMI",
    "residuals": "Residuals behind the partial correlations",
    "asymmetry": "Left against right",
    "outliers": "Values far from what sex, age and BMI predict",
    "model": "The requested model: tests of its terms",
    "model_coefficients": "The requested model: coefficients",
    "model_means": "The requested model: marginal means and differences of its factors",
    "model_rmancova": "The requested model: repeated-measures analysis",
    "change": "Change between sessions, paired",
    "change_model": "Change between sessions, mixed model",
    "change_participants": "Change between sessions of each participant",
    "repeatability": "Repeatability and smallest detectable change",
    "centiles": "Centiles of each participant among the controls",
    "centiles_calibration": "Centiles: how well the controls fit their own model",
}
COUNTS = frozenset({
    "n", "n_f", "n_m", "rank", "df", "df1", "df2", "df_error_between", "df_error_within",
    "n_participants", "n_age", "n_bmi", "n_sessions", "n_scans",
    *(column.name for column in (*MUSCLE_COLUMNS, *LEVEL_COLUMNS) if column.kind == "count"),
})  # fmt: skip

P_VALUE = "p (of t two-tailed), not adjusted for multiple comparisons"
DESCRIPTIONS = {
    "participant_id": "Participant",
    "session_id": "Session",
    "acq_id": "Acquisition, as in the file's name",
    "run_id": "Run",
    "muscle": "Abbreviation of the muscle; mean is the mean of all muscles of a participant",
    "muscle_a": "First muscle",
    "muscle_b": "Second muscle",
    "n": "Participants analysed",
    "n_f": "Number who are female",
    "n_m": "Number who are male",
    "n_age": "Participants whose age is known",
    "sd_age": "Standard deviation (n - 1) of their age, years",
    "n_bmi": "Participants whose BMI is known",
    "sd_bmi": "Standard deviation (n - 1) of their BMI, kg/m^2",
    "mean": "Mean",
    "sd": "Standard deviation (n - 1)",
    "se": "Standard error",
    "min": "Smallest value",
    "max": "Largest value",
    "covariates": "raw: age and BMI as they are, so that muscle and intercept are tested at age 0 "
    "and BMI 0, as in SPSS; centred: at the means of the participants",
    "stratum": "within or between participants",
    "effect": "Effect; muscle is the difference between muscles, muscle:x that of x between them",
    "correction": "Correction of the degrees of freedom for lack of sphericity",
    "epsilon": "Factor of both degrees of freedom",
    "df": "Degrees of freedom",
    "df1": "Numerator degrees of freedom",
    "df2": "Denominator degrees of freedom",
    "ss": "Sum of squares, Type III",
    "f": "F",
    "p": P_VALUE,
    "partial_eta_sq": "Partial eta squared, SS / (SS + SS of error)",
    "rank": "Columns of the design between participants",
    "df_error_between": "Error degrees of freedom between participants",
    "df_error_within": "Error degrees of freedom within participants",
    "ss_error_between": "Error sum of squares between participants",
    "ss_error_within": "Error sum of squares within participants",
    "mean_age": "Mean age of the participants analysed, years",
    "mean_bmi": "Mean BMI of the participants analysed, kg/m^2",
    "w": "Mauchly's W",
    "chi2": "Chi-square of Mauchly's test",
    "p_chi2": "p of Mauchly's test",
    "p_chi2_second_order": "The same with the second term of Box's series",
    "greenhouse_geisser": "Epsilon of Greenhouse and Geisser",
    "huynh_feldt": "Epsilon of Huynh and Feldt, original form, at most 1",
    "huynh_feldt_lecoutre": "The same as corrected by Lecoutre, at most 1",
    "lower_bound": "Smallest possible epsilon",
    "pillai": "Pillai's trace",
    "wilks": "Wilks' lambda",
    "hotelling": "Hotelling-Lawley trace",
    "roy": "Roy's largest root",
    "factor": "Factor: sex (of the mean of all muscles) or muscle",
    "level": "Level of the factor; F-M is the difference of the sexes",
    "versus": "Level that is subtracted; empty for a mean",
    "estimate": "Estimate",
    "t": "t",
    "ci_lower": "Lower limit of the 95 % confidence interval",
    "ci_upper": "Upper limit of the 95 % confidence interval",
    "r": "Pearson correlation; partial if there is a column controlling",
    "mean_diff": "Mean difference, first minus second",
    "sd_diff": "Standard deviation (n - 1) of the differences",
    "se_diff": "Standard error of the mean difference",
    "f_sex": "F of sex, 1 and df2 degrees of freedom",
    "p_sex": "p of f_sex, not adjusted for multiple comparisons",
    "ss_sex": "Sum of squares of sex, Type III",
    "ss_error": "Error sum of squares",
    "pes_sex": "Partial eta squared of sex",
    "f_age": "F of age",
    "p_age": "p of f_age, not adjusted for multiple comparisons",
    "f_bmi": "F of BMI",
    "p_bmi": "p of f_bmi, not adjusted for multiple comparisons",
    "f_intercept": "F of the intercept, at age 0 and BMI 0",
    "r2": "Coefficient of determination",
    "adj_r2": "The same, adjusted for the number of terms",
    "b_age": "Slope of age, per year",
    "b_bmi": "Slope of BMI, per kg/m^2",
    "emm_f": "Estimated marginal mean of females at the mean age and BMI",
    "emm_f_se": "Its standard error",
    "emm_m": "Estimated marginal mean of males at the mean age and BMI",
    "emm_m_se": "Its standard error",
    "diff_f_minus_m": "Difference of the marginal means, female minus male",
    "diff_se": "Its standard error",
    "x": "Variable with which the muscle is correlated",
    "controlling": "Variables controlled for",
    "resid_slope": "Slope of the muscle's residuals on those of x",
    "resid_x": "Residual of x after the variables controlled for",
    "resid_mfi": "Residual of the muscle's value after the variables controlled for",
    "mean_left": "Mean of the left side",
    "mean_right": "Mean of the right side",
    "index_percent": "Mean of 100 (left - right) / mean of both, percent",
    "value": "Value of the participant",
    "expected": "Value predicted by the model",
    "studentised": "Externally studentised residual",
    "p_bonferroni": "Two-tailed p of the residual times the participants analysed, at most 1",
    "term": "Term of the model",
    "coefficient": "Coefficient of the model; factors in sum contrasts",
    "session": "Session compared with the one from which change is measured",
    "session_from": "Session from which change is measured",
    "session_to": "Session compared with it",
    "mean_from": "Mean in session_from",
    "mean_to": "Mean in session_to",
    "mean_change": "Mean change, session_to minus session_from",
    "sd_change": "Standard deviation (n - 1) of the changes",
    "se_change": "Standard error of the mean change",
    "percent_change": "Mean change in percent of mean_from",
    "sd_participants": "Standard deviation between participants",
    "sd_residual": "Standard deviation within participants",
    "n_participants": "Participants",
    "n_sessions": "Sessions with repeated scans",
    "n_scans": "Scans in them",
    "sw": "Within-subject standard deviation of repeated scans",
    "sdc": "Smallest detectable change, 1.96 sqrt(2) sw",
    "sdc_ci_lower": "Lower limit of its 95 % confidence interval",
    "sdc_ci_upper": "Upper limit of its 95 % confidence interval",
    "cv_percent": "Within-subject coefficient of variation, percent",
    "value_from": "Value in session_from",
    "value_to": "Value in session_to",
    "change": "Change, session_to minus session_from",
    "exceeds_sdc": "Whether the change is larger than the smallest detectable one",
    "is_control": "Whether the participant is a control",
    "z": "z of the participant among the controls of the same sex, age and BMI",
    "centile": "Centile of the participant among them",
    "outside_range": "Whether sex, age or BMI are outside those of the controls",
    "below_5": "Controls below the 5th centile by leave-one-out, percent",
    "above_95": "Controls above the 95th centile by leave-one-out, percent",
    "bundle": "Name and version of the model bundle that labelled the scan",
    "bundle_sha256": "Its weights",
    "fat_water": "computed, or scanner: source of fat and water",
    "software_version": "Version of the program that measured the scan",
    "flags": "Quality flags of this muscle",
    "sex": "F or M",
    "age": "Age in years, as given for the participant or session",
    "bmi": "Body mass index in kg/m^2, as given or computed",
    "analysed": "Whether the scan represents its participant in the analyses of the session",
}


def make_table_file(
    key: str, table: pd.DataFrame, notes: Iterable[str] = (), extent: str = ""
) -> TableEntry:
    """Name and encode a table; ``volume_`` before the key marks a secondary one.

    ``extent`` states how much of a muscle is labelled, the reason why volumes are secondary.
    """
    why = f": {extent}" if extent else ""
    secondary = f"Volume, secondary{why}. " if key.startswith(VOLUME) else ""
    title = secondary + TITLES[key.removeprefix(VOLUME)]
    return TableEntry(f"{PREFIX}{key}.tsv", title, table, tuple(notes), encode_frame(table))


def encode_frame(table: pd.DataFrame) -> bytes:
    r"""Encode tab-separated text; floats keep every digit, missing values become ``n/a``.

    Examples
    --------
    >>> encode_frame(pd.DataFrame({"n": [3.0, float("nan")], "sex": ["F", None]}))
    b'n\tsex\n3\tF\nn/a\tn/a\n'
    """
    header = _encode_lines(["\t".join(map(str, table.columns))])
    starts = range(0, len(table), BLOCK_ROWS)
    return b"".join((header, *(_encode_rows(table[n : n + BLOCK_ROWS]) for n in starts)))


def _encode_rows(rows: pd.DataFrame) -> bytes:
    columns = [_encode_column(str(name), values) for name, values in rows.items()]
    return _encode_lines(map("\t".join, zip(*columns, strict=True)))


def _encode_lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")


def _encode_column(name: str, values: "pd.Series[Any]") -> list[str]:
    if name in COUNTS and values.dtype.kind in "iuf":
        return [_encode_count(cell) for cell in values.tolist()]
    if values.dtype.kind == "f":
        return [repr(cell) if math.isfinite(cell) else MISSING for cell in values.tolist()]
    cells = values.to_numpy(dtype=object).tolist()
    if not isinstance(values.dtype, pd.StringDtype):
        return [_encode_text(cell) for cell in cells]
    encoded = {cell: _encode_text(cell) for cell in set(cells)}  # most texts occur in many rows
    return [encoded[cell] for cell in cells]


def _encode_text(cell: Any) -> str:
    if cell is None or cell != cell or cell == "":
        return MISSING
    return " ".join(str(cell).split())


def _encode_count(cell: Any) -> str:
    if cell is None or not math.isfinite(cell):
        return MISSING
    return str(int(cell)) if cell == int(cell) else repr(float(cell))


def describe_table(key: str, file: TableEntry, facts: Mapping[str, Any]) -> bytes:
    """Encode the sidecar of a table: title, columns, notes and facts of the run."""
    columns = {str(name): _describe_column(key, str(name)) for name in file.table.columns}
    return encode_json(
        {
            "Description": f"{file.title}. n/a: not known, or not defined.",
            **columns,
            "GeneratedBy": [{"Name": PROGRAM, "Version": __version__}],
            "Notes": list(file.notes),
            **facts,
        }
    )


def _describe_column(key: str, name: str) -> dict[str, Any]:
    table = key.removeprefix(VOLUME)
    unit = "ml" if key.startswith(VOLUME) else "percent"
    measured = {MEASURES_TABLE: MUSCLE_COLUMNS, LEVELS_TABLE: LEVEL_COLUMNS}.get(table, ())
    found = describe_result_columns(measured).get(name)
    if found is not None:
        return found
    if table == WIDE_TABLE and name not in DESCRIPTIONS:
        return {"Description": f"Value of {LONG_NAMES.get(name, name)}.", "Units": unit}
    if name.endswith("_adjusted"):
        return {"Description": f"{name.removesuffix('_adjusted')}, adjusted by --correction."}
    text = SPECIAL.get((table, name)) or DESCRIPTIONS.get(name)
    if text is None:
        of_muscles = describe_result_columns(MUSCLE_COLUMNS)
        return of_muscles.get(name, {"Description": "As in the input."})
    described: dict[str, Any] = {"Description": f"{text}."}
    if name in IN_UNIT and table not in WITHOUT_UNIT:
        described["Units"] = unit
    if name in LEVELS:
        described["Levels"] = LEVELS[name]
    return described


# Columns in the unit of the measure, but for tables of correlations and the like.
IN_UNIT = frozenset({
    "mean", "sd", "se", "min", "max", "mean_diff", "sd_diff", "se_diff", "emm_f", "emm_f_se",
    "emm_m", "emm_m_se", "diff_f_minus_m", "diff_se", "mean_left", "mean_right", "value",
    "expected", "estimate", "mean_from", "mean_to", "mean_change", "sd_change", "se_change",
    "sd_participants", "sd_residual", "sw", "sdc", "sdc_ci_lower", "sdc_ci_upper", "value_from",
    "value_to", "change", "resid_mfi",
})  # fmt: skip
WITHOUT_UNIT = frozenset({"model_coefficients", "change_model"})
SPECIAL = {
    ("change_model", "n"): "Values analysed, one per participant and session",
    (
        "change_model",
        "effect",
    ): "Effect: session (minus the session of reference), sex (female minus male), age "
    "(per year) or bmi (per kg/m^2)",
    ("change_model", "estimate"): "Estimate of the effect",
    ("wide", "mean"): "Mean of all muscles",
}
LEVELS = {
    "muscle": LONG_NAMES | {"mean": "mean of all muscles of a participant"},
    "muscle_a": LONG_NAMES,
    "muscle_b": LONG_NAMES,
    "sex": {"F": "female", "M": "male", "all": "all participants, also those of unknown sex"},
    "stratum": {"within": "within participants", "between": "between participants"},
    "correction": {
        "none": "sphericity assumed",
        "greenhouse_geisser": "Greenhouse and Geisser 1959",
        "huynh_feldt": "Huynh and Feldt 1976",
        "huynh_feldt_lecoutre": "Huynh and Feldt as corrected by Lecoutre 1991",
        "lower_bound": "smallest possible epsilon",
    },
    "covariates": {
        "raw": "age and BMI as they are, as in SPSS",
        "centred": "age and BMI minus their means",
    },
    "analysed": {"yes": "represents its participant in the analyses", "no": "does not"},
}


def remove_outdated(output_dir: Path, written: Iterable[str]) -> None:
    """Remove files that an earlier group run wrote and this one did not.

    Raises
    ------
    OutputError
        A file cannot be removed.
    """
    kept = set(written)
    names = [f"{PREFIX}{extra}{key}" for key in TITLES for extra in ("", VOLUME)]
    paths = [output_dir / f"{name}{ending}" for name in names for ending in (".tsv", ".json")]
    paths += [
        output_dir / FIGURES / f"{x}{name}.svg" for name in FIGURE_NAMES for x in ("", VOLUME)
    ]
    for path in paths:
        if path.relative_to(output_dir).as_posix() not in kept:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise explain_os_error(path, error) from error
