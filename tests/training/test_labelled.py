"""Labelled scans: found, matched by name, split by participant, brought to the model grid."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_affine, make_pair_arrays, write_description, write_nifti, write_scan
from labelled_dataset import label_volume, write_labels
from toy_training import plan_of

from bids_mfi.errors import DatasetError, InputError, PairError
from bids_mfi.grid import reorient
from bids_mfi.images import encode_image, read_image
from bids_mfi.muscles import WEBER2021
from bids_mfi.network.model_grid import resample_labels
from bids_mfi.options import RunOptions, TrainOptions
from bids_mfi.training.batches import LEARNT_FROM
from bids_mfi.training.begin import draft_bundle
from bids_mfi.training.labelled_scans import in_rounds, load_case, load_labelled_data
from bids_mfi.training.scan_plan import (
    TRAINING,
    VALIDATION,
    LabelledScan,
    LabelledSource,
    describe_plan,
    encode_scan_list,
    plan_scans,
    read_case_table,
)

OPTIONS = TrainOptions(spacing_mm=(4.0, 4.0, 6.0))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Five participants, the first with two sessions; all labelled but the last."""
    bids_dir = tmp_path / "bids"
    write_description(bids_dir)
    scans = [("01", "a"), ("01", "b"), ("02", None), ("03", None), ("04", None), ("05", None)]
    for seed, (participant, session) in enumerate(scans):
        write_scan(bids_dir, participant, session, seed)
        stem = f"sub-{participant}" + (f"_ses-{session}" if session else "")
        if participant != "05":
            write_labels(bids_dir, f"{stem}_acq-dixon_seg-muscle_desc-manual_dseg.nii.gz")
    return bids_dir


def source_of(bids_dir: Path, **changes: object) -> LabelledSource:
    selection = RunOptions(bids_dir, bids_dir.parent / "out", "participant")
    return replace(LabelledSource(selection), **changes)


def roles_of(bids_dir: Path, options: TrainOptions = OPTIONS, **changes: object) -> dict[str, str]:
    plan = plan_scans(source_of(bids_dir, **changes), options)
    return {scan.pair.scan: scan.role for scan in plan.scans}


def test_everything_found_is_accounted_for(dataset: Path) -> None:
    stray = write_labels(dataset, "sub-02_run-7_dseg.nii.gz")
    plan = plan_scans(source_of(dataset), OPTIONS)
    assert len(plan.scans) == 5
    assert plan.unlabelled == ("sub-05_acq-dixon",)
    assert plan.unmatched == (stray,)
    text = "\n".join(describe_plan(plan))
    assert "labelled scans: 5; 4 for training, 1 held out" in text or (
        "3 for training, 2 held out" in text
    )
    assert "scans without a label map (1): sub-05_acq-dixon" in text
    assert "label maps without a selected scan (1): sub-02_run-7_dseg.nii.gz" in text
    rows = [line.split("\t") for line in encode_scan_list(plan).decode().splitlines()]
    assert rows[0] == ["scan", "participant", "role", "labels"]
    assert ["sub-05_acq-dixon", "05", "unlabelled", "n/a"] in rows
    assert len(rows) == 7


@pytest.mark.parametrize("seed", range(3))
def test_sessions_of_a_participant_stay_together(dataset: Path, seed: int) -> None:
    roles = roles_of(dataset, replace(OPTIONS, seed=seed, validation_share=0.5))
    assert roles["sub-01_ses-a_acq-dixon"] == roles["sub-01_ses-b_acq-dixon"]
    held = {scan.split("_")[0] for scan, role in roles.items() if role == VALIDATION}
    assert len(held) == 2
    assert roles == roles_of(dataset, replace(OPTIONS, seed=seed, validation_share=0.5))


def test_the_seed_draws_who_is_held_out(dataset: Path) -> None:
    drawn = {tuple(roles_of(dataset, replace(OPTIONS, seed=n)).values()) for n in range(12)}
    assert len(drawn) > 2


def test_participants_can_be_named(dataset: Path) -> None:
    roles = roles_of(dataset, validation_participants=("sub-03", "04"))
    held = [scan for scan, role in roles.items() if role == VALIDATION]
    assert held == ["sub-03_acq-dixon", "sub-04_acq-dixon"]


