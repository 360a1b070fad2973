"""Discovery: every naming convention, every conflict, and what is never guessed."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bids_datasets import (
    CONVENTIONS,
    FAT,
    IP,
    OOP,
    THREE_TESLA_IP,
    THREE_TESLA_OOP,
    WATER,
    Convention,
    add_broken_link,
    add_image,
    make_convention_dataset,
    make_every_convention_dataset,
    make_pair,
    start_dataset,
    write_image,
    write_sidecar,
)

from bids_mfi.bids.names import derivative_stem
from bids_mfi.discovery import (
    UnusableScan,
    describe_as_json,
    describe_as_table,
    find_scans,
    list_participants_without_scans,
    metadata,
)
from bids_mfi.discovery.naming import (
    CONTRAST_WORDS,
    ENTITY_NAMES,
    NAMINGS,
    PLACES_OF_THEIR_OWN,
    in_bids_order,
    parse_name,
    read_place,
)
from bids_mfi.errors import DatasetError, OutputError
from bids_mfi.measure.pair import DixonPair
from bids_mfi.options import RunOptions

ANAT = "sub-01/anat/sub-01_"


def options(bids_dir: Path, **more: object) -> RunOptions:
    return RunOptions(bids_dir, bids_dir.parent / "out", "participant", **more)  # type: ignore[arg-type]


def find(bids_dir: Path, **more: object) -> list[DixonPair | UnusableScan]:
    return find_scans(options(bids_dir, **more))


def find_one(bids_dir: Path, **more: object) -> DixonPair | UnusableScan:
    (scan,) = find(bids_dir, **more)
    return scan


def find_pair(bids_dir: Path, **more: object) -> DixonPair:
    scan = find_one(bids_dir, **more)
    assert isinstance(scan, DixonPair), scan
    return scan


def find_problem(bids_dir: Path, **more: object) -> UnusableScan:
    scan = find_one(bids_dir, **more)
    assert isinstance(scan, UnusableScan), scan
    return scan


def as_expected(scan: DixonPair | UnusableScan, bids_dir: Path) -> dict[str, object]:
    paths = {c: getattr(scan, c) for c in (IP, OOP, WATER, FAT)}
    shown = {c: path and path.relative_to(bids_dir).as_posix() for c, path in paths.items()}
    return {"scan": scan.scan, **shown}


def write_filter(folder: Path, content: object) -> Path:
    path = folder / "filter.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return start_dataset(tmp_path / "bids")


# --- naming conventions -------------------------------------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.participant)
def test_convention_is_paired(convention: Convention, tmp_path: Path) -> None:
    bids_dir = make_convention_dataset(tmp_path / "bids", convention)
    pair = find_pair(bids_dir)
    assert as_expected(pair, bids_dir) == convention.expected()
    assert pair.recognised_by.startswith(convention.recognised_by + ":")
    assert pair.participant == convention.participant


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.participant)
def test_convention_holds_inside_a_session(convention: Convention, tmp_path: Path) -> None:
    bids_dir = start_dataset(tmp_path / "bids")
    convention.write(bids_dir)
    label = f"sub-{convention.participant}"
    session = bids_dir / label / "ses-b"
    session.mkdir()
    (bids_dir / label / "anat").rename(session / "anat")
    for path in (session / "anat").iterdir():
        path.rename(path.with_name(path.name.replace(label, f"{label}_ses-b", 1)))
    pair = find_pair(bids_dir)
    assert pair.scan == str(convention.expected()["scan"]).replace(label, f"{label}_ses-b")
    assert pair.session == "b"


def test_all_conventions_side_by_side(tmp_path: Path) -> None:
    expected = make_every_convention_dataset(tmp_path / "bids")
    scans = find(tmp_path / "bids")
    assert [as_expected(scan, tmp_path / "bids") for scan in scans] == expected
    assert all(isinstance(scan, DixonPair) for scan in scans)


def test_uncompressed_images_are_found(dataset: Path) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii")
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii")
    assert find_pair(dataset).in_phase.suffix == ".nii"


@pytest.mark.parametrize("folder", ["dixon", "", "vibe images"])
def test_other_datatype_folders_are_searched(dataset: Path, folder: str) -> None:
    for word in ("inphase", "outphase"):
        write_image(dataset / "sub-01" / folder / f"sub-01_acq-{word}_T1w.nii.gz")
    assert find_pair(dataset).scan == "sub-01_acq-dixon"


@pytest.mark.parametrize("folder", ["func", "fmap", "dwi", ".cache"])
def test_folders_of_other_methods_are_not_searched(dataset: Path, folder: str) -> None:
    make_pair(dataset, "02")
    for word in ("inphase", "outphase"):
        write_image(dataset / "sub-01" / folder / f"sub-01_acq-{word}_T1w.nii.gz")
    assert [scan.participant for scan in find(dataset)] == ["02"]


@pytest.mark.parametrize("folder", ["derivatives/x", "sourcedata", "code"])
def test_folders_beside_the_participants_are_not_searched(dataset: Path, folder: str) -> None:
    make_pair(dataset, "01")
    make_pair(dataset / folder, "02")
    assert [scan.participant for scan in find(dataset)] == ["01"]


@pytest.mark.parametrize(
    "value", ["inoutphase", "inphaseoutphase", "T1W", "nofatsat", "waterexcitation", "spin", "F"]
)
def test_acquisitions_that_tell_nothing(value: str) -> None:
    assert {told.contrast for told in read_place("acq", value)} in (set(), {IP, OOP})


def test_an_acquisition_that_names_both_phases_is_silent(dataset: Path) -> None:
    for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
        add_image(dataset, f"{ANAT}acq-inphaseoutphase_echo-{echo}_T1w.nii.gz", fields)
    assert find_pair(dataset).recognised_by.startswith("echo time")


def test_every_naming_has_a_convention_that_uses_it() -> None:
    """A row of the table that no generated dataset exercises would be untested."""
    told = set()
    for convention in CONVENTIONS:
        for name in convention.names.values():
            told |= {(p, v) for p, v in parse_name(f"sub-1_{name}.nii").places()}
        for fields in convention.sidecars.values():
            told.add(("SeriesDescription", str(fields.get("SeriesDescription", ""))))
    places_of_any = {place for place, _ in told} - PLACES_OF_THEIR_OWN
    unused = [
        naming.source
        for naming in NAMINGS
        if not any(
            (place in naming.places or (places_of_any & {place} and "*" in naming.places))
            and any(re.search(p, value) for _, p in naming.says)
            for place, value in told
        )
    ]
    assert unused == []


# --- names, runs, sessions, chunks ----------------------------------------------------------------


def test_runs_chunks_sessions_and_reconstructions_stay_apart(dataset: Path) -> None:
    names = []
    for session in ("a", "b"):
        for rest in ("run-1", "run-2", "chunk-1", "chunk-2", "rec-norm"):
            stem = f"sub-01_ses-{session}"
            for word in ("inphase", "outphase"):
                path = f"sub-01/ses-{session}/anat/{stem}_acq-{word}_{rest}_T1w.nii.gz"
                add_image(dataset, path)
            names.append(f"{stem}_acq-dixon_{rest}")
    scans = find(dataset)
    assert [scan.scan for scan in scans] == sorted(names)
    assert all(isinstance(scan, DixonPair) for scan in scans)
    for scan in scans:
        rest = scan.scan.rpartition("_")[2]
        assert rest in scan.in_phase.name
        assert rest in scan.out_phase.name


def test_entities_come_in_bids_order_and_sub_first(dataset: Path) -> None:
    for word in ("inphase", "outphase"):
        add_image(dataset, f"{ANAT}chunk-1_run-2_stk-3_acq-{word}_ce-gd_T1w.nii.gz")
    assert find_pair(dataset).scan == "sub-01_acq-dixon_ce-gd_run-2_chunk-1_stk-3"


def test_scans_and_their_derivatives_are_named_alike(dataset: Path) -> None:
    keys = {*ENTITY_NAMES.values(), "stk", "zone", "kind"}
    entities = in_bids_order(dict.fromkeys(keys, "1"))
    assert derivative_stem(entities) == "_".join(f"{key}-1" for key, _ in entities)
    for word in ("inphase", "outphase"):
        rest = "split-1_stk-2_voi-neck_nuc-1H_space-x_zone-1_kind-2"
        add_image(dataset, f"{ANAT}acq-{word}_{rest}_T1w.nii.gz")
    pair = find_pair(dataset)
    assert derivative_stem(pair.entities) == pair.scan
    expected = "acq-dixon_nuc-1H_voi-neck_space-x_split-1_stk-2_kind-2_zone-1"
    assert pair.scan == f"sub-01_{expected}"


def test_whole_body_and_its_chunks_are_three_scans(dataset: Path) -> None:
    for rest in ("", "_chunk-1", "_chunk-2"):
        for word in ("IN", "OUT"):
            add_image(dataset, f"{ANAT}acq-DIXONbody{word}{rest}_T1w.nii.gz")
    names = [f"sub-01_acq-DIXONbody{rest}" for rest in ("", "_chunk-1", "_chunk-2")]
    assert [scan.scan for scan in find(dataset)] == names


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("acq-{}_T1w", "acq-{}_vibe", ["acq-dixonT1w", "acq-dixonvibe"]),
        ("acq-{}_T1w", "acq-dixon_rec-{}_T1w", ["acq-dixon_rec-inphase", "acq-inphase"]),
        ("megre_dix_{}", "{}", ["acq-dixon", "acq-dixonmegredix"]),
    ],
)
def test_two_scans_never_share_a_name(
    dataset: Path, first: str, second: str, names: list[str]
) -> None:
    for template in (first, second):
        for word in ("inphase", "outphase"):
            add_image(dataset, f"{ANAT}{template.format(word)}.nii.gz")
    scans = find(dataset)
    assert [scan.scan for scan in scans] == [f"sub-01_{name}" for name in names]
    assert all(isinstance(scan, DixonPair) for scan in scans)


def test_scans_in_two_folders_get_names_of_their_own(dataset: Path) -> None:
    for folder in ("anat", "dixon"):
        for word in ("inphase", "outphase"):
            add_image(dataset, f"sub-01/{folder}/sub-01_acq-{word}_T1w.nii.gz")
    names = ["sub-01_acq-dixonT1wanat", "sub-01_acq-dixonT1wdixon"]
    assert [scan.scan for scan in find(dataset)] == names


def test_scans_that_cannot_be_named_apart_are_problems(dataset: Path) -> None:
    for template in ("{}", "acq-dixon_{}"):
        for word in ("inphase", "outphase"):
            add_image(dataset, f"{ANAT}{template.format(word)}.nii.gz")
    scans = find(dataset)
    assert len(scans) == 2
    for scan in scans:
        assert isinstance(scan, UnusableScan)
        assert "same name" in scan.problem
        assert "Rename" in scan.problem


def test_echo_times_and_field_strength_are_kept(dataset: Path) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP)
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz", THREE_TESLA_OOP)
    pair = find_pair(dataset)
    assert pair.echo_times_ms == pytest.approx((2.46, 1.23))
    assert pair.field_strength_t == 3
    assert pair.recognised_by.endswith("echo time agrees")


def test_without_sidecars_echo_times_are_unknown(dataset: Path) -> None:
    make_pair(dataset, "01")
    pair = find_pair(dataset)
    assert pair.echo_times_ms == (None, None)
    assert pair.field_strength_t is None


def test_an_echo_time_in_milliseconds_is_not_taken_for_seconds(dataset: Path) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP | {"EchoTime": 2.46})
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz", THREE_TESLA_OOP)
    pair = find_pair(dataset)
    assert pair.echo_times_ms == (pytest.approx(2.46), pytest.approx(1.23))
    sidecar = "sub-01/anat/sub-01_acq-inphase_T1w.json"
    assert f"{sidecar}: EchoTime 2.46 read as 2.46 ms" in pair.recognised_by


# --- metadata through PyBIDS ----------------------------------------------------------------------


def test_metadata_are_inherited_and_overridden(dataset: Path) -> None:
    for echo in ("1", "2"):
        add_image(dataset, f"{ANAT}acq-dixon_echo-{echo}_MEGRE.nii.gz")
    (dataset / "MEGRE.json").write_text('{"MagneticFieldStrength": 3}')
    (dataset / "echo-1_MEGRE.json").write_text('{"EchoTime": 0.00246}')
    (dataset / "echo-2_MEGRE.json").write_text('{"EchoTime": 0.00246}')
    (dataset / "sub-01" / "sub-01_echo-2_MEGRE.json").write_text('{"EchoTime": 0.00123}')
    pair = find_pair(dataset)
    assert pair.echo_times_ms == pytest.approx((2.46, 1.23))
    assert pair.field_strength_t == 3


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("part-{}_vibe", "part"),
        ("{}_T1w", None),
        ("xyz-{}_T1w", "xyz"),
        ("acq-1.5T_part-{}_vibe", "part"),
        ("chunk-neck{}_vibe", "chunk"),
        ("part-{}", "part"),
    ],
)
def test_a_sidecar_never_applies_to_the_other_image(
    dataset: Path, template: str, key: str | None
) -> None:
    """PyBIDS alone drops ``part-inphase`` and words, so that both sidecars apply to both images."""
    queries = {}
    for query, word, fields in (("ip", "IN", THREE_TESLA_IP), ("oop", "OPP", THREE_TESLA_OOP)):
        name = template.format(word)
        add_image(dataset, f"{ANAT}{name}.nii.gz", fields)
        if key is not None:
            queries[query] = {key: name.partition(f"{key}-")[2].partition("_")[0]}
    filters = write_filter(dataset.parent, queries) if queries else None
    pair = find_pair(dataset, bids_filter_file=filters)
    assert pair.echo_times_ms == pytest.approx((2.46, 1.23))


def test_null_in_a_sidecar_is_absent(dataset: Path) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", {"ImageType": None, "EchoTime": None})
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz", {})
    assert find_pair(dataset).echo_times_ms == (None, None)


def test_odd_fields_of_a_sidecar_do_no_harm(dataset: Path) -> None:
    odd = {"IntendedFor": "anat/x.nii.gz", "EchoTime": "0.002", "ImageType": 7, "é": [1, {"a": 2}]}
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", odd)
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz", {"ImageType": "ORIGINAL\\PRIMARY\\OP"})
    pair = find_pair(dataset)
    assert pair.echo_times_ms == (pytest.approx(2.0), None)
    assert "ImageType is 7, expected a list of words" in pair.recognised_by


@pytest.fixture
def pybids_fails(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyBIDS raises, as at a fault of its own, where the participant is 01.

    It is asked, because two sidecars in one folder apply to one image.
    """
    (dataset / "T1w.json").write_text("{}")
    (dataset / "acq-inphase_T1w.json").write_text("{}")
    build = metadata._build_layout

    def fail_at_first(files: metadata.ParticipantFiles, root: Path) -> Any:
        if files.label == "01":
            raise AttributeError("'NoneType' object has no attribute 'startswith'")
        return build(files, root)

    monkeypatch.setattr(metadata, "_build_layout", fail_at_first)


