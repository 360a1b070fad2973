"""Random scans of the anatomy of label maps.

The seed of a scan determines its label map, person, protocol and field of view.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bids_mfi.grid import Grid, resampled_grid, resize_linear
from bids_mfi.synthesis.acquisition import Body
from bids_mfi.synthesis.cases import TrainingCase
from bids_mfi.synthesis.composition import Participant
from bids_mfi.synthesis.deformation import rotation_matrix, transform_points
from bids_mfi.synthesis.labelmap import LabelMap
from bids_mfi.synthesis.levels import find_level_slices, restrict_to_levels
from bids_mfi.synthesis.painting import TissueVolume, fill_grid
from bids_mfi.synthesis.protocol import (
    PROTOCOLS,
    VARIED,
    ScanSettings,
    acquire,
    describe_protocol,
    draw_protocol,
    draw_settings,
    noise_range,
)
from bids_mfi.synthesis.randomised import (
    describe_ranges,
    randomise_settings,
    randomise_subject,
)
from bids_mfi.synthesis.subject import Subject, draw_subject, simplify_subject

# Distance from the spine back to the edge of the field of view, and limits of its centre, in mm.
BEHIND_MM = (72.0, 110.0)
MIDDLE_X_MM, MIDDLE_Z_MM = 8.0, 14.0
SUBSAMPLE_MM = 1.2
VARIATION = (0.3, 1.0)
PLAIN_SHARE = 0.1
RANDOMISED = "randomised"  # a protocol in addition to VARIED and the named ones
BAND_EDGE_MM, BAND_LABELLED = 2.0, 0.3
# Standard deviation of the noise in an acquired voxel, muscle = 1.
QUIET_NOISE = 0.04
STRONG_NOISE = (0.01, 0.36)


@dataclass(frozen=True, slots=True, eq=False)
class AnatomicalScan:
    """One scan on its own upright or oblique grid with axes R, A, S.

    Attributes
    ----------
    in_phase, out_phase : ndarray of float32
        Magnitudes in the scanner's units.
    body : Body
        True water, fat and labels.
    grid : Grid
    settings : ScanSettings
    participant : Participant
    """

    in_phase: NDArray[np.float32]
    out_phase: NDArray[np.float32]
    body: Body
    grid: Grid
    settings: ScanSettings
    participant: Participant


def make_scan(
    rng: np.random.Generator,
    subject: Subject,
    settings: ScanSettings,
    levels: str = "all",
    least_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    device: torch.device | str = "cpu",
) -> AnatomicalScan:
    """Scan a subject.

    Parameters
    ----------
    rng : Generator
        Source of the field of view and of the noise.
    subject : Subject
    settings : ScanSettings
    levels : str
        ``all`` labels muscles over their whole length; ``paper`` only at the levels of the label
        map's table; ``vertebrae`` is ``all`` plus vertebral bodies.
    least_mm : tuple of float
        Minimum voxel size; finer axes are simulated at this size, see :func:`coarsen`.
    device : torch.device
        Device for the computation.
    """
    grid = draw_grid(rng, settings, least_mm)
    seen = coarsen(settings, grid)
    volume = paint(subject, grid, settings, device, vertebrae=levels == "vertebrae")
    in_phase, out_phase = acquire(rng, volume, seen)
    labels = volume.labels.cpu().numpy().astype(np.int16)
    if levels == "paper":
        slices = find_level_slices(subject, grid)
        labels = restrict_to_levels(labels, grid, slices, subject.label_map.table)
    return AnatomicalScan(
        in_phase=in_phase.cpu().numpy(),
        out_phase=out_phase.cpu().numpy(),
        body=Body(volume.water.cpu().numpy(), volume.fat.cpu().numpy(), labels),
        grid=grid,
        settings=settings,
        participant=subject.participant,
    )


def paint(
    subject: Subject,
    grid: Grid,
    settings: ScanSettings,
    device: torch.device | str,
    vertebrae: bool = False,
) -> TissueVolume:
    """Compute a subject's tissue in the voxels of a grid, with the fat brightness of the scan."""
    volume = fill_grid(subject, grid, choose_subsamples(grid.spacing_mm), device, vertebrae)
    painted = TissueVolume(volume.water, volume.fat * settings.fat_gain, volume.labels)
    if settings.saturation_band_mm is None:
        return painted
    return saturate_front(painted, grid, settings.saturation_band_mm)


