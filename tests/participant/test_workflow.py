"""The graph, a whole run with a tiny bundle, and what a run leaves behind."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_affine, make_pair_arrays, write_description, write_nifti, write_scan

from bids_mfi.bids.scan_results import read_levels, read_marker, read_measures, read_slices
from bids_mfi.cli.app import main
from bids_mfi.errors import PairError
from bids_mfi.images import read_image, read_labels
from bids_mfi.measure.pair import DixonPair
from bids_mfi.options import RunOptions
from bids_mfi.participant.crashes import explain_crash, read_crashes
from bids_mfi.participant.failures import ScanFailure
from bids_mfi.participant.graph import STEPS, build_workflow, prepare_environment, scan_node_names
from bids_mfi.participant.plan import RunPlan, bundle_facts
from bids_mfi.participant.plugins import choose_plugin, choose_threads
from bids_mfi.participant.workflow import RunSummary

pytestmark = pytest.mark.usefixtures("quick_figures")
ROOT = Path(__file__).parents[2]


def options(**changes):
    return replace(RunOptions(Path("in"), Path("out"), "participant"), **changes)


def plan_of(bundle_dir, **changes):
    """The plan of a run that has found no scan."""
    from bids_mfi.network.bundle_files import load_bundle

    asked, bundle = options(**changes), load_bundle(bundle_dir)
    return RunPlan(asked, bundle, bundle_facts(bundle), choose_plugin(asked))


def run(bids_dir, out_dir, bundle, *more):
    return main(
        [str(bids_dir), str(out_dir), "participant", "--bundle", str(bundle), *map(str, more)]
    )


def tree(folder, but="logs"):
    """Content of every file below a folder by its relative path, logs left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != but
    }


def pair(label="01"):
    return DixonPair(Path("a.nii"), Path("b.nii"), (("sub", label), ("acq", "dixon")), "test")


# --- without running anything ------------------------------------------------------------------


def test_the_graph_has_these_nodes_and_edges(tmp_path, tiny_bundle):
    prepare_environment(tmp_path, 0, 1)
    workflow = build_workflow(plan_of(tiny_bundle), [pair("01"), pair("a+b")], tmp_path, 1)
    assert workflow.name == "bids_mfi_0_1_0"
    scan = workflow.get_node("scan00001_sub_a_b_acq_dixon")
    assert sorted(scan.list_node_names()) == sorted(STEPS)
    edges = {
        (source.name, target.name): sorted(data["connect"])
        for source, target, data in scan._graph.edges(data=True)
    }
    assert edges == {
        ("Resample", "Segment"): [
            ("channels", "channels"),
            ("grid", "grid"),
            ("model_grid", "model_grid"),
        ],
        ("Resample", "Quantify"): [
            ("fat", "fat"),
            ("grid", "grid"),
            ("in_phase", "in_phase"),
            ("model_grid", "model_grid"),
            ("out_phase", "out_phase"),
            ("ratios", "ratios"),
            ("water", "water"),
        ],
        ("Resample", "Report"): [
            ("fat_fraction", "fat_fraction"),
            ("grid", "grid"),
            ("shown_water", "water"),
        ],
        ("Segment", "Quantify"): [("labels", "labels"), ("vertebrae", "vertebrae")],
        ("Segment", "Report"): [("labels", "labels"), ("vertebrae", "vertebrae")],
        ("Segment", "Save"): [
            ("engine", "engine"),
            ("labels", "labels"),
            ("vertebrae", "vertebrae"),
        ],
        ("Quantify", "Save"): [("measures", "measures")],
        ("Report", "Save"): [("figures", "figures")],
        ("Resample", "Save"): [
            ("fat_fraction", "fat_fraction"),
            ("grid", "grid"),
            ("record", "record"),
        ],
    }


def test_node_names_never_collide():
    names = scan_node_names([pair("a+b"), pair("a-b"), pair("ab")])
    assert len(set(names.values())) == 3
    assert all(re.fullmatch(r"\w+", name) for name in names.values())


@pytest.mark.parametrize(
    ("asked", "scans", "expected"),
    [
        ({"nprocs": 8}, 1, (8, 8)),
        ({"nprocs": 8}, 2, (8, 4)),
        ({"nprocs": 8}, 100, (8, 1)),
        ({"nprocs": 32}, 1, (32, 8)),
        ({"nprocs": 4, "omp_nthreads": 2}, 100, (4, 2)),
        ({"nprocs": 1, "omp_nthreads": 16}, 1, (1, 1)),
    ],
)
def test_processors_are_shared_out(asked, scans, expected):
    assert choose_threads(options(**asked), scans) == expected


