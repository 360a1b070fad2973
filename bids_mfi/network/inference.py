"""How scans are prepared for a bundle's network and labelled: one object per kind of bundle.

Whole volumes and windows take the package's own path (``logits``), converted bundles that of
NiftyNet (``niftynet_pipeline``). The model grid is used only between ``resample``
and ``label_on_grid``.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bids_mfi.errors import PairError
from bids_mfi.grid import Grid, reorient, resampled_grid, resize_linear, times
from bids_mfi.network import niftynet_pipeline as niftynet
from bids_mfi.network.air import remove_pieces_in_air
from bids_mfi.network.bundle import NIFTYNET, WHOLE_VOLUME, WINDOWS, ModelBundle
from bids_mfi.network.engine import Engine
from bids_mfi.network.intensity import find_foreground
from bids_mfi.network.logits import (
    label_part,
    part_vertebrae,
    prepare_own,
    segment_channels,
    segment_views,
)
from bids_mfi.network.model_grid import check_model_grid, labels_on_grid, resample_labels

Triple = tuple[int, int, int]
Zooms = tuple[tuple[float, ...], tuple[float, ...]]
Images = tuple[NDArray[np.floating], NDArray[np.floating]]


class Inference(ABC):
    """What depends on the kind of a bundle.

    Attributes
    ----------
    whole : bool
        The network sees whole volumes, not windows.
    mirrors : bool
        The mean over a scan and its mirror image can be taken.
    padding_mode : str
        How ``numpy.pad`` enlarges labels as :meth:`prepare` enlarges images.
    """

    whole: ClassVar[bool]
    mirrors: ClassVar[bool] = True
    padding_mode: ClassVar[Literal["edge", "constant"]] = "edge"

    def __init__(self, bundle: ModelBundle) -> None:
        self.bundle = bundle

    @property
    def least_shape(self) -> Triple:
        """Smallest number of voxels of the model grid for which the weights were made."""
        return (0, 0, 0)

    @abstractmethod
    def resample(
        self, images: Images, grid: Grid, zooms_mm: Zooms | None
    ) -> tuple[NDArray[np.float32], Grid]:
        """Resample in-phase and out-of-phase image to the model grid.

        Parameters and errors as :func:`bids_mfi.network.segment.resample_channels`.
        """

    @abstractmethod
    def model_shape(self, grid: Grid, zooms_mm: tuple[float, ...]) -> Triple:
        """Voxels of the model grid for a scan whose header states ``zooms_mm`` along its axes."""

    @abstractmethod
    def resample_labels(self, labels: NDArray[np.int16], shape: Triple) -> NDArray[np.int16]:
        """Resample a label map with the bundle's axes to a model grid of this shape."""

    @abstractmethod
    def prepare(
        self, channels: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
        """Standardise and pad; as :func:`bids_mfi.network.segment.prepare_volume`."""

    @abstractmethod
    def label(self, channels: NDArray[np.float32], engine: Engine) -> NDArray[np.int16]:
        """Most likely muscle label of every voxel of the model grid, (x, y, z)."""

    @abstractmethod
    def label_on_grid(
        self,
        channels: NDArray[np.float32],
        model_grid: Grid,
        scan_grid: Grid,
        engine: Engine,
        threads: int,
    ) -> tuple[NDArray[np.int16], NDArray[np.int16] | None]:
        """Labels on a scan's grid; as :func:`bids_mfi.network.segment.segment_to_grid`."""


class WholeVolume(Inference):
    """The package's own path; the network sees the whole volume."""

    whole = True

    def resample(
        self, images: Images, grid: Grid, zooms_mm: Zooms | None
    ) -> tuple[NDArray[np.float32], Grid]:
        """Resample linearly after turning the axes to those of the bundle."""
        named = dict(zip(("in_phase", "out_phase"), images, strict=True))
        resampled = []
        for channel in self.bundle.channels:
            turned, turned_grid = reorient(named[channel], grid, self.bundle.axcodes)
            model_grid = resampled_grid(turned_grid, self.bundle.spacing_mm)
            check_model_grid(model_grid, self.bundle)
            resampled.append(resize_linear(turned.astype(np.float32), model_grid.shape))
        return np.stack(resampled), model_grid

    def model_shape(self, grid: Grid, zooms_mm: tuple[float, ...]) -> Triple:
        """Voxels of the model grid; only the affine counts."""
        return resampled_grid(_turn(grid, self.bundle), self.bundle.spacing_mm).shape

    def resample_labels(self, labels: NDArray[np.int16], shape: Triple) -> NDArray[np.int16]:
        """Give each voxel the label that covers most of it."""
        return resample_labels(labels, shape)

    def prepare(
        self, channels: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
        """Standardise as the bundle states; pad with the edge values."""
        return prepare_own(channels, self.bundle)

    def label(self, channels: NDArray[np.float32], engine: Engine) -> NDArray[np.int16]:
        """Take the highest logit of each voxel."""
        logits = segment_channels(channels, self.bundle, engine)
        return np.asarray(logits.argmax(axis=0), dtype=np.int16)

    def label_on_grid(
        self,
        channels: NDArray[np.float32],
        model_grid: Grid,
        scan_grid: Grid,
        engine: Engine,
        threads: int,
    ) -> tuple[NDArray[np.int16], NDArray[np.int16] | None]:
        """Interpolate logits to the scan's grid and take the highest."""
        foreground = find_foreground(channels[0])
        box, views = segment_views(channels, foreground, self.bundle, engine, threads)
        found = labels_on_grid(box, views, model_grid, scan_grid, threads)
        tissue, _ = reorient(foreground, model_grid, scan_grid.axcodes)
        highest = self.bundle.muscle_classes - 1
        remove_pieces_in_air(found, np.asarray(tissue, dtype=np.bool_), highest)
        if not self.bundle.vertebrae:
            return found, None
        muscles = np.where(found < self.bundle.muscle_classes, found, np.int16(0))
        return muscles, part_vertebrae(found, self.bundle)


class Windows(WholeVolume):
    """The same, in overlapping windows."""

    whole = False


class NiftyNet(Inference):
    """The path of NiftyNet, for bundles converted from its checkpoints."""

    whole = False
    mirrors = False
    padding_mode = "constant"

    @property
    def least_shape(self) -> Triple:
        """The window minus the padding; NiftyNet refused smaller scans."""
        sizes = zip(self.bundle.window, self.bundle.padding, strict=True)
        x, y, z = (max(0, window - 2 * padding) for window, padding in sizes)
        return x, y, z

    def resample(
        self, images: Images, grid: Grid, zooms_mm: Zooms | None
    ) -> tuple[NDArray[np.float32], Grid]:
        """Resample each image by the voxel size of its own header."""
        both = zooms_mm or (grid.spacing_mm, grid.spacing_mm)
        shapes = [self.model_shape(grid, zooms) for zooms in both]
        if shapes[0] != shapes[1]:
            raise PairError(
                f"The headers of the two images state voxels of {times(both[0])} mm and "
                f"{times(both[1])} mm, expected the same. Correct the voxel sizes (pixdim)."
            )
        model_grid = niftynet.make_niftynet_grid(_turn(grid, self.bundle), shapes[0])
        check_model_grid(model_grid, self.bundle)
        channels = [
            niftynet.resample_cubic(
                reorient(image, grid, self.bundle.axcodes)[0].astype(np.float32),
                _turn_zooms(grid, self.bundle, zooms),
                self.bundle.spacing_mm,
            )
            for image, zooms in zip(images, both, strict=True)
        ]
        return np.stack(channels), model_grid

    def model_shape(self, grid: Grid, zooms_mm: tuple[float, ...]) -> Triple:
        """Voxels of the model grid; the voxel size that the header states counts."""
        zooms = _turn_zooms(grid, self.bundle, zooms_mm)
        shape = _turn(grid, self.bundle).shape
        return niftynet.resampled_shape(shape, zooms, self.bundle.spacing_mm)

    def resample_labels(self, labels: NDArray[np.int16], shape: Triple) -> NDArray[np.int16]:
        """Take the nearest voxel."""
        return niftynet.resample_nearest(labels, shape)

    def prepare(
        self, channels: NDArray[np.float32], threads: int = 1
    ) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
        """Pad with the minimum, then standardise."""
        bundle, shape = self.bundle, channels.shape[1:]
        percentiles = bundle.landmark_percentiles
        widths = niftynet.padding_widths(shape, bundle.padding, bundle.window)
        padded = np.stack([niftynet.pad_minimum(volume, widths) for volume in channels])
        volume = niftynet.standardise_as_niftynet(
            padded, bundle.landmarks, (percentiles[0] / 100, percentiles[-1] / 100), threads
        )
        inside = (slice(low, low + size) for (low, _), size in zip(widths, shape, strict=True))
        return volume, tuple(inside)

    def label(
        self, channels: NDArray[np.float32], engine: Engine, threads: int = 1
    ) -> NDArray[np.int16]:
        """Label windows one after the other, each only where no other overwrites it."""
        bundle = self.bundle
        volume, (x, y, z) = self.prepare(channels, threads)
        plan = niftynet.plan_visible(volume.shape[1:], (x, y, z), bundle.window, bundle.border)
        labels = niftynet.segment_windows(
            volume, plan, lambda window, part: label_part(engine, window, part, bundle, threads)
        )[x, y, z]
        return np.asarray(labels, dtype=np.int16)

    def label_on_grid(
        self,
        channels: NDArray[np.float32],
        model_grid: Grid,
        scan_grid: Grid,
        engine: Engine,
        threads: int,
    ) -> tuple[NDArray[np.int16], NDArray[np.int16] | None]:
        """Take the nearest label of the model grid."""
        turned_grid = _turn(scan_grid, self.bundle)
        nearest = niftynet.resample_nearest(
            self.label(channels, engine, threads), turned_grid.shape
        )
        own, _ = reorient(nearest, turned_grid, scan_grid.axcodes)
        return np.ascontiguousarray(own, dtype=np.int16), None


KINDS: dict[str, type[Inference]] = {
    WHOLE_VOLUME: WholeVolume,
    WINDOWS: Windows,
    NIFTYNET: NiftyNet,
}


def choose_inference(bundle: ModelBundle) -> Inference:
    """Make the object for the kind of a bundle."""
    return KINDS[bundle.inference](bundle)


def _turn(grid: Grid, bundle: ModelBundle) -> Grid:
    """Turn a grid to the axes of the bundle."""
    return reorient(np.broadcast_to(np.int8(0), grid.shape), grid, bundle.axcodes)[1]


def _turn_zooms(
    grid: Grid, bundle: ModelBundle, zooms_mm: tuple[float, ...]
) -> tuple[float, float, float]:
    """Voxel sizes along the bundle's axes.

    Turning a small volume whose axes have known numbers shows where each axis went.
    """
    axes = Grid((1, 2, 3), grid.affine)
    turned = reorient(np.zeros(axes.shape, np.int8), axes, bundle.axcodes)[1].shape
    x, y, z = (float(zooms_mm[length - 1]) for length in turned)
    return x, y, z
