"""Pairs whose names differ by what a converter added, and files that are no images of a scan."""

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from bids_datasets import (
    FAT,
    IP,
    OOP,
    SIGNAL,
    THREE_TESLA_IP,
    THREE_TESLA_OOP,
    WATER,
    add_image,
    make_pair,
    start_dataset,
)

from bids_mfi.discovery import UnusableScan, find_scans
from bids_mfi.discovery.acquisition import Kinship, compare_acquisitions
from bids_mfi.discovery.filters import MOST_BYTES
from bids_mfi.errors import DatasetError
from bids_mfi.measure.pair import DixonPair
from bids_mfi.options import RunOptions

TYPES = {IP: "IN_PHASE", OOP: "OUT_PHASE", WATER: "WATER", FAT: "FAT"}
ECHOES = {IP: THREE_TESLA_IP, OOP: THREE_TESLA_OOP, WATER: THREE_TESLA_IP, FAT: THREE_TESLA_IP}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return start_dataset(tmp_path / "bids")


def find(bids_dir: Path, **more: object) -> list[DixonPair | UnusableScan]:
    return find_scans(RunOptions(bids_dir, bids_dir.parent / "out", "participant", **more))  # type: ignore[arg-type]


def add(bids_dir: Path, name: str, contrast: str | None = None, **fields: object) -> Path:
    """An image of participant 01, whose sidecar tells the contrast if one is given."""
    told = {"ImageType": ["ORIGINAL", "PRIMARY", "M", TYPES[contrast]]} if contrast else {}
    echo = ECHOES[contrast] if contrast else {}
    path = f"sub-01/anat/sub-01_{name}.nii.gz"
    signal = SIGNAL[contrast] if contrast else 100
    return add_image(bids_dir, path, told | echo | fields or None, signal=signal)


def find_pair(bids_dir: Path) -> DixonPair:
    (scan,) = find(bids_dir)
    assert isinstance(scan, DixonPair), scan.problem
    return scan


def refeed(bids_dir: Path, scan: DixonPair | UnusableScan) -> list[DixonPair | UnusableScan]:
    """Search again with the filter file that a problem prints."""
    assert isinstance(scan, UnusableScan)
    printed = re.search(r'\{"ip": .*?\}\}', scan.problem)
    assert printed, scan.problem
    path = bids_dir.parent / "printed.json"
    path.write_text(json.dumps(json.loads(printed.group())))
    return find(bids_dir, bids_filter_file=path)


# --- names that only a pair of them tells ---------------------------------------------------------


