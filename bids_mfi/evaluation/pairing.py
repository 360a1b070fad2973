"""What belongs together in two derivative folders.

Scans are matched by participant, session and the other entities of the scan. Entities that state
how labels were made (``seg``, ``desc``, ``label``) or their grid (``space``, ``res``, ``den``) are
ignored; a scan without ``acq`` is ``acq-dixon``, as this program names it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from bids_mfi.bids.names import MFI_TABLE, derivative_stem, prefer_muscle_files, split_source
from bids_mfi.bids.scan_results import list_named_sources
from bids_mfi.counts import list_names
from bids_mfi.errors import InputError
from bids_mfi.indices import plain_index
from bids_mfi.label_tables import check_same_labels, read_labels_of
from bids_mfi.measure.pair import DixonPair, NamedByEntities
from bids_mfi.muscles import WEBER2021, MuscleTable
from bids_mfi.reading import read_object

TOLERATED = frozenset({"seg", "desc", "label", "space", "res", "den"})
LABEL_MAPS = ("_dseg.nii.gz", "_dseg.nii")
MEASURES = (MFI_TABLE,)
PAPER = Path("the paper's Table 1")
NAMED = 3

Entities = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ScanPair(NamedByEntities):
    """The two label maps of one scan.

    Attributes
    ----------
    entities : tuple of (str, str)
        Those of the scan.
    truth, prediction : Path
    """

    entities: Entities
    truth: Path
    prediction: Path


@dataclass(frozen=True, slots=True)
class ScanPairs:
    """The scans of two folders.

    Attributes
    ----------
    pairs : tuple of ScanPair
    truth_only, prediction_only : tuple of str
        Scans that only one folder has.
    """

    pairs: tuple[ScanPair, ...]
    truth_only: tuple[str, ...]
    prediction_only: tuple[str, ...]


def scan_entities(name: str) -> Entities:
    """Read the entities by which a scan is known from the name of one of its derivatives.

    Examples
    --------
    >>> scan_entities("sub-01_run-02_space-T1w_desc-manual_dseg.nii.gz")
    (('sub', '01'), ('acq', 'dixon'), ('run', '2'))
    """
    parts = (part.partition("-") for part in name.split("_")[:-1])
    found = {
        key: plain_index(key, value) for key, dash, value in parts if dash and key not in TOLERATED
    }
    ordered = (part.partition("-") for part in derivative_stem(found.items()).split("_"))
    return tuple((key, value) for key, _, value in ordered)


def find_by_scan(folder: Path, endings: Iterable[str]) -> dict[Entities, Path]:
    """Find the one file of each scan with one of these endings, ``seg-muscle`` before others.

    Raises
    ------
    InputError
        It is not a folder, or a scan has several files without a preferred one.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: is not a folder. Expected derivatives with sub-*/**/*_dseg.nii.gz; check "
            "the path."
        )
    scans: dict[Entities, list[Path]] = {}
    patterns = [start + ending for start in ("sub-*", "sub-*/**/sub-*") for ending in endings]
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        scans.setdefault(scan_entities(path.name), []).append(path)
    return {entities: _choose(folder, paths) for entities, paths in scans.items()}


def _choose(folder: Path, paths: list[Path]) -> Path:
    preferred = prefer_muscle_files(paths)
    if len(preferred) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in preferred)
        raise InputError(
            f"{folder}: has {len(preferred)} files of one scan: {names}. Expected one, or one "
            "named seg-muscle; move the others to another folder."
        )
    return preferred[0]


def pair_label_maps(truth: Path, prediction: Path) -> ScanPairs:
    """Pair the label maps ``*_dseg.nii.gz`` of two derivative folders.

    Raises
    ------
    InputError
        A folder has no label map, several of one scan, or the two have no scan in common.
    """
    here, there = find_by_scan(truth, LABEL_MAPS), find_by_scan(prediction, LABEL_MAPS)
    for folder, maps in ((truth, here), (prediction, there)):
        if not maps:
            raise InputError(
                f"{folder}: has no label map, expected sub-*/**/*_dseg.nii.gz; check the path."
            )
    common = [entities for entities in here if entities in there]
    if not common:
        raise InputError(
            f"{truth} and {prediction}: no scan is in both. The first has {_name_some(here)}; the "
            f"second {_name_some(there)}. Expected the same sub, ses, acq, run ...; rename the "
            "files of one."
        )
    pairs = [ScanPair(entities, here[entities], there[entities]) for entities in common]
    return ScanPairs(
        tuple(sorted(pairs, key=lambda pair: pair.scan)),
        tuple(sorted(derivative_stem(entities) for entities in here.keys() - there.keys())),
        tuple(sorted(derivative_stem(entities) for entities in there.keys() - here.keys())),
    )


