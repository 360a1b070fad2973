"""A published NiftyNet model -> model bundle; must not know scans or BIDS.

What is read: the settings (``inference.ini``), the intensity landmarks
(``standardisation_models.txt``) and the TensorFlow checkpoint (``model.ckpt-N``). Everything that
would change a label and is not known here is refused, so that a bundle never gives other labels
than NiftyNet gave. ``docs/weber2021.md`` tells how to use it.
"""

import configparser
import hashlib
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bids_mfi.errors import ConversionError, OutputError
from bids_mfi.muscles import WEBER2021
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.bundle_files import write_bundle
from bids_mfi.network.dense_vnet import DENSE_UNITS, SIZE_DIVISOR, DenseVNet
from bids_mfi.network.niftynet_pipeline import LANDMARK_PROBABILITIES, LANDMARKS
from bids_mfi.niftynet.tensor_bundle import (
    Checkpoint,
    find_checkpoints,
    open_checkpoint,
    read_file,
    read_tensors,
)

SETTINGS_NAME = "inference.ini"
LANDMARKS_NAME = "standardisation_models.txt"
IMAGES = ("IP", "OP")
CLASSES = 15
MAX_WINDOW_VOXELS = 30_000_000
SCOPE = "DenseVNet"
IGNORED_SLOTS = ("Adam", "Adam_1", "Momentum", "RMSProp", "RMSProp_1", "Adagrad")
IGNORED_COUNTERS = ("biased", "local_step")
OPTIMISER_VARIABLES = ("ApplyGradients/beta1_power", "ApplyGradients/beta2_power")
WEBER2021_INDEX_SHA256 = "4a3bc5b81d37f0b2f1b5381c6fe53c9bb7b8be4e577aaac6f08a42746d61bf8d"
WEBER2021_LICENCE = """\
The weights in models/model.pt were converted, unchanged in value, from the model that
K. A. Weber II and colleagues published at
https://github.com/kennethaweberii/Neck_Muscle_Segmentation under the GNU General Public License,
version 3: https://www.gnu.org/licenses/gpl-3.0.txt. Whoever passes them on does so under that
licence.
"""
UNKNOWN_LICENCE = """\
The weights in models/model.pt were converted from a NiftyNet model. Its licence is not known to the
program that converted it; ask those who made the model.
"""

# Settings with one value that is known here, in the order of the file, and what NiftyNet takes
# where the file is silent.
REQUIRED = (
    ("NETWORK", "name", "dense_vnet", ""),
    ("NETWORK", "normalisation", "true", "false"),
    ("NETWORK", "whitening", "true", "false"),
    ("NETWORK", "normalise_foreground_only", "true", "false"),
    ("NETWORK", "foreground_type", "threshold_plus", "otsu_plus"),
    ("NETWORK", "multimod_foreground_type", "and", "and"),
    ("NETWORK", "norm_type", "percentile", "percentile"),
    ("NETWORK", "volume_padding_mode", "minimum", "minimum"),
    ("NETWORK", "keep_prob", "1", "1"),
    ("NETWORK", "window_sampling", "uniform", "uniform"),
    ("INFERENCE", "output_interp_order", "0", "0"),
    ("SEGMENTATION", "output_prob", "false", "false"),
    ("SEGMENTATION", "num_classes", str(CLASSES), "-1"),
)

