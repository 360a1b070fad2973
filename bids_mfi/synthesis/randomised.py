"""Persons and scans for training, with more variation than those of any site.

A network trained on everything that could occur generalises to what does occur (domain
randomisation: Billot et al. 2023, doi:10.1016/j.media.2023.102789). Muscles have the volumes of
people. Wide ranges apply to the brightness and fat of other tissues, planes between muscles, septa
within them, coils, resolution and field of view.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from bids_mfi.synthesis.deformation import Deformation, Girth, reach, widen_girth
from bids_mfi.synthesis.labelmap import LabelMap
from bids_mfi.synthesis.protocol import ScanSettings
from bids_mfi.synthesis.subject import Subject
from bids_mfi.synthesis.tissues import N_MUSCLES, TABLE_SIZE, Tissue
from bids_mfi.synthesis.volumes import draw_volumes_ml, measure_outline, solve_growth

MOST_WASTED = 0.7
SIZE = (0.92, 1.16)
ASPECT = (0.92, 1.09)
LONG_WAVES, SHORT_WAVES = (1.0, 3.0), (1.0, 2.5)  # times those of other persons
# Lateral and posterior extent of the muscles from the spine, independent of the label map; change
# of the front as a share of the map's own extent; backward rotation of the sides.
LATERAL_MM, BEHIND_MM = (43.0, 68.0), (47.0, 74.0)
FRONT, TURN_DEGREES = (-0.15, 0.25), (-10.0, 26.0)
PLANE_MM = (0.05, 1.8)
FASCIA_SHARE = 0.6
FASCIA_AMPLITUDE, FASCIA_FAT_PERCENT = (0.1, 1.0), (0.0, 70.0)
SKIN_FAT_MM = (1.6, 27.0)
AMPLITUDE_SD = 0.3
FAT_GAIN = (0.4, 1.4)
SKIN_GAIN = (0.35, 1.3)
# Fat in tissues that are not muscle and not known to be fat or water.
ANY_FAT_PERCENT: dict[Tissue, tuple[float, float]] = {
    Tissue.LOOSE_TISSUE: (5.0, 95.0),
    Tissue.MARROW: (10.0, 90.0),
    Tissue.SALIVARY_GLAND: (2.0, 60.0),
    Tissue.TONGUE: (2.0, 40.0),
    Tissue.SKIN: (0.0, 60.0),
    Tissue.CORTICAL_BONE: (0.0, 60.0),
}
GRAIN_SD, GRAIN_MM = (0.0, 0.22), (1.2, 7.0)
SEPTA_SHARE = 0.6
SEPTUM_WATER, SEPTUM_FAT = (0.0, 0.7), (0.0, 0.4)
SEPTUM_WIDTH, SEPTUM_MM = (0.08, 0.3), (3.0, 9.0)
CAPPED_SHARE = 0.6
LEAN_SHARE = 0.3  # persons with reduced muscle fat

COIL_SHARE, MOST_COILS = 0.75, 8
COIL_RATIO = (1.2, 7.0)
COIL_REACH = (0.3, 1.2)
BLUR_SHARE, BLUR_VOXELS = 0.4, (0.3, 1.0)
RINGING_SHARE, KEPT_FREQUENCIES = 0.15, (0.5, 0.9)
SATURATED_SHARE, SATURATED = 0.15, (0.002, 0.08)
MASKED_SHARE = 0.25
BAND_SHARE, BAND_MM = 0.12, (20.0, 75.0)
NARROW_SHARE, NARROW_MM = 0.65, ((110.0, 240.0), (100.0, 180.0))
SLAB_SHARE, SLAB_MM = 0.2, (24.0, 70.0)
THICK_SHARE, THICK_MM = 0.25, (4.0, 8.0)
# The field of view may extend above the top of a map, where a cap may be, and slightly below its
# bottom, where its lowest slice repeats.
ABOVE_MM, BELOW_MM = 45.0, 4.0


def randomise_subject(rng: np.random.Generator, subject: Subject) -> Subject:
    """Give a person muscles with the volumes of people, and tissues of any appearance.

    Parameters
    ----------
    rng : Generator
    subject : Subject
        Keeps its posture, warps, age, sex, vessels and metal, and in most cases its muscle fat.
    """
    deformation, size = _resize(rng, subject)
    plane_mm = _log_uniform(rng, PLANE_MM)
    amplitude, fat_percent = _draw_signals(rng, subject)
    drawn = replace(
        subject,
        deformation=deformation,
        plane_mm=plane_mm,
        skin_fat_mm=_log_uniform(rng, SKIN_FAT_MM),
        most_wasted=MOST_WASTED,
        amplitude=amplitude,
        fat_percent=fat_percent,
        fascia_share=float(rng.uniform(0, 1)) if rng.random() < FASCIA_SHARE else 0.0,
        grain=(float(rng.uniform(*GRAIN_SD)), float(rng.uniform(*GRAIN_MM))),
        septa=_draw_septa(rng),
        capped=bool(rng.random() < CAPPED_SHARE),
    )
    growth_mm = _fit_growth(rng, drawn, size)
    kept = float(rng.uniform(0, 1)) if rng.random() < LEAN_SHARE else 1.0
    return replace(
        drawn,
        growth_mm=growth_mm,
        muscle_fat_percent=(kept * drawn.muscle_fat_percent).astype(np.float32),
        other_fat_percent=kept * drawn.other_fat_percent,
    )


def _resize(rng: np.random.Generator, subject: Subject) -> tuple[Deformation, NDArray[np.float64]]:
    """Draw a deformation from wider size and girth ranges, and each muscle's relative volume."""
    common = rng.uniform(*SIZE)
    factors = common * rng.uniform(*ASPECT, 3)
    x, y, z = (float(s * f) for s, f in zip(subject.deformation.scale, factors, strict=True))
    long, short = subject.deformation.waves
    stronger = np.float32(rng.uniform(*SHORT_WAVES))
    farther = np.float32(rng.uniform(*LONG_WAVES))
    waves = ((long[0], long[1], farther * long[2]), (short[0], short[1], stronger * short[2]))
    girth = _draw_girth(rng, subject.label_map, (x, y))
    enlarged = x * y * z * _enlarge_muscles(subject.label_map, girth)
    return replace(subject.deformation, scale=(x, y, z), waves=waves, girth=girth), enlarged