def test_exit_status_follows_the_failures():
    assert RunSummary(("a",), (), ()).exit_code == 0
    assert RunSummary(("a",), (ScanFailure("b", "why", Path()),), ()).exit_code == 1


def test_crashes_are_explained():
    nested = (
        "Node: w.s.Save\nTraceback:\n\tbids_mfi.errors.OutputError: x: disk is full.\n\nRuntime"
    )
    assert explain_crash(nested) == "x: disk is full."
    assert "lack of memory" in explain_crash("a worker process was killed: terminated abruptly")
    numpy = "Traceback\nOSError: Not enough free space to write 8 bytes after offset 128\n"
    assert "--work-dir" in explain_crash(numpy)
    assert "ValueError: odd" in explain_crash("Traceback\nValueError: odd\n")
    full = "OSError: [Errno 28] No space left on device"
    assert "--work-dir" in explain_crash(full)
    assert "--work-dir" in explain_crash(f"a worker process was killed: x\n{full}")
    for kind in ("MemoryError", "numpy._core._exceptions._ArrayMemoryError: Unable to allocate"):
        assert "out of memory" in explain_crash(f"Traceback\n{kind}\n")


def test_crash_files_are_found_by_scan(tmp_path):
    (tmp_path / "crash").mkdir()
    text = "Node: bids_mfi_0_1_0.scan00000_x.Segment\nrest"
    (tmp_path / "crash" / "crash-1-Segment.txt").write_text(text)
    assert read_crashes(tmp_path) == {"scan00000_x": text}


# --- a whole run -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_bundle):
    """A run on three scans: two participants, one of them with two sessions."""
    folder = tmp_path_factory.mktemp("run")
    bids_dir, out_dir = folder / "my data (é)", folder / "out put"
    write_description(bids_dir)
    write_scan(bids_dir, "01", seed=1)
    write_scan(bids_dir, "02", "a", seed=2, affine=make_affine(axcodes="LPS"))
    write_scan(bids_dir, "02", "b", seed=3)
    before = tree(bids_dir, but="")
    status = run(bids_dir, out_dir, tiny_bundle, "--nprocs", "2", "--write-graph")
    assert tree(bids_dir, but="") == before, "the input was touched"
    return bids_dir, out_dir, status


def test_a_run_succeeds_and_writes_what_was_promised(finished):
    _, out_dir, status = finished
    assert status == 0
    found = {name for name in tree(out_dir) if "figures" not in name}
    stems = (
        "sub-01/anat/sub-01_acq-dixon",
        "sub-02/ses-a/anat/sub-02_ses-a_acq-dixon",
        "sub-02/ses-b/anat/sub-02_ses-b_acq-dixon",
    )
    endings = (
        "_seg-muscle_dseg.nii.gz", "_seg-muscle_dseg.json", "_FFmap.nii.gz", "_FFmap.json",
        "_seg-muscle_mfi.tsv", "_seg-muscle_mfi.json", "_seg-muscle_slices.tsv",
        "_seg-muscle_slices.json",
    )  # fmt: skip
    expected = {stem + ending for stem in stems for ending in endings}
    expected |= {"dataset_description.json", "README.md", "CITATION.md", ".bidsignore"}
    expected |= {"seg-muscle_dseg.tsv", "seg-muscle_dseg.json"}
    expected |= {"sub-01.html", "sub-02_ses-a.html", "sub-02_ses-b.html"}
    assert found == expected
    assert (out_dir / "logs" / "graph.dot").is_file()
    assert not list(out_dir.rglob("*.partial"))


def test_slices_add_up_to_the_muscles(finished):
    _, out_dir, _ = finished
    stem = f"{out_dir}/sub-01/anat/sub-01_acq-dixon_seg-muscle_"
    labels, grid = read_labels(Path(f"{stem}dseg.nii.gz"))
    slices = read_slices(Path(f"{stem}slices.tsv"))
    assert slices
    axis = next(axis for axis, code in enumerate(grid.axcodes) if code in "SI")
    for row in slices:
        assert (labels.take(row.slice, axis) == row.index).sum() == row.voxels
    for muscle in read_measures(Path(f"{stem}mfi.tsv")):
        own = [row for row in slices if row.index == muscle.index]
        assert sum(row.voxels for row in own) == muscle.voxels
        if muscle.voxels:
            area_mm2 = grid.spacing_mm[axis] * sum(row.area_mm2 for row in own)
            assert area_mm2 / 1000 == pytest.approx(muscle.volume_ml)
            assert not np.isnan(muscle.lean_volume_ml)
    marked = json.loads(Path(f"{stem}mfi.json").read_text())["Files"]
    assert {f"sub-01_acq-dixon_seg-muscle_slices.{ending}" for ending in ("tsv", "json")} <= (
        marked.keys()
    )
    page = (out_dir / "sub-01.html").read_text()
    assert 'href="sub-01/anat/sub-01_acq-dixon_seg-muscle_slices.tsv"' in page


