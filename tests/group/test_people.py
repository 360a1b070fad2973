"""What the tables of participants and sessions say, and what is said about them; no measures."""

import json
import math
import os
import re
import threading

import pytest

from bids_mfi.errors import InputError
from bids_mfi.group.people import read_people

VISITS = [(f"sub-0{number}", "n/a") for number in (1, 2, 3, 4)]
TWO = [(f"sub-0{number}", f"ses-0{visit}") for number in (1, 2) for visit in (1, 2)]
HEADER = ("participant_id", "sex", "age", "bmi")
ROWS = [
    ("sub-01", "F", "30", "22"), ("sub-02", "M", "40", "24"),
    ("sub-03", "F", "50", "26"), ("sub-04", "M", "60", "28"),
]  # fmt: skip


def write(path, rows, header=HEADER, **sidecar):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in (header, *rows)))
    if sidecar:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def write_people(root, rows=ROWS, header=HEADER, **sidecar):
    return write(root / "participants.tsv", rows, header, **sidecar)


def write_sessions(root, person, rows, header=("session_id", "age"), **sidecar):
    return write(root / person / f"{person}_sessions.tsv", rows, header, **sidecar)


def read(root, visits=VISITS, **options):
    """Table, and all findings as one text, a line each with its severity and names."""
    people = read_people(root, None, visits, **options)
    said = [f"{one.severity}: {one.text} [{', '.join(one.names)}]" for one in people.findings]
    return people.table, "\n".join(said)


def with_cells(column, *cells):
    place = HEADER.index(column)
    return [(*row[:place], cell, *row[place + 1 :]) for row, cell in zip(ROWS, cells, strict=True)]


def test_sound_tables_give_no_finding(tmp_path):
    write_people(tmp_path)
    table, said = read(tmp_path)
    assert table["age"].tolist() == [30, 40, 50, 60]
    assert table["sex"].tolist() == ["F", "M", "F", "M"]
    assert said == ""


# --- sessions that do not fit ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scan", "line"),
    [("ses-01", "1"), ("ses-01", "ses-1"), ("ses-01", "1.0"), ("ses-pre", "Pre"),
     ("ses-pre", "ses-PRE"), ("ses-t1", "t-1"), ("ses-v01", "v 1"), ("ses-1MAR", "1-Mar"),
     ("ses-1", "session 1"), ("ses-100000", "1.00E+05")],
)  # fmt: skip
def test_a_session_spelled_otherwise_is_named_and_its_values_are_missing(scan, line, tmp_path):
    write_people(tmp_path)
    write_sessions(tmp_path, "sub-01", [(line, 33, 70)], ("session_id", "age", "weight"))
    table, said = read(tmp_path, [("sub-01", scan), ("sub-02", scan)])
    spelled = re.escape(line.removeprefix("ses-"))
    assert re.search(
        rf"warning: .*another spelling \(1\).*\[sub-01_{scan} \(ses-{spelled} in", said
    )
    assert math.isnan(table.loc[("sub-01", scan), "age"])
    assert math.isnan(table.loc[("sub-01", scan), "bmi"])
    assert table.loc[("sub-01", scan), "sex"] == "F"
    assert table.loc[("sub-02", scan)].tolist()[:3] == ["M", 40, 24]


@pytest.mark.parametrize("line", ["01", "ses-01", "SES-01", " 01 ", "\u200b01", "01\u00a0"])
def test_a_session_that_is_meant_is_joined(line, tmp_path):
    write_people(tmp_path)
    write_sessions(tmp_path, "sub-01", [(line, 33)])
    table, said = read(tmp_path, [("sub-01", "ses-01")])
    assert table["age"].tolist() == [33]
    assert "session" not in said


@pytest.mark.parametrize("name", ["session", "Session", "ses", "session id", "SESSION_ID"])
def test_the_column_of_the_session_may_have_another_name(name, tmp_path):
    write_people(tmp_path)
    write_sessions(tmp_path, "sub-01", [("01", 33)], (name, "age"))
    assert read(tmp_path, [("sub-01", "ses-01")])[0]["age"].tolist() == [33]


