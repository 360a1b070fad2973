"""The benchmarks count, compare and paste as they say. No time is asserted."""

import re
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
PLACE = "<!-- bench: {0} -->\n{1}<!-- end -->\n"


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (torch.nn.Conv2d(2, 3, 3, padding=1), (1, 2, 4, 5), 4 * 5 * 3 * 2 * 9),
        (torch.nn.Conv3d(2, 3, 3, stride=2, padding=1), (1, 2, 4, 4, 4), 8 * 3 * 2 * 27),
        (torch.nn.Conv3d(4, 6, 1, groups=2), (2, 4, 2, 2, 2), 2 * 8 * 6 * 2),
        (torch.nn.ConvTranspose2d(2, 3, 3, 2), (1, 2, 4, 5), 4 * 5 * 2 * 3 * 9),
        (torch.nn.ConvTranspose3d(2, 3, 2, 2), (1, 2, 3, 3, 3), 27 * 2 * 3 * 8),
    ],
    ids=["plain", "strided", "groups", "transposed", "transposed-3d"],
)
def test_multiply_adds_by_hand(layer, shape, expected):
    from multiply_adds import count_multiply_adds

    assert count_multiply_adds(torch.nn.Sequential(layer).to("meta"), shape) == expected


def test_peers_have_the_published_number_of_passes_and_multiply_adds():
    import peers

    assert peers.musclemap_passes() == 160
    assert peers.nnunet_passes() == 8
    assert peers.count_nnunet(8) == pytest.approx(4.0e12, rel=0.02)
    assert peers.count_nnunet(320) == pytest.approx(158e12, rel=0.005)
    assert peers.count_musclemap(160) == pytest.approx(2.17e12, rel=0.005)


def test_windows_cover_the_scan_as_monai_places_them():
    import peers
    from monai.data.utils import dense_patch_slices
    from monai.inferers.utils import _get_scan_interval

    window, overlap = peers.MUSCLEMAP_WINDOW, peers.MUSCLEMAP_OVERLAP
    sizes = [max(pair) for pair in zip(peers.musclemap_sizes(), window, strict=True)]
    steps = _get_scan_interval(sizes, window, 2, [overlap] * 2)
    placed = dense_patch_slices(sizes, window, steps)
    assert len(placed) * peers.SHAPE[2] == peers.musclemap_passes()


def test_plain_network_gives_a_class_score_for_each_voxel():
    from plain_unet import PlainUNet

    with torch.device("meta"):
        scores = PlainUNet(2, 15)(torch.empty(1, 2, 8, 32, 64))
    assert scores.shape == (1, 15, 8, 32, 64)


def test_same_and_different_results_are_told_apart(tmp_path, capsys):
    from several_scans import describe_differences

    for name, cell in (("one", "1.0"), ("same", "1.0"), ("other", "1.1")):
        for path, text in (("sub-01/mfi.tsv", cell), ("README", "text"), ("logs/run.json", name)):
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
    (tmp_path / "other" / "more").write_text("")
    assert describe_differences(tmp_path / "one", tmp_path / "same").startswith("2 of 2 the same")
    assert describe_differences(tmp_path / "one", tmp_path / "other").startswith("1 of 3 the same")
    assert "mfi.tsv differs" in capsys.readouterr().err


def test_command_costs_the_memory_of_its_children(tmp_path):
    from costs import time_command

    child = "import time; kept = bytes(200 * 2**20); kept = bytearray(kept); time.sleep(1.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    cost = time_command([sys.executable, "-c", parent], tmp_path / "log.txt")
    assert cost.peak_gib > 0.19


def test_command_that_fails_ends_the_benchmark(tmp_path):
    from costs import time_command

    with pytest.raises(SystemExit, match="exit status 3"):
        time_command([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log.txt")


def test_extrapolation_continues_the_line():
    from costs import Cost
    from scaling import DRY_RUN, Row, _extrapolate

    small, large = (
        Row(DRY_RUN, count, "this", (Cost(2 + count / 100, 1 + count / 200, 0.25),))
        for count in (100, 300)
    )
    cells = _extrapolate(small, large, 5000)
    assert cells == [f"{DRY_RUN}, **extrapolated**", "5,000", "52", "26", "5.20", "256",
                     "10 s: **missed**"]  # fmt: skip


def test_table_replaces_only_its_own_place(tmp_path):
    from markdown_tables import paste

    page = tmp_path / "page.md"
    page.write_text(PLACE.format("one", "old\n") + "between\n" + PLACE.format("two", ""))
    paste(page, "one", r"new \1")
    expected = PLACE.format("one", "\nnew \\1\n\n") + "between\n" + PLACE.format("two", "")
    assert page.read_text() == expected
    paste(page, "two", "more")
    paste(page, "two", "last")
    expected = expected.replace(PLACE.format("two", ""), PLACE.format("two", "\nlast\n\n"))
    assert page.read_text() == expected
    with pytest.raises(ValueError, match="0 places for the table three"):
        paste(page, "three", "new")


def test_page_has_a_place_for_every_table():
    from bench import TABLES

    assert re.findall(r"<!-- bench: (\w+) -->\n[^<]*<!-- end -->", PAGE.read_text()) == list(TABLES)


def test_tables_are_made_by_functions_that_exist():
    from importlib import import_module

    from bench import TABLES

    for module, function, _ in TABLES.values():
        assert callable(getattr(import_module(module), function))