def test_participant_that_pybids_cannot_index_does_not_stop_the_others(
    dataset: Path, pybids_fails: None
) -> None:
    make_pair(dataset, "02")
    make_pair(dataset, "01")
    for label in ("01", "02"):
        write_sidecar(dataset / f"sub-{label}/anat/sub-{label}_acq-inphase_T1w.nii.gz", {})
    first, second = find(dataset)
    assert isinstance(first, UnusableScan)
    assert "PyBIDS cannot index the participant" in first.problem
    assert "startswith" in first.problem
    assert first.scan == "sub-01"
    assert len(first.paths) == 2
    assert isinstance(second, DixonPair)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"EchoTime": 0.002', "not valid JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b"\xff\xfe", "not valid JSON"),
        (b"/annex/objects/MD5E-s1--0a.json\n", "has not been fetched"),
        (None, "has not been fetched"),
    ],
)
@pytest.mark.parametrize("where", ["beside", "root"])
def test_unreadable_sidecar_is_a_problem_of_its_scan_only(
    dataset: Path, content: bytes | None, words: str, where: str
) -> None:
    make_pair(dataset, "01")
    make_pair(dataset, "02")
    name = "sub-01/anat/sub-01_acq-inphase_T1w.json" if where == "beside" else "run-1_T1w.json"
    if where == "root":
        for word in ("inphase", "outphase"):
            path = dataset / f"{ANAT}acq-{word}_T1w.nii.gz"
            path.rename(path.with_name(f"sub-01_acq-{word}_run-1_T1w.nii.gz"))
    if content is None:
        add_broken_link(dataset / name)
    else:
        (dataset / name).write_bytes(content)
    first, second = find(dataset)
    assert isinstance(first, UnusableScan)
    assert isinstance(second, DixonPair)
    assert name in first.problem
    assert words in first.problem


def test_unreadable_sidecar_of_a_plain_image_is_ignored(dataset: Path) -> None:
    make_pair(dataset, "01")
    write_image(dataset / f"{ANAT}T2w.nii.gz")
    (dataset / f"{ANAT}T2w.json").write_text("{")
    assert find_pair(dataset).scan == "sub-01_acq-dixon"


# --- sources that disagree ------------------------------------------------------------------------


