"""The scripts for Slurm: their text, and what submit.sh does with a pretended Slurm.

The real one is used by test_deploy.py.
"""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bids_mfi.cli import main_verbs
from bids_mfi.errors import InputError, OutputError
from bids_mfi.slurm import NAMES, SlurmOrder, render_scripts, write_scripts

FAKES = {
    "squeue": '[ ! -e "$FAKE/down" ] || exit 1; cat "$FAKE/queue"',
    "scontrol": 'echo "MaxArraySize            = $(cat "$FAKE/limit")"',
    "scancel": 'echo "scancel $*" >> "$FAKE/calls"',
    "sbatch": '[ ! -e "$FAKE/refuse" ] || exit 1\n'
    'echo "sbatch $*" >> "$FAKE/calls"\n'
    'n=$(($(cat "$FAKE/last") + 1)); echo "$n" > "$FAKE/last"; echo "$n;cluster"',
}


@pytest.fixture
def order(tmp_path):
    for label in ("01", "02", "03"):
        (tmp_path / "bids" / f"sub-{label}").mkdir(parents=True)
    (tmp_path / "bids" / "sub-02 copy").mkdir()
    (tmp_path / "out").mkdir()
    return SlurmOrder(tmp_path / "bids", tmp_path / "out")


class PretendedSlurm:
    def __init__(self, folder, order):
        self.folder, self.script = folder, write_scripts(order)
        self.state = order.folder / "state"
        folder.mkdir()
        for name, text in FAKES.items():
            (folder / name).write_text(f"#!/bin/bash\n{text}\n")
            (folder / name).chmod(0o755)
        self.put(queue="", limit="1001", last="0", calls="")

    def put(self, **files):
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def call(self, *arguments, status=0):
        done = subprocess.run(
            ["bash", self.script, *arguments], capture_output=True, text=True,
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "FAKE": str(self.folder)},
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    def calls(self):
        found = (self.folder / "calls").read_text().splitlines()
        self.put(calls="")
        return found

    def end(self, **codes):
        self.put(queue="")
        for name, code in codes.items():
            (self.state / name.replace("_", "-")).write_text(f"ended {code}\n")


@pytest.fixture
def slurm(tmp_path, order):
    return PretendedSlurm(tmp_path / "fake", order)


def test_scripts_are_bash_and_hold_what_was_asked(order):
    asked = replace(
        order, cpus=3, mem_gb=5, gpus=1, at_once=7, sbatch=("--partition=x",), time="2:00:00",
        arguments=("--bundle", "/a b/$c"),
    )  # fmt: skip
    scripts = render_scripts(asked)
    for text in scripts.values():
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (0, "")
    task = scripts["participant.sbatch"]
    for line in (
        "--cpus-per-task=3",
        "--mem=5G",
        "--time=2:00:00",
        "--gres=gpu:1",
        "--partition=x",
    ):
        assert f"#SBATCH {line}\n" in task
    assert "--mem 4.5 -w" in task
    assert "--bundle '/a b/$c'" in task
    assert "%7" in scripts["submit.sh"]
    assert "gpu" not in scripts["group.sbatch"]
    assert "#SBATCH --partition=x\n" in scripts["group.sbatch"]


def test_image_is_called_with_the_paths_of_the_host(order, tmp_path):
    image = tmp_path / "x.sif"
    image.touch()
    task = render_scripts(replace(order, image=image, gpus=1))["participant.sbatch"]
    assert "apptainer run --containall --cleanenv --no-home --nv" in task
    assert f"--bind {order.bids_dir}:{order.bids_dir}:ro" in task
    assert "--nv" not in render_scripts(replace(order, image=image))["participant.sbatch"]


def test_paths_that_slurm_or_apptainer_do_not_take_are_refused(order, tmp_path):
    with pytest.raises(OutputError, match="blank"):
        write_scripts(replace(order, output_dir=tmp_path / "a b"))
    with pytest.raises(InputError, match="no such image"):
        write_scripts(replace(order, image=tmp_path / "no.sif"))
    (tmp_path / "x.sif").touch()
    (tmp_path / "a,b").mkdir()
    with pytest.raises(InputError, match="comma"):
        write_scripts(replace(order, image=tmp_path / "x.sif", bids_dir=tmp_path / "a,b"))
    with pytest.raises(InputError, match="no folder"):
        write_scripts(replace(order, bids_dir=tmp_path / "nowhere"))


