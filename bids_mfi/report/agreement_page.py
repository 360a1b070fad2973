"""The page of an evaluation or of two tables as self-contained HTML.

Statistics are computed elsewhere; this module selects, rounds and labels them. Like the
participant's page, it loads nothing.
"""

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from bids_mfi import __version__
from bids_mfi.report.numbers import format_interval, format_number, format_p, format_spread
from bids_mfi.report.page import TEMPLATES, make_environment
from bids_mfi.statistics.agreement import Agreement
from bids_mfi.statistics.summaries import (
    MuscleAgreement,
    OverlapByGroup,
    SegmentationSummary,
    Spread,
)

WORST = 5
SIDE_NAMES = {"L": "Left", "R": "Right"}
FIGURE_TEXTS = {
    "mfi": ("Muscle fat infiltration", "Figure 3 of the paper"),
    "volume": ("Muscle volume", "Figure 4 of the paper"),
}
METRIC_HEADS = (
    ("dice", "Dice", 2),
    ("jaccard", "JI", 2),
    ("conformity", "CC", 2),
    ("tpr", "TPR", 2),
    ("tnr", "TNR", 3),
    ("ppv", "PPV", 2),
    ("volume_ratio", "VR", 2),
    ("surface_mean_mm", "MSD, mm", 2),
    ("hausdorff95_mm", "HD95, mm", 1),
)
GROUPING_NAMES = {
    "all": "All",
    "field_strength": "Field strength",
    "plane": "Plane",
    "in_plane_size": "Voxel size in plane",
    "slice_thickness": "Slice thickness",
    "mfi_quartile": "Quartile of true MFI",
}


@dataclass(frozen=True, slots=True)
class ScanScore:
    """Dice of the muscles that the truth of a scan holds.

    Attributes
    ----------
    scan : str
    dice : tuple of (str, float)
        By abbreviation with side.
    missed : tuple of str
    """

    scan: str
    dice: tuple[tuple[str, float], ...]
    missed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lists:
    """What was not compared.

    Attributes
    ----------
    failed : tuple of (str, str)
        Scan and problem.
    reference_only, compared_only : tuple of str
    unknown_labels : tuple of str
        One sentence for each label without a muscle.
    """

    failed: tuple[tuple[str, str], ...] = ()
    reference_only: tuple[str, ...] = ()
    compared_only: tuple[str, ...] = ()
    unknown_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgreementPage:
    """All that a page shows.

    Attributes
    ----------
    title : str
    names : tuple of str
        What the reference is called, and what is compared with it.
    facts : tuple of (str, str)
        What was compared and how.
    agreement : tuple of MuscleAgreement
    figures : tuple of (str, bytes)
        Measure and SVG.
    segmentation : tuple of SegmentationSummary
        Empty where there are no label maps.
    scans : tuple of ScanScore
    groups : tuple of OverlapByGroup
        Empty where there are no label maps; groups of one grouping are consecutive.
    group_notes : tuple of str
        What the groups lack, as full sentences.
    lists : Lists
    findings : tuple of str
        What makes the figures doubtful, as full sentences.
    """

    title: str
    names: tuple[str, str]
    facts: tuple[tuple[str, str], ...]
    agreement: tuple[MuscleAgreement, ...]
    figures: tuple[tuple[str, bytes], ...]
    segmentation: tuple[SegmentationSummary, ...] = ()
    scans: tuple[ScanScore, ...] = ()
    groups: tuple[OverlapByGroup, ...] = ()
    group_notes: tuple[str, ...] = ()
    lists: Lists = field(default_factory=Lists)
    findings: tuple[str, ...] = ()