@pytest.mark.parametrize(
    ("ip", "oop", "scan"),
    [
        ("acq-IP_T1w", "acq-OOP_T1w", "acq-dixon"),
        ("acq-in_T1w", "acq-opp_T1w", "acq-dixon"),
        ("acq-in_T1w", "acq-out_T1w", "acq-dixon"),
        ("acq-inphase_T1w", "acq-opposite_T1w", "acq-dixon"),
        ("acq-INPHASE_T1w", "acq-OUTPHASE_T1w", "acq-dixon"),
        ("acq-dixonin_T1w", "acq-dixonopp_T1w", "acq-dixon"),
        ("acq-dixonIn_T1w", "acq-dixonOut_T1w", "acq-dixon"),
        ("acq-dixonIP_T1w", "acq-dixonOP_T1w", "acq-dixon"),
        ("acq-t1vibedixontrain_T1w", "acq-t1vibedixontraopp_T1w", "acq-t1vibedixontra"),
        ("acq-t1vibetrain_T1w", "acq-t1vibetraopp_T1w", "acq-t1vibetra"),
        ("acq-dixoninND_T1w", "acq-dixonoppND_T1w", "acq-dixonND"),
        ("acq-inTSE_run-2_T1w", "acq-oppTSE_run-2_T1w", "acq-TSE_run-2"),
        ("desc-inphase_T1w", "desc-outphase_T1w", "acq-dixon"),
        ("acq-neck_desc-inphase_T1w", "acq-neck_desc-oppphase_T1w", "acq-neck"),
        ("acq-neck_contrast-ip_T1w", "acq-neck_contrast-oop_T1w", "acq-neck"),
        ("rec-inph_T1w", "rec-outph_T1w", "acq-dixon"),
        ("T1win", "T1wopp", "acq-dixon"),
        ("acq-neck_in_T1w", "acq-neck_opp_T1w", "acq-neck"),
        ("acq-neck_T1w_in", "acq-neck_T1w_opp", "acq-neck"),
        ("t1_vibe_dixon_tra_in_2", "t1_vibe_dixon_tra_opp_2", "acq-dixon"),
        ("acq-inphase_run-1_T1w", "acq-outphase_run-01_T1w", "acq-dixon_run-1"),
        ("acq-inphase_run-001_T1w", "acq-outphase_run-1_T1w", "acq-dixon_run-001"),
    ],
)
def test_names_alone_tell_a_pair(dataset: Path, ip: str, oop: str, scan: str) -> None:
    paths = add(dataset, ip), add(dataset, oop)
    pair = find_pair(dataset)
    assert (pair.in_phase, pair.out_phase) == paths
    assert pair.scan == f"sub-01_{scan}"
    assert pair.recognised_by.startswith("file name")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("acq-brain_T1w", "acq-spine_T1w"),
        ("acq-t1train_T1w", "acq-t1open_T1w"),
        ("acq-t1vibein_T1w", "acq-t1tseopp_T1w"),
        ("acq-train_T1w", "acq-traopp_T2w"),
        ("dir-in_T1w", "dir-out_T1w"),
        ("acq-op_T1w", "acq-post_T1w"),
        ("ce-in_T1w", "ce-opp_T1w"),
        ("chunk-in_T1w", "chunk-opp_T1w"),
        ("acq-brainW_T1w", "acq-brainF_T1w"),
    ],
)
def test_endings_that_only_look_like_phases(dataset: Path, first: str, second: str) -> None:
    make_pair(dataset, "02")
    for name in (first, second):
        add(dataset, name)
    assert [scan.participant for scan in find(dataset)] == ["02"]


def test_glued_name_that_the_sidecar_contradicts(dataset: Path) -> None:
    add(dataset, "acq-t1train_T1w", OOP)
    add(dataset, "acq-t1traopp_T1w", IP)
    (scan,) = find(dataset)
    assert isinstance(scan, UnusableScan)
    assert "ImageType says out-of-phase" in scan.problem


# --- counters -------------------------------------------------------------------------------------

COUNTERS = {
    "runs": ("acq-dixon_run-02_T1w", "acq-dixon_run-01_T1w"),
    "duplicates": ("acq-dixon_T1w", "acq-dixon_T1w__dup-01"),
    "descriptions": ("acq-series5_T1w", "acq-series6_T1w"),
    "words": ("IN_T1w", "dixon_OPP_T1w"),
    "named phases": ("acq-inphase_run-1_T1w", "acq-outphase_run-2_T1w"),
    "reconstructions": ("rec-a_T1w", "rec-b_T1w"),
    "other suffix": ("acq-dixon_T1w", "acq-dixon_vibe"),
}
SERIES_COUNTERS = {
    "HeuDiConv": ("acq-dixon_T1w2", "acq-dixon_T1w1"),
    "HeuDiConv with a word": ("acq-dixon_T1w_heudiconv822_e2", "acq-dixon_T1w_heudiconv822_e1"),
    "dcm2niix letters": ("acq-dixon_T1wa", "acq-dixon_T1wb"),
    "dcm2niix first letter": ("acq-dixon_T1w", "acq-dixon_T1wa"),
    "dcm2niix echoes": ("acq-dixon_T1w_e2", "acq-dixon_T1w_e1"),
    "vibe": ("acq-dixon_vibe1", "acq-dixon_vibe2"),
}
SAME = (
    {"AcquisitionTime": "10:15:02.250000"},
    {"AcquisitionTime": "101502.25"},
    {"AcquisitionDateTime": "2024-01-05T10:15:02.25"},
    {"SeriesInstanceUID": "1.2.840.1"},
    {"SeriesNumber": 5, "AcquisitionNumber": 1},
)


