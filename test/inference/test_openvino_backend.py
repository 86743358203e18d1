from __future__ import annotations

import os
import site
import subprocess
import sys

import numpy as np
import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter, backend
from contextnet_ros.inference.backend import make_backend
from contextnet_ros.labels import CAMVID
from contextnet_ros.training.evaluation import evaluate
from contextnet_ros.training.sources import open_data

# Which imports openvino, quietly.
openvino_backend = pytest.importorskip("contextnet_ros.inference.openvino_backend")

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["bfloat16", "no bfloat16"])
def in_bfloat16(request, monkeypatch):
    """Whether the processor is said to compute in bfloat16."""
    monkeypatch.setattr(openvino_backend, "computes_in_bfloat16", lambda: request.param)
    monkeypatch.setattr(backend, "_processor_has_bfloat16", lambda: request.param)
    return request.param


@pytest.mark.skipif(
    not openvino_backend.computes_in_bfloat16(),
    reason="this processor does not compute in bfloat16",
)
@pytest.mark.parametrize("name", ["default", "cn14-160"])
def test_bfloat16_labels_as_float32_pytorch_does(name):
    scenes = {"data": "generated", "first_seed": 900_000, "num_scenes": 4, "size": [512, 1024]}
    frames = open_data(scenes, CAMVID, None)
    ours = Segmenter.load(name, "cpu", "bfloat16")
    pytorch = Segmenter.load(name, "cpu", "float32", backend="torch")
    images = [frames[index][0] for index in range(len(frames))]
    same = [(ours(image).label == pytorch(image).label).mean() for image in images]
    assert np.mean(same) >= 0.998
    scores = [evaluate(segmenter, frames)["miou_percent"] for segmenter in (ours, pytorch)]
    assert abs(scores[0] - scores[1]) <= 0.1


def test_auto_is_openvino_where_the_processor_computes_in_bfloat16(network, header, in_bfloat16):
    pytest.importorskip("onnxruntime")
    chosen = make_backend("auto", network, header, CPU, "auto", 1)
    expected = ("openvino", "bfloat16") if in_bfloat16 else ("onnxruntime", "float32")
    assert (chosen.name, chosen.precision) == expected
    assert make_backend("auto", network, header, CPU, "float32", 1).name == "onnxruntime"
    asked = make_backend("openvino", network, header, CPU, "auto", 1)
    assert (asked.name, asked.precision) == ("openvino", expected[1])


def test_without_openvino_it_is_missed_where_it_would_be_faster(
    network, header, in_bfloat16, monkeypatch
):
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "contextnet_ros.inference.openvino_backend", None)
    chosen = make_backend("auto", network, header, CPU, "auto", 1)
    assert (chosen.name, chosen.precision) == ("onnxruntime", "float32")
    assert ("bfloat16: pip install onnx openvino" in chosen.note) == in_bfloat16
    assert make_backend("auto", network, header, CPU, "float32", 1).note == ""
    for name, precision, others in (
        ("openvino", "auto", "backend auto or torch"),
        ("openvino", "bfloat16", "precision auto or float32"),
        ("auto", "bfloat16", "precision auto or float32"),
    ):
        says = rf"'\w+' can't be had .*pip install onnx openvino.*, or choose {others}$"
        with pytest.raises(UserError, match=says):
            make_backend(name, network, header, CPU, precision, 1)


@pytest.mark.parametrize("in_bfloat16", [True], indirect=True)
def test_an_openvino_that_fails_is_passed_over(network, header, in_bfloat16, monkeypatch):
    def failing():
        raise RuntimeError("no plugin for CPU")

    monkeypatch.setattr(openvino_backend, "computes_in_bfloat16", failing)
    chosen = make_backend("auto", network, header, CPU, "auto", 1)
    assert chosen.name in ("onnxruntime", "torch")
    assert in_bfloat16
    assert "(now: no plugin for CPU)" in chosen.note
    with pytest.raises(UserError, match=r"can't be had \(no plugin for CPU\): pip install -U"):
        make_backend("openvino", network, header, CPU, "auto", 1)


@pytest.mark.usefixtures("in_bfloat16")
@pytest.mark.parametrize("in_bfloat16", [False], indirect=True)
def test_bfloat16_is_refused_on_another_processor(network, header):
    with pytest.raises(UserError, match=r"not compute in bfloat16: choose precision auto"):
        Segmenter(network, header, "cpu", "bfloat16")


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_bfloat16_is_openvinos_alone(network, header, name):
    says = rf"'bfloat16' is not for backend '{name}': choose precision auto or float32"
    with pytest.raises(UserError, match=says):
        Segmenter(network, header, "cpu", "bfloat16", backend=name)


def test_it_is_compiled_for_each_size_and_gets_the_thread_count(
    network, header, make_frame, monkeypatch
):
    made = []
    compile_model = openvino_backend.compile_model

    def counting(model, num_threads, precision):
        compiled = compile_model(model, num_threads, precision)
        made.append((num_threads, precision, tuple(compiled.input().shape)))
        return compiled

    monkeypatch.setattr(openvino_backend, "compile_model", counting)
    segmenter = Segmenter(network, header, "cpu", "float32", backend="openvino", num_threads=3)
    for height in (32, 32, 60, 33, 32, 60):
        assert segmenter(make_frame(height, 40)).label.shape == (height, 40)
    assert made == [(3, "float32", (height, 40, 3)) for height in (32, 60, 33)]


def test_logits_are_kept_while_the_next_frame_runs_and_a_frame_may_be_read_only(
    network, header, make_frame
):
    one = openvino_backend.OpenVinoBackend(network, header, "float32", 1)
    first, second = make_frame(64, 96, seed=1), make_frame(64, 96, seed=2)
    first.flags.writeable = False
    logits = one.coarse_logits(one.prepare(first))
    kept = logits.clone()
    assert not torch.equal(one.coarse_logits(one.prepare(second)), kept)
    assert torch.equal(logits, kept)


def test_a_failure_is_a_runtime_error_that_says_who_failed(network, header, monkeypatch):
    def failing(*_):
        raise MemoryError("no room for 99 bytes")

    monkeypatch.setattr(openvino_backend, "compile_model", failing)
    segmenter = Segmenter(network, header, "cpu", backend="openvino")
    with pytest.raises(RuntimeError, match="OpenVINO: no room for 99 bytes"):
        segmenter(np.zeros((32, 32, 3), np.uint8))


def test_a_signal_still_comes_when_networks_have_gone():
    program = """
import gc, signal
import numpy as np
from contextnet_ros.inference.openvino_backend import OpenVinoBackend
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, WeightHeader

header = WeightHeader(table=CAMVID, variant="cn14-160")
network = ContextNet(11, "cn14-160").eval()
backends = [OpenVinoBackend(network, header, "auto", 1) for _ in range(3)]
for backend in backends:
    backend.coarse_logits(np.zeros((32, 32, 3), np.uint8))
while backends:
    del backends[0], backend
    gc.collect()
    backend = None
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("came")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "came\n"), done.stderr


def test_it_sends_nothing_to_its_maker(tmp_path):
    """As it comes, importing it sends an event, and leaves an identity in the home folder."""
    program = "import contextnet_ros.inference.openvino_backend, sys; print(*sys.modules)"
    # What was installed for the user is found all the same.
    base = site.getuserbase()
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONUSERBASE": base, "CI": ""}
    loaded = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "openvino" in loaded
    assert not any(module.startswith("openvino_telemetry.") for module in loaded)
    assert list(tmp_path.iterdir()) == []
