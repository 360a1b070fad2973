"""Sidecar values as converters and people write them: read as meant, or explained."""

import json
from pathlib import Path

import pytest
from bids_datasets import THREE_TESLA_IP, THREE_TESLA_OOP, add_image, start_dataset

from bids_mfi.discovery import UnusableScan, find_scans
from bids_mfi.discovery.sidecar_values import (
    read_echo_time_s,
    read_field_strength_t,
    read_frequency_mhz,
    read_imaging_frequency_mhz,
    read_words,
)
from bids_mfi.measure.pair import DixonPair
from bids_mfi.options import RunOptions

ANAT = "sub-01/anat/sub-01_"
NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (0.00246, 2.46),
        ("0.00246", 2.46),
        ("0,00246", 2.46),
        (" 2.46e-3 ", 2.46),
        (2.46, 2.46),
        ("2.46", 2.46),
        ("2,46", 2.46),
        ("2.46 ms", 2.46),
        ("2.46ms", 2.46),
        ("0.00246 s", 2.46),
        ("2460 us", 2.46),
        ("2460 \N{MICRO SIGN}s", 2.46),
        ("2460 \N{GREEK SMALL LETTER MU}s", 2.46),
        ([0.00246], 2.46),
        ([[0.00246]], 2.46),
        (["2.46"], 2.46),
        ([0.00246, 0.00246], 2.46),
        (23.0, 23.0),
        (5, 5.0),
    ],
)
def test_echo_time_is_read_as_meant(value: object, milliseconds: float) -> None:
    found = read_echo_time_s({"EchoTime": value})
    assert found.number == pytest.approx(milliseconds / 1000)
    assert found.problem == ""
    assert bool(found.remark) == (value != 0.00246)


@pytest.mark.parametrize(
    "value",
    [0, 0.0, -0.00246, NAN, float("inf"), -1, True, False, "", "n/a", "abc", {}, {"a": 1}, [],
     [0.00123, 0.00246], 0.15, "0.2", 2460,
     1.23e-6, 9e-5, 10**400, "2.46 kg", "1.23, 2.46", "1.2.3", "-2.46",
     [0.00246, None], "\N{SUPERSCRIPT TWO}"],
)  # fmt: skip
def test_echo_time_that_cannot_be_used_is_shown(value: object) -> None:
    found = read_echo_time_s({"EchoTime": value})
    assert found.number is None
    assert found.remark == ""
    assert found.problem.startswith("EchoTime is ")
    assert "seconds" in found.problem


def test_absent_echo_time_is_no_problem() -> None:
    for metadata in ({}, {"EchoTime": None}):
        found = read_echo_time_s(metadata)
        assert (found.number, found.remark, found.problem) == (None, "", "")


@pytest.mark.parametrize(
    ("metadata", "echo", "milliseconds"),
    [
        ({"EchoTime": [0.00123, 0.00246]}, 1, 1.23),
        ({"EchoTime": [0.00123, 0.00246]}, 2, 2.46),
        ({"EchoTime": [1.23, 2.46]}, 2, 2.46),
        ({"EchoTime": [0.00123, 0.00246]}, 3, None),
        ({"EchoTime1": 0.00123, "EchoTime2": 0.00246}, 2, 2.46),
        ({"EchoTime1": 0.00123, "EchoTime2": 0.00246}, None, None),
        ({"EchoTime1": 0.00123, "EchoTime2": 0.00246}, 3, None),
        ({"EchoTime1": 0.00123}, None, 1.23),
        ({"EchoTime": 0.00246, "EchoTime1": 0.00123, "EchoTime2": 0.00246}, 1, 2.46),
    ],
)
def test_echo_time_of_one_echo_of_several(
    metadata: dict[str, object], echo: int | None, milliseconds: float | None
) -> None:
    found = read_echo_time_s(metadata, echo)
    assert found.number == (None if milliseconds is None else pytest.approx(milliseconds / 1000))
    assert bool(found.problem) == (milliseconds is None)


@pytest.mark.parametrize(
    ("value", "tesla"),
    [
        (3, 3.0), (1.5, 1.5), (0.35, 0.35), (7, 7.0), ("3", 3.0), ("3T", 3.0), ("3 T", 3.0),
        ("3.0 Tesla", 3.0), ("1,5", 1.5), ([3], 3.0), (30000, 3.0), ("30000", 3.0),
        ("30000 G", 3.0), ("30000 Gauss", 3.0), (15000, 1.5), (70000, 7.0), ("3000 mT", 3.0),
        ("1500mT", 1.5), (10000, None), (3000, None), (1500, None), (64, None), (123.2, None),
        (0, None), (-3, None), (NAN, None), (float("inf"), None), (True, None), ("", None),
        ("high", None), ({}, None), ([1.5, 3], None), (3e8, None), (10**400, None),
    ],
)  # fmt: skip
def test_field_strength(value: object, tesla: float | None) -> None:
    found = read_field_strength_t({"MagneticFieldStrength": value})
    assert found.number == (None if tesla is None else pytest.approx(tesla))
    assert bool(found.problem) == (tesla is None)
    if tesla is None:
        assert found.problem.startswith("MagneticFieldStrength is ")
        assert "tesla" in found.problem
    else:
        assert bool(found.remark) == (value != tesla)


