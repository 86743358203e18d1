"""Whether the Triton kernels can be had, asked of stand-ins for them and for the device."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from stand_in_device import StandInDevice

from contextnet_ros.inference.frame_program import find_kernels


class Kernels:
    """The module's place taken: remembers what it was called with, fails when told to."""

    Cells = SimpleNamespace(of=lambda _axis, _device: None)

    def __init__(self, fail_on=""):
        self.prepared = []
        self.finished = []
        self._fail_on = fail_on

    def prepare(self, _frame, _table, images, reduced, _scale, _swap):
        self.prepared.append((images.dtype, reduced.dtype))

    def finish(self, logits, _rows, _columns, _label, **outputs):
        if self._fail_on in outputs:
            raise ValueError("an illegal memory access was encountered")
        self.finished.append((logits.dtype, set(outputs)))


@pytest.fixture
def offer(monkeypatch):
    """Let this be the module of kernels."""

    def put(kernels):
        monkeypatch.setattr("importlib.import_module", lambda _name: kernels)
        return kernels

    return put


def test_kernels_that_can_not_be_had_are_named_with_the_remedy(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named 'triton' ({name})")

    monkeypatch.setattr("importlib.import_module", missing)
    kernels, note = find_kernels(StandInDevice(), torch.float32)
    assert kernels is None
    assert "No module named 'triton'" in note
    assert "pip install triton" in note
    assert "\n" not in note


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_kernels_are_tried_in_the_networks_precision_with_every_output(offer, dtype):
    kernels = offer(Kernels())
    assert find_kernels(StandInDevice(), dtype) == (kernels, "")
    assert kernels.prepared == [(dtype, dtype)]
    overlay = {"overlay", "frame", "frame_part", "colour_part"}
    assert kernels.finished == [(dtype, set()), (dtype, {"confidence", *overlay})]


def test_a_kernel_that_does_not_compile_leaves_the_plain_operators(offer):
    offer(Kernels())
    device = StandInDevice()
    device.refusals["run"] = [RuntimeError("Failed to find C compiler.\nmore")]
    kernels, note = find_kernels(device, torch.float16)
    assert kernels is None
    assert "now: Failed to find C compiler." in note


def test_a_kernel_that_faults_as_it_runs_is_a_failure_of_the_device(offer):
    offer(Kernels(fail_on="confidence"))
    with pytest.raises(RuntimeError, match="CUDA error: an illegal memory access"):
        find_kernels(StandInDevice({"run": iter([0.02])}), torch.float16)


def test_too_little_memory_is_not_taken_for_a_missing_compiler(offer):
    offer(Kernels())
    device = StandInDevice()
    device.refusals["run"] = [torch.OutOfMemoryError("CUDA out of memory.")]
    with pytest.raises(torch.OutOfMemoryError):
        find_kernels(device, torch.float16)
