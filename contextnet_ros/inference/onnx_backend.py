"""ONNX Runtime on the CPU: the fastest measured there (docs/performance.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from contextnet_ros.inference.onnx_graph import build_graph
from contextnet_ros.inference.preprocess import Bordered
from contextnet_ros.inference.team import Team
from contextnet_ros.network import ContextNet, WeightHeader

# What it prints of its own accord; only errors, since a user can do nothing about the rest.
_LOG_ERRORS = 3


class OnnxRuntimeBackend:
    """ONNX Runtime's CPU kernels, one session for frames of any size.

    The graph normalizes. Raises RuntimeError where ONNX Runtime fails, as
    for want of memory.
    """

    name = "onnxruntime"
    precision = "float32"
    note = ""

    def __init__(self, network: ContextNet, header: WeightHeader, num_threads: int) -> None:
        self.device = torch.device("cpu")
        self.num_threads = num_threads
        self._header = header
        self._team = Team(num_threads)
        self._bordered: tuple[tuple[int, ...], Bordered] | None = None
        model = build_graph(network, header, source="bordered")
        self._session = make_session(model.SerializeToString(), num_threads)

    def coarse_logits(self, frame: npt.NDArray[np.uint8]) -> torch.Tensor:
        if self._bordered is None or self._bordered[0] != frame.shape:
            height, width = frame.shape[:2]
            self._bordered = frame.shape, Bordered(height, width, self._header, self._team)
        try:
            logits: list[Any] = self._session.run(None, {"bordered": self._bordered[1](frame)})
        # Its exceptions have no base of their own.
        except Exception as error:
            raise RuntimeError(f"ONNX Runtime: {error}") from error
        return torch.from_numpy(logits[0][0])


def make_session(model: bytes | str, num_threads: int) -> onnxruntime.InferenceSession:
    """Return a session on the CPU for a serialized model or a file's path."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Else its threads keep the processors busy after each frame, which others may need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _LOG_ERRORS
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
