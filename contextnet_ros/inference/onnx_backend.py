"""ONNX Runtime on the CPU: the fastest measured there (docs/performance.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from contextnet_ros.inference.onnx_graph import BORDERED_SIDES, build_graph
from contextnet_ros.inference.preprocess import Bordered
from contextnet_ros.inference.team import Team
from contextnet_ros.network import ContextNet, WeightHeader

# What it prints of its own accord; only errors, since a user can do nothing about the rest.
_LOG_ERRORS = 3


class OnnxRuntimeBackend:
    """ONNX Runtime's CPU kernels, with a session for the size of the last frame.

    The graph normalizes. Raises RuntimeError where ONNX Runtime fails, as for want of memory.
    """

    name = "onnxruntime"
    precision = "float32"
    note = ""

    def __init__(self, network: ContextNet, header: WeightHeader, num_threads: int) -> None:
        self.device = torch.device("cpu")
        self.num_threads = num_threads
        self._header = header
        self._team = Team(num_threads)
        self._model = build_graph(network, header, source="bordered").SerializeToString()
        self._size: tuple[int, int] | None = None

    def coarse_logits(self, frame: npt.NDArray[np.uint8]) -> torch.Tensor:
        height, width = frame.shape[:2]
        try:
            if self._size != (height, width):
                self._prepare(height, width)
            logits: list[Any] = self._session.run(None, {"bordered": self._border(frame)})
        # Its exceptions have no base of their own.
        except Exception as error:
            raise RuntimeError(f"ONNX Runtime: {error}") from error
        return torch.from_numpy(logits[0][0])

    def _prepare(self, height: int, width: int) -> None:
        self._border = Bordered(height, width, self._header, self._team)
        # Once it knows the sizes ONNX Runtime adds within its convolutions, which is worth the ten
        # milliseconds that a session takes.
        sides = dict(zip(BORDERED_SIDES, self._border.size, strict=True))
        self._session = make_session(self._model, self.num_threads, sides)
        self._size = height, width


def make_session(
    model: bytes | str, num_threads: int, sides: Mapping[str, int] | None = None
) -> onnxruntime.InferenceSession:
    """Return a session on the CPU for a serialized model or a file's path; `sides` fixes those of
    its dimensions that have names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Else its threads keep the processors busy after each frame, which others may need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _LOG_ERRORS
    for name, pixels in (sides or {}).items():
        options.add_free_dimension_override_by_name(name, pixels)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
