"""Content of the page of a cohort."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from bids_mfi.findings import Finding


@dataclass(frozen=True, slots=True, eq=False)
class TableEntry:
    """A table of results and its file.

    Attributes
    ----------
    name : str
        Name of the file beside the page, for example ``group_ancova.tsv``.
    title : str
    table : DataFrame
        With the columns of the file; NaN where there is none.
    notes : tuple of str
        Why something is missing or doubtful.
    data : bytes
        The file.
    """

    name: str
    title: str
    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    data: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class GroupPage:
    """All that a page shows.

    Attributes
    ----------
    title : str
    facts : tuple of (str, str)
        Pairs of a label and a text.
    findings : tuple of Finding
    measure : str
        ``mfi`` or ``volume``.
    unit : str
        ``%`` or ``ml``.
    people : DataFrame
        Index participant_id. ``sex`` (F, M or missing), ``age`` (years), ``bmi`` (kg/m^2),
        ``page`` (file of the participant's page, relative to this one; empty if there is none),
        ``session``, ``bundle`` and ``flags`` (text). A column may be missing.
    values, left, right : DataFrame
        Same index; float64, one column per muscle in the order of the paper, in ``unit``, NaN where
        missing: the value of a muscle and its two sides.
    tables : mapping of str to TableEntry
        By name: those of ``PAPER_TABLES``, the same with ``volume_`` before, and any others.
    figures : tuple of (str, str, bytes)
        Path relative to the page, title and SVG.
    methods : tuple of str
        Paragraphs for a paper.
    references : tuple of str
    summary : tuple of str
        Sentences.
    correction : str
        How p-values were adjusted; empty if they were not.
    model, controls : str
        The requested formula and condition; empty if there was none.
    sessions : tuple of str
        In their order.
    change : str
        Which session is subtracted from which, in words; empty if no change was measured.
    extent : str
        How much of a muscle is labelled, in words; empty if not known.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    measure: str
    unit: str
    people: pd.DataFrame
    values: pd.DataFrame
    left: pd.DataFrame
    right: pd.DataFrame
    tables: Mapping[str, TableEntry] = field(default_factory=dict)
    figures: tuple[tuple[str, str, bytes], ...] = ()
    methods: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()
    correction: str = ""
    model: str = ""
    controls: str = ""
    sessions: tuple[str, ...] = ()
    change: str = ""
    extent: str = ""
