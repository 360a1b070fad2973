"""``python -m bids_mfi VERB``: models and data around the BIDS App."""

import sys

from bids_mfi.cli.verbs import main_verbs

if __name__ == "__main__":
    sys.exit(main_verbs())