def _name_some(maps: dict[Entities, Path]) -> str:
    return list_names(sorted(path.name for path in maps.values()), NAMED)


# --- labels ------------------------------------------------------------------------------------


def read_labels_of_both(
    truth: Path, prediction: Path, pairs: Iterable[ScanPair]
) -> tuple[MuscleTable, str]:
    """Which muscles the labels are: by the table of TRUTH, of PREDICTION or of the paper.

    Returns
    -------
    table : MuscleTable
    source : str
        Where it was found.

    Raises
    ------
    InputError
        A table is damaged, or a number means different muscles in two of them.
    """
    pairs = list(pairs)
    found = [
        read_labels_of(truth, [pair.truth for pair in pairs]),
        read_labels_of(prediction, [pair.prediction for pair in pairs]),
    ]
    tables = [entry for entry in found if entry is not None]
    if not tables:
        return WEBER2021, str(PAPER)
    for table, path in tables[1:]:
        check_same_labels(tables[0][0], table, (tables[0][1], path))
    return tables[0][0], str(tables[0][1])


# --- images ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScanImages:
    """On which images MFI is measured.

    Attributes
    ----------
    pair : DixonPair
    fat_water : str
        ``computed`` or ``scanner``, as the prediction was.
    """

    pair: DixonPair
    fat_water: str


def find_images(
    pair: ScanPair, truth: Path, prediction: Path, bids_dir: Path | None
) -> ScanImages | None:
    """Find the images from which the prediction was made, else those named by the truth.

    They are the ``Sources`` of ``*_mfi.json`` or ``*_dseg.json``; where ``bids:raw:`` lies is in
    the folder's ``dataset_description.json``, unless ``bids_dir`` says it.

    Returns
    -------
    ScanImages or None
        None if no sidecar names existing in-phase and out-of-phase images.
    """
    for label_map, folder in ((pair.prediction, prediction), (pair.truth, truth)):
        for named in list_named_sources(label_map):
            sources = _resolve(named.uris, folder, bids_dir)
            if len(sources) in (2, 4) and all(path.is_file() for path, _ in sources):
                return _describe_images(pair, sources, named.scanner)
    return None


def _describe_images(
    pair: ScanPair, sources: list[tuple[Path, int | None]], scanner: bool
) -> ScanImages:
    scanner = scanner and len(sources) == 4
    in_phase, out_phase = sources[:2]
    water, fat = sources[2:] if scanner else ((None, None), (None, None))
    images = DixonPair(
        in_phase=in_phase[0],
        out_phase=out_phase[0],
        entities=pair.entities,
        recognised_by="Sources",
        water=water[0],
        fat=fat[0],
        in_phase_volume=in_phase[1],
        out_phase_volume=out_phase[1],
        water_volume=water[1],
        fat_volume=fat[1],
    )
    return ScanImages(images, "scanner" if scanner else "computed")


def _resolve(
    uris: Iterable[str], folder: Path, bids_dir: Path | None
) -> list[tuple[Path, int | None]]:
    """Turn BIDS URIs into paths and volumes; empty if one leads nowhere on this disk."""
    links = read_object(folder / "dataset_description.json").get("DatasetLinks")
    parted = [split_source(uri) for uri in uris]
    paths = [_resolve_one(uri, folder, bids_dir, links) for uri, _ in parted]
    found = [(path, one[1]) for path, one in zip(paths, parted, strict=True) if path is not None]
    return found if len(found) == len(paths) else []


def _resolve_one(uri: str, folder: Path, bids_dir: Path | None, links: object) -> Path | None:
    scheme, _, rest = uri.partition(":")
    name, colon, path = rest.partition(":")
    if scheme != "bids" or not colon:
        return None
    if not name:
        return folder / unquote(path)
    if bids_dir is not None:
        return bids_dir / unquote(path)
    link = links.get(name) if isinstance(links, dict) else None
    if not isinstance(link, str) or link.startswith(("http:", "https:")):
        return None
    return folder / unquote(link.removeprefix("file://")) / unquote(path)
