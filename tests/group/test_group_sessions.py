"""The order of sessions: what says it, what goes before what, and the words that follow it."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from group_folder import make_group_folder, write_tsv
from test_group_run import make_muscles, read, run

from bids_mfi.errors import InputError
from bids_mfi.group.session_order import order_sessions

pytestmark = pytest.mark.usefixtures("no_figures")
PEOPLE = ("sub-1", "sub-2", "sub-3")


def visits_of(*sessions):
    return [(person, f"ses-{name}") for person in PEOPLE for name in sessions]


def listed_of(*sessions, people=PEOPLE, **columns):
    """Lines of the sessions' tables, in this order, with the cells of each line."""
    return {
        (person, f"ses-{name}"): {key: cells[i] for key, cells in columns.items()}
        for person in people
        for i, name in enumerate(sessions)
    }


def order(sessions, listed=None, bids_dir=Path("/nowhere"), **options):
    found = order_sessions(visits_of(*sessions), listed or {}, bids_dir, **options)
    return [name.removeprefix("ses-") for name in found.sessions], found


@pytest.mark.parametrize(
    ("sessions", "expected", "reason"),
    [
        (("10", "2", "1"), ["1", "2", "10"], "numbers"),
        (("M12", "M6", "M00"), ["M00", "M6", "M12"], "numbers"),
        (("20210301", "20190105"), ["20190105", "20210301"], "numbers"),
        (("post", "pre"), ["pre", "post"], "pre before post"),
        (("followup", "baseline"), ["baseline", "followup"], "baseline before followup"),
        (("after", "before"), ["before", "after"], "before before after"),
        (("PostOp", "PreOp"), ["PreOp", "PostOp"], "pre before post"),
        (("postA", "preB"), ["postA", "preB"], "the alphabet"),
        (("spring", "autumn"), ["autumn", "spring"], "the alphabet"),
        (("pre", "post", "late"), ["late", "post", "pre"], "the alphabet"),
    ],
)
def test_labels_say_the_order_where_nothing_else_does(sessions, expected, reason):
    names, found = order(sessions)
    assert names == expected
    assert reason in found.reason
    assert [finding.severity for finding in found.findings] == ["warning"] * (
        reason == "the alphabet"
    )


def test_what_says_the_order_goes_before_what():
    lines = listed_of("b", "a", "c")
    times = listed_of("b", "a", "c", acq_time=["2020-03-01", "2020-05-01", "2020-01-01T10:00:00Z"])
    names = ("a", "b", "c")
    assert order(names)[0] == ["a", "b", "c"]
    assert order(names, lines)[0] == ["b", "a", "c"]
    assert order(names, times)[0] == ["c", "b", "a"]
    assert order(names, times, asked=("ses-a", "c", "b"))[0] == ["a", "c", "b"]
    assert "sessions.tsv" in order(names, lines)[1].reason
    assert "acq_time" in order(names, times)[1].reason
    assert order(names, times, asked=("a", "c", "b"))[1].reason == "--session-order"


def test_a_table_sorted_by_its_labels_says_no_more_than_the_labels():
    assert order(("1", "2", "10"), listed_of("1", "10", "2"))[0] == ["1", "2", "10"]
    assert order(("pre", "post"), listed_of("post", "pre"))[0] == ["pre", "post"]
    assert order(("1", "2"), listed_of("2", "1"))[0] == ["2", "1"]
    names, found = order(("a", "b"), listed_of("a", "b"))
    assert (names, found.reason, found.findings) == (["a", "b"], "the lines of sessions.tsv", ())


@pytest.mark.parametrize("cell", ["n/a", "", "yesterday", "2020-02-30", "9" * 5000, "24:00"])
def test_times_that_are_none_say_nothing(cell):
    listed = listed_of("a", "b", acq_time=[cell, cell])
    assert order(("a", "b"), listed)[1].reason == "the lines of sessions.tsv"


def test_equal_times_and_a_tie_say_nothing():
    same = listed_of("b", "a", acq_time=["2020-01-01", "2020-01-01"])
    assert order(("a", "b"), same)[1].reason == "the lines of sessions.tsv"
    tie = listed_of("b", "a", people=["sub-1"]) | listed_of("a", "b", people=["sub-2"])
    assert order(("a", "b"), tie)[1].reason == "the alphabet"


def test_who_departs_from_the_order_of_most_is_named():
    most = listed_of("b", "a", people=["sub-1", "sub-2", "sub-4"])
    names, found = order(("a", "b"), most | listed_of("a", "b", people=["sub-3"]))
    assert names == ["b", "a"]
    assert found.findings[0].names == ("sub-3",)
    assert "not in the order of most" in found.findings[0].text


def test_incomplete_times_do_not_order_all():
    listed = listed_of("c", "a", "b", acq_time=["2020-01-01", "2020-02-01", "n/a"])
    assert order(("a", "b", "c"), listed)[0] == ["c", "a", "b"]
    assert "lines" in order(("a", "b", "c"), listed)[1].reason