@pytest.mark.parametrize(
    ("asked", "finding"),
    [
        (("09",), "09 has no labelled scan"),
        (("01", "02", "03", "04"), "4 participants .* and 4 would be held out"),
    ],
)
def test_impossible_splits_are_refused(dataset: Path, asked: tuple[str, ...], finding: str) -> None:
    with pytest.raises(InputError, match=finding):
        roles_of(dataset, validation_participants=asked)


def test_validation_on_the_training_scans_holds_nobody_out(dataset: Path) -> None:
    options = replace(OPTIONS, validation="training")
    assert set(roles_of(dataset, options).values()) == {TRAINING}
    data, _ = load_labelled_data(plan_of(options), source_of(dataset), lambda line: None)
    assert data.validated_on == LEARNT_FROM
    assert len(data.validation) == data.count == 5
    with pytest.raises(InputError, match="holds out no participant"):
        roles_of(dataset, options, validation_participants=("01",))


@pytest.mark.parametrize(
    "name",
    [
        "sub-05_dseg.nii.gz",
        "sub-05_acq-dixon_echo-1_dseg.nii.gz",
        "sub-05_acq-dixon_echo-01_seg-neck_label-muscle_desc-x_dseg.nii",
    ],
)
def test_names_may_leave_out_or_add_what_does_not_contradict(dataset: Path, name: str) -> None:
    volume = label_volume()
    path = write_labels(dataset, name, volume)
    if name.endswith(".nii"):  # the helper compresses
        import gzip

        path.write_bytes(gzip.decompress(path.read_bytes()))
    assert "sub-05_acq-dixon" in roles_of(dataset)


@pytest.mark.parametrize(
    "name",
    ["sub-05_acq-other_dseg.nii.gz", "sub-05_space-x_dseg.nii.gz", "sub-05_echo-3_dseg.nii.gz"],
)
def test_contradicting_names_do_not_fit(dataset: Path, name: str) -> None:
    write_labels(dataset, name)
    assert "sub-05_acq-dixon" not in roles_of(dataset)


def test_a_name_without_session_fits_no_session(dataset: Path) -> None:
    stray = write_labels(dataset, "sub-01_acq-dixon_dseg.nii.gz")
    plan = plan_scans(source_of(dataset), OPTIONS)
    assert plan.unmatched == (stray,)
    assert len(plan.scans) == 5


def test_two_maps_of_a_scan_are_refused(dataset: Path) -> None:
    write_labels(dataset, "sub-02_acq-dixon_seg-muscle_desc-second_dseg.nii.gz")
    with pytest.raises(
        InputError, match=r"sub-02_acq-dixon: 2 label maps match .*second.*expected one"
    ):
        roles_of(dataset)


def test_other_segmentations_in_the_folder_are_looked_over(dataset: Path) -> None:
    """As in an evaluation: seg-muscle goes before others, of maps and of tables."""
    other = write_labels(dataset, "sub-02_acq-dixon_seg-vertebra_dseg.nii.gz")
    labels = dataset / "derivatives" / "labels"
    (labels / "seg-muscle_dseg.tsv").write_text("index\tname\n1\tright_a\n2\tleft_a\n")
    (labels / "seg-vertebra_dseg.tsv").write_text("index\tname\n1\tright_b\n2\tleft_b\n")
    plan = plan_scans(source_of(dataset), OPTIONS)
    assert plan.unmatched == (other,)
    assert [muscle.abbreviation for muscle in plan.table] == ["a_R", "a_L"]


def test_tables_beside_the_maps_are_read_as_in_an_evaluation(dataset: Path) -> None:
    for path in (dataset / "derivatives" / "labels").glob("**/*_dseg.nii.gz"):
        name = path.name.replace("_dseg.nii.gz", "_dseg.tsv")
        path.with_name(name).write_text("index\tname\n1\tright_a\n2\tleft_a\n")
    table = plan_scans(source_of(dataset), OPTIONS).table
    assert [muscle.abbreviation for muscle in table] == ["a_R", "a_L"]


