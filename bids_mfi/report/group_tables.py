"""Tables of a cohort as they are shown: columns and labels."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bids_mfi.report.group_content import TableEntry
from bids_mfi.report.group_words import (
    name_column,
    name_correction,
    name_effect,
    name_muscle,
    name_sex,
)
from bids_mfi.report.numbers import (
    MINUS,
    MISSING,
    format_any,
    format_blank,
    format_df,
    format_interval,
    format_interval_three,
    format_known,
    format_number,
    format_one,
    format_p,
    format_spread,
    format_starred,
    format_test,
    format_three,
    mark_p,
)

LONGEST_TABLE = 200  # rows shown; the file holds all
VOLUME = "volume_"
COUNTED = frozenset(
    {"n", "df", "Scans", "Sessions", "Participants", "Lower bound"}
)  # known without any estimate
OMNIBUS_CAPTION = (
    "Effects within participants with Greenhouse-Geisser correction, effects between participants "
    "without. Raw: age and BMI as they are, so that the effect of muscle applies at age 0 and BMI "
    "0 (as in SPSS and the paper). Centred: at the mean age and BMI."
)
MODEL_CAPTION = (
    "Repeated measures: muscle within participants, with Greenhouse-Geisser correction, and the "
    "terms of the model between participants. Numeric terms are as they are, not centred."
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a shown table.

    Attributes
    ----------
    head : str
    form : callable
        Words for the values of ``names``.
    names : tuple of str
        Columns of the table; the column is not shown if one of them is missing.
    text : bool
        Aligned left, as text is.
    """

    head: str
    form: Callable[..., str]
    names: tuple[str, ...]
    text: bool = False

    @property
    def kind(self) -> str:
        """How cells are aligned: ``word``, ``number`` or ``starred``."""
        if self.text:
            return "word"
        return "starred" if self.form is format_starred else "number"


@dataclass(frozen=True, slots=True)
class TableView:
    """A table as it is shown.

    Attributes
    ----------
    caption : str
    columns : tuple of (str, str)
        Head, and ``word``, ``number`` or ``starred``: numbers that stars may follow.
    rows : tuple of tuple of str
    """

    caption: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def is_blank(self) -> bool:
        """Whether nothing was estimated: there are rows, and numbers but counts are n/a."""
        estimates = [
            place
            for place, (head, kind) in enumerate(self.columns)
            if kind != "word" and head not in COUNTED
        ]
        cells = [row[place] for row in self.rows for place in estimates if row[place]]
        return bool(cells) and all(cell == MISSING for cell in cells)

    @property
    def has_stars(self) -> bool:
        """Whether the table can contain stars."""
        return any(kind == "starred" for _, kind in self.columns) and not self.is_blank


# --- columns -----------------------------------------------------------------------------------