def _draw_girth(rng: np.random.Generator, label_map: LabelMap, scale: tuple[float, float]) -> Girth:
    outline = measure_outline(label_map)
    return Girth(
        lateral=float(rng.uniform(*LATERAL_MM) / (outline.lateral_mm * scale[0]) - 1),
        behind=float(rng.uniform(*BEHIND_MM) / (outline.behind_mm * scale[1]) - 1),
        front=float(rng.uniform(*FRONT)),
        turn=float(np.deg2rad(rng.uniform(*TURN_DEGREES))),
    )


def _enlarge_muscles(label_map: LabelMap, girth: Girth) -> NDArray[np.float64]:
    """Estimate each muscle's area relative to the map for a different girth, at its centre."""
    x, y = measure_outline(label_map).centre_mm.T
    angle, distance = torch.from_numpy(np.arctan2(x, -y)), torch.from_numpy(np.hypot(x, y))
    return np.asarray((1 + reach(distance) * widen_girth(girth, angle)) ** 2)


def _fit_growth(
    rng: np.random.Generator, subject: Subject, size: NDArray[np.float64]
) -> NDArray[np.float32]:
    label_map = subject.label_map
    volumes = draw_volumes_ml(rng, label_map, size)
    most_wasted = (MOST_WASTED * label_map.half_thickness_mm).astype(np.float32)
    return solve_growth(
        label_map, volumes, subject.growth_mm, most_wasted, 0.7 * subject.plane_mm
    )  # fmt: skip


