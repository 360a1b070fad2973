"""The verb ``simulate``."""

import argparse
from pathlib import Path

from bids_mfi.cli.arguments import Parser
from bids_mfi.cli.output import print_error, print_out
from bids_mfi.cli.values import positive_int, seed, variation
from bids_mfi.errors import InputError
from bids_mfi.options import LEVEL_CHOICES


def add_simulate(verbs: "argparse._SubParsersAction[Parser]") -> None:
    """Add the parser of ``simulate``."""
    simulate = verbs.add_parser("simulate", help="write a BIDS dataset of synthetic neck scans")
    simulate.add_argument("out_dir", type=Path, help="new or empty folder")
    simulate.add_argument(
        "--participants", type=positive_int, default=4, metavar="N", help="default: %(default)s"
    )
    simulate.add_argument(
        "--sessions",
        type=positive_int,
        default=1,
        metavar="M",
        help="sessions of each participant; with 1, there are no session folders (default: "
        "%(default)s)",
    )
    simulate.add_argument(
        "--seed",
        type=seed,
        default=1,
        metavar="S",
        help="the same seed gives the same bytes (default: %(default)s)",
    )
    _add_anatomy(simulate)
    simulate.set_defaults(handler=_run_simulate)


def _add_anatomy(simulate: Parser) -> None:
    """Add the options for persons on the anatomy of label maps."""
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
        help="with --labels: label muscles at the levels of the paper's Table 1 (paper) or over "
        "their whole length (all) (default: paper)",
    )
    simulate.add_argument(
        "--variation",
        type=variation,
        metavar="F",
        help="with --labels: factor of the variation of shape between persons, 0 to 2 (default: 1)",
    )
    simulate.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="cpu",
        help="with --labels: device that makes the scans; the same seed gives the same bytes on "
        "the same device (default: %(default)s)",
    )


def _run_simulate(arguments: argparse.Namespace) -> int:
    from bids_mfi.network.devices import choose_device
    from bids_mfi.synthesis.simulate import check_empty, simulate_dataset
    from bids_mfi.synthesis.sources import AnatomySource, PhantomSource, ScanSource

    stated = (arguments.protocol, arguments.levels, arguments.variation)
    if not arguments.labels and any(value is not None for value in stated):
        raise InputError(
            "--protocol, --levels and --variation need label maps; the phantom has one protocol, "
            "no vertebrae and its own variation. Name label maps with --labels."
        )
    check_empty(arguments.out_dir)
    source: ScanSource = PhantomSource()
    if arguments.labels:
        source = AnatomySource(
            arguments.labels,
            arguments.protocol or "varied",
            arguments.levels or "paper",
            choose_device(arguments.device),
            1.0 if arguments.variation is None else arguments.variation,
        )
    for note in source.notes:
        print_error(note)
    simulate_dataset(
        arguments.out_dir.absolute(),
        arguments.participants,
        arguments.sessions,
        arguments.seed,
        source,
        print_error,
    )
    print_out(f"synthetic BIDS dataset: {arguments.out_dir}")
    return 0