@pytest.mark.parametrize(
    ("field", "frequency", "tesla"),
    [(3000, 123.2, 3.0), (3000, 12.8, 0.3), (1500, "63.9 MHz", 1.5), (3000, 63.9, None)],
)
def test_the_frequency_decides_between_gauss_and_millitesla(
    field: object, frequency: object, tesla: float | None
) -> None:
    metadata = {"MagneticFieldStrength": field, "ImagingFrequency": frequency}
    assert read_field_strength_t(metadata).number == tesla


@pytest.mark.parametrize(
    ("value", "megahertz"),
    [
        (123.2, 123.2), ("123.2", 123.2), ("123.2 MHz", 123.2), ("123,2", 123.2),
        (123200000, 123.2), ("123200000", 123.2), ("123200000 Hz", 123.2), (123200, 123.2),
        ("123200 kHz", 123.2), ([123.2], 123.2), (63.87e6, 63.87), (0, None), (-1, None),
        (NAN, None), (True, None), ("x", None), ([63, 123], None), (1e12, None),
    ],
)  # fmt: skip
def test_imaging_frequency(value: object, megahertz: float | None) -> None:
    found = read_imaging_frequency_mhz({"ImagingFrequency": value})
    assert found.number == (None if megahertz is None else pytest.approx(megahertz))
    assert bool(found.problem) == (megahertz is None)
    if megahertz is not None:
        assert bool(found.remark) == (value != megahertz)


def test_an_unusable_field_leaves_the_frequency() -> None:
    found = read_frequency_mhz({"MagneticFieldStrength": "?", "ImagingFrequency": "123.2"})
    assert found.number == pytest.approx(123.2)


@pytest.mark.parametrize(
    "value",
    [
        "ORIGINAL/PRIMARY/M/OUT_PHASE",
        "ORIGINAL\\PRIMARY\\M\\OUT_PHASE",
        "ORIGINAL, PRIMARY, M, OUT_PHASE",
        "ORIGINAL;PRIMARY;M;OUT_PHASE",
        "ORIGINAL|PRIMARY|M|OUT_PHASE",
        "ORIGINAL PRIMARY M OUT_PHASE",
        "['ORIGINAL', 'PRIMARY', 'M', 'OUT_PHASE']",
        ["ORIGINAL/PRIMARY/M/OUT_PHASE"],
        ["ORIGINAL\\PRIMARY", "M\\OUT_PHASE"],
        [["ORIGINAL", "PRIMARY", "M", "OUT_PHASE"]],
        ["ORIGINAL", "PRIMARY", "M", "OUT_PHASE"],
    ],
)
def test_image_type_in_one_text(value: object) -> None:
    assert read_words(value) == ("ORIGINAL", "PRIMARY", "M", "OUT_PHASE")


@pytest.mark.parametrize("value", [None, True, {}, {"a": "IN_PHASE"}, [], ""])
def test_image_type_without_words(value: object) -> None:
    assert read_words(value) == ()


def test_words_with_blanks_stay_together() -> None:
    assert read_words(["DERIVED", "opposed phase", "in vivo"])[1:] == ("opposed phase", "in vivo")
    assert "out_of_phase" in read_words("derived primary out of phase")


# --- in a search ---------------------------------------------------------------------------------


def search(folder: Path, *sidecars: dict[str, object]) -> DixonPair | UnusableScan:
    """The only scan, of echoes whose names tell nothing."""
    dataset = start_dataset(folder)
    for number, fields in enumerate(sidecars, start=1):
        add_image(dataset, f"{ANAT}echo-{number}_MEGRE.nii.gz", fields)
    (scan,) = find_scans(RunOptions(dataset, folder / "out", "participant"))
    return scan


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"EchoTime": "0.00246"}, 'EchoTime "0.00246" read as 2.46 ms'),
        ({"EchoTime": 2.46}, "EchoTime 2.46 read as 2.46 ms"),
        ({"EchoTime": [0.00246]}, "EchoTime [0.00246] read as 2.46 ms"),
        ({"MagneticFieldStrength": "3"}, 'MagneticFieldStrength "3" read as 3 T'),
        ({"MagneticFieldStrength": 30000}, "MagneticFieldStrength 30000 read as 3 T"),
    ],
)
def test_what_is_reinterpreted_is_told(
    tmp_path: Path, change: dict[str, object], remark: str
) -> None:
    scan = search(tmp_path / "bids", THREE_TESLA_OOP, THREE_TESLA_IP | change)
    assert isinstance(scan, DixonPair), scan.problem
    assert scan.echo_times_ms == (pytest.approx(2.46), pytest.approx(1.23))
    assert scan.field_strength_t == pytest.approx(3)
    assert f"{ANAT}echo-2_MEGRE.json: {remark}" in scan.recognised_by


