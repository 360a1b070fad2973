"""When pages are written: each once, when the scans of its participant have ended."""

import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import write_description, write_scan
from forked_runs import ForkedRun

from bids_mfi.cli.app import main
from bids_mfi.options import RunOptions
from bids_mfi.participant import pages
from bids_mfi.participant.workflow import run_participants

pytestmark = pytest.mark.usefixtures("quick_figures")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(tmp_path):
    """Three participants: two sessions of 01, one scan of 02 that fails, one of 03."""
    bids_dir = tmp_path / "in"
    write_description(bids_dir)
    for session in "ab":
        write_scan(bids_dir, "01", session, seed=1)
    for path in write_scan(bids_dir, "02", seed=2):
        path.write_bytes(path.read_bytes()[:-500])  # ends early; found when it is read
    write_scan(bids_dir, "03", seed=3)
    return bids_dir


def pages_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.html"))}


NAMES = ["sub-01_ses-a.html", "sub-01_ses-b.html", "sub-02.html", "sub-03.html"]


@pytest.mark.slow
def test_each_page_is_written_once_and_when_the_scans_have_ended(
    study, tmp_path, tiny_bundle, monkeypatch
):
    """A second run, which measures nothing more, writes the same bytes at its end."""
    out, events = tmp_path / "out", []
    write = pages.write_atomically

    def note(path, data):
        events.append(path.name)
        write(path, data)

    monkeypatch.setattr(pages, "write_atomically", note)
    options = RunOptions(study, out, "participant", bundle=tiny_bundle, nprocs=1, device="cpu")
    summary = run_participants(options, lambda scan, step, status: events.append((scan, step)))
    assert [path.name for path in summary.pages] == NAMES
    assert sorted(event for event in events if isinstance(event, str)) == NAMES
    last = {scan: n for n, (scan, *_) in enumerate(events) if scan.startswith("sub-")}
    first = pages_of(out)
    begun = events.index(("sub-03_acq-dixon", "Resample"))
    assert max(map(events.index, NAMES[:2])) < begun, "before the next participant's scan"
    assert events.index("sub-02.html") < last["sub-03_acq-dixon"]
    assert b"the data end early" in first["sub-02.html"]
    assert [failure.scan for failure in summary.failed] == ["sub-02_acq-dixon"]
    events.clear()
    again = run_participants(options, lambda *_: None)
    assert (again.pages, len(again.skipped)) == (summary.pages, 3)
    assert sorted(events) == NAMES
    assert pages_of(out) == first


@pytest.mark.slow
def test_killed_run_leaves_the_pages_of_those_who_were_finished(study, tmp_path, tiny_bundle):
    words = [study, tmp_path / "out", "participant", "--bundle", tiny_bundle, "--nprocs", "1"]
    running = ForkedRun(*words, TMPDIR=tmp_path)
    assert any(re.match("sub-03.*: Segment", line) for line in running.stderr)
    running.send_signal(signal.SIGKILL)
    running.end()
    killed = pages_of(tmp_path / "out")
    assert list(killed) == NAMES[:3]
    assert main([str(word) for word in words]) == 1
    whole = pages_of(tmp_path / "out")
    assert list(whole) == NAMES
    assert {name: whole[name] for name in killed} == killed


# --- the desk alone ------------------------------------------------------------------------------


@pytest.fixture
def desk_of(tmp_path, monkeypatch):
    """A desk that notes whose pages it writes, and with which problems."""
    from bids_mfi.discovery import UnusableScan

    written = []

    def make(names, waiting, problems, fail=()):
        scans = [UnusableScan((("sub", name[4:6]), ("acq", name[-1])), (), "") for name in names]

        def write(desk, participant):
            written.append((participant, desk._problems_of(participant)))
            bad = [participant] if participant in fail else []
            desk._written[participant] = (
                None if bad else desk._problems_of(participant),
                () if bad else (tmp_path / participant,),
            )
            return bad

        monkeypatch.setattr(pages.PageDesk, "_write", write)
        plan = SimpleNamespace(
            options=RunOptions(tmp_path, tmp_path, "participant"),
            scans=scans,
            problems=dict(problems),
            waiting=[scan for scan in scans if scan.scan in waiting],
        )
        return pages.PageDesk(plan), written

    return make


