from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.inference.backend import make_backend
from contextnet_ros.network import save_weights

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from contextnet_ros.inference import onnx_backend
from contextnet_ros.inference.onnx_backend import OnnxRuntimeBackend

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


@pytest.mark.parametrize("size", [(64, 96), (32, 32), (160, 64)])
def test_logits_are_the_networks_own(network, header, size):
    images = torch.randn(1, 3, *size).contiguous(memory_format=torch.channels_last)
    ours = OnnxRuntimeBackend(network, header, 2).coarse_logits(images)
    with torch.inference_mode():
        expected = network.coarse_logits(images)[0]
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_planar_images_give_what_channels_last_ones_give(network, header):
    images = torch.randn(1, 3, 64, 96)
    backend = OnnxRuntimeBackend(network, header, 1)
    torch.testing.assert_close(
        backend.coarse_logits(images),
        backend.coarse_logits(images.contiguous(memory_format=torch.channels_last)),
        rtol=0,
        atol=0,
    )


def test_sessions_are_kept_for_the_last_sizes_only_and_get_the_thread_count(
    network, header, make_frame, monkeypatch
):
    made = []
    make_session = onnx_backend.make_session

    def counting(model, num_threads):
        made.append(num_threads)
        return make_session(model, num_threads)

    monkeypatch.setattr(onnx_backend, "make_session", counting)
    segmenter = Segmenter(network, header, device="cpu", backend="onnxruntime", num_threads=3)
    for height in (32, 64, 60, 33, 32, 64):
        segmenter(make_frame(height, 32))
    assert made == [3, 3]
    segmenter(make_frame(96, 32))
    segmenter(make_frame(32, 32))
    assert len(made) == 4


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
