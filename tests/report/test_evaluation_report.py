"""Page and figures of an evaluation: self-contained, the same bytes, right words and numbers."""

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from bids_mfi.evaluation.summary import make_agreement
from bids_mfi.measure.overlap import SegmentationCounts
from bids_mfi.report.agreement_figures import draw_agreement
from bids_mfi.report.agreement_page import (
    METRIC_HEADS,
    AgreementPage,
    Lists,
    ScanScore,
    find_lowest_dice,
    mean_dice,
    render_agreement_page,
)
from bids_mfi.statistics.summaries import SegmentationSummary, summarise

NAMES = ("truth", "prediction")


def agreement(hemi="L", measure="mfi", n=6, muscle="TR", shift=2.0):
    truth = np.linspace(10, 20, n) if n else np.array([])
    wave = np.resize([0.3, -0.2, 0.1], n)
    people = [f"sub-{i}" for i in range(n)]
    return make_agreement((muscle, hemi, measure), people, truth, truth + shift + wave, 0)


def segmentation(hemi="L", muscle="TR", counts=((90, 10, 10, 900), (50, 50, 50, 900)), scans=2):
    found = [SegmentationCounts(*each) for each in counts]
    metrics = tuple(
        (name, summarise(getattr(each, name, math.nan) for each in found))
        for name, _, _ in METRIC_HEADS
    )
    return SegmentationSummary(muscle, hemi, 12, scans, 0, 0, metrics)


def make_page(**changes):
    found = tuple(agreement(hemi, measure) for hemi in ("L", "R") for measure in ("mfi", "volume"))
    page = AgreementPage("Evaluation", NAMES, (("Truth", "/data/truth"),), found,
                         (("mfi", b"<svg/>"),), (segmentation(), segmentation("R")),
                         (ScanScore("sub-01", (("TR_L", 0.5), ("TR_R", 0.9)), ("TR_L",)),
                          ScanScore("sub-02", (("TR_L", 0.8),))))  # fmt: skip
    return replace(page, **changes)


def text_of(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html.split("<body>")[1]).split())


def test_the_page_needs_nothing_but_itself():
    html = render_agreement_page(make_page())
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert "<script" not in html
    assert set(re.findall(r'(?:src|href)="([^"#]{1,22})', html)) == {
        "data:image/svg+xml;bas", "https://doi.org/10.103"
    }  # fmt: skip
    assert "not a medical device" in html


def test_headlines_come_first_and_say_what_is_worst():
    low = segmentation("R", "LC", counts=((10, 90, 90, 900),))
    worse = agreement("R", muscle="LC", shift=-3.0)
    page = make_page(segmentation=(segmentation(), low), agreement=(agreement(), worse))
    text = text_of(render_agreement_page(page))
    first = text[: text.index("Accuracy")]
    assert "Mean Dice 0.40 over 2 muscles" in first  # (0.9 + 0.5) / 2 and 0.1
    assert "Lowest muscle LC R 0.10" in first
    assert "Largest MFI bias LC R \u22122.9" in first


def test_muscles_that_the_truth_never_holds_do_not_lower_the_mean():
    absent = segmentation("R", counts=((0, 50, 0, 900),), scans=0)
    assert mean_dice([segmentation(), absent]) == pytest.approx(0.7)
    assert find_lowest_dice([segmentation(), absent]).hemi == "L"
    assert find_lowest_dice([absent]) is None
    assert math.isnan(mean_dice([absent]))


def test_worst_scans_and_values_are_listed():
    text = text_of(render_agreement_page(make_page()))
    assert "sub-01 0.70 TR_L 0.50 TR_L sub-02 0.80 TR_L 0.80 none" in text
    assert "Difference sub-0 TR_L 10.0 12.3 2.3" in text


def test_what_was_not_compared_is_said():
    lists = Lists((("sub-08", "damaged"),), ("sub-07",), ("sub-09",), ("truth: label 99",))
    text = text_of(render_agreement_page(make_page(lists=lists)))
    assert "Failed sub-08: damaged" in text
    assert "truth only sub-07" in text
    assert "prediction only sub-09" in text
    assert "truth: label 99" in text
    assert "What was not compared" not in render_agreement_page(make_page())


def test_names_cannot_become_markup():
    facts = (("Truth", "<script>alert(1)</script>"),)
    html = render_agreement_page(make_page(facts=facts))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_undefined_values_are_said_to_be_so():
    html = render_agreement_page(make_page(agreement=(agreement(n=1), agreement("R", n=0))))
    text = text_of(html)
    assert "nan" not in text.lower().replace("n/a", "").split()
    assert "Right 0 n/a n/a n/a" in text
    assert "Left 1 12.3 2.3 n/a 2.3 2.3 n/a" in text


def test_two_tables_have_no_segmentation():
    html = render_agreement_page(make_page(segmentation=(), scans=()))
    assert "Table 4" not in html
    assert "true positive rate" not in html


# --- figures -----------------------------------------------------------------------------------


def test_figures_are_valid_and_the_same_at_every_call():
    found = [agreement("L"), agreement("R"), agreement("L", "volume")]
    svg = draw_agreement(found, "mfi", NAMES)
    assert svg == draw_agreement(found, "mfi", NAMES)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert b"<dc:date>" not in svg
    assert svg != draw_agreement(found, "volume", NAMES)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_points_are_drawn_without_lines_that_are_undefined(n):
    svg = draw_agreement([agreement(n=n)], "mfi", NAMES)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert b"nan" not in svg.lower()


def test_equal_values_are_drawn():
    same = make_agreement(("TR", "L", "mfi"), ["a", "b"], [5.0, 5.0], [5.0, 5.0], 0)
    nothing = make_agreement(("TR", "R", "mfi"), ["a", "b"], [0.0, 0.0], [0.0, 0.0], 0)
    for found in ([same, nothing], []):
        svg = draw_agreement(found, "mfi", NAMES)
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert b"nan" not in svg.lower()


def test_numbers_in_figures_have_the_form_of_the_page():
    """A true minus sign; paths of letters carry their text as a comment."""
    falling = make_agreement(("TR", "L", "mfi"), ["a", "b"], [-4.0, -8.0], [8.0, 16.0], 0)
    assert "\u03b2 = \u22120.50, n = 2" in draw_agreement([falling], "mfi", NAMES).decode()


def test_sides_differ_in_form():
    """Marker and line width, not colour alone."""
    left, right = (draw_agreement([agreement(hemi)], "mfi", NAMES) for hemi in ("L", "R"))
    widths = [set(re.findall(rb"stroke-width: ([\d.]+)", svg)) for svg in (left, right)]
    assert widths[0] != widths[1]
    assert b"fill: #0063a6" in left
    assert b"fill-opacity" not in right or b"fill: none" in right
