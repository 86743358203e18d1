"""ONNX nodes of a folded network's modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from contextnet_ros import __version__
from contextnet_ros.network import ContextNet
from contextnet_ros.network.blocks import Bottleneck, PyramidPooling
from contextnet_ros.network.contextnet import FusionUnit

# What ONNX Runtime 1.12, OpenVINO 2022 and TensorRT 8.5 read as well as their newest releases.
OPSET = 17
IR_VERSION = 8


# Channels that ONNX Runtime lays out side by side, at least.
_BLOCK = 8

# A feature map of more bytes goes through memory from one operator to the next; parts of at most
# so many stay in the cache.
_LARGE_BYTES = 16 << 20
_PART_BYTES = 4 << 20


def channel_block() -> int:
    """Return how many channels ONNX Runtime lays out side by side on this processor."""
    capability = torch.backends.cpu.get_cpu_capability()
    return 16 if capability.startswith("AVX512") else _BLOCK


class Graph:
    """Nodes and constants in the order they are added; methods return the name of their output.

    `blocked`: say things so that ONNX Runtime keeps to its layout of blocks of channels, and large
    feature maps in the cache. `plane`: how many values a channel of each output has, and of the
    source, which is one channel; 0 where the size is not known.
    """

    def __init__(self, blocked: bool = False) -> None:
        self._blocked = blocked
        self.block = channel_block() if blocked else _BLOCK
        self.plane: dict[str, int] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        self.plane[output] = self.plane.get(inputs[0], 0)
        return output

    def floats(self, name: str, values: npt.ArrayLike) -> str:
        """Add a constant; a name that is there already is the same constant."""
        self._constants[name] = numpy_helper.from_array(np.asarray(values, np.float32), name)
        return name

    def integers(self, *values: int) -> str:
        """Add a vector of int64, named after its values."""
        name = "_".join(["integers", *map(str, values)])
        self._constants[name] = numpy_helper.from_array(np.asarray(values, np.int64), name)
        return name

    def part_of(self, vector: str, start: int, stop: int) -> str:
        """Add the part of a vector from `start` up to `stop`."""
        return self.node("Slice", [vector, self.integers(start), self.integers(stop)])

    def convolution(
        self,
        image: str,
        weight: npt.NDArray[np.floating[Any]],
        bias: npt.NDArray[np.floating[Any]],
        strides: tuple[int, int],
        pads: tuple[int, int],
        dilations: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> str:
        number = len(self._nodes)
        output = self.node(
            "Conv",
            [image, self.floats(f"weight_{number}", weight), self.floats(f"bias_{number}", bias)],
            kernel_shape=weight.shape[2:],
            strides=strides,
            pads=[*pads, *pads],
            dilations=dilations,
            group=groups,
        )
        self.plane[output] //= strides[0] * strides[1]
        return output

    def relu6(self, features: str) -> str:
        return self.node("Clip", [features, self.floats("zero", 0), self.floats("six", 6)])

    def enlarge(self, features: str, factor: int) -> str:
        """Add bilinear interpolation by a whole factor, `align_corners=False`."""
        scales = self.floats(f"enlarge_{factor}", [1, 1, factor, factor])
        output = self._resize(features, "", scales)
        self.plane[output] *= factor**2
        return output

    def _resize(self, features: str, *to: str) -> str:
        return self.node(
            "Resize",
            [features, *to],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )

    def module(self, module: nn.Module, features: str) -> str:
        """Add a folded module; raises TypeError for one that has no form here."""
        if isinstance(module, nn.Sequential):
            return self.chain(list(module), features)
        if isinstance(module, Bottleneck):
            return self.bottleneck(module, features)
        if isinstance(module, nn.ReLU6):
            return self.relu6(features)
        if isinstance(module, nn.Conv2d):
            return self.conv2d(module, features)
        raise TypeError(f"{type(module).__name__} has no ONNX form here")

    def conv2d(
        self,
        module: nn.Conv2d,
        features: str,
        gain: float = 1,
        outputs: slice = slice(None),
        inputs: slice = slice(None),
    ) -> str:
        """Add a convolution whose input is to be multiplied with `gain`, or the part of it that has
        these `outputs` and `inputs`; the bias goes with the first of these."""
        weight, bias = weights(module)
        return self.convolution(
            features,
            weight[outputs, inputs] * gain,
            bias[outputs] * (not inputs.start),
            pair(module.stride),
            pair(module.padding),
            pair(module.dilation),
            module.groups if module.groups == 1 else len(bias[outputs]),
        )

    def bottleneck(self, module: Bottleneck, features: str) -> str:
        """Add an inverted residual; one with large hidden features as a sum over parts of them."""
        convolutions = (step for step in module.body.modules() if isinstance(step, nn.Conv2d))
        expand, depthwise, project = convolutions
        step = expand.out_channels // self._parts(expand.out_channels, self.plane[features])
        total = features if module.residual else ""
        for start in range(0, expand.out_channels, step):
            part = slice(start, start + step)
            inner = self.relu6(self.conv2d(expand, features, outputs=part))
            inner = self.relu6(self.conv2d(depthwise, inner, outputs=part))
            out = self.conv2d(project, inner, inputs=part)
            total = self.node("Add", [total, out]) if total else out
        return total

    def _parts(self, channels: int, plane: int) -> int:
        if not self._blocked or 4 * channels * plane <= _LARGE_BYTES:
            return 1
        blocks, rest = divmod(channels, self.block)
        numbers = [n for n in range(1, blocks + 1) if blocks % n == 0 and not rest]
        small = (n for n in numbers if 4 * channels * plane <= n * _PART_BYTES)
        return next(small, max(numbers, default=1))

    def chain(self, modules: Sequence[nn.Module], features: str) -> str:
        for module in modules:
            features = self.module(module, features)
        return features

    def pyramid(self, module: PyramidPooling, features: str) -> str:
        """Add pyramid pooling; its grids are laid over features of whatever size."""
        shape = self.node("Shape", [features])
        number, plane = self.part_of(shape, 0, 1), self.part_of(shape, 2, 4)
        height, width = self.part_of(shape, 2, 3), self.part_of(shape, 3, 4)
        parts = [features]
        for grid, level in zip(module.GRIDS, module.levels, strict=True):
            down = self._cells(height, grid)
            across = self.node("Transpose", [self._cells(width, grid)])
            means = self.node("MatMul", [self.node("MatMul", [down, features]), across])
            pooled = self.module(level, means)
            channels = next(level.parameters()).shape[0]
            size = self.node("Concat", [number, self.integers(channels), plane], axis=0)
            parts.append(self._resize(pooled, "", "", size))
        joined = self.node("Concat", parts, axis=1)
        return self.module(module.merge, joined)

    def _cells(self, length: str, cells: int) -> str:
        """Add the matrix (cells, length) of means over cells, as adaptive pooling cuts them."""
        count, column = self.integers(cells), self.integers(1)
        start = self.node("Mul", [self.integers(*range(cells)), length])
        # Rounded up: neighbours share a place where the length does not divide.
        end = self.node("Add", [self.node("Add", [start, length]), self.integers(cells - 1)])
        start, end = (
            self.node("Unsqueeze", [self.node("Div", [bound, count]), column])
            for bound in (start, end)
        )
        bounds = (self.integers(0), length, self.integers(1))
        places = self.node("Range", [self.node("Squeeze", [bound]) for bound in bounds])
        inside = self.node(
            "And",
            [self.node("GreaterOrEqual", [places, start]), self.node("Less", [places, end])],
        )
        members, sizes = (
            self.node("Cast", [what], to=onnx.TensorProto.FLOAT)
            for what in (inside, self.node("Sub", [end, start]))
        )
        return self.node("Div", [members, sizes])

    def classify(self, network: ContextNet, detail: Sequence[str], context: str) -> str:
        """Add fusion (Table 3), for cn124 in two steps, and classifier behind the features."""
        factor, gain = network.context_scale, 1.0
        if network.half_fusion is not None:
            context, gain = self._fuse(network.half_fusion, detail[1], context, factor // 2, gain)
            factor = 2
        features, gain = self._fuse(network.fusion, detail[0], context, factor, gain)
        return self.conv2d(network.classifier, features, gain)

    def _fuse(
        self, fusion: FusionUnit, detail: str, context: str, factor: int, gain: float
    ) -> tuple[str, float]:
        """Add a fusion, of `context` times `gain`; returns its output and the gain of that."""
        reach = fusion.context[0]
        assert isinstance(reach, nn.Sequential)
        depthwise, activation = reach
        assert isinstance(depthwise, nn.Conv2d)
        context = self.conv2d(depthwise, self.enlarge(context, factor), gain)
        context = self.chain([activation, fusion.context[1]], context)
        fused = self.node("Add", [self.module(fusion.detail, detail), context])
        if self._blocked:
            # A sixth of the ReLU6. ONNX Runtime takes it into the convolution that adds, where it
            # would leave its layout for a Clip.
            return self.node("HardSigmoid", [fused], alpha=1 / 6, beta=0.0), 6.0
        return self.relu6(fused), 1.0

    def model(
        self,
        source: onnx.ValueInfoProto,
        target: onnx.ValueInfoProto,
        result: str,
        metadata: dict[str, str],
    ) -> onnx.ModelProto:
        """Return the checked model, in which `result` has the name of `target`."""
        for node in self._nodes:
            for index, name in enumerate(node.output):
                node.output[index] = target.name if name == result else name
        graph = helper.make_graph(
            self._nodes, "contextnet", [source], [target], list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="contextnet_ros",
            producer_version=__version__,
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model


def weights(module: nn.Conv2d) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return weight and bias of a folded convolution."""
    assert module.bias is not None
    return module.weight.detach().cpu().numpy(), module.bias.detach().cpu().numpy()


def pair(value: Any) -> tuple[int, int]:
    """Return vertical and horizontal of a convolution's setting."""
    vertical, horizontal = (value, value) if isinstance(value, int) else value
    return int(vertical), int(horizontal)
