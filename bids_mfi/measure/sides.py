"""Whether left and right of label maps can be learnt: labels in, sentences out.

Mirroring in training exchanges the sides of the labels. A muscle that is labelled on one side only
then has contradicting targets. What counts is the content of the maps, not the label table.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from bids_mfi.counts import list_names
from bids_mfi.errors import InputError
from bids_mfi.grid import Grid
from bids_mfi.measure.quality import find_exchanged_sides, measure_right_mm
from bids_mfi.muscles import Muscle, MuscleTable

LabelMap = tuple[NDArray[np.int16], Grid]
LEAST_SHARE = 0.25  # of a label on each side of a gap
LEAST_OTHER_SIDE = 0.05  # of the voxels of one side, on the other; fewer are slips of the brush
# A muscle, and one that lies nearer to the middle in front of or behind the spine as it does.
OUTER_AND_INNER = (("SCM", "LC"), ("LS", "MFSS"))
LEAST_APART_MM = 5.0
SHOWN = 5
MIRRORING_OFF = "set mirror_share to 0 (training) and mirrored to false (use) in the recipe"


def check_sides(maps: Mapping[str, LabelMap], table: MuscleTable, mirrors: bool) -> list[str]:
    """Check that the maps agree with each other and with the affine on left and right.

    Parameters
    ----------
    maps : mapping of str to (ndarray of int16, Grid)
        Label maps by the name for messages.
    table : MuscleTable
    mirrors : bool
        Mirror images are used in training or at inference.

    Returns
    -------
    list of str
        A line for each finding that does not forbid the training.

    Raises
    ------
    InputError
        Both sides are drawn with one number, left labels are on the right, or mirror images would
        contradict the labels.
    """
    _check_one_number(maps, table)
    _check_affine(maps, table)
    one_sided = find_one_sided(find_drawn(_count_labels(maps), table), table)
    if one_sided and mirrors:
        raise InputError(_explain_one_sided(one_sided))
    lines = [f"labelled on one side only: {_join(one_sided)}"] if one_sided else []
    return lines + _check_each(maps, _both_sides(table, one_sided), mirrors)


def _count_labels(maps: Mapping[str, LabelMap]) -> dict[int, int]:
    """Voxels of each label in all maps together."""
    counts: dict[int, int] = {}
    for labels, _ in maps.values():
        for value, voxels in zip(*np.unique(labels, return_counts=True), strict=True):
            counts[int(value)] = counts.get(int(value), 0) + int(voxels)
    return counts


def find_drawn(counts: Mapping[int, int], table: MuscleTable) -> set[int]:
    """Find the labels that were drawn, not only touched, of those counted.

    Examples
    --------
    >>> from bids_mfi.muscles import WEBER2021
    >>> sorted(find_drawn({1: 900, 2: 800, 3: 900, 4: 9}, WEBER2021))
    [1, 2, 3]
    """
    sides = {(muscle.muscle, muscle.hemi): muscle.index for muscle in table}
    other = {"L": "R", "R": "L"}
    return {
        muscle.index
        for muscle in table
        if counts.get(muscle.index, 0)
        > LEAST_OTHER_SIDE * counts.get(sides.get((muscle.muscle, other[muscle.hemi]), -1), 0)
    }


def find_one_sided(present: set[int], table: MuscleTable) -> list[Muscle]:
    """Muscles with a label on one side whose other side the table names but no map shows.

    Examples
    --------
    >>> from bids_mfi.muscles import WEBER2021
    >>> [muscle.abbreviation for muscle in find_one_sided({1, 3, 4}, WEBER2021)]
    ['MFSS_R']
    """
    sides = {(muscle.muscle, muscle.hemi): muscle.index for muscle in table}
    other = {"L": "R", "R": "L"}
    return [
        muscle
        for muscle in table
        if muscle.index in present
        and sides.get((muscle.muscle, other[muscle.hemi]), muscle.index) not in present
    ]


def _both_sides(table: MuscleTable, one_sided: Iterable[Muscle]) -> MuscleTable:
    """Leave out the muscles that no map shows on both sides."""
    left_out = {muscle.muscle for muscle in one_sided}
    return MuscleTable(tuple(muscle for muscle in table if muscle.muscle not in left_out))


def _explain_one_sided(muscles: list[Muscle]) -> str:
    return (
        f"{_join(muscles)}: labelled on one side only, in all label maps. Expected both sides, "
        "because left and right are exchanged in mirrored scans, which would then say that the "
        f"labelled side is background (fewer than {100 * LEAST_OTHER_SIDE:g} % of the voxels of "
        f"one side count as none on the other). Label the other side, or {MIRRORING_OFF}."
    )


# --- one number for both sides -----------------------------------------------------------------


def _check_one_number(maps: Mapping[str, LabelMap], table: MuscleTable) -> None:
    """Refuse maps if most of their labels are on both sides of a gap."""
    known = {muscle.index: muscle for muscle in table}
    found: dict[int, list[bool]] = {}
    for labels, grid in maps.values():
        for index in known.keys() & set(np.unique(labels).tolist()):
            found.setdefault(index, []).append(lies_on_both_sides(labels == index, grid))
    split = {index for index, where in found.items() if 2 * sum(where) > len(where)}
    alone = {muscle.index for muscle in find_one_sided(set(found), table)}
    doubtful = split if 2 * len(split) > len(found) else split & alone
    if doubtful:
        names = [known[index] for index in sorted(doubtful)]
        raise InputError(
            f"{_join(names)}: the label is on both sides of the neck in most label maps. Expected "
            "one number for the left and one for the right muscle. Renumber the labels of one "
            f"side, by default as label {known[min(doubtful)].index} for "
            f"{known[min(doubtful)].name}, or name all numbers in dseg.tsv of the derivative."
        )


def lies_on_both_sides(mask: NDArray[np.bool_], grid: Grid) -> bool:
    """Whether a mask has two large parts with a gap between them, from left to right.

    Examples
    --------
    >>> grid = Grid((6, 1, 1), ((-1., 0, 0, 0), (0, 1., 0, 0), (0, 0, 1., 0), (0, 0, 0, 1.)))
    >>> lies_on_both_sides(np.array([1, 1, 0, 0, 1, 1], bool).reshape(6, 1, 1), grid)
    True
    >>> lies_on_both_sides(np.array([1, 1, 1, 1, 0, 1], bool).reshape(6, 1, 1), grid)
    False
    """
    across = int(np.abs(grid.matrix[0, :3] / grid.spacing_mm).argmax())
    counts = mask.sum(axis=tuple(axis for axis in range(3) if axis != across))
    filled = np.flatnonzero(counts)
    steps = np.diff(filled)
    if not steps.size or steps.max() < 2:
        return False
    below = counts[: filled[int(steps.argmax())] + 1].sum() / counts.sum()
    return bool(LEAST_SHARE <= below <= 1 - LEAST_SHARE)


# --- each map ----------------------------------------------------------------------------------


def _check_affine(maps: Mapping[str, LabelMap], table: MuscleTable) -> None:
    """Refuse a map with a left label that is not to the left of the right one."""
    for name, (labels, grid) in maps.items():
        exchanged = find_exchanged_sides(labels, grid, table)
        if exchanged:
            raise InputError(
                f"{name}: the left label of {list_names(exchanged, SHOWN)} is to the right of the "
                "right one. Expected sides that agree with the affine of the image. Exchange the "
                "numbers of the two sides, or correct the orientation of image and label map."
            )
        strange = find_strange_side(labels, grid, table)
        if strange:
            raise InputError(
                f"{name}: labels of the {strange} side seem to be drawn on the other side of the "
                "neck: outer muscles (SCM, LS) are nearer to the middle than inner ones (LC, "
                "MFSS). Expected the subject's own sides. Give the labels the numbers of the "
                "other side, or correct the orientation of image and label map."
            )


def find_strange_side(labels: NDArray[np.int16], grid: Grid, table: MuscleTable) -> str:
    """Find a side whose muscles are arranged like those of the other, unlabelled side.

    Returns
    -------
    str
        ``left`` or ``right``; empty if neither, or if the muscles that show it are absent.
    """
    right_mm = measure_right_mm(labels, grid, table)
    places = {(muscle.muscle, muscle.hemi): right_mm.get(muscle.index) for muscle in table}
    for hemi, other, word, sign in (("L", "R", "left", -1), ("R", "L", "right", 1)):
        pairs = [
            [(places.get((muscle, hemi)), places.get((muscle, other))) for muscle in pair]
            for pair in OUTER_AND_INNER
        ]
        apart_mm = [
            sign * (outer - inner)
            for (outer, no_outer), (inner, no_inner) in pairs
            if outer is not None and inner is not None and no_outer is None and no_inner is None
        ]
        if apart_mm and max(apart_mm) < -LEAST_APART_MM:
            return word
    return ""


def _check_each(maps: Mapping[str, LabelMap], table: MuscleTable, mirrors: bool) -> list[str]:
    """Lines about muscles that some maps show on one side only; raises for whole maps."""
    lines = []
    for name, (labels, grid) in maps.items():
        present = find_drawn(_count_labels({name: (labels, grid)}), table)
        one_sided = find_one_sided(present, table)
        if not one_sided:
            continue
        whole = len(one_sided) == len(present) and len({m.hemi for m in one_sided}) == 1
        if whole and mirrors:
            raise InputError(
                f"{name}: holds labels of one side only ({_join(one_sided)}), while other maps "
                "hold both. Expected all muscles on both sides, because a side without labels is "
                f"learnt as background. Label the other side, leave the scan out, or "
                f"{MIRRORING_OFF}."
            )
        lines.append(f"{name}: labelled on one side only, other maps on both: {_join(one_sided)}")
    return lines


def _join(muscles: Iterable[Muscle]) -> str:
    return list_names([muscle.abbreviation for muscle in muscles], SHOWN)
