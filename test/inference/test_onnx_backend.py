from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.inference.backend import make_backend
from contextnet_ros.network import ContextNet, save_weights

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from contextnet_ros.inference import onnx_backend

# What a machine without these packages does, in a process of its own.
WITHOUT_ONNX = """
import sys
sys.modules[sys.argv[2]] = None
from contextnet_ros.inference import Segmenter
try:
    print(Segmenter.load(sys.argv[1], device="cpu", backend=sys.argv[3]).describe())
except Exception as error:
    print(type(error).__name__, error)
"""


def test_the_faster_backend_is_the_default_on_a_cpu(network, header):
    assert Segmenter(network, header, device="cpu").backend == "onnxruntime"
    assert Segmenter(network, header, device="cpu", backend="torch").backend == "torch"


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
@pytest.mark.parametrize("backend", ["auto", "onnxruntime", "torch"])
def test_without_its_packages_torch_runs_and_says_what_is_missing(
    network, header, tmp_path, missing, backend
):
    path = tmp_path / "weights.safetensors"
    save_weights(path, network, header)
    output = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONNX, str(path), missing, backend],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert "\n" not in output
    says_what_to_install = "pip install onnx onnxruntime" in output
    if backend == "onnxruntime":
        assert output.startswith("UserError backend 'onnxruntime' can't be had")
        assert missing in output
        assert says_what_to_install
    else:
        assert "torch on cpu" in output
        assert says_what_to_install == (backend == "auto")


@pytest.mark.parametrize("size", [(64, 96), (75, 101), (1, 1)])
def test_both_backends_give_the_same_logits(network, header, make_frame, size):
    frame = make_frame(*size)
    cpu = torch.device("cpu")
    by_torch, by_onnx = (
        make_backend(name, network, header, cpu, "float32", 2).coarse_logits(frame)
        for name in ("torch", "onnxruntime")
    )
    assert by_onnx.dtype == torch.float32
    assert by_onnx.shape == by_torch.shape
    assert (by_onnx - by_torch).abs().max() < 1e-5 * by_torch.abs().max()


def test_pyramid_pooling_runs_in_torch_and_says_so(header):
    network = ContextNet(11, ppm=True).eval()
    with_pooling = replace(header, ppm=True)
    segmenter = Segmenter(network, with_pooling, device="cpu")
    assert segmenter.backend == "torch"
    assert "no pyramid pooling" in segmenter.describe()
    with pytest.raises(UserError, match="pyramid pooling: choose torch or auto"):
        Segmenter(network, with_pooling, device="cpu", backend="onnxruntime")


def test_one_session_takes_every_size_and_gets_the_thread_count(
    network, header, make_frame, monkeypatch
):
    made = []
    make_session = onnx_backend.make_session

    def counting(model, num_threads):
        made.append(num_threads)
        return make_session(model, num_threads)

    monkeypatch.setattr(onnx_backend, "make_session", counting)
    segmenter = Segmenter(network, header, device="cpu", backend="onnxruntime", num_threads=3)
    for height in (32, 60, 33):
        assert segmenter(make_frame(height, 40)).label.shape == (height, 40)
    assert made == [3]


def test_a_gpu_is_not_for_onnx_runtime(network, header):
    with pytest.raises(UserError, match=r"for the CPU, the device is cuda.*backend auto or torch"):
        make_backend("onnxruntime", network, header, torch.device("cuda"), "float16", 1)


def test_a_failing_session_is_a_runtime_error_that_says_who_failed(network, header, monkeypatch):
    class Failing:
        def run(self, *_):
            raise MemoryError("no room for 99 bytes")

    monkeypatch.setattr(onnx_backend, "make_session", lambda *_: Failing())
    segmenter = Segmenter(network, header, device="cpu", backend="onnxruntime")
    with pytest.raises(RuntimeError, match="ONNX Runtime: no room for 99 bytes"):
        segmenter(np.zeros((32, 32, 3), np.uint8))