def test_sound_sidecars_get_no_remark(tmp_path: Path) -> None:
    scan = search(tmp_path / "bids", THREE_TESLA_OOP, THREE_TESLA_IP)
    assert scan.recognised_by == "echo time: 2.46 ms at 3 T, 1.23 ms at 3 T"


def test_image_type_in_one_text_is_told(tmp_path: Path) -> None:
    types = ("DERIVED/PRIMARY/DIXON/OPP_PHASE", "DERIVED/PRIMARY/DIXON/IN_PHASE")
    scan = search(tmp_path / "bids", *({"ImageType": text} for text in types))
    assert isinstance(scan, DixonPair)
    assert scan.in_phase.name == "sub-01_echo-2_MEGRE.nii.gz"
    assert f'ImageType "{types[1]}" read as the words DERIVED PRIMARY' in scan.recognised_by


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"EchoTime": 0}, "EchoTime is 0, expected seconds"),
        ({"EchoTime": NAN}, "EchoTime is NaN, expected seconds"),
        ({"EchoTime": True}, "EchoTime is true, expected seconds"),
        ({"EchoTime": "n/a"}, 'EchoTime is "n/a", expected seconds'),
        ({"MagneticFieldStrength": 3000}, "MagneticFieldStrength is 3000, which may be 0.3 T"),
        ({"MagneticFieldStrength": "high"}, 'MagneticFieldStrength is "high", expected tesla'),
    ],
)
def test_what_cannot_be_read_is_told_with_file_and_expectation(
    tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    scan = search(tmp_path / "bids", THREE_TESLA_OOP, THREE_TESLA_IP | change)
    assert isinstance(scan, UnusableScan)
    assert f"{ANAT}echo-2_MEGRE.json: {problem}" in scan.problem
    assert "Add EchoTime" not in scan.problem


def test_the_inherited_sidecar_is_named(tmp_path: Path) -> None:
    dataset = start_dataset(tmp_path / "bids")
    (dataset / "MEGRE.json").write_text(json.dumps({"MagneticFieldStrength": "three"}))
    for echo, time_s in (("1", 0.00123), ("2", 0.00246)):
        add_image(dataset, f"{ANAT}echo-{echo}_MEGRE.nii.gz", {"EchoTime": time_s})
    (scan,) = find_scans(RunOptions(dataset, tmp_path / "out", "participant"))
    assert isinstance(scan, UnusableScan)
    assert scan.problem.count('MEGRE.json: MagneticFieldStrength is "three"') == 1
    assert "sub-01_MEGRE.json" not in scan.problem


def test_one_sidecar_with_the_echo_times_of_all_echoes(tmp_path: Path) -> None:
    dataset = start_dataset(tmp_path / "bids")
    fields = {"EchoTime": [0.00123, 0.00246], "MagneticFieldStrength": 3}
    (dataset / "MEGRE.json").write_text(json.dumps(fields))
    for echo in ("1", "2"):
        add_image(dataset, f"{ANAT}echo-{echo}_MEGRE.nii.gz")
    (scan,) = find_scans(RunOptions(dataset, tmp_path / "out", "participant"))
    assert isinstance(scan, DixonPair), scan.problem
    assert scan.in_phase.name == "sub-01_echo-2_MEGRE.nii.gz"
    assert "the value of echo 2" in scan.recognised_by


def test_values_of_a_pair_known_by_name_do_not_stop_it(tmp_path: Path) -> None:
    dataset = start_dataset(tmp_path / "bids")
    for word in ("inphase", "outphase"):
        add_image(dataset, f"{ANAT}acq-{word}_T1w.nii.gz", {"EchoTime": 0})
    (scan,) = find_scans(RunOptions(dataset, tmp_path / "out", "participant"))
    assert isinstance(scan, DixonPair), scan.problem
    assert scan.echo_times_ms == (None, None)
    assert "not used: sub-01/anat/sub-01_acq-inphase_T1w.json: EchoTime is 0" in scan.recognised_by


def test_an_unusable_echo_time_of_a_plain_image(tmp_path: Path) -> None:
    """Two echoes of a T1w, the name says nothing of Dixon."""
    dataset = start_dataset(tmp_path / "bids")
    for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP | {"EchoTime": 0})):
        add_image(dataset, f"{ANAT}acq-neck_echo-{echo}_T1w.nii.gz", fields)
    (scan,) = find_scans(RunOptions(dataset, tmp_path / "out", "participant"))
    assert isinstance(scan, UnusableScan)
    assert "echo-2_T1w.json: EchoTime is 0" in scan.problem
