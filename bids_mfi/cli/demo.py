"""The verb ``demo``."""

import argparse
from pathlib import Path

from bids_mfi.cli.app import main
from bids_mfi.cli.arguments import Parser
from bids_mfi.cli.output import print_out
from bids_mfi.cli.values import positive_int
from bids_mfi.counts import count_noun


def add_demo(verbs: "argparse._SubParsersAction[Parser]") -> None:
    """Add the parser of ``demo``."""
    demo = verbs.add_parser("demo", help="simulate a small dataset and run both levels")
    demo.add_argument(
        "folder", type=Path, help="output folder; receives bids/ (the dataset) and derivatives/"
    )
    demo.add_argument(
        "--participants", type=positive_int, default=6, metavar="N", help="default: %(default)s"
    )
    demo.set_defaults(handler=_run_demo)


def _run_demo(arguments: argparse.Namespace) -> int:
    from bids_mfi.synthesis.simulate import simulate_dataset

    bids_dir, out_dir = arguments.folder / "bids", arguments.folder / "derivatives"
    if bids_dir.exists():
        print_out(f"using the existing synthetic dataset in {bids_dir}")
    else:
        people = count_noun(arguments.participants, "participant")
        print_out(f"writing a synthetic BIDS dataset of {people} to {bids_dir} ...")
        simulate_dataset(bids_dir.absolute(), arguments.participants, sessions=1, seed=20210817)
    for level in ("participant", "group"):
        print_out(f"run.py {bids_dir} {out_dir} {level}")
        status = main([str(bids_dir), str(out_dir), level])
        if status:
            return status
    return 0
