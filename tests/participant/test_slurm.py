"""The scripts for Slurm: their text, and what submit.sh does with a pretended Slurm.

The real one is used by test_deploy.py.
"""

import os
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bids_mfi.cli.verbs import main_verbs
from bids_mfi.errors import InputError, OutputError
from bids_mfi.participant.slurm_scripts import (
    NAMES,
    SlurmOrder,
    quote_word,
    render_scripts,
    write_scripts,
)

FAKES = {
    "squeue": 'case "$*" in *--all*) ;; *) exit 0 ;; esac  # without, hidden partitions are\n'
    '[ -z "${SQUEUE_NAMES:-}" ] || exit 0\ncat "$FAKE/queue"; [ ! -e "$FAKE/down" ]',
    "scontrol": 'echo "MaxArraySize            = $(cat "$FAKE/limit")"',
    "scancel": 'echo "scancel $*" >> "$FAKE/calls"',
    "sbatch": '[ ! -e "$FAKE/refuse" ] || { echo refused >&2; exit 1; }\n'
    'echo "sbatch $*" >> "$FAKE/calls"\n'
    'n=$(($(cat "$FAKE/last") + 1)); echo "$n" > "$FAKE/last"\n'
    'cat "$FAKE/banner"; echo "$n;cluster"',
}


@pytest.fixture
def order(tmp_path):
    for label in ("01", "02", "03"):
        (tmp_path / "bids" / f"sub-{label}").mkdir(parents=True)
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
        self.put(queue="", limit="1001", last="0", calls="", banner="")

    def put(self, **files):
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def call(self, *arguments, status=0):
        done = subprocess.run(
            ["bash", self.script, *arguments], capture_output=True, text=True,
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "FAKE": str(self.folder),
                 "SQUEUE_NAMES": "of another job"},
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    def rewrite(self, order):
        self.script = write_scripts(order)

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
    for name in ("a%b", "a\\b", "a\tb", "a\nb"):
        with pytest.raises(OutputError, match="path of a log"):
            write_scripts(replace(order, output_dir=tmp_path / name))
    with pytest.raises(InputError, match="no such image"):
        write_scripts(replace(order, image=tmp_path / "no.sif"))
    (tmp_path / "x.sif").touch()
    (tmp_path / "a,b").mkdir()
    with pytest.raises(InputError, match="comma"):
        write_scripts(replace(order, image=tmp_path / "x.sif", bids_dir=tmp_path / "a,b"))
    with pytest.raises(InputError, match="is not a folder"):
        write_scripts(replace(order, bids_dir=tmp_path / "nowhere"))


def test_first_submission_takes_all_and_the_group_waits_for_them(slurm):
    assert slurm.call("--status") == "new: 3\ngroup: new\n"
    assert "3 tasks, 3 participants" in slurm.call()
    array, group = slurm.calls()
    assert "--array=0-2 " in array
    slurm.put(queue="1_0 1_0\n1_1 1_1\n1_2 1_2\n2_N/A 2\n")
    assert slurm.call("--status") == "waiting: 3\ngroup: waiting 2\n"
    assert "group.sbatch" in group
    assert Path(f"{group.split()[-1]}.job").read_text() == "2\n"


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
    assert "1 task, 1 participant\n" in slurm.call()
    array, cancelled, group = slurm.calls()
    assert "--array=0-0" in array
    assert cancelled == "scancel 2"
    assert "--dependency=afterany:1:3 " in group


def test_refused_submission_leaves_nobody_waiting(slurm):
    slurm.put(refuse="")
    assert "refused\nsbatch gave no job number" in slurm.call(status=1)
    assert slurm.call("--status") == "new: 3\ngroup: new\n"


def test_job_that_slurm_took_though_sbatch_failed_is_not_submitted_twice(slurm):
    slurm.put(refuse="")
    slurm.call(status=1)
    mark = (slurm.state / "sub-01").read_text().split()[1]
    jobs = "".join(f"7_{n} 7_{n}|{slurm.script.parent}/participant.sbatch {mark}\n" for n in "012")
    other = mark[:-1] + ("x" if mark[-1] != "x" else "y")
    slurm.put(queue=jobs.replace(mark, other).replace("7_", "6_") + jobs)
    (slurm.folder / "refuse").unlink()
    assert slurm.call("--status") == "waiting: 3\ngroup: new\n"
    assert "none is missing" in slurm.call()
    (group,) = slurm.calls()
    assert "--dependency=afterany:7 " in group


