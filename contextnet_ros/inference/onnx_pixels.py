"""ONNX nodes from the pixels of a frame to the features of the branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from torch import nn

from contextnet_ros.inference.onnx_nodes import Graph, pair, weights
from contextnet_ros.network import WeightHeader
from contextnet_ros.network.contextnet import padded_size


@dataclass(frozen=True)
class Pixels:
    """An image of bytes, or values as large: (1, 1, H, 3 W), each pixel's channels side by side, or
    where `apart` (1, 3, H, W).

    `mean`, `factor`: (3,), in the network's order; its input is (value - mean) * factor. `swap`:
    the order of the image is the reverse. `border`: the image has a row and a column of the mean
    ahead of it, which are the padding of the first convolutions; otherwise that is zeros.
    """

    name: str
    mean: npt.NDArray[np.float64]
    factor: npt.NDArray[np.float64]
    swap: bool
    border: bool = False
    apart: bool = False


def features_of_frame(
    graph: Graph,
    branches: Sequence[tuple[nn.Sequential, int]],
    header: WeightHeader,
    size: tuple[int, int] | None,
    source: str,
    multiple: int,
    bfloat16: bool,
) -> list[str]:
    """Add what leads from a frame to the features of the branches, each with how far it is reduced.

    For ONNX Runtime, which would transpose, an image of (H, W, 3) is one of a single channel, (H,
    3 W), in which a 3 x 3 kernel is one of 3 x 9. OpenVINO moves nothing for its Transpose: it has
    convolutions that take channels side by side. Values are normalized within the first weights.
    """
    swap = header.channel_order == "RGB"
    mean = 255 * np.asarray(header.mean)
    subtracted = np.zeros(3) if source == "bordered" else mean.round() if bfloat16 else mean
    of_bytes = subtracted[::-1] if swap else subtracted
    if source == "pixels":
        values = graph.node("Cast", [source], to=TensorProto.FLOAT)
        values = graph.node("Sub", [values, graph.floats("mean", of_bytes)])
        planes = graph.node("Unsqueeze", [values, graph.integers(0)])
        image = graph.node("Transpose", [planes], perm=[0, 3, 1, 2])
        image = _padded(graph, image, source, size, multiple, 1)
    else:
        planes = graph.node("Unsqueeze", [source, graph.integers(0, 1)])
        image = graph.node("Reshape", [planes, graph.integers(0, 0, 0, -1)])
    if source == "frame":
        shape = graph.node("Shape", [source])
        width = graph.part_of(shape, 1, 2)
        row = graph.node("Tile", [graph.floats("mean", of_bytes), width])
        values = graph.node("Sub", [graph.node("Cast", [image], to=TensorProto.FLOAT), row])
        image = _padded(graph, values, source, size, multiple, 3)
    pixels = Pixels(
        image,
        mean - subtracted,
        1 / (255 * np.asarray(header.std)),
        swap,
        border=source == "bordered",
        apart=source == "pixels",
    )
    return [_branch(graph, branch, pixels, scale) for branch, scale in branches]


def _padded(
    graph: Graph,
    image: str,
    source: str,
    size: tuple[int, int] | None,
    multiple: int,
    per_column: int,
) -> str:
    """Add the padding of values less their mean, (1, channels, H, W `per_column`).

    The mean goes ahead of it, so that zeros outside mean what they do in training.
    """
    if size is not None and size == padded_size(*size, multiple):
        return image
    # ONNX's Mod of integers has the sign of the divisor, as Python's.
    shape = graph.node("Shape", [source])
    lack = graph.node("Mod", [graph.node("Neg", [shape]), graph.integers(multiple)])
    lack = graph.part_of(lack, 0, 2)
    ends = graph.node("Mul", [lack, graph.integers(1, per_column)])
    pads = graph.node("Concat", [graph.integers(0, 0, 0, 0, 0, 0), ends], axis=0)
    return graph.node("Pad", [image, pads])


def _branch(graph: Graph, branch: nn.Sequential, image: Pixels, scale: int) -> str:
    """Add a branch that sees an image of bytes reduced by `scale`."""
    first, *rest = branch
    assert isinstance(first, nn.Sequential)
    convolution, activation = first
    assert isinstance(convolution, nn.Conv2d)
    weight, bias = weights(convolution)
    stride, padding = pair(convolution.stride), pair(convolution.padding)
    if scale > 1 and not image.apart:
        reduced = _reduced(graph, image, scale)
        # The channels that fill the block are nothing to the convolution.
        weight = np.pad(weight, ((0, 0), (0, graph.block - weight.shape[1]), (0, 0), (0, 0)))
        features = graph.convolution(reduced, weight, bias, stride, padding)
    else:
        # Within the kernel the mean of scale x scale pixels is not rounded.
        scaled = weight * image.factor[:, None, None] / scale**2
        scaled = scaled.repeat(scale, axis=2).repeat(scale, axis=3)
        bias = bias - np.einsum("ocyx,c->o", scaled, image.mean)
        features = _on_pixels(graph, image, scaled, bias, scale * stride[0], scale * padding[0])
    return graph.chain([activation, *rest], features)


def _reduced(graph: Graph, image: Pixels, scale: int) -> str:
    """Add the mean of scale x scale pixels, normalized, filled up to a block of channels."""
    weight: npt.NDArray[np.float64] = np.zeros((graph.block, 3, scale, scale))
    weight[range(3), range(3)] = (image.factor / scale**2)[:, None, None]
    bias = np.pad(-image.mean * image.factor, (0, graph.block - 3))
    if image.border:
        # Zeros pass over the row and the column ahead.
        weight = np.pad(weight, ((0, 0), (0, 0), (1, 0), (1, 0)))
    return _on_pixels(graph, image, weight, bias, scale, 0)


def _on_pixels(
    graph: Graph,
    image: Pixels,
    weight: npt.NDArray[np.floating[Any]],
    bias: npt.NDArray[np.floating[Any]],
    stride: int,
    pad: int,
) -> str:
    """Add a convolution, weight (O, 3, h, w), on an image whose border is its padding."""
    if image.swap:
        weight = weight[:, ::-1]
    if image.apart:
        return graph.convolution(image.name, weight, bias, (stride, stride), (pad, pad))
    pad = 0 if image.border else pad
    wide = weight.transpose(0, 2, 3, 1)
    return graph.convolution(
        image.name,
        wide.reshape(len(weight), 1, weight.shape[2], -1),
        bias,
        (stride, 3 * stride),
        (pad, 3 * pad),
    )
