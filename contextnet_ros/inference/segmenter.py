"""Segmenter: a host frame in, a label map and what else was asked for out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference import compiled_upsample
from contextnet_ros.inference.backend import (
    Backend,
    check_backend,
    choose_device,
    choose_precision,
    choose_threads,
    make_backend,
    unused_gpu,
)
from contextnet_ros.inference.device_segmenter import DeviceSegmenter, on_cuda
from contextnet_ros.inference.models import model_path
from contextnet_ros.inference.overlay import DEFAULT_OPACITY, OverlayBlender
from contextnet_ros.inference.postprocess import Postprocessor
from contextnet_ros.inference.preprocess import Resizer, check_frame
from contextnet_ros.inference.recent import Recent
from contextnet_ros.inference.segmented_frame import OUTPUTS, SegmentedFrame
from contextnet_ros.inference.sources import InOrder, Newest
from contextnet_ros.inference.team import Team
from contextnet_ros.network import VARIANTS, ContextNet, NetworkSize, WeightHeader, load_weights
from contextnet_ros.provenance import resident_bytes


class Segmenter:
    """Segments frames of any size with one network; safe to call from several threads, one frame
    at a time.

    `device`: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:N". `precision`: "auto" (float16
    on a GPU; on a CPU bfloat16 where it computes in that and OpenVINO is installed, else float32),
    "float32", "float16", "bfloat16". `network_size`: as in the weight file, or None to follow its
    header. `outputs`: of "label", "overlay" and "confidence"; the label is always there.
    `num_threads`: of the CPU, None for all that the process may use. `backend`: "auto" (the fastest
    measured on the device, of those installed), "openvino", "onnxruntime", "torch". Raises
    UserError for a value that isn't possible here, ValueError for the header of another network.
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
        header.check(network)
        self.name = name
        self.header = header
        self.network_size = _network_size(network_size, header)
        self.outputs = _outputs(outputs)
        chosen = choose_device(device)
        self._unused_gpu = unused_gpu(device)
        choices = choose_precision(precision, chosen), choose_threads(num_threads)
        check_backend(backend, chosen)
        self._team = Team(choices[1])
        self._blender = OverlayBlender(header.table, overlay_opacity, self._team)
        self._gpu: DeviceSegmenter | None = None
        if chosen.type == "cuda":
            self._gpu = on_cuda(chosen, network, header, *choices, self.network_size, self._blender)
        else:
            self._backend = make_backend(backend, network, header, chosen, *choices)
        self._plans: Recent[tuple[int, int], _Plan] = Recent()
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
    def _runs(self) -> Backend | DeviceSegmenter:
        return self._gpu or self._backend

    @property
    def device(self) -> torch.device:
        """The device that runs the network."""
        return self._runs.device

    @property
    def backend(self) -> str:
        """The name of what runs the network, "openvino", "onnxruntime" or "torch"."""
        return self._runs.name

    @property
    def fused_layers(self) -> bool:
        """Whether a GPU runs kernels of ours between the network's ends, as was measured at the
        first frame of a size."""
        return self._gpu is not None and self._gpu.fused_layers

    @property
    def precision(self) -> str:
        """The precision of the network, "float32", "float16" or "bfloat16"."""
        return self._runs.precision

    @property
    def note(self) -> str:
        """What is missing for more speed, in one line; empty where nothing is."""
        compiled = "" if self._gpu else compiled_upsample.NOTE
        missing = self._unused_gpu, self._runs.note, compiled
        return "; ".join(note for note in missing if note)

    @property
    def overlay_opacity(self) -> float:
        """The share of the class colour in the overlay, 0 to 1; setting another raises
        UserError."""
        return self._blender.opacity

    @overlay_opacity.setter
    def overlay_opacity(self, opacity: float) -> None:
        self._blender = OverlayBlender(self.header.table, opacity, self._team)
        if self._gpu is not None:
            self._gpu.set_blender(self._blender)

    def __call__(
        self, image: npt.NDArray[np.uint8], outputs: Sequence[str] | None = None
    ) -> SegmentedFrame:
        """Segment one BGR frame, uint8 (H, W, 3); `outputs` for this frame only.

        Raises ValueError for another kind of array, UserError for an unknown output or a frame too
        large for a GPU, DeviceError where the GPU failed: the process should end.
        """
        wanted = self.outputs if outputs is None else _outputs(outputs)
        if self._gpu is not None:
            return self._gpu.segment(image, wanted)
        check_frame(image)
        with self._lock:
            height, width = image.shape[:2]
            plan = self._plans.get((height, width), lambda: self._plan(height, width))
            start = time.perf_counter()
            seen = self._backend.prepare(plan.preprocess(image))
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
        self,
        frames: Iterable[npt.NDArray[np.uint8]],
        outputs: Sequence[str] | None = None,
        *,
        newest_wins: bool = False,
    ) -> Iterator[SegmentedFrame]:
        """Yield the result of each frame, in order; raises what calling does, in the frame's place.

        On a GPU, copies and kernels of neighbouring frames overlap: up to three frames are taken
        before the first one's result is given. `newest_wins`: for a live source, a thread takes
        frames as they come, and those that a newer one overtakes give no result (`index` tells).
        """
        wanted = self.outputs if outputs is None else _outputs(outputs)
        source = Newest(frames) if newest_wins else InOrder(frames)
        if self._gpu is not None:
            yield from self._gpu.stream(source, wanted)
            return
        try:
            while source.ready(wait=True):
                index, frame = source.take()
                yield replace(self(frame, wanted), index=index)
        finally:
            source.close()

    def host_frame(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Return memory for a frame, uint8 (H, W, 3), that a GPU reads without a copy by the CPU.

        Its bytes may change only when the result of the frame has come.
        """
        if self._gpu is not None:
            return self._gpu.host_frame(height, width)
        return np.empty((height, width, 3), np.uint8)

    def time_stages(
        self, frames: Sequence[npt.NDArray[np.uint8]], outputs: Sequence[str] | None = None
    ) -> dict[str, list[float]]:
        """Return milliseconds of each stage on a GPU, each alone, as DeviceSegmenter.time_stages.

        Raises UserError on a CPU, where SegmentedFrame.timings has the stages, and ValueError for
        what is no list of frames of one size.
        """
        if self._gpu is None:
            raise UserError(f"stages are timed alone on a GPU only, not on {self.device}")
        for frame in frames:
            check_frame(frame)
        if len({frame.shape for frame in frames}) != 1:
            raise ValueError(f"{len(frames)} frames to time, not of one size: give some of one")
        wanted = self.outputs if outputs is None else _outputs(outputs)
        return self._gpu.time_stages(frames, wanted)

    def warm_up(self, height: int, width: int) -> None:
        """Segment an empty frame of this size with every output and, on a GPU, with every choice of
        them, so that the first real one isn't late."""
        empty = np.zeros((height, width, 3), np.uint8)
        self(empty, OUTPUTS)
        if self._gpu is not None:
            for outputs in (("overlay",), ("confidence",), ("label",)):
                self(empty, outputs)

    def memory_bytes(self) -> int:
        """Return what torch's allocator holds on a GPU, or the process's resident set on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved(self.device)
        return resident_bytes()

    def describe(self) -> str:
        """Return one line that says what runs here."""
        backend, table = self._runs, self.header.table
        return (
            f"model {self.name} ({self.header.network}, {table.num_classes} {table.name} classes, "
            f"data licence: {self.header.data_licence}), network size {self.network_size}, "
            f"{backend.name} on {backend.device}, {backend.precision}, threads: "
            f"{backend.num_threads}{self.note and '; '}{self.note}"
        )

    def _plan(self, height: int, width: int) -> _Plan:
        multiple = VARIANTS[self.header.variant].size_multiple
        preprocess = Resizer(height, width, self.network_size, multiple)
        return _Plan(preprocess, Postprocessor(height, width, preprocess, self._team))


@dataclass(frozen=True)
class _Plan:
    """What is kept for frames of one size."""

    preprocess: Resizer
    postprocess: Postprocessor


def _network_size(size: str | NetworkSize | None, header: WeightHeader) -> NetworkSize:
    if size is None:
        return header.network_size
    if isinstance(size, NetworkSize):
        return size
    try:
        return NetworkSize.parse(str(size), header.network_size.interpolation)
    except ValueError as error:
        raise UserError(str(error)) from error


def _outputs(outputs: Sequence[str]) -> tuple[str, ...]:
    if isinstance(outputs, str):
        raise UserError(f"outputs {outputs!r} is one text: give several, as ({outputs!r},)")
    if any(output not in OUTPUTS for output in outputs):
        raise UserError(f"outputs {outputs!r} are unknown: choose from {', '.join(OUTPUTS)}")
    # One order for one choice; the label is always there.
    return tuple(name for name in OUTPUTS if name == "label" or name in outputs)