def test_arguments_of_other_jobs_are_no_job_numbers(slurm):
    slurm.call()
    slurm.put(queue="8_N/A 8|/home/else/x.sh 1 1_0 2\n")
    told = slurm.call("--status")
    assert "sub-02 was not started, and job 1 is gone" in told
    assert told.endswith("not started: 3\ngroup: not started, and job 2 is gone\n")


def test_whole_state_is_kept_where_the_next_cannot_be_written(slurm, order):
    """Of a task that ends on a full disk the last state stays: running, whose job is gone."""
    text = (order.folder / "participant.sbatch").read_text()
    assert '> "$state/sub-' not in text
    assert text.count('mv -f "$state/.sub-$1.$me" "$state/sub-$1"') == 1


def test_scripts_for_some_do_not_forget_the_others(slurm, order):
    """The group job goes on waiting for those whom other scripts submitted."""
    slurm.call()
    slurm.put(queue="1_0 1_0\n1_1 1_1\n1_2 1_2\n2_N/A 2\n3_0 3_0\n")
    (slurm.state / "sub-03").write_text("ended 1\n")
    slurm.calls()
    slurm.rewrite(replace(order, participants=("03",)))
    assert "1 task, 1 participant\n" in slurm.call()
    assert "--dependency=afterany:1:3 " in slurm.calls()[-1]


def test_half_an_answer_of_squeue_is_none(slurm):
    slurm.call()
    slurm.put(queue="9_N/A 9\n", down="")
    assert "squeue gives no answer" in slurm.call("--status")
    assert "squeue gives no answer" in slurm.call(status=1)
    assert len(slurm.calls()) == 2, "those of the first submission"


def test_banner_of_sbatch_is_no_number(slurm):
    slurm.put(banner="Welcome to cluster 7\n", queue="1_0 1_0\n1_1 1_1\n1_2 1_2\n")
    slurm.call()
    assert "--dependency=afterany:1 " in slurm.calls()[1]


def test_sbatch_without_a_number_is_refused(slurm):
    (slurm.folder / "sbatch").write_text("#!/bin/bash\necho thanks\n")
    assert "sbatch gave no job number" in slurm.call(status=1)


def test_dataset_that_is_not_seen_is_not_done(slurm, order):
    order.bids_dir.rename(order.bids_dir.with_name("away"))
    assert "no participant sub-LABEL is seen here" in slurm.call(status=3)
    assert slurm.calls() == []


def test_group_that_failed_names_its_log(slurm):
    slurm.call()
    slurm.end(sub_01=0, sub_02=0, sub_03=0, group=3)
    assert f"group: failed 3: {slurm.script.parent}/group.log\n" in slurm.call("--status")


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
    assert "--cpus-per-task=2\n#SBATCH --mem=4G\n" in texts["participant.sbatch"]
    assert (order.folder / "submit.sh").stat().st_mode & 0o111


# --- what the group job asks for ---------------------------------------------------------------


def group_asks(order):
    text = render_scripts(order)["group.sbatch"]
    lines = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    return [line.split(" ", 1)[1] for line in lines[5:]]


@pytest.mark.parametrize(
    "option",
    ["--gres=gpu:a100:1", "--gres gpu", "--gpus=1", "--gpus-per-node=2", "-G1", "-G 1",
     "--cpus-per-gpu=4", "--mem-per-gpu=8G", "--gpu-bind=closest", "--tres-per-task=gres/gpu:1"],
)  # fmt: skip
def test_group_job_gets_no_gpu_of_the_participants(order, option):
    asked = replace(order, sbatch=(option, "--account=lab"))
    assert group_asks(asked) == ["--account=lab"]
    assert f"#SBATCH {option}\n" in render_scripts(asked)["participant.sbatch"]


