"""Agreement of label maps and of raters: references, definitions, degenerate cases."""

import csv
import json
import math
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from conftest import make_affine

from bids_mfi.grid import Grid, reorient
from bids_mfi.measure.overlap import (
    SegmentationCounts,
    count_voxels,
    dice,
    dice_by_muscle,
    measure_surfaces,
)
from bids_mfi.muscles import WEBER2021
from bids_mfi.statistics.agreement import (
    Agreement,
    intraclass_correlation,
    measure_agreement,
)

DATA = Path(__file__).parents[1] / "data" / "statistics"
METRICS = {
    "dice": "dice", "ji": "jaccard", "cc": "conformity", "tpr": "tpr", "tnr": "tnr", "ppv": "ppv",
    "vr": "volume_ratio",
}  # fmt: skip


def read_tsv(name):
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def read_json(name):
    return json.loads((DATA / name).read_text())


def assert_equals_reference(found, expected, names):
    for name in names:
        value = found[name.lower()]
        assert value == pytest.approx(expected[name], rel=1e-9, abs=0), name


# --- references --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expected",
    read_json("agreement.json"),
    ids=lambda row: f"{row['muscle']}-{row['hemi']}-{row['measure']}",
)
def test_agreement_equals_the_reference(expected):
    rows = [
        row
        for row in read_tsv("agreement_input.tsv")
        if (row["muscle"], row["hemi"]) == (expected["muscle"], expected["hemi"])
    ]
    gt, cnn = (
        [float(row[f"{expected['measure']}_{who}"]) for row in rows] for who in ("gt", "cnn")
    )
    names = [name for name in expected if name not in ("muscle", "hemi", "measure")]
    assert [name.lower() for name in names] == [field.name for field in fields(Agreement)]
    assert_equals_reference(asdict(measure_agreement(gt, cnn)), expected, names)


def test_peak_flow_of_bland_and_altman():
    rows = read_tsv("bland_altman_1986_pefr.tsv")
    wright, mini = ([float(row[name]) for row in rows] for name in ("wright1", "mini1"))
    (expected,) = read_json("classic.json")["bland_altman"]["stats"]
    found = measure_agreement(mini, wright)
    assert_equals_reference(asdict(found), expected, expected)
    assert (round(found.bias, 1), round(found.sd_diff, 1)) == (-2.1, 38.8)


def test_judges_of_shrout_and_fleiss():
    ratings = [[float(row[f"judge{j}"]) for j in range(1, 5)]
               for row in read_tsv("shrout_fleiss_1979.tsv")]  # fmt: skip
    expected = read_json("classic.json")["shrout_fleiss"]["icc21"]
    found = intraclass_correlation(ratings)
    names = ("icc", "ci_lower", "ci_upper", "F", "df1", "df2", "p", "msr", "msc", "mse")
    assert tuple(asdict(found).values()) == pytest.approx([expected[n] for n in names], rel=1e-9)
    assert round(found.icc, 2) == 0.29


def test_limits_of_bland_and_altman():
    reference = read_json("classic.json")["bland_altman"]
    rows = read_tsv("bland_altman_1986_pefr.tsv")
    (stats,) = reference["stats"]
    mini, wright = ([float(row[f"{m}1"]) for row in rows] for m in ("mini", "wright"))
    agreement = measure_agreement(mini, wright)
    limits = [agreement.bias + sign * 2 * agreement.sd_diff for sign in (-1, 1)]
    assert limits == pytest.approx(reference["loa_2sd"], rel=1e-9)
    assert agreement.bias == pytest.approx(stats["bias"], rel=1e-9)


@pytest.mark.parametrize("row", read_tsv("segmetrics.tsv"), ids=lambda row: row["case"])
def test_metrics_equal_the_reference(row):
    counts = SegmentationCounts(*(int(row[name]) for name in ("TP", "FP", "FN", "TN")))
    for column, name in METRICS.items():
        expected = math.nan if row[column] == "n/a" else float(row[column])
        value = getattr(counts, name)
        assert value == pytest.approx(expected, rel=1e-11, nan_ok=True), name


# --- degenerate raters -------------------------------------------------------------------------


def defined(found):
    return {name for name, value in asdict(found).items() if not np.isnan(value)}


def test_no_pair_defines_nothing():
    assert defined(measure_agreement([], [])) == {"n"}
    assert defined(measure_agreement([1.0, math.nan], [math.nan, 2.0])) == {"n"}


def test_one_pair_defines_means_and_errors():
    found = measure_agreement([10.0], [12.0])
    assert defined(found) == {"n", "mean_gt", "mean_cnn", "bias", "mae", "rmse", "slope_origin"}
    assert (found.n, found.bias, found.mae, found.rmse) == (1, 2.0, 2.0, 2.0)
    assert found.slope_origin == pytest.approx(10 / 12)


def test_two_pairs_define_all_but_the_p_of_r():
    found = measure_agreement([10.0, 14.0], [12.0, 15.0])
    assert {field.name for field in fields(Agreement)} - defined(found) == {"p_r"}
    assert found.r == 1.0
    assert found.sd_diff == pytest.approx(math.sqrt(0.5))


