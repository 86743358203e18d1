"""The folded network as an ONNX graph, written operator by operator with `onnx.helper`.

The network is five operators (Conv, Clip, Add, AveragePool, Resize), and a few more with pyramid
pooling, so that no exporter is needed, whose output would change from one release of torch to the
next.
"""

from __future__ import annotations

import json
from typing import Any

import onnx
from onnx import TensorProto, helper
from torch import nn

from contextnet_ros import __version__
from contextnet_ros.inference.onnx_nodes import Graph
from contextnet_ros.inference.onnx_pixels import features_of_frame
from contextnet_ros.network import ContextNet, WeightHeader, fold_batch_norm
from contextnet_ros.network.contextnet import padded_size
from contextnet_ros.network.variants import STRIDE

METADATA_KEY = "contextnet"
SOURCES = ("images", "frame", "bordered", "pixels")
TARGETS = ("logits", "full_logits", "label")
_BYTES = ("frame", "pixels")


def build_graph(
    network: ContextNet,
    header: WeightHeader,
    size: tuple[int, int] | None = None,
    source: str = "images",
    target: str = "logits",
    bfloat16: bool = False,
) -> onnx.ModelProto:
    """Make an ONNX model of a network (folded here), with what its users need to know in it.

    `source`: "images", float32 (N, 3, H, W) normalized; "frame", uint8 (H, W, 3) BGR, which the
    graph normalizes and pads; "bordered", what `Bordered` makes of a frame, float32 (H + 1, W + 1,
    3), in a graph cut for ONNX Runtime; "pixels", as "frame", in a graph cut for OpenVINO.
    `target`: "logits", float32 (N, C, H / 8, W / 8); "full_logits", (N, C, H, W) with the padding;
    "label", uint8 (N, H, W), or (H, W) of a frame. `size`: H and W, None for any, N being 1 where
    it is given. They divide by the network's `size_multiple`, but for a frame's. `bfloat16`: the
    graph is to run in that, in which bytes less a whole number are exact; a frame's padding is
    then the mean rounded to a whole byte. Raises ValueError for another source or target and for a
    size that the source can't have.
    """
    if source not in SOURCES or target not in TARGETS:
        raise ValueError(f"no graph leads from {source!r} to {target!r}: {SOURCES}, {TARGETS}")
    multiple = network.size_multiple
    if size is not None and source not in _BYTES and size != padded_size(*size, multiple):
        raise ValueError(f"{source} of {size[0]} x {size[1]} do not divide by {multiple}")
    folded = fold_batch_norm(network)
    graph = Graph(blocked=source == "bordered")
    if size is not None:
        graph.plane[source] = 3 * size[0] * size[1]
    branches = [(folded.detail, 1), (folded.context, folded.context_scale)]
    if folded.half_detail is not None:
        branches.insert(1, (folded.half_detail, 2))
    if source == "images":
        features = [_branch(graph, branch, scale) for branch, scale in branches]
    else:
        features = features_of_frame(graph, branches, header, size, source, multiple, bfloat16)
    *detail, context = features
    if folded.pyramid is not None:
        context = graph.pyramid(folded.pyramid, context)
    result = graph.classify(folded, detail, context)
    if target == "full_logits":
        result = graph.enlarge(result, STRIDE)
    if target == "label":
        result = _label(graph, result, source)
    info = {
        "package_version": __version__,
        "variant": header.variant,
        "width": header.width,
        "ppm": header.ppm,
        "classes": header.table.to_dict(),
        "ignore_id": header.ignore_id,
        "channel_order": header.channel_order,
        "mean": header.mean,
        "std": header.std,
        "network_size": str(header.network_size),
        "interpolation": header.network_size.interpolation,
        "data_licence": header.data_licence,
        "source": source,
        "target": target,
        "size": size,
    }
    return graph.model(
        _source_info(source, size),
        _target_info(source, target, size and padded_size(*size, multiple), size, folded),
        result,
        {METADATA_KEY: json.dumps(info)},
    )


def read_metadata(model: onnx.ModelProto) -> dict[str, Any]:
    """Return what `build_graph` noted in a model; raises KeyError where it did not make it."""
    noted = {entry.key: entry.value for entry in model.metadata_props}
    found: dict[str, Any] = json.loads(noted[METADATA_KEY])
    return found


def _branch(graph: Graph, branch: nn.Sequential, scale: int) -> str:
    """Add a branch that sees the images reduced by `scale`."""
    if scale == 1:
        return graph.module(branch, "images")
    sides = [scale, scale]
    pooled = graph.node("AveragePool", ["images"], kernel_shape=sides, strides=sides)
    graph.plane[pooled] //= scale**2
    return graph.module(branch, pooled)


def _label(graph: Graph, logits: str, source: str) -> str:
    """Add what leads from logits to the label of the input's own size."""
    wide = graph.enlarge(logits, STRIDE)
    if source in _BYTES:
        ends = graph.part_of(graph.node("Shape", [source]), 0, 2)
        wide = graph.node("Slice", [wide, graph.integers(0, 0), ends, graph.integers(2, 3)])
    label = graph.node("ArgMax", [wide], axis=1, keepdims=0, select_last_index=0)
    if source != "images":
        label = graph.node("Squeeze", [label, graph.integers(0)])
    return graph.node("Cast", [label], to=TensorProto.UINT8)


def _source_info(source: str, size: tuple[int, int] | None) -> onnx.ValueInfoProto:
    plane: list[int | str] = ["H", "W"] if size is None else list(size)
    if source == "bordered":
        plane = ["H + 1", "W + 1"] if size is None else [size[0] + 1, size[1] + 1]
    if source == "images":
        return helper.make_tensor_value_info(
            source, TensorProto.FLOAT, ["N" if size is None else 1, 3, *plane]
        )
    kind = TensorProto.UINT8 if source in _BYTES else TensorProto.FLOAT
    return helper.make_tensor_value_info(source, kind, [*plane, 3])


def _target_info(
    source: str,
    target: str,
    padded: tuple[int, int] | None,
    size: tuple[int, int] | None,
    network: ContextNet,
) -> onnx.ValueInfoProto:
    number: int | str = "N" if size is None and source == "images" else 1
    if target == "label":
        plane: list[int | str] = ["H", "W"] if size is None else list(size)
        shape = [number, *plane] if source == "images" else plane
        return helper.make_tensor_value_info(target, TensorProto.UINT8, shape)
    grid: list[int | str] = ["h", "w"]
    if padded is not None:
        grid = [pixels // (STRIDE if target == "logits" else 1) for pixels in padded]
    return helper.make_tensor_value_info(
        target, TensorProto.FLOAT, [number, network.num_classes, *grid]
    )
