"""Units and codes of a table's columns, from its JSON sidecars.

Cells are converted to the units of the group level when a table is read. An unknown unit makes the
value missing, and a finding reports it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_mfi.cells import MISSING, is_missing, parse_decimal, shorten_cell
from bids_mfi.findings import Finding
from bids_mfi.group.person import SEX_WORDS, UNITS, Cells
from bids_mfi.reading import read_json

Codes = dict[str, dict[str, Any]]
"""Entries of a sidecar by column, lower case."""

# The units of the group level in one of each unit.
FACTORS = {
    "age": {"year": 1.0, "month": 1 / 12, "week": 7 / 365.25, "day": 1 / 365.25},
    "height": {"cm": 1.0, "m": 100.0, "mm": 0.1, "in": 2.54, "ft": 30.48},
    "weight": {"kg": 1.0, "g": 0.001, "lb": 0.45359237, "st": 6.35029318},
    "bmi": {"kg/m2": 1.0},
}
_SPELLINGS = {
    "age": {"year": "y|yr|yrs|years?|a", "month": "mo|mon|mos|months?",
            "week": "wk|wks|w|weeks?", "day": "d|days?"},
    "height": {"cm": r"cm|centimet(?:er|re)s?", "m": r"m|met(?:er|re)s?",
               "mm": r"mm|millimet(?:er|re)s?", "in": "in|inch|inches", "ft": "ft|foot|feet"},
    "weight": {"kg": r"kg|kgs|kilos?|kilogram(?:me)?s?", "g": r"g|gram(?:me)?s?",
               "lb": "lb|lbs|pounds?", "st": "st|stones?"},
    "bmi": {"kg/m2": r"bmi|(?:kg|kilogram(?:me)?s?)\W*(?:per)?\W*(?:m|sq|met).*"},
}  # fmt: skip
NO_UNIT = frozenset({"", "n/a", "null", "none"})


def find_factor(column: str, unit: str) -> float | None:
    """Factor by which a value in this unit is multiplied; None if the unit is unknown.

    Examples
    --------
    >>> find_factor("weight", "lbs"), find_factor("height", "Meters"), find_factor("age", "")
    (0.45359237, 100.0, 1.0)
    >>> find_factor("bmi", "kg/m²"), find_factor("weight", "stone (UK)")
    (1.0, None)
    """
    plain = unit.strip().lower().rstrip(".")
    if plain in NO_UNIT:
        return 1.0
    for name, spelling in _SPELLINGS[column].items():
        if re.fullmatch(spelling, plain):
            return FACTORS[column][name]
    return None


@dataclass(slots=True)
class Conversions:
    """Units that were found, and their participants.

    Attributes
    ----------
    file : str
        Name of the sidecar for messages.
    found : dict
        Participants by column, unit as written, and factor.
    """

    file: str
    found: dict[tuple[str, str, float | None], set[str]] = field(default_factory=dict)

    def add(self, column: str, unit: str, factor: float | None, owner: str) -> None:
        """Remember a unit that is not the expected one; ``owner`` may be empty."""
        owners = self.found.setdefault((column, unit, factor), set())
        owners |= {owner} if owner else set()

    def findings(self) -> list[Finding]:
        """State what was converted, and what is missing because its unit is unknown."""
        return [
            Finding(
                "note" if factor else "warning",
                f"{self.file} gives the unit of {column} as {unit}, expected {UNITS[column]}: "
                + ("converted." if factor else f"{column} is treated as missing. Correct the unit, "
                   "or convert the values."),
                tuple(sorted(owners)),
            )
            for (column, unit, factor), owners in self.found.items()
        ]  # fmt: skip


def read_codes(path: Path, assumed: str = "") -> tuple[Codes, list[Finding]]:
    """Read a sidecar; a damaged one is ignored and named.

    Parameters
    ----------
    path : Path
        Nothing is known if it does not exist.
    assumed : str
        Consequence for the values, for the finding; by default the usual units.
    """
    if not path.exists() and not path.is_symlink():
        return {}, []
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError("it does not contain a JSON object")
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or shorten_cell(str(error).split("\n")[0])
        text = (
            f"{path.name} cannot be read ({cause}): its units and codes are unknown. Correct it; "
            f"{assumed or 'age is assumed to be in years, height in cm, weight in kg.'}"
        )
        return {}, [Finding("warning", text)]
    entries = {str(name).strip().lower(): entry for name, entry in content.items()}
    odd = [name for name in ("sex", *FACTORS) if not isinstance(entries.get(name, {}), dict)]
    text = (
        f"{path.name} does not describe {', '.join(odd)} with a JSON object: the entry is ignored. "
        "Correct it."
    )
    return (
        {name: entry for name, entry in entries.items() if isinstance(entry, dict)},
        [Finding("warning", text)] if odd else [],
    )


def read_sex_levels(codes: Mapping[str, Any]) -> dict[str, str]:
    """Read from a sidecar's Levels which code of sex is F and which is M.

    Examples
    --------
    >>> read_sex_levels({"sex": {"Levels": {"1": "male", "2": {"Description": "Female sex"}}}})
    {'1': 'M', '2': 'F'}
    """
    levels = codes.get("sex", {}).get("Levels")
    if not isinstance(levels, dict):
        return {}
    found = {str(code).strip().lower(): _find_sex(meaning) for code, meaning in levels.items()}
    return {code: sex for code, sex in found.items() if sex}


def _find_sex(meaning: object) -> str:
    """F or M from the words of a level, empty if they say neither or both."""
    texts = list(meaning.values()) if isinstance(meaning, dict) else [meaning]
    words = {text.strip().lower() for text in texts if isinstance(text, str)}
    long_ones = {w for text in words for w in re.findall(r"\w+", text) if len(w) > 1}
    sexes = {SEX_WORDS[word] for word in words | long_ones if word in SEX_WORDS}
    return sexes.pop() if len(sexes) == 1 else ""


def apply_codes(
    row: Cells, codes: Codes, levels: Mapping[str, str], units: Conversions, owner: str = ""
) -> Cells:
    """Convert the cells of a line to the usual units, and its sex to F or M where explained.

    Parameters
    ----------
    row : dict
        Standard columns in lower case.
    codes : Codes
        From :func:`read_codes`.
    levels : mapping
        From :func:`read_sex_levels`.
    units : Conversions
        Collects the units that are not the expected ones.
    owner : str
        Owner of the units, where it differs within a table.
    """
    changed: Cells = {}
    for column in FACTORS.keys() & row.keys():
        cell, unit = row[column], read_unit(codes.get(column, {}))
        factor = find_factor(column, unit)
        if factor != 1.0:
            units.add(column, unit, factor, owner)
        own = _split_unit(column, cell)
        if own:
            changed[column] = repr(own[0] * own[1]) if own[1] != 1.0 else repr(own[0])
        elif factor is None:
            changed[column] = MISSING
        elif factor != 1.0 and not is_missing(cell):
            changed[column] = _convert(cell, factor)
    if "sex" in row:
        code = row["sex"].lower()
        changed["sex"] = levels.get(code, levels.get(code.removesuffix(".0"), row["sex"]))
    return {**row, **changed}


def read_unit(entry: Mapping[str, Any]) -> str:
    """Take the unit of an entry as written, shortened for messages; empty if there is none."""
    unit = entry.get("Units")
    return "" if unit is None else shorten_cell(str(unit).strip())


def _split_unit(column: str, cell: str) -> tuple[float, float] | None:
    """Split a cell that names its own unit, such as ``154 lb``, into number and factor.

    >>> _split_unit("weight", "154 lb"), _split_unit("age", "018M"), _split_unit("age", "34")
    ((154.0, 0.45359237), None, None)
    """
    found = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+))\s*([a-z].*)", cell, re.IGNORECASE)
    factor = find_factor(column, found[2]) if found else None
    if not found or factor is None or re.fullmatch(r"\d{3}[dwmy]", cell, re.IGNORECASE):
        return None
    return parse_decimal(found[1]), factor


def _convert(cell: str, factor: float) -> str:
    try:
        return repr(parse_decimal(cell) * factor)
    except ValueError:
        return cell  # named where values are judged


def list_entries(codes: Iterable[Codes]) -> Codes:
    """Join sidecars; later ones take precedence, as the nearer one does in BIDS."""
    joined: Codes = {}
    for one in codes:
        joined |= one
    return joined
