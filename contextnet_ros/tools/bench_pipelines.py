"""What contextnet-bench compares on a CPU: our Segmenter and what a user would write instead.

Each peer is complete: from the bytes of a frame to its label, with a normalized float image, the
network with logits of full size, and their argmax. With `coarse`, for the mode of that name, it has
the folded network to stride-8 logits instead, and no label.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference import Segmenter
from contextnet_ros.inference.backend import choose_device, choose_precision
from contextnet_ros.network import ContextNet, WeightHeader, fold_batch_norm, load_weights
from contextnet_ros.network.contextnet import pad_to_multiple, padded_size

Frame = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Setting:
    """What one row of a benchmark is measured with.

    `input`: the memory of the frames for a GPU, "pinned" or "pageable". `model`: what tells the
    weights from others of one run.
    """

    backend: str
    weights: Path
    network_size: str
    device: str
    precision: str
    outputs: tuple[str, ...]
    height: int
    width: int
    num_threads: int
    input: str | None = None
    model: str = ""


class Pipeline(ABC):
    """From frames, BGR uint8 (H, W, 3), to labels, uint8 (H, W).

    `stage_ms`: the stages of the last frame. `runs`: what runs, in words.
    """

    stage_ms: dict[str, float]
    runs: str
    precision: str

    @abstractmethod
    def __call__(self, frame: Frame) -> Frame:
        """Return the label of one frame."""

    def stream(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the labels of frames, overlapped where the pipeline can."""
        for frame in frames:
            yield self(frame)

    def prepare(self, frames: Sequence[Frame]) -> list[Frame]:
        """Return frames in the memory that they are to be handed over in."""
        return list(frames)

    def peak_device_bytes(self) -> int | None:
        """Return the most memory that frames took on a GPU; None without one."""
        return None


