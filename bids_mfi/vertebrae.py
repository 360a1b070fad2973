"""Names and numbers of vertebrae and of their levels."""

LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2", "T3")
# Bodies of the vertebrae between which the paper's levels lie, from the top down.
VERTEBRAE = ("C2", "C3", "C4", "C5", "C6", "C7", "T1")
# Both ends of these levels lie between two of VERTEBRAE.
MEASURED_LEVELS = VERTEBRAE[1:-1]
# Label of a voxel that is no muscle, where it is not known whether it is of a vertebra.
NO_MUSCLE = 255


def vertebra_indices(muscle_classes: int, count: int = len(VERTEBRAE)) -> range:
    """Labels of the vertebrae of a network, after those of its muscles and background.

    >>> list(vertebra_indices(15, 2))
    [15, 16]
    """
    return range(muscle_classes, muscle_classes + count)


def expand_levels(levels: str) -> list[str]:
    """Single levels of a range.

    >>> expand_levels("C6-T1"), expand_levels("C4")
    (['C6', 'C7', 'T1'], ['C4'])
    """
    first, _, last = levels.partition("-")
    return list(LEVELS[LEVELS.index(first) : LEVELS.index(last or first) + 1])
