"""What contextnet-bench compares on a GPU, where stages are timed by the device, each alone.

The peers are what a user would write for one: a frame's bytes are copied as they are, all else is
done there, and the label comes back. Pixels in pinned memory are not copied by the CPU first, so
that ours is measured with frames of both kinds.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from contextnet_ros.inference import Segmenter
from contextnet_ros.inference.backend import PRECISIONS, choose_device, choose_precision
from contextnet_ros.inference.device import CudaDevice
from contextnet_ros.tools.bench_coarse import with_coarse
from contextnet_ros.tools.bench_pipelines import (
    PIPELINES,
    Frame,
    Ours,
    Pipeline,
    Setting,
    load_peer,
)

ALONE = ("kernel", "stages")
"""Modes that a GPU times without a frame's way through the pipeline."""

StageTimes = dict[str, list[float]]


class GpuPipeline(Pipeline):
    """A pipeline on `device`."""

    device: torch.device
    _peak_bytes: int | None = None

    def time_stages(self, frames: Sequence[Frame]) -> StageTimes:
        """Return milliseconds of each stage alone for each frame.

        "copy_in", "kernels" (all between the copies), "copy_out", and parts of "kernels" where they
        can be told apart.
        """
        # What this takes is no part of what frames take.
        self._peak_bytes = self.peak_device_bytes()
        return self._time_stages(frames)

    @abstractmethod
    def _time_stages(self, frames: Sequence[Frame]) -> StageTimes: ...

    def warmed_up(self) -> None:
        """Count memory from here on: the search for convolutions, before, takes more."""
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak_device_bytes(self) -> int:
        """Return the most that torch's allocator has had of the device for frames once warm."""
        if self._peak_bytes is not None:
            return self._peak_bytes
        return torch.cuda.max_memory_reserved(self.device)


class OursOnGpu(Ours, GpuPipeline):
    """The Segmenter; of frames in pinned memory if the setting says so."""

    def __init__(self, setting: Setting, segmenter: Segmenter | None = None) -> None:
        super().__init__(setting, segmenter)
        self.device = self._segmenter.device
        self._pinned = setting.input == "pinned"

    def prepare(self, frames: Sequence[Frame]) -> list[Frame]:
        if not self._pinned:
            return list(frames)
        pinned = [self._segmenter.host_frame(*frame.shape[:2]) for frame in frames]
        for target, frame in zip(pinned, frames, strict=True):
            np.copyto(target, frame)
        return pinned

    def _time_stages(self, frames: Sequence[Frame]) -> StageTimes:
        return self._segmenter.time_stages(frames)


class TorchOnGpu(GpuPipeline):
    """PyTorch from bytes to label on a GPU: eager in float32 as it comes, in half precision and
    channels last, or that compiled as a whole.

    `event`: makes what marks a place in the device's work, as torch.cuda.Event.
    """

    def __init__(
        self,
        setting: Setting,
        device: torch.device,
        event: Callable[[], Any],
        half: bool = False,
        compiled: bool = False,
    ) -> None:
        network, self._header = load_peer(setting)
        self.device, self._event = device, event
        asked = setting.precision
        if asked == "auto":
            asked = "float16" if half else "float32"
        self.precision = choose_precision(asked, device)
        self._dtype = PRECISIONS[self.precision]
        self._layout = torch.channels_last if half else torch.contiguous_format
        # torch's type hints leave this form of `to` out.
        self._network = network.to(device, self._dtype).to(memory_format=self._layout)  # type: ignore[call-overload]
        self._mean, self._std = (
            255 * torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)
            for values in (self._header.mean, self._header.std)
        )
        self._kernels: Callable[[torch.Tensor], torch.Tensor] = self._label
        if compiled:
            self._kernels = torch.compile(self._label, mode="max-autotune", dynamic=False)
        # Frames of one size: the fastest convolutions are worth a search.
        torch.backends.cudnn.benchmark = True
        self.runs = f"torch {torch.__version__}"

    def __call__(self, frame: Frame) -> Frame:
        self.stage_ms = {}
        with torch.inference_mode():
            label = self._kernels(torch.from_numpy(frame).to(self.device))
            return np.asarray(label.cpu().numpy())

    def _label(self, frame: torch.Tensor) -> torch.Tensor:
        images = frame.permute(2, 0, 1)[None].float()
        if self._header.channel_order == "RGB":
            images = images.flip(1)
        images = ((images - self._mean) / self._std).to(self._dtype, memory_format=self._layout)
        return self._network(images)[0].argmax(0).to(torch.uint8)  # type: ignore[no-any-return]

    def _time_stages(self, frames: Sequence[Frame]) -> StageTimes:
        start, end = self._event(), self._event()
        hosts = [torch.from_numpy(frame) for frame in frames]

        def milliseconds(work: Callable[[torch.Tensor], Any]) -> list[float]:
            times = []
            for host in hosts:
                there.copy_(host)
                # Twice: while the device is at the first, the host has started the second.
                work(host)
                start.record()
                work(host)
                end.record()
                end.synchronize()
                times.append(float(start.elapsed_time(end)))
            return times

        with torch.inference_mode():
            there = hosts[0].to(self.device, copy=True)
            # A copy, since recorded work writes its results to the same place every time.
            label = self._kernels(there).clone()
            return {
                "copy_in": milliseconds(lambda host: host.to(self.device)),
                "kernels": milliseconds(lambda _: self._kernels(there)),
                "copy_out": milliseconds(lambda _: label.cpu()),
            }