def test_one_map_of_two_scans_is_refused(dataset: Path) -> None:
    for run in "12":
        for echo in "12":
            for end in (".nii.gz", ".json"):
                folder = dataset / "sub-02" / "anat"
                old = folder / f"sub-02_acq-dixon_echo-{echo}_MEGRE{end}"
                new = folder / f"sub-02_acq-dixon_run-{run}_echo-{echo}_MEGRE{end}"
                new.write_bytes(old.read_bytes())
    for path in (dataset / "sub-02" / "anat").glob("*dixon_echo*"):
        path.unlink()
    with pytest.raises(InputError, match="matches two scans, sub-02_acq-dixon_run-1 and"):
        roles_of(dataset)


def test_missing_folders_and_names_say_what_is_expected(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere: no such folder.*--label-dir"):
        roles_of(dataset, label_dir=tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="contains no label map"):
        roles_of(dataset, label_dir=tmp_path)
    (tmp_path / "other" / "sub-77").mkdir(parents=True)
    (tmp_path / "other" / "sub-77" / "sub-77_dseg.nii.gz").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"none of the label maps.*belongs to a scan"):
        roles_of(dataset, label_dir=tmp_path / "other")


# ----------------------------------------------------------------------------------- table


def test_table_is_the_papers_unless_the_derivative_has_its_own(tmp_path: Path) -> None:
    assert read_case_table(tmp_path) == WEBER2021
    (tmp_path / "dseg.tsv").write_text(
        "index\tname\tlevels\n0\tbackground\t\n4\tright_trapezius\tC6\n3\tleft_trapezius\tC6\n"
    )
    table = read_case_table(tmp_path)
    assert [(m.index, m.hemi, m.levels) for m in table] == [(3, "L", "C6"), (4, "R", "C6")]
    assert table.mirrored_indices() == {3: 4, 4: 3}


@pytest.mark.parametrize(
    "rows",
    ["3\ttrapezius", "x\tleft_trapezius", "3\tleft_a\n3\tright_a", "-1\tleft_a"],
)
def test_damaged_tables_are_refused(tmp_path: Path, rows: str) -> None:
    (tmp_path / "dseg.tsv").write_text(f"index\tname\n{rows}\n")
    with pytest.raises(InputError, match=r"dseg\.tsv: .*[Ee]xpected"):
        read_case_table(tmp_path)


def test_two_tables_are_refused(tmp_path: Path) -> None:
    for name in ("a_dseg.tsv", "dseg.tsv"):
        (tmp_path / name).write_text("index\tname\n")
    with pytest.raises(InputError, match="has 2 label tables"):
        read_case_table(tmp_path)


# --------------------------------------------------------------------------------- reading


def scan_of(bids_dir: Path, participant: str = "02") -> LabelledScan:
    plan = plan_scans(source_of(bids_dir), OPTIONS)
    return next(scan for scan in plan.scans if scan.pair.participant == participant)


def test_a_case_on_the_scans_own_grid_is_the_scan(dataset: Path) -> None:
    case = load_case(scan_of(dataset), WEBER2021, draft_bundle(OPTIONS, WEBER2021))
    assert np.array_equal(case.labels, label_volume())
    assert np.array_equal(case.in_phase, np.rint(make_pair_arrays(2)[0]).astype(np.float32))
    assert case.in_phase.dtype == case.out_phase.dtype == np.float32
    assert case.grid.spacing_mm == pytest.approx((4, 4, 6))


@pytest.mark.parametrize("axcodes", ["LPS", "AIR", "SLP"])
def test_storage_order_of_the_labels_does_not_matter(dataset: Path, axcodes: str) -> None:
    """Right stays right whatever way the label map is stored."""
    scan = scan_of(dataset)
    grid = read_image(scan.labels)[1]
    turned, turned_grid = reorient(label_volume(), grid, tuple(axcodes))  # type: ignore[arg-type]
    scan.labels.write_bytes(encode_image(np.ascontiguousarray(turned), turned_grid))
    case = load_case(scan, WEBER2021, draft_bundle(OPTIONS, WEBER2021))
    assert np.array_equal(case.labels, label_volume())


