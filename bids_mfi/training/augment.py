"""Random geometry for training.

The module mirrors left and right, then combines elastic deformation, rotation and scaling in one
sampling grid, so each volume is resampled only once. The order follows NiftyNet (scaling, rotation
and elastic deformation of the image) with two differences: the rotation is about the volume's
centre in millimetres, not in voxels, and the field of view does not change. NiftyNet's in-network
transform is at the end of the module.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bids_mfi.muscles import MuscleTable
from bids_mfi.network.dense_vnet import DenseVNet, upsample
from bids_mfi.options import TrainOptions
from bids_mfi.vertebrae import NO_MUSCLE

SPLINE_ORDER = 3


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """A random change of shape, defined from output to input.

    Attributes
    ----------
    scale : ndarray of float64, shape (3,)
        Growth factors of the anatomy along x, y, z.
    rotation : ndarray of float64, shape (3, 3)
        Rotation of the anatomy about the centre of the volume, in millimetres.
    shifts : ndarray of float64, shape (3, n, n, n), or None
        Shifts of the cubic B-spline's control points, in voxels.
    """

    scale: NDArray[np.float64]
    rotation: NDArray[np.float64]
    shifts: NDArray[np.float64] | None


def augment(
    images: NDArray[np.float32],
    labels: NDArray[np.int16],
    spacing_mm: tuple[float, float, float],
    table: MuscleTable,
    options: TrainOptions,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Mirror a case, change its contrast and deform it at random, as the options specify.

    Parameters
    ----------
    images : ndarray of float32, shape (channels, x, y, z)
        Axes R, A, S.
    labels : ndarray of int16, shape (x, y, z)
    spacing_mm : tuple of float
        Voxel size along x, y, z.
    rng : numpy.random.Generator
        Source of all random numbers.
    """
    if rng.random() < options.mirror_share:
        images, labels = mirror(images, labels, table)
    if options.contrast_sd:
        images = change_contrast(images, np.exp(rng.normal(0, options.contrast_sd, len(images))))
    deformation = draw_warp(options, rng)
    if deformation is None:
        return images, labels
    return deform(images, labels, spacing_mm, deformation)


