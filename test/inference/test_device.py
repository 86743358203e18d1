"""What a CUDA device is asked for, with stand-ins for torch's streams and graphs."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from contextnet_ros.files import UserError, run_command
from contextnet_ros.inference.device import CudaDevice, DeviceError, failure

TRITON = "Triton Error [CUDA]"


class Stream:
    """Remembers whom it waited for; runs work at once."""

    def __init__(self, *_arguments):
        self.waited_for = []
        self.stream = self

    def wait_stream(self, other):
        self.waited_for.append(other)

    def run(self, work):
        work()

    def synchronize(self):
        pass


class Graph:
    replay = None


@pytest.fixture
def main_stream(monkeypatch):
    """Torch's current stream, where nothing of CUDA is called."""
    stream = Stream()
    monkeypatch.setattr("contextnet_ros.inference.device.CudaStream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_arguments, **_options: nullcontext())
    return stream


@pytest.mark.parametrize("failing", ["first", "second"])
def test_the_streams_are_joined_also_where_the_work_of_one_fails(main_stream, failing):
    def work(name):
        if name == failing:
            raise torch.OutOfMemoryError("CUDA out of memory")

    device = CudaDevice(torch.device("cuda", 0))
    with pytest.raises(torch.OutOfMemoryError):
        device.both(lambda: work("first"), lambda: work("second"))
    assert main_stream.waited_for == [device._side]


@pytest.mark.usefixtures("main_stream")
@pytest.mark.parametrize("chosen", [True, False])
def test_a_recording_keeps_what_the_process_chose_for_its_convolutions(monkeypatch, chosen):
    cudnn = torch.backends.cudnn
    seen = []

    def settings():
        return cudnn.allow_tf32, cudnn.deterministic, cudnn.enabled

    for name in ("allow_tf32", "deterministic", "enabled", "benchmark"):
        monkeypatch.setattr(cudnn, name, chosen)
    device = CudaDevice(torch.device("cuda", 0))
    device.capture(lambda: seen.append((settings(), cudnn.benchmark)), device._side)
    assert set(seen) == {((chosen, chosen, chosen), True)}
    assert (settings(), cudnn.benchmark) == ((chosen, chosen, chosen), chosen)


@pytest.mark.usefixtures("main_stream")
@pytest.mark.parametrize("failed", [False, True])
def test_pinned_memory_of_a_failed_device_is_never_freed(monkeypatch, failed):
    make = torch.empty
    monkeypatch.setattr(torch, "empty", lambda shape, dtype, **_options: make(shape, dtype=dtype))
    device = CudaDevice(torch.device("cuda", 0))
    # An array of NumPy keeps the memory, and not the tensor that it was made of.
    arrays = [device.host_memory((2, 3)).numpy() for _ in range(2)]
    storages = list(device._pinned)
    if failed:
        device.abandon()
    del arrays
    assert [ref() is not None for ref in storages] == [failed, failed]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device"),
        (RuntimeError("CUDA error: unspecified launch failure"), "device"),
        (RuntimeError("CUDA error: no kernel image is available for execution"), "build"),
        (RuntimeError(f"{TRITON}: no kernel image is available for execution"), ""),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (RuntimeError(f"{TRITON}: an illegal memory access was encountered"), "device"),
        (RuntimeError(f"{TRITON}: out of memory"), "memory"),
        (RuntimeError(f"{TRITON}: device kernel image is invalid"), ""),
        (RuntimeError(f"{TRITON}: a PTX JIT compilation failed"), ""),
        (ValueError("a frame is a NumPy array, not list"), ""),
        (UserError("outputs are unknown"), ""),
    ],
)
def test_what_an_exception_means(error, kind):
    assert failure(error) == kind


def test_too_little_memory_within_a_recording_is_no_device_failure():
    error = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    error.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    assert failure(error) == "memory"


def test_a_command_whose_device_fails_says_so_in_one_line(capsys):
    def command():
        raise DeviceError("CUDA error: misaligned address")

    assert run_command(command, "contextnet-segment") == 1
    assert capsys.readouterr().err == "contextnet-segment: error: CUDA error: misaligned address\n"
