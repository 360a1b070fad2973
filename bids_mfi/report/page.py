"""The page of a participant as self-contained HTML.

Numbers are only formatted here. The page loads nothing: its style and pictures
are inside it, and a content security policy forbids the rest.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bids_mfi.bids.columns import LEVEL_COLUMNS, MUSCLE_COLUMNS, ResultColumn
from bids_mfi.counts import count_noun
from bids_mfi.grid import Grid
from bids_mfi.measure.levels import LevelMeasure
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.quality import SEVERITIES, QCFlag
from bids_mfi.measure.quantify import MuscleMeasure
from bids_mfi.muscles import Muscle, MuscleTable
from bids_mfi.report.numbers import format_cell, format_number
from bids_mfi.report.panels import group_by_muscle, long_name

if TYPE_CHECKING:
    from jinja2 import BytecodeCache, Environment

TEMPLATES = Path(__file__).parents[1] / "data" / "report"
SIDES = (("R", "right"), ("L", "left"))

FAT_WATER_SENTENCES = {
    "computed": (
        "Fat and water were computed from the in-phase and out-of-phase magnitude images, "
        "F = (IP - OOP) / 2 and W = (IP + OOP) / 2; fat fractions above 50 % therefore appear "
        "below 50 %."
    ),
    "scanner": "Fat and water are the images reconstructed by the scanner.",
}

DISPLAY = "Radiological display: the participant's right (R) is on the left of the picture."

# Heading, alternative text and caption of each picture, by its name.
PICTURES = {
    "overview": (
        "Position of the slices",
        "Coronal and sagittal slice of the water image with the muscle labels in colour and "
        "numbered lines at the height of each axial slice.",
        "Water with the labels filled. The numbered lines are the axial slices below.",
    ),
    "labels": (
        "Labels",
        "Axial slices of the water image with the outline and fill of every muscle label in the "
        "colour of the legend, the participant's right on the left.",
        "Labels over water, from superior (1) to inferior; z is the scanner's coordinate. The "
        "magnification differs between slices: note the scale bars.",
    ),
    "water": (
        "Water",
        "The same axial slices of the water image without labels.",
        "The same slices without labels, to judge where the muscles end.",
    ),
    "fatfraction": (
        "Fat fraction",
        "The same axial slices of the fat fraction in colour with the outlines of the labels in "
        "white and a colour bar from 0 to 60 percent.",
        "Fat fraction with the outlines of the labels. Black is 0 %: no fat or, where fat and "
        "water are computed from magnitude images, only fat, as under the skin. Slate grey is no "
        "signal.",
    ),
}


@dataclass(frozen=True, slots=True)
class ScanSection:
    """One scan of a page.

    Attributes
    ----------
    title : str
        The scan's name.
    table : MuscleTable
        Names and colours of the labels.
    pair : DixonPair or None
        What the images are; None if they could not be paired.
    grid : Grid or None
        Of the scan.
    measures : tuple of MuscleMeasure
    flags : tuple of QCFlag
    figures : tuple of (str, bytes)
        Name and PNG of each picture.
    files : tuple of str
        Results, relative to the page's folder.
    problem : str
        Why the scan failed; empty if it did not. Measures shown with it come from an earlier run.
    weights : str
        Name and version of the weights that made the results.
    levels : tuple of LevelMeasure
        Empty where the weights label no vertebrae.
    """

    title: str
    table: MuscleTable
    pair: DixonPair | None = None
    grid: Grid | None = None
    measures: tuple[MuscleMeasure, ...] = ()
    flags: tuple[QCFlag, ...] = ()
    figures: tuple[tuple[str, bytes], ...] = ()
    files: tuple[str, ...] = ()
    problem: str = ""
    weights: str = ""
    levels: tuple[LevelMeasure, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """Software and model that made the results of a page.

    Attributes
    ----------
    version : str
        Of this package.
    bundle_name, bundle_version, bundle_sha256, bundle_description : str
    fat_water : str
        ``computed`` or ``scanner``.
    """

    version: str
    bundle_name: str
    bundle_version: str
    bundle_sha256: str
    bundle_description: str
    fat_water: str


@dataclass(frozen=True, slots=True)
class ParticipantPage:
    """A page: the scans of a participant, or of one of its sessions.

    Attributes
    ----------
    participant : str
        Label without ``sub-``.
    session : str or None
        Label without ``ses-`` if the page is of one session only.
    scans : tuple of ScanSection
    provenance : Provenance
    """

    participant: str
    session: str | None
    scans: tuple[ScanSection, ...]
    provenance: Provenance


def make_environment() -> "Environment":
    """Templates of all pages: everything inserted is escaped, and a missing value is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        bytecode_cache=_compiled_templates(),
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@cache
def _compiled_templates() -> "BytecodeCache":
    """Keep what Jinja compiles, so that each template is compiled once in a process."""
    from jinja2.bccache import Bucket, BytecodeCache

    compiled: dict[str, bytes] = {}

    class CompiledTemplates(BytecodeCache):
        def load_bytecode(self, bucket: Bucket) -> None:
            if bucket.key in compiled:
                bucket.bytecode_from_string(compiled[bucket.key])

        def dump_bytecode(self, bucket: Bucket) -> None:
            compiled[bucket.key] = bucket.bytecode_to_string()

    return CompiledTemplates()


