"""What the deploy tests need of a machine: programs, an ordinary user, a Slurm, blocks of the docs.

The commands of the docs are run as they stand there; small programs in front of ``docker`` and
``apptainer`` on PATH add only where the base image comes from.
"""

import fcntl
import hashlib
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from checkout import ROOT

CI = ROOT / "container" / "ci"
BASE = "docker.io/library/python:3.11-slim-bookworm"
IMAGE = "localhost/bids_mfi:cpu"
LOCK = Path("/run/bids_mfi-deploy.lock")
STORE = Path(os.environ.get("BIDS_MFI_DEPLOY_STORE", "/var/lib/bids_mfi-deploy"))
USER = "bids-mfi-test"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST_ONLY = ("OPENBLAS_", "OMP_", "MKL_", "SLURM_", "PYTEST_")
HOW_TO_INSTALL = (
    "install it, or allow its installation by `BIDS_MFI_INSTALL_TOOLS=1 make deploy-test` as root "
    "on Debian 12 (CONTRIBUTING.md says what it changes)"
)
BLOCK = re.compile(r"<!-- test: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)


def need(*tools):
    """Skip, saying what is missing and how to get it."""
    missing = [tool for tool in tools if shutil.which(tool, path=SYSTEM_PATH) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: {HOW_TO_INSTALL}")


def need_working(tool):
    """Skip unless the program runs; its path. Half an installation is there and does not run."""
    need(tool)
    path = shutil.which(tool, path=SYSTEM_PATH)
    done = subprocess.run([path, "--version"], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{path} does not run ({done.stderr.strip()}): {HOW_TO_INSTALL}")
    return path


def need_host_address():
    """Skip where Slurm would not find its own node."""
    host = socket.gethostname().partition(".")[0]
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        pytest.skip(
            f"this machine's own name {host!r} has no address ({error}), which Slurm needs: "
            f"add `127.0.0.1 {host}` to /etc/hosts"
        )


def need_root():
    if os.getuid() != 0:
        pytest.skip("needs root, which starts Slurm and containers: run `make deploy-test` as root")


@contextmanager
def alone():
    """Wait until no other deploy test runs here: image, user and store have one name each."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_old(folders, older_than_s=86400.0):
    """Remove what runs that were killed left behind; a run that still goes on is younger."""
    for folder in folders:
        if time.time() - folder.lstat().st_mtime > older_than_s:
            shutil.rmtree(folder, ignore_errors=True)


def read_block(page, name):
    """The commands under ``<!-- test: NAME -->`` of a page in docs."""
    return dict(BLOCK.findall((ROOT / "docs" / page).read_text()))[name]


def plain_environment(**more):
    """This environment without what tunes numbers or belongs to a test or another Slurm."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(HOST_ONLY)}
    return kept | more


def run(command, status=0, **options):
    """Run a command, or a bash script; its output. Fails unless it ends with ``status``."""
    script = isinstance(command, str)
    done = subprocess.run(
        ["bash", "-euc", command] if script else [str(part) for part in command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options,
    )  # fmt: skip
    assert done.returncode == status, f"{command}\nexit status {done.returncode}\n{done.stdout}"
    return done.stdout


def run_python(*arguments, status=0, **options):
    """Run the package's verbs or run.py with this Python, as a user without any tuning would."""
    options.setdefault("env", plain_environment(PYTHONPATH=str(ROOT)))
    return run([sys.executable, *arguments], status, **options)


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}")
    path.chmod(0o755)


class OrdinaryUser:
    """A user without rights or home, made for the tests unless it exists."""

    def __init__(self):
        self.made = subprocess.run(["id", USER], capture_output=True).returncode != 0
        if self.made:
            run(["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", USER])
        self.uid, self.gid = (int(run(["id", flag, USER])) for flag in ("-u", "-g"))

    def own(self, *folders):
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            run(["chown", "-R", f"{self.uid}:{self.gid}", folder])

    def run(self, command, status=0, **variables):
        """Run a command as this user with a short environment of its own."""
        environment = {"PATH": SYSTEM_PATH, "HOME": "/nonexistent", "LOGNAME": USER, "USER": USER}
        return run(
            command, status, user=self.uid, group=self.gid, extra_groups=[], cwd="/",
            env=environment | {key: str(value) for key, value in variables.items()},
        )  # fmt: skip

    def remove(self):
        """Remove the user, unless it existed before."""
        if self.made:
            run(["userdel", USER])


class Engine:
    """Podman with a store of its own, in which the base image is a local stand-in."""

    def __init__(self, place):
        STORE.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = STORE.lstat()
        owned = found.st_uid == 0 and stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o022
        assert owned, f"{STORE} must be a folder of root that nobody else may write"
        (STORE / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{STORE}/storage"\n'
            f'runroot = "{STORE}/run"\n'
        )
        write_program(
            place / "bin" / "docker",
            "verb=$1; shift\n"
            'if [ "$verb" = build ]; then\n'
            '    set -- --pull=never --isolation=chroot --network=host --layers --quiet "$@"\n'
            "fi\n"
            'exec podman "$verb" "$@"\n',
        )
        self.environment = plain_environment(
            CONTAINERS_CONF=str(CI / "containers.conf"),
            CONTAINERS_STORAGE_CONF=str(STORE / "storage.conf"),
            PATH=f"{place}/bin:{SYSTEM_PATH}",
        )

    def tidy(self):
        """Keep the base and the last image; what is left of other builds would fill the disk."""
        self.run(["podman", "rm", "--all", "--force"])
        self.run(["buildah", "rm", "--all"])
        listed = self.run(["podman", "images", "--format", "{{.Repository}}:{{.Tag}}"]).split()
        for name in listed:
            if name not in (BASE, IMAGE) and "<none>" not in name:
                self.run(["podman", "rmi", "--force", name])
        self.run(["podman", "image", "prune", "--force"])

    def run(self, command, status=0, **variables):
        environment = self.environment | {key: str(value) for key, value in variables.items()}
        return run(command, status, env=environment, cwd=ROOT)


class Slurm:
    """A Slurm of one node, started for the tests."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        environment = plain_environment(PATH=SYSTEM_PATH, SLURM_TEST_CPUS="8")
        run(["bash", CI / "slurm.sh", "start", folder], env=environment)

    def stop(self):
        run(["bash", CI / "slurm.sh", "stop", self.folder])

    def ask(self, *command):
        return run(command, env=plain_environment(PATH=SYSTEM_PATH) | self.environment)

    def jobs(self):
        """Lines ``JOB_TASK STATE`` of what is queued or runs."""
        return self.ask("squeue", "--noheader", "--array", "--format", "%i %T").splitlines()

    def wait(self, within_s=900.0):
        """Wait until no job is left."""
        self.wait_for(lambda: not self.jobs(), within_s)

    def wait_for(self, condition, within_s=120.0):
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, f"not within {within_s} s; queue: {self.jobs()}"
            time.sleep(0.3)


def hash_results(output_dir):
    """For each label map, map and table its hash; a run on the same data has the same."""
    found = {}
    for pattern in ("sub-*/**/*.nii.gz", "sub-*/**/*.tsv", "sub-*/**/*.json", "*.tsv", "*.json"):
        for path in output_dir.glob(pattern):
            name = str(path.relative_to(output_dir))
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(ours, theirs):
    return {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
