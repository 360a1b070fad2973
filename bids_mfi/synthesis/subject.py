"""A random person with the anatomy of a label map.

This module draws only numbers and curves; :mod:`bids_mfi.synthesis.painting` makes voxels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bids_mfi.synthesis.composition import (
    LEAST_FAT_PERCENT,
    MEAN_BMI,
    Participant,
    change_fat_percent,
    draw_fat_percent,
    draw_participant,
)
from bids_mfi.synthesis.deformation import Deformation, draw_deformation
from bids_mfi.synthesis.labelmap import LabelMap
from bids_mfi.synthesis.tissues import N_MUSCLES, TABLE_SIZE, Tissue, signal_tables

AIRWAYS = (Tissue.AIR,)
VESSELS = (Tissue.ARTERY, Tissue.VEIN)
METAL_SHARE = 0.3
METAL_MM = (5.0, 16.0)
MALE_SIZE = 1.0
POSTURE_CHANGE = 0.4
FEMALE_SIZE = 0.93
GROWTH_SD_MM = 0.9
SIDE_GROWTH_SD_MM = 0.45
MOST_GROWN_MM = 3.0
MOST_WASTED = 0.3  # of the half-thickness
PLANE_MM = (0.2, 1.2)
PLAIN_FAT_PERCENT = (2.0, 35.0)
SKIN_FAT_MM = (5.0, 1.8)
SKIN_FAT_PER_BMI_MM = 0.32
SKIN_FAT_LIMITS_MM = (1.6, 20.0)
FATTY_SHARE = 0.22
FATTY_FACTOR = (1.5, 4.5)
MOST_MUSCLE_FAT_PERCENT = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Tube:
    """A structure along the neck that the label map lacks.

    Attributes
    ----------
    tissue : Tissue
    centre_mm : ndarray of float32, shape (z, 2)
        Centre in each slice of the label map.
    slices : ndarray of bool, shape (z,)
        Slices that contain the tube.
    radii_mm : tuple of float
        Radii along x and y.
    """

    tissue: Tissue
    centre_mm: NDArray[np.float32]
    slices: NDArray[np.bool_]
    radii_mm: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One random person.

    Attributes
    ----------
    label_map : LabelMap
        Source of the anatomy.
    participant : Participant
    deformation : Deformation
    growth_mm : ndarray of float32, shape (256,)
        Outward movement of the surface of each code of the label map.
    plane_mm : float
        Mean half-thickness of the fat planes between muscles.
    skin_fat_mm : float
        Mean subcutaneous fat.
    muscle_fat_percent : ndarray of float32, shape (N_MUSCLES + 1,)
    other_fat_percent : float
        Fat fraction of muscles that are not measured.
    amplitude, fat_percent : ndarray of float32, shape (TABLE_SIZE,)
        Signal tables of all tissues except the muscles.
    tubes : tuple of Tube
    texture : tuple of float
        Standard deviation of the logarithm of patches, share of streaks, length of patches in mm.
    metal : tuple of float or None
        x, y, z in millimetres of the label map, and radius of the signal void of dental metal.
    seed : int
        Seed of the random fields.
    plain : bool
        Whether only fat is between structures.
    most_wasted : float
        Maximum movement of neighbours into a structure, as a share of its half-thickness.
    fascia_share : float
        Share of the planes between muscles that is fascia; the rest is fat.
    grain : tuple of float
        Standard deviation of the brightness of muscle, and its length in mm.
    septa : tuple of float
        Septa within muscle: water removed and fat added, as shares of the muscle's signal; half
        width, as a share of their distance; distance in mm.
    capped : bool
        Whether skull and brain are above the label map; otherwise its highest slice repeats.
    """

    label_map: LabelMap
    participant: Participant
    deformation: Deformation
    growth_mm: NDArray[np.float32]
    plane_mm: float
    skin_fat_mm: float
    muscle_fat_percent: NDArray[np.float32]
    other_fat_percent: float
    amplitude: NDArray[np.float32]
    fat_percent: NDArray[np.float32]
    tubes: tuple[Tube, ...]
    texture: tuple[float, float, float]
    metal: tuple[float, float, float, float] | None
    seed: int
    plain: bool = False
    most_wasted: float = MOST_WASTED
    fascia_share: float = 0.0
    grain: tuple[float, float] = (0.0, 1.0)
    septa: tuple[float, float, float, float] = (0.0, 0.0, 0.1, 1.0)
    capped: bool = False


