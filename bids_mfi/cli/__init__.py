"""Parsers, and one handler per verb.

``app`` is the BIDS App ``run.py``, ``verbs`` is ``python -m bids_mfi``. Nothing heavy is imported
before the arguments are parsed.
"""

from bids_mfi.cli.app import build_parser, main
from bids_mfi.cli.verbs import build_verb_parser, main_verbs

__all__ = ["build_parser", "build_verb_parser", "main", "main_verbs"]
