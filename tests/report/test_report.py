"""Pictures and pages: sides, proportions, honesty about what is missing, self-containedness."""

import base64
import dataclasses
import functools
import hashlib
import io
import itertools
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bids_mfi.bids.columns import MUSCLE_COLUMNS
from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.levels import LevelMeasure
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.quality import QCFlag
from bids_mfi.measure.quantify import MuscleMeasure, measure_muscles
from bids_mfi.muscles import WEBER2021
from bids_mfi.report.figures import (
    FIGURE_NAMES,
    SCALE_BAR_MM,
    draw_fat_fraction,
    draw_figures,
    draw_labels,
    draw_overview,
    draw_water,
)
from bids_mfi.report.page import (
    ParticipantPage,
    Provenance,
    ScanSection,
    describe_images,
    group_flags,
    render_page,
)
from bids_mfi.report.panels import BACKGROUND, COLUMNS, YELLOW, trace_outlines
from bids_mfi.report.scene import arrange_scene, choose_levels, choose_views

LEFT, RIGHT = WEBER2021.of("TR", "L"), WEBER2021.of("SCM", "R")
RAS = ("R", "A", "S")
ORIENTATIONS = [RAS, ("L", "P", "S"), ("L", "A", "I"), ("P", "S", "R"), ("I", "R", "A")]


def upright(shape, spacing_mm):
    rows = np.diag([*spacing_mm, 1.0])
    rows[:3, 3] = -np.array(shape) * spacing_mm / 2
    return Grid.from_array(shape, rows)


def make_scan(axcodes=RAS, spacing_mm=(1.5, 1.5, 4.0)):
    """A box-shaped neck; left trapezius behind and above, right sternocleidomastoid in front."""
    shape = tuple(int(size / step) for size, step in zip((150, 120, 96), spacing_mm, strict=True))
    grid = upright(shape, spacing_mm)
    x, y, z = (
        np.arange(size)[index] * step + start
        for size, step, start, index in zip(
            shape,
            spacing_mm,
            grid.matrix[:3, 3],
            (np.s_[:, None, None], np.s_[None, :, None], np.s_[None, None, :]),
            strict=True,
        )
    )
    body = (np.abs(x) < 60) & (np.abs(y) < 45) & (np.abs(z) < 100)
    labels = np.zeros(shape, np.int16)
    labels[(x < -20) & (x > -40) & (y < -10) & (y > -30) & (z > 10) & (z < 40)] = LEFT.index
    labels[(x > 20) & (x < 40) & (y > 10) & (y < 30) & (z > -40) & (z < 40)] = RIGHT.index
    water = np.where(body, 100.0, 0.0)
    fraction = np.where(body, 20.0, np.nan)
    turned = [reorient(volume, grid, axcodes) for volume in (water, fraction, labels)]
    return (*(volume for volume, _ in turned), turned[0][1])


@functools.cache
def draw_one(name, axcodes=RAS, spacing_mm=(1.5, 1.5, 4.0)):
    """One picture of the scan, and its scene."""
    scene = arrange_scene(*make_scan(axcodes, spacing_mm), WEBER2021)
    draw = {"labels": draw_labels, "overview": draw_overview, "water": draw_water}
    return draw[name](scene), scene


