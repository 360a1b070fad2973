#!/usr/bin/env python3
"""Run the BIDS App: ``run.py BIDS_DIR OUTPUT_DIR {participant,group} [options]``."""

import sys

from bids_mfi.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
