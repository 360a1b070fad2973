"""The page of a cohort as self-contained HTML; must not compute statistics, open or write results.

Numbers come in as given; here they are chosen, rounded, worded and put beside the plots. The page
loads nothing: plotly.js and the data are inside it, and a content security policy forbids the rest.
What moves on the page is in ``group.js``, which draws from one block of JSON.
"""

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bids_mfi import __version__
from bids_mfi.report.agreement_page import MINUS, format_p
from bids_mfi.report.page import MISSING, TEMPLATES, format_number, make_environment

DRAWN_POINTS = 600  # participants drawn in a panel; more would only hide each other
LARGEST_EMBEDDED_BYTES = 2_000_000
LONGEST_TABLE = 200  # rows shown; the file holds all
LONGEST_LIST = 1000
FEW_NAMES = 5  # more are folded
SIGNIFICANT_DIGITS = 4
TIMES = "\u00d7"
MEASURE_NAMES = {"mfi": "MFI", "volume": "Volume"}
SEVERITIES = {"error": "error", "warning": "warning", "note": "info"}
VOLUME = "volume_"

# Tables that the Results of the paper have; all others are shown as they are.
PAPER_TABLES = (
    "descriptives", "rmancova", "sphericity", "multivariate", "emm", "ancova", "pairedt",
    "musclecorr", "partialcorr", "residuals", "asymmetry", "outliers",
)  # fmt: skip
OMNIBUS_CAPTION = (
    "Effects within participants with Greenhouse-Geisser correction, effects between participants "
    "without. Raw: age and BMI as they are, so that the effect of muscle holds at age 0 and BMI 0 "
    "(as SPSS and the paper have it). Centred: at the mean age and BMI."
)
# A picture belongs to the first of these that its name holds.
PLACES = (("5a", "figure5a"), ("5b", "figure5b"), ("pair", "pairplot"), ("6", "figure6"))
EFFECT_NAMES = {
    "intercept": "intercept", "sex": "sex", "age": "age", "bmi": "BMI", "muscle": "muscle",
    "muscle:sex": f"muscle {TIMES} sex", "muscle:age": f"muscle {TIMES} age",
    "muscle:bmi": f"muscle {TIMES} BMI",
}  # fmt: skip
HEADS = {"p": "p", "t": "t", "f": "F", "r": "r", "n": "n", "bmi": "BMI", "ss": "SS", "x": "with"}


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """Something left out, doubtful or decided by a rule.

    Attributes
    ----------
    severity : str
        ``error``, ``warning`` or ``note``.
    text : str
        A sentence.
    names : tuple of str
        Scans or participants that it concerns.
    """

    severity: str
    text: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class TableEntry:
    """A table of results and its file.

    Attributes
    ----------
    name : str
        Of the file beside the page, for example ``group_ancova.tsv``.
    title : str
    table : DataFrame
        With the columns of the file; NaN where there is none.
    notes : tuple of str
        Why something is missing or to be doubted.
    data : bytes
        The file.
    """

    name: str
    title: str
    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    data: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class GroupPage:
    """All that a page shows.

    Attributes
    ----------
    title : str
    facts : tuple of (str, str)
        A word and what is known.
    findings : tuple of Finding
    measure : str
        ``mfi`` or ``volume``.
    unit : str
        ``%`` or ``ml``.
    people : DataFrame
        Index participant_id. ``sex`` (F, M or missing), ``age`` (years), ``bmi`` (kg/m^2),
        ``page`` (file of the participant's page, relative to this one; empty if there is none),
        ``session``, ``bundle`` and ``flags`` (text). A column may be missing.
    values, left, right : DataFrame
        Same index; float64, a column a muscle in the order of the paper, in ``unit``, NaN where
        missing: the value of a muscle and its two sides.
    tables : mapping of str to TableEntry
        By name: those of ``PAPER_TABLES``, the same with ``volume_`` before, and any others.
    figures : tuple of (str, str, bytes)
        Path relative to the page, title and SVG.
    methods : tuple of str
        Paragraphs for a paper.
    references : tuple of str
    summary : tuple of str
        Sentences.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    measure: str
    unit: str
    people: pd.DataFrame
    values: pd.DataFrame
    left: pd.DataFrame
    right: pd.DataFrame
    tables: Mapping[str, TableEntry] = field(default_factory=dict)
    figures: tuple[tuple[str, str, bytes], ...] = ()
    methods: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()


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
        Set left, as words are.
    """

    head: str
    form: Callable[..., str]
    names: tuple[str, ...]
    text: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """A table as it is shown.

    Attributes
    ----------
    caption : str
    columns : tuple of (str, bool)
        Head, and whether the column holds words.
    rows : tuple of tuple of str
    """

    caption: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]