def image_type(*words: str) -> dict[str, object]:
    return {"ImageType": ["ORIGINAL", "PRIMARY", "M", *words]}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (image_type("OUT_PHASE"), "ImageType says out-of-phase (OUT_PHASE)"),
        (image_type("WATER"), "ImageType says water (WATER)"),
        (image_type("P"), "ImageType says none of the four contrasts"),
        ({"SeriesDescription": "t1_vibe_dixon_opp"}, 'SeriesDescription says out-of-phase ("opp")'),
        ({"SeriesDescription": "WATER: Ax LAVA"}, "SeriesDescription says water"),
    ],
)
def test_name_and_sidecar_that_disagree(
    dataset: Path, fields: dict[str, object], says: str
) -> None:
    ip = add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", fields)
    oop = add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz")
    scan = find_problem(dataset)
    assert "acq-inphase_T1w.nii.gz" in scan.problem
    assert "file name says in-phase (acq-inphase)" in scan.problem
    assert says in scan.problem
    assert "--bids-filter-file" in scan.problem
    assert scan.in_phase is None
    assert scan.out_phase == oop
    assert ip in scan.paths


def test_image_type_and_description_that_disagree(dataset: Path) -> None:
    fields = image_type("IN_PHASE") | {"SeriesDescription": "t1_vibe_opp"}
    add_image(dataset, f"{ANAT}acq-dixon_echo-1_MEGRE.nii.gz", fields)
    add_image(dataset, f"{ANAT}acq-dixon_echo-2_MEGRE.nii.gz", image_type("OUT_PHASE"))
    assert "SeriesDescription says out-of-phase" in find_problem(dataset).problem


def test_images_exchanged_by_name_are_caught_by_image_type(dataset: Path) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", image_type("OUT_PHASE"))
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz", image_type("IN_PHASE"))
    problem = find_problem(dataset).problem
    assert "acq-inphase_T1w.nii.gz" in problem
    assert "acq-outphase_T1w.nii.gz" in problem


def test_images_exchanged_by_name_are_caught_by_echo_time(dataset: Path) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_OOP)
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz", THREE_TESLA_IP)
    problem = find_problem(dataset).problem
    assert "echo time says out-of-phase (1.23 ms at 3 T)" in problem
    assert "echo time says in-phase (2.46 ms at 3 T)" in problem


@pytest.mark.parametrize(
    ("ip_ms", "oop_ms", "fields"),
    [
        (1.23, 2.46, {}),  # no field strength: silent
        (1.23, 1.23, {"MagneticFieldStrength": 3}),  # identical sidecars, as Philips makes them
        (1.23, 1.232, {"MagneticFieldStrength": 3}),  # the same but for rounding
        (1.75, 1.8, {"MagneticFieldStrength": 3}),  # between the phases
        (1.23, 2.46, {"MagneticFieldStrength": 3, "ImagingFrequency": 63.9}),  # contradictory
    ],
)
def test_echo_times_that_cannot_contradict(
    dataset: Path, ip_ms: float, oop_ms: float, fields: dict[str, object]
) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", {"EchoTime": ip_ms / 1000} | fields)
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz", {"EchoTime": oop_ms / 1000} | fields)
    assert find_pair(dataset).recognised_by == "file name: acq-inphase, acq-outphase"


def test_agreeing_sources_are_told(dataset: Path) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP | image_type("IN_PHASE"))
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz", THREE_TESLA_OOP | image_type("OPP_PHASE"))
    expected = "ImageType: IN_PHASE, OPP_PHASE; echo time and file name agree"
    assert find_pair(dataset).recognised_by == expected


def test_phases_recognised_by_different_sources(dataset: Path) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", image_type("IN_PHASE"))
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz")
    expected = "in-phase by ImageType: IN_PHASE; out-of-phase by file name: acq-outphase; "
    assert find_pair(dataset).recognised_by == expected + "file name agrees"


@pytest.mark.parametrize(
    "words",
    [["P"], ["R"], ["I"], ["FF"], ["FAT_FRACTION"], ["PHASE"], ["P", "IN_PHASE"], ["IP", "REAL"]],
    ids="-".join,
)
def test_other_images_are_set_aside_before_the_echo_time(dataset: Path, words: list[str]) -> None:
    """A phase image of the in-phase echo must not become a second in-phase image."""
    for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
        add_image(dataset, f"{ANAT}acq-dixon_echo-{echo}_part-mag_MEGRE.nii.gz", fields)
        aside = fields | {"ImageType": ["ORIGINAL", "PRIMARY", *words]}
        add_image(dataset, f"{ANAT}acq-dixon_echo-{echo}_part-x_MEGRE.nii.gz", aside)
    pair = find_pair(dataset)
    assert pair.in_phase.name == "sub-01_acq-dixon_echo-2_part-mag_MEGRE.nii.gz"
    assert pair.scan == "sub-01_acq-dixon"


@pytest.mark.parametrize("part", ["phase", "real", "imag"])
def test_phase_images_are_set_aside_by_name(dataset: Path, part: str) -> None:
    for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
        for one in ("mag", part):
            add_image(dataset, f"{ANAT}echo-{echo}_part-{one}_MEGRE.nii.gz", fields)
    assert "part-mag" in find_pair(dataset).out_phase.name


# --- echo times -----------------------------------------------------------------------------------


def test_echo_time_without_field_strength_is_refused(dataset: Path) -> None:
    for echo, time_s in (("1", 0.0023), ("2", 0.0046)):
        add_image(dataset, f"{ANAT}echo-{echo}_MEGRE.nii.gz", {"EchoTime": time_s})
    scan = find_problem(dataset)
    assert "MagneticFieldStrength" in scan.problem
    assert "2.30 ms, 4.60 ms" in scan.problem
    assert "echo-1_MEGRE" in scan.problem
    assert "echo-2_MEGRE" in scan.problem
    assert len(scan.paths) == 2


def test_contradictory_field_strengths_are_refused(dataset: Path) -> None:
    more = {"MagneticFieldStrength": 1.5, "ImagingFrequency": 127.7}
    for echo, time_s in (("1", 0.0023), ("2", 0.0046)):
        add_image(dataset, f"{ANAT}echo-{echo}_MEGRE.nii.gz", {"EchoTime": time_s} | more)
    problem = find_problem(dataset).problem
    assert "no usable MagneticFieldStrength" in problem
    assert "(1.5 T) and ImagingFrequency (127.7 MHz, 3 T) contradict each other" in problem


def test_multi_echo_without_any_sidecar_is_refused(dataset: Path) -> None:
    for echo in ("1", "2"):
        add_image(dataset, f"{ANAT}acq-dixon_echo-{echo}_MEGRE.nii.gz")
    assert "Add EchoTime" in find_problem(dataset).problem


def test_echo_times_between_the_phases_are_refused(dataset: Path) -> None:
    for echo, time_s in (("1", 0.00175), ("2", 0.0018)):
        fields = {"EchoTime": time_s, "MagneticFieldStrength": 3}
        add_image(dataset, f"{ANAT}echo-{echo}_MEGRE.nii.gz", fields)
    assert "between in-phase and out-of-phase" in find_problem(dataset).problem


def test_six_echoes_have_several_candidates(dataset: Path) -> None:
    for echo in range(1, 7):
        fields = {"EchoTime": 0.00115 * echo, "MagneticFieldStrength": 3}
        add_image(dataset, f"{ANAT}echo-{echo}_MEGRE.nii.gz", fields)
    scan = find_problem(dataset)
    assert "3 candidates for the in-phase image" in scan.problem
    assert "3 candidates for the out-of-phase image" in scan.problem
    assert all(f"echo-{echo}_MEGRE" in scan.problem for echo in range(1, 7))
    assert "'ip'" in scan.problem
    assert "'oop'" in scan.problem
    chosen = {"ip": {"echo": 2}, "oop": {"echo": "1"}}
    pair = find_pair(dataset, bids_filter_file=write_filter(dataset.parent, chosen))
    assert "echo-2" in pair.in_phase.name
    assert "echo-1" in pair.out_phase.name


def test_six_echoes_beside_reconstructed_phases_are_left_alone(dataset: Path) -> None:
    for echo in range(1, 7):
        fields = {"EchoTime": 0.00115 * echo, "MagneticFieldStrength": 3}
        add_image(dataset, f"{ANAT}echo-{echo}_MEGRE.nii.gz", fields)
    for word in ("inphase", "outphase"):
        add_image(dataset, f"{ANAT}rec-{word}_MEGRE.nii.gz")
    assert "rec-inphase" in find_pair(dataset).in_phase.name


def test_nako_has_two_opposed_echoes(dataset: Path) -> None:
    for part in ("eco0-opp1", "eco1-pip1", "eco2-opp2", "eco3-in1", "eco4-pop1", "eco5-arb1"):
        add_image(dataset, f"{ANAT}part-{part}_mevibe.nii.gz")
    scan = find_problem(dataset)
    assert "2 candidates for the out-of-phase image" in scan.problem
    assert scan.in_phase is not None
    assert scan.out_phase is None
    chosen = {"oop": {"part": "eco0-opp1"}}
    pair = find_pair(dataset, bids_filter_file=write_filter(dataset.parent, chosen))
    assert "eco0-opp1" in pair.out_phase.name