Triple = tuple[int, int, int]
Landmarks = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``inference.ini`` says about the path from images to labels.

    Attributes
    ----------
    spacing_mm, axcodes : tuple
        Of the model grid.
    window, border, padding : tuple of int
        Voxels along each axis.
    cutoff : tuple of float
        Probabilities of the first and the last intensity landmark.
    iteration : int
        Of the checkpoint; negative for the last one.
    landmarks_file, model_dir : str
        As they stand in the file.
    """

    spacing_mm: tuple[float, float, float]
    axcodes: tuple[str, str, str]
    window: Triple
    border: Triple
    padding: Triple
    cutoff: tuple[float, float]
    iteration: int = -1
    landmarks_file: str = LANDMARKS_NAME
    model_dir: str = "."


PUBLISHED = Settings(
    spacing_mm=(0.7, 0.7, 3.0),
    axcodes=("R", "A", "S"),
    window=(360, 240, 32),
    border=(8, 8, 8),
    padding=(90, 60, 8),
    cutoff=(0.001, 1.0),
)


def convert(model_dir: Path, bundle_dir: Path) -> ModelBundle:
    """Write a bundle from a published NiftyNet model; on failure nothing is left behind.

    Parameters
    ----------
    model_dir : Path
        The authors' repository as published, or a folder with its files side by side.
    bundle_dir : Path
        A new or empty folder.

    Raises
    ------
    ConversionError
        The model is incomplete, damaged, or not of the kind that is known here.
    OutputError
        ``bundle_dir`` is not empty or cannot be written.
    """
    temporary = bundle_dir.with_name(f".{bundle_dir.name}.{os.getpid()}")
    try:
        _check_target(bundle_dir)
        bundle, state, licence_text = read_model(model_dir)
        written = write_bundle(replace(bundle, folder=temporary), state, licence_text)
        temporary.replace(bundle_dir)
    except OSError as error:
        raise OutputError(
            f"{bundle_dir}: cannot be written ({error.strerror}). Choose another folder."
        ) from error
    except OutputError as error:
        named = str(error).replace(str(temporary), str(bundle_dir))
        raise OutputError(named) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return replace(written, folder=bundle_dir)


def _check_target(bundle_dir: Path) -> None:
    if bundle_dir.is_symlink() or (bundle_dir.exists() and not bundle_dir.is_dir()):
        raise OutputError(f"{bundle_dir}: is no folder. Name a new or empty folder for the bundle.")
    if bundle_dir.is_dir() and any(bundle_dir.iterdir()):
        raise OutputError(
            f"{bundle_dir}: is not empty, expected a new or empty folder. Name another one, or "
            "remove it."
        )


def read_model(model_dir: Path) -> tuple[ModelBundle, dict[str, Tensor], str]:
    """Read and check all files of a model.

    Returns
    -------
    bundle : ModelBundle
        Without folder and sha256.
    state : dict of str to Tensor
        Of ``DenseVNet``.
    licence_text : str

    Raises
    ------
    ConversionError
        See :func:`convert`.
    """
    if not os.path.isdir(model_dir):
        raise ConversionError(
            f"{model_dir}: no such folder. Expected the published model: {SETTINGS_NAME}, its "
            "landmarks and its checkpoint."
        )
    settings_file = find_settings(model_dir)
    settings = read_settings(settings_file)
    landmarks_file = _find_landmarks(model_dir, settings)
    landmarks = read_landmarks(landmarks_file)
    checkpoint = open_checkpoint(_find_checkpoint(model_dir, settings))
    state = read_state(checkpoint)
    origin = {
        f"{path.name} sha256": hashlib.sha256(read_file(path)).hexdigest()
        for path in (settings_file, landmarks_file, checkpoint.index, checkpoint.data)
    }
    bundle = _describe(settings, landmarks, checkpoint, origin)
    return bundle, state, _choose_licence(model_dir, bundle)


# ------------------------------------------------------------------------------- finding files


def find_settings(model_dir: Path) -> Path:
    """Return ``inference.ini``, or the only ini file there is.

    Raises
    ------
    ConversionError
        There is none, or several of other names.
    """
    named = model_dir / SETTINGS_NAME
    candidates = [named] if named.exists() else sorted(model_dir.glob("*.ini"))
    if len(candidates) != 1:
        raise ConversionError(
            f"{named}: no such file ({len(candidates)} other ini files are there). Expected the "
            "settings of the published model beside its checkpoint."
        )
    return candidates[0]


def _find_landmarks(model_dir: Path, settings: Settings) -> Path:
    name = Path(settings.landmarks_file).name
    folders = (_own_folder(model_dir, settings), model_dir, *sorted(model_dir.glob("*/")))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise ConversionError(
        f"{model_dir / name}: no such file, nor in a folder beside it. Expected the intensity "
        "landmarks that inference.ini names as histogram_ref_file."
    )


def _own_folder(model_dir: Path, settings: Settings) -> Path:
    """Folder of the checkpoint that the settings name; never one outside ``model_dir``."""
    return model_dir / Path(settings.model_dir).name


def _find_checkpoint(model_dir: Path, settings: Settings) -> Path:
    """Prefix of the checkpoint of the iteration that the settings name, else of the last one."""
    own = _own_folder(model_dir, settings)
    below = [*sorted(model_dir.glob("*/models")), *sorted(model_dir.glob("*/"))]
    folders = [own / "models", own, model_dir / "models", model_dir, *below]
    found = next((f for folder in folders if (f := find_checkpoints(folder))), {})
    if not found:
        raise ConversionError(
            f"{own / 'models'}: no model.ckpt-N.index there, in {model_dir} or in a folder beside. "
            "Expected the published TensorFlow checkpoint."
        )
    wanted = settings.iteration if settings.iteration >= 0 else max(found)
    if wanted not in found:
        raise ConversionError(
            f"{next(iter(found.values())).parent}: has the checkpoints {sorted(found)}, expected "
            f"{wanted} as inference_iter in the settings says. Fetch it, or correct the settings."
        )
    return found[wanted]


# ------------------------------------------------------------------------------------ settings


def read_settings(path: Path) -> Settings:
    """Read ``inference.ini``.

    Raises
    ------
    ConversionError
        It cannot be read, a value is missing, or one stands for something not known here.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_file(path).decode("utf-8-sig", errors="replace"))
        _check_known(parser)
        return _parse_settings(parser)
    except configparser.Error as error:
        reason = " ".join(str(error).split())
        raise ConversionError(
            f"{path}: cannot be read as the settings of NiftyNet ({reason}). Fetch it again."
        ) from error
    except ValueError as error:
        raise ConversionError(f"{path}: {error}. This model cannot be converted.") from error


