"""The verb ``train``."""

import argparse
from pathlib import Path

from bids_mfi.cli.arguments import Parser
from bids_mfi.cli.output import EXIT_STATUSES, print_out
from bids_mfi.cli.values import (
    add_scans,
    make_absolute,
    positive_float,
    positive_int,
    seed,
    spacing_mm,
    whole_number,
    without_prefix,
)
from bids_mfi.errors import InputError
from bids_mfi.options import RunOptions, TrainOptions


def add_train(verbs: "argparse._SubParsersAction[Parser]") -> None:
    """Add the parser of ``train``."""
    train = verbs.add_parser(
        "train",
        help="train or tune a bundle on synthetic or labelled scans; resumes by itself",
        epilog=f"See docs/training.md. {EXIT_STATUSES}",
    )
    train.add_argument(
        "out_dir",
        type=Path,
        help="output folder; receives log.tsv, curve.svg, checkpoint.pt and bundle/",
    )
    _add_training_data(train.add_argument_group("what is learnt from (default: synthetic scans)"))
    _add_result(train.add_argument_group("the bundle"))
    learning = train.add_argument_group("how it is learnt")
    _add_recipe(learning)
    _add_schedule(learning)
    train.set_defaults(handler=_run_train)


def _add_training_data(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--label-map",
        type=Path,
        nargs="+",
        default=(),
        metavar="PATH",
        help="label maps of necks, or folders of them, each with a label table, or neck-a, which "
        "comes with the package: synthetic scans of their anatomy",
    )
    group.add_argument("--dataset", type=Path, metavar="BIDS_DIR", help="BIDS dataset of scans")
    group.add_argument(
        "--label-dir",
        type=Path,
        metavar="DIR",
        help="derivative with the label maps (default: derivatives/labels of the dataset)",
    )
    add_scans(group)
    group.add_argument(
        "--validation-participants",
        nargs="+",
        default=(),
        metavar="LABEL",
        help="hold out these participants (default: a share of the recipe, drawn by the seed)",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print which scans have labels and which are held out; write nothing",
    )


def _add_result(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--from", dest="start", type=Path, metavar="BUNDLE", help="bundle to start from"
    )
    group.add_argument("--name", help="name of the bundle (default: custom)")
    group.add_argument(
        "--licence",
        metavar="SPDX",
        help="licence of the bundle (default: that of --from, or LicenseRef-unspecified)",
    )
    group.add_argument(
        "--card",
        metavar="NAME|FILE",
        help="TOML file with name, version, description, licence, licence_text and references of "
        "the bundle, instead of --name and --licence",
    )


def _add_recipe(group: "argparse._ArgumentGroup") -> None:
    """Add the recipe and the values that decide what is learnt."""
    group.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help="necks, synthetic, scratch, finetune, weber2021, or TOML file (default: finetune with "
        "--from, scratch with --dataset, otherwise synthetic); the options below replace its "
        "values",
    )
    group.add_argument("--steps", type=positive_int, metavar="N", help="maximum number of steps")
    group.add_argument(
        "--learning-rate", type=positive_float, metavar="RATE", help="highest learning rate of Adam"
    )
    group.add_argument("--batch-size", type=positive_int, metavar="N", help="volumes per step")
    group.add_argument(
        "--seed", type=seed, metavar="S", help="seed of weights, cases, augmentation and split"
    )
    group.add_argument(
        "--spacing",
        dest="spacing_mm",
        type=spacing_mm,
        nargs=3,
        metavar="MM",
        help="voxel size of the network's grid",
    )
    group.add_argument(
        "--normalization", choices=("batch", "instance"), help="normalisation layers"
    )