def decode(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def hue_mask(pixels, color, tolerance=25):
    """Pixels of a label's outline; the legend is cut away by the caller."""
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    return np.abs(pixels - wanted).max(axis=2) <= tolerance


def split_panels(png, views, ratio):
    """The panels of a mosaic as arrays of pixels, without gaps and footer."""
    pixels = decode(png)
    width = (1200 - 5 * (COLUMNS - 1)) / COLUMNS
    height = width * ratio
    panels = []
    for number in range(views):
        row, column = divmod(number, COLUMNS)
        top, left = row * (height + 5), column * (width + 5)
        rows = slice(int(top + 2), int(top + height - 2))
        panels.append(pixels[rows, int(left + 2) : int(left + width - 2)])
    return panels


# --- sides and proportions ---------------------------------------------------------------------


@pytest.mark.parametrize("axcodes", ORIENTATIONS, ids="".join)
def test_left_is_on_the_right_of_every_axial_picture_whatever_the_storage(axcodes):
    png, scene = draw_one("labels", axcodes)
    seen_left = 0
    for panel in split_panels(png, len(scene.views), scene.ratio):
        middle_row, middle_column = panel.shape[0] / 2, panel.shape[1] / 2
        rows, columns = np.nonzero(hue_mask(panel, RIGHT.color))
        assert rows.size > 50
        left_rows, left_columns = np.nonzero(hue_mask(panel, LEFT.color))
        if left_rows.size > 50:
            seen_left += 1
            assert columns.max() < middle_column < left_columns.min()
            assert rows.max() < middle_row < left_rows.min()  # anterior is up
    assert 2 <= seen_left < len(scene.views)


@pytest.mark.parametrize("axcodes", ORIENTATIONS, ids="".join)
def test_what_is_drawn_does_not_depend_on_the_storage(axcodes):
    expected, found = (arrange_scene(*make_scan(kind), WEBER2021) for kind in (RAS, axcodes))
    for name in ("water", "fat_fraction", "labels"):
        first, second = getattr(expected, name), getattr(found, name)
        assert np.array_equal(first, second, equal_nan=name == "fat_fraction")
    assert np.allclose(found.grid.affine, expected.grid.affine)
    for name in ("views", "ratio", "brightest"):
        assert getattr(expected, name) == getattr(found, name)


def test_levels_go_from_superior_to_inferior():
    png, scene = draw_one("labels")
    panels = split_panels(png, len(scene.views), scene.ratio)
    trapezius = [bool(hue_mask(panel, LEFT.color).sum() > 50) for panel in panels]
    assert trapezius[0]  # the trapezius of this scan lies above
    assert not trapezius[-1]


def test_overview_has_left_on_the_right_and_superior_on_top():
    water, fraction, labels, grid = make_scan()
    labels = np.where(labels == RIGHT.index, 0, labels)
    pixels = decode(draw_overview(arrange_scene(water, fraction, labels, grid, WEBER2021)))
    width_mm = grid.shape[0] * 1.5, grid.shape[1] * 1.5
    border = int(1195 * width_mm[0] / sum(width_mm))
    tinted = pixels[..., 2] - pixels[..., 0] > 15  # the trapezius is cyan, all else is grey
    rows, columns = np.nonzero(tinted[:, :border])
    assert columns.min() > border / 2
    assert rows.max() < pixels.shape[0] / 2
    rows, columns = np.nonzero(tinted[:, border + 6 :])
    assert columns.min() > (1200 - border) / 2  # posterior is on the right
    assert rows.max() < pixels.shape[0] / 2


@pytest.mark.parametrize("axcodes", [RAS, ("P", "S", "R")], ids="".join)
@pytest.mark.parametrize("spacing_mm", [(1.5, 1.5, 4.0), (1.0, 2.5, 3.0), (3.0, 1.0, 1.0)])
def test_proportions_follow_the_voxel_size(axcodes, spacing_mm):
    png, scene = draw_one("labels", axcodes, spacing_mm)
    view = scene.views[-1]
    panel = split_panels(png, len(scene.views), scene.ratio)[-1]
    rows, columns = np.nonzero(hue_mask(panel, RIGHT.color))
    pixels_per_mm = 296.25 / (view.right - view.left)
    assert np.ptp(columns) / pixels_per_mm == pytest.approx(20, abs=3.2)
    assert np.ptp(rows) / pixels_per_mm == pytest.approx(20, abs=3.2)
    overview = decode(draw_one("overview", axcodes, spacing_mm)[0])
    size_mm = np.array(scene.grid.shape) * scene.grid.spacing_mm
    assert overview.shape[0] == pytest.approx(1195 * size_mm[2] / size_mm[:2].sum(), abs=2)


@pytest.mark.parametrize("spacing_mm", [(1.0, 2.5, 3.0), (3.0, 1.0, 1.0)])
def test_signal_lies_within_the_outline_of_its_label(spacing_mm):
    _, fraction, labels, grid = make_scan(RAS, spacing_mm)
    water = np.where(labels == RIGHT.index, 100.0, 0.0)
    scene = arrange_scene(water, fraction, labels, grid, WEBER2021)
    pictures = (draw_labels(scene), draw_water(scene))
    outlined, plain = (split_panels(png, len(scene.views), scene.ratio)[-1] for png in pictures)
    bright = plain[..., 2] > 140  # letters and bar lie at the edges
    bright[:35] = bright[-35:] = bright[:, :35] = bright[:, -35:] = False
    inside, outline = np.argwhere(bright), np.argwhere(hue_mask(outlined, RIGHT.color))
    assert np.abs(inside.min(axis=0) - outline.min(axis=0)).max() <= 6
    assert np.abs(inside.max(axis=0) - outline.max(axis=0)).max() <= 6
    filled = outlined[tuple(inside.mean(axis=0).astype(int))]
    assert filled[0] > filled[1] + 30  # purple over white


def test_scale_bar_has_the_right_length():
    png, scene = draw_one("water")
    panel = split_panels(png, len(scene.views), scene.ratio)[0]
    bottom = panel[-int(0.06 * panel.shape[0]) :]
    columns = np.nonzero(hue_mask(bottom, YELLOW).any(axis=0))[0]
    pixels_per_mm = 296.25 / (scene.views[0].right - scene.views[0].left)
    assert np.ptp(columns) / pixels_per_mm == pytest.approx(SCALE_BAR_MM, abs=1.5)


def test_oblique_and_left_handed_grids_keep_the_sides():
    water, fraction, labels, grid = make_scan()
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique = Grid.from_array(grid.shape, turn @ grid.matrix)
    scene = arrange_scene(water, fraction, labels, oblique, WEBER2021)
    assert scene.grid.axcodes == ("L", "P", "I")
    left = np.argwhere(scene.labels == LEFT.index).mean(axis=0)
    right = np.argwhere(scene.labels == RIGHT.index).mean(axis=0)
    assert left[0] > right[0]
    assert left[1] > right[1]


# --- what is shown -----------------------------------------------------------------------------


def test_every_label_is_seen_on_some_slice():
    labels = np.zeros((20, 20, 40), np.int16)
    labels[2:5, 2:5, 3:37] = 1
    for index in range(2, 15):
        labels[10, 10, 2 + 2 * index] = index  # one slice each
    levels = choose_levels(labels)
    assert set(np.unique(labels[:, :, list(levels)])) == set(range(15))
    assert levels == tuple(sorted(set(levels)))


@pytest.mark.parametrize("slices", [2, 3, 8, 9, 150])
def test_levels_are_at_most_the_slices_there_are(slices):
    labels = np.ones((4, 4, slices), np.int16)
    levels = choose_levels(labels)
    assert len(levels) == min(slices, 8)
    assert levels[0] >= 0
    assert levels[-1] < slices


def test_views_hold_the_labels_with_a_margin_and_one_ratio():
    _, _, labels, grid = make_scan()
    turned, _ = reorient(labels, grid, ("L", "P", "I"))
    views, ratio = choose_views(turned.astype(np.int16), (1.5, 1.5, 4.0))
    for view in views:
        x, y = (np.flatnonzero(turned[:, :, view.level].any(axis=axis)) for axis in (1, 0))
        assert view.left <= 1.5 * x[0] - 15
        assert view.right >= 1.5 * (x[-1] + 1) + 15
        assert view.top <= 1.5 * y[0] - 15
        assert view.bottom >= 1.5 * (y[-1] + 1) + 15
        assert (view.bottom - view.top) / (view.right - view.left) == pytest.approx(ratio)


def test_outline_surrounds_the_voxels_in_millimetres():
    plane = np.zeros((6, 8), np.int16)
    plane[2:4, 3:6] = 5
    ((index, points),) = trace_outlines(plane, (2.0, 1.0))
    assert index == 5
    assert points[:, 0].min() == pytest.approx(2 * 2.0)
    assert points[:, 0].max() == pytest.approx(4 * 2.0)
    assert points[:, 1].min() == pytest.approx(3)
    assert points[:, 1].max() == pytest.approx(6)


def test_no_signal_is_grey_and_no_fat_is_black():
    water, fraction, labels, grid = make_scan()
    fraction = np.where(np.isnan(fraction), np.nan, 0.0)
    scene = arrange_scene(water, fraction, labels, grid, WEBER2021)
    png = draw_fat_fraction(scene)
    panel = split_panels(png, len(scene.views), scene.ratio)[3]
    assert hue_mask(panel, "#46505e", 3).mean() > 0.1
    middle = panel[panel.shape[0] // 2, panel.shape[1] // 2]
    assert middle.max() < 12


def test_noise_of_the_air_is_not_shown_as_fat():
    water, fraction, labels, grid = make_scan()
    rng = np.random.default_rng(1)
    air = water == 0
    water = np.where(air, rng.uniform(0, 2, water.shape), water)
    fraction = np.where(air, rng.uniform(0, 60, water.shape), fraction)
    clean = draw_fat_fraction(arrange_scene(*make_scan(), WEBER2021))
    noisy = draw_fat_fraction(arrange_scene(water, fraction, labels, grid, WEBER2021))
    assert (np.abs(decode(clean) - decode(noisy)).max(axis=2) > 30).mean() < 0.01


def test_labels_that_the_table_lacks_are_not_shown():
    water, fraction, labels, grid = make_scan()
    other = labels.copy()
    other[0, 0, 0] = 99
    first, second = (
        arrange_scene(water, fraction, each, grid, WEBER2021) for each in (labels, other)
    )
    assert np.array_equal(first.labels, second.labels)
    assert first.views == second.views


@pytest.mark.parametrize("what", ["labels", "water", "both"])
def test_empty_scans_can_be_drawn(what):
    water, fraction, labels, grid = make_scan()
    if what != "water":
        labels = np.zeros_like(labels)
    if what != "labels":
        water, fraction = np.zeros_like(water), np.full_like(fraction, np.nan)
    figures = draw_figures(water, fraction, labels, grid, WEBER2021)
    assert tuple(figures) == FIGURE_NAMES


HERE = Path(__file__).parents


def test_pictures_are_the_same_bytes_whatever_the_users_settings(tmp_path):
    figures = draw_figures(*make_scan(), WEBER2021)
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nimage.cmap: jet\nsavefig.dpi: 30\n")
    code = (
        "import hashlib, sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_report import *\n"
        "for png in draw_figures(*make_scan(), WEBER2021).values():\n"
        "    print(hashlib.sha256(png).hexdigest())\n"
    )
    command = [sys.executable, "-c", code, *(str(folder) for folder in HERE[:2])]
    environment = {"MATPLOTLIBRC": str(tmp_path), "MPLCONFIGDIR": str(tmp_path), "HOME": "/"}
    environment["PYTHONPATH"] = str(HERE[2])
    output = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    ).stdout
    assert output.split() == [hashlib.sha256(png).hexdigest() for png in figures.values()]
    assert all(b"Software" not in png and b"tIME" not in png for png in figures.values())


@pytest.mark.parametrize("draw", [draw_labels, draw_water])
def test_panels_are_separated_and_lettered(draw):
    water, fraction, labels, grid = make_scan()
    scene = arrange_scene(np.zeros_like(water), fraction, labels, grid, WEBER2021)
    png = draw(scene)
    pixels = decode(png)
    for gap in (297, 598, 900):
        column = pixels[:, gap : gap + 4].reshape(-1, 3)
        assert (np.abs(column - int(BACKGROUND[1:3], 16)).max(axis=1) < 12).mean() > 0.5
    for panel in split_panels(png, len(scene.views), scene.ratio):
        middle = slice(panel.shape[0] // 2 - 12, panel.shape[0] // 2 + 12)
        letters = [(panel[middle, edge].min(axis=2) > 128) for edge in (np.s_[:22], np.s_[-22:])]
        right, left = (letter[:, np.flatnonzero(letter.any(axis=0))] for letter in letters)
        upper = slice(0, np.flatnonzero(left.any(axis=1)).mean().astype(int))
        assert right.any()
        assert left.any()
        # The bowl of R fills its upper right, where L is empty.
        assert right[upper, right.shape[1] // 2 :].any()
        assert not left[upper, left.shape[1] // 2 :].any()


# --- the page ----------------------------------------------------------------------------------

PROVENANCE = Provenance("0.1", "tiny", "2", "ab" * 32, "Learnt from synthetic scans.", "computed")
PAIR = DixonPair(
    Path("/data/sub-01_inphase.nii.gz"), Path("/data/sub-01_outphase.nii.gz"),
    (("sub", "01"), ("acq", "dixon")), "suffix", None, None, (2.46, None), 3.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def section():
    water, fraction, labels, grid = make_scan()
    fat = np.where(labels == LEFT.index, 0.0, water * 0.25)
    measures = tuple(measure_muscles(labels, water, fat, grid.voxel_volume_ml, WEBER2021))
    flags = (
        QCFlag("cut", "info", "SCM_R", math.nan, math.nan, "SCM_R: cut."),
        QCFlag("small", "warning", "TR_L", 0.1, 0.5, "TR_L: small."),
        QCFlag("left_right", "error", "SCM", -1.0, 0.0, "SCM: exchanged."),
    )
    figures = tuple(draw_figures(water, fraction, labels, grid, WEBER2021).items())
    return ScanSection(
        "sub-01_acq-dixon", WEBER2021, PAIR, grid, measures, flags, figures,
        ("sub-01/anat/sub-01_acq-dixon_seg-muscle_mfi.tsv",),
    )  # fmt: skip


def render(*scans, provenance=PROVENANCE, **changes):
    page = ParticipantPage("01", None, scans, provenance)
    return render_page(dataclasses.replace(page, **changes))


class Reader(HTMLParser):
    """Collects tags with their attributes, the text, and the nesting."""

    VOID = frozenset({"meta", "img", "br", "link", "hr", "input"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def text_of(html):
    return " ".join(" ".join(Reader(html).text).split())


def rows_of(html, css_class):
    table = re.search(rf'<table class="{css_class}">(.*?)</table>', html, re.S).group(1)
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    return [
        [text_of(cell) for cell in re.findall(r"<t[hd][^>]*>.*?</t[hd]>", row, re.S)]
        for row in rows
    ]


def test_page_loads_nothing_from_anywhere(section):
    html = render(section)
    reader = Reader(html)
    assert reader.open == []
    forbidden = {"script", "link", "iframe", "object", "embed", "base", "form", "audio", "video"}
    assert not forbidden & {tag for tag, _ in reader.tags}
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "srcset", "data", "poster", "background", "action"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    style = re.search(r"<style>(.*?)</style>", html, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for a in reader.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy
    links = {attributes["href"] for attributes in reader.all("a")}
    assert {link for link in links if "://" in link} == {
        "https://doi.org/10.1038/s41598-021-95972-x"
    }


def test_pictures_of_the_page_are_those_given(section):
    images = Reader(render(section)).all("img")
    decoded = [base64.b64decode(image["src"].split(",", 1)[1]) for image in images]
    assert decoded == [png for _, png in section.figures]
    assert all(len(image["alt"]) > 30 for image in images)


def test_a_template_is_compiled_once_in_a_process(monkeypatch):
    from jinja2 import Environment

    first = render()

    def refuse(*_, **__):
        raise AssertionError("compiled again")

    monkeypatch.setattr(Environment, "_generate", refuse)
    assert render() == first


def test_page_is_the_same_at_every_rendering(section):
    assert render(section) == render(section)


def test_hostile_text_stays_text(section):
    evil = '<script>alert("x")</script>&"\'{{ 7*7 }}'
    color = 'red;background:url(x)"><script>'
    muscle = dataclasses.replace(
        WEBER2021.muscles[0], name=evil, muscle=evil, levels=evil, color=color
    )
    table = dataclasses.replace(WEBER2021, muscles=(muscle, *WEBER2021.muscles[1:]))
    flag = QCFlag("small", "warning", muscle.abbreviation, 0.0, 0.0, evil)
    pair = dataclasses.replace(PAIR, recognised_by=evil, in_phase=Path("/x") / "<b>.nii")
    scan = dataclasses.replace(
        section, title=evil, table=table, flags=(flag,), pair=pair, files=("a/<i>&.tsv",),
    )  # fmt: skip
    failed = ScanSection(evil, WEBER2021, problem=evil)
    facts = dataclasses.replace(PROVENANCE, bundle_name=evil, bundle_description=evil)
    html = render(scan, failed, provenance=facts, participant=evil, session=evil)
    reader = Reader(html)
    assert not reader.all("script")
    assert "url(" not in html
    assert not reader.all("i")
    assert text_of(html).count(evil) >= 10
    assert "<b>.nii" in text_of(html)


def test_two_sides_stand_beside_each_other(section):
    rows = rows_of(render(section), "muscles")
    assert rows[0][2:] == ["Right (R)", "Left (L)"]
    by_muscle = {row[0].split()[0]: row for row in rows[2:]}
    assert len(by_muscle) == 7
    right, left = section.measures[RIGHT.index - 1], section.measures[LEFT.index - 1]
    scm, trapezius = by_muscle["SCM"], by_muscle["TR"]
    assert scm[2:6] == ["20.0 !", f"{right.volume_ml:.2f}", str(right.voxels), "complete"]
    assert scm[6:] == ["n/a !", "n/a", "0", "absent"]
    assert trapezius[2:6] == ["n/a", "n/a", "0", "absent"]
    assert trapezius[6:] == ["0.0 !", f"{left.volume_ml:.2f}", str(left.voxels), "complete"]


def test_full_table_has_every_column_and_row(section):
    rows = rows_of(render(section), "all")
    assert rows[0] == [field.name for field in dataclasses.fields(MuscleMeasure)]
    assert len(rows) == 1 + 14
    absent = dict(zip(rows[0], rows[1], strict=True))
    assert (absent["index"], absent["voxels"], absent["mfi_percent"]) == ("1", "0", "n/a")


def test_each_column_is_described(section):
    text = text_of(render(section))
    assert all(column.description in text for column in MUSCLE_COLUMNS)


def test_flags_are_words_and_not_colour_alone(section):
    html = render(section)
    assert "Quality: 1 error, 1 warning, 1 note" in text_of(html)
    kinds = re.findall(r'<li class="(error|warning|info)">\s*<b>(\w+)</b>', html)
    assert kinds == [("error", "error"), ("warning", "warning"), ("info", "info")]
    marked = re.findall(r'<span class="doubt([^"]*)" title="([^"]*)"', html)
    assert marked == [
        (" serious", "SCM: exchanged."), (" serious", "SCM: exchanged."), ("", "TR_L: small.")
    ]  # fmt: skip


def test_many_flags_of_one_kind_take_one_line(section):
    flags = tuple(
        QCFlag("cut", "warning", muscle.abbreviation, math.nan, math.nan, f"{muscle.name} is cut.")
        for muscle in WEBER2021
    )
    (group,) = group_flags(flags)
    assert group["messages"][0] == "right_multifidus_semispinalis_cervicis is cut."
    html = render(dataclasses.replace(section, flags=flags))
    assert len(re.findall(r'<li class="warning">', html)) == 1
    assert all(flag.message in html for flag in flags)


def test_page_without_flags_says_so_without_promising(section):
    text = text_of(render(dataclasses.replace(section, flags=())))
    assert "no quality flags" in text
    assert "inspect the pictures" in text


def level_row(scope, levels, muscle, mfi_percent, extent):
    return LevelMeasure(
        scope, levels, muscle.index, muscle.muscle, muscle.hemi, 4, 50, 0.4, 30.0, mfi_percent,
        mfi_percent, extent,
    )  # fmt: skip


def test_levels_stand_by_muscle_and_side_with_what_is_missing(section):
    """Right before left, the paper's levels first, a star for a cut one, n/a for what is absent."""
    right, left = WEBER2021.of("TR", "R"), WEBER2021.of("TR", "L")
    rows = (
        level_row("paper", "C6", right, 11.04, "complete"),
        level_row("paper", "C6", left, 12.05, "cut"),
        level_row("level", "C3", right, 13.06, "complete"),
        level_row("level", "C3", left, math.nan, "absent"),
    )
    page = render(dataclasses.replace(section, levels=rows))
    table = page[page.index("MFI by vertebral level") :]
    line = table[table.index('<th scope="row">TR</th>') :].split("</tr>")[0]
    assert re.findall(r">([^<>]+)</td>", line) == ["C6", "11.0", "12.1*", "13.1", "n/a"]
    assert "All values by level" in page


def test_no_table_by_level_where_none_was_found(section):
    unknown = level_row("level", "C3", LEFT, math.nan, "unknown")
    assert "MFI by vertebral level" not in render(section)
    assert "MFI by vertebral level" not in render(dataclasses.replace(section, levels=(unknown,)))


def test_vertebrae_are_outlined_in_the_sagittal_picture_only():
    """White lines on the right half; the other pictures stay as they are."""
    water, fraction, labels, grid = make_scan()
    bodies = np.zeros(labels.shape, np.int16)
    bodies[48:53, 30:45, 4:8], bodies[48:53, 30:45, 10:14] = 2, 1
    plain = draw_figures(water, fraction, labels, grid, WEBER2021)
    drawn = draw_figures(water, fraction, labels, grid, WEBER2021, (bodies, ("C2", "C3")))
    assert {name for name in plain if plain[name] != drawn[name]} == {"overview"}
    scene = dataclasses.replace(
        arrange_scene(water, fraction, labels, grid, WEBER2021),
        vertebrae=reorient(bodies, grid, ("L", "P", "I"))[0],
        vertebra_names=("C2", "C3"),
    )
    nothing = dataclasses.replace(scene, vertebrae=np.zeros_like(scene.vertebrae))
    changed = np.abs(decode(draw_overview(scene)) - decode(draw_overview(nothing))).max(axis=2) > 30
    columns = np.flatnonzero(changed.any(axis=0))
    assert columns.size
    assert columns.min() > changed.shape[1] * 150 / 270


def test_failed_scan_shows_its_reason_beside_the_others(section):
    failed = ScanSection("sub-01_run-2", WEBER2021, PAIR, problem="x.nii: all voxels are 0.")
    text = text_of(render(section, failed))
    assert "x.nii: all voxels are 0." in text
    assert "sub-01_run-2 : failed" in text
    assert text.count("No results") == 1


def test_page_without_scans_can_be_rendered():
    assert "No scan was found." in text_of(render())


def test_page_tells_what_it_is_and_of_whom(section):
    html = render(section, session="b")
    reader, text = Reader(html), text_of(html)
    assert reader.all("html") == [{"lang": "en"}]
    assert "<title>sub-01 ses-b" in html
    for sentence in (
        "Research software, not a medical device",
        "Learnt from synthetic scans.",
        "Radiological display: the participant's right (R) is on the left of the picture.",
        "doi:10.1038/s41598-021-95972-x",
        "bids_mfi 0.1",
        "tiny 2",
        "ab" * 32,
        "in phase 2.46 ms, out of phase unknown",
        "3 T",
        "100 x 80 x 24 of 1.5 x 1.5 x 4 mm",
        "sub-01_inphase.nii.gz",
    ):
        assert sentence in text
    assert "/data" not in text
    assert {"href": "sub-01/anat/sub-01_acq-dixon_seg-muscle_mfi.tsv"} in reader.all("a")


def test_method_follows_the_origin_of_fat_and_water(section):
    scanner = dataclasses.replace(PROVENANCE, fat_water="scanner")
    assert "reconstructed by the scanner" in text_of(render(section, provenance=scanner))
    assert "reconstructed by the scanner" not in text_of(render(section))


def test_headers_have_a_scope_and_headings_do_not_skip(section):
    reader = Reader(render(section))
    assert all("scope" in attributes for attributes in reader.all("th"))
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(next_ <= level + 1 for level, next_ in itertools.pairwise(levels))


def test_images_of_the_scanner_are_named():
    pair = dataclasses.replace(PAIR, water=Path("/w.nii"), fat=Path("/f.nii"))
    assert ("Scanner's water image", "w.nii") in describe_images(pair, None)
    assert describe_images(None, None) == []


def test_importing_the_report_does_not_load_the_plotting_library():
    code = (
        "import sys, bids_mfi.report.page, bids_mfi.report.figures\n"
        "print(sorted({'matplotlib', 'jinja2', 'pandas', 'torch'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
