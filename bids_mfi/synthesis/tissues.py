"""Tissues of the synthetic neck and their signals.

Indices 1 to 14 are the fourteen muscles of :mod:`bids_mfi.muscles`; other tissues follow, and air
is 0.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bids_mfi.muscles import WEBER2021

N_MUSCLES = len(WEBER2021)


class Tissue(IntEnum):
    """Tissues of the synthetic neck besides the fourteen muscles."""

    AIR = 0
    SKIN = 20
    SUBCUTANEOUS_FAT = 21
    INTERMUSCULAR_FAT = 22
    OTHER_MUSCLE = 23
    CORTICAL_BONE = 24
    MARROW = 25
    DISC = 26
    CEREBROSPINAL_FLUID = 27
    CORD = 28
    ARTERY = 29
    VEIN = 30
    SALIVARY_GLAND = 31
    THYROID = 32
    TONGUE = 33
    LOOSE_TISSUE = 34
    CARTILAGE = 35
    BRAIN = 36
    LIGAMENT = 37
    MUCOSA = 38
    FASCIA = 39


@dataclass(frozen=True, slots=True)
class Signal:
    """Signal of a tissue in a T1-weighted spoiled gradient echo.

    Attributes
    ----------
    amplitude : float
        Water plus fat signal at echo time 0, muscle = 1.
    fat_percent : float
        Fat fraction of that signal.
    """

    amplitude: float
    fat_percent: float


SIGNALS = {
    Tissue.AIR: Signal(0.0, 0.0),
    Tissue.SKIN: Signal(0.65, 15.0),
    Tissue.SUBCUTANEOUS_FAT: Signal(2.0, 94.0),
    Tissue.INTERMUSCULAR_FAT: Signal(1.75, 88.0),
    Tissue.OTHER_MUSCLE: Signal(1.0, 9.0),
    Tissue.CORTICAL_BONE: Signal(0.14, 20.0),
    Tissue.MARROW: Signal(1.15, 46.0),
    Tissue.DISC: Signal(0.75, 2.0),
    Tissue.CEREBROSPINAL_FLUID: Signal(0.38, 0.0),
    Tissue.CORD: Signal(1.0, 1.0),
    Tissue.ARTERY: Signal(1.45, 0.0),
    Tissue.VEIN: Signal(1.1, 0.0),
    Tissue.SALIVARY_GLAND: Signal(1.35, 28.0),
    Tissue.THYROID: Signal(1.3, 2.0),
    Tissue.TONGUE: Signal(1.15, 18.0),
    Tissue.LOOSE_TISSUE: Signal(1.3, 55.0),
    Tissue.CARTILAGE: Signal(0.45, 15.0),
    Tissue.BRAIN: Signal(1.0, 0.0),
    Tissue.LIGAMENT: Signal(0.5, 35.0),
    Tissue.MUCOSA: Signal(1.1, 5.0),
    Tissue.FASCIA: Signal(1.3, 68.0),
}
MUSCLE_AMPLITUDE = 1.0
TABLE_SIZE = max(Tissue) + 1


def signal_tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the amplitude and fat percentage of every tissue index except the muscles.

    Returns
    -------
    amplitude, fat_percent : ndarray of float32, shape (TABLE_SIZE,)
        The muscles' entries are MUSCLE_AMPLITUDE and 0.

    Examples
    --------
    >>> amplitude, fat_percent = signal_tables()
    >>> amplitude[1].item(), fat_percent[Tissue.BRAIN].item()
    (1.0, 0.0)
    """
    amplitude = np.zeros(TABLE_SIZE, np.float32)
    fat_percent = np.zeros(TABLE_SIZE, np.float32)
    amplitude[1 : N_MUSCLES + 1] = MUSCLE_AMPLITUDE
    for tissue, signal in SIGNALS.items():
        amplitude[tissue] = signal.amplitude
        fat_percent[tissue] = signal.fat_percent
    return amplitude, fat_percent