def render_page(page: ParticipantPage) -> str:
    """Render a page as HTML that needs no other file, no script and no network."""
    environment = make_environment()
    environment.filters |= {"show": _show_value, "cell": format_cell, "color": check_color}
    return environment.get_template("participant.html").render(
        page=page,
        title=name_page(page),
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        scans=[_prepare_scan(scan) for scan in page.scans],
        columns=MUSCLE_COLUMNS,
        shown_columns=sorted(
            (column for column in MUSCLE_COLUMNS if column.head), key=lambda column: column.place
        ),
        level_columns=LEVEL_COLUMNS,
        level_mfi=next(column for column in LEVEL_COLUMNS if column.name == "mfi_percent"),
        display=DISPLAY,
        fat_water=FAT_WATER_SENTENCES[page.provenance.fat_water],
        sides=SIDES,
    )


def _show_value(value: Any, column: ResultColumn) -> str:
    return str(value) if column.kind == "text" else format_number(value, column.digits)


def name_page(page: ParticipantPage) -> str:
    """Name a page by its participant and session.

    Examples
    --------
    >>> name_page(ParticipantPage("01", "a", (), Provenance(*["-"] * 6)))
    'sub-01 ses-a'
    """
    session = f" ses-{page.session}" if page.session else ""
    return f"sub-{page.participant}{session}"


def _prepare_scan(scan: ScanSection) -> dict[str, Any]:
    """Arrange what the template shows of a scan."""
    measures = {measure.index: measure for measure in scan.measures}
    return {
        "scan": scan,
        "facts": [
            *describe_images(scan.pair, scan.grid),
            *([("Weights", scan.weights)] if scan.weights else []),
        ],
        "flags": group_flags(scan.flags),
        "groups": [_prepare_group(sides, measures, scan.flags)
                   for sides in group_by_muscle(scan.table)],
        "by_level": _prepare_levels(scan),
        "pictures": [_prepare_picture(name, png) for name, png in scan.figures],
        "links": [(quote(name), name.rsplit("/", 1)[-1]) for name in scan.files],
        "count": count_flags(scan.flags),
    }  # fmt: skip


def _prepare_group(
    sides: list[Muscle], measures: dict[int, MuscleMeasure], flags: Iterable[QCFlag]
) -> dict[str, Any]:
    """Put the two sides of a muscle next to each other; a side may be missing."""
    found = {muscle.hemi: muscle for muscle in sides}
    cells = []
    for hemi, side in SIDES:
        muscle = found.get(hemi)
        measure = measures.get(muscle.index) if muscle else None
        doubts = [flag for flag in flags if muscle and _concerns(flag, muscle)]
        cells.append({"side": side, "muscle": muscle, "measure": measure, "flags": doubts})
    return {"muscle": sides[0], "long_name": long_name(sides[0]), "cells": cells}


def _prepare_levels(scan: ScanSection) -> dict[str, Any] | None:
    """Arrange the table by vertebral level: one row per muscle, one column per level and side.

    The first column of a row is of the paper's levels for the muscle. None where nothing was found.
    """
    found = {(row.scope, row.levels, row.index): row for row in scan.levels}
    paper = {row.index: row for row in scan.levels if row.scope == "paper"}
    names = list(dict.fromkeys(row.levels for row in scan.levels if row.scope == "level"))
    if not any(row.extent != "unknown" for row in scan.levels):
        return None
    rows = []
    for sides in group_by_muscle(scan.table):
        own = [paper[muscle.index].levels for muscle in sides if muscle.index in paper]
        by_side = {muscle.hemi: muscle.index for muscle in sides}
        indices = [by_side.get(hemi, 0) for hemi, _ in SIDES]
        cells = [[paper.get(index) for index in indices]]
        cells += [[found.get(("level", name, index)) for index in indices] for name in names]
        rows.append({"muscle": sides[0], "paper": own[0] if own else "", "cells": cells})
    return {"names": names, "rows": rows}


