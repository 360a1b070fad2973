"""``python -m bids_mfi VERB``: joins the verbs, one file each."""

from collections.abc import Sequence

from bids_mfi import __version__
from bids_mfi.cli.arguments import Parser
from bids_mfi.cli.convert import add_convert
from bids_mfi.cli.demo import add_demo
from bids_mfi.cli.evaluate import add_agreement, add_evaluate
from bids_mfi.cli.output import EXIT_STATUSES, NOTICE, report_errors
from bids_mfi.cli.simulate import add_simulate
from bids_mfi.cli.slurm import add_slurm
from bids_mfi.cli.train import add_train
from bids_mfi.printing import printable_output


def build_verb_parser() -> Parser:
    """Build the parser of ``python -m bids_mfi``."""
    parser = Parser(
        prog="python -m bids_mfi",
        description=f"Models and data around the BIDS App run.py. {NOTICE}",
        epilog=EXIT_STATUSES,
    )
    parser.add_argument("--version", action="version", version=f"bids_mfi {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    add_demo(verbs)
    add_simulate(verbs)
    add_train(verbs)
    add_convert(verbs)
    add_evaluate(verbs)
    add_agreement(verbs)
    add_slurm(verbs)
    return parser


@printable_output()
def main_verbs(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    arguments = build_verb_parser().parse_args(argv)
    return report_errors(lambda: int(arguments.handler(arguments)))
