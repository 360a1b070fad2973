"""Random smooth maps between a subject and a label map.

A deformation maps points of the subject to points of the label map, both in millimetres with the
origin in the spine at C4. It removes posture first, then the warp, then size.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BEND_FROM_MM, BEND_OVER_MM = -40.0, 100.0
LORDOSIS_WIDTH_MM = 45.0
INNER_MM, OUTER_MM = 16.0, 45.0

# Standard deviations at a variation of 1.
SIZE_SD = 0.05
ASPECT_SD = 0.05
NOD_SD_DEGREES = 5.0
TILT_SD_DEGREES = 3.0
TURN_SD_DEGREES = 5.0
WHOLE_TURN_SD_DEGREES = 3.0
LORDOSIS_SD_MM = 4.0
# Warps: number of waves, shortest and longest wave length in mm, displacement in mm.
WARPS = ((8, 90.0, 220.0, 3.0), (12, 28.0, 80.0, 0.9))


@dataclass(frozen=True, slots=True, eq=False)
class Deformation:
    """Difference between a subject and the label map, as a map from subject to label map.

    Attributes
    ----------
    scale : tuple of float
        Size of the subject relative to the label map along x, y, z.
    whole : tuple of float
        Rotation of the whole body about x, y, z, radians.
    nod, tilt, turn : float
        Rotation of the head about x, y, z, radians, growing from BEND_FROM_MM upwards.
    lordosis_mm : float
        Forward bow at C4.
    waves : tuple of (vectors, phases, shifts)
        Arrays of float32: radians per millimetre (n, 3), radians (n, 3), millimetres (n, 3).
    girth : Girth or None
    """

    scale: tuple[float, float, float]
    whole: tuple[float, float, float]
    nod: float
    tilt: float
    turn: float
    lordosis_mm: float
    waves: tuple[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], ...]
    girth: "Girth | None" = None


@dataclass(frozen=True, slots=True)
class Girth:
    """Widening of a subject's outer parts around the spine, relative to the label map.

    Points within INNER_MM of the spine do not move; the full widening applies from OUTER_MM on.

    Attributes
    ----------
    lateral, behind, front : float
        Fractional increase of the distance from the spine at the sides, behind and in front.
    turn : float
        Backward rotation of the sides in radians, equal on the left and the right.
    """

    lateral: float
    behind: float
    front: float
    turn: float


def draw_deformation(
    rng: np.random.Generator, size: float = 1.0, variation: float = 1.0
) -> Deformation:
    """Draw a subject's deformation.

    Parameters
    ----------
    rng : Generator
    size : float
        Mean size relative to the label map.
    variation : float
        Factor of all standard deviations; 0 gives the label map itself, scaled by ``size``.
    """
    normal = variation * rng.standard_normal(11)
    common = size * np.exp(SIZE_SD * normal[0])
    scale = tuple(float(common * np.exp(ASPECT_SD * n)) for n in normal[1:4])
    whole = np.deg2rad(WHOLE_TURN_SD_DEGREES) * normal[4:7]
    return Deformation(
        scale=(scale[0], scale[1], scale[2]),
        whole=(float(whole[0]), float(whole[1]), float(whole[2])),
        nod=float(np.deg2rad(NOD_SD_DEGREES) * normal[7]),
        tilt=float(np.deg2rad(TILT_SD_DEGREES) * normal[8]),
        turn=float(np.deg2rad(TURN_SD_DEGREES) * normal[9]),
        lordosis_mm=float(LORDOSIS_SD_MM * normal[10]),
        waves=tuple(_draw_waves(rng, warp, variation) for warp in WARPS),
    )


def _draw_waves(
    rng: np.random.Generator, warp: tuple[int, float, float, float], variation: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    number, shortest, longest, sd_mm = warp
    direction = rng.standard_normal((number, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = np.exp(rng.uniform(np.log(shortest), np.log(longest), number))
    vectors = direction * (2 * np.pi / length)[:, None]
    phases = rng.uniform(0, 2 * np.pi, (number, 3))
    # Long waves have larger displacements than short ones, so that no wave folds the body.
    amplitude = variation * sd_mm * np.sqrt(2 / number) * (length / length.mean())[:, None]
    shifts = amplitude * rng.standard_normal((number, 3))
    return vectors.astype(np.float32), phases.astype(np.float32), shifts.astype(np.float32)


def map_points(deformation: Deformation, points_mm: Tensor) -> Tensor:
    """Map points of the subject to points of the label map.

    Parameters
    ----------
    deformation : Deformation
    points_mm : Tensor of float32, shape (3, ...)

    Returns
    -------
    Tensor of float32, shape (3, ...)
    """
    flat = points_mm.reshape(3, -1)
    flat = _rotation(deformation.whole, flat.device) @ flat
    share = ((flat[2] - BEND_FROM_MM) / BEND_OVER_MM).clamp(0, 1.3)
    bent = _bend(flat, share, deformation)
    bow = deformation.lordosis_mm * torch.exp(-((bent[2] / LORDOSIS_WIDTH_MM) ** 2))
    bent = torch.stack([bent[0], bent[1] - bow, bent[2]])
    for vectors, phases, shifts in deformation.waves:
        bent = bent + _sum_waves(bent, vectors, phases, shifts)
    if deformation.girth is not None:
        bent = _slim(bent, deformation.girth)
    scale = torch.tensor(deformation.scale, dtype=torch.float32, device=flat.device)
    return (bent / scale[:, None]).reshape(points_mm.shape)


def _slim(points: Tensor, girth: Girth) -> Tensor:
    """Map points (3, n) of a subject back to the girth of the label map."""
    x, y, z = points
    distance = torch.hypot(x, y)
    share = reach(distance)
    angle = torch.atan2(x, -y)  # 0 behind, pi / 2 at the right
    turned = angle + girth.turn * share * torch.sin(angle.abs()) * angle.sign()
    nearer = distance / (1 + share * widen_girth(girth, turned))
    return torch.stack([nearer * turned.sin(), -nearer * turned.cos(), z])


def reach(distance_mm: Tensor) -> Tensor:
    """Return the share of a girth that applies at a distance from the spine.

    >>> reach(torch.tensor([INNER_MM, (INNER_MM + OUTER_MM) / 2, OUTER_MM])).tolist()
    [0.0, 0.5, 1.0]
    """
    share = ((distance_mm - INNER_MM) / (OUTER_MM - INNER_MM)).clamp(0, 1)
    return share * share * (3 - 2 * share)


def widen_girth(girth: Girth, angle: Tensor) -> Tensor:
    """Return the increase of distances in a direction; 0 is behind, pi / 2 at the right.

    >>> around = torch.tensor([0.0, np.pi / 2, np.pi])
    >>> widen_girth(Girth(0.25, 0.5, -0.125, 0.0), around).round(decimals=4).tolist()
    [0.5, 0.25, -0.125]
    """
    sine, cosine = angle.sin(), angle.cos()
    along = torch.where(cosine > 0, girth.behind, girth.front)
    return girth.lateral * sine.square() + along * cosine.square()


def _bend(points: Tensor, share: Tensor, deformation: Deformation) -> Tensor:
    """Rotate points about the axes at BEND_FROM_MM, by a share of the head's rotation."""
    x, y, z = points[0], points[1], points[2] - BEND_FROM_MM
    nod, tilt, turn = (a * share for a in (deformation.nod, deformation.tilt, deformation.turn))
    y, z = y * nod.cos() - z * nod.sin(), y * nod.sin() + z * nod.cos()
    x, z = x * tilt.cos() + z * tilt.sin(), z * tilt.cos() - x * tilt.sin()
    x, y = x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos()
    return torch.stack([x, y, z + BEND_FROM_MM])


