"""Parsers and one handler a verb; must not know how anything is done.

``run.py`` speaks the BIDS App grammar (``app``), ``python -m bids_mfi`` the verbs around it
(``verbs``). With ``participant.workflow`` the only place that catches errors, prints or exits.
Nothing heavy is imported before the arguments are parsed.
"""

from bids_mfi.cli.app import build_parser, main
from bids_mfi.cli.verbs import build_verb_parser, main_verbs

__all__ = ["build_parser", "build_verb_parser", "main", "main_verbs"]
