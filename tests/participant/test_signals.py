"""Signals end a run in order: workers, work folder, exit status, and what a killed run left."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import write_description, write_scan
from forked_runs import take_signals

from bids_mfi import signals, storage
from bids_mfi.cli.app import main
from bids_mfi.signals import Interrupted, end_on_signals, hold_signals
from bids_mfi.storage import (
    TEMPORARY_FOLDER,
    make_partial_folder,
    remove_folders_of_the_dead,
    temporary_folder,
)

ROOT = Path(__file__).parents[2]
DEAD = 2**22 - 1
AT_WORK = "Resample"


# --- the handler -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def signals_are_taken():
    before = {number: signal.getsignal(number) for number in signals.ENDING}
    take_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def end_in_order(body):
    with end_on_signals():
        body()


@pytest.mark.parametrize("number", signals.ENDING)
def test_a_signal_raises_and_its_status_is_that_of_a_shell(number):
    def receive():
        os.kill(os.getpid(), number)
        time.sleep(60)

    with pytest.raises(Interrupted) as found:
        end_in_order(receive)
    assert found.value.exit_code == 128 + number
    assert isinstance(found.value, KeyboardInterrupt), "what follows Ctrl-C follows it too"


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in signals.ENDING]
    with pytest.raises(Interrupted), end_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in signals.ENDING] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_ignored_signal_stays_ignored():
    """As ``nohup`` and a shell's background do."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with end_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_waits_for_the_end_of_what_holds_it():
    steps = []

    def receive():
        with hold_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append("held")
        steps.append("never")

    with pytest.raises(Interrupted):
        end_in_order(receive)
    assert steps == ["held"]


def test_further_signals_do_not_disturb_the_clean_up():
    steps = []

    def receive():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(os.getpid(), number)
                steps.append(number)
            with hold_signals():
                steps.append("removed")

    with pytest.raises(Interrupted) as found:
        end_in_order(receive)
    assert steps == [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, "removed"]
    assert found.value.number == signal.SIGTERM


def test_an_exception_that_code_swallowed_comes_again(monkeypatch):
    monkeypatch.setattr(signals, "RAISE_AGAIN_S", 0.05)
    swallowed = []

    def receive():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException as error:
            swallowed.append(error)
        time.sleep(60)

    with pytest.raises(Interrupted):
        end_in_order(receive)
    assert len(swallowed) == 1


def test_an_exception_that_was_swallowed_counts_at_the_end():
    """Also where the body ends before the exception comes again."""

    def receive():
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as found:
        end_in_order(receive)
    assert found.value.number == signal.SIGTERM


# --- the folder in the system's temporary folder -----------------------------------------------


def folder_of(parent, pid, host=None):
    """Make a work folder as if the process of this number had made it."""
    own = make_partial_folder(parent, TEMPORARY_FOLDER)
    name = own.name.replace(f"-{os.getpid()}-", f"-{pid}-")
    folder = own.rename(parent / name.replace(storage.host_name(), host or storage.host_name()))
    (folder / "array.npy").write_bytes(b"of a participant")
    return folder


def test_only_what_is_provably_left_by_the_dead_is_removed(tmp_path):
    dead = folder_of(tmp_path, DEAD)
    keep = [
        folder_of(tmp_path, os.getpid()),
        folder_of(tmp_path, os.getppid()),
        folder_of(tmp_path, DEAD, host="elsewhere"),
        folder_of(tmp_path, DEAD, host=storage.host_name().rpartition(".")[0] + ".00000000"),
        tmp_path / f".other.{storage.host_name()}-{DEAD}-00000000.partial",
        tmp_path / f".{TEMPORARY_FOLDER}.{storage.host_name()}-{DEAD}-0000.partial",
    ]
    for folder in keep:
        folder.mkdir(exist_ok=True)
        os.utime(folder, (1e9, 1e9))
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").touch()
    link = tmp_path / f".{TEMPORARY_FOLDER}.{storage.host_name()}-{DEAD}-11111111.partial"
    link.symlink_to(target)
    assert remove_folders_of_the_dead(tmp_path, TEMPORARY_FOLDER) == [dead]
    assert not dead.exists()
    assert all(folder.is_dir() for folder in keep)
    assert link.is_symlink()
    assert (target / "file").exists()


def test_the_folder_of_another_user_stays(tmp_path, monkeypatch):
    dead = folder_of(tmp_path, DEAD)
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert remove_folders_of_the_dead(tmp_path, TEMPORARY_FOLDER) == []
    assert dead.exists()


def test_a_temporary_folder_is_private_and_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path))
    dead = folder_of(tmp_path, DEAD)
    with temporary_folder(TEMPORARY_FOLDER) as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
        assert not dead.exists()
    assert list(tmp_path.iterdir()) == []


# --- a whole run -------------------------------------------------------------------------------


@pytest.fixture
def started(tmp_path, tiny_bundle):
    """A run of three scans with a temporary folder of its own; the function starts it."""
    bids_dir = tmp_path / "in"
    write_description(bids_dir)
    for number in (1, 2, 3):
        write_scan(bids_dir, f"{number:02d}", seed=number)
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, ROOT / "run.py", bids_dir, tmp_path / "out", "participant",
               "--bundle", tiny_bundle, "--nprocs", "2"]  # fmt: skip
    running = []

    def start():
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"TMPDIR": str(tmp_path / "tmp")}, start_new_session=True,
            preexec_fn=take_signals,
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def children_of(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(number) for number in text.split()]


def wait_for_work(process):
    """Read what a run says until a step has begun; return the processes it has started."""
    for line in process.stdout:
        if line.rstrip().endswith(AT_WORK):
            return children_of(process.pid)
    raise AssertionError("the run ended before it began to work")


def wait_for_end_of(pids):
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "processes were left behind"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_neither_folder_nor_process(number, started, tmp_path):
    process = started()
    workers = wait_for_work(process)
    assert workers, "there is something to end"
    assert list((tmp_path / "tmp").iterdir()), "there is something to remove"
    process.send_signal(number)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "interrupted; results already saved are complete" in said
    assert "Traceback" not in said
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not list((tmp_path / "out").rglob("*.partial"))
    wait_for_end_of(workers)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_figures")
def test_the_next_run_removes_what_a_killed_one_left(
    started, tmp_path, tiny_bundle, capsys, monkeypatch
):
    process = started()
    workers = wait_for_work(process)
    process.kill()
    process.communicate(timeout=120)
    wait_for_end_of(workers)
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path / "tmp"))
    words = [tmp_path / "in", tmp_path / "out", "participant", "--bundle", tiny_bundle]
    assert main([str(word) for word in words]) == 0
    assert "3 scans done" in capsys.readouterr().out
    assert list((tmp_path / "tmp").iterdir()) == []