def test_tables_equal_the_definition_on_the_written_labels(finished):
    """An independent computation from the files a user sees, within 1e-9."""
    bids_dir, out_dir, _ = finished
    stem = out_dir / "sub-01" / "anat" / "sub-01_acq-dixon"
    labels, grid = read_labels(stem.with_name(stem.name + "_seg-muscle_dseg.nii.gz"))
    raw = bids_dir / "sub-01" / "anat" / "sub-01_acq-dixon_echo-{}_MEGRE.nii.gz"
    in_phase, raw_grid = read_image(Path(str(raw).format(1)))
    out_phase, _ = read_image(Path(str(raw).format(2)))
    assert grid == raw_grid
    rows = read_measures(stem.with_name(stem.name + "_seg-muscle_mfi.tsv"))
    assert [row.index for row in rows] == list(range(1, 15))
    for row in rows:
        inside = (labels == row.index) & (in_phase > 0)
        voxels = np.count_nonzero(labels == row.index)
        if not voxels:
            assert row.extent == "absent"
            assert np.isnan(row.mfi_percent)
            continue
        fat = (in_phase[inside] - out_phase[inside]).mean() / 2
        water = (in_phase[inside] + out_phase[inside]).mean() / 2
        assert row.mfi_percent == pytest.approx(100 * fat / (fat + water), rel=1e-9)
        assert row.volume_ml == pytest.approx(voxels * 4 * 4 * 6 / 1000, rel=1e-9)


def test_the_fat_fraction_map_is_that_of_the_images(finished):
    bids_dir, out_dir, _ = finished
    import nibabel as nib

    raw = bids_dir / "sub-02" / "ses-a" / "anat"
    volumes = [nib.load(path).get_fdata() for path in sorted(raw.glob("*.nii.gz"))]
    image = nib.load(out_dir / "sub-02/ses-a/anat/sub-02_ses-a_acq-dixon_FFmap.nii.gz")
    in_phase, out_phase = volumes
    signal = in_phase > 0
    expected = 50 * (in_phase - out_phase)[signal] / in_phase[signal]
    np.testing.assert_allclose(image.get_fdata()[signal], expected, rtol=1e-5, atol=1e-5)
    assert np.isnan(image.get_fdata()[~signal]).all()
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")


def test_a_second_run_skips_and_changes_nothing(finished, tiny_bundle, capsys):
    bids_dir, out_dir, _ = finished
    before = tree(out_dir)
    assert run(bids_dir, out_dir, tiny_bundle) == 0
    assert "0 scans done, 3 already done, 0 failed" in capsys.readouterr().out
    assert tree(out_dir) == before


def test_results_of_other_options_are_not_overwritten(finished, tiny_bundle, capsys):
    bids_dir, out_dir, _ = finished
    before = tree(out_dir)
    sidecar = out_dir / "sub-01/anat/sub-01_acq-dixon_seg-muscle_mfi.json"
    document = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(document | {"Fingerprint": "of another run"}))
    try:
        assert run(bids_dir, out_dir, tiny_bundle, "--participant-label", "01") == 1
        assert "--overwrite" in capsys.readouterr().err
        assert run(bids_dir, out_dir, tiny_bundle, "--participant-label", "01", "--overwrite") == 0
        assert tree(out_dir) == before
    finally:
        sidecar.write_bytes(before["sub-01/anat/sub-01_acq-dixon_seg-muscle_mfi.json"])


def copy_of(finished, tmp_path):
    """The finished run's input and output, to be changed."""
    bids_dir, out_dir, _ = finished
    for folder, name in ((bids_dir, "in"), (out_dir, "out")):
        shutil.copytree(folder, tmp_path / name)
    return tmp_path / "in", tmp_path / "out"


def settled_copy_of(finished, tmp_path, bundle):
    """The same, after a run that found all done: the description names the copied input."""
    bids_dir, out_dir = copy_of(finished, tmp_path)
    assert run(bids_dir, out_dir, bundle) == 0
    return bids_dir, out_dir


@pytest.fixture
def other_bundle(tiny_bundle, tmp_path):
    """The tiny bundle under another name and with other landmarks."""
    folder = tmp_path / "other bundle"
    shutil.copytree(tiny_bundle, folder)
    path = folder / "configs" / "metadata.json"
    document = json.loads(path.read_text())
    document["name"] = "other"
    document["version"] = "9.9-other"
    document["description"] = "Words of the other bundle."
    for row in document["bids_mfi"]["landmarks"].values():
        row[3] += 5
    path.write_text(json.dumps(document))
    return folder


