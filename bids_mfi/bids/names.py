"""Names and paths of the derivatives, made and read back."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bids_mfi.measure.pair import ENTITY_ORDER, Contrast, DixonPair

MFI_TABLE, MFI_SIDECAR = "_mfi.tsv", "_mfi.json"
RAW_URI = "bids:raw:"  # begins the URI of a file of the raw dataset
PREFERRED = "_seg-muscle_"  # in the name of a file, before those of other segmentations

# Converters put hyphens and dots into labels; file managers put blanks and brackets into copies.
_SCAN_NAME = re.compile(
    r"sub-[0-9A-Za-z+]+(_[0-9A-Za-z]+(-[^\s_~()\[\]{},;'\"]+)?)*_[0-9A-Za-z]+(\.[0-9A-Za-z]+)+"
)

# These come after all other entities.
ENTITIES_AFTER_SEG = ("seg", "res", "den", "label", "desc")


@dataclass(frozen=True, slots=True)
class ScanPaths:
    """Paths of the files of a scan.

    Attributes
    ----------
    stem : str
        Entities of the scan in BIDS order, for example ``sub-01_ses-01_acq-dixon``.
    dseg, dseg_json, ffmap, ffmap_json, slices_tsv, slices_json, mfi_tsv, mfi_json : Path
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
    slices_tsv: Path
    slices_json: Path
    mfi_tsv: Path
    mfi_json: Path
    vertebrae: Path
    vertebrae_json: Path
    levels_tsv: Path
    levels_json: Path
    figures: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The eight files of every scan, the marker last."""
        return (
            self.dseg, self.dseg_json, self.ffmap, self.ffmap_json, self.slices_tsv,
            self.slices_json, self.mfi_tsv, self.mfi_json,
        )  # fmt: skip

    @property
    def level_files(self) -> tuple[Path, ...]:
        """The additional files of a scan with labelled vertebrae."""
        return self.vertebrae, self.vertebrae_json, self.levels_tsv, self.levels_json

    @property
    def label_maps(self) -> tuple[Path, Path]:
        """The files that a person may edit."""
        return self.dseg, self.vertebrae

    def figure(self, name: str) -> Path:
        """Path of the picture of this name."""
        return self.figures / f"{self.stem}_desc-{name}_figure.png"


def prefer_muscle_files(paths: Sequence[Path]) -> list[Path]:
    """Files of one kind of one scan: those named ``seg-muscle`` if there are any, else all.

    >>> maps = [Path("sub-1_seg-muscle_dseg.nii"), Path("sub-1_seg-bone_dseg.nii")]
    >>> [path.name for path in prefer_muscle_files(maps)]
    ['sub-1_seg-muscle_dseg.nii']
    """
    return [path for path in paths if PREFERRED in path.name] or list(paths)


def is_vertebra_map(name: str) -> bool:
    """Whether a file is the label map of the vertebrae of a scan.

    >>> is_vertebra_map("sub-1_seg-vertebrae_desc-a_dseg.nii.gz"), is_vertebra_map("a_dseg.nii.gz")
    (True, False)
    """
    return "_seg-vertebrae_" in name and name.endswith("_dseg.nii.gz")


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
    """Paths of the files of a scan.

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
        slices_tsv=path("seg-muscle_slices.tsv"),
        slices_json=path("seg-muscle_slices.json"),
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
    return f"{RAW_URI}{quote(relative)}"


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
    """Split the URI of a source from its volume, counted from 0.

    Examples
    --------
    >>> split_source("bids:raw:a%20b.nii#volume=2"), split_source("bids:raw:a%23b.nii")
    (('bids:raw:a%20b.nii', 1), ('bids:raw:a%23b.nii', None))
    """
    file, _, number = uri.partition("#volume=")
    return file, int(number) - 1 if re.fullmatch("[1-9][0-9]{0,3}", number) else None


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


def parse_entities(name: str) -> tuple[tuple[str, str], ...]:
    """Read the entities of a scan from the name of one of its files.

    Examples
    --------
    >>> parse_entities("sub-01_acq-dixon_seg-muscle_mfi.json")
    (('sub', '01'), ('acq', 'dixon'))
    """
    parts = (part.partition("-") for part in name.split("_")[:-1])
    return tuple((key, value) for key, _, value in parts if key != "seg")
