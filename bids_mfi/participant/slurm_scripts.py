"""Text of the Slurm scripts of a study; this module submits nothing.

An array job measures the participants; a dependent job runs the group level. ``submit.sh`` keeps
one small state file per participant. It can thus report the state of each participant without
Slurm's accounting, and submit only what is missing.
"""

import hashlib
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_mfi import __version__
from bids_mfi.counts import count_noun
from bids_mfi.errors import InputError, OutputError
from bids_mfi.storage import explain_os_error, write_atomically

TEMPLATES = Path(__file__).parents[1] / "data" / "slurm"
NAMES = ("participant.sbatch", "group.sbatch", "submit.sh")
MEMORY_KEPT = 0.9  # share of a task's memory for the steps; the main process uses the rest
# In a log path, sbatch replaces % patterns with job numbers, but not after a backslash.
NOT_IN_LOG_PATHS = set("%\\")
SPECIAL = re.compile(r"[\s'\"\\#]|^:")  # in a line #SBATCH
WORD = re.compile(r"""[^\s'"=]*=?(?:"((?:[^"\\]|\\.)*)"|'([^']*)')(?=\s|$)|(?:\\\s|\S)+""")
OPTION = re.compile(r"--?[A-Za-z]")
LABEL = re.compile(r"[0-9A-Za-z+]+")
TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")
OWN_OPTIONS = ("--array", "--output", "--dependency", "--clusters")
OWN_LETTERS = ("-a", "-o", "-d", "-M")  # short forms
GPU_OPTION = re.compile(r"-G.*|--gres\S*[= ]\S*gpu.*|--gpus?\b.*|--\w+-per-gpu\b.*|--tres-.*")
# Options of run.py that do not change results.
EFFECTLESS = re.compile(r"--overwrite|-v+|--verbose|--notrack|--stop-on-first-crash|--write-graph")


@dataclass(frozen=True, slots=True)
class SlurmOrder:
    """Request for the Slurm scripts of a study.

    Attributes
    ----------
    bids_dir, output_dir : Path
        Absolute paths.
    image : Path or None
        Apptainer image; None runs this Python on every node.
    participants : tuple of str
        Labels; empty for all participants in BIDS_DIR when the scripts run.
    per_task : int
        Participants per task, measured one after another.
    cpus : int
        Processors per task.
    mem_gb : int
        Memory per task.
    gpus : int
        GPUs per task; 0 for none.
    time : str
        Time limit of a task, in the format of sbatch.
    at_once : int or None
        Maximum number of tasks at the same time.
    sbatch : tuple of str
        Further sbatch options for both jobs, without GPU options for the group job.
    group_sbatch : tuple of str
        sbatch options for the group job in place of ``sbatch``; empty if none are given.
    binds : tuple of str
        Further absolute paths for the jobs, in the format of Apptainer's ``--bind``.
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
        """Folder of the scripts, state files and logs."""
        return self.output_dir / "logs" / "slurm"


def write_scripts(order: SlurmOrder) -> Path:
    """Write the scripts and return the one to call.

    Raises
    ------
    InputError
        A path contains a character that sbatch directives do not support, the image or a
        participant is missing, or sbatch or Apptainer would not accept an option.
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
            f"{order.image}: no such image. Expected an Apptainer image; build it as in "
            "docs/hpc.md, and name its path on the cluster."
        )
    if not order.bids_dir.is_dir():
        raise InputError(f"{order.bids_dir}: is not a folder, expected the BIDS dataset.")
    for folder in (order.bids_dir, order.output_dir):
        if order.image is not None and {",", ":"} & set(str(folder)):
            raise InputError(
                f"{folder}: has a comma or a colon, which Apptainer does not accept in a bound "
                "path. Name a link to it without these characters."
            )
    _check_words(order)
    _check_binds(order)
    _check_participants(order)
    logs = str(order.folder)
    if NOT_IN_LOG_PATHS & set(logs) or not logs.isprintable():
        raise OutputError(
            f"{order.output_dir}: has a %, a backslash or an invisible character, which sbatch "
            "does not accept in the path of a log. Choose another OUTPUT_DIR, or a link to it."
        )


def _check_words(order: SlurmOrder) -> None:
    """Reject labels, times and options that sbatch or the scripts would misread."""
    for label in order.participants:
        if not LABEL.fullmatch(label):
            raise InputError(
                f"--participant-label {label}: expected a label of letters and digits, with or "
                "without sub-."
            )
    if not TIME.fullmatch(order.time):
        raise InputError(
            f"--time {order.time}: expected minutes, HH:MM:SS or DAYS-HH:MM:SS, as for sbatch."
        )
    for name, options in (("--sbatch", order.sbatch), ("--group-sbatch", order.group_sbatch)):
        for text in options:
            words = [option[0] for option in split_options(text)]
            if not text.startswith("-") or any(map(_is_own, words)):
                raise InputError(
                    f"{name} {text}: expected an option of sbatch such as --partition=short; "
                    "the scripts set --array, --output and --dependency; for another "
                    "cluster, export SLURM_CLUSTERS before calling submit.sh."
                )


