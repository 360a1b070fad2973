"""Plans of trainings whose parts a test makes itself, in place of a command line."""

from pathlib import Path

import torch

from bids_mfi.network.devices import choose_device
from bids_mfi.training import loop
from bids_mfi.training.bundle_card import UNNAMED_CARD
from bids_mfi.training.checks import check_folder, check_table
from bids_mfi.training.plan import TrainingPlan, settle_options


def plan_of(options, label_maps=(), start=None, out_dir=Path("out"), card=UNNAMED_CARD):
    """A plan with these options as they are."""
    device = torch.device(choose_device(options.device))
    return TrainingPlan(out_dir, options, device, card, start, label_maps=tuple(label_maps))


def train(options, data, out_dir, card=UNNAMED_CARD, report=lambda line: None, start=None):
    """Train on data that a test made, after the checks of a command line and of its data."""
    check_folder(out_dir)
    plan = plan_of(settle_options(options, start), start=start, out_dir=out_dir, card=card)
    check_table(data.table, plan.options, start)
    return loop.train(plan, data, report)