def test_three_pairs_define_everything():
    found = measure_agreement([10.0, 14.0, 13.0], [12.0, 15.0, 11.0])
    assert defined(found) == {field.name for field in fields(Agreement)}
    r = np.corrcoef([10.0, 14.0, 13.0], [12.0, 15.0, 11.0])[0, 1]
    assert found.r == pytest.approx(r)
    # one degree of freedom: Student's t is Cauchy's distribution
    t = r / math.sqrt(1 - r**2)
    assert found.p_r == pytest.approx(1 - 2 * math.atan(abs(t)) / math.pi)


@pytest.mark.parametrize("values", [[0.1, 0.7, 0.3], [15.3, 11.1, 9.7, 22.2, 8.1]])
def test_identical_raters(values):
    found = measure_agreement(values, values)
    assert (found.bias, found.sd_diff, found.loa_lower, found.loa_upper) == (0, 0, 0, 0)
    assert (found.mae, found.rmse, found.slope_origin_se) == (0, 0, 0)
    assert (found.icc, found.icc_p, found.icc_f) == (1.0, 0.0, math.inf)
    assert found.r == 1.0
    assert (found.slope, found.slope_origin) == pytest.approx((1, 1), rel=1e-14)
    assert found.p_r == 0.0
    assert math.isnan(found.icc_lower)
    assert math.isnan(found.icc_upper)


def test_three_identical_raters():
    found = intraclass_correlation(np.repeat([[0.1], [0.7], [0.3]], 3, axis=1))
    assert (found.icc, found.icc_p) == (1.0, 0.0)


def test_a_constant_rater_has_no_correlation():
    """The mean of [0.1, 0.1, 0.1] is not 0.1 in floating point; r must not be that noise."""
    constant, varied = [0.1] * 3, [0.2, 0.4, 0.5]
    forth, back = measure_agreement(varied, constant), measure_agreement(constant, varied)
    for found in (forth, back):
        assert math.isnan(found.r)
        assert math.isnan(found.p_r)
        assert np.isfinite([found.icc, found.icc_p, found.sd_diff, found.slope_origin]).all()
    assert math.isnan(forth.slope)
    assert math.isnan(forth.intercept)
    assert (forth.se_cnn, back.slope) == (0.0, 0.0)
    assert back.intercept == pytest.approx(0.1)


def test_no_difference_at_all_leaves_the_icc_undefined():
    found = measure_agreement([0.1] * 3, [0.1] * 3)
    assert (found.bias, found.sd_diff) == (0.0, 0.0)
    for name in ("icc", "icc_lower", "icc_upper", "icc_f", "icc_p", "r"):
        assert math.isnan(getattr(found, name)), name


def test_zeros_have_no_slope_through_the_origin():
    assert math.isnan(measure_agreement([1.0, 2.0], [0.0, 0.0]).slope_origin)


def test_pairs_with_a_missing_value_are_left_out():
    whole = measure_agreement([1.0, 2.0, 4.0], [1.5, 2.5, 3.0])
    gaps = measure_agreement([1.0, 9.0, 2.0, 4.0, math.nan], [1.5, math.nan, 2.5, 3.0, 7.0])
    assert gaps == whole


def test_differences_are_compared_less_reference():
    assert measure_agreement([1.0, 2.0], [2.0, 4.0]).bias == 1.5
    assert measure_agreement([2.0, 4.0], [1.0, 2.0]).bias == -1.5


def test_tiny_p_values_keep_their_digits():
    rng = np.random.default_rng(5)
    truth = rng.normal(20, 10, 84)
    found = measure_agreement(truth, truth + rng.normal(0, 0.02, 84))
    assert 0 < found.icc_p < 1e-100
    assert 0 < found.p_r < 1e-100


def test_an_interval_with_hardly_a_degree_of_freedom_has_its_limit():
    """Where the degrees of freedom are next to 0, F has no finite quantile."""
    rng = np.random.default_rng(3)
    for _ in range(3000):
        found = intraclass_correlation(rng.normal(0, 1, (3, 4)) + rng.normal(0, 1, 4))
        assert found.icc_lower <= found.icc <= found.icc_upper or found.icc < 0
        assert not np.isnan([found.icc_lower, found.icc_upper]).any()


def test_raters_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        measure_agreement([1.0], [1.0, 2.0])


# --- label maps --------------------------------------------------------------------------------


def test_dice_by_hand() -> None:
    first, second = np.zeros((2, 10), dtype=bool)
    first[:4], second[2:8] = True, True
    assert dice(first, second) == pytest.approx(2 * 2 / (4 + 6))
    assert dice(second, first) == dice(first, second)


def test_dice_of_nothing_is_undefined_and_of_one_sided_nothing_zero() -> None:
    nothing, something = np.zeros(3, dtype=bool), np.ones(3, dtype=bool)
    assert math.isnan(dice(nothing, nothing))
    assert dice(nothing, something) == 0.0


