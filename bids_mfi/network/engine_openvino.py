"""The dense V-Net as an OpenVINO graph, for CPUs.

The graph is built operation by operation from the weights, which takes milliseconds, and compiled
for each shape in some tenths of a second; nothing is written to disk. It repeats
:class:`bids_mfi.network.dense_vnet.DenseVNet`; ``docs/decisions/engines.md`` gives the reasons.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bids_mfi.network.architecture import DENSE_UNITS, NORM_EPSILON, check_divisible
from bids_mfi.network.engine import Engine, EngineFacts, Triple

# Importing OpenVINO would otherwise write an identifier for usage statistics to HOME.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402
from openvino import opset15 as op  # noqa: E402

State = Mapping[str, NDArray[np.float32]]
SPATIAL = (2, 3, 4)
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
        self._core = openvino.Core()
        self._properties = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self._shape: tuple[int, ...] = ()

    def coarse_logits(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compile for the shape unless it is that of the last call, and compute."""
        if volume.shape != self._shape:
            model = self._layers.make_model(volume.shape)
            self._compiled = self._core.compile_model(model, "CPU", self._properties)
            self._shape = volume.shape
        logits: NDArray[np.float32] = self._compiled([volume[None]])[0][0]
        return logits


def has_bfloat16() -> bool:
    """Whether this processor computes with bfloat16 faster than with float32."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


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

    def _pool(self, images: openvino.Node) -> openvino.Node:
        if max(self.stride) == 1:
            return images
        kernel = [step + 1 if step > 1 else 1 for step in self.stride]
        none = [0, 0, 0]
        return op.avg_pool(images, list(self.stride), none, none, kernel, True, "ceil")

    def _convolve(
        self, x: openvino.Node, name: str, stride: Triple = (1, 1, 1), relu: bool = True
    ) -> openvino.Node:
        weight = self.state[f"{name}.conv.weight"]
        missing = [size - step for size, step in zip(weight.shape[2:], stride, strict=True)]
        before, after = [n // 2 for n in missing], [n - n // 2 for n in missing]
        y = op.convolution(x, _constant(weight), list(stride), before, after, [1, 1, 1])
        y = self._normalise(y, f"{name}.bn")
        return op.relu(y) if relu else y

    def _finish(self, x: openvino.Node) -> openvino.Node:
        ones = [1, 1, 1]
        y = op.convolution(x, _constant(self.state["final.weight"]), ones, ones, ones, ones)
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


def _by_channel(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return values.reshape(1, -1, 1, 1, 1)


def _constant(values: NDArray[np.float32]) -> openvino.Node:
    return op.constant(np.ascontiguousarray(values, dtype=np.float32))


def _integers(values: Sequence[int]) -> openvino.Node:
    return op.constant(np.array(values, dtype=np.int64))
