"""Which form of a network is taken, on a device whose time is what the forms say they take."""

from __future__ import annotations

import re

import plain_layers
import pytest
import torch
from stand_in_device import StandInDevice

from contextnet_ros.inference import Segmenter
from contextnet_ros.inference.device_segmenter import DeviceSegmenter
from contextnet_ros.inference.network_forms import NetworkForms


class Clock:
    """A device that does everything at once. `now`: its time, which forms move on."""

    def __init__(self):
        self.now = 0.0
        self.captures = 0
        self.releases = 0

    def both(self, first, second):
        return first(), second()

    def event(self):
        return Event(self)

    def capture(self, work, stream):
        self.captures += 1
        stream.run(work)
        return work

    def release(self):
        self.releases += 1

    # Its one stream.
    def run(self, work):
        work()

    def record(self, event):
        event.time = self.now


class Event:
    def __init__(self, clock):
        self._clock = clock
        self.time = None

    def synchronize(self):
        assert self.time is not None

    def elapsed_time(self, end):
        return end.time - self.time


class Form:
    """Takes `cost` by the number of pixels; gives the images' sums times `factor`."""

    def __init__(self, clock, cost, factor=1.0, error=None):
        self._clock = clock
        self._cost = cost
        self._factor = factor
        self._error = error
        self.runs = 0

    def detail_features(self, images):
        if self._error is not None:
            raise self._error
        self.runs += 1
        self._clock.now += self._cost(images[0, 0].numel())
        return (images,)

    def reduced_features(self, reduced):
        return reduced

    def classify(self, detail, context):
        return self._factor * (detail[0] + context.mean())


def inputs(height, width):
    return torch.ones(1, 3, height, width), torch.ones(1, 3, height // 4, width // 4)


def taken(forms, plain, fused, size):
    """The form that makes the logits at a size."""
    before = plain.runs, fused.runs
    forms.logits(*inputs(*size))
    return {(1, 0): "plain", (0, 1): "fused"}[plain.runs - before[0], fused.runs - before[1]]


def test_the_faster_form_is_taken_at_each_size_and_measured_once():
    clock = Clock()
    # The one gains with the pixels, the other starts sooner.
    plain, fused = Form(clock, lambda pixels: pixels), Form(clock, lambda _pixels: 100.0)
    forms = NetworkForms(clock, plain, fused)
    assert taken(forms, plain, fused, (16, 16)) == "plain"
    for size, expected in (((16, 16), "fused"), ((8, 8), "plain"), ((16, 16), "fused")):
        forms.settle(*inputs(*size), clock)
        assert taken(forms, plain, fused, size) == expected
    assert clock.captures == 4
    assert clock.releases == 2
    assert (forms.note, forms.taken) == ("", True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"factor": 1.1}, "give other logits\\)"),
        ({"factor": float("nan")}, "give other logits\\)"),
        ({"error": RuntimeError("no kernel\nfor this GPU")}, "now: no kernel\\)"),
        ({"error": RuntimeError("CUDA out of memory. Tried to")}, "now: CUDA out of memory"),
    ],
)
def test_a_form_that_fails_or_gives_something_else_is_left_and_that_is_said(options, reason):
    clock = Clock()
    plain, fused = Form(clock, lambda _: 9.0), Form(clock, lambda _: 1.0, **options)
    forms = NetworkForms(clock, plain, fused)
    for size in ((16, 16), (8, 8)):
        forms.settle(*inputs(*size), clock)
        assert taken(forms, plain, fused, size) == "plain"
    assert not forms.taken
    assert re.search(f"layers are PyTorch's.*{reason}", forms.note)
    assert "\n" not in forms.note


def test_a_device_that_failed_is_asked_for_no_more():
    clock = Clock()
    error = RuntimeError("CUDA error: unspecified launch failure")
    forms = NetworkForms(clock, Form(clock, lambda _: 9.0), Form(clock, lambda _: 1.0, error=error))
    with pytest.raises(RuntimeError, match="unspecified"):
        forms.settle(*inputs(16, 16), clock)
    assert forms.note == ""


def test_measuring_leaves_the_process_random_numbers_alone():
    clock = Clock()
    forms = NetworkForms(clock, Form(clock, lambda _: 9.0), Form(clock, lambda _: 1.0))
    before = torch.get_rng_state()
    forms.settle(*inputs(16, 16), clock)
    assert forms.taken
    assert torch.equal(torch.get_rng_state(), before)


def test_without_another_form_nothing_is_measured():
    clock = Clock()
    plain = Form(clock, lambda _: 9.0)
    forms = NetworkForms(clock, plain, None)
    forms.settle(*inputs(16, 16), clock)
    assert (clock.captures, plain.runs) == (0, 0)


def test_what_is_settled_makes_the_results_of_a_segmenter(network, header, make_frame, monkeypatch):
    segmenter = Segmenter(network, header, device="cpu", backend="torch", num_threads=1)
    options = "float32", 2, segmenter.network_size, segmenter._blender, None, "", plain_layers
    fused = DeviceSegmenter(StandInDevice(), network, header, *options)
    # Whatever they take here.
    monkeypatch.setattr(NetworkForms, "_is_faster", lambda *_: True)
    calls = []
    stem = plain_layers.stem
    monkeypatch.setattr(plain_layers, "stem", lambda *a, **k: calls.append(a) or stem(*a, **k))
    frame = make_frame(75, 101)
    for _ in range(2):
        before = len(calls)
        ours, theirs = fused.segment(frame, ("label",)), segmenter(frame)
        assert (ours.label == theirs.label).mean() > 0.999
    # Both branches' first layers, once for the second frame.
    assert len(calls) - before == 2
    assert fused.note == ""
