"""Slurm scripts of a study as text; must not know how a scan is measured, and submits nothing.

An array job measures the participants, a job that depends on it runs the group level.
``submit.sh`` keeps one small state file a participant, so that it can say what became of each
without Slurm's accounting, and submit only what is missing.
"""

import hashlib
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
OWN_OPTIONS = ("--array", "--output", "--dependency", "--clusters")
OWN_LETTERS = ("-a", "-o", "-d", "-M")  # the same, short
GPU_OPTION = re.compile(r"-G.*|--gres\S*[= ]\S*gpu.*|--gpus?\b.*|--\w+-per-gpu\b.*|--tres-.*")
# Options of run.py that change no result.
EFFECTLESS = re.compile(r"--overwrite|-v+|--verbose|--notrack|--stop-on-first-crash|--write-graph")


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
        Further options of sbatch, for both jobs; the group job gets no GPU by them.
    group_sbatch : tuple of str
        Options of sbatch for the group job in place of ``sbatch``; empty: none given.
    binds : tuple of str
        What the jobs see besides, as ``--bind`` of Apptainer takes it; absolute.
    setup : tuple of str
        Lines of bash that run before Apptainer or Python, in both jobs.
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
    cpus: int = 2
    mem_gb: int = 4
    gpus: int = 0
    time: str = "01:00:00"
    at_once: int | None = None
    sbatch: tuple[str, ...] = ()
    group_sbatch: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
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
        A path holds a character that sbatch's directives cannot, the image or a participant is
        missing, or an option is none that sbatch or Apptainer would take.
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
    _check_binds(order)
    _check_participants(order)
    if BLANK & set(str(order.folder)):
        raise OutputError(
            f"{order.output_dir}: has a blank, quote, backslash, backtick, #, $ or %, which sbatch "
            "does not take in the path of a log. Choose another OUTPUT_DIR, or a link to it."
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
    for name, options in (("--sbatch", order.sbatch), ("--group-sbatch", order.group_sbatch)):
        for option in options:
            if not option.startswith("-") or _is_own(option):
                raise InputError(
                    f"{name} {option}: expected an option of sbatch as --partition=short; "
                    "--array, --output and --dependency are set by the scripts; for another "
                    "cluster export SLURM_CLUSTERS before submit.sh is called."
                )


def _is_own(option: str) -> bool:
    name = re.split("[= ]", option)[0]  # sbatch takes any beginning of one
    begins = len(name) > 2 and any(own.startswith(name) for own in OWN_OPTIONS)
    return begins or option[:2] in OWN_LETTERS


def _check_binds(order: SlurmOrder) -> None:
    """Refuse what Apptainer would bind elsewhere or not at all.

    Whether the path exists is not asked: the nodes may see more than the machine, or the container,
    in which the scripts are written.
    """
    for bind in order.binds:
        if order.image is None:
            raise InputError(f"--bind {bind}: without --image nothing is bound. Name the image.")
        source, _, rest = bind.partition(":")
        target, _, mode = rest.partition(":")
        whole = all(path.startswith("/") for path in (source, target or source))
        if "," in bind or not whole or bind.endswith(":") or mode not in ("", "ro", "rw"):
            raise InputError(
                f"--bind {bind}: expected PATH, PATH:PATH or PATH:PATH:ro with whole paths, from "
                "/, and without a comma."
            )


def _check_participants(order: SlurmOrder) -> None:
    """Name the participants asked for that the dataset does not have."""
    missing = [x for x in order.participants if not (order.bids_dir / f"sub-{x}").is_dir()]
    if missing:
        raise InputError(
            f"--participant-label {' '.join(missing)}: no such folder sub-LABEL in "
            f"{order.bids_dir}. Correct the label; upper and lower case matter."
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
        "group_directives": _group_directives(order),
        "setup": order.setup,
        "recipe": _recipe(order),
        "command": _command(order, nv=order.gpus > 0),
        "group_command": _command(order, nv=False),
        "arguments": _join(order.arguments),
        "group_arguments": _join(order.group_arguments),
        "group": order.group,
    }
    return {name: environment.get_template(name).render(values) for name in NAMES}


def _join(arguments: Sequence[str]) -> str:
    return "".join(f" {shlex.quote(argument)}" for argument in arguments)


def _group_directives(order: SlurmOrder) -> tuple[str, ...]:
    """Options of sbatch for the group job, which has no use for a GPU."""
    shared = tuple(option for option in order.sbatch if not GPU_OPTION.fullmatch(option))
    return order.group_sbatch or shared


def _recipe(order: SlurmOrder) -> str:
    """Make the word of bash that says what decides the results, for the state files.

    A digest of image and options, then size and time of the image as they are when the task runs;
    nothing where the image cannot be seen.
    """
    words = [word for word in order.arguments if not EFFECTLESS.fullmatch(word)]
    moved = [bind for bind in order.binds if ":/" in bind]  # gives a path another content
    program = [str(order.image), *moved] if order.image else [sys.executable, __version__]
    digest = hashlib.sha256("\0".join([*program, *words]).encode()).hexdigest()[:12]
    if order.image is None:
        return digest
    image = shlex.quote(str(order.image))
    return f"$(stat -L --printf {digest}-%s-%Y {image} 2> /dev/null || true)"


def _command(order: SlurmOrder, nv: bool) -> str:
    """Say what runs the BIDS App; ``$task_work`` is the task's own folder on the node.

    In the image the paths are those of the host, so that links and provenance stay true.
    """
    if order.image is None:
        return f"{shlex.quote(sys.executable)} -P -c {shlex.quote(START)}"
    binds = [f"{order.bids_dir}:{order.bids_dir}:ro", f"{order.output_dir}:{order.output_dir}"]
    binds += order.binds
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
