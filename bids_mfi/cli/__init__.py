"""Command line: options, parsers and handlers of all verbs, and printed output.

``app`` is the BIDS App ``run.py``, ``verbs`` joins the verbs of ``python -m bids_mfi``. Nothing
heavy is imported before the arguments are parsed.
"""

from bids_mfi.cli.app import build_parser, main, run_app
from bids_mfi.cli.verbs import build_verb_parser, main_verbs

__all__ = ["build_parser", "build_verb_parser", "main", "main_verbs", "run_app"]
