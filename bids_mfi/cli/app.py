"""``run.py``: the BIDS App's command line, its options and what it prints."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bids_mfi import __version__
from bids_mfi.cli.arguments import Parser
from bids_mfi.cli.ending import end_process
from bids_mfi.cli.output import (
    EXIT_STATUSES,
    MOST_NAMES,
    NOTICE,
    SPELLING,
    print_error,
    print_out,
    report_errors,
)
from bids_mfi.cli.values import (
    add_scans,
    make_absolute,
    positive_float,
    positive_int,
    split_labels,
    without_prefix,
)
from bids_mfi.counts import count_noun
from bids_mfi.errors import InputError
from bids_mfi.options import CORRECTIONS, ENGINES, MISSING_RULES, RunOptions
from bids_mfi.printing import escape_text, printable_output

if TYPE_CHECKING:
    from bids_mfi.findings import Finding
    from bids_mfi.participant.workflow import RunSummary


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
    running = parser.add_argument_group("how it runs")
    _add_resources(running)
    _add_steps(running)
    _add_statistics(parser.add_argument_group("statistics of the level group"))
    return parser


def _add_selection(group: "argparse._ArgumentGroup") -> None:
    add_scans(group)
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print the image pairs, how each was recognised and what the run would find; write "
        "nothing; same exit status as the run",
    )
    group.add_argument("--json", action="store_true", help="print the dry run as JSON")


def _add_measuring(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--bundle", type=Path, metavar="DIR", help="model bundle (default: the one included)"
    )
    group.add_argument(
        "--fat-water",
        choices=("computed", "scanner"),
        default="computed",
        help="compute fat and water from the in-phase and out-of-phase images, or use the "
        "scanner's own (default: %(default)s)",
    )
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results made with another version, bundle, option or input, or changed "
        "since; an edited label map is first copied to edited/ in OUTPUT_DIR",
    )


def _add_resources(group: "argparse._ArgumentGroup") -> None:
    """Add the processors, memory and device that the run may use."""
    group.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the network runs (default: a CUDA device if there is one)",
    )
    group.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="library that computes the network (default: OpenVINO on a CPU, PyTorch on a CUDA "
        "device); the labels are the same in 99.99 %% of voxels or more",
    )
    group.add_argument(
        "--fast",
        action="store_true",
        help="segment without the mirror image and, with OpenVINO, in bfloat16 where the processor "
        "has it: the network takes less than half of the time with the bundle included, and labels "
        "are slightly less accurate",
    )
    group.add_argument(
        "--nprocs",
        "--n-cpus",
        type=positive_int,
        metavar="N",
        help="maximum number of processors (default: all that are available)",
    )
    group.add_argument(
        "--omp-nthreads",
        type=positive_int,
        metavar="N",
        help="maximum number of threads per segmentation (default: its share of --nprocs)",
    )
    group.add_argument(
        "--mem",
        "--mem-gb",
        type=positive_float,
        metavar="GB",
        help="gigabytes for all steps that run at once; each step counts a fixed estimate, a "
        "segmentation 1.6 GB (default: nine tenths of the machine's memory)",
    )


def _add_steps(group: "argparse._ArgumentGroup") -> None:
    """Add how nipype runs the steps, and what it leaves behind."""
    group.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="folder for intermediate files; each run makes its own subfolder and keeps it if a "
        "scan fails (default: the system's temporary folder, never kept)",
    )
    group.add_argument(
        "--use-plugin",
        type=Path,
        metavar="FILE",
        help="nipype plugin as YAML (plugin, plugin_args); the default runs a single scan in this "
        "process and several by MultiProc",
    )
    group.add_argument(
        "--stop-on-first-crash",
        action="store_true",
        help="stop at the first scan that fails (default: finish the others)",
    )
    group.add_argument(
        "--write-graph", action="store_true", help="write the graph of the steps to logs/"
    )
    group.add_argument("--notrack", action="store_true", help="accepted; nothing is tracked")
    group.add_argument(
        "-v", "--verbose", action="count", default=0, help="print more; repeat up to three times"
    )


def _add_statistics(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--participants-file",
        type=Path,
        metavar="FILE",
        help="table with participant_id, sex, age and bmi (or height in cm and weight in kg); with "
        "a column session_id, one line per session (default: participants.tsv of BIDS_DIR)",
    )
    group.add_argument(
        "--session",
        metavar="LABEL",
        help="session that is analysed, and from which change is measured (default: the first)",
    )
    group.add_argument(
        "--session-order",
        metavar="LABELS",
        help="sessions in order, separated by commas, for example pre,post (default: acq_time, "
        "then sessions.tsv, then their labels)",
    )
    group.add_argument(
        "--missing",
        choices=MISSING_RULES,
        help="both: a muscle counts if both sides were measured; complete: in addition, only "
        "participants with all muscles, sex, age and BMI; any: one side is enough (default: both)",
    )
    group.add_argument(
        "--correction",
        choices=CORRECTIONS,
        help="adjusted p-values in addition to the raw ones (default: none, as in the paper)",
    )
    group.add_argument(
        "--model",
        metavar="FORMULA",
        help="an additional model with columns of the participants' table, for example 'mfi ~ "
        "group + age + sex'",
    )
    group.add_argument(
        "--controls",
        metavar="CONDITION",
        help="definition of the controls, for example \"group == 'control'\": adds each "
        "participant's centiles among them by sex, age and BMI",
    )


def read_options(arguments: argparse.Namespace) -> RunOptions:
    """Make the options of a run from parsed arguments; folders become absolute."""
    return RunOptions(
        bids_dir=arguments.bids_dir.absolute(),
        output_dir=arguments.output_dir.absolute(),
        analysis_level=arguments.analysis_level,
        participant_label=without_prefix(arguments.participant_label, "sub-"),
        session_label=without_prefix(arguments.session_label, "ses-"),
        bids_filter_file=make_absolute(arguments.bids_filter_file),
        bids_database_dir=make_absolute(arguments.bids_database_dir),
        skip_bids_validation=arguments.skip_bids_validation,
        bundle=make_absolute(arguments.bundle),
        device=arguments.device,
        engine=arguments.engine,
        fast=arguments.fast,
        fat_water=arguments.fat_water,
        nprocs=arguments.nprocs,
        omp_nthreads=arguments.omp_nthreads,
        mem_gb=arguments.mem,
        work_dir=make_absolute(arguments.work_dir),
        use_plugin=make_absolute(arguments.use_plugin),
        stop_on_first_crash=arguments.stop_on_first_crash,
        write_graph=arguments.write_graph,
        overwrite=arguments.overwrite,
        participants_file=make_absolute(arguments.participants_file),
        session=arguments.session,
        session_order=split_labels(arguments.session_order),
        missing=arguments.missing or "both",
        correction=arguments.correction or "none",
        model=arguments.model,
        controls=arguments.controls,
        dry_run=arguments.dry_run,
        json=arguments.json,
        verbose=arguments.verbose,
    )


@printable_output()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the BIDS App and return the exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.json and not arguments.dry_run:
        parser.error("--json needs --dry-run")
    _refuse_group_options(parser, arguments)
    options = read_options(arguments)
    return report_errors(lambda: _run_app(options))


def run_app() -> NoReturn:
    """Run the BIDS App as a program of its own."""
    end_process(main())


PARTICIPANT_OPTIONS = (
    "bids_filter_file", "bids_database_dir", "skip_bids_validation", "bundle", "fat_water",
    "overwrite", "device", "engine", "fast", "nprocs", "omp_nthreads", "mem", "work_dir",
    "use_plugin", "stop_on_first_crash", "write_graph",
)  # fmt: skip

GROUP_OPTIONS = (
    "participants_file", "session", "session_order", "missing", "correction", "model", "controls",
)  # fmt: skip


def _refuse_group_options(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse options that have no effect at the participant level."""
    given = [name for name in GROUP_OPTIONS if getattr(arguments, name) is not None]
    if given and arguments.analysis_level != "group":
        parser.error(f"--{given[0].replace('_', '-')} applies only to the group level")
    if arguments.analysis_level == "group":
        check_group_arguments(parser, arguments)


