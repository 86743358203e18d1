"""Frames through a ring of slots: copy in, kernels and copy out of neighbouring frames at a time.

A slot holds a frame on its way: its bytes in pinned memory and on the device, and its results
there. Three streams, one for each step, are tied together by events; the host waits for the last
one of a frame only. One piece of code for every device that has streams.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import torch

from contextnet_ros.files import UserError
from contextnet_ros.inference.device import (
    REMEDY,
    Device,
    DeviceError,
    Stream,
    Work,
    explained,
    explaining,
    failure,
)
from contextnet_ros.inference.host_memory import Bytes, Lease
from contextnet_ros.inference.preprocess import check_frame
from contextnet_ros.inference.segmented_frame import SegmentedFrame
from contextnet_ros.inference.slots import STEPS, Job, Program, Ring, Slot
from contextnet_ros.inference.sources import Source
from contextnet_ros.inference.team import ALONE, Team

SLOTS = 3

# Pairs of frame size and outputs whose buffers and recordings are kept: two sizes, and the four
# choices of outputs with the label.
_KEPT = 8


class Pipeline:
    """Segments frames on a device with streams; safe to call from several threads.

    `build`: makes the program for a frame's height and width, and outputs. `team`: copies frames
    into pinned memory. After the first frame of a size and its outputs nothing is allocated on the
    device, and only events are waited for.
    """

    def __init__(
        self,
        device: Device,
        build: Callable[[int, int, tuple[str, ...]], Program],
        team: Team = ALONE,
        slots: int = SLOTS,
        kept: int = _KEPT,
    ) -> None:
        self._device = device
        self._build = build
        self._slots = slots
        self._kept = kept
        self._team = team
        self._streams = {step: device.stream() for step in STEPS}
        self._rings: OrderedDict[tuple[int, int, tuple[str, ...]], Ring] = OrderedDict()
        self._lock = threading.RLock()
        self._fatal: DeviceError | None = None

    def segment(self, image: Bytes, outputs: Sequence[str]) -> SegmentedFrame:
        """Segment one frame, uint8 (H, W, 3), and wait for it.

        Raises ValueError for another kind of array, UserError where the device has too little
        memory, DeviceError where it failed.
        """
        with self._lock:
            job = self.submit(image, outputs)
            job.finish()
        return job.result()

    def stream(self, source: Source, outputs: Sequence[str]) -> Iterator[SegmentedFrame]:
        """Yield results in the order of their frames, at most as many in flight as there are slots.

        Raises what `segment` does, in the place of the frame that it is about. Closing it waits for
        what is in flight.
        """
        in_flight: deque[Job] = deque()
        try:
            while True:
                if len(in_flight) < self._slots and source.ready(wait=not in_flight):
                    try:
                        index, image = source.take()
                    except Exception as error:
                        job = Job(-1)
                        job.error = error
                    else:
                        job = self.submit(image, outputs, index)
                    in_flight.append(job)
                elif in_flight:
                    job = in_flight.popleft()
                    with self._lock:
                        job.finish()
                    yield job.result()
                else:
                    return
        finally:
            source.close()
            with self._lock:
                for job in in_flight:
                    job.finish()

    def submit(self, image: Bytes, outputs: Sequence[str], index: int = 0) -> Job:
        """Start a frame; waits only for a slot. What goes wrong is in the job.

        A frame in pinned memory is read until the job is finished, any other has been copied.
        """
        job = Job(index)
        what = ""
        with self._lock:
            try:
                self._check()
                check_frame(image)
                what = _frame(*image.shape[:2])
                self._start(job, image, tuple(outputs))
            except Exception as error:
                job.error = self._explained(error, what)
        return job

    def run(self, work: Work, what: str) -> None:
        """Start work between the frames already submitted and those to come.

        Raises what `segment` does, and tells `what` there is too little memory for.
        """
        with self._lock, self._explaining(what):
            self._streams["network"].run(work)

    @contextmanager
    def alone(self, what: str) -> Iterator[Stream]:
        """Leave the device to the caller, and the stream of its kernels: nothing is in flight, and
        nothing starts.

        Raises an exception of the block as `run` does.
        """
        with self._lock, self._explaining(what):
            for ring in self._rings.values():
                ring.finish()
            yield self._streams["network"]

    def close(self) -> None:
        """Wait for what is in flight and let all memory go; another frame starts anew."""
        with self._lock:
            self._keep_rings(0)

    def _start(self, job: Job, image: Bytes, outputs: tuple[str, ...]) -> None:
        ring = self._ring(image.shape[0], image.shape[1], outputs)
        slot = ring.next_slot()
        start = time.perf_counter()
        sources = {
            name: self._pinned(array, slot.pinned[name])
            for name, array in ring.program.host_inputs(image).items()
        }
        prepare_ms = (time.perf_counter() - start) * 1e3
        lease = ring.leases.take()
        targets = slot.results if lease is None else lease.tensors
        work: dict[str, Work] = {
            "copy_in": lambda: self._copy_all("copy_in", slot.inputs, sources),
            "network": lambda: self._streams["network"].run(slot.replay),
            "copy_out": lambda: self._copy_all("copy_out", targets, slot.outputs),
        }
        finish = functools.partial(self._finish, slot, lease, sources, prepare_ms, job.index)
        begun: list[str] = []
        try:
            for step in STEPS:
                stream = self._streams[step]
                if begun:
                    stream.wait(slot.ends[begun[-1]])
                begun.append(step)
                stream.record(slot.starts[step])
                work[step]()
                stream.record(slot.ends[step])
            job.started(finish)
            slot.job = job
        except BaseException:
            # The slot is free again only when nothing that was started uses it.
            with suppress(Exception):
                for step in begun:
                    self._streams[step].record(slot.ends[step])
                    slot.ends[step].synchronize()
            raise

    def _finish(
        self,
        slot: Slot,
        lease: Lease | None,
        sources: Mapping[str, torch.Tensor],  # noqa: ARG002  (kept until they have been read)
        prepare_ms: float,
        index: int,
    ) -> SegmentedFrame:
        failed: Exception | None = self._fatal
        timings = {"preprocess": prepare_ms}
        try:
            slot.ends["copy_out"].synchronize()
            for step in STEPS:
                timings[step] = float(slot.starts[step].elapsed_time(slot.ends[step]))
        except Exception as error:
            failed = self._explained(error, _frame(*slot.results["label"].shape))
        if failed is not None:
            raise failed
        if lease is None:
            arrays = {name: tensor.numpy().copy() for name, tensor in slot.results.items()}
        else:
            arrays = lease.arrays()
        return SegmentedFrame(
            arrays["label"], arrays.get("overlay"), arrays.get("confidence"), timings, index
        )

    def _pinned(self, array: Bytes, target: torch.Tensor) -> torch.Tensor:
        if array.flags.c_contiguous and array.flags.writeable:
            tensor = torch.from_numpy(array)
            if self._device.is_host_memory(tensor):
                return tensor
        pinned = target.numpy()
        self._team.share_out(len(array), lambda part: np.copyto(pinned[part], array[part]))
        return target

    def _copy_all(
        self,
        step: str,
        targets: Mapping[str, torch.Tensor],
        sources: Mapping[str, torch.Tensor],
    ) -> None:
        for name, target in targets.items():
            self._streams[step].copy(target, sources[name])

    def _ring(self, height: int, width: int, outputs: tuple[str, ...]) -> Ring:
        key = height, width, outputs
        ring = self._rings.pop(key, None)
        if ring is None:
            self._keep_rings(self._kept - 1)
            ring = self._new_ring(*key)
            if ring is None:
                # What other sizes keep may be what is missing.
                self._keep_rings(0)
                self._device.release()
                ring = self._new_ring(*key)
            if ring is None:
                self._device.release()
                raise UserError(
                    f"frames of {width} x {height} need more memory than {self._device.device} "
                    f"has free: {REMEDY}"
                )
        self._rings[key] = ring
        return ring

    def _new_ring(self, height: int, width: int, outputs: tuple[str, ...]) -> Ring | None:
        try:
            # A caller's inference mode would make memory that no later call may write outside it.
            with torch.inference_mode(False):
                program = self._build(height, width, outputs)
                return Ring(self._device, program, self._streams["network"], self._slots)
        except Exception as error:
            if failure(error) != "memory":
                raise
            # The exception, and with it the memory that its frames hold, is gone on return.
            return None

    def _keep_rings(self, count: int) -> None:
        while len(self._rings) > count:
            _, ring = self._rings.popitem(last=False)
            ring.finish()

    def _check(self) -> None:
        """Raise if the device has failed: it is never asked again."""
        if self._fatal is not None:
            raise self._fatal

    def _explained(self, error: Exception, what: str) -> Exception:
        told = explained(error, self._device.device, what)
        if isinstance(told, DeviceError):
            return self._failed(told)
        return told

    @contextmanager
    def _explaining(self, what: str) -> Iterator[None]:
        self._check()
        try:
            with explaining(self._device.device, what):
                yield
        except DeviceError as error:
            self._failed(error)
            raise

    def _failed(self, error: DeviceError) -> DeviceError:
        """Remember a failure of the device; returns the first one, which is the cause."""
        if self._fatal is None:
            self._fatal = error
            self._device.abandon()
        return self._fatal


def _frame(height: int, width: int) -> str:
    return f"a frame of {width} x {height}"
