"""Data of the plots on a cohort's page, as one block of JSON.

Nothing is computed: numbers of tables are rounded and put in the order of the participants.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bids_mfi.report.group_content import GroupPage
from bids_mfi.report.group_files import check_link
from bids_mfi.report.group_people import take_column, take_side, take_words
from bids_mfi.report.numbers import format_p, format_spread, format_three, mark_p, to_number

MEASURE_NAMES = {"mfi": "MFI", "volume": "Volume"}
DRAWN_POINTS = 600  # participants drawn in a panel; more would only hide each other
HELD_PARTICIPANTS = 10_000  # with their values in the page, which must stay small enough to open
SIGNIFICANT_DIGITS = 4


def make_plot_data(page: GroupPage) -> dict[str, Any]:
    """Collect what the plots draw, by column; numbers have four significant digits.

    Returns
    -------
    dict
        ``total``, where the page holds some of the participants only; ``people`` by column;
        ``values``, ``left`` and ``right`` by muscle; ``residuals`` by covariate and muscle,
        ``change`` by muscle and session and ``centiles`` by muscle, all in the order of the
        participants and None where missing; and the results that the plots show, with their
        labels.
    """
    people = _choose_held(page)
    index = people.index
    muscles = list(page.values.columns)
    frames = {"values": page.values, "left": page.left, "right": page.right}
    return {
        "measure": MEASURE_NAMES.get(page.measure, page.measure),
        "unit": page.unit,
        "muscles": [str(muscle) for muscle in muscles],
        "limit": DRAWN_POINTS,
        **({"total": len(page.people)} if len(people) < len(page.people) else {}),
        "people": _collect_people(people),
        **{
            name: {
                str(muscle): round_numbers(take_side(frame, muscle, index)) for muscle in muscles
            }
            for name, frame in frames.items()
        },
        "residuals": _collect_residuals(_table(page, "residuals"), index),
        "change": _collect_change(page, index),
        "centiles": _collect_centiles(_table(page, "centiles"), index),
        **_collect_results(page),
    }


def encode_script(data: object) -> str:
    r"""Encode as JSON that is safe in a script element.

    Examples
    --------
    >>> encode_script({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def round_numbers(values: Iterable[object]) -> list[float | None]:
    """Round to four significant digits; None where there is no number.

    Examples
    --------
    >>> round_numbers([12.34567, float("nan"), -0.00012345, None])
    [12.35, None, -0.0001234, None]
    """
    numbers = (to_number(value) for value in values)
    return [
        float(f"{number:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(number) else None
        for number in numbers
    ]


def _choose_held(page: GroupPage) -> pd.DataFrame:
    """Choose the participants whose values the page holds: all, or outliers and an even sample."""
    people = page.people
    if len(people) <= HELD_PARTICIPANTS:
        return people
    outliers = _table(page, "outliers").get("participant_id", pd.Series(dtype="str"))
    named = list(dict.fromkeys(outliers))[: HELD_PARTICIPANTS // 2]
    held = people.index.isin(named)
    others = np.flatnonzero(~held)
    places = np.linspace(0, len(others) - 1, HELD_PARTICIPANTS - int(held.sum())).astype(np.intp)
    held[others[places]] = True
    return people[held]


def _collect_people(people: pd.DataFrame) -> dict[str, Any]:
    """Columns of the participants; texts that many share are stored once."""
    return {
        "id": [str(name) for name in people.index],
        "sex": take_words(people, "sex"),
        "age": round_numbers(take_column(people, "age")),
        "bmi": round_numbers(take_column(people, "bmi")),
        "page": [check_link(text) for text in take_words(people, "page")],
        **{name: _share(take_words(people, name)) for name in ("session", "bundle", "flags")},
    }


def _share(words: Sequence[str]) -> dict[str, Any]:
    """Store each text once, and its index for each participant."""
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
        aligned = _align(rows, index)
        collected.setdefault(str(covariate), {})[str(muscle)] = {
            "x": round_numbers(aligned["resid_x"]),
            "y": round_numbers(aligned[value]),
        }
    return collected


def _align(rows: pd.DataFrame, index: pd.Index) -> pd.DataFrame:
    """Put rows in the order of the participants, missing where one has none."""
    return rows.drop_duplicates("participant_id").set_index("participant_id").reindex(index)


# --- beyond the paper --------------------------------------------------------------------------


def _collect_change(page: GroupPage, index: pd.Index) -> dict[str, Any]:
    """Values by muscle and session of those who have several, and the mean change.

    Returns
    -------
    dict
        ``sessions`` (names in their order), ``from`` (that with which the others are compared),
        ``values``,
        ``beyond`` (by muscle and later session: yes where the change is larger than the smallest
        detectable one) and ``means`` (by muscle); empty if no change was measured.
    """
    table = _table(page, "change_participants")
    if table.empty:
        return {}
    first = str(table["session_from"].iloc[0])
    later = [str(name) for name in dict.fromkeys(table["session_to"])]
    values: dict[str, Any] = {}
    beyond: dict[str, Any] = {}
    for muscle, rows in table.groupby("muscle", sort=False):
        known = _align(rows[rows["value_from"].notna()], index)
        values[str(muscle)] = {first: round_numbers(known["value_from"])}
        beyond[str(muscle)] = {}
        for session in later:
            aligned = _align(rows[rows["session_to"] == session], index)
            values[str(muscle)][session] = round_numbers(aligned["value_to"])
            beyond[str(muscle)][session] = _mark(aligned["exceeds_sdc"])
    names = [first, *later]
    if set(names) <= set(page.sessions):
        names.sort(key=page.sessions.index)
    means = _collect_mean_change(_table(page, "change"))
    return {"sessions": names, "from": first, "values": values, "beyond": beyond, "means": means}


def _mark(words: Iterable[object]) -> list[int]:
    return [int(word == "yes") for word in words]


def _collect_mean_change(table: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Means of both sessions, and the change in words, by muscle."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_dict("records"):
        plus = "+" if to_number(row["mean_change"]) > 0 else ""
        words = f"{plus}{format_spread(row['mean_change'], row['se_change'])} {mark_p(row['p'])}"
        ends = round_numbers([row["mean_from"], row["mean_to"]])
        entry = {"session": str(row["session_to"]), "ends": ends, "text": words.rstrip()}
        found.setdefault(str(row["muscle"]), []).append(entry)
    return found


def _collect_centiles(table: pd.DataFrame, index: pd.Index) -> dict[str, Any]:
    """Deviate and centile by muscle, and who is a control."""
    if table.empty:
        return {}
    muscles: dict[str, Any] = {}
    for muscle, rows in table.groupby("muscle", sort=False):
        aligned = _align(rows, index)
        muscles[str(muscle)] = {
            "z": round_numbers(aligned["z"]),
            "centile": round_numbers(aligned["centile"]),
            "outside": _mark(aligned["outside_range"]),
        }
    return {"control": _mark(_align(table, index)["is_control"]), "muscles": muscles}


# --- results -----------------------------------------------------------------------------------


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
            | {"stars": mark_p(row.get("p_sex")), "p": format_p(to_number(row.get("p_sex")))}
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
    return {name: round_numbers([row.get(name)])[0] for name in names}


def _word_r(row: Mapping[Any, Any]) -> str:
    """Correlation with its stars."""
    return f"r = {format_three(row['r'])} {mark_p(row['p'])}".rstrip()