def render_group_page(page: GroupPage) -> str:
    """Render a page as HTML that needs no other file and no network."""
    from plotly.offline import get_plotlyjs

    files = {name: (TEMPLATES / name).read_text(encoding="utf-8")
             for name in ("page.css", "group.css", "group.js")}  # fmt: skip
    return (
        make_environment()
        .get_template("group.html")
        .render(
            page=page,
            version=__version__,
            style=files["page.css"] + files["group.css"],
            script=files["group.js"],
            plotly=get_plotlyjs(),
            data=encode_json(make_plot_data(page)),
            measure=MEASURE_NAMES.get(page.measure, page.measure),
            findings=[_prepare_finding(finding) for finding in page.findings],
            sample=_count_people(page.people),
            bundles=_count_words(page.people, "bundle"),
            missing=_list_missing(page),
            volume_tables=_strip_prefix(page.tables),
            others=[key for key in page.tables if not _has_place(key)],
            pictures=_arrange_pictures(page.figures),
            downloads=_list_downloads(page),
            show=_show_named,
            show_all=show_all,
            show_matrix=_show_matrix,
            notes=_prepare_notes,
            adjusted=_has_adjusted,
        )
    )


# --- numbers as words --------------------------------------------------------------------------


def to_number(value: object) -> float:
    """Take a cell as a number, NaN if it is none.

    Examples
    --------
    >>> to_number(None), to_number("1.5"), to_number("a")
    (nan, 1.5, nan)
    """
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def format_signed(value: object, digits: int = 2) -> str:
    """Format with a true minus sign, and none before zero.

    Examples
    --------
    >>> format_signed(-1.256) == "\u22121.26", format_signed(-0.001), format_signed(None)
    (True, '0.00', 'n/a')
    """
    text = format_number(to_number(value), digits)
    if text.startswith("-"):
        return text[1:] if float(text) == 0 else MINUS + text[1:]
    return text


def format_three(value: object) -> str:
    """Format with three digits after the point, as correlations are."""
    return format_signed(value, 3)


def format_any(value: object) -> str:
    """Format any cell: words as they are, whole numbers whole, others with four digits.

    Examples
    --------
    >>> format_any(84.0), format_any(0.753749), format_any(-12345.67) == "\u221212346"
    ('84', '0.7537', True)
    >>> format_any(float("nan")), format_any("TR"), format_any(True), format_any(1e-9)
    ('n/a', 'TR', 'True', '1.000e-09')
    """
    if isinstance(value, str | bool):
        return str(value) or MISSING
    number = to_number(value)
    if not math.isfinite(number):
        return MISSING if math.isnan(number) else str(number)
    if number == round(number):
        text = f"{number:.0f}"
    elif abs(number) < 1e-3:
        text = f"{number:.3e}"
    else:
        text = format_number(number, max(0, 3 - math.floor(math.log10(abs(number)))))
    return MINUS + text[1:] if text.startswith("-") else text


def make_stars(p: object) -> str:
    """Mark a p value as the paper does.

    Examples
    --------
    >>> make_stars(0.0009), make_stars(0.009), make_stars(0.049), make_stars(0.05)
    ('***', '**', '*', '')
    >>> make_stars(None)
    ''
    """
    number = to_number(p)
    return next((mark for limit, mark in ((0.001, "***"), (0.01, "**"), (0.05, "*"))
                 if number < limit), "")  # fmt: skip