def _check_known(parser: configparser.ConfigParser) -> None:
    for section, key, known, silent in REQUIRED:
        found = _get(parser, section, key, silent)
        if _plain(found) != known:
            raise ValueError(f"[{section}] {key} is {found or 'missing'}, expected {known}")
    images = tuple(_split(_get(parser, "SEGMENTATION", "image")))
    if images != IMAGES:
        raise ValueError(f"[SEGMENTATION] image is {images}, expected {IMAGES}")
    if _plain(_get(parser, "NETWORK", "volume_padding_to_size", "0")) not in ("", "0", "0,0,0"):
        raise ValueError("[NETWORK] volume_padding_to_size is set, expected none")
    for image in IMAGES:
        order = _get(parser, image, "interp_order", "3")
        if _plain(order) != "3":
            raise ValueError(f"[{image}] interp_order is {order}, expected 3")


def _plain(text: str) -> str:
    """Value as it is compared: yes and 1.0 are written in more than one way.

    >>> _plain("True"), _plain("1.00"), _plain("(0, 0, 0)"), _plain("AND")
    ('true', '1', '0,0,0', 'and')
    """
    lowered = ",".join(_split(text)).lower()
    lowered = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(lowered, lowered)
    try:
        return f"{float(lowered):g}"
    except ValueError:
        return lowered


def _split(text: str) -> list[str]:
    """Parts of ``(1, 2, 3)`` or ``1,2,3``.

    >>> _split("(R, A, S)")
    ['R', 'A', 'S']
    """
    return [part.strip() for part in text.strip().strip("()[]").split(",") if part.strip()]


def _get(parser: configparser.ConfigParser, section: str, key: str, silent: str = "") -> str:
    found = parser.get(section, key, fallback=silent).partition("#")[0].strip()
    return found if _split(found) else silent


def _parse_settings(parser: configparser.ConfigParser) -> Settings:
    window = _get(parser, "INFERENCE", "spatial_window_size")
    cutoff = _numbers(parser, "NETWORK", "cutoff", 2)
    settings = Settings(
        spacing_mm=_floats(_same(parser, "pixdim"), "pixdim"),
        axcodes=_axes(_same(parser, "axcodes")),
        window=_integers(window or _same(parser, "spatial_window_size"), "spatial_window_size"),
        border=_integers(_get(parser, "INFERENCE", "border"), "border"),
        padding=_integers(_get(parser, "NETWORK", "volume_padding_size"), "volume_padding_size"),
        cutoff=(min(max(cutoff[0], 0.0), 0.09), max(min(cutoff[1], 1.0), 0.91)),
        iteration=int(_get(parser, "INFERENCE", "inference_iter", "-1")),
        landmarks_file=_get(parser, "NETWORK", "histogram_ref_file", LANDMARKS_NAME),
        model_dir=_get(parser, "SYSTEM", "model_dir", "."),
    )
    _check_sizes(settings)
    return settings


