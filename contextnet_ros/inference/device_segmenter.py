"""A network on a device with streams: what Segmenter is on a GPU."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from contextnet_ros.inference.backend import PRECISIONS
from contextnet_ros.inference.device import CudaDevice, Device, Work, explaining
from contextnet_ros.inference.frame_program import DeviceNetwork, FrameProgram, find_kernels
from contextnet_ros.inference.overlay import OverlayBlender
from contextnet_ros.inference.pipeline import Pipeline
from contextnet_ros.inference.segmented_frame import SegmentedFrame
from contextnet_ros.inference.sources import Source
from contextnet_ros.inference.team import Team
from contextnet_ros.network import ContextNet, NetworkSize, WeightHeader

Tensors = dict[str, torch.Tensor]

# More would take processors from what else runs on a robot, and gain little: memory is the limit.
_MOST_COPY_THREADS = 4
LAYERS_VARIABLE = "CONTEXTNET_FUSED_LAYERS"
"""Set to 0, it leaves the layers to PyTorch: for a GPU or driver that fused ones bring down."""
_LOADING_REMEDY = "end what else uses that memory, or choose device cpu"


class DeviceSegmenter:
    """Runs a network in a Pipeline."""

    name = "torch"

    def __init__(
        self,
        device: Device,
        network: ContextNet,
        header: WeightHeader,
        precision: str,
        num_threads: int,
        network_size: NetworkSize,
        blender: OverlayBlender,
        kernels: ModuleType | None,
        note: str = "",
        layers: ModuleType | None = None,
    ) -> None:
        self.device = device.device
        self.precision = precision
        self.num_threads = num_threads
        self._note = note
        self._device = device
        self._size = network_size
        dtype = PRECISIONS[precision]
        # A caller's inference mode would make memory that no later call may write outside it.
        with torch.inference_mode(False):
            self._network = DeviceNetwork(network, header, device, dtype, blender, kernels, layers)
        self.pipeline = Pipeline(device, self._program, Team(min(num_threads, _MOST_COPY_THREADS)))

    @property
    def note(self) -> str:
        """What is missing for a faster one, empty where nothing is."""
        return self._note or self._network.forms.note

    @property
    def fused_layers(self) -> bool:
        """Whether fused layers were taken for some size."""
        return self._network.forms.taken

    def segment(self, image: npt.NDArray[np.uint8], outputs: Sequence[str]) -> SegmentedFrame:
        """Segment one frame and wait for it; raises what Pipeline.segment does."""
        return self.pipeline.segment(image, outputs)

    def stream(self, source: Source, outputs: Sequence[str]) -> Iterator[SegmentedFrame]:
        """Yield the results of frames; raises what Pipeline.stream does."""
        return self.pipeline.stream(source, outputs)

    def set_blender(self, blender: OverlayBlender) -> None:
        """Blend otherwise from the next frame on; raises what Pipeline.run does."""
        self.pipeline.run(lambda: self._network.set_blender(blender), "the colours of an overlay")

    def host_frame(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Return a frame (H, W, 3) in memory that the device reads without a copy; raises UserError
        where the system pins no more."""
        what = f"a pinned frame of {width} x {height}"
        with explaining(self.device, what, "keep fewer of them, or hand over frames of your own"):
            return np.asarray(self._device.host_memory((height, width, 3)).numpy())

    def time_stages(
        self, frames: Sequence[npt.NDArray[np.uint8]], outputs: Sequence[str]
    ) -> dict[str, list[float]]:
        """Return milliseconds of each stage alone for each of `frames`, which have one size, with
        nothing else on the device.

        "copy_in" and "copy_out" from and to pinned memory; "preprocess", "network", "postprocess";
        "kernels", these three together. Raises what Pipeline.alone does.
        """
        height, width = frames[0].shape[:2]
        with self.pipeline.alone(f"the stages of a frame of {width} x {height}") as stream:
            return self._time_stages(frames, tuple(outputs), stream)

    def _time_stages(
        self,
        frames: Sequence[npt.NDArray[np.uint8]],
        outputs: tuple[str, ...],
        # The pipeline's own: recordings share memory with its, which torch keeps for each stream.
        stream: Any,
    ) -> dict[str, list[float]]:
        device = self._device
        program = self._program(frames[0].shape[0], frames[0].shape[1], outputs)
        host_in = {name: device.host_memory(shape) for name, shape in program.inputs.items()}
        inputs = {name: device.device_memory(shape) for name, shape in program.inputs.items()}
        results = {name: device.device_memory(shape) for name, shape in program.outputs.items()}
        host_out = {name: device.host_memory(shape) for name, shape in program.outputs.items()}
        program.settle(stream)
        start, end = device.event(), device.event()

        def copies(targets: Tensors, sources: Tensors) -> Work:
            def copy() -> None:
                for name, target in targets.items():
                    stream.copy(target, sources[name])

            return copy

        bring = copies(inputs, host_in)

        def milliseconds(begin: Work, ready: Work = lambda: None) -> list[float]:
            times = []
            for frame in frames:
                arrays = program.host_inputs(frame)
                for name, tensor in host_in.items():
                    np.copyto(tensor.numpy(), arrays[name])
                bring()
                ready()
                # Twice: while the device is at the first, the host has started the second.
                begin()
                stream.record(start)
                begin()
                stream.record(end)
                end.synchronize()
                times.append(float(start.elapsed_time(end)))
            return times

        def repeated(work: Callable[[], Any]) -> Work:
            def quiet() -> None:
                with torch.inference_mode():
                    work()

            replay = device.capture(quiet, stream)
            return lambda: stream.run(replay)

        times = {"copy_in": milliseconds(bring)}
        prepare = repeated(lambda: program.prepare(inputs))
        times["preprocess"] = milliseconds(prepare)
        # Recorded before it runs otherwise: recording finds the fastest convolutions.
        times["network"] = milliseconds(repeated(program.logits), prepare)
        kept: list[torch.Tensor] = []

        def keep_logits() -> None:
            with torch.inference_mode():
                program.prepare(inputs)
                logits = program.logits()
                # A copy, since recordings share the memory that they leave their results in.
                if not kept:
                    kept.append(torch.empty_like(logits))
                kept[0].copy_(logits)

        stream.run(keep_logits)
        stream.record(end)
        end.synchronize()
        times["postprocess"] = milliseconds(
            repeated(lambda: program.finish(kept[0], inputs, results)),
            lambda: stream.run(keep_logits),
        )
        times["kernels"] = milliseconds(repeated(lambda: program(inputs, results)))
        times["copy_out"] = milliseconds(copies(host_out, results))
        return times

    def _program(self, height: int, width: int, outputs: tuple[str, ...]) -> FrameProgram:
        return FrameProgram(self._network, self._size, height, width, outputs)


def on_cuda(
    device: torch.device,
    network: ContextNet,
    header: WeightHeader,
    precision: str,
    num_threads: int,
    network_size: NetworkSize,
    blender: OverlayBlender,
) -> DeviceSegmenter:
    """Return a DeviceSegmenter on a GPU, with the kernels that run there.

    Raises UserError where the GPU has too little memory for it, DeviceError where it failed.
    """
    with explaining(device, "the network", _LOADING_REMEDY):
        cuda = CudaDevice(device)
        kernels, note = find_kernels(cuda, PRECISIONS[precision])
        layers = None
        wanted = os.environ.get(LAYERS_VARIABLE, "1") != "0" and precision == "float16"
        if kernels is not None and wanted and _multiplies_matrices(device):
            layers = importlib.import_module("contextnet_ros.inference.layer_kernels")
        options = precision, num_threads, network_size, blender, kernels, note, layers
        return DeviceSegmenter(cuda, network, header, *options)


def _multiplies_matrices(device: torch.device) -> bool:
    """Whether Triton uses the GPU's tensor cores: without them the layers compile for long, and are
    slow."""
    return torch.cuda.get_device_capability(device) >= (8, 0)