@pytest.mark.parametrize("option", ["--partition=gpu", "--gres=scratch:10", "--qos=gpus", "-A G"])
def test_group_job_gets_what_asks_for_no_gpu(order, option):
    assert group_asks(replace(order, sbatch=(option,))) == [option]


def test_options_for_the_group_job_replace_the_others(order):
    asked = replace(order, sbatch=("--partition=gpu", "-A lab"), group_sbatch=("--partition=cpu",))
    assert group_asks(asked) == ["--partition=cpu"]
    assert "partition=cpu" not in render_scripts(asked)["participant.sbatch"]


# --- how sbatch reads the lines ------------------------------------------------------------------


def read_directives(text):
    """Arguments in the lines #SBATCH, read as sbatch does (``_get_argument`` of Slurm 22.05)."""
    found = []
    for line in text.splitlines():
        if line.startswith("#SBATCH "):
            found += read_line(line.removeprefix("#SBATCH"))
    return found


def read_line(line):
    found, place = [], 0
    while True:
        while place < len(line) and line[place].isspace():
            place += 1
        if place == len(line) or line[place] == "#":
            return found
        assert line[place] != ":", "fatal: unexpected `:`"
        argument, quote, escaped = "", "", False
        while place < len(line) and (quote or not line[place].isspace()):
            letter, place = line[place], place + 1
            if escaped:
                argument, escaped = argument + letter, False
            elif letter == "\\":
                escaped = True
            elif quote and letter == quote:
                quote = ""
            elif not quote and letter in "'\"":
                quote = letter
            elif not quote and letter == "#":
                place = len(line)
            else:
                argument += letter
        assert not quote, "fatal: unmatched quote"
        found.append(argument)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("--comment=my study", ["--comment=my study"]),
        ("--comment='my study'", ["--comment=my study"]),
        ('--comment="my study"', ["--comment=my study"]),
        ("'--comment=my study'", ["--comment=my study"]),
        (r"--comment=my\ study", ["--comment=my study"]),
        ("--comment=Anna's study", ["--comment=Anna's study"]),
        ("--comment=it's Anna's", ["--comment=it's Anna's"]),
        ('--comment=say "a b" now', ["--comment=say a b now"]),
        ('--comment="say \\"a\\" now"', ['--comment=say "a" now']),
        ("--comment=#1 of 2", ["--comment=#1 of 2"]),
        (r"--comment=C:\data", [r"--comment=C:\data"]),
        ("--comment=$HOME `id`", ["--comment=$HOME `id`"]),
        ("--comment=Müller Straße 北", ["--comment=Müller Straße 北"]),
        ("--comment=a - b", ["--comment=a - b"]),
        ("--comment=:a", ["--comment=:a"]),
        ("--comment ''", ["--comment"]),  # sbatch has no empty argument
        ("-J :x", ["-J", ":x"]),
        ("-A other lab", ["-A", "other lab"]),
        ("-Aother", ["-Aother"]),
        ("--account other lab", ["--account", "other lab"]),
        ("--partition=a --qos=b", ["--partition=a", "--qos=b"]),
        ("--comment 'a --b' --requeue", ["--comment", "a --b", "--requeue"]),
        ("--constraint=[a|b]&c", ["--constraint=[a|b]&c"]),
        ("--mail-user=a@b.c,d@e.f", ["--mail-user=a@b.c,d@e.f"]),
    ],
)
def test_sbatch_reads_the_option_that_was_meant(order, text, read):
    scripts = render_scripts(replace(order, sbatch=(text,)))
    for name, own in (("participant.sbatch", 5), ("group.sbatch", 5)):
        assert [word for word in read_directives(scripts[name])[own:] if word] == read


@pytest.mark.parametrize("plain", ["--partition=short", "--gres=gpu:a100:1", "-A lab", "-G 1"])
def test_options_that_need_no_quotes_are_written_as_they_were_given(order, plain):
    assert f"\n#SBATCH {plain}\n" in render_scripts(replace(order, sbatch=(plain,)))[NAMES[0]]


