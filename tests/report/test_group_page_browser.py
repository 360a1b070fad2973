"""The page of a cohort in a browser, opened from disk without a network."""

import json
import math
import os
import re
import shutil
import time
from dataclasses import dataclass, field, replace
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect, sync_playwright
from test_group_page import (
    empty_page,
    make_entry,
    make_frame,
    make_further,
    make_page,
    nan_page,
)

from bids_mfi.report.group_page import render_group_page

PAPER_PLOTS = ("pairplot", "figure5a", "figure5b", "figure6", "sides")
PLOTS = (*PAPER_PLOTS, "change", "centiles")
PATIENCE_MS = 180_000
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
HOW_TO = "no Chromium on this machine: install it, for example with `apt-get install chromium`"
ODD = "sub-<b>&\"'%41 é"


@dataclass
class Log:
    """What a page requested, and what went wrong in it."""

    requests: list = field(default_factory=list)
    errors: list = field(default_factory=list)


def find_chromium():
    """The browser's path; without one the test fails under CI and is skipped elsewhere."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(HOW_TO)
    return found


@pytest.fixture(scope="module")
def browser():
    expect.set_options(timeout=PATIENCE_MS)
    path = find_chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, timeout=PATIENCE_MS)
        yield running
        running.close()


def open_tab(browser, address, script=True):
    """Open an address offline, once its plots are drawn if it may run scripts."""
    size = {"width": 1280, "height": 900}
    tab = browser.new_page(viewport=size, offline=True, java_script_enabled=script)
    tab.set_default_timeout(PATIENCE_MS)
    log = Log()
    tab.on("request", lambda request: log.requests.append(request.url[:200]))
    tab.on("pageerror", lambda error: log.errors.append(str(error)))
    tab.on("console", lambda message: log.errors.append(f"{message.type}: {message.text}"))
    tab.goto(address)
    if script:
        expect(tab.locator("html")).to_have_attribute("data-plots", "drawn")
    return tab, log


def open_page(browser, file, page, anchor="", script=True):
    """Write a page and open it."""
    file.write_text(render_group_page(page), encoding="utf-8")
    return open_tab(browser, file.as_uri() + anchor, script)


def check_tab(tab, log):
    """Nothing went wrong, and nothing but the page itself was loaded."""
    assert log.errors == []
    assert log.requests
    assert all(url.startswith(("file:", "data:", "blob:")) for url in log.requests), log.requests
    assert sum(url.startswith("file:") for url in log.requests) == 1
    tab.close()


@pytest.fixture
def show(browser, tmp_path):
    """Open a page of its own, and check it at the end."""
    opened = []

    def show_page(page, anchor="", script=True):
        opened.append(open_page(browser, tmp_path / "group.html", page, anchor, script))
        return opened[-1][0]

    yield show_page
    for tab, log in opened:
        check_tab(tab, log)


@pytest.fixture(scope="module")
def shared(browser, tmp_path_factory):
    """A tab with a cohort without gaps, opened once for the tests that only look or choose."""
    file = tmp_path_factory.mktemp("shared") / "group.html"
    tab, log = open_page(browser, file, complete_page())
    yield tab, log
    check_tab(tab, log)


@pytest.fixture
def cohort(shared):
    """The shared tab with nobody chosen."""
    tab, log = shared
    tab.locator("#search").focus()
    tab.evaluate("document.getElementById('clear').disabled = false")
    tab.evaluate("document.getElementById('clear').click()")
    expect(tab.locator("#panel")).to_be_hidden()
    yield tab
    assert log.errors == []


def complete_page(count=8, **changes):
    """A cohort without gaps, every participant with residuals."""
    people = [f"sub-{k:04d}" for k in range(1, count + 1)]
    muscles = ["MFSS", "LC", "TR"]
    values = np.random.default_rng(5).uniform(5, 25, (2, count, 3)).round(2)
    left, right = (make_frame(side, people, muscles) for side in values)
    table = pd.DataFrame(
        {
            "sex": np.resize(["F", "M"], count),
            "age": np.linspace(20, 60, count),
            "bmi": np.linspace(30, 20, count),
            "page": [f"{name}.html" for name in people],
            "session": "ses-01",
            "bundle": "weights 1",
            "flags": "",
        },
        index=left.index,
    )
    residuals = [
        {"participant_id": name, "muscle": muscle, "x": x, "resid_x": k - 3.5,
         "resid_mfi": float(k % 3)}
        for x in ("age", "bmi") for muscle in muscles for k, name in enumerate(people)
    ]  # fmt: skip
    tables = make_further() | further_tables(people, muscles)
    tables |= {"residuals": make_entry("residuals", residuals)}
    page = make_page(people=table, values=(left + right) / 2, left=left, right=right, tables=tables)
    return make_page(**{name: getattr(page, name) for name in page.__slots__} | changes)


def further_tables(people, muscles):
    """Change and centiles of everyone: the k-th participant changes from k to k + 1."""
    change = [{"participant_id": name, "muscle": muscle, "session_from": "ses-01",
               "session_to": "ses-02", "value_from": k, "value_to": k + 1.0, "change": 1.0,
               "sdc": 0.5, "exceeds_sdc": "yes"}
              for muscle in muscles for k, name in enumerate(people)]  # fmt: skip
    centiles = [{"participant_id": name, "muscle": muscle, "is_control": "no" if k == 2 else "yes",
                 "value": 8.0, "expected": 8.0, "z": k / len(people), "centile": 50.0,
                 "outside_range": "no"}
                for muscle in muscles for k, name in enumerate(people)]  # fmt: skip
    return {
        "change_participants": make_entry("change_participants", change),
        "centiles": make_entry("centiles", centiles),
    }


def selected(tab, plot):
    """X and y of each trace named 'selected' of a plot."""
    script = (
        f"document.getElementById('{plot}').data.filter((t) => t.name === 'selected')"
        ".map((t) => [Array.from(t.x), Array.from(t.y)])"
    )
    return tab.evaluate(script)


def wait_for(tab, expression):
    """Wait until an expression is true; Playwright's own way is against the page's policy."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not tab.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        tab.wait_for_timeout(50)


