"""Parsers and one handler a verb; must not know how anything is done.

With ``workflow`` the only file that catches errors, prints or exits.

``run.py`` speaks the BIDS App grammar (:func:`main`), ``python -m bids_mfi`` the verbs around it
(:func:`main_verbs`). Nothing heavy is imported before the arguments are parsed.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mfi import __version__
from bids_mfi.errors import MFIError, OutputError
from bids_mfi.options import RunOptions, TrainOptions

if TYPE_CHECKING:
    from bids_mfi.evaluation import Comparison

# Seeds of synthetic cases: validation below training, so that no case is in both.
VALIDATION_SEED = 1_000
TRAINING_SEED = 1_000_000_000
MOST_CASES = 10_000_000

MOST_NAMES = 10  # printed of what was not compared

NOTICE = "Research software, not a medical device."
EXIT_STATUSES = (
    "Exit status: 0 all done; 1 some scan failed, the others are finished; 2 wrong usage; 3 the "
    "dataset; 4 the model; 5 the output folder."
)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of ``run.py``."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Muscle fat infiltration (MFI) and volume of fourteen neck muscles from Dixon "
        f"MRI in a BIDS dataset. {NOTICE}",
        epilog=EXIT_STATUSES,
    )
    parser.add_argument("bids_dir", type=Path, help="BIDS dataset with the scans")
    parser.add_argument("output_dir", type=Path, help="folder for the derivatives")
    parser.add_argument("analysis_level", choices=("participant", "group"))
    parser.add_argument("--version", action="version", version=f"bids_mfi {__version__}")
    _add_selection(parser.add_argument_group("which scans"))
    _add_measuring(parser.add_argument_group("what is measured"))
    _add_running(parser.add_argument_group("how it runs"))
    return parser


def _add_selection(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--participant-label",
        "--participant_label",
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
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print the image pairs and how each was recognised; write nothing",
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
        help="fat and water computed from in-phase and out-of-phase, or the scanner's own images "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results made by another version, bundle, option or input",
    )


def _add_running(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
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


def _positive_int(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def _natural_int(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 on")
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
        dry_run=arguments.dry_run,
        json=arguments.json,
        verbose=arguments.verbose,
    )


def _absolute(path: Path | None) -> Path | None:
    """Make a path independent of the current folder, which worker processes do not share."""
    return None if path is None else path.absolute()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the BIDS App and return the exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.json and not arguments.dry_run:
        parser.error("--json needs --dry-run")
    options = read_options(arguments)
    return _report_errors(lambda: _run_app(options))


def _report_errors(handler: Callable[[], int]) -> int:
    """Call a handler; print the errors meant for the user and return their exit status."""
    try:
        return handler()
    except MFIError as error:
        print(f"bids_mfi: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return error.exit_code
    except PermissionError as error:
        print(
            f"bids_mfi: error: {error.filename}: may not be read or written by this user. Give "
            "yourself the right, or name another folder.",
            file=sys.stderr,
        )
        return OutputError.exit_code
    except KeyboardInterrupt:
        print("bids_mfi: interrupted; results already saved are complete.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141


def _run_app(options: RunOptions) -> int:
    if options.dry_run:
        return _print_scans(options)
    if options.analysis_level == "group":
        raise MFIError(
            "The group level is not part of this version. The participant level writes one "
            "*_mfi.tsv a scan, which any statistics program reads."
        )
    return _run_participants(options)


def _print_scans(options: RunOptions) -> int:
    from bids_mfi.discovery import (
        describe_as_json,
        describe_as_table,
        find_scans,
        list_participants_without_scans,
    )

    scans = find_scans(options)
    describe = describe_as_json if options.json else describe_as_table
    print(describe(scans, options.bids_dir))
    _print_passed_over(list_participants_without_scans(options, scans))
    return 0


def _print_passed_over(participants: Sequence[str]) -> None:
    """Name participants without a Dixon image, so that none is missed silently."""
    if participants:
        names = ", ".join(participants)
        print(f"without a Dixon image ({len(participants)}): {names}", file=sys.stderr)


def _run_participants(options: RunOptions) -> int:
    from bids_mfi.progress import show_progress
    from bids_mfi.workflow import run_participants

    with show_progress(sys.stderr) as on_status:
        summary = run_participants(options, on_status)
    _print_passed_over(summary.passed_over)
    for failure in summary.failed:
        where = f" [{failure.log}]" if failure.log else ""
        print(f"{failure.scan}: FAILED: {failure.problem}{where}", file=sys.stderr)
    print(
        f"{len(summary.done)} scans done, {len(summary.skipped)} already done, "
        f"{len(summary.failed)} failed; results in {options.output_dir}"
    )
    for page in summary.pages:
        print(f"report: {page}")
    return summary.exit_code


def build_verb_parser() -> argparse.ArgumentParser:
    """Build the parser of ``python -m bids_mfi``."""
    parser = argparse.ArgumentParser(
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
    return parser


def _add_demo(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = verbs.add_parser("demo", help="simulate a small dataset and run the participant level")
    demo.add_argument("folder", type=Path, help="gets bids/ (the dataset) and derivatives/")
    demo.add_argument(
        "--participants", type=_positive_int, default=2, metavar="N", help="default: %(default)s"
    )
    demo.set_defaults(handler=_run_demo)


def _add_simulate(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
        type=_natural_int,
        default=1,
        metavar="S",
        help="the same seed gives the same bytes (default: %(default)s)",
    )
    simulate.set_defaults(handler=_run_simulate)


def _add_train(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    defaults = TrainOptions()
    train = verbs.add_parser("train", help="train a bundle on synthetic necks; resumes by itself")
    train.add_argument("out_dir", type=Path, help="gets log.tsv, checkpoint.pt and bundle/")
    train.add_argument(
        "--steps",
        type=_positive_int,
        default=defaults.steps,
        metavar="N",
        help="optimiser steps, about a second each on two processors (default: %(default)s)",
    )
    train.add_argument(
        "--learning-rate",
        type=_positive_float,
        default=defaults.learning_rate,
        metavar="RATE",
        help="highest rate of Adam (default: %(default)s)",
    )
    train.add_argument(
        "--seed",
        type=_natural_int,
        default=defaults.seed,
        metavar="S",
        help="of weights and cases (default: %(default)s)",
    )
    train.add_argument(
        "--spacing",
        type=_spacing_mm,
        nargs=3,
        default=defaults.spacing_mm,
        metavar="MM",
        help="voxel size on which the network works (default: %(default)s)",
    )
    train.add_argument(
        "--normalization",
        choices=("batch", "instance"),
        default=defaults.normalization,
        help="of the network (default: %(default)s)",
    )
    train.add_argument(
        "--validate-every",
        type=_positive_int,
        default=defaults.validate_every,
        metavar="N",
        help="steps between validations and checkpoints (default: %(default)s)",
    )
    train.add_argument("--bfloat16", action="store_true", help="faster, on processors that have it")
    train.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="default: a CUDA device if there is one",
    )
    train.set_defaults(handler=_run_train)


def _add_convert(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_evaluate(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
        help="dataset with the images, if it is not where the sidecars say",
    )
    evaluate.set_defaults(handler=_run_evaluate)


def _add_agreement(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    agreement = verbs.add_parser(
        "agreement",
        help="agreement of two raters or models from their tables",
        description="Agreement of two tables in the format of group_mfi.tsv: bias, limits of "
        "agreement, ICC(2,1) and more of each muscle and side. Rows are paired by participant_id, "
        "session_id, run_id, muscle and hemi.",
        epilog=EXIT_STATUSES,
    )
    agreement.add_argument("reference", type=Path, metavar="A.tsv", help="the reference")
    agreement.add_argument("compared", type=Path, metavar="B.tsv", help="compared with it")
    agreement.add_argument("out_dir", type=Path, help="new or empty, or an earlier agreement")
    agreement.set_defaults(handler=_run_agreement)


def main_verbs(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    arguments = build_verb_parser().parse_args(argv)
    return _report_errors(lambda: int(arguments.handler(arguments)))


def _run_simulate(arguments: argparse.Namespace) -> int:
    from bids_mfi.synthesis.simulate import simulate_dataset

    simulate_dataset(
        arguments.out_dir.absolute(), arguments.participants, arguments.sessions, arguments.seed
    )
    print(f"synthetic BIDS dataset: {arguments.out_dir}")
    return 0


def _run_demo(arguments: argparse.Namespace) -> int:
    from bids_mfi.synthesis.simulate import simulate_dataset

    bids_dir, out_dir = arguments.folder / "bids", arguments.folder / "derivatives"
    if bids_dir.exists():
        print(f"using the synthetic dataset that is already in {bids_dir}")
    else:
        print(f"writing a synthetic BIDS dataset of {arguments.participants} to {bids_dir} ...")
        simulate_dataset(bids_dir.absolute(), arguments.participants, sessions=1, seed=20210817)
    print(f"run.py {bids_dir} {out_dir} participant")
    return main([str(bids_dir), str(out_dir), "participant"])


def _run_convert(arguments: argparse.Namespace) -> int:
    from bids_mfi.network.niftynet import convert

    bundle = convert(arguments.model_dir.absolute(), arguments.bundle_dir.absolute())
    print(f"bundle {bundle.name} ({bundle.licence}): {bundle.folder}")
    return 0


def _run_train(arguments: argparse.Namespace) -> int:
    from bids_mfi.muscles import LONG_NAMES, paper_table
    from bids_mfi.network.train import TrainingData, train
    from bids_mfi.synthesis.cases import describe_variety, make_case, make_varied_case

    options = TrainOptions(
        steps=arguments.steps,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        spacing_mm=tuple(arguments.spacing),
        normalization=arguments.normalization,
        validate_every=arguments.validate_every,
        bfloat16=arguments.bfloat16,
        device=arguments.device,
    )
    data = TrainingData(
        case_at=lambda number: make_varied_case(
            TRAINING_SEED + options.seed * MOST_CASES + number, options.spacing_mm
        ),
        validation=[make_case(VALIDATION_SEED + i, options.spacing_mm) for i in range(6)],
        table=paper_table(dict.fromkeys(LONG_NAMES, "all")),
        ranges=describe_variety(options.spacing_mm),
    )
    bundle = train(options, data, arguments.out_dir, report=lambda line: print(line, flush=True))
    print(f"bundle: {bundle.folder}")
    return 0


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


def _print_comparison(found: "Comparison") -> int:
    for scan, problem in found.failed:
        print(f"{scan}: FAILED: {problem}", file=sys.stderr)
    for where, names in (("first", found.reference_only), ("second", found.compared_only)):
        for name in names[:MOST_NAMES]:
            print(f"only in the {where}, not compared: {name}", file=sys.stderr)
        if len(names) > MOST_NAMES:
            more = len(names) - MOST_NAMES
            print(f"only in the {where}: {more} more, listed in the report", file=sys.stderr)
    print(found.sentence)
    print(f"report: {found.page}")
    return found.exit_code