def _sum_waves(
    points: Tensor,
    vectors: NDArray[np.float32],
    phases: NDArray[np.float32],
    shifts: NDArray[np.float32],
) -> Tensor:
    along = torch.from_numpy(vectors).to(points.device) @ points  # (waves, n)
    phase = torch.from_numpy(phases).to(points.device)
    shift = torch.from_numpy(shifts).to(points.device)
    return torch.stack([shift[:, i] @ torch.sin(along + phase[:, i, None]) for i in range(3)])


def _rotation(angles: tuple[float, float, float], device: torch.device) -> Tensor:
    return torch.from_numpy(rotation_matrix(angles).astype(np.float32)).to(device)


def transform_points(matrix: NDArray[np.floating], points: Tensor) -> Tensor:
    """Apply an affine of shape (4, 4) to points of shape (3, ...)."""
    affine = torch.from_numpy(np.asarray(matrix[:3], np.float32)).to(points.device)
    flat = affine[:, :3] @ points.reshape(3, -1) + affine[:, 3:]
    return flat.reshape(points.shape)


def rotation_matrix(angles: tuple[float, float, float]) -> NDArray[np.float64]:
    """Compute the rotation about x, then y, then z, with angles in radians.

    >>> rotation_matrix((0.0, 0.0, np.pi / 2)).round(6)[:, 0].tolist()
    [0.0, 1.0, 0.0]
    """
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result
