"""Parsers and one handler a verb; must not know how anything is done.

With ``workflow`` the only file that catches errors, prints or exits.

``run.py`` speaks the BIDS App grammar (:func:`main`), ``python -m bids_mfi`` the verbs around it
(:func:`main_verbs`). Nothing heavy is imported before the arguments are parsed.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mfi import __version__
from bids_mfi.cli.arguments import Parser
from bids_mfi.counts import count_noun
from bids_mfi.errors import InputError, MFIError, OutputError
from bids_mfi.options import (
    CORRECTIONS,
    HIGHEST_SEED,
    LEVEL_CHOICES,
    MISSING_RULES,
    RunOptions,
    TrainOptions,
)
from bids_mfi.printing import escape_text, printable_output
from bids_mfi.signals import Interrupted, end_on_signals

if TYPE_CHECKING:
    from bids_mfi.evaluation import Comparison
    from bids_mfi.findings import Finding
    from bids_mfi.participant.workflow import RunSummary

MOST_DIGITS = len(str(HIGHEST_SEED))
# Options of run.py that the scripts for Slurm set themselves, or that measure nothing.
JOBS_DECIDE = ("participant_label", "dry_run", "work_dir", "use_plugin")
MOST_NAMES = 10  # printed of what was not compared

NOTICE = "Research software, not a medical device."
EXIT_STATUSES = (
    "Exit status: 0 all done; 1 some scan failed, the others are finished; 2 wrong usage, or "
    "something that an option asks for is not there; 3 the dataset or other input; 4 the model; "
    "5 the output folder; 130, 143 or 129 ended by "
    "Ctrl-C, SIGTERM or SIGHUP."
)
SPELLING = "Options may be spelt with _ in place of -."


def build_parser() -> Parser:
    """Build the parser of ``run.py``."""
    parser = Parser(
        prog="run.py",
        description="Muscle fat infiltration (MFI) and volume of fourteen neck muscles from Dixon "
        f"MRI in a BIDS dataset. {NOTICE}",
        epilog=f"{SPELLING} {EXIT_STATUSES}",
    )
    parser.add_argument("bids_dir", type=Path, help="BIDS dataset with the scans")
    parser.add_argument("output_dir", type=Path, help="folder for the derivatives")
    parser.add_argument(
        "analysis_level",
        choices=("participant", "group"),
        help="participant measures the scans; then group makes tables, statistics and plots",
    )
    parser.add_argument("--version", action="version", version=f"bids_mfi {__version__}")
    _add_selection(parser.add_argument_group("which scans"))
    _add_measuring(parser.add_argument_group("what is measured"))
    _add_running(parser.add_argument_group("how it runs"))
    _add_statistics(parser.add_argument_group("statistics of the level group"))
    return parser


def _add_selection(group: "argparse._ArgumentGroup") -> None:
    _add_scans(group)
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print the image pairs, how each was recognised and what the run would find; write "
        "nothing; the exit status is that of the run",
    )
    group.add_argument("--json", action="store_true", help="print the dry run as JSON")


def _add_scans(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--participant-label",
        nargs="+",
        default=(),
        metavar="LABEL",
        help="only these participants, with or without sub-",
    )
    group.add_argument(
        "--session-label",
        "--session-id",
        nargs="+",
        default=(),
        metavar="LABEL",
        help="only these sessions, with or without ses-",
    )
    group.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help="JSON that names the images by entities: {query: {entity: value}} with the queries "
        "ip, oop, fat and water; null means without this entity, * means any value",
    )
    group.add_argument(
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="keep PyBIDS' index there and use it again",
    )
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="accept a dataset without a valid dataset_description.json",
    )


def _add_measuring(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--bundle", type=Path, metavar="DIR", help="model bundle (default: the one included)"
    )
    group.add_argument(
        "--fat-water",
        choices=("computed", "scanner"),
        default="computed",
        help="fat and water computed from in-phase and out-of-phase, or the scanner's own images "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results made by another version, bundle, option or input, or changed since; "
        "a label map that was edited is first copied to edited/ in OUTPUT_DIR",
    )


def _add_running(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the network runs (default: a CUDA device if there is one)",
    )
    group.add_argument(
        "--nprocs",
        "--n-cpus",
        type=_positive_int,
        metavar="N",
        help="processors to use at most (default: all that are allowed)",
    )
    group.add_argument(
        "--omp-nthreads",
        type=_positive_int,
        metavar="N",
        help="threads of one segmentation at most (default: what --nprocs leaves for each)",
    )
    group.add_argument(
        "--mem",
        "--mem-gb",
        type=_positive_float,
        metavar="GB",
        help="gigabytes that the steps at work may claim together; each claims a fixed estimate, "
        "a segmentation 2.5 GB (default: nine tenths of the machine's memory)",
    )
    group.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="where intermediate files go, in a folder of this run's own that is kept when a "
        "scan fails (default: the system's temporary folder, never kept)",
    )
    group.add_argument(
        "--use-plugin",
        type=Path,
        metavar="FILE",
        help="nipype plugin as YAML (plugin, plugin_args) in place of MultiProc",
    )
    group.add_argument(
        "--stop-on-first-crash",
        action="store_true",
        help="stop at the first scan that fails (default: finish the others)",
    )
    group.add_argument(
        "--write-graph", action="store_true", help="write the graph of the steps to logs/"
    )
    group.add_argument("--notrack", action="store_true", help="accepted; nothing is ever tracked")
    group.add_argument(
        "-v", "--verbose", action="count", default=0, help="say more; up to three times"
    )


def _add_statistics(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--participants-file",
        type=Path,
        metavar="FILE",
        help="table with participant_id, sex, age and bmi (or height in cm and weight in kg); with "
        "a column session_id a line a session (default: participants.tsv of BIDS_DIR)",
    )
    group.add_argument(
        "--session",
        metavar="LABEL",
        help="session that is analysed, and from which change is measured (default: the first)",
    )
    group.add_argument(
        "--session-order",
        metavar="LABELS",
        help="sessions in their order with commas between them, for example pre,post (default: by "
        "acq_time, else sessions.tsv, else their labels)",
    )
    group.add_argument(
        "--missing",
        choices=MISSING_RULES,
        help="a muscle counts when both sides are there; the same, and only participants with "
        "all muscles, sex, age and BMI; or when any side is there (default: both)",
    )
    group.add_argument(
        "--correction",
        choices=CORRECTIONS,
        help="adjusted p-values beside the raw ones (default: none, as in the paper)",
    )
    group.add_argument(
        "--model",
        metavar="FORMULA",
        help="a further model with columns of the participants' table, for example "
        "'mfi ~ group + age + sex'",
    )
    group.add_argument(
        "--controls",
        metavar="CONDITION",
        help="who is a control, for example \"group == 'control'\": gives each participant's "
        "centiles among them by sex, age and BMI",
    )


def _positive_int(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal() or len(text) > MOST_DIGITS or int(text) > HIGHEST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {HIGHEST_SEED}")
    return int(text)


def _spacing_mm(text: str) -> float:
    value = _positive_float(text)
    if not 0.3 <= value <= 20:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.3 and 20 mm")
    return value


def _positive_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _variation(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 2")
    return value


def read_options(arguments: argparse.Namespace) -> RunOptions:
    """Make the options of a run from parsed arguments; folders become absolute."""
    return RunOptions(
        bids_dir=arguments.bids_dir.absolute(),
        output_dir=arguments.output_dir.absolute(),
        analysis_level=arguments.analysis_level,
        participant_label=tuple(x.removeprefix("sub-") for x in arguments.participant_label),
        session_label=tuple(x.removeprefix("ses-") for x in arguments.session_label),
        bids_filter_file=_absolute(arguments.bids_filter_file),
        bids_database_dir=_absolute(arguments.bids_database_dir),
        skip_bids_validation=arguments.skip_bids_validation,
        bundle=_absolute(arguments.bundle),
        device=arguments.device,
        fat_water=arguments.fat_water,
        nprocs=arguments.nprocs,
        omp_nthreads=arguments.omp_nthreads,
        mem_gb=arguments.mem,
        work_dir=_absolute(arguments.work_dir),
        use_plugin=_absolute(arguments.use_plugin),
        stop_on_first_crash=arguments.stop_on_first_crash,
        write_graph=arguments.write_graph,
        overwrite=arguments.overwrite,
        participants_file=_absolute(arguments.participants_file),
        session=arguments.session,
        session_order=_split_labels(arguments.session_order),
        missing=arguments.missing or "both",
        correction=arguments.correction or "none",
        model=arguments.model,
        controls=arguments.controls,
        dry_run=arguments.dry_run,
        json=arguments.json,
        verbose=arguments.verbose,
    )


def _split_labels(text: str | None) -> tuple[str, ...]:
    """Labels of a text with commas or spaces between them."""
    return tuple((text or "").replace(",", " ").split())


def _absolute(path: Path | None) -> Path | None:
    """Make a path independent of the current folder, which worker processes do not share."""
    return None if path is None else path.absolute()


def _without_dots(path: Path) -> Path:
    """Make a path absolute and free of `..`, which means another folder inside a container."""
    return path.resolve() if ".." in path.parts else path.absolute()


@printable_output()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the BIDS App and return the exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.json and not arguments.dry_run:
        parser.error("--json needs --dry-run")
    _refuse_group_options(parser, arguments)
    options = read_options(arguments)
    return _report_errors(lambda: _run_app(options))


PARTICIPANT_OPTIONS = (
    "bids_filter_file", "bids_database_dir", "skip_bids_validation", "bundle", "fat_water",
    "overwrite", "device", "nprocs", "omp_nthreads", "mem", "work_dir", "use_plugin",
    "stop_on_first_crash", "write_graph",
)  # fmt: skip
GROUP_OPTIONS = (
    "participants_file", "session", "session_order", "missing", "correction", "model", "controls",
)  # fmt: skip


def _refuse_group_options(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse options that would have no effect at the level participant."""
    given = [name for name in GROUP_OPTIONS if getattr(arguments, name) is not None]
    if given and arguments.analysis_level != "group":
        parser.error(f"--{given[0].replace('_', '-')} belongs to the level group")
    if arguments.analysis_level == "group":
        _check_group_arguments(parser, arguments)


