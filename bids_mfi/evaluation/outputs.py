"""Files of an evaluation: names, columns and content."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from bids_mfi import __version__
from bids_mfi.bids.formats import encode_json, encode_table
from bids_mfi.bids.output_folder import PROGRAM
from bids_mfi.errors import OutputError
from bids_mfi.evaluation.groups import (
    FEWEST_SCANS,
    IN_PLANE_BOUNDS_MM,
    ISOTROPIC_BELOW,
    SLICE_BOUNDS_MM,
    Groups,
)
from bids_mfi.evaluation.scans import MAPS, METRICS, SURFACES, MuscleRow
from bids_mfi.reading import read_json
from bids_mfi.statistics.agreement import Agreement
from bids_mfi.statistics.summaries import MuscleAgreement, OverlapByGroup, SegmentationSummary
from bids_mfi.storage import remove_stale_partials, write_atomically

MARKERS = {"evaluate": "evaluation.json", "agreement": "agreement.json"}
PAGES = {"evaluate": "evaluation.html", "agreement": "agreement.html"}
FIGURES = {"mfi": "figure3_mfi.svg", "volume": "figure4_volume.svg"}
STATISTICS = tuple(field.name for field in fields(Agreement))
AGREEMENT_COLUMNS = ("muscle", "hemi", "measure", *STATISTICS, "n_missing", "n_unpaired")
COUNTS = ("tp", "fp", "fn", "tn")
MEASURED = ("mfi_percent", "volume_ml")

METRIC_DESCRIPTIONS = {
    "dice": "Sorensen-Dice index 2 TP / (2 TP + FP + FN)",
    "jaccard": "Jaccard index TP / (TP + FP + FN)",
    "conformity": "Conformity coefficient 1 - (FP + FN) / TP (Chang et al. 2009)",
    "tpr": "True positive rate TP / (TP + FN)",
    "tnr": "True negative rate TN / (TN + FP)",
    "ppv": "Positive predictive value TP / (TP + FP)",
    "volume_ratio": "Predicted by true volume (TP + FP) / (TP + FN)",
    "surface_mean_mm": "Mean distance of the two surfaces, millimetres",
    "hausdorff95_mm": "95th percentile of the distances of the two surfaces, millimetres",
}
STATISTIC_DESCRIPTIONS = {
    "n": "Pairs in which both values exist",
    "mean_gt": "Mean of the reference",
    "mean_cnn": "Mean of the values compared with it",
    "se_cnn": "Standard error of mean_cnn, SD / sqrt(n)",
    "bias": "Mean of the differences d, compared minus reference",
    "sd_diff": "Standard deviation (n - 1) of d",
    "loa_lower": "Lower limit of agreement, bias - 1.96 sd_diff",
    "loa_upper": "Upper limit of agreement, bias + 1.96 sd_diff",
    "mae": "Mean absolute error, mean |d|",
    "rmse": "Root mean squared error, sqrt(mean d^2)",
    "r": "Pearson correlation",
    "r2": "Square of r",
    "p_r": "Two-tailed p of r",
    "slope_origin": "Slope of the regression of reference on compared through the origin",
    "slope_origin_se": "Standard error of slope_origin",
    "slope": "Slope of the regression of reference on compared",
    "intercept": "Intercept of the regression of reference on compared",
    "icc": "ICC(2,1): two-way random, absolute agreement, single measure",
    "icc_lower": "Lower limit of its 95 % confidence interval (McGraw & Wong 1996)",
    "icc_upper": "Upper limit of its 95 % confidence interval",
    "icc_f": "F = msr / mse, against an ICC of 0; n/a where mse is 0",
    "icc_df1": "Numerator degrees of freedom of icc_f",
    "icc_df2": "Denominator degrees of freedom of icc_f",
    "icc_p": "p of icc_f",
    "msr": "Mean square of subjects",
    "msc": "Mean square of raters",
    "mse": "Mean square of error",
}
AGREEMENT_DESCRIPTIONS = {
    "muscle": "Abbreviation of the muscle, without its side",
    "hemi": "The participant's side: L is left, R is right",
    "measure": "mfi: muscle fat infiltration in percent; volume: in ml",
    **STATISTIC_DESCRIPTIONS,
    "n_missing": "Pairs left out because a value is n/a in one or both",
    "n_unpaired": "Values without a partner, because one input lacks the scan or the row",
}


def check_out_dir(out_dir: Path, command: str) -> None:
    """Refuse a folder that contains anything other than an earlier output of the same command.

    Raises
    ------
    OutputError
        It is a file, or a folder with other content.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise OutputError(f"{out_dir}: is a file, expected a new or empty folder.")
    if not out_dir.is_dir():
        return
    remove_stale_partials(out_dir)
    marker = out_dir / MARKERS[command]
    if any(out_dir.iterdir()) and _read_command(marker) != command:
        raise OutputError(
            f"{out_dir}: is not empty and holds no earlier output of {command} ({marker.name}). "
            "Expected a new or empty folder, or such an output; name another "
            "folder."
        )


