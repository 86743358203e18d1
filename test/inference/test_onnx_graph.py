from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from decided_network import decided

from contextnet_ros.labels import CAMVID
from contextnet_ros.network import VARIANTS, ContextNet
from contextnet_ros.network.blocks import PyramidPooling
from contextnet_ros.network.contextnet import pad_to_multiple, padded_size

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto  # noqa: E402
from onnx.helper import make_tensor_value_info  # noqa: E402

from contextnet_ros.inference import onnx_nodes  # noqa: E402
from contextnet_ros.inference.onnx_graph import build_graph, read_metadata  # noqa: E402
from contextnet_ros.inference.preprocess import Bordered  # noqa: E402

SIZES = [(64, 96), (75, 101), (33, 160), (1, 1)]


def run(model, value):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: value})[0]


def normalized(frame, header):
    """The header's arithmetic and the network's padding, (1, 3, H, W)."""
    channels = frame[..., ::-1] if header.channel_order == "RGB" else frame
    scaled = (channels / 255.0 - np.array(header.mean)) / np.array(header.std)
    images = torch.from_numpy(scaled.astype(np.float32)).permute(2, 0, 1)[None]
    return pad_to_multiple(images, VARIANTS[header.variant].size_multiple)


def value_of(source, frame, header):
    if source in ("frame", "pixels"):
        return frame
    if source == "bordered":
        return Bordered(*frame.shape[:2], header)(frame)
    return normalized(frame, header).numpy()


def size_of(source, frame, fixed):
    if not fixed:
        return None
    return frame.shape[:2] if source in ("frame", "pixels") else padded_size(*frame.shape[:2], 32)


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "any size"])
@pytest.mark.parametrize("source", ["images", "frame", "bordered", "pixels"])
@pytest.mark.parametrize("size", SIZES)
def test_logits_are_those_of_pytorch(network, header, make_frame, size, source, fixed):
    frame = make_frame(*size)
    model = build_graph(network, header, size_of(source, frame, fixed), source)
    ours = run(model, value_of(source, frame, header))
    with torch.inference_mode():
        expected = network.coarse_logits(normalized(frame, header)).numpy()
    # The borders are in this comparison: a mean folded into the weights would show there.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "any size"])
@pytest.mark.parametrize("source", ["images", "frame", "bordered", "pixels"])
@pytest.mark.parametrize("size", SIZES)
def test_labels_are_the_argmax_of_pytorchs_full_size_logits(
    network, header, make_frame, size, source, fixed
):
    frame = make_frame(*size)
    model = build_graph(network, header, size_of(source, frame, fixed), source, "label")
    label = run(model, value_of(source, frame, header))
    with torch.inference_mode():
        logits = network(normalized(frame, header))[0]
    if source in ("frame", "pixels"):
        logits = logits[:, : size[0], : size[1]]
    assert label.dtype == np.uint8
    assert label.shape == ((1,) if source == "images" else ()) + tuple(logits.shape[1:])
    top = logits.topk(2, dim=0)
    clear = (top.values[0] - top.values[1] > 1e-4 * logits.abs().max()).numpy()
    np.testing.assert_array_equal(label.reshape(clear.shape)[clear], top.indices[0].numpy()[clear])
    assert clear.mean() > 0.98


@pytest.mark.parametrize("source", ["images", "frame", "bordered", "pixels"])
@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"cn14"}))
def test_every_variant_gives_the_logits_of_pytorch(header, make_frame, variant, source):
    torch.manual_seed(0)
    other = replace(header, variant=variant)
    network = ContextNet(11, variant, width=0.5).eval()
    torch.nn.init.normal_(network.classifier.weight, std=0.3)
    frame = make_frame(75, 101)
    with torch.inference_mode():
        expected = network.coarse_logits(normalized(frame, other)).numpy()
    ours = run(build_graph(network, other, source=source), value_of(source, frame, other))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_hidden_features_in_parts_give_the_logits_of_whole_ones(
    header, make_frame, variant, monkeypatch
):
    torch.manual_seed(0)
    other = replace(header, variant=variant)
    network = ContextNet(11, variant).eval()
    torch.nn.init.normal_(network.classifier.weight, std=0.3)
    frame = make_frame(96, 160)
    size = padded_size(*frame.shape[:2], network.size_multiple)
    whole = build_graph(network, other, size, "bordered")
    monkeypatch.setattr(onnx_nodes, "_LARGE_BYTES", 4 * 96 * (6 * 10))
    monkeypatch.setattr(onnx_nodes, "_PART_BYTES", 4 * 48 * (6 * 10))
    parts = build_graph(network, other, size, "bordered")
    assert len(parts.graph.node) > len(whole.graph.node)
    value = value_of("bordered", frame, other)
    expected = run(whole, value)
    np.testing.assert_allclose(
        run(parts, value), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "any size"])
