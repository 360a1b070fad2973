"""The unit of a column follows from its name, in the registry and in its description."""

import pytest

from bids_mfi.bids import columns
from bids_mfi.bids.columns import ResultColumn, describe_result_columns

ENDINGS = {
    "_ml": "ml",
    "_mm2": "mm2",
    "_mm": "mm",
    "_percent": "percent",
    "_mean": "arbitrary",
    "voxels": "1",
}
TABLES = (columns.MUSCLE_COLUMNS, columns.LEVEL_COLUMNS, columns.SLICE_COLUMNS)
NUMBERS = [
    pytest.param(column, id=f"{table[0].name}-{column.name}")
    for table in TABLES
    for column in table
    if column.kind != "text" and column.name != "index"
]


def name_unit(name: str) -> str:
    return next((unit for ending, unit in ENDINGS.items() if name.endswith(ending)), "1")


@pytest.mark.parametrize("column", NUMBERS)
def test_the_unit_is_that_of_the_name(column: ResultColumn) -> None:
    assert column.unit == name_unit(column.name)
    assert describe_result_columns([column])[column.name]["Units"] == name_unit(column.name)


def test_the_heads_of_the_page_show_the_unit() -> None:
    heads = {column.name: column.head for column in columns.MUSCLE_COLUMNS if column.head}
    assert heads["volume_ml"].endswith(", ml")
    assert heads["mfi_percent"].endswith(", %")


def test_columns_of_words_have_no_unit() -> None:
    words = [column for table in TABLES for column in table if column.kind == "text"]
    assert words
    assert not [column.name for column in words if column.unit]