def _read_command(marker: Path) -> str:
    try:
        content = read_json(marker)
        (maker,) = content["GeneratedBy"]
        return str(content["Command"]) if maker["Name"] == PROGRAM else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def write_outputs(out_dir: Path, files: Mapping[str, bytes]) -> None:
    """Write complete files; the first one is the marker that identifies the folder.

    Raises
    ------
    OutputError
        One cannot be written.
    """
    for name, content in files.items():
        write_atomically(out_dir / name, content)


def describe_inputs(command: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Origin of an output: program and inputs."""
    return {
        "Command": command,
        "GeneratedBy": [{"Name": PROGRAM, "Version": __version__}],
        **facts,
    }


def encode_agreement(found: Sequence[MuscleAgreement]) -> bytes:
    """Table of the agreement, one row per muscle, side and measure."""
    rows = [
        {
            "muscle": one.muscle,
            "hemi": one.hemi,
            "measure": one.measure,
            **asdict(one.agreement),
            **{name: _whole(getattr(one.agreement, name)) for name in ("icc_df1", "icc_df2")},
            "n_missing": one.n_missing,
            "n_unpaired": one.n_unpaired,
        }
        for one in found
    ]
    return encode_table(list(AGREEMENT_COLUMNS), rows)


def _whole(value: float) -> float | int:
    return int(value) if math.isfinite(value) else value


def describe_agreement(command: str, facts: Mapping[str, Any]) -> bytes:
    """Sidecar of the table of the agreement."""
    return encode_json(describe_inputs(command, facts) | _describe(AGREEMENT_DESCRIPTIONS))


def _describe(descriptions: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"Description": f"{text}."} for name, text in descriptions.items()}


def encode_segmentation(found: Iterable[SegmentationSummary]) -> bytes:
    """Table of the segmentation metrics over scans, one row per muscle and side."""
    columns = ["muscle", "hemi", "index", "scans", "missed", "invented"]
    names = [f"{metric}_{what}" for metric in (*METRICS, *SURFACES) for what in _SPREAD]
    rows = [
        {name: getattr(one, name) for name in columns}
        | {f"{m}_{what}": getattr(one.metric(m), what)
           for m in (*METRICS, *SURFACES) for what in _SPREAD}
        for one in found
    ]  # fmt: skip
    return encode_table([*columns, *names], rows)


_SPREAD = {
    "mean": "mean over scans",
    "sd": "standard deviation (n - 1)",
    "se": "standard error SD / sqrt(n)",
    "n": "scans in which it is defined",
}


def describe_segmentation() -> bytes:
    """Sidecar of the table of the segmentation metrics."""
    descriptions = {
        "muscle": AGREEMENT_DESCRIPTIONS["muscle"],
        "hemi": AGREEMENT_DESCRIPTIONS["hemi"],
        "index": "Value of the muscle in the label map",
        "scans": "Scans whose truth holds the muscle",
        "missed": "Of these, scans whose prediction has no voxel of it: Dice 0, MFI n/a",
        "invented": "Scans whose prediction holds the muscle and whose truth does not: Dice 0",
        **{
            f"{metric}_{what}": f"{text}: {word}"
            for metric, text in METRIC_DESCRIPTIONS.items()
            for what, word in _SPREAD.items()
        },
    }
    return encode_json(_describe(descriptions))


SCAN_COLUMNS = (
    "scan", "participant_id", "session_id", "index", "muscle", "hemi", *METRICS, *SURFACES, *COUNTS,
    *(f"{measured}_{name}" for measured in MEASURED for name in MAPS),
)  # fmt: skip


def encode_scans(rows: Iterable[MuscleRow]) -> bytes:
    """Table of everything measured, one row per scan and muscle."""
    values = [
        {
            "scan": row.scan,
            "participant_id": row.participant_id,
            "session_id": row.session_id,
            "index": row.muscle.index,
            "muscle": row.muscle.muscle,
            "hemi": row.muscle.hemi,
            **{name: row.metric(name) for name in (*METRICS, *SURFACES)},
            **{name: getattr(row.counts, name) for name in COUNTS},
            **{name: getattr(row, name) for name in SCAN_COLUMNS[-4:]},
        }
        for row in rows
    ]
    return encode_table(list(SCAN_COLUMNS), values)


def describe_scans() -> bytes:
    """Sidecar of the table of everything measured."""
    descriptions = {
        "scan": "Entities of the scan",
        "participant_id": "Participant",
        "session_id": "Session",
        "index": "Value of the muscle in the label map",
        "muscle": AGREEMENT_DESCRIPTIONS["muscle"],
        "hemi": AGREEMENT_DESCRIPTIONS["hemi"],
        **METRIC_DESCRIPTIONS,
        "tp": "Voxels with the label in both",
        "fp": "Voxels with the label in the prediction only",
        "fn": "Voxels with the label in the truth only",
        "tn": "Voxels of the volume with the label in neither",
        **{f"mfi_percent_{name}": f"MFI of the {name}, percent" for name in MAPS},
        **{f"volume_ml_{name}": f"Volume of the {name}, ml" for name in MAPS},
    }
    return encode_json(_describe(descriptions))


# --- groups of scans ---------------------------------------------------------------------------

GROUP_COLUMNS = tuple(field.name for field in fields(OverlapByGroup))
GROUPINGS = {
    "all": "all scans",
    "field_strength": "MagneticFieldStrength, else ImagingFrequency, of the in-phase image's "
    "sidecar, tesla, to two digits; n/a if unknown",
    "plane": "the body axis nearest to the thickest voxel axis of the true label map: axial S, "
    f"coronal A, sagittal R; isotropic if that axis is less than {ISOTROPIC_BELOW:g} times as "
    "thick as the finest; n/a if two axes are the thickest",
    "in_plane_size": "geometric mean of the voxel sizes of the two other axes, in bands up to "
    f"{IN_PLANE_BOUNDS_MM[0]:g} mm, up to {IN_PLANE_BOUNDS_MM[1]:g} mm and over that",
    "slice_thickness": "voxel size of the thickest axis (gaps included), in bands up to "
    f"{SLICE_BOUNDS_MM[0]:g} mm, up to {SLICE_BOUNDS_MM[1]:g} mm and over that",
    "mfi_quartile": "quarter of the scans by true MFI within each muscle and side; equal values "
    f"share one; muscles with fewer than {FEWEST_SCANS} scans with a true MFI, or the same MFI "
    "in all, are in none",
}
GROUP_DESCRIPTIONS = {
    "group": "Group of scans; for mfi_quartile of muscles of scans",
    "scans": "Scans in the group",
    "muscles": "Muscles and sides that the truth of one of these scans holds",
    "muscle_scans": "Muscles that the truth holds, summed over the scans",
    "missed": "Of these, muscles without a voxel in the prediction: Dice 0, MFI n/a",
    "dice_mean": "Mean Dice over muscle_scans",
    "lowest_muscle": "Muscle and side with the lowest mean Dice over the scans of the group",
    "lowest_dice_mean": "That mean",
    "mfi_pairs": "Those of muscle_scans that have an MFI of truth and prediction",
    "mfi_bias_points": "Mean of d over mfi_pairs, percentage points; d is prediction minus truth",
    "mfi_mae_points": "Mean of |d| over mfi_pairs, percentage points",
    "volume_ratio_mean": "Mean of predicted by true volume over muscle_scans",
}


def encode_groups(found: Iterable[OverlapByGroup]) -> bytes:
    """Table of the groups of scans, one row per group."""
    return encode_table(list(GROUP_COLUMNS), [asdict(one) for one in found])


def describe_groups(groups: Groups) -> bytes:
    """Sidecar of that table, with the traits by which each scan was grouped."""
    grouping = {"Description": "Grouping of the scans.", "Levels": GROUPINGS}
    facts = {
        "Notes": list(groups.notes),
        "Scans": {scan: asdict(known) for scan, known in groups.scans.items()},
    }
    return encode_json({"grouping": grouping, **_describe(GROUP_DESCRIPTIONS), **facts})
