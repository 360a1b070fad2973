"""Expected tables of the group level, and their comparison with what was written.

Other tests import from here: ``from group_expected import compare_tables, read_expected``.
"""

import json
import math
from pathlib import Path

import pandas as pd

DATA = Path(__file__).parent / "data" / "group"
RELATIVE = 1e-8
ABSOLUTE_OF_ZERO = 1e-12  # small p-values are not zeros

KEYS = {
    "descriptives": ("muscle",),
    "rmancova": ("covariates", "stratum", "effect", "correction"),
    "sphericity": ("covariates",),
    "multivariate": ("covariates", "effect"),
    "emm": ("factor", "level"),
    "ancova": ("muscle",),
    "pairedt": ("muscle_a", "muscle_b"),
    "musclecorr": ("muscle_a", "muscle_b"),
    "partialcorr": ("muscle", "x"),
    "residuals": ("participant_id", "muscle", "x"),
}
Rows = dict[tuple[str, ...], dict[str, str]]


def read_expected(name: str) -> dict[str, pd.DataFrame]:
    """Tables of ``expected_<name>.json``; NaN where there is no value."""
    content = json.loads((DATA / f"expected_{name}.json").read_text())
    return {table: pd.DataFrame(columns) for table, columns in content.items()}


def read_variant(name: str) -> dict[str, pd.DataFrame]:
    """``muscles``, ``participants`` and ``sessions`` of a cohort; participants are text."""
    found = {path.stem: path for path in (DATA / name).glob("*.tsv")}
    return {stem: read_tsv(path, text=stem == "participants") for stem, path in found.items()}


def read_tsv(path: Path, text: bool = False) -> pd.DataFrame:
    """Read a table in which only ``n/a`` is missing."""
    dtype = "str" if text else None
    return pd.read_csv(path, sep="\t", dtype=dtype, na_values=["n/a"], keep_default_na=False)


def read_written(output_dir: Path, name: str, prefix: str = "group_") -> pd.DataFrame:
    """A table of the group level, all cells as they stand in it."""
    path = output_dir / f"{prefix}{name}.tsv"
    return pd.read_csv(path, sep="\t", dtype="str", na_filter=False)


def compare_tables(name: str, written: pd.DataFrame, expected: pd.DataFrame) -> list[str]:
    """Sentences on all that differs; empty if every expected row and number is there, no other row.

    Parameters
    ----------
    name : str
        Key of KEYS.
    written : DataFrame
        Text, from :func:`read_written`.
    expected : DataFrame
        Numbers and words; further columns in ``written`` are allowed.
    """
    absent = [column for column in expected if column not in written]
    if absent:
        return [f"{name}: no column {', '.join(absent)} among {', '.join(written)}"]
    found, wanted = index_rows(written, KEYS[name]), index_rows(expected, KEYS[name])
    if len(found) != len(written):
        return [f"{name}: {len(written)} rows, of which {len(found)} differ in {KEYS[name]}"]
    problems = [f"{name} {key}: no such row" for key in wanted.keys() - found.keys()]
    problems += [f"{name} {key}: not expected" for key in found.keys() - wanted.keys()]
    for key in wanted.keys() & found.keys():
        for column, value in wanted[key].items():
            if not agrees(found[key][column], value):
                text = f"{found[key][column]}, expected {value!r}"
                problems.append(f"{name} {key} {column}: {text}")
    return sorted(problems)


def index_rows(table: pd.DataFrame, keys: tuple[str, ...]) -> Rows:
    """Rows by the cells that name them."""
    records = table.to_dict("records")
    return {tuple(str(row[key]) for key in keys): row for row in records}


def agrees(written: str, expected: object) -> bool:
    """Whether a cell says what is expected.

    >>> agrees("0.25", 0.25), agrees("n/a", float("nan")), agrees("1e-15", 0.0)
    (True, True, True)
    >>> agrees("0.2501", 0.25), agrees("n/a", 1.0), agrees("2e-40", 1e-40)
    (False, False, False)
    """
    if isinstance(expected, str):
        return written == expected
    number = float(expected)  # type: ignore[arg-type]
    if math.isnan(number):
        return written == "n/a"
    try:
        absolute = 0.0 if number else ABSOLUTE_OF_ZERO
        return math.isclose(float(written), number, rel_tol=RELATIVE, abs_tol=absolute)
    except ValueError:
        return False


def summarise(problems: list[str], shown: int = 25) -> str:
    """The first problems and the number of all, for the message of an assertion."""
    return "\n".join([f"{len(problems)} differences", *problems[:shown]])
