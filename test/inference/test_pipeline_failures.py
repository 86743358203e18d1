"""What a pipeline says, and goes on to do, when a frame, its memory or its device fails."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from inverting_pipeline import Inverting, expect, frames, make_pipeline
from stand_in_device import StandInDevice

from contextnet_ros.files import UserError
from contextnet_ros.inference import DeviceError
from contextnet_ros.inference.pipeline import Pipeline
from contextnet_ros.inference.slots import Job
from contextnet_ros.inference.sources import InOrder


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
    assert device.abandoned == 1


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