def test_sessions_of_one_side_only_are_named(tmp_path):
    write_people(tmp_path)
    write_sessions(tmp_path, "sub-01", [("01", 33), ("late", 35), ("n/a", 9)])
    table, said = read(tmp_path, TWO)
    assert table.loc["sub-01", "age"].tolist() == [33, 30]
    assert re.search(
        r"warning: Scans of a session for which sub-\*.*no line.*\(1\).*\[sub-01_ses-02", said
    )
    assert re.search(r"note: Sessions of .* without measures \(1\).*\[sub-01_ses-late\]", said)
    assert re.search(
        r"warning: Lines of .* without a session_id \(1\).*sub-01_sessions.tsv line 4", said
    )
    assert "ses-late" not in read(tmp_path, TWO, asked_sessions=["ses-01", "ses-02"])[1]


def test_a_table_of_sessions_of_scans_without_sessions_is_named(tmp_path):
    write_people(tmp_path)
    write_sessions(tmp_path, "sub-02", [("01", 33)])
    table, said = read(tmp_path)
    assert re.search(r"warning: .*whose scans have no session \(1\).*\[sub-02\]", said)
    assert table["age"].tolist() == [30, 40, 50, 60]


@pytest.mark.parametrize(
    "place",
    ["sub-1/sub-1_sessions.tsv", "sub-01/sub-1_sessions.tsv", "SUB-01/SUB-01_sessions.tsv",
     "sub-01/sub-01_Sessions.tsv", "sessions.tsv"],
)  # fmt: skip
def test_a_table_of_sessions_in_another_place_is_named(place, tmp_path):
    write_people(tmp_path)
    write(tmp_path / place, [("01", 33)], ("session_id", "age"))
    assert re.search(rf"warning: .*not read.*\[{place}\]", read(tmp_path, TWO)[1])


def test_sessions_in_the_table_of_participants_are_compared_too(tmp_path):
    header = (*HEADER, "session_id")
    base = [(*row, "n/a") for row in ROWS]
    more = [("sub-01", "n/a", 33, "n/a", "1"), ("sub-02", "n/a", 43, "n/a", "ses-02"),
            ("sub-02", "n/a", 49, "n/a", "later")]  # fmt: skip
    write_people(tmp_path, [*base, *more], header)
    table, said = read(tmp_path, TWO)
    assert re.search(
        r"warning: .*participants.tsv may have.*\[sub-01_ses-01 \(ses-1 in the table", said
    )
    assert math.isnan(table.loc[("sub-01", "ses-01"), "age"])
    assert table.loc["sub-02", "age"].tolist() == [40, 43]
    assert re.search(r"note: Sessions of participants.tsv without.*\[sub-02_ses-later\]", said)


def test_several_lines_with_a_column_session_are_lines_of_sessions(tmp_path):
    rows = [(*row[:2], int(row[2]) + visit, row[3], visit) for row in ROWS for visit in (1, 2)]
    write_people(tmp_path, rows, (*HEADER, "session"))
    table, said = read(tmp_path, [("sub-01", "ses-1"), ("sub-01", "ses-2")])
    assert table["age"].tolist() == [31, 32]
    assert "note: participants.tsv has several lines per participant" in said
    write_people(tmp_path, [(*row, "9") for row in ROWS], (*HEADER, "session"))
    assert read(tmp_path)[0]["session"].tolist() == [9] * 4


# --- units and codes ---------------------------------------------------------------------------

UNITS = [
    ("age", "months", 420, 35), ("age", "weeks", 1826.25, 35), ("age", "days", 12783.75, 35),
    ("age", "Years", 35, 35), ("age", "yr.", 35, 35), ("age", None, 35, 35), ("age", "", 35, 35),
    ("age", "n/a", 35, 35), ("age", "seconds", 35, None), ("age", 12, 35, None),
    ("age", ["years"], 35, None), ("age", {"a": 1}, 35, None), ("age", True, 35, None),
    ("bmi", "kg/m²", 22, 22), ("bmi", "kg/m^2", 22, 22), ("bmi", "kg m-2", 22, 22),
    ("bmi", "kilograms per square metre", 22, 22), ("bmi", "percentile", 22, None),
]  # fmt: skip


