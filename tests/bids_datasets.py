"""Small BIDS datasets of Dixon images under every name that users bring, with the pairs expected.

Other tests import from here: ``from bids_datasets import make_every_convention_dataset``.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (5, 6, 4)
SPACING_MM = (1.4, 1.4, 3.0)
IP, OOP, WATER, FAT = "in_phase", "out_phase", "water", "fat"
SIGNAL = {IP: 100, OOP: 60, WATER: 80, FAT: 20}

THREE_TESLA_IP = {"EchoTime": 0.00246, "MagneticFieldStrength": 3}
THREE_TESLA_OOP = {"EchoTime": 0.00123, "MagneticFieldStrength": 3}


def start_dataset(folder: Path, **description: object) -> Path:
    """An empty BIDS dataset; keywords go into dataset_description.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"Name": "test", "BIDSVersion": "1.11.1", "DatasetType": "raw"} | description
    (folder / "dataset_description.json").write_text(json.dumps(content))
    return folder


def write_image(
    path: Path,
    shape: tuple[int, ...] = SHAPE,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    signal: int = 100,
) -> Path:
    """A NIfTI image of uniform signal."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin_mm
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full(shape, signal, np.int16), affine), path)
    return path


def write_sidecar(image: Path, fields: dict[str, object]) -> Path:
    """The JSON file beside an image."""
    path = image.with_name(re.sub(r"\.nii(\.gz)?$", ".json", image.name))
    path.write_text(json.dumps(fields))
    return path


def add_image(
    bids_dir: Path, relative: str, sidecar: dict[str, object] | None = None, **image: object
) -> Path:
    """An image below the dataset's root, with a sidecar if its fields are given."""
    path = write_image(bids_dir / relative, **image)  # type: ignore[arg-type]
    if sidecar is not None:
        write_sidecar(path, sidecar)
    return path