def test_scan_stored_the_other_way_gives_the_same_case(dataset: Path, tmp_path: Path) -> None:
    plain = load_case(scan_of(dataset), WEBER2021, draft_bundle(OPTIONS, WEBER2021))
    scan = scan_of(dataset)
    for path in (scan.pair.in_phase, scan.pair.out_phase):
        volume, grid = read_image(path)
        turned, turned_grid = reorient(volume, grid, ("L", "P", "S"))
        path.write_bytes(encode_image(np.ascontiguousarray(turned).astype(np.int16), turned_grid))
    case = load_case(scan, WEBER2021, draft_bundle(OPTIONS, WEBER2021))
    assert np.array_equal(case.labels, plain.labels)
    assert np.array_equal(case.in_phase, plain.in_phase)


def test_labels_and_images_reach_the_same_coarser_grid(dataset: Path) -> None:
    draft = draft_bundle(replace(OPTIONS, spacing_mm=(8.0, 8.0, 6.0)), WEBER2021)
    case = load_case(scan_of(dataset), WEBER2021, draft)
    assert case.labels.shape == case.in_phase.shape == case.grid.shape == (16, 14, 12)
    assert np.array_equal(case.labels, label_volume()[::2, ::2])


def test_the_larger_share_wins() -> None:
    """A voxel of three: two of label 2, one of label 1, background nowhere."""
    labels = np.array([1, 2, 2, 0, 0, 1], dtype=np.int16).reshape(6, 1, 1).repeat(2, 1).repeat(2, 2)
    assert resample_labels(labels, (2, 2, 2))[:, 0, 0].tolist() == [2, 0]


def test_labels_of_another_grid_are_refused(dataset: Path) -> None:
    scan = scan_of(dataset)
    write_nifti(scan.labels, label_volume(), make_affine((4.0, 4.0, 5.0)))
    with pytest.raises(
        PairError, match=r"sub-02_acq-dixon: .*dseg.*grid differs from that.*voxels of"
    ):
        load_case(scan, WEBER2021, draft_bundle(OPTIONS, WEBER2021))


@pytest.mark.parametrize(
    ("change", "finding"),
    [(lambda v: v + 20, "contains the values 20, 21, 22"), (lambda v: v * 0, "all voxels are 0")],
)
def test_wrong_labels_are_refused(dataset: Path, change, finding: str) -> None:
    scan = scan_of(dataset)
    write_nifti(scan.labels, change(label_volume()))
    with pytest.raises(PairError, match=f"sub-02_acq-dixon: .*{finding}"):
        load_case(scan, WEBER2021, draft_bundle(OPTIONS, WEBER2021))


def test_a_labelled_scan_that_cannot_be_used_is_an_error(dataset: Path) -> None:
    next((dataset / "sub-03" / "anat").glob("*echo-2*.nii.gz")).unlink()
    with pytest.raises(PairError, match=r"sub-03_acq-dixon: .*labels it, but"):
        roles_of(dataset)


def test_each_round_shows_every_case_once(dataset: Path) -> None:
    data, plan = load_labelled_data(plan_of(OPTIONS), source_of(dataset), lambda line: None)
    count = data.count or 0
    assert count + len(data.validation) == len(plan.scans) == 5
    rounds = [[id(data.case_at(n)) for n in range(k * count, (k + 1) * count)] for k in range(6)]
    assert all(len(set(one)) == count for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    assert dict(data.ranges)["data"].startswith("labelled scans of a user: ")
    assert "sub-" not in str(data.ranges)


def test_changed_labels_are_other_data(dataset: Path) -> None:
    def fingerprint() -> str:
        return dict(load_labelled_data(plan_of(OPTIONS), source_of(dataset), print)[0].ranges)[
            "scans_sha256"
        ]

    before = fingerprint()
    assert fingerprint() == before
    write_nifti(scan_of(dataset).labels, np.roll(label_volume(), 1, axis=2))
    assert fingerprint() != before


def test_muscles_that_nobody_has_are_named(dataset: Path) -> None:
    lines: list[str] = []
    load_labelled_data(plan_of(OPTIONS), source_of(dataset), lines.append)
    assert any(line.startswith("labelled in no scan: LC_R, LC_L") for line in lines)


def test_in_rounds_of_another_seed_differ() -> None:
    cases = list(range(10))
    first, second = (
        [in_rounds(cases, seed)(n) for n in range(10)]
        for seed in (1, 2)  # type: ignore[arg-type]
    )
    assert sorted(first) == sorted(second) == cases
    assert first != second
