"""The interface between inference and the library that computes the network."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_mfi.network.body_box import Box

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What computed the labels of a scan, for its sidecar.

    Attributes
    ----------
    name : str
        ``openvino`` or ``torch``.
    version : str
        Of that library.
    device : str
        ``cpu`` or ``cuda``.
    precision : str
        ``float32`` or ``bfloat16``.
    """

    name: str
    version: str
    device: str
    precision: str = "float32"

    def describe(self) -> dict[str, str]:
        """Entries of ``Engine`` in the sidecars."""
        return {
            "Name": self.name,
            "Version": self.version,
            "Device": self.device,
            "Precision": self.precision,
        }


class Engine(ABC):
    """A network with its weights, ready to compute.

    Attributes
    ----------
    facts : EngineFacts
    stride : tuple of int
        Factor by which the grid of :meth:`coarse_logits` is coarser than the images.
    """

    facts: EngineFacts
    stride: Triple

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Do what can be done before the volume for :meth:`coarse_logits` is known.

        Parameters
        ----------
        shape : tuple of int
            (channels, x, y, z), of the volume.
        """
        return None

    @abstractmethod
    def coarse_logits(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of all classes before their interpolation to the grid of the images.

        Parameters
        ----------
        volume : ndarray of float32, shape (channels, x, y, z)
            Standardised; every size is a multiple of 8.

        Returns
        -------
        ndarray of float32, shape (classes, x / stride, y / stride, z / stride)
            Their voxel i is at voxel ``i * stride`` of the images.
        """

    def part_logits(self, volume: NDArray[np.float32], part: Box) -> NDArray[np.float32]:
        """Logits of a part of the coarse grid; an engine may leave out all else.

        Parameters
        ----------
        volume : ndarray of float32, shape (channels, x, y, z)
            As for :meth:`coarse_logits`.
        part : tuple of slice
            Of the coarse grid.

        Returns
        -------
        ndarray of float32, shape (classes, *shape of the part)
        """
        return self.coarse_logits(volume)[(slice(None), *part)]