@pytest.mark.parametrize("names", COUNTERS.values(), ids=COUNTERS)
@pytest.mark.parametrize("fields", SAME, ids=lambda fields: next(iter(fields)))
def test_counted_images_of_one_acquisition(
    dataset: Path, names: tuple[str, str], fields: dict[str, object]
) -> None:
    ip, oop = add(dataset, names[0], IP, **fields), add(dataset, names[1], OOP, **fields)
    pair = find_pair(dataset)
    assert (pair.in_phase, pair.out_phase) == (ip, oop)
    assert pair.scan.startswith("sub-01_acq-")
    assert "run" not in pair.scan


@pytest.mark.parametrize("names", COUNTERS.values(), ids=COUNTERS)
@pytest.mark.parametrize(
    "fields",
    [
        ({}, {}),
        ({"AcquisitionTime": "10:15:02"}, {"AcquisitionTime": "10:16:02"}),
        ({"AcquisitionTime": "00:00:00.000"}, {"AcquisitionTime": "00:00:00.000"}),
        ({"SeriesNumber": 5}, {"SeriesNumber": 5}),
        ({"SeriesInstanceUID": ""}, {"SeriesInstanceUID": ""}),
        ({"AcquisitionTime": "10:15:02", "FlipAngle": 9}, {"AcquisitionTime": "10:15:02",
                                                          "FlipAngle": 15}),
        ({"AcquisitionTime": []}, {"AcquisitionTime": {"a": 1}}),
    ],
)  # fmt: skip
def test_doubtful_partner_is_named_with_a_filter_that_pairs(
    dataset: Path, names: tuple[str, str], fields: tuple[dict[str, object], dict[str, object]]
) -> None:
    ip, oop = add(dataset, names[0], IP, **fields[0]), add(dataset, names[1], OOP, **fields[1])
    add(dataset, "T2w")
    scans = find(dataset)
    assert len(scans) == 2
    for scan, partner in zip(
        sorted(scans, key=lambda s: s.in_phase is None), (oop, ip), strict=True
    ):
        assert isinstance(scan, UnusableScan)
        assert f"A possible partner is sub-01/anat/{partner.name}" in scan.problem
        (pair,) = refeed(dataset, scan)
        assert isinstance(pair, DixonPair)
        assert (pair.in_phase, pair.out_phase) == (ip, oop)


@pytest.mark.parametrize("names", SERIES_COUNTERS.values(), ids=SERIES_COUNTERS)
def test_counters_within_one_series_need_no_proof(dataset: Path, names: tuple[str, str]) -> None:
    ip, oop = add(dataset, names[0], IP), add(dataset, names[1], OOP)
    pair = find_pair(dataset)
    assert (pair.in_phase, pair.out_phase) == (ip, oop)
    assert pair.scan == "sub-01_acq-dixon"


def test_counters_within_one_series_of_two_acquisitions(dataset: Path) -> None:
    add(dataset, "acq-dixon_T1w1", IP, AcquisitionTime="10:15:02")
    add(dataset, "acq-dixon_T1w2", OOP, AcquisitionTime="10:17:02")
    assert all("another acquisition time" in scan.problem for scan in find(dataset))  # type: ignore[union-attr]


def test_runs_that_number_the_four_contrasts(dataset: Path) -> None:
    paths = {
        contrast: add(dataset, f"acq-dixon_run-0{number}_T1w", contrast)
        for number, contrast in enumerate((OOP, IP, WATER, FAT), start=1)
    }
    pair = find_pair(dataset)
    assert {c: getattr(pair, c) for c in paths} == paths
    assert pair.scan == "sub-01_acq-dixon"


@pytest.mark.parametrize("order", [(IP, OOP, IP, OOP), (IP, IP, OOP, OOP), (OOP, IP, IP, OOP)])
@pytest.mark.parametrize(
    "template", ["acq-dixon_run-0{}_T1w", "acq-dixon_T1w{}", "acq-dixon_T1w__dup-0{}"]
)
def test_counted_repeats_are_never_crossed(
    dataset: Path, order: tuple[str, ...], template: str
) -> None:
    """Two repeats under one counter: acquisition times tell them apart, or nothing does."""
    seen = {IP: 0, OOP: 0}
    times = ("10:15:02", "10:19:40")
    for number, contrast in enumerate(order, start=1):
        time = times[seen[contrast]]
        add(dataset, template.format(number), contrast, AcquisitionTime=time)
        seen[contrast] += 1
    scans = find(dataset)
    assert len({scan.scan for scan in scans}) == 2
    for scan in scans:
        assert isinstance(scan, DixonPair), scan.problem
        sidecars = [
            json.loads(Path(str(path).replace(".nii.gz", ".json")).read_text())
            for path in (scan.in_phase, scan.out_phase)
        ]
        assert sidecars[0]["AcquisitionTime"] == sidecars[1]["AcquisitionTime"]


