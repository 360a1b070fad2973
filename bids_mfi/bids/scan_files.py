"""The files of a scan's results as bytes: tables, sidecars and the marker; writes nothing.

No file holds a date, so that two runs on the same data leave the same bytes.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bids_mfi import __version__
from bids_mfi.bids.columns import (
    LEVEL_COLUMNS,
    MUSCLE_COLUMNS,
    SLICE_COLUMNS,
    ResultColumn,
    describe_result_columns,
)
from bids_mfi.bids.formats import encode_json, encode_table, make_finite
from bids_mfi.bids.markers import seal
from bids_mfi.bids.names import ScanPaths, bids_uri, source_uri
from bids_mfi.bids.output_folder import PROGRAM, BundleFacts
from bids_mfi.errors import PairError
from bids_mfi.measure.levels import LevelMeasure
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.quality import QCFlag
from bids_mfi.measure.quantify import MuscleMeasure
from bids_mfi.measure.slices import SliceMeasure
from bids_mfi.muscles import LABEL_TABLE, VERTEBRA_TABLE
from bids_mfi.reading import open_regular_file

FF_METHOD = {
    "computed": (
        "Fat F = (IP - OOP) / 2 and water W = (IP + OOP) / 2 of the magnitude images, in-phase IP "
        "and out-of-phase OOP; fat fractions above 50 percent therefore appear below it."
    ),
    "scanner": "Fat F and water W are the images reconstructed by the scanner.",
}


@dataclass(frozen=True, slots=True)
class ScanRecord:
    """Where a scan's results come from; scalars only.

    Attributes
    ----------
    pair : DixonPair
    bids_dir : Path
        The dataset that holds the pair.
    bundle : BundleFacts
    fat_water : str
        ``computed`` or ``scanner``.
    fingerprint : str
        From :func:`identify_scan`; empty before.
    version : str
        Of the program that measured.
    images_sha256 : tuple of str
        From :func:`identify_scan`: of each image in the order of ``Sources``. The group level
        compares them, to notice a BIDS_DIR that holds other people.
    fast : bool
        Segmented with ``--fast``.
    engine : mapping of str to str
        What computed the labels, as ``Engine`` of the sidecars; empty before.
    """

    pair: DixonPair
    bids_dir: Path
    bundle: BundleFacts
    fat_water: str
    fingerprint: str = ""
    version: str = __version__
    images_sha256: tuple[str, ...] = ()
    fast: bool = False
    engine: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScanResults:
    """What is written for a scan.

    Attributes
    ----------
    dseg, ffmap : bytes
        Label map and fat-fraction map as ``.nii.gz``; in the map NaN is a voxel without signal.
    vertebrae : bytes or None
        Label map of the vertebral bodies; None if the weights label none.
    levels : tuple of LevelMeasure
        Measures by vertebral level, if the weights label vertebrae.
    slices : tuple of SliceMeasure
    measures : tuple of MuscleMeasure
    flags : tuple of QCFlag
    figures : tuple of (str, bytes)
        Name, letters and digits only, and PNG of each picture.
    """

    dseg: bytes
    ffmap: bytes
    measures: tuple[MuscleMeasure, ...]
    flags: tuple[QCFlag, ...]
    figures: tuple[tuple[str, bytes], ...] = ()
    vertebrae: bytes | None = None
    levels: tuple[LevelMeasure, ...] = ()
    slices: tuple[SliceMeasure, ...] = ()


def identify_scan(record: ScanRecord) -> ScanRecord:
    """Hash the images of a scan, and add the fingerprint of everything that determines its results.

    That is the content and names of its images, what the sidecars said, the bundle's identity,
    the version, the source of fat and water, and ``--fast``. The engine is not part of it: in
    float32, all engines give the same labels, but for 0.01 % of voxels at most.

    Raises
    ------
    PairError
        An image cannot be read.
    """
    pair = record.pair
    hashes = {role: hash_file(path) for role, path in list_images(pair, record.fat_water).items()}
    decisive: dict[str, Any] = {
        "version": __version__,
        "bundle": record.bundle.identity,
        "fat_water": record.fat_water,
        "entities": pair.entities,
        "echo_times_ms": pair.echo_times_ms,
        "field_strength_t": pair.field_strength_t,
        "images": {
            role: (source_uri(pair, role, record.bids_dir), sha256)
            for role, sha256 in hashes.items()
        },
    }
    if pair.scale_slopes:
        decisive["scale_slopes"] = pair.scale_slopes
    if record.fast:
        decisive["fast"] = True
    fingerprint = hashlib.sha256(encode_json(decisive)).hexdigest()
    return replace(record, fingerprint=fingerprint, images_sha256=tuple(hashes.values()))


def list_images(pair: DixonPair, fat_water: str) -> dict[str, Path]:
    """Find the images on which the results are based, by role."""
    images: dict[str, Path | None] = {"in_phase": pair.in_phase, "out_phase": pair.out_phase}
    if fat_water == "scanner":
        images |= {"water": pair.water, "fat": pair.fat}
    return {role: path for role, path in images.items() if path is not None}


def hash_file(path: Path) -> str:
    """sha256 of a file's content.

    Raises
    ------
    PairError
        It cannot be read.
    """
    try:
        with open_regular_file(path) as file:
            return hashlib.file_digest(cast("io.BufferedReader", file), "sha256").hexdigest()
    except OSError as error:
        raise PairError(
            f"{path}: cannot be read ({error.strerror}). Expected an image; check that it exists "
            "and that you may read it."
        ) from error


def check_unchanged(record: ScanRecord) -> None:
    """Check that a scan's images are still those that were hashed when the work began.

    Raises
    ------
    PairError
        An image was changed or exchanged meanwhile.
    """
    if identify_scan(record) != record:
        raise PairError(
            f"{record.pair.in_phase} or an image beside it was changed while the scan was being "
            "measured, so the results belong to no file. Run it again when nothing writes there."
        )


def encode_scan(paths: ScanPaths, record: ScanRecord, results: ScanResults) -> dict[Path, bytes]:
    """Encode the files of a scan, in the order of writing; writes nothing."""
    files = {paths.figure(name): png for name, png in results.figures} | {
        paths.dseg: results.dseg,
        paths.dseg_json: encode_json(describe_dseg(record)),
        paths.ffmap: results.ffmap,
        paths.ffmap_json: encode_json(describe_ffmap(record)),
        paths.slices_tsv: _encode_measures(SLICE_COLUMNS, results.slices),
        paths.slices_json: encode_json(describe_slices(record)),
        paths.mfi_tsv: _encode_measures(MUSCLE_COLUMNS, results.measures),
    }
    if results.vertebrae is not None:
        files |= _encode_levels(paths, record, results.vertebrae, results.levels)
    written = {path.name: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    marker = make_finite(describe_measures(record, results.flags)) | {"Files": written}
    marker["SourcesSHA256"] = list(record.images_sha256)
    return files | {paths.mfi_json: encode_json(seal(marker))}


def _encode_levels(
    paths: ScanPaths, record: ScanRecord, vertebrae: bytes, levels: Iterable[LevelMeasure]
) -> dict[Path, bytes]:
    return {
        paths.vertebrae: vertebrae,
        paths.vertebrae_json: encode_json(describe_vertebrae(record)),
        paths.levels_tsv: _encode_measures(LEVEL_COLUMNS, levels),
        paths.levels_json: encode_json(describe_levels(record)),
    }


def _encode_measures(
    columns: Sequence[ResultColumn],
    measures: Iterable[MuscleMeasure | LevelMeasure | SliceMeasure],
) -> bytes:
    names = [column.name for column in columns]
    return encode_table(names, ({n: getattr(one, n) for n in names} for one in measures))


def describe_dseg(record: ScanRecord) -> dict[str, Any]:
    """Sidecar of the label map."""
    return {
        "Description": "Labels of neck muscles, drawn by a dense V-Net; not verified by a person.",
        "LabelTable": f"bids::{LABEL_TABLE}",
        "Manual": False,
        "SpatialReference": bids_uri(record.pair.in_phase, record.bids_dir),
        **_describe_origin(record, ("in_phase", "out_phase")),
    }


def describe_vertebrae(record: ScanRecord) -> dict[str, Any]:
    """Sidecar of the label map of the vertebral bodies."""
    return describe_dseg(record) | {
        "Description": (
            "Labels of vertebral bodies, drawn by a dense V-Net; not verified by a person."
        ),
        "LabelTable": f"bids::{VERTEBRA_TABLE}",
    }


def describe_levels(record: ScanRecord) -> dict[str, Any]:
    """Sidecar of the table by vertebral level."""
    return _describe_table(
        record,
        "Fat and area of each muscle by vertebral level. n/a is not measurable; 0 means zero.",
        LEVEL_COLUMNS,
    )


def describe_slices(record: ScanRecord) -> dict[str, Any]:
    """Sidecar of the table by slice."""
    return _describe_table(
        record,
        "Fat and area of each muscle in each slice across the body's axis, from its first to its "
        "last, from the top down. A muscle without a labelled voxel has no row.",
        SLICE_COLUMNS,
    )


def _describe_table(
    record: ScanRecord, description: str, columns: Iterable[ResultColumn]
) -> dict[str, Any]:
    return {
        "Description": description,
        **describe_result_columns(columns),
        "FatWater": record.fat_water,
        **_describe_origin(record, tuple(list_images(record.pair, record.fat_water))),
    }


def describe_ffmap(record: ScanRecord) -> dict[str, Any]:
    """Sidecar of the fat-fraction map."""
    scanner = record.fat_water == "scanner"
    return {
        "Description": (
            f"Fat fraction 100 F / (F + W) of every voxel. {FF_METHOD[record.fat_water]} NaN where "
            "F + W is not above 0, that is where there is no signal; 0 means "
            f"{'no fat' if scanner else 'no fat, or only fat'}."
        ),
        "SkullStripped": False,
        "SpatialReference": bids_uri(record.pair.in_phase, record.bids_dir),
        "Units": "percent",
        **_describe_origin(record, ("water", "fat") if scanner else ("in_phase", "out_phase")),
    }


def describe_measures(record: ScanRecord, flags: Iterable[QCFlag]) -> dict[str, Any]:
    """Sidecar of the table: columns, origin, quality flags and the fingerprint of the scan."""
    in_phase_ms, out_phase_ms = record.pair.echo_times_ms
    return {
        "Description": "Fat and volume of each muscle. n/a is not measurable; 0 means zero.",
        **describe_result_columns(MUSCLE_COLUMNS),
        "EchoTimesMs": {"InPhase": in_phase_ms, "OutPhase": out_phase_ms},
        "FatWater": record.fat_water,
        "FatWaterMethod": FF_METHOD[record.fat_water],
        "Fingerprint": record.fingerprint,
        "MagneticFieldStrength": record.pair.field_strength_t,
        "QCFlags": [asdict(flag) for flag in flags],
        "RecognisedBy": record.pair.recognised_by,
        **_describe_origin(record, tuple(list_images(record.pair, record.fat_water))),
    }


def _describe_origin(record: ScanRecord, roles: tuple[str, ...]) -> dict[str, Any]:
    bundle = record.bundle
    return {
        "Bundle": {
            "Name": bundle.name,
            "Version": bundle.version,
            "SHA256": bundle.sha256,
            "Mirrored": bundle.mirrored,
            "Description": bundle.description,
        },
        **({"Engine": dict(record.engine)} if record.engine else {}),
        "Software": {"Name": PROGRAM, "Version": record.version},
        "Sources": [source_uri(record.pair, role, record.bids_dir) for role in roles],
    }