def test_a_refused_run_leaves_everything_as_it_was(finished, tmp_path, other_bundle, capsys):
    """Description, tables and pictures stay; the pages show the results and why they stayed."""
    bids_dir, out_dir = copy_of(finished, tmp_path)
    before = tree(out_dir)
    assert run(bids_dir, out_dir, other_bundle) == 1
    assert capsys.readouterr().err.count("--overwrite") == 3
    after = tree(out_dir)
    assert {name for name in after if after[name] != before[name]} == {
        "sub-01.html", "sub-02_ses-a.html", "sub-02_ses-b.html"
    }  # fmt: skip
    page = after["sub-01.html"].decode()
    assert "Earlier results, not replaced" in page
    assert "tiny 0" in page
    assert page.count("data:image/png") == 4
    assert "Random weights, for tests." in page
    assert "9.9-other" not in page
    assert "Words of the other bundle." not in page


def test_results_of_the_past_never_count_as_done(finished, tmp_path, other_bundle, capsys):
    """--overwrite with --stop-on-first-crash: what was not run is a failure, not a result."""
    bids_dir, out_dir = copy_of(finished, tmp_path)
    for path in (bids_dir / "sub-01" / "anat").glob("*echo-2*"):
        path.unlink()
    assert run(bids_dir, out_dir, other_bundle, "--overwrite", "--stop-on-first-crash") == 1
    captured = capsys.readouterr()
    assert "0 scans done, 0 already done, 3 failed" in captured.out
    assert captured.err.count("Not run") == 2


def test_a_damaged_result_is_noticed_and_costs_no_other(finished, tmp_path, tiny_bundle, capsys):
    bids_dir, out_dir = copy_of(finished, tmp_path)
    labels = out_dir / "sub-01/anat/sub-01_acq-dixon_seg-muscle_dseg.nii.gz"
    labels.write_bytes(labels.read_bytes()[:100])
    assert run(bids_dir, out_dir, tiny_bundle) == 1
    captured = capsys.readouterr()
    assert "2 already done, 1 failed" in captured.out
    assert "edited, or damaged" in captured.err
    assert run(bids_dir, out_dir, tiny_bundle, "--overwrite", "--participant-label", "01") == 0
    assert labels.read_bytes() == tree(finished[1])[labels.relative_to(out_dir).as_posix()]


DSEG = "sub-01/anat/sub-01_acq-dixon_seg-muscle_dseg.nii.gz"
MARKER = "sub-01/anat/sub-01_acq-dixon_seg-muscle_mfi.json"


def test_an_edited_label_map_is_named_and_kept(finished, tmp_path, tiny_bundle, capsys):
    bids_dir, out_dir = settled_copy_of(finished, tmp_path, tiny_bundle)
    before, labels = tree(out_dir), out_dir / DSEG
    labels.write_bytes(b"corrected by hand")
    assert run(bids_dir, out_dir, tiny_bundle) == 1
    said = capsys.readouterr()
    assert f"sub-01_acq-dixon: FAILED: {labels}: edited, or damaged" in said.err
    assert "2 already done, 1 failed" in said.out
    assert labels.read_bytes() == b"corrected by hand"
    assert labels.name in (out_dir / "sub-01.html").read_text()
    assert run(bids_dir, out_dir, tiny_bundle, "--overwrite", "--participant-label", "01") == 0
    kept = out_dir / "edited" / DSEG
    assert f"note: {kept}: a copy of the label map that was replaced" in capsys.readouterr().err
    assert kept.read_bytes() == b"corrected by hand"
    assert {k: v for k, v in tree(out_dir).items() if k != f"edited/{DSEG}"} == before
    assert run(bids_dir, out_dir, tiny_bundle) == 0
    assert "note:" not in capsys.readouterr().err


LEVEL_NAMES = ("muscle_levels.tsv", "muscle_levels.json", "vertebrae_dseg.nii.gz",
               "vertebrae_dseg.json")  # fmt: skip
LEVEL_FILES = {f"sub-01/anat/sub-01_acq-dixon_seg-{name}" for name in LEVEL_NAMES}


@pytest.fixture(scope="module")
def with_vertebrae(tmp_path_factory, vertebra_bundle):
    folder = tmp_path_factory.mktemp("bones")
    write_description(folder / "in")
    write_scan(folder / "in", "01", seed=1)
    assert run(folder / "in", folder / "out", vertebra_bundle) == 0
    return folder / "in", folder / "out", 0


