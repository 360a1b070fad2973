"""Names, sidecars and tables of the derivatives; writes and reads them back.

Must not know how a number or a picture was made. Every file is written to a temporary name and
renamed, and holds no date, so that two runs on the same data leave the same bytes. The sidecar of
a scan's table is written last and marks the scan as complete.
"""

import csv
import hashlib
import io
import json
import math
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib import metadata
from itertools import count, takewhile
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_type_hints
from urllib.parse import quote, unquote

from bids_mfi import __version__
from bids_mfi.bids.markers import (
    ANEW,
    MARKER_KEYS,
    find_seal,
    read_marker,
    read_sidecar,
    seal,
)
from bids_mfi.errors import DatasetError, OutputError, PairError
from bids_mfi.measure.dixon import ENTITY_ORDER, Contrast, DixonPair
from bids_mfi.measure.levels import LevelMeasure
from bids_mfi.measure.quality import QCFlag
from bids_mfi.measure.quantify import MuscleMeasure
from bids_mfi.muscles import LABEL_TABLE, VERTEBRA_TABLE, MuscleTable
from bids_mfi.options import RunOptions
from bids_mfi.reading import open_regular_file, read_json, read_regular_file
from bids_mfi.storage import explain_os_error, remove_stale_partials, write_atomically

PROGRAM = "bids_mfi"
BIDS_VERSION = "1.11.1"
MISSING = "n/a"
EDITED = "edited"  # folder in OUTPUT_DIR
MOST_IMAGE_BYTES = 2**31
PREFERRED = "_seg-muscle_"  # in the name of a label map, before those of other segmentations

# Converters put hyphens and dots into labels; file managers put blanks and brackets into copies.
_SCAN_NAME = re.compile(
    r"sub-[0-9A-Za-z+]+(_[0-9A-Za-z]+(-[^\s_~()\[\]{},;'\"]+)?)*_[0-9A-Za-z]+(\.[0-9A-Za-z]+)+"
)

Measure = TypeVar("Measure", MuscleMeasure, LevelMeasure)

# These come after all other entities.
ENTITIES_AFTER_SEG = ("seg", "res", "den", "label", "desc")

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

FF_METHOD = {
    "computed": (
        "Fat F = (IP - OOP) / 2 and water W = (IP + OOP) / 2 of the magnitude images, in-phase IP "
        "and out-of-phase OOP; fat fractions above 50 percent therefore appear below it."
    ),
    "scanner": "Fat F and water W are the images reconstructed by the scanner.",
}


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What the outputs say about the weights.

    Attributes
    ----------
    name, version, sha256 : str
        Identity of the bundle.
    description : str
        One or two sentences: what it was trained on, how far it can be trusted.
    identity : str
        Of the weights and of how images are given to them; decides whether results are current.
    mirrored : bool
        Whether the mirror image counts too, which the sha256 of the weights does not tell.
    """

    name: str
    version: str
    sha256: str
    description: str = ""
    identity: str = ""
    mirrored: bool = False


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
        From :func:`fingerprint_scan`.
    version : str
        Of the program that measured.
    """

    pair: DixonPair
    bids_dir: Path
    bundle: BundleFacts
    fat_water: str
    fingerprint: str = ""
    version: str = __version__


@dataclass(frozen=True, slots=True)
class ScanResults:
    """What is written of a scan.

    Attributes
    ----------
    dseg, ffmap : bytes
        Label map and fat-fraction map as ``.nii.gz``; in the map NaN is a voxel without signal.
    vertebrae : bytes or None
        Label map of the vertebral bodies; None if the weights label none.
    levels : tuple of LevelMeasure
        Measures by vertebral level, if the weights label vertebrae.
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


@dataclass(frozen=True, slots=True)
class ScanPaths:
    """Where the files of a scan go.

    Attributes
    ----------
    stem : str
        Entities of the scan in BIDS order, for example ``sub-01_ses-01_acq-dixon``.
    dseg, dseg_json, ffmap, ffmap_json, mfi_tsv, mfi_json : Path
        ``mfi_json`` is written last and marks the scan as complete.
    vertebrae, vertebrae_json, levels_tsv, levels_json : Path
        Written where the weights label vertebrae.
    figures : Path
        Folder of the participant's pictures.
    """

    stem: str
    dseg: Path
    dseg_json: Path
    ffmap: Path
    ffmap_json: Path
    mfi_tsv: Path
    mfi_json: Path
    vertebrae: Path
    vertebrae_json: Path
    levels_tsv: Path
    levels_json: Path
    figures: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The six files of every scan, the marker last."""
        return (
            self.dseg, self.dseg_json, self.ffmap, self.ffmap_json, self.mfi_tsv, self.mfi_json
        )  # fmt: skip

    @property
    def level_files(self) -> tuple[Path, ...]:
        """The files of a scan of which vertebrae are labelled too."""
        return self.vertebrae, self.vertebrae_json, self.levels_tsv, self.levels_json

    @property
    def label_maps(self) -> tuple[Path, Path]:
        """The files that a person may edit."""
        return self.dseg, self.vertebrae

    def figure(self, name: str) -> Path:
        """Path of the picture of this name."""
        return self.figures / f"{self.stem}_desc-{name}_figure.png"