def test_counted_repeats_without_times_are_named_in_order(dataset: Path) -> None:
    for number, contrast in enumerate((OOP, IP, OOP, IP), start=1):
        add(dataset, f"acq-dixon_run-0{number}_T1w", contrast)
    scans = find(dataset)
    assert len(scans) == 4
    for scan, (ip, oop) in zip(scans, ((2, 1), (2, 1), (4, 3), (4, 3)), strict=True):
        assert "more than one fits" in scan.problem  # type: ignore[union-attr]
        (pair,) = refeed(dataset, scan)
        assert f"run-0{ip}" in str(pair.in_phase)
        assert f"run-0{oop}" in str(pair.out_phase)


@pytest.mark.parametrize("mark", ["_run-1_T1w", "_T1w__dup-01", "_T1w1", "_T1wa", "_rec-b_T1w"])
def test_true_repeats_keep_their_own_partners(dataset: Path, mark: str) -> None:
    names = {
        IP: ("acq-inphase_T1w", f"acq-inphase{mark}"),
        OOP: ("acq-outphase_T1w", f"acq-outphase{mark}"),
    }
    for contrast, both in names.items():
        for name in both:
            add(dataset, name, contrast, AcquisitionTime="10:15:02")  # a careless anonymiser
    scans = find(dataset)
    assert len({scan.scan for scan in scans}) == 2
    assert scans[0].scan == "sub-01_acq-dixon" or "acq-dixonT1w" in scans[0].scan
    for scan in scans:
        assert isinstance(scan, DixonPair), scan.problem
        marked = [mark in path.name for path in (scan.in_phase, scan.out_phase)]
        assert marked[0] == marked[1]


def test_partners_of_another_station_or_session_are_none(dataset: Path) -> None:
    for session, word in (("a", "inphase"), ("b", "outphase")):
        stem = f"sub-01/ses-{session}/anat/sub-01_ses-{session}_acq-{word}_T1w.nii.gz"
        add_image(dataset, stem, {"AcquisitionTime": "10:15:02"})
    for chunk, word in (("1", "inphase"), ("2", "outphase")):
        stem = f"sub-02/anat/sub-02_acq-{word}_chunk-{chunk}_T1w.nii.gz"
        add_image(dataset, stem, {"AcquisitionTime": "10:15:02"})
    scans = find(dataset)
    assert len(scans) == 4
    assert all(isinstance(scan, UnusableScan) for scan in scans)
    assert not any("possible partner" in scan.problem for scan in scans)  # type: ignore[union-attr]


def test_composed_set_beside_its_stations(dataset: Path) -> None:
    for tail in ("_run-1", "_run-2", ""):
        composed = "COMPSP" if not tail else ""
        for word in ("in", "opp", "W", "F"):
            add(dataset, f"acq-t1vibedixoncor{word}{composed}{tail}_T1w")
    names = [f"sub-01_acq-t1vibedixoncor{rest}" for rest in ("COMPSP", "_run-1", "_run-2")]
    scans = find(dataset)
    assert [scan.scan for scan in scans] == names
    assert all(isinstance(scan, DixonPair) and scan.fat for scan in scans)


def test_scan_of_counted_images_never_renames_another(dataset: Path) -> None:
    make_pair(dataset, "01")
    add(dataset, "acq-dixon_run-01_T1w", OOP, SeriesInstanceUID="1.2")
    add(dataset, "acq-dixon_run-02_T1w", IP, SeriesInstanceUID="1.2")
    scans = find(dataset)
    assert [scan.scan for scan in scans] == ["sub-01_acq-dixon", "sub-01_acq-dixon_run-02"]
    assert all(isinstance(scan, DixonPair) for scan in scans)


