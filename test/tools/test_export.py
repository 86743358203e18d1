from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, NetworkSize, WeightHeader, save_weights
from contextnet_ros.tools import export

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    network = ContextNet(11)
    torch.nn.init.normal_(network.classifier.weight, std=100)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    header = WeightHeader(table=CAMVID, network_size=NetworkSize.parse("long_side 960"))
    save_weights(path, network, header)
    return path


@pytest.fixture
def run(weights, tmp_path, monkeypatch):
    """Run the command in `tmp_path` on small random weights; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: export.main([str(weights), *arguments])


@pytest.mark.parametrize(
    ("arguments", "source", "target", "in_shape", "out_shape"),
    [
        ((), "images", "logits", ["N", 3, "H", "W"], ["N", 11, "h", "w"]),
        (("--size", "64x96"), "images", "logits", [1, 3, 64, 96], [1, 11, 8, 12]),
        (("--size", "9x40", "--fused-ends", "front"), "frame", "logits", [9, 40, 3], [1, 11, 4, 8]),
        (("--fused-ends", "back"), "images", "label", ["N", 3, "H", "W"], ["N", "H", "W"]),
        (("--size", "9x40", "--fused-ends", "both"), "frame", "label", [9, 40, 3], [9, 40]),
    ],
)  # fmt: skip
def test_the_file_has_the_ends_and_the_size_asked_for(
    run, tmp_path, arguments, source, target, in_shape, out_shape
):
    assert run("-o", "net.onnx", *arguments) == 0
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == (source, in_shape)
    assert (result.name, result.shape) == (target, out_shape)
    noted = json.loads(session.get_modelmeta().custom_metadata_map["contextnet"])
    assert tuple(noted["classes"]["names"]) == CAMVID.names
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_the_check_and_what_was_exported_are_in_the_json(run, capsys):
    assert run("-o", "net.onnx", "--fused-ends", "front", "--json", "check.json") == 0
    with open("check.json") as file:  # noqa: PTH123
        report = json.load(file)
    assert [check["size"] for check in report["checks"]] == [[192, 320], [150, 205]]
    assert all(check["passed"] and check["difference"] < 1e-4 for check in report["checks"])
    assert report["metadata"]["network_size"] == "long_side 960"
    assert report["onnxruntime"] == onnxruntime.__version__
    assert {"device", "versions", "commit", "date"} <= set(report["provenance"])
    assert "resized to network size long_side 960" in capsys.readouterr().out


@pytest.mark.parametrize("ends", ["none", "both"])
def test_a_file_that_differs_from_pytorch_is_not_kept(run, tmp_path, capsys, monkeypatch, ends):
    from contextnet_ros.inference import onnx_graph

    build_graph = onnx_graph.build_graph

    def wrong(network, *arguments):
        with torch.no_grad():
            network.classifier.bias[3] += 300
        model = build_graph(network, *arguments)
        with torch.no_grad():
            network.classifier.bias[3] -= 300
        return model

    monkeypatch.setattr(onnx_graph, "build_graph", wrong)
    (tmp_path / "net.onnx").write_text("the one before")
    assert run("-o", "net.onnx", "--fused-ends", ends) == 1
    error = capsys.readouterr().err.strip()
    assert re.fullmatch("contextnet-export: error: .*differs from PyTorch.*not written.*", error)
    assert (tmp_path / "net.onnx").read_text() == "the one before"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_labels_are_compared_wherever_pytorch_can_tell(weights):
    network = export.load_weights(weights)[0]
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        label = network(images)[0].argmax(0).numpy().astype(np.uint8)
    assert export.compare(label, "label", network, images, (64, 96))["passed"]
    label[5, 7] = (label[5, 7] + 1) % 11
    check = export.compare(label, "label", network, images, (64, 96))
    assert not check["passed"]
    assert check["difference"] == pytest.approx(1 / (64 * 96))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-o", "net.pb"), r"net\.pb does not end in \.onnx"),
        (("-o", "net.onnx", "--size", "64x100"), "64x100 does not divide by 32: choose 64x128"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_1(run, tmp_path, capsys, arguments, says):
    assert run(*arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(f"contextnet-export: error: .*{says}", lines[0])
    assert not list(tmp_path.iterdir())


def test_a_size_of_another_form_is_refused(run, capsys):
    with pytest.raises(SystemExit) as stop:
        run("-o", "net.onnx", "--size", "large")
    assert stop.value.code == 2
    assert "'large': give height x width" in capsys.readouterr().err


def test_without_onnx_the_error_says_what_to_install(run, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert run("-o", "net.onnx") == 1
    assert "pip install onnx onnxruntime" in capsys.readouterr().err


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        export.main(["--help"])
    assert stop.value.code == 0
    assert "--fused-ends both" in capsys.readouterr().out
