"""Voxels of a random person: water, fat and labels on a grid.

Order: insert the person's airway and vessels into the label map -> look up every point of a voxel
in the map through the deformation -> apply growth, wasting and fat planes -> average the points of
each voxel -> fat in muscle. Voxels far out in the air are skipped from the start.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.grid import Grid
from bids_mfi.synthesis.composition import MOST_FAT
from bids_mfi.synthesis.deformation import transform_points
from bids_mfi.synthesis.depth import DEPTH_STEP_MM, SKIN_OFFSET_MM, SKIN_STEP_MM
from bids_mfi.synthesis.labelmap import LabelMap
from bids_mfi.synthesis.noise import smooth_noise
from bids_mfi.synthesis.points import Points, find_points, look_up
from bids_mfi.synthesis.subject import Subject
from bids_mfi.synthesis.tissues import N_MUSCLES, TABLE_SIZE, Tissue
from bids_mfi.synthesis.tubes import insert_tubes
from bids_mfi.vertebrae import NO_MUSCLE, VERTEBRAE

MUSCLE_SHARE = 0.7


TEMPLATE_SHELL_MM = 5.0  # soft tissue this close to the label map's skin is fat


SKIN_MM = 1.5


BODY_HALF_WIDTH_MM, BODY_HALF_DEPTH_MM = 11.0, 9.5  # of vertebrae


CORTEX_MM = 1.1


CAP_VOXELS, SCALP_MM, SKULL_MM = 3, 7.0, 6.0  # of the head above a label map


MOST_PLANE = 0.35  # of the half-thickness of the thinner muscle


FIXED = (
    Tissue.MARROW, Tissue.DISC, Tissue.CEREBROSPINAL_FLUID, Tissue.CORD, Tissue.AIR,
    Tissue.CARTILAGE, Tissue.BRAIN,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class TissueVolume:
    """True water and fat (float32, muscle = 1) and true labels (uint8) on a grid, as tensors."""

    water: Tensor
    fat: Tensor
    labels: Tensor


def fill_grid(
    subject: Subject,
    grid: Grid,
    subsamples: tuple[int, int, int],
    device: torch.device | str = "cpu",
    vertebrae: bool = False,
) -> TissueVolume:
    """Compute water, fat and labels of a subject on a grid.

    Parameters
    ----------
    subject : Subject
    grid : Grid
        Any orientation, oblique or not; the world's origin is the subject's spine at C4.
    subsamples : tuple of int
        Number of averaged sampling points along each axis of a voxel.
    device : torch.device
    vertebrae : bool
        Whether to label vertebral bodies, from N_MUSCLES + 1 on in the order of VERTEBRAE;
        background with unknown vertebrae is NO_MUSCLE.

    Returns
    -------
    TissueVolume
        A voxel carries the label of a muscle with half of its points if MUSCLE_SHARE of the points
        are in this or another muscle.
    """
    rng = np.random.default_rng(subject.seed)
    device = torch.device(device)
    packed, tissues = insert_tubes(subject)
    points = find_points(subject, grid, packed.to(device))
    points_mm = transform_points(subject.label_map.affine, points.centre)
    fields = _draw_fields(rng, subject, points_mm)
    tables = _Tables.of(subject, tissues, device)
    parts: list[Tensor] = []
    sums = torch.zeros((4, points.centre.shape[1]), dtype=torch.float32, device=device)
    for phase in product(*(_phases(n) for n in subsamples)):
        tissue = _tissue_at(points.at(phase), points.packed, tables, fields, subject.capped)
        muscle = (tissue <= N_MUSCLES) | (tissue == Tissue.OTHER_MUSCLE)
        parts.append(torch.where(muscle, tissue, 0))
        sums += tables.signals[:, tissue.int()]
    sums /= len(parts)
    water, fat = _mix(sums, _texture(rng, subject, points_mm))
    water, fat = _grain(rng, subject, points_mm, sums[2], (water, fat))
    left = _metal_factor(subject, points_mm)
    labels = label_voxels(parts)
    if vertebrae:
        labels = torch.where(labels > 0, labels, _find_bodies(subject, points, points_mm))
    volumes = (water * left, fat * left, labels)
    return TissueVolume(*(points.spread(values, grid.shape) for values in volumes))


def _phases(count: int) -> list[float]:
    """Return the offsets of a voxel's sampling points along an axis, in voxels.

    >>> _phases(2), _phases(1)
    ([-0.25, 0.25], [0.0])
    """
    return [(i + 0.5) / count - 0.5 for i in range(count)]


def _find_bodies(subject: Subject, points: Points, points_mm: Tensor) -> Tensor:
    """Label the vertebral body at each voxel's centre; 0 elsewhere, NO_MUSCLE if unknown.

    A body is the bone of a vertebra around the curve through the bodies' centres. Outside the label
    map, and beyond the vertebrae that it names, the vertebrae are unknown.
    """
    label_map = subject.label_map
    numbers = torch.from_numpy(label_map.body_levels()).to(points_mm.device)
    number = numbers[look_up(points.centre, points.packed) & 255]
    k = points.centre[2].round().long().clamp(0, len(label_map.spine) - 1)
    spine = torch.from_numpy(label_map.spine).to(points_mm.device)[k].T
    x, y = points_mm[:2] - spine
    inside = (x / BODY_HALF_WIDTH_MM) ** 2 + (y / BODY_HALF_DEPTH_MM) ** 2 < 1
    body = torch.where(inside & (number > 0), number + N_MUSCLES, 0).to(torch.uint8)
    slices = points.centre[2]
    unknown = (slices < -0.5) | (slices > len(label_map.spine) - 0.5)
    lowest, highest = _named_range_mm(label_map)
    unknown |= (points_mm[2] < lowest) | (points_mm[2] > highest)
    return torch.where(unknown, NO_MUSCLE, body)


def _named_range_mm(label_map: LabelMap) -> tuple[float, float]:
    """Return the range of heights in which the vertebra (if any) of every bone is known."""
    named = {name: (low, high) for name, low, high in label_map.levels if name in VERTEBRAE}
    if not named:
        return math.inf, -math.inf
    first, last = VERTEBRAE[0], VERTEBRAE[-1]
    lowest = -math.inf if last in named else min(low for low, _ in named.values())
    highest = math.inf if first in named else max(high for _, high in named.values())
    return lowest, highest


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """Lookup tables by code, by pair (256 x neighbour + code) and by tissue.

    Attributes
    ----------
    tissue : Tensor of uint8, shape (256,)
    push_mm : Tensor of float32, shape (65536,)
        Distance that the neighbour moves into the structure; negative if it retracts.
    gap_mm : Tensor of float32, shape (65536,)
        Gap between a wasted structure and a neighbour that does not move.
    most_plane_mm : Tensor of float32, shape (65536,)
        Maximum half-thickness of a fat plane between the two; 0 if no plane is possible.
    signals : Tensor of float32, shape (4, TABLE_SIZE)
        Amplitude, fat outside muscle, amplitude of muscle, fat in muscle.
    """

    tissue: Tensor
    push_mm: Tensor
    gap_mm: Tensor
    most_plane_mm: Tensor
    signals: Tensor

    @classmethod
    def of(cls, subject: Subject, tissues: NDArray[np.uint8], device: torch.device) -> "_Tables":
        """Prepare the tables of a subject."""
        moves = ~np.isin(tissues, FIXED)
        growth = subject.growth_mm
        both = moves[:, None] & moves[None, :]  # (neighbour, code)
        most = subject.most_wasted * subject.label_map.half_thickness_mm
        push = np.clip(growth[:, None] - growth[None, :], -most[:, None], most[None, :])
        push = np.where(both, push, 0)
        gap = np.where(~moves[:, None] & moves[None, :], -growth[None, :], 0)
        muscle = ((tissues >= 1) & (tissues <= N_MUSCLES)) | (tissues == Tissue.OTHER_MUSCLE)
        least = np.where(muscle, MOST_PLANE * subject.label_map.half_thickness_mm, np.inf)
        plane = np.minimum(least[:, None], least[None, :])
        plane = np.where(both & np.isfinite(plane), plane, 0)
        arrays = (tissues, push.ravel(), gap.ravel(), plane.ravel(), _signal_rows(subject))
        kinds = (np.uint8, *(np.float32,) * 4)
        return cls(*(
            torch.from_numpy(np.ascontiguousarray(array, kind)).to(device)
            for array, kind in zip(arrays, kinds, strict=True)
        ))  # fmt: skip


def _signal_rows(subject: Subject) -> NDArray[np.float32]:
    """Return amplitude, fat outside muscle, muscle amplitude and fat in muscle by tissue."""
    fat_percent = subject.fat_percent.copy()
    fat_percent[: N_MUSCLES + 1] = subject.muscle_fat_percent
    fat_percent[Tissue.OTHER_MUSCLE] = subject.other_fat_percent
    index = np.arange(TABLE_SIZE)
    muscle = ((index >= 1) & (index <= N_MUSCLES)) | (index == Tissue.OTHER_MUSCLE)
    fat = subject.amplitude * fat_percent / 100
    amount = np.where(muscle, subject.amplitude, 0)
    rows = np.stack([subject.amplitude, np.where(muscle, 0, fat), amount, np.where(muscle, fat, 0)])
    return rows.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Fields:
    """Smooth random fields at the voxels.

    Attributes
    ----------
    plane_mm, extra_fat_mm : Tensor of float32, shape (n,)
        Half-thickness of planes, and subcutaneous fat beyond that of the label map.
    filling, plane : Tensor of uint8, shape (n,)
        Tissue of regions that the label map does not specify, and of planes.
    """

    plane_mm: Tensor
    extra_fat_mm: Tensor
    filling: Tensor
    plane: Tensor


def _draw_fields(rng: np.random.Generator, subject: Subject, points_mm: Tensor) -> _Fields:
    spread = torch.exp(0.6 * smooth_noise(rng, points_mm, (25.0, 25.0, 40.0)))
    uneven = 1.0 + 0.25 * smooth_noise(rng, points_mm, (50.0, 50.0, 60.0))
    behind = 1.0 + 0.35 * torch.tanh(-points_mm[1] / 40.0)
    skin_fat = subject.skin_fat_mm * uneven.clamp(0.4, 1.8) * behind
    return _Fields(
        plane_mm=subject.plane_mm * spread,
        extra_fat_mm=(skin_fat - TEMPLATE_SHELL_MM).clamp(max=SKIN_OFFSET_MM - 2),
        filling=_draw_filling(rng, subject, points_mm),
        plane=_draw_planes(rng, subject, points_mm),
    )


def _draw_planes(rng: np.random.Generator, subject: Subject, points_mm: Tensor) -> Tensor:
    """Draw the tissue of the planes between muscles: fat, or locally fascia."""
    fat = torch.full_like(points_mm[0], Tissue.INTERMUSCULAR_FAT, dtype=torch.uint8)
    if subject.fascia_share == 0:
        return fat
    share = torch.special.ndtr(smooth_noise(rng, points_mm, (14.0, 14.0, 25.0)))
    return torch.where(share < subject.fascia_share, Tissue.FASCIA.value, fat)


def _draw_filling(rng: np.random.Generator, subject: Subject, points_mm: Tensor) -> Tensor:
    """Draw the tissue of unspecified regions: mostly fat behind the spine, mixed in front."""
    if subject.plain:
        return torch.full_like(points_mm[0], Tissue.INTERMUSCULAR_FAT, dtype=torch.uint8)
    label_map = subject.label_map
    cells = smooth_noise(rng, points_mm, (9.0, 9.0, 14.0))
    large = smooth_noise(rng, points_mm, (22.0, 22.0, 30.0))
    k = ((points_mm[2] - label_map.affine[2, 3]) / label_map.affine[2, 2]).round().long()
    spine = torch.from_numpy(label_map.spine).to(points_mm.device)
    ahead = points_mm[1] - spine[k.clamp(0, len(spine) - 1), 1] > float(rng.uniform(8, 16))
    behind = torch.where(cells > float(rng.uniform(0.8, 2.0)), Tissue.LOOSE_TISSUE.value,
                         Tissue.INTERMUSCULAR_FAT.value)  # fmt: skip
    front = torch.where(cells > 0.5, Tissue.LOOSE_TISSUE.value, Tissue.INTERMUSCULAR_FAT.value)
    front = torch.where(large > 0.3, Tissue.TONGUE.value, front)
    front = torch.where(large < float(rng.uniform(-1.4, -0.7)), Tissue.SALIVARY_GLAND.value, front)
    return torch.where(ahead, front, behind).to(torch.uint8)


def _tissue_at(
    voxels: Tensor, packed: Tensor, tables: _Tables, fields: _Fields, capped: bool = False
) -> Tensor:
    """Return the tissue (uint8) at points given in voxel indices of the label map."""
    word = look_up(voxels, packed)
    pair = word & 0xFFFF
    code = word & 255
    depth_mm = ((word >> 16) & 255).float() * DEPTH_STEP_MM
    skin_mm = ((word >> 24) & 255).float() * SKIN_STEP_MM - SKIN_OFFSET_MM
    push_mm = tables.push_mm[pair]
    tissue = tables.tissue[torch.where(depth_mm < push_mm, pair >> 8, code)]
    width_mm = torch.minimum(fields.plane_mm, tables.most_plane_mm[pair])
    muscle = (tissue - 1 < N_MUSCLES) | (tissue == Tissue.OTHER_MUSCLE)  # 0 - 1 is 255
    parted = muscle & ((depth_mm - push_mm).abs() < width_mm)
    fat = parted | (depth_mm < tables.gap_mm[pair])
    tissue = torch.where(fat, fields.plane, tissue)
    tissue = torch.where(tissue == Tissue.LOOSE_TISSUE, fields.filling, tissue)
    cortex = (tissue == Tissue.MARROW) & (depth_mm < CORTEX_MM)
    tissue = torch.where(cortex, Tissue.CORTICAL_BONE.value, tissue)
    if capped:
        tissue = _cap(tissue, voxels[2] - packed.shape[2], skin_mm)
    return _cover(tissue, code, skin_mm + fields.extra_fat_mm, skin_mm)


def _cap(tissue: Tensor, above: Tensor, skin_mm: Tensor) -> Tensor:
    """Add skull and brain above the label map; ``above`` counts its voxels from the top."""
    bone = (above > CAP_VOXELS) & (skin_mm > SCALP_MM)
    tissue = torch.where(bone, Tissue.CORTICAL_BONE.value, tissue)
    brain = bone & (skin_mm > SCALP_MM + SKULL_MM)
    return torch.where(brain, Tissue.BRAIN.value, tissue)


def _cover(tissue: Tensor, code: Tensor, depth_mm: Tensor, skin_mm: Tensor) -> Tensor:
    """Add subcutaneous fat, skin and air around the body.

    ``depth_mm`` counts from the subject's skin, ``skin_mm`` from that of the label map.
    """
    shell = (skin_mm < TEMPLATE_SHELL_MM) & ((code == 0) | (tissue >= Tissue.INTERMUSCULAR_FAT))
    soft = shell & (tissue != Tissue.CORTICAL_BONE) & (tissue != Tissue.MARROW)
    soft = soft & (tissue != Tissue.OTHER_MUSCLE)
    tissue = torch.where(soft, Tissue.SUBCUTANEOUS_FAT.value, tissue)
    tissue = torch.where(depth_mm < SKIN_MM, Tissue.SKIN.value, tissue)
    return torch.where(depth_mm < 0, Tissue.AIR.value, tissue).to(torch.uint8)


def _texture(rng: np.random.Generator, subject: Subject, points_mm: Tensor) -> Tensor:
    """Draw a factor for the fat in muscle, about 1 on average: patches, and streaks along z."""
    spread, share, length = subject.texture
    patch = smooth_noise(rng, points_mm, (length, length, 2 * length))
    patches = torch.exp(spread * patch - spread**2 / 2)
    streak = smooth_noise(rng, points_mm, (1.8, 1.8, 14.0))
    streaks = (streak - 1.0).clamp(min=0) / 0.0833
    return (1 - share) * patches + share * streaks


def _mix(sums: Tensor, texture: Tensor) -> tuple[Tensor, Tensor]:
    """Compute water and fat from the mean amplitude, other fat, muscle and fat in muscle."""
    total, other_fat, muscle, muscle_fat = sums
    fat = other_fat + torch.minimum(muscle_fat * texture, MOST_FAT * muscle)
    return total - fat, fat


def _grain(
    rng: np.random.Generator,
    subject: Subject,
    points_mm: Tensor,
    muscle: Tensor,
    signal: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Make muscle heterogeneous: brighter and darker regions, and septa along it.

    ``muscle`` is the amplitude of muscle in each voxel; ``signal`` is water and fat.
    """
    water, fat = signal
    spread, length = subject.grain
    taken, added, width, distance = subject.septa
    if spread:
        grain = smooth_noise(rng, points_mm, (length, length, 4 * length))
        factor = torch.exp(spread * grain * muscle.clamp(max=1))
        water, fat = water * factor, fat * factor
    if taken or added:
        sheets = smooth_noise(rng, points_mm, (distance, distance, 4 * distance))
        septum = torch.exp(-((sheets / width) ** 2)) * muscle
        water = (water - taken * septum * water).clamp(min=0)
        fat = fat + added * septum
    return water, fat