@pytest.mark.parametrize(("column", "unit", "given", "wanted"), UNITS)
def test_units_of_participants_are_read(column, unit, given, wanted, tmp_path):
    cells = {column: {"Units": unit}}
    write_people(tmp_path, with_cells(column, given, "n/a", "", given), **cells)
    table, said = read(tmp_path)
    check_unit(table[column], said, column, given, wanted)


def check_unit(values, said, column, given, wanted):
    if wanted is None:
        assert values.isna().all()
        assert f"{column} is treated as missing" in said
    else:
        assert values.iloc[0] == pytest.approx(wanted)
        assert (": converted." in said) == (given != wanted)


@pytest.mark.parametrize(("column", "unit", "given", "wanted"), UNITS)
@pytest.mark.parametrize("place", ["beside", "root", "both"])
def test_units_of_sessions_are_read_from_the_nearest_sidecar(
    place, column, unit, given, wanted, tmp_path
):
    write_people(tmp_path)
    entry = {column: {"Units": unit}}
    beside = {} if place == "root" else entry
    write_sessions(tmp_path, "sub-01", [("01", given)], ("session_id", column), **beside)
    if place != "beside":
        far = entry if place == "root" else {column: {"Units": "furlong"}}
        (tmp_path / "sessions.json").write_text(json.dumps(far))
    table, said = read(tmp_path, TWO)
    first = table.loc[("sub-01", "ses-01"), column]
    if wanted is None:
        assert f"The sidecar of sub-*_sessions.tsv gives the unit of {column}" in said
        assert f"{column} is treated as missing" in said
        assert first == float(ROWS[0][HEADER.index(column)])
    else:
        assert first == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("height", "weight", "units"),
    [(1.75, 70, ("m", "kg")), (68.897638, 154.323584, ("in", "lb")), (1750, 70000, ("mm", "g")),
     (175, 11.0231131, ("cm", "stones")), (5.7414698, 154.323584, ("feet", "pounds"))],
)  # fmt: skip
def test_a_bmi_comes_from_height_and_weight_in_their_units(height, weight, units, tmp_path):
    header = ("participant_id", "sex", "age", "height", "weight")
    sidecar = {"height": {"Units": units[0]}, "weight": {"Units": units[1]}}
    rows = [(*row[:3], 175, 60) for row in ROWS]
    write_people(tmp_path, rows, header)
    write_sessions(tmp_path, "sub-01", [("01", height, weight)], ("session_id", "height", "weight"),
                   **sidecar)  # fmt: skip
    table, _ = read(tmp_path, TWO)
    assert table.loc[("sub-01", "ses-01"), "bmi"] == pytest.approx(70 / 1.75**2)
    assert table.loc[("sub-01", "ses-02"), "bmi"] == pytest.approx(60 / 1.75**2)


def test_a_cell_may_name_its_unit(tmp_path):
    header = ("participant_id", "sex", "age", "height", "weight")
    rows = [
        ("sub-01", "F", "30 y", "1.75 m", "154.323584 lb"),
        ("sub-02", "F", "480 months", "175 cm", "70kg"),
        ("sub-03", "F", "034Y", "5'9\"", "70"),
        ("sub-04", "F", "30", "175", "70 stn"),
    ]
    write_people(tmp_path, rows, header)
    table, said = read(tmp_path)
    assert table["age"].tolist() == [30, 40, 34, 30]
    assert table["bmi"].tolist()[:2] == pytest.approx([70 / 1.75**2] * 2)
    assert table["bmi"].isna().tolist() == [False, False, True, True]
    assert "sub-03: 5'9" in said
    assert "sub-04: 70 stn" in said


def test_the_unit_of_participants_counts_for_sessions_without_one(tmp_path):
    header = ("participant_id", "sex", "age", "height", "weight")
    rows = [(*row[:3], 175, 154.323584) for row in ROWS]
    write_people(tmp_path, rows, header, weight={"Units": "lb"})
    write_sessions(tmp_path, "sub-01", [("01", 176.369810)], ("session_id", "weight"))
    table, said = read(tmp_path, TWO)
    assert table.loc["sub-01", "bmi"].tolist() == pytest.approx([80 / 1.75**2, 70 / 1.75**2])
    assert "that of the participants' sidecar, lb, is used for" in said


