"""Why two label maps disagree that should agree.

Dice 0 has a few common causes unrelated to segmentation: the two maps exchange left and right,
number the muscles differently, or one of them was flipped. Each is recognised by the agreement
after it is undone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bids_mfi.counts import list_names
from bids_mfi.grid import Grid
from bids_mfi.measure.quality import find_exchanged_sides
from bids_mfi.muscles import MuscleTable

Labels = NDArray[np.int16]
LEAST_DICE = 0.4  # of what agrees once the cause is undone
LEAST_GAIN = 0.25  # of mean Dice, by a turn; upside down, muscles still overlap themselves
SURE_DICE = 0.9  # no other cause is looked for
MOST_SHARE = 0.25  # of that, as the maps are
MOST_LABELS = 300
SHOWN = 6
WAYS = {"R": "left and right", "L": "left and right", "A": "front and back",
        "P": "front and back", "S": "head and feet", "I": "head and feet"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One cause, and what it explains.

    Attributes
    ----------
    cause : str
        ``sides``, ``offset``, ``numbers`` or ``turned``.
    detail : str
        The muscles, the offset, the numbers, or the directions.
    dice : float
        Mean over the labels concerned, with the maps unchanged.
    dice_undone : float
        The same after the cause is undone.
    """

    cause: str
    detail: str
    dice: float
    dice_undone: float


def find_mismatch(
    truth: Labels, prediction: Labels, grid: Grid, table: MuscleTable
) -> Mismatch | None:
    """Find the cause whose removal makes the labels agree best, if they disagree.

    Parameters
    ----------
    truth, prediction : ndarray of int16, shape of the grid
    grid : Grid
    table : MuscleTable
    """
    numbers = _find_numbers(truth, prediction, table)
    if numbers is not None and numbers.dice_undone >= SURE_DICE:
        return numbers
    turned = _find_turned(truth, prediction, grid)
    found = [one for one in (numbers, turned) if one is not None]
    return max(found, key=lambda one: one.dice_undone, default=None)


# --- numbers -----------------------------------------------------------------------------------


def _find_numbers(truth: Labels, prediction: Labels, table: MuscleTable) -> Mismatch | None:
    """Find which number of the prediction corresponds to a label of the truth."""
    scores = _score_numbers(truth, prediction)
    if scores is None:
        return None
    here, there, dice = scores
    own = {label: dice[i, there.index(label)] if label in there else 0.0
           for i, label in enumerate(here)}  # fmt: skip
    pairs = {
        here[i]: (there[j], float(dice[i, j]))
        for i, j in zip(*linear_sum_assignment(-dice), strict=True)
        if here[i] != there[j] and _explains(float(dice[i, j]), float(own[here[i]]))
    }
    if not pairs:
        return None
    cause, detail = _name_numbers({label: other for label, (other, _) in pairs.items()}, table)
    return Mismatch(
        cause,
        detail,
        float(np.mean([own[label] for label in pairs])),
        float(np.mean([score for _, score in pairs.values()])),
    )


def _explains(undone: float, as_it_is: float) -> bool:
    return undone >= LEAST_DICE and as_it_is <= MOST_SHARE * undone


def _score_numbers(
    truth: Labels, prediction: Labels
) -> tuple[list[int], list[int], NDArray[np.float64]] | None:
    """Dice of each label of the truth with each of the prediction, background left out."""
    either = (truth != 0) | (prediction != 0)
    here, rows = np.unique(np.append(truth[either], np.int16(0)), return_inverse=True)
    there, columns = np.unique(np.append(prediction[either], np.int16(0)), return_inverse=True)
    if not 1 < len(here) <= MOST_LABELS or not 1 < len(there) <= MOST_LABELS:
        return None
    size = len(here) * len(there)
    joint = np.bincount(rows * len(there) + columns, minlength=size).reshape(len(here), -1)
    sizes = joint.sum(axis=1)[:, None] + joint.sum(axis=0)[None]
    dice = (2 * joint / sizes)[1:, 1:]  # 0 comes first, for no label is below it
    return here[1:].tolist(), there[1:].tolist(), dice