class Ours(Pipeline):
    """The Segmenter as it chooses to run."""

    def __init__(self, setting: Setting, segmenter: Segmenter | None = None) -> None:
        self._segmenter = segmenter or Segmenter.load(
            setting.weights,
            setting.device,
            setting.precision,
            setting.network_size,
            setting.outputs,
            num_threads=setting.num_threads,
        )
        self.runs = self._segmenter.backend
        self.precision = self._segmenter.precision

    def __call__(self, frame: Frame) -> Frame:
        result = self._segmenter(frame)
        if self._segmenter.fused_layers:
            self.runs = f"{self._segmenter.backend}, fused layers"
        self.stage_ms = result.timings
        return result.label

    def stream(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for result in self._segmenter.stream(frames):
            yield result.label


def load_peer(setting: Setting) -> tuple[ContextNet, WeightHeader]:
    """Return the network of a peer; raises UserError unless it is to see frames as they are."""
    if setting.network_size != "frame":
        raise UserError(f"peers see frames as they are, not at {setting.network_size}")
    return load_weights(setting.weights)


class Peer(Pipeline):
    """The three steps of a peer, and their times."""

    def __init__(self, setting: Setting, coarse: bool = False) -> None:
        self.network, self.header = load_peer(setting)
        self.size = setting.height, setting.width
        self.coarse = coarse

    def __call__(self, frame: Frame) -> Frame:
        start = time.perf_counter()
        images = self.preprocess(frame)
        prepared = time.perf_counter()
        logits = self.run(images)
        computed = time.perf_counter()
        label = self.label(logits)
        end = time.perf_counter()
        self.stage_ms = {
            "preprocess": (prepared - start) * 1e3,
            "network": (computed - prepared) * 1e3,
            "postprocess": (end - computed) * 1e3,
        }
        return label

    @abstractmethod
    def preprocess(self, frame: Frame) -> Any:
        """Return the normalized float image."""

    @abstractmethod
    def run(self, images: Any) -> Any:
        """Return logits of full size, or coarse ones."""

    @abstractmethod
    def label(self, logits: Any) -> Frame:
        """Return the argmax."""


class TorchPeer(Peer):
    """PyTorch in float32: `layout` and `compiled` as the tutorials have them."""

    def __init__(
        self,
        setting: Setting,
        layout: torch.memory_format = torch.contiguous_format,
        compiled: bool = False,
        coarse: bool = False,
    ) -> None:
        super().__init__(setting, coarse)
        _float32_alone(setting)
        torch.set_num_threads(setting.num_threads)
        self.precision = "float32"
        self._layout = layout
        network = fold_batch_norm(self.network) if coarse else self.network
        # torch's type hints leave this form of `to` out.
        network = network.to(memory_format=layout)  # type: ignore[call-overload]
        self._network: Callable[[torch.Tensor], torch.Tensor] = network
        if coarse:
            self._network = network.coarse_logits
        if compiled:
            self._network = torch.compile(self._network)
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
            for values in (self.header.mean, self.header.std)
        )
        self.runs = f"torch {torch.__version__}"

    def preprocess(self, frame: Frame) -> torch.Tensor:
        rgb = torch.from_numpy(_in_order(frame, self.header))
        images = rgb.permute(2, 0, 1)[None].contiguous(memory_format=self._layout)
        images = images.float().div_(255).sub_(self._mean).div_(self._std)
        # The whole network does so itself.
        return pad_to_multiple(images, self.network.size_multiple) if self.coarse else images

    def run(self, images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return self._network(images)

    def label(self, logits: torch.Tensor) -> Frame:
        with torch.inference_mode():
            return np.asarray(logits[0].argmax(0).to(torch.uint8).numpy())


class NumpyPeer(Peer):
    """What peers have in common that take and give NumPy arrays, on the CPU."""

    precision = "float32"

    def __init__(self, setting: Setting, coarse: bool = False) -> None:
        super().__init__(setting, coarse)
        if choose_device(setting.device).type != "cpu":
            raise UserError(f"{setting.backend} is compared on the CPU only: choose device cpu")
        self._mean, self._std = (
            np.asarray(values, np.float32) for values in (self.header.mean, self.header.std)
        )

    def model(self) -> bytes:
        """Return the network as ONNX."""
        from contextnet_ros.inference.onnx_graph import build_graph

        size = padded_size(*self.size, self.network.size_multiple)
        target = "logits" if self.coarse else "full_logits"
        graph = build_graph(self.network, self.header, size, "images", target)
        return bytes(graph.SerializeToString())

    def preprocess(self, frame: Frame) -> npt.NDArray[np.float32]:
        values = _in_order(frame, self.header).astype(np.float32) / 255
        images = ((values - self._mean) / self._std).transpose(2, 0, 1)[None]
        height, width = padded_size(*self.size, self.network.size_multiple)
        if (height, width) != self.size:
            lack = height - self.size[0], width - self.size[1]
            images = np.pad(images, ((0, 0), (0, 0), (0, lack[0]), (0, lack[1])))
        return np.ascontiguousarray(images)

    def label(self, logits: npt.NDArray[np.float32]) -> Frame:
        height, width = self.size
        return np.asarray(logits[0, :, :height, :width].argmax(0), np.uint8)


class OnnxRuntimePeer(NumpyPeer):
    """ONNX Runtime with the options that it comes with."""

    def __init__(self, setting: Setting, coarse: bool = False) -> None:
        super().__init__(setting, coarse)
        _float32_alone(setting)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setting.num_threads
        self._session = onnxruntime.InferenceSession(
            self.model(), options, providers=["CPUExecutionProvider"]
        )
        self.runs = f"onnxruntime {onnxruntime.__version__}"

    def run(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(self._session.run(None, {"images": images})[0], np.float32)


class OpenVinoPeer(NumpyPeer):
    """OpenVINO, compiled for latency, in the precision that it chooses unless one is asked for."""

    def __init__(self, setting: Setting, coarse: bool = False) -> None:
        super().__init__(setting, coarse)
        from contextnet_ros.inference.openvino_backend import PRECISIONS, core, openvino

        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": setting.num_threads,
        }
        asked = choose_precision(setting.precision, torch.device("cpu"))
        if asked != "auto":
            options["INFERENCE_PRECISION_HINT"] = PRECISIONS[asked]
        self._compiled = core().compile_model(core().read_model(self.model()), "CPU", options)
        chosen = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        self.precision = next(name for name, kind in PRECISIONS.items() if kind == chosen)
        self.runs = f"openvino {openvino.__version__.split('-')[0]}"

    def run(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(self._compiled(images)[0], np.float32)


def _float32_alone(setting: Setting) -> None:
    if choose_precision(setting.precision, torch.device("cpu")) == "bfloat16":
        raise UserError(
            f"{setting.backend} is compared in float32 on a CPU: choose precision auto or float32"
        )


def _in_order(frame: Frame, header: WeightHeader) -> Frame:
    if header.channel_order == "BGR":
        return frame
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)


PIPELINES: dict[str, Callable[[Setting], Pipeline]] = {
    "ours": Ours,
    "torch": TorchPeer,
    "torch-channels-last": lambda setting: TorchPeer(setting, torch.channels_last),
    "torch-compile": lambda setting: TorchPeer(setting, compiled=True),
    "onnxruntime": OnnxRuntimePeer,
    "openvino": OpenVinoPeer,
}
"""What --backends may name."""