def draw_subject(
    rng: np.random.Generator,
    label_map: LabelMap,
    participant: Participant | None = None,
    variation: float = 1.0,
) -> Subject:
    """Draw a person with the anatomy of a label map.

    Parameters
    ----------
    rng : Generator
    label_map : LabelMap
    participant : Participant, optional
        Sex, age and body mass index; drawn by default.
    variation : float
        Factor of the variation of shape.
    """
    person = participant or draw_participant(rng)
    size = MALE_SIZE if person.sex == "M" else FEMALE_SIZE
    amplitude, fat_percent = _draw_signals(rng)
    skin_fat = SKIN_FAT_MM[0] + SKIN_FAT_PER_BMI_MM * (person.bmi - MEAN_BMI)
    skin_fat += SKIN_FAT_MM[1] * variation * rng.standard_normal()
    texture = (rng.uniform(0.15, 0.6), rng.uniform(0, 0.5), rng.uniform(3, 9))
    return Subject(
        label_map=label_map,
        participant=person,
        deformation=draw_deformation(rng, size, variation),
        growth_mm=_draw_growth(rng, label_map, person, variation),
        plane_mm=float(rng.uniform(*PLANE_MM)),
        skin_fat_mm=float(np.clip(skin_fat, *SKIN_FAT_LIMITS_MM)),
        muscle_fat_percent=_draw_muscle_fat(rng, person),
        other_fat_percent=float(rng.uniform(3, 18)),
        amplitude=amplitude,
        fat_percent=fat_percent,
        tubes=tuple(_draw_tubes(rng, label_map)),
        texture=(float(texture[0]), float(texture[1]), float(texture[2])),
        metal=_draw_metal(rng, label_map),
        seed=int(rng.integers(2**62)),
    )


def simplify_subject(rng: np.random.Generator, subject: Subject) -> Subject:
    """Omit structures that other simulators may lack: fat planes and vessels.

    Muscles then touch and differ only in their fat, which is drawn separately for each muscle.
    """
    return replace(
        subject,
        plane_mm=0.0,
        tubes=tuple(tube for tube in subject.tubes if tube.tissue in AIRWAYS),
        muscle_fat_percent=rng.uniform(*PLAIN_FAT_PERCENT, N_MUSCLES + 1).astype(np.float32),
        plain=True,
    )