def check_group_arguments(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse options that are invalid at the group level, and say which have no effect."""
    if arguments.json:
        parser.error("--json applies only to the participant level")
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
        print_error(f"note: no effect at the group level: {names}")


def _run_app(options: RunOptions) -> int:
    if options.analysis_level == "group":
        return _print_collection(options) if options.dry_run else _run_group(options)
    return _print_scans(options) if options.dry_run else _run_participants(options)


def _print_collection(options: RunOptions) -> int:
    from bids_mfi.group import check_group

    summary = check_group(options)
    print_findings(summary.findings)
    print_out(f"{summary.sentence}; nothing was written")
    return summary.exit_code


def _run_group(options: RunOptions) -> int:
    from bids_mfi.group import run_group

    summary = run_group(options)
    print_findings(summary.findings)
    print_out(f"{summary.sentence}; results in {options.output_dir}")
    print_out(f"report: {summary.page}")
    return summary.exit_code


def print_findings(findings: "Sequence[Finding]") -> None:
    """Print the findings of the group level with some of the names they concern."""
    for finding in findings:
        some = ", ".join(finding.names[:MOST_NAMES])
        rest = len(finding.names) - MOST_NAMES
        more = f" and {rest:,} more, listed in the report" if rest > 0 else ""
        names = f" [{some}{more}]" if some else ""
        print_error(f"{finding.severity}: {finding.text}{names}")


def _print_scans(options: RunOptions) -> int:
    from bids_mfi.discovery import describe_as_json, describe_as_table
    from bids_mfi.participant.plan import plan_run

    plan = plan_run(options)
    describe = describe_as_json if options.json else describe_as_table
    print_out(describe(plan.scans, options.bids_dir, plan.states))
    _print_passed_over(plan.passed_over)
    return plan.exit_code


def _print_passed_over(participants: Sequence[str]) -> None:
    """Name participants without a Dixon image, so that none is skipped silently."""
    if participants:
        names = ", ".join(participants)
        print_error(f"without a Dixon image ({len(participants)}): {names}")


def _run_participants(options: RunOptions) -> int:
    from bids_mfi.participant.plugins import choose_threads, limit_threads

    limit_threads(choose_threads(options, scans=1)[1])  # before NumPy is imported
    from bids_mfi.participant.progress import show_progress
    from bids_mfi.participant.workflow import run_participants

    with show_progress(sys.stderr) as on_status:
        summary = run_participants(options, on_status)
    _print_passed_over(summary.passed_over)
    for failure in summary.failed:
        where = f" [{failure.log}]" if failure.log else ""
        print_error(escape_text(f"{failure.scan}: FAILED: {failure.problem}{where}"))
    for note in summary.notes:
        print_error(escape_text(f"note: {note}"))
    print_out(
        f"{count_noun(len(summary.done), 'scan')} done, {len(summary.skipped):,} already done, "
        f"{len(summary.failed):,} failed; results in {options.output_dir}"
    )
    for page in summary.pages:
        print_out(f"report: {page}")
    _print_unwritten(summary)
    return summary.exit_code


def _print_unwritten(summary: "RunSummary") -> None:
    """Report what could not be written to OUTPUT_DIR, and the scans that are done anyway."""
    for problem in summary.unwritten[:MOST_NAMES]:
        print_error(f"bids_mfi: error: {problem}")
    if summary.unwritten:
        done = ", ".join(sorted((*summary.done, *summary.skipped))) or "none"
        print_error(f"completed scans: {done}")