def chosen_everywhere(tab, plots=PLOTS):
    done = " && ".join(
        f"document.getElementById('{plot}').data.some((t) => t.name === 'selected' && t.x.length)"
        for plot in plots
    )
    wait_for(tab, done)


def search(tab, text):
    box = tab.locator("#search")
    box.press_sequentially(text)
    box.press("Enter")
    expect(tab.locator("#panel")).to_be_visible()


def text(tab, element):
    return tab.locator(f"#{element}").inner_text()


def test_a_searched_participant_is_ringed_in_every_plot(cohort):
    page, tab = complete_page(), cohort
    search(tab, "0003")
    chosen_everywhere(tab)
    of = {frame: getattr(page, frame).loc["sub-0003"].tolist() for frame in
          ("values", "left", "right")}  # fmt: skip
    values = [pytest.approx(value, rel=1e-3) for value in of["values"]]
    for plot in ("figure5a", "figure5b"):
        ((_, heights),) = selected(tab, plot)
        assert heights == values
    pairs = [place for place in selected(tab, "pairplot")]
    assert pairs == [[[values[a]], [values[b]]] for a, b in ((0, 1), (0, 2), (1, 2))]
    assert selected(tab, "sides") == [
        [[pytest.approx(x, rel=1e-3)], [pytest.approx(y, rel=1e-3)]]
        for x, y in zip(of["left"], of["right"], strict=True)
    ]
    assert selected(tab, "figure6") == [[[-1.5], [2]]] * 6
    assert selected(tab, "change") == [[[0, 1], [2, 3]]] * 3
    (((*_,), deviates),) = selected(tab, "centiles")
    assert deviates == [0.25] * 3
    assert len(tab.screenshot()) > 10_000


def test_the_panel_names_the_participant_and_links_to_its_page(cohort):
    tab = cohort
    search(tab, "SUB-0003")
    panel = text(tab, "panel")
    assert panel.startswith("sub-0003")
    assert "female, age" in panel
    assert tab.locator("#panel a").get_attribute("href") == "sub-0003.html"
    assert tab.evaluate("location.hash") == "#sub-0003"
    rows = tab.evaluate("[...document.querySelectorAll('#panel tr')].map((r) => r.innerText)")
    assert [row.split("\t")[0] for row in rows] == [
        "MFI, %", "left-right mean", "left", "right", "in ses-02", "centile"
    ]  # fmt: skip
    assert rows[-2:] == ["in ses-02\t3.00\t3.00\t3.00", "centile\t50.0\t50.0\t50.0"]


