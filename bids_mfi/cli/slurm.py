"""The verb ``slurm``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bids_mfi.cli.app import build_parser
from bids_mfi.cli.arguments import Parser
from bids_mfi.cli.output import EXIT_STATUSES, print_out
from bids_mfi.cli.values import one_line, positive_int, whole_number, without_dots, without_prefix
from bids_mfi.errors import InputError

# Options of run.py that the scripts for Slurm set themselves, or that measure nothing.
JOBS_DECIDE = ("participant_label", "dry_run", "work_dir", "use_plugin")


def add_slurm(verbs: "argparse._SubParsersAction[Parser]") -> None:
    """Add the parser of ``slurm``."""
    slurm = verbs.add_parser(
        "slurm",
        help="write scripts for a Slurm cluster: an array of participants, then the group",
        description="Write OUTPUT_DIR/logs/slurm/submit.sh and two job scripts. submit.sh submits "
        "what is missing; with --status, it reports the state of each participant. See "
        "docs/hpc.md.",
        epilog=EXIT_STATUSES,
    )
    slurm.add_argument("bids_dir", type=Path, help="BIDS dataset with the scans")
    slurm.add_argument("output_dir", type=Path, help="folder for the derivatives")
    slurm.add_argument(
        "--image", type=Path, metavar="SIF", help="Apptainer image (default: this Python)"
    )
    slurm.add_argument(
        "--bind", type=one_line, action="append", default=[], metavar="PATH[:PATH[:ro]]",
        help="further paths that the jobs see, for example a bundle, in Apptainer's syntax; needs "
        "--image; may be repeated",
    )  # fmt: skip
    slurm.add_argument(
        "--setup", type=one_line, action="append", default=[], metavar="LINE",
        help="a line of bash that runs first in each job, for example 'module load apptainer'; if "
        "it fails, the job ends; may be repeated",
    )  # fmt: skip
    slurm.add_argument(
        "--participant-label",
        nargs="+",
        default=(),
        metavar="LABEL",
        help="only these participants (default: all that BIDS_DIR holds when submit.sh runs)",
    )
    slurm.add_argument(
        "--participants-per-task", type=positive_int, default=1, metavar="N",
        help="participants that a task measures one after another (default: %(default)s)",
    )  # fmt: skip
    _add_resources(slurm.add_argument_group("what a task may use"))
    slurm.add_argument(
        "--options", default="", metavar="TEXT",
        help="further options of run.py for the participants, as one text, for example "
        "--options=--overwrite; absolute paths only",
    )  # fmt: skip
    slurm.add_argument(
        "--group-options", default="", metavar="TEXT",
        help="the same for the group, for example --group-options='--correction holm'",
    )  # fmt: skip
    slurm.add_argument("--no-group", action="store_true", help="no group job")
    slurm.set_defaults(handler=_run_slurm)


def _add_resources(group: "argparse._ArgumentGroup") -> None:
    numbers = (
        ("--cpus", 2, "processors"), ("--mem", 4, "gigabytes of memory"), ("--gpus", 0, "GPUs"),
    )  # fmt: skip
    for name, default, what in numbers:
        kind = whole_number if default == 0 else positive_int
        group.add_argument(
            name, type=kind, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    group.add_argument(
        "--time", type=one_line, default="01:00:00", metavar="TIME",
        help="time limit, in sbatch's syntax (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--at-once", type=positive_int, metavar="N", help="tasks that run at the same time"
    )
    group.add_argument(
        "--sbatch", type=one_line, action="append", default=[], metavar="OPTION",
        help="a further option of sbatch, for example --sbatch=--partition=short or "
        "--sbatch='--comment=my study'; also applies to the group job, unless it requests a GPU or "
        "--group-sbatch is given; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--group-sbatch", type=one_line, action="append", default=[], metavar="OPTION",
        help="an option of sbatch for the group job, replacing those of --sbatch; may be repeated",
    )  # fmt: skip


def _run_slurm(arguments: argparse.Namespace) -> int:
    import shlex

    from bids_mfi.bids.output_folder import check_output_dir
    from bids_mfi.participant.slurm_scripts import SlurmOrder, write_scripts

    bids_dir, output_dir = (without_dots(p) for p in (arguments.bids_dir, arguments.output_dir))
    check_output_dir(bids_dir, output_dir)
    folders = [str(bids_dir), str(output_dir)]
    options, group_options = (
        _split_options(folders, level, text)
        for level, text in (("participant", arguments.options), ("group", arguments.group_options))
    )
    order = SlurmOrder(
        bids_dir=bids_dir,
        output_dir=output_dir,
        image=None if arguments.image is None else without_dots(arguments.image),
        participants=without_prefix(arguments.participant_label, "sub-"),
        per_task=arguments.participants_per_task,
        cpus=arguments.cpus,
        mem_gb=arguments.mem,
        gpus=arguments.gpus,
        time=arguments.time,
        at_once=arguments.at_once,
        sbatch=tuple(arguments.sbatch),
        group_sbatch=tuple(arguments.group_sbatch),
        binds=tuple(arguments.bind),
        setup=tuple(arguments.setup),
        arguments=options,
        group_arguments=group_options,
        group=not arguments.no_group,
    )
    script = write_scripts(order)
    print_out(f"submit:  bash {shlex.quote(str(script))}")
    print_out(f"status:  bash {shlex.quote(str(script))} --status")
    return 0


def _split_options(folders: Sequence[str], level: str, text: str) -> tuple[str, ...]:
    """Split options of run.py given as one text; its parser exits with 2 at a wrong one.

    Raises
    ------
    InputError
        A quote is open, or an option is none for a job: see :func:`_check_job_option`.
    """
    import shlex

    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(
            f"{text}: is not a list of options ({error}); close the quotes."
        ) from error
    if {"-h", "--help", "--version"} & set(words):
        raise InputError(f"{text}: measures nothing. Expected options for every job.")
    for name, value in vars(build_parser().parse_args([*folders, level, *words])).items():
        _check_job_option(name.replace("_", "-"), value, name in JOBS_DECIDE)
    return words


def _check_job_option(name: str, value: object, jobs_decide: bool) -> None:
    """Refuse an option of run.py that would make a job measure something else, or nothing."""
    if jobs_decide and value:
        raise InputError(
            f"--{name} is not an option for every job: each sets its own participants, work folder "
            "and plugin, and measures. Choose participants with --participant-label of "
            "`slurm`."
        )
    if isinstance(value, Path) and not value.is_absolute():
        raise InputError(
            f"--{name} {value}: is a relative path, but the jobs run in another folder. Name the "
            "absolute path as the nodes see it."
        )