# --- names -------------------------------------------------------------------------------------


def prefer_muscle_maps(paths: Sequence[Path]) -> list[Path]:
    """Label maps of one scan: those named ``seg-muscle`` if there are any, else all.

    >>> maps = [Path("sub-1_seg-muscle_dseg.nii"), Path("sub-1_seg-bone_dseg.nii")]
    >>> [path.name for path in prefer_muscle_maps(maps)]
    ['sub-1_seg-muscle_dseg.nii']
    """
    return [path for path in paths if PREFERRED in path.name] or list(paths)


def derivative_stem(entities: Iterable[tuple[str, str]]) -> str:
    """Entities joined in BIDS order; ``acq-dixon`` is put where there is no ``acq``.

    Entities that BIDS does not know come last of those before ``seg``.

    Examples
    --------
    >>> derivative_stem((("sub", "01"), ("run", "2"), ("ses", "a")))
    'sub-01_ses-a_acq-dixon_run-2'
    """
    known = {"acq": "dixon", **dict(entities)}
    order = {key: rank for rank, key in enumerate(ENTITY_ORDER)}
    after = {key: len(order) + 1 + rank for rank, key in enumerate(ENTITIES_AFTER_SEG)}
    ranks = order | after
    keys = sorted(known, key=lambda key: (ranks.get(key, len(order)), key))
    return "_".join(f"{key}-{known[key]}" for key in keys)


def derivative_name(stem: str, ending: str) -> str:
    """Join stem and ending; ``seg`` goes before the stem's ``res``, ``den`` and ``desc``.

    Examples
    --------
    >>> derivative_name("sub-01_acq-dixon_desc-a", "seg-muscle_dseg.nii.gz")
    'sub-01_acq-dixon_seg-muscle_desc-a_dseg.nii.gz'
    """
    parts = stem.split("_")
    *entities, suffix = ending.split("_")
    late = [part for part in parts if part.split("-")[0] in ENTITIES_AFTER_SEG]
    early = [part for part in parts if part not in late]
    return "_".join([*early, *entities, *late, suffix])


def scan_paths(output_dir: Path, pair: DixonPair) -> ScanPaths:
    """Where the files of a scan go.

    Examples
    --------
    >>> pair = DixonPair(Path(), Path(), (("sub", "01"), ("acq", "dixon")), "")
    >>> scan_paths(Path("out"), pair).mfi_tsv.as_posix()
    'out/sub-01/anat/sub-01_acq-dixon_seg-muscle_mfi.tsv'
    """
    stem = derivative_stem(pair.entities)
    participant = output_dir / f"sub-{pair.participant}"
    folder = (participant / f"ses-{pair.session}" if pair.session else participant) / "anat"

    def path(ending: str) -> Path:
        return folder / derivative_name(stem, ending)

    return ScanPaths(
        stem=stem,
        dseg=path("seg-muscle_dseg.nii.gz"),
        dseg_json=path("seg-muscle_dseg.json"),
        ffmap=path("FFmap.nii.gz"),
        ffmap_json=path("FFmap.json"),
        mfi_tsv=path("seg-muscle_mfi.tsv"),
        mfi_json=path("seg-muscle_mfi.json"),
        vertebrae=path("seg-vertebrae_dseg.nii.gz"),
        vertebrae_json=path("seg-vertebrae_dseg.json"),
        levels_tsv=path("seg-muscle_levels.tsv"),
        levels_json=path("seg-muscle_levels.json"),
        figures=participant / "figures",
    )


def page_path(output_dir: Path, participant: str, session: str | None = None) -> Path:
    """Path of the report of a participant, or of one session.

    Examples
    --------
    >>> page_path(Path("out"), "01", "a").as_posix()
    'out/sub-01_ses-a.html'
    """
    name = f"sub-{participant}_ses-{session}" if session else f"sub-{participant}"
    return output_dir / f"{name}.html"