def test_any_word_reaches_sbatch_whole():
    for letters in (
        "a b",
        "a'b",
        'a"b',
        "a\\b",
        "a\\",
        "#",
        "a#b",
        ":",
        "'",
        "\\\\",
        "é ü",
        "a  b ",
    ):
        for word in (letters, f"--name={letters}"):
            assert read_line(f" {quote_word(word)} --next") == [word, "--next"]


def test_only_the_option_that_asks_for_a_gpu_is_kept_from_the_group(order):
    asked = replace(order, sbatch=("--gres=gpu:1 --account=lab", "--comment=no gpu"))
    assert group_asks(asked) == ["--account=lab", '--comment="no gpu"']


@pytest.mark.parametrize("text", ["--qos=a --array=1-2", "--comment='a b' -o x"])
def test_an_own_option_behind_another_is_refused(order, text):
    with pytest.raises(InputError, match="the scripts set"):
        write_scripts(replace(order, sbatch=(text,)))


@pytest.mark.parametrize("name", ["my study", 'it\'s "x" #1', "$HOME `id`", "é ü"])
def test_study_in_a_folder_with_an_odd_name(tmp_path, name):
    """Logs, lists and states are found, and a second submission knows the first."""
    order = SlurmOrder(tmp_path / name / "bids", tmp_path / name / "out")
    (order.bids_dir / "sub-01").mkdir(parents=True)
    slurm = PretendedSlurm(tmp_path / "fake", order)
    for job, log in (("participant", "task_%A_%a"), ("group", "group")):
        read = read_directives((order.folder / f"{job}.sbatch").read_text())
        assert f"--output={order.folder}/{log}.log" in read
    slurm.call()
    mark = (slurm.state / "sub-01").read_text().removeprefix("waiting ").rstrip("\n")
    assert Path(mark).read_text() == "01\n"
    assert Path(f"{mark}.job").read_text() == "1\n"
    slurm.put(queue="1_0 1_0\n2_N/A 2\n")
    assert slurm.call("--status") == "waiting: 1\ngroup: waiting 2\n"
    assert "none is missing" in slurm.call()
    Path(f"{mark}.job").unlink()  # as if sbatch had failed
    slurm.put(queue=f"5_0|{order.folder}/participant.sbatch {mark}\n5_0 5_0\n")
    assert slurm.call("--status").startswith("waiting: 1\n")


# --- who is left out -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sub-x-y", "sub-x-y"),
        ("sub-02 copy", "sub-02\\ copy"),
        ("sub-1.5", "sub-1.5"),
        ("sub-", "sub-"),
        ("sub-é", "$'sub-\\303\\251'"),
        ("sub-a\nsub-b", "$'sub-a\\nsub-b'"),
        ("sub-\x1b[31m", "$'sub-\\E[31m'"),
    ],
)
def test_folders_that_are_no_participants_are_named(slurm, order, name, shown):
    (order.bids_dir / name).mkdir()
    reason = "is skipped: a label has letters and digits only"
    counts, _, left_out = slurm.call("--status").partition("group: new\n")
    assert counts == "new: 3\n"
    assert left_out.startswith(shown)
    assert reason in left_out
    told = slurm.call()
    assert f"\n{told}".count(f"\n{shown}") == told.count("is skipped") == 1
    assert "3 tasks, 3 participants" in told


def test_lower_and_upper_case_and_lost_links_are_named(slurm, order):
    for name in ("Sub-04", "SUB-05", "sub_06", "sub 09", "substance"):
        (order.bids_dir / name).mkdir()
    (order.bids_dir / "sub-07").symlink_to("nowhere")
    (order.bids_dir / "sub-08").symlink_to("sub-01")
    (order.bids_dir / "sub-list.txt").touch()
    told = slurm.call().splitlines()
    skipped = sorted(line.split(" is ")[0] for line in told if "is skipped" in line)
    assert skipped == ["SUB-05", "Sub-04", "sub-07", "sub\\ 09", "sub_06"]
    assert any("4 tasks, 4 participants" in line for line in told)


def test_only_odd_folders_are_no_participants(slurm, order):
    for number in (1, 2, 3):
        (order.bids_dir / f"sub-0{number}").rename(order.bids_dir / f"sub-0-{number}")
    told = slurm.call(status=3)
    assert told.count("is skipped") == 3
    assert "no participant sub-LABEL is seen here" in told


