"""Sources of the scans of a simulated dataset: the built-in phantom or label maps.

A source yields the scans of a participant in session order. Participant and number determine the
scans.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from bids_mfi.errors import InputError
from bids_mfi.grid import Grid, reorient
from bids_mfi.muscles import LONG_NAMES, MuscleTable, paper_table
from bids_mfi.synthesis.acquisition import Body, acquire_phantom, build_body, draw_scanner
from bids_mfi.synthesis.anatomical import AnatomicalScan, make_scan
from bids_mfi.synthesis.cases import upright_grid
from bids_mfi.synthesis.composition import (
    Participant,
    change_fat_percent,
    draw_fat_percent,
    draw_participant,
)
from bids_mfi.synthesis.labelmap import common_table, find_label_maps, load_label_map
from bids_mfi.synthesis.phantom import change_posture, draw_shape
from bids_mfi.synthesis.protocol import (
    IMAGING_FREQUENCY_MHZ,
    PROTOCOLS,
    VARIED,
    ScanSettings,
    draw_protocol,
    draw_settings,
)
from bids_mfi.synthesis.subject import Subject, change_subject, draw_subject

SCAN_SHAPE = (240, 190, 40)
SCAN_SPACING_MM = (1.0, 1.0, 3.0)
SCAN_CENTRE_MM = (0.0, 10.0, -6.0)
SCAN_SHIFT_MM = (3.0, 4.0, 6.0)
SUBSAMPLES = (2, 2, 2)
OBLIQUE_SD_DEGREES = 2.5
ORIENTATIONS = (("L", "P", "S"), ("R", "A", "S"), ("L", "A", "S"))
# In-plane axes first, then the slice axis, in the storage order of scanners.
PLANE_ORIENTATIONS = {
    "axial": ORIENTATIONS,
    "coronal": (("L", "S", "P"), ("R", "S", "A"), ("R", "I", "A")),
    "sagittal": (("A", "S", "R"), ("P", "S", "L"), ("P", "I", "L")),
}
PHANTOM_TABLE = paper_table(dict.fromkeys(LONG_NAMES, "all"))


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """Acquisition parameters for the sidecars of a scan.

    Attributes
    ----------
    field_strength_t : float
    in_phase_ms, out_phase_ms : float
    slice_mm : float
    protocol : str
    """

    field_strength_t: float
    in_phase_ms: float
    out_phase_ms: float
    slice_mm: float
    protocol: str

    @property
    def echo_numbers(self) -> tuple[int, int]:
        """Numbers of the in-phase and out-of-phase echoes, in order of echo time.

        >>> ScanFacts(3.0, 2.46, 3.69, 3.0, "").echo_numbers
        (1, 2)
        >>> ScanFacts(3.0, 2.46, 1.23, 3.0, "").echo_numbers
        (2, 1)
        """
        return (1, 2) if self.in_phase_ms < self.out_phase_ms else (2, 1)

    @property
    def imaging_frequency_mhz(self) -> float:
        """Resonance frequency of hydrogen in the scanner."""
        return IMAGING_FREQUENCY_MHZ[self.field_strength_t]


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedScan:
    """One scan of a simulated dataset, on its stored grid.

    Attributes
    ----------
    in_phase, out_phase : ndarray of int16
    body : Body
        True water, fat and labels on the same grid.
    grid : Grid
        Stored grid, in any axis orientation and slightly oblique.
    facts : ScanFacts
    """

    in_phase: NDArray[np.int16]
    out_phase: NDArray[np.int16]
    body: Body
    grid: Grid
    facts: ScanFacts


class ScanSource(Interface):
    """Source of the scans of a simulated dataset.

    Attributes
    ----------
    table : MuscleTable
        The labels, with their levels.
    description : str
        Description of the scans for the dataset's README.
    licence : str or None
        Licence of the dataset, if the source knows it.
    notes : tuple of str
        Notes for the user.
    """

    table: MuscleTable
    description: str
    licence: str | None
    notes: tuple[str, ...]

    def scans(
        self, person: Participant, sessions: int, seed: tuple[int, int]
    ) -> Iterator[SimulatedScan]:
        """Yield the scans of one participant, one per session."""


class PhantomSource:
    """The package's own phantom, scanned with the paper's protocol."""

    table = PHANTOM_TABLE
    licence: str | None = "CC0"
    notes: tuple[str, ...] = ()
    description = (
        "Each scan is of the package's built-in phantom: a dual-echo gradient echo, echo 1 in "
        "phase (2.46 ms) and echo 2 out of phase (3.69 ms) at 3 T. Images are magnitudes, with "
        "T2* decay, a receive field, partial volume and Rician noise. Orientation differs between "
        "participants."
    )

    def scans(
        self, person: Participant, sessions: int, seed: tuple[int, int]
    ) -> Iterator[SimulatedScan]:
        """Yield the scans of one participant, one per session."""
        return simulate_scans(person, sessions, seed)


def draw_person(seed: int, number: int) -> Participant:
    """Draw participant ``number`` of a dataset; women and men alternate."""
    rng = np.random.default_rng([seed, number])
    return draw_participant(rng, sex="F" if number % 2 else "M")


def simulate_scans(
    person: Participant,
    sessions: int,
    seed: tuple[int, int],
    shape: tuple[int, int, int] | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
) -> Iterator[SimulatedScan]:
    """Make the scans of one participant: the same anatomy with small changes per session.

    Shape and spacing default to SCAN_SHAPE and SCAN_SPACING_MM.
    """
    shape, spacing_mm = shape or SCAN_SHAPE, spacing_mm or SCAN_SPACING_MM
    rng = np.random.default_rng([*seed, 1])
    neck = draw_shape(rng, person.sex, person.bmi)
    fat_percent = draw_fat_percent(rng, person)
    axcodes = ORIENTATIONS[int(rng.integers(len(ORIENTATIONS)))]
    for session in range(sessions):
        shift = np.array(SCAN_SHIFT_MM) * rng.uniform(-1, 1, 3)
        x, y, z = (float(value) for value in np.array(SCAN_CENTRE_MM) + shift)
        upright = upright_grid(shape, spacing_mm, (x, y, z))
        posed = change_posture(neck, rng) if session else neck
        fat = change_fat_percent(rng, fat_percent) if session else fat_percent
        tissue = np.random.default_rng([*seed, 2])
        body = build_body(tissue, posed, fat, upright, SUBSAMPLES)
        scanner = draw_scanner(rng)
        in_phase, out_phase = acquire_phantom(rng, body, scanner)
        tilted = tilt_grid(upright, np.deg2rad(OBLIQUE_SD_DEGREES) * rng.standard_normal())
        facts = ScanFacts(
            scanner.field_strength_t, scanner.in_phase_ms, scanner.out_phase_ms, spacing_mm[2],
            "paper",
        )  # fmt: skip
        yield store_scan((in_phase, out_phase), body, tilted, axcodes, facts)


def store_scan(
    images: tuple[NDArray[np.float32], NDArray[np.float32]],
    body: Body,
    grid: Grid,
    axcodes: tuple[str, str, str],
    facts: ScanFacts,
) -> SimulatedScan:
    """Convert a scan to its stored orientation and to the scanner's integers.

    Parameters
    ----------
    images : tuple of ndarray of float32
        In-phase and out-of-phase images; values beyond the int16 range are clipped.
    body : Body
    grid : Grid
        Grid of images and body.
    axcodes : tuple of str
        Directions of the stored axes.
    facts : ScanFacts
    """
    volumes = (*images, body.water, body.fat, body.labels)
    turned = [reorient(volume, grid, axcodes) for volume in volumes]
    stored = [np.ascontiguousarray(volume) for volume, _ in turned]
    in_phase, out_phase = (
        np.clip(np.rint(image), 0, np.iinfo(np.int16).max).astype(np.int16) for image in stored[:2]
    )
    return SimulatedScan(
        in_phase=in_phase,
        out_phase=out_phase,
        body=Body(
            stored[2].astype(np.float32), stored[3].astype(np.float32), stored[4].astype(np.int16)
        ),
        grid=turned[0][1],
        facts=facts,
    )


def tilt_grid(grid: Grid, angle: float) -> Grid:
    """Rotate a grid about the left-right axis of the world by an angle in radians.

    Examples
    --------
    >>> tilt_grid(upright_grid((3, 3, 3), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0)), 0.0).spacing_mm
    (1.0, 1.0, 2.0)
    """
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Grid.from_array(grid.shape, turn @ grid.matrix)


# --------------------------------------------------------------------------------- label maps


class AnatomySource:
    """Random persons with the anatomy of label maps.

    Parameters
    ----------
    paths : sequence of Path
        Label maps, or folders of them; one is drawn per participant.
    protocol : str
        One of PROTOCOLS, or ``varied``.
    levels : str
        ``paper`` labels muscles at the levels of Table 1 of the paper; ``all`` over their whole
        length.
    device : str
        Torch device for the computation; scans from different devices differ only by rounding.
    variation : float
        Factor of the variation of shape between persons.

    Raises
    ------
    InputError
        A label map or the protocol cannot be used, maps contain different muscles, or a map lacks
        a required level.
    """

    licence: str | None = None

    def __init__(
        self,
        paths: Sequence[Path],
        protocol: str = VARIED,
        levels: str = "paper",
        device: str = "cpu",
        variation: float = 1.0,
    ) -> None:
        if protocol not in (*PROTOCOLS, VARIED):
            raise InputError(
                f"--protocol {protocol} is unknown, expected {VARIED} or one of "
                f"{', '.join(PROTOCOLS)}."
            )
        files = find_label_maps(paths)
        self.maps = [load_label_map(path) for path in files]
        self.protocol, self.levels, self.device = protocol, levels, device
        self.variation = variation
        self.table = common_table(files, self.maps, levels)
        self.notes = tuple(
            f"{label_map.name}: treated as soft tissue: {', '.join(label_map.unrecognised)}"
            for label_map in self.maps
            if label_map.unrecognised
        )
        names = ", ".join(label_map.name for label_map in self.maps)
        self.description = (
            f"Each scan is of a random person on the anatomy of {names}, whose licence and credit "
            f"bind these images too. Variation of shape between persons: {variation:g}. Protocol: "
            f"{protocol}; the sidecars say which, as ProtocolName. Echoes are numbered by their "
            "time. Images are magnitudes, with T1 weighting, T2* decay, chemical shift, a receive "
            "field, partial volume, Rician noise, and in some scans movement and dental metal. How "
            "the label map was read: "
            + "; ".join(f"{name}: {tissue}" for m in self.maps for name, tissue in m.reading)
            + "."
        )

    def scans(
        self, person: Participant, sessions: int, seed: tuple[int, int]
    ) -> Iterator[SimulatedScan]:
        """Yield the scans of one participant, one per session, with one anatomy and protocol."""
        rng = np.random.default_rng([*seed, 1])
        label_map = self.maps[int(rng.integers(len(self.maps)))]
        subject = draw_subject(rng, label_map, person, self.variation)
        protocol = draw_protocol(rng, self.protocol)
        choices = PLANE_ORIENTATIONS[protocol.plane]
        axcodes = choices[int(rng.integers(len(choices)))]
        for session in range(sessions):
            settings = draw_settings(rng, protocol)
            posed = change_subject(rng, subject) if session else subject
            yield _store_anatomical(self._scan(rng, posed, settings), axcodes)

    def _scan(
        self, rng: np.random.Generator, subject: Subject, settings: ScanSettings
    ) -> AnatomicalScan:
        return make_scan(rng, subject, settings, self.levels, device=self.device)


def _store_anatomical(scan: AnatomicalScan, axcodes: tuple[str, str, str]) -> SimulatedScan:
    settings = scan.settings
    normal = {"axial": 2, "coronal": 1, "sagittal": 0}[settings.plane]
    facts = ScanFacts(
        settings.field_strength_t, settings.in_phase_ms, settings.out_phase_ms,
        round(settings.spacing_mm[normal], 3), settings.protocol,
    )  # fmt: skip
    return store_scan((scan.in_phase, scan.out_phase), scan.body, scan.grid, axcodes, facts)
