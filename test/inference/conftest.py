from __future__ import annotations

import cv2
import numpy as np
import pytest
from decided_network import decided

from contextnet_ros.inference import Segmenter
from contextnet_ros.labels import CAMVID
from contextnet_ros.network import ContextNet, WeightHeader


@pytest.fixture(scope="session")
def network() -> ContextNet:
    """A cn14 of random weights that decides clearly."""
    return decided()


@pytest.fixture(scope="session")
def header() -> WeightHeader:
    return WeightHeader(table=CAMVID, data_licence="test only")


def make_frame(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Coloured blobs of many sizes, uint8 (height, width, 3)."""
    random = np.random.default_rng(seed)
    frame = np.zeros((height, width, 3))
    for cells in (3, 9, 40):
        frame += cv2.resize(random.normal(size=(cells, cells, 3)), (width, height)).reshape(
            frame.shape
        )
    return np.clip(128 + 40 * frame, 0, 255).astype(np.uint8)


@pytest.fixture(name="make_frame", scope="session")
def _make_frame():
    return make_frame


@pytest.fixture(scope="module", params=["torch", "onnxruntime", "openvino"])
def backend(request):
    if request.param != "torch":
        pytest.importorskip("onnx")
        kind = "onnx" if request.param == "onnxruntime" else "openvino"
        pytest.importorskip(f"contextnet_ros.inference.{kind}_backend")
    return request.param


@pytest.fixture(scope="module")
def segmenter(network, header, backend):
    """A Segmenter on the CPU with each backend."""
    return Segmenter(network, header, "cpu", "float32", backend=backend)
