"""Recipes: the package's own are valid and say what the paper says; errors name file and key."""

import os
from dataclasses import fields
from pathlib import Path

import pytest

from bids_mfi.errors import InputError
from bids_mfi.options import TrainOptions
from bids_mfi.training.recipes import RULES, list_recipes, read_recipe, recipe_keys


@pytest.mark.parametrize("name", list_recipes())
def test_own_recipes_can_be_read(name: str) -> None:
    assert isinstance(read_recipe(name), TrainOptions)


def test_every_option_has_a_rule() -> None:
    assert set(RULES) == {field.name for field in fields(TrainOptions)}


def test_the_paper_recipe_is_that_of_the_paper() -> None:
    """Numbers of Weber et al. 2021, "Data augmentation" and "Training"."""
    recipe = read_recipe("weber2021")
    assert recipe.spacing_mm == (0.7, 0.7, 3.0)
    assert recipe.window == (360, 240, 32)
    assert recipe.padding == (90, 60, 8)
    assert (recipe.samples_per_volume, recipe.batch_size) == (3, 3)
    assert (recipe.learning_rate, recipe.schedule) == (0.001, "constant")
    assert recipe.loss == "dice_hinge"
    assert recipe.normalization == "batch"
    assert (recipe.elastic_control_points, recipe.elastic_sigma_voxels) == (3, 10.0)
    assert recipe.scaling_percent == 2.5
    assert (recipe.rotation_lr_degrees, recipe.rotation_ap_degrees) == (2.5, 5.0)
    assert recipe.mirror_share == 0.5
    assert recipe.in_network_affine == 0.1
    assert recipe.validation == "training"
    assert recipe.patience is not None


def test_tuning_leaves_to_the_bundle_what_belongs_to_it() -> None:
    decided = {"spacing_mm", "normalization", "window", "border", "padding"}
    assert not decided & recipe_keys("finetune")
    assert read_recipe("finetune").learning_rate < read_recipe("scratch").learning_rate


def test_a_file_and_the_command_line_replace_values(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('steps = 7\nlearning_rate = 1\nloss = "dice_hinge"\nwindow = [16, 16, 8]\n')
    options = read_recipe(str(path), {"steps": 9, "spacing_mm": [2, 2, 3]})
    assert (options.steps, options.loss, options.window) == (9, "dice_hinge", (16, 16, 8))
    assert options.spacing_mm == (2.0, 2.0, 3.0)
    assert isinstance(options.learning_rate, float)
    assert recipe_keys(str(path)) == {"steps", "learning_rate", "loss", "window"}


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("stepps = 4", "stepps is not a recipe key. Expected steps, "),
        ("steps = 0", "steps is 0, expected a whole number from 1 to 1000000000"),
        ("seed = -1", "seed is -1, expected a whole number from 0 to 9223372036854775807"),
        ("seed = 9223372036854775808", "seed is 9223372036854775808, expected"),
        ("steps = true", "steps is True, expected a whole number"),
        ("learning_rate = nan", "learning_rate is nan, expected a number"),
        ('loss = "dice"', "loss is 'dice', expected dice_hinge or "),
        ("window = [16, 16]", r"window is \[16, 16\], expected three multiples of 8"),
        ("window = [16, 16, 9]", "expected three multiples of 8 from 8 to 1024"),
        ("mirror_share = 1.5", "mirror_share is 1.5, expected a number 0 to 1"),
        ("validation_share = 1", "validation_share is 1, expected a number between 0 and 1"),
        ("samples_per_volume = 3", "samples_per_volume is 3 without a window"),
        ("window = [16, 16, 8]\nborder = [2, 2, 4]", "less than half of the window"),
        ("steps 4", "is not valid TOML"),
        ("steps = " + "1" * 5000, "is not valid TOML"),
        ("steps = " + "[" * 100_000, "is not valid TOML"),
        ("steps = " + "1" * 400, r"steps is 1{77}\.\.\., expected"),
        ("learning_rate = " + "1" * 400, r"learning_rate is 1{77}\.\.\., expected"),
        ("learning_rate = inf", "learning_rate is inf, expected"),
        ("spacing_mm = [1, 1, nan]", "spacing_mm is .* expected three numbers"),
        ("window = [8000000, 8, 8]", "from 8 to 1024"),
        ("padding = [3000, 0, 0]", "from 0 to 256"),
        ("batch_size = 1000000", "from 1 to 1024"),
        ("elastic_control_points = 1000000", "from 2 to 64"),
        ("loss = [[1]]", "loss is"),
        ("device = 1979-05-27", "device is"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, finding: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"wrong.toml: .*{finding}"):
        read_recipe(str(path))


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(InputError, match=r"--recipe nonesuch: neither a file.*weber2021"):
        read_recipe("nonesuch")


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "."])
def test_name_that_is_no_file_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="neither a file"):
        read_recipe(name)


def test_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(InputError, match=r"pipe\.toml: cannot be read \(it is a named pipe"):
        read_recipe(str(tmp_path / "pipe.toml"))
