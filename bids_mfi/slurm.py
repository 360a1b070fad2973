"""Slurm scripts of a study as text; must not know how a scan is measured, and submits nothing.

An array job measures the participants, a job that depends on it runs the group level.
``submit.sh`` keeps one small state file a participant, so that it can say what became of each
without Slurm's accounting, and submit only what is missing.
"""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_mfi import __version__
from bids_mfi.errors import InputError, OutputError
from bids_mfi.storage import explain_os_error, write_atomically

TEMPLATES = Path(__file__).parent / "data" / "slurm"
NAMES = ("participant.sbatch", "group.sbatch", "submit.sh")
MEMORY_KEPT = 0.9  # of a task's memory, that the steps may claim; the rest is for the main process
BLANK = set(" \t\n\r'\"\\$`#%")
LABEL = re.compile(r"[0-9A-Za-z+]+")
TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")
OWN_OPTIONS = ("--array", "--output", "--dependency")


@dataclass(frozen=True, slots=True)
class SlurmOrder:
    """What the scripts are to do.

    Attributes
    ----------
    bids_dir, output_dir : Path
        Absolute.
    image : Path or None
        Apptainer image; None: this Python on every node.
    participants : tuple of str
        Labels; empty for all that are in BIDS_DIR when the scripts run.
    per_task : int
        Participants that a task measures, one after another.
    cpus : int
        Processors of a task.
    mem_gb : int
        Memory of a task.
    gpus : int
        GPUs of a task; 0 for none.
    time : str
        Longest time of a task, as sbatch takes it.
    at_once : int or None
        Tasks that may run at the same time.
    sbatch : tuple of str
        Further options of sbatch, for both jobs.
    arguments, group_arguments : tuple of str
        Further options of run.py for each level.
    group : bool
        Whether the group level runs afterwards.
    """

    bids_dir: Path
    output_dir: Path
    image: Path | None = None
    participants: tuple[str, ...] = ()
    per_task: int = 1
    cpus: int = 4
    mem_gb: int = 8
    gpus: int = 0
    time: str = "01:00:00"
    at_once: int | None = None
    sbatch: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    group_arguments: tuple[str, ...] = ()
    group: bool = True

    @property
    def folder(self) -> Path:
        """Where the scripts, states and logs go."""
        return self.output_dir / "logs" / "slurm"


def write_scripts(order: SlurmOrder) -> Path:
    """Write the scripts and return the one to call.

    Raises
    ------
    InputError
        A path holds a character that sbatch's directives cannot, or the image is missing.
    OutputError
        OUTPUT_DIR cannot be written.
    """
    _check(order)
    for name, text in render_scripts(order).items():
        path = order.folder / name
        write_atomically(path, text.encode())
        if name.endswith(".sh"):
            try:
                path.chmod(0o755)
            except OSError as error:
                raise explain_os_error(path, error) from error
    return order.folder / "submit.sh"


def _check(order: SlurmOrder) -> None:
    if order.image is not None and not order.image.is_file():
        raise InputError(
            f"{order.image}: there is no such image. Expected an Apptainer image; build it as "
            "docs/hpc.md says, and name its path on the cluster."
        )
    if not order.bids_dir.is_dir():
        raise InputError(f"{order.bids_dir}: is no folder, expected the BIDS dataset.")
    for folder in (order.bids_dir, order.output_dir):
        if order.image is not None and {",", ":"} & set(str(folder)):
            raise InputError(
                f"{folder}: has a comma or a colon, which Apptainer does not take in a path that "
                "is bound. Name a link to it without."
            )
    _check_words(order)
    if BLANK & set(str(order.folder)):
        raise OutputError(
            f"{order.output_dir}: has a blank, quote, #, $ or %, which sbatch does "
            "not take in the path of a log. Choose another OUTPUT_DIR, or a link to it."
        )


def _check_words(order: SlurmOrder) -> None:
    """Refuse labels, times and options that sbatch or the scripts would take for something else."""
    for label in order.participants:
        if not LABEL.fullmatch(label):
            raise InputError(
                f"--participant-label {label}: expected a label of letters and digits, with or "
                "without sub-."
            )
    if not TIME.fullmatch(order.time):
        raise InputError(
            f"--time {order.time}: expected minutes, HH:MM:SS or DAYS-HH:MM:SS, as sbatch takes it."
        )
    for option in order.sbatch:
        if not option.startswith("-") or option.split("=")[0] in OWN_OPTIONS:
            raise InputError(
                f"--sbatch {option}: expected an option of sbatch as --partition=short; "
                f"{', '.join(OWN_OPTIONS)} are set by the scripts."
            )


def render_scripts(order: SlurmOrder) -> dict[str, str]:
    """Make the text of the scripts by file name; touches nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    values = {
        "version": __version__,
        "bids_dir": order.bids_dir,
        "output_dir": order.output_dir,
        "folder": order.folder,
        "participants": tuple(dict.fromkeys(order.participants)),
        "per_task": order.per_task,
        "cpus": order.cpus,
        "mem_gb": order.mem_gb,
        "claim_gb": f"{order.mem_gb * MEMORY_KEPT:g}",
        "time": order.time,
        "array_limit": f"%{order.at_once}" if order.at_once else "",
        "directives": (*((f"--gres=gpu:{order.gpus}",) if order.gpus else ()), *order.sbatch),
        "group_directives": order.sbatch,
        "command": _command(order, nv=order.gpus > 0),
        "group_command": _command(order, nv=False),
        "arguments": _join(order.arguments),
        "group_arguments": _join(order.group_arguments),
        "group": order.group,
    }
    return {name: environment.get_template(name).render(values) for name in NAMES}


def _join(arguments: Sequence[str]) -> str:
    return "".join(f" {shlex.quote(argument)}" for argument in arguments)


def _command(order: SlurmOrder, nv: bool) -> str:
    """Say what runs the BIDS App; ``$task_work`` is the task's own folder on the node.

    In the image the paths are those of the host, so that links and provenance stay true.
    """
    if order.image is None:
        return f"{shlex.quote(sys.executable)} -c {shlex.quote(START)}"
    binds = [f"{order.bids_dir}:{order.bids_dir}:ro", f"{order.output_dir}:{order.output_dir}"]
    bound = " ".join(f"--bind {shlex.quote(bind)}" for bind in binds)
    return (
        f"{GPU_OF_TASK if nv else ''}apptainer run --containall --cleanenv --no-home"
        f'{" --nv" if nv else ""} --workdir "$task_work" --bind "$task_work" {bound} '
        f"{shlex.quote(str(order.image))}"
    )


# The GPU that Slurm gave the task, where it is given by name; --cleanenv would drop it.
GPU_OF_TASK = (
    'env ${CUDA_VISIBLE_DEVICES:+APPTAINERENV_CUDA_VISIBLE_DEVICES="$CUDA_VISIBLE_DEVICES"} '
)
START = "import sys; from bids_mfi.cli import main; sys.exit(main())"
