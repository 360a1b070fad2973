"""Results of a scan in OUTPUT_DIR: written, found, judged and read back.

The sidecar of a scan's table is written last and marks the scan as complete. Must not know how a
number or a picture was made.
"""

import csv
import io
import math
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints
from urllib.parse import unquote

from bids_mfi.bids.formats import MISSING, first_line
from bids_mfi.bids.markers import ANEW, MARKER_KEYS, find_seal, read_marker, read_sidecar
from bids_mfi.bids.names import ScanPaths, is_scan_name, parse_entities, scan_paths, split_source
from bids_mfi.bids.output_folder import BundleFacts, read_if_there
from bids_mfi.bids.scan_files import ScanRecord, ScanResults, encode_scan, hash_file
from bids_mfi.errors import DatasetError, PairError
from bids_mfi.measure.levels import LevelMeasure
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.quality import QCFlag
from bids_mfi.measure.quantify import MuscleMeasure
from bids_mfi.reading import read_regular_file
from bids_mfi.storage import explain_os_error, remove_stale_partials, write_atomically

EDITED = "edited"  # folder in OUTPUT_DIR
MOST_IMAGE_BYTES = 2**31
Measure = TypeVar("Measure", MuscleMeasure, LevelMeasure)


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
        if found == new or read_if_there(folder / place) == found:
            return
        if not (folder / place).exists():
            write_atomically(folder / place, found)
            return


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
            f"{first_line(error)}). {ANEW}"
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