MUSCLE = Column("Muscle", name_muscle, ("muscle",), text=True)
PARTICIPANT = Column("Participant", str, ("participant_id",), text=True)
PAIR = (
    Column("Muscle", name_muscle, ("muscle_a",), text=True),
    Column("Other", name_muscle, ("muscle_b",), text=True),
)
SESSIONS = (
    Column("From", str, ("session_from",), text=True),
    Column("To", str, ("session_to",), text=True),
)
N = Column("n", format_any, ("n",))
P = Column("p", format_starred, ("p",))
F_TEST = Column("F", format_test, ("f", "df1", "df2"))
ETA = Column("partial η²", format_three, ("partial_eta_sq",))
T_TEST = (
    Column("t", format_number, ("t",)),
    Column("df", format_df, ("df",)),
    P,
    Column("p adjusted", format_starred, ("p_adjusted",)),
)
CORRELATION = (
    Column("r", format_three, ("r",)),
    Column("95 % CI", format_interval_three, ("ci_lower", "ci_upper")),
    *T_TEST,
)
CI = Column("95 % CI", format_interval, ("ci_lower", "ci_upper"))
COLUMNS: dict[str, tuple[Column, ...]] = {
    "sample": (
        Column("Participants", name_sex, ("sex",), text=True), N,
        Column("Age (years), mean ± SD", format_known, ("mean_age", "sd_age", "n_age", "n")),
        Column("BMI (kg/m²), mean ± SD", format_known, ("mean_bmi", "sd_bmi", "n_bmi", "n")),
    ),
    "descriptives": (
        MUSCLE, N,
        Column("Mean", format_number, ("mean",)),
        Column("SD", format_number, ("sd",)),
        Column("SE", format_number, ("se",)),
        Column("Minimum", format_number, ("min",)),
        Column("Maximum", format_number, ("max",)),
    ),
    "sphericity": (
        Column("Covariates", str, ("covariates",), text=True), N,
        Column("Mauchly's W", format_three, ("w",)),
        Column("χ²", format_number, ("chi2",)),
        Column("df", format_df, ("df",)),
        Column("p", format_starred, ("p_chi2",)),
        Column("Greenhouse-Geisser ε", format_three, ("greenhouse_geisser",)),
        Column("Huynh-Feldt ε", format_three, ("huynh_feldt",)),
        Column("Huynh-Feldt-Lecoutre ε", format_three, ("huynh_feldt_lecoutre",)),
        Column("Lower bound", format_three, ("lower_bound",)),
    ),
    "multivariate": (
        Column("Effect", name_effect, ("effect",), text=True),
        Column("Covariates", str, ("covariates",), text=True),
        Column("Pillai's trace", format_three, ("pillai",)),
        Column("Wilks' lambda", format_three, ("wilks",)),
        Column("Hotelling-Lawley trace", format_three, ("hotelling",)),
        Column("Roy's largest root", format_three, ("roy",)),
        F_TEST, P,
    ),
    "emm": (
        Column("Factor", str, ("factor",), text=True),
        Column("Level", str, ("level",), text=True),
        Column("Estimate ± SE", format_spread, ("estimate", "se")),
        CI, *T_TEST,
    ),
    "musclecorr": (*PAIR, N, *CORRELATION),
    "pairedt": (
        *PAIR, N,
        Column("Mean difference ± SE", format_spread, ("mean_diff", "se_diff")),
        CI, *T_TEST,
    ),
    "ancova": (
        MUSCLE, N,
        Column("Female, EMM ± SE", format_spread, ("emm_f", "emm_f_se")),
        Column("Male, EMM ± SE", format_spread, ("emm_m", "emm_m_se")),
        Column(f"Female {MINUS} male ± SE", format_spread, ("diff_f_minus_m", "diff_se")),
        Column("F sex", format_three, ("f_sex",)),
        Column("df", format_df, ("df2",)),
        Column("p sex", format_starred, ("p_sex",)),
        Column("p adjusted", format_starred, ("p_sex_adjusted",)),
        Column("partial η²", format_three, ("pes_sex",)),
        Column("p age", format_starred, ("p_age",)),
        Column("p BMI", format_starred, ("p_bmi",)),
        Column("R²", format_three, ("r2",)),
    ),
    "partialcorr": (
        MUSCLE, Column("With", name_effect, ("x",), text=True), N, *CORRELATION,
        Column("Slope", format_three, ("resid_slope",)),
    ),
    "asymmetry": (
        MUSCLE, N,
        Column("Left", format_number, ("mean_left",)),
        Column("Right", format_number, ("mean_right",)),
        Column(f"Left {MINUS} right", format_number, ("mean_diff",)),
        Column("SD", format_number, ("sd_diff",)),
        CI, *T_TEST,
        Column("Index, %", format_number, ("index_percent",)),
    ),
    "outliers": (
        PARTICIPANT, MUSCLE,
        Column("Value", format_number, ("value",)),
        Column("Expected", format_number, ("expected",)),
        Column("Studentised residual", format_number, ("studentised",)),
        Column("p, Bonferroni", format_p, ("p_bonferroni",)),
    ),
    "model": (
        MUSCLE, Column("Term", name_effect, ("term",), text=True), N, F_TEST, P, ETA,
        Column("R² of the model", format_three, ("r2",)),
    ),
    "model_means": (
        MUSCLE, Column("Factor", format_any, ("factor",), text=True),
        Column("Level", format_any, ("level",), text=True),
        Column("Less", format_blank, ("versus",), text=True), N,
        Column("Estimate", format_number, ("estimate",)),
        Column("SE", format_number, ("se",)),
        CI, *T_TEST,
    ),
    "model_coefficients": (
        MUSCLE, Column("Coefficient", name_effect, ("coefficient",), text=True),
        Column("Estimate", format_any, ("estimate",)),
        Column("SE", format_any, ("se",)),
        Column("95 % CI", format_interval_three, ("ci_lower", "ci_upper")),
        *T_TEST,
    ),
    "change": (
        MUSCLE, *SESSIONS, N,
        Column("Mean, from", format_number, ("mean_from",)),
        Column("Mean, to", format_number, ("mean_to",)),
        Column("Change ± SE", format_spread, ("mean_change", "se_change")),
        CI,
        Column("Change, %", format_one, ("percent_change",)),
        *T_TEST,
    ),
    "change_model": (
        MUSCLE, Column("Effect", name_effect, ("effect",), text=True),
        Column("Session", format_any, ("session",), text=True),
        Column("Participants", format_any, ("n_participants",)),
        Column("Estimate ± SE", format_spread, ("estimate", "se")),
        CI, *T_TEST,
        Column("SD between", format_number, ("sd_participants",)),
        Column("SD within", format_number, ("sd_residual",)),
    ),
    "repeatability": (
        MUSCLE,
        Column("Sessions", format_any, ("n_sessions",)),
        Column("Scans", format_any, ("n_scans",)),
        Column("SD within", format_number, ("sw",)),
        Column("Smallest detectable change", format_number, ("sdc",)),
        Column("95 % CI", format_interval, ("sdc_ci_lower", "sdc_ci_upper")),
        Column("CV, %", format_number, ("cv_percent",)),
    ),
    "change_participants": (
        PARTICIPANT, MUSCLE, *SESSIONS,
        Column("Value, from", format_number, ("value_from",)),
        Column("Value, to", format_number, ("value_to",)),
        Column("Change", format_number, ("change",)),
        Column("Smallest detectable", format_number, ("sdc",)),
        Column("Larger than that", format_any, ("exceeds_sdc",), text=True),
    ),
    "centiles": (
        PARTICIPANT, MUSCLE,
        Column("Control", format_any, ("is_control",), text=True),
        Column("Value", format_number, ("value",)),
        Column("Expected", format_number, ("expected",)),
        Column("z", format_number, ("z",)),
        Column("Centile", format_one, ("centile",)),
        Column("Outside the controls' range", format_any, ("outside_range",), text=True),
    ),
    "centiles_calibration": (
        MUSCLE, N,
        Column("Below the 5th centile, %", format_one, ("below_5",)),
        Column("Above the 95th centile, %", format_one, ("above_95",)),
    ),
}  # fmt: skip


