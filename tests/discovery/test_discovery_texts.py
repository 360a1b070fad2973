"""What texts of real scanners and converters say of a contrast: descriptions, protocols, labels."""

from pathlib import Path

import pytest
from bids_datasets import (
    THREE_TESLA_IP,
    THREE_TESLA_OOP,
    add_image,
    make_pair,
    start_dataset,
)

from bids_mfi.discovery import UnusableScan, find_scans
from bids_mfi.discovery.naming import read_place
from bids_mfi.discovery.phrases import names_both_phases, read_contrast
from bids_mfi.indices import INDEX_ENTITIES, is_index
from bids_mfi.measure.pair import Contrast, DixonPair
from bids_mfi.options import RunOptions

IN, OUT, WATER, FAT = Contrast.IN_PHASE, Contrast.OUT_PHASE, Contrast.WATER, Contrast.FAT
MEGRE = "sub-01/anat/sub-01_acq-dixon_echo-{}_MEGRE.nii.gz"

BOTH_PHASES = (
    "IN/OUT PHASE", "In and Out of Phase", "IN-OUT PHASE", "IN & OPPOSED PHASE", "In/Opp Phase",
    "IN+OUT OF PHASE", "IN_OUT_PHASE", "OUT/IN PHASE", "OUT-IN PHASE", "out and in phase",
    "Opposed/In Phase", "opposed and in-phase", "Out-of-phase/In-phase", "OPP-IN", "OPP/IN",
    "opp in", "Ax LAVA In Out Phase", "in & out phase", "in- and opposed-phase", "dual echo in/out",
    "AX T1 IN PHASE/OUT OF PHASE", "IN PHASE - OUT PHASE", "In Phase, Out of Phase",
    "IN VS OUT PHASE", "in n out phase", "in and opp. phase", "I/O PHASE", "phase in/out",
    "In-/Out-of-Phase", "In-Phase-Out-Phase", "in-phase and out-of-phase", "IN PHASE OUT PHASE",
    "t1_fl2d_opp-in_tra_p2_bh", "t1fl2doppintrap2bh", "t1_vibe_in_opp_tra", "IP/OP", "IP_OOP",
    "ip-oop", "In/Oop", "Ax T1 IN-OPP", "inoutphase", "InOutPhase", "inandoutphase", "inopphase",
    "InAndOutOfPhase", "inphaseoutphase", "InPhaseOutPhase", "outinphase", "outofphaseinphase",
    "dixoninopp", "in und gegenphase", "In- und Gegenphase", "en phase / hors phase",
    "en phase et opposition de phase", "EN FASE Y FUERA DE FASE", "en fase y fase opuesta",
    "mDIXON_F_W_IP_OP",
    "in fase e fuori fase",
)  # fmt: skip

