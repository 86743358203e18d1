"""The pipeline's order, slots, memory and results, whatever is late on its device."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
import torch
from inverting_pipeline import Inverting, expect, frames, make_pipeline
from stand_in_device import GARBAGE, StandInDevice

from contextnet_ros.inference.host_memory import LeasePool
from contextnet_ros.inference.pipeline import Pipeline
from contextnet_ros.inference.sources import InOrder
from contextnet_ros.inference.team import Team


@pytest.mark.parametrize("slots", [1, 3, 5])
def test_every_frame_gets_its_own_result_in_order_whatever_is_late(slots):
    pipeline, _ = make_pipeline(slots=slots)
    given = frames(20)
    results = list(pipeline.stream(InOrder(given), ("label", "overlay")))
    assert [result.index for result in results] == list(range(20))
    for frame, result in zip(given, results, strict=True):
        expect(result, frame)
        np.testing.assert_array_equal(result.overlay, frame)
        assert set(result.timings) == {"preprocess", "copy_in", "network", "copy_out"}
        assert all(milliseconds >= 0 for milliseconds in result.timings.values())


def test_frames_may_be_written_again_as_soon_as_they_are_taken():
    pipeline, _ = make_pipeline()
    buffer = np.zeros((6, 8, 3), np.uint8)

    def reused():
        for i in range(12):
            buffer[...] = i
            yield buffer

    labels = [result.label[0, 0] for result in pipeline.stream(InOrder(reused()), ("label",))]
    assert labels == [255 - i for i in range(12)]


@pytest.mark.parametrize("kind", ["copy", "run"])
def test_a_slot_is_used_again_only_when_its_frame_has_left_it(kind):
    pipeline, _ = make_pipeline(StandInDevice({kind: itertools.repeat(0.005)}), slots=2)
    given = frames(7)
    jobs = [pipeline.submit(frame, ("label", "overlay"), i) for i, frame in enumerate(given)]
    for job, frame in zip(jobs, given, strict=True):
        job.finish()
        expect(job.result(), frame)
        np.testing.assert_array_equal(job.result().overlay, frame)


def test_at_most_as_many_frames_are_in_flight_as_there_are_slots():
    pipeline, _ = make_pipeline(slots=3)
    taken = []
    stream = pipeline.stream(InOrder(taken.append(1) or f for f in frames(12)), ("label",))
    for received in range(1, 8):
        next(stream)
        assert len(taken) - (received - 1) == 3
    stream.close()


def test_the_next_frame_is_copied_while_the_kernels_run():
    copied, number, met = threading.Event(), itertools.count(), []

    def before_copy():
        if next(number) == 1:
            copied.set()
        return 0

    class Meeting(Inverting):
        def __call__(self, inputs, outputs):
            # The first frame's kernels end only when the second frame has begun to be copied.
            met.append(copied.wait(10))
            super().__call__(inputs, outputs)

    pipeline = Pipeline(StandInDevice({"copy": iter(before_copy, None)}), Meeting)
    given = frames(2)
    for frame, result in zip(given, pipeline.stream(InOrder(given), ("label",)), strict=True):
        expect(result, frame)
    assert met == [True, True]


def test_nothing_is_allocated_or_captured_after_the_first_frame_of_a_size():
    pipeline, device = make_pipeline(slots=3)
    list(pipeline.stream(InOrder(frames(1)), ("label",)))
    allocated, captures = len(device.allocated), device.captures
    assert captures == 3
    results = list(pipeline.stream(InOrder(frames(12)), ("label",)))
    assert len(results) == 12  # More than are pooled, and all kept.
    assert (len(device.allocated), device.captures) == (allocated, captures)


def test_other_outputs_and_sizes_are_captured_once_and_a_bounded_number_kept():
    pipeline, device = make_pipeline(slots=1, kept=2)
    small, large = frames(1)[0], frames(1, 9, 9)[0]
    for _ in range(3):
        pipeline.segment(small, ("label",))
        pipeline.segment(small, ("label", "overlay"))
    assert device.captures == 2
    expect(pipeline.segment(large, ("label",)), large)  # The oldest goes: small with its label.
    pipeline.segment(small, ("label", "overlay"))
    assert device.captures == 3
    pipeline.segment(small, ("label",))
    assert device.captures == 4


def test_outputs_nobody_asked_for_are_not_copied():
    pipeline, device = make_pipeline(StandInDevice())
    pipeline.segment(frames(1)[0], ("label",))
    assert [kind for _, kind in device.launches] == ["copy", "run", "copy"]
    assert len({stream for stream, _ in device.launches}) == 3


def test_frames_of_several_sizes_keep_their_order():
    pipeline, _ = make_pipeline()
    given = [frames(1, 4 + i % 3, 5)[0] + np.uint8(i) for i in range(12)]
    for frame, result in zip(given, pipeline.stream(InOrder(given), ("label",)), strict=True):
        expect(result, frame)


def test_results_are_the_callers_for_as_long_as_a_view_of_one_lives():
    pipeline, _ = make_pipeline(StandInDevice())
    given = frames(30)
    kept = []
    for i, frame in enumerate(given):
        label = pipeline.segment(frame, ("label",)).label
        label[0, 0] = 0  # writable
        if i % 3 == 0:
            kept.append((label[1:], 255 - frame[1:, :, 0]))
    for view, expected in kept:
        np.testing.assert_array_equal(view, expected)


def test_memory_of_dropped_results_is_used_again():
    made = []

    def make(shape):
        made.append(torch.full(shape, GARBAGE, dtype=torch.uint8))
        return made[-1]

    pool = LeasePool(make, {"label": (2, 2), "overlay": (2, 2, 3)}, 1)
    arrays = pool.take().arrays()
    view = arrays["overlay"][0]
    assert pool.take() is None
    del arrays
    assert pool.take() is None  # A view of one of the two is still there.
    del view
    assert pool.take().tensors["label"] is made[0]
    assert len(made) == 2


def test_a_frame_in_pinned_memory_is_read_where_it_is():
    pipeline, device = make_pipeline(StandInDevice({"copy": itertools.repeat(0.05)}))
    pinned, pageable = device.host_memory((6, 8, 3)).numpy(), np.zeros((6, 8, 3), np.uint8)
    labels = []
    for frame in (pinned, pageable):
        frame[...] = 3
        job = pipeline.submit(frame, ("label",))
        frame[...] = 9  # Before the late copy has begun.
        job.finish()
        labels.append(job.result().label[0, 0])
    assert labels == [255 - 9, 255 - 3]


@pytest.mark.parametrize("view", [lambda a: a[::-1], lambda a: a[:, ::2], lambda a: a[..., ::-1]])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_views_are_copied_whole_by_any_number_of_threads(view, num_threads):
    pipeline, _ = make_pipeline(StandInDevice(), team=Team(num_threads))
    frame = view(np.random.default_rng(0).integers(0, 256, (31, 40, 3), np.uint8))
    expect(pipeline.segment(frame, ("label",)), frame)


def test_a_stream_closed_in_mid_flight_waits_for_its_frames_and_takes_no_more():
    ran = []

    class Counting(Inverting):
        def __call__(self, inputs, outputs):
            super().__call__(inputs, outputs)
            ran.append(1)

    pipeline = Pipeline(StandInDevice({"run": itertools.repeat(0.02)}), Counting)
    taken = []
    stream = pipeline.stream(InOrder(taken.append(1) or f for f in frames(50)), ("label",))
    next(stream)
    stream.close()
    assert len(ran) == len(taken) == 3
    assert next(stream, None) is None
    expect(pipeline.segment(frames(1)[0], ("label",)), frames(1)[0])


def test_a_frame_between_those_of_a_waiting_stream_is_served():
    pipeline, _ = make_pipeline(slots=2)
    given = frames(6)
    stream = pipeline.stream(InOrder(given), ("label",))
    expect(next(stream), given[0])
    for _ in range(4):
        other = frames(1)[0] + np.uint8(40)
        expect(pipeline.segment(other, ("label",)), other)
    for frame, result in zip(given[1:], stream, strict=True):
        expect(result, frame)


def test_threads_that_share_a_pipeline_get_their_own_results():
    pipeline, _ = make_pipeline()
    wrong = []

    def work(first):
        for i in range(8):
            frame = np.full((6, 8, 3), first + i, np.uint8)
            label = pipeline.segment(frame, ("label",)).label
            if (label != 255 - frame[..., 0]).any():
                wrong.append(first + i)

    threads = [threading.Thread(target=work, args=(20 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_close_lets_all_go_and_another_frame_starts_anew():
    pipeline, device = make_pipeline()
    jobs = [pipeline.submit(frame, ("label",)) for frame in frames(3)]
    pipeline.close()
    for job, frame in zip(jobs, frames(3), strict=True):
        expect(job.result(), frame)
    captures = device.captures
    expect(pipeline.segment(frames(1)[0], ("label",)), frames(1)[0])
    assert device.captures > captures