def _check_sizes(settings: Settings) -> None:
    if math.prod(settings.window) > MAX_WINDOW_VOXELS:
        raise ValueError(
            f"spatial_window_size is {settings.window}, expected at most {MAX_WINDOW_VOXELS} voxels"
        )
    if any(size <= 0 or size % SIZE_DIVISOR for size in settings.window):
        raise ValueError(
            f"spatial_window_size is {settings.window}, expected multiples of {SIZE_DIVISOR}"
        )
    if any(2 * b >= w or b < 0 for b, w in zip(settings.border, settings.window, strict=True)):
        raise ValueError(f"border is {settings.border}, expected less than half of the window")
    if min(settings.padding) < 0 or min(settings.spacing_mm) <= 0:
        raise ValueError(
            f"volume_padding_size is {settings.padding} and pixdim {settings.spacing_mm}, expected "
            "no negative padding and positive voxel sizes"
        )


def _same(parser: configparser.ConfigParser, key: str) -> str:
    """Value that both images share."""
    first, second = (_get(parser, image, key) for image in IMAGES)
    if not first or _split(first) != _split(second):
        raise ValueError(
            f"{key} is {first or 'missing'} in [{IMAGES[0]}] and {second or 'missing'} in "
            f"[{IMAGES[1]}], expected one value for both"
        )
    return first


def _numbers(
    parser: configparser.ConfigParser, section: str, key: str, count: int
) -> tuple[float, ...]:
    text = _get(parser, section, key)
    numbers = tuple(float(part) for part in _split(text))
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"[{section}] {key} is {text or 'missing'}, expected {count} numbers")
    return numbers


def _floats(text: str, key: str) -> tuple[float, float, float]:
    """Read three numbers; one stands for all.

    >>> _floats("(0.7, 0.7, 3)", "pixdim")
    (0.7, 0.7, 3.0)
    """
    parts = _split(text)
    try:
        x, y, z = (float(part) for part in (parts * 3 if len(parts) == 1 else parts))
    except ValueError:
        raise ValueError(f"{key} is {text or 'missing'}, expected three numbers") from None
    if not all(map(math.isfinite, (x, y, z))):
        raise ValueError(f"{key} is {text}, expected three finite numbers")
    return x, y, z


def _integers(text: str, key: str) -> Triple:
    numbers = _floats(text, key)
    if any(number != int(number) for number in numbers):
        raise ValueError(f"{key} is {text}, expected three whole numbers")
    return int(numbers[0]), int(numbers[1]), int(numbers[2])


def _axes(text: str) -> tuple[str, str, str]:
    parts = _split(text.upper())
    if len(parts) != 3 or {frozenset("LR"), frozenset("AP"), frozenset("IS")} != {
        pair for part in parts for pair in map(frozenset, ("LR", "AP", "IS")) if part in pair
    }:
        raise ValueError(f"axcodes is {text}, expected one of L/R, one of P/A and one of I/S")
    return parts[0], parts[1], parts[2]


# ----------------------------------------------------------------------------------- landmarks


def read_landmarks(path: Path) -> Landmarks:
    """Read the intensity landmarks of both images, thirteen each, as float32 numbers.

    Raises
    ------
    ConversionError
        An image is missing, its numbers are not thirteen that never fall, or labels are renamed.
    """
    try:
        rows = {words[0]: words[1:] for words in map(str.split, _lines(path)) if words}
        numbers = {name: [float(word) for word in words] for name, words in rows.items()}
    except ValueError as error:
        raise ConversionError(
            f"{path}: is no file of landmarks ({error}). Expected a name and numbers in each line."
        ) from error
    for name, values in numbers.items():
        if name.endswith(("-from", "-to")) and values != list(range(CLASSES)):
            raise ConversionError(
                f"{path}: {name} renames labels, expected 0 to {CLASSES - 1} in their order."
            )
    return tuple(_landmarks_of(path, image, numbers.get(image, [])) for image in IMAGES)


def _lines(path: Path) -> list[str]:
    return read_file(path).decode().splitlines()