SCANS = ["sub-01_acq-a", "sub-01_acq-b", "sub-02_acq-a"]


def test_a_page_waits_for_all_scans_of_its_participant(desk_of):
    desk, written = desk_of(SCANS, SCANS, {})
    desk.end("sub-01_acq-a")
    assert written == []
    desk.end("sub-02_acq-a")
    desk.end("sub-01_acq-b", "why")
    desk.end("sub-01_acq-b", "why")
    assert written == [("02", {}), ("01", {"sub-01_acq-b": "why"})]
    assert desk.write_rest({"sub-01_acq-b": "why"})[1] == ()
    assert len(written) == 2


def test_a_page_is_written_again_only_where_the_outcome_is_another(desk_of):
    desk, written = desk_of(SCANS, SCANS, {})
    for scan in SCANS:
        desk.end(scan)
    found, unwritten = desk.write_rest({"sub-02_acq-a": "removed"})
    assert [path.name for path in found] == ["01", "02"]
    assert (written[2:], unwritten) == ([("02", {"sub-02_acq-a": "removed"})], ())


def test_those_with_nothing_to_wait_for_come_first_if_they_have_no_page(desk_of, tmp_path):
    desk, written = desk_of(SCANS, SCANS[:2], {"sub-02_acq-a": "unusable"})
    desk.write_missing()
    assert written == [("02", {"sub-02_acq-a": "unusable"})]
    (tmp_path / "sub-02.html").touch()
    desk.write_missing()
    assert len(written) == 1


def test_a_page_that_could_not_be_written_is_tried_again_at_the_end(desk_of):
    desk, written = desk_of(SCANS, SCANS, {}, fail=("02",))
    desk.end("sub-02_acq-a")
    assert desk.write_rest({})[1] == ("02",)
    assert [participant for participant, _ in written] == ["02", "01", "02"]


# --- what a page and a summary say ---------------------------------------------------------------


@pytest.mark.slow
def test_a_page_shows_no_whole_path(study, tmp_path, tiny_bundle):
    """The record of the run keeps them, for the person at the machine."""
    for path in study.glob("sub-03/anat/*echo-2*"):
        path.unlink()
    out = tmp_path / "out"
    assert main([str(x) for x in (study, out, "participant", "--bundle", tiny_bundle)]) == 1
    failed = (out / "sub-02.html").read_text()
    assert str(tmp_path) not in failed
    assert "sub-02/anat/sub-02_acq-dixon_echo-1_MEGRE.nii.gz: the data end early" in failed
    assert str(tmp_path) not in (out / "sub-03.html").read_text()
    assert str(study) in (out / "logs" / "sub-02_acq-dixon_error.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_results_that_vanish_during_the_run_are_said_to(study, tmp_path, tiny_bundle, what):
    out = tmp_path / "out"
    options = RunOptions(
        study, out, "participant", ("01", "03"), bundle=tiny_bundle, nprocs=1, device="cpu"
    )

    def spoil(scan, step, status):
        if (scan, step, status) == ("sub-03_acq-dixon", "Segment", "start"):
            for table in [*out.glob("sub-01/ses-a/**/*_mfi.tsv")]:
                table.write_text("other")
                if what == "removed":
                    shutil.rmtree(out / "sub-01" / "ses-a")

    summary = run_participants(options, spoil)
    assert summary.done == ("sub-01_ses-b_acq-dixon", "sub-03_acq-dixon")
    (failure,) = summary.failed
    assert f"{what}" in failure.problem
    assert "earlier failure" not in failure.problem
    shown = failure.problem.split(" from ")[0].split(". ")[0]
    assert shown in (out / "sub-01_ses-a.html").read_text(), "the page was written again"


@pytest.mark.slow
def test_removed_work_folder_is_no_unexpected_error(study, tmp_path, tiny_bundle):
    work = tmp_path / "work"
    options = RunOptions(
        study, tmp_path / "out", "participant", ("03",), bundle=tiny_bundle, work_dir=work,
        nprocs=1, device="cpu",
    )  # fmt: skip

    def spoil(scan, step, status):
        if (step, status) == ("Segment", "start"):
            for folder in work.iterdir():
                shutil.rmtree(folder)

    (failure,) = run_participants(options, spoil).failed
    assert failure.problem.startswith("Files of the work folder were removed")
    assert "--work-dir" in failure.problem
