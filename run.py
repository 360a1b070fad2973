#!/usr/bin/env python3
"""Run the BIDS App: ``run.py BIDS_DIR OUTPUT_DIR {participant,group} [options]``."""

from bids_mfi.cli.app import run_app

if __name__ == "__main__":
    run_app()
