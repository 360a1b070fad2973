"""The vertebrae that a network may label beside the muscles; must not know networks or images."""

# Bodies of the vertebrae between which the paper's levels lie, from the top down.
VERTEBRAE = ("C2", "C3", "C4", "C5", "C6", "C7", "T1")
# Label of a voxel that is no muscle, where it is not known whether it is of a vertebra.
NO_MUSCLE = 255


def vertebra_indices(muscle_classes: int, count: int = len(VERTEBRAE)) -> range:
    """Labels of the vertebrae of a network, after those of its muscles and background.

    >>> list(vertebra_indices(15, 2))
    [15, 16]
    """
    return range(muscle_classes, muscle_classes + count)
