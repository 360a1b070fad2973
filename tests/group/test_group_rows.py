"""Joining the scans' tables in batches changes nothing but memory."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_mfi.bids.scan_results import read_scan_rows
from bids_mfi.group import outputs, rows
from bids_mfi.group.outputs import encode_frame
from bids_mfi.group.rows import FLAGS, SCAN, RowCollector

COUNT = "voxels"


def write_tables(folder: Path, cells: list[str | None]) -> list[Path]:
    """One table of two rows for each cell of a column of counts; None leaves the column out."""
    paths = []
    for number, cell in enumerate(cells):
        header = ["muscle", "hemi", "volume_ml", "mfi_percent", "note", "sex"]
        line = ["SCM", "L", f"{number}.5", "n/a", "odd  text", "x"]
        if cell is not None:
            header.insert(2, COUNT)
            line.insert(2, cell)
        other = ["TR", "R", *line[2:]]
        text = "\n".join("\t".join(row) for row in (header, other, line))
        paths.append(folder / f"sub-{number}_mfi.tsv")
        paths[-1].write_text(f"{text}\n", encoding="utf-8")
    return paths


def join(paths: list[Path], batch: int, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Rows of tables whose order is turned round."""
    monkeypatch.setattr(rows, "BATCH_SCANS", batch)
    collector = RowCollector(frozenset({"sex"}))
    for number, path in enumerate(paths):
        collector.add(number, path, read_scan_rows(path))
    place = {number: len(paths) - 1 - number for number in range(len(paths))}
    table, left_out = collector.join(place, [{}] * len(paths))
    assert left_out == ["sex"]
    return table


@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_numbers_of_all_batches(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_tables(tmp_path, ["12", "n/a", None, "7.5", "NaN"])
    table = join(paths, batch, monkeypatch)
    assert list(table[SCAN]) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert list(table["volume_ml"]) == [4.5, 4.5, 3.5, 3.5, 2.5, 2.5, 1.5, 1.5, 0.5, 0.5]
    assert list(table["muscle"]) == ["SCM", "TR"] * 5
    assert table[COUNT].dtype == np.float64
    expected = [np.nan, np.nan, 7.5, 7.5, np.nan, np.nan, np.nan, np.nan, 12, 12]
    assert table[COUNT].tolist() == pytest.approx(expected, abs=0, nan_ok=True)
    assert list(table.columns)[-1] == FLAGS


@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_text_in_one_table_keeps_the_column_text_in_all(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was written, also in tables that were numbers already: 12 stays 12, n/a stays n/a."""
    paths = write_tables(tmp_path, ["12", "n/a", None, "about 7", "1e3"])
    table = join(paths, batch, monkeypatch)
    cells = ["1e3", "1e3", "about 7", "about 7", "n/a", "n/a", "n/a", "n/a", "12", "12"]
    assert table[COUNT].isna().tolist() == [False] * 4 + [True] * 2 + [False] * 4
    assert table[COUNT].fillna("n/a").tolist() == cells


def test_blocks_of_rows_are_encoded_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame(
        {
            "name": ["a", None, "b  c", "", "\udce9"],
            "n": [1.0, 2.5, np.nan, -0.0, 1e20],
            "f": [0.1, np.inf, np.nan, 1e-7, 3.0],
            "whole": [1, 2, 3, 4, 5],
            "any": pd.Series([True, 1, 1.5, None, "x"], dtype=object),
        }
    )
    expected = (
        b"name\tn\tf\twhole\tany\na\t1\t0.1\t1\tTrue\nn/a\t2.5\tn/a\t2\t1\nb c\tn/a\tn/a\t3\t1.5\n"
        b"n/a\t0\t1e-07\t4\tn/a\n\\udce9\t100000000000000000000\t3.0\t5\tx\n"
    )
    for block in (1, 2, 100):
        monkeypatch.setattr(outputs, "BLOCK_ROWS", block)
        assert encode_frame(table) == expected
    assert encode_frame(table[:0]) == b"name\tn\tf\twhole\tany\n"
