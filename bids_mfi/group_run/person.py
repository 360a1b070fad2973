"""Sex, age and BMI of one participant from the cells of a table; must not know files.

A cell that makes no sense is missing, and is remembered with the name of its owner.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bids_mfi.group_run.findings import make_findings
from bids_mfi.report.group_page import Finding
from bids_mfi.tables import MISSING, is_missing

BODY = ("height", "weight")
SEX_WORDS = {
    "f": "F", "female": "F", "woman": "F", "girl": "F",
    "m": "M", "male": "M", "man": "M", "boy": "M",
}  # fmt: skip
# What a person can have; beyond is a slip or another unit. Years, kg/m^2, cm, kg.
RANGES = {"age": (0.0, 120.0), "bmi": (8.0, 120.0), "height": (40.0, 260.0), "weight": (1.0, 500.0)}
UNITS = {"age": "years", "bmi": "kg/m^2", "height": "cm", "weight": "kg"}
HINTS = {"height": " (metres?)"}


DICOM_UNITS_A_YEAR = {"Y": 1, "M": 12, "W": 52.1775, "D": 365.25}

Cells = dict[str, str]


@dataclass(slots=True)
class Doubts:
    """Names by what is wrong with their values."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, sentence: str, name: str) -> None:
        """Remember whom a sentence concerns; it may hold ``({n})``, the number of names."""
        self.found.setdefault(sentence, []).append(name)

    def findings(self) -> list[Finding]:
        """Make a finding of each sentence."""
        return [
            finding
            for sentence, names in self.found.items()
            for finding in make_findings("warning", sentence, names)
        ]


def read_sex_levels(codes: Mapping[str, Any]) -> dict[str, str]:
    """Words for sex, with those that the sidecar's Levels explain.

    Examples
    --------
    >>> read_sex_levels({"sex": {"Levels": {"1": "male", "2": "female"}}})["2"]
    'F'
    """
    levels = codes.get("sex", {}).get("Levels", {})
    known = dict(SEX_WORDS)
    if isinstance(levels, dict):
        for code, meaning in levels.items():
            text = meaning.get("Description", "") if isinstance(meaning, dict) else str(meaning)
            if text.strip().lower() in SEX_WORDS:
                known[str(code).strip().lower()] = SEX_WORDS[text.strip().lower()]
    return known


def parse_person(
    cells: Cells, name: str, doubts: Doubts, levels: Mapping[str, str]
) -> tuple[str | None, float, float]:
    """Read sex (F, M or None), age (years) and BMI (kg/m^2), NaN where missing.

    Parameters
    ----------
    cells : dict
        By column, lower case for the standard ones.
    name : str
        Of the participant and session, for what is doubted.
    doubts : Doubts
        Gets what makes no sense.
    levels : mapping
        From :func:`read_sex_levels`.
    """
    sex = cells.get("sex", MISSING)
    known = None if is_missing(sex) else levels.get(sex.strip().lower())
    if known is None and not is_missing(sex):
        doubts.add(
            "Participants whose sex is neither F nor M (or female, male) ({n}): it is missing in "
            "the analyses. Levels in participants.json can explain other codes.",
            f"{name}: {sex}",
        )
    return known, _parse("age", cells, name, doubts), _find_bmi(cells, name, doubts)


def _parse(what: str, cells: Cells, name: str, doubts: Doubts) -> float:
    cell = cells.get(what, MISSING)
    if is_missing(cell):
        return math.nan
    try:
        value = _read_dicom_age(cell) if what == "age" else float(cell.replace("_", "?"))
    except ValueError:
        value = math.nan
    low, high = RANGES[what]
    if low <= value <= high:
        return value
    hint = " (write decimals with a point)" if "," in cell else HINTS.get(what, "")
    doubts.add(
        f"Values of {what} that are no number from {low:g} to {high:g} {UNITS[what]}{hint} ({{n}}):"
        " they are taken as missing.",
        f"{name}: {cell}",
    )
    return math.nan


def _read_dicom_age(cell: str) -> float:
    """Age in years, also as DICOM writes it.

    >>> _read_dicom_age("34.5"), _read_dicom_age("045Y"), _read_dicom_age("018M")
    (34.5, 45.0, 1.5)
    """
    if len(cell) == 4 and cell[:3].isdecimal() and cell[3] in DICOM_UNITS_A_YEAR:
        return int(cell[:3]) / DICOM_UNITS_A_YEAR[cell[3]]
    return float(cell.replace("_", "?"))


def _find_bmi(cells: Cells, name: str, doubts: Doubts) -> float:
    """BMI as given, or else weight / height^2."""
    if not is_missing(cells.get("bmi", MISSING)):
        return _parse("bmi", cells, name, doubts)
    height_cm, weight_kg = (_parse(what, cells, name, doubts) for what in BODY)
    if math.isnan(height_cm) or math.isnan(weight_kg):
        return math.nan
    bmi = weight_kg / (height_cm / 100) ** 2
    low, high = RANGES["bmi"]
    if low <= bmi <= high:
        return bmi
    doubts.add(
        f"Height and weight that give a BMI beyond {low:g} to {high:g} kg/m^2 ({{n}}): exchanged, "
        "or other units? The BMI is taken as missing.",
        f"{name}: {cells['height']} cm, {cells['weight']} kg",
    )
    return math.nan


def guess_kind(cells: Sequence[str]) -> list[float] | list[str | None]:
    """Numbers if all cells are numbers or missing, and one is; else text.

    Examples
    --------
    >>> list(guess_kind(["1", "n/a", "2.5"])), list(guess_kind(["a", "2", "n/a"]))
    ([1.0, nan, 2.5], ['a', '2', None])
    """
    known = [None if is_missing(cell) else cell for cell in cells]
    try:
        numbers = [math.nan if cell is None else float(cell.replace("_", "?")) for cell in known]
    except ValueError:
        return known
    return numbers if np.isfinite(numbers).any() else known