@pytest.mark.parametrize(
    ("name", "echo_time_s"),
    [("T1w", 0.00246), ("T1w", 0.00123), ("acq-mprage_T1w", 0.0023), ("T2w", 0.0046)],
)
def test_plain_images_are_never_told_by_echo_time(
    dataset: Path, name: str, echo_time_s: float
) -> None:
    make_pair(dataset, "01")
    fields = {"EchoTime": echo_time_s, "MagneticFieldStrength": 3}
    add_image(dataset, f"{ANAT}{name}.nii.gz", fields)
    assert find_pair(dataset).in_phase.name == "sub-01_acq-inphase_T1w.nii.gz"


def test_a_plain_image_is_no_partner(dataset: Path) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP)
    add_image(dataset, f"{ANAT}T1w.nii.gz", THREE_TESLA_OOP)
    assert "was not found" in find_problem(dataset).problem


def test_multi_echo_mprage_is_ignored(dataset: Path) -> None:
    make_pair(dataset, "02")
    for echo, time_s in enumerate((0.00169, 0.00355, 0.00541, 0.00727), start=1):
        fields = {"EchoTime": time_s, "MagneticFieldStrength": 3}
        add_image(dataset, f"{ANAT}acq-mprage_echo-{echo}_T1w.nii.gz", fields)
    assert [scan.participant for scan in find(dataset)] == ["02"]


# --- missing, doubled, water and fat --------------------------------------------------------------


@pytest.mark.parametrize(("kept", "has", "lacks"), [("inphase", IP, OOP), ("outphase", OOP, IP)])
def test_missing_partner(dataset: Path, kept: str, has: str, lacks: str) -> None:
    path = add_image(dataset, f"{ANAT}acq-{kept}_T1w.nii.gz")
    add_image(dataset, f"{ANAT}acq-water_T1w.nii.gz")
    scan = find_problem(dataset)
    assert f"{ANAT}acq-{kept}_T1w.nii.gz" in scan.problem
    assert f"its {CONTRAST_WORDS[lacks]} image was not found" in scan.problem
    assert "Looked for" in scan.problem
    assert "acq-water" in scan.problem
    assert getattr(scan, has) == path
    assert getattr(scan, lacks) is None
    assert scan.water is not None
    assert scan.scan == "sub-01_acq-dixon"


def test_partner_of_another_run_is_no_partner(dataset: Path) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_run-1_T1w.nii.gz")
    add_image(dataset, f"{ANAT}acq-outphase_run-2_T1w.nii.gz")
    scans = find(dataset)
    assert [scan.scan for scan in scans] == ["sub-01_acq-dixon_run-1", "sub-01_acq-dixon_run-2"]
    assert all(isinstance(scan, UnusableScan) for scan in scans)


def test_compressed_and_uncompressed_image_that_differ_are_two_candidates(dataset: Path) -> None:
    make_pair(dataset, "01")
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii", signal=7)
    problem = find_problem(dataset).problem
    assert "2 candidates for the in-phase image" in problem
    assert "acq-inphase_T1w.nii," in problem
    assert "acq-inphase_T1w.nii.gz" in problem


def test_water_and_fat_alone_are_not_enough(dataset: Path) -> None:
    for word in ("water", "fat"):
        add_image(dataset, f"{ANAT}{word}.nii.gz")
    scan = find_problem(dataset)
    assert "Only water and fat" in scan.problem
    assert scan.water is not None
    assert scan.fat is not None
    assert len(scan.paths) == 2


def test_a_lone_fat_suppressed_image_is_ignored(dataset: Path) -> None:
    make_pair(dataset, "02")
    add_image(dataset, f"{ANAT}acq-fat_T2w.nii.gz")
    assert [scan.participant for scan in find(dataset)] == ["02"]


def test_two_water_images_matter_only_to_the_scanner_mode(dataset: Path) -> None:
    make_pair(dataset, "01")
    for name in ("acq-water_T1w", "acq-water_part-mag_T1w", "acq-fat_T1w"):
        add_image(dataset, f"{ANAT}{name}.nii.gz")
    pair = find_pair(dataset)
    assert pair.water is None
    assert pair.fat is not None
    problem = find_problem(dataset, fat_water="scanner").problem
    assert "2 candidates for the water image" in problem
    assert "'water'" in problem


def test_doubtful_fat_matters_only_to_the_scanner_mode(dataset: Path) -> None:
    make_pair(dataset, "01")
    add_image(dataset, f"{ANAT}acq-fat_T1w.nii.gz", image_type("WATER"))
    assert find_pair(dataset).fat is None
    problem = find_problem(dataset, fat_water="scanner").problem
    assert "ImageType says water" in problem
    assert "no fat image" not in problem
    assert "no water and fat image" not in problem


def test_fat_fraction_is_never_fat(dataset: Path) -> None:
    make_pair(dataset, "01")
    add_image(dataset, f"{ANAT}acq-fatfrac_T1w.nii.gz")
    add_image(dataset, f"{ANAT}rec-pdff_T1w.nii.gz")
    pair = find_pair(dataset)
    assert pair.fat is None
    assert pair.water is None


def test_scanner_mode_without_any_water_and_fat(dataset: Path) -> None:
    make_pair(dataset, "01")
    make_pair(dataset, "02")
    for word in ("water", "fat"):
        add_image(dataset, f"sub-02/anat/sub-02_acq-{word}_T1w.nii.gz")
    assert all(isinstance(scan, DixonPair) for scan in find(dataset))
    bad, good = find(dataset, fat_water="scanner")
    assert isinstance(good, DixonPair)
    assert isinstance(bad, UnusableScan)
    assert f"{ANAT}acq-inphase_T1w.nii.gz" in bad.problem
    for words in ("water and fat", "acq-water", "acq-fat", "ImageType", "--bids-filter-file",
                  "--fat-water computed"):  # fmt: skip
        assert words in bad.problem, words
    assert bad.in_phase is not None


@pytest.mark.parametrize(("there", "lacks"), [("water", "fat"), ("fat", "water")])
def test_scanner_mode_without_one_of_water_and_fat(dataset: Path, there: str, lacks: str) -> None:
    make_pair(dataset, "01")
    add_image(dataset, f"{ANAT}acq-{there}_T1w.nii.gz")
    scan = find_problem(dataset, fat_water="scanner")
    assert f"no {lacks} image" in scan.problem
    assert f"acq-{there}_T1w.nii.gz" in scan.problem
    assert getattr(scan, there) is not None


def test_scanner_mode_with_a_query_that_nothing_meets(dataset: Path) -> None:
    make_pair(dataset, "01")
    for word in ("water", "fat"):
        add_image(dataset, f"{ANAT}acq-{word}_T1w.nii.gz")
    queries = write_filter(dataset.parent, {"fat": {"acq": "lipid"}})
    problem = find_problem(dataset, fat_water="scanner", bids_filter_file=queries).problem
    assert "no fat image" in problem
    assert "query 'fat' of --bids-filter-file" in problem


# --- geometry and damaged files -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"shape": (5, 6, 5)}, "5 x 6 x 4 and 5 x 6 x 5"),
        ({"spacing_mm": (1.5, 1.4, 3.0)}, "1.4 x 1.4 x 3 mm and 1.5 x 1.4 x 3 mm"),
        ({"origin_mm": (0.0, 0.0, 1.0)}, "different positions"),
    ],
)
def test_different_grids(dataset: Path, other: dict[str, object], words: str) -> None:
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz")
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz", **other)
    scan = find_problem(dataset)
    assert words in scan.problem
    assert "acq-inphase_T1w.nii.gz" in scan.problem
    assert "acq-outphase_T1w.nii.gz" in scan.problem
    assert scan.in_phase is not None
    assert scan.out_phase is not None