SAID = {
    IN: (
        "t1_vibe_dixon_tra_in", "t1_vibe_dixon_tra_IN", "t1_vibe_dixon_tra_in_ND",
        "t1_vibe_dixon_cor_in_comp_sp", "t1_vibe_dixon_tra_in_DIS2D", "dixon_in2",
        "InPhase: Ax LAVA-Flex", "In Phase: fat T2*", "Ax T1 in-phase", "IN-PHASE T1", "inphase",
        "T1 INPHASE", "InPhase", "mDIXON_IP", "mDIXON-IP", "mDIXON IP", "WIP mDIXON_IP SENSE",
        "water excitation in phase", "fatsat t1 in-phase", "fat_water_dixon_in", "PDFF_dixon_in",
        "T2star_dixon_in", "t1 gleichphasig", "en phase", "en fase",
    ),
    OUT: (
        "t1_vibe_dixon_tra_opp", "t1_vibe_dixon_tra_opp_ND", "t1_opp_comp_sp",
        "dixon_opp_DIS3D", "OutPhase: Ax LAVA-Flex", "OUT OF PHASE", "out of phase in liver",
        "Ax LAVA in breath hold OUT PHASE", "opposed phase", "opp-phase", "outofphase", "outphase",
        "mDIXON_OP", "t1_dixon_OOP", "t1_dixon_out", "hors phase", "fuera de fase", "Gegenphase",
        "opposition de phase",
    ),
    WATER: (
        "t1_vibe_dixon_tra_W", "t1_vibe_dixon_tra_W_ND", "x_W_comp_sp", "t1_dixon_W_DIS2D",
        "WATER: Ax LAVA-Flex", "WATER Ax LAVA-Flex", "W: dixon", "mDIXON_W", "mDIXON-W", "water",
        "LAVA water", "t1vibedixontraW", "t1_fl2d_opp-in_W", "dixon_w",
        "dixon_eau", "DIXON AGUA", "dixon acqua", "dixon_wat",
    ),
    FAT: (
        "t1_vibe_dixon_tra_F", "dixon_F_ND", "t1_dixon_F_comp_sp", "FAT: Ax LAVA-Flex",
        "FAT Ax LAVA-Flex", "F: mDIXON", "mDIXON F", "LAVA fat", "fat",
        "dixon graisse", "dixon_grasa", "dixon_grasso", "t1_dixon_gordura",
    ),
    None: (
        "t1_vibe_dixon_opp_T2s", "dixonOppT2s", "dixon_R2s", "R2s_Eff", "T2_star", "r2star map",
        "T2*: IDEAL", "R2*: IDEAL IQ", "PDFF", "t1_FatFrac", "FatFrac: x", "fat fraction",
        "FAT_PERCENT", "waterfraction", "dixon_FP", "dixon_FF", "dixon_PIP1", "dixon_ph", "x_Pha",
        "dixon_e1_ph", "dixon_phase", "Dixon Phase", "phase map", "x_real", "x_imaginary", "B0 map",
        "fieldmap", "dixon_SUB", "SUB Ax LAVA", "Subtraction", "dixon_MIP",
    ),
}  # fmt: skip

HINTS = {
    "WATERaxlavaflex": WATER, "Water only dixon": WATER, "dixon fat quant": FAT,
    "T2* mDIXON Quant": None, "PDFF six echoes dixon": None,
    "t1_vibe_dixon_W_MPR": WATER, "dixon_W_2mm": WATER, "dixon_W_AI": WATER, "W mDIXON": WATER,
    "(W) mDIXON SENSE": WATER, "dixon W post": WATER, "t1_dixon_tra_F_MPR_cor": FAT,
    "dixon [F] reformat": FAT, "dixon eau seule": WATER, "dixon GRASA sola": FAT,
    "SUB dixon": None,
}  # fmt: skip

SILENT = (
    "", "Ax T1 fat sat", "Fat sat Ax T1", "fatsat", "non-fat-sat", "nofat", "T1 FS post", "spair",
    "water excitation", "Water excitation Ax", "WATEREXC", "waterexcitation", "water_fat_shift",
    "Dixon fat-water", "fat water sep", "dixon_W+F", "dixon_W_F", "dixon W F", "WFI",
    "t2space", "T2 SPACE sag", "T2w", "T2", "T1W", "T1_W_TSE", "T1 W", "PD W",
    "dixon W CONTRAST", "DIXON W/O GAD", "dixon W GD", "T1 W dixon", "tse_W_neck", "dixon plateau",
    "sub-01 dixon", "LAVA W AND WO",
    "PDw", "phase oversampling", "PhaseEncoding AP", "arterial phase", "portal venous phase",
    "multi phase", "delayed phase", "3 phases", "real time", "FOV 300", "WIP mDIXON", "FLASH",
    "FFE", "FS", "dixon", "ideal", "LAVA-Flex", "t1_vibe_dixon_tra", "t1_vibe_dixon_tra_p2_bh",
    "t1_tse_dixon_cor", "mDIXON All BH", "spin", "brain", "output", "inplane", "routine",
    "interpolated", "Fatigue study", "breath-in", "neck_post_op", "pre-OP", "perfusion wash_out",
    "wash-in",
)  # fmt: skip


