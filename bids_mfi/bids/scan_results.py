"""Results of a scan in OUTPUT_DIR, found and read back: its sidecar and its tables.

No other module opens ``*_mfi.json``, ``*_mfi.tsv``, ``*_levels.tsv`` or ``*_slices.tsv`` to read
what they say. How far a damaged or foreign file is tolerated is decided by the caller.
"""

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_type_hints
from urllib.parse import unquote

from bids_mfi.bids.formats import first_line, parse_row
from bids_mfi.bids.markers import (
    ANEW,
    MARKER_KEYS,
    MOST_MARKER_BYTES,
    check_seal,
    check_shape,
    find_seal,
)
from bids_mfi.bids.names import (
    MFI_SIDECAR,
    RAW_URI,
    is_scan_name,
    parse_entities,
    scan_paths,
    split_source,
)
from bids_mfi.bids.output_folder import BundleFacts
from bids_mfi.bids.scan_files import ScanRecord
from bids_mfi.cells import Row, split_cells
from bids_mfi.errors import DatasetError, InputError
from bids_mfi.measure.levels import LevelMeasure
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.quality import QCFlag
from bids_mfi.measure.quantify import MuscleMeasure
from bids_mfi.measure.slices import SliceMeasure
from bids_mfi.reading import read_json, read_object, read_regular_file
from bids_mfi.tables import VALUES, check_unique, parse_measure, tidy_hemi, tidy_muscle

if TYPE_CHECKING:
    import pandas as pd

Measure = TypeVar("Measure", MuscleMeasure, LevelMeasure, SliceMeasure)
Images = tuple[tuple[str, str], ...]
"""Path below BIDS_DIR and sha256 of each image, empty where it was not recorded."""
FORMER_PRECISION = "float32"  # of versions that recorded none
_FLAG_KINDS = get_type_hints(QCFlag)


# --- the sidecar -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScanMarker:
    """What the sidecar of a scan's table says; each value has the type that the program writes.

    Attributes
    ----------
    path : Path
    bundle : BundleFacts
    version : str
        Of the program that measured.
    fat_water : str
        ``computed`` or ``scanner``.
    fingerprint, recognised_by : str
    echo_times_ms : (float or None, float or None)
        In phase and out of phase.
    field_strength_t : float or None
    sources : tuple of str
        BIDS URI of each image, two or four.
    images : tuple of (str, str)
        From :func:`list_measured_images`.
    files : mapping of str to str
        sha256 of each file of the scan, by its name.
    flags : tuple of QCFlag
    precision : str
        In which the network was computed.
    """

    path: Path
    bundle: BundleFacts
    version: str
    fat_water: str
    fingerprint: str
    recognised_by: str
    echo_times_ms: tuple[float | None, float | None]
    field_strength_t: float | None
    sources: tuple[str, ...]
    images: Images
    files: Mapping[str, str]
    flags: tuple[QCFlag, ...]
    precision: str

    def make_record(self, bids_dir: Path) -> ScanRecord:
        """Say where the results came from, given the dataset to which ``bids:raw:`` leads."""
        parted = [split_source(uri) for uri in self.sources]
        sources = [bids_dir / unquote(uri.removeprefix(RAW_URI)) for uri, _ in parted]
        in_phase, out_phase, *scanner = sources
        water, fat = scanner or (None, None)
        volumes = [*(volume for _, volume in parted), None, None]
        pair = DixonPair(
            in_phase=in_phase,
            out_phase=out_phase,
            entities=parse_entities(self.path.name),
            recognised_by=self.recognised_by,
            water=water,
            fat=fat,
            echo_times_ms=self.echo_times_ms,
            field_strength_t=self.field_strength_t,
            in_phase_volume=volumes[0],
            out_phase_volume=volumes[1],
            water_volume=volumes[2],
            fat_volume=volumes[3],
        )
        return ScanRecord(
            pair, bids_dir, self.bundle, self.fat_water, self.fingerprint, self.version
        )


