"""Training data and the batches made from them.

case -> standardise and pad -> augment -> window or box -> batch. Cases are requested by number. All
random numbers derive from the seed and that number, so a step is the same in every process.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bids_mfi.errors import MFIError
from bids_mfi.grid import Grid
from bids_mfi.muscles import MuscleTable
from bids_mfi.network.bundle import ModelBundle
from bids_mfi.network.inference import choose_inference
from bids_mfi.network.model_grid import pad_edges, padded_shape
from bids_mfi.network.segment import prepare_volume
from bids_mfi.options import TrainOptions
from bids_mfi.training.augment import augment
from bids_mfi.vertebrae import NO_MUSCLE, vertebra_indices

# The last of the four numbers that seed a draw; it keeps different kinds of draw independent. NumPy
# ignores trailing zeros; the augmentation of a case uses only seed and number. The in-network
# transform of a step uses 2.
WINDOW_CHANCE, CROP_CHANCE = 1, 3

# The kind of validation cases, as the bundle's metadata states it, and the name of their Dice.
HELD_OUT = "held out"
LEARNT_FROM = "of those learnt from"
NEW_SEEDS = "new scans, of the anatomies learnt from"
DICE_NAMES = {
    HELD_OUT: "held-out Dice",
    LEARNT_FROM: "Dice on training scans",
    NEW_SEEDS: "Dice on new scans",
}

Batch = tuple[Tensor, Tensor]
Arrays = tuple[NDArray[np.float32], NDArray[np.int16]]


class Case(Protocol):
    """A labelled scan on the model grid, axes R, A, S."""

    @property
    def in_phase(self) -> NDArray[np.float32]:
        """In-phase image, shape (x, y, z)."""

    @property
    def out_phase(self) -> NDArray[np.float32]:
        """Out-of-phase image, shape (x, y, z)."""

    @property
    def labels(self) -> NDArray[np.int16]:
        """Label map, shape (x, y, z)."""

    @property
    def grid(self) -> Grid:
        """Common grid of images and labels."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Training and validation cases, with their labels.

    Attributes
    ----------
    case_at : callable
        Returns the training case with a given number; the same number gives the same case.
    validation : sequence of Case
        Cases that are segmented at every validation.
    table : MuscleTable
        The labels, with the levels at which the cases carry them.
    ranges : tuple of (str, str)
        Human-readable description of the cases and their variation. The bundle stores it, and a
        resumed training compares it to detect other data.
    count : int or None
        Number of different cases, numbered 0 to count - 1 in the first round; None if their number
        is unlimited.
    validated_on : str
        Relation of the validation cases to the training cases: HELD_OUT, LEARNT_FROM or NEW_SEEDS.
    """

    case_at: Callable[[int], Case]
    validation: Sequence[Case]
    table: MuscleTable
    ranges: tuple[tuple[str, str], ...] = ()
    count: int | None = None
    validated_on: str = HELD_OUT


# ------------------------------------------------------------------------------------------ steps


def iterate_batches(
    options: TrainOptions, data: TrainingData, draft: ModelBundle, steps: range
) -> Iterator[Batch]:
    """Yield the batches of consecutive steps; a thread makes them in advance.

    The same thread makes the cases, or ``workers`` processes do. With worker processes, call this
    function within :func:`name_dead_workers`.

    Parameters
    ----------
    options : TrainOptions
    data : TrainingData
    draft : ModelBundle
        Defines how images are standardised and padded.
    steps : range

    Yields
    ------
    images : Tensor of float32, shape (batch, 2, x, y, z)
    labels : Tensor of int16, shape (batch, x, y, z)
    """
    if not steps:
        return
    prepare = partial(prepare_case, options, data, draft)
    read = _start_processes(options, prepare, steps) if options.workers else prepare
    maker = BatchMaker(options, read)
    following = _make_in_background(maker, steps[0])
    try:
        for step in steps:
            arrays = following.result()
            if step + 1 in steps:
                following = _make_in_background(maker, step + 1)
            yield to_tensors(arrays)
    finally:
        if not options.workers:
            wait([following])


def _make_in_background(maker: "BatchMaker", step: int) -> Future[Arrays]:
    """Make the batch of a step in a thread.

    The program does not wait for this thread at exit. If a process dies while it sends a case, the
    reading thread waits forever for the rest.
    """
    future: Future[Arrays] = Future()

    def work() -> None:
        try:
            future.set_result(maker.make(step))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    return future


def _start_processes(
    options: TrainOptions, prepare: Callable[[int], Arrays], steps: range
) -> Callable[[int], Arrays]:
    """Make the cases of consecutive steps in worker processes; read them in order of number."""
    first, last = (step // options.samples_per_volume for step in (steps[0], steps[-1]))
    numbers = range(first * options.batch_size, (last + 1) * options.batch_size)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")  # intended
        loader = DataLoader(
            Cases(prepare, numbers),
            batch_size=None,
            num_workers=options.workers,
            collate_fn=_as_it_is,
        )
        made = zip(numbers, iter(loader), strict=True)

    def read(number: int) -> Arrays:
        found, case = next(made)
        if found != number:
            raise ValueError(f"case {number} was requested, {found} comes next")
        if isinstance(case, Exception):
            raise case
        return case  # type: ignore[no-any-return]

    return read


def _as_it_is(found: Any) -> Any:
    """Return arrays unchanged: tensors would need shared memory, which is scarce in a container.

    When shared memory is full, PyTorch waits forever.
    """
    return found


def to_tensors(arrays: Arrays) -> Batch:
    """Convert images and labels to tensors that share their memory."""
    images, labels = arrays
    return torch.from_numpy(images), torch.from_numpy(labels)


@contextmanager
def name_dead_workers() -> Iterator[None]:
    """Report the death of a worker of :func:`iterate_batches`; PyTorch may raise it at any time.

    Raises
    ------
    MFIError
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise MFIError(
            f"a process that makes cases died ({error}), most likely for lack of memory; expected "
            "all to keep running. The last checkpoint, if any, is kept: run the same command again "
            "with fewer --workers."
        ) from error