def test_participants_that_were_asked_for_are_all_that_is_said(slurm, order):
    (order.bids_dir / "sub-x-y").mkdir()
    slurm.rewrite(replace(order, participants=("01",)))
    assert "skipped" not in slurm.call()


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sbatch", "group_sbatch"])
@pytest.mark.parametrize(
    "option",
    ["short", "--array=1-2", "--output=x", "-o x", "-a1", "-d 3", "--out=x", "--clusters=a", "-Ma"],
)
def test_options_of_sbatch_that_the_scripts_set_are_refused(order, name, option):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} {option}"):
        write_scripts(replace(order, **{name: (option,)}))


@pytest.mark.parametrize("bind", ["lab", "/a:b", "/a:ro", "/a:", "/a:/b:", "/a:/b:x", "/a,/b", ""])
def test_binds_that_apptainer_would_take_otherwise_are_refused(order, with_image, bind):
    with pytest.raises(InputError, match="absolute paths"):
        write_scripts(replace(with_image, binds=(bind,)))
    with pytest.raises(InputError, match="--image"):
        write_scripts(replace(order, binds=("/lab",)))


def test_participants_that_the_dataset_lacks_are_named(order, capsys):
    arguments = ["slurm", str(order.bids_dir), str(order.output_dir), "--participant-label"]
    assert main_verbs([*arguments, "02", "sub-04", "2"]) == 3
    assert "--participant-label 04 2: no such folder" in capsys.readouterr().err
    assert not order.folder.exists()


@pytest.mark.parametrize(
    "text",
    ["--participant-label 01", "--dry-run --device cpu", "--help", "-h", "--version", "-w /scratch",
     "--use-plugin /p.yml"],
)  # fmt: skip
def test_options_that_would_measure_others_or_nothing_are_refused(order, capsys, text):
    arguments = ["slurm", str(order.bids_dir), str(order.output_dir), f"--options={text}"]
    assert main_verbs(arguments) == 3
    assert text.split()[0].replace("-w", "--work-dir") in capsys.readouterr().err
    assert not order.folder.exists()


def test_dots_in_paths_do_not_reach_the_container(order, with_image, monkeypatch):
    monkeypatch.chdir(order.bids_dir)
    arguments = ["slurm", "../bids", "../out", "--image", f"../bids/../{with_image.image.name}"]
    assert main_verbs([*arguments, "--options=--overwrite"]) == 0
    task = (order.folder / "participant.sbatch").read_text()
    assert ".." not in task
    assert f"--bind {order.bids_dir}:{order.bids_dir}:ro" in task
    assert task.count(" --overwrite ") == 1


@pytest.mark.parametrize(
    ("option", "text", "named"),
    [
        ("--options", "--bundle model", "--bundle model"),
        ("--options", "--bids-filter-file=./f.json", "--bids-filter-file f.json"),
        ("--group-options", "--participants-file ~/table.tsv", "--participants-file ~/table.tsv"),
    ],
)
def test_relative_paths_in_options_are_refused(order, capsys, option, text, named):
    arguments = ["slurm", str(order.bids_dir), str(order.output_dir), f"{option}={text}"]
    assert main_verbs(arguments) == 3
    assert f"{named}: is a relative path" in capsys.readouterr().err
    assert not order.folder.exists()


# --- the jobs themselves, with a pretended Apptainer -------------------------------------------


@pytest.fixture
def with_image(order, tmp_path):
    (tmp_path / "x.sif").write_text("image")
    return replace(order, image=tmp_path / "x.sif")