def format_starred(p: object) -> str:
    """Format a p value with its stars.

    Examples
    --------
    >>> format_starred(0.0264), format_starred(1e-9), format_starred(0.5), format_starred(None)
    ('0.026 *', '<0.001 ***', '0.500', 'n/a')
    """
    return f"{format_p(to_number(p))} {make_stars(p)}".rstrip()


def format_interval(low: object, high: object) -> str:
    """Lower to upper limit; ``n/a`` where there is none.

    Examples
    --------
    >>> format_interval(0.5, 1.25), format_interval(None, 1.0)
    ('0.50 to 1.25', 'n/a')
    """
    if math.isnan(to_number(low)) or math.isnan(to_number(high)):
        return MISSING
    return f"{format_signed(low)} to {format_signed(high)}"


def format_interval_three(low: object, high: object) -> str:
    """As :func:`format_interval`, of correlations."""
    if math.isnan(to_number(low)) or math.isnan(to_number(high)):
        return MISSING
    return f"{format_three(low)} to {format_three(high)}"


def format_spread(mean: object, error: object) -> str:
    """Mean and standard error.

    Examples
    --------
    >>> format_spread(17.544, 0.635), format_spread(17.544, None), format_spread(None, 1.0)
    ('17.54 ± 0.64', '17.54', 'n/a')
    """
    if math.isnan(to_number(mean)):
        return MISSING
    tail = "" if math.isnan(to_number(error)) else f" ± {format_signed(error)}"
    return format_signed(mean) + tail


def format_test(statistic: object, df1: object, df2: object) -> str:
    """F with its degrees of freedom; one digit where they are no whole numbers.

    Examples
    --------
    >>> format_test(2.791, 4.5225, 361.8), format_test(5.16, 1, 80.0), format_test(None, 1, 80)
    ('F(4.5, 361.8) = 2.791', 'F(1, 80) = 5.160', 'n/a')
    """
    if math.isnan(to_number(statistic)):
        return MISSING
    return f"F({_format_df(df1)}, {_format_df(df2)}) = {format_three(statistic)}"


def _format_df(value: object) -> str:
    number = to_number(value)
    return format_number(number, 0 if number == round_or_nan(number) else 1)


def round_or_nan(number: float) -> float:
    """Round to a whole number, and leave NaN alone.

    Examples
    --------
    >>> round_or_nan(4.6), round_or_nan(float("nan"))
    (5.0, nan)
    """
    return float(round(number)) if math.isfinite(number) else number


def name_effect(effect: object) -> str:
    """Name an effect as the paper does.

    Examples
    --------
    >>> name_effect("bmi"), name_effect("muscle:bmi") == "muscle \u00d7 BMI", name_effect("group")
    ('BMI', True, 'group')
    """
    return EFFECT_NAMES.get(str(effect), str(effect).replace(":", f" {TIMES} "))


def name_muscle(muscle: object) -> str:
    """Name the mean of all muscles in words, and any other as it is."""
    return "Mean of all" if muscle == "mean" else str(muscle)


def name_column(name: str) -> str:
    """Head of a column that the page does not know.

    Examples
    --------
    >>> name_column("partial_eta_sq"), name_column("p_sex"), name_column("f")
    ('partial eta sq', 'p sex', 'F')
    """
    return HEADS.get(name, name.replace("_", " "))


# --- tables ------------------------------------------------------------------------------------

