"""The documentation site builds without a warning, is complete, and fetches nothing."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bids_mfi.bids.columns import LEVEL_COLUMNS, MUSCLE_COLUMNS
from bids_mfi.cli import build_parser, build_verb_parser

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as by ``make docs``."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


class Page(HTMLParser):
    """What a page links to, and what the browser fetches when it opens the page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.fetched, self.text = [], [], ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "a":
            self.links.append(given.get("href") or "")
        elif tag == "link" and given.get("rel") not in ("next", "prev", "canonical"):
            self.fetched.append(given["href"])
        elif given.get("src"):
            self.fetched.append(given["src"])

    def handle_data(self, data):
        self.text += data


def test_every_document_is_a_page(site):
    documents = (ROOT / "docs").rglob("*.md")
    pages = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in documents]
    names = [page.with_name(page.name.replace("README", "index")) for page in pages]
    front = ["index", "your-data", "outputs", "models", "contributing", "changelog"]
    wanted = [*names, *(f"{name}.html" for name in front)]
    assert [name for name in wanted if not (site / name).is_file()] == []


def test_links_lead_to_files_of_the_site(pages):
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the root of the server
            continue
        names = {link.partition("#")[0] for link in page.links}
        own = sorted(name for name in names if not re.match(r"https?:", name))
        assert [name for name in own if not (path.parent / name).exists()] == []


def test_pages_fetch_nothing_from_other_hosts(pages):
    fetched = [url for page in pages.values() for url in page.fetched]
    assert fetched
    assert [url for url in fetched if re.match(r"(https?:)?//", url)] == []


def test_commands_name_every_option(site, pages):
    verbs = next(one for one in build_verb_parser()._actions if isinstance(one.choices, dict))
    text = pages[site / "commands.html"].text
    for parser in (build_parser(), *verbs.choices.values()):
        for action in parser._actions:
            for name in action.option_strings:
                assert name in text or action.dest in ("help", "version")
    assert [verb for verb in verbs.choices if f"python -m bids_mfi {verb}" not in text] == []


def test_columns_are_those_of_the_registry(site, pages):
    text = pages[site / "columns.html"].text
    for column in (*MUSCLE_COLUMNS, *LEVEL_COLUMNS):
        assert column.name in text
        assert column.description in text
