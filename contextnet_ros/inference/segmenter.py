"""Segmenter: a host frame in, a label map and what else was asked for out."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.files import UserError, resource_dir
from contextnet_ros.inference.backend import (
    Backend,
    choose_device,
    choose_precision,
    choose_threads,
    make_backend,
)
from contextnet_ros.inference.overlay import DEFAULT_OPACITY, OverlayBlender
from contextnet_ros.inference.postprocess import Postprocessor
from contextnet_ros.inference.preprocess import Resizer, check_frame
from contextnet_ros.inference.team import Team
from contextnet_ros.network import VARIANTS, ContextNet, NetworkSize, WeightHeader, load_weights
from contextnet_ros.provenance import resident_bytes

OUTPUTS = ("label", "overlay", "confidence")

# Frame sizes whose buffers and tables are kept; a folder of pictures may hold many.
_KEPT_SIZES = 2


@dataclass(frozen=True)
class SegmentedFrame:
    """What one frame gave; every array is the caller's own.

    `label`: uint8 (H, W), class ids. `overlay`: uint8 (H, W, 3) BGR. `confidence`: uint8 (H, W),
    255 times the largest softmax. `timings`: milliseconds of each stage.
    """

    label: npt.NDArray[np.uint8]
    overlay: npt.NDArray[np.uint8] | None = None
    confidence: npt.NDArray[np.uint8] | None = None
    timings: dict[str, float] = field(default_factory=dict)


class Segmenter:
    """Segments frames of any size with one network; safe to call from several threads, one frame
    at a time.

    `device`: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:N". `precision`: "auto" (float16
    on a GPU, float32 on a CPU), "float32", "float16". `network_size`: as in the weight file, or
    None to follow its header. `outputs`: of "label", "overlay" and "confidence"; the label is
    always there. `num_threads`: of the CPU, None for all that the process may use. `backend`:
    "auto" (the fastest measured on the device, of those installed), "torch", "onnxruntime". Raises
    UserError for a value that isn't possible here.
    """

    def __init__(
        self,
        network: ContextNet,
        header: WeightHeader,
        device: str = "auto",
        precision: str = "auto",
        network_size: str | NetworkSize | None = None,
        outputs: Sequence[str] = ("label",),
        *,
        overlay_opacity: float = DEFAULT_OPACITY,
        num_threads: int | None = None,
        backend: str = "auto",
        name: str = "network",
    ) -> None:
        self.name = name
        self.header = header
        self.network_size = _network_size(network_size, header)
        self.outputs = _outputs(outputs)
        chosen = choose_device(device)
        self._backend: Backend = make_backend(
            backend,
            network,
            header,
            chosen,
            choose_precision(precision, chosen),
            choose_threads(num_threads),
        )
        self._team = Team(self._backend.num_threads)
        self._blender = OverlayBlender(header.table, overlay_opacity, self._team)
        self._plans: OrderedDict[tuple[int, int], _Plan] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str] = "default",
        device: str = "auto",
        precision: str = "auto",
        network_size: str | NetworkSize | None = None,
        outputs: Sequence[str] = ("label",),
        *,
        overlay_opacity: float = DEFAULT_OPACITY,
        num_threads: int | None = None,
        backend: str = "auto",
    ) -> Segmenter:
        """Make a Segmenter of a shipped model's name or a weight file's path.

        Raises UserError for an unknown name, WeightFileError for a file that can't be used.
        """
        path = model_path(name_or_path)
        network, header = load_weights(path)
        return cls(
            network,
            header,
            device,
            precision,
            network_size,
            outputs,
            overlay_opacity=overlay_opacity,
            num_threads=num_threads,
            backend=backend,
            name=path.stem,
        )

    @property
    def device(self) -> torch.device:
        """The device that runs the network."""
        return self._backend.device

    @property
    def backend(self) -> str:
        """The name of what runs the network, "torch" or "onnxruntime"."""
        return self._backend.name

    @property
    def precision(self) -> str:
        """The precision of the network, "float32" or "float16"."""
        return self._backend.precision

    @property
    def overlay_opacity(self) -> float:
        """The share of the class colour in the overlay, 0 to 1; setting another raises
        UserError."""
        return self._blender.opacity

    @overlay_opacity.setter
    def overlay_opacity(self, opacity: float) -> None:
        self._blender = OverlayBlender(self.header.table, opacity, self._team)

    def __call__(
        self, image: npt.NDArray[np.uint8], outputs: Sequence[str] | None = None
    ) -> SegmentedFrame:
        """Segment one BGR frame, uint8 (H, W, 3); `outputs` for this frame only.

        Raises ValueError for another kind of array, UserError for an unknown output.
        """
        check_frame(image)
        wanted = self.outputs if outputs is None else _outputs(outputs)
        with self._lock:
            plan = self._plan(image.shape[0], image.shape[1])
            start = time.perf_counter()
            seen = plan.preprocess(image)
            prepared = time.perf_counter()
            logits = self._backend.coarse_logits(seen)
            computed = time.perf_counter()
            label = plan.postprocess.label(logits)
            confidence = plan.postprocess.confidence(logits) if "confidence" in wanted else None
            overlay = self._blender(image, label) if "overlay" in wanted else None
            end = time.perf_counter()
        timings = {
            "preprocess": (prepared - start) * 1e3,
            "network": (computed - prepared) * 1e3,
            "postprocess": (end - computed) * 1e3,
        }
        return SegmentedFrame(label, overlay, confidence, timings)

    def stream(
        self, frames: Iterable[npt.NDArray[np.uint8]], outputs: Sequence[str] | None = None
    ) -> Iterator[SegmentedFrame]:
        """Yield the result of each frame, in order; frames are taken as results are asked for."""
        for frame in frames:
            yield self(frame, outputs)

    def warm_up(self, height: int, width: int) -> None:
        """Segment an empty frame of this size with every output, so that the first real one
        isn't late."""
        self(np.zeros((height, width, 3), np.uint8), OUTPUTS)

    def memory_bytes(self) -> int:
        """Return what torch's allocator holds on a GPU, or the process's resident set on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved(self.device)
        return resident_bytes()

    def describe(self) -> str:
        """Return one line that says what runs here."""
        backend, table = self._backend, self.header.table
        return (
            f"model {self.name} ({self.header.network}, {table.num_classes} {table.name} classes, "
            f"data licence: {self.header.data_licence}), network size {self.network_size}, "
            f"{backend.name} on {backend.device}, {backend.precision}, threads: "
            f"{backend.num_threads}{backend.note and '; '}{backend.note}"
        )

    def _plan(self, height: int, width: int) -> _Plan:
        plan = self._plans.pop((height, width), None)
        if plan is None:
            preprocess = Resizer(
                height, width, self.network_size, VARIANTS[self.header.variant].size_multiple
            )
            plan = _Plan(preprocess, Postprocessor(height, width, preprocess, self._team))
        self._plans[height, width] = plan
        while len(self._plans) > _KEPT_SIZES:
            self._plans.popitem(last=False)
        return plan


@dataclass(frozen=True)
class _Plan:
    """What is kept for frames of one size."""

    preprocess: Resizer
    postprocess: Postprocessor


def list_models() -> list[str]:
    """Return the names of the models in `models/`, sorted."""
    return sorted(path.stem for path in resource_dir("models").glob("*.safetensors"))


def model_path(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the weight file of a shipped model's name, or the path itself.

    What has a folder or the ending `.safetensors` is a path. Raises UserError for an unknown name.
    """
    path = Path(name_or_path)
    if path.suffix or len(path.parts) > 1:
        return path
    shipped = resource_dir("models") / f"{path}.safetensors"
    if not shipped.is_file():
        known = ", ".join(list_models()) or "none"
        raise UserError(
            f"model {str(path)!r} is unknown: choose one of those shipped ({known}) or give the "
            "path of a .safetensors file"
        )
    return shipped


def _network_size(size: str | NetworkSize | None, header: WeightHeader) -> NetworkSize:
    if size is None:
        return header.network_size
    if isinstance(size, NetworkSize):
        return size
    try:
        return NetworkSize.parse(size, header.network_size.interpolation)
    except ValueError as error:
        raise UserError(str(error)) from error


def _outputs(outputs: Sequence[str]) -> tuple[str, ...]:
    unknown = [output for output in outputs if output not in OUTPUTS]
    if isinstance(outputs, str) or unknown:
        raise UserError(f"outputs {outputs!r} are unknown: choose from {', '.join(OUTPUTS)}")
    return tuple(outputs)