@pytest.mark.parametrize("text", BOTH_PHASES)
def test_texts_that_name_both_phases_say_nothing(text: str) -> None:
    assert names_both_phases(text)
    assert read_contrast(text) is None


@pytest.mark.parametrize(
    ("text", "contrast"), [(text, contrast) for contrast, texts in SAID.items() for text in texts]
)
def test_texts_that_name_a_contrast(text: str, contrast: Contrast | None) -> None:
    reading = read_contrast(text)
    assert reading is not None
    assert (reading.contrast, reading.firm) == (contrast, True)


@pytest.mark.parametrize(("text", "contrast"), HINTS.items())
def test_texts_that_hint_at_a_contrast(text: str, contrast: Contrast | None) -> None:
    reading = read_contrast(text)
    assert reading is not None
    assert (reading.contrast, reading.firm) == (contrast, False)


@pytest.mark.parametrize("text", SILENT)
def test_texts_that_say_nothing(text: str) -> None:
    assert read_contrast(text) is None
    assert not names_both_phases(text)


@pytest.mark.parametrize("value", ["inoutphase", "InOutPhase", "outinphase", "inandoutphase"])
@pytest.mark.parametrize("place", ["acq", "desc", "rec", "part"])
def test_labels_that_name_both_phases_are_silent(tmp_path: Path, place: str, value: str) -> None:
    for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
        name = f"sub-01_{place}-{value}_echo-{echo}_MEGRE.nii.gz"
        add_image(start_dataset(tmp_path / "bids"), f"sub-01/anat/{name}", fields)
    (pair,) = find(tmp_path / "bids")
    assert isinstance(pair, DixonPair)
    assert pair.recognised_by.startswith("echo time")


@pytest.mark.parametrize("place", ["sub", "ses", *sorted(INDEX_ENTITIES), "dir", "task", "ce"])
@pytest.mark.parametrize("value", ["IN", "opp", "inphase", "W", "fat", "IN01"])
def test_labels_of_people_and_the_like_say_nothing(place: str, value: str) -> None:
    assert read_place(place, value) == ()


def test_participants_and_sessions_named_like_contrasts(tmp_path: Path) -> None:
    dataset = start_dataset(tmp_path / "bids")
    names = [make_pair(dataset, label, "opp") for label in ("IN01", "inphase", "water", "OUT")]
    scans = find(dataset)
    assert [scan.scan for scan in scans] == sorted(names)
    assert all(isinstance(scan, DixonPair) for scan in scans)


# --- images that are set aside before the echo time is asked --------------------------------------


def find(bids_dir: Path, **more: object) -> list[DixonPair | UnusableScan]:
    return find_scans(RunOptions(bids_dir, bids_dir.parent / "out", "participant", **more))  # type: ignore[arg-type]


def find_with(
    tmp_path: Path, field: str, text: str, more: dict[str, object]
) -> DixonPair | UnusableScan:
    """Two echoes, of which the in-phase one has a text of its own."""
    dataset = start_dataset(tmp_path / "bids")
    add_image(dataset, MEGRE.format(1), THREE_TESLA_OOP | {field: "t1_vibe_dixon"} | more)
    add_image(dataset, MEGRE.format(2), THREE_TESLA_IP | {field: text} | more)
    (scan,) = find(dataset)
    return scan


@pytest.mark.parametrize("field", ["SeriesDescription", "ProtocolName"])
@pytest.mark.parametrize(
    "text",
    ["t1_vibe_dixon_tra_W_ND", "t1_vibe_dixon_W_comp_sp", "WATER Ax LAVA-Flex", "dixon_opp_T2s",
     "FAT: Ax LAVA-Flex", "T2* mDIXON Quant", "mDIXON fat", "dixon_ph", "dixon_real", "dixon PDFF",
     "dixon_imaginary", "dixon field map", "Dixon subtraction"],
)  # fmt: skip
def test_other_image_at_the_echo_time_of_a_phase(tmp_path: Path, field: str, text: str) -> None:
    scan = find_with(tmp_path, field, text, {})
    assert isinstance(scan, UnusableScan)
    assert scan.in_phase is None
    assert "its in-phase image was not found" in scan.problem


