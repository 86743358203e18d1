from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
import torch
from stand_in_device import GARBAGE, StandInDevice

from contextnet_ros.files import UserError
from contextnet_ros.inference import DeviceError
from contextnet_ros.inference.host_memory import LeasePool
from contextnet_ros.inference.pipeline import Pipeline
from contextnet_ros.inference.slots import Job
from contextnet_ros.inference.sources import InOrder, Newest
from contextnet_ros.inference.team import Team


class Inverting:
    """A program whose label is 255 minus the frame's first channel, its overlay the frame."""

    def __init__(self, height, width, outputs):
        self.inputs = {"seen": (height, width, 3)}
        shapes = {"label": (height, width), "overlay": (height, width, 3)}
        self.outputs = {name: shapes[name] for name in outputs}

    def host_inputs(self, image):
        return {"seen": image}

    def __call__(self, inputs, outputs):
        outputs["label"].copy_(255 - inputs["seen"][..., 0])
        if "overlay" in outputs:
            outputs["overlay"].copy_(inputs["seen"])


def delays(seed):
    random = np.random.default_rng(seed)
    return iter(lambda: random.choice([0, 0, 0.001, 0.004]), None)


def make_pipeline(device=None, **options):
    device = device or StandInDevice({"copy": delays(1), "run": delays(2)})
    return Pipeline(device, Inverting, **options), device


def frames(count, height=6, width=8):
    """Frames of one value each, a different one every time."""
    return [np.full((height, width, 3), 1 + i, np.uint8) for i in range(count)]


def expect(result, frame):
    np.testing.assert_array_equal(result.label, 255 - frame[..., 0])


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


def test_an_impossible_frame_fails_in_its_own_place_and_others_do_not():
    pipeline, _ = make_pipeline()
    given = [*frames(2), np.zeros((4, 4), np.uint8), *frames(2)]
    jobs = [pipeline.submit(frame, ("label",), i) for i, frame in enumerate(given)]
    for i, (job, frame) in enumerate(zip(jobs, given, strict=True)):
        job.finish()
        if i == 2:
            with pytest.raises(ValueError, match=r"uint8 \(4, 4\)"):
                job.result()
        else:
            expect(job.result(), frame)


def test_a_streams_results_before_an_error_are_given_first():
    pipeline, _ = make_pipeline()

    def failing():
        yield from frames(2)
        raise OSError("the camera is gone")

    stream = pipeline.stream(InOrder(failing()), ("label",))
    for frame in frames(2):
        expect(next(stream), frame)
    with pytest.raises(OSError, match="the camera is gone"):
        next(stream)
    expect(pipeline.segment(frames(1)[0], ("label",)), frames(1)[0])


def test_too_little_memory_names_the_size_and_the_remedy_and_other_sizes_go_on():
    pipeline, device = make_pipeline(StandInDevice(limit=6 * 8 * 3))
    small, large = frames(1)[0], frames(1, 12, 16)[0]
    expect(pipeline.segment(small, ("label",)), small)
    with pytest.raises(UserError, match=r"16 x 12 need more memory.*network_size") as error:
        pipeline.segment(large, ("label",))
    assert "\n" not in str(error.value)
    assert device.releases >= 1
    expect(pipeline.segment(small, ("label",)), small)


def test_memory_that_other_sizes_keep_is_given_up_before_a_size_is_refused():
    pipeline, device = make_pipeline(StandInDevice())
    pipeline.segment(frames(1)[0], ("label",))
    memory, refused = device._memory, []

    def once(kind, shape):
        if not refused:
            refused.append(shape)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return memory(kind, shape)

    device._memory = once
    large = frames(1, 12, 16)[0]
    expect(pipeline.segment(large, ("label",)), large)
    assert (device.releases, len(refused)) == (1, 1)


def test_a_failed_device_never_gives_a_label_again():
    pipeline, device = make_pipeline(StandInDevice({"run": itertools.repeat(0.01)}))
    given = frames(5)
    expect(pipeline.segment(given[0], ("label",)), given[0])
    jobs = [pipeline.submit(frame, ("label",)) for frame in given[1:3]]
    device.error = ValueError("an illegal memory access was encountered")
    jobs.append(pipeline.submit(given[3], ("label",)))
    device.error = None  # Whatever it says later.
    launched = len(device.launches)
    jobs.append(pipeline.submit(given[4], ("label",)))
    for job in jobs:
        job.finish()
        with pytest.raises(DeviceError, match="illegal memory access") as error:
            job.result()
        assert "\n" not in str(error.value)
    with pytest.raises(DeviceError, match=r"illegal memory access.*process"):
        pipeline.segment(given[0], ("label",))
    assert len(device.launches) == launched


