"""Results of a scan saved and checked: complete, current, or changed since; reads no value.

The sidecar of a scan's table is written last and marks the scan as complete.
"""

from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import Literal

from bids_mfi.bids.names import ScanPaths, scan_paths
from bids_mfi.bids.output_folder import read_if_there
from bids_mfi.bids.scan_files import ScanRecord, ScanResults, encode_scan, hash_file
from bids_mfi.bids.scan_results import read_marker, read_scan_sidecar
from bids_mfi.errors import DatasetError, PairError
from bids_mfi.reading import read_regular_file
from bids_mfi.storage import explain_os_error, remove_stale_partials, write_atomically

EDITED = "edited"  # folder in OUTPUT_DIR
MOST_IMAGE_BYTES = 2**31


def scan_state(
    paths: ScanPaths, fingerprint: str
) -> Literal["missing", "current", "different", "altered", "unsealed"]:
    """Whether a scan's results exist and are those that would be computed now.

    ``altered``: a file is not what was written, because a disk or a person changed it.
    ``unsealed``: the marker has no checksum of its own, so this is unknown.
    """
    try:
        sidecar = read_scan_sidecar(paths.mfi_json)
    except DatasetError:
        return "missing"
    if not sidecar.is_marker:
        return "missing"
    if find_altered(paths):
        return "altered"
    marker = sidecar.check()
    if not all(_find_file(paths, name).is_file() for name in marker.files):
        return "missing"
    if marker.fingerprint != fingerprint:
        return "different"
    return "current" if sidecar.seal == "whole" else "unsealed"


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
        written = read_marker(paths.mfi_json).files
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
    """Whether the marker vouches for an existing label map."""
    try:
        mark = read_marker(paths.mfi_json).files.get(path.name)
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
