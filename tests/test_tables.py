"""Tables that users bring: what is understood, what is refused and in which words."""

import math
import os

import pytest

from bids_mfi.bids.scan_results import read_scan_table
from bids_mfi.errors import InputError
from bids_mfi.label_tables import check_same_labels, read_label_table
from bids_mfi.muscles import WEBER2021
from bids_mfi.paired_tables import pair_tables
from bids_mfi.tables import read_long_table

HEADER = ("participant_id", "session_id", "run_id", "index", "muscle", "hemi", "volume_ml",
          "mfi_percent")  # fmt: skip
ROWS = [
    ("sub-01", "a", "1", "12", "TR", "L", "10.5", "20"),
    ("sub-01", "a", "1", "11", "TR", "R", "11.5", "21"),
    ("sub-02", "a", "1", "12", "TR", "L", "n/a", "n/a"),
]


def write(path, rows=ROWS, header=HEADER, newline="\n", encoding="utf-8"):
    text = newline.join("\t".join(line) for line in (header, *rows)) + newline
    path.write_bytes(text.encode(encoding))
    return path


def columns(*wanted):
    """Rows and header with only these columns, in this order."""
    places = [HEADER.index(name) for name in wanted]
    return [tuple(row[place] for place in places) for row in ROWS], wanted


def pair(tmp_path, first, second):
    return pair_tables(read_long_table(first), read_long_table(second), (first, second))


def test_a_table_is_read(tmp_path):
    table = read_long_table(write(tmp_path / "a.tsv"))
    assert list(table.index) == [2, 3, 4]
    assert list(table["participant_id"]) == ["01", "01", "02"]
    assert list(table["volume_ml"][:2]) == [10.5, 11.5]
    assert math.isnan(table["volume_ml"].iloc[2])
    assert math.isnan(table["mfi_percent"].iloc[2])


@pytest.mark.parametrize(
    ("newline", "encoding"),
    [
        ("\r\n", "utf-8"), ("\n", "utf-8-sig"), ("\r\n", "utf-8-sig"), ("\r", "utf-8"),
        ("\r\r\n", "utf-8"), ("\r\n", "utf-16"), ("\n", "utf-32"),
        ("\t\t\n", "utf-8"), ("\t\r", "utf-16"), ("\ufeff\u200b\n", "utf-8"),
        ("\u00a0\n", "utf-8"),
    ],
)  # fmt: skip
def test_what_spreadsheets_write_is_read_alike(tmp_path, newline, encoding):
    plain = read_long_table(write(tmp_path / "a.tsv"))
    found = read_long_table(write(tmp_path / "b.tsv", newline=newline, encoding=encoding))
    assert found.equals(plain)


def test_invisible_characters_within_a_cell_do_not_matter(tmp_path):
    plain = read_long_table(write(tmp_path / "a.tsv"))
    rows = [tuple("\u200b".join(f"\ufeff{cell}") for cell in row) for row in ROWS]
    assert read_long_table(write(tmp_path / "b.tsv", rows)).equals(plain)


def test_empty_columns_and_cells_that_only_they_lack_do_not_matter(tmp_path):
    plain = read_long_table(write(tmp_path / "a.tsv"))
    rows = [
        (*row[:3], "", *row[3:], *[""] * extra) for row, extra in zip(ROWS, (0, 1, 4), strict=True)
    ]
    header = (*HEADER[:3], "", *HEADER[3:], "", "")
    assert read_long_table(write(tmp_path / "b.tsv", rows, header)).equals(plain)


def test_a_column_without_a_name_is_kept_if_it_holds_something(tmp_path):
    rows = [(*row, note) for row, note in zip(ROWS, ("", "cut", ""), strict=True)]
    table = read_long_table(write(tmp_path / "a.tsv", rows, (*HEADER, "")))
    assert list(table[""]) == ["", "cut", ""]
    with pytest.raises(InputError, match="line 3 has 9 cells, expected 8"):
        read_long_table(write(tmp_path / "b.tsv", rows))


