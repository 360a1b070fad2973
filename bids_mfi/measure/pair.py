"""A Dixon pair as paths and entities."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# Entities in the order in which BIDS 1.11.1 puts them into a name, but for `seg` and those after
# it, which only derivatives have; `stk` is a stack of Muscle-BIDS.
ENTITY_ORDER = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec",
    "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split",
    "recording", "chunk", "stk",
)  # fmt: skip


class Contrast(StrEnum):
    """What an image of a Dixon acquisition shows."""

    IN_PHASE = "in_phase"
    OUT_PHASE = "out_phase"
    WATER = "water"
    FAT = "fat"


class NamedByEntities:
    """Something named by the BIDS entities that its files share."""

    __slots__ = ()

    entities: tuple[tuple[str, str], ...]

    @property
    def participant(self) -> str:
        """Participant label without ``sub-``."""
        return dict(self.entities)["sub"]

    @property
    def session(self) -> str | None:
        """Session label without ``ses-``, None if the dataset has no sessions."""
        return dict(self.entities).get("ses")

    @property
    def scan(self) -> str:
        """The scan's name: its entities joined as in BIDS, ``sub-01_ses-01_acq-dixon``."""
        return "_".join(f"{key}-{value}" for key, value in self.entities)


@dataclass(frozen=True, slots=True)
class DixonPair(NamedByEntities):
    """One scan: its in-phase and out-of-phase images, and the scanner's water and fat if found.

    Attributes
    ----------
    in_phase, out_phase : Path
        Absolute paths of the two magnitude images.
    water, fat : Path or None
        The scanner's own water and fat images.
    entities : tuple of (str, str)
        BIDS entities that the images share, short names in BIDS order, values without the key:
        ``(("sub", "01"), ("ses", "01"), ("acq", "dixon"))``. ``sub`` always comes first.
    recognised_by : str
        How the contrast of the images was recognised, for a person to read.
    echo_times_ms : tuple of (float or None)
        Echo times of the in-phase and the out-of-phase image, milliseconds; None if unknown.
    field_strength_t : float or None
        Tesla.
    scale_slopes : tuple of (str, float, float)
        Slopes of the stored values that both sidecars give: field, in phase, out of phase.
    in_phase_volume, out_phase_volume, water_volume, fat_volume : int or None
        Which volume of a 4-D file the image is, counted from 0; None for a 3-D file.
    """

    in_phase: Path
    out_phase: Path
    entities: tuple[tuple[str, str], ...]
    recognised_by: str
    water: Path | None = None
    fat: Path | None = None
    echo_times_ms: tuple[float | None, float | None] = (None, None)
    field_strength_t: float | None = None
    scale_slopes: tuple[tuple[str, float, float], ...] = ()
    in_phase_volume: int | None = None
    out_phase_volume: int | None = None
    water_volume: int | None = None
    fat_volume: int | None = None

    def volume_of(self, contrast: Contrast) -> int | None:
        """Which volume of its file an image is; None for a 3-D file."""
        number: int | None = getattr(self, f"{contrast.value}_volume")
        return number


def images_of(pair: DixonPair, source: str) -> dict[str, Path]:
    """Name the images from which :func:`read_signals` reads.

    Examples
    --------
    >>> list(images_of(DixonPair(Path("a.nii"), Path("b.nii"), (), ""), "computed"))
    ['in-phase', 'out-of-phase']
    """
    images = {"in-phase": pair.in_phase, "out-of-phase": pair.out_phase}
    more = {"fat": pair.fat, "water": pair.water} if source == "scanner" else {}
    return images | {name: path for name, path in more.items() if path is not None}