def _name_numbers(pairs: Mapping[int, int], table: MuscleTable) -> tuple[str, str]:
    """Name the cause that turned the numbers of the truth into those of the prediction.

    Examples
    --------
    >>> from bids_mfi.muscles import WEBER2021
    >>> _name_numbers({1: 2, 2: 1}, WEBER2021), _name_numbers({1: 21, 5: 25}, WEBER2021)
    (('sides', 'MFSS'), ('offset', '20'))
    >>> _name_numbers({1: 5, 2: 9}, WEBER2021)
    ('numbers', '1 is 5, 2 is 9')
    """
    places = {(muscle.muscle, muscle.hemi): muscle.index for muscle in table}
    other = {m.index: places.get((m.muscle, "LR"[m.hemi == "L"])) for m in table}
    if all(other.get(label) == found for label, found in pairs.items()):
        names = dict.fromkeys(muscle.muscle for muscle in table if muscle.index in pairs)
        return "sides", list_names(names, SHOWN)
    offsets = {found - label for label, found in pairs.items()}
    if len(offsets) == 1 and len(pairs) > 1:
        return "offset", f"{offsets.pop()}"
    return "numbers", list_names([f"{label} is {found}" for label, found in pairs.items()], SHOWN)


# --- directions --------------------------------------------------------------------------------


def _find_turned(truth: Labels, prediction: Labels, grid: Grid) -> Mismatch | None:
    """Find a flip or exchange of voxel axes after which the same labels agree."""
    places, labels = np.argwhere(prediction), prediction[prediction != 0]
    sizes = [np.bincount(one[one != 0], minlength=1) for one in (truth, prediction)]
    scores = {
        (order, flips): _mean_dice(
            truth[tuple(_turn(places, order, flips, truth).T)], labels, *sizes
        )
        for order in permutations(range(3))
        for flips in product((1, -1), repeat=3)
        if tuple(truth.shape[axis] for axis in order) == truth.shape
    }
    plain = scores[(0, 1, 2), (1, 1, 1)]
    (order, flips), best = max(scores.items(), key=lambda item: item[1])
    if best < max(LEAST_DICE, plain + LEAST_GAIN):
        return None
    return Mismatch("turned", _name_turn(order, flips, grid), plain, best)


def _turn(
    places: NDArray[np.intp], order: Sequence[int], flips: Sequence[int], volume: Labels
) -> NDArray[np.intp]:
    """Positions of voxels, shape (n, 3), after axes are exchanged and flipped."""
    last = np.array(volume.shape) - 1
    turned: NDArray[np.intp] = np.where(
        np.array(flips) > 0, places[:, order], last - places[:, order]
    )
    return turned


def _name_turn(order: Sequence[int], flips: Sequence[int], grid: Grid) -> str:
    if tuple(order) != (0, 1, 2):
        return "axes exchanged"
    return " and of ".join(
        WAYS[code] for code, step in zip(grid.axcodes, flips, strict=True) if step < 0
    )


def _mean_dice(
    truth: Labels, prediction: Labels, held: NDArray[np.intp], found: NDArray[np.intp]
) -> float:
    """Mean Dice over the labels of the truth; 0 without one.

    Parameters
    ----------
    truth, prediction : ndarray of int16, shape (n,)
        Labels in the voxels that the prediction labels.
    held, found : ndarray of int
        Voxels of each label in the whole of either map.
    """
    size = max(held.size, found.size)
    held, found = (np.append(one, np.zeros(size - one.size, np.intp)) for one in (held, found))
    common = np.bincount(truth[truth == prediction], minlength=size)
    there = np.flatnonzero(held)
    return float((2 * common / np.maximum(held + found, 1))[there].mean()) if there.size else 0.0


# --- words -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mismatches:
    """Reasons to doubt the comparison of one scan.

    Attributes
    ----------
    mismatch : Mismatch or None
    misplaced : tuple of str
        Maps (``truth``, ``prediction``) in which most left labels are on the right.
    empty : tuple of str
        Maps without a voxel of a muscle.
    """

    mismatch: Mismatch | None = None
    misplaced: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()