class Node:
    """A node that runs a task of the scripts; its Apptainer notes its words and does nothing."""

    def __init__(self, folder, order):
        self.slurm, self.folder = PretendedSlurm(folder / "fake", order), order.folder
        self.bin, self.temporary = folder / "bin", folder / "node tmp"
        self.bin.mkdir()
        self.temporary.mkdir()
        self.put('printf "%s\\n" "$@" > "$FAKE/words"; exit "${CODE:-0}"')

    def put(self, text):
        (self.bin / "apptainer").write_text(f"#!/bin/bash\n{text}\n")
        (self.bin / "apptainer").chmod(0o755)

    def start(self, script, *arguments, task=0, job=1, **variables):
        return subprocess.run(
            ["bash", self.folder / script, *arguments], capture_output=True, text=True,
            env={
                "PATH": f"{self.bin}:/usr/bin:/bin", "FAKE": str(self.bin),
                "TMPDIR": str(self.temporary), "SLURM_ARRAY_TASK_ID": str(task),
                "SLURM_ARRAY_JOB_ID": str(job), "SLURM_JOB_ID": str(job), **variables,
            },
        )  # fmt: skip

    def task(self, label, **options):
        list_file = self.state(f"sub-{label}").split()[1]
        return self.start("participant.sbatch", list_file, **options)

    def state(self, name):
        return (self.folder / "state" / name).read_text()

    def words(self):
        return (self.bin / "words").read_text().splitlines()


@pytest.fixture
def make_node(tmp_path, with_image):
    return lambda **more: Node(tmp_path, replace(with_image, **more))


def test_jobs_bind_what_was_asked(make_node):
    node = make_node(binds=("/lab/a bundle:/bundle:ro", "/annex"))
    node.slurm.call()
    assert node.task("01").returncode == 0
    words = node.words()
    bound = [value for flag, value in pairwise(words) if flag == "--bind"]
    assert bound[-2:] == ["/lab/a bundle:/bundle:ro", "/annex"]
    (node.bin / "words").unlink()
    mark = node.state("group").split()[1]
    assert node.start("group.sbatch", mark).returncode == 0
    assert "/lab/a bundle:/bundle:ro" in node.words()
    assert os.listdir(node.temporary) == [], "the work folders are gone"


def test_setup_runs_before_apptainer_in_both_jobs(make_node):
    node = make_node(setup=('export SAID="it\'s"  # a note', "CODE=5; export CODE", "true"))
    node.put('echo "$SAID" > "$FAKE/words"; exit "$CODE"')
    node.slurm.call()
    assert node.task("01").returncode == 1
    assert node.words() == ["it's"]
    assert node.state("sub-01").startswith("ended 5 ")
    assert node.start("group.sbatch", node.state("group").split()[1]).returncode == 5


@pytest.mark.parametrize(
    ("line", "code"), [("module load apptainer", 127), ("(exit 3)", 3), ("if true", 2)]
)
def test_setup_that_fails_ends_both_jobs_and_is_said(make_node, line, code):
    node = make_node(setup=(line, "touch $FAKE/later"), per_task=2)
    node.slurm.call()
    done = node.task("01")
    said = f"the set-up failed with exit status {code} on "
    assert (done.returncode, done.stdout.count(said)) == (1, 2)
    assert node.state("sub-01") == node.state("sub-02") == "ended 1\n"
    log = (node.folder / "sub-02.log").read_text()
    assert log.startswith(said)
    assert log.endswith(f": {line}\n")
    done = node.start("group.sbatch", node.state("group").split()[1])
    assert (done.returncode, done.stdout.count(said)) == (1, 1)
    assert node.state("group") == "ended 1\n"
    assert sorted(os.listdir(node.bin)) == ["apptainer"], "neither Apptainer nor a later line ran"


def test_setup_cannot_end_the_job_before_its_state_is_written(make_node):
    node = make_node(setup=("set -eu",))
    node.put("exit 4")
    node.slurm.call()
    node.task("01")
    assert node.state("sub-01").startswith("ended 4 ")
    node.start("group.sbatch", node.state("group").split()[1])
    assert node.state("group") == "ended 4\n"


def test_job_that_ends_leaves_the_state_of_its_successor(make_node):
    """While it ran, its participant and the group were submitted once more."""
    node = make_node()
    node.slurm.call()
    state = node.folder / "state"
    node.put(f'for x in sub-01 group; do echo "waiting later" > {state}/$x; done')
    node.task("01")
    assert node.state("sub-01") == "waiting later\n"
    (state / "group").write_text("running 1\n")
    node.start("group.sbatch", "mark", job=1)
    assert node.state("group") == "waiting later\n"