@pytest.mark.parametrize(
    ("column", "other"),
    [("participant_id", "participant"), ("participant_id", "Subject"), ("participant_id", "sub"),
     ("session_id", "session"), ("session_id", "Session ID"), ("run_id", "run")],
)  # fmt: skip
def test_other_names_of_an_identifier_are_understood(column, other, tmp_path):
    plain = read_long_table(write(tmp_path / "a.tsv"))
    header = [other if name == column else name for name in HEADER]
    assert read_long_table(write(tmp_path / "b.tsv", ROWS, header)).equals(plain)


def test_two_columns_that_may_be_the_identifier_are_refused(tmp_path):
    header = ["sub" if n == "participant_id" else "subject" if n == "index" else n for n in HEADER]
    with pytest.raises(InputError, match="no column participant_id, but sub and subject"):
        read_long_table(write(tmp_path / "a.tsv", ROWS, header))


def test_a_prefix_in_capitals_is_the_prefix(tmp_path):
    plain = read_long_table(write(tmp_path / "a.tsv"))
    rows = with_cell("participant_id", str.upper)
    assert read_long_table(write(tmp_path / "b.tsv", rows)).equals(plain)


def test_numbers_of_any_length_are_read_or_named(tmp_path):
    digits = "9" * 5000
    table = read_long_table(write(tmp_path / "a.tsv", with_cell("run_id", lambda _: f"0{digits}")))
    assert set(table["run_id"]) == {digits}
    with pytest.raises(InputError, match=r"line 2 has '9+\.\.\. \(5000 letters\)' for volume_ml"):
        read_long_table(write(tmp_path / "b.tsv", with_cell("volume_ml", lambda _: digits)))
    with pytest.raises(InputError, match=r"has the index '9+\.\.\. \(5000 letters\)'"):
        read_label_table(write_labels(tmp_path / "d.tsv", ("index", "name"), (digits, "left_x")))


@pytest.mark.parametrize("cell", ["²", "1²", "-1", "1.5", ""])
def test_an_index_that_only_looks_like_a_number_is_named(cell, tmp_path):
    with pytest.raises(InputError, match="line 3 has the index"):
        read_label_table(
            write_labels(tmp_path / "d.tsv", ("index", "name"), ("1", "left_x"), (cell, "left_y"))
        )


def test_a_cell_of_any_length_is_no_obstacle(tmp_path):
    rows = [(*row, "x" * 200_000) for row in ROWS]
    assert len(read_long_table(write(tmp_path / "a.tsv", rows, (*HEADER, "note")))) == len(ROWS)


def test_a_named_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "pipe.tsv")
    with pytest.raises(InputError, match="named pipe"):
        read_long_table(tmp_path / "pipe.tsv")


def test_zero_stays_zero_and_every_word_for_nothing_is_missing(tmp_path):
    words = ["0", "n/a", "", "NA", "NaN", "nan", "None"]
    rows = [("01", "a", str(i), "12", "TR", "L", w, w) for i, w in enumerate(words)]
    table = read_long_table(write(tmp_path / "a.tsv", rows))
    assert table["volume_ml"].iloc[0] == 0.0
    assert table["volume_ml"].isna().sum() == table["mfi_percent"].isna().sum() == 6


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("12,5", "with a point"),
        ("much", "'much'"),
        ("inf", "'inf'"),
        ("1e300", "1e300"),
        ("1_000", "'1_000'"),
    ],
)
def test_a_cell_that_is_no_number_is_named(tmp_path, cell, said):
    rows = [*ROWS, ("sub-03", "a", "1", "12", "TR", "L", cell, "20")]
    path = write(tmp_path / "a.tsv", rows)
    with pytest.raises(InputError, match=rf"a\.tsv: line 5 has .* for volume_ml.*{said}|{said}"):
        read_long_table(path)


