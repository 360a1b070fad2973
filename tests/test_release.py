"""What is published: wheel and sdist build, are in order, and work outside the checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from checkout import copy_tracked

import bids_mfi

DATA = (
    "data/bundle/models/model.pt", "data/report/group.js", "data/slurm/submit.sh",
    "data/recipes/synthetic.toml", "data/cards/synthetic-neck.toml",
    "data/derivatives/README.md",
)  # fmt: skip


def call(*command, status=0, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Wheel and sdist, built from a copy of what git holds."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    copy_tracked(source, "pyproject.toml", "README.md", "LICENSE", "bids_mfi")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source)
    return folder


def test_names_carry_the_one_version(dist):
    version = bids_mfi.__version__
    assert sorted(path.name for path in dist.iterdir()) == [
        f"bids_mfi-{version}-py3-none-any.whl", f"bids_mfi-{version}.tar.gz"
    ]  # fmt: skip


def test_metadata_are_fit_for_publication(dist):
    told = call(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir())
    assert told.count("PASSED") == 2


def test_files_that_git_does_not_hold_are_not_copied(tmp_path, monkeypatch):
    checkout, folder = tmp_path / "checkout", tmp_path / "copy"
    (checkout / "package" / "data").mkdir(parents=True)
    for name in ("held", "edited", "removed", "stray"):
        (checkout / "package" / "data" / name).write_text("")
    monkeypatch.setattr("checkout.ROOT", checkout)
    call("git", "init", "--quiet", checkout)
    names = [f"package/data/{name}" for name in ("edited", "held", "removed")]
    call("git", "-C", checkout, "add", *names)
    (checkout / names[0]).write_text("edited")
    (checkout / names[2]).unlink()
    assert copy_tracked(folder, "package") == names[:2]
    assert (folder / names[0]).read_text() == "edited"
    assert {path.name for path in (folder / "package" / "data").iterdir()} == {"held", "edited"}


def test_data_are_in_both(dist):
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in DATA:
        assert f"bids_mfi/{name}" in inside
        assert f"bids_mfi/{name}" in names
    assert not [name for name in inside if name.startswith("tests/")]


@pytest.mark.slow
def test_wheel_works_outside_the_checkout(dist, tmp_path):
    """In an environment that sees the dependencies of this one, but not the checkout."""
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    (wheel,) = dist.glob("*.whl")
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    target = tmp_path / "package"
    call(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, wheel)
    own = Path(sys.executable).parents[1] / "lib" / site.parent.name / "site-packages"
    (site / "dependencies.pth").write_text(f"{target}\n{own}\n")
    python = tmp_path / "venv" / "bin" / "python"
    where = call(python, "-c", "import bids_mfi; print(bids_mfi.__file__)", cwd=tmp_path)
    assert where.startswith(str(target))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    told = call(
        python, "-m", "bids_mfi", "demo", tmp_path / "demo", "--participants", "1",
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert "1 scan done, 0 already done, 0 failed" in told
    assert (tmp_path / "demo" / "derivatives" / "group.html").is_file()