# --- tables ------------------------------------------------------------------------------------


def show_table(table: pd.DataFrame, columns: Sequence[Column], caption: str) -> TableView:
    """Arrange a table as text: the columns that it has and its first rows."""
    held = [column for column in columns if set(column.names) <= set(table.columns)]
    rows = table.head(LONGEST_TABLE).to_dict("records")
    return TableView(
        caption=caption + _say_cut(len(table)),
        columns=tuple((column.head, column.kind) for column in held),
        rows=tuple(
            tuple(column.form(*(row[name] for name in column.names)) for column in held)
            for row in rows
        ),
    )


def _say_cut(rows: int) -> str:
    return f" The first {LONGEST_TABLE} of {rows:,} rows; the file has them all." * (
        rows > LONGEST_TABLE
    )


def show_all(entry: TableEntry) -> TableView:
    """Arrange every column of a table, rounded by its name and kind."""
    columns = [
        Column(name_column(name), _choose_form(name), (name,), _is_text(entry.table[name]))
        for name in map(str, entry.table.columns)
    ]
    return show_table(entry.table, columns, f"All columns of {entry.name}.")


def _choose_form(name: str) -> Callable[..., str]:
    if re.fullmatch(r"p|p_.+", name):
        return format_starred
    forms = {"muscle": name_muscle, "effect": name_effect, "correction": name_correction}
    return forms.get(name, format_any)