@pytest.mark.parametrize(
    ("volume", "mfi", "said"),
    [
        ("-0.1", "20", "line 2 has '-0.1' for volume_ml, expected a number from 0 on"),
        ("1", "-101", "line 2 has '-101' for mfi_percent, expected a number from -100 to 200"),
        ("1", "2000", "line 2 has '2000' for mfi_percent"),
    ],
)
def test_a_value_that_cannot_be_is_named(tmp_path, volume, mfi, said):
    rows = [("01", "a", "1", "12", "TR", "L", volume, mfi)]
    with pytest.raises(InputError, match=said):
        read_long_table(write(tmp_path / "a.tsv", rows))


def test_a_stray_quote_swallows_no_lines(tmp_path):
    rows = [(f"{i:02d}", "a", "1", "12", "TR", "L", "1", "2", "") for i in range(1, 51)]
    for place in (0, 38):  # lines 2 and 40
        rows[place] = (*rows[place][:-1], '"cut')
    with pytest.raises(InputError, match=r'line 2 .*"cut.*quot'):
        read_long_table(write(tmp_path / "a.tsv", rows, (*HEADER, "note")))


def test_quotes_around_a_cell_do_not_matter(tmp_path):
    quoted = [tuple(f'"{cell}"' for cell in row) for row in (HEADER, *ROWS)]
    plain = read_long_table(write(tmp_path / "a.tsv"))
    assert read_long_table(write(tmp_path / "b.tsv", quoted[1:], quoted[0])).equals(plain)
    said = [(*row, note) for row, note in zip(ROWS, ('5" cut', '"a ""b"" c"', '""'), strict=True)]
    table = read_long_table(write(tmp_path / "c.tsv", said, (*HEADER, "note")))
    assert list(table["note"]) == ['5" cut', 'a "b" c', ""]


def test_a_missing_column_is_named(tmp_path):
    path = write(tmp_path / "a.tsv", *columns("participant_id", "muscle", "hemi", "volume_ml"))
    with pytest.raises(InputError, match="has no column mfi_percent"):
        read_long_table(path)


def test_commas_for_tabs_are_recognised(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("participant_id,muscle,hemi,volume_ml,mfi_percent\n01,TR,L,1,2\n")
    with pytest.raises(InputError, match="separated by commas: save it as tab-separated text"):
        read_long_table(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\r\n \n", "is empty"),
        ("\t".join(HEADER).encode() + b"\nm\xe4nnlich", "not UTF-8 text from line 2 on"),
        ("\t".join(HEADER).encode("utf-16-le"), "line 1 holds a NUL byte"),
        (b"a\tb\n1\t\0\n", "line 2 holds a NUL byte"),
        (b"a\t\t\n1\t2\t3\n", "without a name"),
        ("\t".join(HEADER).encode(), "no rows"),
        ("\t".join([*HEADER, "hemi"]).encode() + b"\n", "two columns hemi"),
        ("\t".join(HEADER).encode() + b"\nsub-01\ta\n", "line 2 has 2 cells"),
    ],
)
def test_no_table_is_said_to_be_none(tmp_path, content, said):
    path = tmp_path / "a.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_long_table(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_long_table(tmp_path / "none.tsv")


def test_a_side_that_is_none_and_a_row_of_nobody(tmp_path):
    side = [("01", "a", "1", "12", "TR", "both", "1", "2")]
    with pytest.raises(InputError, match="line 2 has 'both' for hemi"):
        read_long_table(write(tmp_path / "a.tsv", side))
    nobody = [("n/a", "a", "1", "12", "TR", "L", "1", "2")]
    with pytest.raises(InputError, match="line 2 has no participant_id"):
        read_long_table(write(tmp_path / "a.tsv", nobody))


def test_a_scan_table_needs_no_participant(tmp_path):
    wanted = columns("muscle", "hemi", "volume_ml", "mfi_percent")
    rows, header = wanted
    assert len(read_scan_table(write(tmp_path / "a.tsv", rows[:2], header))) == 2
    with pytest.raises(InputError, match=r"lines 2 and 4 \(TR_L\)"):
        read_scan_table(write(tmp_path / "b.tsv", rows, header))


# --- pairs -------------------------------------------------------------------------------------


