"""Muscles and label tables.

The numbers and abbreviations are those of Table 1 of Weber et al. 2021
(doi:10.1038/s41598-021-95972-x): even is left, odd is right, and left is the subject's left.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Muscle:
    """One muscle on one side.

    Attributes
    ----------
    index : int
        Value in the label map, at least 1.
    name : str
        Name as in BIDS ``dseg.tsv``, for example ``left_trapezius``.
    muscle : str
        Abbreviation without side, for example ``TR``.
    hemi : str
        ``L`` or ``R``, the subject's side.
    color : str
        ``#rrggbb``.
    levels : str
        Vertebral levels on which the label is defined, for example ``C4-C6``; ``all`` where the
        muscle is labelled over its whole length.
    """

    index: int
    name: str
    muscle: str
    hemi: str
    color: str
    levels: str

    @property
    def abbreviation(self) -> str:
        """Abbreviation with side, for example ``TR_L``."""
        return f"{self.muscle}_{self.hemi}"


@dataclass(frozen=True, slots=True)
class MuscleTable:
    """The muscles of a label map, in the order of their index."""

    muscles: tuple[Muscle, ...]

    def __iter__(self) -> Iterator[Muscle]:
        return iter(self.muscles)

    def __len__(self) -> int:
        return len(self.muscles)

    def __post_init__(self) -> None:
        indices = [muscle.index for muscle in self.muscles]
        if indices != sorted(set(indices)) or (indices and indices[0] < 1):
            raise ValueError(f"label indices must be positive, unique and ascending: {indices}")

    def of(self, muscle: str, hemi: str) -> Muscle:
        """Find the muscle with this abbreviation and side.

        Raises
        ------
        KeyError
            The table has none.

        Examples
        --------
        >>> WEBER2021.of("TR", "L").index
        12
        """
        for candidate in self.muscles:
            if (candidate.muscle, candidate.hemi) == (muscle, hemi):
                return candidate
        raise KeyError((muscle, hemi))

    @property
    def has_both_sides(self) -> bool:
        """Whether every muscle is in the table once left and once right."""
        sides = [(muscle.muscle, muscle.hemi) for muscle in self.muscles]
        both = all((m.muscle, side) in sides for m in self.muscles for side in "LR")
        return both and len(sides) == len(set(sides))

    def mirrored_indices(self) -> dict[int, int]:
        """For each index, the index of the same muscle on the other side.

        Raises
        ------
        KeyError
            A muscle is in the table with one side only.

        Examples
        --------
        >>> WEBER2021.mirrored_indices()[1]
        2
        """
        other = {"L": "R", "R": "L"}
        return {m.index: self.of(m.muscle, other[m.hemi]).index for m in self.muscles}

    def find_conflict(self, other: "MuscleTable") -> tuple[Muscle, Muscle] | None:
        """Find a number that means another muscle in ``other``, or a muscle of another number.

        Returns
        -------
        (Muscle, Muscle) or None
            The first one of this table and that of the other; None if the two agree.

        Examples
        --------
        >>> WEBER2021.find_conflict(MuscleTable(WEBER2021.muscles[:2])) is None
        True
        """
        for mine in self:
            for theirs in other:
                same_number = mine.index == theirs.index
                if same_number != (mine.abbreviation == theirs.abbreviation):
                    return mine, theirs
        return None


# Names of the label tables of a whole derivative.
LABEL_TABLE, VERTEBRA_TABLE = "seg-muscle_dseg.tsv", "seg-vertebrae_dseg.tsv"

LONG_NAMES = {
    "MFSS": "multifidus_semispinalis_cervicis",
    "LC": "longus_colli_longus_capitis",
    "SPCap": "splenius_capitis",
    "SSCap": "semispinalis_capitis",
    "SCM": "sternocleidomastoid",
    "TR": "trapezius",
    "LS": "levator_scapulae",
}

PAPER_ORDER = ("MFSS", "LC", "SSCap", "SPCap", "LS", "SCM", "TR")  # of the paper's tables

# What tables may write for a side, and how the paper writes its muscles.
HEMIS = {"l": "L", "left": "L", "r": "R", "right": "R"}
KNOWN_MUSCLES = {name.lower(): name for name in PAPER_ORDER}

PAPER_LEVELS = {
    "MFSS": "C4-C6",
    "LC": "C3-C6",
    "SPCap": "C3-C5",
    "SSCap": "C3-C5",
    "SCM": "C4-C6",
    "TR": "C6",
    "LS": "C5-C6",
}

# One hue a muscle, the left side lighter than the right, so that a swap of sides shows at once.
_COLORS = {
    ("MFSS", "R"): "#c01f2e", ("MFSS", "L"): "#ff7b84",
    ("LC", "R"): "#1f5fc0", ("LC", "L"): "#7fb2ff",
    ("SPCap", "R"): "#b35a00", ("SPCap", "L"): "#ffb25c",
    ("SSCap", "R"): "#1d7f33", ("SSCap", "L"): "#7edb8f",
    ("SCM", "R"): "#8a1f8f", ("SCM", "L"): "#ea86ee",
    ("TR", "R"): "#00757d", ("TR", "L"): "#62dbe3",
    ("LS", "R"): "#8a7a00", ("LS", "L"): "#f1e25a",
}  # fmt: skip


def find_side(name: str) -> str:
    """Find the side that a muscle's full name states: L or R; empty if it states none, or both.

    Examples
    --------
    >>> find_side("left_trapezius"), find_side("Trapezius (Right)"), find_side("copyright")
    ('L', 'R', '')
    """
    words = set(re.findall("[a-z]+", name.lower()))
    found = [side for word, side in (("left", "L"), ("right", "R")) if word in words]
    return found[0] if len(found) == 1 else ""


def rank_muscle(muscle: str, hemi: str) -> tuple[int, str, str]:
    """Sorting key in the order of the paper's tables, left before right, others after.

    Examples
    --------
    >>> sorted([("TR", "R"), ("MFSS", "L"), ("TR", "L")], key=lambda pair: rank_muscle(*pair))
    [('MFSS', 'L'), ('TR', 'L'), ('TR', 'R')]
    """
    known = PAPER_ORDER.index(muscle) if muscle in PAPER_ORDER else len(PAPER_ORDER)
    return known, muscle, hemi


def paper_table(levels: dict[str, str] | None = None) -> MuscleTable:
    """Make the table of the fourteen muscles with the paper's numbers.

    Parameters
    ----------
    levels : dict, optional
        For each abbreviation the vertebral levels that are labelled; default those of Table 1.

    Examples
    --------
    >>> [muscle.abbreviation for muscle in paper_table()][:4]
    ['MFSS_R', 'MFSS_L', 'LC_R', 'LC_L']
    """
    levels = PAPER_LEVELS if levels is None else levels
    sides = (("R", "right"), ("L", "left"))
    ordered = ((abbreviation, hemi, side) for abbreviation in LONG_NAMES for hemi, side in sides)
    return MuscleTable(
        tuple(
            Muscle(
                index=index,
                name=f"{side}_{LONG_NAMES[abbreviation]}",
                muscle=abbreviation,
                hemi=hemi,
                color=_COLORS[abbreviation, hemi],
                levels=levels[abbreviation],
            )
            for index, (abbreviation, hemi, side) in enumerate(ordered, start=1)
        )
    )


WEBER2021 = paper_table()