def test_vertebrae_and_their_levels_are_written(with_vertebrae, vertebra_bundle):
    _, out_dir, _ = with_vertebrae
    files = tree(out_dir)
    assert files.keys() >= LEVEL_FILES
    assert b"\n7\tvertebra_T1\tT1\n" in files["seg-vertebrae_dseg.tsv"]
    marked = json.loads(files[MARKER])["Files"]
    assert {Path(name).name for name in LEVEL_FILES} <= marked.keys()
    stem = out_dir / "sub-01/anat/sub-01_acq-dixon_seg-"
    vertebrae, grid = read_labels(Path(f"{stem}vertebrae_dseg.nii.gz"))
    muscles, own = read_labels(Path(f"{stem}muscle_dseg.nii.gz"))
    assert grid == own
    assert 0 < vertebrae.max() <= 7
    assert 0 < muscles.max() <= 14
    assert not ((vertebrae > 0) & (muscles > 0)).any()
    rows = read_levels(Path(f"{stem}muscle_levels.tsv"))
    assert len(rows) == 14 * 6
    flags = read_marker(out_dir / MARKER).flags
    (flag,) = [f for f in flags if f.code.startswith(("vert", "levels"))]
    assert {row.extent for row in rows} == {"unknown"}, "random weights make no spine"
    page = (out_dir / "sub-01.html").read_text()
    assert flag.message in page
    assert "MFI by vertebral level" not in page


def test_level_files_go_where_weights_label_no_vertebrae(with_vertebrae, tmp_path, tiny_bundle):
    bids_dir, out_dir = copy_of(with_vertebrae, tmp_path)
    assert run(bids_dir, out_dir, tiny_bundle, "--overwrite") == 0
    assert LEVEL_FILES.isdisjoint(tree(out_dir))
    assert run(bids_dir, out_dir, tiny_bundle) == 0


def test_an_edited_map_of_vertebrae_is_kept_too(with_vertebrae, tmp_path, vertebra_bundle, capsys):
    bids_dir, out_dir = settled_copy_of(with_vertebrae, tmp_path, vertebra_bundle)
    name = next(name for name in LEVEL_FILES if name.endswith(".nii.gz"))
    before, edited = tree(out_dir), out_dir / name
    edited.write_bytes(b"corrected by hand")
    assert run(bids_dir, out_dir, vertebra_bundle) == 1
    assert f"{edited}: edited, or damaged" in capsys.readouterr().err
    assert run(bids_dir, out_dir, vertebra_bundle, "--overwrite") == 0
    kept = out_dir / "edited" / name
    assert kept.read_bytes() == b"corrected by hand"
    assert f"note: {kept}: a copy of the label map" in capsys.readouterr().err
    assert {k: v for k, v in tree(out_dir).items() if k != f"edited/{name}"} == before


@pytest.mark.parametrize(
    "change",
    [{"QCFlags": []}, {"QCFlags": [5]}, {"Files": 5}, {"Software": None}, {"Sources": [[]]},
     {"Bundle": {"SHA256": 5}}, {"EchoTimesMs": {"InPhase": "2.46 ms", "OutPhase": []}}],
)  # fmt: skip
def test_a_changed_marker_costs_its_scan_only(change, finished, tmp_path, tiny_bundle, capsys):
    bids_dir, out_dir = copy_of(finished, tmp_path)
    marker, pages = out_dir / MARKER, sorted(out_dir.glob("*.html"))
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"X": 1} | change))
    for page in pages:
        page.unlink()
    assert run(bids_dir, out_dir, tiny_bundle) == 1
    said = capsys.readouterr()
    assert "0 scans done, 2 already done, 1 failed" in said.out
    assert f"sub-01_acq-dixon: FAILED: {marker}: edited, or damaged" in said.err
    assert sorted(out_dir.glob("*.html")) == pages
    assert "edited, or damaged" in (out_dir / "sub-01.html").read_text()


def test_a_stray_file_is_named_and_costs_nothing(finished, tmp_path, tiny_bundle, capsys):
    bids_dir, out_dir = settled_copy_of(finished, tmp_path, tiny_bundle)
    before, marker = tree(out_dir), out_dir / MARKER
    strays = [f"Copy of {marker.name}", f"._{marker.name}", marker.name.replace("_seg", " (1)_seg")]
    for name in strays:
        (marker.parent / name).write_text('{"Files": 5}')
    assert run(bids_dir, out_dir, tiny_bundle) == 0
    said = capsys.readouterr().err
    assert [name for name in strays if f"note: {marker.parent / name}: ignored" in said] == strays
    assert {k: v for k, v in tree(out_dir).items() if Path(k).name not in strays} == before


