"""The options of a run, as data."""

from dataclasses import dataclass
from pathlib import Path

MISSING_RULES = ("both", "complete", "any")
ENGINES = ("auto", "openvino", "torch")
CORRECTIONS = ("none", "holm", "fdr_bh")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Every option of ``run.py``; written as provenance to ``logs/``.

    Attributes have the names of the command-line options; see ``run.py --help``.
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
    engine: str = "auto"
    fast: bool = False
    fat_water: str = "computed"
    nprocs: int | None = None
    omp_nthreads: int | None = None
    mem_gb: float | None = None
    work_dir: Path | None = None
    use_plugin: Path | None = None
    stop_on_first_crash: bool = False
    write_graph: bool = False
    overwrite: bool = False
    participants_file: Path | None = None
    session: str | None = None
    session_order: tuple[str, ...] = ()
    missing: str = "both"
    correction: str = "none"
    model: str | None = None
    controls: str | None = None
    dry_run: bool = False
    json: bool = False
    verbose: int = 0


HIGHEST_SEED = 2**63 - 1
SCHEDULES = ("constant", "cosine")
LOSSES = (
    "dice_hinge",
    "dice_hinge_double_softmax",
    "dice_hinge_and_cross_entropy",
    "smooth_dice_and_cross_entropy",
)
VALIDATIONS = ("held_out", "training")
LEVEL_CHOICES = ("all", "paper")
KEEPS = ("best", "last")
WIDTH_NAMES = ("published", "wide")
LANDMARKS, LOCAL = "landmarks", "local"
INTENSITIES = (LANDMARKS, LOCAL)

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Settings that determine the result of a training, and its length.

    The names are also the keys of a recipe, see :mod:`bids_mfi.training.recipes`. The defaults
    learn from whole volumes with the network as published.

    Attributes
    ----------
    steps : int
        Optimiser steps at most.
    learning_rate : float
        Learning rate of Adam; with a schedule, the highest.
    schedule : str
        ``constant``, or ``cosine``: a short rise, then half a cosine that ends near 0 at ``steps``.
    average_steps : int
        Number of last steps over which the weights are averaged, approximately, for validations and
        for the bundle; the weights being trained do not change. 0: no average.
    batch_size : int
        Volumes or windows of one step, each of another case.
    samples_per_volume : int
        Windows or boxes drawn from each case, one per step; 1 where whole volumes are learnt.
    seed : int
        Of weights, order of cases, augmentation and split; 0 to HIGHEST_SEED.
    spacing_mm : tuple of float
        Voxel size of the grid on which the network works, RAS order.
    normalization : str
        ``batch`` or ``instance``.
    intensity : str or None
        How images are standardised, one of INTENSITIES: by percentiles of the whole image, or by
        the signal around each voxel; None: as in the starting bundle, otherwise ``landmarks``.
    stem_stride : tuple of int
        Factor by which the network's first layers reduce the volume along each axis.
    widths : str
        Of the network's layers, one of WIDTH_NAMES.
    mirrored : bool or None
        Whether the bundle uses test-time mirroring (averages over a scan and its mirror image);
        None: as in the starting bundle, otherwise no. Validations do not.
    vertebrae : bool or None
        Whether the network labels the bodies of vertebrae too, from synthetic scans of label maps
        that name them; None: as in the starting bundle, otherwise no.
    loss : str
        One of LOSSES.
    window : tuple of int or None
        Voxels of the windows that are drawn uniformly; None for whole volumes.
    least_crop : tuple of int or None
        Only without a window: boxes are learnt from, with each length drawn between this many
        voxels and that of the whole volume; None for whole volumes. At inference, volumes are
        whole.
    border : tuple of int
        Voxels at each side of a window that are left out at inference.
    padding : tuple of int
        Voxels added at each side of the volume, in training and at inference.
    mirror_share : float
        Share of the cases whose left and right are exchanged, labels included.
    elastic_share : float
        Share of the cases that are deformed elastically.
    elastic_control_points : int
        Cells of the B-spline's control grid along each axis.
    elastic_sigma_voxels : float
        Standard deviation of the control points' shifts, in voxels of the model grid.
    scaling_percent : float
        Each axis is scaled by its own factor, up or down by at most this much.
    rotation_lr_degrees, rotation_ap_degrees : float
        Largest angle in either direction about the left-right and the anterior-posterior axis.
    in_network_affine : float
        Largest share by which NiftyNet's in-network transform draws the corners of a window
        inwards; 0 for none.
    contrast_sd : float
        Each image's signal, 0 to 1 from its darkest to its brightest voxel, is raised to a power
        of its own; this is the standard deviation of the power's logarithm.
    bfloat16 : bool or None
        Train with bfloat16 autocast; None: only on a CUDA device.
    validate_every : int
        Steps between validations, at which a checkpoint is written too.
    patience : int or None
        Validations without a better mean Dice before the training stops; None: never.
    min_delta : float
        Amount by which a mean Dice must exceed the best one to count as better.
    keep : str
        Which weights become the bundle: ``best``, those of the best mean Dice at a validation, or
        ``last``.
    validation : str
        ``held_out``: on participants that are not learnt from; ``training``: on the training scans
        themselves, not augmented.
    validation_share : float
        Share of the participants that are held out.
    randomised_share : float
        Share of the synthetic scans of label maps that are drawn from far wider ranges than those
        of ``simulate``.
    phantom_share : float
        Share of the built-in phantom among the other synthetic scans, if label maps are given too.
    relabelled_share : float
        Share of all synthetic training scans that come from label maps, have any noise from little
        to far more than scanners produce, and carry the labels that the starting bundle gives them
        at low noise. Noise then changes labels less.
    levels : str
        Extent of the muscles in scans made from label maps: ``all``, over their whole length, or
        ``paper``, at the levels of Table 1 only.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    workers : int
        Processes that make cases in advance, on the CPU; 0 for one thread.
    """

    steps: int = 3000
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    average_steps: int = 0
    batch_size: int = 1
    samples_per_volume: int = 1
    seed: int = 1
    spacing_mm: tuple[float, float, float] = (1.4, 1.4, 3.0)
    normalization: str = "instance"
    intensity: str | None = None
    stem_stride: Triple = (2, 2, 2)
    widths: str = "published"
    mirrored: bool | None = None
    vertebrae: bool | None = None
    loss: str = "dice_hinge_and_cross_entropy"
    window: Triple | None = None
    least_crop: Triple | None = None
    border: Triple = (0, 0, 0)
    padding: Triple = (0, 0, 0)
    mirror_share: float = 0.5
    elastic_share: float = 0.0
    elastic_control_points: int = 3
    elastic_sigma_voxels: float = 10.0
    scaling_percent: float = 0.0
    rotation_lr_degrees: float = 0.0
    rotation_ap_degrees: float = 0.0
    in_network_affine: float = 0.0
    contrast_sd: float = 0.0
    bfloat16: bool | None = None
    validate_every: int = 250
    patience: int | None = None
    min_delta: float = 0.0
    keep: str = "best"
    validation: str = "held_out"
    validation_share: float = 0.2
    randomised_share: float = 0.85
    phantom_share: float = 0.25
    relabelled_share: float = 0.0
    levels: str = "all"
    device: str = "auto"
    workers: int = 0
