"""OpenVINO on the CPU: the fastest measured where the processor computes in bfloat16
(docs/performance.md)."""

from __future__ import annotations

import copy
import functools
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference.onnx_graph import build_graph
from contextnet_ros.inference.recent import Recent
from contextnet_ros.network import ContextNet, WeightHeader

# To import OpenVINO sends word of that to its maker; without this module it sends none.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as openvino  # noqa: E402

PRECISIONS = {
    "float32": openvino.Type.f32,
    "bfloat16": openvino.Type.bf16,
    "float16": openvino.Type.f16,
}


class OpenVinoBackend:
    """OpenVINO's CPU kernels, compiled for the sizes of frames seen last.

    `precision`: "auto" (bfloat16 where the processor computes in it), "float32" or "bfloat16".
    The graph normalizes. Raises UserError for bfloat16 on another processor, RuntimeError where
    OpenVINO fails.
    """

    name = "openvino"
    note = ""

    def __init__(
        self, network: ContextNet, header: WeightHeader, precision: str, num_threads: int
    ) -> None:
        if precision != "float32":
            half = computes_in_bfloat16()
            if precision == "bfloat16" and not half:
                raise UserError(
                    "this processor does not compute in bfloat16: choose precision auto or float32"
                )
            precision = "bfloat16" if half else "float32"
        self.device = torch.device("cpu")
        self.precision = precision
        self.num_threads = num_threads
        self._network = copy.deepcopy(network)
        self._header = header
        self._requests: Recent[tuple[int, ...], Any] = Recent()

    def prepare(self, frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return frame

    def coarse_logits(self, prepared: npt.NDArray[np.uint8]) -> torch.Tensor:
        height, width = prepared.shape[:2]
        try:
            request = self._requests.get((height, width), lambda: self._request(height, width))
            # The logits are a copy; the frame need not be.
            result = request.infer([prepared], share_inputs=True)
            return torch.from_numpy(result[0][0])
        # Its exceptions are RuntimeErrors that don't say whose they are.
        except Exception as error:
            raise RuntimeError(f"OpenVINO: {error}") from error

    def _request(self, height: int, width: int) -> Any:
        half = self.precision == "bfloat16"
        model = build_graph(self._network, self._header, (height, width), "pixels", bfloat16=half)
        compiled = compile_model(model.SerializeToString(), self.num_threads, self.precision)
        return compiled.create_infer_request()


@functools.cache
def core() -> Any:
    """Return the process's own `openvino.Core`, which is kept.

    Each gives the thread a stack for signals and takes it back as it goes. Of two that go in the
    order in which they came, one that is gone already is left, and the next signal ends the
    process.
    """
    return openvino.Core()


def computes_in_bfloat16() -> bool:
    """Return whether the processor does, so that OpenVINO takes it of its own accord."""
    precision = core().get_property("CPU", "INFERENCE_PRECISION_HINT")
    return bool(precision == openvino.Type.bf16)


def compile_model(model: bytes, num_threads: int, precision: str) -> Any:
    """Return a serialized ONNX model compiled for one frame at a time on the CPU, in "float32" or
    "bfloat16"."""
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": num_threads,
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        # Else two processes with a thread each would have it on the same processor.
        "ENABLE_CPU_PINNING": False,
    }
    return core().compile_model(core().read_model(model), "CPU", options)
