"""Figures of the group level: right numbers in the right places, and nothing clipped or lost."""

import itertools
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from bids_mfi.report import group_figures, group_pairs
from bids_mfi.report.group_figures import draw_muscles, draw_partial_correlations, draw_sexes
from bids_mfi.report.group_marks import COLORS, MARKERS, SEX_NAMES, choose_crowd
from bids_mfi.report.group_pairs import draw_pairs

PAPER = ["MFSS", "LC", "SSCap", "SPCap", "LS", "SCM", "TR"]
STRANGE = ["$a$b", "<TR> & co", "longissimus capitis et cervicis", "one_unbroken_long_name",
           "--x--", *PAPER]  # fmt: skip
FIGURES = ("muscles", "sexes", "partial", "pairs")
STATISTICS = ("mean", "se", "mean_diff", "se_diff", "p", "p_sex", "emm_f", "emm_f_se", "emm_m",
              "emm_m_se", "diff_f_minus_m", "diff_se", "r", "ci_lower", "ci_upper",
              "resid_slope")  # fmt: skip


@dataclass
class Study:
    values: pd.DataFrame
    sex: pd.Series
    descriptives: pd.DataFrame
    paired: pd.DataFrame
    ancova: pd.DataFrame
    partial: pd.DataFrame
    residuals: pd.DataFrame
    correlations: pd.DataFrame

    def draw(self, name, unit="MFI (%)"):
        if name == "muscles":
            return draw_muscles(self.values, self.descriptives, self.paired, unit, self.sex)
        if name == "sexes":
            return draw_sexes(self.values, self.sex, self.ancova, unit)
        if name == "partial":
            return draw_partial_correlations(self.residuals, self.partial, unit, self.sex)
        return draw_pairs(self.values, self.correlations, unit, self.sex)

    def without_statistics(self):
        for table in (self.descriptives, self.paired, self.ancova, self.partial, self.correlations):
            table.loc[:, [name for name in table if name in STATISTICS]] = np.nan
        return self


def study(people=24, muscles=("TR", "LC", "SCM"), sexes=("F", "F", "M")):
    muscles = list(muscles)
    rng = np.random.default_rng(7)
    noise = 3 * rng.standard_normal((people, 1)) + 3 * rng.standard_normal((people, len(muscles)))
    index = [f"sub-{i:05d}" for i in range(people)]
    values = pd.DataFrame(15 + noise, columns=muscles, index=index)
    sex = pd.Series(np.resize(np.array(sexes, dtype=object), people), index=index, dtype=object)
    alone = [{"muscle": m, "n": people, "mean": 12.5, "se": 0.6} for m in muscles]
    of_sexes = [{"muscle": m, "p_sex": 0.03, "emm_f": 16.25, "emm_f_se": 0.5, "emm_m": 13.5,
                 "emm_m_se": 0.75, "diff_f_minus_m": 2.75, "diff_se": 0.9}
                for m in [*muscles, "mean"]]  # fmt: skip
    two = [{"muscle_a": a, "muscle_b": b, "n": people, "mean_diff": 2.5, "se_diff": 0.4,
            "p": 0.004, "r": 0.5, "ci_lower": 0.25, "ci_upper": 0.75}
           for a, b in itertools.combinations(muscles, 2)]  # fmt: skip
    partial = [{"muscle": m, "x": x, "controlling": f"sex,{other}", "n": people, "r": -0.3,
                "p": 0.0002, "ci_lower": -0.5, "ci_upper": -0.1, "resid_slope": slope}
               for x, other, slope in (("age", "bmi", -0.25), ("bmi", "age", 0.5))
               for m in muscles]  # fmt: skip
    residuals = [pd.DataFrame({"participant_id": index, "muscle": m, "x": x,
                               "resid_x": rng.standard_normal(people),
                               "resid_mfi": values[m].to_numpy() - 15})
                 for x in ("age", "bmi") for m in muscles]  # fmt: skip
    pairs = pd.DataFrame(two, columns=["muscle_a", "muscle_b", "n", "mean_diff", "se_diff", "p",
                                       "r", "ci_lower", "ci_upper"])  # fmt: skip
    return Study(values, sex, pd.DataFrame(alone), pairs.copy(), pd.DataFrame(of_sexes),
                 pd.DataFrame(partial), pd.concat(residuals), pairs.copy())  # fmt: skip