@dataclass(frozen=True, slots=True)
class ScanSidecar:
    """The JSON object beside a scan's table, whoever wrote it.

    Attributes
    ----------
    path : Path
    content : mapping of str to object
        Not checked; :meth:`check` and :meth:`parse` check it.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def is_marker(self) -> bool:
        """Whether this program may have written it."""
        return bool(MARKER_KEYS & self.content.keys())

    @property
    def names_weights(self) -> bool:
        """Whether it says which weights made the table, rightly or not."""
        return "Bundle" in self.content

    @property
    def seal(self) -> Literal["whole", "altered", "none"]:
        """Whether its checksum fits its content."""
        return find_seal(self.content)

    @property
    def files(self) -> Mapping[str, Any] | None:
        """The files that it lists with their sha256, not checked; None if it has no list."""
        files = self.content.get("Files")
        return files if isinstance(files, dict) else None

    def check(self) -> ScanMarker:
        """Give its values, if they are those that were written.

        A marker of an earlier version, which has no checksum, is accepted.

        Raises
        ------
        DatasetError
            It was changed since it was written, or as :meth:`parse`.
        """
        check_seal(self.path, self.content)
        return self.parse()

    def parse(self) -> ScanMarker:
        """Give its values, also if somebody changed them.

        Raises
        ------
        DatasetError
            A value is missing, or is of another type than the program writes.
        """
        found = self.content
        check_shape(self.path, found)
        bundle, times = found["Bundle"], found["EchoTimesMs"]
        return ScanMarker(
            path=self.path,
            bundle=BundleFacts(
                bundle["Name"],
                bundle["Version"],
                bundle["SHA256"],
                bundle["Description"],
                mirrored=bundle.get("Mirrored", False),
            ),
            version=found["Software"]["Version"],
            fat_water=found["FatWater"],
            fingerprint=found["Fingerprint"],
            recognised_by=found["RecognisedBy"],
            echo_times_ms=(times["InPhase"], times["OutPhase"]),
            field_strength_t=found["MagneticFieldStrength"],
            sources=tuple(found["Sources"]),
            images=list_measured_images(found["Sources"], found.get("SourcesSHA256")),
            files=found["Files"],
            flags=tuple(_parse_flag(entry) for entry in found["QCFlags"]),
            precision=found.get("Engine", {}).get("Precision", FORMER_PRECISION),
        )


def _parse_flag(entry: dict[str, Any]) -> QCFlag:
    found = {name: math.nan if entry[name] is None else entry[name] for name in _FLAG_KINDS}
    values: dict[str, Any] = {name: kind(found[name]) for name, kind in _FLAG_KINDS.items()}
    return QCFlag(**values)


def read_scan_sidecar(path: Path) -> ScanSidecar:
    """Read the ``*_mfi.json`` of a scan, whatever it says.

    Raises
    ------
    DatasetError
        It is missing, damaged or not a JSON object.
    """
    try:
        content = read_json(path, MOST_MARKER_BYTES)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{path}: cannot be read as JSON ({first_line(error)}). {ANEW}"
        ) from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected a JSON object. {ANEW}")
    return ScanSidecar(path, content)


def read_marker(path: Path) -> ScanMarker:
    """Read the ``*_mfi.json`` of a scan as the program wrote it.

    Raises
    ------
    DatasetError
        As :func:`read_scan_sidecar` and :meth:`ScanSidecar.check`.
    """
    return read_scan_sidecar(path).check()


def list_measured_images(uris: Any, hashes: Any) -> Images:
    """Read a sidecar's ``Sources`` and ``SourcesSHA256``; what is not below BIDS_DIR is left out.

    Examples
    --------
    >>> list_measured_images(["bids:raw:sub-1/anat/a%20b.nii#volume=2"], ["ab"])
    (('sub-1/anat/a b.nii', 'ab'),)
    >>> list_measured_images("x", None)
    ()
    """
    uris = uris if isinstance(uris, list) else []
    known = hashes if isinstance(hashes, list) and len(hashes) == len(uris) else [""] * len(uris)
    pairs = (
        (unquote(split_source(uri)[0].removeprefix(RAW_URI)), one if isinstance(one, str) else "")
        for uri, one in zip(uris, known, strict=True)
        if isinstance(uri, str) and uri.startswith(RAW_URI)
    )
    return tuple(
        (name, one)
        for name, one in pairs
        if name and not name.startswith("/") and ".." not in name.split("/") and "\0" not in name
    )


@dataclass(frozen=True, slots=True)
class NamedSources:
    """The images that a sidecar of any program names.

    Attributes
    ----------
    uris : tuple of str
        Not checked; empty if there is no list.
    scanner : bool
        Whether fat and water are the images that the scanner reconstructed.
    """

    uris: tuple[str, ...]
    scanner: bool


def list_named_sources(label_map: Path) -> Iterator[NamedSources]:
    """Images that the sidecars beside a label map name: that of its table, then its own."""
    stem = label_map.name.rpartition("_")[0]
    for ending in (MFI_SIDECAR, "_dseg.json"):
        content = read_object(label_map.with_name(stem + ending))
        uris = content.get("Sources")
        uris = tuple(map(str, uris)) if isinstance(uris, list) else ()
        yield NamedSources(uris, content.get("FatWater") == "scanner")


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
    """Whether a marker is where the program would write it."""
    entities = parse_entities(marker.name)
    if not is_scan_name(marker.name) or len(dict(entities)) != len(entities):
        return False
    return scan_paths(output_dir, DixonPair(Path(), Path(), entities, "")).mfi_json == marker


# --- tables as the program writes them ----------------------------------------------------------


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


def read_slices(path: Path) -> list[SliceMeasure]:
    """Read a ``*_slices.tsv`` back; as :func:`read_measures`, but it may have no rows."""
    return _read_rows(path, SliceMeasure)


def _read_rows(path: Path, kind: type[Measure]) -> list[Measure]:
    try:
        text = io.StringIO(read_regular_file(path).decode(), newline="")
        rows = list(csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE))
        if not rows and kind is not SliceMeasure:
            raise ValueError("no rows")
        return [parse_row(row, kind) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DatasetError(
            f"{path}: cannot be read as a table of measures ({type(error).__name__}: "
            f"{first_line(error)}). {ANEW}"
        ) from error


# --- tables that a person may have edited ------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class ScanRows:
    """The table of one scan as plain lists, read many times faster than a DataFrame.

    Attributes
    ----------
    columns : tuple of str
    rows : list of list
        ``volume_ml`` and ``mfi_percent`` are float, NaN where missing, all other cells text.
    sha256 : str
        Of the file.
    """

    columns: tuple[str, ...]
    rows: list[Row]
    sha256: str


def read_scan_rows(path: Path) -> ScanRows:
    """Read the ``*_mfi.tsv`` of one scan as plain lists.

    Raises
    ------
    InputError
        It cannot be read, lacks a column, has no rows or an invalid cell, or two lines are of one
        muscle and side.
    """
    try:
        data = read_regular_file(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}). Get permission to read it, or "
            "run again if another program is writing it."
        ) from error
    header, lines = _read_lines(path, data)
    muscle, hemi = header.index("muscle"), header.index("hemi")
    known: dict[tuple[str, str], int] = {}
    for line, row in lines:
        other = known.setdefault((row[muscle], row[hemi]), line)
        if other != line:
            raise InputError(
                f"{path}: lines {other} and {line} are both for {row[muscle]}_{row[hemi]}, "
                "expected one line for each muscle and side; remove the surplus line."
            )
    return ScanRows(tuple(header), [row for _, row in lines], hashlib.sha256(data).hexdigest())


def read_scan_table(path: Path) -> "pd.DataFrame":
    """Read the ``*_mfi.tsv`` of one scan.

    Returns
    -------
    DataFrame
        As :func:`bids_mfi.tables.read_long_table`, without a participant.

    Raises
    ------
    InputError
        As there, or a muscle and side are on two lines.
    """
    import pandas as pd

    header, lines = _read_lines(path)
    table = pd.DataFrame([row for _, row in lines], [line for line, _ in lines], header)
    check_unique(table, ("muscle", "hemi"), path)
    return table


def _read_lines(path: Path, data: bytes | None = None) -> tuple[list[str], list[tuple[int, Row]]]:
    """Columns, and number and tidied cells of each line."""
    header, lines = split_cells(path, ("muscle", "hemi", *VALUES), data)
    muscle, hemi, *values = (header.index(name) for name in ("muscle", "hemi", *VALUES))
    for line, row in lines:
        row[muscle] = tidy_muscle(path, line, row[muscle])
        row[hemi] = tidy_hemi(path, line, row[hemi])
        for column, place in zip(VALUES, values, strict=True):
            row[place] = parse_measure(path, line, column, row[place])
    return header, lines