def bids_uri(path: Path, bids_dir: Path) -> str:
    """BIDS URI of a file of the raw dataset.

    Examples
    --------
    >>> bids_uri(Path("/d/sub-01/anat/sub-01_T1w.nii.gz"), Path("/d"))
    'bids:raw:sub-01/anat/sub-01_T1w.nii.gz'
    """
    relative = os.path.relpath(path, bids_dir).replace(os.sep, "/")
    return f"bids:raw:{quote(relative)}"


def source_uri(pair: DixonPair, role: str, bids_dir: Path) -> str:
    """BIDS URI of an image of a scan; ``#volume=2`` follows for the second volume of a 4-D file.

    Examples
    --------
    >>> pair = DixonPair(Path("/d/a b.nii"), Path("/d/a b.nii"), (), "", out_phase_volume=1)
    >>> source_uri(pair, "in_phase", Path("/d")), source_uri(pair, "out_phase", Path("/d"))
    ('bids:raw:a%20b.nii', 'bids:raw:a%20b.nii#volume=2')
    """
    volume = pair.volume_of(Contrast(role))
    uri = bids_uri(getattr(pair, role), bids_dir)
    return uri if volume is None else f"{uri}#volume={volume + 1}"


def split_source(uri: str) -> tuple[str, int | None]:
    """Part the URI of a source from its volume, counted from 0.

    Examples
    --------
    >>> split_source("bids:raw:a%20b.nii#volume=2"), split_source("bids:raw:a%23b.nii")
    (('bids:raw:a%20b.nii', 1), ('bids:raw:a%23b.nii', None))
    """
    file, _, number = uri.partition("#volume=")
    return file, int(number) - 1 if re.fullmatch("[1-9][0-9]{0,3}", number) else None


# --- the dataset -------------------------------------------------------------------------------


def check_output_dir(bids_dir: Path, output_dir: Path) -> None:
    """Refuse an OUTPUT_DIR in which results would mix with other data; touches nothing.

    Raises
    ------
    OutputError
        It is BIDS_DIR, lies in one of its ``sub-`` folders, is a file, or holds a dataset that
        another program made.
    """
    raw, output = bids_dir.resolve(), output_dir.resolve()
    if output == raw:
        raise OutputError(
            f"{output_dir}: OUTPUT_DIR is BIDS_DIR itself, expected a folder of its own, for "
            f"example {bids_dir / 'derivatives' / PROGRAM}."
        )
    if output.is_relative_to(raw) and output.relative_to(raw).parts[0].startswith("sub-"):
        raise OutputError(
            f"{output_dir}: OUTPUT_DIR lies among the images of a participant, expected a folder "
            f"of its own, for example {bids_dir / 'derivatives' / PROGRAM}."
        )
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output_dir}: is a file, expected a folder; name another OUTPUT_DIR.")
    _check_owner(output_dir / "dataset_description.json")


def _check_owner(path: Path) -> dict[str, Any]:
    """Read the description found in OUTPUT_DIR, empty if there is none."""
    if not path.exists():
        return {}
    try:
        found = read_json(path)
        generators = [str(entry["Name"]) for entry in found.get("GeneratedBy", [])]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutputError(
            f"{path}: cannot be read as a dataset description ({_first_line(error)}). Remove it if "
            "the folder holds nothing but results of this program, or choose another OUTPUT_DIR."
        ) from error
    if generators[:1] != [PROGRAM]:
        maker = generators[0] if generators else "no program (no GeneratedBy: raw data?)"
        raise OutputError(
            f"{path}: this dataset was made by {maker}, and would be overwritten. Expected an "
            f"empty folder or an earlier output of {PROGRAM}; choose another OUTPUT_DIR."
        )
    return dict(found)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def write_dataset_files(
    output_dir: Path,
    bids_dir: Path,
    table: MuscleTable,
    bundle: BundleFacts,
    vertebrae: Sequence[str] = (),
) -> None:
    """Write the files that describe the whole output; many jobs may do so at the same time.

    What a user changed stays: other keys of ``dataset_description.json``, further lines of
    ``.bidsignore``, a ``README.md`` or ``CITATION.md`` of one's own.

    Raises
    ------
    OutputError
        As :func:`check_output_dir`, or the folder holds labels with other numbers, or cannot be
        written.
    """
    check_output_dir(bids_dir, output_dir)
    remove_stale_partials(output_dir)
    check_same_labels(output_dir, table)
    labels = encode_label_table(table)
    description = output_dir / "dataset_description.json"
    described = _check_owner(description) | describe_dataset(output_dir, bids_dir, bundle)
    described.setdefault("Name", "Muscle fat infiltration of the neck")
    _write_if_changed(description, encode_json(described))
    _write_if_changed(output_dir / LABEL_TABLE, labels)
    columns = {"Description": "Labels of the muscles.", **LABEL_COLUMN_DESCRIPTIONS}
    _write_if_changed(output_dir / LABEL_TABLE.replace(".tsv", ".json"), encode_json(columns))
    if vertebrae:
        _write_if_changed(output_dir / VERTEBRA_TABLE, encode_vertebra_table(vertebrae))
        sidecar = output_dir / VERTEBRA_TABLE.replace(".tsv", ".json")
        _write_if_changed(sidecar, encode_json(VERTEBRA_COLUMN_DESCRIPTIONS))
    _write_ignore_list(output_dir / ".bidsignore")
    for name in ("README.md", "CITATION.md"):
        _write_text_of_ours(output_dir / name)


