from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from decided_network import decided

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.inference.backend import make_backend
from contextnet_ros.network import save_weights

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from contextnet_ros.inference import onnx_backend, onnx_nodes  # noqa: E402
from contextnet_ros.inference.onnx_graph import build_graph  # noqa: E402

# What a machine without these packages does, in a process of its own.
WITHOUT_ONNX = """
import sys
sys.modules["openvino"] = sys.modules[sys.argv[2]] = None
from contextnet_ros.inference import Segmenter
try:
    print(Segmenter.load(sys.argv[1], device="cpu", backend=sys.argv[3]).describe())
except Exception as error:
    print(type(error).__name__, error)
"""


def test_the_faster_backend_is_the_default_in_float32(network, header):
    assert Segmenter(network, header, "cpu", "float32").backend == "onnxruntime"
    assert Segmenter(network, header, "cpu", "float32", backend="torch").backend == "torch"


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


@pytest.mark.parametrize(("name", "share"), [("onnxruntime", 1e-5), ("openvino", 3e-5)])
@pytest.mark.parametrize("size", [(64, 96), (75, 101), (1, 1)])
@pytest.mark.parametrize("ppm", [False, True])
def test_every_backend_gives_the_logits_of_torch(
    network, header, make_frame, size, name, share, ppm
):
    if name == "openvino":
        pytest.importorskip("contextnet_ros.inference.openvino_backend")
    if ppm:
        header = replace(header, ppm=True)
        network = decided(ppm=True)
        share *= 2  # PyTorch itself is twice as far from float64 there
    frame = make_frame(*size)
    cpu = torch.device("cpu")
    backends = (make_backend(one, network, header, cpu, "float32", 2) for one in ("torch", name))
    by_torch, ours = (backend.coarse_logits(backend.prepare(frame)) for backend in backends)
    assert ours.dtype == torch.float32
    assert ours.shape == by_torch.shape
    assert (ours - by_torch).abs().max() < share * by_torch.abs().max()


def test_a_session_is_kept_while_the_size_is_and_gets_the_thread_count(
    network, header, make_frame, monkeypatch
):
    made = []
    make_session = onnx_backend.make_session

    def counting(model, num_threads):
        (source,) = onnx.load_model_from_string(model).graph.input
        made.append((num_threads, [side.dim_value for side in source.type.tensor_type.shape.dim]))
        return make_session(model, num_threads)

    monkeypatch.setattr(onnx_backend, "make_session", counting)
    segmenter = Segmenter(network, header, device="cpu", backend="onnxruntime", num_threads=3)
    for height in (32, 32, 60, 33, 33):
        assert segmenter(make_frame(height, 40)).label.shape == (height, 40)
    # 60 and 33 rows are padded to the same 64.
    assert made == [(3, [side, 65, 3]) for side in (33, 65)]


@pytest.mark.parametrize("large_bytes", [onnx_nodes._LARGE_BYTES, 0], ids=["whole", "in parts"])
def test_onnx_runtime_adds_and_cuts_off_within_its_convolutions(
    network, header, tmp_path, monkeypatch, large_bytes
):
    """What the graph's detours are for; a release that does otherwise is slower, not wrong."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    monkeypatch.setattr(onnx_nodes, "_LARGE_BYTES", large_bytes)
    monkeypatch.setattr(onnx_nodes, "_PART_BYTES", 0)
    model = build_graph(network, header, (64, 64), "bordered").SerializeToString()
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    if "ReorderOutput" not in found:
        pytest.skip("this processor has no layout of blocks in ONNX Runtime")
    assert found["ReorderOutput"] == 1
    assert set(found) == {"Unsqueeze", "Reshape", "Conv", "Upsample", "ReorderOutput"}


@pytest.mark.parametrize(
    ("version", "spins"), [("1.12.1", False), ("1.26.0", False), ("1.32.0", True)]
)
def test_threads_spin_only_where_it_ends_soon(network, header, monkeypatch, version, spins):
    seen = {}

    class Options(onnxruntime.SessionOptions):
        def add_session_config_entry(self, key, value):
            seen[key] = value

    monkeypatch.setattr(onnxruntime, "__version__", version)
    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    model = build_graph(network, header).SerializeToString()
    onnx_backend.make_session(model, num_threads=1)
    assert seen["session.intra_op.allow_spinning"] == str(int(spins))
    assert ("session.intra_op.spin_duration_us" in seen) == spins


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
