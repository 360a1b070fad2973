"""Columns of the tables of a scan, each declared once.

The declaration feeds the table itself, its JSON sidecar, the pages, the tables of the group and the
Boutiques descriptor.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of a table of a scan.

    Attributes
    ----------
    name : str
    description : str
    kind : str
        ``text``, ``count`` for whole numbers, or ``number``.
    unit : str
        Empty for text and labels.
    levels : mapping of str to str
        What each word of a column of few words means.
    head : str
        Head in the table of muscles on the participant's page; empty if the column is not in it.
    place : int
        Place in that table.
    digits : int
        After the point on that page.
    """

    name: str
    description: str
    kind: Literal["text", "count", "number"] = "text"
    unit: str = ""
    levels: Mapping[str, str] = field(default_factory=dict)
    head: str = ""
    place: int = 0
    digits: int = 0

    def describe(self) -> dict[str, Any]:
        """Describe the column for a JSON sidecar of BIDS."""
        facts = {"Description": self.description, "Units": self.unit, "Levels": {**self.levels}}
        return {key: value for key, value in facts.items() if value}


def describe_result_columns(columns: Iterable[ResultColumn]) -> dict[str, dict[str, Any]]:
    """Describe columns for a JSON sidecar of BIDS.

    >>> describe_result_columns([ResultColumn("index", "Value of the muscle.")])
    {'index': {'Description': 'Value of the muscle.'}}
    """
    return {column.name: column.describe() for column in columns}


_INDEX = ResultColumn("index", "Value of the muscle in the label map.", "count")
_NAME = ResultColumn("name", "Name of the muscle, with its side.")
_MUSCLE = ResultColumn("muscle", "Abbreviation of the muscle, without its side.")
_HEMI = ResultColumn("hemi", "The participant's side: L is left, R is right.")
_LEVELS = ResultColumn("levels", "Vertebral levels on which the weights label this muscle.")

MUSCLE_COLUMNS = (
    _INDEX,
    _NAME,
    _MUSCLE,
    _HEMI,
    ResultColumn("voxels", "Voxels that carry the label.", "count", "1", head="Voxels", place=3),
    ResultColumn(
        "volume_ml",
        "Labelled voxels times the volume of a voxel; n/a where none is labelled.",
        "number",
        "ml",
        head="Volume, ml",
        place=2,
        digits=2,
    ),
    ResultColumn(
        "fat_mean",
        "Mean fat signal of the labelled voxels that have signal.",
        "number",
        "arbitrary",
    ),
    ResultColumn(
        "water_mean",
        "Mean water signal of the labelled voxels that have signal.",
        "number",
        "arbitrary",
    ),
    ResultColumn(
        "mfi_percent",
        "Muscle fat infiltration 100 F / (F + W), F and W being fat_mean and "
        "water_mean (Weber et al. 2021, doi:10.1038/s41598-021-95972-x).",
        "number",
        "percent",
        head="MFI, %",
        place=1,
        digits=1,
    ),
    ResultColumn(
        "mfi_voxelwise_percent",
        "Mean of the fat fraction of each labelled voxel that has signal.",
        "number",
        "percent",
    ),
    ResultColumn(
        "mfi_median_percent",
        "Median of the fat fraction of each labelled voxel that has signal.",
        "number",
        "percent",
    ),
    ResultColumn(
        "near_fold_percent",
        "Share of the labelled voxels with a fat fraction above 40 percent, near the "
        "50 percent at which fat and water of magnitude images are exchanged.",
        "number",
        "percent",
    ),
    ResultColumn(
        "swapped_percent",
        "Share of the labelled voxels with a fat fraction above 50 percent: replaced "
        "by fat, or fat and water swapped by the scanner. Always 0 where fat and "
        "water were computed from magnitude images.",
        "number",
        "percent",
    ),
    ResultColumn(
        "signal_voxels",
        "Labelled voxels with F + W above 0; all fat measures are based on these.",
        "count",
        "1",
    ),
    ResultColumn(
        "extent",
        "Whether the whole muscle is in the field of view.",
        levels={
            "complete": "The label touches no border of the volume.",
            "cut": "The label reaches a border, so the volume is that of the visible part.",
            "absent": "No voxel carries the label.",
        },
        head="Extent",
        place=4,
    ),
    _LEVELS,
    ResultColumn(
        "mfi_eroded1_percent",
        "mfi_percent without the outermost voxels of the label in each slice: those that "
        "have one of their four neighbours in the slice outside the label. Slices are the planes "
        "across the voxel axis with the largest spacing; where spacings are equal, across "
        "the body. The border of the volume does not count as a border of the muscle. n/a where no "
        "voxel is left.",
        "number",
        "percent",
    ),
    ResultColumn(
        "mfi_eroded2_percent",
        "The same after the outermost voxels were removed twice.",
        "number",
        "percent",
    ),
    ResultColumn(
        "above_ff10_percent",
        "Share of the labelled voxels with a fat fraction above 10 percent, the limit of "
        "normal muscle in Kjaer et al. 2007 (doi:10.1186/1741-7015-5-2).",
        "number",
        "percent",
    ),
    ResultColumn(
        "above_ff30_percent",
        "Share of the labelled voxels with a fat fraction above 30 percent, the limit of "
        "mild involvement in Mercuri et al. 2002 (doi:10.1053/ejpn.2002.0617).",
        "number",
        "percent",
    ),
    ResultColumn(
        "fat_volume_ml",
        "volume_ml times mfi_percent / 100.",
        "number",
        "ml",
    ),
    ResultColumn(
        "lean_volume_ml",
        "volume_ml minus fat_volume_ml.",
        "number",
        "ml",
    ),
    ResultColumn(
        "mfi_asymmetry_percent",
        "100 (L - R) / ((L + R) / 2) of the mfi_percent of the left side L and the right side R "
        "(index of Kong et al. 2018, doi:10.1073/pnas.1718418115): above 0 where the left side has "
        "more. The same in the rows of both sides; n/a where a side was not measured, or L + R is "
        "not above 0.",
        "number",
        "percent",
    ),
    ResultColumn(
        "volume_asymmetry_percent",
        "The same index of volume_ml. It compares the visible parts: see extent.",
        "number",
        "percent",
    ),
)