def describe_dataset(output_dir: Path, bids_dir: Path, bundle: BundleFacts) -> dict[str, Any]:
    """Make the keys of ``dataset_description.json`` that belong to the program."""
    raw = os.path.relpath(bids_dir.resolve(), output_dir.resolve()).replace(os.sep, "/")
    source: dict[str, str] = {"URL": quote(raw)}
    doi = _read_doi(bids_dir / "dataset_description.json")
    if doi:
        source["DOI"] = doi
    return {
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "DatasetLinks": {"raw": quote(raw)},
        "GeneratedBy": [
            {
                "Name": PROGRAM,
                "Version": __version__,
                "Description": "Labels of neck muscles on Dixon MRI, their fat and volume.",
            },
            {
                "Name": bundle.name,
                "Version": bundle.version,
                "Description": f"Weights, sha256 {bundle.sha256}. {bundle.description}".strip(),
            },
        ],
        "HowToAcknowledge": "See CITATION.md.",
        "SourceDatasets": [source],
    }


def _read_doi(path: Path) -> str | None:
    try:
        doi = read_json(path).get("DatasetDOI")
    except (OSError, ValueError, AttributeError):
        return None
    return doi if isinstance(doi, str) and doi else None


def encode_label_table(table: MuscleTable) -> bytes:
    """BIDS ``dseg.tsv`` of the label map."""
    rows = [
        {
            "index": muscle.index,
            "name": muscle.name,
            "abbreviation": muscle.abbreviation,
            "color": muscle.color,
            "muscle": muscle.muscle,
            "hemi": muscle.hemi,
            "levels": muscle.levels,
        }
        for muscle in table
    ]
    return encode_table(list(LABEL_COLUMN_DESCRIPTIONS), rows)


def encode_vertebra_table(vertebrae: Sequence[str]) -> bytes:
    r"""BIDS ``dseg.tsv`` of the label map of the vertebral bodies.

    >>> encode_vertebra_table(("C2", "C3"))
    b'index\tname\tabbreviation\n1\tvertebra_C2\tC2\n2\tvertebra_C3\tC3\n'
    """
    rows = [
        {"index": index, "name": f"vertebra_{name}", "abbreviation": name}
        for index, name in enumerate(vertebrae, start=1)
    ]
    columns = [name for name in VERTEBRA_COLUMN_DESCRIPTIONS if name != "Description"]
    return encode_table(columns, rows)


def check_same_labels(output_dir: Path, table: MuscleTable) -> None:
    """Refuse to mix label maps in which a number means different muscles.

    Raises
    ------
    OutputError
    """
    path = output_dir / LABEL_TABLE
    try:
        found = _names_of_labels(read_regular_file(path).decode())
    except (OSError, ValueError, KeyError, csv.Error):
        return
    expected = _names_of_labels(encode_label_table(table).decode())
    if found and found != expected:
        raise OutputError(
            f"{path}: an earlier run used weights whose labels are numbered differently "
            f"({len(found)} labels, now {len(expected)}). Choose another OUTPUT_DIR."
        )


def _names_of_labels(text: str) -> dict[str, str]:
    return {row["index"]: row["name"] for row in csv.DictReader(io.StringIO(text), delimiter="\t")}


def _write_ignore_list(path: Path) -> None:
    wanted = _text_of_ours("bidsignore").splitlines()
    found = _read_if_there(path).decode(errors="replace").splitlines()
    lines = [*found, *(line for line in wanted if line not in found)]
    _write_if_changed(path, ("\n".join(lines) + "\n").encode())


def _write_text_of_ours(path: Path) -> None:
    text = _text_of_ours(path.name)
    found = _read_if_there(path).decode(errors="replace")
    if not found or found.splitlines()[0] == text.splitlines()[0]:
        _write_if_changed(path, text.encode())


def _text_of_ours(name: str) -> str:
    return (Path(__file__).parents[1] / "data" / "derivatives" / name).read_text(encoding="utf-8")


def _write_if_changed(path: Path, data: bytes) -> None:
    if _read_if_there(path) != data:
        write_atomically(path, data)