def label_voxels(parts: list[Tensor]) -> Tensor:
    """Label each voxel from its sampling points.

    Fat can leave a voxel without a label; the meeting of two muscles cannot. Voxels shared equally
    between two muscles go to each in turn, so that neither gains.

    Parameters
    ----------
    parts : list of Tensor of uint8, all of the same shape
        Each tensor has one point per voxel: a muscle, OTHER_MUSCLE, or 0.

    Returns
    -------
    Tensor of uint8

    Examples
    --------
    >>> points = [[3, 3, 3], [3, 3, 3], [3, 3, 0], [5, 0, 0]]
    >>> label_voxels([torch.tensor(p, dtype=torch.uint8) for p in points]).tolist()
    [3, 3, 0]
    """
    muscle = torch.zeros_like(parts[0])
    for part in parts:
        muscle += part > 0
    first, second = torch.zeros_like(parts[0]), torch.zeros_like(parts[0])
    half = (len(parts) + 1) // 2
    # A muscle with half of the points occurs in these first parts, because fewer points remain.
    for part in parts[: len(parts) - half + 1]:
        count = torch.zeros_like(part)
        for other in parts:
            count += other == part
        wins = (count >= half) & (part <= N_MUSCLES)
        first = torch.where(wins & (first == 0), part, first)
        second = torch.where(wins & (part != first), part, second)
    turn = torch.arange(first.numel(), device=first.device).reshape(first.shape) % 2 == 0
    labels = torch.where(turn & (second > 0), second, first)
    enough = muscle >= int(np.ceil(MUSCLE_SHARE * len(parts) - 1e-9))
    return torch.where(enough, labels, 0)


def _metal_factor(subject: Subject, points_mm: Tensor) -> Tensor:
    """Compute the share of the signal that remains near dental metal; 1 in most subjects."""
    if subject.metal is None:
        return torch.ones_like(points_mm[0])
    x, y, z, radius_mm = subject.metal
    middle = torch.tensor([x, y, z], device=points_mm.device)[:, None]
    distance = (points_mm - middle).square().sum(dim=0)
    return 1 - torch.exp(-((distance / radius_mm**2) ** 2))
