"""Steps in this process: a failure costs its scan only, and a signal ends the run in order."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_description, write_scan
from forked_runs import ForkedRun
from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine

from bids_mfi.cli.app import main
from bids_mfi.participant import plugin_linear
from bids_mfi.participant.plugin_linear import InProcessPlugin
from bids_mfi.participant.plugins import Plugin, fit_plugin
from bids_mfi.signals import Interrupted, end_on_signals

pytestmark = pytest.mark.usefixtures("quick_figures")
ROOT = Path(__file__).parents[2]


class _InputSpec(BaseInterfaceInputSpec):
    path = traits.Str(mandatory=True)
    before = traits.Str()
    does = traits.Enum("write", "fail", "interrupt", mandatory=True)


class _OutputSpec(TraitedSpec):
    path = traits.Str()


class Write(SimpleInterface):
    """Writes a file, or fails, or is interrupted."""

    input_spec = _InputSpec
    output_spec = _OutputSpec

    def _run_interface(self, runtime):
        if self.inputs.does == "fail":
            raise ValueError("this scan is bad")
        if self.inputs.does == "interrupt":
            os.kill(os.getpid(), signal.SIGTERM)
        Path(self.inputs.path).write_text("done")
        self._results["path"] = self.inputs.path
        return runtime


def run_graph(folder, does, stop_on_first_crash=False):
    """Run three scans of two steps, of which the first step of the second does this.

    Returns the statuses told, the texts of crashes that could not be written, and the error.
    """
    workflow = engine.Workflow(name="w", base_dir=str(folder))
    workflow.config["execution"] = {
        "crashdump_dir": str(folder / "crash"),
        "crashfile_format": "txt",
        "stop_on_first_crash": str(stop_on_first_crash).lower(),
    }
    for number in (2, 1, 0):
        scan = engine.Workflow(name=f"scan{number}")
        first, second = (engine.Node(Write(does="write"), name=name) for name in ("First", "Last"))
        for node in (first, second):
            node.inputs.path = str(folder / f"{number}{node.name}.txt")
        if number == 1:
            first.inputs.does = does
        scan.connect(first, "path", second, "before")
        workflow.add_nodes([scan])
    told, error = [], None
    plugin = InProcessPlugin({"status_callback": lambda node, status: told.append((
        node.fullname.removeprefix("w."), status))})  # fmt: skip
    try:
        with end_on_signals():
            workflow.run(plugin=plugin)
    except (RuntimeError, Interrupted) as raised:
        error = raised
    return told, plugin.crashes, error


def ended(*nodes):
    return [(node, status) for node in nodes for status in ("start", "end")]


FAILED = [("scan1.First", "start"), ("scan1.First", "exception")]


def test_scans_are_run_one_after_the_other(tmp_path):
    told, _, error = run_graph(tmp_path, "write")
    names = [f"scan{number}.{step}" for number in range(3) for step in ("First", "Last")]
    assert (told, error) == (ended(*names), None)


def test_a_failure_costs_its_scan_and_is_the_only_thing_told_of_it(tmp_path):
    told, crashes, error = run_graph(tmp_path, "fail")
    before, after = (ended(f"scan{n}.First", f"scan{n}.Last") for n in (0, 2))
    assert told == [*before, *FAILED, *after]
    assert "this scan is bad" in str(error)
    (crash,) = (tmp_path / "crash").glob("crash-*.txt")
    assert crash.read_text().startswith("Node: w.scan1.First\n")
    assert "ValueError: this scan is bad" in crash.read_text()
    assert crashes == []


def test_the_first_failure_stops_the_run_where_that_was_asked(tmp_path):
    told, _, error = run_graph(tmp_path, "fail", stop_on_first_crash=True)
    assert told == [*ended("scan0.First", "scan0.Last"), *FAILED]
    assert isinstance(error, RuntimeError)
    assert len(list((tmp_path / "crash").iterdir())) == 1


def test_a_crash_that_no_disk_takes_is_kept_in_memory(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plugin_linear, "report_crash", refuse)
    _, (text,), _ = run_graph(tmp_path, "fail")
    assert text.startswith("Node: w.scan1.First\n")
    assert "this scan is bad" in text
    assert "No space left on device" in text


def test_a_signal_is_no_failure_of_a_step(tmp_path):
    """nipype takes what its interface raises for a failure, whatever it is."""
    where = os.getcwd()
    told, crashes, error = run_graph(tmp_path, "interrupt")
    assert isinstance(error, Interrupted)
    assert error.number == signal.SIGTERM
    assert told == [*ended("scan0.First", "scan0.Last"), FAILED[0]]
    assert not (tmp_path / "crash").exists()
    assert crashes == []
    assert os.getcwd() == where


# --- when it is used ---------------------------------------------------------------------------


@pytest.mark.multiproc
@pytest.mark.parametrize(("scans", "name"), [(1, "Linear"), (2, "MultiProc"), (0, "MultiProc")])
def test_one_scan_needs_no_worker(scans, name):
    found = fit_plugin(Plugin("MultiProc", {}, from_file=False), scans)
    assert (found.name, found.from_file, found.is_on_own_machine) == (name, False, True)
    named = Plugin("MultiProc", {"n_procs": 3}, from_file=True)
    assert fit_plugin(named, scans) is named


def test_threads_are_limited_before_libraries_read_it(tmp_path):
    """NumPy reads it once, when it is imported."""
    code = (
        "import os, sys; from bids_mfi.cli import app; assert 'numpy' not in sys.modules; "
        "app.main([*sys.argv[1:], 'participant', '--nprocs', '3', '--omp-nthreads', '2']); "
        "print({os.environ[f'{x}_NUM_THREADS'] for x in ('OMP', 'OPENBLAS', 'MKL')})"
    )
    command = [sys.executable, "-c", code, tmp_path / "in", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "{'2'}\n"


@pytest.fixture
def study(tmp_path):
    """Two participants with one scan each."""
    write_description(tmp_path / "in")
    write_scan(tmp_path / "in", "01", seed=1)
    write_scan(tmp_path / "in", "02", seed=2)
    return tmp_path / "in"


def run(study, out, bundle, *more):
    words = [study, out, "participant", "--bundle", bundle, *more]
    return main([str(word) for word in words])


@pytest.mark.multiproc
def test_only_scans_to_do_count_and_the_working_folder_stays(
    study, tmp_path, tiny_bundle, monkeypatch
):
    from bids_mfi.participant import plugin_multiproc

    def refuse(*_, **__):
        raise AssertionError("a pool was started for one scan")

    monkeypatch.setattr(plugin_multiproc, "SurvivingMultiProcPlugin", refuse)
    where, out = os.getcwd(), tmp_path / "out"
    assert run(study, out, tiny_bundle, "--participant-label", "01") == 0
    assert run(study, out, tiny_bundle) == 0
    assert len(list(out.glob("sub-*.html"))) == 2
    with pytest.raises(AssertionError, match="a pool"):
        run(study, tmp_path / "both", tiny_bundle)
    assert os.getcwd() == where


@pytest.mark.multiproc
@pytest.mark.slow
def test_a_scan_too_large_for_memory_never_runs_in_the_process_of_the_run(
    study, tmp_path, tiny_bundle, capsys, monkeypatch
):
    """Its worker is killed twice; the run lives to say so, and the other scan is done."""
    folder = tmp_path / "python"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILL_SEGMENT)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")
    assert run(study, tmp_path / "out", tiny_bundle, "--nprocs", "1") == 1
    said = capsys.readouterr()
    assert "1 scan done, 0 already done, 1 failed" in said.out
    assert "sub-01_acq-dixon: FAILED: The process that worked on this scan was killed" in said.err
    assert said.err.count("sub-01_acq-dixon: Segment") == 2


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "logs"
    }


@pytest.fixture
def own_temporary_folder(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", ["seg-muscle_dseg.nii.gz", "seg-muscle_mfi.json"])
def test_a_signal_while_a_file_is_written_leaves_no_half(
    study, tmp_path, tiny_bundle, monkeypatch, capsys, own_temporary_folder, name
):
    """Of the first and the last file of a scan; the next run completes it, byte for byte."""
    write, out = os.fsync, tmp_path / "out"

    def interrupt(file):
        if f"{name}." in os.readlink(f"/proc/self/fd/{file}"):
            assert list(own_temporary_folder.iterdir()), "there is something to remove"
            os.kill(os.getpid(), signal.SIGTERM)
        write(file)

    monkeypatch.setattr(os, "fsync", interrupt)
    one = ("--participant-label", "01")
    assert run(study, out, tiny_bundle, *one) == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert "interrupted; results already saved are complete" in said
    assert "FAILED" not in said
    assert list(own_temporary_folder.iterdir()) == []
    left = [path.name for path in out.rglob("*") if path.is_file()]
    assert not [path for path in left if path.endswith((name, ".partial", "_error.txt", ".html"))]
    monkeypatch.setattr(os, "fsync", write)
    assert run(study, out, tiny_bundle, *one) == 0
    assert run(study, tmp_path / "whole", tiny_bundle, *one) == 0
    assert contents(out) == contents(tmp_path / "whole")


KILL_SEGMENT = """
import os, signal, sys
def hook(event, arguments):
    if event == "open" and "sub_01" in os.getcwd() and str(arguments[0]).endswith("labels.npy"):
        os.kill(os.getpid(), signal.SIGKILL)
if "--multiprocessing-fork" in sys.argv:
    sys.addaudithook(hook)
"""


# --- a whole run of one scan, in a process of its own ------------------------------------------


@pytest.fixture
def started(study, tmp_path, tiny_bundle, own_temporary_folder):
    """A run of one scan, at the beginning of a step."""
    shutil.rmtree(study / "sub-02")
    running = []

    def start(step):
        words = [study, tmp_path / "out", "participant", "--bundle", tiny_bundle]
        running.append(ForkedRun(*words, TMPDIR=own_temporary_folder))
        assert any(line.rstrip().endswith(f": {step}") for line in running[-1].stderr)
        return running[-1]

    yield start
    for run in running:
        run.kill()


@pytest.mark.slow
def test_a_killed_run_of_one_scan_is_taken_up_again(
    started, study, tmp_path, tiny_bundle, own_temporary_folder
):
    process = started("Segment")
    process.kill()
    process.end(within_s=120)
    assert len(list(own_temporary_folder.iterdir())) == 1
    assert run(study, tmp_path / "out", tiny_bundle) == 0
    assert list(own_temporary_folder.iterdir()) == []
    assert run(study, tmp_path / "whole", tiny_bundle) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
