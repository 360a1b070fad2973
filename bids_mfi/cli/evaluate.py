"""The verbs ``evaluate`` and ``agreement``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bids_mfi.cli.arguments import Parser
from bids_mfi.cli.output import EXIT_STATUSES, print_error, print_out, print_some
from bids_mfi.cli.values import make_absolute

if TYPE_CHECKING:
    from bids_mfi.evaluation import Comparison


def add_evaluate(verbs: "argparse._SubParsersAction[Parser]") -> None:
    """Add the parser of ``evaluate``."""
    evaluate = verbs.add_parser(
        "evaluate",
        help="compare label maps, MFI and volume of two derivative folders",
        description="Compare the label maps, MFI and volume of PREDICTION with those of TRUTH as "
        "Weber et al. 2021 did: tables, figures and one HTML page in OUT_DIR. Scans are paired by "
        "sub, ses, acq, run and other entities.",
        epilog=EXIT_STATUSES,
    )
    evaluate.add_argument("truth", type=Path, help="folder with the reference *_dseg.nii.gz")
    evaluate.add_argument("prediction", type=Path, help="folder with the label maps to evaluate")
    evaluate.add_argument("out_dir", type=Path, help="new or empty, or an earlier evaluation")
    evaluate.add_argument(
        "--measure",
        choices=("auto", "images", "tables"),
        default="auto",
        help="MFI and volume: measured with both label maps on the same images, or taken from the "
        "*_mfi.tsv of both folders; auto uses the images if those of every scan are found",
    )
    evaluate.add_argument(
        "--bids-dir",
        type=Path,
        metavar="DIR",
        help="dataset with the images, if it is not where the sidecars say; implies --measure "
        "images",
    )
    evaluate.set_defaults(handler=_run_evaluate)


def add_agreement(verbs: "argparse._SubParsersAction[Parser]") -> None:
    """Add the parser of ``agreement``."""
    agreement = verbs.add_parser(
        "agreement",
        help="agreement of two raters or models from their tables",
        description="Agreement of two tab-separated tables: bias, limits of agreement, ICC(2,1) "
        "and more for each muscle and side. There is one row per scan and muscle, with the columns "
        "participant_id, muscle, hemi, volume_ml and mfi_percent, and session_id and run_id where "
        "there are several. Rows are paired by all columns except the two measures.",
        epilog=EXIT_STATUSES,
    )
    agreement.add_argument("reference", type=Path, metavar="A.tsv", help="the reference")
    agreement.add_argument("compared", type=Path, metavar="B.tsv", help="compared with it")
    agreement.add_argument("out_dir", type=Path, help="new or empty, or an earlier agreement")
    agreement.set_defaults(handler=_run_agreement)


def _run_evaluate(arguments: argparse.Namespace) -> int:
    from bids_mfi.evaluation import evaluate_folders

    found = evaluate_folders(
        arguments.truth.absolute(),
        arguments.prediction.absolute(),
        arguments.out_dir.absolute(),
        arguments.measure,
        make_absolute(arguments.bids_dir),
    )
    return print_comparison(found)


def _run_agreement(arguments: argparse.Namespace) -> int:
    from bids_mfi.evaluation import compare_tables

    paths = (arguments.reference, arguments.compared, arguments.out_dir)
    return print_comparison(compare_tables(*(path.absolute() for path in paths)))


def print_comparison(found: "Comparison") -> int:
    """Print what was compared and what was not; return the exit status."""
    for scan, problem in found.failed:
        print_error(f"{scan}: FAILED: {problem}")
    for where, names in (("first", found.reference_only), ("second", found.compared_only)):
        lines = [f"only in the {where}, not compared: {name}" for name in names]
        print_some(lines, f"only in the {where}")
    print_some(found.unknown_labels, "labels without a name")
    print_some(found.findings, "findings")
    print_out(found.sentence)
    print_out(f"report: {found.page}")
    return found.exit_code
