"""The dense V-Net as an OpenVINO graph, for CPUs.

The graph is built operation by operation from the weights, which takes milliseconds, and compiled
for each shape in some tenths of a second; nothing is written to disk. It repeats
:class:`bids_mfi.network.dense_vnet.DenseVNet`; ``docs/decisions/engines.md`` gives the reasons.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bids_mfi.network.architecture import DENSE_UNITS, NORM_EPSILON, check_divisible
from bids_mfi.network.body_box import Box
from bids_mfi.network.engine import Engine, EngineFacts, Triple
from bids_mfi.network.window_parts import (
    LastLayers,
    cut_rows,
    cut_with_zeros,
    plan_part,
    round_outwards,
)

# Importing OpenVINO would otherwise write an identifier for usage statistics to HOME.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402
from openvino import opset15 as op  # noqa: E402

State = Mapping[str, NDArray[np.float32]]
SPATIAL = (2, 3, 4)
CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 4, 1), (0, 4, 1, 2, 3)
REVERSED = (0, 3, 2, 1)
ONES = [1, 1, 1]
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVINOEngine(Engine):
    """OpenVINO's CPU plugin; the values do not depend on the number of threads.

    Parameters
    ----------
    state : mapping of str to ndarray of float32
        Of the network, as ``DenseVNet.state_dict`` names them.
    normalization : str
        ``batch`` or ``instance``.
    stride : tuple of int
        The network's ``stem_stride``.
    threads : int
    precision : str
        ``float32``, or ``bfloat16`` where :func:`has_bfloat16` is true.
    """

    def __init__(
        self,
        state: State,
        normalization: str,
        stride: Triple,
        threads: int,
        precision: str = "float32",
    ) -> None:
        self.stride = stride
        self.facts = EngineFacts("openvino", openvino.__version__.split("-")[0], "cpu", precision)
        self._layers = _Layers(state, normalization, stride)
        self._parts = _Layers(
            _reverse_axes(state), normalization, (stride[2], stride[1], stride[0])
        )
        self._core = openvino.Core()
        self._properties = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self._requests: dict[str, tuple[object, openvino.InferRequest]] = {}

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Compile the graph of all layers for a shape."""
        self._find_request("whole", shape, lambda: self._layers.make_model(shape))

    def coarse_logits(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute all layers in one graph."""
        shape = volume.shape
        (logits,) = self._compute("whole", shape, lambda: self._layers.make_model(shape), [volume])
        return logits.copy()

    def part_logits(self, volume: NDArray[np.float32], part: Box) -> NDArray[np.float32]:
        """Compute the last layers for the part only, with the axes in the order z, y, x.

        Instance normalisation depends on the whole volume, so it has no such way.
        """
        if self._layers.normalization != "batch":
            return super().part_logits(volume, part)
        shape = (len(volume), *reversed(volume.shape[1:]))
        images = np.ascontiguousarray(volume.transpose(REVERSED))
        stacks = self._compute("dense", shape, lambda: self._parts.make_dense(shape), [images])
        box, inner = round_outwards((part[2], part[1], part[0]), stacks[0].shape[:3])
        columns = [
            self._compute_last(stacks, (box[0], box[1], rows))[..., kept]
            for rows, kept in cut_rows(box[2])
        ]
        logits = np.concatenate(columns, axis=3)[(slice(None), *inner)]
        return np.ascontiguousarray(logits.transpose(REVERSED))

    def _compute_last(self, stacks: Sequence[NDArray[np.float32]], box: Box) -> NDArray[np.float32]:
        """Logits of a part from the stacks of all of the volume."""
        sizes, boxes = plan_part(box, stacks[0].shape[:3])
        read = [cut_with_zeros(stack, one) for stack, one in zip(stacks, boxes, strict=True)]
        (logits,) = self._compute("last", sizes, lambda: self._parts.make_last(sizes), read)
        return logits.copy()

    def _compute(
        self,
        name: str,
        key: object,
        make_model: Callable[[], openvino.Model],
        inputs: Sequence[NDArray[np.float32]],
    ) -> list[NDArray[np.float32]]:
        """Give the outputs of a graph, valid until its next use."""
        request = self._find_request(name, key, make_model)
        request.infer([array[None] for array in inputs], share_inputs=True)
        return [tensor.data[0] for tensor in request.output_tensors]

    def _find_request(
        self, name: str, key: object, make_model: Callable[[], openvino.Model]
    ) -> openvino.InferRequest:
        """Give what computes a graph; compile for another key."""
        if self._requests.get(name, (None,))[0] != key:
            self._requests.pop(name, None)
            compiled = self._core.compile_model(make_model(), "CPU", self._properties)
            self._requests[name] = (key, compiled.create_infer_request())
        return self._requests[name][1]


def has_bfloat16() -> bool:
    """Whether this processor computes with bfloat16 faster than with float32."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _reverse_axes(state: State) -> State:
    """Weights for volumes whose axes are z, y, x; OpenVINO is faster if the last one is long."""
    return {
        name: np.ascontiguousarray(array.transpose(0, 1, 4, 3, 2)) if array.ndim == 5 else array
        for name, array in state.items()
    }


class _Layers:
    """The layers of the network as operations of a graph; shapes are (1, channels, x, y, z)."""

    def __init__(self, state: State, normalization: str, stride: Triple) -> None:
        self.state, self.normalization, self.stride = state, normalization, stride

    def make_model(self, shape: tuple[int, ...]) -> openvino.Model:
        """Make the graph for images of one shape (channels, x, y, z)."""
        check_divisible(shape[1:])
        images = op.parameter([1, *shape], np.float32)
        pooled = self._normalise(self._pool(images), "pool_bn")
        stem = self._convolve(images, "init_conv", self.stride, relu=False)
        x, skips = op.concat([pooled, stem], 1), [pooled]
        for level, units in enumerate(DENSE_UNITS):
            block = f"blocks.{level}"
            for unit in range(units):
                x = op.concat([x, self._convolve(x, f"{block}.dense.{unit}")], 1)
            skips.append(_upsample(self._convolve(x, f"{block}.skip"), 2**level))
            if f"{block}.down.conv.weight" in self.state:
                x = self._convolve(x, f"{block}.down", (2, 2, 2))
        return openvino.Model([self._finish(op.concat(skips, 1))], [images], "dense_vnet")

    def make_dense(self, shape: tuple[int, ...]) -> openvino.Model:
        """Make the graph of all layers but the last, for images of one shape (channels, x, y, z).

        Its outputs are the stacks of the three dense blocks, (1, x, y, z, channels); the pooled
        images are the first channels of the first.
        """
        check_divisible(shape[1:])
        images = op.parameter([1, *shape], np.float32)
        pooled = self._normalise(self._pool_by_kernel(images), "pool_bn")
        stem = self._convolve(images, "init_conv", self.stride, relu=False)
        x, stacks = op.concat([pooled, stem], 1), []
        for level, units in enumerate(DENSE_UNITS):
            x = self._stack_units(x, f"blocks.{level}.dense", units)
            stacks.append(op.transpose(x, _integers(CHANNELS_LAST)))
            if f"blocks.{level}.down.conv.weight" in self.state:
                x = self._convolve(x, f"blocks.{level}.down", (2, 2, 2))
        return openvino.Model(stacks, [images], "dense_blocks")

    def make_last(self, sizes: LastLayers) -> openvino.Model:
        """Make the graph from parts of the stacks of :meth:`make_dense` to logits."""
        stacks, skips = [], []
        images = self.state["init_conv.conv.weight"].shape[1]
        for level, (read, shift) in enumerate(zip(sizes.read, sizes.shifts, strict=True)):
            weight = self.state[f"blocks.{level}.skip.conv.weight"]
            stacks.append(op.parameter([1, *read, weight.shape[1]], np.float32))
            if level == 0:
                pooled = _cut(stacks[-1], (1, 1, 1, 0), (*sizes.near, images))
                skips.append(op.transpose(pooled, _integers(CHANNELS_FIRST)))
            x = op.transpose(stacks[-1], _integers(CHANNELS_FIRST))
            skip = self._convolve(x, f"blocks.{level}.skip", pad=False)
            skip = _upsample(skip, 2**level)
            skips.append(_cut(skip, (0, *shift), (weight.shape[0], *sizes.near)))
        logits = self._finish(op.concat(skips, 1), sizes.before, sizes.after)
        return openvino.Model([logits], stacks, "last_layers")

    def _stack_units(self, x: openvino.Node, name: str, units: int) -> openvino.Node:
        """Stack the input and the outputs of dense units; ``docs/decisions/engines.md`` says how.

        Each tensor is convolved once for all later units, which add up what they are given.
        """
        kernels = [self.state[f"{name}.{unit}.conv.weight"] for unit in range(units)]
        growth, stack, first, due = kernels[0].shape[0], [x], 0, None
        for unit in range(units):
            last = first + _channels(stack[-1])
            kernel = np.concatenate([weight[:, first:last] for weight in kernels[unit:]])
            given = op.convolution(stack[-1], _constant(kernel), ONES, ONES, ONES, ONES)
            own, due = _split(given if due is None else op.add(due, given), growth)
            stack.append(op.relu(self._normalise(own, f"{name}.{unit}.bn")))
            first = last
        return op.concat(stack, 1)

    def _pool_by_kernel(self, images: openvino.Node) -> openvino.Node:
        """Pool as :meth:`_pool`, by a convolution, which needs no other layout of the images."""
        channels, *shape = list(images.output(0).get_shape())[1:]
        reach = [step + 1 if step > 1 else 1 for step in self.stride]
        kernel = np.zeros((channels, channels, *reach))
        kernel[range(channels), range(channels)] = 1 / np.prod(reach)
        after = [step - 1 for step in self.stride]
        sums = op.convolution(images, _constant(kernel), list(self.stride), [0] * 3, after, ONES)
        share = np.ones([size // step for size, step in zip(shape, self.stride, strict=True)])
        for axis, step in enumerate(self.stride):
            np.moveaxis(share, axis, 0)[-1] *= reach[axis] / step  # one row lies in the padding
        return op.multiply(sums, _constant(share[None, None]))

    def _pool(self, images: openvino.Node) -> openvino.Node:
        if max(self.stride) == 1:
            return images
        kernel = [step + 1 if step > 1 else 1 for step in self.stride]
        none = [0, 0, 0]
        return op.avg_pool(images, list(self.stride), none, none, kernel, True, "ceil")

    def _convolve(
        self,
        x: openvino.Node,
        name: str,
        stride: Triple = (1, 1, 1),
        relu: bool = True,
        pad: bool = True,
    ) -> openvino.Node:
        weight = self.state[f"{name}.conv.weight"]
        missing = [pad * (size - step) for size, step in zip(weight.shape[2:], stride, strict=True)]
        before, after = [n // 2 for n in missing], [n - n // 2 for n in missing]
        y = op.convolution(x, _constant(weight), list(stride), before, after, ONES)
        y = self._normalise(y, f"{name}.bn")
        return op.relu(y) if relu else y

    def _finish(
        self, x: openvino.Node, before: Triple = (1, 1, 1), after: Triple = (1, 1, 1)
    ) -> openvino.Node:
        weight = _constant(self.state["final.weight"])
        y = op.convolution(x, weight, ONES, list(before), list(after), ONES)
        return op.add(y, _constant(_by_channel(self.state["final.bias"])))

    def _normalise(self, x: openvino.Node, name: str) -> openvino.Node:
        weight, bias = (_by_channel(self.state[f"{name}.{key}"]) for key in ("weight", "bias"))
        if self.normalization == "batch":
            mean, variance = (
                _by_channel(self.state[f"{name}.running_{key}"].astype(np.float64))
                for key in ("mean", "var")
            )
            scale = weight / np.sqrt(variance + NORM_EPSILON)
            x = op.multiply(x, _constant(scale.astype(np.float32)))
            return op.add(x, _constant((bias - mean * scale).astype(np.float32)))
        centred = op.subtract(x, _mean(x))
        variance = _mean(op.multiply(centred, centred))
        epsilon = _constant(np.full((1,) * 5, NORM_EPSILON))
        scaled = op.divide(_constant(weight), op.sqrt(op.add(variance, epsilon)))
        return op.add(op.multiply(centred, scaled), _constant(bias))


def _mean(x: openvino.Node) -> openvino.Node:
    """Mean of each channel, axis by axis.

    OpenVINO's own normalisation (MVN) adds up in an order that depends on the number of threads,
    and is less exact (error of logits 4e-3, here 1e-4).
    """
    for axis in reversed(SPATIAL):
        sizes = list(x.output(0).get_shape())
        kernel = [sizes[axis] if axis == other else 1 for other in SPATIAL]
        x = op.avg_pool(x, kernel, [0, 0, 0], [0, 0, 0], kernel, True, "floor")
    return x


def _upsample(x: openvino.Node, factor: int) -> openvino.Node:
    """Linear interpolation; output i reads input coordinate i / factor."""
    if factor == 1:
        return x
    sizes = [factor * size for size in list(x.output(0).get_shape())[2:]]
    x = op.pad(x, _integers((0,) * 5), _integers((0, 0, 1, 1, 1)), "edge")
    x = op.interpolate(
        x,
        _integers([size + 1 for size in sizes]),
        "linear_onnx",
        "sizes",
        coordinate_transformation_mode="align_corners",
        axes=_integers(SPATIAL),
    )
    first, step = _integers((0,) * 3), _integers((1,) * 3)
    return op.slice(x, first, _integers(sizes), step, _integers(SPATIAL))


def _cut(x: openvino.Node, first: Sequence[int], sizes: Sequence[int]) -> openvino.Node:
    """Take a part of the last four axes."""
    last = [start + size for start, size in zip(first, sizes, strict=True)]
    return op.slice(
        x, _integers(first), _integers(last), _integers([1] * 4), _integers([1, 2, 3, 4])
    )


def _split(x: openvino.Node, channels: int) -> tuple[openvino.Node, openvino.Node | None]:
    """Part the first channels from the others, None if there are none."""
    if channels == _channels(x):
        return x, None
    first, others = op.variadic_split(
        x, op.constant(np.int64(1)), _integers([channels, -1])
    ).outputs()
    return first, others


def _channels(x: openvino.Node) -> int:
    return int(x.output(0).get_shape()[1])


def _by_channel(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return values.reshape(1, -1, 1, 1, 1)


def _constant(values: NDArray[np.floating]) -> openvino.Node:
    return op.constant(np.ascontiguousarray(values, dtype=np.float32))


def _integers(values: Sequence[int]) -> openvino.Node:
    return op.constant(np.array(values, dtype=np.int64))