@pytest.mark.parametrize("field", ["SeriesDescription", "ProtocolName"])
@pytest.mark.parametrize(
    "text",
    ["dixon fat sat", "dixon water excitation", "dixon WATEREXC", "dixon t2space", "dixon W+F",
     "dixon phase oversampling", "dixon FOV 300", "WIP mDIXON", "dixon in/out phase", "dixon in",
     "T1W dixon"],
)  # fmt: skip
def test_good_image_is_not_set_aside(tmp_path: Path, field: str, text: str) -> None:
    scan = find_with(tmp_path, field, text, {})
    assert isinstance(scan, DixonPair), scan.problem


@pytest.mark.parametrize("text", ["fat quant dixon", "T2star_dixon", "PDFF dixon six echoes"])
@pytest.mark.parametrize("field", ["SeriesDescription", "ProtocolName"])
def test_text_that_both_echoes_share_says_nothing(tmp_path: Path, field: str, text: str) -> None:
    scan = find_with(tmp_path, "Comment", "x", {field: text})
    assert isinstance(scan, DixonPair), scan.problem
    assert scan.recognised_by.startswith("echo time")


@pytest.mark.parametrize("text", ["t1_vibe_dixon_F", "IN PHASE", "WATER: x", "T1 opp phase"])
def test_description_that_all_contrasts_share_says_nothing(tmp_path: Path, text: str) -> None:
    dataset = start_dataset(tmp_path / "bids")
    for echo, word in (("1", "OUT_PHASE"), ("2", "IN_PHASE")):
        fields = {"ImageType": ["ORIGINAL", "PRIMARY", "M", word], "SeriesDescription": text}
        add_image(dataset, MEGRE.format(echo), fields)
    (scan,) = find(dataset)
    assert isinstance(scan, DixonPair), scan.problem


def test_shared_protocol_does_not_hide_that_the_field_strength_is_missing(tmp_path: Path) -> None:
    dataset = start_dataset(tmp_path / "bids")
    for echo, time_s in (("1", 0.0023), ("2", 0.0046)):
        fields = {"EchoTime": time_s, "ProtocolName": "T2star_dixon"}
        add_image(dataset, MEGRE.format(echo), fields)
    (scan,) = find(dataset)
    assert "MagneticFieldStrength" in scan.problem  # type: ignore[union-attr]


@pytest.mark.parametrize("units", ["rad", "Hz", "percent"])
def test_units_of_a_map_set_it_aside(tmp_path: Path, units: str) -> None:
    scan = find_with(tmp_path, "Units", units, {})
    assert isinstance(scan, UnusableScan)


@pytest.mark.parametrize(
    "name",
    ["acq-dixon_echo-2_MEGRE_ph", "acq-dixon_MEGRE_e2_ph", "acq-dixon_MEGRE_e2_real",
     "acq-dixon_MEGRE_e2_imaginary", "acq-dixon_part-phase_MEGRE", "acq-dixon_part-imaginary_MEGRE",
     "acq-dixonW_MEGRE", "acq-dixonWND_MEGRE", "acq-dixonT2s_MEGRE", "acq-dixon_W_ND",
     "acq-dixon_W_comp_sp", "acq-dixon_opp_T2s", "acq-dixon_rec-water_MEGRE",
     "acq-dixon_desc-fat_MEGRE", "acq-dixon_R2s", "acq-dixon_water_T1w", "acq-dixon_FF",
     "acq-dixonWATERAxLAVA_MEGRE", "acq-dixon_fieldmap", "acq-dixon_B0", "acq-dixon_sub"],
)  # fmt: skip
@pytest.mark.parametrize("copied", [False, True], ids=["no ImageType", "ImageType of the phase"])
def test_other_image_beside_a_pair_by_its_name(tmp_path: Path, name: str, copied: bool) -> None:
    """Water, phase and map files with the sidecar of the in-phase image never take its place."""
    dataset = start_dataset(tmp_path / "bids")
    kind = {"ImageType": ["ORIGINAL", "PRIMARY", "M"]} if copied else {}
    oop = add_image(dataset, MEGRE.format(1), THREE_TESLA_OOP | kind)
    ip = add_image(dataset, MEGRE.format(2), THREE_TESLA_IP | kind)
    add_image(dataset, f"sub-01/anat/sub-01_{name}.nii.gz", THREE_TESLA_IP | kind)
    (scan,) = find(dataset)
    assert isinstance(scan, DixonPair), scan.problem
    assert (scan.in_phase, scan.out_phase) == (ip, oop)
    assert scan.scan == "sub-01_acq-dixon"