def test_a_page_says_that_files_of_a_scan_it_shows_were_changed(finished, tmp_path, tiny_bundle):
    """Also of a scan that the run did not select."""
    bids_dir, out_dir = copy_of(finished, tmp_path)
    (out_dir / "sub-01" / "figures" / "sub-01_acq-dixon_desc-labels_figure.png").write_bytes(b"x")
    for path in (bids_dir / "sub-01" / "anat").iterdir():
        shutil.copy(path, path.with_name(path.name.replace("_echo", "_run-2_echo")))
    queries = {"ip": {"run": 2, "echo": 1}, "oop": {"run": 2, "echo": 2}}
    (tmp_path / "filter.json").write_text(json.dumps(queries))
    more = ("--participant-label", "01", "--bids-filter-file", tmp_path / "filter.json")
    assert run(bids_dir, out_dir, tiny_bundle, *more) == 0
    assert "desc-labels_figure.png: edited, or damaged" in (out_dir / "sub-01.html").read_text()


# --- disks that take nothing -------------------------------------------------------------------


def refuse(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("plugin", "number"),
    [("MultiProc", errno.ENOSPC), ("Linear", errno.ENOSPC), ("Linear", errno.EDQUOT)],
)
def test_a_full_work_disk_is_a_sentence(
    bids_dir, tmp_path, tiny_bundle, capsys, monkeypatch, number, plugin
):
    """A step fails, and the disk takes no crash file of nipype's either."""
    from nipype.pipeline.plugins import base

    from bids_mfi.participant import plugin_linear

    monkeypatch.setattr(base, "report_crash", refuse(number))
    monkeypatch.setattr(plugin_linear, "report_crash", refuse(number))
    for path in (bids_dir / "sub-01" / "anat").glob("*.nii.gz"):
        path.write_bytes(path.read_bytes()[:-100])
    arguments = "plugin_args: {n_procs: 1, mp_context: spawn, raise_insufficient: false}"
    (tmp_path / "plugin.yml").write_text(f"plugin: {plugin}\n{arguments}\n")
    out_dir, work = tmp_path / "out", tmp_path / "work"
    more = ("--use-plugin", tmp_path / "plugin.yml")
    assert run(bids_dir, out_dir, tiny_bundle, "--participant-label", "01", "-w", work, *more) == 1
    said = capsys.readouterr()
    sentence = "sub-01_acq-dixon: FAILED: The disk of the work folder is full."
    assert sentence in said.err
    assert "0 scans done, 0 already done, 1 failed" in said.out
    assert "The disk of the work folder" in (out_dir / "sub-01.html").read_text()
    (record,) = (out_dir / "logs").glob("run-*.json")
    assert list(json.loads(record.read_text())["failed"]) == ["sub-01_acq-dixon"]
    assert (out_dir / "logs" / "sub-01_acq-dixon_error.txt").is_file()


def test_a_work_disk_that_takes_not_even_a_setting_is_a_sentence(
    bids_dir, tmp_path, tiny_bundle, capsys, monkeypatch
):
    from bids_mfi.participant import workflow

    monkeypatch.setattr(workflow, "prepare_environment", refuse(errno.ENOSPC))
    assert run(bids_dir, tmp_path / "out", tiny_bundle) == 1
    assert capsys.readouterr().err.count("FAILED: The disk of the work folder is full.") == 2


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_an_output_disk_that_takes_nothing_hides_no_result(
    finished, tmp_path, tiny_bundle, capsys, monkeypatch, number
):
    from bids_mfi import storage

    bids_dir, out_dir = settled_copy_of(finished, tmp_path, tiny_bundle)
    (out_dir / DSEG).write_bytes(b"corrected")
    before = tree(out_dir)
    monkeypatch.setattr(storage, "_write_and_rename", refuse(number))
    assert run(bids_dir, out_dir, tiny_bundle) == 5
    said = capsys.readouterr()
    assert "0 scans done, 2 already done, 1 failed" in said.out
    assert "completed scans: sub-02_ses-a_acq-dixon, sub-02_ses-b_acq-dixon" in said.err
    assert os.strerror(number) in said.err
    assert tree(out_dir) == before
    (out_dir / ".bidsignore").unlink()
    assert run(bids_dir, out_dir, tiny_bundle) == 5
    assert "Scans done before: sub-02_ses-a_acq-dixon, sub-02_ses-b" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_costs_no_other(finished, tmp_path, tiny_bundle, capsys):
    bids_dir, out_dir = copy_of(finished, tmp_path)
    for page in out_dir.glob("*.html"):
        page.unlink()
    (out_dir / "sub-01.html").mkdir()
    (out_dir / "sub-01.html" / "file").touch()
    assert run(bids_dir, out_dir, tiny_bundle) == 5
    assert "sub-01.html: cannot be written" in capsys.readouterr().err
    assert (out_dir / "sub-02_ses-b.html").is_file()


