"""A device of threads: every stream works through what it was given in a thread of its own, late
if asked to, so that what does not wait for it reads what isn't there yet."""

from __future__ import annotations

import queue
import threading
import time

import numpy as np
import torch

from contextnet_ros.inference import Segmenter
from contextnet_ros.inference.device_segmenter import DeviceSegmenter

GARBAGE = 222


class StandInEvent:
    """As a CUDA event: the place where it was recorded last; reached at once if it never was."""

    def __init__(self, device):
        self._device = device
        self._reached = threading.Event()
        self._reached.set()
        self._time = 0.0

    def begin(self):
        """A new mark; returns what the stream calls when it gets there."""
        reached = self._reached = threading.Event()

        def arrive():
            self._time = time.perf_counter()
            reached.set()

        return reached, arrive

    def current(self):
        return self._reached

    def synchronize(self):
        if not self._reached.wait(120):
            raise AssertionError("the host waits for what never comes")
        self._device.check()

    def elapsed_time(self, end):
        return 1e3 * (end._time - self._time)


class StandInStream:
    def __init__(self, device, number):
        self._device = device
        self._number = number
        self._todo = queue.Queue()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            kind, work = self._todo.get()
            if self._device.error is None or kind == "record":
                try:
                    if kind in self._device.delays:
                        time.sleep(next(self._device.delays[kind]))
                    work()
                # As on a GPU: everything after it fails too, wherever it is asked.
                except Exception as error:
                    self._device.error = error

    def _start(self, kind, work):
        self._device.check()
        self._device.launches.append((self._number, kind))
        self._device.refuse(kind)
        self._todo.put((kind, work))

    def run(self, work):
        self._start("run", work)

    def copy(self, target, source):
        self._start("copy", lambda: target.copy_(source))

    def record(self, event):
        self._device.check()
        _, arrive = event.begin()
        self._todo.put(("record", arrive))

    def wait(self, event):
        reached = event.current()
        self._todo.put(("wait", lambda: reached.wait(120)))


class StandInDevice:
    """`delays`: iterators of seconds for "copy" and "run". `error`: why all fails from now on.
    `refusals`: exceptions that the next launches of a kind raise, None for none."""

    def __init__(self, delays=None, limit=None):
        self.device = torch.device("cpu")
        self.delays = delays or {}
        self.error = None
        self.launches = []
        self.refusals = {}
        self.captures = 0
        self.allocated = []
        self.limit = limit
        self.releases = 0
        self.abandoned = 0
        self.together = 0
        self._streams = 0
        self._pinned = set()

    def check(self):
        if self.error is not None:
            raise RuntimeError(f"CUDA error: {self.error}\nsecond line")

    def refuse(self, kind):
        waiting = self.refusals.get(kind)
        error = waiting.pop(0) if waiting else None
        if error is not None:
            raise error

    def stream(self):
        self._streams += 1
        return StandInStream(self, self._streams)

    def event(self):
        return StandInEvent(self)

    def host_memory(self, shape):
        memory = self._memory("host", shape)
        self._pinned.add(memory.data_ptr())
        return memory

    def is_host_memory(self, tensor):
        return tensor.data_ptr() in self._pinned

    def device_memory(self, shape):
        return self._memory("device", shape)

    def _memory(self, kind, shape):
        # What is read before it is written shows.
        if self.limit is not None and np.prod(shape) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        self.allocated.append((kind, shape))
        return torch.full(shape, GARBAGE, dtype=torch.uint8)

    def both(self, first, second):
        self.together += 1
        return first(), second()

    def capture(self, work, stream):  # noqa: ARG002
        self.captures += 1
        return work

    def release(self):
        self.releases += 1

    def abandon(self):
        self.abandoned += 1


def on_stand_in(network, header, **options):
    """A Segmenter whose device is the stand-in, with float32 and plain operators."""
    segmenter = Segmenter(network, header, device="cpu", backend="torch", **options)
    device = StandInDevice()
    segmenter._gpu = DeviceSegmenter(
        device, network, header, "float32", 2, segmenter.network_size, segmenter._blender, None
    )
    return segmenter, device
