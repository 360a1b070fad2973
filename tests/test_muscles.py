"""Muscles and tables: the numbers of Table 1 of the paper, and what a table refuses."""

import colorsys
import re

import pytest

from bids_mfi.muscles import LONG_NAMES, WEBER2021, Muscle, MuscleTable, paper_table

# Table 1 of Weber et al. 2021: abbreviation, levels, label left, label right.
TABLE_1 = [
    ("MFSS", "C4-C6", 2, 1),
    ("LC", "C3-C6", 4, 3),
    ("SSCap", "C3-C5", 8, 7),
    ("SPCap", "C3-C5", 6, 5),
    ("LS", "C5-C6", 14, 13),
    ("SCM", "C4-C6", 10, 9),
    ("TR", "C6", 12, 11),
]


def make_muscle(index=1, muscle="TR", hemi="R"):
    return Muscle(index, f"{hemi} {muscle}", muscle, hemi, "#000000", "all")


@pytest.mark.parametrize(("abbreviation", "levels", "left", "right"), TABLE_1)
def test_numbers_and_levels_of_the_paper(abbreviation, levels, left, right):
    for hemi, side, index in (("L", "left", left), ("R", "right", right)):
        muscle = WEBER2021.of(abbreviation, hemi)
        assert muscle.index == index
        assert muscle.levels == levels
        assert muscle.hemi == hemi
        assert muscle.abbreviation == f"{abbreviation}_{hemi}"
        assert muscle.name == f"{side}_{LONG_NAMES[abbreviation]}"


def test_fourteen_muscles_in_the_order_of_their_numbers():
    assert [muscle.index for muscle in WEBER2021] == list(range(1, 15))
    assert len(WEBER2021) == 14
    assert all((muscle.hemi == "L") == (muscle.index % 2 == 0) for muscle in WEBER2021)
    assert {(m.muscle, m.hemi) for m in WEBER2021} == {
        (abbreviation, hemi) for abbreviation, *_ in TABLE_1 for hemi in "LR"
    }
    assert all(re.fullmatch("[a-z_]+", muscle.name) for muscle in WEBER2021)
    assert len({muscle.name for muscle in WEBER2021}) == 14


def test_mirror_exchanges_the_sides_of_each_muscle():
    mirrored = WEBER2021.mirrored_indices()
    assert mirrored == {left: right for _, _, left, right in TABLE_1} | {
        right: left for _, _, left, right in TABLE_1
    }


def test_levels_can_be_those_of_another_bundle():
    table = paper_table(dict.fromkeys(LONG_NAMES, "all"))
    assert {muscle.levels for muscle in table} == {"all"}
    assert [muscle.name for muscle in table] == [muscle.name for muscle in WEBER2021]
    with pytest.raises(KeyError):
        paper_table({"TR": "all"})


@pytest.mark.parametrize("abbreviation", LONG_NAMES)
def test_one_hue_a_muscle_and_the_left_side_lighter(abbreviation):
    sides = {}
    for hemi in "LR":
        color = WEBER2021.of(abbreviation, hemi).color
        assert re.fullmatch("#[0-9a-f]{6}", color)
        sides[hemi] = colorsys.rgb_to_hls(*(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)))
    assert sides["L"][1] > sides["R"][1] + 0.1
    turn = abs(sides["L"][0] - sides["R"][0])
    assert min(turn, 1 - turn) < 20 / 360


def test_no_colour_twice():
    assert len({muscle.color for muscle in WEBER2021}) == 14


@pytest.mark.parametrize("indices", [(0, 1), (-1, 2), (1, 1), (2, 1)])
def test_indices_must_be_positive_unique_and_ascending(indices):
    with pytest.raises(ValueError, match="positive, unique and ascending"):
        MuscleTable(tuple(make_muscle(index) for index in indices))


def test_gaps_and_empty_tables_are_allowed():
    assert [muscle.index for muscle in MuscleTable((make_muscle(3), make_muscle(40)))] == [3, 40]
    assert len(MuscleTable(())) == 0


def test_a_muscle_that_is_not_there():
    table = MuscleTable((make_muscle(1, "TR", "R"),))
    with pytest.raises(KeyError):
        table.of("TR", "L")
    with pytest.raises(KeyError):
        table.mirrored_indices()
