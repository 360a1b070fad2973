"""Settings of the published model (``inference.ini``), read and checked."""

import configparser
import math
from dataclasses import dataclass
from pathlib import Path

from bids_mfi.errors import ConversionError
from bids_mfi.network.architecture import SIZE_DIVISOR
from bids_mfi.niftynet.tensor_bundle import read_file

SETTINGS_NAME = "inference.ini"
LANDMARKS_NAME = "standardisation_models.txt"
IMAGES = ("IP", "OP")
CLASSES = 15
MAX_WINDOW_VOXELS = 30_000_000

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


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``inference.ini`` says about the path from images to labels.

    Attributes
    ----------
    spacing_mm, axcodes : tuple
        Voxel size and orientation of the model grid.
    window, border, padding : tuple of int
        Voxels along each axis.
    cutoff : tuple of float
        Probabilities of the first and the last intensity landmark.
    iteration : int
        Iteration of the checkpoint; negative for the last one.
    landmarks_file, model_dir : str
        As in the file.
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


def own_folder(model_dir: Path, settings: Settings) -> Path:
    """Folder of the checkpoint that the settings name; never one outside ``model_dir``."""
    return model_dir / Path(settings.model_dir).name


def read_settings(path: Path) -> Settings:
    """Read ``inference.ini``.

    Raises
    ------
    ConversionError
        It cannot be read, a value is missing, or a value is not supported.
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
    """Value in a form to compare: yes and 1.0 can be written in several ways.

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
    """Read three numbers; a single number applies to all.

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