def test_first_submission_takes_all_and_the_group_waits_for_them(slurm):
    assert slurm.call("--status") == "new: 3\ngroup: new\n"
    assert "3 tasks, 3 participants" in slurm.call()
    array, group = slurm.calls()
    assert "--array=0-2 " in array
    slurm.put(queue="1_0 1_0\n1_1 1_1\n1_2 1_2\n2_N/A 2\n")
    assert slurm.call("--status") == "waiting: 3\ngroup: waiting 2\n"
    assert "group.sbatch" in group
    assert slurm.script.parent.joinpath("group.job").read_text() == "2\n"


def test_group_job_depends_on_the_array(slurm):
    slurm.put(queue="1_0 1_0\n1_1 1_1\n1_2 1_2\n")  # as they are once sbatch has answered
    slurm.call()
    assert "--dependency=afterany:1 " in slurm.calls()[1]


def test_failed_and_killed_participants_are_named_and_submitted_again(slurm):
    slurm.call()
    slurm.end(sub_01=0, sub_02=1, group=0)
    (slurm.state / "sub-03").write_text("running 1_2\n")
    told = slurm.call("--status")
    assert "sub-02 failed with exit status 1" in told
    assert "sub-03 was killed (memory, time or signal), job 1_2" in told
    assert told.endswith("done: 1\nfailed: 1\nkilled: 1\ngroup: done\n")
    slurm.calls()
    assert "2 tasks, 2 participants" in slurm.call()
    listed = Path(slurm.calls()[0].split()[-1]).read_text()
    assert listed == "02\n03\n"


def test_status_of_a_signal_inside_the_task(slurm):
    slurm.call()
    slurm.end(sub_01=137, sub_02=0, sub_03=0, group=0)
    assert "sub-01 was killed (memory, time or signal), signal 9" in slurm.call("--status")


def test_done_participants_are_submitted_again_on_request_only(slurm):
    slurm.call()
    slurm.end(sub_01=0, sub_02=0, sub_03=0, group=0)
    assert "none is missing" in slurm.call()
    assert "3 tasks" in slurm.call("--all")


def test_second_submission_meanwhile_leaves_what_runs_and_replaces_the_waiting_group(slurm):
    slurm.call()
    (slurm.state / "sub-01").write_text("ended 1\n")
    slurm.put(queue="1_1 1_1\n1_2 1_2\n2_N/A 2\n3_0 3_0\n")
    slurm.calls()
    assert "1 tasks, 1 participants" in slurm.call()
    array, cancelled, group = slurm.calls()
    assert "--array=0-0" in array
    assert cancelled == "scancel 2"
    assert "--dependency=afterany:1:3 " in group


def test_refused_submission_leaves_nobody_waiting(slurm):
    slurm.put(refuse="")
    slurm.call(status=1)
    assert slurm.call("--status") == "new: 3\ngroup: new\n"


def test_silent_slurm_is_said_and_nothing_is_submitted(slurm):
    slurm.put(down="")
    assert "squeue gives no answer" in slurm.call("--status")
    assert "squeue gives no answer" in slurm.call(status=1)
    assert slurm.calls() == []


def test_array_longer_than_slurm_takes_is_refused(slurm):
    slurm.put(limit="2")
    assert "--participants-per-task" in slurm.call(status=2)
    assert slurm.calls() == []


def test_two_submissions_at_once_are_one(slurm):
    slurm.call("--status")
    with subprocess.Popen(
        ["flock", slurm.script.parent / "lock", "-c", "echo held; cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as holder:  # fmt: skip
        assert holder.stdout.readline() == b"held\n"
        assert "runs already" in slurm.call(status=1)
        holder.communicate()
    assert slurm.calls() == []


def test_verb_writes_scripts_for_some_participants_without_group(order, capsys):
    arguments = ["slurm", str(order.bids_dir), str(order.output_dir), "--no-group"]
    assert main_verbs([*arguments, "--participant-label", "sub-03", "--options=--device cpu"]) == 0
    assert "submit.sh --status" in capsys.readouterr().out
    texts = {name: (order.folder / name).read_text() for name in NAMES}
    assert "printf '%s\\n' 03\n" in texts["submit.sh"]
    assert "submit_group" not in texts["submit.sh"]
    assert "--device cpu" in texts["participant.sbatch"]
    assert (order.folder / "submit.sh").stat().st_mode & 0o111