def _concerns(flag: QCFlag, muscle: Muscle) -> bool:
    """Whether a table cell is marked for this flag; flags of severity info mark nothing."""
    return flag.severity != "info" and flag.muscle in (muscle.muscle, muscle.abbreviation)


def group_flags(flags: Iterable[QCFlag]) -> list[dict[str, Any]]:
    """Group flags of one code and severity, the most severe first, otherwise in their order.

    Examples
    --------
    >>> flags = [QCFlag("cut", "warning", side, 0.0, 0.0, "") for side in ("TR_R", "TR_L")]
    >>> group_flags(flags)[0]["muscles"]
    'TR_R, TR_L'
    """
    groups: dict[tuple[int, str], list[QCFlag]] = {}
    for flag in flags:
        groups.setdefault((SEVERITIES.index(flag.severity), flag.code), []).append(flag)
    return [
        {
            "severity": SEVERITIES[rank],
            "code": code.replace("_", " ").replace("mfi", "MFI"),
            "muscles": ", ".join(flag.muscle for flag in groups[rank, code] if flag.muscle),
            "messages": [flag.message for flag in groups[rank, code]],
        }
        for rank, code in sorted(groups, key=lambda key: key[0])
    ]


def count_flags(flags: Iterable[QCFlag]) -> str:
    """Count the flags of each severity in words.

    Examples
    --------
    >>> count_flags([])
    'no quality flags'
    >>> count_flags([QCFlag("cut", "info", "", 0.0, 0.0, "")] * 2)
    '2 notes'
    """
    words = {"error": "error", "warning": "warning", "info": "note"}
    found = [flag.severity for flag in flags]
    counts = [(found.count(severity), word) for severity, word in words.items()]
    parts = [count_noun(count, word) for count, word in counts if count]
    return ", ".join(parts) or "no quality flags"


def describe_images(pair: DixonPair | None, grid: Grid | None) -> list[tuple[str, str]]:
    """Describe the images of a scan as pairs of a label and a text.

    Examples
    --------
    >>> pair = DixonPair(Path("a_ip.nii"), Path("a_op.nii"), (("sub", "a"),), "name")
    >>> describe_images(pair, None)[:2]
    [('In-phase image', 'a_ip.nii'), ('Out-of-phase image', 'a_op.nii')]
    """
    if pair is None:
        return []
    in_phase_ms, out_phase_ms = (_format_known(time, "ms") for time in pair.echo_times_ms)
    facts = [
        ("In-phase image", _name_image(pair.in_phase, pair.in_phase_volume)),
        ("Out-of-phase image", _name_image(pair.out_phase, pair.out_phase_volume)),
    ]
    if pair.water and pair.fat:
        facts += [
            ("Scanner's water image", _name_image(pair.water, pair.water_volume)),
            ("fat image", _name_image(pair.fat, pair.fat_volume)),
        ]
    facts += [
        ("Recognised by", pair.recognised_by),
        ("Echo times", f"in phase {in_phase_ms}, out of phase {out_phase_ms}"),
        ("Field strength", _format_known(pair.field_strength_t, "T")),
    ]
    if grid is not None:
        facts.append(("Voxels", f"{_times(grid.shape)} of {_times(grid.spacing_mm)} mm"))
        facts.append(("Stored towards", "".join(grid.axcodes)))
    return facts


def _name_image(path: Path, volume: int | None) -> str:
    return path.name if volume is None else f"{path.name}, volume {volume + 1}"


def _format_known(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:g} {unit}"


def _times(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _prepare_picture(name: str, png: bytes) -> dict[str, str]:
    heading, alternative, caption = PICTURES.get(name, (name, f"Picture {name}.", ""))
    return {
        "name": name,
        "heading": heading,
        "alternative": alternative,
        "caption": caption,
        "uri": "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
    }


def check_color(text: str) -> str:
    """Accept only ``#rrggbb`` for the style of the page.

    Examples
    --------
    >>> check_color("#c01f2e"), check_color("red;background:url(x)")
    ('#c01f2e', 'transparent')
    """
    return text if re.fullmatch(r"#[0-9a-fA-F]{6}", text) else "transparent"