def saturate_front(volume: TissueVolume, grid: Grid, band_mm: float) -> TissueVolume:
    """Suppress the signal in front of the position where a saturation band begins.

    Muscle with less than BAND_LABELLED of its signal carries no label.
    """
    indices = torch.meshgrid(*(torch.arange(n) for n in grid.shape), indexing="ij")
    ahead = transform_points(grid.matrix, torch.stack(indices).float())[1].to(volume.water.device)
    left = torch.sigmoid((band_mm - ahead) / BAND_EDGE_MM).float()
    labels = torch.where(left < BAND_LABELLED, 0, volume.labels)
    return TissueVolume(volume.water * left, volume.fat * left, labels)


def coarsen(settings: ScanSettings, grid: Grid) -> ScanSettings:
    """Convert settings to a coarser grid than the scan's own: distances in voxels, less noise.

    The noise is that of averaged complex signals. In air and dark tissue it gives a lower floor
    than magnitudes of finer voxels do.
    """
    finer = np.minimum(np.array(settings.spacing_mm) / np.array(grid.spacing_mm), 1)
    return replace(
        settings,
        noise=settings.noise * float(np.sqrt(finer.prod())),
        chemical_shift_voxels=settings.chemical_shift_voxels * float(finer[settings.readout_axis]),
        motion_voxels=settings.motion_voxels * float(finer[settings.phase_axis]),
    )