def test_order_prefixes_and_further_columns_do_not_matter(tmp_path):
    first = write(tmp_path / "a.tsv")
    names = ("hemi", "muscle", "mfi_percent", "volume_ml", "run_id", "session_id", "participant_id")
    rows, header = columns(*names)
    other = [(*row[:-1], row[-1].removeprefix("sub-"), "x") for row in reversed(rows)]
    other = [(*row[:4], "01", *row[5:]) for row in other]  # run 01 is run 1
    paired = pair(tmp_path, first, write(tmp_path / "b.tsv", other, (*header, "note")))
    assert list(paired.rows["found_in"]) == ["both"] * 3
    assert paired.ignored_keys == ()
    assert list(paired.rows["mfi_percent_reference"][:1]) == [20.0]
    same = paired.rows["mfi_percent_reference"].equals(
        paired.rows["mfi_percent_compared"].rename("mfi_percent_reference")
    )
    assert same


@pytest.mark.parametrize("gone", ["session_id", "run_id"])
@pytest.mark.parametrize("how", ["absent", "n/a"])
def test_an_identifier_of_one_table_only_is_not_used(tmp_path, gone, how):
    first = write(tmp_path / "a.tsv")
    if how == "absent":
        second = write(tmp_path / "b.tsv", *columns(*(name for name in HEADER if name != gone)))
    else:
        place = HEADER.index(gone)
        rows = [(*row[:place], "n/a", *row[place + 1 :]) for row in ROWS]
        second = write(tmp_path / "b.tsv", rows)
    for paths in ((first, second), (second, first)):
        paired = pair(tmp_path, *paths)
        assert paired.ignored_keys == (gone,)
        assert list(paired.rows["found_in"]) == ["both"] * 3


def test_sessions_that_the_other_table_cannot_tell_apart_are_refused(tmp_path):
    first = write(tmp_path / "a.tsv", [*ROWS, ("sub-01", "b", "1", "12", "TR", "L", "10", "20")])
    names = [name for name in HEADER if name != "session_id"]
    second = write(tmp_path / "b.tsv", *columns(*names))
    with pytest.raises(InputError, match=r"a\.tsv: lines 2 and 5 .*no session_id"):
        pair(tmp_path, first, second)


def test_two_rows_of_one_muscle_are_refused(tmp_path):
    twice = write(tmp_path / "a.tsv", [*ROWS, ROWS[1]])
    with pytest.raises(InputError, match=r"a\.tsv: lines 3 and 5 \(sub-01 ses-a run-1 TR_R\)"):
        pair(tmp_path, twice, write(tmp_path / "b.tsv"))


def test_rows_of_one_table_only_are_named(tmp_path):
    extra = ("sub-03", "a", "1", "12", "TR", "L", "10", "20")
    paired = pair(
        tmp_path, write(tmp_path / "a.tsv"), write(tmp_path / "b.tsv", [*ROWS[1:], extra])
    )
    assert paired.list_unpaired("reference") == ("sub-01 ses-a run-1: TR_L",)
    assert paired.list_unpaired("compared") == ("sub-03 ses-a run-1: TR_L",)
    assert (paired.rows["found_in"] == "both").sum() == 2


def test_tables_without_a_common_row_are_refused(tmp_path):
    other = [("sub-09", *row[1:]) for row in ROWS[:2]]
    with pytest.raises(InputError, match=r"sub-01 ses-a run-1 TR_L, the second sub-09"):
        pair(tmp_path, write(tmp_path / "a.tsv"), write(tmp_path / "b.tsv", other))


def with_cell(column, change):
    place = HEADER.index(column)
    return [(*row[:place], change(row[place]), *row[place + 1 :]) for row in ROWS]