def test_dice_by_muscle_tells_missing_from_wrong() -> None:
    truth, predicted = np.zeros((2, 4, 4, 4), dtype=np.int16)
    truth[0], predicted[0] = 1, 1
    truth[1] = 2
    predicted[2] = 3
    found = dice_by_muscle(predicted, truth, WEBER2021)
    assert list(found) == list(range(1, 15))
    assert (found[1], found[2], found[3]) == (1.0, 0.0, 0.0)
    assert all(math.isnan(found[index]) for index in range(4, 15))


def test_dice_by_muscle_refuses_maps_of_different_shapes() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        dice_by_muscle(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int), WEBER2021)


def test_one_histogram_counts_as_many_passes_do():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 17, (2, 9, 8, 7)).astype(np.int16)
    counts = count_voxels(truth, predicted, (m.index for m in WEBER2021))
    for index, found in counts.items():
        a, b = truth == index, predicted == index
        masks = (a & b, ~a & b, a & ~b, ~a & ~b)
        expected = tuple(np.count_nonzero(mask) for mask in masks)
        assert (found.tp, found.fp, found.fn, found.tn) == expected
    assert {i: c.dice for i, c in counts.items()} == dice_by_muscle(predicted, truth, WEBER2021)


def test_swapped_sides_have_nothing_in_common():
    truth = np.zeros((4, 4, 4), dtype=np.int16)
    truth[0], truth[3] = 11, 12
    counts = count_voxels(truth, truth[::-1], [11, 12])
    assert [counts[index].dice for index in (11, 12)] == [0.0, 0.0]


def test_missed_and_invented_muscles():
    missed, invented = SegmentationCounts(0, 0, 5, 9), SegmentationCounts(0, 5, 0, 9)
    nothing = SegmentationCounts(0, 0, 0, 9)
    assert [(c.missed, c.invented) for c in (missed, invented, nothing)] == [
        (True, False), (False, True), (False, False)
    ]  # fmt: skip


# --- surfaces ----------------------------------------------------------------------------------

SPACING_MM = (1.0, 0.7, 3.0)


def blobs(shape=(20, 24, 10)):
    """Two overlapping ellipsoids that touch no symmetry of the grid."""
    axes = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    masks = []
    for centre, radii in (((8, 9, 4), (5, 6, 3)), ((10, 12, 5), (6, 4, 3))):
        away = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True))
        masks.append(away < 1)
    return masks


def test_shifted_slabs_are_as_far_apart_as_they_were_shifted_in_mm():
    grid = Grid.from_array((10, 10, 10), make_affine(SPACING_MM))
    first, second = np.zeros((2, 10, 10, 10), dtype=bool)
    first[:, :, 2:4], second[:, :, 4:6] = True, True
    found = measure_surfaces(first, second, grid)
    assert found.mean_mm == pytest.approx((2 * 3.0 + 3.0) / 2)
    assert found.percentile95_mm == pytest.approx(6.0)


def test_identical_surfaces_are_nowhere_apart():
    first, _ = blobs()
    found = measure_surfaces(first, first, Grid.from_array(first.shape, make_affine(SPACING_MM)))
    assert (found.mean_mm, found.percentile95_mm) == (0.0, 0.0)


def test_an_empty_mask_has_no_surface():
    first, _ = blobs()
    grid = Grid.from_array(first.shape, make_affine(SPACING_MM))
    for pair in ((first, np.zeros_like(first)), (np.zeros_like(first), first)):
        assert math.isnan(measure_surfaces(*pair, grid).mean_mm)
        assert math.isnan(measure_surfaces(*pair, grid).percentile95_mm)


@pytest.mark.parametrize("axcodes", ["LPS", "SAR", "ARI"])
def test_surfaces_do_not_depend_on_how_the_labels_are_stored(axcodes):
    first, second = blobs()
    grid = Grid.from_array(first.shape, make_affine(SPACING_MM))
    turned = [reorient(mask, grid, tuple(axcodes)) for mask in (first, second)]
    expected = measure_surfaces(first, second, grid)
    found = measure_surfaces(turned[0][0], turned[1][0], turned[0][1])
    assert expected.mean_mm > 0.5
    assert asdict(found) == pytest.approx(asdict(expected), rel=1e-12)


def test_surfaces_equal_a_distance_transform():
    from scipy.ndimage import binary_erosion, distance_transform_edt

    first, second = blobs()
    surfaces = [mask & ~binary_erosion(mask) for mask in (first, second)]
    ways = [
        distance_transform_edt(~there, sampling=SPACING_MM)[here]
        for here, there in (surfaces, surfaces[::-1])
    ]
    found = measure_surfaces(first, second, Grid.from_array(first.shape, make_affine(SPACING_MM)))
    assert found.mean_mm == pytest.approx(np.concatenate(ways).mean())
    assert found.percentile95_mm == pytest.approx(max(np.percentile(way, 95) for way in ways))