def test_grid_of_water_matters_only_to_the_scanner_mode(dataset: Path) -> None:
    make_pair(dataset, "01")
    add_image(dataset, f"{ANAT}acq-water_T1w.nii.gz", shape=(5, 6, 5))
    assert find_pair(dataset).water is not None
    assert "acq-water" in find_problem(dataset, fat_water="scanner").problem


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def _text(path: Path) -> None:
    path.write_text("no image")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, "convert it again"),
        (_text, "cannot be read as NIfTI"),
        (lambda path: path.write_bytes(b""), "cannot be read as NIfTI"),
        (lambda path: write_image(path, shape=(5, 6, 4, 2)), "4 dimensions"),
        (lambda path: write_image(path, shape=(5, 6, 1)), "single slice"),
        (lambda path: write_image(path, spacing_mm=(30.0, 1.0, 1.0)), "expected 0.05 to 20 mm"),
    ],
    ids=["truncated", "text", "empty", "4-D", "one slice", "huge voxels"],
)
def test_damaged_image_is_a_problem_of_its_scan_only(
    dataset: Path, damage: object, words: str
) -> None:
    make_pair(dataset, "01")
    make_pair(dataset, "02")
    damage(dataset / f"{ANAT}acq-outphase_T1w.nii.gz")  # type: ignore[operator]
    first, second = find(dataset)
    assert isinstance(first, UnusableScan)
    assert isinstance(second, DixonPair)
    assert words in first.problem
    assert "acq-outphase_T1w.nii.gz" in first.problem


@pytest.mark.parametrize("broken", ["image", "both images", "image and sidecar"])
def test_content_that_has_not_been_fetched(dataset: Path, broken: str) -> None:
    make_pair(dataset, "01")
    make_pair(dataset, "02")
    names = ["acq-outphase_T1w.nii.gz"]
    if broken == "both images":
        names.append("acq-inphase_T1w.nii.gz")
    if broken == "image and sidecar":
        names.append("acq-outphase_T1w.json")
    for name in names:
        path = dataset / f"{ANAT}{name}"
        path.unlink(missing_ok=True)
        add_broken_link(path)
    first, second = find(dataset)
    assert isinstance(first, UnusableScan)
    assert isinstance(second, DixonPair)
    assert "has not been fetched" in first.problem
    assert "datalad get" in first.problem
    assert first.scan == "sub-01_acq-dixon"
    assert first.out_phase is not None


def test_unfetched_images_are_still_classified_by_their_sidecars(dataset: Path) -> None:
    for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
        path = add_broken_link(dataset / f"{ANAT}echo-{echo}_MEGRE.nii.gz")
        write_sidecar(path, fields)
    scan = find_problem(dataset)
    assert "has not been fetched" in scan.problem
    assert scan.in_phase is not None
    assert "echo-2" in scan.in_phase.name


@pytest.mark.parametrize(
    "name", ["sub-02_acq-inphase_T1w", "acq-inphase_T1w", "sub-01_ses-a_acq-inphase_T1w"]
)
def test_misplaced_file_is_reported(dataset: Path, name: str) -> None:
    add_image(dataset, f"sub-01/anat/{name}.nii.gz")
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz")
    problem = find_problem(dataset).problem
    assert f"{name}.nii.gz: the name says" in problem
    assert "Rename or move" in problem


@pytest.mark.parametrize("folder", ["sub-01 copy", "sub-CON-01", "sub-1_old"])
def test_folder_that_is_no_label_is_reported(dataset: Path, folder: str) -> None:
    make_pair(dataset, "01")
    write_image(dataset / folder / "anat" / f"{folder}_acq-inphase_T1w.nii.gz")
    scans = {scan.scan: scan for scan in find(dataset)}
    assert isinstance(scans["sub-01_acq-dixon"], DixonPair)
    bad = scans[folder]
    assert isinstance(bad, UnusableScan)
    assert "letters and digits" in bad.problem


def test_session_that_is_no_label_is_reported(dataset: Path) -> None:
    make_pair(dataset, "01", "2020")
    make_pair(dataset, "01", "2021-05")
    good, bad = find(dataset)
    assert isinstance(good, DixonPair)
    assert isinstance(bad, UnusableScan)
    assert "ses-2021-05 is not a BIDS session label" in bad.problem


# --- filter file ----------------------------------------------------------------------------------


def plain_pair(bids_dir: Path) -> None:
    for acq in ("first", "second"):
        add_image(bids_dir, f"{ANAT}acq-{acq}_run-01_T1w.nii.gz")


@pytest.mark.parametrize(
    "queries",
    [
        {"ip": {"acquisition": "first"}, "oop": {"acquisition": "second"}},
        {"ip": {"acq": "acq-first"}, "oop": {"acq": ["other", "second"]}},
        {"ip": {"acq": "first", "run": 1}, "oop": {"acq": "second", "run": "1"}},
        {
            "ip": {"acq": "first", "reconstruction": None, "run": "*"},
            "oop": {"acq": "second", "rec": [None, "x"], "run": "*"},
        },
        {
            "ip": {"acq": "first", "suffix": "T1w", "extension": "nii.gz"},
            "oop": {"acq": "second", "datatype": "anat", "extension": ".nii.gz"},
        },
        {"ip": {"acq": "first", "subject": "01"}, "oop": {"acq": "second", "subject": "sub-01"}},
    ],
)
def test_filter_file_names_the_pair(dataset: Path, queries: object) -> None:
    plain_pair(dataset)
    pair = find_pair(dataset, bids_filter_file=write_filter(dataset.parent, queries))
    assert "acq-first" in pair.in_phase.name
    assert "acq-second" in pair.out_phase.name
    assert pair.scan == "sub-01_acq-dixon_run-01"
    assert pair.recognised_by == "--bids-filter-file: ip, oop"


@pytest.mark.parametrize(
    "conditions",
    [
        {"acq": "second", "run": None},
        {"acq": "second", "run": 2},
        {"acq": "second", "run": "²"},
        {"acq": "second", "run": "9" * 5000},
        {"acq": "second", "rec": "*"},
        {"acq": "second", "subject": "1"},
        {"acq": "Second"},
    ],
)
def test_filter_query_that_nothing_meets(dataset: Path, conditions: object) -> None:
    plain_pair(dataset)
    queries = {"ip": {"acq": "first"}, "oop": conditions}
    scan = find_problem(dataset, bids_filter_file=write_filter(dataset.parent, queries))
    assert "query 'oop' of --bids-filter-file" in scan.problem
    assert scan.in_phase is not None
    assert scan.out_phase is None


def test_filter_file_by_suffix_fat_and_water(dataset: Path) -> None:
    for suffix in ("one", "two", "three", "four"):
        add_image(dataset, f"{ANAT}{suffix}.nii.gz")
    words = zip(("ip", "oop", "fat", "water"), ("one", "two", "three", "four"), strict=True)
    queries = {query: {"suffix": suffix} for query, suffix in words}
    pair = find_pair(dataset, bids_filter_file=write_filter(dataset.parent, queries))
    names = [path.name for path in (pair.in_phase, pair.out_phase, pair.fat, pair.water) if path]
    assert names == [f"sub-01_{suffix}.nii.gz" for suffix in ("one", "two", "three", "four")]
    assert pair.scan == "sub-01_acq-dixon"


def test_filter_file_overrules_and_says_so(dataset: Path) -> None:
    fields = image_type("OUT_PHASE") | THREE_TESLA_OOP
    add_image(dataset, f"{ANAT}acq-inphase_T1w.nii.gz", fields)
    add_image(dataset, f"{ANAT}acq-outphase_T1w.nii.gz", THREE_TESLA_IP)
    queries = {"ip": {"acq": "inphase"}, "oop": {"acq": "outphase"}}
    pair = find_pair(dataset, bids_filter_file=write_filter(dataset.parent, queries))
    assert "acq-inphase" in pair.in_phase.name
    assert "overruled" in pair.recognised_by
    assert "ImageType says out-of-phase (OUT_PHASE)" in pair.recognised_by


def test_filter_file_can_exchange_the_names(dataset: Path) -> None:
    make_pair(dataset, "01")
    queries = {"ip": {"acq": "outphase"}, "oop": {"acq": "inphase"}}
    pair = find_pair(dataset, bids_filter_file=write_filter(dataset.parent, queries))
    assert "acq-outphase" in pair.in_phase.name
    assert "acq-inphase" in pair.out_phase.name


def test_a_query_that_both_meet_only_selects(dataset: Path) -> None:
    for run in ("1", "2"):
        for word in ("inphase", "outphase"):
            add_image(dataset, f"{ANAT}acq-{word}_run-{run}_T1w.nii.gz")
    queries = {"ip": {"run": 2}, "oop": {"run": 2}}
    pair = find_pair(dataset, bids_filter_file=write_filter(dataset.parent, queries))
    assert pair.scan == "sub-01_acq-dixon_run-2"
    assert pair.recognised_by.startswith("file name")


def test_one_query_beside_the_other_rules(dataset: Path) -> None:
    for word in ("inphase", "outphase"):
        add_image(dataset, f"{ANAT}rec-{word}_T1w.nii.gz")
    add_image(dataset, f"{ANAT}rec-sharp_T1w.nii.gz")
    queries = {"ip": {"rec": "sharp"}}
    scans = find(dataset, bids_filter_file=write_filter(dataset.parent, queries))
    assert all(isinstance(scan, UnusableScan) for scan in scans)  # rec-sharp is no contrast
    queries = {"ip": {"rec": "sharp"}, "oop": {"rec": "outphase"}}
    pair = find_pair(dataset, bids_filter_file=write_filter(dataset.parent, queries))
    assert "rec-sharp" in pair.in_phase.name
    assert pair.scan == "sub-01_acq-dixon"


