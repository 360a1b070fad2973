"""Bundles without weights, for tests that write or only describe them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_mfi.muscles import paper_table
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.intensity import PROBABILITIES_PERCENT

LANDMARKS = (tuple(float(p) for p in PROBABILITIES_PERCENT),) * 2


def draft(folder: Path, **changes: Any) -> ModelBundle:
    """A bundle of the published kind with the paper's labels; keywords replace its values."""
    bundle = ModelBundle(
        folder=folder,
        name="test-neck",
        version="0.0.1",
        sha256="",
        spacing_mm=(1.4, 1.4, 3.0),
        landmarks=LANDMARKS,
        table=paper_table(),
        description="Random weights for a test.",
        licence="CC0-1.0",
        training=(("steps", "0"),),
        references=("doi:10.1038/s41598-021-95972-x",),
    )
    return replace(bundle, **changes)
