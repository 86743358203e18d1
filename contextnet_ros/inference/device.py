"""What the pipeline asks of a device: memory, streams, events and recorded work.

A stream does what it is given in order and at once returns; an event marks a place in a stream.
"""

from __future__ import annotations

import ctypes
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from contextnet_ros.files import UserError

Work = Callable[[], None]

REMEDY = "choose a smaller network_size (as 'scale 0.5'), or end what else uses that memory"

_WARM_UP_RUNS = 3
# One recording at a time: beginning one waits for the whole device, which fails another.
_RECORDING = threading.Lock()
# Triton says the same of a kernel that this GPU or its driver can't load, which breaks nothing.
_DEVICE_FAILED = re.compile(
    r"cuda error|acceleratorerror|cudnn|cublas|cuda driver|"
    r"triton error \[cuda\](?!.*(kernel image|ptx|too many resources))"
)


class DeviceError(UserError):
    """The device failed and gives no more results in this process, which should end: one line."""


class Event(Protocol):
    """A place in a stream; torch.cuda.Event is one."""

    def synchronize(self) -> None:
        """Wait until the stream has come here."""

    def elapsed_time(self, end_event: Any, /) -> float:
        """Return milliseconds to a later event; both have been reached."""


class Stream(Protocol):
    """Work in order."""

    def run(self, work: Work) -> None:
        """Start work that itself only starts things on the device."""

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Start a copy between the host's and the device's memory."""

    def record(self, event: Any) -> None:
        """Mark where the stream is now."""

    def wait(self, event: Any) -> None:
        """Start nothing more before `event` has been reached."""


class Device(Protocol):
    """`device`: the torch device of its memory."""

    device: torch.device

    def stream(self) -> Stream: ...

    def event(self) -> Event: ...

    def host_memory(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return bytes of the host that the device copies without the processor's help."""

    def is_host_memory(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is such memory."""

    def device_memory(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return bytes of the device."""

    def both(self, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
        """Return what two independent pieces of work give, done side by side where that can be."""

    def capture(self, work: Work, stream: Stream) -> Work:
        """Warm up and record work; returns what repeats it in `stream`."""

    def release(self) -> None:
        """Give memory that nothing uses back to the device."""

    def abandon(self) -> None:
        """Let a device that failed be: nothing of it is touched again, not even to free it."""


class CudaStream:
    """A CUDA stream."""

    def __init__(self, device: torch.device) -> None:
        self.stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # What it will read may still be on its way.
        self.stream.wait_stream(torch.cuda.current_stream(device))

    def run(self, work: Work) -> None:
        with torch.cuda.stream(self.stream):
            work()

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        with torch.cuda.stream(self.stream):
            target.copy_(source, non_blocking=True)

    def record(self, event: torch.cuda.Event) -> None:
        event.record(self.stream)

    def wait(self, event: torch.cuda.Event) -> None:
        self.stream.wait_event(event)


class CudaDevice:
    """One NVIDIA GPU: streams, pinned memory, CUDA graphs.

    What is recorded shares one pool of memory: replays must follow each other in one stream, and
    leave nothing behind but what they write to memory from outside.
    """

    def __init__(self, device: torch.device) -> None:
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)
        self._graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()
        self._side = CudaStream(self.device).stream
        self._pinned: list[weakref.ref[torch.UntypedStorage]] = []

    def stream(self) -> CudaStream:
        return CudaStream(self.device)

    def event(self) -> torch.cuda.Event:
        with torch.cuda.device(self.device):
            return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def host_memory(self, shape: tuple[int, ...]) -> torch.Tensor:
        memory = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self._pinned = [ref for ref in self._pinned if ref() is not None]
        self._pinned.append(weakref.ref(memory.untyped_storage()))
        return memory

    def is_host_memory(self, tensor: torch.Tensor) -> bool:
        return tensor.is_pinned()

    def device_memory(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.uint8, device=self.device)

    def both(self, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
        main = torch.cuda.current_stream(self.device)
        self._side.wait_stream(main)
        try:
            with torch.cuda.stream(self._side):
                beside = second()
            result = first()
        finally:
            # Where one fails within a recording too, which can't be ended while a stream is apart.
            main.wait_stream(self._side)
        return result, beside

    def capture(self, work: Work, stream: Any) -> Work:
        stream.stream.wait_stream(torch.cuda.current_stream(self.device))
        with _RECORDING, fastest_convolutions():
            for _ in range(_WARM_UP_RUNS):
                stream.run(work)
            stream.stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            # Held, since a pool goes with the last graph that has it.
            other = next(iter(self._graphs), None)
            pool = None if other is None else other.pool()
            # The outer one sets this thread's stream back where a recording fails; others may use
            # the GPU meanwhile, since only this thread's calls belong to the recording.
            with (
                torch.cuda.stream(stream.stream),
                torch.cuda.graph(
                    graph, pool=pool, stream=stream.stream, capture_error_mode="thread_local"
                ),
            ):
                work()
        self._graphs.add(graph)
        return graph.replay

    def release(self) -> None:
        release_cached()

    def abandon(self) -> None:
        # Freeing pinned memory asks the device whether its copies are through, in a destructor: of
        # one that failed the answer would abort the process, before or in place of its last line.
        for storage in filter(None, (ref() for ref in self._pinned)):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(storage))


def release_cached() -> None:
    """Give back what torch keeps of GPUs' memory; waits for a recording, which that would break."""
    with _RECORDING:
        torch.cuda.empty_cache()


@contextmanager
def fastest_convolutions() -> Iterator[None]:
    """Choose convolution algorithms by time, once; what else is set, as TF32, is the process's."""
    # Not cudnn.flags, which sets everything that it isn't given to a default of its own.
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def failure(error: BaseException) -> str:
    """Return what an exception of the device means: "memory" (there is too little, the device goes
    on), "build" (torch has no code for it), "device" (nothing that follows can be trusted), or ""
    for any other.
    """
    chain: list[BaseException] = []
    link: BaseException | None = error
    # An allocation that fails while work is recorded is followed by the recording's own failure.
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    texts = [f"{type(link).__name__} {link}".lower() for link in chain]
    if any("out of memory" in text or "alloc_failed" in text for text in texts):
        return "memory"
    if any(isinstance(link, torch.OutOfMemoryError) for link in chain):
        return "memory"
    if any("cuda error: no kernel image" in text for text in texts):
        return "build"
    return "device" if any(_DEVICE_FAILED.search(text) for text in texts) else ""


def explained(error: Exception, device: torch.device, what: str, remedy: str = REMEDY) -> Exception:
    """Return what to tell a user of an exception: a UserError where `device` has too little memory
    for `what` or torch is not built for it, a DeviceError where it failed, and any other as it is.
    """
    kind = "" if isinstance(error, UserError) else failure(error)
    if kind == "memory":
        return UserError(
            f"{device} has too little memory for {what} ({first_line(error)}): {remedy}"
        )
    if kind == "build":
        return UserError(
            f"torch {torch.__version__} has no code for {device} ({first_line(error)}): install a "
            "build for this GPU, or choose device cpu"
        )
    if kind == "device":
        return DeviceError(
            f"{first_line(error)} ({device} gives no more results in this process: start another)"
        )
    return error


@contextmanager
def explaining(device: torch.device, what: str, remedy: str = REMEDY) -> Iterator[None]:
    """Raise an exception of the block as `explained` tells it."""
    try:
        yield
    except Exception as error:
        told = explained(error, device, what, remedy)
        if told is error:
            raise
        raise told from error


def first_line(error: BaseException) -> str:
    """Return what an exception says first, or what it is."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
