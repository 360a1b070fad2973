"""Sentences that depend on the run: what is labelled, what was used, what black means."""

from pathlib import Path

import pandas as pd
import pytest

from bids_mfi.group.outputs import make_table_file
from bids_mfi.group.prose import Sources, tell_extent, write_methods
from bids_mfi.options import RunOptions
from bids_mfi.report.page import PICTURES

CERTAIN = "certain vertebral levels only"


def methods(levels, correction="none"):
    options = RunOptions(Path("in"), Path("out"), "group", correction=correction)
    sources = Sources("a bundle", "1", "computed", "", 1, 0, extent=tell_extent(levels))
    paragraphs, references = write_methods(options, sources, ())
    return " ".join(paragraphs), " ".join(references)


@pytest.mark.parametrize(
    ("levels", "is_certain", "says"),
    [
        ({"all"}, False, "whole muscles are labelled"),
        ({"C4-C6", "C3-C7"}, True, "because muscles are labelled at"),
        ({"C4-C6", "all"}, True, "because some muscles are labelled at"),
        (set(), False, "the tables do not say how much of a muscle is labelled"),
    ],
)
def test_what_is_labelled_is_said_of_the_weights_used(levels, is_certain, says):
    text, _ = methods(levels)
    assert (CERTAIN in text) == is_certain
    assert says in text
    title = make_table_file("volume_wide", pd.DataFrame(), extent=tell_extent(levels)).title
    assert (CERTAIN in title) == is_certain
    assert CERTAIN not in make_table_file("wide", pd.DataFrame(), extent=tell_extent(levels)).title


@pytest.mark.parametrize("correction", ["none", "holm", "fdr_bh"])
def test_statsmodels_is_named_where_it_was_used(correction):
    text, references = methods({"all"}, correction)
    is_used = correction != "none"
    assert ("statsmodels" in text, "statsmodels" in references) == (is_used, is_used)


def test_one_participant_is_one():
    assert "1 participant was analysed" in methods({"all"})[0]


def test_black_is_not_said_to_be_no_fat_alone():
    caption = PICTURES["fatfraction"][2]
    assert "only fat" in caption