def split_options(text: str) -> list[tuple[str, ...]]:
    r"""Split user-written sbatch options; each is one word, or a name and its value.

    A value may contain spaces, with or without quotes. A word that starts like an option starts the
    next option.

    Examples
    --------
    >>> split_options("--comment=my study"), split_options("-A lab --qos 'my own'")
    ([('--comment=my study',)], [('-A', 'lab'), ('--qos', 'my own')])
    >>> split_options("--comment=Anna's") == split_options('--comment="Anna\'s"')
    True
    """
    options: list[list[str]] = []
    for found in WORD.finditer(text):
        word, bare = _unquote(found), found[0]
        if OPTION.match(bare) or not options:
            options.append([word])
        elif len(options[-1]) == 1 and _awaits_value(options[-1][0]):
            options[-1].append(word)
        else:
            options[-1][-1] += f" {word}"
    return [tuple(option) for option in options]


def _unquote(found: re.Match[str]) -> str:
    """Remove the quotes around a word or its value, and escapes."""
    for number, quote in ((1, '"'), (2, "'")):
        value = found[number]
        if value is not None:
            value = re.sub(r'\\(["\\])', r"\1", value) if quote == '"' else value
            return found[0].partition(quote)[0] + value
    return re.sub(r"""\\([\s"'#\\])""", r"\1", found[0])


def _awaits_value(word: str) -> bool:
    """Check whether the next word may be the value: after --name or -X, without = or a value."""
    return "=" not in word if word.startswith("--") else len(word) == 2


def quote_word(word: str) -> str:
    r"""Quote a word for a #SBATCH line, whose rules differ slightly from those of a shell.

    In such a line, a backslash escapes in both kinds of quotes, ``#`` outside quotes starts a
    comment, and ``$`` and the backtick are ordinary characters.

    Examples
    --------
    >>> quote_word("--comment=my study"), quote_word("--qos=high")
    ('--comment="my study"', '--qos=high')
    """
    if word and not SPECIAL.search(word):
        return word
    named = re.match(r"--[\w-]+=", word)
    name = named[0] if named else ""
    value = word.removeprefix(name)
    return name + '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def _write_directives(options: Sequence[str]) -> tuple[str, ...]:
    """Make the text after #SBATCH, one line per given text."""
    return tuple(
        " ".join(quote_word(word) for option in split_options(text) for word in option)
        for text in options
    )


def _is_own(option: str) -> bool:
    name = option.partition("=")[0]  # sbatch accepts unique prefixes
    begins = len(name) > 2 and any(own.startswith(name) for own in OWN_OPTIONS)
    return begins or option[:2] in OWN_LETTERS


def _check_binds(order: SlurmOrder) -> None:
    """Reject paths that Apptainer would bind elsewhere or not at all.

    The function does not check whether the path exists, because it may exist only on the nodes and
    not on the machine, or in the container, in which the scripts are written.
    """
    for bind in order.binds:
        if order.image is None:
            raise InputError(f"--bind {bind}: has no effect without --image. Name the image.")
        source, _, rest = bind.partition(":")
        target, _, mode = rest.partition(":")
        whole = all(path.startswith("/") for path in (source, target or source))
        if "," in bind or not whole or bind.endswith(":") or mode not in ("", "ro", "rw"):
            raise InputError(
                f"--bind {bind}: expected PATH, PATH:PATH or PATH:PATH:ro with absolute paths and "
                "without a comma."
            )


def _check_participants(order: SlurmOrder) -> None:
    """Reject requested participants that the dataset does not contain."""
    missing = [x for x in order.participants if not (order.bids_dir / f"sub-{x}").is_dir()]
    if missing:
        raise InputError(
            f"--participant-label {' '.join(missing)}: no such folder sub-LABEL in "
            f"{order.bids_dir}. Correct the label; labels are case-sensitive."
        )


def render_scripts(order: SlurmOrder) -> dict[str, str]:
    """Return the text of the scripts by file name; write nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    environment.filters["counted"] = count_noun
    environment.filters["directive"] = lambda value: quote_word(str(value))
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
        "directives": (
            *((f"--gres=gpu:{order.gpus}",) if order.gpus else ()),
            *_write_directives(order.sbatch),
        ),
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
    """Return the sbatch options for the group job, which does not need a GPU."""
    if order.group_sbatch:
        return _write_directives(order.group_sbatch)
    each = (" ".join(map(quote_word, o)) for text in order.sbatch for o in split_options(text))
    return tuple(option for option in each if not GPU_OPTION.fullmatch(option))


def _recipe(order: SlurmOrder) -> str:
    """Make the bash word that identifies the inputs of the results, for the state files.

    The word is a digest of image and options, followed by size and time of the image when the task
    runs. It is empty if the image is not accessible.
    """
    words = [word for word in order.arguments if not EFFECTLESS.fullmatch(word)]
    moved = [bind for bind in order.binds if ":/" in bind]  # changes the content of a path
    program = [str(order.image), *moved] if order.image else [sys.executable, __version__]
    digest = hashlib.sha256("\0".join([*program, *words]).encode()).hexdigest()[:12]
    if order.image is None:
        return digest
    image = shlex.quote(str(order.image))
    return f"$(stat -L --printf {digest}-%s-%Y {image} 2> /dev/null || true)"


def _command(order: SlurmOrder, nv: bool) -> str:
    """Return the command of the BIDS App; ``$task_work`` is the task's own folder on the node.

    Paths in the image are the same as on the host, so that links and provenance remain valid.
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


# Pass on the GPU that Slurm assigned by name to the task; --cleanenv would drop it.
GPU_OF_TASK = (
    'env ${CUDA_VISIBLE_DEVICES:+APPTAINERENV_CUDA_VISIBLE_DEVICES="$CUDA_VISIBLE_DEVICES"} '
)
START = "import sys; from bids_mfi.cli import main; sys.exit(main())"