@pytest.mark.parametrize(
    ("levels", "cells"),
    [({"1": "male", "2": "female"}, "2121"), ({"0": "Male", "1": "Female"}, "1010"),
     ({"1": {"Description": "male"}, "2": {"Description": "female sex"}}, "2121"),
     ({"1": {"TermURL": "x", "Label": "Man"}, "2": {"Label": "Woman"}}, ("2.0", "1.0", "2", "1")),
     ({"M": "mujer", "H": "hombre"}, "MHMH"), ({"m": "weiblich", "f": "männlich"}, "MFMF")],
)  # fmt: skip
@pytest.mark.parametrize("place", ["participants", "sessions"])
def test_levels_explain_codes_of_sex(place, levels, cells, tmp_path):
    sidecar = {"sex": {"Levels": levels}}
    if place == "participants":
        write_people(tmp_path, with_cells("sex", *cells), **sidecar)
        visits = VISITS
    else:
        write_people(tmp_path, with_cells("sex", *["n/a"] * 4))
        (tmp_path / "sessions.json").write_text(json.dumps(sidecar))
        for (person, *_), cell in zip(ROWS, cells, strict=True):
            write_sessions(tmp_path, person, [("a", cell)], ("session_id", "sex"))
        visits = [(person, "ses-a") for person, *_ in ROWS]
    table, said = read(tmp_path, visits)
    assert table["sex"].tolist() == ["F", "M", "F", "M"]
    assert "neither F nor M" not in said


@pytest.mark.parametrize(
    "levels",
    [{"1": {"Description": {"en": "male"}}}, {"1": ["male"]}, {"1": None}, {"1": 5}, ["male"], 5,
     None, "male", {"1": {"Description": "male or female"}}, {"1": {}}],
)  # fmt: skip
def test_levels_that_explain_nothing_are_no_obstacle(levels, tmp_path):
    write_people(tmp_path, with_cells("sex", *"1F1F"), sex={"Levels": levels})
    table, said = read(tmp_path)
    assert table["sex"].tolist() == [None, "F", None, "F"]
    assert "neither F nor M (or female, male) (2)" in said


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [(("Male", "m", "männlich", "HOMME"), "MMMM"), (("weiblich", "W", "Frau", "femme"), "FFFF"),
     (("M", "H", "M", "h"), [None] * 4), (("M", "F", "H", "M"), ["M", "F", None, "M"]),
     (("0", "1", "2", "x"), [None] * 4)],
)  # fmt: skip
def test_words_for_sex(cells, wanted, tmp_path):
    write_people(tmp_path, with_cells("sex", *cells))
    table, said = read(tmp_path)
    assert table["sex"].tolist() == list(wanted)
    assert said.count("neither F nor M") == (None in list(wanted))


@pytest.mark.parametrize(
    ("content", "said"),
    [("[1, 2]", "not contain a JSON object"), ("{", "cannot be read"),
     ("[" * 100_000, "nested too deeply"), ('{"a": 1' + "0" * 5000 + "}", "cannot be read"),
     ("null", "not contain a JSON object"),
     ('{"age": []}', "does not describe age with a JSON object"), ("é", "cannot be read")],
)  # fmt: skip
@pytest.mark.parametrize(
    "place", ["participants.json", "sessions.json", "sub-01/sub-01_sessions.json"]
)
def test_damaged_sidecars_are_named(place, content, said, tmp_path):
    write_people(tmp_path)
    write_sessions(tmp_path, "sub-01", [("01", 33)])
    (tmp_path / place).write_text(content, encoding="latin-1")
    table, found = read(tmp_path, TWO)
    assert re.search(rf"warning: {re.escape(place.split('/')[-1])} .*{said}", found)
    assert table["age"].tolist() == [33, 30, 40, 40]


# --- spreadsheets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "cell"),
    [("participant_id", "SUB-01"), ("participant_id", "sub-\u200b01"), ("Participant_ID", "01"),
     ("participant", "sub-01"), ("subject", "01"), ("sub", "sub-01\u00a0"), ("Subject ID", "01")],
)  # fmt: skip
def test_harmless_spellings_of_the_participant_are_joined(header, cell, tmp_path):
    write_people(tmp_path, [(cell, *ROWS[0][1:]), *ROWS[1:]], (header, *HEADER[1:]))
    table, said = read(tmp_path)
    assert table["age"].tolist() == [30, 40, 50, 60]
    assert said == ""