def test_the_choice_can_be_cleared(show):
    tab = show(complete_page(), "#sub-0002")
    chosen_everywhere(tab)
    assert "sub-0002" in text(tab, "panel")
    tab.locator("#clear").click()
    expect(tab.locator("#panel")).to_be_hidden()
    for plot in PLOTS:
        wait_for(tab, f"document.getElementById('{plot}').data.every("
                      "(t) => t.name !== 'selected' || !t.x.length)")  # fmt: skip
    assert tab.evaluate("location.hash") == ""
    assert tab.locator("#search").input_value() == ""


def test_the_keyboard_alone_finds_a_participant(cohort):
    tab = cohort
    tab.locator("#search").focus()
    tab.keyboard.type("sub-")
    assert "8 of 8 names match" in text(tab, "state")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowDown")
    active = tab.locator("#search").get_attribute("aria-activedescendant")
    assert text(tab, active) == "sub-0003"
    tab.keyboard.press("Enter")
    expect(tab.locator("#panel")).to_be_visible()
    assert text(tab, "panel").startswith("sub-0003")
    tab.keyboard.press("Escape")
    expect(tab.locator("#panel")).to_be_hidden()


def test_an_unknown_name_says_so_and_chooses_nothing(cohort):
    tab = cohort
    box = tab.locator("#search")
    box.press_sequentially("nobody")
    box.press("Enter")
    assert text(tab, "state") == "No name matches."
    assert tab.locator("#panel").is_hidden()


def test_hovering_names_a_participant_and_a_click_chooses_it(cohort):
    tab = cohort
    tab.evaluate("document.getElementById('figure5a').scrollIntoView({block: 'center'})")
    point = tab.locator("#figure5a .points path").first
    point.element_handle().wait_for_element_state("stable")
    box = point.bounding_box()
    place = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.move(*place)
    hover = tab.locator("#figure5a .hoverlayer")
    expect(hover).to_contain_text("sub-")
    label = hover.text_content()
    assert "link to the page" in label
    tab.mouse.click(*place)
    expect(tab.locator("#panel")).to_be_visible()
    assert text(tab, "panel").split()[0] in label


def test_no_button_sends_data_away(cohort):
    tab = cohort
    titles = tab.evaluate("[...document.querySelectorAll('.modebar-btn')].map("
                          "(b) => b.dataset.title || b.getAttribute('aria-label'))")  # fmt: skip
    assert len(titles) >= 5 * len(PLOTS)
    assert not [title for title in titles if "share" in title.lower() or "cloud" in title.lower()]
    assert tab.locator(".modebar a[href^=http]").count() == 0


def test_a_table_is_saved_as_it_is(show):
    page = complete_page()
    tab = show(page)
    with tab.expect_download() as saved:
        tab.evaluate("document.querySelector('a[download=\"group_ancova.tsv\"]').click()")
    assert saved.value.suggested_filename == "group_ancova.tsv"
    assert saved.value.path().read_bytes() == page.tables["ancova"].data


def test_a_picture_is_saved_from_where_it_is_shown(show):
    tab = show(complete_page())
    with tab.expect_download() as saved:
        tab.evaluate("document.querySelector('.listing a[data-picture]').click()")
    assert saved.value.suggested_filename == "group_figure5a.svg"
    assert saved.value.path().read_bytes() == b"<svg/>"


def test_every_heading_of_the_list_of_sections_is_there(cohort):
    found = cohort.evaluate(
        "[...document.querySelectorAll('nav a')].map((a) => "
        "[a.innerText, document.querySelector(a.getAttribute('href'))?.innerText])"
    )
    assert len(found) > 10
    assert all(link == heading for link, heading in found)


