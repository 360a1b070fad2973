"""Participants, their missing values and the findings about them."""

import math
from collections import Counter
from typing import Any

import pandas as pd

from bids_mfi.findings import Finding
from bids_mfi.report.group_content import GroupPage

LONGEST_LIST = 1000
FEW_NAMES = 5  # more are folded
SEVERITIES = {"error": "error", "warning": "warning", "note": "info"}


def take_column(people: pd.DataFrame, name: str) -> pd.Series:
    """Take a column of the participants, all missing if there is none."""
    if name in people:
        return people[name]
    return pd.Series([None] * len(people), index=people.index, dtype=object)


def take_words(people: pd.DataFrame, name: str) -> list[str]:
    """Take a column of the participants as text, empty where missing."""
    return ["" if pd.isna(value) else str(value) for value in take_column(people, name)]


def take_side(frame: pd.DataFrame, muscle: object, people: pd.Index) -> pd.Series:
    """Take the values of a muscle in the order of the participants, NaN where missing."""
    if muscle not in frame:
        return pd.Series(math.nan, index=people)
    return frame[muscle].reindex(people)


def count_people(people: pd.DataFrame) -> list[tuple[str, int]]:
    """Count participants by sex, and those with something unknown, if there are any."""
    sexes = take_words(people, "sex")
    unknown = (
        ("Sex unknown", sum(sex not in ("F", "M") for sex in sexes)),
        ("Age unknown", int(take_column(people, "age").isna().sum())),
        ("BMI unknown", int(take_column(people, "bmi").isna().sum())),
    )
    return [
        ("Participants", len(people)),
        ("Female", sexes.count("F")),
        ("Male", sexes.count("M")),
        *((word, count) for word, count in unknown if count),
    ]


def count_words(people: pd.DataFrame, name: str) -> list[tuple[str, int]]:
    """Count the participants by value, the most frequent first."""
    return [
        (word or "unknown", count)
        for word, count in Counter(take_words(people, name)).most_common()
    ]


def list_missing(page: GroupPage) -> dict[str, Any]:
    """List missing values by muscle and participant; if only one side is missing, it is named."""
    lines: dict[str, list[str]] = {}
    counts = []
    for muscle in page.values.columns:
        gone = {
            side: take_side(frame, muscle, page.people.index).isna()
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


def prepare_finding(finding: Finding) -> dict[str, Any]:
    """Arrange a finding for the page; its names are folded if there are many."""
    return {
        "class": SEVERITIES[finding.severity],
        "word": finding.severity,
        "text": finding.text,
        "names": ", ".join(finding.names),
        "count": len(finding.names),
        "folded": len(finding.names) > FEW_NAMES,
    }
