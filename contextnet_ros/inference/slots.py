"""What a Pipeline is made of: jobs, the memory of a frame on its way, and the ring of these."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from contextnet_ros.inference.device import Device, Work
from contextnet_ros.inference.host_memory import Bytes, LeasePool
from contextnet_ros.inference.segmented_frame import SegmentedFrame

STEPS = ("copy_in", "network", "copy_out")
"""What is done with a frame on a device, each in a stream of its own."""

# Results that callers may keep, beside those in flight, before theirs are copied out of the pool.
_KEPT_RESULTS = 4


class Program(Protocol):
    """What is done on the device for frames of one size.

    `inputs`, `outputs`: shapes of bytes.
    """

    @property
    def inputs(self) -> Mapping[str, tuple[int, ...]]: ...

    @property
    def outputs(self) -> Mapping[str, tuple[int, ...]]: ...

    def host_inputs(self, image: Bytes) -> Mapping[str, Bytes]:
        """Return the inputs for a frame, arrays of the host."""

    def settle(self, stream: Any) -> None:
        """Choose how to do it, in the stream that will, before it is first called."""

    def __call__(
        self, inputs: Mapping[str, torch.Tensor], outputs: Mapping[str, torch.Tensor]
    ) -> None:
        """Start what makes `outputs` of `inputs`, in the device's memory."""


class Job:
    """One frame on its way. `error`: why it has no result, delivered in its place."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.error: Exception | None = None
        self._result: SegmentedFrame | None = None
        self._finish: Callable[[], SegmentedFrame] | None = None

    def started(self, finish: Callable[[], SegmentedFrame]) -> None:
        """Remember what waits for the result."""
        self._finish = finish

    def finish(self) -> None:
        """Wait until the device has done with the frame; raises nothing."""
        if self._finish is not None:
            try:
                self._result = self._finish()
            except Exception as error:
                self.error = error
            # Last: interrupted by Ctrl-C, it is still to be done.
            self._finish = None

    def result(self) -> SegmentedFrame:
        """Return what the frame gave, or raise why there is nothing."""
        if self.error is not None:
            raise self.error
        assert self._result is not None
        return self._result


class Slot:
    """The memory of one frame on its way, and what repeats its work."""

    def __init__(self, device: Device, program: Program) -> None:
        self.pinned = {name: device.host_memory(shape) for name, shape in program.inputs.items()}
        self.inputs = {name: device.device_memory(shape) for name, shape in program.inputs.items()}
        self.outputs = {
            name: device.device_memory(shape) for name, shape in program.outputs.items()
        }
        # For results when all leases are taken.
        self.results = {name: device.host_memory(shape) for name, shape in program.outputs.items()}
        self.starts = {step: device.event() for step in STEPS}
        self.ends = {step: device.event() for step in STEPS}
        self.replay: Work = lambda: None
        self.job: Job | None = None

    def finish(self) -> None:
        """Wait until the frame has left it."""
        if self.job is not None:
            self.job.finish()
            self.job = None


class Ring:
    """The slots of one frame size and one choice of outputs, used in turn."""

    def __init__(self, device: Device, program: Program, stream: Any, count: int) -> None:
        self.program = program
        program.settle(stream)
        self.slots = deque(Slot(device, program) for _ in range(count))
        for slot in self.slots:
            work = functools.partial(program, slot.inputs, slot.outputs)
            slot.replay = device.capture(work, stream)
        self.leases = LeasePool(device.host_memory, program.outputs, count + _KEPT_RESULTS)

    def next_slot(self) -> Slot:
        """Return the slot that has been on its way the longest, after its frame has left it."""
        self.slots.rotate(-1)
        self.slots[-1].finish()
        return self.slots[-1]

    def finish(self) -> None:
        """Wait for every frame on its way."""
        for slot in self.slots:
            slot.finish()