def _draw_signals(
    rng: np.random.Generator, subject: Subject
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    amplitude, fat_percent = subject.amplitude.copy(), subject.fat_percent.copy()
    muscle = [*range(N_MUSCLES + 1), int(Tissue.OTHER_MUSCLE)]
    spread = np.full(TABLE_SIZE, AMPLITUDE_SD)
    spread[muscle] = 0
    amplitude *= np.exp(spread * rng.standard_normal(TABLE_SIZE)).astype(np.float32)
    for tissue, limits in ANY_FAT_PERCENT.items():
        drawn = rng.uniform(*limits)
        if rng.random() < 0.6:
            fat_percent[tissue] = drawn
    fatty = fat_percent > 60
    amplitude[fatty] *= np.float32(_log_uniform(rng, FAT_GAIN))
    amplitude[Tissue.SUBCUTANEOUS_FAT] *= np.float32(_log_uniform(rng, SKIN_GAIN))
    amplitude[Tissue.FASCIA] = rng.uniform(*FASCIA_AMPLITUDE)
    fat_percent[Tissue.FASCIA] = rng.uniform(*FASCIA_FAT_PERCENT)
    return amplitude, fat_percent


def _draw_septa(rng: np.random.Generator) -> tuple[float, float, float, float]:
    drawn = (
        float(rng.uniform(*SEPTUM_WATER)),
        float(rng.uniform(*SEPTUM_FAT)),
        float(rng.uniform(*SEPTUM_WIDTH)),
        float(rng.uniform(*SEPTUM_MM)),
    )
    return drawn if rng.random() < SEPTA_SHARE else (0.0, 0.0, *drawn[2:])


def randomise_settings(
    rng: np.random.Generator, settings: ScanSettings, label_map: LabelMap
) -> ScanSettings:
    """Draw arbitrary coils, resolution, signal range and field of view for a scan."""
    coverage, middle_z = _draw_view(rng, settings, label_map)
    normal = {"axial": 2, "coronal": 1, "sagittal": 0}[settings.plane]
    spacing = list(settings.spacing_mm)
    if rng.random() < THICK_SHARE:
        spacing[normal] = float(rng.uniform(*THICK_MM))
    blur = float(rng.uniform(*BLUR_VOXELS)) if rng.random() < BLUR_SHARE else 0.0
    kept = float(rng.uniform(*KEPT_FREQUENCIES)) if rng.random() < RINGING_SHARE else 1.0
    saturated = _log_uniform(rng, SATURATED) if rng.random() < SATURATED_SHARE else 0.0
    return replace(
        settings,
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        coverage_mm=coverage,
        middle_z_mm=middle_z,
        coils=_draw_coils(rng),
        coil_ratio=_log_uniform(rng, COIL_RATIO) if rng.random() < COIL_SHARE else 1.0,
        blur_voxels=blur,
        kept_frequencies=kept,
        saturated_share=saturated,
        masked=bool(rng.random() < MASKED_SHARE),
        saturation_band_mm=float(rng.uniform(*BAND_MM)) if rng.random() < BAND_SHARE else None,
    )


def _draw_coils(rng: np.random.Generator) -> tuple[tuple[float, float, float, float], ...]:
    """Draw coils around the neck, most of them behind it."""
    coils = []
    for _ in range(int(rng.integers(1, MOST_COILS + 1))):
        angle = rng.normal(-np.pi / 2, 1.0)  # 0 is right, -pi/2 behind
        reach = float(rng.uniform(*COIL_REACH))
        coils.append((
            float(0.8 * np.cos(angle)), float(0.9 * np.sin(angle)), float(rng.uniform(-1, 1)), reach
        ))  # fmt: skip
    return tuple(coils)


def _draw_view(
    rng: np.random.Generator, settings: ScanSettings, label_map: LabelMap
) -> tuple[tuple[float, float, float], float]:
    """Draw the extent of the field of view and the height of its centre."""
    x, y, z = settings.coverage_mm
    if rng.random() < NARROW_SHARE:
        x, y = (float(rng.uniform(*limits)) for limits in NARROW_MM)
    if rng.random() < SLAB_SHARE:
        z = float(rng.uniform(*SLAB_MM))
    bottom = float(label_map.affine[2, 3]) - BELOW_MM
    height = float(label_map.affine[2, 2]) * label_map.packed.shape[2] + BELOW_MM
    highest = bottom + height + (ABOVE_MM if rng.random() < 0.3 else 6.0)
    z = min(z, highest - bottom)
    return (x, y, z), float(rng.uniform(bottom + z / 2, highest - z / 2))


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def describe_ranges() -> str:
    """Say in words what persons and scans are drawn from.

    >>> describe_ranges().split("; ")[0]
    'muscles with the volumes of people'
    """
    parts = (
        "muscles with the volumes of people",
        "size {:g}-{:g}".format(*SIZE),
        "planes {:g}-{:g} mm".format(*PLANE_MM),
        "subcutaneous fat {:g}-{:g} mm".format(*SKIN_FAT_MM),
        f"{100 * LEAN_SHARE:g} % with less fat in their muscles, down to none",
        f"{100 * COIL_SHARE:g} % with coils that differ by {COIL_RATIO[0]:g}-{COIL_RATIO[1]:g}",
        f"{100 * NARROW_SHARE:g} % with narrow fields of view",
        f"{100 * SLAB_SHARE:g} % slabs of {SLAB_MM[0]:g}-{SLAB_MM[1]:g} mm",
        f"{100 * THICK_SHARE:g} % with slices of {THICK_MM[0]:g}-{THICK_MM[1]:g} mm",
        "tissues, septa, fascia, resolution and range varied",
    )
    return "; ".join(parts)
