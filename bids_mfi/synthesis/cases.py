"""Phantom training cases, made on demand.

The seed alone determines a case. Axes are R, A, S.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bids_mfi.grid import Grid
from bids_mfi.synthesis.acquisition import (
    NOISE_RANGE,
    PHANTOM_PROTOCOLS,
    acquire_phantom,
    build_body,
    draw_scanner,
)
from bids_mfi.synthesis.composition import draw_fat_percent, draw_participant
from bids_mfi.synthesis.phantom import draw_shape
from bids_mfi.synthesis.protocol import PROTOCOLS

CASE_SHAPE = (160, 120, 40)
CASE_SPACING_MM = (1.4, 1.4, 3.0)
CENTRE_MM = (0.0, 10.0, -6.0)
CENTRE_RANGE_MM = (6.0, 8.0, 10.0)
SPACING_JITTER = 0.04
VARIED_SHAPE = ((120, 220), (96, 150), (24, 48))
VARIED_VARIATION = (0.7, 1.8)
# Real scans are finer than the model's grid and lose sharpness when they are resampled to it.
BLUR_VOXELS = (0.0, 0.55)
BLUR_FROM = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class TrainingCase:
    """One scan with its true labels.

    Attributes
    ----------
    in_phase, out_phase : ndarray of float32, shape (x, y, z)
        Magnitude images in arbitrary units.
    labels : ndarray of int16, shape (x, y, z)
        0 or 1 to 14, as in :data:`bids_mfi.muscles.WEBER2021`, over the muscles' whole length.
    grid : Grid
        Axes R, A, S.
    """

    in_phase: NDArray[np.float32]
    out_phase: NDArray[np.float32]
    labels: NDArray[np.int16]
    grid: Grid


def make_phantom_case(
    seed: int,
    spacing_mm: tuple[float, float, float] = CASE_SPACING_MM,
    shape: tuple[int, int, int] = CASE_SHAPE,
    variation: float = 1.0,
) -> TrainingCase:
    """Make one random scan.

    Parameters
    ----------
    seed : int
        The same seed and arguments give the same case.
    spacing_mm : tuple of float
        Nominal voxel size; that of the case differs by up to SPACING_JITTER.
    shape : tuple of int
        Voxels along x, y, z.
    variation : float
        Factor of the anatomical variation; 1 is that of simulated datasets.
    """
    rng = np.random.default_rng(seed)
    participant = draw_participant(rng)
    neck = draw_shape(rng, participant.sex, participant.bmi, variation)
    grid = _draw_grid(rng, spacing_mm, shape)
    body = build_body(rng, neck, draw_fat_percent(rng, participant), grid)
    scanner = draw_scanner(rng, PHANTOM_PROTOCOLS[int(rng.integers(len(PHANTOM_PROTOCOLS)))])
    in_phase, out_phase = _blur(
        acquire_phantom(rng, body, scanner), float(rng.uniform(*BLUR_VOXELS))
    )
    return TrainingCase(in_phase, out_phase, body.labels, grid)


def _blur(
    images: tuple[NDArray[np.float32], NDArray[np.float32]], sigma_voxels: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Smooth both images in plane, as resampling to coarser voxels does."""
    if sigma_voxels < BLUR_FROM:
        return images
    sigma = (sigma_voxels, sigma_voxels, 0.0)
    return gaussian_filter(images[0], sigma), gaussian_filter(images[1], sigma)


def make_varied_case(
    seed: int, spacing_mm: tuple[float, float, float] = CASE_SPACING_MM
) -> TrainingCase:
    """Make a case with a random field of view and more anatomical variation.

    A network that sees only whole volumes must not learn a single volume size, because the
    statistics of its normalisation depend on the amount of air.
    """
    rng = np.random.default_rng([seed, 1])
    shape = tuple(int(rng.integers(low, high + 1)) for low, high in VARIED_SHAPE)
    variation = float(rng.uniform(*VARIED_VARIATION))
    return make_phantom_case(seed, spacing_mm, (shape[0], shape[1], shape[2]), variation)


def describe_phantom_variety(spacing_mm: tuple[float, float, float]) -> tuple[tuple[str, str], ...]:
    """Say in words what :func:`make_varied_case` draws from, for the bundle learnt from it.

    Examples
    --------
    >>> dict(describe_phantom_variety((1.4, 1.4, 3.0)))["field_of_view_mm"]
    '168-308 x 134-210 x 72-144'
    """
    extents = (
        f"{size * low:.0f}-{size * high:.0f}"
        for size, (low, high) in zip(spacing_mm, VARIED_SHAPE, strict=True)
    )
    echoes = (
        "{:g} T in phase {:g} ms, out of phase {:g} ms".format(
            PROTOCOLS[name].field_strength_t, *PROTOCOLS[name].echo_times_ms
        )
        for name in PHANTOM_PROTOCOLS
    )
    return (
        ("data", "synthetic scans of the built-in phantom of the neck; no scan of a person"),
        ("anatomy", "{:g}-{:g} times the variation of simulated scans".format(*VARIED_VARIATION)),
        ("spacing_mm", f"{_times(spacing_mm)}, each varied by {100 * SPACING_JITTER:g} %"),
        ("field_of_view_mm", _times(extents)),
        ("orientation", "axial, upright but for the phantom's own posture; not oblique"),
        ("protocols", "; ".join(echoes)),
        ("noise_of_muscle_signal", "{:g}-{:g}".format(*NOISE_RANGE)),
    )


def _times(values: Iterable[object]) -> str:
    return " x ".join(str(value) for value in values)


def upright_grid(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    centre_mm: tuple[float, float, float],
) -> Grid:
    """Make a grid with axes R, A, S around a centre.

    Examples
    --------
    >>> upright_grid((3, 3, 3), (1.0, 1.0, 2.0), (0.0, 0.0, 5.0)).affine[2]
    (0.0, 0.0, 2.0, 3.0)
    """
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = np.array(centre_mm) - (np.array(shape) - 1) / 2 * np.array(spacing_mm)
    return Grid.from_array(shape, affine)


def _draw_grid(
    rng: np.random.Generator,
    spacing_mm: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> Grid:
    jitter = 1 + SPACING_JITTER * rng.uniform(-1, 1, 3)
    spacing = tuple(float(value) for value in np.array(spacing_mm) * jitter)
    moved = np.array(CENTRE_MM) + np.array(CENTRE_RANGE_MM) * rng.uniform(-1, 1, 3)
    centre = tuple(float(value) for value in moved)
    return upright_grid(shape, (spacing[0], spacing[1], spacing[2]),
                        (centre[0], centre[1], centre[2]))  # fmt: skip