class BatchMaker:
    """Make the batch of a step from its number and keep recent cases for the next steps.

    Parameters
    ----------
    options : TrainOptions
    read : callable
        Returns the case with a given number, as :func:`prepare_case` does. For consecutive steps it
        is called once per case, in order of number.
    """

    def __init__(self, options: TrainOptions, read: Callable[[int], Arrays]) -> None:
        self.options, self.read = options, read
        self._recent: dict[int, Arrays] = {}

    @property
    def kept(self) -> int:
        """Number of cases kept for the next steps."""
        return len(self._recent)

    def make(self, step: int) -> Arrays:
        """Make the batch of a step, see :func:`make_batch`."""
        return make_batch(self.options, self._prepare, step)

    def _prepare(self, number: int) -> Arrays:
        if number not in self._recent:
            found = self.read(number)
            if self.options.samples_per_volume == 1:
                return found
            first = number - number % self.options.batch_size
            self._recent = {n: case for n, case in self._recent.items() if n >= first}
            self._recent[number] = found
        return self._recent[number]


class Cases(Dataset[Arrays | Exception]):
    """Cases in order of number, for PyTorch's data loader.

    Parameters
    ----------
    prepare : callable
        Returns the case with a given number, as :func:`prepare_case` does.
    numbers : range
    """

    def __init__(self, prepare: Callable[[int], Arrays], numbers: range) -> None:
        self.prepare, self.numbers = prepare, numbers

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.numbers)

    def __getitem__(self, place: int) -> Arrays | Exception:
        """Return the case at a position, or the exception for the reader to raise."""
        try:
            return self.prepare(self.numbers[place])
        except Exception as error:
            return error