def _read_if_there(path: Path) -> bytes:
    try:
        return read_regular_file(path)
    except OSError:
        return b""


# --- a scan ------------------------------------------------------------------------------------


def fingerprint_scan(pair: DixonPair, bids_dir: Path, bundle_identity: str, fat_water: str) -> str:
    """sha256 over all that decides the results of a scan.

    The content and names of its images, what the sidecars said, the bundle's identity, the
    version and how fat and water are had.

    Raises
    ------
    PairError
        An image cannot be read.
    """
    decisive: dict[str, Any] = {
        "version": __version__,
        "bundle": bundle_identity,
        "fat_water": fat_water,
        "entities": pair.entities,
        "echo_times_ms": pair.echo_times_ms,
        "field_strength_t": pair.field_strength_t,
        "images": {
            role: (source_uri(pair, role, bids_dir), hash_file(path))
            for role, path in _images(pair, fat_water).items()
        },
    }
    if pair.scale_slopes:
        decisive["scale_slopes"] = pair.scale_slopes
    return hashlib.sha256(encode_json(decisive)).hexdigest()


def _images(pair: DixonPair, fat_water: str) -> dict[str, Path]:
    """Find the images on which the results rest, by role."""
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
            f"{path}: cannot be read ({error.strerror}). Expected an image; check that it is there "
            "and that you may read it."
        ) from error


def scan_state(
    paths: ScanPaths, fingerprint: str
) -> Literal["missing", "current", "different", "altered", "unsealed"]:
    """Whether a scan's results are there, and are those that would be computed now.

    ``altered``: a file is not what was written, because a disk or a person changed it.
    ``unsealed``: the marker has no checksum of its own, so that this is not known of it.
    """
    try:
        marker = read_sidecar(paths.mfi_json)
    except DatasetError:
        return "missing"
    if not MARKER_KEYS & marker.keys():
        return "missing"
    if find_altered(paths):
        return "altered"
    if not all(_find_file(paths, name).is_file() for name in marker["Files"]):
        return "missing"
    if marker["Fingerprint"] != fingerprint:
        return "different"
    return "current" if find_seal(marker) == "whole" else "unsealed"


def find_altered(paths: ScanPaths) -> list[Path]:
    """Find the files of a scan that are not what was written: the muscles' label map first.

    Where the marker itself was changed it is the only one, as it vouches for the others. Files
    that are missing are not among them.

    Raises
    ------
    PairError
        A file cannot be read.
    """
    try:
        written = read_marker(paths.mfi_json)["Files"]
    except DatasetError:
        return [paths.mfi_json]
    files = {_find_file(paths, name): mark for name, mark in written.items()}
    altered = [p for p, mark in files.items() if p.is_file() and hash_file(p) != mark]
    return sorted(altered, key=lambda path: (path != paths.dseg, path))


def explain_altered(paths: ScanPaths) -> str:
    """Say which files of a scan were changed since they were written, and what can be done.

    Empty if none was.

    Raises
    ------
    PairError
        A file cannot be read.
    """
    altered = find_altered(paths)
    if not altered:
        return ""
    names = ", ".join([str(altered[0]), *(path.name for path in altered[1:])])
    found = (
        f"{names}: edited, or damaged, after this program wrote it. The results stay as they are"
    )
    if not {*paths.label_maps}.isdisjoint(altered):
        return (
            f"{found}, but the tables are those of the label map before. An edited map cannot be "
            "measured yet; put the earlier map back, or give --overwrite to segment the scan "
            f"again, which keeps a copy of the edited map in OUTPUT_DIR/{EDITED}."
        )
    return f"{found}. Give --overwrite to replace them, or choose another OUTPUT_DIR."


def _find_file(paths: ScanPaths, name: str) -> Path:
    """Find a file of a scan by the name in the marker."""
    folder = paths.figures if name.endswith(".png") else paths.mfi_json.parent
    return folder / Path(name).name


def check_unchanged(fingerprint: str, record: ScanRecord) -> None:
    """Check that a scan's images are still those on which the work began.

    Raises
    ------
    PairError
        An image was changed or exchanged meanwhile.
    """
    now = fingerprint_record(record)
    if now != fingerprint:
        raise PairError(
            f"{record.pair.in_phase} or an image beside it was changed while the scan was being "
            "measured, so the results belong to no file. Run it again when nothing writes there."
        )


def fingerprint_record(record: ScanRecord) -> str:
    """Make the fingerprint of what a record describes, see :func:`fingerprint_scan`."""
    return fingerprint_scan(record.pair, record.bids_dir, record.bundle.identity, record.fat_water)