def render_agreement_page(page: AgreementPage) -> str:
    """Render a page as HTML that needs no other file, no script and no network."""
    style = (TEMPLATES / name for name in ("page.css", "agreement.css"))
    return (
        make_environment()
        .get_template("agreement.html")
        .render(
            page=page,
            version=__version__,
            style="".join(path.read_text(encoding="utf-8") for path in style),
            headlines=_make_headlines(page),
            accuracy=_prepare_table(page.agreement, _format_accuracy),
            reliability=_prepare_table(page.agreement, _format_reliability),
            segmentation=_prepare_segmentation(page.segmentation),
            groups=_prepare_groups(page.groups),
            metric_heads=[head for _, head, _ in METRIC_HEADS],
            pictures=[_prepare_picture(measure, svg) for measure, svg in page.figures],
            worst_scans=_list_worst_scans(page.scans),
            worst_values=_list_worst_values(page.agreement),
        )
    )


# --- headlines ---------------------------------------------------------------------------------


def mean_dice(segmentation: Iterable[SegmentationSummary]) -> float:
    """Mean over muscles of each muscle's mean Dice, for those that occur in the truth."""
    means = [one.metric("dice").mean for one in segmentation if one.scans]
    return sum(means) / len(means) if means else math.nan


def find_lowest_dice(segmentation: Iterable[SegmentationSummary]) -> SegmentationSummary | None:
    """Find the muscle with the lowest mean Dice among those that occur in the truth."""
    held = [one for one in segmentation if one.scans]
    return min(held, key=lambda one: one.metric("dice").mean, default=None)


def _make_headlines(page: AgreementPage) -> list[tuple[str, str, str]]:
    """Make the first numbers of the page: label, value, remark."""
    return [*_headline_dice(page.segmentation), *_headline_agreement(page)]


def _headline_dice(segmentation: Sequence[SegmentationSummary]) -> list[tuple[str, str, str]]:
    lowest = find_lowest_dice(segmentation)
    if lowest is None:
        return []
    held = sum(bool(one.scans) for one in segmentation)
    missed = sum(one.missed for one in segmentation)
    return [
        ("Mean Dice", format_number(mean_dice(segmentation), 2), f"over {held} muscles"),
        (
            "Lowest muscle",
            f"{lowest.muscle} {lowest.hemi} {format_number(lowest.metric('dice').mean, 2)}",
            "mean Dice",
        ),
        ("Missed", str(missed), f"of {sum(one.scans for one in segmentation)} muscles traced"),
    ]


def _headline_agreement(page: AgreementPage) -> list[tuple[str, str, str]]:
    of_mfi = [one for one in page.agreement if one.measure == "mfi" and one.agreement.n]
    if not of_mfi:
        return [("MFI", "n/a", "no pair of values")]
    worst = max(of_mfi, key=lambda one: abs(one.agreement.bias))
    lines = [
        (
            "Largest MFI bias",
            f"{worst.muscle} {worst.hemi} {format_number(worst.agreement.bias, 1)}",
            f"percentage points, limits {_range(worst.agreement, 'loa', 1)}",
        )
    ]
    with_icc = [one for one in of_mfi if math.isfinite(one.agreement.icc)]
    if with_icc:
        low = min(with_icc, key=lambda one: one.agreement.icc)
        value = f"{low.muscle} {low.hemi} {format_number(low.agreement.icc, 3)}"
        lines.append(("Lowest MFI ICC", value, f"ICC(2,1), n = {low.agreement.n}"))
    return lines


# --- tables ------------------------------------------------------------------------------------


def _range(stats: Agreement, name: str, digits: int) -> str:
    low, high = getattr(stats, f"{name}_lower"), getattr(stats, f"{name}_upper")
    return format_interval(low, high, digits)


def _format_accuracy(stats: Agreement) -> list[str]:
    """One measure of a row of Table 2."""
    return [
        str(stats.n),
        format_spread(stats.mean_cnn, stats.se_cnn, 1),
        format_number(stats.bias, 1),
        _range(stats, "loa", 1),
        format_number(stats.mae, 1),
        format_number(stats.rmse, 1),
        format_number(stats.r2, 3),
        format_number(stats.slope_origin, 3),
    ]


def _format_reliability(stats: Agreement) -> list[str]:
    """One measure of a row of Table 3."""
    return [
        str(stats.n), format_number(stats.icc, 3), _range(stats, "icc", 3), format_p(stats.icc_p)
    ]  # fmt: skip


