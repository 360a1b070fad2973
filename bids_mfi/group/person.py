"""Sex, age and BMI of one participant from the cells of a table.

An invalid cell is missing, and is recorded with the name of the participant.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bids_mfi.cells import MISSING, is_missing, parse_decimal, shorten_cell
from bids_mfi.findings import Finding, make_findings

BODY = ("height", "weight")
SEX_WORDS = {
    **dict.fromkeys(
        ("f", "female", "woman", "women", "girl", "feminine", "w", "weiblich", "frau", "femme",
         "féminin", "feminin", "mujer", "femenino", "femmina", "donna", "feminino", "mulher",
         "vrouw", "vrouwelijk", "kvinna", "kvinde", "kvinne", "kobieta"), "F"),
    **dict.fromkeys(
        ("m", "male", "man", "men", "boy", "masculine", "männlich", "maennlich", "mann", "homme",
         "masculin", "hombre", "masculino", "maschio", "uomo", "homem", "mannelijk", "mand",
         "mężczyzna"), "M"),
}  # fmt: skip
# What a person can have; beyond is a slip or another unit. Years, kg/m^2, cm, kg.
RANGES = {"age": (0.0, 120.0), "bmi": (8.0, 120.0), "height": (40.0, 260.0), "weight": (1.0, 500.0)}
UNITS = {"age": "years", "bmi": "kg/m^2", "height": "cm", "weight": "kg"}
HINTS = {"height": " (metres?)"}
# Height rounded to cm and weight to kg move a BMI by less.
LEAST_CONFLICT, CONFLICT_SHARE = 1.0, 0.05  # kg/m^2
# No value, in a column of numbers.
GAPS = frozenset({"-", "--", "\u2013", "\u2014", ".", "..", "?"})
MISSING_CODES = frozenset({-9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0})
DICOM_UNITS_A_YEAR = {"Y": 1, "M": 12, "W": 52.1775, "D": 365.25}

Cells = dict[str, str]


@dataclass(slots=True)
class Doubts:
    """Names of participants by what is wrong with their values."""

    found: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, sentence: str, name: str, severity: str = "warning") -> None:
        """Record whom a sentence concerns; it may contain ``({n})``, the number of names."""
        self.found.setdefault((severity, sentence), []).append(name)

    def findings(self) -> list[Finding]:
        """Make a finding of each sentence."""
        return [
            finding
            for (severity, sentence), names in self.found.items()
            for finding in make_findings(severity, sentence, names)
        ]


def list_sex_words(cells: Iterable[str]) -> dict[str, str]:
    """Words for sex in a column; next to H, M is ambiguous: it can mean *mujer*.

    Examples
    --------
    >>> list_sex_words(["F", "M"])["m"], "m" in list_sex_words(["H", "M"])
    ('M', False)
    """
    found = {cell.strip().lower() for cell in cells}
    if {"h", "m"} <= found and "f" not in found:
        return {word: sex for word, sex in SEX_WORDS.items() if word != "m"}
    return dict(SEX_WORDS)


def parse_person(
    cells: Cells, name: str, doubts: Doubts, words: Mapping[str, str]
) -> tuple[str | None, float, float]:
    """Read sex (F, M or None), age (years) and BMI (kg/m^2), NaN where missing.

    Parameters
    ----------
    cells : dict
        By column, lower case for the standard ones.
    name : str
        Name of the participant and session, for doubtful values.
    doubts : Doubts
        Collects invalid values.
    words : mapping
        From :func:`list_sex_words`.
    """
    sex = cells.get("sex", MISSING)
    known = None if is_missing(sex) else words.get(sex.strip().lower())
    if known is None and not is_missing(sex):
        doubts.add(
            "Participants whose sex is neither F nor M (or female, male) ({n}): it is missing in "
            "the analyses. Levels in participants.json can explain other codes.",
            f"{name}: {shorten_cell(sex)}",
        )
    return known, _parse("age", cells, name, doubts), _find_bmi(cells, name, doubts)


def _parse(what: str, cells: Cells, name: str, doubts: Doubts) -> float:
    cell = cells.get(what, MISSING)
    if is_missing(cell):
        return math.nan
    try:
        value = _read_age(cell, name, doubts) if what == "age" else parse_decimal(cell)
    except ValueError:
        value = math.nan
    low, high = RANGES[what]
    if low <= value <= high:
        return value
    hint = " (write decimals with a point)" if "," in cell else HINTS.get(what, "")
    doubts.add(
        f"Values of {what} that are not numbers from {low:g} to {high:g} {UNITS[what]}{hint} "
        f"({{n}}): they are treated as missing.",
        f"{name}: {shorten_cell(cell)}",
    )
    return math.nan


def _read_age(cell: str, name: str, doubts: Doubts) -> float:
    """Age in years, also as written by DICOM, and ``89+``, which BIDS uses for the oldest.

    >>> _read_age("34.5", "", Doubts()), _read_age("018M", "", Doubts())
    (34.5, 1.5)
    """
    if len(cell) == 4 and cell[:3].isdecimal() and cell[3].upper() in DICOM_UNITS_A_YEAR:
        return int(cell[:3]) / DICOM_UNITS_A_YEAR[cell[3].upper()]
    limit = re.fullmatch(r"(?:>=?|≥)\s*([\d.]+)|([\d.]+)\s*\+", cell)
    if not limit:
        return parse_decimal(cell)
    value = parse_decimal(limit[1] or limit[2])
    if RANGES["age"][0] <= value <= RANGES["age"][1]:
        doubts.add(
            "Ages with only a lower limit, such as 89+ ({n}): this number is used.",
            f"{name}: {shorten_cell(cell)}",
            "note",
        )
    return value


def _find_bmi(cells: Cells, name: str, doubts: Doubts) -> float:
    """BMI as given, otherwise weight / height^2."""
    if not is_missing(cells.get("bmi", MISSING)):
        return _compare_bmi(_parse("bmi", cells, name, doubts), cells, name, doubts)
    height_cm, weight_kg = (_parse(what, cells, name, doubts) for what in BODY)
    if math.isnan(height_cm) or math.isnan(weight_kg):
        return math.nan
    bmi = weight_kg / (height_cm / 100) ** 2
    low, high = RANGES["bmi"]
    if low <= bmi <= high:
        return bmi
    doubts.add(
        f"Height and weight that give a BMI beyond {low:g} to {high:g} kg/m^2 ({{n}}): they may be "
        "exchanged or in other units. The BMI is treated as missing.",
        f"{name}: {cells['height']} cm, {cells['weight']} kg",
    )
    return math.nan


def _compare_bmi(bmi: float, cells: Cells, name: str, doubts: Doubts) -> float:
    """Name a BMI that height and weight contradict."""
    height_cm, weight_kg = (_parse(what, cells, name, Doubts()) for what in BODY)
    computed = weight_kg / (height_cm / 100) ** 2
    if abs(bmi - computed) > max(LEAST_CONFLICT, CONFLICT_SHARE * bmi):
        doubts.add(
            "BMI that height and weight contradict ({n}): used as given. Correct one of them.",
            f"{name}: {bmi:.4g}, computed {computed:.4g}",
        )
    return bmi


def guess_kind(cells: Sequence[str]) -> list[float] | list[str | None]:
    """Numbers if all cells are numbers, GAPS or missing, and one is a number; otherwise text.

    Examples
    --------
    >>> list(guess_kind(["1", "n/a", "2.5"])), list(guess_kind(["a", "2", "n/a"]))
    ([1.0, nan, 2.5], ['a', '2', None])
    """
    known = [None if is_missing(cell) else cell for cell in cells]
    gaps = [None if cell is None or cell in GAPS else cell for cell in known]
    try:
        numbers = [math.nan if cell is None else parse_decimal(cell) for cell in gaps]
    except ValueError:
        return known
    return numbers if np.isfinite(numbers).any() else known


def doubt_column(column: str, cells: Sequence[str], names: Sequence[str], doubts: Doubts) -> None:
    """Name values that a further column is probably not meant to contain.

    Text among numbers makes the whole column text; a code for missing values counts as a number.

    Parameters
    ----------
    column : str
    cells, names : sequence of str
        Content of the column, and its participants.
    doubts : Doubts
        Collects the cells.
    """
    known = [(name, cell) for name, cell in zip(names, cells, strict=True) if not is_missing(cell)]
    numbers = {cell: _read_number(cell) for _, cell in known}
    odd = [cell for cell, value in numbers.items() if math.isnan(value)]
    text = f"Cells of {shorten_cell(column)} that are not numbers, while most others are ({{n}}): "
    if set(odd) <= GAPS:
        text += "they are treated as missing."
    else:
        text += "the column is read as text. Correct them if it should contain numbers."
    few = sum(cell in odd for _, cell in known) < len(known) / 2
    codes = _find_codes(numbers)
    for name, cell in known:
        if cell in odd and (few or set(odd) <= GAPS):
            doubts.add(text, f"{name}: {shorten_cell(cell)}")
        if cell in codes and not odd:
            doubts.add(
                f"Values of {shorten_cell(column)} that may be codes for missing values ({{n}}): "
                "they are used as numbers. Write n/a where a value is missing.",
                f"{name}: {shorten_cell(cell)}",
            )


def _read_number(cell: str) -> float:
    try:
        return parse_decimal(cell)
    except ValueError:
        return math.nan


def _find_codes(numbers: Mapping[str, float]) -> set[str]:
    """Cells with a usual code for missing values, far from all other numbers.

    >>> _find_codes({"0": 0.0, "20": 20.0, "-9": -9.0, "99": 99.0}) == {"-9", "99"}
    True
    >>> _find_codes({"-20": -20.0, "80": 80.0, "-9": -9.0, "99": 99.0})
    set()
    """
    others = [value for value in numbers.values() if value not in MISSING_CODES]
    if not others:
        return set()
    low, high = min(others), max(others)
    reach = max(high - low, abs(high), abs(low)) / 2
    lowest = 0.0 if low >= 0 else low - reach
    return {
        cell
        for cell, value in numbers.items()
        if value in MISSING_CODES and not lowest <= value <= high + reach
    }