@pytest.mark.parametrize(
    ("first", "second", "kinship"),
    [
        ({"AcquisitionTime": "23:59:59.9"}, {"AcquisitionTime": "23:59:59.0"}, Kinship.SAME),
        ({"AcquisitionTime": "10:00:00.5"}, {"AcquisitionTime": "10:00:01.6"}, Kinship.DIFFERENT),
        ({"AcquisitionDateTime": "2024-01-05T10:15:02"},
         {"AcquisitionDateTime": "2024-01-06T10:15:02"}, Kinship.DIFFERENT),
        ({"AcquisitionDateTime": "20240105101502.5"},
         {"AcquisitionDateTime": "20240105101502.5"}, Kinship.SAME),
        ({"SeriesInstanceUID": "1.2"}, {"SeriesInstanceUID": "1.3"}, Kinship.UNKNOWN),
        ({"SeriesInstanceUID": "1.2", "StudyInstanceUID": "1"},
         {"SeriesInstanceUID": "1.2", "StudyInstanceUID": "2"}, Kinship.DIFFERENT),
        ({"RepetitionTime": 0.006}, {"RepetitionTime": 0.0060001}, Kinship.UNKNOWN),
        ({"AcquisitionTime": "²0:00:01"}, {"AcquisitionTime": "²0:00:01"}, Kinship.UNKNOWN),
    ],
)  # fmt: skip
def test_kinship(first: dict[str, object], second: dict[str, object], kinship: Kinship) -> None:
    assert compare_acquisitions(first, second) is kinship
    assert compare_acquisitions(second, first) is kinship


# --- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "queries"),
    [
        (("acq-x_T1w", "acq-x_T1w__dup-01"), {"ip": {"dup": None}, "oop": {"dup": "01"}}),
        (("acq-x_T1w__dup-02", "acq-x_T1w__dup-01"), {"ip": {"dup": "02"}, "oop": {"dup": "01"}}),
        (("acq-x_one_T1w", "acq-x_two_T1w"), {"ip": {"word": "one"}, "oop": {"word": ["two"]}}),
        (("acq-x_one_T1w", "acq-x_T1w"), {"ip": {"word": "*"}, "oop": {"word": None}}),
        (("acq-x_T1wa", "acq-x_T1wb"), {"ip": {"suffix": "T1wa"}, "oop": {"suffix": "T1wb"}}),
        (("acq-x_T1w_e2", "acq-x_T1w_e1"), {"ip": {"suffix": "e2"}, "oop": {"suffix": "e1"}}),
    ],
)
def test_filters_reach_what_converters_add(
    dataset: Path, names: tuple[str, str], queries: object
) -> None:
    paths = tuple(add(dataset, name) for name in names)
    path = dataset.parent / "filter.json"
    path.write_text(json.dumps(queries))
    (pair,) = find(dataset, bids_filter_file=path)
    assert (pair.in_phase, pair.out_phase) == paths
    assert pair.scan == "sub-01_acq-x"


@pytest.mark.parametrize("value", ["²", "\u0661", "9" * 5000, "run-²"])
@pytest.mark.parametrize("name", ["acq-inphase_run-1_T1w", "acq-inphase_run-²_T1w"])
def test_numbers_in_a_filter_that_are_none(dataset: Path, value: str, name: str) -> None:
    make_pair(dataset, "02")
    add(dataset, name)
    add(dataset, name.replace("inphase", "outphase"))
    path = dataset.parent / "filter.json"
    path.write_text(json.dumps({"ip": {"run": value}, "oop": {"run": value}}))
    if "²" in value and "²" in name:
        assert [scan.participant for scan in find(dataset, bids_filter_file=path)] == ["01"]
    else:
        with pytest.raises(DatasetError, match="none of them meets"):
            find(dataset, bids_filter_file=path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"ip": ' * 100_000, "not valid JSON"),
        ('{"ip": {"run": ' + "[" * 500 + "]" * 500 + "}}", "is a list, expected text"),
        ('{"ip": {"run": ' + "9" * 4301 + "}}", "not valid JSON"),
        ('{"ip": {"run": 1.5}}', "is 1.5, expected text"),
        ('{"ip": {"run": NaN}}', "expected text"),
        ('{"' + "x" * 100_000 + '": {}}', "unknown query"),
        ('{"ip": {"' + "x" * 100_000 + '": "1"}}', "names the entity"),
        ('{"ip": {"acq": "\\ud800"}, "oop": {"\\ud800": 1}}', "names the entity"),
        (" " * (MOST_BYTES + 1), "larger than 1 MiB"),
    ],
    ids=["nested", "nested value", "digits", "fraction", "NaN", "query", "entity", "odd", "big"],
)  # fmt: skip
def test_hostile_filter_file(dataset: Path, content: str, words: str) -> None:
    make_pair(dataset, "01")
    path = dataset.parent / "filter.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=re.escape(words)) as caught:
        find(dataset, bids_filter_file=path)
    assert len(str(caught.value)) < 1000
    str(caught.value).encode()