def save_scan(output_dir: Path, record: ScanRecord, results: ScanResults) -> ScanPaths:
    """Write the results of a scan; the earlier marker goes first and the new one comes last.

    A label map that somebody edited is copied to :func:`edited_folders` before.

    Raises
    ------
    OutputError
        A file cannot be written; the scan then counts as missing.
    """
    paths = scan_paths(output_dir, record.pair)
    files = encode_scan(paths, record, results)
    for folder in {path.parent for path in files}:
        remove_stale_partials(folder, [path.name for path in files])
    ours = [path for path in paths.label_maps if _is_label_map_ours(paths, path)]
    for path in paths.label_maps:
        if path not in ours:
            _keep_edited_map(output_dir, path, files.get(path, b""))
    # Without its marker a label map of an earlier version would look like an edited one.
    former = [path for path in paths.level_files if path not in files]
    for path in (paths.mfi_json, *ours, *former):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise explain_os_error(path, error) from error
    for path, data in files.items():
        write_atomically(path, data)
    return paths


def _is_label_map_ours(paths: ScanPaths, path: Path) -> bool:
    """Whether the marker vouches for a label map that is there."""
    try:
        mark = read_marker(paths.mfi_json)["Files"].get(path.name)
        return path.is_file() and hash_file(path) == mark
    except (DatasetError, PairError):
        return False


def edited_folders(output_dir: Path) -> Iterator[Path]:
    """Folders for label maps that somebody edited, each laid out like OUTPUT_DIR.

    Examples
    --------
    >>> folders = edited_folders(Path("out"))
    >>> next(folders).as_posix(), next(folders).as_posix()
    ('out/edited', 'out/edited-2')
    """
    yield output_dir / EDITED
    yield from (output_dir / f"{EDITED}-{number}" for number in count(2))


def find_edited_copies(output_dir: Path, paths: ScanPaths) -> list[Path]:
    """Find the copies that were made of edited label maps of a scan."""
    places = [path.relative_to(output_dir) for path in paths.label_maps]
    return [
        copy
        for place in places
        for copy in takewhile(Path.exists, (f / place for f in edited_folders(output_dir)))
    ]


def _keep_edited_map(output_dir: Path, dseg: Path, new: bytes) -> None:
    """Copy a label map that the new one would replace, unless it is the same."""
    if not dseg.is_file():
        return
    try:
        found = read_regular_file(dseg, MOST_IMAGE_BYTES)
    except OSError as error:
        raise explain_os_error(dseg, error) from error
    place = dseg.relative_to(output_dir)
    for folder in edited_folders(output_dir):
        if found == new or _read_if_there(folder / place) == found:
            return
        if not (folder / place).exists():
            write_atomically(folder / place, found)
            return


