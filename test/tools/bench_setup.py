"""What tests of contextnet-bench's backends share."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

SIZE = (70, 100)

# What imports them, openvino quietly.
RUNTIMES = {
    "onnxruntime": "contextnet_ros.inference.onnx_backend",
    "openvino": "contextnet_ros.inference.openvino_backend",
}


def import_runtime(backend: str) -> ModuleType | None:
    """Return what needs a backend's runtime, None for torch's; skips the test where it is not."""
    return pytest.importorskip(RUNTIMES[backend]) if backend in RUNTIMES else None


def frames(count: int = 3) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)