def test_filter_file_that_is_a_pipe(dataset: Path) -> None:
    make_pair(dataset, "01")
    os.mkfifo(dataset.parent / "pipe")
    with pytest.raises(DatasetError, match="named pipe"):
        find(dataset, bids_filter_file=dataset.parent / "pipe")


def test_filter_file_with_a_byte_order_mark(dataset: Path) -> None:
    make_pair(dataset, "01")
    path = dataset.parent / "filter.json"
    path.write_bytes(b'\xef\xbb\xbf{"ip": {"acq": "inphase"}, "oop": {"acq": "outphase"}}')
    (pair,) = find(dataset, bids_filter_file=path)
    assert isinstance(pair, DixonPair)


# --- files that are no images of a scan -----------------------------------------------------------

BYSTANDERS = (
    "acq-inphase_dseg", "acq-inphase_mask", "acq-inphase_probseg", "acq-inphase_seg",
    "acq-inphase_label", "acq-inphase_roi", "acq-inphase_lesion", "acq-inphase_defacemask",
    "acq-inphase_label-muscle_T1w", "acq-inphase_label-muscle_mask", "acq-inphase_T1w_mask",
    "acq-inphase_T1w_seg", "acq-inphase_T1w_label", "acq-inphase_T1w-label", "acq-inphase_T1w_ROI1",
    "acq-inphase_desc-brain_mask", "acq-inphase_desc-brainmask_T1w", "acq-inphase_seg-muscle_dseg",
    "acq-inphase_T1map", "acq-inphase_T2starmap", "acq-inphase_FFmap", "acq-inphase_PDFF",
    "acq-inphase_T2w", "acq-inphase_FLAIR", "acq-inphase_localizer", "acq-inphase_T1w copy",
    "acq-inphase_T1w - Copy", "acq-inphase_T1w (1)", "acq-inphase_T1w 2", "acq-inphase_T1w_copy",
    "acq-inphase_T1w~", "acq-water_T1w", "acq-fat_T1w", "acq-pdff_T1w", "T2w", "acq-dixon_T2w",
    "dseg", "mask", "inphase_mask", "acq-inphase_T1w_totalseg", "acq-inphase_T1w_N4",
    "acq-inphase_T1w_brain", "acq-inphase_desc-preproc_T1w", "acq-inphase_space-T1w_T1w",
    "acq-inphase_muscles", "acq-inphase_manual", "acq-inphase_T1w_manual", "acq-dixon_rater1",
    "acq-inphase_groundtruth", "acq-dixon_pred", "acq-inphase_vertebrae", "acq-dixon_levels",
    "acq-inphase_proc-biascorr_T1w",
)  # fmt: skip


@pytest.mark.parametrize("fat_water", ["computed"])
@pytest.mark.parametrize("name", BYSTANDERS)
def test_bystander_changes_neither_name_nor_status(
    dataset: Path, name: str, fat_water: str
) -> None:
    make_pair(dataset, "01")
    (before,) = find(dataset, fat_water=fat_water)
    add_image(dataset, f"sub-01/anat/sub-01_{name}.nii.gz", signal=1)
    (after,) = find(dataset, fat_water=fat_water)
    assert isinstance(after, DixonPair), after.problem
    kept = ("scan", "in_phase", "out_phase", "recognised_by", "echo_times_ms")
    assert [getattr(after, one) for one in kept] == [getattr(before, one) for one in kept]


def test_all_bystanders_at_once(dataset: Path) -> None:
    make_pair(dataset, "01")
    for name in BYSTANDERS:
        add_image(dataset, f"sub-01/anat/sub-01_{name}.nii.gz", signal=1)
    assert find_pair(dataset).scan == "sub-01_acq-dixon"