@pytest.fixture
def keep(monkeypatch):
    """Make the functions return the figure itself."""
    for module in (group_figures, group_pairs):
        monkeypatch.setattr(module, "encode_svg", lambda figure: figure)


def words_of(svg):
    return [unescape(text) for text in re.findall(r"<!-- (.*?) -->", svg.decode())]


def points_of(svg):
    """Count the participants' points by sex; only they are translucent."""
    found = re.findall(r"<use [^>]*stroke: (#\w{6}); stroke-opacity", svg.decode())
    return Counter({name: found.count(color) for name, color in COLORS.items()})


def lines_of(axes, width):
    return [line for line in axes.lines if line.get_linewidth() == width]


def texts_of(figure):
    """Texts that are drawn, with their boxes in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        titles = (axes.title, axes._left_title, axes._right_title)
        texts += [*axes.texts, *titles, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [
                tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
            ]
    drawn = [text for text in texts if text.get_visible() and text.get_text()]
    return [(text.get_text(), text.get_window_extent()) for text in drawn]


# --- all figures -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_numbers_give_the_same_bytes_without_a_date(name, monkeypatch):
    import matplotlib as mpl

    first = study().draw(name)
    monkeypatch.setitem(mpl.rcParams, "font.size", 20.0)
    assert study().draw(name) == first
    assert b"<dc:date>" not in first
    assert ElementTree.fromstring(first).tag.endswith("svg")
    changed = study()
    changed.values.iloc[0, 0] += 1
    changed.residuals.iloc[0, -1] += 1
    assert changed.draw(name) != first


def test_other_processes_give_the_same_bytes():
    code = (
        "import hashlib, test_group_figures as t; "
        "print(hashlib.sha256(b''.join(t.study().draw(name) for name in t.FIGURES)).hexdigest())"
    )
    path = [str(folder) for folder in list(Path(__file__).parents)[:3]]
    found = {
        subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"],
            capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1
    assert len(found.pop().strip()) == 64


@pytest.mark.parametrize(
    ("name", "panels"), [("muscles", 3), ("sexes", 4), ("partial", 6), ("pairs", 3)]
)
def test_every_participant_is_drawn_in_every_panel(name, panels):
    found = points_of(study().draw(name))
    assert found == Counter({"F": 16 * panels, "M": 8 * panels})


@pytest.mark.parametrize("name", FIGURES)
def test_sexes_differ_in_form_and_are_named(name):
    svg = study(sexes=("F", "M", None)).draw(name)
    words = words_of(svg)
    unknown = [] if name == "sexes" else ["sex not known (n = 8)"]
    assert [word for word in words if "(n = " in word] == [
        "female (n = 8)", "male (n = 8)", *unknown
    ]  # fmt: skip
    assert len(set(MARKERS.values())) == len(SEX_NAMES)
    assert ("8 without sex not drawn" in words) == (name == "sexes")


@pytest.mark.parametrize("muscles", [["TR"], PAPER[:2], PAPER[:4], PAPER, STRANGE])
@pytest.mark.parametrize(
    ("name", "unit"), [*((name, "MFI (%)") for name in FIGURES), ("partial", "volume (ml)")]
)
def test_no_text_is_clipped_or_covered(name, muscles, unit, keep):
    figure = study(2000, muscles, ("F", "M", None)).draw(name, unit)
    texts, page = texts_of(figure), figure.bbox
    for text, box in texts:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 and box.y1 <= page.y1
        assert inside, f"{text!r} leaves the figure"
    for (text, box), (other, second) in itertools.combinations(texts, 2):
        wide = min(box.x1, second.x1) - max(box.x0, second.x0)
        high = min(box.y1, second.y1) - max(box.y0, second.y0)
        assert wide < 1 or high < 2, f"{text!r} covers {other!r}"


@pytest.mark.parametrize("name", FIGURES)
def test_names_of_muscles_are_plain_words(name):
    svg = study(muscles=STRANGE[:2]).draw(name)
    ElementTree.fromstring(svg)
    assert {"$a$b", "<TR> & co"} <= set(words_of(svg))


@pytest.mark.parametrize("name", FIGURES)
def test_without_statistics_the_points_stay(name):
    svg = study().without_statistics().draw(name)
    assert sum(points_of(svg).values()) == sum(points_of(study().draw(name)).values())
    words = words_of(svg)
    assert any("n/a" in word for word in words)
    assert not any("nan" in word.lower() for word in words)
    assert not any(set(word) == {"*"} for word in words)


@pytest.mark.parametrize("people", [0, 1, 2])
@pytest.mark.parametrize("muscles", [["TR"], PAPER])
@pytest.mark.parametrize("name", FIGURES)
def test_next_to_nobody_is_drawn(name, muscles, people):
    few = study(people, muscles, ("F",)).without_statistics()
    panels = {"muscles": len(muscles), "sexes": len(muscles) + 1, "partial": 2 * len(muscles),
              "pairs": len(muscles) * (len(muscles) - 1) // 2}  # fmt: skip
    assert points_of(few.draw(name)) == Counter({"F": people * panels[name]})


def test_missing_values_are_not_drawn():
    holes = study()
    holes.values.iloc[:12, 0] = np.nan
    holes.values.iloc[12:, 1] = np.nan
    assert sum(points_of(holes.draw("muscles")).values()) == 12 + 12 + 24
    assert sum(points_of(holes.draw("sexes")).values()) == 12 + 12 + 24 + 0
    assert sum(points_of(holes.draw("pairs")).values()) == 0 + 12 + 12


@pytest.mark.parametrize("muscles", [PAPER, STRANGE])
def test_large_cohorts_are_thinned_and_it_is_said(muscles):
    large = study(20_000, muscles)
    panels = {"muscles": len(muscles), "sexes": len(muscles) + 1, "partial": 2 * len(muscles),
              "pairs": len(muscles) * (len(muscles) - 1) // 2}  # fmt: skip
    for name in FIGURES:
        svg = large.draw(name)
        drawn = min(1500, 12_000 // panels[name])
        assert len(svg) < 3_000_000
        assert sum(points_of(svg).values()) == drawn * panels[name]
        assert f"{drawn:,} of 20,000 participants drawn; numbers refer to all" in words_of(svg)
        assert "female (n = 13,334)" in words_of(svg)


def test_whom_to_draw_is_chosen_evenly():
    crowd = choose_crowd(pd.RangeIndex(3001), pd.Series("F", index=range(1000)), 1)
    assert len(crowd.drawn) == 1500
    assert (crowd.drawn[0], crowd.drawn[-1]) == (0, 3000)
    assert set(np.diff(crowd.drawn)) <= {2, 3}
    assert crowd.counts == {"F": 1000, "M": 0, "unknown": 2001}
    assert list(np.unique(crowd.sexes[crowd.drawn < 1000])) == ["F"]


# --- each figure -------------------------------------------------------------------------------


def test_muscles_show_means_errors_and_differences(keep):
    figure = study(muscles=("LC", "TR")).draw("muscles")
    left, right = figure.axes
    bars = [bar.lines[0].get_xydata().tolist() for bar in left.containers]
    assert bars == [[[0.0, 12.5]], [[1.0, 12.5]]]
    segments = [bar.lines[2][0].get_segments()[0][:, 1].tolist() for bar in left.containers]
    assert segments == [pytest.approx([11.9, 13.1])] * 2
    assert [text.get_text() for text in left.texts] == ["mean\n± SE\nn", *["12.5\n0.6\n24"] * 2]
    assert [text.get_text() for text in right.texts] == ["+2.5\n**"]
    assert [text.get_text() for text in right.get_xticklabels()] == ["LC"]
    assert [text.get_text() for text in right.get_yticklabels()] == ["TR"]


def test_a_pair_the_other_way_round_changes_its_sign(keep):
    turned = study(muscles=("LC", "TR"))
    turned.paired[["muscle_a", "muscle_b"]] = ["TR", "LC"]
    assert [text.get_text() for text in turned.draw("muscles").axes[1].texts] == ["\u22122.5\n**"]


@pytest.mark.parametrize(
    ("p", "stars"), [(0.0009, "***"), (0.001, "**"), (0.01, "*"), (0.0499, "*"), (0.05, "")]
)
def test_stars_follow_the_levels_of_the_paper(p, stars, keep):
    made = study(muscles=("LC", "TR"))
    made.paired["p"] = made.ancova["p_sex"] = made.correlations["p"] = p
    assert made.draw("muscles").axes[1].texts[0].get_text() == f"+2.5\n{stars}"
    brackets = [text.get_text() for text in made.draw("sexes").axes[0].texts]
    assert brackets.count(stars) == (3 if stars else 0)
    assert f"0.50{stars}" in [text.get_text() for text in made.draw("pairs").axes[1].texts]


def test_small_errors_do_not_become_zero(keep):
    made = study(muscles=("LC", "TR"))
    made.descriptives["se"] = 0.03
    made.paired["se_diff"] = 0.004
    left, right = made.draw("muscles").axes
    assert left.texts[1].get_text() == "12.50\n0.03\n24"
    assert right.texts[0].get_text() == "+2.500\n**"


def test_sexes_show_marginal_means_and_the_mean_of_all_apart(keep):
    axes = study(muscles=("LC", "TR")).draw("sexes").axes[0]
    centres = np.array([bar.lines[0].get_xydata()[0] for bar in axes.containers])
    assert centres[:, 1].tolist() == [16.25, 13.5] * 3
    assert centres[:, 0] == pytest.approx([-0.2, 0.2, 0.8, 1.2, 2.2, 2.6])
    forms = [bar.lines[0].get_marker() for bar in axes.containers]
    assert forms == [MARKERS["F"], MARKERS["M"]] * 3
    segments = [bar.lines[2][0].get_segments()[0][:, 1].tolist() for bar in axes.containers]
    assert segments[:2] == [[15.75, 16.75], [12.75, 14.25]]
    assert [text.get_text() for text in axes.get_xticklabels()] == [
        "LC", "TR", "mean of\nall muscles"
    ]  # fmt: skip
    assert [text.get_text() for text in axes.texts].count("+2.8\n0.9\n0.030") == 3


def test_females_stand_left_and_males_right(keep):
    made = study(muscles=("LC",))
    made.ancova = made.ancova[:1]
    axes = made.draw("sexes").axes[0]
    for sex, side in (("F", -0.2), ("M", 0.2)):
        (points,) = [line for line in axes.lines if line.get_color() == COLORS[sex]]
        assert abs(points.get_xdata() - side).max() <= 0.15
        assert (points.get_markerfacecolor() == "none") == (sex == "M")
        assert points.get_ydata() == pytest.approx(made.values["LC"][made.sex == sex])


def test_one_sex_only_has_no_marks_of_the_other(keep):
    made = study(muscles=("LC",), sexes=("F",)).without_statistics()
    axes = made.draw("sexes").axes[0]
    assert axes.containers == []
    assert [text.get_text() for text in axes.texts] == [
        "F \u2212 M\n± SE\np",
        *["n/a\nn/a\nn/a"] * 2,
    ]


def test_partial_correlations_have_lines_through_the_origin(keep):
    figure = study().draw("partial")
    assert len(figure.axes) == 6
    for axes, slope in zip(figure.axes, [-0.25] * 3 + [0.5] * 3, strict=True):
        (line,) = lines_of(axes, 1.6)
        assert line.get_ydata() == pytest.approx(slope * line.get_xdata())
        assert line.get_xdata()[0] < 0 < line.get_xdata()[1]
        assert (
            axes.texts[0].get_text() == "r = \u22120.30 [\u22120.50, \u22120.10]\np < 0.001, n = 24"
        )
    assert [axes._left_title.get_text() for axes in figure.axes] == ["TR", "LC", "SCM"] * 2
    assert "residual of age (years), controlling for sex and BMI" in [
        text.get_text() for text in figure.texts
    ]


def test_percent_shares_an_axis_and_volume_does_not(keep):
    made = study()
    made.residuals.loc[made.residuals["muscle"] == "LC", "resid_mfi"] *= 10
    percent, volume = (made.draw("partial", unit).axes for unit in ("MFI (%)", "volume (ml)"))
    assert percent[0].get_ylim() == percent[1].get_ylim()
    assert volume[0].get_ylim()[1] < volume[1].get_ylim()[1] / 3


def test_pairs_have_the_line_of_least_squares(keep):
    made = study(muscles=("LC", "TR"))
    made.values.iloc[:5, 0] = np.nan
    complete = made.values.dropna()
    made.correlations["r"] = complete["LC"].corr(complete["TR"])
    axes = made.draw("pairs").axes
    (line,) = lines_of(axes[2], 1.4)
    slope, intercept = np.polyfit(complete["LC"], complete["TR"], 1)
    assert line.get_ydata() == pytest.approx(intercept + slope * line.get_xdata())
    assert [text.get_text() for text in axes[1].texts][1:] == ["[0.25, 0.75]", "n = 24"]
    assert sum(bar.get_height() for bar in axes[0].patches) == 19
    assert axes[0].texts[0].get_text() == "LC"