def _landmarks_of(path: Path, image: str, values: list[float]) -> tuple[float, ...]:
    rising = len(values) > 1 and all(a <= b for a, b in pairwise(values)) and values[0] < values[-1]
    if len(values) != LANDMARKS or not rising or not all(map(math.isfinite, values)):
        raise ConversionError(
            f"{path}: {image} has {len(values)} landmarks {values}, expected {LANDMARKS} that "
            "never fall. Fetch the file again."
        )
    return tuple(float(np.float32(value)) for value in values)


# ------------------------------------------------------------------------------------- weights


def variable_names() -> dict[str, str]:
    """For each tensor of ``DenseVNet().state_dict()`` its variable in a NiftyNet checkpoint.

    >>> names = variable_names()
    >>> len(names), names["blocks.2.skip.conv.weight"]
    (161, 'DenseVNet/dense_feature_stack_block_2/conv_bn_relu/conv_/w')
    """
    names = dict(_norm_names("pool_bn", f"{SCOPE}/batch_norm"))
    names |= _unit_names("init_conv", f"{SCOPE}/conv_bn")
    for block, units in enumerate(DENSE_UNITS):
        scope = f"{SCOPE}/dense_feature_stack_block{_suffix(block)}"
        for unit in range(units):
            child = f"{scope}/dense_feature_stack_block/conv_bn_relu{_suffix(unit)}"
            names |= _unit_names(f"blocks.{block}.dense.{unit}", child)
        names |= _unit_names(f"blocks.{block}.skip", f"{scope}/conv_bn_relu")
        if block + 1 < len(DENSE_UNITS):
            names |= _unit_names(f"blocks.{block}.down", f"{scope}/conv_bn_relu_1")
    final = f"{SCOPE}/conv/conv_"
    return names | {"final.weight": f"{final}/w", "final.bias": f"{final}/b"}


def _suffix(number: int) -> str:
    return f"_{number}" if number else ""


def _unit_names(own: str, scope: str) -> dict[str, str]:
    return {f"{own}.conv.weight": f"{scope}/conv_/w", **_norm_names(f"{own}.bn", f"{scope}/bn_")}


def _norm_names(own: str, scope: str) -> dict[str, str]:
    return {
        f"{own}.weight": f"{scope}/gamma",
        f"{own}.bias": f"{scope}/beta",
        f"{own}.running_mean": f"{scope}/moving_mean",
        f"{own}.running_var": f"{scope}/moving_variance",
    }


def read_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """State dict of ``DenseVNet`` from a checkpoint, every variable verified.

    The numbers of updates that the moving averages count are set to the checkpoint's iteration.

    Raises
    ------
    ConversionError
        A variable is missing, unknown, of another shape, damaged or not finite.
    """
    names = variable_names()
    wanted = DenseVNet(len(IMAGES), CLASSES, "batch").state_dict()
    _check_variables(checkpoint, {names[own]: tuple(wanted[own].shape) for own in names})
    tensors = read_tensors(checkpoint, names.values())
    _check_numbers(checkpoint, tensors)
    iteration = torch.tensor(int(checkpoint.prefix.name.rpartition("-")[2]))
    return {
        own: _as_torch(tensors[names[own]]) if own in names else iteration.clone() for own in wanted
    }


def _as_torch(tensor: NDArray[np.float32]) -> Tensor:
    """TensorFlow's kernels are (x, y, z, in, out), PyTorch's (out, in, x, y, z)."""
    turned = np.transpose(tensor, (4, 3, 0, 1, 2)) if tensor.ndim == 5 else tensor
    return torch.from_numpy(np.ascontiguousarray(turned))