@pytest.mark.parametrize(
    "name",
    ["._sub-01_acq-inphase_T1w.nii.gz", "Copy of sub-01_acq-inphase_T1w.nii.gz",
     "sub-01_acq-inphase_T1w.nii.gz.part", "sub-01_acq-inphase_T1w.nii.gz.crdownload",
     "sub-01_acq-inphase_T1w.nii.gz~", ".sub-01_acq-inphase_T1w.nii.gz.swp",
     "sub-01_acq-inphase_T1w.mgz"],
)  # fmt: skip
def test_leftovers_of_copies_and_downloads(dataset: Path, name: str) -> None:
    make_pair(dataset, "01")
    source = dataset / "sub-01/anat/sub-01_acq-inphase_T1w.nii.gz"
    shutil.copyfile(source, source.with_name(name))
    assert find_pair(dataset).in_phase == source


def test_unpacked_twin_is_the_same_image(dataset: Path) -> None:
    make_pair(dataset, "01")
    packed = dataset / "sub-01/anat/sub-01_acq-inphase_T1w.nii.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    assert find_pair(dataset).in_phase == packed


def test_unpacked_twin_that_differs_in_one_byte_or_cannot_be_read(dataset: Path) -> None:
    make_pair(dataset, "01")
    packed = dataset / "sub-01/anat/sub-01_acq-inphase_T1w.nii.gz"
    content = gzip.decompress(packed.read_bytes())
    for other in (content[:-1] + b"\x07", content + b"x", content[:-1], b""):
        packed.with_suffix("").write_bytes(other)
        (scan,) = find(dataset)
        assert "2 candidates" in scan.problem  # type: ignore[union-attr]


def test_copy_without_its_original_is_not_passed_over(dataset: Path) -> None:
    make_pair(dataset, "01")
    path = dataset / "sub-01/anat/sub-01_acq-inphase_T1w.nii.gz"
    path.rename(path.with_name("sub-01_acq-inphase_T1w copy.nii.gz"))
    assert all(isinstance(scan, UnusableScan) for scan in find(dataset))


def test_lone_phase_of_another_weighting_without_a_pair_is_reported(dataset: Path) -> None:
    add(dataset, "acq-inphase_T2w")
    (scan,) = find(dataset)
    assert "was not found" in scan.problem  # type: ignore[union-attr]


def test_t2w_dixon_pair_is_a_scan_of_its_own(dataset: Path) -> None:
    make_pair(dataset, "01")
    for word in ("inphase", "outphase"):
        add(dataset, f"acq-{word}_T2w")
    assert [scan.scan for scan in find(dataset)] == ["sub-01_acq-dixonT1w", "sub-01_acq-dixonT2w"]


def test_filter_may_name_a_file_with_the_suffix_of_a_mask(dataset: Path) -> None:
    paths = tuple(add(dataset, f"{word}_seg") for word in ("a", "b"))
    path = dataset.parent / "filter.json"
    path.write_text(json.dumps({
        "ip": {"suffix": "seg", "word": "a"}, "oop": {"suffix": "seg", "word": "b"}
    }))  # fmt: skip
    (pair,) = find(dataset, bids_filter_file=path)
    assert (pair.in_phase, pair.out_phase) == paths


def test_incomplete_scan_never_renames_a_whole_one(dataset: Path) -> None:
    make_pair(dataset, "01")
    add(dataset, "acq-inphase_vibe")
    good, bad = sorted(find(dataset), key=lambda scan: isinstance(scan, UnusableScan))
    assert good.scan == "sub-01_acq-dixon"
    assert isinstance(bad, UnusableScan)
    assert bad.scan != good.scan


@pytest.mark.parametrize(
    "name", ["t1_vibe_in_2", "t1_vibe_in__dup-01", "t1_vibe_in_run-2", "t1_vibe_IN_run-2_T1w"]
)
def test_second_scan_without_its_partner_is_reported(dataset: Path, name: str) -> None:
    for word in ("in", "opp"):
        add(dataset, f"t1_vibe_{word}")
    add(dataset, name)
    scans = sorted(find(dataset), key=lambda scan: isinstance(scan, UnusableScan))
    assert [type(scan) for scan in scans] == [DixonPair, UnusableScan]
    assert scans[0].scan == "sub-01_acq-dixon"