def test_a_work_folder_that_goes_away_ends_the_run_in_order(
    bids_dir, tmp_path, tiny_bundle, capsys, monkeypatch
):
    """When the first scan is done its removal costs neither that scan nor the next."""
    from bids_mfi.participant import progress

    work = tmp_path / "work"

    def remove(stream, scan, step, status):
        if (step, status) == ("Save", "end"):
            shutil.rmtree(work, ignore_errors=True)

    monkeypatch.setattr(progress, "_print_line", remove)
    assert run(bids_dir, tmp_path / "out", tiny_bundle, "-w", work, "--nprocs", "1") == 0
    said = capsys.readouterr()
    assert "2 scans done, 0 already done, 0 failed" in said.out
    assert "Traceback" not in said.err
    assert (tmp_path / "out" / "sub-02.html").is_file()


def test_a_page_keeps_scans_that_the_run_did_not_select(finished, tmp_path, tiny_bundle):
    bids_dir, out_dir = copy_of(finished, tmp_path)
    for path in (bids_dir / "sub-01" / "anat").iterdir():
        shutil.copy(path, path.with_name(path.name.replace("_echo", "_run-2_echo")))
    queries = {"ip": {"run": 2, "echo": 1}, "oop": {"run": 2, "echo": 2}}
    (tmp_path / "filter.json").write_text(json.dumps(queries))
    more = ("--participant-label", "01", "--bids-filter-file", tmp_path / "filter.json")
    assert run(bids_dir, out_dir, tiny_bundle, *more) == 0
    page = (out_dir / "sub-01.html").read_text()
    assert 'id="scan-1">sub-01_acq-dixon<' in page
    assert 'id="scan-2">sub-01_acq-dixon_run-2<' in page


def test_old_error_files_go_when_a_participant_is_well(finished, tmp_path, tiny_bundle):
    bids_dir, out_dir = copy_of(finished, tmp_path)
    old = [
        out_dir / "logs" / f"{name}_error.txt" for name in ("sub-01", "sub-01_acq-old", "sub-011")
    ]
    for path in old:
        path.write_text("of the past")
    assert run(bids_dir, out_dir, tiny_bundle, "--participant-label", "01") == 0
    assert [path.exists() for path in old] == [False, False, True]


def test_relative_paths_mean_the_same_to_every_process(bids_dir, tiny_bundle, monkeypatch):
    shutil.copytree(tiny_bundle, bids_dir.parent / "model")
    monkeypatch.chdir(bids_dir.parent)
    assert run(bids_dir.name, "out", "model", "--participant-label", "01", "-w", "w o r k") == 0
    assert (bids_dir.parent / "out" / "sub-01.html").is_file()
    assert list((bids_dir.parent / "w o r k").iterdir()) == []


def test_images_that_change_during_the_work_are_noticed(bids_dir, tiny_bundle):
    from bids_mfi.bids.scan_files import check_unchanged, identify_scan
    from bids_mfi.discovery import find_scans

    scan = find_scans(options(bids_dir=bids_dir))[0]
    record = identify_scan(plan_of(tiny_bundle, bids_dir=bids_dir).make_record(scan))
    check_unchanged(record)
    scan.out_phase.write_bytes(scan.out_phase.read_bytes() + b"x")
    with pytest.raises(PairError, match="changed while"):
        check_unchanged(record)


def test_an_unknown_plugin_is_one_line(bids_dir, tmp_path, tiny_bundle, capsys):
    (tmp_path / "plugin.yml").write_text("plugin: Foo\n")
    status = run(bids_dir, tmp_path / "out", tiny_bundle, "--use-plugin", tmp_path / "plugin.yml")
    assert status == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "'Foo'" in error
    assert "MultiProc" in error


def list_first_arguments(monkeypatch, module, name):
    """Each first argument with which a function is called from now on."""
    function, found = getattr(module, name), []

    def call(*arguments):
        found.append(arguments[0])
        return function(*arguments)

    monkeypatch.setattr(module, name, call)
    return found


def test_another_plugin_gives_the_same_bytes(finished, tmp_path, tiny_bundle, monkeypatch):
    """In one process, so that what it reads can be counted."""
    from bids_mfi.bids import scan_files
    from bids_mfi.participant import plan, plugins

    bids_dir, out_dir, _ = finished
    plugin_files = list_first_arguments(monkeypatch, plugins, "read_regular_file")
    bundles = list_first_arguments(monkeypatch, plan, "load_bundle")
    images = list_first_arguments(monkeypatch, scan_files, "hash_file")
    (tmp_path / "plugin.yml").write_text("plugin: Linear\n")
    linear = tmp_path / "x" / "out put"
    shutil.copytree(bids_dir, tmp_path / "x" / bids_dir.name)
    more = ("--use-plugin", tmp_path / "plugin.yml", "--participant-label", "01")
    assert run(tmp_path / "x" / bids_dir.name, linear, tiny_bundle, *more) == 0
    expected = {k: v for k, v in tree(out_dir).items() if not k.startswith("sub-02")}
    assert tree(linear) == expected
    assert plugin_files == [tmp_path / "plugin.yml"]
    assert bundles == [tiny_bundle]
    assert sorted(images.count(image) for image in set(images)) == [3, 3]  # begin, save, end