@pytest.mark.parametrize("size", [(8, 12), (7, 11), (3, 5), (1, 1)])
def test_pyramid_pooling_is_that_of_pytorch(size, fixed):
    torch.manual_seed(0)
    module = PyramidPooling(16).eval()
    features = torch.randn(2, 16, *size)
    with torch.inference_mode():
        expected = module(features)
        for unit in (*module.levels, module.merge):
            unit[0] = torch.nn.utils.fuse_conv_bn_eval(unit[0], unit[1])
            del unit[1]
    graph = onnx_nodes.Graph()
    shape = [2, 16, *size] if fixed else ["N", 16, "h", "w"]
    model = graph.model(
        *(make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("before", "after")),
        graph.pyramid(module, "before"),
        {},
    )
    np.testing.assert_allclose(run(model, features.numpy()), expected.numpy(), rtol=0, atol=1e-6)
    assert expected.std() > 0.1


@pytest.mark.parametrize("source", ["images", "frame", "bordered", "pixels"])
@pytest.mark.parametrize("variant", ["cn14", "cn124"])
def test_a_network_with_pyramid_pooling_gives_the_logits_of_pytorch(
    header, make_frame, variant, source
):
    other = replace(header, variant=variant, ppm=True)
    network = decided(variant, width=0.5, ppm=True)
    frame = make_frame(75, 101)
    with torch.inference_mode():
        expected = network.coarse_logits(normalized(frame, other)).numpy()
    ours = run(build_graph(network, other, source=source), value_of(source, frame, other))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_full_size_logits_are_those_of_pytorch(network, header, make_frame):
    frame = make_frame(64, 96)
    images = normalized(frame, header)
    with torch.inference_mode():
        expected = network(images).numpy()
    ours = run(build_graph(network, header, (64, 96), target="full_logits"), images.numpy())
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_several_images_go_through_at_once(network, header):
    images = torch.randn(3, 3, 64, 96)
    with torch.inference_mode():
        expected = network.coarse_logits(images).numpy()
    ours = run(build_graph(network, header), images.numpy())
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("source", ["frame", "bordered", "pixels"])
def test_channel_order_and_normalization_are_those_of_the_header(
    network, header, make_frame, source
):
    other = replace(header, channel_order="BGR", mean=(0.1, 0.4, 0.7), std=(0.5, 0.2, 0.3))
    frame = make_frame(64, 96)
    with torch.inference_mode():
        expected = network.coarse_logits(normalized(frame, other)).numpy()
    ours = run(build_graph(network, other, source=source), value_of(source, frame, other))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_a_graph_for_bfloat16_takes_bytes_less_whole_numbers(header, make_frame, variant):
    torch.manual_seed(0)
    # Padding is the mean rounded to a byte: of a whole mean the logits are PyTorch's.
    other = replace(header, variant=variant, mean=(110 / 255, 123 / 255, 96 / 255))
    network = ContextNet(11, variant, width=0.5).eval()
    torch.nn.init.normal_(network.classifier.weight, std=0.3)
    frame = make_frame(75, 101)
    for mean, share in ((other.mean, 1e-5), ((0.42, 0.485, 0.375), 1e-2)):
        other = replace(other, mean=mean)
        with torch.inference_mode():
            expected = network.coarse_logits(normalized(frame, other)).numpy()
        ours = run(build_graph(network, other, source="pixels", bfloat16=True), frame)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=share * np.abs(expected).max())


@pytest.mark.parametrize("source", ["images", "frame", "bordered", "pixels"])
def test_the_declared_shapes_are_those_of_the_results(network, header, source):
    frame = np.zeros((64, 96, 3), np.uint8)
    for target in ("logits", "full_logits", "label"):
        model = build_graph(network, header, (64, 96), source, target)
        (declared,) = model.graph.output
        shape = [dimension.dim_value for dimension in declared.type.tensor_type.shape.dim]
        result = run(model, value_of(source, frame, header))
        assert list(result.shape) == shape
        assert declared.name == target


def test_the_file_says_all_that_its_users_need(network, header):
    noted = read_metadata(build_graph(network, header, (64, 96), "frame"))
    assert tuple(noted["classes"]["names"]) == CAMVID.names
    assert noted["classes"]["palette"][0] == list(CAMVID.palette[0])
    assert (tuple(noted["mean"]), tuple(noted["std"])) == (header.mean, header.std)
    assert (noted["channel_order"], noted["ignore_id"]) == ("RGB", 255)
    assert (noted["network_size"], noted["interpolation"]) == ("frame", "area")
    assert (noted["source"], noted["target"], noted["size"]) == ("frame", "logits", [64, 96])
    assert noted["data_licence"] == "test only"
    assert (noted["variant"], noted["width"], noted["ppm"]) == ("cn14", 1.0, False)


def test_the_graph_is_made_of_published_operators_only(network, header):
    model = build_graph(network, header)
    assert {node.op_type for node in model.graph.node} == {
        "Conv", "Clip", "Add", "AveragePool", "Resize",
    }  # fmt: skip
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": (64, 100)}, "64 x 100"),
        ({"size": (65, 96), "source": "bordered"}, "65 x 96"),
        ({"source": "video"}, "'video'"),
        ({"target": "depth"}, "'depth'"),
    ],
)
def test_a_graph_that_can_not_be_is_refused(network, header, options, says):
    with pytest.raises(ValueError, match=says):
        build_graph(network, header, **options)
