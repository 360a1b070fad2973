"""The verb ``convert``."""

import argparse
from pathlib import Path

from bids_mfi.cli.arguments import Parser
from bids_mfi.cli.output import EXIT_STATUSES, print_out


def add_convert(verbs: "argparse._SubParsersAction[Parser]") -> None:
    """Add the parser of ``convert``."""
    convert = verbs.add_parser(
        "convert",
        help="make a bundle from a published NiftyNet model",
        description="Make a bundle from a dense V-Net published for NiftyNet: MODEL_DIR holds "
        "inference.ini, standardisation_models.txt and model.ckpt-N.index and .data, in one folder "
        "or as published by the authors. The weights keep their own licence (Weber et al. 2021: "
        "GPL-3).",
        epilog=EXIT_STATUSES,
    )
    convert.add_argument(
        "model_dir", type=Path, help="the authors' folder: inference.ini, landmarks, checkpoint"
    )
    convert.add_argument("bundle_dir", type=Path, help="new or empty folder")
    convert.set_defaults(handler=_run_convert)


def _run_convert(arguments: argparse.Namespace) -> int:
    from bids_mfi.niftynet.convert import convert

    bundle = convert(arguments.model_dir.absolute(), arguments.bundle_dir.absolute())
    print_out(f"bundle {bundle.name} ({bundle.licence}): {bundle.folder}")
    return 0