def test_what_is_named_for_readers_of_screens_is_there(cohort):
    """Every id that a label or description points to exists once, and plots have a name."""
    lost = cohort.evaluate(
        "[...document.querySelectorAll('[aria-labelledby], [aria-describedby], [for]')].flatMap("
        "(e) => [e.getAttribute('aria-labelledby'), e.getAttribute('aria-describedby'), "
        "e.getAttribute('for')]).filter((id) => id && "
        "document.querySelectorAll('#' + id).length !== 1)"
    )
    assert lost == []
    names = cohort.evaluate(
        "[...document.querySelectorAll('.plot')].map((e) => "
        "document.getElementById(e.getAttribute('aria-labelledby')).innerText)"
    )
    assert len(names) == len(PLOTS)
    assert all(re.search(r"\(.+\)|Centile", name) for name in names)  # the unit


def test_on_paper_nothing_is_wider_than_the_sheet(show):
    """A4 with margins of 1 cm is 718 px wide."""
    tab = show(complete_page())
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.set_viewport_size({"width": 718, "height": 1000})
    tab.emulate_media(media="print")
    wide = tab.evaluate(
        "[...document.querySelectorAll('.plot .main-svg, img, table.results')].filter("
        "(e) => e.checkVisibility() && e.getBoundingClientRect().right > 719).map("
        "(e) => e.className + ' ' + e.closest('section').innerText.slice(0, 40))"
    )
    assert wide == []
    assert not tab.evaluate("document.querySelector('#finder, nav').checkVisibility()")


def test_without_scripts_tables_and_pictures_are_there(show):
    tab = show(complete_page(), script=False)
    assert tab.locator("details.static img").first.bounding_box()["width"] > 500


def test_a_large_cohort_is_thinned_in_words_and_search_finds_all(show):
    tab = show(complete_page(700))
    assert "600 of 700 participants drawn" in text(tab, "figure5a-note")
    drawn = tab.evaluate("document.getElementById('pairplot').data[0].customdata.length")
    assert drawn == 600
    shown = set(tab.evaluate("document.getElementById('figure5a').data[0].customdata"))
    left_out = min(set(range(700)) - shown)
    search(tab, f"{left_out + 1:04d}")
    chosen_everywhere(tab)
    assert text(tab, "panel").startswith(f"sub-{left_out + 1:04d}")


def odd_page():
    page = complete_page(4)
    names = {"sub-0001": ODD}
    frames = {name: getattr(page, name).rename(index=names)
              for name in ("people", "values", "left", "right")}  # fmt: skip
    frames["people"].loc[ODD, ["page", "flags"]] = ["sub-%3Cb%3E.html", "<i>cut</i>"]
    return complete_page(4, **frames)


def test_odd_names_stay_names(show):
    tab = show(odd_page(), f"#{quote(ODD)}")
    chosen_everywhere(tab, ("figure5a", "sides"))
    assert ODD in text(tab, "panel")
    assert "<i>cut</i>" in text(tab, "panel")
    assert tab.locator("#panel i").count() == 0


def one_sex():
    page = complete_page(5)
    return complete_page(5, people=page.people.assign(sex="F"))


def no_participants_file():
    page = complete_page(5)
    people = page.people.assign(sex=None, age=math.nan, bmi=math.nan)
    return complete_page(5, people=people, tables={})


@pytest.mark.parametrize(
    ("make", "silent"),
    [
        (empty_page, set(PAPER_PLOTS)),
        (nan_page, {"pairplot", "figure5a", "figure5b", "figure6"}),
        (make_page, set()),
        (one_sex, set()),
        (no_participants_file, {"figure5b", "figure6"}),
        (lambda: complete_page(1), set()),
    ],
)
def test_gaps_break_nothing_and_are_said(show, make, silent):
    tab = show(make())
    drawn = {plot for plot in PAPER_PLOTS
             if tab.evaluate(f"Boolean(document.getElementById('{plot}').data)")}  # fmt: skip
    assert drawn == set(PAPER_PLOTS) - silent
    for plot in silent:
        assert text(tab, f"{plot}-note").startswith("Nothing to draw: ")
        shown = tab.evaluate(f"document.getElementById('{plot}-caption').checkVisibility()")
        assert not shown
        picture = f"document.querySelector('[data-plot={plot}]')?.checkVisibility()"
        assert not tab.evaluate(picture)


def test_the_data_block_is_the_only_source(cohort):
    """What the plots draw is in the page once, as JSON that any program reads."""
    block = cohort.evaluate("document.getElementById('group-data').textContent")
    assert json.loads(block)["people"]["id"][0] == "sub-0001"