def _draw_signals(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw one person's signal tables: brightness and fat per tissue, and all fatty tissues."""
    amplitude, fat_percent = signal_tables()
    spread = np.full(TABLE_SIZE, 0.15)
    spread[[*range(N_MUSCLES + 1), Tissue.OTHER_MUSCLE]] = 0.04  # water does not identify a muscle
    varied = amplitude * np.exp(spread * rng.standard_normal(TABLE_SIZE))
    fatty = fat_percent > 60
    varied[fatty] *= np.exp(0.2 * rng.standard_normal())
    shift = 4.0 * rng.standard_normal(TABLE_SIZE) * (fat_percent > 5)
    shift[Tissue.MARROW] *= 3
    return varied.astype(np.float32), np.clip(fat_percent + shift, 0, 97).astype(np.float32)


def _draw_growth(
    rng: np.random.Generator, label_map: LabelMap, person: Participant, variation: float
) -> NDArray[np.float32]:
    """Draw growth or wasting of each muscle, with small differences between the sides."""
    build = (0.35 if person.sex == "M" else -0.35) - 0.012 * (person.age - 40)
    build += 0.5 * variation * rng.standard_normal()
    growth = np.zeros(256, np.float32)
    shared = GROWTH_SD_MM * variation * rng.standard_normal(TABLE_SIZE)
    for code, tissue in enumerate(label_map.tissues):
        if 1 <= tissue <= N_MUSCLES or tissue == Tissue.OTHER_MUSCLE:
            pair = (int(tissue) + 1) // 2 if tissue <= N_MUSCLES else int(tissue)
            own = SIDE_GROWTH_SD_MM * variation * rng.standard_normal()
            least = -MOST_WASTED * label_map.half_thickness_mm[code]
            growth[code] = np.clip(build + shared[pair] + own, least, MOST_GROWN_MM)
    return growth


def _draw_muscle_fat(rng: np.random.Generator, person: Participant) -> NDArray[np.float32]:
    """Draw the fat fraction per muscle: as in the paper's cohort, and much higher in some."""
    fat = draw_fat_percent(rng, person)
    if rng.random() < FATTY_SHARE:
        factor = np.exp(rng.uniform(*np.log(FATTY_FACTOR)))
        own = np.exp(0.3 * rng.standard_normal(fat.shape))
        fat = (fat * (1 + (factor - 1) * own)).astype(np.float32)
    return np.clip(fat, LEAST_FAT_PERCENT, MOST_MUSCLE_FAT_PERCENT).astype(np.float32)


def _draw_metal(
    rng: np.random.Generator, label_map: LabelMap
) -> tuple[float, float, float, float] | None:
    wanted, radius_mm = rng.random() < METAL_SHARE, float(rng.uniform(*METAL_MM))
    if not wanted or not len(label_map.jaw_mm):
        return None
    x, y, z = (float(v) for v in label_map.jaw_mm[int(rng.integers(len(label_map.jaw_mm)))])
    return x, y, z, radius_mm


def _draw_tubes(rng: np.random.Generator, label_map: LabelMap) -> Iterator[Tube]:
    """Draw the airway in front of the spine, and carotid and jugular between spine and SCM.

    Tubes are only in slices in which the label map lacks the same kind of structure.
    """
    spine = label_map.spine

    def along(x_mm: float, y_mm: float) -> NDArray[np.float32]:
        return np.asarray(spine + np.array([x_mm, y_mm]), np.float32)

    airless, bloodless = (~label_map.slices_with(kinds) for kinds in (AIRWAYS, VESSELS))
    front = along(rng.normal(0, 1.5), rng.uniform(24, 32))
    yield Tube(Tissue.AIR, front, airless, (float(rng.uniform(5, 11)), float(rng.uniform(3, 8))))
    for side in (1.0, -1.0):
        out, fore = rng.uniform(24, 30), rng.uniform(10, 18)
        radius = float(rng.uniform(2.5, 3.8))
        yield Tube(Tissue.ARTERY, along(side * out, fore), bloodless, (radius, radius))
        jugular = along(side * (out + rng.uniform(5, 9)), fore + rng.uniform(-6, 1))
        radii = (float(rng.uniform(2, 7)), float(rng.uniform(2, 5)))
        yield Tube(Tissue.VEIN, jugular, bloodless, radii)


def change_subject(rng: np.random.Generator, subject: Subject) -> Subject:
    """Change the same person for a session some months later: new posture, slightly new fat."""
    again = draw_deformation(rng)
    kept = subject.deformation
    return replace(
        subject,
        deformation=replace(
            kept,
            whole=mix_angles(kept.whole, again.whole),
            nod=kept.nod + POSTURE_CHANGE * again.nod,
            tilt=kept.tilt + POSTURE_CHANGE * again.tilt,
            turn=kept.turn + POSTURE_CHANGE * again.turn,
        ),
        muscle_fat_percent=change_fat_percent(rng, subject.muscle_fat_percent),
    )


def mix_angles(
    kept: tuple[float, float, float], again: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Add a share of other angles to the angles.

    >>> mix_angles((1.0, 0.0, 0.0), (1.0, 0.0, -1.0))
    (1.4, 0.0, -0.4)
    """
    x, y, z = (a + POSTURE_CHANGE * b for a, b in zip(kept, again, strict=True))
    return x, y, z