def make_batch(options: TrainOptions, prepare: Callable[[int], Arrays], step: int) -> Arrays:
    """Make the batch of one step.

    With k samples per case, k consecutive steps each draw one window from the same cases.

    Parameters
    ----------
    options : TrainOptions
    prepare : callable
        Returns the case with a given number, as :func:`prepare_case` does.
    step : int

    Returns
    -------
    images : ndarray of float32, shape (batch, 2, x, y, z)
    labels : ndarray of int16, shape (batch, x, y, z)
        Sizes are multiples of 8; smaller volumes are padded with their outermost voxels. All boxes
        of a step have the same size.
    """
    group, sample = divmod(step, options.samples_per_volume)
    numbers = range(group * options.batch_size, (group + 1) * options.batch_size)
    cases = [prepare(number) for number in numbers]
    chance = CROP_CHANCE if options.window is None else WINDOW_CHANCE
    chances = [np.random.default_rng([options.seed, n, sample, chance]) for n in numbers]
    size: tuple[int, ...] | None = options.window
    if size is None and options.least_crop is not None:
        smallest = np.min([labels.shape for _, labels in cases], axis=0)
        size = draw_crop(tuple(smallest), options.least_crop, chances[0])
    if size is not None:
        boxes = [draw_window(c[1].shape, size, rng) for c, rng in zip(cases, chances, strict=True)]
        cases = [
            (images[(slice(None), *box)], labels[box])
            for (images, labels), box in zip(cases, boxes, strict=True)
        ]
    shape = padded_shape(tuple(np.max([labels.shape for _, labels in cases], axis=0)))
    return (
        np.stack([pad_edges(images, shape)[0] for images, _ in cases]),
        np.stack([pad_edges(labels, shape)[0] for _, labels in cases]),
    )


def prepare_case(
    options: TrainOptions, data: TrainingData, draft: ModelBundle, number: int
) -> Arrays:
    """Standardise, pad and augment the case with the given number.

    Returns
    -------
    images : ndarray of float32, shape (2, x, y, z)
    labels : ndarray of int16, shape (x, y, z)
    """
    case = data.case_at(number)
    check_labels(case.labels, data.table, draft)
    images, inside = prepare_volume(channels_of(case), draft)
    labels = pad_labels(case.labels, inside, images.shape[1:], draft)
    rng = np.random.default_rng([options.seed, number])
    return augment(images, labels, case.grid.spacing_mm, data.table, options, rng)


def pad_labels(
    labels: NDArray[np.int16], inside: tuple[slice, ...], shape: tuple[int, ...], draft: ModelBundle
) -> NDArray[np.int16]:
    """Pad labels as ``prepare_volume`` padded the images: with their edge or with air."""
    widths = [(part.start, size - part.stop) for part, size in zip(inside, shape, strict=True)]
    return np.pad(labels, widths, mode=choose_inference(draft).padding_mode)


def draw_window(
    shape: tuple[int, ...], window: tuple[int, ...], rng: np.random.Generator
) -> tuple[slice, ...]:
    """Draw the position of a window uniformly from all positions inside the volume."""
    starts = [
        int(rng.integers(0, size - wanted + 1)) for size, wanted in zip(shape, window, strict=True)
    ]
    return tuple(slice(start, start + size) for start, size in zip(starts, window, strict=True))


def draw_crop(
    shape: tuple[int, ...], least: tuple[int, ...], rng: np.random.Generator
) -> tuple[int, ...]:
    """Draw the size of a box: each length from ``least`` to the whole axis, short ones more often.

    The length grows with the square of a uniform number, so an average step is cheap but whole
    volumes still occur. An axis no longer than ``least`` is kept whole.

    >>> draw_crop((40, 8), (40, 16), np.random.default_rng(1))
    (40, 8)
    """
    lengths = []
    for low, size in zip(least, shape, strict=True):
        low = min(low, size)
        lengths.append(low + int((size - low + 1) * rng.random() ** 2))
    return tuple(lengths)


def channels_of(case: Case) -> NDArray[np.float32]:
    """Stack the two images of a case as float32, shape (2, x, y, z), in-phase first."""
    return np.stack([case.in_phase, case.out_phase]).astype(np.float32)


def check_labels(
    labels: NDArray[np.int16], table: MuscleTable, draft: ModelBundle | None = None
) -> None:
    """Raise ValueError if a label is neither in the table nor a vertebra of the bundle."""
    known = {0, *(muscle.index for muscle in table)}
    if draft is not None and draft.vertebrae:
        known |= {NO_MUSCLE, *vertebra_indices(draft.muscle_classes, len(draft.vertebrae))}
    unknown = sorted(set(np.unique(labels).tolist()) - known)
    if unknown:
        raise ValueError(f"a training case holds labels that its table does not name: {unknown}")
