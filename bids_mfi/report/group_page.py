"""The page of a cohort as self-contained HTML.

Statistics are computed elsewhere; this module arranges them as sections, tables, plots and files.
The page loads nothing: plotly.js and the data are inside it, and a content security policy forbids
the rest. The policy lists the two scripts of the page by their sha256 and permits no other. Styles
inside the page are allowed, because plotly.js adds its own.
The interactive part of the page is in ``group.js``, which draws from one block of JSON.
"""

import base64
import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from bids_mfi import __version__
from bids_mfi.report.group_content import GroupPage, TableEntry
from bids_mfi.report.group_files import BESIDE, arrange_pictures, list_downloads
from bids_mfi.report.group_notes import explain_table
from bids_mfi.report.group_people import count_people, count_words, list_missing, prepare_finding
from bids_mfi.report.group_plots import MEASURE_NAMES, encode_script, make_plot_data
from bids_mfi.report.group_tables import (
    VOLUME,
    has_adjusted,
    show_all,
    show_matrix,
    show_named,
    split_stars,
)
from bids_mfi.report.group_words import MUSCLE_NAMES
from bids_mfi.report.page import TEMPLATES, make_environment

__all__ = ["GroupPage", "TableEntry", "render_group_page"]

UNITS = {"mfi": "%", "volume": "ml"}
FILES_ONLY = ("mfi", "wide")  # all values: files to save, not tables to read
# Tables that have a place on the page: as in the Results of the paper, and beyond it.
PAPER_TABLES = (
    "sample", "descriptives", "rmancova", "sphericity", "multivariate", "emm", "ancova", "pairedt",
    "musclecorr", "partialcorr", "residuals",
)  # fmt: skip
FURTHER_TABLES = (
    "asymmetry", "outliers", "model", "model_means", "model_coefficients", "model_rmancova",
    "change",
    "change_model", "repeatability", "change_participants", "centiles", "centiles_calibration",
)  # fmt: skip
NOT_SHOWN = (*FILES_ONLY, "residuals")


def render_group_page(page: GroupPage) -> str:
    """Render a page as HTML that needs no other file and no network."""
    from plotly.offline import get_plotlyjs

    files = {name: (TEMPLATES / name).read_text(encoding="utf-8")
             for name in ("page.css", "group.css", "group.js")}  # fmt: skip
    plotly = get_plotlyjs()
    findings = [prepare_finding(finding) for finding in page.findings]
    environment = make_environment()
    environment.globals |= {
        "show": show_named,
        "show_all": show_all,
        "show_matrix": show_matrix,
        "split_stars": split_stars,
        "explain": partial(explain_table, muscles=[str(name) for name in page.values]),
        "adjusted": has_adjusted,
        "correction": page.correction,
        "pictures": arrange_pictures(page.figures),
    }
    return environment.get_template("group.html").render(
        page=page,
        version=__version__,
        style=files["page.css"] + files["group.css"],
        script=files["group.js"],
        plotly=plotly,
        hashes=[hash_script(text) for text in (plotly, files["group.js"])],
        data=encode_script(make_plot_data(page)),
        measure=MEASURE_NAMES.get(page.measure, page.measure),
        findings=findings,
        sample=count_people(page.people),
        abbreviations=_name_muscles(page),
        bundles=count_words(page.people, "bundle"),
        missing=list_missing(page),
        models=_find_models(page.tables),
        volumes=_list_volumes(page.tables),
        others=[key for key in page.tables if not _has_place(key)],
        beside=BESIDE,
        downloads=list_downloads(page.tables, page.figures),
    )


def hash_script(text: str) -> str:
    """Name an inline script as a content security policy does, by the sha256 of its text.

    Examples
    --------
    >>> hash_script("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _name_muscles(page: GroupPage) -> list[tuple[str, str]]:
    """Explain the abbreviations of muscles that are those of the paper."""
    names = map(str, page.values)
    return [(name, MUSCLE_NAMES[name]) for name in names if name in MUSCLE_NAMES]


def _has_place(key: str) -> bool:
    return key.removeprefix(VOLUME) in (*FILES_ONLY, *PAPER_TABLES, *FURTHER_TABLES)


def _find_models(tables: Mapping[str, TableEntry]) -> dict[str, Any]:
    """Find the tables of the requested model, which may be a model of volume."""
    prefix = VOLUME if f"{VOLUME}model" in tables else ""
    names = [name for name in FURTHER_TABLES if name.startswith("model")]
    found = {name: tables[prefix + name] for name in names if prefix + name in tables}
    return {"tables": found, "unit": UNITS["volume" if prefix else "mfi"]}


def _list_volumes(tables: Mapping[str, TableEntry]) -> list[dict[str, str]]:
    """Tables of the secondary measure with their titles, in the order of the first measure."""
    keys = [VOLUME + name for name in (*PAPER_TABLES, *FURTHER_TABLES)
            if name not in NOT_SHOWN and not name.startswith("model")]  # fmt: skip
    return [
        {"key": key, "title": tables.get(key.removeprefix(VOLUME), tables[key]).title}
        for key in keys
        if key in tables
    ]
