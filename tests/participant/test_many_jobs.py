"""Many jobs that write one OUTPUT_DIR at the same time, as an array of a cluster does."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import write_description, write_scan
from forked_runs import ForkedRun

from bids_mfi import storage
from bids_mfi.cli.app import main
from bids_mfi.errors import MFIError, OutputError
from bids_mfi.options import RunOptions
from bids_mfi.participant import workflow
from bids_mfi.participant.plan import RunPlan, bundle_facts
from bids_mfi.participant.plugins import Plugin, choose_plugin
from bids_mfi.participant.work_folder import ROOM_PER_SCAN_BYTES, make_work_dir
from bids_mfi.participant.workflow import find_lost_scans
from bids_mfi.storage import keep_in_use, make_partial_folder, remove_stale_partials

ROOT = Path(__file__).parents[2]
LABELS = tuple(f"{number:02d}" for number in range(1, 8))
# In a process namespace of its own, as a container has it: asks, and prints what would be removed.
CLEAR = (
    "import sys; from pathlib import Path; from bids_mfi.storage import remove_stale_partials; "
    "print(len(remove_stale_partials(Path(sys.argv[1]))))"
)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != "logs"
    }


@pytest.mark.slow
@pytest.mark.usefixtures("quick_figures")
def test_seven_jobs_at_once_leave_what_one_run_leaves(tmp_path, tiny_bundle):
    bids_dir = tmp_path / "bids"
    write_description(bids_dir)
    for seed, label in enumerate(LABELS):
        write_scan(bids_dir, label, seed=seed)
    many, one = tmp_path / "many", tmp_path / "one"
    words = ["participant", "--bundle", tiny_bundle, "--nprocs", "1"]
    jobs = [ForkedRun(bids_dir, many, *words, "--participant-label", each) for each in LABELS]
    for job in jobs:
        ended = job.end()
        assert ended.returncode == 0, ended
        assert "1 scan done" in ended.stdout
    assert main([str(word) for word in (bids_dir, one, *words)]) == 0
    found, expected = contents(many), contents(one)
    assert found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name]} == set()
    assert {f"sub-{label}.html" for label in LABELS} <= found.keys()
    assert len(list((many / "logs").glob("run-*.json"))) == len(LABELS)


def test_container_on_the_same_host_leaves_our_unfinished_files(tmp_path):
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        pytest.skip("unshare cannot make a process namespace here")
    ours = storage._partial_of(tmp_path / "x.json")
    ours.write_bytes(b"half")
    foreign = Path(str(ours).replace(f"-{os.getpid()}-", f"-{2**22 - 1}-"))
    foreign.write_bytes(b"half")
    command = [sys.executable, "-c", CLEAR, tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    asked = subprocess.run([*unshare, *command], capture_output=True, text=True, env=environment)
    assert asked.stdout == "0\n", "numbers of processes mean nothing in another namespace"
    assert remove_stale_partials(tmp_path) == [foreign]


def test_work_folder_of_a_dead_run_is_removed(tmp_path):
    living = make_partial_folder(tmp_path, "work")
    dead = Path(str(living).replace(f"-{os.getpid()}-", f"-{2**22 - 1}-"))
    (dead / "below").mkdir(parents=True)
    (dead / "below" / "file").touch()
    assert remove_stale_partials(tmp_path) == [dead]
    assert living.is_dir()
    assert not dead.exists()


def make_old_folder_of_another_host(parent):
    living = make_partial_folder(parent, "work")
    foreign = Path(str(living).replace(f"{storage.host_name()}-", "elsewhere-"))
    living.rename(foreign)
    os.utime(foreign, (1e9, 1e9))
    return foreign


def test_work_folder_in_use_is_never_old(monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "TOUCH_EVERY_S", 0.01)
    folder = make_old_folder_of_another_host(tmp_path)
    with keep_in_use(folder):
        wait_until(lambda: time.time() - folder.stat().st_mtime < 100)
        assert remove_stale_partials(tmp_path) == []
    os.utime(folder, (1e9, 1e9))
    time.sleep(0.1)
    assert remove_stale_partials(tmp_path) == [folder], "nobody touches it any more"
    with keep_in_use(folder):
        time.sleep(0.05)
    assert not folder.exists()


def wait_until(condition, within_s=30.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_work_folder_is_in_use_while_the_steps_wait(monkeypatch, tmp_path):
    monkeypatch.setattr(storage, "TOUCH_EVERY_S", 0.01)
    folder = make_old_folder_of_another_host(tmp_path)
    options = RunOptions(tmp_path, tmp_path, "participant")

    def wait_in_the_queue(plugin):
        wait_until(lambda: time.time() - folder.stat().st_mtime < 100)

    pending = SimpleNamespace(base_dir=str(folder), run=wait_in_the_queue)
    workflow.run_workflow(pending, choose_plugin(options), 1, lambda *_: None)
    assert remove_stale_partials(tmp_path) == []


# --- where the work folder is ------------------------------------------------------------------


@pytest.fixture
def options(tmp_path):
    (tmp_path / "out").mkdir()
    return RunOptions(tmp_path / "in", tmp_path / "out", "participant")


def pretend_room(monkeypatch, temporary, output):
    """Let the folder ``out`` and every other have so many bytes free."""
    usage = type(shutil.disk_usage("/"))

    def ask(path):
        return usage(0, 0, output if Path(path).name == "out" else temporary)

    monkeypatch.setattr(workflow.shutil, "disk_usage", ask)


@pytest.mark.parametrize(
    ("temporary", "output", "in_output"),
    [
        (2 * ROOM_PER_SCAN_BYTES, 10**12, False),
        (2 * ROOM_PER_SCAN_BYTES - 1, 10**12, True),
        (64 * 2**20, 10**12, True),
        (64 * 2**20, 10**6, False),
    ],
)
def test_work_folder_is_where_there_is_room(monkeypatch, options, temporary, output, in_output):
    pretend_room(monkeypatch, temporary, output)
    folder = make_work_dir(options, choose_plugin(options), at_once=2)
    assert folder.is_dir()
    assert (folder.parent == options.output_dir) == in_output
    if in_output:
        assert folder.name.startswith(".work.")
    folder.rmdir()


def test_named_work_folder_is_taken_whatever_its_room(monkeypatch, options, tmp_path):
    pretend_room(monkeypatch, 0, 10**12)
    named = RunOptions(**{**_fields(options), "work_dir": tmp_path / "w"})
    assert make_work_dir(named, choose_plugin(named), at_once=2).parent == tmp_path / "w"


def _fields(options):
    return {name: getattr(options, name) for name in options.__slots__}


def with_plugin(options, tmp_path, name):
    (tmp_path / "plugin.yml").write_text(f"plugin: {name}\n")
    return RunOptions(**{**_fields(options), "use_plugin": tmp_path / "plugin.yml"})


def test_work_folder_of_a_cluster_is_one_that_all_nodes_see(monkeypatch, options, tmp_path):
    pretend_room(monkeypatch, 10**12, 10**12)
    slurm, linear = (Plugin(name, {}, from_file=True) for name in ("SLURM", "Linear"))
    shared = make_work_dir(options, slurm, at_once=1)
    assert shared.parent == options.output_dir
    local = make_work_dir(options, linear, at_once=1)
    assert local.parent != options.output_dir
    local.rmdir()


def test_work_folder_that_cannot_be_made_is_said_with_the_option(options, tmp_path):
    (tmp_path / "file").touch()
    named = RunOptions(**{**_fields(options), "work_dir": tmp_path / "file"})
    with pytest.raises(OutputError, match="--work-dir"):
        make_work_dir(named, choose_plugin(named), at_once=1)


# --- nipype's plugins --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SGEGraph", "CondorDAGMan", "SomaFlow"])
def test_plugin_that_returns_before_its_jobs_is_refused(options, tmp_path, name):
    with pytest.raises(MFIError, match="array of participants"):
        choose_plugin(with_plugin(options, tmp_path, name))


def test_scan_without_results_or_crash_is_lost_with_a_plugin_only(options):
    from bids_mfi.measure.pair import DixonPair

    entities = (("sub", "01"), ("acq", "dixon"))
    pair = DixonPair(Path("a.nii"), Path("b.nii"), entities, "test")
    own = RunPlan(options, None, None, choose_plugin(options))
    queued = replace(own, plugin=Plugin("SLURMGraph", {}, from_file=True))
    (text,) = find_lost_scans(queued, [pair], {}).values()
    assert workflow.explain_crash(text) == workflow.LOST
    assert find_lost_scans(queued, [pair], {pair.scan: "why"}) == {}
    assert find_lost_scans(own, [pair], {}) == {}


def test_slurm_plugins_ask_for_what_a_step_claims(tiny_bundle, options):
    from bids_mfi.measure.pair import DixonPair
    from bids_mfi.network.bundle_files import load_bundle
    from bids_mfi.participant.plugin_slurm import prepare_submission, request_resources

    entities = (("sub", "01"), ("acq", "dixon"))
    pair = DixonPair(Path("a.nii"), Path("b.nii"), entities, "test")
    work = options.output_dir
    bundle = load_bundle(tiny_bundle)
    plan = RunPlan(options, bundle, bundle_facts(bundle), choose_plugin(options))
    graph = workflow.build_workflow(plan, [pair], work, threads=3)
    request_resources(graph, {"sbatch_args": "--time=5"})
    asked = {
        name.split(".")[-1]: graph.get_node(name).plugin_args["sbatch_args"]
        for name in graph.list_node_names()
    }
    assert asked["Segment"] == "--cpus-per-task=3 --mem=2662M --time=5"
    assert asked["Save"] == "--cpus-per-task=1 --mem=1331M --time=5"
    prepare_submission(work)
    with pytest.raises(MFIError, match="--work-dir"):
        prepare_submission(work / "a b")


def put_programs(monkeypatch, folder, **programs):
    """Let PATH hold bash's own programs and these."""
    folder.mkdir(exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/nowhere")
    for name in ("bash", "awk", "cat", "rm"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(shutil.which(name, path="/usr/bin:/bin"))


@pytest.mark.parametrize("plugin", ["SLURM", "SLURMGraph"])
def test_missing_commands_of_slurm_are_said_before_anything_starts(
    monkeypatch, options, tmp_path, tiny_bundle, plugin
):
    put_programs(monkeypatch, tmp_path / "bin", sbatch="")
    write_description(options.bids_dir)
    queued = with_plugin(options, tmp_path, plugin)
    queued = RunOptions(**{**_fields(queued), "bundle": tiny_bundle, "device": "cpu"})
    with pytest.raises(MFIError, match=r"plugin.yml: nipype's SLURM.* PATH has no squeue. Start"):
        workflow.run_participants(queued, lambda *_: None)
    assert list(options.output_dir.iterdir()) == []
    (tmp_path / "bin" / "sbatch").unlink()
    with pytest.raises(MFIError, match="PATH has no sbatch and no squeue"):
        choose_plugin(queued)
    put_programs(monkeypatch, tmp_path / "bin", sbatch="", squeue="")
    choose_plugin(queued)


def test_squeue_is_asked_for_all_jobs_whatever_the_user_has_set(monkeypatch):
    from bids_mfi.participant import plugin_slurm as queued

    monkeypatch.setattr(os, "environ", {"SQUEUE_STATES": "PENDING", "SQUEUE_NAMES": "x", "A": "b"})
    queued.prepare_submission(Path("/a/folder"))
    found = {name: value for name, value in os.environ.items() if name != "LOGNAME"}
    assert found == {"SQUEUE_ALL": "1", "A": "b"}


@pytest.mark.timeout(60)
def test_graph_of_slurm_keeps_the_comment_and_waits_for_its_own_jobs(monkeypatch, tmp_path):
    from bids_mfi.participant import plugin_slurm as queued

    monkeypatch.setattr(queued, "POLL_S", 0.0)
    calls = tmp_path / "calls"
    batch = tmp_path / "batch"
    put_programs(
        monkeypatch, tmp_path / "bin",
        sbatch=f'for word; do echo "<$word>"; done > "{calls}"; echo Submitted batch job 4',
        squeue=f'echo "3 /other/batch/x.sh"; echo "5 {batch}2/x.sh"; echo 6\n'
        f'[ ! -e "{tmp_path}/queue" ] || cat "{tmp_path}/queue"; rm -f "{tmp_path}/queue"',
    )  # fmt: skip
    batch.mkdir()
    (tmp_path / "queue").write_text(f"4 {batch}/batchscript_x.sh\n")
    plugin = queued.WaitingSLURMGraphPlugin(plugin_args={"sbatch_args": "--comment='my study'"})
    node = SimpleNamespace(_id="a", plugin_args={})
    plugin._submit_graph([str(batch / "x.py")], {}, [node])
    assert not (tmp_path / "queue").exists(), "it has asked until the job was gone"
    words = calls.read_text().splitlines()
    assert [word for word in words if "comment" in word] == ["<--comment=my study>"]
    assert "<--kill-on-invalid-dep=yes>" in words
    (tmp_path / "queue").write_text(f"4 {batch}/batchscript_x.sh\n")
    assert plugin.list_jobs() == ["4"]
    assert plugin.list_jobs() == []