def encode_scan(paths: ScanPaths, record: ScanRecord, results: ScanResults) -> dict[Path, bytes]:
    """Encode the files of a scan, in the order of writing; writes nothing."""
    columns = [field.name for field in fields(MuscleMeasure)]
    rows = [{name: getattr(measure, name) for name in columns} for measure in results.measures]
    files = {paths.figure(name): png for name, png in results.figures} | {
        paths.dseg: results.dseg,
        paths.dseg_json: encode_json(describe_dseg(record)),
        paths.ffmap: results.ffmap,
        paths.ffmap_json: encode_json(describe_ffmap(record)),
        paths.mfi_tsv: encode_table(columns, rows),
    }
    if results.vertebrae is not None:
        files |= _encode_levels(paths, record, results.vertebrae, results.levels)
    written = {path.name: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    marker = _finite(describe_table(record, results.flags)) | {"Files": written}
    marker["SourcesSHA256"] = _hash_sources(record)
    return files | {paths.mfi_json: encode_json(seal(marker))}


def _encode_levels(
    paths: ScanPaths, record: ScanRecord, vertebrae: bytes, levels: Iterable[LevelMeasure]
) -> dict[Path, bytes]:
    columns = [field.name for field in fields(LevelMeasure)]
    rows = [{name: getattr(measure, name) for name in columns} for measure in levels]
    return {
        paths.vertebrae: vertebrae,
        paths.vertebrae_json: encode_json(describe_vertebrae(record)),
        paths.levels_tsv: encode_table(columns, rows),
        paths.levels_json: encode_json(describe_levels(record)),
    }


def _hash_sources(record: ScanRecord) -> list[str | None]:
    """sha256 of each image in the order of ``Sources``, None where it cannot be read.

    The group level compares them, to notice a BIDS_DIR that holds other people.
    """
    hashes: list[str | None] = []
    for path in _images(record.pair, record.fat_water).values():
        try:
            hashes.append(hash_file(path))
        except PairError:
            hashes.append(None)
    return hashes


def find_markers(output_dir: Path, participant: str) -> tuple[list[Path], list[Path]]:
    """Find the markers of all complete scans of a participant.

    Returns
    -------
    markers, strays : list of Path
        A stray has the ending of a marker, but not the place and name that the program gives to
        one, for example a copy that a file manager or a synchronisation made.
    """
    folder = output_dir / f"sub-{participant}"
    found = sorted({*folder.glob("anat/*_mfi.json"), *folder.glob("ses-*/anat/*_mfi.json")})
    markers = [path for path in found if _is_in_place(path, output_dir)]
    return markers, [path for path in found if path not in markers]


def _is_in_place(marker: Path, output_dir: Path) -> bool:
    """Whether a marker lies where the program would write it."""
    entities = parse_entities(marker.name)
    if not is_scan_name(marker.name) or len(dict(entities)) != len(entities):
        return False
    return scan_paths(output_dir, DixonPair(Path(), Path(), entities, "")).mfi_json == marker


def is_scan_name(name: str) -> bool:
    """Whether a file's name is made of BIDS entities, the participant's first, and a suffix.

    Examples
    --------
    >>> is_scan_name("sub-01_acq-dixon_seg-muscle_mfi.json")
    True
    >>> is_scan_name("Copy of sub-01_mfi.json"), is_scan_name("sub-01_acq-dixon (1)_mfi.json")
    (False, False)
    """
    return _SCAN_NAME.fullmatch(name) is not None


def read_record(marker: Path, bids_dir: Path) -> ScanRecord:
    """Read back from a marker where a scan's results came from.

    Raises
    ------
    DatasetError
        It is missing, damaged, changed, or was not written by :func:`save_scan`.
    """
    found = read_marker(marker)
    bundle, times = found["Bundle"], found["EchoTimesMs"]
    parted = [split_source(uri) for uri in found["Sources"]]
    sources = [bids_dir / unquote(uri.removeprefix("bids:raw:")) for uri, _ in parted]
    in_phase, out_phase, *scanner = sources
    water, fat = scanner or (None, None)
    volumes = [*(volume for _, volume in parted), None, None]
    pair = DixonPair(
        in_phase=in_phase,
        out_phase=out_phase,
        entities=parse_entities(marker.name),
        recognised_by=found["RecognisedBy"],
        water=water,
        fat=fat,
        echo_times_ms=(times["InPhase"], times["OutPhase"]),
        field_strength_t=found["MagneticFieldStrength"],
        in_phase_volume=volumes[0],
        out_phase_volume=volumes[1],
        water_volume=volumes[2],
        fat_volume=volumes[3],
    )
    facts = BundleFacts(
        bundle["Name"],
        bundle["Version"],
        bundle["SHA256"],
        bundle["Description"],
        mirrored=bundle.get("Mirrored", False),
    )
    version = found["Software"]["Version"]
    return ScanRecord(pair, bids_dir, facts, found["FatWater"], found["Fingerprint"], version)


def parse_entities(name: str) -> tuple[tuple[str, str], ...]:
    """Read the entities of a scan from the name of one of its files.

    Examples
    --------
    >>> parse_entities("sub-01_acq-dixon_seg-muscle_mfi.json")
    (('sub', '01'), ('acq', 'dixon'))
    """
    parts = (part.partition("-") for part in name.split("_")[:-1])
    return tuple((key, value) for key, _, value in parts if key != "seg")


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
    return {
        "Description": (
            "Fat and area of each muscle by vertebral level. n/a is not measurable; 0 means zero."
        ),
        **LEVEL_COLUMN_DESCRIPTIONS,
        "FatWater": record.fat_water,
        **_describe_origin(record, tuple(_images(record.pair, record.fat_water))),
    }


def describe_ffmap(record: ScanRecord) -> dict[str, Any]:
    """Sidecar of the fat-fraction map."""
    scanner = record.fat_water == "scanner"
    return {
        "Description": (
            f"Fat fraction 100 F / (F + W) of every voxel. {FF_METHOD[record.fat_water]} NaN where "
            "F + W is not above 0, that is where there is no signal; 0 means "
            f"{'no fat' if scanner else 'no fat, or nothing but fat'}."
        ),
        "SkullStripped": False,
        "SpatialReference": bids_uri(record.pair.in_phase, record.bids_dir),
        "Units": "percent",
        **_describe_origin(record, ("water", "fat") if scanner else ("in_phase", "out_phase")),
    }


def describe_table(record: ScanRecord, flags: Iterable[QCFlag]) -> dict[str, Any]:
    """Sidecar of the table: columns, origin, quality flags and the fingerprint of the scan."""
    in_phase_ms, out_phase_ms = record.pair.echo_times_ms
    return {
        "Description": "Fat and volume of each muscle. n/a is not measurable; 0 means zero.",
        **COLUMN_DESCRIPTIONS,
        "EchoTimesMs": {"InPhase": in_phase_ms, "OutPhase": out_phase_ms},
        "FatWater": record.fat_water,
        "FatWaterMethod": FF_METHOD[record.fat_water],
        "Fingerprint": record.fingerprint,
        "MagneticFieldStrength": record.pair.field_strength_t,
        "QCFlags": [asdict(flag) for flag in flags],
        "RecognisedBy": record.pair.recognised_by,
        **_describe_origin(record, tuple(_images(record.pair, record.fat_water))),
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
        "Software": {"Name": PROGRAM, "Version": record.version},
        "Sources": [source_uri(record.pair, role, record.bids_dir) for role in roles],
    }


# --- runs --------------------------------------------------------------------------------------


def write_run_log(
    output_dir: Path, options: RunOptions, packages: Iterable[str], outcome: Mapping[str, Any]
) -> None:
    """Write every option and version of a run, and what came of it, to ``logs/``.

    The only file with a date; its name is new for every run.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    ended = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    record = {
        "options": {key: _plain(value) for key, value in asdict(options).items()},
        "bids_mfi": __version__,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        **outcome,
    }
    name = f"run-{ended}-{os.getpid()}.json"
    write_atomically(output_dir / "logs" / name, encode_json(record))


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


# --- formats -----------------------------------------------------------------------------------


def encode_json(content: dict[str, Any]) -> bytes:
    r"""Encode JSON with sorted keys; numbers that are not finite become null.

    Examples
    --------
    >>> encode_json({"b": 1, "a": float("nan")})
    b'{\n  "a": null,\n  "b": 1\n}\n'
    """
    text = json.dumps(
        _finite(content), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return (text + "\n").encode()


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float):
        return float(content) if math.isfinite(content) else None
    return content


def encode_table(columns: list[str], rows: Iterable[dict[str, Any]]) -> bytes:
    r"""Encode tab-separated text; floats keep every digit, not finite ones become ``n/a``.

    Examples
    --------
    >>> encode_table(["a", "b"], [{"a": 0.1, "b": float("nan")}])
    b'a\tb\n0.1\tn/a\n'
    """
    lines = [columns, *([_format_cell(row[name]) for name in columns] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def _format_cell(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else MISSING
    return re.sub(r"[\t\r\n]+", " ", str(value)) or MISSING


def read_measures(path: Path) -> list[MuscleMeasure]:
    """Read a ``*_mfi.tsv`` back; ``n/a`` becomes NaN.

    Raises
    ------
    DatasetError
        It is missing, lacks a column, or a value is not of the column's kind.
    """
    return _read_rows(path, MuscleMeasure)


def read_levels(path: Path) -> list[LevelMeasure]:
    """Read a ``*_levels.tsv`` back; as :func:`read_measures`, and empty where there is none.

    Weights that label no vertebrae leave none.
    """
    return _read_rows(path, LevelMeasure) if path.exists() else []


def _read_rows(path: Path, kind: type[Measure]) -> list[Measure]:
    """Read a table of a scan back.

    Raises
    ------
    DatasetError
        It is missing, lacks a column, or a value is not of the column's kind.
    """
    try:
        text = io.StringIO(read_regular_file(path).decode(), newline="")
        rows = list(csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE))
        if not rows:
            raise ValueError("no rows")
        return [_parse_measure(row, kind) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DatasetError(
            f"{path}: cannot be read as a table of measures ({type(error).__name__}: "
            f"{_first_line(error)}). {ANEW}"
        ) from error


def _parse_measure(row: dict[str, str], kind: type[Measure]) -> Measure:
    kinds = get_type_hints(kind)
    return kind(**{name: _parse_cell(row[name], cell) for name, cell in kinds.items()})


def _parse_cell(text: str, kind: type) -> Any:
    if kind is float:
        return math.nan if text == MISSING else float(text)
    return kind("" if text == MISSING else text)


def read_flags(path: Path) -> list[QCFlag]:
    """Read the quality flags of a scan from its ``*_mfi.json``.

    Raises
    ------
    DatasetError
        As :func:`bids_mfi.bids.markers.read_marker`.
    """
    return [_parse_flag(entry) for entry in read_marker(path)["QCFlags"]]


def _parse_flag(entry: dict[str, Any]) -> QCFlag:
    kinds = get_type_hints(QCFlag)
    found = {name: math.nan if entry[name] is None else entry[name] for name in kinds}
    values: dict[str, Any] = {name: kind(found[name]) for name, kind in kinds.items()}
    return QCFlag(**values)