def add_broken_link(path: Path) -> Path:
    """What git-annex leaves of a file whose content has not been fetched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    depth = "../" * 3
    path.symlink_to(f"{depth}.git/annex/objects/Xk/0f/MD5E-s1--0a/MD5E-s1--0a{path.suffix}")
    return path


@dataclass(frozen=True)
class Convention:
    """One way to name the images of a scan.

    Attributes
    ----------
    name : str
        Who names so.
    participant : str
        Label under which :func:`make_every_convention_dataset` writes it.
    names : dict of str to str
        For each contrast the name below ``anat``, without ``sub-LABEL_`` and extension.
    scan : str
        Expected name of the scan, without ``sub-LABEL_``.
    recognised_by : str
        Expected deciding source.
    sidecars : dict of str to dict
        For each contrast the sidecar's fields; no sidecar where there is no entry.
    bystanders : tuple of str
        Further images of the participant that must be left alone.
    """

    name: str
    participant: str
    names: dict[str, str]
    scan: str
    recognised_by: str = "file name"
    sidecars: dict[str, dict[str, object]] = field(default_factory=dict)
    bystanders: tuple[str, ...] = ()

    def path(self, contrast: str) -> str | None:
        """Path of an image relative to the dataset; None if this convention has none."""
        if contrast not in self.names:
            return None
        return f"sub-{self.participant}/anat/sub-{self.participant}_{self.names[contrast]}.nii.gz"

    def expected(self) -> dict[str, object]:
        """Name and paths of the scan that must be found."""
        paths: dict[str, object] = {c: self.path(c) for c in (IP, OOP, WATER, FAT)}
        return paths | {"scan": f"sub-{self.participant}_{self.scan}"}

    def write(self, bids_dir: Path) -> None:
        """Write the participant into a dataset."""
        for contrast in self.names:
            path = self.path(contrast)
            assert path is not None
            add_image(bids_dir, path, self.sidecars.get(contrast), signal=SIGNAL[contrast])
        for name in self.bystanders:
            home = f"sub-{self.participant}"
            add_image(bids_dir, f"{home}/anat/{home}_{name}.nii.gz")


def _four(template: str, words: tuple[str, str, str, str]) -> dict[str, str]:
    """Names of the four contrasts from a template with ``{}``."""
    return {
        contrast: template.format(word)
        for contrast, word in zip((IP, OOP, WATER, FAT), words, strict=True)
    }


def _two(template: str, words: tuple[str, str]) -> dict[str, str]:
    return {c: template.format(word) for c, word in zip((IP, OOP), words, strict=True)}


_LONG = ("inphase", "outphase", "water", "fat")


def _image_types(*types: list[str]) -> dict[str, dict[str, object]]:
    return {c: {"ImageType": t} for c, t in zip((IP, OOP, WATER, FAT), types, strict=False)}


def _descriptions(*texts: str) -> dict[str, dict[str, object]]:
    return {c: {"SeriesDescription": t} for c, t in zip((IP, OOP, WATER, FAT), texts, strict=False)}


def _echoes(field_t: float | None, *times_s: float, **more: object) -> dict[str, dict[str, object]]:
    strength = {} if field_t is None else {"MagneticFieldStrength": field_t}
    return {c: {"EchoTime": t} | strength | more for c, t in zip((IP, OOP), times_s, strict=True)}


# Names that tell nothing of the contrast, so that the sidecar has to.
_MUTE = _four("acq-dixon_echo-{}_MEGRE", ("1", "2", "3", "4"))
_MUTE_TWO = _two("acq-dixon_echo-{}_MEGRE", ("1", "2"))

CONVENTIONS = (
    Convention(
        "MuscleMap suffixes", "musclemap", _four("{}", _LONG), "acq-dixon",
        bystanders=("fatfrac", "T2w"),
    ),
    Convention("MuscleMap with acq", "musclemapacq", _four("acq-neck_{}", _LONG), "acq-neck"),
    Convention("TPTBox vibe", "tptvibe", _four("acq-ax_part-{}_vibe", _LONG), "acq-ax"),
    Convention(
        "TPTBox vibe with chunk", "tptchunk", _four("acq-ax_chunk-2_part-{}_vibe", _LONG),
        "acq-ax_chunk-2",
    ),
    Convention(
        "TPTBox dixon", "tptdixon", _four("part-{}_dixon", _LONG), "acq-dixon",
        bystanders=("part-fat-fraction_dixon",),
    ),
    Convention(
        "TPTBox multi-echo vibe", "tptmevibe",
        _four("sequ-7_acq-ax_part-{}_mevibe", ("eco3-in1", "eco0-opp1", "water", "fat")),
        "acq-ax_sequ-7",
        bystanders=("sequ-7_acq-ax_part-eco1-pip1_mevibe", "sequ-7_acq-ax_part-r2s_mevibe",
                    "sequ-7_acq-ax_part-water-fraction_mevibe"),
    ),
    Convention(
        "CHAOS converter", "chaos", _two("acq-{}_T1w", ("inphase", "outphase")), "acq-dixon",
        bystanders=("T1w", "T2w"),
    ),
    Convention(
        "Siemens scripts", "siemensbody",
        _two("acq-DIXONbody{}_T1w", ("IN", "OUT")) | {WATER: "acq-DIXONbodyW_T1w"},
        "acq-DIXONbody",
    ),
    Convention(
        "Siemens scripts with chunk", "siemenschunk",
        _two("acq-DIXONbody{}_chunk-3_T1w", ("IN", "OUT")), "acq-DIXONbody_chunk-3",
    ),
    Convention(
        "Siemens SeriesDescription", "siemensdescription", _MUTE, "acq-dixon", "SeriesDescription",
        _descriptions("t1_vibe_dixon_tra_in", "t1_vibe_dixon_tra_opp", "t1_vibe_dixon_tra_W",
                      "t1_vibe_dixon_tra_F"),
    ),
    Convention(
        "GE SeriesDescription", "gedescription", _MUTE, "acq-dixon", "SeriesDescription",
        _descriptions("InPhase: Ax LAVA-Flex", "OutPhase: Ax LAVA-Flex", "WATER: Ax LAVA-Flex",
                      "FAT: Ax LAVA-Flex"),
    ),
    Convention(
        "QMRITools Muscle-BIDS", "qmritools",
        _four("megre_dix_{}", ("inph", "outph", "wat", "fat")), "acq-dixon",
        bystanders=("megre_dix_ff",),
    ),
    Convention(
        "QMRITools Muscle-BIDS stacks", "qmristack",
        _four("stk-2_megre_dix_{}", ("inph", "outph", "wat", "fat")), "acq-dixon_stk-2",
    ),
    Convention(
        "the authors' configuration", "authors", _two("{}", ("IN", "OPP")), "acq-dixon",
    ),
    Convention(
        "the authors' configuration before a suffix", "authorst1w", _two("{}_T1w", ("IN", "OPP")),
        "acq-dixon",
    ),
    Convention(
        "BIDS reconstruction", "bidsrec", _four("acq-dixon_rec-{}_T1w", _LONG), "acq-dixon",
    ),
    Convention(
        "BIDS acquisition with run", "bidsrun", _four("acq-{}_run-2_T1w", _LONG), "acq-dixon_run-2",
    ),
    Convention(
        "BIDS multi-echo at 3 T", "echothree", _MUTE_TWO, "acq-dixon", "echo time",
        _echoes(3, 0.00246, 0.00123),
    ),
    Convention(
        "the paper's echo times", "echopaper", _MUTE_TWO, "acq-dixon", "echo time",
        _echoes(3, 0.00246, 0.00369),
    ),
    Convention(
        "BIDS multi-echo at 1.5 T", "echoonefive", _MUTE_TWO, "acq-dixon", "echo time",
        _echoes(1.5, 0.00477, 0.00239),
    ),
    Convention(
        "BIDS multi-echo with ImagingFrequency", "echofrequency", _MUTE_TWO, "acq-dixon",
        "echo time", _echoes(None, 0.00246, 0.00123, ImagingFrequency=123.2),
    ),
    Convention(
        "two echoes of a T1w", "echotonew", _two("acq-neck_echo-{}_T1w", ("2", "1")), "acq-neck",
        "echo time", _echoes(3, 0.00246, 0.00123),
    ),
    Convention(
        "Siemens ImageType, original", "typesiemens", _MUTE, "acq-dixon", "ImageType",
        _image_types(["ORIGINAL", "PRIMARY", "M", "IN_PHASE", "DIS2D"],
                     ["ORIGINAL", "PRIMARY", "M", "OUT_PHASE", "DIS2D"],
                     ["DERIVED", "PRIMARY", "DIXON", "WATER"],
                     ["DERIVED", "PRIMARY", "DIXON", "FAT"]),
    ),
    Convention(
        "Siemens ImageType, derived", "typesiemensderived", _MUTE, "acq-dixon", "ImageType",
        _image_types(["DERIVED", "PRIMARY", "DIXON", "IN_PHASE"],
                     ["DERIVED", "PRIMARY", "DIXON", "OPP_PHASE"],
                     ["DERIVED", "PRIMARY", "DIXON", "WATER"],
                     ["DERIVED", "PRIMARY", "DIXON", "FAT"]),
    ),
    Convention(
        "GE ImageType", "typege", _MUTE, "acq-dixon", "ImageType",
        _image_types(["DERIVED", "PRIMARY", "DIXON", "IN_PHASE"],
                     ["DERIVED", "PRIMARY", "DIXON", "OUT_PHASE"],
                     ["DERIVED", "PRIMARY", "DIXON", "WATER"],
                     ["DERIVED", "PRIMARY", "DIXON", "FAT"]),
    ),
    Convention(
        "Philips ImageType before R12", "typephilips", _MUTE, "acq-dixon", "ImageType",
        _image_types(["DERIVED", "PRIMARY", "IP", "IP", "DERIVED"],
                     ["DERIVED", "PRIMARY", "OP", "OP", "DERIVED"],
                     ["DERIVED", "PRIMARY", "W", "W", "DERIVED"],
                     ["DERIVED", "PRIMARY", "F", "F", "DERIVED"]),
    ),
    Convention(
        "Philips ImageType from R12", "typephilipsnew", _MUTE, "acq-dixon", "ImageType",
        _image_types(["DERIVED", "PRIMARY", "IN_PHASE", "IN_PHASE"],
                     ["DERIVED", "PRIMARY", "OUT_OF_PHASE", "OUT_OF_PHASE"],
                     ["DERIVED", "PRIMARY", "WATER", "WATER"],
                     ["DERIVED", "PRIMARY", "FAT", "FAT"]),
    ),
    Convention(
        "short acquisition labels", "shortacq", _four("acq-{}_T1w", ("IP", "OOP", "W", "F")),
        "acq-dixon",
    ),
    Convention(
        "GE through BIDScoin", "gebidscoin",
        _four("acq-{}AxLAVAFlex_T1w", ("InPhase", "OutPhase", "WATER", "FAT")), "acq-AxLAVAFlex",
    ),
    Convention(
        "Siemens through BIDScoin", "siemensbidscoin",
        _four("acq-t1vibedixontra{}_T1w", ("in", "opp", "W", "F")), "acq-t1vibedixontra",
    ),
    Convention(
        "Siemens through BIDScoin, composed", "siemenscomposed",
        _four("acq-t1vibedixoncor{}COMPSP_T1w", ("in", "opp", "W", "F")),
        "acq-t1vibedixoncorCOMPSP",
    ),
    Convention("desc-", "desc", _four("desc-{}_T1w", _LONG), "acq-dixon"),
    Convention(
        "descriptions as dcm2niix writes them", "rawname",
        _four("t1_vibe_dixon_tra_{}_ND", ("in", "opp", "W", "F")), "acq-dixon",
        bystanders=("t1_vibe_dixon_tra_opp_T2s",),
    ),
    Convention(
        "Philips SeriesDescription", "philipsdescription", _MUTE, "acq-dixon", "SeriesDescription",
        _descriptions("WIP mDIXON_IP SENSE", "WIP mDIXON_OP SENSE", "WIP mDIXON_W SENSE",
                      "WIP mDIXON_F SENSE"),
    ),
    Convention(
        "Siemens SeriesDescription, composed", "siemenscompdescription", _MUTE, "acq-dixon",
        "SeriesDescription",
        _descriptions("t1_vibe_dixon_cor_in_comp_sp", "t1_vibe_dixon_cor_opp_comp_sp",
                      "t1_vibe_dixon_cor_W_comp_sp", "t1_vibe_dixon_cor_F_comp_sp"),
    ),
    Convention(
        "dcm2niix echoes", "dcm2niixecho", _two("acq-dixon_T1w_e{}", ("2", "1")), "acq-dixon",
        "echo time", _echoes(3, 0.00246, 0.00123),
        bystanders=("acq-dixon_T1w_e1_ph", "acq-dixon_T1w_e2_real"),
    ),
    Convention(
        "HeuDiConv numbers", "heudiconv", _four("acq-dixon_T1w{}", ("2", "1", "3", "4")),
        "acq-dixon", "ImageType",
        _image_types(["ORIGINAL", "PRIMARY", "M", "IN_PHASE"],
                     ["ORIGINAL", "PRIMARY", "M", "OUT_PHASE"],
                     ["DERIVED", "PRIMARY", "DIXON", "WATER"],
                     ["DERIVED", "PRIMARY", "DIXON", "FAT"]),
    ),
    Convention(
        "dcm2bids runs", "dcm2bids", _four("acq-dixon_run-0{}_T1w", ("2", "1", "3", "4")),
        "acq-dixon", "ImageType",
        _image_types(["ORIGINAL", "PRIMARY", "M", "IN_PHASE"],
                     ["ORIGINAL", "PRIMARY", "M", "OUT_PHASE"],
                     ["DERIVED", "PRIMARY", "DIXON", "WATER"],
                     ["DERIVED", "PRIMARY", "DIXON", "FAT"]),
    ),
    Convention(
        "other ImageType words", "typeother", _MUTE, "acq-dixon", "ImageType",
        _image_types(["derived", "primary", "in"], ["derived", "primary", "opposed phase"],
                     ["derived", "primary", "water"], ["derived", "primary", "fat"]),
    ),
)  # fmt: skip


def make_convention_dataset(folder: Path, convention: Convention) -> Path:
    """A dataset with the one participant of a convention."""
    convention.write(start_dataset(folder))
    return folder


def make_every_convention_dataset(folder: Path) -> list[dict[str, object]]:
    """All conventions side by side, a participant each.

    Returns
    -------
    list of dict
        What must be found, sorted by scan: ``scan``, and the paths ``in_phase``, ``out_phase``,
        ``water`` and ``fat`` relative to the dataset, or None.
    """
    start_dataset(folder)
    for convention in CONVENTIONS:
        convention.write(folder)
    return sorted((c.expected() for c in CONVENTIONS), key=lambda pair: str(pair["scan"]))


def make_pair(bids_dir: Path, participant: str, session: str | None = None, **image: object) -> str:
    """The pair ``acq-inphase_T1w`` and ``acq-outphase_T1w``; gives the scan's name."""
    labels = [f"sub-{participant}"] + ([f"ses-{session}"] if session else [])
    home, stem = "/".join(labels), "_".join(labels)
    for contrast, word in ((IP, "inphase"), (OOP, "outphase")):
        path = f"{home}/anat/{stem}_acq-{word}_T1w.nii.gz"
        add_image(bids_dir, path, signal=SIGNAL[contrast], **image)
    return f"{stem}_acq-dixon"