def test_other_work_that_fails_is_one_line_too_and_a_failed_device_is_asked_no_more():
    pipeline, device = make_pipeline(StandInDevice())
    no_memory = torch.OutOfMemoryError("CUDA out of memory.\nmore")
    device.refusals["run"] = [no_memory]
    with pytest.raises(UserError, match=r"memory for the colours .*memory\.\): .*network_size"):
        pipeline.run(lambda: None, "the colours")
    with pytest.raises(UserError, match=r"memory for the stages "), pipeline.alone("the stages"):
        raise no_memory
    device.refusals["run"] = [RuntimeError("CUDA error: misaligned address\nmore")]
    with pytest.raises(DeviceError, match=r"^CUDA error: misaligned address \(.*start another\)$"):
        pipeline.run(lambda: None, "the colours")
    launched = len(device.launches)
    for ask in (
        lambda: pipeline.run(lambda: None, "the colours"),
        lambda: pipeline.alone("the stages").__enter__(),
        lambda: pipeline.segment(frames(1)[0], ("label",)),
    ):
        with pytest.raises(DeviceError, match="misaligned address"):
            ask()
    assert len(device.launches) == launched


def test_a_kernel_that_fails_while_it_runs_fails_its_frame():
    class Failing(Inverting):
        def __call__(self, inputs, outputs):
            super().__call__(inputs, outputs)
            if inputs["seen"][0, 0, 0] == 2:
                raise ValueError("misaligned address")

    pipeline = Pipeline(StandInDevice(), Failing)
    stream = pipeline.stream(InOrder(frames(6)), ("label",))
    # Its predecessor's result may have come before the device failed, and is right then.
    with pytest.raises(DeviceError, match="misaligned address"):
        expect(next(stream), frames(1)[0]), next(stream)


def test_a_launch_refused_for_memory_frees_its_slot():
    pipeline, device = make_pipeline(StandInDevice(), slots=1)
    given = frames(3)
    expect(pipeline.segment(given[0], ("label",)), given[0])
    device.refusals["run"] = [RuntimeError("CUDA error: out of memory")]
    with pytest.raises(UserError, match=r"too little memory for a frame of 8 x 6.*network_size"):
        pipeline.segment(given[1], ("label",))
    expect(pipeline.segment(given[2], ("label",)), given[2])


def test_a_frame_interrupted_as_it_starts_has_left_its_slot(monkeypatch):
    def interrupted(_job, _finish):
        raise KeyboardInterrupt

    pipeline, _ = make_pipeline(StandInDevice({"copy": itertools.repeat(0.02)}), slots=1)
    given = frames(3)
    expect(pipeline.segment(given[0], ("label",)), given[0])
    with monkeypatch.context() as patch:
        patch.setattr(Job, "started", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.submit(given[1], ("label",))
    # Nothing writes any more into memory that is the next frame's.
    (ring,) = pipeline._rings.values()
    assert ring.slots[0].ends["copy_out"].current().is_set()
    expect(pipeline.segment(given[2], ("label",)), given[2])


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


def test_the_newest_frame_wins_and_the_last_one_is_never_lost():
    pipeline, _ = make_pipeline(StandInDevice({"run": itertools.repeat(0.02)}))
    given = frames(60)

    def live():
        for frame in given:
            yield frame
            time.sleep(0.002)

    results = list(pipeline.stream(Newest(live()), ("label",)))
    indices = [result.index for result in results]
    assert indices == sorted(set(indices))
    assert indices[-1] == 59
    assert len(indices) < 60
    for result in results:
        expect(result, given[result.index])


def test_a_waiting_live_source_does_not_hold_back_results():
    pipeline, _ = make_pipeline(StandInDevice())
    go_on = threading.Event()

    def live():
        yield frames(1)[0]
        go_on.wait(20)

    stream = pipeline.stream(Newest(live()), ("label",))
    expect(next(stream), frames(1)[0])
    go_on.set()
    assert list(stream) == []


def test_an_error_of_a_live_source_comes_after_its_last_frame():
    def live():
        yield frames(1)[0]
        raise OSError("unplugged")

    pipeline, _ = make_pipeline()
    stream = pipeline.stream(Newest(live()), ("label",))
    assert next(stream).index == 0
    with pytest.raises(OSError, match="unplugged"):
        next(stream)


def test_a_closed_live_source_reads_one_frame_more_at_most():
    taken, more = [], threading.Semaphore(3)

    def live():
        while more.acquire(timeout=20):
            taken.append(1)
            yield frames(1)[0]

    source = Newest(live())
    assert source.ready(wait=True)
    while len(taken) < 3:
        time.sleep(0.001)
    source.close()
    more.release(5)
    time.sleep(0.05)
    assert len(taken) <= 4