def test_provenance_holds_every_option(finished):
    _, out_dir, _ = finished
    records = [json.loads(path.read_text()) for path in (out_dir / "logs").glob("run-*.json")]
    (record,) = (record for record in records if len(record["done"]) == 3)
    assert set(record["options"]) == set(RunOptions.__dataclass_fields__)
    assert record["bundle"]["name"] == "tiny"
    assert record["failed"] == {}


def test_output_is_a_valid_bids_derivative(finished):
    _, out_dir, _ = finished
    validator = Path(sys.executable).with_name("bids-validator-deno")
    done = subprocess.run([validator, out_dir, "--format", "json"], capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert done.returncode == 0


@pytest.mark.slow
def test_storage_order_changes_nothing_in_the_world(tmp_path, tiny_bundle):
    """The same scan stored along other axes gives the same measures; left stays left."""
    bids_dir = tmp_path / "in"
    write_description(bids_dir)
    volumes = make_pair_arrays(5)
    ramp = np.linspace(0.5, 1.5, volumes[0].shape[0])[:, None, None]
    stored = {"01": ("RAS", (0, 1, 2)), "02": ("LPS", (0, 1, 2)), "03": ("SRA", (2, 0, 1))}
    for label, (codes, axes) in stored.items():
        for echo, volume in enumerate(volumes, start=1):
            affine = np.array(make_affine())
            turned = np.transpose(volume * ramp, axes)
            affine = affine[:, [*axes, 3]]
            if codes == "LPS":
                turned = turned[::-1, ::-1]
                affine = affine @ np.diag([-1, -1, 1, 1])
                affine[:3, 3] = -affine[:3, :2] @ (np.array(turned.shape[:2]) - 1)
            path = bids_dir / f"sub-{label}/anat/sub-{label}_acq-{('in', 'out')[echo - 1]}phase_T1w"
            write_nifti(path.with_name(path.name + ".nii.gz"), turned, affine)
    out_dir = tmp_path / "out"
    assert run(bids_dir, out_dir, tiny_bundle, "--nprocs", "2") == 0
    tables = [
        read_measures(out_dir / f"sub-{label}/anat/sub-{label}_acq-dixon_seg-muscle_mfi.tsv")
        for label in stored
    ]
    assert tables[0][0].voxels != tables[0][1].voxels, "the phantom must not be symmetric"
    for rows in zip(*tables, strict=True):
        assert len({row.voxels for row in rows}) == 1
        np.testing.assert_allclose([row.mfi_percent for row in rows], rows[0].mfi_percent, 1e-9)


# --- killed ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.multiproc
@pytest.mark.usefixtures("drawn_figures")
def test_a_killed_run_is_taken_up_again_byte_for_byte(tmp_path, tiny_bundle, capsys):
    """By one process instead of two workers; the workers tell of every step in its order."""
    bids_dir = tmp_path / "in"
    write_description(bids_dir)
    for number in range(1, 5):
        write_scan(bids_dir, f"{number:02d}", seed=number)
    undisturbed, killed = tmp_path / "a" / "out", tmp_path / "b" / "out"
    assert run(bids_dir, undisturbed, tiny_bundle, "--nprocs", "2") == 0
    told = capsys.readouterr().err.splitlines()
    for number in range(1, 5):
        own = [line for line in told if line.startswith(f"sub-{number:02d}")]
        assert own == [f"sub-{number:02d}_acq-dixon: {step}" for step in (*STEPS, "done")]
    command = [sys.executable, ROOT / "run.py", bids_dir, killed, "participant"]
    command += ["--bundle", tiny_bundle, "--nprocs", "2", "--work-dir", tmp_path / "work"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(killed.rglob("*_mfi.json")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    left = len(list(killed.rglob("*_mfi.json")))
    assert 0 < left < 4, "killed in the middle"
    (tmp_path / "plugin.yml").write_text("plugin: Linear\n")
    assert run(bids_dir, killed, tiny_bundle, "--use-plugin", tmp_path / "plugin.yml") == 0
    assert tree(killed) == tree(undisturbed)
