"""Scan protocols of two-point Dixon imaging, and the effects of a scanner on water and fat.

At echo time TE, water W and fat F of a voxel give the signal

    S = | (W exp(-TE / T2*_w) + F exp(-TE / T2*_f) exp(i 2 pi df TE)) C + noise |

where df is 3.4 ppm of the imaging frequency. The echo times alone therefore determine how well the
two are in or out of phase. The magnitude of the out-of-phase image folds fat fractions at 50 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.measure.dixon import phase_cosine
from bids_mfi.synthesis.noise import shift_linear, torch_generator
from bids_mfi.synthesis.painting import TissueVolume

# Values of one manufacturer's scanners; the fields are 2.89 T and 1.49 T.
IMAGING_FREQUENCY_MHZ = {3.0: 123.25, 1.5: 63.68}
ECHO_TIME_JITTER = 0.015
SCALE_RANGE = (150.0, 600.0)
BODY_SIGNAL = 0.1  # muscle = 1
MOST_SAMPLES = 100_000  # for a quantile
Range = tuple[float, float]
Volume = TypeVar("Volume", NDArray[np.float32], Tensor)


@dataclass(frozen=True, slots=True)
class Protocol:
    """Scan protocol of a site; each scan draws values from its ranges.

    Attributes
    ----------
    name : str
    field_strength_t : float
    echo_times_ms : tuple of float
        In phase, out of phase.
    plane : str
        ``axial``, ``coronal`` or ``sagittal``: the plane of the slices.
    in_plane_mm, slice_mm : tuple of float
        Voxel size.
    coverage_mm : tuple of tuple of float
        Extent of the field of view along x, y and z of the body.
    oblique_degrees : float
        Standard deviation of the slab's rotation about each axis.
    noise : tuple of float
        Standard deviation of the noise in an acquired voxel, muscle = 1.
    t2star_ms : tuple of tuple of float
        T2* of water and of fat.
    fat_gain : tuple of float
        Brightness of fat relative to the signal tables, from T1 weighting.
    field_sd : tuple of float
        Standard deviation of the coefficients of the receive field's logarithm.
    artefact_share : float
        Share of scans with motion blur and ghosts.
    """

    name: str
    field_strength_t: float
    echo_times_ms: tuple[float, float]
    plane: str = "axial"
    in_plane_mm: Range = (0.7, 0.7)
    slice_mm: Range = (3.0, 3.0)
    coverage_mm: tuple[Range, Range, Range] = ((220, 320), (165, 215), (96, 132))
    oblique_degrees: float = 2.5
    noise: Range = (0.02, 0.06)
    t2star_ms: tuple[Range, Range] = ((24.0, 36.0), (20.0, 30.0))
    fat_gain: Range = (0.8, 1.25)
    field_sd: Range = (0.05, 0.2)
    artefact_share: float = 0.1


_T2STAR_1_5T_MS = ((34.0, 52.0), (28.0, 42.0))  # water, fat

# Echo times: 3 T, 2.46 and 3.69 or 1.23 ms; 1.5 T, 4.77 and 2.39 ms. The first is the paper's.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("paper", 3.0, (2.46, 3.69)),
        Protocol("axial-3T", 3.0, (2.46, 1.23), in_plane_mm=(0.5, 1.2), slice_mm=(2.0, 4.0),
                 oblique_degrees=4.0),
        Protocol("axial-1.5T", 1.5, (4.77, 2.39), in_plane_mm=(0.8, 1.2), slice_mm=(3.0, 5.0),
                 oblique_degrees=4.0, noise=(0.04, 0.1), t2star_ms=_T2STAR_1_5T_MS),
        Protocol("coronal-3T", 3.0, (2.46, 1.23), "coronal", (0.8, 1.2), (2.0, 4.0),
                 ((230, 320), (120, 180), (110, 150)), 5.0),
        Protocol("coronal-1.5T", 1.5, (4.77, 2.39), "coronal", (1.0, 1.2), (3.0, 5.0),
                 ((230, 320), (120, 180), (110, 150)), 5.0, (0.05, 0.11),
                 t2star_ms=_T2STAR_1_5T_MS, artefact_share=0.3),
        Protocol("sagittal-3T", 3.0, (2.46, 3.69), "sagittal", (0.7, 1.1), (2.0, 4.0),
                 ((120, 190), (165, 230), (110, 150)), 4.0),
        Protocol("isotropic-3T", 3.0, (2.46, 1.23), "sagittal", (0.9, 1.2), (1.0, 1.6),
                 ((150, 240), (165, 230), (110, 150)), 4.0, (0.04, 0.09)),
    )
}  # fmt: skip
VARIED = "varied"
NOISE_VARIED = (0.5, 1.5)
_VARIED_SHARES = {
    "paper": 0.3, "axial-3T": 0.24, "axial-1.5T": 0.16, "coronal-3T": 0.09, "coronal-1.5T": 0.05,
    "sagittal-3T": 0.09, "isotropic-3T": 0.07,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """Effects of any scanner, including the phantom's, on water and fat.

    Attributes
    ----------
    field_strength_t : float
    in_phase_ms, out_phase_ms : float
        Echo times.
    water_t2star_ms, fat_t2star_ms : float
    noise : float
        Standard deviation of the noise in the real and the imaginary channel, muscle = 1.
    field : tuple of float
        Coefficients of the receive field's logarithm, see :func:`log_receive_field`.
    scale : float
        Signal of muscle in the scanner's units.
    """

    field_strength_t: float
    in_phase_ms: float
    out_phase_ms: float
    water_t2star_ms: float
    fat_t2star_ms: float
    noise: float
    field: tuple[float, ...]
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSettings(Scanner):
    """One scan of a protocol, with a value from each range.

    The attributes are those of :class:`Scanner` and :class:`Protocol`, and:
    ``chemical_shift_voxels``, the shift of fat along ``readout_axis``;
    ``motion_voxels``, the movement of the body back and forth along ``phase_axis``; ``ghost`` and
    ``ghost_share``, the strength of a ghost and its distance as a share of the field of view;
    ``middle_z_mm``, the height of the field of view's centre, drawn with it if None;
    ``coils``, the position of each surface coil along x, y and z, in half fields of view from the
    centre, and its reach; ``coil_ratio``, the ratio of the highest to the lowest coil sensitivity
    in the body, 1 for uniform sensitivity;
    ``blur_voxels``, the standard deviation of an in-plane blur;
    ``kept_frequencies``, the share of in-plane spatial frequencies kept; less than 1 rings;
    ``saturated_share``, the share of the voxels clipped at the top of the range;
    ``masked``, whether air is 0;
    ``saturation_band_mm``, the distance from the centre forwards to the start of a saturation band.
    ``spacing_mm``, ``coverage_mm`` and ``turn_degrees`` are along the body's x, y, z.
    """

    protocol: str
    plane: str
    spacing_mm: tuple[float, float, float]
    coverage_mm: tuple[float, float, float]
    turn_degrees: tuple[float, float, float]
    fat_gain: float
    chemical_shift_voxels: float
    readout_axis: int
    phase_axis: int
    motion_voxels: float
    ghost: float
    ghost_share: float
    middle_z_mm: float | None = None
    coils: tuple[tuple[float, float, float, float], ...] = ()
    coil_ratio: float = 1.0
    blur_voxels: float = 0.0
    kept_frequencies: float = 1.0
    saturated_share: float = 0.0
    masked: bool = False
    saturation_band_mm: float | None = None


def draw_protocol(rng: np.random.Generator, name: str) -> Protocol:
    """Return the named protocol; ``varied`` draws one of all protocols.

    Raises
    ------
    KeyError
        No protocol has this name.
    """
    if name != VARIED:
        return PROTOCOLS[name]
    names = list(_VARIED_SHARES)
    chosen = PROTOCOLS[names[int(rng.choice(len(names), p=list(_VARIED_SHARES.values())))]]
    return replace(
        chosen,
        noise=(NOISE_VARIED[0] * chosen.noise[0], NOISE_VARIED[1] * chosen.noise[1]),
        fat_gain=(0.65, 1.5),
        field_sd=(0.03, 0.35),
        oblique_degrees=chosen.oblique_degrees * 1.5,
        artefact_share=max(0.2, chosen.artefact_share),
    )


def describe_protocol(protocol: Protocol) -> str:
    """Describe a protocol in words.

    >>> describe_protocol(PROTOCOLS["paper"])
    'paper: 3 T, in phase 2.46 ms, out of phase 3.69 ms, axial, 0.7 x 0.7 x 3 mm'
    """
    in_plane, thick = (
        f"{low:g}" if low == high else f"{low:g}-{high:g}"
        for low, high in (protocol.in_plane_mm, protocol.slice_mm)
    )
    into, out = protocol.echo_times_ms
    return (
        f"{protocol.name}: {protocol.field_strength_t:g} T, in phase {into:g} ms, out of phase "
        f"{out:g} ms, {protocol.plane}, {in_plane} x {in_plane} x {thick} mm"
    )


def noise_range() -> Range:
    """Return the noise limits of ``varied`` scans in an acquired voxel, muscle = 1."""
    low, high = zip(*(protocol.noise for protocol in PROTOCOLS.values()), strict=True)
    return NOISE_VARIED[0] * min(low), NOISE_VARIED[1] * max(high)


def draw_settings(rng: np.random.Generator, protocol: Protocol) -> ScanSettings:
    """Draw the settings of one scan of a protocol."""
    in_plane, thick = rng.uniform(*protocol.in_plane_mm), rng.uniform(*protocol.slice_mm)
    normal = {"axial": 2, "coronal": 1, "sagittal": 0}[protocol.plane]
    spacing = [thick if axis == normal else in_plane for axis in range(3)]
    coverage = [rng.uniform(*extent) for extent in protocol.coverage_mm]
    turn = protocol.oblique_degrees * rng.standard_normal(3)
    readout, phase = rng.permutation([axis for axis in range(3) if axis != normal])
    jitter = 1 + ECHO_TIME_JITTER * rng.uniform(-1, 1, 2)
    field_sd = rng.uniform(*protocol.field_sd)
    moved = rng.random() < protocol.artefact_share
    return ScanSettings(
        protocol=protocol.name,
        field_strength_t=protocol.field_strength_t,
        in_phase_ms=round(float(protocol.echo_times_ms[0] * jitter[0]), 3),
        out_phase_ms=round(float(protocol.echo_times_ms[1] * jitter[1]), 3),
        plane=protocol.plane,
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        coverage_mm=(float(coverage[0]), float(coverage[1]), float(coverage[2])),
        turn_degrees=(float(turn[0]), float(turn[1]), float(turn[2])),
        noise=float(rng.uniform(*protocol.noise)),
        water_t2star_ms=float(rng.uniform(*protocol.t2star_ms[0])),
        fat_t2star_ms=float(rng.uniform(*protocol.t2star_ms[1])),
        fat_gain=float(np.exp(rng.uniform(*np.log(protocol.fat_gain)))),
        field=tuple(float(value) for value in field_sd * rng.standard_normal(9)),
        chemical_shift_voxels=float(rng.uniform(-0.8, 0.8)),
        readout_axis=int(readout),
        phase_axis=int(phase),
        motion_voxels=float(rng.uniform(0.2, 1.2)) if moved else 0.0,
        ghost=float(rng.uniform(0.02, 0.12)) if moved else 0.0,
        ghost_share=float(rng.choice([1 / 2, 1 / 3, 1 / 4])),
        scale=float(np.exp(rng.uniform(*np.log(SCALE_RANGE)))),
    )


def acquire(
    rng: np.random.Generator, volume: TissueVolume, settings: ScanSettings
) -> tuple[Tensor, Tensor]:
    """Acquire in-phase and out-of-phase magnitude images in the scanner's units.

    Parameters
    ----------
    rng : Generator
    volume : TissueVolume
        Tissue on a grid whose axes point along x, y, z of the body.
    settings : ScanSettings
        ``fat_gain`` is not applied here; the volume includes it.

    Returns
    -------
    in_phase, out_phase : Tensor of float32
    """
    generator = torch_generator(rng)  # a GPU generator would draw different noise
    axes = spread_axes(volume.water)
    sensitivity = settings.scale * torch.exp(log_receive_field(axes, settings.field))
    if settings.coil_ratio > 1:
        body = volume.water + volume.fat > BODY_SIGNAL
        sensitivity *= coil_sensitivity(body, settings.coils, settings.coil_ratio)
    water = limit_resolution(volume.water * sensitivity, settings)
    fat = limit_resolution(volume.fat * sensitivity, settings)
    fat = shift_linear(fat, settings.chemical_shift_voxels, settings.readout_axis)
    sd = settings.scale * settings.noise
    images = []
    for echo_ms in (settings.in_phase_ms, settings.out_phase_ms):
        cosine = phase_cosine(echo_ms / 1000, IMAGING_FREQUENCY_MHZ[settings.field_strength_t])
        real, imaginary = echo_signal(water, fat, settings, echo_ms, cosine)
        real, imaginary = (_move(part, settings) for part in (real, imaginary))
        for part in (real, imaginary):
            part += sd * torch.randn(part.shape, generator=generator).to(part.device)
        images.append(torch.hypot(real, imaginary))
    return store_range(images[0], images[1], volume, settings)


def store_range(
    in_phase: Tensor, out_phase: Tensor, volume: TissueVolume, settings: ScanSettings
) -> tuple[Tensor, Tensor]:
    """Clip the top of the range and set air to 0, if the settings require it."""
    images = [in_phase, out_phase]
    if settings.saturated_share:
        sample = in_phase.flatten()[:: max(1, in_phase.numel() // MOST_SAMPLES)]
        top = torch.quantile(sample, 1 - settings.saturated_share)
        images = [image.clamp(max=top) for image in images]
    if settings.masked:
        inside = volume.water + volume.fat > 0
        images = [image * inside for image in images]
    return images[0], images[1]


def limit_resolution(volume: Tensor, settings: ScanSettings) -> Tensor:
    """Blur in plane and remove high in-plane spatial frequencies, if the settings require it."""
    for axis in (settings.readout_axis, settings.phase_axis):
        size = volume.shape[axis]
        if settings.blur_voxels == 0 and settings.kept_frequencies >= 1:
            continue
        frequency = torch.fft.rfftfreq(size, device=volume.device)
        passed = torch.exp(-2 * (np.pi * settings.blur_voxels * frequency) ** 2)
        passed = passed * (frequency <= 0.5 * settings.kept_frequencies)
        spectrum = torch.fft.rfft(volume, dim=axis)
        shape = [-1 if i == axis else 1 for i in range(3)]
        volume = torch.fft.irfft(spectrum * passed.reshape(shape), n=size, dim=axis)
    return volume


def coil_sensitivity(
    body: Tensor, coils: tuple[tuple[float, float, float, float], ...], ratio: float
) -> Tensor:
    """Compute the combined sensitivity of surface coils (root sum of squares).

    Parameters
    ----------
    body : Tensor of bool, shape (x, y, z)
    coils : tuple
        See :class:`ScanSettings`.
    ratio : float
        Ratio of the 99th to the 1st percentile in the body; the contrast of the sum is scaled to
        it.

    Returns
    -------
    Tensor of float32, shape (x, y, z)
        The geometric mean over the body is 1.
    """
    x, y, z = spread_axes(body)
    total = torch.zeros(body.shape, device=body.device)
    for at_x, at_y, at_z, reach in coils:
        distance = (x - at_x) ** 2 + (y - at_y) ** 2 + 0.25 * (z - at_z) ** 2
        total += (1 + distance / reach**2) ** -3
    logarithm = total.log()
    seen = logarithm[body]
    if seen.numel() < 2:
        return torch.ones_like(total)
    seen = seen[:: max(1, seen.numel() // MOST_SAMPLES)]
    low, high = torch.quantile(seen, torch.tensor([0.01, 0.99], device=seen.device))
    power = float(np.log(ratio)) / max(float(high - low), 1e-3)
    return torch.exp((logarithm - seen.mean()) * power)


def echo_signal(
    water: Volume, fat: Volume, scanner: Scanner, echo_ms: float, cosine: float
) -> tuple[Volume, Volume]:
    """Compute the real and imaginary parts of the signal at an echo time.

    Parameters
    ----------
    water, fat : ndarray or Tensor of float32
        Signals at echo time 0.
    scanner : Scanner
        Defines T2*.
    echo_ms : float
    cosine : float
        Cosine of the phase of fat relative to water.
    """
    sine = float(np.sqrt(max(0.0, 1 - cosine**2)))
    water_left = float(np.exp(-echo_ms / scanner.water_t2star_ms))
    fat_left = float(np.exp(-echo_ms / scanner.fat_t2star_ms))
    return water_left * water + (fat_left * cosine) * fat, (fat_left * sine) * fat


def _move(image: Tensor, settings: ScanSettings) -> Tensor:
    """Blur the image along the phase direction and add fainter copies shifted along it."""
    axis, far = settings.phase_axis, settings.motion_voxels
    if far:
        image = (shift_linear(image, far, axis) + image + shift_linear(image, -far, axis)) / 3
    if settings.ghost == 0:
        return image
    voxels = round(settings.ghost_share * image.shape[axis])
    copies = image.roll(voxels, axis) + image.roll(-voxels, axis)
    return (1 - settings.ghost) * image + (settings.ghost / 2) * copies


def spread_axes(like: Tensor) -> list[Tensor]:
    """Return coordinates from -1 to 1 along each axis, in shapes that broadcast to the volume."""
    return [
        torch.linspace(-1, 1, size, device=like.device).reshape(
            [-1 if i == axis else 1 for i in range(3)]
        )
        for axis, size in enumerate(like.shape)
    ]


def log_receive_field(axes: Sequence[Volume], coefficients: tuple[float, ...]) -> Volume:
    """Compute the logarithm of a smooth receive sensitivity, a polynomial of degree 2.

    Parameters
    ----------
    axes : sequence of three ndarray or Tensor of float32
        Coordinates x, y and z, each from -1 to 1, in shapes that broadcast.
    coefficients : tuple of 9 float
        Coefficients of x, y, z, x2, y2, z2, xy, yz, xz.
    """
    x, y, z = axes
    total = coefficients[0] * x
    for coefficient, term in zip(
        coefficients[1:], (y, z, x * x, y * y, z * z, x * y, y * z, x * z), strict=True
    ):
        total = total + coefficient * term
    return total