MUSCLE = Column("Muscle", name_muscle, ("muscle",), text=True)
PAIR = (
    Column("Muscle", name_muscle, ("muscle_a",), text=True),
    Column("Other", name_muscle, ("muscle_b",), text=True),
)
N = Column("n", format_any, ("n",))
T_TEST = (
    Column("t", format_signed, ("t",)),
    Column("df", _format_df, ("df",)),
    Column("p", format_starred, ("p",)),
    Column("p adjusted", format_starred, ("p_adjusted",)),
)
CORRELATION = (
    Column("r", format_three, ("r",)),
    Column("95 % CI", format_interval_three, ("ci_lower", "ci_upper")),
    *T_TEST,
)
DIFFERENCE_CI = Column("95 % CI", format_interval, ("ci_lower", "ci_upper"))
COLUMNS: dict[str, tuple[Column, ...]] = {
    "descriptives": (
        MUSCLE, N,
        Column("Mean", format_signed, ("mean",)),
        Column("SD", format_signed, ("sd",)),
        Column("SE", format_signed, ("se",)),
        Column("Minimum", format_signed, ("min",)),
        Column("Maximum", format_signed, ("max",)),
    ),
    "musclecorr": (*PAIR, N, *CORRELATION),
    "pairedt": (
        *PAIR, N,
        Column("Mean difference ± SE", format_spread, ("mean_diff", "se_diff")),
        DIFFERENCE_CI, *T_TEST,
    ),
    "ancova": (
        MUSCLE, N,
        Column("Female, EMM ± SE", format_spread, ("emm_f", "emm_f_se")),
        Column("Male, EMM ± SE", format_spread, ("emm_m", "emm_m_se")),
        Column(f"Female {MINUS} male ± SE", format_spread, ("diff_f_minus_m", "diff_se")),
        Column("F sex", format_three, ("f_sex",)),
        Column("df", _format_df, ("df2",)),
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
        Column("Left", format_signed, ("mean_left",)),
        Column("Right", format_signed, ("mean_right",)),
        Column(f"Left {MINUS} right", format_signed, ("mean_diff",)),
        Column("SD", format_signed, ("sd_diff",)),
        DIFFERENCE_CI, *T_TEST,
    ),
    "outliers": (
        Column("Participant", str, ("participant_id",), text=True), MUSCLE,
        Column("Value", format_signed, ("value",)),
        Column("Expected", format_signed, ("expected",)),
        Column("Studentised residual", format_signed, ("studentised",)),
        Column("p, Bonferroni", format_p, ("p_bonferroni",)),
    ),
}  # fmt: skip


def show_table(table: pd.DataFrame, columns: Sequence[Column], caption: str) -> View:
    """Arrange a table as words: of its columns those that it has, of its rows the first ones."""
    held = [column for column in columns if set(column.names) <= set(table.columns)]
    rows = table.head(LONGEST_TABLE).to_dict("records")
    return View(
        caption=caption + _say_cut(len(table)),
        columns=tuple((column.head, column.text) for column in held),
        rows=tuple(
            tuple(column.form(*(row[name] for name in column.names)) for column in held)
            for row in rows
        ),
    )


def show_all(entry: TableEntry) -> View:
    """Arrange every column of a table, rounded by its name and kind."""
    columns = [
        Column(name_column(name), _choose_form(name), (name,), _is_text(entry.table[name]))
        for name in map(str, entry.table.columns)
    ]
    return show_table(entry.table, columns, f"All columns of {entry.name}.")


def _choose_form(name: str) -> Callable[..., str]:
    if re.fullmatch(r"p|p_.+", name):
        return format_starred
    return {"muscle": name_muscle, "effect": name_effect}.get(name, format_any)


def _is_text(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column)


def _say_cut(rows: int) -> str:
    return f" The first {LONGEST_TABLE} of {rows:,} rows; the file has all." * (
        rows > LONGEST_TABLE
    )


def _show_named(key: str, entry: TableEntry, caption: str = "") -> list[View]:
    """Choose how a table of this name is shown."""
    if entry.table.empty:
        return []
    if key == "rmancova":
        return [_show_omnibus(entry)]
    if key in COLUMNS:
        return [show_table(entry.table, COLUMNS[key], caption or entry.title)]
    return [show_all(entry)]


def _show_omnibus(entry: TableEntry) -> View:
    """Arrange the RM-ANCOVA as the paper prints it: raw covariates first, centred ones beside."""
    cells: dict[str, dict[str, tuple[str, str, str]]] = {}
    for row in _choose_corrections(entry.table):
        cells.setdefault(str(row["effect"]), {})[str(row["covariates"])] = (
            format_test(row["f"], row["df1"], row["df2"]),
            format_starred(row["p"]),
            format_three(row["partial_eta_sq"]),
        )
    kinds = [kind for kind in ("raw", "centred") if any(kind in found for found in cells.values())]
    nothing = (MISSING,) * 3
    return View(
        OMNIBUS_CAPTION,
        (
            ("Effect", True),
            *((f"{head}, {kind}", False) for kind in kinds for head in ("F", "p", "partial η²")),
        ),
        tuple(
            (name_effect(effect), *(text for kind in kinds for text in found.get(kind, nothing)))
            for effect, found in cells.items()
        ),
    )


