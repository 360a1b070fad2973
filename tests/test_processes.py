"""Work in several processes: the same results as in one, in the same order."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from multiprocessing.context import ForkProcess
from pathlib import Path

import pandas as pd
import pytest
from bids_datasets import add_image, make_every_convention_dataset, start_dataset
from forked_runs import take_signals
from group_folder import make_group_folder

from bids_mfi import processes
from bids_mfi.discovery import find_scans
from bids_mfi.errors import DatasetError, MFIError
from bids_mfi.group.collect import collect_tables
from bids_mfi.options import RunOptions
from bids_mfi.processes import CHUNK_ITEMS, FEWEST_ITEMS, map_in_processes

ITEMS = range(FEWEST_ITEMS + 7)


def square(item: int) -> tuple[int, int]:
    return item * item, os.getpid()


@pytest.mark.parametrize(
    ("most", "items", "elsewhere"), [(1, ITEMS, False), (3, ITEMS, True), (3, ITEMS[:9], False)]
)
def test_results_come_in_order(most: int, items: range, elsewhere: bool) -> None:
    found = list(map_in_processes(square, items, most))
    assert [value for value, _ in found] == [item * item for item in items]
    assert (os.getpid() not in {process for _, process in found}) == elsewhere
    assert len({process for _, process in found}) <= most


def fail_at_three(item: int) -> int:
    if item == 3:
        raise DatasetError("the third")
    return item


def die_at_three(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.parametrize("most", [1, 2])
def test_errors_keep_their_kind(most: int) -> None:
    with pytest.raises(DatasetError, match="the third"):
        list(map_in_processes(fail_at_three, ITEMS, most))


def test_killed_process_is_an_error_with_a_remedy() -> None:
    with pytest.raises(MFIError, match="--nprocs 1"):
        list(map_in_processes(die_at_three, ITEMS, 2))


def test_no_process_outlives_the_work() -> None:
    found = map_in_processes(square, ITEMS, 2)
    _, process = next(found)
    found.close()
    assert process != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_no_more_processes_than_there_is_work() -> None:
    found = list(map_in_processes(square, ITEMS, 200))
    assert len({process for _, process in found}) <= len(ITEMS) // CHUNK_ITEMS + 1


def test_work_is_done_here_where_no_process_can_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    forked: list[object] = []
    start = ForkProcess.start

    def start_one(process: ForkProcess) -> None:
        if forked:
            raise BlockingIOError("Resource temporarily unavailable")
        start(process)
        forked.append(process)

    monkeypatch.setattr(ForkProcess, "start", start_one)
    found = list(map_in_processes(square, ITEMS, 3))
    assert {process for _, process in found} == {os.getpid()}
    assert len(found) == len(ITEMS)
    forked[0].join(60)
    assert not forked[0].is_alive()


SLOW = """
import time
from bids_mfi.cli.output import report_errors
from bids_mfi.processes import map_in_processes
def wait(item):
    time.sleep(.01)
    return item
def work():
    for item in map_in_processes(wait, range(10000), 2):
        print(item, flush=True)
    return 0
raise SystemExit(report_errors(work))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_to_all_processes_ends_them(number: signal.Signals) -> None:
    """The first two as a terminal or a queue sends them; the last to the parent alone."""
    program = subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=take_signals,
    )  # fmt: skip
    assert program.stdout is not None
    assert program.stdout.readline() == "0\n"
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    send = os.kill if number == signal.SIGKILL else os.killpg
    send(program.pid, number)
    _, said = program.communicate(timeout=120)
    assert program.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in said
    limit = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < limit:
        time.sleep(0.05)
    assert len(children) == 2
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_scans_found_in_processes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every naming convention, a participant of each, and one that is misnamed."""
    make_every_convention_dataset(tmp_path)
    (tmp_path / "sub-bad_label").mkdir()
    options = RunOptions(tmp_path, tmp_path / "out", "participant", nprocs=1)
    expected = find_scans(options)
    monkeypatch.setattr(processes, "FEWEST_ITEMS", 2)
    assert find_scans(replace(options, nprocs=2)) == expected
    assert len(expected) > 20


def test_problems_of_images_come_back_from_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is found, the first of them is part of the message."""
    start_dataset(tmp_path)
    for label in ("1", "2"):
        add_image(tmp_path, f"sub-{label}/ses-3/anat/sub-{label}_ses-4_T1w.nii.gz")
    messages = []
    for fewest in (FEWEST_ITEMS, 2):
        monkeypatch.setattr(processes, "FEWEST_ITEMS", fewest)
        with pytest.raises(DatasetError) as caught:
            find_scans(RunOptions(tmp_path, tmp_path / "out", "participant", nprocs=2))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "ses-4" in messages[0]


def test_tables_read_in_processes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one table that cannot be read and one whose label map was changed."""
    muscles = pd.DataFrame(
        {"participant_id": f"sub-{number}", "muscle": "SCM", "hemi": side, "mfi": 10.0 + number,
         "volume": 8.0}
        for number in range(6) for side in "LR"
    )  # fmt: skip
    bids_dir, output_dir = make_group_folder(tmp_path, muscles, None)
    next(output_dir.glob("sub-2/**/*_mfi.tsv")).write_text("no table\n")
    next(output_dir.glob("sub-4/**/*_dseg.nii.gz")).write_bytes(b"edited")
    options = RunOptions(bids_dir, output_dir, "group", nprocs=2)
    expected = collect_tables(options)
    monkeypatch.setattr(processes, "FEWEST_ITEMS", 2)
    found = collect_tables(options)
    assert (len(found.failed), len(found.stale), len(found.scans)) == (1, 1, 4)
    for part in fields(expected):
        one, other = getattr(expected, part.name), getattr(found, part.name)
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other, obj=part.name)
        else:
            assert repr(one) == repr(other)