def mirror(
    images: NDArray[np.float32], labels: NDArray[np.int16], table: MuscleTable
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Flip images and labels along the first voxel axis and exchange left and right labels.

    Parameters
    ----------
    images : ndarray of float32, shape (channels, x, y, z)
        The x axis points to the subject's right or left.
    labels : ndarray of int16, shape (x, y, z)
    """
    exchanged = np.arange(1 + max(NO_MUSCLE, *(m.index for m in table)), dtype=np.int16)
    for index, other in table.mirrored_indices().items():
        exchanged[index] = other
    return np.ascontiguousarray(images[:, ::-1]), exchanged[labels[::-1]]


def change_contrast(
    images: NDArray[np.float32], powers: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Scale each image to 0 ... 1, raise it to its power and scale it back.

    Parameters
    ----------
    images : ndarray of float32, shape (channels, x, y, z)
    powers : ndarray, shape (channels,)
        1 leaves the image unchanged; less than 1 brightens intermediate signal.
    """
    low = images.min(axis=(1, 2, 3), keepdims=True)
    span = np.maximum(images.max(axis=(1, 2, 3), keepdims=True) - low, np.float32(1e-6))
    exponents = powers.astype(np.float32)[:, None, None, None]
    changed: NDArray[np.float32] = ((images - low) / span) ** exponents * span + low
    return changed


def draw_warp(options: TrainOptions, rng: np.random.Generator) -> Warp | None:
    """Draw a warp within the limits of the options; None if they allow no warp."""
    percent, angles = options.scaling_percent, rotation_limits(options)
    if not (options.elastic_share or percent or any(angles)):
        return None
    scale = 1 + rng.uniform(-percent, percent, 3) / 100
    about_lr, about_ap = (float(rng.uniform(-limit, limit)) for limit in angles)
    shifts = None
    if rng.random() < options.elastic_share:
        points = options.elastic_control_points + SPLINE_ORDER
        shifts = rng.normal(0, options.elastic_sigma_voxels, (3, points, points, points))
    return Warp(scale, rotate_about(about_lr, about_ap), shifts)


def rotation_limits(options: TrainOptions) -> tuple[float, float]:
    """Return the rotation limits about the left-right and anterior-posterior axes, in degrees."""
    return options.rotation_lr_degrees, options.rotation_ap_degrees


def rotate_about(lr_degrees: float, ap_degrees: float) -> NDArray[np.float64]:
    """Rotate about the left-right (x) axis, then about the anterior-posterior (y) axis.

    Rotations are right-handed about the positive axes R and A: a positive angle about x turns
    anterior to superior, a positive angle about y turns superior to right.

    Examples
    --------
    >>> np.abs(rotate_about(90, 0) @ [0, 1, 0]).round(6).tolist()
    [0.0, 0.0, 1.0]
    """
    a, b = np.deg2rad(lr_degrees), np.deg2rad(ap_degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turned: NDArray[np.float64] = about_y @ about_x
    return turned


def deform(
    images: NDArray[np.float32],
    labels: NDArray[np.int16],
    spacing_mm: tuple[float, float, float],
    deformation: Warp,
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Resample images linearly and labels with the nearest voxel, at the same positions.

    Outside the volume, images take the value of their edge and labels are 0.
    """
    points = sampling_points(labels.shape, spacing_mm, deformation)  # (3, x, y, z)
    grid = to_sampling_grid(torch.from_numpy(points)[None], labels.shape)
    moved = functional.grid_sample(
        torch.from_numpy(images)[None], grid, padding_mode="border", align_corners=True
    )
    volume = torch.from_numpy(labels.astype(np.float32))[None, None]
    nearest = functional.grid_sample(volume, grid, "nearest", "zeros", align_corners=True)
    return moved[0].numpy(), nearest[0, 0].round().short().numpy()


def sampling_points(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], deformation: Warp
) -> NDArray[np.float32]:
    """Compute the input position that each output voxel samples, in voxels.

    For the output voxel o with the elastic shift d(o), input = c + S^-1 M^-1 R^T M (o + d(o) - c),
    where c is the centre, M the spacing, R the rotation and S the scale.

    Returns
    -------
    ndarray of float32, shape (3, x, y, z)
    """
    points = np.indices(shape, dtype=np.float32)  # (3, x, y, z)
    if deformation.shifts is not None:
        points += spline_field(deformation.shifts, shape)
    millimetres = np.diag(spacing_mm)
    turned = np.linalg.inv(millimetres) @ deformation.rotation.T @ millimetres
    matrix = np.diag(1 / deformation.scale) @ turned
    centre = (np.array(shape, dtype=np.float64) - 1) / 2
    offset = centre - matrix @ centre
    moved = np.tensordot(matrix.astype(np.float32), points, axes=1)
    return np.asarray(moved + offset[:, None, None, None], dtype=np.float32)


def spline_field(shifts: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Compute the shift of every voxel from a cubic B-spline whose control grid spans the volume.

    Parameters
    ----------
    shifts : ndarray of float64, shape (3, n, n, n)
        Shifts of the control points, in voxels; n - 3 cells along each axis.
    shape : tuple of int
        Voxels along x, y, z.

    Returns
    -------
    ndarray of float32, shape (3, x, y, z)
    """
    x, y, z = (spline_weights(size, shifts.shape[1] - SPLINE_ORDER) for size in shape)
    field = np.einsum("dijk,xi,yj,zk->dxyz", shifts, x, y, z, optimize=True)
    return np.asarray(field, dtype=np.float32)


def spline_weights(size: int, cells: int) -> NDArray[np.float64]:
    """Compute the control-point weights of each voxel of an axis, shape (size, cells + 3).

    The first and last voxels are on the outer edges of the first and last cells.

    Examples
    --------
    >>> spline_weights(3, 2).round(3).tolist()[0]
    [0.167, 0.667, 0.167, 0.0, 0.0]
    """
    place = np.linspace(0, cells, size)
    cell = np.minimum(place.astype(int), cells - 1)
    t = place - cell
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.zeros((size, cells + SPLINE_ORDER))
    for step, values in enumerate(basis):
        weights[np.arange(size), cell + step] = values / 6
    return weights


def to_sampling_grid(points: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Convert voxel coordinates to PyTorch's ``grid_sample`` format, with ``align_corners``.

    Parameters
    ----------
    points : Tensor, shape (batch, 3, x, y, z)
        Coordinates along x, y, z; 0 at the first voxel's centre.
    shape : tuple of int
        Shape of the sampled volume.

    Returns
    -------
    Tensor, shape (batch, x, y, z, 3)
        -1 and 1 are the first and last voxel centres; the last axis comes first.
    """
    last = torch.tensor([size - 1 for size in shape], dtype=points.dtype, device=points.device)
    normalised = 2 * points / last[None, :, None, None, None] - 1
    return normalised.flip(1).permute(0, 2, 3, 4, 1)


# --------------------------------------------------------------------- NiftyNet's in-network affine


def draw_corner_affines(rng: np.random.Generator, count: int, jitter: float) -> NDArray[np.float64]:
    """Draw affine maps that move the corners of the cube -1 ... 1 inwards.

    Each of the 24 corner coordinates is multiplied with its own factor from (1 - jitter, 1). The
    map is the least-squares affine fit to the moved corners.

    Returns
    -------
    ndarray of float64, shape (count, 4, 4)
    """
    corners = np.array([*np.ndindex(2, 2, 2)]) * 2.0 - 1  # (8, 3)
    moved = corners * rng.uniform(1 - jitter, 1, (count, 8, 3))
    known = np.concatenate([corners, np.ones((8, 1))], axis=1)  # (8, 4)
    affines = np.tile(np.eye(4), (count, 1, 1))
    affines[:, :3] = np.swapaxes(np.linalg.pinv(known) @ moved, 1, 2)
    return affines


def logits_through_affine(
    network: DenseVNet, images: Tensor, affines: NDArray[np.float64]
) -> Tensor:
    """Compute logits in the frame of the images while the network sees them transformed.

    At u (-1 and 1 are the first and last voxel centres) the network sees the image at T u. Its
    logits at half resolution are resampled with the inverse of T before the last interpolation.
    Values outside the volume are zero.

    Parameters
    ----------
    network : DenseVNet
    images : Tensor of float32, shape (batch, channels, x, y, z)
    affines : ndarray, shape (batch, 4, 4)
        Affine map T of each image.
    """
    seen = resample_affine(images, affines)
    half = network.half_logits(seen)  # (b, classes, x/2, y/2, z/2)
    return upsample(resample_affine(half.float(), np.linalg.inv(affines)), network.stem_stride)


def resample_affine(volume: Tensor, affines: NDArray[np.floating]) -> Tensor:
    """Sample a volume linearly at T u for every normalised coordinate u; zero outside."""
    flipped = affines[:, [2, 1, 0, 3]][:, :, [2, 1, 0, 3]]  # z, y, x: the order of grid_sample
    theta = torch.from_numpy(flipped[:, :3]).to(volume)
    grid = functional.affine_grid(theta, list(volume.shape), align_corners=True)
    inside = (grid.abs() <= 1 + 1e-5).all(dim=-1)[:, None]  # (b, 1, x, y, z)
    sampled = functional.grid_sample(volume, grid, padding_mode="border", align_corners=True)
    return sampled * inside
