"""Mode coarse of contextnet-bench: the folded network alone, from its image to stride-8 logits.

Every runtime has the same work here, whatever a user would write around it, which tells them apart.
`torch` is left out, being the network as its author has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch

from contextnet_ros.inference.backend import choose_precision, make_backend
from contextnet_ros.inference.preprocess import Resizer
from contextnet_ros.network import NetworkSize, load_weights
from contextnet_ros.tools.bench_pipelines import (
    Frame,
    OnnxRuntimePeer,
    OpenVinoPeer,
    Setting,
    TorchPeer,
)

COARSE = "coarse"


class CoarseNetwork(Protocol):
    def preprocess(self, frame: Frame) -> Any:
        """Return the image that `run` takes of BGR bytes (H, W, 3), where the next one may be
        written; a float image but for ours in OpenVINO, whose graph takes the bytes."""

    def run(self, images: Any) -> Any:
        """Return stride-8 logits."""


class Ours:
    """What the Segmenter runs on a CPU: its own graph on its own image."""

    def __init__(self, setting: Setting) -> None:
        network, header = load_weights(setting.weights)
        cpu = torch.device("cpu")
        precision = choose_precision(setting.precision, cpu)
        self._backend = make_backend("auto", network, header, cpu, precision, setting.num_threads)
        size = NetworkSize.parse(setting.network_size, header.network_size.interpolation)
        self._resize = Resizer(setting.height, setting.width, size, network.size_multiple)

    def preprocess(self, frame: Frame) -> Any:
        return self._backend.prepare(self._resize(frame))

    def run(self, images: Any) -> torch.Tensor:
        return self._backend.coarse_logits(images)


NETWORKS: dict[str, Callable[[Setting], CoarseNetwork]] = {
    "ours": Ours,
    "torch-channels-last": lambda setting: TorchPeer(setting, torch.channels_last, coarse=True),
    "torch-compile": lambda setting: TorchPeer(setting, compiled=True, coarse=True),
    "onnxruntime": lambda setting: OnnxRuntimePeer(setting, coarse=True),
    "openvino": lambda setting: OpenVinoPeer(setting, coarse=True),
}
"""The backends that have this mode."""


def start_coarse(setting: Setting, frames: Iterable[Frame]) -> CoarseNetwork:
    """Return the network of a setting, warmed up on frames."""
    network = NETWORKS[setting.backend](setting)
    measure_coarse(network, frames)
    return network


def measure_coarse(network: CoarseNetwork, frames: Iterable[Frame]) -> dict[str, Any]:
    """Return the milliseconds that the logits of every frame took, as bench_worker.measure."""
    frame_ms = []
    for frame in frames:
        images = network.preprocess(frame)
        start = time.perf_counter()
        network.run(images)
        frame_ms.append((time.perf_counter() - start) * 1e3)
    return {"frame_ms": frame_ms, "stage_ms": {}}


def with_coarse(backend: str, modes: Sequence[str]) -> list[str]:
    """Return those of `modes` that a backend has on a CPU."""
    return [mode for mode in modes if mode != COARSE or backend in NETWORKS]
