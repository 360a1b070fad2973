"""A model bundle as a value: identity, grid, labels and how images are given to the network."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bids_mfi.muscles import MuscleTable
from bids_mfi.network.architecture import PUBLISHED_STRIDE, PUBLISHED_WIDTHS
from bids_mfi.network.intensity import PROBABILITIES_PERCENT, Landmarks
from bids_mfi.options import LANDMARKS

METADATA = Path("configs", "metadata.json")
INFERENCE = Path("configs", "inference.json")
WEIGHTS = Path("models", "model.pt")
LICENSE = Path("LICENSE")
CHANNELS = ("in_phase", "out_phase")
WHOLE_VOLUME, WINDOWS, NIFTYNET = "whole_volume", "windows", "niftynet"
INFERENCE_MODES = (WHOLE_VOLUME, WINDOWS, NIFTYNET)
REMEDY = "Fetch or write the bundle again, or name another one with --bundle."
LABEL_FIELDS = ("index", "name", "muscle", "hemi", "color", "levels")
Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """What a trained network expects and returns.

    Attributes
    ----------
    folder : Path
        Folder from which the bundle was loaded.
    name, version : str
    sha256 : str
        Of ``models/model.pt``, hexadecimal.
    channels : tuple of str
        Images in the order of the network's inputs.
    spacing_mm : tuple of float
        Voxel size of the model grid, along ``axcodes``.
    axcodes : tuple of str
        Orientation of the model grid.
    inference : str
        ``whole_volume``: one pass over the padded volume; ``windows``: overlapping windows;
        ``niftynet``: the windows and all other steps of NiftyNet, see ``niftynet_pipeline``.
    window, border, padding : tuple of int
        Voxels along each axis: size of a window, the margin of each window whose logits are left
        out, and the voxels added on both sides of the volume. ``window`` and ``border`` are unused
        with ``whole_volume``.
    landmarks : tuple of tuple of float
        Intensity landmarks of each channel, see ``intensity`` and ``niftynet_pipeline``.
    landmark_percentiles : tuple of float
        Percentiles to which the landmarks belong.
    table : MuscleTable
        The labels, with the vertebral levels on which they were learnt.
    intensity : str
        How images are standardised: ``landmarks``, see ``intensity`` and ``niftynet_pipeline``, or
        ``local``, see ``local_intensity``; the latter has no landmarks.
    vertebrae : tuple of str
        Levels of the vertebral bodies that the network labels in addition to the muscles, in the
        order of their classes, which follow those of the muscles.
    normalization : str
        Of the network, ``batch`` or ``instance``.
    stem_stride : tuple of int
    widths : str
        Of the network, see ``DenseVNet``.
    mirrored : bool
        Logits are averaged over the volume and its mirror image, with sides exchanged back.
    training : tuple of (str, str)
        How the weights were made: data, ranges, recipe; informative text.
    licence : str
        SPDX identifier of the weights' licence.
    description : str
    references : tuple of str
    origin : tuple of (str, str)
        The files from which a converted bundle was made, with their sha256; informative text.
    """

    folder: Path
    name: str
    version: str
    sha256: str
    spacing_mm: tuple[float, float, float]
    landmarks: Landmarks
    table: MuscleTable
    description: str
    licence: str
    channels: tuple[str, ...] = CHANNELS
    axcodes: tuple[str, str, str] = ("R", "A", "S")
    inference: str = WHOLE_VOLUME
    window: Triple = (0, 0, 0)
    border: Triple = (0, 0, 0)
    padding: Triple = (0, 0, 0)
    normalization: str = "instance"
    stem_stride: Triple = PUBLISHED_STRIDE
    widths: str = PUBLISHED_WIDTHS
    mirrored: bool = False
    intensity: str = LANDMARKS
    vertebrae: tuple[str, ...] = ()
    training: tuple[tuple[str, str], ...] = ()
    references: tuple[str, ...] = ()
    landmark_percentiles: tuple[float, ...] = PROBABILITIES_PERCENT
    origin: tuple[tuple[str, str], ...] = ()

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.folder / WEIGHTS

    @property
    def identity(self) -> str:
        """sha256 of everything that determines labels: weights and preparation of images."""
        intensity = (self.landmarks, self.landmark_percentiles)
        images = (self.channels, self.spacing_mm, self.axcodes, intensity)
        passes = (self.inference, self.window, self.border, self.padding, self.normalization)
        # A bundle of the published network keeps the identity that it had before there were others.
        network = () if self.stem_stride == PUBLISHED_STRIDE else (self.stem_stride,)
        widths = () if self.widths == PUBLISHED_WIDTHS else (self.widths,)
        mirrored = ("mirrored",) if self.mirrored else ()
        local = () if self.intensity == LANDMARKS else (self.intensity,)
        more = (*network, *widths, *mirrored, *local, *self.vertebrae)
        decisive = (self.sha256, images, passes, self.table, *more)
        return hashlib.sha256(repr(decisive).encode()).hexdigest()

    @property
    def joins_windows(self) -> bool:
        """Whether the logits of the volume are those of windows, joined."""
        return self.inference == WINDOWS

    @property
    def muscle_classes(self) -> int:
        """Classes of muscles: the highest label and all below it, with background."""
        return 1 + max(muscle.index for muscle in self.table)

    @property
    def out_channels(self) -> int:
        """Classes of the network."""
        return self.muscle_classes + len(self.vertebrae)
