"""Steps in this process: a failure costs its scan only, and a signal ends the run in order."""

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import write_description, write_scan
from forked_runs import ForkedRun, take_signals
from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine

from bids_mfi.cli.app import main
from bids_mfi.participant import plugin_linear
from bids_mfi.participant.crashes import explain_crash, read_crashes, was_killed
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


# --- a second process for nodes that need not wait ---------------------------------------------


class _AnyInputSpec(_InputSpec):
    also = traits.Str()
    does = traits.Enum("write", "fail", "interrupt", "die", "memory", "hang", mandatory=True)


class Tell(Write):
    """Writes the number of its process; may end it, as the system does for lack of memory."""

    input_spec = _AnyInputSpec

    def _run_interface(self, runtime):
        if self.inputs.does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.inputs.does == "memory":
            raise MemoryError
        if self.inputs.does == "hang":
            Path(self.inputs.path).write_text(str(os.getpid()))
            time.sleep(600)
        runtime = super()._run_interface(runtime)
        Path(self.inputs.path).write_text(str(os.getpid()))
        return runtime


@pytest.fixture
def diamond(tmp_path, monkeypatch):
    """Run scans of which A comes first, B and C are ready together, and D comes last."""
    monkeypatch.setattr(plugin_linear, "load_matplotlib", lambda: None)

    def run(scans=1, processors=2, does=None):
        workflow = engine.Workflow(name="w", base_dir=str(tmp_path))
        workflow.config["execution"] = {
            "crashdump_dir": str(tmp_path / "crash"), "crashfile_format": "txt"
        }  # fmt: skip
        for number in range(scans):
            scan = engine.Workflow(name=f"scan{number}")
            a, b, c, d = (engine.Node(Tell(does="write"), name=name) for name in "ABCD")
            for node in (a, b, c, d):
                node.inputs.path = str(tmp_path / f"{number}{node.name}.txt")
                if number == 0 and node.name in (does or {}):
                    node.inputs.does = does[node.name]
            scan.connect([(a, b, [("path", "before")]), (a, c, [("path", "before")])])
            scan.connect([(b, d, [("path", "before")]), (c, d, [("path", "also")])])
            workflow.add_nodes([scan])
        told, error = [], None
        tell = lambda node, status: told.append((node.fullname[2:], status))  # noqa: E731
        plugin = InProcessPlugin({"status_callback": tell, "n_procs": processors})
        try:
            with end_on_signals():
                workflow.run(plugin=plugin)
        except (RuntimeError, Interrupted) as raised:
            error = raised
        finally:
            assert multiprocessing.active_children() == []
        return told, error, {path.stem: path.read_text() for path in tmp_path.glob("*.txt")}

    return run


@pytest.mark.multiproc
def test_a_second_process_runs_what_need_not_wait(diamond):
    told, _, processes = diamond(scans=2)
    own, second = str(os.getpid()), processes["0C"]
    assert second != own
    for scan in "01":
        assert [processes[scan + name] for name in "ABCD"] == [own, own, second, own]
    assert told[:2] == [("scan0.A", "start"), ("scan0.A", "end")]
    assert sorted(told[2:6]) == sorted(ended("scan0.B", "scan0.C"))
    assert told[6:8] == [("scan0.D", "start"), ("scan0.D", "end")]


@pytest.mark.multiproc
def test_one_processor_has_no_second_process(diamond):
    told, _, processes = diamond(processors=1)
    assert set(processes.values()) == {str(os.getpid())}
    assert told == ended(*(f"scan0.{name}" for name in "ABCD"))


@pytest.mark.multiproc
@pytest.mark.parametrize("which", ["B", "C"])
@pytest.mark.parametrize(
    ("does", "words", "explained"),
    [
        ("fail", "ValueError: this scan is bad", "this scan is bad"),
        ("memory", "MemoryError", "ran out of memory"),
    ],
)
def test_a_failure_in_either_process_costs_its_scan(
    diamond, tmp_path, which, does, words, explained
):
    told, error, _ = diamond(scans=2, does={which: does})
    other = {"B": "C", "C": "B"}[which]
    assert (f"scan0.{which}", "exception") in told
    assert (f"scan0.{other}", "end") in told
    assert not [name for name, _ in told if name == "scan0.D"]
    assert ("scan1.D", "end") in told
    assert words in str(error)
    (crash,) = read_crashes(tmp_path).values()
    assert crash.startswith(f"Node: w.scan0.{which}\n")
    assert explained in explain_crash(crash)


@pytest.mark.multiproc
def test_a_killed_second_process_costs_its_scan(diamond, tmp_path):
    """All later nodes run in the process of the run."""
    told, error, _ = diamond(scans=2, does={"C": "die"})
    assert ("scan0.C", "exception") in told
    assert ("scan0.B", "end") in told
    assert [name for name, status in told if status == "end"][-1] == "scan1.D"
    assert was_killed(str(error))
    (crash,) = read_crashes(tmp_path).values()
    assert "was killed, most often for lack of memory" in explain_crash(crash)


@pytest.mark.multiproc
def test_an_interruption_ends_the_second_process(diamond, tmp_path):
    """The fixture finds no child left, though the node there would go on for minutes."""
    told, error, _ = diamond(does={"B": "interrupt", "C": "hang"})
    assert isinstance(error, Interrupted)
    assert told[-2:] == [("scan0.C", "start"), ("scan0.B", "start")]
    assert not (tmp_path / "crash").exists()


@pytest.mark.multiproc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_second_process_leaves_signals_to_the_first(diamond, number, monkeypatch):
    """A terminal and Slurm send a signal to both."""
    from bids_mfi.participant import second_process

    def run_with_signal(node):
        os.kill(os.getpid(), number)
        return []

    monkeypatch.setattr(second_process, "run_node", run_with_signal)
    told, _, _ = diamond()
    assert ("scan0.C", "end") in told


@pytest.mark.multiproc
def test_without_memory_for_a_second_process_one_does_all(diamond, monkeypatch):
    def refuse():
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(os, "fork", refuse)
    _, error, processes = diamond()
    assert error is None
    assert set(processes.values()) == {str(os.getpid())}


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


@pytest.fixture
def program(study, tmp_path, tiny_bundle, own_temporary_folder):
    """Start a run of one scan as a program, with two processors, up to its second step."""
    shutil.rmtree(study / "sub-02")
    words = [sys.executable, ROOT / "run.py", study, tmp_path / "out", "participant",
             "--bundle", tiny_bundle, "--nprocs", "2"]  # fmt: skip
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"TMPDIR": str(own_temporary_folder)}, preexec_fn=take_signals,
    )  # fmt: skip
    assert any(line.rstrip().endswith(": Segment") for line in process.stdout)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def children_of(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_second_process_outlives_the_run(program, own_temporary_folder, number):
    (child,) = children_of(program)
    program.send_signal(number)
    program.communicate(timeout=120)
    assert program.returncode == (-number if number == signal.SIGKILL else 128 + number)
    limit = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
    if number != signal.SIGKILL:
        assert list(own_temporary_folder.iterdir()) == []


@pytest.mark.slow
def test_a_second_process_that_is_killed_while_it_waits_costs_nothing(
    program, study, tmp_path, tiny_bundle
):
    (child,) = children_of(program)
    os.kill(int(child), signal.SIGKILL)
    said = program.communicate(timeout=120)[0]
    assert program.returncode == 0, said
    shutil.move(tmp_path / "out", tmp_path / "found")
    assert run(study, tmp_path / "out", tiny_bundle) == 0
    assert set(contents(tmp_path / "found")) == set(contents(tmp_path / "out"))