def _choose_corrections(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """Of each effect the row with Greenhouse-Geisser correction, or else that without any."""
    chosen: dict[tuple[Any, Any], dict[Any, Any]] = {}
    for correction in ("none", "greenhouse_geisser"):
        for row in table[table["correction"] == correction].to_dict("records"):
            chosen[row["covariates"], row["effect"]] = row
    return list(chosen.values())


def _show_matrix(entry: TableEntry, name: str, caption: str) -> list[View]:
    """Lower triangle of muscle by muscle, with stars."""
    table = entry.table
    if table.empty:
        return []
    digits = 3 if name == "r" else 2
    cells = {
        (row["muscle_b"], row["muscle_a"]): format_signed(row[name], digits) + make_stars(row["p"])
        for row in table.to_dict("records")
    }
    first, second = (list(dict.fromkeys(table[column])) for column in ("muscle_a", "muscle_b"))
    heads = (("Muscle", True), *((str(muscle), False) for muscle in first))
    rows = (
        (str(muscle), *(cells.get((muscle, other), "") for other in first)) for muscle in second
    )
    return [View(caption, heads, tuple(rows))]


def _prepare_notes(entry: TableEntry | None) -> dict[str, Any]:
    """Say what the notes of a table are about."""
    if entry is None:
        return {"head": "Not made", "notes": ("This table was not made.",)}
    gaps = entry.table.empty or bool(entry.table.isna().any(axis=None))
    head = "Why there is n/a" if gaps else "Notes"
    if entry.table.empty and not entry.notes:
        return {"head": head, "notes": ("There is no row in this table.",)}
    return {"head": head, "notes": entry.notes}


def _has_adjusted(entry: TableEntry | None) -> bool:
    return entry is not None and any("adjusted" in str(name) for name in entry.table.columns)


def _has_place(key: str) -> bool:
    return key in PAPER_TABLES or key.removeprefix(VOLUME) in PAPER_TABLES


def _strip_prefix(tables: Mapping[str, TableEntry]) -> dict[str, TableEntry]:
    """Tables of the secondary measure, by the names of the first."""
    return {
        key.removeprefix(VOLUME): entry
        for key, entry in tables.items()
        if key.startswith(VOLUME) and _has_place(key)
    }


# --- participants ------------------------------------------------------------------------------


def _column(people: pd.DataFrame, name: str) -> pd.Series:
    """Take a column of the participants, all missing if there is none."""
    if name in people:
        return people[name]
    return pd.Series([None] * len(people), index=people.index, dtype=object)


def _words(people: pd.DataFrame, name: str) -> list[str]:
    return ["" if pd.isna(value) else str(value) for value in _column(people, name)]


def _count_people(people: pd.DataFrame) -> list[tuple[str, int]]:
    """Count participants by sex, and those whose age and BMI are known."""
    sexes = _words(people, "sex")
    return [
        ("Participants", len(people)),
        ("Female", sexes.count("F")),
        ("Male", sexes.count("M")),
        ("Sex unknown", sum(sex not in ("F", "M") for sex in sexes)),
        ("Age unknown", int(_column(people, "age").isna().sum())),
        ("BMI unknown", int(_column(people, "bmi").isna().sum())),
    ]


def _count_words(people: pd.DataFrame, name: str) -> list[tuple[str, int]]:
    """Count the participants of each word, the most frequent first."""
    return [
        (word or "unknown", count) for word, count in Counter(_words(people, name)).most_common()
    ]


def _list_missing(page: GroupPage) -> dict[str, Any]:
    """List what is missing by muscle and by participant; a side is named where one is there."""
    lines: dict[str, list[str]] = {}
    counts = []
    for muscle in page.values.columns:
        gone = {
            side: _side(frame, muscle, page.people.index).isna()
            for side, frame in (("left", page.left), ("right", page.right))
        }
        both = gone["left"] & gone["right"]
        counts.append((str(muscle), *(int(gone[side].sum()) for side in gone), int(both.sum())))
        any_gone = gone["left"] | gone["right"]
        for name in page.people.index[any_gone]:
            side = "both sides" if both[name] else "left" if gone["left"][name] else "right"
            lines.setdefault(str(name), []).append(f"{muscle} {side}")
    shown = [(name, ", ".join(found)) for name, found in sorted(lines.items())]
    return {"muscles": counts, "people": shown[:LONGEST_LIST], "count": len(shown)}


def _side(frame: pd.DataFrame, muscle: object, people: pd.Index) -> pd.Series:
    if muscle not in frame:
        return pd.Series(math.nan, index=people)
    return frame[muscle].reindex(people)


def _prepare_finding(finding: Finding) -> dict[str, Any]:
    return {
        "class": SEVERITIES[finding.severity],
        "word": finding.severity,
        "text": finding.text,
        "names": ", ".join(finding.names),
        "count": len(finding.names),
        "folded": len(finding.names) > FEW_NAMES,
    }


# --- data of the plots -------------------------------------------------------------------------


def make_plot_data(page: GroupPage) -> dict[str, Any]:
    """Collect what the plots draw, by column; numbers have four significant digits.

    Returns
    -------
    dict
        ``people`` by column; ``values``, ``left`` and ``right`` by muscle; ``residuals`` by
        covariate and muscle, all in the order of the participants and None where missing; and the
        results that stand in the plots, with their words.
    """
    index = page.people.index
    muscles = list(page.values.columns)
    frames = {"values": page.values, "left": page.left, "right": page.right}
    return {
        "measure": MEASURE_NAMES.get(page.measure, page.measure),
        "unit": page.unit,
        "muscles": [str(muscle) for muscle in muscles],
        "limit": DRAWN_POINTS,
        "people": _collect_people(page.people),
        **{
            name: {str(muscle): shorten(_side(frame, muscle, index)) for muscle in muscles}
            for name, frame in frames.items()
        },
        "residuals": _collect_residuals(_table(page, "residuals"), index),
        **_collect_results(page),
    }


def encode_json(data: object) -> str:
    r"""Encode as JSON that can stand in a script element.

    Examples
    --------
    >>> encode_json({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def shorten(values: Iterable[object]) -> list[float | None]:
    """Round to four significant digits; None where there is no number.

    Examples
    --------
    >>> shorten([12.34567, float("nan"), -0.00012345, None])
    [12.35, None, -0.0001234, None]
    """
    numbers = (to_number(value) for value in values)
    return [
        float(f"{number:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(number) else None
        for number in numbers
    ]


def _collect_people(people: pd.DataFrame) -> dict[str, Any]:
    """Columns of the participants; words that many share are stored once."""
    return {
        "id": [str(name) for name in people.index],
        "sex": _words(people, "sex"),
        "age": shorten(_column(people, "age")),
        "bmi": shorten(_column(people, "bmi")),
        "page": [check_link(text) for text in _words(people, "page")],
        **{name: _share(_words(people, name)) for name in ("session", "bundle", "flags")},
    }


def check_link(text: str) -> str:
    """Let only links into the folder of the page through.

    Examples
    --------
    >>> check_link("sub-01.html"), check_link("javascript:alert(1)"), check_link("//a.org/b")
    ('sub-01.html', '', '')
    """
    return "" if ":" in text or "\\" in text or text.startswith("/") else text


def _share(words: Sequence[str]) -> dict[str, Any]:
    """Store each word once, and for each participant its number."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return {"words": list(numbers), "of": [numbers[word] for word in words]}


def _table(page: GroupPage, key: str) -> pd.DataFrame:
    """Take a table of the page, empty if there is none."""
    return page.tables[key].table if key in page.tables else pd.DataFrame()


def _collect_residuals(table: pd.DataFrame, index: pd.Index) -> dict[str, Any]:
    """Residuals by covariate and muscle, in the order of the participants."""
    if table.empty:
        return {}
    value = next(name for name in table.columns if re.fullmatch(r"resid_(?!x$).+", str(name)))
    collected: dict[str, Any] = {}
    for (covariate, muscle), rows in table.groupby(["x", "muscle"], sort=False):
        aligned = rows.set_index("participant_id").reindex(index)
        collected.setdefault(str(covariate), {})[str(muscle)] = {
            "x": shorten(aligned["resid_x"]),
            "y": shorten(aligned[value]),
        }
    return collected


def _collect_results(page: GroupPage) -> dict[str, Any]:
    """Results that are drawn: means, estimated marginal means, correlations and slopes."""
    records = {
        key: _table(page, key).to_dict("records")
        for key in ("descriptives", "ancova", "musclecorr", "partialcorr")
    }
    return {
        "means": {
            str(row["muscle"]): _numbers(row, ("n", "mean", "se"))
            for row in records["descriptives"]
        },
        "marginal": {
            str(row["muscle"]): _numbers(row, ("emm_f", "emm_f_se", "emm_m", "emm_m_se"))
            | {"stars": make_stars(row.get("p_sex")), "p": format_p(to_number(row.get("p_sex")))}
            for row in records["ancova"]
        },
        "correlations": [
            {"a": str(row["muscle_a"]), "b": str(row["muscle_b"]), "text": _word_r(row)}
            for row in records["musclecorr"]
        ],
        "partial": [
            {"muscle": str(row["muscle"]), "x": str(row["x"]), "text": _word_r(row)}
            | _numbers(row, ("resid_slope",))
            for row in records["partialcorr"]
        ],
    }


def _numbers(row: Mapping[Any, Any], names: Iterable[str]) -> dict[str, float | None]:
    return {name: shorten([row.get(name)])[0] for name in names}


def _word_r(row: Mapping[Any, Any]) -> str:
    """Correlation with its stars."""
    return f"r = {format_three(row['r'])} {make_stars(row['p'])}".rstrip()


# --- files -------------------------------------------------------------------------------------


def _arrange_pictures(figures: Iterable[tuple[str, str, bytes]]) -> dict[str, list[dict[str, str]]]:
    """Pictures by their place on the page; ``others`` have none of their own."""
    places: dict[str, list[dict[str, str]]] = {}
    for path, title, svg in figures:
        name = path.rsplit("/", 1)[-1]
        inside = len(svg) <= LARGEST_EMBEDDED_BYTES
        picture = {"name": name, "title": title, "uri": _encode_uri(svg, "image/svg+xml") if inside
                   else "", "path": check_link(path)}  # fmt: skip
        places.setdefault(_find_place(name), []).append(picture)
    return places


def _find_place(name: str) -> str:
    """Where a picture of this name stands.

    >>> _find_place("group_figure5A.svg"), _find_place("volume_figure5a.svg"), _find_place("a.svg")
    ('figure5a', 'others', 'others')
    """
    lower = name.lower()
    if "volume" in lower:
        return "others"
    return next((place for part, place in PLACES if part in lower), "others")


def _list_downloads(page: GroupPage) -> list[dict[str, str]]:
    """Every table and figure with what a link to it holds: the file, or its name if it is large."""
    files = [
        (entry.name, entry.title, _count_rows(entry.table), entry.data, "text/tab-separated-values")
        for entry in page.tables.values()
    ]
    files += [(path, title, "figure", svg, "image/svg+xml") for path, title, svg in page.figures]
    return [
        {
            "name": path.rsplit("/", 1)[-1],
            "title": title,
            "kind": kind,
            "size": f"{max(1, round(len(data) / 1000)):,} kB",
            "href": _link_file(path, data, media),
            "embedded": "yes" if len(data) <= LARGEST_EMBEDDED_BYTES else "",
        }
        for path, title, kind, data, media in files
    ]


def _count_rows(table: pd.DataFrame) -> str:
    return f"{len(table):,} row{'' if len(table) == 1 else 's'}"


def _link_file(path: str, data: bytes, media: str) -> str:
    if len(data) > LARGEST_EMBEDDED_BYTES:
        return check_link(path)
    return _encode_uri(data, media)


def _encode_uri(data: bytes, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(data).decode('ascii')}"