def _check_group_arguments(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse options that make no sense at the level group, and say which have no effect."""
    if arguments.json:
        parser.error("--json belongs to the level participant")
    for name in ("session", "session_order", "model", "controls"):
        if getattr(arguments, name) is not None and not getattr(arguments, name).strip(" ,"):
            parser.error(f"--{name.replace('_', '-')} is empty")
    if arguments.model is not None:
        from bids_mfi.statistics.wilkinson import parse_formula

        try:
            parse_formula(arguments.model)
        except InputError as error:
            parser.error(str(error))
    idle = [name for name in PARTICIPANT_OPTIONS
            if getattr(arguments, name) != parser.get_default(name)]  # fmt: skip
    if idle:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        _print_error(f"note: without effect at the level group: {names}")


def _report_errors(handler: Callable[[], int]) -> int:
    """Call a handler; print the errors meant for the user and return their exit status."""
    try:
        with end_on_signals():
            return handler()
    except MFIError as error:
        _print_error(f"bids_mfi: error: {' '.join(str(error).splitlines())}")
        return error.exit_code
    except KeyboardInterrupt as error:
        with suppress(OSError):  # the terminal may be gone
            _print_error("bids_mfi: interrupted; results already saved are complete.")
        return error.exit_code if isinstance(error, Interrupted) else 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except OSError as error:
        _print_error(f"bids_mfi: error: {_explain_os_error(error)}")
        return OutputError.exit_code


def _explain_os_error(error: OSError) -> str:
    """Say what a file or folder hinders, where nothing nearer to it has said so."""
    if isinstance(error, PermissionError):
        return (
            f"{error.filename}: may not be read or written by this user. Give yourself the right, "
            "or name another folder."
        )
    where = error.filename or "a file"
    return (
        f"{where}: cannot be read or written ({error.strerror or error}). Look at the disk and at "
        "the folders of this call; what was finished before is kept."
    )


def _print_out(text: str) -> None:
    """Print a result; with :func:`_print_error` all that this file prints."""
    print(text, flush=True)


def _print_error(text: str) -> None:
    """Print what went wrong, or what is worth knowing besides the result."""
    print(text, file=sys.stderr, flush=True)


def _run_app(options: RunOptions) -> int:
    if options.analysis_level == "group":
        return _print_collection(options) if options.dry_run else _run_group(options)
    return _print_scans(options) if options.dry_run else _run_participants(options)


def _print_collection(options: RunOptions) -> int:
    from bids_mfi.group import check_group

    summary = check_group(options)
    _print_findings(summary.findings)
    _print_out(f"{summary.sentence}; nothing was written")
    return summary.exit_code


def _run_group(options: RunOptions) -> int:
    from bids_mfi.group import run_group

    summary = run_group(options)
    _print_findings(summary.findings)
    _print_out(f"{summary.sentence}; results in {options.output_dir}")
    _print_out(f"report: {summary.page}")
    return summary.exit_code


def _print_findings(findings: "Sequence[Finding]") -> None:
    for finding in findings:
        some = ", ".join(finding.names[:MOST_NAMES])
        rest = len(finding.names) - MOST_NAMES
        more = f" and {rest:,} more, listed in the report" if rest > 0 else ""
        names = f" [{some}{more}]" if some else ""
        _print_error(f"{finding.severity}: {finding.text}{names}")


def _print_scans(options: RunOptions) -> int:
    from bids_mfi.discovery import describe_as_json, describe_as_table
    from bids_mfi.participant.plan import plan_run

    plan = plan_run(options)
    describe = describe_as_json if options.json else describe_as_table
    _print_out(describe(plan.scans, options.bids_dir, plan.states))
    _print_passed_over(plan.passed_over)
    return plan.exit_code


def _print_passed_over(participants: Sequence[str]) -> None:
    """Name participants without a Dixon image, so that none is missed silently."""
    if participants:
        names = ", ".join(participants)
        _print_error(f"without a Dixon image ({len(participants)}): {names}")


def _run_participants(options: RunOptions) -> int:
    from bids_mfi.participant.progress import show_progress
    from bids_mfi.participant.workflow import run_participants

    with show_progress(sys.stderr) as on_status:
        summary = run_participants(options, on_status)
    _print_passed_over(summary.passed_over)
    for failure in summary.failed:
        where = f" [{failure.log}]" if failure.log else ""
        _print_error(escape_text(f"{failure.scan}: FAILED: {failure.problem}{where}"))
    for note in summary.notes:
        _print_error(escape_text(f"note: {note}"))
    _print_out(
        f"{count_noun(len(summary.done), 'scan')} done, {len(summary.skipped):,} already done, "
        f"{len(summary.failed):,} failed; results in {options.output_dir}"
    )
    for page in summary.pages:
        _print_out(f"report: {page}")
    _print_unwritten(summary)
    return summary.exit_code


def _print_unwritten(summary: "RunSummary") -> None:
    """Say what OUTPUT_DIR did not take, and which scans are done all the same."""
    for problem in summary.unwritten[:MOST_NAMES]:
        _print_error(f"bids_mfi: error: {problem}")
    if summary.unwritten:
        done = ", ".join(sorted((*summary.done, *summary.skipped))) or "none"
        _print_error(f"scans that are done: {done}")


def build_verb_parser() -> Parser:
    """Build the parser of ``python -m bids_mfi``."""
    parser = Parser(
        prog="python -m bids_mfi",
        description=f"Models and data around the BIDS App run.py. {NOTICE}",
        epilog=EXIT_STATUSES,
    )
    parser.add_argument("--version", action="version", version=f"bids_mfi {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    _add_demo(verbs)
    _add_simulate(verbs)
    _add_train(verbs)
    _add_convert(verbs)
    _add_evaluate(verbs)
    _add_agreement(verbs)
    _add_slurm(verbs)
    return parser


def _add_demo(verbs: "argparse._SubParsersAction[Parser]") -> None:
    demo = verbs.add_parser("demo", help="simulate a small dataset and run both levels")
    demo.add_argument("folder", type=Path, help="gets bids/ (the dataset) and derivatives/")
    demo.add_argument(
        "--participants", type=_positive_int, default=6, metavar="N", help="default: %(default)s"
    )
    demo.set_defaults(handler=_run_demo)


def _add_simulate(verbs: "argparse._SubParsersAction[Parser]") -> None:
    simulate = verbs.add_parser("simulate", help="write a BIDS dataset of synthetic neck scans")
    simulate.add_argument("out_dir", type=Path, help="new or empty folder")
    simulate.add_argument(
        "--participants", type=_positive_int, default=4, metavar="N", help="default: %(default)s"
    )
    simulate.add_argument(
        "--sessions",
        type=_positive_int,
        default=1,
        metavar="M",
        help="of each participant; 1 makes no session folders (default: %(default)s)",
    )
    simulate.add_argument(
        "--seed",
        type=_seed,
        default=1,
        metavar="S",
        help="the same seed gives the same bytes (default: %(default)s)",
    )
    simulate.add_argument(
        "--labels",
        type=Path,
        nargs="+",
        default=(),
        metavar="LABEL_MAP",
        help="random persons on the anatomy of these label maps of necks, or folders of them, each "
        "with a label table, or neck-a, which comes with the package (default: the built-in "
        "phantom)",
    )
    simulate.add_argument(
        "--protocol",
        metavar="NAME",
        help="with --labels: paper, axial-3T, axial-1.5T, coronal-3T, coronal-1.5T, sagittal-3T, "
        "isotropic-3T, or varied, one of them for each participant (default: varied)",
    )
    simulate.add_argument(
        "--levels",
        choices=LEVEL_CHOICES,
        help="with --labels: muscles are labelled at the levels of the paper's Table 1, or over "
        "their whole length (default: paper)",
    )
    simulate.add_argument(
        "--variation",
        type=_variation,
        metavar="F",
        help="with --labels: factor of the variation of shape between persons, 0 to 2 (default: 1)",
    )
    simulate.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="cpu",
        help="with --labels: where scans are made; the same seed gives the same bytes on the same "
        "device (default: %(default)s)",
    )
    simulate.set_defaults(handler=_run_simulate)


def _add_train(verbs: "argparse._SubParsersAction[Parser]") -> None:
    train = verbs.add_parser(
        "train",
        help="train or tune a bundle on synthetic or labelled scans; resumes by itself",
        epilog=f"See docs/training.md. {EXIT_STATUSES}",
    )
    train.add_argument(
        "out_dir", type=Path, help="gets log.tsv, curve.svg, checkpoint.pt and bundle/"
    )
    _add_training_data(train.add_argument_group("what is learnt from (default: synthetic scans)"))
    _add_result(train.add_argument_group("the bundle"))
    _add_recipe(train.add_argument_group("how it is learnt"))
    train.set_defaults(handler=_run_train)


def _add_training_data(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--label-map",
        type=Path,
        nargs="+",
        default=(),
        metavar="PATH",
        help="label maps of necks, or folders of them, each with a label table, or neck-a, which "
        "comes with the package: synthetic scans of their anatomy",
    )
    group.add_argument("--dataset", type=Path, metavar="BIDS_DIR", help="BIDS dataset of scans")
    group.add_argument(
        "--label-dir",
        type=Path,
        metavar="DIR",
        help="derivative with the label maps (default: derivatives/labels of the dataset)",
    )
    _add_scans(group)
    group.add_argument(
        "--validation-participants",
        nargs="+",
        default=(),
        metavar="LABEL",
        help="hold out these participants (default: a share of the recipe, drawn by the seed)",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print which scans have labels and which are held out; write nothing",
    )


def _add_result(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--from", dest="start", type=Path, metavar="BUNDLE", help="bundle to start from"
    )
    group.add_argument("--name", help="of the bundle (default: custom)")
    group.add_argument(
        "--licence",
        metavar="SPDX",
        help="of the bundle (default: that of --from, or LicenseRef-unspecified)",
    )
    group.add_argument(
        "--card",
        metavar="NAME|FILE",
        help="TOML file with name, version, description, licence, licence_text and references of "
        "the bundle, in place of --name and --licence",
    )


def _add_recipe(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help="necks, synthetic, scratch, finetune, weber2021, or TOML file (default: finetune with "
        "--from, scratch with --dataset, else synthetic); the options below replace its values",
    )
    group.add_argument("--steps", type=_positive_int, metavar="N", help="optimiser steps at most")
    group.add_argument(
        "--learning-rate", type=_positive_float, metavar="RATE", help="highest rate of Adam"
    )
    group.add_argument("--batch-size", type=_positive_int, metavar="N", help="volumes of a step")
    group.add_argument(
        "--seed", type=_seed, metavar="S", help="of weights, cases, changes and split"
    )
    group.add_argument(
        "--spacing",
        dest="spacing_mm",
        type=_spacing_mm,
        nargs=3,
        metavar="MM",
        help="voxel size on which the network works",
    )
    group.add_argument("--normalization", choices=("batch", "instance"), help="of the network")
    group.add_argument(
        "--validate-every",
        type=_positive_int,
        metavar="N",
        help="steps between validations and checkpoints",
    )
    group.add_argument(
        "--patience",
        type=_positive_int,
        metavar="N",
        help="stop after so many validations without a better Dice",
    )
    group.add_argument(
        "--validation-share", type=_positive_float, metavar="SHARE", help="of held-out participants"
    )
    group.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        help="calculate in bfloat16 where that is safe (default: on a CUDA device only)",
    )
    group.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help="default: a CUDA device if there is one",
    )
    group.add_argument(
        "--workers",
        type=_whole_number,
        metavar="N",
        help="processes that make scans in advance, on the CPU; for a GPU, which one thread cannot "
        "feed (default: 0, one thread)",
    )


def _add_convert(verbs: "argparse._SubParsersAction[Parser]") -> None:
    convert = verbs.add_parser(
        "convert",
        help="make a bundle from a published NiftyNet model",
        description="Make a bundle from a dense V-Net published for NiftyNet: MODEL_DIR holds "
        "inference.ini, standardisation_models.txt and model.ckpt-N.index and .data, side by side "
        "or as the authors laid them out. The weights keep their own licence (Weber et al. 2021: "
        "GPL-3).",
        epilog=EXIT_STATUSES,
    )
    convert.add_argument(
        "model_dir", type=Path, help="the authors' folder: inference.ini, landmarks, checkpoint"
    )
    convert.add_argument("bundle_dir", type=Path, help="new or empty folder")
    convert.set_defaults(handler=_run_convert)


def _add_evaluate(verbs: "argparse._SubParsersAction[Parser]") -> None:
    evaluate = verbs.add_parser(
        "evaluate",
        help="compare label maps, MFI and volume of two derivative folders",
        description="Compare the label maps, MFI and volume of PREDICTION with those of TRUTH as "
        "Weber et al. 2021 did: tables, figures and one HTML page in OUT_DIR. Scans are paired by "
        "sub, ses, acq, run and the like.",
        epilog=EXIT_STATUSES,
    )
    evaluate.add_argument("truth", type=Path, help="folder with the reference *_dseg.nii.gz")
    evaluate.add_argument("prediction", type=Path, help="folder with the label maps to judge")
    evaluate.add_argument("out_dir", type=Path, help="new or empty, or an earlier evaluation")
    evaluate.add_argument(
        "--measure",
        choices=("auto", "images", "tables"),
        default="auto",
        help="MFI and volume: measured with both label maps on the same images, or taken from the "
        "*_mfi.tsv of both folders; auto takes the images where those of every scan are found",
    )
    evaluate.add_argument(
        "--bids-dir",
        type=Path,
        metavar="DIR",
        help="dataset with the images, if it is not where the sidecars say; means --measure images",
    )
    evaluate.set_defaults(handler=_run_evaluate)


def _add_agreement(verbs: "argparse._SubParsersAction[Parser]") -> None:
    agreement = verbs.add_parser(
        "agreement",
        help="agreement of two raters or models from their tables",
        description="Agreement of two tab-separated tables: bias, limits of agreement, ICC(2,1) "
        "and more of each muscle and side. A row is a scan and muscle, with the columns "
        "participant_id, muscle, hemi, volume_ml and mfi_percent, and session_id and run_id where "
        "there are several. Rows are paired by all columns but the two measures.",
        epilog=EXIT_STATUSES,
    )
    agreement.add_argument("reference", type=Path, metavar="A.tsv", help="the reference")
    agreement.add_argument("compared", type=Path, metavar="B.tsv", help="compared with it")
    agreement.add_argument("out_dir", type=Path, help="new or empty, or an earlier agreement")
    agreement.set_defaults(handler=_run_agreement)


def _add_slurm(verbs: "argparse._SubParsersAction[Parser]") -> None:
    slurm = verbs.add_parser(
        "slurm",
        help="write scripts for a Slurm cluster: an array of participants, then the group",
        description="Write OUTPUT_DIR/logs/slurm/submit.sh and two job scripts. submit.sh submits "
        "what is missing and, with --status, says what became of each participant. See "
        "docs/hpc.md.",
        epilog=EXIT_STATUSES,
    )
    slurm.add_argument("bids_dir", type=Path, help="BIDS dataset with the scans")
    slurm.add_argument("output_dir", type=Path, help="folder for the derivatives")
    slurm.add_argument(
        "--image", type=Path, metavar="SIF", help="Apptainer image (default: this Python)"
    )
    slurm.add_argument(
        "--bind", type=_one_line, action="append", default=[], metavar="PATH[:PATH[:ro]]",
        help="what the jobs see besides BIDS_DIR and OUTPUT_DIR, for example a bundle, as "
        "Apptainer takes it; needs --image; may be repeated",
    )  # fmt: skip
    slurm.add_argument(
        "--setup", type=_one_line, action="append", default=[], metavar="LINE",
        help="a line of bash that runs first in each job, for example 'module load apptainer'; "
        "where it fails the job ends; may be repeated",
    )  # fmt: skip
    slurm.add_argument(
        "--participant-label",
        nargs="+",
        default=(),
        metavar="LABEL",
        help="only these participants (default: all that BIDS_DIR holds when submit.sh runs)",
    )
    slurm.add_argument(
        "--participants-per-task", type=_positive_int, default=1, metavar="N",
        help="measured by a task one after another (default: %(default)s)",
    )  # fmt: skip
    _add_resources(slurm.add_argument_group("what a task may use"))
    slurm.add_argument(
        "--options", default="", metavar="TEXT",
        help="further options of run.py for the participants, as one text, for example "
        "--options=--overwrite; paths from /",
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
        kind = _whole_number if default == 0 else _positive_int
        group.add_argument(
            name, type=kind, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    group.add_argument(
        "--time", type=_one_line, default="01:00:00", metavar="TIME",
        help="longest time, as sbatch takes it (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--at-once", type=_positive_int, metavar="N", help="tasks that run at the same time"
    )
    group.add_argument(
        "--sbatch", type=_one_line, action="append", default=[], metavar="OPTION",
        help="a further option of sbatch, for example --sbatch=--partition=short or "
        "--sbatch='--comment=my study'; goes to the group job too, unless it asks for a GPU or "
        "--group-sbatch is given; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--group-sbatch", type=_one_line, action="append", default=[], metavar="OPTION",
        help="an option of sbatch for the group job, which then gets none of --sbatch; may be "
        "repeated",
    )  # fmt: skip


def _whole_number(text: str) -> int:
    return 0 if text == "0" else _positive_int(text)


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("expected one line of text")
    return text


@printable_output()
def main_verbs(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    arguments = build_verb_parser().parse_args(argv)
    return _report_errors(lambda: int(arguments.handler(arguments)))


def _run_simulate(arguments: argparse.Namespace) -> int:
    from bids_mfi.network.segment import choose_device
    from bids_mfi.synthesis.simulate import check_empty, simulate_dataset
    from bids_mfi.synthesis.sources import AnatomySource, PhantomSource, ScanSource

    stated = (arguments.protocol, arguments.levels, arguments.variation)
    if not arguments.labels and any(value is not None for value in stated):
        raise InputError(
            "--protocol, --levels and --variation need label maps; the phantom has one protocol, "
            "no vertebrae and a variation of its own. Name label maps by --labels."
        )
    check_empty(arguments.out_dir)
    source: ScanSource = PhantomSource()
    if arguments.labels:
        source = AnatomySource(
            [path.absolute() for path in arguments.labels],
            arguments.protocol or "varied",
            arguments.levels or "paper",
            str(choose_device(arguments.device)),
            1.0 if arguments.variation is None else arguments.variation,
        )
    for note in source.notes:
        _print_error(note)
    simulate_dataset(
        arguments.out_dir.absolute(),
        arguments.participants,
        arguments.sessions,
        arguments.seed,
        source,
        _print_error,
    )
    _print_out(f"synthetic BIDS dataset: {arguments.out_dir}")
    return 0


def _run_demo(arguments: argparse.Namespace) -> int:
    from bids_mfi.synthesis.simulate import simulate_dataset

    bids_dir, out_dir = arguments.folder / "bids", arguments.folder / "derivatives"
    if bids_dir.exists():
        _print_out(f"using the synthetic dataset that is already in {bids_dir}")
    else:
        people = count_noun(arguments.participants, "participant")
        _print_out(f"writing a synthetic BIDS dataset of {people} to {bids_dir} ...")
        simulate_dataset(bids_dir.absolute(), arguments.participants, sessions=1, seed=20210817)
    for level in ("participant", "group"):
        _print_out(f"run.py {bids_dir} {out_dir} {level}")
        status = main([str(bids_dir), str(out_dir), level])
        if status:
            return status
    return 0


def _run_convert(arguments: argparse.Namespace) -> int:
    from bids_mfi.niftynet.convert import convert

    bundle = convert(arguments.model_dir.absolute(), arguments.bundle_dir.absolute())
    _print_out(f"bundle {bundle.name} ({bundle.licence}): {bundle.folder}")
    return 0


OVERRIDES = (
    "steps", "learning_rate", "batch_size", "seed", "spacing_mm", "normalization",
    "validate_every", "patience", "validation_share", "bfloat16", "device", "workers",
)  # fmt: skip


def _run_train(arguments: argparse.Namespace) -> int:
    from bids_mfi.training.recipes import read_recipe, recipe_keys

    values = {name: getattr(arguments, name) for name in OVERRIDES}
    given = {name: value for name, value in values.items() if value is not None}
    _check_train_arguments(arguments)
    random = "scratch" if arguments.dataset else "synthetic"
    recipe = arguments.recipe or ("finetune" if arguments.start else random)
    if recipe == "finetune" and arguments.start is None:
        raise InputError(
            "the recipe finetune has the low rate of a tuning, but no bundle to start from was "
            "given. Name it by --from, or take another recipe."
        )
    stated = recipe_keys(recipe) | set(given)
    return _train(arguments, read_recipe(recipe, given), frozenset(stated))


def _check_train_arguments(arguments: argparse.Namespace) -> None:
    """Refuse options that would have no effect.

    Raises
    ------
    InputError
    """
    if arguments.dataset is None and (
        arguments.label_dir or arguments.validation_participants or arguments.dry_run
        or arguments.participant_label or arguments.session_label or arguments.bids_filter_file
    ):  # fmt: skip
        raise InputError(
            "Options that select scans or labels, or --dry-run, were given, but no dataset. Name "
            "it by --dataset."
        )
    if arguments.card and (arguments.name or arguments.licence):
        raise InputError("--card says name and licence; leave out --name and --licence.")
    if arguments.label_map and arguments.dataset:
        raise InputError("--label-map and --dataset were given; name one of them.")


def _train(arguments: argparse.Namespace, options: TrainOptions, stated: frozenset[str]) -> int:
    from bids_mfi.training.labelled_scans import LabelledSource, describe_plan, plan_scans
    from bids_mfi.training.run import TrainingOrder, check_order, run_training

    source = None
    if arguments.dataset is not None:
        participants = tuple(arguments.validation_participants)
        labels = _absolute(arguments.label_dir)
        source = LabelledSource(_selected_scans(arguments), labels, participants)
    order = TrainingOrder(
        out_dir=arguments.out_dir,
        options=options,
        source=source,
        label_maps=tuple(arguments.label_map),
        start=arguments.start,
        name=arguments.name,
        licence=arguments.licence,
        card=arguments.card,
        stated=stated,
    )
    if source and arguments.dry_run:
        _, settled, _ = check_order(order)
        _print_out("\n".join(describe_plan(plan_scans(source, settled))))
        return 0
    bundle = run_training(order, _print_out)
    _print_out(f"bundle: {bundle.folder}")
    return 0


def _selected_scans(arguments: argparse.Namespace) -> RunOptions:
    """Say which scans of ``--dataset`` are meant, in the words of ``run.py``."""
    return RunOptions(
        bids_dir=arguments.dataset.absolute(),
        output_dir=arguments.out_dir.absolute(),
        analysis_level="participant",
        participant_label=_without_prefix(arguments.participant_label, "sub-"),
        session_label=_without_prefix(arguments.session_label, "ses-"),
        bids_filter_file=_absolute(arguments.bids_filter_file),
        bids_database_dir=_absolute(arguments.bids_database_dir),
        skip_bids_validation=arguments.skip_bids_validation,
    )


def _without_prefix(labels: Sequence[str], prefix: str) -> tuple[str, ...]:
    return tuple(label.removeprefix(prefix) for label in labels)


def _run_evaluate(arguments: argparse.Namespace) -> int:
    from bids_mfi.evaluation import evaluate_folders

    found = evaluate_folders(
        arguments.truth.absolute(),
        arguments.prediction.absolute(),
        arguments.out_dir.absolute(),
        arguments.measure,
        _absolute(arguments.bids_dir),
    )
    return _print_comparison(found)


def _run_agreement(arguments: argparse.Namespace) -> int:
    from bids_mfi.evaluation import compare_tables

    paths = (arguments.reference, arguments.compared, arguments.out_dir)
    return _print_comparison(compare_tables(*(path.absolute() for path in paths)))


def _run_slurm(arguments: argparse.Namespace) -> int:
    import shlex

    from bids_mfi.bids.output_folder import check_output_dir
    from bids_mfi.participant.slurm_scripts import SlurmOrder, write_scripts

    bids_dir, output_dir = (_without_dots(p) for p in (arguments.bids_dir, arguments.output_dir))
    check_output_dir(bids_dir, output_dir)
    folders = [str(bids_dir), str(output_dir)]
    options, group_options = (
        _split_options(folders, level, text)
        for level, text in (("participant", arguments.options), ("group", arguments.group_options))
    )
    order = SlurmOrder(
        bids_dir=bids_dir,
        output_dir=output_dir,
        image=None if arguments.image is None else _without_dots(arguments.image),
        participants=_without_prefix(arguments.participant_label, "sub-"),
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
    _print_out(f"submit:  bash {shlex.quote(str(script))}")
    _print_out(f"status:  bash {shlex.quote(str(script))} --status")
    return 0


def _split_options(folders: Sequence[str], level: str, text: str) -> tuple[str, ...]:
    """Split options of run.py given as one text; its parser ends with 2 at a wrong one.

    Raises
    ------
    InputError
        A quote is open, or an option is none for a job: see :func:`_check_job_option`.
    """
    import shlex

    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"{text}: is no list of options ({error}); close the quotes.") from error
    if {"-h", "--help", "--version"} & set(words):
        raise InputError(f"{text}: measures nothing. Expected options that every job is to have.")
    for name, value in vars(build_parser().parse_args([*folders, level, *words])).items():
        _check_job_option(name.replace("_", "-"), value, name in JOBS_DECIDE)
    return words


def _check_job_option(name: str, value: object, jobs_decide: bool) -> None:
    """Refuse an option of run.py that would make a job measure something else, or nothing."""
    if jobs_decide and value:
        raise InputError(
            f"--{name} is no option for every job: each names its own participants, work folder "
            "and plugin, and measures. Choose participants by --participant-label of `slurm`."
        )
    if isinstance(value, Path) and not value.is_absolute():
        raise InputError(
            f"--{name} {value}: is a relative path, but the jobs run in another folder. Name the "
            "whole path, from /, as the nodes see it."
        )


def _print_comparison(found: "Comparison") -> int:
    for scan, problem in found.failed:
        _print_error(f"{scan}: FAILED: {problem}")
    for where, names in (("first", found.reference_only), ("second", found.compared_only)):
        lines = [f"only in the {where}, not compared: {name}" for name in names]
        _print_some(lines, f"only in the {where}")
    _print_some(found.unknown_labels, "labels without a name")
    _print_some(found.findings, "findings")
    _print_out(found.sentence)
    _print_out(f"report: {found.page}")
    return found.exit_code


def _print_some(lines: Sequence[str], what: str) -> None:
    for line in lines[:MOST_NAMES]:
        _print_error(line)
    if len(lines) > MOST_NAMES:
        _print_error(f"{what}: {len(lines) - MOST_NAMES} more, listed in the report")