def test_jobs_leave_what_a_later_submission_took_over(make_node):
    node = make_node()
    node.slurm.call()
    first, group = (node.state(name).split()[1] for name in ("sub-01", "group"))
    node.slurm.call()  # the queue knows no job: all are killed, and submitted again
    again = node.state("sub-01")
    assert again.split()[1] != first
    done = node.start("participant.sbatch", first)
    assert (done.returncode, node.state("sub-01")) == (0, again)
    assert "sub-01 is left to another job: waiting" in done.stdout
    done = node.start("group.sbatch", group)
    assert done.returncode == 0
    assert "left to another job" in done.stdout
    assert not (node.bin / "words").exists()
    assert node.task("01", job=3).returncode == 0
    assert node.state("sub-01").startswith("ended 0 ")
    (node.folder / "state" / "sub-01").write_text("running 3_0\n")  # put in the queue again
    assert node.start("participant.sbatch", first, job=3).returncode == 0
    assert node.state("sub-01").startswith("ended 0 ")


# --- what made a result ------------------------------------------------------------------------


def finish_all(node):
    node.slurm.call()
    for number, label in enumerate(("01", "02", "03")):
        assert node.task(label, task=number).returncode == 0
    node.slurm.put(queue="")


def change_image(node, order):
    before = order.image.stat()
    order.image.write_text("another image")
    os.utime(order.image, ns=(before.st_atime_ns, before.st_mtime_ns))
    return order


def change_time_of_image(node, order):
    os.utime(order.image, (1e9, 1e9))
    return order


@pytest.mark.parametrize(
    "change",
    [
        change_image,
        change_time_of_image,
        lambda node, order: replace(order, arguments=("--fat-water", "scanner")),
        lambda node, order: replace(order, binds=("/lab/b:/bundle",)),
    ],
)
def test_done_by_another_recipe_is_said_and_done_again_on_request(make_node, with_image, change):
    node = make_node()
    finish_all(node)
    assert node.slurm.call("--status").startswith("done: 3\ngroup: ")
    write_scripts(change(node, with_image))
    said = "done, but by other options or another image: 3; to do them again: submit.sh --all"
    assert node.slurm.call("--status").startswith(said)
    node.slurm.calls()
    told = node.slurm.call()
    assert said in told
    assert "participants: none is missing" in told
    assert "3 tasks, 3 participants" in node.slurm.call("--all")


def test_what_changes_no_result_is_no_other_recipe(make_node, with_image):
    node = make_node()
    finish_all(node)
    more = {"cpus": 8, "mem_gb": 9, "setup": ("true",), "binds": ("/annex",)}
    write_scripts(replace(with_image, arguments=("--overwrite", "-vv"), **more))
    assert node.slurm.call("--status").startswith("done: 3\ngroup: ")


def test_states_without_a_recipe_and_unseen_images_count_as_done(make_node, with_image):
    node = make_node()
    finish_all(node)
    (node.folder / "state" / "sub-01").write_text("ended 0\n")
    with_image.image.unlink()
    assert node.slurm.call("--status").startswith("done: 3\ngroup: ")
    with_image.image.write_text("another image")
    assert node.slurm.call("--status").startswith("done: 1\ndone, but by other options")


@pytest.mark.parametrize("more", [{}, {"participants": ("01",), "group": False, "gpus": 1,
                                       "setup": ("module load apptainer", "true")}])  # fmt: skip
@pytest.mark.parametrize("image", [True, False])
def test_shellcheck_finds_nothing(order, with_image, more, image):
    if shutil.which("shellcheck") is None:
        end = pytest.fail if os.environ.get("CI") else pytest.skip
        end("no shellcheck on this machine: install it, for example by apt-get install shellcheck")
    scripts = render_scripts(replace(with_image if image else order, **more))
    for name, text in scripts.items():
        done = subprocess.run(
            ["shellcheck", "--shell=bash", "-"], input=text, text=True, capture_output=True
        )
        assert (done.returncode, done.stdout) == (0, ""), name