def test_filter_on_a_custom_entity(dataset: Path) -> None:
    for kind in ("a", "b"):
        add_image(dataset, f"{ANAT}kind-{kind}_T1w.nii.gz")
    queries = {"ip": {"kind": "a"}, "oop": {"kind": "b"}}
    pair = find_pair(dataset, bids_filter_file=write_filter(dataset.parent, queries))
    assert pair.scan == "sub-01_acq-dixon"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "holds no query"),
        ("{}", "holds no query"),
        ({"t1w": {"acq": "x"}}, "unknown query 't1w'"),
        ({"ip": {}}, "names no entity"),
        ({"ip": "inphase"}, "names no entity"),
        ({"ip": {"acq": {"a": 1}}}, "expected text"),
        ({"ip": {"acq": []}}, "expected text"),
        ({"ip": {"run": True}}, "expected text"),
        ({"ip": {"acquisitions": "x"}}, "names the entity 'acquisitions'"),
    ],
)
def test_bad_filter_file(dataset: Path, content: object, words: str) -> None:
    make_pair(dataset, "01")
    with pytest.raises(DatasetError, match=re.escape(words)):
        find(dataset, bids_filter_file=write_filter(dataset.parent, content))


def test_missing_filter_file(dataset: Path) -> None:
    make_pair(dataset, "01")
    with pytest.raises(DatasetError, match="cannot be read"):
        find(dataset, bids_filter_file=dataset / "none.json")


def test_filter_that_selects_nothing(dataset: Path) -> None:
    make_pair(dataset, "01")
    queries = {"ip": {"acq": "x"}, "oop": {"acq": "y"}}
    with pytest.raises(DatasetError, match="none of them meets --bids-filter-file"):
        find(dataset, bids_filter_file=write_filter(dataset.parent, queries))


# --- participants, sessions, the dataset itself ---------------------------------------------------


@pytest.mark.parametrize("label", ["1", "sub-1"])
def test_labels_that_begin_alike(dataset: Path, label: str) -> None:
    for participant in ("1", "10", "100", "01"):
        make_pair(dataset, participant)
        sidecar = {"EchoTime": 0.00246, "MagneticFieldStrength": 3}
        path = f"sub-{participant}/anat/sub-{participant}_acq-inphase_T1w.nii.gz"
        write_sidecar(dataset / path, sidecar)
    pair = find_pair(dataset, participant_label=(label,))
    assert pair.participant == "1"
    assert pair.echo_times_ms == (pytest.approx(2.46), None)


def test_several_labels_in_any_order(dataset: Path) -> None:
    for participant in ("01", "02", "03"):
        make_pair(dataset, participant)
    found = find(dataset, participant_label=("sub-03", "01", "03"))
    assert [scan.participant for scan in found] == ["01", "03"]


@pytest.mark.parametrize("label", ["b", "ses-b"])
def test_session_label(dataset: Path, label: str) -> None:
    names = [make_pair(dataset, "01", session) for session in ("a", "b", "b2")]
    make_pair(dataset, "02", "a")
    make_pair(dataset, "03")
    assert [scan.scan for scan in find(dataset, session_label=(label,))] == [names[1]]
    assert len(find(dataset)) == 5


def test_unknown_participant_names_the_nearest(dataset: Path) -> None:
    for participant in ("0001", "0002", "patient7"):
        make_pair(dataset, participant)
    with pytest.raises(DatasetError, match=r"--participant-label patient1: no folder .*patient7"):
        find(dataset, participant_label=("patient1",))
    with pytest.raises(DatasetError, match=r"Available: 0001, 0002, patient7\."):
        find(dataset, participant_label=("xyz",))


def test_unknown_session(dataset: Path) -> None:
    make_pair(dataset, "01", "a")
    with pytest.raises(DatasetError, match=r"--session-label z: .*Available: a\."):
        find(dataset, session_label=("z",))


def test_session_label_without_sessions(dataset: Path) -> None:
    make_pair(dataset, "01")
    with pytest.raises(DatasetError, match="There is none"):
        find(dataset, session_label=("a",))


def test_participant_asked_for_without_images_is_reported(dataset: Path) -> None:
    make_pair(dataset, "01")
    add_image(dataset, "sub-02/anat/sub-02_T1w.nii.gz")
    (dataset / "sub-03").mkdir()
    scans = find(dataset, participant_label=("01", "02", "03"))
    assert [type(scan) for scan in scans] == [DixonPair, UnusableScan, UnusableScan]
    assert "no Dixon image" in scans[1].problem  # type: ignore[union-attr]
    assert len(find(dataset)) == 1


def test_nothing_to_classify_names_what_was_found(dataset: Path) -> None:
    for number in range(8):
        add_image(dataset, f"{ANAT}run-{number}_T1w.nii.gz", THREE_TESLA_IP)
    with pytest.raises(DatasetError) as caught:
        find(dataset)
    assert "sub-01_run-0_T1w.nii.gz" in str(caught.value)
    assert "and 3 more" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: shutil.rmtree(d), "no such folder"),
        (lambda d: (shutil.rmtree(d), d.write_text("")), "is not a folder"),
        (lambda d: shutil.rmtree(d / "sub-01"), "holds no participant"),
        (lambda d: shutil.rmtree(d / "sub-01" / "anat"), "No NIfTI image"),
        (lambda d: (d / "dataset_description.json").unlink(), "no readable dataset_description"),
        (lambda d: (d / "dataset_description.json").write_text("{"), "not valid JSON"),
        (lambda d: (d / "dataset_description.json").write_text("[]"), "not a JSON object"),
        (lambda d: (d / "dataset_description.json").write_text("{}"), "no BIDSVersion"),
        (lambda d: start_dataset(d, DatasetType="derivative"), "is a derivative"),
    ],
)
def test_folder_that_is_no_dataset(dataset: Path, change: object, words: str) -> None:
    make_pair(dataset, "01")
    change(dataset)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=words):
        find(dataset)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"DatasetType": "derivative"}'])
def test_description_is_not_looked_at_without_validation(
    dataset: Path, content: str | None
) -> None:
    make_pair(dataset, "01")
    write_sidecar(dataset / f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP)
    path = dataset / "dataset_description.json"
    path.unlink() if content is None else path.write_text(content)
    assert isinstance(find_one(dataset, skip_bids_validation=True), DixonPair)


@pytest.mark.parametrize(
    "folder",
    ["with space", "ünïcode é", "a (1) [x]", "50% #1", "sub-99/ses-x_echo-1", "_echo-1_", "x+y&z"],
)
def test_odd_folder_names(tmp_path: Path, folder: str) -> None:
    bids_dir = start_dataset(tmp_path / folder / "data_part-mag")
    for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
        add_image(bids_dir, f"{ANAT}echo-{echo}_MEGRE.nii.gz", fields)
    assert find_pair(bids_dir).echo_times_ms == pytest.approx((2.46, 1.23))


def test_symlinked_and_relative_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = start_dataset(tmp_path / "real" / "data")
    for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
        add_image(real, f"{ANAT}echo-{echo}_MEGRE.nii.gz", fields)
    link = tmp_path / "link"
    link.symlink_to(real, target_is_directory=True)
    assert find_pair(link).in_phase == link / f"{ANAT}echo-2_MEGRE.nii.gz"
    monkeypatch.chdir(tmp_path / "real")
    relative = Path("../link")
    scans = find(relative)
    assert scans[0].in_phase == link / f"{ANAT}echo-2_MEGRE.nii.gz"
    assert json.loads(describe_as_json(scans, relative))[0]["out_phase"].startswith("sub-01/anat/")


def test_symlinked_participant_folder(dataset: Path, tmp_path: Path) -> None:
    elsewhere = start_dataset(tmp_path / "elsewhere")
    make_pair(elsewhere, "01")
    write_sidecar(elsewhere / f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP)
    (dataset / "sub-01").symlink_to(elsewhere / "sub-01", target_is_directory=True)
    assert find_pair(dataset).echo_times_ms[0] == pytest.approx(2.46)


