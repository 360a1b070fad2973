"""OUTPUT_DIR as a dataset: who owns it, the files that describe it, logs of runs.

Every file is written to a temporary name and renamed.
"""

import csv
import io
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bids_mfi import __version__
from bids_mfi.bids.columns import (
    LABEL_COLUMNS,
    VERTEBRA_COLUMNS,
    ResultColumn,
    describe_result_columns,
)
from bids_mfi.bids.formats import encode_json, encode_table, first_line
from bids_mfi.errors import OutputError
from bids_mfi.muscles import LABEL_TABLE, VERTEBRA_TABLE, MuscleTable
from bids_mfi.options import RunOptions
from bids_mfi.reading import read_json, read_regular_file
from bids_mfi.storage import remove_stale_partials, write_atomically

PROGRAM = "bids_mfi"
BIDS_VERSION = "1.11.1"


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
        Whether test-time mirroring is used, which the sha256 of the weights does not show.
    """

    name: str
    version: str
    sha256: str
    description: str = ""
    identity: str = ""
    mirrored: bool = False


def check_output_dir(bids_dir: Path, output_dir: Path) -> None:
    """Refuse an OUTPUT_DIR in which results would mix with other data; changes nothing.

    Raises
    ------
    OutputError
        It is BIDS_DIR, is in one of its ``sub-`` folders, is a file, or holds a dataset that
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
            f"{output_dir}: OUTPUT_DIR is among the images of a participant, expected a folder of "
            f"its own, for example {bids_dir / 'derivatives' / PROGRAM}."
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
            f"{path}: cannot be read as a dataset description ({first_line(error)}). Remove it if "
            "the folder contains only results of this program, or choose another OUTPUT_DIR."
        ) from error
    if generators[:1] != [PROGRAM]:
        maker = generators[0] if generators else "no program (no GeneratedBy: raw data?)"
        raise OutputError(
            f"{path}: this dataset was made by {maker}, and would be overwritten. Expected an "
            f"empty folder or an earlier output of {PROGRAM}; choose another OUTPUT_DIR."
        )
    return dict(found)


def write_dataset_files(
    output_dir: Path,
    bids_dir: Path,
    table: MuscleTable,
    bundle: BundleFacts,
    vertebrae: Sequence[str] = (),
) -> None:
    """Write the files that describe the whole output; many jobs may do so at the same time.

    What a user changed stays: other keys of ``dataset_description.json``, further lines of
    ``.bidsignore``, their own ``README.md`` or ``CITATION.md``.

    Raises
    ------
    OutputError
        As :func:`check_output_dir`, or the folder holds labels with other numbers, or cannot be
        written.
    """
    check_output_dir(bids_dir, output_dir)
    remove_stale_partials(output_dir)
    check_own_labels(output_dir, table)
    labels = encode_label_table(table)
    description = output_dir / "dataset_description.json"
    described = _check_owner(description) | describe_dataset(output_dir, bids_dir, bundle)
    described.setdefault("Name", "Muscle fat infiltration of the neck")
    _write_if_changed(description, encode_json(described))
    _write_if_changed(output_dir / LABEL_TABLE, labels)
    _write_if_changed(
        output_dir / LABEL_TABLE.replace(".tsv", ".json"),
        _encode_columns("Labels of the muscles.", LABEL_COLUMNS),
    )
    if vertebrae:
        _check_own_vertebrae(output_dir / VERTEBRA_TABLE, vertebrae)
        _write_if_changed(output_dir / VERTEBRA_TABLE, encode_vertebra_table(vertebrae))
        _write_if_changed(
            output_dir / VERTEBRA_TABLE.replace(".tsv", ".json"),
            _encode_columns("Labels of the vertebral bodies.", VERTEBRA_COLUMNS),
        )
    _write_ignore_list(output_dir / ".bidsignore")
    for name in ("README.md", "CITATION.md"):
        _write_text_of_ours(output_dir / name)


def _encode_columns(description: str, columns: Iterable[ResultColumn]) -> bytes:
    return encode_json({"Description": description, **describe_result_columns(columns)})


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
    names = [column.name for column in LABEL_COLUMNS]
    return encode_table(names, ({n: getattr(muscle, n) for n in names} for muscle in table))


def encode_vertebra_table(vertebrae: Sequence[str]) -> bytes:
    r"""BIDS ``dseg.tsv`` of the label map of the vertebral bodies.

    >>> encode_vertebra_table(("C2", "C3"))
    b'index\tname\tabbreviation\n1\tvertebra_C2\tC2\n2\tvertebra_C3\tC3\n'
    """
    rows = [
        {"index": index, "name": f"vertebra_{name}", "abbreviation": name}
        for index, name in enumerate(vertebrae, start=1)
    ]
    return encode_table([column.name for column in VERTEBRA_COLUMNS], rows)


def check_own_labels(output_dir: Path, table: MuscleTable) -> None:
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


def _check_own_vertebrae(path: Path, vertebrae: Sequence[str]) -> None:
    """Refuse to mix label maps in which a number means different vertebrae."""
    found = read_if_there(path)
    if found and found != encode_vertebra_table(vertebrae):
        raise OutputError(
            f"{path}: an earlier run used weights that number other vertebrae, or a person changed "
            f"it; expected {', '.join(vertebrae)} from 1 on. Choose another OUTPUT_DIR, or remove "
            "the table if it is not of an earlier run."
        )


def _names_of_labels(text: str) -> dict[str, str]:
    return {row["index"]: row["name"] for row in csv.DictReader(io.StringIO(text), delimiter="\t")}


def _write_ignore_list(path: Path) -> None:
    wanted = _text_of_ours("bidsignore").splitlines()
    found = read_if_there(path).decode(errors="replace").splitlines()
    lines = [*found, *(line for line in wanted if line not in found)]
    _write_if_changed(path, ("\n".join(lines) + "\n").encode())


def _write_text_of_ours(path: Path) -> None:
    text = _text_of_ours(path.name)
    found = read_if_there(path).decode(errors="replace")
    if not found or found.splitlines()[0] == text.splitlines()[0]:
        _write_if_changed(path, text.encode())


def _text_of_ours(name: str) -> str:
    return (Path(__file__).parents[1] / "data" / "derivatives" / name).read_text(encoding="utf-8")


def _write_if_changed(path: Path, data: bytes) -> None:
    if read_if_there(path) != data:
        write_atomically(path, data)


def read_if_there(path: Path) -> bytes:
    """Read a file; empty where there is none, or where it cannot be read."""
    try:
        return read_regular_file(path)
    except OSError:
        return b""


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
