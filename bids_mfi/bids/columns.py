"""Columns of the tables of a scan: name, description, unit and levels; must not know values."""

from typing import Any

COLUMN_DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "index": {"Description": "Value of the muscle in the label map."},
    "name": {"Description": "Name of the muscle, with its side."},
    "muscle": {"Description": "Abbreviation of the muscle, without its side."},
    "hemi": {"Description": "The participant's side: L is left, R is right."},
    "voxels": {"Description": "Voxels that carry the label.", "Units": "1"},
    "volume_ml": {
        "Description": "Labelled voxels times the volume of a voxel; n/a where none is labelled.",
        "Units": "ml",
    },
    "fat_mean": {
        "Description": "Mean fat signal of the labelled voxels that have signal.",
        "Units": "arbitrary",
    },
    "water_mean": {
        "Description": "Mean water signal of the labelled voxels that have signal.",
        "Units": "arbitrary",
    },
    "mfi_percent": {
        "Description": (
            "Muscle fat infiltration 100 F / (F + W), F and W being fat_mean and water_mean "
            "(Weber et al. 2021, doi:10.1038/s41598-021-95972-x)."
        ),
        "Units": "percent",
    },
    "mfi_voxelwise_percent": {
        "Description": "Mean of the fat fraction of each labelled voxel that has signal.",
        "Units": "percent",
    },
    "mfi_median_percent": {
        "Description": "Median of the fat fraction of each labelled voxel that has signal.",
        "Units": "percent",
    },
    "near_fold_percent": {
        "Description": (
            "Share of the labelled voxels with a fat fraction above 40 percent, near the 50 "
            "percent at which fat and water of magnitude images are exchanged."
        ),
        "Units": "percent",
    },
    "swapped_percent": {
        "Description": (
            "Share of the labelled voxels with a fat fraction above 50 percent: replaced by fat, "
            "or fat and water swapped by the scanner. Always 0 where fat and water were computed "
            "from magnitude images."
        ),
        "Units": "percent",
    },
    "signal_voxels": {
        "Description": "Labelled voxels with F + W above 0; all fat measures rest on these.",
        "Units": "1",
    },
    "extent": {
        "Description": "Whether the whole muscle is in the field of view.",
        "Levels": {
            "complete": "The label touches no border of the volume.",
            "cut": "The label reaches a border, so that the volume is that of the part seen.",
            "absent": "No voxel carries the label.",
        },
    },
    "levels": {"Description": "Vertebral levels on which the weights label this muscle."},
}

LEVEL_COLUMN_DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "scope": {
        "Description": "What the row is of.",
        "Levels": {
            "paper": "The levels of Table 1 of Weber et al. 2021 for the muscle, together.",
            "level": "One vertebral level.",
        },
    },
    "levels": {
        "Description": (
            "Vertebral levels. Axial slices belong to a level by the body of its vertebra; "
            "neighbouring levels meet in the middle of their disc."
        )
    },
    "index": COLUMN_DESCRIPTIONS["index"],
    "muscle": COLUMN_DESCRIPTIONS["muscle"],
    "hemi": COLUMN_DESCRIPTIONS["hemi"],
    "slices": {"Description": "Axial slices of the levels.", "Units": "1"},
    "voxels": {"Description": "Voxels that carry the label in these slices.", "Units": "1"},
    "volume_ml": {"Description": "Their volume.", "Units": "ml"},
    "area_mm2": {
        "Description": (
            "Mean area of the label over these slices. Most muscles cross axial slices at a slant."
        ),
        "Units": "mm2",
    },
    "mfi_percent": {
        "Description": "Muscle fat infiltration of these voxels, as in the table of whole muscles.",
        "Units": "percent",
    },
    "mfi_median_percent": {
        "Description": "Median of the fat fraction of each of these voxels that has signal.",
        "Units": "percent",
    },
    "extent": {
        "Description": "Whether all of the muscle at these levels is in the field of view.",
        "Levels": {
            "complete": "Levels and label touch no border of the volume.",
            "cut": "A vertebral body or the label reaches a border.",
            "absent": "No voxel carries the label there.",
            "unlabelled": "The weights do not label the muscle at all of these levels.",
            "unknown": "A level was not found, so that nothing is measured.",
        },
    },
}

LABEL_COLUMN_DESCRIPTIONS = {
    "index": COLUMN_DESCRIPTIONS["index"],
    "name": COLUMN_DESCRIPTIONS["name"],
    "abbreviation": {"Description": "Abbreviation of the muscle, with its side."},
    "color": {"Description": "Colour in the pictures, #rrggbb."},
    "muscle": COLUMN_DESCRIPTIONS["muscle"],
    "hemi": COLUMN_DESCRIPTIONS["hemi"],
    "levels": COLUMN_DESCRIPTIONS["levels"],
}

VERTEBRA_COLUMN_DESCRIPTIONS: dict[str, Any] = {
    "Description": "Labels of the vertebral bodies.",
    "index": {"Description": "Value of the vertebral body in the label map."},
    "name": {"Description": "Name of the vertebra."},
    "abbreviation": {"Description": "Its level."},
}