@pytest.mark.parametrize(
    ("scan", "cell"),
    [("sub-100000", "1E5"), ("sub-100000", "1.00E+05"), ("sub-MAR1", "1-Mar"), ("sub-01", "1"),
     ("sub-P01", "P1"), ("sub-P1", "p1"), ("sub-A1", "A_1"), ("sub-A1", "A 1"), ("sub-7", "7.0"),
     ("sub-01", "subject-01"), ("sub-01", "sub_01")],
)  # fmt: skip
def test_an_identifier_that_a_spreadsheet_changed_is_pointed_out(scan, cell, tmp_path):
    write_people(tmp_path, [(cell, *ROWS[0][1:]), *ROWS[1:]])
    table, said = read(tmp_path, [(scan, "n/a"), *VISITS[1:]])
    assert math.isnan(table.loc[(scan, "n/a"), "age"])
    assert f"{scan} (sub-{cell} in the table?)" in said
    assert (f"[sub-{cell}]" in said.split("Identifiers of")[-1]) or cell.isalnum()


def test_lines_of_nobody_are_named(tmp_path):
    write_people(tmp_path, [*ROWS, ("n/a", "F", "33", "20"), ("", "", "", "")])
    assert re.search(
        r"warning: Lines of .* without a participant_id \(1\).*\[line 6\]", read(tmp_path)[1]
    )


@pytest.mark.parametrize("cell", ["89+", "89 +", ">89", ">= 89", "≥89"])
def test_the_age_of_the_oldest_is_its_lower_limit(cell, tmp_path):
    write_people(tmp_path, with_cells("age", "30", "40", "50", cell))
    table, said = read(tmp_path)
    assert table["age"].tolist() == [30, 40, 50, 89]
    assert re.search(r"note: Ages with only a lower limit.*\(1\).*\[sub-04: ", said)


@pytest.mark.parametrize(
    "cell",
    ["999", "-9", "-", "34,5", "1985-03-04", "20-29", "12775", "²", "1_0", "inf", "9" * 5000,
     "-34", "1e400", "x" * 200_000, "+", "200+"],
)  # fmt: skip
@pytest.mark.parametrize("column", ["age", "bmi"])
def test_what_is_no_value_is_missing_and_named_shortly(column, cell, tmp_path):
    write_people(tmp_path, with_cells(column, cell, "22", "23", "24"))
    table, said = read(tmp_path)
    assert table[column].isna().tolist() == [True, False, False, False]
    assert re.search(rf"warning: Values of {column} that are not numbers from .*\[sub-01: ", said)
    assert len(said) < 1000


@pytest.mark.parametrize("cell", ["n/a", "NA", "n.a.", "N.A.", "#N/A", "#VALUE!", "NULL", ""])
def test_words_for_nothing(cell, tmp_path):
    write_people(tmp_path, with_cells("age", cell, "40", "50", "60"))
    table, said = read(tmp_path)
    assert math.isnan(table["age"].iloc[0])
    assert "Participants without age in the table (1): missing. [sub-01]" in said


@pytest.mark.parametrize(
    ("cells", "kind", "said"),
    [(("1", "2", "n/a", "4"), "f", ""),
     (("1", "2", "-", "4"), "f", r"treated as missing.*sub-03: -"),
     (("1", "2", "3,5", "4"), "O", r"read as text.*sub-03: 3,5"),
     (("1", "2", "l0", "4"), "O", r"read as text.*sub-03: l0"),
     (("1", "2", "999", "4"), "f", r"codes for missing values \(1\).*sub-03: 999"),
     (("10", "20", "-9", "30"), "f", r"codes for missing values \(1\).*sub-03: -9"),
     (("-10", "20", "-9", "30"), "f", ""), (("80", "90", "99", "85"), "f", ""),
     (("a", "b", "-", "1"), "O", ""), (("1", "2", "inf", "4"), "O", r"read as text.*sub-03: inf")],
)  # fmt: skip
def test_further_columns_are_doubted(cells, kind, said, tmp_path):
    rows = [(*row, cell) for row, cell in zip(ROWS, cells, strict=True)]
    write_people(tmp_path, rows, (*HEADER, "score"))
    table, found = read(tmp_path)
    assert (table["score"].dtype.kind == "f") == (kind == "f")
    assert re.search(said, found) if said else found == ""