def find_mismatches(maps: Mapping[str, Labels], grid: Grid, table: MuscleTable) -> Mismatches:
    """Find what makes the comparison of a scan doubtful.

    Parameters
    ----------
    maps : mapping of str to ndarray of int16
        ``truth`` and ``prediction``, in this order.
    """
    known = [muscle.index for muscle in table]
    truth, prediction = maps.values()
    return Mismatches(
        find_mismatch(truth, prediction, grid, table),
        tuple(name for name, labels in maps.items() if _lies_exchanged(labels, grid, table)),
        tuple(name for name, labels in maps.items() if not np.isin(labels, known).any()),
    )


def _lies_exchanged(labels: Labels, grid: Grid, table: MuscleTable) -> bool:
    """Whether at least half of the muscles with both sides have them exchanged."""
    present = set(np.unique(labels).tolist())
    both = [
        muscle.muscle
        for muscle in table
        if muscle.hemi == "L"
        and any(m.hemi == "R" and m.muscle == muscle.muscle and m.index in present for m in table)
        and muscle.index in present
    ]
    return bool(both) and 2 * len(find_exchanged_sides(labels, grid, table)) >= len(both)


def describe_doubts(doubts: Mapping[str, Mismatches]) -> tuple[str, ...]:
    """Sentences about all scans of an evaluation, the most serious first."""
    return (
        *_describe_mismatches(doubts),
        *_describe_maps(
            {scan: one.misplaced for scan, one in doubts.items()},
            "the left labels are to the right of the right ones according to the affine. Exchange "
            "the numbers of the two sides, or correct the orientation",
        ),
        *_describe_maps(
            {scan: one.empty for scan, one in doubts.items()},
            "there is no voxel of a muscle that the label table names. Check the map and its "
            "numbers",
        ),
    )


def _describe_mismatches(doubts: Mapping[str, Mismatches]) -> list[str]:
    scans: dict[tuple[str, str], list[str]] = {}
    for scan, one in doubts.items():
        if one.mismatch is not None:
            scans.setdefault((one.mismatch.cause, one.mismatch.detail), []).append(scan)
    sentences = []
    for (cause, detail), names in scans.items():
        found = [mismatch for name in names if (mismatch := doubts[name].mismatch)]
        means = (np.mean([one.dice for one in found]), np.mean([one.dice_undone for one in found]))
        change = "Dice {:.2f}, {:.2f} after this is undone".format(*means)
        sentences.append(f"{_name(names)}: {_explain(cause, detail, change)}")
    return sentences


def _explain(cause: str, detail: str, change: str) -> str:
    return {
        "sides": f"truth and prediction seem to exchange left and right ({detail}; "
        f"{change}). Exchange the numbers of the two sides in the map that is wrong",
        "offset": f"the labels of the prediction seem to be those of the truth plus {detail} "
        f"({change}). Renumber one of them, or give each its dseg.tsv",
        "numbers": "truth and prediction seem to number the muscles differently: what is, in the "
        f"truth, {detail} in the prediction ({change}). Renumber one of them",
        "turned": f"one of the two maps seems to be stored in a direction that its affine does not "
        f"state: {_name_detail(detail)} ({change}). Correct the affine, or save the map again",
    }[cause] + "."


def _name_detail(detail: str) -> str:
    return detail if detail.startswith("axes") else f"{detail} are exchanged"


def _describe_maps(scans: Mapping[str, Iterable[str]], finding: str) -> list[str]:
    by_map: dict[str, list[str]] = {}
    for scan, maps in scans.items():
        for name in maps:
            by_map.setdefault(name, []).append(scan)
    return [f"{_name(names)}: in the {one} {finding}." for one, names in by_map.items()]


def _name(scans: list[str]) -> str:
    return scans[0] if len(scans) == 1 else f"{len(scans)} scans ({list_names(scans, SHOWN)})"