@pytest.mark.parametrize(
    "name",
    [
        "echo-2_MEGRE_ph",
        "MEGRE_e2_real",
        "part-phase_echo-2_MEGRE",
        "opp_T2s",
        "MEGRE_e2_imaginary",
    ],
)
def test_phase_part_with_the_image_type_of_its_magnitude(tmp_path: Path, name: str) -> None:
    dataset = start_dataset(tmp_path / "bids")
    words = {1: "OUT_PHASE", 2: "IN_PHASE"}
    for echo, word in words.items():
        fields = {"ImageType": ["ORIGINAL", "PRIMARY", "M", word]}
        add_image(dataset, MEGRE.format(echo), fields)
    add_image(dataset, f"sub-01/anat/sub-01_acq-dixon_{name}.nii.gz", fields)
    (scan,) = find(dataset)
    assert isinstance(scan, DixonPair), scan.problem


# --- privacy --------------------------------------------------------------------------------------

PERSON = "Erika Mustermann 1960"


@pytest.mark.parametrize(
    ("ip", "oop", "shown"),
    [
        (f"{PERSON}_in", f"{PERSON}_opp", 'SeriesDescription: "in", "opp"'),
        (f"In Phase: {PERSON}", f"Out Phase: {PERSON}", 'SeriesDescription: "In Phase", "Out'),
        (f"{PERSON} in-phase knee", f"x opposed phase {PERSON}", '"in phase", "opposed phase"'),
    ],
)
def test_only_the_recognised_words_of_a_description_are_written(
    tmp_path: Path, ip: str, oop: str, shown: str
) -> None:
    dataset = start_dataset(tmp_path / "bids")
    add_image(dataset, MEGRE.format(1), {"SeriesDescription": oop})
    add_image(dataset, MEGRE.format(2), {"SeriesDescription": ip})
    (scan,) = find(dataset)
    assert shown in scan.recognised_by
    assert not any(word in scan.recognised_by for word in PERSON.split())


@pytest.mark.parametrize("field", ["SeriesDescription", "ProtocolName"])
@pytest.mark.parametrize("kind", [{}, {"ImageType": ["M", "OUT_PHASE"]}, {"EchoTime": None}])
def test_no_message_repeats_a_description(
    tmp_path: Path, field: str, kind: dict[str, object]
) -> None:
    dataset = start_dataset(tmp_path / "bids")
    for echo, text in ((1, f"{PERSON}_in"), (2, f"{PERSON}_in"), (3, f"{PERSON} dixon_W")):
        add_image(dataset, MEGRE.format(echo), THREE_TESLA_IP | {field: text} | kind)
    (scan,) = find(dataset)
    assert isinstance(scan, UnusableScan)
    written = f"{scan.problem} {scan.recognised_by}"
    assert not any(word in written for word in PERSON.split())


@pytest.mark.parametrize("value", ["²", "\u0661", "1²", "", "-1", "1.0"])
def test_only_plain_digits_are_numbers(value: str) -> None:
    assert not is_index(value)