def with_sessions(*labels):
    page = complete_page()
    muscles = [str(name) for name in page.values]
    names = tuple(f"ses-{label}" for label in labels)
    changes = [
        {"participant_id": person, "muscle": muscle, "session_from": names[0], "session_to": later,
         "value_from": k, "value_to": k + 1.0, "change": 1.0, "sdc": 0.5, "exceeds_sdc": "yes"}
        for muscle in muscles for later in names[1:] for k, person in enumerate(page.people.index)
    ]  # fmt: skip
    means = [
        {"muscle": muscle, "session_from": names[0], "session_to": later, "n": 8, "mean_from": 8.0,
         "mean_to": 8.5, "mean_change": 0.5, "sd_change": 0.4, "se_change": 0.123, "t": 2.0,
         "df": 1, "p": 0.03, "ci_lower": 0.1, "ci_upper": 0.9, "percent_change": 6.25}
        for muscle in muscles for later in names[1:]
    ]  # fmt: skip
    tables = {
        **page.tables,
        "change": make_entry("change", means),
        "change_participants": make_entry("change_participants", changes),
    }
    return complete_page(tables=tables, sessions=names)


def test_words_of_three_sessions_do_not_lie_over_each_other(show):
    tab = show(with_sessions("baseline", "sixmonthslater", "twelvemonths"))
    words = tab.evaluate(
        "Array.from(document.querySelectorAll('#change .annotation-text-g'), (e) => e.textContent)"
    )
    assert len(words) == 3
    assert all("sixmo\u2026ater: +0.50" in one for one in words)
    assert_apart(tab, 3 + 3 * 3)


@pytest.mark.parametrize(
    "labels",
    [
        ("pre", "post"),
        ("postsurgery1", "postsurgery2", "postsurgery3"),
        ("WWWWWWWWWWWW1", "WWWWWWWWWWWW2", "WWWWWWWWWWWW3", "WWWWWWWWWWWW4"),
        tuple(f"followup{month:02d}months" for month in range(5)),
        tuple(f"{month:02d}months" for month in range(8)),
    ],
)
def test_names_of_sessions_are_told_apart_in_the_plot_of_change(show, labels):
    tab = show(with_sessions(*labels))
    ticks = tab.evaluate(
        "Array.from(document.querySelectorAll('#change .xaxislayer-above .xtick text'), "
        "(e) => e.textContent)"
    )
    assert len(ticks) == len(set(ticks)) == len(labels)
    assert_apart(tab, 3 + 3 * len(labels))


def test_the_line_of_who_missed_a_session_goes_on(show):
    page = with_sessions("a", "b", "c")
    entry = page.tables["change_participants"]
    missed = page.people.index[0]
    table = entry.table.copy()
    rows = (table["participant_id"] == missed) & (table["session_to"] == "ses-b")
    assert rows.any()
    table.loc[rows, "value_to"] = np.nan
    changed = replace(entry, table=table)
    tab = show(replace(page, tables={**page.tables, "change_participants": changed}))
    lines = tab.evaluate(
        "document.getElementById('change').data[0].x.map((x) => x === null ? '|' : x).join('')"
    )
    assert "02" in lines.split("|")
    assert "012" in lines.split("|")


def assert_apart(tab, count):
    """No text of the plot of change lies over another."""
    places = "#change .annotation-text-g, #change .xaxislayer-above text"
    boxes = tab.evaluate(
        f"Array.from(document.querySelectorAll('{places}')).map("
        "(e) => e.getBoundingClientRect()).map((r) => [r.left, r.top, r.right, r.bottom])"
    )
    assert len(boxes) == count
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            apart = (
                one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            )
            assert apart, (one, other)


def test_a_script_that_is_not_the_page_s_own_does_not_run(browser, tmp_path):
    html = render_group_page(complete_page())
    attack = "<script>document.documentElement.dataset.attacked = 'yes'</script>"
    attack += "<img src=x onerror=\"document.documentElement.dataset.attacked = 'yes'\">"
    file = tmp_path / "attacked.html"
    file.write_text(html.replace("<main>", f"<main>{attack}"), encoding="utf-8")
    tab, log = open_tab(browser, file.as_uri())
    assert tab.evaluate("document.documentElement.dataset.attacked") is None
    assert any("Content Security Policy" in error for error in log.errors)
    tab.close()
