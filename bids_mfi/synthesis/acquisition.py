"""A two-point Dixon scan of a synthetic neck.

Tissue is sampled more finely than the voxels. The complex signals of water and fat add up within a
voxel, so partial volume is exact for this physics. With true water W and fat F,

    IP = W exp(-TE_ip / T2*_w) + F exp(-TE_ip / T2*_f)
    OOP = |W exp(-TE_oop / T2*_w) - F exp(-TE_oop / T2*_f)|

Both images are then weighted with the receive field and receive Rician noise. The magnitude of OOP
folds fat fractions at 50 %.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_mfi.grid import Grid
from bids_mfi.synthesis.composition import MOST_FAT, fat_texture
from bids_mfi.synthesis.phantom import NeckShape, paint_neck
from bids_mfi.synthesis.protocol import (
    PROTOCOLS,
    SCALE_RANGE,
    Scanner,
    echo_signal,
    log_receive_field,
)
from bids_mfi.synthesis.tissues import N_MUSCLES, TABLE_SIZE, Tissue, signal_tables

Floats = NDArray[np.float32]

AMPLITUDE_SD = 0.07
FAT_PERCENT_SD = 1.5
NOISE_RANGE = (0.015, 0.05)
FIELD_SD = 0.12
PHANTOM_PROTOCOLS = ("paper", "axial-3T", "axial-1.5T")
T2STAR_MS = {3.0: (32.0, 26.0), 1.5: (45.0, 36.0)}  # of water and fat, by field strength
LABEL_SHARE = 0.7


def draw_scanner(rng: np.random.Generator, protocol: str = PHANTOM_PROTOCOLS[0]) -> Scanner:
    """Draw noise, receive field and signal scale of a scanner with the protocol's echo times."""
    chosen = PROTOCOLS[protocol]
    water_ms, fat_ms = T2STAR_MS[chosen.field_strength_t]
    return Scanner(
        field_strength_t=chosen.field_strength_t,
        in_phase_ms=chosen.echo_times_ms[0],
        out_phase_ms=chosen.echo_times_ms[1],
        water_t2star_ms=water_ms,
        fat_t2star_ms=fat_ms,
        noise=float(rng.uniform(*NOISE_RANGE)),
        field=tuple(float(value) for value in FIELD_SD * rng.standard_normal(9)),
        scale=float(np.exp(rng.uniform(*np.log(SCALE_RANGE)))),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """True water and fat (float32, muscle = 1) and true labels (int16) on a grid."""

    water: Floats
    fat: Floats
    labels: NDArray[np.int16]

    @property
    def fat_percent(self) -> Floats:
        """True fat fraction; NaN outside tissue."""
        total = self.water + self.fat
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(total > 0, 100 * self.fat / total, np.nan).astype(np.float32)


def build_body(
    rng: np.random.Generator,
    shape: NeckShape,
    muscle_fat_percent: Floats,
    grid: Grid,
    subsamples: tuple[int, int, int] = (2, 2, 1),
) -> Body:
    """Compute a subject's true water, fat and labels on an upright RAS grid.

    Parameters
    ----------
    rng : Generator
        Source of the fat texture and of the signals of other tissues.
    shape : NeckShape
    muscle_fat_percent : ndarray of float32, shape (N_MUSCLES + 1,)
    grid : Grid
    subsamples : tuple of int
        Number of sampling points along each axis of a voxel.
    """
    fine = paint_neck(shape, refine_grid(grid, subsamples))
    parts = [fine[s] for s in _phases(subsamples)]
    amplitude, fat_percent = _draw_tables(rng)
    other_fat = _average(parts, (amplitude * fat_percent / 100).astype(np.float32))
    total = _average(parts, amplitude)
    muscle = np.where(np.arange(TABLE_SIZE) <= N_MUSCLES, amplitude, np.float32(0))
    muscle_table = np.zeros(TABLE_SIZE, np.float32)
    muscle_table[: N_MUSCLES + 1] = muscle[: N_MUSCLES + 1] * muscle_fat_percent / 100
    muscle_amount = _average(parts, muscle)
    muscle_fat = _average(parts, muscle_table) * fat_texture(rng, grid.shape, grid.spacing_mm)
    fat = other_fat + np.minimum(muscle_fat, MOST_FAT * muscle_amount)
    return Body(total - fat, fat, majority_labels(parts))


def refine_grid(grid: Grid, subsamples: tuple[int, int, int]) -> Grid:
    """Subdivide the voxels of a grid.

    Examples
    --------
    >>> eye = ((2.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0))
    >>> refine_grid(Grid((3, 3, 3), eye), (2, 1, 1)).affine[0]
    (1.0, 0.0, 0.0, -0.5)
    """
    factor = np.array(subsamples, np.float64)
    affine = grid.matrix
    affine[:3, 3] = (grid.matrix @ np.append((1 - factor) / (2 * factor), 1.0))[:3]
    affine[:3, :3] = grid.matrix[:3, :3] / factor
    shape = tuple(int(n * f) for n, f in zip(grid.shape, subsamples, strict=True))
    return Grid.from_array(shape, affine)


def _phases(subsamples: tuple[int, int, int]) -> list[tuple[slice, slice, slice]]:
    x, y, z = subsamples
    return [
        (slice(i, None, x), slice(j, None, y), slice(k, None, z))
        for i in range(x)
        for j in range(y)
        for k in range(z)
    ]


def _average(parts: list[NDArray[np.uint8]], table: Floats) -> Floats:
    total = np.zeros(parts[0].shape, np.float32)
    for part in parts:
        total += table[part]
    total /= np.float32(len(parts))
    return total


def majority_labels(parts: list[NDArray[np.uint8]]) -> NDArray[np.int16]:
    """Label each voxel with the muscle at LABEL_SHARE or more of its points, otherwise with 0.

    Like raters, the function omits voxels that are mostly fascia.

    Parameters
    ----------
    parts : list of ndarray of uint8, all of the same shape
        Tissue at the sampling points of each voxel.

    Examples
    --------
    >>> points = [np.array(p, np.uint8) for p in ([3, 3], [3, 5], [3, 5], [22, 3])]
    >>> majority_labels(points).tolist()
    [3, 0]
    """
    labels = np.zeros(parts[0].shape, np.uint8)
    most = np.full(parts[0].shape, np.ceil(LABEL_SHARE * len(parts)) - 1, np.uint8)
    for index, part in enumerate(parts):
        count = np.zeros(part.shape, np.uint8)
        for other in parts[index:]:
            count += other == part
        better = (count > most) & (part >= 1) & (part <= N_MUSCLES)
        labels[better] = part[better]
        most[better] = count[better]
    return labels.astype(np.int16)


def _draw_tables(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the signal tables of one subject, with small deviations per tissue."""
    amplitude, fat_percent = signal_tables()
    others = np.arange(TABLE_SIZE) > N_MUSCLES
    varied = amplitude * np.exp(AMPLITUDE_SD * others * rng.standard_normal(TABLE_SIZE))
    shift = FAT_PERCENT_SD * rng.standard_normal(TABLE_SIZE) * (fat_percent > 5)
    shift[Tissue.SUBCUTANEOUS_FAT] = min(shift[Tissue.SUBCUTANEOUS_FAT], 4.0)
    return varied.astype(np.float32), np.clip(fat_percent + shift, 0, 99).astype(np.float32)


def receive_field(shape: tuple[int, int, int], coefficients: tuple[float, ...]) -> Floats:
    """Compute the receive sensitivity of the phantom's scanner; see :func:`log_receive_field`."""
    ends = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    return np.exp(log_receive_field(np.meshgrid(*ends, indexing="ij", sparse=True), coefficients))


def acquire_phantom(
    rng: np.random.Generator, body: Body, scanner: Scanner
) -> tuple[Floats, Floats]:
    """Acquire in-phase and out-of-phase magnitude images in the scanner's units.

    Returns
    -------
    in_phase, out_phase : ndarray of float32, shape of the body
    """
    sensitivity = receive_field(body.labels.shape, scanner.field)
    images = []
    for echo_ms, cosine in ((scanner.in_phase_ms, 1.0), (scanner.out_phase_ms, -1.0)):
        real, imaginary = (
            part * sensitivity + scanner.noise * rng.standard_normal(part.shape, dtype=np.float32)
            for part in echo_signal(body.water, body.fat, scanner, echo_ms, cosine)
        )
        images.append(np.float32(scanner.scale) * np.hypot(real, imaginary))
    return images[0], images[1]
