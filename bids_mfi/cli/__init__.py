"""Parsers and one handler a verb.

``run.py`` speaks the BIDS App grammar (``app``), ``python -m bids_mfi`` the verbs around it
(``verbs``). Nothing heavy is imported before the arguments are parsed.
"""

from bids_mfi.cli.app import build_parser, main
from bids_mfi.cli.verbs import build_verb_parser, main_verbs

__all__ = ["build_parser", "build_verb_parser", "main", "main_verbs"]
