"""ONNX Runtime on the CPU: the fastest measured there (docs/performance.md)."""

from __future__ import annotations

import copy
from collections import OrderedDict

import onnxruntime
import torch

from contextnet_ros.inference.onnx_graph import build_graph
from contextnet_ros.network import ContextNet, WeightHeader

# Padded sizes whose sessions are kept. A session for any size would do with one, but ONNX Runtime
# fuses less where it doesn't know the size.
_KEPT_SESSIONS = 2

# What it prints of its own accord; only errors, since a user can do nothing about the rest.
_LOG_ERRORS = 3


class OnnxRuntimeBackend:
    """ONNX Runtime's CPU kernels, one session for each size, made at its first frame.

    Holds a copy of the network. Raises RuntimeError where ONNX Runtime fails, as for want of
    memory.
    """

    name = "onnxruntime"
    precision = "float32"
    note = ""

    def __init__(self, network: ContextNet, header: WeightHeader, num_threads: int) -> None:
        self.device = torch.device("cpu")
        self.num_threads = num_threads
        self._network = copy.deepcopy(network).cpu().float()
        self._header = header
        self._sessions: OrderedDict[tuple[int, int], onnxruntime.InferenceSession] = OrderedDict()

    def coarse_logits(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images[0].permute(1, 2, 0).contiguous().numpy()
        try:
            (logits,) = self._session(*pixels.shape[:2]).run(None, {"pixels": pixels})
        # Its exceptions have no base of their own.
        except Exception as error:
            raise RuntimeError(f"ONNX Runtime: {error}") from error
        return torch.from_numpy(logits[0])

    def _session(self, height: int, width: int) -> onnxruntime.InferenceSession:
        session = self._sessions.pop((height, width), None)
        if session is None:
            model = build_graph(self._network, self._header, (height, width), "pixels")
            session = make_session(model.SerializeToString(), self.num_threads)
        self._sessions[height, width] = session
        while len(self._sessions) > _KEPT_SESSIONS:
            self._sessions.popitem(last=False)
        return session


def make_session(model: bytes | str, num_threads: int) -> onnxruntime.InferenceSession:
    """Return a session on the CPU for a serialized model or a file's path."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
