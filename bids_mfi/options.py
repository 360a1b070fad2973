"""The options of a run, as data; must not parse, print or open anything."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Every option of ``run.py``; written as provenance to ``logs/``.

    Attributes carry the names of the command line's options; see ``run.py --help``.
    """

    bids_dir: Path
    output_dir: Path
    analysis_level: str
    participant_label: tuple[str, ...] = ()
    session_label: tuple[str, ...] = ()
    bids_filter_file: Path | None = None
    bids_database_dir: Path | None = None
    skip_bids_validation: bool = False
    bundle: Path | None = None
    device: str = "auto"
    fat_water: str = "computed"
    nprocs: int | None = None
    omp_nthreads: int | None = None
    mem_gb: float | None = None
    work_dir: Path | None = None
    use_plugin: Path | None = None
    stop_on_first_crash: bool = False
    write_graph: bool = False
    overwrite: bool = False
    dry_run: bool = False
    json: bool = False
    verbose: int = 0


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What decides the result of a training, and how long it may take.

    Attributes
    ----------
    steps : int
        Optimiser steps.
    learning_rate : float
    batch_size : int
    seed : int
    spacing_mm : tuple of float
        Voxel size of the grid on which the network works, RAS order.
    normalization : str
        ``batch`` or ``instance``.
    validate_every : int
        Steps between validations, at which a checkpoint is written too.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    bfloat16 : bool
        Train with bfloat16 autocast; faster on processors and cards that calculate in it.
    """

    steps: int = 3000
    learning_rate: float = 1e-3
    batch_size: int = 1
    seed: int = 1
    spacing_mm: tuple[float, float, float] = (1.4, 1.4, 3.0)
    normalization: str = "instance"
    validate_every: int = 250
    device: str = "auto"
    bfloat16: bool = False