def _add_schedule(group: "argparse._ArgumentGroup") -> None:
    """Add when the training validates and stops, and where it calculates."""
    group.add_argument(
        "--validate-every",
        type=positive_int,
        metavar="N",
        help="steps between validations and checkpoints",
    )
    group.add_argument(
        "--patience",
        type=positive_int,
        metavar="N",
        help="stop after this many validations without a better Dice",
    )
    group.add_argument(
        "--validation-share", type=positive_float, metavar="SHARE", help="share to hold out"
    )
    group.add_argument(
        "--bfloat16",
        action=argparse.BooleanOptionalAction,
        help="compute in bfloat16 where that is safe (default: only on a CUDA device)",
    )
    group.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help="device of the training (default: a CUDA device if there is one)",
    )
    group.add_argument(
        "--workers",
        type=whole_number,
        metavar="N",
        help="CPU processes that make scans in advance, for a GPU that one thread cannot supply "
        "(default: 0, one thread)",
    )


OVERRIDES = (
    "steps", "learning_rate", "batch_size", "seed", "spacing_mm", "normalization",
    "validate_every", "patience", "validation_share", "bfloat16", "device", "workers",
)  # fmt: skip


def _run_train(arguments: argparse.Namespace) -> int:
    from bids_mfi.training.recipes import read_recipe, recipe_keys

    values = {name: getattr(arguments, name) for name in OVERRIDES}
    given = {name: value for name, value in values.items() if value is not None}
    _check_train_arguments(arguments)
    random = "scratch" if arguments.dataset else "synthetic"
    recipe = arguments.recipe or ("finetune" if arguments.start else random)
    if recipe == "finetune" and arguments.start is None:
        raise InputError(
            "the recipe finetune has a low learning rate for tuning, but no starting bundle was "
            "given. Name one with --from, or use another recipe."
        )
    stated = recipe_keys(recipe) | set(given)
    return _train(arguments, read_recipe(recipe, given), frozenset(stated))


def _check_train_arguments(arguments: argparse.Namespace) -> None:
    """Refuse options that have no effect.

    Raises
    ------
    InputError
    """
    if arguments.dataset is None and (
        arguments.label_dir or arguments.validation_participants or arguments.dry_run
        or arguments.participant_label or arguments.session_label or arguments.bids_filter_file
    ):  # fmt: skip
        raise InputError(
            "Options that select scans or labels, or --dry-run, were given, but no dataset. Name "
            "it with --dataset."
        )
    if arguments.card and (arguments.name or arguments.licence):
        raise InputError("--card sets name and licence; leave out --name and --licence.")
    if arguments.label_map and arguments.dataset:
        raise InputError("--label-map and --dataset were given; name one of them.")


def _train(arguments: argparse.Namespace, options: TrainOptions, stated: frozenset[str]) -> int:
    from bids_mfi.training.plan import TrainingOrder, plan_training
    from bids_mfi.training.run import run_training
    from bids_mfi.training.scan_plan import LabelledSource, describe_plan, plan_scans

    source = None
    if arguments.dataset is not None:
        participants = tuple(arguments.validation_participants)
        labels = make_absolute(arguments.label_dir)
        source = LabelledSource(_selected_scans(arguments), labels, participants)
    order = TrainingOrder(
        out_dir=arguments.out_dir,
        options=options,
        source=source,
        label_maps=tuple(arguments.label_map),
        start=arguments.start,
        name=arguments.name,
        licence=arguments.licence,
        card=arguments.card,
        stated=stated,
    )
    if source and arguments.dry_run:
        options = plan_training(order).options
        print_out("\n".join(describe_plan(plan_scans(source, options))))
        return 0
    bundle = run_training(order, print_out)
    print_out(f"bundle: {bundle.folder}")
    return 0


def _selected_scans(arguments: argparse.Namespace) -> RunOptions:
    """Say which scans of ``--dataset`` are meant, in the words of ``run.py``."""
    return RunOptions(
        bids_dir=arguments.dataset.absolute(),
        output_dir=arguments.out_dir.absolute(),
        analysis_level="participant",
        participant_label=without_prefix(arguments.participant_label, "sub-"),
        session_label=without_prefix(arguments.session_label, "ses-"),
        bids_filter_file=make_absolute(arguments.bids_filter_file),
        bids_database_dir=make_absolute(arguments.bids_database_dir),
        skip_bids_validation=arguments.skip_bids_validation,
    )
