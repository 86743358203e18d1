"""ONNX nodes of a folded network's modules, one for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from torch import nn

from contextnet_ros import __version__
from contextnet_ros.network import ContextNet
from contextnet_ros.network.blocks import Bottleneck
from contextnet_ros.network.contextnet import FusionUnit

# What ONNX Runtime 1.12, OpenVINO 2022 and TensorRT 8.5 read as well as their newest releases.
OPSET = 17
IR_VERSION = 8


class Graph:
    """Nodes and constants in the order they are added; methods return the name of their output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
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

    def convolution(
        self,
        image: str,
        weight: npt.NDArray[np.floating[Any]],
        bias: npt.NDArray[np.float32],
        strides: tuple[int, int],
        pads: tuple[int, int],
        dilations: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> str:
        number = len(self._nodes)
        return self.node(
            "Conv",
            [image, self.floats(f"weight_{number}", weight), self.floats(f"bias_{number}", bias)],
            kernel_shape=weight.shape[2:],
            strides=strides,
            pads=[*pads, *pads],
            dilations=dilations,
            group=groups,
        )

    def relu6(self, features: str) -> str:
        return self.node("Clip", [features, self.floats("zero", 0), self.floats("six", 6)])

    def enlarge(self, features: str, factor: int) -> str:
        """Add bilinear interpolation by a whole factor, `align_corners=False`."""
        scales = self.floats(f"enlarge_{factor}", [1, 1, factor, factor])
        return self.node(
            "Resize",
            [features, "", scales],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )

    def module(self, module: nn.Module, features: str) -> str:
        """Add a folded module; raises TypeError for one that has no form here."""
        if isinstance(module, nn.Sequential):
            return self.chain(list(module), features)
        if isinstance(module, Bottleneck):
            out = self.module(module.body, features)
            return self.node("Add", [features, out]) if module.residual else out
        if isinstance(module, nn.ReLU6):
            return self.relu6(features)
        if isinstance(module, nn.Conv2d):
            return self.convolution(
                features,
                *weights(module),
                pair(module.stride),
                pair(module.padding),
                pair(module.dilation),
                module.groups,
            )
        raise TypeError(f"{type(module).__name__} has no ONNX form here")

    def chain(self, modules: Sequence[nn.Module], features: str) -> str:
        for module in modules:
            features = self.module(module, features)
        return features

    def classify(self, network: ContextNet, detail: Sequence[str], context: str) -> str:
        """Add fusion (Table 3), for cn124 in two steps, and classifier behind the features."""
        factor = network.context_scale
        if network.half_fusion is not None:
            context = self._fuse(network.half_fusion, detail[1], context, factor // 2)
            factor = 2
        return self.module(
            network.classifier, self._fuse(network.fusion, detail[0], context, factor)
        )

    def _fuse(self, fusion: FusionUnit, detail: str, context: str, factor: int) -> str:
        context = self.enlarge(context, factor)
        added = [self.module(fusion.detail, detail), self.module(fusion.context, context)]
        return self.relu6(self.node("Add", added))

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