LEVEL_COLUMNS = (
    ResultColumn(
        "scope",
        "Scope of the row.",
        levels={
            "paper": "The levels of Table 1 of Weber et al. 2021 for the muscle, together.",
            "level": "One vertebral level.",
        },
    ),
    ResultColumn(
        "levels",
        "Vertebral levels. Axial slices belong to a level by the body of its "
        "vertebra; neighbouring levels meet in the middle of their disc.",
    ),
    _INDEX,
    _MUSCLE,
    _HEMI,
    ResultColumn("slices", "Axial slices of the levels.", "count", "1"),
    ResultColumn("voxels", "Voxels that carry the label in these slices.", "count", "1"),
    ResultColumn("volume_ml", "Their volume.", "number", "ml"),
    ResultColumn(
        "area_mm2",
        "Mean area of the label over these slices. Most muscles cross axial slices at a slant.",
        "number",
        "mm2",
    ),
    ResultColumn(
        "mfi_percent",
        "Muscle fat infiltration of these voxels, as in the table of whole muscles.",
        "number",
        "percent",
        digits=1,
    ),
    ResultColumn(
        "mfi_median_percent",
        "Median of the fat fraction of each of these voxels that has signal.",
        "number",
        "percent",
    ),
    ResultColumn(
        "extent",
        "Whether all of the muscle at these levels is in the field of view.",
        levels={
            "complete": "Levels and label touch no border of the volume.",
            "cut": "A vertebral body or the label reaches a border.",
            "absent": "No voxel carries the label there.",
            "unlabelled": "The weights do not label the muscle at all of these levels.",
            "unknown": "A level was not found, so nothing is measured.",
        },
    ),
)

SLICE_COLUMNS = (
    _INDEX,
    _MUSCLE,
    _HEMI,
    ResultColumn(
        "slice",
        "Index of the slice in the label map, from 0, along the voxel axis nearest to the body's "
        "axis. position_mm states whether it counts upwards or downwards.",
        "count",
        "1",
    ),
    ResultColumn(
        "position_mm",
        "World coordinate along the body's axis, inferior to superior, of the middle of the slice.",
        "number",
        "mm",
    ),
    ResultColumn("voxels", "Voxels that carry the label in this slice.", "count", "1"),
    ResultColumn(
        "area_mm2",
        "Cross-sectional area of the label in this slice: voxels times the area of a voxel in the "
        "plane of the slice. Most muscles cross slices at a slant.",
        "number",
        "mm2",
    ),
    ResultColumn(
        "mfi_percent",
        "Muscle fat infiltration of these voxels, as in the table of whole muscles; n/a where "
        "none has signal.",
        "number",
        "percent",
    ),
)

LABEL_COLUMNS = (
    _INDEX,
    _NAME,
    ResultColumn("abbreviation", "Abbreviation of the muscle, with its side."),
    ResultColumn("color", "Colour in the pictures, #rrggbb."),
    _MUSCLE,
    _HEMI,
    _LEVELS,
)

VERTEBRA_COLUMNS = (
    ResultColumn("index", "Value of the vertebral body in the label map.", "count"),
    ResultColumn("name", "Name of the vertebra."),
    ResultColumn("abbreviation", "Its level."),
)