_TORCH: dict[str, dict[str, bool]] = {
    "torch": {},
    "torch-channels-last": {"half": True},
    "torch-compile": {"half": True, "compiled": True},
}


def make_pipeline(setting: Setting) -> Pipeline:
    """Return the pipeline of a setting.

    Raises UserError, and whatever the backend raises that can't be had here.
    """
    device = choose_device(setting.device)
    if device.type == "cuda" and setting.backend == "ours":
        return OursOnGpu(setting)
    if device.type == "cuda" and setting.backend in _TORCH:
        cuda = CudaDevice(device)
        # Events are recorded where the process is.
        torch.cuda.set_device(cuda.device)
        return TorchOnGpu(setting, cuda.device, cuda.event, **_TORCH[setting.backend])
    return PIPELINES[setting.backend](setting)


def inputs(backend: str, device_type: str, modes: Sequence[str]) -> dict[str | None, list[str]]:
    """Return the modes to measure for each kind of memory that frames are handed over in.

    On a CPU there is one kind, None. The stages of ours are timed from pinned memory only. A kind
    without modes is left out.
    """
    if device_type == "cpu":
        its_own = with_coarse(backend, modes)
        return {None: its_own} if its_own else {}
    if backend != "ours":
        return {"pageable": list(modes)}
    pageable = [mode for mode in modes if mode not in ALONE]
    return {"pinned": list(modes), **({"pageable": pageable} if pageable else {})}


def measure_alone(pipeline: GpuPipeline, mode: str, frames: Sequence[Frame]) -> dict[str, Any]:
    """Return the milliseconds of every frame, as bench_worker.measure.

    kernel: all between the copies. stages: a frame's time is the sum of both copies and the
    kernels.
    """
    times = pipeline.time_stages(frames)
    if mode == "kernel":
        return {"frame_ms": times["kernels"], "stage_ms": {}}
    steps = zip(times["copy_in"], times["kernels"], times["copy_out"], strict=True)
    return {"frame_ms": [sum(step) for step in steps], "stage_ms": times}


def add_overlap(rows: Sequence[dict[str, Any]]) -> None:
    """Note in every pipelined row of a GPU the slowest of the steps alone (copy in, kernels, copy
    out) over the time a frame takes, 1 at best; None where the stages were not measured."""
    keys = ("model", "backend", "asked_precision", "input", "outputs", "height", "width")

    def same(row: dict[str, Any], other: dict[str, Any]) -> bool:
        return all(row[key] == other[key] for key in keys)

    timed = [row for row in rows if "input" in row]
    for row, other in itertools.product(timed, timed):
        if row["mode"] == "pipelined":
            row.setdefault("overlap", None)
            if other["mode"] == "stages" and same(row, other):
                slowest = max(other["stage_ms"][s] for s in ("copy_in", "kernels", "copy_out"))
                row["overlap"] = slowest * row["fps"] / 1e3