def _prepare_table(found: Sequence[MuscleAgreement], form: Any) -> list[dict[str, Any]]:
    """Group rows by muscle as in the paper, MFI and volume of a side next to each other."""
    cells: dict[tuple[str, str], list[str]] = {}
    for one in found:
        cells.setdefault((one.muscle, one.hemi), []).extend(form(one.agreement))
    return _group_sides((muscle, hemi, row) for (muscle, hemi), row in cells.items())


def _group_sides(rows: Iterable[tuple[str, str, list[str]]]) -> list[dict[str, Any]]:
    return [
        {"muscle": muscle, "sides": [(SIDE_NAMES[hemi], cells) for _, hemi, cells in group]}
        for muscle, group in groupby(rows, key=lambda row: row[0])
    ]


def _prepare_segmentation(found: Iterable[SegmentationSummary]) -> list[dict[str, Any]]:
    """Table 4, with the surfaces and the number of scans."""
    return _group_sides(
        (
            one.muscle,
            one.hemi,
            [
                *(_format_spread(one.metric(name), digits) for name, _, digits in METRIC_HEADS),
                str(one.scans),
                str(one.missed),
                str(one.invented),
            ],
        )
        for one in found
    )


def _prepare_groups(found: Iterable[OverlapByGroup]) -> list[dict[str, Any]]:
    """Rows of the table of groups, by grouping."""
    return [
        {
            "name": GROUPING_NAMES[grouping],
            "rows": [("scans" if grouping == "all" else one.group, _format_group(one))
                     for one in groups],
        }
        for grouping, groups in groupby(found, key=lambda one: one.grouping)
    ]  # fmt: skip


def _format_group(group: OverlapByGroup) -> list[str]:
    return [
        str(group.scans),
        str(group.muscle_scans),
        str(group.missed),
        format_number(group.dice_mean, 3),
        group.lowest_muscle,
        format_number(group.lowest_dice_mean, 3),
        str(group.mfi_pairs),
        format_number(group.mfi_bias_points, 2),
        format_number(group.mfi_mae_points, 2),
        format_number(group.volume_ratio_mean, 3),
    ]


def _format_spread(spread: Spread, digits: int) -> str:
    return format_spread(spread.mean, spread.se, digits)


# --- pictures and lists ------------------------------------------------------------------------


def _prepare_picture(measure: str, svg: bytes) -> dict[str, str]:
    heading, origin = FIGURE_TEXTS[measure]
    return {
        "heading": heading,
        "origin": origin,
        "uri": "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii"),
    }


def _list_worst_scans(scans: Iterable[ScanScore]) -> list[list[str]]:
    """List the scans with the lowest mean Dice: name, mean, lowest muscle, missed muscles."""
    scored = [
        (sum(value for _, value in scan.dice) / len(scan.dice), scan) for scan in scans if scan.dice
    ]
    scored.sort(key=lambda entry: (entry[0], entry[1].scan))
    rows = []
    for mean, scan in scored[:WORST]:
        muscle, low = min(scan.dice, key=lambda entry: entry[1])
        rows.append(
            [scan.scan, format_number(mean, 2), f"{muscle} {format_number(low, 2)}",
             ", ".join(scan.missed) or "none"]
        )  # fmt: skip
    return rows


def _list_worst_values(found: Iterable[MuscleAgreement]) -> list[list[str]]:
    """List the largest differences in MFI: scan, muscle, reference, compared, difference."""
    values = [
        (cnn - gt, name, f"{one.muscle}_{one.hemi}", gt, cnn)
        for one in found
        if one.measure == "mfi"
        for name, gt, cnn in zip(one.names, one.reference, one.compared, strict=True)
        if math.isfinite(cnn - gt)
    ]
    values.sort(key=lambda entry: (-abs(entry[0]), entry[1], entry[2]))
    return [
        [name, muscle, format_number(gt, 1), format_number(cnn, 1), format_number(apart, 1)]
        for apart, name, muscle, gt, cnn in values[:WORST]
    ]