def _check_variables(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if name not in checkpoint.entries:
            raise ConversionError(
                f"{checkpoint.index}: the variable {name} is missing, expected the {len(shapes)} "
                "of NiftyNet's dense_vnet with 2 images and 15 classes."
            )
        found = checkpoint.entries[name].shape
        turned = (found[4], found[3], *found[:3]) if len(found) == 5 else found
        if turned != shape:
            expected = (*shape[2:], shape[1], shape[0]) if len(shape) == 5 else shape
            raise ConversionError(
                f"{checkpoint.index}: {name} has the shape {found}, expected {expected} as in "
                "NiftyNet's dense_vnet with 2 images and 15 classes."
            )
    for name in unknown_variables(checkpoint.entries, shapes):
        raise ConversionError(
            f"{checkpoint.index}: the variable {name} is unknown, expected only those of "
            "NiftyNet's dense_vnet with its default parameters and of its optimiser."
        )


def unknown_variables(found: Iterable[str], needed: Iterable[str]) -> Iterator[str]:
    """Variables that are neither needed nor left by the optimiser or the moving averages.

    >>> found = ["a/w", "a/w/Adam", "b/w/Adam", "s/moving_mean", "s/s/moving_mean/biased"]
    >>> list(unknown_variables(found, ["a/w", "s/moving_mean"]))
    ['b/w/Adam']
    """
    known = set(needed)
    for name in sorted(set(found) - known):
        stem, _, last = name.rpartition("/")
        slot = stem in known and last in IGNORED_SLOTS
        counter = last in IGNORED_COUNTERS and _without_repetition(stem) in known
        if not (slot or counter or name in OPTIMISER_VARIABLES):
            yield name


def _without_repetition(stem: str) -> str:
    """Name of the moving average whose counter repeats the scope.

    >>> _without_repetition("a/bn_/a/bn_/moving_mean")
    'a/bn_/moving_mean'
    """
    scope, _, last = stem.rpartition("/")
    half = scope[: len(scope) // 2]
    return f"{half}/{last}" if scope == f"{half}/{half}" else stem


def _check_numbers(checkpoint: Checkpoint, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ConversionError(
                f"{checkpoint.data}: {name} holds values that are not finite; training has failed. "
                "Use another checkpoint."
            )
        if name.endswith("/moving_variance") and (tensor < 0).any():
            raise ConversionError(f"{checkpoint.data}: {name} is negative, expected a variance.")


# ---------------------------------------------------------------------------------- the bundle


def _describe(
    settings: Settings, landmarks: Landmarks, checkpoint: Checkpoint, origin: Mapping[str, str]
) -> ModelBundle:
    digest = origin[f"{checkpoint.index.name} sha256"]
    known = digest == WEBER2021_INDEX_SHA256
    iteration = checkpoint.prefix.name.rpartition("-")[2]
    inner = tuple(100 * probability for probability in LANDMARK_PROBABILITIES)
    return ModelBundle(
        folder=Path(),
        name="weber2021" if known else f"niftynet-{digest[:8]}",
        version=f"ckpt-{iteration}",
        sha256="",
        spacing_mm=settings.spacing_mm,
        axcodes=settings.axcodes,
        landmarks=landmarks,
        landmark_percentiles=(100 * settings.cutoff[0], *inner, 100 * settings.cutoff[1]),
        table=WEBER2021,
        description=_description(settings, known),
        licence="GPL-3.0-only" if known else "NOASSERTION",
        inference="niftynet",
        window=settings.window,
        border=settings.border,
        padding=settings.padding,
        normalization="batch",
        training=(("iterations", iteration), ("made by", "NiftyNet (TensorFlow 1)")),
        references=("doi:10.1038/s41598-021-95972-x", "doi:10.1109/TMI.2018.2806309")
        if known
        else ("doi:10.1109/TMI.2018.2806309",),
        origin=tuple(origin.items()),
    )


def _description(settings: Settings, known: bool) -> str:
    if not known:
        return "Converted from a NiftyNet dense_vnet; who trained it, and on what, is not known."
    text = "The model that Weber et al. 2021 published, converted from NiftyNet"
    used = replace(
        PUBLISHED,
        iteration=settings.iteration,
        landmarks_file=settings.landmarks_file,
        model_dir=settings.model_dir,
    )
    return f"{text}." if settings == used else f"{text}; its settings are not the published ones."


def _choose_licence(model_dir: Path, bundle: ModelBundle) -> str:
    """Text that comes with the model, after a sentence on where it comes from."""
    notice = WEBER2021_LICENCE if bundle.name == "weber2021" else UNKNOWN_LICENCE
    texts = [path for path in sorted(model_dir.glob("LICEN[CS]E*")) if path.is_file()]
    return "\n".join([notice, *(read_file(path).decode(errors="replace") for path in texts)])