def choose_subsamples(spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """Choose 2 to 4 sampling points along each axis of a voxel, about one per SUBSAMPLE_MM.

    >>> choose_subsamples((0.7, 1.4, 5.0))
    (2, 2, 4)
    """
    x, y, z = (int(np.clip(np.rint(size / SUBSAMPLE_MM), 2, 4)) for size in spacing_mm)
    return x, y, z


def draw_grid(
    rng: np.random.Generator,
    settings: ScanSettings,
    least_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Grid:
    """Place the field of view around the neck with axes R, A, S, rotated as the settings state."""
    spacing = np.maximum(settings.spacing_mm, least_mm)
    shape = np.maximum(np.rint(np.array(settings.coverage_mm) / spacing), 8).astype(int)
    extent = shape * spacing
    centre = np.array([
        MIDDLE_X_MM * rng.uniform(-1, 1),
        -rng.uniform(*BEHIND_MM) + extent[1] / 2,
        MIDDLE_Z_MM * rng.uniform(-1, 1) - 4.0,
    ])  # fmt: skip
    if settings.middle_z_mm is not None:
        centre[2] = settings.middle_z_mm
    x, y, z = np.deg2rad(settings.turn_degrees)
    affine = np.eye(4)
    affine[:3, :3] = rotation_matrix((float(x), float(y), float(z))) * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid.from_array(tuple(int(n) for n in shape), affine)


def make_case(
    maps: Sequence[LabelMap],
    seed: int,
    spacing_mm: tuple[float, float, float],
    protocol: str = VARIED,
    levels: str = "all",
    device: torch.device | str = "cpu",
) -> TrainingCase:
    """Make one random scan on the grid of a network.

    Parameters
    ----------
    maps : sequence of LabelMap
        Label maps to draw from.
    seed : int
        The same seed and arguments give the same case.
    spacing_mm : tuple of float
        Voxel size of the network's grid. Finer axes of a scan are simulated directly at this size;
        coarser ones are resampled, as in a real scan.
    protocol : str
        One of PROTOCOLS, ``varied``, or ``randomised`` for persons and scans from much wider
        ranges.
    levels : str
        See :func:`make_scan`.
    """
    rng = np.random.default_rng(seed)
    subject, settings = draw_case(rng, maps, seed, protocol)
    scan = make_scan(rng, subject, settings, levels, spacing_mm, device)
    return resample_case(scan, spacing_mm)


def draw_case(
    rng: np.random.Generator, maps: Sequence[LabelMap], seed: int, protocol: str
) -> tuple[Subject, ScanSettings]:
    """Draw the subject and the scan settings; ``protocol`` as for :func:`make_case`."""
    label_map = maps[int(rng.integers(len(maps)))]
    subject = draw_subject(rng, label_map, variation=float(rng.uniform(*VARIATION)))
    own = np.random.default_rng([seed, 3])
    if own.random() < PLAIN_SHARE:
        subject = simplify_subject(own, subject)
    named = VARIED if protocol == RANDOMISED else protocol
    settings = draw_settings(rng, draw_protocol(rng, named))
    if protocol == RANDOMISED:
        subject = randomise_subject(own, subject)
        settings = randomise_settings(own, settings, label_map)
    return subject, settings


def make_noise_pair(
    maps: Sequence[LabelMap],
    seed: int,
    spacing_mm: tuple[float, float, float],
    protocol: str = VARIED,
    device: torch.device | str = "cpu",
) -> tuple[TrainingCase, TrainingCase]:
    """Scan one person twice, with at most QUIET_NOISE and with noise from STRONG_NOISE.

    Both scans have their own voxel size and are resampled as at inference, so that air and dark
    tissue keep the noise floor of magnitudes.

    Parameters
    ----------
    maps : sequence of LabelMap
        Label maps to draw from.
    seed : int
        The same seed and arguments give the same pair.
    spacing_mm : tuple of float
        Voxel size of the network's grid.
    protocol : str
        As for :func:`make_case`.

    Returns
    -------
    quiet, noisy : TrainingCase
        The two cases differ only in the noise.
    """
    rng = np.random.default_rng(seed)
    subject, settings = draw_case(rng, maps, seed, protocol)
    grid = draw_grid(rng, settings)
    volume = paint(subject, grid, settings, device)
    water, fat, labels = (part.cpu().numpy() for part in (volume.water, volume.fat, volume.labels))
    body = Body(water, fat, labels.astype(np.int16))
    strong = float(np.random.default_rng([seed, 4]).uniform(*STRONG_NOISE))
    pair = []
    for noise in (min(settings.noise, QUIET_NOISE), strong):
        seen = replace(settings, noise=noise)
        first, second = (image.cpu().numpy() for image in acquire(rng, volume, seen))
        scan = AnatomicalScan(first, second, body, grid, seen, subject.participant)
        pair.append(resample_case(scan, spacing_mm))
    return pair[0], pair[1]


def resample_case(scan: AnatomicalScan, spacing_mm: tuple[float, float, float]) -> TrainingCase:
    """Resample a scan with axes R, A, S to about ``spacing_mm``; labels take the nearest voxel."""
    grid = resampled_grid(scan.grid, spacing_mm)
    nearest = tuple(
        np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(int)
        for new, old in zip(grid.shape, scan.grid.shape, strict=True)
    )
    return TrainingCase(
        resize_linear(scan.in_phase, grid.shape),
        resize_linear(scan.out_phase, grid.shape),
        np.ascontiguousarray(scan.body.labels[np.ix_(*nearest)]),
        grid,
    )


def describe_variety(
    paths: Sequence[Path], spacing_mm: tuple[float, float, float], randomised_share: float
) -> tuple[tuple[str, str], ...]:
    """Say in words what :func:`make_case` draws from, for the bundle learnt from it."""
    maps = ", ".join(
        f"{path.name} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()})" for path in paths
    )
    return (
        ("data", f"synthetic scans of the anatomy of the label map {maps}; no scan of a person"),
        ("anatomy", "{:g}-{:g} times the variation of simulated scans".format(*VARIATION)),
        ("plain", f"{100 * PLAIN_SHARE:g} % of persons without fat planes and vessels"),
        ("randomised", f"{100 * randomised_share:g} % of these scans: {describe_ranges()}"),
        ("spacing_mm", " x ".join(f"{size:g}" for size in spacing_mm)),
        ("protocols", "; ".join(describe_protocol(p) for p in PROTOCOLS.values())),
        ("noise_of_muscle_signal", "{:g}-{:g}".format(*noise_range())),
    )