def link_to_nowhere(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(Path("/nowhere") / path.name)
    return path


def assert_lost(scan: DixonPair | UnusableScan, link: str, name: str) -> None:
    assert isinstance(scan, UnusableScan)
    assert scan.scan == name
    assert f"{link}: is a symbolic link to /nowhere/{link.rpartition('/')[2]}" in scan.problem
    assert "has not been fetched or is not mounted" in scan.problem
    assert "remove the link" in scan.problem


@pytest.mark.parametrize("asked", [(), ("06",), ("06", "01")])
def test_participant_behind_a_broken_link(dataset: Path, asked: tuple[str, ...]) -> None:
    make_pair(dataset, "01")
    link_to_nowhere(dataset / "sub-06")
    scans = {scan.participant: scan for scan in find(dataset, participant_label=asked)}
    assert scans.keys() == (set(asked) or {"01", "06"})
    assert_lost(scans["06"], "sub-06", "sub-06")


def test_only_participants_behind_broken_links(dataset: Path) -> None:
    for label in ("06", "07"):
        link_to_nowhere(dataset / f"sub-{label}")
    for scan in find(dataset):
        assert_lost(scan, scan.scan, f"sub-{scan.participant}")
    assert len(find(dataset, session_label=("b",))) == 2


def test_session_behind_a_broken_link(dataset: Path) -> None:
    make_pair(dataset, "09", "a")
    write_sidecar(dataset / "sub-09/ses-a/anat/sub-09_ses-a_acq-inphase_T1w.nii.gz", {})
    link_to_nowhere(dataset / "sub-09" / "ses-b")
    good, bad = find(dataset)
    assert isinstance(good, DixonPair)
    assert_lost(bad, "sub-09/ses-b", "sub-09_ses-b")
    assert find(dataset, session_label=("b",)) == [bad]
    assert find(dataset, session_label=("a",)) == [good]


@pytest.mark.parametrize("home", ["sub-09", "sub-09/ses-a"])
def test_images_behind_broken_links(dataset: Path, home: str) -> None:
    make_pair(dataset, "01")
    for name in ("anat", "dixon", "func", ".cache"):
        link_to_nowhere(dataset / home / name)
    _, bad = find(dataset)
    name = home.replace("/", "_")
    assert_lost(bad, f"{home}/anat", name)
    assert_lost(bad, f"{home}/dixon", name)
    assert "func" not in bad.problem  # type: ignore[union-attr]
    assert "cache" not in bad.problem  # type: ignore[union-attr]


@pytest.mark.parametrize("link", ["sub-07", "sub-01/ses-b", "sub-01/dixon"])
def test_link_that_leads_to_itself(dataset: Path, link: str) -> None:
    make_pair(dataset, "01")
    write_sidecar(dataset / f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP)
    name = link.rpartition("/")[2]
    (dataset / link).symlink_to(name)
    scans = {scan.scan: scan for scan in find(dataset)}
    assert isinstance(scans.pop("sub-01_acq-dixon"), DixonPair)
    (bad,) = scans.values()
    assert f"{link}: is a symbolic link to {name}" in bad.problem  # type: ignore[union-attr]


def test_several_problems_of_one_participant_share_its_name(
    dataset: Path, pybids_fails: None
) -> None:
    make_pair(dataset, "01")
    write_sidecar(dataset / f"{ANAT}acq-inphase_T1w.nii.gz", {})
    link_to_nowhere(dataset / "sub-01" / "dixon")
    scan = find_problem(dataset)
    assert scan.scan == "sub-01"
    assert "PyBIDS cannot index" in scan.problem
    assert "sub-01/dixon: is a symbolic link" in scan.problem
    assert len(scan.paths) == 2


def test_broken_links_of_files_are_no_folders(dataset: Path) -> None:
    make_pair(dataset, "01")
    for name in ("sub-01_notes.txt", "sub-01/ses-x.tsv", "sub-01/README", "sub-02"):
        add_broken_link(dataset / name)
    assert find_pair(dataset).scan == "sub-01_acq-dixon"


# --- names that are not UTF-8 ---------------------------------------------------------------------


def odd_name(path: str) -> str:
    """The path with every ? made a byte that is not UTF-8."""
    return path.replace("?", os.fsdecode(b"\xe4"))


def write_odd(path: Path, content: bytes = b"x") -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError:
        pytest.skip("this file system takes no name that is not UTF-8")
    return path


@pytest.mark.parametrize("name", ["acq-inphase_run-?_T1w.nii.gz", "?.nii", "acq-inphase_T1w?.nii"])
@pytest.mark.parametrize("sidecar", [True, False])
def test_image_name_that_is_not_utf8(dataset: Path, name: str, sidecar: bool) -> None:
    make_pair(dataset, "01")
    if sidecar:
        write_sidecar(dataset / f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP)
    odd = write_odd(dataset / odd_name(f"{ANAT}{name}"))
    bad, good = find(dataset)
    assert isinstance(good, DixonPair)
    assert good.echo_times_ms[0] == (pytest.approx(2.46) if sidecar else None)
    assert isinstance(bad, UnusableScan)
    assert bad.paths == (odd,)
    shown = name.replace("?", "\\xe4")
    assert f"{ANAT}{shown}: " in bad.problem
    assert "not UTF-8" in bad.problem
    assert "Rename" in bad.problem
    assert "sidecar" not in bad.problem
    describe_as_table([bad, good], dataset).encode()
    describe_as_json([bad, good], dataset).encode()


@pytest.mark.parametrize(
    "name",
    ["sub-01/anat/notes?.txt", "sub-01/anat/sub-01_acq-?_T1w.json", "x?_T1w.json", "sub-01/?/a.txt",
     "sub-01/func/sub-01_?.nii", "sub-?/notes.txt"],
)  # fmt: skip
def test_other_names_that_are_not_utf8_do_no_harm(dataset: Path, name: str) -> None:
    make_pair(dataset, "01")
    write_sidecar(dataset / f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP)
    write_odd(dataset / odd_name(name), b"{}")
    assert find_pair(dataset).echo_times_ms[0] == pytest.approx(2.46)


@pytest.mark.parametrize(
    ("path", "scan"),
    [
        ("sub-?/anat/sub-?_inphase.nii", "sub-\\xe4"),
        ("sub-01/ses-?/anat/sub-01_ses-?_inphase.nii", "sub-01_ses-\\xe4"),
        ("sub-01/?/sub-01_inphase.nii", "sub-01"),
    ],
)
def test_folder_name_that_is_not_utf8(dataset: Path, path: str, scan: str) -> None:
    make_pair(dataset, "01")
    write_odd(dataset / odd_name(path))
    found = {one.scan: one for one in find(dataset)}
    assert isinstance(found.pop("sub-01_acq-dixon"), DixonPair)
    assert found.keys() == {scan}
    assert path.replace("?", "\\xe4") in found[scan].problem  # type: ignore[union-attr]
    describe_as_table(list(found.values()), dataset).encode()
    with pytest.raises(DatasetError) as caught:
        find(dataset, participant_label=(odd_name("?7"),))
    str(caught.value).encode()


# --- participants without a Dixon image -----------------------------------------------------------


def test_participants_without_scans_are_listed(dataset: Path) -> None:
    for label in ("01", "02"):
        make_pair(dataset, label, "a")
    add_image(dataset, "sub-03/anat/sub-03_acq-inphase_T1w.nii.gz")
    add_image(dataset, "sub-05/anat/sub-05_T1w.nii.gz")
    (dataset / "sub-04").mkdir()
    link_to_nowhere(dataset / "sub-06")
    all_of_them = options(dataset)
    scans = find_scans(all_of_them)
    assert list_participants_without_scans(all_of_them, scans) == ["sub-04", "sub-05"]
    some = options(dataset, participant_label=("01", "sub-02"))
    assert list_participants_without_scans(some, find_scans(some)) == []
    asked = options(dataset, participant_label=("01", "05"))
    assert list_participants_without_scans(asked, find_scans(asked)) == []  # a problem of its own
    session = options(dataset, session_label=("a",))
    others = ["sub-03", "sub-04", "sub-05"]
    assert list_participants_without_scans(session, find_scans(session)) == others


# --- database -------------------------------------------------------------------------------------


def test_database_is_written_used_and_never_stale(dataset: Path, tmp_path: Path) -> None:
    database = tmp_path / "database"
    paths = {}
    for echo, fields in (("1", THREE_TESLA_OOP), ("2", THREE_TESLA_IP)):
        paths[echo] = add_image(dataset, f"{ANAT}echo-{echo}_MEGRE.nii.gz", fields)
    before = find_pair(dataset)
    assert find_pair(dataset, bids_database_dir=database, dry_run=True) == before
    assert not database.exists()
    assert find_pair(dataset, bids_database_dir=database) == before
    (index,) = database.iterdir()
    assert index.name.startswith("sub-01_")
    assert (index / "layout_index.sqlite").is_file()
    stamp = (index / "layout_index.sqlite").stat().st_mtime_ns
    assert find_pair(dataset, bids_database_dir=database) == before
    assert (index / "layout_index.sqlite").stat().st_mtime_ns == stamp
    write_sidecar(paths["1"], THREE_TESLA_IP)
    write_sidecar(paths["2"], THREE_TESLA_OOP)
    os.utime(paths["1"].with_name("sub-01_echo-1_MEGRE.json"), (1, 1))
    after = find_pair(dataset, bids_database_dir=database)
    assert (after.in_phase, after.out_phase) == (before.out_phase, before.in_phase)
    assert len(list(database.iterdir())) == 2  # another run may still read the older one


def test_sessions_share_an_index(dataset: Path, tmp_path: Path) -> None:
    for session in ("a", "b"):
        make_pair(dataset, "01", session)
        stem = f"sub-01/ses-{session}/anat/sub-01_ses-{session}_acq-inphase_T1w.nii.gz"
        write_sidecar(dataset / stem, THREE_TESLA_IP)
    contents = []
    for session in ("a", "b", "a"):
        pair = find_pair(dataset, session_label=(session,), bids_database_dir=tmp_path / "db")
        assert pair.session == session
        assert pair.echo_times_ms[0] == pytest.approx(2.46)
        (index,) = (tmp_path / "db").glob("*/layout_index.sqlite")
        contents.append((index, index.stat().st_mtime_ns))
    assert len(set(contents)) == 1


def mute_names(dataset: Path) -> DixonPair:
    """A pair whose sidecars the default rules of PyBIDS would exchange or mix up."""
    for word, fields in (("inphase", THREE_TESLA_IP), ("outphase", THREE_TESLA_OOP)):
        add_image(dataset, f"{ANAT}part-{word}_vibe.nii.gz", fields)
    return find_pair(dataset)


def test_index_of_which_only_the_folder_is_left(dataset: Path, tmp_path: Path) -> None:
    expected = mute_names(dataset)
    find_pair(dataset, bids_database_dir=tmp_path / "db")
    (index,) = (tmp_path / "db").glob("*/layout_index.sqlite")
    index.unlink()
    assert find_pair(dataset, bids_database_dir=tmp_path / "db") == expected
    assert index.exists()


def test_index_deleted_while_it_is_opened(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = mute_names(dataset)
    find_pair(dataset, bids_database_dir=tmp_path / "db")
    (index,) = (tmp_path / "db").iterdir()
    copy = shutil.copyfile

    def delete_and_copy(source: Path, target: Path) -> None:
        shutil.rmtree(index)
        copy(source, target)

    monkeypatch.setattr(metadata.shutil, "copyfile", delete_and_copy)
    assert find_pair(dataset, bids_database_dir=tmp_path / "db") == expected
    assert (index / "layout_index.sqlite").exists()


def test_index_stored_by_two_runs_at_once(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = mute_names(dataset)
    database = tmp_path / "db"
    find_pair(dataset, bids_database_dir=database)
    (index,) = database.iterdir()
    index.rename(tmp_path / "other")
    make = metadata.tempfile.mkdtemp

    def other_run_is_first(*args: object, **more: object) -> str:
        if more.get("dir") == database:
            (tmp_path / "other").rename(index)
        return make(*args, **more)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(metadata.tempfile, "mkdtemp", other_run_is_first)
    assert find_pair(dataset, bids_database_dir=database) == expected
    assert list(database.iterdir()) == [index]


def test_database_is_really_read(dataset: Path, tmp_path: Path) -> None:
    """An index with another echo time, put in its place, is what the search must see."""
    make_pair(dataset, "01")
    write_sidecar(dataset / f"{ANAT}acq-inphase_T1w.nii.gz", {"EchoTime": 0.00246})
    database = tmp_path / "database"
    find_pair(dataset, bids_database_dir=database)
    (index,) = database.glob("*/layout_index.sqlite")
    content = index.read_bytes()
    assert content.count(b"0.00246") == 1
    index.write_bytes(content.replace(b"0.00246", b"0.00999"))
    assert find_pair(dataset, bids_database_dir=database).echo_times_ms[0] == pytest.approx(9.99)


def test_database_that_cannot_be_written(dataset: Path, tmp_path: Path) -> None:
    make_pair(dataset, "01")
    write_sidecar(dataset / f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--bids-database-dir"):
        find_pair(dataset, bids_database_dir=tmp_path / "file" / "database")


def test_damaged_database_is_reported(dataset: Path, tmp_path: Path) -> None:
    make_pair(dataset, "01")
    write_sidecar(dataset / f"{ANAT}acq-inphase_T1w.nii.gz", THREE_TESLA_IP)
    find_pair(dataset, bids_database_dir=tmp_path / "db")
    (index,) = (tmp_path / "db").glob("*/layout_index.sqlite")
    index.write_bytes(b"no database")
    problem = find_problem(dataset, bids_database_dir=tmp_path / "db").problem
    assert str(index.parent) in problem
    assert "Delete" in problem


def test_databases_of_participants_that_begin_alike(dataset: Path, tmp_path: Path) -> None:
    for participant in ("1", "10"):
        make_pair(dataset, participant)
        path = dataset / f"sub-{participant}/anat/sub-{participant}_acq-inphase_T1w.nii.gz"
        write_sidecar(path, THREE_TESLA_IP)
    find(dataset, bids_database_dir=tmp_path / "db")
    labels = sorted(path.name.partition("_")[0] for path in (tmp_path / "db").iterdir())
    assert labels == ["sub-1", "sub-10"]


def test_search_leaves_the_dataset_as_it_was(tmp_path: Path) -> None:
    make_every_convention_dataset(tmp_path / "bids")
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "bids").rglob("*"))
    find(tmp_path / "bids")
    assert sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "bids").rglob("*")) == before


