"""Slurm scripts of a study as text; submits nothing.

An array job measures the participants, a job that depends on it runs the group level.
``submit.sh`` keeps one small state file per participant. It can thus report the state of each
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
from bids_mfi.counts import count_noun
from bids_mfi.errors import InputError, OutputError
from bids_mfi.storage import explain_os_error, write_atomically

TEMPLATES = Path(__file__).parents[1] / "data" / "slurm"
NAMES = ("participant.sbatch", "group.sbatch", "submit.sh")
MEMORY_KEPT = 0.9  # of a task's memory, that the steps may claim; the rest is for the main process
# In the path of a log sbatch takes % for a job's number, and after a backslash for nothing.
NOT_IN_LOG_PATHS = set("%\\")
SPECIAL = re.compile(r"[\s'\"\\#]|^:")  # in a line #SBATCH
WORD = re.compile(r"""[^\s'"=]*=?(?:"((?:[^"\\]|\\.)*)"|'([^']*)')(?=\s|$)|(?:\\\s|\S)+""")
OPTION = re.compile(r"--?[A-Za-z]")
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
        missing, or sbatch or Apptainer would not accept an option.
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
            f"{order.image}: there is no such image. Expected an Apptainer image; build it as in "
            "docs/hpc.md, and name its path on the cluster."
        )
    if not order.bids_dir.is_dir():
        raise InputError(f"{order.bids_dir}: is not a folder, expected the BIDS dataset.")
    for folder in (order.bids_dir, order.output_dir):
        if order.image is not None and {",", ":"} & set(str(folder)):
            raise InputError(
                f"{folder}: has a comma or a colon, which Apptainer does not accept in a bound "
                "path. Name a link to it that has none."
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
    """Refuse labels, times and options that sbatch or the scripts would misread."""
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
        for text in options:
            words = [option[0] for option in split_options(text)]
            if not text.startswith("-") or any(map(_is_own, words)):
                raise InputError(
                    f"{name} {text}: expected an option of sbatch such as --partition=short; "
                    "--array, --output and --dependency are set by the scripts; for another "
                    "cluster export SLURM_CLUSTERS before submit.sh is called."
                )


def split_options(text: str) -> list[tuple[str, ...]]:
    r"""Split options of sbatch as a person writes them; each is one word, or a name and its value.

    A value may hold blanks, with quotes around it or without. A word that begins like an option
    begins the next one.

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
    """Whether the next word may be the value: after --name or -X, without = or a value."""
    return "=" not in word if word.startswith("--") else len(word) == 2


def quote_word(word: str) -> str:
    r"""Write a word as sbatch reads it in a line #SBATCH, which is not quite as a shell does.

    There a backslash escapes in either kind of quotes, ``#`` outside them begins a comment, and
    ``$`` and the backtick are ordinary.

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
    """Make the text after #SBATCH, one line for each text that was given."""
    return tuple(
        " ".join(quote_word(word) for option in split_options(text) for word in option)
        for text in options
    )


def _is_own(option: str) -> bool:
    name = option.partition("=")[0]  # sbatch takes any beginning of one
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
                f"--bind {bind}: expected PATH, PATH:PATH or PATH:PATH:ro with absolute paths and "
                "without a comma."
            )


def _check_participants(order: SlurmOrder) -> None:
    """Name requested participants that the dataset does not have."""
    missing = [x for x in order.participants if not (order.bids_dir / f"sub-{x}").is_dir()]
    if missing:
        raise InputError(
            f"--participant-label {' '.join(missing)}: no such folder sub-LABEL in "
            f"{order.bids_dir}. Correct the label; upper and lower case matter."
        )


def render_scripts(order: SlurmOrder) -> dict[str, str]:
    """Make the text of the scripts by file name; writes nothing."""
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
    """Options of sbatch for the group job, which has no use for a GPU."""
    if order.group_sbatch:
        return _write_directives(order.group_sbatch)
    each = (" ".join(map(quote_word, o)) for text in order.sbatch for o in split_options(text))
    return tuple(option for option in each if not GPU_OPTION.fullmatch(option))


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