@pytest.mark.parametrize(("bmi", "named"), [("22", True), ("22.5", False), ("23.2", False)])
def test_a_bmi_that_height_and_weight_contradict_is_named(bmi, named, tmp_path):
    rows = [(*row[:3], bmi, "170", "66") if n == 0 else (*row, "n/a", "n/a")
            for n, row in enumerate(ROWS)]  # fmt: skip
    rows[0] = (*rows[0][:5], "72" if named else "66")
    write_people(tmp_path, rows, (*HEADER, "height", "weight"))
    table, said = read(tmp_path)
    assert table["bmi"].iloc[0] == float(bmi)
    assert ("BMI that height and weight contradict (1)" in said) == named


def test_values_that_do_not_fit_together_are_named(tmp_path):
    write_people(tmp_path)
    header = ("session_id", "age", "bmi", "sex")
    write_sessions(tmp_path, "sub-01", [("01", 30, 22, "F"), ("02", 31, 48, "M")], header)
    write_sessions(tmp_path, "sub-02", [("01", 2, 24, "M"), ("02", 40, 25, "M")], header)
    _, said = read(tmp_path, TWO)
    assert re.search(r"another sex in another session \(1\).*\[sub-01\]", said)
    assert re.search(r"BMI differs .* \(1\).*\[sub-01: 22 and 48\]", said)
    assert re.search(r"age differs .* \(1\).*\[sub-02: 2 and 40\]", said)


def test_a_cohort_in_pounds_and_newborn_adults_are_doubted(tmp_path):
    header = ("participant_id", "sex", "age", "height", "weight")
    rows = [(f"sub-{n}", "F", 30 * (n > 1), 170, 140 + n) for n in range(1, 7)]
    write_people(tmp_path, rows, header)
    _, said = read(tmp_path, [(row[0], "n/a") for row in rows])
    assert re.search(r"warning: The median BMI is 49\.7 kg/m\^2", said)
    assert re.search(r"warning: Ages of 0 among adults \(1\).*\[sub-1\]", said)


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["participants.tsv", "participants.json", "sub-01/sub-01_sessions.tsv",
     "sub-01/sub-01_sessions.json"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "folder", "lost link"])
def test_what_is_no_file_ends_and_is_named(kind, name, tmp_path):
    write_people(tmp_path)
    write_sessions(tmp_path, "sub-01", [("01", 33)])
    path = tmp_path / name
    path.unlink(missing_ok=True)
    {"pipe": os.mkfifo, "folder": os.mkdir, "lost link": lambda p: p.symlink_to("gone")}[kind](path)
    found = []
    thread = threading.Thread(target=lambda: found.append(_try(tmp_path)), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert path.name in found[0]
    assert "cannot be read" in found[0]


def _try(root):
    try:
        return read(root, TWO)[1]
    except InputError as error:
        return str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"participant_id\tage\n", "no rows"), (b"a,b\n1,2\n", "commas"),
     (b"participant_id\tage\tAge\n1\t2\t3\n", "age and Age"),
     (b"age\n3\n", "no column participant_id"),
     (b"participant_id\tage\nsub-01\t3\t4\n", "line 2 has 3 cells"),
     (b"participant_id\tsex\nsub-01\tm\xe4nnlich\n", "not UTF-8 text from line 2")],
)  # fmt: skip
def test_a_table_that_is_none_is_refused(content, said, tmp_path):
    (tmp_path / "participants.tsv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read(tmp_path)
    write_people(tmp_path)
    path = tmp_path / "sub-01" / "sub-01_sessions.tsv"
    path.parent.mkdir()
    path.write_bytes(content.replace(b"participant", b"session"))
    assert re.search(rf"Tables of sessions that cannot be read \(1\).*{said}".replace(
        "participant", "session"), read(tmp_path, TWO)[1])  # fmt: skip