def _is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column)


def show_named(key: str, entry: TableEntry, caption: str = "") -> list[TableView]:
    """Choose how a table of this name is shown; not at all if it has no rows."""
    name = key.removeprefix(VOLUME)
    if entry.table.empty:
        return []
    if name in ("rmancova", "model_rmancova"):
        return [
            _show_omnibus(entry, MODEL_CAPTION if name.startswith("model") else OMNIBUS_CAPTION)
        ]
    if name in COLUMNS:
        return [show_table(entry.table, COLUMNS[name], caption or f"{entry.title}.")]
    return [show_all(entry)]


def _show_omnibus(entry: TableEntry, caption: str) -> TableView:
    """Arrange the RM-ANCOVA as the paper prints it: raw covariates first, then centred ones."""
    cells: dict[str, dict[str, tuple[str, str, str]]] = {}
    for row in _choose_corrections(entry.table):
        cells.setdefault(str(row["effect"]), {})[str(row.get("covariates", ""))] = (
            format_test(row["f"], row["df1"], row["df2"]),
            format_starred(row["p"]),
            format_three(row["partial_eta_sq"]),
        )
    known = ("raw", "centred", "")
    kinds = [kind for kind in known if any(kind in found for found in cells.values())]
    heads = [("F", "number"), ("p", "starred"), ("partial η²", "number")]
    nothing = (MISSING,) * 3
    return TableView(
        caption,
        (
            ("Effect", "word"),
            *((f"{head}, {kind}" if kind else head, how) for kind in kinds for head, how in heads),
        ),
        tuple(
            (name_effect(effect), *(text for kind in kinds for text in found.get(kind, nothing)))
            for effect, found in cells.items()
        ),
    )


def _choose_corrections(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """For each effect, the row with Greenhouse-Geisser correction, or the row without any."""
    chosen: dict[tuple[Any, Any], dict[Any, Any]] = {}
    for correction in ("none", "greenhouse_geisser"):
        for row in table[table["correction"] == correction].to_dict("records"):
            chosen[row.get("covariates"), row["effect"]] = row
    return list(chosen.values())


def show_matrix(entry: TableEntry, name: str, caption: str) -> list[TableView]:
    """Lower triangle of muscle by muscle, with stars."""
    table = entry.table
    if table.empty:
        return []
    digits = 3 if name == "r" else 2
    cells = {
        (row["muscle_b"], row["muscle_a"]): _star(format_number(row[name], digits), row["p"])
        for row in table.to_dict("records")
    }
    first, second = (list(dict.fromkeys(table[column])) for column in ("muscle_a", "muscle_b"))
    heads = (("Muscle", "word"), *((str(muscle), "starred") for muscle in first))
    rows = (
        (str(muscle), *(cells.get((muscle, other), "") for other in first)) for muscle in second
    )
    return [TableView(caption, heads, tuple(rows))]


def _star(text: str, p: object) -> str:
    return f"{text} {mark_p(p)}".rstrip()


def split_stars(cell: str) -> tuple[str, str]:
    """Split a number from its stars so that numbers align.

    Examples
    --------
    >>> split_stars("0.026 *"), split_stars("n/a")
    (('0.026', '*'), ('n/a', ''))
    """
    number = cell.rstrip("*").rstrip()
    return number, cell[len(number) :].strip()


def has_adjusted(entry: TableEntry | None) -> bool:
    """Whether a table has adjusted p-values."""
    return entry is not None and any("adjusted" in str(name) for name in entry.table.columns)
