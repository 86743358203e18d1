"""ONNX Runtime on the CPU: the fastest measured there in float32 (docs/performance.md)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from contextnet_ros.inference.onnx_graph import build_graph
from contextnet_ros.inference.preprocess import Bordered
from contextnet_ros.inference.recent import Recent
from contextnet_ros.inference.team import Team
from contextnet_ros.network import ContextNet, WeightHeader

# What it prints of its own accord; only errors, since a user can do nothing about the rest.
_LOG_ERRORS = 3

# The first release that ends spinning after a time, and that time in microseconds.
_SPINS_BOUNDED = (1, 27)
_SPIN_US = "50"


class OnnxRuntimeBackend:
    """ONNX Runtime's CPU kernels, with a session for each of the image sizes seen last.

    The graph normalizes. Raises RuntimeError where ONNX Runtime fails, as for want of memory.
    """

    name = "onnxruntime"
    precision = "float32"

    def __init__(
        self, network: ContextNet, header: WeightHeader, num_threads: int, note: str = ""
    ) -> None:
        self.note = note
        self.device = torch.device("cpu")
        self.num_threads = num_threads
        self._network = copy.deepcopy(network)
        self._header = header
        self._team = Team(num_threads)
        self._borders: Recent[tuple[int, ...], Bordered] = Recent()
        self._sessions: Recent[tuple[int, ...], onnxruntime.InferenceSession] = Recent()

    def prepare(self, frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        height, width = frame.shape[:2]
        border = self._borders.get(
            (height, width), lambda: Bordered(height, width, self._header, self._team)
        )
        return border(frame)

    def coarse_logits(self, prepared: npt.NDArray[np.float32]) -> torch.Tensor:
        height, width = prepared.shape[0] - 1, prepared.shape[1] - 1
        try:
            session = self._sessions.get((height, width), lambda: self._session(height, width))
            logits: list[Any] = session.run(None, {"bordered": prepared})
        # Its exceptions have no base of their own.
        except Exception as error:
            raise RuntimeError(f"ONNX Runtime: {error}") from error
        return torch.from_numpy(logits[0][0])

    def _session(self, height: int, width: int) -> onnxruntime.InferenceSession:
        # For one size the graph can be cut to what the cache holds, and ONNX Runtime adds within
        # its convolutions, which is worth the fraction of a second that it takes.
        model = build_graph(self._network, self._header, (height, width), "bordered")
        return make_session(model.SerializeToString(), self.num_threads)


def make_session(
    model: bytes | str, num_threads: int, sides: Mapping[str, int] | None = None
) -> onnxruntime.InferenceSession:
    """Return a session on the CPU for a serialized model or a file's path; `sides` fixes those of
    its dimensions that have names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Waiting threads spin for as long as the next operator takes to come, and no longer: else they
    # keep the processors busy after each frame, which others may need.
    bounded = _release(onnxruntime.__version__) >= _SPINS_BOUNDED
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(bounded)))
    if bounded:
        options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    options.log_severity_level = _LOG_ERRORS
    for name, pixels in (sides or {}).items():
        options.add_free_dimension_override_by_name(name, pixels)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