def test_tables_of_scans_and_of_the_whole_study_count(tmp_path):
    write_tsv(pd.DataFrame({"session_id": ["ses-x", "b", "a"]}), tmp_path / "sessions.tsv")
    assert order(("a", "b", "x"), bids_dir=tmp_path)[0] == ["x", "b", "a"]
    for person, session in visits_of("a", "b", "x"):
        folder = tmp_path / person / session
        folder.mkdir(parents=True)
        day = {"ses-a": 2, "ses-b": 3, "ses-x": 1}[session]
        times = [f"2020-01-0{day}T12:00:00.000000", "n/a", f"2020-01-0{day}T08:00:00"]
        table = pd.DataFrame({"filename": ["anat/1", "anat/2", "anat/3"], "acq_time": times})
        write_tsv(table, folder / f"{person}_{session}_scans.tsv")
    names, found = order(("a", "b", "x"), bids_dir=tmp_path)
    assert (names, found.reason) == (["x", "a", "b"], "the acq_time of the scans")


@pytest.mark.parametrize("content", ["", "session_id\n", "a\tb\n1\n", "filename\nx\n", "\0"])
def test_damaged_tables_say_nothing(tmp_path, content):
    (tmp_path / "sessions.tsv").write_text(content)
    folder = tmp_path / "sub-1" / "ses-a"
    folder.mkdir(parents=True)
    (folder / "sub-1_ses-a_scans.tsv").write_text(content)
    assert order(("a", "b"), bids_dir=tmp_path)[1].reason == "the alphabet"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("a",), "leaves out ses-b"),
        (("b", "a", "b"), "names ses-b twice"),
        (("c",), "ses-a, ses-b"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(asked, found):
    with pytest.raises(InputError, match=found):
        order(("a", "b"), asked=asked)


def test_sessions_of_the_option_without_scans_are_passed_over():
    names, found = order(("a", "b"), asked=("b", "z", "a"))
    assert names == ["b", "a"]
    assert found.findings[0].names == ("ses-z",)


# --- through the command line ------------------------------------------------------------------


@pytest.fixture
def people():
    from test_group_run import make_people

    return make_people(12)


def lay_out(tmp_path, people, *sessions, listed=None):
    """Each session 3 % higher than the one before it in ``sessions``."""
    parts = []
    for number, name in enumerate(sessions):
        part = make_muscles(people, seed=number).assign(session_id=f"ses-{name}")
        part["mfi"] += 3 * number
        parts.append(part)
    table = None
    if listed:
        rows = [(person, f"ses-{name}") for person in people["participant_id"] for name in listed]
        table = pd.DataFrame(rows, columns=["participant_id", "session_id"])
    return make_group_folder(tmp_path, pd.concat(parts), people, table)


def directions(folders):
    table = read(folders, "change")
    return list(dict.fromkeys(zip(table["session_from"], table["session_to"], strict=True)))


def page_of(folders):
    return (folders[1] / "group.html").read_text()


def test_pre_and_post_run_from_pre_to_post(people, tmp_path, capsys):
    folders = lay_out(tmp_path, people, "pre", "post")
    assert run(folders) == 0
    assert "Session ses-pre was analysed" in capsys.readouterr().err
    assert directions(folders) == [("ses-pre", "ses-post")]
    assert (read(folders, "change")["mean_change"] > 1).all()
    page = page_of(folders)
    assert "ses-post minus the earlier ses-pre, by paired t-test" in page
    assert (
        "Change between sessions (ses-post minus the earlier ses-pre; order of the sessions" in page
    )
    assert "ses-pre, ses-post (by their names, pre before post)" in page
    sidecar = json.loads((folders[1] / "group_change.json").read_text())
    assert sidecar["SessionOrder"] == ["ses-pre", "ses-post"]


def test_the_session_asked_for_is_the_reference(people, tmp_path, capsys):
    folders = lay_out(tmp_path, people, "spring", "autumn")
    assert run(folders) == 0
    assert directions(folders) == [("ses-autumn", "ses-spring")]
    said = capsys.readouterr().err
    assert re.search(r"warning: Sessions ordered by the alphabet.*--session-order", said)
    assert run(folders, "--session", "spring") == 0
    assert directions(folders) == [("ses-spring", "ses-autumn")]
    assert "the alphabet" not in capsys.readouterr().err
    assert "ses-autumn minus the earlier ses-spring" in page_of(folders)
    assert run(folders, "--session-order", "spring,autumn") == 0
    assert directions(folders) == [("ses-spring", "ses-autumn")]
    assert "Session ses-spring was analysed" in capsys.readouterr().err


def test_a_reference_after_all_others_is_called_later(people, tmp_path):
    folders = lay_out(tmp_path, people, "1", "2")
    assert run(folders, "--session", "2") == 0
    assert directions(folders) == [("ses-2", "ses-1")]
    assert (read(folders, "change")["mean_change"] < -1).all()
    page = page_of(folders)
    assert "ses-1 minus the later ses-2, by paired t-test" in page
    drawn = json.loads(re.search(r'id="group-data">(.*?)</script>', page)[1])["change"]
    assert (drawn["sessions"], drawn["from"]) == (["ses-1", "ses-2"], "ses-2")


def test_the_lines_of_the_sessions_tables_order_three(people, tmp_path):
    folders = lay_out(tmp_path, people, "x", "a", "m", listed=["x", "a", "m"])
    assert run(folders) == 0
    assert directions(folders) == [("ses-x", "ses-a"), ("ses-x", "ses-m")]
    assert "ses-a and ses-m each minus the earlier ses-x" in page_of(folders)
    assert run(folders, "--session", "a") == 0
    assert directions(folders) == [("ses-a", "ses-m")]
    assert run(folders, "--session-order", "m,x") == 3