# --- as text --------------------------------------------------------------------------------------


@pytest.fixture
def mixed(dataset: Path) -> Path:
    make_pair(dataset, "01", "a")
    add_image(dataset, "sub-01/ses-a/anat/sub-01_ses-a_acq-water_T1w.nii.gz")
    add_image(dataset, "sub-02/anat/sub-02_inphase.nii.gz")
    return dataset


def test_json(mixed: Path) -> None:
    good, bad = json.loads(describe_as_json(find(mixed), mixed))
    stem = "sub-01/ses-a/anat/sub-01_ses-a_acq"
    assert good == {
        "in_phase": f"{stem}-inphase_T1w.nii.gz",
        "out_phase": f"{stem}-outphase_T1w.nii.gz",
        "water": f"{stem}-water_T1w.nii.gz",
        "fat": None,
        "entities": {"sub": "01", "ses": "a", "acq": "dixon"},
        "recognised_by": "file name: acq-inphase, acq-outphase",
        "problem": None,
    }
    assert bad["in_phase"] == "sub-02/anat/sub-02_inphase.nii.gz"
    assert bad["out_phase"] is None
    assert bad["entities"] == {"sub": "02", "acq": "dixon"}
    assert "was not found" in bad["problem"]
    assert bad.keys() == good.keys()


def test_table(mixed: Path) -> None:
    table = describe_as_table(find(mixed), mixed)
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    stem = "sub-01/ses-a/anat/sub-01_ses-a_acq"
    assert ["sub-01_ses-a_acq-dixon", "in-phase", f"{stem}-inphase_T1w.nii.gz"] in rows
    assert ["out-of-phase", f"{stem}-outphase_T1w.nii.gz"] in rows
    assert ["water", f"{stem}-water_T1w.nii.gz"] in rows
    assert ["fat", "-"] in rows
    assert ["recognised by", "file name: acq-inphase, acq-outphase"] in rows
    assert any(row[0] == "problem" and "sub-02_inphase" in row[1] for row in rows)
    assert table.endswith("2 scans: 1 can be processed, 1 cannot.")
    assert str(mixed) not in table
    assert max(map(len, table.splitlines())) <= 120


# --- speed and imports ----------------------------------------------------------------------------


def test_one_of_many_participants_is_found_without_looking_at_the_others(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a search costs is told by the folders it opens, not by a clock."""
    for number in range(50):
        (dataset / f"sub-{number:04d}" / "ses-01" / "anat").mkdir(parents=True)
    make_pair(dataset, "0025")
    write_sidecar(dataset / "sub-0025/anat/sub-0025_acq-inphase_T1w.nii.gz", THREE_TESLA_IP)
    opened: list[str] = []
    scandir, listdir = os.scandir, os.listdir

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        def noting(path: Any = ".") -> Any:
            opened.append(os.fspath(path) if not isinstance(path, int) else "")
            return function(path)

        return noting

    monkeypatch.setattr(os, "scandir", note(scandir))
    monkeypatch.setattr(os, "listdir", note(listdir))
    find(dataset, participant_label=("0025",))
    others = {path for path in opened if "sub-" in path and "sub-0025" not in path}
    assert any("sub-0025" in path for path in opened)
    assert others == set()


def test_import_does_not_load_pybids() -> None:
    code = (
        "import sys, bids_mfi.discovery; "
        "assert not {'bids', 'pandas', 'torch', 'scipy.stats', 'sqlalchemy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert done.returncode == 0