@pytest.mark.parametrize(
    ("column", "cell", "other"),
    [
        ("participant_id", "01", "1"),
        ("participant_id", "01", "1.0"),
        ("participant_id", "sub-P1", "p1"),
        ("session_id", "1", "1.0"),
        ("session_id", "1", "01"),
        ("session_id", "ses-PRE", "ses-pre"),
        ("participant_id", "100000", "1.00E+05"),
        ("participant_id", "MAR1", "1-Mar"),
        ("participant_id", "P01", "P1"),
        ("participant_id", "P1", "P_1"),
    ],
)
def test_identifiers_that_a_spreadsheet_changed_are_refused(tmp_path, column, cell, other):
    """Also where some rows still find a partner."""
    more = ("sub-18", "9", "1", "12", "TR", "L", "10", "20")
    tables = [
        write(tmp_path / name, [*with_cell(column, lambda old, new=new: new)[:2], more])
        for name, new in (("a.tsv", cell), ("b.tsv", other))
    ]
    with pytest.raises(InputError, match=r"sub-\S+ ses-\S+ run-1 against sub-.*as text"):
        pair(tmp_path, *tables)


def test_participants_that_are_nearly_the_same_are_ambiguous(tmp_path):
    rows = [*ROWS, ("sub-1", "a", "1", "12", "TR", "L", "10.5", "20")]
    with pytest.raises(InputError, match=r"a\.tsv: .*sub-01 and sub-1 "):
        pair(tmp_path, write(tmp_path / "a.tsv", rows), write(tmp_path / "b.tsv"))


# --- labels ------------------------------------------------------------------------------------


def write_labels(path, header, *rows):
    path.write_text("\n".join(["\t".join(header), *("\t".join(row) for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (("index", "name", "muscle", "hemi"), ("12", "x", "TR", "L")),
        (("index", "name", "abbreviation"), ("12", "x", "TR_L")),
        (("index", "name"), ("12", "left_trapezius")),
    ],
)
def test_labels_are_known_by_what_the_table_has(tmp_path, header, row):
    background = ("0", "background", *["n/a"] * (len(header) - 2))
    (found,) = read_label_table(write_labels(tmp_path / "dseg.tsv", header, background, row))
    assert (found.index, found.muscle, found.hemi) == (12, "TR", "L")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("12", "hyoid", "n/a", "L")], "names no muscle and side"),
        ([("12", "x", "n/a", "n/a")], "names no muscle,"),
        ([("12", "x", "TR", "L"), ("12", "y", "TR", "R")], "index 12 is on two lines"),
        ([("12", "x", "TR", "L"), ("13", "y", "TR", "L")], "muscle TR_L is on two lines"),
        ([("twelve", "x", "TR", "L")], "expected a whole number"),
        ([("40000", "x", "TR", "L")], "up to 32767"),
        ([("12", "right_trapezius", "TR", "L")], "right_trapezius has L as its side"),
        ([("12", "Trapezius, left", "TR", "right")], "left has right as its side"),
    ],
)
def test_doubtful_labels_are_refused(tmp_path, rows, said):
    path = write_labels(tmp_path / "dseg.tsv", ("index", "name", "muscle", "hemi"), *rows)
    with pytest.raises(InputError, match=said):
        read_label_table(path)


@pytest.mark.parametrize("color", ["red", "n/a", "#f00", "255,0,0", ""])
def test_a_color_that_is_none_is_replaced(tmp_path, color):
    header = ("index", "name", "muscle", "hemi", "color")
    rows = (("12", "x", "TR", "L", color), ("11", "y", "TR", "R", "#00FF7f"))
    table = read_label_table(write_labels(tmp_path / "dseg.tsv", header, *rows))
    assert [muscle.color for muscle in table] == ["#00FF7f", "#808080"]


def test_different_numberings_are_refused(tmp_path):
    header, paths = ("index", "name", "muscle", "hemi"), (tmp_path / "a.tsv", tmp_path / "b.tsv")
    swapped = read_label_table(write_labels(paths[0], header, ("11", "x", "TR", "L")))
    with pytest.raises(InputError, match="label 11 for TR_L"):
        check_same_labels(swapped, WEBER2021, paths)
    moved = read_label_table(write_labels(paths[0], header, ("99", "x", "TR", "L")))
    with pytest.raises(InputError, match="label 99 for TR_L"):
        check_same_labels(moved, WEBER2021, paths)
    check_same_labels(WEBER2021, WEBER2021, paths)
