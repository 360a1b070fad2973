"""Training recipes: TOML files -> TrainOptions.

The keys of a recipe are the field names of :class:`bids_mfi.options.TrainOptions`. Missing keys
take the default of that class. This module checks every value before any computation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bids_mfi.errors import InputError
from bids_mfi.options import (
    HIGHEST_SEED,
    INTENSITIES,
    KEEPS,
    LEVEL_CHOICES,
    LOSSES,
    SCHEDULES,
    VALIDATIONS,
    WIDTH_NAMES,
    TrainOptions,
)
from bids_mfi.printing import show_value
from bids_mfi.reading import explain_failure, is_file, read_toml

RECIPES = Path(__file__).parents[1] / "data" / "recipes"
WINDOW_DIVISOR = 8
MOST_COUNT = 10**9  # for steps and similar counts
MOST_VOXELS = 1024  # along an axis


@dataclass(frozen=True, slots=True)
class Rule:
    """Requirement on a value: a test and its description."""

    holds: Callable[[Any], bool]
    words: str


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(low: int, high: int = MOST_COUNT) -> Rule:
    return Rule(
        lambda value: _is_whole(value) and low <= value <= high,
        f"a whole number from {low} to {high}",
    )


def _voxels(low: int, high: int, divisor: int = 1) -> Rule:
    what = f"multiples of {divisor}" if divisor > 1 else "whole numbers"
    return _three(
        lambda value: _is_whole(value) and low <= value <= high and value % divisor == 0,
        f"{what} from {low} to {high}",
    )


def _number(low: float, high: float) -> Rule:
    return Rule(
        lambda value: _is_number(value) and low <= value <= high, f"a number {low:g} to {high:g}"
    )


def _one_of(words: tuple[str, ...]) -> Rule:
    return Rule(lambda value: value in words, " or ".join(words))


def _three(holds: Callable[[Any], bool], words: str) -> Rule:
    return Rule(
        lambda value: (
            isinstance(value, list | tuple) and len(value) == 3 and all(map(holds, value))
        ),
        f"three {words}",
    )


SHARE = _number(0, 1)
TRUE_OR_FALSE = Rule(lambda value: isinstance(value, bool), "true or false")
RULES: Mapping[str, Rule] = {
    "steps": _whole(1),
    "learning_rate": _number(1e-8, 1),
    "schedule": _one_of(SCHEDULES),
    "average_steps": _whole(0),
    "batch_size": _whole(1, 1024),
    "samples_per_volume": _whole(1, 1024),
    "seed": Rule(
        lambda value: _is_whole(value) and 0 <= value <= HIGHEST_SEED,
        f"a whole number from 0 to {HIGHEST_SEED}",
    ),
    "spacing_mm": _three(lambda v: _is_number(v) and 0.3 <= v <= 20, "numbers 0.3 to 20"),
    "normalization": _one_of(("batch", "instance")),
    "intensity": _one_of(INTENSITIES),
    "stem_stride": _three(lambda v: _is_whole(v) and v in (1, 2), "numbers, each 1 or 2"),
    "widths": _one_of(WIDTH_NAMES),
    "mirrored": TRUE_OR_FALSE,
    "vertebrae": TRUE_OR_FALSE,
    "loss": _one_of(LOSSES),
    "window": _voxels(WINDOW_DIVISOR, MOST_VOXELS, WINDOW_DIVISOR),
    "least_crop": _voxels(8, MOST_VOXELS),
    "border": _voxels(0, MOST_VOXELS),
    "padding": _voxels(0, 256),
    "mirror_share": SHARE,
    "elastic_share": SHARE,
    "elastic_control_points": _whole(2, 64),
    "elastic_sigma_voxels": _number(0, 100),
    "scaling_percent": _number(0, 50),
    "rotation_lr_degrees": _number(0, 90),
    "rotation_ap_degrees": _number(0, 90),
    "in_network_affine": _number(0, 0.5),
    "contrast_sd": _number(0, 1),
    "bfloat16": TRUE_OR_FALSE,
    "validate_every": _whole(1),
    "patience": _whole(1),
    "min_delta": SHARE,
    "keep": _one_of(KEEPS),
    "validation": _one_of(VALIDATIONS),
    "validation_share": Rule(
        lambda value: _is_number(value) and 0 < value < 1, "a number between 0 and 1"
    ),
    "randomised_share": SHARE,
    "phantom_share": SHARE,
    "relabelled_share": SHARE,
    "levels": _one_of(LEVEL_CHOICES),
    "device": _one_of(("auto", "cpu", "cuda")),
    "workers": _whole(0, 1024),
}


def list_recipes() -> tuple[str, ...]:
    """List the names of the recipes in the package.

    >>> list_recipes()
    ('finetune', 'necks', 'scratch', 'synthetic', 'weber2021')
    """
    return tuple(sorted(path.stem for path in RECIPES.glob("*.toml")))


def read_recipe(name: str, overrides: Mapping[str, object] | None = None) -> TrainOptions:
    """Read the options of a training from a recipe, with individual values overridden.

    Parameters
    ----------
    name : str
        One of :func:`list_recipes`, or the path of a TOML file.
    overrides : mapping, optional
        Values by field name of :class:`TrainOptions`, for example from the command line.

    Raises
    ------
    InputError
        The recipe does not exist, is not TOML, or has an invalid key or value.
    """
    path = find_recipe(name)
    values = _read_toml(path) | dict(overrides or {})
    for key, value in values.items():
        _check_value(path, key, value)
    options = TrainOptions(**{key: _freeze(key, value) for key, value in values.items()})
    for finding, expected in misfits(options):
        raise InputError(f"{path}: {finding}, expected {expected}. Correct the recipe.")
    return options


def recipe_keys(name: str) -> frozenset[str]:
    """Return the keys of a recipe.

    Raises
    ------
    InputError
        The recipe does not exist or is not TOML.
    """
    return frozenset(_read_toml(find_recipe(name)))


def find_recipe(name: str) -> Path:
    """Find the path of a recipe; a file of this name takes precedence over the package's recipe.

    Raises
    ------
    InputError
        The recipe does not exist.
    """
    for path in (Path(name), RECIPES / f"{name}.toml"):
        if is_file(path):
            return path
    raise InputError(
        f"--recipe {name}: neither a file nor a recipe of the package. Expected a TOML file or one "
        f"of {', '.join(list_recipes())}; copy one from {RECIPES} as a start."
    )


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return read_toml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({explain_failure(error)}). Name another recipe."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}: is not valid TOML ({error}). Expected lines such as `steps = 400`."
        ) from error


def _check_value(path: Path, key: str, value: object) -> None:
    if key not in RULES:
        raise InputError(
            f"{path}: {key[:80]} is not a recipe key. Expected {', '.join(RULES)}. Remove or "
            "correct it."
        )
    if not RULES[key].holds(value):
        raise InputError(
            f"{path}: {key} is {show_value(value)}, expected {RULES[key].words}. Correct the "
            "recipe, or give the value on the command line."
        )


def _freeze(key: str, value: object) -> Any:
    """Convert a value to the type of its field: lists to tuples, whole numbers to float."""
    if isinstance(value, list | tuple):
        return tuple(float(v) for v in value) if key == "spacing_mm" else tuple(value)
    floats = {field.name for field in fields(TrainOptions) if field.type is float}
    return float(value) if key in floats else value  # type: ignore[arg-type]


def misfits(options: TrainOptions) -> list[tuple[str, str]]:
    """List finding and expectation for each pair of incompatible values.

    >>> misfits(TrainOptions()), misfits(TrainOptions(samples_per_volume=3))[0][0]
    ([], 'samples_per_volume is 3 without a window')
    """
    window = options.window
    checks = [
        (window is not None or options.least_crop is not None or options.samples_per_volume == 1,
         f"samples_per_volume is {options.samples_per_volume} without a window",
         "1, or a window or least_crop to draw"),
        (window is None or options.least_crop is None,
         "least_crop is given together with a window", "only one of the two"),
        (window is not None or not any(options.border),
         f"border is {options.border} without a window", "0, 0, 0"),
        (window is None or all(2 * b < w for b, w in zip(options.border, window, strict=True)),
         f"border is {options.border} of a window {window}", "less than half of the window"),
    ]  # fmt: skip
    return [(finding, expected) for fits, finding, expected in checks if not fits]
